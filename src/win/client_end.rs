//! Handles of a channel for its client: to be duplicated into another process, or handed to a driver.

use super::{Event, Section};
use crate::error::Result;
use crate::handles::{ClientEvents, ClientHandles, EVENTS};
use crate::ntapi::*;
use crate::sync::{lock, Mutex};
use crate::sys::kinds::try_array;

/// What a client does with each event, and no more: it waits for some, sets others, and both with the last.
const RIGHTS: [u32; EVENTS] = [
    SYNCHRONIZE,
    EVENT_MODIFY_STATE,
    EVENT_MODIFY_STATE,
    SYNCHRONIZE,
    EVENT_MODIFY_STATE,
    SYNCHRONIZE,
    SYNCHRONIZE | EVENT_MODIFY_STATE,
];

const SECTION_RIGHTS: u32 = SECTION_MAP_READ | SECTION_MAP_WRITE | SECTION_QUERY;

/// Second handles to the section and the events, with the client's rights alone. Made when they are asked for.
pub(crate) struct ClientEnd(Mutex<Option<(OwnedHandle, [OwnedHandle; EVENTS])>>);

impl ClientEnd {
    pub(super) fn new() -> Self {
        ClientEnd(Mutex::new(None))
    }

    /// Events without a name, and what their client is given.
    pub(crate) fn create() -> Result<([Event; EVENTS], Self)> {
        let attributes = Attributes::new(None, None);
        let events = try_array(|_| super::create_event(&attributes, SYNCHRONIZATION_EVENT))
            .map_err(failed("creating the channel's events"))?;
        Ok((events, Self::new()))
    }

    /// The handles. They stay open as long as `self` lives.
    pub(crate) fn handles(&self, section: &Section, events: &[Event; EVENTS]) -> Result<ClientHandles> {
        let mut made = lock(&self.0);
        if made.is_none() {
            let section = duplicate(section.as_raw(), SECTION_RIGHTS)?;
            *made = Some((section, try_array(|at| duplicate(events[at].as_raw(), RIGHTS[at]))?));
        }
        let (section, events) = made.as_ref().expect("they were just made");
        let list = events.each_ref().map(|event| event.as_raw() as isize);
        Ok(ClientHandles { section: section.as_raw() as isize, events: Some(ClientEvents::from_list(list)) })
    }
}

/// A client's events, from handles of this process, which stay the caller's.
pub(crate) fn client_events(events: &ClientEvents) -> Result<[Event; EVENTS]> {
    let list = events.list();
    try_array(|at| duplicate(list[at], RIGHTS[at]).map(Event))
}

fn duplicate(raw: isize, rights: u32) -> Result<OwnedHandle> {
    super::duplicate_raw(raw, rights).map_err(failed("duplicating a channel's handle"))
}
