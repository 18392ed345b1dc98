//! Messages between two processes of one machine, over shared memory.
//!
//! A pipe or a socket needs two kernel calls for each message. This crate puts a message into memory that both processes see,
//! and calls the kernel only to wake a side that sleeps. Messages have 2 to 65,535 bytes. They go both ways, and arrive whole,
//! in order and at most once.
//!
//! A [`SharedServer`] has a name, and a [`SharedClient`] connects to it. In this example the client is a thread. In a real
//! program it is another process, with the same code.
//!
//! ```
//! use std::{thread, time::Duration};
//! use xshm::{SharedClient, SharedServer};
//!
//! let mut server = SharedServer::start("front-page")?;
//!
//! let client = thread::spawn(|| -> xshm::Result<()> {
//!     let client = SharedClient::connect("front-page", Duration::from_secs(5))?;
//!     let mut message = Vec::new();
//!     client.receive_from_server(&mut message)?; // waits for a message
//!     assert_eq!(message, b"ping");
//!     client.send_to_server(b"pong")?; // never waits
//!     Ok(())
//! });
//!
//! server.wait_for_client(Some(Duration::from_secs(5)))?;
//! server.send_to_client(b"ping")?;
//! let mut answer = Vec::new();
//! server.receive_from_client(&mut answer)?;
//! assert_eq!(answer, b"pong");
//! client.join().unwrap()?;
//! # Ok::<(), xshm::ShmError>(())
//! ```
//!
//! # What to choose
//!
//! - **If the receiver is slow.** `send_*` never waits: when the queue is full, it evicts the oldest messages and returns how
//!   many. Use it if the receiver needs only the newest value of a state. `try_send_*` fails instead, and `send_*_timeout`
//!   waits for room: use these for streams that must arrive complete. [`ServerOptions::reject_when_full`] makes `send_*` fail
//!   too, on both sides of the channel.
//! - **How to receive.** `receive_*` waits without a limit, `receive_*_timeout` waits with a limit, and `try_receive_*` does
//!   not wait. `poll_*` waits and leaves the message in the queue. [`ClientOptions::receive_timeout`] limits `receive_*`.
//! - **Short waits or little processor time.** By default, a call that waits spins for up to 50 µs while the peer usually answers
//!   sooner, and for 1 µs or less otherwise. Then it sleeps in the kernel. [`ServerOptions::spin`] sets a fixed time: a longer
//!   one shortens more waits and costs processor time; with zero, the call sleeps at once.
//! - **Two threads.** An endpoint belongs to one thread. [`SharedServer::split`] returns two halves, for two threads.
//! - **In the background.** [`AutoServer`] and [`AutoClient`] have a worker that connects, receives and connects again.
//!   A [`MultiServer`] serves many clients. For an event loop of your own, see [`ReceiveHalf::arm`]. The feature `async` has
//!   endpoints whose calls are awaited, with any runtime.
//! - **From outside.** [`inspect`] shows which channels there are, and what goes through them.
//! - **Another language.** The feature `c-api`, which is on by default, is the C interface. Its headers are in `include/`.
//! - **Memory.** Each direction has a ring of [`RING_CAPACITY`] bytes. Windows commits its memory when the server creates the
//!   channel; Linux allocates it when it is first used. [`ServerOptions::ring_size`] and [`ServerOptions::message_limit`]
//!   change the sizes.
//!
//! # How it works
//!
//! A section of memory holds a control block and two rings, one for each direction. A ring has one sender and one
//! receiver. The sender writes a message's bytes, and then the header word in front of them. The receiver looks at the
//! place where the next header word will appear, copies the message out, and moves the read position past it. A sender
//! that evicts moves the same position. Both do so by compare-exchange, so each message is either received or evicted.
//! Before a side sleeps, it sets a bit in the control block. The other side signals an event only if it finds that bit.
//!
//! Each connection starts with empty rings and a new number, the generation. A client is connected when the server has
//! accepted this client's own request. Each side watches the other's process. If the peer dies
//! ([`ShmError::PeerDied`]) or leaves ([`ShmError::NotConnected`]), every call that waits ends, after the messages that
//! the peer sent before have been received.
//!
//! The crate trusts nothing in the section. It reads each value once and checks it, masks positions, and bounds loops. A
//! hostile peer can end the session ([`ShmError::Corrupted`]) and send garbage within the size limits, and no more.
//!
//! `docs/protocol.md` in the repository describes the protocol byte by byte.
//!
//! # In other programs
//!
//! - **Signals.** The crate's threads block all signals but those of a fault of their own. A signal handler may call
//!   [`Interrupter::interrupt`].
//! - **Fork (Linux).** In a fork, every call on an endpoint of the parent returns [`ShmError::Forked`]. Stopping or dropping
//!   the copy waits for nothing, releases the fork's hold on the name, and does not affect the parent. A fork may create
//!   endpoints of its own. A handler that forks and returns in the fork ends the fork.
//! - **Plug-ins.** An [`AutoServer`], an [`AutoClient`], a [`MultiServer`] and a [`MultiClient`] keep the DLL or shared
//!   object loaded that contains this crate, until they are stopped: `FreeLibrary` and `dlclose` then only give up the caller's reference. Do not wait
//!   for an endpoint in `DllMain`.
//! - **The end of the process.** On Windows, when a DLL is detached at the end of the process, the other threads have ended:
//!   stopping an endpoint returns at once, and its peer finds that the process has died.
//! - **Descriptors (Linux).** The crate never makes a descriptor with the number 0, 1 or 2, also if a standard stream is
//!   closed. A call that creates endpoints or connects occupies these numbers for a moment, as a function that opens a file
//!   does. Do not open a closed standard stream again while another thread is inside such a call.
//!
//! # Limits
//!
//! - A channel has one server and one client. A [`MultiServer`] has one channel for each of its clients.
//! - The crate runs on Windows and Linux. A 32-bit process and a 64-bit process can use the same channel.
//! - By default, a server accepts clients of its own user, of the system and of administrators (root on Linux), and a client
//!   accepts servers of its own user, of the system and, on Windows, of the group Administrators. [`ServerOptions::access`] and
//!   [`ClientOptions::trust`] change this. If an endpoint cannot watch the peer's process, it refuses the peer unless the
//!   options set a [`check_interval`](ServerOptions::check_interval).
//! - A name is valid within the session (Windows) or for the user (Linux). A name that begins with `Global\` is valid on the
//!   whole machine; to start a server with such a name, Windows requires a privilege. On Linux, each network namespace, and so
//!   usually each container, has its own names.
//! - By default, an [anonymous server](SharedServer::start_anonymous) has no events, so a side that waits checks the memory
//!   every millisecond. [`ServerOptions::anonymous_events`] gives it events.
//! - Messages are neither encrypted nor signed.

