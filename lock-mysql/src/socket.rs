//! The option of the connection's socket that sqlx leaves out.

use std::time::Duration;

use tokio::time::sleep;

/// How soon a socket is looked for again that is not there yet, or not connected.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(1);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(32);

/// The sockets of this process before another is opened.
#[derive(Debug)]
pub(crate) struct Sockets(#[cfg(target_os = "linux")] sys::Sockets);

impl Sockets {
    /// Those that are open.
    pub(crate) fn now() -> Self {
        Self(
            #[cfg(target_os = "linux")]
            sys::Sockets::now(),
        )
    }

    /// The same as soon as there is such a socket: of the handshake of TLS some packets are small, too.
    pub(crate) async fn send_at_once_when_there(&self, port: u16) {
        let mut pause = LOOK_AGAIN_MIN;
        while !self.send_at_once(port) {
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_AGAIN_MAX);
        }
    }

    /// Sends small packets to this port at once (`TCP_NODELAY`), on sockets opened since; says whether
    /// there are any.
    ///
    /// Without it, a statement that is written in several pieces, as a long one over TLS is, may wait
    /// for an acknowledgement that the server delays by 40 ms. sqlx 0.9 does not set the option and
    /// shows nobody its socket, so that a copy of the descriptor is asked from the kernel: Linux does
    /// that since 5.6. Where it cannot be done, such a statement is merely slower.
    pub(crate) fn send_at_once(&self, port: u16) -> bool {
        #[cfg(target_os = "linux")]
        return self.0.send_at_once(port);
        #[cfg(not(target_os = "linux"))]
        {
            let _ = port;
            false
        }
    }
}

#[cfg(target_os = "linux")]
mod sys {
    use std::collections::HashSet;
    use std::fs;
    use std::net::SocketAddr;

    use rustix::io;
    use rustix::net::{getpeername, sockopt};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    /// Inodes of sockets.
    #[derive(Debug)]
    pub(super) struct Sockets(HashSet<String>);

    impl Sockets {
        pub(super) fn now() -> Self {
            Self(sockets().map(|(_, inode)| inode).collect())
        }

        pub(super) fn send_at_once(&self, port: u16) -> bool {
            let new = sockets().filter(|(_, inode)| !self.0.contains(inode));
            // Another thread may have closed one by now, or opened it for something else.
            new.filter(|(number, _)| set(*number, port).unwrap_or(false)).count() > 0
        }
    }

    fn set(number: i32, port: u16) -> io::Result<bool> {
        let process = pidfd_open(getpid(), PidfdFlags::empty())?;
        let socket = pidfd_getfd(process, number, PidfdGetfdFlags::empty())?;
        let peer = getpeername(&socket)?.ok_or(io::Errno::NOTCONN)?;
        let is_meant = SocketAddr::try_from(peer)?.port() == port;
        if is_meant {
            sockopt::set_tcp_nodelay(&socket, true)?;
        }
        Ok(is_meant)
    }

    /// The descriptors that are sockets, with what they are open for.
    fn sockets() -> impl Iterator<Item = (i32, String)> {
        fs::read_dir("/proc/self/fd").into_iter().flatten().flatten().filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            target.starts_with("socket:").then_some((number, target))
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::net::{TcpListener, TcpStream};

        #[test]
        fn only_new_sockets_to_that_port_are_set() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let other = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let old = TcpStream::connect(address).unwrap();
            let sockets = Sockets::now();
            assert!(!sockets.send_at_once(address.port()), "there is none yet");
            let new = TcpStream::connect(address).unwrap();
            let elsewhere = TcpStream::connect(other.local_addr().unwrap()).unwrap();
            assert!(sockets.send_at_once(address.port()));
            assert!(new.nodelay().unwrap());
            assert!(!old.nodelay().unwrap() && !elsewhere.nodelay().unwrap());
        }
    }
}
