//! What the author of a backend writes for the suite: how to get at a store, and what can be done to it.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lock_core::{BackendError, LockBackend, Snapshot};

use crate::trial::{Failure, Verdict};

/// A started store; it goes away when it is dropped.
pub type Start = Result<Box<dyn Store>, Failure>;

/// A kind of store, as the suite gets at it.
pub trait Fixture: Send + Sync + 'static {
    /// The name of the backend, such as `sqlite`.
    fn name(&self) -> &str;

    /// Starts a new store that nobody else uses, with an absent cell.
    ///
    /// # Errors
    ///
    /// [`Failure::Skipped`] when this machine lacks what it takes, [`Failure::Failed`] when it should
    /// have worked.
    fn start(&self) -> Start;

    /// Opens a client of the store that `spec` describes, also in a process that the suite starts.
    ///
    /// # Errors
    ///
    /// [`BackendError`] as the backend gives it.
    fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError>;
}

/// A store that was started for one trial.
///
/// What is optional is what only some stores have: trials that need it are skipped, with the reason.
/// For a store that is made of files in a directory, a [`TempDir`](tempfile::TempDir) is one.
pub trait Store: Send + Sync {
    /// What [`Fixture::open`] needs to know, in one line of text.
    fn spec(&self) -> String;

    /// Whether other processes can reach it. Only a store in memory says no.
    fn is_shared(&self) -> bool {
        true
    }

    /// Whether it tells of changes: [`changed`](LockBackend::changed) is more than the default.
    ///
    /// If it does, it has to do so whenever it can be reached.
    fn tells_of_changes(&self) -> bool {
        false
    }

    /// The directory in which it keeps everything, if it is made of files.
    fn directory(&self) -> Option<&Path> {
        None
    }

    /// The spec of the store whose files were put into another directory.
    ///
    /// `None`: nobody can look whether the store survives a power cut. With it, the store is put
    /// together as a cut at any moment may leave it, by POSIX at its strictest: what is sure of a
    /// file is what was there at its last sync, of a name what was there at the last sync of its
    /// directory, and of the rest any part. A file that is written through memory is not there.
    fn spec_in(&self, directory: &Path) -> Option<String> {
        let _ = directory;
        None
    }

    /// Puts a cell there behind the backend's back, as restoring a dump does, also an older one.
    ///
    /// `None`: the suite has no way to do that. Clients that are open are not closed for it.
    fn restore(&self, cell: &Snapshot) -> Option<Verdict> {
        let _ = cell;
        None
    }

    /// Puts another store in its place that holds this cell, as whoever moves files does; `None`
    /// removes it.
    ///
    /// `None`: that cannot be done to it. Clients that are open are not closed for it.
    fn replace(&self, cell: Option<&Snapshot>) -> Option<Verdict> {
        let _ = cell;
        None
    }

    /// Damages it, so that it cannot be used until [`repair`](Self::repair).
    ///
    /// `None`: the suite has no way to do that. Clients that are open are not closed for it.
    fn damage(&self, how: Damage) -> Option<Verdict> {
        let _ = how;
        None
    }

    /// Undoes what [`damage`](Self::damage) did.
    ///
    /// # Errors
    ///
    /// [`Failure`] when that does not work.
    fn repair(&self) -> Verdict {
        Ok(())
    }

    /// Gives this user and this group of the system all rights, as an administrator does.
    ///
    /// `None`: who may use it does not depend on users of the system.
    fn open_to(&self, user: u32, group: u32) -> Option<Verdict> {
        let _ = (user, group);
        None
    }

    /// The server, if there is one to kill, restart and cut off.
    fn server(&self) -> Option<&dyn Server> {
        None
    }

