//! What people and programs are told of a table: listings, denials, circles.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::claims::Counted;
use super::fit::Obstacle;
use super::{Client, LAST, LockTable, Ticket, Verdict};
use crate::backend::Version;
use crate::ids::{ClientId, RequestId, TaskId};
use crate::name::LockName;
use crate::process::{Liveness, ProcessSet};
use crate::request::{LockSet, Mode};

/// A client, as a table knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientView {
    /// Its id.
    pub id: ClientId,
    /// Its name.
    pub name: Arc<str>,
    /// Its processes and where they are.
    pub processes: ProcessSet,
    /// The network namespace in which its bell can be rung.
    pub bell: Option<u64>,
    /// The length of its lease; `None`: it never ends by itself.
    pub lease: Option<Duration>,
    /// The version of its last renewal.
    pub mark: Version,
    /// The revision of its process set.
    pub revision: u64,
    /// Whether it lives. The table itself cannot know: the driver fills this in.
    pub state: Liveness,
}

impl ClientView {
    /// What a verdict on the client, as it is now, is bound to.
    pub fn verdict(&self) -> Verdict {
        Verdict { client: self.id, mark: self.mark, revision: self.revision }
    }
}

/// A granted request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HoldView {
    /// Its id.
    pub id: RequestId,
    /// The name of the task that holds it.
    pub task: Arc<str>,
    /// The id of that task.
    pub task_id: TaskId,
    /// What the task wants people to know.
    pub note: Option<Arc<str>>,
    /// The locks.
    pub locks: LockSet,
    /// Its fencing token, as [`Guard::fence`](crate::Guard::fence).
    pub fence: u64,
    /// When it was granted, by the clock of who wrote that.
    pub since: SystemTime,
    /// Who owns the task.
    pub client: Arc<ClientView>,
}

/// A request in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaiterView {
    /// Its id.
    pub id: RequestId,
    /// The name of the task that waits.
    pub task: Arc<str>,
    /// The id of that task.
    pub task_id: TaskId,
    /// What the task wants people to know.
    pub note: Option<Arc<str>>,
    /// The locks.
    pub locks: LockSet,
    /// When it queued, by the clock of who wrote that.
    pub since: SystemTime,
    /// Who owns the task.
    pub client: Arc<ClientView>,
    /// What is in its way. Empty while it waits for a sub-task of its own.
    pub blocked_by: Vec<Blocker>,
}

impl WaiterView {
    /// Its client, and those in its way.
    pub(super) fn clients_mut(&mut self) -> impl Iterator<Item = &mut Arc<ClientView>> {
        let blockers = self.blocked_by.iter_mut().map(|blocker| &mut blocker.client);
        std::iter::once(&mut self.client).chain(blockers)
    }
}

/// Everything in a table.
///
/// ```
/// # use lock_core::{Locks, MemoryBackend};
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let locks = Locks::new(MemoryBackend::new());
/// # let held = locks.task("backup-17").acquire("app/blog").await?;
/// let listing = locks.list().await?;
/// for hold in &listing.holds {
///     let names: Vec<&str> = hold.locks.keys().map(|name| name.as_str()).collect();
///     println!("{} has {} ({:?})", hold.task, names.join(", "), hold.client.state);
/// #     assert_eq!((&*hold.task, &*names), ("backup-17", &["app/blog"][..]));
/// }
/// for waiter in &listing.waiting {
///     println!("{} waits for {} others", waiter.task, waiter.blocked_by.len());
/// }
/// assert_eq!((listing.holds.len(), listing.waiting.len()), (1, 0));
/// # held.release().await?;
/// # locks.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The version of the cell.
    pub version: Version,
    /// All holds, the oldest first.
    pub holds: Vec<HoldView>,
    /// The queue, in order.
    pub waiting: Vec<WaiterView>,
}

impl Listing {
    /// All the clients in it, wherever they are named.
    pub(crate) fn clients_mut(&mut self) -> impl Iterator<Item = &mut Arc<ClientView>> {
        let waiting = self.waiting.iter_mut().flat_map(WaiterView::clients_mut);
        self.holds.iter_mut().map(|hold| &mut hold.client).chain(waiting)
    }
}

/// A hold or an earlier waiter that is in the way of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocker {
    /// The name of the task.
    pub task: Arc<str>,
    /// The id of the task.
    pub task_id: TaskId,
    /// Its lock that is in the way.
    pub lock: LockName,
    /// The mode of that lock.
    pub mode: Mode,
    /// Whether it waits itself, ahead in the queue; else it holds the lock.
    pub waits: bool,
    /// Since when it holds or waits, by the clock of who wrote that.
    pub since: SystemTime,
    /// Who owns the task.
    pub client: Arc<ClientView>,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.waits { "waited for" } else { "held" };
        write!(f, "{} {how} by {}", self.lock, self.task)?;
        let set = &self.client.processes;
        let pid = set.processes.first().map(|process| format!("pid {}", process.pid));
        let host = set.place.host.as_ref().map(|host| format!("on {host}"));
        let place = [pid, host].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let comma = if place.is_empty() { "" } else { ", " };
        let age = age(self.since.elapsed().unwrap_or_default());
        match self.client.state {
            Liveness::Alive => write!(f, " ({place}{comma}{age})"),
            Liveness::Dead => write!(f, " ({place}{comma}dead, {age})"),
            Liveness::Unknown => write!(f, " ({place}{comma}cannot be seen from here, {age})"),
        }
    }
}

