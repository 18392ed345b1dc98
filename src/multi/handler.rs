//! What a multi-client server calls, and how it behaves.

use crate::background::callbacks::{Callbacks, ChannelKind, DisconnectReason};
use crate::error::ShmError;
use std::sync::Arc;
use std::time::Duration;

/// What a multi-client server reports. No lock is held meanwhile: a handler may send, kick, and stop the server. A call
/// that panics is caught and reported to [`on_error`](Self::on_error) as [`ShmError::HandlerPanicked`].
///
/// The calls for one client come one after the other; those for several come from several threads.
/// `on_client_connect` is called by the thread that accepts: what takes long there delays others' connecting. The rest
/// is called by the worker of the client's slot: what takes long there delays the messages, and the leaving, of those
/// that share it (see [`MultiOptions::clients_per_worker`]).
pub trait MultiHandler: Send + Sync + 'static {
    /// A client has come, and has this slot. Comes before its first message; messages to it can be sent from now on.
    fn on_client_connect(&self, client_id: u32) {
        let _ = client_id;
    }

    /// A client has gone. Comes once, after its last message; when it returns, its slot is free for another.
    fn on_client_disconnect(&self, client_id: u32) {
        let _ = client_id;
    }

    /// As [`on_client_disconnect`](Self::on_client_disconnect), with the reason. Calls that one unless it is written.
    fn on_client_disconnect_because(&self, client_id: u32, reason: &DisconnectReason) {
        let _ = reason;
        self.on_client_disconnect(client_id);
    }

    /// A message came. The slice is lent for the call.
    fn on_message(&self, client_id: u32, data: &[u8]) {
        let _ = (client_id, data);
    }

    /// A client evicted `count` of its messages before they could be received.
    fn on_overflow(&self, client_id: u32, count: u32) {
        let _ = (client_id, count);
    }

    /// Something went wrong that no call returned, with one client or with none.
    fn on_error(&self, client_id: Option<u32>, error: ShmError) {
        let _ = (client_id, error);
    }
}

/// A multi-client server's handler as its threads call it.
pub(super) struct Adapter<H: ?Sized>(pub(super) Arc<H>);

impl<H: MultiHandler + ?Sized> Callbacks for Adapter<H> {
    fn connected(&self, slot: u32) {
        self.0.on_client_connect(slot);
    }
    fn disconnected(&self, slot: u32, reason: &DisconnectReason) {
        self.0.on_client_disconnect_because(slot, reason);
    }
    fn message(&self, slot: u32, _: ChannelKind, payload: &[u8]) {
        self.0.on_message(slot, payload);
    }
    fn overflow(&self, slot: u32, direction: ChannelKind, count: u32) {
        // What the server itself evicts, `send_to` returns.
        if direction == ChannelKind::ClientToServer {
            self.0.on_overflow(slot, count);
        }
    }
    fn space_available(&self, _: u32, _: ChannelKind) {}
    fn error(&self, slot: Option<u32>, error: ShmError) {
        self.0.on_error(slot, error);
    }
}

/// Clients of one worker at most: with two handles for each, and the worker's own, they fit into one kernel wait, which
/// Windows limits to 64.
pub(super) const MOST_CLIENTS_PER_WORKER: u32 = 30;

/// How a multi-client server behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiOptions {
    /// Slots: 20 unless changed. Each client's channel is made when it comes; one more stands ready.
    pub max_clients: u32,
    /// An upper bound of one kernel wait, as a safety net against a native peer that forgets to signal. Zero, the
    /// default, means no bound: nothing polls then.
    pub poll_timeout: Duration,
    /// Messages of one client that are handed over before its worker looks at the next: 64. Zero counts as 1.
    pub recv_batch: usize,
    /// Slots that share a worker thread: 30, which is the most; 1 gives each client its own. Slot `n` belongs to
    /// worker `n / clients_per_worker`, which is started with its first client. Zero counts as 1.
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
