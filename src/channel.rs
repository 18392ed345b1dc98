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
use crate::sync::{lock, Arc, AtomicBool, AtomicU32, Mutex, Ordering};
use crate::sys::{self, Birth, ClientEnd, Event, OwningProcess, Process, Unwatchable};
use crate::waiting::Interrupt;

/// Which end of a channel this is.
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

/// Whose channel this is, and how clients get it.
pub(crate) enum Kind {
    /// A named server's. Clients find it by the name, and get this.
    Named(ClientEnd),
    /// An anonymous server's. The program passes its handles to clients. `None`: the channel has no events.
    Anonymous(Option<ClientEnd>),
    /// A client's.
    Client,
}

/// A section with its events, as one side holds it. Dropping a server's is leaving.
pub(crate) struct Channel {
    pub(crate) side: Side,
    pub(crate) kind: Kind,
    pub(crate) view: SharedView,
    /// `None`: a side that waits looks every millisecond.
    pub(crate) events: Option<Events>,
    pub(crate) interrupt: Arc<Interrupt>,
    pub(crate) tuning: Tuning,
    /// Whether the program has the data events.
    data_events_given: AtomicBool,
    /// Whether the program has the section, alone or with all events.
    section_given: AtomicBool,
    created_in: OwningProcess,
}

impl Channel {
    pub(crate) fn new(
        kind: Kind, view: SharedView, events: Option<Events>, mut tuning: Tuning,
    ) -> Result<Self> {
        Ok(Channel {
            side: if matches!(kind, Kind::Client) { Side::Client } else { Side::Server },
            view,
            events,
            interrupt: tuning.interrupt()?,
            tuning,
            data_events_given: AtomicBool::new(false),
            section_given: AtomicBool::new(matches!(kind, Kind::Anonymous(_))),
            created_in: OwningProcess::current()?,
            kind,
        })
    }

    /// Whether this process made the channel. A fork's copy must do nothing.
    #[inline]
    pub(crate) fn created_in_this_process(&self) -> bool {
        self.created_in.is_current()
    }

    /// Whether this process made the channel, for a change that would end the parent's session.
    pub(crate) fn certainly_created_here(&self) -> bool {
        self.created_in.is_certain()
    }

    /// Fails in a fork of the process that made the channel.
    ///
    /// # Errors
    /// [`ShmError::Forked`].
    #[inline]
    pub(crate) fn check_not_forked(&self) -> Result<()> {
        if self.created_in_this_process() {
            Ok(())
        } else {
            Err(ShmError::Forked)
        }
    }

    /// Whether native waiters hold our data events: then every message is signalled.
    #[inline]
    pub(crate) fn signals_every_message(&self) -> bool {
        self.data_events_given.load(Ordering::Acquire)
    }

    /// Whether a client may have got the section from the server's program, instead of by the name.
    pub(crate) fn has_given_section(&self) -> bool {
        self.section_given.load(Ordering::Acquire)
    }

    /// Whether all sessions of the server use this channel, since the program has handles of it.
    pub(crate) fn is_reused(&self) -> bool {
        self.signals_every_message() || self.has_given_section()
    }

    /// Returns the data events, and from now on signals every message. `announce` has the peer of the present session do the
    /// same; it is called when a session that begins does it too.
    pub(crate) fn export(&self, announce: impl FnOnce()) -> Option<EventHandles> {
        let events = self.events.as_ref().filter(|_| self.created_in_this_process())?;
        self.data_events_given.store(true, Ordering::Release);
        announce();
        self.signal_native_waiters();
        let [s2c, c2s] = [Direction::ServerToClient, Direction::ClientToServer].map(|way| events.data(way));
        Some(EventHandles { s2c_data: s2c.as_raw(), c2s_data: c2s.as_raw() })
    }

    /// Shows clients that the server offers another channel instead of this one.
    pub(crate) fn withdraw(&self) {
        self.view.control().server_state.store(SERVER_GONE, Ordering::Release);
        self.wake_peer();
    }

    /// The section, which others may hold from now on.
    pub(crate) fn section_handle(&self) -> isize {
        self.section_given.store(true, Ordering::Release);
        self.view.section().as_raw()
    }

    /// All handles that a client needs, which others may hold from now on.
    pub(crate) fn client_handles(&self) -> Result<ClientHandles> {
        self.check_not_forked()?;
        let section = self.section_handle();
        match (&self.kind, &self.events) {
            (Kind::Named(client_end) | Kind::Anonymous(Some(client_end)), Some(events)) => {
                client_end.handles(self.view.section(), &events.all)
            }
            _ => Ok(ClientHandles { section, events: None }),
        }
    }

    /// Signals an event, if the channel has events.
    pub(crate) fn signal(&self, event: impl FnOnce(&Events) -> &Event) {
        if let Some(events) = &self.events {
            event(events).set();
        }
    }

    /// Signals native waiters what may have been published before every message was signalled.
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
        if self.side == Side::Server && self.created_in.is_certain() {
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

    /// Runs `with` while the server cannot replace the channel. If `with` gives its handles to the program, the server never
    /// replaces it.
    pub(crate) fn hold<R>(&self, with: impl FnOnce(&Channel) -> R) -> R {
        with(&lock(&self.0))
    }

    /// Puts another channel in the place of the current one, which it returns; unless that one [is reused](Channel::is_reused).
    fn replace(&self, channel: &Arc<Channel>) -> Option<Arc<Channel>> {
        let mut current = lock(&self.0);
        (!current.is_reused()).then(|| std::mem::replace(&mut *current, channel.clone()))
    }
}

/// How the end of a peer's process is noticed.
enum Watched {
    /// It is held open, so that its end can be waited for.
    Open(Process),
    /// It can't be opened, and is looked for from time to time.
    ById(ById),
}

/// A process that can't be opened. The system may give its id to another one when it has ended.
struct ById {
    pid: u32,
    /// `None`: the system does not say when a process began.
    birth: Option<u64>,
    /// When its birth was last compared, which takes longer than to look for the id.
    compared_at: AtomicU32,
}

impl ById {
    const COMPARE_AFTER_MILLIS: u32 = 1000;

