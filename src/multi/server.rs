//! The server: its slots, and the thread that accepts.

use super::worker::{self, Member, Worker};
use super::{MultiHandler, MultiOptions, MOST_CLIENTS_PER_WORKER};
use crate::auto::{guarded, worker::bound, DisconnectReason};
use crate::constants::MAX_MESSAGE_SIZE;
use crate::error::{Result, ShmError};
use crate::halves::{SendHalf, WriteOutcome};
use crate::layout::{check_message, FIRST_SLOT, NO_SLOT};
use crate::naming::ChannelName;
use crate::options::ServerOptions;
use crate::server::SharedServer;
use crate::session::Session;
use crate::sync::Arc as ChannelArc;
use crate::sys::{self, Guard, Waitable};
use crate::waiting::Interrupter;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

/// The pause before another attempt to make a channel or to accept a client, after one that failed.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// What the threads of a server share.
pub(super) struct Core {
    handler: Box<dyn MultiHandler>,
    pub(super) options: MultiOptions,
    name: ChannelName,
    channel_options: ServerOptions,
    slots: Vec<Mutex<Slot>>,
    free: Mutex<BTreeSet<u32>>,
    count: AtomicU32,
    workers: Vec<Arc<Worker>>,
    /// Ends the waits of the thread of this name, which resets it and looks at what was changed before.
    acceptor: Interrupter,
    stopping: AtomicBool,
    /// Stopped by the handler: nothing more is handed over.
    stopped_by_handler: AtomicBool,
    /// Threads of the server, which don't wait for each other's end.
    threads: Mutex<Vec<ThreadId>>,
    home: sys::Home,
}

#[derive(Default)]
struct Slot {
    client: Option<Client>,
}

