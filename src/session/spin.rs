//! How long a wait looks again and again before it sleeps.
//!
//! Spinning pays if the peer spins too: then its answer comes sooner than a sleep and a wake-up take. If the peer sleeps, its
//! wake-up takes as long as that of this side, and spinning meanwhile only costs processor time. On a machine whose processors are
//! busy it does harm: the peer cannot run while this side spins, and the scheduler lets a thread that has used its share wait
//! for the slices of the other threads. So the default budget adapts ([`SpinHistory`]). After a wait for a peer that slept, or
//! a long one, the next waits look only a few times, and then sleep. A budget that the program sets is kept as it is.
//!
//! Two sides that both sleep find back to spinning by tries. Their waits are short, although they sleep. After some short ones in a
//! row, a side spins for a few waits. In the first one, the other side is woken and answers. The next message then reaches that
//! side within its few looks, and so does the answer to it: now both spin. A try that fails, because the machine is
//! busy or the pace is slow, doubles the number of waits until the next one.
//!
//! That needs answers within the few looks. Where each side works for longer than those last, both have to spin at the same time,
//! and one that spins while the other one sleeps fails. So all processes also try at the same times
//! ([`is_time_to_probe`]): there a wait spins long enough for the other side to be woken and to answer.

use crate::options::SpinBudget;
use crate::sys::coarse_millis;
use crate::waiting::Deadline;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::yield_now;
use std::time::Duration;

/// The number of looks before a wait first reads the clock.
const FIRST_LOOKS: u32 = 256;

/// The same while waits sleep: a microsecond or less, in which the answer of a peer that spins arrives.
const FEW_LOOKS: u32 = 40;

/// The number of looks between two readings of the clock.
pub(crate) const LOOKS: u32 = 64;

/// The budget that adapts.
const ADAPTIVE: Duration = Duration::from_micros(50);

/// A wait up to this long is better spun than slept.
const SHORT: Duration = Duration::from_micros(25);

/// A side that has spun for this time yields its processor between the looks, since the peer may wait for this very
/// processor. A yield can cost the slices of all other threads, some milliseconds each; so it does not come sooner.
const YIELD_AFTER: Duration = Duration::from_millis(1);

/// A slept wait up to this long could have been a short one, if both sides had spun.
const SHORT_SLEEP: Duration = Duration::from_micros(60);

/// While waits sleep: after this number of them that were short, the next ones try to spin. After each try that failed, it takes twice
/// as many, up to 2 to the power of [`MOST_TRIES`] times as many.
const SHORT_SLEEPS: u32 = 2;
const MOST_TRIES: u32 = 6;

/// The waits of a try. The first wakes the peer, which then looks for a moment before it sleeps again.
const TRY: u32 = 3;

/// A try succeeds with a wait up to this long, and with one that the few looks end.
const AT_ONCE: Duration = Duration::from_micros(5);

/// In this time, in ms, a side whose waits are long forgets one failed try.
const FORGET: u32 = 128;

/// After failures, all processes try again at the same times: in the first [`PROBE_TIME`] of each period, in ms by the clock that
/// they share.
const PROBE_PERIOD: u32 = 128;
const PROBE_TIME: u32 = 16;

/// The most waits that try in one period.
const PROBES: u32 = 4;

/// How long such a wait spins: the peer may have to be woken.
const PROBE: Duration = Duration::from_micros(150);

/// What a useless wait costs. A short wait that lasts longer than the first looks earns 1, up to the most, and a wait that is
/// paid for does not count. So one hiccup does not make both sides sleep: where one side sleeps, the other one's waits get longer,
/// and are useless too.
const FAILURE: u32 = 4;
const MOST_CREDIT: u32 = 8;

fn is_time_to_probe(now: u32) -> bool {
    now % PROBE_PERIOD < PROBE_TIME
}

/// Whether spinning has paid lately, for one kind of waits of one side.
#[derive(Default)]
pub(crate) struct SpinHistory {
    /// Whether waits sleep, except in tries.
    sleeps: AtomicBool,
    credit: AtomicU32,
    /// The waits that are left of a try.
    trying: AtomicU32,
    /// Tries that failed, up to [`MOST_TRIES`].
    failed: AtomicU32,
    /// Slept waits since the last try that were short.
    short: AtomicU32,
    /// Whether the last slept wait was short.
    was_short: AtomicBool,
    /// Whether the last wait was one of a try.
    tried: AtomicBool,
    /// When a failed try was forgotten last.
    forgot: AtomicU32,
    /// The period in which waits tried last, and in the lowest bits how many did.
    probed: AtomicU32,
    /// The signals of this side at its last wait.
    signals: AtomicU64,
}

