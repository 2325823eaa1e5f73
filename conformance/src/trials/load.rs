//! Scenarios from the field with many contenders: storms, backups and updates.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all, try_join_all};
use lock_core::{AcquireError, Guard, LockSet, Locks, Mode, Request, Task};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict, trials};
use crate::worker::Report;

trials!("load":
    of_fifty_tasks_that_go_for_one_lock_one_wins,
    of_fifty_tasks_in_ten_processes_that_go_for_one_lock_one_wins,
    fifty_tasks_in_ten_processes_take_fifty_locks_at_once,
    a_backup_and_the_tasks_of_apps_only_meet_at_the_app_at_hand,
    #[random] an_update_and_the_tasks_of_apps_exclude_each_other,
    #[random] a_second_task_of_the_same_type_is_refused,
    a_waiting_update_comes_before_new_tasks_of_apps,
    #[random] a_waiting_update_is_served_amid_a_stream_of_tasks,
    a_request_for_two_limited_locks_is_served_amid_streams_for_each,
    earlier_waiters_count_all_together,
    a_nested_task_passes_a_queue_for_what_its_parent_holds,
    a_holder_passes_a_waiter_that_waits_for_it,
    ten_thousand_locks_are_held_by_one_client,
);

const CLIENTS: usize = 10;
const TASKS: usize = 5;
const BUSY_AT_ONCE: Option<Duration> = Some(Duration::ZERO);

fn of_fifty_tasks_that_go_for_one_lock_one_wins(scene: &Scene) -> Verdict {
    scene.block_on(async {
        let clients = clients(scene, CLIENTS)?;
        let tries = clients.iter().flat_map(|locks| (0..TASKS).map(|_| locks.try_acquire("app/x")));
        let answers = join_all(tries).await;
        scene.count("operations", answers.len());
        let won = answers.iter().filter(|answer| answer.is_ok()).count();
        let busy = answers.iter().filter(|a| a.as_ref().is_err_and(AcquireError::is_busy)).count();
        if (won, busy) != (1, CLIENTS * TASKS - 1) {
            return Err(Failure::failed(format!("{won} won and {busy} were busy: {answers:?}")));
        }
        drop(answers);
        close(clients).await
    })
}

fn of_fifty_tasks_in_ten_processes_that_go_for_one_lock_one_wins(scene: &Scene) -> Verdict {
    let reports = storm(scene, |_| "app/x".into())?;
    let won = reports.iter().filter(|report| matches!(report, Report::Granted { .. })).count();
    let is_busy = |r: &&Report| matches!(r, Report::Refused { kind, .. } if kind == "Busy");
    let busy = reports.iter().filter(is_busy).count();
    if (won, busy) == (1, CLIENTS * TASKS - 1) {
        return Ok(());
    }
    Err(Failure::failed(format!("{won} won and {busy} were busy: {reports:?}")))
}

fn fifty_tasks_in_ten_processes_take_fifty_locks_at_once(scene: &Scene) -> Verdict {
    let reports = storm(scene, |number| format!("app/{number}"))?;
    let lost = reports.iter().find(|report| !matches!(report, Report::Granted { .. }));
    lost.map_or(Ok(()), |lost| Err(Failure::failed(format!("a lock is not granted: {lost:?}"))))
}

/// All try at once, and nobody gives back before all have tried; what is held then is in the table.
fn storm(scene: &Scene, lock: impl Fn(usize) -> String) -> Result<Vec<Report>, Failure> {
    let mut workers = Vec::new();
    for number in 0..CLIENTS {
        workers.push(scene.worker(&format!("contender {number}"))?);
    }
    let mut orders = Vec::new();
    for task in 0..TASKS {
        for (number, worker) in workers.iter_mut().enumerate() {
            orders.push((number, worker.ask(&lock(number * TASKS + task), BUSY_AT_ONCE)?));
        }
    }
    let mut reports = Vec::new();
    for (number, order) in orders {
        reports.push(workers[number].report(order)?);
    }
    scene.count("operations", reports.len());
    let granted = reports.iter().filter(|report| matches!(report, Report::Granted { .. })).count();
    let locks = scene.locks()?.blocking();
    let listed = locks.list()?.holds.len();
    if listed != granted {
        return Err(Failure::failed(format!("{granted} are granted and {listed} in the table")));
    }
    for worker in workers {
        worker.close()?;
    }
    if !locks.list()?.holds.is_empty() {
        return Err(Failure::failed("something is held after all have closed"));
    }
    Ok(reports)
}

