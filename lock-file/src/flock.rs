//! Strategy `flock`: one file, replaced as a whole while the kernel keeps others from doing the same.
//!
//! The file `cell` is never changed, only replaced by rename. So whoever opens it reads all of one cell,
//! without a lock. A swap
//!
//! 1. writes the new cell under another name, and syncs it;
//! 2. takes the flock of the directory; not of a file in it, which could be unlinked or replaced while
//!    somebody has it locked;
//! 3. reads the version, and leaves it at that if it is not the expected one;
//! 4. renames the new cell to `cell`, and gives the lock back;
//! 5. syncs the directory, and answers.
//!
//! *Never a torn cell*: a rename is done or not, and its bytes were durable before. *Durable when
//! answered*: by 5. It is not needed under the lock: whoever swaps next renames over the same name, and
//! syncs the directory as well, which covers both. *No lost update*: between 3 and 4 nobody else renames,
//! since all who do hold the flock of the same directory. It is the same one because both its path is
//! looked at while it is locked: a directory that was replaced is opened anew. Should it be replaced
//! just then, between that look and the rename, a last look says so, and the outcome is unknown.
//!
//! The kernel frees the lock of whoever dies. Whoever is stopped between 2 and 4, some ten
//! microseconds, keeps all others from writing until it goes on: they are told [`Busy`].
//!
//! [`Busy`]: lock_core::BackendErrorKind::Busy

use std::thread::sleep;
use std::time::Duration;

use fs4::{FileExt, TryLockError};
use lock_core::{BackendError, BackendErrorKind, Snapshot, Swap, Version, files};

use crate::cell::{Cell, Head};
use crate::folder::Folder;

pub(crate) const CELL: &str = "cell";

/// Who holds the lock needs it for some microseconds.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_micros(100);

pub(crate) fn load(folder: &Folder) -> Result<Snapshot, BackendError> {
    Ok(folder.read(CELL)?.map(Cell::into_snapshot).unwrap_or_default())
}

/// Swaps; `seen` is the version that this client saw last.
pub(crate) fn swap(
    folder: &Folder,
    seen: Option<Version>,
    expected: Version,
    next: Version,
    data: &[u8],
) -> Result<Swap, BackendError> {
    // Without a lock, so that who comes too late costs no sync and disturbs nobody.
    if seen != Some(expected) && version(folder)? != expected {
        return Ok(Swap::Conflict);
    }
    let (line, end) = Head::new(next, data, None).around();
    let new = folder.write(&[&line, data, end])?;
    if expected == Version::ABSENT {
        folder.sync_above()?;
    }
    let lock = Lock::take(folder)?;
    if version(folder)? != expected || !folder.is_current() {
        return Ok(Swap::Conflict);
    }
    new.rename(CELL)?;
    drop(lock);
    folder.sync().map_err(|e| {
        let what = format!("cannot tell whether {} is durable", folder.path().display());
        BackendError::new(BackendErrorKind::OutcomeUnknown, what).with_source(e)
    })?;
    if folder.is_current() { Ok(Swap::Swapped) } else { Err(folder.replaced()) }
}

fn version(folder: &Folder) -> Result<Version, BackendError> {
    Ok(folder.head(CELL)?.map_or(Version::ABSENT, |head| head.version))
}

/// The flock of a directory.
struct Lock<'f>(&'f Folder);

impl<'f> Lock<'f> {
    fn take(folder: &'f Folder) -> Result<Self, BackendError> {
        for attempt in 1.. {
            match FileExt::try_lock(folder.directory()) {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt < ATTEMPTS => sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let what = format!(
                        "cannot lock {}: somebody else has it locked",
                        folder.path().display()
                    );
                    return Err(BackendError::new(BackendErrorKind::Busy, what));
                }
                Err(TryLockError::Error(e)) => return Err(files::error("lock", folder.path(), e)),
            }
        }
        Ok(Self(folder))
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Not by closing the descriptor: a child that was just forked may still have a copy of it.
        let _ = FileExt::unlock(self.0.directory());
    }
}
