//! How a task waits for one direction of a session.
//!
//! A poll registers the task, has the watch armed, announces the sleep to the peer, and looks once more: whatever happens from
//! then on wakes the task. The order matters. On Windows a watch takes the signals of events, and may take one for which it wakes
//! no task, if it is armed anew at that moment. What such a signal announces is found by the look that comes after.

use crate::channel::wait_set::WaitSet;
use crate::error::{Result, ShmError};
use crate::halves::{ReceiveHalf, SendHalf};
use crate::session::{Interest, Session};
use crate::sys::kinds::Wakes;
use crate::sys::Watch;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A task that waits, and what wakes it.
pub(super) struct Link {
    watch: Watch,
    pub(super) wakes: Arc<Wakes>,
    /// The session that the watch is for.
    generation: Option<u32>,
    /// Whether the peer was asked for a signal.
    is_armed: bool,
}

impl Link {
    pub(super) fn new() -> Result<Self> {
        let wakes = Arc::default();
        Ok(Link { watch: Watch::new(&wakes)?, wakes, generation: None, is_armed: false })
    }

    /// The task that polls is the one to wake, and nothing wakes it before [`watch`](Self::watch): the caller looks in between.
    pub(super) fn begin(&mut self, context: &Context<'_>) {
        self.watch.clear();
        self.wakes.register(context.waker());
    }

    /// Has the task woken by what is in a set, and by nothing else.
    pub(super) fn watch(&mut self, set: &WaitSet<'_>) -> Result<()> {
        let (objects, bound) = set.parts();
        self.watch.set(objects)?;
        self.watch.arm(bound)
    }

    /// Has the task woken by the objects of a session.
    fn arm(&mut self, session: &Session, interest: Interest, context: &Context<'_>) -> Result<()> {
        self.wakes.register(context.waker());
        let set = session.wake_ups(interest);
        let (objects, bound) = set.parts();
        if self.generation != Some(session.generation) {
            self.watch.set(objects)?;
            self.generation = Some(session.generation);
        }
        self.watch.arm(bound)
    }

    /// Returns whether the peer of this session was asked for a signal, and is no longer.
    fn take_armed(&mut self, session: &Session) -> bool {
        std::mem::take(&mut self.is_armed) && self.generation == Some(session.generation)
    }

    /// Wakes no task from now on.
    fn forget_task(&self, session: &Session) {
        // A thread that a fork lacks may hold the lock.
        if session.channel.created_in_this_process() {
            self.wakes.clear();
        }
    }
}

/// What can be waited for in one direction.
trait Half {
    const INTEREST: Interest;
    fn session(&self) -> &Session;
    fn arm(&mut self, len: usize) -> Result<bool>;
    fn disarm(&mut self) -> Result<()>;
}

impl Half for SendHalf {
    const INTEREST: Interest = Interest::Space;

    fn session(&self) -> &Session {
        &self.session
    }

    fn arm(&mut self, len: usize) -> Result<bool> {
        SendHalf::arm(self, len)
    }

    fn disarm(&mut self) -> Result<()> {
        SendHalf::disarm(self)
    }
}

impl Half for ReceiveHalf {
    const INTEREST: Interest = Interest::Data;

    fn session(&self) -> &Session {
        &self.session
    }

    fn arm(&mut self, _len: usize) -> Result<bool> {
        ReceiveHalf::arm(self)
    }

    fn disarm(&mut self) -> Result<()> {
        ReceiveHalf::disarm(self)
    }
}

/// Attempts until one attempt ends or the task has to wait. An attempt that cannot go on for now fails with `QueueFull` or
/// `QueueEmpty`, and with `NotReady` if the next one may succeed.
fn poll<H: Half, T>(
    half: &mut H, link: &mut Link, context: &mut Context<'_>, len: usize,
    mut attempt: impl FnMut(&mut H) -> Result<T>,
) -> Poll<Result<T>> {
    let mut was_woken = link.take_armed(half.session());
    if was_woken {
        half.disarm()?;
    }
    loop {
        match attempt(half) {
            Err(ShmError::QueueFull | ShmError::QueueEmpty) => {}
            Err(ShmError::NotReady) => {
                // The peer evicts messages faster than they can be taken. Other tasks get their turn.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            result => {
                link.forget_task(half.session());
                return Poll::Ready(result);
            }
        }
        if std::mem::take(&mut was_woken) {
            // Perhaps by the end of the peer's process. The next attempt finds it.
            half.session().record_peer_death();
        }
        link.arm(half.session(), H::INTEREST, context)?;
        if !half.arm(len)? {
            link.is_armed = true;
            return Poll::Pending;
        }
    }
}

pub(super) fn poll_send(
    half: &mut SendHalf, link: &mut Link, context: &mut Context<'_>, message: &[u8],
) -> Poll<Result<()>> {
    poll(half, link, context, message.len(), |half| half.try_send(message))
}

pub(super) fn poll_receive(
    half: &mut ReceiveHalf, link: &mut Link, context: &mut Context<'_>, buffer: &mut Vec<u8>,
) -> Poll<Result<usize>> {
    poll(half, link, context, 0, |half| half.try_receive(buffer))
}

/// Ends a wait: the peer signals nothing, and no task is woken.
fn cancel<H: Half>(half: &mut H, link: &mut Link) {
    if link.take_armed(half.session()) {
        // It fails if the session has ended, which the next call reports.
        let _ = half.disarm();
        link.forget_task(half.session());
    }
}

/// What sends and awaits room.
pub(super) trait Sends {
    fn sending(&mut self) -> Result<(&mut SendHalf, &mut Link)>;
}

/// What awaits messages.
pub(super) trait Receives {
    fn receiving(&mut self) -> Result<(&mut ReceiveHalf, &mut Link)>;
}

/// A call that waits for room, until dropped.
struct Sending<'a, E: Sends>(&'a mut E);

impl<E: Sends> Drop for Sending<'_, E> {
    fn drop(&mut self) {
        if let Ok((half, link)) = self.0.sending() {
            cancel(half, link);
        }
    }
}

/// A call that waits for a message, until dropped.
struct Receiving<'a, E: Receives>(&'a mut E);

impl<E: Receives> Drop for Receiving<'_, E> {
    fn drop(&mut self) {
        if let Ok((half, link)) = self.0.receiving() {
            cancel(half, link);
        }
    }
}

pub(super) async fn send<E: Sends>(endpoint: &mut E, message: &[u8]) -> Result<()> {
    let waiting = Sending(endpoint);
    std::future::poll_fn(|context| {
        let (half, link) = waiting.0.sending()?;
        poll_send(half, link, context, message)
    })
    .await
}

pub(super) async fn receive<E: Receives>(endpoint: &mut E, buffer: &mut Vec<u8>) -> Result<usize> {
    let waiting = Receiving(endpoint);
    std::future::poll_fn(|context| {
        let (half, link) = waiting.0.receiving()?;
        poll_receive(half, link, context, buffer)
    })
    .await
}
