//! Replicas: they are never read, and swaps may wait for them.

use std::time::Duration;

use lock_core::{BackendErrorKind as Kind, LockBackend, Locks, Swap, Version};
use lock_servers::{RedisKind, RedisServer};
use tokio::time::timeout;

use crate::place::{
    PATIENCE, Place, RIGHTS, backend, each, each_at_once, everywhere, expect, on, swap,
    unless_missing, until,
};

/// A replica of a server that has caught up.
pub(crate) async fn replica_of(kind: RedisKind, primary: &RedisServer) -> Option<RedisServer> {
    let of = format!("replicaof 127.0.0.1 {}", primary.address().port());
    let lines = [&of, "appendonly yes", "repl-diskless-sync-delay 0", "repl-timeout 5"];
    let replica = unless_missing(RedisServer::start_with(kind, &lines))?;
    until("the replica has caught up", async || {
        on::<String>(&replica, &["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    Some(replica)
}

#[test]
fn a_replica_is_neither_read_nor_written() {
    each(async |kind| {
        let Some(primary) = unless_missing(RedisServer::start(kind)) else { return };
        let Some(replica) = replica_of(kind, &primary).await else { return };
        swap(&backend(&primary.url()), 0, "{}").await.unwrap();
        let read = backend(&replica.url()).load().await;
        expect(read, Kind::Unavailable, "is a replica");
        expect(swap(&backend(&replica.url()), 1, "{}").await, Kind::Unavailable, "is a replica");
        // Of two, the primary is found.
        let both = format!("redis://{},{}", replica.address(), primary.address());
        assert_eq!(backend(&both).load().await.unwrap().version, Version(1));
    });
}

#[test]
fn a_server_that_becomes_a_replica_is_not_believed_any_more() {
    everywhere(&[], async |place| {
        let no_info: Vec<&str> = RIGHTS.iter().copied().filter(|one| *one != "+info").collect();
        for rights in [RIGHTS, &no_info] {
            let mine = backend(&place.url_of(&place.user(rights)));
            place.call::<()>(&["FLUSHALL"]);
            swap(&mine, 0, "{}").await.unwrap();
            place.call::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
            expect(mine.load().await, Kind::Unavailable, "replica");
            expect(swap(&mine, 1, "{}").await, Kind::Unavailable, "replica");
            place.call::<()>(&["REPLICAOF", "NO", "ONE"]);
            assert_eq!(swap(&mine, 1, "{}").await.unwrap(), Swap::Swapped);
        }
        place.call::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
        let mine = place.backend();
        expect(mine.load().await, Kind::Unavailable, "min-replicas-to-write");
        expect(swap(&mine, 2, "{}").await, Kind::Unavailable, "min-replicas-to-write");
    });
}

#[test]
fn a_swap_waits_for_as_many_replicas_as_it_is_told_to() {
    each(async |kind| {
        let Some(primary) = unless_missing(RedisServer::start(kind)) else { return };
        let place = Place { server: primary };
        let rights = [RIGHTS, &["+wait"]].concat();
        let user = place.user(&rights);
        let careful = || backend(&format!("{}?replicas=1", place.url_of(&user)));
        let mine = careful();
        // There is none.
        expect(swap(&mine, 0, "{}").await, Kind::OutcomeUnknown, "0 of 1 replicas");
        expect(mine.load().await, Kind::Unavailable, "0 of 1 replicas");
        let Some(replica) = replica_of(kind, &place.server).await else { return };
        assert_eq!(mine.load().await.unwrap().version, Version(1), "it was applied");
        assert_eq!(swap(&mine, 1, "{}").await.unwrap(), Swap::Swapped);
        let theirs: String = on(&replica, &["HGET", "interlock:{default}", "version"]);
        assert_eq!(theirs, "2");

        replica.stop();
        expect(swap(&mine, 2, "{}").await, Kind::OutcomeUnknown, "0 of 1 replicas");
        // Nobody else believes it either, whoever only reads.
        let (one, other) = (careful(), careful());
        let (mine_read, theirs) = tokio::join!(one.load(), other.load());
        expect(mine_read, Kind::Unavailable, "0 of 1 replicas");
        expect(theirs, Kind::Unavailable, "0 of 1 replicas");
        replica.go_on();
        until("it has caught up", async || mine.load().await.is_ok()).await;
        let theirs: String = on(&replica, &["HGET", "interlock:{default}", "version"]);
        assert_eq!(theirs, "3");

        // What has replicas and does not wait for them is named.
        let risks = place.backend().risks().await.unwrap();
        assert_eq!(risks, [lock_redis::Risk::Failover]);
        let locks = Locks::new(careful());
        locks.acquire("a").await.unwrap_err();
    });
}

/// The primary goes on alone for a moment after a replica was made the new one, as when it is cut off.
#[test]
fn what_a_failover_forgot_its_holder_learns() {
    each_at_once(async |kind| {
        let Some(primary) = unless_missing(RedisServer::start(kind)) else { return };
        let Some(replica) = replica_of(kind, &primary).await else { return };
        let url = format!("redis://{},{}", primary.address(), replica.address());
        let locks = || Locks::builder(backend(&url)).lease(Duration::from_secs(3)).build();
        let (early, late, other) = (locks(), locks(), locks());
        let kept = early.acquire("mail").await.unwrap();
        let version =
            |server| on::<Option<String>>(server, &["HGET", "interlock:{default}", "version"]);
        until("it is replicated", async || version(&replica) == version(&primary)).await;

        on::<()>(&replica, &["REPLICAOF", "NO", "ONE"]);
        let forgotten = late.acquire("app/blog").await.unwrap();
        primary.kill().unwrap();
        timeout(PATIENCE, forgotten.lost()).await.expect("its holder learns it");
        let granted = other.acquire("app").await.unwrap();
        assert!(granted.fence() > forgotten.fence(), "fences go on rising");
        forgotten.verify().await.unwrap_err();
        forgotten.release().await.unwrap_or_default();
        granted.verify().await.expect("who comes late releases nobody else's lock");
        kept.verify().await.expect("what was replicated is kept");
        for locks in [early, late, other] {
            locks.close().await.unwrap();
        }
    });
}

#[test]
fn the_right_to_wait_is_named_when_it_is_missing() {
    everywhere(&[], async |place| {
        let mine = backend(&format!("{}?replicas=1", place.url_of(&place.user(RIGHTS))));
        expect(swap(&mine, 0, "{}").await, Kind::OutcomeUnknown, "did not confirm");
        expect(mine.load().await, Kind::Misconfigured, "+info +wait");
    });
}
