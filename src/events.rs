//! The events of a channel.
//!
//! All are auto-reset: one `set` wakes one waiter. A signal is a hint that it's worth looking; what has happened
//! stands in the section. Stale signals are therefore harmless.

use crate::handles::EVENTS;
use crate::layout::Direction;
use crate::sys::Event;

/// Each event's place in a channel's list is part of the protocol.
pub(crate) struct Events {
    pub(crate) all: [Event; EVENTS],
}

impl Events {
    pub(crate) fn new(all: [Event; EVENTS]) -> Self {
        Events { all }
    }

    /// A message was published while its receiver slept.
    pub(crate) fn data(&self, direction: Direction) -> &Event {
        &self.all[direction as usize]
    }

    /// A message was taken while its sender slept.
    pub(crate) fn space(&self, direction: Direction) -> &Event {
        &self.all[2 + direction as usize]
    }

    /// A client put its hello.
    pub(crate) fn request(&self) -> &Event {
        &self.all[4]
    }

    /// The server answered a hello.
    pub(crate) fn acknowledge(&self) -> &Event {
        &self.all[5]
    }

    /// A side has left. For native waiters: ours are woken by data and space.
    pub(crate) fn disconnect(&self) -> &Event {
        &self.all[6]
    }
}
