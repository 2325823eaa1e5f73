//! Probing and watching real processes: alive, stopped, zombies, reaped, groups, hostile values.
#![cfg(target_os = "linux")]

mod namespaces;
mod support;

use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::FutureExt as _;
use lock_core::Reach;
use lock_core::process::{DeathWatch, Liveness, Place, Process, ProcessGroup, ProcessSet};
use proptest::prelude::*;
use rustix::process::{Signal, WaitIdOptions};

use support::{Running, group, process, until};

#[test]
fn this_process_is_alive_in_a_known_place() {
    let here = Place::here();
    assert!(here.host.is_some() && here.boot.is_some(), "{here:?}");
    assert!(here.pid_ns.is_some() && here.time_ns.is_some(), "{here:?}");
    let current = ProcessSet::current();
    assert_eq!(current.place, here);
    assert_eq!(current.processes, [Process::current().unwrap()]);
    assert_eq!(current.processes[0].pid, std::process::id());
    assert_eq!(current.probe(Reach::Host), Liveness::Alive);
    assert_eq!(current.probe(Reach::Network), Liveness::Alive);
}

#[test]
fn a_child_is_alive_until_it_is_killed_and_dead_before_it_is_reaped() {
    let mut child = Running::waiting();
    assert_eq!(process(child.id()), Liveness::Alive);
    child.signal(Signal::KILL);
    child.await_state(WaitIdOptions::EXITED);
    assert_eq!(Process::find(child.id().pid), Some(child.id()), "a zombie still has its id");
    assert_eq!(process(child.id()), Liveness::Dead, "as a zombie");
    child.reap();
    assert_eq!(process(child.id()), Liveness::Dead, "reaped");
    assert_eq!(Process::find(child.id().pid), None);
}

#[test]
fn another_start_is_another_process() {
    let child = Running::waiting();
    let Process { pid, start } = child.id();
    assert_eq!(process(Process { pid, start: start - 1 }), Liveness::Dead);
    assert_eq!(process(Process { pid, start: start + 1 }), Liveness::Dead);
}

#[test]
fn a_stopped_process_is_alive() {
    let child = Running::waiting();
    child.signal(Signal::STOP);
    child.await_state(WaitIdOptions::STOPPED);
    assert_eq!(process(child.id()), Liveness::Alive);
}

#[test]
fn a_name_that_looks_like_a_state_deceives_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("x) Z 1 1 1");
    std::os::unix::fs::symlink("/bin/sh", &program).unwrap();
    let child = Running::start(Command::new(program).arg0("sh").args(["-c", "read line"]));
    until(|| {
        std::fs::read_to_string(format!("/proc/{}/comm", child.id().pid)).unwrap() == "x) Z 1 1 1\n"
    });
    assert_eq!(process(child.id()), Liveness::Alive);
    assert_eq!(child.id().parent(), Process::current());
}

#[test]
fn a_process_whose_main_thread_has_ended_lives_as_long_as_another() {
    let mut child = Running::without_main_thread();
    assert_eq!(process(child.id()), Liveness::Alive);
    assert_eq!(group(ProcessGroup::led_by(child.id())), Liveness::Alive);
    child.end();
    child.await_state(WaitIdOptions::EXITED);
    assert_eq!(process(child.id()), Liveness::Dead);
    assert_eq!(group(ProcessGroup::led_by(child.id())), Liveness::Dead);
}

#[test]
fn a_group_outlives_its_leader() {
    // The shell prints the id of its child and exits; the child reads from our pipe.
    let mut leader = Running::start(
        Command::new("sh")
            .process_group(0)
            .args(["-c", "exec 3<&0; (read line <&3) & echo $!; wait $!"]),
    );
    let led = ProcessGroup::led_by(leader.id());
    let member: u32 = leader.line().parse().unwrap();
    let member = Process::find(member).unwrap();
    assert_eq!(group(led), Liveness::Alive, "leader and member");

    leader.signal(Signal::KILL);
    leader.await_state(WaitIdOptions::EXITED);
    assert_eq!(group(led), Liveness::Alive, "leader is a zombie");
    leader.reap();
    assert_eq!(process(leader.id()), Liveness::Dead);
    assert_eq!(group(led), Liveness::Alive, "leader is gone");
    let both = ProcessSet { place: Place::here(), processes: vec![leader.id()], groups: vec![led] };
    assert_eq!(both.probe(Reach::Network), Liveness::Alive);

    leader.end();
    until(|| process(member) == Liveness::Dead);
    until(|| group(led) == Liveness::Dead);
    assert_eq!(both.probe(Reach::Network), Liveness::Dead);
}

