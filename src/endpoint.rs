//! What a server and a client share.

use crate::error::{Result, ShmError};
use crate::halves::{ChannelStats, ReceiveHalf, SendHalf};
use crate::ring::{Consumer, Producer};
use crate::session::Session;
use crate::sync::Arc;
use crate::waiting::{Interrupt, Interrupter};
use std::cell::RefCell;

/// One end of a channel, with the present or the last session, if there was one.
pub(crate) struct Endpoint {
    interrupt: Arc<Interrupt>,
    connection: Option<Connection>,
}

struct Connection {
    session: Arc<Session>,
    sender: RefCell<SendHalf>,
    receiver: RefCell<ReceiveHalf>,
}

impl Endpoint {
    pub(crate) fn new(interrupt: Arc<Interrupt>) -> Self {
        Endpoint { interrupt, connection: None }
    }

    /// Begins a session, with rings that the handshake has emptied.
    pub(crate) fn begin(&mut self, session: Arc<Session>) {
        let channel = &session.channel;
        let (limit, generation) = (channel.view.geometry().message_limit(), session.generation);
        // SAFETY: each half holds the session, and through it the view.
        let (sends, receives) =
            unsafe { (channel.view.ring(channel.side.sends()), channel.view.ring(channel.side.receives())) };
        let sender = SendHalf::new(session.clone(), Producer::new(sends, limit, generation));
        self.put(sender, ReceiveHalf::new(session.clone(), Consumer::new(receives, generation)));
    }

