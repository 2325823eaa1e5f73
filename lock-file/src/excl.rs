//! Strategy `excl`: a chain of files, of which each is made once and never changed.
//!
//! The file `after-5` holds the version that followed version 5, whatever number that has. To swap is
//! to create the file `after-<expected>` as a whole: it is written under another name, synced, and
//! then linked to that name, which fails if the name is there. So of many who swap from one version one
//! succeeds, on any file system that can link, and there is nothing that somebody could leave locked.
//! The cell is what the file with the greatest number in its name holds.
//!
//! What makes this hard is that old files have to be removed. Whoever was paused for long could then
//! create `after-5` a second time, on a chain that went on long ago; and whoever reads a directory while
//! others add to it and remove from it may see hardly any of the chain. Three rules make both harmless:
//!
//! 1. *Oldest first.* A file is removed only after all that came before it in the chain, so that what is
//!    left of the chain has no gap. The newest [`KEEP`] stay: age is counted in swaps and not in hours,
//!    because that needs no clock. Before the first of all is removed, the file `collected` says that the
//!    chain no longer has its beginning.
//! 2. *A file counts if the one before it stands.* Each names the file that it follows, by number and by
//!    an id that no other file has. It counts if that one is seen **after** it was itself found (by a
//!    reader) or made (by a writer); the first one counts if `collected` is not there.
//! 3. *On firm ground only.* A file is made only after the name of the one before it is durable.
//!
//! # Why that is enough
//!
//! *A file that counts was made once.* Let X follow P. If P stands, then by 1 nobody has removed X so far,
//! nor anything later. So when X was linked, its name was new for all time. (If P is the beginning, the
//! same follows from `collected` not being there; it is never taken away.)
//!
//! *There is one chain.* A writer starts from a file that counts and that holds the expected version. Of
//! those who link to its one successor name, one is the first ever; only for that one the check of 2 can
//! succeed. The others see that the name is there, which is a conflict, or find that what they started
//! from is gone. Then they cannot tell whether they were the first and a long time has passed, or whether
//! they came too late: the outcome is unknown, and the driver finds out. What they made lies at
//! a number below the chain's, where nobody looks, and is removed with the next old files.
//!
//! *What is read is the newest.* Suppose that a swap to N was answered before a load began, and the load
//! returns an older X. N was not in its list, so it was removed while the names were listed; all names that
//! are there all the time are listed. Then by 1 the file before X was removed earlier still, and the
//! check of 2, which came after the list, did not find it. So the load looks again instead.
//!
//! *A power cut* leaves, of the names that are not synced, any. By 3 there is at most one such in the
//! chain, its end, which nobody was told of; and never is a file removed for names that may vanish. Old
//! names may come back, below the chain. All who were about to write are gone then, or (on NFS) the
//! server made each name durable before it answered.
//!
//! *Nobody stops anybody.* There is no lock. Who reads has to look again only when others have swapped
//! [`KEEP`] times during one look.
//!
//! The tests below search all that two and three clients can do, with every call to the directory at any
//! time, every list in pieces, and a power cut anywhere; and they show that each rule is needed.

use lock_core::{BackendError, BackendErrorKind, Snapshot, Swap, Version};

use crate::cell::{Cell, Head, Link, Place};

/// How many of the newest files stay.
const KEEP: usize = 32;
/// With how many files those are removed that need not stay.
const MOST: usize = 64;
/// How often in a row a look may come to nothing.
const LOOKS_MAX: usize = 20;

/// The calls that a chain makes to its directory; a name is the number in `after-…`.
pub(crate) trait Names {
    /// A file that is complete and durable, but has no name that counts yet.
    type New<'n>
    where
        Self: 'n;

