//! One connection over a channel, and how to wait for the other side.

use crate::channel::handshake::{self, ClientWord};
use crate::channel::wait_set::WaitSet;
use crate::channel::{Channel, Peer, Side};
use crate::error::{Result, ShmError};
use crate::events::Events;
use crate::layout::SERVER_UP;
use crate::options::ChannelEvent;
use crate::ring::Corrupted;
#[cfg(all(feature = "c-api", not(loom)))]
use crate::sync::AtomicBool;
use crate::sync::{spin_loop, Arc, AtomicU32, AtomicU64, Ordering};
use crate::sys::Event;
use crate::waiting::Deadline;
use crate::wake::{WakeWord, ALWAYS_DATA, ALWAYS_SPACE, DATA, SPACE};
use std::sync::{Mutex, PoisonError};
use std::thread::yield_now;
use std::time::Duration;

/// Without events, how often a waiting side looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Looks before the first one at the clock.
const FIRST_SPINS: u32 = 256;

/// Looks between two at the clock.
const SPINS: u32 = 64;

/// A side that has spun this long without success lets others run in between: the peer may wait for this very processor.
const SPIN_YIELD_AFTER: Duration = Duration::from_micros(20);

/// A side that spins for long looks this often whether the peer still runs.
const SPIN_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// How a session ended.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum End {
    /// The peer left, or ended it.
    PeerLeft = 1,
    PeerDied = 2,
    /// The peer broke the rules.
    Corrupted = 3,
    /// This side ended it, of its own accord.
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

    /// Records that the peer broke the rules, whatever was before. Returns whether that is new.
    fn record_corruption(&self) -> bool {
        let corrupted = End::Corrupted as u32;
        self.0.swap(corrupted, Ordering::AcqRel) != corrupted
    }
}

/// One connection. Dropping a client's is leaving.
pub(crate) struct Session {
    pub(crate) channel: Arc<Channel>,
    /// The session lives as long as this exact word stands in the section.
    pub(crate) word: ClientWord,
    pub(crate) generation: u32,
    pub(crate) peer: Peer,
    ended: Ended,
    /// Set when one half of this endpoint has found the session over, and the other may sleep.
    over: Event,
    /// When to look whether a peer that can't be watched still runs.
    next_look: Mutex<Deadline>,
    signals: AtomicU64,
    sleeps: AtomicU64,
    /// Whether a call has taken it upon itself to report the session's end to C.
    #[cfg(all(feature = "c-api", not(loom)))]
    reported: AtomicBool,
}

/// What is waited for.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    Data,
    Space,
    /// One thread that receives, and looks after the sending of others.
    Either,
}

