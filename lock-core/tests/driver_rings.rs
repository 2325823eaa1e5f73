//! Bells and hints: whoever is told to look does so at once, also if a call is under way.
#![cfg(target_os = "linux")]

mod driver;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use driver::{World, until, within};
use lock_core::table::LockTable;
use lock_core::testing::{Effect, Fault, Faults, TestClock};
use lock_core::{BackendError, LockBackend, Locks, MemoryBackend, Reach, Snapshot, Swap, Version};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Much less than a waiter that relies on bells waits before it looks by itself.
const AT_ONCE: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_rung_while_it_reads_looks_again() {
    let world = World::new();
    let (holder, _) = world.client();
    let (waiter, faults) = world.client();
    let guard = holder.acquire("a").await.unwrap();
    let waiting = tokio::spawn(async move { waiter.acquire("a").await });
    world.until_waiting(1).await;
    faults.next_load(Fault::Hang(Effect::Now));
    until("it looks", || faults.hanging() == 1).await;
    guard.release().await.unwrap();
    sleep(Duration::from_millis(1)).await; // In which the bell is heard.
    let begin = Instant::now();
    faults.release();
    within("the hand-off", waiting).await.unwrap().unwrap().release().await.unwrap();
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_rung_while_it_swaps_looks_again() {
    let world = World::new();
    let (holder, _) = world.client();
    let (waiter, faults) = world.client();
    let guard = holder.acquire("a").await.unwrap();
    let mut task = waiter.task("waiter");
    let waiting = tokio::spawn(async move { task.acquire("a").await });
    world.until_waiting(1).await;
    faults.next_swap(Fault::Hang(Effect::Now));
    let other = tokio::spawn(async move { waiter.acquire("b").await });
    until("it swaps", || faults.hanging() == 1).await;
    guard.release().await.unwrap();
    sleep(Duration::from_millis(1)).await; // In which the bell is heard.
    let begin = Instant::now();
    faults.release();
    within("the hand-off", waiting).await.unwrap().unwrap().release().await.unwrap();
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    within("the other lock", other).await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_rung_while_it_reads_looks_again() {
    let world = World::new();
    let (holder, faults) = world.client();
    let (other, _) = world.client();
    let guard = holder.task("victim").acquire("a").await.unwrap();
    faults.next_load(Fault::Hang(Effect::Now));
    let listing = tokio::spawn(async move { holder.list().await });
    until("it reads", || faults.hanging() == 1).await;
    assert_eq!(other.release_task("victim").await.unwrap(), 1);
    sleep(Duration::from_millis(1)).await; // In which the bell is heard.
    let begin = Instant::now();
    faults.release();
    assert_eq!(within("the list", listing).await.unwrap().unwrap().holds.len(), 1);
    within("the loss", guard.lost()).await;
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
}

/// So that it has nothing to read when it releases.
#[tokio::test(start_paused = true)]
async fn a_holder_reads_the_table_when_somebody_begins_to_wait() {
    let world = World::new();
    let (holder, faults) = world.client();
    let (waiter, _) = world.client();
    let guard = holder.acquire("a").await.unwrap();
    let loads = faults.loads();
    let begin = Instant::now();
    let waiting = tokio::spawn(async move { waiter.acquire("a").await });
    until("the holder reads", || faults.loads() > loads).await;
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    sleep(Duration::from_millis(100)).await;
    let calls = (faults.loads(), faults.swaps());
    guard.release().await.unwrap();
    assert_eq!((faults.loads(), faults.swaps()), (calls.0, calls.1 + 1));
    within("the hand-off", waiting).await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_handed_a_lock_is_woken_while_that_is_written() {
    let world = World::new();
    let (holder, faults) = world.client();
    let (waiter, looks) = world.client();
    let guard = holder.acquire("a").await.unwrap();
    let waiting = tokio::spawn(async move { waiter.acquire("a").await });
    world.until_waiting(1).await;
    sleep(Duration::from_millis(100)).await;
    let loads = looks.loads();
    let begin = Instant::now();
    faults.next_swap(Fault::Hang(Effect::Never));
    let releasing = tokio::spawn(guard.release());
    until("the waiter looks", || looks.loads() > loads).await;
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    assert_eq!(faults.hanging(), 1);
    faults.release();
    within("the release", releasing).await.unwrap().unwrap();
    within("the hand-off", waiting).await.unwrap().unwrap().release().await.unwrap();
}

/// A store that tells of changes.
#[derive(Debug, Clone)]
struct Telling {
    cell: MemoryBackend,
    version: Arc<watch::Sender<Version>>,
}

#[async_trait]
impl LockBackend for Telling {
    fn reach(&self) -> Reach {
        Reach::Network
    }

    fn describe(&self) -> String {
        "telling memory".into()
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        self.cell.load().await
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        let swap = self.cell.compare_and_swap(expected, next, data).await?;
        if swap == Swap::Swapped {
            self.version.send_replace(next);
        }
        Ok(swap)
    }

    async fn changed(&self, seen: Version) -> Result<(), BackendError> {
        let mut version = self.version.subscribe();
        let _ = version.wait_for(|version| *version != seen).await;
        Ok(())
    }
}

/// The second in the queue looks seldom by itself, and nobody rings for what is only nearer.
#[tokio::test(start_paused = true)]
async fn a_waiter_far_back_is_told_of_changes_by_the_store() {
    let store = Telling {
        cell: MemoryBackend::new(),
        version: Arc::new(watch::Sender::new(Version::ABSENT)),
    };
    let clock = TestClock::new();
    let builder = || Locks::builder(store.clone()).no_bell().in_current_runtime();
    let client = || builder().clock(clock.clone()).build();
    let (holder, waiter) = (client(), client());
    let first = holder.acquire("a").await.unwrap();
    let mut task = holder.task("second");
    let second = tokio::spawn(async move { task.acquire("a").await });
    let waiting = || LockTable::decode(&store.cell.snapshot()).unwrap().list().waiting.len();
    until("one waits", || waiting() == 1).await;
    let third = tokio::spawn(async move { waiter.acquire("a").await });
    until("two wait", || waiting() == 2).await;
    until("both listen", || store.version.receiver_count() == 2).await;
    first.release().await.unwrap();
    let second = within("the second", second).await.unwrap().unwrap();
    let begin = Instant::now();
    second.release().await.unwrap();
    within("the third", third).await.unwrap().unwrap().release().await.unwrap();
    assert!(begin.elapsed() < Duration::from_millis(5), "{:?}", begin.elapsed());
}

/// As in MySQL, which tells nobody, and with clients that cannot ring each other.
#[tokio::test(start_paused = true)]
async fn where_nobody_tells_of_changes_who_could_be_next_looks_most_often() {
    let world = World::new();
    let (holder, _) = world.stranger();
    let guard = holder.acquire("a").await.unwrap();
    let (mut ways, mut waiters) = (Vec::new(), Vec::new());
    for count in 1..=3 {
        let (waiter, faults) = world.stranger();
        waiters.push(tokio::spawn(async move { waiter.acquire("a").await }));
        world.until_waiting(count).await;
        ways.push(faults);
    }
    let loads = || ways.iter().map(Faults::loads).collect::<Vec<_>>();
    let before = loads();
    sleep(Duration::from_secs(10)).await;
    let looks: Vec<_> = loads().iter().zip(before).map(|(after, before)| after - before).collect();
    assert!(looks[0] > 4 * looks[1] && looks[1] > 2 * looks[2] && looks[2] > 0, "{looks:?}");
    guard.release().await.unwrap();
    let begin = Instant::now();
    let next = within("the hand-off", waiters.remove(0)).await.unwrap().unwrap();
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    drop(next);
}
