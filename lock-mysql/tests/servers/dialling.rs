//! Names with several addresses: whose identity is verified, and what the server sees of it.
//!
//! Such a test runs itself again in a network of its own.

use std::env;

use lock_conformance::Failure;
use lock_conformance::network::{GOOD, Network, OTHER};
use lock_core::LockBackend;
use lock_mysql::MySqlBackend;

use crate::place::{PASSWORD, Place, on_own};
use crate::tls::Keys;

/// A URL on each line, after what is to come of it; that it is set makes a test the client.
const INSIDE: &str = "INTERLOCK_TEST_INSIDE";

const WORKS: &str = "works";

#[test]
fn identity_is_verified_by_the_name_whichever_address_has_won() {
    const TEST: &str = "identity_is_verified_by_the_name_whichever_address_has_won";
    if let Ok(urls) = env::var(INSIDE) {
        return inside(&urls);
    }
    let keys = Keys::new();
    let arguments = |_| {
        keys.sign("server", &["hole6.test", "down.test", GOOD[0]], &keys.ca);
        keys.arguments()
    };
    on_own(arguments, async |place| {
        let Some(network) = unless_missing(Network::in_front_of(place.instance().address())) else {
            return;
        };
        let user = place.plain_user().await;
        let url = |host: &str, query: &str| {
            let (port, name, ca) = (network.port(), &place.name, keys.path("ca.pem"));
            format!(
                "mysql://{user}:{PASSWORD}@{host}:{port}/{name}?{query}&ssl-ca={}",
                ca.display()
            )
        };
        let (any, named) = ("ssl-mode=verify-ca", "ssl-mode=verify-identity");
        let (literal, other) = (format!("[{}]", GOOD[0]), format!("[{}]", OTHER[0]));
        let before = aborted(place).await;
        run_inside(
            &network,
            TEST,
            &[
                (WORKS, url("hole6.test", named)),
                (WORKS, url("hole4.test", any)),
                (WORKS, url("two.test", "ssl-mode=verify-ca&connect-timeout=9")),
                (WORKS, url(&literal, named)),
                // The first host of several is dead.
                (WORKS, url("dead.test:1,hole6.test", named)),
            ],
        );
        // No connection is made only to see whether it can be made, and each ends in good order.
        assert_eq!(aborted(place).await, before);
        // The only address of a name is named, too.
        let only = format!("mysql://{user}:{PASSWORD}@one.test:1/{}", place.name);
        run_inside(&network, TEST, &[(&format!("[{}]:1: ", GOOD[0]), only)]);
        let refused = ["hole4.test", "good.test", &other];
        run_inside(&network, TEST, &refused.map(|host| ("for another name", url(host, named))));
    });
}

#[test]
fn a_unix_socket_is_connected_to_and_identity_is_verified_by_the_name() {
    let keys = Keys::new();
    let arguments = |_| {
        keys.sign("server", &["shop.test"], &keys.ca);
        keys.arguments()
    };
    on_own(arguments, async |place| {
        let user = place.plain_user().await;
        let socket = place.instance().socket();
        let load = async |host: &str, query: &str| {
            let url = format!(
                "mysql://{user}:{PASSWORD}@{host}/{}?socket={}&{query}&ssl-ca={}",
                place.name,
                socket.display(),
                keys.path("ca.pem").display()
            );
            let backend = MySqlBackend::from_url(&url).unwrap();
            let loaded = backend.load().await;
            backend.close().await;
            loaded
        };
        load("localhost", "ssl-mode=verify-ca").await.unwrap();
        load("shop.test", "ssl-mode=verify-identity").await.unwrap();
        let error = load("localhost", "ssl-mode=verify-identity").await.unwrap_err();
        assert!(error.to_string().contains("for another name"), "{error:?}");
    });
}

/// How many connections have ended without a goodbye, before and after they were let in.
async fn aborted(place: &Place) -> Vec<String> {
    let mut counts = Vec::new();
    for name in ["Aborted_connects", "Aborted_clients"] {
        counts.push(place.text(&format!("SHOW GLOBAL STATUS LIKE '{name}'"), 1).await);
    }
    counts
}

fn inside(urls: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for line in urls.lines() {
        let (expected, url) = line.split_once('\t').unwrap();
        let (_, shown) = url.split_once('@').unwrap();
        let backend = MySqlBackend::from_url(url).unwrap();
        let loaded = runtime.block_on(async {
            let loaded = backend.load().await;
            backend.close().await;
            loaded
        });
        match loaded {
            Ok(_) => assert_eq!(expected, WORKS, "{shown}"),
            Err(error) => assert!(format!("{error:?}").contains(expected), "{shown}: {error:?}"),
        }
    }
}

/// Runs this test again in the network, with what is to come of each URL.
fn run_inside(network: &Network, test: &str, urls: &[(&str, String)]) {
    let urls: Vec<String> =
        urls.iter().map(|(expected, url)| format!("{expected}\t{url}")).collect();
    network.run_test(&format!("dialling::{test}"), (INSIDE, &urls.join("\n")));
}

fn unless_missing(network: Result<Network, Failure>) -> Option<Network> {
    match network {
        Err(Failure::Skipped(reason)) => {
            println!("skipped: {reason}");
            None
        }
        network => Some(network.expect("a network can be made")),
    }
}
