//! The in-process platform, on which threads act as peers. It replaces the operating system for the model checker
//! (loom) and for Miri. All code above the platform interface runs on it unchanged.
//!
//! Under loom a wait looks only at the first event. A wait without a timeout blocks. A wait with a timeout times out
//! at once if the event is not signalled, and advances the model's clock by the timeout. loom explores both results
//! of such a wait, since the signal may come before or after it.

use crate::error::{Result, ShmError};
use crate::handles::{ClientEvents, ClientHandles, EVENTS};
use crate::naming::ChannelName;
use crate::sys::kinds::{self, Audience, Clients, Unwatchable};
use std::alloc::Layout;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

#[cfg(loom)]
use loom::sync::{Condvar, Mutex};
#[cfg(not(loom))]
use std::sync::{Condvar, Mutex};

pub(crate) use crate::sys::kinds::{
    NoHandover as Handover, OnlyName as HeldName, OnlyProcess as OwningProcess,
};
pub(crate) use std::os::fd::{AsFd as AsObject, BorrowedFd as BorrowedObject, OwnedFd as OwnedObject};

/// Returns the error of a call that needs a file descriptor, since this platform has none.
fn no_descriptors<T>() -> Result<T> {
    Err(ShmError::SystemError { code: 9, context: "using a descriptor" })
}

/// The error of a call for which this process has no memory.
pub(crate) fn out_of_memory(context: &'static str) -> ShmError {
    ShmError::SystemError { code: 12, context }
}

/// The models pass no object to the standard library's functions.
macro_rules! borrow_by {
    ($type:ty, $method:ident) => {};
}
pub(crate) use borrow_by;

/// Borrows a descriptor.
pub(crate) fn borrow(descriptor: &OwnedObject) -> BorrowedObject<'_> {
    descriptor.as_fd()
}

/// Gives a descriptor away as a number.
#[cfg(all(feature = "c-api", not(loom)))]
pub(crate) fn into_raw(descriptor: OwnedObject) -> isize {
    std::os::fd::IntoRawFd::into_raw_fd(descriptor) as isize
}

/// Closes a descriptor.
///
/// # Safety
/// [`into_raw`] gave it away, and it is open.
#[cfg(all(feature = "c-api", not(loom)))]
pub(crate) unsafe fn close_raw(number: isize) {
    // SAFETY: by the caller.
    drop(unsafe { <OwnedObject as std::os::fd::FromRawFd>::from_raw_fd(number as i32) });
}

/// A thread of the library.
pub(crate) struct Thread(std::thread::JoinHandle<()>);

impl Thread {
    pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<Self> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        thread.map(Thread).map_err(|error| io_error(&error, "starting a thread"))
    }

    pub(crate) fn join(self) {
        let _ = self.0.join();
    }
}

/// Whether the process is ending and has no other threads any more.
pub(crate) fn is_shutting_down() -> bool {
    false
}

/// An object for which a thread can wait.
pub(crate) type Waitable<'a> = kinds::Waitable<'a, Event, Process>;

/// A user, by number. Every process here runs as user 0.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct User(u32);

impl User {
    pub(crate) fn current() -> Result<Self> {
        Ok(User(0))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(User)
    }

    /// Whether the system has said which user it is.
    pub(crate) fn is_known(&self) -> bool {
        true
    }

    pub(crate) fn is_trusted_server(&self) -> Result<bool> {
        Ok(self.0 == 0)
    }
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(not(loom))]
thread_local! {
    static PROCESS: std::cell::Cell<u32> = const { std::cell::Cell::new(1) };
}

/// Converts an error of the standard library.
fn io_error(error: &std::io::Error, context: &'static str) -> ShmError {
    ShmError::WindowsError { code: error.raw_os_error().unwrap_or(0) as u32, context }
}

/// Returns a coarse time in milliseconds. In a model it is always 0.
pub(crate) fn coarse_millis() -> u32 {
    #[cfg(loom)]
    return 0;
    #[cfg(not(loom))]
    {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed().as_millis() as u32
    }
}

/// Returns the process id of the current thread. Each thread may act as a separate process.
#[cfg(not(loom))]
pub(crate) fn process_id() -> u32 {
    PROCESS.get()
}

#[cfg(all(test, not(loom)))]
pub(crate) fn become_process(pid: u32) {
    PROCESS.set(pid);
}

#[cfg(loom)]
pub(crate) fn process_id() -> u32 {
    1
}

