//! The sending end of a ring: see the module above.

use super::{Corrupted, Ring};
use crate::bytes::{Words, WORD};
use crate::constants::{MAX_MESSAGES, MIN_MESSAGE_SIZE};
use crate::layout::{first_position, frame_size, FrameHeader, FRAME_ALIGN, FRAME_HEADER};
use crate::sync::fence;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::collections::VecDeque;

/// The sending end of a ring.
pub(crate) struct Producer {
    ring: Ring,
    pub(super) write_pos: u64,
    /// `read_pos` as last seen: the start of the oldest entry that may be unread. Read anew only when room is short.
    pub(super) read_pos: u64,
    /// The ends of the entries from `read_pos` on, oldest first.
    ends: VecDeque<u64>,
    message_limit: usize,
    /// From `write_pos` up to here, frames have room and don't reach over the ring's end: by `read_pos` as last seen, so
    /// that there may be more. Brought up to date only where it doesn't suffice.
    pub(super) clear: u64,
    /// From `write_pos` up to here, every place where a header can stand is zero.
    pub(super) zeroed: u64,
    pub(super) sequence: u64,
    sent: u64,
    evicted: u64,
}

/// Where a message will stand that is written before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The write position for which it was found.
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
        self.start().wrapping_add(FRAME_HEADER)
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }
}

/// A producer zeroes the places of headers up to this number of bytes from its position on, at once, as soon as fewer than
/// [`FEWEST_ZEROED`] are left; but nothing ahead after a message that is longer. docs/performance.md has what other
/// distances cost. The models make do with less.
const ZEROED_AHEAD: u64 = if cfg!(loom) { 4 } else { 12 } * FRAME_ALIGN;

const FEWEST_ZEROED: u64 = if cfg!(loom) { 2 } else { 4 } * FRAME_ALIGN;

