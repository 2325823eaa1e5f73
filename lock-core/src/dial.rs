//! Dialling a host name that may have several addresses, as RFC 8305 says: for backends of stores on a network.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::server::without_brackets;

/// How long an attempt is alone before the next one begins: what RFC 8305 recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long whoever has accepted may be silent while there are others to turn to.
const GREETING: Duration = Duration::from_secs(2);

/// The addresses of a host, in the order in which they are to be tried.
///
/// ```
/// use std::time::Duration;
/// use lock_core::dial::Addresses;
/// use tokio::time::Instant;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let limit = Instant::now() + Duration::from_secs(10);
/// let addresses = Addresses::look_up("db.internal", 3306, limit).await?;
/// // Any connection will do, or the first one on which something is said:
/// let stream = addresses.dial(limit, |stream| async { Ok(stream) }).await?;
/// let stream = addresses.dial(limit, lock_core::dial::greeted).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Addresses {
    host: String,
    list: Vec<SocketAddr>,
}

impl Addresses {
    /// Looks up a host name; an IP address is its own, with or without the brackets of a URL.
    ///
    /// The system's resolver decides which address comes first, and with it which family (RFC 6724);
    /// from there on the families alternate.
    ///
    /// # Errors
    ///
    /// [`DialError::LookUp`]: there is no such name, or the resolver does not answer in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves a thread behind that ends when the resolver gives up. Nobody waits
    /// for it, not even a runtime that shuts down.
    pub async fn look_up(host: &str, port: u16, limit: Instant) -> Result<Self, DialError> {
        let bare = without_brackets(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self { host: host.into(), list: vec![SocketAddr::new(address, port)] });
        }
        let began = Instant::now();
        let found = match timeout_at(limit, resolve(bare.into(), port)).await {
            Ok(found) => found,
            Err(_) => Err(silent("the resolver did not answer", began)),
        };
        match found {
            Ok(found) => Ok(Self { host: host.into(), list: alternating(&found) }),
            Err(source) => Err(DialError::LookUp { host: host.into(), source }),
        }
    }

    /// The addresses, at least one.
    pub fn list(&self) -> &[SocketAddr] {
        &self.list
    }

    /// Connects to the first address at which somebody accepts and greets.
    ///
    /// Each attempt is alone for 250 ms; then, or as soon as it fails, the next one begins, and those
    /// before go on. The first that connects wins, and the others are given up. What makes a
    /// connection good is for `greet` to say, which does the first steps of a protocol: if it fails,
    /// or says nothing for 2 s, the addresses that have not failed are tried once more without this
    /// one. The last of them may be silent up to the limit.
    ///
    /// An answer that is final, such as a wrong password, is not a failure of the address: let
    /// `greet` return it in an `Ok`.
    ///
    /// # Errors
    ///
    /// [`DialError::Unreachable`]: no address was any good within the limit; all are listed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes all connections that it has made.
    pub async fn dial<T, G>(
        &self,
        limit: Instant,
        mut greet: impl FnMut(TcpStream) -> G,
    ) -> Result<T, DialError>
    where
        G: Future<Output = io::Result<T>>,
    {
        let began = Instant::now();
        let mut failures = Vec::new();
        loop {
            let left = self.without(&failures);
            let raced = timeout_at(limit, race(&left, TcpStream::connect, &mut failures)).await;
            let Ok(Some((address, stream))) = raced else { break };
            let others = self.list.len() - failures.len() - 1;
            let patience = if others == 0 { limit } else { limit.min(Instant::now() + GREETING) };
            let accepted = Instant::now();
            match timeout_at(patience, greet(stream)).await {
                Ok(Ok(greeted)) => return Ok(greeted),
                Ok(Err(error)) => failures.push((address, error)),
                Err(_) => failures.push((address, silent("accepted, and said nothing", accepted))),
            }
        }
        Err(self.unreachable(failures, began))
    }

    /// Connects to the first address with which all that `connect` does works out.
    ///
    /// As [`dial`](Self::dial), but who wins is decided by whole attempts, for protocols in which it
    /// does no harm to give one up half way; whoever accepts and says nothing never wins.
    ///
    /// # Errors
    ///
    /// As [`dial`](Self::dial).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops all attempts.
    pub async fn race<T, C>(
        &self,
        limit: Instant,
        connect: impl Fn(SocketAddr) -> C,
    ) -> Result<T, DialError>
    where
        C: Future<Output = io::Result<T>>,
    {
        let began = Instant::now();
        let mut failures = Vec::new();
        match timeout_at(limit, race(&self.list, connect, &mut failures)).await {
            Ok(Some((_, made))) => Ok(made),
            _ => Err(self.unreachable(failures, began)),
        }
    }

    /// The error that lists what became of every address; those that have not failed were silent.
    fn unreachable(&self, mut attempts: Vec<(SocketAddr, io::Error)>, began: Instant) -> DialError {
        for address in self.without(&attempts) {
            attempts.push((address, silent("no answer", began)));
        }
        DialError::Unreachable { host: self.host.clone(), attempts }
    }

    /// The addresses that have not failed.
    fn without(&self, failures: &[(SocketAddr, io::Error)]) -> Vec<SocketAddr> {
        let has_failed = |address| failures.iter().any(|(failed, _)| *failed == address);
        self.list.iter().copied().filter(|address| !has_failed(*address)).collect()
    }
}

