//! Fakes for tests, here and in crates that use locks: needs the feature `test-util`.
//!
//! [`FaultyBackend`] stands between a client and its store and lets a test decide what goes wrong.

mod fault;
mod faulty;

pub use crate::clock::TestClock;
pub use fault::{Call, Effect, Event, Fault, Rates};
pub use faulty::{Faults, FaultyBackend};
