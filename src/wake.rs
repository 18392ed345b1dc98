//! Wake words. With them, a side finds out that the other side sleeps, and signals it exactly once for each sleep.
//!
//! Each side has a word in the control block: {generation (upper 32 bits), bits (lower 32)}. A side that is about to
//! sleep sets a bit in its own word, **looks once more** for a message or for room, and waits. The other side publishes
//! (or takes) a message, and **then looks** at the sleeper's word. If the bit is set, it clears the bit. If its own
//! compare-exchange cleared the bit, it signals the event.
//!
//! ```text
//!   sleeper                       other side
//!   set bit      (a)              publish         (c)
//!   look         (b)              look at bit     (d)
//! ```
//!
//! Each side writes one word and then reads another one: (a) before (b), and (c) before (d). Every processor may
//! reorder such a write and read unless a fence forbids it. If both sides reordered them, the sleeper would sleep
//! although a message is there. So there is a sequentially consistent fence between (a) and (b). There is also one
//! between (c) and (d) if (c) is a store. If (c) is the taking of a message by compare-exchange, no fence is needed: (c)
//! and the load (d) are sequentially consistent.
//!
//! **Without a fence.** The fence of the other side is the most expensive part of a message. A side that has not slept for
//! many messages spares it: it sets [`AWAKE_DATA`] or [`AWAKE_SPACE`], a promise not to sleep. While the other side reads
//! the promise in (d), it needs no fence, and stops there.
//!
//! ```text
//!   keeper of the promise         other side
//!   clear the promise             publish         (c)
//!   for 1 ms, look and sleep      look at promise (d): without a fence if it is set
//!     for the rest at most
//!   set bit, look, sleep          as above if it is clear
//! ```
//!
//! The other side may read the promise although it has been withdrawn, and its message may become visible after that. But
//! a store becomes visible within a bounded time on every processor: store buffers drain by themselves, within
//! microseconds. So the keeper sleeps without a bound only after a look that comes 1 ms after the withdrawal
//! ([`PROMISE_HOLDS`]). That look finds every message whose sender still read the promise. All later senders read
//! that it is withdrawn, and execute the fence. This is the idea of temporally bounded total store order (Morrison and Afek,
//! 2015), for the moment of the withdrawal alone. Sides that know no promises work together with those that do: one
//! never promises, or executes the fence all the same.
//!
//! Both sides change the words by compare-exchange only, so that no side undoes a change by the other side or by the
//! other half of its own session. A side changes a word only while the word has the generation of that side's
//! session, so that a late signaller of an old session changes nothing in a new one. The owner sets and clears its
//! own bits. The peer clears [`DATA`], [`SPACE`] and [`PRESSURE`] only.

use crate::ring::Corrupted;
use crate::sync::{fence, heavy_barrier, light_barrier, Ordering, SwapWord};
use std::time::Duration;

/// The owner sleeps until a message comes.
pub(crate) const DATA: u32 = 1;
/// The owner sleeps until the peer has taken a message.
pub(crate) const SPACE: u32 = 2;
/// The peer evicts each message before the owner can take it. The peer's next eviction must evict half the queue.
pub(crate) const PRESSURE: u32 = 4;
/// The peer must signal the owner's data event for every message, since a native waiter, which sets no bits, may wait
/// for this event.
pub(crate) const ALWAYS_DATA: u32 = 8;
/// Like [`ALWAYS_DATA`], for the owner's space event.
pub(crate) const ALWAYS_SPACE: u32 = 16;

/// The owner does not sleep until a message comes: the peer needs no fence after it has published one.
pub(crate) const AWAKE_DATA: u32 = 32;
/// The owner does not sleep until there is room: the peer needs no fence after it has taken a message.
pub(crate) const AWAKE_SPACE: u32 = 64;

/// For this time after a promise is withdrawn, the peer may act as if it were not. Processors need microseconds at most.
pub(crate) const PROMISE_HOLDS: Duration = Duration::from_millis(1);

/// The bits of one reason to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bits {
    /// The owner sleeps.
    pub(crate) asleep: u32,
    /// The owner promises not to sleep.
    pub(crate) awake: u32,
    /// The owner wants every signal.
    pub(crate) always: u32,
}

/// Until a message comes.
pub(crate) const FOR_DATA: Bits = Bits { asleep: DATA, awake: AWAKE_DATA, always: ALWAYS_DATA };
/// Until there is room.
pub(crate) const FOR_SPACE: Bits = Bits { asleep: SPACE, awake: AWAKE_SPACE, always: ALWAYS_SPACE };

/// One side's wake word, in one generation.
#[derive(Clone, Copy)]
pub(crate) struct WakeWord<'a> {
    word: &'a SwapWord,
    generation: u32,
}

impl<'a> WakeWord<'a> {
    /// The most compare-exchanges that a change tries. Correct sides change a word only a few times for each sleep.
    /// If all of these tries fail, a hostile peer changes the word all the time.
    const TRIES: usize = 1000;

    pub(crate) fn new(word: &'a SwapWord, generation: u32) -> Self {
        WakeWord { word, generation }
    }

    /// Starts a generation with these bits. Only the server calls this, while no client uses the section.
    pub(crate) fn reset(word: &SwapWord, generation: u32, bits: u32) {
        word.store(u64::from(generation) << 32 | u64::from(bits), Ordering::Relaxed);
    }

