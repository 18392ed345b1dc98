//! The objects that an event loop waits for. Windows has no object that becomes ready when one of several does, so these are the
//! objects themselves.

use super::{Event, Waitable};
use crate::error::Result;
use std::os::windows::io::OwnedHandle;
use std::time::Duration;

/// Where a program waits for several objects at once.
pub(crate) struct Joined {
    /// For times when there is no event to wait for. It is never set.
    never: Event,
}

impl Joined {
    pub(crate) fn new() -> Result<Self> {
        Ok(Joined { never: Event::local()? })
    }

    /// Returns handles to the event and to the process that are to be waited for, of which there is at most one each.
    pub(crate) fn watch(
        &self, objects: &[Waitable<'_>],
    ) -> Result<(OwnedHandle, Option<OwnedHandle>, Option<Duration>)> {
        let event = objects.iter().find_map(|object| match *object {
            Waitable::Event(event) | Waitable::Wake(event) => Some(event),
            Waitable::Process(_) => None,
        });
        let process = objects.iter().find_map(|object| match object {
            Waitable::Process(process) => Some(process.duplicate()),
            _ => None,
        });
        debug_assert_eq!(objects.len(), usize::from(event.is_some()) + usize::from(process.is_some()));
        Ok((event.unwrap_or(&self.never).duplicate()?, process.transpose()?, None))
    }
}