    /// Files that tell what happened, kept when a trial fails.
    fn logs(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// What can befall a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// Its end is missing.
    Truncated,
    /// It is no such store but noise.
    Garbage,
    /// It is of another program.
    Foreign,
    /// A newer release has changed how it is made.
    Newer,
    /// It cannot be written.
    ReadOnly,
    /// There is no room in it.
    Full,
}

/// A new directory as the store; the spec is its path.
impl Store for tempfile::TempDir {
    fn spec(&self) -> String {
        self.path().display().to_string()
    }

    fn directory(&self) -> Option<&Path> {
        Some(self.path())
    }

    fn spec_in(&self, directory: &Path) -> Option<String> {
        Some(directory.display().to_string())
    }

    fn open_to(&self, _user: u32, group: u32) -> Option<Verdict> {
        Some(open_directory_to(self.path(), group).map_err(Failure::from))
    }
}

fn open_directory_to(directory: &Path, group: u32) -> io::Result<()> {
    // What is made in there later belongs to the group too.
    let mut paths = vec![(directory.to_owned(), 0o2770)];
    for file in fs::read_dir(directory)? {
        paths.push((file?.path(), 0o660));
    }
    for (path, mode) in paths {
        chown(&path, None, Some(group))?;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// The server of a store.
pub trait Server: Send + Sync {
    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// The spec of the same store when it is reached by another address, that of a proxy.
    fn spec_at(&self, address: SocketAddr) -> String;

    /// The spec of the same store when it is reached by the name of a host, or by an IP address as
    /// URLs have it; with it, clients are put where such names have several addresses, some of them
    /// dead.
    ///
    /// `None`: the store is not found by the name of a host.
    fn spec_by_name(&self, host: &str, port: u16) -> Option<String> {
        let _ = (host, port);
        None
    }

    /// Ends it by `SIGKILL`.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it cannot be ended.
    fn kill(&self) -> Result<(), Failure>;

    /// Starts it again after [`kill`](Self::kill), at the same address, and waits until it serves.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it does not come up.
    fn start(&self) -> Result<(), Failure>;

    /// Whether what it has acknowledged is there after a kill.
    fn is_durable(&self) -> bool {
        true
    }

    /// Its nodes, if it is a cluster: then [`kill`](Self::kill) ends all of them.
    fn cluster(&self) -> Option<&dyn Cluster> {
        None
    }
}

/// A server that is made of nodes, and serves as long as more than half of them do.
///
/// The [spec](Store::spec) of its store names all of them, so that clients can turn to another.
pub trait Cluster: Send + Sync {
    /// How many there are, three at least; the others are told apart by numbers from 0.
    fn nodes(&self) -> usize;

    /// Ends a node by `SIGKILL`.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it cannot be ended.
    fn kill(&self, node: usize) -> Verdict;

    /// Starts a node again after [`kill`](Self::kill), and waits until all that run serve.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it does not come up.
    fn start(&self, node: usize) -> Verdict;

    /// Waits so long for the nodes that run to serve without the others. `false`: they do not come to
    /// terms by themselves, none of them takes a write, and their operators have to start the cluster anew.
    fn serves_within(&self, limit: Duration) -> bool;

    /// Stops nodes by `SIGSTOP`.
    fn pause(&self, nodes: &[usize]);

    /// Lets nodes go on by `SIGCONT`, and waits until all that run serve.
    ///
    /// # Errors
    ///
    /// [`Failure`] when they do not.
    fn go_on(&self, nodes: &[usize]) -> Verdict;

    /// Takes a node out of the cluster that goes on running and may be asked, as operators do.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it refuses.
    fn put_out(&self, node: usize) -> Verdict;

    /// Takes a node in again after [`put_out`](Self::put_out), and waits until all that run serve.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it stays away.
    fn take_in(&self, node: usize) -> Verdict;

    /// The node that takes all writes; `None` where there is no such one.
    ///
    /// # Errors
    ///
    /// [`Failure`] when no node says it.
    fn leader(&self) -> Result<Option<usize>, Failure>;

    /// Makes a node the one that takes all writes.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it is not made that.
    fn lead(&self, node: usize) -> Verdict;
}
