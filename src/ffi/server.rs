//! The functions of a server for one client.

use super::both::shm_message_t;
use super::callbacks::{shm_callbacks_t, Callbacks};
use super::endpoint::{Endpoint, ServerHandle};
use super::options::*;
use super::*;
use crate::channel::lifecycle::RequestsBy;
use crate::channel::Channel;
use crate::handles::ClientHandles;

/// Starts a server under a name. `callbacks` may be NULL; they are copied.
///
/// Returns NULL on failure; shm_last_error reports the reason: SHM_ERROR_EXISTS, _INVALID_NAME, _INVALID_PARAM, _ACCESS,
/// _MEMORY, _SYSTEM. The caller owns the handle, and frees it with shm_server_stop. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_start(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t,
) -> *mut ServerHandle {
    // SAFETY: by the caller.
    unsafe { shm_server_start_with_options(config, callbacks, ptr::null()) }
}

/// Does the same as shm_server_start, with options, which may be NULL.
#[no_mangle]
pub unsafe extern "C" fn shm_server_start_with_options(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t, options: *const shm_options_t,
) -> *mut ServerHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let (name, ring_size) = options::config(config)?;
        let server = server_options(ring_size, options)?.start(name)?;
        Ok(ServerHandle(Endpoint::server(server, Callbacks::read(callbacks))?))
    })
}

/// Starts a server without a name. The client gets the section in some other way: its handle is duplicated into the client's
/// process, for shm_client_attach. The channel has no events unless shm_options_t.anonymous_events asks for them. Without
/// events a waiting side polls every millisecond. With events the client gets them too, see shm_server_client_handles.
/// `buffer_bytes` as in shm_endpoint_config_t; `callbacks` and `options` may be NULL.
///
/// Returns NULL on failure; shm_last_error reports the reason: SHM_ERROR_INVALID_PARAM, _MEMORY, _SYSTEM. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_start_anonymous(
    buffer_bytes: u32, callbacks: *const shm_callbacks_t, options: *const shm_options_t,
) -> *mut ServerHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let ring_size = (buffer_bytes != 0).then_some(buffer_bytes as usize);
        let server = server_options(ring_size, options)?.start_anonymous()?;
        Ok(ServerHandle(Endpoint::server(server, Callbacks::read(callbacks))?))
    })
}

/// Waits for a client, at most `timeout_ms` milliseconds; SHM_FOREVER waits for ever, 0 checks once. The session begins with
/// empty queues. Until then other threads can receive the remaining messages of the previous client. After that these
/// messages are discarded, and on_overflow is called with their number.
///
/// SHM_ERROR_TIMEOUT, _INTERRUPTED, _ALREADY_CONNECTED (the present client still lives), _REFUSED, _SYSTEM, _INVALID_PARAM.
/// Any thread; callers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_wait_for_client(
    handle: *mut ServerHandle, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.accept(timeout(timeout_ms), RequestsBy::Event) })
}

/// Does the same as shm_server_wait_for_client, for a client that doesn't signal its request: looks into the section every
/// millisecond.
#[no_mangle]
pub unsafe extern "C" fn shm_server_wait_for_client_noevent(
    handle: *mut ServerHandle, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.accept(timeout(timeout_ms), RequestsBy::Looking) })
}

/// Ends the session with the present client. That client receives what was sent before it detects the end. A server with a name
/// can accept the next client at once, unless the program has asked for handles of the channel. Otherwise the server can accept
/// the next client when this client no longer uses the section. SHM_ERROR_NOT_CONNECTED: there was no session yet. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_disconnect_client(handle: *mut ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.session().map(|session| session.disconnect()) })
}

/// Sends a message of 2 to 65,535 bytes. Never waits: a full queue evicts its oldest messages, and on_overflow is called
/// with their number.
///
/// SHM_ERROR_NOT_CONNECTED, _PEER_DIED, _MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE, _PROTOCOL, _INVALID_PARAM; _FULL if the
/// server's options reject. Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send(
    handle: *mut ServerHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send(handle, data, size) }
}

