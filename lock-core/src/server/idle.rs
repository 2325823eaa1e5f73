//! Connections that are kept between calls: which runtime one is of, and whether it still works.

use std::future::Future;
use std::time::Duration;

use tokio::runtime;
use tokio::time::{Instant, timeout};

/// A connection that was not used for so long may have been cut by something on the way.
pub const IDLE_MAX: Duration = Duration::from_secs(30);

/// How long a connection that lay idle may take to show that it still works.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Where and when a connection was used last; it is kept beside the connection.
#[derive(Debug, Clone, Copy)]
pub struct LastUse {
    runtime: runtime::Id,
    at: Instant,
}

impl LastUse {
    /// That of a connection that is made, or was used, in this runtime now.
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio.
    pub fn now() -> Self {
        Self { runtime: runtime::Handle::current().id(), at: Instant::now() }
    }

    /// Whether the connection belongs to this runtime: it works in no other, and must not even be
    /// closed there.
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio.
    pub fn is_of_this_runtime(self) -> bool {
        self.runtime == runtime::Handle::current().id()
    }

    /// Whether the connection is good for another call: if it lay idle for more than [`IDLE_MAX`], it has
    /// to answer `ping` within 1 s.
    ///
    /// # Cancel safety
    ///
    /// That of `ping`.
    pub async fn still_works<E>(self, ping: impl Future<Output = Result<(), E>>) -> bool {
        self.at.elapsed() <= IDLE_MAX || matches!(timeout(PING_TIMEOUT, ping).await, Ok(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test(start_paused = true)]
    async fn only_a_connection_that_lay_idle_is_asked() {
        let (good, bad) = (|| ready(Ok(())), || ready(Err(())));
        let last = LastUse::now();
        tokio::time::advance(IDLE_MAX).await;
        assert!(last.still_works(bad()).await, "it is not asked yet");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(last.still_works::<()>(good()).await);
        assert!(!last.still_works(bad()).await);
        let began = Instant::now();
        assert!(!last.still_works::<()>(pending()).await);
        assert_eq!(began.elapsed(), PING_TIMEOUT);
        assert!(LastUse::now().still_works(bad()).await);
    }

    #[test]
    fn a_connection_is_of_the_runtime_that_it_was_made_in() {
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (one, other) = (runtime(), runtime());
        let last = one.block_on(async { LastUse::now() });
        assert!(one.block_on(async { last.is_of_this_runtime() }));
        assert!(!other.block_on(async { last.is_of_this_runtime() }));
    }
}
