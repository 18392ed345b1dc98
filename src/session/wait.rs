//! Waiting for the other side: a call looks at once, then spins, then sleeps.

use super::awake::{Promise, LOOKS_AFTER_PROMISE};
use super::spin::{Spin, SpinHistory, LOOKS};
use super::Session;
use crate::channel::wait_set::WaitSet;
use crate::error::{Result, ShmError};
use crate::options::SpinBudget;
use crate::sync::{sleep, spin_loop, Instant, Ordering};
use crate::sys::Event;
use crate::waiting::Deadline;
use crate::wake::{Bits, FOR_DATA, FOR_SPACE};
use std::time::Duration;

/// On a channel without events, a waiting side sleeps for this time between two looks.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// A side that spins for long checks at this interval whether the peer still runs.
const SPIN_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// What a call waits for: a message, or room for one.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    Data,
    Space,
}

impl Interest {
    /// The bits of the wake word for it.
    pub(crate) fn bits(self) -> Bits {
        match self {
            Interest::Data => FOR_DATA,
            Interest::Space => FOR_SPACE,
        }
    }
}

impl Session {
    /// Returns the event that the peer signals. `None`: the channel has no events.
    pub(crate) fn event(&self, interest: Interest) -> Option<&Event> {
        let (side, events) = (self.channel.side, self.channel.events.as_ref()?);
        Some(match interest {
            Interest::Data => events.data(side.receives()),
            Interest::Space => events.space(side.sends()),
        })
    }

    /// Attempts until one succeeds: at once, then spinning, then with sleeps in between. Fails if the session ends
    /// (after one more attempt, which finds what the peer did last), if the time is over, or if an interrupter ends
    /// the call.
    #[inline]
    pub(crate) fn wait_for<C: WaitCondition>(
        &self, interest: Interest, timeout: Option<Duration>, mut condition: C,
    ) -> Result<C::Found> {
        if let Polled::Found(found) = attempt(&mut condition)? {
            return Ok(found);
        }
        // An answer that is already on its way arrives within these looks. They read no clock, since that takes as
        // long as a message does.
        let history = self.spin_history(interest);
        let (mut first_looks, mut has_woken_peer) = (0, false);
        if timeout != Some(Duration::ZERO) {
            has_woken_peer = history.has_woken_peer(self.signals());
            first_looks = history.first_looks(self.channel.tuning.spin, has_woken_peer);
        }
        for _ in 0..first_looks {
            spin_loop();
            if condition.ready() {
                if let Polled::Found(found) = attempt(&mut condition)? {
                    history.found_at_once(first_looks);
                    return Ok(found);
                }
            }
        }
        self.wait_longer(interest, timeout, has_woken_peer, condition)
    }

    /// The slow path of [`wait_for`](Self::wait_for). A separate function keeps the fast path small.
    #[cold]
    #[inline(never)]
    fn wait_longer<C: WaitCondition>(
        &self, interest: Interest, timeout: Option<Duration>, has_woken_peer: bool, condition: C,
    ) -> Result<C::Found> {
        let (begun, mut has_slept) = (Instant::now(), false);
        let found = self.spin_and_sleep(interest, timeout, has_woken_peer, condition, &mut has_slept);
        if has_slept {
            // Without events, a sleep lasts for the interval between two looks, however soon the peer has answered.
            let time = match self.channel.events {
                Some(_) => Instant::now().saturating_duration_since(begun),
                None => Duration::ZERO,
            };
            self.spin_history(interest).slept(time, found.is_ok());
        }
        found
    }

