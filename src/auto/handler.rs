//! What an auto endpoint calls, and how it behaves.

use crate::error::{Result, ShmError};
use crate::layout::Direction;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

/// One of a channel's two directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// What the server sends.
    ServerToClient,
    /// What the client sends.
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
    /// Something else: [`ShmError::Corrupted`], for instance.
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

/// What an auto endpoint reports. All of it is called on the endpoint's worker, one call at a time, and no lock is held
/// meanwhile: a handler may send, and stop or drop the endpoint. What takes long delays the messages behind it.
///
/// A call that panics is caught and reported to [`on_error`](Self::on_error) as [`ShmError::HandlerPanicked`].
pub trait AutoHandler: Send + Sync + 'static {
    /// A connection began. Comes before its first message.
    fn on_connect(&self) {}

    /// A connection ended. Comes once, after its last message.
    fn on_disconnect(&self) {}

    /// As [`on_disconnect`](Self::on_disconnect), with the reason. Calls that one unless it is written.
    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        let _ = reason;
        self.on_disconnect();
    }

    /// A message came. The slice is lent for the call.
    fn on_message(&self, direction: ChannelKind, payload: &[u8]) {
        let _ = (direction, payload);
    }

    /// `count` messages of a direction were lost since the last such call: evicted from a full ring or a full send queue,
    /// left in the ring of a connection that ended, or left in the send queue when the endpoint was stopped.
    fn on_overflow(&self, direction: ChannelKind, count: u32) {
        let _ = (direction, count);
    }

    /// There is room again for a message that [`try_send`](crate::AutoServer::try_send) refused.
    fn on_space_available(&self, direction: ChannelKind) {
        let _ = direction;
    }

    /// Something went wrong that no call returned: an attempt to connect failed (another follows), a handler
    /// panicked, a queued message was longer than the peer's ring takes.
    fn on_error(&self, error: ShmError) {
        let _ = error;
    }
}

impl<H: AutoHandler + ?Sized> AutoHandler for Arc<H> {
    fn on_connect(&self) {
        (**self).on_connect();
    }
    fn on_disconnect(&self) {
        (**self).on_disconnect();
    }
    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        (**self).on_disconnect_because(reason);
    }
    fn on_message(&self, direction: ChannelKind, payload: &[u8]) {
        (**self).on_message(direction, payload);
    }
    fn on_overflow(&self, direction: ChannelKind, count: u32) {
        (**self).on_overflow(direction, count);
    }
    fn on_space_available(&self, direction: ChannelKind) {
        (**self).on_space_available(direction);
    }
    fn on_error(&self, error: ShmError) {
        (**self).on_error(error);
    }
}

/// How an auto endpoint behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoOptions {
    /// An upper bound of one kernel wait, as a safety net against a native peer that forgets to signal. Zero, the
    /// default, means no bound: nothing polls then.
    pub wait_timeout: Duration,
    /// The pause before the next attempt to connect, after one that failed, or after a client's connection that ended:
    /// 100 ms, and at least 1 ms. A server takes the next client at once.
    pub reconnect_delay: Duration,
    /// How long a client's attempt to connect lasts: 5 s. An attempt without an answer is reported to `on_error`.
    pub connect_timeout: Duration,
    /// Messages that wait for a connection at most: 256. The oldest are dropped for the newest. Zero: none wait, and
    /// `send` fails without a connection.
    pub max_send_queue: usize,
    /// Messages that are handed over before the worker looks after anything else: 64. Zero counts as 1.
    pub recv_batch: usize,
}

impl Default for AutoOptions {
    fn default() -> Self {
        AutoOptions {
            wait_timeout: Duration::ZERO,
            reconnect_delay: Duration::from_millis(100),
            connect_timeout: Duration::from_secs(5),
            max_send_queue: 256,
            recv_batch: 64,
        }
    }
}

/// What an auto endpoint has done since it was made, over all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AutoStatsSnapshot {
    /// Messages that were put into a ring.
    pub sent_messages: u64,
    /// Messages to send that were lost: dropped from the full send queue, evicted from the ring before the peer took
    /// them, left there when the peer was gone, or left in the send queue when the endpoint was stopped.
    pub send_overflows: u64,
    /// Messages that were received.
    pub received_messages: u64,
    /// Messages that the peer evicted before they could be received.
    pub receive_overflows: u64,
}

/// One session of an [`AutoServer`](crate::AutoServer) with a client, see [`AutoServer::session`](crate::AutoServer::session).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub(crate) u32);

/// Calls what belongs to the user.
///
/// # Errors
/// [`ShmError::HandlerPanicked`].
pub(crate) fn catch_panic(call: impl FnOnce()) -> Result<()> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("no message").to_owned();
        // What was thrown may throw when it is dropped. What that throws is let be.
        if let Err(another) = catch_unwind(AssertUnwindSafe(move || drop(panic))) {
            std::mem::forget(another);
        }
        ShmError::HandlerPanicked { message }
    })
}
