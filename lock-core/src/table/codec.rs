//! The table as JSON: small, but readable by a person who looks into the store.
//!
//! What it does not understand it refuses: unknown fields, keys given twice, newer formats, and
//! tables that break their own rules. Nothing of that is ever taken for "unlocked".

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Client, Kept, LockTable, PostMarks, Site, Waiter, Writer};
use crate::backend::{Snapshot, Version};
use crate::ids::ClientId;
use crate::name::{self, LockName};
use crate::request::{LockSet, Mode};

/// The format that is written.
pub(super) const FORMAT: u64 = 1;

/// A table as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    interlock: u64,
    #[serde(default, deserialize_with = "unique_map")]
    sites: BTreeMap<u64, Site>,
    #[serde(deserialize_with = "unique_map")]
    clients: BTreeMap<ClientId, Kept<Client>>,
    queue: Vec<Waiter>,
    #[serde(default)]
    posted: PostMarks,
    #[serde(default)]
    writer: Option<Writer>,
}

/// A table as it is written.
#[derive(Serialize)]
struct Written<'t> {
    interlock: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sites: BTreeMap<u64, &'t Site>,
    clients: &'t BTreeMap<ClientId, Kept<Client>>,
    queue: Vec<&'t Waiter>,
    #[serde(skip_serializing_if = "PostMarks::is_empty")]
    posted: &'t PostMarks,
    #[serde(skip_serializing_if = "Option::is_none")]
    writer: Option<Writer>,
}

/// The part that every format has.
#[derive(Deserialize)]
struct Head {
    interlock: u64,
}

impl LockTable {
    /// Reads a table from a cell. An absent cell is an empty table.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the bytes are not a table of this format that keeps its own rules.
    pub fn decode(cell: &Snapshot) -> Result<Self, TableError> {
        if cell.version == Version::ABSENT && cell.data.is_empty() {
            return Ok(Self::new());
        }
        let read: Read = serde_json::from_slice(&cell.data).map_err(|error| {
            match serde_json::from_slice::<Head>(&cell.data) {
                Ok(head) if head.interlock > FORMAT => TableError::Newer(head.interlock),
                _ => TableError::Malformed(error),
            }
        })?;
        if read.interlock > FORMAT {
            return Err(TableError::Newer(read.interlock));
        }
        if read.interlock != FORMAT {
            return Err(TableError::Inconsistent("there never was such a format"));
        }
        let mut table = Self {
            clients: read.clients,
            sites: read.sites,
            posted: read.posted,
            writer: read.writer,
            ..Self::default()
        };
        table.index(read.queue).map_err(TableError::Inconsistent)?;
        table.check(cell.version).map_err(TableError::Inconsistent)?;
        Ok(table)
    }

    /// Writes the table as the bytes of a cell.
    pub fn encode(&self) -> Vec<u8> {
        // Only those that somebody is at.
        let sites = self.clients.values().filter_map(|client| {
            let number = client.site?;
            Some((number, self.sites.get(&number)?))
        });
        let written = Written {
            interlock: FORMAT,
            sites: sites.collect(),
            clients: &self.clients,
            queue: self.queue.values().collect(),
            posted: &self.posted,
            writer: self.writer,
        };
        serde_json::to_vec(&written).expect("all keys are text and no value fails")
    }
}

/// Reads a text that is shown and decides nothing: who wrote it may have put anything in it.
pub(super) fn text_for_people<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: From<String>,
{
    let text = Option::<String>::deserialize(from)?;
    Ok(text.map(|text| name::cleaned(&text).into()))
}

/// Data in a store that is not a lock table this release can work with.
///
/// The store is left as it is, and nothing in it is taken for unlocked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A newer release wrote it.
    #[error(
        "the lock table has format {0}, this release knows up to {FORMAT}: \
         update this program, the table is left as it is"
    )]
    Newer(u64),
    /// It is no lock table, or a damaged one.
    #[error(
        "the cell holds no lock table that can be read: \
         repair or remove it by hand, it is left as it is"
    )]
    Malformed(#[source] serde_json::Error),
    /// Its version is the last there is: nothing can be written any more.
    #[error("the cell has reached the last version: remove it by hand when nobody uses it")]
    Worn,
    /// It can be read but contradicts itself.
    #[error(
        "the lock table contradicts itself ({0}): \
         repair or remove it by hand, it is left as it is"
    )]
    Inconsistent(&'static str),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(super) fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Reads a map, and refuses keys that are given twice.
pub(super) fn unique_map<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Unique<K, V>(PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Unique<K, V> {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = from.next_entry()? {
                if map.insert(key, value).is_some() {
                    return Err(A::Error::custom("a key is given twice"));
                }
            }
            Ok(map)
        }
    }

    from.deserialize_map(Unique(PhantomData))
}

/// A set of locks: `"x"` is exclusive, `"s"` shared, a number a limit.
pub(super) mod locks {
    use super::{BTreeMap, Deserializer, LockName, LockSet, Mode, Serializer, unique_map};
    use serde::de::Error as _;

    pub(in super::super) fn serialize<S: Serializer>(
        locks: &LockSet,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(locks)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<LockSet, D::Error> {
        let locks: BTreeMap<LockName, Mode> = unique_map(from)?;
        if locks.is_empty() {
            return Err(D::Error::custom("a set of locks is empty"));
        }
        Ok(locks)
    }
}

/// The same behind an `Arc`.
pub(super) mod shared_locks {
    use super::{Arc, Deserializer, LockSet, Serializer, locks};

    pub(in super::super) fn serialize<S: Serializer>(
        set: &Arc<LockSet>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        locks::serialize(set, to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<LockSet>, D::Error> {
        locks::deserialize(from).map(Arc::new)
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exclusive => to.serialize_str("x"),
            Self::Shared => to.serialize_str("s"),
            Self::Limit(n) => to.serialize_u32(*n),
        }
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ModeVisitor;

        impl Visitor<'_> for ModeVisitor {
            type Value = Mode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"x\", \"s\" or a limit of 2 or more")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Mode, E> {
                match text {
                    "x" => Ok(Mode::Exclusive),
                    "s" => Ok(Mode::Shared),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: serde::de::Error>(self, limit: u64) -> Result<Mode, E> {
                match u32::try_from(limit) {
                    Ok(limit) if limit >= 2 => Ok(Mode::Limit(limit)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Unsigned(limit), &self)),
                }
            }
        }

        from.deserialize_any(ModeVisitor)
    }
}

impl Serialize for LockName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for LockName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.try_into().map_err(D::Error::custom)
    }
}
