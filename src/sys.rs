//! The platform seam. It is cut at sections, events, waits, processes and the place where names are looked up; each
//! platform has these items:
//!
//! | item | what |
//! |---|---|
//! | `Section` | shared memory: `create`, `duplicate`, `as_raw`, `size`, `owner` |
//! | `Mapping` | a section in this process's memory: `map`, `base` |
//! | `Event` | wakes one waiter for each `set`; `local` makes one for this process that stays set until `reset`; `take_left` takes what a wait for a `Waitable::Wake` has left; `is_shut`: a peer has made it ready for ever |
//! | `Process` | another process: `open`, `has_ended`, `user`, `as_raw` |
//! | `wait_any` | waits for the first of several `Waitable`s |
//! | `Listener` | the owner of a name, and of the clients that wait behind it: `bind`; `prepare` makes a fresh channel, `offer` lets clients find it; `hand_over` gives it to the next client, whose turn `keep_turn` or `pass_turn` ends; `open_requester` gives the process of a request |
//! | `Prepared`, `Offer` | what a fresh channel consists of, and the step that lets clients have it |
//! | `ClientEnd` | what a client is given of a channel's events: `create` makes events without a name and it, `handles` lists them |
//! | `client_events` | a client's events, from such handles |
//! | `lookup`, `Found`, `EventOpener` | what a client finds under a name |
//! | `User` | a user: `current`, `parse`, `is_trusted_server` |
//! | `Home` | the process that something was made in, which a fork is not: `here`, `is_here` |
//! | `process_id` | of this process |
//! | `coarse_millis` | milliseconds of a clock that is never set; cheap to read, right to some 16 ms, and it wraps |
//! | `io_error` | what std says of the system's refusals, as ours |
//!
//! Nothing above this module knows the platform; it and the manifest alone mention one.

#[cfg(all(windows, not(any(loom, miri))))]
#[path = "ntapi/mod.rs"]
mod ntapi;

#[cfg(all(windows, not(any(loom, miri))))]
#[path = "win.rs"]
mod platform;

// One process, threads for peers: for the model checker and for Miri.
#[cfg(any(loom, miri))]
#[path = "model.rs"]
mod platform;

#[cfg(all(target_os = "linux", not(any(loom, miri))))]
#[path = "linux.rs"]
mod platform;

#[cfg(not(any(windows, target_os = "linux", loom)))]
compile_error!("xshm runs on Windows (x86, x86-64, arm64) and on Linux (x86-64, arm64)");

#[cfg(fuzzing)]
pub use platform::fuzzed_pending;
pub(crate) use platform::*;

/// How many events a channel has.
pub(crate) const EVENTS: usize = 7;

/// Why a process can't be watched.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unwatchable {
    /// There's no such process; it may have ended.
    Gone,
    /// There is, but the system doesn't let us wait for its end.
    Denied,
    /// This process lacks what it takes: a descriptor, say.
    #[cfg_attr(any(loom, miri), allow(dead_code))] // The platform in one process lacks nothing.
    Failed(crate::error::ShmError),
}

/// How many clients a server serves at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    /// The next one is accepted when the session with the one before is over.
    One,
    /// Each has a channel of its own.
    Many,
}

/// What can be waited for.
#[derive(Clone, Copy)]
pub(crate) enum Waitable<'a> {
    /// Whoever was told of it has taken its signal.
    Event(&'a Event),
    /// As `Event`, but where taking the signal is a call of its own, it is left there for now: whoever was woken is up
    /// sooner. `Event::take_left` takes it, before the last look that precedes the next wait. For events that one thread
    /// at a time waits for.
    Wake(&'a Event),
    Process(&'a Process),
}
