//! How to find and use a server: options, and the URL that says them in one line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lock_core::BackendError;
use lock_core::options::{DEFAULT_NAMESPACE, check_namespace, in_namespace, read_password};
use lock_core::server::{
    DEFAULT_CONNECT_TIMEOUT, ServerUrls, check_connect_timeout, check_files, check_key_pair,
    host_and_port, without_brackets,
};
use sqlx::ConnectOptions;
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlSslMode};

use crate::backend::MySqlBackend;
use crate::table::Table;

const DEFAULT_PORT: u16 = 3306;

/// How to make a [`MySqlBackend`].
///
/// ```
/// use lock_core::LockBackend;
/// use lock_mysql::MySqlOptions;
///
/// let url = "mysql://shop:secret@db1,db2:3307/shop?ssl-mode=verify-identity";
/// let backend = MySqlOptions::from_url(url)?.table("locks").namespace("billing").build()?;
/// assert_eq!(backend.describe(), "mysql://db1,db2:3307/shop table locks namespace billing");
/// # Ok::<(), lock_core::BackendError>(())
/// ```
#[derive(Clone)]
pub struct MySqlOptions {
    pub(crate) servers: Vec<MySqlConnectOptions>,
    table: String,
    namespace: Option<String>,
    password_file: Option<PathBuf>,
    connect_timeout: Duration,
    /// Files of certificates and keys, with the option that names them.
    ssl_files: Vec<(&'static str, PathBuf)>,
}

impl MySqlOptions {
    /// Options for the server that these options of sqlx reach.
    pub fn new(server: MySqlConnectOptions) -> Self {
        Self::of(vec![bare(server)])
    }

    /// Options for the server that this pool reaches.
    ///
    /// Only its options are used: the driver has a connection of its own in a runtime of its own,
    /// so that neither a busy pool nor a blocked runtime can cost a lease.
    pub fn from_pool(pool: &MySqlPool) -> Self {
        Self::new((*pool.connect_options()).clone())
    }

    /// Reads `mysql://USER:PASSWORD@HOST:PORT/DATABASE`.
    ///
    /// Several hosts, separated by commas, are the nodes of one cluster: the first that serves and
    /// can be written is used, the next when it fails. One that is read-only, or apart from its
    /// cluster, is not even read: what it knows may be of the past. Options after `?`: `table`, `namespace`,
    /// `socket` (a path), `connect-timeout` (in seconds; see
    /// [`connect_timeout`](Self::connect_timeout)), `ssl-mode` (`disabled`, `preferred`, `required`, `verify-ca`,
    /// `verify-identity`; if it is not said, `verify-ca` where there is an `ssl-ca`, else
    /// `preferred`), `ssl-ca`, `ssl-cert` and `ssl-key` (paths of PEM files, read whenever it
    /// connects), and `password-file`, which keeps the password out of the URL (see
    /// [`password_file`](Self::password_file)).
    ///
    /// # Errors
    ///
    /// [`BackendErrorKind::Misconfigured`](lock_core::BackendErrorKind::Misconfigured): the URL is bad. The message does not show it.
    pub fn from_url(url: &str) -> Result<Self, BackendError> {
        let urls = ServerUrls::parse(&["mysql", "mariadb"], url)?;
        let bad = |what: &str| urls.bad(what);
        let server = |url| {
            MySqlConnectOptions::from_url(url)
                .map(bare)
                .map_err(|_| bad("user, password or database are not UTF-8"))
        };
        let mut options = Self::of(urls.each.iter().map(server).collect::<Result<_, _>>()?);
        let mut mode = None;
        for (key, value) in &urls.options {
            match &**key {
                "table" => options.table.clone_from(value),
                "namespace" => options.namespace = Some(value.clone()),
                "password-file" => options.password_file = Some(value.into()),
                "socket" if urls.each.len() > 1 => {
                    return Err(bad("it has several hosts and a socket, which is on one"));
                }
                "socket" => options.change(|server| server.socket(value)),
                "connect-timeout" => options.connect_timeout = urls.connect_timeout(value)?,
                "ssl-mode" | "sslmode" => mode = Some(ssl_mode(value).map_err(|what| bad(&what))?),
                "ssl-ca" | "sslca" => {
                    options.ssl_files.push(("ssl-ca", value.into()));
                    options.change(|server| server.ssl_ca(value));
                }
                "ssl-cert" | "sslcert" => {
                    options.ssl_files.push(("ssl-cert", value.into()));
                    options.change(|server| server.ssl_client_cert(value));
                }
                "ssl-key" | "sslkey" => {
                    options.ssl_files.push(("ssl-key", value.into()));
                    options.change(|server| server.ssl_client_key(value));
                }
                _ => return Err(urls.unknown(key)),
            }
        }
        let has = |name| options.ssl_files.iter().any(|(option, _)| *option == name);
        let has_ca = has("ssl-ca");
        check_key_pair(has("ssl-cert"), has("ssl-key")).map_err(bad)?;
        let verifies =
            matches!(mode, None | Some(MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity));
        if has_ca && !verifies {
            return Err(bad("its ssl-ca verifies nothing with this ssl-mode: write verify-ca or \
                            verify-identity"));
        }
        if has("ssl-cert") && matches!(mode, Some(MySqlSslMode::Disabled)) {
            return Err(bad("its ssl-cert is of no use with ssl-mode=disabled"));
        }
        if let Some(mode) = mode.or(has_ca.then_some(MySqlSslMode::VerifyCa)) {
            options.change(|server| server.ssl_mode(mode));
        }
        Ok(options)
    }