/// Waits until the peer has said something, and leaves it there to be read: a greeting for
/// [`Addresses::dial`] where servers speak first.
///
/// # Errors
///
/// The connection ends without a word.
///
/// # Cancel safety
///
/// If dropped, the connection is closed.
pub async fn greeted(stream: TcpStream) -> io::Result<TcpStream> {
    match stream.peek(&mut [0]).await? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without a word")),
        _ => Ok(stream),
    }
}

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The host name has no address, or that could not be found out.
    #[error("cannot look up {host}")]
    LookUp {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address is any good.
    #[error("cannot reach {host}: {}", Attempts(attempts))]
    Unreachable {
        /// The name.
        host: String,
        /// Every address of it with what became of it.
        attempts: Vec<(SocketAddr, io::Error)>,
    },
}

struct Attempts<'a>(&'a [(SocketAddr, io::Error)]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (address, error)) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{address}: {error}")?;
        }
        Ok(())
    }
}

fn silent(what: &str, since: Instant) -> io::Error {
    let seconds = since.elapsed().as_secs_f64();
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} within {seconds:.1} s"))
}

/// What the system's resolver says, asked on a thread of its own: it cannot be stopped, and a runtime
/// would wait for it when it shuts down.
async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name("look up".into()).spawn(move || {
        let _ = sender.send((host, port).to_socket_addrs().map(Iterator::collect));
    })?;
    let found: Vec<SocketAddr> = receiver.await.map_err(io::Error::other)??;
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    }
    Ok(found)
}

/// The same addresses, each once, with the families by turns, beginning with that of the first.
fn alternating(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let (six, four): (Vec<_>, Vec<_>) = found.iter().partition(|address| address.is_ipv6());
    let begins_with_six = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second) = if begins_with_six { (six, four) } else { (four, six) };
    let mut list = Vec::with_capacity(found.len());
    for turn in 0..found.len() {
        for address in [first.get(turn), second.get(turn)].into_iter().flatten() {
            if !list.contains(address) {
                list.push(*address);
            }
        }
    }
    list
}

/// The first connection that is made, as RFC 8305 says; `None` if all have failed.
async fn race<S, C>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> C,
    failures: &mut Vec<(SocketAddr, io::Error)>,
) -> Option<(SocketAddr, S)>
where
    C: Future<Output = io::Result<S>>,
{
    let mut waiting = addresses.iter();
    let mut running = FuturesUnordered::new();
    loop {
        match waiting.next() {
            Some(&address) => {
                let attempt = connect(address);
                running.push(async move { (address, attempt.await) });
            }
            None if running.is_empty() => return None,
            None => {}
        }
        tokio::select! {
            biased;
            Some((address, ended)) = running.next() => match ended {
                Ok(stream) => return Some((address, stream)),
                Err(error) => failures.push((address, error)),
            },
            () = sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests;
