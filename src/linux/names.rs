//! What stands behind a name: a Unix socket in the abstract namespace, which leaves nothing behind.
//!
//! ```text
//! client                                     server
//! connect to \0xshm/UID/NAME                 (in wait_for_client) accept, ask SO_PEERCRED, check the access policy
//!                                       <--  one message: the id that the server sees the client's process by, and
//!                                            the descriptors of the section and of the client's ends of the events
//! put the hello into the section        -->  find it there; it must be of a process that was let in
//! ```
//!
//! Names are each user's own; those that begin with `Global\` are the machine's. Anybody can bind an abstract name, so
//! a client asks SO_PEERCRED too, and refuses a server of a user that it doesn't trust.
//!
//! A server that serves a client takes nobody in. So that another client learns why, it holds a second name for that
//! long, the first with `\0busy` behind it, of which only the existence counts.
//!
//! Process ids are as the kernel translates them for each side. A process that is in no namespace of ours has id 0,
//! can't be watched, and is refused.

use super::ends::{self, Ends, Handout, PAIRS};
use super::{error, Event, Mapping, Process, Section, User};
use crate::access::Access;
use crate::error::{Result, ShmError};
use crate::naming::{ChannelName, Scope};
use crate::sys::{wait_any, Unwatchable, Waitable, EVENTS};
use rustix::io::{fcntl_dupfd_cloexec, Errno};
use rustix::net::{
    accept_with, bind, connect, listen, recvmsg, sendmsg, socket_with, AddressFamily, RecvAncillaryBuffer,
    RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use std::ffi::c_void;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Clients that may wait to be taken in.
const BACKLOG: i32 = 1024;

/// Clients that are taken in before the server looks after something else: somebody who knocks again and again keeps
/// nobody here.
const AT_ONCE: usize = 128;

/// How long the one client that was let in may take for its hello. Then what it holds is given up, since whoever holds it
/// can spoil it for the next one. Where machines are slow, the time doubles until a client keeps it, up to the second.
const TURN: Duration = Duration::from_millis(20);
const LONGEST_TURN: Duration = Duration::from_millis(320);

/// What a server has created under a name that nobody can find yet.
pub(crate) struct Prepared {
    pub(crate) section: Section,
    pub(crate) events: [Event; EVENTS],
    pub(crate) instance: u64,
    pub(crate) handout: Handout,
    pub(crate) announcement: Announcement,
}

/// The last step: makes what was prepared findable.
pub(crate) struct Announcement {
    name: ChannelName,
    admission: Admission,
}

/// Whom to let in, and what to hand them.
struct Admission {
    /// `None`: everybody.
    users: Option<Vec<u32>>,
    section: OwnedFd,
    ends: Ends,
}

impl Prepared {
    pub(crate) fn new(name: &ChannelName, access: &Access, size: usize) -> Result<Self> {
        let users = match access {
            Access::Owner => Some(vec![]),
            Access::Everyone => None,
            Access::Users(users) => Some(users.iter().map(|user| user.0 .0).collect()),
            Access::SecurityDescriptor(bytes) => {
                return Err(ShmError::InvalidOption {
                    option: "security descriptor",
                    value: bytes.len() as u64,
                    reason: "Linux has none; name the users".to_owned(),
                })
            }
        };
        let users = match users {
            Some(mut users) => {
                users.extend([0, User::current()?.0]);
                Some(users)
            }
            None => None,
        };
        let context = "creating the channel's objects";
        let section = Section::named(&label(name), size)?;
        let (events, handout) = Handout::create()?;
        let copy = fcntl_dupfd_cloexec(&section.file, 3).map_err(|errno| error(errno, context))?;
        let admission = Admission { users, section: copy, ends: handout.clients.clone() };
        let announcement = Announcement { name: name.clone(), admission };
        Ok(Prepared { section, events, instance: 0, handout, announcement })
    }
}

impl Announcement {
    /// Makes it findable, if no living server has the name.
    pub(crate) fn announce(self) -> Result<Guard> {
        self.listen(false)
    }

    /// As [`announce`](Self::announce), for a name behind which one channel after the other will stand.
    pub(crate) fn announce_movable(self) -> Result<Guard> {
        self.listen(true)
    }

    /// Makes it what is found from now on.
    pub(crate) fn replace(self, guard: &Guard) -> Result<()> {
        *guard.admission.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(self.admission);
        guard.next_turn();
        Ok(())
    }

    fn listen(self, movable: bool) -> Result<Guard> {
        let context = "creating the channel's name";
        let listener = bound(&address(&self.name, "")?).map_err(|errno| match errno {
            Errno::ADDRINUSE => ShmError::AlreadyExists { name: self.name.given().to_owned() },
            errno => error(errno, context),
        })?;
        ends::take_no_descriptors(&listener);
        listen(&listener, BACKLOG).map_err(|errno| error(errno, context))?;
        Ok(Guard {
            listener: Event::listener(listener)?,
            label: label(&self.name),
            busy_name: address(&self.name, BUSY)?,
            busy: Mutex::new(None),
            movable,
            turn: Mutex::new(Turn { since: None, length: TURN }),
            admission: Mutex::new(Arc::new(self.admission)),
            admitted: Mutex::new(None),
        })
    }
}

/// Makes a server findable, and keeps others from its name, until dropped or until the process ends.
pub(crate) struct Guard {
    listener: Event,
    /// What sections are called in `/proc`.
    label: String,
    busy_name: SocketAddrUnix,
    busy: Mutex<Option<OwnedFd>>,
    /// Nobody waits here for another client to leave: each finds a channel of its own.
    movable: bool,
    turn: Mutex<Turn>,
    admission: Mutex<Arc<Admission>>,
    admitted: Mutex<Option<Admitted>>,
}

/// Whose turn it is to say hello: one client at a time is let in, in the order of the socket's queue, so that nobody else
/// has the section and the events that it was handed, and a hello can be nobody else's.
struct Turn {
    /// `None`: nobody was let in.
    since: Option<Instant>,
    length: Duration,
}

impl Turn {
    /// How long still it's that client's. Zero: it took too long.
    fn left(&self) -> Option<Duration> {
        Some(self.length.saturating_sub(self.since?.elapsed()))
    }
}

/// A process that holds the channel's descriptors. The id can't come to mean another while its pidfd is held.
struct Admitted {
    pid: u32,
    process: Process,
}

impl Guard {
    /// Readable when somebody knocks who may come in, if anybody may; else, how long nobody may.
    pub(crate) fn knocks(&self) -> (Option<&Event>, Option<Duration>) {
        match self.turn().left() {
            None => (Some(&self.listener), None),
            left => (None, left),
        }
    }

    /// Whether a client was let in that has not said hello in its time: the channel is to be replaced, or renewed.
    pub(crate) fn is_overdue(&self) -> bool {
        self.turn().left().is_some_and(|left| left.is_zero())
    }

    /// The one that was let in has its session.
    pub(crate) fn served(&self) {
        *self.turn() = Turn { since: None, length: TURN };
        *self.admitted() = None;
    }

    /// Others may be let in.
    pub(crate) fn next_turn(&self) {
        let mut turn = self.turn();
        if turn.since.take().is_some() {
            turn.length = (turn.length * 2).min(LONGEST_TURN);
        }
        *self.admitted() = None;
    }

    /// Whether a client is handed what others were handed before, unless that is renewed.
    pub(crate) const RENEWS: bool = true;

    /// Puts a fresh section and fresh events in the place of a channel's, which nobody uses: whoever has the old ones can
    /// do no more harm with them.
    pub(crate) fn renew(&self, section: &Section, mapping: &Mapping, handout: &Handout) -> Result<()> {
        let admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fresh = Section::named(&self.label, section.size)?;
        handout.renew()?;
        mapping.replace(&fresh.file)?;
        ends::replace(&section.file, &fresh.file)?;
        ends::replace(&admission.section, &fresh.file)
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets in whoever knocks and may come in.
    ///
    /// # Errors
    /// This process can't: it has no descriptor left, say.
    pub(crate) fn admit(&self) -> Result<()> {
        let admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if self.turn().since.is_some() {
            return Ok(());
        }
        for _ in 0..AT_ONCE {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let connection = match accept_with(self.listener.descriptor(), flags) {
                Ok(connection) => connection,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(errno) => return Err(error(errno, "letting a client in")),
            };
            // Who doesn't take what it asked for is gone.
            match self.welcome(&connection, &admission) {
                Ok(pid) if admission.hand_over(&connection, pid).is_ok() => {
                    self.turn().since = Some(Instant::now());
                    break;
                }
                Ok(_) => *self.admitted() = None,
                Err(reason) => drop(refuse(&connection, reason)),
            }
        }
        Ok(())
    }

    fn welcome(&self, connection: &OwnedFd, admission: &Admission) -> std::result::Result<u32, Reason> {
        let Credentials { pid, uid, .. } = credentials(connection).map_err(|_| Reason::Unwatchable)?;
        if admission.users.as_ref().is_some_and(|users| !users.contains(&uid)) {
            return Err(Reason::Policy);
        }
        if pid == 0 {
            return Err(Reason::Unwatchable);
        }
        let mut process = match peer_process(connection) {
            Some(pidfd) => Process { pidfd, user: None },
            None => Process::open(pid).map_err(|_| Reason::Unwatchable)?,
        };
        process.user = Some(User(uid));
        *self.admitted() = Some(Admitted { pid, process });
        Ok(pid)
    }

    fn admitted(&self) -> MutexGuard<'_, Option<Admitted>> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process of a hello, which must have been let in.
    pub(crate) fn open_client(&self, pid: u32) -> std::result::Result<Process, Unwatchable> {
        let admitted = self.admitted();
        let known = admitted.as_ref().filter(|admitted| admitted.pid == pid).ok_or(Unwatchable::Gone)?;
        if known.process.has_ended() {
            return Err(Unwatchable::Gone);
        }
        known.process.duplicate()
    }

    /// Clients take turns at the socket, and need no event for it.
    pub(crate) fn instance(&self) -> u64 {
        0
    }

    /// Tells those who knock that they wait for another client to leave.
    pub(crate) fn set_busy(&self, busy: bool) {
        if self.movable {
            return;
        }
        // Where the name is taken, somebody else has told them already.
        let listening = |socket: OwnedFd| listen(&socket, 0).map(|()| socket);
        let name = if busy { bound(&self.busy_name).and_then(listening).ok() } else { None };
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }
}

/// Why a server turns a client away, as it goes over the wire.
#[derive(Clone, Copy)]
enum Reason {
    Policy = 1,
    Unwatchable = 2,
}

impl Reason {
    fn text(code: u32) -> &'static str {
        match code {
            1 => "does not admit this user",
            2 => "can't watch this process, which may be in another process namespace",
            _ => "gives no reason that is known",
        }
    }
}

/// The message that hands the descriptors over: zero or a reason, and the client's process id.
type Welcome = [u32; 2];

fn encode(message: Welcome) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&message[0].to_ne_bytes());
    bytes[4..].copy_from_slice(&message[1].to_ne_bytes());
    bytes
}

