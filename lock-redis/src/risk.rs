//! What a server may lose, as far as it tells.

use std::fmt;

/// Something about a server that may cost locks; its text says what, and what to do.
///
/// It is for people: [`RedisBackend::risks`](crate::RedisBackend::risks) tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Risk {
    /// When its memory is full, it throws keys away: this is its `maxmemory-policy`.
    Eviction(String),
    /// It has no append-only file: after a crash it has forgotten what is newer than its last
    /// snapshot.
    NoAppendOnlyFile,
    /// It has replicas and swaps do not wait for any: a failover may forget the last ones.
    Failover,
    /// It does not say what it may lose: its user may not run `INFO`.
    Untold,
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eviction(policy) if policy.starts_with("volatile") => write!(
                f,
                "its maxmemory-policy is {policy}: set noeviction, or locks are lost when somebody \
                 gives their key a time to live"
            ),
            Self::Eviction(policy) => write!(
                f,
                "its maxmemory-policy is {policy}: set noeviction, or all locks may be thrown away \
                 when its memory is full"
            ),
            Self::NoAppendOnlyFile => f.write_str(
                "it keeps no append-only file: set appendonly yes and appendfsync always, or a crash \
                 of it forgets locks",
            ),
            Self::Untold => f.write_str(
                "it does not tell what it may lose: let the user run INFO (ACL SETUSER … +info)",
            ),
            Self::Failover => f.write_str(
                "it has replicas: write replicas=N into the URL, or a failover may forget the locks \
                 that were taken last",
            ),
        }
    }
}

/// What `INFO` tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    /// Whether another server is its primary. A node of a cluster says itself who has a key.
    pub(crate) is_replica: bool,
    policy: Option<String>,
    has_append_only_file: Option<bool>,
    has_replicas: bool,
}

impl Info {
    pub(crate) fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim)
        };
        Self {
            is_replica: field("role").is_some_and(|role| role != "master")
                && field("cluster_enabled") != Some("1"),
            policy: field("maxmemory_policy").map(str::to_owned),
            has_append_only_file: field("aof_enabled").map(|enabled| enabled == "1"),
            has_replicas: field("connected_slaves").is_some_and(|number| number != "0"),
        }
    }

    /// What may be lost, if swaps wait for so many replicas.
    pub(crate) fn risks(&self, replicas: u32) -> Vec<Risk> {
        let policy = self.policy.clone().filter(|policy| policy != "noeviction");
        let mut risks: Vec<Risk> = policy.map(Risk::Eviction).into_iter().collect();
        if self.has_append_only_file == Some(false) {
            risks.push(Risk::NoAppendOnlyFile);
        }
        if self.has_replicas && replicas == 0 {
            risks.push(Risk::Failover);
        }
        risks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let text = "# Replication\r\nrole:slave\r\nconnected_slaves:1\r\n\r\n# Memory\r\n\
                    maxmemory_policy:allkeys-lru\r\naof_enabled:0\r\n";
        let info = Info::parse(text);
        assert!(info.is_replica);
        let lru = Risk::Eviction("allkeys-lru".into());
        assert_eq!(info.risks(0), [lru.clone(), Risk::NoAppendOnlyFile, Risk::Failover]);
        assert_eq!(info.risks(1), [lru, Risk::NoAppendOnlyFile]);
        let good = "role:master\r\nmaxmemory_policy:noeviction\r\naof_enabled:1";
        assert!(Info::parse(good).risks(0).is_empty());
        assert_eq!(Info::parse("").risks(0), []);
    }
}
