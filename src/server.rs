//! The server's end: creating a channel, and the accepting side of the handshake.
//!
//! [`ClientWord`] shows the states. The server looks at the client's word; finds a hello;
//! makes sure that its process runs, and holds it; empties both rings and raises the generation; swaps **that exact
//! word** to ready; signals. A hello that was withdrawn meanwhile makes the swap fail, and nothing has happened.

use crate::access::{PeerIdentity, UserId};
use crate::channel::{Channel, Peer, Side};
use crate::endpoint::{mirrored_methods, Endpoint};
use crate::error::{Result, ShmError};
use crate::events::{ClientHandles, EventHandles, Events};
use crate::halves::{ChannelStats, ReceiveHalf, SendHalf, WriteOutcome};
use crate::layout::{ClientWord, Direction, FLAG_EVENTS, FLAG_MULTI, FLAG_REJECT};
use crate::naming::ChannelName;
use crate::options::{ChannelEvent, ServerOptions};
use crate::session::Session;
use crate::shared::SharedView;
use crate::sync::{Arc, Ordering};
use crate::sys::{self, Guard, Handout, Prepared, Process, Section, Unwatchable, Waitable};
use crate::waiting::{Deadline, Interrupter};
use crate::wake::WakeWord;
use std::time::Duration;

/// How often [`SharedServer::wait_for_client_noevent`], and a server without events, look for a client.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// The end of a channel that has the name. It serves one client at a time, one after the other.
///
/// [`Send`], not [`Sync`]: one thread uses it, or two with [`split`](Self::split). Dropping it is leaving: the client
/// receives what was sent, then [`ShmError::NotConnected`].
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
    generation: u32,
    /// The session before, until its client is known to have let go of the section.
    previous: Option<Arc<Session>>,
}

impl SharedServer {
    /// Starts a server under a name of 1 to 80 bytes, without NUL and backslash. A name that begins with `Global\` is
    /// the whole machine's; any other, with or without `Local\`, the session's.
    ///
    /// # Errors
    /// - [`ShmError::AlreadyExists`]: a living server, or anything else, has the name. One that died doesn't.
    /// - [`ShmError::InvalidName`], [`ShmError::PrivilegeNotHeld`], [`ShmError::WindowsError`], [`ShmError::SystemError`].
    pub fn start(name: &str) -> Result<Self> {
        Self::start_with(name, ServerOptions::default())
    }

    /// Starts a server without a name. Its client gets the [`section_handle`](Self::section_handle) in some other
    /// way, duplicated into its process, and [attaches](crate::SharedClient::attach).
    ///
    /// There are no events then: who waits looks every millisecond. With
    /// [`ServerOptions::anonymous_events`] there are some, without names, which the client gets like the section:
    /// [`client_handles`](Self::client_handles) tells all of them.
    ///
    /// # Errors
    /// [`ShmError::WindowsError`], [`ShmError::SystemError`].
    pub fn start_anonymous() -> Result<Self> {
        Self::start_anonymous_with(ServerOptions::default())
    }

    pub(crate) fn start_with(name: &str, options: ServerOptions) -> Result<Self> {
        let name = ChannelName::parse(name)?;
        let geometry = options.geometry()?;
        let size = geometry.section_size();
        let Prepared { section, events, instance, handout, announcement } =
            Prepared::new(&name, &options.access, size)?;
        let flags = FLAG_EVENTS | options.flags();
        let view = SharedView::create(section, geometry, flags, instance)?;
        let guard = announcement.announce()?;
        let guard = Some(Arc::new(guard));
        let channel = Channel::new(Side::Server, view, Some(Events::new(events)), guard, options.tuning)?;
        Ok(Self::new(channel.with_handout(handout)))
    }

