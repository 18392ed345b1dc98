//! The server's end of a channel.

use crate::access::PeerIdentity;
use crate::answering::{CallToken, Incoming};
use crate::channel::lifecycle::{Design, Fresh, Lifecycle, RequestsBy};
use crate::channel::wait_set::WaitSet;
#[cfg(all(feature = "c-api", not(loom)))]
use crate::channel::Current;
use crate::channel::{Channel, Kind};
use crate::endpoint::{mirrored_methods, Endpoint};
use crate::error::{Result, ShmError};
use crate::events::Events;
use crate::halves::{ChannelStats, ReceiveHalf, SendHalf, WriteOutcome};
use crate::handles::{ClientHandles, EventHandles};
use crate::layout::{Lengths, FLAG_EVENTS, FLAG_MULTI, FLAG_REJECT};
use crate::naming::ChannelName;
use crate::options::ServerOptions;
use crate::owned::{sealed::Halves, Split};
use crate::readiness::WaitHandles;
use crate::shared::SharedView;
#[cfg(all(feature = "c-api", not(loom)))]
use crate::sync::Arc;
use crate::sys::{ClientEnd, Clients, HeldName, Joined, Listener, Section};
use crate::waiting::{Deadline, Interrupter};
use std::fmt;
use std::time::Duration;

/// The server's end of a channel. It serves one client after the other.
///
/// It is [`Send`], not [`Sync`]: one thread uses it, or two threads use its halves ([`split`](Self::split)). When it is
/// dropped, it leaves the channel: the client first receives what was sent, and then [`ShmError::NotConnected`].
///
/// ```
/// use std::{thread, time::Duration};
/// use xshm::{SharedClient, SharedServer};
///
/// let mut server = SharedServer::start("server-example")?;
/// let client = thread::spawn(|| -> xshm::Result<Vec<u8>> {
///     let client = SharedClient::connect("server-example", Duration::from_secs(5))?;
///     let mut message = Vec::new();
///     client.receive_from_server(&mut message)?;
///     client.send_to_server(b"and hello to you")?;
///     Ok(message)
/// });
/// server.wait_for_client(Some(Duration::from_secs(5)))?;
/// server.send_to_client(b"hello")?;
/// let mut answer = Vec::new();
/// server.receive_from_client(&mut answer)?;
/// assert_eq!(answer, b"and hello to you");
/// assert_eq!(client.join().unwrap()?, b"hello");
/// # Ok::<(), xshm::ShmError>(())
/// ```
///
/// ```compile_fail
/// fn is_sync<T: Sync>() {}
/// is_sync::<xshm::SharedServer>();
/// ```
pub struct SharedServer {
    endpoint: Endpoint,
    /// What event loops wait for, once one has asked for it.
    joined: Option<Joined>,
    /// The last field: the name comes free when all else is gone.
    lifecycle: Lifecycle,
}

impl fmt::Debug for SharedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedServer").field("peer", &self.peer()).finish_non_exhaustive()
    }
}

impl Split for SharedServer {}

impl Halves for SharedServer {
    fn take_halves(&mut self) -> Option<(SendHalf, ReceiveHalf)> {
        self.endpoint.take()
    }

    fn put_halves(&mut self, sender: SendHalf, receiver: ReceiveHalf) {
        self.endpoint.put(sender, receiver);
    }
}

impl SharedServer {
    /// Starts a server under a name of 1 to 80 bytes, which contains no NUL and no backslash. A name that begins with `Global\`
    /// is valid on the whole machine. Any other name, with or without `Local\`, is valid within the session (Windows) or for
    /// the user (Linux). On Linux, each network namespace has its own names.
    ///
    /// # Errors
    /// - [`ShmError::AlreadyExists`]: a running server, or another object, has the name.
    /// - [`ShmError::Refused`]: this process is one whose servers Windows lets no client find (it runs below medium integrity, or
    ///   in an AppContainer), or this thread impersonates another user.
    /// - [`ShmError::InvalidName`], [`ShmError::PrivilegeNotHeld`], [`ShmError::WindowsError`], [`ShmError::SystemError`].
    pub fn start(name: &str) -> Result<Self> {
        ServerOptions::default().start(name)
    }

