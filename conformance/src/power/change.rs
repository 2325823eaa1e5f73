//! Changes of files and their names, and what they make of a tree.

use std::collections::HashMap;
use std::path::PathBuf;

/// The root is the first, others follow as they come to be.
pub(super) type Inode = usize;
/// A name in a directory.
pub(super) type Name = (Inode, PathBuf);

pub(super) const ROOT: Inode = 0;
/// Something that a power cut may undo until it is synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Bytes are written at an offset.
    Write(Inode, usize, Vec<u8>),
    /// The file gets another length.
    Resize(Inode, usize),
    /// Names get to mean something else or nothing: all of them, or none.
    Names(Vec<(Name, Option<Inode>)>),
}

/// One step of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Change(Change),
    /// A sync of one file or directory, or of everything: it covers the steps before this one.
    Sync(Option<Inode>, usize),
    /// Somebody was told that this order is done.
    Acknowledged(u64),
}

/// The files as they are when every change is there.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) names: HashMap<Name, Inode>,
    pub(super) contents: HashMap<Inode, Vec<u8>>,
}

impl Tree {
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(inode, offset, data) => {
                let contents = self.contents.entry(*inode).or_default();
                let end = offset + data.len();
                if contents.len() < end {
                    contents.resize(end, 0);
                }
                contents[*offset..end].copy_from_slice(data);
            }
            Change::Resize(inode, length) => {
                self.contents.entry(*inode).or_default().resize(*length, 0);
            }
            Change::Names(names) => {
                for (name, inode) in names {
                    match inode {
                        Some(inode) => self.names.insert(name.clone(), *inode),
                        None => self.names.remove(name),
                    };
                }
            }
        }
    }
}
