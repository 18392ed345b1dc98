//! Linux: sections, events, waits and processes, on rustix.
//!
//! # Events that a peer can't turn against us
//!
//! An event is a datagram in a pair of Unix sockets: setting it sends one, waiting for it polls and receives one; a thread that is
//! woken by a message receives only before it sleeps again, and so is up one call sooner ([`Waitable::Wake`]). Every call
//! says `MSG_DONTWAIT`, so that no flag which the peer changes on a shared descriptor makes us wait; a pair whose queue is
//! full is set already. A server waits at ends that it never hands out, and the shutting of the other end changes nothing at
//! these, since they are datagram sockets. Those of a client are its server's as well, which may shut them: they poll as ready
//! from then on, and who waits there looks every millisecond. (An eventfd has one description for both sides: a peer that
//! clears its `O_NONBLOCK` and fills its counter blocks who sets it.) Such a server can also hold up a `recv` of its client's,
//! since the kernel lets one at a time receive at a socket, for as long as its own `recv` takes. That is a server of our own
//! user or root's, who can stop us anyway, or one that [`crate::Trust`] admits.
//!
//! A section is a memfd, sealed against shrinking and growing, so that no touch of it can fault.

mod event;
mod fork;
mod listener;
mod lookup;
mod pairs;
mod pending;
mod process;
mod section;
mod system;
mod wait;
mod wire;

pub(crate) use event::Event;
pub(crate) use fork::OwningProcess;
pub(crate) use listener::{Listener, Offer, Prepared};
pub(crate) use lookup::{lookup, EventOpener, Found};
pub(crate) use pairs::{client_events, ClientEnd};
#[cfg(fuzzing)]
pub use pending::fuzzing as fuzzed_pending;
pub(crate) use process::Process;
pub(crate) use section::{Mapping, Section};
pub(crate) use std::os::fd::{AsFd as AsObject, BorrowedFd as BorrowedObject, OwnedFd as OwnedObject};
pub(crate) use system::{borrow, coarse_millis, io_error, process_id, User};
pub(crate) use wait::{wait_any, Waitable};
