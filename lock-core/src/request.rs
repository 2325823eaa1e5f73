//! What is asked for: a set of locks, each in a mode.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use crate::name::{LockName, NameError};

/// How many holders a hold tolerates on its name.
///
/// On one name a request fits if the holders with it are no more than the smallest tolerance among
/// all of them. Between a name and one above or below it, two holds conflict if either is
/// exclusive.
///
/// ```
/// # use lock_core::{Locks, MemoryBackend, Request};
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let locks = Locks::new(MemoryBackend::new());
/// // Two backups at once are enough for the disk; who only looks at it counts too.
/// let one = locks.acquire(Request::limit("backup", 2)).await?;
/// let look = locks.try_acquire(Request::shared("backup")).await?;
/// assert!(locks.try_acquire(Request::limit("backup", 2)).await.is_err()); // The third.
///
/// look.release().await?;
/// let two = locks.try_acquire(Request::limit("backup", 2)).await?;
/// # one.release().await?;
/// # two.release().await?;
/// # locks.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// One holder.
    Exclusive,
    /// Up to this many holders, 2 or more. A limit of one *is* [`Exclusive`](Self::Exclusive).
    Limit(u32),
    /// Any number of holders.
    Shared,
}

impl Mode {
    /// At most `holders` at once; for one that is [`Mode::Exclusive`].
    ///
    /// # Errors
    ///
    /// [`RequestError`] if `holders` is zero: nobody could ever hold that.
    pub fn limit(holders: u32) -> Result<Self, RequestError> {
        match holders {
            0 => Err(RequestError(Wrong::ZeroLimit(None))),
            1 => Ok(Self::Exclusive),
            n => Ok(Self::Limit(n)),
        }
    }

    /// The number of holders that this mode tolerates, itself included.
    pub(crate) fn tolerance(self) -> u64 {
        match self {
            Self::Exclusive => 1,
            Self::Limit(n) => u64::from(n),
            Self::Shared => u64::MAX,
        }
    }

    pub(crate) fn is_exclusive(self) -> bool {
        self == Self::Exclusive
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exclusive => f.pad("exclusive"),
            Self::Limit(n) => write!(f, "limit {n}"),
            Self::Shared => f.pad("shared"),
        }
    }
}

/// The locks of a request or a hold, by name.
pub type LockSet = BTreeMap<LockName, Mode>;

/// A set of locks, granted all or nothing.
///
/// A name converts into a request for that lock alone, exclusively: a `&str`, `String` or [`LockName`]. A bad
/// name is kept until the request is used, so that requests can be written in one breath.
///
/// ```
/// use lock_core::{Mode, Request};
///
/// let request = Request::exclusive("app/blog").and_shared("mail").and_limit("backup", 2);
/// let locks = request.locks()?;
/// assert_eq!(locks["mail"], Mode::Shared);
///
/// assert!(Request::exclusive("a").and_shared("a").locks().is_err());
/// # Ok::<(), lock_core::RequestError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request(Result<LockSet, RequestError>);

impl Request {
    /// Asks for one lock, exclusively.
    pub fn exclusive(name: impl AsRef<str>) -> Self {
        Self(Ok(LockSet::new())).and_exclusive(name)
    }

    /// Asks for one lock, shared with any number of others.
    pub fn shared(name: impl AsRef<str>) -> Self {
        Self(Ok(LockSet::new())).and_shared(name)
    }

    /// Asks for one lock, with at most `holders` at once.
    pub fn limit(name: impl AsRef<str>, holders: u32) -> Self {
        Self(Ok(LockSet::new())).and_limit(name, holders)
    }

    /// Asks for one more lock, in this mode.
    ///
    /// What is known only at run time is collected, or folded:
    ///
    /// ```
    /// use lock_core::{Mode, Request};
    ///
    /// let apps = ["app/blog", "app/shop"];
    /// let request: Request = apps.iter().map(|name| (name, Mode::Shared)).collect();
    /// assert_eq!(request.and("backup", Mode::Exclusive).locks()?.len(), 3);
    /// # Ok::<(), lock_core::RequestError>(())
    /// ```
    #[must_use]
    pub fn and(self, name: impl AsRef<str>, mode: Mode) -> Self {
        let mode = match mode {
            Mode::Limit(holders) => Mode::limit(holders),
            other => Ok(other),
        };
        self.with(name.as_ref(), mode)
    }

    /// Asks for one more lock, exclusively.
    #[must_use]
    pub fn and_exclusive(self, name: impl AsRef<str>) -> Self {
        self.with(name.as_ref(), Ok(Mode::Exclusive))
    }

    /// Asks for one more lock, shared with any number of others.
    #[must_use]
    pub fn and_shared(self, name: impl AsRef<str>) -> Self {
        self.with(name.as_ref(), Ok(Mode::Shared))
    }

    /// Asks for one more lock, with at most `holders` at once.
    #[must_use]
    pub fn and_limit(self, name: impl AsRef<str>, holders: u32) -> Self {
        self.with(name.as_ref(), Mode::limit(holders))
    }

    fn with(self, name: &str, mode: Result<Mode, RequestError>) -> Self {
        Self(self.0.and_then(|mut locks| {
            let name = LockName::new(name).map_err(|e| RequestError(Wrong::Name(e)))?;
            let mode = mode.map_err(|_| RequestError(Wrong::ZeroLimit(Some(name.clone()))))?;
            match locks.entry(name) {
                Entry::Vacant(entry) => entry.insert(mode),
                Entry::Occupied(entry) => {
                    return Err(RequestError(Wrong::Twice(entry.key().clone())));
                }
            };
            Ok(locks)
        }))
    }

