//! Several objects behind one descriptor, for a program that waits by itself.

use super::descriptors::{self, watching};
use super::event::Event;
use super::fork::OwningProcess;
use super::system::failed;
use super::wait::{Waitable, SHUT_INTERVAL};
use crate::error::{Result, ShmError};
use rustix::event::PollFlags;
#[cfg(feature = "async")]
use std::os::fd::BorrowedFd;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A descriptor that is readable while one of several objects is ready. The objects may change; the descriptor stays.
pub(crate) struct Joined {
    epoll: OwnedFd,
    /// What `epoll` watches. It stays open until it is removed: a fork may keep it open, so closing it would not end the watch.
    members: Mutex<Vec<Arc<OwnedFd>>>,
    created_in: OwningProcess,
}

impl Joined {
    pub(crate) fn new() -> Result<Self> {
        let epoll =
            descriptors::epoll().map_err(failed("creating what an event loop waits for (epoll_create1)"))?;
        Ok(Joined { epoll, members: Mutex::default(), created_in: OwningProcess::current()? })
    }

    /// Watches these objects and no others. Returns a duplicate of the descriptor, and how long to wait at most.
    pub(crate) fn watch(
        &self, objects: &[Waitable<'_>],
    ) -> Result<(OwnedFd, Option<OwnedFd>, Option<Duration>)> {
        let bound = self.set(objects)?;
        let duplicate = descriptors::duplicate(self.epoll.as_fd());
        Ok((duplicate.map_err(failed("duplicating what an event loop waits for (fcntl)"))?, None, bound))
    }

    /// Watches these objects and no others. Returns how long to wait at most, if an object is left out since it would be ready for
    /// ever.
    ///
    /// All objects are added anew: a program that waits for changes alone (edge-triggered) then learns what is ready by now.
    pub(super) fn set(&self, objects: &[Waitable<'_>]) -> Result<Option<Duration>> {
        if !self.created_in.is_certain() {
            return Err(ShmError::Forked);
        }
        let mut bound = None;
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove(&mut members);
        for object in objects {
            let (member, flags) = match object {
                Waitable::Event(event) | Waitable::Wake(event) if is_ready_for_ever(event) => {
                    bound = Some(SHUT_INTERVAL);
                    continue;
                }
                Waitable::Event(event) | Waitable::Wake(event) => (event.shared_descriptor(), event.flags()),
                Waitable::Process(process) => (process.shared_descriptor(), PollFlags::IN),
            };
            let flags = watching::EventFlags::from_bits_truncate(flags.bits().into());
            watching::add(&self.epoll, &member, watching::EventData::new_u64(0), flags)
                .map_err(failed("watching an object (epoll_ctl)"))?;
            members.push(member);
        }
        Ok(bound)
    }

    #[cfg(feature = "async")]
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Watches nothing. A fork shares what is watched with its parent, and changes nothing.
    pub(super) fn clear(&mut self) {
        if self.created_in.is_certain() {
            let mut members = std::mem::take(self.members.get_mut().unwrap_or_else(PoisonError::into_inner));
            self.remove(&mut members);
        }
    }

    fn remove(&self, members: &mut Vec<Arc<OwnedFd>>) {
        for member in members.drain(..) {
            // It fails for no descriptor that is watched.
            let _ = watching::delete(&self.epoll, member);
        }
    }
}

/// Whether another process has shut an event. A connection that was closed is what the program waits for.
fn is_ready_for_ever(event: &Event) -> bool {
    event.flags().contains(PollFlags::RDHUP) && event.is_shut()
}

impl Drop for Joined {
    /// The program may still have a duplicate.
    fn drop(&mut self) {
        self.clear();
    }
}