    /// Puts a fresh channel behind a multi-client server's name: the first, where there's no guard yet.
    pub(crate) fn offer(
        name: &ChannelName,
        options: &ServerOptions,
        guard: Option<Arc<Guard>>,
    ) -> Result<Self> {
        let geometry = options.geometry()?;
        let Prepared { section, events, instance, announcement, .. } =
            Prepared::new(name, &options.access, geometry.section_size())?;
        let flags = FLAG_EVENTS | FLAG_MULTI | options.flags();
        let view = SharedView::create(section, geometry, flags, instance)?;
        let turn = guard.as_ref().map_or(instance, |guard| guard.instance());
        view.turn().store(turn, Ordering::Relaxed);
        let guard = match guard {
            None => Arc::new(announcement.announce_movable()?),
            Some(guard) => {
                announcement.replace(&guard)?;
                guard
            }
        };
        let events = Some(Events::new(events));
        Ok(Self::new(Channel::new(Side::Server, view, events, Some(guard), options.tuning.clone())?))
    }

    #[cfg(feature = "c-api")]
    pub(crate) fn channel(&self) -> &Arc<Channel> {
        &self.endpoint.channel
    }

    pub(crate) fn guard(&self) -> Option<Arc<Guard>> {
        self.endpoint.channel.shared_guard()
    }

    /// What to wait for while nobody has knocked, and for how long.
    pub(crate) fn knocks(&self) -> (impl Iterator<Item = Waitable<'_>>, Option<Duration>) {
        let channel = &self.endpoint.channel;
        let request = channel.events.as_ref().map(|events| events.request());
        let (knocks, bound) = channel.guard().map_or((None, None), |guard| guard.knocks());
        (request.into_iter().chain(knocks).map(Waitable::Event), bound)
    }

    pub(crate) fn start_anonymous_with(options: ServerOptions) -> Result<Self> {
        let geometry = options.geometry()?;
        let section = Section::create(geometry.section_size())?;
        if !options.anonymous_events {
            let view = SharedView::create(section, geometry, options.flags(), 0)?;
            return Ok(Self::new(Channel::new(Side::Server, view, None, None, options.tuning)?));
        }
        let view = SharedView::create(section, geometry, FLAG_EVENTS | options.flags(), 0)?;
        let (events, handout) = Handout::create()?;
        let channel = Channel::new(Side::Server, view, Some(Events::new(events)), None, options.tuning)?;
        Ok(Self::new(channel.with_handout(handout)))
    }

    pub(crate) fn new(channel: Channel) -> Self {
        SharedServer { endpoint: Endpoint::new(Arc::new(channel)), generation: 0, previous: None }
    }

    /// Waits for a client and begins a session with it, with empty queues. What an earlier session left unread is
    /// discarded. `None` waits for ever, zero looks once.
    ///
    /// # Errors
    /// - [`ShmError::Timeout`], [`ShmError::Interrupted`], [`ShmError::Forked`].
    /// - [`ShmError::AlreadyConnected`]: the present client lives. Nothing changed.
    /// - [`ShmError::SystemError`]: a client came, and this process has no descriptor left for it (on Linux).
    /// - [`ShmError::Refused`]: a client came whose process can't be watched, and the options set no
    ///   [`check_interval`](crate::ServerOptions::check_interval). Others may come.
    pub fn wait_for_client(&mut self, timeout: Option<Duration>) -> Result<()> {
        self.accept(timeout, true)
    }

    /// As [`wait_for_client`](Self::wait_for_client), for a client that doesn't signal the request event: looks into
    /// the section every millisecond.
    ///
    /// # Errors
    /// As there.
    pub fn wait_for_client_noevent(&mut self, timeout: Option<Duration>) -> Result<()> {
        self.accept(timeout, false)
    }

    /// Gives both halves of the session away. It ends before the next client is waited for, by
    /// [`Session::disconnect`], or because its client is gone.
    pub(crate) fn take(&mut self) -> Option<(SendHalf, ReceiveHalf)> {
        let (sender, receiver) = self.endpoint.take()?;
        self.previous = Some(receiver.session.clone());
        Some((sender, receiver))
    }

