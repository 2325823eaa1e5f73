//! Ids that come again, and processes that only seem to be somebody.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use lock_core::process::{Place, Process, ProcessGroup, ProcessSet};
use lock_core::{AcquireError, Mode, Reach, Request};

use super::super::tools::{Ghost, Idler, Room, is_busy, kill, needs, reaching, until};
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict, trials};
use crate::worker::{Order, Report, WorkerOptions};

trials!("places":
    a_used_again_process_id_is_no_owner,
    a_living_process_with_another_start_is_no_owner,
    the_id_of_a_dead_task_opens_nothing,
    after_a_boot_nothing_is_stale,
    a_client_without_its_main_thread_is_alive,
    what_is_left_of_a_process_group_keeps_the_locks,
    a_busy_request_says_who_and_since_when_and_differs_from_an_unreachable_store,
);

/// No lease ends while a trial runs: only the proof of a death can free anything.
const LONG: Duration = Duration::from_secs(3600);
/// The shortest lease there is.
const SHORT: Duration = Duration::from_secs(1);

fn a_used_again_process_id_is_no_owner(scene: &Scene) -> Verdict {
    const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
    scene.needs_processes()?;
    if !std::path::Path::new(LAST_PID).exists() {
        return Err(Failure::missing(format!("{LAST_PID}, by which ids are chosen,")));
    }
    let room = Room::open(&["--pid", "--mount-proc"], "")?;
    let inside = |name| WorkerOptions::new(name).lease(LONG).wrapped_in(room.enter());
    let mut first = scene.worker_with(&inside("first"))?;
    first.acquire("app/blog")?;
    let mut other = scene.worker_with(&inside("other"))?;
    is_busy(&mut other, "app/blog")?;

    let pid = first.pid();
    room.signal("KILL", pid)?;
    first.ended()?;
    scene.count("kills", 1);
    // Another thread may be faster than the shell's child: then once more.
    room.run(&format!(
        "for try in $(seq 1000); do\n\
           echo {} >{LAST_PID}\n\
           sleep 1000 >/dev/null 2>&1 & \n\
           test $! = {pid} && exit 0\n\
           kill $!\n\
         done\n\
         exit 1",
        pid - 1
    ))?;
    let mut again = scene.worker_with(&inside("again"))?;
    again.acquire("app/blog")?;
    room.run(&format!("kill -0 {pid}"))?; // The process with the id lives all the time.
    is_busy(&mut other, "app/blog")?;
    again.close()
}

fn a_living_process_with_another_start_is_no_owner(scene: &Scene) -> Verdict {
    let idler = Idler::start(&mut Command::new("cat"))?;
    let Some(Process { pid, start }) = Process::find(idler.id()) else {
        return Err(Failure::skipped("processes cannot be probed here"));
    };
    let locks = scene.locks()?.blocking();
    let set =
        |process| ProcessSet { place: Place::here(), processes: vec![process], groups: vec![] };
    let alive = Ghost::haunt(scene, set(Process { pid, start }), LONG, "alive")?;
    let request = Request::exclusive("a").and_shared("b").and_limit("c", 3);
    let gone = Ghost::haunt(scene, set(Process { pid, start: start + 1 }), LONG, request)?;
    let request = Request::exclusive("a").and_exclusive("b").and_exclusive("c");
    let taken = locks.acquire_timeout(request, LIVENESS)?;
    assert!(taken.fence() > gone.guard.fence());
    assert!(locks.try_acquire("alive").unwrap_err().is_busy());
    gone.faults.set_unavailable(false);
    assert!(gone.guard.verify().is_err(), "it was swept");
    alive.faults.set_unavailable(false);
    alive.guard.verify()?;
    taken.verify()?;
    Ok(())
}

