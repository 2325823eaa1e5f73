//! Posts: requests and releases of one client, for another to write in its swap.
//!
//! A post may be written once, or never. That it is not written twice is the table's to see to, which
//! knows up to which number the posts of each are done: a request that was written again after its hold had ended
//! would be a hold that nobody knows of.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::codec::{self, FORMAT};
use super::{Acquire, ClientInfo, Op, Site};
use crate::backend::Version;
use crate::ids::{ClientId, RequestId, TaskId};
use crate::name;
use crate::process::{Process, ProcessGroup, ProcessSet};
use crate::request::LockSet;

/// A post on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Post {
    /// Greater than every version that its client had seen or sent, and than its earlier posts.
    pub(crate) number: Version,
    /// Whose it is.
    pub(crate) client: ClientId,
    /// What it wants to be written.
    pub(crate) ops: Vec<Op>,
    /// The same as it was sent.
    pub(crate) data: Vec<u8>,
}

/// A client that writes for others of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Writer {
    pub(crate) client: ClientId,
    /// The network namespace of its bell.
    pub(crate) bell: u64,
    /// The user it runs as: posts are taken from that one, and from root.
    pub(crate) user: u32,
}

/// Which posts are done: written, or not to be written any more.
///
/// Clients share a fixed number of places, so that what is known is bounded whoever comes and goes.
/// Who shares a place with a later post may find its own done and not written, and writes it itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostMarks {
    /// Up to this number, whoever posted.
    #[serde(default, skip_serializing_if = "is_absent")]
    all: Version,
    /// And up to these, by the client's place.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "codec::unique_map"
    )]
    of: BTreeMap<u8, Version>,
}

impl PostMarks {
    /// Up to which number this client's posts are done.
    pub fn up_to(&self, client: ClientId) -> Version {
        self.all.max(self.of.get(&place(client)).copied().unwrap_or_default())
    }

    /// All numbers up to which something is done.
    pub(super) fn numbers(&self) -> impl Iterator<Item = Version> {
        iter::once(self.all).chain(self.of.values().copied())
    }

    pub(super) fn end(&mut self, client: ClientId, number: Version) {
        if number > self.up_to(client) {
            self.of.insert(place(client), number);
        }
    }

    /// Whatever has a lower number than any that is done is done.
    pub(super) fn fold(&mut self) {
        self.all = self.numbers().max().unwrap_or_default();
        self.of.clear();
    }

    pub(super) fn has_places(&self) -> bool {
        !self.of.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_absent(version: &Version) -> bool {
    *version == Version::ABSENT
}

/// The place of a client among those that posts are counted by.
fn place(client: ClientId) -> u8 {
    (client.bits() % PLACES) as u8
}

/// Numbers of posts are below this, so that none can use up the versions.
pub(crate) const NUMBER_MAX: Version = Version(Version::MAX.0 / 2);
/// So many clients are told apart.
const PLACES: u64 = 64;
/// More ops than this are a batch of their own.
const OPS_MAX: usize = 16;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    interlock: u64,
    number: Version,
    client: ClientId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    release: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ask: Option<Asked>,
}

/// Requests, and who the client is, if the table does not know it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: Arc<str>,
    site: Site,
    pids: Vec<Process>,
    groups: Vec<ProcessGroup>,
    lease: Option<u64>,
    requests: Vec<Request>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    id: u64,
    task: TaskId,
    name: Arc<str>,
    note: Option<Arc<str>>,
    #[serde(with = "codec::shared_locks")]
    locks: Arc<LockSet>,
    wait: bool,
}

/// Writes the requests and releases among these ops as a post, if they are few; the requests are of
/// the client that is described.
pub(crate) fn write_post(
    number: Version,
    client: ClientId,
    info: &ClientInfo,
    ops: Vec<Op>,
) -> Option<Vec<u8>> {
    if ops.is_empty() || ops.len() > OPS_MAX {
        return None;
    }
    let (mut release, mut requests) = (Vec::new(), Vec::new());
    for op in ops {
        match op {
            Op::Release(id) => release.push(id.number),
            Op::Acquire(Acquire { id, task, name, note, locks, wait, .. }) => {
                requests.push(Request { id: id.number, task, name, note, locks, wait });
            }
            _ => return None,
        }
    }
    let ProcessSet { place, processes, groups } = &info.processes;
    let ask = (!requests.is_empty()).then(|| Asked {
        name: info.name.clone(),
        site: Site::new(place, info.bell),
        pids: processes.clone(),
        groups: groups.clone(),
        lease: info.lease.map(|lease| u64::try_from(lease.as_millis()).unwrap_or(u64::MAX)),
        requests,
    });
    let written = Written { interlock: FORMAT, number, client, release, ask };
    Some(serde_json::to_vec(&written).expect("all keys are text and no value fails"))
}

