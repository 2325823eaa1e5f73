//! The control channel between `lockctl` and its shim: one message each way, and what its end means.
//!
//! `lockctl` sends the grant. The shim answers only when it cannot execute CMD. The end of the
//! channel tells the shim that `lockctl` is gone or has given up.

use std::{
    ffi::{OsStr, OsString},
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
};

use rustix::{
    cmsg_space,
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv,
        recvmsg, send, sendmsg, socketpair,
    },
};

/// A change to CMD's environment: `None` removes the variable.
pub(crate) type EnvChange = (OsString, Option<OsString>);

/// What the shim gets with the grant.
#[derive(Debug)]
pub(super) struct Grant {
    /// Changes to the environment.
    pub(super) env: Vec<EnvChange>,
    /// The stdin that CMD is to have; until now the shim's stdin was the channel.
    pub(super) stdin: OwnedFd,
}

/// The most bytes that a grant's environment may take.
const GRANT_BYTES_MAX: usize = 64 * 1024;

/// A grant is never an empty message, which would look like the channel's end.
const GRANT_MARK: &[u8] = b"grant\0";

/// The two ends; messages keep their bounds, and no child inherits an end by accident.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

pub(super) fn send_grant(
    channel: &OwnedFd,
    env: &[EnvChange],
    stdin: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut message = GRANT_MARK.to_vec();
    for (name, value) in env {
        message.extend(name.as_bytes());
        if let Some(value) = value {
            message.push(b'=');
            message.extend(value.as_bytes());
        }
        message.push(0);
    }
    if message.len() > GRANT_BYTES_MAX {
        return Err(Errno::TOOBIG.into());
    }
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let stdin = [stdin];
    control.push(SendAncillaryMessage::ScmRights(&stdin));
    sendmsg(channel, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for the grant; `None` when the channel ended.
pub(super) fn receive_grant(channel: impl AsFd) -> io::Result<Option<Grant>> {
    let mut message = vec![0; GRANT_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        let mut buffers = [IoSliceMut::new(&mut message)];
        recvmsg(&channel, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)
    });
    let received = match received {
        // The other end was closed with something unread in it.
        Err(Errno::CONNRESET) => return Ok(None),
        received => received?,
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let stdin = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let env = message[..received.bytes].strip_prefix(GRANT_MARK);
    let whole = !received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    match (env, stdin) {
        (Some(env), Some(stdin)) if whole => Ok(Some(Grant {
            env: env.split(|byte| *byte == 0).filter_map(env_change).collect(),
            stdin,
        })),
        _ => Err(Errno::BADMSG.into()),
    }
}

/// Tells `lockctl` why CMD cannot be executed.
pub(super) fn send_failure(channel: &OwnedFd, error: &io::Error) -> io::Result<()> {
    let errno = error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error());
    send(channel, errno.to_string().as_bytes(), SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Why CMD could not be executed, if the shim told; asked when the child has ended, it never waits.
pub(super) fn receive_failure(channel: &OwnedFd) -> Option<io::Error> {
    let mut message = [0; 16];
    let (bytes, _) = recv(channel, &mut message, RecvFlags::DONTWAIT).ok()?;
    let errno = std::str::from_utf8(&message[..bytes]).ok()?.parse().ok()?;
    Some(io::Error::from_raw_os_error(errno))
}

fn env_change(bytes: &[u8]) -> Option<EnvChange> {
    if bytes.is_empty() {
        return None;
    }
    let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    match bytes.iter().position(|byte| *byte == b'=') {
        None => Some((OsString::from_vec(bytes.to_vec()), None)),
        Some(at) => Some((text(&bytes[..at]), Some(text(&bytes[at + 1..])))),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, io::Write};

    use super::*;

    fn env() -> Vec<EnvChange> {
        vec![
            ("LOCKCTL_TASK".into(), Some("a=b \n".into())),
            ("EMPTY".into(), Some("".into())),
            ("BYTES".into(), Some(OsString::from_vec(vec![0xff]))),
            ("GONE".into(), None),
        ]
    }

    #[test]
    fn a_grant_arrives_with_its_stdin() {
        let (ours, theirs) = pair().unwrap();
        let (mut writer, reader) = {
            let (reader, writer) = rustix::pipe::pipe().unwrap();
            (File::from(writer), reader)
        };
        send_grant(&ours, &env(), reader.as_fd()).unwrap();
        let grant = receive_grant(&theirs).unwrap().unwrap();
        assert_eq!(grant.env, env());
        writer.write_all(b"hi").unwrap();
        drop(writer);
        let mut text = String::new();
        File::from(grant.stdin).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hi");
    }

    #[test]
    fn a_grant_without_changes_is_no_end() {
        let (ours, theirs) = pair().unwrap();
        send_grant(&ours, &[], io::stdin().as_fd()).unwrap();
        drop(ours);
        assert!(receive_grant(&theirs).unwrap().is_some());
        assert!(receive_grant(&theirs).unwrap().is_none());
    }

    #[test]
    fn a_failure_arrives_and_its_absence_does_not_wait() {
        let (ours, theirs) = pair().unwrap();
        assert!(receive_failure(&ours).is_none());
        send_failure(&theirs, &io::Error::from(io::ErrorKind::NotFound)).unwrap();
        drop(theirs);
        assert!(receive_failure(&ours).is_some());
        assert!(receive_failure(&ours).is_none());
    }
}
