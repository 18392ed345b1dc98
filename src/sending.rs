//! The sending half of an endpoint.

use crate::error::{Result, ShmError};
use crate::figures::{ChannelStats, WriteOutcome};
use crate::ring::Producer;
use crate::session::{Interest, Session, UntilPromise, WaitCondition};
use crate::sync::Arc;
use crate::waiting::Interrupter;
use crate::wake::PRESSURE;
use crate::watch::PeerWatch;
use std::time::Duration;

/// The sending half of an endpoint. It is [`Send`], not [`Sync`]: one thread at a time sends.
///
/// ```compile_fail
/// fn is_sync<T: Sync>() {}
/// is_sync::<xshm::SendHalf>();
/// ```
pub struct SendHalf {
    pub(crate) session: Arc<Session>,
    pub(crate) producer: Producer,
    pub(crate) watch: PeerWatch,
    until_promise: UntilPromise,
}

impl std::fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendHalf").field("peer", &self.session.peer.identity()).finish_non_exhaustive()
    }
}

impl SendHalf {
    pub(crate) fn new(session: Arc<Session>, producer: Producer) -> Self {
        SendHalf { session, producer, watch: PeerWatch::new(), until_promise: UntilPromise::default() }
    }

    /// Sends a message. Never waits: if the queue is full, evicts its oldest messages.
    ///
    /// # Errors
    /// - [`ShmError::MessageTooSmall`], [`ShmError::MessageTooLarge`].
    /// - [`ShmError::NotConnected`], [`ShmError::PeerDied`]: the peer is known to be gone. This half asks the kernel whether
    ///   the peer runs: every 100 ms, or at every third call, whichever is later.
    /// - [`ShmError::QueueFull`]: there is no room, and the channel [rejects when
    ///   full](crate::ServerOptions::reject_when_full).
    /// - [`ShmError::Corrupted`], [`ShmError::Forked`].
    ///
    /// After an error nothing was sent, with one exception: after `Corrupted` the message may have been sent.
    #[inline]
    pub fn send(&mut self, message: &[u8]) -> Result<WriteOutcome> {
        let was_empty = self.producer.seems_empty();
        if self.push(message)? {
            return Ok(WriteOutcome { overwritten: 0, was_empty });
        }
        let overwritten = self.evict_for(message.len())?;
        let pushed = self.push(message)?;
        debug_assert!(pushed, "room was made");
        Ok(WriteOutcome { overwritten, was_empty: false })
    }

    /// Makes room for a message of `len` bytes, on a channel whose full queues evict. Returns the number of evicted messages.
    pub(crate) fn evict_for(&mut self, len: usize) -> Result<u32> {
        if self.session.channel.view.rejects() {
            return Err(ShmError::QueueFull);
        }
        let session = &self.session;
        let pressure = session.peer_wake().take(PRESSURE, 0).map_err(|what| session.corrupted(what))?;
        self.producer.make_room(len, pressure).map_err(|what| session.corrupted(what))
    }

    /// Sends a message if there is room for it.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`ShmError::QueueFull`]: there is no room, and the queue is unchanged.
    #[inline]
    pub fn try_send(&mut self, message: &[u8]) -> Result<()> {
        if self.push(message)? {
            Ok(())
        } else {
            Err(ShmError::QueueFull)
        }
    }

    /// Sends a message, and waits for room if there is none. `None` waits without a limit.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), with [`ShmError::Timeout`] in place of `QueueFull`, and
    /// [`ShmError::Interrupted`].
    pub fn send_timeout(&mut self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
        self.may_wait(timeout);
        if self.push(message)? {
            return Ok(());
        }
        self.wait_for_room(message.len(), timeout)?;
        if self.push(message)? {
            Ok(())
        } else {
            Err(ShmError::Corrupted)
        }
    }

