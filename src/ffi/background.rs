//! The common parts of all handles that have their own threads, and the bodies of their functions. Each body relies on the
//! same promises of the caller as the function that calls it.

use super::callbacks::{shm_call_t, Callbacks, Table};
use super::*;
use crate::background::core::Core;
use crate::background::sending::{To, ONLY};
use crate::calls::{self, Part};
use std::sync::OnceLock;

/// The contents of a handle of an endpoint that works in the background: `E`, whose callbacks are `T`.
pub(crate) struct Background<E, T> {
    /// Set when the endpoint starts, before its callbacks run.
    core: OnceLock<Arc<Core>>,
    /// Set when it has started.
    endpoint: OnceLock<E>,
    callbacks: Arc<Callbacks<T>>,
}

impl<E, T: Table> Background<E, T> {
    pub(crate) fn core(&self) -> &Arc<Core> {
        self.core.get().expect("C gets the handle after this is set")
    }

    /// # Errors
    /// [`ShmError::NotReady`]: the function that starts it has not returned.
    pub(crate) fn endpoint(&self) -> Outcome<&E> {
        Ok(self.endpoint.get().ok_or(ShmError::NotReady)?)
    }

    pub(crate) fn callbacks(&self) -> &Callbacks<T> {
        &self.callbacks
    }
}

/// A handle of an endpoint that works in the background.
pub(crate) trait BackgroundHandle: Closable + Send + Sync + 'static {
    type Endpoint;
    type Table: Table;

    fn from_parts(parts: Background<Self::Endpoint, Self::Table>) -> Self;

    fn parts(&self) -> &Background<Self::Endpoint, Self::Table>;

    fn core(&self) -> &Arc<Core> {
        self.parts().core()
    }
}

/// A handle of a background endpoint that has one connection at a time.
pub(crate) trait OneConnectionHandle: BackgroundHandle {}

/// Creates a handle. `start` starts its endpoint with these callbacks.
///
/// # Safety
/// NULL, or callbacks.
pub(crate) unsafe fn create<H: BackgroundHandle>(
    table: *const H::Table, start: impl FnOnce(Arc<Callbacks<H::Table>>) -> Outcome<H::Endpoint>,
) -> *mut H {
    returning_handle(|| {
        // SAFETY: by the caller.
        let callbacks = Arc::new(unsafe { Callbacks::read(table) }?);
        let (core, endpoint) = (OnceLock::new(), OnceLock::new());
        let handle = Arc::new(H::from_parts(Background { core, endpoint, callbacks: callbacks.clone() }));
        let starting = Arc::downgrade(&handle);
        callbacks.set_starter(move |core| {
            if let Some(handle) = starting.upgrade() {
                let _ = handle.parts().core.set(core.clone());
            }
            starting.as_ptr().cast_mut().cast()
        });
        let endpoint = start(callbacks)?;
        let _ = handle.parts().endpoint.set(endpoint);
        Ok(handle)
    })
}

/// Implements the traits of a handle that consists of an endpoint and its callbacks.
macro_rules! background_handle {
    ($handle:ident, $endpoint:ty, $table:ty) => {
        impl BackgroundHandle for $handle {
            type Endpoint = $endpoint;
            type Table = $table;

            fn from_parts(parts: background::Background<$endpoint, $table>) -> Self {
                $handle(parts)
            }

            fn parts(&self) -> &background::Background<$endpoint, $table> {
                &self.0
            }
        }

        impl Closable for $handle {
            fn gate(&self) -> &Gate {
                &self.0.callbacks().gate
            }

            fn end(&self) -> bool {
                // From one of its own callbacks a handle waits for those of its other threads.
                self.core().stop() != crate::threads::Waited::NotFromHere || self.gate().depth() > 0
            }

            fn is_forked(&self) -> bool {
                self.core().check_not_forked().is_err()
            }

            fn give_up_name(&self) {
                self.core().give_up_name();
            }
        }
    };
}
pub(crate) use background_handle;

pub(crate) unsafe fn send<H: OneConnectionHandle>(
    handle: *const H, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { Ok(enter(handle)?.core().send(ONLY, bytes(data, size)?)?) })
}

pub(crate) unsafe fn try_send<H: OneConnectionHandle>(
    handle: *const H, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { Ok(enter(handle)?.core().try_send(ONLY, bytes(data, size)?)?) })
}

pub(crate) unsafe fn send_timeout<H: OneConnectionHandle>(
    handle: *const H, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let message = bytes(data, size)?;
        let sent = enter(handle)?.core().send_timeout(ONLY, message, timeout(timeout_ms));
        Ok(sent.map_err(|error| no_room(error, timeout_ms))?)
    })
}

/// Ends a call, by its answer or without one.
pub(crate) unsafe fn end_call<H: BackgroundHandle>(
    handle: *const H, call: shm_call_t, part: Part, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let inside = enter(handle)?;
        let message = calls::message(part, call.id, bytes(data, size)?)?;
        Ok(inside.core().send(to_session(call.session)?, &message).map(drop)?)
    })
}

/// The session that a number of C stands for.
pub(crate) fn to_session(bits: u64) -> Result<To> {
    let session = (bits >> 32) as u32;
    // The number 0 stands for no session.
    (session != 0).then_some((bits as u32, Some(session))).ok_or(ShmError::NotConnected)
}

pub(crate) unsafe fn is_connected<H: OneConnectionHandle>(handle: *const H) -> bool {
    // SAFETY: by the caller.
    returning(false, || unsafe { Ok(enter(handle)?.core().is_connected(ONLY)) })
}

/// Stores the process and the user of a peer.
pub(crate) unsafe fn peer<H: BackgroundHandle>(
    handle: *const H, to: impl FnOnce() -> Result<To>, process_id: *mut u32, user: *mut c_char,
    user_size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(process_id);
        copy_text("", user, user_size);
        let peer = enter(handle)?.core().identity(to()?).ok_or(ShmError::NotConnected)?;
        store_peer(peer, process_id, user, user_size);
        Ok(())
    })
}

pub(crate) unsafe fn request_stop<H: BackgroundHandle>(handle: *const H) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle).map(|inside| inside.core().request_stop()) })
}

pub(crate) unsafe fn stop_timeout<H: BackgroundHandle>(handle: *mut H, timeout_ms: u32) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        // Before the call, which a fork refuses to begin.
        if let Some(copy) = handle.as_ref().filter(|handle| handle.is_forked()) {
            copy.give_up_name();
        }
        enter(handle.cast_const())?.core().stop_timeout(duration(timeout_ms))?;
        close(handle);
        Ok(())
    })
}