struct Memory {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: plain memory, which belongs to no thread. The protocol decides which side reads and writes which bytes.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `Section::create`.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// Zeroed memory, shared by reference count.
pub(crate) struct Section(Arc<Memory>);

impl Section {
    pub(crate) fn create(size: usize) -> Result<Self> {
        let layout = Layout::from_size_align(size, 4096).expect("sections have sensible sizes");
        // SAFETY: no section is empty.
        let base = unsafe { std::alloc::alloc_zeroed(layout) };
        let base = NonNull::new(base).expect("tests have memory");
        Ok(Section(Arc::new(Memory { base, layout })))
    }

    /// Opens the section again. `raw` must come from `as_raw` of a section that still exists.
    pub(crate) fn duplicate(raw: isize) -> Result<Self> {
        let memory = raw as *const Memory;
        // SAFETY: the section exists, so that its reference count is at least one. The new reference is counted.
        Ok(Section(unsafe {
            Arc::increment_strong_count(memory);
            Arc::from_raw(memory)
        }))
    }

    pub(crate) fn duplicate_of(_: &impl AsObject) -> Result<Self> {
        no_descriptors()
    }

    pub(crate) fn as_raw(&self) -> isize {
        Arc::as_ptr(&self.0) as isize
    }

    pub(crate) fn size(&self) -> usize {
        self.0.layout.size()
    }

    pub(crate) fn owner(&self) -> Result<Option<User>> {
        Ok(Some(User(0)))
    }
}

/// A mapping of a section. It keeps the memory until it is dropped.
pub(crate) struct Mapping(Arc<Memory>);

impl Mapping {
    pub(crate) fn map(section: &Section) -> Result<Self> {
        Ok(Mapping(section.0.clone()))
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.0.base
    }
}

struct Signal {
    set: Mutex<bool>,
    changed: Condvar,
    stays: bool,
    /// `None` if a wait for a [`Waitable::Wake`] takes the signal, as on Windows. `Some` if such a wait leaves the
    /// signal, as on Linux; the value says whether one has been left. In contrast to Linux, signals do not add up: a
    /// wait that takes one takes all.
    left: Option<AtomicBool>,
}

thread_local! {
    static LEAVES: Cell<bool> = const { Cell::new(true) };
}

/// Decides whether waits for a [`Waitable::Wake`] leave the signals. It applies to events that this thread creates from
/// now on.
#[cfg(loom)]
pub(crate) fn leave_signals(leave: bool) {
    LEAVES.set(leave);
}

/// An event, whose clones share one signal.
#[derive(Clone)]
pub(crate) struct Event(Arc<Signal>);

impl Event {
    fn new(stays: bool) -> Self {
        let left = LEAVES.get().then(|| AtomicBool::new(false));
        Event(Arc::new(Signal { set: Mutex::new(false), changed: Condvar::new(), stays, left }))
    }

    /// Creates an event that wakes one waiter for each `set`.
    pub(crate) fn auto_reset() -> Self {
        Self::new(false)
    }

    pub(crate) fn local() -> Result<Self> {
        Ok(Self::new(true))
    }

    pub(crate) fn set(&self) {
        *self.0.set.lock().unwrap() = true;
        self.0.changed.notify_one();
    }

    pub(crate) fn reset(&self) {
        *self.0.set.lock().unwrap() = false;
    }

    pub(crate) fn as_raw(&self) -> isize {
        Arc::as_ptr(&self.0) as isize
    }

    pub(crate) fn duplicate(&self) -> Result<OwnedObject> {
        no_descriptors()
    }

    pub(crate) fn is_shut(&self) -> bool {
        false
    }

    pub(crate) fn take_left(&self) {
        if self.0.left.as_ref().is_some_and(|left| left.swap(false, Ordering::Relaxed)) {
            self.reset();
        }
    }

    fn try_wait(&self, leave: bool) -> bool {
        let mut set = self.0.set.lock().unwrap();
        let was = *set;
        *set = was && self.stays(leave);
        was
    }

    /// Whether the event stays set after a wait that reports it.
    fn stays(&self, leave: bool) -> bool {
        match &self.0.left {
            Some(left) if leave => {
                left.store(true, Ordering::Relaxed);
                true
            }
            _ => self.0.stays,
        }
    }
}

static ENDED: StdMutex<BTreeSet<u32>> = StdMutex::new(BTreeSet::new());

/// The id of a process that no other process may watch.
pub(crate) const UNWATCHABLE: u32 = 666;

pub(crate) fn birth(_pid: u32) -> kinds::Birth {
    kinds::Birth::Unknown
}

/// A process. It lives until a test calls `Process::end`.
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn open(pid: u32) -> std::result::Result<Self, Unwatchable> {
        let process = Process(pid);
        if process.has_ended() {
            Err(Unwatchable::Gone)
        } else if pid == UNWATCHABLE {
            Err(Unwatchable::Denied(None))
        } else {
            Ok(process)
        }
    }

