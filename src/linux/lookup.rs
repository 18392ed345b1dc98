//! How a client finds what stands behind a name.

use super::event::Event;
use super::pairs::{self, Ends};
use super::section::Section;
use super::system::{error, failed, User};
use super::wait::{wait_any, Waitable};
use super::wire::{address, connected, credentials, receive, Reason, BUSY};
use crate::error::{Result, ShmError};
use crate::handles::EVENTS;
use crate::naming::ChannelName;
use crate::sys::kinds;
use rustix::io::Errno;
use std::sync::Arc;
use std::time::Duration;

/// What stands behind a name. The kernel says the id of the server's process.
pub(crate) type Found = kinds::Found<Section, EventOpener>;

/// Has the events that came with a section.
pub(crate) struct EventOpener(Ends);

/// How long a client waits for a place in a full queue before it looks at its interrupter.
const QUEUE_SLICE: Duration = Duration::from_millis(20);

/// Looks a name up, asks whether the server that has it is trusted, and waits to be handed a channel. `None`: no server has it,
/// or it went away, or it has no room for more clients that wait.
pub(crate) fn lookup(
    name: &ChannelName, trusts: &dyn Fn(Option<&User>) -> Result<()>, patience: Option<Duration>,
    interrupt: &Event,
) -> Result<Option<Found>> {
    let context = "looking the name up";
    let slice = patience.map_or(QUEUE_SLICE, |patience| patience.min(QUEUE_SLICE));
    let connection = match connected(&address(name, "")?, slice) {
        Ok(connection) => connection,
        Err(Errno::CONNREFUSED) => return Ok(None),
        Err(Errno::AGAIN) => return Err(ShmError::AlreadyConnected),
        Err(errno) => return Err(error(errno, context)),
    };
    let server = credentials(&connection).map_err(failed(context))?;
    // Before anything that the server sent is read.
    trusts(Some(&User(server.uid)))?;
    let connection = Event::listener(Arc::new(connection))?;
    match wait_any(&[Waitable::Event(&connection), Waitable::Event(interrupt)], patience)? {
        Some(0) => {}
        Some(_) => return Err(ShmError::Interrupted),
        None => {
            let busy = !matches!(connected(&address(name, BUSY)?, Duration::ZERO), Err(Errno::CONNREFUSED));
            return Err(if busy { ShmError::AlreadyConnected } else { ShmError::Timeout });
        }
    }
    let refused = |reason: String| ShmError::Refused { reason };
    let received = receive(connection.descriptor()).map_err(failed("receiving a channel (recvmsg)"))?;
    // The server may have gone away.
    let Some(([reason, own_pid], descriptors)) = received else { return Ok(None) };
    if reason != 0 {
        return Err(refused(format!("the server {}", Reason::text(reason))));
    }
    let mut descriptors = descriptors.into_iter();
    let (Some(section), Ok(ends)) =
        (descriptors.next(), descriptors.map(Arc::new).collect::<Vec<_>>().try_into())
    else {
        return Err(refused("the name does not belong to a channel".to_owned()));
    };
    let ends: Ends = ends;
    ends.iter().try_for_each(|end| pairs::check(end))?;
    let section = Section::from_file(section)?;
    if section.owner() != Some(User(server.uid)) {
        return Err(refused("the section does not belong to the user that runs the server".to_owned()));
    }
    if server.pid == 0 {
        return Err(refused(
            "the server's process is in another process namespace and cannot be watched".to_owned(),
        ));
    }
    let server_pid = Some(server.pid);
    Ok(Some(Found { section, own_pid, server_pid, opener: EventOpener(ends) }))
}

impl EventOpener {
    /// The events: they came with the section, from the same server.
    pub(crate) fn events(&self, _instance: u64, _owner: Option<&User>) -> Result<Option<[Event; EVENTS]>> {
        Ok(Some(pairs::events_at(&self.0)?))
    }

    /// Asks the server to repair a section that a client has overwritten: it does so before it hands it to another one.
    pub(crate) fn request_repair(&self, _section: &Section, _owner: Option<&User>) -> Result<()> {
        Ok(())
    }

    /// The event by which clients take turns. Here the socket's queue is their order.
    pub(crate) fn admission_event(&self, _instance: u64, _owner: Option<&User>) -> Result<Option<Event>> {
        Ok(None)
    }
}
