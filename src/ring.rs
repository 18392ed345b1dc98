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
//! **A frame** starts at a multiple of 64 bytes and is contiguous: a header word ([`FrameHeader`]), then the payload
//! in whole words. Where it would run over the ring's end, a pad frame fills the rest and the message stands at the
//! start. Pad and message are one entry: published, taken, evicted and counted together, under one sequence.
//!
//! **Publishing.** Payload first, and the header word of the place where the *next* frame will start is zeroed, unless
//! it has been since the message before; then this frame's header is stored. A consumer therefore looks at one word, where it expects the next header,
//! and sees zero or a complete frame; a small message costs the transfer of one cache line. The last 64 bytes of
//! room are never used, so that the zeroed word can't be the header of the oldest unread frame.
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

use crate::bytes::{Destination, Words};
use crate::constants::MIN_MESSAGE_SIZE;
use crate::layout::{
    first_position, frame_size, longest_message, FrameHeader, RingHeader, FRAME_ALIGN, FRAME_HEADER,
    FURTHEST_EVICTION,
};
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::sync::{fence, look_barrier, AtomicU64};
use std::collections::VecDeque;

/// The peer wrote what it can't have written by the rules. The session is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Corrupted(pub(crate) &'static str);

/// A ring in memory: its header line and its data.
pub(crate) struct Ring {
    header: *const RingHeader,
    words: Words,
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
        Ring { header, words: unsafe { Words::new(base, capacity) } }
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

/// The sending end of a ring.
pub(crate) struct Producer {
    ring: Ring,
    write_pos: u64,
    /// `read_pos` as last seen: the start of the oldest entry that may be unread. Read anew only when room is short.
    read_pos: u64,
    /// The ends of the entries from `read_pos` on, oldest first.
    ends: VecDeque<u64>,
    message_limit: usize,
    /// From `write_pos` up to here, every place where a header can stand is zero.
    zeroed: u64,
    sequence: u64,
    sent: u64,
    evicted: u64,
}

/// A producer keeps so many bytes from its position on ready for headers: further than the consumer's processor looks
/// ahead. Found by trying: with 3 frames' worth a round trip of 8 bytes took 1.5 to 2.0 times the bare line's, with 12
/// and with 256 1.0 to 1.6; but 64 bytes took 2.1 times with 12, and 1.3 to 1.9 with 256. The models make do with less.
const ZEROED_AHEAD: u64 = if cfg!(loom) { 3 } else { 256 } * FRAME_ALIGN;

/// Which of two positions not far from each other comes first.
#[inline(always)]
fn is_before(a: u64, b: u64) -> bool {
    (a.wrapping_sub(b) as i64) < 0
}

impl Producer {
    pub(crate) fn new(ring: Ring, message_limit: usize, generation: u32) -> Self {
        let start = first_position(generation);
        Producer {
            ring,
            write_pos: start,
            read_pos: start,
            ends: VecDeque::with_capacity(message_limit.min(crate::constants::MAX_MESSAGES)),
            message_limit,
            zeroed: start.wrapping_add(FRAME_ALIGN),
            sequence: 0,
            sent: 0,
            evicted: 0,
        }
    }

    /// Messages sent in this generation.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Messages evicted in this generation.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Messages sent and not yet taken.
    pub(crate) fn queued(&mut self) -> Result<usize, Corrupted> {
        self.refresh()?;
        Ok(self.ends.len())
    }

    /// Whether every message was taken, as far as is known without a look at the other side's line.
    pub(crate) fn seems_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of pad before a frame of `frame` bytes, if it were sent now.
    #[inline]
    fn pad(&self, frame: u64) -> u64 {
        let left = self.ring.words.capacity() - self.ring.words.index(self.write_pos);
        if frame > left {
            left
        } else {
            0
        }
    }

    /// Whether `total` bytes fit in if the oldest unread entry were at `read_pos`, with `queued` entries unread.
    #[inline]
    fn fits(&self, total: u64, read_pos: u64, queued: usize) -> bool {
        let unread = self.write_pos.wrapping_sub(read_pos);
        total + FRAME_ALIGN <= self.ring.words.capacity() - unread && queued < self.message_limit
    }

    /// Whether a message of `len` bytes would be taken now, by a fresh look.
    pub(crate) fn has_room(&mut self, len: usize) -> Result<bool, Corrupted> {
        let frame = frame_size(len);
        let total = self.pad(frame) + frame;
        if self.fits(total, self.read_pos, self.ends.len()) {
            return Ok(true);
        }
        self.refresh()?;
        Ok(self.fits(total, self.read_pos, self.ends.len()))
    }

