//! The thread that wakes the tasks of async endpoints.
//!
//! All of this process's [`Watch`]es share one thread, which waits in one `epoll`. It starts with the first watch and ends with
//! the last one. A watch that is not armed costs the thread nothing. In a fork there is no such thread: a watch that the fork has
//! copied does nothing, and a new one starts a thread there.

use super::descriptors::{self, watching};
use super::fork::OwningProcess;
use super::joined::Joined;
use super::system::{error, failed, timespec};
use super::thread::Thread;
use super::wait::Waitable;
use crate::error::{Result, ShmError};
use crate::sys::kinds::Wakes;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Wakes a task when one of several objects is ready.
pub(crate) struct Watch {
    joined: Joined,
    /// How long to wait at most for the present objects.
    bound: Option<Duration>,
    reactor: Arc<Reactor>,
    token: u64,
    /// The time at which the task is woken at the latest.
    due: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(wakes: &Arc<Wakes>) -> Result<Self> {
        let (joined, reactor) = (Joined::new()?, Reactor::of_this_process()?);
        let token = {
            let mut state = reactor.inner.state();
            state.last_token += 1;
            let token = state.last_token;
            state.watches.insert(token, wakes.clone());
            token
        };
        let watch = Watch { joined, bound: None, reactor, token, due: None };
        // Nothing but errors, of which there are none, until it is armed.
        let (flags, token) = (watching::EventFlags::ONESHOT, watching::EventData::new_u64(token));
        watching::add(&watch.reactor.inner.epoll, watch.joined.descriptor(), token, flags)
            .map_err(failed("watching an object (epoll_ctl)"))?;
        Ok(watch)
    }

    /// Watches no object.
    pub(crate) fn clear(&mut self) {
        self.joined.clear();
    }

