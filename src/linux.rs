//! Linux: sections, events, waits and processes, on rustix.
//!
//! # Events that a peer can't turn against us
//!
//! An event is a datagram in a pair of Unix sockets: setting it sends one, waiting for it polls and receives one; who is
//! woken by a message receives only before it sleeps again, and so is up one call sooner ([`Waitable::Wake`]). Every call
//! says `MSG_DONTWAIT`, so that no flag which the peer changes on a shared descriptor makes us wait; a pair whose queue is
//! full is set already. A server waits at ends that it never hands out, and the shutting of the other end changes nothing at
//! these, since they are datagram sockets. Those of a client are its server's as well, which may shut them: they poll as ready
//! from then on, and who waits there looks every millisecond. (An eventfd has one description for both sides: a peer that
//! clears its `O_NONBLOCK` and fills its counter blocks who sets it.) Such a server can also hold up a `recv` of its client's,
//! since the kernel lets one at a time receive at a socket, for as long as its own `recv` takes. That is a server of our own
//! user or root's, who can stop us anyway, or one that [`crate::Trust`] was told to let in.
//!
//! A section is a memfd, sealed against shrinking and growing, so that no touch of it can fault.

#[path = "linux/listener.rs"]
mod listener;
#[path = "linux/lookup.rs"]
mod lookup;
#[path = "linux/pairs.rs"]
mod pairs;
#[path = "linux/pending.rs"]
mod pending;
#[path = "linux/wire.rs"]
mod wire;

pub(crate) use listener::{Listener, Offer, Prepared};
pub(crate) use lookup::{lookup, EventOpener};
pub(crate) use pairs::{client_events, ClientEnd};
#[cfg(fuzzing)]
pub use pending::fuzzing as fuzzed_pending;

use super::{Unwatchable, Waitable};
use crate::error::{Result, ShmError};
use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::{
    fcntl_add_seals, fcntl_get_seals, fstat, fstatfs, ftruncate, memfd_create, MemfdFlags, SealFlags,
};
use rustix::io::{fcntl_dupfd_cloexec, Errno};
use rustix::mm::{madvise, mmap, mmap_anonymous, munmap, Advice, MapFlags, ProtFlags};
use rustix::net::{recv, send, RecvFlags, SendFlags};
use rustix::process::{geteuid, pidfd_open, Pid, PidfdFlags};
use rustix::time::{clock_gettime, ClockId};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A user, by number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct User(u32);

impl User {
    pub(crate) fn current() -> Result<Self> {
        Ok(User(geteuid().as_raw()))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(User)
    }

    /// Whether a server of this user is trusted by default: our own, and root's.
    pub(crate) fn is_trusted_server(&self) -> Result<bool> {
        Ok(self.0 == 0 || *self == User::current()?)
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn error(errno: Errno, context: &'static str) -> ShmError {
    ShmError::SystemError { code: errno.raw_os_error(), context }
}

/// Whether it is this process, or the system, that lacks something: the peer is not at fault.
fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::TOOMANYREFS)
}

/// An error of std's.
pub(crate) fn io_error(error: &std::io::Error, context: &'static str) -> ShmError {
    ShmError::SystemError { code: error.raw_os_error().unwrap_or(0), context }
}

pub(crate) fn process_id() -> u32 {
    std::process::id()
}

pub(crate) fn coarse_millis() -> u32 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    (now.tv_sec as u32).wrapping_mul(1000).wrapping_add(now.tv_nsec as u32 / 1_000_000)
}

// ------------------------------------------------------------------------------------------------------- forks

/// The process that something was made in. A fork has copies of it, which must do nothing.
#[derive(Clone, Copy)]
pub(crate) struct Home {
    epoch: u64,
    now: &'static AtomicU64,
}

/// How many forks lie between the first process and this one, of those in which something was made.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// A word that reads zero in a fork until something is made there.
static EPOCH: OnceLock<std::result::Result<&'static AtomicU64, Errno>> = OnceLock::new();

impl Home {
    /// This process.
    pub(crate) fn here() -> Result<Self> {
        let now = EPOCH.get_or_init(epoch_page).map_err(|errno| error(errno, "preparing for forks"))?;
        if now.load(Ordering::Relaxed) == 0 {
            let fresh = FORKS.fetch_add(1, Ordering::Relaxed) + 1;
            // Where another thread was faster, its number is as good.
            let _ = now.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed);
        }
        Ok(Home { epoch: now.load(Ordering::Relaxed), now })
    }

    /// Whether this is still that process.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.now.load(Ordering::Relaxed) == self.epoch
    }
}

