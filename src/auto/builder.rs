//! Auto endpoints with closures in place of a handler.

use super::handler::AutoOptions;
use super::{AutoClient, AutoServer};
use crate::background::call::Call;
use crate::background::callbacks::{ChannelKind, DisconnectReason};
use crate::background::closures::{closure_methods, on_call_method, Closures};
use crate::background::peer::PeerHandle;
use crate::error::{Result, ShmError};
use crate::options::{ClientOptions, ServerOptions};

/// Starts an [`AutoServer`] with closures, see [`AutoServer::builder`]. The worker calls them, one at a time.
#[must_use = "the server starts by `start`"]
pub struct AutoServerBuilder {
    name: String,
    options: ServerOptions,
    auto: AutoOptions,
    closures: Closures,
}

/// Starts an [`AutoClient`] with closures, see [`AutoClient::builder`]. The worker calls them, one at a time.
#[must_use = "the client starts by `connect`"]
pub struct AutoClientBuilder {
    name: String,
    options: ClientOptions,
    auto: AutoOptions,
    closures: Closures,
}

impl AutoServer {
    /// Begins a server with closures in place of a handler. A closure gets the client as an argument, and can answer it. Omit
    /// the closures that you do not need. [`AutoServerBuilder::start`] starts the server.
    ///
    /// ```
    /// use xshm::{AutoServer, Caller};
    ///
    /// let _server = AutoServer::builder("closures-example")
    ///     .on_message(|client, bytes| {
    ///         let _ = client.send(bytes); // An echo.
    ///     })
    ///     .on_call(|call, bytes| {
    ///         let _ = call.answer(&bytes.to_ascii_uppercase());
    ///     })
    ///     .start()?;
    ///
    /// let caller = Caller::connect("closures-example", std::time::Duration::from_secs(5))?;
    /// assert_eq!(caller.call(b"hello", None)?, b"HELLO");
    /// # Ok::<(), xshm::ShmError>(())
    /// ```
    pub fn builder(name: &str) -> AutoServerBuilder {
        AutoServerBuilder {
            name: name.to_owned(),
            options: ServerOptions::default(),
            auto: AutoOptions::default(),
            closures: Closures::default(),
        }
    }
}

impl std::fmt::Debug for AutoServerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AutoServerBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl AutoServerBuilder {
    /// Sets the options of the channel.
    pub fn options(mut self, options: ServerOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets how the server works in the background.
    pub fn auto_options(mut self, options: AutoOptions) -> Self {
        self.auto = options;
        self
    }

    closure_methods!("client");
    on_call_method!();

    /// Starts the server, and returns at once.
    ///
    /// # Errors
    /// Those of [`AutoServer::start`].
    pub fn start(self) -> Result<AutoServer> {
        self.options.start_auto_with(&self.name, Box::new(self.closures), &self.auto)
    }
}

impl AutoClient {
    /// Begins a client with closures in place of a handler. A closure gets the server as an argument, and can send to it. Omit
    /// the closures that you do not need. [`AutoClientBuilder::connect`] starts the client. [`AutoHandle`](crate::AutoHandle) has
    /// an example.
    pub fn builder(name: &str) -> AutoClientBuilder {
        AutoClientBuilder {
            name: name.to_owned(),
            options: ClientOptions::default(),
            auto: AutoOptions::default(),
            closures: Closures::default(),
        }
    }
}

impl std::fmt::Debug for AutoClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AutoClientBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl AutoClientBuilder {
    /// Sets the options of the channel.
    pub fn options(mut self, options: ClientOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets how the client works in the background.
    pub fn auto_options(mut self, options: AutoOptions) -> Self {
        self.auto = options;
        self
    }

    closure_methods!("server");

    /// Begins to connect, and returns at once, whether there is a server or not.
    ///
    /// # Errors
    /// Those of [`AutoClient::connect`].
    pub fn connect(self) -> Result<AutoClient> {
        self.options.connect_auto_with(&self.name, Box::new(self.closures), &self.auto)
    }
}
