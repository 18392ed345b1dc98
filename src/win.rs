//! Windows: sections, events, waits and processes, on [`ntapi`](crate::ntapi).

mod channels;
mod client_end;
mod joined;
mod listener;
mod lookup;
mod names;
mod processes;
#[cfg(feature = "async")]
mod reactor;
mod thread;
mod token;

pub(crate) use crate::sys::kinds::{
    NoHandover as Handover, OnlyName as HeldName, OnlyProcess as OwningProcess,
};
pub(crate) use channels::channels;
pub(crate) use client_end::{client_events, ClientEnd};
pub(crate) use joined::Joined;
pub(crate) use listener::{Listener, Offer, Prepared};
pub(crate) use lookup::{is_busy, lookup, EventOpener, Found};
pub(crate) use processes::birth;
#[cfg(feature = "async")]
pub(crate) use reactor::Watch;
pub(crate) use std::os::windows::io::{
    AsHandle as AsObject, BorrowedHandle as BorrowedObject, OwnedHandle as OwnedObject,
};
pub(crate) use thread::{is_shutting_down, Thread};

use crate::error::{Result, ShmError};
use crate::ntapi::*;
use crate::sys::kinds::{self, Audience, Unwatchable};
use std::mem::size_of;
use std::os::windows::io::{self, AsHandle, AsRawHandle};
use std::ptr::{self, NonNull};
use std::time::Duration;

const SECTION_ACCESS: u32 = SECTION_MAP_READ | SECTION_MAP_WRITE | SECTION_QUERY | READ_CONTROL;
const EVENT_ACCESS: u32 = EVENT_MODIFY_STATE | SYNCHRONIZE | READ_CONTROL;

/// A user or group.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct User(Sid);

impl User {
    /// The user of this process.
    pub(crate) fn current() -> Result<Self> {
        token::of_process(CURRENT_PROCESS)
            .and_then(|token| token::user(&token))
            .map_err(failed("asking for the current user"))
    }

