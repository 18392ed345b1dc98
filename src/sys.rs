//! The platform seam. It is cut at sections, events, waits, processes and the place where names are looked up; each
//! platform has these items:
//!
//! | item | what |
//! |---|---|
//! | `Section` | shared memory: `create`, `duplicate`, `as_raw`, `size`, `owner` |
//! | `Mapping` | a section in this process's memory: `map`, `base` |
//! | `Event` | wakes one waiter for each `set`; `local` makes one for this process that stays set until `reset`; `take_left` takes what a wait for a `Waitable::Wake` has left; `is_shut`: a peer has made it ready for ever |
//! | `Process` | another process: `open`, `has_ended`, `user`, `as_raw` |
//! | `birth` | when a process began that can't be opened |
//! | `wait_any` | waits for the first of several `Waitable`s |
//! | `Joined` | several `Waitable`s, for a program that waits by itself |
//! | `Watch` | wakes a task when one of several `Waitable`s is ready (feature `async`) |
//! | `Listener` | the owner of a name, and of the clients that wait behind it: `bind`; `prepare` makes a fresh channel, `offer` lets clients find it; `has_changed_user`: the present one must be renewed; `hand_over` gives it to the next client, whose turn `session_began` or `pass_turn` ends; `session_ended`: there is no client; `open_requester` gives the process of a request |
//! | `Prepared`, `Offer` | what a fresh channel consists of, and the step that lets clients have it |
//! | `ClientEnd` | what a client is given of a channel's events: `create` makes events without a name and it, `handles` lists them |
//! | `client_events` | a client's events, from such handles |
//! | `lookup`, `Handover`, `Found`, `EventOpener` | what a client finds under a name: `Handover` is its place in a server's queue |
//! | `channels`, `Mapping::map_read_only` | what can be seen of names and sections from outside |
//! | `is_busy` | whether the server of a name serves another client |
//! | `User` | a user: `current`, `parse`, `is_known`, `is_trusted_server` |
//! | `OwningProcess` | the process that something was made in, which a fork is not: `current`, `is_current`; `is_certain` asks the system too |
//! | `HeldName` | what a server holds of its name: `give_up` releases the copy of a fork |
//! | `Thread` | a thread of the library: `spawn`, `join` |
//! | `is_shutting_down` | the process is ending, and the system has ended its other threads |
//! | `process_id` | of this process |
//! | `borrow`, `into_raw`, `close_raw` | a descriptor or handle that std owns: lends it, gives it away as a number, closes such a number |
//! | `borrow_by` | a macro: the standard library's functions may borrow an object of a type |
//! | `out_of_memory` | the error of a call for which this process has no memory |
//! | `coarse_millis` | milliseconds of a clock that is never set; cheap to read, right to some 16 ms, and it wraps |
//!
//! Nothing above this module knows the platform. `kinds` has the types that the platforms share.

pub(crate) mod kinds;

#[cfg(all(target_os = "linux", not(any(loom, miri))))]
pub(crate) use crate::linux::*;
// One process, threads for peers: for the model checker and for Miri.
#[cfg(any(loom, miri))]
pub(crate) use crate::verify::one_process::*;
#[cfg(all(windows, not(any(loom, miri))))]
pub(crate) use crate::win::*;
pub(crate) use kinds::{Birth, Clients, Unwatchable};

#[cfg(not(any(windows, target_os = "linux", loom)))]
compile_error!("xshm runs on Windows (x86, x86-64, arm64) and on Linux (x86-64, arm64)");
