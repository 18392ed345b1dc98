//! A server's channel from one session to the next.
//!
//! ```text
//!             offer                    answer
//!   (none) ---------> fresh -------------------------> spent, with a session
//!                      ^  | a client had its turn           |
//!                      |  v and did not ask                 | the session is over (with many clients: at once)
//!                      | spent, without a session           |
//!                      |        |                           |
//!                      +--------+-- renew, or reuse <-------+
//! ```
//!
//! A channel is **fresh** while no client can have anything of it that the next session uses. Only a [`Fresh`] channel is
//! handed to clients, and only a [`Fresh`] channel accepts a request; both take the value that [`Lifecycle::fresh`] returns
//! after it has settled the session before. So no order of calls hands a client the section of another one.
//!
//! A channel with a name is **renewed**: the server makes another section with events of its own and offers that. The
//! client of the session before may keep the old section as long as it likes. If that fails, the channel stays spent, and
//! the next attempt renews it.
//!
//! A channel of which the server's program has handles is **reused**, and so is one without a name: all sessions use its section.
//! For this the client before must have let go of it (its word says so, or its process has ended), and the halves of this
//! side's last session must be gone: their rings are reset.

use super::handshake::{self, ClientState, ExclusiveRings};
use super::wait_set::WaitSet;
use super::{Channel, Current, Kind, Peer};
use crate::access::UserId;
use crate::error::{Result, ShmError};
use crate::events::Events;
use crate::layout::Geometry;
use crate::options::{ChannelEvent, Tuning};
use crate::session::Session;
use crate::shared::SharedView;
use crate::sync::{Arc, Ordering};
use crate::sys::{Clients, Event, HeldName, Listener, Offer, Prepared, Process, Unwatchable};
use crate::waiting::Deadline;
use std::time::Duration;

/// How often a server looks for a request that no event announces.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// How long a server rests after the system has refused it something, for instance a descriptor. A program that calls again at
/// once would otherwise get the same error thousands of times a second.
const REST: Duration = Duration::from_millis(20);

/// How a server finds out that a request stands in the section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestsBy {
    /// The client signals the request event.
    Event,
    /// The server looks every [`LOOK_INTERVAL`].
    Looking,
}

/// What all channels of a server have in common.
pub(crate) struct Design {
    pub(crate) geometry: Geometry,
    pub(crate) flags: u32,
    /// With the server's interrupter.
    pub(crate) tuning: Tuning,
    pub(crate) clients: Clients,
}

/// The channel of a server, and what must be done before the next client may have it.
pub(crate) struct Lifecycle {
    stage: Stage,
    /// The last session of the channel, if there was one. The rings of a section that is reused are reset once no half holds
    /// it.
    session: Option<Arc<Session>>,
    design: Design,
    /// The generation of the last session, or of an attempt that was withdrawn while it was answered.
    generation: u32,
    /// Until when the server rests.
    rest: Option<Deadline>,
    channel: Arc<Channel>,
    /// The same, for threads that ask for its handles.
    current: Arc<Current>,
    /// `None`: the server has no name. The last field: the name comes free when all else is gone.
    listener: Option<Listener>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No client has anything of the channel that a session would use.
    Fresh,
    /// A client has had the channel.
    Spent,
}

impl Lifecycle {
    /// Makes the first channel of a server and offers it under the listener's name.
    pub(crate) fn offer(listener: Listener, design: Design) -> Result<Self> {
        let (channel, offer) = new_channel(&listener, &design)?;
        listener.offer(offer)?;
        Ok(Self::new(channel, design, Some(listener)))
    }

    /// A channel without a name, which is reused.
    pub(crate) fn anonymous(channel: Channel, design: Design) -> Self {
        Self::new(Arc::new(channel), design, None)
    }

    fn new(channel: Arc<Channel>, design: Design, listener: Option<Listener>) -> Self {
        let current = Arc::new(Current::new(channel.clone()));
        let (stage, session, rest) = (Stage::Fresh, None, None);
        Lifecycle { stage, session, design, generation: 0, rest, channel, current, listener }
    }

    pub(crate) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    pub(crate) fn current(&self) -> &Arc<Current> {
        &self.current
    }

    pub(crate) fn held_name(&self) -> Option<HeldName> {
        self.listener.as_ref().map(Listener::held_name)
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.listener.is_none()
    }

