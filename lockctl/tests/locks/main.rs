//! End-to-end tests of locks: real `lockctl` processes on an SQLite store in a directory of their own.

mod everywhere;
mod files;
mod program;
#[allow(dead_code, reason = "the tests of running commands use more of it")]
#[path = "../run/pty.rs"]
mod pty;
mod scene;
#[path = "../run/store/file.rs"]
mod store;
#[allow(dead_code, reason = "the tests of running commands use more of it")]
#[path = "../run/world.rs"]
mod world;