/// A child of a task is let through by its id. When the task is dead, its id must open nothing.
fn the_id_of_a_dead_task_opens_nothing(scene: &Scene) -> Verdict {
    let mut parent = scene.worker("parent")?;
    let mut child = scene.worker("child")?;
    let held = parent.acquire("app/blog")?;
    let nested = || Order::acquire("step", "app/blog", Some(Duration::ZERO)).under(&held.task);
    let inner = child.order(nested())?;
    let inner = child.granted(inner)?;
    assert_eq!(child.call(Order::Release(inner.key))?, Report::Done);

    kill(parent.pid())?;
    parent.ended()?;
    scene.count("kills", 1);
    // Another one of the same names takes over: neither its name nor its number is the dead one's.
    let mut second = scene.worker("parent")?;
    let taken = second.acquire("app/blog")?;
    assert_ne!(taken.task, held.task);
    match child.call(nested())? {
        Report::Refused { kind, .. } if kind == "Busy" => {}
        other => return Err(Failure::failed(format!("the dead let it in: {other:?}"))),
    }
    second.close()?;
    let inner = child.order(nested())?;
    child.granted(inner)?;
    child.close()
}

fn after_a_boot_nothing_is_stale(scene: &Scene) -> Verdict {
    let mut before = ProcessSet::current();
    if before.place.boot.is_none() {
        return Err(Failure::skipped("the boot is not known here"));
    }
    before.place.boot = Some("00000000-0000-0000-0000-000000000000".into());
    let all = || Request::exclusive("a").and_shared("b").and_limit("c", 2).and_exclusive("d/e");
    let want = || {
        let sets = Request::exclusive("a").and_exclusive("b").and_exclusive("c");
        sets.and_exclusive("d")
    };

    // A store of this host: that boot has ended, and with it everybody.
    let ghost = Ghost::haunt(scene, before.clone(), LONG, all())?;
    let host = reaching(scene, Reach::Host)?.0.build().blocking();
    let network = reaching(scene, Reach::Network)?.0.build().blocking();
    assert!(network.try_acquire(want()).unwrap_err().is_busy(), "another host may run yet");
    let taken = host.try_acquire(want())?;
    assert!(taken.fence() > ghost.guard.fence());
    taken.release()?;

    // A store of a network: the other boot may be another host, so it keeps the lease it has.
    let ghost = Ghost::haunt(scene, before, SHORT, all())?;
    let started = Instant::now();
    assert!(network.try_acquire(want()).unwrap_err().is_busy());
    let taken = network.acquire_timeout(want(), LIVENESS)?;
    assert!(started.elapsed() >= SHORT, "before its lease was over: {:?}", started.elapsed());
    assert!(taken.fence() > ghost.guard.fence());
    ghost.faults.set_unavailable(false);
    assert!(ghost.guard.verify().is_err(), "it was swept");
    taken.release()?;
    Ok(())
}

/// Only C can end a main thread alone without `unsafe`.
fn a_client_without_its_main_thread_is_alive(scene: &Scene) -> Verdict {
    const SOURCE: &str = r"
        #include <pthread.h>
        #include <unistd.h>
        static void *linger(void *unused) {
            char c;
            while (read(0, &c, 1) > 0) {}
            _exit(0);
        }
        int main(void) {
            pthread_t thread;
            if (pthread_create(&thread, 0, linger, 0) != 0) return 1;
            pthread_exit(0);
        }";
    needs(&["cc"])?;
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("main-thread-ends");
    let mut cc = Command::new("cc");
    let cc = cc.args(["-x", "c", "-", "-pthread", "-o"]).arg(&program).stdin(Stdio::piped());
    let mut cc = cc.spawn()?;
    cc.stdin.take().expect("it is piped").write_all(SOURCE.as_bytes())?;
    assert!(cc.wait()?.success());
    let mut idler = Idler::start(&mut Command::new(&program))?;
    let stat = format!("/proc/{}/stat", idler.id());
    until("its main thread ends", || {
        std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "))
    });
    let process = Process::find(idler.id()).expect("it is not reaped");
    let set = ProcessSet { place: Place::here(), processes: vec![process], groups: vec![] };
    let ghost = Ghost::haunt(scene, set, SHORT, "app/blog")?;

    let locks = scene.locks()?.blocking();
    let denied = locks.acquire_timeout("app/blog", SHORT * 3 / 2).unwrap_err();
    assert!(matches!(denied, AcquireError::TimedOut(_)), "{denied}");
    idler.kill()?;
    scene.count("kills", 1);
    let taken = locks.acquire_timeout("app/blog", LIVENESS)?;
    assert!(taken.fence() > ghost.guard.fence());
    Ok(())
}

