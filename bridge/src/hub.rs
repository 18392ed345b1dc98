//! One bridged channel of this program: its key in Zenoh, its settings, and its sessions.

use crate::metrics::Metrics;
use crate::session::{Session, WhenFull};
use crate::wire::{Control, End};
use crate::Cause;
use std::collections::hash_map::{Entry, HashMap};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};
use zenoh::bytes::ZBytes;
use zenoh::key_expr::KeyExpr;
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::{CongestionControl, Priority};
use zenoh::sample::Sample;
use zenoh::Wait;

/// How often a bridge looks after its sessions. It reports to the other bridge every second time.
const TICK: Duration = Duration::from_millis(125);

/// Which side of a bridged channel this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Export,
    Import,
}

impl Role {
    /// The role's name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Export => "export",
            Role::Import => "import",
        }
    }

    /// The bridge of this role, in the reason of an end.
    fn bridge(self) -> &'static str {
        match self {
            Role::Export => "the exporting bridge",
            Role::Import => "the importing bridge",
        }
    }

    /// The end of a session by a stop of the bridge of this role.
    pub(crate) fn stopped(self) -> End {
        End::new(Cause::Stopped, format!("{} was stopped", self.bridge()))
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Role::Export => Role::Import,
            Role::Import => Role::Export,
        }
    }
}

/// How long a stop waits at most until the other bridges know that the sessions are over.
const CONFIRM: Duration = Duration::from_secs(1);

/// What every session of a channel needs.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How many bytes may be under way to this bridge, for each session.
    pub(crate) window: usize,
    /// The most bytes of one Zenoh message.
    pub(crate) chunk: usize,
    pub(crate) lease: Duration,
    /// How long a stop waits until the other bridge has delivered what was sent.
    pub(crate) grace: Duration,
    pub(crate) when_full: WhenFull,
}

pub(crate) struct Hub {
    pub(crate) zenoh: zenoh::Session,
    pub(crate) role: Role,
    /// The local channel.
    pub(crate) name: String,
    pub(crate) key: String,
    /// This bridge.
    pub(crate) id: u64,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    sessions: Mutex<HashMap<u64, Arc<Session>>>,
    is_empty: Condvar,
    /// Sessions that a stop has ended, and whose other bridge may not know it.
    unconfirmed: Mutex<HashSet<u64>>,
    confirmed: Condvar,
    /// Called with the sender and the id of a session that an importing bridge asks to stop, before the session is looked up.
    on_stop: OnceLock<StopHook>,
    /// When each other bridge was heard, for all its sessions together.
    heard: Mutex<HashMap<u64, Weak<Heard>>>,
    is_stopping: AtomicBool,
}

type StopHook = Box<dyn Fn(u64, u64) + Send + Sync>;

/// When another bridge was last heard.
pub(crate) struct Heard {
    started: Instant,
    /// Milliseconds since `started`.
    last: AtomicU64,
}

