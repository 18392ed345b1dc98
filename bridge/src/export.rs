//! The side of the server: for each remote client, the bridge is a client of the local channel.

use crate::hub::{Hub, Role};
use crate::session::{run_split, Session};
use crate::wire::{Cause, End, OpenAnswer, OpenRequest, VERSION};
use crate::{Error, ExportOptions};
use std::collections::hash_map::{Entry, HashMap};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use xshm::{ClientOptions, Interrupter, OwnedReceiveHalf, OwnedSendHalf, SharedClient, Trust};
use zenoh::liveliness::LivelinessToken;
use zenoh::pubsub::Subscriber;
use zenoh::query::{Query, Queryable};
use zenoh::Wait;

/// A local channel that other machines import. Dropping it stops it.
pub struct Export {
    shared: Arc<Shared>,
    _subscriber: Subscriber<()>,
    queryable: Option<Queryable<()>>,
    token: Option<LivelinessToken>,
    is_stopped: bool,
}

/// A session, and both halves of the client that it has on this machine.
type Opened = (Arc<Session>, OwnedSendHalf<SharedClient>, OwnedReceiveHalf<SharedClient>);

struct Shared {
    hub: Arc<Hub>,
    options: ExportOptions,
    trust: Option<Trust>,
    places: Arc<Places>,
}

/// The sessions that are open or being opened, by their ids.
#[derive(Default)]
struct Places {
    taken: Mutex<HashMap<u64, Taken>>,
    is_empty: Condvar,
    /// Importing bridges, and the ids of sessions that they have asked to stop and that are not known: such a request may overtake
    /// the one that opens the session.
    stopped_early: Mutex<VecDeque<(u64, u64)>>,
}

/// The most such sessions that are remembered.
const STOPPED_EARLY: usize = 256;

struct Taken {
    importer: u64,
    /// Ends the calls on the session's local endpoint.
    interrupter: Interrupter,
    /// The importing bridge stops.
    is_stopped: bool,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, HashMap<u64, Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place of one more session.
    ///
    /// # Errors
    /// There are `most` already, one has this id, its bridge stops, or the system refuses an interrupter.
    fn take(self: &Arc<Self>, most: u32, request: &Request) -> Result<Place, End> {
        let (importer, id) = (request.importer, request.id);
        let mut taken = self.taken();
        if self.stopped_early().contains(&(importer, id)) {
            return Err(Role::Import.stopped());
        }
        if taken.len() >= most as usize {
            let text = format!(
                "there are {most} sessions, the most of this export: a larger --max-sessions permits more"
            );
            return Err(End::refused(text));
        }
        let Entry::Vacant(place) = taken.entry(id) else {
            return Err(End::refused(format!("there is a session {id:016x} already")));
        };
        let interrupter = Interrupter::new().map_err(|error| End::refused(error.to_string()))?;
        place.insert(Taken { importer, interrupter: interrupter.clone(), is_stopped: false });
        Ok(Place { id, interrupter, places: self.clone() })
    }

    /// An importing bridge asks to stop a session.
    fn stop(&self, importer: u64, id: u64) {
        let mut taken = self.taken();
        if let Some(place) = taken.get_mut(&id).filter(|place| place.importer == importer) {
            place.is_stopped = true;
            place.interrupter.interrupt();
            return;
        }
        let mut early = self.stopped_early();
        if early.contains(&(importer, id)) {
            return;
        }
        early.push_back((importer, id));
        if early.len() > STOPPED_EARLY {
            early.pop_front();
        }
    }

    fn stopped_early(&self) -> MutexGuard<'_, VecDeque<(u64, u64)>> {
        self.stopped_early.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one session. Dropping it makes room for another one.
struct Place {
    id: u64,
    interrupter: Interrupter,
    places: Arc<Places>,
}

impl Place {
    /// Whether the importing bridge has asked to stop the session.
    fn is_stopped(&self) -> bool {
        self.places.taken().get(&self.id).is_some_and(|place| place.is_stopped)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.remove(&self.id);
        if taken.is_empty() {
            self.places.is_empty.notify_all();
        }
    }
}

/// What an importing bridge asks for.
struct Request {
    importer: u64,
    id: u64,
    /// The other options.
    open: OpenRequest,
}

impl Request {
    /// The most bytes of a request. It has about 150.
    const LONGEST: usize = 1024;

