//! The same-host bell: hints from one client to another, and posts that it may write.
//!
//! A client listens on an abstract unix datagram socket named after its id, and says so in the
//! table with the network namespace that the name lives in. A ring says which version there is to look
//! for, and proves nothing: whoever hears one looks into the table, unless it has seen that. A post is
//! taken from the same user and from root only, by what the kernel says of the sender: anybody can send
//! to such a socket, also who may not write to the store.

use crate::backend::Version;
use crate::ids::ClientId;

/// Rings for no version: there is something to look for whatever was seen.
pub(crate) const ANY: Version = Version(u64::MAX);

/// What is longer is no post.
pub(crate) const POST_BYTES_MAX: usize = 16 << 10;

/// What was heard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The highest version that was rung for.
    pub(crate) ring: Option<Version>,
    /// What was posted.
    pub(crate) posts: Vec<Vec<u8>>,
}

#[cfg(target_os = "linux")]
mod sys {
    use std::io::{self, IoSliceMut};
    use std::mem::MaybeUninit;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketAddrUnix, bind,
        recvmsg, sockopt,
    };
    use rustix::process::{geteuid, getuid};
    use tokio::io::Interest;

    use super::{ANY, ClientId, Heard, POST_BYTES_MAX, Version};

    /// So many datagrams are taken at once at most.
    const DATAGRAMS_MAX: usize = 64;

    fn name(id: ClientId) -> String {
        format!("interlock/{id}")
    }

    fn address(id: ClientId) -> io::Result<SocketAddr> {
        SocketAddr::from_abstract_name(name(id))
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
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                // Before it can be reached: nothing comes without its sender.
                sockopt::set_socket_passcred(&socket, true)?;
                bind(&socket, &SocketAddrUnix::new_abstract_name(name(id).as_bytes())?)?;
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

        /// The user whose posts are taken, besides root's.
        #[expect(clippy::unused_self, reason = "where there is no bell there is no user either")]
        pub(crate) fn user(&self) -> u32 {
            geteuid().as_raw()
        }

        /// Whether a client that takes posts from that user takes them from this process.
        ///
        /// The kernel names the real user of a sender, and not the effective one.
        #[expect(clippy::unused_self, reason = "the same")]
        pub(crate) fn is_heard_by(&self, user: u32) -> bool {
            getuid().is_root() || getuid().as_raw() == user
        }

        /// Rings the bell of another client. Nothing is waited for and nothing can fail.
        pub(crate) fn ring(&self, id: ClientId, version: Version) {
            self.send(id, &version.0.to_be_bytes());
        }

        /// Posts to another client. `false`: nobody is there, or has room for it.
        pub(crate) fn post(&self, id: ClientId, post: &[u8]) -> bool {
            self.send(id, post)
        }

        fn send(&self, id: ClientId, bytes: &[u8]) -> bool {
            address(id).and_then(|to| self.clapper.send_to_addr(bytes, &to)).is_ok()
        }

        /// Resolves when somebody rang or posted, once for all that did until then.
        ///
        /// # Cancel safety
        ///
        /// Nothing is lost.
        pub(crate) async fn heard(&self) -> Heard {
            let mut heard = Heard::default();
            let receive = || self.receive(&mut heard);
            if self.socket.async_io(Interest::READABLE, receive).await.is_err() {
                std::future::pending::<()>().await;
            }
            for _ in 1..DATAGRAMS_MAX {
                let receive = || self.receive(&mut heard);
                if self.socket.try_io(Interest::READABLE, receive).is_err() {
                    break;
                }
            }
            heard
        }

        /// Receives one datagram.
        fn receive(&self, heard: &mut Heard) -> io::Result<()> {
            let mut bytes = [0; POST_BYTES_MAX];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let into = &mut [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let received = recvmsg(&self.socket, into, &mut control, flags)?;
            let sender = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.uid),
                _ => None,
            });
            let is_whole = !received.flags.contains(ReturnFlags::TRUNC);
            let bytes = &bytes[..received.bytes.min(POST_BYTES_MAX)];
            if bytes.first() != Some(&b'{') {
                let version =
                    bytes.try_into().map_or(ANY, |bytes| Version(u64::from_be_bytes(bytes)));
                heard.ring = heard.ring.max(Some(version));
            } else if is_whole && sender.is_some_and(|uid| uid.is_root() || uid == geteuid()) {
                heard.posts.push(bytes.into());
            }
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use super::{ClientId, Heard, Version};

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

        pub(crate) fn ring(&self, _: ClientId, _: Version) {
            match *self {}
        }

        pub(crate) fn user(&self) -> u32 {
            match *self {}
        }

        pub(crate) fn is_heard_by(&self, _: u32) -> bool {
            match *self {}
        }

        pub(crate) fn post(&self, _: ClientId, _: &[u8]) -> bool {
            match *self {}
        }

        pub(crate) async fn heard(&self) -> Heard {
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
        for number in [2, 3, 1] {
            ringer.ring(one, Version(number));
        }
        assert_eq!(heard.heard().await.ring, Some(Version(3)));
        assert!(futures_util::FutureExt::now_or_never(heard.heard()).is_none());
        assert!(ringer.post(one, b"?"));
        assert!(ringer.post(one, b"{}"));
        assert_eq!(heard.heard().await, Heard { ring: Some(ANY), posts: vec![b"{}".into()] });
        assert!(!ringer.post(ClientId::from_random(fresh()), b"{}"));
        ringer.ring(ClientId::from_random(fresh()), ANY); // Nobody there: nothing happens.
    }

    #[tokio::test]
    async fn another_user_may_ring_but_not_post() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not tried: only root can become another user");
            return;
        }
        let me = ClientId::from_random(fresh());
        let bell = Bell::hang(me).unwrap();
        let stranger = Bell::hang(ClientId::from_random(fresh())).unwrap();
        std::thread::spawn(move || {
            // Of this thread alone, which ends.
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).unwrap();
            assert!(stranger.post(me, b"{}"));
            stranger.ring(me, Version(7));
        })
        .join()
        .unwrap();
        assert_eq!(bell.heard().await, Heard { ring: Some(Version(7)), posts: vec![] });
    }

    fn fresh() -> u64 {
        getrandom::u64().unwrap()
    }
}
