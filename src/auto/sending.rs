//! How messages are sent: into the ring if there is one, into the queue otherwise, under one lock.
//!
//! What was accepted is sent in the order in which it was accepted: as long as anything is queued, everything queues.

use super::core::Shared;
use super::handler::SessionId;
use super::link::{Link, RingAtEnd, SendReport, WaitsFor};
use crate::constants::{MAX_MESSAGE_SIZE, MIN_MESSAGE_SIZE};
use crate::error::{Result, ShmError};
use crate::halves::SendHalf;
use crate::session::{Interest, WaitCondition};
use crate::sync::{lock, MutexGuard};
use crate::waiting::Deadline;
use std::sync::atomic::Ordering;
use std::sync::PoisonError;
use std::time::Duration;

impl Shared {
    fn link(&self) -> MutexGuard<'_, Link> {
        lock(&self.link)
    }

    pub(crate) fn send(&self, message: &[u8]) -> Result<()> {
        self.send_by(self.open_link(message)?, message)
    }

    fn send_by(&self, mut link: MutexGuard<'_, Link>, message: &[u8]) -> Result<()> {
        if let Some(sender) = link.free_sender() {
            match sender.send(message) {
                Ok(outcome) => {
                    self.sent.fetch_add(1, Ordering::Relaxed);
                    self.count_lost(&mut link, outcome.overwritten);
                    return Ok(());
                }
                Err(error) if !is_over(&error) => return Err(self.refuse(&mut link, message.len(), error)),
                // The worker will notice. A client's message is for the next connection.
                Err(_) => {}
            }
        }
        link.check_queue()?;
        let limit = self.options.max_send_queue;
        if limit == 0 {
            return Err(ShmError::NotConnected);
        }
        if link.queue.len() >= limit {
            link.queue.pop_front();
            self.count_lost(&mut link, 1);
        }
        link.queue.push_back(message.to_vec());
        Ok(())
    }

    /// The session that there is now.
    pub(super) fn session(&self) -> Option<SessionId> {
        self.created_in.is_current().then(|| self.link().session()).flatten()
    }

    pub(super) fn send_to_session(&self, session: SessionId, message: &[u8]) -> Result<()> {
        let link = self.open_link(message)?;
        if !link.is_live(session) {
            return Err(ShmError::NotConnected);
        }
        self.send_by(link, message)
    }

    pub(crate) fn try_send(&self, message: &[u8]) -> Result<()> {
        let mut link = self.open_link(message)?;
        match self.put(&mut link, message) {
            Err(ShmError::QueueFull) => {
                link.refused = true;
                Err(self.refuse(&mut link, message.len(), ShmError::QueueFull))
            }
            outcome => outcome,
        }
    }

    pub(crate) fn send_timeout(&self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
        let deadline = Deadline::after(timeout);
        loop {
            let mut link = self.open_link(message)?;
            match self.put(&mut link, message) {
                Err(ShmError::QueueFull) => {}
                outcome => return outcome,
            }
            if deadline.has_passed() {
                return Err(ShmError::Timeout);
            }
            if link.closed {
                // The handler answers while the endpoint stops. The end does not wait for room.
                return Err(ShmError::NotConnected);
            }
            self.refuse(&mut link, message.len(), ShmError::QueueFull);
            if self.on_worker() {
                // No other thread would do what the worker is to do.
                let session = link.sender.as_ref().ok_or(ShmError::QueueFull)?.session.clone();
                drop(link);
                // Nor is there another connection before the handler returns.
                session.check()?;
                match session.wait_for(Interest::Space, deadline.remaining(None), Room(self)) {
                    Ok(()) | Err(ShmError::Timeout) => self.flush(&mut self.link()),
                    // What there is to report waits for the handler's return.
                    Err(ShmError::Interrupted) => self.attention.reset(),
                    Err(error) => return Err(error),
                }
                continue;
            }
            let left = deadline.remaining(None);
            // Woken by the worker, which waits in the kernel.
            match left {
                Some(left) => {
                    drop(self.room.wait_timeout(link, left).unwrap_or_else(PoisonError::into_inner))
                }
                None => drop(self.room.wait(link).unwrap_or_else(PoisonError::into_inner)),
            }
        }
    }

    /// Puts a message where nothing has to make room for it.
    fn put(&self, link: &mut Link, message: &[u8]) -> Result<()> {
        if let Some(sender) = link.free_sender() {
            match sender.try_send(message) {
                Ok(()) => {
                    self.sent.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) if !is_over(&error) => return Err(error),
                Err(_) => {}
            }
        } else if link.sender.as_ref().is_some_and(|sender| sender.session.check().is_ok()) {
            return Err(ShmError::QueueFull);
        }
        link.check_queue()?;
        match self.options.max_send_queue {
            0 => Err(ShmError::NotConnected),
            limit if link.queue.len() >= limit => Err(ShmError::QueueFull),
            _ => {
                link.queue.push_back(message.to_vec());
                Ok(())
            }
        }
    }

    /// Checks what can be checked without a ring, and that the endpoint was not stopped. While it stops, its handler may
    /// still answer the messages that it is handed.
    fn open_link(&self, message: &[u8]) -> Result<MutexGuard<'_, Link>> {
        if !self.created_in.is_current() {
            return Err(ShmError::Forked);
        }
        crate::layout::check_message(message.len(), MAX_MESSAGE_SIZE)?;
        debug_assert!(message.len() >= MIN_MESSAGE_SIZE);
        let link = self.link();
        let may_answer =
            || link.sender.is_some() && self.on_worker() && !self.stopped_by_handler.load(Ordering::Acquire);
        if link.closed && !may_answer() {
            return Err(ShmError::NotConnected);
        }
        Ok(link)
    }

    /// Makes the worker wait for room, if that is what was missing, and returns the error.
    fn refuse(&self, link: &mut Link, len: usize, error: ShmError) -> ShmError {
        if error == ShmError::QueueFull && link.sender.is_some() {
            let shortest = link.refused_len.map_or(len, |other| other.min(len));
            if link.refused_len.replace(shortest) != Some(shortest) {
                self.attention.interrupt();
            }
        }
        error
    }

    fn count_lost(&self, link: &mut Link, count: u32) {
        if count == 0 {
            return;
        }
        self.send_overflows.fetch_add(count.into(), Ordering::Relaxed);
        link.lost = link.lost.saturating_add(count);
        if link.sender.is_some() || !self.defers_wake_ups.load(Ordering::Relaxed) {
            self.attention.interrupt();
        }
    }

    /// From now on nothing is accepted.
    pub(super) fn close(&self) {
        self.link().closed = true;
        self.room.notify_all();
    }

    /// A connection began.
    pub(crate) fn attach(&self, sender: SendHalf) {
        self.link().sender = Some(sender);
    }

    /// The connection ended. What its peer has not taken is lost, unless the peer may still take it; and so is what a server
    /// has queued for it.
    pub(crate) fn detach(&self, ring: RingAtEnd) {
        let mut link = self.link();
        let Some(mut sender) = link.sender.take() else { return };
        if ring == RingAtEnd::Lost {
            // What a peer made up is no figure.
            let left = sender.stats().map_or(0, |stats| stats.send_depth as u32);
            self.count_lost(&mut link, left);
        }
        if link.waits_for == WaitsFor::OneSession {
            self.lose_queue(&mut link);
        }
        link.ending = Some(SessionId(sender.session.generation));
        link.refused_len = None;
        drop(link);
        // There's room in the queue, perhaps.
        self.room.notify_all();
    }

    /// The handler knows that the connection ended: what is sent from now on is for the next one.
    pub(super) fn end(&self) {
        self.link().ending = None;
    }

    /// The endpoint ends: no connection will take what is queued.
    pub(super) fn abandon_queue(&self) {
        self.lose_queue(&mut self.link());
    }

    fn lose_queue(&self, link: &mut Link) {
        let queued = link.queue.len() as u32;
        link.queue.clear();
        self.count_lost(link, queued);
    }

    /// Sends what is queued, looks whether there is room for callers that found none, and returns what there is to report.
    pub(crate) fn flush_and_report(&self) -> SendReport {
        let mut link = self.link();
        self.flush(&mut link);
        let mut space = false;
        // What is queued goes first: callers find no room while there is any.
        let is_free = link.queue.is_empty() || link.sender.is_none();
        if (link.refused || link.refused_len.is_some())
            && is_free
            && link.has_room(self.options.max_send_queue)
        {
            link.refused_len = None;
            space = std::mem::take(&mut link.refused);
            self.room.notify_all();
        }
        SendReport { lost: std::mem::take(&mut link.lost), space, errors: std::mem::take(&mut link.errors) }
    }

    /// Sends what is queued, as far as it fits.
    fn flush(&self, link: &mut Link) {
        let Some(sender) = &mut link.sender else { return };
        let before = link.queue.len();
        while let Some(message) = link.queue.front() {
            match sender.try_send(message) {
                Ok(()) => drop(self.sent.fetch_add(1, Ordering::Relaxed)),
                // As long as anything is queued, the worker waits for room.
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

    /// Whether something waits for room in the ring.
    pub(crate) fn wants_room(&self) -> bool {
        self.link().wants_room()
    }

    /// Whether there is room for what wants some.
    pub(super) fn has_room(&self) -> bool {
        self.link().has_room(self.options.max_send_queue)
    }
}

/// A handler that waits for room, on the worker.
pub(crate) struct Room<'a>(pub(crate) &'a Shared);

impl WaitCondition for Room<'_> {
    type Found = ();

    fn ready(&self) -> bool {
        true
    }

    fn attempt(&mut self) -> Result<Option<()>> {
        Ok(self.0.has_room().then_some(()))
    }
}

/// Whether an error says that the session is over.
fn is_over(error: &ShmError) -> bool {
    matches!(error, ShmError::NotConnected | ShmError::PeerDied { .. } | ShmError::Corrupted)
}
