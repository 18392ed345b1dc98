//! The receiving end of a ring. The parent module describes the protocol.

use super::{Corrupted, Ring};
use crate::bytes::Destination;
use crate::layout::{
    first_position, frame_header, FrameHeader, FRAME_ALIGN, FRAME_HEADER, FURTHEST_EVICTION, LONGEST_ORDINARY,
};
use crate::sync::look_barrier;
use crate::sync::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// The result of an attempt to take a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pop {
    /// The destination has received this number of bytes, which are one message or several.
    Message(usize),
    /// The next message has this number of bytes, for which the destination had no room.
    TooSmall(usize),
    /// Nothing is queued.
    Empty,
    /// In every try, the producer evicted the message that the consumer was copying. There may be another message.
    Busy,
}

/// What the consumer finds at a position.
enum Frame {
    Message { payload: u64, len: usize, sequence: u64, end: u64 },
    Nothing,
    Impossible,
}

/// Consecutive messages that the consumer takes together.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// The sequence of the first message.
    first: u64,
    count: u64,
    /// The number of bytes in all payloads.
    len: usize,
    end: u64,
}

/// A destination without room for any message, so that none is taken.
struct NoRoom;

impl Destination for NoRoom {
    fn room(&mut self, _len: usize) -> Option<*mut u8> {
        None
    }

    unsafe fn commit(&mut self, _len: usize) {}
}

/// A message that the caller reads in the ring, before it is taken.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct Borrowed {
    /// The read position when the message was borrowed.
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

/// A length that no message has.
const IMPOSSIBLE: usize = usize::MAX;

/// A call may copy and discard this number of bytes of long messages, or four of the longest messages.
const MOST_DISCARDED: u64 = 32 << 20;

const NO_FRAME: &str = "there is no frame at read_pos";

/// The receiving end of a ring.
pub(crate) struct Consumer {
    ring: Ring,
    pub(super) read_pos: u64,
    /// The sequence of the next message. If `moved` is set, a lower bound of that sequence.
    pub(super) sequence: u64,
    /// Whether the producer moved `read_pos` since the last message. Then the next message has a later sequence.
    moved: bool,
    received: u64,
    lost: u64,
    /// Bytes of long messages that were copied and discarded.
    discarded: u64,
}

impl Consumer {
    /// The number of tries. If the producer evicts the message in each of them, the result is [`Pop::Busy`]. With a long
    /// message there is one try.
    const TRIES: usize = 8;

    pub(crate) fn new(ring: Ring, generation: u32) -> Self {
        let read_pos = first_position(generation);
        Consumer { ring, read_pos, sequence: 0, moved: false, received: 0, lost: 0, discarded: 0 }
    }

    /// Returns the number of messages taken in this generation.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Returns the number of messages evicted before the last message that was taken. Later evictions are counted with
    /// the next message, whose sequence shows them.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Returns the number of bytes of long messages that were copied and discarded, since the sender evicted the messages
    /// meanwhile.
    pub(crate) fn discarded(&self) -> u64 {
        self.discarded
    }

    /// Returns how many such bytes one call may copy.
    pub(crate) fn most_discarded(&self) -> u64 {
        MOST_DISCARDED.max(4 * self.ring.lengths.longest() as u64)
    }

    /// Whether there may be a message. Reads one word, so that a spinning thread can call it in a loop.
    #[inline(always)]
    pub(crate) fn looks_ready(&self) -> bool {
        self.ring.words.at(self.read_pos).load(Relaxed) != 0
    }

