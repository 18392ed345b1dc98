//! The common parts of all handles that have their own threads, and the bodies of their functions. Each body relies on the
//! same promises of the caller as the function that calls it.

use super::*;
use crate::auto::Auto;

/// A handle to an endpoint that works in the background.
pub(crate) trait BackgroundHandle: Closable {
    /// Begins to stop, and returns without waiting.
    fn request_stop(&self);

    fn stop_timeout(&self, timeout: Duration) -> Result<()>;
}

/// A handle to a background endpoint with a single worker.
pub(crate) trait AutoHandle: BackgroundHandle {
    fn auto(&self) -> &Auto;
}

/// Implements the traits of a handle that consists of an endpoint and its callbacks. The first form is for an endpoint with a
/// field `auto`, the second one for other endpoints.
macro_rules! background_handle {
    ($handle:ty) => {
        background_handle!($handle, |handle| handle.0.auto.core.stop());

        impl AutoHandle for $handle {
            fn auto(&self) -> &crate::auto::Auto {
                &self.0.auto
            }
        }
    };
    ($handle:ty, $stop:expr) => {
        impl Closable for $handle {
            fn gate(&self) -> &Gate {
                &self.1.gate
            }

            fn end(&self) -> bool {
                let stop: fn(&Self) -> crate::threads::Waited = $stop;
                // From one of its own callbacks a handle waits for those of its other threads.
                stop(self) != crate::threads::Waited::NotFromHere || self.1.gate.depth() > 0
            }
        }

        impl BackgroundHandle for $handle {
            fn request_stop(&self) {
                self.0.request_stop();
            }

            fn stop_timeout(&self, timeout: Duration) -> Result<()> {
                self.0.stop_timeout(timeout)
            }
        }
    };
}
pub(crate) use background_handle;

pub(crate) unsafe fn send<H: AutoHandle>(handle: *const H, data: *const c_void, size: u32) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { Ok(enter(handle)?.auto().send(bytes(data, size)?)?) })
}

pub(crate) unsafe fn try_send<H: AutoHandle>(
    handle: *const H, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { Ok(enter(handle)?.auto().try_send(bytes(data, size)?)?) })
}

pub(crate) unsafe fn send_timeout<H: AutoHandle>(
    handle: *const H, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        Ok(enter(handle)?.auto().send_timeout(bytes(data, size)?, timeout(timeout_ms))?)
    })
}

pub(crate) unsafe fn request_stop<H: BackgroundHandle>(handle: *const H) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        enter(handle)?.request_stop();
        Ok(())
    })
}

pub(crate) unsafe fn stop_timeout<H: BackgroundHandle>(handle: *mut H, timeout_ms: u32) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        enter(handle.cast_const())?.stop_timeout(duration(timeout_ms))?;
        close(handle);
        Ok(())
    })
}
