//! The client of the test cell: a backend for a server on a network, as small as it can be.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lock_core::{BackendError, BackendErrorKind, LockBackend, Reach, Snapshot, Swap, Version};
use tokio::net::TcpStream;
use tokio::runtime::{Handle, Id};
use tokio::time::timeout;

use super::wire::{Reply, Request, ask};

/// How long to connect, and then a call, may take.
const LIMIT: Duration = Duration::from_millis(500);
/// Makes it a backend that waits for every answer, for the mutants.
pub(crate) const PATIENT: &str = "LOCK_TEST_CELL_PATIENT";

/// A cell that a server at this address keeps.
#[derive(Debug)]
pub(crate) struct TcpBackend {
    address: SocketAddr,
    /// A connection on which nothing is under way, and the runtime that it lives in.
    idle: Mutex<Option<(Id, TcpStream)>>,
}

impl TcpBackend {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::default() }
    }

    fn idle(&self) -> MutexGuard<'_, Option<(Id, TcpStream)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(
        &self,
        kind: BackendErrorKind,
        what: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> BackendError {
        BackendError::new(kind, format!("cannot {what} the cell at {}", self.address))
            .with_source(source)
    }

    fn limit() -> Duration {
        if env::var_os(PATIENT).is_some() { Duration::from_secs(3600) } else { LIMIT }
    }

    async fn connect(&self, what: &str) -> Result<TcpStream, BackendError> {
        let fail = |error| self.error(BackendErrorKind::Unavailable, what, error);
        let connected = timeout(Self::limit(), TcpStream::connect(self.address)).await;
        let stream = connected.unwrap_or_else(|late| Err(late.into())).map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        Ok(stream)
    }

    /// Asks, and fails as `kind` if that may have been heard.
    ///
    /// The connection is put back only after all of the answer: one that is given up on the way is
    /// closed, so that no later call can take the answer for its own.
    async fn call(
        &self,
        what: &str,
        kind: BackendErrorKind,
        request: &Request,
    ) -> Result<Reply, BackendError> {
        let runtime = Handle::current().id();
        let idle = self.idle().take().filter(|(home, stream)| *home == runtime && is_open(stream));
        let mut stream = match idle {
            Some((_, stream)) => stream,
            None => self.connect(what).await?,
        };
        let answered = timeout(Self::limit(), ask(&mut stream, request)).await;
        let reply = answered.unwrap_or_else(|late| Err(late.into()));
        let reply = reply.map_err(|error| self.error(kind, what, error))?;
        *self.idle() = Some((runtime, stream));
        Ok(reply)
    }

    fn unexpected(&self, what: &str, reply: &Reply) -> BackendError {
        self.error(BackendErrorKind::Misconfigured, what, format!("it answered {reply:?}"))
    }
}

/// Whether the server has neither hung up nor said something unasked.
fn is_open(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[async_trait]
impl LockBackend for TcpBackend {
    fn reach(&self) -> Reach {
        Reach::Network
    }

    fn describe(&self) -> String {
        format!("tcp:{}", self.address)
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        match self.call("load", BackendErrorKind::Unavailable, &Request::Load).await? {
            Reply::Cell(cell) => Ok(cell),
            other => Err(self.unexpected("load", &other)),
        }
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        let next = Snapshot { version: next, data: data.into() };
        let request = Request::Swap { expected, next };
        match self.call("swap", BackendErrorKind::OutcomeUnknown, &request).await? {
            Reply::Done => Ok(Swap::Swapped),
            Reply::Conflict => Ok(Swap::Conflict),
            // As after a failover: another server may take its place.
            Reply::ReadOnly => Err(self.error(BackendErrorKind::Unavailable, "swap", "read-only")),
            Reply::Full => Err(self.error(BackendErrorKind::TooLarge, "swap", "no room")),
            other @ Reply::Cell(_) => Err(self.unexpected("swap", &other)),
        }
    }

    /// On a connection of its own, which is closed when nobody wants to know any more.
    async fn changed(&self, seen: Version) -> Result<(), BackendError> {
        let mut stream = self.connect("watch").await?;
        let told = ask(&mut stream, &Request::Changed { seen }).await;
        told.map_err(|error| self.error(BackendErrorKind::Unavailable, "watch", error))?;
        Ok(())
    }
}