/// A page that the kernel wipes in the memory of a fork. It stays for good.
fn epoch_page() -> std::result::Result<&'static AtomicU64, Errno> {
    const SIZE: usize = 4096;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, where the kernel likes, changes no memory in use, and the advice is for it alone. It is
    // never unmapped, is aligned to a page, and zeros are a valid word.
    unsafe {
        let page = mmap_anonymous(ptr::null_mut(), SIZE, protection, MapFlags::PRIVATE)?;
        madvise(page, SIZE, Advice::LinuxWipeOnFork)?;
        Ok(&*page.cast())
    }
}

// ---------------------------------------------------------------------------------------------------- sections

/// A section: a memfd.
pub(crate) struct Section {
    file: OwnedFd,
    size: usize,
}

/// `TMPFS_MAGIC`: what a memfd of ordinary pages is on.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// What a section must be sealed against, so that nobody can take back a page that others have mapped.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

impl Section {
    /// A section that nobody can find.
    pub(crate) fn create(size: usize) -> Result<Self> {
        Self::named("xshm", size)
    }

    /// The name shows in `/proc` alone.
    fn named(name: &str, size: usize) -> Result<Self> {
        let context = "creating a section";
        let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|errno| error(errno, context))?;
        ftruncate(&file, size as u64).map_err(|errno| error(errno, context))?;
        fcntl_add_seals(&file, SEALS).map_err(|errno| error(errno, context))?;
        Ok(Section { file, size })
    }

    /// Checks a descriptor that came from somebody else.
    fn from_file(file: OwnedFd) -> Result<Self> {
        // Of huge pages the kernel may not have enough when one is touched, seals or not.
        let kind = fstatfs(&file).map_err(|errno| error(errno, "asking what the section is made of"))?.f_type;
        if kind as u64 != TMPFS_MAGIC {
            let (found, expected) = (kind as u64, TMPFS_MAGIC);
            return Err(ShmError::Incompatible { what: "section memory", found, expected });
        }
        // Only what is memory has seals at all.
        let seals = fcntl_get_seals(&file).map_err(|errno| error(errno, "asking for the section's seals"))?;
        if !seals.contains(SealFlags::SHRINK) {
            let (found, expected) = (u64::from(seals.bits()), u64::from(SEALS.bits()));
            return Err(ShmError::Incompatible { what: "section seals", found, expected });
        }
        let stat = fstat(&file).map_err(|errno| error(errno, "asking for the section's size"))?;
        Ok(Section { file, size: usize::try_from(stat.st_size).unwrap_or(0) })
    }

    /// A second descriptor of a section, made from one of this process.
    pub(crate) fn duplicate(raw: isize) -> Result<Self> {
        let context = "duplicating the section's descriptor";
        let raw = RawFd::try_from(raw).ok().filter(|&raw| raw >= 0).ok_or(error(Errno::BADF, context))?;
        // SAFETY: the kernel checks the number, whatever it is; nothing but the duplicate is kept.
        let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
        let file = fcntl_dupfd_cloexec(borrowed, 3).map_err(|errno| error(errno, context))?;
        Self::from_file(file)
    }

    pub(crate) fn as_raw(&self) -> isize {
        self.file.as_raw_fd() as isize
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Who created it.
    pub(crate) fn owner(&self) -> Option<User> {
        fstat(&self.file).ok().map(|stat| User(stat.st_uid))
    }
}

/// A section in this process's memory, unmapped when dropped.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: memory is the whole process's; what threads may do with it is the business of whoever reads and writes it.
unsafe impl Send for Mapping {}
// SAFETY: as above; the mapping itself never changes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps all of a section. Its seals keep its pages there.
    pub(crate) fn map(section: &Section) -> Result<Self> {
        let context = "mapping the section";
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, where the kernel likes, changes no memory in use.
        let base = unsafe {
            mmap(ptr::null_mut(), section.size, protection, MapFlags::SHARED, &section.file, 0)
                .map_err(|errno| error(errno, context))?
        };
        let base = NonNull::new(base.cast()).ok_or(ShmError::HandshakeFailed)?;
        Ok(Mapping { base, size: section.size })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever used it is gone, since they lent from `self`. It can't fail.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.size) };
    }
}

