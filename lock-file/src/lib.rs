//! Plain files as a store of locks: no server, and no database library either.

mod backend;
mod cell;
mod excl;
mod flock;
mod folder;
mod names;
mod place;

pub use backend::{FileBackend, FileOptions, Strategy};
