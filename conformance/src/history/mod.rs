//! Histories: what clients did and were told, written down by themselves, and an exact check of it.
//!
//! # What is written
//!
//! Each client writes one line of JSON for each [`Event`] to a file of its own, with one unbuffered
//! write, so that nothing is lost when it is killed. Times are of `CLOCK_MONOTONIC`, which all
//! processes of a host share. Every request is a task of its own; what is nested is a sub-task.
//! A [`Recording`] backend writes down what cannot be seen from outside: at which version a request
//! was queued, and at which it had left the table. Versions are a total order of all swaps.
//!
//! # What is checked
//!
//! - **Exclusion.** A hold certainly lasts from the moment at which its acquire has returned to that
//!   at which its release is invoked, or its process is killed. At no moment do the certain holds
//!   exceed what their modes allow, on one name or between a name and one above or below it.
//! - **Fences.** Of two holds that conflict, the later has the greater fence.
//! - **Busy.** A request that was refused, or timed out, overlaps with holds and waiters that may
//!   have been in the table and that it does not fit beside. A deadlock was only told to a line of
//!   work that may have held something.
//! - **Fair.** A request is only granted when it fits beside all holds and all earlier waiters that
//!   were in the table before and after the swap, by version. (Left out: lines of work that have
//!   more than one request in the table, which may overtake.)
//!
//! # Why exclusion is linearizability
//!
//! A history is linearizable if one can choose, for each acquire and each release, a moment between
//! its invocation and its return such that the operations, done one by one at these moments, do
//! what a lock does. Locks are special: choose the *latest* moment for each acquire, its return, and
//! the *earliest* for each release, its invocation. That makes every hold as short as it can be, and
//! shortening a hold never makes a conflict. So if any choice works, this one does: a history of
//! granted holds is linearizable exactly if the intervals [acquire returned, release invoked) of
//! those that conflict are disjoint, and no search is needed. As these intervals only ever lie
//! inside the true holds, an overlap is never a false alarm.
//!
//! With sub-tasks this holds but for the order of grants: a sub-task is not blocked by what encloses
//! it, while it blocks what encloses it. There a violation is only told where the order is certain,
//! because the one request was invoked after the other had returned.

mod check;
mod event;
mod exclusion;
mod fair;
mod fences;
mod fit;
mod record;
mod refusals;
mod span;

pub use check::{Rule, Violation, check};
pub use event::{Event, Refusal, What, now};
pub use record::{Recorder, Recording, read, write};
