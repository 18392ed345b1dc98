//! The server's side of a name: a Unix socket in the abstract namespace, which leaves nothing behind.
//!
//! [`Pending`] keeps the clients that wait, and decides the order in which the server hands them a channel. It hands it to one
//! client at a time, so that no other client has that client's section and events, and a request can only be that client's.
//! Further clients wait in the socket's own queue.
//!
//! Descriptors that a client has been handed and has not received are in flight, as long as the client's end of the connection
//! is open, shut or not. The kernel counts them for the server's user, and hands over no more when there are more than
//! `RLIMIT_NOFILE`. So the listener keeps its end of such connections, and hands nothing more to a process, or to a user, that
//! has left too many unread. The last quarter is for processes and users that have left none unread, so that one user cannot
//! use up all of them, nor one process those of its user.

use super::descriptors;
use super::event::Event;
use super::pairs::{ClientEnd, Ends, PAIRS};
use super::pending::{Caller, Pending, TURN};
use super::process::Process;
use super::section::Section;
use super::socket_options::{is_unread, peer_process, take_no_descriptors, PeerCredentials};
use super::system::{error, failed, is_shortage, limit, timespec, User};
use super::wire::{address, bound, credentials, label, post, Reason, BUSY};
use crate::error::{Result, ShmError};
use crate::naming::ChannelName;
use crate::sync::{lock, Mutex};
use crate::sys::kinds::{self, Audience, Clients, Unwatchable};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::fs::fstat;
use rustix::io::{dup3, DupFlags, Errno};
use rustix::net::{getsockname, listen, shutdown, Shutdown, SocketAddrUnix};
use rustix::process::{geteuid, Resource};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Clients that may wait in the socket's queue.
const BACKLOG: i32 = 1024;

/// Bounds the accepts per call, so that a client that reconnects in a loop cannot starve the server.
const AT_ONCE: usize = 128;

/// How long the server waits before it tries again what failed because descriptors were short, or unread.
const RETRY: Duration = Duration::from_millis(20);

pub(crate) type Prepared = kinds::Prepared<Section, Event, ClientEnd, Offer>;

/// The last step for a channel. Here the server hands it to one client after the other.
pub(crate) struct Offer(());

/// The owner of a name, until dropped or until the process ends.
pub(crate) struct Listener {
    /// Released before the name is, which the next server waits for.
    busy: Arc<BusyName>,
    busy_address: SocketAddrUnix,
    socket: Event,
    /// What sections are called in `/proc`.
    label: String,
    name: Arc<OwnedFd>,
    address: SocketAddrUnix,
    clients: Clients,
    /// This process's user, as the kernel shows it to clients. With it belong the sections that they are handed.
    user: AtomicU32,
    admitted: Admitted,
    limits: Limits,
    queue: Mutex<Queue>,
}

/// Finds what a server holds of its name, as long as the server lives. In a fork, its copies keep the name taken.
pub(crate) struct HeldName {
    address: SocketAddrUnix,
    socket: Weak<OwnedFd>,
    socket_number: u32,
    busy_address: SocketAddrUnix,
    busy: Weak<BusyName>,
}

impl HeldName {
    /// Called in a fork: releases the copies there. It takes no lock, since a thread that the fork lacks may hold it.
    ///
    /// The number of the socket's descriptor stays in use, for a copy of `blank`: what else in the fork has the number may
    /// close it. A daemon may have closed all descriptors, and the numbers may be those of others by now, such as of a new server of
    /// the same name: these stay open.
    pub(crate) fn give_up(&self, blank: &Event) {
        let is_own = |socket: &Arc<OwnedFd>| is_same(socket, self.socket_number, &self.address);
        if let Some(socket) = self.socket.upgrade().filter(is_own) {
            // SAFETY: the number is open, and is not closed here.
            let mut socket = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(socket.as_raw_fd()) });
            // It fails only if the event is no longer open.
            let _ = dup3(blank.descriptor(), &mut socket, DupFlags::CLOEXEC);
        }
        if let Some(busy) = self.busy.upgrade() {
            let of_another =
                |(socket, number): &(OwnedFd, u32)| !is_same(socket, *number, &self.busy_address);
            busy.exchange(None).filter(of_another).map(|(socket, _)| socket.into_raw_fd());
        }
    }
}

