//! The error codes of C, and the error that a thread's last failed call left.

use super::*;
use crate::auto::DisconnectReason;
use std::cell::RefCell;
use std::ffi::CStr;

/// The result code of a function, and of shm_last_error. 0 is success; all other codes are negative. New versions only
/// append codes.
///
/// \ingroup library
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum shm_error_t {
    /// The call succeeded.
    SHM_SUCCESS = 0,
    /// An argument is NULL but must not be, or an option has an invalid value.
    SHM_ERROR_INVALID_PARAM = -1,
    /// The system has not enough memory.
    SHM_ERROR_MEMORY = -2,
    /// The timeout passed. After a call to connect, shm_last_error_message says whether no server has the name, or the
    /// server did not accept.
    SHM_ERROR_TIMEOUT = -3,
    /// There is no message in the queue.
    SHM_ERROR_EMPTY = -4,
    /// A running server, or something else, has the name.
    SHM_ERROR_EXISTS = -5,
    /// The slot has no client.
    SHM_ERROR_NOT_FOUND = -6,
    /// A privilege is missing (for a name that begins with "Global\\").
    SHM_ERROR_ACCESS = -7,
    /// The call is not possible now. The peer overwrites messages faster than they can be taken; or a callback needs something
    /// that the call around it uses, or would have to wait for itself; or a message is reserved or borrowed in place. Try again
    /// later. From the functions of a pending connect: the connect has ended.
    SHM_ERROR_NOT_READY = -8,
    /// The peer wrote what the protocol does not allow. The session is over.
    SHM_ERROR_PROTOCOL = -9,
    /// There is no room for the message. The queue is unchanged.
    SHM_ERROR_FULL = -10,
    /// The server has no free slot.
    SHM_ERROR_NO_SLOT = -11,
    /// The library has a defect, or the caller passed invalid memory. From `on_error` of xshm.hpp: a callback threw an exception.
    SHM_ERROR_INTERNAL = -12,
    /// There is no peer yet, or the peer has left. From a function that receives: all messages of the peer were received.
    SHM_ERROR_NOT_CONNECTED = -13,
    /// The peer's process ended without disconnecting. From a function that receives: all messages of the peer were
    /// received.
    SHM_ERROR_PEER_DIED = -14,
    /// The server has another client, or has not yet looked for the next one.
    SHM_ERROR_ALREADY_CONNECTED = -15,
    /// The buffer is too small; the call stored the size that is needed. The message stays in the queue. (From shm_caller_call: the
    /// rest of the answer is lost.)
    SHM_ERROR_BUFFER_TOO_SMALL = -16,
    /// The message has fewer than 2 bytes.
    SHM_ERROR_MESSAGE_TOO_SMALL = -17,
    /// The message has more than 65,535 bytes, or more than half the ring's bytes minus 8, or more than the server's
    /// shm_options_t.max_message_bytes.
    SHM_ERROR_MESSAGE_TOO_LARGE = -18,
    /// shm_server_interrupt, shm_client_interrupt or stopping the handle ended the call.
    SHM_ERROR_INTERRUPTED = -19,
    /// The name or the user is invalid. A name has 1 to 80 bytes of UTF-8, and no backslash. A user is a SID or a number.
    SHM_ERROR_INVALID_NAME = -20,
    /// One side refuses to connect to the other, or is not allowed to.
    SHM_ERROR_REFUSED = -21,
    /// The peer has an incompatible version, or has other sizes than the caller requested.
    SHM_ERROR_INCOMPATIBLE = -22,
    /// A call of the operating system failed.
    SHM_ERROR_SYSTEM = -23,
    /// The handle belongs to the process that created it, and this process is a fork of that process.
    SHM_ERROR_FORKED = -24,
    /// The server that was called has dropped the call, and sends no answer.
    SHM_ERROR_NO_ANSWER = -25,
}

use shm_error_t::*;

