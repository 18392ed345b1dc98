//! The synchronous endpoints of C: one [`Ends`] serves servers and clients.
//!
//! A C handle may send on one thread and receive on another, so its halves are separate, each behind its own lock. A third
//! lock protects a server's accepting. The functions themselves are in `server.rs` and `client.rs`.
//!
//! Other threads may use the halves while one accepts. Until the next session begins, the halves belong to the last session:
//! the server can receive what that session's client sent. Then both halves are replaced, each under its lock, so that no
//! call is inside a half meanwhile. If the next session uses the same section, the halves are removed before its rings are
//! reset.
//!
//! A message that is written or read in place (`reserve`, `borrow`) holds its session's memory, so that its address stays
//! valid and never refers to a later session. If later sessions use the same section, the address is that of a copy.

#![allow(non_camel_case_types)] // The names are C's.

use super::reports::{Report, Reports};
use super::*;
use crate::channel::lifecycle::RequestsBy;
use crate::channel::{Channel, Current, Side};
use crate::client::SharedClient;
use crate::halves::{ReceiveHalf, SendHalf};
use crate::layout::Direction;
use crate::ring::{Borrowed, Place};
use crate::server::SharedServer;
use crate::session::Session;
use crate::waiting::{Interrupt, Interrupter};
use options::*;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

type Shared<T> = crate::sync::Arc<T>;

/// The callbacks of an endpoint. Any of them may be NULL.
///
/// Of a synchronous endpoint (shm_server_..., shm_client_...) the callbacks run inside the call that detects the event, on
/// its thread. on_connect runs in the call that connects. on_disconnect runs once, in the first call to send, receive, poll
/// or wait for a client that finds the connection over. on_connect and on_disconnect run one at a time, in the order of the
/// connections: a thread that is in one of them also makes the next such calls, and the calls of other threads don't wait
/// for it. on_data_available runs in a poll that finds a message. on_space_available runs in a shm_..._send_timeout that had
/// to wait for room and got it. on_overflow runs in the call that evicts messages, or that finds that the peer has evicted
/// some. on_error runs when the peer broke the protocol. on_message never runs.
///
/// The callbacks of an auto endpoint run on its worker thread, one at a time; on_data_available runs before each on_message.
///
/// A callback may call any function of this library, also with its own handle, and may stop that handle. The first callback
/// may run before the function that creates the handle has returned: the program has no handle then.
///
/// Get a structure without callbacks from xshm_server_callbacks_default or xshm_client_callbacks_default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shm_callbacks_t {
    /// A connection began.
    pub on_connect: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// The connection is over; shm_last_error reports how it ended.
    pub on_disconnect: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// A message is there.
    pub on_data_available: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// There is room again.
    pub on_space_available: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// An operation failed; shm_last_error_message describes the failure.
    pub on_error: Option<unsafe extern "C" fn(error: shm_error_t, user_data: *mut c_void)>,
    /// Passed to each callback. It must be usable on the threads that the callbacks run on.
    pub user_data: *mut c_void,
    /// A message arrived; `data` is valid until the callback returns.
    pub on_message: Option<
        unsafe extern "C" fn(
            direction: shm_direction_t,
            data: *const c_void,
            size: u32,
            user_data: *mut c_void,
        ),
    >,
    /// `count` messages of that direction were lost. Newer messages evicted them; or a server did not receive them before
    /// the next session began (reported after on_disconnect); or, for an auto endpoint, they were left when a connection
    /// ended or the endpoint was stopped.
    pub on_overflow:
        Option<unsafe extern "C" fn(direction: shm_direction_t, count: u32, user_data: *mut c_void)>,
}

// SAFETY: the header says on which threads they run.
unsafe impl Send for shm_callbacks_t {}
// SAFETY: as above.
unsafe impl Sync for shm_callbacks_t {}

impl shm_callbacks_t {
    const NONE: Self = shm_callbacks_t {
        on_connect: None,
        on_disconnect: None,
        on_data_available: None,
        on_space_available: None,
        on_error: None,
        user_data: ptr::null_mut(),
        on_message: None,
        on_overflow: None,
    };

