//! The C interface of the auto endpoints.

// As in the module `ffi`.
#![allow(non_camel_case_types, clippy::missing_safety_doc, rustdoc::broken_intra_doc_links)]

use super::{AutoClient, AutoOptions, AutoServer, AutoStatsSnapshot};
use crate::background::sending::ONLY;
use crate::calls::Part;
use crate::ffi::background::{self, background_handle, to_session, BackgroundHandle, OneConnectionHandle};
use crate::ffi::callbacks::{read_sized, session_bits, shm_call_t, shm_callbacks_t};
use crate::ffi::options::{self, *};
use crate::ffi::*;
use std::mem::size_of;

/// How an auto endpoint behaves. Get a structure from shm_auto_options_default, and change it.
///
/// \ingroup auto
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shm_auto_options_t {
    /// sizeof (shm_auto_options_t). A newer library determines from it which fields exist. 0 stands for the size in version 0.3.
    pub struct_size: u32,
    /// The longest duration of one kernel wait. It limits the delay if a native peer forgets to signal. 0: no limit.
    pub wait_timeout_ms: u32,
    /// The pause before the next attempt to connect, in milliseconds. The default is 100. Each further attempt of a client that
    /// fails doubles it, up to longest_reconnect_delay_ms.
    pub reconnect_delay_ms: u32,
    /// The longest duration of a client's attempt to connect, in milliseconds. The default is 5000.
    pub connect_timeout_ms: u32,
    /// The largest number of messages that wait for a connection. The default is 256. When the queue is full, the oldest
    /// message is dropped for the newest. 0: no message waits.
    pub max_send_queue: u32,
    /// The number of messages that the worker delivers before it does other work. The default is 64. 0 counts as 1.
    pub recv_batch: u32,
    /// The longest pause between two attempts of a client to connect, in milliseconds. The default is 2000. If it is less than
    /// reconnect_delay_ms, all pauses last reconnect_delay_ms.
    pub longest_reconnect_delay_ms: u32,
    /// By how much a pause is shortened at random, at most, in percent. The default is 20.
    pub reconnect_jitter_percent: u32,
}

impl shm_auto_options_t {
    /// # Safety
    /// NULL, or options.
    unsafe fn read(options: *const Self) -> Outcome<AutoOptions> {
        let reason = "it is the size of shm_auto_options_t; begin with shm_auto_options_default()";
        // SAFETY: by the caller.
        let options = unsafe { read_sized(options, reason) }?;
        let Some(options) = options else { return Ok(AutoOptions::default()) };
        Ok(AutoOptions {
            wait_timeout: wait_limit(options.wait_timeout_ms),
            reconnect_delay: duration(options.reconnect_delay_ms),
            longest_reconnect_delay: duration(options.longest_reconnect_delay_ms),
            reconnect_jitter_percent: options.reconnect_jitter_percent,
            connect_timeout: duration(options.connect_timeout_ms),
            max_send_queue: options.max_send_queue as usize,
            recv_batch: options.recv_batch as usize,
        })
    }
}

/// Returns the default options of an auto endpoint.
///
/// \ingroup auto
/// \return The options, with `struct_size` set.
/// \par Threads
/// Any thread.
#[no_mangle]
pub extern "C" fn shm_auto_options_default() -> shm_auto_options_t {
    let options = AutoOptions::default();
    shm_auto_options_t {
        struct_size: size_of::<shm_auto_options_t>() as u32,
        longest_reconnect_delay_ms: options.longest_reconnect_delay.as_millis() as u32,
        reconnect_jitter_percent: options.reconnect_jitter_percent,
        wait_timeout_ms: options.wait_timeout.as_millis() as u32,
        reconnect_delay_ms: options.reconnect_delay.as_millis() as u32,
        connect_timeout_ms: options.connect_timeout.as_millis() as u32,
        max_send_queue: options.max_send_queue as u32,
        recv_batch: options.recv_batch as u32,
    }
}

/// The statistics of an auto endpoint, or of a client of a server for many clients, since its creation, over all its connections.
///
/// \ingroup auto
#[repr(C)]
pub struct shm_auto_stats_t {
    /// The bytes of this structure that the library has filled. It grows into `reserved`.
    pub struct_size: u32,
    /// Always 0.
    pub padding: u32,
    /// Messages that were put into a ring.
    pub sent_messages: u64,
    /// Outgoing messages that were lost: dropped from the full queue, evicted, left in the ring when the peer was gone, or left
    /// in the queue when the endpoint was stopped.
    pub send_overflows: u64,
    /// Messages that were received.
    pub received_messages: u64,
    /// Messages that the peer evicted before they could be received.
    pub receive_overflows: u64,
    /// Always 0. For counts of newer versions.
    pub reserved: [u64; 4],
}

