//! How far ahead of its messages a producer zeroes header words.
//!
//! The consumer's processor predicts where the consumer will read, and prefetches the next lines. A word that the producer zeroes
//! among them costs it the journey of a line. Further away, the lines are in no cache that is near. What costs less depends on the
//! processor. docs/performance.md has the measurements.

use crate::layout::FRAME_ALIGN;
use std::sync::atomic::{AtomicU8, Ordering};

/// Distances from the write position, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Zeroing {
    /// When fewer bytes are zeroed ahead, the producer zeroes more.
    pub(super) fewest: u64,
    /// It then zeroes up to this number of bytes ahead.
    pub(super) most: u64,
}

/// A page ahead, beyond the prefetching of Intel's processors. Also for processors that were not measured.
const FAR: Zeroing = lines(60, 64);

/// For AMD's processors.
const NEAR: Zeroing = lines(3, 6);

/// So that a model has few steps.
const SHORT: Zeroing = lines(2, 4);

const fn lines(fewest: u64, most: u64) -> Zeroing {
    Zeroing { fewest: fewest * FRAME_ALIGN, most: most * FRAME_ALIGN }
}

impl Zeroing {
    /// The distances for the processor of this machine.
    pub(super) fn here() -> Self {
        if cfg!(loom) {
            return SHORT;
        }
        // A hypervisor may answer the question, which takes microseconds, so that it is asked once. No lock: a fork would copy it.
        static MAKER: AtomicU8 = AtomicU8::new(UNKNOWN);
        const UNKNOWN: u8 = 0;
        const AMD: u8 = 1;
        const OTHER: u8 = 2;
        let mut maker = MAKER.load(Ordering::Relaxed);
        if maker == UNKNOWN {
            maker = if is_amd() { AMD } else { OTHER };
            MAKER.store(maker, Ordering::Relaxed);
        }
        if maker == AMD {
            NEAR
        } else {
            FAR
        }
    }
}

/// Whether AMD made the processor.
fn is_amd() -> bool {
    #[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), not(miri)))]
    {
        #[cfg(target_arch = "x86")]
        use std::arch::x86::__cpuid;
        #[cfg(target_arch = "x86_64")]
        use std::arch::x86_64::__cpuid;
        #[allow(unused_unsafe)] // Newer compilers call it safe.
        // SAFETY: xshm's systems run on no x86 processor without the instruction.
        let vendor = unsafe { __cpuid(0) };
        [vendor.ebx, vendor.edx, vendor.ecx]
            == [b"Auth", b"enti", b"cAMD"].map(|part| u32::from_le_bytes(*part))
    }
    #[cfg(not(all(any(target_arch = "x86", target_arch = "x86_64"), not(miri))))]
    false
}
