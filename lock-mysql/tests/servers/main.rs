//! What this crate promises, on real servers that start once for all these tests.

mod errors;
mod place;
#[path = "../support/mod.rs"]
mod support;
