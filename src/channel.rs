//! A channel as one side holds it: its section and its events.

pub(crate) mod handshake;
pub(crate) mod lifecycle;
pub(crate) mod wait_set;

use crate::access::{PeerIdentity, UserId};
use crate::error::{Result, ShmError};
use crate::events::Events;
use crate::handles::{ClientHandles, EventHandles};
use crate::layout::{Direction, SERVER_GONE};
use crate::options::Tuning;
use crate::shared::SharedView;
use crate::sync::{lock, Arc, AtomicBool, Mutex, Ordering};
use crate::sys::{ClientEnd, OwningProcess, Process, Unwatchable};
use crate::waiting::Interrupt;
use crate::wake::ALWAYS_DATA;

/// Which end of a channel this is. What differs between the ends follows from it; all else is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

impl Side {
    pub(crate) fn sends(self) -> Direction {
        match self {
            Side::Server => Direction::ServerToClient,
            Side::Client => Direction::ClientToServer,
        }
    }

    pub(crate) fn receives(self) -> Direction {
        match self {
            Side::Server => Direction::ClientToServer,
            Side::Client => Direction::ServerToClient,
        }
    }
}

/// A section with its events, as one side holds it. Dropping a server's is leaving.
pub(crate) struct Channel {
    pub(crate) side: Side,
    pub(crate) view: SharedView,
    pub(crate) events: Option<Events>,
    pub(crate) interrupt: Arc<Interrupt>,
    pub(crate) tuning: Tuning,
    /// Whether the program has the data events: every message is signalled then.
    every_message: AtomicBool,
    /// Whether the program has the section, or all handles of the client's end.
    handles_given: AtomicBool,
    created_in: OwningProcess,
    /// What a server's client is given of the events.
    pub(crate) client_end: Option<ClientEnd>,
}

impl Channel {
    pub(crate) fn new(side: Side, view: SharedView, events: Option<Events>, tuning: Tuning) -> Result<Self> {
        let interrupt = tuning.interrupt()?;
        let (every_message, handles_given) = (AtomicBool::new(false), AtomicBool::new(false));
        let created_in = OwningProcess::current()?;
        Ok(Channel {
            side,
            view,
            events,
            interrupt,
            tuning,
            every_message,
            handles_given,
            created_in,
            client_end: None,
        })
    }

    /// With what its client is given of the events.
    pub(crate) fn with_client_end(mut self, client_end: ClientEnd) -> Self {
        self.client_end = Some(client_end);
        self
    }

