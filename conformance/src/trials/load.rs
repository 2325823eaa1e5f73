//! Scenarios from the field with many contenders: storms, backups and updates.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all, try_join_all};
use lock_core::{AcquireError, Guard, LockSet, Locks, Mode, Request, Task};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::wait::{until, within};
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict, trials};
use crate::worker::Report;

trials!("load":
    of_fifty_tasks_that_go_for_one_lock_one_wins,
    of_fifty_processes_that_go_for_one_lock_one_wins,
    fifty_processes_take_fifty_locks_at_once,
    a_backup_and_the_tasks_of_apps_only_meet_at_the_app_at_hand,
    #[random] an_update_and_the_tasks_of_apps_exclude_each_other,
    #[random] a_second_task_of_the_same_type_is_refused,
    a_waiting_update_comes_before_new_tasks_of_apps,
    #[random] a_waiting_update_is_served_amid_a_stream_of_tasks,
    #[random] a_request_for_two_limited_locks_is_served_amid_streams_for_each,
    ten_thousand_locks_are_held_by_one_client,
    ten_thousand_holds_of_one_client_are_held_one_by_one,
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

fn of_fifty_processes_that_go_for_one_lock_one_wins(scene: &Scene) -> Verdict {
    let reports = storm(scene, |_| "app/x".into())?;
    let won = reports.iter().filter(|report| matches!(report, Report::Granted { .. })).count();
    let is_busy = |r: &&Report| matches!(r, Report::Refused { kind, .. } if kind == "Busy");
    let busy = reports.iter().filter(is_busy).count();
    if (won, busy) == (1, CLIENTS * TASKS - 1) {
        return Ok(());
    }
    Err(Failure::failed(format!("{won} won and {busy} were busy: {reports:?}")))
}

fn fifty_processes_take_fifty_locks_at_once(scene: &Scene) -> Verdict {
    let reports = storm(scene, |number| format!("app/{number}"))?;
    let lost = reports.iter().find(|report| !matches!(report, Report::Granted { .. }));
    lost.map_or(Ok(()), |lost| Err(Failure::failed(format!("a lock is not granted: {lost:?}"))))
}

/// All try at once, and nobody gives back before all have tried; what is held then is in the table.
fn storm(scene: &Scene, lock: impl Fn(usize) -> String) -> Result<Vec<Report>, Failure> {
    let mut workers = Vec::new();
    for number in 0..CLIENTS * TASKS {
        workers.push(scene.worker(&format!("contender {number}"))?);
    }
    let mut orders = Vec::new();
    for (number, worker) in workers.iter_mut().enumerate() {
        orders.push(worker.ask(&lock(number), BUSY_AT_ONCE)?);
    }
    let mut reports = Vec::new();
    for (worker, order) in workers.iter_mut().zip(orders) {
        reports.push(worker.report(order)?);
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
            let part = within("its part", backup.acquire(here)).await??;
            // A task of another app comes and goes, the one of this app waits.
            let elsewhere = other.try_acquire(next).await?;
            let restart = wait(other, here).await?;
            let denial = other.try_acquire(here).await.unwrap_err();
            assert_eq!(&*denial.denial().expect("it is busy").blockers[0].task, "backup-17");
            // And the backup does not wait for the task of the other app, only at that app itself.
            elsewhere.release().await?;
            part.release().await?;
            within("its turn", restart).await???.release().await?;
        }
        let busy = other.try_acquire("app/mail").await?;
        let waits = wait(desk, "app/mail").await?;
        desk.try_acquire("app/blog").await?.release().await?;
        busy.release().await?;
        within("its turn", waits).await???.release().await?;
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
        race(scene, &clients, 1_000, [update(), Request::exclusive("app/blog")]).await?;
        close(clients).await
    })
}

fn a_second_task_of_the_same_type_is_refused(scene: &Scene) -> Verdict {
    scene.block_on(async {
        let clients = clients(scene, 2)?;
        let task = |app| Request::exclusive("task/full-backup").and_shared(app);
        race(scene, &clients, 100, [task("app/blog"), task("app/shop")]).await?;
        close(clients).await
    })
}