    /// # Safety
    /// NULL, or callbacks.
    pub(crate) unsafe fn read(callbacks: *const Self) -> Self {
        // SAFETY: by the caller.
        unsafe { callbacks.as_ref() }.copied().unwrap_or(Self::NONE)
    }
}

/// The contents of both kinds of handles.
pub(super) struct Ends {
    side: Side,
    interrupt: Shared<Interrupt>,
    callbacks: shm_callbacks_t,
    gate: Gate,
    /// Of a server only: the channel whose handles it exports.
    current: Option<Shared<Current>>,
    /// Of a server only.
    server: Mutex<Option<SharedServer>>,
    sender: Mutex<Option<SendHalf>>,
    /// The message that is being written in place.
    pub(super) reserved: Mutex<Option<Reserved>>,
    receiver: Mutex<Option<Receiver>>,
    /// Keeps the message that is being read in place at its address.
    pub(super) lent: Mutex<Option<Lent>>,
    /// Copies in which messages are written and read in place, if the section itself must not be used.
    pub(super) written: MessageCopy,
    pub(super) read: MessageCopy,
    session: Mutex<Option<Shared<Session>>>,
    /// The reports for which on_connect and on_disconnect still have to be called.
    reports: Reports,
    /// Whether `reserved` may hold something.
    has_reserved: AtomicBool,
}

pub(super) struct Receiver {
    pub(super) half: ReceiveHalf,
    /// The number of messages whose loss was reported.
    reported: u64,
    /// The message that is being read in place.
    pub(super) borrowed: Option<Borrowed>,
    /// The end positions of messages that are received together.
    pub(super) ends: Vec<usize>,
}

/// A message that C writes before it is sent.
pub(super) struct Reserved {
    /// The sender checks by this whether another message was sent since.
    pub(super) place: Place,
    pub(super) session: u32,
    pub(super) memory: Lent,
}

/// The memory whose address C has.
pub(super) enum Lent {
    /// The session's own section.
    Section(Shared<Session>),
    /// A copy, used instead of a section that the next session uses too.
    Copy,
}

/// Room for the copy of a message. It does not move while the handle exists, so that its address stays valid.
pub(super) struct MessageCopy(Mutex<Box<[u64]>>);

impl MessageCopy {
    fn new() -> Self {
        MessageCopy(Mutex::new(Box::new([])))
    }

    /// Returns the address; there is room for the longest message.
    pub(super) fn address(&self) -> *mut u8 {
        let mut words = lock(&self.0);
        if words.is_empty() {
            *words = vec![0; MAX_MESSAGE_SIZE.div_ceil(8)].into();
        }
        words.as_mut_ptr().cast()
    }
}

/// A server for one client.
pub struct ServerHandle(pub(super) Ends);

/// A client of a server for one client.
pub struct ClientHandle(pub(super) Ends);

impl Ends {
    pub(super) fn server(server: SharedServer, callbacks: shm_callbacks_t) -> Self {
        let interrupt = server.interrupter().0;
        let current = Some(server.current());
        Ends { current, server: Mutex::new(Some(server)), ..Ends::new(Side::Server, interrupt, callbacks) }
    }

    pub(super) fn client(client: SharedClient, callbacks: shm_callbacks_t) -> Outcome<Self> {
        let (sender, receiver) = client.take().ok_or(ShmError::NotConnected)?;
        let ends = Ends::new(Side::Client, sender.interrupter().0, callbacks);
        ends.begin(sender, receiver);
        ends.report();
        Ok(ends)
    }

    fn new(side: Side, interrupt: Shared<Interrupt>, callbacks: shm_callbacks_t) -> Self {
        Ends {
            side,
            interrupt,
            callbacks,
            gate: Gate::default(),
            current: None,
            server: Mutex::new(None),
            sender: Mutex::new(None),
            reserved: Mutex::new(None),
            receiver: Mutex::new(None),
            lent: Mutex::new(None),
            written: MessageCopy::new(),
            read: MessageCopy::new(),
            session: Mutex::new(None),
            reports: Reports::default(),
            has_reserved: AtomicBool::new(false),
        }
    }

