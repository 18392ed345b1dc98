//! The handles of synchronous endpoints: one [`Endpoint`] serves servers and clients.
//!
//! C may send with a handle on one thread and receive on another, so the handle's halves are separate, each behind its own
//! lock. A third lock protects a server's accepting. The functions of C are in `server.rs` and `client.rs`.
//!
//! Other threads may use the halves while one accepts. Until the next session begins, the halves belong to the last session:
//! the server can receive what that session's client sent. Then both halves are replaced, each under its lock, so that no
//! call is inside a half meanwhile. If the next session uses the same section, the halves are removed before its rings are
//! reset.

use super::callbacks::{shm_callbacks_t, Callbacks, Table};
use super::in_place::InPlace;
use super::reports::{Report, Reports};
use super::*;
use crate::channel::lifecycle::RequestsBy;
use crate::channel::Side;
use crate::client::SharedClient;
use crate::constants::MAX_MESSAGE_SIZE;
use crate::halves::{ChannelStats, ReceiveHalf, SendHalf};
use crate::layout::Direction;
use crate::readiness::WaitHandles;
use crate::ring::Borrowed;
use crate::server::SharedServer;
use crate::session::Session;
use crate::sys::{HeldName, OwningProcess};
use crate::waiting::Interrupter;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

/// The contents of the handles of servers and clients.
pub(super) struct Endpoint {
    pub(super) side: Side,
    pub(super) interrupter: Interrupter,
    pub(super) callbacks: Callbacks<shm_callbacks_t>,
    /// Of a client of a server for many clients.
    pub(super) slot: Option<u32>,
    /// The length of the longest message.
    pub(super) longest: usize,
    created_in: OwningProcess,
    /// Of a server with a name only.
    name: Option<HeldName>,
    /// Of a server only.
    server: Mutex<Option<SharedServer>>,
    pub(super) sender: Mutex<Option<SendHalf>>,
    pub(super) receiver: Mutex<Option<Receiver>>,
    pub(super) in_place: InPlace,
    /// What the halves had counted when a call last left them.
    receive_counts: ReceiveCounts,
    send_counts: SendCounts,
    session: Mutex<Option<Arc<Session>>>,
    /// The reports for which on_connect and on_disconnect still have to be called.
    reports: Reports,
}

#[derive(Default)]
struct ReceiveCounts {
    received: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Default)]
struct SendCounts {
    sent: AtomicU64,
    dropped: AtomicU64,
    depth: AtomicU64,
}

pub(super) struct Receiver {
    pub(super) half: ReceiveHalf,
    /// The number of messages whose loss was reported.
    reported: u64,
    /// The message that is being read in place.
    pub(super) borrowed: Option<Borrowed>,
    /// The end positions of messages that are received together.
    pub(super) entry_ends: Vec<usize>,
}

/// A server for one client.
///
/// \ingroup server
pub struct ServerHandle(pub(super) Endpoint);

/// A client of a server for one client.
///
/// \ingroup client
pub struct ClientHandle(pub(super) Endpoint);

impl SendCounts {
    fn record(&self, sender: &SendHalf) {
        self.sent.store(sender.producer.sent(), Ordering::Relaxed);
        self.dropped.store(sender.producer.evicted(), Ordering::Relaxed);
    }
}

impl Endpoint {
    pub(super) fn server(server: SharedServer, callbacks: Callbacks<shm_callbacks_t>) -> Outcome<Self> {
        Endpoint::new(Side::Server, server.interrupter(), Some(server), callbacks)
    }

    pub(super) fn client(client: SharedClient, callbacks: Callbacks<shm_callbacks_t>) -> Outcome<Self> {
        let slot = client.slot_id();
        let (sender, receiver) = client.take().ok_or(ShmError::NotConnected)?;
        let mut endpoint = Endpoint::new(Side::Client, sender.interrupter(), None, callbacks)?;
        (endpoint.slot, endpoint.longest) = (slot, sender.max_message_size());
        endpoint.begin(sender, receiver);
        Ok(endpoint)
    }

    fn new(
        side: Side, interrupter: Interrupter, server: Option<SharedServer>,
        callbacks: Callbacks<shm_callbacks_t>,
    ) -> Outcome<Self> {
        Ok(Endpoint {
            created_in: OwningProcess::current()?,
            name: server.as_ref().and_then(SharedServer::held_name),
            side,
            interrupter,
            callbacks,
            slot: None,
            longest: server.as_ref().map_or(MAX_MESSAGE_SIZE, SharedServer::max_message_size),
            receive_counts: ReceiveCounts::default(),
            send_counts: SendCounts::default(),
            in_place: InPlace { current: server.as_ref().map(SharedServer::current), ..InPlace::default() },
            server: Mutex::new(server),
            sender: Mutex::default(),
            receiver: Mutex::default(),
            session: Mutex::default(),
            reports: Reports::default(),
        })
    }

