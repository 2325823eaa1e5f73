//! Where a test works: servers of its own, one of every kind after the other.
#![allow(clippy::needless_pass_by_value, reason = "a test is written where it is run")]

use std::error::Error as _;
use std::thread;
use std::time::{Duration, Instant};

use lock_core::{BackendError, BackendErrorKind, LockBackend, Locks, Swap, Version};
use lock_redis::RedisBackend;
use lock_servers::{Error, RedisKind, RedisServer};
use redis::{FromRedisValue, RedisError};

use crate::support::call;

/// How long something may take that takes milliseconds on a machine that has nothing else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The password of every user that a test makes.
pub(crate) const PASSWORD: &str = "Sesam-0effne-dich";

/// What the front page says that a user needs.
pub(crate) const RIGHTS: &[&str] = &[
    "~interlock:*",
    "&interlock:*",
    "+evalsha",
    "+script|load",
    "+hget",
    "+hgetall",
    "+hset",
    "+hstrlen",
    "+exists",
    "+publish",
    "+subscribe",
    "+ping",
    "+info",
];

/// A server of this test alone.
pub(crate) struct Place {
    pub(crate) server: RedisServer,
}

/// Runs a test on servers of its own, one of every kind, with these lines in their configuration.
pub(crate) fn everywhere(lines: &[&str], test: impl AsyncFn(&Place)) {
    each(async |kind| {
        if let Some(server) = unless_missing(RedisServer::start_with(kind, lines)) {
            test(&Place { server }).await;
        }
    });
}

/// Runs a test for every kind of server.
pub(crate) fn each(test: impl AsyncFn(RedisKind)) {
    for kind in RedisKind::ALL {
        run(kind, &test);
    }
}

/// Side by side: what takes long because servers wait.
pub(crate) fn each_at_once(test: impl AsyncFn(RedisKind) + Sync) {
    thread::scope(|scope| {
        for kind in RedisKind::ALL {
            scope.spawn({
                let test = &test;
                move || run(kind, test)
            });
        }
    });
}

fn run(kind: RedisKind, test: &impl AsyncFn(RedisKind)) {
    println!("on {kind}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system has what a runtime needs").block_on(test(kind));
}

/// A server that cannot be had here is passed over, save where everything has to be there.
pub(crate) fn unless_missing<T>(server: Result<T, Error>) -> Option<T> {
    match server {
        Err(error) if error.may_be_skipped() => {
            println!("skipped: {error}");
            None
        }
        server => Some(server.expect("the server starts")),
    }
}

impl Place {
    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// The URL for a user that [`user`](Self::user) has made.
    pub(crate) fn url_of(&self, user: &str) -> String {
        format!("redis://{user}:{PASSWORD}@{}", self.server.address())
    }

    pub(crate) fn backend(&self) -> RedisBackend {
        backend(&self.url())
    }

    /// What a command answers, as user `default`.
    pub(crate) fn call<T: FromRedisValue>(&self, command: &[&str]) -> T {
        on(&self.server, command)
    }

    /// Makes a user with these rights.
    pub(crate) fn user(&self, rights: &[&str]) -> String {
        let user = format!("u{:012x}", fastrand::u64(..1 << 48));
        let password = format!(">{PASSWORD}");
        self.call::<()>(&[&["ACL", "SETUSER", &user, "on", &password], rights].concat());
        user
    }
}

pub(crate) fn backend(url: &str) -> RedisBackend {
    RedisBackend::from_url(url).expect("the URL is good")
}

/// What a command answers on a server.
pub(crate) fn on<T: FromRedisValue>(server: &RedisServer, command: &[&str]) -> T {
    call(&server.url(), command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Waits until something has become true.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "this did not come: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until somebody waits for a lock.
pub(crate) async fn until_waiting(locks: &Locks) {
    until("somebody waits", async || {
        locks.list().await.is_ok_and(|listing| !listing.waiting.is_empty())
    })
    .await;
}

/// Swaps the cell, which must be at `expected`, to the next version with this data.
pub(crate) async fn swap(
    backend: &RedisBackend,
    expected: u64,
    data: &str,
) -> Result<Swap, BackendError> {
    backend.compare_and_swap(Version(expected), Version(expected + 1), data.as_bytes()).await
}

/// Fails unless an error is of this kind, and says where it was and this advice.
#[track_caller]
pub(crate) fn expect<T: std::fmt::Debug>(
    result: Result<T, BackendError>,
    kind: BackendErrorKind,
    advice: &str,
) {
    let error = result.expect_err("the server refuses");
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    println!("{:?}: {error} <- {source}", error.kind());
    assert_eq!(error.kind(), kind, "{error}: {source}");
    let said = error.to_string();
    assert!(said.contains("://") && said.contains(advice), "it does not say {advice:?}: {said}");
    assert!(!format!("{error:?} {source}").contains(PASSWORD), "the password shows: {error:?}");
}

/// The word that an error of the server begins with.
pub(crate) fn code(error: &BackendError) -> Option<&str> {
    error.source()?.downcast_ref::<RedisError>()?.code()
}
