//! What is true of stores that are files, and of nothing else.

mod defaults;
mod doctor;
mod pages;
mod refused;
mod replaced;
mod screen;
mod services;
mod stopped;
mod sudo;
mod tmux;
mod unusable;
mod users;
