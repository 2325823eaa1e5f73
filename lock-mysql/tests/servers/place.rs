//! Where a test works: a database of its own on a server that all share, or on a server of its own.
#![allow(clippy::needless_pass_by_value, reason = "a test is written where it is run")]

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lock_core::{BackendError, BackendErrorKind, LockBackend, Swap, Version};
use lock_mysql::{MySqlBackend, MySqlOptions};
use lock_servers::{Error, Instance, Kind};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};

use crate::support::{Shared, create_database, sql};

static SHARED: LazyLock<[Arc<Shared>; 2]> = LazyLock::new(|| Kind::ALL.map(Shared::new));

/// How long something may take that takes milliseconds on a machine that has nothing else to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// The password of every user that a test makes.
pub(crate) const PASSWORD: &str = "Sesam-0effne-dich";

/// A database with the table in it.
pub(crate) struct Place {
    pub(crate) kind: Kind,
    /// The URL of root, without a database.
    server: String,
    pub(crate) name: String,
    own: Option<Instance>,
    users: Mutex<Vec<String>>,
}

/// Runs a test in a database of its own, on every kind of server.
pub(crate) fn everywhere(test: impl AsyncFn(&Place)) {
    for kind in Kind::ALL {
        let shared = SHARED.iter().find(|shared| shared.kind() == kind).expect("all are there");
        if let Some(server) = unless_missing(shared.url()) {
            run(Place::new(kind, server, None), &test);
        }
    }
}

/// Runs a test on servers of its own, one of every kind, which get these arguments besides.
pub(crate) fn on_own(arguments: impl Fn(Kind) -> Vec<String>, test: impl AsyncFn(&Place)) {
    for kind in Kind::ALL {
        let arguments = arguments(kind);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if let Some(instance) = unless_missing(Instance::start_with(kind, &arguments)) {
            run(Place::new(kind, instance.url(), Some(instance)), &test);
        }
    }
}

fn run(place: Place, test: impl AsyncFn(&Place)) {
    println!("on {}", place.kind);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system has what a runtime needs").block_on(test(&place));
}

/// A server that cannot be had here is passed over, save where everything has to be there.
fn unless_missing<T>(server: Result<T, Error>) -> Option<T> {
    match server {
        Err(error) if error.may_be_skipped() => {
            println!("skipped: {error}");
            None
        }
        server => Some(server.expect("the server starts")),
    }
}

impl Place {
    fn new(kind: Kind, server: String, own: Option<Instance>) -> Self {
        let name = create_database(&server).expect("a database can be made");
        Self { kind, server, name, own, users: Mutex::default() }
    }