/// How long, in the largest unit that fits.
fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86400),
    }
}

/// Why a request was not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denial {
    /// What was asked for.
    pub locks: LockSet,
    /// Everything in the way: holds first, then earlier waiters.
    pub blockers: Vec<Blocker>,
    /// The place in the queue: how many waiters are before this request, in the way or not.
    pub place: usize,
}

impl Denial {
    /// The clients of those in the way.
    pub(crate) fn clients_mut(&mut self) -> impl Iterator<Item = &mut Arc<ClientView>> {
        self.blockers.iter_mut().map(|blocker| &mut blocker.client)
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 3;
        for (at, blocker) in self.blockers.iter().take(SHOWN_MAX).enumerate() {
            write!(f, "{}{blocker}", if at > 0 { "; " } else { "" })?;
        }
        if let more @ 1.. = self.blockers.len().saturating_sub(SHOWN_MAX) {
            write!(f, "; and {more} more")?;
        }
        if self.blockers.is_empty() {
            let names: Vec<&str> = self.locks.keys().map(LockName::as_str).collect();
            write!(f, "waiting for {}", names.join(", "))?;
        }
        Ok(())
    }
}

/// A circle of tasks, each waiting for the next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cycle {
    /// Who waits for whom; the last waits for the first.
    pub edges: Vec<Edge>,
}

/// One step of a circle: a task that waits for a lock that another keeps from it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edge {
    /// The name of the task that waits.
    pub task: Arc<str>,
    /// The id of the task that waits.
    pub task_id: TaskId,
    /// The lock in its way.
    pub lock: LockName,
    /// The name of the task that holds it.
    pub holder: Arc<str>,
    /// The id of the task that holds it.
    pub holder_id: TaskId,
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, edge) in self.edges.iter().enumerate() {
            let join = if at > 0 { ", and " } else { "" };
            write!(f, "{join}{} waits for {}, held by {}", edge.task, edge.lock, edge.holder)?;
        }
        Ok(())
    }
}

impl LockTable {
    /// Everything in the table.
    ///
    /// The version is left at 0 and the states at unknown, since a table knows neither.
    pub fn list(&self) -> Listing {
        let mut holds = Vec::new();
        for (&id, client) in &self.clients {
            let view = Arc::new(self.client_view(id, client));
            for (&number, task) in &client.tasks {
                let task_id = Self::task_id(id, number, task);
                holds.extend(task.holds.iter().map(|(&number, hold)| {
                    let shown = HoldView {
                        id: RequestId { client: id, number },
                        task: self.task_name(&task_id),
                        task_id: task_id.clone(),
                        note: task.note.clone(),
                        locks: hold.locks.clone(),
                        fence: hold.token(),
                        since: time(hold.since_ms()),
                        client: view.clone(),
                    };
                    (hold.fence, shown)
                }));
            }
        }
        holds.sort_by_key(|(granted_at, hold)| (*granted_at, hold.id));
        let holds = holds.into_iter().map(|(_, hold)| hold).collect();
        let waiting = self.queue.iter().map(|(&ticket, waiter)| WaiterView {
            id: waiter.request(),
            task: self.task_name(&waiter.task),
            task_id: waiter.task.clone(),
            note: self.task(&waiter.task).and_then(|task| task.note.clone()),
            locks: (*waiter.locks).clone(),
            since: time(waiter.since),
            client: Arc::new(self.client_of(&waiter.task)),
            blocked_by: self.blockers(self.in_the_way(&waiter.task, &waiter.locks, ticket)),
        });
        Listing { version: Version::ABSENT, holds, waiting: waiting.collect() }
    }

    /// A client, if the table knows it.
    pub fn client(&self, id: ClientId) -> Option<ClientView> {
        self.clients.get(&id).map(|client| self.client_view(id, client))
    }

    pub(crate) fn has_client(&self, id: ClientId) -> bool {
        self.clients.contains_key(&id)
    }

    /// All clients.
    pub fn clients(&self) -> impl Iterator<Item = ClientView> {
        self.clients.iter().map(|(id, client)| self.client_view(*id, client))
    }

    /// The ids of all tasks of this name, as they are now.
    pub fn tasks_named(&self, name: &str) -> Vec<TaskId> {
        let mut found = Vec::new();
        for (&id, client) in &self.clients {
            for (&number, task) in &client.tasks {
                if **task.name.as_ref().unwrap_or(&client.name) == *name {
                    found.push(Self::task_id(id, number, task));
                }
            }
        }
        found
    }

