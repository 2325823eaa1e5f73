//! Who is gone: processes that are proven dead, tasks that were released, stores that forgot.

mod driver;

use std::process::{Command, Stdio};
use std::time::Duration;

use driver::{World, until, within};
use lock_core::process::{Place, Process, ProcessSet};
use lock_core::testing::Fault;
use lock_core::{AcquireError, HoldError, Locks, Snapshot};
use tokio::time::sleep;

/// A process of this place that has ended.
fn dead() -> ProcessSet {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let id = Process::find(child.id()).unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    ProcessSet { place: Place::here(), processes: vec![id], groups: vec![] }
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn the_dead_are_swept_in_the_swap_that_grants() {
    let world = World::new();
    let (builder, faults) = world.builder();
    let gone = builder.processes(dead()).build();
    let held = gone.acquire("a").await.unwrap();
    let queued = tokio::spawn({
        let gone = gone.clone();
        async move { gone.acquire("a").await }
    });
    world.until_waiting(1).await;
    faults.set_unavailable(true);

    let (other, others) = world.client();
    let guard = other.try_acquire("a").await.unwrap();
    assert_eq!((others.loads(), others.swaps()), (1, 1));
    assert!(guard.fence() > held.fence());
    assert!(world.tasks().1.is_empty());
    assert_eq!(world.table().clients().count(), 1);

    // It lives after all: it learns of it, and its waiter queues again.
    faults.set_unavailable(false);
    within("the loss", held.lost()).await;
    world.until_waiting(1).await;
    assert!(!queued.is_finished());
    gone.close().await.unwrap();
    assert!(matches!(queued.await.unwrap(), Err(AcquireError::Closed)));
}

/// However many others of the same client wait before it.
#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_dead_is_looked_after() {
    let world = World::new();
    let (one, _) = world.client();
    let big = one.acquire("big").await.unwrap();
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let process = Process::find(child.id()).unwrap();
    let (builder, faults) = world.builder();
    let lives =
        ProcessSet { place: Place::here(), processes: vec![process], ..ProcessSet::default() };
    let gone = builder.processes(lives).build();
    let _held = gone.acquire("app").await.unwrap();

    let (many, _) = world.client();
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..150 {
        let many = many.clone();
        crowd.spawn(async move { many.acquire("big").await.unwrap() });
    }
    world.until_waiting(150).await;
    let last = tokio::spawn(async move { many.acquire("app").await });
    world.until_waiting(151).await;
    faults.set_unavailable(true);
    drop(child.stdin.take());
    child.wait().unwrap();
    within("the last", last).await.unwrap().unwrap().release().await.unwrap();
    drop(crowd);
    big.release().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn nothing_is_handed_to_a_dead_waiter() {
    let world = World::new();
    let (holder, holders) = world.client();
    let guard = holder.acquire("a").await.unwrap();
    let (builder, faults) = world.builder();
    let gone = builder.processes(dead()).build();
    let _queued = tokio::spawn(async move { gone.acquire("a").await });
    world.until_waiting(1).await;
    faults.set_unavailable(true);
    holder.list().await.unwrap(); // So that its table is current.
    let swaps = holders.swaps();
    guard.release().await.unwrap();
    assert_eq!(holders.swaps() - swaps, 1);
    world.assert_empty();
}

/// In real time: its end is seen through its pidfd.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_waiter_learns_of_a_death() {
    let world = World::new();
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let id = Process::find(child.id()).unwrap();
    let set = ProcessSet { place: Place::here(), processes: vec![id], groups: vec![] };
    let (builder, faults) = world.builder();
    let dies = builder.processes(set).build();
    let held = dies.acquire("a").await.unwrap();
    faults.set_unavailable(true);
    let (other, _) = world.client();
    let waiting = tokio::spawn(async move { other.acquire("a").await });
    world.until_waiting(1).await;
    drop(child.stdin.take());
    within("the takeover", waiting).await.unwrap().unwrap().release().await.unwrap();
    child.wait().unwrap();
    drop(held);
}

/// In real time, as above. It is not probed while its end would be told.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_waiter_learns_of_the_death_of_one_before_it() {
    let world = World::new();
    let (holder, _) = world.client();
    let guard = holder.acquire("a").await.unwrap();
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let id = Process::find(child.id()).unwrap();
    let set = ProcessSet { place: Place::here(), processes: vec![id], groups: vec![] };
    let (builder, faults) = world.builder();
    let dies = builder.processes(set).build();
    let _queued = tokio::spawn(async move { dies.acquire("a").await });
    world.until_waiting(1).await;
    faults.set_unavailable(true);
    let (other, others) = world.client();
    let waiting = tokio::spawn(async move { other.acquire("a").await });
    world.until_waiting(2).await;
    let loads = others.loads();
    until("it has looked a few times", || others.loads() > loads + 2).await;
    assert_eq!(world.table().clients().count(), 3);
    drop(child.stdin.take());
    until("it is swept", || world.table().clients().count() == 2).await;
    child.wait().unwrap();
    guard.release().await.unwrap();
    within("the grant", waiting).await.unwrap().unwrap().release().await.unwrap();
}

