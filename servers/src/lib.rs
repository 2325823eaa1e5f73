//! Real servers for the tests of this workspace: fetched without installing them, started on loopback, ended for sure.
//!
//! [`Programs::find`] finds the programs of a server, in this order:
//!
//! 1. in the cache folder: `INTERLOCK_SERVERS`, else `interlock/servers` in the user's cache;
//! 2. by `apt-get` on Debian and its kin, which downloads packages into that folder, where they are
//!    unpacked: nothing is installed, and root is not needed;
//! 3. on `PATH`.
//!
//! An [`Instance`] is a server with a data directory of its own. It ends when it is dropped, and
//! also when the process that started it is killed. A [`Cluster`] is three of them that replicate to
//! each other. A [`RedisServer`] is the same for servers of that family.

mod cluster;
mod error;
mod fetch;
mod galera;
mod group;
mod guard;
mod instance;
mod kind;
mod process;
mod programs;
mod redis;

pub use cluster::{Cluster, ClusterKind};
pub use error::{Error, is_ci};
pub use instance::Instance;
pub use kind::Kind;
pub use programs::{Programs, find_program, prepare};
pub use redis::{RedisKind, RedisServer};
