//! What stands behind a name.
//!
//! A server makes a channel of its own for each session. The name leads to the one that it offers now, through two symbolic
//! links:
//!
//! ```text
//! \Sessions\1\BaseNamedObjects\xshm.link.6e616d65 -> ...\xshm.offer.0123456789abcdef.name    kept as long as the server
//! ...\xshm.offer.0123456789abcdef.name              -> ...\xshm.section.3210fedcba987654.name  made anew for each channel
//!                                                     ...\xshm.event.0.3210fedcba987654.name   (0 to 6)
//! ...\xshm.turn.0123456789abcdef.name                  the admission event
//! ```
//!
//! The links have the name's bytes in hexadecimal: Windows compares the names of links without regard to case, those of
//! sections and events with.
//!
//! An object's name lives as long as any handle to it. The links' handles are the server's alone: clients pass through
//! a link when they open the section, without ever holding it, and its access list admits no other user. So the name
//! is free the moment the server's process ends, however its clients cling to an old section; and creating the first link is
//! what makes a second server fail. A client that finds no second link looks again.
//!
//! Clients take turns by the admission event, which the server sets once for each channel that it offers: it wakes one of the
//! clients that wait, in the order in which they came.
//!
//! Symbolic links in the session's own directory need no privilege; in the global one
//! (`Global\`, `\BaseNamedObjects` of session 0) Windows asks for "Create global objects", for sections and links
//! alike. Tried with Wine 8, which asks for nothing.

use super::{bytes_of, create_event, create_section, object_owner, section_size};
use super::{ClientEnd, Event, Process, Section, User};
use super::{EVENT_ACCESS, SECTION_ACCESS};
use crate::access::Access;
use crate::error::{Result, ShmError};
use crate::naming::{ChannelName, Scope};
use crate::sys::ntapi::*;
use crate::sys::{Clients, Unwatchable, EVENTS};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::size_of;
use std::ptr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The request event's place in a channel's list.
const REQUEST: usize = 4;

/// What a server makes for a fresh channel that nobody can find yet.
pub(crate) struct Prepared {
    pub(crate) section: Section,
    pub(crate) events: [Event; EVENTS],
    pub(crate) instance: u64,
    pub(crate) client_end: ClientEnd,
    pub(crate) offer: Offer,
}

/// The last step for a channel: the name leads to it.
pub(crate) struct Offer {
    instance: u64,
}

/// The owner of a name, until dropped or until the process ends.
pub(crate) struct Listener {
    name: ChannelName,
    directory: String,
    section_security: Vec<u8>,
    event_security: Vec<u8>,
    /// The number in the names of the second link and of the admission event.
    number: u64,
    admission: Event,
    offered: Mutex<Option<OwnedHandle>>,
    /// The channel's name. The open handle is what counts. The last field: the name comes free when all else is gone.
    _link: OwnedHandle,
}

impl Listener {
    /// Takes a name, if no living server has it.
    pub(crate) fn bind(name: &ChannelName, access: &Access, _clients: Clients) -> Result<Self> {
        let directory = directory(name)?;
        let section_security = security(access, SECTION_ACCESS)?;
        let event_security = security(access, EVENT_ACCESS)?;
        let number = fresh();
        let link = link(&link_path(&directory, name), &offer_path(&directory, name, number), name)?;
        let path = admission_path(&directory, name, number);
        let attributes = Attributes::new(Some(&path), Some(&event_security));
        let admission = create_event(&attributes, SYNCHRONIZATION_EVENT)
            .map_err(|status| creation_error(status, name, "creating the channel's objects"))?;
        Ok(Listener {
            name: name.clone(),
            directory,
            section_security,
            event_security,
            number,
            admission,
            offered: Mutex::new(None),
            _link: link,
        })
    }

