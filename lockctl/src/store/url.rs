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
                let mut url = OsString::from("sqlite:");
                url.push(path);
                url
            }
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Store::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
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
/// A password may contain anything, so all up to the last `@` is taken for one, and every query.
pub(crate) fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once(':') else {
        return if url.contains('@') { "***".to_owned() } else { url.to_owned() };
    };
    let is_path = !rest.starts_with("//") || rest.starts_with("///");
    if (scheme == "sqlite" || scheme == "file") && is_path {
        return url.to_owned();
    }
    let (user, host) = match rest.rsplit_once('@') {
        Some((_, host)) => ("//***@", host),
        None => ("", rest),
    };
    let (host, query) = match host.split_once('?') {
        Some((host, _)) => (host, "?***"),
        None => (host, ""),
    };
    format!("{scheme}:{user}{host}{query}")
}

fn sqlite(url: &str, rest: &str, base: Option<&Path>) -> Result<Store, UrlError> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some("") => "",
        Some(_) => return Err(UrlError::Host(without_secrets(url))),
        None => rest,
    };
    let misleading = |why| Err(UrlError::Misleading(url.to_owned(), why));
    match path {
        "" | "/" => return Err(UrlError::NoPath(url.to_owned())),
        ":memory:" => return misleading("nobody else can see a store in memory"),
        _ if path.starts_with('~') => {
            return misleading("~ means nothing here, write the whole path");
        }
        _ if path.contains(['?', '#']) => return misleading("a sqlite: URL has no options"),
        _ => {}
    }
    match base {
        _ if path.starts_with('/') => Ok(Store::Sqlite(path.into())),
        Some(base) => Ok(Store::Sqlite(base.join(path.strip_prefix("./").unwrap_or(path)))),
        None => Err(UrlError::Relative(url.to_owned())),
    }
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
            ("sqlite:../l.db", "/base/../l.db"),
            ("sqlite:/a b/%20@:l.db", "/a b/%20@:l.db"),
        ] {
            assert_eq!(at_work(url), Ok(Store::Sqlite(path.into())), "{url}");
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