/// A server for one client that works in the background.
///
/// \ingroup auto_server
pub struct AutoServerHandle(background::Background<AutoServer, shm_callbacks_t>);

/// A client of a server for one client that works in the background.
///
/// \ingroup auto_client
pub struct AutoClientHandle(background::Background<AutoClient, shm_callbacks_t>);

background_handle!(AutoServerHandle, AutoServer, shm_callbacks_t);
impl OneConnectionHandle for AutoServerHandle {}
background_handle!(AutoClientHandle, AutoClient, shm_callbacks_t);
impl OneConnectionHandle for AutoClientHandle {}

pub(crate) unsafe fn stats<H: OneConnectionHandle>(handle: *const H, out: *mut shm_auto_stats_t) -> bool {
    // SAFETY: by the caller.
    returning(false, || unsafe {
        clear(out);
        let stats = AutoStatsSnapshot::of(enter(handle)?.core());
        *required(out, "the pointer to the statistics")? = shm_auto_stats_t {
            struct_size: std::mem::offset_of!(shm_auto_stats_t, reserved) as u32,
            padding: 0,
            sent_messages: stats.sent_messages,
            send_overflows: stats.send_overflows,
            received_messages: stats.received_messages,
            receive_overflows: stats.receive_overflows,
            reserved: [0; 4],
        };
        Ok(true)
    })
}

/// Starts a server that works in the background. It accepts clients, one after the other, and passes their messages
/// to on_message. All of this happens on its own worker thread. Returns at once.
///
/// \ingroup auto_server
/// \param config The name and the size of the rings.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param options How the endpoint works in the background. NULL: the defaults.
/// \return The handle, which the caller owns and frees by shm_server_stop_auto. NULL: the call failed; shm_last_error
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
pub unsafe extern "C" fn shm_server_start_auto(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t,
    options: *const shm_auto_options_t,
) -> *mut AutoServerHandle {
    // SAFETY: by the caller.
    unsafe { shm_server_start_auto_with_options(config, callbacks, options, ptr::null()) }
}

/// Starts a server that works in the background, with options of the channel. In all else it is the same as
/// shm_server_start_auto.
///
/// \ingroup auto_server
/// \param config The name and the size of the rings.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param options How the endpoint works in the background. NULL: the defaults.
/// \param channel_options The options of the channel. NULL: the defaults.
/// \return The handle, which the caller owns and frees by shm_server_stop_auto. NULL: the call failed; shm_last_error
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
pub unsafe extern "C" fn shm_server_start_auto_with_options(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t,
    options: *const shm_auto_options_t, channel_options: *const shm_options_t,
) -> *mut AutoServerHandle {
    // SAFETY: by the caller.
    unsafe {
        background::create(callbacks, |callbacks| {
            let (name, ring_size) = options::config(config)?;
            let channel = server_options(ring_size, channel_options)?;
            let options = shm_auto_options_t::read(options)?;
            Ok(channel.start_auto_with(name, Box::new(callbacks), &options)?)
        })
    }
}

/// Sends a message to the client. Never waits. With a connection the message goes into the ring at once, and evicts
/// the oldest messages if there is no room. Without a connection it waits in the send queue. on_overflow reports lost
/// messages.
///
/// \ingroup auto_server
/// \param handle The server.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the ring or in the queue.
/// \retval SHM_ERROR_NOT_CONNECTED The endpoint was stopped. Or there is no connection, and max_send_queue is 0. Or
///   the client has left, and on_disconnect has not returned.
/// \retval SHM_ERROR_PEER_DIED The client's process has ended, and on_disconnect has not returned.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol, and on_disconnect has not returned.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_FULL The ring has no room, and the server's options reject when full.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send_auto(
    handle: *mut AutoServerHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::send(handle, data, size) }
}

/// Sends a message to the client if the ring or the send queue has room. Evicts and drops nothing.
///
/// \ingroup auto_server
/// \param handle The server.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the ring or in the queue.
/// \retval SHM_ERROR_FULL Neither the ring nor the queue has room. on_space_available is called when there is room
///   again.
/// \retval SHM_ERROR_NOT_CONNECTED The endpoint was stopped. Or there is no connection, and max_send_queue is 0. Or
///   the client has left, and on_disconnect has not returned.
/// \retval SHM_ERROR_PEER_DIED The client's process has ended, and on_disconnect has not returned.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol, and on_disconnect has not returned.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_send_auto(
    handle: *mut AutoServerHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::try_send(handle, data, size) }
}

