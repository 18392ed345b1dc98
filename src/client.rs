//! The client's end of a channel: how it finds the channel, and requests a session.

use crate::access::{PeerIdentity, UserId};
use crate::channel::handshake::{self, Accepted, ClientState, Pause, Requested};
use crate::channel::wait_set::WaitSet;
use crate::channel::{Channel, Kind, Peer};
use crate::endpoint::{mirrored_methods, Endpoint};
use crate::error::{Result, ShmError};
use crate::events::Events;
use crate::halves::{ChannelStats, ReceiveHalf, SendHalf, WriteOutcome};
use crate::handles::{ClientEvents, ClientHandles};
use crate::naming::ChannelName;
use crate::options::{ChannelEvent, ClientOptions, Trust};
use crate::session::Session;
use crate::shared::SharedView;
use crate::sync::{Arc, Ordering};
use crate::sys::kinds::Lookup;
use crate::sys::{self, Event, Found, Process, Section, Waitable};
use crate::waiting::{Deadline, Interrupt, Interrupter};
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
}

/// The ids of the two processes.
#[derive(Clone, Copy)]
pub(crate) struct Ids {
    /// Ours, as the server knows it.
    pub(crate) own: u32,
    /// The server's, where the system says. What the section says is a hint.
    pub(crate) server: Option<u32>,
}

impl SharedClient {
    /// Connects to the server that has the name. Waits, up to `timeout` in all, until the server exists, the previous client
    /// has left, and the server accepts this client. If the name does not exist yet, looks again every 1 to 50 ms. A server
    /// accepts its clients in the order in which they came; a client that waits for its turn sleeps.
    ///
    /// # Errors
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

    pub(crate) fn connected(session: Session) -> Self {
        let mut endpoint = Endpoint::new(session.channel.interrupt.clone());
        endpoint.begin(Arc::new(session));
        SharedClient { endpoint }
    }

    /// Gives both halves away.
    pub(crate) fn take(mut self) -> Option<(SendHalf, ReceiveHalf)> {
        self.endpoint.take()
    }

    /// Connects to the server of a section that the client did not find by a name.
    fn attach_to(
        section: Section, events: Option<&ClientEvents>, timeout: Duration, mut options: ClientOptions,
    ) -> Result<Self> {
        let deadline = Deadline::after(Some(timeout));
        let user = section.owner()?.map(UserId);
        let view = SharedView::open(section)?;
        if view.has_events() != events.is_some() {
            let reason = match events {
                None => "the channel has events: connect by the server's name, or by its client handles",
                Some(_) => "the channel has no events: connect by the section alone",
            };
            return Err(report(&options, ShmError::Refused { reason: reason.to_owned() }));
        }
        let events = events.map(sys::client_events).transpose()?.map(Events::new);
        let ids = Ids { own: sys::process_id(), server: None };
        let interrupt = options.tuning.interrupt()?;
        match Self::request(view, events, user, ids, deadline, &options, &interrupt)? {
            Requested::Accepted(session) => Ok(Self::connected(session)),
            Requested::ServerGone | Requested::Taken => Err(ShmError::NotConnected),
        }
    }

