//! The functions of a server for one client.

use super::both::{shm_message_t, Reserving};
use super::callbacks::{shm_call_t, shm_callbacks_t};
use super::endpoint::{create, Endpoint, ServerHandle};
use super::event_loop::{self, shm_wait_handles_t};
use super::options::*;
use super::*;
use crate::calls::Part;
use crate::channel::lifecycle::RequestsBy;
use crate::channel::Channel;
use crate::handles::ClientHandles;
use crate::readiness;

/// Starts a server under a name, with default options. It has no threads of its own.
///
/// \ingroup server
/// \param config The name and the size of the rings.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \return The handle, which the caller owns and frees by shm_server_stop. NULL: the call failed; shm_last_error
///   returns one of the following codes.
/// \retval SHM_ERROR_EXISTS A running server, or something else, has the name.
/// \retval SHM_ERROR_INVALID_NAME The name is invalid.
/// \retval SHM_ERROR_ACCESS A privilege is missing, for a name that begins with "Global\\".
/// \retval SHM_ERROR_REFUSED Windows lets no client find a server of this process, which runs below medium integrity
///   or in an AppContainer; or this thread impersonates another user.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_start(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t,
) -> *mut ServerHandle {
    // SAFETY: by the caller.
    unsafe { shm_server_start_with_options(config, callbacks, ptr::null()) }
}

/// Starts a server under a name, with options.
///
/// \ingroup server
/// \param config The name and the size of the rings.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param options The options. NULL: the defaults.
/// \return The handle, which the caller owns and frees by shm_server_stop. NULL: the call failed; shm_last_error
///   returns one of the following codes.
/// \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
/// \retval SHM_ERROR_EXISTS A running server, or something else, has the name.
/// \retval SHM_ERROR_INVALID_NAME The name is invalid.
/// \retval SHM_ERROR_ACCESS A privilege is missing, for a name that begins with "Global\\".
/// \retval SHM_ERROR_REFUSED Windows lets no client find a server of this process, which runs below medium integrity
///   or in an AppContainer; or this thread impersonates another user.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_start_with_options(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t, options: *const shm_options_t,
) -> *mut ServerHandle {
    // SAFETY: by the caller.
    unsafe {
        create(callbacks, |callbacks| {
            let (name, ring_size) = options::config(config)?;
            let server = server_options(ring_size, options)?.start(name)?;
            Ok(ServerHandle(Endpoint::server(server, callbacks)?))
        })
    }
}

/// Starts a server without a name. The client gets the section in another way: the program duplicates
/// shm_server_section_handle into the client's process, for shm_client_attach.
///
/// The channel has no events unless shm_options_t.anonymous_events asks for them. Without events, a side that waits
/// looks into the section every millisecond (Windows: with each tick of the system's timer, by default every 15.6
/// ms). With events, the client gets them by shm_server_client_handles.
///
/// \ingroup server
/// \param buffer_bytes Bytes in each direction's ring, as in shm_endpoint_config_t. 0: 2 MiB.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param options The options. NULL: the defaults.
/// \return The handle, which the caller owns and frees by shm_server_stop. NULL: the call failed; shm_last_error
///   returns one of the following codes.
/// \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_start_anonymous(
    buffer_bytes: u32, callbacks: *const shm_callbacks_t, options: *const shm_options_t,
) -> *mut ServerHandle {
    // SAFETY: by the caller.
    unsafe {
        create(callbacks, |callbacks| {
            let ring_size = (buffer_bytes != 0).then_some(buffer_bytes as usize);
            let server = server_options(ring_size, options)?.start_anonymous()?;
            Ok(ServerHandle(Endpoint::server(server, callbacks)?))
        })
    }
}

/// Waits for a client, and begins a session with empty queues. Until the session begins, other threads can receive
/// the remaining messages of the previous client. Then these messages are discarded, and on_overflow is called with
/// their number.
///
/// \ingroup server
/// \param handle The server.
/// \param timeout_ms How long to wait, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks once.
/// \retval SHM_SUCCESS A client is connected.
/// \retval SHM_ERROR_TIMEOUT No client came in time.
/// \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the server, ended the call.
/// \retval SHM_ERROR_ALREADY_CONNECTED The present client is still connected. The call changes nothing.
/// \retval SHM_ERROR_REFUSED The server cannot watch the client's process, and check_interval_ms is 0. Call again to
///   accept another client.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM The process lacks a resource for another session, for instance a descriptor. Call again:
///   the next attempt is made 20 ms after this one, or at the end of the call's time if that is earlier.
/// \par Threads
/// Any thread; callers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_wait_for_client(
    handle: *mut ServerHandle, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.accept(timeout(timeout_ms), RequestsBy::Event) })
}

