//! What the ring's unit tests and the models share: a ring in memory of this process.

use crate::layout::RingHeader;
use crate::ring::{Consumer, Producer, Ring};
use crate::sync::{Arc, AtomicU64};

struct Memory {
    header: Box<RingHeader>,
    words: Box<[AtomicU64]>,
}

/// A ring's memory, which lives as long as any of the clones.
#[derive(Clone)]
pub(crate) struct TestRing(Arc<Memory>);

impl TestRing {
    /// A ring of `capacity` bytes, which all hold what an earlier use might have left there, ready for `generation`.
    pub(crate) fn new(capacity: u64, generation: u32) -> Self {
        let words = (0..capacity / 8).map(|_| AtomicU64::new(0x2222_2222_2211_0010)).collect();
        let header = Box::new(RingHeader::default());
        let ring = TestRing(Arc::new(Memory { header, words }));
        ring.ring().reset(generation);
        ring
    }

    /// The tests' only way to a [`Ring`]: the caller keeps a clone of `self` next to the ring.
    pub(crate) fn ring(&self) -> Ring {
        let base = self.words().as_ptr();
        // SAFETY: header and words are initialised, and there are as many words as the capacity says; the callers
        // keep them alive. The tests' capacities are powers of two.
        unsafe { Ring::new(self.header(), base, self.words().len() as u64 * 8) }
    }

    pub(crate) fn header(&self) -> &RingHeader {
        &self.0.header
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        &self.0.words
    }

    pub(crate) fn ends(&self, message_limit: usize, generation: u32) -> (Producer, Consumer) {
        (Producer::new(self.ring(), message_limit, generation), Consumer::new(self.ring(), generation))
    }
}
