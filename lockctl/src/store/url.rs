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
    #[error("this build has no backend for {0}: use sqlite:PATH")]
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
    let misleading = |why| Err(UrlError::Misleading(url.to_owned(), why));
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
        return Err(UrlError::NoPath(url.to_owned(), example));
    }
    if path.starts_with('~') {
        let why = "~ means nothing here, write the whole path";
        return Err(UrlError::Misleading(url.to_owned(), why));
    }
    match base {
        _ if path.starts_with('/') => Ok(path.into()),
        Some(base) => Ok(base.join(below)),
        None => Err(UrlError::Relative(url.to_owned())),
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
mod tests {
    use super::*;

    fn at_work(url: &str) -> Result<Store, UrlError> {
        parse(url, Some(Path::new("/base")))
    }

    #[test]
    fn every_way_to_write_a_path() {
        for (url, path) in [
            ("sqlite:/var/l.db", "/var/l.db"),
            ("sqlite:///var/l.db", "/var/l.db"),
            ("sqlite:l.db", "/base/l.db"),
            ("sqlite:./l.db", "/base/l.db"),
            ("sqlite:.//l.db", "/base/l.db"),
            ("sqlite:./~l.db", "/base/~l.db"),
            ("sqlite:../l.db", "/base/../l.db"),
            ("sqlite:/a b/%20@:l.db", "/a b/%20@:l.db"),
        ] {
            assert_eq!(at_work(url), Ok(Store::Sqlite(path.into())), "{url}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for url in ["sqlite:/l.db", "sqlite:////l.db", "sqlite://///l.db", "sqlite:l.db"] {
            let store = at_work(url).unwrap();
            assert_eq!(parse(store.url().to_str().unwrap(), None).as_ref(), Ok(&store), "{url}");
            assert_eq!(*store.url(), *store.to_string());
        }
    }

    #[test]
    fn what_may_mean_another_store_is_refused() {
        for url in [
            "",
            "locks.db",
            "/var/l.db",
            "C:\\l.db",
            "sqlite:",
            "sqlite://",
            "sqlite:/",
            "sqlite:./",
            "sqlite:////",
            "sqlite://l.db",
            "sqlite://host/l.db",
            "sqlite::memory:",
            "sqlite:~/l.db",
            "sqlite:/l.db?mode=ro",
            "postgres://h",
            "SQLITE:/l.db",
        ] {
            assert!(at_work(url).is_err(), "{url} was taken");
        }
        assert!(matches!(parse("sqlite:l.db", None), Err(UrlError::Relative(_))));
    }

    #[test]
    fn a_directory_and_its_strategy() {
        let (flock, excl) = (Some("flock"), Some("excl"));
        for (url, path, strategy) in [
            ("file:/var/locks", "/var/locks", None),
            ("file:///var/locks?strategy=flock", "/var/locks", flock),
            ("file:locks?strategy=excl", "/base/locks", excl),
            ("file:////locks?strategy=excl", "//locks", excl),
        ] {
            let store = at_work(url).unwrap();
            assert_eq!(store, Store::File(path.into(), strategy), "{url}");
            assert_eq!(parse(store.url().to_str().unwrap(), None).as_ref(), Ok(&store), "{url}");
            assert_eq!(*store.url(), *store.to_string());
        }
        assert!(matches!(parse("file:locks", None), Err(UrlError::Relative(_))));
        for url in [
            "file:",
            "file:///",
            "file://host/locks",
            "file:~/locks",
            "file:/locks?",
            "file:/locks#a",
            "file:/locks?strategy=",
            "file:/locks?strategy=link",
            "file:/locks?strategy=excl&mode=1",
            "file:?strategy=excl",
        ] {
            assert!(at_work(url).is_err(), "{url} was taken");
        }
    }

    #[test]
    fn a_password_never_shows() {
        for url in [
            "mysql://u:secret@h/db",
            "mysql://u:secret@h:1,[::1]:2/db?table=x",
            "mysql://u:secret",
            "mysql://h,u:secret",
            "mysql://u:secret]",
            "mysql://h/u:secret",
            "mysql://h/db?table=x?password=secret",
            "mysql://h/db?table=x&password=secret",
            "mysql://u:a/secret?b#c@d@h/db",
            "redis://:secret@h",
            "rediss://u:secret@h,[::1]:7/2?sentinel=m&password-file=p",
            "valkey://h:secret",
            "valkeys://h/0?password=secret",
            "mysql:u:secret@h",
            "u:secret@h",
            "u secret@h",
            "://u:secret@h",
            "mysql://h/db?password=secret",
            "mysql://h/db?password=a@secret",
            "mysql://u@h/db#password=secret",
            "h/db?password=secret",
            "postgres://u:secret@h?x=secret",
            "sqlite://u:secret@h/l.db",
        ] {
            assert!(!without_secrets(url).contains("secret"), "{}", without_secrets(url));
            assert!(has_password(url), "{url}");
            let said = match at_work(url) {
                Ok(store) => format!("{store} {store:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!said.contains("secret"), "{said}");
        }
        assert_eq!(without_secrets("mysql://u:p@h/db?table=x"), "mysql://u:***@h/db?table=x");
        assert_eq!(without_secrets("mysql://u:p@h/db?x"), "mysql://***@h/db?***");
        assert_eq!(without_secrets("redis://:p@h/0?replicas=1"), "redis://:***@h/0?replicas=1");
        for url in [
            "mysql://h/db",
            "mariadb://u@h:3306,[::1],[::2]:7/db?table=a.b&password-file=/p:w&ssl-mode=required",
            "mysql://u@/db?socket=/run/my.sock",
            "sqlite:/a@b",
            "sqlite:///a@b",
            "redis://h:6379/0",
            "rediss://u@a,b:1/2?sentinel=m&sentinel-user=s&sentinel-password-file=/p&replicas=1",
        ] {
            assert_eq!(without_secrets(url), url);
        }
    }

    #[test]
    fn a_server_is_kept_as_it_is_written_but_for_relative_paths() {
        for (url, whole) in [
            ("mysql://h", "mysql://h"),
            ("mariadb://u:p%40@h,i:7/db?table=t", "mariadb://u:p%40@h,i:7/db?table=t"),
            ("mysql://u@h/db?password-file=/p&x=y", "mysql://u@h/db?password-file=/p&x=y"),
            ("mysql://h/db?socket=%2Fs", "mysql://h/db?socket=%2Fs"),
            ("mysql://h/d?table=t&ssl-ca=a/b", "mysql://h/d?table=t&ssl-ca=/the%20base/a/b"),
        ] {
            let Ok(Store::Mysql(server)) = parse(url, Some(Path::new("/the base"))) else {
                panic!("{url} is not taken");
            };
            assert_eq!(server.with_secrets(), whole);
            assert_eq!(parse(whole, None), Ok(Store::Mysql(server)));
        }
        let url = "redis://:p@h?password-file=p&sentinel-password-file=q&sentinel=m";
        let Ok(Store::Redis(server)) = at_work(url) else { panic!("{url} is not taken") };
        let whole = "redis://:p@h?password-file=/base/p&sentinel-password-file=/base/q&sentinel=m";
        assert_eq!(server.with_secrets(), whole);
        assert!(matches!(parse("mysql://h?socket=s", None), Err(UrlError::Relative(_))));
        for url in ["mysql:", "mysql:/h/db", "mysql:h/db"] {
            assert!(matches!(at_work(url), Err(UrlError::NoServer(_))), "{url}");
        }
    }

    #[test]
    fn what_is_shown_instead_of_a_password_is_none() {
        for url in ["mysql://u:p@h/db?table=t", "mysql://u:p@q@h/db?table=t", "mysql://u:p:q@h"] {
            let shown = at_work(url).unwrap().to_string();
            assert!(matches!(at_work(&shown), Err(UrlError::Withheld(_))), "{shown}");
        }
    }
}
