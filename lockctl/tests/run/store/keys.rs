//! A store in a database of Redis of the test's own, on a server that all tests of this program share.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use lock_servers::RedisServer;
use redis::{FromRedisValue, cmd};

/// What its URLs begin with.
pub(crate) const SCHEME: &str = "redis";
/// The user that tests are; this one may do everything.
const USER: &str = "test";
/// The password of every user, with characters that mean something in URLs and shells.
pub(crate) const PASSWORD: &str = "s3cr3t@:/?#% p";
/// The same as URLs have it.
const PASSWORD_IN_URL: &str = "s3cr3t%40%3A%2F%3F%23%25%20p";
/// The part of it that no encoding changes.
pub(crate) const SECRET: &str = "s3cr3t";
/// How many databases the server has: more than there are tests.
const DATABASES: usize = 1000;

/// A store that nobody else uses.
pub(crate) struct Store {
    database: usize,
    url: String,
}

impl Store {
    /// A database with nothing in it, and a URL that names a file in this directory for the password.
    pub(crate) fn new(dir: &Path) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        // The first is for whoever forgets its number.
        let database = 1 + NUMBER.fetch_add(1, Ordering::Relaxed);
        assert!(database < DATABASES, "there are more tests than databases");
        let file = dir.join("password");
        fs::write(&file, format!("{PASSWORD}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let (address, file) = (&server().address, file.display());
        let url = format!("redis://{USER}@{address}/{database}?password-file={file}");
        let store = Store { database, url };
        store.call::<()>(&["FLUSHDB"]);
        store
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
        format!("redis://{user}:{password}@{}/{}", server().address, self.database)
    }

    /// Adds a user who has these rights, and says the URL for it.
    pub(crate) fn url_of_user_with(&self, rights: &str) -> String {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let user = format!("u{}_{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut rule = cmd("ACL");
        rule.arg("SETUSER").arg(&user).arg("on").arg(format!(">{PASSWORD}"));
        rule.arg(rights.split_whitespace().collect::<Vec<_>>());
        rule.query::<()>(&mut self.connect()).unwrap();
        self.url_as(&user, PASSWORD_IN_URL)
    }

    /// What a command answers in the database, as its administrator.
    pub(crate) fn call<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let answer = cmd(command[0]).arg(&command[1..]).query(&mut self.connect());
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(format!("{}/{}", server().root, self.database)).unwrap();
        client.get_connection().unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.call::<()>(&["FLUSHDB"]);
        }
    }
}

/// The server, started by the first test that needs it.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

struct Server {
    address: String,
    root: String,
    /// It ends with this program.
    _own: Option<RedisServer>,
}

impl Server {
    /// The one whose URL is given, or a new one; where there can be none, all tests are skipped.
    fn start() -> Self {
        let kind = crate::SERVER;
        let databases = format!("databases {DATABASES}");
        let lines = ["appendonly yes", "appendfsync always", &databases];
        let (url, own) = match env::var(kind.url_variable()) {
            Ok(url) => (url, None),
            Err(_) => match RedisServer::start_with(kind, &lines) {
                Ok(server) => (server.url(), Some(server)),
                Err(error) if error.may_be_skipped() => {
                    let _ = writeln!(io::stderr(), "skipped, with all that follow: {error}");
                    process::exit(0);
                }
                Err(error) => panic!("{error}"),
            },
        };
        let root = url.trim_end_matches('/').to_owned();
        let (_, address) = root.rsplit_once(['@', '/']).unwrap();
        let address = address.to_owned();
        let mut connection = redis::Client::open(&*root).unwrap().get_connection().unwrap();
        let mut rule = cmd("ACL");
        rule.arg("SETUSER").arg(USER).arg("on").arg(format!(">{PASSWORD}"));
        rule.arg(&["~*", "&*", "+@all"]).query::<()>(&mut connection).unwrap();
        Server { address, root, _own: own }
    }
}
