//! The server: its slots, and the thread that accepts.

use super::core::Core;
use super::handler::{MultiHandler, MultiOptions};
use super::inbox::{Inbox, Member};
use super::slots::{ClientId, Slots};
use super::worker;
use crate::auto::{worker::bound, DisconnectReason};
use crate::channel::wait_set::WaitSet;
use crate::constants::MAX_MESSAGE_SIZE;
use crate::error::{Result, ShmError};
use crate::halves::{ReceiveHalf, SendHalf, WriteOutcome};
use crate::layout::{check_message, FIRST_SLOT, NO_SLOT};
use crate::naming::ChannelName;
use crate::options::ServerOptions;
use crate::server::SharedServer;
use crate::session::Session;
use crate::sys;
use crate::threads::Waited;
use crate::waiting::{Deadline, Interrupter};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// The pause before another attempt to make a channel or to accept a client, after one that failed.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Clients that wait for a slot at most. Others are refused.
const MOST_WAITING: usize = 32;

/// How often the acceptor looks at clients that wait for a slot: they may have given up.
const WAITING_INTERVAL: Duration = Duration::from_millis(100);

/// A client that was accepted and has no slot yet.
type Accepted = (SendHalf, ReceiveHalf);

impl Core {
    fn accept(self: &Arc<Self>, mut server: SharedServer) {
        let mut waiting = VecDeque::new();
        loop {
            self.acceptor.reset();
            if self.is_stopping() {
                return;
            }
            self.seat(&mut waiting);
            match server.accept_now(&mut || {}) {
                Ok(true) => {
                    let accepted = server.take();
                    // First the next channel, so that other clients needn't wait for this one. Where that fails, the next
                    // attempt to accept makes it, or reports the error.
                    let _ = server.prepare_next();
                    waiting.extend(accepted);
                    continue;
                }
                Ok(false) => {}
                Err(error) => {
                    self.rest(error);
                    continue;
                }
            }
            let mut set = server.wait_set();
            set.event(self.acceptor.0.event());
            set.at_most(bound(self.options.poll_timeout));
            set.at_most((!waiting.is_empty()).then_some(WAITING_INTERVAL));
            if let Err(error) = set.wait(Deadline::NEVER) {
                self.rest(error);
            }
        }
    }

    /// Reports an error that may be there again at once, and pauses.
    fn rest(&self, error: ShmError) {
        self.call(None, |handler| handler.on_error(None, error));
        let mut set = WaitSet::new();
        set.event(self.acceptor.0.event());
        set.at_most(Some(ERROR_PAUSE));
        let _ = set.wait(Deadline::NEVER);
    }

    /// Gives clients their slots, in the order in which they came. A client for which there is none waits where another has
    /// left and its slot is about to come free, and is refused otherwise.
    fn seat(self: &Arc<Self>, waiting: &mut VecDeque<Accepted>) {
        waiting.retain(|(_, half)| half.session.check_process().is_ok());
        while !waiting.is_empty() {
            let (mut slot, mut is_one_vacating) = (self.slots.take(), false);
            if slot.is_none() {
                is_one_vacating = self.slots.is_one_vacating();
                // It may have come free meanwhile.
                slot = self.slots.take();
            }
            if let Some(slot) = slot {
                if let Some(client) = waiting.pop_front() {
                    self.admit(client, slot);
                }
            } else if is_one_vacating {
                for (_, half) in waiting.iter() {
                    half.session.channel.view.slot_awaited().store(1, Ordering::Release);
                }
                while waiting.len() > MOST_WAITING {
                    waiting.pop_back().iter().for_each(refuse);
                }
                return;
            } else {
                waiting.drain(..).for_each(|client| refuse(&client));
            }
        }
    }

