//! One ring: a queue of messages from one [`Producer`] to one [`Consumer`] in another process.
//!
//! ```text
//!             read_pos                          write position (the producer's own)
//!                |                                 |
//!   ... evicted  | header payload | header payload | 0     unused ...
//!                 \____ one frame, one message ___/ \_ zeroed before the frame before it is published
//! ```
//!
//! **Positions** are 64-bit counts of bytes that only grow; a position's place is itself modulo the capacity.
//!
//! **A frame** starts at a multiple of 64 bytes and is contiguous: a header word
//! ([`FrameHeader`](crate::layout::FrameHeader)), then the payload in whole words. Where it would run over the ring's
//! end, a pad frame fills the rest and the message stands at the start. Pad and message are one entry: published,
//! taken, evicted and counted together, under one sequence.
//!
//! **Publishing.** Payload first, and the header word of the place where the *next* frame will start is zeroed, unless
//! it has been already; then this frame's header is stored. A consumer therefore looks at one word,
//! where it expects the next header, and sees zero or a complete frame; a small message costs the transfer of one
//! cache line. The last 64 bytes of room are never used, so that the zeroed word can't be the header of the oldest
//! unread frame.
//!
//! Of messages that are sent together, the first one's header is stored last; the others' need no order of their own.
//!
//! **Taking.** The consumer copies a message out, then moves `read_pos` past it by compare-and-swap.
//!
//! **Evicting.** The producer moves `read_pos` itself, by compare-and-swap, past the oldest entries; then a release
//! fence; only then does it overwrite. Whichever of the two swaps comes first wins: a message is received or
//! evicted, never both. A consumer whose swap fails throws its copy away, since it may be torn. The fence makes sure
//! that a consumer that sees a new byte in an old place also sees that `read_pos` moved.
//!
//! **Trust.** The producer keeps where its unread entries end in memory of its own. It accepts a `read_pos` that is
//! the end of one of them, and nothing else. The consumer accepts a header that can stand where it stands: sequence
//! as expected (or later, if `read_pos` moved: the difference is how many were evicted), length within limits, frame
//! within the ring. Every index is masked, so that no value leads outside; every loop has a bound.

mod consumer;
mod producer;

#[cfg(not(loom))]
pub(crate) use consumer::Borrowed;
pub(crate) use consumer::{Consumer, Pop};
pub(crate) use producer::{Place, Producer};

use crate::bytes::Words;
use crate::layout::{first_position, longest_message, RingHeader};
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;

/// The peer wrote what it can't have written by the rules. The session is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Corrupted(pub(crate) &'static str);

/// A ring in memory: its header line and its data.
pub(crate) struct Ring {
    header: *const RingHeader,
    words: Words,
    longest_message: usize,
}

// SAFETY: as for `Words`: nothing but atomics behind the pointer.
unsafe impl Send for Ring {}

impl Ring {
    /// # Safety
    /// - `header` and `base` point to an initialised header and `capacity / 8` initialised words.
    /// - They stay mapped for as long as the value lives.
    /// - `capacity` is a power of two and at least 8.
    pub(crate) unsafe fn new(header: *const RingHeader, base: *const AtomicU64, capacity: u64) -> Self {
        // SAFETY: passed on.
        let words = unsafe { Words::new(base, capacity) };
        Ring { header, words, longest_message: longest_message(capacity) }
    }

    #[inline(always)]
    fn header(&self) -> &RingHeader {
        // SAFETY: `new` was promised an initialised header that outlives `self`; it consists of atomics.
        unsafe { &*self.header }
    }

    /// Empties the ring for a new generation. Only the server calls this, and only while the ring has neither
    /// producer nor consumer; the swap of the client's word publishes it.
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

// Among the other tests, but a part of this module: it reads what nothing else may.
#[cfg(all(test, not(loom)))]
#[path = "verify/ring_tests.rs"]
mod tests;
