//! What this crate promises, on real servers that each test starts for itself.

mod cluster;
mod connections;
mod dialling;
mod memory;
mod place;
mod refusals;
mod replicas;
mod restarts;
mod rights;
mod risks;
mod sentinels;
#[path = "../support/mod.rs"]
mod support;
mod tls;