    fn spin_and_sleep<C: WaitCondition>(
        &self, interest: Interest, timeout: Option<Duration>, has_woken_peer: bool, mut condition: C,
        has_slept: &mut bool,
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
                    self.spin(interest, deadline, has_woken_peer, &mut condition)?
                }
                _ => {
                    *has_slept = true;
                    self.sleep(interest, deadline, &mut condition)?
                }
            };
            if let Polled::Found(found) = found {
                return Ok(found);
            }
        }
    }

    fn spin_history(&self, interest: Interest) -> &SpinHistory {
        match interest {
            Interest::Data => &self.spins.data,
            Interest::Space => &self.spins.space,
        }
    }

    fn spin<C: WaitCondition>(
        &self, interest: Interest, deadline: Deadline, has_woken_peer: bool, condition: &mut C,
    ) -> Result<Polled<C::Found>> {
        let spin = self.spin_history(interest).begin(self.channel.tuning.spin, deadline, has_woken_peer);
        let Some(spin) = spin else {
            return Ok(Polled::Nothing);
        };
        let found = self.look_while(&spin, condition);
        spin.end(matches!(found, Ok(Polled::Found(_))));
        found
    }

    /// Looks until something is found, the period of spinning ends, or the call must return.
    fn look_while<C: WaitCondition>(&self, spin: &Spin<'_>, condition: &mut C) -> Result<Polled<C::Found>> {
        let mut next_check = Deadline::after(Some(SPIN_CHECK_INTERVAL));
        while spin.goes_on() {
            for _ in 0..LOOKS {
                spin_loop();
                if condition.ready() {
                    let found = attempt_again(condition)?;
                    if !matches!(found, Polled::Nothing) {
                        return Ok(found);
                    }
                }
            }
            // For a message, `ready` reads only the word where the next header is expected. If an evicting peer moved
            // the read position, only an attempt sees that.
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

    /// Sleeps once, unless one more attempt succeeds first.
    fn sleep<C: WaitCondition>(
        &self, interest: Interest, deadline: Deadline, condition: &mut C,
    ) -> Result<Polled<C::Found>> {
        let Some(event) = self.event(interest) else {
            self.sleeps.fetch_add(1, Ordering::Relaxed);
            self.wait_in_kernel(&[], deadline, Some(LOOK_INTERVAL))?;
            return Ok(Polled::Nothing);
        };
        let bound = self.withdraw_promise(interest)?;
        self.announce(&[interest], &[event])?;
        fail_point!("sleep.announced");
        let mut found = attempt_again(condition);
        let mut looks = if bound.is_some() { LOOKS_AFTER_PROMISE } else { 0 };
        while looks > 0 && matches!(found, Ok(Polled::Nothing)) {
            looks -= 1;
            spin_loop();
            found = attempt_again(condition);
        }
        if matches!(found, Ok(Polled::Nothing)) && self.check().is_ok() && !self.channel.interrupt.is_set() {
            self.wait_in_kernel(&[event], deadline, bound)?;
        }
        self.own_wake().clear(interest.bits().asleep).map_err(|what| self.corrupted(what))?;
        found
    }

    fn promise(&self, interest: Interest) -> &Promise {
        match interest {
            Interest::Data => &self.promises.data,
            Interest::Space => &self.promises.space,
        }
    }

    /// Promises not to sleep, if that helps the peer and this side is likely to keep it. A half considers it in calls that wait,
    /// not in those that only look: a program that looks, and then waits by other means, could not bound its sleep.
    #[cold]
    pub(crate) fn consider_promise(&self, interest: Interest) {
        let helps = match interest {
            Interest::Data => true,
            // A peer that takes messages by compare-exchange needs no fence anyway.
            Interest::Space => self.channel.view.rejects(),
        };
        // The models sleep at once, so that every wait is a sleep.
        let spins = cfg!(loom) || self.channel.tuning.spin != SpinBudget::Fixed(Duration::ZERO);
        let waits = self.channel.events.is_some() && self.channel.created_in_this_process();
        if helps && spins && waits {
            self.promise(interest).consider(self.own_wake(), interest.bits());
        }
    }

    /// Withdraws the promise, if this side has given it. Returns how long the next sleep may last at most.
    fn withdraw_promise(&self, interest: Interest) -> Result<Option<Duration>> {
        let withdrawn = self.promise(interest).withdraw(self.own_wake(), interest.bits());
        withdrawn.map_err(|what| self.corrupted(what))
    }

    /// Asks the peer to signal from now on. The caller looks once more after it, and may then wait by any means and for any
    /// time.
    pub(crate) fn announce_sleep(&self, interests: &[Interest], events: &[&Event]) -> Result<()> {
        for interest in interests {
            self.end_promise(*interest)?;
        }
        self.announce(interests, events)
    }

    /// Withdraws the promise, if this side has given it, and waits until the peer does not act on it any more. That is a
    /// millisecond for a program that has waited in blocking calls and now waits by other means.
    pub(crate) fn end_promise(&self, interest: Interest) -> Result<()> {
        while let Some(left) = self.withdraw_promise(interest)? {
            sleep(left);
        }
        Ok(())
    }

    /// As [`announce_sleep`](Self::announce_sleep), for a caller that has withdrawn its promise and keeps to the bound.
    fn announce(&self, interests: &[Interest], events: &[&Event]) -> Result<()> {
        let mut asleep = 0;
        for interest in interests {
            self.promise(*interest).slept();
            asleep |= interest.bits().asleep;
        }
        // The signal that woke us last. After the last look, it could be that of a message that no look has found yet.
        events.iter().for_each(|event| event.take_left());
        self.sleeps.fetch_add(1, Ordering::Relaxed);
        self.own_wake().set(asleep).map_err(|what| self.corrupted(what))
    }

    /// Waits until one of the events (at most two) or an interrupt is signalled, the peer ends, or the time is over.
    /// Records the peer's end.
    fn wait_in_kernel(&self, events: &[&Event], deadline: Deadline, bound: Option<Duration>) -> Result<()> {
        let mut set = WaitSet::new();
        // The peer's process comes first: a hostile peer can keep its events signalled for ever, but not fake its end.
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

/// The attempt that a waiting call repeats.
pub(crate) trait WaitCondition {
    type Found;

    /// Whether an attempt may succeed. A spinning thread asks in a loop, so that the check must be cheap.
    fn ready(&self) -> bool;

    /// Tries once, without waiting. Returns `None` if the call has to wait for the peer.
    fn attempt(&mut self) -> Result<Option<Self::Found>>;
}

#[inline(always)]
fn attempt<C: WaitCondition>(condition: &mut C) -> Result<Polled<C::Found>> {
    match condition.attempt() {
        Ok(Some(found)) => Ok(Polled::Found(found)),
        Ok(None) => Ok(Polled::Nothing),
        // An evicting sender was faster in every try. There are messages, so that this thread must not sleep.
        Err(ShmError::NotReady) => Ok(Polled::Busy),
        Err(error) => Err(error),
    }
}

/// Calls [`attempt`] on the slow paths, which need no inlined copy of the code.
#[inline(never)]
fn attempt_again<C: WaitCondition>(condition: &mut C) -> Result<Polled<C::Found>> {
    attempt(condition)
}

/// The result of an attempt.
enum Polled<T> {
    Found(T),
    Nothing,
    /// The attempt did not succeed, but the next one may, without any action of the peer.
    Busy,
}