fn decode(bytes: [u8; 8]) -> Welcome {
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    [word(0), word(4)]
}

impl Admission {
    fn hand_over(&self, connection: &OwnedFd, pid: u32) -> rustix::io::Result<()> {
        let mut descriptors = vec![self.section.as_fd()];
        descriptors.extend(self.ends.iter().map(|end| end.as_fd()));
        post(connection, [0, pid], &descriptors)
    }
}

fn refuse(connection: &OwnedFd, reason: Reason) -> rustix::io::Result<()> {
    post(connection, [reason as u32, 0], &[])
}

fn post(connection: &OwnedFd, message: Welcome, descriptors: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1 + PAIRS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)), "there is space for all of them");
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(connection, &[IoSlice::new(&encode(message))], &mut control, flags).map(drop)
}

/// What stands behind a name.
pub(crate) struct Found {
    pub(crate) section: Section,
    /// The id of this process, as the server knows it.
    pub(crate) own_pid: u32,
    /// The id of the server's process, as the kernel says.
    pub(crate) server_pid: Option<u32>,
    opener: EventOpener,
}

/// Has the events that came with a section.
pub(crate) struct EventOpener(Ends);

/// Looks a name up, asks whether whoever has it is trusted, and waits to be let in. `None`: no server has it, or it
/// went away.
pub(crate) fn lookup(
    name: &ChannelName,
    trusts: &dyn Fn(Option<&User>) -> Result<()>,
    patience: Option<Duration>,
    interrupt: &Event,
) -> Result<Option<Found>> {
    let context = "looking the name up";
    let connection = match connected(&address(name, "")?) {
        Ok(connection) => connection,
        Err(Errno::CONNREFUSED) => return Ok(None),
        // Too many wait already.
        Err(Errno::AGAIN) => return Err(ShmError::AlreadyConnected),
        Err(errno) => return Err(error(errno, context)),
    };
    let server = credentials(&connection).map_err(|errno| error(errno, context))?;
    // An impostor is known before anything of it is looked at.
    trusts(Some(&User(server.uid)))?;
    let connection = Event::listener(connection)?;
    match wait_any(&[Waitable::Event(&connection), Waitable::Event(interrupt)], patience)? {
        Some(0) => {}
        Some(_) => return Err(ShmError::Interrupted),
        None => {
            let busy = !matches!(connected(&address(name, BUSY)?), Err(Errno::CONNREFUSED));
            return Err(if busy { ShmError::AlreadyConnected } else { ShmError::Timeout });
        }
    }
    let refused = |reason: String| ShmError::Refused { reason };
    let mut bytes = [0; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1 + PAIRS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(connection.descriptor(), &mut [IoSliceMut::new(&mut bytes)], &mut control, flags);
    let descriptors: Vec<OwnedFd> = control
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => rights.collect(),
            _ => vec![],
        })
        .collect();
    match received {
        Ok(message) if message.bytes == bytes.len() => {}
        // The server went away.
        Ok(_) | Err(Errno::CONNRESET) => return Ok(None),
        Err(errno) => return Err(error(errno, context)),
    }
    let [reason, own_pid] = decode(bytes);
    if reason != 0 {
        return Err(refused(format!("the server {}", Reason::text(reason))));
    }
    let mut descriptors = descriptors.into_iter();
    let (Some(section), Ok(ends)) =
        (descriptors.next(), descriptors.map(Arc::new).collect::<Vec<_>>().try_into())
    else {
        return Err(refused("what has the name is something else than a channel".to_owned()));
    };
    let ends: Ends = ends;
    ends.iter().try_for_each(|end| ends::check(end))?;
    let section = Section::from_file(section)?;
    if section.owner() != Some(User(server.uid)) {
        return Err(refused("the section is not of the user who runs the server".to_owned()));
    }
    if server.pid == 0 {
        return Err(refused(
            "the server's process is in another process namespace and can't be watched".to_owned(),
        ));
    }
    let server_pid = Some(server.pid);
    Ok(Some(Found { section, own_pid, server_pid, opener: EventOpener(ends) }))
}

