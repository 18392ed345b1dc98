//! The shared parts of the C interface. `include/xshm.h` is generated from the functions and types of this module, of
//! `ffi/`, `auto/ffi.rs` and `multi/ffi/`.
//!
//! A handle is an [`Arc`] that C holds as a pointer. Each call borrows the handle for as long as the call runs ([`Inside`]).
//! [`close`] waits until no other thread's call holds the handle. A thread may therefore stop a handle while other threads
//! are inside calls on it; those calls end first. Callbacks run inside calls or on worker threads, each through its handle's
//! [`Gate`]. A callback that stops its own endpoint doesn't wait for itself, and is the endpoint's last callback.
//!
//! No panic leaves this module: [`catch_panic`] turns one into [`shm_error_t::SHM_ERROR_INTERNAL`].

// The names are C's. What C must do is in the documentation of each function, and in the rules at the top of the header.
// The documentation is written for Doxygen. rustdoc takes its `\param[out]` for a link.
#![allow(non_camel_case_types, clippy::missing_safety_doc, rustdoc::broken_intra_doc_links)]

pub(crate) mod background;
mod both;
pub(crate) mod callbacks;
mod caller;
mod client;
mod codes;
mod endpoint;
mod event_loop;
mod handle;
mod in_place;
mod interrupter;
pub(crate) mod options;
mod pending;
mod reports;
mod server;

use crate::access::PeerIdentity;
use crate::auto::ChannelKind;
use crate::layout::LARGEST_MESSAGE;
// What all files of the C interface use.
pub(crate) use crate::error::{Result, ShmError};
pub(crate) use crate::sync::lock;
pub(crate) use crate::sys;
pub(crate) use codes::*;
pub(crate) use handle::*;
pub(crate) use std::ffi::{c_char, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};
pub(crate) use std::ptr;
pub(crate) use std::sync::Arc;
pub(crate) use std::time::Duration;

/// One of a channel's two directions.
///
/// \ingroup library
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

/// Runs a call, and turns a panic into a failure.
fn catch_panic<T>(call: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(Failure::Panic))
}

/// Runs a call that returns a code.
pub(crate) fn returning_code<T>(call: impl FnOnce() -> Outcome<T>) -> shm_error_t {
    catch_panic(call).map_or_else(record, |_| shm_error_t::SHM_SUCCESS)
}

/// Runs a call that returns a handle, or NULL.
pub(crate) fn returning_handle<T>(call: impl FnOnce() -> Outcome<Arc<T>>) -> *mut T {
    returning(ptr::null_mut(), || Ok(Arc::into_raw(call()?).cast_mut()))
}

/// Runs a call that returns a value, or returns `otherwise` on failure.
pub(crate) fn returning<T>(otherwise: T, call: impl FnOnce() -> Outcome<T>) -> T {
    catch_panic(call).unwrap_or_else(|failure| {
        record(failure);
        otherwise
    })
}

/// Converts milliseconds. SHM_FOREVER becomes `None`.
pub(crate) fn timeout(milliseconds: u32) -> Option<Duration> {
    (milliseconds != u32::MAX).then(|| Duration::from_millis(milliseconds.into()))
}

/// The error of a call that waits for a message. A call that was not to wait finds an empty queue.
pub(crate) fn no_message(error: ShmError, timeout_ms: u32) -> ShmError {
    if error == ShmError::Timeout && timeout_ms == 0 {
        return ShmError::QueueEmpty;
    }
    error
}

/// The error of a call that waits for room. A call that was not to wait finds a full queue.
pub(crate) fn no_room(error: ShmError, timeout_ms: u32) -> ShmError {
    if error == ShmError::Timeout && timeout_ms == 0 {
        return ShmError::QueueFull;
    }
    error
}

/// Converts milliseconds. SHM_FOREVER becomes the longest duration.
pub(crate) fn duration(milliseconds: u32) -> Duration {
    timeout(milliseconds).unwrap_or(Duration::MAX)
}

