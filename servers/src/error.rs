//! Why there is no server.

use std::{fmt, io, path::PathBuf};

use crate::fetch;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine has none, and none can be got.
    #[error(
        "there is no {kind} here: install {hint} so that it is on PATH, or set {variable} to the URL of \
         one{}",
        why.as_ref().map(|why| format!(" (fetching failed: {why})")).unwrap_or_default()
    )]
    Unavailable {
        /// What kind of server.
        kind: String,
        /// The variable with the URL of one that is there already.
        variable: &'static str,
        /// What to install.
        hint: &'static str,
        /// Why it could not be fetched, where that was tried.
        why: Option<String>,
    },
    /// A program of it failed.
    #[error("{program} failed: {said}")]
    Program {
        /// Which one.
        program: String,
        /// The end of what it said.
        said: String,
    },
    /// The system refused something.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was done.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Whether everything that tests need has to be there: `CI` is `true`.
pub fn is_ci() -> bool {
    std::env::var("CI").as_deref() == Ok("true")
}

impl Error {
    /// Whether tests that need the server may be skipped for it: it is not there, and not everything has
    /// to be.
    pub fn may_be_skipped(&self) -> bool {
        matches!(self, Self::Unavailable { .. }) && !is_ci()
    }

    pub(crate) fn unavailable(
        kind: impl fmt::Display,
        variable: &'static str,
        wanted: fetch::Wanted,
        why: Option<String>,
    ) -> Self {
        Self::Unavailable { kind: kind.to_string(), variable, hint: wanted.packages[0], why }
    }

    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
