//! Every descriptor that the library makes or receives: none has the number 0, 1 or 2.
//!
//! A program may run with its standard streams closed. A new descriptor would take the place of one, and the program's next
//! line of a log would go there: into the section, or to the peer. So these numbers are occupied while a descriptor is made
//! ([`occupy_standard_streams`]). Should one come free in that moment, the new descriptor is moved.
//!
//! No other module of this folder makes descriptors; a test searches for that.

use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags};
use rustix::fs::{memfd_create, MemfdFlags};
use rustix::io::{fcntl_dupfd_cloexec, Result};
use rustix::net::{
    accept_with, recvmsg, socket_with, socketpair, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage,
    RecvFlags, ReturnFlags, SocketFlags, SocketType,
};
use rustix::process::{pidfd_open, Pid, PidfdFlags};
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The first number that is none of a standard stream.
const FIRST: i32 = 3;

/// Opens the standard streams that are closed, for as long as the result lives. What the program writes there meanwhile is
/// lost, as it would be with a closed stream.
fn occupy_standard_streams() -> Result<Vec<OwnedFd>> {
    let mut occupied = Vec::new();
    // SAFETY: the kernel checks the numbers, and reports those that are closed.
    let mut streams = [0, 1, 2].map(|stream| unsafe {
        PollFd::from_borrowed_fd(BorrowedFd::borrow_raw(stream), PollFlags::empty())
    });
    poll(&mut streams, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let closed = streams.iter().filter(|stream| stream.revents().contains(PollFlags::NVAL)).count();
    for _ in 0..closed {
        // The kernel gives the lowest number that is free.
        let event = event()?;
        if event.as_raw_fd() < FIRST {
            occupied.push(event);
        }
    }
    Ok(occupied)
}

fn event() -> Result<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// Moves a descriptor that has the number of a standard stream.
fn moved(descriptor: OwnedFd) -> Result<OwnedFd> {
    if descriptor.as_raw_fd() < FIRST {
        return duplicate(descriptor.as_fd());
    }
    Ok(descriptor)
}

/// Makes a descriptor.
pub(super) fn made(make: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
    let _occupied = occupy_standard_streams()?;
    moved(make()?)
}

/// Another descriptor for the same object, which no program that is started inherits.
pub(super) fn duplicate(descriptor: BorrowedFd<'_>) -> Result<OwnedFd> {
    fcntl_dupfd_cloexec(descriptor, FIRST)
}

pub(super) fn new_event() -> Result<OwnedFd> {
    made(event)
}

/// An empty file in memory, which can be sealed.
pub(super) fn new_memory(name: &str) -> Result<OwnedFd> {
    made(|| memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING))
}

/// A socket for the name of a server, or for a connection to it. Its calls do not wait.
pub(super) fn new_socket() -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    made(|| socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None))
}

/// A pair of sockets, for events.
pub(super) fn new_pair() -> Result<(OwnedFd, OwnedFd)> {
    let _occupied = occupy_standard_streams()?;
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok((moved(one)?, moved(other)?))
}

/// The next connection to a server.
pub(super) fn accepted(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    made(|| accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK))
}

/// Another process.
pub(super) fn process(id: Pid) -> Result<OwnedFd> {
    made(|| pidfd_open(id, PidfdFlags::empty()))
}

/// A message that came with descriptors.
pub(super) struct Message {
    /// The number of its bytes.
    pub(super) bytes: usize,
    pub(super) descriptors: Vec<OwnedFd>,
    /// Whether the kernel left out descriptors: there was no room for them, or this process can have no more.
    pub(super) lacks_some: bool,
}

/// Receives a message of up to `bytes`, without waiting. `control` has room for the descriptors.
pub(super) fn received(
    socket: BorrowedFd<'_>, bytes: &mut [u8], control: &mut RecvAncillaryBuffer<'_>,
) -> Result<Message> {
    let _occupied = occupy_standard_streams()?;
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(socket, &mut [IoSliceMut::new(bytes)], control, flags)?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let descriptors = rights.flatten().map(moved).collect::<Result<_>>()?;
    let lacks_some = message.flags.contains(ReturnFlags::CTRUNC);
    Ok(Message { bytes: message.bytes, descriptors, lacks_some })
}
