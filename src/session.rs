//! One connection over a channel.

mod awake;
mod slot;
mod spin;
mod wait;

pub(crate) use awake::UntilPromise;
pub(crate) use slot::SlotWait;
pub(crate) use spin::{SpinHistory, LOOKS};
pub(crate) use wait::{Interest, WaitCondition};

use crate::channel::handshake::{self, ClientWord};
use crate::channel::{Channel, Peer, Side};
use crate::error::{Result, ShmError};
use crate::layout::SERVER_UP;
use crate::options::ChannelEvent;
use crate::ring::Corrupted;
#[cfg(all(feature = "c-api", not(loom)))]
use crate::sync::AtomicBool;
use crate::sync::{Arc, AtomicU32, AtomicU64, Ordering};
use crate::sys::Event;
use crate::waiting::Deadline;
use crate::wake::{WakeWord, ALWAYS_DATA, FOR_DATA, FOR_SPACE};
use awake::Promise;
use std::sync::{Mutex, PoisonError};

/// How a session ended.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum End {
    /// The peer left, or ended it.
    PeerLeft = 1,
    PeerDied = 2,
    /// The peer broke the protocol.
    Corrupted = 3,
    /// This side ended it.
    Here = 4,
}

/// How a session ended, if it has.
struct Ended(AtomicU32);

impl Ended {
    const ALL: [End; 4] = [End::PeerLeft, End::PeerDied, End::Corrupted, End::Here];

    fn not_yet() -> Self {
        Ended(AtomicU32::new(0))
    }

    #[inline]
    fn is_live(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    #[inline]
    fn is(&self, end: End) -> bool {
        self.0.load(Ordering::Acquire) == end as u32
    }

    /// Records how it ended, unless it had. Returns how it ended before.
    fn record(&self, end: End) -> Option<End> {
        let before = self.0.compare_exchange(0, end as u32, Ordering::AcqRel, Ordering::Acquire).err()?;
        Self::ALL.into_iter().find(|end| *end as u32 == before)
    }

    /// Records that the peer broke the protocol, however the session ended before. Returns whether that is new.
    fn record_corruption(&self) -> bool {
        let corrupted = End::Corrupted as u32;
        self.0.swap(corrupted, Ordering::AcqRel) != corrupted
    }
}

/// Whether spinning has paid lately, for waits for a message, and for room.
#[derive(Default)]
struct Spins {
    data: SpinHistory,
    space: SpinHistory,
}

/// Whether this side promises not to sleep, until a message comes, and until there is room.
#[derive(Default)]
struct Promises {
    data: Promise,
    space: Promise,
}

/// One connection. Dropping a client's is leaving.
pub(crate) struct Session {
    pub(crate) channel: Arc<Channel>,
    /// The session lives as long as this exact word stands in the section.
    pub(crate) word: ClientWord,
    pub(crate) generation: u32,
    pub(crate) peer: Peer,
    ended: Ended,
    /// Wakes the other half of this endpoint when one half has found the session over.
    over: Event,
    /// When to look whether a peer that can't be watched still runs.
    next_look: Mutex<Deadline>,
    /// Whether the waits of this side's calls should spin.
    spins: Spins,
    promises: Promises,
    signals: AtomicU64,
    sleeps: AtomicU64,
    /// Whether a call reports the session's end to C, or has done so.
    #[cfg(all(feature = "c-api", not(loom)))]
    reported: AtomicBool,
}

impl Session {
    /// `over` is an event of this process. The caller makes it before the peer hears of the session, since that can fail.
    pub(crate) fn new(
        channel: Arc<Channel>, word: ClientWord, generation: u32, peer: Peer, over: Event,
    ) -> Self {
        let session = Session {
            next_look: Mutex::new(Deadline::after(channel.tuning.check_interval)),
            channel,
            word,
            generation,
            peer,
            ended: Ended::not_yet(),
            over,
            spins: Spins::default(),
            promises: Promises::default(),
            signals: AtomicU64::new(0),
            sleeps: AtomicU64::new(0),
            #[cfg(all(feature = "c-api", not(loom)))]
            reported: AtomicBool::new(false),
        };
        let process_id = session.peer.pid();
        session.channel.tuning.report(&ChannelEvent::Connected { process_id, generation });
        session
    }