/// Does the same as shm_server_send if there is room; evicts nothing. SHM_ERROR_FULL: there is no room, and the queue is
/// unchanged.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_send(
    handle: *mut ServerHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::try_send(handle, data, size) }
}

/// Does the same as shm_server_send, but waits for room: at most `timeout_ms` milliseconds; SHM_FOREVER waits for ever, 0
/// checks once. Evicts nothing. SHM_ERROR_TIMEOUT, _INTERRUPTED.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send_timeout(
    handle: *mut ServerHandle, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_timeout(handle, data, size, timeout_ms) }
}

/// Waits for a message and copies it into `buffer`. `*size` is the buffer's size before the call, and the message's size
/// after it.
///
/// SHM_ERROR_BUFFER_TOO_SMALL: `*size` is the size needed, and the message stays in the queue. _NOT_CONNECTED, _PEER_DIED:
/// the peer is gone, and all its messages were received. _INTERRUPTED, _PROTOCOL, _INVALID_PARAM; _TIMEOUT or _EMPTY if the
/// options limit the wait. Any thread, also while another thread sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_receive(
    handle: *mut ServerHandle, buffer: *mut c_void, size: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive(handle, buffer, size, |half, to| half.receive_into(to)) }
}

/// Does the same as shm_server_receive, without waiting. SHM_ERROR_EMPTY: there is no message.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_receive(
    handle: *mut ServerHandle, buffer: *mut c_void, size: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive(handle, buffer, size, |half, to| half.try_receive_into(to)) }
}

/// Does the same as shm_server_receive, but waits at most `timeout_ms` milliseconds; SHM_FOREVER waits for ever, 0 checks
/// once. SHM_ERROR_TIMEOUT.
#[no_mangle]
pub unsafe extern "C" fn shm_server_receive_timeout(
    handle: *mut ServerHandle, buffer: *mut c_void, size: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe {
        both::receive(handle, buffer, size, |half, to| half.receive_timeout_into(to, timeout(timeout_ms)))
    }
}

/// Waits until a message is there, and leaves it in the queue. SHM_SUCCESS: a message is there. SHM_ERROR_TIMEOUT: no
/// message came in time. SHM_ERROR_EMPTY: the time is 0, and there is no message. SHM_FOREVER waits for ever. Otherwise the
/// codes of shm_server_receive.
#[no_mangle]
pub unsafe extern "C" fn shm_server_poll(handle: *mut ServerHandle, timeout_ms: u32) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::poll(handle, timeout_ms) }
}

/// Returns whether the peer is connected; asks the system whether the peer's process still runs. Returns false for NULL. Any
/// thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_is_connected(handle: *const ServerHandle) -> bool {
    // SAFETY: by the caller.
    unsafe { both::is_connected(handle) }
}

/// Stores the peer's process id and user. The process id is the one that the peer states; on Linux, if the server has a
/// name, both sides get it from the kernel. The user is a SID as text, on Linux a number. For a client the user is the owner
/// of the section, which proves which user created it. The text is empty if the system does not report the user.
///
/// `process_id` and `user` may be NULL; the text is truncated to `user_size` bytes, including the NUL. 256 bytes are always
/// enough. SHM_ERROR_NOT_CONNECTED: there was no peer yet. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_peer(
    handle: *const ServerHandle, process_id: *mut u32, user: *mut c_char, user_size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::peer(handle, process_id, user, user_size) }
}

/// Stores the session's statistics. Waits while another thread waits in a call to send or to receive.
/// SHM_ERROR_NOT_CONNECTED: there was no session yet.
#[no_mangle]
pub unsafe extern "C" fn shm_server_stats(handle: *const ServerHandle, out: *mut shm_stats_t) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::stats(handle, out) }
}