    /// Asks the server of a section for a session.
    pub(crate) fn request(
        view: SharedView, events: Option<Events>, user: Option<UserId>, ids: Ids, deadline: Deadline,
        options: &ClientOptions, interrupt: &Interrupt,
    ) -> Result<Requested<Session>> {
        options.accepts(view.geometry()).map_err(|error| report(options, error))?;
        if view.is_multi() != options.multi {
            let reason = if options.multi {
                "the server serves one client: connect as its client (SharedClient, shm_client_connect)"
            } else {
                "the server serves many clients: connect as a multi-client server's client (MultiClient, shm_multi_client_connect)"
            };
            return Err(report(options, ShmError::Refused { reason: reason.to_owned() }));
        }
        let pid = ids.server.unwrap_or(view.server_pid());
        let peer = Peer::open(Process::open(pid), "the server's", pid, &options.tuning);
        let Some(mut peer) = peer.map_err(|error| report(options, error))? else {
            return Ok(Requested::ServerGone);
        };
        peer.user = user;
        let channel = Arc::new(Channel::new(Kind::Client, view, events, options.tuning.clone())?);
        fail_point!("connect.found");
        // Whatever can fail comes before the server accepts.
        let over = Event::local()?;
        Ok(match handshake::request(&channel, &peer, ids.own, deadline, interrupt)? {
            Requested::Accepted(Accepted { ready, generation }) => {
                Requested::Accepted(Session::new(channel, ready, generation, peer, over))
            }
            Requested::ServerGone => Requested::ServerGone,
            Requested::Taken => Requested::Taken,
        })
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

impl ClientOptions {
    /// Connects to a server by its name, see [`SharedClient::connect`].
    ///
    /// # Errors
    /// Those of [`SharedClient::connect`], and [`ShmError::Incompatible`]: the server's sizes differ from
    /// those of the options.
    pub fn connect(mut self, name: &str, timeout: Duration) -> Result<SharedClient> {
        let name = ChannelName::parse(name)?;
        let deadline = Deadline::after(Some(timeout));
        let interrupt = self.tuning.interrupt()?;
        // Another interrupter may end the attempt than ends the calls of the connection.
        let interrupt = self.connect_interrupter.as_ref().map_or(interrupt, |other| other.0.clone());
        let mut pause = Pause::new();
        let mut search = Search {
            name: &name,
            deadline,
            options: &self,
            interrupt: &interrupt,
            admission: None,
            has_waited: false,
            unusable: 0,
            misses: 0,
            seen: Seen::NoServer,
        };
        loop {
            match search.attempt() {
                Ok(Some(session)) => return Ok(SharedClient::connected(session)),
                Ok(None) => {}
                // The server did not answer the request.
                Err(ShmError::Timeout) => search.seen = Seen::NotAccepting,
                Err(error) => return Err(error),
            }
            if deadline.has_passed() {
                return Err(search.late());
            }
            match &mut search.admission {
                Some(admission) => admission.wait(deadline, interrupt.event())?,
                None if std::mem::take(&mut search.has_waited) => {}
                None => {
                    let mut set = WaitSet::new();
                    set.event(interrupt.event());
                    set.at_most(Some(pause.next(deadline)));
                    set.wait(deadline)?;
                }
            }
            if interrupt.is_set() {
                return Err(ShmError::Interrupted);
            }
        }
    }

    /// Connects to an anonymous server, see [`SharedClient::attach`].
    ///
    /// # Errors
    /// Those of [`SharedClient::attach`], and [`ShmError::Incompatible`]: the server's sizes differ from
    /// those of the options.
    pub fn attach(self, section: impl sys::AsObject, timeout: Duration) -> Result<SharedClient> {
        SharedClient::attach_to(Section::duplicate_of(&section)?, None, timeout, self)
    }

    /// Connects to a server by its client handles, see [`SharedClient::attach_handles`].
    ///
    /// # Safety
    /// As [`SharedClient::attach_handles`].
    ///
    /// # Errors
    /// Those of [`SharedClient::attach_handles`], and [`ShmError::Incompatible`]: the server's sizes differ from
    /// those of the options.
    pub unsafe fn attach_handles(self, handles: &ClientHandles, timeout: Duration) -> Result<SharedClient> {
        SharedClient::attach_to(Section::duplicate(handles.section)?, handles.events.as_ref(), timeout, self)
    }
}

/// A client's search for a channel.
struct Search<'a> {
    name: &'a ChannelName,
    deadline: Deadline,
    options: &'a ClientOptions,
    interrupt: &'a Interrupt,
    admission: Option<Admission>,
    /// Whether the attempt has waited, so that the next one may follow at once.
    has_waited: bool,
    /// How often the name led to something other than a channel.
    unusable: u32,
    /// How often in a row it led to a channel, and the client got no session.
    misses: u32,
    /// What stood behind the name when it was last looked up.
    seen: Seen,
}

/// Why a client gets no session for the moment.
enum Seen {
    NoServer,
    /// The server runs, and accepts no client, or others first.
    NotAccepting,
    /// The server has another client.
    Busy,
    /// The server's last channel that this client got has another version, or one of its clients has overwritten it.
    Unusable(ShmError),
}

impl Seen {
    /// What the section of a channel says, while it is not this client's turn.
    fn of(view: &SharedView) -> Self {
        match handshake::client_word(view).state() {
            // The channel is another client's, and the next one can be this client's.
            _ if view.is_multi() => Seen::NotAccepting,
            // Requests of other clients have no answer either.
            Some(ClientState::Idle | ClientState::Request | ClientState::Refused) => Seen::NotAccepting,
            _ => Seen::Busy,
        }
    }
}

impl Search<'_> {
    /// The most unusable objects behind the name before the client gives up.
    const MOST_UNUSABLE: u32 = 3;
    /// The most misses in a row before the client asks for a repair.
    const PATIENCE: u32 = 1;

    /// What the search has seen, when its time is over.
    fn late(&mut self) -> ShmError {
        let name = self.name.given().to_owned();
        match std::mem::replace(&mut self.seen, Seen::NoServer) {
            Seen::NoServer => ShmError::NoServer { name },
            Seen::NotAccepting => ShmError::NotAccepting { name },
            Seen::Busy => ShmError::AlreadyConnected,
            Seen::Unusable(error) => report(self.options, error),
        }
    }

