//! The threads of a background endpoint, and which endpoint waits for which.
//!
//! Stopping an endpoint waits for its threads, and so for the callback that one of them may be in. Where that callback
//! stops another endpoint, whose callback stops the first one, each would wait for the other for ever. So a thread that is
//! about to wait leaves a note at the endpoints whose callbacks it is in ([`Waits`]), and then looks whether the endpoint that
//! it waits for waits, directly or through others, for one of them. Of two threads that do this at the same time, at least
//! one sees the other's note, since each note is left before its author looks, both under the locks that the notes are
//! under. (Both may see one, and then neither waits.)

use crate::error::{Result, ShmError};
use crate::sys;
use crate::waiting::Deadline;
use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

thread_local! {
    /// The endpoints whose callbacks the present thread is in, or may be: an endpoint's own threads always are.
    static INSIDE: RefCell<Vec<Arc<Waits>>> = const { RefCell::new(Vec::new()) };
}

/// What an endpoint waits for.
#[derive(Default)]
pub(crate) struct Waits {
    /// Endpoints whose end one of its callbacks waits for.
    waits_for: Mutex<Vec<Arc<Waits>>>,
}

impl Waits {
    fn list(&self) -> MutexGuard<'_, Vec<Arc<Waits>>> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, until the result is dropped, the present thread is in a callback of this endpoint.
    pub(crate) fn enter(self: &Arc<Self>) -> Inside {
        // A thread that is ending stops nothing any more.
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().push(self.clone()));
        Inside(())
    }

    /// Whether the present thread is in a callback of this endpoint.
    fn is_inside(&self) -> bool {
        let is_own =
            |inside: &RefCell<Vec<Arc<Waits>>>| inside.borrow().iter().any(|own| std::ptr::eq(&**own, self));
        INSIDE.try_with(is_own).unwrap_or(false)
    }

    /// Notes that the present thread is about to wait for this endpoint's end, or, in one of its callbacks, for what its other
    /// threads are in. `None`: it must not, since the endpoint waits for another one whose callback the thread is in.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<Note> {
        let mut own = INSIDE.try_with(|inside| inside.borrow().clone()).unwrap_or_default();
        own.retain(|own| !Arc::ptr_eq(own, self));
        own.iter().for_each(|own| own.list().push(self.clone()));
        let note = Note { own, target: self.clone() };
        let leads_back = self.leads_to(&note.own);
        (!leads_back).then_some(note)
    }

    /// Whether this endpoint is one of those, or waits for one, directly or through others.
    fn leads_to(self: &Arc<Self>, targets: &[Arc<Waits>]) -> bool {
        let mut seen: Vec<Arc<Waits>> = Vec::new();
        let mut open = vec![self.clone()];
        while let Some(waits) = open.pop() {
            if targets.iter().any(|target| Arc::ptr_eq(target, &waits)) {
                return true;
            }
            if !seen.iter().any(|other| Arc::ptr_eq(other, &waits)) {
                open.extend(waits.list().iter().cloned());
                seen.push(waits);
            }
        }
        false
    }
}

/// The present thread is in a callback, until this is dropped. The last one to begin ends first.
pub(crate) struct Inside(());

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().pop());
    }
}

/// A thread waits, until this is dropped.
pub(crate) struct Note {
    own: Vec<Arc<Waits>>,
    target: Arc<Waits>,
}

impl Drop for Note {
    fn drop(&mut self) {
        for own in &self.own {
            let mut list = own.list();
            if let Some(at) = list.iter().position(|other| Arc::ptr_eq(other, &self.target)) {
                list.swap_remove(at);
            }
        }
    }
}

/// The threads of one endpoint.
#[derive(Default)]
pub(crate) struct Threads {
    state: Mutex<State>,
    ended: Condvar,
    waits: Arc<Waits>,
}

#[derive(Default)]
struct State {
    running: usize,
    handles: Vec<JoinHandle<()>>,
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
            let inside = running.0.waits.enter();
            run();
            drop(inside);
            drop(running);
        });
        // Where there is no thread, `running` was dropped with the closure.
        let handle = spawned.map_err(|error| sys::io_error(&error, "starting a thread"))?;
        self.state().handles.push(handle);
        Ok(())
    }

    /// Whether the present thread is one of this endpoint's.
    pub(crate) fn is_own(&self) -> bool {
        self.waits.is_inside()
    }

    /// Waits until all threads have ended.
    pub(crate) fn wait(&self, deadline: Deadline) -> Waited {
        if self.is_own() {
            return Waited::NotFromHere;
        }
        match self.waits.begin() {
            Some(_note) => self.wait_here(deadline),
            None => Waited::NotFromHere,
        }
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