    /// Gives a client its slot.
    fn admit(self: &Arc<Self>, (sender, half): Accepted, slot: u32) {
        let session = half.session.clone();
        self.slots.hold(slot, sender, session.clone());
        self.call(Some(slot), |handler| handler.on_client_connect(slot));
        report_slot(&session, FIRST_SLOT + u64::from(slot));
        drop(session);
        let worker = self.worker(slot);
        worker.hand(Member::new(slot, half));
        if let Err(error) = worker::start(worker, self) {
            self.call(Some(slot), |handler| handler.on_error(Some(slot), error.clone()));
            for member in worker.members() {
                self.retire(member, &DisconnectReason::Failed(error.clone()));
            }
        }
        // The worker may have ended before it saw the client.
        if self.is_stopping() {
            for member in worker.members() {
                worker::finish(self, member);
            }
        }
    }
}

/// Lets a client know that there is no slot for it.
fn refuse((_, half): &Accepted) {
    report_slot(&half.session, NO_SLOT);
    half.session.disconnect();
}

fn report_slot(session: &Session, word: u64) {
    session.channel.view.slot().store(word, Ordering::Release);
    if let Some(events) = &session.channel.events {
        events.acknowledge().set();
    }
}

/// A server for many clients, in the background. Dropping it [stops](Self::stop) it.
///
/// ```
/// use std::sync::{mpsc, Arc, Mutex};
/// use xshm::{MultiClient, MultiClientHandler, MultiClientOptions, MultiHandler, MultiOptions, MultiServer};
///
/// struct Greeter(Mutex<mpsc::Sender<String>>);
///
/// impl MultiHandler for Greeter {
///     fn on_message(&self, client_id: u32, data: &[u8]) {
///         let line = format!("{client_id}: {}", String::from_utf8_lossy(data));
///         self.0.lock().unwrap().send(line).unwrap();
///     }
/// }
///
/// struct Quiet;
///
/// impl MultiClientHandler for Quiet {}
///
/// let (sender, lines) = mpsc::channel();
/// let server = MultiServer::start("multi-example", Arc::new(Greeter(Mutex::new(sender))), MultiOptions::default())?;
/// let first = MultiClient::connect("multi-example", Arc::new(Quiet), MultiClientOptions::default())?;
/// let second = MultiClient::connect("multi-example", Arc::new(Quiet), MultiClientOptions::default())?;
/// assert_eq!((first.slot_id(), second.slot_id()), (0, 1));
/// second.send(b"good morning")?;
/// assert_eq!(lines.recv().unwrap(), "1: good morning");
/// assert_eq!(server.broadcast(b"hello, all")?, 2);
/// # Ok::<(), xshm::ShmError>(())
/// ```
pub struct MultiServer {
    core: Arc<Core>,
}

impl MultiServer {
    /// Starts a server under a name.
    ///
    /// # Errors
    /// Those of [`SharedServer::start`], and [`ShmError::InvalidOption`] where `max_clients` is zero.
    pub fn start<H: MultiHandler + ?Sized>(
        name: &str, handler: Arc<H>, options: MultiOptions,
    ) -> Result<Self> {
        ServerOptions::default().start_multi(name, handler, options)
    }

    /// Sends a message to a client, from any thread. Never waits: a full queue evicts its oldest messages.
    ///
    /// `client` is a slot's number, and means the client that has the slot now; or a [`ClientId`], and means one session. An
    /// answer that takes longer than a callback goes to a [`ClientId`], so that it reaches no other client: see
    /// [`client`](Self::client).
    ///
    /// # Errors
    /// [`ShmError::NotConnected`]: the slot has no client, or the session is over. Else those of [`SendHalf::send`].
    pub fn send_to(&self, client: impl Into<ClientId>, message: &[u8]) -> Result<WriteOutcome> {
        self.core.send(client.into(), |sender| sender.send(message))
    }

    /// As [`send_to`](Self::send_to), if there's room.
    ///
    /// # Errors
    /// As there, and [`ShmError::QueueFull`].
    pub fn try_send_to(&self, client: impl Into<ClientId>, message: &[u8]) -> Result<()> {
        self.core.send(client.into(), |sender| sender.try_send(message))
    }

