//! A client of a multi-client server: one session, with a worker.

use crate::auto::connect::Connector;
use crate::auto::{Auto, AutoOptions};
use crate::background::callbacks::{Callbacks, ChannelKind, DisconnectReason};
use crate::background::stop_methods;
use crate::channel::wait_set::WaitSet;
use crate::channel::Side;
use crate::error::{Result, ShmError};
use crate::halves::{ReceiveHalf, SendHalf};
use crate::layout::{FIRST_SLOT, NO_SLOT};
use crate::options::ClientOptions;
use crate::session::Session;
use crate::waiting::{Deadline, Interrupter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Mutex, PoisonError};
use std::time::Duration;

/// The handler of a [`MultiClient`]. The client's worker thread calls it, one call at a time.
///
/// The worker holds no lock during a call: a handler may send, and may stop the client. The worker catches a panic, and reports
/// it to [`on_error`](Self::on_error) as [`ShmError::HandlerPanicked`].
pub trait MultiClientHandler: Send + Sync + 'static {
    /// The server has given this client a slot. Called before [`MultiClient::connect`] returns.
    fn on_connect(&self, slot_id: u32) {
        let _ = slot_id;
    }

    /// The session is over. Called once, after the last message.
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
            slot_timeout: Duration::from_secs(5),
            poll_timeout: Duration::ZERO,
            recv_batch: 64,
        }
    }
}

/// A client of a [`MultiServer`](crate::MultiServer), which has an example. It works in the background. Dropping it
/// [stops](Self::stop) it. It does not reconnect: after the session's end, create another client.
pub struct MultiClient {
    pub(crate) auto: Auto,
    slot: u32,
    connected: Arc<AtomicBool>,
}

impl MultiClient {
    /// Connects to the server that has the name. Returns after the server's handler and the client's own handler have been
    /// called for the connection.
    ///
    /// # Errors
    /// - [`ShmError::NoFreeSlot`]: each slot has a client; or a slot whose client has left did not become free within
    ///   `lobby_timeout`.
    /// - [`ShmError::Interrupted`]: the [`interrupter`](ClientOptions::interrupter) of the options ended the attempt.
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
        self.auto.send(message)
    }

    /// Sends a message if there is room, and evicts none. If there was no room, the worker calls
    /// [`on_space_available`](MultiClientHandler::on_space_available) as soon as there is room again.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`ShmError::QueueFull`].
    pub fn try_send(&self, message: &[u8]) -> Result<()> {
        self.auto.try_send(message)
    }

    /// Sends a message, and waits for room if there is none. `None` waits without a limit.
    ///
    /// # Errors
    /// As `send`, and [`ShmError::Timeout`].
    pub fn send_timeout(&self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
        self.auto.send_timeout(message, timeout)
    }

    /// Returns the slot that the server has given this client.
    pub fn slot_id(&self) -> u32 {
        self.slot
    }

    /// Returns whether the session lives, as far as the worker knows.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
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
        // The worker has its own interrupter. The caller's, if there is one, ends the attempt to connect.
        let interrupter = Interrupter::new()?;
        let mut client = self.into_own_interrupter(interrupter.clone());
        client.multi = true;
        let connecting = client.connect_interrupter.clone().unwrap_or_else(|| interrupter.clone());
        let lobby = Deadline::after(Some(options.lobby_timeout));
        let client = client.connect(name, options.lobby_timeout)?;
        let halves = client.take().ok_or(ShmError::NotConnected)?;
        fail_point!("claim.accepted");
        let slot = await_slot(&halves.1.session, lobby, options.slot_timeout, &connecting);
        let slot = slot.map_err(|error| match error {
            // The server's handler has not returned.
            ShmError::Timeout => ShmError::NotAccepting { name: name.to_owned() },
            error => error,
        })?;
        fail_point!("claim.assigned");
        let auto_options = AutoOptions {
            wait_timeout: options.poll_timeout,
            recv_batch: options.recv_batch,
            // There is no other session to wait for.
            max_send_queue: 0,
            ..AutoOptions::default()
        };
        let connected = Arc::new(AtomicBool::new(true));
        let (connect_reported, connect_reports) = mpsc::channel();
        let adapter = Adapter {
            handler,
            slot,
            connected: connected.clone(),
            connect_reported: Mutex::new(Some(connect_reported)),
        };
        let auto = Auto::start(Box::new(adapter), &auto_options, interrupter, Once(Some(halves)))?;
        // Ends when the handler's `on_connect` has returned or panicked.
        let _ = connect_reports.recv();
        Ok(MultiClient { auto, slot, connected })
    }
}

/// Waits until the server has assigned the slot. While the server itself waits for a slot to come free, the time counts for the
/// lobby; `slot_timeout` begins after that.
fn await_slot(
    session: &Session, lobby: Deadline, slot_timeout: Duration, interrupter: &Interrupter,
) -> Result<u32> {
    /// A safety net: the event may be missed, since it announces the acceptance too.
    const BOUND: Duration = Duration::from_millis(50);
    let channel = &session.channel;
    let assigned = || match channel.view.slot().load(Ordering::Acquire) {
        0 => Ok(None),
        NO_SLOT => Err(ShmError::NoFreeSlot),
        word => u32::try_from(word - FIRST_SLOT).map(Some).map_err(|_| ShmError::Corrupted),
    };
    let mut deadline = Deadline::after(Some(slot_timeout));
    loop {
        if let Some(slot) = assigned()? {
            return Ok(slot);
        }
        if let Err(over) = session.check_process() {
            // The server may have assigned the slot before its end.
            return assigned()?.ok_or(over);
        }
        let awaits_slot = channel.view.slot_awaited().load(Ordering::Acquire) != 0;
        if awaits_slot {
            deadline = Deadline::after(Some(slot_timeout));
        }
        if awaits_slot && lobby.has_passed() {
            return Err(ShmError::NoFreeSlot);
        }
        if deadline.has_passed() {
            return Err(ShmError::Timeout);
        }
        if interrupter.is_interrupted() {
            return Err(ShmError::Interrupted);
        }
        let mut set = WaitSet::new();
        if let Some(events) = &channel.events {
            set.event(events.acknowledge());
        }
        set.event(interrupter.0.event());
        set.peer(&session.peer, channel.tuning.check_interval);
        set.at_most(Some(BOUND));
        set.wait(deadline)?;
    }
}

/// Gives the worker the one connection of a client.
struct Once(Option<(SendHalf, ReceiveHalf)>);

impl Connector for Once {
    fn side(&self) -> Side {
        Side::Client
    }

    fn connect(&mut self) -> Result<(SendHalf, ReceiveHalf)> {
        self.0.take().ok_or(ShmError::NotConnected)
    }

    fn is_done(&self) -> bool {
        self.0.is_none()
    }
}

/// The client's handler as its worker calls it.
struct Adapter<H: ?Sized> {
    slot: u32,
    connected: Arc<AtomicBool>,
    /// Dropped when `on_connect` has returned.
    connect_reported: Mutex<Option<mpsc::Sender<()>>>,
    handler: Arc<H>,
}

impl<H: MultiClientHandler + ?Sized> Callbacks for Adapter<H> {
    fn connected(&self, _: u32) {
        let connect_reported = self.connect_reported.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.handler.on_connect(self.slot);
        drop(connect_reported);
    }
    fn disconnected(&self, _: u32, reason: &DisconnectReason) {
        self.connected.store(false, Ordering::Release);
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
