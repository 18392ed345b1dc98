//! Time limits of calls that wait, and how another thread ends such a call.

use crate::error::Result;
use crate::sync::{fence, Arc, AtomicU32, Instant, Ordering};
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

    /// `None`: never.
    pub(crate) fn instant(self) -> Option<Instant> {
        self.0
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

/// Whether calls that wait are to return. The event is set exactly while they are, except for moments in which another
/// thread changes it.
///
/// Nothing here takes a lock: [`Interrupter::interrupt`] may run in a signal handler, on top of any of these functions, and
/// in a fork.
pub(crate) struct Interrupt {
    /// [`RUNNING`], [`INTERRUPTED`] or [`STOPPED`].
    state: AtomicU32,
    event: Event,
}

const RUNNING: u32 = 0;
/// Until it is reset.
const INTERRUPTED: u32 = 1;
/// The endpoint is being freed. A reset that is under way changes nothing.
#[cfg(any(all(feature = "c-api", not(loom)), all(test, loom)))] // C alone does this.
const STOPPED: u32 = 2;

impl Interrupt {
    pub(crate) fn new() -> Result<Self> {
        Ok(Interrupt { state: AtomicU32::new(RUNNING), event: Event::local()? })
    }

    pub(crate) fn is_set(&self) -> bool {
        self.state.load(Ordering::Acquire) != RUNNING
    }

    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    /// Ends the calls that wait, and all that come. Nothing takes it back.
    #[cfg(any(all(feature = "c-api", not(loom)), all(test, loom)))] // C alone frees an endpoint that other threads use.
    pub(crate) fn stop(&self) {
        self.raise(STOPPED);
    }

    /// The exchange takes place even if nothing changes: so a thread that resets sees what this thread has done before.
    fn raise(&self, to: u32) {
        if self.state.fetch_max(to, Ordering::AcqRel) == RUNNING {
            self.settle_event();
        }
    }

    fn reset(&self) {
        let reset = self.state.compare_exchange(INTERRUPTED, RUNNING, Ordering::AcqRel, Ordering::Acquire);
        if reset.is_ok() {
            self.settle_event();
        }
    }

    /// Makes the event what the state says, after a change. If the state changes meanwhile, two threads may do this, in any
    /// order: the last one to touch the event reads the state once more after that, and so leaves the event right.
    fn settle_event(&self) {
        let mut is_set = self.is_set();
        loop {
            if is_set {
                self.event.set();
            } else {
                self.event.reset();
            }
            // Orders the change of the event before the load.
            fence(Ordering::SeqCst);
            let now = self.is_set();
            if now == is_set {
                return;
            }
            is_set = now;
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
    ///
    /// A signal handler may call this: it changes an atomic and makes one system call, takes no lock, and leaves `errno` as it
    /// is.
    pub fn interrupt(&self) {
        self.0.raise(INTERRUPTED);
    }

    /// Ends the effect of [`interrupt`](Self::interrupt): calls may wait again.
    pub fn reset(&self) {
        self.0.reset();
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
