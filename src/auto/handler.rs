//! The handler and the options of an auto endpoint.

use super::handle::AutoHandle;
use crate::background::call::Call;
use crate::background::callbacks::{ChannelKind, DisconnectReason};
use crate::background::core::{Callbacks, Core};
use crate::background::retry::RetryOptions;
use crate::error::ShmError;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The handler of an auto endpoint. The endpoint's worker thread calls it, one call at a time. A long call delays the messages
/// that follow.
///
/// The worker holds no lock during a call: a handler may send, and may stop or drop the endpoint. The worker catches a panic, and
/// reports it to [`on_error`](Self::on_error) as [`ShmError::HandlerPanicked`].
pub trait AutoHandler: Send + Sync + 'static {
    /// The endpoint is about to start. Called once, on the thread that starts the endpoint, before its worker runs and so before
    /// every other call. The handler may keep `endpoint` (in a [`OnceLock`] for example), and use it to send
    /// from all other calls. It does not keep the endpoint alive.
    fn on_start(&self, endpoint: AutoHandle) {
        let _ = endpoint;
    }

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

    /// Whether the handler answers calls: the messages of a [`Caller`](crate::Caller). Then the worker calls
    /// [`on_call`](Self::on_call) for them, else [`on_message`](Self::on_message). The default is `false`.
    fn answers_calls(&self) -> bool {
        false
    }

    /// A client called, and waits for the answer. The slice is valid until this call returns; `call` may be answered later, by
    /// any thread.
    fn on_call(&self, call: Call, data: &[u8]) {
        let _ = (call, data);
    }

    /// An error that no call returned: an attempt to connect failed (another follows), a handler panicked, or a queued message
    /// was too long for the peer's ring.
    fn on_error(&self, error: ShmError) {
        let _ = error;
    }
}

impl<H: AutoHandler + ?Sized> AutoHandler for Arc<H> {
    fn on_start(&self, endpoint: AutoHandle) {
        (**self).on_start(endpoint);
    }
    fn answers_calls(&self) -> bool {
        (**self).answers_calls()
    }
    fn on_call(&self, call: Call, data: &[u8]) {
        (**self).on_call(call, data);
    }
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
pub(super) struct Adapter<H: ?Sized> {
    handler: Arc<H>,
    endpoint: OnceLock<AutoHandle>,
}

impl<H: AutoHandler + ?Sized> Adapter<H> {
    pub(super) fn new(handler: Arc<H>) -> Self {
        Adapter { handler, endpoint: OnceLock::new() }
    }
}

impl<H: AutoHandler + ?Sized> Callbacks for Adapter<H> {
    fn starting(&self, core: &Arc<Core>) {
        let endpoint = self.endpoint.get_or_init(|| AutoHandle::new(core));
        self.handler.on_start(endpoint.clone());
    }
    fn connected(&self, _: u32) {
        self.handler.on_connect();
    }
    fn disconnected(&self, _: u32, reason: &DisconnectReason) {
        self.handler.on_disconnect_because(reason);
    }
    fn message(&self, _: u32, direction: ChannelKind, payload: &[u8]) {
        if self.handler.answers_calls() {
            let peer = self.endpoint.get().and_then(AutoHandle::peer);
            if let Some((call, data)) = peer.and_then(|peer| Call::read(peer, payload)) {
                return self.handler.on_call(call, data);
            }
        }
        self.handler.on_message(direction, payload);
    }
    fn overflow(&self, _: u32, direction: ChannelKind, count: u32) {
        self.handler.on_overflow(direction, count);
    }
    fn space_available(&self, _: u32, direction: ChannelKind) {
        self.handler.on_space_available(direction);
    }
    fn error(&self, _: Option<u32>, error: ShmError) {
        self.handler.on_error(error);
    }
}

/// The options of an auto endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoOptions {
    /// The longest duration of one kernel wait. It limits the delay if a peer without this library forgets to signal. Zero, the
    /// default: no limit, and no polling.
    pub wait_timeout: Duration,
    /// The pause after a failed attempt to connect, and, for a client, after the end of a connection. The default is 100 ms; at
    /// least 1 ms. Further failures make it longer, see the next field. A server accepts the next client at once.
    pub reconnect_delay: Duration,
    /// The longest pause. After each further attempt of a client that fails, the pause doubles, up to this. The default is 2 s.
    /// If it is shorter than `reconnect_delay`, all pauses last as long as `reconnect_delay`.
    pub longest_reconnect_delay: Duration,
    /// By how much a pause is shortened at random, at most, in percent of the pause. The default is 20.
    pub reconnect_jitter_percent: u32,
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
        let retry = RetryOptions::default();
        AutoOptions {
            wait_timeout: Duration::ZERO,
            reconnect_delay: retry.initial_delay,
            longest_reconnect_delay: retry.longest_delay,
            reconnect_jitter_percent: retry.jitter_percent,
            connect_timeout: Duration::from_secs(5),
            max_send_queue: 256,
            recv_batch: 64,
        }
    }
}

impl AutoOptions {
    pub(super) fn retry(&self) -> RetryOptions {
        RetryOptions {
            initial_delay: self.reconnect_delay,
            longest_delay: self.longest_reconnect_delay,
            jitter_percent: self.reconnect_jitter_percent,
        }
    }
}

/// One session of an [`AutoServer`](crate::AutoServer) with a client, see [`AutoServer::session`](crate::AutoServer::session).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub(crate) u32);