    /// The locks asked for.
    ///
    /// # Errors
    ///
    /// [`RequestError`], the first that was made: a bad name, a name given twice, a limit of zero,
    /// or no lock at all.
    pub fn locks(&self) -> Result<&LockSet, RequestError> {
        match &self.0 {
            Ok(locks) if locks.is_empty() => Err(RequestError(Wrong::Nothing)),
            Ok(locks) => Ok(locks),
            Err(error) => Err(error.clone()),
        }
    }
}

/// A limit of one is exclusive here too, and one of zero is the error of [`Mode::limit`].
impl From<LockSet> for Request {
    fn from(mut locks: LockSet) -> Self {
        for (name, mode) in &mut locks {
            if let Mode::Limit(holders) = *mode {
                match Mode::limit(holders) {
                    Ok(limit) => *mode = limit,
                    Err(_) => return Self(Err(RequestError(Wrong::ZeroLimit(Some(name.clone()))))),
                }
            }
        }
        Self(Ok(locks))
    }
}

/// As if each was added by [`Request::and`].
impl<N: AsRef<str>> FromIterator<(N, Mode)> for Request {
    fn from_iter<I: IntoIterator<Item = (N, Mode)>>(locks: I) -> Self {
        let nothing = Self(Ok(LockSet::new()));
        locks.into_iter().fold(nothing, |request, (name, mode)| request.and(name, mode))
    }
}

impl From<&str> for Request {
    fn from(name: &str) -> Self {
        Self::exclusive(name)
    }
}

impl From<&&str> for Request {
    fn from(name: &&str) -> Self {
        Self::exclusive(name)
    }
}

impl From<&String> for Request {
    fn from(name: &String) -> Self {
        Self::exclusive(name)
    }
}

impl From<String> for Request {
    fn from(name: String) -> Self {
        Self::exclusive(name)
    }
}

impl From<&Self> for Request {
    fn from(request: &Self) -> Self {
        request.clone()
    }
}

impl From<LockName> for Request {
    fn from(name: LockName) -> Self {
        Self(Ok(LockSet::from([(name, Mode::Exclusive)])))
    }
}

impl From<&LockName> for Request {
    fn from(name: &LockName) -> Self {
        name.clone().into()
    }
}

/// A request that cannot be used, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestError(Wrong);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wrong {
    Name(NameError),
    Task(NameError),
    TooDeep,
    Twice(LockName),
    ZeroLimit(Option<LockName>),
    Nothing,
}

impl RequestError {
    pub(crate) fn bad_task(error: NameError) -> Self {
        Self(Wrong::Task(error))
    }

    pub(crate) fn too_deep() -> Self {
        Self(Wrong::TooDeep)
    }

    /// Tells whether one name was given twice.
    pub fn is_twice(&self) -> bool {
        matches!(self.0, Wrong::Twice(_))
    }

    /// Tells whether a limit was zero.
    pub fn is_zero_limit(&self) -> bool {
        matches!(self.0, Wrong::ZeroLimit(_))
    }

    /// What is wrong with the name of a lock or of the task, if that is it.
    pub fn name_error(&self) -> Option<&NameError> {
        match &self.0 {
            Wrong::Name(error) | Wrong::Task(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Wrong::Name(error) => error.fmt(f),
            Wrong::Task(error) => write!(f, "the task cannot have that name: {error}"),
            Wrong::TooDeep => {
                write!(f, "tasks are nested deeper than {}", crate::ids::TaskId::DEPTH_MAX)
            }
            Wrong::Twice(name) => write!(f, "the lock {name} is asked for twice in one request"),
            Wrong::ZeroLimit(Some(name)) => {
                write!(f, "the limit of the lock {name} is 0: it must be 1 or more")
            }
            Wrong::ZeroLimit(None) => write!(f, "the limit is 0: it must be 1 or more"),
            Wrong::Nothing => write!(f, "the request names no lock"),
        }
    }
}

impl std::error::Error for RequestError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_set() {
        let request = Request::exclusive("a").and_shared("b").and_limit("c", 2).and_limit("d", 1);
        let locks = request.locks().unwrap();
        assert_eq!(locks.len(), 4);
        assert_eq!(locks["c"], Mode::Limit(2));
        assert_eq!(locks["d"], Mode::Exclusive);
    }

    #[test]
    fn the_first_error_is_kept() {
        let error = Request::exclusive("a").and_shared("a").and_limit("", 0).locks().unwrap_err();
        assert!(error.is_twice());
        assert!(Request::limit("a", 0).locks().unwrap_err().is_zero_limit());
        assert!(Request::from("").locks().unwrap_err().name_error().unwrap().is_empty());
        assert!(Request::from(LockSet::new()).locks().is_err());
    }

    #[test]
    fn a_set_that_was_made_by_hand_has_no_limits_below_two() {
        let set = |holders| LockSet::from([("a".parse().unwrap(), Mode::Limit(holders))]);
        assert!(Request::from(set(0)).locks().unwrap_err().is_zero_limit());
        assert_eq!(Request::from(set(1)).locks().unwrap()["a"], Mode::Exclusive);
        assert_eq!(Request::from(set(2)).locks().unwrap()["a"], Mode::Limit(2));
        let collected = |holders| Request::from_iter([("a", Mode::Limit(holders))]);
        for holders in 0..3 {
            assert_eq!(collected(holders), Request::from(set(holders)));
        }
        let modes = Request::shared("a").and_exclusive("b");
        assert_eq!(Request::from_iter([("a", Mode::Shared), ("b", Mode::Exclusive)]), modes);
        assert!(collected(2).and("a", Mode::Shared).locks().unwrap_err().is_twice());
        assert!(Request::from_iter([("", Mode::Shared); 0]).locks().is_err());
    }
}
