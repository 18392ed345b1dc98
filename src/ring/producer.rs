//! The sending end of a ring. The parent module describes the protocol.

use super::zeroing::Zeroing;
use super::{Corrupted, Ring};
use crate::bytes::{Words, WORD};
use crate::constants::MAX_MESSAGES;
use crate::layout::{
    first_position, frame_header, frame_size, FrameHeader, Lengths, FRAME_ALIGN, FRAME_HEADER,
    LONGEST_ORDINARY,
};
use crate::sync::fence;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::collections::VecDeque;

/// The sending end of a ring.
pub(crate) struct Producer {
    ring: Ring,
    pub(super) write_pos: u64,
    /// `read_pos` when the producer last read it: the start of the oldest entry that may be unread. The producer
    /// reads it again only when the known room does not suffice.
    pub(super) read_pos: u64,
    /// The ends of the entries from `read_pos` on, oldest first.
    ends: VecDeque<u64>,
    message_limit: usize,
    /// The number of entries that `ends` has memory for, up to `message_limit`.
    ends_limit: usize,
    /// Frames from `write_pos` up to this position have room, and do not cross the ring's end. It follows from
    /// `read_pos`, so that there may be more room by now. The producer updates it only when it does not suffice.
    pub(super) clear: u64,
    /// From `write_pos` up to this position, every word where a frame can start is zero.
    pub(super) zeroed: u64,
    zeroing: Zeroing,
    pub(super) sequence: u64,
    sent: u64,
    evicted: u64,
}

/// Room in the ring for the next message. It is valid until the producer sends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The write position when the room was found.
    at: u64,
    pad: u64,
    len: usize,
}

impl Place {
    fn start(self) -> u64 {
        self.at.wrapping_add(self.pad)
    }

    fn frame(self) -> u64 {
        frame_size(self.len)
    }

    fn end(self) -> u64 {
        self.start().wrapping_add(self.frame())
    }

    pub(crate) fn payload(self) -> u64 {
        self.start().wrapping_add(frame_header(self.len))
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }
}

/// After a message whose frame is longer, the producer zeroes nothing ahead.
const LONGEST_ZEROED_AFTER: u64 = if cfg!(loom) { 4 } else { 12 } * FRAME_ALIGN;

/// The producer prefetches up to this number of a frame's bytes before it writes them.
const FETCHED: u64 = 16 * FRAME_ALIGN;

