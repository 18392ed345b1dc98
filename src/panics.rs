//! Calls into the program, whose panics must not end a thread of the library.

use crate::error::{Result, ShmError};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Calls a function of the program.
///
/// # Errors
/// [`ShmError::HandlerPanicked`].
pub(crate) fn catch_panic(call: impl FnOnce()) -> Result<()> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("no message").to_owned();
        // A panic's value may panic when it is dropped. The value of that second panic is leaked.
        if let Err(another) = catch_unwind(AssertUnwindSafe(move || drop(panic))) {
            std::mem::forget(another);
        }
        ShmError::HandlerPanicked { message }
    })
}
