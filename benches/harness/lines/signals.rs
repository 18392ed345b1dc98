//! The limit of round trips between sides that sleep: a signal of the kernel's each way, with no message.

use super::{Kind, Offer};
use crate::line::{Line, Outcome};
use crate::side::Shared;

pub const KIND: Kind = Kind::new(
    system::NAME,
    |shared| {
        let [there, back] = system::open(shared, true)?;
        Offer::ready(Signals { sends: there, receives: back })
    },
    |shared, _| {
        let [there, back] = system::open(shared, false)?;
        Ok(Box::new(Signals { sends: back, receives: there }))
    },
)
.sleeping();

pub use system::inheritable;

struct Signals {
    sends: system::Signal,
    receives: system::Signal,
}

impl Line for Signals {
    const CARRIES: bool = false;

    fn send(&mut self, _message: &[u8]) -> Outcome<()> {
        Ok(self.sends.set()?)
    }

    fn receive(&mut self, _message: &mut [u8]) -> Outcome<()> {
        Ok(self.receives.wait()?)
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::{Outcome, Shared};
    use std::io;

    pub const NAME: &str = "eventfd";

    pub struct Signal(i32);

    /// Made before the second process, which inherits them.
    pub fn inheritable() -> Outcome<Vec<i32>> {
        // SAFETY: the call has no precondition.
        let made = [(); 2].map(|()| unsafe { libc::eventfd(0, 0) });
        if made.contains(&-1) {
            return Err(io::Error::last_os_error().into());
        }
        Ok(made.to_vec())
    }

    pub fn open(shared: &Shared, _create: bool) -> Outcome<[Signal; 2]> {
        let [there, back] = shared.inherited[..] else { return Err("no eventfd was inherited".into()) };
        Ok([Signal(there), Signal(back)])
    }

    impl Signal {
        pub fn set(&self) -> io::Result<()> {
            // SAFETY: the descriptor is open for as long as the process runs, and eight bytes are lent.
            let written = unsafe { libc::write(self.0, (&1_u64 as *const u64).cast(), 8) };
            if written == 8 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        }

        pub fn wait(&self) -> io::Result<()> {
            let mut count = 0_u64;
            // SAFETY: as in `set`.
            let read = unsafe { libc::read(self.0, (&mut count as *mut u64).cast(), 8) };
            if read == 8 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        }
    }
}

#[cfg(windows)]
mod system {
    use super::{Outcome, Shared};
    use std::ffi::c_void;
    use std::{io, ptr};
    use windows_sys::Win32::Foundation::HANDLE;
    use windows_sys::Win32::System::Threading::{CreateEventW, OpenEventW, EVENT_ALL_ACCESS};

    pub const NAME: &str = "NT event";

    #[link(name = "ntdll")]
    extern "system" {
        fn NtSetEvent(event: HANDLE, previous: *mut i32) -> i32;
        fn NtWaitForSingleObject(object: HANDLE, alertable: u8, timeout: *const c_void) -> i32;
    }

    pub struct Signal(HANDLE);

    /// Events have names; none is inherited.
    pub fn inheritable() -> Outcome<Vec<i32>> {
        Ok(Vec::new())
    }

    pub fn open(shared: &Shared, create: bool) -> Outcome<[Signal; 2]> {
        let event = |way| -> Outcome<Signal> {
            let name = format!("{}-{way}", shared.base);
            let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
            // SAFETY: the name ends in a zero, and no security descriptor is given. Events that reset themselves.
            let event = unsafe {
                if create {
                    CreateEventW(ptr::null(), 0, 0, name.as_ptr())
                } else {
                    OpenEventW(EVENT_ALL_ACCESS, 0, name.as_ptr())
                }
            };
            if event.is_null() {
                return Err(io::Error::last_os_error().into());
            }
            Ok(Signal(event))
        };
        Ok([event("there")?, event("back")?])
    }

    impl Signal {
        pub fn set(&self) -> io::Result<()> {
            // SAFETY: the handle is an event's, open for as long as the process runs; null asks for no state.
            let status = unsafe { NtSetEvent(self.0, ptr::null_mut()) };
            check(status)
        }

        pub fn wait(&self) -> io::Result<()> {
            // SAFETY: as in `set`; null waits for ever.
            let status = unsafe { NtWaitForSingleObject(self.0, 0, ptr::null()) };
            check(status)
        }
    }

    fn check(status: i32) -> io::Result<()> {
        if status == 0 {
            Ok(())
        } else {
            Err(io::Error::other(format!("status {status:#x}")))
        }
    }
}
