//! The threads of a background endpoint, and which endpoint waits for which.
//!
//! A thread that stops an endpoint waits for the endpoint's threads, and so for the callback that one of them may be
//! in. If that callback stops another endpoint, whose callback stops the first one, the two would wait for each other
//! for ever.
//!
//! To prevent this, a thread that is about to wait makes a record in the list of each endpoint whose callback it is
//! in ([`Waits`]). Then it checks whether the endpoint that it wants to wait for waits, directly or through other
//! endpoints, for one of these endpoints. If so, the thread does not wait. If two threads do this at the same time,
//! at least one of them sees the other's record: each thread makes its record before it checks, and accesses the
//! lists only under their locks. (Both threads may see the other's record. Then neither waits.)

use crate::error::{Result, ShmError};
use crate::sys::{OwningProcess, Thread};
use crate::waiting::Deadline;
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

thread_local! {
    /// The endpoints whose callbacks the current thread is in. An endpoint's own threads always count as being inside. A fork
    /// still has the entries for the parent's endpoints, and ignores them: their locks may be locked for ever.
    ///
    /// It is never destroyed: a program may stop endpoints in the destructors of a thread, or of the process, and `exit` may be
    /// called inside a callback. The list has no memory while it is empty.
    static INSIDE: RefCell<ManuallyDrop<Vec<Arc<Waits>>>> = const { RefCell::new(ManuallyDrop::new(Vec::new())) };
}

/// Uses the list of the current thread.
fn inside<T>(with: impl FnOnce(&mut Vec<Arc<Waits>>) -> T) -> T {
    INSIDE.with(|inside| with(&mut inside.borrow_mut()))
}

/// The endpoints for which one endpoint waits.
pub(crate) struct Waits {
    /// The endpoints whose end a callback of this endpoint waits for.
    waits_for: Mutex<Vec<Arc<Waits>>>,
    /// `None`: the system could not tell.
    created_in: Option<OwningProcess>,
}

impl Default for Waits {
    fn default() -> Self {
        Waits { waits_for: Mutex::default(), created_in: OwningProcess::current().ok() }
    }
}

impl Waits {
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.created_in.map_or(true, |process| process.is_current())
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Waits>>> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the current thread is in a callback of this endpoint, until the result is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Inside {
        inside(|list| list.push(self.clone()));
        Inside(())
    }

    /// Whether the current thread is in a callback of this endpoint.
    fn is_inside(&self) -> bool {
        inside(|list| list.iter().any(|own| ptr::eq(&**own, self)))
    }

    /// Records that the current thread is about to wait for this endpoint's end. In one of the endpoint's own
    /// callbacks, the thread waits for the callbacks of the endpoint's other threads. Returns `None` if the thread
    /// must not wait, since this endpoint waits for an endpoint whose callback the thread is in.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<WaitRecord> {
        let mut own = inside(|list| list.clone());
        own.retain(|own| !Arc::ptr_eq(own, self) && own.is_of_this_process());
        own.iter().for_each(|own| own.list().push(self.clone()));
        let record = WaitRecord { own, target: self.clone() };
        let leads_back = self.leads_to(&record.own);
        (!leads_back).then_some(record)
    }

    /// Whether this endpoint is one of the targets, or waits for one of them, directly or through other endpoints.
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

/// Records that the current thread is in a callback, until the value is dropped. Nested callbacks end in reverse order.
pub(crate) struct Inside(());

impl Drop for Inside {
    fn drop(&mut self) {
        let last = inside(|list| {
            let last = list.pop();
            if list.is_empty() {
                *list = Vec::new();
            }
            last
        });
        drop(last);
    }
}

/// Records that a thread waits for an endpoint, until the value is dropped.
pub(crate) struct WaitRecord {
    own: Vec<Arc<Waits>>,
    target: Arc<Waits>,
}

impl Drop for WaitRecord {
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
    threads: Vec<Thread>,
}

/// The result of a wait for an endpoint's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Ended,
    TimedOut,
    /// The calling thread must not wait: it is in a callback of the endpoint, or of one that the endpoint waits for.
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
        // If no thread can be started, `running` is dropped with the closure.
        let thread = Thread::spawn(name, move || {
            let inside = running.0.waits.enter();
            run();
            drop(inside);
            drop(running);
        })?;
        self.state().threads.push(thread);
        Ok(())
    }

    /// Whether the current thread is one of this endpoint's threads, or in one of its callbacks.
    pub(crate) fn is_own(&self) -> bool {
        self.waits.is_inside()
    }

    /// Waits until all threads have ended.
    pub(crate) fn wait(&self, deadline: Deadline) -> Waited {
        if self.is_own() {
            return Waited::NotFromHere;
        }
        match self.waits.begin() {
            Some(_record) => self.wait_here(deadline),
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
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        threads.into_iter().for_each(Thread::join);
        Waited::Ended
    }
}

/// Counts a thread that runs or is about to run, until the value is dropped.
struct Running(Arc<Threads>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.state().running -= 1;
        self.0.ended.notify_all();
    }
}

impl Waited {
    /// Returns what a function with a time limit returns to its caller.
    pub(crate) fn into_result(self) -> Result<()> {
        match self {
            Waited::Ended => Ok(()),
            Waited::TimedOut => Err(ShmError::Timeout),
            Waited::NotFromHere => Err(ShmError::NotReady),
        }
    }
}
