//! What is true of stores that are files, and of nothing else.

mod defaults;
mod doctor;
mod pages;
mod replaced;
mod screen;
mod tmux;
mod unusable;
mod users;
