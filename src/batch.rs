//! Several messages in one call. For each 16 messages, the sender executes one barrier, and checks once whether the peer
//! sleeps. The receiver moves its position once for all messages. Separate calls do all of this for each message.

use crate::bytes::Several;
use crate::constants::{MAX_MESSAGES, MAX_MESSAGE_SIZE};
use crate::error::{Result, ShmError};
use crate::halves::{ReceiveHalf, SendHalf};
use crate::sys;
use std::alloc::{alloc_zeroed, Layout};
use std::time::Duration;

/// This many messages of a batch are published at once. With more, the receiver would wait while it could work, and would give
/// no room back meanwhile.
const SHOWN_TOGETHER: usize = 16;

/// The result of sending several messages together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOutcome {
    /// The number of messages sent, counted from the first. It is the whole batch unless the channel [rejects when
    /// full](crate::ServerOptions::reject_when_full).
    pub sent: usize,
    /// The number of unread messages that were evicted to make room, oldest first. If the batch is larger than the queue, this
    /// includes the first messages of the batch itself.
    pub overwritten: u32,
}

/// Messages that were received together, in a buffer that can be reused.
///
/// ```
/// # let mut server = xshm::SharedServer::start("batch-example")?;
/// # let client = std::thread::spawn(|| xshm::SharedClient::connect("batch-example", std::time::Duration::from_secs(5)));
/// # server.wait_for_client(None)?;
/// # let mut client = client.join().unwrap()?;
/// let (sender, _) = server.split()?;
/// assert_eq!(sender.try_send_batch(&["one".as_bytes(), b"two", b"three"])?, 3);
///
/// let (_, receiver) = client.split()?;
/// let mut batch = xshm::MessageBatch::default();
/// receiver.receive_batch(&mut batch)?;
/// assert!(batch.iter().eq(["one".as_bytes(), b"two", b"three"]));
/// # Ok::<(), xshm::ShmError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MessageBatch {
    /// The length of `bytes` from the first use on.
    size: usize,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    limit: usize,
}

impl MessageBatch {
    /// Creates a batch with room for `max_messages` messages (at least one) of `max_bytes` bytes together (at least 65,535, so
    /// that every message fits). The first call that fills the batch allocates the buffer, and fails if there is no memory for
    /// it; the buffer's pages take memory when they are first used.
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        let (size, limit) = (max_bytes.max(MAX_MESSAGE_SIZE), max_messages.max(1));
        MessageBatch { size, bytes: Vec::new(), ends: Vec::new(), limit }
    }

    /// Returns the number of messages.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns whether the batch has no messages.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Iterates over the messages, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        (0..self.ends.len()).map(|at| {
            let start = if at == 0 { 0 } else { self.ends[at - 1] };
            &self.bytes[start..self.ends[at]]
        })
    }

    /// Empties the batch and fills it. Returns its number of messages.
    #[inline]
    fn fill(&mut self, fill: impl FnOnce(&mut Several<'_>) -> Result<usize>) -> Result<usize> {
        self.ends.clear();
        if self.bytes.is_empty() {
            let bytes = zeros(self.size);
            self.bytes = bytes.ok_or_else(|| sys::out_of_memory("making room for a batch of messages"))?;
        }
        let filled = fill(&mut Several { bytes: &mut self.bytes, ends: &mut self.ends, limit: self.limit });
        if filled.is_err() {
            // An attempt that failed at last left what it had copied.
            self.ends.clear();
        }
        filled.map(|_| self.ends.len())
    }
}

/// Zeros, whose pages take memory when they are first used. `None`: this process has no memory for them.
fn zeros(len: usize) -> Option<Vec<u8>> {
    let layout = Layout::array::<u8>(len).ok().filter(|layout| layout.size() > 0)?;
    // SAFETY: the size is not zero.
    let start = unsafe { alloc_zeroed(layout) };
    // SAFETY: the allocator that vectors use made it for `len` bytes, all of which are set.
    (!start.is_null()).then(|| unsafe { Vec::from_raw_parts(start, len, len) })
}

/// Creates a batch with room for [`MAX_MESSAGES`] messages of 256 KiB together.
impl Default for MessageBatch {
    fn default() -> Self {
        MessageBatch::new(MAX_MESSAGES, 256 * 1024)
    }
}