/// Waits for a client that does not signal its request. Looks into the section every millisecond. In all else it is
/// the same as shm_server_wait_for_client.
///
/// \ingroup server
/// \param handle The server.
/// \param timeout_ms How long to wait, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks once.
/// \retval SHM_SUCCESS A client is connected.
/// \retval SHM_ERROR_TIMEOUT No client came in time.
/// \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the server, ended the call.
/// \retval SHM_ERROR_ALREADY_CONNECTED The present client is still connected. The call changes nothing.
/// \retval SHM_ERROR_REFUSED The server cannot watch the client's process, and check_interval_ms is 0. Call again to
///   accept another client.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM The process lacks a resource for another session, for instance a descriptor. Call again:
///   the next attempt is made 20 ms after this one, or at the end of the call's time if that is earlier.
/// \par Threads
/// Any thread; callers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_wait_for_client_noevent(
    handle: *mut ServerHandle, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.accept(timeout(timeout_ms), RequestsBy::Looking) })
}

/// Ends the session with the present client. The client receives what was sent before it detects the end. A server
/// with a name can accept the next client at once, unless the program has asked for handles of the channel. Otherwise
/// the server can accept the next client when this client no longer uses the section.
///
/// \ingroup server
/// \param handle The server.
/// \retval SHM_SUCCESS The session is over.
/// \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_disconnect_client(handle: *mut ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle)?.0.session().map(|session| session.disconnect()) })
}

/// Sends a message to the client. Never waits: a full queue evicts its oldest messages, and on_overflow is called
/// with their number.
///
/// \ingroup server
/// \param handle The server.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and the message may have been sent.
/// \par Threads
/// Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send(
    handle: *mut ServerHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send(handle, data, size) }
}

/// Sends a message to the client if there is room. Evicts nothing.
///
/// \ingroup server
/// \param handle The server.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_FULL There is no room. The queue is unchanged.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and the message may have been sent.
/// \par Threads
/// Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_send(
    handle: *mut ServerHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::try_send(handle, data, size) }
}

/// Sends a message to the client, and waits for room if there is none. Evicts nothing. on_space_available is called
/// if the call had to wait and got room.
///
/// \ingroup server
/// \param handle The server.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
///   once.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_TIMEOUT There was no room in time. Nothing was sent.
/// \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
/// \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and the message may have been sent.
/// \par Threads
/// Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send_timeout(
    handle: *mut ServerHandle, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_timeout(handle, data, size, timeout_ms) }
}

/// Waits for a message of the client, and copies it into a buffer. It waits as long as
/// shm_options_t.receive_timeout_ms allows, by default without a limit.
///
/// \ingroup server
/// \param handle The server.
/// \param[out] buffer Gets the message. May be NULL if `*size` is 0.
/// \param[in,out] size Before the call the size of `buffer` in bytes, after it the size of the message.
/// \retval SHM_SUCCESS `buffer` has the message.
/// \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
/// \retval SHM_ERROR_TIMEOUT The time of the options passed.
/// \retval SHM_ERROR_EMPTY The time of the options is 0, and there is no message.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
/// \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_NOT_READY The time of the options passed while the client overwrote messages faster than the
///   call could take one.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// Any thread, also while another thread sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_receive(
    handle: *mut ServerHandle, buffer: *mut c_void, size: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive(handle, buffer, size, |half, to| half.receive_into(to)) }
}

/// Copies a message of the client into a buffer, without waiting.
///
/// \ingroup server
/// \param handle The server.
/// \param[out] buffer Gets the message. May be NULL if `*size` is 0.
/// \param[in,out] size Before the call the size of `buffer` in bytes, after it the size of the message.
/// \retval SHM_SUCCESS `buffer` has the message.
/// \retval SHM_ERROR_EMPTY There is no message.
/// \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
/// \retval SHM_ERROR_NOT_READY The client overwrote messages faster than the call could take one. Try again.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// Any thread, also while another thread sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_receive(
    handle: *mut ServerHandle, buffer: *mut c_void, size: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive(handle, buffer, size, |half, to| half.try_receive_into(to)) }
}

