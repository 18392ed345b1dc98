//! How long a wait looks again and again before it sleeps.
//!
//! Spinning pays if the peer answers sooner than a sleep and a wake-up take. On a machine whose processors are busy it does
//! harm: the peer cannot run while this side spins, and the scheduler lets a thread that has used its share wait for the
//! slices of the other threads. So the default budget adapts ([`SpinHistory`]): after a wait that would have been better
//! asleep, the next ones look only a few times, and then sleep. A budget that the program sets is kept as it is.
//!
//! Two sides that both sleep find back to spinning: a wait that spins to the full budget comes from time to time. It ends
//! when the other side, which sleeps, has been woken and has answered. The next message reaches that side within its few
//! looks, and so does the answer to it. That was a short wait on both sides, and both spin again.
//!
//! That needs answers within the few looks. Where each side works for longer than those last, both have to spin at the same time,
//! and one that spins while the other one sleeps counts a failure more. So all processes also try at the same times
//! ([`is_time_to_probe`]): there a wait spins long enough for the other side to be woken and to answer.

use crate::options::SpinBudget;
use crate::sys::coarse_millis;
use crate::waiting::Deadline;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::yield_now;
use std::time::Duration;

/// The number of looks before a wait first reads the clock.
const FIRST_LOOKS: u32 = 256;

/// The same after a wait that did not pay: about 2 µs, in which the answer of a peer that spins arrives.
const FEW_LOOKS: u32 = 100;

/// The number of looks between two readings of the clock.
pub(crate) const LOOKS: u32 = 64;

/// The budget that adapts.
const ADAPTIVE: Duration = Duration::from_micros(50);

/// A wait up to this long is better spun than slept.
const SHORT: Duration = Duration::from_micros(25);

/// A side that has spun for this time yields its processor between the looks, since the peer may wait for this very
/// processor. A yield can cost the slices of all other threads, some milliseconds each; so it does not come sooner.
const YIELD_AFTER: Duration = Duration::from_millis(1);

/// After this number of failures in a row, one wait of 256 spins to the full budget. After the first ones it is one of 4,
/// of 16, of 64.
const MOST_FAILURES: u32 = 4;

/// After failures, all processes try again at the same times: in the first [`PROBE_TIME`] of each period, in ms by the clock that
/// they share.
const PROBE_PERIOD: u32 = 128;
const PROBE_TIME: u32 = 16;

/// The most waits that try in one period.
const PROBES: u32 = 4;

/// How long such a wait spins: the peer may have to be woken.
const PROBE: Duration = Duration::from_micros(150);

/// What a short wait earns, up to the most; a failure that is paid for does not count. So one hiccup does not make both sides
/// sleep: where one side sleeps, the other one's waits get longer, and fail too.
const FAILURE: u32 = 4;
const MOST_CREDIT: u32 = 8;

fn is_time_to_probe(now: u32) -> bool {
    now % PROBE_PERIOD < PROBE_TIME
}

/// Whether spinning has paid lately, for one kind of waits of one side.
#[derive(Default)]
pub(crate) struct SpinHistory {
    /// Successive waits that spun for nothing, up to [`MOST_FAILURES`].
    failures: AtomicU32,
    /// The number of waits that will not spin.
    skips: AtomicU32,
    credit: AtomicU32,
    /// The period in which waits tried last, and in the lowest bits how many did.
    probed: AtomicU32,
}

impl SpinHistory {
    /// How often a wait looks before it reads the clock.
    #[inline]
    pub(crate) fn first_looks(&self, budget: SpinBudget) -> u32 {
        match budget {
            SpinBudget::Fixed(Duration::ZERO) => 0,
            SpinBudget::Adaptive if self.failures.load(Ordering::Relaxed) != 0 => FEW_LOOKS,
            _ => FIRST_LOOKS,
        }
    }

    /// The first looks, of this number, found what the wait was for.
    #[inline]
    pub(crate) fn found_at_once(&self, first_looks: u32) {
        if first_looks == FEW_LOOKS {
            self.forget();
        }
    }

    fn was_short(&self) {
        let credit = self.credit.load(Ordering::Relaxed);
        self.credit.store((credit + 1).min(MOST_CREDIT), Ordering::Relaxed);
        self.forget();
    }

    fn forget(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.skips.store(0, Ordering::Relaxed);
    }

