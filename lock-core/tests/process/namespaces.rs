//! Probing where the system tells less, or something else: each needs root and `unshare`.
//!
//! Such a test runs itself again, alone and as the prober, in namespaces of its own.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use lock_core::Reach;
use lock_core::process::{Liveness, Place, Process, ProcessGroup, ProcessSet};
use rustix::process::{Signal, WaitIdOptions};

use crate::support::{Running, group, process, until};

/// What the prober is to know; that it is set makes a test the prober.
const INSIDE: &str = "INTERLOCK_TEST_INSIDE";

#[test]
fn hidden_processes_are_unknown_and_gone_ones_dead() {
    if let Ok(ids) = env::var(INSIDE) {
        return probe_behind_hidepid(&ids);
    }
    let hidden = Running::start(Command::new("cat").process_group(0));
    let mut gone = Running::start(Command::new("true").process_group(0));
    gone.reap();
    let ids = [hidden.id(), gone.id()].map(|Process { pid, start }| format!("{pid} {start}"));
    run_inside(
        "hidden_processes_are_unknown_and_gone_ones_dead",
        &ids.join(" "),
        &["--mount"],
        "mount -t proc -o hidepid=2 proc /proc && \
         exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" \"$@\"",
    );
}

fn probe_behind_hidepid(ids: &str) {
    let ids: Vec<u64> = ids.split(' ').map(|id| id.parse().unwrap()).collect();
    let [hidden_pid, hidden_start, gone_pid, gone_start] = ids[..] else { panic!("{ids:?}") };
    let hidden = Process { pid: u32::try_from(hidden_pid).unwrap(), start: hidden_start };
    let gone = Process { pid: u32::try_from(gone_pid).unwrap(), start: gone_start };

    assert_eq!(ProcessSet::current().probe(Reach::Network), Liveness::Alive, "itself");
    assert_eq!(Process::find(hidden.pid), None, "hidepid has no effect");
    assert_eq!(process(hidden), Liveness::Unknown);
    assert_eq!(group(ProcessGroup::led_by(hidden)), Liveness::Unknown);
    assert_eq!(process(gone), Liveness::Dead);
    assert_eq!(group(ProcessGroup::led_by(gone)), Liveness::Dead);

    // A member of another user could hide behind a zombie that can be seen.
    let mut zombie = Running::start(Command::new("true").process_group(0));
    zombie.await_state(WaitIdOptions::EXITED);
    assert_eq!(process(zombie.id()), Liveness::Dead);
    assert_eq!(group(ProcessGroup::led_by(zombie.id())), Liveness::Unknown);
    zombie.reap();
    assert_eq!(group(ProcessGroup::led_by(zombie.id())), Liveness::Dead);
}

#[test]
fn the_proc_of_another_pid_namespace_tells_nothing() {
    if env::var_os(INSIDE).is_some() {
        let here = Place::here();
        assert!(here.boot.is_some() && here.pid_ns.is_none(), "{here:?}");
        assert_eq!(ProcessSet::current().probe(Reach::Host), Liveness::Unknown);
        assert_eq!(Process::find(std::process::id()), None);
        return;
    }
    run_inside(
        "the_proc_of_another_pid_namespace_tells_nothing",
        "",
        &["--pid", "--fork"],
        "exec \"$0\" \"$@\"",
    );
}

#[test]
fn a_boot_id_that_was_mounted_over_is_not_believed() {
    if env::var_os(INSIDE).is_some() {
        let here = Place::here();
        assert!(here.boot.is_none() && here.pid_ns.is_some(), "{here:?}");
        assert_eq!(ProcessSet::current().probe(Reach::Host), Liveness::Unknown);
        return;
    }
    run_inside(
        "a_boot_id_that_was_mounted_over_is_not_believed",
        "",
        &["--mount"],
        "mount -t tmpfs tmpfs /mnt && echo other >/mnt/boot_id && \
         mount --bind /mnt/boot_id /proc/sys/kernel/random/boot_id && exec \"$0\" \"$@\"",
    );
}

#[test]
fn a_process_whose_id_is_used_again_is_dead() {
    const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
    if env::var_os(INSIDE).is_none() {
        if !std::path::Path::new(LAST_PID).exists() {
            return eprintln!("skipped: a kernel without {LAST_PID} does not let ids be chosen");
        }
        return run_inside(
            "a_process_whose_id_is_used_again_is_dead",
            "",
            &["--pid", "--fork", "--mount-proc"],
            "exec \"$0\" \"$@\"",
        );
    }
    let mut first = Running::start(Command::new("cat").process_group(0));
    assert_eq!(process(first.id()), Liveness::Alive);
    first.signal(Signal::KILL);
    first.reap();
    let Process { pid, start } = first.id();
    let mut second = None;
    until(|| {
        std::fs::write(LAST_PID, (pid - 1).to_string()).unwrap();
        let next = Running::start(Command::new("cat").process_group(0));
        // The same tick of the clock, or a thread was faster: once more.
        let is_again = next.id().pid == pid && next.id().start > start;
        second = is_again.then_some(next);
        is_again
    });
    let second = second.unwrap();
    assert_eq!(process(first.id()), Liveness::Dead);
    assert_eq!(group(ProcessGroup::led_by(first.id())), Liveness::Dead);
    assert_eq!(process(second.id()), Liveness::Alive);
    assert_eq!(group(ProcessGroup::led_by(second.id())), Liveness::Alive);
}

/// Runs one test of this file as the prober, after a script, in new namespaces.
fn run_inside(test: &str, inside: &str, namespaces: &[&str], script: &str) {
    if let Err(reason) = can_unshare() {
        return eprintln!("skipped {test}: {reason}");
    }
    // Others must be able to execute it; copied by a process of its own, since a descriptor that
    // is open for writing could be inherited by a child of another test ("text file busy").
    let folder = tempfile::Builder::new().permissions(mode(0o755)).tempdir().unwrap();
    let prober = folder.path().join("prober");
    let source = env::current_exe().unwrap();
    let copied = Command::new("install").args(["-m", "755"]).arg(source).arg(&prober).status();
    assert!(copied.unwrap().success());

    let output = Command::new("unshare")
        .args(namespaces)
        .args(["sh", "-c", script])
        .arg(&prober)
        .args(["--exact", "--nocapture", &format!("namespaces::{test}")])
        .env(INSIDE, inside)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    assert!(said.contains("1 passed"), "ran nothing:\n{said}\n{complained}");
}

fn mode(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

fn can_unshare() -> Result<(), &'static str> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root may hide processes");
    }
    let tried = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "sh", "-c"])
        .arg("mount -t tmpfs tmpfs /mnt && setpriv --version")
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("`unshare`, `setpriv` or the right to use them is missing"),
    }
}
