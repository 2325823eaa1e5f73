//! End-to-end tests of `lockctl run` as a way to start a command, with its locks in plain files, with strategy `flock`.

mod everywhere;
mod pty;
#[path = "store/directory.rs"]
mod store;
mod world;

/// How the stores of these tests are written.
const STRATEGY: &str = "flock";
