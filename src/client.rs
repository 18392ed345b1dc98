//! The client's end: finding a channel, and the knocking side of the handshake.
//!
//! [`ClientWord`] shows the states. The client checks the section; swaps the word from a
//! free one to its hello, with the next attempt's number and its process id; signals; and waits for the acknowledgement
//! or the server's end. It was accepted when **its own exact word** reads ready, and only then reads the generation.
//! It withdraws by an exact swap too: if that fails, it has been answered.

use crate::access::{PeerIdentity, UserId};
use crate::channel::{Channel, Peer, Side};
use crate::endpoint::{mirrored_methods, Endpoint};
use crate::error::{Result, ShmError};
use crate::events::{ClientHandles, Events};
use crate::halves::{ChannelStats, ReceiveHalf, SendHalf, WriteOutcome};
use crate::layout::{ClientWord, SERVER_UP};
use crate::naming::ChannelName;
use crate::options::{ChannelEvent, ClientOptions, Trust};
use crate::session::Session;
use crate::shared::SharedView;
use crate::sync::{Arc, Ordering};
use crate::sys::{self, Process, Section, Unwatchable, Waitable};
use crate::waiting::{Deadline, Interrupter};
use std::time::Duration;

/// The end of a channel that connects to a server.
///
/// [`Send`], not [`Sync`]: one thread uses it, or two with [`split`](Self::split). Dropping it is leaving: the server
/// receives what was sent, then [`ShmError::NotConnected`], and can take the next client. For an example see
/// [`SharedServer`](crate::SharedServer).
///
/// ```compile_fail
/// fn is_sync<T: Sync>() {}
/// is_sync::<xshm::SharedClient>();
/// ```
pub struct SharedClient {
    endpoint: Endpoint,
}

/// What the two processes are called.
#[derive(Clone, Copy)]
pub(crate) struct Ids {
    /// Ours, as the server knows it.
    pub(crate) own: u32,
    /// The server's, where the system says. What the section says is a hint.
    pub(crate) server: Option<u32>,
}

/// How a knock ended, other than with a session or an error for good.
enum Knock {
    Accepted(Session),
    /// The server left or died: another may come.
    ServerGone,
}

impl SharedClient {
    /// Connects to the server of that name. Waits for a server to come, for the client before to leave, and for the
    /// server to accept, `timeout` in all. A name that doesn't exist yet, or a channel that is busy, is looked at
    /// again after 1 to 50 ms (on Linux a client stands in the server's queue for a channel that is busy); while the server takes its time to accept, its signal is waited for, and the channel
    /// looked at every 50 ms besides.
    ///
    /// # Errors
    /// - [`ShmError::Timeout`]: no server, or it didn't accept.
    /// - [`ShmError::AlreadyConnected`]: the server has another client.
    /// - [`ShmError::Refused`]: one side does not want the other, and why.
    /// - [`ShmError::Incompatible`]: the server is of another make.
    /// - [`ShmError::Interrupted`]: by the [`interrupter`](crate::ClientOptions::interrupter) of the options.
    /// - [`ShmError::InvalidName`], [`ShmError::WindowsError`], [`ShmError::SystemError`].
    pub fn connect(name: &str, timeout: Duration) -> Result<Self> {
        Self::connect_with(name, timeout, ClientOptions::default())
    }

    /// Connects to an anonymous server, whose section the caller has a handle to: one of this process, which is
    /// duplicated and stays the caller's.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); whose server it is, is not asked. [`ShmError::Refused`] too when the channel has
    /// events: then [`attach_handles`](Self::attach_handles) takes the section together with them.
    pub fn attach(section_handle: isize, timeout: Duration) -> Result<Self> {
        Self::attach_with(section_handle, timeout, ClientOptions::default())
    }

