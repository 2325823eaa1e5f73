//! The backend: one row of a table as the versioned cell, with time limits and other servers to turn to.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use lock_core::options::read_password;
use lock_core::server::{Doing, Rotation, first_that_serves, within};
use lock_core::{BackendError, BackendErrorKind, LockBackend, Reach, Snapshot, Swap, Version};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::error::{Site, is_missing_table, sort};
use crate::options::{MySqlOptions, address};
use crate::session::{Found, Mark, Session};
use crate::table::Table;
use crate::way::Way;

/// A store in a table of MySQL or MariaDB.
///
/// See the [crate](crate) for what it promises.
pub struct MySqlBackend {
    pub(crate) servers: Vec<MySqlConnectOptions>,
    /// How long connecting may take, all servers together.
    pub(crate) connect_timeout: Duration,
    password_file: Option<PathBuf>,
    pub(crate) table: Table,
    namespace: String,
    pub(crate) store: String,
    /// Whom the servers take this client for.
    pub(crate) account: OnceLock<String>,
    rotation: Rotation,
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    session: Option<Session>,
    /// The cell as it was last read, so that it is sent again only when it has changed.
    known: (Mark, Vec<u8>),
}

impl Slot {
    fn learn(&mut self, found: Found) -> Snapshot {
        match found {
            None => self.known = Default::default(),
            Some((mark, Some(data))) => self.known = (mark, data),
            Some((_, None)) => {}
        }
        let (mark, data) = &self.known;
        Snapshot { version: mark.version, data: data.clone() }
    }
}

impl MySqlBackend {
    /// A backend for the server and table that a URL names; see [`MySqlOptions::from_url`].
    ///
    /// Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`BackendErrorKind::Misconfigured`]: the URL is bad.
    pub fn from_url(url: &str) -> Result<Self, BackendError> {
        MySqlOptions::from_url(url)?.build()
    }

    /// A backend that connects as this pool does, with a connection of its own; see
    /// [`MySqlOptions::from_pool`].
    ///
    /// # Errors
    ///
    /// [`BackendErrorKind::Misconfigured`]: the options cannot be used.
    pub fn from_pool(pool: &MySqlPool) -> Result<Self, BackendError> {
        MySqlOptions::from_pool(pool).build()
    }

    pub(crate) fn new(
        servers: Vec<MySqlConnectOptions>,
        connect_timeout: Duration,
        password_file: Option<PathBuf>,
        table: Table,
        namespace: String,
        store: String,
    ) -> Self {
        let (account, slot) = (OnceLock::new(), Mutex::default());
        let rotation = Rotation::new(servers.len());
        Self {
            servers,
            connect_timeout,
            password_file,
            table,
            namespace,
            store,
            account,
            rotation,
            slot,
        }
    }