    /// Replaces the last session by a new one. A server's session is locked meanwhile, so that sessions keep their order.
    fn begin(&self, sender: SendHalf, half: ReceiveHalf) {
        let session = half.session.clone();
        self.drop_halves();
        self.reports.push(Report::Begin);
        *lock(&self.session) = Some(session.clone());
        // A thread that asked for the events meanwhile has found no session, and has exported them before.
        if session.channel.signals_every_message() {
            session.channel.export(|| session.have_every_message_signalled());
        }
        *lock(&self.sender) = Some(sender);
        self.receive_counts.received.store(0, Ordering::Relaxed);
        self.receive_counts.dropped.store(0, Ordering::Relaxed);
        for count in [&self.send_counts.sent, &self.send_counts.dropped, &self.send_counts.depth] {
            count.store(0, Ordering::Relaxed);
        }
        *lock(&self.receiver) = Some(Receiver { half, reported: 0, borrowed: None, entry_ends: Vec::new() });
    }

    /// Drops the halves of the last session after the last call that is inside them.
    fn drop_halves(&self) {
        *lock(&self.sender) = None;
        let receiver = lock(&self.receiver).take();
        self.record_end_of_last();
        *lock(&self.session) = None;
        let not_taken = receiver.map_or(0, |receiver| receiver.half.not_taken());
        self.reports.push(Report::Discarded(not_taken));
    }

