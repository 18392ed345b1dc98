//! [`ShmError`], the one error type of the crate.

use crate::constants::{MAX_MESSAGE_SIZE, MIN_MESSAGE_SIZE};

/// What can go wrong. The variants differ in what the caller can do about them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShmError {
    /// No peer yet, or it has left. A receiver has then received all that it sent.
    #[error("no peer is connected: none has come yet, or it has left")]
    NotConnected,
    /// Not now. The sender overwrote messages faster than this call could take one; or a callback used what the call
    /// around it uses, or stopped an endpoint that waits for that callback. Nothing is wrong; try again later.
    #[error("not now: the sender overwrites too fast, or what the call needs is in use; try again")]
    NotReady,
    /// The channel has a living client already.
    #[error("the channel already has a client; try again when that client has left")]
    AlreadyConnected,
    /// The time limit passed.
    #[error("the time limit of the call passed")]
    Timeout,
    /// No message is queued.
    #[error("no message is queued")]
    QueueEmpty,
    /// No room for the message. The queue is as it was.
    #[error("the queue is full; try again when the receiver has taken a message")]
    QueueFull,
    /// The message is shorter than [`MIN_MESSAGE_SIZE`].
    #[error("the message is shorter than {MIN_MESSAGE_SIZE} bytes")]
    MessageTooSmall,
    /// The message is longer than [`MAX_MESSAGE_SIZE`], or than this channel's ring allows.
    #[error("the message is longer than {MAX_MESSAGE_SIZE} bytes, or than the channel's ring allows")]
    MessageTooLarge,
    /// The section holds what no peer that follows the protocol writes. The session is over.
    #[error("the peer wrote what the protocol does not allow; the session is over")]
    Corrupted,
    /// The section could not be mapped correctly. This does not happen on a working system.
    #[error("the section could not be mapped correctly: the system does not work as it should")]
    HandshakeFailed,
    /// A call of the Windows kernel failed.
    #[error("{context} failed: NTSTATUS {code:#010X}")]
    WindowsError {
        /// The `NTSTATUS`.
        code: u32,
        /// What was being done.
        context: &'static str,
    },
    /// A system call failed, on Linux.
    #[error("{context} failed: {}", std::io::Error::from_raw_os_error(*code))]
    SystemError {
        /// The `errno`.
        code: i32,
        /// What was being done.
        context: &'static str,
    },
    /// A multi-client server has no free slot.
    #[error("the server has no free slot; try again when a client has left")]
    NoFreeSlot,
    /// A living server, or another kind of object, holds the name.
    #[error("the name {name:?} is taken by a running server or another object; choose another name, or stop that server")]
    AlreadyExists {
        /// The name as the caller gave it.
        name: String,
    },
    /// The peer's process ended without leaving the channel. A receiver has received everything that it sent before.
    #[error("the peer (process {pid}) ended without leaving; wait for another one, or connect again")]
    PeerDied {
        /// The peer's process id.
        pid: u32,
    },
    /// [`Interrupter::interrupt`](crate::Interrupter::interrupt) ended the call.
    #[error("an interrupter ended the call")]
    Interrupted,
    /// The name can't name a channel.
    #[error("the name {name:?} is not possible: {reason}")]
    InvalidName {
        /// The name as the caller gave it.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An option has a value that is not possible.
    #[error("the option {option} cannot be {value}: {reason}")]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// Its value.
        value: u64,
        /// What would be possible.
        reason: String,
    },
    /// One side refuses the other.
    #[error("refused: {reason}")]
    Refused {
        /// Which side refused, and why.
        reason: String,
    },
    /// The section at the other end has an incompatible version.
    #[error("the peer is incompatible: its {what} is {found:#x}, expected {expected:#x}; both sides need one version and matching options")]
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
    /// The operating system asks for a privilege that this process does not have.
    #[error("this process lacks the privilege {privilege}, which creating {name:?} needs")]
    PrivilegeNotHeld {
        /// The name as the caller gave it.
        name: String,
        /// The privilege's name.
        privilege: &'static str,
    },
    /// A call to a handler panicked. The background mode continues.
    #[error("a handler panicked: {message}")]
    HandlerPanicked {
        /// What it panicked with, if that was text.
        message: String,
    },
    /// A fork of the process used its copy of an endpoint, which belongs to the process that created it. Linux only.
    #[error(
        "the endpoint belongs to the process that created it, and this process is a fork of that one; \
         create or connect an endpoint here"
    )]
    Forked,
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, ShmError>;
