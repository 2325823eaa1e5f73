//! What this crate promises, on real servers that start once for all these tests.

mod dialling;
mod errors;
mod fences;
mod place;
mod refusals;
mod rights;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod tables;
mod tls;
mod turns;
