//! The functions of a client of a server for one client.

use super::both::{shm_message_t, Reserving};
use super::callbacks::shm_callbacks_t;
use super::endpoint::{create, ClientHandle, Endpoint};
use super::event_loop::{self, shm_wait_handles_t};
use super::options::*;
use super::*;
use crate::handles::ClientHandles;
use crate::readiness;

/// Connects to the server that has the name, with default options. Waits until the server exists, until the previous
/// client has left, and until the server accepts.
///
/// \ingroup client
/// \param config The name and the size of the rings.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param timeout_ms How long to wait in all, in milliseconds. SHM_FOREVER: without a limit. On Linux, 0 rarely
///   succeeds.
/// \return The handle, which the caller owns and frees by shm_client_disconnect. NULL: the call failed;
///   shm_last_error returns one of the following codes.
/// \retval SHM_ERROR_TIMEOUT No server has the name, or the server did not accept in time. shm_last_error_message
///   says which.
/// \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
/// \retval SHM_ERROR_NO_SLOT The server serves many clients, and each slot has one.
/// \retval SHM_ERROR_REFUSED One side refuses to connect to the other. shm_last_error_message says why.
/// \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
/// \retval SHM_ERROR_INVALID_NAME The name is invalid.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_connect(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t, timeout_ms: u32,
) -> *mut ClientHandle {
    // SAFETY: by the caller.
    unsafe { shm_client_connect_with_options(config, callbacks, ptr::null(), timeout_ms) }
}

/// Connects to the server that has the name, with options. In all else it is the same as shm_client_connect.
///
/// \ingroup client
/// \param config The name and the size of the rings.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param options The options. NULL: the defaults.
/// \param timeout_ms How long to wait in all, in milliseconds. SHM_FOREVER: without a limit. On Linux, 0 rarely
///   succeeds.
/// \return The handle, which the caller owns and frees by shm_client_disconnect. NULL: the call failed;
///   shm_last_error returns one of the following codes.
/// \retval SHM_ERROR_TIMEOUT No server has the name, or the server did not accept in time. shm_last_error_message
///   says which.
/// \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
/// \retval SHM_ERROR_NO_SLOT The server serves many clients, and each slot has one.
/// \retval SHM_ERROR_REFUSED One side refuses to connect to the other. shm_last_error_message says why.
/// \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
/// \retval SHM_ERROR_INTERRUPTED The interrupter of the options ended the call.
/// \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
/// \retval SHM_ERROR_INVALID_NAME The name is invalid.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_connect_with_options(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t, options: *const shm_options_t,
    timeout_ms: u32,
) -> *mut ClientHandle {
    // SAFETY: by the caller.
    unsafe {
        create(callbacks, |callbacks| {
            let (name, ring_size) = options::config(config)?;
            let client = client_options(ring_size, options)?.connect(name, duration(timeout_ms))?;
            Ok(ClientHandle(Endpoint::client(client, callbacks)?))
        })
    }
}

/// Connects to a server without a name, by a handle to its section in this process. It does not check which user owns
/// the server.
///
/// \ingroup client
/// \param section_handle The handle, on Linux the descriptor. The library duplicates it; the caller keeps its own.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param options The options. NULL: the defaults.
/// \param timeout_ms How long to wait in all, in milliseconds. SHM_FOREVER: without a limit. On Linux, 0 rarely
///   succeeds.
/// \return The handle, which the caller owns and frees by shm_client_disconnect. NULL: the call failed;
///   shm_last_error returns one of the following codes.
/// \retval SHM_ERROR_TIMEOUT The server did not accept in time.
/// \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
/// \retval SHM_ERROR_REFUSED The handle is not for a section, or the channel has events: use
///   shm_client_attach_handles then.
/// \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
/// \retval SHM_ERROR_INTERRUPTED The interrupter of the options ended the call.
/// \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread.
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