    /// The user as which this thread acts: the process's, unless the thread impersonates another one.
    fn effective() -> Result<Self> {
        match token::effective().and_then(|token| token::user(&token)) {
            // The thread acts for a client that does not say who it is.
            Err(STATUS_CANT_OPEN_ANONYMOUS) => Ok(User(Sid::anonymous())),
            user => user.map_err(failed("asking for the user of this thread")),
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Sid::parse(text).map(User)
    }

    /// Whether the system has said which user it is.
    pub(crate) fn is_known(&self) -> bool {
        true
    }

    /// Whether a server of this user is trusted by default: our own, the system's, and the administrators'.
    pub(crate) fn is_trusted_server(&self) -> Result<bool> {
        Ok(self.0 == Sid::system() || self.0 == Sid::administrators() || *self == User::effective()?)
    }
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An error of std's.
fn io_error(error: &std::io::Error, context: &'static str) -> ShmError {
    ShmError::WindowsError { code: error.raw_os_error().unwrap_or(0) as u32, context }
}

/// The error of a call for which this process has no memory.
pub(crate) fn out_of_memory(context: &'static str) -> ShmError {
    ShmError::WindowsError { code: STATUS_NO_MEMORY as u32, context }
}

pub(crate) fn process_id() -> u32 {
    std::process::id()
}

pub(crate) fn coarse_millis() -> u32 {
    // SAFETY: it takes nothing and cannot fail: it reads a page that the kernel shares with every process.
    unsafe { NtGetTickCount() }
}

/// A security descriptor for objects that these users may use, with these rights.
///
/// # Errors
/// [`ShmError::Refused`]: this thread impersonates another user. The objects would be that user's, and the library's own threads,
/// which do not impersonate, could make no further ones for the same channel.
fn security(audience: &Audience<'_, User>, rights: u32) -> Result<Vec<u8>> {
    let user = User::current()?;
    if User::effective()? != user {
        let reason = format!(
            "this thread impersonates another user than {user}, which runs this process; start the server before \
             impersonating, or after RevertToSelf"
        );
        return Err(ShmError::Refused { reason });
    }
    let user = user.0;
    let mut allowed = vec![user.clone(), Sid::system(), Sid::administrators()];
    let mut owner_rights = Vec::new();
    match audience {
        Audience::Owner => {}
        // The objects' owner could otherwise change who may use them. It is the same user, elevated or not.
        Audience::Administrators => {
            allowed.remove(0);
            owner_rights.push((Sid::owner_rights(), READ_CONTROL));
        }
        Audience::Everyone => allowed.push(Sid::everyone()),
        Audience::Users(users) => allowed.extend(users.iter().map(|user| user.0.clone())),
        Audience::SecurityDescriptor(bytes) if is_descriptor(bytes) => return Ok(bytes.to_vec()),
        Audience::SecurityDescriptor(bytes) => {
            return Err(ShmError::InvalidOption {
                option: "security descriptor",
                value: bytes.len() as u64,
                reason: "the bytes are not a self-relative security descriptor".to_owned(),
            })
        }
    }
    // An access list's size is a 16-bit number, and a SID has at most 68 bytes.
    if allowed.len() > 800 {
        let (value, reason) = (allowed.len() as u64, "at most 800 users fit into an access list".to_owned());
        return Err(ShmError::InvalidOption { option: "users", value, reason });
    }
    let allowed: Vec<_> = allowed.into_iter().map(|sid| (sid, rights)).chain(owner_rights).collect();
    Ok(descriptor(&user, &allowed))
}

// ---------------------------------------------------------------------------------------------------- sections

/// A section: pages that several processes can map.
pub(crate) struct Section {
    handle: OwnedHandle,
    size: usize,
}

impl Section {
    /// A section without a name.
    pub(crate) fn create(size: usize) -> Result<Self> {
        let security = security(&Audience::Owner, SECTION_ACCESS)?;
        create_section(None, &security, size).map_err(failed("creating a section"))
    }

    /// A second handle to a section that the caller has.
    pub(crate) fn duplicate_of(object: &impl AsHandle) -> Result<Self> {
        Self::duplicate(object.as_handle().as_raw_handle() as isize)
    }

    /// A second handle to a section, made from one of this process. The kernel checks the number.
    pub(crate) fn duplicate(raw: isize) -> Result<Self> {
        let handle = match duplicate_raw(raw, SECTION_ACCESS) {
            // The handle has not the right to ask whose the section is, and the access list doesn't give it to this user.
            Err(STATUS_ACCESS_DENIED) => duplicate_raw(raw, SECTION_ACCESS & !READ_CONTROL),
            other => other,
        };
        match handle {
            Ok(handle) => Self::from_handle(handle),
            Err(STATUS_INVALID_HANDLE) => {
                let reason = format!("{raw:#x} is no handle of this process, and so no handle to a section");
                Err(ShmError::Refused { reason })
            }
            Err(status) => Err(error(status, "duplicating the section handle")),
        }
    }

    fn from_handle(handle: OwnedHandle) -> Result<Self> {
        match section_size(&handle) {
            Ok(size) => Ok(Section { handle, size }),
            Err(STATUS_OBJECT_TYPE_MISMATCH) => {
                Err(ShmError::Refused { reason: "the handle is not for a section".to_owned() })
            }
            Err(status) => Err(error(status, "asking for the section's size")),
        }
    }

    pub(crate) fn as_raw(&self) -> isize {
        self.handle.as_raw() as isize
    }

    /// In bytes; Windows rounds up to whole pages.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The user that created it. `None`: the handle doesn't let us ask.
    pub(crate) fn owner(&self) -> Result<Option<User>> {
        Ok(object_owner(&self.handle))
    }
}

fn object_owner(handle: &OwnedHandle) -> Option<User> {
    // A descriptor with nothing but an owner has at most 88 bytes.
    // SAFETY: the buffer is writable and as long as said.
    let buffer = query(16, |buffer, length, needed| unsafe {
        NtQuerySecurityObject(handle.as_raw(), OWNER_SECURITY_INFORMATION, buffer, length, needed)
    });
    let buffer = buffer.ok()?;
    descriptor_owner(&bytes_at(&buffer, buffer.as_ptr())?).map(User)
}

fn create_section(
    path: Option<&str>, security: &[u8], size: usize,
) -> std::result::Result<Section, NtStatus> {
    let bytes = size as i64;
    let no_file = ptr::null_mut();
    let attributes = Attributes::new(path, Some(security));
    // SAFETY: all pointers are to live values; without a file the section is of the paging file.
    let handle = attributes.handle_from(|handle, attributes| unsafe {
        NtCreateSection(handle, SECTION_ACCESS, attributes, &bytes, PAGE_READWRITE, SEC_COMMIT, no_file)
    })?;
    Ok(Section { handle, size })
}

fn section_size(handle: &OwnedHandle) -> std::result::Result<usize, NtStatus> {
    let mut information =
        SectionBasicInformation { base_address: ptr::null_mut(), allocation_attributes: 0, maximum_size: 0 };
    // SAFETY: the place for the result has the size said.
    let status = unsafe {
        NtQuerySection(
            handle.as_raw(),
            SECTION_BASIC_INFORMATION,
            (&mut information as *mut SectionBasicInformation).cast(),
            size_of::<SectionBasicInformation>(),
            ptr::null_mut(),
        )
    };
    if status < 0 {
        return Err(status);
    }
    // Only pages that are all there, and no file: of others, a touch could fault. And only cached memory: atomic operations on other
    // memory fault on some processors.
    if information.allocation_attributes != SEC_COMMIT {
        return Err(STATUS_SECTION_NOT_EXTENDED);
    }
    Ok(usize::try_from(information.maximum_size).unwrap_or(0))
}

/// A section in this process's memory, unmapped when dropped.
pub(crate) struct Mapping {
    base: NonNull<u8>,
}

// SAFETY: memory is the whole process's; what threads may do with it is the business of the code that reads and writes it.
unsafe impl Send for Mapping {}
// SAFETY: as above; the mapping itself never changes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps all of a section. Its pages cannot be taken back while it is mapped.
    pub(crate) fn map(section: &Section) -> Result<Self> {
        Self::map_for(section, PAGE_READWRITE)
    }

    /// Maps all of a section, for looking alone.
    pub(crate) fn map_read_only(section: &Section) -> Result<Self> {
        Self::map_for(section, PAGE_READONLY)
    }

    fn map_for(section: &Section, protection: u32) -> Result<Self> {
        let mut base = ptr::null_mut();
        let mut view_size = 0;
        // SAFETY: the places for the results are valid; a new view changes no memory in use.
        let status = unsafe {
            NtMapViewOfSection(
                section.handle.as_raw(),
                CURRENT_PROCESS,
                &mut base,
                0,
                0,
                ptr::null_mut(),
                &mut view_size,
                VIEW_UNMAP,
                0,
                protection,
            )
        };
        check(status, "mapping the section")?;
        match NonNull::new(base.cast()) {
            Some(base) if view_size >= section.size => Ok(Mapping { base }),
            _ => Err(ShmError::HandshakeFailed),
        }
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the view is ours, and all that used it is gone, since it borrowed from `self`.
        unsafe { NtUnmapViewOfSection(CURRENT_PROCESS, self.base.as_ptr().cast()) };
    }
}

// ------------------------------------------------------------------------------------------------------ events

/// A kernel event.
pub(crate) struct Event(OwnedHandle);

impl Event {
    /// One for this process alone, that stays set until it is reset.
    pub(crate) fn local() -> Result<Self> {
        let attributes = Attributes::new(None, None);
        create_event(&attributes, NOTIFICATION_EVENT).map_err(failed("creating an event"))
    }

