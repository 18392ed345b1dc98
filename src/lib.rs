//! Messages between the processes of one machine, over shared memory.

#![deny(missing_docs)]

mod access;
mod bytes;
mod client;
mod constants;
mod endpoint;
mod error;
mod events;
mod layout;
mod naming;
mod options;
mod ring;
mod server;
mod session;
mod shared;
mod sync;
mod sys;
mod wake;

pub use access::{Access, PeerIdentity, UserId};
pub use client::SharedClient;
pub use constants::*;
pub use endpoint::{ChannelStats, ReceiveHalf, SendHalf, WriteOutcome};
pub use error::{Result, ShmError};
pub use events::EventHandles;
pub use options::{ChannelEvent, ClientOptions, ServerOptions, Trust};
pub use server::SharedServer;
pub use session::Interrupter;
