//! A server for many clients, each with its own channel.
//!
//! ```text
//!                  the name ──► the channel that is offered now
//!  client 1 connects to it, gets slot 0;  the name ──► a fresh channel
//!  client 2 connects to that, gets slot 1;  the name ──► a fresh channel ...
//! ```
//!
//! No client can block the name. The name always leads to a channel that no client has; the ordinary handshake happens there,
//! and right after it the server offers a fresh channel under the name. A client that freezes, dies or misbehaves affects its
//! own channel alone. After the server's handler has been called for the client, the server writes the client's slot into the
//! channel (`layout.rs`), where `connect` waits for it.
//!
//! One thread accepts. One worker for each `clients_per_worker` slots delivers the clients' messages, and sleeps in one kernel
//! wait for all of them.

mod accept;
mod builder;
mod client;
mod clients;
#[cfg(all(feature = "c-api", not(loom)))]
pub(crate) mod ffi;
mod handler;
mod server;
mod slots;

pub use builder::{MultiClientBuilder, MultiServerBuilder};
pub use client::{MultiClient, MultiClientHandler, MultiClientOptions};
pub use clients::{BroadcastOutcome, MultiHandle};
pub use handler::{MultiHandler, MultiOptions};
pub use server::MultiServer;
pub use slots::ClientId;
