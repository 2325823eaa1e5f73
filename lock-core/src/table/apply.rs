//! Ops on a table: registering, granting, queueing, releasing, sweeping.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::claims::Claim;
use super::reduction::lineage;
use super::{
    Acquire, Client, Event, Family, Hold, LAST, LockTable, Op, Outcome, RequestState, Seen, Site,
    Stamp, SweptHold, Task, Ticket, Verdict, Waiter,
};
use crate::backend::Version;
use crate::failpoint::{Mutant, is};
use crate::ids::{ClientId, RequestId, TaskId};
use crate::name::LockName;
use crate::process::ProcessSet;
use crate::request::{LockSet, Mode};

/// Locks that are no longer held or waited for.
struct Freed {
    task: TaskId,
    locks: Arc<LockSet>,
    /// The place in the queue of who waited for them: nobody before it is nearer to them now.
    place: Option<Ticket>,
}

impl LockTable {
    /// Applies an op, as part of a swap to `stamp.version`, and grants whoever is next.
    ///
    /// # Panics
    ///
    /// When an [`Acquire`] is not as it has to be, at once or later; and nobody may be able to read a table
    /// that has one.
    pub fn apply(&mut self, op: &Op, stamp: Stamp) -> Outcome {
        match op {
            Op::Acquire(acquire) => self.acquire(acquire, stamp),
            Op::Release(id) => Outcome::Done(self.release(*id, stamp)),
            Op::Withdraw(id) => Outcome::Done(self.withdraw(*id, stamp)),
            Op::Downgrade(id) => Outcome::Done(self.downgrade(*id, stamp)),
            Op::ReleaseTasks(tasks) => Outcome::Done(self.release_tasks(tasks, stamp)),
            Op::Sweep(verdict) => Outcome::Done(self.sweep(*verdict, stamp)),
            Op::Observe { client, mark, boot, first_ms } => {
                Outcome::Done(self.observe(*client, *mark, boot, *first_ms))
            }
            Op::SetProcesses { client, processes } => {
                Outcome::Done(self.set_processes(*client, processes))
            }
            Op::Renew(client) => {
                if let Some(client) = self.clients.get_mut(client) {
                    client.mark = stamp.version;
                    client.seen.clear();
                }
                Outcome::Done(false)
            }
        }
    }

    fn acquire(&mut self, acquire: &Acquire, stamp: Stamp) -> Outcome {
        match self.place(acquire.id) {
            RequestState::Held(_) => return Outcome::Granted,
            RequestState::Waiting => return Outcome::Queued,
            RequestState::Freed => return Outcome::Freed,
            RequestState::Absent => {}
        }
        if self.is_free_for_newcomer(&acquire.task, &acquire.locks) {
            self.register(acquire, stamp);
            self.grant(acquire.id, &acquire.task, (*acquire.locks).clone(), stamp);
            // The grant may have been all that an earlier waiter had to let pass.
            self.settle(&[], stamp);
            return Outcome::Granted;
        }
        if !acquire.wait {
            return Outcome::Busy(self.denial(&acquire.task, &acquire.locks, LAST));
        }
        self.register(acquire, stamp);
        let ticket = self.queue.last_key_value().map_or(0, |(last, _)| last + 1);
        self.enqueue(
            ticket,
            Waiter {
                task: acquire.task.clone(),
                id: acquire.id.number,
                since: stamp.now_ms,
                locks: acquire.locks.clone(),
            },
        );
        if let Some(stuck) = self.is_deadlocked(ticket) {
            let cycle = self.cycle(ticket, &stuck);
            self.dequeue(ticket);
            return Outcome::Deadlock(cycle);
        }
        self.settle(&[], stamp);
        Outcome::Queued
    }

    fn release(&mut self, id: RequestId, stamp: Stamp) -> bool {
        let freed = match self.place(id) {
            RequestState::Held(_) => self.end_hold(id),
            RequestState::Waiting => self.dequeue(self.tickets[&id]),
            RequestState::Freed => return self.forget(id),
            RequestState::Absent => {
                let another = self.holders.keys().next().copied();
                return is(Mutant::ReleaseOfAnother)
                    && another.is_some_and(|id| self.release(id, stamp));
            }
        };
        self.settle(&[freed], stamp);
        true
    }

