//! What stands behind a name.
//!
//! A server creates its section and events under names that carry a fresh instance number, and then a symbolic link
//! from the channel's name to the section:
//!
//! ```text
//! \Sessions\1\BaseNamedObjects\xshm.link.6e616d65 -> ...\xshm.section.0123456789abcdef.name
//!                                                    ...\xshm.event.0.0123456789abcdef.name   (0 to 6)
//! ```
//!
//! Where one channel after the other stands behind a name (a multi-client server's), the link leads to a second one,
//! `xshm.offer.<instance>.<name>`, which is made anew each time, and that to the section. Clients take turns at it by the
//! event `xshm.turn.<instance>.<name>`. The instance is that of the first channel.
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

use super::{bytes_of, create_event, create_section, object_owner, section_size};
use super::{Event, Handout, Mapping, Process, Section, User};
use super::{EVENT_ACCESS, SECTION_ACCESS};
use crate::access::Access;
use crate::error::{Result, ShmError};
use crate::naming::{ChannelName, Scope};
use crate::sys::ntapi::*;
use crate::sys::{Unwatchable, EVENTS};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::size_of;
use std::ptr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The request event's place in a channel's list.
const REQUEST: usize = 4;

/// What a server has created under a name that nobody can find yet.
pub(crate) struct Prepared {
    pub(crate) section: Section,
    pub(crate) events: [Event; EVENTS],
    pub(crate) instance: u64,
    pub(crate) handout: Handout,
    pub(crate) announcement: Announcement,
}

/// The last step: makes what was prepared findable.
pub(crate) struct Announcement {
    name: ChannelName,
    instance: u64,
    event_security: Vec<u8>,
}

/// Makes a server findable, and keeps others from its name, until dropped or until the process ends.
pub(crate) struct Guard {
    /// The channel's name. The open handle is what counts.
    _link: OwnedHandle,
    pointer: Option<Pointer>,
}

/// The second link of a movable name, which the first one leads to: it is made anew for each channel that stands there.
struct Pointer {
    path: String,
    link: Mutex<Option<OwnedHandle>>,
    /// The first channel's number, which is in the name of the event too.
    instance: u64,
    /// Set once for each channel, which wakes one of the clients that wait for their turn, in the order in which they
    /// came.
    turn: Event,
}

impl Prepared {
    pub(crate) fn new(name: &ChannelName, access: &Access, size: usize) -> Result<Self> {
        let directory = directory(name)?;
        let failed = |status| creation_error(status, name, "creating the channel's objects");
        let section_security = security(access, SECTION_ACCESS)?;
        let event_security = security(access, EVENT_ACCESS)?;
        loop {
            let instance = fresh();
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
            let announcement = Announcement { name: name.clone(), instance, event_security };
            return Ok(Prepared { section, events, instance, handout: Handout::new(), announcement });
        }
    }
}

impl Guard {
    /// What to wait for besides the request event: nothing here.
    pub(crate) fn knocks(&self) -> (Option<&Event>, Option<Duration>) {
        (None, None)
    }

    /// Whether the channel is to be replaced, since a client has it that doesn't use it: nobody is handed anything here.
    pub(crate) fn is_overdue(&self) -> bool {
        false
    }

    /// Whether a client is handed what others were handed before: names lead to it here, which stay.
    pub(crate) const RENEWS: bool = false;

    pub(crate) fn served(&self) {}

    pub(crate) fn next_turn(&self) {}

    pub(crate) fn renew(&self, _section: &Section, _mapping: &Mapping, _handout: &Handout) -> Result<()> {
        Ok(())
    }

    /// Lets in whoever knocks: who may open the names needs nobody for it here.
    pub(crate) fn admit(&self) -> Result<()> {
        Ok(())
    }

    /// The process of a hello.
    pub(crate) fn open_client(&self, pid: u32) -> std::result::Result<Process, Unwatchable> {
        Process::open(pid)
    }

    /// Tells those who knock that they wait for another client: the section does here.
    pub(crate) fn set_busy(&self, _busy: bool) {}

    /// The number of a movable name's first channel, by which its clients find the event to take turns by.
    pub(crate) fn instance(&self) -> u64 {
        self.pointer.as_ref().map_or(0, |pointer| pointer.instance)
    }
}

