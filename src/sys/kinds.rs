//! What all platforms say in the same words.

use crate::error::ShmError;

/// Why a process cannot be watched.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unwatchable {
    /// There is no such process; it may have ended.
    Gone,
    /// There is, but the system does not let us wait for its end.
    Denied,
    /// This process lacks what it takes: a descriptor, say.
    #[cfg_attr(any(loom, miri), allow(dead_code))] // The platform in one process lacks nothing.
    Failed(ShmError),
}

/// How many clients a server serves at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    /// The next one is accepted when the session with the one before is over.
    One,
    /// Each has its own channel.
    Many,
}

/// Whose clients a named server accepts, besides those of its own user and of the system.
#[cfg_attr(any(loom, miri), allow(dead_code))] // The platform in one process knows one user.
pub(crate) enum Audience<'a, User> {
    Owner,
    Everyone,
    Users(Vec<&'a User>),
    /// As this security descriptor says.
    SecurityDescriptor(&'a [u8]),
}

/// What can be waited for.
pub(crate) enum Waitable<'a, Event, Process> {
    /// The wait that reports it has taken its signal.
    Event(&'a Event),
    /// As `Event`, but where taking the signal is a separate call, the wait leaves it there for now: the waiter is up
    /// sooner. `Event::take_left` takes it, before the last look that precedes the next wait. For events that one thread
    /// at a time waits for.
    Wake(&'a Event),
    Process(&'a Process),
}

impl<Event, Process> Clone for Waitable<'_, Event, Process> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Event, Process> Copy for Waitable<'_, Event, Process> {}