/// Waits for a message of the client for a limited time, and copies it into a buffer.
///
/// \ingroup server
/// \param handle The server.
/// \param[out] buffer Gets the message. May be NULL if `*size` is 0.
/// \param[in,out] size Before the call the size of `buffer` in bytes, after it the size of the message.
/// \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
///   checks once.
/// \retval SHM_SUCCESS `buffer` has the message.
/// \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
/// \retval SHM_ERROR_TIMEOUT No message came in time.
/// \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
/// \retval SHM_ERROR_NOT_READY The time passed while the client overwrote messages faster than the call could take
///   one.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
/// \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// Any thread, also while another thread sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_receive_timeout(
    handle: *mut ServerHandle, buffer: *mut c_void, size: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe {
        both::receive(handle, buffer, size, |half, to| {
            half.receive_timeout_into(to, timeout(timeout_ms)).map_err(|error| no_message(error, timeout_ms))
        })
    }
}

/// Waits until a message of the client is there, and leaves it in the queue. on_data_available is called if there is
/// one.
///
/// \ingroup server
/// \param handle The server.
/// \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
///   checks once.
/// \retval SHM_SUCCESS A message is there.
/// \retval SHM_ERROR_TIMEOUT No message came in time.
/// \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
/// \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// Any thread, also while another thread sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_poll(handle: *mut ServerHandle, timeout_ms: u32) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::poll(handle, timeout_ms) }
}

/// Returns the size of the longest message in bytes, in both directions: 65,535, or shm_options_t.max_message_bytes of the server, or
/// what the ring has room for.
///
/// \ingroup server
/// \param handle The server.
/// \return The size. 0: the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_max_message_bytes(handle: *const ServerHandle) -> u32 {
    // SAFETY: by the caller.
    unsafe { both::max_message_bytes(handle) }
}

/// Returns whether the client is connected. Asks the system whether the client's process still runs.
///
/// \ingroup server
/// \param handle The server.
/// \return true: the client is connected. false: it is not, or the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_is_connected(handle: *const ServerHandle) -> bool {
    // SAFETY: by the caller.
    unsafe { both::is_connected(handle) }
}

/// Stores the client's process id and user. The process id is the one that the client states; on Linux, if the server
/// has a name and the program has not asked for handles of the channel, it comes from the kernel.
///
/// \ingroup server
/// \param handle The server.
/// \param[out] process_id Gets the process id. 0 after a failure. May be NULL.
/// \param[out] user Gets the user as text and a NUL, truncated to the buffer: a SID, on Linux a number. Empty if the
///   system does not report the user, and after a failure. May be NULL.
/// \param user_size The size of `user` in bytes, including the NUL. 256 bytes are always enough.
/// \retval SHM_SUCCESS The client was stored. It may have left since.
/// \retval SHM_ERROR_NOT_CONNECTED There was no client yet.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_peer(
    handle: *const ServerHandle, process_id: *mut u32, user: *mut c_char, user_size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::peer(handle, process_id, user, user_size) }
}

/// Stores the statistics of the present session, or of the last one. Waits for no call of another thread: while one
/// waits, the figures are those from before its call.
///
/// \ingroup server
/// \param handle The server.
/// \param[out] out Gets the statistics. Zeros after a failure.
/// \retval SHM_SUCCESS The statistics were stored.
/// \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_stats(handle: *const ServerHandle, out: *mut shm_stats_t) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::stats(handle, out) }
}

/// Makes waiting calls on this server return SHM_ERROR_INTERRUPTED, now and later, until shm_server_resume. Calls
/// that do not need to wait still work.
///
/// \ingroup server
/// \param handle The server.
/// \return SHM_SUCCESS, or a code that each function can return.
/// \par Threads
/// Any thread, and a signal handler.
#[no_mangle]
pub unsafe extern "C" fn shm_server_interrupt(handle: *const ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::interrupt(handle) }
}

/// Ends the effect of shm_server_interrupt: calls may wait again.
///
/// \ingroup server
/// \param handle The server.
/// \return SHM_SUCCESS, or a code that each function can return.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_resume(handle: *const ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::resume(handle) }
}

