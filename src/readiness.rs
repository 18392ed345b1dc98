//! Event loops: how a program waits for messages without a thread that blocks in a call.
//!
//! ```text
//! loop {
//!     try_receive until QueueEmpty
//!     arm            the peer will signal its next message; true: a message, or the session's end, is there already
//!     ... the event loop waits until `data` or `peer` is ready, as long as it likes ...
//!     disarm         no more signals; takes the signal that came
//! }
//! ```
//!
//! A sender does the same with `try_send` until `QueueFull`, and waits for room. A blocking call does the same
//! (`Session::sleep`), but sleeps between `arm` and `disarm`. The peer signals once after each `arm`, so a stream of messages
//! needs no kernel calls.

use crate::channel::wait_set::WaitSet;
use crate::error::Result;
use crate::halves::{ReceiveHalf, SendHalf};
use crate::ring::Corrupted;
use crate::session::{Interest, Session};
use crate::sys::{self, BorrowedObject, Joined, OwnedObject, Process};
use std::time::Instant;

/// The objects that an event loop waits for: see [`ReceiveHalf::arm`], [`SendHalf::arm`],
/// [`SharedServer::accept_handles`](crate::SharedServer::accept_handles) and [`PendingConnect`](crate::PendingConnect).
///
/// They are duplicated descriptors (Linux) or handles (Windows), and close when this value is dropped. They may outlive the
/// half that they come from, and the system does not reuse their numbers while they are open. After the half is gone, they get
/// no more signals. Each session has its own objects.
#[derive(Debug)]
pub struct WaitHandles {
    data: OwnedObject,
    peer: Option<OwnedObject>,
    next_look: Option<Instant>,
}

impl WaitHandles {
    /// Returns the object that becomes ready when the peer has signalled a message, room, a request or an answer, depending on
    /// where these handles are from. On Linux it is a descriptor for `poll`, `epoll` and the like, which becomes readable. Do not
    /// read from it. It may be readable although nothing is armed. On Windows it is an auto-reset event.
    pub fn data(&self) -> BorrowedObject<'_> {
        sys::borrow(&self.data)
    }

    /// Returns the object that becomes ready when the peer's process has ended: a pidfd (Linux) or a process handle (Windows).
    /// `None`: `data` becomes ready then; or there is no peer to watch; or the process cannot be watched, and the options set a
    /// [`check_interval`](crate::ClientOptions::check_interval). Call [`is_connected`](ReceiveHalf::is_connected) at this
    /// interval then.
    pub fn peer(&self) -> Option<BorrowedObject<'_>> {
        self.peer.as_ref().map(sys::borrow)
    }

    /// Returns the time at which to look again at the latest, although no object is ready. `None`: there is no such time, as for
    /// the handles of halves.
    pub fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// Returns both objects, which the caller then owns: `data`, then `peer`.
    pub fn into_parts(self) -> (OwnedObject, Option<OwnedObject>) {
        (self.data, self.peer)
    }

    /// What a caller that waits by itself waits for in place of a set. The first call makes `joined`.
    pub(crate) fn joined(joined: &mut Option<Joined>, set: &WaitSet<'_>) -> Result<Self> {
        let joined = match joined {
            Some(joined) => joined,
            none => none.insert(Joined::new()?),
        };
        let (objects, bound) = set.parts();
        let (data, peer, watched) = joined.watch(objects)?;
        let bound = bound.into_iter().chain(watched).min();
        Ok(WaitHandles { data, peer, next_look: bound.and_then(|bound| Instant::now().checked_add(bound)) })
    }
}

// As `data`.
sys::borrow_by!(WaitHandles, data);

impl ReceiveHalf {
    /// Returns the objects that an event loop waits for. `None`: the channel has no events (its server is anonymous).
    ///
    /// # Errors
    /// [`ShmError::SystemError`](crate::ShmError::SystemError), [`ShmError::WindowsError`](crate::ShmError::WindowsError): the
    /// process can have no more descriptors or handles.
    pub fn wait_handles(&self) -> Result<Option<WaitHandles>> {
        wait_handles(&self.session)
    }

    /// Asks the peer to signal its next message, so that an event loop can wait for the signal. `Ok(true)`: don't wait, but
    /// call [`try_receive`](Self::try_receive), because a message is there or the session is over. `Ok(false)`: wait until one
    /// of the [`wait_handles`](Self::wait_handles) is ready, and then call [`disarm`](Self::disarm).
    ///
    /// When `peer` becomes ready, call [`is_connected`](Self::is_connected), which records that the peer has died. The messages
    /// that the peer sent before can still be received. The objects may become ready without a message.
    ///
    /// The feature `async` has endpoints that do this.
    ///
    /// # Errors
    /// [`ShmError::Corrupted`](crate::ShmError::Corrupted), [`ShmError::Forked`](crate::ShmError::Forked).
    pub fn arm(&mut self) -> Result<bool> {
        self.session.check_queue()?;
        announce(&self.session, Interest::Data)?;
        // The look after the announcement: whatever is published from now on is signalled.
        let there = self.consumer.peek().map_err(|what| self.session.corrupted(what))?;
        if there == Some(false) && self.session.check().is_ok() {
            return Ok(false);
        }
        self.disarm()?;
        Ok(true)
    }