fn a_backup_and_the_tasks_of_apps_only_meet_at_the_app_at_hand(scene: &Scene) -> Verdict {
    scene.block_on(async {
        let clients = clients(scene, 2)?;
        let [desk, other] = &clients[..] else { unreachable!("there are two") };
        let apps = ["app/blog", "app/mail", "app/shop"];
        let mut backup = desk.task("backup-17");
        for at in 0..apps.len() {
            let (here, next) = (apps[at], apps[(at + 1) % apps.len()]);
            let part = within(backup.acquire(here)).await??;
            // A task of another app comes and goes, the one of this app waits.
            let elsewhere = other.try_acquire(next).await?;
            let restart = wait(other, here).await?;
            let denial = other.try_acquire(here).await.unwrap_err();
            assert_eq!(&*denial.denial().expect("it is busy").blockers[0].task, "backup-17");
            // And the backup does not wait for the task of the other app, only at that app itself.
            elsewhere.release().await?;
            part.release().await?;
            within(restart).await???.release().await?;
        }
        let busy = other.try_acquire("app/mail").await?;
        let waits = wait(desk, "app/mail").await?;
        desk.try_acquire("app/blog").await?.release().await?;
        busy.release().await?;
        within(waits).await???.release().await?;
        close(clients).await
    })
}

/// The update of the box, which must not run while any task of an app does.
fn update() -> Request {
    Request::exclusive("box/update").and_exclusive("app")
}

fn an_update_and_the_tasks_of_apps_exclude_each_other(scene: &Scene) -> Verdict {
    scene.block_on(async {
        let clients = clients(scene, 2)?;
        let app = clients[0].try_acquire("app/blog").await?;
        assert!(clients[1].try_acquire(update()).await.unwrap_err().is_busy());
        app.release().await?;
        let updating = clients[1].try_acquire(update()).await?;
        assert!(clients[0].try_acquire("app/blog").await.unwrap_err().is_busy());
        assert!(clients[0].try_acquire("box/update").await.unwrap_err().is_busy());
        updating.release().await?;
        race(scene, &clients, [update(), Request::exclusive("app/blog")]).await?;
        close(clients).await
    })
}

fn a_second_task_of_the_same_type_is_refused(scene: &Scene) -> Verdict {
    scene.block_on(async {
        let clients = clients(scene, 2)?;
        let task = |app| Request::exclusive("task/full-backup").and_shared(app);
        race(scene, &clients, [task("app/blog"), task("app/shop")]).await?;
        close(clients).await
    })
}

/// Two tries that exclude each other, at once and again and again: always exactly one wins.
async fn race(scene: &Scene, clients: &[Locks], requests: [Request; 2]) -> Verdict {
    let mut random = scene.random(1);
    for case in 0..scene.cases(100) {
        let turn = usize::from(random.bool());
        let (one, other) = (&requests[turn], &requests[1 - turn]);
        // Now the one has a head start, now the other.
        let head_start = random.bool().then(|| Duration::from_micros(random.u64(..500)));
        let second = async {
            if let Some(time) = head_start {
                sleep(time).await;
            }
            clients[1].try_acquire(other.clone()).await
        };
        let both = join(clients[0].try_acquire(one.clone()), second).await;
        scene.count("operations", 2);
        let winner = match both {
            (Ok(winner), Err(AcquireError::Busy(_))) | (Err(AcquireError::Busy(_)), Ok(winner)) => {
                winner
            }
            both => return Err(Failure::failed(format!("race {case}: {both:?}"))),
        };
        winner.release().await?;
    }
    Ok(())
}

