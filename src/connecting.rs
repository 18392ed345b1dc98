//! How a client gets a session: it finds the server's channel, requests a session, and waits for its slot.
//!
//! [`Connect`] does this step by step, and none of its steps waits. A blocking call waits between the steps; a
//! [`PendingConnect`] leaves that to the program's event loop.
//!
//! ```text
//!            +-------------------- pause, or turn <--------------------+
//!            v                                                         | no session
//!        look the name up --> wait for the channel --> request a session --> wait for a slot --> client
//! ```

mod admission;
mod pending;

pub use pending::PendingConnect;

use crate::access::UserId;
use crate::channel::handshake::{self, Accepted, ClientState, Pause, Requested};
use crate::channel::wait_set::{Token, WaitSet};
use crate::channel::{Channel, Kind, Peer};
use crate::client::SharedClient;
use crate::error::{Result, ShmError};
use crate::events::Events;
use crate::handles::{ClientEvents, ClientHandles};
use crate::naming::ChannelName;
use crate::options::{ChannelEvent, ClientOptions, Trust};
use crate::session::{Session, SlotWait};
use crate::shared::SharedView;
use crate::sync::{Arc, Instant, Ordering};
use crate::sys::kinds::Lookup;
use crate::sys::{self, Event, Found, Handover, Process, Section};
use crate::waiting::{Deadline, Interrupt};
use admission::Admission;
use std::time::Duration;

/// How long a client waits for a place in a server's full queue before it looks at its interrupter.
const QUEUE_SLICE: Duration = Duration::from_millis(20);

/// The ids of the two processes.
#[derive(Clone, Copy)]
pub(crate) struct Ids {
    /// Ours, as the server knows it.
    pub(crate) own: u32,
    /// The server's, where the system says. What the section says is a hint.
    pub(crate) server: Option<u32>,
}

/// Why a client gets no session for the moment.
enum Seen {
    NoServer,
    /// The server has this client in its queue, or has no place for it there.
    InQueue,
    /// The server runs, and accepts no client, or others first.
    NotAccepting,
    /// The server has another client.
    Busy,
    /// The server's last channel that this client got has another version, or one of its clients has overwritten it.
    Unusable(ShmError),
}

impl Seen {
    /// What a client in a server's queue has seen: a channel that it could not use counts for more.
    fn while_in_queue(self) -> Self {
        match self {
            unusable @ Seen::Unusable(_) => unusable,
            _ => Seen::InQueue,
        }
    }

    /// What the section of a channel says, while it is not this client's turn.
    fn of(view: &SharedView) -> Self {
        match handshake::client_word(view).state() {
            // The channel is another client's, and the next one can be this client's.
            _ if view.is_multi() => Seen::NotAccepting,
            // Requests of other clients have no answer either.
            Some(ClientState::Idle | ClientState::Request | ClientState::Refused) => Seen::NotAccepting,
            _ => Seen::Busy,
        }
    }
}

/// A client's request for a session on a channel that it has found.
pub(crate) struct Requesting {
    peer: Peer,
    over: Event,
    request: handshake::Request,
    channel: Arc<Channel>,
}

impl Requesting {
    /// `None`: the server's process has ended.
    pub(crate) fn begin(
        view: SharedView, events: Option<Events>, user: Option<UserId>, ids: Ids, deadline: Deadline,
        options: &ClientOptions,
    ) -> Result<Option<Self>> {
        options.accepts(view.geometry()).map_err(|error| report(options, error))?;
        if options.multi && !view.is_multi() {
            let reason =
                "the server serves one client: connect as its client (SharedClient, shm_client_connect)";
            return Err(report(options, ShmError::Refused { reason: reason.to_owned() }));
        }
        let pid = ids.server.unwrap_or(view.server_pid());
        let peer = Peer::open(Process::open(pid), "the server's", pid, &options.tuning);
        let Some(mut peer) = peer.map_err(|error| report(options, error))? else { return Ok(None) };
        peer.user = user;
        let channel = Arc::new(Channel::new(Kind::Client, view, events, options.tuning.clone())?);
        fail_point!("connect.found");
        // Whatever can fail comes before the server accepts.
        let over = Event::local()?;
        let request = handshake::Request::new(channel.clone(), ids.own, deadline);
        Ok(Some(Requesting { peer, over, request, channel }))
    }

