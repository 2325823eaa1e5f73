//! Nesting: the task that a process runs under, by its environment or by its ancestors.

use std::env;

use lock_core::{Locks, StoreError, TaskId, process::Process, table::ClientView};

use crate::{acquire, processes::is_here};

/// The variable by which a nested `lockctl` knows its parent.
pub(crate) const TASK_ID_VARIABLE: &str = "LOCKCTL_TASK_ID";

/// By what a process can tell the task that it runs under.
#[derive(Debug)]
pub(crate) struct Kin {
    /// What its environment says.
    told: Option<TaskId>,
    /// The processes above it, the nearest first.
    ancestors: Vec<Process>,
}

impl Kin {
    /// That of this process.
    pub(crate) fn of_this_process() -> Self {
        let told = env::var(TASK_ID_VARIABLE).ok().and_then(|id| id.parse().ok());
        Self { told, ancestors: ancestors() }
    }

    /// That of what this process runs: it is an ancestor itself.
    ///
    /// The environment is that of this process, which says something of the other only if it is above.
    pub(crate) fn below(process: Process) -> Self {
        let ours = Self::of_this_process();
        let told = ours.told.filter(|_| ours.ancestors.contains(&process));
        Self { told, ancestors: std::iter::once(process).chain(process.ancestors()).collect() }
    }

    /// The task that it runs under, as far as its environment tells.
    pub(crate) fn told(&self) -> Option<TaskId> {
        self.told.clone()
    }

    /// The task that it runs under, if there is one.
    ///
    /// The environment is older than a lock that the script has acquired since, and where `sudo` cleaned it, it says
    /// nothing: then the nearest ancestor that holds something tells.
    pub(crate) async fn parent(&self, locks: &Locks) -> Result<Option<TaskId>, StoreError> {
        let listing = locks.list().await?;
        let of = |ancestor: &Process| {
            let holds = listing.holds.iter().filter(|hold| {
                let set = &hold.client.processes;
                set.processes.contains(ancestor)
                    && is_here(&set.place)
                    && has_one_task(&hold.client)
            });
            // What a script acquired later is nested in what it acquired before.
            holds.map(|hold| &hold.task_id).max_by_key(|id| id.as_str().len()).cloned()
        };
        let found = self.ancestors.iter().find_map(of);
        Ok(match (&self.told, found) {
            (Some(told), Some(found)) if told.contains(&found) => Some(found),
            (Some(told), _) => Some(told.clone()),
            (None, found) => found,
        })
    }
}

/// Whether all that a process of the client runs is of the client's one task.
///
/// A run has two processes, CMD and its `lockctl`, and what was acquired for a script is marked. Whose
/// locks a service holds for which of its tasks, its process does not tell.
fn has_one_task(client: &ClientView) -> bool {
    client.processes.processes.len() == 2 || acquire::keeper_of(client).is_some()
}

fn ancestors() -> Vec<Process> {
    Process::current().into_iter().flat_map(Process::ancestors).collect()
}
