//! `lockctl wait`: returns when locks are free, without taking them.

use std::time::Duration;

use lock_core::{AcquireError, LockSet, Request};
use tokio::time::{self, Instant};

use crate::{
    cli,
    keeper::{LockError, parent},
    open::with_locks,
    store::Settings,
    waiting::WaitingLine,
};

/// How often it is looked whether they are free.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait before anything is said.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// Waits until the request could be granted, or until the time is over.
pub(crate) fn wait(settings: &Settings, options: &cli::Wait) -> Result<(), LockError> {
    let request = Request::from(LockSet::new());
    let request = options.names.iter().fold(request, Request::and_exclusive);
    let locks_wanted = request.locks().map_err(AcquireError::from)?;
    let mut line = WaitingLine::new(locks_wanted, settings.describe());
    with_locks(settings, async |locks| {
        let begin = Instant::now();
        let end = options.limit.and_then(|limit| begin.checked_add(limit));
        let mut task = locks.task("wait");
        if let Some(parent) = parent(locks).await? {
            task = task.under(&parent);
        }
        let mut said = begin;
        loop {
            let Some(denial) = task.would_block(request.clone()).await? else {
                line.clear();
                return Ok(());
            };
            let now = Instant::now();
            if end.is_some_and(|end| end <= now) {
                line.clear();
                return Err(AcquireError::TimedOut(denial).into());
            }
            if !options.quiet && now - said >= QUIET_TIME {
                said = now;
                line.update(&Ok(denial.blockers));
            }
            let pause = end.map_or(LOOK_INTERVAL, |end| (end - now).min(LOOK_INTERVAL));
            time::sleep(pause).await;
        }
    })
}
