//! How messages are sent: into the ring if there is one, into the queue otherwise, under one lock.
//!
//! Accepted messages are sent in the order in which they were accepted: while a message is queued, later ones queue behind it.

use super::core::Core;
use super::outbox::{is_over, Link, Outbox, RingAtEnd, WaitsFor};
use super::worker;
use crate::access::PeerIdentity;
use crate::channel::Side;
use crate::error::{Result, ShmError};
use crate::halves::{PeerStats, WriteOutcome};
use crate::session::{Interest, WaitCondition};
use crate::sync::MutexGuard;
use crate::waiting::{Deadline, Interrupter};
use std::sync::atomic::Ordering;
use std::sync::PoisonError;
use std::time::Duration;

/// A connection to send to: a slot, and the session that has it. Without a session, the one that has the slot at the time.
pub(crate) type To = (u32, Option<u32>);

/// How often a handler that waits for room on its worker looks after the other connections of that worker.
const HANDLER_SLICE: Duration = Duration::from_millis(10);

/// How often a handler looks for room that waits on a thread other than the connection's worker.
const OTHER_WORKER_SLICE: Duration = Duration::from_millis(1);

/// The slot of an endpoint that has one connection at a time.
pub(crate) const ONLY: To = (0, None);

impl Core {
    pub(crate) fn outbox(&self, slot: u32) -> &Outbox {
        &self.outboxes[slot as usize]
    }

    /// # Errors
    /// [`ShmError::NotConnected`]: there is no such slot.
    fn find_outbox(&self, slot: u32) -> Result<&Outbox> {
        self.outboxes.get(slot as usize).ok_or(ShmError::NotConnected)
    }

    pub(crate) fn slot_count(&self) -> u32 {
        self.outboxes.len() as u32
    }

    /// The session that has a slot, or that has ended and whose end is being reported.
    pub(crate) fn session(&self, slot: u32) -> Option<u32> {
        self.check_not_forked().ok()?;
        self.find_outbox(slot).ok()?.link().session
    }

    /// The session of a slot's connection, if there is one, as far as the endpoint knows.
    pub(crate) fn connected_session(&self, slot: u32) -> Option<u32> {
        let link = self.find_outbox(slot).ok()?.link();
        link.session.filter(|_| link.sender.is_some())
    }

    /// Whether a connection is there, as far as the endpoint knows: it asks no process.
    pub(crate) fn is_connected(&self, (slot, session): To) -> bool {
        let is_attached = |outbox: &Outbox| outbox.link().sender_to(session).is_some();
        self.check_not_forked().is_ok() && self.find_outbox(slot).is_ok_and(is_attached)
    }

    /// The process and the user at the other end of a connection.
    pub(crate) fn identity(&self, (slot, session): To) -> Option<PeerIdentity> {
        self.check_not_forked().ok()?;
        Some(self.find_outbox(slot).ok()?.link().sender_to(session)?.session.peer.identity())
    }

    /// The counts of a slot, and the messages that its peer has not taken.
    ///
    /// # Errors
    /// [`ShmError::NotConnected`], [`ShmError::Corrupted`], [`ShmError::Forked`].
    pub(crate) fn stats(&self, (slot, session): To) -> Result<PeerStats> {
        self.check_not_forked()?;
        let outbox = self.find_outbox(slot)?;
        let mut link = outbox.link();
        link.sender_to(session).ok_or(ShmError::NotConnected)?;
        let sending = link.sender.as_mut().ok_or(ShmError::NotConnected)?.stats()?;
        Ok(PeerStats {
            sent: outbox.sent.load(Ordering::Relaxed),
            send_dropped: outbox.send_overflows.load(Ordering::Relaxed),
            send_depth: sending.send_depth,
            received: outbox.received.load(Ordering::Relaxed),
            receive_dropped: outbox.receive_overflows.load(Ordering::Relaxed),
        })
    }

