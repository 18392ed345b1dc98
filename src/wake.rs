//! Wake words: how one side learns that the other sleeps, and signals it exactly once.
//!
//! Each side has a word in the control block: {generation (upper 32 bits), bits (lower 32)}. A side that is about to
//! sleep sets a bit in its own word, **looks once more**, and waits. A side that has published (or taken) something
//! **then looks** at the other's word; where the bit is set, it clears it, and if it was this clearing that did it,
//! signals the event.
//!
//! ```text
//!   sleeper                       other side
//!   set bit      (a)              publish         (c)
//!   look         (b)              look at bit     (d)
//! ```
//!
//! (a) before (b) and (c) before (d) are each a write followed by a read of another word, which every processor may
//! swap unless a fence forbids it; if both did, the sleeper would sleep with a message in front of it. So between
//! (a) and (b) stands a sequentially consistent fence; and between (c) and (d) too where (c) is the store that
//! publishes a message, while the taking of one is a sequentially consistent compare-and-swap, and (d) a sequentially
//! consistent load.
//!
//! Words change by compare-and-swap only, and only while they carry the generation of the one who
//! changes them, so that neither a late signaller of an old session nor the other half of this one is ever undone.
//! The owner sets bits and may clear its own; the peer clears [`DATA`], [`SPACE`] and [`HURRY`] only.

use crate::ring::Corrupted;
use crate::sync::{fence, Ordering, SwapWord};

/// The owner sleeps until a message comes.
pub(crate) const DATA: u32 = 1;
/// The owner sleeps until the peer has taken a message.
pub(crate) const SPACE: u32 = 2;
/// The owner can't take a message before it is evicted: the peer's next eviction shall drop half the queue.
pub(crate) const HURRY: u32 = 4;
/// A native waiter, which sets no bits, waits for the event that announces data to the owner: signal it each time.
pub(crate) const ALWAYS_DATA: u32 = 8;
/// The same for space.
pub(crate) const ALWAYS_SPACE: u32 = 16;

/// One side's wake word, in one generation.
#[derive(Clone, Copy)]
pub(crate) struct WakeWord<'a> {
    word: &'a SwapWord,
    generation: u32,
}

impl<'a> WakeWord<'a> {
    /// Both sides change a word at most a few times for each sleep. A side that finds it changed more often than this in a
    /// row, deals with a peer that plays.
    const TRIES: usize = 1000;

    pub(crate) fn new(word: &'a SwapWord, generation: u32) -> Self {
        WakeWord { word, generation }
    }

    /// Starts a generation with these bits. Only the server calls this, while no client uses the section.
    pub(crate) fn reset(word: &SwapWord, generation: u32, bits: u32) {
        word.store(u64::from(generation) << 32 | u64::from(bits), Ordering::Relaxed);
    }

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
        Err(Corrupted("a wake word never stands still"))
    }

    /// The owner sets a bit, and then looks once more before it sleeps.
    pub(crate) fn set(&self, bit: u32) -> Result<(), Corrupted> {
        self.change(|bits| bits | bit)?;
        // Between (a) and (b).
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// The owner is up again, for whatever reason.
    pub(crate) fn clear(&self, bit: u32) -> Result<(), Corrupted> {
        self.change(|bits| bits & !bit).map(drop)
    }

    /// The peer, having published: whether it is to signal. True once for each sleep, and always where `always` is
    /// set.
    #[inline]
    pub(crate) fn take(&self, bit: u32, always: u32) -> Result<bool, Corrupted> {
        // (d). Only now and then is the bit set.
        let bits = self.word.load(Ordering::SeqCst) as u32;
        if bits & (bit | always) == 0 {
            return Ok(false);
        }
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
        assert_eq!(wake.take(DATA, ALWAYS_DATA), Ok(false));
        wake.set(DATA).unwrap();
        wake.set(SPACE).unwrap();
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

    #[test]
    fn an_old_generation_changes_nothing() {
        let word = SwapWord::new(8 << 32 | u64::from(DATA));
        let old = WakeWord::new(&word, 7);
        old.set(SPACE).unwrap();
        old.clear(DATA).unwrap();
        assert_eq!(word.load(Ordering::Relaxed), 8 << 32 | u64::from(DATA));
    }
}
