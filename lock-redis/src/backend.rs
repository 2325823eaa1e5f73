//! The backend: one hash as the versioned cell, with time limits and other servers to turn to.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lock_core::server::{Doing, Rotation, first_that_serves, within};
use lock_core::{
    BackendError, BackendErrorKind as Kind, LockBackend, Reach, Snapshot, Swap, Version,
};
use redis::{RedisError, RedisResult};
use tokio::time::Instant;

use crate::error::{NO_MEMORY, Site, not_ours, sort};
use crate::listener::Listener;
use crate::options::RedisOptions;
use crate::rights::Rights;
use crate::risk::{Info, Risk};
use crate::servers::{Place, Servers};
use crate::session::{Cell, Outcome, Session, redirection};

/// How long it may take to subscribe.
const SUBSCRIBE_SECONDS: u64 = 5;

/// A store in Redis or Valkey.
///
/// See the [crate](crate) for what it promises.
pub struct RedisBackend {
    servers: Servers,
    cell: Cell,
    store: String,
    /// What the user needs to be allowed.
    rights: String,
    /// How many replicas have to have a swap.
    replicas: u32,
    /// Of servers, or sentinels.
    rotation: Rotation,
    /// The node of a cluster that has the key, if another one has said so.
    moved: Mutex<Option<Place>>,
    /// The newest version that is known to be on enough replicas.
    replicated: AtomicU64,
    has_warned: AtomicBool,
    session: Mutex<Option<Session>>,
    listener: Mutex<Option<Listener>>,
}

impl RedisBackend {
    /// A backend for the server that a URL names; see [`RedisOptions::from_url`].
    ///
    /// Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`BackendErrorKind::Misconfigured`](Kind::Misconfigured): the URL is bad.
    pub fn from_url(url: &str) -> Result<Self, BackendError> {
        RedisOptions::from_url(url)?.build()
    }

    pub(crate) fn new(
        servers: Servers,
        cell: Cell,
        store: String,
        rights: String,
        replicas: u32,
    ) -> Self {
        let rotation = Rotation::new(servers.addresses.len());
        Self {
            servers,
            rotation,
            cell,
            store,
            rights,
            replicas,
            moved: Mutex::default(),
            replicated: AtomicU64::new(0),
            has_warned: AtomicBool::new(false),
            session: Mutex::default(),
            listener: Mutex::default(),
        }
    }

