//! What stands behind a name.
//!
//! A server makes its own channel for each session. The name leads to the one that it offers now, through two symbolic
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
//! An object's name lives as long as any handle to it. Only the server has handles to the links: clients pass through a link
//! when they open the section, and never hold it, and its access list admits no other user. So the name is free the moment the
//! server's process ends, even if clients keep an old section; and a second server fails because it cannot create the first
//! link. A client that finds no second link looks again.
//!
//! Clients take turns by the admission event, which the server sets once for each channel that it offers: it wakes one of the
//! clients that wait, in the order in which they came.
//!
//! Symbolic links in the session's own directory need no privilege. In the global one (`Global\`, `\BaseNamedObjects` of
//! session 0) Windows asks for "Create global objects", for sections and links. Wine 8 asks for nothing.

use crate::error::{Result, ShmError};
use crate::naming::{ChannelName, Scope};
use crate::ntapi::*;
use std::mem::size_of;
use std::ptr;

/// The names of a channel's objects.
pub(super) struct Names {
    /// The object directory of the name's scope, with a backslash at its end.
    directory: String,
    pub(super) name: ChannelName,
}

impl Names {
    pub(super) fn of(name: &ChannelName) -> Result<Self> {
        let directory = match name.scope {
            Scope::Global => GLOBAL.to_owned(),
            Scope::Local => local_directory()?,
        };
        Ok(Names { directory: format!("{directory}\\"), name: name.clone() })
    }

    pub(super) fn link(&self) -> String {
        let name: String = self.name.base().bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("{}xshm.link.{name}", self.directory)
    }

    pub(super) fn section(&self, instance: u64) -> String {
        self.object("section", instance)
    }

    pub(super) fn event(&self, instance: u64, index: usize) -> String {
        self.object(&format!("event.{index}"), instance)
    }

    pub(super) fn offer(&self, number: u64) -> String {
        self.object("offer", number)
    }

    pub(super) fn admission(&self, number: u64) -> String {
        self.object("turn", number)
    }

    fn object(&self, kind: &str, number: u64) -> String {
        format!("{}xshm.{kind}.{number:016x}.{}", self.directory, self.name.base())
    }
}

/// The directory of the machine, or of a container.
pub(super) const GLOBAL: &str = "\\BaseNamedObjects";

/// The directory of this process's session.
///
/// It is the global one in the session of services, which has the number 0. In a container that shares the machine's kernel (a
/// server silo) that session has another number, and there is no directory for it.
pub(super) fn local_directory() -> Result<String> {
    let session = session_id()?;
    if session == 0 {
        return Ok(GLOBAL.to_owned());
    }
    let directory = format!("\\Sessions\\{session}{GLOBAL}");
    let attributes = Attributes::new(Some(&directory), None);
    // SAFETY: the attributes and the place for the handle are valid.
    let opened = attributes.handle_from(|handle, attributes| unsafe {
        NtOpenDirectoryObject(handle, DIRECTORY_TRAVERSE, attributes)
    });
    Ok(match opened {
        Err(STATUS_OBJECT_PATH_NOT_FOUND | STATUS_OBJECT_NAME_NOT_FOUND) => GLOBAL.to_owned(),
        // A process that may not open it may still be allowed to open what is in it.
        _ => directory,
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

pub(super) fn creation_error(status: NtStatus, name: &ChannelName, context: &'static str) -> ShmError {
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

pub(super) fn opening_error(status: NtStatus, name: &ChannelName) -> ShmError {
    let reason = match status {
        STATUS_ACCESS_DENIED => "does not admit this user",
        STATUS_OBJECT_TYPE_MISMATCH => "is not a channel",
        status => return error(status, "opening the channel's objects"),
    };
    ShmError::Refused { reason: format!("the object {:?} {reason}", name.given()) }
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
        let path = |name| {
            let name = ChannelName::parse(name).unwrap();
            Names { directory: String::new(), name }.link().to_lowercase()
        };
        assert_ne!(path("chat"), path("Chat"));
        assert_eq!(path("Aé"), "xshm.link.41c3a9");
    }
}
