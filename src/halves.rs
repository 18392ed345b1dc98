//! The two halves of an endpoint, for one thread or for two.

use crate::bytes::Destination;
use crate::error::{Result, ShmError};
use crate::layout::check_message;
use crate::ring::{Consumer, Pop, Producer};
use crate::session::{Interest, Session, WaitCondition};
use crate::sync::Arc;
use crate::waiting::Interrupter;
use crate::wake::HURRY;
use crate::watch::PeerWatch;
use std::time::Duration;

/// What a message did to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOutcome {
    /// How many of the oldest unread messages were evicted to make room.
    pub overwritten: u32,
    /// Whether the queue was empty before, as far as the sender knew without asking. It may lag: messages that the
    /// receiver has taken since the sender last needed room count as unread here.
    pub was_empty: bool,
}

/// A channel's figures, of the current session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ChannelStats {
    /// Which connection of this channel it is: a number that grows. An attempt that was withdrawn while it was
    /// answered counts too.
    pub generation: u32,
    /// Messages sent.
    pub sent: u64,
    /// Of these, messages evicted before the peer took them.
    pub send_dropped: u64,
    /// Messages sent that the peer has not taken yet.
    pub send_depth: usize,
    /// Messages received.
    pub received: u64,
    /// Messages that the peer evicted before we took them, as known from the messages received since.
    pub receive_dropped: u64,
    /// Messages that wait to be received.
    pub receive_depth: usize,
    /// Kernel signals sent: at most one for each of the peer's sleeps; one for each message where a program waits natively.
    pub signals: u64,
    /// How often this side announced that it was going to sleep, in a call or by [`ReceiveHalf::arm`]. (A last look
    /// after that may find a message, and then it doesn't.) On a channel without events: how often it slept.
    pub sleeps: u64,
}

/// The sending half of an endpoint. [`Send`], not [`Sync`]: one thread sends.
///
/// ```compile_fail
/// fn is_sync<T: Sync>() {}
/// is_sync::<xshm::SendHalf>();
/// ```
pub struct SendHalf {
    pub(crate) session: Arc<Session>,
    pub(crate) producer: Producer,
    pub(crate) watch: PeerWatch,
}

impl SendHalf {
    pub(crate) fn new(session: Arc<Session>, producer: Producer) -> Self {
        SendHalf { session, producer, watch: PeerWatch::new() }
    }

    /// Sends a message. Never waits: a full queue evicts its oldest messages.
    ///
    /// # Errors
    /// - [`ShmError::MessageTooSmall`], [`ShmError::MessageTooLarge`].
    /// - [`ShmError::NotConnected`], [`ShmError::PeerDied`]: the peer is known to be gone. The kernel is asked every 100 ms
    ///   whether its process still runs, or at every 4th call, whichever is later.
    /// - [`ShmError::QueueFull`]: no room, on a channel made with
    ///   [`reject_when_full`](crate::ServerOptions::reject_when_full).
    /// - [`ShmError::Corrupted`], [`ShmError::Forked`].
    ///
    /// Nothing was sent then; but a message that `Corrupted` follows may have been.
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

    /// Makes room for a message of `len` bytes, on a channel whose full queues evict. Returns how many were evicted.
    pub(crate) fn evict_for(&mut self, len: usize) -> Result<u32> {
        if self.session.channel.view.rejects() {
            return Err(ShmError::QueueFull);
        }
        let session = &self.session;
        let hurry = session.peer_wake().take(HURRY, 0).map_err(|what| session.corrupted(what))?;
        self.producer.make_room(len, hurry).map_err(|what| session.corrupted(what))
    }

    /// Sends a message if there's room for it.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`ShmError::QueueFull`]: the queue is as it was.
    #[inline]
    pub fn try_send(&mut self, message: &[u8]) -> Result<()> {
        if self.push(message)? {
            Ok(())
        } else {
            Err(ShmError::QueueFull)
        }
    }

    /// Sends a message, waiting for room if there's none. `None` waits for ever.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), with [`ShmError::Timeout`] in place of `QueueFull`, and
    /// [`ShmError::Interrupted`].
    pub fn send_timeout(&mut self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
        if self.push(message)? {
            return Ok(());
        }
        let SendHalf { session, producer, .. } = self;
        let waited =
            session.wait_for(Interest::Space, timeout, Room { session, producer, len: message.len() });
        if waited == Err(ShmError::Timeout) {
            // However short the time is, the peer's death is found.
            self.check()?;
        }
        waited?;
        if self.push(message)? {
            Ok(())
        } else {
            Err(ShmError::Corrupted)
        }
    }