    fn of(servers: Vec<MySqlConnectOptions>) -> Self {
        Self {
            servers,
            table: Table::default().to_string(),
            namespace: None,
            password_file: None,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            ssl_files: Vec::new(),
        }
    }

    /// Changes the options of all servers.
    fn change(&mut self, change: impl Fn(MySqlConnectOptions) -> MySqlConnectOptions) {
        self.servers = std::mem::take(&mut self.servers).into_iter().map(change).collect();
    }

    /// Adds a server to turn to when those before it do not serve or cannot be written: another
    /// node of the same cluster.
    ///
    /// It has to be one that holds every change that another has confirmed, as nodes of Galera and
    /// Group Replication do. A replica that is merely fed from a primary forgets locks when it
    /// takes over.
    #[must_use]
    pub fn or_server(mut self, server: MySqlConnectOptions) -> Self {
        self.servers.push(bare(server));
        self
    }

    /// The table, `interlock` if it is not said; a database and a dot may come before it.
    ///
    /// ASCII letters, digits, `_` and `$`.
    #[must_use]
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.table = table.into();
        self
    }

    /// Which row of the table to use: 1 to 255 bytes without control characters, compared byte for
    /// byte.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// The namespace that was chosen so far, by the URL or by [`namespace`](Self::namespace).
    pub fn chosen_namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// A file whose first line is the password, for all servers.
    ///
    /// It is read whenever a connection is made, so that a new password needs no restart, and refused
    /// if others than its owner and group can read or write it.
    #[must_use]
    pub fn password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.password_file = Some(path.into());
        self
    }

    /// How long connecting may take, all servers and their addresses together, from looking up the
    /// names to a session that is set up; 10 s if it is not said, and never more than 60 s.
    ///
    /// Of several servers each may take its share of what is left. While a client connects it can
    /// renew no lease, so keep this well below the length of the leases.
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = time;
        self
    }

    /// Makes the backend; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`BackendErrorKind::Misconfigured`](lock_core::BackendErrorKind::Misconfigured): the table, the namespace, the time for connecting, the
    /// password file or a file of a certificate is bad.
    pub fn build(mut self) -> Result<MySqlBackend, BackendError> {
        let namespace = self.namespace.take().unwrap_or_else(|| DEFAULT_NAMESPACE.into());
        check_namespace(&namespace)?;
        let table = Table::new(&self.table)?;
        if let Some(path) = &self.password_file {
            read_password(path)?;
        }
        let connect_timeout = check_connect_timeout("mysql", self.connect_timeout)?;
        check_files("mysql", self.ssl_files.iter().map(|(option, path)| (*option, &**path)))?;
        let store = self.describe(&table, &namespace);
        let (servers, file) = (self.servers, self.password_file);
        Ok(MySqlBackend::new(servers, connect_timeout, file, table, namespace, store))
    }

    fn describe(&self, table: &Table, namespace: &str) -> String {
        use fmt::Write;
        let mut hosts: Vec<String> = self.servers.iter().map(address).collect();
        // Whichever of them clients try first, the store is the same.
        hosts.sort();
        let mut text = format!("mysql://{}", hosts.join(","));
        let _ = write!(text, "/{}", self.servers[0].get_database().unwrap_or_default());
        if let Some(socket) = self.servers[0].get_socket() {
            let _ = write!(text, "?socket={}", socket.display());
        }
        if !table.is_default() {
            let _ = write!(text, " table {table}");
        }
        in_namespace(text, namespace)
    }
}

/// The brackets of `[::1]` belong to a URL, not to the address; sqlx keeps them.
fn bare(server: MySqlConnectOptions) -> MySqlConnectOptions {
    let host = without_brackets(server.get_host()).to_owned();
    server.host(&host)
}

/// Host and port as in a URL.
pub(crate) fn address(server: &MySqlConnectOptions) -> String {
    host_and_port(server.get_host(), server.get_port(), DEFAULT_PORT)
}

