//! Several messages in one call. For each 16 messages, the sender executes one barrier, and checks once whether the peer
//! sleeps. The receiver moves its position once for all messages. Separate calls do all of this for each message.

use crate::bytes::Several;
use crate::constants::{MAX_MESSAGES, MAX_MESSAGE_SIZE};
use crate::error::{Result, ShmError};
use crate::halves::{ReceiveHalf, SendHalf};
use crate::layout::LONGEST_ORDINARY;
use crate::sys;
use crate::waiting::Deadline;
use std::alloc::{alloc_zeroed, Layout};
use std::time::Duration;

/// This many messages of a batch are published at once. With more, the receiver would wait while it could work, and would give
/// no room back meanwhile.
const SHOWN_TOGETHER: usize = 16;

/// The result of sending several messages together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
    /// The length of `bytes` from the first use on, unless a longer message came.
    size: usize,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    limit: usize,
}

impl MessageBatch {
    /// Creates a batch with room for `max_messages` messages (at least one) of `max_bytes` bytes together (at least 65,535). The
    /// first call that fills the batch allocates the buffer, and fails if there is no memory for it; the buffer's pages take
    /// memory when they are first used. If the next message alone is longer, which only happens on channels with a
    /// [`max_message_size`](crate::ServerOptions::max_message_size), the buffer grows to its length.
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
    pub fn iter(&self) -> BatchIter<'_> {
        BatchIter { bytes: &self.bytes, start: 0, ends: self.ends.iter() }
    }

    /// Empties the batch and fills it. Returns its number of messages.
    #[inline]
    fn fill(&mut self, mut fill: impl FnMut(&mut Several<'_>) -> Result<usize>) -> Result<usize> {
        let mut size = self.size;
        loop {
            self.ends.clear();
            if self.bytes.len() < size {
                // The old buffer is free before there is a new one.
                self.bytes = Vec::new();
                let bytes = zeros(size);
                self.bytes =
                    bytes.ok_or_else(|| sys::out_of_memory("making room for a batch of messages"))?;
            }
            let filled =
                fill(&mut Several { bytes: &mut self.bytes, ends: &mut self.ends, limit: self.limit });
            if filled.is_err() {
                // An attempt that failed at last left what it had copied.
                self.ends.clear();
            }
            match filled {
                // Another attempt finds the message, or a longer one if the sender evicts it meanwhile.
                Err(ShmError::BufferTooSmall { needed }) if needed > self.bytes.len() => size = needed,
                filled => return filled.map(|_| self.ends.len()),
            }
        }
    }
}

/// A number of which zero bytes are a value.
pub(crate) trait Zeroed {}

impl Zeroed for u8 {}

#[cfg(feature = "c-api")]
impl Zeroed for u64 {}

/// Zeros, whose pages take memory when they are first used. `None`: this process has no memory for them.
pub(crate) fn zeros<T: Zeroed>(len: usize) -> Option<Vec<T>> {
    let layout = Layout::array::<T>(len).ok().filter(|layout| layout.size() > 0)?;
    // SAFETY: the size is not zero.
    let start = unsafe { alloc_zeroed(layout) }.cast::<T>();
    // SAFETY: the allocator that vectors use made it for `len` elements, all of which are set.
    (!start.is_null()).then(|| unsafe { Vec::from_raw_parts(start, len, len) })
}

/// Creates a batch with room for [`MAX_MESSAGES`] messages of 256 KiB together.
impl Default for MessageBatch {
    fn default() -> Self {
        MessageBatch::new(MAX_MESSAGES, 256 * 1024)
    }
}

/// The messages of a [`MessageBatch`], oldest first.
#[derive(Debug, Clone)]
pub struct BatchIter<'a> {
    bytes: &'a [u8],
    start: usize,
    ends: std::slice::Iter<'a, usize>,
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = *self.ends.next()?;
        let message = &self.bytes[self.start..end];
        self.start = end;
        Some(message)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ends.size_hint()
    }
}

impl ExactSizeIterator for BatchIter<'_> {}

impl std::iter::FusedIterator for BatchIter<'_> {}

impl<'a> IntoIterator for &'a MessageBatch {
    type Item = &'a [u8];
    type IntoIter = BatchIter<'a>;

    fn into_iter(self) -> BatchIter<'a> {
        self.iter()
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
    /// To send a long batch without loss, use [`send_batch_timeout`](Self::send_batch_timeout).
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

    /// Sends messages in order, and waits for room where there is none: at most `timeout` in all, or without a limit. Evicts
    /// none. Returns the number of messages sent, counted from the first, which is smaller than the batch only if the time is over.
    ///
    /// # Errors
    /// As [`try_send_batch`](Self::try_send_batch), and [`ShmError::Interrupted`]; after it, the first messages may have been sent.
    pub fn send_batch_timeout<M: AsRef<[u8]>>(
        &mut self, messages: &[M], timeout: Option<Duration>,
    ) -> Result<usize> {
        let deadline = Deadline::after(timeout);
        self.may_wait(timeout);
        let mut sent = self.try_send_batch(messages)?;
        while sent < messages.len() {
            let first = messages[sent].as_ref();
            self.check_length(first.len())?;
            match self.wait_for_room(first.len(), deadline.remaining(None)) {
                Ok(()) => {}
                Err(ShmError::Timeout) => break,
                Err(error) => return Err(error),
            }
            // By itself, as in `send_batch`.
            sent += self.push_some([first])?;
            sent += self.push_batch(&messages[sent..])?;
        }
        Ok(sent)
    }

    /// Sends as many messages as there is room for, a few together. An error in the middle is the next call's: the
    /// messages before it were sent.
    fn push_batch<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Result<usize> {
        let mut sent = 0;
        // The receiver is woken before this thread copies the next long message.
        let has_long = self.max_message_size() > LONGEST_ORDINARY;
        let is_long = |message: &M| message.as_ref().len() > LONGEST_ORDINARY;
        while sent < messages.len() {
            let mut some = &messages[sent..messages.len().min(sent + SHOWN_TOGETHER)];
            if has_long {
                some = some.split_inclusive(is_long).next().unwrap_or(some);
            }
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
