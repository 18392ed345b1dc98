//! The C interface of a server for many clients.

use super::*;
use crate::calls::Part;
use crate::ffi::background::to_session;
use crate::halves::WriteOutcome;
use crate::multi::clients::MultiHandle;
use crate::multi::{ClientId, MultiOptions, MultiServer};

/// How a server for many clients behaves. Get a structure from shm_multi_options_default, and change it.
///
/// \ingroup multi_server
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shm_multi_options_t {
    /// sizeof (shm_multi_options_t). A newer library determines from it which fields exist. 0 stands for the size in version 0.3.
    pub struct_size: u32,
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
///
/// \ingroup multi_server
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shm_multi_callbacks_t {
    /// sizeof (shm_multi_callbacks_t). A newer library determines from it which fields exist. 0 stands for the size in version 0.3.
    pub struct_size: u32,
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
    /// `count` messages of that direction, between the server and this client, were lost: newer messages evicted them, or they
    /// were left when the session ended.
    pub on_overflow: Option<
        unsafe extern "C" fn(client_id: u32, direction: shm_direction_t, count: u32, user_data: *mut c_void),
    >,
    /// There is room again for a message to this client, for which shm_multi_server_try_send_to had found none.
    pub on_space_available: Option<unsafe extern "C" fn(client_id: u32, user_data: *mut c_void)>,
    /// The server is about to start. This callback runs first of all, once, in the function that starts the server, before that
    /// function returns. `handle` is what the function is going to return: keep it where the other callbacks find it. If the
    /// function returns NULL after all, the handle is gone.
    pub on_start: Option<unsafe extern "C" fn(handle: *mut MultiServerHandle, user_data: *mut c_void)>,
    /// A client called (shm_caller_call), and waits for the answer. `data` is valid until the callback returns. The call may be
    /// answered later, on any thread, by shm_multi_server_answer, or ended by shm_multi_server_refuse. NULL: calls are messages
    /// like any other.
    pub on_call: Option<
        unsafe extern "C" fn(
            client_id: u32,
            call: shm_call_t,
            data: *const c_void,
            size: u32,
            user_data: *mut c_void,
        ),
    >,
}

/// A server for many clients.
///
/// \ingroup multi_server
pub struct MultiServerHandle(background::Background<MultiServer, shm_multi_callbacks_t>);

background_handle!(MultiServerHandle, MultiServer, shm_multi_callbacks_t);

impl MultiServerHandle {
    fn server(&self) -> MultiHandle {
        MultiHandle::new(self.core())
    }
}

// SAFETY: it begins with `struct_size`; zeros are 0, NULL and no callbacks.
unsafe impl Table for shm_multi_callbacks_t {
    const NAME: &'static str =
        "it is the size of shm_multi_callbacks_t; begin with shm_multi_callbacks_default()";

    fn start(callbacks: &Callbacks<Self>, handle: *mut c_void) {
        call_c!(callbacks.on_start(handle.cast()));
    }
}

impl EndpointCallbacks for Arc<Callbacks<shm_multi_callbacks_t>> {
    fn starting(&self, core: &Arc<Core>) {
        self.start(core);
    }

    fn connected(&self, slot: u32) {
        call_c!(self.on_client_connect(slot));
    }

    fn disconnected(&self, slot: u32, reason: &DisconnectReason) {
        record_reason(reason);
        call_c!(self.on_client_disconnect(slot));
    }

    fn message(&self, slot: u32, _: ChannelKind, payload: &[u8]) {
        if self.table.is_some_and(|table| table.on_call.is_some()) {
            if let Some((call, bytes)) = self.call_in(slot, payload) {
                call_c!(self.on_call(slot, call, bytes.as_ptr().cast(), bytes.len() as u32));
                return;
            }
        }
        call_c!(self.on_message(slot, payload.as_ptr().cast(), payload.len() as u32));
    }

    fn overflow(&self, slot: u32, direction: ChannelKind, count: u32) {
        call_c!(self.on_overflow(slot, direction.into(), count));
    }

    fn space_available(&self, slot: u32, _: ChannelKind) {
        call_c!(self.on_space_available(slot));
    }

    fn error(&self, slot: Option<u32>, error: ShmError) {
        let code = record(error.into());
        let client_id = slot.unwrap_or(SHM_NO_CLIENT);
        call_c!(self.on_error(client_id, code));
    }
}

/// The counts of a client's session.
///
/// \ingroup multi_server
#[repr(C)]
pub struct shm_client_stats_t {
    /// The bytes of this structure that the library has filled. It grows into `reserved`.
    pub struct_size: u32,
    /// Messages in the ring that the client has not taken yet.
    pub send_depth: u32,
    /// Messages that were put into the ring.
    pub sent: u64,
    /// Of these, messages that were evicted before the client took them.
    pub send_dropped: u64,
    /// Messages that were received.
    pub received: u64,
    /// Messages that the client evicted before they could be received.
    pub receive_dropped: u64,
    /// Always 0. For counts of newer versions.
    pub reserved: [u64; 4],
}

/// The outcome of a broadcast for one client.
///
/// \ingroup multi_server
#[repr(C)]
pub struct shm_broadcast_result_t {
    /// The client's session, as shm_multi_server_session returns it.
    pub session: u64,
    /// The client's slot.
    pub client_id: u32,
    /// SHM_SUCCESS: the client got the message. Otherwise the reason, as from shm_multi_server_send_to.
    pub result: shm_error_t,
    /// The number of older messages that were evicted for this one.
    pub evicted: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Stores at most `max` elements of a list, and the number of all of them.
///
/// # Errors
/// [`ShmError::BufferTooSmall`]: there are more than `max`.
///
/// # Safety
/// `to` has room for `max` elements; `actual` is NULL, or memory for a number.
unsafe fn store_list<T>(
    list: impl ExactSizeIterator<Item = T>, to: *mut T, max: u32, actual: *mut u32,
) -> Outcome {
    let len = list.len();
    for (at, element) in list.take(max as usize).enumerate() {
        // SAFETY: by the caller.
        unsafe { to.add(at).write(element) };
    }
    // SAFETY: by the caller.
    unsafe { store(actual, len as u32) };
    if len > max as usize {
        return Err(ShmError::BufferTooSmall { needed: len }.into());
    }
    Ok(())
}

/// Runs a call for the client of a slot, and distinguishes a slot without a client from a client that is gone.
///
/// # Safety
/// As [`enter`].
unsafe fn for_slot<T>(
    handle: *const MultiServerHandle, slot: u32, call: impl FnOnce(&MultiHandle) -> Outcome<T>,
) -> shm_error_t {
    returning_code(|| {
        // SAFETY: by the caller.
        let inside = unsafe { enter(handle) }?;
        let server = inside.server();
        match call(&server) {
            Err(Failure::Library(ShmError::NotConnected)) if !server.is_client_connected(slot) => {
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
    handle: *const MultiServerHandle, session: u64, call: impl FnOnce(&MultiHandle, ClientId) -> Outcome<T>,
) -> shm_error_t {
    returning_code(|| {
        // SAFETY: by the caller.
        let inside = unsafe { enter(handle) }?;
        // The number 0 stands for no session.
        call(&inside.server(), ClientId::from_bits(session).ok_or(ShmError::NotConnected)?)
    })
}

/// Returns the default options of a server for many clients.
///
/// \ingroup multi_server
/// \return The options, with `struct_size` set.
/// \par Threads
/// Any thread.
#[no_mangle]
pub extern "C" fn shm_multi_options_default() -> shm_multi_options_t {
    let options = MultiOptions::default();
    shm_multi_options_t {
        struct_size: size_of::<shm_multi_options_t>() as u32,
        max_clients: options.max_clients,
        poll_timeout_ms: options.poll_timeout.as_millis() as u32,
        recv_batch: options.recv_batch as u32,
    }
}

/// Returns a structure without callbacks, for a server for many clients.
///
/// \ingroup multi_server
/// \return The structure, with `struct_size` set. All callbacks are NULL.
/// \par Threads
/// Any thread.
#[no_mangle]
pub extern "C" fn shm_multi_callbacks_default() -> shm_multi_callbacks_t {
    shm_multi_callbacks_t {
        struct_size: size_of::<shm_multi_callbacks_t>() as u32,
        on_overflow: None,
        on_space_available: None,
        on_start: None,
        on_call: None,
        on_client_connect: None,
        on_client_disconnect: None,
        on_message: None,
        on_error: None,
        user_data: ptr::null_mut(),
    }
}

/// Starts a server for many clients under a name. It works on its own threads.
///
/// \ingroup multi_server
/// \param name The name, as in shm_endpoint_config_t.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param options How the server behaves. NULL: the defaults.
/// \return The handle, which the caller owns and frees by shm_multi_server_stop. NULL: the call failed;
///   shm_last_error returns one of the following codes.
/// \retval SHM_ERROR_INVALID_PARAM An option has an invalid value; for instance, max_clients is 0.
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
pub unsafe extern "C" fn shm_multi_server_start(
    name: *const c_char, callbacks: *const shm_multi_callbacks_t, options: *const shm_multi_options_t,
) -> *mut MultiServerHandle {
    // SAFETY: by the caller.
    unsafe {
        let config = shm_endpoint_config_t { name, buffer_bytes: 0 };
        shm_multi_server_start_with_options(&config, callbacks, options, ptr::null())
    }
}

/// Starts a server for many clients, with the size of each client's rings and options of each client's channel. In
/// all else it is the same as shm_multi_server_start.
///
/// \ingroup multi_server
/// \param config The name, and the size of each client's rings.
/// \param callbacks The callbacks, which the library copies. NULL: none.
/// \param options How the server behaves. NULL: the defaults.
/// \param channel_options The options of each client's channel. NULL: the defaults.
/// \return The handle, which the caller owns and frees by shm_multi_server_stop. NULL: the call failed;
///   shm_last_error returns one of the following codes.
/// \retval SHM_ERROR_INVALID_PARAM An option has an invalid value; for instance, max_clients is 0.
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
pub unsafe extern "C" fn shm_multi_server_start_with_options(
    config: *const shm_endpoint_config_t, callbacks: *const shm_multi_callbacks_t,
    options: *const shm_multi_options_t, channel_options: *const shm_options_t,
) -> *mut MultiServerHandle {
    // SAFETY: by the caller.
    unsafe {
        background::create(callbacks, |callbacks| {
            let (name, ring_size) = options::config(config)?;
            let mut chosen = MultiOptions::default();
            let reason = "it is the size of shm_multi_options_t; begin with shm_multi_options_default()";
            if let Some(options) = read_sized(options, reason)? {
                chosen.max_clients = options.max_clients;
                chosen.poll_timeout = wait_limit(options.poll_timeout_ms);
                chosen.recv_batch = options.recv_batch as usize;
            }
            let clients =
                shm_options_t::read(channel_options)?.map_or(0, |options| options.clients_per_worker);
            if clients != 0 {
                chosen.clients_per_worker = clients;
            }
            let channel = server_options(ring_size, channel_options)?;
            Ok(channel.start_multi_with(name, Box::new(callbacks), &chosen)?)
        })
    }
}

/// Sends a message to the client of a slot. Never waits: a full queue evicts its oldest messages, and on_overflow is
/// called with their number.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param client_id The client's slot.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_NOT_FOUND The slot has no client.
/// \retval SHM_ERROR_NOT_CONNECTED The session is over.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_send_to(
    handle: *mut MultiServerHandle, client_id: u32, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { for_slot(handle, client_id, |server| Ok(server.send_to(client_id, bytes(data, size)?)?)) }
}

/// Sends a message to the client of a slot if there is room. Evicts nothing.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param client_id The client's slot.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_FULL There is no room. The queue is unchanged, and on_space_available is called when there is
///   room again.
/// \retval SHM_ERROR_NOT_FOUND The slot has no client.
/// \retval SHM_ERROR_NOT_CONNECTED The session is over.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_try_send_to(
    handle: *mut MultiServerHandle, client_id: u32, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { for_slot(handle, client_id, |server| Ok(server.try_send_to(client_id, bytes(data, size)?)?)) }
}

/// Sends a message to the client of a slot, and waits for room if there is none. Evicts nothing. It also waits inside
/// a callback: the worker of that callback serves no other client meanwhile.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param client_id The client's slot.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
///   once.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_TIMEOUT There was no room in time.
/// \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
/// \retval SHM_ERROR_NOT_FOUND The slot has no client.
/// \retval SHM_ERROR_NOT_CONNECTED The session is over, also if it ended while the call waited: no later client of
///   the slot gets the message.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_send_to_timeout(
    handle: *mut MultiServerHandle, client_id: u32, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe {
        for_slot(handle, client_id, |server| {
            let sent = server.send_to_timeout(client_id, bytes(data, size)?, timeout(timeout_ms));
            Ok(sent.map_err(|error| no_room(error, timeout_ms))?)
        })
    }
}

/// Sends a message to every client, as shm_multi_server_send_to does: a full queue evicts its oldest messages. A
/// failure for one client does not affect the others.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param[out] sent Gets the number of clients that got the message. 0 after a failure. May be NULL.
/// \retval SHM_SUCCESS The message was sent to the clients that could get it.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_broadcast(
    handle: *mut MultiServerHandle, data: *const c_void, size: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(sent);
        let count = enter(handle)?.server().broadcast(bytes(data, size)?)?.sent();
        store(sent, count);
        Ok(())
    })
}