/// Makes waiting calls return SHM_ERROR_INTERRUPTED, now and later, until shm_server_resume. Calls that don't need to wait
/// still work. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_interrupt(handle: *const ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::interrupt(handle) }
}

/// Ends the effect of shm_server_interrupt: calls may wait again. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_resume(handle: *const ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::resume(handle) }
}

/// Stores the channel's data events, for native waiters and drivers. The library owns them: duplicate them to pass them on.
/// From this call on every message is signalled, and successive clients use the same section: each client can read what the
/// previous client left there. Returns false if `handle` or `out` is NULL, or if the server has no name and no events. It
/// also returns false, with SHM_ERROR_NOT_READY, if a message is reserved or borrowed in place; commit or release that
/// message first. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_get_event_handles(
    handle: *mut ServerHandle, out: *mut shm_event_handles_t,
) -> bool {
    // SAFETY: by the caller.
    returning(false, || unsafe {
        clear(out);
        let inside = enter(handle)?;
        // Looked up when the events are exported: a session that begins after that has every message signalled by itself.
        let announce =
            || inside.0.session().into_iter().for_each(|session| session.have_every_message_signalled());
        let Some(handles) = inside.0.in_place.export(|channel| channel.export(announce))? else {
            return Ok(false);
        };
        *required(out, "the pointer to the handles")? =
            shm_event_handles_t { s2c_data: handles.s2c_data, c2s_data: handles.c2s_data };
        Ok(true)
    })
}

/// Stores all handles that the client's side of this channel needs. They are for a driver or another process that connects
/// without the name (shm_client_attach_handles, xshm_driver.h). On Windows the handles have the rights that a client needs,
/// and no others. The library owns them, and keeps them open as long as the server exists: duplicate them into the other
/// process.
///
/// From this call on, successive clients use the same section. On failure all fields of `out` are -1:
/// SHM_ERROR_INVALID_PARAM, _SYSTEM (the process can have no more handles), _NOT_READY (a message is reserved or borrowed in
/// place; commit or release it first). Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_client_handles(
    handle: *const ServerHandle, out: *mut shm_client_handles_t,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        if !out.is_null() {
            out.write(ClientHandles { section: -1, events: None }.into());
        }
        let handles = enter(handle)?.0.in_place.export(Channel::client_handles)??;
        *required(out, "the pointer to the handles")? = handles.into();
        Ok(())
    })
}

/// Returns the section's handle, on Linux its descriptor. Duplicate it into a client's process, or pass it to a driver; the
/// library owns it. From this call on, successive clients use the same section. Returns 0 if `handle` is NULL. It also
/// returns 0, with SHM_ERROR_NOT_READY, if a message is reserved or borrowed in place; commit or release that message first.
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_section_handle(handle: *const ServerHandle) -> isize {
    // SAFETY: by the caller.
    returning(0, || unsafe { enter(handle)?.0.in_place.export(Channel::section_handle) })
}

/// Sends `count` messages, in order, each as shm_server_send does. The first few messages wake a sleeping peer. `sent` may
/// be NULL; it receives the number of messages sent, counted from the first.
///
/// SHM_ERROR_FULL, if the server's options reject: not all messages had room. Otherwise the codes of shm_server_send. If one
/// message has an invalid size, none was sent. Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send_batch(
    handle: *mut ServerHandle, messages: *const shm_message_t, count: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_batch(handle, messages, count, sent, |sender, batch| sender.send_batch(batch)) }
}

/// Does the same as shm_server_send_batch for as long as there is room; evicts nothing. SHM_ERROR_FULL: not all messages had
/// room.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_send_batch(
    handle: *mut ServerHandle, messages: *const shm_message_t, count: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_batch(handle, messages, count, sent, both::send_fitting) }
}

