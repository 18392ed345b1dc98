//! Access tokens: as which user this process, a thread or another process acts, and how much the system trusts it.

use crate::ntapi::*;
use std::ptr;

type Result<T> = std::result::Result<T, NtStatus>;

/// `SECURITY_MANDATORY_MEDIUM_RID`, the level of a program that a user starts.
pub(super) const MEDIUM_INTEGRITY: u32 = 0x2000;

/// The token of a process, by an open handle or the pseudo-handle of this process.
pub(super) fn of_process(process: Handle) -> Result<OwnedHandle> {
    // SAFETY: the kernel checks the handle; the place for the result is valid.
    handle_from(|token| unsafe { NtOpenProcessToken(process, TOKEN_QUERY, token) })
}

/// The token by which the kernel judges what this thread does.
pub(super) fn effective() -> Result<OwnedHandle> {
    const AS_THE_PROCESS: u8 = 1;
    const AS_THE_THREAD: u8 = 0;
    let open = |as_whom| {
        // SAFETY: as above.
        handle_from(|token| unsafe { NtOpenThreadToken(CURRENT_THREAD, TOKEN_QUERY, as_whom, token) })
    };
    match open(AS_THE_PROCESS) {
        Err(STATUS_NO_TOKEN) => of_process(CURRENT_PROCESS),
        // The access list of the token admits the user that it is for, and may not admit the process's.
        Err(STATUS_ACCESS_DENIED) => open(AS_THE_THREAD),
        own => own,
    }
}

fn information(token: &OwnedHandle, class: u32) -> Result<Vec<u64>> {
    // The longest answer that is asked for is a SID, which has at most 68 bytes, and two words before it.
    // SAFETY: the buffer is writable and as long as said.
    query(16, |buffer, length, needed| unsafe {
        NtQueryInformationToken(token.as_raw(), class, buffer, length, needed)
    })
}

/// The SID in an answer that begins with a `SID_AND_ATTRIBUTES`.
fn sid(token: &OwnedHandle, class: u32) -> Result<Sid> {
    let buffer = information(token, class)?;
    // SAFETY: the answer begins with this structure, and the buffer is aligned for it.
    let found = unsafe { buffer.as_ptr().cast::<SidAndAttributes>().read() };
    let sid = bytes_at(&buffer, found.sid).and_then(|bytes| Sid::from_bytes(&bytes));
    sid.ok_or(STATUS_INVALID_PARAMETER)
}

pub(super) fn user(token: &OwnedHandle) -> Result<super::User> {
    sid(token, TOKEN_USER).map(super::User)
}

/// This process's level of integrity. `None`: this Windows has none.
pub(super) fn integrity() -> Option<u32> {
    sid(&of_process(CURRENT_PROCESS).ok()?, TOKEN_INTEGRITY_LEVEL).ok()?.last()
}

/// What the token of this process says in one number. `None`: this Windows does not know the question.
pub(super) fn token_number(class: u32) -> Option<u32> {
    let token = of_process(CURRENT_PROCESS).ok()?;
    let mut number = 0_u32;
    let mut length = 0;
    let place = ptr::from_mut(&mut number).cast();
    // SAFETY: the place for the answer has the size said.
    let status = unsafe { NtQueryInformationToken(token.as_raw(), class, place, 4, &mut length) };
    (status >= 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_not_impersonate_acts_as_its_process() {
        let process = of_process(CURRENT_PROCESS).unwrap();
        assert!(user(&process).unwrap() == user(&effective().unwrap()).unwrap());
        assert!(integrity().unwrap() >= MEDIUM_INTEGRITY);
        assert_eq!(token_number(TOKEN_IS_APP_CONTAINER).unwrap_or(0), 0);
    }

    /// A token of a thread is of another type than that of a process, also where both are for the same user.
    #[test]
    fn a_thread_that_impersonates_acts_by_its_own_token() {
        #[link(name = "advapi32")]
        extern "system" {
            fn ImpersonateSelf(level: i32) -> i32;
            fn RevertToSelf() -> i32;
        }
        const SECURITY_IMPERSONATION: i32 = 2;
        const TOKEN_TYPE: u32 = 8;
        const PRIMARY: u64 = 1;
        const IMPERSONATION: u64 = 2;
        let kind = || information(&effective().unwrap(), TOKEN_TYPE).unwrap()[0];
        assert_eq!(kind(), PRIMARY);
        // SAFETY: the functions change this thread alone.
        assert_ne!(unsafe { ImpersonateSelf(SECURITY_IMPERSONATION) }, 0);
        let impersonating = kind();
        // SAFETY: as above.
        assert_ne!(unsafe { RevertToSelf() }, 0);
        assert_eq!(impersonating, IMPERSONATION);
        assert_eq!(kind(), PRIMARY);
    }
}
