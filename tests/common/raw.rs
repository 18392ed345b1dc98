//! System calls without the library: a channel's section as a hostile process maps it, processes that are frozen, and
//! counts of handles, threads and processor time. Declared by hand, so that the tests need no further crates.

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
        // SAFETY: within the mapping, which is never unmapped, and aligned.
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

    /// Writes garbage at random places among the first `bytes`, for a time: zeros, small numbers, large ones, and the old
    /// value with one bit changed.
    pub fn scribble(&self, seed: u64, bytes: usize, time: Duration) {
        let mut next = super::pseudorandom(seed | 1);
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
    use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, IntoRawHandle, OwnedHandle};
    use std::ptr;

    type Handle = *mut c_void;

    #[link(name = "kernel32")]
    extern "system" {
        fn CloseHandle(handle: Handle) -> i32;
        fn CreateToolhelp32Snapshot(flags: u32, process: u32) -> Handle;
        fn CreateFileMappingW(
            file: Handle, attributes: *const c_void, protection: u32, high: u32, low: u32, name: *const u16,
        ) -> Handle;
        fn CreateMutexW(attributes: *const c_void, owned: i32, name: *const u16) -> Handle;
        fn DuplicateHandle(
            source_process: Handle, source: Handle, target_process: Handle, target: *mut Handle, access: u32,
            inherit: i32, options: u32,
        ) -> i32;
        fn GetCurrentProcess() -> Handle;
        fn GetHandleInformation(handle: Handle, flags: *mut u32) -> i32;
        fn GetLastError() -> u32;
        fn GetModuleHandleA(name: *const u8) -> Handle;
        fn GetProcessHandleCount(process: Handle, count: *mut u32) -> i32;
        fn GetProcessTimes(
            process: Handle, created: *mut u64, exited: *mut u64, kernel: *mut u64, user: *mut u64,
        ) -> i32;
        fn MapViewOfFile(section: Handle, access: u32, high: u32, low: u32, size: usize) -> *mut c_void;
        fn OpenEventW(access: u32, inherit: i32, name: *const u16) -> Handle;
        fn OpenFileMappingW(access: u32, inherit: i32, name: *const u16) -> Handle;
        fn OpenProcess(access: u32, inherit: i32, pid: u32) -> Handle;
        fn OpenThread(access: u32, inherit: i32, thread: u32) -> Handle;
        fn ProcessIdToSessionId(pid: u32, session: *mut u32) -> i32;
        fn SetEvent(event: Handle) -> i32;
        fn Thread32First(snapshot: Handle, entry: *mut [u32; 7]) -> i32;
        fn Thread32Next(snapshot: Handle, entry: *mut [u32; 7]) -> i32;
        fn VirtualQuery(address: *const c_void, information: *mut MemoryInformation, size: usize) -> usize;
        fn WaitForMultipleObjects(count: u32, objects: *const isize, all: i32, millis: u32) -> u32;
        fn WaitForSingleObject(object: Handle, millis: u32) -> u32;
    }

    #[link(name = "ntdll")]
    extern "system" {
        fn NtQueryInformationThread(
            thread: Handle, class: u32, information: *mut c_void, size: u32, needed: *mut u32,
        ) -> i32;
        fn NtQueryObject(
            object: Handle, class: u32, information: *mut c_void, size: u32, needed: *mut u32,
        ) -> i32;
        fn NtResumeProcess(process: Handle) -> i32;
        fn NtSuspendProcess(process: Handle) -> i32;
    }

    #[repr(C)]
    struct MemoryInformation {
        base: *mut c_void,
        allocation: *mut c_void,
        allocation_protection: u32,
        #[cfg(target_pointer_width = "64")]
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

    /// Opens the objects of the server of that name by their names: the section by both of its names, for mapping, and the
    /// events, for setting. Returns the error of each; 0 is none.
    pub fn open_all(name: &str, instance: u64) -> Vec<u32> {
        let sections = [link_path(name), wide(&format!("Local\\xshm.section.{instance:016x}.{name}"))];
        let events = (0..7).map(|index| wide(&format!("Local\\xshm.event.{index}.{instance:016x}.{name}")));
        // SAFETY: the names end with a NUL; the handles are closed again.
        unsafe {
            let sections =
                sections.iter().map(|path| OpenFileMappingW(FILE_MAP_READ_WRITE, 0, path.as_ptr()));
            let events = events.map(|path| OpenEventW(EVENT_MODIFY_STATE, 0, path.as_ptr()));
            let error = |handle: Handle| {
                if handle.is_null() {
                    return GetLastError();
                }
                CloseHandle(handle);
                0
            };
            sections.chain(events).map(error).collect()
        }
    }

    /// Whether an event of the library is set, within `millis` milliseconds. Resets it.
    pub fn wait_event(event: isize, millis: u32) -> bool {
        // SAFETY: waiting for a handle, whatever it is, touches no memory of ours.
        unsafe { WaitForSingleObject(event as Handle, millis) == 0 }
    }

    /// Whether a handle is signalled within `millis` milliseconds. Resets an event.
    pub fn is_ready(handle: isize, millis: u32) -> bool {
        wait_event(handle, millis)
    }

    /// Whether one of the handles is signalled within `millis` milliseconds. Resets it, if it is an event.
    pub fn is_one_ready(handles: &[isize], millis: u32) -> bool {
        // SAFETY: the count is right; waiting for a handle, whatever it is, touches no memory of ours.
        unsafe { WaitForMultipleObjects(handles.len() as u32, handles.as_ptr(), 0, millis) < 64 }
    }

    /// Maps a file for as long as the process lives.
    pub fn map_file(file: std::fs::File) {
        const PAGE_READWRITE: u32 = 4;
        let file = file.into_raw_handle();
        // SAFETY: an open file; without a name.
        let section = unsafe { CreateFileMappingW(file, ptr::null(), PAGE_READWRITE, 0, 0, ptr::null()) };
        assert!(!section.is_null(), "the file can be mapped");
        RawSection::map(section as isize);
    }

    /// Raises the limit of handles. Windows has none.
    pub fn raise_limits() -> u64 {
        u64::MAX
    }

    /// Threads of this process that run this program's own code. Windows adds threads of its own, which load libraries or
    /// wait for work, and ends them when they had nothing to do for a while; these began in ntdll.
    pub fn threads() -> usize {
        const SNAPSHOT_OF_THREADS: u32 = 4;
        // A THREADENTRY32: its size, a count, the thread, its process, two priorities, flags.
        let mut entry = [28, 0, 0, 0, 0, 0, 0];
        let mut count = 0;
        // SAFETY: the entry has the size that it says; the snapshot is closed again.
        unsafe {
            let snapshot = CreateToolhelp32Snapshot(SNAPSHOT_OF_THREADS, 0);
            assert_ne!(snapshot as isize, -1, "threads can be listed");
            let mut more = Thread32First(snapshot, &mut entry);
            while more != 0 {
                count += usize::from(entry[3] == std::process::id() && began_here(entry[2]));
                more = Thread32Next(snapshot, &mut entry);
            }
            CloseHandle(snapshot);
        }
        count
    }

    /// Whether a thread of this process began in this program, and still runs.
    fn began_here(thread: u32) -> bool {
        const THREAD_QUERY_INFORMATION: u32 = 0x40;
        const START_ADDRESS: u32 = 9;
        let mut start = ptr::null_mut::<c_void>();
        let mut information = std::mem::MaybeUninit::<MemoryInformation>::zeroed();
        // SAFETY: the places for the results have the sizes said; the handle is closed again.
        unsafe {
            let thread = OpenThread(THREAD_QUERY_INFORMATION, 0, thread);
            if thread.is_null() {
                return false;
            }
            let (place, size) = ((&mut start as *mut *mut c_void).cast(), std::mem::size_of::<Handle>());
            let asked = NtQueryInformationThread(thread, START_ADDRESS, place, size as u32, ptr::null_mut());
            CloseHandle(thread);
            let size = std::mem::size_of::<MemoryInformation>();
            asked >= 0
                && VirtualQuery(start, information.as_mut_ptr(), size) != 0
                && information.assume_init().allocation == GetModuleHandleA(ptr::null())
        }
    }

    /// Whether `Local\` and `Global\` lead to the same directory of names. They do in session 0.
    pub fn scopes_are_one() -> bool {
        let mut session = 0;
        // SAFETY: the place for the result is valid.
        assert_ne!(unsafe { ProcessIdToSessionId(std::process::id(), &mut session) }, 0);
        session == 0
    }

    /// Always 0: on Windows each mapped section has a handle, which `open_handles` counts.
    pub fn mappings() -> usize {
        0
    }

    /// Takes the name that a server would take, by another object.
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

    /// A self-relative security descriptor whose access list is empty, and so admits no user.
    pub fn empty_descriptor() -> Vec<u8> {
        let mut bytes = vec![1, 0, 0x04, 0x80];
        for offset in [0_u32, 0, 0, 20] {
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes.extend_from_slice(&[2, 0, 8, 0, 0, 0, 0, 0]);
        bytes
    }

    /// Duplicates a handle into another process. Returns its number there.
    pub fn give_handle(pid: u32, handle: isize) -> String {
        let process = OpenedProcess::new(pid);
        let mut given = ptr::null_mut();
        // SAFETY: the place for the result is valid.
        let done = unsafe {
            let own = GetCurrentProcess();
            DuplicateHandle(own, handle as Handle, process.0, &mut given, 0, 0, DUPLICATE_SAME_ACCESS)
        };
        assert_ne!(done, 0, "the handle can be given");
        (given as isize).to_string()
    }

    /// The handle that another process gave, by its number.
    pub fn take_handle(given: &str) -> isize {
        given.parse().unwrap()
    }

    /// Whether programs that this process starts inherit a handle.
    pub fn is_inheritable(handle: isize) -> bool {
        const HANDLE_FLAG_INHERIT: u32 = 1;
        let mut flags = 0;
        // SAFETY: the place for the result is valid.
        assert_ne!(unsafe { GetHandleInformation(handle as Handle, &mut flags) }, 0, "{handle} is open");
        flags & HANDLE_FLAG_INHERIT != 0
    }

    /// The rights that a handle has.
    pub fn rights(handle: isize) -> Option<u32> {
        const OBJECT_BASIC_INFORMATION: u32 = 0;
        // Attributes, granted rights, and twelve words that don't matter.
        let mut information = [0_u32; 14];
        let (mut needed, size) = (0, 56);
        // SAFETY: the places for the results are valid, and as long as said.
        let status = unsafe {
            let information = information.as_mut_ptr().cast();
            NtQueryObject(handle as Handle, OBJECT_BASIC_INFORMATION, information, size, &mut needed)
        };
        assert!(status >= 0, "{handle}: {status:#x}");
        Some(information[1])
    }

    /// Runs `start`, which starts a process. Here the test gives the handles to the process later, by `give_handle`.
    pub fn inherited<R>(_handles: &[isize], start: impl FnOnce() -> R) -> R {
        start()
    }

    /// A handle that was given to this process.
    pub fn owned(handle: isize) -> OwnedHandle {
        // SAFETY: given to us, and closed once.
        unsafe { OwnedHandle::from_raw_handle(handle as Handle) }
    }

    /// A handle that stays open while it is lent.
    pub fn lent(handle: isize) -> BorrowedHandle<'static> {
        // SAFETY: the tests keep its owner that long.
        unsafe { BorrowedHandle::borrow_raw(handle as Handle) }
    }

    pub fn number(handle: BorrowedHandle<'_>) -> isize {
        handle.as_raw_handle() as isize
    }

    /// A user that no process here has.
    pub fn unused_user() -> xshm::UserId {
        "S-1-5-21-1-2-3-4567".parse().unwrap()
    }

    pub fn freeze(pid: u32) {
        // SAFETY: no pointers.
        assert!(unsafe { NtSuspendProcess(OpenedProcess::new(pid).0) } >= 0);
    }

    pub fn thaw(pid: u32) {
        // SAFETY: no pointers.
        assert!(unsafe { NtResumeProcess(OpenedProcess::new(pid).0) } >= 0);
    }

    /// Handles that this process has open to objects of the kinds that the library uses. The system opens and closes others
    /// whenever it likes: those of its thread pool, of the loader, of the registry.
    pub fn open_handles() -> u32 {
        objects().len() as u32
    }

    /// The objects of a channel that this process has a handle to, by their names.
    pub fn handles_to(channel: &str) -> Vec<String> {
        let link = link_path(channel);
        let link = String::from_utf16_lossy(&link[..link.len() - 1]).split_off("Local\\".len());
        let mut names = objects();
        names.retain(|name| name.ends_with(channel) || name.ends_with(&link));
        names
    }

    /// The names of the objects of the library's kinds that this process has a handle to. Most are empty.
    fn objects() -> Vec<String> {
        const KINDS: [&str; 5] = ["Event", "Process", "Section", "SymbolicLink", "Thread"];
        const NAMED: [&str; 3] = ["Event", "Section", "SymbolicLink"];
        const OBJECT_NAME_INFORMATION: u32 = 1;
        const OBJECT_TYPE_INFORMATION: u32 = 2;
        // All handles that the process has. Wine 8 says 0: there the search ends where no handle was for long.
        let mut count = 0;
        // SAFETY: the place for the result is valid.
        assert_ne!(unsafe { GetProcessHandleCount(GetCurrentProcess(), &mut count) }, 0);
        let (mut found, mut missing, mut names) = (0, 0, Vec::new());
        for handle in (4..1 << 20).step_by(4) {
            if if count == 0 { missing == 1024 } else { found == count } {
                break;
            }
            let Some(kind) = text(handle as Handle, OBJECT_TYPE_INFORMATION) else {
                missing += 1;
                continue;
            };
            (found, missing) = (found + 1, 0);
            if KINDS.contains(&&*kind) {
                // The name of a pipe would be waited for.
                let name = NAMED.contains(&&*kind).then(|| text(handle as Handle, OBJECT_NAME_INFORMATION));
                names.push(name.flatten().unwrap_or_default());
            }
        }
        names
    }

    /// What the system answers about a handle, if that begins with a UNICODE_STRING.
    fn text(handle: Handle, class: u32) -> Option<String> {
        let mut buffer = [0_u64; 160];
        let mut needed = 0;
        // SAFETY: the buffer is as long as said. The answer begins with a length in bytes; a pointer to the text follows, which
        // is in the buffer too.
        unsafe {
            if NtQueryObject(handle, class, buffer.as_mut_ptr().cast(), 1280, &mut needed) < 0 {
                return None;
            }
            let length = usize::from(*buffer.as_ptr().cast::<u16>()) / 2;
            let text = *buffer.as_ptr().cast::<*const u16>().add(1);
            let text = if length == 0 { &[] } else { std::slice::from_raw_parts(text, length) };
            Some(String::from_utf16_lossy(text))
        }
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

#[cfg(unix)]
mod linux {
    use super::RawSection;
    use std::ffi::{c_int, c_long, c_void};
    use std::fs;
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
    use std::os::unix::fs::FileExt;
    use std::time::Duration;

    extern "C" {
        fn close(descriptor: c_int) -> c_int;
        fn fcntl(descriptor: c_int, command: c_int, argument: c_int) -> c_int;
        fn setrlimit(resource: c_int, limits: *const [u64; 2]) -> c_int;
        fn shutdown(socket: c_int, how: c_int) -> c_int;
        fn bind(socket: c_int, address: *const c_void, length: u32) -> c_int;
        fn clock_gettime(clock: c_int, time: *mut [c_long; 2]) -> c_int;
        fn getsockopt(socket: c_int, level: c_int, name: c_int, value: *mut c_int, length: *mut u32)
            -> c_int;
        fn getrlimit(resource: c_int, limits: *mut [u64; 2]) -> c_int;
        fn getuid() -> u32;
        fn kill(pid: c_int, signal: c_int) -> c_int;
        fn mmap(
            at: *mut c_void, size: usize, protection: c_int, flags: c_int, file: c_int, offset: i64,
        ) -> *mut c_void;
        fn poll(descriptors: *mut [u16; 4], count: u64, millis: c_int) -> c_int;
        fn recv(socket: c_int, buffer: *mut c_void, size: usize, flags: c_int) -> isize;
        fn send(socket: c_int, buffer: *const c_void, size: usize, flags: c_int) -> isize;
        fn accept(socket: c_int, address: *const c_void, length: *const c_void) -> c_int;
        fn listen(socket: c_int, waiting: c_int) -> c_int;
        fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
        fn syscall(number: c_long, ...) -> c_long;
    }

    const MSG_DONTWAIT: c_int = 0x40;
    const SIGCONT: c_int = 18;
    const SIGSTOP: c_int = 19;

    impl RawSection {
        /// The section of the server of that name, found among the descriptors of all processes. If the server also has the
        /// section of the last session, the result is the one that it offers.
        pub fn open(name: &str) -> Self {
            const SERVER_GONE: u32 = 2;
            let wanted = format!("/memfd:xshm:{name} (deleted)");
            let mut found = None;
            for process in fs::read_dir("/proc").unwrap().flatten() {
                let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
                for descriptor in descriptors.flatten() {
                    let path = descriptor.path();
                    if fs::read_link(&path).is_ok_and(|target| target.as_os_str() == wanted.as_str()) {
                        let file = fs::File::options().read(true).write(true).open(path).unwrap();
                        let mut state = [0; 4];
                        file.read_exact_at(&mut state, 12).unwrap();
                        if u32::from_ne_bytes(state) != SERVER_GONE {
                            return Self::map(file.into_raw_fd() as isize);
                        }
                        found = Some(file);
                    }
                }
            }
            Self::map(found.expect("a section is named so").into_raw_fd() as isize)
        }

        /// The section behind a descriptor of this process.
        pub fn map(section: isize) -> Self {
            let size = fs::metadata(format!("/proc/self/fd/{section}")).unwrap().len() as usize;
            // SAFETY: a new mapping of a file that has this size.
            let base = unsafe { mmap(std::ptr::null_mut(), size, 3, 1, section as c_int, 0) };
            assert_ne!(base as isize, -1, "the section can be mapped");
            RawSection { base: base.cast(), size }
        }
    }

    /// The sockets of events that this process has.
    fn event_sockets() -> Vec<c_int> {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let numbers = descriptors.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap());
        let is_event = |&number: &c_int| {
            let (mut kind, mut length) = (0, 4);
            // SAFETY: the places for the results are valid; the call fails for what is no socket. SOL_SOCKET, SO_TYPE,
            // SOCK_DGRAM.
            unsafe { getsockopt(number, 1, 3, &mut kind, &mut length) == 0 && kind == 2 }
        };
        numbers.filter(is_event).collect()
    }

    /// Sets all of the events whose sockets this process has: those of the server of any name.
    pub fn set_event(_name: &str, _instance: u64, _index: usize) {
        for socket in event_sockets() {
            // SAFETY: a buffer of one byte.
            unsafe { send(socket, [1_u8].as_ptr().cast(), 1, MSG_DONTWAIT) };
        }
    }

    /// Misuses all event sockets of this process: makes them blocking and fills their queues (`fill`), shuts both directions
    /// (`shut`) or only the receiving one (`shut_reading`), or closes them (`close`).
    pub fn abuse_events(how: &str) {
        for socket in event_sockets() {
            // SAFETY: a buffer of one byte; F_SETFL. The closed descriptors belong to the library, which this process does
            // not use any more.
            unsafe {
                match how {
                    "fill" => {
                        fcntl(socket, 4, 0);
                        while send(socket, [1_u8].as_ptr().cast(), 1, MSG_DONTWAIT) == 1 {}
                    }
                    "shut" => drop(shutdown(socket, 2)),
                    "shut_reading" => drop(shutdown(socket, 0)),
                    "close" => drop(close(socket)),
                    _ => panic!("{how}?"),
                }
            }
        }
    }

    /// Whether an event of the library is set, within `millis` milliseconds. Resets it.
    pub fn wait_event(event: isize, millis: u32) -> bool {
        let event = event as c_int;
        // A `struct pollfd`: the descriptor (four bytes), what to wait for (POLLIN), what was found.
        let mut descriptor = [event as u16, (event >> 16) as u16, 1, 0];
        // SAFETY: one descriptor, as said; the buffer has a byte.
        unsafe {
            poll(&mut descriptor, 1, millis as c_int) == 1
                && recv(event, [0_u8].as_mut_ptr().cast(), 1, MSG_DONTWAIT) == 1
        }
    }

    /// Whether a descriptor is readable within `millis` milliseconds.
    pub fn is_ready(descriptor: isize, millis: u32) -> bool {
        let mut descriptor = [descriptor as u16, (descriptor >> 16) as u16, 1, 0];
        // SAFETY: one descriptor, as said.
        unsafe { poll(&mut descriptor, 1, millis as c_int) == 1 }
    }

    /// Whether one of the descriptors is readable within `millis` milliseconds.
    pub fn is_one_ready(descriptors: &[isize], millis: u32) -> bool {
        let of_one = |&descriptor: &isize| [descriptor as u16, (descriptor >> 16) as u16, 1, 0];
        let mut polled: Vec<u16> = descriptors.iter().flat_map(of_one).collect();
        // SAFETY: as many descriptors, as said.
        unsafe { poll(polled.as_mut_ptr().cast(), descriptors.len() as _, millis as c_int) > 0 }
    }

    /// Takes the name that a server would take, by another object: a socket where no process listens.
    pub fn squat(name: &str) {
        // SAFETY: no pointers.
        bound_socket(unsafe { getuid() }, name);
    }

    /// Takes a name that contains another user's id, and listens there.
    pub fn squat_on(uid: u32, name: &str) {
        // SAFETY: no pointers.
        assert_eq!(unsafe { listen(bound_socket(uid, name), 8) }, 0);
    }

    /// Takes the name that a server would take, and closes each connection at once.
    pub fn squat_and_close(name: &str) {
        // SAFETY: no pointers; `accept` may have NULL for the address.
        unsafe {
            let socket = bound_socket(getuid(), name);
            assert_eq!(listen(socket, 8), 0);
            std::thread::spawn(move || loop {
                close(accept(socket, std::ptr::null(), std::ptr::null()));
            });
        }
    }

    fn bound_socket(uid: u32, name: &str) -> c_int {
        let path = format!("\0xshm/{uid}/{name}");
        let mut address = 1_u16.to_ne_bytes().to_vec();
        address.extend_from_slice(path.as_bytes());
        // SAFETY: AF_UNIX, SOCK_SEQPACKET; the address has the length said. The socket stays for as long as the
        // process lives.
        unsafe {
            let socket = socket(1, 5, 0);
            assert_eq!(bind(socket, address.as_ptr().cast(), address.len() as u32), 0);
            socket
        }
    }

    /// Whether `Local\` and `Global\` lead to the same names.
    pub fn scopes_are_one() -> bool {
        false
    }

    /// Tries to open and map another process's section by `/proc`, and to duplicate one of its descriptors. Returns the
    /// error of each; 0 is none.
    pub fn reach(pid: u32, section: isize, event: isize) -> [i32; 2] {
        const PIDFD_OPEN: c_long = 434;
        const PIDFD_GETFD: c_long = 438;
        let path = format!("/proc/{pid}/fd/{section}");
        let section = match fs::File::options().read(true).write(true).open(path) {
            Ok(file) => {
                RawSection::map(file.into_raw_fd() as isize);
                0
            }
            Err(error) => error.raw_os_error().unwrap(),
        };
        // SAFETY: no pointers. A byte is sent only to the socket that was just taken.
        let event = unsafe {
            let process = syscall(PIDFD_OPEN, pid as c_int, 0);
            assert!(process >= 0, "any process can be watched");
            match syscall(PIDFD_GETFD, process as c_int, event as c_int, 0) as c_int {
                -1 => std::io::Error::last_os_error().raw_os_error().unwrap(),
                socket if send(socket, [1_u8].as_ptr().cast(), 1, MSG_DONTWAIT) == 1 => 0,
                _ => -1,
            }
        };
        [section, event]
    }

    /// The text by which another process finds a descriptor of this one.
    pub fn give_handle(_pid: u32, handle: isize) -> String {
        format!("/proc/{}/fd/{handle}", std::process::id())
    }

    /// Opens the descriptor that another process gave. No process can open a socket by `/proc`: a socket was inherited,
    /// and has the same number.
    pub fn take_handle(given: &str) -> isize {
        let opened = fs::File::options().read(true).write(true).open(given);
        let number = || given.rsplit('/').next().unwrap().parse().unwrap();
        opened.map_or_else(|_| number(), |file| file.into_raw_fd() as isize)
    }

    /// Whether programs that this process starts inherit a descriptor.
    pub fn is_inheritable(handle: isize) -> bool {
        const F_GETFD: c_int = 1;
        const FD_CLOEXEC: c_int = 1;
        // SAFETY: no pointers.
        let flags = unsafe { fcntl(handle as c_int, F_GETFD, 0) };
        assert_ne!(flags, -1, "{handle} is open");
        flags & FD_CLOEXEC == 0
    }

    /// `None`: a descriptor has no separate rights.
    pub fn rights(_handle: isize) -> Option<u32> {
        None
    }

    /// Runs `start`; the processes that it starts inherit these descriptors.
    pub fn inherited<R>(handles: &[isize], start: impl FnOnce() -> R) -> R {
        let inherit = |flags: c_int| {
            for &handle in handles {
                // SAFETY: F_SETFD of a descriptor of ours, with FD_CLOEXEC or without.
                assert_eq!(unsafe { fcntl(handle as c_int, 2, flags) }, 0);
            }
        };
        inherit(0);
        let started = start();
        inherit(1);
        started
    }

    /// A descriptor that `take_handle` took.
    pub fn owned(descriptor: isize) -> OwnedFd {
        // SAFETY: taken once, and closed once.
        unsafe { OwnedFd::from_raw_fd(descriptor as c_int) }
    }

    /// A descriptor that stays open while it is lent.
    pub fn lent(descriptor: isize) -> BorrowedFd<'static> {
        // SAFETY: the tests keep its owner that long.
        unsafe { BorrowedFd::borrow_raw(descriptor as c_int) }
    }

    pub fn number(descriptor: BorrowedFd<'_>) -> isize {
        descriptor.as_raw_fd() as isize
    }

    pub fn freeze(pid: u32) {
        // SAFETY: no pointers.
        assert_eq!(unsafe { kill(pid as c_int, SIGSTOP) }, 0);
        let stopped = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat[stat.rfind(')').unwrap()..].starts_with(") T")
        };
        while !stopped() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn thaw(pid: u32) {
        // SAFETY: no pointers.
        assert_eq!(unsafe { kill(pid as c_int, SIGCONT) }, 0);
    }

    /// Maps a file for as long as the process lives.
    pub fn map_file(file: fs::File) {
        RawSection::map(file.into_raw_fd() as isize);
    }

    /// Threads that this process has.
    pub fn threads() -> usize {
        fs::read_dir("/proc/self/task").unwrap().count()
    }

    /// Raises the limit of descriptors to the highest value that is permitted, and returns it.
    pub fn raise_limits() -> u64 {
        let mut limits = [0_u64; 2];
        // SAFETY: the place for the limits is valid. RLIMIT_NOFILE.
        unsafe { assert_eq!(getrlimit(7, &mut limits), 0) };
        limit_descriptors(limits[1]);
        limits[1]
    }

    /// Limits how many descriptors this process may have.
    pub fn limit_descriptors(most: u64) {
        let mut limits = [0_u64; 2];
        // SAFETY: the place for the limits is valid. RLIMIT_NOFILE.
        unsafe {
            assert_eq!(getrlimit(7, &mut limits), 0);
            limits[0] = most;
            assert_eq!(setrlimit(7, &limits), 0);
        }
    }

    /// Mappings that this process has.
    pub fn mappings() -> usize {
        fs::read_to_string("/proc/self/maps").unwrap().lines().filter(|line| line.contains("memfd:")).count()
    }

    /// The objects of a channel that this process has a descriptor of, and that have a name: its sections.
    pub fn handles_to(channel: &str) -> Vec<String> {
        let links = fs::read_dir("/proc/self/fd")
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        let mut names: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
        names.retain(|name| name.contains(&format!(":{channel} ")));
        names
    }

    /// Descriptors that this process has open.
    pub fn open_handles() -> u32 {
        fs::read_dir("/proc/self/fd").unwrap().count() as u32
    }

    /// Processor time that this process has used, in units of 100 ns.
    pub fn processor_time() -> u64 {
        const CLOCK_PROCESS_CPUTIME_ID: c_int = 2;
        clock(CLOCK_PROCESS_CPUTIME_ID)
    }

    /// Processor time that this thread has used, in units of 100 ns. The tests of one program run at the same time, so
    /// this is for a test whose own thread must sleep.
    pub fn thread_processor_time() -> u64 {
        const CLOCK_THREAD_CPUTIME_ID: c_int = 3;
        clock(CLOCK_THREAD_CPUTIME_ID)
    }

    fn clock(clock: c_int) -> u64 {
        let mut time = [0; 2];
        // SAFETY: the place for the result is valid.
        assert_eq!(unsafe { clock_gettime(clock, &mut time) }, 0);
        time[0] as u64 * 10_000_000 + time[1] as u64 / 100
    }

    /// A user that no process here has.
    pub fn unused_user() -> xshm::UserId {
        "54321".parse().unwrap()
    }
}

#[cfg(unix)]
#[allow(unused_imports, reason = "each test file uses some of this")]
pub use linux::*;

#[cfg(windows)]
#[allow(unused_imports, reason = "each test file uses some of this")]
pub use windows::*;
