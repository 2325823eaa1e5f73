//! What is in a file of the store: one line that says what it is, then the bytes as they are.

use lock_core::{Snapshot, Version};
use serde::{Deserialize, Serialize};

/// The format that this release writes and reads.
const FORMAT: u64 = 1;
/// The longest first line; those of this release have less than half of it.
const HEAD_BYTES_MAX: usize = 1024;

/// A cell as a file holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) head: Head,
    pub(crate) data: Vec<u8>,
}

/// The first line of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    interlock: u64,
    pub(crate) version: Version,
    bytes: u64,
    /// Its place, if it is part of a chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<Place>,
}

/// Where a cell is in a chain of cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// The version before this one, which is in the name of the file.
    pub(crate) after: Version,
    /// Tells this file from all others that ever had the same name.
    pub(crate) id: u64,
    /// The file that holds the version before, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Link>,
}

/// One file of a chain, and no other that has the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    pub(crate) after: Version,
    pub(crate) id: u64,
}

/// What every format has.
#[derive(Deserialize)]
struct AnyHead {
    interlock: u64,
}

impl Cell {
    pub(crate) fn into_snapshot(self) -> Snapshot {
        Snapshot { version: self.head.version, data: self.data }
    }

    /// Reads what a file holds; the error says what is wrong with it.
    pub(crate) fn decode(mut bytes: Vec<u8>) -> Result<Self, String> {
        let (head, length) = Head::decode(&bytes)?;
        let has = bytes.len() - length;
        if bytes.last() != Some(&b'\n') || has as u64 != head.bytes.saturating_add(1) {
            return Err(format!(
                "it says that {} bytes follow, and has {has}",
                head.bytes.saturating_add(1)
            ));
        }
        bytes.pop();
        bytes.drain(..length);
        Ok(Self { head, data: bytes })
    }
}

impl Head {
    pub(crate) fn new(version: Version, data: &[u8], place: Option<Place>) -> Self {
        Self { interlock: FORMAT, version, bytes: data.len() as u64, place }
    }

    /// What a file with this data begins with and ends with: a line break, for those who look at it.
    pub(crate) fn around(&self) -> (Vec<u8>, &'static [u8]) {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        (line, b"\n")
    }

    /// Reads the first line of a file, and says how long it is.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, usize), String> {
        let nothing = || "it is not a cell of Interlock".to_owned();
        let end = bytes.iter().take(HEAD_BYTES_MAX).position(|byte| *byte == b'\n');
        let line = &bytes[..end.ok_or_else(nothing)?];
        let any: AnyHead = serde_json::from_slice(line).map_err(|_| nothing())?;
        if any.interlock != FORMAT {
            return Err(format!(
                "it has format {} and this release knows {FORMAT}; upgrade",
                any.interlock
            ));
        }
        let head: Self =
            serde_json::from_slice(line).map_err(|e| format!("its head is bad: {e}"))?;
        if !(1..=Version::MAX.0).contains(&head.version.0) {
            return Err(format!("no release writes version {}", head.version));
        }
        Ok((head, line.len() + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        let before = Some(Link { after: Version(3), id: u64::MAX });
        Place { after: Version(5), id: 7, before }
    }

    fn written(version: Version, data: &[u8], place: Option<Place>) -> Vec<u8> {
        let head = Head::new(version, data, place);
        let (line, end) = head.around();
        [&line, data, end].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        for place in [None, Some(place()), Some(Place { before: None, ..place() })] {
            for data in [&b""[..], b"{}", b"\n", b"a\nb\n", &[0xFF, 0, 0xFE]] {
                let bytes = written(Version::MAX, data, place);
                assert!(bytes.len() - data.len() < HEAD_BYTES_MAX / 2);
                let head = Head::new(Version::MAX, data, place);
                assert_eq!(Cell::decode(bytes), Ok(Cell { head, data: data.into() }));
            }
        }
    }

    #[test]
    fn people_can_read_it() {
        let bytes = written(Version(9), b"{\"holds\":[]}", Some(place()));
        let text = "{\"interlock\":1,\"version\":9,\"bytes\":12,\"place\":{\"after\":5,\"id\":7,\
                    \"before\":{\"after\":3,\"id\":18446744073709551615}}}\n{\"holds\":[]}\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }

    #[test]
    fn whatever_is_cut_off_or_added_is_noticed() {
        let whole = written(Version(9), b"some\ndata", Some(place()));
        for length in 0..whole.len() {
            assert!(Cell::decode(whole[..length].into()).is_err(), "{length} bytes");
        }
        let mut more = whole;
        more.push(b'\n');
        assert!(Cell::decode(more).is_err());
    }

    #[test]
    fn what_no_release_writes_is_refused_and_a_newer_one_is_named() {
        for (line, says) in [
            ("", "not a cell"),
            ("hello", "not a cell"),
            ("{}", "not a cell"),
            ("{\"interlock\":1}", "head is bad"),
            ("{\"interlock\":1,\"version\":0,\"bytes\":0}", "version 0"),
            ("{\"interlock\":1,\"version\":9007199254740993,\"bytes\":0}", "90071992547409"),
            ("{\"interlock\":1,\"version\":1,\"bytes\":0,\"more\":1}", "more"),
            ("{\"interlock\":1,\"version\":1,\"bytes\":18446744073709551615}", "follow"),
            ("{\"interlock\":2,\"whatever\":[]}", "format 2"),
        ] {
            let error = Cell::decode(format!("{line}\n\n").into()).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