impl Session {
    /// `over` is an event of this process's own, made before the other side can learn of the session: there may be none left.
    pub(crate) fn new(
        channel: Arc<Channel>, word: ClientWord, generation: u32, peer: Peer, over: Event,
    ) -> Self {
        let (ended, signals, sleeps) = (Ended::not_yet(), AtomicU64::new(0), AtomicU64::new(0));
        let next_look = Mutex::new(Deadline::after(channel.tuning.check_interval));
        let session = Session {
            channel,
            word,
            generation,
            peer,
            ended,
            over,
            next_look,
            signals,
            sleeps,
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

    /// A program waits natively for this side's messages.
    pub(crate) fn have_every_message_signalled(&self) {
        // A peer that fights over the word has ended its session by that; there is nothing more to announce.
        let _ = self.own_wake().set(ALWAYS_DATA);
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
    #[inline]
    pub(crate) fn announce_data(&self, signalled: impl FnOnce()) -> Result<()> {
        self.signal(DATA, ALWAYS_DATA, self.channel.is_exported(), signalled, |events| {
            events.data(self.channel.side.sends())
        })
    }

    /// Signals the peer, having taken a message, if it sleeps until there is room.
    #[inline]
    pub(crate) fn announce_space(&self) -> Result<()> {
        self.signal(SPACE, ALWAYS_SPACE, false, || {}, |events| events.space(self.channel.side.receives()))
    }

    #[inline(always)]
    fn signal(
        &self, bit: u32, always: u32, exported: bool, signalled: impl FnOnce(),
        event: impl FnOnce(&Events) -> &Event,
    ) -> Result<()> {
        let asked = self.peer_wake().take(bit, always).map_err(|what| self.corrupted(what))?;
        if let (true, Some(events)) = (asked || exported, &self.channel.events) {
            event(events).set();
            self.signals.fetch_add(1, Ordering::Relaxed);
            signalled();
        }
        Ok(())
    }

    /// Signals that this side has sent, and sleeps that it has announced, in this session.
    pub(crate) fn signals_and_sleeps(&self) -> (u64, u64) {
        (self.signals.load(Ordering::Relaxed), self.sleeps.load(Ordering::Relaxed))
    }

    /// Whether the session lives, as far as the section shows: one read of a quiet line.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        self.channel.check_home()?;
        let control = self.channel.view.control();
        if self.ended.is_live()
            // Acquired, so that who sees the peer gone also sees what it published before.
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

    /// Whether what is left in the queue may still be taken: it may when the peer has gone.
    #[inline]
    pub(crate) fn check_queue(&self) -> Result<()> {
        self.channel.check_home()?;
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

    /// Ends the session because the peer broke the rules.
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

    /// The server ends the session by itself.
    pub(crate) fn disconnect(&self) {
        debug_assert_eq!(self.channel.side, Side::Server);
        self.end(End::Here);
        handshake::end(&self.channel, self.word);
    }

    /// Whether this side ended the session, of its own accord.
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
            // The other half may sleep, and no one else would wake it.
            self.over.set();
            self.channel.tuning.report(&ChannelEvent::Lost(error.clone()));
        }
        error
    }

    /// Tries until an attempt yields something: at once, then spinning, then asleep. Ends with the session (after one
    /// more attempt, for what the peer did last), with the time, or by an interrupter.
    #[inline]
    pub(crate) fn wait_for<C: WaitCondition>(
        &self, interest: Interest, timeout: Option<Duration>, mut condition: C,
    ) -> Result<C::Found> {
        let spins = !self.channel.tuning.spin.is_zero() && timeout != Some(Duration::ZERO);
        // An answer that is on its way comes within these looks: no clock is read for it, since that takes as long as a
        // message does.
        let mut looks = if spins { FIRST_SPINS } else { 0 };
        loop {
            if let Polled::Found(found) = attempt(&mut condition)? {
                return Ok(found);
            }
            loop {
                if looks == 0 {
                    return self.wait_longer(interest, timeout, condition);
                }
                looks -= 1;
                spin_loop();
                if condition.ready() {
                    break;
                }
            }
        }
    }

    /// The rest of [`wait_for`](Self::wait_for), kept out of the way of what comes at once.
    #[cold]
    #[inline(never)]
    fn wait_longer<C: WaitCondition>(
        &self, interest: Interest, timeout: Option<Duration>, mut condition: C,
    ) -> Result<C::Found> {
        let deadline = Deadline::after(timeout);
        let mut next_check = Deadline::after(Some(SPIN_CHECK_INTERVAL));
        let mut spun = false;
        loop {
            let now = attempt_again(&mut condition)?;
            if let Polled::Found(found) = now {
                return Ok(found);
            }
            if let Err(over) = self.check() {
                return match attempt_again(&mut condition)? {
                    Polled::Found(found) => Ok(found),
                    _ => Err(over),
                };
            }
            if deadline.has_passed() {
                let busy = matches!(now, Polled::Busy);
                return Err(if busy { ShmError::NotReady } else { ShmError::Timeout });
            }
            if self.channel.interrupt.is_set() {
                return Err(ShmError::Interrupted);
            }
            let found = match now {
                Polled::Busy => {
                    spun = false;
                    if next_check.has_passed() {
                        next_check = Deadline::after(Some(SPIN_CHECK_INTERVAL));
                        self.record_peer_death();
                    }
                    Polled::Busy
                }
                _ if !spun => {
                    spun = true;
                    self.spin(deadline, &mut condition)?
                }
                _ => self.sleep(interest, deadline, &mut condition)?,
            };
            if let Polled::Found(found) = found {
                return Ok(found);
            }
        }
    }

    fn spin<C: WaitCondition>(&self, deadline: Deadline, condition: &mut C) -> Result<Polled<C::Found>> {
        let budget = self.channel.tuning.spin;
        if budget.is_zero() {
            return Ok(Polled::Nothing);
        }
        let end = Deadline::after(deadline.remaining(Some(budget)));
        let polite = Deadline::after(Some(SPIN_YIELD_AFTER));
        let mut next_check = Deadline::after(Some(SPIN_CHECK_INTERVAL));
        while !end.has_passed() {
            if polite.has_passed() {
                yield_now();
            }
            for _ in 0..SPINS {
                spin_loop();
                if condition.ready() {
                    let found = attempt_again(condition)?;
                    if !matches!(found, Polled::Nothing) {
                        return Ok(found);
                    }
                }
            }
            // What is ready may also be that the peer moved on, which only an attempt sees.
            let found = attempt_again(condition)?;
            if !matches!(found, Polled::Nothing) {
                return Ok(found);
            }
            if next_check.has_passed() {
                next_check = Deadline::after(Some(SPIN_CHECK_INTERVAL));
                self.record_peer_death();
            }
            if self.check().is_err() || self.channel.interrupt.is_set() {
                break;
            }
        }
        Ok(Polled::Nothing)
    }

    /// Asks the peer to signal these events from now on. The last look comes after it.
    pub(crate) fn announce_sleep(&self, bit: u32, events: &[&Event]) -> Result<()> {
        // What woke us last. After the last look, it could be the signal of a message that no look has found yet.
        events.iter().for_each(|event| event.take_left());
        self.sleeps.fetch_add(1, Ordering::Relaxed);
        self.own_wake().set(bit).map_err(|what| self.corrupted(what))
    }

    /// Sleeps once, unless a last look finds something.
    fn sleep<C: WaitCondition>(
        &self, interest: Interest, deadline: Deadline, condition: &mut C,
    ) -> Result<Polled<C::Found>> {
        let Some(events) = &self.channel.events else {
            self.sleeps.fetch_add(1, Ordering::Relaxed);
            self.wait_in_kernel(&[], deadline, Some(LOOK_INTERVAL))?;
            return Ok(Polled::Nothing);
        };
        let side = self.channel.side;
        let both = [events.data(side.receives()), events.space(side.sends())];
        let (bit, events) = match interest {
            Interest::Data => (DATA, &both[..1]),
            Interest::Space => (SPACE, &both[1..]),
            Interest::Either => (DATA | SPACE, &both[..]),
        };
        self.announce_sleep(bit, events)?;
        fail_point!("sleep.announced");
        let found = attempt_again(condition);
        if matches!(found, Ok(Polled::Nothing)) && self.check().is_ok() && !self.channel.interrupt.is_set() {
            self.wait_in_kernel(events, deadline, None)?;
        }
        self.own_wake().clear(bit).map_err(|what| self.corrupted(what))?;
        found
    }

    /// Whether it's time to look whether a peer that can't be watched still runs, however often we are woken in between.
    fn is_due(&self) -> bool {
        let Some(interval) = self.channel.tuning.check_interval else { return true };
        let mut next = self.next_look.lock().unwrap_or_else(PoisonError::into_inner);
        let due = next.has_passed();
        if due {
            *next = Deadline::after(Some(interval));
        }
        due
    }

    /// Waits for one of the events (at most two), an interrupt, the peer's end or the time, and notes the peer's end.
    fn wait_in_kernel(&self, events: &[&Event], deadline: Deadline, bound: Option<Duration>) -> Result<()> {
        let mut set = WaitSet::new();
        // The process comes first, since no peer can pretend its end, while a peer may have its events signalled for good.
        let end = set.peer(&self.peer, self.channel.tuning.check_interval);
        for event in events {
            set.wake(event);
        }
        set.event(self.channel.interrupt.event());
        set.event(&self.over);
        set.at_most(bound);
        let ended = match set.wait(deadline)? {
            woken_by @ Some(_) if woken_by == end => true,
            _ => end.is_none() && self.is_due() && self.peer.has_ended(),
        };
        if ended {
            // Called for its side effect: it records the death, which the caller's loop finds and reports.
            let _ = self.died();
        }
        Ok(())
    }
}

/// What a call waits for.
pub(crate) trait WaitCondition {
    type Found;

    /// Whether an attempt is worth it: asked all the time while spinning.
    fn ready(&self) -> bool;

    /// Does it, if it can be done now.
    fn attempt(&mut self) -> Result<Option<Self::Found>>;
}

#[inline(always)]
fn attempt<C: WaitCondition>(condition: &mut C) -> Result<Polled<C::Found>> {
    match condition.attempt() {
        Ok(Some(found)) => Ok(Polled::Found(found)),
        Ok(None) => Ok(Polled::Nothing),
        // An overwriting sender was faster, each time: there's something, so this thread does not go to sleep over it.
        Err(ShmError::NotReady) => Ok(Polled::Busy),
        Err(error) => Err(error),
    }
}

/// The same where it is waited anyway: one copy of the code will do.
#[inline(never)]
fn attempt_again<C: WaitCondition>(condition: &mut C) -> Result<Polled<C::Found>> {
    attempt(condition)
}

/// What an attempt to do without waiting came to.
enum Polled<T> {
    Found(T),
    Nothing,
    /// Not now, but there's no need to wait for the peer.
    Busy,
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.channel.side == Side::Client {
            handshake::leave(&self.channel, self.word);
        }
    }
}
