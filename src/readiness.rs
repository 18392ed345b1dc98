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
//! A blocking call does the same (`Session::sleep`), but sleeps between `arm` and `disarm`. The peer signals once after each
//! `arm`, so a stream of messages needs no kernel calls.

use crate::error::Result;
use crate::halves::ReceiveHalf;
use crate::ring::Corrupted;
use crate::sys::{self, BorrowedObject, Event, OwnedObject, Process};
use crate::wake::DATA;

/// The objects that an event loop waits for, see [`ReceiveHalf::arm`].
///
/// They are duplicated descriptors (Linux) or handles (Windows), and close when this value is dropped. They may outlive the
/// half that they come from, and the system does not reuse their numbers while they are open. After the half is gone, they get
/// no more signals. Each session has its own objects.
#[derive(Debug)]
pub struct WaitHandles {
    data: OwnedObject,
    peer: Option<OwnedObject>,
}

impl WaitHandles {
    /// Returns the object that becomes ready when the peer has signalled. On Linux it is a descriptor for `poll`, `epoll` and
    /// the like, which becomes readable. Do not read from it. It may be readable although nothing is armed. On Windows it is an
    /// auto-reset event.
    pub fn data(&self) -> BorrowedObject<'_> {
        sys::borrow(&self.data)
    }

    /// Returns the object that becomes ready when the peer's process has ended: a pidfd (Linux) or a process handle (Windows).
    /// `None`: the process cannot be watched, and the options set a [`check_interval`](crate::ClientOptions::check_interval).
    /// Call [`is_connected`](ReceiveHalf::is_connected) at this interval then.
    pub fn peer(&self) -> Option<BorrowedObject<'_>> {
        self.peer.as_ref().map(sys::borrow)
    }

    /// Returns both objects, which the caller then owns: `data`, then `peer`.
    pub fn into_parts(self) -> (OwnedObject, Option<OwnedObject>) {
        (self.data, self.peer)
    }
}

impl ReceiveHalf {
    /// Returns the objects that an event loop waits for. `None`: the channel has no events (its server is anonymous).
    ///
    /// # Errors
    /// [`ShmError::SystemError`](crate::ShmError::SystemError), [`ShmError::WindowsError`](crate::ShmError::WindowsError): the
    /// process can have no more descriptors or handles.
    pub fn wait_handles(&self) -> Result<Option<WaitHandles>> {
        let Some(data) = self.data_event() else { return Ok(None) };
        let peer = self.session.peer.process().map(Process::duplicate).transpose()?;
        Ok(Some(WaitHandles { data: data.duplicate()?, peer }))
    }

    /// Asks the peer to signal its next message, so that an event loop can wait for the signal. `Ok(true)`: don't wait, but
    /// call [`try_receive`](Self::try_receive), because a message is there or the session is over. `Ok(false)`: wait until one
    /// of the [`wait_handles`](Self::wait_handles) is ready, and then call [`disarm`](Self::disarm).
    ///
    /// When `peer` becomes ready, call [`is_connected`](Self::is_connected), which records that the peer has died. The messages
    /// that the peer sent before can still be received. The objects may become ready without a message.
    ///
    /// The example `async_receive` does this with tokio.
    ///
    /// # Errors
    /// [`ShmError::Corrupted`](crate::ShmError::Corrupted), [`ShmError::Forked`](crate::ShmError::Forked).
    pub fn arm(&mut self) -> Result<bool> {
        self.session.check_queue()?;
        self.session.announce_sleep(DATA, self.data_event().as_slice())?;
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
        self.session.check_queue()?;
        self.session.own_wake().clear(DATA).map_err(|what| self.session.corrupted(what))?;
        if let Some(data) = self.data_event() {
            // A signal that comes after this belongs to a message that is there by now.
            data.reset();
            // An event loop would find it ready in every round.
            if data.is_shut() {
                return Err(self.session.corrupted(Corrupted("a socket of an event was shut down")));
            }
        }
        Ok(())
    }

    fn data_event(&self) -> Option<&Event> {
        let channel = &self.session.channel;
        channel.events.as_ref().map(|events| events.data(channel.side.receives()))
    }
}