    /// Sends a message if there is room. `Ok(false)`: there's none, and nothing changed.
    ///
    /// The length is the caller's business: [`MIN_MESSAGE_SIZE`] up to the ring's longest message.
    #[inline]
    pub(crate) fn try_push(&mut self, payload: &[u8]) -> Result<bool, Corrupted> {
        debug_assert!(
            (MIN_MESSAGE_SIZE..=longest_message(self.ring.words.capacity())).contains(&payload.len())
        );
        let frame = frame_size(payload.len());
        let pad = self.pad(frame);
        if !self.fits(pad + frame, self.read_pos, self.ends.len()) {
            self.refresh()?;
            if !self.fits(pad + frame, self.read_pos, self.ends.len()) {
                return Ok(false);
            }
            self.publish_counters();
        }
        let words = &self.ring.words;
        let start = self.write_pos.wrapping_add(pad);
        let end = start.wrapping_add(frame);
        if !is_before(end, self.zeroed) {
            words.at(end).store(0, Relaxed);
            self.zeroed = end.wrapping_add(FRAME_ALIGN);
        }
        // The payload's first line comes last: the consumer looks at it all the time, and each look between our first
        // write to it and the header's would cost its way there and back.
        words.write(start.wrapping_add(FRAME_HEADER), payload);
        fail_point!("send.written");
        let message = FrameHeader::new(FrameHeader::MESSAGE, payload.len(), self.sequence);
        // The store releases all of the above to the consumer's acquiring look at the header. The fence after it is for
        // the look at the peer's wake word that follows (`wake.rs`): a sleeping peer must see the message, or we must
        // see that it sleeps. A swap would do for both, but the header would have to wait for it.
        if pad > 0 {
            words.at(start).store(message.0, Relaxed);
            let pad = FrameHeader::new(FrameHeader::PAD, 0, self.sequence);
            words.at(self.write_pos).store(pad.0, Release);
        } else {
            words.at(start).store(message.0, Release);
        }
        fence(SeqCst);
        self.ends.push_back(end);
        self.write_pos = end;
        self.sequence = (self.sequence + 1) % FrameHeader::SEQUENCES;
        self.sent += 1;
        self.zero_ahead();
        Ok(true)
    }

    /// Zeroes the places where the next headers may be asked for, as far as they are free.
    ///
    /// The consumer's processor fetches lines beyond the one that it looks at, since it has seen where we are going.
    /// To take such a line back in order to zero it costs as much as a message does. Zeroed early, far ahead, after
    /// the message was published, it costs next to nothing, and nobody waits.
    #[inline]
    fn zero_ahead(&mut self) {
        let free = self.ring.words.capacity() - self.write_pos.wrapping_sub(self.read_pos);
        let until = self.write_pos.wrapping_add(free.min(ZEROED_AHEAD));
        while is_before(self.zeroed, until) {
            self.ring.words.at(self.zeroed).store(0, Relaxed);
            self.zeroed = self.zeroed.wrapping_add(FRAME_ALIGN);
        }
    }

    /// Evicts the oldest messages until one of `len` bytes fits, or half the queue where `half` is set and that's
    /// more. Returns how many were evicted.
    pub(crate) fn make_room(&mut self, len: usize, half: bool) -> Result<u32, Corrupted> {
        let frame = frame_size(len);
        let total = self.pad(frame) + frame;
        let mut evicted = 0;
        // Each pass ends in success, in an error, or with a shorter list: at most as many passes as entries.
        while !self.fits(total, self.read_pos, self.ends.len()) {
            let queued = self.ends.len();
            let at_least = if half { queued / 2 } else { 0 };
            let mut count = 0;
            let mut target = self.read_pos;
            for &end in &self.ends {
                if count >= at_least && self.fits(total, target, queued - count) {
                    break;
                }
                count += 1;
                target = end;
            }
            // Acquired on both outcomes: the consumer's taking releases its copying out of the frames before.
            match self.ring.header().read_pos.compare_exchange(self.read_pos, target, AcqRel, Acquire) {
                Ok(_) => {
                    fail_point!("send.evicted");
                    self.ends.drain(..count);
                    self.read_pos = target;
                    evicted += count as u64;
                }
                Err(moved) => self.advance(moved)?,
            }
        }
        if evicted > 0 {
            // Before the first byte of the evicted frames is overwritten. Its partner is the acquiring reload of
            // `read_pos` by a consumer that found something odd, or its failing swap.
            fence(Release);
            self.evicted += evicted;
            self.publish_counters();
        }
        Ok(evicted as u32)
    }

