//! End-to-end tests of locks: real `lockctl` processes on a store in a MySQL server of the test's own.

mod dialling;
mod everywhere;
mod passwords;
#[allow(dead_code, reason = "the tests of running commands use more of it")]
#[path = "../run/pty.rs"]
mod pty;
mod scene;
mod servers;
#[path = "../run/store/server.rs"]
mod store;
#[allow(dead_code, reason = "the tests of running commands use more of it")]
#[path = "../run/world.rs"]
mod world;

/// Where the stores of these tests are.
const SERVER: lock_servers::Kind = lock_servers::Kind::MySql;