    /// What the server may lose, as far as it tells: [`Risk::Untold`] where its user may not ask (`INFO`).
    ///
    /// `lockctl init` says all of it, and `lockctl doctor` has it among its findings. Every backend looks
    /// when it connects, and warns of [`Risk::Eviction`] alone by `tracing`, which `lockctl run` and
    /// `lockctl acquire` say on stderr.
    ///
    /// # Errors
    ///
    /// [`BackendError`]: the server cannot be reached, or does not let the user in.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn risks(&self) -> Result<Vec<Risk>, BackendError> {
        let ask = |mut session: Session| async move { session.info().await };
        let info = self.call(Doing::Reading, ask).await?;
        Ok(info.map_or_else(|| vec![Risk::Untold], |info| info.risks(self.replicas)))
    }

    /// Whether the user may write the cell: whoever may only read learns of it by the first change otherwise.
    ///
    /// Nothing is changed: the server is asked what it would allow.
    ///
    /// # Errors
    ///
    /// [`BackendError`]: the server cannot be reached, or does not let the user in or run scripts.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn rights(&self) -> Result<Rights, BackendError> {
        let ask = |mut session: Session| async move { session.lacking(&self.cell).await };
        let lacking = self.call(Doing::Reading, ask).await?;
        let site = self.site();
        Ok(Rights {
            user: site.user.to_owned(),
            lacking: lacking.iter().map(|command| format!("+{command}")).collect(),
            rule: site.rule(),
        })
    }

    fn site(&self) -> Site<'_> {
        Site {
            store: &self.store,
            key: &self.cell.key,
            user: self.servers.account.user.as_deref().unwrap_or("default"),
            rights: &self.rights,
        }
    }

    /// The open connection, or a new one.
    async fn session(&self) -> Result<Session, BackendError> {
        let open = self.slot().clone().filter(Session::is_of_this_runtime);
        if let Some(mut session) = open {
            if session.still_works().await {
                return Ok(session);
            }
            self.forget();
        }
        let session = self.connect().await?;
        *self.slot() = Some(session.clone());
        Ok(session)
    }

    /// Connects to the first server that serves and is no replica, from the last good one on.
    async fn connect(&self) -> Result<Session, BackendError> {
        let mut places = self.servers.places(self.rotation.order());
        if let Some(place) = self.moved().clone() {
            places.retain(|other| *other != place);
            places.insert(0, place);
        }
        let named = places.into_iter().map(|place| (place.to_string(), place)).collect();
        let open = |place, limit| self.try_at(place, limit);
        let found = first_that_serves(&self.store, self.servers.connect_timeout, named, open).await;
        if found.is_err() {
            *self.moved() = None;
        }
        found
    }

    /// Connects to the server at a place, or to that which the sentinel there names.
    async fn try_at(&self, place: Place, limit: Instant) -> Result<Session, BackendError> {
        let sorted = |error: RedisError| sort(Doing::Connecting, self.site(), error);
        let primary = match &self.servers.sentinel {
            Some(sentinel) => {
                let account = sentinel.account.current()?;
                let asked = self.servers.primary(&place, &account, &sentinel.name, limit);
                asked.await.map_err(sorted)?
            }
            None => place.clone(),
        };
        let account = self.servers.account.current()?;
        let connected = self.servers.connect(&primary, &account, limit);
        let connection = connected.await.map_err(sorted)?;
        let mut session = Session::new(connection, primary);
        // Who may not ask learns by the first call whether it is a replica.
        if let Some(info) = session.info().await.map_err(sorted)? {
            if info.is_replica {
                let why = "a server is a replica, and so not the primary";
                return Err(self.failed(Doing::Connecting, Kind::Unavailable, why));
            }
            self.warn(&info);
        }
        if let Place::Tcp(address) = &place
            && let Some(index) = self.servers.addresses.iter().position(|one| one == address)
        {
            self.rotation.serves(index);
        }
        Ok(session)
    }

    /// Says once what may cost all locks at any time.
    fn warn(&self, info: &Info) {
        for risk in info.risks(self.replicas) {
            if matches!(risk, Risk::Eviction(_)) && !self.has_warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(store = %self.store, "locks may be lost: {risk}");
            }
        }
    }

    /// Does something on the server that has the cell; on another one, if a cluster says so.
    async fn call<T, F: Future<Output = RedisResult<T>> + Send>(
        &self,
        doing: Doing,
        command: impl Fn(Session) -> F + Sync,
    ) -> Result<T, BackendError> {
        let mut is_second = false;
        loop {
            let session = self.session().await?;
            let place = session.place.clone();
            let called = within(doing, &self.store, command(session)).await;
            match called.inspect_err(|_| self.turn_away())? {
                Ok(answer) => {
                    if let Some(kept) = &mut *self.slot() {
                        kept.used();
                    }
                    return Ok(answer);
                }
                Err(error) => {
                    let place = redirection(&error, &place);
                    let error = sort(doing, self.site(), error);
                    if let Some(place) = place.filter(|_| !is_second) {
                        self.forget();
                        *self.moved() = Some(place);
                        is_second = true;
                        continue;
                    }
                    if !error.kind().spares_connection() {
                        self.turn_away();
                    }
                    return Err(error);
                }
            }
        }
    }

    async fn within<T>(
        &self,
        doing: Doing,
        call: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, BackendError> {
        let result = within(doing, &self.store, call).await?;
        result.map_err(|error| sort(doing, self.site(), error))
    }

    /// An error that this crate has found by itself.
    fn failed(&self, doing: Doing, kind: Kind, why: &str) -> BackendError {
        doing.failed(&self.store, kind, Some(why))
    }

    /// Believes that a version is on as many replicas as have to have it, or says that it is not.
    fn believe(
        &self,
        doing: Doing,
        version: Version,
        have: RedisResult<u32>,
    ) -> Result<(), BackendError> {
        let error = match have {
            Ok(have) if have >= self.replicas => {
                self.replicated.store(version.0, Ordering::Relaxed);
                return Ok(());
            }
            Ok(have) => {
                let why = format!("{have} of {} replicas have what is there", self.replicas);
                self.failed(doing, doing.unclear(), &why)
            }
            // It has been done by then, whatever the error says.
            Err(error) if doing == Doing::Swapping => self
                .failed(doing, Kind::OutcomeUnknown, "its replicas did not confirm it")
                .with_source(error),
            Err(error) => sort(doing, self.site(), error),
        };
        // The server may be one that its replicas have left.
        self.turn_away();
        Err(error)
    }

    /// Gives the connection up, and begins with another server next time.
    fn turn_away(&self) {
        self.forget();
        *self.moved() = None;
        self.rotation.turn_away();
    }

    /// Gives the connections up: also the one that tells of changes, which is on the same server.
    fn forget(&self) {
        *self.slot() = None;
        *self.listening() = None;
    }

    fn moved(&self) -> MutexGuard<'_, Option<Place>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listening(&self) -> MutexGuard<'_, Option<Listener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A subscription to what is published after each swap.
    async fn listener(&self) -> Result<Listener, BackendError> {
        if let Some(listener) = self.listening().clone().filter(Listener::is_good) {
            return Ok(listener);
        }
        let place = self.session().await?.place;
        let limit = Instant::now() + Duration::from_secs(SUBSCRIBE_SECONDS);
        let account = self.servers.account.current()?;
        let subscribing = self.servers.subscribe(&place, &account, &self.cell.channel, limit);
        let subscription = self.within(Doing::Listening, subscribing).await?;
        // What was swapped before the subscription began was told to nobody.
        let version = self.load().await?.version;
        let listener = Listener::start(subscription, version.0);
        *self.listening() = Some(listener.clone());
        Ok(listener)
    }
}