/// Whether `a` comes before `b`. The two positions must be less than 2^63 bytes apart.
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
            ends: VecDeque::with_capacity(message_limit.min(MAX_MESSAGES)),
            message_limit,
            ends_limit: message_limit.min(MAX_MESSAGES),
            clear: start,
            zeroed: start.wrapping_add(FRAME_ALIGN),
            zeroing: Zeroing::here(),
            sequence: 0,
            sent: 0,
            evicted: 0,
        }
    }

    /// Returns the lengths that a message may have.
    #[inline(always)]
    pub(crate) fn lengths(&self) -> Lengths {
        self.ring.lengths
    }

    /// Returns the number of messages sent in this generation.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns the number of messages evicted in this generation.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Returns the number of messages that were sent, but neither taken nor evicted yet.
    pub(crate) fn queued(&mut self) -> Result<usize, Corrupted> {
        self.refresh()?;
        Ok(self.ends.len())
    }

    /// Whether every message was taken, according to the `read_pos` that the producer last read. Reads no shared
    /// memory.
    pub(crate) fn seems_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the bytes of pad that a frame of `frame` bytes would need if it were sent now.
    #[inline]
    fn pad(&self, frame: u64) -> u64 {
        let left = self.ring.words.left(self.write_pos);
        if frame > left {
            left
        } else {
            0
        }
    }

    /// Returns the number of free bytes from `write_pos` on, if the oldest unread entry is at `read_pos`.
    #[inline(always)]
    fn free(&self, read_pos: u64) -> u64 {
        self.ring.words.capacity() - self.write_pos.wrapping_sub(read_pos)
    }

    /// Whether `total` bytes fit if `queued` entries are unread and the oldest of them is at `read_pos`.
    #[inline]
    fn fits(&self, total: u64, read_pos: u64, queued: usize) -> bool {
        total + FRAME_ALIGN <= self.free(read_pos) && queued < self.ends_limit
    }

    /// Gets memory for more entries, if the message limit allows more. Where the process has none, the ring counts as
    /// full with those that it has memory for.
    fn grow(&mut self) {
        let is_full = self.ends.len() >= self.ends_limit && self.ends_limit < self.message_limit;
        if is_full && self.ends.try_reserve(1).is_ok() {
            self.ends_limit = self.ends.capacity().min(self.message_limit);
        }
    }

    /// Whether there is room for a message of `len` bytes. Reads the current `read_pos` if the known room does not
    /// suffice.
    pub(crate) fn has_room(&mut self, len: usize) -> Result<bool, Corrupted> {
        let frame = frame_size(len);
        let total = self.pad(frame) + frame;
        if self.fits(total, self.read_pos, self.ends.len()) {
            return Ok(true);
        }
        self.refresh()?;
        self.grow();
        Ok(self.fits(total, self.read_pos, self.ends.len()))
    }

    /// Sends a message if there is room.
    #[cfg(test)]
    pub(crate) fn try_push(&mut self, payload: &[u8]) -> Result<bool, Corrupted> {
        Ok(self.push_some([payload])? == 1)
    }

    /// Sends messages, from the first on, as long as there is room. Returns the number of messages sent.
    ///
    /// The first message's header is stored last, so that the receiver sees no message before all are written.
    /// Otherwise the receiver's processor would fetch the cache lines that the producer still writes to. To get one
    /// of them back takes as long as a message does.
    ///
    /// The caller must check the lengths, by [`lengths`](Self::lengths). The iterator
    /// must not panic: messages that are already entered could not be removed, and would never be published.
    #[inline]
    pub(crate) fn push_some<'a>(
        &mut self, messages: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<usize, Corrupted> {
        let mut pushed = 0;
        let mut first = None;
        let mut last = None;
        for payload in messages {
            // From here on the compiler knows the shape of an ordinary frame.
            if payload.len() > LONGEST_ORDINARY {
                last = None;
                if !self.push_long(first.take(), payload)? {
                    break;
                }
                pushed += 1;
                continue;
            }
            if let Some(last) = last {
                // For the first message of a batch, the call that published the previous message has done this.
                self.zero_ahead(last);
            }
            let Some(place) = self.find_place(payload.len())? else { break };
            let place = Place { len: payload.len(), ..place };
            self.fetch(place);
            self.zero(place.end());
            // `write` writes all but long payloads from their end to their start, so that the frame's first cache line
            // comes last. The consumer reads that line all the time. Each read between the first write to it and the
            // write of the header would move the line to the consumer's processor and back.
            self.ring.words.write(place.payload(), payload);
            fail_point!("send.written");
            let header = self.enter(place);
            match first {
                None => first = Some((place, header)),
                Some(_) => self.ring.words.at(place.at).store(header.0, Relaxed),
            }
            last = Some(place);
            pushed += 1;
        }
        if let (Some((place, header)), Some(last)) = (first, last) {
            self.publish(place, header);
            self.zero_ahead(last);
        }
        Ok(pushed)
    }

    /// Sends a message of more than [`LONGEST_ORDINARY`] bytes, if there is room. Before that, it publishes the message
    /// `before` it, so that the receiver can work while this thread copies.
    ///
    /// It repeats lines of `push_some`: with a function for both, each ordinary message took 17 instructions more.
    #[inline(never)]
    fn push_long(&mut self, before: Option<(Place, FrameHeader)>, payload: &[u8]) -> Result<bool, Corrupted> {
        if let Some((place, header)) = before {
            self.publish(place, header);
        }
        let Some(place) = self.find_place(payload.len())? else { return Ok(false) };
        self.fetch(place);
        self.zero(place.end());
        self.ring.words.write(place.payload(), payload);
        fail_point!("send.written");
        let header = self.enter(place);
        self.publish(place, header);
        Ok(true)
    }

    /// Reserves a place for a message of `len` bytes, which the caller writes in the ring and then commits. Returns
    /// `Ok(None)` if there is no room. Nothing is sent yet. If another message is sent before, it uses the place.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<Option<Place>, Corrupted> {
        let place = self.find_place(len)?;
        if let Some(place) = place {
            // If the caller writes to the place but never commits it, its bytes remain where later headers will be.
            // So these words no longer count as zero. The word at the write position is the header, which no caller
            // writes.
            self.zeroed = self.write_pos.wrapping_add(FRAME_ALIGN);
            let tail = (len % WORD) as u64;
            if tail > 0 {
                self.ring.words.at(place.payload().wrapping_add(len as u64 - tail)).store(0, Relaxed);
            }
        }
        Ok(place)
    }

    /// Whether a place is still valid, which it is until another message is sent.
    pub(crate) fn has_place(&self, place: Place) -> bool {
        place.at == self.write_pos
    }

    /// Sends the message that was written to a place. Returns `false` if the place is no longer valid.
    pub(crate) fn commit(&mut self, place: Place) -> bool {
        if !self.has_place(place) {
            return false;
        }
        self.zero(place.end());
        let header = self.enter(place);
        self.publish(place, header);
        self.zero_ahead(place);
        true
    }

    /// Returns the ring's data, so that a caller can write to its place.
    pub(crate) fn words(&self) -> &Words {
        &self.ring.words
    }

    /// Finds a place for a message of `len` bytes at the write position. Returns `Ok(None)` if there is no room.
    #[inline(always)]
    fn find_place(&mut self, len: usize) -> Result<Option<Place>, Corrupted> {
        debug_assert!(self.ring.lengths.contain(len));
        if len > LONGEST_ORDINARY {
            return self.find_place_anew(len);
        }
        let at = self.write_pos;
        if is_before(self.clear, at.wrapping_add(frame_size(len))) || self.ends.len() >= self.ends_limit {
            return self.find_place_anew(len);
        }
        Ok(Some(Place { at, pad: 0, len }))
    }

    /// The slow path of `find_place`, if `clear` does not suffice. Reads `read_pos` if necessary, and updates `clear`.
    #[inline(never)]
    fn find_place_anew(&mut self, len: usize) -> Result<Option<Place>, Corrupted> {
        let frame = frame_size(len);
        let pad = self.pad(frame);
        if !self.fits(pad + frame, self.read_pos, self.ends.len()) {
            self.refresh()?;
            self.grow();
            if !self.fits(pad + frame, self.read_pos, self.ends.len()) {
                return Ok(None);
            }
            self.publish_counters();
        }
        let room = self.free(self.read_pos) - FRAME_ALIGN;
        self.clear = self.write_pos.wrapping_add(room.min(self.ring.words.left(self.write_pos)));
        Ok(Some(Place { at: self.write_pos, pad, len }))
    }

    /// Prefetches a frame's cache lines, up to [`FETCHED`] bytes, for writing. So the lines arrive together, while the
    /// producer still prepares the message. The first line is prefetched last, because the consumer reads it all the
    /// time: if it came first, the consumer could have fetched it again before the other lines are there.
    #[inline(always)]
    fn fetch(&self, place: Place) {
        let mut line = place.frame().min(FETCHED);
        while line > 0 {
            line -= FRAME_ALIGN;
            self.ring.words.fetch_to_write(place.start().wrapping_add(line));
        }
    }

    /// Makes sure that the word where the next header will be is zero.
    #[inline(always)]
    fn zero(&mut self, end: u64) {
        if !is_before(end, self.zeroed) {
            self.ring.words.at(end).store(0, Relaxed);
            self.zeroed = end.wrapping_add(FRAME_ALIGN);
        }
    }

    /// Records a written message as sent, and moves the write position past it. Returns the header that the caller must
    /// store at `place.at`.
    #[inline(always)]
    fn enter(&mut self, place: Place) -> FrameHeader {
        let mut header = if place.len > LONGEST_ORDINARY {
            self.ring.words.at(place.start().wrapping_add(FRAME_HEADER)).store(place.len as u64, Relaxed);
            FrameHeader::new(FrameHeader::LONG, 0, self.sequence)
        } else {
            FrameHeader::new(FrameHeader::MESSAGE, place.len, self.sequence)
        };
        if place.pad > 0 {
            self.ring.words.at(place.start()).store(header.0, Relaxed);
            header = FrameHeader::new(FrameHeader::PAD, 0, self.sequence);
        }
        let end = place.end();
        self.ends.push_back(end);
        self.write_pos = end;
        self.sequence = (self.sequence + 1) % FrameHeader::SEQUENCES;
        self.sent += 1;
        header
    }

    /// Shows the consumer a message, and all messages that were entered after it.
    #[inline(always)]
    fn publish(&mut self, place: Place, header: FrameHeader) {
        // Releases the payloads, the later headers and the zeroed words. The consumer's load of the header acquires
        // them.
        // The caller then looks at the peer's wake word (`wake.rs`).
        self.ring.words.at(place.at).store(header.0, Release);
    }

    /// Zeroes the words where the next headers may be, as far as they are free.
    ///
    /// The producer zeroes a few words at a time, at a distance that suits the processor ([`Zeroing`]). It does so after it has
    /// published a message, so that the message does not wait, and between the messages of a batch. After a long message it
    /// zeroes none: if the next message is as long, few of the words would be headers.
    #[inline]
    fn zero_ahead(&mut self, last: Place) {
        if last.frame() > LONGEST_ZEROED_AFTER
            || !is_before(self.zeroed, self.write_pos.wrapping_add(self.zeroing.fewest))
        {
            return;
        }
        let until = self.write_pos.wrapping_add(self.free(self.read_pos).min(self.zeroing.most));
        while is_before(self.zeroed, until) {
            self.ring.words.at(self.zeroed).store(0, Relaxed);
            self.zeroed = self.zeroed.wrapping_add(FRAME_ALIGN);
        }
    }

    /// Evicts the oldest messages until a message of `len` bytes fits. If one must be evicted and `half` is set,
    /// evicts at least half the queue. Returns the number of evicted messages.
    pub(crate) fn make_room(&mut self, len: usize, half: bool) -> Result<u32, Corrupted> {
        let frame = frame_size(len);
        let total = self.pad(frame) + frame;
        let mut evicted = 0;
        // Each pass evicts, fails, or removes at least one entry from the list. So there are at most as many passes as
        // entries.
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
            // Acquires on success and on failure: the consumer's taking releases its copying out of the frames before
            // `read_pos`, which the producer will overwrite.
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
            // Orders the eviction before the first overwritten byte of the evicted frames. It pairs with the consumer's
            // acquiring load of `read_pos` in `follow`, and with the consumer's failed compare-exchange.
            fence(Release);
            self.evicted += evicted;
            self.publish_counters();
        }
        Ok(evicted as u32)
    }

    /// Reads `read_pos`, and removes the entries that the consumer has taken.
    fn refresh(&mut self) -> Result<(), Corrupted> {
        // Acquires the consumer's taking, so that the consumer has copied out what the producer then overwrites.
        let read_pos = self.ring.header().read_pos.load(Acquire);
        if read_pos != self.read_pos {
            self.advance(read_pos)?;
        }
        Ok(())
    }

    /// Removes the entries before `read_pos`. Returns an error if `read_pos` is not the end of an entry, since then the
    /// peer made the value up.
    fn advance(&mut self, read_pos: u64) -> Result<(), Corrupted> {
        while let Some(end) = self.ends.pop_front() {
            self.read_pos = end;
            if end == read_pos {
                return Ok(());
            }
        }
        Err(Corrupted("read_pos is not the end of an unread message"))
    }

    /// Updates the statistics in the ring's header. No decision depends on them.
    pub(crate) fn publish_counters(&self) {
        let header = self.ring.header();
        header.write_pos.store(self.write_pos, Relaxed);
        header.message_count.store(self.sent, Relaxed);
        header.drop_count.store(self.evicted, Relaxed);
    }
}
