//! What a server and its clients on Linux exchange before a client has a section: the name's socket, the message that comes
//! through it, and the process at the other end.
//!
//! ```text
//! client                                     server
//! connect to \0xshm/UID/NAME                 (in wait_for_client) accept, ask SO_PEERCRED, check the access policy
//!                                       <--  one message: the id that the server sees the client's process by, and
//!                                            the descriptors of the section and of the client's ends of the events
//! put the request into the section      -->  find it there; it must be of the process that was handed the section
//! ```
//!
//! Each user has names of its own; those that begin with `Global\` are the machine's. Any process can bind an abstract name, so
//! a client asks SO_PEERCRED too, and refuses a server of a user that it doesn't trust.
//!
//! A server that serves a client hands nothing to others. So that they can report why, it holds a second name for that long:
//! the first with `\0busy` behind it, of which only the existence counts.
//!
//! The kernel translates process ids for each side. A process that is in no namespace of ours has id 0, can't be watched, and is
//! refused.

use super::descriptors;
use super::pairs::PAIRS;
use super::section::LABEL;
use super::system::{failed, User};
pub(super) use super::users::credentials;
use crate::error::ShmError;
use crate::naming::{ChannelName, Scope};
use rustix::io::{ioctl_fionbio, Errno};
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{
    bind, connect, sendmsg, RecvAncillaryBuffer, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix,
};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Why a server refuses a client, as it goes over the wire.
#[derive(Clone, Copy)]
pub(super) enum Reason {
    Policy = 1,
    Unwatchable = 2,
}

impl Reason {
    pub(super) fn text(code: u32) -> &'static str {
        match code {
            1 => "does not admit this user",
            2 => "cannot watch this process, which may be in another process namespace",
            _ => "refuses this process for an unknown reason",
        }
    }
}

/// The message that hands the descriptors over: zero or a reason, and the client's process id.
pub(super) type Welcome = [u32; 2];

fn encode(message: Welcome) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&message[0].to_ne_bytes());
    bytes[4..].copy_from_slice(&message[1].to_ne_bytes());
    bytes
}

fn decode(bytes: [u8; 8]) -> Welcome {
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    [word(0), word(4)]
}

/// Sends the message, with descriptors.
pub(super) fn post(
    connection: &OwnedFd, message: Welcome, descriptors: &[BorrowedFd<'_>],
) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1 + PAIRS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)), "there is space for all of them");
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(connection, &[IoSlice::new(&encode(message))], &mut control, flags).map(drop)
}

/// Receives the message, with its descriptors. `None`: the server has closed the connection.
pub(super) fn receive(connection: BorrowedFd<'_>) -> rustix::io::Result<Option<(Welcome, Vec<OwnedFd>)>> {
    let mut bytes = [0; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1 + PAIRS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    match descriptors::receive(connection, &mut bytes, &mut control) {
        // There was room for as many as belong to a channel: this process could have no more.
        Ok(message) if message.lacks_some && message.descriptors.len() < 1 + PAIRS => Err(Errno::MFILE),
        // The other side sent more than a channel's.
        Ok(message) if message.lacks_some => Ok(Some((decode(bytes), Vec::new()))),
        Ok(message) if message.length == bytes.len() => Ok(Some((decode(bytes), message.descriptors))),
        Ok(_) | Err(Errno::CONNRESET) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What a named channel's section is called.
pub(super) fn label(name: &ChannelName) -> String {
    let scope = match name.scope {
        Scope::Local => "",
        Scope::Global => "Global\\",
    };
    format!("{LABEL}:{scope}{}", name.base())
}

/// What no name ends in, since none has a NUL.
pub(super) const BUSY: &str = "\0busy";

/// The owner in the address of a name that the machine shares.
pub(super) const MACHINE: &str = "global";

/// `ending` is nothing, or [`BUSY`].
pub(super) fn address(name: &ChannelName, ending: &str) -> Result<SocketAddrUnix, ShmError> {
    let owner = match name.scope {
        Scope::Local => User::current()?.to_string(),
        Scope::Global => MACHINE.to_owned(),
    };
    let path = format!("xshm/{owner}/{}{ending}", name.base());
    SocketAddrUnix::new_abstract_name(path.as_bytes()).map_err(failed("naming the channel"))
}

/// # Errors
/// What the system refused, and in which call.
pub(super) fn bound(address: &SocketAddrUnix) -> Result<OwnedFd, (Errno, &'static str)> {
    let socket = descriptors::socket().map_err(|errno| (errno, "creating the channel's name (socket)"))?;
    bind(&socket, address).map_err(|errno| (errno, "creating the channel's name (bind)"))?;
    Ok(socket)
}

/// Connects. If the server's queue is full, waits up to `patience` for a place in it: the kernel serves the clients that wait in
/// their order, while a client that tried again and again would race with the others.
///
/// # Errors
/// What the system refused, and in which call. [`Errno::AGAIN`]: the queue is full.
pub(super) fn connected(
    address: &SocketAddrUnix, patience: Duration,
) -> Result<OwnedFd, (Errno, &'static str)> {
    let socket = descriptors::socket().map_err(|errno| (errno, "looking the name up (socket)"))?;
    let in_connect = |errno| (errno, "looking the name up (connect)");
    match connect(&socket, address) {
        Err(Errno::AGAIN) if !patience.is_zero() => {}
        connected => return connected.map(|()| socket).map_err(in_connect),
    }
    let limited = set_socket_timeout(&socket, Timeout::Send, Some(patience));
    limited.map_err(|errno| (errno, "waiting in the server's queue (setsockopt)"))?;
    let set_blocking = |blocks: bool| {
        ioctl_fionbio(&socket, !blocks).map_err(|errno| (errno, "waiting in the server's queue (ioctl)"))
    };
    set_blocking(true)?;
    match connect(&socket, address) {
        Err(Errno::INTR) => return Err(in_connect(Errno::AGAIN)),
        connected => connected.map_err(in_connect)?,
    }
    set_blocking(false)?;
    Ok(socket)
}
