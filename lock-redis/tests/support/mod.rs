//! Servers for the tests of this crate, and commands that go behind the backend's back.
#![allow(dead_code, reason = "each test binary needs a part of it")]

use std::env;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lock_conformance::{Damage, Failure, Verdict};
use lock_core::Snapshot;
use lock_servers::{Error, RedisKind, RedisServer};
use redis::{FromRedisValue, RedisResult, cmd};

/// A server that the tests of one process share: started when it is first needed, or given by URL.
pub(crate) struct Shared {
    kind: RedisKind,
    server: Mutex<Option<RedisServer>>,
}

impl Shared {
    pub(crate) fn new(kind: RedisKind) -> Arc<Self> {
        Arc::new(Self { kind, server: Mutex::default() })
    }

    pub(crate) fn kind(&self) -> RedisKind {
        self.kind
    }

    /// Its URL, without a database.
    pub(crate) fn url(&self) -> Result<String, Error> {
        if let Ok(url) = env::var(self.kind.url_variable()) {
            return Ok(url.trim_end_matches('/').to_owned());
        }
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_none() {
            *server = Some(RedisServer::start(self.kind)?);
        }
        Ok(server.as_ref().expect("it was just started").url())
    }

    pub(crate) fn log(&self) -> Option<PathBuf> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.as_ref().map(RedisServer::log)
    }
}

/// A namespace that nobody else uses.
pub(crate) fn namespace() -> String {
    format!("t{:016x}", fastrand::u64(..))
}

/// The key of a namespace.
pub(crate) fn key(namespace: &str) -> String {
    format!("interlock:{{{namespace}}}")
}

/// What a command answers, by a connection of its own.
pub(crate) fn call<T: FromRedisValue>(url: &str, command: &[&str]) -> RedisResult<T> {
    let mut connection = redis::Client::open(url)?.get_connection()?;
    cmd(command[0]).arg(&command[1..]).query(&mut connection)
}

/// Puts a cell into a namespace, or nothing, as restoring a dump does.
pub(crate) fn put(url: &str, namespace: &str, cell: Option<&Snapshot>) -> Verdict {
    let run = || -> RedisResult<()> {
        let mut connection = redis::Client::open(url)?.get_connection()?;
        let key = key(namespace);
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("DEL").arg(&key);
        if let Some(Snapshot { version, data }) = cell {
            pipe.cmd("HSET").arg(&key).arg("version").arg(version.0).arg("data").arg(data);
        }
        pipe.query(&mut connection)
    };
    run().map_err(|error| Failure::failed(error.to_string()))
}

/// Damages a cell, and keeps what it was.
pub(crate) fn damage(url: &str, namespace: &str, how: Damage) -> Option<Verdict> {
    let (key, aside) = (key(namespace), format!("aside:{{{namespace}}}"));
    let harm: &[&str] = match how {
        Damage::Truncated => &[
            "EVAL",
            "local d = redis.call('HGET', KEYS[1], 'data'); \
               redis.call('HSET', KEYS[1], 'data', string.sub(d, 1, #d / 2))",
            "1",
            &key,
        ],
        Damage::Garbage => &["HSET", &key, "data", "\u{1}noise\u{1}noise"],
        Damage::Foreign => &["SET", &key, "somebody's"],
        _ => return None,
    };
    let run = || {
        call::<()>(url, &["COPY", &key, &aside, "REPLACE"])?;
        call::<()>(url, harm)
    };
    Some(run().map_err(|error| Failure::failed(error.to_string())))
}

/// Undoes what [`damage`] did.
pub(crate) fn repair(url: &str, namespace: &str) -> Verdict {
    let (key, aside) = (key(namespace), format!("aside:{{{namespace}}}"));
    call::<()>(url, &["RENAME", &aside, &key]).map_err(|error| Failure::failed(error.to_string()))
}