/// Sends a message to the client, and waits for room if there is none. Evicts and drops nothing. It also waits inside
/// a callback of this handle: the client must then make the room without an answer from this endpoint meanwhile.
///
/// \ingroup auto_server
/// \param handle The server.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
///   once.
/// \retval SHM_SUCCESS The message is in the ring or in the queue.
/// \retval SHM_ERROR_TIMEOUT There was no room in time.
/// \retval SHM_ERROR_FULL There is no room, and `timeout_ms` is 0. Or the queue has no room, there is no connection,
///   and the call is inside a callback.
/// \retval SHM_ERROR_NOT_CONNECTED The endpoint was stopped. Or there is no connection, and max_send_queue is 0. Or
///   the client has left, and on_disconnect has not returned.
/// \retval SHM_ERROR_PEER_DIED The client's process has ended, and on_disconnect has not returned.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol, and on_disconnect has not returned.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send_timeout_auto(
    handle: *mut AutoServerHandle, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::send_timeout(handle, data, size, timeout_ms) }
}

/// Stores the endpoint's statistics.
///
/// \ingroup auto_server
/// \param handle The server.
/// \param[out] out Gets the statistics. Zeros after a failure.
/// \return true: the statistics were stored. false: the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_stats_auto(
    handle: *const AutoServerHandle, out: *mut shm_auto_stats_t,
) -> bool {
    // SAFETY: by the caller.
    unsafe { stats(handle, out) }
}

/// Stops the endpoint and frees the handle. It delivers the messages that have arrived, sends queued messages as far
/// as they fit, ends the connection, and waits for the worker's end.
///
/// No callback begins after this function has returned: the program may then free what user_data points to. From
/// inside a callback of this handle it returns at once, and that callback is the last. The worker ends after that
/// callback, and the handle is then freed. From a callback of another handle it also waits, with one exception: if a
/// callback of this handle waits for the end of that other handle, this function returns while the callback of this
/// handle still runs.
///
/// \ingroup auto_server
/// \param handle The server, which must not be used afterwards. NULL does nothing.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_server_stop_auto(handle: *mut AutoServerHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}

/// Returns the number of the present session, which stands for its client and for no later client.
///
/// \ingroup auto_server
/// \param handle The server.
/// \return The number. 0: there is no session, or the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_session_auto(handle: *const AutoServerHandle) -> u64 {
    // SAFETY: by the caller.
    returning(0, || unsafe {
        let session = enter(handle)?.core().session(0);
        Ok(session.map_or(0, |session| session_bits(0, session)))
    })
}

/// Sends a message to the client of one session only. Use it for an answer that takes longer than a callback. In all
/// else it is the same as shm_server_send_auto.
///
/// \ingroup auto_server
/// \param handle The server.
/// \param session The session, from shm_server_session_auto.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the ring or in the queue.
/// \retval SHM_ERROR_NOT_CONNECTED The session is over, or the endpoint was stopped.
/// \retval SHM_ERROR_PEER_DIED The client's process has ended, and on_disconnect has not returned.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol, and on_disconnect has not returned.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_FULL The ring has no room, and the server's options reject when full.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send_to_session_auto(
    handle: *mut AutoServerHandle, session: u64, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let inside = enter(handle)?;
        Ok(inside.core().send(to_session(session)?, bytes(data, size)?).map(drop)?)
    })
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
pub unsafe extern "C" fn shm_server_answer_auto(
    handle: *mut AutoServerHandle, call: shm_call_t, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::end_call(handle, call, Part::Answer, data, size) }
}

/// Ends a call without an answer. Its caller gets SHM_ERROR_NO_ANSWER. In all else it is the same as
/// shm_server_answer_auto.
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
pub unsafe extern "C" fn shm_server_refuse_auto(
    handle: *mut AutoServerHandle, call: shm_call_t,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::end_call(handle, call, Part::NoAnswer, ptr::null(), 0) }
}

/// Returns whether the client is connected, as far as the worker knows.
///
/// \ingroup auto_server
/// \param handle The server.
/// \return true: the client is connected. false: it is not, or the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_is_connected_auto(handle: *const AutoServerHandle) -> bool {
    // SAFETY: by the caller.
    unsafe { background::is_connected(handle) }
}

