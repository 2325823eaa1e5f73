//! End-to-end tests of `lockctl run` as a way to start a command: statuses, signals, terminals and processes.

mod everywhere;
mod pty;
mod shim;
#[path = "store/file.rs"]
mod store;
mod world;
