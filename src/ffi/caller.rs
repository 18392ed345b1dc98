//! Callers: clients that call a server and wait for its answers.

use super::options::*;
use super::*;
use crate::caller::Caller;
use crate::sys::OwningProcess;
use std::cell::RefCell;

/// A client that calls a server and waits for its answers.
///
/// \ingroup calls
pub struct CallerHandle {
    caller: Caller,
    gate: Gate,
    created_in: OwningProcess,
}

impl Closable for CallerHandle {
    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn end(&self) -> bool {
        self.caller.interrupter().0.stop();
        true
    }

    fn is_forked(&self) -> bool {
        !self.created_in.is_current()
    }

    fn give_up_name(&self) {}
}

/// What a caller has done so far.
///
/// \ingroup calls
#[repr(C)]
pub struct shm_caller_stats_t {
    /// The bytes of this structure that the library has filled. It grows into `reserved`.
    pub struct_size: u32,
    /// Always 0.
    pub padding: u32,
    /// Calls that were sent.
    pub calls: u64,
    /// Calls that got an answer, or SHM_ERROR_NO_ANSWER from the server.
    pub answers: u64,
    /// Answers that no call waited for any more, and that were dropped.
    pub late_answers: u64,
    /// Messages that are no answers, and were dropped.
    pub other_messages: u64,
    /// Messages of the server that were evicted before they could be received. Answers may be among them.
    pub lost_messages: u64,
    /// Always 0. For counts of newer versions.
    pub reserved: [u64; 3],
}

/// Connects to a server, to call it. It connects as shm_client_connect_with_options does, to a server for one client
/// or for many.
///
/// \ingroup calls
/// \param config The name and the size of the rings.
/// \param options The options. NULL: the defaults.
/// \param timeout_ms How long to wait in all, in milliseconds. SHM_FOREVER: without a limit. On Linux, 0 rarely
///   succeeds.
/// \return The handle, which the caller owns and frees by shm_caller_disconnect. NULL: the call failed;
///   shm_last_error returns one of the following codes.
/// \retval SHM_ERROR_TIMEOUT No server has the name, or the server did not accept in time. shm_last_error_message
///   says which.
/// \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
/// \retval SHM_ERROR_NO_SLOT The server serves many clients, and each slot has one.
/// \retval SHM_ERROR_REFUSED One side refuses to connect to the other. shm_last_error_message says why.
/// \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
/// \retval SHM_ERROR_INTERRUPTED The interrupter of the options ended the call.
/// \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
/// \retval SHM_ERROR_INVALID_NAME The name is invalid.
/// \retval SHM_ERROR_MEMORY The system has not enough memory.
/// \retval SHM_ERROR_SYSTEM A call of the operating system failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_caller_connect(
    config: *const shm_endpoint_config_t, options: *const shm_options_t, timeout_ms: u32,
) -> *mut CallerHandle {
    // SAFETY: by the caller.
    returning_handle(|| unsafe {
        let (name, ring_size) = options::config(config)?;
        let caller = client_options(ring_size, options)?.connect_caller(name, duration(timeout_ms))?;
        let (gate, created_in) = (Gate::default(), OwningProcess::current()?);
        Ok(Arc::new(CallerHandle { caller, gate, created_in }))
    })
}

/// Calls the server, and waits for the answer. If the server's queue is full, the call waits for room. After a
/// failure the server may have got the call, and may have done what it asks for.
///
/// \ingroup calls
/// \param handle The caller.
/// \param data What to send. The library copies it during the call. May be NULL if `size` is 0.
/// \param size The number of bytes to send: 0 to SHM_MAX_CALL, or to the server's shm_options_t.max_message_bytes minus 16.
/// \param[out] buffer Gets the answer. A buffer of SHM_MAX_CALL bytes is long enough, unless the server has set
///   shm_options_t.max_message_bytes. May be NULL if `*answer_size` is 0.
/// \param[in,out] answer_size Before the call the size of `buffer` in bytes, after it the size of the answer. 0 after
///   other failures than SHM_ERROR_BUFFER_TOO_SMALL.
/// \param timeout_ms How long to wait, in milliseconds. SHM_FOREVER: without a limit.
/// \retval SHM_SUCCESS `buffer` has the answer.
/// \retval SHM_ERROR_TIMEOUT No answer came in time. If it comes later, it is dropped and counted.
/// \retval SHM_ERROR_NO_ANSWER The server has dropped the call. Or the call has no limit, and messages were evicted
///   that may have been its answer.
/// \retval SHM_ERROR_BUFFER_TOO_SMALL `*answer_size` is the size of the answer, and `buffer` has its beginning.
///   shm_caller_last_answer gets the whole.
/// \retval SHM_ERROR_NOT_CONNECTED The server has left. Connect another caller.
/// \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting. Connect another caller.
/// \retval SHM_ERROR_MESSAGE_TOO_LARGE There are more bytes to send than the channel allows.
/// \retval SHM_ERROR_INTERRUPTED shm_caller_interrupt, or shm_caller_disconnect, ended the call.
/// \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
/// \par Threads
/// Any thread. Any number of threads may call at the same time.
#[no_mangle]
pub unsafe extern "C" fn shm_caller_call(
    handle: *mut CallerHandle, data: *const c_void, size: u32, buffer: *mut c_void, answer_size: *mut u32,
    timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        LAST_ANSWER.set(Vec::new());
        let inside = enter(handle)?;
        let place = AnswerPlace::new(buffer, answer_size)?;
        place.fill(inside.caller.call(bytes(data, size)?, timeout(timeout_ms))?)
    })
}

