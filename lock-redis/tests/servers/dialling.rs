//! Names with several addresses: whose identity is verified, also of the connection that is told of swaps.
//!
//! Such a test runs itself again in a network of its own.

use std::env;

use lock_conformance::Failure;
use lock_conformance::network::{GOOD, Network, OTHER};
use lock_core::{BackendErrorKind as Kind, LockBackend, Locks};

use crate::place::{backend, everywhere, expect, until_waiting};
use crate::tls::Keys;

/// A URL on each line, after what is to come of it; that it is set makes a test the client.
const INSIDE: &str = "INTERLOCK_TEST_INSIDE";

const WORKS: &str = "works";

#[test]
fn identity_is_verified_by_the_name_whichever_address_has_won() {
    const TEST: &str = "dialling::identity_is_verified_by_the_name_whichever_address_has_won";
    if let Ok(urls) = env::var(INSIDE) {
        return inside(&urls);
    }
    let keys = Keys::new();
    keys.sign("server", &["hole6.test", "down.test", GOOD[0]], &keys.ca, |_| {});
    let lines = keys.lines("no");
    everywhere(&lines.iter().map(String::as_str).collect::<Vec<_>>(), async |place| {
        let network = match Network::in_front_of(place.server.second_address()) {
            Err(Failure::Skipped(reason)) => return println!("skipped: {reason}"),
            network => network.expect("a network can be made"),
        };
        let url = |host: &str| {
            let ca = keys.option("ssl-ca", "ca.pem");
            format!("rediss://{host}:{}?{ca}", network.port())
        };
        let (literal, other) = (format!("[{}]", GOOD[0]), format!("[{}]", OTHER[0]));
        // One of whose addresses the first is dead, one that is an address itself, and one after a host
        // that is dead.
        let works = ["hole6.test", &literal, "dead.test:1,hole6.test"]
            .map(|host| format!("{WORKS}\t{}", url(host)));
        let refused = ["hole4.test", "good.test", &other];
        let refused = refused.map(|host| format!("for another name\t{}", url(host)));
        let urls = [&works[..], &refused].concat().join("\n");
        network.run_test(TEST, (INSIDE, &urls));
    });
}

#[test]
fn a_unix_socket_is_connected_to_also_to_be_told_of_swaps() {
    everywhere(&[], async |place| {
        let url = format!("redis://localhost?socket={}", place.server.socket().display());
        let told = backend(&url);
        let before = told.load().await.unwrap().version;
        let (told, ()) = tokio::join!(told.changed(before), hand_over(&url));
        told.unwrap();
    });
}

fn inside(urls: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for line in urls.lines() {
            let (expected, url) = line.split_once('\t').unwrap();
            println!("{url}: {expected}");
            if expected != WORKS {
                let backend = backend(url);
                expect(backend.load().await, Kind::Misconfigured, expected);
                expect(backend.changed(lock_core::Version(1)).await, Kind::Misconfigured, expected);
                continue;
            }
            // The subscription dials by itself.
            let told = backend(url);
            let before = told.load().await.unwrap().version;
            let (told, ()) = tokio::join!(told.changed(before), async {
                hand_over(url).await;
            });
            told.unwrap();
        }
    });
}

/// One client hands a lock over to another.
async fn hand_over(url: &str) {
    let (locks, other) = (Locks::new(backend(url)), Locks::new(backend(url)));
    let guard = locks.acquire("a").await.unwrap();
    let (granted, released) = tokio::join!(other.acquire("a"), async {
        until_waiting(&locks).await;
        guard.release().await
    });
    released.unwrap();
    granted.unwrap().release().await.unwrap();
    locks.close().await.unwrap();
    other.close().await.unwrap();
}