    pub(crate) fn step(mut self) -> Result<RequestStep> {
        Ok(match self.request.step(&self.peer)? {
            None => RequestStep::Waits(self),
            Some(Requested::Accepted(Accepted { ready, generation })) => {
                let Requesting { peer, over, channel, .. } = self;
                let session = Session::new(channel, ready, generation, peer, over);
                RequestStep::Done(Requested::Accepted(session))
            }
            Some(Requested::ServerGone) => RequestStep::Done(Requested::ServerGone),
            Some(Requested::Taken) => RequestStep::Done(Requested::Taken),
        })
    }

    pub(crate) fn wait_set(&self) -> WaitSet<'_> {
        self.request.wait_set(&self.peer)
    }
}

pub(crate) enum RequestStep {
    Waits(Requesting),
    Done(Requested<Session>),
}

/// What the next step of a [`Connect`] does.
enum Stage {
    /// Looks the name up.
    LookUp,
    /// Looks the name up, not before this time.
    Paused(Instant),
    /// Looks the name up when it is this client's turn, or at this time.
    Turn(Instant),
    /// Waits for the channel.
    Handover(Handover),
    Request(Requesting),
    Slot(Session, SlotWait),
    /// There is no next step: it has succeeded or failed.
    Ended,
}

/// A client's attempt to get a session.
pub(crate) struct Connect {
    /// `None`: the client was given the section.
    name: Option<ChannelName>,
    deadline: Deadline,
    /// How long to wait until a server for many clients has called its handler. `None`: until the deadline.
    slot_timeout: Option<Duration>,
    options: ClientOptions,
    interrupt: Arc<Interrupt>,
    stage: Stage,
    pause: Pause,
    admission: Option<Admission>,
    /// How often the name led to something other than a channel.
    unusable: u32,
    /// Set when the first of them was found.
    repaired_by: Option<Deadline>,
    /// How often in a row it led to a channel, and the client got no session.
    misses: u32,
    /// What stood behind the name when it was last looked up.
    seen: Seen,
}

impl Connect {
    /// The most unusable objects behind the name before the client gives up, if [`REPAIR_TIME`](Self::REPAIR_TIME) is over too.
    const MOST_UNUSABLE: u32 = 3;
    /// How long the client gives a server to repair its section.
    const REPAIR_TIME: Duration = Duration::from_millis(500);
    /// The most misses in a row before the client asks for a repair.
    const PATIENCE: u32 = 1;

    fn new(name: Option<ChannelName>, mut options: ClientOptions, deadline: Deadline) -> Result<Self> {
        let interrupt = options.tuning.interrupt()?;
        // Another interrupter may end the attempt than ends the calls of the connection.
        let interrupt = options.connect_interrupter.as_ref().map_or(interrupt, |other| other.0.clone());
        Ok(Connect {
            name,
            deadline,
            slot_timeout: None,
            options,
            interrupt,
            stage: Stage::LookUp,
            pause: Pause::new(),
            admission: None,
            unusable: 0,
            repaired_by: None,
            misses: 0,
            seen: Seen::NoServer,
        })
    }

    /// As [`new`](Self::new), for a channel that the client did not find by a name.
    fn to_section(
        section: Section, events: Option<&ClientEvents>, deadline: Deadline, options: ClientOptions,
    ) -> Result<Self> {
        let user = section.owner()?.map(UserId);
        let view = SharedView::open(section)?;
        if view.has_events() != events.is_some() {
            let reason = match events {
                None => "the channel has events: connect by the server's name, or by its client handles",
                Some(_) => "the channel has no events: connect by the section alone",
            };
            return Err(report(&options, ShmError::Refused { reason: reason.to_owned() }));
        }
        let events = events.map(sys::client_events).transpose()?.map(Events::new);
        let ids = Ids { own: sys::process_id(), server: None };
        let mut connect = Self::new(None, options, deadline)?;
        let requesting = Requesting::begin(view, events, user, ids, deadline, &connect.options)?;
        connect.stage = Stage::Request(requesting.ok_or(ShmError::NotConnected)?);
        Ok(connect)
    }

