//! What both ends of a channel share: sending, receiving, waiting, and the two halves for two threads.

use crate::access::PeerIdentity;
use crate::bytes::Destination;
use crate::error::{Result, ShmError};
use crate::events::EventHandles;
use crate::layout::check_message;
use crate::ring::{Consumer, Pop, Producer};
use crate::session::{Channel, Interrupter, Session, Wish};
use crate::sync::Arc;
use crate::wake::HURRY;
use std::cell::RefCell;
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
    /// Kernel signals sent: one for each time the peer had gone to sleep.
    pub signals: u64,
    /// Kernel waits begun.
    pub sleeps: u64,
}

/// The sending half of an endpoint. [`Send`], not [`Sync`]: one thread sends.
///
/// ```compile_fail
/// fn is_sync<T: Sync>() {}
/// is_sync::<xshm::SendHalf>();
/// ```
pub struct SendHalf {
    session: Arc<Session>,
    producer: Producer,
}

impl SendHalf {
    /// Sends a message. Never waits: a full queue evicts its oldest messages.
    ///
    /// # Errors
    /// - [`ShmError::MessageTooSmall`], [`ShmError::MessageTooLarge`].
    /// - [`ShmError::NotConnected`], [`ShmError::PeerDied`]: the peer is known to be gone.
    /// - [`ShmError::QueueFull`]: no room, on a channel made with
    ///   [`reject_when_full`](crate::ServerOptions::reject_when_full).
    /// - [`ShmError::Corrupted`].
    ///
    /// Nothing was sent then.
    #[inline]
    pub fn send(&mut self, message: &[u8]) -> Result<WriteOutcome> {
        let was_empty = self.producer.seems_empty();
        if self.push(message)? {
            return Ok(WriteOutcome { overwritten: 0, was_empty });
        }
        if self.session.channel.view.rejects() {
            return Err(ShmError::QueueFull);
        }
        let session = &self.session;
        let hurry = session.peer_wake().take(HURRY, 0).map_err(|what| session.corrupted(what))?;
        let made = self.producer.make_room(message.len(), hurry);
        let overwritten = made.map_err(|what| session.corrupted(what))?;
        let pushed = self.push(message)?;
        debug_assert!(pushed, "room was made");
        Ok(WriteOutcome { overwritten, was_empty: false })
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
        let SendHalf { session, producer } = self;
        session.wait_for(Wish::Space, timeout, || {
            let room = producer.has_room(message.len()).map_err(|what| session.corrupted(what))?;
            Ok(room.then_some(()))
        })?;
        if self.push(message)? {
            Ok(())
        } else {
            Err(ShmError::Corrupted)
        }
    }

