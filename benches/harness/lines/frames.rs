//! The least that a message through memory takes: frames such as xshm's, without its checks.
//!
//! ```text
//!   header │ payload │ pad to 64 bytes ║ header │ …      2 MiB, over and over
//! ```
//!
//! The sender writes the payload, then the header, and zeroes the next headers a little ahead. The receiver spins on the
//! header that it expects, and copies the payload out. Nothing is checked or counted, and neither side can sleep or
//! leave. Messages consist of whole words. In round trips the sender does not look for room, and the receiver stores no
//! position. In streams the receiver stores its position, and the sender reads it when it has come round. A stream has
//! one message at a time, or several are shown together: the header of the first one is written last.

use super::{Kind, Offer};
use crate::cores;
use crate::line::{Line, Outcome};
use crate::region::Region;
use crate::side::Shared;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};

const BYTES: usize = xshm::RING_CAPACITY;
const FRAME_ALIGN: usize = 64;
const WORD: usize = 8;

/// Two rings, and after each of them a cache line for the receiver's position.
const REGION: usize = 2 * (BYTES + FRAME_ALIGN);
const BACK: usize = REGION / 2;

/// The number of messages that xshm publishes together in a batch.
pub const TOGETHER: usize = 16;

pub const KIND: Kind = kind::<0>("bare frames");
pub const TAKEN: Kind = kind::<1>("bare frames, taken");
pub const TAKEN_TOGETHER: Kind = kind::<TOGETHER>("bare frames, taken together");

/// `SHOWN`: the number of messages of a stream that are shown together. Zero: the receiver stores no position.
const fn kind<const SHOWN: usize>(name: &'static str) -> Kind {
    Kind::new(
        name,
        |shared| {
            let region = Region::create(&file::<SHOWN>(shared), REGION)?;
            let (sends, receives) = (Ring::new(region, 0), Ring::new(region, BACK));
            Offer::ready(Frames::<SHOWN> { sends, receives })
        },
        |shared, _| {
            let name = file::<SHOWN>(shared);
            let region = Region::open(&name, REGION)?;
            Region::forget(&name);
            let (sends, receives) = (Ring::new(region, BACK), Ring::new(region, 0));
            Ok(Box::new(Frames::<SHOWN> { sends, receives }))
        },
    )
}

/// The bytes of a frame whose payload has `len` bytes.
fn frame(len: usize) -> usize {
    (WORD + len).next_multiple_of(FRAME_ALIGN)
}

fn file<const SHOWN: usize>(shared: &Shared) -> String {
    format!("{}-frames-{SHOWN}", shared.base)
}

struct Frames<const SHOWN: usize> {
    sends: Ring,
    receives: Ring,
}

/// One side's end of one direction.
struct Ring {
    region: Region,
    start: usize,
    position: usize,
    sequence: u64,
    zeroed: usize,
    /// The distances at which xshm zeroes headers on this processor: the fewest bytes that it leaves zeroed, and the most.
    ahead: [usize; 2],
    /// The position and the value of a header that is not written yet. `hidden`: the number of messages from it on.
    first: (usize, u64),
    hidden: usize,
    /// The receiver's position when the sender last looked.
    taken: usize,
}

impl Ring {
    fn new(region: Region, start: usize) -> Self {
        Ring {
            region,
            start,
            position: 0,
            sequence: 1,
            zeroed: FRAME_ALIGN,
            ahead: (if cores::is_amd() { [3, 6] } else { [60, 64] }).map(|lines| lines * FRAME_ALIGN),
            first: (0, 0),
            hidden: 0,
            taken: 0,
        }
    }

    #[inline(always)]
    fn word(&self, position: usize) -> &'static AtomicU64 {
        // SAFETY: the position is reduced to the ring, is a word's, and the region stays; all accesses are atomic.
        unsafe { &*self.region.at(self.start + position % BYTES).cast() }
    }

    /// The word with the receiver's position.
    fn place(&self) -> &'static AtomicU64 {
        // SAFETY: the region has a cache line for it after the ring; otherwise as in `word`.
        unsafe { &*self.region.at(self.start + BYTES).cast() }
    }

    fn header(&self, len: usize) -> u64 {
        self.sequence << 16 | len as u64
    }

    /// Publishes the hidden messages.
    fn show(&mut self) {
        let (at, header) = self.first;
        if self.hidden > 0 {
            self.word(at).store(header, Ordering::Release);
            self.hidden = 0;
        }
    }

    fn advance(&mut self, len: usize) {
        self.position += frame(len);
        self.sequence += 1;
    }
}

impl<const SHOWN: usize> Line for Frames<SHOWN> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        let ring = &mut self.sends;
        let (at, header) = (ring.position, ring.header(message.len()));
        let [fewest, most] = ring.ahead;
        if SHOWN > 0 {
            // Headers that are zeroed ahead must not be unread either.
            let end = at + frame(message.len()) + most;
            if end - ring.taken > BYTES {
                ring.show();
            }
            while end - ring.taken > BYTES {
                ring.taken = ring.place().load(Ordering::Acquire) as usize;
            }
        }
        for (index, chunk) in message.chunks_exact(WORD).enumerate().rev() {
            let word = u64::from_ne_bytes(chunk.try_into()?);
            ring.word(at + WORD + index * WORD).store(word, Ordering::Relaxed);
        }
        ring.advance(message.len());
        if ring.zeroed <= ring.position {
            ring.word(ring.position).store(0, Ordering::Relaxed);
            ring.zeroed = ring.position + FRAME_ALIGN;
        }
        if SHOWN > 1 {
            if ring.hidden == 0 {
                ring.first = (at, header);
            } else {
                ring.word(at).store(header, Ordering::Relaxed);
            }
            ring.hidden += 1;
            if ring.hidden == SHOWN {
                ring.show();
            }
        } else {
            ring.word(at).store(header, Ordering::Release);
        }
        if ring.zeroed < ring.position + fewest {
            while ring.zeroed < ring.position + most {
                ring.word(ring.zeroed).store(0, Ordering::Relaxed);
                ring.zeroed += FRAME_ALIGN;
            }
        }
        Ok(())
    }

    fn show(&mut self) {
        self.sends.show();
    }

    #[inline]
    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        let ring = &mut self.receives;
        let (at, header) = (ring.position, ring.header(message.len()));
        while ring.word(at).load(Ordering::Acquire) != header {
            spin_loop();
        }
        for (index, chunk) in message.chunks_exact_mut(WORD).enumerate() {
            let word = ring.word(at + WORD + index * WORD).load(Ordering::Relaxed);
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        ring.advance(message.len());
        if SHOWN > 0 {
            ring.place().store(ring.position as u64, Ordering::Release);
        }
        Ok(())
    }
}
