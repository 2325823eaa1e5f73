//! The conformance suite on clusters: Galera, and Group Replication with one and with several primaries.
//!
//! They take their time, so that it does nothing unless the variable `INTERLOCK_CLUSTERS` is set, as
//! it is in a long run.

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use lock_conformance::{Damage, Failure, Fixture, Server, Start, Store, Verdict};
use lock_core::{BackendError, LockBackend, Snapshot};
use lock_mysql::MySqlBackend;
use lock_servers::{Cluster, ClusterKind, Error};

use support::cells::{damage, put, repair, replace};
use support::{create_database, sql, sql_within};

fn main() -> ExitCode {
    if std::env::var_os("INTERLOCK_CLUSTERS").is_none() {
        println!("INTERLOCK_CLUSTERS is not set: nothing is done");
        return ExitCode::SUCCESS;
    }
    let fixtures = ClusterKind::ALL
        .map(|kind| Arc::new(Clustered { kind, shared: Mutex::default() }) as Arc<dyn Fixture>);
    lock_conformance::run(&fixtures)
}

/// The user of all clients, who has the three rights that it takes and no other.
const PLAIN: &str = "plain:Mellon";

/// Writes a cell that is nobody's.
const WRITE: &str = "INSERT INTO interlock (id, version, data) VALUES ('probe', 1, '{}')
    ON DUPLICATE KEY UPDATE version = version + 1";

/// All trials share one cluster, each with a database of its own, save for those that do harm to it.
struct Clustered {
    kind: ClusterKind,
    shared: Mutex<Option<Arc<Cluster>>>,
}

impl Fixture for Clustered {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn start(&self) -> Start {
        let cluster = {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            if shared.is_none() {
                *shared = Some(Arc::new(Cluster::start(self.kind).map_err(|e| failure(&e))?));
            }
            shared.clone().expect("it was just started")
        };
        let shared = Database::create(cluster)?;
        Ok(Box::new(Clients { shared, own: OnceLock::new(), is_used: AtomicBool::new(false) }))
    }

    /// Clients begin with any node, whatever the order in the URL.
    fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError> {
        let (user, rest) = spec.split_once('@').expect("a user is in the URL");
        let (hosts, database) = rest.split_once('/').expect("a database is in the URL");
        let mut hosts: Vec<&str> = hosts.split(',').collect();
        let first = fastrand::usize(..hosts.len());
        hosts.rotate_left(first);
        let url = format!("{user}@{}/{database}", hosts.join(","));
        Ok(Arc::new(MySqlBackend::from_url(&url)?))
    }
}

fn failure(error: &Error) -> Failure {
    if error.may_be_skipped() {
        return Failure::missing(error.to_string());
    }
    Failure::failed(error.to_string())
}

/// A store for one trial.
struct Clients {
    shared: Database,
    /// A cluster for this trial alone, if it asked for one before it used the other.
    own: OnceLock<Database>,
    is_used: AtomicBool,
}

impl Clients {
    fn database(&self) -> &Database {
        self.is_used.store(true, Ordering::Relaxed);
        self.own.get().unwrap_or(&self.shared)
    }
}

impl Store for Clients {
    fn spec(&self) -> String {
        let database = self.database();
        let hosts = database.cluster.nodes().iter().map(|node| node.address().to_string());
        format!("mysql://{PLAIN}@{}/{}", hosts.collect::<Vec<_>>().join(","), database.name)
    }

    fn restore(&self, cell: &Snapshot) -> Option<Verdict> {
        let database = self.database();
        if database.cluster.nodes().iter().all(|node| node.pid().is_none()) {
            *database.at_start.lock().unwrap_or_else(PoisonError::into_inner) = Some(put(cell));
            return Some(Ok(()));
        }
        Some(database.url().and_then(|url| sql(&url, &[&put(cell)])))
    }

    fn replace(&self, cell: Option<&Snapshot>) -> Option<Verdict> {
        Some(self.database().url().and_then(|url| replace(&url, cell)))
    }

    fn damage(&self, how: Damage) -> Option<Verdict> {
        match self.database().url() {
            Ok(url) => damage(&url, how),
            Err(failure) => Some(Err(failure)),
        }
    }

    fn repair(&self) -> Verdict {
        repair(&self.database().url()?)
    }

    fn server(&self) -> Option<&dyn Server> {
        let start = || {
            assert!(!self.is_used.load(Ordering::Relaxed), "ask for the server before the store");
            let cluster = Cluster::start(self.shared.cluster.kind()).expect("another one starts");
            Database::create(Arc::new(cluster)).expect("it is new")
        };
        Some(self.own.get_or_init(start))
    }

