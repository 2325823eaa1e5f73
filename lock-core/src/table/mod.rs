//! The lock table: all that locks mean, as one pure state machine over a small table.
//!
//! It does no I/O, reads no clock and draws no random numbers: versions, ids and verdicts come in
//! as arguments. The driver is the only user inside this crate; it is public so that tools and
//! tests can read and reason about what is in a store.
//!
//! What goes in and comes out ([`Op`], [`Outcome`], [`Event`], [`RequestState`]) is exhaustive: a new case is a
//! breaking change, because whoever models the table has to learn of it.

mod apply;
mod check;
mod claims;
mod codec;
mod fit;
mod kept;
mod op;
mod post;
mod reduction;
mod view;
mod why;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backend::Version;
use crate::ids::{ClientId, RequestId, TaskId};
use crate::name::LockName;
use crate::process::{self, Process, ProcessGroup, ProcessSet};
use crate::request::LockSet;

use claims::Claims;
use kept::Kept;

pub use codec::TableError;
pub use op::{Acquire, ClientInfo, Event, Op, Outcome, RequestState, Stamp, SweptHold, Verdict};
pub use post::PostMarks;
pub(crate) use post::{NUMBER_MAX, Post, Writer, read_post, write_post};
pub use view::{Blocker, ClientView, Cycle, Denial, Edge, HoldView, Listing, WaiterView};
pub use why::{Condition, Why};

/// The table of all clients, tasks, holds and waiters of one namespace.
///
/// ```
/// use lock_core::{MemoryBackend, Locks, table::LockTable};
///
/// let store = MemoryBackend::new();
/// let locks = Locks::new(store.clone()).blocking();
/// let guard = locks.acquire("app/blog")?;
///
/// let table = LockTable::decode(&store.snapshot())?;
/// assert_eq!(table.list().holds[0].fence, guard.fence());
/// # guard.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct LockTable {
    clients: BTreeMap<ClientId, Kept<Client>>,
    /// Where clients are, each place once: those of one host have that in common.
    sites: BTreeMap<u64, Site>,
    /// The queue: a waiter's place is the order of its ticket.
    queue: BTreeMap<Ticket, Waiter>,
    /// Which posts were written, or are not to be written any more.
    posted: PostMarks,
    /// Who wrote this, if it offers to write for others.
    writer: Option<Writer>,

    // Derived from the above, never written.
    /// All claims on a name, held and waiting.
    claims: Claims,
    /// Where requests are: the number of the task that holds, the ticket of the waiter.
    holders: HashMap<RequestId, u64>,
    tickets: HashMap<RequestId, Ticket>,
    families: HashMap<Box<str>, Family>,
    /// How many families are entangled.
    entangled: usize,
    events: Vec<Event>,
}

/// A place in the queue: lower is earlier.
type Ticket = u64;

/// The ticket of somebody who is not in the queue: behind everybody.
const LAST: Ticket = Ticket::MAX;

/// A place with clients, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Site {
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "codec::text_for_people"
    )]
    host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pidns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timens: Option<u64>,
    /// The network namespace of bells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bell: Option<u64>,
}

/// One driver with its processes, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Client {
    name: Arc<str>,
    /// Where it is; absent if nothing is known of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    site: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pids: Vec<Process>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<ProcessGroup>,
    /// The revision of the process set.
    #[serde(default, skip_serializing_if = "codec::is_zero")]
    rev: u64,
    /// The length of the lease in milliseconds; absent: only a probe or an operator frees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<u64>,
    /// The version of its last renewal.
    mark: Version,
    /// Since when others have seen a mark, by boot.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "codec::unique_map"
    )]
    seen: BTreeMap<Arc<str>, Seen>,
    /// Requests that somebody else freed, until their client has heard of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    freed: Vec<u64>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "codec::unique_map"
    )]
    tasks: BTreeMap<u64, Task>,
}

/// Since when a renewal mark has been seen, on the clock of one boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    mark: Version,
    /// Milliseconds of `CLOCK_BOOTTIME`.
    at: u64,
}

/// One line of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    /// Absent if it is the client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Arc<str>>,
    /// The task it is nested in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    under: Option<TaskId>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "codec::text_for_people"
    )]
    note: Option<Arc<str>>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "codec::unique_map"
    )]
    holds: BTreeMap<u64, Hold>,
    /// How many of its requests are in the queue.
    #[serde(skip)]
    waiters: usize,
}

/// A granted request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hold {
    /// The version of the swap that granted it.
    fence: Version,
    /// When that was, in milliseconds since 1970; absent if the version tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    /// The fences of names that an enclosing hold of the same line of work covers.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "codec::unique_map"
    )]
    fences: BTreeMap<LockName, Version>,
    #[serde(with = "codec::locks")]
    locks: LockSet,
}

/// A request in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiter {
    task: TaskId,
    id: u64,
    /// When it queued, in milliseconds since 1970.
    since: u64,
    #[serde(with = "codec::shared_locks")]
    locks: Arc<LockSet>,
}

impl Waiter {
    fn request(&self) -> RequestId {
        RequestId { client: self.task.client(), number: self.id }
    }
}

/// What is known of all tasks that share an outermost task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Family {
    holds: usize,
    waiters: usize,
}

impl Family {
    /// Tells whether a line of work in it waits that may already hold something.
    fn is_entangled(self) -> bool {
        self.waiters > 0 && self.holds > 0 || self.waiters > 1
    }
}

