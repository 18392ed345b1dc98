//! A client of a multi-client server: one session, with a worker.

use crate::auto::connect::Connector;
use crate::auto::{Auto, AutoHandle, AutoOptions, AutoStatsSnapshot};
use crate::background::callbacks::{ChannelKind, DisconnectReason};
use crate::background::core::{Callbacks, Core};
use crate::background::peer::PeerHandle;
use crate::background::retry::RetryOptions;
use crate::background::sending::ONLY;
use crate::background::stop_methods;
use crate::channel::Side;
use crate::error::{Result, ShmError};
use crate::halves::{ReceiveHalf, SendHalf};
use crate::layout::Lengths;
use crate::options::ClientOptions;
use crate::waiting::Interrupter;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{mpsc, Arc, Weak};
use std::time::Duration;

/// The handler of a [`MultiClient`]. The client's worker thread calls it, one call at a time.
///
/// The worker holds no lock during a call: a handler may send, and may stop the client. The worker catches a panic, and reports
/// it to [`on_error`](Self::on_error) as [`ShmError::HandlerPanicked`].
pub trait MultiClientHandler: Send + Sync + 'static {
    /// The client is about to start. Called once, on the thread that connects, before every other call. The handler may keep
    /// `client`, and use it to send from all other calls, as [`AutoHandle`] shows. It does not keep the client alive.
    fn on_start(&self, client: AutoHandle) {
        let _ = client;
    }

    /// The server has given this client a slot. The first time it is called before [`MultiClient::connect`] returns. A client
    /// that [reconnects](MultiClientOptions::reconnect) calls it each time.
    fn on_connect(&self, slot_id: u32) {
        let _ = slot_id;
    }

    /// The session is over. Called once for each session, after its last message.
    fn on_disconnect(&self) {}

    /// The session is over, for this reason. The worker calls this method; its default implementation calls `on_disconnect`.
    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        let _ = reason;
        self.on_disconnect();
    }

    /// A message arrived. The slice is valid until the call returns.
    fn on_message(&self, data: &[u8]) {
        let _ = data;
    }

    /// `count` messages of this direction were lost: evicted from a full ring, or left in the ring when the session ended.
    fn on_overflow(&self, direction: ChannelKind, count: u32) {
        let _ = (direction, count);
    }

    /// There is room again for a message for which [`try_send`](MultiClient::try_send) found no room.
    fn on_space_available(&self) {}

    /// An error that no call returned.
    fn on_error(&self, error: ShmError) {
        let _ = error;
    }
}

impl<H: MultiClientHandler + ?Sized> MultiClientHandler for Arc<H> {
    fn on_start(&self, client: AutoHandle) {
        (**self).on_start(client);
    }
    fn on_connect(&self, slot_id: u32) {
        (**self).on_connect(slot_id);
    }
    fn on_disconnect(&self) {
        (**self).on_disconnect();
    }
    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        (**self).on_disconnect_because(reason);
    }
    fn on_message(&self, data: &[u8]) {
        (**self).on_message(data);
    }
    fn on_overflow(&self, direction: ChannelKind, count: u32) {
        (**self).on_overflow(direction, count);
    }
    fn on_space_available(&self) {
        (**self).on_space_available();
    }
    fn on_error(&self, error: ShmError) {
        (**self).on_error(error);
    }
}

/// The options of a [`MultiClient`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiClientOptions {
    /// How long `connect` waits for the server, for its acceptance, and for a slot whose client has left. The default is 5 s.
    pub lobby_timeout: Duration,
    /// Whether the client connects again when a session is over, and how long it pauses before each attempt. `None`, the default:
    /// it does not. Between two sessions, sending fails with [`ShmError::NotConnected`], and no message waits for the next one.
    pub reconnect: Option<RetryOptions>,
    /// How long `connect` then waits until the server has called its handler for the client. The default is 5 s.
    pub slot_timeout: Duration,
    /// As [`MultiOptions::poll_timeout`](crate::MultiOptions::poll_timeout). Zero, the default: the worker never polls.
    pub poll_timeout: Duration,
    /// The largest number of messages that the worker delivers before it does other work. The default is 64. Zero counts as 1.
    pub recv_batch: usize,
}

impl Default for MultiClientOptions {
    fn default() -> Self {
        MultiClientOptions {
            lobby_timeout: Duration::from_secs(5),
            reconnect: None,
            slot_timeout: Duration::from_secs(5),
            poll_timeout: Duration::ZERO,
            recv_batch: 64,
        }
    }
}

/// A client of a [`MultiServer`](crate::MultiServer), which has an example. It works in the background. Dropping it
/// [stops](Self::stop) it. It connects again after a session's end if its [options](MultiClientOptions::reconnect) say so.
pub struct MultiClient {
    pub(crate) auto: Auto,
    slot: Arc<AtomicU32>,
}