    fn read(query: &Query) -> Result<Self, End> {
        let read = || -> Option<OpenRequest> {
            let payload = query.payload().filter(|payload| payload.len() <= Self::LONGEST)?;
            toml::from_str(std::str::from_utf8(&payload.to_bytes()).ok()?).ok()
        };
        let open = read().ok_or_else(|| End::refused("the request is none of this version of the bridge"))?;
        if open.version != VERSION {
            let text = format!("the bridges have incompatible versions: {} and {VERSION}", open.version);
            return Err(End::refused(text));
        }
        let number = |text: &String| {
            u64::from_str_radix(text, 16)
                .map_err(|_| End::refused(format!("{text:?} is no id of a bridge or session")))
        };
        Ok(Request { importer: number(&open.bridge)?, id: number(&open.session)?, open })
    }
}

impl Export {
    /// Begins to export a channel over an open Zenoh session. The channel's server may start later.
    ///
    /// # Errors
    /// An option is invalid, or Zenoh refuses the key.
    pub fn start(zenoh: &zenoh::Session, options: ExportOptions) -> Result<Self, Error> {
        options.check()?;
        let trust = options.trust()?;
        let common = &options.common;
        let hub = Hub::new(zenoh.clone(), Role::Export, &common.name, &common.key, common.settings());
        let shared = Arc::new(Shared { hub: hub.clone(), options, trust, places: Arc::default() });
        let places = shared.places.clone();
        hub.on_stop(move |importer, id| places.stop(importer, id));
        let subscriber = hub.start().map_err(Error::Zenoh)?;
        let exporter = hub.exporter_key(&format!("{:016x}", hub.id));
        let queries = shared.clone();
        let queryable = zenoh
            .declare_queryable(exporter.clone())
            .callback(move |query| queries.on_query(&query))
            .wait()
            .map_err(Error::Zenoh)?;
        let token = zenoh.liveliness().declare_token(exporter).wait().map_err(Error::Zenoh)?;
        tracing::info!(channel = %hub.name, key = %hub.key, bridge = %format!("{:016x}", hub.id), "exports");
        Ok(Export {
            shared,
            _subscriber: subscriber,
            queryable: Some(queryable),
            token: Some(token),
            is_stopped: false,
        })
    }

    /// Returns the number of sessions that live.
    pub fn session_count(&self) -> usize {
        self.shared.hub.session_count()
    }

