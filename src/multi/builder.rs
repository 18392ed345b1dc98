//! A server for many clients, and its clients, with closures in place of a handler.

use super::client::{MultiClient, MultiClientOptions};
use super::handler::MultiOptions;
use super::server::MultiServer;
use crate::background::call::Call;
use crate::background::callbacks::{ChannelKind, DisconnectReason};
use crate::background::closures::{closure_methods, on_call_method, Closures};
use crate::background::peer::PeerHandle;
use crate::error::{Result, ShmError};
use crate::options::{ClientOptions, ServerOptions};
use std::sync::Arc;

/// Starts a [`MultiServer`] with closures, see [`MultiServer::builder`]. The server's threads call them. The calls for one client come
/// one after the other; calls for clients of different workers may come at the same time.
#[must_use = "the server starts by `start`"]
pub struct MultiServerBuilder {
    name: String,
    options: ServerOptions,
    multi: MultiOptions,
    closures: Closures,
}

/// Connects a [`MultiClient`] with closures, see [`MultiClient::builder`]. The worker calls them, one at a time.
#[must_use = "the client connects by `connect`"]
pub struct MultiClientBuilder {
    name: String,
    options: ClientOptions,
    multi: MultiClientOptions,
    closures: Closures,
}

impl MultiServer {
    /// Begins a server with closures in place of a handler. A closure gets the client as an argument, and can answer it. Omit
    /// the closures that you do not need. [`MultiServerBuilder::start`] starts the server.
    ///
    /// ```
    /// use std::sync::{mpsc, Mutex};
    /// use xshm::{MultiClient, MultiServer};
    ///
    /// let _server = MultiServer::builder("multi-closures-example")
    ///     .on_message(|client, bytes| {
    ///         let answer = format!("slot {}: {}", client.slot(), String::from_utf8_lossy(bytes));
    ///         let _ = client.send(answer.as_bytes());
    ///     })
    ///     .start()?;
    ///
    /// let (sender, answers) = mpsc::channel();
    /// let sender = Mutex::new(sender);
    /// let client = MultiClient::builder("multi-closures-example")
    ///     .on_message(move |_, bytes| sender.lock().unwrap().send(bytes.to_vec()).unwrap())
    ///     .connect()?;
    /// client.send(b"hello")?;
    /// assert_eq!(answers.recv().unwrap(), b"slot 0: hello");
    /// # Ok::<(), xshm::ShmError>(())
    /// ```
    pub fn builder(name: &str) -> MultiServerBuilder {
        MultiServerBuilder {
            name: name.to_owned(),
            options: ServerOptions::default(),
            multi: MultiOptions::default(),
            closures: Closures::default(),
        }
    }
}

impl std::fmt::Debug for MultiServerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MultiServerBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl MultiServerBuilder {
    /// Sets the options of each client's channel.
    pub fn options(mut self, options: ServerOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the number of slots, and how the server works in the background.
    pub fn multi_options(mut self, options: MultiOptions) -> Self {
        self.multi = options;
        self
    }

    closure_methods!("client");
    on_call_method!();

    /// Starts the server.
    ///
    /// # Errors
    /// Those of [`MultiServer::start`].
    pub fn start(self) -> Result<MultiServer> {
        self.options.start_multi_with(&self.name, Box::new(self.closures), &self.multi)
    }
}

impl MultiClient {
    /// Begins a client with closures in place of a handler. A closure gets the server as an argument, and can send to it. Omit
    /// the closures that you do not need. [`MultiClientBuilder::connect`] connects. [`MultiServer::builder`] has an example.
    pub fn builder(name: &str) -> MultiClientBuilder {
        MultiClientBuilder {
            name: name.to_owned(),
            options: ClientOptions::default(),
            multi: MultiClientOptions::default(),
            closures: Closures::default(),
        }
    }
}

impl std::fmt::Debug for MultiClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MultiClientBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl MultiClientBuilder {
    /// Sets the options of the channel.
    pub fn options(mut self, options: ClientOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets how the client connects and works in the background.
    pub fn multi_options(mut self, options: MultiClientOptions) -> Self {
        self.multi = options;
        self
    }

    closure_methods!("server");

    /// Connects, and returns after the server's handler and `on_connect` have been called for the connection.
    ///
    /// # Errors
    /// Those of [`MultiClient::connect`].
    pub fn connect(self) -> Result<MultiClient> {
        self.options.connect_multi_with(&self.name, self.closures, Arc::default(), &self.multi)
    }
}
