//! Types and functions that the platforms share.

use crate::error::{Result, ShmError};
use crate::handles::EVENTS;

/// Why a process cannot be watched.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unwatchable {
    /// No process has this id; it may have ended.
    Gone,
    /// The system does not let this process wait for its end. With an error if it lets no process do so: Linux before 5.3,
    /// or a sandbox.
    Denied(Option<ShmError>),
    /// This process lacks a resource, for example a descriptor.
    #[cfg_attr(any(loom, miri), allow(dead_code))] // The platform in one process lacks nothing.
    Failed(ShmError),
}

/// What the system says of the time when a process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(loom, miri), allow(dead_code))] // The platform in one process does not say it.
pub(crate) enum Birth {
    /// By a clock of the system's.
    At(u64),
    /// No process with this id runs.
    #[cfg_attr(target_os = "linux", allow(dead_code))] // The kernel may hide a process.
    None,
    Unknown,
}

impl Birth {
    pub(crate) fn time(self) -> Option<u64> {
        match self {
            Birth::At(time) => Some(time),
            Birth::None | Birth::Unknown => None,
        }
    }
}

/// How many clients a server serves at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    /// The next one is accepted when the session with the one before is over.
    One,
    /// Each has its own channel.
    Many,
}

/// Which channels to look for from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those that this process can connect to by name: of its session (Windows) or user (Linux), and of the machine.
    Own,
    /// Those of all sessions and users.
    Machine,
}

/// What was found of channels.
pub(crate) struct Channels<Section, User> {
    pub(crate) names: Vec<FoundName<User>>,
    /// The sections that this process may read.
    pub(crate) sections: Vec<FoundSection<Section>>,
}

/// A name that a server has.
pub(crate) struct FoundName<User> {
    pub(crate) name: String,
    /// Whose name it is. `None`: the machine's, or the system does not say it.
    pub(crate) user: Option<User>,
    /// The server's process, if the system says it.
    pub(crate) process: Option<u32>,
    /// Whether the server has said that it serves a client. Servers on Windows do not say it by a name.
    pub(crate) is_busy: bool,
}

/// The section of a channel.
pub(crate) struct FoundSection<Section> {
    /// Distinguishes sections.
    pub(crate) id: u64,
    /// The name of its channel. `None`: it has none.
    pub(crate) name: Option<String>,
    pub(crate) section: Section,
    /// The processes that have it open, if the system says it.
    pub(crate) processes: Vec<u32>,
    /// The access list, in words: users and their rights. `None`: the system does not say it.
    pub(crate) access: Option<Vec<String>>,
}

/// Whose clients a named server accepts, besides those of the system.
#[cfg_attr(any(loom, miri), allow(dead_code))] // The platform in one process knows one user.
pub(crate) enum Audience<'a, User> {
    /// Its own user's, and the administrators'.
    Owner,
    /// Not those of its own user, unless it is an administrator.
    Administrators,
    Everyone,
    /// These users', and those of `Owner`.
    Users(Vec<&'a User>),
    /// As this security descriptor says.
    SecurityDescriptor(&'a [u8]),
}

/// What a server makes for a fresh channel that no client can find yet.
pub(crate) struct Prepared<Section, Event, ClientEnd, Offer> {
    pub(crate) section: Section,
    pub(crate) events: [Event; EVENTS],
    pub(crate) instance: u64,
    pub(crate) client_end: ClientEnd,
    pub(crate) offer: Offer,
}

/// What a client finds behind a name.
pub(crate) struct Found<Section, EventOpener> {
    pub(crate) section: Section,
    /// The id of this process, as the server knows it.
    pub(crate) own_pid: u32,
    /// The id of the server's process. `None`: the system doesn't say.
    pub(crate) server_pid: Option<u32>,
    pub(crate) opener: EventOpener,
}

/// What a client sees when it looks a name up.
pub(crate) enum Lookup<Found, Handover> {
    NoServer,
    /// A server has the name, and handed this client no channel. The client looks again.
    #[cfg_attr(any(loom, miri), allow(dead_code))]
    // The platform in one process has a channel for every client.
    Server {
        /// Whether the client has waited for it. Otherwise it waits before it looks again.
        has_waited: bool,
    },
    /// The server has the client in its queue, and is yet to hand it a channel.
    #[cfg_attr(any(not(target_os = "linux"), loom, miri), allow(dead_code))] // There is no queue there.
    Waits(Handover),
    Found(Found),
}

/// A server that is yet to hand a client a channel, where no server hands them over.
#[allow(dead_code)] // On Linux, servers do.
pub(crate) enum NoHandover {}

#[allow(dead_code)]
impl NoHandover {
    pub(crate) fn step<Found>(self) -> Result<Lookup<Found, Self>> {
        match self {}
    }

    pub(crate) fn event<Event>(&self) -> &Event {
        match *self {}
    }
}

/// The process that something was made in, where no process forks: always this one.
#[derive(Clone, Copy)]
#[allow(dead_code)] // On Linux, processes fork.
pub(crate) struct OnlyProcess;

#[allow(dead_code)]
impl OnlyProcess {
    pub(crate) fn current() -> Result<Self> {
        Ok(OnlyProcess)
    }

    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        true
    }

    pub(crate) fn is_certain(&self) -> bool {
        true
    }
}

/// What a server holds of its name, where no process forks.
#[allow(dead_code)] // On Linux, processes fork.
pub(crate) struct OnlyName;

#[allow(dead_code)]
impl OnlyName {
    pub(crate) fn give_up<Event>(&self, _blank: &Event) {}
}

/// Makes an array of what `make` returns for each index. Stops at the first error.
pub(crate) fn try_array<T, E, const N: usize>(
    make: impl FnMut(usize) -> std::result::Result<T, E>,
) -> std::result::Result<[T; N], E> {
    let made = (0..N).map(make).collect::<std::result::Result<Vec<T>, E>>()?;
    Ok(made.try_into().unwrap_or_else(|_| unreachable!("one for each index")))
}

/// The task that a `Watch` wakes.
#[cfg(all(feature = "async", not(any(loom, miri))))]
#[derive(Default)]
pub(crate) struct Wakes(std::sync::Mutex<Option<std::task::Waker>>);

#[cfg(all(feature = "async", not(any(loom, miri))))]
impl Wakes {
    fn exchange(&self, waker: Option<std::task::Waker>) -> Option<std::task::Waker> {
        let mut current = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::replace(&mut *current, waker)
    }

    /// Wakes this task from now on, and no other one.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        drop(self.exchange(Some(waker.clone())));
    }

    /// Wakes no task from now on.
    pub(crate) fn clear(&self) {
        drop(self.exchange(None));
    }

    /// Wakes the task, once. A panic of its waker, which std reports, ends here, and so does one of a waker that the task has
    /// left here and that is dropped with the last reference.
    pub(crate) fn wake(self: std::sync::Arc<Self>) {
        let waker = self.exchange(None);
        let _ = crate::panics::catch_panic(|| waker.into_iter().for_each(std::task::Waker::wake));
        let _ = crate::panics::catch_panic(|| drop(self));
    }
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