    /// Starts a server without a name. The program duplicates the [`section_handle`](Self::section_handle) into the client's
    /// process. The client connects by [`attach`](crate::SharedClient::attach).
    ///
    /// The channel has no events: a side that waits checks the section every millisecond (on Windows with each tick of the
    /// system's timer, by default every 15.6 ms). With
    /// [`ServerOptions::anonymous_events`] it has events without names. The program then passes the section and the events to
    /// the client: [`client_handles`](Self::client_handles) returns all of them.
    ///
    /// # Errors
    /// [`ShmError::WindowsError`], [`ShmError::SystemError`].
    pub fn start_anonymous() -> Result<Self> {
        ServerOptions::default().start_anonymous()
    }

    /// Starts a server that makes a channel for each of many clients.
    pub(crate) fn start_many(name: &ChannelName, options: ServerOptions) -> Result<Self> {
        Self::serve(name, options, Clients::Many)
    }

    fn serve(name: &ChannelName, options: ServerOptions, clients: Clients) -> Result<Self> {
        let design = options.design(FLAG_EVENTS, clients)?;
        let listener = Listener::bind(name, &options.access.audience(), clients)?;
        Self::new(Lifecycle::offer(listener, design)?)
    }

    pub(crate) fn new(lifecycle: Lifecycle) -> Result<Self> {
        let interrupt = lifecycle.channel().interrupt.clone();
        Ok(SharedServer { endpoint: Endpoint::new(interrupt), joined: None, lifecycle })
    }

    #[cfg(all(feature = "c-api", not(loom)))]
    pub(crate) fn current(&self) -> Arc<Current> {
        self.lifecycle.current().clone()
    }

    /// What this server holds of its name, for the copy of the server in a fork.
    pub(crate) fn held_name(&self) -> Option<HeldName> {
        self.lifecycle.held_name()
    }