/// As the child of a shell that outlives `lockctl` and the shell.
fn what_is_left_of_a_process_group_keeps_the_locks(scene: &Scene) -> Verdict {
    // The member that stays has the input of the leader, and ends with it.
    let mut shell = Command::new("sh");
    let mut leader =
        Idler::start(shell.args(["-c", "exec 3<&0; cat <&3 & exit 0"]).process_group(0))?;
    let Some(process) = Process::find(leader.id()) else {
        return Err(Failure::skipped("processes cannot be probed here"));
    };
    let groups = vec![ProcessGroup::led_by(process)];
    let set = ProcessSet { place: Place::here(), processes: vec![process], groups };
    let ghost = Ghost::haunt(scene, set, SHORT, "app/blog")?;
    leader.child.wait()?;
    assert!(Process::find(process.pid) != Some(process), "the leader is gone");

    let locks = scene.locks()?.blocking();
    let denied = locks.acquire_timeout("app/blog", SHORT * 3 / 2).unwrap_err();
    assert!(matches!(denied, AcquireError::TimedOut(_)), "{denied}");
    leader.input = None;
    let taken = locks.acquire_timeout("app/blog", LIVENESS)?;
    assert!(taken.fence() > ghost.guard.fence());
    Ok(())
}

fn a_busy_request_says_who_and_since_when_and_differs_from_an_unreachable_store(
    scene: &Scene,
) -> Verdict {
    let began = SystemTime::now();
    let holder = scene.builder()?.name("backups").build().blocking();
    let held =
        holder.task("backup-17").with_note("nightly").acquire(Request::shared("app/blog"))?;
    let (builder, faults) = reaching(scene, Reach::Network)?;
    let locks = builder.store_patience(Duration::from_secs(2)).build().blocking();
    for round in 0..2 {
        let denied = locks.try_acquire("app").unwrap_err();
        assert!(matches!(denied, AcquireError::Busy(_)), "{denied}");
        let denial = denied.denial().expect("it is busy");
        let [blocker] = &denial.blockers[..] else { panic!("{denial:?}") };
        assert_eq!((&*blocker.task, blocker.lock.as_str()), ("backup-17", "app/blog"));
        assert_eq!((blocker.mode, blocker.waits), (Mode::Shared, false));
        assert_eq!(&blocker.task_id, held.as_async().task_id());
        let slack = Duration::from_secs(2);
        assert!(blocker.since + slack > began && blocker.since < SystemTime::now() + slack);
        let text = denied.to_string();
        let pid = format!("pid {}", std::process::id());
        for part in ["busy", "app/blog", "backup-17", &pid, " s)"] {
            assert!(text.contains(part), "no {part:?} in {text:?}");
        }

        // Who is busy is known from a moment ago; that is no answer now.
        faults.set_unavailable(true);
        let error = locks.try_acquire("app").unwrap_err();
        assert!(!error.is_busy() && error.denial().is_none(), "round {round}: {error}");
        let AcquireError::Store(error) = error else { panic!("{error:?}") };
        assert!(error.is_unreachable() && !error.is_misconfigured(), "{error:?}");
        assert!(error.to_string().contains(locks.as_async().store()), "{error}");
        faults.set_unavailable(false);
    }
    held.release()?;
    locks.try_acquire("app")?.release()?;
    Ok(())
}