    fn new(pid: u32) -> Self {
        ById { pid, birth: sys::birth(pid).time(), compared_at: AtomicU32::new(sys::coarse_millis()) }
    }

    fn has_ended(&self) -> bool {
        if matches!(Process::open(self.pid), Err(Unwatchable::Gone)) {
            return true;
        }
        let now = sys::coarse_millis();
        let compared_at = self.compared_at.load(Ordering::Relaxed);
        if now.wrapping_sub(compared_at) < Self::COMPARE_AFTER_MILLIS {
            return false;
        }
        self.compared_at.store(now, Ordering::Relaxed);
        // An ended process keeps its id as long as another one holds it open, and then is in no list.
        match (self.birth, sys::birth(self.pid)) {
            (Some(birth), Birth::At(now)) => now != birth,
            (Some(_), Birth::None) => true,
            _ => false,
        }
    }
}

/// The peer's process.
pub(crate) struct Peer {
    pid: u32,
    process: Watched,
    pub(crate) user: Option<UserId>,
}

impl Peer {
    /// The peer whose process was opened so. `None`: the process has ended. `whose`: the server's, or the client's.
    ///
    /// # Errors
    /// - [`ShmError::Refused`]: the process can't be watched, and no check interval is set.
    /// - What the system refuses this process.
    pub(crate) fn open(
        opened: std::result::Result<Process, Unwatchable>, whose: &str, pid: u32, tuning: &Tuning,
    ) -> Result<Option<Self>> {
        let process = match opened {
            Ok(process) => Watched::Open(process),
            Err(Unwatchable::Gone) => return Ok(None),
            Err(Unwatchable::Failed(error)) => return Err(error),
            Err(Unwatchable::Denied(_)) if tuning.check_interval.is_some() => Watched::ById(ById::new(pid)),
            Err(Unwatchable::Denied(Some(error))) => return Err(error),
            Err(Unwatchable::Denied(None)) => {
                let reason = format!(
                    "{whose} process {pid} can't be opened to wait for its end, and no check interval is set"
                );
                return Err(ShmError::Refused { reason });
            }
        };
        Ok(Some(Peer { pid, process, user: None }))
    }

    pub(crate) fn has_ended(&self) -> bool {
        match &self.process {
            Watched::Open(process) => process.has_ended(),
            Watched::ById(id) => id.has_ended(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn process(&self) -> Option<&Process> {
        match &self.process {
            Watched::Open(process) => Some(process),
            Watched::ById(_) => None,
        }
    }

    pub(crate) fn identity(&self) -> PeerIdentity {
        PeerIdentity { process_id: self.pid, user: self.user.clone().filter(|user| user.0.is_known()) }
    }
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    /// A peer that may not be opened, with a check interval, is watched by its id until it ends.
    #[test]
    fn a_process_that_may_not_be_opened_is_seen_to_end() {
        let shell = if cfg!(windows) { "cmd" } else { "cat" };
        let mut commanded = Command::new(shell);
        let mut child = commanded.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut tuning = Tuning::default();
        let open =
            |tuning: &Tuning| Peer::open(Err(Unwatchable::Denied(None)), "the server's", child.id(), tuning);
        assert!(matches!(open(&tuning), Err(ShmError::Refused { .. })));
        tuning.check_interval = Some(Duration::from_millis(50));
        let peer = open(&tuning).unwrap().expect("the process lives");
        assert!(peer.process().is_none());
        let deadline = Instant::now() + Duration::from_millis(2 * u64::from(ById::COMPARE_AFTER_MILLIS));
        while Instant::now() < deadline {
            assert!(!peer.has_ended());
            std::thread::sleep(Duration::from_millis(50));
        }
        // The shell ends when its input does. This process still holds it open on Windows.
        drop(child.stdin.take());
        child.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !peer.has_ended() {
            assert!(Instant::now() < deadline, "the end of process {} was not noticed", child.id());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The system has given the id of a peer that could not be opened to another process.
    #[test]
    fn a_process_that_began_at_another_time_is_another_one() {
        let pid = std::process::id();
        let birth = sys::birth(pid).time();
        let long_ago = || AtomicU32::new(sys::coarse_millis().wrapping_sub(2 * ById::COMPARE_AFTER_MILLIS));
        let ended = |birth, compared_at| ById { pid, birth, compared_at }.has_ended();
        assert!(birth.is_some());
        assert!(!ended(birth, long_ago()));
        assert!(ended(birth.map(|birth| birth - 1), long_ago()));
        // No process has this id.
        if let Birth::None = sys::birth(u32::MAX - 1) {
            let gone = ById { pid: u32::MAX - 1, birth, compared_at: long_ago() };
            assert!(gone.has_ended());
        }
        // It was compared just now, or cannot be.
        assert!(!ended(birth.map(|birth| birth - 1), AtomicU32::new(sys::coarse_millis())));
        assert!(!ended(None, long_ago()));
    }
}
