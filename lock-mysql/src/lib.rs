//! A table of MySQL or MariaDB as a store of locks: for production, on the database that is there.
//!
//! ```no_run
//! use lock_core::Locks;
//! use lock_mysql::MySqlBackend;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let backend = MySqlBackend::from_url("mysql://shop@db.internal/shop")?;
//! backend.migrate().await?;
//! let locks = Locks::new(backend);
//! let guard = locks.acquire("app/blog").await?;
//! # Ok(()) }
//! ```
//!
//! A program that has a pool of sqlx has said there where the server is. Only that is taken from it: the locks
//! have a connection of their own, because a busy pool must not cost a lease.
//!
//! ```no_run
//! use lock_core::Locks;
//! use lock_mysql::MySqlBackend;
//! use lock_mysql::sqlx::MySqlPool;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = MySqlPool::connect("mysql://shop@db.internal/shop").await?;
//! let locks = Locks::new(MySqlBackend::from_pool(&pool)?);
//! # Ok(()) }
//! ```
//!
//! It has to be a pool of sqlx 0.9, whose types are in the functions of this crate ([`MySqlOptions::new`] and
//! [`fence::update`], too), and which is here as [`sqlx`], so that nobody has to guess. Beside another release
//! of it, name the server by a URL.
//!
//! # When it is the right store
//!
//! When what the locks protect runs on more than one host, or in that database anyway: the locks then
//! are as available, as durable and as well backed up as the data. For the processes of one host alone
//! an SQLite file does the same without a server.
//!
//! A lock survives a restart of the server, and costs no connection: one is enough for any number of
//! locks and waiters of a process. It is not tied to that connection either, as `GET_LOCK` is: when it
//! breaks, the locks stay, and the driver connects again.
//!
//! What those who look after the server need to know beside this page (settings, failover step by step,
//! monitoring, proxies) is in `docs/operating-mysql.md` of the repository.
//!
//! # What is written where
//!
//! [`MIGRATION`] is the whole schema: one table with a row for each namespace, whose `data` is JSON
//! that tells who holds and waits. To see it in a terminal:
//!
//! ```sql
//! SELECT CONVERT(id USING utf8mb4) AS namespace, version, data FROM interlock;
//! ```
//!
//! Every change is one `UPDATE … WHERE id = ? AND version = ?` that commits itself; no transaction
//! is ever left open, and no row stays locked while a client is asked anything. Only when a client
//! meets others that write does it wait for its turn, for 50 ms at each of two turnstiles, by `GET_LOCK` with a name
//! that is a hash; whoever is paused in its turn is passed by. A turn decides nothing: the version does.
//!
//! # Rights
//!
//! ```sql
//! CREATE USER 'shop'@'10.0.%' IDENTIFIED BY '…';
//! GRANT CREATE, SELECT, INSERT, UPDATE ON shop.interlock TO 'shop'@'10.0.%';
//! ```
//!
//! Only [`migrate`](MySqlBackend::migrate) and `lockctl init` need `CREATE`, once, and it may be revoked
//! after that; but without it a grant on a table that is not there yet is refused. Or run the SQL file with
//! a migration tool of yours, and grant the other three. What is missing is named by the error, as the
//! statement to type.
//!
//! Use no account that may write to a server that is read-only (`SUPER` and its heirs): that a server is
//! read-only is what keeps clients off a primary that was replaced. `lockctl doctor` warns of one.
//!
//! # Servers
//!
//! `InnoDB` on MySQL from 8.0 and MariaDB from 10.11 on; tested are MariaDB 10.11 and MySQL 9.7, alone
//! and in clusters. Durability is the server's: `innodb_flush_log_at_trx_commit = 1`, its default, is
//! what makes "granted" mean that a crash of the server does not forget it; with a binary log a power cut
//! does not either if `sync_binlog = 1`, which is `MySQL`'s default and not that of `MariaDB`.
//!
//! Connecting takes up to 10 s, over all hosts of the URL and all their addresses, of which dead ones do
//! not keep it from those that work (see `docs/dialling.md` and
//! [`connect_timeout`](MySqlOptions::connect_timeout)); a statement whose answer does not come within
//! 5 s is given up with its connection, and one that was idle for 30 s is asked within 1 s whether it
//! still works. So a server that has vanished without a word is noticed well within a lease of 60 s.
//!
//! Small packets are sent at once (`TCP_NODELAY`), from the handshake on. sqlx 0.9 leaves that out, so it
//! is set on a copy of the connection's descriptor, for which Linux needs `pidfd_getfd`. Container engines
//! may forbid that (it takes `CAP_SYS_PTRACE` with some): then connecting by TLS, and statements of several
//! packets, may take up to 40 ms longer.
//!
//! # Replication and failover
//!
//! * **Galera** and **Group Replication** (one primary or several): name all nodes in the URL, in any
//!   order. A change is confirmed once the cluster has it, and a read waits for what was confirmed
//!   elsewhere before. A node that has left the cluster, or sees less than half of it, is not asked.
//!   When a node dies, holders keep their locks, and nobody is granted anything until the cluster
//!   serves again.
//! * **Asynchronous or semi-synchronous replicas**: name the primary only, by the name that moves with
//!   it. A replica that takes over may lack the last changes: a lock that was granted just before is
//!   then forgotten, its holder is told so as soon as it looks, and its fence still protects what checks
//!   it. Do not use such a pair of hosts in one URL.
//! * **A server that is read-only**, or apart from its cluster, is not even read, also when it is the only
//!   one that the URL names: it may have stopped being the primary, and know only the past. The
//!   error says so, and the next call connects anew, wherever the name leads by then.
//! * **A proxy or load balancer** in front is fine if it sends all statements of a connection to one
//!   server that can be written; a lock does not depend on the connection.
//!
//! # Making a backup
//!
//! `mysqldump --single-transaction`, `mariabackup` and the like go along with locks. What stops all writes
//! (`FLUSH TABLES WITH READ LOCK`, a dump that locks all tables) stops renewals too: where that takes
//! longer than a lease, locks are lost, and their holders are told.
//!
//! # Restoring a backup
//!
//! The row is restored with the rest, and with it locks of whoever held them then. Clients that live
//! withdraw what they no longer hold, and lose what the backup does not know; the dead are swept as
//! always; fences go on rising, because versions follow the clock. `lockctl list` shows what is there.
//! To begin with nothing held, delete the row while no client runs.
//!
//! # Limits and sizing
//!
//! All locks of a namespace are one row that each change writes anew, so that what a change costs
//! grows with what is held. On one machine with two cores and a local disk, each server with its
//! defaults:
//!
//! | holds | bytes of `data` | acquire, MariaDB 10.11 | acquire, MySQL 9.7 | redo log a change | MySQL's binary log a change |
//! |---|---|---|---|---|---|
//! | 10 | 1,254 | 0.24 ms | 0.55 ms | 3–4 KB | 2.7 KB |
//! | 100 | 8,465 | 0.25 ms | 0.68 ms | 9–12 KB | 17 KB |
//! | 1,000 | 83,266 | 0.54 ms | 1.4 ms | 85–93 KB | 168 KB |
//! | 10,000 | 858,267 | 3.0 ms | 9.9 ms | 0.9 MB | 1.7 MB |
//!
//! So keep to some hundreds of locks at a time in one namespace, and give independent things
//! namespaces of their own. A table that would not fit into `max_allowed_packet` is refused before it
//! is sent; so is one beyond [`table_bytes_max`](lock_core::LocksBuilder::table_bytes_max).
//!
//! Sixteen processes of one host and user that do nothing but take and give back locks of one namespace get
//! some 6,000 acquires and releases a second done on MySQL there, each about as many as the other, because one
//! of them writes for all. Where they cannot reach each other they take turns, which makes some 1,200; retrying
//! blindly makes some 300. Tasks of one process share their changes: 64 of them acquire and release some
//! 30,000 times a second. `cargo xtask bench` measures it.
//!
//! While locks are only held, with a lease of 60 s, there is one change in 20 s for each process, however
//! many locks it holds.
//!
//! # TLS
//!
//! By rustls; see `ssl-mode` in [`MySqlOptions::from_url`]. Without it the connection is encrypted if the
//! server offers that, but nobody's identity is verified: use `verify-identity` wherever the network is
//! not yours.

mod backend;
mod error;
pub mod fence;
mod inspect;
mod member;
mod options;
mod session;
mod socket;
mod table;
mod way;

pub use backend::MySqlBackend;
pub use inspect::ServerFacts;
pub use options::MySqlOptions;
/// The release of sqlx whose types are in this crate's functions: 0.9, with what this crate needs of it.
pub use sqlx;
pub use table::MIGRATION;
