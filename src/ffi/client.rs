//! The functions of a client of such a server.

// What C may do and not, the text of each function says, and the rules at the top of the header.
#![allow(clippy::missing_safety_doc)]

use super::ends::*;
use super::options::*;
use super::*;

/// Connects to the server of that name: waits for it to come, for the client before to leave, and for the server to
/// accept, so many milliseconds in all; SHM_FOREVER waits for ever. `callbacks` may be NULL; they are copied.
///
/// NULL on failure; shm_last_error says why: SHM_ERROR_TIMEOUT, _ALREADY_CONNECTED, _REFUSED, _INCOMPATIBLE, _INVALID_NAME,
/// _INVALID_PARAM, _MEMORY, _SYSTEM. The handle is the caller's, to be given back to shm_client_disconnect. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_connect(
    config: *const shm_endpoint_config_t,
    callbacks: *const shm_callbacks_t,
    timeout_ms: u32,
) -> *mut ClientHandle {
    // SAFETY: by the caller.
    unsafe { shm_client_connect_with_options(config, callbacks, ptr::null(), timeout_ms) }
}

/// As shm_client_connect, with options, which may be NULL.
#[no_mangle]
pub unsafe extern "C" fn shm_client_connect_with_options(
    config: *const shm_endpoint_config_t,
    callbacks: *const shm_callbacks_t,
    options: *const shm_options_t,
    timeout_ms: u32,
) -> *mut ClientHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let (name, ring_size) = options::config(config)?;
        let client = client_options(ring_size, options)?.connect(name, duration(timeout_ms))?;
        Ok(ClientHandle(Ends::client(client, shm_callbacks_t::read(callbacks))?))
    })
}

/// Connects to a server without a name, whose section this process has a handle to (on Linux a descriptor), which is
/// duplicated and stays the caller's. Else as shm_client_connect_with_options; whose server it is, is not asked.
#[no_mangle]
pub unsafe extern "C" fn shm_client_attach(
    section_handle: isize,
    callbacks: *const shm_callbacks_t,
    options: *const shm_options_t,
    timeout_ms: u32,
) -> *mut ClientHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let client = client_options(None, options)?.attach(section_handle, duration(timeout_ms))?;
        Ok(ClientHandle(Ends::client(client, shm_callbacks_t::read(callbacks))?))
    })
}

/// Connects to a server by what its shm_server_client_handles gave out, duplicated into this process. The handles are
/// duplicated once more, and stay the caller's. Else as shm_client_attach.
#[no_mangle]
pub unsafe extern "C" fn shm_client_attach_handles(
    handles: *const shm_client_handles_t,
    callbacks: *const shm_callbacks_t,
    options: *const shm_options_t,
    timeout_ms: u32,
) -> *mut ClientHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let handles = handles.as_ref().ok_or(Failure::Argument("the handles"))?.into();
        let client = client_options(None, options)?.attach_handles(&handles, duration(timeout_ms))?;
        Ok(ClientHandle(Ends::client(client, shm_callbacks_t::read(callbacks))?))
    })
}

/// Sends a message of 2 to 65,535 bytes. Never waits: a full queue evicts its oldest messages, and on_overflow is called with their
/// number.
///
/// SHM_ERROR_NOT_CONNECTED, _PEER_DIED, _MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE, _PROTOCOL, _INVALID_PARAM; _FULL where the
/// server's options reject. Any thread, also while another one receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send(
    handle: *mut ClientHandle,
    data: *const c_void,
    size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.send(bytes(data, size)?) })
}

/// As shm_client_send, if there is room; evicts nothing. SHM_ERROR_FULL: there is none, and the queue is as it was.
#[no_mangle]
pub unsafe extern "C" fn shm_client_try_send(
    handle: *mut ClientHandle,
    data: *const c_void,
    size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let message = bytes(data, size)?;
        enter(handle)?.0.sending(|sender| sender.try_send(message))
    })
}

/// As shm_client_send, waiting for room: at most so many milliseconds, SHM_FOREVER, or 0, which looks once. Evicts nothing.
/// SHM_ERROR_TIMEOUT, _INTERRUPTED.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send_timeout(
    handle: *mut ClientHandle,
    data: *const c_void,
    size: u32,
    timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.send_timeout(bytes(data, size)?, timeout(timeout_ms)) })
}

