//! How the tasks of async endpoints are woken: by waits of the system's thread pool.
//!
//! The pool gets no address of a value that could be freed: a wait's context is a number, under which [`WATCHES`] has the task
//! to wake. So a watch is dropped without waiting for a callback that runs, which may be the one that drops it. The pool keeps
//! the module loaded that contains this code while a callback runs, and each watch does so as long as it lives.

use super::{io_error, relative_ticks, Event, Waitable};
use crate::error::{Result, ShmError};
use crate::ntapi::{
    FreeLibrary, GetModuleHandleExW, Handle, RtlDllShutdownInProgress, TpAllocWait, TpCallbackEnvironment,
    TpReleaseWait, TpSetWait,
};
use crate::sys::kinds::Wakes;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The tasks to wake, by number.
static WATCHES: Mutex<Option<Watches>> = Mutex::new(None);

#[derive(Default)]
struct Watches {
    last: usize,
    tasks: BTreeMap<usize, Arc<Wakes>>,
}

fn watches() -> MutexGuard<'static, Option<Watches>> {
    WATCHES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes a task when one of several objects is ready.
pub(crate) struct Watch {
    number: usize,
    waits: Vec<Wait>,
    /// Waited for where there is no object, until the time is over. It is never set.
    never: OwnedHandle,
    module: Module,
}

/// A wait of the pool, and the object that it is for.
struct Wait {
    wait: *mut c_void,
    object: OwnedHandle,
}

// SAFETY: the pool's functions may be called by any thread.
unsafe impl Send for Wait {}
// SAFETY: as above; nothing is changed by a shared reference.
unsafe impl Sync for Wait {}

impl Watch {
    pub(crate) fn new(wakes: &Arc<Wakes>) -> Result<Self> {
        let module = Module::own()?;
        let never = Event::local()?.duplicate()?;
        let mut watches = watches();
        let watches = watches.get_or_insert_with(Watches::default);
        watches.last = watches.last.wrapping_add(1);
        watches.tasks.insert(watches.last, wakes.clone());
        Ok(Watch { number: watches.last, waits: Vec::new(), never, module })
    }

    /// Watches no object. The pool may have taken a signal and wake no task for it, so the caller looks after this.
    pub(crate) fn clear(&mut self) {
        self.waits.clear();
    }

    /// Watches these objects and no others, from the next [`arm`](Self::arm) on.
    pub(crate) fn set(&mut self, objects: &[Waitable<'_>]) -> Result<()> {
        self.clear();
        for object in objects {
            let object = match object {
                Waitable::Event(event) | Waitable::Wake(event) => event.duplicate()?,
                Waitable::Process(process) => process.duplicate()?,
            };
            self.add(object)?;
        }
        if self.waits.is_empty() {
            let never = self.never.try_clone();
            self.add(never.map_err(|error| io_error(&error, "duplicating a handle"))?)?;
        }
        Ok(())
    }

    fn add(&mut self, object: OwnedHandle) -> Result<()> {
        let environment = TpCallbackEnvironment::of_module(self.module.0);
        let mut wait = ptr::null_mut();
        // SAFETY: the place for the wait and the environment are valid. The context is a number.
        let status = unsafe { TpAllocWait(&mut wait, woken, self.number as *mut c_void, &environment) };
        if status < 0 {
            return Err(ShmError::WindowsError {
                code: status as u32,
                context: "creating a wait (TpAllocWait)",
            });
        }
        self.waits.push(Wait { wait, object });
        Ok(())
    }

    /// Wakes the task once: when one of the objects is ready, at once if one is ready now; or after `bound`.
    pub(crate) fn arm(&mut self, bound: Option<Duration>) -> Result<()> {
        let mut timeout = bound.map(relative_ticks);
        for Wait { wait, object } in &self.waits {
            let time = timeout.take();
            let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: the wait is not released, the handle is open, and the time is read at once.
            unsafe { TpSetWait(*wait, object.as_raw_handle().cast(), time) };
        }
        Ok(())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // SAFETY: the wait is not released yet. No callback of it begins after this, except for one that is queued, which finds its
        // task or none. At the end of the process, the pool's threads may have left its locks locked.
        unsafe {
            if RtlDllShutdownInProgress() == 0 {
                TpSetWait(self.wait, ptr::null_mut(), ptr::null());
                TpReleaseWait(self.wait);
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: the function has no conditions.
        if unsafe { RtlDllShutdownInProgress() } == 0 {
            self.waits.clear();
            let task = watches().as_mut().and_then(|watches| watches.tasks.remove(&self.number));
            drop(task);
        }
    }
}

unsafe extern "system" fn woken(
    _instance: *mut c_void, context: *mut c_void, _wait: *mut c_void, _result: u32,
) {
    let task = watches().as_ref().and_then(|watches| watches.tasks.get(&(context as usize)).cloned());
    if let Some(task) = task {
        task.wake();
    }
}

/// A reference to the module that contains this code.
struct Module(Handle);

// SAFETY: a module's handle is the process's.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

const GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS: u32 = 4;

impl Module {
    fn own() -> Result<Self> {
        let mut module = ptr::null_mut();
        // SAFETY: the address is one of this module; the place for the module is valid.
        let found = unsafe {
            GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, woken as *const c_void, &mut module)
        };
        if found == 0 {
            return Err(io_error(&std::io::Error::last_os_error(), "keeping the module loaded"));
        }
        Ok(Module(module))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: the reference is this value's. The caller's code is in the module, or keeps it loaded.
        unsafe { FreeLibrary(self.0) };
    }
}