// ------------------------------------------------------------------------------------------------------ events

/// An event. In a fork it does nothing.
pub(crate) struct Event {
    kind: Kind,
    home: Home,
}

/// More datagrams than one socket of ours queues: signals of a byte each, in its send buffer.
const LONGEST_QUEUE: usize = 1024;

/// What an end of a pair polls as when somebody who shares it has shut it, or has broken the pair up.
const SHUT: PollFlags = PollFlags::HUP.union(PollFlags::ERR).union(PollFlags::NVAL).union(PollFlags::RDHUP);

enum Kind {
    /// This process's alone: stays set until it is reset.
    Local(OwnedFd),
    /// A socket where somebody knocks, or that something comes through: readable until that's taken care of.
    Listener(OwnedFd),
    /// Setting sends at one end, waiting receives at the other. Who has but one end of the pair has it twice, and does
    /// only one of the two.
    Shared {
        set: Arc<OwnedFd>,
        wait: Arc<OwnedFd>,
        /// Whether whoever waited last was woken and has not received.
        left: AtomicBool,
    },
}

impl Event {
    /// One for this process alone, that stays set until it is reset.
    pub(crate) fn local() -> Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let event = eventfd(0, flags).map_err(|errno| error(errno, "creating an event"))?;
        Ok(Event { kind: Kind::Local(event), home: Home::here()? })
    }

    fn listener(socket: OwnedFd) -> Result<Self> {
        Ok(Event { kind: Kind::Listener(socket), home: Home::here()? })
    }

    fn shared(set: &Arc<OwnedFd>, wait: &Arc<OwnedFd>, home: Home) -> Self {
        let (set, wait, left) = (set.clone(), wait.clone(), AtomicBool::new(false));
        Event { kind: Kind::Shared { set, wait, left }, home }
    }

    /// It can only fail where it needn't work: when it is set already, or nobody is left to wait for it.
    pub(crate) fn set(&self) {
        if !self.home.is_here() {
            return;
        }
        let _ = match &self.kind {
            Kind::Local(event) => rustix::io::write(event, &1_u64.to_ne_bytes()),
            Kind::Listener(_) => return,
            Kind::Shared { set, .. } => send(set, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
        };
    }

    pub(crate) fn reset(&self) {
        if !self.home.is_here() {
            return;
        }
        match &self.kind {
            Kind::Local(event) => drop(rustix::io::read(event, &mut [0; 8])),
            Kind::Listener(_) => {}
            // More than a queue holds are a peer's that keeps filling it.
            Kind::Shared { left, .. } => {
                left.store(false, Ordering::Relaxed);
                let _ = (0..LONGEST_QUEUE).find(|_| !self.take());
            }
        }
    }

    /// What becomes readable when it is set.
    pub(crate) fn as_raw(&self) -> isize {
        self.descriptor().as_raw_fd() as isize
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Local(event) | Kind::Listener(event) => event.as_fd(),
            Kind::Shared { wait, .. } => wait.as_fd(),
        }
    }

    /// Whether it polls as ready for ever, because somebody has shut it. (What else is [`SHUT`] passes.)
    pub(crate) fn is_shut(&self) -> bool {
        let mut descriptor = [PollFd::from_borrowed_fd(self.descriptor(), PollFlags::RDHUP)];
        let polled = poll(&mut descriptor, Some(&timespec(Duration::ZERO)));
        polled.is_ok() && descriptor[0].revents().intersects(PollFlags::HUP | PollFlags::RDHUP)
    }

    /// What to poll it for.
    fn flags(&self) -> PollFlags {
        match &self.kind {
            Kind::Local(_) | Kind::Listener(_) => PollFlags::IN,
            Kind::Shared { .. } => PollFlags::IN | PollFlags::RDHUP,
        }
    }

    /// Takes the datagram that woke us the last time, see [`Waitable::Wake`]. Others may be there: they wake us once each.
    pub(crate) fn take_left(&self) {
        if let Kind::Shared { left, .. } = &self.kind {
            if self.home.is_here() && left.swap(false, Ordering::Relaxed) {
                self.take();
            }
        }
    }

    /// Leaves it set for having been woken by it.
    fn leave(&self) {
        if let Kind::Shared { left, .. } = &self.kind {
            left.store(true, Ordering::Relaxed);
        }
    }

    /// Unsets it for having waited for it. False: somebody else was faster.
    fn take(&self) -> bool {
        match &self.kind {
            Kind::Local(_) | Kind::Listener(_) => true,
            Kind::Shared { wait, .. } => recv(wait, &mut [0; 1][..], RecvFlags::DONTWAIT).is_ok(),
        }
    }
}