/// Stores the process id and the user of the client of the present session, as shm_server_peer does.
///
/// \ingroup auto_server
/// \param handle The server.
/// \param[out] process_id Gets the process id. 0 after a failure. May be NULL.
/// \param[out] user Gets the user as text and a NUL, truncated to the buffer: a SID, on Linux a number. Empty if the
///   system does not report the user, and after a failure. May be NULL.
/// \param user_size The size of `user` in bytes, including the NUL. 256 bytes are always enough.
/// \retval SHM_SUCCESS The client was stored. It may have left since.
/// \retval SHM_ERROR_NOT_CONNECTED There is no session.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_peer_auto(
    handle: *const AutoServerHandle, process_id: *mut u32, user: *mut c_char, user_size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::peer(handle, || Ok(ONLY), process_id, user, user_size) }
}

/// Returns whether the server is connected, as far as the worker knows.
///
/// \ingroup auto_client
/// \param handle The client.
/// \return true: the server is connected. false: it is not, or the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_is_connected_auto(handle: *const AutoClientHandle) -> bool {
    // SAFETY: by the caller.
    unsafe { background::is_connected(handle) }
}

/// Stores the process id and the user of the server of the present session, as shm_client_peer does.
///
/// \ingroup auto_client
/// \param handle The client.
/// \param[out] process_id Gets the process id. 0 after a failure. May be NULL.
/// \param[out] user Gets the user as text and a NUL, truncated to the buffer: a SID, on Linux a number. Empty if the
///   system does not report the user, and after a failure. May be NULL.
/// \param user_size The size of `user` in bytes, including the NUL. 256 bytes are always enough.
/// \retval SHM_SUCCESS The server was stored. It may have left since.
/// \retval SHM_ERROR_NOT_CONNECTED There is no session.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_peer_auto(
    handle: *const AutoClientHandle, process_id: *mut u32, user: *mut c_char, user_size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::peer(handle, || Ok(ONLY), process_id, user, user_size) }
}

/// Begins to stop the endpoint, and returns without waiting. The endpoint delivers the messages that have arrived,
/// and on_disconnect runs last, if there is a connection. A callback can stop its own handle in this way, and another
/// thread can then free it by shm_server_stop_auto.
///
/// \ingroup auto_server
/// \param handle The server.
/// \return SHM_SUCCESS, or a code that each function can return.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_server_request_stop_auto(handle: *mut AutoServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::request_stop(handle) }
}

/// Stops the endpoint and frees the handle, as shm_server_stop_auto does, but limits the wait.
///
/// \ingroup auto_server
/// \param handle The server.
/// \param timeout_ms How long to wait for the end, in milliseconds. SHM_FOREVER: without a limit.
/// \retval SHM_SUCCESS The endpoint has ended, and the handle is freed. After any other code the caller still owns
///   the handle.
/// \retval SHM_ERROR_TIMEOUT The endpoint has not ended yet, and will end later.
/// \retval SHM_ERROR_NOT_READY The calling callback cannot wait for the end; see shm_server_stop_auto.
/// \retval SHM_ERROR_FORKED This process is a fork. The function has released the fork's hold on the name.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_server_stop_timeout_auto(
    handle: *mut AutoServerHandle, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::stop_timeout(handle, timeout_ms) }
}

/// Connects in the background, and connects again whenever the connection is lost. The client passes the server's
/// messages to on_message. All of this happens on its own worker thread. Returns at once; on_connect runs when there
/// is a connection.
///
/// \ingroup auto_client
/// \param config The name and the size of the rings.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param options How the endpoint works in the background. NULL: the defaults.
/// \return The handle, which the caller owns and frees by shm_client_disconnect_auto. NULL: the call failed;
///   shm_last_error returns one of the following codes.
/// \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
/// \retval SHM_ERROR_INVALID_NAME The name is invalid.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_connect_auto(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t,
    options: *const shm_auto_options_t,
) -> *mut AutoClientHandle {
    // SAFETY: by the caller.
    unsafe { shm_client_connect_auto_with_options(config, callbacks, options, ptr::null()) }
}

/// Connects in the background, and connects again whenever the connection is lost. It does so with options of the
/// channel. In all else it is the same as shm_client_connect_auto.
///
/// \ingroup auto_client
/// \param config The name and the size of the rings.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param options How the endpoint works in the background. NULL: the defaults.
/// \param channel_options The options of the channel. NULL: the defaults.
/// \return The handle, which the caller owns and frees by shm_client_disconnect_auto. NULL: the call failed;
///   shm_last_error returns one of the following codes.
/// \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
/// \retval SHM_ERROR_INVALID_NAME The name is invalid.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_connect_auto_with_options(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t,
    options: *const shm_auto_options_t, channel_options: *const shm_options_t,
) -> *mut AutoClientHandle {
    // SAFETY: by the caller.
    unsafe {
        background::create(callbacks, |callbacks| {
            let (name, ring_size) = options::config(config)?;
            let channel = client_options(ring_size, channel_options)?;
            let options = shm_auto_options_t::read(options)?;
            Ok(channel.connect_auto_with(name, Box::new(callbacks), &options)?)
        })
    }
}

