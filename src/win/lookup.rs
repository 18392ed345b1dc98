//! The client's side of a name.

use super::names::{opening_error, Names};
use super::{object_owner, Event, Handover, Section, User, EVENT_ACCESS, SECTION_ACCESS};
use crate::error::{Result, ShmError};
use crate::handles::EVENTS;
use crate::naming::ChannelName;
use crate::ntapi::*;
use crate::sys::kinds;
use std::time::Duration;

/// The request event's place in a channel's list.
const REQUEST: usize = 4;

/// What stands behind a name. The system doesn't say the id of the server's process.
pub(crate) type Found = kinds::Found<Section, EventOpener>;

type Lookup = kinds::Lookup<Found, Handover>;

/// Opens the events that belong to a section found by name.
pub(crate) struct EventOpener(Names);

/// Looks a name up, and asks whether its owner is trusted.
///
/// This waits for nothing: a client that may open the name finds all objects at once.
pub(crate) fn lookup(
    name: &ChannelName, trusts: &dyn Fn(Option<&User>) -> Result<()>, _patience: Duration,
) -> Result<Lookup> {
    let names = Names::of(name)?;
    let attributes = Attributes::new(Some(&names.link()), None);
    // SAFETY: the attributes and the place for the handle are valid.
    let opened = attributes
        .handle_from(|handle, attributes| unsafe { NtOpenSection(handle, SECTION_ACCESS, attributes) });
    match opened {
        Ok(handle) => {
            let section = Section::from_handle(handle)?;
            trusts(section.owner()?.as_ref())?;
            let (own_pid, opener) = (super::process_id(), EventOpener(names));
            Ok(Lookup::Found(Found { section, own_pid, server_pid: None, opener }))
        }
        // The server offers no channel: for a moment, or because it could make none.
        Err(status) if is_missing(status) && is_taken(name)? => Ok(Lookup::Server { has_waited: false }),
        Err(status) if is_missing(status) => Ok(Lookup::NoServer),
        Err(status) => Err(opening_error(status, name)),
    }
}

/// Whether the server that has a name serves a client. A client that finds the channel reads that there.
pub(crate) fn is_busy(_name: &ChannelName, _trusts: &dyn Fn(Option<&User>) -> Result<()>) -> Result<bool> {
    Ok(false)
}

/// Whether a server has the name, whatever it offers.
///
/// A handle to the link would keep the name taken, should the server end now. So this asks for a right that its access list
/// grants to no user: the system says only that the link is there.
fn is_taken(name: &ChannelName) -> Result<bool> {
    let attributes = Attributes::new(Some(&Names::of(name)?.link()), None);
    // SAFETY: the attributes and the place for the handle are valid.
    let opened = attributes
        .handle_from(|handle, attributes| unsafe { NtOpenSymbolicLinkObject(handle, DELETE, attributes) });
    Ok(!matches!(opened, Err(status) if is_missing(status)))
}

fn is_missing(status: NtStatus) -> bool {
    matches!(status, STATUS_OBJECT_NAME_NOT_FOUND | STATUS_OBJECT_PATH_NOT_FOUND | STATUS_NOT_FOUND)
}

impl EventOpener {
    /// The events of that instance, which must belong to its section's owner. `None`: it is gone.
    pub(crate) fn events(&self, instance: u64, owner: Option<&User>) -> Result<Option<[Event; EVENTS]>> {
        let mut events = Vec::with_capacity(EVENTS);
        for index in 0..EVENTS {
            match self.open(&self.0.event(instance, index), owner)? {
                Some(event) => events.push(event),
                None => return Ok(None),
            }
        }
        let Ok(events) = events.try_into() else { unreachable!("as many as were opened") };
        Ok(Some(events))
    }

    /// Asks the server to repair a section that a client has overwritten. The section's name, which a client cannot change, says
    /// which instance it is.
    pub(crate) fn request_repair(&self, section: &Section, owner: Option<&User>) -> Result<()> {
        let Some(instance) = section_instance(section) else { return Ok(()) };
        let request = self.open(&self.0.event(instance, REQUEST), owner)?;
        if let Some(request) = request {
            request.set();
        }
        Ok(())
    }

    /// The event by which clients take turns. `None`: it is gone.
    pub(crate) fn admission_event(&self, number: u64, owner: Option<&User>) -> Result<Option<Event>> {
        self.open(&self.0.admission(number), owner)
    }

    fn open(&self, path: &str, owner: Option<&User>) -> Result<Option<Event>> {
        let attributes = Attributes::new(Some(path), None);
        // SAFETY: the attributes and the place for the handle are valid.
        let opened = attributes
            .handle_from(|handle, attributes| unsafe { NtOpenEvent(handle, EVENT_ACCESS, attributes) });
        match opened {
            Ok(handle) if object_owner(&handle).as_ref() == owner => Ok(Some(Event(handle))),
            // Another user has created an object under the name of one of the server's.
            Ok(_) => {
                let reason =
                    format!("the objects of the name {:?} belong to several users", self.0.name.given());
                Err(ShmError::Refused { reason })
            }
            Err(status) if is_missing(status) => Ok(None),
            Err(status) => Err(opening_error(status, &self.0.name)),
        }
    }
}

/// The number in a section's name.
fn section_instance(section: &Section) -> Option<u64> {
    // A name of ours has at most some 150 units of 16 bits.
    // SAFETY: the buffer is writable and as long as said.
    let buffer = query(128, |buffer, length, needed| unsafe {
        NtQueryObject(section.handle.as_raw(), OBJECT_NAME_INFORMATION, buffer, length, needed)
    });
    let text = text_of(&buffer.ok()?)?;
    let digits = text.split("xshm.section.").nth(1)?.get(..16)?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::kinds::{Audience, Clients};
    use crate::win::Listener;

    /// A client that looks while a server offers no channel must not report that there is no server. And its look must not
    /// keep the name taken.
    #[test]
    fn a_server_that_offers_no_channel_is_a_server() {
        let name = ChannelName::parse(&format!("lookup-{}", std::process::id())).unwrap();
        let look = || lookup(&name, &|_| Ok(()), Duration::ZERO).unwrap();
        for _ in 0..3 {
            assert!(matches!(look(), Lookup::NoServer));
            let listener = Listener::bind(&name, &Audience::Owner, Clients::One).unwrap();
            assert!(matches!(look(), Lookup::Server { has_waited: false }));
            drop(listener);
        }
    }
}