impl fmt::Debug for MySqlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options of sqlx would show the password.
        let hosts: Vec<&str> = self.servers.iter().map(MySqlConnectOptions::get_host).collect();
        f.debug_struct("MySqlOptions")
            .field("hosts", &hosts)
            .field("table", &self.table)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

fn ssl_mode(text: &str) -> Result<MySqlSslMode, String> {
    let mode = text.to_ascii_lowercase().replace('_', "-");
    Ok(match &*mode {
        "disabled" => MySqlSslMode::Disabled,
        "preferred" => MySqlSslMode::Preferred,
        "required" => MySqlSslMode::Required,
        "verify-ca" => MySqlSslMode::VerifyCa,
        "verify-identity" => MySqlSslMode::VerifyIdentity,
        _ => {
            return Err(format!(
                "its ssl-mode is {text:?}: write disabled, preferred, required, verify-ca or \
                 verify-identity"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lock_core::{BackendErrorKind, LockBackend};

    fn described(url: &str) -> String {
        MySqlOptions::from_url(url).unwrap().build().unwrap().describe()
    }

    #[test]
    fn urls_are_understood_and_described_without_secrets() {
        for (url, text) in [
            ("mysql://u:p@h/db", "mysql://h/db"),
            ("mysql://h", "mysql://h/"),
            ("mariadb://u@h:3306/db", "mysql://h/db"),
            ("mysql://u:p%40%2F@h:1,[::1],i:3/db", "mysql://[::1],h:1,i:3/db"),
            ("mysql://u:p@/db?socket=/run/my.sock", "mysql://localhost/db?socket=/run/my.sock"),
            ("mysql://h/db?table=a.b&namespace=n%20n", "mysql://h/db table a.b namespace n n"),
            ("mysql://h/db?namespace=a+b", "mysql://h/db namespace a+b"),
            ("mysql://h/db?connect-timeout=3", "mysql://h/db"),
            ("mysql://h/db?ssl-mode=VERIFY_CA&ssl-ca=Cargo.toml", "mysql://h/db"),
        ] {
            assert_eq!(described(url), text);
        }
        let options = MySqlOptions::from_url("mysql://u:p%40@[::1]:7/db").unwrap();
        assert_eq!(options.servers[0].get_host(), "::1");
        let other = "mysql://[::2]".parse().unwrap();
        let options = MySqlOptions::new("mysql://[::1]".parse().unwrap()).or_server(other);
        assert_eq!(options.servers[0].get_host(), "::1");
        assert_eq!(options.servers[1].get_host(), "::2");
    }

    #[test]
    fn what_is_not_understood_is_refused_without_showing_secrets() {
        for url in [
            "",
            "mysql:h",
            "postgres://u:secret@h/db",
            "mysql://u:secret@h,/db",
            "mysql://u:secret@h:port/db",
            "mysql://u:secret@h/db?password=secret",
            "mysql://u:secret@h/db#secret",
            "mysql://u:secret@h/db?ssl-mode=maybe",
            "mysql://u:secret@h/db?connect-timeout=0",
            "mysql://u:secret@h/db?connect-timeout=5s",
            "mysql://u:secret@h/db?ssl-mode=required&ssl-ca=/x",
            "mysql://u:secret@h/db?ssl-cert=/x",
            "mysql://u:secret@h/db?ssl-ca=/x&ssl-mode=preferred",
            "mysql://u:secret/x@h/db",
            "mysql://u:/secret@h/db",
            "mysql://u:12/secret@h/db",
            "mysql://u:1?secret@h/db",
            "mysql://u:?secret@h/db",
            "mysql://u:1?Xsecret=1",
            "mysql://u:secret@münchen/db",
            "mysql://u:secret@h/db?namespace=a%ffb",
            "mysql://u:secret@h/db?table=a&table=b",
            "mysql://u:secret@a,b/db?socket=/x",
            "mysql://u:secret@h/db?ssl-mode=disabled&ssl-cert=/x&ssl-key=/y",
            "mysql://u:secret@h/db?password-file=/p",
        ] {
            let error = MySqlOptions::from_url(url).expect_err(url);
            assert_eq!(error.kind(), BackendErrorKind::Misconfigured, "{url}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
        for query in [
            "table=a-b",
            "namespace=",
            "namespace=a%0ab",
            "password-file=/none",
            "ssl-ca=/none",
            "ssl-cert=/none&ssl-key=/none",
        ] {
            let options = MySqlOptions::from_url(&format!("mysql://h/db?{query}")).unwrap();
            assert!(!format!("{options:?}").contains("secret"));
            assert!(options.build().is_err(), "{query}");
        }
        let options = MySqlOptions::from_url("mysql://u:secret@h/db").unwrap();
        assert!(!format!("{options:?} {:?}", options.clone().build()).contains("secret"));
    }
}