/// Sends a message to every client, as shm_multi_server_broadcast does, and stores the outcome for each client, in
/// the order of the slots.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param[out] results Gets the outcomes. May be NULL if `max` is 0.
/// \param max The number of elements of `results`.
/// \param[out] actual Gets the number of clients, which may be greater than `max`. May be NULL.
/// \retval SHM_SUCCESS The message was sent, and all outcomes were stored.
/// \retval SHM_ERROR_BUFFER_TOO_SMALL There were more than `max` clients. The message was sent all the same, and the
///   first `max` outcomes were stored.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_broadcast_each(
    handle: *mut MultiServerHandle, data: *const c_void, size: u32, results: *mut shm_broadcast_result_t,
    max: u32, actual: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(actual);
        let inside = enter(handle)?;
        if results.is_null() && max != 0 {
            return Err(Failure::Null("the array for the results"));
        }
        let clients = inside.server().broadcast(bytes(data, size)?)?.clients;
        let result = |(client, outcome): &(ClientId, Result<WriteOutcome>)| shm_broadcast_result_t {
            session: client.to_bits(),
            client_id: client.slot(),
            result: outcome.as_ref().map_or_else(code, |_| shm_error_t::SHM_SUCCESS),
            evicted: outcome.as_ref().map_or(0, |outcome| outcome.overwritten),
            reserved: 0,
        };
        store_list(clients.iter().map(result), results, max, actual)
    })
}

