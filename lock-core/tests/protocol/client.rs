//! One client of the model: the driver's protocol without its clocks, channels and pace.
//!
//! It follows `lock_core`'s driver function by function, so that a change there can be made here.

use std::rc::Rc;

use lock_core::table::{Event, LockTable, Op, Outcome, RequestState, Stamp, Verdict};
use lock_core::{RequestId, Version};

use crate::world::{CLIENTS_MAX, Content, acquire, client_id, index_of};
use crate::{Mutant, REQUESTS_MAX};

/// The length of a lease in ticks: a mark that was seen for so long is that of a dead client.
pub(crate) const LEASE: u8 = 2;
/// When a lease is renewed.
const DUE: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Entry {
    /// Not yet asked for.
    Idle,
    New {
        sent: bool,
    },
    Waiting,
    Held,
    Ending,
    /// Its end is confirmed.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    Granted(usize),
    Queued(usize),
    Gone(usize),
}

/// What a client knows.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, as in the driver")]
pub(crate) struct Client {
    pub(crate) me: usize,
    pub(crate) alive: bool,
    pub(crate) entries: [Entry; REQUESTS_MAX],
    pub(crate) cached: Option<Content>,
    pub(crate) seen: u64,
    pub(crate) tried: u64,
    pub(crate) unresolved: Option<u64>,
    pub(crate) suspect: bool,
    pub(crate) recheck: bool,
    pub(crate) unwanted: Vec<RequestId>,
    pub(crate) verdicts: Vec<Verdict>,
    /// Marks of others, and for how many ticks they have been seen.
    pub(crate) judged: [Option<(u64, u8)>; CLIENTS_MAX],
    /// Ticks since the last confirmed renewal was sent.
    pub(crate) lease: Option<u8>,
    /// The number of its post, if that may still be written, and ticks since it was sent.
    pub(crate) posted: Option<(u64, u8)>,
    pub(crate) in_flight: bool,
    /// Not known to the client: the life of the store in which its last swap was applied.
    pub(crate) epoch: u8,
    /// Not known either: what was reported to the user and is to be judged by the properties.
    pub(crate) lost: Vec<usize>,
    pub(crate) told: Vec<u64>,
}

/// What a client wants others to write.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) owner: usize,
    pub(crate) number: u64,
    pub(crate) ops: Vec<Op>,
}

/// A swap that is being sent.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) expected: u64,
    pub(crate) written: Content,
    pub(crate) acts: Vec<Act>,
    pub(crate) granted: Vec<usize>,
    /// Ticks since it was sent.
    pub(crate) age: u8,
}

impl Client {
    pub(crate) fn new(me: usize) -> Self {
        Self {
            me,
            alive: true,
            entries: [Entry::Idle; REQUESTS_MAX],
            cached: None,
            seen: 0,
            tried: 0,
            unresolved: None,
            suspect: false,
            recheck: false,
            unwanted: Vec::new(),
            verdicts: Vec::new(),
            judged: [None; CLIENTS_MAX],
            lease: None,
            posted: None,
            in_flight: false,
            epoch: 0,
            lost: Vec::new(),
            told: Vec::new(),
        }
    }

    pub(crate) fn id(&self, number: usize) -> RequestId {
        RequestId { client: client_id(self.me), number: number as u64 }
    }

    /// Whether its user works under the lock now.
    pub(crate) fn believes(&self) -> bool {
        self.alive && self.is_certain() && self.entries.contains(&Entry::Held)
    }

    pub(crate) fn tick(&mut self) {
        let older = |age: &mut u8| *age = (*age + 1).min(LEASE);
        self.lease.as_mut().map(older);
        if let Some((_, age)) = &mut self.posted {
            older(age);
        }
        self.judged.iter_mut().flatten().for_each(|(_, age)| older(age));
    }

    fn is_certain(&self) -> bool {
        self.lease.is_some_and(|age| age < LEASE)
    }

    fn is_dirty(entry: Entry) -> bool {
        matches!(entry, Entry::New { .. } | Entry::Ending)
    }

