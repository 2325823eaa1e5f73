//! How to find and use a server: options, and the URL that says them in one line.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lock_core::BackendError;
use lock_core::options::{DEFAULT_NAMESPACE, check_namespace, in_namespace};
use lock_core::server::{
    DEFAULT_CONNECT_TIMEOUT, ServerUrls, check_connect_timeout, check_files, check_key_pair,
    without_brackets,
};
use percent_encoding::percent_decode_str;

use crate::backend::RedisBackend;
use crate::servers::{Account, Address, Files, Sentinel, Servers};
use crate::session::Cell;

const DEFAULT_PORT: u16 = 6379;
const DEFAULT_SENTINEL_PORT: u16 = 26379;

/// How to make a [`RedisBackend`].
///
/// ```
/// use lock_core::LockBackend;
/// use lock_redis::RedisOptions;
///
/// let url = "rediss://shop:secret@s1,s2,s3/2?sentinel=main&replicas=1";
/// let backend = RedisOptions::from_url(url)?.namespace("billing").build()?;
/// assert_eq!(backend.describe(), "rediss://s1,s2,s3/2?sentinel=main namespace billing");
/// # Ok::<(), lock_core::BackendError>(())
/// ```
#[derive(Clone)]
pub struct RedisOptions {
    servers: Servers,
    namespace: Option<String>,
    replicas: u32,
}

impl RedisOptions {
    /// Reads `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://…` for TLS.
    ///
    /// `valkey` and `valkeys` are the same as `redis` and `rediss`. Without a user it is `default`; a user without
    /// a password is one who needs none. Without a number of a database it is 0. Several hosts, separated by
    /// commas, are nodes of one cluster, or sentinels; of other servers that which is the primary is used. Options
    /// after `?`:
    ///
    /// * `namespace`
    /// * `password-file`, which keeps the password out of the URL (see
    ///   [`password_file`](Self::password_file))
    /// * `socket`: the path of a Unix socket
    /// * `connect-timeout`, in seconds; see [`connect_timeout`](Self::connect_timeout)
    /// * `ssl-ca`, `ssl-cert` and `ssl-key`: paths of PEM files, read whenever it connects. Without
    ///   `ssl-ca` the system's CAs are trusted.
    /// * `replicas`: see [`replicas`](Self::replicas)
    /// * `sentinel`: the hosts are sentinels, which know the primary by this name.
    ///   `sentinel-user` and `sentinel-password-file` are for sentinels that let nobody in without;
    ///   the file is read as the other is.
    ///
    /// # Errors
    ///
    /// [`BackendErrorKind::Misconfigured`](lock_core::BackendErrorKind::Misconfigured): the URL is bad. The message does not show it.
    pub fn from_url(url: &str) -> Result<Self, BackendError> {
        let urls = ServerUrls::parse(&["redis", "rediss", "valkey", "valkeys"], url)?;
        let bad = |what: &str| urls.bad(what);
        let is_tls = urls.scheme.ends_with("ss") || urls.scheme == "valkeys";
        let first = &urls.each[0];
        let decoded = |text| {
            let text = percent_decode_str(text).decode_utf8().map(Cow::into_owned);
            text.map_err(|_| bad("user or password are not UTF-8"))
        };
        let database = match first.path().trim_matches('/') {
            "" => 0,
            number => number
                .parse()
                .map_err(|_| bad("what follows its hosts is no number of a database"))?,
        };
        let mut options = Self {
            servers: Servers {
                addresses: Vec::new(),
                socket: None,
                tls: is_tls.then(Files::default),
                account: Account {
                    user: Some(decoded(first.username())?).filter(|user| !user.is_empty()),
                    password: first.password().map(decoded).transpose()?,
                    password_file: None,
                },
                database,
                sentinel: None,
                connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            },
            namespace: None,
            replicas: 0,
        };
        let servers = &mut options.servers;
        let mut sentinel_account = Account::default();
        for (key, value) in &urls.options {
            match &**key {
                "namespace" => options.namespace = Some(value.clone()),
                "password-file" => servers.account.password_file = Some(value.into()),
                "socket" => servers.socket = Some(value.into()),
                "connect-timeout" => servers.connect_timeout = urls.connect_timeout(value)?,
                "replicas" => {
                    options.replicas = value
                        .parse()
                        .map_err(|_| bad(&format!("its replicas is {value:?}, and no number")))?;
                }
                "sentinel" if value.is_empty() => return Err(bad("its sentinel names no primary")),
                "sentinel" => {
                    let (name, account) = (value.clone(), Account::default());
                    servers.sentinel = Some(Sentinel { name, account });
                }
                "sentinel-user" => sentinel_account.user = Some(value.clone()),
                "sentinel-password-file" => sentinel_account.password_file = Some(value.into()),
                "ssl-ca" | "ssl-cert" | "ssl-key" => {
                    let Some(files) = &mut servers.tls else {
                        return Err(bad(&format!("it has {key} but no TLS: write rediss://")));
                    };
                    *files.slot(key) = Some(value.into());
                }
                _ => return Err(urls.unknown(key)),
            }
        }
        match &mut servers.sentinel {
            Some(sentinel) => sentinel.account = sentinel_account,
            None if sentinel_account.user.is_some() || sentinel_account.password_file.is_some() => {
                return Err(bad("it has options of sentinels and no sentinel=NAME"));
            }
            None => {}
        }
        let is_sentinel = servers.sentinel.is_some();
        let usual = if is_sentinel { DEFAULT_SENTINEL_PORT } else { DEFAULT_PORT };
        servers.addresses.extend(urls.each.iter().map(|url| Address {
            host: without_brackets(url.host_str().unwrap_or_default()).into(),
            port: url.port().unwrap_or(usual),
        }));
        options.check().map_err(bad)?;
        Ok(options)
    }

