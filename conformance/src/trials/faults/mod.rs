//! Layer 6: faults of the network and of the server.

mod amid;
mod clusters;
mod late;
mod mix;
mod network;
mod replies;
mod servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use lock_core::{
    BackendError, BackendErrorKind, LockBackend, Locks, LocksBuilder, Reach, Snapshot, Swap,
    Version,
};

use super::wait::{until, within};
use crate::fixture::Server;
use crate::proxy::Proxy;
use crate::scene::Scene;
use crate::trial::{Failure, Verdict, trials};
use clusters::{
    a_cluster_that_was_without_a_quorum_has_lost_nothing, a_node_that_has_left_is_not_believed,
    a_node_that_is_killed_costs_nobody_a_lock, a_node_that_takes_over_costs_nobody_a_lock,
};
use late::{
    a_release_that_arrives_late_frees_nobody_else,
    a_request_that_arrives_after_it_was_given_up_leaves_no_phantom,
    a_request_that_arrives_after_its_process_died_leaves_no_phantom,
};
use mix::{
    everything_at_once_never_lets_two_in_and_leaves_nothing,
    faulty_calls_never_let_two_in_and_leave_nothing,
};
use network::{
    a_black_hole_to_the_client_is_noticed_and_recovered_from,
    a_black_hole_to_the_server_is_noticed_and_recovered_from,
    a_call_of_which_nothing_is_heard_ends, a_conversation_may_be_cut_anywhere,
    a_holder_whose_renewals_are_answered_late_gives_up_in_time, a_slow_network_only_takes_longer,
    connections_may_be_reset_at_any_time,
};
use replies::{a_reply_may_be_lost_at_any_swap, a_waiter_is_told_by_the_store};
use servers::{
    a_server_that_comes_back_with_an_older_table_repeats_no_fence,
    a_server_that_comes_up_late_is_waited_for,
    a_server_that_is_down_for_longer_than_the_lease_costs_the_lock,
    a_server_that_is_killed_costs_nobody_a_lock,
};

trials!("faults":
    a_slow_network_only_takes_longer,
    a_call_of_which_nothing_is_heard_ends,
    a_black_hole_to_the_server_is_noticed_and_recovered_from,
    a_black_hole_to_the_client_is_noticed_and_recovered_from,
    #[random] connections_may_be_reset_at_any_time,
    #[random] a_conversation_may_be_cut_anywhere,
    #[random] a_reply_may_be_lost_at_any_swap,
    a_request_that_arrives_after_it_was_given_up_leaves_no_phantom,
    a_request_that_arrives_after_its_process_died_leaves_no_phantom,
    a_release_that_arrives_late_frees_nobody_else,
    a_holder_whose_renewals_are_answered_late_gives_up_in_time,
    a_waiter_is_told_by_the_store,
    a_server_that_comes_up_late_is_waited_for,
    #[random] a_server_that_is_killed_costs_nobody_a_lock,
    a_server_that_is_down_for_longer_than_the_lease_costs_the_lock,
    a_server_that_comes_back_with_an_older_table_repeats_no_fence,
    #[random] a_node_that_is_killed_costs_nobody_a_lock,
    #[random] a_cluster_that_was_without_a_quorum_has_lost_nothing,
    #[random] a_node_that_takes_over_costs_nobody_a_lock,
    a_node_that_has_left_is_not_believed,
    #[random] faulty_calls_never_let_two_in_and_leave_nothing,
    #[random] everything_at_once_never_lets_two_in_and_leaves_nothing,
);

/// A store that can be reached directly, and over a network that fails as it is told.
struct Net<'a> {
    scene: &'a Scene,
    server: &'a dyn Server,
    proxy: Proxy,
}

impl<'a> Net<'a> {
    fn new(scene: &'a Scene) -> Result<Self, Failure> {
        let server = scene.needs_server()?;
        Ok(Self { scene, server, proxy: Proxy::start(server.address())? })
    }

    /// The spec of the store behind the proxy.
    fn spec(&self) -> String {
        self.server.spec_at(self.proxy.address())
    }

    fn backend(&self) -> Result<Arc<dyn LockBackend>, Failure> {
        Ok(self.scene.open(&self.spec())?)
    }

    /// A client behind the proxy.
    fn builder(&self) -> Result<LocksBuilder, Failure> {
        Ok(Locks::builder(self.backend()?))
    }

    /// Counts the faults, and sees that nothing is left and that everybody can go on.
    async fn assert_clean(&self, lock: &str) -> Verdict {
        self.scene.count("faults", self.proxy.counts().faults());
        assert_clean(self.scene, lock).await
    }
}

/// Nothing is left in the table, and the lock can be had.
async fn assert_clean(scene: &Scene, lock: &str) -> Verdict {
    let locks = scene.locks()?;
    let left = locks.list().await?;
    if !left.holds.is_empty() || !left.waiting.is_empty() {
        return Err(Failure::failed(format!("something is left: {left:#?}")));
    }
    within("another client", locks.acquire(lock)).await??.release().await?;
    locks.close().await?;
    Ok(())
}

type Hook = Box<dyn Fn() + Send + Sync>;

/// Counts the calls of a backend, and does something right before the n-th swap.
struct Tap {
    inner: Arc<dyn LockBackend>,
    hook: std::sync::Mutex<Option<(usize, Hook)>>,
    swaps: AtomicUsize,
    unknown: AtomicUsize,
    told: AtomicUsize,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Tap {
    fn new(inner: Arc<dyn LockBackend>) -> Self {
        let zero = AtomicUsize::default;
        Self { inner, hook: None.into(), swaps: zero(), unknown: zero(), told: zero() }
    }

    /// Does this right before the n-th swap from now on, 1 being the next.
    fn before_swap(&self, nth: usize, hook: impl Fn() + Send + Sync + 'static) {
        let at = self.swaps.load(Ordering::SeqCst) + nth;
        *self.hook.lock().expect("nobody panics with it") = Some((at, Box::new(hook)));
    }

    /// How many swaps ended with an unknown outcome.
    fn unknown(&self) -> usize {
        self.unknown.load(Ordering::SeqCst)
    }

    /// How often the store told of a change.
    fn told(&self) -> usize {
        self.told.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl LockBackend for Tap {
    fn reach(&self) -> Reach {
        self.inner.reach()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        self.inner.load().await
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        let swap = self.swaps.fetch_add(1, Ordering::SeqCst) + 1;
        let due = self.hook.lock().expect("nobody panics with it").take_if(|(at, _)| *at == swap);
        if let Some((_, hook)) = due {
            hook();
        }
        let swapped = self.inner.compare_and_swap(expected, next, data).await;
        let unknown = |error: &BackendError| error.kind() == BackendErrorKind::OutcomeUnknown;
        self.unknown.fetch_add(swapped.as_ref().is_err_and(unknown).into(), Ordering::SeqCst);
        swapped
    }

    async fn load_in_turn(&self) -> Result<Option<Snapshot>, BackendError> {
        self.inner.load_in_turn().await
    }

    async fn end_turn(&self) {
        self.inner.end_turn().await;
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    async fn changed(&self, seen: Version) -> Result<(), BackendError> {
        self.inner.changed(seen).await?;
        self.told.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}
