//! Whose end is told by the system: the processes that keep this client waiting.

use std::collections::HashMap;
use std::pin::Pin;

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::ids::ClientId;
use crate::process::{DeathWatch, Process};
use crate::table::ClientView;

/// How many processes are watched for their death at most.
const WATCHES_MAX: usize = 64;

type Key = (ClientId, Process);
type Death = Pin<Box<dyn Future<Output = Key> + Send>>;

/// The processes that are watched for their death.
#[derive(Default)]
pub(super) struct Deaths {
    coming: FuturesUnordered<Death>,
    /// Whether each lives as far as was told; the dead among them too, which are not watched again: a
    /// client may live on without one of its processes.
    watched: HashMap<Key, bool>,
}

impl Deaths {
    /// Learns of the death of a client's processes at once, as far as that is possible.
    pub(super) fn watch(&mut self, client: &ClientView) {
        for &process in &client.processes.processes {
            if self.coming.len() >= WATCHES_MAX {
                return;
            }
            let key = (client.id, process);
            if !self.watched.contains_key(&key)
                && let Ok(watch) = DeathWatch::new(process)
            {
                self.watched.insert(key, true);
                self.coming.push(Box::pin(async move {
                    watch.died().await;
                    key
                }));
            }
        }
    }

    /// Whether a process of the client is watched, and its end was not told.
    pub(super) fn would_tell(&self, client: &ClientView) -> bool {
        let lives = |process: &Process| self.watched.get(&(client.id, *process)) == Some(&true);
        client.processes.processes.iter().any(lives)
    }

    /// Waits for the next death; `None` if nobody is watched.
    ///
    /// May be dropped at any time.
    pub(super) async fn next(&mut self) -> Option<()> {
        let key = self.coming.next().await?;
        self.watched.insert(key, false);
        Some(())
    }

    /// Stops watching: nobody is waited for.
    pub(super) fn clear(&mut self) {
        if !self.watched.is_empty() {
            *self = Self::default();
        }
    }
}