#[test]
fn a_group_of_zombies_is_dead() {
    let mut leader = Running::start(Command::new("true").process_group(0));
    leader.await_state(WaitIdOptions::EXITED);
    assert_eq!(group(ProcessGroup::led_by(leader.id())), Liveness::Dead, "zombie");
    leader.reap();
    assert_eq!(group(ProcessGroup::led_by(leader.id())), Liveness::Dead, "reaped");
}

#[test]
fn a_group_is_dead_when_its_id_was_used_again_or_its_members_are_older() {
    let leader = Running::start(Command::new("cat").process_group(0));
    let Process { pid, start } = leader.id();
    assert_eq!(group(ProcessGroup { id: pid, start }), Liveness::Alive);
    assert_eq!(group(ProcessGroup { id: pid, start: start - 1 }), Liveness::Dead, "id used again");
    assert_eq!(
        group(ProcessGroup { id: pid, start: start + 1 }),
        Liveness::Dead,
        "older than the group"
    );
    let no_leader = Running::waiting();
    assert_eq!(group(ProcessGroup::led_by(no_leader.id())), Liveness::Dead, "leads no group");
}

#[test]
fn a_set_lives_with_any_member_and_dies_with_the_last() {
    let mut child = Running::waiting();
    let dead = Process { pid: child.id().pid, start: child.id().start + 1 };
    let unknown = Process { pid: 0, start: 0 };
    let set = |processes: &[Process]| {
        ProcessSet { place: Place::here(), processes: processes.to_vec(), groups: vec![] }
            .probe(Reach::Network)
    };
    assert_eq!(set(&[]), Liveness::Unknown);
    assert_eq!(set(&[dead, unknown, child.id()]), Liveness::Alive);
    assert_eq!(set(&[dead, unknown]), Liveness::Unknown);
    child.signal(Signal::KILL);
    child.reap();
    assert_eq!(set(&[dead, child.id()]), Liveness::Dead);
}

#[test]
fn another_boot_or_namespace_says_nothing_of_who_lives_here() {
    let current = ProcessSet::current();
    let at = |change: fn(&mut Place), reach| {
        let mut set = current.clone();
        change(&mut set.place);
        set.probe(reach)
    };
    let rebooted: fn(&mut Place) = |place| place.boot = Some("an earlier boot".into());
    assert_eq!(at(rebooted, Reach::Host), Liveness::Dead);
    assert_eq!(at(rebooted, Reach::Network), Liveness::Unknown);
    for reach in [Reach::Host, Reach::Network] {
        assert_eq!(at(|place| place.boot = None, reach), Liveness::Unknown);
        assert_eq!(at(|place| place.pid_ns = Some(1), reach), Liveness::Unknown);
        assert_eq!(at(|place| place.time_ns = Some(1), reach), Liveness::Unknown);
    }
}

#[test]
fn ids_that_no_process_can_have_are_unknown() {
    for id in [0, 1 << 31, u32::MAX] {
        assert_eq!(process(Process { pid: id, start: 0 }), Liveness::Unknown, "{id}");
        assert_eq!(group(ProcessGroup { id, start: 0 }), Liveness::Unknown, "{id}");
        assert_eq!(Process::find(id), None);
        assert_eq!(Process { pid: id, start: 0 }.parent(), None);
    }
    assert_ne!(group(ProcessGroup { id: 1, start: u64::MAX }), Liveness::Alive);
}

