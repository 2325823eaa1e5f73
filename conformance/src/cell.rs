//! What trials do with a bare cell, as patiently as a driver does it.

use std::time::{Duration, Instant};

use lock_core::{BackendError, BackendErrorKind, LockBackend, Snapshot, Swap, Version};

use crate::scene::LIVENESS;

/// Swaps, and tries again while somebody else is writing.
pub(crate) async fn swap(
    backend: &dyn LockBackend,
    expected: Version,
    next: Version,
    data: &[u8],
) -> Result<Swap, BackendError> {
    let end = Instant::now() + LIVENESS;
    loop {
        match backend.compare_and_swap(expected, next, data).await {
            Err(error) if is_busy(&error) && Instant::now() < end => breathe().await,
            done => return done,
        }
    }
}

/// Loads, and tries again while somebody else is writing.
pub(crate) async fn load(backend: &dyn LockBackend) -> Result<Snapshot, BackendError> {
    let end = Instant::now() + LIVENESS;
    loop {
        match backend.load().await {
            Err(error) if is_busy(&error) && Instant::now() < end => breathe().await,
            done => return done,
        }
    }
}

/// Nobody loses so many races in a row against those who have a turn as well.
const RACES_MAX: usize = 1_000;

/// Puts this into the cell, whatever is there.
pub(crate) async fn put(backend: &dyn LockBackend, data: &[u8]) -> Result<Snapshot, BackendError> {
    for _ in 0..RACES_MAX {
        let Snapshot { version, .. } = load(backend).await?;
        let next = Version(version.0 + 1);
        if swap(backend, version, next, data).await? == Swap::Swapped {
            return Ok(Snapshot { version: next, data: data.into() });
        }
        breathe().await;
    }
    Err(never_swapped())
}

/// Adds one to the number in the cell, and returns it; an absent cell is zero.
pub(crate) async fn add_one(backend: &dyn LockBackend) -> Result<u64, BackendError> {
    for _ in 0..RACES_MAX {
        let Snapshot { version, data } = load(backend).await?;
        let number = number(&data)? + 1;
        let next = Version(version.0 + 1);
        if swap(backend, version, next, number.to_string().as_bytes()).await? == Swap::Swapped {
            return Ok(number);
        }
        breathe().await;
    }
    Err(never_swapped())
}

/// The number in a cell.
pub(crate) fn number(data: &[u8]) -> Result<u64, BackendError> {
    if data.is_empty() {
        return Ok(0);
    }
    let number = str::from_utf8(data).ok().and_then(|text| text.parse().ok());
    let wrong = || format!("the cell holds {:?}, which is no number", data.escape_ascii());
    number.ok_or_else(|| BackendError::new(BackendErrorKind::Misconfigured, wrong()))
}

fn never_swapped() -> BackendError {
    let message = format!("{RACES_MAX} swaps in a row conflict with what was just read");
    BackendError::new(BackendErrorKind::Busy, message)
}

fn is_busy(error: &BackendError) -> bool {
    error.kind() == BackendErrorKind::Busy
}

/// Lets others have a turn, for a time that differs from theirs.
async fn breathe() {
    tokio::time::sleep(Duration::from_micros(fastrand::u64(100..2_000))).await;
}
