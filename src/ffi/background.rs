//! The common parts of all handles that have their own threads, and the bodies of their functions. Each body relies on the
//! same promises of the caller as the function that calls it.

use super::*;
use crate::background::core::Core;
use crate::background::sending::ONLY;

/// A handle of an endpoint that works in the background.
pub(crate) trait BackgroundHandle: Closable {
    fn core(&self) -> &Core;
}

/// A handle of a background endpoint that has one connection at a time.
pub(crate) trait OneConnectionHandle: BackgroundHandle {}

/// Implements the traits of a handle that consists of an endpoint and its callbacks. `$core` is the path to the endpoint's
/// core.
macro_rules! background_handle {
    ($handle:ty, $($core:tt)+) => {
        impl BackgroundHandle for $handle {
            fn core(&self) -> &crate::background::core::Core {
                &self.$($core)+
            }
        }

        impl Closable for $handle {
            fn gate(&self) -> &Gate {
                &self.1.gate
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
        Ok(enter(handle)?.core().send_timeout(ONLY, bytes(data, size)?, timeout(timeout_ms))?)
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