    /// Ends a session. The peer receives what it was sent, and the handler what the peer has sent.
    ///
    /// # Errors
    /// [`ShmError::NotConnected`], [`ShmError::Forked`]. [`ShmError::Refused`]: this is a client's endpoint.
    pub(crate) fn disconnect(&self, (slot, session): To) -> Result<()> {
        self.check_not_forked()?;
        let outbox = self.find_outbox(slot)?;
        let mut link = outbox.link();
        let session = link.sender_to(session).ok_or(ShmError::NotConnected)?.session.clone();
        if session.channel.side == Side::Client {
            let reason = "a client does not disconnect its server: stop the client".to_owned();
            return Err(ShmError::Refused { reason });
        }
        link.is_kicked = true;
        drop(link);
        session.disconnect();
        outbox.wake_up.interrupt();
        Ok(())
    }

    /// Sends a message and never waits: a full ring evicts its oldest messages.
    pub(crate) fn send(&self, to: To, message: &[u8]) -> Result<WriteOutcome> {
        let (outbox, mut link) = self.open(to, message)?;
        if let Some(sender) = link.free_sender() {
            match sender.send(message) {
                Ok(outcome) => {
                    outbox.sent.fetch_add(1, Ordering::Relaxed);
                    outbox.count_lost(&mut link, outcome.overwritten);
                    return Ok(outcome);
                }
                Err(error) if is_over(&error) => self.leave_to_worker(outbox, error)?,
                Err(error) => return Err(self.refuse(outbox, &mut link, message.len(), error)),
            }
        }
        self.check_queue(outbox, &link, to)?;
        let limit = self.settings.queue_limit;
        if limit == 0 {
            return Err(ShmError::NotConnected);
        }
        let was_empty = link.queue.is_empty();
        outbox.queue(&mut link, message, limit)?;
        Ok(WriteOutcome { overwritten: 0, was_empty })
    }

    /// Sends a message if there is room, and has the handler called when there is room again.
    pub(crate) fn try_send(&self, to: To, message: &[u8]) -> Result<()> {
        let (outbox, mut link) = self.open(to, message)?;
        match self.put(outbox, &mut link, message, to) {
            Err(ShmError::QueueFull) => {
                link.refused = true;
                Err(self.refuse(outbox, &mut link, message.len(), ShmError::QueueFull))
            }
            outcome => outcome,
        }
    }

    /// Sends a message, and waits for room.
    pub(crate) fn send_timeout(&self, to: To, message: &[u8], timeout: Option<Duration>) -> Result<()> {
        self.check_not_forked()?;
        // Another client may have the slot before there is room, or there may be another session, for which no message waits.
        let to = match (self.settings.waits_for, to) {
            (waits_for, (slot, None)) if waits_for == WaitsFor::Nothing || self.settings.queue_limit == 0 => {
                (slot, self.find_outbox(slot)?.link().session)
            }
            _ => to,
        };
        let mut was_woken = false;
        let sent = self.send_within(to, message, Deadline::after(timeout), &mut was_woken);
        if was_woken {
            // The worker was woken inside this call, and has not done what it was woken for.
            self.outbox(to.0).wake_up.interrupt();
        }
        sent
    }

    fn send_within(&self, to: To, message: &[u8], deadline: Deadline, was_woken: &mut bool) -> Result<()> {
        loop {
            let (outbox, mut link) = self.open(to, message)?;
            match self.put(outbox, &mut link, message, to) {
                Err(ShmError::QueueFull) => {}
                outcome => return outcome,
            }
            if deadline.has_passed() {
                return Err(ShmError::Timeout);
            }
            if self.is_stopping() {
                // The handler answers while the endpoint stops. The end does not wait for room.
                return Err(ShmError::NotConnected);
            }
            self.refuse(outbox, &mut link, message.len(), ShmError::QueueFull);
            if worker::is_current(&outbox.wake_up) {
                // No other thread would do what the worker is to do.
                let session = link.sender.as_ref().ok_or(ShmError::QueueFull)?.session.clone();
                drop(link);
                // Nor is there another connection before the handler returns.
                session.check()?;
                let room = Room { core: self, slot: to.0, len: Some(message.len()) };
                let slice = (self.slot_count() > 1).then_some(HANDLER_SLICE);
                match session.wait_for(Interest::Space, deadline.remaining(slice), room) {
                    Ok(()) | Err(ShmError::Timeout) => self.flush_worker(&outbox.wake_up),
                    Err(ShmError::Interrupted) => {
                        outbox.wake_up.reset();
                        *was_woken = true;
                    }
                    Err(error) => return Err(error),
                }
                continue;
            }
            // The connection's worker may itself be in a handler that waits for this thread's, and a client that is being
            // accepted has no worker yet. So another thread of the endpoint does not rely on it.
            let slice = self.is_on_worker().then_some(OTHER_WORKER_SLICE);
            // Woken by the worker, which waits in the kernel.
            match deadline.remaining(slice) {
                Some(left) => {
                    drop(outbox.room.wait_timeout(link, left).unwrap_or_else(PoisonError::into_inner))
                }
                None => drop(outbox.room.wait(link).unwrap_or_else(PoisonError::into_inner)),
            }
        }
    }