impl std::fmt::Debug for MultiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MultiClient").field("slot", &self.slot_id()).finish_non_exhaustive()
    }
}

impl MultiClient {
    /// Connects to the server that has the name. Returns after the server's handler and the client's own handler have been
    /// called for the connection.
    ///
    /// # Errors
    /// - [`ShmError::NoFreeSlot`]: each slot has a client; or a slot whose client has left did not become free within
    ///   `lobby_timeout`.
    /// - [`ShmError::Interrupted`]: the [`interrupter`](ClientOptions::interrupter) of the options ended the attempt, or the handler
    ///   stopped the client in `on_start`.
    /// - Else those of [`SharedClient::connect`](crate::SharedClient::connect).
    pub fn connect<H: MultiClientHandler + ?Sized>(
        name: &str, handler: Arc<H>, options: MultiClientOptions,
    ) -> Result<Self> {
        ClientOptions::default().connect_multi(name, handler, options)
    }

    /// Sends a message to the server, from any thread. Never waits: a full queue evicts its oldest messages.
    ///
    /// # Errors
    /// - [`ShmError::NotConnected`]: the session is over.
    /// - [`ShmError::MessageTooSmall`], [`ShmError::MessageTooLarge`], [`ShmError::Forked`].
    /// - [`ShmError::QueueFull`]: there is no room, and the channel [rejects when
    ///   full](crate::ServerOptions::reject_when_full).
    pub fn send(&self, message: &[u8]) -> Result<()> {
        self.auto.core.send(ONLY, message).map(drop)
    }

    /// Sends a message if there is room, and evicts none. If there was no room, the worker calls
    /// [`on_space_available`](MultiClientHandler::on_space_available) as soon as there is room again.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`ShmError::QueueFull`].
    pub fn try_send(&self, message: &[u8]) -> Result<()> {
        self.auto.core.try_send(ONLY, message)
    }

    /// Sends a message, and waits for room if there is none. `None` waits without a limit.
    ///
    /// # Errors
    /// As `send`, and [`ShmError::Timeout`].
    pub fn send_timeout(&self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
        self.auto.core.send_timeout(ONLY, message, timeout)
    }

    /// Returns the slot that the server has given this client. Between two sessions it is the last one's.
    pub fn slot_id(&self) -> u32 {
        self.slot.load(Ordering::Acquire)
    }

    /// Returns whether the session lives, as far as the worker knows.
    pub fn is_connected(&self) -> bool {
        self.auto.core.is_connected(ONLY)
    }

    /// Returns the server of the present session, and of no later one. `None`: there is no session.
    pub fn peer(&self) -> Option<PeerHandle> {
        PeerHandle::current(&self.auto.core, 0)
    }

    /// Returns the counts of messages that were sent, received and lost so far.
    pub fn stats(&self) -> AutoStatsSnapshot {
        AutoStatsSnapshot::of(&self.auto.core)
    }

    /// Returns a handle that does not keep the client alive, for other threads.
    pub fn handle(&self) -> AutoHandle {
        AutoHandle::new(&self.auto.core)
    }

    stop_methods!(self => self.auto.core);
}

impl ClientOptions {
    /// Connects to a server for many clients, as [`MultiClient::connect`] does. An [`interrupter`](Self::interrupter) of these
    /// options ends the attempt to connect. The connected client has its own interrupter.
    ///
    /// # Errors
    /// As [`MultiClient::connect`].
    pub fn connect_multi<H: MultiClientHandler + ?Sized>(
        self, name: &str, handler: Arc<H>, options: MultiClientOptions,
    ) -> Result<MultiClient> {
        let slot = Arc::new(AtomicU32::new(0));
        self.connect_multi_with(name, Adapter { handler, slot: slot.clone() }, slot, &options)
    }

