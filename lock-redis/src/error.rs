//! What errors of the server and of the way to it mean for a swap, and what to do about them.

use std::error::Error;
use std::io;
use std::sync::Arc;

use lock_core::server::{BadCertificate, Doing};
use lock_core::{BackendError, BackendErrorKind as Kind};
use redis::{ErrorKind, RedisError};

/// What to do about a server that is full.
pub(crate) const NO_MEMORY: &str =
    "it has no memory left (maxmemory): give it more, or let other programs keep less in it";

/// What messages name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) store: &'a str,
    /// The key of the cell.
    pub(crate) key: &'a str,
    /// Whom the server takes this client for.
    pub(crate) user: &'a str,
    /// What this user needs to be allowed, as a rule of an ACL.
    pub(crate) rights: &'a str,
}

impl Site<'_> {
    /// What the administrator has to type, to allow what is needed.
    pub(crate) fn rule(self) -> String {
        format!("ACL SETUSER {} {}", self.user, self.rights)
    }
}

/// An error of the driver, sorted.
pub(crate) fn sort(doing: Doing, site: Site<'_>, error: RedisError) -> BackendError {
    let (kind, advice) = match error.code() {
        Some(code) => judge(doing, code, error.detail().unwrap_or_default(), site),
        None => judge_other(doing, &error),
    };
    doing.failed(site.store, kind, advice.as_deref()).with_source(error)
}

/// Sorts by the word that an error of the server begins with.
///
/// A script is checked before it begins, and the only one of its commands that changes the cell is
/// the last that can fail: so an error of those that are listed has changed nothing. What is not
/// listed is taken for unclear, because any other kind promises that.
fn judge(doing: Doing, code: &str, detail: &str, site: Site<'_>) -> (Kind, Option<String>) {
    let (kind, advice) = match code {
        "OOM" => (Kind::TooLarge, NO_MEMORY.into()),
        "READONLY" => (
            Kind::Unavailable,
            "it is a replica, or has become one: name the primary, or all sentinels with \
             sentinel=NAME"
                .into(),
        ),
        "NOREPLICAS" => {
            (Kind::Unavailable, "it has fewer replicas than its min-replicas-to-write".into())
        }
        "MISCONF" => (Kind::Unavailable, "it cannot save what it has: look at its disk".into()),
        "LOADING" => (Kind::Unavailable, "it has not read all of its data yet".into()),
        "BUSY" => (Kind::Unavailable, "it is busy with a script of somebody".into()),
        "MASTERDOWN" | "CLUSTERDOWN" | "MOVED" | "ASK" | "TRYAGAIN" | "NOSCRIPT" => {
            return (Kind::Unavailable, None);
        }
        "NOAUTH" => (
            Kind::Misconfigured,
            "the server wants a password: write USER:PASSWORD@ or password-file=PATH, for sentinels \
             sentinel-password-file=PATH"
                .into(),
        ),
        "WRONGPASS" => (Kind::Misconfigured, let_in()),
        "NOPERM" => (Kind::Misconfigured, lacks_right(site)),
        "DENIED" => (
            Kind::Misconfigured,
            "the server is in protected mode: give its users passwords, or bind it to an address"
                .into(),
        ),
        "WRONGTYPE" => (Kind::Misconfigured, not_ours(site, "it is of another type")),
        "ERR" => return judge_general(doing, detail, site),
        _ => return (doing.unclear(), None),
    };
    (kind, Some(advice))
}

/// Errors that have nothing but their text.
fn judge_general(doing: Doing, detail: &str, site: Site<'_>) -> (Kind, Option<String>) {
    let is = |text: &str| detail.contains(text);
    // Raised by one of the commands of a script, of which that which changes the cell is the last.
    if is("ACL failure in script") || is("The user executing the script can't") {
        return (Kind::Misconfigured, Some(lacks_right(site)));
    }
    let advice = if is("Error compiling script") || is("Unexpected engine in script shebang") {
        "it is too old: Redis from 7.0 or Valkey from 8.0 on is needed"
    } else if is("unknown command") {
        "it does not know one of the commands, or calls it something else"
    } else if is("DB index is out of range") || is("invalid DB index") {
        "it has no database of that number"
    } else if is("SELECT is not allowed in cluster mode") {
        "a cluster has database 0 alone: leave the number out of the URL"
    } else if is("max number of clients reached") {
        return (Kind::Unavailable, Some("it takes no more connections".into()));
    } else {
        return (doing.unclear(), None);
    };
    (Kind::Misconfigured, Some(advice.into()))
}

fn judge_other(doing: Doing, error: &RedisError) -> (Kind, Option<String>) {
    match error.kind() {
        ErrorKind::AuthenticationFailed => (Kind::Misconfigured, Some(let_in())),
        ErrorKind::InvalidClientConfig => (Kind::Misconfigured, None),
        ErrorKind::Parse if doing == Doing::Connecting => {
            let advice = "what answers there is no Redis or Valkey: check host and port";
            (Kind::Misconfigured, Some(advice.into()))
        }
        ErrorKind::MasterNameNotFoundBySentinel => {
            (Kind::Misconfigured, Some("the sentinel knows no primary of that name".into()))
        }
        _ => match certificate(error) {
            Some(bad) => (Kind::Misconfigured, Some(bad.to_string())),
            None => (doing.unclear(), None),
        },
    }
}

fn let_in() -> String {
    "the server does not let this user in: check user and password".into()
}

fn lacks_right(site: Site<'_>) -> String {
    format!("this user lacks a right: {}", site.rule())
}

/// What is there and was not written by this crate.
pub(crate) fn not_ours(site: Site<'_>, why: &str) -> String {
    format!("the key {} is not as lock-redis writes it: {why}", site.key)
}

/// What one side has against the certificate of the other, if that is what the error is about.
pub(crate) fn certificate(error: &RedisError) -> Option<BadCertificate> {
    let error = error.source()?;
    BadCertificate::of(match error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        Some(shared) => shared.downcast_ref::<io::Error>()?,
        None => error.downcast_ref::<io::Error>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_promises_that_nothing_was_applied_is_not_in_doubt() {
        let site = Site { store: "redis://h/0", key: "k", user: "u", rights: "+get" };
        let kind = |doing, code| judge(doing, code, "", site).0;
        for code in ["ERR", "EXECABORT", "UNKILLABLE", "WHATEVER", ""] {
            assert_eq!(kind(Doing::Swapping, code), Kind::OutcomeUnknown, "{code}");
            assert_eq!(kind(Doing::Reading, code), Kind::Unavailable, "{code}");
        }
        assert_eq!(kind(Doing::Swapping, "READONLY"), Kind::Unavailable);
        assert_eq!(kind(Doing::Swapping, "OOM"), Kind::TooLarge);
        assert_eq!(kind(Doing::Swapping, "NOPERM"), Kind::Misconfigured);
    }
}