impl Announcement {
    /// Makes it findable, if no living server has the name.
    pub(crate) fn announce(self) -> Result<Guard> {
        let directory = directory(&self.name)?;
        let target = section_path(&directory, &self.name, self.instance);
        Ok(Guard { _link: self.link(&link_path(&directory, &self.name), &target)?, pointer: None })
    }

    /// As [`announce`](Self::announce), for a name behind which one channel after the other will stand.
    pub(crate) fn announce_movable(self) -> Result<Guard> {
        let directory = directory(&self.name)?;
        let path = format!("{directory}xshm.offer.{:016x}.{}", self.instance, self.name.base());
        let link = self.link(&link_path(&directory, &self.name), &path)?;
        let turn = turn_path(&directory, &self.name, self.instance);
        let attributes = Attributes::new(Some(&turn), Some(&self.event_security));
        let turn = create_event(&attributes, SYNCHRONIZATION_EVENT)
            .map_err(|status| creation_error(status, &self.name, "creating the channel's objects"))?;
        let pointer = Pointer { path, link: Mutex::new(None), instance: self.instance, turn };
        let guard = Guard { _link: link, pointer: Some(pointer) };
        self.replace(&guard)?;
        Ok(guard)
    }

    /// Makes it what is found from now on. For a moment nothing is: who looks then, looks again.
    pub(crate) fn replace(self, guard: &Guard) -> Result<()> {
        let Some(pointer) = &guard.pointer else { return Err(ShmError::HandshakeFailed) };
        let target = section_path(&directory(&self.name)?, &self.name, self.instance);
        let mut link = pointer.link.lock().unwrap_or_else(PoisonError::into_inner);
        // The name is free when its one handle is closed.
        *link = None;
        *link = Some(self.link(&pointer.path, &target)?);
        pointer.turn.set();
        Ok(())
    }

    /// A link that nobody else has a handle to.
    fn link(&self, path: &str, target: &str) -> Result<OwnedHandle> {
        let target: Vec<u16> = target.encode_utf16().collect();
        let target = unicode_string(&target);
        // Nobody else needs a handle to the link. (Windows would let its creator have one in any case; Wine 8 checks
        // the list at creation too.)
        let user = User::current()?.0;
        let security = descriptor(&user, std::slice::from_ref(&user), SYMBOLIC_LINK_QUERY);
        let attributes = Attributes::new(Some(path), Some(&security));
        let link = attributes.with(|attributes| {
            // SAFETY: the attributes, the target and the place for the handle are valid.
            handle_from(|handle| unsafe {
                NtCreateSymbolicLinkObject(handle, SYMBOLIC_LINK_QUERY, attributes, &target)
            })
        });
        link.map_err(|status| creation_error(status, &self.name, "creating the channel's name"))
    }
}

/// What stands behind a name.
pub(crate) struct Found {
    pub(crate) section: Section,
    /// The id of this process, as the server knows it.
    pub(crate) own_pid: u32,
    /// The id of the server's process: the system doesn't say.
    pub(crate) server_pid: Option<u32>,
    opener: EventOpener,
}

/// Opens the events that belong to a section found by name.
pub(crate) struct EventOpener(ChannelName);