pub(crate) fn code(error: &ShmError) -> shm_error_t {
    match error {
        ShmError::NotConnected => SHM_ERROR_NOT_CONNECTED,
        ShmError::NotReady => SHM_ERROR_NOT_READY,
        ShmError::AlreadyConnected => SHM_ERROR_ALREADY_CONNECTED,
        ShmError::Timeout | ShmError::NoServer { .. } | ShmError::NotAccepting { .. } => SHM_ERROR_TIMEOUT,
        ShmError::QueueEmpty => SHM_ERROR_EMPTY,
        ShmError::QueueFull => SHM_ERROR_FULL,
        ShmError::MessageTooSmall => SHM_ERROR_MESSAGE_TOO_SMALL,
        ShmError::MessageTooLarge => SHM_ERROR_MESSAGE_TOO_LARGE,
        ShmError::Corrupted | ShmError::HandshakeFailed => SHM_ERROR_PROTOCOL,
        // STATUS_NO_MEMORY, STATUS_INSUFFICIENT_RESOURCES, STATUS_COMMITMENT_LIMIT.
        ShmError::WindowsError { code: 0xC000_0017 | 0xC000_009A | 0xC000_012D, .. } => SHM_ERROR_MEMORY,
        // ENOMEM.
        ShmError::SystemError { code: 12, .. } => SHM_ERROR_MEMORY,
        ShmError::WindowsError { .. } | ShmError::SystemError { .. } => SHM_ERROR_SYSTEM,
        ShmError::NoFreeSlot => SHM_ERROR_NO_SLOT,
        ShmError::AlreadyExists { .. } => SHM_ERROR_EXISTS,
        ShmError::PeerDied { .. } => SHM_ERROR_PEER_DIED,
        ShmError::Interrupted => SHM_ERROR_INTERRUPTED,
        ShmError::InvalidName { .. } => SHM_ERROR_INVALID_NAME,
        ShmError::InvalidOption { .. } => SHM_ERROR_INVALID_PARAM,
        ShmError::Refused { .. } => SHM_ERROR_REFUSED,
        ShmError::Incompatible { .. } => SHM_ERROR_INCOMPATIBLE,
        ShmError::BufferTooSmall { .. } => SHM_ERROR_BUFFER_TOO_SMALL,
        ShmError::PrivilegeNotHeld { .. } => SHM_ERROR_ACCESS,
        ShmError::HandlerPanicked { .. } => SHM_ERROR_INTERNAL,
        ShmError::Forked => SHM_ERROR_FORKED,
        ShmError::NoAnswer => SHM_ERROR_NO_ANSWER,
    }
}

