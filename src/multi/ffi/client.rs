//! The C interface of a client of a server for many clients.

use super::*;
use crate::auto::ffi::shm_auto_stats_t;
use crate::background::retry::RetryOptions;
use crate::background::sending::ONLY;
use crate::multi::{MultiClient, MultiClientOptions};
use std::sync::atomic::{AtomicU32, Ordering};

/// How a client of a server for many clients behaves. Get a structure from shm_multi_client_options_default, and change it.
///
/// \ingroup multi_client
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shm_multi_client_options_t {
    /// sizeof (shm_multi_client_options_t). A newer library determines from it which fields exist. 0 stands for the size in version
    /// 0.3.
    pub struct_size: u32,
    /// How long the call to connect waits for the server and for the server to accept, in milliseconds. The default is 5000.
    pub lobby_timeout_ms: u32,
    /// How long the call then waits until the server has called on_client_connect, in milliseconds. The default is 5000.
    pub slot_timeout_ms: u32,
    /// The longest duration of one kernel wait. 0: no limit.
    pub poll_timeout_ms: u32,
    /// The number of messages that the worker delivers before it does other work. The default is 64. 0 counts as 1.
    pub recv_batch: u32,
    /// If not 0, the client connects again when a session is over. on_connect and on_disconnect run each time. Between two sessions
    /// sending fails with SHM_ERROR_NOT_CONNECTED. The default is 0.
    pub reconnect: u32,
    /// The pause before the next attempt to connect, in milliseconds. The default is 100. Each further attempt that fails doubles
    /// it, up to longest_reconnect_delay_ms, whose default is 2000.
    pub reconnect_delay_ms: u32,
    /// The longest pause, in milliseconds.
    pub longest_reconnect_delay_ms: u32,
    /// By how much a pause is shortened at random, at most, in percent. The default is 20.
    pub reconnect_jitter_percent: u32,
}

/// The callbacks of a client of a server for many clients. They run on the client's worker thread, one at a time. Any of
/// them may be NULL. A callback may call any function of this library, and may end the client.
///
/// \ingroup multi_client
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shm_multi_client_callbacks_t {
    /// sizeof (shm_multi_client_callbacks_t). A newer library determines from it which fields exist. 0 stands for the size in version
    /// 0.3.
    pub struct_size: u32,
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
    /// `count` messages of that direction were lost: newer messages evicted them, or they were left when the session ended.
    pub on_overflow:
        Option<unsafe extern "C" fn(direction: shm_direction_t, count: u32, user_data: *mut c_void)>,
    /// There is room again for a message for which shm_multi_client_try_send had found none.
    pub on_space_available: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// The client is about to start. This callback runs first of all, once, in the function that connects, before that function
    /// returns. `handle` is what the function is going to return: keep it where the other callbacks find it. If the function returns
    /// NULL after all, the handle is gone.
    pub on_start: Option<unsafe extern "C" fn(handle: *mut MultiClientHandle, user_data: *mut c_void)>,
}

/// A client of a server for many clients.
///
/// \ingroup multi_client
pub struct MultiClientHandle(background::Background<MultiClient, shm_multi_client_callbacks_t>);

background_handle!(MultiClientHandle, MultiClient, shm_multi_client_callbacks_t);
impl OneConnectionHandle for MultiClientHandle {}

// SAFETY: it begins with `struct_size`; zeros are 0, NULL and no callbacks.
unsafe impl Table for shm_multi_client_callbacks_t {
    const NAME: &'static str =
        "it is the size of shm_multi_client_callbacks_t; begin with shm_multi_client_callbacks_default()";

    fn start(callbacks: &Callbacks<Self>, handle: *mut c_void) {
        call_c!(callbacks.on_start(handle.cast()));
    }
}

/// The callbacks of a client, and its slot.
struct Client {
    callbacks: Arc<Callbacks<shm_multi_client_callbacks_t>>,
    slot: Arc<AtomicU32>,
}

impl EndpointCallbacks for Client {
    fn starting(&self, core: &Arc<Core>) {
        self.callbacks.start(core);
    }

    fn connected(&self, _: u32) {
        let (callbacks, slot) = (&self.callbacks, self.slot.load(Ordering::Acquire));
        call_c!(callbacks.on_connect(slot));
    }

    fn disconnected(&self, _: u32, reason: &DisconnectReason) {
        record_reason(reason);
        let callbacks = &self.callbacks;
        call_c!(callbacks.on_disconnect());
    }

    fn message(&self, _: u32, _: ChannelKind, payload: &[u8]) {
        let callbacks = &self.callbacks;
        call_c!(callbacks.on_message(payload.as_ptr().cast(), payload.len() as u32));
    }

    fn overflow(&self, _: u32, direction: ChannelKind, count: u32) {
        let callbacks = &self.callbacks;
        call_c!(callbacks.on_overflow(direction.into(), count));
    }

    fn space_available(&self, _: u32, _: ChannelKind) {
        let callbacks = &self.callbacks;
        call_c!(callbacks.on_space_available());
    }

