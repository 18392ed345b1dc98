//! Handles of a channel for its client: to be duplicated into another process, or handed to a driver.

use super::{Event, Section};
use crate::error::{Result, ShmError};
use crate::handles::{ClientEvents, ClientHandles, EVENTS};
use crate::ntapi::*;
use crate::sync::{lock, Mutex};
use crate::sys::kinds::try_array;
use std::mem::size_of;
use std::ptr;

const WAIT: u32 = SYNCHRONIZE;
const SET: u32 = EVENT_MODIFY_STATE;

/// What a client does with each event, and no more: it waits for some, sets others, and both with the last.
const RIGHTS: [u32; EVENTS] = [WAIT, SET, SET, WAIT, SET, WAIT, WAIT | SET];

/// The events by the names of their fields, for errors.
const NAMES: [&str; EVENTS] =
    ["s2c_data", "c2s_data", "s2c_space", "c2s_space", "request", "acknowledge", "disconnect"];

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
    try_array(|at| {
        let event = match super::duplicate_raw(list[at], RIGHTS[at] | EVENT_QUERY_STATE) {
            // The event's access list does not permit to ask. That of this library's events does not.
            Err(STATUS_ACCESS_DENIED) => duplicate(list[at], RIGHTS[at])?,
            other => other.map_err(failed("duplicating a channel's handle"))?,
        };
        let refused = |what: &str| {
            let name = NAMES[at];
            Err(ShmError::Refused { reason: format!("the handle {name} of the channel's events is {what}") })
        };
        match type_name(&event).map_err(failed("asking for the type of a channel's handle"))? {
            // A wait for one would not take the signal back.
            Some(name) if name == "Event" && resets_by_hand(&event) => {
                refused("a manual-reset event; create it as an auto-reset event")
            }
            Some(name) if name == "Event" => Ok(Event(event)),
            // A wait for a mutex would own it, and one for a semaphore count it down.
            other => refused(&format!("for an object of the kind {}", other.as_deref().unwrap_or("unknown"))),
        }
    })
}

/// Whether an event stays set after a wait. `false` where the handle does not permit to ask.
fn resets_by_hand(event: &OwnedHandle) -> bool {
    let mut information = EventBasicInformation { event_type: SYNCHRONIZATION_EVENT, event_state: 0 };
    // SAFETY: the place for the answer has the size said.
    let status = unsafe {
        NtQueryEvent(
            event.as_raw(),
            EVENT_BASIC_INFORMATION,
            ptr::from_mut(&mut information).cast(),
            size_of::<EventBasicInformation>() as u32,
            ptr::null_mut(),
        )
    };
    status >= 0 && information.event_type == NOTIFICATION_EVENT
}

/// What kind of object a handle is for.
fn type_name(handle: &OwnedHandle) -> std::result::Result<Option<String>, NtStatus> {
    // The information has about 100 bytes, and then the name.
    // SAFETY: the buffer is writable and as long as said.
    let buffer = query(64, |buffer, length, needed| unsafe {
        NtQueryObject(handle.as_raw(), OBJECT_TYPE_INFORMATION, buffer, length, needed)
    })?;
    Ok(text_of(&buffer))
}

fn duplicate(raw: isize, rights: u32) -> Result<OwnedHandle> {
    super::duplicate_raw(raw, rights).map_err(failed("duplicating a channel's handle"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::windows::io::AsRawHandle;

    /// A wait for an object of another kind may take it, or return what no wait for events returns.
    #[test]
    fn a_handle_to_another_kind_of_object_is_refused() {
        let (events, _end) = ClientEnd::create().unwrap();
        let mut list = events.each_ref().map(Event::as_raw);
        assert!(client_events(&ClientEvents::from_list(list)).is_ok());
        let file = File::open("NUL").unwrap();
        for at in [0, 3, 6] {
            let right = std::mem::replace(&mut list[at], file.as_raw_handle() as isize);
            let error = client_events(&ClientEvents::from_list(list)).err();
            let Some(ShmError::Refused { reason }) = &error else { panic!("{at}: {error:?}") };
            assert!(reason.contains(NAMES[at]) && reason.contains("File"), "{reason}");
            list[at] = right;
        }
    }

    /// It would stay set after a wait, and each further wait would return at once.
    #[test]
    fn a_manual_reset_event_is_refused() {
        let (events, _end) = ClientEnd::create().unwrap();
        let by_hand = Event::local().unwrap();
        for at in 0..EVENTS {
            let mut list = events.each_ref().map(Event::as_raw);
            list[at] = by_hand.as_raw();
            let error = client_events(&ClientEvents::from_list(list)).err();
            let Some(ShmError::Refused { reason }) = &error else { panic!("{at}: {error:?}") };
            assert!(reason.contains(NAMES[at]) && reason.contains("manual-reset"), "{reason}");
        }
    }

    /// A client's handle to the event that it waits for does not permit a reset.
    #[test]
    fn a_client_takes_a_signal_back() {
        let (events, _end) = ClientEnd::create().unwrap();
        let list = events.each_ref().map(Event::as_raw);
        let at_client = client_events(&ClientEvents::from_list(list)).unwrap();
        for (event, at_client) in events.iter().zip(&at_client) {
            event.set();
            at_client.reset();
            event.reset();
        }
        events[0].set();
        at_client[0].reset();
        let waits = [super::super::Waitable::Event(&at_client[0])];
        assert_eq!(super::super::wait_any(&waits, Some(std::time::Duration::ZERO)), Ok(None));
    }
}