    /// The server of this test alone.
    pub(crate) fn instance(&self) -> &Instance {
        self.own.as_ref().expect("this test has a server of its own")
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    /// The URL for a user that [`user`](Self::user) has made.
    pub(crate) fn url_of(&self, user: &str) -> String {
        let (_, address) = self.server.rsplit_once('@').expect("it names a user");
        format!("mysql://{user}:{PASSWORD}@{address}/{}", self.name)
    }

    pub(crate) fn backend(&self) -> MySqlBackend {
        MySqlBackend::from_url(&self.url()).expect("the URL is good")
    }

    pub(crate) fn backend_of(&self, user: &str) -> MySqlBackend {
        MySqlBackend::from_url(&self.url_of(user)).expect("the URL is good")
    }

    /// A backend for this table or namespace.
    pub(crate) fn backend_with(&self, query: &str) -> MySqlBackend {
        let url = format!("{}?{query}", self.url());
        MySqlOptions::from_url(&url).expect("the URL is good").build().expect("it is good")
    }

    /// A connection of root, behind the back of the backend.
    pub(crate) async fn connect(&self) -> MySqlConnection {
        let options: MySqlConnectOptions = self.url().parse().expect("the URL is good");
        options.connect().await.expect("root can connect")
    }

    /// Runs statements as root.
    pub(crate) async fn run(&self, statements: &[&str]) {
        let mut connection = self.connect().await;
        for statement in statements {
            run_on(&mut connection, statement).await;
        }
        connection.close().await.expect("it can be closed");
    }

    /// The row that a statement of root gives.
    pub(crate) async fn row(&self, statement: &str) -> MySqlRow {
        let mut connection = self.connect().await;
        let row = connection.fetch_one(AssertSqlSafe(statement)).await;
        connection.close().await.expect("it can be closed");
        row.unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    /// The number in the first column of what a statement of root gives.
    pub(crate) async fn count(&self, statement: &str) -> i64 {
        self.row(statement).await.try_get_unchecked(0).expect("it is a number")
    }

    /// The text in a column of what a statement of root gives.
    pub(crate) async fn text(&self, statement: &str, column: usize) -> String {
        self.row(statement).await.try_get_unchecked(column).expect("it is a text")
    }

    /// Makes a user with these rights, such as `SELECT ON shop.interlock`.
    pub(crate) async fn user(&self, rights: &[String]) -> String {
        let user = format!("u{:012x}", fastrand::u64(..1 << 48));
        self.users.lock().unwrap_or_else(PoisonError::into_inner).push(user.clone());
        self.run(&[&format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}'")]).await;
        for right in rights {
            self.run(&[&format!("GRANT {right} TO '{user}'@'%'")]).await;
        }
        user
    }

    /// A user with the rights that the table needs.
    pub(crate) async fn plain_user(&self) -> String {
        self.user(&[format!("SELECT, INSERT, UPDATE ON {}.interlock", self.name)]).await
    }

    /// Somebody who sees what is under way in this database.
    pub(crate) async fn watcher(&self) -> Watcher {
        Watcher { connection: self.connect().await, database: self.name.clone() }
    }
}

/// Root, who is connected before there is something to see: statements of a backend that wait for a lock
/// give up soon.
pub(crate) struct Watcher {
    connection: MySqlConnection,
    database: String,
}

impl Watcher {
    /// The connections to this database that are just doing something, whose statement is like this.
    pub(crate) async fn busy(&mut self, like: &str) -> Vec<i64> {
        let sql = format!(
            "SELECT CAST(id AS SIGNED) FROM information_schema.processlist \
             WHERE db = '{}' AND command <> 'Sleep' AND info LIKE '{like}' \
             AND id <> CONNECTION_ID()",
            self.database
        );
        let rows = self.connection.fetch_all(AssertSqlSafe(sql)).await;
        let rows = rows.expect("root sees everybody");
        rows.iter().map(|row| row.try_get_unchecked(0).expect("it is a number")).collect()
    }

    /// Waits until no statement like this is under way.
    pub(crate) async fn until_idle(&mut self, like: &str) {
        until(&format!("no {like}"), async || self.busy(like).await.is_empty()).await;
    }

    /// Waits until a statement like this is under way in this database, and gives its connection.
    pub(crate) async fn until_busy(&mut self, like: &str) -> i64 {
        let mut found = Vec::new();
        until(like, async || {
            found = self.busy(like).await;
            !found.is_empty()
        })
        .await;
        found[0]
    }

    /// Runs a statement.
    pub(crate) async fn run(&mut self, statement: &str) {
        run_on(&mut self.connection, statement).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.own.is_none() {
            let users =
                std::mem::take(&mut *self.users.lock().unwrap_or_else(PoisonError::into_inner));
            let mut statements = vec![format!("DROP DATABASE {}", self.name)];
            statements.extend(users.iter().map(|user| format!("DROP USER '{user}'@'%'")));
            let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
            let _ = sql(&self.server, &statements);
        }
    }
}

pub(crate) async fn run_on(connection: &mut MySqlConnection, statement: &str) {
    let ran = connection.execute(AssertSqlSafe(statement)).await;
    ran.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// Waits until something has become true.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "this did not come: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Swaps the cell, which must be at `expected`, to the next version with this data.
pub(crate) async fn swap(
    backend: &MySqlBackend,
    expected: u64,
    data: &str,
) -> Result<Swap, BackendError> {
    backend.compare_and_swap(Version(expected), Version(expected + 1), data.as_bytes()).await
}

/// The number that the server raised.
pub(crate) fn number(error: &BackendError) -> Option<u16> {
    let error = std::error::Error::source(error)?.downcast_ref::<sqlx::Error>()?;
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// Fails unless an error is of this kind, has this number, and says where it was and this advice.
#[track_caller]
pub(crate) fn expect<T: std::fmt::Debug>(
    place: &Place,
    result: Result<T, BackendError>,
    kind: BackendErrorKind,
    numbers: &[u16],
    advice: &str,
) {
    let error = result.expect_err("the server refuses");
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    println!("{}: {:?} {:?}: {error} <- {source}", place.kind, error.kind(), number(&error));
    assert_eq!(error.kind(), kind, "{error}: {source}");
    let raised = number(&error);
    assert!(
        if numbers.is_empty() {
            raised.is_none()
        } else {
            raised.is_some_and(|n| numbers.contains(&n))
        },
        "{raised:?} is not among {numbers:?}: {error}: {source}"
    );
    let said = error.to_string();
    assert!(
        said.contains("mysql://") && said.contains(advice),
        "it does not say {advice:?}: {said}"
    );
    assert!(!format!("{error:?} {source}").contains(PASSWORD), "the password shows: {error:?}");
}
