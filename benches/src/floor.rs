//! The floor: the one bare statement that a swap consists of, or the bare calls, on a cell of its own.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lock_bench_worker::Failure;
use lock_core::{LockBackend, Locks};
use redis::Script;
use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use crate::counters::Counters;
use crate::store::{Server, Store};

/// The lock that is taken and given back.
pub(crate) const NAME: &str = "app/blog";

/// How many files of a chain are removed together, and how many of the newest stay, as the product does it.
const COLLECTED: u64 = 32;

/// What is in the cell while the lock is held, and while it is not.
pub(crate) async fn contents(
    locks: &Locks,
    cell: &dyn LockBackend,
) -> Result<[String; 2], Failure> {
    let guard = locks.acquire(NAME).await?;
    let held = cell.load().await?.data;
    guard.release().await?;
    let free = cell.load().await?.data;
    Ok([String::from_utf8(held)?, String::from_utf8(free)?])
}

/// What a swap consists of, where nobody else is.
pub(crate) struct Floor {
    place: Place,
    id: String,
    version: u64,
}

enum Place {
    Server(Counters, Script),
    Sqlite(Connection, #[expect(dead_code, reason = "its file goes with it")] TempDir),
    Files { link: bool, folder: TempDir, directory: File },
}

/// Where a floor is to be.
pub(crate) struct Site {
    id: String,
    name: &'static str,
    server: Option<Server>,
    folder: Option<PathBuf>,
}

impl Site {
    pub(crate) fn new(store: &Store) -> Self {
        let id = store.fresh().rsplit('=').next().unwrap_or_default().to_owned();
        let folder = store.folder().map(Path::to_path_buf);
        Self { id, name: store.name, server: store.server(), folder }
    }
}

impl Floor {
    pub(crate) async fn new(site: Site, data: &str) -> Result<Self, Failure> {
        let place = match &site.server {
            Some(server) => {
                let mut counters = server.counters().await?;
                let script = include_str!("../../lock-redis/src/scripts/swap.lua");
                let script = Script::new(&format!("#!lua\n{script}"));
                match &mut counters {
                    Counters::Sql(connection) => {
                        sqlx::query("INSERT INTO interlock (version, data, id) VALUES (1, ?, ?)")
                            .bind(data)
                            .bind(site.id.as_bytes())
                            .execute(connection)
                            .await?;
                    }
                    Counters::Redis(connection) => {
                        script.load_async(connection).await?;
                        let mut set = redis::cmd("HSET");
                        set.arg(&site.id).arg("version").arg(1).arg("data").arg(data);
                        set.query_async::<()>(connection).await?;
                    }
                }
                Place::Server(counters, script)
            }
            None => Place::in_files(&site, data)?,
        };
        Ok(Self { place, id: site.id, version: 1 })
    }

    /// How long one takes.
    pub(crate) async fn swap(&mut self, data: &str) -> Result<Duration, Failure> {
        let (version, next) = (self.version, self.version + 1);
        let start = Instant::now();
        let changed = match &mut self.place {
            Place::Server(Counters::Sql(connection), _) => sqlx::query(
                "UPDATE interlock SET version = ?, data = ? WHERE id = ? AND version = ?",
            )
            .bind(next)
            .bind(data)
            .bind(self.id.as_bytes())
            .bind(version)
            .execute(connection)
            .await?
            .rows_affected(),
            Place::Server(Counters::Redis(connection), script) => {
                let mut call = redis::cmd("EVALSHA");
                call.arg(script.get_hash()).arg(1).arg(&self.id).arg(version);
                call.arg(next).arg(data).arg(&self.id);
                call.query_async(connection).await?
            }
            Place::Sqlite(connection, _) => {
                let update = "UPDATE interlock SET version = ?2, data = ?3 \
                              WHERE namespace = ?1 AND version = ?4";
                let mut update = connection.prepare_cached(update)?;
                let parameters =
                    rusqlite::params![self.id, next.cast_signed(), data, version.cast_signed()];
                u64::try_from(update.execute(parameters)?)?
            }
            Place::Files { link, folder, directory } => {
                swap_files(*link, folder, directory, version, data)?;
                1
            }
        };
        let took = start.elapsed();
        if changed != 1 {
            return Err("the bare swap changed nothing".into());
        }
        self.version = next;
        Ok(took)
    }
}

impl Place {
    fn in_files(site: &Site, data: &str) -> Result<Self, Failure> {
        let folder = match &site.folder {
            Some(folder) => tempfile::tempdir_in(folder)?,
            None => tempfile::tempdir()?,
        };
        if site.name != "sqlite" {
            fs::write(folder.path().join("cell"), data)?;
            fs::write(folder.path().join("after-1"), data)?;
            let directory = File::open(folder.path())?;
            return Ok(Self::Files { link: site.name == "excl", folder, directory });
        }
        let connection = Connection::open(folder.path().join("bare.db"))?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE interlock (namespace TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, \
             data TEXT NOT NULL)",
        )?;
        connection.execute("INSERT INTO interlock VALUES (?1, 1, ?2)", [&*site.id, data])?;
        Ok(Self::Sqlite(connection, folder))
    }
}

/// A floor in a thread of its own, for whoever asks it and waits: what it costs at the least to have a
/// thread for the store, whatever that thread does.
pub(crate) struct Elsewhere(mpsc::UnboundedSender<(Arc<str>, oneshot::Sender<Answer>)>);

/// A failure as text, for it goes from one thread to another.
type Answer = Result<(), String>;

impl Elsewhere {
    pub(crate) fn start(store: &Store, data: &str) -> Result<Self, Failure> {
        let (orders, mut ordered) =
            mpsc::unbounded_channel::<(Arc<str>, oneshot::Sender<Answer>)>();
        let (site, data) = (Site::new(store), data.to_owned());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                let mut floor = Floor::new(site, &data).await.map_err(|error| error.to_string());
                while let Some((data, answer)) = ordered.recv().await {
                    let done = match &mut floor {
                        Ok(floor) => floor.swap(&data).await.map_err(|error| error.to_string()),
                        Err(error) => Err(error.clone()),
                    };
                    let _ = answer.send(done.map(drop));
                }
            });
        });
        Ok(Self(orders))
    }

    /// How long one takes, as whoever asks sees it.
    pub(crate) async fn swap(&self, data: &Arc<str>) -> Result<Duration, Failure> {
        let start = Instant::now();
        let (answer, answered) = oneshot::channel();
        self.0.send((data.clone(), answer))?;
        answered.await??;
        Ok(start.elapsed())
    }
}

/// A new file that is synced, the old one read, the name moved or a new one linked, and the folder synced.
fn swap_files(
    link: bool,
    folder: &TempDir,
    directory: &File,
    version: u64,
    data: &str,
) -> Result<(), Failure> {
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let new = path("new");
    let mut file = File::create_new(&new)?;
    file.write_all(data.as_bytes())?;
    file.sync_data()?;
    drop(file);
    if link {
        let after = |version: u64| path(&format!("after-{version}"));
        fs::hard_link(&new, after(version + 1))?;
        fs::remove_file(new)?;
        fs::read(after(version))?;
        if version.is_multiple_of(COLLECTED) && version > COLLECTED {
            let newest = version - COLLECTED;
            (newest - COLLECTED + 1..=newest).try_for_each(|old| fs::remove_file(after(old)))?;
        }
    } else {
        flock(directory, FlockOperation::NonBlockingLockExclusive)?;
        fs::read(path("cell"))?;
        fs::rename(new, path("cell"))?;
        flock(directory, FlockOperation::Unlock)?;
    }
    Ok(directory.sync_all()?)
}
