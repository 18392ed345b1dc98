//! The shared parts of the C interface. `include/xshm.h` is generated from the functions and types of this module, of
//! `ffi/`, `auto/ffi.rs` and `multi/ffi.rs`.
//!
//! A handle is an [`Arc`] that C holds as a pointer. Each call borrows the handle for as long as the call runs ([`Inside`]).
//! [`close`] waits until no other thread's call holds the handle. A thread may therefore stop a handle while other threads
//! are inside calls on it; those calls end first. Callbacks run inside calls or on worker threads, each through its handle's
//! [`Gate`]. A callback that stops its own endpoint doesn't wait for itself, and is the endpoint's last callback.
//!
//! No panic leaves this module: [`guarded`] turns one into [`shm_error_t::SHM_ERROR_INTERNAL`].

#![allow(non_camel_case_types)]
// The names are C's.
// What C may do and not, the text of each function says, and the rules at the top of the header.
#![allow(clippy::missing_safety_doc)]

pub(crate) mod background;
mod both;
mod bulk;
mod client;
pub(crate) mod ends;
pub(crate) mod options;
mod reports;
mod server;

use crate::auto::{ChannelKind, DisconnectReason};
use crate::constants::MAX_MESSAGE_SIZE;
use crate::error::{Result, ShmError};
pub(crate) use crate::sync::lock as locked;
use crate::threads::Waits;
use std::cell::RefCell;
use std::ffi::{c_char, c_void, CStr};
use std::ops::Deref;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{fence, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// The result code of a function, and of shm_last_error. 0 is success; all other codes are negative. New versions only
/// append codes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum shm_error_t {
    /// The call succeeded.
    SHM_SUCCESS = 0,
    /// An argument is NULL but must not be, or an option has an invalid value.
    SHM_ERROR_INVALID_PARAM = -1,
    /// The system has not enough memory.
    SHM_ERROR_MEMORY = -2,
    /// The timeout passed.
    SHM_ERROR_TIMEOUT = -3,
    /// There is no message in the queue.
    SHM_ERROR_EMPTY = -4,
    /// A running server, or something else, has the name.
    SHM_ERROR_EXISTS = -5,
    /// The slot has no client.
    SHM_ERROR_NOT_FOUND = -6,
    /// A privilege is missing (for a name that begins with "Global\").
    SHM_ERROR_ACCESS = -7,
    /// The call is not possible now. The peer overwrites messages faster than they can be taken; or a callback used
    /// something that the call around it uses, or would wait for itself; or a message is reserved or borrowed in place. Try
    /// again when that is over.
    SHM_ERROR_NOT_READY = -8,
    /// The peer wrote what the protocol does not allow. The session is over.
    SHM_ERROR_PROTOCOL = -9,
    /// There is no room for the message. The queue is unchanged.
    SHM_ERROR_FULL = -10,
    /// The server has no free slot.
    SHM_ERROR_NO_SLOT = -11,
    /// The library has a defect, or the caller passed invalid memory.
    SHM_ERROR_INTERNAL = -12,
    /// There is no peer yet, or the peer has left. From a function that receives: all messages of the peer were received.
    SHM_ERROR_NOT_CONNECTED = -13,
    /// The peer's process ended without disconnecting. From a function that receives: all messages of the peer were
    /// received.
    SHM_ERROR_PEER_DIED = -14,
    /// The server has another client, or has not yet looked for the next one.
    SHM_ERROR_ALREADY_CONNECTED = -15,
    /// The buffer is too small; the call stored the size that is needed. The message stays in the queue.
    SHM_ERROR_BUFFER_TOO_SMALL = -16,
    /// A message has at least 2 bytes.
    SHM_ERROR_MESSAGE_TOO_SMALL = -17,
    /// A message has at most 65,535 bytes, and at most half the ring's bytes minus 8.
    SHM_ERROR_MESSAGE_TOO_LARGE = -18,
    /// shm_server_interrupt, shm_client_interrupt or stopping the handle ended the call.
    SHM_ERROR_INTERRUPTED = -19,
    /// A name has 1 to 80 bytes of UTF-8, and no backslash. A user is a SID or a number.
    SHM_ERROR_INVALID_NAME = -20,
    /// One side refuses to connect to the other, or is not allowed to.
    SHM_ERROR_REFUSED = -21,
    /// The peer has an incompatible version, or has other sizes than the caller requested.
    SHM_ERROR_INCOMPATIBLE = -22,
    /// A call of the operating system failed.
    SHM_ERROR_SYSTEM = -23,
    /// The handle belongs to the process that created it, and this process is a fork of that process.
    SHM_ERROR_FORKED = -24,
}

