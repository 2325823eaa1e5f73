//! The conformance and crash-recovery suite that every lock backend must pass.

mod fixture;
pub mod model;
mod power;
pub mod proxy;
mod results;
mod scene;
mod suite;
mod trial;
mod trials;
pub mod worker;

pub use fixture::{Damage, Fixture, Server, Start, Store};
pub use scene::{LIVENESS, Scene};
pub use suite::{attempt, run};
pub use trial::{Failure, Trial, Verdict};
pub use trials::catalogue;