    /// Withdraws the request of [`arm`](Self::arm), and resets the signal if it has come.
    ///
    /// # Errors
    /// [`ShmError::Corrupted`](crate::ShmError::Corrupted), [`ShmError::Forked`](crate::ShmError::Forked).
    pub fn disarm(&mut self) -> Result<()> {
        disarm(&self.session, Interest::Data)
    }
}

impl SendHalf {
    /// Returns the objects that an event loop waits for until there is room. `None`: the channel has no events (its server is
    /// anonymous).
    ///
    /// # Errors
    /// [`ShmError::SystemError`](crate::ShmError::SystemError), [`ShmError::WindowsError`](crate::ShmError::WindowsError): the
    /// process can have no more descriptors or handles.
    pub fn wait_handles(&self) -> Result<Option<WaitHandles>> {
        room_handles(&self.session)
    }

    /// Asks the peer to signal when it takes a message, so that an event loop can wait for room. `Ok(true)`: don't wait, but call
    /// [`try_send`](Self::try_send), because there is room for a message of `len` bytes, or the session is over. `Ok(false)`:
    /// wait until one of the [`wait_handles`](Self::wait_handles) is ready, and then call [`disarm`](Self::disarm). There may
    /// still be too little room then: try to send, and arm again.
    ///
    /// When `peer` becomes ready, call [`is_connected`](Self::is_connected), which records that the peer has died.
    ///
    /// ```
    /// use std::{thread, time::Duration};
    /// use xshm::{ServerOptions, SharedClient, ShmError};
    ///
    /// let mut server = ServerOptions::new().message_limit(4).start("arm-for-room")?;
    /// let client = thread::spawn(|| -> xshm::Result<()> {
    ///     let client = SharedClient::connect("arm-for-room", Duration::from_secs(5))?;
    ///     (0..100).try_for_each(|_| client.receive_from_server(&mut Vec::new()).map(drop))
    /// });
    /// server.wait_for_client(Some(Duration::from_secs(5)))?;
    /// let (sender, _) = server.split()?;
    /// let handles = sender.wait_handles()?.expect("a server with a name has events");
    /// for _ in 0..100 {
    ///     while sender.try_send(b"hello") == Err(ShmError::QueueFull) {
    ///         if !sender.arm(5)? {
    ///             // Your event loop waits here for `handles`.
    ///             # let _ = &handles;
    ///             # thread::yield_now();
    ///             sender.is_connected();
    ///             sender.disarm()?;
    ///         }
    ///     }
    /// }
    /// client.join().unwrap()?;
    /// # Ok::<(), xshm::ShmError>(())
    /// ```
    ///
    /// # Errors
    /// [`ShmError::MessageTooSmall`](crate::ShmError::MessageTooSmall),
    /// [`ShmError::MessageTooLarge`](crate::ShmError::MessageTooLarge): no message can have this length.
    /// [`ShmError::Corrupted`](crate::ShmError::Corrupted), [`ShmError::Forked`](crate::ShmError::Forked).
    pub fn arm(&mut self, len: usize) -> Result<bool> {
        self.session.check_queue()?;
        self.check_length(len)?;
        announce(&self.session, Interest::Space)?;
        // The look after the announcement: whatever is taken from now on is signalled.
        let room = self.producer.has_room(len).map_err(|what| self.session.corrupted(what))?;
        if !room && self.session.check().is_ok() {
            return Ok(false);
        }
        self.disarm()?;
        Ok(true)
    }

    /// Withdraws the request of [`arm`](Self::arm), and resets the signal if it has come.
    ///
    /// # Errors
    /// [`ShmError::Corrupted`](crate::ShmError::Corrupted), [`ShmError::Forked`](crate::ShmError::Forked).
    pub fn disarm(&mut self) -> Result<()> {
        disarm(&self.session, Interest::Space)
    }
}

fn announce(session: &Session, interest: Interest) -> Result<()> {
    session.announce_sleep(&[interest], session.event(interest).as_slice())
}

fn disarm(session: &Session, interest: Interest) -> Result<()> {
    session.check_queue()?;
    session.own_wake().clear(interest.bits().asleep).map_err(|what| session.corrupted(what))?;
    if let Some(event) = session.event(interest) {
        // A signal that comes after this belongs to a message or to room that is there by now.
        event.reset();
        // An event loop would find it ready in every round.
        if event.is_shut() {
            return Err(session.corrupted(Corrupted("a socket of an event was shut down")));
        }
    }
    Ok(())
}

/// As [`ReceiveHalf::wait_handles`].
pub(crate) fn wait_handles(session: &Session) -> Result<Option<WaitHandles>> {
    handles(session, Interest::Data)
}

/// As [`SendHalf::wait_handles`].
pub(crate) fn room_handles(session: &Session) -> Result<Option<WaitHandles>> {
    handles(session, Interest::Space)
}

fn handles(session: &Session, interest: Interest) -> Result<Option<WaitHandles>> {
    let Some(event) = session.event(interest) else { return Ok(None) };
    let peer = session.peer.process().map(Process::duplicate).transpose()?;
    Ok(Some(WaitHandles { data: event.duplicate()?, peer, next_look: None }))
}