    /// Connects to a server by all that it gave out as its [`client_handles`](crate::SharedServer::client_handles),
    /// duplicated into this process. They are duplicated once more, and stay the caller's.
    ///
    /// # Errors
    /// As [`attach`](Self::attach); [`ShmError::Refused`] when the handles have events and the channel has none, or the
    /// other way round.
    ///
    /// ```
    /// use std::{thread, time::Duration};
    /// use xshm::{ServerOptions, SharedClient};
    ///
    /// let mut server = ServerOptions::new().anonymous_events().start_anonymous()?;
    /// // Another process would get duplicates of these.
    /// let handles = server.client_handles()?;
    /// let client = thread::spawn(move || SharedClient::attach_handles(&handles, Duration::from_secs(5)));
    /// server.wait_for_client(Some(Duration::from_secs(5)))?;
    /// server.send_to_client(b"hello")?;
    /// let mut message = Vec::new();
    /// client.join().unwrap()?.receive_from_server(&mut message)?;
    /// assert_eq!(message, b"hello");
    /// # Ok::<(), xshm::ShmError>(())
    /// ```
    pub fn attach_handles(handles: &ClientHandles, timeout: Duration) -> Result<Self> {
        Self::attach_handles_with(handles, timeout, ClientOptions::default())
    }

    pub(crate) fn connect_with(name: &str, timeout: Duration, options: ClientOptions) -> Result<Self> {
        let name = ChannelName::parse(name)?;
        let deadline = Deadline::after(Some(timeout));
        let interrupter = options.tuning.interrupt()?;
        let options = options.interrupter(Interrupter(interrupter.clone()));
        let mut pause = Pause::new();
        let mut search = Search { turn: None, spoiled: 0, misses: 0 };
        loop {
            let interrupt = interrupter.event();
            if let Some(client) = Self::look_for(&name, deadline, &options, interrupt, &mut search)? {
                return Ok(client);
            }
            if deadline.has_passed() {
                let taken = search.turn.is_some();
                return Err(if taken { ShmError::AlreadyConnected } else { ShmError::Timeout });
            }
            match &search.turn {
                Some(turn) => turn.wait(deadline, interrupt)?,
                None => {
                    sys::wait_any(&[Waitable::Event(interrupt)], Some(pause.next(deadline))).map(drop)?;
                }
            }
            if interrupter.is_set() {
                return Err(ShmError::Interrupted);
            }
        }
    }

    /// Looks the name up once, and knocks where a server is, when it's our turn to. `None`: it isn't, or there's none.
    fn look_for(
        name: &ChannelName,
        deadline: Deadline,
        options: &ClientOptions,
        interrupt: &sys::Event,
        search: &mut Search,
    ) -> Result<Option<Self>> {
        let trusts = |owner: Option<&sys::User>| is_trusted(&options.trust, owner);
        let found = match sys::lookup(name, &trusts, deadline.remaining(None), interrupt) {
            // More clients wait there than its queue holds. There may be fewer soon.
            Err(ShmError::AlreadyConnected) if !deadline.has_passed() => None,
            found => found.map_err(|error| report(options, error))?,
        };
        let Some(found) = found else {
            (search.turn, search.misses) = (None, 0);
            return Ok(None);
        };
        let ids = Ids { own: found.own_pid, server: found.server_pid };
        let owner = found.section.owner();
        let (section, opener) = found.into_parts();
        if let Err(error @ ShmError::Incompatible { .. }) = SharedView::check(&section) {
            // Of another make; or a client of its has spoiled it. A server that is told puts it right.
            search.spoiled += 1;
            if search.spoiled > Search::MOST_SPOILED || deadline.has_passed() {
                return Err(report(options, error));
            }
            opener.complain(&section, owner.as_ref())?;
            search.turn = None;
            return Ok(None);
        }
        if search.misses >= Search::PATIENCE {
            // A channel that seems to be left or taken, again and again: perhaps it is but spoiled.
            opener.complain(&section, owner.as_ref())?;
        }
        search.misses += 1;
        let opened =
            open_channel(section, &opener, owner.as_ref()).map_err(|error| report(options, error))?;
        // If this server is gone already, another may come.
        let Some((view, events)) = opened else { return Ok(None) };
        let number = if view.is_multi() { view.turn().load(Ordering::Relaxed) } else { 0 };
        if number == 0 {
            search.turn = None;
        } else if search.turn.as_ref().map(|turn| turn.number) != Some(number) {
            search.turn = opener.turn(number, owner.as_ref())?.map(|event| Turn { number, event });
            if !search.turn.as_ref().map_or(Ok(true), Turn::take)? {
                return Ok(None);
            }
        }
        let knocked = Self::knock(view, Some(events), owner.map(UserId), ids, deadline, options);
        if let (Err(_), Some(turn)) = (&knocked, &search.turn) {
            // The next one's.
            turn.event.set();
        }
        knocked
    }

