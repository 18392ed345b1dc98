//! The handshake: every transition of the client word, on both sides.
//!
//! ```text
//!                 client: attempt + 1, its pid           server
//!   IDLE, LEFT, REFUSED --------------------> REQUEST ----------> READY ------> ENDED
//!         ^                                      |  | refused        | client      | client
//!         |        client withdraws              |  v                | leaves      v lets go
//!         +----------------- IDLE <--------------+ REFUSED           +--> LEFT <---+
//! ```
//!
//! Every change is a compare-exchange of the exact word. So acceptance and withdrawal exclude each other, and a client knows
//! by its own attempt that the server accepted it and no other client. When a client has died, the server stores IDLE.
//!
//! The client puts its request into a free word, signals, and waits for the acknowledgement or for the server's end. The
//! server makes sure that the client's process runs and that it has the rings to itself ([`ExclusiveRings`]), empties
//! them, raises the generation, exchanges **that exact word** for READY, and signals. The client was accepted when **its
//! own exact word** reads READY, and only then reads the generation.

use super::wait_set::WaitSet;
use super::{Channel, Peer};
use crate::error::{Result, ShmError};
use crate::events::Events;
use crate::layout::{Direction, SERVER_UP};
use crate::options::ChannelEvent;
use crate::shared::SharedView;
use crate::sync::{Arc, Ordering};
use crate::waiting::Deadline;
use crate::wake::{WakeWord, ALWAYS_DATA};
use std::time::Duration;

/// What the word says of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientState {
    /// There is no client.
    Idle = 0,
    /// A client asks for a session.
    Request = 1,
    /// The server accepted it: the session lives as long as this exact word stands.
    Ready = 2,
    /// The client has left. This was its last access to the section.
    Left = 3,
    /// The server ended the session. The client has yet to let go of the section.
    Ended = 4,
    /// The server refused this attempt.
    Refused = 5,
}

impl ClientState {
    const ALL: [Self; 6] = [Self::Idle, Self::Request, Self::Ready, Self::Left, Self::Ended, Self::Refused];
}

/// The word that a client and its server agree on: state (4 bits), attempt (28 bits), process id (32 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientWord(pub(crate) u64);

impl ClientWord {
    /// The state. `None`: no client of this protocol wrote the word.
    pub(crate) fn state(self) -> Option<ClientState> {
        ClientState::ALL.get((self.0 & 0xf) as usize).copied()
    }

    pub(crate) fn pid(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The number of requests so far, modulo 2^28.
    #[cfg(not(any(loom, miri)))]
    pub(crate) fn attempt(self) -> u32 {
        (self.0 as u32) >> 4
    }

    /// The same attempt in another state.
    pub(crate) fn in_state(self, state: ClientState) -> Self {
        ClientWord(self.0 & !0xf | state as u64)
    }

    /// The request of the next attempt, made by process `pid`.
    pub(crate) fn next_request(self, pid: u32) -> Self {
        let attempt = ((self.0 >> 4) + 1) & 0x0fff_ffff;
        ClientWord(ClientState::Request as u64 | attempt << 4 | u64::from(pid) << 32)
    }

    /// Whether a client may put its request here.
    pub(crate) fn is_free(self) -> bool {
        matches!(self.state(), Some(ClientState::Idle | ClientState::Left | ClientState::Refused))
    }
}

/// What the section of a channel says of its client.
pub(crate) fn client_word(view: &SharedView) -> ClientWord {
    ClientWord(view.control().client_state.load(Ordering::Acquire))
}

impl Channel {
    pub(crate) fn client_word(&self) -> ClientWord {
        client_word(&self.view)
    }

