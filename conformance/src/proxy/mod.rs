//! A TCP proxy that does to a connection what networks do: it delays, loses, cuts and delivers late.

mod pipe;
mod state;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::sync::oneshot;

pub use state::{Counts, Direction, Then};

use crate::trial::Failure;
use state::{Armed, Fault, Shared, State};

/// A proxy in front of a server, on a port of its own, on a thread of its own.
///
/// It knows nothing of what is said. A *request* is whatever a client sends, up to the *reply*, which
/// is whatever the server sends next. Without faults bytes pass as they come. When it is dropped all
/// its connections are closed.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
/// use lock_conformance::proxy::{Proxy, Then};
///
/// let server = TcpListener::bind("127.0.0.1:0")?;
/// let proxy = Proxy::start(server.local_addr()?)?;
/// let mut client = TcpStream::connect(proxy.address())?;
/// let (mut served, _) = server.accept()?;
///
/// // The request is delivered, and its reply never comes back.
/// proxy.drop_reply(1, Then::Reset);
/// client.write_all(b"ask")?;
/// let mut request = [0; 3];
/// served.read_exact(&mut request)?;
/// served.write_all(b"answer")?;
/// assert!(client.read(&mut [0]).is_err());
/// assert_eq!(proxy.counts().replies_dropped, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy in front of the server at this address, which need not be up yet.
    ///
    /// # Errors
    ///
    /// [`io::Error`] when the system has no port, no thread or no runtime to give.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        // Keeps the port while connections are refused: it is bound and never listens.
        let port = socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = port.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serving = shared.clone();
        let thread = std::thread::Builder::new().name("proxy".into()).spawn(move || {
            let _port = port;
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = pipe::listen(serving, address, upstream) => {}
                }
            });
        })?;
        let proxy = Self { address, shared, stop: Some(stop), thread: Some(thread) };
        proxy.shared.until(|state| state.listening);
        Ok(proxy)
    }

    /// Where clients are to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets everything that goes in this direction take so much longer.
    pub fn delay(&self, direction: Direction, time: Duration) {
        self.shared.change(|state| state.delay[direction as usize] = time);
    }

    /// A black hole: from now on nothing arrives in this direction, on any connection, and nobody is
    /// told. What is sent meanwhile arrives after [`heal`](Self::heal), as it would when a network
    /// comes back, also if the client has given up and closed its connection.
    pub fn stall(&self, direction: Direction) {
        self.shared.change(|state| {
            state.stalled[direction as usize] = true;
            state.counts.stalls += 1;
        });
    }

    /// Refuses new connections; those that are there stay.
    pub fn refuse(&self) {
        self.shared.change(|state| {
            state.refusing = true;
            state.counts.refusals += 1;
        });
        self.shared.until(|state| !state.listening);
    }

    /// Ends delays, black holes and refusals, and disarms what has not happened yet.
    pub fn heal(&self) {
        self.shared.change(|state| {
            state.delay = [Duration::ZERO; 2];
            state.stalled = [false; 2];
            state.refusing = false;
        });
        self.disarm();
        self.shared.until(|state| state.listening);
    }

    /// Resets all connections (`RST`), and returns how many there were.
    pub fn reset(&self) -> usize {
        self.shared.change(|state| {
            let count = state.connections.len();
            state.counts.resets += count;
            for connection in state.connections.values_mut() {
                connection.ended = true;
            }
            count
        })
    }

    /// Cuts the next new connection after so many bytes in this direction: they arrive, then the
    /// client finds it reset, and the server finds it closed.
    pub fn cut_next(&self, direction: Direction, bytes: usize) {
        self.shared.change(|state| state.cut_next = Some((direction, bytes)));
    }

    /// Loses the reply to the n-th request from now on, 1 being the next, on the connection on which
    /// the next request comes: the server has got it and done it.
    ///
    /// # Panics
    ///
    /// When `nth` is 0.
    pub fn drop_reply(&self, nth: usize, then: Then) {
        self.arm(nth, Fault::DropReply(then));
    }

    /// Holds back the n-th request from now on, 1 being the next, and all that follows it, on the
    /// connection on which the next request comes, until [`deliver_late`](Self::deliver_late).
    /// Other connections go on.
    ///
    /// # Panics
    ///
    /// When `nth` is 0.
    pub fn hold_request(&self, nth: usize) {
        self.arm(nth, Fault::Hold);
    }

    fn arm(&self, nth: usize, fault: Fault) {
        assert!(nth > 0, "requests are counted from 1");
        self.shared.change(|state| state.armed = Some(Armed { nth, fault }));
    }

    /// Delivers the requests that are held back, though their clients may be gone, and returns how
    /// many they were.
    pub fn deliver_late(&self) -> usize {
        self.shared.change(|state| {
            let held = state.connections.values_mut().filter(|connection| connection.held);
            let mut count = 0;
            for connection in held {
                connection.held = false;
                connection.late = true;
                count += 1;
            }
            state.counts.delivered_late += count;
            count
        })
    }

    /// Waits until the server has answered all that was delivered late, or has hung up.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`] when that takes longer than anything may.
    pub fn until_late_is_answered(&self) -> Result<(), Failure> {
        let none_late = |state: &State| state.connections.values().all(|one| !one.late);
        if self.shared.until(none_late) {
            return Ok(());
        }
        Err(Failure::failed("the server never answered what was delivered late"))
    }

    /// Forgets the faults that have not happened yet. What is held back stays held back.
    pub fn disarm(&self) {
        self.shared.change(|state| {
            state.armed = None;
            state.cut_next = None;
            for connection in state.connections.values_mut() {
                connection.armed = None;
                connection.cut = None;
            }
        });
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.shared.change(|state| state.counts)
    }

    /// Waits until what has happened is this.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`] when it takes longer than anything may.
    pub fn until(&self, what: &str, mut is: impl FnMut(&Counts) -> bool) -> Result<(), Failure> {
        if self.shared.until(|state| is(&state.counts)) {
            return Ok(());
        }
        Err(Failure::failed(format!("the proxy never saw {what}: {:?}", self.counts())))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A socket that shares its port with others of this user that say so too.
fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}