    /// Does what can be done without waiting, except that it waits up to `patience` for a place in a server's full queue.
    /// `None`: the client has no session yet; wait for the [`wait_set`](Self::wait_set).
    ///
    /// # Errors
    /// Those of [`SharedClient::connect`], except `Interrupted`. The attempt has ended.
    fn step(&mut self, patience: Duration) -> Result<Option<SharedClient>> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Paused(until) if Instant::now() < until => {
                    self.stage = Stage::Paused(until);
                    return Ok(None);
                }
                Stage::Turn(until) => {
                    let is_own = self.admission.as_mut().map_or(Ok(true), Admission::take)?;
                    if !is_own && Instant::now() < until && !self.deadline.has_passed() {
                        self.stage = Stage::Turn(until);
                        return Ok(None);
                    }
                    self.stage = Stage::LookUp;
                }
                Stage::LookUp | Stage::Paused(_) => {
                    let Some(name) = &self.name else { return Err(ShmError::NotReady) };
                    let trusts = |owner: Option<&sys::User>| is_trusted(&self.options.trust, owner);
                    let looked_up = sys::lookup(name, &trusts, patience);
                    self.found(looked_up.map_err(|error| report(&self.options, error))?)?;
                    if self.is_pausing() {
                        return Ok(None);
                    }
                }
                Stage::Handover(handover) => match handover.step() {
                    Ok(Lookup::Waits(handover)) => {
                        self.seen = std::mem::replace(&mut self.seen, Seen::NoServer).while_in_queue();
                        self.stage = Stage::Handover(handover);
                        return if self.deadline.has_passed() { Err(self.late()) } else { Ok(None) };
                    }
                    handed => {
                        self.found(handed.map_err(|error| report(&self.options, error))?)?;
                        if self.is_pausing() {
                            return Ok(None);
                        }
                    }
                },
                Stage::Request(requesting) => {
                    let is_multi = requesting.channel.view.is_multi();
                    let requested = match requesting.step() {
                        Ok(RequestStep::Waits(requesting)) => {
                            self.stage = Stage::Request(requesting);
                            return Ok(None);
                        }
                        Ok(RequestStep::Done(requested)) => Ok(requested),
                        Err(error) => Err(error),
                    };
                    self.requested(requested, is_multi)?;
                    if self.is_pausing() {
                        return Ok(None);
                    }
                }
                Stage::Slot(session, mut wait) => {
                    if !session.channel.view.is_multi() {
                        return Ok(Some(SharedClient::connected(session, None)));
                    }
                    match (wait.step(&session), &self.name) {
                        (Ok(Some(slot)), _) => {
                            return Ok(Some(SharedClient::connected(session, Some(slot))));
                        }
                        (Ok(None), _) => {
                            self.stage = Stage::Slot(session, wait);
                            return Ok(None);
                        }
                        // The server's handler has not returned.
                        (Err(ShmError::Timeout), Some(name)) => {
                            return Err(ShmError::NotAccepting { name: name.given().to_owned() });
                        }
                        (Err(error), _) => return Err(error),
                    }
                }
                Stage::Ended => return Err(ShmError::NotReady),
            }
        }
    }

    /// Whether the next step is to come later.
    fn is_pausing(&self) -> bool {
        matches!(self.stage, Stage::LookUp | Stage::Paused(_) | Stage::Turn(_))
    }

    /// The client gets no session for now. `has_waited`: it may look again at once.
    fn missed(&mut self, has_waited: bool) -> Result<()> {
        if self.deadline.has_passed() {
            return Err(self.late());
        }
        let after = |time| Deadline::after(Some(time)).instant();
        self.stage = match &self.admission {
            Some(_) => after(Admission::PATIENCE).map_or(Stage::LookUp, Stage::Turn),
            None if has_waited => Stage::LookUp,
            None => after(self.pause.next(self.deadline)).map_or(Stage::LookUp, Stage::Paused),
        };
        Ok(())
    }

    /// What the client has seen, when its time is over.
    fn late(&mut self) -> ShmError {
        let Some(name) = &self.name else { return ShmError::Timeout };
        let given = || name.given().to_owned();
        match std::mem::replace(&mut self.seen, Seen::NoServer) {
            Seen::NoServer => ShmError::NoServer { name: given() },
            Seen::InQueue => {
                let trusts = |owner: Option<&sys::User>| is_trusted(&self.options.trust, owner);
                match sys::is_busy(name, &trusts) {
                    Ok(true) => ShmError::AlreadyConnected,
                    Ok(false) => ShmError::NotAccepting { name: given() },
                    Err(error) => error,
                }
            }
            Seen::NotAccepting => ShmError::NotAccepting { name: given() },
            Seen::Busy => ShmError::AlreadyConnected,
            Seen::Unusable(error) => report(&self.options, error),
        }
    }

    /// Goes on from what the name leads to.
    fn found(&mut self, looked_up: Lookup<Found, Handover>) -> Result<()> {
        let found = match looked_up {
            Lookup::Found(found) => found,
            Lookup::Waits(handover) => {
                (self.admission, self.misses) = (None, 0);
                self.stage = Stage::Handover(handover);
                return Ok(());
            }
            Lookup::Server { has_waited } => {
                self.seen = std::mem::replace(&mut self.seen, Seen::NoServer).while_in_queue();
                (self.admission, self.misses) = (None, 0);
                return self.missed(has_waited);
            }
            Lookup::NoServer => {
                (self.seen, self.admission, self.misses) = (Seen::NoServer, None, 0);
                return self.missed(false);
            }
        };
        match self.open(found)? {
            Some(requesting) => self.stage = Stage::Request(requesting),
            None => self.missed(false)?,
        }
        Ok(())
    }

    /// Opens the channel that was found, to request a session. `None`: the client gets none for now.
    fn open(&mut self, found: Found) -> Result<Option<Requesting>> {
        let Found { section, own_pid, server_pid, opener } = found;
        let ids = Ids { own: own_pid, server: server_pid };
        let owner = section.owner()?;
        if let Err(error @ ShmError::Incompatible { .. }) = SharedView::check(&section) {
            // The server has an incompatible version; or one of its clients has overwritten the section, which the server repairs
            // when it is asked to.
            self.unusable += 1;
            // On a busy machine the server gets to the repair late.
            let repaired_by =
                *self.repaired_by.get_or_insert_with(|| Deadline::after(Some(Self::REPAIR_TIME)));
            let is_hopeless = self.unusable > Self::MOST_UNUSABLE && repaired_by.has_passed();
            if is_hopeless || self.deadline.has_passed() {
                return Err(report(&self.options, error));
            }
            opener.request_repair(&section, owner.as_ref())?;
            (self.seen, self.admission) = (Seen::Unusable(error), None);
            return Ok(None);
        }
        self.seen = Seen::NotAccepting;
        if self.misses >= Self::PATIENCE {
            // The server has seemed to be gone, or to have another client, several times: a client may have overwritten the section.
            opener.request_repair(&section, owner.as_ref())?;
        }
        self.misses += 1;
        let opened = open_channel(section, &opener, owner.as_ref());
        // This server is gone. Another one may start.
        let Some((view, events)) = opened.map_err(|error| report(&self.options, error))? else {
            return Ok(None);
        };
        let number = view.turn().load(Ordering::Relaxed);
        if number == 0 {
            self.admission = None;
        } else if self.admission.as_ref().map(|admission| admission.number) != Some(number) {
            let event = opener.admission_event(number, owner.as_ref())?;
            self.admission = event.map(|event| Admission { number, event, held: false });
            if !self.admission.as_mut().map_or(Ok(true), Admission::take)? {
                self.seen = Seen::of(&view);
                return Ok(None);
            }
        }
        let user = owner.map(UserId);
        let begun = Requesting::begin(view, Some(events), user, ids, self.deadline, &self.options);
        if !matches!(begun, Ok(Some(_))) {
            self.give_turn_back();
        }
        begun
    }

    fn give_turn_back(&mut self) {
        if let Some(admission) = &mut self.admission {
            admission.give_back();
        }
    }

    /// Goes on from the answer to the request.
    fn requested(&mut self, requested: Result<Requested<Session>>, is_multi: bool) -> Result<()> {
        match &requested {
            // The turn was for this channel.
            Ok(Requested::Accepted(_) | Requested::Taken) => {
                if let Some(admission) = &mut self.admission {
                    admission.held = false;
                }
            }
            // It was for another channel; or another client may try.
            Ok(Requested::ServerGone) | Err(_) => self.give_turn_back(),
        }
        match requested {
            Ok(Requested::Accepted(session)) => {
                if session.channel.view.is_multi() {
                    fail_point!("claim.accepted");
                }
                let left = || self.deadline.remaining(None).unwrap_or(Duration::MAX);
                let slot_timeout = self.slot_timeout.unwrap_or_else(left);
                self.stage = Stage::Slot(session, SlotWait::new(self.deadline, slot_timeout));
                return Ok(());
            }
            Ok(Requested::ServerGone | Requested::Taken) if self.name.is_none() => {
                return Err(ShmError::NotConnected);
            }
            Ok(Requested::Taken) if !is_multi => self.seen = Seen::Busy,
            Ok(Requested::ServerGone | Requested::Taken) => {}
            // The server did not answer the request.
            Err(ShmError::Timeout) if self.name.is_some() => self.seen = Seen::NotAccepting,
            Err(error) => return Err(error),
        }
        self.missed(false)
    }

    /// What to wait for until the next step; and what in it is this client's turn.
    fn wait_set(&self) -> (WaitSet<'_>, Option<Token>) {
        let mut turn = None;
        let mut set = match &self.stage {
            Stage::Handover(handover) => {
                let mut set = WaitSet::new();
                set.event(handover.event());
                set
            }
            Stage::Request(requesting) => requesting.wait_set(),
            Stage::Slot(session, wait) => return (wait.wait_set(session), None),
            _ => WaitSet::new(),
        };
        let left = |until: &Instant| until.saturating_duration_since(Instant::now());
        match &self.stage {
            Stage::LookUp | Stage::Ended => set.at_most(Some(Duration::ZERO)),
            Stage::Paused(until) => set.at_most(Some(left(until))),
            Stage::Turn(until) => {
                turn = self.admission.as_ref().map(|admission| set.event(&admission.event));
                set.at_most(Some(left(until)));
            }
            _ => {}
        }
        set.at_most(self.deadline.remaining(None));
        (set, turn)
    }

    /// Takes the signals of events that an event loop has waited for. They would end each of its waits at once.
    fn take_signals(&self) {
        match &self.stage {
            Stage::Request(requesting) => requesting.request.take_signals(),
            Stage::Slot(session, _) => {
                session.channel.events.iter().for_each(|events| events.acknowledge().reset())
            }
            _ => {}
        }
    }

    /// Records that a wait has taken the signal of this client's turn.
    fn take_turn(&mut self) {
        if let Some(admission) = &mut self.admission {
            admission.held = true;
        }
    }

    /// Waits until the client has its session.
    fn finish(mut self) -> Result<SharedClient> {
        loop {
            let patience = self.deadline.remaining(Some(QUEUE_SLICE)).unwrap_or(QUEUE_SLICE);
            if let Some(client) = self.step(patience)? {
                return Ok(client);
            }
            let (mut set, turn) = self.wait_set();
            set.event(self.interrupt.event());
            let woken_by = set.wait(Deadline::NEVER)?;
            if turn.is_some() && woken_by == turn {
                self.take_turn();
            }
            if self.interrupt.is_set() {
                return Err(ShmError::Interrupted);
            }
        }
    }
}