/// A post as it was sent; `None` if it is nothing that this release writes.
///
/// Its ops renew the lease of the client too: it counts from before it posted.
pub(crate) fn read_post(data: Vec<u8>) -> Option<Post> {
    let Written { interlock, number, client, release, ask } = serde_json::from_slice(&data).ok()?;
    if interlock != FORMAT || number >= NUMBER_MAX {
        return None;
    }
    let is_text = |text: &Arc<str>| name::check(text).is_ok();
    let id = |number| RequestId { client, number };
    let mut ops: Vec<Op> = release.into_iter().map(|number| Op::Release(id(number))).collect();
    if let Some(Asked { name, site, pids, groups, lease, requests }) = ask {
        let is_clean =
            |request: &Request| is_text(&request.name) && request.note.as_ref().is_none_or(is_text);
        if !is_text(&name) || !requests.iter().all(is_clean) {
            return None;
        }
        let info = Arc::new(ClientInfo {
            name,
            processes: ProcessSet { place: site.place(), processes: pids, groups },
            bell: site.bell,
            lease: lease.map(Duration::from_millis),
        });
        for Request { id: number, task, name, note, locks, wait } in requests {
            if task.client() != client {
                return None;
            }
            let (id, client) = (id(number), info.clone());
            ops.push(Op::Acquire(Acquire { id, task, name, note, client, locks, wait }));
        }
    }
    if ops.len() > OPS_MAX {
        return None;
    }
    ops.push(Op::Renew(client));
    Some(Post { number, client, ops, data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Request;

    fn client() -> ClientId {
        ClientId::from_random(7)
    }

    fn acquire(number: u64) -> Acquire {
        let info = ClientInfo {
            name: "web".into(),
            processes: ProcessSet::current(),
            bell: Some(3),
            lease: Some(Duration::from_secs(60)),
        };
        Acquire {
            id: RequestId { client: client(), number },
            task: TaskId::new(None, client(), 1).unwrap(),
            name: "deploy".into(),
            note: Some("by hand".into()),
            client: Arc::new(info),
            locks: Arc::new(
                Request::exclusive("app/blog").and_limit("db", 3).locks().unwrap().clone(),
            ),
            wait: true,
        }
    }

    fn post(ops: Vec<Op>) -> Option<Vec<u8>> {
        write_post(Version(5), client(), &acquire(1).client, ops)
    }

    #[test]
    fn a_post_is_read_as_it_was_written() {
        let release = Op::Release(RequestId { client: client(), number: 2 });
        let ops = vec![release.clone(), Op::Acquire(acquire(3))];
        let data = post(ops.clone()).unwrap();
        let read = read_post(data.clone()).unwrap();
        assert_eq!((read.number, read.client, read.data), (Version(5), client(), data));
        assert_eq!(read.ops, [&ops[..], &[Op::Renew(client())]].concat());
        // Whoever only gives back need not say who it is.
        assert!(post(vec![release]).unwrap().len() < 100);
    }

    #[test]
    fn marks_are_kept_by_place_until_they_are_folded() {
        let [one, shares, other] = [7, 7 + PLACES, 8].map(ClientId::from_random);
        let mut marks = PostMarks::default();
        marks.end(one, Version(5));
        marks.end(other, Version(3));
        marks.end(shares, Version(4));
        assert_eq!([one, shares, other].map(|id| marks.up_to(id).0), [5, 5, 3]);
        let json = serde_json::to_string(&marks).unwrap();
        assert_eq!(json, r#"{"of":{"7":5,"8":3}}"#);
        assert_eq!(serde_json::from_str::<PostMarks>(&json).unwrap(), marks);
        marks.fold();
        assert_eq!([one, shares, other].map(|id| marks.up_to(id).0), [5, 5, 5]);
        marks.end(other, Version(5));
        assert_eq!(serde_json::to_string(&marks).unwrap(), r#"{"all":5}"#);
        let twice = r#"{"of":{"7":5,"7":3}}"#;
        assert!(serde_json::from_str::<PostMarks>(twice).is_err());
    }

    #[test]
    fn only_a_few_requests_and_releases_are_posted() {
        assert_eq!(post(vec![]), None);
        assert_eq!(post(vec![Op::Renew(client())]), None);
        assert_eq!(post(vec![Op::Acquire(acquire(1)); OPS_MAX + 1]), None);
    }

    #[test]
    fn what_is_no_post_is_none() {
        let good = String::from_utf8(post(vec![Op::Acquire(acquire(1))]).unwrap()).unwrap();
        assert!(read_post(good.clone().into()).is_some());
        let max = NUMBER_MAX.to_string();
        let task = format!("{}.1", client());
        let strange = format!("{}.1", ClientId::from_random(8));
        for (from, to) in [
            ("\"interlock\":1", "\"interlock\":2"),
            ("\"number\":5", &format!("\"number\":{max}")),
            ("\"deploy\"", "\"de\\nploy\""),
            ("\"web\"", "\"\""),
            ("by hand", "by\\nhand"),
            ("\"app/blog\"", "\"app//blog\""),
            ("\"wait\"", "\"weight\""),
            (&task, &strange),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good, "{from}");
            assert_eq!(read_post(bad.clone().into()), None, "{bad}");
        }
        for bad in ["", "{}", "[]", "{", "\0"] {
            assert_eq!(read_post(bad.into()), None, "{bad}");
        }
    }
}