thread_local! {
    /// The answer for which the buffer of this thread's last call had no room.
    static LAST_ANSWER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A program's buffer for an answer.
struct AnswerPlace<'a> {
    buffer: *mut c_void,
    room: usize,
    answer_size: &'a mut u32,
}

impl AnswerPlace<'_> {
    /// Stores 0 as the size of the answer, which remains after a failure.
    ///
    /// # Safety
    /// `answer_size` is NULL or valid as long as the result lives, and `buffer` has this number of bytes as long.
    unsafe fn new(buffer: *mut c_void, answer_size: *mut u32) -> Outcome<Self> {
        // SAFETY: by the caller.
        let answer_size = unsafe { required(answer_size, "the pointer to the buffer's size") }?;
        let room = std::mem::take(answer_size) as usize;
        if buffer.is_null() && room > 0 {
            return Err(Failure::Null("the buffer"));
        }
        Ok(AnswerPlace { buffer, room, answer_size })
    }

    /// Copies an answer into the buffer. If it is too long, keeps it for the thread.
    fn fill(self, answer: Vec<u8>) -> Outcome {
        let len = answer.len();
        *self.answer_size = len as u32;
        // SAFETY: by the caller of `new`, the buffer has this room.
        unsafe { ptr::copy_nonoverlapping(answer.as_ptr(), self.buffer.cast(), len.min(self.room)) };
        if len > self.room {
            LAST_ANSWER.set(answer);
            return Err(Failure::AnswerTooLong(len));
        }
        Ok(())
    }
}

/// Gets the answer for which the buffer of this thread's last call (shm_caller_call) was too small. It is kept until
/// this function succeeds, or until the thread's next shm_caller_call.
///
/// \ingroup calls
/// \param[out] buffer Gets the answer. May be NULL if `*answer_size` is 0.
/// \param[in,out] answer_size Before the call the size of `buffer` in bytes, after it the size of the answer. 0 after
///   other failures than SHM_ERROR_BUFFER_TOO_SMALL.
/// \retval SHM_SUCCESS `buffer` has the answer.
/// \retval SHM_ERROR_BUFFER_TOO_SMALL `*answer_size` is the size of the answer, and `buffer` has its beginning.
/// \retval SHM_ERROR_INVALID_PARAM There is no such answer.
/// \par Threads
/// The thread that called.
#[no_mangle]
pub unsafe extern "C" fn shm_caller_last_answer(buffer: *mut c_void, answer_size: *mut u32) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let place = AnswerPlace::new(buffer, answer_size)?;
        let answer = LAST_ANSWER.take();
        if answer.is_empty() {
            return Err(Failure::Nothing(
                "no answer is kept: the last call's buffer had room for its answer",
            ));
        }
        place.fill(answer)
    })
}

/// Stores what the caller has done so far. Waits for no other call.
///
/// \ingroup calls
/// \param handle The caller.
/// \param[out] out Gets the counts. Zeros after a failure.
/// \return SHM_SUCCESS, or a code that each function can return.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_caller_stats(
    handle: *const CallerHandle, out: *mut shm_caller_stats_t,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(out);
        let stats = enter(handle)?.caller.stats();
        *required(out, "the pointer to the statistics")? = shm_caller_stats_t {
            struct_size: std::mem::offset_of!(shm_caller_stats_t, reserved) as u32,
            padding: 0,
            calls: stats.calls,
            answers: stats.answers,
            late_answers: stats.late_answers,
            other_messages: stats.other_messages,
            lost_messages: stats.lost_messages,
            reserved: [0; 3],
        };
        Ok(())
    })
}

/// Returns whether the server is connected. Asks the system whether the server's process still runs.
///
/// \ingroup calls
/// \param handle The caller.
/// \return true: the server is connected. false: it is not, or the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_caller_is_connected(handle: *const CallerHandle) -> bool {
    // SAFETY: by the caller.
    returning(false, || unsafe { Ok(enter(handle)?.caller.is_connected()) })
}

/// Returns the slot that a server for many clients has given this caller.
///
/// \ingroup calls
/// \param handle The caller.
/// \return The slot. SHM_NO_CLIENT: the server serves one client, or the call failed.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_caller_slot_id(handle: *const CallerHandle) -> u32 {
    // SAFETY: by the caller.
    returning(u32::MAX, || unsafe { Ok(enter(handle)?.caller.slot_id().unwrap_or(u32::MAX)) })
}

/// Makes calls that wait return SHM_ERROR_INTERRUPTED, now and later, until shm_caller_resume.
///
/// \ingroup calls
/// \param handle The caller.
/// \return SHM_SUCCESS, or a code that each function can return.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_caller_interrupt(handle: *const CallerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle).map(|inside| inside.caller.interrupter().interrupt()) })
}

/// Ends the effect of shm_caller_interrupt: calls may wait again.
///
/// \ingroup calls
/// \param handle The caller.
/// \return SHM_SUCCESS, or a code that each function can return.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_caller_resume(handle: *const CallerHandle) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle).map(|inside| inside.caller.interrupter().reset()) })
}

/// Leaves the server and frees the handle. Calls of other threads return first, with SHM_ERROR_INTERRUPTED.
///
/// \ingroup calls
/// \param handle The caller, which must not be used afterwards. NULL does nothing.
/// \par Threads
/// Any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_caller_disconnect(handle: *mut CallerHandle) {
    // SAFETY: by the caller.
    unsafe { close(handle) }
}