/// Returns the session number of the client that has a slot. It stands for that client and for no later client.
/// Inside a callback for a slot, including on_client_disconnect, it is that client's session.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param client_id The client's slot.
/// \return The number. 0: the slot has no client, or the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_session(handle: *const MultiServerHandle, client_id: u32) -> u64 {
    // SAFETY: by the caller.
    returning(0, || unsafe { Ok(enter(handle)?.server().client(client_id).map_or(0, ClientId::to_bits)) })
}

/// Sends a message to the client of one session only, as shm_multi_server_send_to does. Use it for an answer that
/// takes longer than a callback, so that the answer reaches no other client.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param session The session, from shm_multi_server_session.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_NOT_CONNECTED The session is over.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_send_to_session(
    handle: *mut MultiServerHandle, session: u64, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { for_session(handle, session, |server, id| Ok(server.send_to(id, bytes(data, size)?)?)) }
}

/// Sends a message to the client of one session only, if there is room. Evicts nothing.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param session The session, from shm_multi_server_session.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_FULL There is no room. The queue is unchanged, and on_space_available is called when there is
///   room again.
/// \retval SHM_ERROR_NOT_CONNECTED The session is over.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_try_send_to_session(
    handle: *mut MultiServerHandle, session: u64, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { for_session(handle, session, |server, id| Ok(server.try_send_to(id, bytes(data, size)?)?)) }
}

