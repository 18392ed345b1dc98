//! Users, errors and the clock of the system.

use super::descriptors;
use crate::error::{Result, ShmError};
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::process::{geteuid, Resource};
use rustix::time::{clock_gettime, ClockId};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// A user, by number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct User(pub(super) u32);

impl User {
    pub(crate) fn current() -> Result<Self> {
        Ok(User(geteuid().as_raw()))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(User).filter(User::is_known)
    }

    /// Whether the system has said which user it is. All others are one and the same user here, which no process runs as.
    pub(crate) fn is_known(&self) -> bool {
        self.0 != u32::MAX
    }

    /// Whether a server of this user is trusted by default: our own, and root's.
    pub(crate) fn is_trusted_server(&self) -> Result<bool> {
        Ok(self.0 == 0 || *self == User::current()?)
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_known() {
            return f.write_str("that this user namespace does not map");
        }
        self.0.fmt(f)
    }
}

pub(super) fn error(errno: Errno, context: &'static str) -> ShmError {
    ShmError::SystemError { code: errno.raw_os_error(), context }
}

/// Makes the error of a call that failed.
pub(super) fn failed(context: &'static str) -> impl Fn(Errno) -> ShmError {
    move |errno| error(errno, context)
}

/// Whether it is this process, or the system, that lacks something: the peer is not at fault.
pub(super) fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::TOOMANYREFS)
}

/// Lends a descriptor.
pub(crate) fn borrow(descriptor: &OwnedFd) -> BorrowedFd<'_> {
    descriptor.as_fd()
}

/// Gives a descriptor away as a number.
#[cfg(all(feature = "c-api", not(loom)))]
pub(crate) fn into_raw(descriptor: OwnedFd) -> isize {
    std::os::fd::IntoRawFd::into_raw_fd(descriptor) as isize
}

/// Closes a descriptor.
///
/// # Safety
/// [`into_raw`] gave it away, and it is open.
#[cfg(all(feature = "c-api", not(loom)))]
pub(crate) unsafe fn close_raw(number: isize) {
    // SAFETY: by the caller.
    drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number as i32) });
}

/// Another descriptor for the same object, which no program that is started inherits.
pub(super) fn duplicate(descriptor: BorrowedFd<'_>, context: &'static str) -> Result<OwnedFd> {
    descriptors::duplicate(descriptor).map_err(failed(context))
}

/// The same for a descriptor by its number, which the kernel checks.
pub(super) fn duplicate_raw(raw: isize, context: &'static str) -> Result<OwnedFd> {
    let raw = RawFd::try_from(raw).ok().filter(|&raw| raw >= 0).ok_or(error(Errno::BADF, context))?;
    // SAFETY: the kernel checks the number, whatever it is; nothing but the duplicate is kept.
    duplicate(unsafe { BorrowedFd::borrow_raw(raw) }, context)
}

/// A soft limit of this process. None, and one that the system does not say, is the highest number.
#[allow(clippy::useless_conversion)] // `rlim_t` may have 32 bits.
pub(super) fn limit(resource: Resource) -> u64 {
    /// `rlim_t`.
    #[cfg(target_env = "musl")]
    type Limit = u64;
    #[cfg(not(target_env = "musl"))]
    type Limit = std::ffi::c_ulong;
    // rustix panics where a sandbox refuses the call.
    extern "C" {
        fn getrlimit(resource: i32, limits: *mut [Limit; 2]) -> i32;
    }
    let mut limits = [Limit::MAX; 2];
    // SAFETY: the place has the size of a `struct rlimit`.
    let done = unsafe { getrlimit(resource as i32, &mut limits) };
    match limits[0] {
        soft if done == 0 && soft != Limit::MAX => soft.into(),
        _ => u64::MAX,
    }
}

/// The error of a call for which this process has no memory.
pub(crate) fn out_of_memory(context: &'static str) -> ShmError {
    error(Errno::NOMEM, context)
}

/// An error of std's.
pub(super) fn io_error(error: &std::io::Error, context: &'static str) -> ShmError {
    ShmError::SystemError { code: error.raw_os_error().unwrap_or(0), context }
}

pub(crate) fn process_id() -> u32 {
    std::process::id()
}

pub(crate) fn coarse_millis() -> u32 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    (now.tv_sec as u32).wrapping_mul(1000).wrapping_add(now.tv_nsec as u32 / 1_000_000)
}

/// A time as the kernel wants it.
pub(super) fn timespec(duration: Duration) -> Timespec {
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: duration.subsec_nanos().into() }
}
