//! What a process does while it is killed or stopped at any moment, one thing in each script.

use std::time::Duration;

use lock_core::Request;

use super::points::{Hits, Script, Stage, all_points, rehearse, survive};
use crate::scene::Scene;
use crate::trial::{Failure, Verdict};
use crate::worker::Order;

/// So long that only the proof of a death frees anything.
const LEASE: Duration = Duration::from_secs(3600);
/// The shortest there is.
const LEASE_MIN: Duration = Duration::from_secs(1);

const FREE: Script = Script { act: free, locks: &["point/a"], lease: LEASE };
const SET: Script = Script { act: set, locks: &["point/a", "point/b", "point/c"], lease: LEASE };
const WAIT: Script = Script { act: wait, locks: &["point/a"], lease: LEASE };
const REFUSED: Script = Script { act: refused, locks: &["point/a"], lease: LEASE };
const GIVE_UP: Script = Script { act: give_up, locks: &["point/a", "point/b"], lease: LEASE };
const SUBTASK: Script = Script { act: subtask, locks: &["point/a", "point/b"], lease: LEASE };
const RENEW: Script = Script { act: renew, locks: &["point/a"], lease: LEASE_MIN };
const SWEEP: Script = Script { act: sweep, locks: &["point/a"], lease: LEASE };
const SWEEP_LATER: Script = Script { act: sweep_later, locks: &["point/a"], lease: LEASE };
const FREE_TASK: Script = Script { act: free_task, locks: &["point/a"], lease: LEASE };
const CLOSE: Script = Script { act: close, locks: &["point/a", "point/b"], lease: LEASE };

const ALL: [&Script; 11] = [
    &FREE,
    &SET,
    &WAIT,
    &REFUSED,
    &GIVE_UP,
    &SUBTASK,
    &RENEW,
    &SWEEP,
    &SWEEP_LATER,
    &FREE_TASK,
    &CLOSE,
];

/// Without this the enumeration could be incomplete and nobody would see it.
pub(super) fn every_point_is_passed(scene: &Scene) -> Verdict {
    let mut all = Hits::new();
    for script in ALL {
        for (point, hits) in rehearse(scene, script)? {
            *all.entry(point).or_default() += hits;
        }
    }
    let missed: Vec<&str> =
        all_points().filter(|point| all.get(*point).is_none_or(|hits| *hits == 0)).collect();
    if missed.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("no script passes {missed:?}")))
}

macro_rules! at_any_point {
    ($($name:ident $script:ident),* $(,)?) => {$(
        pub(super) fn $name(scene: &Scene) -> Verdict {
            survive(scene, &$script)
        }
    )*};
}

at_any_point!(
    any_point_of_a_free_acquire FREE,
    any_point_of_a_set_and_its_downgrade SET,
    any_point_of_waiting WAIT,
    any_point_of_being_refused REFUSED,
    any_point_of_giving_up GIVE_UP,
    any_point_of_a_subtask SUBTASK,
    any_point_of_renewing RENEW,
    any_point_of_sweeping_at_once SWEEP,
    any_point_of_sweeping_while_waiting SWEEP_LATER,
    any_point_of_freeing_a_task FREE_TASK,
    any_point_of_closing CLOSE,
);

fn free(stage: &mut Stage) -> Verdict {
    let held = stage.take("point/a")?;
    stage.does(Order::Verify(held.key))?;
    stage.is_waited_for()?;
    stage.does(Order::Verify(held.key))?;
    stage.release(&held)?;
    stage.close()
}

fn set(stage: &mut Stage) -> Verdict {
    let all = Request::exclusive("point/a").and_shared("point/b").and_limit("point/c", 2);
    let held = stage.take(all)?;
    stage.does(Order::Downgrade(held.key))?;
    stage.is_waited_for()?;
    stage.does(Order::Verify(held.key))?;
    stage.release(&held)?;
    stage.close()
}

/// Behind another, who hands over.
fn wait(stage: &mut Stage) -> Verdict {
    let first = stage.other.acquire("point/a")?;
    let key = stage.ask(Order::acquire("task", "point/a", None))?;
    stage.until_it_waits()?;
    stage.is_waited_for()?;
    first.release()?;
    let held = stage.granted(key)?;
    stage.does(Order::Check(held.key))?;
    stage.release(&held)?;
    stage.close()
}