    fn error(&self, _: Option<u32>, error: ShmError) {
        let (callbacks, code) = (&self.callbacks, record(error.into()));
        call_c!(callbacks.on_error(code));
    }
}

/// Returns the default options of a client of a server for many clients.
///
/// \ingroup multi_client
/// \return The options, with `struct_size` set.
/// \par Threads
/// Any thread.
#[no_mangle]
pub extern "C" fn shm_multi_client_options_default() -> shm_multi_client_options_t {
    let options = MultiClientOptions::default();
    let retry = RetryOptions::default();
    shm_multi_client_options_t {
        struct_size: size_of::<shm_multi_client_options_t>() as u32,
        reconnect: 0,
        reconnect_delay_ms: retry.initial_delay.as_millis() as u32,
        longest_reconnect_delay_ms: retry.longest_delay.as_millis() as u32,
        reconnect_jitter_percent: retry.jitter_percent,
        lobby_timeout_ms: options.lobby_timeout.as_millis() as u32,
        slot_timeout_ms: options.slot_timeout.as_millis() as u32,
        poll_timeout_ms: options.poll_timeout.as_millis() as u32,
        recv_batch: options.recv_batch as u32,
    }
}

/// Returns a structure without callbacks, for a client of a server for many clients.
///
/// \ingroup multi_client
/// \return The structure, with `struct_size` set. All callbacks are NULL.
/// \par Threads
/// Any thread.
#[no_mangle]
pub extern "C" fn shm_multi_client_callbacks_default() -> shm_multi_client_callbacks_t {
    shm_multi_client_callbacks_t {
        struct_size: size_of::<shm_multi_client_callbacks_t>() as u32,
        on_overflow: None,
        on_space_available: None,
        on_start: None,
        on_connect: None,
        on_disconnect: None,
        on_message: None,
        on_error: None,
        user_data: ptr::null_mut(),
    }
}

/// Connects to a server for many clients, and returns when the server has given the client a slot. From then on the
/// client works on its own thread. It connects again if its options say so.
///
/// \ingroup multi_client
/// \param name The name, as in shm_endpoint_config_t.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param options How the client behaves. NULL: the defaults.
/// \return The handle, which the caller owns and frees by shm_multi_client_disconnect. NULL: the call failed;
///   shm_last_error returns one of the following codes.
/// \retval SHM_ERROR_TIMEOUT No server has the name, or the server did not accept in time. shm_last_error_message
///   says which.
/// \retval SHM_ERROR_NO_SLOT Each slot has a client.
/// \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
/// \retval SHM_ERROR_REFUSED One side refuses to connect to the other. shm_last_error_message says why.
/// \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
/// \retval SHM_ERROR_INTERRUPTED The client was stopped in on_start.
/// \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
/// \retval SHM_ERROR_INVALID_NAME The name is invalid.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread.
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

/// Connects to a server for many clients, with a required size of the rings and options of the channel. In all else
/// it is the same as shm_multi_client_connect.
///
/// \ingroup multi_client
/// \param config The name and the size of the rings.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param options How the client behaves. NULL: the defaults.
/// \param channel_options The options of the channel. NULL: the defaults.
/// \return The handle, which the caller owns and frees by shm_multi_client_disconnect. NULL: the call failed;
///   shm_last_error returns one of the following codes.
/// \retval SHM_ERROR_TIMEOUT No server has the name, or the server did not accept in time. shm_last_error_message
///   says which.
/// \retval SHM_ERROR_NO_SLOT Each slot has a client.
/// \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
/// \retval SHM_ERROR_REFUSED One side refuses to connect to the other. shm_last_error_message says why.
/// \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
/// \retval SHM_ERROR_INTERRUPTED The interrupter of the channel options ended the call, or the client was stopped in
///   on_start.
/// \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
/// \retval SHM_ERROR_INVALID_NAME The name is invalid.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_connect_with_options(
    config: *const shm_endpoint_config_t, callbacks: *const shm_multi_client_callbacks_t,
    options: *const shm_multi_client_options_t, channel_options: *const shm_options_t,
) -> *mut MultiClientHandle {
    // SAFETY: by the caller.
    unsafe {
        background::create(callbacks, |callbacks| {
            let (name, ring_size) = options::config(config)?;
            let mut chosen = MultiClientOptions::default();
            let reason =
                "it is the size of shm_multi_client_options_t; begin with shm_multi_client_options_default()";
            if let Some(options) = read_sized(options, reason)? {
                chosen.lobby_timeout = duration(options.lobby_timeout_ms);
                chosen.slot_timeout = duration(options.slot_timeout_ms);
                chosen.poll_timeout = wait_limit(options.poll_timeout_ms);
                chosen.recv_batch = options.recv_batch as usize;
                chosen.reconnect = (options.reconnect != 0).then(|| RetryOptions {
                    initial_delay: duration(options.reconnect_delay_ms),
                    longest_delay: duration(options.longest_reconnect_delay_ms),
                    jitter_percent: options.reconnect_jitter_percent,
                });
            }
            let channel = client_options(ring_size, channel_options)?;
            let slot = Arc::new(AtomicU32::new(0));
            let client = Client { callbacks, slot: slot.clone() };
            Ok(channel.connect_multi_with(name, client, slot, &chosen)?)
        })
    }
}