impl Client {
    fn lease(&self) -> Option<std::time::Duration> {
        self.lease.map(std::time::Duration::from_millis)
    }
}

impl Site {
    fn new(place: &process::Place, bell: Option<u64>) -> Self {
        let process::Place { host, boot, pid_ns, time_ns } = place.clone();
        Self { host, boot, pidns: pid_ns, timens: time_ns, bell }
    }

    fn place(&self) -> process::Place {
        let Self { host, boot, pidns, timens, .. } = self.clone();
        process::Place { host, boot, pid_ns: pidns, time_ns: timens }
    }
}

impl Hold {
    /// The fence of one of its names.
    fn fence_of(&self, name: &str) -> Version {
        self.fences.get(name).copied().unwrap_or(self.fence)
    }

    /// What its holder takes for its fence: the greatest of all its names.
    fn token(&self) -> u64 {
        self.locks.keys().map(|name| self.fence_of(name.as_str()).0).max().unwrap_or_default()
    }

    fn since_ms(&self) -> u64 {
        self.at.unwrap_or(self.fence.0 / 1000)
    }
}

impl LockTable {
    /// Makes an empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which posts are done: written, or not to be written any more.
    pub fn posted(&self) -> &PostMarks {
        &self.posted
    }

    /// From now on this client's posts up to this number are done; not above the version that the
    /// table is swapped in at.
    pub fn end_posts(&mut self, client: ClientId, number: Version) {
        self.posted.end(client, number);
    }

    /// Whether there is something that helps to write for others, and that can be done without.
    pub(crate) fn has_to_spare(&self) -> bool {
        self.writer.is_some() || self.posted.has_places()
    }

    /// Nobody is known to post: one number is enough.
    pub(crate) fn fold_posts(&mut self) {
        self.posted.fold();
    }

    /// Who wrote this, if it offers to write for others.
    pub(crate) fn writer(&self) -> Option<Writer> {
        self.writer
    }

    pub(crate) fn set_writer(&mut self, writer: Option<Writer>) {
        self.writer = writer;
    }

    /// Tells whether nobody holds or waits for anything.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Where a request is.
    pub fn place(&self, id: RequestId) -> RequestState {
        if self.tickets.contains_key(&id) {
            return RequestState::Waiting;
        }
        let Some(client) = self.clients.get(&id.client) else { return RequestState::Absent };
        if client.freed.contains(&id.number) {
            return RequestState::Freed;
        }
        self.find_hold(id).map_or(RequestState::Absent, |(_, hold)| RequestState::Held(hold.fence))
    }

    /// The fence of each lock of a hold, if the table knows it.
    pub fn fences(&self, id: RequestId) -> Option<BTreeMap<LockName, Version>> {
        let (_, hold) = self.find_hold(id)?;
        Some(hold.locks.keys().map(|name| (name.clone(), hold.fence_of(name.as_str()))).collect())
    }

    /// The ids of everything that a client holds, waits for, or has not yet heard was freed.
    pub fn requests_of(&self, client: ClientId) -> Vec<RequestId> {
        let held =
            self.clients.get(&client).into_iter().flat_map(|c| {
                c.tasks.values().flat_map(|t| t.holds.keys()).chain(&c.freed).copied()
            });
        let waiting = self.queue.values().filter(|w| w.task.client() == client).map(|w| w.id);
        held.chain(waiting).map(|number| RequestId { client, number }).collect()
    }

    /// What has happened to requests since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn site(&self, client: &Client) -> Site {
        let site = client.site.and_then(|number| self.sites.get(&number));
        site.cloned().unwrap_or_default()
    }

    /// The number of a site, which it has from now on if the table does not know it.
    fn number_of(&mut self, site: Site) -> Option<u64> {
        if site == Site::default() {
            return None;
        }
        let known = self.sites.iter().find(|(_, known)| **known == site);
        let free = || (0..=self.sites.len() as u64).find(|number| !self.sites.contains_key(number));
        let number = known.map(|(number, _)| *number).or_else(free)?;
        self.sites.entry(number).or_insert(site);
        Some(number)
    }

    fn processes(&self, client: &Client) -> ProcessSet {
        ProcessSet {
            place: self.site(client).place(),
            processes: client.pids.clone(),
            groups: client.groups.clone(),
        }
    }

    fn find_hold(&self, id: RequestId) -> Option<(u64, &Hold)> {
        let number = *self.holders.get(&id)?;
        Some((number, self.clients.get(&id.client)?.tasks.get(&number)?.holds.get(&id.number)?))
    }

    /// Whether a task, if it is known, is known as nested in the same tasks.
    pub(crate) fn fits_family(&self, id: &TaskId) -> bool {
        self.task(id).is_none_or(|task| task.under == id.parent())
    }

    fn task(&self, id: &TaskId) -> Option<&Task> {
        self.clients.get(&id.client())?.tasks.get(&id.number())
    }

    /// The name of a task that people read.
    fn task_name(&self, id: &TaskId) -> Arc<str> {
        let client = self.clients.get(&id.client());
        let own = self.task(id).and_then(|task| task.name.clone());
        own.or_else(|| client.map(|c| c.name.clone())).unwrap_or_else(|| id.as_str().into())
    }

    /// The id of task `number` of a client.
    fn task_id(client: ClientId, number: u64, task: &Task) -> TaskId {
        TaskId::new(task.under.as_ref(), client, number).expect("its depth was checked")
    }
}