/// Connects to a server by the handles from its shm_server_client_handles, duplicated into this process. It does not
/// check which user owns the server.
///
/// \ingroup client
/// \param handles The handles. The library duplicates them once more; the caller keeps its own.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param options The options. NULL: the defaults.
/// \param timeout_ms How long to wait in all, in milliseconds. SHM_FOREVER: without a limit. On Linux, 0 rarely
///   succeeds.
/// \return The handle, which the caller owns and frees by shm_client_disconnect. NULL: the call failed;
///   shm_last_error returns one of the following codes.
/// \retval SHM_ERROR_TIMEOUT The server did not accept in time.
/// \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
/// \retval SHM_ERROR_REFUSED The handles have events and the channel has none, or the reverse. Or a handle is not for
///   the object that it should be for; on Windows, an event must not be a manual-reset event.
/// \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
/// \retval SHM_ERROR_INTERRUPTED The interrupter of the options ended the call.
/// \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_attach_handles(
    handles: *const shm_client_handles_t, callbacks: *const shm_callbacks_t, options: *const shm_options_t,
    timeout_ms: u32,
) -> *mut ClientHandle {
    // SAFETY: by the caller.
    unsafe {
        create(callbacks, |callbacks| {
            let handles = handles.as_ref().ok_or(Failure::Null("the handles"))?.into();
            let client = client_options(None, options)?.attach_handles(&handles, duration(timeout_ms))?;
            Ok(ClientHandle(Endpoint::client(client, callbacks)?))
        })
    }
}

/// Sends a message to the server. Never waits: a full queue evicts its oldest messages, and on_overflow is called
/// with their number.
///
/// \ingroup client
/// \param handle The client.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and the message may have been sent.
/// \par Threads
/// Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send(
    handle: *mut ClientHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send(handle, data, size) }
}

/// Sends a message to the server if there is room. Evicts nothing.
///
/// \ingroup client
/// \param handle The client.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_FULL There is no room. The queue is unchanged.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and the message may have been sent.
/// \par Threads
/// Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_client_try_send(
    handle: *mut ClientHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::try_send(handle, data, size) }
}

/// Sends a message to the server, and waits for room if there is none. Evicts nothing. on_space_available is called
/// if the call had to wait and got room.
///
/// \ingroup client
/// \param handle The client.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
///   once.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_TIMEOUT There was no room in time. Nothing was sent.
/// \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
/// \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and the message may have been sent.
/// \par Threads
/// Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send_timeout(
    handle: *mut ClientHandle, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_timeout(handle, data, size, timeout_ms) }
}

/// Waits for a message of the server, and copies it into a buffer. It waits as long as
/// shm_options_t.receive_timeout_ms allows, by default without a limit.
///
/// \ingroup client
/// \param handle The client.
/// \param[out] buffer Gets the message. May be NULL if `*size` is 0.
/// \param[in,out] size Before the call the size of `buffer` in bytes, after it the size of the message.
/// \retval SHM_SUCCESS `buffer` has the message.
/// \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
/// \retval SHM_ERROR_TIMEOUT The time of the options passed.
/// \retval SHM_ERROR_EMPTY The time of the options is 0, and there is no message.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left, and all its messages were received.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting, and all its messages were received.
/// \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_NOT_READY The time of the options passed while the server overwrote messages faster than the
///   call could take one.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \par Threads
/// Any thread, also while another thread sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_client_receive(
    handle: *mut ClientHandle, buffer: *mut c_void, size: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive(handle, buffer, size, |half, to| half.receive_into(to)) }
}

/// Copies a message of the server into a buffer, without waiting.
///
/// \ingroup client
/// \param handle The client.
/// \param[out] buffer Gets the message. May be NULL if `*size` is 0.
/// \param[in,out] size Before the call the size of `buffer` in bytes, after it the size of the message.
/// \retval SHM_SUCCESS `buffer` has the message.
/// \retval SHM_ERROR_EMPTY There is no message.
/// \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
/// \retval SHM_ERROR_NOT_READY The server overwrote messages faster than the call could take one. Try again.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left, and all its messages were received.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting, and all its messages were received.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \par Threads
/// Any thread, also while another thread sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_client_try_receive(
    handle: *mut ClientHandle, buffer: *mut c_void, size: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive(handle, buffer, size, |half, to| half.try_receive_into(to)) }
}

/// Waits for a message of the server for a limited time, and copies it into a buffer.
///
/// \ingroup client
/// \param handle The client.
/// \param[out] buffer Gets the message. May be NULL if `*size` is 0.
/// \param[in,out] size Before the call the size of `buffer` in bytes, after it the size of the message.
/// \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
///   checks once.
/// \retval SHM_SUCCESS `buffer` has the message.
/// \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
/// \retval SHM_ERROR_TIMEOUT No message came in time.
/// \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
/// \retval SHM_ERROR_NOT_READY The time passed while the server overwrote messages faster than the call could take
///   one.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left, and all its messages were received.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting, and all its messages were received.
/// \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \par Threads
/// Any thread, also while another thread sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_client_receive_timeout(
    handle: *mut ClientHandle, buffer: *mut c_void, size: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe {
        both::receive(handle, buffer, size, |half, to| {
            half.receive_timeout_into(to, timeout(timeout_ms)).map_err(|error| no_message(error, timeout_ms))
        })
    }
}

