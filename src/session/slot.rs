//! How a client of a server for many clients waits for its slot.

use super::Session;
use crate::channel::wait_set::WaitSet;
use crate::error::{Result, ShmError};
use crate::layout::{FIRST_SLOT, NO_SLOT};
use crate::sync::Ordering;
use crate::waiting::Deadline;
use std::time::Duration;

/// A safety net: the event may be missed, since it announces the acceptance too.
const BOUND: Duration = Duration::from_millis(50);

/// A client's wait for its slot. While the server itself waits for a slot to come free, the time counts for the lobby; the time
/// until the server has called its handler begins after that.
pub(crate) struct SlotWait {
    /// Until when the client waits for a slot to come free.
    lobby: Deadline,
    slot_timeout: Duration,
    deadline: Deadline,
}

impl SlotWait {
    pub(crate) fn new(lobby: Deadline, slot_timeout: Duration) -> Self {
        SlotWait { lobby, slot_timeout, deadline: Deadline::after(Some(slot_timeout)) }
    }

    /// Looks whether the server has assigned the slot. `None`: not yet.
    ///
    /// # Errors
    /// [`ShmError::NoFreeSlot`]. [`ShmError::Timeout`]: the server's handler has not returned. How the session ended.
    pub(crate) fn step(&mut self, session: &Session) -> Result<Option<u32>> {
        let view = &session.channel.view;
        let assigned = || match view.slot().load(Ordering::Acquire) {
            0 => Ok(None),
            NO_SLOT => Err(ShmError::NoFreeSlot),
            word => u32::try_from(word - FIRST_SLOT).map(Some).map_err(|_| ShmError::Corrupted),
        };
        if let Some(slot) = assigned()? {
            return Ok(Some(slot));
        }
        if let Err(over) = session.check_process() {
            // The server may have assigned the slot before its end.
            return assigned()?.map_or(Err(over), |slot| Ok(Some(slot)));
        }
        let awaits_slot = view.slot_awaited().load(Ordering::Acquire) != 0;
        if awaits_slot {
            self.deadline = Deadline::after(Some(self.slot_timeout));
        }
        if awaits_slot && self.lobby.has_passed() {
            return Err(ShmError::NoFreeSlot);
        }
        if self.deadline.has_passed() {
            return Err(ShmError::Timeout);
        }
        Ok(None)
    }

    /// What to wait for until the next step.
    pub(crate) fn wait_set<'a>(&self, session: &'a Session) -> WaitSet<'a> {
        let channel = &session.channel;
        let mut set = WaitSet::new();
        if let Some(events) = &channel.events {
            set.event(events.acknowledge());
        }
        set.peer(&session.peer, channel.tuning.check_interval);
        set.at_most(self.deadline.remaining(Some(BOUND)));
        set
    }
}