    /// Sends what is queued for the connections of a worker, and wakes the callers that may find room, while the worker is inside a
    /// handler that waits.
    fn flush_worker(&self, wake_up: &Interrupter) {
        for outbox in self.outboxes.iter().filter(|outbox| worker::is_same(&outbox.wake_up, wake_up)) {
            if outbox.has_work.load(Ordering::Acquire) {
                let mut link = outbox.link();
                outbox.flush(&mut link);
                if link.has_room(self.settings.queue_limit) {
                    outbox.room.notify_all();
                }
            }
        }
    }

    /// Puts a message where there is room for it.
    fn put(&self, outbox: &Outbox, link: &mut Link, message: &[u8], to: To) -> Result<()> {
        if let Some(sender) = link.free_sender() {
            match sender.try_send(message) {
                Ok(()) => {
                    outbox.sent.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) if is_over(&error) => self.leave_to_worker(outbox, error)?,
                Err(error) => return Err(error),
            }
        } else if link.sender.as_ref().is_some_and(|sender| sender.session.check().is_ok()) {
            return Err(ShmError::QueueFull);
        }
        self.check_queue(outbox, link, to)?;
        match self.settings.queue_limit {
            0 => Err(ShmError::NotConnected),
            limit if link.queue.len() >= limit => Err(ShmError::QueueFull),
            limit => outbox.queue(link, message, limit),
        }
    }

    /// Checks what can be checked without a ring, and that the endpoint was not stopped. While it stops, its handler may
    /// still answer the messages that it is handed.
    fn open(&self, (slot, session): To, message: &[u8]) -> Result<(&Outbox, MutexGuard<'_, Link>)> {
        self.check_not_forked()?;
        let outbox = self.find_outbox(slot)?;
        let link = outbox.link();
        link.check_length(message.len(), self.settings.lengths)?;
        if session.is_some() {
            // One that is over is so for the caller too, although the worker has not found it.
            let sender = link.sender_to(session).ok_or(ShmError::NotConnected)?;
            if sender.session.check().is_err() {
                outbox.wake_up.interrupt();
                return Err(ShmError::NotConnected);
            }
        }
        // Asked under the lock: the worker takes it once more after it has seen the stop, and so finds what was accepted.
        let may_answer = || link.sender.is_some() && self.is_on_worker() && !self.is_stopped_by_handler();
        if self.is_stopping() && self.settings.waits_for != WaitsFor::Nothing && !may_answer() {
            return Err(ShmError::NotConnected);
        }
        Ok((outbox, link))
    }

    /// Whether a message may be queued now. The worker may not know that a session is over, and may sleep.
    fn check_queue(&self, outbox: &Outbox, link: &Link, (_, session): To) -> Result<()> {
        let is_over = link.sender.as_ref().map(|sender| sender.session.check().is_err());
        if is_over == Some(true) {
            outbox.wake_up.interrupt();
        }
        // A client's queue outlives the session.
        if session.is_some() && self.settings.waits_for == WaitsFor::AnyConnection {
            return Err(if is_over == Some(false) { ShmError::QueueFull } else { ShmError::NotConnected });
        }
        link.check_queue(self.settings.waits_for)
    }