/// Waits until a message of the server is there, and leaves it in the queue. on_data_available is called if there is
/// one.
///
/// \ingroup client
/// \param handle The client.
/// \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
///   checks once.
/// \retval SHM_SUCCESS A message is there.
/// \retval SHM_ERROR_TIMEOUT No message came in time.
/// \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left, and all its messages were received.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting, and all its messages were received.
/// \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \par Threads
/// Any thread, also while another thread sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_client_poll(handle: *mut ClientHandle, timeout_ms: u32) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::poll(handle, timeout_ms) }
}

/// Returns the size of the longest message in bytes, in both directions: 65,535, or shm_options_t.max_message_bytes of the server, or
/// what the ring has room for.
///
/// \ingroup client
/// \param handle The client.
/// \return The size. 0: the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_max_message_bytes(handle: *const ClientHandle) -> u32 {
    // SAFETY: by the caller.
    unsafe { both::max_message_bytes(handle) }
}

/// Returns whether the server is connected. Asks the system whether the server's process still runs.
///
/// \ingroup client
/// \param handle The client.
/// \return true: the server is connected. false: it is not, or the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_is_connected(handle: *const ClientHandle) -> bool {
    // SAFETY: by the caller.
    unsafe { both::is_connected(handle) }
}

/// Stores the server's process id and user. The process id is the one that the server states; on Linux, if the server
/// has a name, it comes from the kernel. The user is the owner of the section, which proves which user created it.
///
/// \ingroup client
/// \param handle The client.
/// \param[out] process_id Gets the process id. 0 after a failure. May be NULL.
/// \param[out] user Gets the user as text and a NUL, truncated to the buffer: a SID, on Linux a number. Empty if the
///   system does not report the user, and after a failure. May be NULL.
/// \param user_size The size of `user` in bytes, including the NUL. 256 bytes are always enough.
/// \retval SHM_SUCCESS The server was stored. It may have left since.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_peer(
    handle: *const ClientHandle, process_id: *mut u32, user: *mut c_char, user_size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::peer(handle, process_id, user, user_size) }
}

/// Stores the statistics of the present session, or of the last one. Waits for no call of another thread: while one
/// waits, the figures are those from before its call.
///
/// \ingroup client
/// \param handle The client.
/// \param[out] out Gets the statistics. Zeros after a failure.
/// \retval SHM_SUCCESS The statistics were stored.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_stats(handle: *const ClientHandle, out: *mut shm_stats_t) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::stats(handle, out) }
}

/// Makes waiting calls on this client return SHM_ERROR_INTERRUPTED, now and later, until shm_client_resume. Calls
/// that do not need to wait still work.
///
/// \ingroup client
/// \param handle The client.
/// \return SHM_SUCCESS, or a code that each function can return.
/// \par Threads
/// Any thread, and a signal handler.
#[no_mangle]
pub unsafe extern "C" fn shm_client_interrupt(handle: *const ClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::interrupt(handle) }
}

/// Ends the effect of shm_client_interrupt: calls may wait again.
///
/// \ingroup client
/// \param handle The client.
/// \return SHM_SUCCESS, or a code that each function can return.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_resume(handle: *const ClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::resume(handle) }
}

/// Sends messages to the server, in order, each as shm_client_send does. The first few messages wake a sleeping
/// server.
///
/// \ingroup batches
/// \param handle The client.
/// \param messages The messages. The library copies them during the call. May be NULL if `count` is 0.
/// \param count The number of messages.
/// \param[out] sent Gets the number of messages that were sent, counted from the first. After other failures than
///   SHM_ERROR_FULL it is 0, although the first messages may have been sent. May be NULL.
/// \retval SHM_SUCCESS All messages are in the queue.
/// \retval SHM_ERROR_FULL The server's options reject when full, and not all messages had room.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL A message has fewer than 2 bytes. None was sent.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE A message has more bytes than the channel allows. None was
///   sent.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and messages may have been sent.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send_batch(
    handle: *mut ClientHandle, messages: *const shm_message_t, count: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_batch(handle, messages, count, sent, |sender, batch| sender.send_batch(batch)) }
}

