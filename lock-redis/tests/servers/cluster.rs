//! A cluster: one key is on one node, and clients find it.

use lock_core::{BackendErrorKind as Kind, LockBackend, Locks, Swap, Version};
use lock_servers::{RedisKind, RedisServer};

use crate::place::{backend, each, expect, on, swap, unless_missing, until};
use crate::support::key;

/// Three nodes with a third of all slots each.
async fn start(kind: RedisKind) -> Option<Vec<RedisServer>> {
    const SLOTS: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
    let lines = ["cluster-enabled yes", "cluster-port {second}", "cluster-node-timeout 2000"];
    let mut nodes = Vec::new();
    for (from, to) in SLOTS {
        let node = unless_missing(RedisServer::start_with(kind, &lines))?;
        on::<()>(&node, &["CLUSTER", "ADDSLOTSRANGE", from, to]);
        nodes.push(node);
    }
    let first =
        (&nodes[0].address().port().to_string(), &nodes[0].second_address().port().to_string());
    for node in &nodes[1..] {
        on::<()>(node, &["CLUSTER", "MEET", "127.0.0.1", first.0, first.1]);
    }
    until("all know all", async || {
        nodes.iter().all(|node| {
            let info: String = on(node, &["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
    })
    .await;
    Some(nodes)
}

#[test]
fn the_node_that_has_the_key_is_found_also_when_it_moves() {
    each(async |kind| {
        let Some(nodes) = start(kind).await else { return };
        // Namespaces on every node.
        let (mut locks, mut guards) = (Vec::new(), Vec::new());
        for number in 0..8 {
            let url = format!("{}?namespace=n{number}", nodes[0].url());
            let mine = Locks::new(backend(&url));
            guards.push(mine.acquire("app").await.unwrap());
            let theirs = Locks::new(backend(&url));
            assert!(theirs.try_acquire("app").await.unwrap_err().is_busy());
            locks.extend([mine, theirs]);
        }
        assert!(nodes.iter().all(|node| on::<i64>(node, &["DBSIZE"]) > 0), "all nodes have some");
        for guard in guards {
            guard.release().await.unwrap();
        }
        for locks in locks {
            locks.close().await.unwrap();
        }

        let client = backend(&nodes[0].url());
        swap(&client, 0, "{}").await.unwrap();
        let slot: i64 = on(&nodes[0], &["CLUSTER", "KEYSLOT", &key("default")]);
        let slot = slot.to_string();
        let source = usize::from(slot.parse::<u16>().unwrap() > 5460)
            + usize::from(slot.parse::<u16>().unwrap() > 10922);
        let target = (source + 1) % nodes.len();
        let id = |node: usize| on::<String>(&nodes[node], &["CLUSTER", "MYID"]);
        on::<()>(&nodes[target], &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(source)]);
        on::<()>(&nodes[source], &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(target)]);
        let port = nodes[target].address().port().to_string();
        on::<()>(&nodes[source], &["MIGRATE", "127.0.0.1", &port, &key("default"), "0", "5000"]);
        // It is on its way: nothing is applied.
        expect(swap(&client, 1, "{}").await, Kind::Unavailable, "");
        for node in [target, source] {
            on::<()>(&nodes[node], &["CLUSTER", "SETSLOT", &slot, "NODE", &id(target)]);
        }
        until("the key is found", async || client.load().await.is_ok()).await;
        assert_eq!(client.load().await.unwrap().version, Version(1));
        assert_eq!(swap(&client, 1, "{}").await.unwrap(), Swap::Swapped);
        let numbered = format!("{}/1", nodes[0].url());
        expect(backend(&numbered).load().await, Kind::Misconfigured, "database 0 alone");
    });
}