    /// Ends a process. Afterwards it can't be opened, and counts as ended.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn end(pid: u32) {
        ENDED.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
    }

    pub(crate) fn duplicate(&self) -> Result<OwnedObject> {
        no_descriptors()
    }

    pub(crate) fn has_ended(&self) -> bool {
        ENDED.lock().unwrap_or_else(PoisonError::into_inner).contains(&self.0)
    }

    pub(crate) fn user(&self) -> Option<User> {
        Some(User(0))
    }
}

#[cfg(not(loom))]
fn signalled(objects: &[Waitable<'_>]) -> Option<usize> {
    objects.iter().position(|object| match object {
        Waitable::Event(event) => event.try_wait(false),
        Waitable::Wake(event) => event.try_wait(true),
        Waitable::Process(process) => process.has_ended(),
    })
}

/// Returns the first event, its index, and whether a wait for it leaves the signal.
fn first_event<'a>(objects: &[Waitable<'a>]) -> Option<(usize, &'a Event, bool)> {
    objects.iter().enumerate().find_map(|(index, object)| match *object {
        Waitable::Event(event) => Some((index, event, false)),
        Waitable::Wake(event) => Some((index, event, true)),
        Waitable::Process(_) => None,
    })
}

#[cfg(loom)]
pub(crate) fn wait_any(objects: &[Waitable<'_>], timeout: Option<Duration>) -> Result<Option<usize>> {
    for object in objects {
        let ended = matches!(object, Waitable::Process(process) if process.has_ended());
        assert!(!ended, "in a model, processes don't end");
    }
    // A wait without an event is a wait for the peer's process, and has a timeout.
    let Some((index, first, leave)) = first_event(objects) else {
        crate::sync::pass_time(timeout.expect("models wait for events"));
        loom::thread::yield_now();
        return Ok(None);
    };
    if let Some(timeout) = timeout {
        if first.try_wait(leave) {
            return Ok(Some(index));
        }
        crate::sync::pass_time(timeout);
        // Let other threads run first, so that a loop around this wait ends.
        loom::thread::yield_now();
        return Ok(None);
    }
    let mut set = first.0.set.lock().unwrap();
    while !*set {
        set = first.0.changed.wait(set).unwrap();
    }
    *set = first.stays(leave);
    Ok(Some(index))
}

#[cfg(not(loom))]
pub(crate) fn wait_any(objects: &[Waitable<'_>], timeout: Option<Duration>) -> Result<Option<usize>> {
    let deadline = timeout.and_then(|timeout| std::time::Instant::now().checked_add(timeout));
    loop {
        if let Some(index) = signalled(objects) {
            return Ok(Some(index));
        }
        if deadline.is_some_and(|deadline| std::time::Instant::now() >= deadline) {
            return Ok(None);
        }
        // The first event ends the sleep at once. The others are checked every millisecond.
        if let Some((_, first, _)) = first_event(objects) {
            let set = first.0.set.lock().unwrap();
            drop(first.0.changed.wait_timeout_while(set, Duration::from_millis(1), |set| !*set));
        } else {
            std::thread::yield_now();
        }
    }
}

#[derive(Clone)]
struct Named {
    section: Arc<Memory>,
    events: [Event; EVENTS],
}

/// The section and events that are offered under each name.
type Names = BTreeMap<String, Option<Named>>;

static NAMES: StdMutex<Names> = StdMutex::new(BTreeMap::new());

fn names() -> std::sync::MutexGuard<'static, Names> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The objects that a client needs to open a channel's events. None here: a client finds the events in `EXPORTED`.
pub(crate) struct ClientEnd;

static EXPORTED: StdMutex<BTreeMap<isize, Event>> = StdMutex::new(BTreeMap::new());

impl ClientEnd {
    pub(crate) fn create() -> Result<([Event; EVENTS], Self)> {
        Ok((std::array::from_fn(|_| Event::auto_reset()), ClientEnd))
    }

    pub(crate) fn handles(&self, section: &Section, events: &[Event; EVENTS]) -> Result<ClientHandles> {
        let mut known = EXPORTED.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(events.iter().map(|event| (event.as_raw(), event.clone())));
        let list = events.each_ref().map(Event::as_raw);
        Ok(ClientHandles { section: section.as_raw(), events: Some(ClientEvents::from_list(list)) })
    }
}

pub(crate) fn client_events(events: &ClientEvents) -> Result<[Event; EVENTS]> {
    let known = EXPORTED.lock().unwrap_or_else(PoisonError::into_inner);
    let list = events.list();
    kinds::try_array(|at| known.get(&list[at]).cloned().ok_or(ShmError::HandshakeFailed))
}

pub(crate) type Prepared = kinds::Prepared<Section, Event, ClientEnd, Offer>;

pub(crate) struct Offer(Named);

/// Owns the name until it is dropped.
pub(crate) struct Listener(String);

impl Listener {
    pub(crate) fn held_name(&self) -> HeldName {
        HeldName
    }

    pub(crate) fn bind(
        name: &ChannelName, _audience: &Audience<'_, User>, _clients: Clients,
    ) -> Result<Self> {
        let mut names = names();
        if names.contains_key(name.base()) {
            return Err(ShmError::AlreadyExists { name: name.given().to_owned() });
        }
        names.insert(name.base().to_owned(), None);
        Ok(Listener(name.base().to_owned()))
    }

    pub(crate) fn prepare(&self, size: usize) -> Result<Prepared> {
        let section = Section::create(size)?;
        let (events, client_end) = ClientEnd::create()?;
        let offer = Offer(Named { section: section.0.clone(), events: events.clone() });
        Ok(Prepared { section, events, instance: 1, client_end, offer })
    }

    /// Whether this process has changed its user since it took the name. Here it never does.
    pub(crate) fn has_changed_user(&self) -> bool {
        false
    }

    pub(crate) fn offer(&self, offer: Offer) -> Result<()> {
        names().insert(self.0.clone(), Some(offer.0));
        Ok(())
    }

    pub(crate) fn offer_again(&self) {}

    pub(crate) fn admission_number(&self) -> u64 {
        0
    }

    pub(crate) fn wait_for(&self) -> (Option<&Event>, Option<Duration>) {
        (None, None)
    }

    pub(crate) fn is_overdue(&self) -> bool {
        false
    }

    pub(crate) fn session_began(&self) {}

    pub(crate) fn session_ended(&self) {}

    pub(crate) fn pass_turn(&self) {}

    pub(crate) fn hand_over(&self, _section: &Section, _end: &ClientEnd) -> Result<()> {
        Ok(())
    }

    pub(crate) fn open_requester(&self, pid: u32) -> std::result::Result<Process, Unwatchable> {
        Process::open(pid)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        names().remove(&self.0);
    }
}

pub(crate) type Found = kinds::Found<Section, EventOpener>;

pub(crate) struct EventOpener([Event; EVENTS]);

pub(crate) fn lookup(
    name: &ChannelName, trusts: &dyn Fn(Option<&User>) -> Result<()>, _patience: Duration,
) -> Result<kinds::Lookup<Found, Handover>> {
    trusts(Some(&User(0)))?;
    let named = names().get(name.base()).cloned().flatten();
    Ok(named.map_or(kinds::Lookup::NoServer, |named| {
        kinds::Lookup::Found(Found {
            section: Section(named.section),
            own_pid: process_id(),
            server_pid: None,
            opener: EventOpener(named.events),
        })
    }))
}

pub(crate) fn is_busy(_name: &ChannelName, _trusts: &dyn Fn(Option<&User>) -> Result<()>) -> Result<bool> {
    Ok(false)
}

/// Where a program waits for several objects at once. This platform has no such thing.
pub(crate) struct Joined;

impl Joined {
    pub(crate) fn new() -> Result<Self> {
        no_descriptors()
    }

    pub(crate) fn watch(
        &self, _objects: &[Waitable<'_>],
    ) -> Result<(OwnedObject, Option<OwnedObject>, Option<Duration>)> {
        no_descriptors()
    }
}

impl EventOpener {
    pub(crate) fn events(&self, _instance: u64, _owner: Option<&User>) -> Result<Option<[Event; EVENTS]>> {
        Ok(Some(self.0.clone()))
    }

    pub(crate) fn request_repair(&self, _section: &Section, _owner: Option<&User>) -> Result<()> {
        Ok(())
    }

    pub(crate) fn admission_event(&self, _instance: u64, _owner: Option<&User>) -> Result<Option<Event>> {
        Ok(None)
    }
}
