//! The only code that touches payload bytes in shared memory.
//!
//! The other process may write any byte at any time, also while this process copies it. A plain copy would then be a
//! data race, which is undefined behaviour even if the program discards the result. So this module reads and writes
//! shared memory in whole, aligned, relaxed atomic 8-byte words, or in assembly (`copy_blocks`), never through a
//! slice or a reference to plain bytes. A copy may be torn. The ring finds that out afterwards and discards the copy
//! (see [`crate::ring`]).
//!
//! A frame is contiguous and its position is aligned, so that a copy never wraps and never begins in the middle of a
//! word. The last word of a payload is padded with zeros.

use crate::sync::{AtomicU64, Ordering};
use std::mem::size_of;

/// The number of bytes in a word of the ring. (loom's words hold as many, but are larger in memory.)
pub(crate) const WORD: usize = size_of::<u64>();

/// Payloads of up to this number of words are copied word by word, and written from the end to the start. Longer ones
/// are copied in blocks.
const BACKWARDS: usize = 128;

/// The number of words in a cache line.
const LINE: usize = 8;

/// Calls one of the copies below for a number of words that is known only at run time, up to the words of one line.
///
/// A loop would end after a number of rounds that depends on the payload. After some time of spinning, no processor
/// predicts this number, and a wrong prediction takes longer than the whole copy.
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

/// Writes `COUNT` words, the last one first.
///
/// # Safety
/// `from` is valid for reads of `COUNT` words, and `to` points to `COUNT` words.
#[inline(always)]
unsafe fn write_words<const COUNT: usize>(from: *const u8, to: *const AtomicU64) {
    for at in (0..COUNT).rev() {
        // SAFETY: `at` is below the count.
        unsafe { (*to.add(at)).store(from.add(at * WORD).cast::<u64>().read_unaligned(), Ordering::Relaxed) };
    }
}

/// Reads `COUNT` words.
///
/// # Safety
/// `from` points to `COUNT` words. `to` is valid for writes of `COUNT` words, and is not in shared memory.
#[inline(always)]
unsafe fn read_words<const COUNT: usize>(from: *const AtomicU64, to: *mut u8) {
    for at in 0..COUNT {
        // SAFETY: `at` is below the count.
        unsafe { to.add(at * WORD).cast::<u64>().write_unaligned((*from.add(at)).load(Ordering::Relaxed)) };
    }
}

/// Returns the last word of a payload that does not fill it: 1 to 7 bytes, then zeros.
///
/// Reads 4, 2 and 1 bytes at a time, since the caller has probably written them in such pieces. A processor is slow to
/// read at once what was just written in several pieces.
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