    /// Looks at how far the consumer is.
    fn refresh(&mut self) -> Result<(), Corrupted> {
        // Acquires the consumer's taking, so that what is then overwritten has been copied out.
        let read_pos = self.ring.header().read_pos.load(Acquire);
        if read_pos != self.read_pos {
            self.advance(read_pos)?;
        }
        Ok(())
    }

    /// Drops the entries before `read_pos`, which the peer may have made up: it must be the end of one of them.
    fn advance(&mut self, read_pos: u64) -> Result<(), Corrupted> {
        while let Some(end) = self.ends.pop_front() {
            self.read_pos = end;
            if end == read_pos {
                return Ok(());
            }
        }
        Err(Corrupted("read_pos is not the end of an unread message"))
    }

    /// Brings the header's statistics up to date. Nothing depends on them.
    pub(crate) fn publish_counters(&self) {
        let header = self.ring.header();
        header.write_pos.store(self.write_pos, Relaxed);
        header.message_count.store(self.sent, Relaxed);
        header.drop_count.store(self.evicted, Relaxed);
    }
}

/// What became of an attempt to take a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pop {
    /// A message of so many bytes is in the destination.
    Message(usize),
    /// The next message has so many bytes, and the destination had no room for them.
    TooSmall(usize),
    /// Nothing is queued.
    Empty,
    /// The producer evicted what was being taken, each time. There may be a message.
    Busy,
}

/// What stands at a position.
enum Frame {
    Message { payload: u64, len: usize, sequence: u64, end: u64 },
    Nothing,
    Impossible,
}

/// The receiving end of a ring.
pub(crate) struct Consumer {
    ring: Ring,
    read_pos: u64,
    /// The sequence of the next message, or a lower bound of it if `moved`.
    sequence: u64,
    /// The producer moved `read_pos` since the last message: the next sequence is a later one.
    moved: bool,
    received: u64,
    lost: u64,
}

impl Consumer {
    /// So many messages in a row may be evicted under our hands before [`Pop::Busy`].
    const TRIES: usize = 8;

    pub(crate) fn new(ring: Ring, generation: u32) -> Self {
        let read_pos = first_position(generation);
        Consumer { ring, read_pos, sequence: 0, moved: false, received: 0, lost: 0 }
    }

    /// Messages taken in this generation.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Messages evicted before we could take them, as far as the messages taken since tell.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether there's something to look at: one word, for spinning.
    #[inline(always)]
    pub(crate) fn looks_ready(&self) -> bool {
        self.ring.words.at(self.read_pos).load(Relaxed) != 0
    }

    /// Takes the oldest message.
    #[inline]
    pub(crate) fn pop(&mut self, to: &mut impl Destination) -> Result<Pop, Corrupted> {
        for _ in 0..Self::TRIES {
            match self.frame(self.read_pos, self.sequence, self.moved) {
                Frame::Message { payload, len, sequence, end } => {
                    let Some(place) = to.room(len) else {
                        // An answer without a take must be true: the length could be half-overwritten.
                        if self.follow()? {
                            continue;
                        }
                        return Ok(Pop::TooSmall(len));
                    };
                    // SAFETY: `room` gave a place of `len` bytes outside the section.
                    unsafe { self.ring.words.read(payload, place, len) };
                    fail_point!("receive.copied");
                    // Releases the copying to the producer's acquiring look at `read_pos`, before it reuses the
                    // place. Sequentially consistent for the look at the peer's wake word that follows.
                    let swap =
                        self.ring.header().read_pos.compare_exchange(self.read_pos, end, SeqCst, Acquire);
                    match swap {
                        Ok(_) => {
                            look_barrier();
                            // SAFETY: `read` has written all of the `len` bytes.
                            unsafe { to.commit(len) };
                            self.lost = self.lost.saturating_add(self.distance(sequence));
                            self.sequence = (sequence + 1) % FrameHeader::SEQUENCES;
                            self.read_pos = end;
                            self.moved = false;
                            self.received += 1;
                            return Ok(Pop::Message(len));
                        }
                        Err(read_pos) => self.jump(read_pos)?,
                    }
                }
                Frame::Nothing => {
                    if !self.follow()? {
                        return Ok(Pop::Empty);
                    }
                }
                Frame::Impossible => {
                    if !self.follow()? {
                        return Err(Corrupted("what stands at read_pos is no frame"));
                    }
                }
            }
        }
        Ok(Pop::Busy)
    }