/// Whether this is the socket that was bound to the address and had the [number](number_of).
fn is_same(socket: &OwnedFd, number: u32, address: &SocketAddrUnix) -> bool {
    let bound = getsockname(socket).ok().and_then(|bound| SocketAddrUnix::try_from(bound).ok());
    bound.as_ref() == Some(address) && number_of(socket) == number
}

/// The number that the system gives a socket. The same for all descriptors of a socket, and another one for each socket.
fn number_of(socket: &OwnedFd) -> u32 {
    fstat(socket).map_or(0, |stat| stat.st_ino as u32)
}

/// The socket that says that the server is busy: its descriptor, and in the upper half its [number](number_of). It has no lock,
/// so that a fork can close its copy.
struct BusyName(AtomicU64);

/// No descriptor has the number in the lower half.
const NO_DESCRIPTOR: u64 = u32::MAX as u64;

impl Default for BusyName {
    fn default() -> Self {
        BusyName(AtomicU64::new(NO_DESCRIPTOR))
    }
}

impl BusyName {
    /// Keeps this socket. Returns the socket before, and the number that it had when it was put here.
    fn exchange(&self, socket: Option<OwnedFd>) -> Option<(OwnedFd, u32)> {
        let joined = |socket: OwnedFd| u64::from(number_of(&socket)) << 32 | socket.into_raw_fd() as u64;
        let before = self.0.swap(socket.map_or(NO_DESCRIPTOR, joined), Ordering::AcqRel);
        // SAFETY: a descriptor that this function was given, and that nothing else has: the exchange took it out.
        (before != NO_DESCRIPTOR)
            .then(|| (unsafe { OwnedFd::from_raw_fd(before as u32 as i32) }, (before >> 32) as u32))
    }
}

impl Drop for BusyName {
    fn drop(&mut self) {
        drop(self.exchange(None));
    }
}

struct Queue {
    pending: Pending<OwnedFd>,
    turn: Option<Turn>,
    /// Connections whose client has not received what it was handed.
    unread: Vec<(OwnedFd, Caller)>,
    /// Until when the server accepts no client, since this process lacked descriptors.
    short_until: Option<Instant>,
}

/// The client that has been handed the channel.
struct Turn {
    caller: Caller,
    /// Its process. The system does not reuse the id while this is held.
    process: Process,
    since: Instant,
    length: Duration,
}

/// Numbers of descriptors, from the limit of this process.
#[derive(Clone, Copy)]
struct Limits {
    /// Clients in `pending`.
    pending: usize,
    /// Connections with unread descriptors: of a process, of a user, and in all.
    unread_of_process: usize,
    unread_of_user: usize,
    unread: usize,
}

impl Limits {
    fn of_this_process() -> Self {
        let descriptors = limit(Resource::Nofile).min(4096) as usize;
        let in_flight = descriptors / (1 + PAIRS);
        Limits {
            pending: (descriptors / 8).clamp(4, 128),
            unread_of_process: (in_flight / 8).max(1),
            unread_of_user: (in_flight / 3).max(2),
            unread: (in_flight / 2).max(4),
        }
    }

    /// Whether a process may be handed descriptors, with these unread.
    fn allow(&self, unread: &[(OwnedFd, Caller)], caller: Caller) -> bool {
        let count = |of: &dyn Fn(&Caller) -> bool| unread.iter().filter(|(_, other)| of(other)).count();
        let of_process = count(&|other| other.pid == caller.pid);
        let of_user = count(&|other| other.uid == caller.uid);
        // The last quarter is for those that have none.
        let share = |limit: usize, own: usize| if own == 0 { limit } else { limit - limit / 4 };
        of_process < self.unread_of_process
            && of_user < share(self.unread_of_user, of_process)
            && unread.len() < share(self.unread, of_user)
    }
}

/// The users whose clients are accepted, besides root.
enum Admitted {
    All,
    /// These, and the server's own.
    Users(Vec<u32>),
    None,
}

