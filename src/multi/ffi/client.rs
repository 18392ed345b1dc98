//! The C interface of a client of a server for many clients.

use super::*;
use crate::multi::{MultiClient, MultiClientHandler, MultiClientOptions};

/// How a client of a server for many clients behaves. Get a structure from shm_multi_client_options_default, and change it.
#[repr(C)]
pub struct shm_multi_client_options_t {
    /// How long the call to connect waits for the server and for the server to accept, in milliseconds. The default is 5000.
    pub lobby_timeout_ms: u32,
    /// How long the call then waits until the server has called on_client_connect, in milliseconds. The default is 5000.
    pub slot_timeout_ms: u32,
    /// The longest duration of one kernel wait. 0: no limit.
    pub poll_timeout_ms: u32,
    /// The number of messages that the worker delivers before it does other work. The default is 64. 0 counts as 1.
    pub recv_batch: u32,
}

/// The callbacks of a client of a server for many clients. They run on the client's worker thread, one at a time. Any of
/// them may be NULL. A callback may call any function of this library, and may end the client.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shm_multi_client_callbacks_t {
    /// The client is connected, and has that slot.
    pub on_connect: Option<unsafe extern "C" fn(slot_id: u32, user_data: *mut c_void)>,
    /// The connection is over; shm_last_error reports how it ended.
    pub on_disconnect: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// A message arrived; `data` is valid until the callback returns.
    pub on_message: Option<unsafe extern "C" fn(data: *const c_void, size: u32, user_data: *mut c_void)>,
    /// An operation failed; shm_last_error_message describes the failure.
    pub on_error: Option<unsafe extern "C" fn(error: shm_error_t, user_data: *mut c_void)>,
    /// Passed to each callback. It must be usable on the threads that the callbacks run on.
    pub user_data: *mut c_void,
}

/// A client of a server for many clients.
pub struct MultiClientHandle(MultiClient, Arc<Callbacks<shm_multi_client_callbacks_t>>);

background_handle!(MultiClientHandle, 0.auto.core);
impl OneConnectionHandle for MultiClientHandle {}

impl MultiClientHandler for Callbacks<shm_multi_client_callbacks_t> {
    fn on_connect(&self, slot_id: u32) {
        call_c!(self.on_connect(slot_id));
    }

    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        record_reason(reason);
        call_c!(self.on_disconnect());
    }

    fn on_message(&self, data: &[u8]) {
        call_c!(self.on_message(data.as_ptr().cast(), data.len() as u32));
    }

    fn on_error(&self, error: ShmError) {
        let code = record(error.into());
        call_c!(self.on_error(code));
    }
}

/// Returns the default options. Any thread.
#[no_mangle]
pub extern "C" fn shm_multi_client_options_default() -> shm_multi_client_options_t {
    let options = MultiClientOptions::default();
    shm_multi_client_options_t {
        lobby_timeout_ms: options.lobby_timeout.as_millis() as u32,
        slot_timeout_ms: options.slot_timeout.as_millis() as u32,
        poll_timeout_ms: options.poll_timeout.as_millis() as u32,
        recv_batch: options.recv_batch as u32,
    }
}

/// Returns a structure without callbacks: all are NULL. Any thread.
#[no_mangle]
pub extern "C" fn shm_multi_client_callbacks_default() -> shm_multi_client_callbacks_t {
    shm_multi_client_callbacks_t {
        on_connect: None,
        on_disconnect: None,
        on_message: None,
        on_error: None,
        user_data: ptr::null_mut(),
    }
}

/// Connects to a server for many clients, and returns when the server has given the client a slot. From then on the client
/// works on its own thread. It doesn't reconnect automatically. `callbacks` and `options` may be NULL.
///
/// Returns NULL on failure; shm_last_error reports the reason: SHM_ERROR_TIMEOUT, _NO_SLOT, _ALREADY_CONNECTED, _REFUSED,
/// _INCOMPATIBLE, _INVALID_NAME, _INVALID_PARAM, _MEMORY, _SYSTEM. The caller owns the handle, and frees it with
/// shm_multi_client_disconnect. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_connect(
    name: *const c_char, callbacks: *const shm_multi_client_callbacks_t,
    options: *const shm_multi_client_options_t,
) -> *mut MultiClientHandle {
    // SAFETY: by the caller.
    unsafe {
        let config = shm_endpoint_config_t { name, buffer_bytes: 0 };
        shm_multi_client_connect_with_options(&config, callbacks, options, ptr::null())
    }
}

/// Does the same as shm_multi_client_connect, with a required size of the rings, and with options of the channel, which may
/// be NULL.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_connect_with_options(
    config: *const shm_endpoint_config_t, callbacks: *const shm_multi_client_callbacks_t,
    options: *const shm_multi_client_options_t, channel_options: *const shm_options_t,
) -> *mut MultiClientHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let (name, ring_size) = options::config(config)?;
        let callbacks = Arc::new(Callbacks::read(callbacks));
        let mut chosen = MultiClientOptions::default();
        if let Some(options) = options.as_ref() {
            chosen.lobby_timeout = duration(options.lobby_timeout_ms);
            chosen.slot_timeout = duration(options.slot_timeout_ms);
            chosen.poll_timeout = wait_limit(options.poll_timeout_ms);
            chosen.recv_batch = options.recv_batch as usize;
        }
        let channel = client_options(ring_size, channel_options)?;
        Ok(MultiClientHandle(channel.connect_multi(name, callbacks.clone(), chosen)?, callbacks))
    })
}

/// Sends a message. Never waits: a full queue evicts its oldest messages. SHM_ERROR_NOT_CONNECTED, _MESSAGE_TOO_SMALL,
/// _MESSAGE_TOO_LARGE, _FULL if the server's options reject. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_send(
    handle: *mut MultiClientHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::send(handle, data, size) }
}

/// Does the same as shm_multi_client_send if there is room; evicts nothing. SHM_ERROR_FULL: there is no room, and the queue
/// is unchanged.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_try_send(
    handle: *mut MultiClientHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::try_send(handle, data, size) }
}

/// Does the same as shm_multi_client_try_send, but waits for room: at most `timeout_ms` milliseconds, or for ever with
/// SHM_FOREVER. SHM_ERROR_TIMEOUT. It also waits inside a callback of this handle. The server must then make the room
/// without an answer from this client meanwhile.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_send_timeout(
    handle: *mut MultiClientHandle, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::send_timeout(handle, data, size, timeout_ms) }
}

/// Returns the client's slot at the server, or SHM_NO_CLIENT for NULL. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_slot_id(handle: *const MultiClientHandle) -> u32 {
    // SAFETY: by the caller.
    returning(SHM_NO_CLIENT, || unsafe { Ok(enter(handle)?.0.slot_id()) })
}

/// Returns whether the client is still connected. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_is_connected(handle: *const MultiClientHandle) -> bool {
    // SAFETY: by the caller.
    returning(false, || unsafe { Ok(enter(handle)?.0.is_connected()) })
}

/// Does the same as shm_multi_server_stop, for a client: leaves the server.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_disconnect(handle: *mut MultiClientHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}

/// Does the same as shm_multi_server_request_stop, for a client. The caller frees the handle with
/// shm_multi_client_disconnect.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_request_disconnect(handle: *mut MultiClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::request_stop(handle) }
}

/// Does the same as shm_multi_server_stop_timeout, for a client.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_disconnect_timeout(
    handle: *mut MultiClientHandle, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::stop_timeout(handle, timeout_ms) }
}