    /// Takes the oldest message, or several messages if the destination accepts several and has room for them.
    ///
    /// Several messages are copied out one after the other, then taken by one compare-exchange. This fails if one of
    /// them was evicted meanwhile. The later tries take one message each, since they are more likely to succeed.
    #[inline(always)]
    pub(crate) fn pop<D: Destination>(&mut self, to: &mut D) -> Result<Pop, Corrupted> {
        for attempt in 0..Self::TRIES {
            match self.frame(self.read_pos, self.sequence, self.moved) {
                Frame::Message { payload, len, sequence, end } => {
                    let Some(space) = to.room(len) else {
                        // Check that the message was not evicted: nothing is taken here, so that no compare-exchange
                        // would find it out, and the producer may have overwritten the header that held the length.
                        if self.follow()? {
                            continue;
                        }
                        return Ok(Pop::TooSmall(len));
                    };
                    // SAFETY: `room` returned memory for `len` bytes outside the section.
                    unsafe { self.ring.words.read(payload, space, len) };
                    let mut run = Run { first: sequence, count: 1, len, end };
                    if D::SEVERAL && attempt == 0 {
                        run = self.copy_more(run, to);
                    }
                    fail_point!("receive.copied");
                    match self.take(run) {
                        Ok(()) => {
                            // SAFETY: `read` has written all memory that `to` returned, in total `run.len` bytes.
                            unsafe { to.commit(run.len) };
                            return Ok(Pop::Message(run.len));
                        }
                        Err(read_pos) => {
                            self.jump(read_pos)?;
                            if len > LONGEST_ORDINARY {
                                // A copy takes time: the caller asks the sender to evict more at once.
                                self.discarded += run.len as u64;
                                break;
                            }
                        }
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

    /// Copies out the messages after `run` too, as long as the destination has room. Returns the longer run.
    fn copy_more(&self, mut run: Run, to: &mut impl Destination) -> Run {
        loop {
            let next = (run.first + run.count) % FrameHeader::SEQUENCES;
            // Whatever else is there, an impossible frame included, the next call finds and reports it.
            let Frame::Message { payload, len, end, .. } = self.frame(run.end, next, false) else {
                return run;
            };
            let Some(space) = to.more_room(len) else { return run };
            // SAFETY: `more_room` returned memory for `len` bytes outside the section.
            unsafe { self.ring.words.read(payload, space, len) };
            run = Run { count: run.count + 1, len: run.len + len, end, ..run };
        }
    }

    /// Takes messages that have been copied out. The error is the position to which the producer moved `read_pos`
    /// meanwhile.
    #[inline(always)]
    fn take(&mut self, run: Run) -> Result<(), u64> {
        // The release orders the copying before the producer's acquiring load of `read_pos`, after which the producer
        // may overwrite the frames.
        if self.ring.rejects {
            // Nobody else moves it, except a peer that breaks the protocol.
            let found = self.ring.header().read_pos.load(Acquire);
            if found != self.read_pos {
                return Err(found);
            }
            self.ring.header().read_pos.store(run.end, Release);
        } else {
            // Sequentially consistent because of the load of the peer's wake word that follows.
            self.ring.header().read_pos.compare_exchange(self.read_pos, run.end, SeqCst, Acquire)?;
            look_barrier();
        }
        if self.moved {
            self.lost = self.lost.saturating_add(self.distance(run.first));
            self.moved = false;
        }
        self.sequence = (run.first + run.count) % FrameHeader::SEQUENCES;
        self.read_pos = run.end;
        self.received += run.count;
        Ok(())
    }

    /// Finds the oldest message without taking it, so that the caller can read it in the ring. The producer must be one
    /// that never evicts.
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

    /// Returns the address of a borrowed payload.
    #[cfg(not(loom))]
    pub(crate) fn locate(&self, borrowed: &Borrowed) -> *const u8 {
        self.ring.words.address(borrowed.payload, borrowed.run.len)
    }

    /// Copies the start of a borrowed message, up to the length of `to`.
    #[cfg(all(feature = "c-api", not(loom)))]
    pub(crate) fn copy_out(&self, borrowed: &Borrowed, to: &mut [u8]) {
        let len = borrowed.run.len.min(to.len());
        // SAFETY: `to` has at least `len` bytes, and is memory of this process.
        unsafe { self.ring.words.read(borrowed.payload, to.as_mut_ptr(), len) };
    }

    /// Takes a borrowed message. Returns `Ok(false)` if another call has taken it meanwhile.
    #[cfg(not(loom))]
    pub(crate) fn release(&mut self, borrowed: &Borrowed) -> Result<bool, Corrupted> {
        if borrowed.at != self.read_pos {
            return Ok(false);
        }
        match self.take(borrowed.run) {
            Ok(()) => Ok(true),
            Err(_) => Err(Corrupted("a message was evicted from a channel that does not evict")),
        }
    }

    /// Whether a message is queued. Returns `None` if the producer evicted the message in every try.
    pub(crate) fn peek(&mut self) -> Result<Option<bool>, Corrupted> {
        match self.pop(&mut NoRoom)? {
            Pop::TooSmall(_) => Ok(Some(true)),
            Pop::Empty => Ok(Some(false)),
            Pop::Busy => Ok(None),
            Pop::Message(_) => unreachable!("no message has room"),
        }
    }

    /// Counts the queued messages, up to `limit`. The count starts at the oldest message at the time of the call. The
    /// producer may send and evict messages meanwhile, so that the number is an estimate.
    pub(crate) fn queued(&self, limit: usize) -> usize {
        self.walk(limit).0
    }

    /// Counts the messages that were sent after the last one that was taken: those that are queued, up to `limit`, and
    /// those that were evicted before them.
    #[cfg(all(feature = "c-api", not(loom)))] // Only C reports what it discards.
    pub(crate) fn not_taken(&self, limit: usize) -> u64 {
        match self.walk(limit) {
            (0, _) => 0,
            (_, next) => self.distance(next),
        }
    }

    /// Counts queued messages, up to `limit`. Returns the number and the sequence of the message after them.
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

    /// Returns the number of sequences from the expected one to `sequence`.
    fn distance(&self, sequence: u64) -> u64 {
        sequence.wrapping_sub(self.sequence) % FrameHeader::SEQUENCES
    }

    /// Reads and checks the frame at `at`. Each header word is read once, and all of its fields are checked.
    #[inline]
    fn frame(&self, at: u64, expected: u64, moved: bool) -> Frame {
        // Acquires the producer's publication. Both loads of headers acquire for a second reason: neither of them may
        // be moved after the later load of `read_pos`, which decides whether the headers are valid.
        let first = FrameHeader(self.ring.words.at(at).load(Acquire));
        if first.0 == 0 {
            return Frame::Nothing;
        }
        // The fast path: a message with the expected sequence, of any length, is nearly always there.
        if moved || !first.differs_in_length_alone(FrameHeader::new(FrameHeader::MESSAGE, 0, expected)) {
            let (start, len) = self.unusual_frame(at, first, expected, moved);
            return self.checked(start, frame_header(len), len, first.sequence());
        }
        self.checked(at, FRAME_HEADER, first.len(), first.sequence())
    }

    /// Checks the length of the message whose frame starts at `start`, and has `header` bytes before the payload.
    #[inline(always)]
    fn checked(&self, start: u64, header: u64, len: usize, sequence: u64) -> Frame {
        let size = (len as u64).wrapping_add(header + FRAME_ALIGN - 1) & !(FRAME_ALIGN - 1);
        if !self.ring.lengths.contain(len) || size > self.ring.words.left(start) {
            return Frame::Impossible;
        }
        Frame::Message { payload: start.wrapping_add(header), len, sequence, end: start.wrapping_add(size) }
    }

    /// Reads the headers of a frame after an eviction, at the end of the ring, or of a long message. Returns where the
    /// message's own frame starts, and the message's length, which is not checked. For an impossible frame, the length is
    /// [`IMPOSSIBLE`].
    ///
    /// It is not inlined, and returns two numbers, which are in registers, so that the fast path is short.
    #[inline(never)]
    fn unusual_frame(&self, at: u64, first: FrameHeader, expected: u64, moved: bool) -> (u64, usize) {
        let gap = first.sequence().wrapping_sub(expected) % FrameHeader::SEQUENCES;
        if moved && !(1..FrameHeader::SEQUENCES / 2).contains(&gap) || !moved && gap != 0 {
            return (at, IMPOSSIBLE);
        }
        let (mut start, mut header) = (at, first);
        if first.kind() == FrameHeader::PAD {
            start = at.wrapping_add(self.ring.words.left(at));
            header = FrameHeader(self.ring.words.at(start).load(Acquire));
        }
        let len = match header.kind() {
            FrameHeader::MESSAGE => header.len() as u64,
            // Acquires for the second reason in `frame`.
            FrameHeader::LONG => self.ring.words.at(start.wrapping_add(FRAME_HEADER)).load(Acquire),
            _ => return (at, IMPOSSIBLE),
        };
        let is_long = header.kind() == FrameHeader::LONG;
        if header.sequence() != first.sequence() || is_long != (len > LONGEST_ORDINARY as u64) {
            return (at, IMPOSSIBLE);
        }
        (start, usize::try_from(len).unwrap_or(IMPOSSIBLE))
    }

    /// Whether the producer moved `read_pos`. If it did, the consumer continues from the new position.
    fn follow(&mut self) -> Result<bool, Corrupted> {
        // Acquires the producer's eviction. Together with the release fence after an eviction, this makes sure that a
        // consumer that has read an overwritten header sees the new `read_pos` here. See "Evicting" in the parent
        // module.
        let read_pos = self.ring.header().read_pos.load(Acquire);
        if read_pos == self.read_pos {
            return Ok(false);
        }
        self.jump(read_pos)?;
        Ok(true)
    }

    /// Continues from the position to which the producer moved `read_pos`. The position must be later, a multiple of
    /// the frame alignment, and in the same generation: a consumer of an old session must not read the messages of a
    /// new one.
    fn jump(&mut self, read_pos: u64) -> Result<(), Corrupted> {
        let ahead = read_pos.wrapping_sub(self.read_pos);
        if ahead == 0 || ahead > FURTHEST_EVICTION || read_pos % FRAME_ALIGN != 0 {
            return Err(Corrupted("read_pos moved to a position where no frame can start"));
        }
        self.read_pos = read_pos;
        self.moved = true;
        Ok(())
    }
}
