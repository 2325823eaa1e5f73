//! Plain files as a store of locks: no server, and no database library either.
//!
//! ```
//! use lock_core::Locks;
//! use lock_file::FileBackend;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("locks");
//! // The directory is made if it is missing. Other processes that open it share the locks.
//! let locks = Locks::new(FileBackend::open(&path)?).blocking();
//! let guard = locks.acquire("app/blog")?;
//! assert!(locks.try_acquire("app").unwrap_err().is_busy());
//! guard.release()?;
//! locks.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When it is the right store
//!
//! When nothing may be needed but a directory: in rescue systems, in containers that share a volume, in
//! programs that want no C compiler. For the processes of one host an SQLite file does the same and is
//! faster, because its swap is one sync and not two. Hosts that share a database should keep their locks
//! there.
//!
//! This crate is for Unix, and is built and tested on Linux.
//!
//! There are two ways to make a swap atomic, of which a store has one for life ([`Strategy`]):
//!
//! | | `flock`, the default | `excl` |
//! |---|---|---|
//! | a swap | writes a new file and renames it over the old one, while the kernel's lock keeps others from doing the same | creates the file `after-<expected version>`, which fails if it is there |
//! | it takes | `flock`, rename, two syncs | hard links, two syncs; one more to go on from what another client wrote |
//! | left by a crash | nothing that matters: the kernel frees the lock | nothing that matters: there is no lock |
//! | whoever is stopped in a swap | may keep others from writing until it goes on, if it is stopped in some ten microseconds | stops nobody |
//! | whoever reads | reads one file | lists the directory, and reads two |
//!
//! # Which file systems
//!
//! | file system | `flock` | `excl` |
//! |---|---|---|
//! | ext4, XFS, btrfs, ZFS, tmpfs, overlayfs | yes | yes |
//! | NFS, `CephFS`, Lustre, GFS2, OCFS2, GPFS and others that hosts share | refused: their `flock` may be one of each host, by a mount option that nobody sees | yes, where hard links are; on NFS with a server that exports `sync`, the default |
//! | FUSE, 9p, virtiofs, SMB | refused | if they have hard links: one that has none says so when the store is made |
//!
//! What decides with `excl` is `link`, which the server of a network file system does as a whole or not
//! at all. A call that was repeated because its answer was lost is recognised: what is there has
//! an id of its own. Directories are opened anew for each look, which is when an NFS client asks the
//! server what has changed. A store on such a file system counts as one that other hosts reach
//! ([`Reach::Network`]): of another host's processes nobody sees whether they live, and their lease
//! decides. Tested were ext4 and tmpfs; the claims on network file systems rest on their documentation
//! (open(2), nfs(5), RFC 1813 and 8881).
//!
//! # What is written where
//!
//! ```text
//! /var/lib/app/locks/            the store
//!   interlock.json               says that it is one, and its strategy
//!   new-5d21…                    is being written, as below
//!   default/                     a namespace
//!     cell                       flock: the cell
//!     after-1795699911299178     excl: the cell is in the one with the greatest number
//!     collected                  excl: the first files of the chain are gone
//!     new-0f3c…                  is being written; swept ten minutes after its writer died
//! ```
//!
//! A cell is one line that says its version and length, then the table as JSON, then a line break: `cat`
//! shows who holds what, and `tail -n +2 cell | jq` more nicely. What does not look so, whatever was cut
//! off or added, a newer format, a symbolic link or a pipe in its place is an error, and left as it is.
//!
//! With `excl` the newest 32 to 64 files stay, older ones are removed by whoever writes, the oldest first. How
//! old a file is, is counted in swaps that came after it and not in hours: that needs no clock. How it is safe
//! against a client that was paused for however long is proved, and searched through call by call, in the
//! module `excl`.
//!
//! # What is durable, and when
//!
//! A swap that was answered survives `kill -9` and a power cut, as far as the disk keeps what it has
//! confirmed. The new file is synced *before* it gets its name, else a power cut could leave the name and
//! not the bytes; its directory is synced *after* that and before the answer, else the name could be
//! forgotten. With `excl`, a client that goes on from what another one wrote syncs the directory once
//! more before it does, lest its own file be kept and the one before it not. Whoever makes the first cell
//! also syncs the directories above. A crash at any point leaves the old cell or the new one: there is
//! no moment at which a file with a name that counts is not complete.
//!
//! A client that finds a full disk, a file system that has become read-only or a missing right says so,
//! and has changed nothing.
//!
//! # Who may use it
//!
//! Directories are made with mode 0700 and files with 0600. With [`FileOptions::group_access`] or
//! [`group_id`](FileOptions::group_id) (`lockctl init --group`) it is 02770 and 0660: then processes of
//! different users exclude each other. What is made in a store follows the mode of its directory, so only
//! who makes the store has to say it. A directory where everybody may write is refused, and so is one that
//! has other things in it: name one that is empty or not there yet.
//!
//! Programs that a user of the store starts inherit no descriptor of it, and so none of them keeps the
//! kernel's lock.
//!
//! # Backup and restore
//!
//! Locks are of the moment, and most backups do better without them. To copy a store while it is
//! used, copy `interlock.json` and, of each namespace, the file `cell`; with `excl`, all files, and again
//! if one vanished meanwhile. To restore it, put the copy into place by **one** rename:
//! `mv -T copy/cell default/cell` with `flock`, `mv --exchange copy locks` (coreutils 9.5) for a whole
//! store. With two, a client could make a new store in between. Processes that use the store may run on:
//! they notice that a file or directory is another one, withdraw what they no longer hold, and learn what
//! they lost. A store that was deleted is an absent cell; the next load makes it anew. One that was on a
//! local disk and is replaced by one on a file system that hosts share is refused by those who run on: start
//! them anew.
//!
//! # Limits and sizing
//!
//! All locks of a namespace are one file that each change writes anew, so that what a change costs grows
//! with what is held. On one machine with two cores and a local disk (ext4), beside SQLite:
//!
//! | holds | bytes of the file | acquire, `flock` | acquire, `excl` | acquire, SQLite |
//! |---|---|---|---|---|
//! | 10 | 1,254 | 0.36 ms | 0.33 ms | 0.21 ms |
//! | 100 | 8,465 | 0.43 ms | 0.46 ms | 0.20 ms |
//! | 1,000 | 83,266 | 0.59 ms | 0.56 ms | 0.29 ms |
//! | 10,000 | 858,267 | 1.2 ms | 1.0 ms | 1.3 ms |
//!
//! Beside few holds nearly all of it are the bare calls, and of those the two syncs. On a disk where others
//! write much, a sync of a name may wait for them, and then an acquire takes as long as they do: SQLite,
//! which changes no names, is less affected. With `excl` a namespace takes up to about 64 times the size
//! of its cell. Independent things may have namespaces of their own, which do not wait for each other.
//!
//! [`Reach::Network`]: lock_core::Reach::Network

mod backend;
mod cell;
mod excl;
mod flock;
mod folder;
mod names;
mod place;

pub use backend::{FileBackend, FileOptions, Strategy};