    /// All names that are there as long as this takes, and maybe others.
    fn list(&self) -> Result<Vec<Version>, BackendError>;
    /// What a file holds.
    fn read(&self, after: Version) -> Result<Option<Cell>, BackendError>;
    /// The first line of a file.
    fn head(&self, after: Version) -> Result<Option<Head>, BackendError>;
    /// Makes a file without a name.
    fn write(&self, head: &Head, data: &[u8]) -> Result<Self::New<'_>, BackendError>;
    /// Gives it a name that must be new; `false` if it is not.
    fn link(&self, new: &Self::New<'_>, after: Version) -> Result<bool, BackendError>;
    /// Removes a name, if it is there.
    fn remove(&self, after: Version) -> Result<(), BackendError>;
    /// Whether the file `collected` is there.
    fn has_collected(&self) -> Result<bool, BackendError>;
    /// Makes the file `collected`, if it is not there.
    fn mark_collected(&self) -> Result<(), BackendError>;
    /// Makes all names durable that are there.
    fn sync(&self) -> Result<(), BackendError>;
    /// Makes the names durable that lead to the directory.
    fn sync_above(&self) -> Result<(), BackendError>;
    /// A number that no other file has.
    fn id(&self) -> Result<u64, BackendError>;
    /// Whether the directory is still where the store is.
    fn is_current(&self) -> bool;
    /// The error for what is wrong with a file.
    fn refuse(&self, after: Version, what: &str) -> BackendError;
    /// An error about the directory.
    fn error(&self, kind: BackendErrorKind, what: &str) -> BackendError;
}

/// What a client knows of a chain.
#[derive(Debug)]
pub(crate) struct Chain {
    known: Option<End>,
    /// How many files there were when it last looked, and its own since then.
    files: usize,
    keep: usize,
    most: usize,
    /// A rule that a test breaks on purpose.
    #[cfg(test)]
    broken: Option<Rule>,
}

/// What a test may break, to show that it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    OldestFirst,
    MarkTheBeginning,
    WritersLookBack,
    ReadersLookBack,
    FirmGround,
}

/// The end of a chain as it was when somebody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    version: Version,
    /// The file; `None` if the chain has not begun.
    link: Option<Link>,
    /// Whether its name is known to be durable.
    durable: bool,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            known: None,
            files: 0,
            keep: KEEP,
            most: MOST,
            #[cfg(test)]
            broken: None,
        }
    }
}

impl Chain {
    pub(crate) fn load(&mut self, names: &impl Names) -> Result<Snapshot, BackendError> {
        for _ in 0..LOOKS_MAX {
            let Some((found, link)) = self.look(names)? else { continue };
            if self.known.is_none_or(|known| known.link != link || known.version != found.version) {
                self.known = Some(End { version: found.version, link, durable: false });
            }
            return Ok(found);
        }
        let what = "the file before its newest one is missing again and again; if nobody writes to it, \
                    it was copied in part: remove it, or restore all of it";
        Err(names.error(BackendErrorKind::Unavailable, what))
    }

    pub(crate) fn swap(
        &mut self,
        names: &impl Names,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        if self.known.is_none_or(|known| known.version != expected) {
            self.load(names)?;
        }
        let Some(end) = self.known.filter(|known| known.version == expected) else {
            return Ok(Swap::Conflict);
        };
        // Only so that who comes too late costs no sync, and leaves nothing behind.
        if names.head(expected)?.is_some() || !stands(names, end.link)? {
            return Ok(Swap::Conflict);
        }
        if !end.durable && self.keeps(Rule::FirmGround) {
            names.sync()?;
        }
        if end.link.is_none() {
            names.sync_above()?;
        }
        let old = if self.files < self.most { None } else { Some(names.list()?) };
        let id = names.id()?;
        let place = Place { after: expected, id, before: end.link };
        let new = names.write(&Head::new(next, data, Some(place)), data)?;
        if !names.link(&new, expected)? && !is_ours(names, expected, id)? {
            return Ok(Swap::Conflict);
        }
        drop(new);
        let unknown = |what: &str| names.error(BackendErrorKind::OutcomeUnknown, what);
        match stands(names, end.link) {
            _ if !self.keeps(Rule::WritersLookBack) => {}
            Ok(true) => {}
            Ok(false) => return Err(unknown("others have swapped many times meanwhile")),
            Err(e) => return Err(unknown("it cannot be read").with_source(e)),
        }
        names.sync().map_err(|e| unknown("what was written may not be durable").with_source(e))?;
        if !names.is_current() {
            return Err(unknown("it was replaced meanwhile"));
        }
        let link = Some(Link { after: expected, id });
        self.known = Some(End { version: next, link, durable: true });
        self.files += 1;
        if let Some(old) = old {
            // What stays is removed another time.
            let _ = self.collect(names, old);
        }
        Ok(Swap::Swapped)
    }

