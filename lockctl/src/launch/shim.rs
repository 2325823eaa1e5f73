//! The shim: the process that becomes CMD. It waits for the grant, and then executes CMD in its own place.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Command, ExitCode},
};

use rustix::{
    net::sockopt::socket_peercred,
    process::{
        Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
    },
    stdio::dup2_stdin,
};

use super::channel::{self, Grant};
use crate::{exit::Exit, notice};

/// Runs as the shim of the `lockctl` at the other end of stdin; returns only if CMD is not executed.
pub(crate) fn run(command: &[OsString]) -> ExitCode {
    match become_command(command) {
        Ok(exit) => exit.finish(),
        Err(error) => {
            notice::say(format_args!(
                "the shim, which only lockctl itself starts, failed: {error}"
            ));
            Exit::Usage.finish()
        }
    }
}

fn become_command(command: &[OsString]) -> io::Result<Exit> {
    // While the shim waits, the channel's end is the proof that lockctl died; CMD needs the signal.
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let channel = io::stdin().as_fd().try_clone_to_owned()?;
    let lockctl = socket_peercred(&channel)?.pid;
    // Ctrl-\ while waiting hits the whole terminal's group: it is not for the shim to dump core.
    let core = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: core.maximum })?;
    let Some(Grant { env, stdin }) = channel::receive_grant(&channel)? else {
        return Ok(Exit::Status(0));
    };
    setrlimit(Resource::Core, core)?;
    // It may have died after it sent the grant and before it could have become our parent in death.
    if getppid() != Some(lockctl) {
        return Ok(Exit::Status(0));
    }
    dup2_stdin(&stdin)?;
    let error = execute(command, env, stdin);
    channel::send_failure(&channel, &error)?;
    Ok(super::exit_of(&error))
}

/// Executes CMD; std gives it the default SIGPIPE and blocks no signal, other ignored ones stay so.
fn execute(command: &[OsString], env: Vec<channel::EnvChange>, stdin: OwnedFd) -> io::Error {
    drop(stdin);
    let Some((program, arguments)) = command.split_first() else {
        return io::ErrorKind::NotFound.into();
    };
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, value) in env {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.exec()
}
