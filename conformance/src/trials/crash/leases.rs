//! Holders that nobody can see, and so only live by their leases; and those who judge them.

use std::thread;
use std::time::{Duration, Instant};

use lock_core::Reach;
use lock_core::testing::{Effect, Fault, Faults};
use rustix::process::Signal;

use super::super::tools::{needs_namespaces, reaching};
use super::owners::{ensure, expect, expect_report, is_kept_by_the_living, until};
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict};
use crate::worker::{Order, Report, Worker, WorkerOptions};

/// The shortest lease there is.
const LEASE: Duration = Duration::from_secs(1);

/// A resource that is told the fence of whoever writes to it.
#[derive(Default)]
struct Fenced(u64);

impl Fenced {
    fn accepts(&mut self, fence: u64) -> bool {
        let newer = fence >= self.0;
        self.0 = self.0.max(fence);
        newer
    }
}

fn elsewhere() -> WorkerOptions {
    WorkerOptions::new("elsewhere").lease(LEASE).elsewhere()
}

pub(super) fn a_paused_holder_from_elsewhere_learns_of_its_loss_first(scene: &Scene) -> Verdict {
    learns_of_its_loss_first(scene, &elsewhere())
}

pub(super) fn a_paused_holder_in_a_pid_namespace_learns_of_its_loss_first(
    scene: &Scene,
) -> Verdict {
    const NEW: [&str; 4] = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    needs_namespaces(&NEW)?;
    let words = ["unshare"].into_iter().chain(NEW);
    let options = WorkerOptions::new("elsewhere").lease(LEASE).wrapped_in(words);
    learns_of_its_loss_first(scene, &options)
}

fn learns_of_its_loss_first(scene: &Scene, options: &WorkerOptions) -> Verdict {
    let mut resource = Fenced::default();
    let (mut holder, mut heir) = (scene.worker_with(options)?, scene.worker("heir")?);
    let held = holder.acquire("app/blog")?;
    ensure(resource.accepts(held.fence), || "nobody wrote before".into())?;
    holder.signal_inner(Signal::STOP)?;
    scene.count("stops", 1);
    let next = heir.acquire("app/blog")?;
    ensure(next.fence > held.fence && resource.accepts(next.fence), || format!("{next:?}"))?;

    // Asked before it can know anything.
    let checks = [(); 3].map(|()| holder.order(Order::Check(held.key)));
    let verify = holder.order(Order::Verify(held.key))?;
    holder.signal_inner(Signal::CONT)?;
    for check in checks {
        match holder.report(check?)? {
            Report::Refused { kind, .. } if kind == "InDoubt" || kind == "Lost" => {}
            other => return Err(Failure::failed(format!("it believes to hold it: {other:?}"))),
        }
    }
    expect_report(&mut holder, verify, "Lost")?;
    expect(&mut holder, Order::Lost(held.key), "Done")?;
    ensure(!resource.accepts(held.fence), || "the resource takes an old fence".into())?;
    // Its guard gives nothing of the heir's back, and as an heir itself it has a new fence.
    expect(&mut holder, Order::Release(held.key), "Done")?;
    let again = holder.ask("app/blog", None)?;
    until(&scene.locks()?.blocking(), "it waits", |listing| listing.waiting.len() == 1)?;
    expect(&mut heir, Order::Verify(next.key), "Done")?;
    expect(&mut heir, Order::Release(next.key), "Done")?;
    let again = holder.granted(again)?;
    ensure(again.fence > next.fence, || format!("{again:?} after {next:?}"))
}

/// The store renews the lease, and its answer is believed only after the lease is over.
pub(super) fn a_renewal_counts_from_before_it_was_sent(scene: &Scene) -> Verdict {
    // The first swap takes the lock, the second renews.
    let mut holder = scene.worker_with(&elsewhere().failpoint("swap-answered:2:stop"))?;
    let mut heir = scene.worker_with(&out_of_earshot(scene, WorkerOptions::new("heir")))?;
    let held = holder.acquire("app/blog")?;
    let doubts = holder.order(Order::Doubt(held.key))?;
    until_stopped(&holder)?;
    scene.count("stops", 1);
    heir.acquire("app/blog")?;
    holder.pulse().go_on()?;
    // From here to the loss it must never be sure again of what another holds.
    let report = holder.report(doubts)?;
    ensure(report == Report::Count(0), || format!("certain after its lease was over: {report:?}"))
}

/// Starts a worker where its bells ring for nobody, if that leaves it the store and is allowed.
///
/// A holder that is rung learns of its loss so soon that there is hardly a moment in which to err.
fn out_of_earshot(scene: &Scene, options: WorkerOptions) -> WorkerOptions {
    if scene.store().directory().is_some() && needs_namespaces(&["--net"]).is_ok() {
        options.wrapped_in(["unshare", "--net"])
    } else {
        options
    }
}