    /// What to wait for until there may be a client to accept.
    pub(crate) fn wait_set(&self) -> WaitSet<'_> {
        self.lifecycle.wait_set(RequestsBy::Event)
    }

    /// Waits for a client, and begins a session with empty queues. `None` waits without a limit; zero checks once.
    ///
    /// Until the session begins, the server can receive the messages of the previous session. Then these messages are
    /// discarded.
    ///
    /// # Errors
    /// - [`ShmError::Timeout`], [`ShmError::Interrupted`], [`ShmError::Forked`].
    /// - [`ShmError::AlreadyConnected`]: the present client still lives. The call changes nothing.
    /// - [`ShmError::SystemError`], [`ShmError::WindowsError`]: this process lacks a resource for another session, for example
    ///   a descriptor. No client gets data of the last session. Call again: the next attempt is made 20 ms after this one, or at
    ///   the end of the call's time if that is earlier.
    /// - [`ShmError::Refused`]: the server can't watch the client's process, and the options set no
    ///   [`check_interval`](crate::ServerOptions::check_interval). Call again to accept another client.
    pub fn wait_for_client(&mut self, timeout: Option<Duration>) -> Result<()> {
        self.accept(timeout, RequestsBy::Event, &mut || {})
    }

    /// Does the same as [`wait_for_client`](Self::wait_for_client), for a client that doesn't signal its request: checks the
    /// section every millisecond.
    ///
    /// # Errors
    /// As [`wait_for_client`](Self::wait_for_client).
    pub fn wait_for_client_noevent(&mut self, timeout: Option<Duration>) -> Result<()> {
        self.accept(timeout, RequestsBy::Looking, &mut || {})
    }

    #[cfg(all(feature = "async", not(any(loom, miri))))]
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.lifecycle.channel().certainly_created_here()
    }

    /// Accepts a client that waits, for an event loop: does what can be done without waiting. Returns whether a session began,
    /// with empty queues. `Ok(false)`: wait until one of the [`accept_handles`](Self::accept_handles) is ready, at most until
    /// their [`next_look`](WaitHandles::next_look), and call this again.
    ///
    /// A client connects in several steps, and several clients may wait, so this call may return `Ok(false)` several times before
    /// a session begins. Between the steps the server waits for no client: a client that is slow loses its turn.
    ///
    /// # Errors
    /// As [`wait_for_client`](Self::wait_for_client), except `Timeout` and `Interrupted`. After an error of the system, this
    /// returns `Ok(false)` for 20 ms.
    pub fn try_accept(&mut self) -> Result<bool> {
        self.try_accept_releasing(&mut || {})
    }

    /// As [`try_accept`](Self::try_accept). `release` is that of [`accept`](Self::accept).
    pub(crate) fn try_accept_releasing(&mut self, release: &mut dyn FnMut()) -> Result<bool> {
        if !self.lifecycle.channel().certainly_created_here() {
            return Err(ShmError::Forked);
        }
        if self.lifecycle.is_resting() {
            return Ok(false);
        }
        // The signal that the event loop has waited for. What it announces stands in the section.
        if let Some(events) = &self.lifecycle.channel().events {
            events.request().reset();
        }
        self.accept_now(release)
    }

    /// Returns the objects that an event loop waits for until there may be a client to accept, and the time of the next look at
    /// the latest. They are valid until the next call of [`try_accept`](Self::try_accept): ask for them again after each call. While
    /// the server has a client, they become ready when this client has left or died.
    ///
    /// On Linux [`data`](WaitHandles::data) is an `epoll` descriptor that stays the same file as long as the server exists, and
    /// [`peer`](WaitHandles::peer) is `None`. On a channel without events there is no object that becomes ready, and the next
    /// look is after a millisecond.
    ///
    /// ```
    /// use std::{thread, time::Duration};
    /// use xshm::{SharedClient, SharedServer};
    ///
    /// let mut server = SharedServer::start("accept-handles")?;
    /// let client = thread::spawn(|| SharedClient::connect("accept-handles", Duration::from_secs(5)));
    /// while !server.try_accept()? {
    ///     let handles = server.accept_handles()?;
    ///     // Your event loop waits here for `handles`, at most until `handles.next_look()`.
    ///     # thread::yield_now();
    /// }
    /// client.join().unwrap()?;
    /// # Ok::<(), xshm::ShmError>(())
    /// ```
    ///
    /// # Errors
    /// [`ShmError::SystemError`], [`ShmError::WindowsError`]: the process can have no more descriptors or handles. Call
    /// [`try_accept`](Self::try_accept) again after 20 ms: no object becomes ready before. [`ShmError::Forked`].
    pub fn accept_handles(&mut self) -> Result<WaitHandles> {
        if !self.lifecycle.channel().certainly_created_here() {
            return Err(ShmError::Forked);
        }
        WaitHandles::joined(&mut self.joined, &self.lifecycle.wait_set(RequestsBy::Event))
    }

    /// Gives both halves of the session away. The session ends before the next [`accept`](Self::accept), by
    /// [`Session::disconnect`](crate::session::Session::disconnect), or because its client is gone.
    pub(crate) fn take(&mut self) -> Option<(SendHalf, ReceiveHalf)> {
        self.endpoint.take()
    }

    /// Waits for a client. `release` drops the halves that were [taken](Self::take), and waits for the calls that use
    /// them: see [`Fresh::answer`](crate::channel::lifecycle::Fresh::answer).
    pub(crate) fn accept(
        &mut self, timeout: Option<Duration>, requests_by: RequestsBy, release: &mut dyn FnMut(),
    ) -> Result<()> {
        if !self.lifecycle.channel().certainly_created_here() {
            return Err(ShmError::Forked);
        }
        let deadline = Deadline::after(timeout);
        loop {
            // Looked at before the attempt: a call whose time is zero makes one.
            let is_last = deadline.has_passed();
            if (is_last || !self.lifecycle.is_resting()) && self.accept_now(release)? {
                return Ok(());
            }
            if is_last {
                return Err(ShmError::Timeout);
            }
            let channel = self.lifecycle.channel();
            if channel.interrupt.is_set() {
                return Err(ShmError::Interrupted);
            }
            let mut set = self.lifecycle.wait_set(requests_by);
            set.event(channel.interrupt.event());
            set.wait(deadline)?;
        }
    }

    /// Does what can be done for clients without waiting. Returns whether a session began.
    ///
    /// # Errors
    /// As [`wait_for_client`](Self::wait_for_client), except for those of waiting.
    pub(crate) fn accept_now(&mut self, release: &mut dyn FnMut()) -> Result<bool> {
        let accepted = self.attempt(release);
        self.lifecycle.rest_after(&accepted);
        accepted
    }

    fn attempt(&mut self, release: &mut dyn FnMut()) -> Result<bool> {
        // A request may stand in the section before the channel is handed to the next client, and after.
        let Some(fresh) = self.lifecycle.fresh()? else { return Ok(false) };
        if begin(&mut self.endpoint, fresh, release)? {
            return Ok(true);
        }
        let Some(fresh) = self.lifecycle.fresh_after_answer()? else { return Ok(false) };
        fresh.hand_over()?;
        begin(&mut self.endpoint, fresh, release)
    }

    /// Makes the next channel ready, so that a client may have it at once.
    pub(crate) fn prepare_next(&mut self) -> Result<()> {
        self.lifecycle.fresh().map(drop)
    }

    /// Ends the session with the present client. The client can still receive what the server has sent, and then gets
    /// [`ShmError::NotConnected`].
    ///
    /// A server with a name can accept the next client at once; that client gets its own section. If the server has no name, or
    /// if the program has asked for handles of the channel, the server can accept the next client only when this client no
    /// longer uses the section.
    pub fn disconnect_client(&mut self) {
        if let Some(session) = self.endpoint.session() {
            session.disconnect();
        }
    }

    pub(crate) fn lengths(&self) -> Lengths {
        self.lifecycle.channel().view.geometry().lengths()
    }

    /// Returns the length of the longest message in bytes: 65,535, or what
    /// [`max_message_size`](ServerOptions::max_message_size) says, or what the ring has room for.
    pub fn max_message_size(&self) -> usize {
        self.lengths().longest()
    }

    /// Returns whether the server has no name.
    pub fn is_anonymous(&self) -> bool {
        self.lifecycle.is_anonymous()
    }

    /// Returns the section: a handle of this process on Windows, a descriptor on Linux. Duplicate it into the client's process,
    /// or pass it to a driver. The library owns it: don't close it. From this call on, successive clients use the same section,
    /// and each client can read what the previous client left there.
    pub fn section_handle(&self) -> isize {
        self.lifecycle.current().hold(Channel::section_handle)
    }

    /// Returns all handles that the client of this channel needs, for a driver or another process that connects without the
    /// name. On Windows they are handles of this process, with only the rights that a client needs; on Linux they are
    /// descriptors. The library owns them, and keeps them open as long as the server exists. Duplicate them into the other
    /// process, for [`SharedClient::attach_handles`](crate::SharedClient::attach_handles), or pass them to a driver. They
    /// include events, unless the server is anonymous and its options do not ask for [events](ServerOptions::anonymous_events).
    ///
    /// Unlike [`get_event_handles`](Self::get_event_handles), this call does not change when messages are signalled. The server
    /// signals a message only if the client sleeps, as `docs/protocol.md` describes.
    ///
    /// From this call on, successive clients use the same section, and each client can read what the previous client left
    /// there. Before this call, a named server on Linux gets each client's process id from the kernel. After it, the server
    /// uses the process id that the client states, as it always does on Windows.
    ///
    /// # Errors
    /// [`ShmError::WindowsError`]: the process can have no more handles. [`ShmError::Forked`].
    pub fn client_handles(&self) -> Result<ClientHandles> {
        self.lifecycle.current().hold(Channel::client_handles)
    }

    /// Returns the channel's data events, for drivers and programs that wait for the events themselves. `None`: the server is
    /// anonymous and has no events.
    ///
    /// From this call on, successive clients use the same section, and each client can read what the previous client left
    /// there. Each side then signals every message, with one kernel call each, since such a program doesn't announce its sleep.
    /// Both events are signalled once at this call, and once at each connection. The program must look for messages before
    /// it waits. An event wakes only one waiter: for each direction, let either the other program or this endpoint's own calls
    /// wait, not both.
    pub fn get_event_handles(&self) -> Option<EventHandles> {
        let announce =
            || self.endpoint.session().into_iter().for_each(|session| session.have_every_message_signalled());
        self.lifecycle.current().hold(|channel| channel.export(announce))
    }

    /// Waits for a message or a call, at most `timeout`, and replaces the contents of `buffer` with its bytes. `None` waits
    /// without a limit. A [`Caller`](crate::Caller) makes the calls.
    ///
    /// ```
    /// use std::{thread, time::Duration};
    /// use xshm::{Caller, Incoming, SharedServer};
    ///
    /// let mut server = SharedServer::start("receive-call-example")?;
    /// let caller = thread::spawn(|| {
    ///     let caller = Caller::connect("receive-call-example", Duration::from_secs(5))?;
    ///     caller.call(b"2 + 2", Some(Duration::from_secs(5)))
    /// });
    /// server.wait_for_client(None)?;
    /// let mut buffer = Vec::new();
    /// if let Incoming::Call(call) = server.receive_call(&mut buffer, None)? {
    ///     assert_eq!(buffer, b"2 + 2");
    ///     server.answer(call, b"4")?;
    /// }
    /// assert_eq!(caller.join().unwrap()?, b"4");
    /// # Ok::<(), xshm::ShmError>(())
    /// ```
    ///
    /// # Errors
    /// As [`ReceiveHalf::receive_timeout`].
    pub fn receive_call(&self, buffer: &mut Vec<u8>, timeout: Option<Duration>) -> Result<Incoming> {
        self.endpoint.receiver(|receiver| receiver.receive_call(buffer, timeout))
    }

    /// Answers a call: see [`SendHalf::answer`].
    ///
    /// # Errors
    /// As [`SendHalf::answer`].
    pub fn answer(&self, call: CallToken, answer: &[u8]) -> Result<()> {
        self.endpoint.sender(|sender| sender.answer(call, answer))
    }

    /// Ends a call without an answer: see [`SendHalf::refuse`].
    ///
    /// # Errors
    /// As [`SendHalf::refuse`].
    pub fn refuse(&self, call: CallToken) -> Result<()> {
        self.endpoint.sender(|sender| sender.refuse(call))
    }

    mirrored_methods!(
        "client",
        send_to_client,
        try_send_to_client,
        send_to_client_timeout,
        receive_from_client,
        receive_from_client_into,
        try_receive_from_client,
        try_receive_from_client_into,
        receive_from_client_timeout,
        receive_from_client_timeout_into,
        poll_client
    );
}

