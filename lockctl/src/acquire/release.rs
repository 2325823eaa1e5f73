//! `lockctl release --pid`: gives back what was acquired for a process.

use std::{io, time::Duration};

use lock_core::{LockSet, Request, TaskId, process::Process, table::Listing};
use rustix::{io::Errno, process::Signal};

use super::{background::RELEASE, keeper_of};
use crate::{
    exit::Exit,
    keeper::LockError,
    notice,
    open::with_locks,
    processes::{Handle, is_here},
    store::Settings,
};

/// How long the process that keeps the locks may take to give them back.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why locks are not given back.
#[derive(Debug, thiserror::Error)]
enum ReleaseError {
    #[error("there is no process {0}, or it cannot be seen")]
    NoProcess(u32),
    #[error(
        "process {pid} does not hold {what} in {store}: it was given back before, or lost, or never \
         acquired; `lockctl history` tells"
    )]
    NotHeld { pid: u32, what: &'static str, store: String },
    #[error("cannot signal process {pid}, which keeps the locks: ask its user, or root")]
    Signal { pid: u32, source: io::Error },
    #[error(
        "process {0}, which keeps the locks, does not give them back: does it reach the store?"
    )]
    Silent(u32),
    #[error(transparent)]
    Request(#[from] lock_core::RequestError),
    #[error(transparent)]
    Store(#[from] LockError),
}

impl ReleaseError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoProcess(_) | Self::Request(_) => Exit::Usage,
            Self::NotHeld { .. } => Exit::Lost,
            Self::Signal { source, .. } if Errno::from_io_error(source) == Some(Errno::PERM) => {
                Exit::Refused
            }
            Self::Signal { .. } => Exit::System,
            Self::Silent(_) => Exit::Unreachable,
            Self::Store(error) => error.exit(),
        }
    }
}

/// Gives back what this process holds: all of it, or what was acquired with exactly these locks.
pub(crate) fn release(settings: &Settings, pid: u32, request: Option<&Request>) -> Exit {
    match give_back(settings, pid, request) {
        Ok(()) => Exit::Status(0),
        Err(error) => {
            notice::say_error(&error);
            error.exit()
        }
    }
}

/// A hold of the process, and the process that keeps it.
struct Kept {
    task: TaskId,
    keeper: Process,
}

fn give_back(settings: &Settings, pid: u32, request: Option<&Request>) -> Result<(), ReleaseError> {
    let holder = Process::find(pid).ok_or(ReleaseError::NoProcess(pid))?;
    let wanted = request.map(Request::locks).transpose()?;
    let listing = with_locks(settings, async |locks| Ok(locks.list().await?))?;
    let kept = kept(&listing, holder, wanted);
    if kept.is_empty() {
        let what = if wanted.is_some() { "these locks" } else { "any locks" };
        return Err(ReleaseError::NotHeld { pid, what, store: settings.describe() });
    }
    let mut handles = Vec::new();
    for Kept { keeper, .. } in &kept {
        let failed = |source| ReleaseError::Signal { pid: keeper.pid, source };
        if let Some(handle) = Handle::open(*keeper).map_err(failed)? {
            handle.signal(RELEASE).and_then(|()| handle.signal(Signal::CONT)).map_err(failed)?;
            handles.push((keeper.pid, handle));
        }
    }
    for (pid, handle) in handles {
        let failed = |source| ReleaseError::Signal { pid, source };
        if !handle.wait(Some(PATIENCE)).map_err(failed)? {
            return Err(ReleaseError::Silent(pid));
        }
    }
    // Those whose keepers were killed are still there.
    let left: Vec<TaskId> = kept.into_iter().map(|kept| kept.task).collect();
    with_locks(settings, async |locks| {
        let listing = locks.list().await?;
        let left =
            left.into_iter().filter(|task| listing.holds.iter().any(|hold| hold.task_id == *task));
        let left: Vec<TaskId> = left.collect();
        if !left.is_empty() {
            let journal = settings.journal(false);
            for hold in listing.holds.iter().filter(|hold| left.contains(&hold.task_id)) {
                journal.freed(&hold.task, Some(&hold.task_id));
            }
            locks.release_tasks(left).await?;
        }
        Ok(())
    })?;
    Ok(())
}

fn kept(listing: &Listing, holder: Process, wanted: Option<&LockSet>) -> Vec<Kept> {
    let of_holder = listing.holds.iter().filter(|hold| {
        let set = &hold.client.processes;
        set.processes == [holder]
            && is_here(&set.place)
            && wanted.is_none_or(|wanted| hold.locks == *wanted)
    });
    of_holder
        .filter_map(|hold| {
            Some(Kept { task: hold.task_id.clone(), keeper: keeper_of(&hold.client)? })
        })
        .collect()
}
