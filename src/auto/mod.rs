//! Endpoints that look after themselves: a worker thread connects, receives, reconnects, and calls a handler.
//!
//! The two sides differ in how they get their next connection ([`connect::Connector`]); the rest is [`crate::background`].

pub(crate) mod connect;
#[cfg(all(feature = "c-api", not(loom)))]
pub(crate) mod ffi;
mod handler;

use crate::background::callbacks::Callbacks;
pub use crate::background::callbacks::{ChannelKind, DisconnectReason};
use crate::background::core::{Core, Settings};
use crate::background::outbox::{Outbox, WaitsFor};
use crate::background::sending::ONLY;
use crate::background::{stop_methods, worker};
use crate::channel::Side;
use crate::error::Result;
#[cfg(doc)]
use crate::error::ShmError;
use crate::options::{ClientOptions, ServerOptions};
use crate::waiting::Interrupter;
use connect::{ClientConnector, Connections, Connector, ServerConnector};
use handler::Adapter;
pub use handler::{AutoHandler, AutoOptions, AutoStatsSnapshot, SessionId};
use std::sync::atomic::Ordering;
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
        let side = connector.side();
        let settings = Settings {
            recv_batch: options.recv_batch,
            wait_timeout: options.wait_timeout,
            waits_for: match side {
                Side::Client => WaitsFor::AnyConnection,
                Side::Server => WaitsFor::OneSession,
            },
            queue_limit: options.max_send_queue,
        };
        let outboxes = vec![Outbox::new(interrupter.clone())];
        let core = Arc::new(Core::new(side, handler, settings, outboxes, vec![interrupter])?);
        let source = Connections::new(core.clone(), connector, options.reconnect_delay);
        core.threads.spawn("xshm-auto", move || worker::run(source))?;
        Ok(Auto { core })
    }

    pub(crate) fn send(&self, message: &[u8]) -> Result<()> {
        self.core.send(ONLY, message).map(drop)
    }

    pub(crate) fn try_send(&self, message: &[u8]) -> Result<()> {
        self.core.try_send(ONLY, message)
    }

    pub(crate) fn send_timeout(&self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
        self.core.send_timeout(ONLY, message, timeout)
    }

    pub(crate) fn stats(&self) -> AutoStatsSnapshot {
        let outbox = self.core.outbox(0);
        AutoStatsSnapshot {
            sent_messages: outbox.sent.load(Ordering::Relaxed),
            send_overflows: outbox.send_overflows.load(Ordering::Relaxed),
            received_messages: outbox.received.load(Ordering::Relaxed),
            receive_overflows: outbox.receive_overflows.load(Ordering::Relaxed),
        }
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
        /// Connected, it goes straight into the ring, where it may evict the oldest unread ones (`on_overflow`). Without
        /// a connection it waits in the send queue for the next one; a full queue drops its oldest. A client's queue
        /// outlives its connections. A server's belongs to one: when that ends, what is left in it is lost, and counted.
        ///
        /// # Errors
        /// - [`ShmError::MessageTooSmall`], [`ShmError::MessageTooLarge`].
        /// - [`ShmError::QueueFull`]: on a channel made with
        ///   [`reject_when_full`](crate::ServerOptions::reject_when_full).
        /// - [`ShmError::NotConnected`]: the endpoint was stopped (its handler can still answer the messages that it is
        ///   handed meanwhile, unless the handler called [`stop`](Self::stop) itself); or there is no connection, and
        ///   `max_send_queue` is zero; or it is a server's whose client has left, until `on_disconnect` has returned.
        /// - [`ShmError::Forked`].
        pub fn send(&self, message: &[u8]) -> Result<()> {
            self.auto.send(message)
        }

        /// As [`send`](Self::send), where nothing is lost for it. When there is room again,
        /// [`on_space_available`](AutoHandler::on_space_available) is called.
        ///
        /// # Errors
        /// As `send`, and [`ShmError::QueueFull`]: neither ring nor queue has room.
        pub fn try_send(&self, message: &[u8]) -> Result<()> {
            self.auto.try_send(message)
        }

        /// As [`try_send`](Self::try_send), waiting for room. `None` waits for ever.
        ///
        /// From a handler it waits too: the peer must make the room without an answer to anything meanwhile. Without
        /// a connection it fails at once there, with `QueueFull` where the queue has no room. While the endpoint stops it does
        /// not wait, and fails with `NotConnected` where there is no room.
        ///
        /// # Errors
        /// As `send`, and [`ShmError::Timeout`].
        pub fn send_timeout(&self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
            self.auto.send_timeout(message, timeout)
        }

        /// What was sent, received and lost so far.
        pub fn stats(&self) -> AutoStatsSnapshot {
            self.auto.stats()
        }
    };
}

