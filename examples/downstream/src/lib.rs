//! Somebody else's code: reports, each of which is made by one process at a time.

use std::fmt;

use lock_core::{AcquireError, Locks, VerifyError};

/// What came of asking for a report.
#[derive(Debug, PartialEq, Eq)]
pub enum Made {
    /// It was made here.
    Here,
    /// Somebody else is making it.
    Elsewhere,
}

/// Why a report was not made.
#[derive(Debug)]
pub enum ReportError {
    /// Its lock could not be asked for.
    Lock(AcquireError),
    /// Its lock was lost while it was made, so that somebody else may be making it too.
    Lost(VerifyError),
}

/// Makes a report under its lock, unless somebody else is at it. `write` is given the fence, for a
/// target that refuses what is out of date.
///
/// # Errors
///
/// [`ReportError`].
pub async fn make(
    locks: &Locks,
    report: &str,
    write: impl AsyncFnOnce(u64),
) -> Result<Made, ReportError> {
    let guard = match locks.try_acquire(format!("report/{report}")).await {
        Ok(guard) => guard,
        Err(error) if error.is_busy() => return Ok(Made::Elsewhere),
        Err(error) => return Err(ReportError::Lock(error)),
    };
    write(guard.fence()).await;
    guard.verify().await.map_err(ReportError::Lost)?;
    Ok(Made::Here)
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(error) => write!(f, "the report cannot be locked: {error}"),
            Self::Lost(error) => write!(f, "the report may be made twice: {error}"),
        }
    }
}

impl std::error::Error for ReportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Lock(error) => Some(error),
            Self::Lost(error) => Some(error),
        }
    }
}
