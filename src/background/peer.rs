//! One connection of a background endpoint, for its handler and for other threads.

use super::core::Core;
use super::sending::To;
use crate::access::PeerIdentity;
use crate::error::{Result, ShmError};
use crate::halves::{PeerStats, WriteOutcome};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The peer of one session of a background endpoint: a client of an [`AutoServer`](crate::AutoServer) or
/// [`MultiServer`](crate::MultiServer), or the server of an [`AutoClient`](crate::AutoClient) or
/// [`MultiClient`](crate::MultiClient).
///
/// Closures get it as an argument: see [`AutoServer::builder`](crate::AutoServer::builder). It may be cloned, kept, and used by any
/// thread. It does not keep the endpoint alive. It stands for this session alone: when the session is over, every call fails
/// with [`ShmError::NotConnected`], also if another client has the slot.
#[derive(Clone)]
pub struct PeerHandle {
    core: Weak<Core>,
    slot: u32,
    session: u32,
}

impl PeerHandle {
    /// The peer of the session that a slot has now. `None`: it has none.
    pub(crate) fn current(core: &Arc<Core>, slot: u32) -> Option<Self> {
        Some(PeerHandle { core: Arc::downgrade(core), slot, session: core.session(slot)? })
    }

    fn core(&self) -> Result<Arc<Core>> {
        self.core.upgrade().ok_or(ShmError::NotConnected)
    }

    fn to(&self) -> To {
        (self.slot, Some(self.session))
    }

    /// Returns the slot of a client of a [`MultiServer`](crate::MultiServer). 0 for other endpoints.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// The number of the session. Not 0.
    pub(crate) fn session(&self) -> u32 {
        self.session
    }

    /// Sends a message, from any thread. Never waits: a full queue evicts its oldest messages.
    ///
    /// # Errors
    /// - [`ShmError::NotConnected`]: the session is over, or the endpoint was stopped.
    /// - [`ShmError::MessageTooSmall`], [`ShmError::MessageTooLarge`], [`ShmError::Forked`].
    /// - [`ShmError::QueueFull`]: there is no room, and the channel [rejects when
    ///   full](crate::ServerOptions::reject_when_full).
    pub fn send(&self, message: &[u8]) -> Result<WriteOutcome> {
        self.core()?.send(self.to(), message)
    }

    /// Sends a message if there is room, and evicts none. If there was no room, the endpoint calls `on_space_available` for this
    /// peer as soon as there is room again.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`ShmError::QueueFull`].
    pub fn try_send(&self, message: &[u8]) -> Result<()> {
        self.core()?.try_send(self.to(), message)
    }

    /// Sends a message, and waits for room if there is none. `None` waits without a limit. Inside a handler it also waits, and
    /// meanwhile the handler's worker serves no other connection.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`ShmError::Timeout`].
    pub fn send_timeout(&self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
        self.core()?.send_timeout(self.to(), message, timeout)
    }

    /// Returns whether the session lives, as far as the endpoint knows. It does not ask the system whether the peer's process
    /// runs.
    pub fn is_connected(&self) -> bool {
        self.core().is_ok_and(|core| core.is_connected(self.to()))
    }

    /// Returns the peer's process and user. `None`: the session is over.
    pub fn identity(&self) -> Option<PeerIdentity> {
        self.core().ok()?.identity(self.to())
    }

    /// Returns the session's counts. Those of an [`AutoClient`](crate::AutoClient), an [`AutoServer`](crate::AutoServer) and a
    /// [`MultiClient`](crate::MultiClient) include the sessions before this one.
    ///
    /// # Errors
    /// [`ShmError::NotConnected`]: the session is over. [`ShmError::Corrupted`], [`ShmError::Forked`].
    pub fn stats(&self) -> Result<PeerStats> {
        self.core()?.stats(self.to())
    }

    /// Ends the session with a client. The client can still receive what was sent, and the handler gets what the client has sent.
    ///
    /// # Errors
    /// [`ShmError::NotConnected`]: the session is over. [`ShmError::Refused`]: the peer is a server. [`ShmError::Forked`].
    pub fn disconnect(&self) -> Result<()> {
        self.core()?.disconnect(self.to())
    }
}

impl PartialEq for PeerHandle {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.core, &other.core) && self.to() == other.to()
    }
}

impl Eq for PeerHandle {}

impl fmt::Debug for PeerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerHandle").field("slot", &self.slot).field("session", &self.session).finish()
    }
}
