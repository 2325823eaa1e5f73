//! Store URLs: reading them, and showing them without what is secret.

use std::{
    ffi::OsString,
    fmt::{self, Write as _},
    path::{Path, PathBuf},
};

/// A store that lockctl knows how to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Store {
    /// An `SQLite` database at an absolute path.
    Sqlite(PathBuf),
    /// Plain files in the directory at an absolute path, made for this strategy, if one is named.
    File(PathBuf, Option<&'static str>),
    /// A table of `MySQL` or `MariaDB`.
    Mysql(ServerUrl),
    /// A key of Redis or Valkey.
    Redis(ServerUrl),
}

/// The URL of a server, which may have a password in it; its `Display` and `Debug` have not.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl(String);

impl ServerUrl {
    /// All of it, for the one who connects.
    pub(crate) fn with_secrets(&self) -> &str {
        &self.0
    }

    /// Whether a password is in it.
    pub(crate) fn has_password(&self) -> bool {
        has_password(&self.0)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(&self.0))
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Store {
    /// The URL of its server, if it has one.
    pub(super) fn server(&self) -> Option<&ServerUrl> {
        match self {
            Store::Sqlite(_) | Store::File(..) => None,
            Store::Mysql(url) | Store::Redis(url) => Some(url),
        }
    }

    /// What kind it is, if this build has no backend for it.
    pub(super) fn lacks_backend(&self) -> Option<&'static str> {
        match self {
            Store::Mysql(_) if !cfg!(feature = "mysql") => Some("mysql"),
            Store::Redis(_) if !cfg!(feature = "redis") => Some("redis"),
            _ => None,
        }
    }

    /// The URL, byte for byte, with all that is secret.
    pub(super) fn url(&self) -> OsString {
        match self {
            Store::Sqlite(path) => {
                let mut url = OsString::from(prefix("sqlite", path));
                url.push(path);
                url
            }
            Store::File(path, strategy) => {
                let mut url = OsString::from(prefix("file", path));
                url.push(path);
                url.push(strategy_option(*strategy));
                url
            }
            Store::Mysql(url) | Store::Redis(url) => url.with_secrets().into(),
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Store::Sqlite(path) => write!(f, "{}{}", prefix("sqlite", path), path.display()),
            Store::File(path, strategy) => {
                write!(f, "{}{}", prefix("file", path), path.display())?;
                f.write_str(&strategy_option(*strategy))
            }
            Store::Mysql(url) | Store::Redis(url) => url.fmt(f),
        }
    }
}

/// What is wrong with a store URL; it shows no password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum UrlError {
    /// There is no scheme.
    #[error("\"{0}\" is no store URL: write for example sqlite:/var/lib/lockctl/locks.db")]
    NoScheme(String),
    /// The scheme is not one of lockctl's.
    #[error("there is no store of the kind \"{0}\": lockctl knows sqlite, file, mysql and redis")]
    UnknownScheme(String),
    /// The scheme is known, but its backend was not built in.
    #[error("this build has no backend for {0}: build lockctl with all its features")]
    NoBackend(String),
    /// A path is missing.
    #[error("\"{0}\" names no file: write for example {1}")]
    NoPath(String, &'static str),
    /// `sqlite://data`, which some read as a host and some as a path.
    #[error("\"{0}\" names a host: write one slash, or three of them, as in {1}")]
    Host(String, &'static str),
    /// `:memory:`, `~` and options, which would quietly make another store than the one that is meant.
    #[error("\"{0}\" cannot be used: {1}")]
    Misleading(String, &'static str),
    /// A relative path where there is nothing that all would agree on that it is relative to.
    #[error("\"{0}\" is relative: in a configuration file, write the whole path")]
    Relative(String),
    /// `mysql:` without a host.
    #[error(
        "\"{0}\" names no server: write for example mysql://USER@HOST/DATABASE or redis://HOST"
    )]
    NoServer(String),
    /// What a command learns of a store whose URL has a password.
    #[error(
        "the password of {0} was kept from this command, which runs under lockctl: so that both use \
         one store, put the password into a file and password-file=PATH into the URL, or the URL \
         into a configuration file"
    )]
    Withheld(String),
}

/// Reads a store URL; a relative path is taken from `base`, and refused where there is none.
pub(crate) fn parse(url: &str, base: Option<&Path>) -> Result<Store, UrlError> {
    let Some((scheme, rest)) = url.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return Err(UrlError::NoScheme(without_secrets(url)));
    };
    match scheme {
        "sqlite" => sqlite(url, rest, base),
        "file" => file(url, rest, base),
        _ if MYSQL.contains(&scheme) => server(url, rest, base).map(Store::Mysql),
        _ if REDIS.contains(&scheme) => server(url, rest, base).map(Store::Redis),
        _ => Err(UrlError::UnknownScheme(scheme.to_owned())),
    }
}

