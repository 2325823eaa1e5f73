//! A part of the table with the text that it is written as, which is kept until the part is changed.

use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// A part of the table that is written anew only if it was changed since: in a large table a swap
/// changes little.
///
/// Whoever borrows the part to change it makes its text be forgotten, so that no change is missed.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept<T> {
    part: T,
    text: OnceLock<Box<RawValue>>,
}

impl<T> From<T> for Kept<T> {
    fn from(part: T) -> Self {
        Self { part, text: OnceLock::new() }
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.part
    }
}

impl<T> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.text.take();
        &mut self.part
    }
}

impl<T: Serialize> Serialize for Kept<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if let Some(text) = self.text.get() {
            return text.serialize(to);
        }
        let text = to_raw_value(&self.part).map_err(S::Error::custom)?;
        self.text.get_or_init(|| text).serialize(to)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Kept<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;

    #[test]
    fn what_was_changed_is_written_anew() {
        let mut kept = Kept::from(vec![1, 2]);
        let write = |kept: &Kept<Vec<u8>>| serde_json::to_string(&[kept]).expect("it is JSON");
        assert_eq!(write(&kept), "[[1,2]]");
        assert_eq!(write(&kept), "[[1,2]]");
        kept.push(3);
        assert_eq!(write(&kept), "[[1,2,3]]");
        assert!(kept.clone().text.get().is_some(), "it is kept");
    }
}