#[async_trait]
impl LockBackend for RedisBackend {
    fn reach(&self) -> Reach {
        Reach::Network
    }

    fn describe(&self) -> String {
        self.store.clone()
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        let read = |mut session: Session| async move {
            let read = session.read(&self.cell).await?;
            let known = Version(self.replicated.load(Ordering::Relaxed));
            let is_known = read.as_ref().map_or(true, |snapshot| snapshot.version == known);
            let have = match self.replicas {
                0 => Ok(0),
                replicas if is_known => Ok(replicas),
                replicas => session.replicated(&self.cell, replicas).await,
            };
            Ok((read, have))
        };
        let (read, have) = self.call(Doing::Reading, read).await?;
        let snapshot = read.map_err(|why| {
            let why = not_ours(self.site(), &why);
            self.failed(Doing::Reading, Kind::Misconfigured, &why)
        })?;
        self.believe(Doing::Reading, snapshot.version, have)?;
        Ok(snapshot)
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        let swap = |mut session: Session| async move {
            let outcome = session.swap(&self.cell, (expected, next), data).await?;
            let have = match self.replicas {
                0 => Ok(0),
                replicas => session.wait(replicas).await,
            };
            Ok((outcome, have))
        };
        match self.call(Doing::Swapping, swap).await? {
            (Outcome::Done(Swap::Swapped), have) => {
                self.believe(Doing::Swapping, next, have)?;
                Ok(Swap::Swapped)
            }
            (Outcome::Done(Swap::Conflict), _) => Ok(Swap::Conflict),
            (Outcome::NoMemory, _) => Err(self.failed(Doing::Swapping, Kind::TooLarge, NO_MEMORY)),
        }
    }

    async fn close(&self) {
        self.forget();
    }

    async fn changed(&self, seen: Version) -> Result<(), BackendError> {
        let mut listener = self.listener().await?;
        if listener.beyond(seen.0).await {
            return Ok(());
        }
        let why = "the subscription has ended";
        Err(self.failed(Doing::Listening, Kind::Unavailable, why))
    }
}

impl fmt::Debug for RedisBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBackend").field("store", &self.store).finish_non_exhaustive()
    }
}