use shm_error_t::*;

/// One of a channel's two directions.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum shm_direction_t {
    /// Messages from the server to the client.
    SHM_DIR_SERVER_TO_CLIENT = 0,
    /// Messages from the client to the server.
    SHM_DIR_CLIENT_TO_SERVER = 1,
}

impl From<ChannelKind> for shm_direction_t {
    fn from(kind: ChannelKind) -> Self {
        match kind {
            ChannelKind::ServerToClient => shm_direction_t::SHM_DIR_SERVER_TO_CLIENT,
            ChannelKind::ClientToServer => shm_direction_t::SHM_DIR_CLIENT_TO_SERVER,
        }
    }
}

pub(crate) fn code(error: &ShmError) -> shm_error_t {
    match error {
        ShmError::NotConnected => SHM_ERROR_NOT_CONNECTED,
        ShmError::NotReady => SHM_ERROR_NOT_READY,
        ShmError::AlreadyConnected => SHM_ERROR_ALREADY_CONNECTED,
        ShmError::Timeout => SHM_ERROR_TIMEOUT,
        ShmError::QueueEmpty => SHM_ERROR_EMPTY,
        ShmError::QueueFull => SHM_ERROR_FULL,
        ShmError::MessageTooSmall => SHM_ERROR_MESSAGE_TOO_SMALL,
        ShmError::MessageTooLarge => SHM_ERROR_MESSAGE_TOO_LARGE,
        ShmError::Corrupted | ShmError::HandshakeFailed => SHM_ERROR_PROTOCOL,
        // STATUS_NO_MEMORY, STATUS_INSUFFICIENT_RESOURCES, STATUS_COMMITMENT_LIMIT.
        ShmError::WindowsError { code: 0xC000_0017 | 0xC000_009A | 0xC000_012D, .. } => SHM_ERROR_MEMORY,
        // ENOMEM.
        ShmError::SystemError { code: 12, .. } => SHM_ERROR_MEMORY,
        ShmError::WindowsError { .. } | ShmError::SystemError { .. } => SHM_ERROR_SYSTEM,
        ShmError::NoFreeSlot => SHM_ERROR_NO_SLOT,
        ShmError::AlreadyExists { .. } => SHM_ERROR_EXISTS,
        ShmError::PeerDied { .. } => SHM_ERROR_PEER_DIED,
        ShmError::Interrupted => SHM_ERROR_INTERRUPTED,
        ShmError::InvalidName { .. } => SHM_ERROR_INVALID_NAME,
        ShmError::InvalidOption { .. } => SHM_ERROR_INVALID_PARAM,
        ShmError::Refused { .. } => SHM_ERROR_REFUSED,
        ShmError::Incompatible { .. } => SHM_ERROR_INCOMPATIBLE,
        ShmError::BufferTooSmall { .. } => SHM_ERROR_BUFFER_TOO_SMALL,
        ShmError::PrivilegeNotHeld { .. } => SHM_ERROR_ACCESS,
        ShmError::HandlerPanicked { .. } => SHM_ERROR_INTERNAL,
        ShmError::Forked => SHM_ERROR_FORKED,
    }
}

/// A failure of a C call: an error of the library, or an error that only C callers can cause.
pub(crate) enum Failure {
    Library(ShmError),
    /// The name of the argument that is NULL or not UTF-8.
    Argument(&'static str),
    NoClient,
    Panic,
}

impl From<ShmError> for Failure {
    fn from(error: ShmError) -> Self {
        Failure::Library(error)
    }
}

impl Failure {
    fn code(&self) -> shm_error_t {
        match self {
            Failure::Library(error) => code(error),
            Failure::Argument(_) => SHM_ERROR_INVALID_PARAM,
            Failure::NoClient => SHM_ERROR_NOT_FOUND,
            Failure::Panic => SHM_ERROR_INTERNAL,
        }
    }

