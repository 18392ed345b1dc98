//! The operations on the clients of a server: by the server, and by a handle of it.

use super::slots::ClientId;
use crate::background::core::Core;
use crate::background::peer::PeerHandle;
use crate::error::{Result, ShmError};
use crate::halves::{PeerStats, WriteOutcome};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The outcome of a [`broadcast`](crate::MultiServer::broadcast), for each client.
///
/// It can be compared with a number: that of the clients that got the message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BroadcastOutcome {
    /// Each client, in the order of the slots, and the outcome of sending the message to it.
    pub clients: Vec<(ClientId, Result<WriteOutcome>)>,
}

impl BroadcastOutcome {
    /// Returns the number of clients that got the message.
    pub fn sent(&self) -> u32 {
        self.clients.iter().filter(|(_, outcome)| outcome.is_ok()).count() as u32
    }

    /// Iterates over the clients whose full queue evicted older messages for this one, with the number of these.
    pub fn evicted(&self) -> impl Iterator<Item = (ClientId, u32)> + '_ {
        let evicted = |(client, outcome): &(ClientId, Result<WriteOutcome>)| {
            Some((*client, outcome.as_ref().ok()?.overwritten))
        };
        self.clients.iter().filter_map(evicted).filter(|(_, count)| *count > 0)
    }

    /// Iterates over the clients that did not get the message, with the reason.
    pub fn failed(&self) -> impl Iterator<Item = (ClientId, &ShmError)> + '_ {
        self.clients.iter().filter_map(|(client, outcome)| Some((*client, outcome.as_ref().err()?)))
    }
}

impl PartialEq<u32> for BroadcastOutcome {
    fn eq(&self, sent: &u32) -> bool {
        self.sent() == *sent
    }
}

