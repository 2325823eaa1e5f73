//! What a process did to the files of one directory, as changes, syncs and acknowledgements in order.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::change::{Change, Inode, Name, ROOT, Step, Tree};
use super::trace::Call;
use crate::worker::{Numbered, Report};

const STANDARD_OUTPUT: i64 = 1;

/// Everything that was done, in order.
#[derive(Debug, Default)]
pub(super) struct Recording {
    root: PathBuf,
    /// What was there, and is durable, before anything was done.
    pub(super) before: Tree,
    pub(super) steps: Vec<Step>,
    /// After how many steps each change is sure to stay, if ever.
    pub(super) sure: HashMap<usize, usize>,
    /// Files that were written through memory, which nobody sees and a power cut does not leave.
    pub(super) mapped: BTreeSet<Inode>,
    /// What is there now.
    pub(super) now: Tree,
    inodes: usize,
    /// How many steps there were when each call of this process had ended.
    ends: Vec<usize>,
    /// Where each descriptor leads to, and after how many calls it was opened.
    descriptors: HashMap<i64, (usize, usize)>,
    opened: Vec<Opened>,
}

/// An open file, which duplicates of its descriptor share.
#[derive(Debug)]
struct Opened {
    inode: Inode,
    offset: usize,
    appends: bool,
    syncs: bool,
}

impl Recording {
    /// Begins with what is in a directory now.
    pub(super) fn of(root: &Path) -> Result<Self, String> {
        let root = root.canonicalize().map_err(|e| format!("{}: {e}", root.display()))?;
        let mut recording = Self { root: root.clone(), inodes: ROOT + 1, ..Self::default() };
        recording.find(&root, ROOT).map_err(|e| format!("{}: {e}", root.display()))?;
        recording.before = recording.now.clone();
        Ok(recording)
    }

