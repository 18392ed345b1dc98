//! Events: datagrams in pairs of sockets, and local ones.

use super::descriptors;
use super::fork::OwningProcess;
use super::system::{duplicate, failed, timespec};
use crate::error::Result;
use rustix::event::{poll, PollFd, PollFlags};
use rustix::net::{recv, send, RecvFlags, SendFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// An event. In a fork it does nothing.
pub(crate) struct Event {
    kind: Kind,
    created_in: OwningProcess,
}

/// More datagrams than one socket of ours queues: signals of a byte each, in its send buffer.
const LONGEST_QUEUE: usize = 1024;

/// What an end of a pair polls as when a process that shares it has shut it, or has broken the pair up.
pub(super) const SHUT: PollFlags =
    PollFlags::HUP.union(PollFlags::ERR).union(PollFlags::NVAL).union(PollFlags::RDHUP);

enum Kind {
    /// This process's alone: stays set until it is reset.
    Local(Arc<OwnedFd>),
    /// A socket where connections arrive, or messages: readable until that's taken care of.
    Listener(Arc<OwnedFd>),
    /// Setting sends at one end, waiting receives at the other. A side with only one end of the pair has it twice, and does
    /// only one of the two.
    Shared {
        set: Arc<OwnedFd>,
        wait: Arc<OwnedFd>,
        /// Whether the last wait was woken and has not received.
        left: AtomicBool,
    },
}

impl Event {
    /// One for this process alone, that stays set until it is reset.
    pub(crate) fn local() -> Result<Self> {
        let event = descriptors::local_event().map_err(failed("creating an event (eventfd2)"))?;
        Ok(Event { kind: Kind::Local(Arc::new(event)), created_in: OwningProcess::current()? })
    }

    pub(super) fn listener(socket: Arc<OwnedFd>) -> Result<Self> {
        Ok(Event { kind: Kind::Listener(socket), created_in: OwningProcess::current()? })
    }

    pub(super) fn shared(set: &Arc<OwnedFd>, wait: &Arc<OwnedFd>, created_in: OwningProcess) -> Self {
        let (set, wait, left) = (set.clone(), wait.clone(), AtomicBool::new(false));
        Event { kind: Kind::Shared { set, wait, left }, created_in }
    }

    /// Fails only where that does no harm: if the event is set already, or no process is left that waits for it.
    pub(crate) fn set(&self) {
        if !self.created_in.is_current() {
            return;
        }
        let _ = match &self.kind {
            Kind::Local(event) => rustix::io::write(event, &1_u64.to_ne_bytes()),
            Kind::Listener(_) => return,
            Kind::Shared { set, .. } => send(set, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
        };
    }

    pub(crate) fn reset(&self) {
        if !self.created_in.is_current() {
            return;
        }
        match &self.kind {
            Kind::Local(event) => drop(rustix::io::read(event, &mut [0; 8])),
            Kind::Listener(_) => {}
            // More than a queue holds are a peer's that keeps filling it.
            Kind::Shared { left, .. } => {
                left.store(false, Ordering::Relaxed);
                let _ = (0..LONGEST_QUEUE).find(|_| !self.take());
            }
        }
    }

    /// What becomes readable when it is set.
    pub(crate) fn as_raw(&self) -> isize {
        self.descriptor().as_raw_fd() as isize
    }

    /// A second descriptor for what becomes readable when it is set.
    pub(crate) fn duplicate(&self) -> Result<OwnedFd> {
        duplicate(self.descriptor(), "duplicating an event's descriptor (fcntl)")
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Local(event) => event.as_fd(),
            Kind::Listener(socket) | Kind::Shared { wait: socket, .. } => socket.as_fd(),
        }
    }

    pub(super) fn shared_descriptor(&self) -> Arc<OwnedFd> {
        match &self.kind {
            Kind::Local(event) => event.clone(),
            Kind::Listener(socket) | Kind::Shared { wait: socket, .. } => socket.clone(),
        }
    }

    /// Whether it polls as ready for ever, because another process has shut it. (What else is [`SHUT`] passes.)
    pub(crate) fn is_shut(&self) -> bool {
        let mut descriptor = [PollFd::from_borrowed_fd(self.descriptor(), PollFlags::RDHUP)];
        let polled = poll(&mut descriptor, Some(&timespec(Duration::ZERO)));
        polled.is_ok() && descriptor[0].revents().intersects(PollFlags::HUP | PollFlags::RDHUP)
    }

    /// What to poll it for.
    pub(super) fn flags(&self) -> PollFlags {
        match &self.kind {
            Kind::Local(_) | Kind::Listener(_) => PollFlags::IN,
            Kind::Shared { .. } => PollFlags::IN | PollFlags::RDHUP,
        }
    }

    /// Takes the datagram that woke us the last time, see [`kinds::Waitable::Wake`](crate::sys::kinds::Waitable::Wake). Other
    /// datagrams wake us once each.
    pub(crate) fn take_left(&self) {
        if let Kind::Shared { left, .. } = &self.kind {
            if self.created_in.is_current() && left.swap(false, Ordering::Relaxed) {
                self.take();
            }
        }
    }

    /// Leaves it set for having been woken by it.
    pub(super) fn leave(&self) {
        if let Kind::Shared { left, .. } = &self.kind {
            left.store(true, Ordering::Relaxed);
        }
    }

    /// Unsets it for having waited for it. False: another thread was faster.
    pub(super) fn take(&self) -> bool {
        match &self.kind {
            Kind::Local(_) | Kind::Listener(_) => true,
            Kind::Shared { wait, .. } => recv(wait, &mut [0; 1][..], RecvFlags::DONTWAIT).is_ok(),
        }
    }
}
