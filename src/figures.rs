//! The outcome of a send, and a channel's figures.

/// What a message did to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOutcome {
    /// How many of the oldest unread messages were evicted to make room.
    pub overwritten: u32,
    /// Whether the queue was empty before, as far as the sender knew without asking. It may lag: messages that the
    /// receiver has taken since the sender last needed room count as unread here.
    pub was_empty: bool,
}

/// A channel's figures, of the current session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ChannelStats {
    /// The number of the connection, counted from the server's start. A request that its client withdrew while the server
    /// answered it counts too.
    pub generation: u32,
    /// Messages sent.
    pub sent: u64,
    /// Of these, messages evicted before the peer took them.
    pub send_dropped: u64,
    /// Messages sent that the peer has not taken yet.
    pub send_depth: usize,
    /// Messages received.
    pub received: u64,
    /// Messages that the peer evicted before we took them, as known from the messages received since.
    pub receive_dropped: u64,
    /// Messages that wait to be received.
    pub receive_depth: usize,
    /// Kernel signals sent: at most one for each of the peer's sleeps; one for each message where a program waits natively.
    pub signals: u64,
    /// How often this side announced that it was going to sleep, in a call or by
    /// [`ReceiveHalf::arm`](crate::ReceiveHalf::arm). (It does not sleep if a last look finds a message.) On a channel without
    /// events: how often it slept.
    pub sleeps: u64,
}
