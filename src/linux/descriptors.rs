//! The one place where descriptors are created and received. Each has a number of 3 or more.
//!
//! In a process that has closed its standard streams, the system gives the numbers 0 to 2 to whatever is created next, and the
//! program's next log line goes there. So each function here first opens something else at the free ones of these numbers for a
//! moment. What has such a number meanwhile can be neither written nor read, like a number that is free.
//!
//! A program that gives such a number to another file at that moment may lose it: Linux can't close a descriptor on the
//! condition that it is still the same. To keep the numbers occupied for good would be worse, since a program that opens its
//! streams again expects to get them.

use rustix::event::{epoll, eventfd, EventfdFlags};
use rustix::fs::{fcntl_getfl, memfd_create, open, MemfdFlags, Mode, OFlags};
use rustix::io::{fcntl_dupfd_cloexec, fcntl_getfd, Errno, Result};
use rustix::net::{
    accept_with, recvmsg, socket_with, socketpair, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage,
    RecvFlags, ReturnFlags, SocketFlags, SocketType,
};
use rustix::process::{pidfd_open, Pid, PidfdFlags};
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// The lowest number of a descriptor of the library's.
const LOWEST: RawFd = 3;

/// How often something is created anew, where another thread has closed a low number meanwhile.
const ATTEMPTS: usize = 4;

/// Keeps the numbers below [`LOWEST`] in use, until dropped.
///
/// All threads that need that share the descriptors that were opened for it. The last one to leave closes them. No thread
/// waits for another one for long, since a fork copies this as it is.
struct LowNumbers {
    is_counted: bool,
}

/// The process that this is of, in the upper half; how many threads need the low numbers; which of these are
/// [held](HELD) for them, and which are being closed.
static LOW_NUMBERS: AtomicU64 = AtomicU64::new(0);

const THREAD: u64 = 1 << 8;
const THREADS: u64 = 0xffff * THREAD;
const HELD: u64 = 0b111;
const CLOSING: u64 = HELD << CLOSING_SHIFT;
const CLOSING_SHIFT: u32 = 4;

/// How often a thread looks whether another one has closed the low numbers, which takes that one some microseconds.
const LOOKS: u32 = 1000;

fn is_open(number: RawFd) -> bool {
    // SAFETY: the kernel checks the number.
    fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).is_ok()
}

impl LowNumbers {
    fn take() -> Self {
        let own = u64::from(std::process::id()) << 32;
        for _ in 0..LOOKS {
            let before = LOW_NUMBERS.load(Ordering::SeqCst);
            // What a fork has copied counts no more.
            let current = if before >> 32 == own >> 32 { before } else { own };
            if current & CLOSING != 0 {
                std::thread::yield_now();
                continue;
            }
            if current & THREADS == 0 && (0..LOWEST).all(is_open) {
                break;
            }
            let counted = current + THREAD;
            if LOW_NUMBERS.compare_exchange(before, counted, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                Self::fill();
                return LowNumbers { is_counted: true };
            }
        }
        LowNumbers { is_counted: false }
    }

    /// Opens a descriptor that stands for a path alone at each number that is free. Where the system refuses that, [`raise`]
    /// moves what gets a low number.
    fn fill() {
        while !(0..LOWEST).all(is_open) {
            let opened = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            let Some(low) = opened.ok().filter(is_low) else { break };
            LOW_NUMBERS.fetch_or(1 << low.into_raw_fd(), Ordering::SeqCst);
        }
    }