/// Answers the request that stands in the section, if there is one. Returns whether a session began.
fn begin(endpoint: &mut Endpoint, fresh: Fresh<'_>, release: &mut dyn FnMut()) -> Result<bool> {
    let begun = fresh.answer(&mut || {
        endpoint.release();
        release();
    })?;
    if let Some(session) = begun {
        endpoint.begin(session);
        return Ok(true);
    }
    Ok(false)
}

impl ServerOptions {
    /// Starts a server under a name, see [`SharedServer::start`].
    ///
    /// # Errors
    /// Those of [`SharedServer::start`], and [`ShmError::InvalidOption`]: an option has an invalid value.
    pub fn start(self, name: &str) -> Result<SharedServer> {
        SharedServer::serve(&ChannelName::parse(name)?, self, Clients::One)
    }

    /// Starts a server without a name, see [`SharedServer::start_anonymous`].
    ///
    /// # Errors
    /// Those of [`SharedServer::start_anonymous`], and [`ShmError::InvalidOption`]: an option has an invalid value.
    pub fn start_anonymous(self) -> Result<SharedServer> {
        let events = if self.anonymous_events { FLAG_EVENTS } else { 0 };
        let design = self.design(events, Clients::One)?;
        let section = Section::create(design.geometry.section_size())?;
        let view = SharedView::create(section, design.geometry, design.flags, 0)?;
        let (events, client_end) = self.anonymous_events.then(ClientEnd::create).transpose()?.unzip();
        let kind = Kind::Anonymous(client_end);
        let channel = Channel::new(kind, view, events.map(Events::new), design.tuning.clone())?;
        SharedServer::new(Lifecycle::anonymous(channel, design))
    }

    fn design(&self, flags: u32, clients: Clients) -> Result<Design> {
        let mut tuning = self.tuning.clone();
        // The channels of a server share it.
        tuning.interrupt()?;
        let reject = if self.reject_when_full { FLAG_REJECT } else { 0 };
        let multi = if clients == Clients::Many { FLAG_MULTI } else { 0 };
        Ok(Design { geometry: self.geometry()?, flags: flags | reject | multi, tuning, clients })
    }
}
