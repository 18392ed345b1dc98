//! The limit against which the library is measured: two words in memory that both processes share. Also a clock.
//!
//! ```text
//!   leader                          follower
//!   ping = n        ── line 1 ──►   sees ping = n
//!   sees pong = n   ◄── line 2 ──   pong = n
//! ```
//!
//! No way of passing a message through memory and back can be faster: each round only moves two cache lines. The library
//! gives no access to bare shared memory, so this module gets the page from the system. The page stays mapped until the
//! process ends.

use std::hint::spin_loop;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

const PAGE: usize = 4096;

/// The two words are so far apart that no prefetcher loads both.
#[repr(C)]
struct Lines {
    /// Written by the leader, read by the follower.
    ping: AtomicU64,
    _gap: [u64; 255],
    /// Written by the follower, read by the leader.
    pong: AtomicU64,
}

/// The shared page in one process.
pub struct Page {
    lines: &'static Lines,
    /// In the process that created the page: the name under which it can be opened.
    name: Option<String>,
}

impl Page {
    /// Makes a page of zeros. It can be opened until this value is dropped.
    pub fn create(name: &str) -> io::Result<Self> {
        // SAFETY: the page is never unmapped, is aligned, and holds `Lines`, for which all bit patterns are valid; both
        // processes access it only by atomics.
        let lines = unsafe { &*system::map(name, true)?.cast() };
        Ok(Page { lines, name: Some(name.to_owned()) })
    }

    pub fn open(name: &str) -> io::Result<Self> {
        // SAFETY: as in `create`.
        let lines = unsafe { &*system::map(name, false)?.cast() };
        Ok(Page { lines, name: None })
    }

    /// Leads `rounds` round trips with the numbers from `first` on. Returns false if `alive` returned false.
    pub fn lead<const PAUSE: bool>(&self, first: u64, rounds: u64, alive: impl Fn() -> bool) -> bool {
        (first..first + rounds).all(|number| {
            self.lines.ping.store(number, Ordering::Release);
            wait_for::<PAUSE>(&self.lines.pong, number, &alive)
        })
    }

    /// Answers `rounds` round trips.
    pub fn follow<const PAUSE: bool>(&self, first: u64, rounds: u64, alive: impl Fn() -> bool) -> bool {
        (first..first + rounds).all(|number| {
            let came = wait_for::<PAUSE>(&self.lines.ping, number, &alive);
            self.lines.pong.store(number, Ordering::Release);
            came
        })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            system::forget(name);
        }
    }
}

/// Spins until `word` is `number`. Calls `alive` only every few milliseconds.
#[inline(always)]
fn wait_for<const PAUSE: bool>(word: &AtomicU64, number: u64, alive: impl Fn() -> bool) -> bool {
    loop {
        for _ in 0..1 << 20 {
            if word.load(Ordering::Acquire) == number {
                return true;
            }
            if PAUSE {
                spin_loop();
            }
        }
        if !alive() {
            return false;
        }
    }
}

/// The processor's counter, if it has one: under Wine and on Windows, `Instant` has steps of 100 ns.
#[inline(always)]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 processor has the instruction, and no operating system in use forbids it.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

#[cfg(windows)]
mod system {
    use super::PAGE;
    use std::ffi::c_void;
    use std::{io, ptr};

    const PAGE_READWRITE: u32 = 4;
    const FILE_MAP_READ_AND_WRITE: u32 = 4 | 2;

    #[link(name = "kernel32")]
    extern "system" {
        fn CreateFileMappingW(
            file: *mut c_void, security: *const c_void, protection: u32, size_high: u32, size_low: u32,
            name: *const u16,
        ) -> *mut c_void;
        fn OpenFileMappingW(access: u32, inherit: i32, name: *const u16) -> *mut c_void;
        fn MapViewOfFile(
            mapping: *mut c_void, access: u32, offset_high: u32, offset_low: u32, size: usize,
        ) -> *mut c_void;
    }

    /// Maps a page of the paging file. Its handle stays open until the process ends.
    pub fn map(name: &str, create: bool) -> io::Result<*mut u8> {
        let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
        // SAFETY: the name ends in a zero; -1 stands for no file, and no security descriptor is given.
        let mapping = unsafe {
            if create {
                let no_file = -1_isize as *mut c_void;
                CreateFileMappingW(no_file, ptr::null(), PAGE_READWRITE, 0, PAGE as u32, name.as_ptr())
            } else {
                OpenFileMappingW(FILE_MAP_READ_AND_WRITE, 0, name.as_ptr())
            }
        };
        if mapping.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is a mapping's, and the system chooses the place.
        let place = unsafe { MapViewOfFile(mapping, FILE_MAP_READ_AND_WRITE, 0, 0, PAGE) };
        if place.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(place.cast())
    }

    /// Does nothing: the name disappears with the last handle.
    pub fn forget(_name: &str) {}
}

#[cfg(unix)]
mod system {
    use super::PAGE;
    use std::ffi::{c_int, c_long, c_void};
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};
    use std::{env, fs, io, ptr};

    const PROT_READ_AND_WRITE: c_int = 1 | 2;
    const MAP_SHARED: c_int = 1;

    // The standard library links the C library.
    extern "C" {
        fn mmap(
            place: *mut c_void, size: usize, protection: c_int, flags: c_int, file: c_int, offset: c_long,
        ) -> *mut c_void;
    }

    fn path(name: &str) -> PathBuf {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() {
            memory.join(name)
        } else {
            env::temp_dir().join(name)
        }
    }

    /// Maps a file, if possible one in memory. The mapping outlives the file and its name.
    pub fn map(name: &str, create: bool) -> io::Result<*mut u8> {
        let file = File::options().read(true).write(true).create_new(create).open(path(name))?;
        if create {
            file.set_len(PAGE as u64)?;
        }
        // SAFETY: the file is open and has the size; the system chooses the place.
        let place =
            unsafe { mmap(ptr::null_mut(), PAGE, PROT_READ_AND_WRITE, MAP_SHARED, file.as_raw_fd(), 0) };
        if place as isize == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(place.cast())
    }

    pub fn forget(name: &str) {
        let _ = fs::remove_file(path(name));
    }
}