    /// Closes a number, unless the program has put another descriptor there meanwhile.
    fn close(number: RawFd) {
        // SAFETY: the kernel checks the number.
        let flags = fcntl_getfl(unsafe { BorrowedFd::borrow_raw(number) });
        if flags.is_ok_and(|flags| flags.contains(OFlags::PATH)) {
            // SAFETY: `fill` opened it, and no other code owns it.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}

impl Drop for LowNumbers {
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        let left = |current: u64| {
            let is_last = current & THREADS == THREAD;
            let moved = if is_last { (current & HELD) << CLOSING_SHIFT } else { current & HELD };
            Some((current - THREAD) & !HELD | moved)
        };
        let before = LOW_NUMBERS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).unwrap_or_default();
        if before & THREADS == THREAD {
            (0..LOWEST).filter(|number| before >> number & 1 == 1).for_each(Self::close);
            LOW_NUMBERS.fetch_and(!CLOSING, Ordering::SeqCst);
        }
    }
}

fn is_low(descriptor: &OwnedFd) -> bool {
    descriptor.as_raw_fd() < LOWEST
}

/// Gives a descriptor a number that is not low.
fn raise(descriptor: OwnedFd) -> Result<OwnedFd> {
    if is_low(&descriptor) {
        fcntl_dupfd_cloexec(&descriptor, LOWEST)
    } else {
        Ok(descriptor)
    }
}

/// Creates what can be created again.
fn create(create: impl Fn() -> Result<OwnedFd>) -> Result<OwnedFd> {
    create_each(|| Ok([create()?])).map(|[descriptor]| descriptor)
}

/// Creates what can be created again. What has a low number is closed unused, since the program may have written to it.
fn create_each<const N: usize>(create: impl Fn() -> Result<[OwnedFd; N]>) -> Result<[OwnedFd; N]> {
    let _low = LowNumbers::take();
    for _ in 1..ATTEMPTS {
        let created = create()?;
        if !created.iter().any(is_low) {
            return Ok(created);
        }
    }
    // Another thread closes low numbers all the time, or the system lets nothing take them.
    let raised = create()?.map(raise);
    match raised.iter().find_map(|descriptor| descriptor.as_ref().err()) {
        Some(&errno) => Err(errno),
        None => Ok(raised.map(|descriptor| descriptor.expect("none is an error"))),
    }
}

/// An empty file in memory, to which seals can be added.
pub(super) fn memory_file(name: &str) -> Result<OwnedFd> {
    create(|| memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING))
}

/// An event of this process alone.
pub(super) fn local_event() -> Result<OwnedFd> {
    create(|| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK))
}

/// What an [`epoll()`] descriptor is used with. Nothing here creates a descriptor.
pub(super) mod watching {
    pub(in crate::linux) use rustix::event::epoll::{add, delete, EventData, EventFlags};
    #[cfg(feature = "async")]
    pub(in crate::linux) use rustix::event::epoll::{modify, wait, Event};
}

/// What waits for several descriptors, and is one.
pub(super) fn epoll() -> Result<OwnedFd> {
    create(|| epoll::create(epoll::CreateFlags::CLOEXEC))
}

/// Two datagram sockets that are connected to each other.
pub(super) fn socket_pair() -> Result<[OwnedFd; 2]> {
    create_each(|| {
        let pair = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok([pair.0, pair.1])
    })
}

/// A socket for connections, over which messages go. It never blocks.
pub(super) fn socket() -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    create(|| socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None))
}

/// What stands for a process.
pub(super) fn process(id: Pid) -> Result<OwnedFd> {
    create(|| pidfd_open(id, PidfdFlags::empty()))
}

/// What `ask` gets from the kernel in another way, as the value of a socket's option.
pub(super) fn option(ask: impl Fn() -> Result<OwnedFd>) -> Result<OwnedFd> {
    create(ask)
}

/// Another descriptor for the same object, which no program that is started inherits.
pub(super) fn duplicate(descriptor: BorrowedFd<'_>) -> Result<OwnedFd> {
    fcntl_dupfd_cloexec(descriptor, LOWEST)
}

/// The next connection of a socket that listens. It never blocks.
pub(super) fn accept(socket: impl AsFd) -> Result<OwnedFd> {
    let _low = LowNumbers::take();
    raise(accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?)
}

/// A message that came with descriptors.
pub(super) struct Message {
    pub(super) length: usize,
    pub(super) descriptors: Vec<OwnedFd>,
    /// Whether the kernel left out descriptors: there was no room for them, or this process can have no more.
    pub(super) lacks_some: bool,
}

/// Receives a message, and the descriptors that come with it.
pub(super) fn receive(
    socket: BorrowedFd<'_>, bytes: &mut [u8], control: &mut RecvAncillaryBuffer<'_>,
) -> Result<Message> {
    let _low = LowNumbers::take();
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], control, flags)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights.map(raise));
        }
    }
    let descriptors = descriptors.into_iter().collect::<Result<_>>()?;
    let lacks_some = received.flags.contains(ReturnFlags::CTRUNC);
    Ok(Message { length: received.bytes, descriptors, lacks_some })
}

/// An existing file or folder, for reading.
pub(super) fn existing(path: &str) -> Result<OwnedFd> {
    create(|| open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
}

/// The text of a short file in which the kernel says something about the system.
pub(super) fn short_file(path: &str) -> Result<String> {
    let file = existing(path)?;
    let mut text = String::new();
    match std::fs::File::from(file).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}
