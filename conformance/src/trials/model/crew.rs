//! The clients that play the sequences on one store, one sequence after the other.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lock_core::table::LockTable;
use lock_core::{LockBackend, Locks, Swap, Version};
use tokio::time::{sleep, timeout};

use super::case::Case;
use super::step::Step;
use crate::fixture::Store;
use crate::model::world::TASKS;
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict};

/// How long anything may take while a sequence that failed is made smaller: what is too slow then is
/// only a worse example.
const PATIENCE_WHEN_SHRINKING: Duration = Duration::from_secs(1);

/// Some clients and an observer of one store.
pub(super) struct Crew {
    /// The owners of [`TASKS`].
    pub(super) clients: Vec<Locks>,
    store: Arc<dyn LockBackend>,
    patience: Duration,
    /// The greatest fence of all that were ever given.
    pub(super) fence: u64,
}

impl Crew {
    pub(super) fn new(scene: &Scene, store: &dyn Store) -> Result<Self, Failure> {
        let owners = TASKS.iter().map(|(owner, ..)| *owner).max().unwrap_or_default();
        let client = |number| {
            let builder = Locks::builder(scene.open(&store.spec())?);
            Ok(builder.name(format!("client-{number}")).build())
        };
        let clients: Result<_, Failure> = (1..=owners).map(client).collect();
        let store = scene.open(&store.spec())?;
        Ok(Self { clients: clients?, store, patience: LIVENESS, fence: 0 })
    }

    /// Plays a sequence, which leaves nothing behind.
    pub(super) async fn play(&mut self, steps: &[Step]) -> Verdict {
        let mut case = Case::new(self);
        for (at, step) in steps.iter().enumerate() {
            case.take(step).await.map_err(|failure| match failure {
                Failure::Failed(why) => {
                    Failure::failed(format!("after step {}, {step:?}: {why}", at + 1))
                }
                skipped @ Failure::Skipped(_) => skipped,
            })?;
        }
        case.end();
        self.until("the table is empty after all", async |crew| {
            Ok(crew.table().await?.is_empty().then_some(()))
        })
        .await
    }

    /// Forgets a sequence that failed: other clients, and an empty table.
    pub(super) async fn start_again(&mut self, scene: &Scene, store: &dyn Store) -> Verdict {
        let closed = join_all(self.clients.iter().map(Locks::close));
        let _ = timeout(PATIENCE_WHEN_SHRINKING, closed).await;
        loop {
            let cell = self.store.load().await?;
            let next = Version(cell.version.0 + 1);
            let empty = LockTable::new().encode();
            let swap = self.store.compare_and_swap(cell.version, next, &empty).await?;
            if swap == Swap::Swapped {
                break;
            }
        }
        *self = Self { patience: PATIENCE_WHEN_SHRINKING, ..Self::new(scene, store)? };
        Ok(())
    }

    /// The table as it is now.
    pub(super) async fn table(&self) -> Result<LockTable, Failure> {
        Ok(LockTable::decode(&self.store.load().await?)?)
    }

    /// Waits, but not for ever.
    pub(super) async fn within<F: Future>(
        &self,
        what: &str,
        future: F,
    ) -> Result<F::Output, Failure> {
        let late = |_| Failure::failed(format!("{what} takes for ever"));
        timeout(self.patience, future).await.map_err(late)
    }

    /// Asks until there is an answer.
    pub(super) async fn until<T>(
        &self,
        what: &str,
        mut ask: impl AsyncFnMut(&Self) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let asks = async {
            loop {
                if let Some(answer) = ask(self).await? {
                    return Ok(answer);
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        self.within(what, asks).await?
    }
}
