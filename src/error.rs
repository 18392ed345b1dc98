//! [`ShmError`], the one error type of the crate.

use crate::constants::{MAX_MESSAGE_SIZE, MIN_MESSAGE_SIZE};
use std::io::{self, ErrorKind};

/// The reason why a call of this crate failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShmError {
    /// There is no peer yet, or the peer has left. A call that receives returns this only after it has received everything that
    /// the peer sent.
    #[error("no peer is connected: none has come yet, or it has left")]
    NotConnected,
    /// The call is not possible now; try again later. The sender overwrote messages faster than this call could take one. Or a
    /// callback used the endpoint whose call runs the callback. Or a callback would wait for an endpoint that waits for this
    /// callback. From a [`PendingConnect`](crate::PendingConnect): the connect has ended.
    #[error("not now: the sender overwrites too fast, or what the call needs is in use; try again")]
    NotReady,
    /// The server has another client, or has not yet looked for the next one.
    #[error("the server has a client, or has not yet looked for the next one; try again when that client has left")]
    AlreadyConnected,
    /// The time limit passed.
    #[error("the call's time limit passed")]
    Timeout,
    /// A client's time to connect has passed, and no server has the name.
    #[error("no server has the name \"{name}\" {}; start the server, or check the name", reach(name))]
    NoServer {
        /// The name as the caller gave it.
        name: String,
    },
    /// A client's time to connect has passed. The server with this name runs, but did not accept the client.
    #[error("the server \"{name}\" runs but did not accept the client in time; it may be busy, or not wait for a client")]
    NotAccepting {
        /// The name as the caller gave it.
        name: String,
    },
    /// No message is queued.
    #[error("the queue has no message")]
    QueueEmpty,
    /// There is no room for the message. The queue is unchanged.
    #[error("the queue is full; try again when the receiver has taken a message")]
    QueueFull,
    /// The message is shorter than [`MIN_MESSAGE_SIZE`]. On a channel with a
    /// [`max_message_size`](crate::ServerOptions::max_message_size), no message is too short.
    #[error("the message is shorter than {MIN_MESSAGE_SIZE} bytes")]
    MessageTooSmall,
    /// The message is longer than [`MAX_MESSAGE_SIZE`], or than the server's
    /// [`max_message_size`](crate::ServerOptions::max_message_size), or than this channel's ring allows.
    #[error(
        "the message is longer than the channel allows: {MAX_MESSAGE_SIZE} bytes, or what the server's option max_message_size \
         (max_message_bytes in C) says, or half its ring; the endpoint's max_message_size() is the limit"
    )]
    MessageTooLarge,
    /// The peer wrote a value into the section that the protocol does not allow. The session is over.
    #[error("the peer wrote a value that the protocol does not allow; the session is over")]
    Corrupted,
    /// The section could not be mapped correctly. This does not happen on a working system.
    #[error("the section could not be mapped correctly: the system does not work as it should")]
    HandshakeFailed,
    /// A call of the Windows kernel failed.
    #[error("{context} failed: NTSTATUS {code:#010X}")]
    WindowsError {
        /// The `NTSTATUS`.
        code: u32,
        /// The operation that failed.
        context: &'static str,
    },
    /// A system call failed, on Linux.
    #[error("{context} failed: {}", std::io::Error::from_raw_os_error(*code))]
    SystemError {
        /// The `errno`.
        code: i32,
        /// The operation that failed.
        context: &'static str,
    },
    /// A multi-client server has no free slot.
    #[error("the server has no free slot; try again when a client has left")]
    NoFreeSlot,
    /// A living server, or another kind of object, holds the name.
    #[error(
        "the name \"{name}\" is taken by a running server, by a process that such a server forked, or by another object; \
         choose another name, or stop that server"
    )]
    AlreadyExists {
        /// The name as the caller gave it.
        name: String,
    },
    /// The peer's process ended without leaving the channel. A call that receives returns this
    /// only after it has received everything that the peer sent.
    #[error("the peer{} ended without leaving; wait for another one, or connect again", process(*pid))]
    PeerDied {
        /// The peer's process id, or 0 if it is not known.
        pid: u32,
    },
    /// [`Interrupter::interrupt`](crate::Interrupter::interrupt) ended the call.
    #[error("an interrupter, or the stop of the endpoint, ended the call")]
    Interrupted,
    /// The text is not a valid name of a channel, or not a valid user id.
    #[error("the name \"{}\" is invalid: {reason}", printable(name))]
    InvalidName {
        /// The name as the caller gave it.
        name: String,
        /// Why the name is invalid.
        reason: &'static str,
    },
    /// An option has an invalid value.
    #[error("the option {option}{} cannot be {value}: {reason}", in_c(option))]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// Its value.
        value: u64,
        /// Why the value is invalid, or which values are valid.
        reason: String,
    },
    /// One side refuses the other.
    #[error("refused: {reason}")]
    Refused {
        /// Which side refused, and why.
        reason: String,
    },
    /// The section at the other end has an incompatible version.
    #[error(
        "the peer is incompatible: its {what} is {}, expected {}; both sides need {}",
        number(what, *found), number(what, *expected), needs(what)
    )]
    Incompatible {
        /// Which field differs.
        what: &'static str,
        /// Its value in the section.
        found: u64,
        /// The value that would have been accepted, or the bound that it breaks.
        expected: u64,
    },
    /// The caller's buffer can't hold the next message, which stays in the queue.
    #[error("the buffer is too small: the next message has {needed} bytes; it stays in the queue")]
    BufferTooSmall {
        /// The size of the next message in bytes.
        needed: usize,
    },
    /// The operating system requires a privilege that this process does not have.
    #[error("this process lacks the privilege {privilege}, which creating \"{name}\" needs")]
    PrivilegeNotHeld {
        /// The name as the caller gave it.
        name: String,
        /// The privilege's name.
        privilege: &'static str,
    },
    /// A call to a handler panicked. The endpoint continues.
    #[error("a handler panicked: {message}")]
    HandlerPanicked {
        /// The panic's message, if it is text.
        message: String,
    },
    /// The server that was called has dropped the call, and sends no answer.
    #[error("the server gave no answer to the call: it dropped the call, or its handler failed")]
    NoAnswer,
    /// A forked process used its copy of an endpoint. Only the process that created the endpoint can use it. Linux only.
    #[error(
        "the endpoint belongs to the process that created it, and this process is a fork of that one; \
         create or connect an endpoint here"
    )]
    Forked,
}

