//! What a worker does to a store while it is watched: raw swaps, one after the other, and its end.

use std::collections::HashMap;
use std::env;
use std::process::ExitCode;

use lock_core::{Swap, Version};
#[cfg(target_os = "linux")]
use rustix::process::set_parent_process_death_signal;
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

use crate::fixture::Fixture;
use crate::worker::{Report, tell};

/// The variable that makes a worker do a script.
const SCRIPT: &str = "LOCK_CONFORMANCE_SCRIPT";

/// One thing to do. A swap is reported by the number of its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Action {
    /// Opens a client and reads the cell.
    Open(usize),
    /// Swaps from the last version that was read or written to this one, with so many bytes.
    Swap { client: usize, version: u64, bytes: usize },
    /// Drops a client.
    Close(usize),
    /// Ends by `SIGKILL`.
    Die,
}

/// The script in the environment of a worker.
pub(super) fn environment(script: &[Action]) -> Result<(&'static str, String), serde_json::Error> {
    Ok((SCRIPT, serde_json::to_string(script)?))
}

/// The bytes that belong to a version.
pub(super) fn payload(version: u64, bytes: usize) -> Vec<u8> {
    // A sector that is missing, of another version or at another place must show.
    const PERIOD: usize = 509;
    let mut random = fastrand::Rng::with_seed(version);
    let pattern: String = std::iter::repeat_with(|| random.alphanumeric()).take(PERIOD).collect();
    let mut payload = pattern.repeat(bytes / PERIOD + 1).into_bytes();
    payload.truncate(bytes);
    payload
}

/// Does the script, if this worker was started for one.
pub(crate) fn perform(fixture: &dyn Fixture, spec: &str) -> Option<ExitCode> {
    let script: Vec<Action> = serde_json::from_str(&env::var(SCRIPT).ok()?).expect("plain data");
    // The trial can only end strace, which would let us run on.
    #[cfg(target_os = "linux")]
    set_parent_process_death_signal(Some(Signal::KILL)).expect("every process may ask for that");
    tell(0, Report::Count(std::process::id().into()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system has what a runtime needs");
    let mut clients = HashMap::new();
    let mut last = Version::ABSENT;
    for action in script {
        match action {
            Action::Open(client) => {
                let backend = fixture.open(spec).expect("the store opens");
                last = runtime.block_on(backend.load()).expect("the cell is read").version;
                clients.insert(client, backend);
            }
            Action::Swap { client, version, bytes } => {
                let data = payload(version, bytes);
                let swap = clients[&client].compare_and_swap(last, Version(version), &data);
                let report = match runtime.block_on(swap) {
                    Ok(Swap::Swapped) => Report::Done,
                    other => Report::Refused { kind: "Store".into(), text: format!("{other:?}") },
                };
                tell(version, report);
                last = Version(version);
            }
            Action::Close(client) => drop(clients.remove(&client)),
            Action::Die => kill_process(getpid(), Signal::KILL).expect("one may kill oneself"),
        }
    }
    Some(ExitCode::SUCCESS)
}