    /// As [`fresh`](Self::fresh), after an attempt to answer, so that a client whose turn is over and that has no answer gets none.
    pub(crate) fn fresh_after_answer(&mut self) -> Result<Option<Fresh<'_>>> {
        if let (Stage::Fresh, Some(listener)) = (self.stage, &self.listener) {
            let is_overdue = listener.is_overdue();
            // Where a thread of this process is in a call on the last session, a request has had no answer.
            let is_held_up = self.session.is_some() && self.is_requested();
            if is_overdue && !is_held_up {
                listener.pass_turn();
                self.stage = Stage::Spent;
            }
        }
        self.fresh()
    }

    /// Settles the session before, and renews the channel or makes ready to reuse it. `None`: the client of a channel that
    /// is reused has yet to let go of it.
    ///
    /// # Errors
    /// - [`ShmError::AlreadyConnected`]: the session lives.
    /// - What the system refuses: the channel stays spent, and no client is handed it.
    pub(crate) fn fresh(&mut self) -> Result<Option<Fresh<'_>>> {
        let has_changed_user = || self.listener.as_ref().is_some_and(Listener::has_changed_user);
        if self.stage == Stage::Fresh && !self.channel.is_reused() && has_changed_user() {
            // Clients refuse a section of the user that this process was before.
            self.stage = Stage::Spent;
        }
        if self.stage == Stage::Spent {
            let session = self.session.as_ref();
            let lives = || session.is_some_and(|session| session.check_process().is_ok());
            if self.design.clients == Clients::One && lives() {
                return Err(ShmError::AlreadyConnected);
            }
            if self.channel.is_reused() {
                let is_held = |session: &Arc<Session>| {
                    handshake::is_held(&session.channel, session.word) && !session.peer.has_ended()
                };
                if session.is_some_and(is_held) {
                    return Ok(None);
                }
                if let Some(listener) = &self.listener {
                    listener.session_ended();
                    listener.offer_again();
                }
                self.stage = Stage::Fresh;
            } else if !self.renew()? {
                // The server's program has asked for handles just now.
                return Ok(None);
            }
        }
        // A client may have overwritten what the next one checks.
        self.channel.view.restore();
        Ok(Some(Fresh(self)))
    }

    fn is_requested(&self) -> bool {
        self.channel.client_word().state() == Some(ClientState::Request)
    }

    /// Puts another channel in the place of the current one. False: the current one is reused from now on.
    fn renew(&mut self) -> Result<bool> {
        let Some(listener) = &self.listener else { return Ok(false) };
        listener.session_ended();
        fail_point!("renew.begun");
        let (channel, offer) = new_channel(listener, &self.design)?;
        let Some(old) = self.current.replace(&channel) else { return Ok(false) };
        self.channel = channel;
        // Until it is offered, no client can have the new one; where that fails, it stays spent, and another takes its place.
        if self.session.take().map_or(true, |session| session.check().is_err()) {
            // A client that holds the old section, but has no session, looks the name up again.
            old.withdraw();
        }
        fail_point!("renew.made");
        listener.offer(offer)?;
        self.stage = Stage::Fresh;
        Ok(true)
    }

    /// Begins a rest if the system has refused something, and ends one otherwise.
    pub(crate) fn rest_after<T>(&mut self, attempt: &Result<T>) {
        let was_refused =
            matches!(attempt, Err(ShmError::SystemError { .. } | ShmError::WindowsError { .. }));
        self.rest = was_refused.then(|| Deadline::after(Some(REST)));
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.rest.is_some_and(|end| !end.has_passed())
    }

    /// What to wait for until there may be something to do.
    pub(crate) fn wait_set(&self, requests_by: RequestsBy) -> WaitSet<'_> {
        let channel = &self.channel;
        let mut set = WaitSet::new();
        if let Some(end) = self.rest.filter(|_| self.is_resting()) {
            // An object that is ready stays so until the next attempt.
            set.at_most(end.remaining(None));
            return set;
        }
        match &channel.events {
            Some(events) if requests_by == RequestsBy::Event => drop(set.event(events.request())),
            _ => set.at_most(Some(LOOK_INTERVAL)),
        }
        match (self.stage, &self.session) {
            (Stage::Fresh, session) => {
                if let Some(listener) = &self.listener {
                    let (pending, patience) = listener.wait_for();
                    pending.map(|event| set.event(event));
                    set.at_most(patience);
                }
                if session.is_some() && self.is_requested() {
                    // A thread of this process is about to leave a call on the last session.
                    set.at_most(Some(LOOK_INTERVAL));
                }
            }
            // No client is accepted before this one has let go.
            (Stage::Spent, Some(session)) => {
                set.peer(&session.peer, channel.tuning.check_interval);
            }
            (Stage::Spent, None) => set.at_most(Some(LOOK_INTERVAL)),
        }
        set
    }
}