impl Listener {
    /// Takes a name, if no living server has it.
    pub(crate) fn bind(name: &ChannelName, audience: &Audience<'_, User>, clients: Clients) -> Result<Self> {
        let user = AtomicU32::new(User::current()?.0);
        let admitted = match audience {
            Audience::Owner => Admitted::Users(Vec::new()),
            Audience::Administrators => Admitted::None,
            Audience::Everyone => Admitted::All,
            Audience::Users(users) => Admitted::Users(users.iter().map(|user| user.0).collect()),
            Audience::SecurityDescriptor(bytes) => {
                return Err(ShmError::InvalidOption {
                    option: "security descriptor",
                    value: bytes.len() as u64,
                    reason: "Linux has no security descriptors; use Access::Users".to_owned(),
                })
            }
        };
        let own_address = address(name, "")?;
        let socket = bound(&own_address).map_err(|failed| match failed {
            (Errno::ADDRINUSE, _) => ShmError::AlreadyExists { name: name.given().to_owned() },
            (errno, context) => error(errno, context),
        })?;
        take_no_descriptors(&socket);
        listen(&socket, BACKLOG).map_err(failed("creating the channel's name (listen)"))?;
        let socket = Arc::new(socket);
        let limits = Limits::of_this_process();
        let pending = Pending::new(limits.pending);
        Ok(Listener {
            socket: Event::listener(socket.clone())?,
            label: label(name),
            busy_address: address(name, BUSY)?,
            address: own_address,
            busy: Arc::default(),
            name: socket,
            clients,
            user,
            admitted,
            limits,
            queue: Mutex::new(Queue { pending, turn: None, unread: Vec::new(), short_until: None }),
        })
    }

    pub(crate) fn held_name(&self) -> HeldName {
        HeldName {
            address: self.address.clone(),
            socket: Arc::downgrade(&self.name),
            socket_number: number_of(&self.name),
            busy_address: self.busy_address.clone(),
            busy: Arc::downgrade(&self.busy),
        }
    }

    /// Makes what a fresh channel consists of.
    pub(crate) fn prepare(&self, size: usize) -> Result<Prepared> {
        let section = Section::named(&self.label, size)?;
        let (events, client_end) = ClientEnd::create()?;
        if self.has_changed_user() {
            self.adopt_user()?;
        }
        Ok(Prepared { section, events, instance: 0, client_end, offer: Offer(()) })
    }

    /// Whether this process has changed its user since the kernel took note of it. A section that it made before is no longer
    /// to be handed to clients.
    pub(crate) fn has_changed_user(&self) -> bool {
        geteuid().as_raw() != self.user.load(Ordering::Relaxed)
    }

    /// Has the kernel show this process's user to clients that connect from now on. Those that have connected before, and saw
    /// another user, look the name up again.
    fn adopt_user(&self) -> Result<()> {
        let mut queue = lock(&self.queue);
        let user = User::current()?.0;
        listen(&self.name, BACKLOG).map_err(failed("listening as another user (listen)"))?;
        self.user.store(user, Ordering::Relaxed);
        queue.turn = None;
        queue.pending.retain(|_| false);
        // As many as the queue has room for.
        let _ = (0..=BACKLOG).find(|_| matches!(descriptors::accept(&self.name), Err(Errno::AGAIN)));
        Ok(())
    }

    pub(crate) fn offer(&self, offer: Offer) -> Result<()> {
        let Offer(()) = offer;
        Ok(())
    }

    /// Nothing to do: the server hands the channel to the client whose turn it is.
    pub(crate) fn offer_again(&self) {}

    /// The number of the event by which clients take turns. Here the socket's queue is their order.
    pub(crate) fn admission_number(&self) -> u64 {
        0
    }

    /// An event that is set when a client connects, and the time after which there may be something to do without one.
    pub(crate) fn wait_for(&self) -> (Option<&Event>, Option<Duration>) {
        let queue = lock(&self.queue);
        let now = Instant::now();
        let short = queue.short_until.map(|until| until.saturating_duration_since(now));
        let short = short.filter(|left| !left.is_zero());
        let socket = (short.is_none() && self.takes_more(&queue)).then_some(&self.socket);
        let turn = queue.turn.as_ref().map(|turn| turn.left(&queue.pending));
        // Clients that have left too much unread may have read it by then.
        let blocked = (turn.is_none() && !queue.pending.is_empty()).then_some(RETRY);
        (socket, [turn, short, blocked].into_iter().flatten().min())
    }

    fn takes_more(&self, queue: &Queue) -> bool {
        queue.pending.takes_more(|caller| !self.limits.allow(&queue.unread, caller))
    }

    /// Whether the client that was handed the channel has not asked for a session in its time.
    pub(crate) fn is_overdue(&self) -> bool {
        let queue = lock(&self.queue);
        queue
            .turn
            .as_ref()
            .is_some_and(|turn| turn.left(&queue.pending).is_zero() || turn.process.has_ended())
    }

