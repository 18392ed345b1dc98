//! A ring in memory of this process, for the ring's unit tests and the models.

use crate::layout::{Lengths, RingHeader};
use crate::ring::{Consumer, Producer, Ring};
use crate::sync::{Arc, AtomicU64};

struct Memory {
    header: Box<RingHeader>,
    words: Box<[AtomicU64]>,
    lengths: Lengths,
    rejects: bool,
}

/// A ring's memory, which lives as long as any of the clones.
#[derive(Clone)]
pub(crate) struct TestRing(Arc<Memory>);

impl TestRing {
    /// Creates a ring of `capacity` bytes for `generation`. Every word except the first looks like a frame header
    /// that an earlier use left there.
    pub(crate) fn new(capacity: u64, generation: u32) -> Self {
        Self::with_lengths(capacity, generation, Lengths::usual(capacity))
    }

    /// As [`new`](Self::new), for messages of these lengths.
    pub(crate) fn with_lengths(capacity: u64, generation: u32, lengths: Lengths) -> Self {
        Self::with(capacity, generation, lengths, false)
    }

    /// As [`new`](Self::new), for a channel that rejects when full.
    pub(crate) fn rejecting(capacity: u64, generation: u32) -> Self {
        Self::with(capacity, generation, Lengths::usual(capacity), true)
    }

    fn with(capacity: u64, generation: u32, lengths: Lengths, rejects: bool) -> Self {
        let words = (0..capacity / 8).map(|_| AtomicU64::new(0x2222_2222_2211_0010)).collect();
        let header = Box::new(RingHeader::default());
        let ring = TestRing(Arc::new(Memory { header, words, lengths, rejects }));
        ring.ring().reset(generation);
        ring
    }

    /// Creates a [`Ring`] on this memory. The caller keeps a clone of `self` as long as it uses the ring.
    pub(crate) fn ring(&self) -> Ring {
        let base = self.words().as_ptr();
        // SAFETY: the header and the words are initialised, and the words have `capacity` bytes. The caller keeps them
        // alive. The tests' capacities are powers of two.
        unsafe {
            Ring::new(self.header(), base, self.words().len() as u64 * 8, self.0.lengths, self.0.rejects)
        }
    }

    pub(crate) fn header(&self) -> &RingHeader {
        &self.0.header
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        &self.0.words
    }

    /// Returns a producer and a consumer of this ring.
    pub(crate) fn pair(&self, message_limit: usize, generation: u32) -> (Producer, Consumer) {
        (Producer::new(self.ring(), message_limit, generation), Consumer::new(self.ring(), generation))
    }
}
