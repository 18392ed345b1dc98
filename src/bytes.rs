//! The only code that touches payload bytes in shared memory.
//!
//! The other process may write any byte at any time, also while it is being copied. A plain copy would then be a
//! data race, which is undefined behaviour, however little the result matters. So memory is read and written here
//! in whole, aligned, relaxed atomic 8-byte words, or in assembly (`copy_blocks`), never through a slice or a reference to
//! plain bytes. What a copy yields may be torn; the ring finds that out afterwards and drops it (see [`crate::ring`]).
//!
//! A frame is contiguous and starts at an aligned place, so that a copy never wraps and never needs to begin in the
//! middle of a word. The last word of a payload is padded with zeros.

use crate::sync::{AtomicU64, Ordering};
use std::mem::size_of;

/// Bytes in a word, in the ring's own counting (loom's words are larger in memory).
pub(crate) const WORD: usize = size_of::<u64>();

/// Payloads of up to this number of words are copied in words, and written backwards; longer ones in blocks.
const BACKWARDS: usize = 128;

/// Words in a line.
const LINE: usize = 8;

/// Calls one of the copies below for a number of words that is known only now, at most as many as a line has. A loop
/// would end after as many rounds as the payload has words, which no processor foresees after a while of spinning; and
/// to be wrong about it takes longer than all of the copying.
macro_rules! for_count {
    ($count:expr, $copy:ident($from:expr, $to:expr)) => {
        match $count {
            1 => $copy::<1>($from, $to),
            2 => $copy::<2>($from, $to),
            3 => $copy::<3>($from, $to),
            4 => $copy::<4>($from, $to),
            5 => $copy::<5>($from, $to),
            6 => $copy::<6>($from, $to),
            7 => $copy::<7>($from, $to),
            8 => $copy::<8>($from, $to),
            _ => {}
        }
    };
}

/// Writes `count` words, the last one first.
///
/// # Safety
/// `from` is valid for reads of as many, and `to` points to as many.
#[inline(always)]
unsafe fn write_words<const COUNT: usize>(from: *const u8, to: *const AtomicU64) {
    for at in (0..COUNT).rev() {
        // SAFETY: `at` is below the count.
        unsafe { (*to.add(at)).store(from.add(at * WORD).cast::<u64>().read_unaligned(), Ordering::Relaxed) };
    }
}

/// Reads `count` words.
///
/// # Safety
/// `from` points to as many, and `to` is valid for writes of as many, and is not in shared memory.
#[inline(always)]
unsafe fn read_words<const COUNT: usize>(from: *const AtomicU64, to: *mut u8) {
    for at in 0..COUNT {
        // SAFETY: `at` is below the count.
        unsafe { to.add(at * WORD).cast::<u64>().write_unaligned((*from.add(at)).load(Ordering::Relaxed)) };
    }
}

