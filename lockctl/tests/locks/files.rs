//! What is true of stores that are files, and of nothing else.

mod defaults;
mod replaced;
mod services;
mod stopped;
mod unusable;
mod users;