    /// Changes the bits by compare-exchange, unless the word has another generation. Returns the bits before the
    /// change.
    fn change(&self, to: impl Fn(u32) -> u32) -> Result<u32, Corrupted> {
        let mut now = self.word.load(Ordering::Relaxed);
        for _ in 0..Self::TRIES {
            let bits = now as u32;
            if (now >> 32) as u32 != self.generation || to(bits) == bits {
                return Ok(bits);
            }
            let new = now & !0xffff_ffff | u64::from(to(bits));
            match self.word.compare_exchange(now, new, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return Ok(bits),
                Err(other) => now = other,
            }
        }
        Err(Corrupted("a wake word changes all the time"))
    }

    /// Sets a bit. The owner calls this before it sleeps, and then looks once more.
    pub(crate) fn set(&self, bit: u32) -> Result<(), Corrupted> {
        self.change(|bits| bits | bit)?;
        // Between (a) and (b).
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Clears a promise of the owner. The peer may act on it until [`PROMISE_HOLDS`] has passed.
    pub(crate) fn withdraw(&self, promise: u32) -> Result<(), Corrupted> {
        self.clear(promise)?;
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// The owner calls this when [`PROMISE_HOLDS`] has passed since the withdrawal, and then looks.
    pub(crate) fn time_has_passed(&self, promise: u32) {
        heavy_barrier(self.word, promise);
    }

    /// Clears a bit. The owner calls this after each sleep, whatever woke it.
    pub(crate) fn clear(&self, bit: u32) -> Result<(), Corrupted> {
        self.change(|bits| bits & !bit).map(drop)
    }

    /// Whether the owner wants a signal, for a peer that has taken a message by compare-exchange.
    #[inline(always)]
    pub(crate) fn asks(&self, bits: Bits) -> bool {
        // (d). The bits are rarely set, so that this load is usually all that there is to do.
        self.word.load(Ordering::SeqCst) as u32 & (bits.asleep | bits.always) != 0
    }

    /// Does the same for a peer that has published or taken a message by a store.
    #[inline(always)]
    pub(crate) fn asks_after_store(&self, bits: Bits) -> bool {
        // (c) and (d) must follow each other closely, or the time until (c) is visible would have no bound.
        light_barrier(self.word, bits.awake);
        let now = self.word.load(Ordering::Relaxed) as u32;
        if now & (bits.awake | bits.asleep | bits.always) == bits.awake {
            return false;
        }
        // Between (c) and (d).
        fence(Ordering::SeqCst);
        self.asks(bits)
    }

    /// Clears `bit`, and returns whether it was set or the owner has set `always`. The peer calls this before it signals the
    /// owner's event, so that it signals once for each sleep.
    pub(crate) fn take(&self, bit: u32, always: u32) -> Result<bool, Corrupted> {
        let before = self.change(|bits| bits & !bit)?;
        Ok(before & (bit | always) != 0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_signal_for_each_sleep() {
        let word = SwapWord::new(7 << 32);
        let wake = WakeWord::new(&word, 7);
        assert!(!wake.asks(FOR_DATA) && !wake.asks_after_store(FOR_DATA));
        wake.set(DATA).unwrap();
        wake.set(SPACE).unwrap();
        assert!(wake.asks(FOR_DATA) && wake.asks_after_store(FOR_DATA));
        assert_eq!(wake.take(DATA, ALWAYS_DATA), Ok(true));
        assert_eq!(wake.take(DATA, ALWAYS_DATA), Ok(false));
        assert_eq!(word.load(Ordering::Relaxed), 7 << 32 | u64::from(SPACE));
    }

    #[test]
    fn a_native_waiter_is_always_signalled() {
        let word = SwapWord::new(7 << 32);
        let wake = WakeWord::new(&word, 7);
        wake.set(ALWAYS_DATA).unwrap();
        for _ in 0..3 {
            assert_eq!(wake.take(DATA, ALWAYS_DATA), Ok(true));
        }
        assert_eq!(wake.take(SPACE, ALWAYS_SPACE), Ok(false));
        WakeWord::reset(&word, 8, ALWAYS_DATA);
        assert_eq!(WakeWord::new(&word, 8).take(DATA, ALWAYS_DATA), Ok(true));
    }

    /// A promise concerns sleeps alone: a native waiter is signalled in spite of it.
    #[test]
    fn a_promise_ends_no_wish_for_every_signal() {
        let word = SwapWord::new(7 << 32);
        let wake = WakeWord::new(&word, 7);
        wake.set(AWAKE_DATA).unwrap();
        assert!(!wake.asks_after_store(FOR_DATA));
        wake.set(ALWAYS_DATA).unwrap();
        assert!(wake.asks_after_store(FOR_DATA));
        wake.withdraw(AWAKE_DATA).unwrap();
        assert_eq!(word.load(Ordering::Relaxed), 7 << 32 | u64::from(ALWAYS_DATA));
        wake.clear(ALWAYS_DATA).unwrap();
        // Without the rules, both bits: the sleep counts.
        wake.set(AWAKE_DATA | DATA).unwrap();
        assert!(wake.asks_after_store(FOR_DATA));
    }

    #[test]
    fn a_side_of_an_old_generation_changes_nothing() {
        let word = SwapWord::new(8 << 32 | u64::from(DATA));
        let old = WakeWord::new(&word, 7);
        old.set(SPACE).unwrap();
        old.clear(DATA).unwrap();
        assert_eq!(word.load(Ordering::Relaxed), 8 << 32 | u64::from(DATA));
    }
}