    fn must_swap(&self, mutant: Option<Mutant>) -> bool {
        let forced = self.suspect && mutant != Some(Mutant::SuspectIsTruth);
        let posted = self.posted.is_some() && mutant != Some(Mutant::PostForgotten);
        self.unresolved.is_some()
            || posted
            || forced
            || self.recheck
            || self.lease.is_some_and(|a| a >= DUE)
    }

    /// Whether it has something that others can write for it.
    pub(crate) fn is_asking(&self) -> bool {
        self.entries.iter().any(|entry| Self::is_dirty(*entry))
    }

    pub(crate) fn has_writes(&self, mutant: Option<Mutant>) -> bool {
        self.entries.iter().any(|entry| Self::is_dirty(*entry))
            || !self.unwanted.is_empty()
            || !self.verdicts.is_empty()
            || self.must_swap(mutant)
    }

    pub(crate) fn wants_load(&self, mutant: Option<Mutant>) -> bool {
        self.entries.contains(&Entry::Waiting) || self.has_writes(mutant)
    }

    /// The user drops the request, or gives the hold back.
    pub(crate) fn end(&mut self, number: usize) {
        self.entries[number] = match self.entries[number] {
            Entry::New { sent: false } => Entry::Gone,
            _ => Entry::Ending,
        };
    }

    /// `driver::reconcile::learn`.
    pub(crate) fn learn(&mut self, cell: &Content, mutant: Option<Mutant>) {
        if self.unresolved.is_some_and(|expected| expected < cell.version) {
            self.unresolved = None;
        }
        let same = self.cached.as_ref().is_some_and(|cached| cached.version == cell.version);
        if !same || self.recheck {
            self.cached = Some(cell.clone());
            self.suspect = cell.version < self.seen && mutant != Some(Mutant::SuspectIsTruth);
            self.recheck = self.suspect;
            if !self.suspect {
                self.seen = self.seen.max(cell.version);
                self.see_post(mutant);
                self.reconcile();
            }
        }
        self.watch_blockers();
    }

    /// `driver::posts::post`: the number has to be greater than all that was seen.
    pub(crate) fn post(&mut self, number: u64) -> Post {
        let mut ops = Vec::new();
        for at in 0..REQUESTS_MAX {
            match &mut self.entries[at] {
                Entry::New { sent } => {
                    *sent = true;
                    ops.push(acquire(self.id(at)));
                }
                Entry::Ending => ops.push(Op::Release(self.id(at))),
                _ => {}
            }
        }
        ops.push(Op::Renew(client_id(self.me)));
        self.tried = self.tried.max(number);
        self.posted = Some((number, 0));
        Post { owner: self.me, number, ops }
    }

    /// `driver::posts::see_post`.
    fn see_post(&mut self, mutant: Option<Mutant>) {
        let Some((number, age)) = self.posted else { return };
        let table = self.table();
        match table.client(client_id(self.me)) {
            Some(client) if client.mark.0 > number => {
                self.lease = Some(if mutant == Some(Mutant::PostIsNews) { 0 } else { age });
            }
            Some(_) => {}
            None => self.lease = None,
        }
        if number <= table.posted().up_to(client_id(self.me)).0 {
            self.posted = None;
        }
    }

    fn table(&self) -> Rc<LockTable> {
        self.cached.as_ref().expect("it has read").table.clone()
    }

    /// `driver::reconcile::reconcile`.
    fn reconcile(&mut self) {
        let table = self.table();
        let me = client_id(self.me);
        let known = |id: &RequestId| {
            let entry = self.entries[usize::try_from(id.number).expect("few")];
            !matches!(entry, Entry::Idle | Entry::Gone)
        };
        self.unwanted = table.requests_of(me).into_iter().filter(|id| !known(id)).collect();
        for (other, judged) in self.judged.iter_mut().enumerate() {
            *judged = judged.filter(|_| table.client(client_id(other)).is_some());
        }
        if table.client(me).is_some() && !self.is_certain() {
            self.recheck = true;
        }
        for number in 0..REQUESTS_MAX {
            match (self.entries[number], table.place(self.id(number))) {
                (Entry::New { .. } | Entry::Waiting, RequestState::Held(_)) => self.granted(number),
                (Entry::Waiting, RequestState::Absent) => {
                    self.entries[number] = Entry::New { sent: true };
                }
                (Entry::New { .. }, RequestState::Waiting) => self.queued(number),
                (Entry::Held, RequestState::Absent | RequestState::Waiting) => {
                    self.entries[number] = Entry::Ending;
                    self.lost.push(number);
                }
                _ => {}
            }
        }
    }

