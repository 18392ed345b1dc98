//! The public server for many clients.

use super::accept;
use super::handler::{Adapter, MultiHandler, MultiOptions};
use super::slots::ClientId;
use crate::background::core::Core;
use crate::background::stop_methods;
use crate::constants::MAX_MESSAGE_SIZE;
use crate::error::{Result, ShmError};
use crate::halves::WriteOutcome;
use crate::layout::check_message;
use crate::naming::ChannelName;
use crate::options::ServerOptions;
use crate::server::SharedServer;
use crate::waiting::Interrupter;
use std::sync::Arc;
use std::time::Duration;

/// A server for many clients, in the background. Dropping it [stops](Self::stop) it.
///
/// ```
/// use std::sync::{mpsc, Arc, Mutex};
/// use xshm::{MultiClient, MultiClientHandler, MultiClientOptions, MultiHandler, MultiOptions, MultiServer};
///
/// struct Greeter(Mutex<mpsc::Sender<String>>);
///
/// impl MultiHandler for Greeter {
///     fn on_message(&self, client_id: u32, data: &[u8]) {
///         let line = format!("{client_id}: {}", String::from_utf8_lossy(data));
///         self.0.lock().unwrap().send(line).unwrap();
///     }
/// }
///
/// struct Quiet;
///
/// impl MultiClientHandler for Quiet {}
///
/// let (sender, lines) = mpsc::channel();
/// let server = MultiServer::start("multi-example", Arc::new(Greeter(Mutex::new(sender))), MultiOptions::default())?;
/// let first = MultiClient::connect("multi-example", Arc::new(Quiet), MultiClientOptions::default())?;
/// let second = MultiClient::connect("multi-example", Arc::new(Quiet), MultiClientOptions::default())?;
/// assert_eq!((first.slot_id(), second.slot_id()), (0, 1));
/// second.send(b"good morning")?;
/// assert_eq!(lines.recv().unwrap(), "1: good morning");
/// assert_eq!(server.broadcast(b"hello, all")?, 2);
/// # Ok::<(), xshm::ShmError>(())
/// ```
pub struct MultiServer {
    pub(crate) core: Arc<Core>,
    name: ChannelName,
}

impl MultiServer {
    /// Starts a server under a name.
    ///
    /// # Errors
    /// Those of [`SharedServer::start`], and [`ShmError::InvalidOption`]: `max_clients` is zero.
    pub fn start<H: MultiHandler + ?Sized>(
        name: &str, handler: Arc<H>, options: MultiOptions,
    ) -> Result<Self> {
        ServerOptions::default().start_multi(name, handler, options)
    }

    /// Sends a message to a client, from any thread. Never waits: a full queue evicts its oldest messages.
    ///
    /// `client` is a slot's number, for the client that has the slot now, or a [`ClientId`], for one session. For an answer
    /// that takes longer than a handler's call, use a [`ClientId`], so that the answer reaches no other client: see
    /// [`client`](Self::client).
    ///
    /// # Errors
    /// [`ShmError::NotConnected`]: the slot has no client, or the session is over. Else those of [`SendHalf::send`](crate::SendHalf::send).
    pub fn send_to(&self, client: impl Into<ClientId>, message: &[u8]) -> Result<WriteOutcome> {
        self.core.send(client.into().to(), message)
    }

    /// Sends a message to a client if there is room, and evicts none.
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to), and [`ShmError::QueueFull`].
    pub fn try_send_to(&self, client: impl Into<ClientId>, message: &[u8]) -> Result<()> {
        self.core.try_send(client.into().to(), message)
    }

    /// Sends a message to every client, and returns the number of clients that got it. A failure for one client does not affect
    /// the others.
    ///
    /// # Errors
    /// [`ShmError::MessageTooSmall`], [`ShmError::MessageTooLarge`], [`ShmError::Forked`].
    pub fn broadcast(&self, message: &[u8]) -> Result<u32> {
        self.core.check_not_forked()?;
        check_message(message.len(), MAX_MESSAGE_SIZE)?;
        let sent = |slot: &u32| self.send_to(*slot, message).is_ok();
        Ok((0..self.core.slot_count()).filter(sent).count() as u32)
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
        let session = self.core.session(slot)?;
        Some(ClientId { slot, session })
    }

    /// Ends a client's session. The client can still receive what the server has sent, and the handler gets what the client has
    /// sent. Then the slot becomes free, even if the client still uses its channel.
    ///
    /// # Errors
    /// [`ShmError::NotConnected`]: the slot has no client, or the session is over. [`ShmError::Forked`].
    pub fn disconnect_client(&self, client: impl Into<ClientId>) -> Result<()> {
        self.core.disconnect(client.into().to())
    }

    /// Returns the slots that have a client, in order.
    pub fn connected_clients(&self) -> Vec<u32> {
        (0..self.core.slot_count()).filter(|&slot| self.is_client_connected(slot)).collect()
    }

    /// Returns the number of clients.
    pub fn client_count(&self) -> u32 {
        self.connected_clients().len() as u32
    }

    /// Returns whether a slot has a client, or, for a [`ClientId`], whether this session lives, as far as the server knows. It
    /// does not ask the system whether the client's process runs.
    pub fn is_client_connected(&self, client: impl Into<ClientId>) -> bool {
        self.core.is_connected(client.into().to())
    }

    /// Returns the name as the caller gave it.
    pub fn base_name(&self) -> &str {
        self.name.given()
    }

    /// Returns a name for a slot's channel in a log: the server's name and the slot's number. `None`: there is no such slot.
    /// Clients cannot connect to it; they all connect to [`base_name`](Self::base_name).
    pub fn channel_name(&self, client_id: u32) -> Option<String> {
        (client_id < self.core.slot_count()).then(|| format!("{}.{client_id}", self.base_name()))
    }

    stop_methods!(self => self.core);
}

impl ServerOptions {
    /// Starts a server for many clients, as [`MultiServer::start`] does, with these options for each client's channel. The server
    /// does not use an [`interrupter`](Self::interrupter) of these options.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_multi<H: MultiHandler + ?Sized>(
        self, name: &str, handler: Arc<H>, options: MultiOptions,
    ) -> Result<MultiServer> {
        let name = ChannelName::parse(name)?;
        if options.max_clients == 0 {
            let reason = "a server has at least one slot".to_owned();
            return Err(ShmError::InvalidOption { option: "max_clients", value: 0, reason });
        }
        // The channels' own calls never wait. One interrupter that nothing sets serves them all.
        let channel_options = self.interrupter(Interrupter::new()?);
        let server = SharedServer::start_many(&name, channel_options)?;
        let core = accept::start(server, Box::new(Adapter(handler)), &options)?;
        Ok(MultiServer { core, name })
    }
}

impl Drop for MultiServer {
    fn drop(&mut self) {
        self.stop();
    }
}
