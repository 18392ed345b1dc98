//! The limit of streams: `memcpy` into shared memory on one side, out of it on the other.
//!
//! ```text
//!   flag 0 │ flag 1 │ …        1: full, 0: empty; each on a cache line of its own
//!   slot 0 │ slot 1 │ …        as many messages as fit into 2 MiB, at most 250
//! ```
//!
//! The sender waits for an empty slot, copies into it and marks it full. The receiver waits for a full slot, copies out
//! of it and marks it empty. There are no lengths and no checks, and no side notices that the other is gone.

use super::{Kind, Offer};
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
        Offer::ready(Copy { sends: Slots::new(region, 0), receives: Slots::new(region, DIRECTION) })
    },
    |shared, _| {
        let name = format!("{}-copy", shared.base);
        let region = Region::open(&name, 2 * DIRECTION)?;
        Region::forget(&name);
        Ok(Box::new(Copy { sends: Slots::new(region, DIRECTION), receives: Slots::new(region, 0) }))
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
    /// The present length of a message. When it changes, both sides begin again with slot 0.
    size: usize,
    at: usize,
}

impl Slots {
    fn new(region: Region, start: usize) -> Self {
        const { assert!(SLOTS * CACHE_LINE <= FLAGS) };
        Slots { region, start, size: 0, at: 0 }
    }

    /// Waits until the next slot is in this state, calls `copy` with it, and changes its state.
    #[inline(always)]
    fn turn(&mut self, size: usize, state: u32, copy: impl FnOnce(*mut u8)) {
        if self.size != size {
            (self.size, self.at) = (size, 0);
        }
        let pitch = size.next_multiple_of(CACHE_LINE);
        let flag = self.region.at(self.start + self.at * CACHE_LINE).cast::<AtomicU32>();
        // SAFETY: flags are in the region, aligned, and accessed only as atomics.
        let flag = unsafe { &*flag };
        while flag.load(Ordering::Acquire) != state {
            spin_loop();
        }
        copy(self.region.at(self.start + FLAGS + self.at * pitch));
        flag.store(1 - state, Ordering::Release);
        self.at += 1;
        if self.at == SLOTS.min(BYTES / pitch) {
            self.at = 0;
        }
    }
}

impl Line for Copy {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        // SAFETY: the slot is in the region, is long enough, and belongs to this side until its flag changes.
        self.sends.turn(message.len(), 0, |slot| unsafe {
            slot.copy_from_nonoverlapping(message.as_ptr(), message.len());
        });
        Ok(())
    }

    #[inline]
    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        // SAFETY: as in `send`.
        self.receives.turn(message.len(), 1, |slot| unsafe {
            slot.copy_to_nonoverlapping(message.as_mut_ptr(), message.len());
        });
        Ok(())
    }
}
