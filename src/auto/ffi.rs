//! The C interface of the auto endpoints.

// As in the module `ffi`.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

use super::{AutoClient, AutoOptions, AutoServer, AutoStatsSnapshot, SessionId};
use crate::ffi::background::{self, background_handle, BackgroundHandle, OneConnectionHandle};
use crate::ffi::callbacks::{shm_callbacks_t, Callbacks};
use crate::ffi::options::{self, *};
use crate::ffi::*;

/// How an auto endpoint behaves. Get a structure from shm_auto_options_default, and change it.
#[repr(C)]
pub struct shm_auto_options_t {
    /// The longest duration of one kernel wait. It limits the delay if a native peer forgets to signal. 0: no limit.
    pub wait_timeout_ms: u32,
    /// The pause before the next attempt to connect, in milliseconds. The default is 100.
    pub reconnect_delay_ms: u32,
    /// The longest duration of a client's attempt to connect, in milliseconds. The default is 5000.
    pub connect_timeout_ms: u32,
    /// The largest number of messages that wait for a connection. The default is 256. When the queue is full, the oldest
    /// message is dropped for the newest. 0: no message waits.
    pub max_send_queue: u32,
    /// The number of messages that the worker delivers before it does other work. The default is 64. 0 counts as 1.
    pub recv_batch: u32,
}

impl shm_auto_options_t {
    /// # Safety
    /// NULL, or options.
    unsafe fn read(options: *const Self) -> AutoOptions {
        // SAFETY: by the caller.
        let Some(options) = (unsafe { options.as_ref() }) else { return AutoOptions::default() };
        AutoOptions {
            wait_timeout: wait_limit(options.wait_timeout_ms),
            reconnect_delay: duration(options.reconnect_delay_ms),
            connect_timeout: duration(options.connect_timeout_ms),
            max_send_queue: options.max_send_queue as usize,
            recv_batch: options.recv_batch as usize,
        }
    }
}

/// Returns the default options. Any thread.
#[no_mangle]
pub extern "C" fn shm_auto_options_default() -> shm_auto_options_t {
    let options = AutoOptions::default();
    shm_auto_options_t {
        wait_timeout_ms: options.wait_timeout.as_millis() as u32,
        reconnect_delay_ms: options.reconnect_delay.as_millis() as u32,
        connect_timeout_ms: options.connect_timeout.as_millis() as u32,
        max_send_queue: options.max_send_queue as u32,
        recv_batch: options.recv_batch as u32,
    }
}

/// The statistics of an auto endpoint since its creation, over all its connections.
#[repr(C)]
pub struct shm_auto_stats_t {
    /// Messages that were put into a ring.
    pub sent_messages: u64,
    /// Outgoing messages that were lost: dropped from the full queue, evicted, left in the ring when the peer was gone, or left
    /// in the queue when the endpoint was stopped.
    pub send_overflows: u64,
    /// Messages that were received.
    pub received_messages: u64,
    /// Messages that the peer evicted before they could be received.
    pub receive_overflows: u64,
}

/// A server for one client that works in the background.
pub struct AutoServerHandle(AutoServer, Arc<Callbacks<shm_callbacks_t>>);

/// A client of a server for one client that works in the background.
pub struct AutoClientHandle(AutoClient, Arc<Callbacks<shm_callbacks_t>>);

background_handle!(AutoServerHandle, 0.auto.core);
impl OneConnectionHandle for AutoServerHandle {}
background_handle!(AutoClientHandle, 0.auto.core);
impl OneConnectionHandle for AutoClientHandle {}

unsafe fn stats<H: Closable>(
    handle: *const H, stats: impl FnOnce(&H) -> AutoStatsSnapshot, out: *mut shm_auto_stats_t,
) -> bool {
    // SAFETY: by the caller.
    returning(false, || unsafe {
        clear(out);
        let stats = stats(&*enter(handle)?);
        *required(out, "the pointer to the statistics")? = shm_auto_stats_t {
            sent_messages: stats.sent_messages,
            send_overflows: stats.send_overflows,
            received_messages: stats.received_messages,
            receive_overflows: stats.receive_overflows,
        };
        Ok(true)
    })
}