    /// Replaces the last session by a new one. A server's session is locked meanwhile, so that sessions keep their order.
    fn begin(&self, sender: SendHalf, half: ReceiveHalf) {
        let session = half.session.clone();
        self.drop_halves();
        self.reports.begin();
        *lock(&self.session) = Some(session.clone());
        // A thread that asked for the events meanwhile has found no session, and has exported them before.
        if session.channel.signals_every_message() {
            session.channel.export(|| session.have_every_message_signalled());
        }
        *lock(&self.sender) = Some(sender);
        *lock(&self.receiver) = Some(Receiver { half, reported: 0, borrowed: None, ends: Vec::new() });
    }

    /// Drops the halves of the last session after the last call that is inside them.
    fn drop_halves(&self) {
        *lock(&self.sender) = None;
        let receiver = lock(&self.receiver).take();
        let session = lock(&self.session).take();
        if let Some(session) = session {
            self.reports.end_of(&session);
        }
        self.reports.discarded(receiver.map_or(0, |receiver| receiver.half.not_taken()));
    }

    /// Calls on_connect, on_disconnect and on_overflow for each pending report.
    fn report(&self) {
        // What the callbacks find by shm_last_error is not this call's.
        self.reports.make(|report| {
            restoring_last_error(|| match report {
                // SAFETY: C says that its callbacks may be called.
                Report::Begin => self.call(|all| all.on_connect, |call, user| unsafe { call(user) }),
                Report::End { error, reason } => self.report_end(error, reason),
                Report::Discarded(count) => self.overflow(self.side.receives(), count),
            });
        });
    }

    fn report_end(&self, error: ShmError, reason: ShmError) {
        if error == ShmError::Corrupted {
            let code = record(error.into());
            // SAFETY: C says that its callbacks may be called.
            self.call(|all| all.on_error, |call, user| unsafe { call(code, user) });
        }
        record(reason.into());
        // SAFETY: as above.
        self.call(|all| all.on_disconnect, |call, user| unsafe { call(user) });
    }

    /// Runs `with` with the state that keeps a message in place whose address C gets. Meanwhile the program gets no handles
    /// of the channel.
    pub(super) fn lend<R>(&self, session: &Shared<Session>, with: impl FnOnce(Lent) -> R) -> R {
        match &self.current {
            Some(current) => current.hold(|_| {
                let reused = session.channel.lasts();
                with(if reused { Lent::Copy } else { Lent::Section(session.clone()) })
            }),
            // A client's section is for one session.
            None => with(Lent::Section(session.clone())),
        }
    }

    /// Gives the program handles of a server's channel. From then on the section is reused. Fails while the program has an
    /// address in the section.
    ///
    /// # Errors
    /// [`ShmError::NotReady`]: a message is reserved, or borrowed.
    pub(super) fn give<R>(&self, give: impl FnOnce(&Channel) -> R) -> Outcome<R> {
        let current = self.current.as_deref().ok_or(ShmError::NotConnected)?;
        current.hold(|channel| {
            let is_of_channel = |memory: Option<&Lent>| match memory {
                Some(Lent::Section(session)) => std::ptr::eq(&*session.channel, channel),
                Some(Lent::Copy) | None => false,
            };
            let is_lent = is_of_channel(lock(&self.reserved).as_ref().map(|reserved| &reserved.memory))
                || is_of_channel(lock(&self.lent).as_ref());
            if is_lent && !channel.lasts() {
                return Err(ShmError::NotReady.into());
            }
            Ok(give(channel))
        })
    }

    /// Drops a reservation if a message was sent since, which took its memory.
    fn forget_taken_place(&self, sender: &SendHalf) {
        if !self.has_reserved.load(Ordering::Relaxed) {
            return;
        }
        let mut reserved = lock(&self.reserved);
        let is_taken =
            |it: &Reserved| it.session == sender.session.generation && !sender.producer.has_place(it.place);
        if reserved.as_ref().is_some_and(is_taken) {
            *reserved = None;
        }
        self.has_reserved.store(reserved.is_some(), Ordering::Relaxed);
    }