    fn exchange(&self, from: ClientWord, to: ClientWord) -> bool {
        let word = &self.view.control().client_state;
        self.certainly_created_here()
            && word.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Exchanges this exact word for the same attempt in another state. Fails in a fork.
    fn change_state(&self, word: ClientWord, state: ClientState) -> bool {
        self.exchange(word, word.in_state(state))
    }
}

// --------------------------------------------------------------------------------------------------- the server

/// Proof that no half of a session uses the rings of a channel: accepting a request resets them.
pub(crate) struct ExclusiveRings(());

impl ExclusiveRings {
    /// The rings of a channel that has had no session.
    pub(super) fn unused() -> Self {
        ExclusiveRings(())
    }

    /// The rings of the last session, if nothing of this process holds it any more. Gives it back otherwise. `Session` is
    /// what all halves of a session hold.
    pub(super) fn after<Session>(last: Arc<Session>) -> std::result::Result<Self, Arc<Session>> {
        Arc::try_unwrap(last).map(|session| {
            drop(session);
            ExclusiveRings(())
        })
    }
}

/// The server accepts a request: resets the rings, and says so to the client. Returns the session's word; `None`: the
/// client withdrew meanwhile, and nothing has happened except that a generation was used up.
pub(super) fn accept(
    channel: &Channel, rings: ExclusiveRings, request: ClientWord, generation: u32,
) -> Option<ClientWord> {
    let ExclusiveRings(()) = rings;
    let control = channel.view.control();
    for direction in [Direction::ServerToClient, Direction::ClientToServer] {
        // SAFETY: the ring is dropped at once. It has neither producer nor consumer on this side, by `rings`; the client of
        // the session before has let go of the section.
        unsafe { channel.view.ring(direction) }.reset(generation);
    }
    if channel.view.is_multi() {
        channel.view.slot().store(0, Ordering::Relaxed);
    }
    let standing_bits = if channel.signals_every_message() { ALWAYS_DATA } else { 0 };
    WakeWord::reset(&control.server_wake, generation, standing_bits);
    WakeWord::reset(&control.client_wake, generation, 0);
    control.generation.store(generation, Ordering::Release);
    fail_point!("accept.reset");
    if !channel.change_state(request, ClientState::Ready) {
        return None;
    }
    fail_point!("accept.ready");
    channel.signal(Events::acknowledge);
    fail_point!("accept.answered");
    channel.signal_native_waiters();
    Some(request.in_state(ClientState::Ready))
}

/// The server refuses a request.
pub(super) fn refuse(channel: &Channel, request: ClientWord) {
    channel.change_state(request, ClientState::Refused);
    channel.signal(Events::acknowledge);
}

/// The server clears the word of a client that has died, or what no client of this protocol wrote.
pub(super) fn clear(channel: &Channel, word: ClientWord) {
    channel.change_state(word, ClientState::Idle);
}

/// Whether the client of a session has not let go of the section, as far as the word says.
pub(super) fn is_held(channel: &Channel, ready: ClientWord) -> bool {
    let word = channel.client_word();
    word == ready || word == ready.in_state(ClientState::Ended)
}

/// The server ends a session.
pub(crate) fn end(channel: &Channel, ready: ClientWord) {
    channel.change_state(ready, ClientState::Ended);
    channel.wake_peer();
}

// --------------------------------------------------------------------------------------------------- the client

/// The client leaves: its last access to the section.
pub(crate) fn leave(channel: &Channel, ready: ClientWord) {
    fail_point!("leave.begun");
    if channel.change_state(ready, ClientState::Left)
        || channel.exchange(ready.in_state(ClientState::Ended), ready.in_state(ClientState::Left))
    {
        fail_point!("leave.left");
        channel.wake_peer();
    }
}

/// How a request ended, if not with an error.
pub(crate) enum Requested<Session> {
    Accepted(Session),
    /// The server left or died, or offers another channel by now. The client looks the name up again.
    ServerGone,
    /// Another client has the channel, and keeps it. The server offers the next channel under the name.
    Taken,
}

/// What a client makes a session of, which it [leaves](leave) at the end.
pub(crate) struct Accepted {
    /// The session's word.
    pub(crate) ready: ClientWord,
    pub(crate) generation: u32,
}

/// A client's attempt to get a session on a channel, step by step. Nothing here waits: the caller waits for the
/// [`wait_set`](Self::wait_set), and then calls [`step`](Self::step) again. Dropped, it withdraws the request, or, if the server
/// has accepted it meanwhile, leaves.
pub(crate) struct Request {
    channel: Arc<Channel>,
    own_pid: u32,
    deadline: Deadline,
    /// The request that stands in the section, if the word was free.
    standing: Option<StandingRequest>,
    /// Whether a step has found no answer.
    has_waited: bool,
    pause: Pause,
    /// How long to wait until the next step at most.
    bound: Duration,
}

impl Request {
    /// The caller has found the server alive.
    pub(crate) fn new(channel: Arc<Channel>, own_pid: u32, deadline: Deadline) -> Self {
        let (pause, bound) = (Pause::new(), Pause::SHORTEST);
        Request { channel, own_pid, deadline, standing: None, has_waited: false, pause, bound }
    }

