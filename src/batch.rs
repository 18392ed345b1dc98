//! Several messages in one call. The sender needs one barrier, and one look whether the peer sleeps, for every 16 messages; the
//! receiver moves its position once for all. Separate calls need all of that for each message.

use crate::bytes::Several;
use crate::constants::{MAX_MESSAGES, MAX_MESSAGE_SIZE};
use crate::error::{Result, ShmError};
use crate::halves::{ReceiveHalf, SendHalf};
use std::time::Duration;

/// This many messages of a batch are published at once. With more, the receiver would wait while it could work, and would give
/// no room back meanwhile.
const SHOWN_TOGETHER: usize = 16;

/// The result of sending several messages together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOutcome {
    /// The number of messages sent, from the first on. All of them, unless the channel
    /// [rejects when full](crate::ServerOptions::reject_when_full).
    pub sent: usize,
    /// How many of the oldest unread messages were evicted to make room. If the whole batch does not fit into
    /// the queue, they include the batch's own first messages.
    pub overwritten: u32,
}

/// Messages that were received together, in a buffer that is used again and again.
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
    bytes: Vec<u8>,
    ends: Vec<usize>,
    limit: usize,
}

impl MessageBatch {
    /// Room for up to `max_messages` messages (at least one) of `max_bytes` together (at least 65,535, so that every message
    /// fits). The buffer is allocated at once; its pages cost memory when they are first used.
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        let limit = max_messages.max(1);
        MessageBatch { bytes: vec![0; max_bytes.max(MAX_MESSAGE_SIZE)], ends: Vec::new(), limit }
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The messages, oldest first.
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
        let filled = fill(&mut Several { bytes: &mut self.bytes, ends: &mut self.ends, limit: self.limit });
        if filled.is_err() {
            // An attempt that failed at last left what it had copied.
            self.ends.clear();
        }
        filled.map(|_| self.ends.len())
    }
}

/// [`MAX_MESSAGES`] messages of 256 KiB together.
impl Default for MessageBatch {
    fn default() -> Self {
        MessageBatch::new(MAX_MESSAGES, 256 * 1024)
    }
}

impl SendHalf {
    /// Sends messages, in order, as [`send`](Self::send) sends each of them, and never waits. A sleeping peer is woken
    /// with the first few.
    ///
    /// On a channel that [rejects when full](crate::ServerOptions::reject_when_full) it stops where there's no more room.
    ///
    /// # Errors
    /// Those of `send`, except [`ShmError::QueueFull`]. If a length is not possible, nothing was sent; after other errors, the
    /// first messages may have been sent.
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

    /// Sends messages, in order, for as long as there is room. Returns how many, from the first on. A sleeping peer is
    /// woken with the first few.
    ///
    /// To send a long batch without loss: if messages are left over, send the first of them with
    /// [`send_timeout`](Self::send_timeout), and call this again for the rest.
    ///
    /// # Errors
    /// Those of [`try_send`](Self::try_send), except [`ShmError::QueueFull`]. Nothing was sent then; but of a batch
    /// that [`ShmError::Corrupted`] follows, some may have been.
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
    /// Waits for a message, and takes it and as many more as are there and as the batch has room for. Returns how many.
    ///
    /// # Errors
    /// As [`receive`](Self::receive). The batch is empty then.
    pub fn receive_batch(&mut self, batch: &mut MessageBatch) -> Result<usize> {
        batch.fill(|several| self.receive_to(several))
    }

    /// Takes as many messages as are there and as the batch has room for. Never waits.
    ///
    /// # Errors
    /// As [`try_receive`](Self::try_receive). The batch is empty then.
    pub fn try_receive_batch(&mut self, batch: &mut MessageBatch) -> Result<usize> {
        batch.fill(|several| self.try_receive_to(several))
    }

    /// As [`receive_batch`](Self::receive_batch), waiting at most this long for the first message; `None` waits for
    /// ever. Zero looks once.
    ///
    /// # Errors
    /// As [`receive_timeout`](Self::receive_timeout). The batch is empty then.
    pub fn receive_batch_timeout(
        &mut self, batch: &mut MessageBatch, timeout: Option<Duration>,
    ) -> Result<usize> {
        batch.fill(|several| self.receive_within(several, timeout))
    }
}