    pub(crate) fn set(&self) {
        // SAFETY: the handle is open. It has the right to do this, so that it can't fail.
        unsafe { NtSetEvent(self.0.as_raw(), ptr::null_mut()) };
    }

    pub(crate) fn reset(&self) {
        // SAFETY: the handle is open.
        let status = unsafe { NtResetEvent(self.0.as_raw(), ptr::null_mut()) };
        if status == STATUS_ACCESS_DENIED {
            // A client that was given handles may only wait for this event. A wait takes the signal.
            let _ = wait_any(&[Waitable::Event(self)], Some(Duration::ZERO));
        }
    }

    /// No: there's no way to do it.
    pub(crate) fn is_shut(&self) -> bool {
        false
    }

    /// Nothing: a wait takes the signal.
    pub(crate) fn take_left(&self) {}

    pub(crate) fn as_raw(&self) -> isize {
        self.0.as_raw() as isize
    }

    /// A second handle, to wait with.
    pub(crate) fn duplicate(&self) -> Result<io::OwnedHandle> {
        duplicate(&self.0)
    }
}

/// Lends a handle.
pub(crate) fn borrow(handle: &io::OwnedHandle) -> io::BorrowedHandle<'_> {
    handle.as_handle()
}

/// Gives a handle away as a number.
#[cfg(feature = "c-api")]
pub(crate) fn into_raw(handle: io::OwnedHandle) -> isize {
    io::IntoRawHandle::into_raw_handle(handle) as isize
}

