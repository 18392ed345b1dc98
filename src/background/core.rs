//! What the threads of a background endpoint share, what they call in its program, and how it stops.

use super::callbacks::{ChannelKind, DisconnectReason};
use super::outbox::{Outbox, WaitsFor};
use crate::channel::Side;
use crate::error::{Result, ShmError};
use crate::layout::Lengths;
use crate::panics::catch_panic;
use crate::sys::{self, HeldName, OwningProcess};
use crate::threads::{Threads, Waited};
use crate::waiting::{Deadline, Interrupter};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// The handler of a background endpoint in any mode. A multi-client server distinguishes its connections by their
/// slots; the slot of others is 0.
pub(crate) trait Callbacks: Send + Sync + 'static {
    /// The endpoint is about to start. Called once, on the thread that starts it, before its threads run and so before all else.
    fn starting(&self, core: &Arc<Core>);
    fn connected(&self, slot: u32);
    fn disconnected(&self, slot: u32, reason: &DisconnectReason);
    fn message(&self, slot: u32, direction: ChannelKind, payload: &[u8]);
    fn overflow(&self, slot: u32, direction: ChannelKind, count: u32);
    fn space_available(&self, slot: u32, direction: ChannelKind);
    /// `None`: the error concerns no one connection.
    fn error(&self, slot: Option<u32>, error: ShmError);
}

/// How a background endpoint works.
pub(crate) struct Settings {
    /// Messages of one connection that a worker delivers before it does anything else.
    pub(crate) recv_batch: usize,
    /// An upper bound of one kernel wait.
    pub(crate) wait_bound: Option<Duration>,
    pub(crate) waits_for: WaitsFor,
    /// The lengths that messages may have before the first connection, whose channel then decides.
    pub(crate) lengths: Lengths,
    /// The most messages that wait for a connection.
    pub(crate) queue_limit: usize,
}

/// Whether an endpoint goes on. A later variant is further on the way to the end.
#[derive(Clone, Copy)]
enum Run {
    Running,
    Stopping,
    /// The handler stopped its own endpoint: it gets no more messages.
    StoppedByHandler,
}

/// What the threads of a background endpoint share.
pub(crate) struct Core {
    handler: Box<dyn Callbacks>,
    pub(crate) settings: Settings,
    /// The direction in which this side sends.
    pub(crate) sends: ChannelKind,
    pub(crate) receives: ChannelKind,
    /// What is sent to each slot, by the slot's number.
    pub(super) outboxes: Vec<Outbox>,
    /// One for each thread: ends its wait. The thread resets it, and then looks at what was changed before.
    pub(crate) wake_ups: Vec<Interrupter>,
    /// A [`Run`].
    run: AtomicU8,
    pub(crate) threads: Arc<Threads>,
    created_in: OwningProcess,
    /// Of a server only.
    name: Option<HeldName>,
}

impl Core {
    /// There is one of `outboxes` for each slot, and one of `wake_ups` for each thread. The handler gets the endpoint.
    pub(crate) fn new(
        side: Side, handler: Box<dyn Callbacks>, settings: Settings, outboxes: Vec<Outbox>,
        wake_ups: Vec<Interrupter>, name: Option<HeldName>,
    ) -> Result<Arc<Self>> {
        let core = Arc::new(Core {
            handler,
            settings,
            sends: side.sends().into(),
            receives: side.receives().into(),
            outboxes,
            wake_ups,
            run: AtomicU8::new(Run::Running as u8),
            threads: Arc::default(),
            created_in: OwningProcess::current()?,
            name,
        });
        core.handler.starting(&core);
        Ok(core)
    }

    /// Calls the handler on one of the endpoint's threads, and reports its panic to it. A panic in that second call is ignored.
    ///
    /// If the handler forks and returns in the fork, the fork ends: the thread has nothing to do there, and any lock of the
    /// endpoint may be locked for ever.
    pub(crate) fn call(&self, slot: Option<u32>, call: impl FnOnce(&dyn Callbacks)) {
        let handler = &*self.handler;
        let called = catch_panic(|| call(handler));
        self.end_fork();
        if let Err(error) = called {
            let _ = catch_panic(|| handler.error(slot, error));
            self.end_fork();
        }
    }

    /// Ends the process if it is a fork, as if its only thread ended.
    fn end_fork(&self) {
        if self.check_not_forked().is_err() {
            std::process::exit(0);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.run.load(Ordering::Acquire) != Run::Running as u8
    }

    pub(crate) fn is_stopped_by_handler(&self) -> bool {
        self.run.load(Ordering::Acquire) == Run::StoppedByHandler as u8
    }

    /// Whether the calling thread is one of this endpoint's, so that it may be inside the handler.
    pub(crate) fn is_on_worker(&self) -> bool {
        self.threads.is_own()
    }

    /// # Errors
    /// [`ShmError::Forked`]: this process is a fork of the endpoint's.
    pub(crate) fn check_not_forked(&self) -> Result<()> {
        if self.created_in.is_current() {
            Ok(())
        } else {
            Err(ShmError::Forked)
        }
    }

    /// Whether this process has the endpoint's threads. A fork of it has none; and if the process is ending, the system has
    /// ended them. In both cases they may have left a lock locked.
    fn has_threads(&self) -> bool {
        self.created_in.is_certain() && !sys::is_shutting_down()
    }

    /// Begins to stop, and waits for nothing. Without the threads it does nothing.
    pub(crate) fn request_stop(&self) {
        self.end_by(Run::Stopping);
    }

    fn end_by(&self, run: Run) {
        if self.has_threads() {
            self.run.fetch_max(run as u8, Ordering::AcqRel);
            self.wake_callers();
            self.wake_ups.iter().for_each(Interrupter::interrupt);
        }
    }

    /// Stops, and waits for the threads. A handler that calls this gets no more messages.
    pub(crate) fn stop(&self) -> Waited {
        let by_handler = self.is_on_worker();
        self.stop_within(None, if by_handler { Run::StoppedByHandler } else { Run::Stopping })
    }

    /// # Errors
    /// [`ShmError::Timeout`], [`ShmError::NotReady`] where the calling thread must not wait, [`ShmError::Forked`].
    pub(crate) fn stop_timeout(&self, timeout: Duration) -> Result<()> {
        if let Err(error) = self.check_not_forked() {
            self.give_up_name();
            return Err(error);
        }
        self.stop_within(Some(timeout), Run::Stopping).into_result()
    }

    /// Releases what a fork has of the name. It takes no lock, since a thread that the fork lacks may hold it.
    pub(crate) fn give_up_name(&self) {
        if self.created_in.is_certain() {
            return;
        }
        if let (Some(name), Some(wake_up)) = (&self.name, self.wake_ups.first()) {
            name.give_up(wake_up.0.event());
        }
    }

    fn stop_within(&self, timeout: Option<Duration>, run: Run) -> Waited {
        if !self.has_threads() {
            self.give_up_name();
            return Waited::NotFromHere;
        }
        self.end_by(run);
        self.threads.wait(Deadline::after(timeout))
    }
}

/// The bound that an option sets: zero stands for none.
pub(crate) fn bound(timeout: Duration) -> Option<Duration> {
    (!timeout.is_zero()).then_some(timeout)
}
