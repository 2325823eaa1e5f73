//! A store in an SQLite file of the test's own.

use std::path::Path;

/// A store that nobody else uses.
pub(crate) struct Store {
    url: String,
}

impl Store {
    /// One in this directory; the first `lockctl` makes it.
    pub(crate) fn new(dir: &Path) -> Self {
        Store { url: format!("sqlite:{}", dir.join("locks.db").display()) }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}
