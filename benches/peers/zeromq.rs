//! ZeroMQ, by a pair of sockets: between two processes (`ipc://`), and between two threads of one process (`inproc://`).
//!
//! `build.rs` links the library if its header is installed. As in xshm, at most 250 messages wait for a receiver.

use crate::lines::Kind;

pub const IPC: Kind = Kind::new(
    "ZeroMQ",
    |shared| system::offer(&format!("ipc:///tmp/{}-zmq", shared.base)),
    |shared, _| system::open(&format!("ipc:///tmp/{}-zmq", shared.base)),
)
.sleeping();

pub const INPROC: Kind = Kind {
    in_process: true,
    ..Kind::new(
        "ZeroMQ in process",
        |shared| system::offer(&format!("inproc://{}", shared.base)),
        |shared, _| system::open(&format!("inproc://{}", shared.base)),
    )
}
.sleeping();

#[cfg(zeromq)]
mod system {
    use crate::line::{End, Line, Outcome};
    use crate::lines::Offer;
    use std::ffi::{c_char, c_int, c_void, CString};
    use std::ptr::NonNull;
    use std::sync::OnceLock;

    extern "C" {
        fn zmq_ctx_new() -> *mut c_void;
        fn zmq_socket(context: *mut c_void, kind: c_int) -> *mut c_void;
        fn zmq_setsockopt(socket: *mut c_void, option: c_int, value: *const c_void, size: usize) -> c_int;
        fn zmq_bind(socket: *mut c_void, endpoint: *const c_char) -> c_int;
        fn zmq_connect(socket: *mut c_void, endpoint: *const c_char) -> c_int;
        fn zmq_send(socket: *mut c_void, message: *const c_void, size: usize, flags: c_int) -> c_int;
        fn zmq_recv(socket: *mut c_void, message: *mut c_void, size: usize, flags: c_int) -> c_int;
        fn zmq_errno() -> c_int;
        fn zmq_strerror(error: c_int) -> *const c_char;
    }

    // From zmq.h.
    const PAIR: c_int = 0;
    const LINGER: c_int = 17;
    const SNDHWM: c_int = 23;
    const RCVHWM: c_int = 24;

    /// A socket, left open until the process ends.
    struct Socket(NonNull<c_void>);

    /// The error of the last call in this thread.
    fn error(what: &str) -> String {
        // SAFETY: the text is one of the library's constants.
        let text = unsafe { std::ffi::CStr::from_ptr(zmq_strerror(zmq_errno())) };
        format!("{what}: {}", text.to_string_lossy())
    }

    impl Socket {
        fn new() -> Outcome<Self> {
            /// Both ends of an `inproc` line belong to one context.
            static CONTEXT: OnceLock<usize> = OnceLock::new();
            // SAFETY: no argument.
            let context = *CONTEXT.get_or_init(|| unsafe { zmq_ctx_new() } as usize);
            // SAFETY: the context is never ended.
            let socket = unsafe { zmq_socket(context as *mut c_void, PAIR) };
            let socket = Socket(NonNull::new(socket).ok_or_else(|| error("zmq_socket"))?);
            for (option, value) in
                [(SNDHWM, xshm::MAX_MESSAGES as c_int), (RCVHWM, xshm::MAX_MESSAGES as c_int), (LINGER, 0)]
            {
                let value: *const c_int = &value;
                // SAFETY: the socket is open, and the value is lent for the call.
                if unsafe { zmq_setsockopt(socket.0.as_ptr(), option, value.cast(), size_of::<c_int>()) } != 0
                {
                    return Err(error("zmq_setsockopt").into());
                }
            }
            Ok(socket)
        }
    }

    pub fn offer(endpoint: &str) -> Outcome<Offer> {
        let (socket, endpoint) = (Socket::new()?, CString::new(endpoint)?);
        // SAFETY: the socket is open, and the text ends in a zero.
        match unsafe { zmq_bind(socket.0.as_ptr(), endpoint.as_ptr()) } {
            0 => Offer::ready(socket),
            _ => Err(error("zmq_bind").into()),
        }
    }

    pub fn open(endpoint: &str) -> Outcome<Box<dyn End>> {
        let (socket, endpoint) = (Socket::new()?, CString::new(endpoint)?);
        // SAFETY: as above.
        match unsafe { zmq_connect(socket.0.as_ptr(), endpoint.as_ptr()) } {
            0 => Ok(Box::new(socket)),
            _ => Err(error("zmq_connect").into()),
        }
    }

    impl Line for Socket {
        fn send(&mut self, message: &[u8]) -> Outcome<()> {
            // SAFETY: the socket is open, and the message is lent for the call.
            match unsafe { zmq_send(self.0.as_ptr(), message.as_ptr().cast(), message.len(), 0) } {
                -1 => Err(error("zmq_send").into()),
                _ => Ok(()),
            }
        }

        fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
            // SAFETY: as above.
            match unsafe { zmq_recv(self.0.as_ptr(), message.as_mut_ptr().cast(), message.len(), 0) } {
                -1 => Err(error("zmq_recv").into()),
                len if len as usize == message.len() => Ok(()),
                len => Err(format!("{len} bytes came instead of {}", message.len()).into()),
            }
        }
    }
}

#[cfg(not(zeromq))]
mod system {
    use crate::line::{End, Outcome};
    use crate::lines::Offer;

    const MISSING: &str = "not built: no header of ZeroMQ (package libzmq3-dev)";

    pub fn offer(_endpoint: &str) -> Outcome<Offer> {
        Err(MISSING.into())
    }

    pub fn open(_endpoint: &str) -> Outcome<Box<dyn End>> {
        Err(MISSING.into())
    }
}