/// So many bytes of a frame are asked for before they are written.
const FETCHED: u64 = 16 * FRAME_ALIGN;

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
            ends: VecDeque::with_capacity(message_limit.min(MAX_MESSAGES)),
            message_limit,
            clear: start,
            zeroed: start.wrapping_add(FRAME_ALIGN),
            sequence: 0,
            sent: 0,
            evicted: 0,
        }
    }

    pub(crate) fn longest_message(&self) -> usize {
        self.ring.longest_message
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
        let left = self.ring.words.left(self.write_pos);
        if frame > left {
            left
        } else {
            0
        }
    }

    /// Bytes from `write_pos` on that the receiver has not to read, if the oldest unread entry were at `read_pos`.
    #[inline(always)]
    fn free(&self, read_pos: u64) -> u64 {
        self.ring.words.capacity() - self.write_pos.wrapping_sub(read_pos)
    }

    /// Whether `total` bytes fit in if the oldest unread entry were at `read_pos`, with `queued` entries unread.
    #[inline]
    fn fits(&self, total: u64, read_pos: u64, queued: usize) -> bool {
        total + FRAME_ALIGN <= self.free(read_pos) && queued < self.message_limit
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

    /// Sends a message if there is room.
    #[cfg(test)]
    pub(crate) fn try_push(&mut self, payload: &[u8]) -> Result<bool, Corrupted> {
        Ok(self.push_some([payload])? == 1)
    }

    /// Sends messages, from the first on, for as long as there is room. Returns how many.
    ///
    /// The first one's header is stored last: the receiver sees none of them before that, and so the receiver does not fetch the lines that
    /// the others are being written to. Each would have to be taken back at the cost of a message.
    ///
    /// Their lengths are the caller's business: [`MIN_MESSAGE_SIZE`] up to the ring's longest message. The iterator must not
    /// panic: what has been entered can't be taken back, and would never be shown.
    #[inline]
    pub(crate) fn push_some<'a>(
        &mut self, messages: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<usize, Corrupted> {
        let mut pushed = 0;
        let mut first = None;
        let mut last = None;
        for payload in messages {
            if let Some(last) = last {
                // Before the first one it was done after the message before was published.
                self.zero_ahead(last);
            }
            let Some(place) = self.find_place(payload.len())? else { break };
            self.fetch(place);
            self.zero(place.end());
            // The first line of all but long payloads comes last: the consumer looks at it all the time, and each look
            // between our first write to it and the header's would cost its way there and back.
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

    /// A place for a message of `len` bytes, to be written before it is sent. `Ok(None)`: there's no room. Nothing is
    /// sent yet; whatever is sent in between takes the place away.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<Option<Place>, Corrupted> {
        let place = self.find_place(len)?;
        if let Some(place) = place {
            // What is written there may come to lie where headers are asked for, if it is never sent. The word at the
            // write position itself is not part of the place.
            self.zeroed = self.write_pos.wrapping_add(FRAME_ALIGN);
            let tail = (len % WORD) as u64;
            if tail > 0 {
                self.ring.words.at(place.payload().wrapping_add(len as u64 - tail)).store(0, Relaxed);
            }
        }
        Ok(place)
    }

    /// Whether a place is still there: nothing else was sent since.
    pub(crate) fn has_place(&self, place: Place) -> bool {
        place.at == self.write_pos
    }

    /// Sends what was written to a place. `false`: the place is no longer there.
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

    /// The ring's data, for those who write to a place.
    pub(crate) fn words(&self) -> &Words {
        &self.ring.words
    }

    #[inline(always)]
    fn find_place(&mut self, len: usize) -> Result<Option<Place>, Corrupted> {
        debug_assert!((MIN_MESSAGE_SIZE..=self.ring.longest_message).contains(&len));
        let end = self.write_pos.wrapping_add(frame_size(len));
        if is_before(self.clear, end) || self.ends.len() >= self.message_limit {
            return self.find_place_anew(len);
        }
        Ok(Some(Place { at: self.write_pos, pad: 0, len }))
    }

    /// Where `clear` doesn't suffice.
    #[inline(never)]
    fn find_place_anew(&mut self, len: usize) -> Result<Option<Place>, Corrupted> {
        let frame = frame_size(len);
        let pad = self.pad(frame);
        if !self.fits(pad + frame, self.read_pos, self.ends.len()) {
            self.refresh()?;
            if !self.fits(pad + frame, self.read_pos, self.ends.len()) {
                return Ok(None);
            }
            self.publish_counters();
        }
        let room = self.free(self.read_pos) - FRAME_ALIGN;
        self.clear = self.write_pos.wrapping_add(room.min(self.ring.words.left(self.write_pos)));
        Ok(Some(Place { at: self.write_pos, pad, len }))
    }

    /// Asks for a frame's lines, the first [`FETCHED`] of them, before they are written to: so they come together, and while
    /// we are getting there. The last one first: what comes first, and is the line that the consumer looks at all the time,
    /// may be gone again by the time that all of it is there to be written.
    #[inline(always)]
    fn fetch(&self, place: Place) {
        let mut line = place.frame().min(FETCHED);
        while line > 0 {
            line -= FRAME_ALIGN;
            self.ring.words.fetch_to_write(place.start().wrapping_add(line));
        }
    }

    /// Makes sure that the place where the next header will stand is zero.
    #[inline(always)]
    fn zero(&mut self, end: u64) {
        if !is_before(end, self.zeroed) {
            self.ring.words.at(end).store(0, Relaxed);
            self.zeroed = end.wrapping_add(FRAME_ALIGN);
        }
    }

    /// Enters a message that has been written as sent. Returns the header that is to stand at its `at`.
    #[inline(always)]
    fn enter(&mut self, place: Place) -> FrameHeader {
        let mut header = FrameHeader::new(FrameHeader::MESSAGE, place.len, self.sequence);
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

    /// Lets the consumer see a message, and all that were entered after it.
    #[inline(always)]
    fn publish(&mut self, place: Place, header: FrameHeader) {
        // Releases payloads, later headers, and what was zeroed, to the consumer's acquiring look at the header.
        self.ring.words.at(place.at).store(header.0, Release);
        // For the look at the peer's wake word that follows (`wake.rs`): a sleeping peer must see the messages, or we
        // must see that it sleeps. A swap of the header would do for both, but the header would have to wait for it.
        fence(SeqCst);
    }

    /// Zeroes the places where the next headers may be asked for, as far as they are free.
    ///
    /// The consumer's processor fetches lines far beyond the one that it looks at, since it has seen where we are going:
    /// nearly every line that we come to has to be taken back, and a fence waits until it is. Several lines at once are
    /// taken back in the time that one takes. So they are zeroed a few at a time: after a message was published, which
    /// mustn't wait for it, and between those of a batch. Not after a long one: where the next is as long, most of what would
    /// be zeroed is no header's.
    #[inline]
    fn zero_ahead(&mut self, last: Place) {
        if last.frame() > ZEROED_AHEAD || !is_before(self.zeroed, self.write_pos.wrapping_add(FEWEST_ZEROED))
        {
            return;
        }
        let until = self.write_pos.wrapping_add(self.free(self.read_pos).min(ZEROED_AHEAD));
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
