//! The names of a chain in a real directory.

use std::io;

use lock_core::{BackendError, BackendErrorKind, Version};

use crate::cell::{Cell, Head};
use crate::excl::Names;
use crate::folder::{Folder, New, random};

/// What stands before the number in a name.
const AFTER: &str = "after-";
const COLLECTED: &str = "collected";
/// For those who look at it.
const COLLECTED_TEXT: &[u8] =
    b"The first of the files after-... were removed; this one has to stay.\n";

impl Names for Folder {
    type New<'n> = New<'n>;

    fn list(&self) -> Result<Vec<Version>, BackendError> {
        let number = |name: &String| {
            let number = name.strip_prefix(AFTER)?.parse().ok().map(Version)?;
            (name_of(number) == *name).then_some(number)
        };
        Ok(self.names()?.iter().filter_map(number).collect())
    }

    fn read(&self, after: Version) -> Result<Option<Cell>, BackendError> {
        Folder::read(self, &name_of(after))
    }

    fn head(&self, after: Version) -> Result<Option<Head>, BackendError> {
        Folder::head(self, &name_of(after))
    }

    fn write(&self, head: &Head, data: &[u8]) -> Result<New<'_>, BackendError> {
        let (line, end) = head.around();
        Folder::write(self, &[&line, data, end])
    }

    fn link(&self, new: &New<'_>, after: Version) -> Result<bool, BackendError> {
        new.link(&name_of(after))
    }

    fn remove(&self, after: Version) -> Result<(), BackendError> {
        Folder::remove(self, &name_of(after))
    }

    fn has_collected(&self) -> Result<bool, BackendError> {
        self.has(COLLECTED)
    }

    fn mark_collected(&self) -> Result<(), BackendError> {
        Folder::write(self, &[COLLECTED_TEXT])?.link(COLLECTED).map(drop)
    }

    fn sync(&self) -> Result<(), BackendError> {
        Folder::sync(self)
    }

    fn sync_above(&self) -> Result<(), BackendError> {
        Folder::sync_above(self)
    }

    fn id(&self) -> Result<u64, BackendError> {
        random().map_err(|e: io::Error| self.cannot("get a random number for", "", e))
    }

    fn is_current(&self) -> bool {
        Folder::is_current(self)
    }

    fn refuse(&self, after: Version, what: &str) -> BackendError {
        Folder::refuse(self, &name_of(after), what)
    }

    fn error(&self, kind: BackendErrorKind, what: &str) -> BackendError {
        let path = self.path().display();
        let verb = match kind {
            BackendErrorKind::OutcomeUnknown => "tell what was written to",
            _ => "read",
        };
        BackendError::new(kind, format!("cannot {verb} {path}: {what}"))
    }
}

fn name_of(after: Version) -> String {
    format!("{AFTER}{after}")
}
