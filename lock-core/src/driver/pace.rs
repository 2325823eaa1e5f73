//! How fast to try again: after a lost race, after an error, and while waiting.

use std::time::Duration;

use tokio::time::Instant;

/// Bounds of the guess at how long a swap takes.
const SWAP_MIN: Duration = Duration::from_micros(200);
const SWAP_MAX: Duration = Duration::from_millis(50);
/// Back-off while the store cannot be used.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// So many pauses of the longest kind fit into the patience of a request: it is not given up without
/// the store being tried for it.
const TRIES_MIN: u32 = 4;
/// After this many races in a row without a rival, or after having left the store alone for as long, the
/// snapshot is trusted again.
const CALM: u32 = 8;

/// Others are given so long to write what was posted. At least so many swaps, though, for the one who
/// writes may just be pausing.
const PATIENCE_MIN: Duration = Duration::from_millis(10);
const PATIENCE_MAX: Duration = Duration::from_millis(50);
const PATIENCE_SWAPS: u32 = 6;

/// Who has left the store alone for longer does not know any more who writes.
const RIVALS_AGE: Duration = Duration::from_secs(1);

/// So many races in a row may be lost in spite of turns before chance is to help.
const LOSSES_MAX: u32 = 8;

/// Who knows of no rival and has written for so long without leaving the store alone, and so many
/// swaps, pauses all the same: rivals that lose every race against it could never make themselves known.
const BREATH_TIME: Duration = Duration::from_millis(25);
const BREATH_SWAPS: u32 = 32;
/// Less often who writes for others, for most who are about make themselves known by a post; not less often
/// than this, for those of other hosts and users cannot.
const BREATH_POSTS: u32 = 8;
const BREATH_MAX: Duration = Duration::from_millis(250);

/// From this many answers on, those who got them are waited for, for this share of a swap's time.
const GATHER_MIN: usize = 4;
const GATHER_SHARE: u32 = 2;

/// Takes turns with rivals, without talking to them.
///
/// Who loses a race for the cell waits for a random time within a window that *shrinks* with every
/// further loss, and who wins while rivals are about pauses for a moment before it writes again: so
/// the one who has waited longest is the most likely to be next, and nobody starves.
#[derive(Debug)]
pub(super) struct Pace {
    random: fastrand::Rng,
    not_before: Option<Instant>,
    /// A running mean of what a swap takes.
    swap: Duration,
    losses: u32,
    /// How many swaps ago a rival was met; from [`CALM`] on there is none.
    calm: u32,
    /// When the store answered last, and since when it was not left alone.
    answered: Option<Instant>,
    busy_since: Option<Instant>,
    failures: u32,
    backoff_max: Duration,
    /// Whether the store makes its clients take turns, so that nothing has to be left to chance.
    turns: bool,
    /// For how many swaps more this client offers to write for others.
    offers: u32,
    /// How many swaps in a row had nothing of its own in them, and were for one other at most.
    idle: u32,
    /// How long others are given to write what was posted.
    patience: Duration,
    /// A running mean of how long they took, and of how far they were from it.
    took: (Duration, Duration),
}