    fn message(&self) -> String {
        match self {
            Failure::Library(error) => error.to_string(),
            Failure::Argument(what) => format!("argument missing (NULL) or not UTF-8: {what}"),
            Failure::NoClient => "the slot has no client".to_owned(),
            Failure::Panic => "a defect of the library: it panicked".to_owned(),
        }
    }
}

/// The result of a C call.
pub(crate) type Outcome<T = ()> = std::result::Result<T, Failure>;

thread_local! {
    /// The reason why this thread's last failed call failed.
    pub(crate) static LAST: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

pub(crate) fn note(failure: Failure) -> shm_error_t {
    let code = failure.code();
    // A thread that is ending has no place for it any more.
    let _ = LAST.try_with(|last| last.replace(Some(failure)));
    code
}

/// Runs code that may change shm_last_error, and then restores shm_last_error.
pub(crate) fn keeping_last_error(run: impl FnOnce()) {
    let before = LAST.try_with(RefCell::take).ok();
    run();
    if let Some(before) = before {
        let _ = LAST.try_with(|last| last.replace(before));
    }
}

/// Sets shm_last_error for a callback to the reason why its connection ended.
pub(crate) fn note_reason(reason: &DisconnectReason) {
    let error = match reason {
        DisconnectReason::PeerLeft => ShmError::NotConnected,
        DisconnectReason::PeerDied => ShmError::PeerDied { pid: 0 },
        DisconnectReason::Stopped | DisconnectReason::Kicked => ShmError::Interrupted,
        DisconnectReason::Failed(error) => error.clone(),
    };
    note(error.into());
}

/// Runs a call, and catches a panic.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(Failure::Panic))
}

/// Runs a call that returns a code.
pub(crate) fn returning_code(call: impl FnOnce() -> Outcome) -> shm_error_t {
    match guarded(call) {
        Ok(()) => SHM_SUCCESS,
        Err(failure) => note(failure),
    }
}

/// Runs a call that returns a handle, or NULL.
pub(crate) fn returning_handle<T>(call: impl FnOnce() -> Outcome<T>) -> *mut T {
    match guarded(call) {
        Ok(handle) => Arc::into_raw(Arc::new(handle)).cast_mut(),
        Err(failure) => {
            note(failure);
            ptr::null_mut()
        }
    }
}

/// Runs a call that returns a value, or returns `otherwise` on failure.
pub(crate) fn returning<T>(otherwise: T, call: impl FnOnce() -> Outcome<T>) -> T {
    guarded(call).unwrap_or_else(|failure| {
        note(failure);
        otherwise
    })
}

/// All calls of [`close`] that are in progress in the whole library.
static CLOSING: AtomicUsize = AtomicUsize::new(0);

/// What a call of [`close`] waits for.
static LEFT: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

/// A call's hold on its handle.
pub(crate) struct Inside<T> {
    handle: Option<Arc<T>>,
}

impl<T> Deref for Inside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.handle.as_deref().expect("it's there until dropped")
    }
}

impl<T> Drop for Inside<T> {
    fn drop(&mut self) {
        drop(self.handle.take());
        // Pairs with the fence in `close`: either we see that a thread waits, or it sees that we left.
        fence(Ordering::SeqCst);
        if CLOSING.load(Ordering::Relaxed) != 0 {
            let _lock = locked(&LEFT.0);
            LEFT.1.notify_all();
        }
    }
}

/// Begins a call on a handle.
///
/// # Safety
/// The handle is NULL, or [`returning_handle`] returned it and it was not closed.
pub(crate) unsafe fn enter<T>(handle: *const T) -> Outcome<Inside<T>> {
    if handle.is_null() {
        return Err(Failure::Argument("the handle"));
    }
    // SAFETY: by the caller, C's own count is still there.
    unsafe {
        Arc::increment_strong_count(handle);
        Ok(Inside { handle: Some(Arc::from_raw(handle)) })
    }
}

/// Controls all callbacks of a handle, so that none begins after the handle was closed.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    left: Condvar,
    waits: Arc<Waits>,
}

#[derive(Default)]
struct GateState {
    shut: bool,
    /// The threads that are inside a callback, one entry for each callback.
    inside: Vec<ThreadId>,
}

