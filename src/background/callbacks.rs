//! What a background endpoint calls in its program.

use crate::error::{Result, ShmError};
use crate::layout::Direction;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// One of a channel's two directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// Messages from the server to the client.
    ServerToClient,
    /// Messages from the client to the server.
    ClientToServer,
}

impl From<Direction> for ChannelKind {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::ServerToClient => ChannelKind::ServerToClient,
            Direction::ClientToServer => ChannelKind::ClientToServer,
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The peer left, or ended the session.
    PeerLeft,
    /// The peer's process ended without leaving.
    PeerDied,
    /// This endpoint was stopped.
    Stopped,
    /// A multi-client server ended this client's session ([`disconnect_client`](crate::MultiServer::disconnect_client)).
    Kicked,
    /// Another error ended it, for example [`ShmError::Corrupted`].
    Failed(ShmError),
}

impl DisconnectReason {
    pub(crate) fn of(error: ShmError) -> Self {
        match error {
            ShmError::NotConnected => DisconnectReason::PeerLeft,
            ShmError::PeerDied { .. } => DisconnectReason::PeerDied,
            error => DisconnectReason::Failed(error),
        }
    }
}

/// The handler of a background endpoint in any mode. A multi-client server distinguishes its connections by their
/// slots; the slot of others is 0.
pub(crate) trait Callbacks: Send + Sync + 'static {
    fn connected(&self, slot: u32);
    fn disconnected(&self, slot: u32, reason: &DisconnectReason);
    fn message(&self, slot: u32, direction: ChannelKind, payload: &[u8]);
    fn overflow(&self, slot: u32, direction: ChannelKind, count: u32);
    fn space_available(&self, slot: u32, direction: ChannelKind);
    /// `None`: the error concerns no one connection.
    fn error(&self, slot: Option<u32>, error: ShmError);
}

/// Calls a function of the program.
///
/// # Errors
/// [`ShmError::HandlerPanicked`].
pub(crate) fn catch_panic(call: impl FnOnce()) -> Result<()> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("no message").to_owned();
        // A panic's value may panic when it is dropped. The value of that second panic is leaked.
        if let Err(another) = catch_unwind(AssertUnwindSafe(move || drop(panic))) {
            std::mem::forget(another);
        }
        ShmError::HandlerPanicked { message }
    })
}
