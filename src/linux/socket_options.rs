//! Options of sockets that rustix lacks, or reads in a way that does not suit.
//!
//! Their numbers differ between processors. They are those of `asm/socket.h` and `asm/ioctls.h` of Linux 6.16, for every
//! processor that Rust's std supports there.

use super::descriptors;
use rustix::io::{Errno, Result};
use rustix::ioctl::{ioctl, Getter, Opcode};
use std::ffi::c_void;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

const IS_MIPS: bool = cfg!(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
));
const IS_POWERPC: bool = cfg!(any(target_arch = "powerpc", target_arch = "powerpc64"));
const IS_SPARC: bool = cfg!(any(target_arch = "sparc", target_arch = "sparc64"));

/// The number on this processor.
const fn number(usual: u32, mips: u32, powerpc: u32, sparc: u32) -> u32 {
    if IS_MIPS {
        mips
    } else if IS_POWERPC {
        powerpc
    } else if IS_SPARC {
        sparc
    } else {
        usual
    }
}

const SOL_SOCKET: i32 = number(1, 0xffff, 1, 0xffff) as i32;
const SO_PEERCRED: i32 = number(17, 18, 21, 0x40) as i32;
/// From Linux 6.5 on.
const SO_PEERPIDFD: i32 = number(77, 77, 77, 0x56) as i32;
/// From Linux 6.16 on.
const SO_PASSRIGHTS: i32 = number(83, 83, 83, 0x5c) as i32;
/// Another name of `TIOCOUTQ`.
const SIOCOUTQ: Opcode = number(0x5411, 0x7472, 0x4004_7473, 0x4004_7473) as Opcode;

extern "C" {
    fn getsockopt(socket: i32, level: i32, option: i32, value: *mut c_void, length: *mut u32) -> i32;
    fn setsockopt(socket: i32, level: i32, option: i32, value: *const c_void, length: u32) -> i32;
}

/// Reads a socket option into `value`.
///
/// # Errors
/// [`Errno::INVAL`] also means that the value has another length, as that of another option would have.
///
/// # Safety
/// Whatever bytes the kernel stores there are valid.
unsafe fn read<T>(socket: &OwnedFd, option: i32, mut value: T) -> Result<T> {
    let size = std::mem::size_of::<T>() as u32;
    let (place, mut length) = (ptr::from_mut(&mut value).cast(), size);
    // SAFETY: the place for the value is valid and has the length said.
    match unsafe { getsockopt(socket.as_raw_fd(), SOL_SOCKET, option, place, &mut length) } {
        0 if length == size => Ok(value),
        0 => Err(Errno::INVAL),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

/// `struct ucred`.
#[repr(C)]
pub(super) struct PeerCredentials {
    /// 0: a process in no namespace of ours.
    pub(super) pid: u32,
    pub(super) uid: u32,
    gid: u32,
}

/// The process and user at the other end of a connection. rustix reads the process id as a number that is never 0, and for a
/// process of another namespace it is 0.
pub(super) fn peer_credentials(socket: &OwnedFd) -> Result<PeerCredentials> {
    // Where nothing is stored: no user has the highest number.
    let none = PeerCredentials { pid: 0, uid: u32::MAX, gid: u32::MAX };
    // SAFETY: a `struct ucred` is numbers.
    unsafe { read(socket, SO_PEERCRED, none) }
}

/// The process at the other end of a connection. Its id cannot have become another process's since. From Linux 6.5 on.
pub(super) fn peer_process(socket: &OwnedFd) -> Result<OwnedFd> {
    descriptors::option(|| {
        // SAFETY: it is a number.
        let pidfd = unsafe { read(socket, SO_PEERPIDFD, -1_i32) }?;
        if pidfd < 0 {
            return Err(Errno::INVAL);
        }
        // SAFETY: a new descriptor, which has no other owner.
        Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
    })
}

/// Has the kernel refuse descriptors that a peer sends over a socket. This side never receives them, and closing one of them can
/// take as long as its sender likes. From Linux 6.16 on; older kernels ignore it.
pub(super) fn take_no_descriptors(socket: &OwnedFd) {
    let no = 0_i32;
    // SAFETY: the value is valid and has the length said, 4 bytes.
    unsafe { setsockopt(socket.as_raw_fd(), SOL_SOCKET, SO_PASSRIGHTS, ptr::from_ref(&no).cast(), 4) };
}

/// Whether the other end has yet to receive what was sent to it.
pub(super) fn is_unread(socket: &OwnedFd) -> bool {
    // SAFETY: this request stores a number of 4 bytes.
    let unread = unsafe { ioctl(socket, Getter::<SIOCOUTQ, i32>::new()) };
    unread.is_ok_and(|unread| unread > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::socket_peercred;
    use rustix::net::{send, SendFlags};

    /// The numbers on this processor are those that rustix and the kernel use.
    #[test]
    fn the_numbers_of_the_options_are_those_of_this_processor() {
        let [one, other] = descriptors::socket_pair().unwrap();
        let credentials = peer_credentials(&one).unwrap();
        let expected = socket_peercred(&one).unwrap();
        assert_eq!(credentials.pid, std::process::id());
        assert_eq!(credentials.uid, expected.uid.as_raw());
        assert_eq!(credentials.gid, expected.gid.as_raw());
        assert!(!is_unread(&one));
        send(&one, &[1], SendFlags::empty()).unwrap();
        assert!(is_unread(&one) && !is_unread(&other));
    }

    #[test]
    fn an_option_of_another_length_is_no_value() {
        const SO_TYPE: i32 = number(3, 0x1008, 3, 0x1008) as i32;
        let [one, _other] = descriptors::socket_pair().unwrap();
        let none = PeerCredentials { pid: 0, uid: 7, gid: 7 };
        // SAFETY: a `struct ucred` is numbers.
        assert!(matches!(unsafe { read(&one, SO_TYPE, none) }, Err(Errno::INVAL)));
        // SAFETY: it is a number.
        assert!(unsafe { read(&one, SO_TYPE, 0_i32) }.is_ok());
    }
}