/// Stores the channel's data events, for programs and drivers that wait for them natively. From this call on every
/// message is signalled, and successive clients use the same section: each client can read what the previous client
/// left there.
///
/// \ingroup native
/// \param handle The server.
/// \param[out] out Gets the events. The library owns them: duplicate them to pass them on. Zeros after a failure.
/// \return true: the events were stored. false: the call failed; shm_last_error returns one of the following codes.
/// \retval SHM_ERROR_INVALID_PARAM An argument is NULL, or the server has no name and no events.
/// \retval SHM_ERROR_NOT_READY A message is reserved or borrowed in place. Commit or release it first.
/// \par Threads
/// Any thread.
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
            return Err(Failure::Nothing("the server has no name and no events"));
        };
        *required(out, "the pointer to the handles")? =
            shm_event_handles_t { s2c_data: handles.s2c_data, c2s_data: handles.c2s_data };
        Ok(true)
    })
}

/// Stores all handles that the client's side of this channel needs. They are for a driver or another process that
/// connects without the name (shm_client_attach_handles, xshm_driver.h). On Windows the handles have the rights that
/// a client needs, and no others.
///
/// From this call on, successive clients use the same section: each client can read what the previous client left
/// there.
///
/// \ingroup native
/// \param handle The server.
/// \param[out] out Gets the handles. The library owns them, and keeps them open as long as the server exists:
///   duplicate them into the other process. All fields are -1 after a failure.
/// \retval SHM_SUCCESS The handles were stored.
/// \retval SHM_ERROR_NOT_READY A message is reserved or borrowed in place. Commit or release it first.
/// \retval SHM_ERROR_SYSTEM The process can have no more handles.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_client_handles(
    handle: *const ServerHandle, out: *mut shm_client_handles_t,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        store(out, ClientHandles { section: -1, events: None }.into());
        let handles = enter(handle)?.0.in_place.export(Channel::client_handles)??;
        *required(out, "the pointer to the handles")? = handles.into();
        Ok(())
    })
}

/// Returns the handle of the section, on Linux its descriptor. Duplicate it into a client's process for
/// shm_client_attach, or pass it to a driver. From this call on, successive clients use the same section.
///
/// \ingroup native
/// \param handle The server.
/// \return The handle, which the library owns. 0: the call failed, with SHM_ERROR_NOT_READY if a message is reserved
///   or borrowed in place; commit or release that message first.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_section_handle(handle: *const ServerHandle) -> isize {
    // SAFETY: by the caller.
    returning(0, || unsafe { enter(handle)?.0.in_place.export(Channel::section_handle) })
}

/// Sends messages to the client, in order, each as shm_server_send does. The first few messages wake a sleeping
/// client.
///
/// \ingroup batches
/// \param handle The server.
/// \param messages The messages. The library copies them during the call. May be NULL if `count` is 0.
/// \param count The number of messages.
/// \param[out] sent Gets the number of messages that were sent, counted from the first. After other failures than
///   SHM_ERROR_FULL it is 0, although the first messages may have been sent. May be NULL.
/// \retval SHM_SUCCESS All messages are in the queue.
/// \retval SHM_ERROR_FULL The server's options reject when full, and not all messages had room.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL A message has fewer than 2 bytes. None was sent.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE A message has more bytes than the channel allows. None was
///   sent.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and messages may have been sent.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send_batch(
    handle: *mut ServerHandle, messages: *const shm_message_t, count: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_batch(handle, messages, count, sent, |sender, batch| sender.send_batch(batch)) }
}

/// Sends messages to the client, in order, as long as there is room. Evicts nothing.
///
/// \ingroup batches
/// \param handle The server.
/// \param messages The messages. The library copies them during the call. May be NULL if `count` is 0.
/// \param count The number of messages.
/// \param[out] sent Gets the number of messages that were sent, counted from the first. After other failures than
///   SHM_ERROR_FULL it is 0. May be NULL.
/// \retval SHM_SUCCESS All messages are in the queue.
/// \retval SHM_ERROR_FULL Not all messages had room.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL A message has fewer than 2 bytes. None was sent.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE A message has more bytes than the channel allows. None was
///   sent.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and messages may have been sent.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_send_batch(
    handle: *mut ServerHandle, messages: *const shm_message_t, count: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_batch(handle, messages, count, sent, both::send_fitting) }
}

