//! An SQLite file as a store of locks: for the processes of one host, without a server.
//!
//! ```
//! use lock_core::Locks;
//! use lock_sqlite::SqliteBackend;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("locks.db");
//! // The file is made if it is missing. Other processes that open it share the locks.
//! let locks = Locks::new(SqliteBackend::open(&path)?).blocking();
//! let guard = locks.acquire("app/blog")?;
//! assert!(locks.try_acquire("app").unwrap_err().is_busy());
//! guard.release()?;
//! locks.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When it is the right store
//!
//! When all who ask for locks run on one host. There is no server to set up, a crash of a holder is seen
//! at once, and after a boot nothing is stale. For several hosts take the database that they share.
//!
//! This crate is for Unix, and is built and tested on Linux. SQLite itself is compiled in, which takes a C
//! compiler.
//!
//! It comes by [rusqlite] 0.38 to 0.42. A program can have one `libsqlite3-sys` only, so where another crate
//! of yours brings one that none of these goes with, as an older rusqlite or sqlx's `sqlite` may, Cargo refuses
//! both together: raise the other one, take another store, or leave the locks to `lockctl`.
//!
//! [rusqlite]: https://docs.rs/rusqlite
//!
//! # What it promises
//!
//! A swap is one transaction in a write-ahead log, synced to disk before it is answered, so it
//! survives `kill -9` and a power cut as far as the disk keeps what it has confirmed. SQLite has one
//! writer per file: who comes while another writes is told [`Busy`], and the driver tries again.
//! Namespaces in one file share that writer, so give what is busy a file of its own.
//!
//! All calls are inline and block their thread for as long as SQLite takes: one sync of a local
//! disk for a swap (two more when the log is folded into the database, about every thousand pages),
//! hardly anything for a load.
//!
//! All locks of a namespace are one row that each change writes anew: what that costs beside 10 to 10,000 holds is
//! on the front page of `lock-file`, in one table with plain files.
//!
//! # Looking into it
//!
//! `sqlite3` shows the cells:
//!
//! <!-- needs: sqlite3 -->
//! ```console
//! $ lockctl run --task backup-17 -l app/blog -- sleep 60 &
//! $ sqlite3 locks.db 'SELECT * FROM interlock'
//! default|…|{…"backup-17"…}
//! $ sqlite3 locks.db '.backup copy.db'
//! ```
//!
//! # Backup and restore
//!
//! Back it up with `.backup`, as above; a plain copy misses what is only in the log. To restore,
//! **remove `locks.db`, `locks.db-wal` and `locks.db-shm`, then move the copy into place**: a log
//! that stays behind is applied by SQLite to a database it does not belong to, and a copy written
//! over the file in place damages it for those who have it open. Processes that use the store may
//! run on: they notice that the file is another one before they use it again. A store that was
//! deleted is an absent cell; the next load makes the file anew.
//!
//! # Who may use it
//!
//! The file is created with mode 0600 in a directory of mode 0700, or with
//! [`group_access`](SqliteOptions::group_access) 0660 in 02770. What exists already keeps its modes.
//! Not used are: a symbolic link or anything else that is not a regular file, a directory in which
//! everybody may replace files, in a directory such as `/tmp` a file of somebody else, and a network
//! file system.
//!
//! [`Busy`]: lock_core::BackendErrorKind::Busy

mod backend;
mod cell;
mod file;

pub use backend::{SqliteBackend, SqliteOptions};