/// The operations on the clients of a server, given `self.core()`.
macro_rules! clients_methods {
    () => {
        /// Sends a message to a client, from any thread. Never waits: a full queue evicts its oldest messages.
        ///
        /// `client` is a slot's number, for the client that has the slot now, or a [`ClientId`], for one session. For an answer
        /// that takes longer than a handler's call, use a [`ClientId`], so that the answer reaches no other client: see
        /// [`client`](Self::client).
        ///
        /// # Errors
        /// [`ShmError::NotConnected`]: the slot has no client, or the session is over. Else those of
        /// [`SendHalf::send`](crate::SendHalf::send).
        pub fn send_to(&self, client: impl Into<ClientId>, message: &[u8]) -> Result<WriteOutcome> {
            self.core()?.send(client.into().to(), message)
        }

        /// Sends a message to a client if there is room, and evicts none. If there was no room, the client's worker calls
        /// [`on_space_available`](crate::MultiHandler::on_space_available) as soon as there is room again.
        ///
        /// # Errors
        /// As [`send_to`](Self::send_to), and [`ShmError::QueueFull`].
        pub fn try_send_to(&self, client: impl Into<ClientId>, message: &[u8]) -> Result<()> {
            self.core()?.try_send(client.into().to(), message)
        }

        /// Sends a message to a client, and waits for room if there is none. `None` waits without a limit. Other threads can
        /// send to this client and to others meanwhile.
        ///
        /// It also waits if a handler calls it. Then the handler's worker serves no other client meanwhile. While the server
        /// stops, no call waits: it fails with [`ShmError::NotConnected`] if there is no room.
        ///
        /// # Errors
        /// As [`send_to`](Self::send_to), and [`ShmError::Timeout`]. [`ShmError::NotConnected`] also means that the session ended
        /// while the call waited: no later client of the slot gets the message.
        pub fn send_to_timeout(
            &self, client: impl Into<ClientId>, message: &[u8], timeout: Option<Duration>,
        ) -> Result<()> {
            self.core()?.send_timeout(client.into().to(), message, timeout)
        }

        /// Sends a message to every client, as [`send_to`](Self::send_to) does, and returns the outcome for each of them. A
        /// failure for one client does not affect the others.
        ///
        /// # Errors
        /// [`ShmError::MessageTooSmall`], [`ShmError::MessageTooLarge`], [`ShmError::Forked`].
        pub fn broadcast(&self, message: &[u8]) -> Result<BroadcastOutcome> {
            let core = self.core()?;
            core.check_not_forked()?;
            core.settings.lengths.check(message.len())?;
            let client = |slot| Some(ClientId { slot, session: core.connected_session(slot)? });
            let clients = (0..core.slot_count()).filter_map(client);
            Ok(BroadcastOutcome {
                clients: clients.map(|client| (client, core.send(client.to(), message))).collect(),
            })
        }

        /// Returns the session of the client that has the slot. It stands for this client and for no later client. `None`: the slot
        /// has no client.
        ///
        /// Inside a handler's call for a slot, including `on_client_disconnect`, it is the session of that call's client.
        ///
        /// ```
        /// use std::sync::{mpsc, Arc, Mutex, Weak};
        /// use xshm::{ClientId, MultiClient, MultiClientHandler, MultiClientOptions, MultiHandler, MultiOptions, MultiServer};
        /// use xshm::ShmError;
        ///
        /// /// Passes on the session of each question, for an answer that takes a while.
        /// struct Questions {
        ///     /// Not an `Arc`, since the server owns its handler. Locked until the server has started.
        ///     server: Mutex<Weak<MultiServer>>,
        ///     sessions: Mutex<mpsc::Sender<ClientId>>,
        /// }
        ///
        /// impl MultiHandler for Questions {
        ///     fn on_message(&self, client_id: u32, _: &[u8]) {
        ///         let server = self.server.lock().unwrap().upgrade();
        ///         // `None`: the server is being dropped.
        ///         if let Some(session) = server.and_then(|server| server.client(client_id)) {
        ///             let _ = self.sessions.lock().unwrap().send(session);
        ///         }
        ///     }
        /// }
        ///
        /// struct Quiet;
        ///
        /// impl MultiClientHandler for Quiet {}
        ///
        /// let (sender, questions) = mpsc::channel();
        /// let handler = Arc::new(Questions { server: Mutex::default(), sessions: Mutex::new(sender) });
        /// let mut server_of_handler = handler.server.lock().unwrap();
        /// let server = Arc::new(MultiServer::start("client-id-example", handler.clone(), MultiOptions::default())?);
        /// *server_of_handler = Arc::downgrade(&server);
        /// drop(server_of_handler);
        ///
        /// let client = MultiClient::connect("client-id-example", Arc::new(Quiet), MultiClientOptions::default())?;
        /// client.send(b"what is the answer?")?;
        /// let session = questions.recv().unwrap();
        /// assert_eq!(session.slot(), 0);
        /// server.send_to(session, b"42")?;
        /// client.stop();
        /// while server.is_client_connected(session) {
        ///     std::thread::yield_now();
        /// }
        /// assert_eq!(server.send_to(session, b"too late"), Err(ShmError::NotConnected));
        /// # Ok::<(), xshm::ShmError>(())
        /// ```
        pub fn client(&self, slot: u32) -> Option<ClientId> {
            ClientId::current(&*self.core().ok()?, slot)
        }

        /// Returns the client that a slot or a session stands for, with the operations on it. `None`: the slot has no client, or the
        /// session is over.
        pub fn peer(&self, client: impl Into<ClientId>) -> Option<PeerHandle> {
            let client = client.into();
            let core = self.core().ok()?;
            let peer = PeerHandle::current(&core, client.slot())?;
            (client.session == 0 || client.session == peer.session()).then_some(peer)
        }

        /// Returns the counts of a client's session.
        ///
        /// # Errors
        /// [`ShmError::NotConnected`]: the slot has no client, or the session is over. [`ShmError::Corrupted`],
        /// [`ShmError::Forked`].
        pub fn stats(&self, client: impl Into<ClientId>) -> Result<PeerStats> {
            self.core()?.stats(client.into().to())
        }

        /// Ends a client's session. The client can still receive what the server has sent, and the handler gets what the client
        /// has sent. Then the slot becomes free, even if the client still uses its channel.
        ///
        /// # Errors
        /// [`ShmError::NotConnected`]: the slot has no client, or the session is over. [`ShmError::Forked`].
        pub fn disconnect_client(&self, client: impl Into<ClientId>) -> Result<()> {
            self.core()?.disconnect(client.into().to())
        }

        /// Returns the slots that have a client, in order.
        pub fn connected_clients(&self) -> Vec<u32> {
            let slots = self.core().map_or(0, |core| core.slot_count());
            (0..slots).filter(|&slot| self.is_client_connected(slot)).collect()
        }

        /// Returns the number of clients.
        pub fn client_count(&self) -> u32 {
            self.connected_clients().len() as u32
        }

        /// Returns whether a slot has a client, or, for a [`ClientId`], whether this session lives, as far as the server knows.
        /// It does not ask the system whether the client's process runs.
        pub fn is_client_connected(&self, client: impl Into<ClientId>) -> bool {
            self.core().is_ok_and(|core| core.is_connected(client.into().to()))
        }
    };
}
pub(super) use clients_methods;

/// A handle of a [`MultiServer`](crate::MultiServer), for its handler and for other threads. It does not keep the server alive:
/// when the server was dropped, every call fails with [`ShmError::NotConnected`].
///
/// A handler gets it before every other call: see [`MultiHandler::on_start`](crate::MultiHandler::on_start).
#[derive(Clone)]
pub struct MultiHandle {
    core: Weak<Core>,
}

impl MultiHandle {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        MultiHandle { core: Arc::downgrade(core) }
    }

    fn core(&self) -> Result<Arc<Core>> {
        self.core.upgrade().ok_or(ShmError::NotConnected)
    }

    clients_methods!();

    /// Begins to stop the server, and returns without waiting, as
    /// [`MultiServer::request_stop`](crate::MultiServer::request_stop) does.
    pub fn request_stop(&self) {
        if let Ok(core) = self.core() {
            core.request_stop();
        }
    }
}

impl fmt::Debug for MultiHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiHandle").field("clients", &self.connected_clients()).finish()
    }
}
