//! The same-host bell: a hint from one client to another that the table changed for it.
//!
//! A client listens on an abstract unix datagram socket named after its id, and says so in the
//! table with the network namespace that the name lives in. A ring carries nothing and proves
//! nothing: whoever hears one looks into the table.

use crate::ids::ClientId;

#[cfg(target_os = "linux")]
mod sys {
    use std::io;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::ClientId;

    fn address(id: ClientId) -> io::Result<SocketAddr> {
        SocketAddr::from_abstract_name(format!("interlock/{id}"))
    }

    /// A bell that can be heard and rung.
    #[derive(Debug)]
    pub(crate) struct Bell {
        socket: tokio::net::UnixDatagram,
        /// Rings the others.
        clapper: UnixDatagram,
        namespace: u64,
    }

    impl Bell {
        /// Hangs up the bell of this client, if the host has any.
        ///
        /// Must be called in a runtime.
        pub(crate) fn hang(id: ClientId) -> Option<Self> {
            let open = || -> io::Result<Self> {
                let namespace = std::fs::metadata("/proc/self/ns/net")?.ino();
                let socket = UnixDatagram::bind_addr(&address(id)?)?;
                socket.set_nonblocking(true)?;
                let clapper = UnixDatagram::unbound()?;
                clapper.set_nonblocking(true)?;
                let socket = tokio::net::UnixDatagram::from_std(socket)?;
                Ok(Self { socket, clapper, namespace })
            };
            open().ok()
        }

        /// The network namespace in which it can be rung.
        pub(crate) fn namespace(&self) -> u64 {
            self.namespace
        }

        /// Rings the bell of another client. Nothing is waited for and nothing can fail.
        pub(crate) fn ring(&self, id: ClientId) {
            if let Ok(address) = address(id) {
                let _ = self.clapper.send_to_addr(&[], &address);
            }
        }

        /// Resolves when somebody rang, once for any number of rings.
        ///
        /// # Cancel safety
        ///
        /// Nothing is lost.
        pub(crate) async fn rung(&self) {
            const RINGS_MAX: usize = 64;
            if self.socket.recv(&mut [0]).await.is_err() {
                std::future::pending::<()>().await;
            }
            for _ in 0..RINGS_MAX {
                if self.socket.try_recv(&mut [0]).is_err() {
                    break;
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use super::ClientId;

    /// There is no bell: clients poll.
    #[derive(Debug)]
    pub(crate) enum Bell {}

    impl Bell {
        pub(crate) fn hang(_: ClientId) -> Option<Self> {
            None
        }

        pub(crate) fn namespace(&self) -> u64 {
            match *self {}
        }

        pub(crate) fn ring(&self, _: ClientId) {
            match *self {}
        }

        pub(crate) async fn rung(&self) {
            match *self {}
        }
    }
}

pub(crate) use sys::Bell;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ring_is_heard_once() {
        let (one, other) = (ClientId::from_random(fresh()), ClientId::from_random(fresh()));
        let (heard, ringer) = (Bell::hang(one).unwrap(), Bell::hang(other).unwrap());
        for _ in 0..3 {
            ringer.ring(one);
        }
        heard.rung().await;
        assert!(futures_util::FutureExt::now_or_never(heard.rung()).is_none());
        ringer.ring(ClientId::from_random(fresh())); // Nobody there: nothing happens.
    }

    fn fresh() -> u64 {
        getrandom::u64().unwrap()
    }
}
