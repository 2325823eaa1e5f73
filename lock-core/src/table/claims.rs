//! Who claims which name, held and waited for, and what of it is known without a look at every claim.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use super::{LAST, Ticket};
use crate::failpoint::{Mutant, is};
use crate::ids::{ClientId, RequestId, TaskId};
use crate::name::LockName;
use crate::request::Mode;

/// All claims, by name, holds before waiters. Those that tolerate no others are apart: there is hardly ever more than
/// one of them on a name, and none of them need be looked at by who may be beside all the rest.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    exclusive: BTreeMap<LockName, Vec<(Key, TaskId)>>,
    open: BTreeMap<LockName, Open>,
}

/// Orders the holds before the waiters, and these as they are in the queue.
type Key = (Option<Ticket>, RequestId);

/// One lock of one request, held or waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim<'t> {
    pub(super) task: &'t TaskId,
    pub(super) request: RequestId,
    pub(super) mode: Mode,
    /// The place in the queue; `None`: held.
    pub(super) ticket: Option<Ticket>,
}

/// What tolerates others on one name.
#[derive(Debug, Clone, Default)]
struct Open {
    claims: BTreeMap<Key, (TaskId, Mode)>,
    /// How many of the claims are held.
    holds: usize,
    /// How many claims have this limit, held and waited for.
    limits: [BTreeMap<u32, usize>; 2],
    /// How many claims each family holds.
    families: HashMap<Box<str>, usize>,
}

/// Which claims count.
#[derive(Clone, Copy)]
pub(super) enum Counted<'c> {
    /// The holds.
    Holds,
    /// The holds, and the waiters before this place but for those that may be overtaken.
    Ahead(Ticket, &'c BTreeSet<Ticket>),
    /// Those for which this is true.
    Such(&'c dyn Fn(&Claim<'_>) -> bool),
}

/// Whether one more holder would be tolerated on a name, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Yes,
    No,
    /// Each claim has to be looked at.
    Unclear,
}

impl Claim<'_> {
    pub(super) fn is_held(&self) -> bool {
        self.ticket.is_none()
    }
}

impl Counted<'_> {
    pub(super) fn includes(self, claim: &Claim<'_>) -> bool {
        match self {
            Self::Holds => claim.ticket.is_none(),
            Self::Ahead(place, overtaken) => {
                claim.ticket.is_none_or(|ticket| ticket < place && !overtaken.contains(&ticket))
            }
            Self::Such(is_such) => is_such(claim),
        }
    }

    /// The place of the first waiter that does not count, nor any behind it.
    fn end(self) -> Ticket {
        match self {
            Self::Holds => 0,
            Self::Ahead(place, _) => place,
            Self::Such(_) => LAST,
        }
    }
}

impl Claims {
    pub(super) fn insert(&mut self, name: &LockName, claim: Claim<'_>) {
        let key = (claim.ticket, claim.request);
        if claim.mode.is_exclusive() {
            let room_for_one = || Vec::with_capacity(1);
            let claims = self.exclusive.entry(name.clone()).or_insert_with(room_for_one);
            let at = claims.partition_point(|(other, _)| *other < key);
            claims.insert(at, (key, claim.task.clone()));
        } else {
            let open = self.open.entry(name.clone()).or_default();
            open.change(claim, |count| count + 1);
            open.claims.insert(key, (claim.task.clone(), claim.mode));
        }
    }

    /// Takes out what a request claims, which it does.
    pub(super) fn remove(&mut self, name: &LockName, claim: Claim<'_>) {
        let key = (claim.ticket, claim.request);
        if claim.mode.is_exclusive() {
            let claims = self.exclusive.get_mut(name).expect("claimed");
            let at = claims.binary_search_by_key(&key, |(key, _)| *key).expect("claimed");
            claims.remove(at);
            if claims.is_empty() {
                self.exclusive.remove(name);
            }
        } else {
            let open = self.open.get_mut(name).expect("claimed");
            open.change(claim, |count| count - 1);
            open.claims.remove(&key).expect("claimed");
            if open.claims.is_empty() {
                self.open.remove(name);
            }
        }
    }

    pub(super) fn each_exclusive(
        &self,
    ) -> impl Iterator<Item = (&LockName, impl Iterator<Item = Claim<'_>> + Clone)> {
        self.exclusive.iter().map(|(name, claims)| (name, exclusive(claims)))
    }

    pub(super) fn each_open(
        &self,
    ) -> impl Iterator<Item = (&LockName, impl Iterator<Item = Claim<'_>>)> {
        self.open.iter().map(|(name, open)| (name, open.each()))
    }

