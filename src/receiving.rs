//! The receiving half of an endpoint.

use crate::bytes::Destination;
use crate::error::{Result, ShmError};
use crate::figures::ChannelStats;
use crate::ring::{Consumer, Pop};
use crate::session::{Interest, Session, UntilPromise, WaitCondition};
use crate::sync::Arc;
use crate::sys;
use crate::waiting::Interrupter;
use crate::wake::PRESSURE;
use crate::watch::PeerWatch;
use std::time::Duration;

/// The receiving half of an endpoint. It is [`Send`], not [`Sync`]: one thread at a time receives.
///
/// ```compile_fail
/// fn is_sync<T: Sync>() {}
/// is_sync::<xshm::ReceiveHalf>();
/// ```
pub struct ReceiveHalf {
    pub(crate) session: Arc<Session>,
    pub(crate) consumer: Consumer,
    pub(crate) watch: PeerWatch,
    until_promise: UntilPromise,
}

impl std::fmt::Debug for ReceiveHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveHalf").field("peer", &self.session.peer.identity()).finish_non_exhaustive()
    }
}

impl ReceiveHalf {
    pub(crate) fn new(session: Arc<Session>, consumer: Consumer) -> Self {
        ReceiveHalf { session, consumer, watch: PeerWatch::new(), until_promise: UntilPromise::default() }
    }

    /// How often a call asks an overwriting sender to drop half of its queue, before it fails with [`ShmError::NotReady`].
    const ROUNDS: usize = 64;

    /// Waits for a message, and replaces the contents of `buffer` with it. Returns the message's length.
    ///
    /// # Errors
    /// - [`ShmError::NotConnected`], [`ShmError::PeerDied`]: the peer is gone, and everything that it sent was received.
    /// - [`ShmError::Interrupted`], [`ShmError::Corrupted`], [`ShmError::Forked`].
    /// - [`ShmError::Timeout`]: the time that the option [`receive_timeout`](crate::ClientOptions::receive_timeout) sets has
    ///   passed. If this time is zero, the error is [`ShmError::QueueEmpty`].
    #[inline]
    pub fn receive(&mut self, buffer: &mut Vec<u8>) -> Result<usize> {
        self.receive_to(buffer)
    }

    /// Does the same as [`receive`](Self::receive), with a buffer of fixed size.
    ///
    /// # Errors
    /// As `receive`, and [`ShmError::BufferTooSmall`]: the message stays in the queue.
    #[inline]
    pub fn receive_into(&mut self, mut buffer: &mut [u8]) -> Result<usize> {
        self.receive_to(&mut buffer)
    }

    #[inline]
    pub(crate) fn receive_to(&mut self, to: &mut impl Destination) -> Result<usize> {
        match self.session.channel.tuning.receive_timeout {
            Some(Duration::ZERO) => self.try_receive_to(to),
            bound => self.receive_within(to, bound),
        }
    }

    /// Takes a message if there is one. Never waits.
    ///
    /// # Errors
    /// - [`ShmError::QueueEmpty`]: there is no message.
    /// - [`ShmError::NotConnected`], [`ShmError::PeerDied`]: the peer is known to be gone. If there is no message, this half
    ///   asks the kernel whether the peer runs: every 100 ms, or at every third call, whichever is later.
    /// - [`ShmError::NotReady`]: the peer overwrites messages faster than this call can take one. Try again.
    /// - [`ShmError::Corrupted`], [`ShmError::Forked`].
    #[inline]
    pub fn try_receive(&mut self, buffer: &mut Vec<u8>) -> Result<usize> {
        self.try_receive_to(buffer)
    }

    /// Does the same as [`try_receive`](Self::try_receive), with a buffer of fixed size.
    ///
    /// # Errors
    /// As `try_receive`, and [`ShmError::BufferTooSmall`]: the message stays in the queue.
    #[inline]
    pub fn try_receive_into(&mut self, mut buffer: &mut [u8]) -> Result<usize> {
        self.try_receive_to(&mut buffer)
    }

    #[inline]
    pub(crate) fn try_receive_to(&mut self, to: &mut impl Destination) -> Result<usize> {
        if let Some(len) = take(&self.session, &mut self.consumer, to)? {
            return Ok(len);
        }
        let Err(over) = self.watch.count(&self.session) else { return Err(ShmError::QueueEmpty) };
        // What the peer sent before it left was published before we saw that it had left.
        take(&self.session, &mut self.consumer, to)?.ok_or(over)
    }

    /// Does the same as [`receive`](Self::receive), but waits at most `timeout`. `None` waits without a limit; zero checks
    /// once.
    ///
    /// # Errors
    /// As `receive`. [`ShmError::Timeout`]: `timeout` has passed, also if it is zero.
    pub fn receive_timeout(&mut self, buffer: &mut Vec<u8>, timeout: Option<Duration>) -> Result<usize> {
        self.receive_within(buffer, timeout)
    }

    /// Does the same as [`receive_timeout`](Self::receive_timeout), with a buffer of fixed size.
    ///
    /// # Errors
    /// As `receive_timeout`, and [`ShmError::BufferTooSmall`]: the message stays in the queue.
    pub fn receive_timeout_into(
        &mut self, mut buffer: &mut [u8], timeout: Option<Duration>,
    ) -> Result<usize> {
        self.receive_within(&mut buffer, timeout)
    }

    #[inline]
    pub(crate) fn receive_within(
        &mut self, to: &mut impl Destination, timeout: Option<Duration>,
    ) -> Result<usize> {
        self.may_wait(timeout);
        let ReceiveHalf { session, consumer, .. } = self;
        match session.wait_for(Interest::Data, timeout, Taking { session, consumer, to }) {
            // However short the time is, the peer's death is found.
            Err(ShmError::Timeout) => self.try_receive_to(to).map_err(|error| match error {
                ShmError::QueueEmpty => ShmError::Timeout,
                other => other,
            }),
            other => other,
        }
    }

