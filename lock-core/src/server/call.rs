//! Calls of a server: their time limits, which of several servers is used, and what their errors are called.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::backend::{BackendError, BackendErrorKind as Kind};

/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What was being done with a server when an error came.
///
/// ```
/// use lock_core::BackendErrorKind;
/// use lock_core::server::Doing;
///
/// let error = Doing::Swapping.failed("mysql://db/shop", BackendErrorKind::Busy, Some("a deadlock"));
/// assert_eq!(error.to_string(), "cannot write to mysql://db/shop: a deadlock");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doing {
    /// Connecting to it.
    Connecting,
    /// Reading the cell.
    Reading,
    /// Swapping the cell.
    Swapping,
    /// Waiting to be told of changes.
    Listening,
    /// Creating what the store is kept in.
    Migrating,
}

impl Doing {
    fn verb(self) -> &'static str {
        match self {
            Self::Connecting => "connect to",
            Self::Reading => "read from",
            Self::Swapping => "write to",
            Self::Listening => "listen to",
            Self::Migrating => "create the table in",
        }
    }

    /// What an error means that does not tell whether the server did what it was asked for.
    pub fn unclear(self) -> Kind {
        if self == Self::Swapping { Kind::OutcomeUnknown } else { Kind::Unavailable }
    }

    /// The error that says what could not be done with which store, and why or what to do about it.
    pub fn failed(self, store: &str, kind: Kind, why: Option<&str>) -> BackendError {
        let verb = self.verb();
        BackendError::new(
            kind,
            match why {
                Some(why) => format!("cannot {verb} {store}: {why}"),
                None => format!("cannot {verb} {store}"),
            },
        )
    }

    /// The error that has no cause but the clock.
    pub fn silent(self, store: &str, time: Duration) -> BackendError {
        let why = format!("no answer within {:.1} s", time.as_secs_f64());
        self.failed(store, self.unclear(), Some(&why))
    }
}

/// Waits for the answer to a call, for 5 s at most.
///
/// # Errors
///
/// [`Doing::silent`]: there was none in this time.
///
/// # Cancel safety
///
/// That of the call.
pub async fn within<T>(
    doing: Doing,
    store: &str,
    call: impl Future<Output = T>,
) -> Result<T, BackendError> {
    timeout(CALL_TIMEOUT, call).await.map_err(|_| doing.silent(store, CALL_TIMEOUT))
}

/// Connects to the first of several servers that serves; each comes with the name that errors give it.
///
/// Each may take its share of what is left of the time, so that none can cost the others theirs:
/// `connect` is told until when.
///
/// As long as one of them is merely out of reach it may come back and serve, whatever is wrong with
/// the others; so the error is [`BackendErrorKind::Misconfigured`](Kind::Misconfigured) only if it is
/// that for all. Of several servers its source lists each with its error.
///
/// # Errors
///
/// [`BackendError`]: none of them serves.
///
/// # Cancel safety
///
/// That of `connect`.
///
/// # Panics
///
/// There is no server.
pub async fn first_that_serves<S, T, C>(
    store: &str,
    time: Duration,
    servers: Vec<(String, S)>,
    connect: impl Fn(S, Instant) -> C,
) -> Result<T, BackendError>
where
    C: Future<Output = Result<T, BackendError>>,
{
    let end = Instant::now() + time;
    let mut failures = Vec::new();
    let count = servers.len();
    for (tried, (name, server)) in servers.into_iter().enumerate() {
        let began = Instant::now();
        let left = end.saturating_duration_since(began);
        let share = left / u32::try_from(count - tried).unwrap_or(u32::MAX);
        let limit = began + share;
        match timeout_at(limit, connect(server, limit)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => failures.push((name, error)),
            Err(_) => failures.push((name, Doing::Connecting.silent(store, share))),
        }
    }
    Err(all_failed(store, failures))
}

fn all_failed(store: &str, mut failures: Vec<(String, BackendError)>) -> BackendError {
    if failures.len() == 1 {
        return failures.remove(0).1;
    }
    // Each error names the store, which is the same for all.
    let what = format!("cannot {} {store}", Doing::Connecting.verb());
    let servers = failures.iter().map(|(name, error)| {
        let text = error.to_string();
        let mut text =
            text.strip_prefix(&what).unwrap_or(&text).trim_start_matches(": ").to_owned();
        let mut source = error.source();
        while let Some(cause) = source {
            text = if text.is_empty() { cause.to_string() } else { format!("{text}: {cause}") };
            source = cause.source();
        }
        format!("{name}: {text}")
    });
    let servers = AllFailed(servers.collect::<Vec<_>>().join("; "));
    let hope = |(_, error): &(_, BackendError)| error.kind() != Kind::Misconfigured;
    let (_, error) = failures.swap_remove(failures.iter().position(hope).unwrap_or(0));
    BackendError::new(error.kind(), error.to_string()).with_source(servers)
}

/// What came of each of several servers.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct AllFailed(String);

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    fn named(names: &[&'static str]) -> Vec<(String, &'static str)> {
        names.iter().map(|name| (String::from(*name), *name)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_costs_the_others_no_more_than_its_share() {
        let connect = async |server, _| match server {
            "silent" => pending().await,
            "bad" => Err(Doing::Connecting.failed("s", Kind::Misconfigured, Some("no entry"))),
            good => Ok(good),
        };
        let time = Duration::from_secs(9);
        let began = Instant::now();
        let found = first_that_serves("s", time, named(&["silent", "bad", "good"]), connect).await;
        assert_eq!(found.unwrap(), "good");
        assert_eq!(began.elapsed(), Duration::from_secs(3));

        let found = first_that_serves("s", time, named(&["bad", "silent"]), connect).await;
        let error = found.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "it may come back");
        let source = error.source().unwrap().to_string();
        assert_eq!(source, "bad: no entry; silent: no answer within 9.0 s");

        let found = first_that_serves("s", time, named(&["bad", "bad"]), connect).await;
        assert_eq!(found.unwrap_err().kind(), Kind::Misconfigured);
        let found = first_that_serves("s", time, named(&["bad"]), connect).await;
        assert_eq!(found.unwrap_err().to_string(), "cannot connect to s: no entry");
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_swap_without_an_answer_nobody_knows_whether_it_was_made() {
        for (doing, kind) in
            [(Doing::Swapping, Kind::OutcomeUnknown), (Doing::Reading, Kind::Unavailable)]
        {
            let error = within(doing, "s", pending::<()>()).await.unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().ends_with("s: no answer within 5.0 s"), "{error}");
        }
    }
}
