//! Until when a call waits, and how another thread ends it sooner.

use crate::error::Result;
use crate::sync::{Arc, AtomicBool, Instant, Ordering};
use crate::sys::Event;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Until when to wait. Durations that lead beyond what a clock can say are for ever.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        Deadline(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    pub(crate) fn has_passed(self) -> bool {
        self.0.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// How long still, at most `bound`. `None`: for ever.
    pub(crate) fn remaining(self, bound: Option<Duration>) -> Option<Duration> {
        let left = self.0.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match (left, bound) {
            (Some(left), Some(bound)) => Some(left.min(bound)),
            (left, bound) => left.or(bound),
        }
    }
}

/// Ends the blocking calls of an endpoint from another thread.
///
/// ```
/// use std::{thread, time::Duration};
/// use xshm::{SharedServer, ShmError};
///
/// let mut server = SharedServer::start("interrupter-example")?;
/// let interrupter = server.interrupter();
/// let stopper = thread::spawn(move || interrupter.interrupt());
/// assert_eq!(server.wait_for_client(None), Err(ShmError::Interrupted));
/// stopper.join().unwrap();
/// # Ok::<(), xshm::ShmError>(())
/// ```
#[derive(Clone)]
pub struct Interrupter(pub(crate) Arc<Interrupt>);

pub(crate) struct Interrupt {
    set: AtomicBool,
    event: Event,
    /// Flag and event change together, and what a caller changed before [`Interrupter::interrupt`] is seen by whoever
    /// resets it after, also where the call found it set and had nothing to do.
    changing: Mutex<()>,
}

impl Interrupt {
    pub(crate) fn new() -> Result<Self> {
        Ok(Interrupt { set: AtomicBool::new(false), event: Event::local()?, changing: Mutex::new(()) })
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    pub(crate) fn event(&self) -> &Event {
        &self.event
    }
}

impl Interrupter {
    /// One for endpoints yet to come, see [`ClientOptions::interrupter`](crate::ClientOptions::interrupter).
    ///
    /// # Errors
    /// [`ShmError::WindowsError`](crate::ShmError::WindowsError) or, on Linux,
    /// [`ShmError::SystemError`](crate::ShmError::SystemError), when the system has no event to give.
    pub fn new() -> Result<Self> {
        Ok(Interrupter(Arc::new(Interrupt::new()?)))
    }

    /// From now on every call of the endpoint (of both halves, where it is split) that would wait returns
    /// [`ShmError::Interrupted`](crate::ShmError::Interrupted) instead, the ones that are waiting too. What doesn't need to wait goes on working.
    pub fn interrupt(&self) {
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.0.set.swap(true, Ordering::AcqRel) {
            self.0.event.set();
        }
    }

    /// Calls may wait again.
    pub fn reset(&self) {
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.set.swap(false, Ordering::AcqRel) {
            self.0.event.reset();
        }
    }

    /// Whether calls are being interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.0.is_set()
    }
}

impl std::fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupter").field("interrupted", &self.is_interrupted()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::{self, Waitable};
    use std::sync::atomic::AtomicU64;

    /// Whoever resets and then looks sees every change, or is woken again: none is slept over.
    #[test]
    fn a_change_before_an_interrupt_is_not_slept_over() {
        const CHANGES: u64 = if cfg!(miri) { 200 } else { 20_000 };
        let interrupter = Interrupter::new().unwrap();
        let changed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..CHANGES {
                        changed.fetch_add(1, Ordering::Relaxed);
                        interrupter.interrupt();
                    }
                });
            }
            loop {
                interrupter.reset();
                if changed.load(Ordering::Relaxed) == 2 * CHANGES {
                    break;
                }
                let woken =
                    sys::wait_any(&[Waitable::Event(interrupter.0.event())], Some(Duration::from_secs(10)));
                assert_eq!(woken.unwrap(), Some(0), "slept over a change");
            }
        });
    }
}