/// The word that a payload ends with where it isn't full: of fewer than eight bytes, and zeros. Four, two and one of them
/// at a time, since it's likely that they were written so; what was written piecemeal and is read at once is late.
#[inline(always)]
fn last_word(bytes: &[u8]) -> u64 {
    let (mut word, mut at) = (0, 0);
    if bytes.len() & 4 != 0 {
        word = u64::from(u32::from_le_bytes(bytes[..4].try_into().expect("four")));
        at = 4;
    }
    if bytes.len() & 2 != 0 {
        word |= u64::from(u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two"))) << (8 * at);
        at += 2;
    }
    if bytes.len() & 1 != 0 {
        word |= u64::from(bytes[at]) << (8 * at);
    }
    word.to_le()
}

/// Puts the first bytes of such a word, of which there are `len`, fewer than eight.
///
/// # Safety
/// `to` is valid for writes of that number of words.
#[inline(always)]
unsafe fn put_last(word: u64, mut to: *mut u8, len: usize) {
    let mut rest = u64::from_le(word);
    // SAFETY: these are `len` bytes together.
    unsafe {
        if len & 4 != 0 {
            to.cast::<[u8; 4]>().write((rest as u32).to_le_bytes());
            (to, rest) = (to.add(4), rest >> 32);
        }
        if len & 2 != 0 {
            to.cast::<[u8; 2]>().write((rest as u16).to_le_bytes());
            (to, rest) = (to.add(2), rest >> 16);
        }
        if len & 1 != 0 {
            to.write(rest as u8);
        }
    }
}

/// A ring's data area: a power of two of words, addressed by positions that only grow.
pub(crate) struct Words {
    base: *const AtomicU64,
    /// Capacity in bytes less one; the capacity is a power of two.
    mask: u64,
}

// SAFETY: the words are atomics; who may touch which word when is the ring's protocol, not a matter of threads.
unsafe impl Send for Words {}

impl Words {
    /// # Safety
    /// - `base` points to `capacity / 8` initialised words, aligned to 8 bytes.
    /// - They stay mapped for as long as the value lives.
    /// - `capacity` is a power of two and at least 8.
    pub(crate) unsafe fn new(base: *const AtomicU64, capacity: u64) -> Self {
        debug_assert!(capacity.is_power_of_two() && capacity >= WORD as u64);
        Words { base, mask: capacity - 1 }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// Where in the ring a position is, in bytes from its start.
    #[inline(always)]
    pub(crate) fn index(&self, position: u64) -> u64 {
        position & self.mask
    }

    /// Bytes from a position up to the ring's end.
    #[inline(always)]
    pub(crate) fn left(&self, position: u64) -> u64 {
        self.capacity() - self.index(position)
    }

    /// The word at a position. Any position is in bounds, since it is masked.
    #[inline(always)]
    pub(crate) fn at(&self, position: u64) -> &AtomicU64 {
        let word = (self.index(position) / WORD as u64) as usize;
        // SAFETY: masked, the index is below the capacity, whose words `new` was promised.
        unsafe { &*self.base.add(word) }
    }

    /// Asks for the line of a position, which will be written to. On x86-64; elsewhere nothing, since it was not measured there.
    #[inline(always)]
    pub(crate) fn fetch_to_write(&self, position: u64) {
        // Windows, from 8.1 on, runs on no 64-bit processor without the instruction. Elsewhere those that lack it pass
        // over it, save the very first ones, of 2004.
        #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom))))]
        // SAFETY: a hint, which changes no memory and no flags and does not fault; the address is in bounds besides.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) self.at(position), options(nostack, preserves_flags, readonly));
        }
        #[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom)))))]
        let _ = position;
    }

    /// Copies a payload into the ring, relaxed.
    #[inline]
    pub(crate) fn write(&self, position: u64, bytes: &[u8]) {
        let words = self.run(position, bytes.len());
        let (full, tail) = (bytes.len() / WORD, bytes.len() % WORD);
        if tail > 0 {
            words[full].store(last_word(&bytes[full * WORD..]), Ordering::Relaxed);
        }
        let (from, to) = (bytes.as_ptr(), words.as_ptr());
        // SAFETY: `words` holds the whole payload, `bytes` is as long, and what is copied are its full words. They don't
        // overlap: the place is free, and what a caller may have borrowed of the section is not.
        unsafe {
            if full <= LINE {
                for_count!(full, write_words(from, to));
                return;
            }
            // From the end to the start, see `Producer::push_some`; but long ones by blocks, where there are any, the way
            // that processors foresee.
            let copied = if full <= BACKWARDS {
                0
            } else {
                copy_blocks(from, to.cast::<u8>().cast_mut(), bytes.len()) / WORD
            };
            let lines = full / LINE * LINE;
            for_count!(full - lines, write_words(from.add(lines * WORD), to.add(lines)));
            for at in (copied..lines).step_by(LINE).rev() {
                write_words::<LINE>(from.add(at * WORD), to.add(at));
            }
        }
    }

    /// Copies bytes to anywhere in a place that was reserved. A word that they fill in part keeps its other bytes: no other code
    /// else writes there.
    pub(crate) fn write_part(&self, position: u64, bytes: &[u8]) {
        let mut at = position;
        let mut rest = bytes;
        while !rest.is_empty() {
            let from = (at % WORD as u64) as usize;
            let (part, after) = rest.split_at(rest.len().min(WORD - from));
            let word = self.at(at);
            let mut value = word.load(Ordering::Relaxed).to_ne_bytes();
            value[from..from + part.len()].copy_from_slice(part);
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
            at = at.wrapping_add(part.len() as u64);
            rest = after;
        }
    }

    /// Where `len` bytes from `position` on lie in memory, for those who trust the other side.
    ///
    /// # Panics
    /// As `run`.
    #[cfg(not(loom))]
    pub(crate) fn place(&self, position: u64, len: usize) -> *mut u8 {
        self.run(position, len).as_ptr().cast::<u8>().cast_mut()
    }

    /// Copies `len` bytes out of the ring, relaxed. The copy may be torn.
    ///
    /// # Safety
    /// `to` is valid for writes of `len` bytes, and is not in shared memory.
    #[inline]
    pub(crate) unsafe fn read(&self, position: u64, to: *mut u8, len: usize) {
        let words = self.run(position, len);
        let (full, tail) = (len / WORD, len % WORD);
        let from = words.as_ptr();
        // SAFETY: `words` holds `len` bytes, `to` has room for them outside of the section, and what is copied are the full
        // words.
        unsafe {
            if full <= LINE {
                for_count!(full, read_words(from, to));
            } else {
                let copied = if full <= BACKWARDS { 0 } else { copy_blocks(from.cast(), to, len) / WORD };
                let lines = full / LINE * LINE;
                for at in (copied..lines).step_by(LINE) {
                    read_words::<LINE>(from.add(at), to.add(at * WORD));
                }
                for_count!(full - lines, read_words(from.add(lines), to.add(lines * WORD)));
            }
        }
        if tail > 0 {
            let last = words[full].load(Ordering::Relaxed);
            // SAFETY: `full * 8 + tail` is `len`.
            unsafe { put_last(last, to.add(full * WORD), tail) };
        }
    }

    /// The words that hold `len` bytes from `position` on.
    ///
    /// # Panics
    /// When they would run over the ring's end. Callers have checked that they don't; this is the second lock.
    #[inline(always)]
    fn run(&self, position: u64, len: usize) -> &[AtomicU64] {
        let index = self.index(position);
        assert!(len as u64 <= self.left(position), "a frame runs over its ring's end");
        // SAFETY: the range was just checked to lie within the words that `new` was promised. A slice of atomics
        // may be shared with writers elsewhere.
        unsafe { std::slice::from_raw_parts(self.base.add(index as usize / WORD), len.div_ceil(WORD)) }
    }
}

/// Copies whole blocks of 64 bytes from the start on, with the widest loads and stores that every x86-64 processor has,
/// and says how many bytes these are. Elsewhere none: the caller copies what is left by words.
///
/// In assembly, of which the compiler knows no more than that it touches memory: so it is no data race in the language's
/// sense, whatever the other process does meanwhile, and a torn block is found out like a torn word. The order of the
/// accesses is that of relaxed words: x86 keeps stores in order, and the compiler moves nothing across.
///
/// # Safety
/// - `from` is valid for reads of `len` bytes, `to` for writes; the two don't overlap.
/// - Of the section, nothing is touched that is not words of a payload.
#[inline(always)]
unsafe fn copy_blocks(from: *const u8, to: *mut u8, len: usize) -> usize {
    #[cfg(all(
        target_arch = "x86_64",
        target_pointer_width = "64",
        not(any(miri, loom, fuzzing, xshm_words))
    ))]
    {
        const BLOCK: usize = 64;
        let whole = len / BLOCK * BLOCK;
        if whole > 0 {
            // SAFETY: from `whole` before the ends up to them, by blocks: within the bytes promised. The registers are
            // named, and no stack is used.
            unsafe {
                std::arch::asm!(
                    "2:",
                    "movups {a}, [{from} + {at}]",
                    "movups {b}, [{from} + {at} + 16]",
                    "movups {c}, [{from} + {at} + 32]",
                    "movups {d}, [{from} + {at} + 48]",
                    "movups [{to} + {at}], {a}",
                    "movups [{to} + {at} + 16], {b}",
                    "movups [{to} + {at} + 32], {c}",
                    "movups [{to} + {at} + 48], {d}",
                    "add {at}, 64",
                    "jnz 2b",
                    a = out(xmm_reg) _,
                    b = out(xmm_reg) _,
                    c = out(xmm_reg) _,
                    d = out(xmm_reg) _,
                    from = in(reg) from.add(whole),
                    to = in(reg) to.add(whole),
                    at = inout(reg) (whole as isize).wrapping_neg() => _,
                    options(nostack),
                );
            }
        }
        whole
    }
    #[cfg(not(all(
        target_arch = "x86_64",
        target_pointer_width = "64",
        not(any(miri, loom, fuzzing, xshm_words))
    )))]
    {
        let _ = (from, to, len);
        0
    }
}

