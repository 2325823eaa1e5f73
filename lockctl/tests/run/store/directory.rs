//! A store in plain files, in a directory of the test's own.

use std::path::Path;

/// A store that nobody else uses.
pub(crate) struct Store {
    url: String,
}

impl Store {
    /// One below this directory; the first `lockctl` makes it.
    pub(crate) fn new(dir: &Path) -> Self {
        let path = dir.join("locks");
        Store { url: format!("file:{}?strategy={}", path.display(), crate::STRATEGY) }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}
