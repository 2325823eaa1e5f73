//! Store URLs: reading them, and showing them without what is secret.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

/// A store that this build can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Store {
    /// An `SQLite` database at an absolute path.
    Sqlite(PathBuf),
}

impl Store {
    /// The URL, byte for byte.
    pub(super) fn url(&self) -> OsString {
        match self {
            Store::Sqlite(path) => {
                let mut url = OsString::from(sqlite_prefix(path));
                url.push(path);
                url
            }
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Store::Sqlite(path) => write!(f, "{}{}", sqlite_prefix(path), path.display()),
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
    #[error("\"{0}\" names no file: write for example sqlite:/var/lib/lockctl/locks.db")]
    NoPath(String),
    /// `sqlite://data`, which some read as a host and some as a path.
    #[error(
        "\"{0}\" names a host: write sqlite:PATH, or three slashes as in sqlite:///var/lib/locks.db"
    )]
    Host(String),
    /// `:memory:`, `~` and options, which would quietly make another store than the one that is meant.
    #[error("\"{0}\" cannot be used: {1}")]
    Misleading(String, &'static str),
    /// A relative path where there is nothing that all would agree on that it is relative to.
    #[error("\"{0}\" is relative: in a configuration file, write the whole path")]
    Relative(String),
}

/// Reads a store URL; a relative path is taken from `base`, and refused where there is none.
pub(crate) fn parse(url: &str, base: Option<&Path>) -> Result<Store, UrlError> {
    let Some((scheme, rest)) = url.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return Err(UrlError::NoScheme(without_secrets(url)));
    };
    match scheme {
        "sqlite" => sqlite(url, rest, base),
        "file" | "mysql" | "redis" => Err(UrlError::NoBackend(scheme.to_owned())),
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
    const QUERY: [char; 2] = ['?', '#'];
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
        None => ("", rest),
    };
    match host.split_once(QUERY) {
        Some((host, _)) => format!("{scheme}:{user}{host}?***"),
        None => format!("{scheme}:{user}{host}"),
    }
}

fn sqlite(url: &str, rest: &str, base: Option<&Path>) -> Result<Store, UrlError> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some("") => "",
        Some(_) => return Err(UrlError::Host(without_secrets(url))),
        None => rest,
    };
    let misleading = |why| Err(UrlError::Misleading(url.to_owned(), why));
    let below = path.strip_prefix("./").unwrap_or(path).trim_start_matches('/');
    match path {
        _ if below.is_empty() => {
            return Err(UrlError::NoPath(url.to_owned()));
        }
        ":memory:" => return misleading("nobody else can see a store in memory"),
        _ if path.starts_with('~') => {
            return misleading("~ means nothing here, write the whole path");
        }
        _ if path.contains(['?', '#']) => return misleading("a sqlite: URL has no options"),
        _ => {}
    }
    match base {
        _ if path.starts_with('/') => Ok(Store::Sqlite(path.into())),
        Some(base) => Ok(Store::Sqlite(base.join(below))),
        None => Err(UrlError::Relative(url.to_owned())),
    }
}

/// What comes before a path: a path of two slashes on its own would be read as a host.
fn sqlite_prefix(path: &Path) -> &'static str {
    if path.as_os_str().as_encoded_bytes().starts_with(b"//") { "sqlite://" } else { "sqlite:" }
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
    fn a_missing_backend_is_named() {
        for scheme in ["mysql", "redis", "file"] {
            let error = at_work(&format!("{scheme}://user:secret@host/db")).unwrap_err();
            assert_eq!(error, UrlError::NoBackend(scheme.into()));
            assert!(
                error.to_string().starts_with(&format!("this build has no backend for {scheme}"))
            );
        }
    }

    #[test]
    fn a_password_never_shows() {
        for url in [
            "mysql://u:secret@h/db",
            "mysql://u:a/secret?b#c@d@h/db",
            "redis://:secret@h",
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
            assert!(has_password(url));
            let error = at_work(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
        assert_eq!(without_secrets("mysql://u:p@h/db?x"), "mysql://***@h/db?***");
        for url in ["mysql://h/db", "sqlite:/a@b", "sqlite:///a@b", "redis://h:6379/0"] {
            assert_eq!(without_secrets(url), url);
        }
    }
}
