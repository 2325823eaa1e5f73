//! What only a store in a table of MySQL or MariaDB has: the rights, and how each server is set up.

use lock_core::Version;
use lock_mysql::ServerFacts;

use super::network::Network;
use super::report::Report;
use crate::{
    exit::Exit,
    keeper::LockError,
    store::{ServerUrl, Settings},
};

/// The oldest releases that are supported.
const MARIADB_MIN: (u64, u64) = (10, 11);
const MYSQL_MIN: (u64, u64) = (8, 0);

/// Asks each server of the URL; `version` is what the store was at before.
pub(super) async fn check(
    settings: &Settings,
    url: &ServerUrl,
    version: Version,
    report: &mut Report,
) {
    let backend = match settings.mysql(url) {
        Ok(backend) => backend,
        Err(error) => return report.fail("server", &error, Exit::Config),
    };
    for facts in backend.inspect().await {
        match facts {
            Ok(facts) => server(&facts, version, report),
            Err(error) => {
                let error = LockError::Open(error);
                report.fail("server", &error, error.exit());
            }
        }
    }
}

fn server(facts: &ServerFacts, version: Version, report: &mut Report) {
    let address = &facts.address;
    if facts.is_read_only {
        report.fail_with(
            "server",
            format!("{address} is read-only"),
            "name the primary in the URL, or wait until it has taken over",
            Exit::Unreachable,
        );
    } else if facts.is_apart {
        report.fail_with(
            "server",
            format!("{address} is apart from its cluster"),
            "bring it back, or take it out of the URL",
            Exit::Unreachable,
        );
    } else if facts.version < version {
        report.fail_with(
            "server",
            format!("{address} is at version {}, behind {version}", facts.version),
            "it is a replica or another database: name only servers of one cluster in the URL",
            Exit::Config,
        );
    } else if is_too_old(&facts.release) {
        report.warn(
            "server",
            format!("{address} is {}", facts.release),
            "nobody tests that any more: MariaDB from 10.11 and MySQL from 8.0 are supported",
        );
    } else {
        report.ok("server", format!("{address} is {}", facts.release));
    }
    rights(facts, report);
    durability(facts, report);
    let network = match (facts.is_encrypted, facts.is_verified) {
        (false, _) => Network::Plain,
        (true, false) => Network::Encrypted,
        (true, true) => Network::Verified,
    };
    let todo = "give the server a certificate for its name, and the URL ssl-mode=verify-identity";
    network.tell(&[address], todo, report);
}

fn rights(facts: &ServerFacts, report: &mut Report) {
    if !facts.lacking.is_empty() {
        let text = format!("{} lacks {}", facts.account, facts.lacking.join(" and "));
        report.fail_with("rights", text, facts.grant.clone(), Exit::Config);
    } else if facts.is_mighty {
        report.warn(
            "rights",
            format!("{} may do anything, also write a server that is read-only", facts.account),
            format!("use an account for this alone: {}", facts.grant),
        );
    } else {
        report.ok("rights", format!("{} may do what is needed", facts.account));
    }
}

fn durability(facts: &ServerFacts, report: &mut Report) {
    match facts.engine.as_deref() {
        Some("InnoDB") | None => match (facts.flush_log_at_trx_commit, facts.sync_binlog) {
            (1, None | Some(1)) => report.ok("durability", "a crash of the server forgets nothing"),
            (1, Some(value)) => report.warn(
                "durability",
                format!("sync_binlog is {value}: a power cut forgets what was granted last"),
                "SET GLOBAL sync_binlog = 1, and write it to the server's configuration",
            ),
            (value, _) => report.warn(
                "durability",
                format!("innodb_flush_log_at_trx_commit is {value}: a crash forgets what was granted last"),
                "SET GLOBAL innodb_flush_log_at_trx_commit = 1, and write it to the server's configuration",
            ),
        },
        Some(engine) => report.fail_with(
            "durability",
            format!("the table is kept by {engine}, which a crash damages"),
            "ALTER TABLE … ENGINE = InnoDB",
            Exit::Config,
        ),
    }
    let room = facts.data_bytes_max;
    let text =
        format!("max_allowed_packet has room for {room} bytes, {} are used", facts.data_bytes);
    if facts.data_bytes > room / 2 {
        report.warn("packet", text, "raise max_allowed_packet, or use several namespaces");
    } else {
        report.ok("packet", text);
    }
}

/// `10.11.6-MariaDB-…` or `8.0.36`.
fn is_too_old(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    found < if release.contains("MariaDB") { MARIADB_MIN } else { MYSQL_MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        for old in ["10.6.18-MariaDB-log", "5.7.44", "10.2.1-MariaDB"] {
            assert!(is_too_old(old), "{old}");
        }
        for good in ["10.11.6-MariaDB-0+deb12u1", "11.4.2-MariaDB", "8.0.36", "9.7.0", "8.4.0-log"]
        {
            assert!(!is_too_old(good), "{good}");
        }
    }
}