// --------------------------------------------------------------------------------------------------- processes

/// Another process, known to be the one that had this id when it was opened.
#[derive(Clone)]
pub(crate) struct Process {
    pidfd: Arc<OwnedFd>,
    user: Option<User>,
}

impl Process {
    pub(crate) fn open(pid: u32) -> std::result::Result<Self, Unwatchable> {
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Unwatchable::Gone)?;
        let pidfd = match pidfd_open(id, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH | Errno::INVAL) => return Err(Unwatchable::Gone),
            Err(errno) if is_shortage(errno) => {
                return Err(Unwatchable::Failed(error(errno, "watching a process")))
            }
            Err(_) => return Err(Unwatchable::Denied),
        };
        let user = rustix::fs::stat(format!("/proc/{pid}")).ok().map(|stat| User(stat.st_uid));
        let process = Process { pidfd: Arc::new(pidfd), user };
        if process.has_ended() {
            return Err(Unwatchable::Gone);
        }
        Ok(process)
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(wait_any(&[Waitable::Process(self)], Some(Duration::ZERO)), Ok(Some(_)))
    }

    pub(crate) fn user(&self) -> Option<User> {
        self.user.clone()
    }

    /// What becomes readable when it has ended.
    pub(crate) fn as_raw(&self) -> isize {
        self.pidfd.as_raw_fd() as isize
    }

    fn of_user(self, user: User) -> Self {
        Process { user: Some(user), ..self }
    }

    /// The process at the other end of a socket, by a descriptor of it.
    fn of_peer(pidfd: OwnedFd, user: User) -> Self {
        Process { pidfd: Arc::new(pidfd), user: Some(user) }
    }
}

// ------------------------------------------------------------------------------------------------------- waits

/// How often who waits for an event looks, where somebody has shut the end that it would come through.
const SHUT_INTERVAL: Duration = Duration::from_millis(1);

/// Waits until one of `objects` is signalled, and says which: the first, where several are. `None`: the time was up. A
/// timeout counts from now, by a clock that nobody sets.
pub(crate) fn wait_any(objects: &[Waitable<'_>], timeout: Option<Duration>) -> Result<Option<usize>> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let mut descriptors: Vec<PollFd<'_>> = Vec::with_capacity(objects.len());
    for object in objects {
        descriptors.push(match object {
            Waitable::Event(event) | Waitable::Wake(event) => {
                PollFd::from_borrowed_fd(event.descriptor(), event.flags())
            }
            Waitable::Process(process) => PollFd::new(&process.pidfd, PollFlags::IN),
        });
    }
    loop {
        match poll(&mut descriptors, left().map(timespec).as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(error(errno, "waiting")),
        }
        let is_shut = |index: usize| descriptors[index].revents().intersects(SHUT);
        let mut shut = None;
        for (index, object) in objects.iter().enumerate() {
            if descriptors[index].revents().is_empty() {
                continue;
            }
            let told = match object {
                Waitable::Event(event) => event.take(),
                Waitable::Wake(event) => {
                    event.leave();
                    !is_shut(index)
                }
                Waitable::Process(_) => true,
            };
            if told {
                return Ok(Some(index));
            }
            if is_shut(index) {
                shut = shut.or(Some(index));
            }
        }
        if let Some(shut) = shut {
            // It may poll as ready for ever. The others are waited for a little; then it is told, so that who waits for it
            // looks.
            let others: Vec<usize> = (0..objects.len()).filter(|&index| !is_shut(index)).collect();
            let waitables: Vec<_> = others.iter().map(|&index| objects[index]).collect();
            let interval = left().map_or(SHUT_INTERVAL, |left| left.min(SHUT_INTERVAL));
            let woken_by = wait_any(&waitables, Some(interval))?;
            return Ok(Some(woken_by.map_or(shut, |index| others[index])));
        }
        // Another thread took the only signal there was.
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(None);
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: duration.subsec_nanos().into() }
}