    fn find(&mut self, directory: &Path, inode: Inode) -> std::io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let found = self.new_inode();
            self.now.names.insert((inode, entry.file_name().into()), found);
            if entry.file_type()?.is_dir() {
                self.find(&entry.path(), found)?;
            } else {
                self.now.contents.insert(found, fs::read(entry.path())?);
            }
        }
        Ok(())
    }

    /// Goes on with the calls of another process, from its start to its end.
    pub(super) fn add_process(&mut self, calls: &[Call]) -> Result<(), String> {
        self.descriptors.clear();
        self.opened.clear();
        self.ends = vec![self.steps.len()];
        for call in calls {
            if call.result >= 0 {
                self.add(call)?;
            }
            self.ends.push(self.steps.len());
        }
        self.find_sure();
        Ok(())
    }

    /// Finds the syncs that cover each change: of the file, or of each directory that has a name.
    fn find_sure(&mut self) {
        let mut pending: Vec<(usize, BTreeSet<Inode>)> = Vec::new();
        self.sure.clear();
        for (index, step) in self.steps.iter().enumerate() {
            match step {
                Step::Change(Change::Write(inode, ..) | Change::Resize(inode, _)) => {
                    pending.push((index, BTreeSet::from([*inode])));
                }
                Step::Change(Change::Names(names)) => {
                    let directories = names.iter().map(|((directory, _), _)| *directory);
                    pending.push((index, directories.collect()));
                }
                Step::Sync(synced, covers) => pending.retain_mut(|(change, unsure)| {
                    if *change < *covers {
                        unsure.retain(|inode| synced.is_some_and(|synced| synced != *inode));
                    }
                    if unsure.is_empty() {
                        self.sure.insert(*change, index + 1);
                    }
                    !unsure.is_empty()
                }),
                Step::Acknowledged(_) => {}
            }
        }
    }

    fn add(&mut self, call: &Call) -> Result<(), String> {
        match call.name.as_str() {
            "open" | "creat" => self.open(call, self.find_name(call, None, 0)?, 1)?,
            "openat" => self.open(call, self.find_name(call, Some(0), 1)?, 2)?,
            "close" => self.close(call)?,
            "dup" | "dup2" | "dup3" => self.duplicate(call)?,
            "fcntl" if call.argument(1).starts_with("F_DUPFD") => self.duplicate(call)?,
            "read" | "readv" | "lseek" => self.seek(call)?,
            "write" if call.descriptor(0)? == STANDARD_OUTPUT => self.acknowledge(call)?,
            "write" => self.write(call, call.string(1)?, None)?,
            "writev" => self.write(call, call.buffers(1)?, None)?,
            "pwrite64" => self.write(call, call.string(1)?, Some(call.number(3)?))?,
            "pwritev" | "pwritev2" => self.write(call, call.buffers(1)?, Some(call.number(3)?))?,
            "ftruncate" => self.resize(call, None, call.number(1)?)?,
            "truncate" => self.resize(call, self.find_name(call, None, 0)?, call.number(1)?)?,
            "fallocate" => self.allocate(call)?,
            "fsync" | "fdatasync" => {
                if let Some(opened) = self.descriptor(call, 0)? {
                    let inode = self.opened[opened].inode;
                    self.sync(call, Some(inode));
                }
            }
            "sync" | "syncfs" => self.sync(call, None),
            "rename" => self.rename(call, (None, 0), (None, 1))?,
            "renameat" | "renameat2" => self.rename(call, (Some(0), 1), (Some(2), 3))?,
            "link" => self.link(call, (None, 0), (None, 1))?,
            "linkat" => self.link(call, (Some(0), 1), (Some(2), 3))?,
            "unlink" | "rmdir" => self.unlink(self.find_name(call, None, 0)?),
            "unlinkat" => self.unlink(self.find_name(call, Some(0), 1)?),
            "mkdir" => self.make_directory(self.find_name(call, None, 0)?),
            "mkdirat" => self.make_directory(self.find_name(call, Some(0), 1)?),
            "mmap" => self.map(call)?,
            // A child would have descriptors of its own, and these copy where it is not seen.
            "clone" | "clone3" if call.has(0, "CLONE_THREAD") || call.has(1, "CLONE_THREAD") => {}
            "clone" | "clone3" | "fork" | "vfork" | "io_uring_setup" => {
                return Err(call.not_understood());
            }
            "copy_file_range" if self.descriptor(call, 2)?.is_some() => {
                return Err(call.not_understood());
            }
            "sendfile" if self.descriptor(call, 0)?.is_some() => return Err(call.not_understood()),
            "symlink" if self.find_name(call, None, 1)?.is_some() => {
                return Err(call.not_understood());
            }
            "symlinkat" if self.find_name(call, Some(1), 2)?.is_some() => {
                return Err(call.not_understood());
            }
            _ => {}
        }
        Ok(())
    }

    fn new_inode(&mut self) -> Inode {
        self.inodes += 1;
        self.inodes - 1
    }

    fn change(&mut self, change: Change) {
        self.now.apply(&change);
        self.steps.push(Step::Change(change));
    }

    fn acknowledge(&mut self, call: &Call) -> Result<(), String> {
        let line = call.string(1)?;
        if let Ok(Numbered(order, Report::Done)) = serde_json::from_slice(&line) {
            self.steps.push(Step::Acknowledged(order));
        }
        Ok(())
    }

    /// The name that a path means, if it is in the directory; the root is its own name.
    fn find_name(
        &self,
        call: &Call,
        directory: Option<usize>,
        path: usize,
    ) -> Result<Option<Name>, String> {
        let path = call.path(path)?;
        let whole = match directory.and_then(|index| call.descriptor_path(index)) {
            Some(directory) => directory.join(path),
            // The worker has our working directory.
            None => std::path::absolute(path).map_err(|_| call.not_understood())?,
        };
        let parent = whole.parent().and_then(|parent| parent.canonicalize().ok());
        let whole = match (parent, whole.file_name()) {
            (Some(parent), Some(name)) => parent.join(name),
            _ => whole,
        };
        let Ok(inside) = whole.strip_prefix(&self.root) else { return Ok(None) };
        let mut name = (ROOT, PathBuf::new());
        for component in inside.components() {
            let Component::Normal(next) = component else { return Err(call.not_understood()) };
            let inode = self.meant(&name).ok_or_else(|| call.not_understood())?;
            name = (inode, next.into());
        }
        Ok(Some(name))
    }

    fn meant(&self, name: &Name) -> Option<Inode> {
        if name.1.as_os_str().is_empty() {
            return Some(ROOT);
        }
        self.now.names.get(name).copied()
    }

    fn descriptor(&self, call: &Call, index: usize) -> Result<Option<usize>, String> {
        Ok(self.descriptors.get(&call.descriptor(index)?).map(|&(opened, _)| opened))
    }

    fn open(&mut self, call: &Call, name: Option<Name>, flags: usize) -> Result<(), String> {
        let made_at = self.ends.len();
        // What the number meant before has been closed.
        self.descriptors.remove(&call.result);
        let Some(name) = name else { return Ok(()) };
        let creates = call.name == "creat" || call.has(flags, "O_CREAT");
        let inode = if call.has(flags, "O_TMPFILE") {
            let inode = self.new_inode();
            self.now.contents.insert(inode, Vec::new());
            inode
        } else if let Some(inode) = self.meant(&name) {
            inode
        } else if creates {
            let inode = self.new_inode();
            self.now.contents.insert(inode, Vec::new());
            self.change(Change::Names(vec![(name, Some(inode))]));
            inode
        } else {
            return Err(call.not_understood());
        };
        let truncates = call.name == "creat" || call.has(flags, "O_TRUNC");
        if truncates && self.now.contents.get(&inode).is_some_and(|bytes| !bytes.is_empty()) {
            self.change(Change::Resize(inode, 0));
        }
        let syncs = call.has(flags, "O_SYNC") || call.has(flags, "O_DSYNC");
        self.opened.push(Opened { inode, offset: 0, appends: call.has(flags, "O_APPEND"), syncs });
        self.descriptors.insert(call.result, (self.opened.len() - 1, made_at));
        Ok(())
    }

    fn close(&mut self, call: &Call) -> Result<(), String> {
        let number = call.descriptor(0)?;
        // Another thread may have been given the number before this call had ended.
        if self.descriptors.get(&number).is_some_and(|&(_, made)| made <= call.begun_after) {
            self.descriptors.remove(&number);
        }
        Ok(())
    }

    fn duplicate(&mut self, call: &Call) -> Result<(), String> {
        let opened = self.descriptor(call, 0)?;
        self.descriptors.remove(&call.result);
        if let Some(opened) = opened {
            self.descriptors.insert(call.result, (opened, self.ends.len()));
        }
        Ok(())
    }

    fn seek(&mut self, call: &Call) -> Result<(), String> {
        if let Some(opened) = self.descriptor(call, 0)? {
            let offset = &mut self.opened[opened].offset;
            let result = to_usize(call, call.result)?;
            *offset = if call.name == "lseek" { result } else { *offset + result };
        }
        Ok(())
    }

    fn write(&mut self, call: &Call, mut data: Vec<u8>, at: Option<i64>) -> Result<(), String> {
        let Some(opened) = self.descriptor(call, 0)? else { return Ok(()) };
        let Opened { inode, offset, appends, syncs } = self.opened[opened];
        data.truncate(to_usize(call, call.result)?);
        let offset = match at {
            _ if appends => self.now.contents.get(&inode).map_or(0, Vec::len),
            Some(at) => to_usize(call, at)?,
            None => offset,
        };
        if at.is_none() {
            self.opened[opened].offset = offset + data.len();
        }
        self.change(Change::Write(inode, offset, data));
        if syncs {
            self.steps.push(Step::Sync(Some(inode), self.steps.len()));
        }
        Ok(())
    }

    fn resize(&mut self, call: &Call, name: Option<Name>, length: i64) -> Result<(), String> {
        let inode = match name {
            Some(name) => self.meant(&name),
            None if call.name == "truncate" => None,
            None => self.descriptor(call, 0)?.map(|opened| self.opened[opened].inode),
        };
        if let Some(inode) = inode {
            self.change(Change::Resize(inode, to_usize(call, length)?));
        }
        Ok(())
    }

    fn allocate(&mut self, call: &Call) -> Result<(), String> {
        let Some(opened) = self.descriptor(call, 0)? else { return Ok(()) };
        let inode = self.opened[opened].inode;
        let end = to_usize(call, call.number(2)? + call.number(3)?)?;
        match call.argument(1) {
            "0" if end > self.now.contents.get(&inode).map_or(0, Vec::len) => {
                self.change(Change::Resize(inode, end));
            }
            "0" | "FALLOC_FL_KEEP_SIZE" => {}
            _ => return Err(call.not_understood()),
        }
        Ok(())
    }

    fn sync(&mut self, call: &Call, inode: Option<Inode>) {
        self.steps.push(Step::Sync(inode, self.ends[call.begun_after]));
    }

    fn rename(
        &mut self,
        call: &Call,
        from: (Option<usize>, usize),
        to: (Option<usize>, usize),
    ) -> Result<(), String> {
        let from = self.find_name(call, from.0, from.1)?;
        let to = self.find_name(call, to.0, to.1)?;
        let (Some(from), Some(to)) = (&from, &to) else {
            // Into the directory or out of it is not modelled; elsewhere it is none of ours.
            return if from == to { Ok(()) } else { Err(call.not_understood()) };
        };
        let moved = self.meant(from).ok_or_else(|| call.not_understood())?;
        let there = self.meant(to);
        if there == Some(moved) {
            return Ok(());
        }
        let left = there.filter(|_| call.has(4, "RENAME_EXCHANGE"));
        self.change(Change::Names(vec![(from.clone(), left), (to.clone(), Some(moved))]));
        Ok(())
    }

    fn link(
        &mut self,
        call: &Call,
        from: (Option<usize>, usize),
        to: (Option<usize>, usize),
    ) -> Result<(), String> {
        let path = call.path(from.1)?;
        let by_number = path.strip_prefix("/proc/self/fd").ok().and_then(Path::to_str);
        let opened = match by_number.and_then(|number| number.parse().ok()) {
            Some(number) => self.descriptors.get(&number).map(|&(opened, _)| opened),
            None if call.has(4, "AT_EMPTY_PATH") => self.descriptor(call, 0)?,
            None => None,
        };
        let inode = match opened {
            Some(opened) => Some(self.opened[opened].inode),
            None => self.find_name(call, from.0, from.1)?.and_then(|name| self.meant(&name)),
        };
        match (inode, self.find_name(call, to.0, to.1)?) {
            (Some(inode), Some(name)) => {
                self.change(Change::Names(vec![(name, Some(inode))]));
                Ok(())
            }
            (None, None) => Ok(()),
            _ => Err(call.not_understood()),
        }
    }

    fn unlink(&mut self, name: Option<Name>) {
        if let Some(name) = name {
            self.change(Change::Names(vec![(name, None)]));
        }
    }

    fn make_directory(&mut self, name: Option<Name>) {
        if let Some(name) = name {
            let inode = self.new_inode();
            self.change(Change::Names(vec![(name, Some(inode))]));
        }
    }

    fn map(&mut self, call: &Call) -> Result<(), String> {
        let shared = call.has(3, "MAP_SHARED") || call.has(3, "MAP_SHARED_VALIDATE");
        if shared
            && call.has(2, "PROT_WRITE")
            && let Some(opened) = self.descriptor(call, 4)?
        {
            self.mapped.insert(self.opened[opened].inode);
        }
        Ok(())
    }
}