    /// Does what can be done without waiting. `None`: the request has no answer yet.
    ///
    /// # Errors
    /// [`ShmError::Timeout`], [`ShmError::AlreadyConnected`]: the deadline has passed. [`ShmError::Refused`].
    pub(crate) fn step(&mut self, peer: &Peer) -> Result<Option<Requested<Accepted>>> {
        if self.standing.is_none() {
            if self.has_waited && peer.has_ended() {
                return Ok(Some(Requested::ServerGone));
            }
            let ended = self.put()?;
            if ended.is_some() || self.standing.is_none() {
                self.has_waited = true;
                return Ok(ended);
            }
            self.has_waited = false;
        }
        let answer = self.answer()?;
        if answer.is_none() && std::mem::replace(&mut self.has_waited, true) && peer.has_ended() {
            return Ok(Some(Requested::ServerGone));
        }
        Ok(answer)
    }

    /// Puts the request into the section, if the word is free, and signals it.
    fn put(&mut self) -> Result<Option<Requested<Accepted>>> {
        let channel = &self.channel;
        let is_for_one_client = channel.view.is_multi() || channel.view.turn().load(Ordering::Relaxed) != 0;
        if channel.view.control().server_state.load(Ordering::Acquire) != SERVER_UP {
            return Ok(Some(Requested::ServerGone));
        }
        let word = channel.client_word();
        if word.is_free() {
            let request = word.next_request(self.own_pid);
            fail_point!("connect.before_request");
            if channel.exchange(word, request) {
                self.standing =
                    Some(StandingRequest { channel: channel.clone(), word: request, is_answered: false });
                fail_point!("connect.request");
                channel.signal(Events::request);
                fail_point!("connect.requested");
                return Ok(None);
            }
            // Another client was faster.
        }
        let word = channel.client_word();
        if is_for_one_client && !word.is_free() && word.state() != Some(ClientState::Request) {
            return Ok(Some(Requested::Taken));
        }
        if !word.is_free() {
            // The client whose request this is may have died before it could signal, and what looks like a session may be
            // garbage: then the server does not know yet that it has something to clear. A signal too many changes nothing.
            channel.signal(Events::request);
        }
        if self.deadline.has_passed() {
            // The server has not answered another client either.
            let has_no_answer = word.state() == Some(ClientState::Request);
            return Err(if has_no_answer { ShmError::Timeout } else { ShmError::AlreadyConnected });
        }
        self.bound = self.pause.next(self.deadline);
        Ok(None)
    }