    /// Whether there is room for a message of `len` bytes, or no more use in waiting for some.
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
        check_message(len, self.producer.longest_message())
    }

    /// Whether the session lives, as far as the section says and as the peer's process was asked for now and then.
    #[inline(always)]
    pub(crate) fn check(&mut self) -> Result<()> {
        self.watch.count(&self.session)?;
        self.session.check()
    }

    /// Sends messages, whose lengths are checked, as far as there is room. Returns how many.
    #[inline]
    pub(crate) fn push_some<'a>(&mut self, messages: impl IntoIterator<Item = &'a [u8]>) -> Result<usize> {
        self.check()?;
        let session = &*self.session;
        let pushed = self.producer.push_some(messages).map_err(|what| session.corrupted(what))?;
        if pushed > 0 {
            fail_point!("send.published");
            session.announce_data(|| self.watch.peer_slept())?;
        }
        Ok(pushed)
    }

    /// Whether the peer is there: asks the kernel too.
    pub fn is_connected(&self) -> bool {
        self.session.check_process().is_ok()
    }

    /// Ends blocking calls of this endpoint from another thread.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.session.channel.interrupt.clone())
    }

    /// The sending side of the session's figures; those of the receiving side are zero.
    ///
    /// # Errors
    /// [`ShmError::Corrupted`], [`ShmError::Forked`].
    pub fn stats(&mut self) -> Result<ChannelStats> {
        self.session.channel.check_home()?;
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

/// The receiving half of an endpoint. [`Send`], not [`Sync`]: one thread receives.
///
/// ```compile_fail
/// fn is_sync<T: Sync>() {}
/// is_sync::<xshm::ReceiveHalf>();
/// ```
pub struct ReceiveHalf {
    pub(crate) session: Arc<Session>,
    pub(crate) consumer: Consumer,
    pub(crate) watch: PeerWatch,
}

impl ReceiveHalf {
    pub(crate) fn new(session: Arc<Session>, consumer: Consumer) -> Self {
        ReceiveHalf { session, consumer, watch: PeerWatch::new() }
    }

    /// How often to ask an overwriting sender to hurry before giving up for now.
    const ROUNDS: usize = 64;

    /// Waits for a message and puts it in place of what `buffer` holds. Returns its length.
    ///
    /// # Errors
    /// - [`ShmError::NotConnected`], [`ShmError::PeerDied`]: the peer is gone, and all that it sent was received.
    /// - [`ShmError::Interrupted`], [`ShmError::Corrupted`], [`ShmError::Forked`].
    /// - [`ShmError::Timeout`] (or [`ShmError::QueueEmpty`], if it is zero): the endpoint's options set a
    ///   [`receive_timeout`](crate::ClientOptions::receive_timeout).
    #[inline]
    pub fn receive(&mut self, buffer: &mut Vec<u8>) -> Result<usize> {
        self.receive_to(buffer)
    }

    /// As [`receive`](Self::receive), into a buffer that doesn't grow.
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
    /// - [`ShmError::QueueEmpty`].
    /// - [`ShmError::NotConnected`], [`ShmError::PeerDied`]: the peer is known to be gone. Where there is no message, the
    ///   kernel is asked every 100 ms whether its process still runs, or at every 4th call, whichever is later.
    /// - [`ShmError::NotReady`]: the peer overwrites faster than messages can be taken. Try again.
    /// - [`ShmError::Corrupted`], [`ShmError::Forked`].
    #[inline]
    pub fn try_receive(&mut self, buffer: &mut Vec<u8>) -> Result<usize> {
        self.try_receive_to(buffer)
    }

    /// As [`try_receive`](Self::try_receive), into a buffer that doesn't grow.
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
        let checked = self.watch.count(&self.session).and_then(|()| self.session.check());
        let Err(over) = checked else { return Err(ShmError::QueueEmpty) };
        // What the peer sent before it left was published before we saw that it had left.
        take(&self.session, &mut self.consumer, to)?.ok_or(over)
    }

    /// As [`receive`](Self::receive), waiting at most this long; `None` waits for ever. Zero looks once.
    ///
    /// # Errors
    /// As `receive`, with [`ShmError::Timeout`].
    pub fn receive_timeout(&mut self, buffer: &mut Vec<u8>, timeout: Option<Duration>) -> Result<usize> {
        self.receive_within(buffer, timeout)
    }

    /// As [`receive_timeout`](Self::receive_timeout), into a buffer that doesn't grow.
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

    /// Waits until a message is there, and leaves it there. `Ok(false)`: none came in time. `None` waits for ever,
    /// zero looks once.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), without the timeout.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<bool> {
        let ReceiveHalf { session, consumer, watch } = self;
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

    /// Whether the peer is there: asks the kernel too. It may be gone with messages of its still in the queue.
    pub fn is_connected(&self) -> bool {
        self.session.check_process().is_ok()
    }

    /// Ends blocking calls of this endpoint from another thread.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.session.channel.interrupt.clone())
    }

    /// The receiving side of the session's figures; those of the sending side are zero.
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
fn take(session: &Session, consumer: &mut Consumer, to: &mut impl Destination) -> Result<Option<usize>> {
    session.check_queue()?;
    match consumer.pop(to).map_err(|what| session.corrupted(what))? {
        Pop::Busy => take_from_a_hurrying_sender(session, consumer, to),
        pop => taken(session, pop),
    }
}

#[inline(always)]
fn taken(session: &Session, pop: Pop) -> Result<Option<usize>> {
    match pop {
        Pop::Message(len) => {
            fail_point!("receive.taken");
            session.announce_space()?;
            Ok(Some(len))
        }
        Pop::Empty => Ok(None),
        Pop::TooSmall(needed) => Err(ShmError::BufferTooSmall { needed }),
        Pop::Busy => Err(ShmError::NotReady),
    }
}

/// Messages are evicted as fast as we try to take them: asks the sender to drop half of its queue at once.
#[cold]
fn take_from_a_hurrying_sender(
    session: &Session, consumer: &mut Consumer, to: &mut impl Destination,
) -> Result<Option<usize>> {
    let mut pop = Pop::Busy;
    for _ in 1..ReceiveHalf::ROUNDS {
        // Each time: the sender takes the interest back with the half that it drops.
        session.own_wake().set(HURRY).map_err(|what| session.corrupted(what))?;
        pop = consumer.pop(to).map_err(|what| session.corrupted(what))?;
        if pop != Pop::Busy {
            break;
        }
    }
    session.own_wake().clear(HURRY).map_err(|what| session.corrupted(what))?;
    taken(session, pop)
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