    /// Gives both halves away.
    pub(crate) fn take(mut self) -> Option<(SendHalf, ReceiveHalf)> {
        self.endpoint.take()
    }

    pub(crate) fn attach_with(handle: isize, timeout: Duration, options: ClientOptions) -> Result<Self> {
        Self::attach_handles_with(&ClientHandles { section: handle, events: None }, timeout, options)
    }

    pub(crate) fn attach_handles_with(
        handles: &ClientHandles,
        timeout: Duration,
        options: ClientOptions,
    ) -> Result<Self> {
        let deadline = Deadline::after(Some(timeout));
        let section = Section::duplicate(handles.section)?;
        let user = section.owner().map(UserId);
        let view = SharedView::open(section)?;
        if view.has_events() != handles.events.is_some() {
            let reason = match handles.events {
                None => "the channel has events: connect by the server's name, or take them too",
                Some(_) => "the channel has no events",
            };
            return Err(report(&options, ShmError::Refused { reason: reason.to_owned() }));
        }
        let events = handles.events.as_ref().map(sys::client_events).transpose()?.map(Events::new);
        let ids = Ids { own: sys::process_id(), server: None };
        Self::knock(view, events, user, ids, deadline, &options)?.ok_or(ShmError::NotConnected)
    }

    /// Asks the server of a section for a session. `None`: the server is gone.
    pub(crate) fn knock(
        view: SharedView,
        events: Option<Events>,
        user: Option<UserId>,
        ids: Ids,
        deadline: Deadline,
        options: &ClientOptions,
    ) -> Result<Option<Self>> {
        options.accepts(view.geometry()).map_err(|error| report(options, error))?;
        if view.is_multi() != options.multi {
            let reason = if options.multi {
                "the server serves one client: connect with SharedClient"
            } else {
                "the server serves many clients: connect with MultiClient"
            };
            return Err(report(options, ShmError::Refused { reason: reason.to_owned() }));
        }
        let pid = ids.server.unwrap_or(view.server_pid());
        let process = match Process::open(pid) {
            Ok(process) => Some(process),
            Err(Unwatchable::Gone) => return Ok(None),
            Err(Unwatchable::Denied) if options.tuning.check_interval.is_some() => None,
            Err(Unwatchable::Denied) => {
                let reason = format!(
                    "the server's process {pid} can't be opened to wait for its end, and no check interval is set"
                );
                return Err(report(options, ShmError::Refused { reason }));
            }
        };
        let peer = Peer::new(pid, process, user);
        let channel = Channel::new(Side::Client, view, events, None, options.tuning.clone())?;
        fail_point!("connect.found");
        match handshake(Arc::new(channel), peer, ids.own, deadline)? {
            Knock::ServerGone => Ok(None),
            Knock::Accepted(session) => {
                let mut endpoint = Endpoint::new(session.channel.clone());
                endpoint.begin(session);
                Ok(Some(SharedClient { endpoint }))
            }
        }
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

/// What a client that looks for a channel has found so far.
struct Search {
    turn: Option<Turn>,
    /// Times that what has the name was no channel.
    spoiled: u32,
    /// Times in a row that it was one, and nobody answered.
    misses: u32,
}

impl Search {
    /// So often a channel may be none before that is believed.
    const MOST_SPOILED: u32 = 3;
    /// So many misses in a row are nothing unusual.
    const PATIENCE: u32 = 1;
}

/// Tells the log of a refusal.
fn report(options: &ClientOptions, error: ShmError) -> ShmError {
    if matches!(error, ShmError::Refused { .. } | ShmError::Incompatible { .. }) {
        options.tuning.report(&ChannelEvent::Refused(error.clone()));
    }
    error
}

/// Whether to talk to the server that created a section. The owner of a section can't be made up.
fn is_trusted(trust: &Trust, owner: Option<&sys::User>) -> Result<()> {
    let trusted = match (trust, owner) {
        (Trust::Anyone, _) => true,
        (_, None) => false,
        (Trust::Owner, Some(owner)) => owner.is_trusted_server()?,
        (Trust::Users(users), Some(owner)) => users.iter().any(|user| user.0 == *owner),
    };
    if trusted {
        return Ok(());
    }
    let whose = owner.map_or("an unknown user".to_owned(), |owner| format!("user {owner}"));
    Err(ShmError::Refused { reason: format!("the server belongs to {whose}, who is not trusted") })
}

/// The event by which the clients of a many-client server look for a channel one after the other: for each channel that
/// it offers, the server wakes one. Without it hundreds race for each, and the losers' attempts take all the time.
struct Turn {
    number: u64,
    event: sys::Event,
}

impl Turn {
    /// How long a client waits for its turn. Then it looks all the same: the one whose turn it was may have died.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// Whether it's our turn right now. If so, it is nobody else's.
    fn take(&self) -> Result<bool> {
        Ok(sys::wait_any(&[Waitable::Event(&self.event)], Some(Duration::ZERO))?.is_some())
    }

    fn wait(&self, deadline: Deadline, interrupt: &sys::Event) -> Result<()> {
        let objects = [Waitable::Event(&self.event), Waitable::Event(interrupt)];
        sys::wait_any(&objects, deadline.remaining(Some(Self::PATIENCE))).map(drop)
    }
}

/// Checks what was found under a name. `None`: its server went away meanwhile.
fn open_channel(
    section: Section,
    opener: &sys::EventOpener,
    owner: Option<&sys::User>,
) -> Result<Option<(SharedView, Events)>> {
    let view = SharedView::open(section)?;
    if !view.has_events() {
        return Err(ShmError::Incompatible {
            what: "flags",
            found: 0,
            expected: crate::layout::FLAG_EVENTS.into(),
        });
    }
    Ok(opener.events(view.instance(), owner)?.map(|events| (view, Events::new(events))))
}

/// Knocks until accepted. The caller has found the server alive.
fn handshake(channel: Arc<Channel>, peer: Peer, own_pid: u32, deadline: Deadline) -> Result<Knock> {
    let mut pause = Pause::new();
    loop {
        let control = channel.view.control();
        if control.server_state.load(Ordering::Acquire) != SERVER_UP {
            return Ok(Knock::ServerGone);
        }
        let word = channel.word();
        if word.is_free() {
            let hello = word.hello(own_pid);
            fail_point!("connect.before_hello");
            let swap =
                control.client_state.compare_exchange(word.0, hello.0, Ordering::AcqRel, Ordering::Acquire);
            if swap.is_ok() {
                return await_answer(
                    channel.clone(),
                    Hello { channel: &channel, word: hello },
                    peer,
                    deadline,
                );
            }
            // Another client was faster.
        }
        let state = channel.word().state();
        if channel.view.is_multi() && !channel.word().is_free() && state != ClientWord::HELLO {
            // It is another client's for good; the next one is offered under the name.
            return Ok(Knock::ServerGone);
        }
        if let (false, Some(events)) = (channel.word().is_free(), &channel.events) {
            // Whose hello this is may have died before it could signal, and what looks like a session may be garbage:
            // then the server doesn't know yet that there's something to clear away. A signal too many changes nothing.
            events.request().set();
        }
        if deadline.has_passed() {
            return Err(ShmError::AlreadyConnected);
        }
        if wait(&channel, &peer, None, deadline, Some(pause.next(deadline)))? {
            return Ok(Knock::ServerGone);
        }
    }
}

/// A hello that stands in the section. Dropped, it is withdrawn, or left, if it was answered meanwhile.
struct Hello<'a> {
    channel: &'a Channel,
    word: ClientWord,
}

impl Drop for Hello<'_> {
    fn drop(&mut self) {
        let ready = self.word.with_state(ClientWord::READY);
        if !self.channel.swap_word(self.word, ClientWord::IDLE)
            && self.channel.swap_word(ready, ClientWord::LEFT)
        {
            self.channel.wake_peer();
        }
    }
}