/// Sends a message to the server. Never waits: a full queue evicts its oldest messages, and on_overflow is called
/// with their number.
///
/// \ingroup multi_client
/// \param handle The client.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_NOT_CONNECTED The session is over, or the client was stopped.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_send(
    handle: *mut MultiClientHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::send(handle, data, size) }
}

/// Sends a message to the server if there is room. Evicts nothing.
///
/// \ingroup multi_client
/// \param handle The client.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_FULL There is no room. The queue is unchanged, and on_space_available is called when there is
///   room again.
/// \retval SHM_ERROR_NOT_CONNECTED The session is over, or the client was stopped.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_try_send(
    handle: *mut MultiClientHandle, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::try_send(handle, data, size) }
}

/// Sends a message to the server, and waits for room if there is none. Evicts nothing. It also waits inside a
/// callback of this handle: the server must then make the room without an answer from this client meanwhile.
///
/// \ingroup multi_client
/// \param handle The client.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
///   once.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_TIMEOUT There was no room in time.
/// \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
/// \retval SHM_ERROR_NOT_CONNECTED The session is over, or the client was stopped.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_send_timeout(
    handle: *mut MultiClientHandle, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::send_timeout(handle, data, size, timeout_ms) }
}

/// Returns the client's slot at the server. Before the function that connects has returned, on_connect gets the slot.
///
/// \ingroup multi_client
/// \param handle The client.
/// \return The slot. SHM_NO_CLIENT: the call failed, with SHM_ERROR_NOT_READY before the function that connects has
///   returned.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_slot_id(handle: *const MultiClientHandle) -> u32 {
    // SAFETY: by the caller.
    returning(SHM_NO_CLIENT, || unsafe { Ok(enter(handle)?.parts().endpoint()?.slot_id()) })
}

/// Returns whether the server is connected, as far as the worker knows.
///
/// \ingroup multi_client
/// \param handle The client.
/// \return true: the server is connected. false: it is not, or the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_is_connected(handle: *const MultiClientHandle) -> bool {
    // SAFETY: by the caller.
    unsafe { background::is_connected(handle) }
}

/// Stores the process id and the user of the server of the present session, as shm_client_peer does.
///
/// \ingroup multi_client
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
pub unsafe extern "C" fn shm_multi_client_peer(
    handle: *const MultiClientHandle, process_id: *mut u32, user: *mut c_char, user_size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::peer(handle, || Ok(ONLY), process_id, user, user_size) }
}

/// Stores the client's statistics.
///
/// \ingroup multi_client
/// \param handle The client.
/// \param[out] out Gets the statistics. Zeros after a failure.
/// \return true: the statistics were stored. false: the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_stats(
    handle: *const MultiClientHandle, out: *mut shm_auto_stats_t,
) -> bool {
    // SAFETY: by the caller.
    unsafe { crate::auto::ffi::stats(handle, out) }
}

/// Leaves the server and frees the handle. It delivers the messages that have arrived, ends the session, and waits
/// for the client's worker.
///
/// No callback begins after this function has returned: the program may then free what user_data points to. From
/// inside a callback of this handle it returns at once, and that callback is the last. The worker ends after that
/// callback, and the handle is then freed. From a callback of another handle it also waits, with one exception: if a
/// callback of this handle waits for the end of that other handle, this function returns while the callback of this
/// handle still runs.
///
/// \ingroup multi_client
/// \param handle The client, which must not be used afterwards. NULL does nothing.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_disconnect(handle: *mut MultiClientHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}

/// Begins to leave the server, and returns without waiting. The client delivers the messages that have arrived, and
/// on_disconnect runs last, if there is a connection. A callback can stop its own handle in this way, and another
/// thread can then free it by shm_multi_client_disconnect.
///
/// \ingroup multi_client
/// \param handle The client.
/// \return SHM_SUCCESS, or a code that each function can return.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_request_disconnect(handle: *mut MultiClientHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::request_stop(handle) }
}

/// Leaves the server and frees the handle, as shm_multi_client_disconnect does, but limits the wait.
///
/// \ingroup multi_client
/// \param handle The client.
/// \param timeout_ms How long to wait for the end, in milliseconds. SHM_FOREVER: without a limit.
/// \retval SHM_SUCCESS The endpoint has ended, and the handle is freed. After any other code the caller still owns
///   the handle.
/// \retval SHM_ERROR_TIMEOUT The endpoint has not ended yet, and will end later.
/// \retval SHM_ERROR_NOT_READY The calling callback cannot wait for the end; see shm_multi_client_disconnect.
/// \retval SHM_ERROR_FORKED This process is a fork. The function does nothing there.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_client_disconnect_timeout(
    handle: *mut MultiClientHandle, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::stop_timeout(handle, timeout_ms) }
}
