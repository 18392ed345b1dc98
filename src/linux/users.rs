//! Which user a number from the kernel stands for.
//!
//! A user namespace may map only some users. The kernel shows all others by one number there, 65534 by default. Another user,
//! ours included, may have that number there too. So it stands for a user only where every user is mapped, or where the kernel
//! confirms it in another way.

use super::descriptors;
use super::socket_options::{peer_credentials, peer_process, PeerCredentials};
use super::system::{is_shortage, User};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{fchmod, fstat, readlink, Mode};
use rustix::io::Result;
use rustix::process::{geteuid, test_kill_process, Pid};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// The number of a user that is not known. No user has it.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// The number of users in all.
const ALL: u64 = u32::MAX as u64;

/// The number that stands for users that are not mapped; [`UNKNOWN`] until it was read.
static UNMAPPED: AtomicU32 = AtomicU32::new(UNKNOWN);

const USUAL_UNMAPPED: u32 = 65534;

fn unmapped() -> Result<u32> {
    Ok(match UNMAPPED.load(Ordering::Relaxed) {
        UNKNOWN => {
            let text = unless_short(descriptors::short_file("/proc/sys/kernel/overflowuid"))?;
            let number = text.and_then(|text| text.trim().parse().ok()).unwrap_or(USUAL_UNMAPPED);
            UNMAPPED.store(number, Ordering::Relaxed);
            number
        }
        number => number,
    })
}

/// What the system says, or nothing where it does not.
///
/// # Errors
/// This process lacks a descriptor or memory to find out.
fn unless_short<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Err(errno) if is_shortage(errno) => Err(errno),
        answer => Ok(answer.ok()),
    }
}

/// What `/proc/self/uid_map` says: how many users are mapped, and whether `uid` is one of them.
fn mapped(map: &str, uid: u32) -> (u64, bool) {
    let (mut count, mut covers) = (0_u64, false);
    for line in map.lines() {
        let mut fields = line.split_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
        let (first, _, length) = (fields.next().unwrap_or(0), fields.next(), fields.next().unwrap_or(0));
        count += length;
        covers |= (first..first + length).contains(&uid.into());
    }
    (count, covers)
}

/// The user that the kernel shows by this number, or [`UNKNOWN`]. `is_confirmed`: the kernel treats what the number was shown
/// for as one of this process's user, or this process may act on it as the administrator of a namespace.
///
/// # Errors
/// As [`unless_short`].
fn recognized(uid: u32, is_confirmed: impl FnOnce() -> Result<bool>) -> Result<u32> {
    if uid != unmapped()? {
        return Ok(uid);
    }
    let map = unless_short(descriptors::short_file("/proc/self/uid_map"))?.unwrap_or_default();
    let (count, covers) = mapped(&map, uid);
    let may_be = covers || uid == geteuid().as_raw();
    Ok(if count >= ALL || (may_be && is_confirmed()?) { uid } else { UNKNOWN })
}

/// Whether this process may signal another one, which `pidfd` stands for.
fn may_signal(pid: u32, pidfd: &OwnedFd) -> bool {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    // While it runs, the id is that process's.
    let has_ended = || {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)) != Ok(0)
    };
    test_kill_process(id).is_ok() && !has_ended()
}

/// The process and user at the other end of a connection. The user may be [`UNKNOWN`].
pub(super) fn credentials(socket: &OwnedFd) -> Result<PeerCredentials> {
    let mut peer = peer_credentials(socket)?;
    peer.uid = recognized(peer.uid, || {
        let id = || i32::try_from(peer.pid).ok().and_then(Pid::from_raw);
        let pidfd = match (peer_process(socket), id()) {
            (Err(errno), Some(id)) if !is_shortage(errno) => descriptors::process(id),
            (pidfd, _) => pidfd,
        };
        Ok(unless_short(pidfd)?.is_some_and(|pidfd| may_signal(peer.pid, &pidfd)))
    })?;
    Ok(peer)
}

/// Whether `/proc` shows the processes by the ids that they have for this one. It shows those of the namespace in which it was
/// mounted, which may be another one.
pub(super) fn is_own_proc() -> bool {
    let own = readlink("/proc/self", Vec::new());
    own.is_ok_and(|own| own.to_bytes() == std::process::id().to_string().as_bytes())
}

/// The user as which a process runs that `pidfd` stands for, where the system says it.
///
/// # Errors
/// As [`unless_short`].
pub(super) fn of_process(pid: u32, pidfd: &OwnedFd) -> Result<Option<User>> {
    if !is_own_proc() {
        return Ok(None);
    }
    let Some(stat) = unless_short(rustix::fs::stat(format!("/proc/{pid}")))? else { return Ok(None) };
    let mut uid = stat.st_uid;
    if uid == 0 {
        // The kernel shows a process as root's that has changed its user.
        let status = unless_short(descriptors::short_file(&format!("/proc/{pid}/status")))?;
        let Some(effective) = status.as_deref().and_then(effective_user) else { return Ok(None) };
        uid = effective;
    }
    Ok(Some(User(recognized(uid, || Ok(may_signal(pid, pidfd)))?)))
}

/// The second number after `Uid:`.
fn effective_user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The user that created a file in memory.
///
/// # Errors
/// As [`unless_short`], or the system does not say it.
pub(super) fn of_file(file: impl AsFd) -> Result<User> {
    let file = file.as_fd();
    let stat = fstat(file)?;
    // Only its user may change a file's mode, here to what it is.
    let is_own = || Ok(fchmod(file, Mode::from_raw_mode(stat.st_mode)).is_ok());
    recognized(stat.st_uid, is_own).map(User)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_says_how_many_users_it_has_and_which() {
        assert_eq!(mapped("         0          0 4294967295\n", 65534), (ALL, true));
        assert_eq!(mapped("0 1000 1\n1 100000 65536\n", 65534), (65537, true));
        assert_eq!(mapped("0 1000 1\n1 100000 65533\n", 65534), (65534, false));
        assert_eq!(mapped("", 65534), (0, false));
        assert_eq!(mapped("junk", 0), (0, false));
    }

    #[test]
    fn a_processes_status_shows_its_effective_user() {
        let status = "Name:\tuid:\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n";
        assert_eq!(effective_user(status), Some(2));
        assert_eq!(effective_user("Name:\tx\n"), None);
    }
}