/// Signals our hello and waits for the answer.
fn await_answer(channel: Arc<Channel>, hello: Hello<'_>, peer: Peer, deadline: Deadline) -> Result<Knock> {
    fail_point!("connect.hello");
    if let Some(events) = &channel.events {
        events.request().set();
    }
    let standing = hello.word;
    fail_point!("connect.knocked");
    let ready = standing.with_state(ClientWord::READY);
    loop {
        let gone = channel.view.control().server_state.load(Ordering::Acquire) != SERVER_UP;
        // Either the swap withdraws the hello, or the server has answered it.
        if (gone || deadline.has_passed()) && channel.swap_word(standing, ClientWord::IDLE) {
            return if gone { Ok(Knock::ServerGone) } else { Err(ShmError::Timeout) };
        }
        let word = channel.word();
        // Or accepted and ended since: what was sent meanwhile is there to be received.
        if word == ready || word == standing.with_state(ClientWord::ENDED) {
            fail_point!("connect.accepted");
            // Written before the word became ready, which was acquired.
            let generation = channel.view.control().generation.load(Ordering::Relaxed);
            let session = Session::new(channel, ready, generation, peer, sys::Event::local()?);
            // From here on it's the session's to leave.
            std::mem::forget(hello);
            return Ok(Knock::Accepted(session));
        }
        if word == standing.with_state(ClientWord::IDLE) {
            // The server knows nothing of us, since it has begun anew meanwhile.
            std::mem::forget(hello);
            return Ok(Knock::ServerGone);
        }
        if word != standing {
            let reason = "the server did not accept this process".to_owned();
            let error = ShmError::Refused { reason };
            channel.tuning.report(&ChannelEvent::Refused(error.clone()));
            return Err(error);
        }
        let acknowledge = channel.events.as_ref().map(|events| events.acknowledge());
        // With an event the bound is a second lock: a client that was turned away just now may still wait for the
        // same signal, and take it.
        let bound = Some(if acknowledge.is_none() { Pause::SHORTEST } else { Pause::LONGEST });
        if wait(&channel, &peer, acknowledge, deadline, bound)? {
            return Ok(Knock::ServerGone);
        }
    }
}

