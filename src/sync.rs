//! The atomics in shared memory, and those of what is model-checked, come from here: the standard library's; loom's where
//! the crate is model-checked (`--cfg loom`); or ones that let a fuzzer act between any two accesses (`--cfg fuzzing`).

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
pub(crate) use clock::{pass_time, Instant};
#[cfg(not(loom))]
pub(crate) use std::time::Instant;

/// Locks a mutex. A thread that panicked while it held the lock has left nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A word that both sides change by compare-and-swap.
#[cfg(not(loom))]
pub(crate) type SwapWord = AtomicU64;

/// A word that both sides change by compare-and-swap. loom remembers one access to a word, the last: where a thread
/// loads and then swaps, it forgets the other threads' loads before, and with them the orders in which the swap comes
/// first (its issues 166 and 392). A store that no thread reads, made before each load, keeps the loads in its memory.
#[cfg(loom)]
#[derive(Default)]
pub(crate) struct SwapWord {
    word: AtomicU64,
    loads: AtomicU64,
}

#[cfg(loom)]
impl SwapWord {
    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.loads.store(0, Ordering::Relaxed);
        self.word.load(order)
    }
}

#[cfg(loom)]
impl std::ops::Deref for SwapWord {
    type Target = AtomicU64;

    fn deref(&self) -> &AtomicU64 {
        &self.word
    }
}

/// Stands between a sequentially consistent write and a sequentially consistent look at another word.
///
/// The accesses themselves give the order, so this is nothing at all in a real build. loom treats sequentially
/// consistent accesses as acquire and release only, and knows the stronger order of fences alone: there it is one.
#[inline(always)]
pub(crate) fn look_barrier() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// A model's clock. It stands still, save that a wait which times out takes the time it was given; a model would
/// differ from one run to the next otherwise.
#[cfg(loom)]
mod clock {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    loom::lazy_static! {
        // The standard library's, so that looking at the clock is no event for the checker. Relaxed, since the
        // threads of a model take turns on one thread of the system.
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
            // Beyond what the clock can say.
            (end.as_nanos() <= u64::MAX.into()).then_some(Instant(end))
        }

        pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
            self.0.saturating_sub(earlier.0)
        }
    }

    pub(crate) fn pass_time(time: Duration) {
        NANOSECONDS.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}
