//! Closures in place of a handler.

use super::call::Call;
use super::callbacks::{ChannelKind, DisconnectReason};
use super::core::{Callbacks, Core};
use super::peer::PeerHandle;
use crate::error::ShmError;
use std::sync::{Arc, OnceLock, Weak};

type OnConnect = dyn Fn(&PeerHandle) + Send + Sync;
type OnDisconnect = dyn Fn(&PeerHandle, &DisconnectReason) + Send + Sync;
type OnMessage = dyn Fn(&PeerHandle, &[u8]) + Send + Sync;
type OnCall = dyn Fn(Call, &[u8]) + Send + Sync;
type OnOverflow = dyn Fn(Option<&PeerHandle>, ChannelKind, u32) + Send + Sync;
type OnSpace = dyn Fn(Option<&PeerHandle>) + Send + Sync;
type OnError = dyn Fn(Option<&PeerHandle>, ShmError) + Send + Sync;

/// The closures of an endpoint.
#[derive(Default)]
pub(crate) struct Closures {
    core: OnceLock<Weak<Core>>,
    pub(crate) on_connect: Option<Box<OnConnect>>,
    pub(crate) on_disconnect: Option<Box<OnDisconnect>>,
    pub(crate) on_message: Option<Box<OnMessage>>,
    pub(crate) on_call: Option<Box<OnCall>>,
    pub(crate) on_overflow: Option<Box<OnOverflow>>,
    pub(crate) on_space_available: Option<Box<OnSpace>>,
    pub(crate) on_error: Option<Box<OnError>>,
}

impl Closures {
    /// The peer of the connection that a call is about. `None`: the endpoint is gone.
    fn peer(&self, slot: u32) -> Option<PeerHandle> {
        PeerHandle::current(&self.core.get()?.upgrade()?, slot)
    }
}

impl Callbacks for Closures {
    fn starting(&self, core: &Arc<Core>) {
        let _ = self.core.set(Arc::downgrade(core));
    }

    fn connected(&self, slot: u32) {
        if let (Some(call), Some(peer)) = (&self.on_connect, self.peer(slot)) {
            call(&peer);
        }
    }

    fn disconnected(&self, slot: u32, reason: &DisconnectReason) {
        if let (Some(call), Some(peer)) = (&self.on_disconnect, self.peer(slot)) {
            call(&peer, reason);
        }
    }

    fn message(&self, slot: u32, _: ChannelKind, payload: &[u8]) {
        let Some(peer) = self.peer(slot) else { return };
        if let Some(call) = &self.on_call {
            if let Some((to_answer, bytes)) = Call::read(peer.clone(), payload) {
                return call(to_answer, bytes);
            }
        }
        if let Some(call) = &self.on_message {
            call(&peer, payload);
        }
    }

    fn overflow(&self, slot: u32, direction: ChannelKind, count: u32) {
        if let Some(call) = &self.on_overflow {
            call(self.peer(slot).as_ref(), direction, count);
        }
    }

    fn space_available(&self, slot: u32, _: ChannelKind) {
        if let Some(call) = &self.on_space_available {
            call(self.peer(slot).as_ref());
        }
    }

    fn error(&self, slot: Option<u32>, error: ShmError) {
        if let Some(call) = &self.on_error {
            call(slot.and_then(|slot| self.peer(slot)).as_ref(), error);
        }
    }
}

/// The methods by which a builder takes closures. `$peer` is what the peer is called.
macro_rules! closure_methods {
    ($peer:literal) => {
        #[doc = concat!("Calls `call` when a connection began, with the ", $peer, ", before its first message.")]
        pub fn on_connect(mut self, call: impl Fn(&PeerHandle) + Send + Sync + 'static) -> Self {
            self.closures.on_connect = Some(Box::new(call));
            self
        }

        /// Calls `call` once when a connection is over, after its last message.
        pub fn on_disconnect(
            mut self, call: impl Fn(&PeerHandle, &DisconnectReason) + Send + Sync + 'static,
        ) -> Self {
            self.closures.on_disconnect = Some(Box::new(call));
            self
        }

        #[doc = concat!("Calls `call` with each message, and with the ", $peer, " that sent it.")]
        pub fn on_message(mut self, call: impl Fn(&PeerHandle, &[u8]) + Send + Sync + 'static) -> Self {
            self.closures.on_message = Some(Box::new(call));
            self
        }

        /// Calls `call` when messages of this direction were lost, with their number. `None`: no connection lost them, but the
        /// full queue of messages that wait for one.
        pub fn on_overflow(
            mut self, call: impl Fn(Option<&PeerHandle>, ChannelKind, u32) + Send + Sync + 'static,
        ) -> Self {
            self.closures.on_overflow = Some(Box::new(call));
            self
        }

        /// Calls `call` when there is room again for a message for which `try_send` found none. `None`: in the queue of messages
        /// that wait for a connection.
        pub fn on_space_available(
            mut self, call: impl Fn(Option<&PeerHandle>) + Send + Sync + 'static,
        ) -> Self {
            self.closures.on_space_available = Some(Box::new(call));
            self
        }

        /// Calls `call` with each error that no call returned: an attempt to connect that failed, or a closure that panicked.
        /// `None`: the error concerns no connection.
        pub fn on_error(
            mut self, call: impl Fn(Option<&PeerHandle>, ShmError) + Send + Sync + 'static,
        ) -> Self {
            self.closures.on_error = Some(Box::new(call));
            self
        }
    };
}
pub(crate) use closure_methods;

/// The method by which a server's builder takes the closure for calls.
macro_rules! on_call_method {
    () => {
        /// Calls `call` with each message that is a call, and with the bytes that its caller has passed to
        /// [`Caller::call`](crate::Caller::call). Without this closure, such a message is one like any other.
        pub fn on_call(mut self, call: impl Fn(Call, &[u8]) + Send + Sync + 'static) -> Self {
            self.closures.on_call = Some(Box::new(call));
            self
        }
    };
}
pub(crate) use on_call_method;
