//! One server, many clients, each with its own channel.
//!
//! ```text
//!                  the name ──► the channel that is offered now
//!  client 1 connects to it, gets slot 0;  the name ──► a fresh channel
//!  client 2 connects to that, gets slot 1;  the name ──► a fresh channel ...
//! ```
//!
//! No client can block the name: it always leads to a channel that no client has, the
//! ordinary handshake is made there, and the moment it is made a fresh channel stands behind the name. A client that
//! freezes, dies or misbehaves has taken its own channel, and nothing else. Once the server's handler knows the client,
//! its slot is written into the channel (`layout.rs`), where `connect` waits for it.
//!
//! One thread accepts. The clients' messages are handed over by workers, one for each `clients_per_worker` slots, each
//! asleep in one kernel wait for all of its clients.

mod accept;
mod client;
#[cfg(all(feature = "c-api", not(loom)))]
pub(crate) mod ffi;
mod handler;
mod server;
mod slots;

pub use client::{MultiClient, MultiClientHandler, MultiClientOptions};
pub use handler::{MultiHandler, MultiOptions};
pub use server::MultiServer;
pub use slots::ClientId;