    pub(super) fn connect_multi_with(
        self, name: &str, handler: impl Callbacks, slot: Arc<AtomicU32>, options: &MultiClientOptions,
    ) -> Result<MultiClient> {
        // The worker has its own interrupter. The caller's, if there is one, ends the attempt to connect.
        let interrupter = Interrupter::new()?;
        let mut client = self.into_own_interrupter(interrupter.clone());
        client.multi = true;
        let mut connector = MultiConnector {
            next: None,
            name: name.to_owned(),
            client,
            lobby_timeout: options.lobby_timeout,
            slot_timeout: options.slot_timeout,
            reconnects: options.reconnect.is_some(),
            slot: slot.clone(),
            connect_reported: None,
        };
        connector.next = Some(connector.request()?);
        // The worker's interrupter ends the further attempts.
        connector.client.connect_interrupter = None;
        fail_point!("claim.assigned");
        let retry = options.reconnect.unwrap_or_default();
        let auto_options = AutoOptions {
            wait_timeout: options.poll_timeout,
            recv_batch: options.recv_batch,
            reconnect_delay: retry.initial_delay,
            longest_reconnect_delay: retry.longest_delay,
            reconnect_jitter_percent: retry.jitter_percent,
            // A message is for one session.
            max_send_queue: 0,
            ..AutoOptions::default()
        };
        let (connect_reported, connect_reports) = mpsc::channel();
        let connect_reported = Arc::new(connect_reported);
        let handler = Reporting { handler, connect_reported: Arc::downgrade(&connect_reported) };
        connector.connect_reported = Some(connect_reported);
        let auto = Auto::start(Box::new(handler), &auto_options, interrupter, connector)?;
        // Until the handler's `on_connect` has returned or panicked; or until the worker ends, since the handler stopped the client
        // before it was connected.
        connect_reports.recv().map_err(|_| ShmError::Interrupted)?;
        Ok(MultiClient { auto, slot })
    }
}

/// Gives the worker the connections of a client.
struct MultiConnector {
    /// The first one, which is made before the worker starts.
    next: Option<(SendHalf, ReceiveHalf)>,
    name: String,
    client: ClientOptions,
    lobby_timeout: Duration,
    slot_timeout: Duration,
    reconnects: bool,
    /// The slot of the last connection.
    slot: Arc<AtomicU32>,
    /// Kept as long as the worker runs.
    connect_reported: Option<Arc<mpsc::Sender<()>>>,
}

impl MultiConnector {
    fn request(&self) -> Result<(SendHalf, ReceiveHalf)> {
        let client = self.client.clone();
        let client = client.connect_within(&self.name, self.lobby_timeout, Some(self.slot_timeout))?;
        self.slot.store(client.slot_id().unwrap_or(0), Ordering::Release);
        client.take().ok_or(ShmError::NotConnected)
    }
}

impl Connector for MultiConnector {
    fn side(&self) -> Side {
        Side::Client
    }

    fn lengths(&self) -> Lengths {
        self.client.lengths()
    }

    fn connect(&mut self) -> Result<(SendHalf, ReceiveHalf)> {
        match self.next.take() {
            Some(first) => Ok(first),
            None => self.request(),
        }
    }

    fn is_done(&self) -> bool {
        !self.reconnects
    }
}

/// The client's handler as its worker calls it.
struct Adapter<H: ?Sized> {
    slot: Arc<AtomicU32>,
    handler: Arc<H>,
}

impl<H: MultiClientHandler + ?Sized> Callbacks for Adapter<H> {
    fn starting(&self, core: &Arc<Core>) {
        self.handler.on_start(AutoHandle::new(core));
    }
    fn connected(&self, _: u32) {
        self.handler.on_connect(self.slot.load(Ordering::Acquire));
    }
    fn disconnected(&self, _: u32, reason: &DisconnectReason) {
        self.handler.on_disconnect_because(reason);
    }
    fn message(&self, _: u32, _: ChannelKind, payload: &[u8]) {
        self.handler.on_message(payload);
    }
    fn overflow(&self, _: u32, direction: ChannelKind, count: u32) {
        self.handler.on_overflow(direction, count);
    }
    fn space_available(&self, _: u32, _: ChannelKind) {
        self.handler.on_space_available();
    }
    fn error(&self, _: Option<u32>, error: ShmError) {
        self.handler.on_error(error);
    }
}

/// A handler, and the caller of `connect`, which waits until the handler was called for the first connection.
struct Reporting<C> {
    handler: C,
    connect_reported: Weak<mpsc::Sender<()>>,
}

/// Reports when it is dropped.
struct Report<'a>(&'a Weak<mpsc::Sender<()>>);

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if let Some(sender) = self.0.upgrade() {
            // Only the report of the first connection is received.
            let _ = sender.send(());
        }
    }
}

impl<C: Callbacks> Callbacks for Reporting<C> {
    fn starting(&self, core: &Arc<Core>) {
        self.handler.starting(core);
    }
    fn connected(&self, slot: u32) {
        let _report = Report(&self.connect_reported);
        self.handler.connected(slot);
    }
    fn disconnected(&self, slot: u32, reason: &DisconnectReason) {
        self.handler.disconnected(slot, reason);
    }
    fn message(&self, slot: u32, direction: ChannelKind, payload: &[u8]) {
        self.handler.message(slot, direction, payload);
    }
    fn overflow(&self, slot: u32, direction: ChannelKind, count: u32) {
        self.handler.overflow(slot, direction, count);
    }
    fn space_available(&self, slot: u32, direction: ChannelKind) {
        self.handler.space_available(slot, direction);
    }
    fn error(&self, slot: Option<u32>, error: ShmError) {
        self.handler.error(slot, error);
    }
}