    pub(super) fn exclusive_on(&self, name: &str) -> impl Iterator<Item = Claim<'_>> {
        self.exclusive.get(name).into_iter().flat_map(|claims| exclusive(claims))
    }

    pub(super) fn open_on(&self, name: &str) -> impl Iterator<Item = Claim<'_>> {
        self.open.get(name).into_iter().flat_map(Open::each)
    }

    /// The claims on names above and below this one that conflict with this mode there: either one exclusive
    /// is enough.
    pub(super) fn around<'t>(
        &'t self,
        name: &'t LockName,
        mode: Mode,
    ) -> impl Iterator<Item = (&'t LockName, Claim<'t>)> {
        let open = mode.is_exclusive().then_some(&self.open);
        let open = open.into_iter().flat_map(|open| around(open, name));
        let open = open.flat_map(|(name, open)| open.each().map(move |c| (name, c)));
        let alone = around(&self.exclusive, name);
        alone.flat_map(|(name, claims)| exclusive(claims).map(move |c| (name, c))).chain(open)
    }

    /// Whether one holder more, a `task` that tolerates others, would be tolerated on a name by those that count,
    /// itself included.
    ///
    /// As many as have a claim are holders at most, and as many as families hold one at least: only between these
    /// it takes a look at each. What is told of claims that tolerate others: those that do not are no part of it.
    pub(super) fn room(&self, name: &str, task: &TaskId, mode: Mode, counted: Counted<'_>) -> Room {
        let Some(open) = self.open.get(name) else { return Room::Yes };
        let off = u64::from(is(Mutant::LimitOffByOne));
        let [held, waiting] = open.limits.each_ref().map(|limits| limits.keys().next().copied());
        let waiting = waiting.filter(|_| counted.end() > 0);
        let least = |limits: [Option<u32>; 2]| {
            limits.into_iter().flatten().map(u64::from).min().unwrap_or(u64::MAX)
        };
        let tolerated = mode.tolerance().min(least([held, waiting]));
        if tolerated == u64::MAX || (open.counted_at_most(counted) as u64) < tolerated + off {
            return Room::Yes;
        }
        if matches!(counted, Counted::Such(_)) {
            return Room::Unclear;
        }
        let own = open.families.contains_key(task.family());
        let others = (open.families.len() - usize::from(own)) as u64;
        // Whose limit it is matters if it may be that of the task's own line of work.
        let tolerated = mode.tolerance().min(if own { u64::MAX } else { least([held, None]) });
        if others >= tolerated.saturating_add(off) { Room::No } else { Room::Unclear }
    }
}

impl Open {
    fn change(&mut self, claim: Claim<'_>, to: impl Fn(usize) -> usize) {
        let is_waiting = usize::from(claim.ticket.is_some());
        if let Mode::Limit(limit) = claim.mode {
            let limits = &mut self.limits[is_waiting];
            let count = limits.entry(limit).or_default();
            *count = to(*count);
            if *count == 0 {
                limits.remove(&limit);
            }
        }
        if claim.ticket.is_some() {
            return;
        }
        self.holds = to(self.holds);
        let family = claim.task.family();
        if !self.families.contains_key(family) {
            self.families.insert(family.into(), 0);
        }
        let count = self.families.get_mut(family).expect("just inserted");
        *count = to(*count);
        if *count == 0 {
            self.families.remove(family);
        }
    }

    fn each(&self) -> impl Iterator<Item = Claim<'_>> {
        let claims = self.claims.iter();
        claims.map(|(key, (task, mode))| Claim { task, request: key.1, mode: *mode, ticket: key.0 })
    }

    fn counted_at_most(&self, counted: Counted<'_>) -> usize {
        let no_request = RequestId { client: ClientId::from_random(0), number: 0 };
        let first = |ticket| (Some(ticket), no_request);
        match counted.end() {
            0 => self.holds,
            LAST => self.claims.len(),
            place => self.holds + self.claims.range(first(0)..first(place)).count(),
        }
    }
}

fn exclusive(claims: &[(Key, TaskId)]) -> impl Iterator<Item = Claim<'_>> + Clone {
    let mode = Mode::Exclusive;
    claims.iter().map(move |(key, task)| Claim { task, request: key.1, mode, ticket: key.0 })
}

/// What a map has for the names above and below this one.
fn around<'t, T>(
    map: &'t BTreeMap<LockName, T>,
    name: &'t LockName,
) -> impl Iterator<Item = (&'t LockName, &'t T)> {
    let above = name.above().filter_map(|up| map.get_key_value(up));
    // Most maps of those that tolerate others are empty.
    let first = (!map.is_empty()).then(|| [name.as_str(), "/"].concat());
    let below = first
        .into_iter()
        .flat_map(|first| map.range::<str, _>((Bound::Included(&*first), Bound::Unbounded)));
    above.chain(below.take_while(|(below, _)| below.is_below(name)))
}