/// Sends a message to the client of one session only, and waits for room if there is none. Evicts nothing. It also
/// waits inside a callback: the worker of that callback serves no other client meanwhile.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param session The session, from shm_multi_server_session.
/// \param data The message. The library copies it during the call.
/// \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
/// \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
///   once.
/// \retval SHM_SUCCESS The message is in the queue.
/// \retval SHM_ERROR_TIMEOUT There was no room in time.
/// \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
/// \retval SHM_ERROR_NOT_CONNECTED The session is over.
/// \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_send_to_session_timeout(
    handle: *mut MultiServerHandle, session: u64, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe {
        for_session(handle, session, |server, id| {
            let sent = server.send_to_timeout(id, bytes(data, size)?, timeout(timeout_ms));
            Ok(sent.map_err(|error| no_room(error, timeout_ms))?)
        })
    }
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
pub unsafe extern "C" fn shm_multi_server_answer(
    handle: *mut MultiServerHandle, call: shm_call_t, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::end_call(handle, call, Part::Answer, data, size) }
}

/// Ends a call without an answer. Its caller gets SHM_ERROR_NO_ANSWER. In all else it is the same as
/// shm_multi_server_answer.
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
pub unsafe extern "C" fn shm_multi_server_refuse(
    handle: *mut MultiServerHandle, call: shm_call_t,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::end_call(handle, call, Part::NoAnswer, ptr::null(), 0) }
}