impl Gate {
    /// Runs a callback, unless the handle was closed.
    pub(crate) fn run(&self, call: impl FnOnce()) {
        let own = thread::current().id();
        {
            let mut state = locked(&self.state);
            if state.shut {
                return;
            }
            state.inside.push(own);
        }
        {
            let _inside = self.waits.enter();
            call();
        }
        let mut state = locked(&self.state);
        if let Some(at) = state.inside.iter().rposition(|thread| *thread == own) {
            state.inside.swap_remove(at);
        }
        self.left.notify_all();
    }

    /// Returns the number of callbacks that the current thread is inside.
    pub(crate) fn depth(&self) -> usize {
        let own = thread::current().id();
        locked(&self.state).inside.iter().filter(|thread| **thread == own).count()
    }

    /// Prevents further callbacks from beginning. If `wait` is set, waits until other threads have left their callbacks.
    pub(crate) fn shut(&self, wait: bool) {
        let own = thread::current().id();
        let mut state = locked(&self.state);
        state.shut = true;
        while wait && state.inside.iter().any(|thread| *thread != own) {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What a handle holds.
pub(crate) trait Closable {
    fn gate(&self) -> &Gate;

    /// Makes the calls of other threads return, and the handle's own threads end. Returns whether the caller may wait for
    /// the callbacks of other threads. It may not if one of them waits for this thread.
    fn end(&self) -> bool;

    /// Returns the number of calls by which the current thread holds the handle, because the thread is inside their
    /// callbacks.
    fn own_calls(&self) -> usize;
}

/// Closes a handle, and waits until the calls of other threads have returned. After this function returns, no callback of
/// the handle begins. The last call to return frees the handle.
///
/// # Safety
/// As [`enter`]. The handle is not used afterwards.
pub(crate) unsafe fn close<T: Closable>(handle: *mut T) {
    if handle.is_null() {
        return;
    }
    let closed = guarded(|| {
        // SAFETY: C's own count is ours now, by the caller.
        let handle = unsafe { Arc::from_raw(handle.cast_const()) };
        let ended = handle.end();
        // Where a call of this handle waits for an endpoint in whose callback the present thread is, neither waits.
        let note = handle.gate().waits.begin();
        let may_wait = ended && note.is_some();
        let own = handle.own_calls();
        CLOSING.fetch_add(1, Ordering::Relaxed);
        // Pairs with the fence in `Inside`.
        fence(Ordering::SeqCst);
        let mut lock = locked(&LEFT.0);
        while may_wait && Arc::strong_count(&handle) > 1 + own {
            lock = LEFT.1.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
        drop(lock);
        CLOSING.fetch_sub(1, Ordering::Relaxed);
        handle.gate().shut(may_wait);
        drop(note);
        drop(handle);
        Ok(())
    });
    if let Err(failure) = closed {
        note(failure);
    }
}

/// Converts milliseconds; `UINT32_MAX` means for ever.
pub(crate) fn timeout(milliseconds: u32) -> Option<Duration> {
    (milliseconds != u32::MAX).then(|| Duration::from_millis(milliseconds.into()))
}

pub(crate) fn duration(milliseconds: u32) -> Duration {
    timeout(milliseconds).unwrap_or(Duration::MAX)
}

/// # Safety
/// NULL, or a string that ends with a NUL and lives for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &'static str) -> Outcome<&'a str> {
    if text.is_null() {
        return Err(Failure::Argument(what));
    }
    // SAFETY: by the caller.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| Failure::Argument(what))
}

/// # Safety
/// NULL, or `size` readable bytes that no other code writes for `'a`.
pub(crate) unsafe fn bytes<'a>(data: *const c_void, size: u32) -> Outcome<&'a [u8]> {
    match (data.is_null(), size) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Failure::Argument("the message")),
        // Nothing of it is looked at: such a size is rather a mistake.
        (false, size) if size as usize > MAX_MESSAGE_SIZE => Err(ShmError::MessageTooLarge.into()),
        // SAFETY: by the caller.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(data.cast(), size as usize) }),
    }
}

/// # Safety
/// NULL, or memory for a `T` that is valid for `'a` and that no other code uses.
pub(crate) unsafe fn place<'a, T>(place: *mut T, what: &'static str) -> Outcome<&'a mut T> {
    // SAFETY: by the caller.
    unsafe { place.as_mut() }.ok_or(Failure::Argument(what))
}