    /// Calls on_connect, on_disconnect and on_overflow for each pending report.
    fn report(&self) {
        if !self.created_in.is_current() {
            return;
        }
        // These callbacks change what shm_last_error returns to them, but not what it returns after the call.
        self.reports.take_each(|report| {
            restoring_last_error(|| match report {
                Report::Begin => self.callbacks.on_connect(),
                Report::End { error, reason } => {
                    if error == ShmError::Corrupted {
                        self.callbacks.on_error(error);
                    }
                    record(reason.into());
                    self.callbacks.on_disconnect();
                }
                Report::Discarded(count) => self.report_lost(self.side.receives(), count),
            });
            // If a callback forked and returned in the fork, the locks may be locked for ever.
            if self.created_in.is_current() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
    }

    /// Calls on_overflow, if messages were lost. The caller holds no lock.
    pub(super) fn report_lost(&self, direction: Direction, count: u64) {
        if count > 0 {
            self.callbacks.on_overflow(direction.into(), u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// Runs a call that sends, and that may wait for room. Other threads see meanwhile how many messages were queued before.
    pub(super) fn sending_patiently<T>(&self, send: impl FnOnce(&mut SendHalf) -> Result<T>) -> Result<T> {
        self.sending(|sender| {
            let depth = sender.stats()?.send_depth as u64;
            self.send_counts.depth.store(depth, Ordering::Relaxed);
            send(sender)
        })
    }

    /// What the sender had counted when a call last left it.
    pub(super) fn send_counts(&self) -> ChannelStats {
        let counts = &self.send_counts;
        ChannelStats {
            sent: counts.sent.load(Ordering::Relaxed),
            send_dropped: counts.dropped.load(Ordering::Relaxed),
            send_depth: counts.depth.load(Ordering::Relaxed) as usize,
            ..ChannelStats::default()
        }
    }

    /// What the receiver had counted when a call last left it. No message waits: another thread is taking it, or waits for one.
    pub(super) fn receive_counts(&self) -> ChannelStats {
        ChannelStats {
            received: self.receive_counts.received.load(Ordering::Relaxed),
            receive_dropped: self.receive_counts.dropped.load(Ordering::Relaxed),
            ..ChannelStats::default()
        }
    }

    pub(super) fn session(&self) -> Outcome<Arc<Session>> {
        Ok(lock(&self.session).clone().ok_or(ShmError::NotConnected)?)
    }

    /// Runs a call that sends, and reports the session's end.
    pub(super) fn sending<T>(&self, send: impl FnOnce(&mut SendHalf) -> Result<T>) -> Result<T> {
        let sent = match lock(&self.sender).as_mut() {
            Some(sender) => {
                let sent = send(sender);
                self.send_counts.record(sender);
                self.in_place.drop_taken_reservation(sender);
                self.reports.record_end_from(&sender.session, &sent);
                sent
            }
            None => Err(ShmError::NotConnected),
        };
        self.report();
        sent
    }

    /// Runs a call that receives, and reports lost messages and the session's end.
    pub(super) fn receiving<T>(&self, receive: impl FnOnce(&mut Receiver) -> Result<T>) -> Result<T> {
        let mut lost = 0;
        let received = match lock(&self.receiver).as_mut() {
            Some(receiver) => {
                let received = receive(receiver);
                let known = receiver.half.consumer.lost();
                self.receive_counts.received.store(receiver.half.consumer.received(), Ordering::Relaxed);
                self.receive_counts.dropped.store(known, Ordering::Relaxed);
                lost = known - std::mem::replace(&mut receiver.reported, known);
                self.reports.record_end_from(&receiver.half.session, &received);
                received
            }
            None => Err(ShmError::NotConnected),
        };
        self.report_lost(self.side.receives(), lost);
        self.report();
        received
    }

    pub(super) fn accept(&self, timeout: Option<Duration>, requests_by: RequestsBy) -> Outcome {
        self.accepting(|server, release| server.accept(timeout, requests_by, release).map(|()| true))
            .map(drop)
    }

    /// Accepts a client without waiting. Returns whether a session began.
    pub(super) fn try_accept(&self) -> Outcome<bool> {
        self.accepting(SharedServer::try_accept_releasing)
    }

    /// What an event loop waits for until there may be a client to accept.
    pub(super) fn accept_handles(&self) -> Outcome<WaitHandles> {
        let mut server = lock(&self.server);
        Ok(server.as_mut().ok_or(ShmError::NotConnected)?.accept_handles()?)
    }

    /// Runs a call that accepts, and returns whether a session began. Reports the last session's end, and the new session.
    fn accepting(
        &self, accept: impl FnOnce(&mut SharedServer, &mut dyn FnMut()) -> Result<bool>,
    ) -> Outcome<bool> {
        // Perhaps no call has detected yet that the last session ended.
        self.record_end_of_last();
        self.report();
        if !self.created_in.is_current() {
            return Err(ShmError::Forked.into());
        }
        let accepted = self.accepting_quietly(accept);
        self.report();
        accepted
    }

    /// As [`accepting`](Self::accepting), and calls no callback.
    fn accepting_quietly(
        &self, accept: impl FnOnce(&mut SharedServer, &mut dyn FnMut()) -> Result<bool>,
    ) -> Outcome<bool> {
        let mut server = lock(&self.server);
        let server = server.as_mut().ok_or(ShmError::NotConnected)?;
        if !accept(server, &mut || self.drop_halves())? {
            return Ok(false);
        }
        let (sender, receiver) = server.take().ok_or(ShmError::NotConnected)?;
        // The last session may have ended since.
        self.record_end_of_last();
        self.begin(sender, receiver);
        Ok(true)
    }

    fn record_end_of_last(&self) {
        if let Ok(session) = self.session() {
            self.reports.record_end(&session);
        }
    }
}

/// Creates a handle with these callbacks.
///
/// # Safety
/// NULL, or callbacks.
pub(super) unsafe fn create<H: EndpointHandle>(
    table: *const shm_callbacks_t, make: impl FnOnce(Callbacks<shm_callbacks_t>) -> Outcome<H>,
) -> *mut H {
    // SAFETY: by the caller.
    returning_handle(|| Ok(start(make(unsafe { Callbacks::read(table) }?)?)))
}

/// Makes a handle, and calls its callbacks that are due. on_start runs before all others.
pub(super) fn start<H: EndpointHandle>(handle: H) -> Arc<H> {
    let handle = Arc::new(handle);
    Table::start(&handle.endpoint().callbacks, Arc::as_ptr(&handle).cast_mut().cast());
    handle.endpoint().report();
    handle
}

/// A handle of a synchronous endpoint.
pub(super) trait EndpointHandle {
    fn endpoint(&self) -> &Endpoint;
}

impl EndpointHandle for ServerHandle {
    fn endpoint(&self) -> &Endpoint {
        &self.0
    }
}

impl EndpointHandle for ClientHandle {
    fn endpoint(&self) -> &Endpoint {
        &self.0
    }
}

impl<H: EndpointHandle> Closable for H {
    fn gate(&self) -> &Gate {
        &self.endpoint().callbacks.gate
    }

    fn end(&self) -> bool {
        let endpoint = self.endpoint();
        endpoint.interrupter.0.stop();
        if let (Side::Server, Ok(session)) = (endpoint.side, endpoint.session()) {
            session.disconnect();
        }
        true
    }

    fn own_calls(&self) -> usize {
        // Each callback runs inside a call.
        self.endpoint().callbacks.gate.depth()
    }

    fn is_forked(&self) -> bool {
        !self.endpoint().created_in.is_current()
    }

    fn give_up_name(&self) {
        let endpoint = self.endpoint();
        if let Some(name) = &endpoint.name {
            name.give_up(endpoint.interrupter.0.event());
        }
    }
}
