//! What a command gets and how it ends, wherever its locks are kept.

mod passing;
mod processes;
mod signals;
mod statuses;
mod terminal;
