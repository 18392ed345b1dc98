//! The functions of a client of a server for one client.

use super::both::shm_message_t;
use super::callbacks::{shm_callbacks_t, Callbacks};
use super::endpoint::{ClientHandle, Endpoint};
use super::options::*;
use super::*;
use crate::handles::ClientHandles;

/// Connects to the server that has the name. Waits until the server exists, until the previous client has left, and until
/// the server accepts: at most `timeout_ms` milliseconds in all; SHM_FOREVER waits for ever. `callbacks` may be NULL; they
/// are copied.
///
/// Returns NULL on failure; shm_last_error reports the reason: SHM_ERROR_TIMEOUT, _ALREADY_CONNECTED, _REFUSED,
/// _INCOMPATIBLE, _INVALID_NAME, _INVALID_PARAM, _MEMORY, _SYSTEM. The caller owns the handle, and frees it with
/// shm_client_disconnect. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_connect(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t, timeout_ms: u32,
) -> *mut ClientHandle {
    // SAFETY: by the caller.
    unsafe { shm_client_connect_with_options(config, callbacks, ptr::null(), timeout_ms) }
}

/// Does the same as shm_client_connect, with options, which may be NULL.
#[no_mangle]
pub unsafe extern "C" fn shm_client_connect_with_options(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t, options: *const shm_options_t,
    timeout_ms: u32,
) -> *mut ClientHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let (name, ring_size) = options::config(config)?;
        let client = client_options(ring_size, options)?.connect(name, duration(timeout_ms))?;
        Ok(ClientHandle(Endpoint::client(client, Callbacks::read(callbacks))?))
    })
}

/// Connects to a server without a name by a handle to its section (on Linux a descriptor) in this process. The library
/// duplicates the handle; the caller keeps its own. It does not check which user owns the server. In all else it is the same
/// as shm_client_connect_with_options.
#[no_mangle]
pub unsafe extern "C" fn shm_client_attach(
    section_handle: isize, callbacks: *const shm_callbacks_t, options: *const shm_options_t, timeout_ms: u32,
) -> *mut ClientHandle {
    // SAFETY: by the caller.
    unsafe {
        let handles = ClientHandles { section: section_handle, events: None }.into();
        shm_client_attach_handles(&handles, callbacks, options, timeout_ms)
    }
}

/// Connects to a server by the handles from its shm_server_client_handles, duplicated into this process. The library
/// duplicates the handles once more; the caller keeps its own. In all else it is the same as shm_client_attach.
#[no_mangle]
pub unsafe extern "C" fn shm_client_attach_handles(
    handles: *const shm_client_handles_t, callbacks: *const shm_callbacks_t, options: *const shm_options_t,
    timeout_ms: u32,
) -> *mut ClientHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let handles = handles.as_ref().ok_or(Failure::Argument("the handles"))?.into();
        let client = client_options(None, options)?.attach_handles(&handles, duration(timeout_ms))?;
        Ok(ClientHandle(Endpoint::client(client, Callbacks::read(callbacks))?))
    })
}

/// Does the same as shm_server_send, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send(
    handle: *mut ClientHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send(handle, data, size) }
}

/// Does the same as shm_server_try_send, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_try_send(
    handle: *mut ClientHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::try_send(handle, data, size) }
}

/// Does the same as shm_server_send_timeout, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send_timeout(
    handle: *mut ClientHandle, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_timeout(handle, data, size, timeout_ms) }
}

/// Does the same as shm_server_receive, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_receive(
    handle: *mut ClientHandle, buffer: *mut c_void, size: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive(handle, buffer, size, |half, to| half.receive_into(to)) }
}

/// Does the same as shm_server_try_receive, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_try_receive(
    handle: *mut ClientHandle, buffer: *mut c_void, size: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive(handle, buffer, size, |half, to| half.try_receive_into(to)) }
}

/// Does the same as shm_server_receive_timeout, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_receive_timeout(
    handle: *mut ClientHandle, buffer: *mut c_void, size: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe {
        both::receive(handle, buffer, size, |half, to| half.receive_timeout_into(to, timeout(timeout_ms)))
    }
}

/// Does the same as shm_server_poll, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_poll(handle: *mut ClientHandle, timeout_ms: u32) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::poll(handle, timeout_ms) }
}

/// Does the same as shm_server_is_connected, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_is_connected(handle: *const ClientHandle) -> bool {
    // SAFETY: by the caller.
    unsafe { both::is_connected(handle) }
}

/// Does the same as shm_server_peer, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_peer(
    handle: *const ClientHandle, process_id: *mut u32, user: *mut c_char, user_size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::peer(handle, process_id, user, user_size) }
}

/// Does the same as shm_server_stats, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_stats(handle: *const ClientHandle, out: *mut shm_stats_t) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::stats(handle, out) }
}

/// Does the same as shm_server_interrupt, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_interrupt(handle: *const ClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::interrupt(handle) }
}

/// Does the same as shm_server_resume, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_resume(handle: *const ClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::resume(handle) }
}

/// Does the same as shm_server_send_batch, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send_batch(
    handle: *mut ClientHandle, messages: *const shm_message_t, count: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_batch(handle, messages, count, sent, |sender, batch| sender.send_batch(batch)) }
}

/// Does the same as shm_server_try_send_batch, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_try_send_batch(
    handle: *mut ClientHandle, messages: *const shm_message_t, count: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_batch(handle, messages, count, sent, both::send_fitting) }
}

/// Does the same as shm_server_receive_batch, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_receive_batch(
    handle: *mut ClientHandle, buffer: *mut c_void, size: u32, messages: *mut shm_message_t, count: *mut u32,
    timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive_batch(handle, buffer, size, messages, count, timeout_ms) }
}

/// Does the same as shm_server_reserve, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_reserve(
    handle: *mut ClientHandle, size: u32, data: *mut *mut c_void,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::reserve(handle, size, data) }
}

/// Does the same as shm_server_commit, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_commit(handle: *mut ClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::commit(handle) }
}

/// Does the same as shm_server_borrow, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_borrow(
    handle: *mut ClientHandle, data: *mut *const c_void, size: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::borrow(handle, data, size, timeout_ms) }
}

/// Does the same as shm_server_release, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_release(handle: *mut ClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::release(handle) }
}

/// Does the same as shm_server_stop, for a client: leaves the server and frees the handle. The server still receives what
/// the client sent.
#[no_mangle]
pub unsafe extern "C" fn shm_client_disconnect(handle: *mut ClientHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}