impl Recording {
    pub(super) fn is_file(&self, inode: Inode) -> bool {
        self.now.contents.contains_key(&inode)
    }

    /// The last name that a file had, with its number, which tells files of the same name apart.
    pub(super) fn name(&self, inode: Inode) -> String {
        let named = self.steps.iter().rev().find_map(|step| match step {
            Step::Change(Change::Names(all)) => all.iter().find(|(_, to)| *to == Some(inode)),
            _ => None,
        });
        let found = self.before.names.iter().find(|(_, found)| **found == inode);
        let name = named.map(|(name, _)| name).or(found.map(|(name, _)| name));
        match name {
            Some((_, name)) => format!("{}#{inode}", name.display()),
            None if inode == ROOT => "the directory".into(),
            None => format!("#{inode}"),
        }
    }

    /// A step in a few words.
    pub(super) fn describe(&self, step: &Step) -> String {
        let name = |inode: &Inode| self.name(*inode);
        match step {
            Step::Change(Change::Write(inode, offset, data)) => {
                format!("write {} bytes to {} at {offset}", data.len(), name(inode))
            }
            Step::Change(Change::Resize(inode, length)) => {
                format!("resize {} to {length}", name(inode))
            }
            Step::Change(Change::Names(names)) => {
                let describe = |((_, to), inode): &(Name, Option<Inode>)| match inode {
                    Some(inode) => format!("name {}#{inode}", to.display()),
                    None => format!("unlink {}", to.display()),
                };
                names.iter().map(describe).collect::<Vec<_>>().join(" and ")
            }
            Step::Sync(Some(inode), _) => format!("sync {}", name(inode)),
            Step::Sync(None, _) => "sync everything".into(),
            Step::Acknowledged(order) => format!("acknowledge {order}"),
        }
    }
}

fn to_usize(call: &Call, number: i64) -> Result<usize, String> {
    usize::try_from(number).map_err(|_| call.not_understood())
}