/// Looks a name up, and asks whether whoever has it is trusted. `None`: no server has it.
///
/// Nothing is waited for here: who may open a name, finds all of it at once.
pub(crate) fn lookup(
    name: &ChannelName,
    trusts: &dyn Fn(Option<&User>) -> Result<()>,
    _patience: Option<Duration>,
    _interrupt: &Event,
) -> Result<Option<Found>> {
    let path = link_path(&directory(name)?, name);
    let attributes = Attributes::new(Some(&path), None);
    let opened = attributes.with(|attributes| {
        // SAFETY: the attributes and the place for the handle are valid.
        handle_from(|handle| unsafe { NtOpenSection(handle, SECTION_ACCESS, attributes) })
    });
    match opened {
        Ok(handle) => {
            let size =
                section_size(&handle).map_err(|status| error(status, "asking for the section's size"))?;
            let section = Section { handle, size };
            trusts(section.owner().as_ref())?;
            Ok(Some(Found {
                section,
                own_pid: std::process::id(),
                server_pid: None,
                opener: EventOpener(name.clone()),
            }))
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
            match self.open(&event_path(&directory, &self.0, instance, index), owner)? {
                Some(event) => events.push(event),
                None => return Ok(None),
            }
        }
        let Ok(events) = events.try_into() else { unreachable!("as many as were opened") };
        Ok(Some(events))
    }

    /// Has the server look at a section that is spoiled, and put it right. Which server's it is, its name says: that
    /// can't be spoiled.
    pub(crate) fn complain(&self, section: &Section, owner: Option<&User>) -> Result<()> {
        let Some(instance) = section_instance(section) else { return Ok(()) };
        let request = self.open(&event_path(&directory(&self.0)?, &self.0, instance, REQUEST), owner)?;
        if let Some(request) = request {
            request.set();
        }
        Ok(())
    }

    /// The event that is set when it's the next client's turn to look for a channel. `None`: it is gone.
    pub(crate) fn turn(&self, instance: u64, owner: Option<&User>) -> Result<Option<Event>> {
        self.open(&turn_path(&directory(&self.0)?, &self.0, instance), owner)
    }

    fn open(&self, path: &str, owner: Option<&User>) -> Result<Option<Event>> {
        let attributes = Attributes::new(Some(path), None);
        let opened = attributes.with(|attributes| {
            // SAFETY: the attributes and the place for the handle are valid.
            handle_from(|handle| unsafe { NtOpenEvent(handle, EVENT_ACCESS, attributes) })
        });
        match opened {
            Ok(handle) if object_owner(&handle).as_ref() == owner => Ok(Some(Event(handle))),
            // Somebody has put a name of ours to another's section.
            Ok(_) => {
                let reason = format!("what is named {:?} belongs to several users", self.0.given());
                Err(ShmError::Refused { reason })
            }
            Err(status) if is_missing(status) => Ok(None),
            Err(status) => Err(opening_error(status, &self.0)),
        }
    }
}

/// The number in a section's name.
fn section_instance(section: &Section) -> Option<u64> {
    // A name of ours has at most some 150 units of 16 bits.
    let mut buffer = [0_u64; 128];
    let mut length = 0;
    // SAFETY: the buffer is writable and as long as said.
    let status = unsafe {
        NtQueryObject(
            section.handle.as_raw(),
            OBJECT_NAME_INFORMATION,
            buffer.as_mut_ptr().cast(),
            size_of::<[u64; 128]>() as u32,
            &mut length,
        )
    };
    if status < 0 {
        return None;
    }
    // SAFETY: the information begins with this structure, and the buffer is aligned for it.
    let name = unsafe { buffer.as_ptr().cast::<UnicodeString>().read() };
    let at = (name.buffer as usize).wrapping_sub(buffer.as_ptr() as usize);
    let bytes = bytes_of(&buffer);
    let units = bytes.get(at..)?.get(..name.length.into())?.chunks_exact(2);
    let text: String = units.map(|unit| char::from(unit[0])).collect();
    let digits = text.split("xshm.section.").nth(1)?.get(..16)?;
    u64::from_str_radix(digits, 16).ok()
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

fn turn_path(directory: &str, name: &ChannelName, instance: u64) -> String {
    format!("{directory}xshm.turn.{instance:016x}.{}", name.base())
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

pub(super) fn security(access: &Access, rights: u32) -> Result<Vec<u8>> {
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

/// A number that no other instance has, and that others don't guess: what the system has handed out once only, with the time
/// and the place of the stack. Not from the system's random generator: std's way to it imports bcryptprimitives.dll into
/// every C program. Nothing but the work of drawing again hangs on it, since names are created exclusively.
fn fresh() -> u64 {
    let mut unique = 0_u64;
    // SAFETY: the place for the number is valid. (It can't fail; a zero would be drawn again at the collision.)
    unsafe { NtAllocateLocallyUniqueId(&mut unique) };
    let mut hasher = DefaultHasher::new();
    (unique, std::process::id(), Instant::now(), ptr::from_ref(&unique) as usize).hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

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
