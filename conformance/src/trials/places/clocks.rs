//! Clocks that jump, differ or stand still: of the wall, of the boot, of a time namespace.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use lock_core::HoldError;
use lock_core::process::ProcessSet;
use lock_core::testing::TestClock;
use rustix::process::Signal;

use super::super::tools::{Room, holds, is_busy, needs, needs_namespaces, until};
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict, trials};
use crate::worker::{Order, Report, WorkerOptions};

trials!("places":
    clocks_that_jump_cost_nobody_a_lock,
    the_lease_of_the_holder_counts_and_not_that_of_the_contender,
    observers_with_other_boot_clocks_do_not_add_up,
    a_suspended_holder_asks_before_it_goes_on,
    a_suspended_stranger_learns_of_its_loss,
);

const HOUR: i64 = 3600;
/// The shortest lease there is.
const LEASE: Duration = Duration::from_secs(1);

/// A clock of the wall that jumps for the worker that has it.
///
/// Only that of the wall: the kernel's others do not jump.
struct FakeClock {
    folder: tempfile::TempDir,
    preload: String,
}

impl FakeClock {
    fn new() -> Result<Self, Failure> {
        needs(&["faketime"])?;
        let said = Command::new("faketime").args(["-f", "+0", "env"]).output()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let preload = said.lines().find_map(|line| line.strip_prefix("LD_PRELOAD="));
        let preload = preload.ok_or_else(|| Failure::failed("faketime preloads nothing"))?.into();
        let clock = Self { folder: tempfile::tempdir()?, preload };
        clock.jump(0)?;
        Ok(clock)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Sets it so many seconds before or after the real one.
    fn jump(&self, seconds: i64) -> Result<(), Failure> {
        let new = self.folder.path().join("next");
        fs::write(&new, format!("{seconds:+}\n"))?;
        Ok(fs::rename(new, self.file())?)
    }

    /// The command that starts another one under it.
    fn wrapper(&self) -> Vec<String> {
        let file = self.file();
        vec![
            "env".into(),
            format!("LD_PRELOAD={}", self.preload),
            format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
            "FAKETIME_NO_CACHE=1".into(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
        ]
    }
}

/// How many seconds after the real time this was.
fn off(time: SystemTime) -> i64 {
    let now = SystemTime::now();
    let seconds = |length: Duration| i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    time.duration_since(now).map_or_else(|e| -seconds(e.duration()), seconds)
}

fn clocks_that_jump_cost_nobody_a_lock(scene: &Scene) -> Verdict {
    scene.needs_processes()?;
    let clocks = [FakeClock::new()?, FakeClock::new()?];
    // They cannot see each other live, so that only leases tell.
    let rooms = [room()?, room()?];
    for room in &rooms {
        room.run("mount -t tmpfs tmpfs /dev/shm")?; // What is killed under faketime leaves files.
    }
    let start = |who: usize, name: &str| {
        let options = WorkerOptions::new(name).lease(LEASE).wrapped_in(rooms[who].enter());
        scene.worker_with(&options.wrapped_in(clocks[who].wrapper()))
    };
    let mut holder = start(0, "holder")?;
    let mut contender = start(1, "contender")?;
    let locks = scene.locks()?.blocking();
    let held = holder.acquire("app/blog")?;
    let waiting = contender.ask("app/blog", None)?;
    let mut fence = held.fence;
    for jump in [HOUR, -HOUR, 2 * HOUR, 0] {
        clocks[0].jump(jump)?;
        clocks[1].jump(-jump)?;
        for worker in [&mut holder, &mut contender] {
            let other = worker.acquire("other")?;
            assert!(other.fence > fence, "fence {} after {fence}, at {jump} s", other.fence);
            fence = other.fence;
            let listing = locks.list()?;
            let listed = listing.holds.iter().find(|hold| hold.fence == fence).expect("it is held");
            // The clock of whoever wrote it, for itself or for the other, has really jumped.
            let off = off(listed.since).abs();
            assert!((off - jump.abs()).abs() < 120, "{off} at {jump}");
            assert_eq!(worker.call(Order::Release(other.key))?, Report::Done);
        }
        if let Some(report) = contender.report_within(waiting, LEASE / 2)? {
            return Err(Failure::failed(format!("{jump} s freed a lock early: {report:?}")));
        }
        is_busy(&mut contender, "app/blog")?;
        holds(&mut holder, held.key)?;
    }
    clocks[1].jump(-HOUR)?;
    rooms[0].signal("KILL", holder.pid())?;
    holder.ended()?;
    scene.count("kills", 1);
    assert!(contender.granted(waiting)?.fence > fence);
    contender.close()
}

fn the_lease_of_the_holder_counts_and_not_that_of_the_contender(scene: &Scene) -> Verdict {
    scene.needs_processes()?;
    let room = room()?;
    for contenders in [LEASE, LEASE * 3600] {
        let options = WorkerOptions::new("holder").lease(LEASE * 2);
        let mut holder = scene.worker_with(&options.wrapped_in(room.enter()))?;
        let held = holder.acquire("app/blog")?;
        let locks = scene.builder()?.lease(contenders).build().blocking();
        assert!(locks.try_acquire("app/blog").unwrap_err().is_busy());
        room.signal("STOP", holder.pid())?;
        scene.count("stops", 1);
        let stopped = Instant::now();
        let taken = locks.acquire_timeout("app/blog", LIVENESS)?;
        // It was renewed no earlier than a third of its length before, with room for a slow machine.
        assert!(stopped.elapsed() > LEASE * 11 / 10, "{:?}", stopped.elapsed());
        room.signal("CONT", holder.pid())?;
        holder.signal(Signal::CONT)?; // `nsenter` stops with its child.
        match holder.call(Order::Verify(held.key))? {
            Report::Refused { kind, .. } if kind == "Lost" => {}
            other => return Err(Failure::failed(format!("it was taken over: {other:?}"))),
        }
        assert!(taken.fence() > held.fence);
        taken.verify()?;
        taken.release()?;
        holder.close()?;
    }
    Ok(())
}

/// A one-shot try leaves what it saw to the next try of the same boot; a time namespace has
/// another clock, an hour off, with which that must not be compared.
fn observers_with_other_boot_clocks_do_not_add_up(scene: &Scene) -> Verdict {
    scene.needs_processes()?;
    let ahead = ["--time", "--boottime", "3600", "--monotonic", "3600", "--fork", "--kill-child"];
    needs_namespaces(&ahead)?;
    let room = room()?;
    let options = WorkerOptions::new("holder").lease(LEASE * 3 / 2);
    let mut holder = scene.worker_with(&options.wrapped_in(room.enter()))?;
    let held = holder.acquire("app/blog")?;
    let words = ["unshare"].into_iter().chain(ahead);
    let mut ahead = scene.worker_with(&WorkerOptions::new("ahead").wrapped_in(words))?;
    let mut here = scene.worker("here")?;
    let end = Instant::now() + LEASE * 2;
    let mut tries = 0;
    while Instant::now() < end {
        for worker in [&mut ahead, &mut here] {
            is_busy(worker, "app/blog")?;
            tries += 1;
        }
        holds(&mut holder, held.key)?;
    }
    scene.count("operations", tries);
    room.signal("KILL", holder.pid())?;
    holder.ended()?;
    scene.count("kills", 1);
    let taken = ahead.acquire("app/blog")?;
    assert!(taken.fence > held.fence);
    is_busy(&mut here, "app/blog")?;
    ahead.close()?;
    assert!(here.acquire("app/blog")?.fence > taken.fence);
    here.close()
}

fn a_suspended_holder_asks_before_it_goes_on(scene: &Scene) -> Verdict {
    let clock = TestClock::new();
    let holder = scene.builder()?.clock(clock.clone()).build().blocking();
    let others = scene.locks()?.blocking();
    let guard = holder.acquire("app/blog")?;
    guard.check()?;
    for _ in 0..3 {
        clock.suspend(Duration::from_secs(3600));
        assert_eq!(guard.check(), Err(HoldError::InDoubt), "its lease was over in the meantime");
        // It can be seen to live, so nobody has taken it: the driver asks, and renews.
        until("the holder is certain again", || guard.check().is_ok());
        guard.verify()?;
        assert!(others.try_acquire("app/blog").unwrap_err().is_busy());
        assert!(holder.acquire("other")?.fence() > guard.fence());
    }
    guard.release()?;
    others.acquire("app/blog")?.release()?;
    Ok(())
}

/// Of a host that was suspended for longer than a lease, two clients that cannot see each other.
fn a_suspended_stranger_learns_of_its_loss(scene: &Scene) -> Verdict {
    let clock = TestClock::new();
    let mut elsewhere = ProcessSet::current();
    elsewhere.place.pid_ns = elsewhere.place.pid_ns.map(|inode| inode ^ 1);
    let builder = scene.builder()?.clock(clock.clone()).processes(elsewhere);
    let holder = builder.build().blocking();
    let contender = scene.builder()?.clock(clock.clone()).build().blocking();
    let guard = holder.acquire("app/blog")?;
    assert!(contender.try_acquire("app/blog").unwrap_err().is_busy());
    // If the holder wakes up first it renews its lease, and is suspended once more.
    let begin = Instant::now();
    let taken = loop {
        clock.suspend(Duration::from_secs(3600));
        match contender.acquire_timeout("app/blog", Duration::from_secs(1)) {
            Err(_) if begin.elapsed() < LIVENESS => {}
            taken => break taken?,
        }
    };
    assert!(guard.check().is_err(), "two hold it");
    assert!(taken.fence() > guard.fence());
    until("the holder learns of its loss", || guard.check() == Err(HoldError::Lost));
    assert!(guard.verify().is_err());
    guard.release()?;
    taken.verify()?;
    assert!(holder.try_acquire("app/blog").unwrap_err().is_busy());
    Ok(())
}

fn room() -> Result<Room, Failure> {
    Room::open(&["--pid", "--mount-proc"], "")
}
