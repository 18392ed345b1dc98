//! The receiving end of a ring: see the module above.

use super::{Corrupted, Ring};
use crate::bytes::Destination;
use crate::constants::MIN_MESSAGE_SIZE;
use crate::layout::{first_position, frame_size, FrameHeader, FRAME_ALIGN, FRAME_HEADER, FURTHEST_EVICTION};
use crate::sync::look_barrier;
use crate::sync::Ordering::{Acquire, Relaxed, SeqCst};

/// What became of an attempt to take a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pop {
    /// So many bytes are in the destination: a message, or several.
    Message(usize),
    /// The next message has this number of bytes, and the destination had no room for them.
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

/// Messages that are taken together.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// The first one's sequence.
    first: u64,
    count: u64,
    /// Their payloads' bytes.
    len: usize,
    end: u64,
}

/// A message that was lent out where it lies.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct Borrowed {
    /// The read position at which it was found.
    at: u64,
    payload: u64,
    run: Run,
}

#[cfg(not(loom))]
impl Borrowed {
    pub(crate) fn len(&self) -> usize {
        self.run.len
    }
}

const NO_FRAME: &str = "what stands at read_pos is no frame";

/// The receiving end of a ring.
pub(crate) struct Consumer {
    ring: Ring,
    pub(super) read_pos: u64,
    /// The sequence of the next message, or a lower bound of it if `moved`.
    pub(super) sequence: u64,
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

    /// Takes the oldest message, or several where the destination has room for them.
    ///
    /// Several are copied out one after the other and then taken by one swap, which fails if but one of them was
    /// evicted meanwhile. The attempts after that take one at a time, which has the better chance.
    #[inline(always)]
    pub(crate) fn pop<D: Destination>(&mut self, to: &mut D) -> Result<Pop, Corrupted> {
        for attempt in 0..Self::TRIES {
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
                    let mut run = Run { first: sequence, count: 1, len, end };
                    if D::SEVERAL && attempt == 0 {
                        run = self.copy_more(run, to);
                    }
                    fail_point!("receive.copied");
                    match self.take(run) {
                        Ok(()) => {
                            // SAFETY: `read` has written all of the places, and these are their bytes together.
                            unsafe { to.commit(run.len) };
                            return Ok(Pop::Message(run.len));
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
                        return Err(Corrupted(NO_FRAME));
                    }
                }
            }
        }
        Ok(Pop::Busy)
    }

    /// Copies out what stands behind a message too, as far as there is room for it.
    fn copy_more(&self, mut run: Run, to: &mut impl Destination) -> Run {
        loop {
            let next = (run.first + run.count) % FrameHeader::SEQUENCES;
            // Whatever else stands there: if it matters, the next call will find it.
            let Frame::Message { payload, len, end, .. } = self.frame(run.end, next, false) else {
                return run;
            };
            let Some(place) = to.more_room(len) else { return run };
            // SAFETY: `more_room` gave a place of `len` bytes outside the section.
            unsafe { self.ring.words.read(payload, place, len) };
            run = Run { count: run.count + 1, len: run.len + len, end, ..run };
        }
    }

    /// Takes messages that have been copied out. The error is where the producer moved `read_pos` meanwhile.
    #[inline(always)]
    fn take(&mut self, run: Run) -> Result<(), u64> {
        // Releases the copying to the producer's acquiring look at `read_pos`, before it reuses the place. Sequentially
        // consistent for the look at the peer's wake word that follows.
        self.ring.header().read_pos.compare_exchange(self.read_pos, run.end, SeqCst, Acquire)?;
        look_barrier();
        if self.moved {
            self.lost = self.lost.saturating_add(self.distance(run.first));
            self.moved = false;
        }
        self.sequence = (run.first + run.count) % FrameHeader::SEQUENCES;
        self.read_pos = run.end;
        self.received += run.count;
        Ok(())
    }

    /// The oldest message, where it lies: not taken yet. For rings whose producer evicts nothing.
    #[cfg(not(loom))]
    pub(crate) fn borrow(&self) -> Result<Option<Borrowed>, Corrupted> {
        match self.frame(self.read_pos, self.sequence, false) {
            Frame::Message { payload, len, sequence, end } => Ok(Some(Borrowed {
                at: self.read_pos,
                payload,
                run: Run { first: sequence, count: 1, len, end },
            })),
            Frame::Nothing => Ok(None),
            Frame::Impossible => Err(Corrupted(NO_FRAME)),
        }
    }

    /// Where in memory it lies.
    #[cfg(not(loom))]
    pub(crate) fn locate(&self, borrowed: &Borrowed) -> *const u8 {
        self.ring.words.place(borrowed.payload, borrowed.run.len)
    }

    /// Copies what was borrowed, as much of it as `to` holds.
    #[cfg(all(feature = "c-api", not(loom)))]
    pub(crate) fn copy_out(&self, borrowed: &Borrowed, to: &mut [u8]) {
        let len = borrowed.run.len.min(to.len());
        // SAFETY: `to` holds that number of bytes, and is memory of this process.
        unsafe { self.ring.words.read(borrowed.payload, to.as_mut_ptr(), len) };
    }

    /// Takes what was borrowed. `Ok(false)`: it has been taken since.
    #[cfg(not(loom))]
    pub(crate) fn release(&mut self, borrowed: &Borrowed) -> Result<bool, Corrupted> {
        if borrowed.at != self.read_pos {
            return Ok(false);
        }
        match self.take(borrowed.run) {
            Ok(()) => Ok(true),
            Err(_) => Err(Corrupted("a message was evicted where none may be")),
        }
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
    /// the oldest message was a moment ago.
    pub(crate) fn queued(&self, limit: usize) -> usize {
        self.walk(limit).0
    }

    /// How many messages were sent since the last one that was taken: those that are queued, at most `limit`, and those that
    /// were evicted before them.
    #[cfg(all(feature = "c-api", not(loom)))] // C alone reports what it discards.
    pub(crate) fn not_taken(&self, limit: usize) -> u64 {
        match self.walk(limit) {
            (0, _) => 0,
            (_, next) => self.distance(next),
        }
    }

    /// Counts queued messages, and returns the sequence of the one after them.
    fn walk(&self, limit: usize) -> (usize, u64) {
        let mut at = self.ring.header().read_pos.load(Acquire);
        let (mut sequence, mut moved) = (self.sequence, self.moved || at != self.read_pos);
        let mut count = 0;
        while count < limit {
            let Frame::Message { sequence: this, end, .. } = self.frame(at, sequence, moved) else { break };
            (at, sequence, moved) = (end, (this + 1) % FrameHeader::SEQUENCES, false);
            count += 1;
        }
        (count, sequence)
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
        let (mut start, mut header) = (at, first);
        // But for the length, there's one header that is nearly always there.
        if moved || !first.differs_in_length_alone(FrameHeader::new(FrameHeader::MESSAGE, 0, expected)) {
            let gap = first.sequence().wrapping_sub(expected) % FrameHeader::SEQUENCES;
            if moved && !(1..FrameHeader::SEQUENCES / 2).contains(&gap) || !moved && gap != 0 {
                return Frame::Impossible;
            }
            if first.kind() == FrameHeader::PAD {
                start = at.wrapping_add(self.ring.words.left(at));
                header = FrameHeader(self.ring.words.at(start).load(Acquire));
            }
            if header.kind() != FrameHeader::MESSAGE || header.sequence() != first.sequence() {
                return Frame::Impossible;
            }
        }
        let len = header.len();
        if !(MIN_MESSAGE_SIZE..=self.ring.longest_message).contains(&len)
            || frame_size(len) > self.ring.words.left(start)
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
