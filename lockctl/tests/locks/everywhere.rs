//! What is true of locks whatever store they are in.

mod commands;
mod crashes;
mod crowds;
mod modes;
mod nested;
mod options;
mod queue;
mod signals;
mod statuses;
mod stores;
mod terminal;
mod watch;
mod why;
