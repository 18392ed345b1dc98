//! The side of the clients: the bridge is a server with the channel's name, and opens a session for each client.

use crate::hub::{random_id, Hub, Role};
use crate::session::{run_split, Session, SLICE};
use crate::wire::{one_line, Cause, End, OpenAnswer, OpenRequest, VERSION};
use crate::{Error, ImportOptions};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use xshm::{
    ChannelKind, DisconnectReason, Interrupter, MultiHandle, MultiHandler, MultiServer, SharedServer,
    ShmError,
};
use zenoh::pubsub::Subscriber;
use zenoh::query::ConsolidationMode;
use zenoh::sample::SampleKind;
use zenoh::Wait;

/// After how long without an exporting bridge the log has a warning.
const SILENCE: Duration = Duration::from_secs(5);

/// How long the bridge waits before it tries again to start a server that the system refused.
const RETRY: Duration = Duration::from_secs(1);

/// A channel of a server on another machine. Dropping it stops it.
pub struct Import {
    shared: Arc<Shared>,
    _subscriber: Subscriber<()>,
    _exporters: Subscriber<()>,
    serving: Option<JoinHandle<()>>,
    /// Dropped when a stop has ended all sessions.
    sessions: Option<Sender<()>>,
}

struct Shared {
    hub: Arc<Hub>,
    options: ImportOptions,
    /// The ids of the exporting bridges that are reachable.
    exporters: Mutex<BTreeSet<u64>>,
    exporters_changed: Condvar,
    /// Ends the waits of a server for one client.
    interrupter: Interrupter,
}

impl Import {
    /// Begins to import a channel over an open Zenoh session. The channel's name exists on this machine while an exporting
    /// bridge is reachable.
    ///
    /// # Errors
    /// An option is invalid, the name is taken by a server that runs, or Zenoh refuses the key. If the name is taken later, while no
    /// exporting bridge is reachable, the log has an error each second until the name is free.
    pub fn start(zenoh: &zenoh::Session, options: ImportOptions) -> Result<Self, Error> {
        options.check()?;
        let common = &options.common;
        let channel = |error| Error::Channel { name: common.name.clone(), error };
        // A taken name is reported now, not when the first exporting bridge comes. This server accepts no client.
        drop(options.server_options()?.start(&common.name).map_err(channel)?);
        let interrupter = Interrupter::new().map_err(channel)?;
        let hub = Hub::new(zenoh.clone(), Role::Import, &common.name, &common.key, common.settings());
        let subscriber = hub.start().map_err(Error::Zenoh)?;
        let shared = Arc::new(Shared {
            hub: hub.clone(),
            options,
            exporters: Mutex::default(),
            exporters_changed: Condvar::new(),
            interrupter,
        });
        tracing::info!(channel = %hub.name, key = %hub.key, bridge = %format!("{:016x}", hub.id), "imports");
        let seen = shared.clone();
        let exporters = zenoh
            .liveliness()
            .declare_subscriber(hub.exporter_key("*"))
            .history(true)
            .callback(move |sample| seen.on_exporter(sample.key_expr().as_str(), sample.kind()))
            .wait()
            .map_err(Error::Zenoh)?;
        let server = shared.clone();
        let (sessions, sessions_over) = mpsc::channel();
        let serving = thread::Builder::new()
            .name("import".into())
            .spawn(move || server.serve(&sessions_over))
            .map_err(|error| Error::System { what: "starting a thread".into(), error })?;
        Ok(Import {
            shared,
            _subscriber: subscriber,
            _exporters: exporters,
            serving: Some(serving),
            sessions: Some(sessions),
        })
    }

    /// Returns the number of sessions that live.
    pub fn session_count(&self) -> usize {
        self.shared.hub.session_count()
    }