    /// A call begins that waits for room if there is none, at most this long.
    #[inline(always)]
    pub(crate) fn may_wait(&mut self, timeout: Option<Duration>) {
        if timeout != Some(Duration::ZERO) && self.until_promise.is_due(self.producer.sent()) {
            self.session.consider_promise(Interest::Space);
        }
    }

    /// Waits until there is room for a message of `len` bytes.
    pub(crate) fn wait_for_room(&mut self, len: usize, timeout: Option<Duration>) -> Result<()> {
        let SendHalf { session, producer, .. } = self;
        let waited = session.wait_for(Interest::Space, timeout, Room { session, producer, len });
        if waited == Err(ShmError::Timeout) {
            // Finds the peer's death, however short the time is.
            self.check()?;
        }
        waited
    }

    /// Whether there is room for a message of `len` bytes, or the session is over, so that waiting is useless.
    pub(crate) fn has_room(&mut self, len: usize) -> bool {
        let found = self
            .session
            .check()
            .and_then(|()| self.producer.has_room(len).map_err(|what| self.session.corrupted(what)));
        found.unwrap_or(true)
    }

    #[inline]
    fn push(&mut self, message: &[u8]) -> Result<bool> {
        self.check_length(message.len())?;
        Ok(self.push_some([message])? == 1)
    }

    /// Whether a message may have `len` bytes.
    #[inline]
    pub(crate) fn check_length(&self, len: usize) -> Result<()> {
        self.producer.lengths().check(len)
    }

    /// Whether the session lives, as far as the section says and as the peer's process was asked for now and then.
    #[inline(always)]
    pub(crate) fn check(&mut self) -> Result<()> {
        self.watch.count(&self.session)
    }

    /// Sends messages, whose lengths are checked, as far as there is room. Returns the number of sent messages.
    #[inline]
    pub(crate) fn push_some<'a>(&mut self, messages: impl IntoIterator<Item = &'a [u8]>) -> Result<usize> {
        let session = &*self.session;
        self.watch.begin(session)?;
        session.check()?;
        let pushed = self.producer.push_some(messages).map_err(|what| session.corrupted(what))?;
        if pushed > 0 {
            fail_point!("send.published");
            session.announce_data(|| self.watch.peer_slept())?;
        }
        self.watch.end(session);
        Ok(pushed)
    }

    /// Returns the length of the longest message in bytes, in both directions.
    pub fn max_message_size(&self) -> usize {
        self.producer.lengths().longest()
    }

    /// Returns whether the peer is connected. Asks the kernel whether its process still runs.
    pub fn is_connected(&self) -> bool {
        self.session.check_process().is_ok()
    }

    /// Returns a handle by which another thread can end this endpoint's blocking calls.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.session.channel.interrupt.clone())
    }

    /// Returns the statistics of the sending direction; those of the receiving direction are zero.
    ///
    /// # Errors
    /// [`ShmError::Corrupted`], [`ShmError::Forked`].
    pub fn stats(&mut self) -> Result<ChannelStats> {
        self.session.channel.check_not_forked()?;
        let send_depth = self.producer.queued().map_err(|what| self.session.corrupted(what))?;
        self.producer.publish_counters();
        let (signals, sleeps) = self.session.signals_and_sleeps();
        Ok(ChannelStats {
            generation: self.session.generation,
            sent: self.producer.sent(),
            send_dropped: self.producer.evicted(),
            send_depth,
            signals,
            sleeps,
            ..ChannelStats::default()
        })
    }
}

/// A sender that waits for room.
struct Room<'a> {
    session: &'a Session,
    producer: &'a mut Producer,
    len: usize,
}

impl WaitCondition for Room<'_> {
    type Found = ();

    fn ready(&self) -> bool {
        true
    }

    fn attempt(&mut self) -> Result<Option<()>> {
        let room = self.producer.has_room(self.len).map_err(|what| self.session.corrupted(what))?;
        Ok(room.then_some(()))
    }
}
