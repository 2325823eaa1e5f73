//! Layer 1: the obligations of tasks and guards over the backend.

pub(crate) mod cells;
pub(crate) mod drops;
pub(crate) mod ends;
pub(crate) mod modes;
pub(crate) mod names;
pub(crate) mod nesting;
pub(crate) mod waiting;

use std::fmt::Debug;

use lock_core::table::Denial;
use lock_core::{AcquireError, Guard, Locks, Request};

use super::wait::{until, within};
use crate::trial::{Failure, Verdict};

/// Waits until so many wait in the store.
async fn until_waiting(locks: &Locks, waiting: usize) -> Verdict {
    until(&format!("{waiting} waiters"), async || Ok(locks.list().await?.waiting.len() == waiting))
        .await
}

/// Waits until nobody holds anything or waits.
async fn until_empty(locks: &Locks) -> Verdict {
    until("an empty table", async || {
        let listing = locks.list().await?;
        Ok(listing.holds.is_empty() && listing.waiting.is_empty())
    })
    .await
}

/// Whether somebody could take this now. What is taken is given back at once.
async fn is_free(locks: &Locks, request: impl Into<Request>) -> Result<bool, Failure> {
    match locks.try_acquire(request).await {
        Ok(guard) => {
            guard.release().await?;
            Ok(true)
        }
        Err(AcquireError::Busy(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Who is in the way, by what the error of a try says.
fn busy(tried: Result<Guard, AcquireError>) -> Result<Denial, Failure> {
    match tried {
        Err(AcquireError::Busy(denial)) => Ok(denial),
        other => Err(unexpected("Busy", &other)),
    }
}

fn unexpected(wanted: &str, found: &impl Debug) -> Failure {
    Failure::failed(format!("expected {wanted}, not {found:?}"))
}