#![deny(missing_docs, missing_debug_implementations)]

// Before all others, which use its macro `fail_point`.
#[macro_use]
mod verify;

mod access;
mod answering;
#[cfg(all(feature = "async", not(any(loom, miri))))]
pub mod asynchronous;
mod auto;
mod background;
mod batch;
mod bytes;
mod caller;
mod calls;
mod channel;
mod client;
mod connecting;
mod constants;
mod endpoint;
mod error;
mod events;
#[cfg(all(feature = "c-api", not(loom)))]
mod ffi;
mod figures;
mod halves;
mod handles;
mod in_place;
#[cfg(not(any(loom, miri)))]
pub mod inspect;
mod layout;
#[cfg(all(target_os = "linux", not(any(loom, miri))))]
mod linux;
pub mod multi;
mod naming;
#[cfg(all(windows, not(any(loom, miri))))]
mod ntapi;
mod options;
mod owned;
mod panics;
mod readiness;
mod receiving;
mod ring;
mod sending;
mod server;
mod session;
mod shared;
mod streams;
mod sync;
mod sys;
mod threads;
mod waiting;
mod wake;
mod watch;
#[cfg(all(windows, not(any(loom, miri))))]
mod win;

pub use access::{Access, PeerIdentity, UserId};
pub use answering::{CallToken, Incoming};
#[cfg(all(feature = "async", not(any(loom, miri))))]
pub use asynchronous::{AsyncClient, AsyncReceiveHalf, AsyncSendHalf, AsyncServer};
pub use auto::{
    AutoClient, AutoClientBuilder, AutoHandle, AutoHandler, AutoOptions, AutoServer, AutoServerBuilder,
    AutoStatsSnapshot, ChannelKind, DisconnectReason, SessionId,
};
pub use background::call::Call;
pub use background::peer::PeerHandle;
pub use background::retry::RetryOptions;
pub use batch::{BatchIter, BatchOutcome, MessageBatch};
pub use caller::{Caller, CallerStats};
pub use calls::MAX_CALL_SIZE;
pub use client::SharedClient;
pub use connecting::PendingConnect;
pub use constants::*;
pub use error::{Result, ShmError};
pub use halves::{ChannelStats, PeerStats, ReceiveHalf, SendHalf, WriteOutcome};
pub use handles::{ClientEvents, ClientHandles, EventHandles};
pub use in_place::Reservation;
pub use multi::{
    BroadcastOutcome, ClientId, MultiClient, MultiClientBuilder, MultiClientHandler, MultiClientOptions,
    MultiHandle, MultiHandler, MultiOptions, MultiServer, MultiServerBuilder,
};
pub use options::{ChannelEvent, ClientOptions, ServerOptions, Trust};
pub use owned::{OwnedReceiveHalf, OwnedSendHalf, RejoinError, Split, SplitError};
pub use readiness::WaitHandles;
pub use server::SharedServer;
pub use streams::{StreamReader, StreamWriter};
pub use waiting::Interrupter;

#[cfg(xshm_failpoints)]
#[doc(hidden)]
pub use verify::failpoints::on_each as on_each_failpoint;

/// What the fuzzers of `fuzz/` need.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::sys::fuzzed_pending::Queue;
    pub use crate::verify::hostile::on_each_step;
}

// The examples of these pages run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(doctest)]
macro_rules! pages {
    ($($module:ident: $page:literal),* $(,)?) => {
        $(
            #[doc = include_str!(concat!("../docs/", $page, ".md"))]
            mod $module {}
        )*
    };
}

// ci/links.py checks that the list has each page with Rust code.
#[cfg(doctest)]
pages! {
    page_auto: "auto",
    page_batches: "batches",
    page_calls: "calls",
    page_driver: "driver",
    page_errors: "errors",
    page_event_loops: "event-loops",
    page_migration: "migration",
    page_multi: "multi",
    page_names: "names",
    page_options: "options",
    page_security: "security",
    page_streams: "streams",
    page_sync: "sync",
}

#[cfg(all(doctest, feature = "async"))]
pages! {
    page_async: "async",
}
