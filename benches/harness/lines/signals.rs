//! The limit of round trips between sides that sleep: one signal of the kernel in each direction, without a message.
//!
//! On Linux there are two: an eventfd, which the peer could fill or make block; and a datagram socket, which is polled
//! and then read without waiting, so that the peer cannot make it block.

use super::{Kind, Offer};
use crate::line::{Line, Outcome};
use crate::side::Shared;

const fn kind<const PART: usize>(name: &'static str) -> Kind {
    Kind::new(
        name,
        |shared| {
            let [there, back] = system::open(shared, PART, true)?;
            Offer::ready(Signals { sends: there.0, receives: back.1 })
        },
        |shared, _| {
            let [there, back] = system::open(shared, PART, false)?;
            Ok(Box::new(Signals { sends: back.0, receives: there.1 }))
        },
    )
    .sleeping()
}

pub const KIND: Kind = kind::<0>(system::NAME);
/// The second kind on Linux; elsewhere the first one again.
pub const GUARDED: Kind = kind::<1>(system::GUARDED_NAME);

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
    pub const GUARDED_NAME: &str = "polled socket";

    #[derive(Clone, Copy)]
    pub enum Signal {
        Counter(i32),
        Socket(i32),
    }

    /// Makes the eventfds and two pairs of sockets, before the second process starts and inherits them.
    pub fn inheritable() -> Outcome<Vec<i32>> {
        // SAFETY: the call has no precondition.
        let mut made = [(); 2].map(|()| unsafe { libc::eventfd(0, 0) }).to_vec();
        for _ in 0..2 {
            let mut pair = [-1; 2];
            // SAFETY: the array is lent, and has room for two.
            unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, pair.as_mut_ptr()) };
            made.extend(pair);
        }
        if made.contains(&-1) {
            return Err(io::Error::last_os_error().into());
        }
        Ok(made)
    }

    /// For each direction, the signal that is set and the one that is waited for.
    pub fn open(shared: &Shared, part: usize, _create: bool) -> Outcome<[(Signal, Signal); 2]> {
        let [there, back, a, b, c, d] = shared.inherited[..] else {
            return Err("nothing was inherited".into());
        };
        Ok(match part {
            0 => [there, back].map(|counter| (Signal::Counter(counter), Signal::Counter(counter))),
            _ => [(a, b), (c, d)].map(|(sends, receives)| (Signal::Socket(sends), Signal::Socket(receives))),
        })
    }

    fn check(done: isize, expected: isize) -> io::Result<()> {
        if done == expected {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    impl Signal {
        pub fn set(&self) -> io::Result<()> {
            // SAFETY: the descriptors are open for as long as the process runs, and the bytes are lent.
            let (done, expected) = unsafe {
                match *self {
                    Signal::Counter(counter) => (libc::write(counter, (&1_u64 as *const u64).cast(), 8), 8),
                    Signal::Socket(socket) => {
                        (libc::send(socket, (&1_u8 as *const u8).cast(), 1, libc::MSG_DONTWAIT), 1)
                    }
                }
            };
            check(done, expected)
        }

        pub fn wait(&self) -> io::Result<()> {
            let mut came = 0_u64;
            let place = (&mut came as *mut u64).cast();
            // SAFETY: as in `set`; one structure is lent to `poll`.
            let (done, expected) = unsafe {
                match *self {
                    Signal::Counter(counter) => (libc::read(counter, place, 8), 8),
                    Signal::Socket(socket) => {
                        let mut polled = libc::pollfd { fd: socket, events: libc::POLLIN, revents: 0 };
                        check(libc::poll(&mut polled, 1, -1) as isize, 1)?;
                        (libc::recv(socket, place, 1, libc::MSG_DONTWAIT), 1)
                    }
                }
            };
            check(done, expected)
        }
    }
}

#[cfg(windows)]
pub mod system {
    use super::{Outcome, Shared};
    use std::ffi::c_void;
    use std::{io, ptr};
    use windows_sys::Win32::Foundation::HANDLE;
    use windows_sys::Win32::System::Threading::{CreateEventW, OpenEventW, EVENT_ALL_ACCESS};

    pub const NAME: &str = "NT event";
    pub const GUARDED_NAME: &str = "NT event again";

    #[link(name = "ntdll")]
    extern "system" {
        fn NtSetEvent(event: HANDLE, previous: *mut i32) -> i32;
        fn NtWaitForSingleObject(object: HANDLE, alertable: u8, timeout: *const c_void) -> i32;
    }

    #[derive(Clone, Copy)]
    pub struct Signal(HANDLE);

    /// Returns nothing: events have names, and none is inherited.
    pub fn inheritable() -> Outcome<Vec<i32>> {
        Ok(Vec::new())
    }

    pub fn open(shared: &Shared, part: usize, create: bool) -> Outcome<[(Signal, Signal); 2]> {
        let event = |way| -> Outcome<Signal> {
            let name = format!("{}-{way}-{part}", shared.base);
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
        let both = [event("there")?, event("back")?];
        Ok(both.map(|event| (event, event)))
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
