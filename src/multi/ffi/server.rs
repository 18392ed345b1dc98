//! The C interface of a server for many clients.

use super::*;
use crate::multi::{ClientId, MultiHandler, MultiOptions, MultiServer};

/// How a server for many clients behaves. Get a structure from shm_multi_options_default, and change it.
#[repr(C)]
pub struct shm_multi_options_t {
    /// The number of slots. The default is 20.
    pub max_clients: u32,
    /// The longest duration of one kernel wait. It limits the delay if a native peer forgets to signal. 0: no limit.
    pub poll_timeout_ms: u32,
    /// The number of messages of one client that its worker delivers before it checks the next client. The default is 64. 0
    /// counts as 1.
    pub recv_batch: u32,
}

/// The callbacks of a server for many clients. Any of them may be NULL. The callbacks for one client run on one worker
/// thread, one at a time, except on_client_connect, which runs on the thread that accepts. The callbacks for clients of
/// other workers may run at the same time. A callback may call any function of this library, and may stop the server.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shm_multi_callbacks_t {
    /// A client has got a slot. This callback runs before the client's first message. The client waits in its call to
    /// connect until this callback returns.
    pub on_client_connect: Option<unsafe extern "C" fn(client_id: u32, user_data: *mut c_void)>,
    /// The client is gone; shm_last_error reports how its connection ended. This callback runs after the client's last
    /// message.
    pub on_client_disconnect: Option<unsafe extern "C" fn(client_id: u32, user_data: *mut c_void)>,
    /// A message arrived; `data` is valid until the callback returns.
    pub on_message:
        Option<unsafe extern "C" fn(client_id: u32, data: *const c_void, size: u32, user_data: *mut c_void)>,
    /// An operation failed; shm_last_error_message describes the failure. SHM_NO_CLIENT: the failure concerns no client.
    pub on_error: Option<unsafe extern "C" fn(client_id: u32, error: shm_error_t, user_data: *mut c_void)>,
    /// Passed to each callback. It must be usable on the threads that the callbacks run on.
    pub user_data: *mut c_void,
}

/// A server for many clients.
pub struct MultiServerHandle(MultiServer, Arc<Callbacks<shm_multi_callbacks_t>>);

background_handle!(MultiServerHandle, 0.core);

impl MultiHandler for Callbacks<shm_multi_callbacks_t> {
    fn on_client_connect(&self, client_id: u32) {
        call_c!(self.on_client_connect(client_id));
    }

    fn on_client_disconnect_because(&self, client_id: u32, reason: &DisconnectReason) {
        record_reason(reason);
        call_c!(self.on_client_disconnect(client_id));
    }

    fn on_message(&self, client_id: u32, data: &[u8]) {
        call_c!(self.on_message(client_id, data.as_ptr().cast(), data.len() as u32));
    }

    fn on_error(&self, client_id: Option<u32>, error: ShmError) {
        let code = record(error.into());
        let client_id = client_id.unwrap_or(SHM_NO_CLIENT);
        call_c!(self.on_error(client_id, code));
    }
}

/// Runs a call for the client of a slot, and distinguishes a slot without a client from a client that is gone.
///
/// # Safety
/// As [`enter`].
unsafe fn for_slot<T>(
    handle: *const MultiServerHandle, slot: u32, call: impl FnOnce(&MultiServer) -> Outcome<T>,
) -> shm_error_t {
    returning_code(|| {
        // SAFETY: by the caller.
        let inside = unsafe { enter(handle) }?;
        match call(&inside.0) {
            Err(Failure::Library(ShmError::NotConnected)) if !inside.0.is_client_connected(slot) => {
                Err(Failure::NoClient)
            }
            result => result,
        }
    })
}

/// Runs a call for the client of a session.
///
/// # Safety
/// As [`enter`].
unsafe fn for_session<T>(
    handle: *const MultiServerHandle, session: u64, call: impl FnOnce(&MultiServer, ClientId) -> Outcome<T>,
) -> shm_error_t {
    returning_code(|| {
        // SAFETY: by the caller.
        let inside = unsafe { enter(handle) }?;
        // The number 0 stands for no session.
        call(&inside.0, ClientId::from_bits(session).ok_or(ShmError::NotConnected)?)
    })
}

/// Returns the default options. Any thread.
#[no_mangle]
pub extern "C" fn shm_multi_options_default() -> shm_multi_options_t {
    let options = MultiOptions::default();
    shm_multi_options_t {
        max_clients: options.max_clients,
        poll_timeout_ms: options.poll_timeout.as_millis() as u32,
        recv_batch: options.recv_batch as u32,
    }
}