/// Waits for a message, at most `timeout_ms` milliseconds or SHM_FOREVER, and takes it together with all further messages
/// that are there and have room: at most `*count` messages, of at most `size` bytes together. The messages lie in `buffer`
/// one after the other. `messages` receives the address of each message, and `*count` their number, which is 0 on any
/// failure.
///
/// SHM_ERROR_BUFFER_TOO_SMALL: the first message alone is longer than the buffer; this cannot happen with a buffer of 65,535
/// bytes. Otherwise the codes of shm_server_receive_timeout. Any thread, also while another thread sends; receivers wait for
/// each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_receive_batch(
    handle: *mut ServerHandle, buffer: *mut c_void, size: u32, messages: *mut shm_message_t, count: *mut u32,
    timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive_batch(handle, buffer, size, messages, count, timeout_ms) }
}

/// Reserves room for a message of `size` bytes in shared memory. The caller writes the message there, and then sends it by
/// shm_server_commit. Never waits: a full queue evicts its oldest messages. `*data` is the address, aligned to 8 bytes, or
/// NULL on any failure.
///
/// Nothing is sent before the commit. A reservation without a commit need not be undone: the next message that is sent ends
/// the reservation. So only one thread may send. The peer can write the memory too: don't trust what you read back from
/// there. The address is valid until the commit, the next reserve, or the end of the handle. It stays valid when the session
/// ends, and never refers to another session. Returns the codes of shm_server_send.
#[no_mangle]
pub unsafe extern "C" fn shm_server_reserve(
    handle: *mut ServerHandle, size: u32, data: *mut *mut c_void,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::reserve(handle, size, data) }
}

/// Sends the message that was written to the memory from shm_server_reserve.
///
/// SHM_ERROR_INVALID_PARAM: nothing is reserved, or another message was sent since, or the session of the reservation has
/// ended. Otherwise the codes of shm_server_send.
#[no_mangle]
pub unsafe extern "C" fn shm_server_commit(handle: *mut ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::commit(handle) }
}

/// Waits for a message, at most `timeout_ms` milliseconds or SHM_FOREVER, and stores its address in shared memory; it makes
/// no copy. The message stays in the queue until shm_server_release, and the sender does not overwrite it. Use it only with
/// trusted peers: a peer that breaks the rules can change the message while it is read. It works only if the server's
/// options reject when full.
///
/// SHM_ERROR_INVALID_PARAM: the channel evicts. Otherwise the codes of shm_server_receive_timeout. On any failure `*data` is
/// NULL and `*size` is 0. Only one thread may receive. The address is valid until the release, the next borrow, or the end
/// of the handle. It stays valid when the session ends, and never refers to another session.
#[no_mangle]
pub unsafe extern "C" fn shm_server_borrow(
    handle: *mut ServerHandle, data: *mut *const c_void, size: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::borrow(handle, data, size, timeout_ms) }
}

/// Takes the message from shm_server_borrow out of the queue. Its address must not be used afterwards.
///
/// SHM_ERROR_INVALID_PARAM: nothing is borrowed, or the message was received since, or its session has ended and another
/// session has begun. SHM_ERROR_PROTOCOL, _NOT_CONNECTED.
#[no_mangle]
pub unsafe extern "C" fn shm_server_release(handle: *mut ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::release(handle) }
}

/// Stops the server and frees the handle, which must not be used afterwards. NULL does nothing.
///
/// The client receives what was sent, and then detects that the server has left. Calls of other threads return first, with
/// SHM_ERROR_INTERRUPTED, or with SHM_ERROR_NOT_CONNECTED after a call of on_disconnect. Those threads cannot tell from the
/// code that the handle is gone. So end them before this call (by a flag of the program, shm_server_interrupt, and a join).
/// This function calls no callback, and no callback begins after it has returned: the program may then free user_data. From
/// inside a callback of this handle it waits only for the calls of other threads. That callback is the last, and the handle is
/// freed when the call around that callback returns. From a callback of another handle it also waits, with one exception: if a
/// callback of this handle waits for the end of that other handle, this function returns while the callback of this handle
/// still runs.
#[no_mangle]
pub unsafe extern "C" fn shm_server_stop(handle: *mut ServerHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}
