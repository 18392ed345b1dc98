//! The handler and the options of an auto endpoint.

use crate::background::callbacks::{Callbacks, ChannelKind, DisconnectReason};
use crate::error::ShmError;
use std::sync::Arc;
use std::time::Duration;

/// The handler of an auto endpoint. The endpoint's worker thread calls it, one call at a time. A long call delays the messages
/// that follow.
///
/// The worker holds no lock during a call: a handler may send, and may stop or drop the endpoint. The worker catches a panic, and
/// reports it to [`on_error`](Self::on_error) as [`ShmError::HandlerPanicked`].
pub trait AutoHandler: Send + Sync + 'static {
    /// A connection began. Called before its first message.
    fn on_connect(&self) {}

    /// A connection ended. Called once, after its last message.
    fn on_disconnect(&self) {}

    /// A connection ended, for this reason. The worker calls this method; its default implementation calls `on_disconnect`.
    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        let _ = reason;
        self.on_disconnect();
    }

    /// A message arrived. The slice is valid until the call returns.
    fn on_message(&self, direction: ChannelKind, payload: &[u8]) {
        let _ = (direction, payload);
    }

    /// `count` messages of this direction were lost since the last such call. They were evicted from a full ring, dropped from
    /// a full send queue, left in the ring when a connection ended, or left in the send queue when the endpoint was stopped.
    fn on_overflow(&self, direction: ChannelKind, count: u32) {
        let _ = (direction, count);
    }

    /// There is room again for a message for which [`try_send`](crate::AutoServer::try_send) found no room.
    fn on_space_available(&self, direction: ChannelKind) {
        let _ = direction;
    }

    /// An error that no call returned: an attempt to connect failed (another follows), a handler panicked, or a queued message
    /// was too long for the peer's ring.
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

/// An auto endpoint's handler as its worker calls it.
pub(super) struct Adapter<H: ?Sized>(pub(super) Arc<H>);

impl<H: AutoHandler + ?Sized> Callbacks for Adapter<H> {
    fn connected(&self, _: u32) {
        self.0.on_connect();
    }
    fn disconnected(&self, _: u32, reason: &DisconnectReason) {
        self.0.on_disconnect_because(reason);
    }
    fn message(&self, _: u32, direction: ChannelKind, payload: &[u8]) {
        self.0.on_message(direction, payload);
    }
    fn overflow(&self, _: u32, direction: ChannelKind, count: u32) {
        self.0.on_overflow(direction, count);
    }
    fn space_available(&self, _: u32, direction: ChannelKind) {
        self.0.on_space_available(direction);
    }
    fn error(&self, _: Option<u32>, error: ShmError) {
        self.0.on_error(error);
    }
}

/// The options of an auto endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoOptions {
    /// The longest duration of one kernel wait. It limits the delay if a peer without this library forgets to signal. Zero, the
    /// default: no limit, and no polling.
    pub wait_timeout: Duration,
    /// The pause after a failed attempt to connect, and, for a client, after the end of a connection. The default is 100 ms; at
    /// least 1 ms. A server accepts the next client at once.
    pub reconnect_delay: Duration,
    /// The longest duration of a client's attempt to connect. The default is 5 s. The worker reports an attempt without an
    /// answer to `on_error`.
    pub connect_timeout: Duration,
    /// The largest number of messages that wait for a connection. The default is 256. A full queue drops its oldest message for
    /// a new one. Zero: no message waits, and `send` fails without a connection.
    pub max_send_queue: usize,
    /// The largest number of messages that the worker delivers before it does other work. The default is 64. Zero counts as 1.
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

/// The counts of an auto endpoint since it was created, over all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AutoStatsSnapshot {
    /// Messages that were put into a ring.
    pub sent_messages: u64,
    /// Outgoing messages that were lost: dropped from the full send queue, evicted from the ring before the peer took them,
    /// left in the ring when the peer was gone, or left in the send queue when the endpoint was stopped.
    pub send_overflows: u64,
    /// Messages that were received.
    pub received_messages: u64,
    /// Messages that the peer evicted before they could be received.
    pub receive_overflows: u64,
}

/// One session of an [`AutoServer`](crate::AutoServer) with a client, see [`AutoServer::session`](crate::AutoServer::session).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub(crate) u32);
