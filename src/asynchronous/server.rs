//! An async server.

use super::halves::{endpoint, receive_methods, send_methods};
use super::link::{self, Link};
use crate::error::{Result, ShmError};
use crate::options::ServerOptions;
use crate::server::SharedServer;
use std::task::{Context, Poll};

/// A server that serves one client after the other, and whose calls are awaited. The [module](super) has an example.
pub struct AsyncServer {
    accepting: Link,
    /// Sending, and receiving.
    directions: [Link; 2],
    server: SharedServer,
}

impl AsyncServer {
    /// Starts a server under a name, see [`SharedServer::start`].
    ///
    /// # Errors
    /// As [`SharedServer::start`], and as [`from_shared`](Self::from_shared).
    pub fn start(name: &str) -> Result<Self> {
        Self::start_with(name, ServerOptions::new())
    }

    /// Starts a server under a name, with options.
    ///
    /// # Errors
    /// As [`ServerOptions::start`], and as [`from_shared`](Self::from_shared).
    pub fn start_with(name: &str, options: ServerOptions) -> Result<Self> {
        Self::from_shared(options.start(name)?)
    }

    /// Waits for a client, and begins a session with empty queues.
    ///
    /// Cancel-safe: if the future is dropped before it has returned, no session has begun, and the next call goes on with the
    /// clients that wait.
    ///
    /// # Errors
    /// As [`SharedServer::try_accept`]. [`ShmError::AlreadyConnected`]: the present client still lives.
    pub async fn accept(&mut self) -> Result<()> {
        /// Wakes no task for a call that was dropped.
        struct Accepting<'a>(&'a mut AsyncServer);

        impl Drop for Accepting<'_> {
            fn drop(&mut self) {
                // A thread that a fork lacks may hold the lock.
                if self.0.server.is_of_this_process() {
                    self.0.accepting.wakes.clear();
                }
            }
        }

        let accepting = Accepting(self);
        std::future::poll_fn(|context| accepting.0.poll_accept(context)).await
    }

    /// As [`accept`](Self::accept), for a future of your own. A task that gets `Pending` is woken when it is worth calling this again.
    /// One task at a time is woken: that of the last call.
    pub fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let AsyncServer { accepting, server, .. } = self;
        if !server.is_of_this_process() {
            return Poll::Ready(Err(ShmError::Forked));
        }
        accepting.begin(context);
        if server.try_accept()? {
            accepting.wakes.clear();
            return Poll::Ready(Ok(()));
        }
        accepting.watch(&server.wait_set())?;
        Poll::Pending
    }

    /// Ends the session with the present client, see [`SharedServer::disconnect_client`].
    pub fn disconnect_client(&mut self) {
        self.server.disconnect_client();
    }

    /// Makes an async endpoint of one whose calls wait on their thread.
    ///
    /// # Errors
    /// [`ShmError::SystemError`], [`ShmError::WindowsError`]: the process can have no more descriptors, handles or threads.
    pub fn from_shared(server: SharedServer) -> Result<Self> {
        Ok(AsyncServer { accepting: Link::new()?, directions: [Link::new()?, Link::new()?], server })
    }
}

endpoint!(AsyncServer, SharedServer, server, "client");
