//! The functions of a server for one client.

// What C may do and not, the text of each function says, and the rules at the top of the header.
#![allow(clippy::missing_safety_doc)]

use super::bulk::shm_message_t;
use super::ends::*;
use super::options::*;
use super::*;
use crate::channel::lifecycle::RequestsBy;
use crate::channel::Channel;

/// Starts a server under a name. `callbacks` may be NULL; they are copied.
///
/// NULL on failure; shm_last_error says why: SHM_ERROR_EXISTS, _INVALID_NAME, _INVALID_PARAM, _ACCESS, _MEMORY, _SYSTEM.
/// The handle is the caller's, to be given back to shm_server_stop. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_start(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t,
) -> *mut ServerHandle {
    // SAFETY: by the caller.
    unsafe { shm_server_start_with_options(config, callbacks, ptr::null()) }
}

/// As shm_server_start, with options, which may be NULL.
#[no_mangle]
pub unsafe extern "C" fn shm_server_start_with_options(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t, options: *const shm_options_t,
) -> *mut ServerHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let (name, ring_size) = options::config(config)?;
        let server = server_options(ring_size, options)?.start(name)?;
        Ok(ServerHandle(Ends::server(server, shm_callbacks_t::read(callbacks))))
    })
}

/// Starts a server without a name, whose section the client gets in some other way, duplicated into its process, for
/// shm_client_attach. It has no events, so that a side that waits looks every millisecond, unless shm_options_t.anonymous_events
/// asks for some; then the client gets them too, see shm_server_client_handles. `buffer_bytes` as in shm_endpoint_config_t;
/// `callbacks` and `options` may be NULL.
///
/// NULL on failure; shm_last_error says why: SHM_ERROR_INVALID_PARAM, _MEMORY, _SYSTEM. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_start_anonymous(
    buffer_bytes: u32, callbacks: *const shm_callbacks_t, options: *const shm_options_t,
) -> *mut ServerHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let ring_size = (buffer_bytes != 0).then_some(buffer_bytes as usize);
        let server = server_options(ring_size, options)?.start_anonymous()?;
        Ok(ServerHandle(Ends::server(server, shm_callbacks_t::read(callbacks))))
    })
}

/// Waits for a client, at most `timeout_ms` milliseconds; SHM_FOREVER waits for ever, 0 looks once. The session begins with
/// empty queues. Until then other threads can receive what the client before left; after that it is discarded, and on_overflow
/// is called with the number of these messages.
///
/// SHM_ERROR_TIMEOUT, _INTERRUPTED, _ALREADY_CONNECTED (the present client lives), _REFUSED, _SYSTEM, _INVALID_PARAM. Any
/// thread; callers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_wait_for_client(
    handle: *mut ServerHandle, timeout_ms: u32,
) -> shm_error_t {
    let time = timeout(timeout_ms);
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.accept(time, RequestsBy::Event) })
}

/// As shm_server_wait_for_client, for a client that doesn't signal its request: looks into the section every
/// millisecond.
#[no_mangle]
pub unsafe extern "C" fn shm_server_wait_for_client_noevent(
    handle: *mut ServerHandle, timeout_ms: u32,
) -> shm_error_t {
    let time = timeout(timeout_ms);
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.accept(time, RequestsBy::Looking) })
}

/// Ends the session with the present client, which receives what was sent before it learns of the end. A server with a name
/// accepts the next client at once, unless handles of its channel were given out; other servers when this client has let go of
/// the section. SHM_ERROR_NOT_CONNECTED: there was no session yet. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_disconnect_client(handle: *mut ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        enter(handle)?.0.session()?.disconnect();
        Ok(())
    })
}

/// Sends a message of 2 to 65,535 bytes. Never waits: a full queue evicts its oldest messages, and on_overflow is called with their
/// number.
///
/// SHM_ERROR_NOT_CONNECTED, _PEER_DIED, _MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE, _PROTOCOL, _INVALID_PARAM; _FULL where the
/// server's options reject. Any thread, also while another one receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send(
    handle: *mut ServerHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.send(bytes(data, size)?) })
}

/// As shm_server_send, if there is room; evicts nothing. SHM_ERROR_FULL: there is none, and the queue is as it was.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_send(
    handle: *mut ServerHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let message = bytes(data, size)?;
        enter(handle)?.0.sending(|sender| sender.try_send(message))
    })
}

/// As shm_server_send, waiting for room: at most `timeout_ms` milliseconds, SHM_FOREVER, or 0, which looks once. Evicts nothing.
/// SHM_ERROR_TIMEOUT, _INTERRUPTED.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send_timeout(
    handle: *mut ServerHandle, data: *const c_void, size: u32, timeout_ms: u32,
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
pub unsafe extern "C" fn shm_server_receive(
    handle: *mut ServerHandle, buffer: *mut c_void, size: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.receive(buffer, size, |half, to| half.receive_into(to)) })
}

