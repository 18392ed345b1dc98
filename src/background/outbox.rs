//! What the senders to one connection keep under their lock: the ring if there is one, and the queue.

use crate::error::{Result, ShmError};
use crate::halves::SendHalf;
use crate::layout::Lengths;
use crate::sync::{lock, Condvar, Mutex, MutexGuard};
use crate::sys;
use crate::waiting::Interrupter;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

    /// A connection began.
    pub(crate) fn attach(&self, sender: SendHalf, session: u32) {
        let mut link = self.link();
        link.lengths = Some(sender.producer.lengths());
        (link.sender, link.session, link.is_kicked) = (Some(sender), Some(session), false);
    }

    /// The slot is about to have another client, whose counts begin with zero.
    pub(crate) fn reset_counts(&self) {
        for count in [&self.sent, &self.send_overflows, &self.received, &self.receive_overflows] {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// The handler knows that the connection ended: what is sent from now on is for the next one. `then` is called before
    /// any other thread sees this.
    pub(crate) fn end(&self, then: impl FnOnce()) {
        let mut link = self.link();
        link.session = None;
        then();
    }

    /// Whether the peer has left, or is about to be found to have left, and the handler does not know.
    pub(crate) fn is_ending(&self) -> bool {
        let link = self.link();
        let is_live = |sender: &SendHalf| !link.is_kicked && sender.session.check_process().is_ok();
        link.session.is_some() && !link.sender.as_ref().is_some_and(is_live)
    }

    /// The endpoint ends: no connection will take what is queued.
    pub(crate) fn abandon_queue(&self) {
        self.lose_queue(&mut self.link());
    }

    pub(super) fn lose_queue(&self, link: &mut Link) {
        let queued = link.queue.len() as u32;
        link.queue.clear();
        self.count_lost(link, queued);
    }

    /// Queues a message. Where the queue is full, the oldest one makes room, and is lost.
    ///
    /// # Errors
    /// This process has no memory for it. The queue is unchanged.
    pub(super) fn queue(&self, link: &mut Link, message: &[u8], limit: usize) -> Result<()> {
        let mut copy = Vec::new();
        let reserved = copy.try_reserve_exact(message.len()).and_then(|()| link.queue.try_reserve(1));
        reserved.map_err(|_| sys::out_of_memory("queuing a message"))?;
        copy.extend_from_slice(message);
        if link.queue.len() >= limit {
            link.queue.pop_front();
            self.count_lost(link, 1);
        }
        link.queue.push_back(copy);
        self.record_work(link);
        Ok(())
    }

    pub(super) fn record_work(&self, link: &Link) {
        self.has_work.store(link.has_work(), Ordering::Release);
    }

    /// Counts lost messages, and has the worker report them.
    pub(super) fn count_lost(&self, link: &mut Link, count: u32) {
        if count == 0 {
            return;
        }
        self.send_overflows.fetch_add(count.into(), Ordering::Relaxed);
        link.lost = link.lost.saturating_add(count);
        self.record_work(link);
        if link.sender.is_some() || !self.defers_wake_ups.load(Ordering::Relaxed) {
            self.wake_up.interrupt();
        }
    }

    /// Sends what is queued, looks whether there is room for callers that found none, and returns what there is to report.
    pub(crate) fn flush_and_report(&self, queue_limit: usize) -> SendReport {
        let mut link = self.link();
        self.flush(&mut link);
        let mut space = false;
        // What is queued goes first: callers find no room while there is any.
        let is_free = link.queue.is_empty() || link.sender.is_none();
        if (link.refused || link.refused_len.is_some()) && is_free && link.has_room(queue_limit) {
            link.refused_len = None;
            space = std::mem::take(&mut link.refused);
            self.room.notify_all();
        }
        let (lost, errors) = (std::mem::take(&mut link.lost), std::mem::take(&mut link.errors));
        self.record_work(&link);
        SendReport { lost, space, errors }
    }

    /// Sends what is queued, as far as it fits.
    pub(super) fn flush(&self, link: &mut Link) {
        let Some(sender) = &mut link.sender else { return };
        let before = link.queue.len();
        while let Some(message) = link.queue.front() {
            match sender.try_send(message) {
                Ok(()) => drop(self.sent.fetch_add(1, Ordering::Relaxed)),
                // While a message is queued, the worker waits for room.
                Err(ShmError::QueueFull) => break,
                Err(error) if is_over(&error) => break,
                // It will never fit.
                Err(error) => {
                    link.errors.push(error);
                    self.send_overflows.fetch_add(1, Ordering::Relaxed);
                    link.lost = link.lost.saturating_add(1);
                }
            }
            link.queue.pop_front();
        }
        if link.queue.len() < before {
            self.room.notify_all();
        }
    }
}

#[derive(Default)]
pub(crate) struct Link {
    pub(super) sender: Option<SendHalf>,
    /// The lengths of messages on the last connection's channel.
    lengths: Option<Lengths>,
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

    /// Checks that a message may have `len` bytes. `usual`: the lengths before the first connection.
    ///
    /// # Errors
    /// [`ShmError::MessageTooSmall`], [`ShmError::MessageTooLarge`].
    pub(super) fn check_length(&self, len: usize, usual: Lengths) -> Result<()> {
        self.lengths.unwrap_or(usual).check(len)
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
        self.has_room_for(self.refused_len, queue_limit)
    }

    /// Whether there is room for what is queued, or else for a message of this length.
    pub(super) fn has_room_for(&mut self, len: Option<usize>, queue_limit: usize) -> bool {
        let wanted = self.queue.front().map(Vec::len).or(len);
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

/// What the worker reports to the handler of the sending side.
pub(crate) struct SendReport {
    pub(super) lost: u32,
    pub(super) space: bool,
    pub(super) errors: Vec<ShmError>,
}

/// Whether an error says that the session is over.
pub(super) fn is_over(error: &ShmError) -> bool {
    matches!(error, ShmError::NotConnected | ShmError::PeerDied { .. } | ShmError::Corrupted)
}
