//! The backend: a directory as the versioned cell, by one strategy or the other.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use lock_core::files::{Audience, misconfigured};
use lock_core::options::{DEFAULT_NAMESPACE, in_namespace};
use lock_core::{BackendError, BackendErrorKind, LockBackend, Reach, Snapshot, Swap, Version};
use serde::{Deserialize, Serialize};

use crate::excl::Chain;
use crate::flock;
use crate::folder::Folder;
use crate::place::Place;

/// How often in a row a directory may turn out to be another one.
const REPLACED_MAX: usize = 5;

/// How a swap is made atomic.
///
/// A store is made for one of them; whoever opens it with the other is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Strategy {
    /// One file, replaced under the kernel's lock: for local disks.
    #[default]
    Flock,
    /// A chain of files, each created exclusively: for file systems without a lock that works, too.
    Excl,
}

/// A store in a directory.
///
/// See the [crate](crate) for what it promises, and for backup and restore.
#[derive(Debug)]
pub struct FileBackend {
    place: Place,
    namespace: String,
    strategy: Option<Strategy>,
    reach: Reach,
    open: Mutex<Option<Open>>,
}

/// How to open a [`FileBackend`].
///
/// ```
/// use lock_core::LockBackend;
/// use lock_file::{FileOptions, Strategy};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("locks");
/// let backend = FileOptions::new(&path).strategy(Strategy::Excl).namespace("billing").open()?;
/// assert!(backend.describe().ends_with("locks?strategy=excl namespace billing"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct FileOptions {
    path: PathBuf,
    namespace: String,
    strategy: Option<Strategy>,
    audience: Audience,
}

impl FileOptions {
    /// Options for the store in this directory: namespace `default`, for this user alone, with the
    /// strategy that it has, or [`Strategy::Flock`] if it is new.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            namespace: DEFAULT_NAMESPACE.into(),
            strategy: None,
            audience: Audience::OWNER,
        }
    }

    /// Which cell of the store to use: some text without control characters, compared byte for byte.
    ///
    /// It is the name of a directory, in which all but `a` to `z`, digits, `-` and `_` become three
    /// bytes each, and has to fit into 240.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// What the store must be made for.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// Lets the group use what is created: files with mode 0660, directories with 02770.
    ///
    /// In a store that exists, what is created is for whom its directory is.
    #[must_use]
    pub fn group_access(mut self, group_access: bool) -> Self {
        self.audience = if group_access { Audience::GROUP } else { Audience::OWNER };
        self
    }

    /// The group that owns what is created, by its number; grants it access.
    #[must_use]
    pub fn group_id(mut self, group_id: u32) -> Self {
        self.audience = Audience::group(group_id);
        self
    }

    /// Opens the store; creates the directory, and those that lead to it, if they are missing.
    ///
    /// A store that is unavailable just now opens all the same: the next load tries again.
    ///
    /// # Errors
    ///
    /// [`BackendErrorKind::Misconfigured`]: the namespace is bad, the directory cannot be used, is not
    /// such a store, or is one with another strategy.
    pub fn open(self) -> Result<FileBackend, BackendError> {
        let Self { path, namespace, strategy, audience } = self;
        let place = Place::new(&path, &namespace, audience, strategy)?;
        // Nobody can know who reaches what cannot be opened.
        let (open, reach) = match Open::at(&place) {
            Ok((open, reach)) => (Some(open), reach),
            Err(e) if e.kind() == BackendErrorKind::Misconfigured => return Err(e),
            Err(_) => (None, Reach::Network),
        };
        Ok(FileBackend { place, namespace, strategy, reach, open: Mutex::new(open) })
    }
}

