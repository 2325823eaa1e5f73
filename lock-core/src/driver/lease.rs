//! The client's own lease: until when it is certain to hold what it holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is kept back from the length of the lease, for clocks that run at different speeds.
const MARGIN: u32 = 10;
/// How often the lease is renewed within its length.
const RENEWALS: u32 = 3;

/// The length of a lease and the rules that follow from it.
///
/// All times are of `CLOCK_BOOTTIME`, which goes on while a host is suspended.
#[derive(Debug)]
pub(super) struct Lease {
    length: Option<Duration>,
    /// Before the last confirmed renewal was sent.
    renewed: Option<Duration>,
    /// Since when it has been noticed to be in doubt.
    doubt: Option<Duration>,
}

impl Lease {
    pub(super) fn new(length: Option<Duration>) -> Self {
        Self { length, renewed: None, doubt: None }
    }

    pub(super) fn has_end(&self) -> bool {
        self.length.is_some()
    }

    /// A swap that was sent after `sent` is confirmed, and renewed the lease.
    pub(super) fn renew(&mut self, sent: Duration) {
        self.renewed = Some(sent);
        self.doubt = None;
    }

    /// Nothing is held or waited for any more, or not yet.
    pub(super) fn rest(&mut self) {
        self.renewed = None;
        self.doubt = None;
    }

    /// Until when holds are certain.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let length = self.length?;
        Some(self.renewed? + length * (MARGIN - 1) / MARGIN)
    }

    /// When it should be renewed.
    pub(super) fn due(&self) -> Option<Duration> {
        Some(self.renewed? + self.length? / RENEWALS)
    }

    /// Tells whether holds are in doubt, and remembers since when that is known.
    pub(super) fn is_in_doubt(&mut self, now: Duration) -> bool {
        let doubtful = self.deadline().is_some_and(|deadline| now >= deadline);
        if doubtful {
            self.doubt.get_or_insert(now);
        }
        doubtful
    }

    /// Tells whether a renewal is confirmed and recent, so that something may be taken for held.
    pub(super) fn is_certain(&mut self, now: Duration) -> bool {
        self.length.is_none() || self.renewed.is_some() && !self.is_in_doubt(now)
    }

    /// When holds in doubt are to be given up for lost, if the store cannot be asked until then.
    pub(super) fn end_of_doubt(&self) -> Option<Duration> {
        Some(self.doubt? + self.length? / MARGIN)
    }
}

/// The deadline as guards read it: a time of `CLOCK_BOOTTIME`, or none.
#[derive(Debug)]
pub(crate) struct Deadline(AtomicU64);

impl Deadline {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    pub(super) fn set(&self, deadline: Option<Duration>) {
        let nanos = deadline.map_or(u64::MAX, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        self.0.store(nanos, Ordering::Release);
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        let nanos = self.0.load(Ordering::Acquire);
        (nanos != u64::MAX).then(|| Duration::from_nanos(nanos))
    }
}
