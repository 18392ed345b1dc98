//! The library's own threads.
//!
//! A thread holds a reference to the module that contains the library, an EXE or a DLL. So a DLL with a running endpoint
//! stays loaded: `FreeLibrary` gives up the caller's reference, and no more. And nothing has to wait for the end of a
//! thread, which the loader's lock could delay: the thread's work has ended before, and its last instruction gives up the
//! reference.

use super::io_error;
use crate::error::Result;
use crate::ntapi::{
    CreateThread, FreeLibrary, FreeLibraryAndExitThread, GetModuleHandleExW, NtClose, NtSetInformationThread,
    RtlDllShutdownInProgress, UnicodeString,
};
use std::ffi::c_void;
use std::io;
use std::mem::size_of;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

/// A thread of the library.
pub(crate) struct Thread(());

/// What a thread does, and the module that it keeps loaded.
struct Start {
    run: Box<dyn FnOnce() + Send>,
    module: *mut c_void,
}

const STACK_SIZE: usize = 2 * 1024 * 1024;
const STACK_SIZE_PARAM_IS_A_RESERVATION: u32 = 0x0001_0000;
const GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS: u32 = 4;
const THREAD_NAME_INFORMATION: u32 = 38;

impl Thread {
    pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<Self> {
        let context = "starting a thread";
        let mut module = ptr::null_mut();
        let address: unsafe extern "system" fn(*mut c_void) -> u32 = main;
        // SAFETY: the address is one of this module; the place for the module is valid.
        let found = unsafe {
            GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, address as *const c_void, &mut module)
        };
        if found == 0 {
            return Err(io_error(&io::Error::last_os_error(), context));
        }
        let start = Box::into_raw(Box::new(Start { run: Box::new(run), module }));
        let flags = STACK_SIZE_PARAM_IS_A_RESERVATION;
        // SAFETY: the new thread takes the value over, and reads nothing else.
        let thread =
            unsafe { CreateThread(ptr::null(), STACK_SIZE, main, start.cast(), flags, ptr::null_mut()) };
        if thread.is_null() {
            let error = io_error(&io::Error::last_os_error(), context);
            // SAFETY: no thread has the value. The reference is given up by a call that does not end this thread.
            unsafe {
                let start = Box::from_raw(start);
                FreeLibrary(start.module);
            }
            return Err(error);
        }
        set_name(thread, name);
        // SAFETY: the handle is open, and no other code has it.
        unsafe { NtClose(thread) };
        Ok(Thread(()))
    }

    /// Does nothing: the thread's work has ended, and it keeps its code loaded until it ends.
    pub(crate) fn join(self) {}
}

unsafe extern "system" fn main(start: *mut c_void) -> u32 {
    // SAFETY: `spawn` gave the value to this thread.
    let start = unsafe { Box::from_raw(start.cast::<Start>()) };
    let Start { run, module } = *start;
    // A panic here is a defect of the library, and std has reported it.
    let _ = catch_unwind(AssertUnwindSafe(run));
    // SAFETY: the reference is this thread's. No value of this thread is left.
    unsafe { FreeLibraryAndExitThread(module, 0) }
}

/// Names the thread for debuggers. Windows before version 10.0.14393 refuses this, which does no harm.
fn set_name(thread: *mut c_void, name: &str) {
    let mut text: Vec<u16> = name.encode_utf16().collect();
    let bytes = (2 * text.len()) as u16;
    let name = UnicodeString { length: bytes, maximum_length: bytes, buffer: text.as_mut_ptr() };
    let size = size_of::<UnicodeString>() as u32;
    // SAFETY: the string lives during the call, which copies it.
    unsafe { NtSetInformationThread(thread, THREAD_NAME_INFORMATION, ptr::from_ref(&name).cast(), size) };
}

/// Whether the process is ending, and the system has ended all other threads. They may have left locks locked.
pub(crate) fn is_shutting_down() -> bool {
    // SAFETY: the function has no conditions.
    unsafe { RtlDllShutdownInProgress() != 0 }
}
