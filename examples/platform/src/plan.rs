//! What the platform has to do, and when: by chance, and the same for the same seed.

use std::time::Duration;

/// The apps of the platform.
pub(crate) const APPS: [&str; 4] = ["blog", "mail", "shop", "wiki"];

/// After so long it all begins again.
const ROUND: Duration = Duration::from_secs(12);

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Something with this app.
    App(&'static str),
    /// Saves one app after the other.
    FullBackup,
    /// Fetches an update, and replaces what all apps run on.
    Update,
    /// Starts one app after the other.
    PlatformStart,
}

impl Work {
    /// Its type.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::App(_) => "restart",
            Self::FullBackup => "full-backup",
            Self::Update => "update",
            Self::PlatformStart => "platform-start",
        }
    }
}

/// A task to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) work: Work,
    /// When it is started, counted from the begin.
    pub(crate) at: Duration,
    /// How long each of its parts takes.
    pub(crate) part: Duration,
    /// Whether it gives up if another of its type runs.
    pub(crate) gives_up: bool,
}

/// All that is started within this time, the first first.
pub(crate) fn plan(duration: Duration, random: &mut fastrand::Rng) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut round = Duration::ZERO;
    while round < duration {
        let mut add = |work, at_ms, part_ms, gives_up| {
            let at = round + Duration::from_millis(at_ms);
            let part = Duration::from_millis(part_ms);
            jobs.push(Job { name: String::new(), work, at, part, gives_up });
        };
        add(Work::PlatformStart, 0, 250, false);
        add(Work::FullBackup, 1500, 1100, false);
        add(Work::FullBackup, 3500, 1100, true);
        add(Work::Update, 6000, 900, false);
        let mut at = 300;
        while at < 11_500 {
            let app = APPS[random.usize(..APPS.len())];
            add(Work::App(app), at, random.u64(250..900), false);
            at += random.u64(200..900);
        }
        round += ROUND;
    }
    jobs.retain(|job| job.at < duration);
    jobs.sort_by_key(|job| job.at);
    for (number, job) in jobs.iter_mut().enumerate() {
        job.name = format!("{}-{}", job.work.kind(), number + 1);
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_plan() {
        let plan = |seed| plan(Duration::from_secs(30), &mut fastrand::Rng::with_seed(seed));
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
        assert!(plan(1).is_sorted_by_key(|job| job.at));
        assert_eq!(plan(1).iter().filter(|job| job.work == Work::Update).count(), 2);
    }
}
