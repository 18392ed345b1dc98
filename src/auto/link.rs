//! What the senders of an auto endpoint keep under their lock: the ring if there is one, and the queue.

use super::handler::SessionId;
use crate::channel::Side;
use crate::error::{Result, ShmError};
use crate::halves::SendHalf;
use std::collections::VecDeque;

pub(super) struct Link {
    pub(super) sender: Option<SendHalf>,
    pub(super) queue: VecDeque<Vec<u8>>,
    /// How long a queued message waits.
    pub(super) waits_for: WaitsFor,
    /// The session that has ended, until `on_disconnect` has returned.
    pub(super) ending: Option<SessionId>,
    /// Messages lost, and errors met, and not yet reported to the handler.
    pub(super) lost: u32,
    pub(super) errors: Vec<ShmError>,
    /// The length of the shortest message that a caller found no room for. (What is queued wants room too.)
    pub(super) refused_len: Option<usize>,
    /// The handler is to be called when there is room.
    pub(super) refused: bool,
    pub(super) closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// A client's: for whichever connection takes it.
    AnyConnection,
    /// A server's: for the present client, or the next one where there is none, and no client after that.
    OneSession,
}

impl Link {
    pub(super) fn new(side: Side) -> Self {
        let waits_for = match side {
            Side::Client => WaitsFor::AnyConnection,
            Side::Server => WaitsFor::OneSession,
        };
        Link {
            sender: None,
            queue: VecDeque::new(),
            waits_for,
            ending: None,
            lost: 0,
            errors: Vec::new(),
            refused_len: None,
            refused: false,
            closed: false,
        }
    }

    /// The ring, if a message may go straight into it.
    pub(super) fn free_sender(&mut self) -> Option<&mut SendHalf> {
        self.sender.as_mut().filter(|_| self.queue.is_empty())
    }

    /// Whether a message may be queued now.
    ///
    /// # Errors
    /// How the session ended whose client it would be for.
    pub(super) fn check_queue(&self) -> Result<()> {
        match (self.waits_for, &self.sender) {
            (WaitsFor::AnyConnection, _) => Ok(()),
            (WaitsFor::OneSession, Some(sender)) => sender.session.check(),
            (WaitsFor::OneSession, None) if self.ending.is_some() => Err(ShmError::NotConnected),
            (WaitsFor::OneSession, None) => Ok(()),
        }
    }

    /// The session that there is, or that has ended and whose end is being reported.
    pub(super) fn session(&self) -> Option<SessionId> {
        let present = self.sender.as_ref().map(|sender| SessionId(sender.session.generation));
        present.or(self.ending)
    }

    /// Whether this session is the present one and lives, as far as is known.
    pub(super) fn is_live(&self, session: SessionId) -> bool {
        let present = self.sender.as_ref().filter(|sender| SessionId(sender.session.generation) == session);
        present.is_some_and(|sender| sender.session.check().is_ok())
    }

    /// Whether something waits for room in the ring: what is queued, or a caller.
    pub(super) fn wants_room(&self) -> bool {
        self.sender.is_some() && (!self.queue.is_empty() || self.refused_len.is_some())
    }

    /// Whether there is room for what wants some.
    pub(super) fn has_room(&mut self, queue_limit: usize) -> bool {
        let wanted = self.queue.front().map(Vec::len).or(self.refused_len);
        match (&mut self.sender, wanted) {
            (None, _) => self.queue.len() < queue_limit,
            (Some(sender), Some(len)) => sender.has_room(len),
            (Some(_), None) => true,
        }
    }
}

/// What becomes of the messages in the ring when a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RingAtEnd {
    /// The peer has gone: what it has not taken is lost.
    Lost,
    /// The peer may still take them.
    Receivable,
}

/// What the worker reports to the handler of the sending side.
pub(crate) struct SendReport {
    pub(super) lost: u32,
    pub(super) space: bool,
    pub(super) errors: Vec<ShmError>,
}