/// Waits for an event, the end of the server's process, or the time. Whether the process has ended.
///
/// # Errors
/// [`ShmError::Interrupted`].
fn wait(
    channel: &Channel,
    peer: &Peer,
    event: Option<&sys::Event>,
    deadline: Deadline,
    bound: Option<Duration>,
) -> Result<bool> {
    let interrupt = channel.interrupt.event();
    let mut objects: Vec<Waitable<'_>> = event.into_iter().chain([interrupt]).map(Waitable::Event).collect();
    let mut bound = bound;
    match peer.process() {
        Some(process) => objects.push(Waitable::Process(process)),
        None => bound = bound.into_iter().chain(channel.tuning.check_interval).min(),
    }
    let woken = sys::wait_any(&objects, deadline.remaining(bound))?;
    if channel.interrupt.is_set() {
        return Err(ShmError::Interrupted);
    }
    Ok(match woken {
        Some(index) => matches!(objects[index], Waitable::Process(_)),
        None => peer.process().is_none() && peer.has_ended(),
    })
}

/// How long to wait between two looks: from 1 ms on, doubling up to 50 ms.
struct Pause(Duration);

impl Pause {
    const SHORTEST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_millis(50);

    fn new() -> Self {
        Pause(Self::SHORTEST)
    }

    fn next(&mut self, deadline: Deadline) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(Self::LONGEST);
        deadline.remaining(Some(now)).unwrap_or(now)
    }
}
