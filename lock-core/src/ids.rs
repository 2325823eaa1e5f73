//! Ids of clients, tasks and requests: unique without asking anybody.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Digits of a client id: lower-case letters and digits without those that are easily confused.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const CLIENT_DIGITS: usize = 12;

/// The id of a client: one driver with its processes. 60 random bits, written as 12 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

impl ClientId {
    /// Takes the lowest 60 bits of a random number.
    pub fn from_random(bits: u64) -> Self {
        Self(bits & ((1 << (5 * CLIENT_DIGITS)) - 1))
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    fn digits(self) -> [u8; CLIENT_DIGITS] {
        std::array::from_fn(|at| {
            let place = CLIENT_DIGITS - 1 - at;
            DIGITS[usize::try_from(self.0 >> (5 * place) & 31).expect("less than 32")]
        })
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(str::from_utf8(&self.digits()).expect("they are letters and digits"))
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ClientId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError(Bad::Text(text.into()));
        if text.len() != CLIENT_DIGITS {
            return Err(error());
        }
        text.bytes()
            .try_fold(0, |id, digit| {
                let value = DIGITS.iter().position(|d| *d == digit)?;
                Some(id << 5 | value as u64)
            })
            .map(Self)
            .ok_or_else(error)
    }
}

/// The id of a task: its client and number, after those of the tasks it is nested in.
///
/// A task `9x3m0c5t1k2a.4` with a sub-task in the same client gives
/// `9x3m0c5t1k2a.4/9x3m0c5t1k2a.7`: whoever sees a task knows all its ancestors.
/// [`Task::under`](crate::Task::under) shows how another program nests its tasks in one by its id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// Alone decides the order: a task comes directly before all that is nested in it.
    path: Arc<str>,
    // The last segment of the path.
    client: ClientId,
    number: u64,
}

impl TaskId {
    /// The deepest nesting of tasks.
    pub const DEPTH_MAX: usize = 64;

    /// The id of task `number` of a client, nested in `under` if that is given.
    ///
    /// # Errors
    ///
    /// [`IdError`] when tasks would nest deeper than [`DEPTH_MAX`](Self::DEPTH_MAX).
    pub fn new(under: Option<&Self>, client: ClientId, number: u64) -> Result<Self, IdError> {
        let path = match under {
            None => format!("{client}.{number}"),
            Some(under) => format!("{under}/{client}.{number}"),
        };
        if under.is_some_and(|under| under.path.split('/').count() >= Self::DEPTH_MAX) {
            return Err(IdError(Bad::TooDeep));
        }
        Ok(Self { path: path.into(), client, number })
    }

    /// The whole path as text.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// The client that owns the task.
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// The number of the task in its client.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The task that this one is nested in.
    pub fn parent(&self) -> Option<Self> {
        let (path, _) = self.path.rsplit_once('/')?;
        Some(Self::of(path).expect("checked when it was made"))
    }

    /// Tells whether `other` is this task or nested in it, at any depth.
    pub fn contains(&self, other: &Self) -> bool {
        let rest = other.path.strip_prefix(&*self.path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The outermost task: all that share it are one family.
    pub(crate) fn family(&self) -> &str {
        self.path.split_once('/').map_or(&*self.path, |(family, _)| family)
    }

    /// The task with a path of which all but the last segment was checked.
    fn of(path: &str) -> Option<Self> {
        let own = path.rsplit_once('/').map_or(path, |(_, own)| own);
        let (client, number) = segment(own)?;
        Some(Self { path: path.into(), client, number })
    }
}

/// One segment of a task id, in the one way it is written.
fn segment(text: &str) -> Option<(ClientId, u64)> {
    let (client, number) = text.split_once('.')?;
    let is_written_so = number == "0" || number.starts_with(|digit| matches!(digit, '1'..='9'));
    is_written_so.then_some((client.parse().ok()?, number.parse().ok()?))
}

impl FromStr for TaskId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let good = text.split('/').all(|s| segment(s).is_some());
        if good && text.split('/').count() > Self::DEPTH_MAX {
            return Err(IdError(Bad::TooDeep));
        }
        Self::of(text).filter(|_| good).ok_or_else(|| IdError(Bad::Text(text.into())))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.path)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// The id of a request, and of the hold that it becomes: its client and a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The client that asked.
    pub client: ClientId,
    /// Unique in its client, for its life.
    pub number: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.client, self.number)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RequestId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        segment(text)
            .map(|(client, number)| Self { client, number })
            .ok_or_else(|| IdError(Bad::Text(text.into())))
    }
}

/// A text that is no id of a client, task or request, or a task that is nested too deep to have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdError(Bad);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Bad {
    Text(Box<str>),
    TooDeep,
}

impl IdError {
    /// Tells whether tasks are nested deeper than [`TaskId::DEPTH_MAX`].
    pub fn is_too_deep(&self) -> bool {
        self.0 == Bad::TooDeep
    }
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Bad::Text(text) => {
                let shown: String = text.chars().take(80).collect();
                write!(f, "\"{}\" is no id of Interlock", shown.escape_debug())
            }
            Bad::TooDeep => write!(f, "tasks are nested deeper than {}", TaskId::DEPTH_MAX),
        }
    }
}

impl std::error::Error for IdError {}

macro_rules! as_text {
    ($($id:ty),*) => {$(
        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(ClientId, TaskId, RequestId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_written() {
        let client = ClientId::from_random(0x0123_4567_89ab_cdef);
        assert_eq!(client.to_string().parse(), Ok(client));
        let task = TaskId::new(None, client, 4).unwrap();
        let sub = TaskId::new(Some(&task), client, 7).unwrap();
        assert_eq!(sub.to_string().parse().as_ref(), Ok(&sub));
        assert_eq!((sub.client(), sub.number()), (client, 7));
        assert_eq!(sub.parent(), Some(task.clone()));
        assert!(task.contains(&sub) && task.contains(&task) && !sub.contains(&task));
        assert!(!task.contains(&TaskId::new(None, client, 44).unwrap()));
    }

    #[test]
    fn other_texts_are_refused() {
        let client = "0123456789ab";
        assert!(format!("{client}.0").parse::<TaskId>().is_ok());
        let numbers = ["", ".", ".01", ".00", ".+1", ".-1", ".1x", ".99999999999999999999"];
        let bad = numbers.map(|number| format!("{client}{number}")).into_iter();
        for text in bad.chain(["", "x", "0123456789al.1"].map(String::from)) {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
        let deep = vec!["0123456789ab.1"; TaskId::DEPTH_MAX + 1].join("/");
        assert!(deep.parse::<TaskId>().unwrap_err().is_too_deep());
        let deepest: TaskId = deep[15..].parse().unwrap();
        let error = TaskId::new(Some(&deepest), deepest.client(), 1).unwrap_err();
        assert!(error.is_too_deep(), "{error}");
        assert!(!"x".parse::<TaskId>().unwrap_err().is_too_deep());
    }
}
