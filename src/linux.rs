//! Linux: sections, events, waits and processes, on rustix.
//!
//! # Events that a peer cannot use to block us
//!
//! An event is a datagram in a pair of Unix sockets. Setting it sends a datagram; waiting for it polls and receives one. A thread
//! that a message wakes receives the datagram only before it sleeps again, and so is up one call sooner ([`Waitable::Wake`]).
//! Every call has `MSG_DONTWAIT`, so that no flag that the peer changes on a shared descriptor makes us wait. A pair whose
//! queue is full is set already.
//!
//! A server waits at ends that no client gets. A client that shuts its ends changes nothing there, since they are datagram
//! sockets. The server has a client's ends too, and may shut them: they poll as ready from then on, and a client that waits
//! there looks every millisecond. Such a server can also hold up a `recv` of its client for as long as its own `recv` takes,
//! since the kernel admits one receiver at a time. Only a server of our own user or of root, which can stop us anyway, or one
//! that [`crate::Trust`] accepts, can do so. (An eventfd has one description for both sides: a peer that clears its
//! `O_NONBLOCK` and fills its counter blocks the side that sets it.)
//!
//! A section is a memfd, sealed against shrinking and growing, so that no access to it can fault.

mod channels;
mod descriptors;
mod event;
mod fork;
mod joined;
mod listener;
mod lookup;
mod pairs;
mod pending;
mod process;
#[cfg(feature = "async")]
mod reactor;
mod section;
mod socket_options;
mod system;
mod thread;
mod users;
mod wait;
mod wire;

pub(crate) use channels::channels;
pub(crate) use event::Event;
pub(crate) use fork::OwningProcess;
pub(crate) use joined::Joined;
pub(crate) use listener::{HeldName, Listener, Offer, Prepared};
pub(crate) use lookup::{is_busy, lookup, EventOpener, Found, Handover};
pub(crate) use pairs::{client_events, ClientEnd};
#[cfg(fuzzing)]
pub use pending::fuzzing as fuzzed_pending;
pub(crate) use process::{birth, Process};
#[cfg(feature = "async")]
pub(crate) use reactor::Watch;
pub(crate) use section::{Mapping, Section};
pub(crate) use std::os::fd::{AsFd as AsObject, BorrowedFd as BorrowedObject, OwnedFd as OwnedObject};
pub(crate) use system::{borrow, coarse_millis, out_of_memory, process_id, User};
#[cfg(feature = "c-api")]
pub(crate) use system::{close_raw, into_raw};
pub(crate) use thread::{is_shutting_down, Thread};
pub(crate) use wait::{wait_any, Waitable};

/// Lets the standard library's functions borrow an object of a type, by a method of it.
macro_rules! borrow_by {
    ($type:ty, $method:ident) => {
        impl std::os::fd::AsFd for $type {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.$method()
            }
        }
    };
}
pub(crate) use borrow_by;