impl ClientOptions {
    /// Connects to a server by its name, see [`SharedClient::connect`].
    ///
    /// # Errors
    /// Those of [`SharedClient::connect`], and [`ShmError::Incompatible`]: the server's sizes differ from
    /// those of the options.
    pub fn connect(self, name: &str, timeout: Duration) -> Result<SharedClient> {
        self.connect_within(name, timeout, None)
    }

    /// `slot_timeout`: how long to wait until a server for many clients has called its handler. `None`: until `timeout` is over.
    pub(crate) fn connect_within(
        self, name: &str, timeout: Duration, slot_timeout: Option<Duration>,
    ) -> Result<SharedClient> {
        let name = ChannelName::parse(name)?;
        let connect = Connect::new(Some(name), self, Deadline::after(Some(timeout)))?;
        Connect { slot_timeout, ..connect }.finish()
    }

    /// Connects to an anonymous server, see [`SharedClient::attach`].
    ///
    /// # Errors
    /// Those of [`SharedClient::attach`], and [`ShmError::Incompatible`]: the server's sizes differ from
    /// those of the options.
    pub fn attach(self, section: impl sys::AsObject, timeout: Duration) -> Result<SharedClient> {
        self.attach_to(Section::duplicate_of(&section)?, None, timeout)
    }

