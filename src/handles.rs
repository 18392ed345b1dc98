//! Handles and descriptors of a channel, for programs and drivers that use them beside this library.

/// How many events a channel has. Each event's place in a channel's list is part of the protocol.
pub(crate) const EVENTS: usize = 7;

/// A channel's data events, for programs and drivers that wait or signal natively.
///
/// On Windows these are handles of this process to auto-reset events, with the rights to wait and to signal. On Linux
/// they are descriptors of datagram sockets: readable when set, and unset by receiving. They stay the library's:
/// duplicate them to hand them on, and don't close them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHandles {
    /// Set when the server has sent a message.
    pub s2c_data: isize,
    /// Set when the client has sent a message.
    pub c2s_data: isize,
}

/// All that the client's end of a channel needs: for a driver, or for another process. See
/// [`SharedServer::client_handles`](crate::SharedServer::client_handles).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientHandles {
    /// The section: to be mapped for reading and writing.
    pub section: isize,
    /// `None`: the channel has no events.
    pub events: Option<ClientEvents>,
}

/// A channel's events as its client uses them.
///
/// On Windows these are handles to auto-reset events. On Linux they are descriptors of datagram sockets, and numbers
/// occur twice: a socket serves an event to wait for and one to set. Readable means set. To set one, send a
/// byte with `MSG_DONTWAIT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientEvents {
    /// The server has sent a message: the client waits for it.
    pub s2c_data: isize,
    /// The client has sent a message: it sets it.
    pub c2s_data: isize,
    /// The client has taken a message: it sets it.
    pub s2c_space: isize,
    /// The server has taken a message: the client waits for it.
    pub c2s_space: isize,
    /// The client asks to be accepted: it sets it.
    pub request: isize,
    /// The server has answered: the client waits for it.
    pub acknowledge: isize,
    /// Either side has left: the client sets it, and may wait for it.
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
