//! The two clocks that the driver reads: the time of day, and the time since boot.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

/// What time it is.
pub(crate) trait Clock: Debug + Send + Sync + 'static {
    /// The time of day since 1970. It may jump.
    fn wall(&self) -> Duration;

    /// The time since boot, suspend included. It never jumps and is never compared between hosts.
    fn boot(&self) -> Duration;
}

/// The clocks of this host.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    #[cfg(target_os = "linux")]
    fn boot(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
    }

    /// Where no clock is known to count suspend, the monotonic one since the first call.
    #[cfg(not(target_os = "linux"))]
    fn boot(&self) -> Duration {
        static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        FIRST.get_or_init(std::time::Instant::now).elapsed()
    }
}

/// Clocks that go with tokio's, paused or not, and jump when a test says so.
#[cfg(feature = "test-util")]
#[derive(Debug, Clone)]
pub struct TestClock {
    start: tokio::time::Instant,
    jumps: std::sync::Arc<std::sync::Mutex<(Duration, Duration)>>,
}

#[cfg(feature = "test-util")]
impl TestClock {
    /// Starts at a fixed time of day, one day after boot.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with a clock, if that is paused.
    pub fn new() -> Self {
        Self { start: tokio::time::Instant::now(), jumps: std::sync::Arc::default() }
    }

    /// Moves the time since boot ahead without letting a timer fire, as a suspended host does.
    pub fn suspend(&self, time: Duration) {
        self.jumps.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0 += time;
    }

    /// Sets the time of day to this long after its start.
    pub fn set_wall(&self, time: Duration) {
        self.jumps.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1 = time;
    }

    fn jumps(&self) -> (Duration, Duration) {
        *self.jumps.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(feature = "test-util")]
impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "test-util")]
impl Clock for TestClock {
    fn wall(&self) -> Duration {
        Duration::from_secs(1_700_000_000) + self.jumps().1 + self.start.elapsed()
    }

    fn boot(&self) -> Duration {
        Duration::from_secs(86_400) + self.jumps().0 + self.start.elapsed()
    }
}