impl Heard {
    fn new() -> Self {
        Heard { started: Instant::now(), last: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub(crate) fn record(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// Returns for how long the bridge was silent.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.last.load(Ordering::Relaxed)))
    }
}

/// Returns a number that no other bridge or session has.
pub(crate) fn random_id() -> u64 {
    // The standard library seeds each of these with the system's random numbers.
    RandomState::new().hash_one(std::process::id()) ^ RandomState::new().hash_one(Instant::now())
}

impl Hub {
    pub(crate) fn new(
        zenoh: zenoh::Session, role: Role, name: &str, key: &str, settings: Settings,
    ) -> Arc<Self> {
        Arc::new(Hub {
            zenoh,
            role,
            name: name.to_owned(),
            key: key.to_owned(),
            id: random_id(),
            settings,
            metrics: Metrics::new(role, name, key),
            sessions: Mutex::new(HashMap::new()),
            is_empty: Condvar::new(),
            unconfirmed: Mutex::default(),
            confirmed: Condvar::new(),
            on_stop: OnceLock::new(),
            heard: Mutex::default(),
            is_stopping: AtomicBool::new(false),
        })
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<u64, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when a bridge was heard. All sessions with the bridge share it: while the network is slow, a message of one session
    /// waits behind the data of others.
    pub(crate) fn heard(&self, bridge: u64) -> Arc<Heard> {
        let mut all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, heard| heard.strong_count() > 0);
        if let Some(heard) = all.get(&bridge).and_then(Weak::upgrade) {
            return heard;
        }
        let heard = Arc::new(Heard::new());
        all.insert(bridge, Arc::downgrade(&heard));
        heard
    }

    /// The key of what is sent to a bridge for a session.
    pub(crate) fn session_key(&self, to: u64, session: u64, kind: &str) -> zenoh::Result<KeyExpr<'static>> {
        KeyExpr::try_from(format!("{}/to/{to:016x}/{session:016x}/{kind}", self.key))
    }

    /// The key under which an exporting bridge says that it is there.
    pub(crate) fn exporter_key(&self, exporter: &str) -> String {
        format!("{}/exporter/{exporter}", self.key)
    }

    pub(crate) fn publisher(&self, key: KeyExpr<'static>) -> zenoh::Result<Publisher<'static>> {
        self.zenoh.declare_publisher(key).congestion_control(CongestionControl::Block).wait()
    }

    pub(crate) fn send_control(&self, key: &KeyExpr<'static>, control: &Control) {
        let put = self.zenoh.put(key, control.encode(self.id));
        // Another queue than that of the data, which may be full.
        let sent = put.priority(Priority::RealTime).congestion_control(CongestionControl::Drop).wait();
        if let Err(error) = sent {
            tracing::debug!(%error, "a control message was not sent");
        }
    }

    /// Begins to receive, and to report at regular intervals. This lasts as long as the subscriber that it returns.
    pub(crate) fn start(self: &Arc<Self>) -> zenoh::Result<Subscriber<()>> {
        let hub = Arc::downgrade(self);
        thread::Builder::new().name("reports".into()).spawn(move || tick(&hub))?;
        let hub = self.clone();
        self.zenoh
            .declare_subscriber(format!("{}/to/{:016x}/*/*", self.key, self.id))
            .callback(move |sample| hub.on_sample(&sample))
            .wait()
    }

    fn on_sample(&self, sample: &Sample) {
        let mut parts = sample.key_expr().as_str().rsplit('/');
        let kind = parts.next();
        let Some(id) = parts.next().and_then(|id| u64::from_str_radix(id, 16).ok()) else { return };
        match kind {
            Some("data") => {
                if let Some(session) = self.session(id) {
                    session.on_data(sample.payload());
                }
            }
            Some("control") => self.on_control(id, sample.payload()),
            _ => {}
        }
    }

    fn session(&self, id: u64) -> Option<Arc<Session>> {
        self.sessions().get(&id).cloned()
    }

    /// Sets what is called when an importing bridge asks to stop a session, open or not.
    pub(crate) fn on_stop(&self, hook: impl Fn(u64, u64) + Send + Sync + 'static) {
        let _ = self.on_stop.set(Box::new(hook));
    }

    fn on_control(&self, id: u64, payload: &ZBytes) {
        let Some((sender, control)) = Control::decode(&payload.to_bytes()) else {
            // Not a warning: a hostile program could fill the log.
            tracing::debug!(key = %self.key, "a control message is none of this protocol");
            return;
        };
        if let (Control::Stop, Some(hook)) = (&control, self.on_stop.get()) {
            hook(sender, id);
        }
        match self.session(id) {
            Some(session) if session.other == sender => session.on_control(control),
            Some(_) => {}
            None if control == Control::Unknown => {
                self.unconfirmed().remove(&id);
                self.confirmed.notify_all();
            }
            None => {
                if let (Control::Report(_) | Control::Repeat(_) | Control::Stop, Ok(key)) =
                    (control, self.session_key(sender, id, "control"))
                {
                    self.send_control(&key, &Control::Unknown);
                }
            }
        }
    }

    /// Adds a session.
    ///
    /// # Errors
    /// Why it can't be added: the bridge stops, or has a session with this id.
    pub(crate) fn add(&self, session: &Arc<Session>) -> Result<(), End> {
        let mut sessions = self.sessions();
        if self.is_stopping() {
            return Err(self.stopped());
        }
        // The other bridge chooses the id. A second session must not get the messages of the first.
        let Entry::Vacant(place) = sessions.entry(session.id) else {
            return Err(End::refused(format!("there is a session {} already", session.name())));
        };
        place.insert(session.clone());
        self.metrics.sessions.set(sessions.len() as f64);
        Ok(())
    }

    /// The end of a session by a stop of this bridge.
    pub(crate) fn stopped(&self) -> End {
        self.role.stopped()
    }

    /// Removes a session that was added and is not opened.
    pub(crate) fn withdraw(&self, session: &Session) {
        self.take_out(session, || {});
    }

    /// Takes a session out, if it is there, after it was logged: a stop that waits for the last session may end the program.
    fn take_out(&self, session: &Session, log: impl FnOnce()) {
        let mut sessions = self.sessions();
        if sessions.remove(&session.id).is_none() {
            return;
        }
        log();
        self.metrics.sessions.set(sessions.len() as f64);
        if sessions.is_empty() {
            self.is_empty.notify_all();
        }
    }

    fn unconfirmed(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a session that is over, and writes the reason into the log. The second time, this does nothing.
    pub(crate) fn remove(&self, session: &Session) {
        session.end_in_order();
        let Some(end) = session.ended() else { return };
        self.take_out(session, || {
            self.metrics.ended_sessions(end.cause).increment(1);
            let (session_name, cause, reason) = (session.name(), end.cause.name(), &end.text);
            match end.cause {
                Cause::Left | Cause::Stopped | Cause::Unknown => {
                    tracing::info!(channel = %self.name, session = %session_name, cause, reason, "session ended");
                }
                _ => {
                    tracing::warn!(channel = %self.name, session = %session_name, cause, reason, "session ended")
                }
            }
        });
    }

    pub(crate) fn session_count(&self) -> usize {
        self.sessions().len()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// From now on, no session is added.
    pub(crate) fn begin_stop(&self) {
        let _sessions = self.sessions();
        self.is_stopping.store(true, Ordering::Release);
    }

    /// The sessions of this moment.
    pub(crate) fn all_sessions(&self) -> Vec<Arc<Session>> {
        self.sessions().values().cloned().collect()
    }

    /// Waits until all sessions are over, up to the grace time. Then it ends those that are left.
    pub(crate) fn wait_for_sessions(&self) {
        let all = self.all_sessions();
        self.wait_until_empty(self.settings.grace);
        for session in self.all_sessions() {
            session.give_up();
        }
        self.confirm_ends(&all);
        // Their threads end by themselves; they need a moment to release the local endpoints.
        self.wait_until_empty(Duration::from_secs(1));
    }

    /// Tells the other bridges of the ends again until they know them: a message that is on its way when Zenoh's session closes is lost.
    fn confirm_ends(&self, sessions: &[Arc<Session>]) {
        let sessions: Vec<_> = sessions.iter().filter(|session| session.has_stopped()).collect();
        self.unconfirmed().extend(sessions.iter().map(|session| session.id));
        let deadline = Instant::now() + CONFIRM;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let unconfirmed = self.unconfirmed().clone();
            if unconfirmed.is_empty() || left.is_zero() {
                return;
            }
            for session in sessions.iter().filter(|session| unconfirmed.contains(&session.id)) {
                session.repeat_end();
            }
            let waited =
                self.confirmed.wait_timeout_while(self.unconfirmed(), TICK.min(left), |now| !now.is_empty());
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Waits until there are no sessions, up to a time limit. Returns whether there are none.
    pub(crate) fn wait_until_empty(&self, limit: Duration) -> bool {
        let waited =
            self.is_empty.wait_timeout_while(self.sessions(), limit, |sessions| !sessions.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }
}

/// Looks after all sessions, as long as the hub lives.
fn tick(hub: &Weak<Hub>) {
    for number in 0_u32.. {
        thread::sleep(TICK);
        let Some(hub) = hub.upgrade() else { return };
        for session in hub.all_sessions() {
            session.tick(number % 2 == 0);
        }
    }
}