    /// The client that was handed the channel has its session. Clients that wait find out that they wait for it to leave.
    pub(crate) fn session_began(&self) {
        let mut queue = lock(&self.queue);
        if let Some(turn) = queue.turn.take() {
            queue.pending.keep(turn.caller, Instant::now());
        }
        queue.forget_what_was_read();
        drop(queue);
        if self.clients == Clients::One {
            let listening = |socket: OwnedFd| listen(&socket, 0).map(|()| socket);
            // Another process may have that name, or a fork its socket of the session before until it runs its first line.
            // Then clients that time out read that the server did not accept them.
            drop(
                self.busy.exchange(bound(&self.busy_address).ok().and_then(|socket| listening(socket).ok())),
            );
        }
    }

    /// No client that waits has to wait for another one to leave.
    pub(crate) fn session_ended(&self) {
        if let Some((busy, _)) = self.busy.exchange(None) {
            // A process that was forked meanwhile has a copy, by which clients would find the server busy.
            let _ = shutdown(&busy, Shutdown::Both);
        }
    }

    /// The client that was handed the channel has not asked for a session in its time.
    pub(crate) fn pass_turn(&self) {
        let mut queue = lock(&self.queue);
        if let Some(turn) = queue.turn.take() {
            queue.pending.pass(turn.caller, Instant::now());
        }
    }

    /// Hands a channel to the next client, unless one has it.
    ///
    /// # Errors
    /// The kernel refuses this process descriptors, or more of them in flight. The clients go on waiting.
    pub(crate) fn hand_over(&self, section: &Section, end: &ClientEnd) -> Result<()> {
        let mut queue = lock(&self.queue);
        let queue = &mut *queue;
        queue.forget_what_was_read();
        queue.forget_the_gone();
        let collected = self.collect(queue);
        while queue.turn.is_none() {
            let (unread, limits) = (&queue.unread, self.limits);
            let next = queue.pending.take_next(|caller| limits.allow(unread, caller));
            let Some((connection, caller, since)) = next else { break };
            let process = match open_peer(&connection, caller) {
                // A process that it forked may still have the connection.
                Ok(process) if process.has_ended() => continue,
                Ok(process) => process,
                Err(Unwatchable::Failed(error) | Unwatchable::Denied(Some(error))) => {
                    queue.keep_for_later(connection, caller, since);
                    return Err(error);
                }
                // It has ended, or the system does not let this process watch it.
                Err(_) => {
                    let _ = post(&connection, [Reason::Unwatchable as u32, 0], &[]);
                    continue;
                }
            };
            fail_point!("handover.begun");
            match hand_to(&connection, caller.pid, section, &end.clients) {
                Ok(()) => {
                    queue.unread.push((connection, caller));
                    let length = queue.pending.turn_of(caller);
                    queue.turn = Some(Turn { caller, process, since: Instant::now(), length });
                }
                // The client has given up.
                Err(_) if has_left(&connection) => {}
                Err(errno) if is_shortage(errno) || !can_send() => {
                    queue.keep_for_later(connection, caller, since);
                    return Err(error(errno, "handing a channel to a client (sendmsg)"));
                }
                // The client takes no descriptors.
                Err(_) => {}
            }
        }
        // A client that came before is being served.
        if queue.turn.is_some() {
            return Ok(());
        }
        collected
    }

    /// Takes the clients out of the socket's queue, as far as there is room.
    fn collect(&self, queue: &mut Queue) -> Result<()> {
        if queue.short_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        queue.short_until = None;
        for _ in 0..AT_ONCE {
            if !self.takes_more(queue) {
                break;
            }
            let connection = match descriptors::accept(self.socket.descriptor()) {
                Ok(connection) => connection,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(errno) => {
                    queue.short_until = Some(Instant::now() + RETRY);
                    return Err(error(errno, "accepting a client (accept4)"));
                }
            };
            // The socket's queue may be full of these. They take no place from a client that came behind them.
            if has_left(&connection) {
                continue;
            }
            let identified = self.identify(&connection).map_err(|errno| {
                // The client's connection is dropped: it looks the name up again.
                queue.short_until = Some(Instant::now() + RETRY);
                error(errno, "asking for a client's user (getsockopt)")
            })?;
            match identified {
                // A client whose connection is dropped looks the name up again.
                Ok(caller) => {
                    let (unread, limits) = (&queue.unread, self.limits);
                    let is_blocked = |caller| !limits.allow(unread, caller);
                    drop(queue.pending.push(connection, caller, Instant::now(), is_blocked));
                }
                Err(reason) => drop(post(&connection, [reason as u32, 0], &[])),
            }
        }
        Ok(())
    }

