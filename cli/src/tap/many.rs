//! A tap of a server for many clients: a server for many clients too, with one connection to the original for each client.

use super::observer::Observer;
use super::original::Original;
use super::{connect, end_of, forward, report, End};
use crate::args::Tap;
use crate::exit::Complaints;
use crate::recording::From;
use crate::threads;
use crate::transfer::exchange::{Control, Event};
use crate::transfer::many::send_patiently;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use xshm::{
    ClientId, ClientOptions, DisconnectReason, Interrupter, MultiHandle, MultiHandler, MultiOptions,
    OwnedSendHalf, SharedClient, ShmError,
};

/// The most clients. The original server may accept fewer.
const MOST_CLIENTS: u32 = 1000;

pub fn run(
    args: &Tap, original: &Original, observer: &Arc<Observer>, control: &Control,
) -> anyhow::Result<()> {
    let shared = Arc::new(Shared {
        observer: observer.clone(),
        events: control.events.clone(),
        first_error: Mutex::default(),
    });
    let handler = Arc::new(Handler {
        name: args.name.clone(),
        timeout: args.timeout,
        original: *original,
        shared: shared.clone(),
        server: OnceLock::new(),
        sessions: Mutex::default(),
        threads: Mutex::default(),
        clients: AtomicU32::new(0),
        connecting: Mutex::default(),
        is_stopping: AtomicBool::new(false),
        complaints: Complaints::default(),
    });
    // A handler that waits for the original server delays its own client alone.
    let multi = MultiOptions { max_clients: MOST_CLIENTS, clients_per_worker: 1, ..MultiOptions::default() };
    let server = original.server_options().start_multi(&args.as_name, handler.clone(), multi)?;
    let outcome = loop {
        match control.next(None) {
            Some(Event::Interrupted) | None => break Ok(()),
            Some(Event::OutputClosed) => break observer.check_output(),
            Some(Event::Left) if args.once => break lock(&shared.first_error).take().map_or(Ok(()), Err),
            Some(_) => {}
        }
    };
    server.request_stop();
    handler.is_stopping.store(true, Ordering::SeqCst);
    lock(&handler.connecting).iter().for_each(Interrupter::interrupt);
    lock(&handler.sessions).values().for_each(|session| session.end());
    server.stop();
    let threads = std::mem::take(&mut *lock(&handler.threads));
    for thread in threads {
        // It has reported its panic itself.
        let _ = thread.join();
    }
    outcome
}

/// A client, and the connection to the original server that is made for it.
struct Session {
    /// The clients are counted in the order in which they came.
    number: u32,
    /// `None`: the original server is gone, or the session is over.
    to_server: Mutex<Option<OwnedSendHalf<SharedClient>>>,
    interrupter: Interrupter,
    is_over: AtomicBool,
}

impl Session {
    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.interrupter.interrupt();
    }
}

/// What all threads use.
struct Shared {
    observer: Arc<Observer>,
    events: Sender<Event>,
    /// How the first session ended that did not end in order.
    first_error: Mutex<Option<anyhow::Error>>,
}

impl Shared {
    fn see(&self, from: From, number: u32, message: &[u8]) -> xshm::Result<()> {
        self.observer.see(from, number, message).inspect_err(|_| drop(self.events.send(Event::OutputClosed)))
    }

    fn fail(&self, number: u32, error: anyhow::Error) {
        report(number, &error);
        lock(&self.first_error).get_or_insert(error);
    }
}

struct Handler {
    name: String,
    timeout: Duration,
    original: Original,
    shared: Arc<Shared>,
    server: OnceLock<MultiHandle>,
    /// By the slots of the clients.
    sessions: Mutex<HashMap<u32, Arc<Session>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    clients: AtomicU32,
    /// Ends the attempt to connect to the original server. One thread accepts all clients, and connects for them.
    connecting: Mutex<Option<Interrupter>>,
    is_stopping: AtomicBool,
    complaints: Complaints,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MultiHandler for Handler {
    fn on_start(&self, server: MultiHandle) {
        let _ = self.server.set(server);
    }

    fn on_client_connect(&self, slot: u32) {
        let number = self.clients.fetch_add(1, Ordering::Relaxed);
        let client = self.server.get().and_then(|server| Some((server, server.client(slot)?)));
        let Some((server, client)) = client else { return };
        if let Err(error) = self.begin(number, server, client) {
            if !self.is_stopping.load(Ordering::SeqCst) {
                self.shared.fail(number, error);
            }
            // The client may have gone.
            let _ = server.disconnect_client(client);
        }
    }

    fn on_message(&self, slot: u32, message: &[u8]) {
        let Some(session) = lock(&self.sessions).get(&slot).cloned() else { return };
        let mut to_server = lock(&session.to_server);
        // Without the server the messages are dropped until the client has gone too.
        let Some(half) = to_server.as_mut() else { return };
        let seen = self.shared.see(From::Client, session.number, message);
        match seen.and_then(|()| half.send_timeout(message, None)) {
            Ok(()) | Err(ShmError::Interrupted) => {}
            Err(ShmError::NotConnected | ShmError::PeerDied { .. } | ShmError::Corrupted) => {
                *to_server = None
            }
            Err(error) => {
                *to_server = None;
                self.shared.fail(session.number, error.into());
                session.end();
            }
        }
    }

    fn on_client_disconnect_because(&self, slot: u32, reason: &DisconnectReason) {
        if let Some(session) = lock(&self.sessions).remove(&slot) {
            session.end();
            *lock(&session.to_server) = None;
            let end = match reason {
                DisconnectReason::PeerDied => end_of("client", ShmError::PeerDied { pid: 0 }),
                DisconnectReason::Failed(error) => end_of("client", error.clone()),
                _ => Ok(()),
            };
            if let Err(error) = end {
                self.shared.fail(session.number, error);
            }
        }
        let _ = self.shared.events.send(Event::Left);
    }

    fn on_error(&self, _: Option<u32>, error: ShmError) {
        self.complaints.report(&error);
    }
}

impl Handler {
    /// Connects to the original server, and starts to forward what it sends to the client.
    fn begin(&self, number: u32, server: &MultiHandle, client: ClientId) -> anyhow::Result<()> {
        let interrupter = Interrupter::new()?;
        *lock(&self.connecting) = Some(interrupter.clone());
        if self.is_stopping.load(Ordering::SeqCst) {
            return Ok(());
        }
        let options = ClientOptions::new().interrupter(interrupter.clone());
        let upstream = connect(&self.name, self.timeout, &self.original, options)?;
        let (to_server, mut from_server) = upstream.into_split().map_err(ShmError::from)?;
        let to_server = Mutex::new(Some(to_server));
        let session = Arc::new(Session { number, to_server, interrupter, is_over: AtomicBool::new(false) });
        lock(&self.sessions).insert(client.slot(), session.clone());
        let (server, shared) = (server.clone(), self.shared.clone());
        let thread = threads::start("to client", move || {
            let end = forward(&mut from_server, &session.is_over, |message| {
                shared.see(From::Server, number, message)?;
                send_patiently(&server, client, message)
            });
            let end = match end {
                End::SideGone(error) => end_of("server", error),
                End::Failed(error) => Err(error.into()),
                End::Stopped => Ok(()),
            };
            if let Err(error) = end {
                shared.fail(number, error);
            }
            // The client still gets what was sent. It may have gone.
            let _ = server.disconnect_client(client);
        })?;
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }
}