/// Writes the first `len` bytes of a payload's last word to `to`. `len` is less than 8.
///
/// # Safety
/// `to` is valid for writes of `len` bytes.
#[inline(always)]
unsafe fn put_last(word: u64, mut to: *mut u8, len: usize) {
    let mut rest = u64::from_le(word);
    // SAFETY: the writes have `len` bytes in total.
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

/// A ring's data area: words whose number is a power of two, addressed by positions that only grow.
pub(crate) struct Words {
    base: *const AtomicU64,
    /// The capacity in bytes minus 1. The capacity is a power of two.
    mask: u64,
}

// SAFETY: the words are atomics, which any thread may access. The ring's protocol decides which side accesses which
// word.
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

    /// Returns a position's offset in the ring, in bytes.
    #[inline(always)]
    pub(crate) fn index(&self, position: u64) -> u64 {
        position & self.mask
    }

    /// Returns the number of bytes from a position up to the ring's end.
    #[inline(always)]
    pub(crate) fn left(&self, position: u64) -> u64 {
        self.capacity() - self.index(position)
    }

    /// Returns the word at a position. Every position is in bounds, since it is masked.
    #[inline(always)]
    pub(crate) fn at(&self, position: u64) -> &AtomicU64 {
        let word = (self.index(position) / WORD as u64) as usize;
        // SAFETY: the masked index is below the capacity, and the caller of `new` promised that many bytes of words.
        unsafe { &*self.base.add(word) }
    }

    /// Prefetches the cache line of a position for writing. Does so on x86-64 only; on other processors the effect was
    /// not measured, and the function does nothing.
    #[inline(always)]
    pub(crate) fn fetch_to_write(&self, position: u64) {
        // 64-bit Windows 8.1 and later runs only on processors that have the instruction. Under other systems,
        // processors without it ignore it, except the first ones, of 2004.
        #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom))))]
        // SAFETY: the instruction is a hint. It changes no memory and no flags, and never faults. The address is in
        // bounds.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) self.at(position), options(nostack, preserves_flags, readonly));
        }
        #[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom)))))]
        let _ = position;
    }

    /// Copies a payload into the ring, by relaxed stores.
    ///
    /// # Panics
    /// Panics if the payload would cross the ring's end, as `run` does.
    #[inline]
    pub(crate) fn write(&self, position: u64, bytes: &[u8]) {
        let words = self.run(position, bytes.len());
        let (full, tail) = (bytes.len() / WORD, bytes.len() % WORD);
        if tail > 0 {
            words[full].store(last_word(&bytes[full * WORD..]), Ordering::Relaxed);
        }
        let (from, to) = (bytes.as_ptr(), words.as_ptr());
        // SAFETY: `words` and `bytes` each hold the whole payload, of which the full words are copied. The two do not
        // overlap: `words` is free room, and the bytes of the section that a caller may have borrowed are not free.
        unsafe {
            if full <= LINE {
                for_count!(full, write_words(from, to));
                return;
            }
            // From the end to the start, for the reason in `Producer::push_some`. Long payloads are copied in blocks,
            // on processors that have `copy_blocks`, from the start to the end, which the processor predicts best.
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

    /// Copies bytes to any position within reserved room. A word that they fill only in part keeps its other bytes.
    /// This needs no atomic update, since no other code writes there.
    pub(crate) fn write_part(&self, position: u64, bytes: &[u8]) {
        let before = (position.wrapping_neg() % WORD as u64) as usize;
        let (head, rest) = bytes.split_at(before.min(bytes.len()));
        let (words, tail) = rest.split_at(rest.len() / WORD * WORD);
        self.write_bytes(position, head);
        let position = position.wrapping_add(head.len() as u64);
        if !words.is_empty() {
            self.write(position, words);
        }
        self.write_bytes(position.wrapping_add(words.len() as u64), tail);
    }

    /// Copies bytes into one word, which keeps its other bytes.
    fn write_bytes(&self, position: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let from = (position % WORD as u64) as usize;
        let word = self.at(position);
        let mut value = word.load(Ordering::Relaxed).to_ne_bytes();
        value[from..from + bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
    }

    /// Returns the address of `len` bytes from `position` on. Only for callers that trust the other side.
    ///
    /// # Panics
    /// Panics if the bytes cross the ring's end, as `run` does.
    #[cfg(not(loom))]
    pub(crate) fn address(&self, position: u64, len: usize) -> *mut u8 {
        self.run(position, len).as_ptr().cast::<u8>().cast_mut()
    }

    /// Copies `len` bytes out of the ring, by relaxed loads. The copy may be torn.
    ///
    /// # Safety
    /// `to` is valid for writes of `len` bytes, and is not in shared memory.
    #[inline]
    pub(crate) unsafe fn read(&self, position: u64, to: *mut u8, len: usize) {
        let words = self.run(position, len);
        let (full, tail) = (len / WORD, len % WORD);
        let from = words.as_ptr();
        // SAFETY: `words` holds `len` bytes, of which the full words are copied. `to` has room for them outside the
        // section.
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

    /// Returns the words that hold `len` bytes from `position` on.
    ///
    /// # Panics
    /// Panics if the bytes cross the ring's end. Every caller has checked that they do not; this is a second check.
    #[inline(always)]
    fn run(&self, position: u64, len: usize) -> &[AtomicU64] {
        let index = self.index(position);
        assert!(len as u64 <= self.left(position), "a frame runs over its ring's end");
        // SAFETY: the assertion shows that the range is within the words that the caller of `new` promised. Other
        // writers may share a slice of atomics.
        unsafe { std::slice::from_raw_parts(self.base.add(index as usize / WORD), len.div_ceil(WORD)) }
    }
}

/// Copies whole blocks of 64 bytes from the start on, with the widest loads and stores that every x86-64 processor has.
/// Returns the number of bytes copied, which is 0 on other processors. The caller copies the rest word by word.
///
/// The code is assembly, of which the compiler knows only that it accesses memory. So it is no data race in the
/// language's sense, whatever the other process does meanwhile. The ring finds a torn block out like a torn word. The
/// accesses are ordered like those of relaxed words: x86 keeps stores in order, and the compiler moves no access across
/// the assembly.
///
/// # Safety
/// - `from` is valid for reads of `len` bytes, `to` for writes; the two don't overlap.
/// - The range in the section consists of words of one payload.
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
            // SAFETY: the blocks cover the first `whole` bytes, which are within the `len` bytes that the caller
            // promised. All registers that change are declared, and the code uses no stack.
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

/// Memory of this process for received messages.
pub(crate) trait Destination {
    /// Whether it accepts several messages at once.
    const SEVERAL: bool = false;

    /// Whether it has room for each message, unless the process has no memory.
    const GROWS: bool = false;

    /// Returns memory for the first message, of `len` bytes, or `None` if there is no room. Discards the earlier
    /// content.
    fn room(&mut self, len: usize) -> Option<*mut u8>;

    /// Returns memory for one more message, after the earlier ones, which are written already.
    fn more_room(&mut self, _len: usize) -> Option<*mut u8> {
        None
    }

    /// Accepts the messages as received: those whose memory the last call of `room` and the later calls of `more_room`
    /// returned, `len` bytes in total.
    ///
    /// # Safety
    /// The caller has written all of this memory, and it has `len` bytes in total.
    unsafe fn commit(&mut self, len: usize);
}

impl Destination for Vec<u8> {
    const GROWS: bool = true;

    fn room(&mut self, len: usize) -> Option<*mut u8> {
        self.clear();
        self.try_reserve(len).ok()?;
        Some(self.as_mut_ptr())
    }

    unsafe fn commit(&mut self, len: usize) {
        // SAFETY: `room` reserved `len` bytes, and the caller promised that they are written.
        unsafe { self.set_len(len) }
    }
}

impl Destination for &mut [u8] {
    fn room(&mut self, len: usize) -> Option<*mut u8> {
        (len <= self.len()).then_some(self.as_mut_ptr())
    }

    unsafe fn commit(&mut self, _len: usize) {}
}

/// A destination for several messages. They are stored one after the other in `bytes`; `ends` receives the end of each.
pub(crate) struct Several<'a> {
    pub(crate) bytes: &'a mut [u8],
    pub(crate) ends: &'a mut Vec<usize>,
    /// The largest number of messages that it accepts.
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
        let space = self.bytes.get_mut(start..start + len)?;
        if self.ends.len() == self.limit {
            return None;
        }
        self.ends.try_reserve(1).ok()?;
        self.ends.push(start + len);
        Some(space.as_mut_ptr())
    }

    unsafe fn commit(&mut self, _len: usize) {}
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Arc;

    // Not a `Box`: when a box moves, it asserts that no other pointer accesses its memory.
    fn words(capacity: u64) -> (Arc<[AtomicU64]>, Words) {
        let memory: Arc<[AtomicU64]> =
            (0..capacity as usize / WORD).map(|_| AtomicU64::new(u64::MAX)).collect();
        // SAFETY: the memory is returned together with the view, and has `capacity` bytes.
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
            // SAFETY: `room` returned memory for `len` bytes, and `read` writes all of them.
            unsafe {
                words.read(64 + 128 * 3, to, len);
                copy.commit(len);
            }
            assert_eq!(copy, message);
        }
    }

    /// Copies in blocks too, from and to any alignment. The copies reach the end of the ring and write nothing beyond
    /// it.
    #[test]
    fn long_messages_come_back_as_they_were() {
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
            // SAFETY: the copy has more than `len` bytes from `offset` on.
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
    fn a_partial_write_leaves_the_other_bytes_as_they_were() {
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
    fn a_slice_refuses_a_message_that_does_not_fit() {
        let mut space = [0_u8; 4];
        let mut slice = &mut space[..];
        assert!(slice.room(4).is_some());
        assert!(slice.room(5).is_none());
    }

    #[test]
    fn several_accepts_what_fits_up_to_its_limit() {
        let (mut bytes, mut ends) = ([0_u8; 8], Vec::new());
        let mut several = Several { bytes: &mut bytes, ends: &mut ends, limit: 3 };
        assert!(several.room(9).is_none());
        assert!(several.room(4).is_some());
        assert!(several.more_room(5).is_none());
        assert!(several.more_room(2).is_some() && several.more_room(2).is_some());
        assert!(several.more_room(0).is_none());
        assert_eq!(several.ends, &[4, 6, 8]);
        // `room` starts again at the first byte.
        assert!(several.room(8).is_some());
        assert_eq!(several.ends, &[8]);
    }
}
