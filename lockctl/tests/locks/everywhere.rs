//! What is true of locks whatever store they are in.

mod acquire;
mod circumstances;
mod commands;
mod crashes;
mod crowds;
mod history;
mod kill;
mod modes;
mod nested;
mod options;
mod queue;
mod signals;
mod statuses;
mod stores;
mod strays;
mod terminal;
mod watch;
mod why;