/// One of the processes has ended and is not reaped, another lives: nothing to be done at once.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_lives_on_without_one_of_its_processes_is_left_alone() {
    let world = World::new();
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let mut set = ProcessSet::current();
    set.processes.insert(0, Process::find(child.id()).unwrap());
    let (builder, _) = world.builder();
    let holder = builder.processes(set).build();
    let guard = holder.acquire("a").await.unwrap();
    let (other, faults) = world.client();
    let waiting = tokio::spawn(async move { other.acquire("a").await });
    world.until_waiting(1).await;
    drop(child.stdin.take());
    let loads = faults.loads();
    until("it has looked a few times", || faults.loads() > loads + 2).await;
    let (begin, loads) = (std::time::Instant::now(), faults.loads());
    sleep(Duration::from_secs(1)).await;
    let reads = (faults.loads() - loads) as u64;
    assert!(reads < 100 * (1 + begin.elapsed().as_secs()), "{reads} reads");
    drop(guard);
    within("the hand-off", waiting).await.unwrap().unwrap().release().await.unwrap();
    child.wait().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_released_task_loses_its_hold_and_its_waiter_does_not_queue_again() {
    let world = World::new();
    let (victims, _) = world.client();
    let (other, _) = world.client();
    let mut first = victims.task("victim");
    let held = first.acquire("a").await.unwrap();
    let mut second = victims.task("victim");
    let waiting = tokio::spawn(async move { second.acquire("a").await });
    world.until_waiting(1).await;
    assert_eq!(other.release_task("nobody").await.unwrap(), 0);
    assert_eq!(other.release_task("victim").await.unwrap(), 2);
    within("the loss", held.lost()).await;
    let freed = within("the answer", waiting).await.unwrap();
    assert!(matches!(freed, Err(AcquireError::Released)), "{freed:?}");
    sleep(Duration::from_secs(60)).await;
    world.assert_empty();
    assert_eq!(held.check(), Err(HoldError::Lost));
    let next = other.acquire("a").await.unwrap();
    held.release().await.unwrap();
    next.verify().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_later_task_of_the_same_name_is_spared() {
    let world = World::new();
    let (victims, _) = world.client();
    let (other, faults) = world.client();
    let held = victims.task("victim").acquire("a").await.unwrap();
    faults.next_swap(Fault::DelayBefore(Duration::from_secs(1)));
    let releasing = tokio::spawn(async move { other.release_task("victim").await });
    sleep(Duration::from_millis(500)).await;
    let later = victims.task("victim").acquire("b").await.unwrap();
    assert_eq!(within("the release", releasing).await.unwrap().unwrap(), 1);
    within("the loss", held.lost()).await;
    later.verify().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn exactly_the_tasks_of_these_ids_are_released() {
    let world = World::new();
    let (victims, _) = world.client();
    let (other, _) = world.client();
    other.list().await.unwrap(); // What it knows from now on is old.
    let held = victims.task("victim").acquire("a").await.unwrap();
    let spared = victims.task("victim").acquire("b").await.unwrap();
    let ids = vec![held.task_id().clone()];
    assert_eq!(other.release_tasks(ids.clone()).await.unwrap(), 1);
    within("the loss", held.lost()).await;
    spared.verify().await.unwrap();
    // Again, it finds nothing.
    other.release_tasks(ids).await.unwrap();
    spared.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_restored_goes_on_with_rising_fences() {
    let world = World::new();
    let (one, _) = world.client();
    let (other, _) = world.client();
    // Nobody's versions come from the time of day here.
    world.clock.set_wall(Duration::from_secs(1 << 40));
    let a = one.acquire("a").await.unwrap();
    let old = world.store.snapshot();
    a.release().await.unwrap();
    let b = other.acquire("b").await.unwrap();
    let highest = other.acquire("c").await.unwrap();
    world.store.restore(old);
    // `a` is back although it was given back; `b` and `c` were never granted.
    let guard = other.acquire("d").await.unwrap();
    assert!(guard.fence() > highest.fence());
    within("the loss", b.lost()).await;
    within("the loss", highest.lost()).await;
    one.list().await.unwrap();
    let names = || -> Vec<String> {
        let holds = world.table().list().holds;
        holds.iter().flat_map(|hold| hold.locks.keys().map(ToString::to_string)).collect()
    };
    until("`a` is withdrawn", || names() == ["d"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_deleted_is_noticed() {
    let world = World::new();
    let (one, _) = world.client();
    let (other, _) = world.client();
    let guard = one.acquire("a").await.unwrap();
    let waiting = tokio::spawn(async move { other.acquire("a").await });
    world.until_waiting(1).await;
    world.store.restore(Snapshot::default());
    let error = guard.verify().await.unwrap_err();
    assert!(matches!(error, lock_core::VerifyError::Hold(HoldError::Lost)), "{error:?}");
    let next = within("the waiter", waiting).await.unwrap().unwrap();
    assert!(next.fence() > guard.fence());
}

#[tokio::test(start_paused = true)]
async fn processes_can_be_replaced() {
    let world = World::new();
    let (locks, _) = world.stranger();
    let guard = locks.acquire("a").await.unwrap();
    let revision = |_: &Locks| world.table().clients().next().unwrap().revision;
    assert_eq!(revision(&locks), 0);
    locks.set_processes(ProcessSet::current()).await.unwrap();
    assert_eq!(revision(&locks), 1);
    let client = world.table().clients().next().unwrap();
    assert_eq!(client.processes, ProcessSet::current());
    guard.verify().await.unwrap();
}
