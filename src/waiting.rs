//! Time limits of calls that wait, and how another thread ends such a call.

use crate::error::Result;
use crate::sync::{lock, Arc, AtomicBool, Instant, Mutex, Ordering};
use crate::sys::Event;
use std::time::Duration;

/// Until when to wait. A duration beyond the range of the clock is for ever.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) const NEVER: Self = Deadline(None);

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

/// A handle by which a thread ends the blocking calls of an endpoint in other threads.
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

/// Whether calls that wait are to return. The event is set exactly while they are.
pub(crate) struct Interrupt {
    /// Read by every call that waits; written under `state`.
    set: AtomicBool,
    event: Event,
    /// Flag and event change together under this lock. So a thread that resets sees what another thread changed before its
    /// [`Interrupter::interrupt`], also if that call found the flag set and did nothing.
    state: Mutex<InterruptState>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum InterruptState {
    Running,
    /// Until it is reset.
    Interrupted,
    /// The endpoint is being freed. A reset that is under way changes nothing.
    #[cfg_attr(any(not(feature = "c-api"), loom), allow(dead_code))] // C alone does this.
    Stopped,
}

impl InterruptState {
    fn unless_stopped(self, to: Self) -> Self {
        if self == InterruptState::Stopped {
            self
        } else {
            to
        }
    }
}

impl Interrupt {
    pub(crate) fn new() -> Result<Self> {
        let state = Mutex::new(InterruptState::Running);
        Ok(Interrupt { set: AtomicBool::new(false), event: Event::local()?, state })
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    /// Ends the calls that wait, and all that come. Nothing takes it back.
    #[cfg(any(all(feature = "c-api", not(loom)), all(test, loom)))] // C alone frees an endpoint that other threads use.
    pub(crate) fn stop(&self) {
        self.change(|_| InterruptState::Stopped);
    }

    fn change(&self, to: impl FnOnce(InterruptState) -> InterruptState) {
        let mut state = lock(&self.state);
        *state = to(*state);
        let set = *state != InterruptState::Running;
        if self.set.swap(set, Ordering::AcqRel) != set {
            if set {
                self.event.set();
            } else {
                self.event.reset();
            }
        }
    }
}

impl Interrupter {
    /// Creates an interrupter for the options of endpoints, see
    /// [`ClientOptions::interrupter`](crate::ClientOptions::interrupter).
    ///
    /// # Errors
    /// [`ShmError::WindowsError`](crate::ShmError::WindowsError) or, on Linux,
    /// [`ShmError::SystemError`](crate::ShmError::SystemError): the system cannot create an event.
    pub fn new() -> Result<Self> {
        Ok(Interrupter(Arc::new(Interrupt::new()?)))
    }

    /// Makes every call of the endpoint that waits, or would wait, return
    /// [`ShmError::Interrupted`](crate::ShmError::Interrupted), until [`reset`](Self::reset). If the endpoint is split, this
    /// applies to both halves. A call that need not wait works as before.
    pub fn interrupt(&self) {
        self.0.change(|state| state.unless_stopped(InterruptState::Interrupted));
    }

    /// Ends the effect of [`interrupt`](Self::interrupt): calls may wait again.
    pub fn reset(&self) {
        self.0.change(|state| state.unless_stopped(InterruptState::Running));
    }

    /// Returns whether [`interrupt`](Self::interrupt) is in effect.
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

    /// A thread that resets the interrupter and then looks sees every change, or is woken again.
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
