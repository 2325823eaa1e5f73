//! Errors that only nodes of a cluster raise, raised by real ones, and what each means for a swap.
//!
//! As the suite on clusters, they do nothing unless the variable `INTERLOCK_CLUSTERS` is set.

mod support;

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::time::{Duration, Instant};

use lock_core::{BackendError, BackendErrorKind as Kind, LockBackend, Swap, Version};
use lock_mysql::MySqlBackend;
use lock_servers::{Cluster, ClusterKind};
use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError};
use sqlx::{ConnectOptions, Executor, Row};

use support::create_database;

/// How long something may take that takes seconds on a machine that has nothing else to do.
const PATIENCE: Duration = Duration::from_mins(2);

/// A cluster of this kind with a cell in it, and a backend for each node alone.
fn on(kind: ClusterKind, test: impl AsyncFnOnce(&Cluster, &str, &[MySqlBackend])) {
    if env::var_os("INTERLOCK_CLUSTERS").is_none() {
        println!("INTERLOCK_CLUSTERS is not set: nothing is done");
        return;
    }
    let cluster = match Cluster::start(kind) {
        Err(error) if error.may_be_skipped() => {
            println!("skipped: {error}");
            return;
        }
        started => started.unwrap(),
    };
    let name = create_database(&cluster.nodes()[0].url()).unwrap();
    let node = |node: &lock_servers::Instance| {
        MySqlBackend::from_url(&format!("{}/{name}", node.url())).unwrap()
    };
    let nodes: Vec<MySqlBackend> = cluster.nodes().iter().map(node).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        swap(&nodes[0], 0, 1).await.unwrap();
        test(&cluster, &name, &nodes).await;
    });
}

async fn swap(node: &MySqlBackend, expected: u64, next: u64) -> Result<Swap, BackendError> {
    node.compare_and_swap(Version(expected), Version(next), b"{}").await
}

fn number(error: &BackendError) -> Option<u16> {
    let error = error.source()?.downcast_ref::<sqlx::Error>()?;
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// Two nodes swap the same version at once, again and again, until they have met in every way that
/// their cluster has words for.
fn race(kind: ClusterKind, wanted: &[u16]) {
    on(kind, async |_, _, nodes| {
        let mut seen: BTreeMap<u16, usize> = BTreeMap::new();
        let end = Instant::now() + PATIENCE;
        while !wanted.iter().all(|number| seen.contains_key(number)) {
            assert!(Instant::now() < end, "none of {wanted:?} came, but {seen:?}");
            let Version(now) = nodes[0].load().await.unwrap().version;
            let both = tokio::join!(swap(&nodes[0], now, now + 1), swap(&nodes[1], now, now + 2));
            let both = [both.0, both.1];
            let winners = both.iter().filter(|swap| matches!(swap, Ok(Swap::Swapped))).count();
            assert!(winners <= 1, "both have won: {both:?}");
            for error in both.iter().filter_map(|swap| swap.as_ref().err()) {
                let number = number(error).unwrap_or_else(|| panic!("{error:?}"));
                assert_eq!(error.kind(), Kind::Busy, "{error:?}");
                *seen.entry(number).or_default() += 1;
            }
        }
        println!("{}: {seen:?}", kind.name());
    });
}

#[test]
fn who_loses_a_race_between_nodes_of_galera_is_told_so() {
    race(ClusterKind::Galera, &[1213]);
}

#[test]
fn who_loses_a_race_between_members_of_a_group_is_told_so() {
    race(ClusterKind::GroupMulti, &[3101, 1180]);
}

#[test]
fn a_node_without_a_quorum_is_not_to_be_used() {
    on(ClusterKind::Galera, async |cluster, name, nodes| {
        for node in &cluster.nodes()[1..] {
            node.stop();
        }
        let left = format!("{}/{name}", cluster.nodes()[0].url()).parse::<MySqlConnectOptions>();
        let left = left.unwrap();
        let mut left = left.connect().await.unwrap();
        let end = Instant::now() + PATIENCE;
        while left
            .fetch_one("SHOW GLOBAL STATUS LIKE 'wsrep_ready'")
            .await
            .unwrap()
            .try_get_unchecked::<String, _>(1)
            .unwrap()
            == "ON"
        {
            assert!(Instant::now() < end, "the node that is left has not noticed");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // What it says to whoever does not wait for the others, and to whoever does.
        let error = left.execute("UPDATE interlock SET version = 9").await.unwrap_err();
        let error = error.as_database_error().unwrap();
        assert_eq!(error.try_downcast_ref::<MySqlDatabaseError>().unwrap().number(), 1047);
        let error = swap(&nodes[0], 1, 2).await.unwrap_err();
        assert!(matches!(number(&error), Some(1047 | 1205)), "{error:?}");
        assert!(matches!(error.kind(), Kind::Busy | Kind::Unavailable), "{error:?}");
        // Reading tells that it is not to be used, on the connection that it has and on a new one.
        let error = nodes[0].load().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
        let error = nodes[0].load().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
        assert!(error.to_string().contains("apart from its cluster"), "{error}");
        for node in &cluster.nodes()[1..] {
            node.go_on();
        }
    });
}