/// Stores the process id and the user of the client of a session, as shm_server_peer does.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param session The session, from shm_multi_server_session.
/// \param[out] process_id Gets the process id. 0 after a failure. May be NULL.
/// \param[out] user Gets the user as text and a NUL, truncated to the buffer: a SID, on Linux a number. Empty if the
///   system does not report the user, and after a failure. May be NULL.
/// \param user_size The size of `user` in bytes, including the NUL. 256 bytes are always enough.
/// \retval SHM_SUCCESS The client was stored. It may have left since.
/// \retval SHM_ERROR_NOT_CONNECTED The session is over.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_peer(
    handle: *const MultiServerHandle, session: u64, process_id: *mut u32, user: *mut c_char, user_size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::peer(handle, || to_session(session), process_id, user, user_size) }
}

/// Stores the counts of a client's session. Waits for no other call.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param session The session, from shm_multi_server_session.
/// \param[out] out Gets the counts. Zeros after a failure.
/// \retval SHM_SUCCESS The counts were stored.
/// \retval SHM_ERROR_NOT_CONNECTED The session is over.
/// \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_stats(
    handle: *const MultiServerHandle, session: u64, out: *mut shm_client_stats_t,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(out);
        let inside = enter(handle)?;
        let out = required(out, "the pointer to the statistics")?;
        let stats = inside.core().stats(to_session(session)?)?;
        *out = shm_client_stats_t {
            struct_size: std::mem::offset_of!(shm_client_stats_t, reserved) as u32,
            send_depth: stats.send_depth as u32,
            sent: stats.sent,
            send_dropped: stats.send_dropped,
            received: stats.received,
            receive_dropped: stats.receive_dropped,
            reserved: [0; 4],
        };
        Ok(())
    })
}

/// Ends one session, and no later session of its slot. The client first receives the messages sent to it, and
/// on_message receives the messages that the client has sent.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param session The session, from shm_multi_server_session.
/// \retval SHM_SUCCESS The session ends.
/// \retval SHM_ERROR_NOT_CONNECTED The session is over.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_disconnect_session(
    handle: *mut MultiServerHandle, session: u64,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { for_session(handle, session, |server, id| Ok(server.disconnect_client(id)?)) }
}

/// Ends the session of the client that has a slot. The client first receives the messages sent to it, and on_message
/// receives the messages that the client has sent.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param client_id The client's slot.
/// \retval SHM_SUCCESS The session ends.
/// \retval SHM_ERROR_NOT_FOUND The slot has no client.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_disconnect_client(
    handle: *mut MultiServerHandle, client_id: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { for_slot(handle, client_id, |server| Ok(server.disconnect_client(client_id)?)) }
}

/// Returns the number of clients that are connected.
///
/// \ingroup multi_server
/// \param handle The server.
/// \return The number. 0: there is no client, or the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_client_count(handle: *const MultiServerHandle) -> u32 {
    // SAFETY: by the caller.
    returning(0, || unsafe { Ok(enter(handle)?.server().client_count()) })
}

