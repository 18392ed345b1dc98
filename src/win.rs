//! Windows: sections, events, waits and processes, on [`ntapi`](super::ntapi).
//!
//! # What stands behind a name
//!
//! A server creates its section and events under names that carry a fresh instance number, and then a symbolic link
//! from the channel's name to the section:
//!
//! ```text
//! \Sessions\1\BaseNamedObjects\xshm.link.6e616d65 -> ...\xshm.section.0123456789abcdef.name
//!                                                    ...\xshm.event.0.0123456789abcdef.name   (0 to 6)
//! ```
//!
//! The link has the name's bytes in hexadecimal: Windows compares the names of links without regard to case, those of
//! sections and events with.
//!
//! An object's name lives as long as any handle to it. The link's handle is the server's alone: clients pass through
//! a link when they open the section, without ever holding it, and its access list admits no other user. So the name
//! is free the moment the server's process ends, however its clients cling to the old section; and creating the link is what
//! makes a second server fail. It is created last, when everything behind it is ready.
//!
//! Symbolic links in the session's own directory need no privilege; in the global one
//! (`Global\`, `\BaseNamedObjects` of session 0) Windows asks for "Create global objects", for sections and links
//! alike. Tried with Wine 8, which asks for nothing.

use super::ntapi::*;
use super::{Unwatchable, Waitable, EVENTS};
use crate::access::Access;
use crate::error::{Result, ShmError};
use crate::naming::{ChannelName, Scope};
use std::hash::{BuildHasher, Hasher};
use std::mem::size_of;
use std::ptr::{self, NonNull};
use std::time::Duration;

const SECTION_ACCESS: u32 = SECTION_MAP_READ | SECTION_MAP_WRITE | SECTION_QUERY | READ_CONTROL;
const EVENT_ACCESS: u32 = EVENT_MODIFY_STATE | SYNCHRONIZE | READ_CONTROL;

/// A user or group.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct User(Sid);

impl User {
    pub(crate) fn current() -> Result<Self> {
        let context = "asking for the current user";
        token_user(CURRENT_PROCESS).map_err(|status| error(status, context))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Sid::parse(text).map(User)
    }

    /// Whether a server of this user is trusted by default: our own, the system's, and the administrators'.
    pub(crate) fn is_trusted_server(&self) -> Result<bool> {
        Ok(self.0 == Sid::system() || self.0 == Sid::administrators() || *self == User::current()?)
    }
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn token_user(process: Handle) -> std::result::Result<User, NtStatus> {
    // SAFETY: `process` is an open handle or the pseudo-handle of this process; the place for the result is valid.
    let token = handle_from(|token| unsafe { NtOpenProcessToken(process, TOKEN_QUERY, token) })?;
    // A TOKEN_USER is two words, then the SID, which has at most 68 bytes.
    let mut buffer = [0_u64; 16];
    let mut length = 0;
    // SAFETY: the buffer is writable and as long as said.
    let status = unsafe {
        NtQueryInformationToken(
            token.as_raw(),
            TOKEN_USER,
            buffer.as_mut_ptr().cast(),
            size_of::<[u64; 16]>() as u32,
            &mut length,
        )
    };
    if status < 0 {
        return Err(status);
    }
    // SAFETY: a TOKEN_USER begins with this structure, and the buffer is aligned for it.
    let user = unsafe { buffer.as_ptr().cast::<SidAndAttributes>().read() };
    let at = (user.sid as usize).wrapping_sub(buffer.as_ptr() as usize);
    bytes_of(&buffer).get(at..).and_then(Sid::from_bytes).map(User).ok_or(STATUS_INVALID_PARAMETER)
}

pub(crate) fn process_id() -> u32 {
    std::process::id()
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
        let security = security(&Access::Owner, SECTION_ACCESS)?;
        create_section(None, &security, size).map_err(|status| error(status, "creating a section"))
    }

    /// A second handle to a section, made from one of this process.
    pub(crate) fn duplicate(raw: isize) -> Result<Self> {
        // SAFETY: the kernel checks the source handle, whatever it is; the place for the result is valid.
        let handle = handle_from(|handle| unsafe {
            NtDuplicateObject(CURRENT_PROCESS, raw as Handle, CURRENT_PROCESS, handle, SECTION_ACCESS, 0, 0)
        })
        .map_err(|status| error(status, "duplicating the section handle"))?;
        let size = section_size(&handle).map_err(|status| error(status, "asking for the section's size"))?;
        Ok(Section { handle, size })
    }