impl SendHalf {
    /// Sends messages in order, each as [`send`](Self::send) does. Never waits. The first few messages wake a sleeping peer.
    ///
    /// On a channel that [rejects when full](crate::ServerOptions::reject_when_full), stops when there is no more room.
    ///
    /// # Errors
    /// Those of `send`, except [`ShmError::QueueFull`]. If a message has an invalid length, nothing was sent. After other
    /// errors, the first messages may have been sent.
    pub fn send_batch<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Result<BatchOutcome> {
        let (mut sent, mut overwritten) = (self.try_send_batch(messages)?, 0);
        while sent < messages.len() {
            let first = messages[sent].as_ref();
            self.check_length(first.len())?;
            match self.evict_for(first.len()) {
                Ok(evicted) => overwritten += evicted,
                Err(ShmError::QueueFull) => break,
                Err(error) => return Err(error),
            }
            // By itself: whatever `as_ref` answers next, each pass sends one.
            sent += self.push_some([first])?;
            sent += self.push_batch(&messages[sent..])?;
        }
        Ok(BatchOutcome { sent, overwritten })
    }

    /// Sends messages in order for as long as there is room. Returns the number of messages sent, counted from the first. The
    /// first few messages wake a sleeping peer.
    ///
    /// To send a long batch without loss: if messages are left over, send the first of them with
    /// [`send_timeout`](Self::send_timeout), and call this again for the rest.
    ///
    /// # Errors
    /// Those of [`try_send`](Self::try_send), except [`ShmError::QueueFull`]. After an error nothing was sent, with one
    /// exception: after [`ShmError::Corrupted`] some messages may have been sent.
    pub fn try_send_batch<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Result<usize> {
        for message in messages {
            self.check_length(message.as_ref().len())?;
        }
        self.push_batch(messages)
    }

    /// Sends as many messages as there is room for, a few together. An error in the middle is the next call's: the
    /// messages before it were sent.
    fn push_batch<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Result<usize> {
        let mut sent = 0;
        for some in messages.chunks(SHOWN_TOGETHER) {
            match self.push_together(some) {
                Ok(pushed) => {
                    sent += pushed;
                    if pushed < some.len() {
                        break;
                    }
                }
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    /// At most [`SHOWN_TOGETHER`] of them.
    fn push_together<M: AsRef<[u8]>>(&mut self, some: &[M]) -> Result<usize> {
        let mut slices: [&[u8]; SHOWN_TOGETHER] = [&[]; SHOWN_TOGETHER];
        for (slice, message) in slices.iter_mut().zip(some) {
            *slice = message.as_ref();
            // Once more: `as_ref` is the caller's, and may answer otherwise than a moment ago.
            self.check_length(slice.len())?;
        }
        self.push_some(slices[..some.len()].iter().copied())
    }
}

impl ReceiveHalf {
    /// Waits for a message, and takes it together with all further messages that are there and that the batch has room for.
    /// Returns the number of messages.
    ///
    /// # Errors
    /// As [`receive`](Self::receive). After an error the batch is empty.
    pub fn receive_batch(&mut self, batch: &mut MessageBatch) -> Result<usize> {
        batch.fill(|several| self.receive_to(several))
    }

    /// Takes all messages that are there and that the batch has room for. Never waits. Returns the number of messages.
    ///
    /// # Errors
    /// As [`try_receive`](Self::try_receive). After an error the batch is empty.
    pub fn try_receive_batch(&mut self, batch: &mut MessageBatch) -> Result<usize> {
        batch.fill(|several| self.try_receive_to(several))
    }

    /// Does the same as [`receive_batch`](Self::receive_batch), but waits at most `timeout` for the first message. `None` waits
    /// without a limit; zero checks once.
    ///
    /// # Errors
    /// As [`receive_timeout`](Self::receive_timeout). After an error the batch is empty.
    pub fn receive_batch_timeout(
        &mut self, batch: &mut MessageBatch, timeout: Option<Duration>,
    ) -> Result<usize> {
        batch.fill(|several| self.receive_within(several, timeout))
    }
}
