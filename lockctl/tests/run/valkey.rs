//! End-to-end tests of `lockctl run` as a way to start a command, with its locks in a Valkey server.

mod everywhere;
mod pty;
#[allow(dead_code, reason = "the tests of locks use more of it")]
#[path = "store/keys.rs"]
mod store;
mod world;

/// Where the stores of these tests are.
const SERVER: lock_servers::RedisKind = lock_servers::RedisKind::Valkey;