/// Where received messages go.
pub(crate) trait Destination {
    /// Whether it takes several messages at once.
    const SEVERAL: bool = false;

    /// A place for the first message, of `len` bytes, or `None` where there's no room. What it held before is gone.
    fn room(&mut self, len: usize) -> Option<*mut u8>;

    /// A place for one more message, behind those before, which are written.
    fn more_room(&mut self, _len: usize) -> Option<*mut u8> {
        None
    }

    /// The places given since the last call of `room`, that one's included, are what was received: `len` bytes, all
    /// of them.
    ///
    /// # Safety
    /// Each of those places has been written, and they have `len` bytes together.
    unsafe fn commit(&mut self, len: usize);
}

impl Destination for Vec<u8> {
    fn room(&mut self, len: usize) -> Option<*mut u8> {
        self.clear();
        self.reserve(len);
        Some(self.as_mut_ptr())
    }

    unsafe fn commit(&mut self, len: usize) {
        // SAFETY: `room` reserved `len` bytes, and the caller says that they are written.
        unsafe { self.set_len(len) }
    }
}

impl Destination for &mut [u8] {
    fn room(&mut self, len: usize) -> Option<*mut u8> {
        (len <= self.len()).then_some(self.as_mut_ptr())
    }

    unsafe fn commit(&mut self, _len: usize) {}
}

