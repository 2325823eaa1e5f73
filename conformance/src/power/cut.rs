//! What a power cut may leave: of the changes that are not synced, some, in whole, in part or not at all.
//!
//! The rules are those of POSIX at its strictest, weaker than any file system of Linux keeps: the bytes
//! and the length of a file are sure after a sync of the file, a name after a sync of its directory, and
//! of everything else any subset may be there, in any order, torn at sectors. Three things are taken
//! for granted, as SQLite and everybody else does: a sector is written as a whole and without harm to
//! its neighbours, a rename is done or not done, and what a sync has confirmed stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::change::{Change, Inode, ROOT, Step, Tree};
use super::recording::Recording;

/// What is below the root; paths may mean the same file.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// In order, so a directory comes before what is in it; `None` is a directory.
    pub(super) paths: BTreeMap<PathBuf, Option<Inode>>,
    pub(super) contents: HashMap<Inode, Vec<u8>>,
}

impl Files {
    /// Puts them into a directory.
    pub(super) fn build(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let mut written = HashMap::new();
        for (path, inode) in &self.paths {
            let path = directory.join(path);
            let Some(inode) = inode else {
                DirBuilder::new().mode(0o700).create(path)?;
                continue;
            };
            if let Some(other) = written.get(inode) {
                fs::hard_link(other, path)?;
            } else {
                fs::write(&path, self.contents.get(inode).map_or(&[][..], Vec::as_slice))?;
                written.insert(inode, path);
            }
        }
        Ok(())
    }
}

/// The power fails after so many steps of a recording.
#[derive(Debug)]
pub(super) struct Cut<'a> {
    recording: &'a Recording,
    at: usize,
    /// The changes that are not sure, by their steps.
    pending: Vec<usize>,
}

/// Which of the changes that are not sure a power cut leaves.
#[derive(Debug, Clone)]
pub(super) enum Left {
    Nothing,
    Everything,
    Names,
    Contents,
    /// Those before this step.
    Before(usize),
    /// All but this one.
    Without(usize),
    /// This one alone.
    Only(usize),
    /// As this seed has it, in sectors of so many bytes.
    Random(u64, usize),
}

impl Recording {
    pub(super) fn cut(&self, at: usize) -> Cut<'_> {
        let is_pending = |index: &usize| {
            matches!(self.steps[*index], Step::Change(_))
                && self.sure.get(index).is_none_or(|sure| *sure > at)
        };
        Cut { recording: self, at, pending: (0..at).filter(is_pending).collect() }
    }

    /// Whether something is promised at this very point: before a sync, after it, or after an answer.
    pub(super) fn is_at_sync(&self, at: usize) -> bool {
        let promises = |step: &Step| !matches!(step, Step::Change(_));
        self.steps.get(at).is_none_or(promises)
            || at.checked_sub(1).is_some_and(|before| promises(&self.steps[before]))
    }
}

impl Cut<'_> {
    /// The last order that was acknowledged before the cut.
    pub(super) fn acknowledged(&self) -> Option<u64> {
        self.recording.steps[..self.at].iter().rev().find_map(|step| match step {
            Step::Acknowledged(order) => Some(*order),
            _ => None,
        })
    }

    /// Choices worth trying at any point.
    pub(super) fn choices(&self) -> Vec<Left> {
        let mut choices = vec![Left::Nothing, Left::Everything, Left::Names, Left::Contents];
        if self.recording.is_at_sync(self.at) {
            for &change in &self.pending {
                choices.extend([Left::Before(change), Left::Without(change), Left::Only(change)]);
            }
        }
        choices
    }

    /// The steps whose changes are there after the cut, if that is not up to chance.
    pub(super) fn kept(&self, left: &Left) -> Option<Vec<usize>> {
        let keeps = |index: usize, change: &Change| match left {
            Left::Everything => true,
            Left::Names => matches!(change, Change::Names(_)),
            Left::Contents => !matches!(change, Change::Names(_)),
            Left::Before(step) => index < *step,
            Left::Without(step) => index != *step,
            Left::Only(step) => index == *step,
            Left::Nothing | Left::Random(..) => false,
        };
        let chance = matches!(left, Left::Random(..)) && !self.pending.is_empty();
        let kept = self.changes().filter(|(index, change)| {
            self.pending.binary_search(index).is_err() || keeps(*index, change)
        });
        (!chance).then(|| kept.map(|(index, _)| index).collect())
    }

    /// The files after the cut.
    pub(super) fn files(&self, left: &Left) -> Files {
        let mut tree = self.recording.before.clone();
        if let Some(kept) = self.kept(left) {
            for (_, change) in self.changes().filter(|(index, _)| kept.binary_search(index).is_ok())
            {
                tree.apply(change);
            }
        } else if let Left::Random(seed, sector) = left {
            let mut random = Random::new(*seed, *sector);
            for (index, change) in self.changes() {
                match self.pending.binary_search(&index) {
                    Ok(_) => random.apply(change, &mut tree),
                    Err(_) => tree.apply(change),
                }
            }
        }
        self.recording.list(tree)
    }

    /// The changes before the cut, without those of memory.
    fn changes(&self) -> impl Iterator<Item = (usize, &Change)> {
        let mapped = &self.recording.mapped;
        let steps = self.recording.steps[..self.at].iter().enumerate();
        steps.filter_map(move |(index, step)| match step {
            Step::Change(Change::Write(inode, ..) | Change::Resize(inode, _))
                if mapped.contains(inode) =>
            {
                None
            }
            Step::Change(change) => Some((index, change)),
            _ => None,
        })
    }

    /// What happened last before the cut, and what did not come to be.
    pub(super) fn describe(&self, left: &Left) -> String {
        use std::fmt::Write;
        let mut text = format!("the power fails after step {} and leaves {left:?}", self.at);
        let steps = &self.recording.steps;
        let first = self.at.saturating_sub(8);
        for (index, step) in steps.iter().enumerate().take(self.at + 1).skip(first) {
            let mark = match self.pending.binary_search(&index) {
                _ if index == self.at => "comes next",
                Ok(_) => "not sure",
                Err(_) => "",
            };
            let _ = write!(text, "\n  {index}: {} {mark}", self.recording.describe(step));
        }
        for inode in &self.recording.mapped {
            let name = self.recording.name(*inode);
            let _ = write!(text, "\n  dropped, since it is written through memory: {name}");
        }
        text
    }
}

