//! Waiting for what has to come: by polling, and not for ever.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::scene::LIVENESS;
use crate::trial::{Failure, Verdict};

/// Waits, but not for ever.
pub(super) async fn within<F: Future>(what: &str, future: F) -> Result<F::Output, Failure> {
    let late = |_| Failure::failed(format!("{what} takes for ever"));
    timeout(LIVENESS, future).await.map_err(late)
}

/// Looks again and again until it is so.
pub(super) async fn until(
    what: &str,
    mut is_so: impl AsyncFnMut() -> Result<bool, Failure>,
) -> Verdict {
    within(what, async {
        while !is_so().await? {
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    })
    .await?
}