#[test]
fn the_ancestors_lead_to_whoever_started_us() {
    let ancestors: Vec<_> = Process::current().unwrap().ancestors().collect();
    assert_eq!(ancestors.first().map(|parent| parent.pid), Some(parent_id()));
    let child = Running::waiting();
    let of_child: Vec<_> = child.id().ancestors().collect();
    assert_eq!(of_child[0], Process::current().unwrap());
    assert_eq!(of_child[1..], ancestors);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..Default::default() })]

    /// Whatever else a table says, it takes another boot to make a living process dead.
    #[test]
    fn nothing_else_makes_a_living_process_dead(
        pid_ns in any::<Option<u64>>(),
        time_ns in any::<Option<u64>>(),
        is_pid_ns_kept in any::<bool>(),
        is_time_ns_kept in any::<bool>(),
        processes in prop::collection::vec((hostile_id(), any::<u64>()), 0..6),
        groups in prop::collection::vec((hostile_id(), any::<u64>()), 0..3),
        at in any::<prop::sample::Index>(),
    ) {
        let mut set = ProcessSet::current();
        set.place.pid_ns = if is_pid_ns_kept { set.place.pid_ns } else { pid_ns };
        set.place.time_ns = if is_time_ns_kept { set.place.time_ns } else { time_ns };
        let current = set.processes.remove(0);
        set.processes.extend(processes.into_iter().map(|(pid, start)| Process { pid, start }));
        set.groups.extend(groups.into_iter().map(|(pgid, since)| ProcessGroup { id: pgid, start: since }));
        // Alone, the strangers must at least neither panic nor stop anybody.
        set.probe(Reach::Host);
        set.processes.insert(at.index(set.processes.len() + 1), current);
        let expected = if set.place == Place::here() { Liveness::Alive } else { Liveness::Unknown };
        prop_assert_eq!(set.probe(Reach::Host), expected);
        prop_assert_eq!(set.probe(Reach::Network), expected);
    }
}

fn hostile_id() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(i32::MAX.unsigned_abs()),
        Just(1 << 31),
        Just(u32::MAX),
        Just(std::process::id()),
        1..100_000_u32,
        any::<u32>(),
    ]
}

const GENEROUS: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_watch_tells_of_a_death_and_of_no_other() {
    let killed = Running::waiting();
    let spared = Running::waiting();
    let watch_killed = DeathWatch::new(killed.id()).unwrap();
    let watch_spared = DeathWatch::new(spared.id()).unwrap();
    assert!(watch_killed.died().now_or_never().is_none());

    spared.signal(Signal::STOP);
    spared.await_state(WaitIdOptions::STOPPED);
    killed.signal(Signal::KILL);
    tokio::time::timeout(GENEROUS, watch_killed.died()).await.expect("told of the death");
    assert_eq!(process(killed.id()), Liveness::Dead, "not reaped, yet dead");
    assert!(watch_spared.died().now_or_never().is_none(), "stopped, not dead");
    watch_killed.died().await;
}

#[tokio::test]
async fn a_watch_waits_for_the_last_thread() {
    let mut child = Running::without_main_thread();
    let watch = DeathWatch::new(child.id()).unwrap();
    // Another death makes sure that the runtime has looked at its descriptors.
    let other = Running::start(&mut Command::new("true"));
    DeathWatch::new(other.id()).unwrap().died().await;
    assert!(watch.died().now_or_never().is_none());
    child.end();
    tokio::time::timeout(GENEROUS, watch.died()).await.expect("told of the death");
}

#[tokio::test]
async fn a_watch_is_refused_for_whoever_is_not_there() {
    let mut child = Running::waiting();
    let Process { pid, start } = child.id();
    let error = DeathWatch::new(Process { pid, start: start - 1 }).unwrap_err();
    assert_eq!(error.pid, pid);
    child.signal(Signal::KILL);
    child.reap();
    DeathWatch::new(child.id()).unwrap_err();
    for id in [0, 1 << 31, u32::MAX] {
        let error = DeathWatch::new(Process { pid: id, start: 0 }).unwrap_err();
        assert_eq!(error.source.kind(), std::io::ErrorKind::InvalidInput);
    }
}

impl Running {
    /// A process with a zombie for a main thread, and another thread that waits for the end of its
    /// input. Only C can end a main thread alone without `unsafe`.
    fn without_main_thread() -> Self {
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
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("main-thread-ends");
        let mut cc = Command::new("cc")
            .args(["-x", "c", "-", "-pthread", "-o"])
            .arg(&program)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a C compiler named `cc`");
        cc.stdin.take().unwrap().write_all(SOURCE.as_bytes()).unwrap();
        assert!(cc.wait().unwrap().success());
        let child = Self::start(Command::new(&program).process_group(0));
        until(|| child.state() == 'Z');
        child
    }
}
