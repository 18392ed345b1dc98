//! What the background modes share: [`auto`](crate::auto), with one connection at a time, and [`multi`](crate::multi), with
//! many.
//!
//! ```text
//!  any thread                          the worker
//!  send ──► ring, if connected         the source: new connections
//!       └─► queue, if not              what is queued goes into the ring
//!                                      on_message, on_message, ...   (asleep in the kernel when there is none)
//!                                      the end of a connection
//! ```
//!
//! The calling thread sends: straight into the ring, under a lock that no callback runs under. A worker serves up to 30
//! connections. It waits for messages, for room where a sender lacks it, for the peers' ends and for the endpoint's own stop,
//! all in one kernel wait, and polls nothing.

pub(crate) mod callbacks;
pub(crate) mod connection;
pub(crate) mod core;
pub(crate) mod outbox;
pub(crate) mod sending;
pub(crate) mod worker;