/// A server that takes one client after the other, in the background. Dropping it [stops](Self::stop) it.
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

impl AutoServer {
    /// Starts a server under a name, and returns at once.
    ///
    /// # Errors
    /// Those of [`SharedServer::start`](crate::SharedServer::start).
    pub fn start<H: AutoHandler + ?Sized>(name: &str, handler: Arc<H>, options: AutoOptions) -> Result<Self> {
        ServerOptions::default().start_auto(name, handler, options)
    }

    /// The present session, to address its client and no client after it. `None`: there is none.
    ///
    /// Inside a handler's call it is that connection's, `on_disconnect` included: the session is over then, and a message to
    /// it is an error.
    pub fn session(&self) -> Option<SessionId> {
        self.auto.core.session(0).map(SessionId)
    }

    /// As [`send`](Self::send), to the client of this session alone: for an answer that takes longer than a handler's call.
    ///
    /// # Errors
    /// As `send`, and [`ShmError::NotConnected`]: the session is over.
    pub fn send_to_session(&self, session: SessionId, message: &[u8]) -> Result<()> {
        self.auto.core.send((0, Some(session.0)), message).map(drop)
    }

    auto_methods!("client");
    stop_methods!(self => self.auto.core);
}

/// A client that connects, and connects again, in the background. Dropping it [stops](Self::stop) it. For an example
/// see [`AutoServer`].
pub struct AutoClient {
    pub(crate) auto: Auto,
}

impl AutoClient {
    /// Begins to connect to the server of a name, and returns at once, whether there is a server or not.
    ///
    /// # Errors
    /// [`ShmError::InvalidName`], and what the system refuses.
    pub fn connect<H: AutoHandler + ?Sized>(
        name: &str, handler: Arc<H>, options: AutoOptions,
    ) -> Result<Self> {
        ClientOptions::default().connect_auto(name, handler, options)
    }

    auto_methods!("server");
    stop_methods!(self => self.auto.core);
}

impl ServerOptions {
    /// Starts a server that works in the background, see [`AutoServer::start`]. An
    /// [`interrupter`](Self::interrupter) of these options is not used: the server has one of its own.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_auto<H: AutoHandler + ?Sized>(
        self, name: &str, handler: Arc<H>, options: AutoOptions,
    ) -> Result<AutoServer> {
        let interrupter = Interrupter::new()?;
        let server = self.interrupter(interrupter.clone()).start(name)?;
        let connector = ServerConnector { server, wait_timeout: options.wait_timeout };
        Ok(AutoServer { auto: Auto::start(Box::new(Adapter(handler)), &options, interrupter, connector)? })
    }
}

impl ClientOptions {
    /// Connects in the background, see [`AutoClient::connect`]. An [`interrupter`](Self::interrupter) of these options
    /// is not used: the client has one of its own.
    ///
    /// # Errors
    /// As there.
    pub fn connect_auto<H: AutoHandler + ?Sized>(
        self, name: &str, handler: Arc<H>, options: AutoOptions,
    ) -> Result<AutoClient> {
        let interrupter = Interrupter::new()?;
        let client = self.interrupter(interrupter.clone());
        let connector = ClientConnector::new(name, client, options.connect_timeout)?;
        Ok(AutoClient { auto: Auto::start(Box::new(Adapter(handler)), &options, interrupter, connector)? })
    }
}
