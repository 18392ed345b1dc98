//! The sending side of an auto endpoint: the ring if there is one, a queue otherwise, under one lock.
//!
//! What was accepted is sent in the order in which it was accepted: as long as anything is queued, everything queues.

use super::Shared;
use crate::constants::{MAX_MESSAGE_SIZE, MIN_MESSAGE_SIZE};
use crate::error::{Result, ShmError};
use crate::halves::SendHalf;
use crate::session::{Look, Wish};
use crate::waiting::Deadline;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Default)]
pub(super) struct Link {
    sender: Option<SendHalf>,
    queue: VecDeque<Vec<u8>>,
    /// Messages lost, and errors met, and not yet reported to the handler.
    lost: u32,
    errors: Vec<ShmError>,
    /// The length of the shortest message that found no room.
    wanted: Option<usize>,
    /// The handler is to be told when there is room.
    refused: bool,
    closed: bool,
}

impl Link {
    /// The ring, if a message may go straight into it.
    fn free_sender(&mut self) -> Option<&mut SendHalf> {
        self.sender.as_mut().filter(|_| self.queue.is_empty())
    }

    /// Whether there is room for what found none.
    fn has_room(&mut self, queue_limit: usize) -> bool {
        let wanted = self.wanted;
        if self.sender.is_none() {
            return self.queue.len() < queue_limit;
        }
        match (self.queue.front().map(Vec::len).or(wanted), &mut self.sender) {
            (Some(len), Some(sender)) => sender.has_room(len),
            _ => true,
        }
    }
}

/// What the worker has to tell the handler of the sending side.
pub(super) struct News {
    pub(super) lost: u32,
    pub(super) space: bool,
    pub(super) errors: Vec<ShmError>,
}

impl Shared {
    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn send(&self, message: &[u8]) -> Result<()> {
        let mut link = self.open_link(message)?;
        if let Some(sender) = link.free_sender() {
            match sender.send(message) {
                Ok(outcome) => {
                    self.sent.fetch_add(1, Ordering::Relaxed);
                    if outcome.overwritten > 0 {
                        self.count_lost(&mut link, outcome.overwritten);
                    }
                    return Ok(());
                }
                Err(error) if !is_over(&error) => return Err(self.refuse(&mut link, message.len(), error)),
                // The worker will notice; the message is for the next connection.
                Err(_) => {}
            }
        }
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
            self.refuse(&mut link, message.len(), ShmError::QueueFull);
            if self.on_worker() {
                // Nobody else would do what the worker is to do.
                let session = link.sender.as_ref().ok_or(ShmError::QueueFull)?.session.clone();
                drop(link);
                // Nor is there another connection before the handler returns.
                session.check()?;
                match session.wait_for(Wish::Space, deadline.remaining(None), Room(self)) {
                    Ok(()) | Err(ShmError::Timeout) => self.flush(&mut self.link()),
                    // What there is to tell waits for the handler's return.
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
        match self.options.max_send_queue {
            0 => Err(ShmError::NotConnected),
            limit if link.queue.len() >= limit => Err(ShmError::QueueFull),
            _ => {
                link.queue.push_back(message.to_vec());
                Ok(())
            }
        }
    }

    /// Checks what can be checked without a ring, and that the endpoint wasn't stopped.
    fn open_link(&self, message: &[u8]) -> Result<MutexGuard<'_, Link>> {
        if !self.home.is_here() {
            return Err(ShmError::Forked);
        }
        crate::layout::check_message(message.len(), MAX_MESSAGE_SIZE)?;
        debug_assert!(message.len() >= MIN_MESSAGE_SIZE);
        let link = self.link();
        if link.closed {
            return Err(ShmError::NotConnected);
        }
        Ok(link)
    }

    /// Has the worker look out for room, if that is what was missing, and gives the error back.
    fn refuse(&self, link: &mut Link, len: usize, error: ShmError) -> ShmError {
        if error == ShmError::QueueFull && link.sender.is_some() {
            let wanted = link.wanted.map_or(len, |wanted| wanted.min(len));
            if link.wanted.replace(wanted) != Some(wanted) {
                self.attention.interrupt();
            }
        }
        error
    }

    fn count_lost(&self, link: &mut Link, count: u32) {
        self.send_overflows.fetch_add(count.into(), Ordering::Relaxed);
        link.lost = link.lost.saturating_add(count);
        if link.sender.is_some() || !self.undisturbed.load(Ordering::Relaxed) {
            self.attention.interrupt();
        }
    }

    /// From now on nothing is accepted.
    pub(super) fn close(&self) {
        self.link().closed = true;
        self.room.notify_all();
    }

    /// A connection began.
    pub(super) fn plug(&self, sender: SendHalf) {
        self.link().sender = Some(sender);
    }

    /// The connection ended. What its peer hasn't taken is lost, unless the peer may still take it.
    pub(super) fn unplug(&self, peer_is_gone: bool) {
        let mut link = self.link();
        let Some(mut sender) = link.sender.take() else { return };
        if peer_is_gone {
            // What a peer made up is no figure.
            let left = sender.stats().map_or(0, |stats| stats.send_depth as u32);
            if left > 0 {
                self.count_lost(&mut link, left);
            }
        }
        link.wanted = None;
        drop(link);
        // There's room in the queue, perhaps.
        self.room.notify_all();
    }

    /// Sends what is queued, looks whether there is room for who wants some, and says what there is to tell.
    pub(super) fn tend(&self) -> News {
        let mut link = self.link();
        self.flush(&mut link);
        let mut space = false;
        if (link.refused || link.wanted.is_some())
            && link.queue.len() < self.options.max_send_queue.max(1)
            && link.has_room(self.options.max_send_queue)
        {
            link.wanted = None;
            space = std::mem::take(&mut link.refused);
            self.room.notify_all();
        }
        News { lost: std::mem::take(&mut link.lost), space, errors: std::mem::take(&mut link.errors) }
    }

    /// Sends what is queued, as far as it fits.
    fn flush(&self, link: &mut Link) {
        let Some(sender) = &mut link.sender else { return };
        let before = link.queue.len();
        while let Some(message) = link.queue.front() {
            match sender.try_send(message) {
                Ok(()) => drop(self.sent.fetch_add(1, Ordering::Relaxed)),
                Err(ShmError::QueueFull) => {
                    let wanted = link.wanted.unwrap_or(usize::MAX);
                    link.wanted = Some(wanted.min(message.len()));
                    break;
                }
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

    /// Whether somebody waits for room in the ring.
    pub(super) fn wants_room(&self) -> bool {
        let link = self.link();
        link.wanted.is_some() && link.sender.is_some()
    }

    /// Whether there is room for who wants some.
    pub(super) fn has_room(&self) -> bool {
        self.link().has_room(self.options.max_send_queue)
    }
}

/// A handler that waits for room, on the worker.
struct Room<'a>(&'a Shared);

impl Look for Room<'_> {
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