    /// Watches these objects and no others, from the next [`arm`](Self::arm) on.
    pub(crate) fn set(&mut self, objects: &[Waitable<'_>]) -> Result<()> {
        self.bound = self.joined.set(objects)?;
        Ok(())
    }

    /// Wakes the task once: when one of the objects is ready, at once if one is ready now; or after `bound`.
    pub(crate) fn arm(&mut self, bound: Option<Duration>) -> Result<()> {
        let inner = &self.reactor.inner;
        if !inner.created_in.is_current() {
            return Err(ShmError::Forked);
        }
        inner.check()?;
        let bound = bound.into_iter().chain(self.bound).min();
        let due = bound.and_then(|bound| Instant::now().checked_add(bound));
        if due != self.due {
            let mut state = inner.state();
            if let Some(before) = std::mem::replace(&mut self.due, due) {
                state.timers.remove(&(before, self.token));
            }
            if let Some(due) = due {
                state.timers.insert((due, self.token));
                if state.timers.first() == Some(&(due, self.token)) {
                    // The thread's wait is too long.
                    inner.wake_up();
                }
            }
        }
        let (flags, token) = (
            watching::EventFlags::IN | watching::EventFlags::ONESHOT,
            watching::EventData::new_u64(self.token),
        );
        watching::modify(&inner.epoll, self.joined.descriptor(), token, flags)
            .map_err(failed("watching an object (epoll_ctl)"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let inner = &self.reactor.inner;
        // A fork shares what is watched with its parent. A thread that the fork lacks may hold the lock.
        if inner.created_in.is_certain() {
            let _ = watching::delete(&inner.epoll, self.joined.descriptor());
            let mut state = inner.state();
            if let Some(due) = self.due {
                state.timers.remove(&(due, self.token));
            }
            let wakes = state.watches.remove(&self.token);
            drop(state);
            drop(wakes);
        }
    }
}

/// The thread, as long as there are watches.
struct Reactor {
    inner: Arc<Inner>,
}

/// What the thread and the watches share.
struct Inner {
    epoll: OwnedFd,
    /// Set to make the thread look at the timers, and at `is_over`.
    wake_up: OwnedFd,
    state: Mutex<State>,
    /// Why the thread has ended before the last watch: it cannot wait.
    failure: OnceLock<Errno>,
    created_in: OwningProcess,
}

#[derive(Default)]
struct State {
    watches: BTreeMap<u64, Arc<Wakes>>,
    timers: BTreeSet<(Instant, u64)>,
    last_token: u64,
    /// The last watch is gone.
    is_over: bool,
}

/// The thread of a process. Each process has another lock, since a fork may find its parent's locked for ever.
struct Registry {
    created_in: OwningProcess,
    reactor: Mutex<Weak<Reactor>>,
}

/// The registry of this process, or of one that it was forked from. NULL: there was no watch yet. It is never freed.
static REGISTRY: AtomicPtr<Registry> = AtomicPtr::new(ptr::null_mut());

impl Registry {
    fn of_this_process() -> Result<&'static Self> {
        let current = REGISTRY.load(Ordering::Acquire);
        // SAFETY: what was stored is never freed.
        if let Some(registry) = unsafe { current.as_ref() }.filter(|it| it.created_in.is_current()) {
            return Ok(registry);
        }
        let created_in = OwningProcess::current()?;
        let fresh = Box::into_raw(Box::new(Registry { created_in, reactor: Mutex::new(Weak::new()) }));
        match REGISTRY.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: it is never freed from now on.
            Ok(_) => Ok(unsafe { &*fresh }),
            Err(other) => {
                // SAFETY: no other thread has seen `fresh`. Another thread was faster, and what it stored is never freed.
                unsafe {
                    drop(Box::from_raw(fresh));
                    Ok(&*other)
                }
            }
        }
    }
}

const WAITING: &str = "waiting for what tasks wait for (epoll_pwait)";

/// The token of `wake_up`.
const WAKE_UP: u64 = 0;

impl Reactor {
    fn of_this_process() -> Result<Arc<Self>> {
        let registry = Registry::of_this_process()?;
        let mut current = registry.reactor.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reactor) = current.upgrade().filter(|reactor| reactor.inner.check().is_ok()) {
            return Ok(reactor);
        }
        let context = "creating what async endpoints wait for (epoll_create1)";
        let epoll = descriptors::epoll().map_err(failed(context))?;
        let wake_up = descriptors::local_event().map_err(failed("creating an event (eventfd2)"))?;
        let (flags, token) = (watching::EventFlags::IN, watching::EventData::new_u64(WAKE_UP));
        watching::add(&epoll, &wake_up, token, flags).map_err(failed("watching an object (epoll_ctl)"))?;
        // A sandbox may refuse the call, and no task would be woken.
        let mut one = Vec::with_capacity(1);
        let space = rustix::buffer::spare_capacity::<watching::Event>(&mut one);
        watching::wait(&epoll, space, Some(&timespec(Duration::ZERO))).map_err(failed(WAITING))?;
        let created_in = OwningProcess::current()?;
        let (state, failure) = (Mutex::default(), OnceLock::new());
        let inner = Arc::new(Inner { epoll, wake_up, state, failure, created_in });
        let of_thread = inner.clone();
        Thread::spawn("xshm-async", move || of_thread.run())?;
        let reactor = Arc::new(Reactor { inner });
        *current = Arc::downgrade(&reactor);
        Ok(reactor)
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        if self.inner.created_in.is_certain() {
            self.inner.state().is_over = true;
            self.inner.wake_up();
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// The thread has ended since it cannot wait.
    fn check(&self) -> Result<()> {
        self.failure.get().map_or(Ok(()), |&errno| Err(error(errno, WAITING)))
    }

    fn wake_up(&self) {
        // It fails only if the event is set already.
        let _ = rustix::io::write(&self.wake_up, &1_u64.to_ne_bytes());
    }

    /// The thread.
    fn run(&self) {
        let mut events: Vec<watching::Event> = Vec::with_capacity(64);
        let mut due: Vec<Arc<Wakes>> = Vec::new();
        loop {
            let next = {
                let state = self.state();
                if state.is_over {
                    return;
                }
                state.timers.first().map(|&(at, _)| at)
            };
            let timeout = next.map(|at| timespec(at.saturating_duration_since(Instant::now())));
            events.clear();
            let space = rustix::buffer::spare_capacity(&mut events);
            match watching::wait(&self.epoll, space, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                // A sandbox refuses the call, or the program has closed the descriptors of the library. Each task finds out when it
                // waits again. A task that registered too late to be woken here has not looked for the failure yet.
                Err(errno) => {
                    let _ = self.failure.set(errno);
                    let all: Vec<_> = self.state().watches.values().cloned().collect();
                    all.into_iter().for_each(|wakes| wakes.wake());
                    return;
                }
            }
            let mut state = self.state();
            for event in &events {
                match event.data.u64() {
                    WAKE_UP => drop(rustix::io::read(&self.wake_up, &mut [0; 8])),
                    token => due.extend(state.watches.get(&token).cloned()),
                }
            }
            let now = Instant::now();
            while let Some(&(at, token)) = state.timers.first().filter(|(at, _)| *at <= now) {
                state.timers.remove(&(at, token));
                due.extend(state.watches.get(&token).cloned());
            }
            drop(state);
            due.drain(..).for_each(|wakes| wakes.wake());
        }
    }
}