/// Two tries that exclude each other, at once and again and again: always exactly one wins.
async fn race(scene: &Scene, clients: &[Locks], times: usize, requests: [Request; 2]) -> Verdict {
    let mut random = scene.random(1);
    for case in 0..scene.cases(times) {
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
        let guard = within("its turn", updating).await???;
        assert!(!late.is_finished(), "a later task was granted beside the update");
        let fence = guard.fence();
        guard.release().await?;
        let late = within("its turn", late).await???;
        assert!(late.fence() > fence);
        late.release().await?;
        close(clients).await
    })
}

fn a_waiting_update_is_served_amid_a_stream_of_tasks(scene: &Scene) -> Verdict {
    let apps = (0..6).map(|number| Request::exclusive(format!("app/{number}")));
    is_served_amid(scene, &apps.collect::<Vec<_>>(), &update())
}

fn a_request_for_two_limited_locks_is_served_amid_streams_for_each(scene: &Scene) -> Verdict {
    // Three for the two places at each, so that hardly ever both have one free.
    let one_each = ["x", "y"].map(|name| Request::limit(name, 2));
    let streams = one_each.iter().cycle().take(6).cloned().collect::<Vec<_>>();
    is_served_amid(scene, &streams, &Request::limit("x", 2).and_limit("y", 2))
}

/// Streams of tasks, each of which comes again as soon as it is gone, and one that is in their way.
fn is_served_amid(scene: &Scene, streams: &[Request], rare: &Request) -> Verdict {
    scene.block_on(async {
        let clients = clients(scene, 3)?;
        let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let stream = async |(number, request): (usize, &Request)| -> Verdict {
            let locks = &clients[number % 2];
            while !over.load(Ordering::Relaxed) {
                let guard = within("a task", locks.acquire(request.clone())).await??;
                sleep(Duration::from_millis(2)).await;
                guard.release().await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let served = async {
            for _ in 0..scene.cases(3) {
                // Only once the streams flow again.
                let before = done.load(Ordering::Relaxed);
                let flows = async || Ok(done.load(Ordering::Relaxed) > before + streams.len());
                until("tasks that come and go", flows).await?;
                let guard = within("its turn", clients[2].acquire(rare.clone())).await??;
                guard.release().await?;
            }
            over.store(true, Ordering::Relaxed);
            Ok(())
        };
        let all = streams.iter().enumerate().map(stream);
        let (streams, served) = join(try_join_all(all), served).await;
        scene.count("operations", done.into_inner());
        served.and(streams.map(drop))?;
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
        let all = within("all of them", clients[0].acquire(Request::from(set))).await??;
        assert_eq!(all.names().count(), LOCKS);
        // Beside it, others come and go.
        let beside: Result<Vec<Guard>, AcquireError> =
            within("others", try_join_all((0..TASKS).map(|n| clients[0].acquire(name(LOCKS + n)))))
                .await?;
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
        within("their end", all.release()).await??;
        for guard in beside {
            guard.release().await?;
        }
        clients[1].try_acquire("app").await?.release().await?;
        close(clients).await
    })
}

fn ten_thousand_holds_of_one_client_are_held_one_by_one(scene: &Scene) -> Verdict {
    const HOLDS: usize = 10_000;
    scene.block_on(async {
        let clients = clients(scene, 2)?;
        let name = |number: usize| format!("app/{number:05}");
        let all = try_join_all((0..HOLDS).map(|number| clients[0].acquire(name(number))));
        let mut all = within("all of them", all).await??;
        let listing = clients[1].list().await?;
        assert_eq!(listing.holds.len(), HOLDS);
        for number in [0, HOLDS / 2, HOLDS - 1] {
            assert!(clients[1].try_acquire(name(number)).await.unwrap_err().is_busy());
            all[number].verify().await?;
        }
        let last = all.pop().expect("there are many");
        last.release().await?;
        clients[1].try_acquire(name(HOLDS - 1)).await?.release().await?;
        scene.count("operations", HOLDS);
        within("their end", try_join_all(all.into_iter().map(Guard::release))).await??;
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