    pub(crate) fn as_raw(&self) -> isize {
        self.handle.as_raw() as isize
    }

    /// In bytes; Windows rounds up to whole pages.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Who created it.
    pub(crate) fn owner(&self) -> Option<User> {
        object_owner(&self.handle)
    }
}

fn object_owner(handle: &OwnedHandle) -> Option<User> {
    // In words: Windows wants the buffer aligned. A descriptor with nothing but an owner has at most 88 bytes.
    let mut buffer = [0_u64; 16];
    let mut needed = 0;
    // SAFETY: the buffer is writable and as long as said.
    let status = unsafe {
        NtQuerySecurityObject(
            handle.as_raw(),
            OWNER_SECURITY_INFORMATION,
            buffer.as_mut_ptr().cast(),
            size_of::<[u64; 16]>() as u32,
            &mut needed,
        )
    };
    if status < 0 {
        return None;
    }
    descriptor_owner(&bytes_of(&buffer)).map(User)
}

fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn create_section(
    path: Option<&str>,
    security: &[u8],
    size: usize,
) -> std::result::Result<Section, NtStatus> {
    let bytes = size as i64;
    let attributes = Attributes::new(path, Some(security));
    let handle = attributes.with(|attributes| {
        let no_file = ptr::null_mut();
        // SAFETY: all pointers are to live values; without a file the section is of the paging file.
        handle_from(|handle| unsafe {
            NtCreateSection(handle, SECTION_ACCESS, attributes, &bytes, PAGE_READWRITE, SEC_COMMIT, no_file)
        })
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
    // Only pages that are all there, and nobody's file: of others, a touch could fault.
    if information.allocation_attributes & (SEC_RESERVE | SEC_IMAGE | SEC_FILE) != 0 {
        return Err(STATUS_SECTION_NOT_EXTENDED);
    }
    Ok(usize::try_from(information.maximum_size).unwrap_or(0))
}

/// A section in this process's memory, unmapped when dropped.
pub(crate) struct Mapping {
    base: NonNull<u8>,
}

// SAFETY: memory is the whole process's; what threads may do with it is the business of whoever reads and writes it.
unsafe impl Send for Mapping {}
// SAFETY: as above; the mapping itself never changes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps all of a section. Its pages can't be taken back while it is mapped, by nobody.
    pub(crate) fn map(section: &Section) -> Result<Self> {
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
                PAGE_READWRITE,
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
        // SAFETY: the view is ours, and whoever used it is gone, since they lent from `self`.
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
        create_event(&attributes, NOTIFICATION_EVENT).map_err(|status| error(status, "creating an event"))
    }

    pub(crate) fn set(&self) {
        // SAFETY: the handle is open. It has the right to do this, so that it can't fail.
        unsafe { NtSetEvent(self.0.as_raw(), ptr::null_mut()) };
    }

    pub(crate) fn reset(&self) {
        // SAFETY: as above.
        unsafe { NtResetEvent(self.0.as_raw(), ptr::null_mut()) };
    }

    pub(crate) fn as_raw(&self) -> isize {
        self.0.as_raw() as isize
    }
}

fn create_event(attributes: &Attributes, kind: u32) -> std::result::Result<Event, NtStatus> {
    // SAFETY: the attributes and the place for the handle are valid.
    attributes
        .with(|attributes| {
            handle_from(|handle| unsafe { NtCreateEvent(handle, EVENT_ACCESS, attributes, kind, 0) })
        })
        .map(Event)
}

// --------------------------------------------------------------------------------------------------- processes

/// Another process, known to be the one that had this id when it was opened.
pub(crate) struct Process(OwnedHandle);

impl Process {
    pub(crate) fn open(pid: u32) -> std::result::Result<Self, Unwatchable> {
        let open = |access| {
            let client = ClientId { unique_process: pid as usize as Handle, unique_thread: ptr::null_mut() };
            // SAFETY: the attributes, the id and the place for the handle are valid.
            Attributes::new(None, None).with(|attributes| {
                handle_from(|handle| unsafe { NtOpenProcess(handle, access, attributes, &client) })
            })
        };
        let opened = open(SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION).or_else(|_| open(SYNCHRONIZE));
        match opened.map(Process) {
            Ok(process) if process.has_ended() => Err(Unwatchable::Gone),
            Ok(process) => Ok(process),
            Err(STATUS_INVALID_CID | STATUS_INVALID_PARAMETER) => Err(Unwatchable::Gone),
            Err(_) => Err(Unwatchable::Denied),
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(wait_any(&[Waitable::Process(self)], Some(Duration::ZERO)), Ok(Some(_)))
    }

    pub(crate) fn user(&self) -> Option<User> {
        token_user(self.0.as_raw()).ok()
    }
}

// ------------------------------------------------------------------------------------------------------- waits

/// Waits until one of `objects` (at most 64) is signalled, and says which: the first, where several are. `None`: the
/// time was up. A timeout counts from now, by a clock that nobody sets.
pub(crate) fn wait_any(objects: &[Waitable<'_>], timeout: Option<Duration>) -> Result<Option<usize>> {
    let mut handles = [ptr::null_mut(); 64];
    for (handle, object) in handles.iter_mut().zip(objects) {
        *handle = match object {
            Waitable::Event(event) => event.0.as_raw(),
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
        index => Ok(Some((index - STATUS_WAIT_0) as usize)),
    }
}

/// A timeout as the kernel wants it: in units of 100 ns, rounded up, negative for "from now". Beyond some thousand
/// years all are alike, and the kernel's sum of now and then can't overflow.
fn relative_ticks(timeout: Duration) -> i64 {
    let ticks = timeout.as_nanos().div_ceil(100).min(i64::MAX as u128 / 4);
    -(ticks as i64)
}

// ------------------------------------------------------------------------------------------------------- names

/// What a server has created under a name that nobody can find yet.
pub(crate) struct Prepared {
    pub(crate) section: Section,
    pub(crate) events: [Event; EVENTS],
    pub(crate) instance: u64,
    pub(crate) announcement: Announcement,
}

/// The last step: makes what was prepared findable.
pub(crate) struct Announcement {
    name: ChannelName,
    instance: u64,
}

/// Makes a server findable, and keeps others from its name, until dropped or until the process ends.
pub(crate) struct Guard(
    // Never read: the open handle is what counts.
    #[allow(dead_code)] OwnedHandle,
);

impl Prepared {
    pub(crate) fn new(name: &ChannelName, access: &Access, size: usize) -> Result<Self> {
        let directory = directory(name)?;
        let failed = |status| creation_error(status, name, "creating the channel's objects");
        let section_security = security(access, SECTION_ACCESS)?;
        let event_security = security(access, EVENT_ACCESS)?;
        loop {
            let instance = random();
            let path = section_path(&directory, name, instance);
            let section = match create_section(Some(&path), &section_security, size) {
                // Another instance of 2^64 has this number: draw again.
                Err(STATUS_OBJECT_NAME_COLLISION) => continue,
                other => other.map_err(failed)?,
            };
            let mut events = Vec::with_capacity(EVENTS);
            for index in 0..EVENTS {
                let path = event_path(&directory, name, instance, index);
                let attributes = Attributes::new(Some(&path), Some(&event_security));
                events.push(create_event(&attributes, SYNCHRONIZATION_EVENT).map_err(failed)?);
            }
            let Ok(events) = events.try_into() else { unreachable!("as many as were made") };
            let announcement = Announcement { name: name.clone(), instance };
            return Ok(Prepared { section, events, instance, announcement });
        }
    }
}

impl Announcement {
    /// Makes it findable, if no living server has the name.
    pub(crate) fn announce(self) -> Result<Guard> {
        let directory = directory(&self.name)?;
        let target: Vec<u16> = section_path(&directory, &self.name, self.instance).encode_utf16().collect();
        let target = unicode_string(&target);
        // Nobody else needs a handle to the link. (Windows would let its creator have one in any case; Wine 8 checks
        // the list at creation too.)
        let user = User::current()?.0;
        let security = descriptor(&user, &[user.clone()], SYMBOLIC_LINK_QUERY);
        let path = link_path(&directory, &self.name);
        let attributes = Attributes::new(Some(&path), Some(&security));
        let link = attributes.with(|attributes| {
            // SAFETY: the attributes, the target and the place for the handle are valid.
            handle_from(|handle| unsafe {
                NtCreateSymbolicLinkObject(handle, SYMBOLIC_LINK_QUERY, attributes, &target)
            })
        });
        link.map(Guard).map_err(|status| creation_error(status, &self.name, "creating the channel's name"))
    }
}

/// What stands behind a name.
pub(crate) struct Found {
    pub(crate) section: Section,
    opener: EventOpener,
}

/// Opens the events that belong to a section found by name.
pub(crate) struct EventOpener(ChannelName);

/// Looks a name up. `None`: no server has it.
pub(crate) fn lookup(name: &ChannelName) -> Result<Option<Found>> {
    let path = link_path(&directory(name)?, name);
    let attributes = Attributes::new(Some(&path), None);
    // SAFETY: the attributes and the place for the handle are valid.
    let opened = attributes.with(|attributes| {
        handle_from(|handle| unsafe { NtOpenSection(handle, SECTION_ACCESS, attributes) })
    });
    match opened {
        Ok(handle) => {
            let size =
                section_size(&handle).map_err(|status| error(status, "asking for the section's size"))?;
            Ok(Some(Found { section: Section { handle, size }, opener: EventOpener(name.clone()) }))
        }
        Err(status) if is_missing(status) => Ok(None),
        Err(status) => Err(opening_error(status, name)),
    }
}

fn is_missing(status: NtStatus) -> bool {
    matches!(status, STATUS_OBJECT_NAME_NOT_FOUND | STATUS_OBJECT_PATH_NOT_FOUND | STATUS_NOT_FOUND)
}

impl Found {
    pub(crate) fn into_parts(self) -> (Section, EventOpener) {
        (self.section, self.opener)
    }
}

impl EventOpener {
    /// The events of that instance, which must belong to whom its section belongs to. `None`: it is gone.
    pub(crate) fn events(&self, instance: u64, owner: Option<&User>) -> Result<Option<[Event; EVENTS]>> {
        let directory = directory(&self.0)?;
        let mut events = Vec::with_capacity(EVENTS);
        for index in 0..EVENTS {
            let path = event_path(&directory, &self.0, instance, index);
            let attributes = Attributes::new(Some(&path), None);
            // SAFETY: the attributes and the place for the handle are valid.
            let opened = attributes.with(|attributes| {
                handle_from(|handle| unsafe { NtOpenEvent(handle, EVENT_ACCESS, attributes) })
            });
            match opened {
                Ok(handle) if object_owner(&handle).as_ref() == owner => events.push(Event(handle)),
                // Somebody has put a name of ours to another's section.
                Ok(_) => {
                    let reason = format!("what is named {:?} belongs to several users", self.0.given());
                    return Err(ShmError::Refused { reason });
                }
                Err(status) if is_missing(status) => return Ok(None),
                Err(status) => return Err(opening_error(status, &self.0)),
            }
        }
        let Ok(events) = events.try_into() else { unreachable!("as many as were opened") };
        Ok(Some(events))
    }
}

fn link_path(directory: &str, name: &ChannelName) -> String {
    let name: String = name.base().bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{directory}xshm.link.{name}")
}

fn section_path(directory: &str, name: &ChannelName, instance: u64) -> String {
    format!("{directory}xshm.section.{instance:016x}.{}", name.base())
}

fn event_path(directory: &str, name: &ChannelName, instance: u64, index: usize) -> String {
    format!("{directory}xshm.event.{index}.{instance:016x}.{}", name.base())
}

/// The object directory of a name's scope, with a backslash at its end.
fn directory(name: &ChannelName) -> Result<String> {
    let session = match name.scope {
        Scope::Global => 0,
        Scope::Local => session_id()?,
    };
    Ok(match session {
        0 => "\\BaseNamedObjects\\".to_owned(),
        session => format!("\\Sessions\\{session}\\BaseNamedObjects\\"),
    })
}

fn session_id() -> Result<u32> {
    let mut session = 0_u32;
    // SAFETY: PROCESS_SESSION_INFORMATION is one u32, and the place for it has its size.
    let status = unsafe {
        NtQueryInformationProcess(
            CURRENT_PROCESS,
            PROCESS_SESSION_INFORMATION,
            (&mut session as *mut u32).cast(),
            size_of::<u32>() as u32,
            ptr::null_mut(),
        )
    };
    check(status, "asking for the session")?;
    Ok(session)
}

fn creation_error(status: NtStatus, name: &ChannelName, context: &'static str) -> ShmError {
    let given = name.given().to_owned();
    match status {
        // The second: another kind of object has the name.
        STATUS_OBJECT_NAME_COLLISION | STATUS_OBJECT_TYPE_MISMATCH => ShmError::AlreadyExists { name: given },
        STATUS_PRIVILEGE_NOT_HELD | STATUS_ACCESS_DENIED if name.scope == Scope::Global => {
            ShmError::PrivilegeNotHeld { name: given, privilege: "SeCreateGlobalPrivilege" }
        }
        status => error(status, context),
    }
}

fn opening_error(status: NtStatus, name: &ChannelName) -> ShmError {
    let reason = match status {
        STATUS_ACCESS_DENIED => "does not admit this user",
        STATUS_OBJECT_TYPE_MISMATCH => "is something else than a channel",
        status => return error(status, "opening the channel's objects"),
    };
    ShmError::Refused { reason: format!("what is named {:?} {reason}", name.given()) }
}

fn security(access: &Access, rights: u32) -> Result<Vec<u8>> {
    let user = User::current()?.0;
    let mut allowed = vec![user.clone(), Sid::system(), Sid::administrators()];
    match access {
        Access::Owner => {}
        Access::Everyone => allowed.push(Sid::everyone()),
        Access::Users(users) => allowed.extend(users.iter().map(|user| user.0 .0.clone())),
        Access::SecurityDescriptor(bytes) if is_descriptor(bytes) => return Ok(bytes.clone()),
        Access::SecurityDescriptor(bytes) => {
            return Err(ShmError::InvalidOption {
                option: "security descriptor",
                value: bytes.len() as u64,
                reason: "its bytes are no self-relative security descriptor".to_owned(),
            })
        }
    }
    // An access list's size is a 16-bit number, and a SID has at most 68 bytes.
    if allowed.len() > 800 {
        let (value, reason) = (allowed.len() as u64, "at most 800 users fit into an access list".to_owned());
        return Err(ShmError::InvalidOption { option: "users", value, reason });
    }
    Ok(descriptor(&user, &allowed, rights))
}

/// A number that others don't guess: the standard library's hash maps are seeded by the system's generator.
fn random() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_count_from_now_and_saturate() {
        // Negative is relative, by the clock of interrupts: setting the time of day doesn't move it.
        assert_eq!(relative_ticks(Duration::ZERO), 0);
        assert_eq!(relative_ticks(Duration::from_nanos(1)), -1);
        assert_eq!(relative_ticks(Duration::from_millis(5)), -50_000);
        assert_eq!(relative_ticks(Duration::MAX), -(i64::MAX / 4));
    }

    #[test]
    fn statuses_are_told_apart() {
        let local = ChannelName::parse("x").unwrap();
        let global = ChannelName::parse("Global\\x").unwrap();
        let creation = |status, name| creation_error(status, name, "test");
        let exists = ShmError::AlreadyExists { name: "x".to_owned() };
        assert_eq!(creation(STATUS_OBJECT_NAME_COLLISION, &local), exists);
        assert_eq!(creation(STATUS_OBJECT_TYPE_MISMATCH, &local), exists);
        for status in [STATUS_PRIVILEGE_NOT_HELD, STATUS_ACCESS_DENIED] {
            assert!(creation(status, &global).to_string().contains("SeCreateGlobalPrivilege"));
            assert!(matches!(creation(status, &local), ShmError::WindowsError { .. }));
        }
        assert!(matches!(opening_error(STATUS_ACCESS_DENIED, &local), ShmError::Refused { .. }));
    }

    #[test]
    fn links_to_names_that_differ_by_case_differ() {
        let path = |name| link_path("", &ChannelName::parse(name).unwrap()).to_lowercase();
        assert_ne!(path("chat"), path("Chat"));
        assert_eq!(path("Aé"), "xshm.link.41c3a9");
    }
}
