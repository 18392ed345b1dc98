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

pub(crate) mod call;
pub(crate) mod callbacks;
pub(crate) mod closures;
pub(crate) mod connection;
pub(crate) mod core;
pub(crate) mod outbox;
pub(crate) mod peer;
pub(crate) mod retry;
pub(crate) mod sending;
pub(crate) mod worker;

/// The public methods that stop an endpoint, given how it gets at its [`core::Core`].
macro_rules! stop_methods {
    ($self:ident => $core:expr) => {
        /// Stops the endpoint, and waits until its threads have ended.
        ///
        /// The endpoint calls the handler for the messages that have arrived, and then for the end of each connection. It does
        /// not call the handler after this method has returned. It sends the queued messages as far as the ring has room.
        /// Messages that had no room, or that waited for a connection, are lost, and counted.
        ///
        /// Two kinds of calls do not wait, and return before the threads have ended. The first is a call from the endpoint's
        /// own handler: the endpoint then calls the handler only for the ends of connections. The second is a call from the
        /// handler of another endpoint, if this endpoint's handler waits until that other endpoint has stopped: each would
        /// wait for the other.
        pub fn stop(&$self) {
            $core.stop();
        }

        /// Begins to [stop](Self::stop), and returns without waiting. Any thread may call this, and the handler too. The
        /// endpoint then calls the handler for the messages that have arrived, and last for the end of each connection.
        pub fn request_stop(&$self) {
            $core.request_stop();
        }

        /// Does the same as [`stop`](Self::stop), but waits at most `timeout`.
        ///
        /// # Errors
        /// - [`ShmError::Timeout`](crate::ShmError::Timeout): the threads have not ended yet, and will end later.
        /// - [`ShmError::NotReady`](crate::ShmError::NotReady): this call must not wait for the threads; see `stop`.
        /// - [`ShmError::Forked`](crate::ShmError::Forked).
        pub fn stop_timeout(&$self, timeout: Duration) -> Result<()> {
            $core.stop_timeout(timeout)
        }
    };
}

pub(crate) use stop_methods;