    /// Sends a message to every client, and returns to how many. One that fails costs the others nothing.
    ///
    /// # Errors
    /// [`ShmError::MessageTooSmall`], [`ShmError::MessageTooLarge`], [`ShmError::Forked`].
    pub fn broadcast(&self, message: &[u8]) -> Result<u32> {
        check_message(message.len(), MAX_MESSAGE_SIZE)?;
        let mut count = 0;
        for slot in 0..self.core.options.max_clients {
            match self.core.send(slot.into(), |sender| sender.send(message)) {
                Ok(_) => count += 1,
                Err(ShmError::Forked) => return Err(ShmError::Forked),
                Err(_) => {}
            }
        }
        Ok(count)
    }

    /// The session of the client that has a slot, to address it and no client after it. `None`: the slot has no client.
    ///
    /// Inside a handler's call for a slot, `on_client_disconnect` included, it is that client's.
    ///
    /// ```
    /// use std::sync::{mpsc, Arc, Mutex, Weak};
    /// use xshm::{ClientId, MultiClient, MultiClientHandler, MultiClientOptions, MultiHandler, MultiOptions, MultiServer};
    /// use xshm::ShmError;
    ///
    /// /// Remembers the session that asked, for an answer that takes a while.
    /// struct Questions {
    ///     /// Not an `Arc`: the server owns its handler, and would keep itself alive. Locked until the server is there.
    ///     server: Mutex<Weak<MultiServer>>,
    ///     sessions: Mutex<mpsc::Sender<ClientId>>,
    /// }
    ///
    /// impl MultiHandler for Questions {
    ///     fn on_message(&self, client_id: u32, _: &[u8]) {
    ///         let server = self.server.lock().unwrap().upgrade();
    ///         // `None`: the server is being dropped.
    ///         if let Some(session) = server.and_then(|server| server.client(client_id)) {
    ///             let _ = self.sessions.lock().unwrap().send(session);
    ///         }
    ///     }
    /// }
    ///
    /// struct Quiet;
    ///
    /// impl MultiClientHandler for Quiet {}
    ///
    /// let (sender, questions) = mpsc::channel();
    /// let handler = Arc::new(Questions { server: Mutex::default(), sessions: Mutex::new(sender) });
    /// let mut server_of_handler = handler.server.lock().unwrap();
    /// let server = Arc::new(MultiServer::start("client-id-example", handler.clone(), MultiOptions::default())?);
    /// *server_of_handler = Arc::downgrade(&server);
    /// drop(server_of_handler);
    ///
    /// let client = MultiClient::connect("client-id-example", Arc::new(Quiet), MultiClientOptions::default())?;
    /// client.send(b"what is the answer?")?;
    /// let session = questions.recv().unwrap();
    /// assert_eq!(session.slot(), 0);
    /// server.send_to(session, b"42")?;
    /// client.stop();
    /// while server.is_client_connected(session) {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(server.send_to(session, b"too late"), Err(ShmError::NotConnected));
    /// # Ok::<(), xshm::ShmError>(())
    /// ```
    pub fn client(&self, slot: u32) -> Option<ClientId> {
        self.core.check_process().ok()?;
        self.core.slots.session(slot)
    }

    /// Ends a client's session. The client receives what it was sent, and the handler what the client has sent; then the
    /// slot comes free, whether the client lets go of its channel or not.
    ///
    /// # Errors
    /// [`ShmError::NotConnected`]: the slot has no client, or the session is over. [`ShmError::Forked`].
    pub fn disconnect_client(&self, client: impl Into<ClientId>) -> Result<()> {
        let client = client.into();
        self.core.check_process()?;
        let session = self.core.slots.with(client, |held| {
            held.kicked = true;
            held.session.clone()
        })?;
        session.disconnect();
        self.core.worker(client.slot()).attention.interrupt();
        Ok(())
    }

    /// The slots that have a client, in order.
    pub fn connected_clients(&self) -> Vec<u32> {
        (0..self.core.options.max_clients).filter(|&slot| self.is_client_connected(slot)).collect()
    }

    /// How many clients there are.
    pub fn client_count(&self) -> u32 {
        self.core.slots.count()
    }

