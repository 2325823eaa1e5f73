//! What can go wrong in a store, how often, and the log of what did: plain data.

use std::time::Duration;

use fastrand::Rng;

use crate::backend::{BackendErrorKind, Swap, Version};

/// What goes wrong in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A swap is answered by a conflict that there was not; nothing is applied.
    Conflict,
    /// The call is answered by an error of this kind; nothing is applied.
    Error(BackendErrorKind),
    /// A swap has this effect and is answered by
    /// [`OutcomeUnknown`](BackendErrorKind::OutcomeUnknown).
    Unknown(Effect),
    /// The call has this effect and is not answered until
    /// [`Faults::release`](super::Faults::release).
    ///
    /// Released, a call with [`Effect::Never`] is made and answered, one with [`Effect::Now`] is
    /// answered as it was made before it hung, and a swap that comes later is answered by
    /// [`OutcomeUnknown`](BackendErrorKind::OutcomeUnknown).
    Hang(Effect),
    /// A load returns what was seen so many changes ago, as far as that is known; 0 is the newest
    /// that this backend has seen.
    ///
    /// No store may do that: it tests what is more careful than the contract asks.
    Stale(usize),
    /// The call panics; nothing is applied.
    Panic,
    /// The call is made after this time, on the clock of tokio.
    DelayBefore(Duration),
    /// The call is made, and answered after this time, on the clock of tokio.
    DelayAfter(Duration),
}

/// What becomes of a call that is not answered as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It never reaches the store.
    Never,
    /// It reaches the store; only the answer is lost.
    Now,
    /// It is under way until [`Faults::deliver_late`](super::Faults::deliver_late).
    Later,
    /// It is under way until right before the n-th call that follows, 1 being the next one.
    Before(u64),
}

impl Fault {
    pub(super) fn fits_load(self) -> bool {
        match self {
            Self::Conflict | Self::Unknown(_) => false,
            Self::Hang(effect) => matches!(effect, Effect::Never | Effect::Now),
            _ => true,
        }
    }

    pub(super) fn fits_swap(self) -> bool {
        !matches!(self, Self::Stale(_))
    }
}

/// How likely each fault is in a call, from 0 to 1; 0 by default.
///
/// ```
/// use lock_core::testing::Rates;
///
/// let rates = Rates { unknown: 0.2, busy: 0.1, ..Rates::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// Swaps with [`Fault::Conflict`].
    pub conflict: f64,
    /// Calls with [`BackendErrorKind::Busy`].
    pub busy: f64,
    /// Calls with [`BackendErrorKind::Unavailable`].
    pub unavailable: f64,
    /// Swaps with [`Fault::Unknown`]: in equal parts never applied, applied, and applied right
    /// before one of the next four calls.
    pub unknown: f64,
    /// Loads with [`Fault::Stale`], up to three changes old.
    pub stale: f64,
    /// Calls that are delayed, before or after.
    pub delay: f64,
    /// The longest delay.
    pub delay_max: Duration,
}

impl Rates {
    /// Some of everything that a store may do, without delays.
    pub const MIXED: Self = Self {
        conflict: 0.05,
        busy: 0.05,
        unavailable: 0.05,
        unknown: 0.15,
        stale: 0.0,
        delay: 0.0,
        delay_max: Duration::ZERO,
    };

    pub(super) fn assert_valid(&self) {
        let all =
            [self.conflict, self.busy, self.unavailable, self.unknown, self.stale, self.delay];
        let valid = all.iter().all(|rate| *rate >= 0.0) && all.iter().sum::<f64>() <= 1.0;
        assert!(valid, "rates are from 0 to 1, and so is their sum: {self:?}");
    }

    pub(super) fn draw(&self, rng: &mut Rng, call: Call) -> Option<Fault> {
        // Drawn whether used or not, so that what a seed does depends on the calls alone.
        let mut roll = rng.f64();
        let effect = [Effect::Never, Effect::Now, Effect::Before(rng.u64(1..=4))][rng.usize(..3)];
        let back = rng.usize(1..=3);
        let delay = self.delay_max.mul_f64(rng.f64());
        let delay = if rng.bool() { Fault::DelayBefore(delay) } else { Fault::DelayAfter(delay) };
        let of_call = match call {
            Call::Load => vec![(self.stale, Fault::Stale(back))],
            Call::Swap { .. } | Call::LateSwap { .. } => {
                vec![(self.conflict, Fault::Conflict), (self.unknown, Fault::Unknown(effect))]
            }
        };
        let of_any = [
            (self.busy, Fault::Error(BackendErrorKind::Busy)),
            (self.unavailable, Fault::Error(BackendErrorKind::Unavailable)),
            (self.delay, delay),
        ];
        of_call.into_iter().chain(of_any).find_map(|(rate, fault)| {
            roll -= rate;
            (roll < 0.0).then_some(fault)
        })
    }
}

/// One entry of the log: a call, what went wrong in it, and what the store below said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The call.
    pub call: Call,
    /// What went wrong, if anything.
    pub fault: Option<Fault>,
    /// What the swap really did; `None` for a load, and for a swap that has not reached the store
    /// or failed there.
    pub swap: Option<Swap>,
    /// Bytes that were sent, or read.
    pub bytes: usize,
}

/// A call of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// A load.
    Load,
    /// A compare-and-swap, as the client asked for it.
    Swap {
        /// From this version.
        expected: Version,
        /// To this one.
        next: Version,
    },
    /// The late arrival of an earlier compare-and-swap.
    LateSwap {
        /// From this version.
        expected: Version,
        /// To this one.
        next: Version,
    },
}