    /// Records where a message is being written. The caller has locked the sender.
    pub(super) fn keep_reserved(&self, reserved: Reserved) {
        *lock(&self.reserved) = Some(reserved);
        self.has_reserved.store(true, Ordering::Relaxed);
    }

    /// Calls a callback, if there is one. The caller holds no lock.
    fn call<F>(&self, which: impl FnOnce(&shm_callbacks_t) -> Option<F>, call: impl FnOnce(F, *mut c_void)) {
        if let Some(callback) = which(&self.callbacks) {
            self.gate.run(|| call(callback, self.callbacks.user_data));
        }
    }

    pub(super) fn session(&self) -> Outcome<Shared<Session>> {
        Ok(lock(&self.session).clone().ok_or(ShmError::NotConnected)?)
    }

    pub(super) fn interrupter(&self) -> Interrupter {
        Interrupter(self.interrupt.clone())
    }

    fn overflow(&self, direction: Direction, count: u64) {
        if count > 0 {
            let direction = ChannelKind::from(direction).into();
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            // SAFETY: C says that its callbacks may be called.
            self.call(|all| all.on_overflow, |call, user| unsafe { call(direction, count, user) });
        }
    }

    pub(super) fn sending<T>(&self, send: impl FnOnce(&mut SendHalf) -> Result<T>) -> Outcome<T> {
        let sent = match lock(&self.sender).as_mut() {
            Some(sender) => {
                let sent = send(sender);
                self.forget_taken_place(sender);
                self.reports.end_of_call(&sender.session, &sent);
                sent
            }
            None => Err(ShmError::NotConnected),
        };
        self.report();
        done(sent)
    }

    pub(super) fn send(&self, message: &[u8]) -> Outcome {
        let outcome = self.sending(|sender| sender.send(message))?;
        self.evicted(outcome.overwritten);
        Ok(())
    }

    pub(super) fn evicted(&self, count: u32) {
        self.overflow(self.side.sends(), count.into());
    }

    pub(super) fn send_timeout(&self, message: &[u8], timeout: Option<Duration>) -> Outcome {
        let mut waited = false;
        self.sending(|sender| match sender.try_send(message) {
            Err(ShmError::QueueFull) => {
                waited = true;
                sender.send_timeout(message, timeout)
            }
            other => other,
        })?;
        if waited {
            // SAFETY: C says that its callbacks may be called.
            self.call(|all| all.on_space_available, |call, user| unsafe { call(user) });
        }
        Ok(())
    }

    /// # Safety
    /// `size` is NULL, or contains the size of `buffer` in bytes, unless `buffer` is NULL.
    pub(super) unsafe fn receive(
        &self, buffer: *mut c_void, size: *mut u32,
        receive: impl FnOnce(&mut ReceiveHalf, &mut [u8]) -> Result<usize>,
    ) -> Outcome {
        // SAFETY: by the caller.
        let size = unsafe { required(size, "the buffer's size") }?;
        let buffer: &mut [u8] = match (buffer.is_null(), *size) {
            (_, 0) => &mut [],
            (true, _) => return Err(Failure::Argument("the buffer")),
            // SAFETY: by the caller. The bytes may be uninitialised; they are only written.
            (false, size) => unsafe {
                std::slice::from_raw_parts_mut(buffer.cast(), (size as usize).min(MAX_MESSAGE_SIZE))
            },
        };
        let received = self.receiving(|receiver| receive(&mut receiver.half, buffer));
        match &received {
            Ok(length) => *size = *length as u32,
            Err(ShmError::BufferTooSmall { needed }) => *size = *needed as u32,
            Err(_) => {}
        }
        done(received).map(drop)
    }