impl Found {
    pub(crate) fn into_parts(self) -> (Section, EventOpener) {
        (self.section, self.opener)
    }
}

impl EventOpener {
    /// The events: they came with the section, from the same server.
    pub(crate) fn events(&self, _instance: u64, _owner: Option<&User>) -> Result<Option<[Event; EVENTS]>> {
        Ok(Some(ends::events_at(&self.0)?))
    }

    /// Has the server put a spoiled section right: it does whenever somebody knocks.
    pub(crate) fn complain(&self, _section: &Section, _owner: Option<&User>) -> Result<()> {
        Ok(())
    }

    /// What clients take turns by: they do at the socket.
    pub(crate) fn turn(&self, _instance: u64, _owner: Option<&User>) -> Result<Option<Event>> {
        Ok(None)
    }
}

fn label(name: &ChannelName) -> String {
    format!("xshm:{}", name.base())
}

/// What no name ends in, since none has a NUL.
const BUSY: &str = "\0busy";

/// `ending` is nothing, or [`BUSY`].
fn address(name: &ChannelName, ending: &str) -> Result<SocketAddrUnix> {
    let owner = match name.scope {
        Scope::Local => User::current()?.to_string(),
        Scope::Global => "global".to_owned(),
    };
    let path = format!("xshm/{owner}/{}{ending}", name.base());
    SocketAddrUnix::new_abstract_name(path.as_bytes()).map_err(|errno| error(errno, "naming the channel"))
}