/// Sends messages to the server, in order, as long as there is room. Evicts nothing.
///
/// \ingroup batches
/// \param handle The client.
/// \param messages The messages. The library copies them during the call. May be NULL if `count` is 0.
/// \param count The number of messages.
/// \param[out] sent Gets the number of messages that were sent, counted from the first. After other failures than
///   SHM_ERROR_FULL it is 0. May be NULL.
/// \retval SHM_SUCCESS All messages are in the queue.
/// \retval SHM_ERROR_FULL Not all messages had room.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL A message has fewer than 2 bytes. None was sent.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE A message has more bytes than the channel allows. None was
///   sent.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and messages may have been sent.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_client_try_send_batch(
    handle: *mut ClientHandle, messages: *const shm_message_t, count: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_batch(handle, messages, count, sent, both::send_fitting) }
}

/// Sends messages to the server, in order, and waits for room where there is none. Evicts nothing.
///
/// \ingroup batches
/// \param handle The client.
/// \param messages The messages. The library copies them during the call. May be NULL if `count` is 0.
/// \param count The number of messages.
/// \param[out] sent Gets the number of messages that were sent, counted from the first. After other failures than
///   SHM_ERROR_TIMEOUT and SHM_ERROR_FULL, more messages may have been sent. May be NULL.
/// \param timeout_ms How long to wait for room in all, in milliseconds. SHM_FOREVER: without a limit. 0: the call
///   checks once.
/// \retval SHM_SUCCESS All messages are in the queue.
/// \retval SHM_ERROR_TIMEOUT Not all messages had room in time.
/// \retval SHM_ERROR_FULL `timeout_ms` is 0, and not all messages had room.
/// \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call. Some messages may have
///   been sent.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL A message has fewer than 2 bytes. None was sent.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE A message has more bytes than the channel allows. None was
///   sent.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and messages may have been sent.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// Any thread, also while another thread receives; senders wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send_batch_timeout(
    handle: *mut ClientHandle, messages: *const shm_message_t, count: u32, sent: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::send_batch_timeout(handle, messages, count, sent, timeout_ms) }
}

/// Waits for a message of the server, and takes it together with all further messages that are there and have room.
/// The messages lie in the buffer one after the other.
///
/// \ingroup batches
/// \param handle The client.
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
/// \retval SHM_ERROR_NOT_READY The time passed while the server overwrote messages faster than the call could take
///   one.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left, and all its messages were received.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting, and all its messages were received.
/// \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \par Threads
/// Any thread, also while another thread sends; receivers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_client_receive_batch(
    handle: *mut ClientHandle, buffer: *mut c_void, size: u32, messages: *mut shm_message_t, count: *mut u32,
    timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::receive_batch(handle, buffer, size, messages, count, timeout_ms) }
}

/// Reserves room for a message to the server in shared memory. The caller writes the message there, and sends it by
/// shm_client_commit. Never waits: a full queue evicts its oldest messages, and on_overflow is called with their
/// number.
///
/// Nothing is sent before the commit. A reservation without a commit need not be undone: the next message that is
/// sent ends the reservation. The server can write the memory too: do not trust what you read back from there. The
/// address is valid until the commit, the next reservation, or the end of the handle. It stays valid when the session
/// ends, and never refers to another session.
///
/// \ingroup in_place
/// \param handle The client.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param[out] data Gets the address for the message, aligned to 8 bytes. NULL after a failure.
/// \retval SHM_SUCCESS `*data` is the address.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// One thread at a time: no other thread may send between the reservation and the commit. Another thread may
/// receive.
#[no_mangle]
pub unsafe extern "C" fn shm_client_reserve(
    handle: *mut ClientHandle, size: u32, data: *mut *mut c_void,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::reserve(handle, size, data, Reserving::Evict) }
}

/// Reserves room for a message to the server if there is room. Evicts nothing. In all else it is the same as
/// shm_client_reserve.
///
/// \ingroup in_place
/// \param handle The client.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param[out] data Gets the address for the message, aligned to 8 bytes. NULL after a failure.
/// \retval SHM_SUCCESS `*data` is the address.
/// \retval SHM_ERROR_FULL There is no room. The queue is unchanged.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// One thread at a time: no other thread may send between the reservation and the commit. Another thread may
/// receive.
#[no_mangle]
pub unsafe extern "C" fn shm_client_try_reserve(
    handle: *mut ClientHandle, size: u32, data: *mut *mut c_void,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::reserve(handle, size, data, Reserving::IfRoom) }
}

