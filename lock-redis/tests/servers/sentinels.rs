//! Sentinels: the primary is found by its name, also when another server has become it.

use lock_core::{BackendErrorKind as Kind, LockBackend, Locks};
use lock_servers::{RedisKind, RedisServer};

use crate::place::{backend, each, each_at_once, expect, on, unless_missing, until};
use crate::replicas::replica_of;
use crate::support::call;

/// A primary and two replicas, watched over by three sentinels.
struct Watched {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl Watched {
    async fn start(kind: RedisKind) -> Option<Self> {
        let mut servers = vec![unless_missing(RedisServer::start(kind))?];
        for _ in 0..2 {
            servers.push(replica_of(kind, &servers[0]).await?);
        }
        let port = servers[0].address().port();
        let lines = [
            format!("sentinel monitor main 127.0.0.1 {port} 2"),
            "sentinel down-after-milliseconds main 500".into(),
            "sentinel failover-timeout main 3000".into(),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(unless_missing(RedisServer::start_sentinel(kind, &lines))?);
        }
        until("the sentinels know each other and the replicas", async || {
            sentinels.iter().all(|sentinel| {
                let known: Vec<String> = on(sentinel, &["SENTINEL", "MASTER", "main"]);
                let value = |name: &str| known.iter().skip_while(|one| *one != name).nth(1);
                value("num-other-sentinels").is_some_and(|number| number == "2")
                    && value("num-slaves").is_some_and(|number| number == "2")
            })
        })
        .await;
        Some(Self { servers, sentinels })
    }

    fn url(&self, rest: &str) -> String {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|sentinel| sentinel.address().to_string()).collect();
        format!("redis://{}/?sentinel=main{rest}", hosts.join(","))
    }
}

#[test]
fn holders_keep_their_locks_over_a_failover() {
    each_at_once(async |kind| {
        let Some(watched) = Watched::start(kind).await else { return };
        let locks = || Locks::new(backend(&watched.url("&replicas=1")));
        let (holder, other) = (locks(), locks());
        let held = holder.acquire("app/blog").await.unwrap();
        assert!(other.try_acquire("app").await.unwrap_err().is_busy());

        watched.servers[0].kill().unwrap();
        watched.sentinels[0].kill().unwrap();
        let newer = until_granted(&other, "mail").await;
        assert!(newer > held.fence());
        held.verify().await.expect("a replica had it");
        assert!(other.try_acquire("app").await.unwrap_err().is_busy());
        let (released, granted) = tokio::join!(held.release(), other.acquire("app"));
        released.unwrap();
        let granted = granted.unwrap();
        assert!(granted.fence() > newer);

        // The old primary comes back, and is not taken for one.
        watched.servers[0].start_again().unwrap();
        until("it has become a replica", async || {
            // It cuts connections when it does.
            call::<String>(&watched.servers[0].url(), &["INFO", "replication"])
                .is_ok_and(|info| info.contains("role:slave"))
        })
        .await;
        granted.verify().await.unwrap();
        granted.release().await.unwrap();
        holder.close().await.unwrap();
        other.close().await.unwrap();
    });
}

/// Asks until the store serves again, and gives the fence.
async fn until_granted(locks: &Locks, name: &str) -> u64 {
    let mut fence = None;
    until("another server serves", async || match locks.acquire(name).await {
        Ok(guard) => {
            fence = Some(guard.fence());
            guard.release().await.is_ok()
        }
        Err(_) => false,
    })
    .await;
    fence.expect("it was granted")
}

#[test]
fn sentinels_may_want_a_password_too() {
    each(async |kind| {
        let Some(server) = unless_missing(RedisServer::start(kind)) else { return };
        let monitor = format!("sentinel monitor main 127.0.0.1 {} 1", server.address().port());
        let lines = [&monitor, "requirepass secret"];
        let Some(sentinel) = unless_missing(RedisServer::start_sentinel(kind, &lines)) else {
            return;
        };
        let url = format!("redis://{}/?sentinel=main", sentinel.address());
        expect(backend(&url).load().await, Kind::Misconfigured, "wants a password");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret\n").unwrap();
        let url = format!("{url}&sentinel-password-file={}", file.path().display());
        let mine = backend(&url);
        mine.load().await.unwrap();

        // A new one needs no restart.
        let known = format!("redis://:secret@{}", sentinel.address());
        call::<()>(&known, &["ACL", "SETUSER", "default", "resetpass", ">newer"]).unwrap();
        std::fs::write(file.path(), "newer\n").unwrap();
        on::<usize>(&server, &["CLIENT", "KILL", "TYPE", "normal"]);
        until("it reads again", async || mine.load().await.is_ok()).await;
    });
}

#[test]
fn what_the_sentinels_do_not_know_is_said() {
    each(async |kind| {
        let Some(sentinel) = unless_missing(RedisServer::start_sentinel(kind, &[])) else { return };
        let url = format!("redis://{}/?sentinel=nobody", sentinel.address());
        expect(backend(&url).load().await, Kind::Misconfigured, "no primary of that name");
        // A sentinel that is taken for a server is none.
        let url = format!("redis://{}/", sentinel.address());
        let error = backend(&url).load().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Misconfigured, "{error:?}");
        sentinel.kill().unwrap();
        let url = format!("redis://{}/?sentinel=main", sentinel.address());
        expect(backend(&url).load().await, Kind::Unavailable, "");
    });
}
