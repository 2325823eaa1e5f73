//! Counts and times for whoever watches a program: without the feature `metrics` they are nothing.
//!
//! Names and labels are documented in `observability.md`, and a test compares.

use crate::error::AcquireError;

/// How a request for locks ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Granted,
    Busy,
    TimedOut,
    Deadlock,
    Released,
    StoreError,
    Closed,
    /// Nobody waited for the answer any more.
    Dropped,
}

impl Answer {
    pub(crate) fn of<T>(result: &Result<T, AcquireError>) -> Self {
        match result {
            Ok(_) => Self::Granted,
            Err(AcquireError::Busy(_)) => Self::Busy,
            Err(AcquireError::TimedOut(_)) => Self::TimedOut,
            Err(AcquireError::Deadlock(_)) => Self::Deadlock,
            Err(AcquireError::Released) => Self::Released,
            // Wrong requests are refused before anything is asked.
            Err(AcquireError::Store(_) | AcquireError::Request(_)) => Self::StoreError,
            Err(AcquireError::Closed) => Self::Closed,
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod sink {
    use std::sync::Arc;
    use std::time::Duration;

    use super::Answer;
    use crate::backend::LockBackend;

    pub(crate) fn answered(_store: &str, _answer: Answer, _after: Duration) {}

    pub(crate) fn waits(_store: &str) {}

    pub(crate) fn lost(_store: &str) {}

    pub(crate) fn swept(_store: &str) {}

    pub(crate) fn metered(backend: Arc<dyn LockBackend>) -> Arc<dyn LockBackend> {
        backend
    }
}

#[cfg(feature = "metrics")]
mod sink;

pub(crate) use sink::{answered, lost, metered, swept, waits};