impl Pace {
    /// For requests that wait so long for a store that cannot be used.
    pub(super) fn new(seed: u64, patience: Duration) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            not_before: None,
            swap: SWAP_MIN,
            losses: 0,
            calm: CALM,
            answered: None,
            busy_since: None,
            failures: 0,
            turns: false,
            offers: 0,
            idle: 0,
            patience: PATIENCE_MAX / 2,
            took: (Duration::ZERO, Duration::ZERO),
            backoff_max: (patience / TRIES_MIN).clamp(BACKOFF_MIN / 2, BACKOFF_MAX),
        }
    }

    /// When the store may next be written or read at all.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// Whether a cached snapshot is likely to be current still.
    pub(super) fn is_calm(&self, now: Instant) -> bool {
        self.calm >= CALM || self.was_idle(now)
    }

    /// Whether the store was left alone since its last answer.
    pub(super) fn was_idle(&self, now: Instant) -> bool {
        self.answered.is_none_or(|answered| now > answered + self.swap * CALM)
    }

    /// About how long a swap takes.
    pub(super) fn swap(&self) -> Duration {
        self.swap
    }

    /// A swap won.
    pub(super) fn won(&mut self, now: Instant, took: Duration) {
        self.swap = ((self.swap * 7 + took) / 8).clamp(SWAP_MIN, SWAP_MAX);
        self.failures = 0;
        self.losses = 0;
        self.calm = self.calm.saturating_add(1);
        self.not_before = if self.calm <= CALM {
            (!self.turns).then(|| now + self.within(self.swap * 2))
        } else if self.needs_breath(now, took) {
            self.busy_since = None;
            Some(now + self.swap * 3)
        } else {
            None
        };
        self.answered = Some(now);
    }

    fn needs_breath(&mut self, now: Instant, took: Duration) -> bool {
        let left_alone = self.answered.is_none_or(|answered| now > answered + took + self.swap);
        let since = match self.busy_since {
            Some(since) if !left_alone => since,
            _ => *self.busy_since.insert(now),
        };
        let mut time = BREATH_TIME.max(self.swap * BREATH_SWAPS);
        if self.offers > 0 {
            time = time.max((time * BREATH_POSTS).min(BREATH_MAX));
        }
        now.saturating_duration_since(since) > time
    }

    /// A swap lost against a rival's; `true` to try again in the same turn, if there is one.
    ///
    /// What was built on an old snapshot lost no race: it only has to be read again.
    pub(super) fn lost(&mut self, now: Instant, was_fresh: bool) -> bool {
        self.failures = 0;
        self.calm = 0;
        self.answered = Some(now);
        if !was_fresh {
            self.not_before = None;
            return true;
        }
        let shrinks = if self.turns { 0 } else { self.losses.min(6) };
        let window = self.swap * 4 / (1 << shrinks);
        self.losses += 1;
        // Turns keep rivals apart. Not all of them: nodes of a cluster may give turns of their own.
        let again = self.turns && self.losses <= LOSSES_MAX;
        self.not_before = (!again).then(|| now + self.within(window));
        again
    }

    /// The store answered a read, and gave a turn or not, if it was asked for one.
    pub(super) fn answered(&mut self, now: Instant, turn: Option<bool>) {
        self.failures = 0;
        self.answered = Some(now);
        self.turns = turn.unwrap_or(self.turns);
    }

    /// Somebody has posted something: whoever writes for others is not alone.
    pub(super) fn met_poster(&mut self) {
        self.offers = CALM;
    }

    /// Whether to offer to write for others, in the swap that is being made.
    ///
    /// Not to one alone for long, if this client has nothing to write itself: that one is faster without.
    pub(super) fn offers(&mut self, is_idle: bool) -> bool {
        self.idle = if is_idle { self.idle.saturating_add(1) } else { 0 };
        let met = self.offers > 0 || self.calm < CALM;
        self.offers = self.offers.saturating_sub(1);
        met && self.idle < CALM
    }

    /// Whether others were seen to write, and not long ago.
    pub(super) fn has_rivals(&self, now: Instant) -> bool {
        self.calm < CALM && self.answered.is_some_and(|answered| now < answered + RIVALS_AGE)
    }

    /// How long others are given to write what was posted.
    pub(super) fn patience(&mut self) -> Duration {
        let least = self.swap * PATIENCE_SWAPS;
        let (min, max) = (PATIENCE_MIN.max(least), PATIENCE_MAX.max(least * 2));
        self.patience = self.patience.clamp(min, max);
        self.patience
    }

    /// What was posted was written by others within this time; `None` if patience was over before.
    ///
    /// As TCP guesses when a segment is lost (Jacobson and Karels, *Congestion Avoidance and Control*,
    /// 1988; RFC 6298).
    pub(super) fn was_patient(&mut self, took: Option<Duration>) {
        let Some(took) = took else {
            self.patience *= 2;
            return;
        };
        let (mean, off) = self.took;
        self.took = if mean.is_zero() {
            (took, took / 2)
        } else {
            ((mean * 7 + took) / 8, (off * 3 + mean.abs_diff(took)) / 4)
        };
        self.patience = self.took.0 + self.took.1 * 4;
    }

    /// Somebody else was found to have written.
    pub(super) fn met_rival(&mut self) {
        self.calm = 0;
    }

    /// The store could not be used.
    pub(super) fn failed(&mut self, now: Instant) {
        let window = (BACKOFF_MIN * (1 << self.failures.min(8))).min(self.backoff_max);
        self.failures += 1;
        self.not_before = Some(now + window / 2 + self.within(window / 2));
    }

    /// A random time up to this long.
    fn within(&mut self, window: Duration) -> Duration {
        window.mul_f64(self.random.f64())
    }
}

/// How many were answered at once, and until when they are waited for.
#[derive(Debug)]
pub(super) struct Gather {
    pub(super) answered: usize,
    pub(super) until: std::time::Instant,
}

impl Gather {
    /// After a swap that answered so many; `None` if that is nobody to wait for.
    pub(super) fn after(answered: usize, swap: Duration) -> Option<Self> {
        let until = || std::time::Instant::now() + swap / GATHER_SHARE;
        (answered >= GATHER_MIN).then(|| Self { answered, until: until() })
    }
}

/// How soon a waiter looks again by itself, if nobody tells it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watch {
    /// It could be next, and nobody would tell it.
    Close,
    /// It could be next, and who keeps it waiting will ring.
    Relaxed,
    /// One other is before it.
    Near,
    /// Others are before it.
    Far,
}

