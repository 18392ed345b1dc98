//! Which users may open a channel, and which process is at its other end.

use crate::error::{Result, ShmError};
use crate::sys;
use crate::sys::kinds::Audience;
use std::fmt;
use std::str::FromStr;

/// Which users may connect to a named server, see [`ServerOptions::access`](crate::ServerOptions::access).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Access {
    /// The user that runs the server, the system and the administrators (root on Linux). On Windows this includes those processes
    /// of the user that are not elevated, also if the server is. On Linux, no user that the server's
    /// user namespace does not map, unless the kernel confirms that it is the user that runs the server.
    #[default]
    Owner,
    /// The system and the administrators (root on Linux), and not the user that runs the server. On Windows this is for a server
    /// that runs elevated: [`Access::Owner`] also admits those processes of its user that are not elevated.
    Administrators,
    /// Every user of the machine that can reach the name. On Windows this does not include processes in an AppContainer or below
    /// medium integrity: use [`Access::SecurityDescriptor`] for these.
    Everyone,
    /// These users or groups, besides those of [`Access::Owner`].
    Users(Vec<UserId>),
    /// A security descriptor for the channel's objects, in self-relative form. Windows only.
    ///
    /// The one descriptor applies to the section and to the events. It must grant clients `SECTION_MAP_READ | SECTION_MAP_WRITE
    /// | SECTION_QUERY | READ_CONTROL` for the section, and `EVENT_MODIFY_STATE | SYNCHRONIZE | READ_CONTROL` for the events.
    /// If it names no owner, the system chooses one, and clients may then refuse the server (see
    /// [`ClientOptions::trust`](crate::ClientOptions::trust)).
    SecurityDescriptor(Vec<u8>),
}

/// A user of the operating system: a security identifier (SID) on Windows, a user id (a number) on Linux.
///
/// ```
/// let me = xshm::UserId::current()?;
/// let also_me: xshm::UserId = me.to_string().parse()?;
/// assert_eq!(me, also_me);
/// # Ok::<(), xshm::ShmError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UserId(pub(crate) sys::User);

impl Access {
    pub(crate) fn audience(&self) -> Audience<'_, sys::User> {
        match self {
            Access::Owner => Audience::Owner,
            Access::Administrators => Audience::Administrators,
            Access::Everyone => Audience::Everyone,
            Access::Users(users) => Audience::Users(users.iter().map(|user| &user.0).collect()),
            Access::SecurityDescriptor(bytes) => Audience::SecurityDescriptor(bytes),
        }
    }
}

impl UserId {
    /// Returns the user that this process runs as.
    ///
    /// # Errors
    /// [`ShmError::WindowsError`]: the system does not report the user.
    pub fn current() -> Result<Self> {
        sys::User::current().map(UserId)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({self})")
    }
}

impl FromStr for UserId {
    type Err = ShmError;

    fn from_str(text: &str) -> Result<Self> {
        match sys::User::parse(text) {
            Some(user) => Ok(UserId(user)),
            None => Err(ShmError::InvalidName { name: text.to_owned(), reason: "it is not a user id" }),
        }
    }
}

/// The process and user at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerIdentity {
    /// The peer's process id. On Linux, if the client connected by the server's name, the kernel reports it. Otherwise the peer
    /// states it, and it is only a hint.
    pub process_id: u32,
    /// The peer's user, if the system reports it. For a client, it is the owner of the section. It is certain: no user can
    /// create a section in the name of another. For a server on Linux, the kernel reports the user of the accepted process. For
    /// a server on Windows, it is the user of the process above, and only a hint as well. It does not prove which process wrote
    /// a message: any process that the server's access policy admits can write into the section.
    pub user: Option<UserId>,
}
