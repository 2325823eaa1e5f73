//! End-to-end tests of locks: real `lockctl` processes on an SQLite store in a directory of their own.

mod commands;
mod crashes;
mod crowds;
mod modes;
mod nested;
mod options;
#[allow(dead_code, reason = "the tests of running commands use more of it")]
#[path = "../run/pty.rs"]
mod pty;
mod queue;
mod scene;
mod signals;
mod statuses;
mod stores;
mod terminal;
mod users;
#[allow(dead_code, reason = "the tests of running commands use more of it")]
#[path = "../run/world.rs"]
mod world;
