//! What an approach is, and what approaches have in common.

use std::error::Error;
use std::fs;
use std::time::Duration;

use async_trait::async_trait;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Why something could not be done.
pub type Failure = Box<dyn Error + Send + Sync>;

/// How often an approach looks that can do no more than look again.
pub const POLL: Duration = Duration::from_millis(10);

/// One way to have named locks.
#[async_trait]
pub trait Approach: Send + Sync {
    /// Waits for the lock of this name, as long as it takes.
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure>;
}

/// A lock that is held.
#[async_trait]
pub trait Held: Send {
    /// Gives it back.
    async fn release(self: Box<Self>) -> Result<(), Failure>;
}

/// Has all sockets of this process send small packets at once, as those of this product's clients do: sqlx
/// does not, and a long statement over TLS would wait 40 ms for an acknowledgement.
pub fn send_at_once() {
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A copy of the descriptor; whatever is no socket refuses the option.
        let copy = pidfd_open(getpid(), PidfdFlags::empty())
            .and_then(|process| pidfd_getfd(process, number, PidfdGetfdFlags::empty()));
        let _ = copy.and_then(|copy| set_tcp_nodelay(&copy, true));
    }
}
