//! A store in a database of the test's own, on a server that all tests of this program share.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{self, Command},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use lock_servers::Instance;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor,
    mysql::{MySqlConnectOptions, MySqlConnection},
};

/// What its URLs begin with.
pub(crate) const SCHEME: &str = "mysql";
/// The user that tests are; this one may do everything.
const USER: &str = "test";
/// The password of every user, with characters that mean something in URLs and shells.
pub(crate) const PASSWORD: &str = "s3cr3t@:/?#% p";
/// The same as URLs have it.
const PASSWORD_IN_URL: &str = "s3cr3t%40%3A%2F%3F%23%25%20p";
/// The part of it that no encoding changes.
pub(crate) const SECRET: &str = "s3cr3t";

/// A store that nobody else uses.
pub(crate) struct Store {
    database: String,
    url: String,
}

impl Store {
    /// A table that is ready, and a URL that names a file in this directory for the password.
    pub(crate) fn new(dir: &Path) -> Self {
        let store = Self::without_table(dir);
        let mut init = Command::new(crate::world::LOCKCTL);
        let output = init.args(["--store", &store.url, "init"]).env("HOME", dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        store
    }

    /// The same without a table.
    pub(crate) fn without_table(dir: &Path) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let database = format!("lockctl_{}_{number}", process::id());
        execute(&format!("CREATE DATABASE {database}"));
        let file = dir.join("password");
        fs::write(&file, format!("{PASSWORD}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let address = &server().address;
        let file = file.display();
        let url = format!("mysql://{USER}@{address}/{database}?password-file={file}");
        Store { database, url }
    }

    /// Its URL, in which no password is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its URL with the password in it.
    pub(crate) fn url_with_password(&self) -> String {
        self.url_as(USER, PASSWORD_IN_URL)
    }

    /// Its URL for another user, or with another password.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        format!("mysql://{user}:{password}@{}/{}", server().address, self.database)
    }

    /// Adds a user who has these rights in the database, and says the URL for it.
    pub(crate) fn url_of_user_with(&self, rights: &str) -> String {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let user = format!("u{}_{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        execute(&format!("CREATE USER {user}@'%' IDENTIFIED BY '{PASSWORD}'"));
        execute(&format!("GRANT {rights} ON {}.* TO {user}@'%'", self.database));
        self.url_as(&user, PASSWORD_IN_URL)
    }

    /// Executes a statement in the database, as its administrator.
    pub(crate) fn execute(&self, sql: &str) {
        on(&server().root.clone().database(&self.database), sql);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            execute(&format!("DROP DATABASE {}", self.database));
        }
    }
}

/// The server, started by the first test that needs it.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

fn execute(sql: &str) {
    on(&server().root, sql);
}

fn on(options: &MySqlConnectOptions, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done: Result<(), sqlx::Error> = runtime.block_on(async {
        let mut connection: MySqlConnection = options.connect().await?;
        connection.execute(AssertSqlSafe(sql)).await?;
        connection.close().await
    });
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

struct Server {
    address: String,
    root: MySqlConnectOptions,
    /// It ends with this program.
    _instance: Option<Instance>,
}

impl Server {
    /// The one whose URL is given, or a new one; where there can be none, all tests are skipped.
    fn start() -> Self {
        let kind = crate::SERVER;
        let (url, instance) = match env::var(kind.url_variable()) {
            Ok(url) => (url, None),
            Err(_) => match Instance::start(kind) {
                Ok(instance) => (instance.url(), Some(instance)),
                Err(error) if error.may_be_skipped() => {
                    let _ = writeln!(io::stderr(), "skipped, with all that follow: {error}");
                    process::exit(0);
                }
                Err(error) => panic!("{error}"),
            },
        };
        let root: MySqlConnectOptions = url.parse().unwrap();
        let address = format!("{}:{}", root.get_host(), root.get_port());
        let create = format!("CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{PASSWORD}'");
        on(&root, &create);
        on(&root, &format!("GRANT ALL ON *.* TO {USER}@'%'"));
        Server { address, root, _instance: instance }
    }
}
