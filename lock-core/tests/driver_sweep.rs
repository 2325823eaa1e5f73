//! Every fault at every call of a small script, and at every two of them.

mod driver;

use std::time::Duration;

use driver::plan::Plan;
use driver::{World, within};
use lock_core::testing::{Effect, Fault, Referee};
use lock_core::{BackendErrorKind, Locks, Request};
use tokio::time::{sleep, timeout};

const FAULTS: [Fault; 16] = [
    Fault::Conflict,
    Fault::Error(BackendErrorKind::Busy),
    Fault::Error(BackendErrorKind::Unavailable),
    Fault::Error(BackendErrorKind::TooLarge),
    Fault::Unknown(Effect::Never),
    Fault::Unknown(Effect::Now),
    Fault::Unknown(Effect::Later),
    Fault::Unknown(Effect::Before(1)),
    Fault::Unknown(Effect::Before(3)),
    Fault::Hang(Effect::Never),
    Fault::Hang(Effect::Now),
    Fault::Hang(Effect::Later),
    Fault::Stale(1),
    Fault::Stale(4),
    Fault::DelayBefore(Duration::from_secs(1)),
    Fault::DelayAfter(Duration::from_secs(1)),
];

/// Those that say nothing of what they did.
const UNCLEAR: [Fault; 5] = [
    Fault::Unknown(Effect::Never),
    Fault::Unknown(Effect::Now),
    Fault::Unknown(Effect::Later),
    Fault::Unknown(Effect::Before(2)),
    Fault::Stale(2),
];

/// Two clients, three tasks that want the same, one of them impatient.
async fn script(world: &World, plan: &std::sync::Arc<Plan>, referee: &Referee) {
    let client = || {
        let builder = Locks::builder(plan.backend(&world.store)).in_current_runtime();
        builder.clock(world.clock.clone()).build()
    };
    let (one, other) = (client(), client());
    let work = async |locks: &Locks, name: &str, request: Request, limit: Duration| {
        let mut task = locks.task(name);
        let Ok(guard) = task.acquire_timeout(request.clone(), limit).await else { return };
        let hold = referee.begins(&guard, &request);
        sleep(Duration::from_millis(5)).await;
        drop(hold);
        if name == "second" { drop(guard) } else { drop(guard.release().await) }
    };
    let a = Request::exclusive("a");
    tokio::join!(
        work(&one, "first", a.clone(), Duration::from_secs(60)),
        work(&other, "second", Request::exclusive("a/b").and_shared("c"), Duration::from_secs(60)),
        work(&one, "third", a.clone(), Duration::from_millis(7)),
        async {
            // Nobody waits for the answer.
            let cut = timeout(Duration::from_millis(3), other.acquire(Request::exclusive("c")));
            drop(cut.await);
        },
    );
    let (closed, other_closed) = tokio::join!(one.close(), other.close());
    closed.and(other_closed).expect("the store works in the end");
}

async fn run(at: &[(usize, Fault)]) -> usize {
    let (world, plan, referee) = (World::new(), Plan::new(at), Referee::default());
    let release = async {
        loop {
            sleep(Duration::from_secs(3)).await;
            plan.release().await;
        }
    };
    tokio::select! {
        () = within("the script", script(&world, &plan, &referee)) => {}
        () = release => unreachable!("it goes on"),
    }
    plan.release().await;
    let table = world.table();
    assert!(table.is_empty(), "faults at {at:?}: {:#?}", table.list());
    plan.calls()
}

#[tokio::test(start_paused = true)]
async fn one_fault_anywhere() {
    let calls = run(&[]).await + 6;
    assert!(calls > 12, "{calls}");
    for fault in FAULTS {
        for at in 0..calls {
            eprintln!("{fault:?} at call {at}");
            run(&[(at, fault)]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_faults_anywhere() {
    let calls = run(&[]).await + 2;
    for first in UNCLEAR {
        for second in UNCLEAR {
            for at in 0..calls {
                for then in at + 1..(at + 5).min(calls) {
                    eprintln!("{first:?} at call {at}, {second:?} at call {then}");
                    run(&[(at, first), (then, second)]).await;
                }
            }
        }
    }
}
