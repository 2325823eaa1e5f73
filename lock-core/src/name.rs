//! Lock names: `/`-separated paths, and what is wrong with a bad one.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::failpoint::{Mutant, is};

/// The name of a lock: a `/`-separated path such as `app/blog`.
///
/// A name covers everything below it: `box` conflicts with `box/update`, while `app/blog` and
/// `app/shop` (and `app/blogger`) have nothing to do with each other. Names are compared byte for
/// byte, so case and Unicode normalisation matter.
///
/// ```
/// use lock_core::LockName;
///
/// let app: LockName = "app".parse()?;
/// let blog: LockName = "app/blog".parse()?;
/// assert!(app.covers(&blog));
/// assert!(!blog.covers(&app));
/// assert!("app//blog".parse::<LockName>().is_err());
/// # Ok::<(), lock_core::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockName(Arc<str>);

impl LockName {
    /// The longest name, in bytes of UTF-8.
    pub const BYTES_MAX: usize = 512;

    /// Checks a name and takes it over.
    ///
    /// # Errors
    ///
    /// [`NameError`] when the name is empty or longer than [`BYTES_MAX`](Self::BYTES_MAX), has an
    /// empty segment (a `/` at an end, or two in a row), or contains a control character.
    pub fn new(name: impl AsRef<str>) -> Result<Self, NameError> {
        let name = name.as_ref();
        check(name)?;
        if let Some(segment) = name.split('/').position(str::is_empty) {
            return Err(NameError::new(name, Wrong::EmptySegment { segment: segment + 1 }));
        }
        if is(Mutant::FoldedNames) {
            return Ok(Self(name.to_lowercase().into()));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether this name is `other` or lies above it.
    pub fn covers(&self, other: &Self) -> bool {
        *self == *other || other.is_below(self)
    }

    /// Tells whether this name lies strictly below `other`.
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The names strictly above this one, the nearest first: `a/b` and `a` for `a/b/c`.
    pub(crate) fn above(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(self.0.rsplit_once('/').map(|(up, _)| up), |name| {
            name.rsplit_once('/').map(|(up, _)| up)
        })
    }
}

/// What every name that people read must be: not empty, not too long, no control characters.
pub(crate) fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::new(name, Wrong::Empty));
    }
    if name.len() > LockName::BYTES_MAX {
        return Err(NameError::new(name, Wrong::TooLong { bytes: name.len() }));
    }
    match name.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, character)) => Err(NameError::new(name, Wrong::Control { character, at })),
        None => Ok(()),
    }
}

/// A text for people that fits: without control characters, and cut off at the longest length.
pub(crate) fn cleaned(text: &str) -> String {
    let mut clean = String::new();
    for character in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if clean.len() + character.len_utf8() > LockName::BYTES_MAX {
            break;
        }
        clean.push(character);
    }
    clean
}

impl FromStr for LockName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl TryFrom<&str> for LockName {
    type Error = NameError;

    fn try_from(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl TryFrom<String> for LockName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl AsRef<str> for LockName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Orders exactly as [`LockName`] does, so that a map of names can be asked with a `&str`.
impl Borrow<str> for LockName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A name that cannot be used, and what is wrong with it.
///
/// The message shows the name with control characters escaped, shortened if it is long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    name: Box<str>,
    wrong: Wrong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wrong {
    Empty,
    TooLong { bytes: usize },
    EmptySegment { segment: usize },
    Control { character: char, at: usize },
}

impl NameError {
    fn new(name: &str, wrong: Wrong) -> Self {
        Self { name: name.into(), wrong }
    }

    /// The name as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells whether the name is empty.
    pub fn is_empty(&self) -> bool {
        self.wrong == Wrong::Empty
    }

    /// Tells whether the name is longer than [`LockName::BYTES_MAX`].
    pub fn is_too_long(&self) -> bool {
        matches!(self.wrong, Wrong::TooLong { .. })
    }

    /// Tells whether a segment of the name, between two `/` or at an end, is empty.
    pub fn is_empty_segment(&self) -> bool {
        matches!(self.wrong, Wrong::EmptySegment { .. })
    }

    /// Tells whether the name contains a control character.
    pub fn is_control_character(&self) -> bool {
        matches!(self.wrong, Wrong::Control { .. })
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 60;
        let shown: String = self.name.chars().take(SHOWN_MAX).collect();
        let more = if shown.len() < self.name.len() { "…" } else { "" };
        match self.wrong {
            Wrong::Empty => write!(f, "a name must not be empty"),
            Wrong::TooLong { bytes } => write!(
                f,
                "the name \"{}{more}\" has {bytes} bytes, more than {}",
                shown.escape_debug(),
                LockName::BYTES_MAX
            ),
            Wrong::EmptySegment { segment } => write!(
                f,
                "segment {segment} of the name \"{}{more}\" is empty: segments are separated by \
                 single slashes, with none at the ends",
                shown.escape_debug()
            ),
            Wrong::Control { character, at } => write!(
                f,
                "the name \"{}{more}\" has the control character {} at byte {at}",
                shown.escape_debug(),
                character.escape_unicode()
            ),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names() {
        for name in ["a", "app/blog", "Ä/ö", "a b", ".", "a.b/…", &"x".repeat(512)] {
            assert_eq!(LockName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        assert!(LockName::new("").unwrap_err().is_empty());
        assert!(LockName::new("x".repeat(513)).unwrap_err().is_too_long());
        for name in ["/", "/a", "a/", "a//b"] {
            assert!(LockName::new(name).unwrap_err().is_empty_segment(), "{name}");
        }
        for name in ["a\0", "a\nb", "\u{7f}", "\u{85}"] {
            let error = LockName::new(name).unwrap_err();
            assert!(error.is_control_character(), "{name:?}");
            assert!(!error.to_string().contains(char::is_control));
        }
        let error = LockName::new("app//blog").unwrap_err().to_string();
        assert!(error.contains("segment 2") && error.contains("app//blog"), "{error}");
    }

    #[test]
    fn covering() {
        let name = |name| LockName::new(name).unwrap();
        assert!(name("app").covers(&name("app")));
        assert!(name("app").covers(&name("app/blog/x")));
        assert!(!name("app/blog").covers(&name("app/blogger")));
        assert!(!name("app/blog").covers(&name("app")));
        assert_eq!(name("a/b/c").above().collect::<Vec<_>>(), ["a/b", "a"]);
        assert_eq!(name("a").above().count(), 0);
    }
}
