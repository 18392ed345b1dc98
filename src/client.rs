//! The client's end of a channel.

use crate::access::PeerIdentity;
use crate::constants::MAX_MESSAGE_SIZE;
use crate::endpoint::{mirrored_methods, Endpoint};
use crate::error::Result;
#[cfg(doc)]
use crate::error::ShmError;
use crate::halves::{ChannelStats, ReceiveHalf, SendHalf, WriteOutcome};
use crate::handles::ClientHandles;
use crate::options::ClientOptions;
use crate::owned::{sealed::Halves, Split};
use crate::session::Session;
use crate::sync::Arc;
use crate::sys;
use crate::waiting::Interrupter;
use std::fmt;
use std::time::Duration;

/// A client: the side of a channel that connects to a server.
///
/// It is [`Send`], not [`Sync`]: one thread uses it, or two threads use its halves ([`split`](Self::split)). When it is
/// dropped, it leaves the channel: the server first receives what was sent, and then [`ShmError::NotConnected`], and can accept
/// the next client. [`SharedServer`](crate::SharedServer) has an example.
///
/// ```compile_fail
/// fn is_sync<T: Sync>() {}
/// is_sync::<xshm::SharedClient>();
/// ```
pub struct SharedClient {
    endpoint: Endpoint,
    /// `None`: the server serves one client.
    slot: Option<u32>,
}

impl fmt::Debug for SharedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedClient").field("peer", &self.peer()).finish_non_exhaustive()
    }
}

impl Split for SharedClient {}

impl Halves for SharedClient {
    fn take_halves(&mut self) -> Option<(SendHalf, ReceiveHalf)> {
        self.endpoint.take()
    }

    fn put_halves(&mut self, sender: SendHalf, receiver: ReceiveHalf) {
        self.endpoint.put(sender, receiver);
    }
}

impl SharedClient {
    /// Connects to the server that has the name. Waits, up to `timeout` in all, until the server exists, the previous client
    /// has left, and the server accepts this client. If the name does not exist yet, looks again every 1 to 50 ms. A server
    /// accepts its clients in the order in which they came; a client that waits for its turn sleeps.
    ///
    /// The server may be one for many clients: then the call also waits until the server has given the client a
    /// [slot](Self::slot_id) and called its handler.
    ///
    /// # Errors
    /// - [`ShmError::NoFreeSlot`]: the server serves many clients, and each slot has one.
    /// - [`ShmError::NoServer`]: the time has passed, and no server has the name.
    /// - [`ShmError::NotAccepting`]: the time has passed; the server with this name runs, but did not accept this client. On
    ///   Linux the server hands its memory over to a client that waits, so a timeout of zero rarely succeeds.
    /// - [`ShmError::AlreadyConnected`]: the server has another client, or has not yet looked for the next one.
    /// - [`ShmError::Refused`]: one side refuses the other; the error says why.
    /// - [`ShmError::Incompatible`]: the server has an incompatible version; the error names the field.
    /// - [`ShmError::Interrupted`]: the [`interrupter`](crate::ClientOptions::interrupter) of the options ended the call.
    /// - [`ShmError::InvalidName`], [`ShmError::WindowsError`], [`ShmError::SystemError`].
    pub fn connect(name: &str, timeout: Duration) -> Result<Self> {
        ClientOptions::default().connect(name, timeout)
    }

    /// Connects to an anonymous server by its section: a descriptor on Linux, a handle on Windows, or a value that owns or
    /// borrows one. The library duplicates it; the caller keeps its own.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), but the client accepts the server of any user. [`ShmError::Timeout`]: the server did not
    /// accept in time. [`ShmError::Refused`] also means that the channel has events: use
    /// [`attach_handles`](Self::attach_handles) then.
    pub fn attach(section: impl sys::AsObject, timeout: Duration) -> Result<Self> {
        ClientOptions::default().attach(section, timeout)
    }

    /// Connects to a server by its [`client_handles`](crate::SharedServer::client_handles), duplicated into this
    /// process. The client duplicates them once more; the caller keeps its own.
    ///
    /// # Safety
    /// Each number must be an open descriptor or handle of this process. The caller must keep it open until this call returns.
    ///
    /// # Errors
    /// As [`attach`](Self::attach); [`ShmError::Refused`] if the handles have events and the channel has none, or the reverse.
    ///
    /// ```
    /// use std::{thread, time::Duration};
    /// use xshm::{ServerOptions, SharedClient};
    ///
    /// let mut server = ServerOptions::new().anonymous_events().start_anonymous()?;
    /// // Another process would get duplicates of these.
    /// let handles = server.client_handles()?;
    /// // SAFETY: the server lives, and so keeps them open.
    /// let client = thread::spawn(move || unsafe { SharedClient::attach_handles(&handles, Duration::from_secs(5)) });
    /// server.wait_for_client(Some(Duration::from_secs(5)))?;
    /// server.send_to_client(b"hello")?;
    /// let mut message = Vec::new();
    /// client.join().unwrap()?.receive_from_server(&mut message)?;
    /// assert_eq!(message, b"hello");
    /// # Ok::<(), xshm::ShmError>(())
    /// ```
    pub unsafe fn attach_handles(handles: &ClientHandles, timeout: Duration) -> Result<Self> {
        // SAFETY: by the caller.
        unsafe { ClientOptions::default().attach_handles(handles, timeout) }
    }

    /// `slot`: what the server has given the client, if it serves many.
    pub(crate) fn connected(session: Session, slot: Option<u32>) -> Self {
        let mut endpoint = Endpoint::new(session.channel.interrupt.clone());
        endpoint.begin(Arc::new(session));
        SharedClient { endpoint, slot }
    }

    /// Returns the length of the longest message in bytes: 65,535, or what the server has set as
    /// [`max_message_size`](crate::ServerOptions::max_message_size), or what the ring has room for.
    pub fn max_message_size(&self) -> usize {
        self.endpoint
            .session()
            .map_or(MAX_MESSAGE_SIZE, |session| session.channel.view.geometry().lengths().longest())
    }

    /// Returns the slot that a [`MultiServer`](crate::MultiServer) has given this client. `None`: the server serves one client.
    pub fn slot_id(&self) -> Option<u32> {
        self.slot
    }

    /// Gives both halves away.
    pub(crate) fn take(mut self) -> Option<(SendHalf, ReceiveHalf)> {
        self.endpoint.take()
    }

    mirrored_methods!(
        "server",
        send_to_server,
        try_send_to_server,
        send_to_server_timeout,
        receive_from_server,
        receive_from_server_into,
        try_receive_from_server,
        try_receive_from_server_into,
        receive_from_server_timeout,
        receive_from_server_timeout_into,
        poll_server
    );
}