/// Returns a structure without callbacks: all are NULL. Any thread.
#[no_mangle]
pub extern "C" fn shm_multi_callbacks_default() -> shm_multi_callbacks_t {
    shm_multi_callbacks_t {
        on_client_connect: None,
        on_client_disconnect: None,
        on_message: None,
        on_error: None,
        user_data: ptr::null_mut(),
    }
}

/// Starts a server for many clients under a name. It works on its own threads. `callbacks` and `options` may be NULL.
///
/// Returns NULL on failure; shm_last_error reports the reason, as after shm_server_start. The caller owns the handle, and
/// frees it with shm_multi_server_stop. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_start(
    name: *const c_char, callbacks: *const shm_multi_callbacks_t, options: *const shm_multi_options_t,
) -> *mut MultiServerHandle {
    // SAFETY: by the caller.
    unsafe {
        let config = shm_endpoint_config_t { name, buffer_bytes: 0 };
        shm_multi_server_start_with_options(&config, callbacks, options, ptr::null())
    }
}

/// Does the same as shm_multi_server_start, with the size of each client's rings, and with options of each client's channel,
/// which may be NULL.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_start_with_options(
    config: *const shm_endpoint_config_t, callbacks: *const shm_multi_callbacks_t,
    options: *const shm_multi_options_t, channel_options: *const shm_options_t,
) -> *mut MultiServerHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let (name, ring_size) = options::config(config)?;
        let callbacks = Arc::new(Callbacks::read(callbacks));
        let mut chosen = MultiOptions::default();
        if let Some(options) = options.as_ref() {
            chosen.max_clients = options.max_clients;
            chosen.poll_timeout = wait_limit(options.poll_timeout_ms);
            chosen.recv_batch = options.recv_batch as usize;
        }
        let clients = shm_options_t::read(channel_options)?.map_or(0, |options| options.clients_per_worker);
        if clients != 0 {
            chosen.clients_per_worker = clients;
        }
        let channel = server_options(ring_size, channel_options)?;
        Ok(MultiServerHandle(channel.start_multi(name, callbacks.clone(), chosen)?, callbacks))
    })
}

/// Sends a message to a client. Never waits: a full queue evicts its oldest messages.
///
/// SHM_ERROR_NOT_FOUND: the slot has no client. _NOT_CONNECTED, _PEER_DIED, _MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE,
/// _PROTOCOL, _FULL if the options reject. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_send_to(
    handle: *mut MultiServerHandle, client_id: u32, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { for_slot(handle, client_id, |server| Ok(server.send_to(client_id, bytes(data, size)?)?)) }
}

/// Does the same as shm_multi_server_send_to if there is room; evicts nothing. SHM_ERROR_FULL: there is no room, and the
/// queue is unchanged.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_try_send_to(
    handle: *mut MultiServerHandle, client_id: u32, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { for_slot(handle, client_id, |server| Ok(server.try_send_to(client_id, bytes(data, size)?)?)) }
}

/// Sends a message to every client, and stores the number of clients that got it in `*sent`, which may be NULL. A failure
/// for one client does not affect the others. SHM_ERROR_MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_broadcast(
    handle: *mut MultiServerHandle, data: *const c_void, size: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(sent);
        let count = enter(handle)?.0.broadcast(bytes(data, size)?)?;
        if !sent.is_null() {
            sent.write(count);
        }
        Ok(())
    })
}

/// Returns the session number of the client that has a slot; it stands for that client and for no later client. Returns 0 if
/// the slot has no client, or for NULL. Inside a callback for a slot, including on_client_disconnect, it is that client's
/// session. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_session(handle: *const MultiServerHandle, client_id: u32) -> u64 {
    // SAFETY: by the caller.
    returning(0, || unsafe { Ok(enter(handle)?.0.client(client_id).map_or(0, ClientId::to_bits)) })
}

/// Does the same as shm_multi_server_send_to, but sends only to the client of that session. Use it for an answer that takes
/// longer than a callback, so that the answer reaches no other client. SHM_ERROR_NOT_CONNECTED: the session is over.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_send_to_session(
    handle: *mut MultiServerHandle, session: u64, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { for_session(handle, session, |server, id| Ok(server.send_to(id, bytes(data, size)?)?)) }
}

