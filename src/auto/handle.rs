//! A handle of an endpoint with one connection at a time, for its handler and for other threads.

use crate::background::core::Core;
use crate::background::peer::PeerHandle;
use crate::background::sending::ONLY;
use crate::error::{Result, ShmError};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The counts of an auto endpoint since it was created, over all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AutoStatsSnapshot {
    /// Messages that were put into a ring.
    pub sent_messages: u64,
    /// Outgoing messages that were lost: dropped from the full send queue, evicted from the ring before the peer took them,
    /// left in the ring when the peer was gone, or left in the send queue when the endpoint was stopped.
    pub send_overflows: u64,
    /// Messages that were received.
    pub received_messages: u64,
    /// Messages that the peer evicted before they could be received.
    pub receive_overflows: u64,
}

impl AutoStatsSnapshot {
    pub(crate) fn of(core: &Core) -> Self {
        let outbox = core.outbox(0);
        AutoStatsSnapshot {
            sent_messages: outbox.sent.load(Ordering::Relaxed),
            send_overflows: outbox.send_overflows.load(Ordering::Relaxed),
            received_messages: outbox.received.load(Ordering::Relaxed),
            receive_overflows: outbox.receive_overflows.load(Ordering::Relaxed),
        }
    }
}

/// A handle of an [`AutoServer`](crate::AutoServer), an [`AutoClient`](crate::AutoClient) or a
/// [`MultiClient`](crate::MultiClient), for its handler and for other threads. It does not keep the endpoint alive: when the
/// endpoint was dropped, every call fails with [`ShmError::NotConnected`].
///
/// A handler gets it before every other call: see [`AutoHandler::on_start`](crate::AutoHandler::on_start).
///
/// ```
/// use std::sync::{mpsc, Arc, Mutex, OnceLock};
/// use xshm::{AutoClient, AutoHandle, AutoHandler, AutoOptions, AutoServer, ChannelKind};
///
/// /// Sends each message back.
/// #[derive(Default)]
/// struct Echo(OnceLock<AutoHandle>);
///
/// impl AutoHandler for Echo {
///     fn on_start(&self, endpoint: AutoHandle) {
///         let _ = self.0.set(endpoint);
///     }
///     fn on_message(&self, _: ChannelKind, payload: &[u8]) {
///         if let Some(endpoint) = self.0.get() {
///             let _ = endpoint.send(payload);
///         }
///     }
/// }
///
/// let _server = AutoServer::start("auto-handle-example", Arc::new(Echo::default()), AutoOptions::default())?;
/// let (sender, answers) = mpsc::channel();
/// let sender = Mutex::new(sender);
/// let client = AutoClient::builder("auto-handle-example")
///     .on_message(move |_, bytes| sender.lock().unwrap().send(bytes.to_vec()).unwrap())
///     .connect()?;
/// client.send(b"hello")?;
/// assert_eq!(answers.recv().unwrap(), b"hello");
/// # Ok::<(), xshm::ShmError>(())
/// ```
#[derive(Clone)]
pub struct AutoHandle {
    core: Weak<Core>,
}

impl AutoHandle {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        AutoHandle { core: Arc::downgrade(core) }
    }

    fn core(&self) -> Result<Arc<Core>> {
        self.core.upgrade().ok_or(ShmError::NotConnected)
    }

    /// Sends a message, as [`AutoServer::send`](crate::AutoServer::send) and [`MultiClient::send`](crate::MultiClient::send) do.
    ///
    /// # Errors
    /// Theirs.
    pub fn send(&self, message: &[u8]) -> Result<()> {
        self.core()?.send(ONLY, message).map(drop)
    }

    /// Sends a message if there is room, as [`AutoServer::try_send`](crate::AutoServer::try_send) does.
    ///
    /// # Errors
    /// Those of that method.
    pub fn try_send(&self, message: &[u8]) -> Result<()> {
        self.core()?.try_send(ONLY, message)
    }

    /// Sends a message, and waits for room, as [`AutoServer::send_timeout`](crate::AutoServer::send_timeout) does.
    ///
    /// # Errors
    /// Those of that method.
    pub fn send_timeout(&self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
        self.core()?.send_timeout(ONLY, message, timeout)
    }

    /// Returns the peer of the present session, and of no later one. `None`: there is no session.
    pub fn peer(&self) -> Option<PeerHandle> {
        PeerHandle::current(&self.core().ok()?, 0)
    }

    /// Returns whether there is a connection, as far as the worker knows.
    pub fn is_connected(&self) -> bool {
        self.core().is_ok_and(|core| core.is_connected(ONLY))
    }

    /// Returns the counts of messages that were sent, received and lost so far. All are 0 when the endpoint is gone.
    pub fn stats(&self) -> AutoStatsSnapshot {
        self.core().map_or_else(|_| AutoStatsSnapshot::default(), |core| AutoStatsSnapshot::of(&core))
    }

    /// Begins to stop the endpoint, and returns without waiting, as
    /// [`AutoServer::request_stop`](crate::AutoServer::request_stop) does.
    pub fn request_stop(&self) {
        if let Ok(core) = self.core() {
            core.request_stop();
        }
    }
}

impl fmt::Debug for AutoHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AutoHandle").field("is_connected", &self.is_connected()).finish()
    }
}
