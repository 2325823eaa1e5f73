//! End-to-end tests of locks: real `lockctl` processes on a store in a Valkey server of the test's own.

mod everywhere;
mod keys;
mod passwords;
#[allow(dead_code, reason = "the tests of running commands use more of it")]
#[path = "../run/pty.rs"]
mod pty;
mod scene;
#[path = "../run/store/keys.rs"]
mod store;
#[allow(dead_code, reason = "the tests of running commands use more of it")]
#[path = "../run/world.rs"]
mod world;

/// Where the stores of these tests are.
const SERVER: lock_servers::RedisKind = lock_servers::RedisKind::Valkey;
