//! The shim by itself: it becomes nothing when `lockctl` goes, and nobody else can use it.

use std::{
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

use rustix::{
    net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair},
    process::Pid,
};

use crate::world::{LOCKCTL, World, poll, state};

fn channel() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn shim(world: &World) -> Command {
    let mut command = Command::new(LOCKCTL);
    world.furnish(&mut command);
    command.args(["__shim", "--", "touch", "started"]);
    command
}

#[test]
fn the_shim_ends_with_lockctl_and_runs_nothing() {
    let world = World::new();
    let (ours, theirs) = channel();
    let mut shim = shim(&world).stdin(Stdio::from(theirs)).spawn().unwrap();
    let pid = Pid::from_child(&shim);
    poll("the shim waits", || (state(pid) == Some('S')).then_some(()));
    drop(ours);
    assert_eq!(shim.wait().unwrap().code(), Some(0));
    assert!(!world.path("started").exists());
}

#[test]
fn what_is_no_grant_starts_nothing() {
    let world = World::new();
    let (ours, theirs) = channel();
    send(&ours, b"grant\0", SendFlags::empty()).unwrap(); // Without the stdin.
    let output = shim(&world).stdin(Stdio::from(theirs)).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let by_hand = shim(&world).stdin(Stdio::null()).output().unwrap();
    assert_eq!(by_hand.status.code(), Some(64));
    assert!(!world.path("started").exists());
}
