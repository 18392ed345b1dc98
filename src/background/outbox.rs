//! What the senders to one connection keep under their lock: the ring if there is one, and the queue.

use crate::error::{Result, ShmError};
use crate::halves::SendHalf;
use crate::sync::{lock, Condvar, Mutex, MutexGuard};
use crate::waiting::Interrupter;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// What a message waits for that finds no connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// A client's message: for whichever connection takes it.
    AnyConnection,
    /// A server's message: for the present client, or the next one where there is none, and no client after that.
    OneSession,
    /// A message to one of many clients: it is an error.
    Nothing,
}

/// What is sent to one connection, and to those that follow it.
pub(crate) struct Outbox {
    link: Mutex<Link>,
    /// Notified when a message that found no room may find some, or never will.
    pub(super) room: Condvar,
    /// Ends the wait of the worker that serves the connection.
    pub(super) wake_up: Interrupter,
    /// Whether the worker has something to do here, as [`Link::has_work`] says. Changed under the lock.
    pub(super) has_work: AtomicBool,
    /// The worker's attempt to connect must not be cut short for a report.
    pub(crate) defers_wake_ups: AtomicBool,
    pub(crate) sent: AtomicU64,
    pub(crate) send_overflows: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) receive_overflows: AtomicU64,
}

impl Outbox {
    pub(crate) fn new(wake_up: Interrupter) -> Self {
        Outbox {
            link: Mutex::new(Link::default()),
            room: Condvar::new(),
            wake_up,
            has_work: AtomicBool::new(false),
            defers_wake_ups: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            send_overflows: AtomicU64::new(0),
            received: AtomicU64::new(0),
            receive_overflows: AtomicU64::new(0),
        }
    }

    pub(super) fn link(&self) -> MutexGuard<'_, Link> {
        lock(&self.link)
    }
}

#[derive(Default)]
pub(crate) struct Link {
    pub(super) sender: Option<SendHalf>,
    /// The session's number, until the handler has been called for its end.
    pub(super) session: Option<u32>,
    /// The program ended this session.
    pub(super) is_kicked: bool,
    pub(super) queue: VecDeque<Vec<u8>>,
    /// Messages lost, and errors met, that the handler does not know yet.
    pub(super) lost: u32,
    pub(super) errors: Vec<ShmError>,
    /// The length of the shortest message that a caller found no room for. (What is queued wants room too.)
    pub(super) refused_len: Option<usize>,
    /// The handler is to be called when there is room.
    pub(super) refused: bool,
}

impl Link {
    /// The ring, if a message may go straight into it.
    pub(super) fn free_sender(&mut self) -> Option<&mut SendHalf> {
        self.sender.as_mut().filter(|_| self.queue.is_empty())
    }

    /// Whether a message may be queued now.
    ///
    /// # Errors
    /// How the session ended whose client it would be for.
    pub(super) fn check_queue(&self, waits_for: WaitsFor) -> Result<()> {
        match (waits_for, &self.sender) {
            (WaitsFor::AnyConnection, _) => Ok(()),
            (WaitsFor::OneSession, Some(sender)) => sender.session.check(),
            (WaitsFor::OneSession, None) if self.session.is_none() => Ok(()),
            (WaitsFor::OneSession, None) | (WaitsFor::Nothing, _) => Err(ShmError::NotConnected),
        }
    }

    /// The sender, if this session has the slot; or whichever has it.
    pub(super) fn sender_to(&self, session: Option<u32>) -> Option<&SendHalf> {
        self.sender.as_ref().filter(|_| session.is_none() || session == self.session)
    }

    /// Whether something waits for room in the ring: what is queued, or a caller.
    pub(super) fn wants_room(&self) -> bool {
        self.sender.is_some() && (!self.queue.is_empty() || self.refused_len.is_some())
    }

    /// Whether there is room for what wants some.
    pub(super) fn has_room(&mut self, queue_limit: usize) -> bool {
        let wanted = self.queue.front().map(Vec::len).or(self.refused_len);
        match (&mut self.sender, wanted) {
            (None, _) => self.queue.len() < queue_limit,
            (Some(sender), Some(len)) => sender.has_room(len),
            (Some(_), None) => true,
        }
    }

    /// Whether the worker has something to send, to report, or to wait for.
    pub(super) fn has_work(&self) -> bool {
        self.lost > 0
            || self.refused
            || self.refused_len.is_some()
            || !self.queue.is_empty()
            || !self.errors.is_empty()
    }
}

/// What becomes of the messages in the ring when a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RingAtEnd {
    /// The peer has gone: what it has not taken is lost.
    Lost,
    /// The peer may still take them.
    Receivable,
}