/// Sends messages to the client, in order, and waits for room where there is none. Evicts nothing.
///
/// \ingroup batches
/// \param handle The server.
/// \param messages The messages. The library copies them during the call. May be NULL if `count` is 0.
/// \param count The number of messages.
/// \param[out] sent Gets the number of messages that were sent, counted from the first. After other failures than
///   SHM_ERROR_TIMEOUT and SHM_ERROR_FULL, more messages may have been sent. May be NULL.
/// \param timeout_ms How long to wait for room in all, in milliseconds. SHM_FOREVER: without a limit. 0: the call
///   checks once.
/// \retval SHM_SUCCESS All messages are in the queue.
/// \retval SHM_ERROR_TIMEOUT Not all messages had room in time.
/// \retval SHM_ERROR_FULL `timeout_ms` is 0, and not all messages had room.
/// \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call. Some messages may have
///   been sent.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL A message has fewer than 2 bytes. None was sent.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE A message has more bytes than the channel allows. None was
///   sent.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and messages may have been sent.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send_batch_timeout(
    handle: *mut ServerHandle, messages: *const shm_message_t, count: u32, sent: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_batch_timeout(handle, messages, count, sent, timeout_ms) }
}

/// Waits for a message of the client, and takes it together with all further messages that are there and have room.
/// The messages lie in the buffer one after the other.
///
/// \ingroup batches
/// \param handle The server.
/// \param[out] buffer Gets the bytes of the messages.
/// \param size The size of `buffer` in bytes. 0: the call fails with SHM_ERROR_INVALID_PARAM.
/// \param[out] messages Gets the address in `buffer` and the size of each message.
/// \param[in,out] count Before the call the number of elements of `messages`, at least 1; after it the number of
///   messages. 0 after a failure.
/// \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
///   checks once.
/// \retval SHM_SUCCESS At least one message was received.
/// \retval SHM_ERROR_BUFFER_TOO_SMALL The first message alone is longer than the buffer, and stays in the queue. This
///   cannot happen with a buffer of the channel's longest message.
/// \retval SHM_ERROR_TIMEOUT No message came in time.
/// \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
/// \retval SHM_ERROR_NOT_READY The time passed while the client overwrote messages faster than the call could take
///   one.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
/// \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// Any thread, also while another thread sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_receive_batch(
    handle: *mut ServerHandle, buffer: *mut c_void, size: u32, messages: *mut shm_message_t, count: *mut u32,
    timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive_batch(handle, buffer, size, messages, count, timeout_ms) }
}

/// Reserves room for a message to the client in shared memory. The caller writes the message there, and sends it by
/// shm_server_commit. Never waits: a full queue evicts its oldest messages, and on_overflow is called with their
/// number.
///
/// Nothing is sent before the commit. A reservation without a commit need not be undone: the next message that is
/// sent ends the reservation. The client can write the memory too: do not trust what you read back from there. The
/// address is valid until the commit, the next reservation, or the end of the handle. It stays valid when the session
/// ends, and never refers to another session.
///
/// \ingroup in_place
/// \param handle The server.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param[out] data Gets the address for the message, aligned to 8 bytes. NULL after a failure.
/// \retval SHM_SUCCESS `*data` is the address.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// One thread at a time: no other thread may send between the reservation and the commit. Another thread may
/// receive.
#[no_mangle]
pub unsafe extern "C" fn shm_server_reserve(
    handle: *mut ServerHandle, size: u32, data: *mut *mut c_void,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::reserve(handle, size, data, Reserving::Evict) }
}

/// Reserves room for a message to the client if there is room. Evicts nothing. In all else it is the same as
/// shm_server_reserve.
///
/// \ingroup in_place
/// \param handle The server.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param[out] data Gets the address for the message, aligned to 8 bytes. NULL after a failure.
/// \retval SHM_SUCCESS `*data` is the address.
/// \retval SHM_ERROR_FULL There is no room. The queue is unchanged.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// One thread at a time: no other thread may send between the reservation and the commit. Another thread may
/// receive.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_reserve(
    handle: *mut ServerHandle, size: u32, data: *mut *mut c_void,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::reserve(handle, size, data, Reserving::IfRoom) }
}

