//! The conformance suite on MariaDB and on MySQL.

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use lock_conformance::{Damage, Failure, Fixture, Server, Start, Store, Verdict};
use lock_core::{BackendError, LockBackend, Snapshot};
use lock_mysql::MySqlBackend;
use lock_servers::{Instance, Kind};

use support::cells::{damage, put, repair, replace};
use support::{Shared, create_database, sql};

fn main() -> ExitCode {
    let fixtures = Kind::ALL.map(|kind| Arc::new(MySql(Shared::new(kind))) as Arc<dyn Fixture>);
    lock_conformance::run(&fixtures)
}

/// All trials share one server, each with a database of its own, save for those that do harm to it.
struct MySql(Arc<Shared>);

impl Fixture for MySql {
    fn name(&self) -> &'static str {
        self.0.kind().name()
    }

    fn start(&self) -> Start {
        let server = self.0.url().map_err(|error| failure(&error))?;
        let name = create_database(&server)?;
        let (own, is_used) = (OnceLock::new(), AtomicBool::new(false));
        Ok(Box::new(Database { shared: self.0.clone(), server, name, own, is_used }))
    }

    fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError> {
        Ok(Arc::new(MySqlBackend::from_url(spec)?))
    }
}

fn failure(error: &lock_servers::Error) -> Failure {
    if error.may_be_skipped() {
        return Failure::missing(error.to_string());
    }
    Failure::failed(error.to_string())
}

struct Database {
    shared: Arc<Shared>,
    server: String,
    name: String,
    /// A server for this trial alone, if it asked for one before it used the other.
    own: OnceLock<Option<Own>>,
    is_used: AtomicBool,
}

struct Own {
    instance: Instance,
    name: String,
}

impl Database {
    fn url(&self) -> String {
        self.is_used.store(true, Ordering::Relaxed);
        match self.own.get() {
            Some(Some(own)) => format!("{}/{}", own.instance.url(), own.name),
            _ => format!("{}/{}", self.server, self.name),
        }
    }
}

impl Server for Own {
    fn address(&self) -> SocketAddr {
        self.instance.address()
    }

    fn spec_at(&self, address: SocketAddr) -> String {
        format!("mysql://root@{address}/{}", self.name)
    }

    fn spec_by_name(&self, host: &str, port: u16) -> Option<String> {
        Some(format!("mysql://root@{host}:{port}/{}", self.name))
    }

    fn kill(&self) -> Result<(), Failure> {
        self.instance.kill().map_err(|error| failure(&error))
    }

    fn start(&self) -> Result<(), Failure> {
        self.instance.start_again().map_err(|error| failure(&error))
    }
}

impl Store for Database {
    fn spec(&self) -> String {
        self.url()
    }

    fn restore(&self, cell: &Snapshot) -> Option<Verdict> {
        if let Some(Some(own)) = self.own.get()
            && own.instance.pid().is_none()
        {
            let statements = format!("USE {};\n{};\n", own.name, put(cell));
            return Some(own.instance.at_next_start(&statements).map_err(|error| failure(&error)));
        }
        Some(sql(&self.url(), &[&put(cell)]))
    }

    fn replace(&self, cell: Option<&Snapshot>) -> Option<Verdict> {
        Some(replace(&self.url(), cell))
    }

    fn damage(&self, how: Damage) -> Option<Verdict> {
        damage(&self.url(), how)
    }

    fn repair(&self) -> Verdict {
        repair(&self.url())
    }

    fn server(&self) -> Option<&dyn Server> {
        let start = || {
            assert!(!self.is_used.load(Ordering::Relaxed), "ask for the server before the store");
            let instance = Instance::start(self.shared.kind());
            // Where another of its kind is given by its URL, there may be none to start.
            if instance.as_ref().is_err_and(lock_servers::Error::may_be_skipped) {
                return None;
            }
            let instance = instance.expect("the server starts");
            let name = create_database(&instance.url()).expect("a database can be made");
            Some(Own { instance, name })
        };
        self.own.get_or_init(start).as_ref().map(|own| own as &dyn Server)
    }

    fn logs(&self) -> Vec<PathBuf> {
        match self.own.get() {
            Some(Some(own)) => vec![own.instance.log()],
            _ => self.shared.log().into_iter().collect(),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = sql(&self.server, &[&format!("DROP DATABASE {}", self.name)]);
    }
}