impl Watch {
    pub(super) fn interval(self) -> Duration {
        match self {
            Self::Close => Duration::from_millis(10),
            Self::Relaxed => Duration::from_millis(250),
            Self::Near => Duration::from_millis(100),
            Self::Far => Duration::from_millis(500),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rivals on one cell, simulated: each swap takes its time and wins only if nobody's has won
    /// since it began.
    #[test]
    fn nobody_starves() {
        const RIVALS: u64 = 16;
        let begin = Instant::now();
        let swap = Duration::from_millis(3);
        let mut paces: Vec<Pace> = (1..=RIVALS).map(|seed| Pace::new(seed, BACKOFF_MAX)).collect();
        let mut wins = vec![0u32; paces.len()];
        // (when it may act, version it has read, when its swap ends)
        let mut at: Vec<(Instant, Option<u64>)> = vec![(begin, None); paces.len()];
        let mut version = 0;
        while at.iter().any(|(when, _)| *when < begin + Duration::from_secs(60)) {
            let who = (0..at.len()).min_by_key(|who| at[*who].0).expect("there are rivals");
            let (now, read) = at[who];
            match read {
                None => at[who] = (now + swap, Some(version)),
                Some(read) => {
                    if read == version {
                        version += 1;
                        wins[who] += 1;
                        paces[who].won(now, swap);
                    } else {
                        paces[who].lost(now, true);
                    }
                    at[who] = (paces[who].not_before().unwrap_or(now).max(now), None);
                }
            }
        }
        let (least, sum) = (*wins.iter().min().unwrap(), wins.iter().sum::<u32>());
        assert!(least * 16 >= sum / 2, "{wins:?}");
    }

    #[test]
    fn what_was_built_on_an_old_snapshot_is_repeated_at_once() {
        let begin = Instant::now();
        let mut pace = Pace::new(1, BACKOFF_MAX);
        pace.lost(begin, false);
        assert_eq!(pace.not_before(), None);
        assert!(!pace.is_calm(begin));
        assert!(pace.is_calm(begin + SWAP_MIN * (CALM + 1)));
    }

    #[test]
    fn who_never_leaves_the_store_alone_pauses_now_and_then() {
        let swap = Duration::from_millis(1);
        let pauses = |idle: Duration, posts: bool| {
            let mut pace = Pace::new(1, BACKOFF_MAX);
            let mut now = Instant::now();
            let swaps = (0..1000).filter(|_| {
                if posts {
                    pace.met_poster();
                }
                now = pace.not_before().unwrap_or(now).max(now) + idle + swap;
                pace.won(now, swap);
                pace.not_before().is_some()
            });
            swaps.count()
        };
        let busy = pauses(Duration::ZERO, false);
        assert!((20..=40).contains(&busy), "{busy}");
        assert_eq!(pauses(2 * swap, false), 0);
        let writes_for_others = pauses(Duration::ZERO, true);
        assert!((2..=5).contains(&writes_for_others), "{writes_for_others}");
    }

    #[test]
    fn patience_is_what_posts_take_and_bounded() {
        let mut pace = Pace::new(1, BACKOFF_MAX);
        let mut after = |took: &[Option<u64>]| {
            for took in took {
                pace.was_patient(took.map(Duration::from_millis));
            }
            pace.patience().as_millis()
        };
        assert_eq!(after(&[Some(1); 40]), PATIENCE_MIN.as_millis());
        let steady = after(&[Some(20); 40]);
        assert!((20..25).contains(&steady), "{steady}");
        let scattered = after(&[Some(12), Some(28)].repeat(20));
        assert!(scattered > 40, "{scattered}");
        let steady = after(&[Some(20); 40]);
        assert_eq!(after(&[None]), 2 * steady);
        assert_eq!(after(&[None]), PATIENCE_MAX.as_millis());
        assert_eq!(after(&[None]), PATIENCE_MAX.as_millis());
        pace.won(Instant::now(), SWAP_MAX * 8);
        let least = pace.swap() * PATIENCE_SWAPS;
        assert!(least > PATIENCE_MAX);
        assert_eq!(pace.patience(), least, "swaps take longer");
        pace.was_patient(None);
        assert_eq!(pace.patience(), least * 2);
        // As a first guess, three times what it took.
        let mut pace = Pace::new(1, BACKOFF_MAX);
        pace.was_patient(Some(PATIENCE_MIN));
        assert_eq!(pace.patience(), PATIENCE_MIN * 3);
    }

    #[test]
    fn backoff_grows_and_is_bounded() {
        let begin = Instant::now();
        let mut pace = Pace::new(1, Duration::from_secs(30));
        for _ in 0..40 {
            pace.failed(begin);
            let wait = pace.not_before().unwrap() - begin;
            assert!(wait >= BACKOFF_MIN / 2 && wait <= BACKOFF_MAX, "{wait:?}");
        }
        assert!(pace.not_before().unwrap() >= begin + BACKOFF_MAX / 2);
    }

    #[test]
    fn an_impatient_request_sees_the_store_tried() {
        let (begin, patience) = (Instant::now(), Duration::from_millis(200));
        let mut pace = Pace::new(1, patience);
        for _ in 0..40 {
            pace.failed(begin);
            assert!(pace.not_before().unwrap() - begin <= patience / TRIES_MIN);
        }
        // Not at the price of a storm.
        let mut pace = Pace::new(1, Duration::ZERO);
        pace.failed(begin);
        assert!(pace.not_before().unwrap() - begin >= BACKOFF_MIN / 4);
    }
}