/// Keeps, drops and tears at random.
#[derive(Debug)]
struct Random {
    rng: Rng,
    sector: usize,
    /// How likely a change of each file is kept, and a name as one of the root.
    chances: HashMap<Inode, f64>,
}

impl Random {
    fn new(seed: u64, sector: usize) -> Self {
        Self { rng: Rng::with_seed(seed), sector, chances: HashMap::new() }
    }

    /// All of one file and nothing of another is what breaks most.
    fn keeps(&mut self, inode: Inode) -> bool {
        let rng = &mut self.rng;
        let chance =
            *self.chances.entry(inode).or_insert_with(|| [0.0, 0.1, 0.5, 0.9, 1.0][rng.usize(..5)]);
        self.rng.f64() < chance
    }

    fn apply(&mut self, change: &Change, tree: &mut Tree) {
        match change {
            Change::Write(inode, offset, data) => {
                let (mut start, end) = (*offset, offset + data.len());
                while start < end {
                    let stop = end.min((start / self.sector + 1) * self.sector);
                    let piece = &data[start - offset..stop - offset];
                    if self.keeps(*inode) {
                        tree.apply(&Change::Write(*inode, start, piece.into()));
                    } else if tree.contents.get(inode).is_none_or(|bytes| bytes.len() < stop)
                        && self.rng.bool()
                    {
                        // The length is there, and the bytes are not.
                        tree.apply(&Change::Resize(*inode, stop));
                    }
                    start = stop;
                }
            }
            Change::Resize(inode, _) if self.keeps(*inode) => tree.apply(change),
            Change::Names(_) if self.keeps(ROOT) => tree.apply(change),
            _ => {}
        }
    }
}

impl Recording {
    /// Compares with what is there: a way to change files that is not modelled must not go unseen.
    pub(super) fn compare(&self, directory: &Path) -> Result<(), String> {
        let there = Self::of(directory)?;
        if there.now.names.len() != self.now.names.len() {
            return Err(format!("not all names in {} were recorded", directory.display()));
        }
        let files = self.list(self.now.clone());
        for (path, inode) in files.paths {
            let Some(inode) = inode else { continue };
            if fs::read(directory.join(&path)).ok().as_ref() != files.contents.get(&inode) {
                return Err(format!("not all writes to {} were recorded", path.display()));
            }
        }
        Ok(())
    }

    fn list(&self, tree: Tree) -> Files {
        let mut below: HashMap<Inode, Vec<(PathBuf, Inode)>> = HashMap::new();
        for ((directory, name), inode) in &tree.names {
            below.entry(*directory).or_default().push((name.clone(), *inode));
        }
        let mut paths = BTreeMap::new();
        let mut todo = vec![(PathBuf::new(), ROOT)];
        let mut seen = BTreeSet::from([ROOT]);
        while let Some((path, directory)) = todo.pop() {
            for (name, inode) in below.remove(&directory).unwrap_or_default() {
                let path = path.join(name);
                if self.mapped.contains(&inode) {
                    continue;
                }
                if self.is_file(inode) {
                    paths.insert(path, Some(inode));
                } else if seen.insert(inode) {
                    paths.insert(path.clone(), None);
                    todo.push((path, inode));
                }
            }
        }
        Files { paths, contents: tree.contents }
    }
}