/// Does the same as shm_multi_server_send_to_session if there is room; evicts nothing. SHM_ERROR_FULL: there is no room, and
/// the queue is unchanged.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_try_send_to_session(
    handle: *mut MultiServerHandle, session: u64, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { for_session(handle, session, |server, id| Ok(server.try_send_to(id, bytes(data, size)?)?)) }
}

/// Does the same as shm_multi_server_disconnect_client, but only for that session. SHM_ERROR_NOT_CONNECTED: the session is
/// over.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_disconnect_session(
    handle: *mut MultiServerHandle, session: u64,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { for_session(handle, session, |server, id| Ok(server.disconnect_client(id)?)) }
}

/// Ends a client's session. The client first receives the messages sent to it, and on_message receives the messages that the
/// client has sent. SHM_ERROR_NOT_FOUND: the slot has no client. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_disconnect_client(
    handle: *mut MultiServerHandle, client_id: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { for_slot(handle, client_id, |server| Ok(server.disconnect_client(client_id)?)) }
}

/// Returns the number of clients. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_client_count(handle: *const MultiServerHandle) -> u32 {
    // SAFETY: by the caller.
    returning(0, || unsafe { Ok(enter(handle)?.0.client_count()) })
}

/// Returns whether a slot has a client. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_is_client_connected(
    handle: *const MultiServerHandle, client_id: u32,
) -> bool {
    // SAFETY: by the caller.
    returning(false, || unsafe { Ok(enter(handle)?.0.is_client_connected(client_id)) })
}

/// Stores the slots that have a client in `ids`, in order, at most `max` of them. Stores their total number in `*actual`,
/// which may be greater than `max`. `ids` may be NULL if `max` is 0; `actual` may always be NULL.
/// SHM_ERROR_BUFFER_TOO_SMALL: there are more than `max` slots with a client, and the first `max` were stored. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_get_clients(
    handle: *const MultiServerHandle, ids: *mut u32, max: u32, actual: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(actual);
        let clients = enter(handle)?.0.connected_clients();
        if ids.is_null() && max != 0 {
            return Err(Failure::Argument("the list of slots"));
        }
        for (at, client) in clients.iter().take(max as usize).enumerate() {
            ids.add(at).write(*client);
        }
        if !actual.is_null() {
            actual.write(clients.len() as u32);
        }
        if clients.len() > max as usize {
            return Err(ShmError::BufferTooSmall { needed: clients.len() }.into());
        }
        Ok(())
    })
}

/// Copies a name of a slot's channel for use in a log. Copies at most `size` bytes into `buffer`, including the NUL. Returns
/// the length of the whole text without the NUL, or 0 if there is no such slot. `buffer` may be NULL. Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_channel_name(
    handle: *const MultiServerHandle, slot: u32, buffer: *mut c_char, size: u32,
) -> u32 {
    // SAFETY: by the caller.
    returning(0, || unsafe {
        copy_text("", buffer, size);
        let name = enter(handle)?.0.channel_name(slot).ok_or(Failure::NoClient)?;
        Ok(copy_text(&name, buffer, size))
    })
}

/// Stops the server and frees the handle, which must not be used afterwards. It delivers the messages that have arrived,
/// ends all sessions, and waits for the server's threads. NULL does nothing.
///
/// No callback begins after this function has returned: the program may then free what user_data points to. From inside a
/// callback of this handle it waits only for the callbacks that other threads of the server are in. That callback is the last;
/// the threads end after it, and the handle is then freed. From a callback of another handle it also waits, with one exception:
/// if a callback of this handle waits for the end of that other handle, this function returns while the callback of this handle
/// still runs.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_stop(handle: *mut MultiServerHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}

/// Begins to stop, and returns without waiting. The caller still owns the handle, and frees it with shm_multi_server_stop.
/// The endpoint delivers the messages that have arrived, and on_client_disconnect runs last. Any thread, also inside a
/// callback: a callback can stop its own handle, and another thread can then free it. In a fork of the process it does
/// nothing and returns SHM_ERROR_FORKED.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_request_stop(handle: *mut MultiServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::request_stop(handle) }
}

/// Does the same as shm_multi_server_stop, but waits at most `timeout_ms` milliseconds. SHM_SUCCESS: the endpoint has ended,
/// and the handle is freed. After any other code the caller still owns the handle. SHM_ERROR_TIMEOUT: the endpoint has not
/// ended yet, and will end later. SHM_ERROR_NOT_READY: the calling callback cannot wait for the end; see
/// shm_multi_server_stop.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_stop_timeout(
    handle: *mut MultiServerHandle, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::stop_timeout(handle, timeout_ms) }
}
