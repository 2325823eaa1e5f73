//! End-to-end tests of `lockctl run` as a way to start a command: statuses, signals, terminals and processes.

mod passing;
mod processes;
mod pty;
mod shim;
mod signals;
mod statuses;
mod terminal;
mod world;