/// Reserves room for a message to the server, and waits for room if there is none. Evicts nothing. In all else it is
/// the same as shm_client_reserve.
///
/// \ingroup in_place
/// \param handle The client.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param[out] data Gets the address for the message, aligned to 8 bytes. NULL after a failure.
/// \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
///   once.
/// \retval SHM_SUCCESS `*data` is the address.
/// \retval SHM_ERROR_TIMEOUT There was no room in time.
/// \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
/// \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// One thread at a time: no other thread may send between the reservation and the commit. Another thread may
/// receive.
#[no_mangle]
pub unsafe extern "C" fn shm_client_reserve_timeout(
    handle: *mut ClientHandle, size: u32, data: *mut *mut c_void, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::reserve(handle, size, data, Reserving::Wait(timeout_ms)) }
}

/// Sends the message that the caller has written to the memory from shm_client_reserve.
///
/// \ingroup in_place
/// \param handle The client.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_INVALID_PARAM Nothing is reserved, or another message was sent since, or the session of the
///   reservation is over.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and the message may have been sent.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// The thread that reserves: see shm_client_reserve.
#[no_mangle]
pub unsafe extern "C" fn shm_client_commit(handle: *mut ClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::commit(handle) }
}

/// Waits for a message of the server, and stores its address in shared memory; it makes no copy. The message stays in
/// the queue until shm_client_release, and the server does not overwrite it. It works only if the server's options
/// reject when full.
///
/// Use it only with trusted peers: a peer that breaks the rules can change the message while it is read. The address
/// is valid until the release, the next call of shm_client_borrow, or the end of the handle. It stays valid when the
/// session ends, and never refers to another session.
///
/// \ingroup in_place
/// \param handle The client.
/// \param[out] data Gets the address of the message. NULL after a failure.
/// \param[out] size Gets the size of the message in bytes. 0 after a failure.
/// \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
///   checks once.
/// \retval SHM_SUCCESS `*data` is the address.
/// \retval SHM_ERROR_INVALID_PARAM The channel evicts: the server's options do not reject when full.
/// \retval SHM_ERROR_TIMEOUT No message came in time.
/// \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left, and all its messages were received.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting, and all its messages were received.
/// \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \par Threads
/// One thread at a time receives or borrows. Another thread may send.
#[no_mangle]
pub unsafe extern "C" fn shm_client_borrow(
    handle: *mut ClientHandle, data: *mut *const c_void, size: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::borrow(handle, data, size, timeout_ms) }
}

/// Takes the message from shm_client_borrow out of the queue. Its address must not be used afterwards.
///
/// \ingroup in_place
/// \param handle The client.
/// \retval SHM_SUCCESS The message is out of the queue.
/// \retval SHM_ERROR_INVALID_PARAM Nothing is borrowed, or the message was received since, or its session has ended
///   and another session has begun.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \par Threads
/// The thread that borrows: see shm_client_borrow.
#[no_mangle]
pub unsafe extern "C" fn shm_client_release(handle: *mut ClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { both::release(handle) }
}

/// Returns the slot that a server for many clients has given this client.
///
/// \ingroup client
/// \param handle The client.
/// \return The slot. SHM_NO_CLIENT: the server serves one client, or the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_slot_id(handle: *const ClientHandle) -> u32 {
    // SAFETY: by the caller.
    returning(u32::MAX, || unsafe { Ok(enter(handle)?.0.slot.unwrap_or(u32::MAX)) })
}

/// Stores the objects that an event loop waits for, to receive from the server. Each session has its own objects.
/// They may outlive the session, and get no more signals then.
///
/// \ingroup event_loops
/// \param handle The client.
/// \param[out] out Gets the objects. The caller owns them, and closes them by shm_wait_handles_close. Both fields are
///   -1 after a failure.
/// \retval SHM_SUCCESS The objects were stored.
/// \retval SHM_ERROR_SYSTEM The process can have no more handles.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_wait_handles(
    handle: *const ClientHandle, out: *mut shm_wait_handles_t,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::session_handles(handle, out, readiness::wait_handles) }
}