    fn logs(&self) -> Vec<PathBuf> {
        let nodes = self.own.get().unwrap_or(&self.shared).cluster.nodes();
        // Each by a name of its own.
        let named = |(number, node): (usize, &lock_servers::Instance)| {
            let log = node.directory().join(format!("node-{number}.log"));
            std::fs::copy(node.log(), &log).ok().map(|_| log)
        };
        nodes.iter().enumerate().filter_map(named).collect()
    }
}

/// A database of a cluster.
struct Database {
    cluster: Arc<Cluster>,
    name: String,
    /// What is executed once the cluster is back.
    at_start: Mutex<Option<String>>,
}

impl Database {
    fn create(cluster: Arc<Cluster>) -> Result<Self, Failure> {
        let mut database = Self { cluster, name: String::new(), at_start: Mutex::default() };
        let url = database.writable()?;
        database.name = create_database(&url)?;
        let (user, password) = PLAIN.split_once(':').expect("it has a password");
        sql(
            &url,
            &[
                &format!("CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}'"),
                &format!(
                    "GRANT SELECT, INSERT, UPDATE ON {}.interlock TO '{user}'@'%'",
                    database.name
                ),
            ],
        )?;
        Ok(database)
    }

    /// The URL of a node that can be written.
    fn writable(&self) -> Result<String, Failure> {
        let primary = self.cluster.primary().map_err(|error| failure(&error))?;
        Ok(self.cluster.nodes()[primary.unwrap_or(0)].url())
    }

    fn url(&self) -> Result<String, Failure> {
        Ok(format!("{}/{}", self.writable()?, self.name))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Ok(url) = self.writable() {
            let _ = sql(&url, &[&format!("DROP DATABASE {}", self.name)]);
        }
    }
}

impl Server for Database {
    fn address(&self) -> SocketAddr {
        self.cluster.nodes()[0].address()
    }

    fn spec_at(&self, address: SocketAddr) -> String {
        format!("mysql://{PLAIN}@{address}/{}", self.name)
    }

    fn kill(&self) -> Result<(), Failure> {
        self.cluster.kill_all().map_err(|error| failure(&error))
    }

    fn start(&self) -> Result<(), Failure> {
        self.cluster.start_all().map_err(|error| failure(&error))?;
        let statement = self.at_start.lock().unwrap_or_else(PoisonError::into_inner).take();
        statement.map_or(Ok(()), |statement| sql(&self.url()?, &[&statement]))
    }

    fn cluster(&self) -> Option<&dyn lock_conformance::Cluster> {
        Some(self)
    }
}

impl lock_conformance::Cluster for Database {
    fn nodes(&self) -> usize {
        self.cluster.nodes().len()
    }

    fn kill(&self, node: usize) -> Verdict {
        self.cluster.nodes()[node].kill().map_err(|error| failure(&error))
    }

    fn start(&self, node: usize) -> Verdict {
        self.cluster.start_again(node).map_err(|error| failure(&error))
    }

    fn serves_within(&self, limit: Duration) -> bool {
        // Whatever they say of each other: where a write is taken, locks have to be had.
        let takes_writes = |node: &lock_servers::Instance| {
            let url = format!("{}/{}", node.url(), self.name);
            node.pid().is_some() && sql_within(limit, &url, &[WRITE]).is_ok()
        };
        self.cluster.settle_within(limit).is_ok() || self.cluster.nodes().iter().any(takes_writes)
    }

    fn pause(&self, nodes: &[usize]) {
        for node in nodes {
            self.cluster.nodes()[*node].stop();
        }
    }

    fn go_on(&self, nodes: &[usize]) -> Verdict {
        for node in nodes {
            self.cluster.nodes()[*node].go_on();
        }
        self.cluster.settle().map_err(|error| failure(&error))
    }

    fn put_out(&self, node: usize) -> Verdict {
        self.cluster.leave(node).map_err(|error| failure(&error))
    }

    fn take_in(&self, _node: usize) -> Verdict {
        self.cluster.settle().map_err(|error| failure(&error))
    }

    fn leader(&self) -> Result<Option<usize>, Failure> {
        self.cluster.primary().map_err(|error| failure(&error))
    }

    fn lead(&self, node: usize) -> Verdict {
        self.cluster.lead(node).map_err(|error| failure(&error))
    }
}