/// Closes a handle.
///
/// # Safety
/// [`into_raw`] gave it away, and it is open.
#[cfg(feature = "c-api")]
pub(crate) unsafe fn close_raw(number: isize) {
    // SAFETY: by the caller.
    drop(unsafe { <io::OwnedHandle as io::FromRawHandle>::from_raw_handle(number as Handle) });
}

/// Another handle to an object, with the rights of this one, as std has it.
fn duplicate(handle: &OwnedHandle) -> Result<io::OwnedHandle> {
    // SAFETY: the handle is open as long as it is lent.
    let borrowed = unsafe { io::BorrowedHandle::borrow_raw(handle.as_raw()) };
    borrowed.try_clone_to_owned().map_err(|error| io_error(&error, "duplicating a handle"))
}

/// Another handle of this process to the same object, with these rights. The kernel checks the number.
fn duplicate_raw(raw: isize, rights: u32) -> std::result::Result<OwnedHandle, NtStatus> {
    // SAFETY: the kernel checks the source handle, whatever it is; the place for the result is valid.
    handle_from(|handle| unsafe {
        NtDuplicateObject(CURRENT_PROCESS, raw as Handle, CURRENT_PROCESS, handle, rights, 0, 0)
    })
}

fn create_event(attributes: &Attributes, kind: u32) -> std::result::Result<Event, NtStatus> {
    // SAFETY: the attributes and the place for the handle are valid.
    let handle = attributes.handle_from(|handle, attributes| unsafe {
        NtCreateEvent(handle, EVENT_ACCESS, attributes, kind, 0)
    });
    handle.map(Event)
}

// --------------------------------------------------------------------------------------------------- processes

/// Another process, known to be the one that had this id when it was opened.
pub(crate) struct Process(OwnedHandle);

impl Process {
    pub(crate) fn open(pid: u32) -> std::result::Result<Self, Unwatchable> {
        let open = |access| {
            let client = ClientId { unique_process: pid as usize as Handle, unique_thread: ptr::null_mut() };
            // SAFETY: the attributes, the id and the place for the handle are valid.
            Attributes::new(None, None).handle_from(|handle, attributes| unsafe {
                NtOpenProcess(handle, access, attributes, &client)
            })
        };
        let opened = open(SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION).or_else(|_| open(SYNCHRONIZE));
        match opened.map(Process) {
            Ok(process) if process.has_ended() => Err(Unwatchable::Gone),
            Ok(process) => Ok(process),
            Err(STATUS_INVALID_CID | STATUS_INVALID_PARAMETER) => Err(Unwatchable::Gone),
            Err(status @ (STATUS_INSUFFICIENT_RESOURCES | STATUS_NO_MEMORY)) => {
                Err(Unwatchable::Failed(error(status, "watching a process")))
            }
            Err(_) => Err(Unwatchable::Denied(None)),
        }
    }

    /// A second handle, to wait for its end with.
    pub(crate) fn duplicate(&self) -> Result<io::OwnedHandle> {
        duplicate(&self.0)
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(wait_any(&[Waitable::Process(self)], Some(Duration::ZERO)), Ok(Some(_)))
    }

    pub(crate) fn user(&self) -> Option<User> {
        token::of_process(self.0.as_raw()).and_then(|token| token::user(&token)).ok()
    }
}

// ------------------------------------------------------------------------------------------------------- waits

/// What can be waited for.
pub(crate) type Waitable<'a> = kinds::Waitable<'a, Event, Process>;

