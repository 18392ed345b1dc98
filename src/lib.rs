//! Messages between two processes of one machine, over shared memory.
//!
//! A pipe or a socket hands every message to the kernel, twice. Here a message is written into memory that both
//! processes see, and the kernel is called only to wake a receiver that sleeps. Messages have 2 to 65,535 bytes, go
//! both ways, and arrive whole, in order, at most once.
//!
//! A [`SharedServer`] has a name, a [`SharedClient`] connects to it. Here the client is a thread; it would be another
//! process otherwise, and nothing in it would change.
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
//! - **When the receiver is slow.** `send_*` never waits: with the queue full it evicts the oldest messages, and says
//!   how many. Right for states of which the newest counts. `try_send_*` fails instead, `send_*_timeout` waits for
//!   room: right for streams that must arrive complete. [`ServerOptions::reject_when_full`] settles it for a channel.
//! - **How to receive.** `receive_*` waits for ever, `receive_*_timeout` for a while, `try_receive_*` not at all;
//!   `poll_*` waits without taking. [`ClientOptions::receive_timeout`] bounds the first.
//! - **Time or processor.** A call that waits looks again and again for 50 µs, and then sleeps in the kernel. More
//!   ([`ServerOptions::spin`]) is quicker and burns more; zero burns nothing.
//! - **Two threads.** An endpoint is one thread's. [`SharedServer::split`] gives a half to each of two.
//! - **In the background.** [`AutoServer`] and [`AutoClient`] have a worker that connects, receives and connects again;
//!   a [`MultiServer`] serves many clients. An event loop of your own waits by [`ReceiveHalf::arm`].
//! - **Another language.** The feature `c-api`, on by default, is the C interface; its headers are in `include/`.
//! - **Memory.** Each direction has a ring of [`RING_CAPACITY`] bytes, which Windows commits when the server starts, and
//!   Linux as it is used. [`ServerOptions::ring_size`] and [`ServerOptions::message_limit`] change it.
//!
//! # How it works
//!
//! A section of memory holds a control block and two rings, one for each direction, with one sender and one receiver
//! each. The sender writes a message's bytes, and then the header word in front of them; the receiver looks at the
//! place where the next header word will appear, copies the message out, and moves the read position past it. An
//! evicting sender moves the same position, by compare-and-swap like the receiver, so that a message is either received
//! or evicted. Before a side sleeps it sets a bit in the control block; the other side signals an event only if it
//! finds that bit.
//!
//! Each connection starts with empty rings, under its own number, the generation. A client knows that it was
//! accepted because its own attempt was. Each side watches the other's process: every call that waits ends when the
//! peer has died ([`ShmError::PeerDied`]) or left ([`ShmError::NotConnected`]), after what it sent before has been
//! received.
//!
//! Nothing in the section is trusted. Values are read once and checked, indices are masked, loops are bounded; what a
//! hostile peer can do is to end the session ([`ShmError::Corrupted`]) and to send nonsense of a permitted size.
//!
//! `docs/protocol.md` in the repository describes the protocol byte by byte.
//!
//! # Limits
//!
//! - A channel has one server and one client; a [`MultiServer`] has a channel for each of many clients.
//! - Windows and Linux. 32-bit and 64-bit processes may talk to each other.
//! - Server and client run as the same user, or the server as the system, or the client as the system or an
//!   administrator (root on Linux), unless [`ServerOptions::access`] and [`ClientOptions::trust`] say otherwise. A peer
//!   whose process can't be watched is refused unless a [`check_interval`](ServerOptions::check_interval) is set.
//! - A name is the session's on Windows, the user's on Linux. `Global\` in front of it makes it the machine's, for
//!   which Windows asks for a privilege.
//! - [Anonymous servers](SharedServer::start_anonymous) have no events, so that a side that waits looks every millisecond;
//!   [`ServerOptions::anonymous_events`] gives them some.
//! - Messages are neither encrypted nor signed.

#![deny(missing_docs)]

// Before all others, which use its macro `fail_point`.
#[macro_use]
mod verify;

mod access;
mod auto;
mod background;
mod batch;
mod bytes;
mod channel;
mod client;
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
mod layout;
#[cfg(all(target_os = "linux", not(any(loom, miri))))]
mod linux;
pub mod multi;
mod naming;
#[cfg(all(windows, not(any(loom, miri))))]
mod ntapi;
mod options;
mod readiness;
mod receiving;
mod ring;
mod sending;
mod server;
mod session;
mod shared;
mod sync;
mod sys;
mod threads;
mod waiting;
mod wake;
mod watch;
#[cfg(all(windows, not(any(loom, miri))))]
mod win;

pub use access::{Access, PeerIdentity, UserId};
pub use auto::{
    AutoClient, AutoHandler, AutoOptions, AutoServer, AutoStatsSnapshot, ChannelKind, DisconnectReason,
    SessionId,
};
pub use batch::{BatchOutcome, MessageBatch};
pub use client::SharedClient;
pub use constants::*;
pub use error::{Result, ShmError};
pub use halves::{ChannelStats, ReceiveHalf, SendHalf, WriteOutcome};
pub use handles::{ClientEvents, ClientHandles, EventHandles};
pub use in_place::Reservation;
pub use multi::{
    ClientId, MultiClient, MultiClientHandler, MultiClientOptions, MultiHandler, MultiOptions, MultiServer,
};
pub use options::{ChannelEvent, ClientOptions, ServerOptions, Trust};
pub use readiness::WaitHandles;
pub use server::SharedServer;
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
struct ReadmeExamples;

#[cfg(doctest)]
#[doc = include_str!("../docs/migration.md")]
struct MigrationExamples;

#[cfg(doctest)]
#[doc = include_str!("../docs/driver.md")]
struct DriverExamples;