/// Reserves room for a message to the client, and waits for room if there is none. Evicts nothing. In all else it is
/// the same as shm_server_reserve.
///
/// \ingroup in_place
/// \param handle The server.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param[out] data Gets the address for the message, aligned to 8 bytes. NULL after a failure.
/// \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
///   once.
/// \retval SHM_SUCCESS `*data` is the address.
/// \retval SHM_ERROR_TIMEOUT There was no room in time.
/// \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
/// \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// One thread at a time: no other thread may send between the reservation and the commit. Another thread may
/// receive.
#[no_mangle]
pub unsafe extern "C" fn shm_server_reserve_timeout(
    handle: *mut ServerHandle, size: u32, data: *mut *mut c_void, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::reserve(handle, size, data, Reserving::Wait(timeout_ms)) }
}

/// Sends the message that the caller has written to the memory from shm_server_reserve.
///
/// \ingroup in_place
/// \param handle The server.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_INVALID_PARAM Nothing is reserved, or another message was sent since, or the session of the
///   reservation is over.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and the message may have been sent.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// The thread that reserves: see shm_server_reserve.
#[no_mangle]
pub unsafe extern "C" fn shm_server_commit(handle: *mut ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::commit(handle) }
}

/// Waits for a message of the client, and stores its address in shared memory; it makes no copy. The message stays in
/// the queue until shm_server_release, and the client does not overwrite it. It works only if the server's options
/// reject when full.
///
/// Use it only with trusted peers: a peer that breaks the rules can change the message while it is read. The address
/// is valid until the release, the next call of shm_server_borrow, or the end of the handle. It stays valid when the
/// session ends, and never refers to another session.
///
/// \ingroup in_place
/// \param handle The server.
/// \param[out] data Gets the address of the message. NULL after a failure.
/// \param[out] size Gets the size of the message in bytes. 0 after a failure.
/// \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
///   checks once.
/// \retval SHM_SUCCESS `*data` is the address.
/// \retval SHM_ERROR_INVALID_PARAM The channel evicts: the server's options do not reject when full.
/// \retval SHM_ERROR_TIMEOUT No message came in time.
/// \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
/// \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// One thread at a time receives or borrows. Another thread may send.
#[no_mangle]
pub unsafe extern "C" fn shm_server_borrow(
    handle: *mut ServerHandle, data: *mut *const c_void, size: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::borrow(handle, data, size, timeout_ms) }
}

/// Takes the message from shm_server_borrow out of the queue. Its address must not be used afterwards.
///
/// \ingroup in_place
/// \param handle The server.
/// \retval SHM_SUCCESS The message is out of the queue.
/// \retval SHM_ERROR_INVALID_PARAM Nothing is borrowed, or the message was received since, or its session has ended
///   and another session has begun.
/// \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// The thread that borrows: see shm_server_borrow.
#[no_mangle]
pub unsafe extern "C" fn shm_server_release(handle: *mut ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::release(handle) }
}

/// Stores the objects that an event loop waits for, to receive from the client. Each session has its own objects.
/// They may outlive the session, and get no more signals then.
///
/// \ingroup event_loops
/// \param handle The server.
/// \param[out] out Gets the objects. The caller owns them, and closes them by shm_wait_handles_close. Both fields are
///   -1 after a failure.
/// \retval SHM_SUCCESS The objects were stored.
/// \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
/// \retval SHM_ERROR_SYSTEM The process can have no more handles.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_wait_handles(
    handle: *const ServerHandle, out: *mut shm_wait_handles_t,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::session_handles(handle, out, readiness::wait_handles) }
}

/// Asks the client to signal its next message, so that an event loop can wait for the signal. Then wait until one of
/// the objects of shm_server_wait_handles is ready, call shm_server_disarm, and receive. The objects may become ready
/// without a message. examples/c/event_loop.c is a whole loop.
///
/// When shm_wait_handles_t.peer becomes ready, call shm_server_is_connected, which records that the client has died.
/// The messages that it sent before can still be received.
///
/// \ingroup event_loops
/// \param handle The server.
/// \param[out] is_ready true: do not wait, but receive by shm_server_try_receive until it returns SHM_ERROR_EMPTY,
///   because a message is there or the session is over. false: wait. false after a failure.
/// \retval SHM_SUCCESS `*is_ready` says whether to wait.
/// \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// One thread at a time receives or arms. Another thread may send.
#[no_mangle]
pub unsafe extern "C" fn shm_server_arm(handle: *mut ServerHandle, is_ready: *mut bool) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::arm(handle, is_ready) }
}