    /// Connects to a server by its client handles, see [`SharedClient::attach_handles`].
    ///
    /// # Safety
    /// As [`SharedClient::attach_handles`].
    ///
    /// # Errors
    /// Those of [`SharedClient::attach_handles`], and [`ShmError::Incompatible`]: the server's sizes differ from
    /// those of the options.
    pub unsafe fn attach_handles(self, handles: &ClientHandles, timeout: Duration) -> Result<SharedClient> {
        self.attach_to(Section::duplicate(handles.section)?, handles.events.as_ref(), timeout)
    }

    fn attach_to(
        self, section: Section, events: Option<&ClientEvents>, timeout: Duration,
    ) -> Result<SharedClient> {
        let connect = Connect::to_section(section, events, Deadline::after(Some(timeout)), self)?;
        Connect { slot_timeout: Some(timeout), ..connect }.finish()
    }
}

/// Reports a refusal to the caller's hook.
pub(super) fn report(options: &ClientOptions, error: ShmError) -> ShmError {
    if matches!(error, ShmError::Refused { .. } | ShmError::Incompatible { .. }) {
        options.tuning.report(&ChannelEvent::Refused(error.clone()));
    }
    error
}

/// Whether the client trusts the server that created a section. No user can create a section in the name of another.
pub(super) fn is_trusted(trust: &Trust, owner: Option<&sys::User>) -> Result<()> {
    let trusted = match (trust, owner) {
        (Trust::Anyone, _) => true,
        (_, None) => false,
        (Trust::Owner, Some(owner)) => owner.is_trusted_server()?,
        (Trust::Users(users), Some(owner)) => users.iter().any(|user| user.0 == *owner),
    };
    if trusted {
        return Ok(());
    }
    let whose = owner.map_or("an unknown user".to_owned(), |owner| format!("user {owner}"));
    Err(ShmError::Refused { reason: format!("the server belongs to {whose}, which is not trusted") })
}

/// Checks what was found under a name. `None`: its server went away meanwhile.
fn open_channel(
    section: Section, opener: &sys::EventOpener, owner: Option<&sys::User>,
) -> Result<Option<(SharedView, Events)>> {
    let view = SharedView::open(section)?;
    if !view.has_events() {
        return Err(ShmError::Incompatible {
            what: "flags",
            found: 0,
            expected: crate::layout::FLAG_EVENTS.into(),
        });
    }
    Ok(opener.events(view.instance(), owner)?.map(|events| (view, Events::new(events))))
}