/// Waits for a message and copies it into `buffer`. `*size` is the buffer's size before and the message's after.
///
/// SHM_ERROR_BUFFER_TOO_SMALL: `*size` is what is needed, and the message stays in the queue. _NOT_CONNECTED,
/// _PEER_DIED: the peer is gone, and all that it sent was received. _INTERRUPTED, _PROTOCOL, _INVALID_PARAM; _TIMEOUT or
/// _EMPTY where the options bound the wait. Any thread, also while another one sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_client_receive(
    handle: *mut ClientHandle,
    buffer: *mut c_void,
    size: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.receive(buffer, size, |half, to| half.receive_into(to)) })
}

/// As shm_client_receive, without waiting. SHM_ERROR_EMPTY: there is no message.
#[no_mangle]
pub unsafe extern "C" fn shm_client_try_receive(
    handle: *mut ClientHandle,
    buffer: *mut c_void,
    size: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.receive(buffer, size, |half, to| half.try_receive_into(to)) })
}

/// As shm_client_receive, waiting at most so many milliseconds; SHM_FOREVER waits for ever, 0 looks once.
/// SHM_ERROR_TIMEOUT.
#[no_mangle]
pub unsafe extern "C" fn shm_client_receive_timeout(
    handle: *mut ClientHandle,
    buffer: *mut c_void,
    size: *mut u32,
    timeout_ms: u32,
) -> shm_error_t {
    let time = timeout(timeout_ms);
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        enter(handle)?.0.receive(buffer, size, |half, to| half.receive_timeout_into(to, time))
    })
}

/// Waits until a message is there, and leaves it there: SHM_SUCCESS. None came in time: SHM_ERROR_TIMEOUT, and
/// SHM_ERROR_EMPTY where the time is 0. SHM_FOREVER waits for ever. Else as shm_client_receive.
#[no_mangle]
pub unsafe extern "C" fn shm_client_poll(handle: *mut ClientHandle, timeout_ms: u32) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.poll(timeout_ms) })
}

/// Whether the peer is there: asks the system whether its process still runs. NULL: false. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_is_connected(handle: *const ClientHandle) -> bool {
    // SAFETY: by the caller.
    returning(false, || unsafe { Ok(enter(handle)?.0.is_connected()) })
}

/// Who the peer is: its process id (what it says itself; on Linux, of a server that has a name, what the kernel says of
/// either side), and its user: a SID as text, on Linux a number. A client's peer is the owner of the section, which is proof
/// of who made it; empty where the system doesn't say.
///
/// `process_id` and `user` may be NULL; the text is cut off at `user_size` bytes, the NUL included, of which 256 are
/// always enough. SHM_ERROR_NOT_CONNECTED: there was no peer yet. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_peer(
    handle: *const ClientHandle,
    process_id: *mut u32,
    user: *mut c_char,
    user_size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(process_id);
        put_text("", user, user_size);
        enter(handle)?.0.peer(process_id, user, user_size)
    })
}

/// The session's figures. Waits while another thread waits in a call to send or to receive. SHM_ERROR_NOT_CONNECTED: there
/// was no session yet.
#[no_mangle]
pub unsafe extern "C" fn shm_client_stats(handle: *const ClientHandle, out: *mut shm_stats_t) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(out);
        put(enter(handle)?.0.stats()?, out, "the place for the figures")
    })
}

/// Makes the calls that wait return SHM_ERROR_INTERRUPTED, and those to come, until shm_client_resume. What doesn't need to
/// wait goes on working. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_interrupt(handle: *const ClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        enter(handle)?.0.interrupter().interrupt();
        Ok(())
    })
}

/// Calls may wait again. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_resume(handle: *const ClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        enter(handle)?.0.interrupter().reset();
        Ok(())
    })
}

/// Leaves the server and frees the handle, which must not be used afterwards. NULL does nothing.
///
/// The server receives what was sent, and learns that the client has left. Calls that other threads are inside of return
/// first, those that wait with SHM_ERROR_INTERRUPTED. This one calls no callback, and none begins after it has returned: user_data
/// may be freed then. From inside a callback of
/// this handle it waits for the calls of other threads alone; that callback is the last, and the handle is freed when the call
/// that it is in returns. From a callback of another handle it waits too, unless a callback of this one waits for the end of
/// that other handle: that callback is still running then.
#[no_mangle]
pub unsafe extern "C" fn shm_client_disconnect(handle: *mut ClientHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}