/// Sends a message to the server. Never waits. With a connection the message goes into the ring at once, and evicts
/// the oldest messages if there is no room. Without a connection it waits in the send queue. on_overflow reports lost
/// messages.
///
/// \ingroup auto_client
/// \param handle The client.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the ring or in the queue.
/// \retval SHM_ERROR_NOT_CONNECTED The endpoint was stopped, or there is no connection and max_send_queue is 0.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_FULL The ring has no room, and the server's options reject when full.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send_auto(
    handle: *mut AutoClientHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::send(handle, data, size) }
}

/// Sends a message to the server if the ring or the send queue has room. Evicts and drops nothing.
///
/// \ingroup auto_client
/// \param handle The client.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the ring or in the queue.
/// \retval SHM_ERROR_FULL Neither the ring nor the queue has room. on_space_available is called when there is room
///   again.
/// \retval SHM_ERROR_NOT_CONNECTED The endpoint was stopped, or there is no connection and max_send_queue is 0.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_client_try_send_auto(
    handle: *mut AutoClientHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::try_send(handle, data, size) }
}

/// Sends a message to the server, and waits for room if there is none. Evicts and drops nothing. It also waits inside
/// a callback of this handle: the server must then make the room without an answer from this endpoint meanwhile.
///
/// \ingroup auto_client
/// \param handle The client.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
///   once.
/// \retval SHM_SUCCESS The message is in the ring or in the queue.
/// \retval SHM_ERROR_TIMEOUT There was no room in time.
/// \retval SHM_ERROR_FULL There is no room, and `timeout_ms` is 0. Or the queue has no room, there is no connection,
///   and the call is inside a callback.
/// \retval SHM_ERROR_NOT_CONNECTED The endpoint was stopped, or there is no connection and max_send_queue is 0.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send_timeout_auto(
    handle: *mut AutoClientHandle, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::send_timeout(handle, data, size, timeout_ms) }
}

/// Stores the endpoint's statistics.
///
/// \ingroup auto_client
/// \param handle The client.
/// \param[out] out Gets the statistics. Zeros after a failure.
/// \return true: the statistics were stored. false: the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_stats_auto(
    handle: *const AutoClientHandle, out: *mut shm_auto_stats_t,
) -> bool {
    // SAFETY: by the caller.
    unsafe { stats(handle, out) }
}

/// Stops the endpoint and frees the handle. It delivers the messages that have arrived, sends queued messages as far
/// as they fit, ends the connection, and waits for the worker's end.
///
/// No callback begins after this function has returned: the program may then free what user_data points to. From
/// inside a callback of this handle it returns at once, and that callback is the last. The worker ends after that
/// callback, and the handle is then freed. From a callback of another handle it also waits, with one exception: if a
/// callback of this handle waits for the end of that other handle, this function returns while the callback of this
/// handle still runs.
///
/// \ingroup auto_client
/// \param handle The client, which must not be used afterwards. NULL does nothing.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_client_disconnect_auto(handle: *mut AutoClientHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}

/// Begins to stop the endpoint, and returns without waiting. The endpoint delivers the messages that have arrived,
/// and on_disconnect runs last, if there is a connection. A callback can stop its own handle in this way, and another
/// thread can then free it by shm_client_disconnect_auto.
///
/// \ingroup auto_client
/// \param handle The client.
/// \return SHM_SUCCESS, or a code that each function can return.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_client_request_disconnect_auto(handle: *mut AutoClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::request_stop(handle) }
}

/// Stops the endpoint and frees the handle, as shm_client_disconnect_auto does, but limits the wait.
///
/// \ingroup auto_client
/// \param handle The client.
/// \param timeout_ms How long to wait for the end, in milliseconds. SHM_FOREVER: without a limit.
/// \retval SHM_SUCCESS The endpoint has ended, and the handle is freed. After any other code the caller still owns
///   the handle.
/// \retval SHM_ERROR_TIMEOUT The endpoint has not ended yet, and will end later.
/// \retval SHM_ERROR_NOT_READY The calling callback cannot wait for the end; see shm_client_disconnect_auto.
/// \retval SHM_ERROR_FORKED This process is a fork. The function does nothing there.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_client_disconnect_timeout_auto(
    handle: *mut AutoClientHandle, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::stop_timeout(handle, timeout_ms) }
}