/// Returns whether a slot has a client.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param client_id The client's slot.
/// \return true: the slot has a client. false: it has none, or the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_is_client_connected(
    handle: *const MultiServerHandle, client_id: u32,
) -> bool {
    // SAFETY: by the caller.
    returning(false, || unsafe { Ok(enter(handle)?.server().is_client_connected(client_id)) })
}

/// Stores the slots that have a client, in order.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param[out] ids Gets the slots. May be NULL if `max` is 0.
/// \param max The number of elements of `ids`.
/// \param[out] actual Gets the number of slots with a client, which may be greater than `max`. May be NULL.
/// \retval SHM_SUCCESS All slots with a client were stored.
/// \retval SHM_ERROR_BUFFER_TOO_SMALL There are more than `max` slots with a client, and the first `max` were stored.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_get_clients(
    handle: *const MultiServerHandle, ids: *mut u32, max: u32, actual: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(actual);
        let clients = enter(handle)?.server().connected_clients();
        if ids.is_null() && max != 0 {
            return Err(Failure::Null("the list of slots"));
        }
        store_list(clients.into_iter(), ids, max, actual)
    })
}

/// Copies a name of a slot's channel, for use in a log.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param slot The slot.
/// \param[out] buffer Gets the name and a NUL, truncated to the buffer. Empty after a failure. May be NULL.
/// \param size The size of `buffer` in bytes, including the NUL.
/// \return The length of the whole name in bytes, without the NUL. 0: the call failed, with SHM_ERROR_NOT_FOUND if
///   there is no such slot, and with SHM_ERROR_NOT_READY before the function that starts the server has returned.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_channel_name(
    handle: *const MultiServerHandle, slot: u32, buffer: *mut c_char, size: u32,
) -> u32 {
    // SAFETY: by the caller.
    returning(0, || unsafe {
        copy_text("", buffer, size);
        let inside = enter(handle)?;
        let name = inside.parts().endpoint()?.channel_name(slot).ok_or(Failure::NoClient)?;
        Ok(copy_text(&name, buffer, size))
    })
}

/// Stops the server and frees the handle. It delivers the messages that have arrived, ends all sessions, and waits
/// for the server's threads.
///
/// No callback begins after this function has returned: the program may then free what user_data points to. From
/// inside a callback of this handle it waits only for the callbacks that other threads of the server are in. That
/// callback is the last; the threads end after it, and the handle is then freed. From a callback of another handle it
/// also waits, with one exception: if a callback of this handle waits for the end of that other handle, this function
/// returns while the callback of this handle still runs.
///
/// \ingroup multi_server
/// \param handle The server, which must not be used afterwards. NULL does nothing.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_stop(handle: *mut MultiServerHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}

/// Begins to stop the server, and returns without waiting. The server delivers the messages that have arrived, and
/// on_client_disconnect runs last. A callback can stop its own handle in this way, and another thread can then free
/// it by shm_multi_server_stop.
///
/// \ingroup multi_server
/// \param handle The server.
/// \return SHM_SUCCESS, or a code that each function can return.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_request_stop(handle: *mut MultiServerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::request_stop(handle) }
}

/// Stops the server and frees the handle, as shm_multi_server_stop does, but limits the wait.
///
/// \ingroup multi_server
/// \param handle The server.
/// \param timeout_ms How long to wait for the end, in milliseconds. SHM_FOREVER: without a limit.
/// \retval SHM_SUCCESS The endpoint has ended, and the handle is freed. After any other code the caller still owns
///   the handle.
/// \retval SHM_ERROR_TIMEOUT The endpoint has not ended yet, and will end later.
/// \retval SHM_ERROR_NOT_READY The calling callback cannot wait for the end; see shm_multi_server_stop.
/// \retval SHM_ERROR_FORKED This process is a fork. The function has released the fork's hold on the name.
/// \par Threads
/// Any thread, also inside a callback.
#[no_mangle]
pub unsafe extern "C" fn shm_multi_server_stop_timeout(
    handle: *mut MultiServerHandle, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe { background::stop_timeout(handle, timeout_ms) }
}
