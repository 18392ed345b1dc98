//! Handles: each call holds its handle, and closing a handle waits for the calls of other threads and for its callbacks.
//!
//! In a fork, a handle has calls and threads that do not exist there, and locks that they hold for ever. So every call first
//! asks whether this process created the handle, before it touches a lock or a count. The same holds while a process of
//! Windows ends and has no other threads any more. Nothing here is shared by all handles: a lock that the parent's threads hold
//! cannot stop the handles that a fork creates.

use super::*;
use crate::sys;
use crate::threads::Waits;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{fence, AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// How a call notifies a thread that closes the handle that the call has left it. It outlives the handle.
#[derive(Default)]
struct Departures {
    is_closing: AtomicBool,
    lock: Mutex<()>,
    left: Condvar,
}

/// A call's hold on its handle.
pub(crate) struct Inside<T: Closable> {
    handle: ManuallyDrop<Arc<T>>,
    departures: Arc<Departures>,
}

impl<T: Closable> Deref for Inside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.handle
    }
}

impl<T: Closable> Drop for Inside<T> {
    fn drop(&mut self) {
        // A callback of the call may have forked, and returned in the fork, where the lock may be locked for ever.
        let is_forked = self.handle.is_forked();
        // SAFETY: nothing uses it after this.
        unsafe { ManuallyDrop::drop(&mut self.handle) };
        // Pairs with the fence in `close`: either this thread reads that `close` waits, or `close` reads that this call left.
        fence(Ordering::SeqCst);
        if self.departures.is_closing.load(Ordering::Relaxed) && !is_forked {
            let _lock = lock(&self.departures.lock);
            self.departures.left.notify_all();
        }
    }
}

/// Begins a call on a handle.
///
/// # Safety
/// The handle is NULL, or [`returning_handle`] returned it and it was not closed.
pub(crate) unsafe fn enter<T: Closable>(handle: *const T) -> Outcome<Inside<T>> {
    // SAFETY: by the caller.
    let Some(value) = (unsafe { handle.as_ref() }) else { return Err(Failure::Null("the handle")) };
    if value.is_forked() {
        return Err(ShmError::Forked.into());
    }
    if sys::is_shutting_down() {
        return Err(ShmError::NotReady.into());
    }
    let departures = value.gate().departures.clone();
    // SAFETY: by the caller, C's own count is still there.
    let handle = unsafe {
        Arc::increment_strong_count(handle);
        ManuallyDrop::new(Arc::from_raw(handle))
    };
    Ok(Inside { handle, departures })
}

thread_local! {
    static KEY: Cell<u8> = const { Cell::new(0) };
}

/// Distinguishes the threads that run. Unlike [`std::thread::current`], it works in the destructors of a thread too.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ThreadKey(usize);

impl ThreadKey {
    fn current() -> Self {
        KEY.with(|key| ThreadKey(ptr::from_ref(key) as usize))
    }
}

/// Controls all callbacks of a handle, so that none begins after the handle was closed.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    left: Condvar,
    waits: Arc<Waits>,
    departures: Arc<Departures>,
}

#[derive(Default)]
struct GateState {
    shut: bool,
    /// The threads that are inside a callback, one entry for each callback.
    inside: Vec<ThreadKey>,
}

impl Gate {
    /// Runs a callback, unless the handle was closed. In a fork, by a callback that forked and returned, it runs none: the lock
    /// may be locked for ever there.
    pub(crate) fn run(&self, call: impl FnOnce()) {
        if !self.waits.is_of_this_process() {
            return;
        }
        let own = ThreadKey::current();
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
        // The callback forked, and this is the fork.
        if !self.waits.is_of_this_process() {
            return;
        }
        let mut state = lock(&self.state);
        if let Some(at) = state.inside.iter().rposition(|thread| *thread == own) {
            state.inside.swap_remove(at);
        }
        self.left.notify_all();
    }

    /// Returns the number of callbacks that the current thread is inside.
    pub(crate) fn depth(&self) -> usize {
        let own = ThreadKey::current();
        lock(&self.state).inside.iter().filter(|thread| **thread == own).count()
    }

    /// Prevents further callbacks from beginning. If `wait` is set, waits until other threads have left their callbacks.
    pub(crate) fn shut(&self, wait: bool) {
        let own = ThreadKey::current();
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

    /// Whether another process created the handle: this one is a fork of it.
    fn is_forked(&self) -> bool;

    /// Releases what a fork has of the name. It takes no lock.
    fn give_up_name(&self);
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
        if handle.is_forked() || sys::is_shutting_down() {
            return close_without_waiting(handle);
        }
        let ended = handle.end();
        // `None` if a call of this handle waits for an endpoint in whose callback the present thread is: then neither waits.
        let waiting = handle.gate().waits.begin();
        let may_wait = ended && waiting.is_some();
        let own = handle.own_calls();
        let departures = handle.gate().departures.clone();
        departures.is_closing.store(true, Ordering::Relaxed);
        // Pairs with the fence in `Inside`.
        fence(Ordering::SeqCst);
        let mut lock = lock(&departures.lock);
        while may_wait && Arc::strong_count(&handle) > 1 + own {
            lock = departures.left.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
        drop(lock);
        handle.gate().shut(may_wait);
        drop(waiting);
        drop(handle);
        Ok(())
    });
}

/// Closes a handle where the threads that may use it do not run: a fork's copy of a handle, or any handle when the process
/// ends. It waits for nothing. A fork releases the name in any case; so the fork, or another process, can take the name when
/// the parent no longer has it.
///
/// # Errors
/// [`ShmError::Forked`].
fn close_without_waiting<T: Closable>(handle: Arc<T>) -> Outcome {
    let is_forked = handle.is_forked();
    if is_forked {
        handle.give_up_name();
    }
    match Arc::try_unwrap(handle) {
        Ok(unused) => drop(unused),
        // A thread that no longer runs is inside a call. It may have left a lock locked, or a change half done, so that the
        // memory and the descriptors stay as they are.
        Err(used) => std::mem::forget(used),
    }
    if is_forked {
        return Err(ShmError::Forked.into());
    }
    Ok(())
}
