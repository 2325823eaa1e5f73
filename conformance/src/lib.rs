//! The conformance and crash-recovery suite that every lock backend must pass.
//!
//! A backend is a versioned cell with compare-and-swap ([`LockBackend`]). Whether it is a good one
//! shows when many processes go for it at once, when they are killed at any moment, and when the
//! store or the way to it fails. This suite does all that, to any backend, and checks that locks
//! still mean what they should. The [guide] shows how to write a backend, with one that passes.
//!
//! It runs on Linux alone: it kills and watches processes, and makes namespaces. A backend for other systems
//! is looked at there, too.
//!
//! # Running it
//!
//! Say how to get at the store ([`Fixture`], [`Store`]), and let [`run`] be the `main` of a test
//! binary that has `harness = false`:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use std::sync::Arc;
//!
//! use lock_conformance::{Fixture, Start};
//! use lock_core::{BackendError, LockBackend};
//! # type MyBackend = lock_core::MemoryBackend;
//! # trait Open { fn open(_: &str) -> Result<MyBackend, BackendError> { Ok(MyBackend::new()) } }
//! # impl Open for MyBackend {}
//!
//! struct MyFixture;
//!
//! impl Fixture for MyFixture {
//!     fn name(&self) -> &str {
//!         "mine"
//!     }
//!
//!     fn start(&self) -> Start {
//!         Ok(Box::new(tempfile::tempdir()?))
//!     }
//!
//!     fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError> {
//!         Ok(Arc::new(MyBackend::open(spec)?))
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     lock_conformance::run(&[Arc::new(MyFixture)])
//! }
//! ```
//!
//! It is a test binary like any other: each trial has a name, `backend::layer::what_it_proves`, and
//!
//! - `cargo test --test conformance -- ::contract::` runs one layer, or whatever has that in its name,
//! - `… -- --list` lists them, `… -- --exact NAME` runs one,
//! - `… -- --test-threads 1` runs one after the other.
//!
//! A trial that cannot be done here (no server to kill, no right to make namespaces) is reported as
//! ignored, with the reason; it is never left out in silence.
//!
//! # What it proves
//!
//! | layer | what is looked at |
//! |---|---|
//! | `contract` | each obligation that [`LockBackend`] states |
//! | `handles` | what tasks and guards promise, over this backend: names, modes, queues, time limits, deadlocks, nesting, futures that are dropped at every await, cells that hold something else |
//! | `model` | random sequences of operations do what a naive model says |
//! | `history` | of what many processes did at once: conflicting holds never overlap, fences rise, nobody is passed over or refused without a reason |
//! | `effect` | what is done under a lock is not lost, and a fenced resource refuses who comes too late |
//! | `crash` | processes that are killed or stopped, at every point of the protocol and at random |
//! | `faults` | a network and a server that delay, break, lose answers, end and come back; nodes of a cluster that do |
//! | `dialling` | names with dead addresses, which must not cost a lock |
//! | `power` | a store made of files, as a power cut at any step may leave it |
//! | `load`, `places`, `stores` | scenarios from the field: storms, other users and namespaces, clocks, stores that are full, read-only or restored |
//!
//! The first two tell what is wrong; begin with them. The others tell that something is wrong under
//! conditions that no user wants to be the first to meet.
//!
//! # What is not done for real
//!
//! - A jump of `CLOCK_BOOTTIME` and a suspended host: no test may do that to its machine. Trials move
//!   the driver's clock instead, and shift boot time in time namespaces; wall clocks do jump, by
//!   libfaketime.
//! - A clock of a server that jumps: no backend has to look at it, and the suite cannot reach it.
//! - Two releases on one cell: there is one so far. Its format is kept as a file that later ones must
//!   read, and a cell of a newer format must be left alone.
//! - Networks between the nodes of a cluster that break: the suite kills, pauses and puts out nodes.
//! - A pool of connections and a name with several addresses: what a backend dials is its own matter.
//!
//! # When a trial fails
//!
//! It prints its seed, and keeps what it wrote down, with the logs of the store, in a directory that it
//! names. All chance comes from the seed: the same cases are drawn again by
//! `LOCK_CONFORMANCE_SEED=1234 cargo test --test conformance -- --exact NAME`.
//!
//! What several processes do at once is not decided by a seed. If such a trial passes then, run it in
//! a loop, or for longer.
//!
//! # A long run
//!
//! `LOCK_CONFORMANCE_SOAK_SECONDS=3600 cargo test --test conformance` repeats all trials that draw new
//! cases, with new seeds, until the time is over or one fails. Each draws four times the cases of an
//! everyday run, or `LOCK_CONFORMANCE_EFFORT` times, and kills its processes at every point that they
//! pass and not only at some of them. All of them are done once, even if that takes longer.
//!
//! # Workers
//!
//! Clients in other processes are the test binary itself, which [`run`] starts again as a worker:
//! it opens the same store by its [spec](Store::spec), does what the trial orders, and can be killed or
//! stopped at any moment, also at points in the driver that are named in advance. So `main` must do
//! nothing but call [`run`], and the same spec must lead every process to the same store. A store in
//! the memory of one process says so ([`Store::is_shared`]), and trials with workers are skipped.
//!
//! # Results
//!
//! Each run writes what it found to `conformance/BACKEND.jsonl` in the target directory, or in that
//! named by `LOCK_CONFORMANCE_RESULTS`: for each trial its verdict, the reason if it is not `passed`, the
//! seed, the time it took, and how many operations, kills, restarts, faults and cases it did.
//!
//! [`LockBackend`]: lock_core::LockBackend

mod cell;
mod cut;
mod fixture;
#[doc(hidden)]
// For the tests of this workspace, as all that is hidden here: it may change at any time.
pub mod history;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod network;
mod player;
mod power;
#[doc(hidden)]
pub mod proxy;
mod results;
mod scene;
mod suite;
mod trial;
mod trials;
mod updates;
#[doc(hidden)]
pub mod worker;

pub mod guide {
    #![doc = include_str!("guide.md")]
    //!
    //! # The example
    //!
    //! All of `tests/example.rs`: the backend, its errors, and the fixture with its `main`.
    //!
    //! ```no_run
    #![doc = include_str!("../tests/example.rs")]
    //! ```
}

pub use fixture::{Cluster, Damage, Fixture, Server, Start, Store};
#[doc(hidden)]
pub use player::Play;
#[doc(hidden)]
pub use scene::{LIVENESS, Scene};
#[doc(hidden)]
pub use suite::attempt;
pub use suite::run;
#[doc(hidden)]
pub use trial::Trial;
pub use trial::{Failure, Verdict};
#[doc(hidden)]
pub use trials::catalogue;
#[doc(hidden)]
pub use updates::Update;
