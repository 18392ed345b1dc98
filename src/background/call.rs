//! The calls of a background server's clients, and their answers.

use super::peer::PeerHandle;
use crate::calls::{self, Part};
use crate::error::Result;

/// A call that a client waits for an answer to, see [`AutoServerBuilder::on_call`](crate::AutoServerBuilder::on_call).
///
/// It may be kept, and answered later, by any thread. If it is dropped without an answer, its caller gets
/// [`ShmError::NoAnswer`](crate::ShmError::NoAnswer) at once.
#[derive(Debug)]
#[must_use = "a call that is dropped has no answer"]
pub struct Call {
    peer: PeerHandle,
    id: u64,
    is_answered: bool,
}

impl Call {
    /// Reads a call of this peer's. `None`: the message is none.
    pub(crate) fn read(peer: PeerHandle, message: &[u8]) -> Option<(Self, &[u8])> {
        match calls::read(message)? {
            (Part::Call, id, bytes) => Some((Call { peer, id, is_answered: false }, bytes)),
            _ => None,
        }
    }

    /// Returns the client that waits for the answer.
    pub fn peer(&self) -> &PeerHandle {
        &self.peer
    }

    /// Sends the answer: 0 to [`MAX_CALL_SIZE`](crate::MAX_CALL_SIZE) bytes, or up to the channel's longest message minus 16. Never waits: if the client's queue is full, the
    /// answer evicts the oldest messages.
    ///
    /// # Errors
    /// As [`PeerHandle::send`]. [`ShmError::NotConnected`](crate::ShmError::NotConnected): the client has gone; no other client gets
    /// the answer. After [`ShmError::MessageTooLarge`](crate::ShmError::MessageTooLarge) the caller gets
    /// [`ShmError::NoAnswer`](crate::ShmError::NoAnswer).
    pub fn answer(mut self, answer: &[u8]) -> Result<()> {
        self.peer.send(&calls::message(Part::Answer, self.id, answer)?)?;
        self.is_answered = true;
        Ok(())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_answered {
            // The client may have gone.
            let _ = calls::message(Part::NoAnswer, self.id, &[]).and_then(|message| self.peer.send(&message));
        }
    }
}