fn refused(stage: &mut Stage) -> Verdict {
    let first = stage.other.acquire("point/a")?;
    let key = stage.ask(Order::acquire("task", "point/a", Some(Duration::ZERO)))?;
    stage.is_refused(key, "Busy")?;
    let key = stage.ask(Order::acquire("task", "point/a", Some(Duration::from_millis(10))))?;
    stage.is_refused(key, "TimedOut")?;
    first.release()?;
    stage.close()
}

/// In the queue, while it holds something else.
fn give_up(stage: &mut Stage) -> Verdict {
    let first = stage.other.acquire("point/a")?;
    let held = stage.take("point/b")?;
    let key = stage.ask(Order::acquire("task", "point/a", None))?;
    stage.until_it_waits()?;
    stage.is_waited_for()?;
    stage.does(Order::Drop(key))?;
    stage.until("it has given up", |listing| listing.waiting.len() == 1)?;
    stage.does(Order::Verify(held.key))?;
    stage.release(&held)?;
    first.release()?;
    stage.close()
}

fn subtask(stage: &mut Stage) -> Verdict {
    let parent = stage.take("point/a")?;
    let order = Order::acquire(
        "step",
        Request::exclusive("point/a").and_shared("point/b"),
        Some(Duration::ZERO),
    );
    let key = stage.ask(order.under(&parent.task))?;
    let child = stage.granted(key)?;
    stage.is_waited_for()?;
    stage.release(&parent)?;
    stage.does(Order::Verify(child.key))?;
    stage.release(&child)?;
    stage.close()
}

fn renew(stage: &mut Stage) -> Verdict {
    let held = stage.take("point/a")?;
    stage.is_waited_for()?;
    stage.begins_here()?;
    let renewals = |hits: &Hits| hits.get("renewing").copied().unwrap_or_default();
    while renewals(&stage.now_hit()?) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    stage.does(Order::Verify(held.key))?;
    stage.release(&held)?;
    stage.close()
}

/// What the dead hold is there for who asks next.
fn sweep(stage: &mut Stage) -> Verdict {
    let mut victim = stage.scene.worker("victim")?;
    victim.acquire("point/a")?;
    victim.kill()?;
    let key = stage.ask(Order::acquire("task", "point/a", Some(Duration::ZERO)))?;
    let held = stage.granted(key)?;
    stage.is_waited_for()?;
    stage.release(&held)?;
    stage.close()
}

fn sweep_later(stage: &mut Stage) -> Verdict {
    let mut victim = stage.scene.worker("victim")?;
    victim.acquire("point/a")?;
    let key = stage.ask(Order::acquire("task", "point/a", None))?;
    stage.until_it_waits()?;
    victim.kill()?;
    let held = stage.granted(key)?;
    stage.is_waited_for()?;
    stage.release(&held)?;
    stage.close()
}

/// By its name, with force.
fn free_task(stage: &mut Stage) -> Verdict {
    let old = stage.other.task("old").acquire("point/a")?;
    let key = stage.ask(Order::acquire("task", "point/a", None))?;
    stage.until_it_waits()?;
    let freeing = stage.ask(Order::ReleaseTask("old".into()))?;
    let held = stage.granted(key)?;
    stage.reports(freeing, |report| *report == crate::worker::Report::Count(1))?;
    stage.is_waited_for()?;
    if old.verify().is_ok() {
        return Err(Failure::failed("what was freed by force is still held"));
    }
    old.release()?;
    stage.release(&held)?;
    stage.close()
}

/// With a hold and a waiter.
fn close(stage: &mut Stage) -> Verdict {
    let first = stage.other.acquire("point/a")?;
    stage.take("point/b")?;
    let key = stage.ask(Order::acquire("task", "point/a", None))?;
    stage.until_it_waits()?;
    stage.is_waited_for()?;
    stage.close()?;
    stage.is_refused(key, "Closed")?;
    first.release()?;
    Ok(())
}
