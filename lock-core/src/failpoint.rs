//! Points in the driver at which a test kills or stops its process, and mutants for it to catch.
//!
//! Both are chosen by the environment of a process that a test starts, and only in builds with the
//! feature `failpoints`. In all others there is nothing of them left.
#![cfg_attr(
    not(feature = "failpoints"),
    allow(unreachable_pub, dead_code, reason = "only builds with failpoints choose among them")
)]

/// A moment in the work of a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Point {
    /// A load is about to be sent.
    BeforeLoad,
    /// A load is answered.
    Loaded,
    /// A swap is about to be sent.
    BeforeSwap,
    /// A swap is sent, and applied if the store answers at once; its answer is not yet seen.
    SwapSent,
    /// A swap is answered, and nobody is told.
    SwapAnswered,
    /// A request is in the queue, and confirmed.
    Queued,
    /// A request is granted, and whoever asked is about to be told.
    Granted,
    /// A release was asked for, and is not yet written.
    Releasing,
    /// A swap that only renews the lease is about to be sent.
    Renewing,
    /// A client that is waited for was found dead, by a table that may be old when it is swept.
    Judged,
    /// A dead client is about to be swept.
    Sweeping,
}

/// A way to break the table or the driver that a suite has to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mutant {
    /// Everything fits beside everything.
    NoExclusion,
    /// A lock does not cover what is below it.
    NoHierarchy,
    /// A limit of n lets n + 1 in.
    LimitOffByOne,
    /// Of a set of locks only the first is looked at.
    FirstLockOnly,
    /// The fence of a hold is the ten seconds in which it was granted.
    FenceReuse,
    /// Names that differ in case only are one.
    FoldedNames,
    /// Earlier waiters are looked at one by one, and not as if they all held already.
    PairwiseFairness,
    /// Nobody in the queue is looked at.
    QueueJumping,
    /// A release hands nothing on.
    OrphanedWaiter,
    /// A release frees whatever has the name.
    ReleaseOfAnother,
    /// The future of a request that is dropped withdraws nothing.
    LeakOnCancel,
    /// A verdict holds although the client has renewed since.
    VerdictUnbound,
    /// A change that is not there at the version it was sent for was never made.
    AbsentMeansNever,
    /// The next version is the expected one and one more, whatever was seen.
    VersionReuse,
    /// A denial is given from what is cached.
    DenialFromCache,
    /// A lease counts from the answer to its renewal, and not from before it was sent.
    LeaseFromAnswer,
    /// What cannot be probed is dead.
    UnknownIsDead,
}

#[cfg(feature = "failpoints")]
macro_rules! all {
    ($of:ident: $($variant:ident $name:literal)*) => {
        impl $of {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name by which it is chosen.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

#[cfg(feature = "failpoints")]
all!(Point:
    BeforeLoad "before-load"
    Loaded "loaded"
    BeforeSwap "before-swap"
    SwapSent "swap-sent"
    SwapAnswered "swap-answered"
    Queued "queued"
    Granted "granted"
    Releasing "releasing"
    Renewing "renewing"
    Judged "judged"
    Sweeping "sweeping"
);

#[cfg(feature = "failpoints")]
all!(Mutant:
    NoExclusion "no-exclusion"
    NoHierarchy "no-hierarchy"
    LimitOffByOne "limit-off-by-one"
    FirstLockOnly "first-lock-only"
    FenceReuse "fence-reuse"
    FoldedNames "folded-names"
    PairwiseFairness "pairwise-fairness"
    QueueJumping "queue-jumping"
    OrphanedWaiter "orphaned-waiter"
    ReleaseOfAnother "release-of-another"
    LeakOnCancel "leak-on-cancel"
    VerdictUnbound "verdict-unbound"
    AbsentMeansNever "absent-means-never"
    VersionReuse "version-reuse"
    DenialFromCache "denial-from-cache"
    LeaseFromAnswer "lease-from-answer"
    UnknownIsDead "unknown-is-dead"
);

#[cfg(not(feature = "failpoints"))]
mod armed {
    use super::{Mutant, Point};

    pub(crate) const fn reach(_: Point) {}

    pub(crate) const fn is(_: Mutant) -> bool {
        false
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::env;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use signal_hook::consts::{SIGKILL, SIGSTOP};
    use signal_hook::low_level::raise;

    use super::{Mutant, Point};

    /// The variable that chooses a point, when, and what happens: `swap-sent:2:kill`.
    pub const FAILPOINT: &str = "INTERLOCK_FAILPOINT";
    /// The variable that chooses a mutant: `no-exclusion`.
    pub const MUTANT: &str = "INTERLOCK_MUTANT";

    static HITS: [AtomicU64; Point::ALL.len()] = [const { AtomicU64::new(0) }; Point::ALL.len()];

    #[derive(Debug, Clone, Copy)]
    struct Plan {
        point: Point,
        hit: u64,
        signal: i32,
    }

    fn plan() -> Option<Plan> {
        static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
        *PLAN.get_or_init(|| {
            let text = env::var(FAILPOINT).ok()?;
            let plan = parse(&text);
            assert!(plan.is_some(), "{FAILPOINT}={text} is not point:hit:kill or point:hit:stop");
            plan
        })
    }

    fn parse(text: &str) -> Option<Plan> {
        let mut parts = text.split(':');
        let name = parts.next()?;
        let point = *Point::ALL.iter().find(|point| point.name() == name)?;
        let hit = parts.next()?.parse().ok()?;
        let signal = match parts.next()? {
            "kill" => SIGKILL,
            "stop" => SIGSTOP,
            _ => return None,
        };
        parts.next().is_none().then_some(Plan { point, hit, signal })
    }

    /// Passes a point: the process is killed or stopped here if that was chosen.
    pub(crate) fn reach(point: Point) {
        let hit = HITS[point as usize].fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(plan) = plan()
            && (plan.point, plan.hit) == (point, hit)
        {
            // To this thread, which goes no further: a signal to the process may stop another first.
            // A process may always signal itself; if it could not, the test would see no effect.
            let _ = raise(plan.signal);
        }
    }

    /// How often a point was passed in this process.
    pub fn hits(point: Point) -> u64 {
        HITS[point as usize].load(Ordering::Relaxed)
    }

    /// Tells whether this process is to be broken in this way.
    pub(crate) fn is(mutant: Mutant) -> bool {
        static MUTANTS: OnceLock<Option<Mutant>> = OnceLock::new();
        let chosen = MUTANTS.get_or_init(|| {
            let name = env::var(MUTANT).ok()?;
            let mutant = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
            assert!(mutant.is_some(), "{MUTANT}={name} is not known");
            mutant.copied()
        });
        *chosen == Some(mutant)
    }
}

#[cfg(feature = "failpoints")]
pub use armed::{FAILPOINT, MUTANT, hits};
pub(crate) use armed::{is, reach};
