//! Fakes for tests, here and in crates that use locks: needs the feature `test-util`.
//!
//! [`FaultyBackend`] stands between a client and its store and lets a test decide what goes wrong.
//! [`Referee`] hears from those who hold locks, and panics when two hold what only one may.

mod fault;
mod faulty;
mod referee;

pub use crate::clock::TestClock;
pub use fault::{Call, Effect, Event, Fault, Rates};
pub use faulty::{Faults, FaultyBackend};
pub use referee::{Hold, Referee};