    fn accept(&mut self, timeout: Option<Duration>, by_event: bool) -> Result<()> {
        self.endpoint.channel.check_home()?;
        if self.is_connected() {
            return Err(ShmError::AlreadyConnected);
        }
        if let Some(session) = self.endpoint.end() {
            self.previous = Some(session);
        }
        let deadline = Deadline::after(timeout);
        loop {
            if self.accept_now()? {
                return Ok(());
            }
            if deadline.has_passed() {
                return Err(ShmError::Timeout);
            }
            if self.endpoint.channel.interrupt.is_set() {
                return Err(ShmError::Interrupted);
            }
            self.wait_for_request(deadline, by_event)?;
        }
    }

    /// Lets in whoever knocks, and answers a hello. Whether a session began by that.
    ///
    /// # Errors
    /// As [`wait_for_client`](Self::wait_for_client), but for the time.
    pub(crate) fn accept_now(&mut self) -> Result<bool> {
        // What a client spoiled shall not keep the next one out.
        self.endpoint.channel.view.restore();
        if let (Some(guard), false) = (self.endpoint.channel.guard(), self.endpoint.channel.view.is_multi()) {
            if guard.is_overdue() {
                if self.look()? {
                    return Ok(true);
                }
                self.endpoint.channel.renew()?;
            }
        }
        if let Some(guard) = self.endpoint.channel.guard() {
            guard.admit()?;
        }
        self.look()
    }

    /// Looks at the client's word and does what it asks for. Whether a session began by that.
    fn look(&mut self) -> Result<bool> {
        if let Some(previous) = &self.previous {
            let word = self.endpoint.channel.word();
            let same = word.with_state(ClientWord::READY) == previous.word;
            let held = same && matches!(word.state(), ClientWord::READY | ClientWord::ENDED);
            if held && !previous.peer.has_ended() {
                return Ok(false);
            }
            self.previous = None;
            if let Some(guard) = self.endpoint.channel.guard() {
                guard.set_busy(false);
            }
            self.endpoint.channel.renew()?;
        }
        let word = self.endpoint.channel.word();
        match word.state() {
            ClientWord::HELLO => return self.answer(word),
            _ if word.is_free() => {}
            // A dead client's, or what never was a client's.
            _ => drop(self.endpoint.channel.swap_word(word, ClientWord::IDLE)),
        }
        Ok(false)
    }

    /// Answers a hello. Whether a session began by that.
    fn answer(&mut self, hello: ClientWord) -> Result<bool> {
        let channel = self.endpoint.channel.clone();
        fail_point!("accept.hello");
        let process = match channel.open_client(hello.pid()) {
            Ok(process) => Some(process),
            Err(Unwatchable::Gone) => {
                channel.swap_word(hello, ClientWord::IDLE);
                return Ok(false);
            }
            Err(Unwatchable::Denied) if channel.tuning.check_interval.is_some() => None,
            Err(Unwatchable::Denied) => return self.refuse(hello),
        };
        // Whatever can fail comes before the client is told.
        let over = sys::Event::local()?;
        let generation = self.generation.wrapping_add(1);
        let control = channel.view.control();
        for direction in [Direction::ServerToClient, Direction::ClientToServer] {
            // SAFETY: the ring is dropped at once. It has neither producer nor consumer: ours ended with the last
            // session, and its client has let go (`look`).
            unsafe { channel.view.ring(direction) }.reset(generation);
        }
        if channel.view.is_multi() {
            channel.view.slot().store(0, Ordering::Relaxed);
        }
        WakeWord::reset(&control.server_wake, generation, channel.standing_bits());
        WakeWord::reset(&control.client_wake, generation, 0);
        control.generation.store(generation, Ordering::Release);
        self.generation = generation;
        fail_point!("accept.reset");
        if !channel.swap_word(hello, ClientWord::READY) {
            return Ok(false);
        }
        fail_point!("accept.ready");
        if let Some(events) = &channel.events {
            events.acknowledge().set();
        }
        fail_point!("accept.answered");
        channel.signal_exported();
        let user = process.as_ref().and_then(Process::user).map(UserId);
        let peer = Peer::new(hello.pid(), process, user);
        let ready = hello.with_state(ClientWord::READY);
        if let Some(guard) = channel.guard() {
            guard.served();
            guard.set_busy(true);
        }
        self.endpoint.begin(Session::new(channel, ready, generation, peer, over));
        Ok(true)
    }