/// As shm_server_receive, without waiting. SHM_ERROR_EMPTY: there is no message.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_receive(
    handle: *mut ServerHandle, buffer: *mut c_void, size: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.receive(buffer, size, |half, to| half.try_receive_into(to)) })
}

/// As shm_server_receive, waiting at most `timeout_ms` milliseconds; SHM_FOREVER waits for ever, 0 looks once.
/// SHM_ERROR_TIMEOUT.
#[no_mangle]
pub unsafe extern "C" fn shm_server_receive_timeout(
    handle: *mut ServerHandle, buffer: *mut c_void, size: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    let time = timeout(timeout_ms);
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        enter(handle)?.0.receive(buffer, size, |half, to| half.receive_timeout_into(to, time))
    })
}

/// Waits until a message is there, and leaves it there: SHM_SUCCESS. None came in time: SHM_ERROR_TIMEOUT, and
/// SHM_ERROR_EMPTY where the time is 0. SHM_FOREVER waits for ever. Else as shm_server_receive.
#[no_mangle]
pub unsafe extern "C" fn shm_server_poll(handle: *mut ServerHandle, timeout_ms: u32) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.poll(timeout_ms) })
}

/// Whether the peer is there: asks the system whether its process still runs. NULL: false. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_is_connected(handle: *const ServerHandle) -> bool {
    // SAFETY: by the caller.
    returning(false, || unsafe { Ok(enter(handle)?.0.is_connected()) })
}

/// The peer: its process id (what it says itself; on Linux, of a server that has a name, what the kernel says of
/// either side), and its user: a SID as text, on Linux a number. A client's peer is the owner of the section, which is proof
/// of who made it; empty where the system doesn't say.
///
/// `process_id` and `user` may be NULL; the text is cut off at `user_size` bytes, the NUL included, of which 256 are
/// always enough. SHM_ERROR_NOT_CONNECTED: there was no peer yet. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_peer(
    handle: *const ServerHandle, process_id: *mut u32, user: *mut c_char, user_size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::peer(handle, process_id, user, user_size) }
}

/// The session's figures. Waits while another thread waits in a call to send or to receive. SHM_ERROR_NOT_CONNECTED: there
/// was no session yet.
#[no_mangle]
pub unsafe extern "C" fn shm_server_stats(handle: *const ServerHandle, out: *mut shm_stats_t) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::stats(handle, out) }
}

/// Makes the calls that wait return SHM_ERROR_INTERRUPTED, and those to come, until shm_server_resume. What doesn't need to
/// wait goes on working. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_interrupt(handle: *const ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::interrupt(handle) }
}

/// Calls may wait again. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_resume(handle: *const ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::resume(handle) }
}

/// The channel's data events, for native waiters and drivers. They stay the library's: duplicate them to hand them on. From
/// this call on every message is signalled, and one client after the other uses the same section: each can read what the one
/// before left there. False: `handle` or `out` is NULL, or the server has no name and no events; or, with SHM_ERROR_NOT_READY,
/// a message is reserved or borrowed in place and has to be committed or released first. Any thread.
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
        let Some(handles) = inside.0.give(|channel| channel.export(announce))? else { return Ok(false) };
        let handles = shm_event_handles_t { s2c_data: handles.s2c_data, c2s_data: handles.c2s_data };
        put(handles, out, "the place for the handles")?;
        Ok(true)
    })
}

/// All that the client's end of this channel needs, for a driver or another process that connects without the name
/// (shm_client_attach_handles, xshm_driver.h). On Windows the handles have the rights that a client needs, and no others. They stay
/// the library's, and open as long as the server: duplicate them into the other process.
///
/// From this call on, one client after the other uses the same section. SHM_ERROR_INVALID_PARAM, _SYSTEM (the process can have
/// no more handles), _NOT_READY (a message is reserved or borrowed in place and has to be committed or released first): all of
/// `out` is -1. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_client_handles(
    handle: *const ServerHandle, out: *mut shm_client_handles_t,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        if !out.is_null() {
            out.write(shm_client_handles_t::NONE);
        }
        let handles = enter(handle)?.0.give(Channel::client_handles)??;
        put(handles.into(), out, "the place for the handles")
    })
}

/// The section's handle, on Linux its descriptor, to be duplicated into a client's process or handed to a driver. It stays
/// the library's. From this call on, one client after the other uses the same section. 0: `handle` is NULL; or, with
/// SHM_ERROR_NOT_READY, a message is reserved or borrowed in place and has to be committed or released first. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_section_handle(handle: *const ServerHandle) -> isize {
    // SAFETY: by the caller.
    returning(0, || unsafe { enter(handle)?.0.give(Channel::section_handle) })
}