/// Asks the server to signal its next message, so that an event loop can wait for the signal. Then wait until one of
/// the objects of shm_client_wait_handles is ready, call shm_client_disarm, and receive. The objects may become ready
/// without a message. examples/c/event_loop.c is a whole loop.
///
/// When shm_wait_handles_t.peer becomes ready, call shm_client_is_connected, which records that the server has died.
/// The messages that it sent before can still be received.
///
/// \ingroup event_loops
/// \param handle The client.
/// \param[out] is_ready true: do not wait, but receive by shm_client_try_receive until it returns SHM_ERROR_EMPTY,
///   because a message is there or the session is over. false: wait. false after a failure.
/// \retval SHM_SUCCESS `*is_ready` says whether to wait.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \par Threads
/// One thread at a time receives or arms. Another thread may send.
#[no_mangle]
pub unsafe extern "C" fn shm_client_arm(handle: *mut ClientHandle, is_ready: *mut bool) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::arm(handle, is_ready) }
}

/// Withdraws the request of shm_client_arm, and resets the signal if it has come.
///
/// \ingroup event_loops
/// \param handle The client.
/// \retval SHM_SUCCESS The request is withdrawn.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \par Threads
/// One thread at a time receives or arms. Another thread may send.
#[no_mangle]
pub unsafe extern "C" fn shm_client_disarm(handle: *mut ClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::disarm(handle) }
}

/// Stores the objects that an event loop waits for until there is room to send to the server. Each session has its own
/// objects. They may outlive the session, and get no more signals then.
///
/// \ingroup event_loops
/// \param handle The client.
/// \param[out] out Gets the objects. The caller owns them, and closes them by shm_wait_handles_close. Both fields are
///   -1 after a failure.
/// \retval SHM_SUCCESS The objects were stored.
/// \retval SHM_ERROR_SYSTEM The process can have no more handles.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_room_handles(
    handle: *const ClientHandle, out: *mut shm_wait_handles_t,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::session_handles(handle, out, readiness::room_handles) }
}

/// Asks the server to signal when it next takes a message, so that an event loop can wait for room. Then wait until one
/// of the objects of shm_client_room_handles is ready, call shm_client_disarm_room, and send. There may still be too little
/// room then: arm again.
///
/// When shm_wait_handles_t.peer becomes ready, call shm_client_is_connected, which records that the server has died.
///
/// \ingroup event_loops
/// \param handle The client.
/// \param size The size of the message that is to be sent, in bytes: 2 to 65,535.
/// \param[out] is_ready true: do not wait, but send by shm_client_try_send, because there is room for such a message or
///   the session is over. false: wait. false after a failure.
/// \retval SHM_SUCCESS `*is_ready` says whether to wait.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL `size` is less than 2.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE `size` is more than 65,535, or more than the ring allows.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \par Threads
/// One thread at a time sends or arms for room. Another thread may receive.
#[no_mangle]
pub unsafe extern "C" fn shm_client_arm_room(
    handle: *mut ClientHandle, size: u32, is_ready: *mut bool,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::arm_room(handle, size, is_ready) }
}

/// Withdraws the request of shm_client_arm_room, and resets the signal if it has come.
///
/// \ingroup event_loops
/// \param handle The client.
/// \retval SHM_SUCCESS The request is withdrawn.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \par Threads
/// One thread at a time sends or arms for room. Another thread may receive.
#[no_mangle]
pub unsafe extern "C" fn shm_client_disarm_room(handle: *mut ClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { event_loop::disarm_room(handle) }
}

/// Leaves the server and frees the handle. The server still receives what the client sent.
///
/// Calls of other threads return first, with SHM_ERROR_INTERRUPTED, or with SHM_ERROR_NOT_CONNECTED after a call of
/// on_disconnect. Those threads cannot tell from the code that the handle is gone. So end them before this call (by a
/// flag of the program, shm_client_interrupt, and a join).
///
/// This function calls no callback, and no callback begins after it has returned: the program may then free
/// user_data. From inside a callback of this handle it waits only for the calls of other threads. That callback is
/// the last, and the handle is freed when the call around that callback returns. From a callback of another handle it
/// also waits, with one exception: if a callback of this handle waits for the end of that other handle, this function
/// returns while the callback of this handle still runs.
///
/// \ingroup client
/// \param handle The client, which must not be used afterwards. NULL does nothing.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_client_disconnect(handle: *mut ClientHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}
