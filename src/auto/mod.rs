//! Endpoints that look after themselves: a worker thread connects, receives, reconnects, and calls a handler.
//!
//! ```text
//!  any thread                       the worker
//!  send ──► ring, if connected      dial: wait for a client / connect
//!       └─► queue, if not           on_connect, then the queue goes into the ring
//!                                   on_message, on_message, ...   (asleep in the kernel when there's none)
//!                                   on_disconnect, and dial again
//! ```
//!
//! One loop serves both sides; they differ in how they dial (`worker::Dial`). A send is made by the calling thread,
//! straight into the ring, under a lock that no callback runs under. The worker waits for messages, for room where a
//! sender lacks it, for the peer's end and for the endpoint's own stop, all in one kernel wait, and polls nothing.

#[cfg(all(feature = "c-api", not(loom)))]
pub(crate) mod ffi;
mod link;
#[cfg(all(test, loom))]
pub(crate) mod models;
pub(crate) mod worker;

use crate::channel::Side;
use crate::error::{Result, ShmError};
use crate::layout::Direction;
use crate::options::{ClientOptions, ServerOptions};
use crate::sync::{Condvar, Mutex};
use crate::sys;
use crate::threads::{Threads, Waited};
use crate::waiting::{Deadline, Interrupter};
use link::Link;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;
use worker::{ClientDial, Dial, ServerDial};

/// One of a channel's two directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// What the server sends.
    ServerToClient,
    /// What the client sends.
    ClientToServer,
}

impl From<Direction> for ChannelKind {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::ServerToClient => ChannelKind::ServerToClient,
            Direction::ClientToServer => ChannelKind::ClientToServer,
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The peer left, or ended the session.
    PeerLeft,
    /// The peer's process ended without leaving.
    PeerDied,
    /// This endpoint was stopped.
    Stopped,
    /// A multi-client server ended this client's session ([`disconnect_client`](crate::MultiServer::disconnect_client)).
    Kicked,
    /// Something else: [`ShmError::Corrupted`], for instance.
    Failed(ShmError),
}

impl DisconnectReason {
    pub(crate) fn of(error: ShmError) -> Self {
        match error {
            ShmError::NotConnected => DisconnectReason::PeerLeft,
            ShmError::PeerDied { .. } => DisconnectReason::PeerDied,
            error => DisconnectReason::Failed(error),
        }
    }
}

/// What an auto endpoint tells. All of it is called on the endpoint's worker, one call at a time, and no lock is held
/// meanwhile: a handler may send, and stop or drop the endpoint. What takes long delays the messages behind it.
///
/// A call that panics is caught and reported to [`on_error`](Self::on_error) as [`ShmError::HandlerPanicked`].
pub trait AutoHandler: Send + Sync + 'static {
    /// A connection began. Comes before its first message.
    fn on_connect(&self) {}

    /// A connection ended. Comes once, after its last message.
    fn on_disconnect(&self) {}

    /// As [`on_disconnect`](Self::on_disconnect), with the reason. Calls that one unless it is written.
    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        let _ = reason;
        self.on_disconnect();
    }

    /// A message came. The slice is lent for the call.
    fn on_message(&self, direction: ChannelKind, payload: &[u8]) {
        let _ = (direction, payload);
    }

    /// `count` messages of a direction were lost since the last such call: evicted from a full ring or a full send queue,
    /// left in the ring of a connection that ended, or left in the send queue when the endpoint was stopped.
    fn on_overflow(&self, direction: ChannelKind, count: u32) {
        let _ = (direction, count);
    }

    /// There is room again for a message that [`try_send`](AutoServer::try_send) refused.
    fn on_space_available(&self, direction: ChannelKind) {
        let _ = direction;
    }

    /// Something went wrong that no caller was told: an attempt to connect failed (another follows), a handler
    /// panicked, a queued message was longer than the peer's ring takes.
    fn on_error(&self, error: ShmError) {
        let _ = error;
    }
}

