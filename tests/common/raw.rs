//! The operating system behind the library's back: a channel's section as a hostile process sees it, and processes
//! stopped and examined. Declared by hand, so that the tests need no further crates.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A channel's section, mapped for reading and writing.
pub struct RawSection {
    base: *mut u8,
    size: usize,
}

impl RawSection {
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn word32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset % 4 == 0 && offset + 4 <= self.size);
        // SAFETY: within the mapping, which is never taken back, and aligned.
        unsafe { &*self.base.add(offset).cast() }
    }

    pub fn word64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset % 8 == 0 && offset + 8 <= self.size);
        // SAFETY: as above.
        unsafe { &*self.base.add(offset).cast() }
    }

    pub fn store32(&self, offset: usize, value: u32) {
        self.word32(offset).store(value, Ordering::SeqCst);
    }

    /// Writes garbage at random places among the first `bytes`, for a time: small numbers, large ones, and what was
    /// there before with a bit turned.
    pub fn scribble(&self, seed: u64, bytes: usize, time: Duration) {
        let mut state = seed | 1;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let end = Instant::now() + time;
        while Instant::now() < end {
            for _ in 0..50 {
                let word = self.word64(next() as usize % (bytes.min(self.size) / 8) * 8);
                let value = match next() % 4 {
                    0 => next(),
                    1 => next() % 256,
                    2 => word.load(Ordering::Relaxed) ^ 1 << (next() % 64),
                    _ => 0,
                };
                word.store(value, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(windows)]
mod windows {
    use super::RawSection;
    use std::ffi::c_void;
    use std::ptr;

    type Handle = *mut c_void;

    #[link(name = "kernel32")]
    extern "system" {
        fn CloseHandle(handle: Handle) -> i32;
        fn CreateMutexW(attributes: *const c_void, owned: i32, name: *const u16) -> Handle;
        fn DuplicateHandle(
            source_process: Handle,
            source: Handle,
            target_process: Handle,
            target: *mut Handle,
            access: u32,
            inherit: i32,
            options: u32,
        ) -> i32;
        fn GetCurrentProcess() -> Handle;
        fn GetProcessHandleCount(process: Handle, count: *mut u32) -> i32;
        fn GetProcessTimes(
            process: Handle,
            created: *mut u64,
            exited: *mut u64,
            kernel: *mut u64,
            user: *mut u64,
        ) -> i32;
        fn MapViewOfFile(section: Handle, access: u32, high: u32, low: u32, size: usize) -> *mut c_void;
        fn OpenEventW(access: u32, inherit: i32, name: *const u16) -> Handle;
        fn OpenFileMappingW(access: u32, inherit: i32, name: *const u16) -> Handle;
        fn OpenProcess(access: u32, inherit: i32, pid: u32) -> Handle;
        fn SetEvent(event: Handle) -> i32;
        fn VirtualQuery(address: *const c_void, information: *mut MemoryInformation, size: usize) -> usize;
        fn WaitForSingleObject(object: Handle, millis: u32) -> u32;
    }

    #[link(name = "ntdll")]
    extern "system" {
        fn NtResumeProcess(process: Handle) -> i32;
        fn NtSuspendProcess(process: Handle) -> i32;
    }

    #[repr(C)]
    struct MemoryInformation {
        base: *mut c_void,
        allocation: *mut c_void,
        allocation_protection: u32,
        partition: u16,
        region_size: usize,
        state: u32,
        protection: u32,
        kind: u32,
    }

    const FILE_MAP_READ_WRITE: u32 = 6;
    const PROCESS_ALL_ACCESS: u32 = 0x001f_ffff;
    const DUPLICATE_SAME_ACCESS: u32 = 2;
    const EVENT_MODIFY_STATE: u32 = 2;

    fn link_path(name: &str) -> Vec<u16> {
        let name: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
        wide(&format!("Local\\xshm.link.{name}"))
    }

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().chain([0]).collect()
    }

    impl RawSection {
        /// The section of the server of that name.
        pub fn open(name: &str) -> Self {
            let path = link_path(name);
            // SAFETY: the name ends with a NUL.
            let section = unsafe { OpenFileMappingW(FILE_MAP_READ_WRITE, 0, path.as_ptr()) };
            assert!(!section.is_null(), "a section is named {name}");
            Self::map(section as isize)
        }

        /// The section behind a handle of this process.
        pub fn map(section: isize) -> Self {
            let mut information = std::mem::MaybeUninit::<MemoryInformation>::zeroed();
            // SAFETY: a new mapping; its description fits into the place given.
            unsafe {
                let base = MapViewOfFile(section as Handle, FILE_MAP_READ_WRITE, 0, 0, 0);
                assert!(!base.is_null(), "the section can be mapped");
                let size = std::mem::size_of::<MemoryInformation>();
                assert_ne!(VirtualQuery(base, information.as_mut_ptr(), size), 0);
                RawSection { base: base.cast(), size: information.assume_init().region_size }
            }
        }
    }

    /// Sets one of the events of the server of that name, by its number.
    pub fn set_event(name: &str, instance: u64, index: usize) {
        let path = wide(&format!("Local\\xshm.event.{index}.{instance:016x}.{name}"));
        // SAFETY: the name ends with a NUL; the handle is closed again.
        unsafe {
            let event = OpenEventW(EVENT_MODIFY_STATE, 0, path.as_ptr());
            assert!(!event.is_null(), "event {index} of {name} exists");
            SetEvent(event);
            CloseHandle(event);
        }
    }

    /// Whether an event handed out by the library is set, within so many milliseconds. Unsets it.
    pub fn wait_event(event: isize, millis: u32) -> bool {
        // SAFETY: waiting for a handle, whatever it is, touches no memory of ours.
        unsafe { WaitForSingleObject(event as Handle, millis) == 0 }
    }

    /// Takes the name that a server would take, with something else.
    pub fn squat(name: &str) {
        let path = link_path(name);
        // SAFETY: the name ends with a NUL. The handle stays open for as long as the process lives.
        assert!(!unsafe { CreateMutexW(ptr::null(), 0, path.as_ptr()) }.is_null());
    }

    struct OpenedProcess(Handle);

    impl OpenedProcess {
        fn new(pid: u32) -> Self {
            // SAFETY: no pointers.
            let process = unsafe { OpenProcess(PROCESS_ALL_ACCESS, 0, pid) };
            assert!(!process.is_null(), "process {pid} can be opened");
            OpenedProcess(process)
        }
    }

    impl Drop for OpenedProcess {
        fn drop(&mut self) {
            // SAFETY: opened by `new`.
            unsafe { CloseHandle(self.0) };
        }
    }

    /// A self-relative security descriptor whose access list is empty.
    pub fn descriptor_for_nobody() -> Vec<u8> {
        let mut bytes = vec![1, 0, 0x04, 0x80];
        for offset in [0_u32, 0, 0, 20] {
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes.extend_from_slice(&[2, 0, 8, 0, 0, 0, 0, 0]);
        bytes
    }

    /// Gives another process a handle like ours, and says what it is there.
    pub fn give_handle(pid: u32, handle: isize) -> isize {
        let process = OpenedProcess::new(pid);
        let mut given = ptr::null_mut();
        // SAFETY: the place for the result is valid.
        let done = unsafe {
            let own = GetCurrentProcess();
            DuplicateHandle(own, handle as Handle, process.0, &mut given, 0, 0, DUPLICATE_SAME_ACCESS)
        };
        assert_ne!(done, 0, "the handle can be given");
        given as isize
    }

    pub fn freeze(pid: u32) {
        // SAFETY: no pointers.
        assert!(unsafe { NtSuspendProcess(OpenedProcess::new(pid).0) } >= 0);
    }

    pub fn thaw(pid: u32) {
        // SAFETY: no pointers.
        assert!(unsafe { NtResumeProcess(OpenedProcess::new(pid).0) } >= 0);
    }

    /// Handles that this process has open.
    pub fn open_handles() -> u32 {
        let mut count = 0;
        // SAFETY: the place for the result is valid.
        assert_ne!(unsafe { GetProcessHandleCount(GetCurrentProcess(), &mut count) }, 0);
        count
    }

    /// Processor time that this process has used, in units of 100 ns.
    pub fn processor_time() -> u64 {
        let (mut created, mut exited, mut kernel, mut user) = (0, 0, 0, 0);
        // SAFETY: the places for the results are valid.
        let done = unsafe {
            GetProcessTimes(GetCurrentProcess(), &mut created, &mut exited, &mut kernel, &mut user)
        };
        assert_ne!(done, 0);
        kernel + user
    }
}

#[cfg(windows)]
#[allow(unused_imports, reason = "each test file uses some of this")]
pub use windows::*;
