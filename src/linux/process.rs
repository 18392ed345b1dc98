//! Other processes, known by descriptors.

use super::descriptors;
use super::system::{duplicate, error, is_shortage, User};
use super::users;
use crate::error::Result;
use crate::sys::kinds::{Birth, Unwatchable};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{test_kill_process, Pid};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Another process, known to be the one that had this id when it was opened.
#[derive(Clone)]
pub(crate) struct Process {
    pidfd: Arc<OwnedFd>,
    user: Option<User>,
}

impl Process {
    pub(crate) fn open(pid: u32) -> std::result::Result<Self, Unwatchable> {
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Unwatchable::Gone)?;
        let pidfd = match descriptors::process(id) {
            Ok(pidfd) => pidfd,
            // A thread's id, which a peer may state, is no process's: INVAL, and NOENT from Linux 6.15 on.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Err(Unwatchable::Gone),
            Err(errno) => {
                let error = error(errno, "watching a process (pidfd_open)");
                return Err(if is_shortage(errno) {
                    Unwatchable::Failed(error)
                } else if test_kill_process(id) == Err(Errno::SRCH) {
                    Unwatchable::Gone
                } else {
                    // The kernel lets every process watch every other one that it sees, from Linux 5.3 on.
                    Unwatchable::Denied(Some(error))
                });
            }
        };
        let user = users::of_process(pid, &pidfd)
            .map_err(|errno| Unwatchable::Failed(error(errno, "asking for a process's user (open)")))?;
        let process = Process { pidfd: Arc::new(pidfd), user };
        if process.has_ended() {
            return Err(Unwatchable::Gone);
        }
        Ok(process)
    }

    pub(crate) fn has_ended(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut [self.pollable()], Some(&now)), Ok(1))
    }

    pub(crate) fn user(&self) -> Option<User> {
        self.user.clone()
    }

    pub(super) fn shared_descriptor(&self) -> Arc<OwnedFd> {
        self.pidfd.clone()
    }

    /// What a wait for its end polls.
    pub(super) fn pollable(&self) -> PollFd<'_> {
        PollFd::new(&self.pidfd, PollFlags::IN)
    }

    /// A second descriptor for what becomes readable when it has ended.
    pub(crate) fn duplicate(&self) -> Result<OwnedFd> {
        duplicate(self.pidfd.as_fd(), "duplicating a process's descriptor (fcntl)")
    }

    pub(super) fn of_user(self, user: User) -> Self {
        Process { user: Some(user), ..self }
    }

    /// The process at the other end of a socket, by a descriptor of it.
    pub(super) fn of_peer(pidfd: OwnedFd, user: User) -> Self {
        Process { pidfd: Arc::new(pidfd), user: Some(user) }
    }
}

/// When a process began, by the system's clock.
pub(crate) fn birth(pid: u32) -> Birth {
    let stat = || descriptors::short_file(&format!("/proc/{pid}/stat")).ok();
    let time = users::is_own_proc().then(stat).flatten().and_then(|stat| began(&stat));
    time.map_or(Birth::Unknown, Birth::At)
}

/// The 22nd field. The second one is the program's name in parentheses, which may contain anything.
fn began(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_processes_status_says_when_it_began() {
        let own = birth(std::process::id());
        assert!(own.time().is_some() && own == birth(std::process::id()));
        assert_eq!(birth(u32::MAX), Birth::Unknown);
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 10";
        assert_eq!(began(stat), Some(4711));
    }

    /// A client without a name states its process id, which must not stop the server.
    #[test]
    fn the_id_of_a_thread_is_no_process() {
        let (report, reported) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            report.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
            let _ = ended.recv();
        });
        let id = reported.recv().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
        assert!(matches!(Process::open(id), Err(Unwatchable::Gone)));
        assert!(Process::open(std::process::id()).is_ok());
        drop(end);
        thread.join().unwrap();
    }
}
