//! End-to-end tests of locks: real `lockctl` processes on a store in plain files, with strategy `excl`.

#[path = "directories.rs"]
mod directories;
mod everywhere;
mod program;
#[allow(dead_code, reason = "the tests of running commands use more of it")]
#[path = "../run/pty.rs"]
mod pty;
mod scene;
#[path = "../run/store/directory.rs"]
mod store;
#[allow(dead_code, reason = "the tests of running commands use more of it")]
#[path = "../run/world.rs"]
mod world;

/// How the stores of these tests are written.
const STRATEGY: &str = "excl";
