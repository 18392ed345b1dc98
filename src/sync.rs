//! Every atomic of the crate comes from here: the standard library's, or loom's where the crate is model-checked
//! (`--cfg loom`).

#[cfg(loom)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::{
        atomic::{fence, AtomicBool, AtomicU32, AtomicU64, Ordering},
        Arc,
    },
};
#[cfg(not(loom))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{
        atomic::{fence, AtomicBool, AtomicU32, AtomicU64, Ordering},
        Arc,
    },
};

// The in-process platform of the models and of Miri is built on these.
#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex};
#[cfg(all(test, not(any(windows, loom))))]
pub(crate) use std::sync::{Condvar, Mutex};

/// Stands between a sequentially consistent write and a sequentially consistent look at another word.
///
/// The accesses themselves give the order, so this is nothing at all in a real build. loom treats sequentially
/// consistent accesses as acquire and release only, and knows the stronger order of fences alone: there it is one.
#[inline(always)]
pub(crate) fn look_barrier() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}