/// Sends `count` messages, in order, each as shm_server_send does. A sleeping peer is woken with the first few. `sent`
/// may be NULL; it gets the number of messages sent, from the first on.
///
/// SHM_ERROR_FULL, where the server's options reject: not all of them found room. The codes of shm_server_send otherwise; if a
/// size is impossible, none was sent. Any thread, also while another one receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send_batch(
    handle: *mut ServerHandle, messages: *const shm_message_t, count: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_batch(handle, messages, count, sent) }
}

/// As shm_server_send_batch, for as long as there is room; evicts nothing. SHM_ERROR_FULL: not all of them found room.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_send_batch(
    handle: *mut ServerHandle, messages: *const shm_message_t, count: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::try_send_batch(handle, messages, count, sent) }
}

/// Waits for a message, at most `timeout_ms` milliseconds or SHM_FOREVER, and takes it and as many more as are there and have
/// room: at most `*count` of them, of `size` bytes together. They stand in `buffer` one behind the other; `messages` says where
/// each of them begins, and `*count` how many there are, 0 on any failure.
///
/// SHM_ERROR_BUFFER_TOO_SMALL: the first alone is longer than the buffer; with 65,535 bytes that can't be. The codes of
/// shm_server_receive_timeout otherwise. Any thread, also while another one sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_receive_batch(
    handle: *mut ServerHandle, buffer: *mut c_void, size: u32, messages: *mut shm_message_t, count: *mut u32,
    timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive_batch(handle, buffer, size, messages, count, timeout_ms) }
}

/// Finds a place for a message of `size` bytes in shared memory, to be written there and then sent by shm_server_commit. Never
/// waits: a full queue evicts its oldest messages. `*data` is the place, aligned to 8, NULL on any failure.
///
/// Nothing is sent before the commit, and nothing has to be undone where there is none: the next message sent takes the place
/// away. So one thread sends. The peer has the memory too: what is read back from there is as true as the peer is honest.
/// The address is good until the commit, the next reserve, or the end of the handle. It stays good when the session ends, and
/// leads to no other one. The codes of shm_server_send.
#[no_mangle]
pub unsafe extern "C" fn shm_server_reserve(
    handle: *mut ServerHandle, size: u32, data: *mut *mut c_void,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::reserve(handle, size, data) }
}

/// Sends the message that was written to the place from shm_server_reserve.
///
/// SHM_ERROR_INVALID_PARAM: nothing is reserved, or another message was sent since, or the session has ended for which it was
/// reserved. The codes of shm_server_send otherwise.
#[no_mangle]
pub unsafe extern "C" fn shm_server_commit(handle: *mut ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.commit() })
}

/// Waits for a message, at most `timeout_ms` milliseconds or SHM_FOREVER, and says where it lies in shared memory: no copy is made.
/// It stays in the queue until shm_server_release, and the sender does not overwrite it. For trusted peers: one that breaks the rules
/// changes it while it is read. Only where the server's options reject when full.
///
/// SHM_ERROR_INVALID_PARAM: the channel evicts. The codes of shm_server_receive_timeout otherwise. `*data` is NULL and `*size`
/// 0 on any failure. One thread receives. The address is good until the release, the next borrow, or the end of the handle. It
/// stays good when the session ends, and leads to no other one.
#[no_mangle]
pub unsafe extern "C" fn shm_server_borrow(
    handle: *mut ServerHandle, data: *mut *const c_void, size: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::borrow(handle, data, size, timeout_ms) }
}

/// Takes the message from shm_server_borrow out of the queue. Its address is not to be used any more.
///
/// SHM_ERROR_INVALID_PARAM: nothing is borrowed, or it was received since, or its session has ended and another one has begun.
/// SHM_ERROR_PROTOCOL, _NOT_CONNECTED.
#[no_mangle]
pub unsafe extern "C" fn shm_server_release(handle: *mut ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.release() })
}

/// Stops the server and frees the handle, which must not be used afterwards. NULL does nothing.
///
/// The client receives what was sent, and learns that the server has left. Calls that other threads are inside of return
/// first: SHM_ERROR_INTERRUPTED, or SHM_ERROR_NOT_CONNECTED, which calls on_disconnect there. Their threads cannot see by the
/// code that the handle is gone: have them end before (a flag of the program's own, shm_server_interrupt, and a join). This one
/// calls no callback, and none begins after it has returned: user_data may be freed then. From inside a callback of this handle it waits for the calls of other threads alone; that
/// callback is the last, and the handle is freed when the call that it is in returns. From a callback of another handle it waits
/// too, unless a callback of this one waits for the end of that other handle: that callback is still running then.
#[no_mangle]
pub unsafe extern "C" fn shm_server_stop(handle: *mut ServerHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}