/// Withdraws the request of shm_server_arm, and resets the signal if it has come.
///
/// \ingroup event_loops
/// \param handle The server.
/// \retval SHM_SUCCESS The request is withdrawn.
/// \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// One thread at a time receives or arms. Another thread may send.
#[no_mangle]
pub unsafe extern "C" fn shm_server_disarm(handle: *mut ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::disarm(handle) }
}

/// Stores the objects that an event loop waits for until there is room to send to the client. Each session has its own
/// objects. They may outlive the session, and get no more signals then.
///
/// \ingroup event_loops
/// \param handle The server.
/// \param[out] out Gets the objects. The caller owns them, and closes them by shm_wait_handles_close. Both fields are
///   -1 after a failure.
/// \retval SHM_SUCCESS The objects were stored.
/// \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
/// \retval SHM_ERROR_SYSTEM The process can have no more handles.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_room_handles(
    handle: *const ServerHandle, out: *mut shm_wait_handles_t,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::session_handles(handle, out, readiness::room_handles) }
}

/// Asks the client to signal when it next takes a message, so that an event loop can wait for room. Then wait until one
/// of the objects of shm_server_room_handles is ready, call shm_server_disarm_room, and send. There may still be too little
/// room then: arm again.
///
/// When shm_wait_handles_t.peer becomes ready, call shm_server_is_connected, which records that the client has died.
///
/// \ingroup event_loops
/// \param handle The server.
/// \param size The size of the message that is to be sent, in bytes: 2 to 65,535.
/// \param[out] is_ready true: do not wait, but send by shm_server_try_send, because there is room for such a message or
///   the session is over. false: wait. false after a failure.
/// \retval SHM_SUCCESS `*is_ready` says whether to wait.
/// \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL `size` is less than 2.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE `size` is more than 65,535, or more than the ring allows.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// One thread at a time sends or arms for room. Another thread may receive.
#[no_mangle]
pub unsafe extern "C" fn shm_server_arm_room(
    handle: *mut ServerHandle, size: u32, is_ready: *mut bool,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::arm_room(handle, size, is_ready) }
}

/// Withdraws the request of shm_server_arm_room, and resets the signal if it has come.
///
/// \ingroup event_loops
/// \param handle The server.
/// \retval SHM_SUCCESS The request is withdrawn.
/// \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// One thread at a time sends or arms for room. Another thread may receive.
#[no_mangle]
pub unsafe extern "C" fn shm_server_disarm_room(handle: *mut ServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::disarm_room(handle) }
}

/// Accepts a client that waits, for an event loop: does what can be done without waiting. If no session began, wait
/// until one of the objects of shm_server_accept_handles is ready, and call it again. In all else it is the same as
/// shm_server_wait_for_client.
///
/// A client connects in several steps, and several clients may wait, so several calls may be needed before a session
/// begins. Between the steps the server waits for no client: a client that is slow loses its turn.
///
/// \ingroup event_loops
/// \param handle The server.
/// \param[out] is_accepted true: a client is connected. false: wait. false after a failure.
/// \retval SHM_SUCCESS `*is_accepted` says whether a client is connected.
/// \retval SHM_ERROR_ALREADY_CONNECTED The present client is still connected. The call changes nothing.
/// \retval SHM_ERROR_REFUSED The server cannot watch the client's process, and check_interval_ms is 0. Call again to
///   accept another client.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM The process lacks a resource for another session, for instance a descriptor. For 20 ms from
///   now on, this function accepts no client.
/// \par Threads
/// Any thread; callers wait for each other, and for a thread that is inside shm_server_wait_for_client.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_accept(
    handle: *mut ServerHandle, is_accepted: *mut bool,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::try_accept(handle, is_accepted) }
}

