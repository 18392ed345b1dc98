//! When a side promises not to sleep, and when it may sleep again. `wake.rs` describes the promise.

use crate::ring::Corrupted;
use crate::waiting::Deadline;
use crate::wake::{Bits, WakeWord, PROMISE_HOLDS};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A side promises not to sleep after this number of messages without a sleep. The promise costs the peer the move of the wake
/// word's line, once, and this side one more sleep later.
const MESSAGES: u64 = if cfg!(loom) { 1 } else { 64 };

/// A side that has withdrawn its promise looks this often before it sleeps, which takes some microseconds. By then a store that
/// was under way is visible. Otherwise the message would wait until the bounded sleep ends.
pub(super) const LOOKS_AFTER_PROMISE: u32 = if cfg!(loom) { 0 } else { 100 };

/// The promise of one side, for one kind of waits.
#[derive(Default)]
pub(super) struct Promise(Mutex<State>);

#[derive(Default)]
struct State {
    given: bool,
    /// Whether this side has slept since it last considered a promise.
    slept: bool,
    /// Until when the peer may act on a promise that was withdrawn. `None`: it does not.
    holds_until: Option<Deadline>,
}

impl Promise {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn slept(&self) {
        self.state().slept = true;
    }

    /// Gives the promise, unless this side has slept lately.
    pub(super) fn consider(&self, own: WakeWord<'_>, bits: Bits) {
        let mut state = self.state();
        if !std::mem::take(&mut state.slept) && !state.given {
            state.given = true;
            // It fails if the peer keeps changing the word, which the next sleep finds.
            let _ = own.set(bits.awake);
        }
    }

    /// Withdraws the promise, if it is given. Returns how long the next sleep may last at most. `None`: for ever. The caller
    /// then announces its sleep and looks.
    pub(super) fn withdraw(&self, own: WakeWord<'_>, bits: Bits) -> Result<Option<Duration>, Corrupted> {
        let mut state = self.state();
        if std::mem::take(&mut state.given) {
            own.withdraw(bits.awake)?;
            state.holds_until = Some(Deadline::after(Some(PROMISE_HOLDS)));
            return Ok(Some(PROMISE_HOLDS));
        }
        let Some(deadline) = state.holds_until else { return Ok(None) };
        if deadline.has_passed() {
            state.holds_until = None;
            own.time_has_passed(bits.awake);
            return Ok(None);
        }
        Ok(deadline.remaining(None))
    }
}

/// Counts a half's messages until it considers a promise again.
#[derive(Debug, Default)]
pub(crate) struct UntilPromise {
    /// 0: no message yet.
    next: u64,
}

impl UntilPromise {
    /// A call that waits for a message or for room begins. `messages`: this half has taken or sent in all. Returns
    /// whether to consider a promise.
    #[inline(always)]
    pub(crate) fn is_due(&mut self, messages: u64) -> bool {
        messages >= self.next && self.restart(messages)
    }

    #[cold]
    #[inline(never)]
    fn restart(&mut self, messages: u64) -> bool {
        // At the first message, there was no time in which the half did not sleep.
        std::mem::replace(&mut self.next, messages + MESSAGES) > 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::{Ordering, SwapWord};
    use crate::wake::{DATA, FOR_DATA};

    #[test]
    fn a_promise_needs_messages_without_a_sleep() {
        let mut until = UntilPromise::default();
        let due: Vec<u64> = (0..200).filter(|messages| until.is_due(*messages)).collect();
        assert_eq!(due, [MESSAGES, 2 * MESSAGES, 3 * MESSAGES]);

        let (word, promise) = (SwapWord::new(7 << 32), Promise::default());
        let own = WakeWord::new(&word, 7);
        let bits = || word.load(Ordering::Relaxed) as u32;
        promise.slept();
        promise.consider(own, FOR_DATA);
        assert_eq!(bits(), 0);
        promise.consider(own, FOR_DATA);
        assert_eq!(bits(), FOR_DATA.awake);
        assert!(!own.asks_after_store(FOR_DATA));
    }

    #[test]
    fn sleeps_are_bounded_for_a_while_after_a_promise() {
        let (word, promise) = (SwapWord::new(7 << 32), Promise::default());
        let own = WakeWord::new(&word, 7);
        assert_eq!(promise.withdraw(own, FOR_DATA), Ok(None), "there was no promise");
        promise.consider(own, FOR_DATA);
        let bound = promise.withdraw(own, FOR_DATA).unwrap().expect("the peer may act on the promise");
        assert!(bound <= PROMISE_HOLDS, "{bound:?}");
        assert_eq!(word.load(Ordering::Relaxed), 7 << 32);
        while let Some(left) = promise.withdraw(own, FOR_DATA).unwrap() {
            assert!(left <= bound);
        }
        own.set(DATA).unwrap();
        assert!(own.asks_after_store(FOR_DATA));
    }
}
