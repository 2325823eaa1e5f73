//! End-to-end tests of `lockctl run` as a way to start a command, with its locks in a MariaDB server.

mod everywhere;
mod pty;
#[allow(dead_code, reason = "the tests of locks use more of it")]
#[path = "store/server.rs"]
mod store;
mod world;

/// Where the stores of these tests are.
const SERVER: lock_servers::Kind = lock_servers::Kind::MariaDb;
