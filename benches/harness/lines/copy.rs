//! The limit of streams: `memcpy` into shared memory on one side, out of it on the other.
//!
//! ```text
//!   flag 0 │ flag 1 │ …        1: full, 0: empty; each on a cache line of its own
//!   slot 0 │ slot 1 │ …        as many messages as fit into 2 MiB, at most 250
//! ```
//!
//! The sender waits for an empty slot, copies into it and marks it full. The receiver waits for a full slot, copies out
//! of it and marks it empty. There are no lengths and no checks, and no side notices that the other is gone.

use super::{Kind, Offer, LONG_RING};
use crate::line::{Line, Outcome};
use crate::region::Region;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};

const SLOTS: usize = xshm::MAX_MESSAGES;
const CACHE_LINE: usize = 64;
const FLAGS: usize = 16 * 1024;
const BYTES: usize = xshm::RING_CAPACITY;
/// Flags and slots of one direction.
const DIRECTION: usize = FLAGS + BYTES;

pub const KIND: Kind = Kind::new(
    "memcpy",
    |shared| {
        let region = Region::create(&format!("{}-copy", shared.base), 2 * DIRECTION)?;
        let (sends, receives) = (Slots::new(region, 0), Slots::new(region, DIRECTION));
        Offer::ready(Copy { sends, receives })
    },
    |shared, _| {
        let name = format!("{}-copy", shared.base);
        let region = Region::open(&name, 2 * DIRECTION)?;
        Region::forget(&name);
        let (sends, receives) = (Slots::new(region, DIRECTION), Slots::new(region, 0));
        Ok(Box::new(Copy { sends, receives }))
    },
);

/// The same with slots for long messages, as many bytes of them as the ring of [`IN_PLACE`](super::IN_PLACE) has. An unused line
/// lies before each slot, where a frame of that ring has its header. So messages have the same places in their pages on both
/// lines, on which the speed of a long `memcpy` depends. Messages go only from the side that offers the line to the other one.
pub const LONG: Kind = Kind::new(
    "memcpy, in and out",
    |shared| {
        let region = Region::create(&format!("{}-long-copy", shared.base), FLAGS + LONG_RING)?;
        Offer::ready(Sends(Slots::long(region)))
    },
    |shared, _| {
        let name = format!("{}-long-copy", shared.base);
        let region = Region::open(&name, FLAGS + LONG_RING)?;
        Region::forget(&name);
        Ok(Box::new(Receives(Slots::long(region))))
    },
);

struct Copy {
    sends: Slots,
    receives: Slots,
}

/// One side's end of one direction.
struct Slots {
    region: Region,
    start: usize,
    /// The bytes of all slots.
    bytes: usize,
    /// The bytes before each slot that are not used.
    gap: usize,
    /// The present length of a message. When it changes, both sides begin again with slot 0.
    size: usize,
    at: usize,
}

impl Slots {
    fn new(region: Region, start: usize) -> Self {
        const { assert!(SLOTS * CACHE_LINE <= FLAGS) };
        Slots { region, start, bytes: BYTES, gap: 0, size: 0, at: 0 }
    }

    fn long(region: Region) -> Self {
        Slots { bytes: LONG_RING, gap: CACHE_LINE, ..Self::new(region, 0) }
    }

    /// Copies a message into the next slot.
    #[inline]
    fn send(&mut self, message: &[u8]) {
        // SAFETY: the slot is in the region, is long enough, and belongs to this side until its flag changes.
        self.turn(message.len(), 0, |slot| unsafe {
            slot.copy_from_nonoverlapping(message.as_ptr(), message.len());
        });
    }

    /// Copies a message out of the next slot.
    #[inline]
    fn receive(&mut self, message: &mut [u8]) {
        // SAFETY: as in `send`.
        self.turn(message.len(), 1, |slot| unsafe {
            slot.copy_to_nonoverlapping(message.as_mut_ptr(), message.len());
        });
    }

    /// Waits until the next slot is in this state, calls `copy` with it, and changes its state.
    #[inline(always)]
    fn turn(&mut self, size: usize, state: u32, copy: impl FnOnce(*mut u8)) {
        if self.size != size {
            (self.size, self.at) = (size, 0);
        }
        let pitch = self.gap + size.next_multiple_of(CACHE_LINE);
        let flag = self.region.at(self.start + self.at * CACHE_LINE).cast::<AtomicU32>();
        // SAFETY: flags are in the region, aligned, and accessed only as atomics.
        let flag = unsafe { &*flag };
        while flag.load(Ordering::Acquire) != state {
            spin_loop();
        }
        copy(self.region.at(self.start + FLAGS + self.at * pitch + self.gap));
        flag.store(1 - state, Ordering::Release);
        self.at += 1;
        if self.at == SLOTS.min(self.bytes / pitch) {
            self.at = 0;
        }
    }
}

impl Line for Copy {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        self.sends.send(message);
        Ok(())
    }

    #[inline]
    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        self.receives.receive(message);
        Ok(())
    }
}

const ONE_WAY: &str = "this line carries messages in the other direction only";

struct Sends(Slots);

impl Line for Sends {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        self.0.send(message);
        Ok(())
    }

    fn receive(&mut self, _: &mut [u8]) -> Outcome<()> {
        Err(ONE_WAY.into())
    }
}

struct Receives(Slots);

impl Line for Receives {
    fn send(&mut self, _: &[u8]) -> Outcome<()> {
        Err(ONE_WAY.into())
    }

    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        self.0.receive(message);
        Ok(())
    }
}
