//! The callbacks of C, and their call by the endpoints.

use super::*;
use crate::auto::{AutoHandler, DisconnectReason};

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
/// A callback may call any function of this library, also with its own handle, and may stop that handle. The first callback
/// may run before the function that creates the handle has returned: the program has no handle then. A callback must not
/// throw an exception or leave by longjmp.
///
/// Get a structure without callbacks from xshm_server_callbacks_default or xshm_client_callbacks_default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shm_callbacks_t {
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
}

/// The callbacks of a handle. Each of them runs through the handle's gate. `T` is one of the structures of callbacks in the
/// header.
pub(crate) struct Callbacks<T> {
    /// `None`: C passed NULL.
    pub(crate) table: Option<T>,
    pub(crate) gate: Gate,
}

// SAFETY: the header says on which threads the callbacks run, and that `user_data` must be usable there.
unsafe impl<T: Copy> Send for Callbacks<T> {}
// SAFETY: as above.
unsafe impl<T: Copy> Sync for Callbacks<T> {}

impl<T: Copy> Callbacks<T> {
    /// # Safety
    /// NULL, or callbacks.
    pub(crate) unsafe fn read(table: *const T) -> Self {
        // SAFETY: by the caller.
        Callbacks { table: unsafe { table.as_ref() }.copied(), gate: Gate::default() }
    }
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

impl AutoHandler for Callbacks<shm_callbacks_t> {
    fn on_connect(&self) {
        call_c!(self.on_connect());
    }

    fn on_disconnect(&self) {
        call_c!(self.on_disconnect());
    }

    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        record_reason(reason);
        self.on_disconnect();
    }

    fn on_message(&self, direction: ChannelKind, payload: &[u8]) {
        call_c!(self.on_data_available());
        call_c!(self.on_message(direction.into(), payload.as_ptr().cast(), payload.len() as u32));
    }

    fn on_overflow(&self, direction: ChannelKind, count: u32) {
        call_c!(self.on_overflow(direction.into(), count));
    }

    fn on_space_available(&self, _: ChannelKind) {
        call_c!(self.on_space_available());
    }

    fn on_error(&self, error: ShmError) {
        let code = record(error.into());
        call_c!(self.on_error(code));
    }
}