/// Starts a server that works in the background: it accepts clients, one after the other, and passes their messages to
/// on_message. All of this happens on its own worker thread. Returns at once. `callbacks` and `options` may be NULL.
///
/// Returns NULL on failure; shm_last_error reports the reason, as after shm_server_start. The caller owns the handle, and
/// frees it with shm_server_stop_auto. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_start_auto(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t,
    options: *const shm_auto_options_t,
) -> *mut AutoServerHandle {
    // SAFETY: by the caller.
    unsafe { shm_server_start_auto_with_options(config, callbacks, options, ptr::null()) }
}

/// Does the same as shm_server_start_auto, with options of the channel, which may be NULL.
#[no_mangle]
pub unsafe extern "C" fn shm_server_start_auto_with_options(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t,
    options: *const shm_auto_options_t, channel_options: *const shm_options_t,
) -> *mut AutoServerHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let (name, ring_size) = options::config(config)?;
        let callbacks = Arc::new(Callbacks::read(callbacks));
        let channel = server_options(ring_size, channel_options)?;
        let server = channel.start_auto(name, callbacks.clone(), shm_auto_options_t::read(options))?;
        Ok(AutoServerHandle(server, callbacks))
    })
}

/// Sends a message. With a connection the message goes into the ring at once, and evicts the oldest messages if there is no
/// room. Without a connection it waits in the send queue. on_overflow reports lost messages. The call never waits.
///
/// SHM_ERROR_MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE, _NOT_CONNECTED (stopped, or without a connection and without a queue),
/// _FULL if the server's options reject, _INVALID_PARAM. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send_auto(
    handle: *mut AutoServerHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::send(handle, data, size) }
}

/// Does the same as shm_server_send_auto if there is room; evicts and drops nothing. SHM_ERROR_FULL: there is no room.
/// on_space_available runs when there is room again.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_send_auto(
    handle: *mut AutoServerHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::try_send(handle, data, size) }
}

/// Does the same as shm_server_try_send_auto, but waits for room: at most `timeout_ms` milliseconds, or for ever with
/// SHM_FOREVER. SHM_ERROR_TIMEOUT. It also waits inside a callback of this handle. The peer must then make the room without
/// an answer from this endpoint meanwhile. Inside a callback and without a connection it fails at once, with SHM_ERROR_FULL
/// if the queue has no room.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send_timeout_auto(
    handle: *mut AutoServerHandle, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::send_timeout(handle, data, size, timeout_ms) }
}

/// Stores the endpoint's statistics. Returns false if `handle` or `out` is NULL. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_stats_auto(
    handle: *const AutoServerHandle, out: *mut shm_auto_stats_t,
) -> bool {
    // SAFETY: by the caller.
    unsafe { stats(handle, |handle| handle.0.stats(), out) }
}

/// Stops the endpoint and frees the handle, which must not be used afterwards. It delivers the messages that have arrived,
/// sends queued messages as far as they fit, ends the connection, and waits for the worker's end. NULL does nothing.
///
/// No callback begins after this function has returned: the program may then free what user_data points to. From inside a
/// callback of this handle it returns at once, and that callback is the last. The worker ends after that callback, and the
/// handle is then freed. From a callback of another handle it also waits, with one exception: if a callback of this handle
/// waits for the end of that other handle, this function returns while the callback of this handle still runs.
#[no_mangle]
pub unsafe extern "C" fn shm_server_stop_auto(handle: *mut AutoServerHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}

/// Returns the present session's number, which stands for its client and for no later client. Returns 0 if there is no
/// session, or for NULL. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_server_session_auto(handle: *const AutoServerHandle) -> u64 {
    // SAFETY: by the caller.
    returning(0, || unsafe {
        let session = enter(handle)?.0.session();
        Ok(session.map_or(0, |session| 1 << 32 | u64::from(session.0)))
    })
}

/// Does the same as shm_server_send_auto, but sends only to the client of that session. Use it for an answer that takes
/// longer than a callback. SHM_ERROR_NOT_CONNECTED: the session is over.
#[no_mangle]
pub unsafe extern "C" fn shm_server_send_to_session_auto(
    handle: *mut AutoServerHandle, session: u64, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let inside = enter(handle)?;
        let message = bytes(data, size)?;
        // 0 is none.
        let id = (session != 0).then_some(SessionId(session as u32)).ok_or(ShmError::NotConnected)?;
        Ok(inside.0.send_to_session(id, message)?)
    })
}