impl SpinHistory {
    /// Whether this side has signalled since its last wait, so that the peer slept. `signals`: all that it has signalled.
    #[inline]
    pub(crate) fn has_woken_peer(&self, signals: u64) -> bool {
        let before = self.signals.load(Ordering::Relaxed);
        if before != signals {
            self.signals.store(signals, Ordering::Relaxed);
        }
        signals > before
    }

    /// How often a wait looks before it reads the clock.
    #[inline]
    pub(crate) fn first_looks(&self, budget: SpinBudget, has_woken_peer: bool) -> u32 {
        match budget {
            SpinBudget::Fixed(Duration::ZERO) => 0,
            SpinBudget::Adaptive if self.sleeps.load(Ordering::Relaxed) => {
                if has_woken_peer {
                    0
                } else {
                    FEW_LOOKS
                }
            }
            _ => FIRST_LOOKS,
        }
    }

    /// The first looks, of this number, found what the wait was for.
    #[inline]
    pub(crate) fn found_at_once(&self, first_looks: u32) {
        if first_looks == FEW_LOOKS {
            self.spin_from_now_on();
        }
    }

    fn spin_from_now_on(&self) {
        self.sleeps.store(false, Ordering::Relaxed);
        for counter in [&self.trying, &self.failed, &self.short] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// A wait that slept has lasted this long, and found something or not.
    pub(crate) fn slept(&self, time: Duration, found: bool) {
        self.slept_at(time, found, coarse_millis)
    }

    fn slept_at(&self, time: Duration, found: bool, now: impl Fn() -> u32) {
        let is_short = time <= SHORT_SLEEP;
        if is_short && !found {
            // A short timeout. The peer has not answered.
            return;
        }
        self.was_short.store(is_short, Ordering::Relaxed);
        let failed = self.failed.load(Ordering::Relaxed);
        if !is_short {
            self.short.store(0, Ordering::Relaxed);
            let now = now();
            if failed > 0 && now.wrapping_sub(self.forgot.load(Ordering::Relaxed)) >= FORGET {
                self.forgot.store(now, Ordering::Relaxed);
                self.failed.store(failed - 1, Ordering::Relaxed);
            }
            return;
        }
        if self.tried.load(Ordering::Relaxed) {
            return;
        }
        let short = self.short.load(Ordering::Relaxed) + 1;
        if short >= SHORT_SLEEPS << failed {
            self.trying.store(TRY, Ordering::Relaxed);
            self.short.store(0, Ordering::Relaxed);
        } else {
            self.short.store(short, Ordering::Relaxed);
        }
    }

    /// Begins to spin, at most until the deadline. `None`: the wait should sleep at once.
    pub(crate) fn begin(
        &self, budget: SpinBudget, deadline: Deadline, has_woken_peer: bool,
    ) -> Option<Spin<'_>> {
        self.begin_at(budget, deadline, has_woken_peer, coarse_millis)
    }

