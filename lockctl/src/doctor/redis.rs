//! What only a store in Redis or Valkey has: the rights, and what the server may lose.

use lock_core::LockBackend;

use super::network::Network;
use super::report::Report;
use crate::{
    exit::Exit,
    keeper::LockError,
    store::{ServerUrl, Settings},
};

/// Asks the server of the URL.
pub(super) async fn check(settings: &Settings, url: &ServerUrl, report: &mut Report) {
    let backend = match settings.redis(url) {
        Ok(backend) => backend,
        Err(error) => return report.fail("server", &error, Exit::Config),
    };
    match backend.rights().await {
        Ok(rights) if rights.lacking.is_empty() => {
            report.ok("rights", format!("{} may do what is needed", rights.user));
        }
        Ok(rights) => {
            let text = format!("{} lacks {}", rights.user, rights.lacking.join(" and "));
            report.fail_with("rights", text, rights.rule, Exit::Config);
        }
        Err(error) => {
            let error = LockError::Open(error);
            report.fail("rights", &error, error.exit());
        }
    }
    match backend.risks().await {
        Ok(risks) if risks.is_empty() => report.ok("server", "nothing that it tells of itself loses locks; see to `appendfsync always`, which it does not tell"),
        Ok(risks) => {
            for risk in risks {
                report.warn("server", risk.to_string(), "see the front page of lock-redis");
            }
        }
        Err(error) => {
            let error = LockError::Open(error);
            report.fail("server", &error, error.exit());
        }
    }
    let store = backend.describe();
    let (network, addresses) = way(&store);
    let todo = "write rediss:// in the URL, with a server that has a certificate for its name";
    network.tell(&addresses, todo, report);
}

/// How a store is reached, by its name.
fn way(store: &str) -> (Network, Vec<&str>) {
    let store = store.split(" namespace ").next().unwrap_or(store);
    let (scheme, rest) = store.split_once("://").unwrap_or(("", store));
    let network = if scheme == "rediss" { Network::Verified } else { Network::Plain };
    let addresses = match store.split_once('?') {
        // Sentinels may be on this host, but the primary is where they say.
        Some((_, option)) if option.starts_with("sentinel=") => vec![option],
        Some((_, option)) => vec![option.trim_start_matches("socket=")],
        None => rest.split(['/', '?']).next().unwrap_or(rest).split(',').collect(),
    };
    (network, addresses)
}

#[cfg(test)]
mod tests {
    use super::{Network, way};

    #[test]
    fn the_name_of_a_store_says_how_it_is_reached() {
        let plain = |store| match way(store) {
            (Network::Plain, addresses) => addresses,
            other => panic!("{other:?}"),
        };
        assert_eq!(plain("redis://one:7,[::1]:8/0"), ["one:7", "[::1]:8"]);
        assert_eq!(plain("redis://localhost/0?sentinel=main"), ["sentinel=main"]);
        assert_eq!(plain("redis://localhost/0?socket=/run/redis.sock"), ["/run/redis.sock"]);
        assert_eq!(plain("redis://one/0 namespace x?socket=/y"), ["one"]);
        assert!(matches!(way("rediss://one/3").0, Network::Verified));
    }
}
