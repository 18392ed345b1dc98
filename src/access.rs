//! Which users may open a channel, and which process is at its other end.

use crate::error::{Result, ShmError};
use crate::sys;
use crate::sys::kinds::Audience;
use std::fmt;
use std::str::FromStr;

/// Which users may connect to a named server. Chosen with [`ServerOptions::access`](crate::ServerOptions::access).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Access {
    /// The user that runs the server, the system and its administrators.
    #[default]
    Owner,
    /// Every user of the machine that can reach the name.
    Everyone,
    /// These users or groups, besides those of [`Access::Owner`].
    Users(Vec<UserId>),
    /// A security descriptor for the channel's objects, in self-relative form. Windows only.
    ///
    /// Clients need `SECTION_MAP_READ | SECTION_MAP_WRITE | SECTION_QUERY | READ_CONTROL` of the section and
    /// `EVENT_MODIFY_STATE | SYNCHRONIZE | READ_CONTROL` of the events; one descriptor serves both. Unless it names an owner, the
    /// system chooses one, and clients may take the server for an impostor's
    /// (see [`ClientOptions::trust`](crate::ClientOptions::trust)).
    SecurityDescriptor(Vec<u8>),
}

/// A user as the operating system knows it: a security identifier (SID) on Windows, a user's number on Linux.
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
            Access::Everyone => Audience::Everyone,
            Access::Users(users) => Audience::Users(users.iter().map(|user| &user.0).collect()),
            Access::SecurityDescriptor(bytes) => Audience::SecurityDescriptor(bytes),
        }
    }
}

impl UserId {
    /// The user that this process runs as.
    ///
    /// # Errors
    /// [`ShmError::WindowsError`]: the system does not say.
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
    /// The peer's process id. On Linux the kernel gives it if the client connected by the server's name. Else
    /// the peer gives it: a hint.
    pub process_id: u32,
    /// The user behind it, where the system says so. To a client this is the section's owner, which is proof of who
    /// created it: a user cannot create one in the name of another. To a server on Windows it is the user of the process id
    /// above, so it is a hint too. On Linux the kernel gives the user of a process that was accepted. Neither
    /// says who wrote a message: any process that the server's access policy admits can write into the section.
    pub user: Option<UserId>,
}
