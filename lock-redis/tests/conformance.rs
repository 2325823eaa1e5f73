//! The conformance suite on Redis and on Valkey.

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use lock_conformance::{Damage, Failure, Fixture, Server, Start, Store, Verdict};
use lock_core::{BackendError, LockBackend, Snapshot};
use lock_redis::RedisBackend;
use lock_servers::{RedisKind, RedisServer};

use support::{Shared, damage, namespace, put, repair};

fn main() -> ExitCode {
    let fixtures =
        RedisKind::ALL.map(|kind| Arc::new(Redis(Shared::new(kind))) as Arc<dyn Fixture>);
    lock_conformance::run(&fixtures)
}

/// All trials share one server, each with a namespace of its own, save for those that do harm to it.
struct Redis(Arc<Shared>);

impl Fixture for Redis {
    fn name(&self) -> &'static str {
        self.0.kind().name()
    }

    fn start(&self) -> Start {
        let server = self.0.url().map_err(|error| failure(&error))?;
        let (name, own, is_used) = (namespace(), OnceLock::new(), AtomicBool::new(false));
        Ok(Box::new(Namespace { shared: self.0.clone(), server, name, own, is_used }))
    }

    fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError> {
        Ok(Arc::new(RedisBackend::from_url(spec)?))
    }
}

fn failure(error: &lock_servers::Error) -> Failure {
    if error.may_be_skipped() {
        return Failure::missing(error.to_string());
    }
    Failure::failed(error.to_string())
}

struct Namespace {
    shared: Arc<Shared>,
    server: String,
    name: String,
    /// A server for this trial alone, if it asked for one before it used the other.
    own: OnceLock<Option<Own>>,
    is_used: AtomicBool,
}

struct Own {
    server: RedisServer,
    namespace: String,
}

impl Namespace {
    /// The server, without a namespace.
    fn url(&self) -> String {
        self.is_used.store(true, Ordering::Relaxed);
        match self.own.get() {
            Some(Some(own)) => own.server.url(),
            _ => self.server.clone(),
        }
    }

    fn put(&self, cell: Option<&Snapshot>) -> Verdict {
        match self.own.get() {
            // A server that was killed is given it before anybody else comes.
            Some(Some(own)) if own.server.pid().is_none() => {
                own.start()?;
                put(&own.server.url(), &self.name, cell)?;
                own.kill()
            }
            _ => put(&self.url(), &self.name, cell),
        }
    }
}

impl Server for Own {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn spec_at(&self, address: SocketAddr) -> String {
        format!("redis://{address}?namespace={}", self.namespace)
    }

    fn spec_by_name(&self, host: &str, port: u16) -> Option<String> {
        Some(format!("redis://{host}:{port}?namespace={}", self.namespace))
    }

    fn kill(&self) -> Result<(), Failure> {
        self.server.kill().map_err(|error| failure(&error))
    }

    fn start(&self) -> Result<(), Failure> {
        self.server.start_again().map_err(|error| failure(&error))
    }
}

impl Store for Namespace {
    fn spec(&self) -> String {
        format!("{}?namespace={}", self.url(), self.name)
    }

    fn tells_of_changes(&self) -> bool {
        true
    }

    fn restore(&self, cell: &Snapshot) -> Option<Verdict> {
        Some(self.put(Some(cell)))
    }

    fn replace(&self, cell: Option<&Snapshot>) -> Option<Verdict> {
        Some(self.put(cell))
    }

    fn damage(&self, how: Damage) -> Option<Verdict> {
        damage(&self.url(), &self.name, how)
    }

    fn repair(&self) -> Verdict {
        repair(&self.url(), &self.name)
    }

    fn server(&self) -> Option<&dyn Server> {
        let start = || {
            assert!(!self.is_used.load(Ordering::Relaxed), "ask for the server before the store");
            let server = RedisServer::start(self.shared.kind());
            // Where another of its kind is given by its URL, there may be none to start.
            if server.as_ref().is_err_and(lock_servers::Error::may_be_skipped) {
                return None;
            }
            let server = server.expect("the server starts");
            Some(Own { server, namespace: self.name.clone() })
        };
        self.own.get_or_init(start).as_ref().map(|own| own as &dyn Server)
    }

    fn logs(&self) -> Vec<PathBuf> {
        match self.own.get() {
            Some(Some(own)) => vec![own.server.log()],
            _ => self.shared.log().into_iter().collect(),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = put(&self.server, &self.name, None);
    }
}