/// Whether a URL carries a password, which must reach neither `ps` nor CMD's environment.
pub(crate) fn has_password(url: &str) -> bool {
    without_secrets(url) != url
}

/// Where it is not certain what in the URL of a server is a password: all the options that it may have.
pub(crate) fn doubt(url: &str) -> Option<String> {
    let is_servers = url.split_once(':').is_some_and(|(scheme, _)| is_server(scheme));
    let is_in_doubt = is_servers && Plain::of(url).is_none();
    is_in_doubt.then(|| OPTIONS.into_iter().chain(PATHS).collect::<Vec<_>>().join(", "))
}

/// The URL as it may be shown: whatever may hold a password is replaced by `***`.
///
/// A password may contain anything, so all up to the last `@` is taken for one, and every query. Where
/// a query may have begun before that `@`, what follows may be the rest of its password.
pub(crate) fn without_secrets(url: &str) -> String {
    if let Some(Plain { scheme, user, password, rest }) = Plain::of(url) {
        return match (user, password) {
            (_, None) => url.to_owned(),
            (user, Some(_)) => format!("{scheme}://{user}:{WITHHELD}@{rest}"),
        };
    }
    let Some((scheme, rest)) = url.split_once(':') else {
        return if url.contains('@') || url.contains(QUERY) { "***".into() } else { url.into() };
    };
    let is_path = !rest.starts_with("//") || rest.starts_with("///");
    if (scheme == "sqlite" || scheme == "file") && is_path {
        return url.to_owned();
    }
    let (user, host) = match rest.rsplit_once('@') {
        Some((before, _)) if before.contains(QUERY) => return format!("{scheme}://***"),
        Some((_, host)) => ("//***@", host),
        // A host with a port that is none may be a user with a password.
        None if is_server(scheme) => return format!("{scheme}:{WITHHELD}"),
        None => ("", rest),
    };
    match host.split_once(QUERY) {
        Some((host, _)) => format!("{scheme}:{user}{host}?***"),
        None => format!("{scheme}:{user}{host}"),
    }
}

/// What begins a query.
const QUERY: [char; 2] = ['?', '#'];
/// What stands for a password that is not shown.
const WITHHELD: &str = "***";

/// The schemes of servers.
const MYSQL: [&str; 2] = ["mysql", "mariadb"];
const REDIS: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];

fn is_server(scheme: &str) -> bool {
    MYSQL.contains(&scheme) || REDIS.contains(&scheme)
}

/// Options of a server's URL; none of them is a secret.
const OPTIONS: [&str; 8] = [
    "table",
    "namespace",
    "connect-timeout",
    "ssl-mode",
    "sslmode",
    "replicas",
    "sentinel",
    "sentinel-user",
];
/// Those that are paths.
const PATHS: [&str; 9] = [
    "password-file",
    "sentinel-password-file",
    "socket",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "sslca",
    "sslcert",
    "sslkey",
];

/// The URL of a server in which it is beyond doubt what is a password and what is not.
struct Plain<'u> {
    scheme: &'u str,
    user: &'u str,
    password: Option<&'u str>,
    /// All after the user.
    rest: &'u str,
}

impl<'u> Plain<'u> {
    fn of(url: &'u str) -> Option<Self> {
        let (scheme, all) = url.split_once("://")?;
        let (user, rest) = all.rsplit_once('@').map_or((None, all), |(u, rest)| (Some(u), rest));
        let (address, query) = rest.split_once('?').map_or((rest, None), |(a, q)| (a, Some(q)));
        let (hosts, database) = address.split_once('/').unwrap_or((address, ""));
        let (name, password) = match user.unwrap_or_default().split_once(':') {
            Some((name, password)) => (name, Some(password).filter(|text| !text.is_empty())),
            None => (user.unwrap_or_default(), None),
        };
        let known = |key: &str| OPTIONS.contains(&key) || PATHS.contains(&key);
        let is_option = |option: &str| {
            option.split_once('=').is_some_and(|(key, value)| known(key) && !value.contains('?'))
        };
        let is_plain = is_server(scheme)
            && !user.unwrap_or_default().contains(['/', '?', '#', '@'])
            && !rest.contains('#')
            && hosts.split(',').all(is_host)
            && !database.contains([':', '/'])
            && query.is_none_or(|query| query.split('&').all(is_option));
        is_plain.then_some(Self { scheme, user: name, password, rest })
    }
}