    fn refuse(&self, hello: ClientWord) -> Result<bool> {
        let channel = &self.endpoint.channel;
        channel.swap_word(hello, ClientWord::REFUSED);
        if let Some(events) = &channel.events {
            events.acknowledge().set();
        }
        let reason = format!(
            "the client's process {} can't be opened to wait for its end, and no check interval is set",
            hello.pid()
        );
        let error = ShmError::Refused { reason };
        channel.tuning.report(&ChannelEvent::Refused(error.clone()));
        Err(error)
    }

    fn wait_for_request(&self, deadline: Deadline, by_event: bool) -> Result<()> {
        let channel = &self.endpoint.channel;
        let mut objects = vec![Waitable::Event(channel.interrupt.event())];
        let mut bound = Some(LOOK_INTERVAL);
        if let (true, Some(events)) = (by_event, &channel.events) {
            objects.insert(0, Waitable::Event(events.request()));
            bound = None;
        }
        let (knocks, patience) = channel.guard().map_or((None, None), Guard::knocks);
        objects.extend(knocks.map(Waitable::Event));
        bound = bound.into_iter().chain(patience).min();
        if let Some(previous) = &self.previous {
            match previous.peer.process() {
                Some(process) => objects.push(Waitable::Process(process)),
                None => bound = bound.or(channel.tuning.check_interval),
            }
        }
        sys::wait_any(&objects, deadline.remaining(bound)).map(drop)
    }

    /// Ends the session with the present client, which learns of it at once, and receives first what was sent. The
    /// next one is accepted when it has let go of the channel.
    pub fn disconnect_client(&mut self) {
        if let Some(session) = self.endpoint.session() {
            session.disconnect();
        }
    }

    /// Whether the server has no name.
    pub fn is_anonymous(&self) -> bool {
        self.endpoint.channel.is_anonymous()
    }

    /// The section, to be duplicated into the process of a client or handed to a driver: a handle of this process on
    /// Windows, a descriptor on Linux. It stays the library's: don't close it.
    pub fn section_handle(&self) -> isize {
        self.endpoint.channel.section_handle()
    }

    /// All that the client's end of this channel needs, for a driver or another process that connects without the
    /// name: handles of this process on Windows, with the rights that a client needs and no others; descriptors on
    /// Linux. They stay the library's, and open as long as the server: duplicate them into the other process, where
    /// [`SharedClient::attach_handles`](crate::SharedClient::attach_handles) takes them, or hand them to a driver that
    /// does. The channel has events unless the server is anonymous and did not ask for
    /// [some](ServerOptions::anonymous_events).
    ///
    /// Unlike [`get_event_handles`](Self::get_event_handles), this changes nothing in how messages are signalled: who
    /// takes the client's part says itself when it sleeps, by the rules of `docs/protocol.md`.
    ///
    /// From this call on, a named server on Linux takes the word of whoever holds the section for which process it is,
    /// as Windows always does; before it, the kernel said so of each client.
    ///
    /// # Errors
    /// [`ShmError::WindowsError`] when the process can have no more handles; [`ShmError::Forked`].
    pub fn client_handles(&self) -> Result<ClientHandles> {
        self.endpoint.channel.client_handles()
    }

    /// The channel's data events, for native waiters and drivers. `None` for an anonymous server without events.
    ///
    /// From this call on, every message in either direction is signalled, since a native waiter doesn't tell when it
    /// sleeps: a kernel call each. Both events are signalled once at the call, and at each connection. A native waiter
    /// looks for messages before it waits. An event wakes one waiter: let either a native waiter or this endpoint's
    /// own calls wait for one direction's data, not both.
    pub fn get_event_handles(&self) -> Option<EventHandles> {
        self.endpoint.event_handles()
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

impl ServerOptions {
    fn flags(&self) -> u32 {
        if self.reject_when_full {
            FLAG_REJECT
        } else {
            0
        }
    }
}
