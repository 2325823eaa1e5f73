//! Backends that are broken in one way each: the trial that is meant to see it fails, and names it.
//!
//! This binary runs itself once more for each flaw, on the one trial, and without a flaw.

use std::collections::{BTreeSet, HashMap};
use std::env;
use std::fmt;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use libtest_mimic::{Arguments, Failed, Trial};
use lock_conformance::{Fixture, Start, Store};
use lock_core::{
    BackendError, BackendErrorKind, LockBackend, MemoryBackend, Reach, Snapshot, Swap, Version,
};
use tokio::task::yield_now;
use tokio::time::sleep;

/// The variable that chooses a flaw, or none.
const FLAW: &str = "LOCK_CONFORMANCE_FLAW";

/// Each flaw, and the trial that sees it.
const FLAWS: &[(&str, &str)] = &[
    ("compares nothing", "a_swap_from_another_version_changes_nothing"),
    ("swaps what is older", "a_swap_from_another_version_changes_nothing"),
    ("creates what exists", "a_cell_is_created_once"),
    ("every client has its own cell", "a_cell_is_created_once"),
    ("swaps what is absent", "an_absent_cell_is_not_swapped"),
    ("an absent cell is an error", "an_absent_cell_has_version_zero_and_no_bytes"),
    ("compares, and then writes", "of_many_with_the_same_expectation_one_swaps"),
    ("compares, and then writes", "threads_lose_no_update"),
    ("reads a replica", "a_load_is_as_new_as_what_anybody_was_told"),
    ("reads once", "a_load_is_as_new_as_what_anybody_was_told"),
    ("reads a replica", "what_was_acknowledged_is_there_for_who_comes_later"),
    ("trims", "any_bytes_come_back"),
    ("keeps text", "any_bytes_come_back"),
    ("empty is absent", "any_bytes_come_back"),
    ("cuts off", "three_megabytes_come_back_or_are_refused"),
    ("the same bytes are no swap", "a_swap_of_the_same_bytes_is_a_swap"),
    ("versions are floats", "versions_go_up_to_the_last"),
    ("versions have 32 bits", "versions_go_up_to_the_last"),
    ("counts itself", "versions_may_skip"),
    ("one cell for all stores", "two_stores_are_independent"),
    ("shows the secret", "a_store_is_named_without_its_secret"),
    ("changes its reach", "a_store_says_who_can_reach_it"),
    ("hints in secret", "a_change_is_told"),
    ("always hints", "a_hint_is_only_a_hint"),
    ("cannot hint", "a_hint_is_only_a_hint"),
    ("a hint blocks the client", "a_hint_is_only_a_hint"),
    ("writes in halves", "a_dropped_swap_is_applied_or_not_and_never_torn"),
    ("a dropped load jams it", "a_dropped_load_changes_nothing"),
    ("a hint blocks the client", "a_dropped_hint_changes_nothing"),
];

fn main() -> ExitCode {
    if let Ok(flaw) = env::var(FLAW) {
        return lock_conformance::run(&[Arc::new(Flawed { flaw, cells: Mutex::default() })]);
    }
    let broken = FLAWS.iter().map(|&(flaw, trial)| {
        Trial::test(format!("{flaw}: {trial}"), move || {
            let seen = !passes(flaw, trial)?;
            seen.then_some(()).ok_or_else(|| Failed::from("nobody has seen it"))
        })
    });
    let trials: BTreeSet<_> = FLAWS.iter().map(|&(_, trial)| trial).collect();
    let sound = trials.into_iter().map(|trial| {
        Trial::test(format!("no flaw: {trial}"), move || {
            passes("", trial)?.then_some(()).ok_or_else(|| Failed::from("it fails all the same"))
        })
    });
    libtest_mimic::run(&Arguments::from_args(), broken.chain(sound).collect()).exit_code()
}

/// Whether a trial passes on a backend with this flaw.
fn passes(flaw: &str, trial: &str) -> Result<bool, Failed> {
    let results = tempfile::tempdir()?;
    let output = Command::new(env::current_exe()?)
        .args(["--exact", &format!("flawed::contract::{trial}")])
        .env(FLAW, flaw)
        .env("LOCK_CONFORMANCE_RESULTS", results.path())
        .env("TMPDIR", results.path())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.contains("1 passed") {
        return Ok(true);
    }
    if text.contains("1 failed") {
        return Ok(false);
    }
    Err(Failed::from(format!("it did not run: {text}{}", String::from_utf8_lossy(&output.stderr))))
}

struct Flawed {
    flaw: String,
    cells: Mutex<HashMap<String, Shared>>,
}

/// What all clients of a store share: the cell, and what a replica of it has.
#[derive(Debug, Clone, Default)]
struct Shared {
    cell: MemoryBackend,
    replica: MemoryBackend,
}

struct Spec {
    spec: String,
    hints: bool,
}

impl Store for Spec {
    fn spec(&self) -> String {
        self.spec.clone()
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn tells_of_changes(&self) -> bool {
        self.hints
    }
}

impl Fixture for Flawed {
    fn name(&self) -> &'static str {
        "flawed"
    }

    fn start(&self) -> Start {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let spec = format!("flawed://user:pass{number}word@host/{number}");
        Ok(Box::new(Spec { spec, hints: self.flaw != "hints in secret" }))
    }

    fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError> {
        let key = if self.flaw == "one cell for all stores" { "" } else { spec };
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = match self.flaw.as_str() {
            "every client has its own cell" => Shared::default(),
            _ => cells.entry(key.into()).or_default().clone(),
        };
        Ok(Arc::new(Broken {
            flaw: self.flaw.clone(),
            spec: spec.into(),
            shared,
            first: Mutex::default(),
            used: AtomicBool::new(false),
            jammed: AtomicBool::new(false),
        }))
    }
}

struct Broken {
    flaw: String,
    spec: String,
    shared: Shared,
    first: Mutex<Option<Snapshot>>,
    used: AtomicBool,
    jammed: AtomicBool,
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the spec: it has a secret.
        f.debug_struct("Broken").field("flaw", &self.flaw).finish_non_exhaustive()
    }
}

impl Broken {
    fn is(&self, flaw: &str) -> bool {
        self.flaw == flaw
    }

    fn error(kind: BackendErrorKind) -> BackendError {
        BackendError::new(kind, "cannot do that: it is broken")
    }

    /// The version as it is kept.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    fn kept_version(&self, expected: Version, next: Version) -> Version {
        match self.flaw.as_str() {
            "versions are floats" => Version(next.0 as f32 as u64),
            "versions have 32 bits" => Version(u64::from(next.0 as u32)),
            "counts itself" => Version(expected.0 + 1),
            _ => next,
        }
    }

    /// The bytes as they are kept.
    fn kept_data(&self, data: &[u8]) -> Vec<u8> {
        match self.flaw.as_str() {
            "trims" => data.trim_ascii().into(),
            "keeps text" => String::from_utf8_lossy(data).into_owned().into(),
            "cuts off" => data[..data.len().min(1 << 20)].into(),
            _ => data.into(),
        }
    }

    fn conflicts(&self, found: &Snapshot, expected: Version, data: &[u8]) -> bool {
        let differs = found.version != expected;
        match self.flaw.as_str() {
            "compares nothing" => false,
            "swaps what is older" => found.version > expected,
            "creates what exists" => differs && expected != Version::ABSENT,
            "swaps what is absent" => differs && found.version != Version::ABSENT,
            "the same bytes are no swap" => differs || found.data == data,
            _ => differs,
        }
    }
}

#[async_trait]
impl LockBackend for Broken {
    fn reach(&self) -> Reach {
        let changes = self.is("changes its reach") && self.used.load(Ordering::Relaxed);
        if changes { Reach::Network } else { Reach::Host }
    }

    fn describe(&self) -> String {
        if self.is("shows the secret") {
            return self.spec.clone();
        }
        format!("flawed:{}", self.spec.rsplit('/').next().unwrap_or_default())
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        if self.is("a dropped load jams it") {
            if self.jammed.swap(true, Ordering::Relaxed) {
                return Err(Self::error(BackendErrorKind::Unavailable));
            }
            yield_now().await;
            self.jammed.store(false, Ordering::Relaxed);
        }
        let cell = self.shared.cell.snapshot();
        match self.flaw.as_str() {
            "reads a replica" => Ok(self.shared.replica.snapshot()),
            "reads once" => {
                let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(first.get_or_insert(cell).clone())
            }
            "empty is absent" if cell.data.is_empty() => Ok(Snapshot::default()),
            "an absent cell is an error" if cell.version == Version::ABSENT => {
                Err(Self::error(BackendErrorKind::Misconfigured))
            }
            "a hint blocks the client" if self.jammed.load(Ordering::Relaxed) => {
                Err(Self::error(BackendErrorKind::Unavailable))
            }
            _ => Ok(cell),
        }
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        self.used.store(true, Ordering::Relaxed);
        let found = self.shared.cell.snapshot();
        if self.conflicts(&found, expected, data) {
            return Ok(Swap::Conflict);
        }
        let new =
            Snapshot { version: self.kept_version(expected, next), data: self.kept_data(data) };
        match self.flaw.as_str() {
            "compares, and then writes" => {
                std::thread::sleep(Duration::from_millis(1));
                self.shared.cell.restore(new);
                return Ok(Swap::Swapped);
            }
            "writes in halves" => {
                let half = new.data[..new.data.len() / 2].to_vec();
                self.shared.cell.restore(Snapshot { version: next, data: half });
                yield_now().await;
                self.shared.cell.restore(new);
                return Ok(Swap::Swapped);
            }
            _ => {}
        }
        let swap = self.shared.cell.compare_and_swap(found.version, new.version, &new.data).await;
        // What was there before reaches the replica now.
        self.shared.replica.restore(found);
        swap
    }

    async fn changed(&self, seen: Version) -> Result<(), BackendError> {
        match self.flaw.as_str() {
            "always hints" => Ok(()),
            "cannot hint" => Err(Self::error(BackendErrorKind::Unavailable)),
            "a hint blocks the client" => {
                self.jammed.store(true, Ordering::Relaxed);
                std::future::pending().await
            }
            _ => {
                while self.shared.cell.snapshot().version <= seen {
                    sleep(Duration::from_millis(1)).await;
                }
                Ok(())
            }
        }
    }
}