    /// Ends all sessions. What the local server and the remote clients have sent is delivered first, within the grace time of the
    /// options.
    pub fn stop(&mut self) {
        if std::mem::replace(&mut self.is_stopped, true) {
            return;
        }
        self.shared.hub.begin_stop();
        // No importing bridge chooses this one any more.
        self.token = None;
        self.queryable = None;
        for place in self.shared.places.taken().values() {
            place.interrupter.interrupt();
        }
        self.shared.hub.wait_for_sessions();
        // The sessions that were being opened are refused.
        let places = &self.shared.places;
        let limit = Duration::from_secs(1);
        let waited = places.is_empty.wait_timeout_while(places.taken(), limit, |taken| !taken.is_empty());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        tracing::info!(channel = %self.shared.hub.name, "the export has ended");
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// An importing bridge opens a session. Connecting may take long, so another thread does it.
    fn on_query(self: &Arc<Self>, query: &Query) {
        let request = match Request::read(query) {
            Ok(request) => request,
            Err(end) => return self.refuse(query, [0; 2], end),
        };
        let ids = [request.importer, request.id];
        let place = match self.places.take(self.options.max_sessions, &request) {
            Ok(place) => place,
            Err(end) => return self.refuse(query, ids, end),
        };
        let (shared, queried) = (self.clone(), query.clone());
        let serve = move || shared.serve(queried, &request, place);
        if let Err(error) = thread::Builder::new().name("session".into()).spawn(serve) {
            self.refuse(query, ids, End::refused(format!("no thread can be started: {error}")));
        }
    }

    /// Refuses a session. The ids are those of the importing bridge and of the session, 0 if they are not known.
    fn refuse(&self, query: &Query, ids: [u64; 2], end: End) {
        let [importer, session] = ids.map(|id| format!("{id:016x}"));
        self.hub.metrics.ended_sessions(end.cause).increment(1);
        if end.cause == Cause::Stopped {
            tracing::info!(channel = %self.hub.name, %session, %importer, reason = end.text, "a session was not opened");
        } else {
            tracing::warn!(channel = %self.hub.name, %session, %importer, reason = end.text, "a session was refused");
        }
        if let Err(error) = query.reply_err(end.text).wait() {
            tracing::debug!(%error, "the refusal was not sent");
        }
    }

    fn serve(self: &Arc<Self>, query: Query, request: &Request, place: Place) {
        let opened = self.connect(request, &place).and_then(|client| self.open(request, &place, client));
        let (session, sender, receiver) = match opened {
            Ok(opened) => opened,
            Err(end) => return self.refuse(&query, [request.importer, request.id], end),
        };
        let answer = OpenAnswer { window: self.hub.settings.window as u64 };
        let answered = toml::to_string(&answer).map_err(|error| error.to_string()).and_then(|answer| {
            query.reply(query.key_expr(), answer).wait().map_err(|error| Error::Zenoh(error).to_string())
        });
        // The importing bridge gets the answer when the query is over.
        drop(query);
        match answered {
            Ok(()) => {
                session.open(request.open.window);
                drop(run_split(&session, "server", sender, receiver));
            }
            Err(text) => session.end(End::new(Cause::Failed, format!("the answer was not sent: {text}"))),
        }
        // Before the log has the session's end: a reader of the log may count on the place.
        drop(place);
        self.hub.remove(&session);
    }

    fn connect(&self, request: &Request, place: &Place) -> Result<SharedClient, End> {
        // The reason has to reach the other bridge while that waits for it.
        let limit = self.options.connect_timeout_ms.min(request.open.timeout_ms / 5 * 4);
        let client = self.connect_local(Duration::from_millis(limit.into()), &place.interrupter);
        let client = client.map_err(|error| match error {
            xshm::ShmError::Interrupted if place.is_stopped() => Role::Import.stopped(),
            xshm::ShmError::Interrupted => self.hub.stopped(),
            error => End::refused(error.to_string()),
        })?;
        let (here, there) = (client.max_message_size() as u64, request.open.max_message_size);
        if here != there {
            return Err(End::refused(format!(
                "the exported channel {:?} carries messages of up to {here} bytes, and the imported one of up to {there}: \
                 start the import with --max-message-size or --ring-size of the exported channel",
                self.hub.name
            )));
        }
        Ok(client)
    }

    /// Connects to the local channel. If its server is not there, or has its one client, this waits up to the time limit, or until the
    /// bridge stops.
    fn connect_local(&self, limit: Duration, interrupter: &Interrupter) -> xshm::Result<SharedClient> {
        let deadline = Instant::now() + limit;
        loop {
            // A stop interrupts the places that it finds. If it came before this place, it has found nothing.
            if self.hub.is_stopping() {
                return Err(xshm::ShmError::Interrupted);
            }
            // The bridge is no faster if it spins: what it waits for comes over the network.
            let mut options = ClientOptions::new().spin(Duration::ZERO).interrupter(interrupter.clone());
            if let Some(trust) = &self.trust {
                options = options.trust(trust.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match options.connect(&self.hub.name, left) {
                Err(xshm::ShmError::AlreadyConnected) if !left.is_zero() => {
                    thread::sleep(Duration::from_millis(20).min(left));
                }
                connected => return connected,
            }
        }
    }

    /// Makes the session of a client that has connected to the local channel.
    fn open(&self, request: &Request, place: &Place, client: SharedClient) -> Result<Opened, End> {
        let session = Session::new(&self.hub, request.id, request.importer, client.max_message_size());
        let session = session.map_err(|error| End::refused(Error::Zenoh(error).to_string()))?;
        let process = client.peer().map(|peer| peer.process_id);
        let (sender, receiver) = client.into_split().map_err(|error| End::refused(error.to_string()))?;
        self.hub.add(&session)?;
        // From here on, the session itself gets the request to stop.
        if place.is_stopped() {
            session.end(Role::Import.stopped());
            self.hub.withdraw(&session);
            return Err(Role::Import.stopped());
        }
        tracing::info!(
            channel = %self.hub.name, session = %session.name(), importer = %format_args!("{:016x}", request.importer),
            server_process = process, "session opened"
        );
        Ok((session, sender, receiver))
    }
}