    /// Whether a message is queued. `None`: evicted each time while we looked.
    pub(crate) fn peek(&mut self) -> Result<Option<bool>, Corrupted> {
        let mut no_room: &mut [u8] = &mut [];
        match self.pop(&mut no_room)? {
            Pop::TooSmall(_) => Ok(Some(true)),
            Pop::Empty => Ok(Some(false)),
            Pop::Busy => Ok(None),
            Pop::Message(_) => unreachable!("no message has no bytes"),
        }
    }

    /// How many messages are queued, at most `limit`. Counts while the producer goes on: a snapshot, from where
    /// `read_pos` stands now.
    pub(crate) fn queued(&self, limit: usize) -> usize {
        let mut at = self.ring.header().read_pos.load(Acquire);
        let (mut sequence, mut moved) = (self.sequence, self.moved || at != self.read_pos);
        let mut count = 0;
        while count < limit {
            let Frame::Message { sequence: this, end, .. } = self.frame(at, sequence, moved) else { break };
            (at, sequence, moved) = (end, (this + 1) % FrameHeader::SEQUENCES, false);
            count += 1;
        }
        count
    }

    /// How far ahead of the expected sequence another one is.
    fn distance(&self, sequence: u64) -> u64 {
        sequence.wrapping_sub(self.sequence) % FrameHeader::SEQUENCES
    }

    /// Looks at what stands at `at`. Each word is read once, and all of it is checked.
    #[inline]
    fn frame(&self, at: u64, expected: u64, moved: bool) -> Frame {
        // Acquires the producer's publication. Both looks are acquiring also so that none of them is made after the
        // reload of `read_pos` that judges what was seen.
        let first = FrameHeader(self.ring.words.at(at).load(Acquire));
        if first.0 == 0 {
            return Frame::Nothing;
        }
        let gap = first.sequence().wrapping_sub(expected) % FrameHeader::SEQUENCES;
        if moved && !(1..FrameHeader::SEQUENCES / 2).contains(&gap) || !moved && gap != 0 {
            return Frame::Impossible;
        }
        let (start, header) = if first.kind() == FrameHeader::PAD {
            let start = at.wrapping_add(self.ring.words.capacity() - self.ring.words.index(at));
            let header = FrameHeader(self.ring.words.at(start).load(Acquire));
            if header.sequence() != first.sequence() {
                return Frame::Impossible;
            }
            (start, header)
        } else {
            (at, first)
        };
        let (len, capacity) = (header.len(), self.ring.words.capacity());
        if header.kind() != FrameHeader::MESSAGE
            || !(MIN_MESSAGE_SIZE..=longest_message(capacity)).contains(&len)
            || frame_size(len) > capacity - self.ring.words.index(start)
        {
            return Frame::Impossible;
        }
        Frame::Message {
            payload: start.wrapping_add(FRAME_HEADER),
            len,
            sequence: header.sequence(),
            end: start.wrapping_add(frame_size(len)),
        }
    }

    /// Looks whether the producer moved `read_pos`, and goes there.
    fn follow(&mut self) -> Result<bool, Corrupted> {
        // Acquires the eviction, and with its fence all that was overwritten after: see the module's page.
        let read_pos = self.ring.header().read_pos.load(Acquire);
        if read_pos == self.read_pos {
            return Ok(false);
        }
        self.jump(read_pos)?;
        Ok(true)
    }

    /// Goes to where the producer moved `read_pos`, if it is a place where a frame can start, further on, and in the
    /// same generation: an old consumer must not find its way into a new one.
    fn jump(&mut self, read_pos: u64) -> Result<(), Corrupted> {
        let ahead = read_pos.wrapping_sub(self.read_pos);
        if ahead == 0 || ahead > FURTHEST_EVICTION || read_pos % FRAME_ALIGN != 0 {
            return Err(Corrupted("read_pos went where no frame starts"));
        }
        self.read_pos = read_pos;
        self.moved = true;
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
#[path = "ring_tests.rs"]
mod tests;
