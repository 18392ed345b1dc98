//! Endpoints that look after themselves: a worker thread connects, receives, reconnects, and calls a handler.
//!
//! ```text
//!  any thread                       the worker
//!  send ──► ring, if connected      connector: wait for a client / connect
//!       └─► queue, if not           on_connect, then the queue goes into the ring
//!                                   on_message, on_message, ...   (asleep in the kernel when there's none)
//!                                   on_disconnect, and again
//! ```
//!
//! One loop serves both sides; they differ in how they connector (`worker::Connector`). A send is made by the calling thread,
//! straight into the ring, under a lock that no callback runs under. The worker waits for messages, for room where a
//! sender lacks it, for the peer's end and for the endpoint's own stop, all in one kernel wait, and polls nothing.

pub(crate) mod core;
#[cfg(all(feature = "c-api", not(loom)))]
pub(crate) mod ffi;
pub(crate) mod handler;
pub(crate) mod link;
pub(crate) mod sending;
pub(crate) mod worker;

use self::core::Shared;
use crate::error::{Result, ShmError};
use crate::options::{ClientOptions, ServerOptions};
use crate::threads::Waited;
use crate::waiting::{Deadline, Interrupter};
pub use handler::{AutoHandler, AutoOptions, AutoStatsSnapshot, ChannelKind, DisconnectReason, SessionId};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;
use worker::{ClientConnector, Connector, ServerConnector};

/// An endpoint with its worker.
pub(crate) struct Auto {
    pub(crate) shared: Arc<Shared>,
}

impl Auto {
    pub(crate) fn start(
        handler: Box<dyn AutoHandler>, options: AutoOptions, interrupter: Interrupter,
        connector: impl Connector,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::new(handler, options, interrupter, connector.side())?);
        let worker = shared.clone();
        shared.threads.spawn("xshm-auto", move || worker::run(&worker, connector))?;
        Ok(Auto { shared })
    }

    pub(crate) fn stop(&self) -> Waited {
        if self.shared.on_worker() {
            self.shared.stopped_by_handler.store(true, Ordering::Release);
        }
        self.stop_within(None)
    }

    pub(crate) fn request_stop(&self) {
        let shared = &*self.shared;
        if shared.created_in.is_current() {
            shared.close();
            shared.stopping.store(true, Ordering::Release);
            shared.attention.interrupt();
        }
    }

    pub(crate) fn stop_timeout(&self, timeout: Duration) -> Result<()> {
        if !self.shared.created_in.is_current() {
            return Err(ShmError::Forked);
        }
        self.stop_within(Some(timeout)).into_result()
    }

    fn stop_within(&self, timeout: Option<Duration>) -> Waited {
        // A fork has no worker.
        if !self.shared.created_in.is_current() {
            return Waited::NotFromHere;
        }
        self.request_stop();
        self.shared.threads.wait(Deadline::after(timeout))
    }
}

impl Drop for Auto {
    fn drop(&mut self) {
        self.stop();
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
            self.auto.shared.send(message)
        }

        /// As [`send`](Self::send), where nothing is lost for it. When there is room again,
        /// [`on_space_available`](AutoHandler::on_space_available) is called.
        ///
        /// # Errors
        /// As `send`, and [`ShmError::QueueFull`]: neither ring nor queue has room.
        pub fn try_send(&self, message: &[u8]) -> Result<()> {
            self.auto.shared.try_send(message)
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
            self.auto.shared.send_timeout(message, timeout)
        }

        /// Hands over what has arrived, flushes what was sent as far as the ring takes it, leaves, and waits for the
        /// worker's end. The handler is not called after this has returned. Messages that the ring did not take, or that
        /// waited for a connection, are lost, and counted.
        ///
        /// Two kinds of calls do not wait, and return while the worker is still to end: one from the endpoint's own
        /// handler, to which nothing more is handed over except `on_disconnect`; and one from another endpoint's handler
        /// whose end this endpoint's handler waits for, since each would wait for the other.
        pub fn stop(&self) {
            self.auto.stop();
        }

        /// Begins to [stop](Self::stop), and waits for nothing. Any thread may call this, a handler's too: what has
        /// arrived is handed over, and `on_disconnect` comes last, where there is a connection.
        pub fn request_stop(&self) {
            self.auto.request_stop();
        }

        /// As [`stop`](Self::stop), waiting at most this long.
        ///
        /// # Errors
        /// - [`ShmError::Timeout`]: the worker has not ended yet. It will.
        /// - [`ShmError::NotReady`]: this call must not wait for it, as said at `stop`.
        /// - [`ShmError::Forked`].
        pub fn stop_timeout(&self, timeout: Duration) -> Result<()> {
            self.auto.stop_timeout(timeout)
        }

        /// What was sent, received and lost so far.
        pub fn stats(&self) -> AutoStatsSnapshot {
            self.auto.shared.stats()
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
        self.auto.shared.session()
    }

    /// As [`send`](Self::send), to the client of this session alone: for an answer that takes longer than a handler's call.
    ///
    /// # Errors
    /// As `send`, and [`ShmError::NotConnected`]: the session is over.
    pub fn send_to_session(&self, session: SessionId, message: &[u8]) -> Result<()> {
        self.auto.shared.send_to_session(session, message)
    }

    auto_methods!("client");
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
        let connector = ServerConnector::new(server, options.wait_timeout);
        Ok(AutoServer { auto: Auto::start(Box::new(handler), options, interrupter, connector)? })
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
        Ok(AutoClient { auto: Auto::start(Box::new(handler), options, interrupter, connector)? })
    }
}