    /// Looks for the end of the chain; `None` if what was found does not count.
    fn look(&mut self, names: &impl Names) -> Result<Option<Found>, BackendError> {
        let all = names.list()?;
        self.files = all.len();
        let Some(after) = all.into_iter().max() else {
            return Ok(self.counts(names, None)?.then(|| (Snapshot::default(), None)));
        };
        let Some(cell) = names.read(after)? else { return Ok(None) };
        let place =
            cell.head.place.filter(|place| place.after == after && after < cell.head.version);
        let place = place.ok_or_else(|| names.refuse(after, "it belongs elsewhere"))?;
        let link = Link { after, id: place.id };
        Ok(self.counts(names, place.before)?.then(|| (cell.into_snapshot(), Some(link))))
    }

    fn counts(&self, names: &impl Names, before: Option<Link>) -> Result<bool, BackendError> {
        Ok(!self.keeps(Rule::ReadersLookBack) || stands(names, before)?)
    }

    /// Whether a rule is kept, as it always is but in a test.
    #[cfg_attr(not(test), allow(clippy::unused_self, reason = "a test has it break one"))]
    fn keeps(&self, rule: Rule) -> bool {
        #[cfg(test)]
        return self.broken != Some(rule);
        #[cfg(not(test))]
        return {
            let _ = rule;
            true
        };
    }

    /// Removes files that are not among the newest, of a list that was made when the chain ended where
    /// this client went on.
    fn collect(&mut self, names: &impl Names, mut old: Vec<Version>) -> Result<(), BackendError> {
        self.files = old.len().min(self.keep) + 1;
        let Some(to_go) = old.len().checked_sub(self.keep).filter(|to_go| *to_go > 0) else {
            return Ok(());
        };
        if !names.has_collected()? && self.keeps(Rule::MarkTheBeginning) {
            names.mark_collected()?;
        }
        old.sort_unstable();
        old.truncate(to_go);
        if !self.keeps(Rule::OldestFirst) {
            old.reverse();
        }
        // If one cannot be removed, the later ones have to stay.
        old.into_iter().try_for_each(|name| names.remove(name))
    }
}

/// Whether a file, or the beginning, was not removed so far: then nothing was that came after it.
fn stands(names: &impl Names, link: Option<Link>) -> Result<bool, BackendError> {
    let Some(link) = link else { return Ok(!names.has_collected()?) };
    let found = names.head(link.after)?.and_then(|head| head.place);
    Ok(found.is_some_and(|place| place.id == link.id))
}

/// Whether a name that is there was given by us: on NFS the answer may be lost, and the call repeated.
fn is_ours(names: &impl Names, after: Version, id: u64) -> Result<bool, BackendError> {
    match names.head(after) {
        Ok(Some(head)) => Ok(head.place.is_some_and(|place| place.id == id)),
        Ok(None) | Err(_) => {
            Err(names
                .error(BackendErrorKind::OutcomeUnknown, "what is there cannot be read any more"))
        }
    }
}

/// What a look found: the cell, and the file that it is in.
type Found = (Snapshot, Option<Link>);

#[cfg(test)]
mod search;