    /// Looks the name up once, and requests a session if there is a server and it is this client's turn. `None`: there is no
    /// server, or another client goes first.
    fn attempt(&mut self) -> Result<Option<Session>> {
        let Search { name, deadline, options, interrupt, .. } = *self;
        let reported = |error| report(options, error);
        let trusts = |owner: Option<&sys::User>| is_trusted(&options.trust, owner);
        let found =
            sys::lookup(name, &trusts, deadline.remaining(None), interrupt.event()).map_err(reported)?;
        let Found { section, own_pid, server_pid, opener } = match found {
            Lookup::Found(found) => found,
            Lookup::Server { is_busy, has_waited } => {
                if !matches!(self.seen, Seen::Unusable(_)) {
                    self.seen = if is_busy { Seen::Busy } else { Seen::NotAccepting };
                }
                (self.admission, self.misses, self.has_waited) = (None, 0, has_waited);
                return Ok(None);
            }
            Lookup::NoServer => {
                (self.seen, self.admission, self.misses) = (Seen::NoServer, None, 0);
                return Ok(None);
            }
        };
        let ids = Ids { own: own_pid, server: server_pid };
        let owner = section.owner()?;
        if let Err(error @ ShmError::Incompatible { .. }) = SharedView::check(&section) {
            // The server has an incompatible version; or one of its clients has overwritten the section, which the server repairs
            // when it is asked to.
            self.unusable += 1;
            if self.unusable > Self::MOST_UNUSABLE || deadline.has_passed() {
                return Err(reported(error));
            }
            opener.request_repair(&section, owner.as_ref())?;
            (self.seen, self.admission) = (Seen::Unusable(error), None);
            return Ok(None);
        }
        self.seen = Seen::NotAccepting;
        if self.misses >= Self::PATIENCE {
            // The server has seemed to be gone, or to have another client, several times: a client may have overwritten the section.
            opener.request_repair(&section, owner.as_ref())?;
        }
        self.misses += 1;
        let opened = open_channel(section, &opener, owner.as_ref()).map_err(reported)?;
        // This server is gone. Another one may start.
        let Some((view, events)) = opened else { return Ok(None) };
        let number = view.turn().load(Ordering::Relaxed);
        if number == 0 {
            self.admission = None;
        } else if self.admission.as_ref().map(|admission| admission.number) != Some(number) {
            let event = opener.admission_event(number, owner.as_ref())?;
            self.admission = event.map(|event| Admission { number, event, held: false });
            if !self.admission.as_mut().map_or(Ok(true), Admission::take)? {
                self.seen = Seen::of(&view);
                return Ok(None);
            }
        }
        let is_multi = view.is_multi();
        let user = owner.map(UserId);
        let requested = SharedClient::request(view, Some(events), user, ids, deadline, options, interrupt);
        if let Some(admission) = &mut self.admission {
            match requested {
                // The turn was for this channel.
                Ok(Requested::Accepted(_) | Requested::Taken) => admission.held = false,
                // It was for another channel; or another client may try.
                Ok(Requested::ServerGone) | Err(_) => admission.give_back(),
            }
        }
        Ok(match requested? {
            Requested::Accepted(session) => Some(session),
            Requested::ServerGone => None,
            Requested::Taken => {
                if !is_multi {
                    self.seen = Seen::Busy;
                }
                None
            }
        })
    }
}

/// Reports a refusal to the caller's hook.
fn report(options: &ClientOptions, error: ShmError) -> ShmError {
    if matches!(error, ShmError::Refused { .. } | ShmError::Incompatible { .. }) {
        options.tuning.report(&ChannelEvent::Refused(error.clone()));
    }
    error
}

/// Whether the client trusts the server that created a section. No user can create a section in the name of another.
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
    Err(ShmError::Refused { reason: format!("the server belongs to {whose}, which is not trusted") })
}

/// The event by which clients of a server take turns. For each channel that it offers, the server wakes one of the clients that
/// wait, in the order in which they came. Without it clients would race for each channel: one that has just left would win
/// against one that has waited for long, and the attempts of hundreds of losers would take all the time.
struct Admission {
    number: u64,
    event: sys::Event,
    /// Whether it is this client's turn, and no other one's.
    held: bool,
}

impl Admission {
    /// How long a client waits for its turn. Then it looks without: the client whose turn it was may have died.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// Takes the turn if it is free. Returns whether it was.
    fn take(&mut self) -> Result<bool> {
        self.held |= sys::wait_any(&[Waitable::Event(&self.event)], Some(Duration::ZERO))?.is_some();
        Ok(self.held)
    }

    fn wait(&mut self, deadline: Deadline, interrupt: &sys::Event) -> Result<()> {
        let mut set = WaitSet::new();
        let turn = set.event(&self.event);
        set.event(interrupt);
        set.at_most(Some(Self::PATIENCE));
        self.held |= set.wait(deadline)? == Some(turn);
        Ok(())
    }

    /// Lets the next client have the turn that this one did not use.
    fn give_back(&mut self) {
        if std::mem::take(&mut self.held) {
            self.event.set();
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Checks what was found under a name. `None`: its server went away meanwhile.
fn open_channel(
    section: Section, opener: &sys::EventOpener, owner: Option<&sys::User>,
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