    /// `driver::reconcile::watch_blockers`.
    fn watch_blockers(&mut self) {
        if self.suspect {
            return;
        }
        let table = self.table();
        for number in 0..REQUESTS_MAX {
            if self.entries[number] != Entry::Waiting {
                continue;
            }
            let Some(denial) = table.waits_for(self.id(number)) else { continue };
            for blocker in &denial.blockers {
                if self.is_dead(index_of(blocker.client.id), &table) {
                    let verdict = blocker.client.verdict();
                    if !self.verdicts.contains(&verdict) {
                        self.verdicts.push(verdict);
                    }
                }
            }
        }
    }

    /// `driver::judge::judge`, where nothing can be probed.
    fn is_dead(&mut self, other: usize, table: &LockTable) -> bool {
        let Some(view) = table.client(client_id(other)).filter(|_| other != self.me) else {
            return false;
        };
        let seen = self.judged[other].get_or_insert((view.mark.0, 0));
        if seen.0 != view.mark.0 {
            *seen = (view.mark.0, 0);
        }
        seen.1 >= LEASE
    }

    /// `driver::batch::build`; `next` is what the clock says, and greater than all that was seen or
    /// posted.
    ///
    /// `None`: nothing had to be written.
    pub(crate) fn build(
        &mut self,
        next: u64,
        posts: &[Post],
        mutant: Option<Mutant>,
    ) -> Option<Batch> {
        let forced = self.must_swap(mutant);
        let Content { version, table, .. } = self.cached.take().expect("it has read");
        let next = match mutant {
            Some(Mutant::VersionReuse) => version + 1,
            Some(Mutant::NoClock) => version.max(self.seen).max(self.tried) + 1,
            _ => next,
        };
        self.tried = self.tried.max(next);
        let mut draft = Draft {
            table: (*table).clone(),
            stamp: Stamp { version: Version(next), now_ms: 0 },
            changed: forced,
            granted: Vec::new(),
        };
        for mut verdict in std::mem::take(&mut self.verdicts) {
            if let (Some(Mutant::VerdictUnbound), Some(now)) =
                (mutant, draft.table.client(verdict.client))
            {
                verdict = now.verdict();
            }
            draft.apply(&Op::Sweep(verdict));
        }
        for id in &self.unwanted {
            draft.apply(&Op::Release(*id));
        }
        let mut acts = Vec::new();
        for number in 0..REQUESTS_MAX {
            if self.entries[number] == Entry::Ending {
                draft.apply(&Op::Release(self.id(number)));
                acts.push(Act::Gone(number));
            }
        }
        for number in 0..REQUESTS_MAX {
            if matches!(self.entries[number], Entry::New { .. }) {
                acts.push(self.ask(&mut draft, number));
            }
        }
        if draft.changed {
            self.write_posts(&mut draft, posts, mutant);
        }
        self.skip_dead(&mut draft);
        if !draft.changed {
            self.cached = Some(Content::new(version, draft.table));
            self.unwanted.clear();
            for act in acts {
                self.act(act);
            }
            return None;
        }
        draft.apply(&Op::Renew(client_id(self.me)));
        for entry in &mut self.entries {
            if let Entry::New { sent } = entry {
                *sent = true;
            }
        }
        self.in_flight = true;
        let me = client_id(self.me);
        let granted = draft.granted.iter().filter(|id| id.client == me);
        let granted = granted.map(|id| usize::try_from(id.number).expect("few")).collect();
        let written = Content::new(next, draft.table);
        Some(Batch { expected: version, written, acts, granted, age: 0 })
    }

    /// `driver::posts::write_posts`.
    fn write_posts(&mut self, draft: &mut Draft, posts: &[Post], mutant: Option<Mutant>) {
        let done = draft.table.posted().clone();
        for post in posts {
            let up_to = done.up_to(client_id(post.owner)).0;
            let fits = post.number > up_to || mutant == Some(Mutant::PostTwice);
            if fits && post.owner != self.me {
                post.ops.iter().for_each(|op| draft.apply(op));
                self.sweep_if_dead(draft, post.owner);
                draft.table.end_posts(client_id(post.owner), Version(post.number));
            }
        }
        if let Some((number, _)) = self.posted {
            draft.table.end_posts(client_id(self.me), Version(number));
        }
    }

