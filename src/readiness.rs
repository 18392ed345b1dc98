//! For event loops: waiting for messages without a thread that is blocked in a call.
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
//! A blocking call does the same (`Session::sleep`), but sleeps between the two halves. The peer signals once for each
//! arming, so that a stream of messages costs no kernel calls.

use crate::error::Result;
use crate::halves::ReceiveHalf;
use crate::ring::Corrupted;
use crate::sys::{self, BorrowedObject, Event, OwnedObject, Process};
use crate::wake::DATA;

/// What an event loop waits for: see [`ReceiveHalf::arm`].
///
/// These are duplicates, descriptors on Linux and handles on Windows, and close when the value is dropped. So they may outlive
/// the half that they come from, and the system does not reuse their numbers while they are open.
/// After the half is gone, they get no more signals. Each session has its own.
#[derive(Debug)]
pub struct WaitHandles {
    data: OwnedObject,
    peer: Option<OwnedObject>,
}

impl WaitHandles {
    /// Ready when the peer has signalled. On Linux a descriptor that becomes readable, for `poll`, `epoll` and the
    /// like; not to be read from, and it may be readable while nothing is armed. On Windows an auto-reset event.
    pub fn data(&self) -> BorrowedObject<'_> {
        sys::borrow(&self.data)
    }

    /// Ready when the peer's process has ended: a pidfd, a process handle. `None`: the process cannot be watched (the
    /// options set a [`check_interval`](crate::ClientOptions::check_interval)), and
    /// [`is_connected`](ReceiveHalf::is_connected) must be asked that often.
    pub fn peer(&self) -> Option<BorrowedObject<'_>> {
        self.peer.as_ref().map(sys::borrow)
    }

    /// Both, with their ownership: `data`, then `peer`.
    pub fn into_parts(self) -> (OwnedObject, Option<OwnedObject>) {
        (self.data, self.peer)
    }
}

impl ReceiveHalf {
    /// What to wait for in an event loop. `None` on the channel of an anonymous server without events.
    ///
    /// # Errors
    /// [`ShmError::SystemError`](crate::ShmError::SystemError), [`ShmError::WindowsError`](crate::ShmError::WindowsError): the
    /// process can have no more descriptors or handles.
    pub fn wait_handles(&self) -> Result<Option<WaitHandles>> {
        let Some(data) = self.data_event() else { return Ok(None) };
        let peer = self.session.peer.process().map(Process::duplicate).transpose()?;
        Ok(Some(WaitHandles { data: data.duplicate()?, peer }))
    }

    /// Asks the peer to signal its next message, for an event loop to wait for. `Ok(true)`: don't wait, there's
    /// something to [`try_receive`](Self::try_receive), a message or the end of the session. `Ok(false)`:
    /// wait until one of the [`wait_handles`](Self::wait_handles) is ready, and [`disarm`](Self::disarm) then.
    ///
    /// When `peer` gets ready, call [`is_connected`](Self::is_connected), which records the peer's end. What the peer
    /// sent before can still be received. Spurious readiness happens.
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

    /// Takes back what [`arm`](Self::arm) asked for, and what was signalled.
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
