//! The threads of a background endpoint: starting them, waiting for their end, and which endpoint waits for which.
//!
//! Stopping an endpoint waits for its threads, and so for the handler's call that one of them may be in. Where that call
//! stops another endpoint, whose handler stops the first one, each would wait for the other for ever. So a thread that waits
//! says so at its own endpoint, and then looks whether the endpoint that it waits for waits, directly or through others, for
//! its own. Of two threads that do this at the same time, at least one sees the other's note, since each note is made
//! before its author looks, both under the locks that the notes are under.

use crate::error::{Result, ShmError};
use crate::sys;
use crate::waiting::Deadline;
use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

thread_local! {
    /// The endpoint that the present thread belongs to.
    static OWN: RefCell<Option<Arc<Threads>>> = const { RefCell::new(None) };
}

/// The threads of one endpoint.
#[derive(Default)]
pub(crate) struct Threads {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    handles: Vec<JoinHandle<()>>,
    /// Endpoints whose end a thread of this one waits for.
    waits_for: Vec<Arc<Threads>>,
}

/// How a wait for an endpoint's end came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Ended,
    TimedOut,
    /// The calling thread is one of the endpoint's, or one whose end the endpoint waits for itself.
    NotFromHere,
}

impl Threads {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread of this endpoint.
    pub(crate) fn spawn(self: &Arc<Self>, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        self.state().running += 1;
        let running = Running(self.clone());
        let thread = thread::Builder::new().name(name.to_owned());
        let spawned = thread.spawn(move || {
            OWN.with(|own| own.replace(Some(running.0.clone())));
            run();
            OWN.with(|own| own.replace(None));
            drop(running);
        });
        // Where there is no thread, `running` was dropped with the closure.
        let handle = spawned.map_err(|error| sys::io_error(&error, "starting a thread"))?;
        self.state().handles.push(handle);
        Ok(())
    }

    /// Whether the present thread is one of this endpoint's.
    pub(crate) fn is_own(&self) -> bool {
        OWN.with(|own| own.borrow().as_ref().is_some_and(|own| std::ptr::eq(&**own, self)))
    }

    /// Waits until all threads have ended.
    pub(crate) fn wait(self: &Arc<Self>, deadline: Deadline) -> Waited {
        let own = OWN.with(|own| own.borrow().clone());
        let Some(own) = own else { return self.wait_here(deadline) };
        own.state().waits_for.push(self.clone());
        let waited = if self.leads_to(&own) { Waited::NotFromHere } else { self.wait_here(deadline) };
        let mut state = own.state();
        if let Some(at) = state.waits_for.iter().position(|other| Arc::ptr_eq(other, self)) {
            state.waits_for.swap_remove(at);
        }
        waited
    }

    fn wait_here(&self, deadline: Deadline) -> Waited {
        let mut state = self.state();
        while state.running > 0 {
            state = match deadline.remaining(None) {
                None => self.ended.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return Waited::TimedOut,
                Some(left) => self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        for handle in handles {
            // It has come to its end. What a handler panics with is caught.
            let _ = handle.join();
        }
        Waited::Ended
    }

    /// Whether this endpoint is that one, or waits for it, directly or through others.
    fn leads_to(self: &Arc<Self>, target: &Arc<Threads>) -> bool {
        let mut seen: Vec<Arc<Threads>> = Vec::new();
        let mut open = vec![self.clone()];
        while let Some(threads) = open.pop() {
            if Arc::ptr_eq(&threads, target) {
                return true;
            }
            if !seen.iter().any(|other| Arc::ptr_eq(other, &threads)) {
                open.extend(threads.state().waits_for.iter().cloned());
                seen.push(threads);
            }
        }
        false
    }
}

/// A thread that runs, or is about to. Counted until dropped.
struct Running(Arc<Threads>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.state().running -= 1;
        self.0.ended.notify_all();
    }
}

impl Waited {
    /// As a function with a time limit returns it.
    pub(crate) fn into_result(self) -> Result<()> {
        match self {
            Waited::Ended => Ok(()),
            Waited::TimedOut => Err(ShmError::Timeout),
            Waited::NotFromHere => Err(ShmError::NotReady),
        }
    }
}
