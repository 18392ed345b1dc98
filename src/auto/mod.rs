//! Endpoints that work in the background: a worker thread connects, receives, reconnects, and calls a handler.
//!
//! The two sides differ in how they get their next connection ([`connect::Connector`]); the rest is [`crate::background`].

mod builder;
pub(crate) mod connect;
#[cfg(all(feature = "c-api", not(loom)))]
pub(crate) mod ffi;
mod handle;
mod handler;

pub use crate::background::callbacks::{ChannelKind, DisconnectReason};
use crate::background::core::{bound, Callbacks, Core, Settings};
use crate::background::outbox::{Outbox, WaitsFor};
use crate::background::peer::PeerHandle;
use crate::background::retry::Backoff;
use crate::background::sending::ONLY;
use crate::background::{stop_methods, worker};
use crate::channel::Side;
use crate::error::Result;
#[cfg(doc)]
use crate::error::ShmError;
use crate::options::{ClientOptions, ServerOptions};
use crate::waiting::Interrupter;
pub use builder::{AutoClientBuilder, AutoServerBuilder};
use connect::{ClientConnector, Connections, Connector, ServerConnector};
pub use handle::{AutoHandle, AutoStatsSnapshot};
use handler::Adapter;
pub use handler::{AutoHandler, AutoOptions, SessionId};
use std::sync::Arc;
use std::time::Duration;

/// An endpoint with its worker.
pub(crate) struct Auto {
    pub(crate) core: Arc<Core>,
}

impl Auto {
    pub(crate) fn start(
        handler: Box<dyn Callbacks>, options: &AutoOptions, interrupter: Interrupter,
        connector: impl Connector,
    ) -> Result<Self> {
        let (side, name, wait_bound) = (connector.side(), connector.held_name(), bound(options.wait_timeout));
        let settings = Settings {
            recv_batch: options.recv_batch,
            wait_bound,
            waits_for: match side {
                Side::Client => WaitsFor::AnyConnection,
                Side::Server => WaitsFor::OneSession,
            },
            lengths: connector.lengths(),
            queue_limit: options.max_send_queue,
        };
        let outboxes = vec![Outbox::new(interrupter.clone())];
        let core = Core::new(side, handler, settings, outboxes, vec![interrupter], name)?;
        let source = Connections::new(core.clone(), connector, Backoff::new(options.retry()));
        core.threads.spawn("xshm-auto", move || worker::run(source))?;
        Ok(Auto { core })
    }
}

impl Drop for Auto {
    fn drop(&mut self) {
        self.core.stop();
    }
}

macro_rules! auto_methods {
    ($peer:literal) => {
        #[doc = concat!("Sends a message to the ", $peer, ", from any thread. Never waits.")]
        ///
        /// With a connection, the call writes the message into the ring, and evicts the oldest unread messages if there is no
        /// room (`on_overflow` reports them). Without a connection, the message waits in the send queue; a full queue drops its
        /// oldest message. A client's queue outlives its connections. A server's queue belongs to one connection: when the
        /// connection ends, the messages in the queue are lost, and counted.
        ///
        /// # Errors
        /// - [`ShmError::MessageTooSmall`], [`ShmError::MessageTooLarge`].
        /// - [`ShmError::QueueFull`]: there is no room, and the channel [rejects when
        ///   full](crate::ServerOptions::reject_when_full).
        /// - [`ShmError::NotConnected`], for one of three reasons. The endpoint was stopped (its handler can still answer the
        ///   messages that it gets meanwhile, unless the handler itself called [`stop`](Self::stop)). Or there is no
        ///   connection, and `max_send_queue` is zero. Or a server's client has left, and `on_disconnect` has not returned.
        /// - [`ShmError::Forked`].
        pub fn send(&self, message: &[u8]) -> Result<()> {
            self.auto.core.send(ONLY, message).map(drop)
        }

        /// Does the same as [`send`](Self::send) if there is room; evicts and drops nothing. If there was no room, the worker
        /// calls [`on_space_available`](AutoHandler::on_space_available) as soon as there is room again.
        ///
        /// # Errors
        /// As `send`, and [`ShmError::QueueFull`]: neither the ring nor the queue has room.
        pub fn try_send(&self, message: &[u8]) -> Result<()> {
            self.auto.core.try_send(ONLY, message)
        }

        /// Does the same as [`try_send`](Self::try_send), but waits for room. `None` waits without a limit.
        ///
        /// It also waits if the handler calls it. The peer must then make room without an answer from this endpoint, because
        /// the worker is inside the handler. Without a connection, a call from the handler does not wait: it fails with
        /// `QueueFull` if the queue has no room. While the endpoint stops, no call waits: it fails with `NotConnected` if there
        /// is no room.
        ///
        /// # Errors
        /// As `send`, and [`ShmError::Timeout`].
        pub fn send_timeout(&self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
            self.auto.core.send_timeout(ONLY, message, timeout)
        }

        /// Returns the counts of messages that were sent, received and lost so far.
        pub fn stats(&self) -> AutoStatsSnapshot {
            AutoStatsSnapshot::of(&self.auto.core)
        }

        #[doc = concat!("Returns whether a ", $peer, " is connected, as far as the worker knows. It does not ask the system whether the peer's process runs.")]
        pub fn is_connected(&self) -> bool {
            self.auto.core.is_connected(ONLY)
        }

        #[doc = concat!("Returns the ", $peer, " of the present session, and of no later one. `None`: there is no session.")]
        pub fn peer(&self) -> Option<PeerHandle> {
            PeerHandle::current(&self.auto.core, 0)
        }

        /// Returns a handle that does not keep the endpoint alive, for other threads.
        pub fn handle(&self) -> AutoHandle {
            AutoHandle::new(&self.auto.core)
        }
    };
}