struct Client {
    sender: SendHalf,
    session: ChannelArc<Session>,
    kicked: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// Calls the handler. What it panics with is reported to it; if it panics at that, so be it.
    pub(super) fn call(&self, client: Option<u32>, call: impl FnOnce(&dyn MultiHandler)) {
        let handler = &*self.handler;
        if let Err(error) = guarded(|| call(handler)) {
            let _ = guarded(|| handler.on_error(client, error));
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn is_stopped_by_handler(&self) -> bool {
        self.stopped_by_handler.load(Ordering::Acquire)
    }

    fn on_own_thread(&self) -> bool {
        lock(&self.threads).contains(&thread::current().id())
    }

    pub(super) fn register_thread(&self) {
        lock(&self.threads).push(thread::current().id());
    }

    fn slot(&self, slot: u32) -> Result<MutexGuard<'_, Slot>> {
        if !self.home.is_here() {
            return Err(ShmError::Forked);
        }
        Ok(lock(self.slots.get(slot as usize).ok_or(ShmError::NotConnected)?))
    }

    fn worker(&self, slot: u32) -> &Arc<Worker> {
        &self.workers[(slot / self.per_worker()) as usize]
    }

    fn per_worker(&self) -> u32 {
        self.options.clients_per_worker.clamp(1, MOST_CLIENTS_PER_WORKER)
    }

    fn send(
        &self,
        slot: u32,
        send: impl FnOnce(&mut SendHalf) -> Result<WriteOutcome>,
    ) -> Result<WriteOutcome> {
        let outcome = send(&mut self.slot(slot)?.client.as_mut().ok_or(ShmError::NotConnected)?.sender);
        if matches!(outcome, Err(ShmError::Corrupted)) {
            // Found here, and the worker may sleep.
            self.worker(slot).attention.interrupt();
        }
        outcome
    }

    /// A client is gone: its slot comes free when the handler knows.
    pub(super) fn retire(&self, member: Member, reason: &DisconnectReason) {
        let slot = member.slot;
        let client = lock(&self.slots[slot as usize]).client.take();
        let kicked = client.as_ref().is_some_and(|client| client.kicked);
        let reason = if kicked { &DisconnectReason::Kicked } else { reason };
        self.count.fetch_sub(1, Ordering::AcqRel);
        member.half.session.disconnect();
        // The last use of the channel.
        drop((client, member));
        self.call(Some(slot), |handler| handler.on_client_disconnect_because(slot, reason));
        lock(&self.free).insert(slot);
    }

    // ------------------------------------------------------------------------------------------- the thread that accepts

    fn accept(self: &Arc<Self>, mut offered: Option<SharedServer>, guard: &ChannelArc<Guard>) {
        self.register_thread();
        loop {
            self.acceptor.reset();
            if self.is_stopping() {
                return;
            }
            let Some(server) = &mut offered else {
                match SharedServer::offer(&self.name, &self.channel_options, Some(guard.clone())) {
                    Ok(server) => offered = Some(server),
                    Err(error) => self.rest(error),
                }
                continue;
            };
            match server.accept_now() {
                Ok(true) => {
                    let accepted = offered.take();
                    // First the next one, so that others needn't wait for this one.
                    offered =
                        SharedServer::offer(&self.name, &self.channel_options, Some(guard.clone())).ok();
                    if let Some(accepted) = accepted {
                        self.admit(accepted);
                    }
                    continue;
                }
                Ok(false) if guard.is_overdue() => {
                    // It may still spoil the channel, and must not do so for the next one. If it is but slow, it learns
                    // that this one is gone, and comes again.
                    let late = offered.take();
                    offered =
                        SharedServer::offer(&self.name, &self.channel_options, Some(guard.clone())).ok();
                    drop(late);
                    continue;
                }
                Ok(false) => {}
                Err(error) => {
                    self.rest(error);
                    continue;
                }
            }
            let mut objects = vec![Waitable::Event(self.acceptor.0.event())];
            let (knocks, patience) = server.knocks();
            objects.extend(knocks);
            let time = patience.into_iter().chain(bound(self.options.poll_timeout)).min();
            if let Err(error) = sys::wait_any(&objects, time) {
                self.rest(error);
            }
        }
    }

    /// Tells of an error that may be there again at once.
    fn rest(&self, error: ShmError) {
        self.call(None, |handler| handler.on_error(None, error));
        let _ = sys::wait_any(&[Waitable::Event(self.acceptor.0.event())], Some(ERROR_PAUSE));
    }

    /// Gives a client its slot, if there is one.
    fn admit(self: &Arc<Self>, mut accepted: SharedServer) {
        let Some((sender, half)) = accepted.take() else { return };
        drop(accepted);
        let session = half.session.clone();
        let tell = |word: u64| {
            session.channel.view.slot().store(word, Ordering::Release);
            if let Some(events) = &session.channel.events {
                events.acknowledge().set();
            }
        };
        let slot = lock(&self.free).pop_first();
        let Some(slot) = slot else {
            tell(NO_SLOT);
            session.disconnect();
            return;
        };
        lock(&self.slots[slot as usize]).client =
            Some(Client { sender, session: session.clone(), kicked: false });
        self.count.fetch_add(1, Ordering::AcqRel);
        self.call(Some(slot), |handler| handler.on_client_connect(slot));
        tell(FIRST_SLOT + u64::from(slot));
        drop(session);
        let worker = self.worker(slot);
        worker.hand(Member::new(slot, half));
        if let Err(error) = worker.start(self) {
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
    /// Locked for as long as somebody waits for its end.
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

impl MultiServer {
    /// Starts a server under a name.
    ///
    /// # Errors
    /// Those of [`SharedServer::start`], and [`ShmError::InvalidOption`] where `max_clients` is zero.
    pub fn start<H: MultiHandler + ?Sized>(
        name: &str,
        handler: Arc<H>,
        options: MultiOptions,
    ) -> Result<Self> {
        Self::start_with(name, handler, options, ServerOptions::default())
    }

    pub(crate) fn start_with<H: MultiHandler + ?Sized>(
        name: &str,
        handler: Arc<H>,
        options: MultiOptions,
        channel_options: ServerOptions,
    ) -> Result<Self> {
        let name = ChannelName::parse(name)?;
        let slots = options.max_clients;
        if slots == 0 {
            let reason = "a server has at least one slot".to_owned();
            return Err(ShmError::InvalidOption { option: "max_clients", value: 0, reason });
        }
        // The channels' own calls never wait, so that one that nobody sets serves them all.
        let channel_options = channel_options.interrupter(Interrupter::new()?);
        let offered = SharedServer::offer(&name, &channel_options, None)?;
        let guard = offered.guard().ok_or(ShmError::HandshakeFailed)?;
        let workers = slots.div_ceil(options.clients_per_worker.clamp(1, MOST_CLIENTS_PER_WORKER));
        let workers = (0..workers).map(|_| Worker::new().map(Arc::new)).collect::<Result<_>>()?;
        let core = Arc::new(Core {
            handler: Box::new(handler),
            options,
            name,
            channel_options,
            slots: (0..slots).map(|_| Mutex::default()).collect(),
            free: Mutex::new((0..slots).collect()),
            count: AtomicU32::new(0),
            workers,
            acceptor: Interrupter::new()?,
            stopping: AtomicBool::new(false),
            stopped_by_handler: AtomicBool::new(false),
            threads: Mutex::default(),
            home: sys::Home::here()?,
        });
        let acceptor = {
            let core = core.clone();
            let thread = thread::Builder::new().name("xshm-accept".to_owned());
            thread.spawn(move || core.accept(Some(offered), &guard))
        };
        let acceptor = acceptor.map_err(|error| sys::io_error(&error, "starting a thread"))?;
        Ok(MultiServer { core, acceptor: Mutex::new(Some(acceptor)) })
    }

    /// Sends a message to a client, from any thread. Never waits: a full queue evicts its oldest messages.
    ///
    /// # Errors
    /// [`ShmError::NotConnected`]: the slot has no client. Else those of [`SendHalf::send`].
    pub fn send_to(&self, client_id: u32, message: &[u8]) -> Result<WriteOutcome> {
        self.core.send(client_id, |sender| sender.send(message))
    }

    /// As [`send_to`](Self::send_to), if there's room.
    ///
    /// # Errors
    /// As there, and [`ShmError::QueueFull`].
    pub fn try_send_to(&self, client_id: u32, message: &[u8]) -> Result<()> {
        let sent = |sender: &mut SendHalf| {
            sender.try_send(message).map(|()| WriteOutcome { overwritten: 0, was_empty: false })
        };
        self.core.send(client_id, sent).map(drop)
    }

    /// Sends a message to every client, and says to how many. One that fails costs the others nothing.
    ///
    /// # Errors
    /// [`ShmError::MessageTooSmall`], [`ShmError::MessageTooLarge`], [`ShmError::Forked`].
    pub fn broadcast(&self, message: &[u8]) -> Result<u32> {
        check_message(message.len(), MAX_MESSAGE_SIZE)?;
        let mut count = 0;
        for slot in 0..self.core.slots.len() as u32 {
            match self.core.send(slot, |sender| sender.send(message)) {
                Ok(_) => count += 1,
                Err(ShmError::Forked) => return Err(ShmError::Forked),
                Err(_) => {}
            }
        }
        Ok(count)
    }

    /// Ends a client's session. It receives first what it was sent, the handler what it has sent; then its slot comes
    /// free, whether it lets go of its channel or not.
    ///
    /// # Errors
    /// [`ShmError::NotConnected`]: the slot has no client. [`ShmError::Forked`].
    pub fn disconnect_client(&self, client_id: u32) -> Result<()> {
        let session = {
            let mut slot = self.core.slot(client_id)?;
            let client = slot.client.as_mut().ok_or(ShmError::NotConnected)?;
            client.kicked = true;
            client.session.clone()
        };
        session.disconnect();
        self.core.worker(client_id).attention.interrupt();
        Ok(())
    }

    /// The slots that have a client, in order.
    pub fn connected_clients(&self) -> Vec<u32> {
        (0..self.core.slots.len() as u32).filter(|&slot| self.is_client_connected(slot)).collect()
    }

    /// How many clients there are.
    pub fn client_count(&self) -> u32 {
        self.core.count.load(Ordering::Acquire)
    }

    /// Whether a slot has a client, as far as is known: nobody is asked.
    pub fn is_client_connected(&self, client_id: u32) -> bool {
        self.core.slot(client_id).is_ok_and(|slot| slot.client.is_some())
    }

    /// The name, as it was given.
    pub fn base_name(&self) -> &str {
        self.core.name.given()
    }

    /// What to call a slot's channel in a log: the name with the slot's number behind it. `None`: there's no such slot.
    /// It isn't a name to connect to: all clients connect to [`base_name`](Self::base_name).
    pub fn channel_name(&self, client_id: u32) -> Option<String> {
        ((client_id as usize) < self.core.slots.len()).then(|| format!("{}.{client_id}", self.base_name()))
    }

    /// Hands over what has arrived, ends all sessions, and waits for the threads' end. No call to the handler comes
    /// afterwards. From a handler's call it returns at once, and the threads end after it.
    pub fn stop(&self) {
        let core = &*self.core;
        if !core.home.is_here() {
            return;
        }
        let inside = core.on_own_thread();
        if inside {
            core.stopped_by_handler.store(true, Ordering::Release);
        }
        core.stopping.store(true, Ordering::Release);
        core.acceptor.interrupt();
        for worker in &core.workers {
            worker.attention.interrupt();
        }
        if inside {
            return;
        }
        // It starts the workers, so it ends first. They catch what a handler panics with.
        let mut acceptor = lock(&self.acceptor);
        if let Some(acceptor) = acceptor.take() {
            let _ = acceptor.join();
        }
        for worker in &core.workers {
            worker.join();
        }
    }
}

impl Drop for MultiServer {
    fn drop(&mut self) {
        self.stop();
    }
}
