//! The result of a send, and a channel's statistics.

/// The result of sending a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteOutcome {
    /// The number of unread messages that were evicted to make room, oldest first.
    pub overwritten: u32,
    /// Whether the queue was empty before. The value may be out of date: messages that the receiver took after the sender last
    /// needed room still count as unread.
    pub was_empty: bool,
}

/// The statistics of a channel's current session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ChannelStats {
    /// The number of the connection since the server's start. A request that a client withdrew while the server answered it
    /// also counts.
    pub generation: u32,
    /// Messages sent.
    pub sent: u64,
    /// Of these, messages evicted before the peer took them.
    pub send_dropped: u64,
    /// Messages sent that the peer has not taken yet.
    pub send_depth: usize,
    /// Messages received.
    pub received: u64,
    /// Messages that the peer evicted before this side took them. The number is known from the messages received since.
    pub receive_dropped: u64,
    /// Messages that wait to be received.
    pub receive_depth: usize,
    /// Kernel signals sent: at most one for each of the peer's sleeps, or one for each message if a program
    /// waits without this library (see [`get_event_handles`](crate::SharedServer::get_event_handles)).
    pub signals: u64,
    /// How often this side announced that it was going to sleep, in a call or by
    /// [`ReceiveHalf::arm`](crate::ReceiveHalf::arm). (It does not sleep if a last look finds a message.) On a channel without
    /// events: how often it slept.
    pub sleeps: u64,
}

/// The counts of one connection of a background endpoint, see [`PeerHandle::stats`](crate::PeerHandle::stats).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PeerStats {
    /// Messages that were put into the ring.
    pub sent: u64,
    /// Of these, messages that were evicted before the peer took them.
    pub send_dropped: u64,
    /// Messages in the ring that the peer has not taken yet.
    pub send_depth: usize,
    /// Messages that were received.
    pub received: u64,
    /// Messages that the peer evicted before they could be received.
    pub receive_dropped: u64,
}
