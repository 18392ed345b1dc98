//! How a thread of C ends another thread's call to connect.

use super::*;
use crate::sys::OwningProcess;
use crate::waiting::Interrupter;

/// Ends the calls that connect with it, see shm_options_t.interrupter.
///
/// \ingroup interrupters
pub struct InterrupterHandle {
    interrupter: Interrupter,
    created_in: OwningProcess,
}

impl InterrupterHandle {
    pub(super) fn get(&self) -> Interrupter {
        self.interrupter.clone()
    }

    fn of_this_process(&self) -> Result<&Interrupter> {
        self.created_in.is_current().then_some(&self.interrupter).ok_or(ShmError::Forked)
    }
}

/// Creates an interrupter, by which another thread ends a call that connects.
///
/// \ingroup interrupters
/// \return The interrupter. The caller owns it, and frees it by shm_interrupter_free. NULL: the call failed, with
///   SHM_ERROR_SYSTEM or SHM_ERROR_MEMORY.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_interrupter_create() -> *mut InterrupterHandle {
    returning(ptr::null_mut(), || {
        let (interrupter, created_in) = (Interrupter::new()?, OwningProcess::current()?);
        Ok(Box::into_raw(Box::new(InterrupterHandle { interrupter, created_in })))
    })
}

/// Makes the calls to connect that use this interrupter return SHM_ERROR_INTERRUPTED, now and later, until
/// shm_interrupter_resume. It has no effect on endpoints that are connected.
///
/// \ingroup interrupters
/// \param interrupter The interrupter.
/// \return SHM_SUCCESS, or a code that each function can return.
/// \par Threads
/// Any thread, and a signal handler.
#[no_mangle]
pub unsafe extern "C" fn shm_interrupter_interrupt(interrupter: *const InterrupterHandle) -> shm_error_t {
    returning_code(|| {
        // SAFETY: by the caller.
        let interrupter = unsafe { interrupter.as_ref() }.ok_or(Failure::Null("the interrupter"))?;
        interrupter.of_this_process()?.interrupt();
        Ok(())
    })
}

/// Ends the effect of shm_interrupter_interrupt: calls can connect again.
///
/// \ingroup interrupters
/// \param interrupter The interrupter.
/// \return SHM_SUCCESS, or a code that each function can return.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_interrupter_resume(interrupter: *const InterrupterHandle) -> shm_error_t {
    returning_code(|| {
        // SAFETY: by the caller.
        let interrupter = unsafe { interrupter.as_ref() }.ok_or(Failure::Null("the interrupter"))?;
        interrupter.of_this_process()?.reset();
        Ok(())
    })
}

/// Frees an interrupter. Calls that connect with it go on, and nothing interrupts them any more.
///
/// \ingroup interrupters
/// \param interrupter The interrupter, which must not be used afterwards. NULL does nothing.
/// \par Threads
/// Any thread, while no other thread passes the interrupter to a function.
#[no_mangle]
pub unsafe extern "C" fn shm_interrupter_free(interrupter: *mut InterrupterHandle) {
    returning((), || {
        if !interrupter.is_null() {
            // SAFETY: by the caller, `shm_interrupter_create` returned it, and it was not freed.
            drop(unsafe { Box::from_raw(interrupter) });
        }
        Ok(())
    });
}
