//! Handles and descriptors of a channel, for programs and drivers that use them beside this library.

/// How many events a channel has. Each event's place in a channel's list is part of the protocol.
pub(crate) const EVENTS: usize = 7;

/// A channel's data events, for drivers and programs that wait for them without this library.
///
/// On Windows they are handles of this process to auto-reset events, with the rights to wait and to signal. On Linux they are
/// descriptors of datagram sockets. A set event is readable; to reset it, receive the datagram. The library owns them: don't
/// close them, and duplicate them to pass them on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHandles {
    /// Set when the server has sent a message.
    pub s2c_data: isize,
    /// Set when the client has sent a message.
    pub c2s_data: isize,
}

/// All handles that the client of a channel needs, for a driver or another process. See
/// [`SharedServer::client_handles`](crate::SharedServer::client_handles).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientHandles {
    /// The section. The client maps it for reading and writing.
    pub section: isize,
    /// `None`: the channel has no events.
    pub events: Option<ClientEvents>,
}

/// A channel's events, in the form that its client uses.
///
/// On Windows they are handles to auto-reset events. On Linux they are descriptors of datagram sockets. An event is set when
/// its socket is readable. To set an event, send one byte with `MSG_DONTWAIT`. One socket may serve an event to wait for and an
/// event to set, so two fields may have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientEvents {
    /// The server has sent a message: the client waits for this event.
    pub s2c_data: isize,
    /// The client has sent a message: the client sets this event.
    pub c2s_data: isize,
    /// The client has taken a message: the client sets this event.
    pub s2c_space: isize,
    /// The server has taken a message: the client waits for this event.
    pub c2s_space: isize,
    /// The client requests a connection: the client sets this event.
    pub request: isize,
    /// The server has answered: the client waits for this event.
    pub acknowledge: isize,
    /// Either side has left: the client sets this event, and may wait for it.
    pub disconnect: isize,
}

impl ClientEvents {
    /// In the order of the protocol.
    pub(crate) fn from_list(list: [isize; EVENTS]) -> Self {
        let [s2c_data, c2s_data, s2c_space, c2s_space, request, acknowledge, disconnect] = list;
        ClientEvents { s2c_data, c2s_data, s2c_space, c2s_space, request, acknowledge, disconnect }
    }

    pub(crate) fn list(&self) -> [isize; EVENTS] {
        let Self { s2c_data, c2s_data, s2c_space, c2s_space, request, acknowledge, disconnect } = *self;
        [s2c_data, c2s_data, s2c_space, c2s_space, request, acknowledge, disconnect]
    }
}
