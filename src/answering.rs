//! Calls that a server for one client receives and answers on its own threads.

use crate::calls::{self, Part, CALL_HEADER};
use crate::error::{Result, ShmError};
use crate::halves::{ReceiveHalf, SendHalf};
use std::time::Duration;

/// A call that a client waits for an answer to, see [`SharedServer::receive_call`](crate::SharedServer::receive_call).
///
/// It stands for this call of this session, and is used up by its answer. If the server drops it, the client waits until its time
/// is over: to end that wait, [answer](crate::SharedServer::answer) or [refuse](crate::SharedServer::refuse) it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the client waits for the answer"]
pub struct CallToken {
    pub(crate) id: u64,
    pub(crate) generation: u32,
}

/// What a server has received, see [`SharedServer::receive_call`](crate::SharedServer::receive_call).
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// A message that is no call.
    Message,
    /// A call. The buffer contains the bytes that its caller has passed.
    Call(CallToken),
}

impl ReceiveHalf {
    /// Waits for a message or a call, at most `timeout`, and replaces the contents of `buffer` with its bytes. `None` waits
    /// without a limit. [`SharedServer::receive_call`](crate::SharedServer::receive_call) has an example.
    ///
    /// # Errors
    /// As [`receive_timeout`](Self::receive_timeout).
    pub fn receive_call(&mut self, buffer: &mut Vec<u8>, timeout: Option<Duration>) -> Result<Incoming> {
        self.receive_timeout(buffer, timeout)?;
        let Some((Part::Call, id, _)) = calls::read(buffer) else { return Ok(Incoming::Message) };
        buffer.drain(..CALL_HEADER);
        Ok(Incoming::Call(CallToken { id, generation: self.session.generation }))
    }
}

impl SendHalf {
    /// Answers a call with 0 to [`MAX_CALL_SIZE`](crate::MAX_CALL_SIZE) bytes, or up to the channel's longest message minus 16.
    /// Never waits: if the client's queue is full, the answer evicts the oldest messages.
    ///
    /// # Errors
    /// As [`send`](Self::send). [`ShmError::NotConnected`] also means that the call is one of an earlier session; no other client
    /// gets the answer.
    pub fn answer(&mut self, call: CallToken, answer: &[u8]) -> Result<()> {
        self.end_call(&call, Part::Answer, answer)
    }

    /// Ends a call without an answer: the caller gets [`ShmError::NoAnswer`].
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn refuse(&mut self, call: CallToken) -> Result<()> {
        self.end_call(&call, Part::NoAnswer, &[])
    }

    fn end_call(&mut self, call: &CallToken, part: Part, bytes: &[u8]) -> Result<()> {
        if call.generation != self.session.generation {
            return Err(ShmError::NotConnected);
        }
        self.check_length(bytes.len().saturating_add(CALL_HEADER))?;
        self.send(&calls::message(part, call.id, bytes)?).map(drop)
    }
}