    /// Ends all sessions, and removes the channel's name. What the clients and the remote server have sent is delivered first, within
    /// the grace time of the options.
    pub fn stop(&mut self) {
        let Some(serving) = self.serving.take() else { return };
        self.shared.hub.begin_stop();
        for session in self.shared.hub.all_sessions() {
            session.ask_to_stop();
        }
        self.shared.interrupter.interrupt();
        {
            let _exporters = self.shared.exporters();
            self.shared.exporters_changed.notify_all();
        }
        self.shared.hub.wait_for_sessions();
        self.sessions = None;
        if serving.join().is_err() {
            tracing::error!(channel = %self.shared.hub.name, "the thread of the import has panicked");
        }
        tracing::info!(channel = %self.shared.hub.name, "the import has ended");
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn exporters(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.exporters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_exporter(&self, key: &str, kind: SampleKind) {
        let id = key.rsplit_once('/').and_then(|(_, id)| u64::from_str_radix(id, 16).ok());
        let Some(id) = id else {
            tracing::warn!(channel = %self.hub.name, ?key, "a token under the key is none of an exporting bridge");
            return;
        };
        let mut exporters = self.exporters();
        match kind {
            SampleKind::Put => exporters.insert(id),
            SampleKind::Delete => exporters.remove(&id),
        };
        let count = exporters.len();
        self.hub.metrics.other_bridges.set(count as f64);
        let change = if kind == SampleKind::Put { "came" } else { "went" };
        tracing::info!(
            channel = %self.hub.name, exporter = %format_args!("{id:016x}"), change, count, "exporting bridges changed"
        );
        if count > 1 {
            tracing::warn!(
                channel = %self.hub.name, key = %self.hub.key, count,
                "several bridges export under this key: new sessions go to the one with the lowest id"
            );
        }
        self.exporters_changed.notify_all();
    }

    /// Waits until whether an exporting bridge is reachable is as wanted, up to a time limit, or the bridge stops. Returns
    /// whether it became so.
    fn wait_for_exporters(&self, wanted: bool, limit: Option<Duration>) -> bool {
        let mut exporters = self.exporters();
        loop {
            if self.hub.is_stopping() {
                return false;
            }
            if exporters.is_empty() != wanted {
                return true;
            }
            exporters = match limit {
                Some(limit) => {
                    let waited = self.exporters_changed.wait_timeout(exporters, limit);
                    let (exporters, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() {
                        return exporters.is_empty() != wanted;
                    }
                    exporters
                }
                None => self.exporters_changed.wait(exporters).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Has a server while an exporting bridge is reachable. At a stop, it lives until all sessions are over: the channel has no sender
    /// then.
    fn serve(self: &Arc<Self>, sessions_over: &Receiver<()>) {
        if !self.wait_for_exporters(true, Some(SILENCE)) && !self.hub.is_stopping() {
            tracing::warn!(
                channel = %self.hub.name, key = %self.hub.key,
                "no exporting bridge is reachable yet: does one export under this key, is the endpoint right, and do both bridges \
                 admit each other (TLS, access control)?"
            );
        }
        while self.wait_for_exporters(true, None) {
            let served = if self.options.sync { self.serve_one() } else { self.serve_many(sessions_over) };
            if let Err(error) = served {
                tracing::error!(channel = %self.hub.name, %error, "the imported channel cannot be served; trying again");
                self.wait_for_exporters(false, Some(RETRY));
            }
        }
    }

    /// Waits until no exporting bridge is reachable, or the bridge stops.
    fn wait_while_reachable(&self) {
        while self.wait_for_exporters(false, None) {
            // A connection that comes back in time ends no session. Without sessions, the next client may as well wait. Each session
            // ends, in order or by the lease.
            loop {
                let is_empty = self.hub.wait_until_empty(self.hub.settings.lease);
                if self.wait_for_exporters(true, Some(Duration::ZERO)) {
                    break;
                }
                if is_empty || self.hub.is_stopping() {
                    return;
                }
            }
        }
    }

    fn serve_many(self: &Arc<Self>, sessions_over: &Receiver<()>) -> Result<(), Error> {
        let handler = Arc::new(Clients {
            shared: self.clone(),
            server: OnceLock::new(),
            slots: (0..self.options.max_clients).map(|_| RwLock::new(None)).collect(),
        });
        let name = &self.options.common.name;
        let server: MultiServer = self
            .options
            .server_options()?
            .start_multi(name, handler, self.options.multi_options())
            .map_err(|error| Error::Channel { name: name.clone(), error })?;
        tracing::info!(channel = %name, "the imported channel accepts clients");
        self.wait_while_reachable();
        if self.hub.is_stopping() {
            // Until then, the sessions deliver what the clients get.
            let _ = sessions_over.recv();
        } else {
            tracing::warn!(channel = %name, "no exporting bridge is reachable: the imported channel accepts no clients");
        }
        // The server's threads end after the messages that the clients have sent, or with the sessions.
        drop(server);
        Ok(())
    }

    fn serve_one(self: &Arc<Self>) -> Result<(), Error> {
        let name = &self.options.common.name;
        let channel = |error| Error::Channel { name: name.clone(), error };
        self.interrupter.reset();
        if self.hub.is_stopping() {
            return Ok(());
        }
        let options = self.options.server_options()?.interrupter(self.interrupter.clone());
        let mut server = options.start(name).map_err(channel)?;
        tracing::info!(channel = %name, "the imported channel accepts clients, one at a time");
        let is_over = Arc::new(AtomicBool::new(false));
        let (watched, over) = (self.clone(), is_over.clone());
        // Ends the wait for a client. The flag first: the end of a session resets the interrupter.
        let watch = move || {
            watched.wait_while_reachable();
            over.store(true, Ordering::Release);
            watched.interrupter.interrupt();
        };
        let is_over = || is_over.load(Ordering::Acquire) || self.hub.is_stopping();
        let watching = thread::Builder::new()
            .name("watch".into())
            .spawn(watch)
            .map_err(|error| Error::System { what: "starting a thread".into(), error })?;
        let served = loop {
            match server.wait_for_client(None) {
                Ok(()) => {}
                // The end of a session interrupts calls too. The flags are set before an interrupt, so the reset loses none.
                Err(ShmError::Interrupted) => {
                    self.interrupter.reset();
                    if is_over() {
                        break Ok(());
                    }
                    continue;
                }
                Err(error) => break Err(channel(error)),
            }
            server = self.serve_client(server);
            server.disconnect_client();
            if is_over() {
                break Ok(());
            }
        };
        if served.is_err() {
            // The server is started again; the thread that watches ends with the reachable bridges.
            drop(watching);
        } else {
            let _ = watching.join();
        }
        served
    }

    /// Carries the messages of the client that the server has, and returns the server after the session.
    fn serve_client(self: &Arc<Self>, server: SharedServer) -> SharedServer {
        let process = server.peer().map(|peer| peer.process_id);
        let (session, window) = match self.open(process) {
            Ok(opened) => opened,
            Err(end) => {
                if end.cause != Cause::Stopped {
                    tracing::warn!(channel = %self.hub.name, reason = end.text, "a client's session was ended: it cannot be opened");
                }
                return server;
            }
        };
        session.open(window);
        let (sender, receiver) = server.into_split().expect("the server has a client");
        let (sender, receiver) = run_split(&session, "client", sender, receiver);
        self.hub.remove(&session);
        sender.rejoin(receiver).expect("both halves are of this server")
    }

    /// Makes a session for a client.
    fn begin(&self) -> Result<Arc<Session>, End> {
        let exporter = self.exporters().first().copied();
        let other = exporter.ok_or_else(|| End::refused("no exporting bridge is reachable"))?;
        let longest = self.options.longest();
        let session = Session::new(&self.hub, random_id(), other, longest);
        let session = session.map_err(|error| End::refused(Error::Zenoh(error).to_string()))?;
        self.hub.add(&session)?;
        Ok(session)
    }

    /// Asks the exporting bridge to open a session. Returns how many bytes may be under way to it.
    fn request(&self, session: &Session) -> Result<u64, End> {
        let request = OpenRequest {
            version: VERSION,
            bridge: format!("{:016x}", self.hub.id),
            session: session.name(),
            max_message_size: self.options.longest() as u64,
            window: self.hub.settings.window as u64,
            timeout_ms: self.options.open_timeout_ms,
        };
        let request = toml::to_string(&request).map_err(|error| End::refused(error.to_string()))?;
        let replies = self
            .hub
            .zenoh
            .get(self.hub.exporter_key(&format!("{:016x}", session.other)))
            .payload(request)
            .consolidation(ConsolidationMode::None)
            .timeout(Duration::from_millis(self.options.open_timeout_ms.into()))
            .wait()
            .map_err(|error| End::refused(Error::Zenoh(error).to_string()))?;
        let late = || {
            let limit = self.options.open_timeout_ms;
            End::refused(format!("the exporting bridge did not answer within {limit} ms (--open-timeout-ms)"))
        };
        let reply = loop {
            match replies.recv_timeout(SLICE) {
                Ok(Some(reply)) => break reply,
                Ok(None) => {}
                // Without a reply: the other bridge has ended, or the connection to it.
                Err(_) => return Err(End::refused("the exporting bridge has gone before it answered")),
            }
            // At a stop.
            if let Some(end) = session.ended() {
                return Err(end.clone());
            }
        };
        match reply.into_result() {
            Ok(sample) => toml::from_str(&String::from_utf8_lossy(&sample.payload().to_bytes()))
                .map(|answer: OpenAnswer| answer.window)
                .map_err(|error| {
                    End::refused(format!("the answer of the exporting bridge: {}", error.message()))
                }),
            Err(error) => match &*error.payload().to_bytes() {
                // Zenoh's own answer at the end of the time.
                b"Timeout" => Err(late()),
                // It answers the stop.
                _ if self.hub.is_stopping() => Err(self.hub.stopped()),
                reason => Err(End::refused(format!("by the exporting bridge: {}", one_line(reason)))),
            },
        }
    }

    /// Opens a session for a client of a server that serves one at a time.
    fn open(&self, process: Option<u32>) -> Result<(Arc<Session>, u64), End> {
        let session = self.begin()?;
        match self.request(&session) {
            Ok(window) => {
                self.log_open(&session, process);
                Ok((session, window))
            }
            Err(end) => {
                session.end(end.clone());
                self.hub.remove(&session);
                Err(end)
            }
        }
    }

    fn log_open(&self, session: &Session, process: Option<u32>) {
        tracing::info!(
            channel = %self.hub.name, session = %session.name(), exporter = %format_args!("{:016x}", session.other),
            client_process = process, "session opened"
        );
    }
}

/// The handler of a server for many clients.
struct Clients {
    shared: Arc<Shared>,
    server: OnceLock<MultiHandle>,
    /// The session of each slot.
    slots: Vec<RwLock<Option<Arc<Session>>>>,
}

impl Clients {
    fn session(&self, slot: u32) -> Option<Arc<Session>> {
        self.slots[slot as usize].read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_session(&self, slot: u32, session: Option<Arc<Session>>) -> Option<Arc<Session>> {
        let mut place = self.slots[slot as usize].write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, session)
    }
}

impl MultiHandler for Clients {
    fn on_start(&self, server: MultiHandle) {
        let _ = self.server.set(server);
    }

    fn on_client_connect(&self, slot: u32) {
        let Some(peer) = self.server.get().and_then(|server| server.peer(slot)) else { return };
        let shared = self.shared.clone();
        let session = match shared.begin() {
            Ok(session) => session,
            Err(end) => {
                tracing::warn!(channel = %shared.hub.name, slot, reason = end.text, "a client's session was ended");
                let _ = peer.disconnect();
                return;
            }
        };
        self.set_session(slot, Some(session.clone()));
        let kicked = peer.clone();
        session.on_end(move || {
            // The client still receives what was delivered.
            let _ = kicked.disconnect();
        });
        let run = {
            let session = session.clone();
            move || {
                match shared.request(&session) {
                    Ok(window) => {
                        shared.log_open(&session, peer.identity().map(|peer| peer.process_id));
                        session.open(window);
                        session.run(peer);
                    }
                    Err(end) => session.end(end),
                }
                shared.hub.remove(&session);
            }
        };
        if let Err(error) = thread::Builder::new().name("session".into()).spawn(run) {
            session.end(End::new(Cause::Failed, format!("no thread can be started: {error}")));
            self.shared.hub.remove(&session);
        }
    }

    fn on_message(&self, slot: u32, message: &[u8]) {
        if let Some(session) = self.session(slot) {
            // A session that is over has disconnected the client.
            let _ = session.push(message);
        }
    }

    fn on_client_disconnect_because(&self, slot: u32, reason: &DisconnectReason) {
        let Some(session) = self.set_session(slot, None) else { return };
        let end = match reason {
            DisconnectReason::PeerLeft => End::new(Cause::Left, "the client left"),
            DisconnectReason::PeerDied => End::new(Cause::Died, "the client's process ended without leaving"),
            DisconnectReason::Stopped | DisconnectReason::Kicked => self.shared.hub.stopped(),
            DisconnectReason::Failed(error) => {
                End::new(Cause::Failed, format!("receiving from the client: {error}"))
            }
            reason => End::new(Cause::Failed, format!("the client's session ended: {reason:?}")),
        };
        session.finish(end);
    }

    fn on_overflow(&self, _: u32, direction: ChannelKind, count: u32) {
        if direction == ChannelKind::ClientToServer {
            self.shared.hub.metrics.evicted_by_source.increment(u64::from(count));
        }
    }

    fn on_error(&self, slot: Option<u32>, error: ShmError) {
        tracing::warn!(channel = %self.shared.hub.name, slot, %error, "the imported channel reports an error");
    }
}
