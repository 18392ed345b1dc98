//! One ring: a queue of messages from one [`Producer`] to one [`Consumer`] in another process.
//!
//! ```text
//!             read_pos                          write position (the producer's own)
//!                |                                 |
//!   ... evicted  | header payload | header payload | 0     unused ...
//!                 \____ one frame, one message ___/ \_ zeroed before the previous frame is published
//! ```
//!
//! **Positions** are 64-bit counts of bytes that only grow. Modulo the capacity, a position is an offset in the ring.
//!
//! **A frame** starts at a multiple of 64 bytes and is contiguous: a header word
//! ([`FrameHeader`](crate::layout::FrameHeader)), then the payload in whole words. In the **long frame** of a message of more
//! than 65,535 bytes, the second word is the length, and the payload starts at the next cache line. If a frame does not fit before the
//! ring's end, the producer fills the rest with a pad frame and puts the message at the start of the ring. A pad and
//! its message are one entry: they are published, taken, evicted and counted together, under one sequence.
//!
//! **Publishing.** The producer writes the payload. It zeroes the word where the *next* frame's header will be, unless
//! that word is zero already. Then it stores this frame's header. So the consumer reads one word, where it expects the
//! next header, and sees zero or a complete frame. A small message costs the transfer of one cache line. The producer
//! never uses the last 64 free bytes. Otherwise the zeroed word could be the header of the oldest unread frame.
//!
//! When the producer sends several messages together, it stores the first message's header last. The other headers need
//! no order among themselves.
//!
//! **Taking.** The consumer copies a message out, then moves `read_pos` past it: by compare-exchange, or by a store if a
//! full ring rejects, since then the producer never moves it.
//!
//! **Evicting.** The producer moves `read_pos` past the oldest entries, also by compare-exchange. Then it executes a
//! release fence, and only then does it overwrite the entries. The compare-exchange that comes first wins: a message
//! is received or evicted, never both. A consumer whose compare-exchange fails discards its copy, since the copy may
//! be torn. The fence makes sure that a consumer that reads a new byte of an evicted frame also sees that `read_pos`
//! moved.
//!
//! **Trust.** The producer keeps a list of where its unread entries end, in its own memory. It accepts a `read_pos`
//! only if this is the end of one of them. The consumer accepts a header only if its sequence is the expected one,
//! its length is within the limits, and its frame is within the ring. If `read_pos` moved, the sequence may be a
//! later one; the difference is the number of evicted messages. Every index is masked, so that no value leads out of
//! the ring. Every loop has a bound.

mod consumer;
mod producer;
mod zeroing;

#[cfg(not(loom))]
pub(crate) use consumer::Borrowed;
pub(crate) use consumer::{Consumer, Pop};
pub(crate) use producer::{Place, Producer};

use crate::bytes::Words;
use crate::layout::{first_position, Lengths, RingHeader};
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;

/// The peer broke the protocol: it wrote a value that no correct peer writes. The session is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Corrupted(pub(crate) &'static str);

/// A ring in memory, which consists of its header line and its data.
pub(crate) struct Ring {
    header: *const RingHeader,
    words: Words,
    lengths: Lengths,
    /// Whether a full ring rejects, so that the producer never moves `read_pos`.
    rejects: bool,
}

// SAFETY: as for `Words`: the pointer leads to nothing except atomics.
unsafe impl Send for Ring {}

impl Ring {
    /// # Safety
    /// - `header` and `base` point to an initialised header and `capacity / 8` initialised words.
    /// - They stay mapped for as long as the value lives.
    /// - `capacity` is a power of two and at least 8.
    /// - No message of these lengths has a frame of more than half the capacity.
    pub(crate) unsafe fn new(
        header: *const RingHeader, base: *const AtomicU64, capacity: u64, lengths: Lengths, rejects: bool,
    ) -> Self {
        // SAFETY: the caller promised what `Words::new` requires.
        let words = unsafe { Words::new(base, capacity) };
        Ring { header, words, lengths, rejects }
    }

    #[inline(always)]
    fn header(&self) -> &RingHeader {
        // SAFETY: `new` was promised an initialised header that outlives `self`; it consists of atomics.
        unsafe { &*self.header }
    }

    /// Empties the ring for a new generation. Only the server calls this, and only while the ring has neither
    /// producer nor consumer. The compare-exchange of the client's word then publishes the empty ring.
    pub(crate) fn reset(&self, generation: u32) {
        let start = first_position(generation);
        let header = self.header();
        self.words.at(start).store(0, Relaxed);
        header.write_pos.store(start, Relaxed);
        header.read_pos.store(start, Relaxed);
        header.message_count.store(0, Relaxed);
        header.drop_count.store(0, Relaxed);
    }
}

// The file is in the folder of the other tests, but a child of this module, because the tests read private fields.
#[cfg(all(test, not(loom)))]
#[path = "verify/ring_tests.rs"]
mod tests;
