//! Redis or Valkey as a store of locks: where it is there, and speed counts more than durability.
//!
//! ```no_run
//! use lock_core::Locks;
//! use lock_redis::RedisBackend;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let url = "redis://shop@cache.internal?password-file=/etc/shop/password";
//! let locks = Locks::new(RedisBackend::from_url(url)?);
//! let guard = locks.acquire("app/blog").await?;
//! # Ok(()) }
//! ```
//!
//! # When it is the right store
//!
//! When a Redis or Valkey is run already, and what the locks protect can bear that a lock is lost when
//! its server is: because the server is set up not to lose anything (below), or because the protected
//! resource checks [fences](lock_core::Guard::fence). A lock costs one round trip, and so does giving
//! it back. For what must not be lost, the database that has the data is the better place.
//!
//! It is not `SET NX PX`: a lock does not run out under a holder that is alive, whoever waits is served
//! in order and is told when it is its turn, and a lock that was lost is reported to its holder.
//!
//! # What Redis may lose
//!
//! "Granted" means what the server means by "written". Three settings decide what that is:
//!
//! * **Eviction.** With a `maxmemory-policy` other than `noeviction` the server may throw all locks
//!   away whenever its memory is full. Each backend looks when it connects, and warns by `tracing`;
//!   `lockctl` says it on stderr in `run`, `acquire` and `init`, and among the findings of `doctor`.
//! * **Persistence.** `appendonly yes` with `appendfsync always` keeps each change before it is
//!   acknowledged. With `everysec`, the default, a crash of the server forgets up to a second of
//!   changes; with snapshots alone it forgets minutes; with neither, everything.
//! * **Failover.** Replicas are fed after a change was acknowledged. One that takes over may lack the
//!   last ones: see below.
//!
//! [`RedisBackend::risks`] tells what of this the server admits. When something was lost, locks are not
//! quietly shared: every client that reads the table finds its hold missing and reports it lost
//! ([`Guard::lost`](lock_core::Guard::lost)), at the latest when it renews its lease. Until then two
//! may believe that they hold it, and only the fence tells them apart: fences go on rising, because
//! versions follow the clock.
//!
//! When its memory is full (`maxmemory` with `noeviction`), new locks are refused with an error that
//! says so, and locks are still given back, renewed and passed on: a change that makes the table no
//! larger is let through.
//!
//! # What is written where
//!
//! One hash for each namespace, `interlock:{NAMESPACE}`, with two fields: `version`, and `data`, which
//! is JSON that tells who holds and waits. To see it in a terminal:
//!
//! <!-- needs: redis -->
//! ```console
//! $ export LOCKCTL_STORE='redis://localhost'
//! $ lockctl run --task backup-17 -l app/blog -- sleep 60 &
//! $ redis-cli --raw HGET 'interlock:{default}' data
//! {…"backup-17"…}
//! ```
//!
//! Every change is one script, called by its hash (and loaded again whenever the server does not know
//! it), which compares the version and replaces both fields. It publishes the new version on the
//! channel `interlock:{NAMESPACE}:DATABASE`. Clients subscribe to that, by a second connection, only
//! while they wait for somebody; without it they look from time to time, as they do when a message is
//! lost. Nothing has a time to live.
//!
//! # Rights
//!
//! ```text
//! ACL SETUSER shop on >PASSWORD ~interlock:* &interlock:* +evalsha +script|load +hget +hgetall +hset +hstrlen +exists +publish +subscribe +ping +info
//! ```
//!
//! and `+select` for another database than 0, `+wait` for `replicas=N`. Without `+publish`,
//! `+subscribe` or the channel, waiting takes longer and nothing else; without `+info` nobody is
//! warned. What is missing otherwise is named by the error, as the rule to type; `lockctl doctor` looks for
//! it beforehand ([`RedisBackend::rights`]).
//!
//! # Servers
//!
//! Redis from 7.0 and Valkey from 8.0 on; tested are Redis 7.0 and Valkey 8.0. One server, a primary
//! with replicas, alone or under Sentinel, or a cluster: `redis://sentinel1,sentinel2/0?sentinel=NAME`
//! names sentinels, other hosts are servers or nodes. In a cluster all of a namespace is one key on one
//! node, and clients follow it when it moves; the part of the key in braces decides the node.
//!
//! Connecting takes up to 10 s, over all hosts of the URL and their addresses, unless
//! [`connect-timeout`](RedisOptions::connect_timeout) says otherwise; a command whose answer does not come
//! within 5 s is given up with its connection, and one that was idle for 30 s is asked within 1 s whether it
//! still works. So a server that has vanished without a word is noticed well within a lease of 60 s. What
//! answers and is no Redis is an error of configuration: waiting would not make it one.
//!
//! # Failover
//!
//! Clients only use a primary. A server that is a replica, that becomes one, or that has fewer replicas
//! than its `min-replicas-to-write`, is not even read; with several hosts or sentinels the next is
//! asked.
//!
//! A primary that was cut off from its replicas goes on acknowledging to clients on its side, and
//! forgets all that when it comes back. Two things narrow this:
//!
//! * `replicas=N` in the URL: a change is believed only when N replicas have received it (`WAIT`), and
//!   so is what is read. A version that this client has seen on so many before is not confirmed again, so
//!   that a primary that was cut off may still answer reads, such as lists and `verify`, from the past,
//!   while no change of it is believed. While fewer do, nothing is granted; if that lasts for longer than a
//!   lease, locks are lost, as they are when the store cannot be reached. So have one replica more than
//!   N. A change that too few replicas have received *was made*: it is reported as unknown, and found
//!   out by reading when they have.
//! * `min-replicas-to-write` and a short `min-replicas-max-lag` on the servers, which make a primary
//!   that is alone refuse.
//!
//! Neither makes Redis a consensus: a failover may still choose a replica that lacks what another one
//! has confirmed, and a replica confirms what it has received, not what it has written to disk. Where
//! that is too weak, use a cluster of a database: see `lock-mysql`.
//!
//! # Restoring a backup
//!
//! The hash comes back with the rest, and with it locks of whoever held them then. Clients that live
//! withdraw what they no longer hold, and lose what the backup does not know; the dead are swept as
//! always. To begin with nothing held, delete the key while no client runs.
//!
//! # Limits and sizing
//!
//! All locks of a namespace are one value that each change writes anew, and that replicas and the
//! append-only file get as a whole. On one machine with two cores and a local disk, Redis 7.0, medians:
//!
//! | holds | bytes of `data` | acquire, `appendfsync always` | appended a change |
//! |---|---|---|---|
//! | 10 | 1,254 | 0.26 ms | 1.3 KB |
//! | 100 | 8,465 | 0.33 ms | 8.6 KB |
//! | 1,000 | 83,266 | 0.49 ms | 84 KB |
//! | 10,000 | 858,267 | 1.9 ms | not measured |
//!
//! The server does one thing at a time, so that what a large table costs, all its users pay. Keep to
//! some hundreds of locks at a time in one namespace, and give independent things namespaces of their
//! own.
//!
//! Tasks of one process share their changes: 64 of them acquired and released over 50,000 times a
//! second there, without an append-only file. While locks are only held, with a lease of 60 s, there is
//! one change in 20 s for each process, however many locks it holds.
//!
//! # TLS
//!
//! `rediss://`, by rustls. The server's certificate has to be of the CA in `ssl-ca`, or of one that the
//! system trusts, and for the name in the URL; for a certificate of the client there are `ssl-cert` and
//! `ssl-key`. There is no way to skip that. Nodes of a cluster and sentinels have to announce names,
//! and not addresses, to which their certificates belong (`cluster-announce-hostname`, `sentinel
//! announce-hostnames`).

mod backend;
mod error;
mod listener;
mod options;
mod rights;
mod risk;
mod script;
mod servers;
mod session;

pub use backend::RedisBackend;
pub use options::RedisOptions;
pub use rights::Rights;
pub use risk::Risk;