impl FileBackend {
    /// Opens the store in this directory with the default [`FileOptions`].
    ///
    /// # Errors
    ///
    /// As [`FileOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BackendError> {
        FileOptions::new(path.as_ref()).open()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory that is at the path now.
    fn current(&self, slot: &mut Option<Open>) -> Result<Open, BackendError> {
        if let Some(open) = slot.take().filter(|open| open.folder.is_current()) {
            return Ok(open);
        }
        let (open, reach) = Open::at(&self.place)?;
        self.refuse_wider(reach)?;
        Ok(open)
    }

    /// Who reaches it was told once, and others are judged by it: another boot is taken for one of this host.
    fn refuse_wider(&self, reach: Reach) -> Result<(), BackendError> {
        if self.reach == Reach::Network || reach == Reach::Host {
            return Ok(());
        }
        Err(misconfigured(format!(
            "cannot go on with {}: it was replaced by one that other hosts may reach, too; start this \
             program anew",
            self.place.store().display()
        )))
    }
}

#[async_trait]
impl LockBackend for FileBackend {
    fn reach(&self) -> Reach {
        self.reach
    }

    fn describe(&self) -> String {
        let path = self.place.store().display();
        let store = match self.strategy {
            Some(strategy) => format!("file:{path}?strategy={strategy}"),
            None => format!("file:{path}"),
        };
        in_namespace(store, &self.namespace)
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        let mut slot = self.lock();
        for _ in 0..REPLACED_MAX {
            let mut open = self.current(&mut slot)?;
            let found = open.load();
            if open.folder.is_current() {
                *slot = Some(open);
                return found;
            }
        }
        let store = self.place.store().display();
        let what = format!("cannot read {store}: it was replaced again and again");
        Err(BackendError::new(BackendErrorKind::Unavailable, what))
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        debug_assert!(expected < next && next <= Version::MAX, "{expected} to {next}");
        let mut slot = self.lock();
        let mut open = self.current(&mut slot)?;
        let done = open.swap(expected, next, data);
        *slot = Some(open);
        done
    }
}

/// A directory that is open, and what is known of it.
#[derive(Debug)]
struct Open {
    folder: Folder,
    known: Known,
}

/// What a client remembers of the cell, with one strategy or the other.
#[derive(Debug)]
enum Known {
    /// The version that it saw last.
    Flock(Option<Version>),
    Excl(Chain),
}

impl Open {
    fn at(place: &Place) -> Result<(Self, Reach), BackendError> {
        let (folder, strategy, reach) = place.open()?;
        let known = match strategy {
            Strategy::Flock => Known::Flock(None),
            Strategy::Excl => Known::Excl(Chain::default()),
        };
        Ok((Self { folder, known }, reach))
    }

    fn load(&mut self) -> Result<Snapshot, BackendError> {
        match &mut self.known {
            Known::Flock(seen) => {
                let found = flock::load(&self.folder)?;
                *seen = Some(found.version);
                Ok(found)
            }
            Known::Excl(chain) => chain.load(&self.folder),
        }
    }

    fn swap(
        &mut self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        match &mut self.known {
            Known::Flock(seen) => {
                let done = flock::swap(&self.folder, *seen, expected, next, data);
                *seen = matches!(done, Ok(Swap::Swapped)).then_some(next);
                done
            }
            Known::Excl(chain) => chain.swap(&self.folder, expected, next, data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_others_reach_by_now_is_refused_by_who_said_that_they_do_not() {
        let place = || Place::new(Path::new("/locks"), "default", Audience::OWNER, None).unwrap();
        let backend = |reach| FileBackend {
            place: place(),
            namespace: DEFAULT_NAMESPACE.into(),
            strategy: None,
            reach,
            open: Mutex::default(),
        };
        for (said, now) in [
            (Reach::Host, Reach::Host),
            (Reach::Network, Reach::Host),
            (Reach::Network, Reach::Network),
        ] {
            backend(said).refuse_wider(now).unwrap();
        }
        let error = backend(Reach::Host).refuse_wider(Reach::Network).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Misconfigured);
        assert!(error.to_string().contains("/locks"), "{error}");
    }
}
