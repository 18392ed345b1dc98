//! What a background endpoint passes to its program, and how it calls it.

use crate::error::ShmError;
use crate::layout::Direction;

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
