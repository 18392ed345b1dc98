//! A channel's events: pairs of sockets, each of which carries an event each way.

use super::descriptors;
use super::event::Event;
use super::fork::OwningProcess;
use super::section::Section;
use super::socket_options::take_no_descriptors;
use super::system::{duplicate_raw, error, failed};
use crate::error::{Result, ShmError};
use crate::handles::{ClientEvents, ClientHandles, EVENTS};
use crate::sys::kinds::try_array;
use rustix::io::Errno;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{recv, send, AddressFamily, RecvFlags, SendFlags, SocketType};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// Socket pairs of a channel; each carries two events, one in each direction.
pub(super) const PAIRS: usize = 4;

/// The side that waits for an event.
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

/// One side's ends of a channel's pairs.
pub(super) type Ends = [Arc<OwnedFd>; PAIRS];

/// A pair of sockets: the server's end, and the client's.
fn pair() -> Result<(Arc<OwnedFd>, Arc<OwnedFd>)> {
    let pair = descriptors::socket_pair();
    let [server, client] = pair.map_err(failed("creating the channel's events (socketpair)"))?;
    take_no_descriptors(&server);
    take_no_descriptors(&client);
    Ok((Arc::new(server), Arc::new(client)))
}

/// Checks that this process may signal an event and take a signal. A sandbox may refuse the calls. When they are made, their
/// failures are not reported, since they say that the peer is gone, or that the event is set.
fn check_signals() -> Result<()> {
    let no_socket = descriptors::local_event().map_err(failed("creating an event (eventfd2)"))?;
    let permitted = |called: rustix::io::Result<()>, context| match called {
        Ok(()) | Err(Errno::NOTSOCK) => Ok(()),
        Err(errno) => Err(error(errno, context)),
    };
    permitted(send(&no_socket, &[1], SendFlags::DONTWAIT).map(drop), "signalling an event (sendto)")?;
    permitted(recv(&no_socket, &mut [0; 1][..], RecvFlags::DONTWAIT).map(drop), "taking a signal (recvfrom)")
}

/// The client's ends of a server's pairs.
pub(crate) struct ClientEnd {
    pub(super) clients: Ends,
}

impl ClientEnd {
    /// A server's events, and what its client is given of them.
    pub(crate) fn create() -> Result<([Event; EVENTS], Self)> {
        check_signals()?;
        let pairs: [_; PAIRS] = try_array(|_| pair())?;
        let created_in = OwningProcess::current()?;
        let events = LIST.map(|(pair, towards)| {
            let (server, client) = &pairs[pair];
            match towards {
                Towards::Server => Event::shared(client, server, created_in),
                Towards::Client => Event::shared(server, client, created_in),
            }
        });
        Ok((events, ClientEnd { clients: pairs.map(|(_, client)| client) }))
    }

    /// The numbers of the descriptors. They stay open as long as `self` lives.
    pub(crate) fn handles(&self, section: &Section, _events: &[Event; EVENTS]) -> Result<ClientHandles> {
        let events = LIST.map(|(pair, _)| self.clients[pair].as_raw_fd() as isize);
        Ok(ClientHandles { section: section.as_raw(), events: Some(ClientEvents::from_list(events)) })
    }
}

/// A client's events, at the ends that it was given.
pub(super) fn events_at(ends: &Ends) -> Result<[Event; EVENTS]> {
    check_signals()?;
    let created_in = OwningProcess::current()?;
    Ok(LIST.map(|(pair, _)| Event::shared(&ends[pair], &ends[pair], created_in)))
}

/// A client's events, from descriptors of this process, which stay the caller's.
pub(crate) fn client_events(events: &ClientEvents) -> Result<[Event; EVENTS]> {
    check_signals()?;
    let created_in = OwningProcess::current()?;
    let list = events.list();
    try_array(|at| {
        let end = Arc::new(duplicate_raw(list[at], "duplicating an event's descriptor (fcntl)")?);
        check(&end)?;
        Ok(Event::shared(&end, &end, created_in))
    })
}

/// Checks that a descriptor from another process is an end of a pair. Another kind might be ready for ever.
pub(super) fn check(end: &OwnedFd) -> Result<()> {
    match (socket_domain(end), socket_type(end)) {
        (Ok(AddressFamily::UNIX), Ok(SocketType::DGRAM)) => Ok(()),
        _ => Err(ShmError::Refused {
            reason: "the descriptor of an event is not a Unix datagram socket".to_owned(),
        }),
    }
}