impl<H: AutoHandler + ?Sized> AutoHandler for Arc<H> {
    fn on_connect(&self) {
        (**self).on_connect();
    }
    fn on_disconnect(&self) {
        (**self).on_disconnect();
    }
    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        (**self).on_disconnect_because(reason);
    }
    fn on_message(&self, direction: ChannelKind, payload: &[u8]) {
        (**self).on_message(direction, payload);
    }
    fn on_overflow(&self, direction: ChannelKind, count: u32) {
        (**self).on_overflow(direction, count);
    }
    fn on_space_available(&self, direction: ChannelKind) {
        (**self).on_space_available(direction);
    }
    fn on_error(&self, error: ShmError) {
        (**self).on_error(error);
    }
}

/// How an auto endpoint behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoOptions {
    /// An upper bound of one kernel wait, as a safety net against a native peer that forgets to signal. Zero, the
    /// default, means no bound: nothing polls then.
    pub wait_timeout: Duration,
    /// The pause before the next attempt to connect, after one that failed, or after a client's connection that ended:
    /// 100 ms, and at least 1 ms. A server takes the next client at once.
    pub reconnect_delay: Duration,
    /// How long a client's attempt to connect lasts: 5 s. An attempt that nobody answers is reported to `on_error`.
    pub connect_timeout: Duration,
    /// Messages that wait for a connection at most: 256. The oldest are dropped for the newest. Zero: none wait, and
    /// `send` fails without a connection.
    pub max_send_queue: usize,
    /// Messages that are handed over before the worker looks after anything else: 64. Zero counts as 1.
    pub recv_batch: usize,
}

impl Default for AutoOptions {
    fn default() -> Self {
        AutoOptions {
            wait_timeout: Duration::ZERO,
            reconnect_delay: Duration::from_millis(100),
            connect_timeout: Duration::from_secs(5),
            max_send_queue: 256,
            recv_batch: 64,
        }
    }
}

/// What an auto endpoint has done since it was made, over all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AutoStatsSnapshot {
    /// Messages that were put into a ring.
    pub sent_messages: u64,
    /// Messages to send that were lost: dropped from the full send queue, evicted from the ring before the peer took
    /// them, left there when the peer was gone, or left in the send queue when the endpoint was stopped.
    pub send_overflows: u64,
    /// Messages that were received.
    pub received_messages: u64,
    /// Messages that the peer evicted before they could be received.
    pub receive_overflows: u64,
}

/// What the worker and the senders share.
pub(crate) struct Shared {
    handler: Box<dyn AutoHandler>,
    options: AutoOptions,
    /// The direction in which this side sends.
    sends: ChannelKind,
    receives: ChannelKind,
    link: Mutex<Link>,
    /// Notified when a message that found no room may find some, or never will.
    room: Condvar,
    /// The attempt to connect is not to be cut short for news.
    undisturbed: AtomicBool,
    sent: AtomicU64,
    send_overflows: AtomicU64,
    received: AtomicU64,
    receive_overflows: AtomicU64,
    stopping: AtomicBool,
    /// Stopped by the handler: nothing more is handed over.
    stopped_by_handler: AtomicBool,
    attention: Interrupter,
    threads: Arc<Threads>,
    home: sys::Home,
}

impl Shared {
    pub(crate) fn new(
        handler: Box<dyn AutoHandler>,
        options: AutoOptions,
        attention: Interrupter,
        side: Side,
    ) -> Result<Self> {
        Ok(Shared {
            handler,
            options,
            sends: side.sends().into(),
            receives: side.receives().into(),
            link: Mutex::new(Link::new(side)),
            room: Condvar::new(),
            undisturbed: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            send_overflows: AtomicU64::new(0),
            received: AtomicU64::new(0),
            receive_overflows: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            stopped_by_handler: AtomicBool::new(false),
            attention,
            threads: Arc::default(),
            home: sys::Home::here()?,
        })
    }