/// A failure of a C call: an error of the library, or an error that only C callers can cause.
pub(crate) enum Failure {
    Library(ShmError),
    /// The name of the argument that is NULL.
    Null(&'static str),
    /// The name of the argument that is not UTF-8.
    NotUtf8(&'static str),
    /// What the call ends, and what there is none of.
    Nothing(&'static str),
    NoClient,
    /// A call on a connect that has succeeded, failed, or was given up.
    ConnectEnded,
    /// The bytes of an answer for which the caller's buffer has no room.
    AnswerTooLong(usize),
    Panic,
}

impl From<ShmError> for Failure {
    fn from(error: ShmError) -> Self {
        Failure::Library(error)
    }
}

impl Failure {
    fn code(&self) -> shm_error_t {
        match self {
            Failure::Library(error) => code(error),
            Failure::Null(_) | Failure::NotUtf8(_) | Failure::Nothing(_) => SHM_ERROR_INVALID_PARAM,
            Failure::NoClient => SHM_ERROR_NOT_FOUND,
            Failure::ConnectEnded => SHM_ERROR_NOT_READY,
            Failure::AnswerTooLong(_) => SHM_ERROR_BUFFER_TOO_SMALL,
            Failure::Panic => SHM_ERROR_INTERNAL,
        }
    }

    fn message(&self) -> String {
        match self {
            Failure::Library(error) => error.to_string(),
            Failure::Null(what) => format!("{what} is NULL"),
            Failure::NotUtf8(what) => format!("{what} is not UTF-8"),
            Failure::Nothing(what) => (*what).to_owned(),
            Failure::NoClient => "the slot has no client".to_owned(),
            Failure::ConnectEnded => "the connect has ended before".to_owned(),
            Failure::AnswerTooLong(needed) => {
                format!(
                    "the buffer is too small: the answer has {needed} bytes; shm_caller_last_answer gets it"
                )
            }
            Failure::Panic => "a defect of the library: it panicked".to_owned(),
        }
    }
}

/// The result of a C call.
pub(crate) type Outcome<T = ()> = std::result::Result<T, Failure>;

thread_local! {
    /// The reason why this thread's last failed call failed.
    pub(crate) static LAST: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

/// Sets shm_last_error of this thread.
pub(crate) fn record(failure: Failure) -> shm_error_t {
    let code = failure.code();
    // A thread that is ending no longer has the variable.
    let _ = LAST.try_with(|last| last.replace(Some(failure)));
    code
}

/// Runs code that may change shm_last_error, and then restores shm_last_error.
pub(crate) fn restoring_last_error(run: impl FnOnce()) {
    let before = LAST.try_with(RefCell::take).ok();
    run();
    if let Some(before) = before {
        let _ = LAST.try_with(|last| last.replace(before));
    }
}

/// Sets shm_last_error for a callback to the reason why its connection ended.
pub(crate) fn record_reason(reason: &DisconnectReason) {
    let error = match reason {
        DisconnectReason::PeerLeft => ShmError::NotConnected,
        DisconnectReason::PeerDied => ShmError::PeerDied { pid: 0 },
        DisconnectReason::Stopped | DisconnectReason::Kicked => ShmError::Interrupted,
        DisconnectReason::Failed(error) => error.clone(),
    };
    record(error.into());
}

/// Returns the code of this thread's last failed call. A call that succeeds does not change it.
///
/// In on_disconnect and on_client_disconnect it is the reason why the connection ended: SHM_ERROR_NOT_CONNECTED, the
/// peer left; SHM_ERROR_PEER_DIED, the peer's process ended; SHM_ERROR_INTERRUPTED, this side ended the connection;
/// or another error.
///
/// \ingroup library
/// \return The code. SHM_SUCCESS: no call of this thread has failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub extern "C" fn shm_last_error() -> shm_error_t {
    LAST.try_with(|last| last.borrow().as_ref().map_or(SHM_SUCCESS, Failure::code)).unwrap_or(SHM_SUCCESS)
}

/// Describes the error of shm_last_error in English, with details.
///
/// \ingroup library
/// \param[out] buffer Gets the text and a NUL, truncated to the buffer. May be NULL.
/// \param size The size of `buffer` in bytes, including the NUL.
/// \return The length of the whole text in bytes, without the NUL. 0: no call of this thread has failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_last_error_message(buffer: *mut c_char, size: u32) -> u32 {
    let text = LAST.try_with(|last| last.borrow().as_ref().map(Failure::message));
    let text = text.ok().flatten().unwrap_or_default();
    // SAFETY: by the caller.
    unsafe { copy_text(&text, buffer, size) }
}

/// Returns the meaning of a code in English.
///
/// \ingroup library
/// \param code A code of shm_error_t, or any other number.
/// \return The text, never NULL. It belongs to the library, and is valid for ever.
/// \par Threads
/// Any thread.
#[no_mangle]
pub extern "C" fn shm_error_string(code: i32) -> *const c_char {
    let text: &CStr = match code {
        0 => c"success",
        -1 => c"an argument is NULL, or an option has an invalid value",
        -2 => c"the system has not enough memory",
        -3 => c"the timeout passed",
        -4 => c"there is no message in the queue",
        -5 => c"a running server, or something else, has the name",
        -6 => c"the slot has no client",
        -7 => c"a privilege is missing",
        -8 => c"the call is not possible now; try again later",
        -9 => c"the peer wrote what the protocol does not allow",
        -10 => c"there is no room for the message",
        -11 => c"the server has no free slot",
        -12 => c"a defect of the library, or invalid memory from the caller",
        -13 => c"there is no peer, or the peer has left",
        -14 => c"the peer's process ended without disconnecting",
        -15 => c"the server has another client",
        -16 => c"the buffer is too small for the message",
        -17 => c"the message is too short",
        -18 => c"the message is too long",
        -19 => c"the call was interrupted",
        -20 => c"the name, or the user, is invalid",
        -21 => c"one side refuses to connect to the other",
        -22 => c"the peer has an incompatible version or other sizes",
        -23 => c"a call of the operating system failed",
        -25 => c"the server gave no answer to the call",
        -24 => c"the handle belongs to the process that this process is a fork of",
        _ => c"not a code of this library",
    };
    text.as_ptr()
}