fn a_waiting_update_comes_before_new_tasks_of_apps(scene: &Scene) -> Verdict {
    scene.block_on(async {
        let clients = clients(scene, 2)?;
        let running = clients[0].acquire("app/blog").await?;
        let updating = wait(&clients[1], update()).await?;
        let denial = clients[0].try_acquire("app/shop").await.unwrap_err();
        let blocker = &denial.denial().expect("it is busy").blockers[0];
        assert!(blocker.waits, "the update in the queue is in the way: {denial}");
        let late = wait(&clients[0], "app/shop").await?;
        running.release().await?;
        let guard = within(updating).await???;
        assert!(!late.is_finished(), "a later task was granted beside the update");
        let fence = guard.fence();
        guard.release().await?;
        let late = within(late).await???;
        assert!(late.fence() > fence);
        late.release().await?;
        close(clients).await
    })
}

fn a_waiting_update_is_served_amid_a_stream_of_tasks(scene: &Scene) -> Verdict {
    scene.block_on(async {
        let clients = clients(scene, 3)?;
        let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let stream = async |number: usize| -> Verdict {
            let locks = &clients[number % 2];
            while !over.load(Ordering::Relaxed) {
                let guard = within(locks.acquire(format!("app/{number}"))).await??;
                sleep(Duration::from_millis(2)).await;
                guard.release().await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let updates = async {
            for _ in 0..scene.cases(3) {
                // Only once the stream flows again.
                let before = done.load(Ordering::Relaxed);
                until(|| done.load(Ordering::Relaxed) > before + 6).await?;
                within(clients[2].acquire(update())).await??.release().await?;
            }
            over.store(true, Ordering::Relaxed);
            Ok(())
        };
        let (streams, served) = join(try_join_all((0..6).map(stream)), updates).await;
        scene.count("operations", done.into_inner());
        served.and(streams.map(drop))?;
        close(clients).await
    })
}

fn a_request_for_two_limited_locks_is_served_amid_streams_for_each(scene: &Scene) -> Verdict {
    scene.block_on(async {
        let clients = clients(scene, 3)?;
        let limited = |name| Request::limit(name, 2);
        let mut streams = Vec::new();
        for name in ["x", "y"] {
            let first = clients[0].acquire(limited(name)).await?;
            let second = clients[1].acquire(limited(name)).await?;
            streams.push((name, first, second));
        }
        let both = wait(&clients[2], limited("x").and_limit("y", 2)).await?;
        let mut next = Vec::new();
        let mut late = Vec::new();
        for (name, first, second) in streams {
            late.push(wait(&clients[0], limited(name)).await?);
            first.release().await?;
            next.push(second);
        }
        // One place at each was given back, and both are for the one who waits for both.
        let guard = within(both).await???;
        for task in &late {
            assert!(!task.is_finished(), "a stream has passed who waits for both");
        }
        assert!(clients[1].try_acquire(limited("x")).await.unwrap_err().is_busy());
        guard.release().await?;
        for task in late {
            within(task).await???.release().await?;
        }
        for guard in next {
            guard.release().await?;
        }
        close(clients).await
    })
}

fn earlier_waiters_count_all_together(scene: &Scene) -> Verdict {
    scene.block_on(async {
        let clients = clients(scene, 2)?;
        let keeper = clients[0].acquire(Request::exclusive("one").and_exclusive("two")).await?;
        let first = wait(&clients[1], Request::limit("x", 2).and_exclusive("one")).await?;
        let second = wait(&clients[1], Request::limit("x", 2).and_exclusive("two")).await?;
        // There are two places at x, and two are before it.
        match clients[0].try_acquire(Request::limit("x", 2)).await {
            Err(AcquireError::Busy(_)) => {}
            other => return Err(Failure::failed(format!("it passed two earlier ones: {other:?}"))),
        }
        keeper.release().await?;
        let (first, second) = (within(first).await???, within(second).await???);
        first.release().await?;
        second.release().await?;
        close(clients).await
    })
}

fn a_nested_task_passes_a_queue_for_what_its_parent_holds(scene: &Scene) -> Verdict {
    scene.block_on(async {
        let clients = clients(scene, 2)?;
        let mut parent = clients[0].task("parent");
        let held = parent.acquire("app").await?;
        let stranger = wait(&clients[1], "app").await?;
        let mut child = parent.subtask("child");
        let step = within(child.acquire("app/blog")).await??;
        // Its own child too, from another client.
        let mut grandchild = clients[1].task("grandchild").under(child.id()?);
        within(grandchild.acquire("app/blog/db")).await??.release().await?;
        assert!(!stranger.is_finished());
        step.release().await?;
        held.release().await?;
        within(stranger).await???.release().await?;
        close(clients).await
    })
}

fn a_holder_passes_a_waiter_that_waits_for_it(scene: &Scene) -> Verdict {
    scene.block_on(async {
        let clients = clients(scene, 2)?;
        let mut backup = clients[0].task("backup-17");
        let one = backup.acquire("app/a").await?;
        let updating = wait(&clients[1], "app").await?;
        let two = within(backup.acquire("app/b")).await??;
        // Who holds nothing does not pass.
        assert!(clients[0].try_acquire("app/c").await.unwrap_err().is_busy());
        one.release().await?;
        assert!(!updating.is_finished());
        two.release().await?;
        within(updating).await???.release().await?;
        close(clients).await
    })
}

fn ten_thousand_locks_are_held_by_one_client(scene: &Scene) -> Verdict {
    const LOCKS: usize = 10_000;
    scene.block_on(async {
        let clients = clients(scene, 2)?;
        let name = |number: usize| format!("app/{number:05}");
        let set: Result<LockSet, _> =
            (0..LOCKS).map(|number| Ok((name(number).parse()?, Mode::Exclusive))).collect();
        let set = set.map_err(|error: lock_core::NameError| Failure::from(error))?;
        let all = within(clients[0].acquire(Request::from(set))).await??;
        assert_eq!(all.names().count(), LOCKS);
        // Beside it, others come and go.
        let beside: Result<Vec<Guard>, AcquireError> =
            within(try_join_all((0..TASKS).map(|n| clients[0].acquire(name(LOCKS + n))))).await?;
        let beside = beside?;
        for number in [0, LOCKS / 2, LOCKS - 1] {
            assert!(clients[1].try_acquire(name(number)).await.unwrap_err().is_busy());
        }
        clients[1].try_acquire(name(LOCKS + TASKS)).await?.release().await?;
        assert!(clients[1].try_acquire("app").await.unwrap_err().is_busy());
        all.verify().await?;
        let held: usize = clients[1].list().await?.holds.iter().map(|hold| hold.locks.len()).sum();
        assert_eq!(held, LOCKS + beside.len());
        scene.count("operations", held);
        within(all.release()).await??;
        for guard in beside {
            guard.release().await?;
        }
        clients[1].try_acquire("app").await?.release().await?;
        close(clients).await
    })
}

fn clients(scene: &Scene, count: usize) -> Result<Vec<Locks>, Failure> {
    (0..count).map(|number| Ok(scene.builder()?.name(format!("client {number}")).build())).collect()
}

async fn close(clients: Vec<Locks>) -> Verdict {
    for locks in clients {
        locks.close().await?;
    }
    Ok(())
}

/// Within the time that anything may take.
async fn within<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(LIVENESS, future).await.map_err(|_| Failure::failed("it waits for ever"))
}

async fn until(holds: impl Fn() -> bool) -> Verdict {
    let end = Instant::now() + LIVENESS;
    while !holds() {
        if Instant::now() > end {
            return Err(Failure::failed("nothing happens any more"));
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Asks in the background, and returns once the request is in the queue.
async fn wait(
    locks: &Locks,
    request: impl Into<Request>,
) -> Result<JoinHandle<Result<Guard, AcquireError>>, Failure> {
    let mut task: Task = locks.task("waiter");
    let id = task.id()?.clone();
    let request = request.into();
    let asked = tokio::spawn(async move { task.acquire(request).await });
    let end = Instant::now() + LIVENESS;
    while !locks.list().await?.waiting.iter().any(|waiter| waiter.task_id == id) {
        if asked.is_finished() || Instant::now() > end {
            return Err(Failure::failed("a request is not queued that should be"));
        }
    }
    Ok(asked)
}