    /// Calls the handler. What it panics with is reported to it; a panic in that call is ignored.
    fn call(&self, call: impl FnOnce(&dyn AutoHandler)) {
        let handler = &*self.handler;
        if let Err(error) = guarded(|| call(handler)) {
            let _ = guarded(|| handler.on_error(error));
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn on_worker(&self) -> bool {
        self.threads.is_own()
    }
}

/// Calls what belongs to the user.
///
/// # Errors
/// [`ShmError::HandlerPanicked`].
pub(crate) fn guarded(call: impl FnOnce()) -> Result<()> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("no message").to_owned();
        // What was thrown may throw when it is dropped. What that throws is let be.
        if let Err(another) = catch_unwind(AssertUnwindSafe(move || drop(panic))) {
            std::mem::forget(another);
        }
        ShmError::HandlerPanicked { message }
    })
}

/// An endpoint with its worker.
pub(crate) struct Auto {
    pub(crate) shared: Arc<Shared>,
}

impl Auto {
    pub(crate) fn start(
        handler: Box<dyn AutoHandler>,
        options: AutoOptions,
        interrupter: Interrupter,
        dial: impl Dial,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::new(handler, options, interrupter, dial.side())?);
        let worker = shared.clone();
        shared.threads.spawn("xshm-auto", move || worker::run(&worker, dial))?;
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
        if shared.home.is_here() {
            shared.close();
            shared.stopping.store(true, Ordering::Release);
            shared.attention.interrupt();
        }
    }

    pub(crate) fn stop_timeout(&self, timeout: Duration) -> Result<()> {
        if !self.shared.home.is_here() {
            return Err(ShmError::Forked);
        }
        self.stop_within(Some(timeout)).into_result()
    }

    fn stop_within(&self, timeout: Option<Duration>) -> Waited {
        // A fork has no worker.
        if !self.shared.home.is_here() {
            return Waited::NotFromHere;
        }
        self.request_stop();
        self.shared.threads.wait(Deadline::after(timeout))
    }

    fn stats(&self) -> AutoStatsSnapshot {
        let shared = &*self.shared;
        AutoStatsSnapshot {
            sent_messages: shared.sent.load(Ordering::Relaxed),
            send_overflows: shared.send_overflows.load(Ordering::Relaxed),
            received_messages: shared.received.load(Ordering::Relaxed),
            receive_overflows: shared.receive_overflows.load(Ordering::Relaxed),
        }
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
        /// arrived is handed over, and `on_disconnect` comes last.
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
        Self::start_with(name, handler, options, ServerOptions::default())
    }

    pub(crate) fn start_with<H: AutoHandler + ?Sized>(
        name: &str,
        handler: Arc<H>,
        options: AutoOptions,
        server: ServerOptions,
    ) -> Result<Self> {
        let interrupter = Interrupter::new()?;
        let server = server.interrupter(interrupter.clone()).start(name)?;
        let dial = ServerDial::new(server, options.wait_timeout);
        Ok(AutoServer { auto: Auto::start(Box::new(handler), options, interrupter, dial)? })
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

/// One session of an [`AutoServer`] with a client, see [`AutoServer::session`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub(crate) u32);

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
        name: &str,
        handler: Arc<H>,
        options: AutoOptions,
    ) -> Result<Self> {
        Self::connect_with(name, handler, options, ClientOptions::default())
    }

    pub(crate) fn connect_with<H: AutoHandler + ?Sized>(
        name: &str,
        handler: Arc<H>,
        options: AutoOptions,
        client: ClientOptions,
    ) -> Result<Self> {
        let interrupter = Interrupter::new()?;
        let client = client.interrupter(interrupter.clone());
        let dial = ClientDial::new(name, client, options.connect_timeout)?;
        Ok(AutoClient { auto: Auto::start(Box::new(handler), options, interrupter, dial)? })
    }

    auto_methods!("server");
}