    /// Drops the halves of the last session.
    pub(crate) fn release(&mut self) {
        self.connection = None;
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

    /// Gives both halves away: the session goes on without the endpoint.
    pub(crate) fn take(&mut self) -> Option<(SendHalf, ReceiveHalf)> {
        let connection = self.connection.take()?;
        Some((connection.sender.into_inner(), connection.receiver.into_inner()))
    }

    /// Takes the halves of a session: new ones, or those that [`take`](Self::take) gave away.
    pub(crate) fn put(&mut self, sender: SendHalf, receiver: ReceiveHalf) {
        self.connection = Some(Connection {
            session: sender.session.clone(),
            sender: RefCell::new(sender),
            receiver: RefCell::new(receiver),
        });
    }

    pub(crate) fn split(&mut self) -> Result<(&mut SendHalf, &mut ReceiveHalf)> {
        let connection = self.connection.as_mut().ok_or(ShmError::NotConnected)?;
        Ok((connection.sender.get_mut(), connection.receiver.get_mut()))
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

    pub(crate) fn interrupter(&self) -> Interrupter {
        Interrupter(self.interrupt.clone())
    }
}

/// The methods that a server and a client share. Their names contain the peer's role.
macro_rules! mirrored_methods {
    ($peer:literal, $send:ident, $try_send:ident, $send_timeout:ident, $receive:ident, $receive_into:ident,
     $try_receive:ident, $try_receive_into:ident, $receive_timeout:ident, $receive_timeout_into:ident,
     $poll:ident) => {
        #[doc = concat!("Sends a message to the ", $peer, ". Never waits: see [`SendHalf::send`].")]
        ///
        /// # Errors
        #[doc = concat!("As [`SendHalf::send`]; [`ShmError::NotConnected`] also means that there was no ", $peer, " yet.")]
        #[inline]
        pub fn $send(&self, message: &[u8]) -> Result<WriteOutcome> {
            self.endpoint.sender(|sender| sender.send(message))
        }

        #[doc = concat!("Sends a message to the ", $peer, " if there is room: see [`SendHalf::try_send`].")]
        ///
        /// # Errors
        /// As [`SendHalf::try_send`].
        #[inline]
        pub fn $try_send(&self, message: &[u8]) -> Result<()> {
            self.endpoint.sender(|sender| sender.try_send(message))
        }

        #[doc = concat!("Sends a message to the ", $peer, ", and waits for room: see [`SendHalf::send_timeout`].")]
        ///
        /// # Errors
        /// As [`SendHalf::send_timeout`].
        pub fn $send_timeout(&self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
            self.endpoint.sender(|sender| sender.send_timeout(message, timeout))
        }

        #[doc = concat!("Waits for a message from the ", $peer, ": see [`ReceiveHalf::receive`].")]
        ///
        /// # Errors
        /// As [`ReceiveHalf::receive`].
        #[inline]
        pub fn $receive(&self, buffer: &mut Vec<u8>) -> Result<usize> {
            self.endpoint.receiver(|receiver| receiver.receive(buffer))
        }

        #[doc = concat!("Waits for a message from the ", $peer, ": see [`ReceiveHalf::receive_into`].")]
        ///
        /// # Errors
        /// As [`ReceiveHalf::receive_into`].
        #[inline]
        pub fn $receive_into(&self, buffer: &mut [u8]) -> Result<usize> {
            self.endpoint.receiver(|receiver| receiver.receive_into(buffer))
        }

        #[doc = concat!("Takes a message from the ", $peer, " if there is one: see [`ReceiveHalf::try_receive`].")]
        ///
        /// # Errors
        /// As [`ReceiveHalf::try_receive`].
        #[inline]
        pub fn $try_receive(&self, buffer: &mut Vec<u8>) -> Result<usize> {
            self.endpoint.receiver(|receiver| receiver.try_receive(buffer))
        }

        #[doc = concat!("Takes a message from the ", $peer, " if there is one: see")]
        /// [`ReceiveHalf::try_receive_into`].
        ///
        /// # Errors
        /// As [`ReceiveHalf::try_receive_into`].
        #[inline]
        pub fn $try_receive_into(&self, buffer: &mut [u8]) -> Result<usize> {
            self.endpoint.receiver(|receiver| receiver.try_receive_into(buffer))
        }

        #[doc = concat!("Waits, with a time limit, for a message from the ", $peer, ": see [`ReceiveHalf::receive_timeout`].")]
        ///
        /// # Errors
        /// As [`ReceiveHalf::receive_timeout`].
        pub fn $receive_timeout(&self, buffer: &mut Vec<u8>, timeout: Option<Duration>) -> Result<usize> {
            self.endpoint.receiver(|receiver| receiver.receive_timeout(buffer, timeout))
        }

        #[doc = concat!("Waits, with a time limit, for a message from the ", $peer, ": see")]
        /// [`ReceiveHalf::receive_timeout_into`].
        ///
        /// # Errors
        /// As [`ReceiveHalf::receive_timeout_into`].
        pub fn $receive_timeout_into(&self, buffer: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
            self.endpoint.receiver(|receiver| receiver.receive_timeout_into(buffer, timeout))
        }

        #[doc = concat!("Waits until a message from the ", $peer, " is there, and leaves it there: see [`ReceiveHalf::poll`].")]
        ///
        /// # Errors
        /// As [`ReceiveHalf::poll`].
        pub fn $poll(&self, timeout: Option<Duration>) -> Result<bool> {
            self.endpoint.receiver(|receiver| receiver.poll(timeout))
        }

        #[doc = concat!("Returns whether a ", $peer, " is connected. Asks the kernel whether its process still runs.")]
        pub fn is_connected(&self) -> bool {
            self.endpoint.session().is_some_and(|session| session.check_process().is_ok())
        }

        #[doc = concat!("Returns the process and the user of the ", $peer, ". `None`: there was no ", $peer, " yet.")]
        pub fn peer(&self) -> Option<PeerIdentity> {
            self.endpoint.session().map(|session| session.peer.identity())
        }

        /// Returns the session's statistics.
        ///
        /// # Errors
        /// [`ShmError::NotConnected`] before the first session, [`ShmError::Corrupted`], [`ShmError::Forked`].
        pub fn stats(&self) -> Result<ChannelStats> {
            self.endpoint.stats()
        }

        /// Returns a handle by which another thread can end this endpoint's blocking calls.
        pub fn interrupter(&self) -> Interrupter {
            self.endpoint.interrupter()
        }

        /// Splits the endpoint into two halves that own it, for two threads that live as long as they like.
        /// [`OwnedSendHalf::rejoin`](crate::OwnedSendHalf::rejoin) makes one endpoint of them again.
        ///
        /// # Errors
        /// [`SplitError`](crate::SplitError): there was no session yet. The error has the endpoint.
        pub fn into_split(
            self,
        ) -> std::result::Result<
            (crate::owned::OwnedSendHalf<Self>, crate::owned::OwnedReceiveHalf<Self>),
            crate::owned::SplitError<Self>,
        > {
            crate::owned::split(self)
        }

        /// Returns the two halves, for two threads, for example threads of [`std::thread::scope`].
        ///
        /// # Errors
        /// [`ShmError::NotConnected`] before the first session.
        pub fn split(&mut self) -> Result<(&mut SendHalf, &mut ReceiveHalf)> {
            self.endpoint.split()
        }
    };
}
pub(crate) use mirrored_methods;