    /// Whether this process made the channel. A fork's copy must do nothing.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.created_in.is_current()
    }

    /// Whether this is the channel of this process, and not the copy that a fork has.
    ///
    /// # Errors
    /// [`ShmError::Forked`].
    #[inline]
    pub(crate) fn check_home(&self) -> Result<()> {
        if self.created_in.is_current() {
            Ok(())
        } else {
            Err(ShmError::Forked)
        }
    }

    /// Whether native waiters hold our data events: then every message is signalled.
    #[inline]
    pub(crate) fn signals_every_message(&self) -> bool {
        self.every_message.load(Ordering::Acquire)
    }

    /// Whether a client may have come by handles that the server's program has given out.
    pub(crate) fn has_given_handles(&self) -> bool {
        self.handles_given.load(Ordering::Acquire)
    }

    /// Whether the server's program has handles of this channel, which stay good for all its sessions.
    pub(crate) fn lasts(&self) -> bool {
        self.signals_every_message() || self.has_given_handles()
    }

    /// The bits of our own wake word that stand in every generation.
    pub(crate) fn standing_bits(&self) -> u32 {
        if self.signals_every_message() {
            ALWAYS_DATA
        } else {
            0
        }
    }

    /// Returns the data events, and from now on signals every message. `announce` has the peer of the present session do the
    /// same; it is called when a session that begins does it too.
    pub(crate) fn export(&self, announce: impl FnOnce()) -> Option<EventHandles> {
        let events = self.events.as_ref().filter(|_| self.created_in.is_current())?;
        self.every_message.store(true, Ordering::Release);
        announce();
        self.signal_native_waiters();
        let [s2c, c2s] = [Direction::ServerToClient, Direction::ClientToServer].map(|way| events.data(way));
        Some(EventHandles { s2c_data: s2c.as_raw(), c2s_data: c2s.as_raw() })
    }

    /// The server offers another channel in the place of this one.
    pub(crate) fn withdraw(&self) {
        self.view.control().server_state.store(SERVER_GONE, Ordering::Release);
        self.wake_peer();
    }

    /// The server's program has the section from now on, or all handles of the client's end.
    pub(crate) fn give_out(&self) {
        self.handles_given.store(true, Ordering::Release);
    }

    /// The section, which others may hold from now on.
    pub(crate) fn section_handle(&self) -> isize {
        self.give_out();
        self.view.section().as_raw()
    }

    /// What the client's end needs, of this process.
    pub(crate) fn client_handles(&self) -> Result<ClientHandles> {
        self.check_home()?;
        self.give_out();
        match (&self.client_end, &self.events) {
            (Some(end), Some(events)) => end.handles(self.view.section(), &events.all),
            _ => Ok(ClientHandles { section: self.view.section().as_raw(), events: None }),
        }
    }

    /// Announces what may have been published before a native waiter's wish to be signalled was known.
    pub(crate) fn signal_native_waiters(&self) {
        if let (true, Some(events)) = (self.signals_every_message(), &self.events) {
            events.data(Direction::ServerToClient).set();
            events.data(Direction::ClientToServer).set();
        }
    }

    /// Wakes whatever the peer may be waiting in.
    pub(crate) fn wake_peer(&self) {
        if let Some(events) = &self.events {
            events.data(self.side.sends()).set();
            events.space(self.side.receives()).set();
            events.disconnect().set();
            match self.side {
                Side::Server => events.acknowledge().set(),
                Side::Client => events.request().set(),
            }
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if self.side == Side::Server && self.created_in.is_current() {
            self.view.control().server_state.store(SERVER_GONE, Ordering::Release);
            fail_point!("stop.gone");
            self.wake_peer();
        }
    }
}

/// The channel that a server has now, for threads that ask for its handles while another one renews it.
pub(crate) struct Current(Mutex<Arc<Channel>>);

impl Current {
    pub(crate) fn new(channel: Arc<Channel>) -> Self {
        Current(Mutex::new(channel))
    }

    /// Runs `with` while the channel stays the server's. A channel of which `with` gives handles away stays it for good.
    pub(crate) fn hold<R>(&self, with: impl FnOnce(&Channel) -> R) -> R {
        with(&lock(&self.0))
    }

    /// Puts another channel in the place of this one, and returns it; unless it [lasts](Channel::lasts).
    fn replace(&self, channel: &Arc<Channel>) -> Option<Arc<Channel>> {
        let mut current = lock(&self.0);
        let may = !current.lasts();
        may.then(|| std::mem::replace(&mut *current, channel.clone()))
    }
}

/// The peer's process, held open so that its end can be waited for.
pub(crate) struct Peer {
    pid: u32,
    /// `None`: it can't be watched, and is looked for by its id from time to time.
    process: Option<Process>,
    user: Option<UserId>,
}

impl Peer {
    pub(crate) fn new(pid: u32, process: Option<Process>, user: Option<UserId>) -> Self {
        Peer { pid, process, user }
    }

    pub(crate) fn has_ended(&self) -> bool {
        match &self.process {
            Some(process) => process.has_ended(),
            None => matches!(Process::open(self.pid), Err(Unwatchable::Gone)),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    pub(crate) fn identity(&self) -> PeerIdentity {
        PeerIdentity { process_id: self.pid, user: self.user.clone() }
    }
}
