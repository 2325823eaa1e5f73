//! Whether a store that was put together after a power cut is one that its clients can rely on.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use lock_core::{Swap, Version};
use tokio::runtime::{Builder, Runtime};

use super::cut::{Cut, Files, Left};
use super::script::payload;
use crate::fixture::Store;
use crate::scene::Scene;
use crate::trial::Failure;

/// Memory that looks like a disk: what is opened after a cut need not survive another one.
const FAST: &str = "/dev/shm";

/// Opens what is left, and remembers what it has seen before.
pub(super) struct Judge<'a> {
    scene: &'a Scene,
    /// The store that was cut, for what it knows of others.
    store: Rc<dyn Store>,
    runtime: Runtime,
    /// What was sent, the first being version 1.
    sent: Vec<Vec<u8>>,
    /// The version that was there before anything was recorded.
    before: u64,
    /// The versions that were found, by the changes that were there.
    seen: HashMap<Vec<usize>, u64>,
}

impl<'a> Judge<'a> {
    /// Judges by what was sent, the first being version 1.
    pub(super) fn new(
        scene: &'a Scene,
        store: Rc<dyn Store>,
        sent: Vec<Vec<u8>>,
    ) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { scene, store, runtime, sent, before: 0, seen: HashMap::new() })
    }

    /// Goes on with a store that has this version.
    pub(super) fn after(&self, before: u64) -> Result<Self, Failure> {
        let judge = Self::new(self.scene, self.store.clone(), self.sent.clone())?;
        Ok(Self { before, ..judge })
    }

    /// Expects one more version, and returns its number.
    pub(super) fn will_send(&mut self, bytes: usize) -> u64 {
        let version = self.sent.len() as u64 + 1;
        self.sent.push(payload(version, bytes));
        version
    }

    pub(super) fn spec_in(&self, directory: &Path) -> Result<String, String> {
        self.store.spec_in(directory).ok_or_else(|| "there is no spec any more".into())
    }

    /// The cell must be there as it was last acknowledged, or as somebody was about to make it.
    pub(super) fn judge(&mut self, cut: &Cut<'_>, left: &Left) -> Result<u64, Failure> {
        let kept = cut.kept(left);
        let found = match kept.as_ref().and_then(|kept| self.seen.get(kept)) {
            Some(&found) => Ok(found),
            None => self.open(&cut.files(left)),
        };
        let promised = cut.acknowledged().unwrap_or(self.before);
        let what = match found {
            Ok(found) if found >= promised => {
                self.seen.extend(kept.map(|kept| (kept, found)));
                return Ok(found);
            }
            Ok(found) => format!("version {promised} was acknowledged, and {found} is there"),
            Err(what) => what,
        };
        cut.files(left).build(&self.scene.evidence().join("after-the-cut"))?;
        Err(Failure::failed(format!("{what}\n{}", cut.describe(left))))
    }

    fn open(&self, files: &Files) -> Result<u64, String> {
        self.scene.count("cases", 1);
        let directory = tempfile::tempdir_in(FAST).or_else(|_| tempfile::tempdir());
        let directory = directory.map_err(|e| e.to_string())?;
        files.build(directory.path()).map_err(|e| e.to_string())?;
        let spec = self.spec_in(directory.path())?;
        let found = {
            let backend = self.scene.open(&spec).map_err(|e| text("open", e))?;
            let found = self.runtime.block_on(backend.load()).map_err(|e| text("read", e))?;
            self.check(found.version, &found.data)?;
            let next = Version(found.version.0 + 1000);
            let swap = backend.compare_and_swap(found.version, next, b"after the cut");
            match self.runtime.block_on(swap).map_err(|e| text("write", e))? {
                Swap::Swapped => {}
                Swap::Conflict => return Err("nobody else is there, and a swap conflicts".into()),
            }
            found.version
        };
        let backend = self.scene.open(&spec).map_err(|e| text("open again", e))?;
        let last = self.runtime.block_on(backend.load()).map_err(|e| text("read again", e))?;
        if (last.version.0, &last.data[..]) != (found.0 + 1000, b"after the cut") {
            return Err(format!("a swap after the cut is lost, version {} is there", last.version));
        }
        Ok(found.0)
    }

    /// The bytes must be those that were sent with the version.
    fn check(&self, version: Version, data: &[u8]) -> Result<(), String> {
        const NOTHING: &[u8] = &[];
        let sent = match usize::try_from(version.0) {
            Ok(0) => Some(NOTHING),
            Ok(version) => self.sent.get(version - 1).map(Vec::as_slice),
            Err(_) => None,
        };
        match sent {
            None => Err(format!("version {version} is there, and nobody has sent it")),
            Some(sent) if sent == data => Ok(()),
            Some(_) => Err(format!("version {version} is there with other bytes than were sent")),
        }
    }
}

fn text(operation: &str, error: impl Into<Failure>) -> String {
    let (Failure::Failed(what) | Failure::Skipped(what)) = error.into();
    format!("cannot {operation} the store: {what}")
}
