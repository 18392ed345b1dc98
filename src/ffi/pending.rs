//! A connect for an event loop of C.

use super::callbacks::{shm_callbacks_t, Callbacks};
use super::endpoint::{start, ClientHandle, Endpoint};
use super::event_loop::{self, shm_wait_handles_t};
use super::options::*;
use super::*;
use crate::connecting::PendingConnect;
use crate::sys::OwningProcess;
use std::sync::Mutex;

/// A connect that an event loop finishes: no call on it waits. See shm_client_begin_connect.
///
/// \ingroup event_loops
pub struct PendingConnectHandle {
    /// `None`: the connect has ended.
    connect: Mutex<Option<Connecting>>,
    gate: Gate,
    created_in: OwningProcess,
}

struct Connecting {
    pending: PendingConnect,
    /// The client's.
    callbacks: Callbacks<shm_callbacks_t>,
}

impl PendingConnectHandle {
    /// Goes on with the connect. `None`: it needs more time. A failure ends it.
    fn try_finish(&self) -> Outcome<Option<ClientHandle>> {
        let mut connect = lock(&self.connect);
        let mut connecting = connect.take().ok_or(Failure::ConnectEnded)?;
        match connecting.pending.try_finish()? {
            Some(client) => Ok(Some(ClientHandle(Endpoint::client(client, connecting.callbacks)?))),
            None => {
                *connect = Some(connecting);
                Ok(None)
            }
        }
    }
}

impl Closable for PendingConnectHandle {
    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn end(&self) -> bool {
        // No call waits.
        true
    }

    fn is_forked(&self) -> bool {
        !self.created_in.is_current()
    }

    fn give_up_name(&self) {}
}

/// Begins to connect to the server that has the name, for an event loop: no call on the handle waits. The server may
/// serve one client or many, and need not exist yet.
///
/// Call shm_pending_connect_try_finish. As long as it returns no client, wait until one of the objects of
/// shm_pending_connect_wait_handles is ready, and call it again. The connect has no time limit of its own: to end it,
/// call shm_pending_connect_free, or shm_pending_connect_give_up, which returns why it is not finished.
/// examples/c/event_loop.c is a whole loop.
///
/// \ingroup event_loops
/// \param config The name and the size of the rings.
/// \param callbacks The callbacks of the client, which the library copies. They begin when the connect succeeds. NULL:
///   none.
/// \param options The options. NULL: the defaults. shm_options_t.interrupter has no effect on this connect.
/// \return The handle, which the caller owns and frees by shm_pending_connect_free. NULL: the call failed;
///   shm_last_error returns one of the following codes.
/// \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
/// \retval SHM_ERROR_INVALID_NAME The name is invalid.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_client_begin_connect(
    config: *const shm_endpoint_config_t, callbacks: *const shm_callbacks_t, options: *const shm_options_t,
) -> *mut PendingConnectHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let callbacks = Callbacks::read(callbacks)?;
        let (name, ring_size) = options::config(config)?;
        let pending = client_options(ring_size, options)?.begin_connect(name)?;
        let connect = Mutex::new(Some(Connecting { pending, callbacks }));
        let (gate, created_in) = (Gate::default(), OwningProcess::current()?);
        Ok(Arc::new(PendingConnectHandle { connect, gate, created_in }))
    })
}

/// Goes on with a connect as far as it can without waiting. If the server does not exist yet, or does not accept yet,
/// that is no failure. After a failure the connect has ended.
///
/// The callbacks of the client run as in shm_client_connect: on_start and on_connect run in the call that returns the
/// client. They may free the pending connect.
///
/// \ingroup event_loops
/// \param pending The connect.
/// \param[out] client Gets the client, which the caller owns and frees by shm_client_disconnect. NULL: the connect
///   needs more time, or the call failed.
/// \retval SHM_SUCCESS `*client` is the client, or NULL.
/// \retval SHM_ERROR_NO_SLOT The server serves many clients, and each slot has one.
/// \retval SHM_ERROR_REFUSED One side refuses to connect to the other. shm_last_error_message says why.
/// \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
/// \retval SHM_ERROR_NOT_READY The connect has ended before: a call has returned the client, or has failed, or
///   shm_pending_connect_give_up was called.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread; callers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_pending_connect_try_finish(
    pending: *mut PendingConnectHandle, client: *mut *mut ClientHandle,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        store(client, ptr::null_mut());
        let inside = enter(pending)?;
        let client = required(client, "the pointer to the client")?;
        let finished = inside.try_finish()?;
        // A callback may free the pending connect, which waits for the calls inside it.
        drop(inside);
        if let Some(finished) = finished {
            *client = Arc::into_raw(start(finished)).cast_mut();
        }
        Ok(())
    })
}

/// Stores the objects that an event loop waits for until the connect can go on, and how long to wait at most. They are
/// valid until the next call of shm_pending_connect_try_finish: ask for them again after each call.
///
/// On Linux, shm_wait_handles_t.data is an epoll descriptor that stays the same file for the whole connect.
///
/// \ingroup event_loops
/// \param pending The connect.
/// \param[out] out Gets the objects. The caller owns them, and closes them by shm_wait_handles_close. Both fields are
///   -1 after a failure.
/// \param[out] next_look_ms Gets the time in milliseconds after which to call shm_pending_connect_try_finish although
///   no object is ready. SHM_FOREVER: there is no such time. 0 after a failure.
/// \retval SHM_SUCCESS The objects and the time were stored.
/// \retval SHM_ERROR_NOT_READY The connect has ended before.
/// \retval SHM_ERROR_SYSTEM The process can have no more handles.
/// \par Threads
/// Any thread; callers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_pending_connect_wait_handles(
    pending: *mut PendingConnectHandle, out: *mut shm_wait_handles_t, next_look_ms: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    unsafe {
        event_loop::store_until_next_look(out, next_look_ms, || {
            let inside = enter(pending)?;
            let mut connect = lock(&inside.connect);
            Ok(connect.as_mut().ok_or(Failure::ConnectEnded)?.pending.wait_handles()?)
        })
    }
}

/// Ends a connect, and returns why it is not finished. This withdraws the request; if the server has accepted it
/// meanwhile, the client leaves. The handle must still be freed.
///
/// \ingroup event_loops
/// \param pending The connect.
/// \return The code of a connect whose time is over; shm_last_error_message has the details. Never SHM_SUCCESS.
/// \retval SHM_ERROR_TIMEOUT No server has the name, or the server has not accepted. shm_last_error_message says which.
/// \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
/// \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
/// \retval SHM_ERROR_NOT_READY The connect has ended before.
/// \par Threads
/// Any thread; callers wait for each other.
#[no_mangle]
pub unsafe extern "C" fn shm_pending_connect_give_up(pending: *mut PendingConnectHandle) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let inside = enter(pending)?;
        let connecting = lock(&inside.connect).take().ok_or(Failure::ConnectEnded)?;
        Err::<(), _>(connecting.pending.give_up().into())
    })
}

/// Ends a connect if it has not ended, as shm_pending_connect_give_up does, and frees the handle. A client that the
/// connect has returned stays connected.
///
/// \ingroup event_loops
/// \param pending The connect, which must not be used afterwards. NULL does nothing.
/// \par Threads
/// Any thread, also inside a callback. Calls of other threads on the handle return first.
#[no_mangle]
pub unsafe extern "C" fn shm_pending_connect_free(pending: *mut PendingConnectHandle) {
    // SAFETY: by the caller.
    unsafe { close(pending) }
}
