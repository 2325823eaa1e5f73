//! Configuration files: what they may say, and reading the system's and the user's.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::duration;

/// What one configuration file says; all of it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// The store's URL.
    pub(crate) store: Option<String>,
    /// The namespace in the store.
    pub(crate) namespace: Option<String>,
    /// The exit status for busy locks.
    pub(crate) busy_status: Option<u8>,
    /// The journal of what happens; `none`: there is none.
    #[serde(default, deserialize_with = "journal_path")]
    pub(crate) journal: Option<PathBuf>,
    /// How long a run that has to end has between TERM and KILL.
    #[serde(default, deserialize_with = "duration_text")]
    pub(crate) kill_grace: Option<Duration>,
    /// How long locks outlive a client that nobody can see.
    #[serde(default, deserialize_with = "lease_text")]
    pub(crate) lease: Option<Lease>,
}

/// How long locks outlive a client that nobody can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    /// So long after its last renewal.
    For(Duration),
    /// For ever: only proof of death or an operator frees them. Written `none`.
    None,
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// It is there and cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what a configuration file may say.
    ///
    /// The text of a TOML error quotes the line, which may hold a password: only its message is kept.
    #[error("configuration file {}{}: {message}", path.display(), line.map_or(String::new(), |n| format!(", line {n}")))]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, where it is known.
        line: Option<usize>,
        /// What is wrong with it.
        message: String,
    },
}

/// Reads a configuration file; one that does not exist says nothing.
pub(crate) fn read(path: &Path) -> Result<Config, ConfigError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if is_absent(&error) => return Ok(Config::default()),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    toml::from_str(&text).map_err(|error| ConfigError::Content {
        path: path.to_owned(),
        line: error.span().map(|span| 1 + text[..span.start].matches('\n').count()),
        message: error.message().trim_end().replace('\n', ", "),
    })
}

impl std::str::FromStr for Lease {
    type Err = duration::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Lease::None) } else { duration::parse(text).map(Lease::For) }
    }
}

/// A home that is no directory (`/dev/null` is common for services) has no file either.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn duration_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration::parse(&text).map(Some).map_err(D::Error::custom)
}

fn journal_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if path.is_absolute() || path == Path::new("none") {
        return Ok(Some(path));
    }
    Err(D::Error::custom("journal is relative: write the whole path, or \"none\""))
}

fn lease_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Lease>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lockctl.toml");
        fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn every_key() {
        let config = of("store = 'sqlite:/l.db'\nnamespace = 'web'\nbusy-status = 9\n\
                         kill-grace = '5s'\nlease = '2m'\njournal = '/j'\n")
        .unwrap();
        assert_eq!(config.store.as_deref(), Some("sqlite:/l.db"));
        assert_eq!(config.namespace.as_deref(), Some("web"));
        assert_eq!(config.busy_status, Some(9));
        assert_eq!(config.journal, Some("/j".into()));
        assert_eq!(config.kill_grace, Some(Duration::from_secs(5)));
        assert_eq!(config.lease, Some(Lease::For(Duration::from_mins(2))));
        assert_eq!(of("lease = 'none'").unwrap().lease, Some(Lease::None));
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_file_and_line() {
        for (text, word) in [
            ("\nstoer = 'x'", "stoer"),
            ("\nkill-grace = 'soon'", "soon"),
            ("\nbusy-status = 256", "256"),
            ("\nlease = 'never'", "never"),
            ("\njournal = 'here'", "whole path"),
        ] {
            let error = of(text).unwrap_err().to_string();
            for part in [word, "lockctl.toml", "line 2"] {
                assert!(error.contains(part), "no {part} in: {error}");
            }
        }
    }

    #[test]
    fn a_broken_line_does_not_show_its_password() {
        let error = of("store = 'mysql://u:secret@h' oops").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }

    #[test]
    fn none_and_unreadable_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&dir.path().join("none.toml")).unwrap().store.is_none());
        assert!(read(Path::new("/dev/null/lockctl.toml")).unwrap().store.is_none());
        assert!(matches!(read(dir.path()), Err(ConfigError::Read { .. })));
    }
}