    /// What must not go together.
    fn check(&self) -> Result<(), &'static str> {
        let servers = &self.servers;
        if let Some(files) = &servers.tls {
            check_key_pair(files.cert.is_some(), files.key.is_some())?;
        }
        let is_alone = servers.sentinel.is_none() && servers.tls.is_none();
        if servers.socket.is_some() && (servers.addresses.len() > 1 || !is_alone) {
            return Err("a socket is one server, without TLS and sentinels");
        }
        Ok(())
    }

    /// Which cell of the database to use: 1 to 255 bytes without control characters, compared byte
    /// for byte.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// The namespace that was chosen so far, by the URL or by [`namespace`](Self::namespace).
    pub fn chosen_namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Who is to log in, as it is, without what a URL has to encode; `default` if nobody is named. Without a
    /// password it has to be a user who needs none (`nopass`).
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.servers.account.user = Some(user.into()).filter(|user| !user.is_empty());
        self
    }

    /// The password, as it is, without what a URL has to encode; an empty one is none.
    ///
    /// It is kept for new connections, and no text of this crate shows it.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.servers.account.password =
            Some(password.into()).filter(|password| !password.is_empty());
        self
    }

    /// A file whose first line is the password; what it says counts more than another that was given.
    ///
    /// It is read whenever a connection is made, so that a new password needs no restart, and refused
    /// if others than its owner and group can read or write it.
    #[must_use]
    pub fn password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.servers.account.password_file = Some(path.into());
        self
    }

    /// How long connecting may take, all servers and their addresses together, from looking up the
    /// names to a connection on which something was answered; 10 s if it is not said, and never more
    /// than 60 s.
    ///
    /// Of several servers each may take its share of what is left. While a client connects it can
    /// renew no lease, so keep this well below the length of the leases.
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.servers.connect_timeout = time;
        self
    }

    /// How many replicas have to have received a change before it is believed: 0 if it is not said.
    ///
    /// Nothing is granted, and no lease renewed, while there are fewer. See
    /// [Failover](crate#failover).
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// Makes the backend; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`BackendErrorKind::Misconfigured`](lock_core::BackendErrorKind::Misconfigured): the namespace, the time for
    /// connecting, a password file or a file of a certificate is bad.
    pub fn build(mut self) -> Result<RedisBackend, BackendError> {
        let namespace = self.namespace.take().unwrap_or_else(|| DEFAULT_NAMESPACE.into());
        check_namespace(&namespace)?;
        self.servers.account.current()?;
        if let Some(sentinel) = &self.servers.sentinel {
            sentinel.account.current()?;
        }
        let connect_timeout = check_connect_timeout("redis", self.servers.connect_timeout)?;
        self.servers.connect_timeout = connect_timeout;
        check_files("redis", self.servers.tls.iter().flat_map(Files::named))?;
        let store = self.describe(&namespace);
        let rights = rights(&self.servers, self.replicas);
        // The part in braces decides which node of a cluster has the key.
        let key = format!("interlock:{{{namespace}}}");
        // Databases have keys of their own, but share their channels.
        let channel = format!("{key}:{}", self.servers.database);
        let cell = Cell { key, channel };
        Ok(RedisBackend::new(self.servers, cell, store, rights, self.replicas))
    }

    fn describe(&self, namespace: &str) -> String {
        use fmt::Write;
        let servers = &self.servers;
        let (port, sentinel) = match &servers.sentinel {
            Some(sentinel) => (DEFAULT_SENTINEL_PORT, format!("?sentinel={}", sentinel.name)),
            None => (DEFAULT_PORT, String::new()),
        };
        let mut hosts: Vec<String> =
            servers.addresses.iter().map(|address| address.in_url(port)).collect();
        // Whichever of them clients try first, the store is the same.
        hosts.sort();
        let scheme = if servers.tls.is_some() { "rediss" } else { "redis" };
        let mut text = format!("{scheme}://{}/{}{sentinel}", hosts.join(","), servers.database);
        if let Some(socket) = &servers.socket {
            let _ = write!(text, "?socket={}", socket.display());
        }
        in_namespace(text, namespace)
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("servers", &self.servers)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// What an administrator types to let a user use the store.
fn rights(servers: &Servers, replicas: u32) -> String {
    let mut rights = String::from(
        "on ~interlock:* &interlock:* +evalsha +script|load +hget +hgetall +hset +hstrlen +exists \
         +publish +subscribe +ping +info",
    );
    if servers.database != 0 {
        rights += " +select";
    }
    if replicas > 0 {
        rights += " +wait";
    }
    rights
}

#[cfg(test)]
mod tests {
    use super::*;
    use lock_core::{BackendErrorKind, LockBackend};

    fn described(url: &str) -> String {
        RedisOptions::from_url(url).unwrap().build().unwrap().describe()
    }

    #[test]
    fn urls_are_understood_and_described_without_secrets() {
        for (url, text) in [
            ("redis://u:p@h/3", "redis://h/3"),
            ("redis://h", "redis://h/0"),
            ("valkey://:p@h:6379/", "redis://h/0"),
            ("valkeys://h", "rediss://h/0"),
            ("redis://u:p%40%2F@h:1,[::1],i:3/1", "redis://[::1],h:1,i:3/1"),
            ("redis://u@/0?socket=/run/r.sock", "redis://localhost/0?socket=/run/r.sock"),
            ("redis://h/?namespace=n%20n", "redis://h/0 namespace n n"),
            ("redis://b,a:26379/1?sentinel=m", "redis://a,b/1?sentinel=m"),
            ("rediss://h?ssl-ca=Cargo.toml&replicas=2", "rediss://h/0"),
        ] {
            assert_eq!(described(url), text);
        }
        let options = RedisOptions::from_url("redis://u%41:p%40%2f:x@[::1]:7").unwrap();
        assert_eq!(options.servers.addresses[0], Address { host: "::1".into(), port: 7 });
        assert_eq!(options.servers.account.user.as_deref(), Some("uA"));
        assert_eq!(options.servers.account.password.as_deref(), Some("p@/:x"));
        let account = options.user("a@b").password("%41:").servers.account;
        assert_eq!(
            (account.user.as_deref(), account.password.as_deref()),
            (Some("a@b"), Some("%41:"))
        );
        let none = RedisOptions::from_url("redis://h").unwrap().user("").password("");
        assert_eq!((none.servers.account.user, none.servers.account.password), (None, None));
        let shown =
            format!("{:?}", RedisOptions::from_url("redis://h").unwrap().password("hidden"));
        assert!(!shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn what_is_not_understood_is_refused_without_showing_secrets() {
        for url in [
            "",
            "redis:h",
            "mysql://u:secret@h/db",
            "redis://u:/secret@h/0",
            "redis://u:12/secret@h/0",
            "redis://u:1?secret@h/0",
            "redis://u:1?Xsecret=1",
            "redis://u:secret@h/0?connect-timeout=0",
            "redis://u:secret@h/0?namespace=a&namespace=b",
            "redis://u:secret@h,/1",
            "redis://u:secret@h:port/1",
            "redis://u:secret@h/one",
            "redis://u:secret@h/1/2",
            "redis://u:secret@h/-1",
            "redis://u:secret@h/?password=secret",
            "redis://u:secret@h/#secret",
            "redis://u:secret@h/?ssl-ca=/x",
            "rediss://u:secret@h/?ssl-cert=/x",
            "rediss://u:secret@h/?socket=/x",
            "redis://u:secret@h,i/?socket=/x",
            "redis://u:secret@h/?replicas=some",
            "redis://u:secret@h/?sentinel=",
            "redis://u:secret@h/?sentinel-user=x",
            "redis://u:secret/x@h/0",
            "redis://u:secret@h/?password-file=/p",
        ] {
            let error = RedisOptions::from_url(url).expect_err(url);
            assert_eq!(error.kind(), BackendErrorKind::Misconfigured, "{url}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
        for url in
            ["redis://h?namespace=", "redis://h?password-file=/none", "rediss://h?ssl-ca=/none"]
        {
            let error = RedisOptions::from_url(url).unwrap().build().expect_err(url);
            assert_eq!(error.kind(), BackendErrorKind::Misconfigured, "{url}");
        }
    }

    #[test]
    fn nothing_shows_the_password() {
        let options = RedisOptions::from_url("redis://u:secret@h").unwrap();
        let backend = options.clone().build().unwrap();
        assert!(!format!("{options:?} {backend:?}").contains("secret"));
    }
}