/// Stores the objects that an event loop waits for until there may be a client to accept, and how long to wait at most.
/// They are valid until the next call of shm_server_try_accept: ask for them again after each call. While the server
/// has a client, they become ready when this client has left or died.
///
/// On Linux, shm_wait_handles_t.data is an epoll descriptor that stays the same file as long as the server exists. On a
/// channel without events there is no object that becomes ready, and `*next_look_ms` is 1.
///
/// \ingroup event_loops
/// \param handle The server.
/// \param[out] out Gets the objects. The caller owns them, and closes them by shm_wait_handles_close. Both fields are
///   -1 after a failure.
/// \param[out] next_look_ms Gets the time in milliseconds after which to call shm_server_try_accept although no object
///   is ready. SHM_FOREVER: there is no such time. 0 after a failure.
/// \retval SHM_SUCCESS The objects and the time were stored.
/// \retval SHM_ERROR_SYSTEM The process can have no more handles. Call shm_server_try_accept again after 20 ms.
/// \par Threads
/// Any thread; callers wait for each other, and for a thread that is inside shm_server_wait_for_client.
#[no_mangle]
pub unsafe extern "C" fn shm_server_accept_handles(
    handle: *mut ServerHandle, out: *mut shm_wait_handles_t, next_look_ms: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::store_until_next_look(out, next_look_ms, || enter(handle)?.0.accept_handles()) }
}

/// Waits for a message, copies it into a buffer, and finds out whether it is a call (shm_caller_call), whose caller
/// waits for an answer. In all else it is the same as shm_server_receive_timeout.
///
/// \ingroup calls
/// \param handle The server.
/// \param[out] buffer Gets the message, or the bytes that the caller has passed. It needs 16 bytes more than the
///   longest call.
/// \param[in,out] size Before the call the size of `buffer` in bytes, after it the number of bytes received.
/// \param[out] is_call true: the message is a call. false: it is one like any other.
/// \param[out] call Gets the call, for shm_server_answer. Zeros if the message is no call.
/// \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
///   checks once.
/// \retval SHM_SUCCESS A message or a call was received.
/// \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
/// \retval SHM_ERROR_TIMEOUT No message came in time.
/// \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
/// \retval SHM_ERROR_NOT_READY The time passed while the client overwrote messages faster than the call could take
///   one.
/// \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
/// \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// Any thread, also while another thread sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_server_receive_call(
    handle: *mut ServerHandle, buffer: *mut c_void, size: *mut u32, is_call: *mut bool,
    call: *mut shm_call_t, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive_call(handle, buffer, size, is_call, call, timeout_ms) }
}

/// Answers a call of a client. Never waits: if the client's queue is full, the answer evicts the oldest messages.
///
/// \ingroup calls
/// \param handle The server.
/// \param call The call.
/// \param data The answer. The library copies it during the call. May be NULL if `size` is 0.
/// \param size The size of the answer in bytes: 0 to SHM_MAX_CALL.
/// \retval SHM_SUCCESS The answer is on its way.
/// \retval SHM_ERROR_NOT_CONNECTED The session of the call is over. No other client gets the answer.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The answer has more than SHM_MAX_CALL bytes, or more than the ring allows.
/// \retval SHM_ERROR_FULL There is no room, and the server's options reject when full.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_answer(
    handle: *mut ServerHandle, call: shm_call_t, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::end_call(handle, call, Part::Answer, data, size) }
}

/// Ends a call without an answer. Its caller gets SHM_ERROR_NO_ANSWER. In all else it is the same as
/// shm_server_answer.
///
/// \ingroup calls
/// \param handle The server.
/// \param call The call.
/// \retval SHM_SUCCESS The refusal is on its way.
/// \retval SHM_ERROR_NOT_CONNECTED The session of the call is over. No other client gets the answer.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_FULL There is no room, and the server's options reject when full.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_refuse(handle: *mut ServerHandle, call: shm_call_t) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::end_call(handle, call, Part::NoAnswer, ptr::null(), 0) }
}

/// Stops the server and frees the handle. The client receives what was sent, and then detects that the server has
/// left.
///
/// Calls of other threads return first, with SHM_ERROR_INTERRUPTED, or with SHM_ERROR_NOT_CONNECTED after a call of
/// on_disconnect. Those threads cannot tell from the code that the handle is gone. So end them before this call (by a
/// flag of the program, shm_server_interrupt, and a join).
///
/// This function calls no callback, and no callback begins after it has returned: the program may then free
/// user_data. From inside a callback of this handle it waits only for the calls of other threads. That callback is
/// the last, and the handle is freed when the call around that callback returns. From a callback of another handle it
/// also waits, with one exception: if a callback of this handle waits for the end of that other handle, this function
/// returns while the callback of this handle still runs.
///
/// \ingroup server
/// \param handle The server, which must not be used afterwards. NULL does nothing.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_server_stop(handle: *mut ServerHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}
