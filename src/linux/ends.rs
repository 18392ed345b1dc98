//! A channel's events: pairs of sockets, each of which carries an event each way.

use super::{error, Event, Home, Section};
use crate::error::{Result, ShmError};
use crate::events::{ClientEvents, ClientHandles};
use crate::sys::EVENTS;
use rustix::io::{fcntl_dupfd_cloexec, Errno};
use rustix::net::sockopt::socket_type;
use rustix::net::{socketpair, AddressFamily, SocketFlags, SocketType};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Socket pairs of a channel; each carries two events, one in each direction.
pub(super) const PAIRS: usize = 4;

/// Who waits for an event.
enum Towards {
    Server,
    Client,
}

/// The list of `Events`: data, space (each server to client, then client to server), request, acknowledgement, disconnect. Each with
/// its pair. Space is signalled against the messages' direction.
const LIST: [(usize, Towards); EVENTS] = [
    (0, Towards::Client),
    (0, Towards::Server),
    (1, Towards::Server),
    (1, Towards::Client),
    (2, Towards::Server),
    (2, Towards::Client),
    (3, Towards::Client),
];

/// The client's ends of a channel's pairs: what it is given.
pub(crate) struct Handout(pub(super) [Arc<OwnedFd>; PAIRS]);

impl Handout {
    /// A server's events, and what its client is given.
    pub(crate) fn create() -> Result<([Event; EVENTS], Self)> {
        let mut servers = Vec::with_capacity(PAIRS);
        let mut clients = Vec::with_capacity(PAIRS);
        for _ in 0..PAIRS {
            let pair = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
            let (server, client) = pair.map_err(|errno| error(errno, "creating the channel's events"))?;
            servers.push(Arc::new(server));
            clients.push(Arc::new(client));
        }
        let home = Home::here()?;
        let events = LIST.map(|(pair, towards)| match towards {
            Towards::Server => Event::shared(&clients[pair], &servers[pair], home),
            Towards::Client => Event::shared(&servers[pair], &clients[pair], home),
        });
        let Ok(ends) = clients.try_into() else { unreachable!("as many as were made") };
        Ok((events, Handout(ends)))
    }

    /// A client's events, at the ends that it was given.
    pub(super) fn events(&self) -> Result<[Event; EVENTS]> {
        let home = Home::here()?;
        Ok(LIST.map(|(pair, _)| Event::shared(&self.0[pair], &self.0[pair], home)))
    }

    /// The numbers of the descriptors. They stay open as long as `self` lives.
    pub(crate) fn handles(&self, section: &Section, _events: &[Event; EVENTS]) -> Result<ClientHandles> {
        let events = LIST.map(|(pair, _)| self.0[pair].as_raw_fd() as isize);
        Ok(ClientHandles { section: section.as_raw(), events: Some(ClientEvents::from_list(events)) })
    }
}

/// A client's events, from descriptors of this process, which stay the caller's.
pub(crate) fn client_events(events: &ClientEvents) -> Result<[Event; EVENTS]> {
    let context = "duplicating an event's descriptor";
    let home = Home::here()?;
    let mut list = Vec::with_capacity(EVENTS);
    for raw in events.list() {
        let raw = RawFd::try_from(raw).ok().filter(|&raw| raw >= 0).ok_or(error(Errno::BADF, context))?;
        // SAFETY: the kernel checks the number, whatever it is; nothing but the duplicate is kept.
        let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
        let end = fcntl_dupfd_cloexec(borrowed, 3).map_err(|errno| error(errno, context))?;
        check(&end)?;
        let end = Arc::new(end);
        list.push(Event::shared(&end, &end, home));
    }
    let Ok(list) = list.try_into() else { unreachable!("as many as were listed") };
    Ok(list)
}

/// Whether a descriptor that came from somebody else is an end of a pair. Another might be ready without end.
pub(super) fn check(end: &OwnedFd) -> Result<()> {
    match socket_type(end) {
        Ok(SocketType::DGRAM) => Ok(()),
        _ => Err(ShmError::Refused { reason: "an event is not a datagram socket".to_owned() }),
    }
}