    pub(crate) fn own_wake(&self) -> WakeWord<'_> {
        let control = self.channel.view.control();
        let word = match self.channel.side {
            Side::Server => &control.server_wake,
            Side::Client => &control.client_wake,
        };
        WakeWord::new(word, self.generation)
    }

    /// Has the peer signal every message, since a program waits for them natively.
    pub(crate) fn have_every_message_signalled(&self) {
        // It fails if the peer keeps changing the word, which ends the session.
        let _ = self.own_wake().set(ALWAYS_DATA).map_err(|what| self.corrupted(what));
        let _ = self.end_promise(Interest::Data);
    }

    pub(crate) fn peer_wake(&self) -> WakeWord<'_> {
        let control = self.channel.view.control();
        let word = match self.channel.side {
            Side::Server => &control.client_wake,
            Side::Client => &control.server_wake,
        };
        WakeWord::new(word, self.generation)
    }

    /// Signals the peer, having sent, if it sleeps until there is data, or if a thread waits natively. Calls `signalled`
    /// if it did.
    #[inline(always)]
    pub(crate) fn announce_data(&self, signalled: impl FnOnce()) -> Result<()> {
        if self.peer_wake().asks_after_store(FOR_DATA) || self.channel.signals_every_message() {
            return self.signal(Interest::Data, signalled);
        }
        Ok(())
    }

    /// Signals the peer, having taken a message, if it sleeps until there is room.
    #[inline(always)]
    pub(crate) fn announce_space(&self) -> Result<()> {
        let word = self.peer_wake();
        // A message is taken by a store if the channel rejects, and by compare-exchange otherwise.
        let asks =
            if self.channel.view.rejects() { word.asks_after_store(FOR_SPACE) } else { word.asks(FOR_SPACE) };
        if asks {
            return self.signal(Interest::Space, || {});
        }
        Ok(())
    }

    /// Signals the peer, if it still wants that: for what the peer waits for, which this side has sent or made room for.
    #[cold]
    fn signal(&self, interest: Interest, signalled: impl FnOnce()) -> Result<()> {
        let (bits, channel) = (interest.bits(), &self.channel);
        let asked = self.peer_wake().take(bits.asleep, bits.always).map_err(|what| self.corrupted(what))?;
        let Some(events) = &channel.events else { return Ok(()) };
        let (event, every) = match interest {
            Interest::Data => (events.data(channel.side.sends()), channel.signals_every_message()),
            Interest::Space => (events.space(channel.side.receives()), false),
        };
        if asked || every {
            event.set();
            self.signals.fetch_add(1, Ordering::Relaxed);
            signalled();
        }
        Ok(())
    }

    /// Signals that this side has sent in this session.
    #[inline]
    pub(crate) fn signals(&self) -> u64 {
        self.signals.load(Ordering::Relaxed)
    }

    /// Signals that this side has sent, and sleeps that it has announced, in this session.
    pub(crate) fn signals_and_sleeps(&self) -> (u64, u64) {
        (self.signals(), self.sleeps.load(Ordering::Relaxed))
    }

    /// Whether the session lives, as far as the section shows: one read of a quiet line.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        self.channel.check_not_forked()?;
        let control = self.channel.view.control();
        if self.ended.is_live()
            // Acquired, so that a side that sees the peer gone also sees what it published before.
            && control.client_state.load(Ordering::Acquire) == self.word.0
            && (self.channel.side == Side::Server || control.server_state.load(Ordering::Acquire) == SERVER_UP)
        {
            return Ok(());
        }
        Err(self.end(End::PeerLeft))
    }

    /// As [`check`](Self::check), and asks the kernel whether the peer still runs.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.check()?;
        if self.peer.has_ended() {
            return Err(self.died());
        }
        Ok(())
    }

    /// As [`check_process`](Self::check_process); a peer that can't be watched is asked for as often as the options say.
    pub(crate) fn check_process_when_due(&self) -> Result<()> {
        if self.peer.process().is_none() && !self.is_due() {
            return self.check();
        }
        self.check_process()
    }

    /// Asks the kernel whether the peer still runs, and records its death: the next check finds the session over.
    pub(crate) fn record_peer_death(&self) {
        drop(self.check_process());
    }

    /// Whether messages in the queue may still be taken. They may if the peer is gone, but not if it broke the protocol.
    #[inline]
    pub(crate) fn check_queue(&self) -> Result<()> {
        self.channel.check_not_forked()?;
        if self.ended.is(End::Corrupted) {
            return Err(ShmError::Corrupted);
        }
        Ok(())
    }

    fn died(&self) -> ShmError {
        // It may have left properly before its end.
        match self.check() {
            Ok(()) => self.end(End::PeerDied),
            Err(over) => over,
        }
    }

    /// Ends the session because the peer broke the protocol.
    #[cold]
    pub(crate) fn corrupted(&self, Corrupted(what): Corrupted) -> ShmError {
        if self.ended.record_corruption() {
            self.channel.tuning.report(&ChannelEvent::Corrupted(what));
            self.over.set();
            if self.channel.side == Side::Server {
                handshake::end(&self.channel, self.word);
            }
        }
        ShmError::Corrupted
    }

    /// The server ends the session.
    pub(crate) fn disconnect(&self) {
        debug_assert_eq!(self.channel.side, Side::Server);
        if !self.channel.created_in_this_process() {
            return;
        }
        self.end(End::Here);
        handshake::end(&self.channel, self.word);
    }

    /// Whether this side ended the session.
    #[cfg(all(feature = "c-api", not(loom)))]
    pub(crate) fn was_ended_here(&self) -> bool {
        self.ended.is(End::Here)
    }

    /// Whether the caller is the one to report the session's end.
    #[cfg(all(feature = "c-api", not(loom)))]
    pub(crate) fn claim_report(&self) -> bool {
        !self.reported.swap(true, Ordering::AcqRel)
    }

    /// Records how the session ended, unless it had, and returns how it did.
    #[cold]
    fn end(&self, how: End) -> ShmError {
        let before = self.ended.record(how);
        let error = match before.unwrap_or(how) {
            End::Corrupted => ShmError::Corrupted,
            End::PeerDied => ShmError::PeerDied { pid: self.peer.pid() },
            End::PeerLeft | End::Here => ShmError::NotConnected,
        };
        if before.is_none() {
            // The other half may sleep, and nothing else would wake it.
            self.over.set();
            self.channel.tuning.report(&ChannelEvent::Lost(error.clone()));
        }
        error
    }

    /// What a task waits for that has announced its sleep.
    #[cfg(all(feature = "async", not(any(loom, miri))))]
    pub(crate) fn wake_ups(&self, interest: Interest) -> crate::channel::wait_set::WaitSet<'_> {
        let mut set = crate::channel::wait_set::WaitSet::new();
        set.peer(&self.peer, self.channel.tuning.check_interval);
        match self.event(interest) {
            Some(event) => drop(set.event(event)),
            None => set.at_most(Some(wait::LOOK_INTERVAL)),
        }
        set.event(&self.over);
        set
    }

    /// Whether it is time to look whether a peer that can't be watched still runs.
    fn is_due(&self) -> bool {
        let Some(interval) = self.channel.tuning.check_interval else { return true };
        let mut next = self.next_look.lock().unwrap_or_else(PoisonError::into_inner);
        let due = next.has_passed();
        if due {
            *next = Deadline::after(Some(interval));
        }
        due
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.channel.side == Side::Client {
            handshake::leave(&self.channel, self.word);
        }
    }
}