    fn begin_at(
        &self, budget: SpinBudget, deadline: Deadline, has_woken_peer: bool, now: impl Fn() -> u32,
    ) -> Option<Spin<'_>> {
        let mut kind = Kind::Usual;
        let (time, history) = match budget {
            SpinBudget::Fixed(Duration::ZERO) => return None,
            SpinBudget::Fixed(time) => (time, None),
            SpinBudget::Adaptive => {
                // If two threads do this at the same time, one of the waits may not be counted, which does no harm.
                self.tried.store(false, Ordering::Relaxed);
                if self.sleeps.load(Ordering::Relaxed) {
                    let trying = self.trying.load(Ordering::Relaxed);
                    if trying > 0 {
                        self.trying.store(trying - 1, Ordering::Relaxed);
                        self.tried.store(true, Ordering::Relaxed);
                        kind = Kind::Try;
                    } else if self.was_short.load(Ordering::Relaxed) && self.may_probe(now()) {
                        kind = Kind::Probe;
                    } else {
                        return None;
                    }
                }
                (if matches!(kind, Kind::Probe) { PROBE } else { ADAPTIVE }, Some(self))
            }
        };
        let short = if matches!(kind, Kind::Try) { AT_ONCE } else { SHORT };
        Some(Spin {
            end: Deadline::after(deadline.remaining(Some(time))),
            yields: Deadline::after(Some(YIELD_AFTER)),
            short: Deadline::after(Some(short)),
            history,
            kind,
            has_woken_peer,
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

    fn has_paid(&self) {
        let credit = self.credit.load(Ordering::Relaxed);
        self.credit.store((credit + 1).min(MOST_CREDIT), Ordering::Relaxed);
        self.spin_from_now_on();
    }

    fn was_useless(&self) {
        let credit = self.credit.load(Ordering::Relaxed);
        if credit >= FAILURE {
            self.credit.store(credit - FAILURE, Ordering::Relaxed);
            return;
        }
        self.sleeps.store(true, Ordering::Relaxed);
    }

    fn has_tried(&self) {
        if self.trying.load(Ordering::Relaxed) == 0 {
            let failed = self.failed.load(Ordering::Relaxed);
            self.failed.store((failed + 1).min(MOST_TRIES), Ordering::Relaxed);
            self.forgot.store(coarse_millis(), Ordering::Relaxed);
        }
    }
}

/// Why a wait spins.
enum Kind {
    /// Waits have paid lately.
    Usual,
    Try,
    /// At the time at which all processes try.
    Probe,
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
    kind: Kind,
    /// Whether the peer slept when this side sent last. It takes the peer as long to wake up as it takes to wake this side.
    has_woken_peer: bool,
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
        let Some(history) = self.history else { return };
        let has_paid = found && !self.has_woken_peer && !self.short.has_passed();
        match self.kind {
            _ if has_paid => history.has_paid(),
            Kind::Usual => history.was_useless(),
            Kind::Try => history.has_tried(),
            Kind::Probe => {}
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const BUDGET: SpinBudget = SpinBudget::Adaptive;
    const LONG: Duration = Duration::from_millis(1);
    const BRIEF: Duration = Duration::from_micros(20);

    /// Begins a wait at a time at which processes do not try together.
    fn begin(history: &SpinHistory, has_woken_peer: bool) -> Option<Spin<'_>> {
        history.begin_at(BUDGET, Deadline::NEVER, has_woken_peer, || PROBE_TIME)
    }

    /// Ends a wait whose spinning found something. However long this thread has waited for its processor, the wait counts as
    /// short.
    fn find(mut spin: Spin<'_>) {
        spin.short = Deadline::NEVER;
        spin.end(true);
    }

    /// A history whose waits sleep.
    fn asleep() -> SpinHistory {
        let history = SpinHistory::default();
        assert_eq!(history.first_looks(BUDGET, false), FIRST_LOOKS);
        begin(&history, false).expect("at first, waits spin").end(false);
        assert!(begin(&history, false).is_none());
        history
    }

    #[test]
    fn a_useless_wait_makes_the_next_ones_sleep_and_an_answer_at_once_ends_that() {
        let history = asleep();
        assert_eq!(history.first_looks(BUDGET, false), FEW_LOOKS);
        // The peer has to wake up: it answers within no few looks.
        assert_eq!(history.first_looks(BUDGET, true), 0);
        history.found_at_once(FEW_LOOKS);
        assert_eq!(history.first_looks(BUDGET, true), FIRST_LOOKS);
        assert!(begin(&history, false).is_some());
    }

    /// The answer of a peer that had to be woken is no reason to spin, however soon it comes.
    #[test]
    fn a_wait_for_a_peer_that_slept_does_not_pay() {
        let history = SpinHistory::default();
        find(begin(&history, true).unwrap());
        assert!(begin(&history, false).is_none());
    }

    /// One such wait after many good ones changes nothing.
    #[test]
    fn good_waits_pay_for_a_bad_one() {
        let history = SpinHistory::default();
        (0..20).for_each(|_| find(begin(&history, false).unwrap()));
        for bad in 1..=MOST_CREDIT / FAILURE + 1 {
            assert!(begin(&history, false).is_some(), "the bad wait {bad}");
            begin(&history, false).unwrap().end(false);
        }
        assert!(begin(&history, false).is_none());
    }

    /// How many short sleeps it takes until waits try to spin. The try fails.
    fn sleeps_until_try(history: &SpinHistory) -> u32 {
        let mut sleeps = 0;
        while begin(history, false).map(|spin| spin.end(false)).is_none() {
            sleeps += 1;
            history.slept(BRIEF, true);
        }
        // Sleeps of the waits of a try do not count.
        history.slept(BRIEF, true);
        for _ in 1..TRY {
            begin(history, false).expect("a try has several waits").end(false);
            history.slept(BRIEF, true);
        }
        assert!(begin(history, false).is_none());
        sleeps
    }

    #[test]
    fn short_sleeps_lead_to_a_try_and_failed_tries_become_rare() {
        let history = asleep();
        let sleeps: Vec<u32> = (0..9).map(|_| sleeps_until_try(&history)).collect();
        assert_eq!(sleeps, [2, 4, 8, 16, 32, 64, 128, 128, 128]);
        // A try that succeeds.
        for _ in 0..128 {
            history.slept(BRIEF, true);
        }
        find(begin(&history, false).unwrap());
        assert_eq!(history.first_looks(BUDGET, false), FIRST_LOOKS);
        // The next one comes soon again.
        begin(&history, false).unwrap().end(false);
        assert_eq!(sleeps_until_try(&history), 2);
    }

    /// A side whose waits are long for a while is quick to try when they get short.
    #[test]
    fn long_sleeps_lead_to_no_try_and_let_failed_tries_be_forgotten() {
        let history = asleep();
        for _ in 0..4 {
            sleeps_until_try(&history);
        }
        let mut now = coarse_millis();
        for _ in 0..100 {
            history.slept_at(LONG, true, || now);
            history.slept_at(BRIEF, true, || now);
            assert!(begin(&history, false).is_none(), "no two short ones in a row");
        }
        for _ in 0..4 {
            now += 2 * FORGET;
            history.slept_at(LONG, true, || now);
        }
        assert_eq!(sleeps_until_try(&history), SHORT_SLEEPS);
    }

    /// In each period a few waits try in spite of failed tries, unless waits are long, and a short one brings spinning back.
    #[test]
    fn waits_try_at_the_same_times_in_all_processes() {
        let history = asleep();
        let tries = |now| {
            let begins = |_: &u32| history.begin_at(BUDGET, Deadline::NEVER, true, || now).is_some();
            (0..20).filter(begins).count() as u32
        };
        assert_eq!(tries(PROBE_PERIOD), 0);
        history.slept(BRIEF, true);
        for period in 1..4 {
            assert_eq!(tries(period * PROBE_PERIOD), PROBES);
            assert_eq!(tries(period * PROBE_PERIOD + PROBE_TIME - 1), 0);
            assert_eq!(tries(period * PROBE_PERIOD + PROBE_TIME), 0);
        }
        history.slept(LONG, true);
        assert_eq!(tries(5 * PROBE_PERIOD), 0);
        history.slept(BRIEF, true);
        let probe =
            |period: u32| history.begin_at(BUDGET, Deadline::NEVER, false, || period * PROBE_PERIOD).unwrap();
        probe(8).end(false);
        assert!(begin(&history, false).is_none());
        find(probe(9));
        assert!(begin(&history, false).is_some());
    }

    #[test]
    fn short_timeouts_lead_to_no_try() {
        let history = asleep();
        for _ in 0..1000 {
            history.slept(BRIEF, false);
            assert!(begin(&history, false).is_none());
        }
    }

    #[test]
    fn signals_show_that_the_peer_slept() {
        let history = SpinHistory::default();
        let woken: Vec<bool> = [0, 1, 1, 3, 3, 2, 4].map(|signals| history.has_woken_peer(signals)).into();
        // A worker counts fewer when a connection has gone.
        assert_eq!(woken, [false, true, false, true, false, false, true]);
    }

    #[test]
    fn a_fixed_budget_does_not_adapt() {
        let (history, budget) = (SpinHistory::default(), SpinBudget::Fixed(Duration::from_micros(1)));
        for _ in 0..100 {
            let spin = history.begin(budget, Deadline::NEVER, true).expect("a fixed budget is kept");
            while spin.goes_on() {}
            spin.end(false);
        }
        assert_eq!(history.first_looks(budget, true), FIRST_LOOKS);
        let none = SpinBudget::Fixed(Duration::ZERO);
        assert!(history.begin(none, Deadline::NEVER, false).is_none());
        assert_eq!(history.first_looks(none, false), 0);
    }
}