/// The judge finds the holder dead by a table that its own swap left. Before it can act on that it has
/// to look once more for somebody who asks, which takes long; meanwhile the holder renews.
pub(super) fn a_late_verdict_frees_nobody_who_has_renewed(scene: &Scene) -> Verdict {
    let lease = 2 * LEASE;
    let mut holder = scene.worker_with(&elsewhere().lease(lease))?;
    let held = holder.acquire("app/blog")?;
    let (builder, judging) = reaching(scene, Reach::Network)?;
    let judge = builder.no_bell().build();
    let locks = scene.locks()?.blocking();
    let mark = || {
        let listing = locks.list()?;
        let found = listing.holds.iter().find(|hold| hold.fence == held.fence);
        let lost = || Failure::failed(format!("the hold {held:?} is gone"));
        found.map(|hold| hold.client.mark).ok_or_else(lost)
    };
    let hangs = |since: usize, calls: fn(&Faults) -> usize| {
        let end = Instant::now() + LIVENESS;
        while calls(&judging) == since || judging.hanging() == 0 {
            ensure(Instant::now() < end, || "the judge does not call the store".into())?;
            thread::sleep(Duration::from_millis(1));
        }
        Verdict::Ok(())
    };
    holder.signal(Signal::STOP)?;
    until_stopped(&holder)?;
    scene.count("stops", 1);
    let before = mark()?;
    scene.block_on(async {
        let acquire = |name: &'static str| {
            let judge = judge.clone();
            tokio::spawn(async move { judge.acquire(name).await })
        };
        let waits = acquire("app/blog");
        until(&locks, "it waits", |listing| listing.waiting.len() == 1)?;
        judging.next_swap(Fault::Hang(Effect::Now));
        let swaps = judging.swaps();
        let own = acquire("judge/own");
        hangs(swaps, Faults::swaps)?;
        let asks = tokio::spawn({
            let judge = judge.clone();
            async move { judge.list().await }
        });
        // The judge has seen the mark by now.
        thread::sleep(lease);
        judging.next_load(Fault::Hang(Effect::Never));
        let loads = judging.loads();
        judging.release();
        hangs(loads, Faults::loads)?;
        scene.count("faults", 2);

        holder.signal(Signal::CONT)?;
        expect(&mut holder, Order::Verify(held.key), "Done")?;
        ensure(mark()? > before, || "it has not renewed".into())?;
        judging.release();
        asks.await??;
        let own = own.await??;
        // What it writes now would come with its verdict.
        judge.acquire("judge/last").await?.release().await?;
        own.verify().await?;
        mark()?;
        expect(&mut holder, Order::Verify(held.key), "Done")?;
        expect(&mut holder, Order::Release(held.key), "Done")?;
        waits.await??.release().await?;
        Ok(())
    })
}

pub(super) fn a_busy_executor_keeps_its_lease(scene: &Scene) -> Verdict {
    let lease = 5 * LEASE;
    let mut holder = scene.worker_with(&elsewhere().lease(lease))?;
    let held = holder.acquire("app/blog")?;
    let mut heir = scene.worker("heir")?;
    let waits = heir.ask("app/blog", None)?;
    let blocked = holder.order(Order::Block(lease * 3 / 2))?;
    let check = holder.order(Order::Check(held.key))?;
    expect_report(&mut holder, blocked, "Done")?;
    expect_report(&mut holder, check, "Done")?;
    expect(&mut holder, Order::Verify(held.key), "Done")?;
    let early = heir.report_within(waits, Duration::ZERO)?;
    ensure(early.is_none(), || format!("the heir has it already: {early:?}"))?;
    expect(&mut holder, Order::Release(held.key), "Done")?;
    heir.granted(waits).map(drop)
}

/// Alive means alive.
pub(super) fn a_stopped_process_keeps_its_locks_past_its_lease(scene: &Scene) -> Verdict {
    // Once it goes on, the store has a tenth of it to answer.
    let lease = 10 * LEASE;
    let mut holder = scene.worker_with(&WorkerOptions::new("holder").lease(lease))?;
    let held = holder.acquire("app/blog")?;
    holder.signal(Signal::STOP)?;
    until_stopped(&holder)?;
    scene.count("stops", 1);
    is_kept_by_the_living(&scene.locks()?.blocking(), "app/blog", lease + LEASE / 4)?;
    let check = holder.order(Order::Check(held.key))?;
    holder.signal(Signal::CONT)?;
    // It may be in doubt, and it may have asked the store by now.
    holder.report(check)?;
    expect(&mut holder, Order::Verify(held.key), "Done")?;
    expect(&mut holder, Order::Check(held.key), "Done")?;
    expect(&mut holder, Order::Release(held.key), "Done")
}

fn until_stopped(worker: &Worker) -> Verdict {
    let end = Instant::now() + LIVENESS;
    while !worker.pulse().is_stopped() {
        ensure(Instant::now() < end, || "it does not stop".into())?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
