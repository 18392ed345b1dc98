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

use super::descriptors::{made, new_event, new_socket, received};
use super::pairs::PAIRS;
use super::system::{failed, User};
use crate::error::Result;
use crate::naming::{ChannelName, Scope};
use rustix::io::{ioctl_fionbio, Errno};
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{
    bind, connect, sendmsg, RecvAncillaryBuffer, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix,
};
use std::ffi::c_void;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
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
    match received(connection, &mut bytes, &mut control) {
        Ok(message) if message.lacks_some => {
            // This fails where this process can have no more descriptors. Otherwise the other side sent more than a channel's.
            new_event()?;
            Ok(Some((decode(bytes), Vec::new())))
        }
        Ok(message) if message.bytes == bytes.len() => Ok(Some((decode(bytes), message.descriptors))),
        Ok(_) | Err(Errno::CONNRESET) => Ok(None),
        Err(errno) => Err(errno),
    }
}

pub(super) fn label(name: &ChannelName) -> String {
    format!("xshm:{}", name.base())
}

/// What no name ends in, since none has a NUL.
pub(super) const BUSY: &str = "\0busy";

/// `ending` is nothing, or [`BUSY`].
pub(super) fn address(name: &ChannelName, ending: &str) -> Result<SocketAddrUnix> {
    let owner = match name.scope {
        Scope::Local => User::current()?.to_string(),
        Scope::Global => "global".to_owned(),
    };
    let path = format!("xshm/{owner}/{}{ending}", name.base());
    SocketAddrUnix::new_abstract_name(path.as_bytes()).map_err(failed("naming the channel"))
}

/// Whether the other end has yet to receive what was sent to it.
pub(super) fn is_unread(socket: &OwnedFd) -> bool {
    extern "C" {
        fn ioctl(descriptor: i32, request: core::ffi::c_ulong, value: *mut i32) -> i32;
    }
    const SIOCOUTQ: core::ffi::c_ulong = 0x5411;
    let mut unread = 0;
    // SAFETY: this request stores a number of 4 bytes at the valid place given.
    let done = unsafe { ioctl(socket.as_raw_fd(), SIOCOUTQ, &mut unread) };
    done == 0 && unread > 0
}

/// `struct ucred`.
#[repr(C)]
#[derive(Default)]
pub(super) struct Credentials {
    /// 0: a process in no namespace of ours.
    pub(super) pid: u32,
    pub(super) uid: u32,
    gid: u32,
}

/// Whose socket is at the other end.
///
/// Asked of the C library, which std is linked with: rustix reads the process id as a number that is never 0, and for
/// a process of another namespace it is 0.
pub(super) fn credentials(socket: &OwnedFd) -> rustix::io::Result<Credentials> {
    const SO_PEERCRED: i32 = 17;
    // SAFETY: a `struct ucred` is numbers.
    unsafe { socket_option(socket, SO_PEERCRED, Credentials::default()) }
}

/// Reads a socket option into `value`.
///
/// # Safety
/// Whatever bytes the kernel stores there are valid.
unsafe fn socket_option<T>(socket: &OwnedFd, option: i32, mut value: T) -> rustix::io::Result<T> {
    extern "C" {
        fn getsockopt(socket: i32, level: i32, option: i32, value: *mut c_void, length: *mut u32) -> i32;
    }
    const SOL_SOCKET: i32 = 1;
    let (place, mut length) = (ptr::from_mut(&mut value).cast(), std::mem::size_of::<T>() as u32);
    // SAFETY: the place for the value is valid and has the length said.
    match unsafe { getsockopt(socket.as_raw_fd(), SOL_SOCKET, option, place, &mut length) } {
        0 => Ok(value),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

/// The process at the other end, which can't have become another one's number since. From Linux 6.5 on.
pub(super) fn peer_process(socket: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    const SO_PEERPIDFD: i32 = 77;
    made(|| {
        // SAFETY: it is a number.
        let pidfd = unsafe { socket_option(socket, SO_PEERPIDFD, -1_i32) }?;
        if pidfd < 0 {
            return Err(Errno::INVAL);
        }
        // SAFETY: a new descriptor, which has no other owner.
        Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
    })
}

pub(super) fn bound(address: &SocketAddrUnix) -> rustix::io::Result<OwnedFd> {
    let socket = new_socket()?;
    bind(&socket, address)?;
    Ok(socket)
}

/// Connects. If the server's queue is full, waits up to `patience` for a place in it: the kernel serves the clients that wait in
/// their order, while a client that tried again and again would race with the others.
///
/// # Errors
/// [`Errno::AGAIN`]: the queue is full.
pub(super) fn connected(address: &SocketAddrUnix, patience: Duration) -> rustix::io::Result<OwnedFd> {
    let socket = new_socket()?;
    match connect(&socket, address) {
        Err(Errno::AGAIN) if !patience.is_zero() => {}
        connected => return connected.map(|()| socket),
    }
    set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    ioctl_fionbio(&socket, false)?;
    match connect(&socket, address) {
        Err(Errno::INTR) => return Err(Errno::AGAIN),
        connected => connected?,
    }
    ioctl_fionbio(&socket, true)?;
    Ok(socket)
}