/// Waits until one of `objects` (at most 64) is signalled, and says which: the first, where several are. `None`: the
/// time was up. A timeout counts from now, by a monotonic clock.
pub(crate) fn wait_any(objects: &[Waitable<'_>], timeout: Option<Duration>) -> Result<Option<usize>> {
    let mut handles = [ptr::null_mut(); 64];
    for (handle, object) in handles.iter_mut().zip(objects) {
        *handle = match object {
            Waitable::Event(event) | Waitable::Wake(event) => event.0.as_raw(),
            Waitable::Process(process) => process.0.as_raw(),
        };
    }
    let ticks = timeout.map(relative_ticks);
    // SAFETY: the handles are open and there are as many as said.
    let status = unsafe {
        NtWaitForMultipleObjects(
            objects.len() as u32,
            handles.as_ptr(),
            WAIT_ANY,
            0,
            ticks.as_ref().map_or(ptr::null(), |ticks| ticks),
        )
    };
    match check(status, "waiting")? {
        STATUS_TIMEOUT => Ok(None),
        index => match usize::try_from(index - STATUS_WAIT_0) {
            Ok(index) if index < objects.len() => Ok(Some(index)),
            // STATUS_ABANDONED_WAIT_0 and the like: no event or process gives one.
            _ => Err(error(index, "waiting")),
        },
    }
}

/// A timeout as the kernel wants it: in units of 100 ns, rounded up, negative for "from now". Beyond some thousand
/// years all are alike, and the kernel's sum of now and then can't overflow.
fn relative_ticks(timeout: Duration) -> i64 {
    let ticks = timeout.as_nanos().div_ceil(100).min(i64::MAX as u128 / 4);
    -(ticks as i64)
}

/// Lets the standard library's functions borrow an object of a type, by a method of it.
macro_rules! borrow_by {
    ($type:ty, $method:ident) => {
        impl std::os::windows::io::AsHandle for $type {
            fn as_handle(&self) -> std::os::windows::io::BorrowedHandle<'_> {
                self.$method()
            }
        }
    };
}
pub(crate) use borrow_by;

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::c_char;

    /// Memory of another kind is not for atomic operations, or may be missing when it is touched.
    #[test]
    fn only_plain_memory_is_a_section() {
        const SEC_NOCACHE: u32 = 0x1000_0000;
        const SEC_RESERVE: u32 = 0x0400_0000;
        const SEC_WRITECOMBINE: u32 = 0x4000_0000;
        let descriptor = security(&Audience::Owner, SECTION_ACCESS).unwrap();
        let attributes = Attributes::new(None, Some(&descriptor));
        let size = 65536_i64;
        let size_of_section = |kind| {
            // SAFETY: all pointers are to live values.
            let handle = attributes.handle_from(|handle, attributes| unsafe {
                NtCreateSection(
                    handle,
                    SECTION_ACCESS,
                    attributes,
                    &size,
                    PAGE_READWRITE,
                    kind,
                    ptr::null_mut(),
                )
            });
            section_size(&handle.unwrap())
        };
        assert_eq!(size_of_section(SEC_COMMIT), Ok(65536));
        for kind in [SEC_RESERVE, SEC_COMMIT | SEC_NOCACHE, SEC_COMMIT | SEC_WRITECOMBINE | SEC_NOCACHE] {
            assert_eq!(size_of_section(kind), Err(STATUS_SECTION_NOT_EXTENDED), "{kind:#x}");
        }
    }

    /// Whether this is Wine, in which some of Windows is missing.
    fn is_wine() -> bool {
        extern "system" {
            fn GetModuleHandleA(name: *const c_char) -> Handle;
            fn GetProcAddress(module: Handle, name: *const c_char) -> Handle;
        }
        // SAFETY: the names end with a zero; ntdll is in every process.
        unsafe {
            !GetProcAddress(GetModuleHandleA(c"ntdll.dll".as_ptr()), c"wine_get_version".as_ptr()).is_null()
        }
    }

    /// The objects would belong to the other user, and clients would refuse them.
    #[test]
    fn a_thread_that_impersonates_another_user_makes_no_channel() {
        #[link(name = "advapi32")]
        extern "system" {
            fn ImpersonateAnonymousToken(thread: Handle) -> i32;
            fn RevertToSelf() -> i32;
        }
        // SAFETY: the pseudo-handle of this thread.
        if unsafe { ImpersonateAnonymousToken(CURRENT_THREAD) } == 0 {
            // Wine 8 and 10 have only a stub. Microsoft's documentation names no such case.
            assert!(is_wine(), "this thread was not allowed to impersonate the anonymous user");
            return;
        }
        let effective = User::effective();
        let made = security(&Audience::Owner, SECTION_ACCESS);
        // SAFETY: no arguments.
        assert_ne!(unsafe { RevertToSelf() }, 0);
        assert!(effective.unwrap() == User(Sid::anonymous()));
        let Err(ShmError::Refused { reason }) = &made else { panic!("{made:?}") };
        assert!(reason.contains("impersonates"), "{reason}");
        assert!(security(&Audience::Owner, SECTION_ACCESS).is_ok());
    }

    #[test]
    fn timeouts_count_from_now_and_saturate() {
        // Negative is relative, by the clock of interrupts: setting the time of day doesn't move it.
        assert_eq!(relative_ticks(Duration::ZERO), 0);
        assert_eq!(relative_ticks(Duration::from_nanos(1)), -1);
        assert_eq!(relative_ticks(Duration::from_millis(5)), -50_000);
        assert_eq!(relative_ticks(Duration::MAX), -(i64::MAX / 4));
    }
}