    #[inline]
    fn push(&mut self, message: &[u8]) -> Result<bool> {
        let session = &*self.session;
        check_message(message.len(), session.channel.view.geometry().longest_message())?;
        session.check()?;
        let pushed = self.producer.try_push(message).map_err(|what| session.corrupted(what))?;
        if pushed {
            session.wake_peer_for(Wish::Data)?;
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
    /// [`ShmError::Corrupted`].
    pub fn stats(&mut self) -> Result<ChannelStats> {
        let send_depth = self.producer.queued().map_err(|what| self.session.corrupted(what))?;
        self.producer.publish_counters();
        let (signals, sleeps) = self.session.kernel_calls();
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
    session: Arc<Session>,
    consumer: Consumer,
    /// The peer was asked to hurry, and may not have done it yet.
    hurried: bool,
}

impl ReceiveHalf {
    /// How often to ask an overwriting sender to hurry before giving up for now.
    const ROUNDS: usize = 64;

    /// Waits for a message and puts it in place of what `buffer` holds. Returns its length.
    ///
    /// # Errors
    /// - [`ShmError::NotConnected`], [`ShmError::PeerDied`]: the peer is gone, and all that it sent was received.
    /// - [`ShmError::Interrupted`], [`ShmError::Corrupted`].
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

    fn receive_to(&mut self, to: &mut impl Destination) -> Result<usize> {
        match self.session.channel.tuning.receive_timeout {
            Some(Duration::ZERO) => self.try_receive_to(to),
            bound => self.receive_within(to, bound),
        }
    }

    /// Takes a message if there is one. Never waits.
    ///
    /// # Errors
    /// - [`ShmError::QueueEmpty`].
    /// - [`ShmError::NotConnected`], [`ShmError::PeerDied`]: the peer is known to be gone. No kernel call is spent
    ///   on finding out whether its process still runs; [`is_connected`](Self::is_connected) does that.
    /// - [`ShmError::NotReady`]: the peer overwrites faster than messages can be taken. Try again.
    /// - [`ShmError::Corrupted`].
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
    fn try_receive_to(&mut self, to: &mut impl Destination) -> Result<usize> {
        if let Some(len) = self.take(to)? {
            return Ok(len);
        }
        let Err(over) = self.session.check() else { return Err(ShmError::QueueEmpty) };
        // What the peer sent before it left was published before we saw that it had left.
        self.take(to)?.ok_or(over)
    }

    /// Takes a message, if there is one, and wakes a sender that waits for room.
    #[inline]
    fn take(&mut self, to: &mut impl Destination) -> Result<Option<usize>> {
        let session = &*self.session;
        if session.is_corrupted() {
            return Err(ShmError::Corrupted);
        }
        let mut outcome = Err(ShmError::NotReady);
        for _ in 0..Self::ROUNDS {
            outcome = match self.consumer.pop(to).map_err(|what| session.corrupted(what))? {
                Pop::Message(len) => Ok(Some(len)),
                Pop::Empty => Ok(None),
                Pop::TooSmall(needed) => Err(ShmError::BufferTooSmall { needed }),
                Pop::Busy => {
                    self.hurried = true;
                    session.own_wake().set(HURRY).map_err(|what| session.corrupted(what))?;
                    continue;
                }
            };
            break;
        }
        if self.hurried {
            self.hurried = false;
            session.own_wake().clear(HURRY).map_err(|what| session.corrupted(what))?;
        }
        if let Ok(Some(_)) = outcome {
            session.wake_peer_for(Wish::Space)?;
        }
        outcome
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
        &mut self,
        mut buffer: &mut [u8],
        timeout: Option<Duration>,
    ) -> Result<usize> {
        self.receive_within(&mut buffer, timeout)
    }

    #[inline]
    fn receive_within(&mut self, to: &mut impl Destination, timeout: Option<Duration>) -> Result<usize> {
        let session = self.session.clone();
        session.wait_for(Wish::Data, timeout, || self.take(to))
    }

    /// Waits until a message is there, and leaves it there. `Ok(false)`: none came in time. `None` waits for ever,
    /// zero looks once.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), without the timeout.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<bool> {
        let session = self.session.clone();
        let found = session.wait_for(Wish::Data, timeout, || {
            if session.is_corrupted() {
                return Err(ShmError::Corrupted);
            }
            match self.consumer.peek().map_err(|what| session.corrupted(what))? {
                Some(there) => Ok(there.then_some(())),
                None => Err(ShmError::NotReady),
            }
        });
        match found {
            // Messages come and go faster than they can be looked at.
            Ok(()) | Err(ShmError::NotReady) => Ok(true),
            Err(ShmError::Timeout) => Ok(false),
            Err(error) => Err(error),
        }
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
        let (signals, sleeps) = self.session.kernel_calls();
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

/// A channel's end: connected or not.
pub(crate) struct Endpoint {
    pub(crate) channel: Arc<Channel>,
    connection: Option<Connection>,
}

struct Connection {
    session: Arc<Session>,
    sender: RefCell<SendHalf>,
    receiver: RefCell<ReceiveHalf>,
}

impl Endpoint {
    pub(crate) fn new(channel: Arc<Channel>) -> Self {
        Endpoint { channel, connection: None }
    }

    /// Begins a session, with rings that the handshake has emptied.
    pub(crate) fn begin(&mut self, session: Session) {
        let session = Arc::new(session);
        let view = &self.channel.view;
        let (limit, generation) = (view.geometry().message_limit(), session.generation);
        // SAFETY: each half holds the session, and through it the view.
        let (sends, receives) =
            unsafe { (view.ring(self.channel.side.sends()), view.ring(self.channel.side.receives())) };
        self.connection = Some(Connection {
            sender: RefCell::new(SendHalf {
                session: session.clone(),
                producer: Producer::new(sends, limit, generation),
            }),
            receiver: RefCell::new(ReceiveHalf {
                session: session.clone(),
                consumer: Consumer::new(receives, generation),
                hurried: false,
            }),
            session,
        });
    }

    /// Ends the session on this side and says which it was.
    pub(crate) fn end(&mut self) -> Option<Arc<Session>> {
        self.connection.take().map(|connection| connection.session)
    }

    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        self.connection.as_ref().map(|connection| &connection.session)
    }

    /// Lends the sending half.
    ///
    /// # Errors
    /// [`ShmError::NotConnected`]; [`ShmError::NotReady`] to an event hook that runs while it is lent.
    #[inline]
    pub(crate) fn sender<R>(&self, call: impl FnOnce(&mut SendHalf) -> Result<R>) -> Result<R> {
        let connection = self.connection.as_ref().ok_or(ShmError::NotConnected)?;
        call(&mut *connection.sender.try_borrow_mut().map_err(|_| ShmError::NotReady)?)
    }

    /// Lends the receiving half, likewise.
    #[inline]
    pub(crate) fn receiver<R>(&self, call: impl FnOnce(&mut ReceiveHalf) -> Result<R>) -> Result<R> {
        let connection = self.connection.as_ref().ok_or(ShmError::NotConnected)?;
        call(&mut *connection.receiver.try_borrow_mut().map_err(|_| ShmError::NotReady)?)
    }

    pub(crate) fn split(&mut self) -> Result<(&mut SendHalf, &mut ReceiveHalf)> {
        let connection = self.connection.as_mut().ok_or(ShmError::NotConnected)?;
        Ok((connection.sender.get_mut(), connection.receiver.get_mut()))
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.session().is_some_and(|session| session.check_process().is_ok())
    }

    pub(crate) fn stats(&self) -> Result<ChannelStats> {
        let sending = self.sender(|sender| sender.stats())?;
        let receiving = self.receiver(|receiver| Ok(receiver.stats()))?;
        Ok(ChannelStats {
            sent: sending.sent,
            send_dropped: sending.send_dropped,
            send_depth: sending.send_depth,
            ..receiving
        })
    }

    pub(crate) fn peer(&self) -> Option<PeerIdentity> {
        self.session().map(|session| session.peer.identity())
    }

    pub(crate) fn interrupter(&self) -> Interrupter {
        Interrupter(self.channel.interrupt.clone())
    }

    pub(crate) fn event_handles(&self) -> Option<EventHandles> {
        self.channel.export(self.session().map(|session| &**session))
    }
}

/// The methods that a server and a client have alike, under names that say who is at the other end.
macro_rules! mirrored_methods {
    ($peer:literal, $send:ident, $try_send:ident, $send_timeout:ident, $receive:ident, $receive_into:ident,
     $try_receive:ident, $try_receive_into:ident, $receive_timeout:ident, $receive_timeout_into:ident,
     $poll:ident) => {
        #[doc = concat!("Sends a message to the ", $peer, ". Never waits: see [`SendHalf::send`].")]
        ///
        /// # Errors
        #[doc = concat!("As there; [`ShmError::NotConnected`] too before there is a ", $peer, ".")]
        #[inline]
        pub fn $send(&self, message: &[u8]) -> Result<WriteOutcome> {
            self.endpoint.sender(|sender| sender.send(message))
        }

        #[doc = concat!("Sends a message to the ", $peer, " if there's room: see [`SendHalf::try_send`].")]
        ///
        /// # Errors
        /// As there.
        #[inline]
        pub fn $try_send(&self, message: &[u8]) -> Result<()> {
            self.endpoint.sender(|sender| sender.try_send(message))
        }

        #[doc = concat!("Sends a message to the ", $peer, ", waiting for room: see [`SendHalf::send_timeout`].")]
        ///
        /// # Errors
        /// As there.
        pub fn $send_timeout(&self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
            self.endpoint.sender(|sender| sender.send_timeout(message, timeout))
        }

        #[doc = concat!("Waits for a message of the ", $peer, ": see [`ReceiveHalf::receive`].")]
        ///
        /// # Errors
        /// As there.
        #[inline]
        pub fn $receive(&self, buffer: &mut Vec<u8>) -> Result<usize> {
            self.endpoint.receiver(|receiver| receiver.receive(buffer))
        }

        #[doc = concat!("Waits for a message of the ", $peer, ": see [`ReceiveHalf::receive_into`].")]
        ///
        /// # Errors
        /// As there.
        #[inline]
        pub fn $receive_into(&self, buffer: &mut [u8]) -> Result<usize> {
            self.endpoint.receiver(|receiver| receiver.receive_into(buffer))
        }

        #[doc = concat!("Takes a message of the ", $peer, " if there is one: see [`ReceiveHalf::try_receive`].")]
        ///
        /// # Errors
        /// As there.
        #[inline]
        pub fn $try_receive(&self, buffer: &mut Vec<u8>) -> Result<usize> {
            self.endpoint.receiver(|receiver| receiver.try_receive(buffer))
        }

        #[doc = concat!("Takes a message of the ", $peer, " if there is one: see")]
        /// [`ReceiveHalf::try_receive_into`].
        ///
        /// # Errors
        /// As there.
        #[inline]
        pub fn $try_receive_into(&self, buffer: &mut [u8]) -> Result<usize> {
            self.endpoint.receiver(|receiver| receiver.try_receive_into(buffer))
        }

        #[doc = concat!("Waits a while for a message of the ", $peer, ": see [`ReceiveHalf::receive_timeout`].")]
        ///
        /// # Errors
        /// As there.
        pub fn $receive_timeout(&self, buffer: &mut Vec<u8>, timeout: Option<Duration>) -> Result<usize> {
            self.endpoint.receiver(|receiver| receiver.receive_timeout(buffer, timeout))
        }

        #[doc = concat!("Waits a while for a message of the ", $peer, ": see")]
        /// [`ReceiveHalf::receive_timeout_into`].
        ///
        /// # Errors
        /// As there.
        pub fn $receive_timeout_into(&self, buffer: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
            self.endpoint.receiver(|receiver| receiver.receive_timeout_into(buffer, timeout))
        }

        #[doc = concat!("Whether a message of the ", $peer, " is there, waiting for one: see [`ReceiveHalf::poll`].")]
        ///
        /// # Errors
        /// As there.
        pub fn $poll(&self, timeout: Option<Duration>) -> Result<bool> {
            self.endpoint.receiver(|receiver| receiver.poll(timeout))
        }

        #[doc = concat!("Whether a ", $peer, " is there: asks the kernel whether its process still runs.")]
        pub fn is_connected(&self) -> bool {
            self.endpoint.is_connected()
        }

        #[doc = concat!("Who the ", $peer, " is. `None` before there was one.")]
        pub fn peer(&self) -> Option<PeerIdentity> {
            self.endpoint.peer()
        }

        /// The session's figures.
        ///
        /// # Errors
        /// [`ShmError::NotConnected`] before the first session, [`ShmError::Corrupted`].
        pub fn stats(&self) -> Result<ChannelStats> {
            self.endpoint.stats()
        }

        /// A handle that ends the blocking calls of this endpoint from another thread.
        pub fn interrupter(&self) -> Interrupter {
            self.endpoint.interrupter()
        }

        /// The two halves, for two threads at once, for example those of [`std::thread::scope`].
        ///
        /// # Errors
        /// [`ShmError::NotConnected`] before the first session.
        pub fn split(&mut self) -> Result<(&mut SendHalf, &mut ReceiveHalf)> {
            self.endpoint.split()
        }
    };
}
pub(crate) use mirrored_methods;