    /// A sender found its session over. The worker finds it too, and may sleep. The message may be for the next connection.
    fn leave_to_worker(&self, outbox: &Outbox, error: ShmError) -> Result<()> {
        outbox.wake_up.interrupt();
        match self.settings.waits_for {
            WaitsFor::Nothing => Err(error),
            WaitsFor::AnyConnection | WaitsFor::OneSession => Ok(()),
        }
    }

    /// Makes the worker wait for room, if that is what was missing, and returns the error.
    fn refuse(&self, outbox: &Outbox, link: &mut Link, len: usize, error: ShmError) -> ShmError {
        let mut is_news = false;
        if error == ShmError::QueueFull && link.sender.is_some() {
            let shortest = link.refused_len.map_or(len, |other| other.min(len));
            is_news = link.refused_len.replace(shortest) != Some(shortest);
        }
        outbox.record_work(link);
        if is_news {
            outbox.wake_up.interrupt();
        }
        error
    }

    /// Callers that wait for room look whether the endpoint is stopping.
    pub(super) fn wake_callers(&self) {
        for outbox in &self.outboxes {
            drop(outbox.link());
            outbox.room.notify_all();
        }
    }

    /// A connection ended. What its peer has not taken is lost, unless the peer may still take it; and so is what a server
    /// has queued for it. Returns whether the program ended it.
    pub(crate) fn detach(&self, slot: u32, ring: RingAtEnd) -> bool {
        let outbox = self.outbox(slot);
        let mut link = outbox.link();
        let is_kicked = link.is_kicked;
        let sender = link.sender.take();
        // A client that the program disconnected may still take them too.
        if let (Some(mut sender), RingAtEnd::Lost, false) = (sender, ring, is_kicked) {
            // What a peer made up is no figure.
            let left = sender.stats().map_or(0, |stats| stats.send_depth as u32);
            outbox.count_lost(&mut link, left);
        }
        match self.settings.waits_for {
            WaitsFor::OneSession => outbox.lose_queue(&mut link),
            // The next client of the slot is another one.
            WaitsFor::Nothing => link.refused = false,
            WaitsFor::AnyConnection => {}
        }
        link.refused_len = None;
        drop(link);
        // There may be room in the queue now.
        outbox.room.notify_all();
        is_kicked
    }

    /// Does what senders left to the worker, and reports to the handler what they lost. Returns whether it may have called the
    /// handler.
    pub(crate) fn flush_senders(&self, slot: u32) -> bool {
        let outbox = self.outbox(slot);
        if !outbox.has_work.load(Ordering::Acquire) {
            return false;
        }
        let report = outbox.flush_and_report(self.settings.queue_limit);
        for error in report.errors {
            self.call(Some(slot), |handler| handler.error(Some(slot), error));
        }
        if report.lost > 0 {
            self.call(Some(slot), |handler| handler.overflow(slot, self.sends, report.lost));
        }
        if report.space {
            self.call(Some(slot), |handler| handler.space_available(slot, self.sends));
        }
        true
    }

    /// Whether something waits for room in the ring.
    pub(crate) fn wants_room(&self, slot: u32) -> bool {
        let outbox = self.outbox(slot);
        outbox.has_work.load(Ordering::Acquire) && outbox.link().wants_room()
    }

    /// Whether there is room for what wants some.
    pub(crate) fn has_room(&self, slot: u32) -> bool {
        self.outbox(slot).link().has_room(self.settings.queue_limit)
    }
}

/// A handler that waits for room in the ring of a slot's connection, on the worker.
pub(crate) struct Room<'a> {
    pub(crate) core: &'a Core,
    pub(crate) slot: u32,
    /// The length of its message. `None`: it waits for what is queued.
    pub(crate) len: Option<usize>,
}

impl WaitCondition for Room<'_> {
    type Found = ();

    fn ready(&self) -> bool {
        true
    }

    fn attempt(&mut self) -> Result<Option<()>> {
        let room = self.core.outbox(self.slot).link().has_room_for(self.len, self.core.settings.queue_limit);
        Ok(room.then_some(()))
    }
}