    /// Begins to spin, at most until the deadline. `None`: the wait should sleep at once.
    pub(crate) fn begin(&self, budget: SpinBudget, deadline: Deadline) -> Option<Spin<'_>> {
        self.begin_at(budget, deadline, coarse_millis)
    }

    fn begin_at(&self, budget: SpinBudget, deadline: Deadline, now: impl Fn() -> u32) -> Option<Spin<'_>> {
        let mut is_probe = false;
        let (time, history) = match budget {
            SpinBudget::Fixed(Duration::ZERO) => return None,
            SpinBudget::Fixed(time) => (time, None),
            SpinBudget::Adaptive => {
                // If two threads do this at the same time, one of the waits may not be counted, which does no harm.
                let skips = self.skips.load(Ordering::Relaxed);
                if skips > 0 && self.may_probe(now()) {
                    is_probe = true;
                } else if skips > 0 {
                    self.skips.store(skips - 1, Ordering::Relaxed);
                    return None;
                }
                (if is_probe { PROBE } else { ADAPTIVE }, Some(self))
            }
        };
        Some(Spin {
            end: Deadline::after(deadline.remaining(Some(time))),
            yields: Deadline::after(Some(YIELD_AFTER)),
            short: Deadline::after(Some(SHORT)),
            history,
            is_probe,
        })
    }

    /// Whether this is one of the waits that try at the times of all processes.
    fn may_probe(&self, now: u32) -> bool {
        if !is_time_to_probe(now) {
            return false;
        }
        let period = now / PROBE_PERIOD * PROBE_PERIOD;
        let probed = self.probed.load(Ordering::Relaxed);
        let next = if probed / PROBE_PERIOD * PROBE_PERIOD == period { probed + 1 } else { period + 1 };
        if next - period > PROBES {
            return false;
        }
        self.probed.store(next, Ordering::Relaxed);
        true
    }

    fn spun_for_nothing(&self) {
        let credit = self.credit.load(Ordering::Relaxed);
        if credit >= FAILURE {
            self.credit.store(credit - FAILURE, Ordering::Relaxed);
            return;
        }
        let failures = (self.failures.load(Ordering::Relaxed) + 1).min(MOST_FAILURES);
        self.failures.store(failures, Ordering::Relaxed);
        self.skips.store((1 << (2 * failures)) - 1, Ordering::Relaxed);
    }
}

/// A period of spinning.
pub(crate) struct Spin<'a> {
    end: Deadline,
    /// From this time on, the thread yields its processor between the looks.
    yields: Deadline,
    /// A wait that lasts longer would be better asleep.
    short: Deadline,
    /// Takes the outcome. `None`: the budget is fixed.
    history: Option<&'a SpinHistory>,
    /// Whether it changes nothing if it does not pay.
    is_probe: bool,
}

impl Spin<'_> {
    /// Whether the period has not ended. Yields the processor if it is time for that. The caller asks once for every
    /// [`LOOKS`] looks.
    pub(crate) fn goes_on(&self) -> bool {
        if self.end.has_passed() {
            return false;
        }
        if self.yields.has_passed() {
            yield_now();
        }
        true
    }

    /// Ends the period. Records whether the next waits should spin.
    pub(crate) fn end(self, found: bool) {
        match self.history {
            Some(history) if found && !self.short.has_passed() => history.was_short(),
            Some(history) if !self.is_probe => history.spun_for_nothing(),
            _ => {}
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn full_spins(history: &SpinHistory, waits: u32) -> u32 {
        let mut spins = 0;
        for _ in 0..waits {
            if let Some(spin) = history.begin_at(SpinBudget::Adaptive, Deadline::NEVER, || PROBE_TIME) {
                spins += 1;
                spin.end(false);
            }
        }
        spins
    }

    /// Spinning for nothing becomes rare, and a short wait brings it back.
    #[test]
    fn the_default_budget_adapts() {
        let history = SpinHistory::default();
        assert_eq!(history.first_looks(SpinBudget::Adaptive), FIRST_LOOKS);
        assert!(full_spins(&history, 256) <= 4);
        assert_eq!(full_spins(&history, 2560), 10);
        assert_eq!(history.first_looks(SpinBudget::Adaptive), FEW_LOOKS);
        history.found_at_once(FEW_LOOKS);
        assert_eq!(history.first_looks(SpinBudget::Adaptive), FIRST_LOOKS);
        assert!(history.begin(SpinBudget::Adaptive, Deadline::NEVER).is_some());
    }

    /// In each period a few waits try in spite of failures, and a short one brings spinning back.
    #[test]
    fn waits_try_again_at_the_same_times_in_all_processes() {
        let history = SpinHistory::default();
        // The last one is a failure, after which 255 waits do not spin.
        assert_eq!(full_spins(&history, 85), 4);
        let tries = |now| {
            let begins = |_: &u32| history.begin_at(SpinBudget::Adaptive, Deadline::NEVER, || now).is_some();
            (0..20).filter(begins).count() as u32
        };
        for period in 1..4 {
            assert_eq!(tries(period * PROBE_PERIOD), PROBES);
            assert_eq!(tries(period * PROBE_PERIOD + PROBE_TIME - 1), 0);
            assert_eq!(tries(period * PROBE_PERIOD + PROBE_TIME), 0);
        }
        let failures = history.failures.load(Ordering::Relaxed);
        let probe = |found| {
            let now = || (if found { 9 } else { 8 }) * PROBE_PERIOD;
            let mut spin = history.begin_at(SpinBudget::Adaptive, Deadline::NEVER, now).unwrap();
            // However long this thread has waited for its processor, the wait counts as short.
            spin.short = Deadline::NEVER;
            spin.end(found);
        };
        probe(false);
        assert_eq!(history.failures.load(Ordering::Relaxed), failures);
        probe(true);
        assert_eq!(history.failures.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_fixed_budget_does_not_adapt() {
        let (history, budget) = (SpinHistory::default(), SpinBudget::Fixed(Duration::from_micros(1)));
        for _ in 0..100 {
            let spin = history.begin(budget, Deadline::NEVER).expect("a fixed budget is kept");
            while spin.goes_on() {}
            spin.end(false);
        }
        assert_eq!(history.first_looks(budget), FIRST_LOOKS);
        let none = SpinBudget::Fixed(Duration::ZERO);
        assert!(history.begin(none, Deadline::NEVER).is_none());
        assert_eq!(history.first_looks(none), 0);
    }
}
