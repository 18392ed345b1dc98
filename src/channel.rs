//! A channel as one side holds it: its section, its events, its name.

use crate::access::{PeerIdentity, UserId};
use crate::error::{Result, ShmError};
use crate::events::{ClientHandles, EventHandles, Events};
use crate::layout::{ClientWord, Direction, SERVER_GONE};
use crate::options::Tuning;
use crate::session::Session;
use crate::shared::SharedView;
use crate::sync::{Arc, AtomicBool, Ordering};
use crate::sys::{Guard, Handout, Home, Process, Unwatchable};
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
    exported: AtomicBool,
    /// Whether a client may have come by handles that we gave out.
    handed_out: AtomicBool,
    home: Home,
    /// What a server's client is given of the events.
    handout: Option<Handout>,
    /// The server's name, which the channels of a multi-client server share. The last field: it comes free when all else is gone.
    guard: Option<Arc<Guard>>,
}

impl Channel {
    pub(crate) fn new(
        side: Side,
        view: SharedView,
        events: Option<Events>,
        guard: Option<Arc<Guard>>,
        tuning: Tuning,
    ) -> Result<Self> {
        let interrupt = tuning.interrupt()?;
        let (exported, handed_out) = (AtomicBool::new(false), AtomicBool::new(false));
        let home = Home::here()?;
        Ok(Channel {
            side,
            view,
            events,
            interrupt,
            tuning,
            exported,
            handed_out,
            home,
            handout: None,
            guard,
        })
    }

    /// With what its client is given of the events.
    pub(crate) fn with_handout(mut self, handout: Handout) -> Self {
        self.handout = Some(handout);
        self
    }

    /// Whether this is the channel of this process, and not the copy that a fork has.
    ///
    /// # Errors
    /// [`ShmError::Forked`].
    #[inline]
    pub(crate) fn check_home(&self) -> Result<()> {
        if self.home.is_here() {
            Ok(())
        } else {
            Err(ShmError::Forked)
        }
    }

    /// Whether native waiters hold our data events: then every message is signalled.
    #[inline]
    pub(crate) fn is_exported(&self) -> bool {
        self.exported.load(Ordering::Acquire)
    }

    pub(crate) fn guard(&self) -> Option<&Guard> {
        self.guard.as_deref()
    }

    pub(crate) fn shared_guard(&self) -> Option<Arc<Guard>> {
        self.guard.clone()
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.guard.is_none()
    }

    /// The bits of our own wake word that stand in every generation.
    pub(crate) fn standing_bits(&self) -> u32 {
        if self.is_exported() {
            ALWAYS_DATA
        } else {
            0
        }
    }

    /// Hands out the data events, and from now on signals and has signalled every message.
    pub(crate) fn export(&self, session: Option<&Session>) -> Option<EventHandles> {
        let events = self.events.as_ref().filter(|_| self.home.is_here())?;
        self.exported.store(true, Ordering::Release);
        if let Some(session) = session {
            // A peer that fights over the word has ended its session by that; there's nothing more to announce.
            let _ = session.own_wake().set(ALWAYS_DATA);
        }
        self.signal_exported();
        let [s2c, c2s] = [Direction::ServerToClient, Direction::ClientToServer].map(|way| events.data(way));
        Some(EventHandles { s2c_data: s2c.as_raw(), c2s_data: c2s.as_raw() })
    }

    /// The process of a hello.
    pub(crate) fn open_client(&self, pid: u32) -> std::result::Result<Process, Unwatchable> {
        match self.guard() {
            Some(guard) => match guard.open_client(pid) {
                // It did not come by the name.
                Err(_) if self.handed_out.load(Ordering::Acquire) => Process::open(pid),
                opened => opened,
            },
            None => Process::open(pid),
        }
    }

    /// Begins anew for the next client, where it would otherwise be handed what another one has had in its hands. Not
    /// where others hold our section or our events by the caller's wish.
    pub(crate) fn renew(&self) -> Result<()> {
        let Some(guard) = self.guard() else { return Ok(()) };
        let shared = self.is_exported() || self.handed_out.load(Ordering::Acquire);
        let renewed = match &self.handout {
            Some(handout) if Guard::RENEWS && !shared => {
                // Who was let in and has not said hello learns that there's nobody here any more, and comes again.
                self.view.control().server_state.store(SERVER_GONE, Ordering::Release);
                self.wake_peer();
                // Attempts are counted on: no session of the fresh section has the word of one before.
                let word = self.word().with_state(ClientWord::IDLE);
                let renewed = self.view.renew(guard, handout);
                self.view.control().client_state.store(word.0, Ordering::Release);
                renewed
            }
            _ => Ok(()),
        };
        guard.next_turn();
        renewed
    }

    /// The section, which others may hold from now on.
    pub(crate) fn section_handle(&self) -> isize {
        self.handed_out.store(true, Ordering::Release);
        self.view.section().as_raw()
    }

    /// What the client's end needs, of this process.
    pub(crate) fn client_handles(&self) -> Result<ClientHandles> {
        self.check_home()?;
        self.handed_out.store(true, Ordering::Release);
        match (&self.handout, &self.events) {
            (Some(handout), Some(events)) => handout.handles(self.view.section(), &events.all),
            _ => Ok(ClientHandles { section: self.view.section().as_raw(), events: None }),
        }
    }

    /// Announces what may have been published before a native waiter's wish to be signalled was known.
    pub(crate) fn signal_exported(&self) {
        if let (true, Some(events)) = (self.is_exported(), &self.events) {
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

    /// Swaps the exact client word for the same attempt in another state. Not in a fork.
    pub(crate) fn swap_word(&self, word: ClientWord, state: u64) -> bool {
        if !self.home.is_here() {
            return false;
        }
        let to = word.with_state(state).0;
        let word_in_section = &self.view.control().client_state;
        word_in_section.compare_exchange(word.0, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn word(&self) -> ClientWord {
        ClientWord(self.view.control().client_state.load(Ordering::Acquire))
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if self.side == Side::Server && self.home.is_here() {
            self.view.control().server_state.store(SERVER_GONE, Ordering::Release);
            fail_point!("stop.gone");
            self.wake_peer();
        }
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