    /// Creates the table if it is missing; this takes the right to do so, but only then.
    ///
    /// [`MIGRATION`](crate::MIGRATION) is what it runs.
    ///
    /// # Errors
    ///
    /// [`BackendError`]: the server cannot be reached, or this user may not create a table.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the table created or not; call it again.
    pub async fn migrate(&self) -> Result<(), BackendError> {
        let mut slot = self.slot.lock().await;
        let mut session = self.session(&mut slot).await?;
        let reading = session.read(&self.table, self.id(), Mark::default());
        let result = match within(Doing::Reading, &self.store, reading).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(missing)) => {
                let created = self.within(Doing::Migrating, session.create(&self.table)).await;
                // Who may not read the table need not be told of creating it.
                created.map_err(|error| {
                    if is_missing_table(&missing) {
                        return error;
                    }
                    sort(Doing::Reading, &self.site(), missing)
                })
            }
            Err(silent) => Err(silent),
        };
        self.keep(&mut slot, session, &result);
        result
    }

    pub(crate) fn site(&self) -> Site<'_> {
        Site {
            store: &self.store,
            table: &self.table,
            database: self.servers[0].get_database(),
            account: self.account.get().map(String::as_str),
        }
    }

    pub(crate) fn id(&self) -> &[u8] {
        self.namespace.as_bytes()
    }

    /// The open connection, or a new one.
    ///
    /// It is taken out of its place for the time of a call: if the call fails or its future is
    /// dropped, the connection goes with it, whatever may still be under way on it.
    async fn session(&self, slot: &mut MutexGuard<'_, Slot>) -> Result<Session, BackendError> {
        if let Some(mut session) = slot.session.take().filter(Session::is_of_this_runtime)
            && session.still_works().await
        {
            return Ok(session);
        }
        self.connect().await
    }

    /// Connects to the first server that serves and can be written, from the last good one on.
    async fn connect(&self) -> Result<Session, BackendError> {
        let numbers = self.rotation.order();
        let named = numbers.map(|number| (address(&self.servers[number]), number)).collect();
        let open = |number, limit| self.open(number, limit);
        first_that_serves(&self.store, self.connect_timeout, named, open).await
    }

    /// Connects to the server of this number, if it serves and can be written.
    async fn open(&self, number: usize, limit: Instant) -> Result<Session, BackendError> {
        let session = self.connect_to(&self.servers[number], limit).await?;
        let session = self.believe(Doing::Connecting, &session, ()).map(|()| session)?;
        let _ = self.account.set(session.account.clone());
        self.rotation.serves(number);
        Ok(session)
    }

    /// Connects to a server whatever it is good for.
    pub(crate) async fn connect_to(
        &self,
        server: &MySqlConnectOptions,
        limit: Instant,
    ) -> Result<Session, BackendError> {
        let server = &match &self.password_file {
            Some(path) => server.clone().password(&read_password(path)?),
            None => server.clone(),
        };
        let doing = Doing::Connecting;
        let way = Way::find(server, limit).await.map_err(|error| {
            doing.failed(&self.store, BackendErrorKind::Unavailable, None).with_source(error)
        })?;
        Session::open(way, server).await.map_err(|error| sort(doing, &self.site(), error))
    }

    /// Why a server is not to be used, not even for reading: what it tells may be of the past, since
    /// another may have taken its place.
    fn flaw(session: &Session) -> Option<&'static str> {
        if session.is_apart {
            return Some("the server is apart from its cluster");
        }
        session.is_read_only.then_some("it is read-only; it may have stopped being the primary")
    }

    /// Runs a statement within its time limit; one waits for the row for 2 s at most.
    async fn within<T>(
        &self,
        doing: Doing,
        call: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, BackendError> {
        let result = within(doing, &self.store, call).await?;
        result.map_err(|error| sort(doing, &self.site(), error))
    }

    /// What was found, unless the server is not to be used, or not any more.
    fn believe<T>(&self, doing: Doing, session: &Session, found: T) -> Result<T, BackendError> {
        let Some(flaw) = Self::flaw(session) else { return Ok(found) };
        Err(doing.failed(&self.store, BackendErrorKind::Unavailable, Some(flaw)))
    }

    /// Keeps the connection after a call, if it is good for another; turns to the next server if not.
    fn keep<T>(&self, slot: &mut Slot, mut session: Session, result: &Result<T, BackendError>) {
        if result.as_ref().err().is_none_or(|error| error.kind().spares_connection()) {
            session.used();
            slot.session = Some(session);
        } else {
            self.rotation.turn_away();
        }
    }
}

#[async_trait]
impl LockBackend for MySqlBackend {
    fn reach(&self) -> Reach {
        Reach::Network
    }

    fn describe(&self) -> String {
        self.store.clone()
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        let mut slot = self.slot.lock().await;
        let mut session = self.session(&mut slot).await?;
        let known = slot.known.0;
        let reading = session.read(&self.table, self.id(), known);
        let read = self.within(Doing::Reading, reading).await;
        let result = read.and_then(|found| self.believe(Doing::Reading, &session, found));
        self.keep(&mut slot, session, &result);
        Ok(slot.learn(result?))
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        let data = std::str::from_utf8(data).map_err(|error| {
            let message = format!("cannot write to {}: the data is not text", self.store);
            BackendError::new(BackendErrorKind::Misconfigured, message).with_source(error)
        })?;
        let mut slot = self.slot.lock().await;
        let mut session = self.session(&mut slot).await?;
        if !session.takes(data.len()) {
            let message = format!(
                "cannot write to {}: {} bytes do not fit into the server's max_allowed_packet of {}",
                self.store,
                data.len(),
                session.packet_max()
            );
            slot.session = Some(session);
            return Err(BackendError::new(BackendErrorKind::TooLarge, message));
        }
        let swapping = session.swap(&self.table, self.id(), (expected, next), data);
        let result = self.within(Doing::Swapping, swapping).await;
        self.keep(&mut slot, session, &result);
        result
    }

    async fn load_in_turn(&self) -> Result<Option<Snapshot>, BackendError> {
        let mut slot = self.slot.lock().await;
        let mut session = self.session(&mut slot).await?;
        let known = slot.known.0;
        let reading = session.read_in_turn(&self.table, self.id(), known);
        let read = self.within(Doing::Reading, reading).await;
        let result = read.and_then(|found| self.believe(Doing::Reading, &session, found));
        self.keep(&mut slot, session, &result);
        Ok(result?.map(|found| slot.learn(found)))
    }

    async fn end_turn(&self) {
        let mut slot = self.slot.lock().await;
        let Some(mut session) = slot.session.take().filter(Session::is_of_this_runtime) else {
            return;
        };
        let ending = session.end_turn(&self.table, self.id());
        let result = self.within(Doing::Reading, ending).await;
        self.keep(&mut slot, session, &result);
    }

    async fn close(&self) {
        let session = self.slot.lock().await.session.take();
        if let Some(session) = session.filter(Session::is_of_this_runtime) {
            session.close().await;
        }
    }
}

impl fmt::Debug for MySqlBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options of sqlx would show the password.
        f.debug_struct("MySqlBackend").field("store", &self.store).finish_non_exhaustive()
    }
}