    fn withdraw(&mut self, id: RequestId, stamp: Stamp) -> bool {
        self.place(id) == RequestState::Waiting && self.release(id, stamp)
    }

    fn downgrade(&mut self, id: RequestId, stamp: Stamp) -> bool {
        let Some((number, hold)) = self.find_hold(id) else { return false };
        let exclusives: LockSet = hold
            .locks
            .iter()
            .filter(|(_, m)| m.is_exclusive())
            .map(|(n, m)| (n.clone(), *m))
            .collect();
        if exclusives.is_empty() {
            return false;
        }
        let task = self.clients.get_mut(&id.client).and_then(|c| c.tasks.get_mut(&number));
        let task = task.expect("just found");
        let task_id = Self::task_id(id.client, number, task);
        let hold = task.holds.get_mut(&id.number).expect("just found");
        for name in exclusives.keys() {
            hold.locks.insert(name.clone(), Mode::Shared);
            let claim = Claim { task: &task_id, request: id, mode: Mode::Exclusive, ticket: None };
            self.claims.remove(name, claim);
            self.claims.insert(name, Claim { mode: Mode::Shared, ..claim });
        }
        self.settle(&[Freed { task: task_id, locks: Arc::new(exclusives), place: None }], stamp);
        true
    }

    fn release_tasks(&mut self, tasks: &[TaskId], stamp: Stamp) -> bool {
        let mut freed = Vec::new();
        // All waiters first, and nobody is granted before the end: else the hold of one task would
        // be handed to another that is to be freed too.
        let waits = |waiter: &Waiter| tasks.contains(&waiter.task);
        let waiting: Vec<Ticket> =
            self.queue.iter().filter(|(_, w)| waits(w)).map(|(ticket, _)| *ticket).collect();
        for ticket in waiting {
            let id = self.queue[&ticket].request();
            // Remembered first, so that its client's record stays.
            self.clients.get_mut(&id.client).expect("it has this task").freed.push(id.number);
            freed.push(self.dequeue(ticket));
            self.events.push(Event::Freed(id));
        }
        for id in tasks {
            let Some(task) = self.task(id) else { continue };
            let request = |number: &u64| RequestId { client: id.client(), number: *number };
            for hold in task.holds.keys().map(request).collect::<Vec<_>>() {
                // Its client may not know yet that it was granted, and take it for swept.
                self.clients.get_mut(&hold.client).expect("it holds").freed.push(hold.number);
                freed.push(self.end_hold(hold));
                self.events.push(Event::Freed(hold));
            }
        }
        self.settle(&freed, stamp);
        !freed.is_empty()
    }

    fn sweep(&mut self, verdict: Verdict, stamp: Stamp) -> bool {
        let id = verdict.client;
        let Some(client) = self.clients.get_mut(&id) else { return false };
        let differs = client.mark != verdict.mark || client.rev != verdict.revision;
        if differs && !is(Mutant::VerdictUnbound) {
            return false;
        }
        client.freed.clear();
        let name = client.name.clone();
        let mut holds = Vec::new();
        for task in client.tasks.values() {
            let name = task.name.as_ref().unwrap_or(&client.name);
            holds.extend(task.holds.iter().map(|(&number, hold)| SweptHold {
                id: RequestId { client: id, number },
                task: name.clone(),
                locks: hold.locks.clone(),
                fence: hold.token(),
            }));
        }
        let waiting: Vec<Ticket> = self
            .queue
            .iter()
            .filter(|(_, w)| w.task.client() == id)
            .map(|(ticket, _)| *ticket)
            .collect();
        let waiters = waiting.len();
        let mut freed = Vec::new();
        for ticket in waiting {
            freed.push(self.dequeue(ticket));
        }
        for hold in &holds {
            freed.push(self.end_hold(hold.id));
        }
        self.clients.remove(&id);
        self.events.push(Event::Swept { client: id, name, holds, waiters });
        self.settle(&freed, stamp);
        true
    }

