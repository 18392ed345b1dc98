//! Handles: each call holds its handle, and closing a handle waits for the calls of other threads and for its callbacks.

use super::*;
use crate::threads::Waits;
use std::ops::Deref;
use std::sync::atomic::{fence, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

/// The number of calls of [`close`] that are in progress in the whole library.
static CLOSING: AtomicUsize = AtomicUsize::new(0);

/// Notified when a call has left its handle, if [`CLOSING`] is not 0.
static LEFT: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

/// A call's hold on its handle.
pub(crate) struct Inside<T> {
    handle: Arc<T>,
    // Dropped after `handle`.
    _left: NotifyLeft,
}

impl<T> Deref for Inside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.handle
    }
}

struct NotifyLeft;

impl Drop for NotifyLeft {
    fn drop(&mut self) {
        // Pairs with the fence in `close`: either this thread reads that `close` waits, or `close` reads that this call left.
        fence(Ordering::SeqCst);
        if CLOSING.load(Ordering::Relaxed) != 0 {
            let _lock = lock(&LEFT.0);
            LEFT.1.notify_all();
        }
    }
}

/// Begins a call on a handle.
///
/// # Safety
/// The handle is NULL, or [`returning_handle`] returned it and it was not closed.
pub(crate) unsafe fn enter<T>(handle: *const T) -> Outcome<Inside<T>> {
    if handle.is_null() {
        return Err(Failure::Argument("the handle"));
    }
    // SAFETY: by the caller, C's own count is still there.
    unsafe {
        Arc::increment_strong_count(handle);
        Ok(Inside { handle: Arc::from_raw(handle), _left: NotifyLeft })
    }
}

/// Controls all callbacks of a handle, so that none begins after the handle was closed.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    left: Condvar,
    waits: Arc<Waits>,
}

#[derive(Default)]
struct GateState {
    shut: bool,
    /// The threads that are inside a callback, one entry for each callback.
    inside: Vec<ThreadId>,
}

impl Gate {
    /// Runs a callback, unless the handle was closed.
    pub(crate) fn run(&self, call: impl FnOnce()) {
        let own = thread::current().id();
        {
            let mut state = lock(&self.state);
            if state.shut {
                return;
            }
            state.inside.push(own);
        }
        {
            let _inside = self.waits.enter();
            call();
        }
        let mut state = lock(&self.state);
        if let Some(at) = state.inside.iter().rposition(|thread| *thread == own) {
            state.inside.swap_remove(at);
        }
        self.left.notify_all();
    }

    /// Returns the number of callbacks that the current thread is inside.
    pub(crate) fn depth(&self) -> usize {
        let own = thread::current().id();
        lock(&self.state).inside.iter().filter(|thread| **thread == own).count()
    }

    /// Prevents further callbacks from beginning. If `wait` is set, waits until other threads have left their callbacks.
    pub(crate) fn shut(&self, wait: bool) {
        let own = thread::current().id();
        let mut state = lock(&self.state);
        state.shut = true;
        while wait && state.inside.iter().any(|thread| *thread != own) {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What a handle holds.
pub(crate) trait Closable {
    fn gate(&self) -> &Gate;

    /// Makes the calls of other threads return, and the handle's own threads end. Returns whether the caller may wait for
    /// the callbacks of other threads. It may not if one of them waits for this thread.
    fn end(&self) -> bool;

    /// Returns the number of calls by which the current thread holds the handle, because the thread is inside their
    /// callbacks.
    fn own_calls(&self) -> usize {
        0
    }
}

/// Closes a handle, and waits until the calls of other threads have returned. After this function returns, no callback of
/// the handle begins. The last call to return frees the handle.
///
/// # Safety
/// As [`enter`]. The handle is not used afterwards.
pub(crate) unsafe fn close<T: Closable>(handle: *mut T) {
    if handle.is_null() {
        return;
    }
    returning((), || {
        // SAFETY: C's own count is ours now, by the caller.
        let handle = unsafe { Arc::from_raw(handle.cast_const()) };
        let ended = handle.end();
        // `None` if a call of this handle waits for an endpoint in whose callback the present thread is: then neither waits.
        let waiting = handle.gate().waits.begin();
        let may_wait = ended && waiting.is_some();
        let own = handle.own_calls();
        CLOSING.fetch_add(1, Ordering::Relaxed);
        // Pairs with the fence in `NotifyLeft`.
        fence(Ordering::SeqCst);
        let mut lock = lock(&LEFT.0);
        while may_wait && Arc::strong_count(&handle) > 1 + own {
            lock = LEFT.1.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
        drop(lock);
        CLOSING.fetch_sub(1, Ordering::Relaxed);
        handle.gate().shut(may_wait);
        drop(waiting);
        drop(handle);
        Ok(())
    });
}
