//! The atomics and locks of all code that is in shared memory or model-checked. They are the standard library's,
//! except in two builds. With `--cfg loom` they are the model checker's. With `--cfg fuzzing` the atomics call a
//! hook, by which a fuzzer acts between any two accesses.

#[cfg(loom)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::{
        atomic::{fence, AtomicBool, AtomicU32, AtomicU64, Ordering},
        Arc, Condvar, Mutex, MutexGuard,
    },
};
#[cfg(not(any(loom, fuzzing)))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(not(loom))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{
        atomic::{fence, AtomicBool, Ordering},
        Arc, Condvar, Mutex, MutexGuard,
    },
};

#[cfg(fuzzing)]
pub(crate) use crate::verify::hostile::{AtomicU32, AtomicU64};

#[cfg(loom)]
pub(crate) use clock::{pass_time, sleep, Instant};
#[cfg(not(loom))]
pub(crate) use std::{thread::sleep, time::Instant};

/// Locks a mutex. Ignores that a thread panicked while it held the lock, since no thread leaves an incomplete change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A word that both sides change by compare-exchange.
#[cfg(not(loom))]
pub(crate) type SwapWord = AtomicU64;

/// A word that both sides change by compare-exchange.
///
/// loom remembers only the last access to a word. If a thread loads a word and then changes it, loom forgets the
/// earlier loads of the other threads. So it does not explore the orders in which the change comes before those loads
/// (loom's issues 166 and 392). To make loom remember each load, `load` first stores to a second word, which no
/// thread reads.
#[cfg(loom)]
#[derive(Default)]
pub(crate) struct SwapWord {
    word: AtomicU64,
    loads: AtomicU64,
    /// For [`light_barrier`] and [`heavy_barrier`], one for each promise.
    barriers: [AtomicU64; 2],
}

#[cfg(loom)]
impl SwapWord {
    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.loads.store(0, Ordering::Relaxed);
        self.word.load(order)
    }

    fn barrier(&self, promise: u32) {
        self.barriers[promise.trailing_zeros() as usize % 2].fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(loom)]
impl std::ops::Deref for SwapWord {
    type Target = AtomicU64;

    fn deref(&self) -> &AtomicU64 {
        &self.word
    }
}

/// Orders a sequentially consistent write before a later sequentially consistent load of another word.
///
/// In a real build the accesses themselves give this order, and the function does nothing. loom treats sequentially
/// consistent accesses as acquire and release only, but models sequentially consistent fences. So under loom the
/// function is such a fence.
#[inline(always)]
pub(crate) fn look_barrier() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// Keeps a store before the load of a promise in `word` that follows, as far as the compiler is concerned. The processor may
/// execute the load first, but makes the store visible soon after it.
///
/// In a model this and [`heavy_barrier`] are exchanges of one word, so that each of these comes before or after each of those,
/// and the later one sees what the earlier one's thread did before. That is what the bounded time means: when it has passed, a
/// store is visible, or the load that follows the store is yet to come, and finds the promise withdrawn.
#[inline(always)]
pub(crate) fn light_barrier(word: &SwapWord, promise: u32) {
    #[cfg(not(loom))]
    {
        let _ = (word, promise);
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    }
    #[cfg(loom)]
    word.barrier(promise);
}

/// Says that the time has passed in which a store becomes visible: see [`light_barrier`].
#[inline(always)]
pub(crate) fn heavy_barrier(word: &SwapWord, promise: u32) {
    #[cfg(not(loom))]
    let _ = (word, promise);
    #[cfg(loom)]
    word.barrier(promise);
}

/// The clock of a model. Only waits that time out advance it, by their timeouts. With a real clock, a model could take
/// another path in each run.
#[cfg(loom)]
mod clock {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    loom::lazy_static! {
        // The standard library's atomic, so that the checker does not see reads of the clock. Relaxed is enough, since
        // loom runs all threads of a model on one thread of the system.
        static ref NANOSECONDS: AtomicU64 = AtomicU64::new(0);
    }

    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) struct Instant(Duration);

    impl Instant {
        pub(crate) fn now() -> Self {
            Instant(Duration::from_nanos(NANOSECONDS.load(Ordering::Relaxed)))
        }

        pub(crate) fn checked_add(self, time: Duration) -> Option<Self> {
            let end = self.0.checked_add(time)?;
            // `None` for a time that the clock can't represent.
            (end.as_nanos() <= u64::MAX.into()).then_some(Instant(end))
        }

        pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
            self.0.saturating_sub(earlier.0)
        }
    }

    pub(crate) fn pass_time(time: Duration) {
        NANOSECONDS.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn sleep(time: Duration) {
        pass_time(time);
        loom::thread::yield_now();
    }
}