/// Fills a result's memory with zeros, so that C reads zeros after a failure.
///
/// # Safety
/// NULL, or memory for a `T`. All zeros are a valid value of `T`.
pub(crate) unsafe fn clear<T>(place: *mut T) {
    if !place.is_null() {
        // SAFETY: by the caller.
        unsafe { ptr::write_bytes(place, 0, 1) };
    }
}

/// Copies a text and a NUL, truncated to the buffer, and returns the length of the whole text without the NUL.
///
/// # Safety
/// NULL, or a buffer of that size.
pub(crate) unsafe fn put_text(text: &str, buffer: *mut c_char, size: u32) -> u32 {
    if !buffer.is_null() && size > 0 {
        let mut length = text.len().min(size as usize - 1);
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        // SAFETY: by the caller; the text and a NUL fit.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), length);
            buffer.add(length).write(0);
        }
    }
    text.len() as u32
}

/// Returns the code of this thread's last failed call, or SHM_SUCCESS if no call has failed. A call that succeeds doesn't
/// change it. In on_disconnect and on_client_disconnect it is the reason why the connection ended: SHM_ERROR_NOT_CONNECTED,
/// the peer left; SHM_ERROR_PEER_DIED, the peer's process ended; SHM_ERROR_INTERRUPTED, this side ended the connection; or
/// another error. Any thread.
#[no_mangle]
pub extern "C" fn shm_last_error() -> shm_error_t {
    LAST.try_with(|last| last.borrow().as_ref().map_or(SHM_SUCCESS, Failure::code)).unwrap_or(SHM_SUCCESS)
}

/// Describes the error of shm_last_error in English, with details.
///
/// Copies at most `size` bytes into `buffer`, including the NUL. Returns the length of the whole text without the NUL, or 0
/// if no call has failed. `buffer` may be NULL. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_last_error_message(buffer: *mut c_char, size: u32) -> u32 {
    let text = LAST.try_with(|last| last.borrow().as_ref().map(Failure::message));
    let text = text.ok().flatten().unwrap_or_default();
    // SAFETY: by the caller.
    unsafe { put_text(&text, buffer, size) }
}

/// Returns the meaning of a code in English. Accepts any number, and never returns NULL. The text belongs to the library and
/// is valid for ever. Any thread.
#[no_mangle]
pub extern "C" fn shm_error_string(code: i32) -> *const c_char {
    let text: &CStr = match code {
        0 => c"success",
        -1 => c"an argument is missing or impossible",
        -2 => c"no memory",
        -3 => c"timed out",
        -4 => c"no message is queued",
        -5 => c"the name is taken by a running server",
        -6 => c"the slot has no client",
        -7 => c"a privilege is missing",
        -8 => c"not ready; try again",
        -9 => c"the peer wrote what the protocol does not allow",
        -10 => c"the queue is full",
        -11 => c"the server has no free slot",
        -12 => c"a defect of the library",
        -13 => c"no peer is connected",
        -14 => c"the peer died",
        -15 => c"the channel already has a client",
        -16 => c"the buffer is too small for the next message",
        -17 => c"the message is too short",
        -18 => c"the message is too long",
        -19 => c"interrupted",
        -20 => c"no possible name",
        -21 => c"refused",
        -22 => c"incompatible peer",
        -23 => c"the operating system failed",
        -24 => c"the handle belongs to another process",
        _ => c"no code of this library",
    };
    text.as_ptr()
}

/// Returns the library's version in the form of XSHM_VERSION: 65536 * major + 256 * minor + patch. Any thread.
#[no_mangle]
pub extern "C" fn xshm_version() -> u32 {
    let part = |text: &str| text.parse::<u32>().unwrap_or(0);
    let (major, minor) = (part(env!("CARGO_PKG_VERSION_MAJOR")), part(env!("CARGO_PKG_VERSION_MINOR")));
    major << 16 | minor << 8 | part(env!("CARGO_PKG_VERSION_PATCH"))
}

/// The same for a `Result` of the library.
pub(crate) fn done<T>(result: Result<T>) -> Outcome<T> {
    result.map_err(Failure::from)
}