/// Begins to stop, and returns without waiting. The caller still owns the handle, and frees it with shm_server_stop_auto.
/// The endpoint delivers the messages that have arrived, and on_disconnect runs last, if there is a connection. Any thread,
/// also inside a callback: a callback can stop its own handle, and another thread can then free it. In a fork of the process
/// it does nothing and returns SHM_ERROR_FORKED.
#[no_mangle]
pub unsafe extern "C" fn shm_server_request_stop_auto(handle: *mut AutoServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::request_stop(handle) }
}

/// Does the same as shm_server_stop_auto, but waits at most `timeout_ms` milliseconds. SHM_SUCCESS: the endpoint has ended,
/// and the handle is freed. After any other code the caller still owns the handle. SHM_ERROR_TIMEOUT: the endpoint has not
/// ended yet, and will end later. SHM_ERROR_NOT_READY: the calling callback cannot wait for the end; see
/// shm_server_stop_auto. SHM_ERROR_FORKED: in a fork, this function releases the fork's hold on the name.
#[no_mangle]
pub unsafe extern "C" fn shm_server_stop_timeout_auto(
    handle: *mut AutoServerHandle, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::stop_timeout(handle, timeout_ms) }
}

/// Connects in the background, connects again whenever the connection is lost, and passes the server's messages to
/// on_message. All of this happens on its own worker thread. Returns at once; on_connect runs when there is a connection.
/// `callbacks` and `options` may be NULL.
///
/// Returns NULL on failure; shm_last_error reports the reason: SHM_ERROR_INVALID_NAME, _INVALID_PARAM, _MEMORY, _SYSTEM. The
/// caller owns the handle, and frees it with shm_client_disconnect_auto. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_connect_auto(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t,
    options: *const shm_auto_options_t,
) -> *mut AutoClientHandle {
    // SAFETY: by the caller.
    unsafe { shm_client_connect_auto_with_options(config, callbacks, options, ptr::null()) }
}

/// Does the same as shm_client_connect_auto, with options of the channel, which may be NULL.
#[no_mangle]
pub unsafe extern "C" fn shm_client_connect_auto_with_options(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t,
    options: *const shm_auto_options_t, channel_options: *const shm_options_t,
) -> *mut AutoClientHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let (name, ring_size) = options::config(config)?;
        let callbacks = Arc::new(Callbacks::read(callbacks));
        let channel = client_options(ring_size, channel_options)?;
        let client = channel.connect_auto(name, callbacks.clone(), shm_auto_options_t::read(options))?;
        Ok(AutoClientHandle(client, callbacks))
    })
}

/// Does the same as shm_server_send_auto, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send_auto(
    handle: *mut AutoClientHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::send(handle, data, size) }
}

/// Does the same as shm_server_try_send_auto, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_try_send_auto(
    handle: *mut AutoClientHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::try_send(handle, data, size) }
}

/// Does the same as shm_server_send_timeout_auto, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send_timeout_auto(
    handle: *mut AutoClientHandle, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::send_timeout(handle, data, size, timeout_ms) }
}

/// Does the same as shm_server_stats_auto, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_stats_auto(
    handle: *const AutoClientHandle, out: *mut shm_auto_stats_t,
) -> bool {
    // SAFETY: by the caller.
    unsafe { stats(handle, |handle| handle.0.stats(), out) }
}

/// Does the same as shm_server_stop_auto, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_disconnect_auto(handle: *mut AutoClientHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}

/// Does the same as shm_server_request_stop_auto, for a client. The caller frees the handle with shm_client_disconnect_auto.
#[no_mangle]
pub unsafe extern "C" fn shm_client_request_disconnect_auto(handle: *mut AutoClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::request_stop(handle) }
}

/// Does the same as shm_server_stop_timeout_auto, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_client_disconnect_timeout_auto(
    handle: *mut AutoClientHandle, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::stop_timeout(handle, timeout_ms) }
}