    /// Makes what a fresh channel consists of, under names of its own.
    pub(crate) fn prepare(&self, size: usize) -> Result<Prepared> {
        let Listener { name, directory, .. } = self;
        let failed = |status| creation_error(status, name, "creating the channel's objects");
        loop {
            let instance = fresh();
            let path = section_path(directory, name, instance);
            let section = match create_section(Some(&path), &self.section_security, size) {
                // Another instance of 2^64 has this number: draw again.
                Err(STATUS_OBJECT_NAME_COLLISION) => continue,
                other => other.map_err(failed)?,
            };
            let mut events = Vec::with_capacity(EVENTS);
            for index in 0..EVENTS {
                let path = event_path(directory, name, instance, index);
                let attributes = Attributes::new(Some(&path), Some(&self.event_security));
                events.push(create_event(&attributes, SYNCHRONIZATION_EVENT).map_err(failed)?);
            }
            let Ok(events) = events.try_into() else { unreachable!("as many as were made") };
            let (client_end, offer) = (ClientEnd::new(), Offer { instance });
            return Ok(Prepared { section, events, instance, client_end, offer });
        }
    }

    /// Makes the name lead to a channel. For a moment it leads to none: a client that looks then, looks again.
    pub(crate) fn offer(&self, offer: Offer) -> Result<()> {
        let path = offer_path(&self.directory, &self.name, self.number);
        let target = section_path(&self.directory, &self.name, offer.instance);
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        // The link's name is free when its one handle is closed.
        *offered = None;
        *offered = Some(link(&path, &target, &self.name)?);
        self.admission.set();
        Ok(())
    }

    /// Lets the next client have the channel that the name leads to.
    pub(crate) fn offer_again(&self) {
        self.admission.set();
    }

    /// The number of the admission event, by which clients find it.
    pub(crate) fn admission_number(&self) -> u64 {
        self.number
    }

    /// What to wait for besides the request event. Nothing here: clients find the channel by themselves.
    pub(crate) fn wait_for(&self) -> (Option<&Event>, Option<Duration>) {
        (None, None)
    }

    pub(crate) fn is_overdue(&self) -> bool {
        false
    }

    pub(crate) fn keep_turn(&self) {}

    pub(crate) fn pass_turn(&self) {}

    pub(crate) fn hand_over(&self, _section: &Section, _end: &ClientEnd) -> Result<()> {
        Ok(())
    }

    /// The process of a request.
    pub(crate) fn open_requester(&self, pid: u32) -> std::result::Result<Process, Unwatchable> {
        Process::open(pid)
    }

    /// Lets clients that wait find out that they wait for another one: the section says so here.
    pub(crate) fn set_busy(&self, _busy: bool) {}
}

/// A link that nobody else has a handle to.
fn link(path: &str, target: &str, name: &ChannelName) -> Result<OwnedHandle> {
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
    link.map_err(|status| creation_error(status, name, "creating the channel's name"))
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

    /// Asks the server to look at a section that a client has spoiled, and to repair it. Whose section it is, its name says,
    /// which cannot be spoiled.
    pub(crate) fn request_repair(&self, section: &Section, owner: Option<&User>) -> Result<()> {
        let Some(instance) = section_instance(section) else { return Ok(()) };
        let request = self.open(&event_path(&directory(&self.0)?, &self.0, instance, REQUEST), owner)?;
        if let Some(request) = request {
            request.set();
        }
        Ok(())
    }

    /// The event by which clients take turns. `None`: it is gone.
    pub(crate) fn admission_event(&self, instance: u64, owner: Option<&User>) -> Result<Option<Event>> {
        self.open(&admission_path(&directory(&self.0)?, &self.0, instance), owner)
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

fn offer_path(directory: &str, name: &ChannelName, number: u64) -> String {
    format!("{directory}xshm.offer.{number:016x}.{}", name.base())
}

fn admission_path(directory: &str, name: &ChannelName, number: u64) -> String {
    format!("{directory}xshm.turn.{number:016x}.{}", name.base())
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