    /// The process and the user of a client; or why it is refused.
    ///
    /// # Errors
    /// What the system refuses this process.
    fn identify(&self, connection: &OwnedFd) -> rustix::io::Result<std::result::Result<Caller, Reason>> {
        let PeerCredentials { pid, uid, .. } = credentials(connection)?;
        let is_admitted = match &self.admitted {
            Admitted::All => true,
            Admitted::Users(users) => users.contains(&uid) || uid == self.user.load(Ordering::Relaxed),
            Admitted::None => false,
        };
        if uid != 0 && !is_admitted {
            return Ok(Err(Reason::Policy));
        }
        if pid == 0 {
            return Ok(Err(Reason::Unwatchable));
        }
        Ok(Ok(Caller { pid, uid }))
    }

    /// The process of a request, which must be the one that the channel was handed to.
    pub(crate) fn open_requester(&self, pid: u32) -> std::result::Result<Process, Unwatchable> {
        let queue = lock(&self.queue);
        let turn = queue.turn.as_ref().filter(|turn| turn.caller.pid == pid).ok_or(Unwatchable::Gone)?;
        if turn.process.has_ended() {
            return Err(Unwatchable::Gone);
        }
        Ok(turn.process.clone())
    }
}

impl Turn {
    /// How long it lasts still.
    fn left(&self, pending: &Pending<OwnedFd>) -> Duration {
        let length = if pending.has_better(self.caller) { TURN } else { self.length };
        length.saturating_sub(self.since.elapsed())
    }
}

impl Queue {
    /// Closes the connections whose client has received what it was handed, or has closed its end.
    fn forget_what_was_read(&mut self) {
        self.unread.retain(|(connection, _)| is_unread(connection));
    }

    /// Drops the clients that have given up.
    fn forget_the_gone(&mut self) {
        let mut descriptors: Vec<PollFd<'_>> = self
            .pending
            .connections()
            .map(|connection| PollFd::new(connection, PollFlags::empty()))
            .collect();
        let now = timespec(Duration::ZERO);
        if descriptors.is_empty() || poll(&mut descriptors, Some(&now)).is_err() {
            return;
        }
        let gone: Vec<bool> =
            descriptors.iter().map(|descriptor| descriptor.revents().contains(PollFlags::HUP)).collect();
        let mut gone = gone.into_iter();
        self.pending.retain(|_| !gone.next().unwrap_or(false));
    }

    /// Keeps a client for which this process lacks descriptors.
    fn keep_for_later(&mut self, connection: OwnedFd, caller: Caller, since: Instant) {
        self.pending.put_back(connection, caller, since);
        self.short_until = Some(Instant::now() + RETRY);
    }
}

/// Whether a client has closed its end of the connection.
fn has_left(connection: &OwnedFd) -> bool {
    let mut descriptor = [PollFd::new(connection, PollFlags::empty())];
    poll(&mut descriptor, Some(&timespec(Duration::ZERO))).is_ok()
        && descriptor[0].revents().contains(PollFlags::HUP)
}

/// The process at the other end of a connection.
fn open_peer(connection: &OwnedFd, caller: Caller) -> std::result::Result<Process, Unwatchable> {
    let user = User(caller.uid);
    match peer_process(connection) {
        Ok(pidfd) => Ok(Process::of_peer(pidfd, user)),
        Err(errno) if is_shortage(errno) => {
            Err(Unwatchable::Failed(error(errno, "watching a client's process (SO_PEERPIDFD)")))
        }
        // Before Linux 6.5.
        Err(_) => Process::open(caller.pid).map(|process| process.of_user(user)),
    }
}

/// Whether this process can send messages at all. A sandbox may forbid it. Where the system allows no sockets to try it with, the
/// client is taken to be at fault: one that refuses descriptors must not hold up the others.
fn can_send() -> bool {
    descriptors::socket_pair().map_or(true, |[one, _other]| post(&one, [0, 0], &[]).is_ok())
}

fn hand_to(connection: &OwnedFd, pid: u32, section: &Section, ends: &Ends) -> rustix::io::Result<()> {
    let mut descriptors = vec![section.file.as_fd()];
    descriptors.extend(ends.iter().map(|end| end.as_fd()));
    post(connection, [0, pid], &descriptors)
}
