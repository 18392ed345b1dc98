//! The public server for many clients.

use super::accept;
use super::clients::{clients_methods, BroadcastOutcome, MultiHandle};
use super::handler::{Adapter, MultiHandler, MultiOptions};
use super::slots::ClientId;
use crate::background::core::{Callbacks, Core};
use crate::background::peer::PeerHandle;
use crate::background::stop_methods;
use crate::error::{Result, ShmError};
use crate::halves::{PeerStats, WriteOutcome};
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

impl std::fmt::Debug for MultiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MultiServer").field("clients", &self.client_count()).finish_non_exhaustive()
    }
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

    fn core(&self) -> Result<&Arc<Core>> {
        Ok(&self.core)
    }

    clients_methods!();

    /// Returns a handle that does not keep the server alive, for other threads.
    pub fn handle(&self) -> MultiHandle {
        MultiHandle::new(&self.core)
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
        self.start_multi_with(name, Box::new(Adapter::new(handler)), &options)
    }

    pub(super) fn start_multi_with(
        self, name: &str, handler: Box<dyn Callbacks>, options: &MultiOptions,
    ) -> Result<MultiServer> {
        let name = ChannelName::parse(name)?;
        if options.max_clients == 0 {
            let reason = "a server has at least one slot".to_owned();
            return Err(ShmError::InvalidOption { option: "max_clients", value: 0, reason });
        }
        // One for all channels. It ends the waits of handlers for room when the server stops.
        let interrupter = Interrupter::new()?;
        let channel_options = self.interrupter(interrupter.clone());
        let server = SharedServer::start_many(&name, channel_options)?;
        let core = accept::start(server, handler, options, interrupter)?;
        Ok(MultiServer { core, name })
    }
}

impl Drop for MultiServer {
    fn drop(&mut self) {
        self.stop();
    }
}
