//! The callbacks of C, and their call by the endpoints.

use super::*;
use crate::auto::DisconnectReason;
use crate::background::core::{Callbacks as EndpointCallbacks, Core};
use crate::calls::{self, Part};
use std::mem::{size_of, MaybeUninit};
use std::sync::{Mutex, OnceLock, Weak};

/// The callbacks of an endpoint. Any of them may be NULL.
///
/// Of a synchronous endpoint (shm_server_..., shm_client_...) the callbacks run inside the call that detects the event, on its
/// thread. on_connect runs in the call that connects. on_disconnect runs once, in the first call to send, receive, poll or wait
/// for a client that finds the connection over. on_connect and on_disconnect run one at a time, in the order of the
/// connections. While one of them runs, other threads do not wait: the thread that runs it then also runs the callbacks that
/// became due meanwhile. on_data_available runs in a poll that finds a message. on_space_available runs in a
/// shm_..._send_timeout that had to wait for room and got it. on_overflow runs in the call that evicts messages, or that finds
/// that the peer has evicted some. on_error runs when the peer broke the protocol. on_message never runs.
///
/// The callbacks of an auto endpoint run on its worker thread, one at a time; on_data_available runs before each on_message.
///
/// A callback may call any function of this library, also with its own handle, and may stop that handle. Other callbacks than
/// on_start may run before the function that creates the handle has returned: they get the handle from where on_start has put it,
/// and must not free it before that function has returned. A callback must not throw an exception or leave by longjmp.
///
/// Get a structure without callbacks from xshm_server_callbacks_default or xshm_client_callbacks_default.
///
/// \ingroup options
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shm_callbacks_t {
    /// sizeof (shm_callbacks_t). A newer library determines from it which fields exist. 0 stands for the size in version 0.3.
    pub struct_size: u32,
    /// A connection began.
    pub on_connect: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// The connection is over; shm_last_error reports how it ended.
    pub on_disconnect: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// A message is there.
    pub on_data_available: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// There is room again.
    pub on_space_available: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// An operation failed; shm_last_error_message describes the failure.
    pub on_error: Option<unsafe extern "C" fn(error: shm_error_t, user_data: *mut c_void)>,
    /// Passed to each callback. It must be usable on the threads that the callbacks run on.
    pub user_data: *mut c_void,
    /// A message arrived; `data` is valid until the callback returns.
    pub on_message: Option<
        unsafe extern "C" fn(
            direction: shm_direction_t,
            data: *const c_void,
            size: u32,
            user_data: *mut c_void,
        ),
    >,
    /// `count` messages of that direction were lost. Newer messages evicted them; or a server did not receive them before
    /// the next session began (reported after on_disconnect); or, for an auto endpoint, they were left when a connection
    /// ended or the endpoint was stopped.
    pub on_overflow:
        Option<unsafe extern "C" fn(direction: shm_direction_t, count: u32, user_data: *mut c_void)>,
    /// The handle is about to start. This callback runs first of all, once, in the function that creates the handle, before that
    /// function returns. `handle` is what the function is going to return: keep it where the other callbacks find it. If the
    /// function returns NULL after all, the handle is gone.
    pub on_start: Option<unsafe extern "C" fn(handle: *mut c_void, user_data: *mut c_void)>,
    /// Auto servers: a client called (shm_caller_call), and waits for the answer. `data` is valid until the callback returns. The
    /// call may be answered later, on any thread, by shm_server_answer_auto, or ended by shm_server_refuse_auto. NULL: calls are
    /// messages like any other.
    pub on_call: Option<
        unsafe extern "C" fn(call: shm_call_t, data: *const c_void, size: u32, user_data: *mut c_void),
    >,
}

/// A call that a client waits for the answer to. Two numbers, which may be copied and kept. They stand for this call alone: when its
/// session is over, an answer fails with SHM_ERROR_NOT_CONNECTED, and reaches no other client.
///
/// \ingroup calls
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shm_call_t {
    /// The session of the client, as shm_server_session_auto and shm_multi_server_session return it.
    pub session: u64,
    /// The number of the call.
    pub id: u64,
}

/// A structure of callbacks in the header. Its first field is its size.
///
/// # Safety
/// The structure begins with a `u32`, and all zeros are a valid value.
pub(crate) unsafe trait Table: Copy {
    const NAME: &'static str;

    /// Calls on_start.
    fn start(callbacks: &Callbacks<Self>, handle: *mut c_void);
}

// SAFETY: it begins with `struct_size`; zeros are 0, NULL and no callbacks.
unsafe impl Table for shm_callbacks_t {
    const NAME: &'static str =
        "it is the size of shm_callbacks_t; begin with xshm_server_callbacks_default()";

    fn start(callbacks: &Callbacks<Self>, handle: *mut c_void) {
        call_c!(callbacks.on_start(handle));
    }
}

/// Reads a structure that may be longer in a newer program, and has the size of this version or more.
///
/// # Safety
/// NULL, or a structure that begins with its size, or with 0.
pub(crate) unsafe fn read_sized<T: Copy>(from: *const T, reason: &'static str) -> Outcome<Option<T>> {
    if from.is_null() {
        return Ok(None);
    }
    // SAFETY: by the caller.
    let size = unsafe { from.cast::<u32>().read() };
    if size != 0 && (size as usize) < size_of::<T>() {
        let (option, value, reason) = ("struct_size", size.into(), reason.to_owned());
        return Err(ShmError::InvalidOption { option, value, reason }.into());
    }
    let mut copy = MaybeUninit::<T>::uninit();
    // SAFETY: by the caller, it has at least the fields of this version.
    Ok(Some(unsafe {
        ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), 1);
        copy.assume_init()
    }))
}

