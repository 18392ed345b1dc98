//! How a call waits for the other side: looking at once, spinning, then asleep.

use super::Session;
use crate::channel::wait_set::WaitSet;
use crate::error::{Result, ShmError};
use crate::sync::{spin_loop, Ordering};
use crate::sys::Event;
use crate::waiting::Deadline;
use crate::wake::{DATA, SPACE};
use std::thread::yield_now;
use std::time::Duration;

/// Without events, how often a waiting side looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Looks before the first one at the clock.
pub(crate) const FIRST_SPINS: u32 = 256;

/// Looks between two at the clock.
pub(crate) const SPINS: u32 = 64;

/// A side that has spun this long without success lets others run in between: the peer may wait for this very processor.
const SPIN_YIELD_AFTER: Duration = Duration::from_micros(20);

/// A side that spins for long looks this often whether the peer still runs.
const SPIN_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// What is waited for.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    Data,
    Space,
}

/// A time of spinning.
pub(crate) struct Spin {
    end: Deadline,
    /// From then on other threads run in between.
    polite: Deadline,
}

impl Spin {
    /// `None`: without end.
    pub(crate) fn begin(budget: Option<Duration>) -> Self {
        Spin { end: Deadline::after(budget), polite: Deadline::after(Some(SPIN_YIELD_AFTER)) }
    }

    /// Whether the time is not over. Asked once for every [`SPINS`] looks.
    pub(crate) fn goes_on(&self) -> bool {
        if self.end.has_passed() {
            return false;
        }
        if self.polite.has_passed() {
            yield_now();
        }
        true
    }
}

impl Session {
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
        let spin = Spin::begin(deadline.remaining(Some(budget)));
        let mut next_check = Deadline::after(Some(SPIN_CHECK_INTERVAL));
        while spin.goes_on() {
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