/// Whether it is a host and maybe a port, and not a user and the beginning of a password.
fn is_host(text: &str) -> bool {
    let name_end = text.rfind(']').map_or(0, |at| at + 1);
    let is_in_brackets = name_end == 0 || text.starts_with('[');
    match text[name_end..].split_once(':') {
        Some((_, port)) => is_in_brackets && port.bytes().all(|byte| byte.is_ascii_digit()),
        None => is_in_brackets,
    }
}

fn server(url: &str, rest: &str, base: Option<&Path>) -> Result<ServerUrl, UrlError> {
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(UrlError::NoServer(without_secrets(url)));
    };
    let user = rest.rsplit_once('@').map_or("", |(user, _)| user);
    if user == WITHHELD || user.split_once(':').is_some_and(|(_, word)| word == WITHHELD) {
        return Err(UrlError::Withheld(without_secrets(url)));
    }
    let Some((address, query)) = url.split_once('?') else {
        return Ok(ServerUrl(url.to_owned()));
    };
    let mut whole = format!("{address}?");
    for (index, option) in query.split('&').enumerate() {
        whole.push_str(if index > 0 { "&" } else { "" });
        match option.split_once('=') {
            Some((key, path)) if PATHS.contains(&key) && is_relative(path) => {
                let base = base.ok_or_else(|| UrlError::Relative(without_secrets(url)))?;
                let _ = write!(whole, "{key}={}/{path}", encoded(base));
            }
            _ => whole.push_str(option),
        }
    }
    Ok(ServerUrl(whole))
}

fn is_relative(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('/') && !path.to_ascii_lowercase().starts_with("%2f")
}

/// A path as a URL has it.
fn encoded(path: &Path) -> String {
    let mut text = String::new();
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                text.push(byte.into());
            }
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

fn sqlite(url: &str, rest: &str, base: Option<&Path>) -> Result<Store, UrlError> {
    const EXAMPLE: &str = "sqlite:/var/lib/lockctl/locks.db";
    let misleading = |why| Err(UrlError::Misleading(without_secrets(url), why));
    match rest {
        ":memory:" => return misleading("nobody else can see a store in memory"),
        _ if rest.contains(QUERY) => return misleading("a sqlite: URL has no options"),
        _ => {}
    }
    path(url, rest, base, EXAMPLE).map(Store::Sqlite)
}

fn file(url: &str, rest: &str, base: Option<&Path>) -> Result<Store, UrlError> {
    const EXAMPLE: &str = "file:/var/lib/lockctl/locks";
    let misleading = |why| Err(UrlError::Misleading(without_secrets(url), why));
    let (directory, strategy) = match rest.split_once(QUERY) {
        None => (rest, None),
        Some((directory, "strategy=flock")) => (directory, Some("flock")),
        Some((directory, "strategy=excl")) => (directory, Some("excl")),
        Some(_) => {
            return misleading("a file: URL has one option, strategy=flock or strategy=excl");
        }
    };
    path(url, directory, base, EXAMPLE).map(|path| Store::File(path, strategy))
}

/// The whole path of a URL whose part after the scheme and before the options this is.
fn path(
    url: &str,
    rest: &str,
    base: Option<&Path>,
    example: &'static str,
) -> Result<PathBuf, UrlError> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some("") => "",
        Some(_) => return Err(UrlError::Host(without_secrets(url), example)),
        None => rest,
    };
    let below = path.strip_prefix("./").unwrap_or(path).trim_start_matches('/');
    if below.is_empty() {
        return Err(UrlError::NoPath(without_secrets(url), example));
    }
    if path.starts_with('~') {
        let why = "~ means nothing here, write the whole path";
        return Err(UrlError::Misleading(without_secrets(url), why));
    }
    match base {
        _ if path.starts_with('/') => Ok(path.into()),
        Some(base) => Ok(base.join(below)),
        None => Err(UrlError::Relative(without_secrets(url))),
    }
}

/// What comes before a path: a path of two slashes on its own would be read as a host.
fn prefix(scheme: &str, path: &Path) -> String {
    let is_host = path.as_os_str().as_encoded_bytes().starts_with(b"//");
    format!("{scheme}:{}", if is_host { "//" } else { "" })
}

fn strategy_option(strategy: Option<&str>) -> String {
    strategy.map(|strategy| format!("?strategy={strategy}")).unwrap_or_default()
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

#[cfg(test)]
mod tests;
