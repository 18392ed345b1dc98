//! How a client finds what stands behind a name.

use super::event::Event;
use super::pairs::{self, Ends};
use super::section::Section;
use super::socket_options::PeerCredentials;
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

type Lookup = kinds::Lookup<Found, Handover>;

/// Has the events that came with a section.
pub(crate) struct EventOpener(Ends);

/// Looks a name up, asks whether the server that has it is trusted, and joins the clients that wait to be handed a channel. If
/// the queue is full, waits up to `patience` for a place in it.
pub(crate) fn lookup(
    name: &ChannelName, trusts: &dyn Fn(Option<&User>) -> Result<()>, patience: Duration,
) -> Result<Lookup> {
    let connection = match connected(&address(name, "")?, patience) {
        Ok(connection) => connection,
        Err((Errno::CONNREFUSED, _)) => return Ok(Lookup::NoServer),
        // The queue is full.
        Err((Errno::AGAIN, _)) => return Ok(Lookup::Server { has_waited: !patience.is_zero() }),
        Err((errno, context)) => return Err(error(errno, context)),
    };
    let server = credentials(&connection).map_err(failed("asking for the server's user (getsockopt)"))?;
    // Before anything that the server sent is read.
    trusts(Some(&User(server.uid)))?;
    Ok(Lookup::Waits(Handover { connection: Event::listener(Arc::new(connection))?, server }))
}

/// A place in a server's queue: the server hands its clients a channel in their order.
pub(crate) struct Handover {
    connection: Event,
    server: PeerCredentials,
}

impl Handover {
    /// Becomes ready when the server has handed over the channel, or has gone.
    pub(crate) fn event(&self) -> &Event {
        &self.connection
    }

    /// Takes the channel, if the server has handed it over.
    pub(crate) fn step(self) -> Result<Lookup> {
        let Handover { connection, server } = self;
        if wait_any(&[Waitable::Event(&connection)], Some(Duration::ZERO))?.is_none() {
            return Ok(Lookup::Waits(Handover { connection, server }));
        }
        let refused = |reason: String| ShmError::Refused { reason };
        let received = receive(connection.descriptor()).map_err(failed("receiving a channel (recvmsg)"))?;
        // The server has gone away, or had no room for this client.
        let Some(([reason, own_pid], descriptors)) = received else {
            return Ok(Lookup::Server { has_waited: false });
        };
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
        if section.owner()? != Some(User(server.uid)) {
            return Err(refused("the section does not belong to the user that runs the server".to_owned()));
        }
        if server.pid == 0 {
            return Err(refused(
                "the server's process is in another process namespace and cannot be watched".to_owned(),
            ));
        }
        let server_pid = Some(server.pid);
        Ok(Lookup::Found(Found { section, own_pid, server_pid, opener: EventOpener(ends) }))
    }
}

/// Whether the server that has a name serves a client, and no other one meanwhile.
pub(crate) fn is_busy(name: &ChannelName, trusts: &dyn Fn(Option<&User>) -> Result<()>) -> Result<bool> {
    match connected(&address(name, BUSY)?, Duration::ZERO) {
        Ok(connection) => {
            let server =
                credentials(&connection).map_err(failed("asking for the server's user (getsockopt)"))?;
            // Any user can take the name.
            Ok(trusts(Some(&User(server.uid))).is_ok())
        }
        // Its queue is full: several clients ask.
        Err((Errno::AGAIN, _)) => Ok(true),
        Err((Errno::CONNREFUSED, _)) => Ok(false),
        Err((errno, context)) => Err(error(errno, context)),
    }
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