fn new_channel(listener: &Listener, design: &Design) -> Result<(Arc<Channel>, Offer)> {
    let Prepared { section, events, instance, client_end, offer } =
        listener.prepare(design.geometry.section_size())?;
    let view = SharedView::create(section, design.geometry, design.flags, instance)?;
    view.turn().store(listener.admission_number(), Ordering::Relaxed);
    let events = Some(Events::new(events));
    let channel = Channel::new(Kind::Named(client_end), view, events, design.tuning.clone())?;
    Ok((Arc::new(channel), offer))
}

/// A channel that is fresh. Handing it to a client and accepting a request need this.
#[must_use]
pub(crate) struct Fresh<'a>(&'a mut Lifecycle);

impl Fresh<'_> {
    /// Hands the channel to the next client that waits for one, if there is one and none has it.
    ///
    /// # Errors
    /// What the system refuses this process. The client goes on waiting.
    pub(crate) fn hand_over(&self) -> Result<()> {
        let channel = &self.0.channel;
        match (&self.0.listener, &channel.kind) {
            (Some(listener), Kind::Named(client_end)) => {
                listener.hand_over(channel.view.section(), client_end)
            }
            _ => Ok(()),
        }
    }

    /// Answers the request that stands in the section, if there is one. `release` drops the halves of the last session; it
    /// is called before the rings of a section that is reused are reset, and waits for calls that are under way.
    ///
    /// # Errors
    /// [`ShmError::Refused`]: the client's process cannot be watched. What the system refuses this process.
    pub(crate) fn answer(self, release: &mut dyn FnMut()) -> Result<Option<Arc<Session>>> {
        let life = self.0;
        let channel = life.channel.clone();
        let request = channel.client_word();
        if request.state() != Some(ClientState::Request) {
            if !request.is_free() {
                handshake::clear(&channel, request);
            }
            return Ok(None);
        }
        fail_point!("accept.request");
        let opened = life.open_requester(request.pid());
        let mut peer = match Peer::open(opened, "the client's", request.pid(), &channel.tuning) {
            Ok(Some(peer)) => peer,
            Ok(None) => {
                handshake::clear(&channel, request);
                return Ok(None);
            }
            Err(error @ ShmError::Refused { .. }) => {
                handshake::refuse(&channel, request);
                channel.tuning.report(&ChannelEvent::Refused(error.clone()));
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        // Whatever can fail comes before the client hears of its session.
        let over = Event::local()?;
        let Some(rings) = life.exclusive_rings(release) else { return Ok(None) };
        let generation = life.generation.wrapping_add(1);
        life.generation = generation;
        let Some(ready) = handshake::accept(&channel, rings, request, generation) else { return Ok(None) };
        peer.user = peer.process().and_then(Process::user).map(UserId);
        if let Some(listener) = &life.listener {
            listener.session_began();
        }
        let session = Arc::new(Session::new(channel, ready, generation, peer, over));
        (life.stage, life.session) = (Stage::Spent, Some(session.clone()));
        Ok(Some(session))
    }
}

impl Lifecycle {
    /// The process of a request. On Linux it must be the one that the channel was handed to.
    fn open_requester(&self, pid: u32) -> std::result::Result<Process, Unwatchable> {
        match self.listener.as_ref().map(|listener| listener.open_requester(pid)) {
            // It did not come by the name.
            Some(Err(_)) if self.channel.has_given_section() => Process::open(pid),
            Some(opened) => opened,
            None => Process::open(pid),
        }
    }

    /// `None`: a thread of this process is inside a call on the last session.
    fn exclusive_rings(&mut self, release: &mut dyn FnMut()) -> Option<ExclusiveRings> {
        let Some(session) = self.session.take() else { return Some(ExclusiveRings::unused()) };
        release();
        match ExclusiveRings::after(session) {
            Ok(rings) => Some(rings),
            Err(session) => {
                self.session = Some(session);
                None
            }
        }
    }
}