    /// Whether a slot has a client, or whether a session lives, as far as the server knows: it asks no process.
    pub fn is_client_connected(&self, client: impl Into<ClientId>) -> bool {
        self.core.check_process().is_ok() && self.core.slots.with(client.into(), |_| ()).is_ok()
    }

    /// The name, as it was given.
    pub fn base_name(&self) -> &str {
        self.core.name.given()
    }

    /// What to call a slot's channel in a log: the name with the slot's number behind it. `None`: there's no such slot.
    /// It isn't a name to connect to: all clients connect to [`base_name`](Self::base_name).
    pub fn channel_name(&self, client_id: u32) -> Option<String> {
        (client_id < self.core.options.max_clients).then(|| format!("{}.{client_id}", self.base_name()))
    }

    /// Hands over what has arrived, ends all sessions, and waits for the server's threads. The handler is not called after
    /// this has returned.
    ///
    /// Two kinds of calls do not wait, and return while the threads are still to end: one from the server's own handler,
    /// to which nothing more is handed over except the ends of the sessions; and one from another endpoint's handler whose
    /// end this server's handler waits for, since each would wait for the other.
    pub fn stop(&self) {
        self.stop_and_wait();
    }

    pub(crate) fn stop_and_wait(&self) -> Waited {
        if self.core.threads.is_own() {
            self.core.stopped_by_handler.store(true, Ordering::Release);
        }
        self.stop_within(None)
    }

    /// Begins to [stop](Self::stop), and waits for nothing. Any thread may call this, a handler's too: what has arrived is
    /// handed over, and all sessions end.
    pub fn request_stop(&self) {
        if self.core.created_in.is_current() {
            self.core.request_stop();
        }
    }

    /// As [`stop`](Self::stop), waiting at most this long.
    ///
    /// # Errors
    /// - [`ShmError::Timeout`]: the threads have not ended yet. They will.
    /// - [`ShmError::NotReady`]: this call must not wait for them, as said at `stop`.
    /// - [`ShmError::Forked`].
    pub fn stop_timeout(&self, timeout: Duration) -> Result<()> {
        self.core.check_process()?;
        self.stop_within(Some(timeout)).into_result()
    }

    fn stop_within(&self, timeout: Option<Duration>) -> Waited {
        // A fork has no such threads.
        if !self.core.created_in.is_current() {
            return Waited::NotFromHere;
        }
        self.core.request_stop();
        self.core.threads.wait(Deadline::after(timeout))
    }
}

impl ServerOptions {
    /// Starts a server for many clients, see [`MultiServer::start`]; these are the options of each client's channel. An
    /// [`interrupter`](Self::interrupter) is not used.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_multi<H: MultiHandler + ?Sized>(
        self, name: &str, handler: Arc<H>, options: MultiOptions,
    ) -> Result<MultiServer> {
        let name = ChannelName::parse(name)?;
        let slots = options.max_clients;
        if slots == 0 {
            let reason = "a server has at least one slot".to_owned();
            return Err(ShmError::InvalidOption { option: "max_clients", value: 0, reason });
        }
        // The channels' own calls never wait, so that one flag that is never set serves them all.
        let channel_options = self.interrupter(Interrupter::new()?);
        let server = SharedServer::start_many(&name, channel_options)?;
        let workers = slots.div_ceil(options.slots_per_worker());
        let workers = (0..workers).map(|_| Inbox::new().map(Arc::new)).collect::<Result<_>>()?;
        let core = Arc::new(Core {
            handler: Box::new(handler),
            options,
            name,
            slots: Slots::new(slots),
            workers,
            acceptor: Interrupter::new()?,
            stopping: AtomicBool::new(false),
            stopped_by_handler: AtomicBool::new(false),
            threads: Arc::default(),
            created_in: sys::OwningProcess::current()?,
        });
        let acceptor = core.clone();
        core.threads.spawn("xshm-accept", move || acceptor.accept(server))?;
        Ok(MultiServer { core })
    }
}

impl Drop for MultiServer {
    fn drop(&mut self) {
        self.stop();
    }
}