/// Room for several messages: one behind the other in `bytes`, the end of each in `ends`.
pub(crate) struct Several<'a> {
    pub(crate) bytes: &'a mut [u8],
    pub(crate) ends: &'a mut Vec<usize>,
    /// The most messages that it takes.
    pub(crate) limit: usize,
}

impl Destination for Several<'_> {
    const SEVERAL: bool = true;

    fn room(&mut self, len: usize) -> Option<*mut u8> {
        self.ends.clear();
        self.more_room(len)
    }

    fn more_room(&mut self, len: usize) -> Option<*mut u8> {
        let start = self.ends.last().copied().unwrap_or(0);
        let place = self.bytes.get_mut(start..start + len)?;
        if self.ends.len() == self.limit {
            return None;
        }
        self.ends.push(start + len);
        Some(place.as_mut_ptr())
    }

    unsafe fn commit(&mut self, _len: usize) {}
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Arc;

    // Not a box: one that moves claims its memory for itself alone.
    fn words(capacity: u64) -> (Arc<[AtomicU64]>, Words) {
        let memory: Arc<[AtomicU64]> =
            (0..capacity as usize / WORD).map(|_| AtomicU64::new(u64::MAX)).collect();
        // SAFETY: the memory is returned along with the view, and is as long as it says.
        let view = unsafe { Words::new(memory.as_ptr(), capacity) };
        (memory, view)
    }

    #[test]
    fn every_length_comes_back_as_it_was() {
        let (_memory, words) = words(128);
        for len in 0..=64 {
            let message: Vec<u8> = (0..len as u8).map(|byte| byte ^ 0x5a).collect();
            words.write(64, &message);
            let mut copy = Vec::new();
            let to = copy.room(len).unwrap();
            // SAFETY: `room` gave a place of `len` bytes, and `read` writes all of them.
            unsafe {
                words.read(64 + 128 * 3, to, len);
                copy.commit(len);
            }
            assert_eq!(copy, message);
        }
    }

    /// Also by blocks, from and to any place, up to the very end of the ring, and nothing beyond.
    #[test]
    fn long_ones_come_back_as_they_were() {
        const CAPACITY: usize = 131_072;
        let (_memory, words) = words(CAPACITY as u64);
        let lengths = (255_usize..400).chain([511, 512, 513, 4096, 65_535]);
        for (len, offset) in lengths.flat_map(|len| [0, 1, 7, 8, 15].map(|offset| (len, offset))) {
            if cfg!(miri) && (len + offset) % 16 != 0 {
                continue;
            }
            let message: Vec<u8> = (0..offset + len).map(|at| (at * 7 + len) as u8).collect();
            let at = (CAPACITY - len.next_multiple_of(WORD)) as u64;
            words.at(at - 8).store(u64::MAX, Ordering::Relaxed);
            words.at(0).store(u64::MAX, Ordering::Relaxed);
            words.write(at, &message[offset..]);
            let mut copy = vec![0xa5_u8; offset + len + 64];
            // SAFETY: `len` bytes of the copy from `offset` on are there, and more.
            unsafe { words.read(at, copy.as_mut_ptr().add(offset), len) };
            assert!(copy[..offset].iter().chain(&copy[offset + len..]).all(|byte| *byte == 0xa5));
            assert_eq!(copy[offset..offset + len], message[offset..]);
            let around = [at - 8, 0].map(|at| words.at(at).load(Ordering::Relaxed));
            assert_eq!(around, [u64::MAX; 2]);
        }
    }

    #[test]
    fn a_short_tail_is_padded_and_nothing_else_is_touched() {
        let (memory, words) = words(64);
        words.write(8, &[1, 2, 3]);
        assert_eq!(memory[1].load(Ordering::Relaxed).to_ne_bytes(), [1, 2, 3, 0, 0, 0, 0, 0]);
        assert_eq!(memory[0].load(Ordering::Relaxed), u64::MAX);
        assert_eq!(memory[2].load(Ordering::Relaxed), u64::MAX);
    }

    #[test]
    fn a_part_leaves_the_rest_as_it_was() {
        let (memory, words) = words(64);
        let mut expected = [0xff_u8; 64];
        for (at, len) in [(0, 1), (3, 2), (7, 9), (17, 0), (20, 4), (24, 8), (33, 30), (63, 1)] {
            let part: Vec<u8> = (1..=len as u8).collect();
            words.write_part(at + 128, &part);
            expected[at as usize..at as usize + len].copy_from_slice(&part);
            let found: Vec<u8> =
                memory.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    #[should_panic(expected = "its ring's end")]
    fn a_run_over_the_end_is_refused() {
        let (_memory, words) = words(64);
        words.write(56, &[0; 9]);
    }

    #[test]
    fn a_slice_takes_what_fits_only() {
        let mut space = [0_u8; 4];
        let mut slice = &mut space[..];
        assert!(slice.room(4).is_some());
        assert!(slice.room(5).is_none());
    }

    #[test]
    fn several_take_what_fits_and_no_more_than_they_may() {
        let (mut bytes, mut ends) = ([0_u8; 8], Vec::new());
        let mut several = Several { bytes: &mut bytes, ends: &mut ends, limit: 3 };
        assert!(several.room(9).is_none());
        assert!(several.room(4).is_some());
        assert!(several.more_room(5).is_none());
        assert!(several.more_room(2).is_some() && several.more_room(2).is_some());
        assert!(several.more_room(0).is_none());
        assert_eq!(several.ends, &[4, 6, 8]);
        // Begun anew.
        assert!(several.room(8).is_some());
        assert_eq!(several.ends, &[8]);
    }
}
