//! The handler and the options of a multi-client server.

use super::clients::MultiHandle;
use crate::background::call::Call;
use crate::background::callbacks::{ChannelKind, DisconnectReason};
use crate::background::core::{Callbacks, Core};
use crate::error::ShmError;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The handler of a [`MultiServer`](crate::MultiServer). The server's threads call it.
///
/// The calls for one client come one after the other. Calls for different clients may come from different threads at the same
/// time. The accepting thread calls `on_client_connect`: a long call delays other clients that connect. The worker of the
/// client's slot makes all other calls: a long call delays the messages and the disconnections of all clients that share the
/// worker (see [`MultiOptions::clients_per_worker`]).
///
/// The threads hold no lock during a call: a handler may send, may disconnect clients, and may stop the server. They catch a
/// panic, and report it to [`on_error`](Self::on_error) as [`ShmError::HandlerPanicked`].
pub trait MultiHandler: Send + Sync + 'static {
    /// The server is about to start. Called once, on the thread that starts it, before every other call. The handler may keep
    /// `server` (in a [`OnceLock`] for example), and use it to send from all other calls. It does not keep
    /// the server alive.
    fn on_start(&self, server: MultiHandle) {
        let _ = server;
    }

    /// A client has connected and has this slot. Called before its first message. From now on, the server can send messages to
    /// it.
    fn on_client_connect(&self, client_id: u32) {
        let _ = client_id;
    }

    /// A client's session is over. Called once, after its last message. Its slot is free for another client after this call.
    fn on_client_disconnect(&self, client_id: u32) {
        let _ = client_id;
    }

    /// A client's session is over, for this reason. The worker calls this method; its default implementation calls
    /// `on_client_disconnect`.
    fn on_client_disconnect_because(&self, client_id: u32, reason: &DisconnectReason) {
        let _ = reason;
        self.on_client_disconnect(client_id);
    }

    /// A message arrived. The slice is valid until the call returns.
    fn on_message(&self, client_id: u32, data: &[u8]) {
        let _ = (client_id, data);
    }

    /// `count` messages between the server and this client were lost, in this direction: evicted from a full ring, or left in
    /// the ring when the session ended. For one `send_to`, its [`WriteOutcome`](crate::WriteOutcome) says so too.
    fn on_overflow(&self, client_id: u32, direction: ChannelKind, count: u32) {
        let _ = (client_id, direction, count);
    }

    /// There is room again for a message to this client for which [`try_send_to`](crate::MultiServer::try_send_to) found no
    /// room.
    fn on_space_available(&self, client_id: u32) {
        let _ = client_id;
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

    /// An error that no call returned. `None`: it does not concern one particular client.
    fn on_error(&self, client_id: Option<u32>, error: ShmError) {
        let _ = (client_id, error);
    }
}

impl<H: MultiHandler + ?Sized> MultiHandler for Arc<H> {
    fn on_start(&self, server: MultiHandle) {
        (**self).on_start(server);
    }
    fn answers_calls(&self) -> bool {
        (**self).answers_calls()
    }
    fn on_call(&self, call: Call, data: &[u8]) {
        (**self).on_call(call, data);
    }
    fn on_client_connect(&self, client_id: u32) {
        (**self).on_client_connect(client_id);
    }
    fn on_client_disconnect(&self, client_id: u32) {
        (**self).on_client_disconnect(client_id);
    }
    fn on_client_disconnect_because(&self, client_id: u32, reason: &DisconnectReason) {
        (**self).on_client_disconnect_because(client_id, reason);
    }
    fn on_message(&self, client_id: u32, data: &[u8]) {
        (**self).on_message(client_id, data);
    }
    fn on_overflow(&self, client_id: u32, direction: ChannelKind, count: u32) {
        (**self).on_overflow(client_id, direction, count);
    }
    fn on_space_available(&self, client_id: u32) {
        (**self).on_space_available(client_id);
    }
    fn on_error(&self, client_id: Option<u32>, error: ShmError) {
        (**self).on_error(client_id, error);
    }
}

/// A multi-client server's handler as its threads call it.
pub(super) struct Adapter<H: ?Sized> {
    handler: Arc<H>,
    server: OnceLock<MultiHandle>,
}

impl<H: MultiHandler + ?Sized> Adapter<H> {
    pub(super) fn new(handler: Arc<H>) -> Self {
        Adapter { handler, server: OnceLock::new() }
    }
}

impl<H: MultiHandler + ?Sized> Callbacks for Adapter<H> {
    fn starting(&self, core: &Arc<Core>) {
        let server = self.server.get_or_init(|| MultiHandle::new(core));
        self.handler.on_start(server.clone());
    }
    fn connected(&self, slot: u32) {
        self.handler.on_client_connect(slot);
    }
    fn disconnected(&self, slot: u32, reason: &DisconnectReason) {
        self.handler.on_client_disconnect_because(slot, reason);
    }
    fn message(&self, slot: u32, _: ChannelKind, payload: &[u8]) {
        if self.handler.answers_calls() {
            let peer = self.server.get().and_then(|server| server.peer(slot));
            if let Some((call, data)) = peer.and_then(|peer| Call::read(peer, payload)) {
                return self.handler.on_call(call, data);
            }
        }
        self.handler.on_message(slot, payload);
    }
    fn overflow(&self, slot: u32, direction: ChannelKind, count: u32) {
        self.handler.on_overflow(slot, direction, count);
    }
    fn space_available(&self, slot: u32, _: ChannelKind) {
        self.handler.on_space_available(slot);
    }
    fn error(&self, slot: Option<u32>, error: ShmError) {
        self.handler.on_error(slot, error);
    }
}

/// The most clients of one worker. With two handles for each client, and the worker's own handle, they fit into one kernel wait,
/// which Windows limits to 64 handles.
pub(super) const MOST_CLIENTS_PER_WORKER: u32 = 30;

/// The options of a [`MultiServer`](crate::MultiServer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiOptions {
    /// The number of slots. The default is 20. The server creates a client's channel when the client connects, and keeps one
    /// more ready.
    pub max_clients: u32,
    /// The longest duration of one kernel wait. It limits the delay if a peer without this library forgets to signal. Zero, the
    /// default: no limit, and no polling.
    pub poll_timeout: Duration,
    /// The largest number of messages of one client that a worker delivers before it checks the next client. The default is 64.
    /// Zero counts as 1.
    pub recv_batch: usize,
    /// The number of slots that share a worker thread. The default is 30, which is also the maximum. 1 gives each client its
    /// own thread. Slot `n` belongs to worker `n / clients_per_worker`, which starts with its first client. Zero counts as 1.
    pub clients_per_worker: u32,
}

impl Default for MultiOptions {
    fn default() -> Self {
        MultiOptions {
            max_clients: 20,
            poll_timeout: Duration::ZERO,
            recv_batch: 64,
            clients_per_worker: MOST_CLIENTS_PER_WORKER,
        }
    }
}

impl MultiOptions {
    pub(super) fn slots_per_worker(&self) -> u32 {
        self.clients_per_worker.clamp(1, MOST_CLIENTS_PER_WORKER)
    }
}