    /// A call begins that waits for a message if there is none, at most this long.
    #[inline(always)]
    fn may_wait(&mut self, timeout: Option<Duration>) {
        if timeout != Some(Duration::ZERO) && self.until_promise.is_due(self.consumer.received()) {
            self.session.consider_promise(Interest::Data);
        }
    }

    /// Waits until a message is there, and leaves it in the queue. `Ok(false)`: no message came in time. `None` waits without a
    /// limit; zero checks once.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), except `Timeout` and `QueueEmpty`.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<bool> {
        self.may_wait(timeout);
        let ReceiveHalf { session, consumer, watch, .. } = self;
        let mut found = session.wait_for(Interest::Data, timeout, Peeking { session, consumer });
        if let (Err(ShmError::Timeout), Err(over)) = (&found, watch.count(session)) {
            // What the peer sent before its end comes first.
            found = peek(session, consumer)?.ok_or(over);
        }
        match found {
            // Messages come and go faster than they can be looked at.
            Ok(()) | Err(ShmError::NotReady) => Ok(true),
            Err(ShmError::Timeout) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How many messages the peer has sent since the last one that was taken.
    #[cfg(all(feature = "c-api", not(loom)))]
    pub(crate) fn not_taken(&self) -> u64 {
        self.consumer.not_taken(self.session.channel.view.geometry().message_limit())
    }

    /// Whether a message is there, for a [`WaitCondition`].
    pub(crate) fn peek(&mut self) -> Result<Option<()>> {
        peek(&self.session, &mut self.consumer)
    }

    /// Returns whether the peer is connected. Asks the kernel whether its process still runs. If the peer is gone, its messages
    /// may still be in the queue.
    pub fn is_connected(&self) -> bool {
        self.session.check_process().is_ok()
    }

    /// Returns a handle by which another thread can end this endpoint's blocking calls.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.session.channel.interrupt.clone())
    }

    /// Returns the statistics of the receiving direction; those of the sending direction are zero.
    pub fn stats(&self) -> ChannelStats {
        let (signals, sleeps) = self.session.signals_and_sleeps();
        ChannelStats {
            generation: self.session.generation,
            received: self.consumer.received(),
            receive_dropped: self.consumer.lost(),
            receive_depth: self.consumer.queued(self.session.channel.view.geometry().message_limit()),
            signals,
            sleeps,
            ..ChannelStats::default()
        }
    }
}

/// Takes a message, if there is one, and wakes a sender that waits for room.
#[inline(always)]
fn take<D: Destination>(session: &Session, consumer: &mut Consumer, to: &mut D) -> Result<Option<usize>> {
    session.check_queue()?;
    match consumer.pop(to).map_err(|what| session.corrupted(what))? {
        Pop::Busy => take_under_eviction_pressure(session, consumer, to),
        pop => taken::<D>(session, pop),
    }
}

#[inline(always)]
fn taken<D: Destination>(session: &Session, pop: Pop) -> Result<Option<usize>> {
    match pop {
        Pop::Message(len) => {
            fail_point!("receive.taken");
            session.announce_space()?;
            Ok(Some(len))
        }
        Pop::Empty => Ok(None),
        Pop::TooSmall(_) if D::GROWS => Err(sys::out_of_memory("making room for a message")),
        Pop::TooSmall(needed) => Err(ShmError::BufferTooSmall { needed }),
        Pop::Busy => Err(ShmError::NotReady),
    }
}

/// Messages are evicted as fast as we try to take them: asks the sender to drop half of its queue at once.
#[cold]
fn take_under_eviction_pressure<D: Destination>(
    session: &Session, consumer: &mut Consumer, to: &mut D,
) -> Result<Option<usize>> {
    let mut pop = Pop::Busy;
    let most_discarded = consumer.discarded() + consumer.most_discarded();
    for _ in 1..ReceiveHalf::ROUNDS {
        // Each time, since the sender clears the bit when it drops half of its queue.
        session.own_wake().set(PRESSURE).map_err(|what| session.corrupted(what))?;
        pop = consumer.pop(to).map_err(|what| session.corrupted(what))?;
        if pop != Pop::Busy || consumer.discarded() >= most_discarded {
            break;
        }
    }
    session.own_wake().clear(PRESSURE).map_err(|what| session.corrupted(what))?;
    taken::<D>(session, pop)
}

/// Looks whether there is a message.
fn peek(session: &Session, consumer: &mut Consumer) -> Result<Option<()>> {
    session.check_queue()?;
    match consumer.peek().map_err(|what| session.corrupted(what))? {
        Some(there) => Ok(there.then_some(())),
        None => Err(ShmError::NotReady),
    }
}

/// A receiver that waits for a message to take.
struct Taking<'a, D> {
    session: &'a Session,
    consumer: &'a mut Consumer,
    to: &'a mut D,
}

impl<D: Destination> WaitCondition for Taking<'_, D> {
    type Found = usize;

    #[inline(always)]
    fn ready(&self) -> bool {
        self.consumer.looks_ready()
    }

    #[inline(always)]
    fn attempt(&mut self) -> Result<Option<usize>> {
        take(self.session, self.consumer, self.to)
    }
}

/// A receiver that waits for a message and leaves it there.
struct Peeking<'a> {
    session: &'a Session,
    consumer: &'a mut Consumer,
}

impl WaitCondition for Peeking<'_> {
    type Found = ();

    fn ready(&self) -> bool {
        self.consumer.looks_ready()
    }

    fn attempt(&mut self) -> Result<Option<()>> {
        peek(self.session, self.consumer)
    }
}