    fn observe(&mut self, id: ClientId, mark: Version, boot: &Arc<str>, first_ms: u64) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return false };
        if client.mark != mark {
            return false;
        }
        match client.seen.entry(boot.clone()) {
            Entry::Occupied(seen) if seen.get().mark == mark && seen.get().at <= first_ms => false,
            Entry::Occupied(mut seen) => {
                seen.insert(Seen { mark, at: first_ms });
                true
            }
            Entry::Vacant(entry) => {
                entry.insert(Seen { mark, at: first_ms });
                true
            }
        }
    }

    fn forget(&mut self, id: RequestId) -> bool {
        let Some(client) = self.clients.get_mut(&id.client) else { return false };
        let before = client.freed.len();
        client.freed.retain(|number| *number != id.number);
        let forgotten = client.freed.len() < before;
        self.drop_if_idle(id.client);
        forgotten
    }

    /// Grants everybody who is next, in the order of the queue.
    ///
    /// Only three kinds of waiters can have become next: those for something that overlaps what
    /// was `freed`, those that waited for a sub-task which gave up, and those whose line of work
    /// already holds something, because whom they may overtake depends on the whole table.
    fn settle(&mut self, freed: &[Freed], stamp: Stamp) {
        if is(Mutant::OrphanedWaiter) {
            return;
        }
        let mut hopeful = self.waiting_for(freed);
        loop {
            let next = if self.entangled == 0 {
                hopeful.iter().copied().find(|ticket| self.is_next(*ticket))
            } else {
                let mut candidates = hopeful.clone();
                candidates.extend(
                    self.queue.iter().filter(|(_, w)| self.is_entangled(w)).map(|(t, _)| *t),
                );
                candidates.sort_unstable();
                candidates.dedup();
                candidates.into_iter().find(|ticket| self.is_next(*ticket))
            };
            let Some(ticket) = next else { break };
            self.grant_waiter(ticket, stamp);
            // A grant frees nothing: of the merely hopeful, only those behind can still be next.
            hopeful.retain(|other| *other > ticket);
        }
    }

    /// Tells whether a waiter's line of work may already hold something.
    fn is_entangled(&self, waiter: &Waiter) -> bool {
        self.families.get(waiter.task.family()).is_some_and(|family| family.is_entangled())
    }

    /// The tickets of those who wait for something that was freed, or for a name above or below it,
    /// and of those who waited for a task that freed something, or a sub-task.
    fn waiting_for(&self, freed: &[Freed]) -> Vec<Ticket> {
        if freed.is_empty() || self.queue.is_empty() {
            return Vec::new();
        }
        let tasks: HashSet<&str> =
            freed.iter().flat_map(|freed| lineage(freed.task.as_str())).collect();
        let names = freed.iter().flat_map(|freed| freed.locks.keys().map(LockName::as_str));
        let names: BTreeSet<&str> = names.collect();
        // From the queue on, no hold is looked at, however many there are.
        let has = |name: &LockName| {
            let mut around = std::iter::once(name.as_str()).chain(name.above());
            around.any(|up| names.contains(up)) || {
                let first = [name.as_str(), "/"].concat();
                let mut from = names.range::<str, _>((Bound::Included(&*first), Bound::Unbounded));
                from.next().is_some_and(|below| below.starts_with(&first))
            }
        };
        let waits = |w: &Waiter| tasks.contains(w.task.as_str()) || w.locks.keys().any(has);
        let family = |freed: &Freed| self.families.get(freed.task.family());
        let is_kin = |freed: &Freed| family(freed).is_some_and(|family| family.waiters > 0);
        let first =
            if freed.iter().any(is_kin) { None } else { freed.iter().map(|f| f.place).min() };
        let behind = self.queue.range(first.flatten().unwrap_or_default()..);
        behind.filter(|(_, w)| waits(w)).map(|(ticket, _)| *ticket).collect()
    }

    fn grant_waiter(&mut self, ticket: Ticket, stamp: Stamp) {
        let waiter = self.queue[&ticket].clone();
        let id = waiter.request();
        // Granted before it leaves the queue, so that its task stays known.
        self.grant(id, &waiter.task, (*waiter.locks).clone(), stamp);
        self.dequeue(ticket);
    }

    fn set_processes(&mut self, id: ClientId, set: &ProcessSet) -> bool {
        let Some(client) = self.clients.get(&id) else { return false };
        if self.processes(client) == *set {
            return false;
        }
        let bell = self.site(client).bell;
        let site = self.number_of(Site::new(&set.place, bell));
        let client = self.clients.get_mut(&id).expect("it was just seen");
        client.site = site;
        client.pids.clone_from(&set.processes);
        client.groups.clone_from(&set.groups);
        client.rev = client.rev.wrapping_add(1); // Verdicts ask only whether it is the same.
        true
    }

    /// Makes sure that the client and the task are known.
    fn register(&mut self, acquire: &Acquire, stamp: Stamp) {
        let info = &acquire.client;
        let ProcessSet { place, processes, groups } = &info.processes;
        if !self.clients.contains_key(&acquire.id.client) {
            let client = Client {
                name: info.name.clone(),
                site: self.number_of(Site::new(place, info.bell)),
                pids: processes.clone(),
                groups: groups.clone(),
                rev: 0,
                lease: info.lease.map(|l| u64::try_from(l.as_millis()).unwrap_or(u64::MAX)),
                mark: stamp.version,
                seen: BTreeMap::new(),
                freed: Vec::new(),
                tasks: BTreeMap::new(),
            };
            self.clients.insert(acquire.id.client, client.into());
        }
        let client = self.clients.get_mut(&acquire.id.client).expect("it is there");
        let name = (client.name != acquire.name).then(|| acquire.name.clone());
        client.tasks.entry(acquire.task.number()).or_insert_with(|| Task {
            name,
            under: acquire.task.parent(),
            note: acquire.note.clone(),
            holds: BTreeMap::new(),
            waiters: 0,
        });
    }

    fn grant(&mut self, id: RequestId, task: &TaskId, locks: LockSet, stamp: Stamp) {
        let mut fences = BTreeMap::new();
        for name in locks.keys() {
            if let Some(fence) = self.covering_fence(task, name) {
                fences.insert(name.clone(), fence);
            }
        }
        self.add_claims(task, id, &locks, None);
        self.change_family(task, |family| family.holds += 1);
        let tasks = &mut self.clients.get_mut(&id.client).expect("registered").tasks;
        let holds = &mut tasks.get_mut(&task.number()).expect("registered").holds;
        let at = (stamp.version.0 / 1000 != stamp.now_ms).then_some(stamp.now_ms);
        let step = if is(Mutant::FenceReuse) { 10_000_000 } else { 1 };
        let fence = Version((stamp.version.0 / step * step).max(1));
        holds.insert(id.number, Hold { fence, at, fences, locks });
        self.holders.insert(id, task.number());
        self.events.push(Event::Granted(id));
    }

    /// The fence of the hold of the same line of work that already covers a name.
    ///
    /// Whoever works under an enclosing hold writes to the same resources as its holder, in turn
    /// with it: a fence of its own would lock the holder out. Only an exclusive hold is such: under
    /// another, one sub-task could get a fence of its own, and the next the older one.
    fn covering_fence(&self, task: &TaskId, name: &LockName) -> Option<Version> {
        std::iter::once(name.as_str())
            .chain(name.above())
            .flat_map(|name| self.claims.exclusive_on(name).map(move |claim| (name, claim)))
            .filter(|(_, claim)| claim.ticket.is_none() && claim.task.contains(task))
            .filter_map(|(name, claim)| Some(self.find_hold(claim.request)?.1.fence_of(name)))
            .min()
    }

    fn enqueue(&mut self, ticket: Ticket, waiter: Waiter) {
        let id = waiter.request();
        self.add_claims(&waiter.task, id, &waiter.locks, Some(ticket));
        self.change_family(&waiter.task, |family| family.waiters += 1);
        let tasks = &mut self.clients.get_mut(&id.client).expect("registered").tasks;
        tasks.get_mut(&waiter.task.number()).expect("registered").waiters += 1;
        self.tickets.insert(id, ticket);
        self.queue.insert(ticket, waiter);
    }

    /// Takes a waiter out of the queue, and its task and client if they have nothing else.
    fn dequeue(&mut self, ticket: Ticket) -> Freed {
        let waiter = self.queue.remove(&ticket).expect("it is in the queue");
        let id = waiter.request();
        self.tickets.remove(&id);
        self.remove_claims(&waiter.task, id, &waiter.locks, Some(ticket));
        self.change_family(&waiter.task, |family| family.waiters -= 1);
        let tasks = &mut self.clients.get_mut(&id.client).expect("registered").tasks;
        tasks.get_mut(&waiter.task.number()).expect("registered").waiters -= 1;
        self.drop_task_if_idle(&waiter.task);
        Freed { task: waiter.task, locks: waiter.locks, place: Some(ticket) }
    }

    fn end_hold(&mut self, id: RequestId) -> Freed {
        let (number, _) = self.find_hold(id).expect("it is held");
        let task = self.clients.get_mut(&id.client).and_then(|c| c.tasks.get_mut(&number));
        let task = task.expect("just found");
        let hold = task.holds.remove(&id.number).expect("just found");
        self.holders.remove(&id);
        let task = Self::task_id(id.client, number, task);
        self.remove_claims(&task, id, &hold.locks, None);
        self.change_family(&task, |family| family.holds -= 1);
        self.drop_task_if_idle(&task);
        Freed { task, locks: Arc::new(hold.locks), place: None }
    }

    fn add_claims(
        &mut self,
        task: &TaskId,
        id: RequestId,
        locks: &LockSet,
        ticket: Option<Ticket>,
    ) {
        for (name, &mode) in locks {
            self.claims.insert(name, Claim { task, request: id, mode, ticket });
        }
    }

    fn remove_claims(
        &mut self,
        task: &TaskId,
        id: RequestId,
        locks: &LockSet,
        ticket: Option<Ticket>,
    ) {
        for (name, &mode) in locks {
            self.claims.remove(name, Claim { task, request: id, mode, ticket });
        }
    }

    fn change_family(&mut self, task: &TaskId, change: impl Fn(&mut Family)) {
        if !self.families.contains_key(task.family()) {
            self.families.insert(task.family().into(), Family::default());
        }
        let family = self.families.get_mut(task.family()).expect("just inserted");
        self.entangled -= usize::from(family.is_entangled());
        change(family);
        self.entangled += usize::from(family.is_entangled());
    }

    fn drop_task_if_idle(&mut self, id: &TaskId) {
        let client = self.clients.get_mut(&id.client()).expect("registered");
        let task = &client.tasks[&id.number()];
        if task.holds.is_empty() && task.waiters == 0 {
            client.tasks.remove(&id.number());
            if self.families.get(id.family()) == Some(&Family::default()) {
                self.families.remove(id.family());
            }
            self.drop_if_idle(id.client());
        }
    }

    fn drop_if_idle(&mut self, id: ClientId) {
        if self.clients.get(&id).is_some_and(|c| c.tasks.is_empty() && c.freed.is_empty()) {
            self.clients.remove(&id);
        }
    }

    /// Rebuilds what is derived, from a table as it was read.
    pub(super) fn index(&mut self, queue: Vec<Waiter>) -> Result<(), &'static str> {
        let clients = std::mem::take(&mut self.clients);
        for (&id, client) in &clients {
            for (&number, task) in &client.tasks {
                let task_id = TaskId::new(task.under.as_ref(), id, number)
                    .map_err(|_| "tasks are nested too deep")?;
                for (&hold_number, hold) in &task.holds {
                    let request = RequestId { client: id, number: hold_number };
                    self.add_claims(&task_id, request, &hold.locks, None);
                    self.change_family(&task_id, |family| family.holds += 1);
                    if self.holders.insert(request, number).is_some() {
                        return Err("a request is in the table twice");
                    }
                }
            }
        }
        self.clients = clients;
        for (ticket, waiter) in (0..).zip(queue) {
            let task = self.task(&waiter.task).ok_or("a waiter belongs to no task")?;
            if task.under != waiter.task.parent() {
                return Err("a waiter belongs to a task of another family");
            }
            if self.place(waiter.request()) != RequestState::Absent {
                return Err("a request is in the table twice");
            }
            self.enqueue(ticket, waiter);
        }
        Ok(())
    }
}