/// Converts the limit of a kernel wait. SHM_FOREVER becomes 0, which stands for no limit.
pub(crate) fn wait_limit(milliseconds: u32) -> Duration {
    timeout(milliseconds).unwrap_or(Duration::ZERO)
}

/// Reads an array argument, named `what`. Without elements it may be NULL.
///
/// # Safety
/// NULL, or `count` elements that no other code writes for `'a`.
pub(crate) unsafe fn array<'a, T>(elements: *const T, count: u32, what: &'static str) -> Outcome<&'a [T]> {
    match (elements.is_null(), count) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Failure::Null(what)),
        // SAFETY: by the caller.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(elements, count as usize) }),
    }
}

/// Collects what a program has passed in an array of any length.
///
/// # Errors
/// The first error of an element's. This process has no memory for the list.
pub(crate) fn list_of<T>(elements: impl ExactSizeIterator<Item = Outcome<T>>) -> Outcome<Vec<T>> {
    let mut list = Vec::new();
    let reserved = list.try_reserve_exact(elements.len());
    reserved.map_err(|_| sys::out_of_memory("copying an array"))?;
    for element in elements {
        list.push(element?);
    }
    Ok(list)
}

/// Reads the bytes of a message.
///
/// # Safety
/// As [`array()`].
pub(crate) unsafe fn bytes<'a>(data: *const c_void, size: u32) -> Outcome<&'a [u8]> {
    // A slice of such a size is never made: the size is probably a mistake.
    if !data.is_null() && size as usize > LARGEST_MESSAGE {
        return Err(ShmError::MessageTooLarge.into());
    }
    // SAFETY: by the caller.
    unsafe { array(data.cast(), size, "the message") }
}

/// Fails if a pointer is NULL.
///
/// # Safety
/// NULL, or a `T` that is valid for `'a` and that no other code uses.
pub(crate) unsafe fn required<'a, T>(pointer: *mut T, what: &'static str) -> Outcome<&'a mut T> {
    // SAFETY: by the caller.
    unsafe { pointer.as_mut() }.ok_or(Failure::Null(what))
}

/// Stores a result, unless C passed NULL.
///
/// # Safety
/// NULL, or memory for a `T`.
pub(crate) unsafe fn store<T>(result: *mut T, value: T) {
    if !result.is_null() {
        // SAFETY: by the caller.
        unsafe { result.write(value) };
    }
}

/// Stores a peer's process, and its user as text.
///
/// # Safety
/// `process_id` as in [`store`], `user` and `user_size` as in [`copy_text`].
unsafe fn store_peer(peer: PeerIdentity, process_id: *mut u32, user: *mut c_char, user_size: u32) {
    // SAFETY: by the caller.
    unsafe {
        store(process_id, peer.process_id);
        copy_text(&peer.user.map_or(String::new(), |user| user.to_string()), user, user_size);
    }
}

/// Fills the memory of a result with zeros, so that C reads zeros after a failure.
///
/// # Safety
/// NULL, or memory for a `T`. All zeros are a valid value of `T`.
pub(crate) unsafe fn clear<T>(result: *mut T) {
    if !result.is_null() {
        // SAFETY: by the caller.
        unsafe { ptr::write_bytes(result, 0, 1) };
    }
}

/// Copies a text and a NUL, truncated to the buffer, and returns the length of the whole text without the NUL.
///
/// # Safety
/// NULL, or a buffer of that size.
pub(crate) unsafe fn copy_text(text: &str, buffer: *mut c_char, size: u32) -> u32 {
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

/// Returns the library's version in the form of XSHM_VERSION.
///
/// \ingroup library
/// \return 65536 * major + 256 * minor + patch.
/// \par Threads
/// Any thread.
#[no_mangle]
pub extern "C" fn xshm_version() -> u32 {
    let part = |text: &str| text.parse::<u32>().unwrap_or(0);
    let (major, minor) = (part(env!("CARGO_PKG_VERSION_MAJOR")), part(env!("CARGO_PKG_VERSION_MINOR")));
    major << 16 | minor << 8 | part(env!("CARGO_PKG_VERSION_PATCH"))
}