    /// `driver::batch::ask`.
    fn ask(&mut self, draft: &mut Draft, number: usize) -> Act {
        let id = self.id(number);
        let op = acquire(id);
        draft.apply(&op);
        while let Some(denial) = draft.table.waits_for(id) {
            let mut swept = false;
            for blocker in &denial.blockers {
                swept |= self.sweep_if_dead(draft, index_of(blocker.client.id));
            }
            if !swept {
                break;
            }
            draft.apply(&op);
        }
        match draft.table.place(id) {
            RequestState::Held(_) => Act::Granted(number),
            place => {
                assert_eq!(place, RequestState::Waiting, "one lock each makes no deadlock");
                Act::Queued(number)
            }
        }
    }

    fn sweep_if_dead(&mut self, draft: &mut Draft, other: usize) -> bool {
        let dead = self.is_dead(other, &draft.table);
        if dead {
            let view = draft.table.client(client_id(other)).expect("it was judged");
            draft.apply(&Op::Sweep(view.verdict()));
        }
        dead
    }

    /// `driver::batch::skip_dead`.
    fn skip_dead(&mut self, draft: &mut Draft) {
        let mut from = 0;
        while from < draft.granted.len() {
            let to = draft.granted.len();
            for at in from..to {
                let other = index_of(draft.granted[at].client);
                self.sweep_if_dead(draft, other);
            }
            from = to;
        }
    }

    /// `driver::batch::commit`, after the store said that it swapped.
    pub(crate) fn commit(&mut self, batch: Batch, answered_late: bool) {
        self.in_flight = false;
        self.seen = self.seen.max(batch.written.version);
        self.unresolved = None;
        self.posted = None;
        self.suspect = false;
        self.unwanted.clear();
        let known = batch.written.table.client(client_id(self.me)).is_some();
        self.lease = known.then_some(if answered_late { 0 } else { batch.age });
        self.cached = Some(batch.written);
        for act in batch.acts {
            self.act(act);
        }
        for number in batch.granted {
            self.granted(number);
        }
        if std::mem::take(&mut self.recheck) {
            self.reconcile();
        }
        self.watch_blockers();
    }

    /// `driver::calls::swapped` where the outcome is unknown.
    pub(crate) fn unknown(&mut self, expected: u64, mutant: Option<Mutant>) {
        self.in_flight = false;
        if mutant != Some(Mutant::AbsentMeansNever) {
            self.unresolved = self.unresolved.max(Some(expected));
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Granted(number) => self.granted(number),
            Act::Queued(number) => self.queued(number),
            Act::Gone(number) => self.entries[number] = Entry::Gone,
        }
    }

    fn queued(&mut self, number: usize) {
        if matches!(self.entries[number], Entry::New { .. }) {
            self.entries[number] = Entry::Waiting;
        }
    }

    fn granted(&mut self, number: usize) {
        let is_asked = matches!(self.entries[number], Entry::New { .. } | Entry::Waiting);
        let fences = self.table().fences(self.id(number));
        let Some(fences) = fences.filter(|_| is_asked) else { return };
        if self.is_certain() {
            self.entries[number] = Entry::Held;
            self.told.extend(fences.values().map(|fence| fence.0));
        } else {
            self.recheck = true;
        }
    }
}

struct Draft {
    table: LockTable,
    stamp: Stamp,
    changed: bool,
    granted: Vec<RequestId>,
}

impl Draft {
    fn apply(&mut self, op: &Op) {
        let known = match op {
            Op::Acquire(acquire) => self.table.place(acquire.id) != RequestState::Absent,
            _ => false,
        };
        self.changed |= match self.table.apply(op, self.stamp) {
            Outcome::Granted | Outcome::Queued => !known,
            Outcome::Done(changed) => changed,
            _ => false,
        };
        self.granted.extend(self.table.take_events().into_iter().filter_map(|event| match event {
            Event::Granted(id) => Some(id),
            _ => None,
        }));
    }
}
