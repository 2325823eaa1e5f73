//! The way to a server: sqlx goes alone where there is one address, and over a dialled socket where there are several.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;

use lock_core::dial::{Addresses, DialError};
use sqlx::ConnectOptions;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::socket::Sockets;
use door::Door;

/// What the connection goes over besides its own socket, if anything.
#[derive(Debug)]
pub(crate) struct Bridge(pub(crate) Option<JoinHandle<()>>);

impl Drop for Bridge {
    /// What still waits to be sent over it would keep it until the system gives the connection up.
    fn drop(&mut self) {
        if let Some(bridge) = &self.0 {
            bridge.abort();
        }
    }
}

/// How to get to a server.
#[derive(Debug)]
pub(crate) enum Way {
    /// sqlx connects by itself: by an IP address, a unix socket, or a name with this one address.
    Alone(Option<SocketAddr>),
    /// Over this connection, which has won, and on which the server has begun to speak.
    ///
    /// sqlx tries addresses one after the other, without a limit for each, so that one which
    /// swallows everything costs it all others.
    Over(TcpStream, Door),
}

impl Way {
    /// Finds the way, and dials if it takes that.
    pub(crate) async fn find(
        server: &MySqlConnectOptions,
        limit: Instant,
    ) -> Result<Self, DialError> {
        let host = server.get_host();
        if server.get_socket().is_some() || host.parse::<IpAddr>().is_ok() {
            return Ok(Self::Alone(None));
        }
        let addresses = Addresses::look_up(host, server.get_port(), limit).await?;
        if let [only] = addresses.list() {
            return Ok(Self::Alone(Some(*only)));
        }
        // A process may be forbidden to make such sockets.
        let Ok(door) = Door::open() else { return Ok(Self::Alone(None)) };
        let stream = addresses.dial(limit, lock_core::dial::greeted).await?;
        let _ = stream.set_nodelay(true);
        Ok(Self::Over(stream, door))
    }

    /// Has sqlx log in.
    pub(crate) async fn connect(
        self,
        options: &MySqlConnectOptions,
    ) -> Result<(MySqlConnection, Bridge), sqlx::Error> {
        match self {
            Self::Alone(address) => {
                let sockets = Sockets::now();
                let port = options.get_port();
                let mut connecting = pin!(options.connect());
                let connected = tokio::select! {
                    connected = &mut connecting => connected,
                    () = sockets.send_at_once_when_there(port) => connecting.await,
                };
                let connection = connected.map_err(|error| match (error, address) {
                    // One that has a cause of its own is of TLS, and says who it speaks of.
                    (sqlx::Error::Io(error), Some(address)) if error.get_ref().is_none() => {
                        io::Error::new(error.kind(), format!("{address}: {error}")).into()
                    }
                    (error, _) => error,
                })?;
                sockets.send_at_once(port);
                Ok((connection, Bridge(None)))
            }
            Self::Over(stream, door) => {
                let options = options.clone().socket(door.path());
                let (connection, bridge) =
                    tokio::try_join!(options.connect(), door.bridge_to(stream))?;
                Ok((connection, Bridge(Some(bridge))))
            }
        }
    }
}

/// sqlx takes no socket, but the path of one, and verifies a certificate by the name of the host all
/// the same. So it is given a unix socket of this process, whose other end is this one's connection.
#[cfg(target_os = "linux")]
mod door {
    use std::ffi::OsString;
    use std::io;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    use std::path::PathBuf;

    use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy_buf};
    use tokio::net::{TcpStream, UnixStream};
    use tokio::task::JoinHandle;

    /// How much is passed on at once.
    const BUFFER: usize = 16 << 10;

    /// A listening socket whose name is not in the file system, so that it takes no folder that can be
    /// written.
    #[derive(Debug)]
    pub(crate) struct Door {
        name: String,
        listener: tokio::net::UnixListener,
    }

    impl Door {
        pub(crate) fn open() -> io::Result<Self> {
            let name = format!("interlock-mysql/{:032x}", fastrand::u128(..));
            let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
            listener.set_nonblocking(true)?;
            Ok(Self { name, listener: tokio::net::UnixListener::from_std(listener)? })
        }

        /// As the kernel writes names that are not in the file system.
        pub(crate) fn path(&self) -> PathBuf {
            OsString::from_vec([b"\0", self.name.as_bytes()].concat()).into()
        }

        /// Lets one in, closes, and passes on what comes from either side until one has ended.
        pub(crate) async fn bridge_to(self, server: TcpStream) -> sqlx::Result<JoinHandle<()>> {
            let client = self.accept().await?;
            Ok(tokio::spawn(pass_on(client, server)))
        }

        /// A connection of this very process. Others may know the name, and get nothing.
        async fn accept(self) -> io::Result<UnixStream> {
            let itself = i32::try_from(std::process::id()).ok();
            loop {
                let (stream, _) = self.listener.accept().await?;
                if stream.peer_cred().is_ok_and(|peer| peer.pid() == itself) {
                    return Ok(stream);
                }
            }
        }
    }

    async fn pass_on(mut client: UnixStream, mut server: TcpStream) {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            () = flow(from_client, to_server) => {}
            () = flow(from_server, to_client) => {}
        }
    }

    async fn flow(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut from = BufReader::with_capacity(BUFFER, from);
        let _ = copy_buf(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    }
}

/// Elsewhere sqlx goes alone.
#[cfg(not(target_os = "linux"))]
mod door {
    use std::{io, path::PathBuf};

    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;

    #[derive(Debug)]
    pub(crate) enum Door {}

    impl Door {
        pub(crate) fn open() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn path(&self) -> PathBuf {
            match *self {}
        }

        pub(crate) async fn bridge_to(self, _server: TcpStream) -> sqlx::Result<JoinHandle<()>> {
            match self {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Read;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;
    use std::{env, os::unix::net};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixStream};

    use super::*;

    /// The name of a door; that it is set makes the test a stranger.
    const STRANGER: &str = "INTERLOCK_TEST_STRANGER";

    #[tokio::test]
    async fn only_this_process_is_let_in_and_only_once() {
        if let Ok(name) = env::var(STRANGER) {
            let address = net::SocketAddr::from_abstract_name(name).unwrap();
            let mut stranger = net::UnixStream::connect_addr(&address).unwrap();
            return assert_eq!(stranger.read(&mut [0]).unwrap_or(0), 0, "it is let in");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();

        let door = Door::open().unwrap();
        let path = door.path();
        let mut stranger = Command::new(env::current_exe().unwrap());
        stranger
            .args(["--exact", "way::tests::only_this_process_is_let_in_and_only_once"])
            .env(STRANGER, std::ffi::OsStr::from_bytes(&path.as_os_str().as_bytes()[1..]));
        let bridge = tokio::spawn(door.bridge_to(stream));
        let output = tokio::task::spawn_blocking(move || stranger.output()).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");

        let mut client = UnixStream::connect(&path).await.unwrap();
        let bridge = bridge.await.unwrap().unwrap();
        UnixStream::connect(&path).await.expect_err("it is closed");
        client.write_all(b"ask").await.unwrap();
        server.read_exact(&mut [0; 3]).await.unwrap();
        server.write_all(b"answer").await.unwrap();
        client.read_exact(&mut [0; 6]).await.unwrap();

        // What was said last arrives, and nothing is left.
        client.write_all(b"goodbye").await.unwrap();
        drop(client);
        let mut last = Vec::new();
        server.read_to_end(&mut last).await.unwrap();
        assert_eq!(last, b"goodbye");
        bridge.await.unwrap();
    }
}
