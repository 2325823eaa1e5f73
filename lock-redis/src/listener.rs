//! Being told of swaps: a subscription on a connection of its own, for as long as anybody waits.

use std::time::Duration;

use tokio::runtime;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::servers::Subscription;

/// A subscription that nobody listens to is given up at the second of these.
const IDLE: Duration = Duration::from_secs(2);

/// A subscription; it ends some seconds after the last one who listens.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    /// The newest version that was told.
    versions: watch::Receiver<u64>,
    runtime: runtime::Id,
}

impl Listener {
    /// Listens to a subscription; `version` is what was there after it had begun.
    pub(crate) fn start(subscription: Subscription, version: u64) -> Self {
        let (tell, versions) = watch::channel(version);
        tokio::spawn(listen(subscription, tell));
        Self { versions, runtime: runtime::Handle::current().id() }
    }

    /// Whether it still listens, and in this runtime.
    pub(crate) fn is_good(&self) -> bool {
        self.runtime == runtime::Handle::current().id() && self.versions.has_changed().is_ok()
    }

    /// Waits for a version beyond this one; `false` if the subscription has ended.
    pub(crate) async fn beyond(&mut self, seen: u64) -> bool {
        self.versions.wait_for(|version| *version > seen).await.is_ok()
    }
}

async fn listen(mut subscription: Subscription, tell: watch::Sender<u64>) {
    let mut idle = interval(IDLE);
    idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_idle = false;
    loop {
        tokio::select! {
            message = subscription.next() => {
                let Some(message) = message else { return };
                // Whatever else somebody publishes there is no version.
                if let Ok(version) = message.get_payload::<u64>() {
                    tell.send_if_modified(|newest| {
                        let is_newer = version > *newest;
                        *newest = version.max(*newest);
                        is_newer
                    });
                }
            }
            _ = idle.tick() => {
                // The backend keeps one receiver itself.
                let is_idle = tell.receiver_count() <= 1;
                if is_idle && was_idle {
                    return;
                }
                was_idle = is_idle;
            }
        }
    }
}
