//! The directory that is not one, and how a client sees it: call by call, each with an answer that is kept.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;

/// Names go from 0 to below this.
pub(super) const NAMES: u64 = 10;

/// A directory: what is there, and what a power cut may undo of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Disk {
    pub(super) now: Entries,
    pub(super) synced: Entries,
    pub(super) pending: Vec<Change>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Entries {
    pub(super) files: BTreeMap<u64, Head>,
    pub(super) collected: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Change {
    Link(u64, Head),
    Remove(u64),
    Collected,
}

impl Entries {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Link(name, head) => drop(self.files.insert(*name, *head)),
            Change::Remove(name) => drop(self.files.remove(name)),
            Change::Collected => self.collected = true,
        }
    }
}

impl Disk {
    fn change(&mut self, change: Change) {
        self.now.apply(&change);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        self.synced = self.now.clone();
        self.pending.clear();
    }

    /// What a power cut may leave: of the changes since the last sync, any.
    pub(super) fn cuts(&self) -> Vec<Self> {
        let subsets = 0..1_u32 << self.pending.len();
        let kept = |subset: u32| {
            let mut left = self.synced.clone();
            let kept = self.pending.iter().enumerate().filter(|(i, _)| subset & 1 << i != 0);
            kept.for_each(|(_, change)| left.apply(change));
            Self { now: left.clone(), synced: left, pending: Vec::new() }
        };
        subsets.map(kept).collect()
    }
}

/// What a call was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Reply {
    Names(Vec<u64>),
    Head(Option<Head>),
    Yes(bool),
}

/// How lists are made: names from below or from above, in so many pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) from_above: bool,
    pub(super) piece: u64,
}

/// The directory as one client sees it.
pub(super) struct Seen<'a> {
    pub(super) client: u64,
    pub(super) scan: Scan,
    pub(super) loses_answers: bool,
    pub(super) inner: RefCell<Inner<'a>>,
}

pub(super) struct Inner<'a> {
    pub(super) disk: &'a mut Disk,
    pub(super) replies: &'a mut Vec<Reply>,
    pub(super) at: usize,
    /// How many calls may be made that have no answer yet.
    pub(super) steps: usize,
    pub(super) ids: u64,
    /// Whether the next call is the first one of an act, and whether such a one was answered just now.
    pub(super) begins: bool,
    pub(super) began: bool,
    /// Whether it wants to make a call that it may not make yet.
    pub(super) is_paused: bool,
}

impl Seen<'_> {
    fn call(&self, make: impl FnOnce(&mut Disk) -> Reply) -> Result<Reply, BackendError> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.at == inner.replies.len() {
            if inner.steps == 0 {
                inner.is_paused = true;
                return Err(BackendError::new(BackendErrorKind::Busy, "paused"));
            }
            inner.steps -= 1;
            inner.began = inner.begins;
            let reply = make(inner.disk);
            inner.replies.push(reply);
        }
        inner.begins = false;
        inner.at += 1;
        Ok(inner.replies[inner.at - 1].clone())
    }

    fn flag(&self, make: impl FnOnce(&mut Disk) -> bool) -> Result<bool, BackendError> {
        match self.call(|disk| Reply::Yes(make(disk)))? {
            Reply::Yes(yes) => Ok(yes),
            other => panic!("{other:?}"),
        }
    }
}

impl Names for Seen<'_> {
    type New<'n>
        = Head
    where
        Self: 'n;

    fn list(&self) -> Result<Vec<Version>, BackendError> {
        let mut pieces: Vec<u64> = (0..NAMES.div_ceil(self.scan.piece)).collect();
        if self.scan.from_above {
            pieces.reverse();
        }
        let mut all = Vec::new();
        for piece in pieces {
            let names = piece * self.scan.piece..(piece + 1) * self.scan.piece;
            let list = |disk: &mut Disk| {
                Reply::Names(disk.now.files.range(names).map(|(name, _)| *name).collect())
            };
            match self.call(list)? {
                Reply::Names(names) => all.extend(names.into_iter().map(Version)),
                other => panic!("{other:?}"),
            }
        }
        Ok(all)
    }

    fn read(&self, after: Version) -> Result<Option<Cell>, BackendError> {
        Ok(self.head(after)?.map(|head| Cell { head, data: Vec::new() }))
    }

    fn head(&self, after: Version) -> Result<Option<Head>, BackendError> {
        match self.call(|disk| Reply::Head(disk.now.files.get(&after.0).copied()))? {
            Reply::Head(head) => Ok(head),
            other => panic!("{other:?}"),
        }
    }

    fn write(&self, head: &Head, _data: &[u8]) -> Result<Head, BackendError> {
        Ok(*head) // Nobody sees it.
    }

    fn link(&self, new: &Head, after: Version) -> Result<bool, BackendError> {
        self.flag(|disk| {
            let is_new = !disk.now.files.contains_key(&after.0);
            if is_new {
                disk.change(Change::Link(after.0, *new));
            }
            is_new && !self.loses_answers
        })
    }

    fn remove(&self, after: Version) -> Result<(), BackendError> {
        let remove = |disk: &mut Disk| {
            let is_there = disk.now.files.contains_key(&after.0);
            if is_there {
                disk.change(Change::Remove(after.0));
            }
            is_there
        };
        self.flag(remove).map(drop)
    }

    fn has_collected(&self) -> Result<bool, BackendError> {
        self.flag(|disk| disk.now.collected)
    }

    fn mark_collected(&self) -> Result<(), BackendError> {
        let mark = |disk: &mut Disk| {
            if !disk.now.collected {
                disk.change(Change::Collected);
            }
            true
        };
        self.flag(mark).map(drop)
    }

    fn sync(&self) -> Result<(), BackendError> {
        let sync = |disk: &mut Disk| {
            disk.sync();
            true
        };
        self.flag(sync).map(drop)
    }

    fn sync_above(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn id(&self) -> Result<u64, BackendError> {
        let inner = &mut *self.inner.borrow_mut();
        inner.ids += 1;
        Ok(self.client * 100 + inner.ids)
    }

    fn is_current(&self) -> bool {
        true
    }

    fn refuse(&self, after: Version, what: &str) -> BackendError {
        panic!("{after} is refused: {what}")
    }

    fn error(&self, kind: BackendErrorKind, what: &str) -> BackendError {
        BackendError::new(kind, what)
    }
}