    /// Why `task` would have to wait for `locks`, or `None` if it would get them at once.
    pub fn would_block(&self, task: &TaskId, locks: &LockSet) -> Option<Denial> {
        let denial = self.denial(task, locks, LAST);
        (!denial.blockers.is_empty()).then_some(denial)
    }

    /// Why a request in the queue still waits, if it is there.
    pub fn waits_for(&self, id: RequestId) -> Option<Denial> {
        let ticket = *self.tickets.get(&id)?;
        let waiter = &self.queue[&ticket];
        Some(self.denial(&waiter.task, &waiter.locks, ticket))
    }

    /// Why a task still waits: what is in the way of the first of its requests in the queue.
    pub fn task_waits_for(&self, task: &TaskId) -> Option<Denial> {
        let (&ticket, waiter) = self.queue.iter().find(|(_, waiter)| waiter.task == *task)?;
        Some(self.denial(&waiter.task, &waiter.locks, ticket))
    }

    /// Since when a mark of a client was seen by observers of this boot, in milliseconds of its
    /// `CLOCK_BOOTTIME`.
    pub fn seen_since_ms(&self, client: ClientId, boot: &str) -> Option<(Version, u64)> {
        let seen = self.clients.get(&client)?.seen.get(boot)?;
        Some((seen.mark, seen.at))
    }

    pub(super) fn denial(
        &self,
        task: &crate::ids::TaskId,
        locks: &LockSet,
        place: Ticket,
    ) -> Denial {
        Denial {
            locks: locks.clone(),
            blockers: self.blockers(self.in_the_way(task, locks, place)),
            place: self.queue.range(..place).count(),
        }
    }

    /// Those in the way: holds first, then waiters in the order of the queue.
    pub(super) fn blockers(&self, mut found: Vec<Obstacle<'_>>) -> Vec<Blocker> {
        found
            .sort_by_key(|(name, claim)| (claim.ticket.map_or(0, |t| t + 1), *name, claim.request));
        found.dedup();
        found.into_iter().map(|obstacle| self.blocker(obstacle)).collect()
    }

    fn blocker(&self, (lock, claim): Obstacle<'_>) -> Blocker {
        let since_ms = match claim.ticket {
            Some(ticket) => self.queue[&ticket].since,
            None => self.find_hold(claim.request).map_or(0, |(_, hold)| hold.since_ms()),
        };
        Blocker {
            task: self.task_name(claim.task),
            task_id: claim.task.clone(),
            lock: lock.clone(),
            mode: claim.mode,
            waits: claim.ticket.is_some(),
            since: time(since_ms),
            client: Arc::new(self.client_of(claim.task)),
        }
    }

    fn client_of(&self, task: &TaskId) -> ClientView {
        self.client(task.client()).expect("the client of a task is in the table")
    }

    /// A circle that the waiter with this ticket would close.
    ///
    /// From a stuck waiter one comes to a hold in its way, whose task is only kept from giving it
    /// back by another stuck waiter, and so on: after finitely many steps one comes back.
    pub(super) fn cycle(&self, ticket: Ticket, stuck: &BTreeSet<Ticket>) -> Cycle {
        let mut way: Vec<(Ticket, Edge)> = Vec::new();
        let mut at = ticket;
        loop {
            if let Some(first) = way.iter().position(|(seen, _)| *seen == at) {
                return Cycle { edges: way.drain(first..).map(|(_, edge)| edge).collect() };
            }
            let waiter = &self.queue[&at];
            let below = self.waits_in(&waiter.task, stuck);
            if let Some(below) = below.filter(|t| self.queue[t].task != waiter.task).last() {
                at = below; // It cannot go on before its sub-task does.
                continue;
            }
            let step =
                self.obstacles(&waiter.task, &waiter.locks, Counted::Holds).into_iter().find_map(
                    |(lock, claim)| Some((lock, claim, self.waits_in(claim.task, stuck).next()?)),
                );
            let Some((lock, claim, next)) = step else {
                return Cycle { edges: way.into_iter().map(|(_, edge)| edge).collect() };
            };
            way.push((
                at,
                Edge {
                    task: self.task_name(&waiter.task),
                    task_id: waiter.task.clone(),
                    lock: lock.clone(),
                    holder: self.task_name(claim.task),
                    holder_id: claim.task.clone(),
                },
            ));
            at = next;
        }
    }

    fn client_view(&self, id: ClientId, client: &Client) -> ClientView {
        ClientView {
            id,
            name: client.name.clone(),
            processes: self.processes(client),
            bell: self.site(client).bell,
            lease: client.lease(),
            mark: client.mark,
            revision: client.rev,
            state: Liveness::Unknown,
        }
    }
}

fn time(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(SystemTime::UNIX_EPOCH)
}