    /// Looks for the answer to the request that stands in the section.
    fn answer(&mut self) -> Result<Option<Requested<Accepted>>> {
        let channel = &self.channel;
        let Some(standing) = self.standing.as_ref().map(|request| request.word) else { return Ok(None) };
        let ready = standing.in_state(ClientState::Ready);
        let gone = channel.view.control().server_state.load(Ordering::Acquire) != SERVER_UP;
        // Either the exchange withdraws the request, or the server has answered it.
        if (gone || self.deadline.has_passed()) && channel.change_state(standing, ClientState::Idle) {
            return if gone { Ok(Some(Requested::ServerGone)) } else { Err(ShmError::Timeout) };
        }
        let word = channel.client_word();
        // Or accepted and ended since: what was sent meanwhile is there to be received.
        if word == ready || word == standing.in_state(ClientState::Ended) {
            fail_point!("connect.accepted");
            // Written before the word became ready, which was acquired.
            let generation = channel.view.control().generation.load(Ordering::Relaxed);
            // From here on leaving is the session's business.
            self.forget();
            return Ok(Some(Requested::Accepted(Accepted { ready, generation })));
        }
        if word == standing.in_state(ClientState::Idle) {
            // The server found no such process, for example since it is in another namespace; or a client overwrote the word.
            self.forget();
            return Ok(Some(Requested::ServerGone));
        }
        if word != standing {
            let reason = "the server refused this process, which it probably cannot watch".to_owned();
            let error = ShmError::Refused { reason };
            channel.tuning.report(&ChannelEvent::Refused(error.clone()));
            return Err(error);
        }
        // A safety net where there is an event: a client that the server refused just now may still wait for the same signal,
        // and take it.
        self.bound = if channel.events.is_none() { Pause::SHORTEST } else { Pause::LONGEST };
        Ok(None)
    }

    /// Neither withdraws the request nor leaves.
    fn forget(&mut self) {
        if let Some(mut request) = self.standing.take() {
            request.is_answered = true;
        }
    }

    /// What to wait for until the next step.
    pub(crate) fn wait_set<'a>(&'a self, peer: &'a Peer) -> WaitSet<'a> {
        let mut set = WaitSet::new();
        if let (Some(_), Some(events)) = (&self.standing, &self.channel.events) {
            set.event(events.acknowledge());
        }
        set.peer(peer, self.channel.tuning.check_interval);
        set.at_most(Some(self.bound));
        set
    }

    /// Takes the signals of events that an event loop has waited for. They would end each of its waits at once.
    pub(crate) fn take_signals(&self) {
        if let (Some(_), Some(events)) = (&self.standing, &self.channel.events) {
            events.acknowledge().reset();
        }
    }
}

/// A request that stands in the section. Dropped, it is withdrawn, or, if the server accepted it meanwhile, the client
/// leaves.
struct StandingRequest {
    channel: Arc<Channel>,
    word: ClientWord,
    /// The word is another side's or the session's.
    is_answered: bool,
}

impl Drop for StandingRequest {
    fn drop(&mut self) {
        let ready = self.word.in_state(ClientState::Ready);
        if !self.is_answered
            && !self.channel.change_state(self.word, ClientState::Idle)
            && self.channel.change_state(ready, ClientState::Left)
        {
            self.channel.wake_peer();
        }
    }
}

/// How long to wait between two looks: 1 ms at first, doubling up to 50 ms.
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
    pub(crate) const LONGEST: Duration = Duration::from_millis(50);

    pub(crate) fn new() -> Self {
        Pause(Self::SHORTEST)
    }

    pub(crate) fn next(&mut self, deadline: Deadline) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(Self::LONGEST);
        deadline.remaining(Some(now)).unwrap_or(now)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_what_is_put_into_it() {
        let last = ClientWord(0xffff_fff0 | ClientState::Left as u64);
        let next = last.next_request(0xdead_beef);
        assert_eq!(
            (next.state(), next.0 >> 4 & 0x0fff_ffff, next.pid()),
            (Some(ClientState::Request), 0, 0xdead_beef)
        );
        assert_eq!(next.in_state(ClientState::Ready).state(), Some(ClientState::Ready));
        assert_eq!(next.in_state(ClientState::Ready).in_state(ClientState::Request), next);
        for state in ClientState::ALL {
            assert_eq!(ClientWord(state as u64).state(), Some(state));
        }
        assert_eq!(ClientWord(6).state(), None);
    }
}
