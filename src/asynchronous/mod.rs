//! Endpoints whose calls are awaited, with any runtime (the feature `async`).
//!
//! ```
//! use xshm::{AsyncClient, AsyncServer};
//!
//! # smol::block_on(async {
//! let mut server = AsyncServer::start("async-module")?;
//! let (accepted, client) = smol::future::zip(server.accept(), AsyncClient::connect("async-module")).await;
//! accepted?;
//! let mut client = client?;
//! client.send(b"ping").await?;
//! let mut message = Vec::new();
//! server.receive(&mut message).await?;
//! assert_eq!(message, b"ping");
//! # Ok::<(), xshm::ShmError>(())
//! # })?;
//! # Ok::<(), xshm::ShmError>(())
//! ```
//!
//! - **Runtimes.** The futures are [`Send`] and need no runtime of a certain kind: tokio, smol and a bare `block_on` all do.
//!   Time limits are the runtime's, such as `tokio::time::timeout`.
//! - **Cancelling.** A future may be dropped at any time. A message whose `send` was dropped was not sent, unless the future
//!   had returned; a dropped `receive` has taken no message; a dropped `connect` withdraws its request. The peer signals nothing
//!   for a future that was dropped.
//! - **Tasks that wait.** They use no processor time, and no thread of their own. On Linux, one thread of the library wakes the
//!   tasks of the whole process; it ends with the last async endpoint. On Windows, the system's thread pool wakes them.
//! - **Forks (Linux).** In a fork, every call on an endpoint of the parent returns
//!   [`ShmError::Forked`].
//! - **One task per direction.** An endpoint awaits one call at a time. [`AsyncServer::into_split`] and
//!   [`AsyncClient::into_split`] return halves for two tasks.
//!
//! The option [`receive_timeout`](crate::ClientOptions::receive_timeout) and interrupters have no effect on these calls.

mod client;
mod halves;
mod link;
mod server;

pub use client::AsyncClient;
pub use halves::{AsyncReceiveHalf, AsyncSendHalf};
pub use server::AsyncServer;

#[cfg(doc)]
use crate::error::ShmError;