    /// Receives a message, and reports lost messages and the session's end.
    pub(super) fn receiving<T>(&self, receive: impl FnOnce(&mut Receiver) -> Result<T>) -> Result<T> {
        let mut lost = 0;
        let received = match lock(&self.receiver).as_mut() {
            Some(receiver) => {
                let received = receive(receiver);
                let known = receiver.half.consumer.lost();
                lost = known - std::mem::replace(&mut receiver.reported, known);
                self.reports.end_of_call(&receiver.half.session, &received);
                received
            }
            None => Err(ShmError::NotConnected),
        };
        self.overflow(self.side.receives(), lost);
        self.report();
        received
    }

    pub(super) fn poll(&self, milliseconds: u32) -> Outcome {
        if self.receiving(|receiver| receiver.half.poll(timeout(milliseconds)))? {
            // SAFETY: C says that its callbacks may be called.
            self.call(|all| all.on_data_available, |call, user| unsafe { call(user) });
            return Ok(());
        }
        Err(if milliseconds == 0 { ShmError::QueueEmpty } else { ShmError::Timeout }.into())
    }

    pub(super) fn accept(&self, timeout: Option<Duration>, requests_by: RequestsBy) -> Outcome {
        // How the last session ended, where no call has found out.
        self.find_end_of_last();
        self.report();
        let accepted = self.accept_quietly(timeout, requests_by);
        self.report();
        accepted
    }

    fn accept_quietly(&self, timeout: Option<Duration>, requests_by: RequestsBy) -> Outcome {
        let mut server = lock(&self.server);
        let server = server.as_mut().ok_or(ShmError::NotConnected)?;
        server.accept(timeout, requests_by, &mut || self.drop_halves())?;
        let (sender, receiver) = server.take().ok_or(ShmError::NotConnected)?;
        // It may have ended since.
        self.find_end_of_last();
        self.begin(sender, receiver);
        Ok(())
    }

    fn find_end_of_last(&self) {
        if let Ok(session) = self.session() {
            self.reports.end_of(&session);
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.session().is_ok_and(|session| session.check_process().is_ok())
    }

    pub(super) fn stats(&self) -> Outcome<shm_stats_t> {
        let mut sender = lock(&self.sender);
        let sending = sender.as_mut().ok_or(ShmError::NotConnected)?.stats()?;
        drop(sender);
        let receiver = lock(&self.receiver);
        let receiving = receiver.as_ref().ok_or(ShmError::NotConnected)?.half.stats();
        Ok(shm_stats_t {
            generation: receiving.generation,
            send_depth: sending.send_depth as u32,
            receive_depth: receiving.receive_depth as u32,
            reserved: 0,
            sent: sending.sent,
            send_dropped: sending.send_dropped,
            received: receiving.received,
            receive_dropped: receiving.receive_dropped,
            signals: receiving.signals,
            sleeps: receiving.sleeps,
        })
    }

    /// # Safety
    /// Each pointer is NULL or valid for its purpose.
    pub(super) unsafe fn peer(&self, process_id: *mut u32, user: *mut c_char, size: u32) -> Outcome {
        let peer = self.session()?.peer.identity();
        // SAFETY: by the caller; both were cleared.
        unsafe {
            if !process_id.is_null() {
                process_id.write(peer.process_id);
            }
            copy_text(&peer.user.map_or(String::new(), |user| user.to_string()), user, size);
        }
        Ok(())
    }
}

/// A handle to a synchronous endpoint.
pub(super) trait EndpointHandle {
    fn ends(&self) -> &Ends;
}

impl<H: EndpointHandle> Closable for H {
    fn gate(&self) -> &Gate {
        &self.ends().gate
    }

    fn end(&self) -> bool {
        let ends = self.ends();
        ends.interrupt.stop();
        if let (Side::Server, Ok(session)) = (ends.side, ends.session()) {
            session.disconnect();
        }
        true
    }

    fn own_calls(&self) -> usize {
        // Each callback runs inside a call.
        self.ends().gate.depth()
    }
}

impl EndpointHandle for ServerHandle {
    fn ends(&self) -> &Ends {
        &self.0
    }
}

impl EndpointHandle for ClientHandle {
    fn ends(&self) -> &Ends {
        &self.0
    }
}