/// Where a name is valid, for messages.
fn reach(name: &str) -> &'static str {
    if name.starts_with("Global\\") {
        "on this machine (on Linux: in this network namespace)"
    } else {
        "in this logon session (Windows), or for this user in this network namespace (Linux)"
    }
}

/// A name without the characters that would change a terminal.
fn printable(name: &str) -> String {
    name.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

/// A process in parentheses, if its id is known.
fn process(pid: u32) -> String {
    match pid {
        0 => String::new(),
        pid => format!(" (process {pid})"),
    }
}

/// What an option is called in C, if not the same.
fn in_c(option: &str) -> &'static str {
    match option {
        "ring_size" => " (ring_bytes in C)",
        "max_message_size" => " (max_message_bytes in C)",
        _ => "",
    }
}

/// A field's value: some fields are bit patterns, the others are numbers or sizes.
fn number(what: &str, value: u64) -> String {
    match what {
        "magic" | "flags" | "section memory" | "section seals" => format!("{value:#x}"),
        _ => value.to_string(),
    }
}

/// What must agree for a field to agree.
fn needs(what: &str) -> String {
    let option = match what {
        "ring size" => "ring_size",
        "message limit" => "message_limit",
        "longest message" => "max_message_size",
        _ => return "one version".to_owned(),
    };
    format!("one version, and the same {option}{} if the client sets it", in_c(option))
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, ShmError>;

/// The error's kind is the one that is nearest to it, and the error itself is the source.
///
/// [`ShmError::Interrupted`] does not become [`ErrorKind::Interrupted`]: functions of the standard library try again after that,
/// and an [`Interrupter`](crate::Interrupter) interrupts until it is reset.
impl From<ShmError> for io::Error {
    fn from(error: ShmError) -> Self {
        let kind = match &error {
            ShmError::NotConnected => ErrorKind::NotConnected,
            ShmError::PeerDied { .. } => ErrorKind::ConnectionReset,
            ShmError::NoServer { .. } => ErrorKind::NotFound,
            ShmError::Timeout | ShmError::NotAccepting { .. } => ErrorKind::TimedOut,
            ShmError::QueueEmpty | ShmError::QueueFull | ShmError::NotReady => ErrorKind::WouldBlock,
            ShmError::AlreadyConnected | ShmError::AlreadyExists { .. } => ErrorKind::AddrInUse,
            ShmError::Corrupted | ShmError::Incompatible { .. } => ErrorKind::InvalidData,
            ShmError::Refused { .. } | ShmError::PrivilegeNotHeld { .. } => ErrorKind::PermissionDenied,
            ShmError::MessageTooSmall
            | ShmError::MessageTooLarge
            | ShmError::BufferTooSmall { .. }
            | ShmError::InvalidName { .. }
            | ShmError::InvalidOption { .. } => ErrorKind::InvalidInput,
            ShmError::SystemError { code, .. } => io::Error::from_raw_os_error(*code).kind(),
            _ => ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_and_options_have_their_names() {
        let differs = |what, found, expected| ShmError::Incompatible { what, found, expected }.to_string();
        assert_eq!(
            differs("longest message", 33_177_600, 70_000),
            "the peer is incompatible: its longest message is 33177600, expected 70000; both sides need one version, and the same \
             max_message_size (max_message_bytes in C) if the client sets it"
        );
        assert_eq!(
            differs("magic", 0xABCD_EF01, 1),
            "the peer is incompatible: its magic is 0xabcdef01, expected 0x1; both sides need one version"
        );
        let option = ShmError::InvalidOption { option: "ring_size", value: 3, reason: "why".to_owned() };
        assert_eq!(option.to_string(), "the option ring_size (ring_bytes in C) cannot be 3: why");
    }
}