/// A server that accepts one client after the other, in the background. Dropping it [stops](Self::stop) it.
///
/// ```
/// use std::sync::{mpsc, Arc, Mutex};
/// use xshm::{AutoClient, AutoHandler, AutoOptions, AutoServer, ChannelKind};
///
/// struct Inbox(Mutex<mpsc::Sender<Vec<u8>>>);
///
/// impl AutoHandler for Inbox {
///     fn on_message(&self, _: ChannelKind, payload: &[u8]) {
///         self.0.lock().unwrap().send(payload.to_vec()).unwrap();
///     }
/// }
///
/// let (sender, inbox) = mpsc::channel();
/// let handler = Arc::new(Inbox(Mutex::new(sender)));
/// let server = AutoServer::start("auto-example", handler.clone(), AutoOptions::default())?;
/// let client = AutoClient::connect("auto-example", handler, AutoOptions::default())?;
/// client.send(b"sent before there is a connection")?;
/// assert_eq!(inbox.recv().unwrap(), b"sent before there is a connection");
/// server.send(b"an answer")?;
/// assert_eq!(inbox.recv().unwrap(), b"an answer");
/// # Ok::<(), xshm::ShmError>(())
/// ```
pub struct AutoServer {
    pub(crate) auto: Auto,
}

impl std::fmt::Debug for AutoServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AutoServer").finish_non_exhaustive()
    }
}

impl AutoServer {
    /// Starts a server under a name, and returns at once.
    ///
    /// # Errors
    /// Those of [`SharedServer::start`](crate::SharedServer::start).
    pub fn start<H: AutoHandler + ?Sized>(name: &str, handler: Arc<H>, options: AutoOptions) -> Result<Self> {
        ServerOptions::default().start_auto(name, handler, options)
    }

    /// Returns the present session, which stands for the present client and for no later client. `None`: there is no session.
    ///
    /// Inside a handler's call, including `on_disconnect`, it is the session of that call. In `on_disconnect` the session is
    /// over, and sending to it is an error.
    pub fn session(&self) -> Option<SessionId> {
        self.auto.core.session(0).map(SessionId)
    }

    /// Does the same as [`send`](Self::send), but sends only to the client of this session. Use it for an answer that takes
    /// longer than a handler's call.
    ///
    /// # Errors
    /// As `send`, and [`ShmError::NotConnected`]: the session is over.
    pub fn send_to_session(&self, session: SessionId, message: &[u8]) -> Result<()> {
        self.auto.core.send((0, Some(session.0)), message).map(drop)
    }

    auto_methods!("client");
    stop_methods!(self => self.auto.core);
}

/// A client that connects, and reconnects, in the background. Dropping it [stops](Self::stop) it. [`AutoServer`] has an
/// example.
pub struct AutoClient {
    pub(crate) auto: Auto,
}

impl std::fmt::Debug for AutoClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AutoClient").finish_non_exhaustive()
    }
}

impl AutoClient {
    /// Begins to connect to the server that has the name. Returns at once, whether there is a server or not.
    ///
    /// # Errors
    /// [`ShmError::InvalidName`]. [`ShmError::SystemError`], [`ShmError::WindowsError`]: the system cannot create an event or a
    /// thread.
    pub fn connect<H: AutoHandler + ?Sized>(
        name: &str, handler: Arc<H>, options: AutoOptions,
    ) -> Result<Self> {
        ClientOptions::default().connect_auto(name, handler, options)
    }

    auto_methods!("server");
    stop_methods!(self => self.auto.core);
}

impl ServerOptions {
    /// Starts a server that works in the background, as [`AutoServer::start`] does. The server has its own interrupter, and does
    /// not use an [`interrupter`](Self::interrupter) of these options.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_auto<H: AutoHandler + ?Sized>(
        self, name: &str, handler: Arc<H>, options: AutoOptions,
    ) -> Result<AutoServer> {
        self.start_auto_with(name, Box::new(Adapter::new(handler)), &options)
    }

    pub(crate) fn start_auto_with(
        self, name: &str, handler: Box<dyn Callbacks>, options: &AutoOptions,
    ) -> Result<AutoServer> {
        let interrupter = Interrupter::new()?;
        let server = self.interrupter(interrupter.clone()).start(name)?;
        let connector = ServerConnector { server, wait_bound: bound(options.wait_timeout) };
        Ok(AutoServer { auto: Auto::start(handler, options, interrupter, connector)? })
    }
}

impl ClientOptions {
    /// Connects in the background, as [`AutoClient::connect`] does. The client has its own interrupter, and does not use an
    /// [`interrupter`](Self::interrupter) of these options.
    ///
    /// # Errors
    /// As [`AutoClient::connect`].
    pub fn connect_auto<H: AutoHandler + ?Sized>(
        self, name: &str, handler: Arc<H>, options: AutoOptions,
    ) -> Result<AutoClient> {
        self.connect_auto_with(name, Box::new(Adapter::new(handler)), &options)
    }

    pub(crate) fn connect_auto_with(
        self, name: &str, handler: Box<dyn Callbacks>, options: &AutoOptions,
    ) -> Result<AutoClient> {
        let interrupter = Interrupter::new()?;
        let client = self.interrupter(interrupter.clone());
        let connector = ClientConnector::new(name, client, options.connect_timeout)?;
        Ok(AutoClient { auto: Auto::start(handler, options, interrupter, connector)? })
    }
}
