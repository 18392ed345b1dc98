//! The library's own threads.

use super::system::io_error;
use crate::error::Result;
use std::mem::MaybeUninit;
use std::thread::{self, JoinHandle};

/// A thread of the library.
pub(crate) struct Thread(JoinHandle<()>);

impl Thread {
    /// Starts a thread that receives no signal of the program's, from its first instruction on.
    pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<Self> {
        let _blocked = SignalsBlocked::begin();
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(run).map(Thread).map_err(|error| io_error(&error, "starting a thread"))
    }

    /// Waits until the thread, which is about to end, has ended.
    pub(crate) fn join(self) {
        // It has no panic to report, since the panics of handlers are caught.
        let _ = self.0.join();
    }
}

/// No process shuts down in a way that ends the other threads first: `exit` runs destructors while all threads run.
pub(crate) fn is_shutting_down() -> bool {
    false
}

/// `sigset_t` of the C libraries: 1024 bits.
type SignalSet = [u64; 16];

/// Blocks signals of the calling thread, until dropped. A thread that starts meanwhile has them blocked for good.
///
/// The signals of a fault of the thread's own stay unblocked: with them blocked, the kernel would end the process without
/// calling the program's handler for crashes.
struct SignalsBlocked(MaybeUninit<SignalSet>);

extern "C" {
    fn sigfillset(set: *mut SignalSet) -> i32;
    fn sigdelset(set: *mut SignalSet, signal: i32) -> i32;
    fn pthread_sigmask(how: i32, set: *const SignalSet, old: *mut SignalSet) -> i32;
}

const SIG_SETMASK: i32 = if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
    3
} else if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
    4
} else {
    2
};

/// SIGILL, SIGTRAP, SIGFPE and SIGSEGV have these numbers everywhere; SIGBUS and SIGSYS as below.
const FAULTS: [i32; 6] = [4, 5, 8, 11, SIGBUS, SIGSYS];
const OTHER_NUMBERS: bool =
    cfg!(any(target_arch = "mips", target_arch = "mips64", target_arch = "sparc", target_arch = "sparc64"));
const SIGBUS: i32 = if OTHER_NUMBERS { 10 } else { 7 };
const SIGSYS: i32 = if OTHER_NUMBERS { 12 } else { 31 };

impl SignalsBlocked {
    fn begin() -> Self {
        let (mut set, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the places have the size of a `sigset_t`, and the first call fills in the set. None of the calls fails for
        // these values.
        unsafe {
            sigfillset(set.as_mut_ptr());
            for fault in FAULTS {
                sigdelset(set.as_mut_ptr(), fault);
            }
            pthread_sigmask(SIG_SETMASK, set.as_ptr(), before.as_mut_ptr());
        }
        SignalsBlocked(before)
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: `begin` has filled in the set.
        unsafe { pthread_sigmask(SIG_SETMASK, self.0.as_ptr(), std::ptr::null_mut()) };
    }
}