/// The callbacks of a handle. Each of them runs through the handle's gate. `T` is one of the structures of callbacks in the
/// header.
pub(crate) struct Callbacks<T> {
    /// `None`: C passed NULL.
    pub(crate) table: Option<T>,
    pub(crate) gate: Gate,
    /// Of a background endpoint.
    core: OnceLock<Weak<Core>>,
    starter: Mutex<Option<Box<Starter>>>,
}

/// Gives a background endpoint to its handle, and returns the handle.
type Starter = dyn FnOnce(&Arc<Core>) -> *mut c_void + Send;

// SAFETY: the header says on which threads the callbacks run, and that `user_data` must be usable there.
unsafe impl<T: Copy> Send for Callbacks<T> {}
// SAFETY: as above.
unsafe impl<T: Copy> Sync for Callbacks<T> {}

impl<T: Table> Callbacks<T> {
    /// # Safety
    /// NULL, or callbacks.
    pub(crate) unsafe fn read(table: *const T) -> Outcome<Self> {
        // SAFETY: by the caller.
        let table = unsafe { read_sized(table, T::NAME) }?;
        Ok(Callbacks { table, gate: Gate::default(), core: OnceLock::new(), starter: Mutex::default() })
    }

    /// Has `starter` called when the background endpoint is about to start.
    pub(crate) fn set_starter(&self, starter: impl FnOnce(&Arc<Core>) -> *mut c_void + Send + 'static) {
        *lock(&self.starter) = Some(Box::new(starter));
    }

    /// The background endpoint is about to start: calls on_start.
    pub(crate) fn start(&self, core: &Arc<Core>) {
        let _ = self.core.set(Arc::downgrade(core));
        let starter = lock(&self.starter).take();
        if let Some(starter) = starter {
            T::start(self, starter(core));
        }
    }

    /// The numbers of a call, if the message is one. Auto endpoints have one slot.
    pub(crate) fn call_in<'a>(&self, slot: u32, payload: &'a [u8]) -> Option<(shm_call_t, &'a [u8])> {
        let (Part::Call, id, bytes) = calls::read(payload)? else { return None };
        let session = self.core.get()?.upgrade()?.session(slot)?;
        Some((shm_call_t { session: session_bits(slot, session), id }, bytes))
    }
}

/// A session as C has it: never 0.
pub(crate) fn session_bits(slot: u32, session: u32) -> u64 {
    u64::from(session) << 32 | u64::from(slot)
}

/// Calls the named callback of C, if there is one, with these arguments and `user_data`. The caller holds no lock.
macro_rules! call_c {
    ($callbacks:ident.$name:ident($($argument:expr),*)) => {
        let table = $callbacks.table.as_ref();
        if let (Some(table), Some(callback)) = (table, table.and_then(|table| table.$name)) {
            // SAFETY: by the header, C's callbacks may be called in its calls and on the threads of endpoints.
            $callbacks.gate.run(|| unsafe { callback($($argument,)* table.user_data) });
        }
    };
}
pub(crate) use call_c;

/// The callbacks of synchronous endpoints.
impl Callbacks<shm_callbacks_t> {
    pub(crate) fn on_connect(&self) {
        call_c!(self.on_connect());
    }

    pub(crate) fn on_disconnect(&self) {
        call_c!(self.on_disconnect());
    }

    pub(crate) fn on_overflow(&self, direction: ChannelKind, count: u32) {
        call_c!(self.on_overflow(direction.into(), count));
    }

    pub(crate) fn on_space_available(&self) {
        call_c!(self.on_space_available());
    }

    pub(crate) fn on_error(&self, error: ShmError) {
        let code = record(error.into());
        call_c!(self.on_error(code));
    }
}

/// The callbacks of auto endpoints.
impl EndpointCallbacks for Arc<Callbacks<shm_callbacks_t>> {
    fn starting(&self, core: &Arc<Core>) {
        self.start(core);
    }

    fn connected(&self, _: u32) {
        self.on_connect();
    }

    fn disconnected(&self, _: u32, reason: &DisconnectReason) {
        record_reason(reason);
        self.on_disconnect();
    }

    fn message(&self, slot: u32, direction: ChannelKind, payload: &[u8]) {
        if self.table.is_some_and(|table| table.on_call.is_some()) {
            if let Some((call, bytes)) = self.call_in(slot, payload) {
                call_c!(self.on_call(call, bytes.as_ptr().cast(), bytes.len() as u32));
                return;
            }
        }
        call_c!(self.on_data_available());
        call_c!(self.on_message(direction.into(), payload.as_ptr().cast(), payload.len() as u32));
    }

    fn overflow(&self, _: u32, direction: ChannelKind, count: u32) {
        self.on_overflow(direction, count);
    }

    fn space_available(&self, _: u32, _: ChannelKind) {
        self.on_space_available();
    }

    fn error(&self, _: Option<u32>, error: ShmError) {
        self.on_error(error);
    }
}