const SOL_SOCKET: i32 = 1;

extern "C" {
    fn getsockopt(socket: i32, level: i32, name: i32, value: *mut c_void, length: *mut u32) -> i32;
}

/// `struct ucred`.
#[repr(C)]
#[derive(Default)]
struct Credentials {
    /// 0: a process in no namespace of ours.
    pid: u32,
    uid: u32,
    gid: u32,
}

/// Whose socket is at the other end.
///
/// Asked of the C library, which std is linked with: rustix reads the process id as a number that is never 0, and for
/// a process of another namespace it is 0.
fn credentials(socket: &OwnedFd) -> rustix::io::Result<Credentials> {
    const SO_PEERCRED: i32 = 17;
    let mut found = Credentials::default();
    let mut length = std::mem::size_of::<Credentials>() as u32;
    // SAFETY: the place for the result is valid and has the length said.
    match unsafe {
        getsockopt(socket.as_raw_fd(), SOL_SOCKET, SO_PEERCRED, ptr::from_mut(&mut found).cast(), &mut length)
    } {
        0 => Ok(found),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

/// The process at the other end, which can't have become another one's number since. From Linux 6.5 on.
fn peer_process(socket: &OwnedFd) -> Option<OwnedFd> {
    const SO_PEERPIDFD: i32 = 77;
    let (mut pidfd, mut length) = (-1_i32, 4);
    // SAFETY: the place for the result is valid and has the length said.
    let done = unsafe {
        getsockopt(
            socket.as_raw_fd(),
            SOL_SOCKET,
            SO_PEERPIDFD,
            ptr::from_mut(&mut pidfd).cast(),
            &mut length,
        )
    };
    // SAFETY: a new descriptor, which is nobody else's.
    (done == 0 && pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) })
}

fn socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

fn bound(address: &SocketAddrUnix) -> rustix::io::Result<OwnedFd> {
    let socket = socket()?;
    bind(&socket, address)?;
    Ok(socket)
}

fn connected(address: &SocketAddrUnix) -> rustix::io::Result<OwnedFd> {
    let socket = socket()?;
    connect(&socket, address)?;
    Ok(socket)
}
