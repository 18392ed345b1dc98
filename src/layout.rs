//! The layout of a section: the offset and meaning of each field.
//!
//! ```text
//! offset          size      what
//! 0               64        ControlBlock
//! 64              64        RingHeader A, server -> client
//! 128             capacity  ring A
//! 128 +  capacity 64        RingHeader B, client -> server
//! 192 +  capacity capacity  ring B
//! ```
//!
//! With the default ring of 2 MiB, a section has 4,194,496 bytes. All numbers are in the machine's byte order. Every
//! field is an atomic, since either process may write any field at any time. Each field's comment names the side that
//! *should* write it.
//!
//! The control block's cache line is rarely written: after the handshake both sides only read it, unless one of them
//! goes to sleep.

use crate::constants::{
    MAX_MESSAGES, MAX_MESSAGE_SIZE, MAX_RING_CAPACITY, MIN_MESSAGE_SIZE, MIN_RING_CAPACITY, RING_CAPACITY,
};
use crate::error::{Result, ShmError};
use crate::sync::{AtomicU32, AtomicU64, SwapWord};
use std::mem::size_of;

/// The first cache line of a section. It holds the states of the server and the client, and the wake words of both.
///
/// A real section starts as zeros, which are valid values. loom's atomics have to be constructed.
#[repr(C, align(64))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct ControlBlock {
    /// [`MAGIC`](crate::constants::MAGIC). Written by the server before any client can find the section.
    pub(crate) magic: AtomicU32,
    /// [`PROTOCOL_VERSION`](crate::constants::PROTOCOL_VERSION). Written like `magic`.
    pub(crate) version: AtomicU32,
    /// Counts connections. The server writes it before it accepts a client; the compare-exchange of `client_state`
    /// releases it. The client reads it after it has seen in `client_state` (acquired) that it was accepted.
    pub(crate) generation: AtomicU32,
    /// [`SERVER_UP`] or [`SERVER_GONE`]. Written by the server (release), read by the client (acquire).
    pub(crate) server_state: AtomicU32,
    /// A [`ClientWord`](crate::channel::handshake::ClientWord). Both sides change it, by compare-exchange (acquire
    /// and release) only.
    pub(crate) client_state: SwapWord,
    /// The server's wake word, see [`crate::wake`].
    pub(crate) server_wake: SwapWord,
    /// The client's wake word.
    pub(crate) client_wake: SwapWord,
    /// Bytes in each ring. Written like `magic`.
    pub(crate) capacity: AtomicU32,
    /// The largest number of messages that a ring queues. Written like `magic`.
    pub(crate) message_limit: AtomicU32,
    /// [`FLAG_EVENTS`], [`FLAG_REJECT`], [`FLAG_MULTI`] and [`FLAG_LENGTHS`]. Written like `magic`.
    pub(crate) flags: AtomicU32,
    /// The server's process id. Written like `magic`; a hint, since the client can write it too.
    pub(crate) server_pid: AtomicU32,
    /// Distinguishes this server's kernel objects from those of its predecessors under the same name. Written like
    /// `magic`.
    pub(crate) instance: AtomicU64,
}

/// The cache line before each ring. Of its first four fields, xshm makes decisions by `read_pos` only.
#[repr(C, align(64))]
#[cfg_attr(any(test, loom), derive(Default))]
pub(crate) struct RingHeader {
    /// The position of the next frame. A statistic: the sender writes it (relaxed), but not for every message.
    pub(crate) write_pos: AtomicU64,
    /// The position of the oldest unread frame. The receiver moves it when it takes a frame, and the sender when it
    /// evicts one. Both do so by compare-exchange (the receiver's is sequentially consistent), except that the
    /// receiver stores it where a full ring rejects. The server resets it
    /// while no client uses the section.
    pub(crate) read_pos: SwapWord,
    /// Messages sent in this generation. A statistic like `write_pos`.
    pub(crate) message_count: AtomicU64,
    /// Messages evicted in this generation. A statistic like `write_pos`.
    pub(crate) drop_count: AtomicU64,
    /// In the first ring of a multi-client server's channel: 0, [`NO_SLOT`], or [`FIRST_SLOT`] plus the client's slot.
    /// The server writes it (release) after it has called its handler. The client reads it (acquire).
    pub(crate) slot: AtomicU64,
    /// In the same ring as `slot`: the number in the name of the admission event, by which clients take turns, or 0.
    /// The server writes it before a client can find the channel.
    pub(crate) turn: AtomicU64,
    /// In the same ring as `slot`: 1 while the client waits for a slot whose last client has left. The server writes it
    /// (release), and the client reads it (acquire).
    pub(crate) slot_awaited: AtomicU64,
    /// In the first ring of a channel with [`FLAG_LENGTHS`]: the length of the longest message. Written like `magic`.
    pub(crate) max_message_size: AtomicU64,
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::{align_of, offset_of};
    assert!(size_of::<ControlBlock>() == 64 && align_of::<ControlBlock>() == 64);
    assert!(offset_of!(ControlBlock, magic) == 0);
    assert!(offset_of!(ControlBlock, version) == 4);
    assert!(offset_of!(ControlBlock, generation) == 8);
    assert!(offset_of!(ControlBlock, server_state) == 12);
    assert!(offset_of!(ControlBlock, client_state) == 16);
    assert!(offset_of!(ControlBlock, server_wake) == 24);
    assert!(offset_of!(ControlBlock, client_wake) == 32);
    assert!(offset_of!(ControlBlock, capacity) == 40);
    assert!(offset_of!(ControlBlock, message_limit) == 44);
    assert!(offset_of!(ControlBlock, flags) == 48);
    assert!(offset_of!(ControlBlock, server_pid) == 52);
    assert!(offset_of!(ControlBlock, instance) == 56);
    assert!(size_of::<RingHeader>() == 64 && align_of::<RingHeader>() == 64);
    assert!(offset_of!(RingHeader, write_pos) == 0);
    assert!(offset_of!(RingHeader, read_pos) == 8);
    assert!(offset_of!(RingHeader, message_count) == 16);
    assert!(offset_of!(RingHeader, drop_count) == 24);
    assert!(offset_of!(RingHeader, slot) == 32);
    assert!(offset_of!(RingHeader, turn) == 40);
    assert!(offset_of!(RingHeader, slot_awaited) == 48);
    assert!(offset_of!(RingHeader, max_message_size) == 56);
    assert!(Geometry::DEFAULT.header_offset(Direction::ServerToClient) == 64);
    assert!(Geometry::DEFAULT.ring_offset(Direction::ServerToClient) == 128);
    assert!(Geometry::DEFAULT.header_offset(Direction::ClientToServer) == 128 + 2 * 1024 * 1024);
    assert!(Geometry::DEFAULT.ring_offset(Direction::ClientToServer) == 192 + 2 * 1024 * 1024);
    assert!(Geometry::DEFAULT.section_size() == 4_194_496);
};

/// `server_state`: the server serves this section.
pub(crate) const SERVER_UP: u32 = 1;
/// `server_state`: the server has left and will not come back to this section.
pub(crate) const SERVER_GONE: u32 = 2;

/// `flags`: the channel has events. Without them, a side that waits looks at the ring every millisecond.
pub(crate) const FLAG_EVENTS: u32 = 1;
/// `flags`: a full ring rejects instead of evicting.
pub(crate) const FLAG_REJECT: u32 = 2;
/// `flags`: the channel belongs to a multi-client server.
pub(crate) const FLAG_MULTI: u32 = 4;
/// `flags`: the server's program has set the length of the longest message, and a message may have any length up to it.
pub(crate) const FLAG_LENGTHS: u32 = 8;

/// `slot`: the server has no free slot, and ends the session.
pub(crate) const NO_SLOT: u64 = 1;
/// `slot`: the client has slot 0. Slot N has the value `FIRST_SLOT + N`.
pub(crate) const FIRST_SLOT: u64 = 2;

/// Frames start at multiples of this number of bytes. It is a cache line, so that no two messages share one. In a
/// model a frame may start at every word, which is the worst case for an old payload that looks like a header. Models
/// with the real value exist too (`--cfg xshm_full_frames`).
pub(crate) const FRAME_ALIGN: u64 = if cfg!(all(loom, not(xshm_full_frames))) { 8 } else { 64 };

/// The bytes in the smallest ring. The rings of models have only a few words, since each word takes the checker time.
const SMALLEST_RING: usize = if cfg!(loom) { 16 } else { MIN_RING_CAPACITY };

/// The number of bytes in a frame's header word.
pub(crate) const FRAME_HEADER: u64 = 8;

/// The largest number of bytes in an ordinary frame's payload. A longer message has a long frame. The rings of models are too
/// small for such messages, so that models have a smaller limit (`--cfg xshm_long_frames`), and so has fuzzing.
pub(crate) const LONGEST_ORDINARY: usize = if cfg!(all(loom, xshm_long_frames)) {
    8
} else if cfg!(fuzzing) {
    256
} else {
    MAX_MESSAGE_SIZE
};

/// The number of bytes before a long frame's payload: the header word, the length, and the rest of the cache line, so that the
/// payload begins at a line.
pub(crate) const LONG_FRAME_HEADER: u64 = if FRAME_ALIGN < 16 { 16 } else { FRAME_ALIGN };

/// Returns the number of bytes before the payload of a message of `len` bytes.
#[inline(always)]
pub(crate) const fn frame_header(len: usize) -> u64 {
    if len > LONGEST_ORDINARY {
        LONG_FRAME_HEADER
    } else {
        FRAME_HEADER
    }
}

/// Returns the number of bytes that a message of `len` bytes occupies in a ring.
#[inline(always)]
pub(crate) const fn frame_size(len: usize) -> u64 {
    (frame_header(len) + len as u64 + FRAME_ALIGN - 1) & !(FRAME_ALIGN - 1)
}

/// The lengths that a channel's messages may have, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lengths {
    shortest: usize,
    /// The longest minus the shortest one, so that one comparison checks a length.
    span: usize,
}

impl Lengths {
    /// The lengths on a channel whose server's program has not set the longest one.
    pub(crate) const fn usual(capacity: u64) -> Self {
        let longest = most_bytes(capacity);
        let longest = if longest < MAX_MESSAGE_SIZE { longest } else { MAX_MESSAGE_SIZE };
        Lengths { shortest: MIN_MESSAGE_SIZE, span: longest - MIN_MESSAGE_SIZE }
    }

    /// All lengths up to the longest one.
    pub(crate) const fn up_to(longest: usize) -> Self {
        Lengths { shortest: 0, span: longest }
    }

    pub(crate) const fn longest(self) -> usize {
        self.shortest + self.span
    }

    #[inline(always)]
    pub(crate) fn contain(self, len: usize) -> bool {
        len.wrapping_sub(self.shortest) <= self.span
    }

    /// Checks that a message may have `len` bytes.
    #[inline(always)]
    pub(crate) fn check(self, len: usize) -> Result<()> {
        if self.contain(len) {
            Ok(())
        } else if len < self.shortest {
            Err(ShmError::MessageTooSmall)
        } else {
            Err(ShmError::MessageTooLarge)
        }
    }
}

/// Returns the length of the longest message for which a ring of `capacity` bytes has room: its frame takes half the ring, so
/// that it fits into an empty ring at any write position.
const fn most_bytes(capacity: u64) -> usize {
    let half = capacity / 2;
    if half - FRAME_HEADER <= LONGEST_ORDINARY as u64 {
        (half - FRAME_HEADER) as usize
    } else {
        (half - LONG_FRAME_HEADER) as usize
    }
}

/// The length of the longest message for which any ring has room.
pub(crate) const LARGEST_MESSAGE: usize = most_bytes(MAX_RING_CAPACITY as u64);

/// The direction of a ring's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ServerToClient,
    ClientToServer,
}

/// The sizes of a channel. They are checked, so that every offset computed from them is correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    capacity: u32,
    message_limit: u32,
    /// The length of the longest message, if the server's program has set it.
    max_message_size: Option<u32>,
}

impl Geometry {
    pub(crate) const DEFAULT: Geometry = Geometry {
        capacity: RING_CAPACITY as u32,
        message_limit: MAX_MESSAGES as u32,
        max_message_size: None,
    };

    /// Checks the sizes that a caller asks for. The error names the nearest possible values.
    pub(crate) fn from_options(
        capacity: usize, message_limit: usize, max_message_size: Option<usize>,
    ) -> Result<Self> {
        if !is_ring_size(capacity) {
            let wanted = capacity.clamp(SMALLEST_RING, MAX_RING_CAPACITY);
            let above = wanted.next_power_of_two();
            let below = if above == wanted { above } else { above / 2 };
            let reason = if above == below {
                format!("the nearest ring size is {above} bytes")
            } else {
                format!("a ring is a power of two; the nearest are {below} and {above} bytes")
            };
            return Err(ShmError::InvalidOption { option: "ring_size", value: capacity as u64, reason });
        }
        let most = Self::most_messages(capacity as u64);
        if message_limit == 0 || message_limit as u64 > most {
            let reason = format!("a ring of {capacity} bytes holds 1 to {most} messages");
            let value = message_limit as u64;
            return Err(ShmError::InvalidOption { option: "message_limit", value, reason });
        }
        let longest = most_bytes(capacity as u64);
        if let Some(bytes) = max_message_size.filter(|bytes| !(MIN_MESSAGE_SIZE..=longest).contains(bytes)) {
            let mut reason =
                format!("it is 2 to {longest} bytes, since a message must fit into half the ring, which has {capacity}");
            if (longest..=LARGEST_MESSAGE).contains(&bytes) {
                let mut large_enough = capacity as u64;
                while most_bytes(large_enough) < bytes {
                    large_enough *= 2;
                }
                reason = format!("{reason}; set ring_size to {large_enough} or more");
            }
            return Err(ShmError::InvalidOption { option: "max_message_size", value: bytes as u64, reason });
        }
        Ok(Geometry {
            capacity: capacity as u32,
            message_limit: message_limit as u32,
            max_message_size: max_message_size.map(|bytes| bytes as u32),
        })
    }

    /// Checks the sizes that a section of `section_size` bytes contains. The peer may have chosen these values.
    pub(crate) fn from_section(capacity: u32, message_limit: u32, section_size: usize) -> Result<Self> {
        let differs = |what, found: u64, expected: u64| ShmError::Incompatible { what, found, expected };
        if !is_ring_size(capacity as usize) {
            return Err(differs("ring size", capacity.into(), RING_CAPACITY as u64));
        }
        let most = Self::most_messages(capacity.into());
        if message_limit == 0 || u64::from(message_limit) > most {
            return Err(differs("message limit", message_limit.into(), most));
        }
        let geometry = Geometry { capacity, message_limit, max_message_size: None };
        // Systems round up to pages, the largest of which have 64 KiB.
        let rounded = geometry.section_size().next_multiple_of(64 * 1024);
        if !(geometry.section_size()..=rounded).contains(&section_size) {
            return Err(differs("section size", section_size as u64, geometry.section_size() as u64));
        }
        Ok(geometry)
    }

    /// Adds the length of the longest message, as it stands in a section with [`FLAG_LENGTHS`]. The peer may have chosen it.
    pub(crate) fn with_max_message_size(self, found: u64) -> Result<Self> {
        let longest = most_bytes(self.capacity.into()) as u64;
        if !(MIN_MESSAGE_SIZE as u64..=longest).contains(&found) {
            return Err(ShmError::Incompatible { what: "longest message", found, expected: longest });
        }
        Ok(Geometry { max_message_size: Some(found as u32), ..self })
    }

    /// Returns the length of the longest message, if the server's program has set it.
    pub(crate) fn max_message_size(&self) -> Option<u64> {
        self.max_message_size.map(u64::from)
    }

    pub(crate) fn lengths(&self) -> Lengths {
        match self.max_message_size {
            Some(longest) => Lengths::up_to(longest as usize),
            None => Lengths::usual(self.capacity.into()),
        }
    }

    /// Returns the largest number of messages in a ring. The room of one frame always stays free, see [`crate::ring`].
    const fn most_messages(capacity: u64) -> u64 {
        capacity / FRAME_ALIGN - 1
    }

    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity as u64
    }

    pub(crate) const fn message_limit(&self) -> usize {
        self.message_limit as usize
    }

    // In a real build a word of the ring has 8 bytes in memory, and the offsets are those of the table above. loom's
    // atomics are larger, so that the functions compute with the real sizes of the types.
    const fn ring_size(&self) -> usize {
        self.capacity as usize / size_of::<u64>() * size_of::<AtomicU64>()
    }

    pub(crate) const fn header_offset(&self, direction: Direction) -> usize {
        match direction {
            Direction::ServerToClient => size_of::<ControlBlock>(),
            Direction::ClientToServer => self.ring_offset(Direction::ServerToClient) + self.ring_size(),
        }
    }

    pub(crate) const fn ring_offset(&self, direction: Direction) -> usize {
        self.header_offset(direction) + size_of::<RingHeader>()
    }

    pub(crate) const fn section_size(&self) -> usize {
        self.ring_offset(Direction::ClientToServer) + self.ring_size()
    }
}

fn is_ring_size(bytes: usize) -> bool {
    bytes.is_power_of_two() && (SMALLEST_RING..=MAX_RING_CAPACITY).contains(&bytes)
}

/// The first word of a frame: length (16 bits), kind (4 bits), sequence (44 bits). Never zero. In a long frame the length is
/// zero, and the next word holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader(pub(crate) u64);

impl FrameHeader {
    /// Kind of a message's frame. The length is the payload's.
    pub(crate) const MESSAGE: u64 = 1;
    /// Kind of a pad, which fills the ring up to its end. The message with the same sequence is at the ring's start.
    pub(crate) const PAD: u64 = 2;
    /// Kind of the frame of a message of more than [`LONGEST_ORDINARY`] bytes.
    pub(crate) const LONG: u64 = 3;
    /// Sequences are counted modulo this.
    pub(crate) const SEQUENCES: u64 = 1 << 44;

    pub(crate) fn new(kind: u64, len: usize, sequence: u64) -> Self {
        debug_assert!(len <= MAX_MESSAGE_SIZE && sequence < Self::SEQUENCES);
        FrameHeader(len as u64 | kind << 16 | sequence << 20)
    }

    pub(crate) fn len(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    /// Whether two headers have the same kind and sequence.
    pub(crate) fn differs_in_length_alone(self, other: Self) -> bool {
        self.0 >> 16 == other.0 >> 16
    }

    pub(crate) fn kind(self) -> u64 {
        self.0 >> 16 & 0xf
    }

    pub(crate) fn sequence(self) -> u64 {
        self.0 >> 20
    }
}

/// Returns the first position of a ring in a generation. An operation of an old session, however late, compares
/// `read_pos` with a position that does not occur in the new session, and so fails.
pub(crate) const fn first_position(generation: u32) -> u64 {
    (generation as u64 & 0xffff) << 48
}

/// The largest distance that `read_pos` may move between two loads by the consumer. It is half the distance between the
/// first positions of two generations, 128 TiB, which no producer sends while a consumer sleeps.
pub(crate) const FURTHEST_EVICTION: u64 = 1 << 47;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn valid_sizes_are_accepted_and_errors_name_the_nearest_ones() {
        assert_eq!(Geometry::from_options(RING_CAPACITY, MAX_MESSAGES, None), Ok(Geometry::DEFAULT));
        for bits in 12..=30 {
            assert!(Geometry::from_options(1 << bits, 1, None).is_ok());
        }
        let error = Geometry::from_options(5000, 10, None).unwrap_err();
        assert!(error.to_string().contains("4096 and 8192"), "{error}");
        let error = Geometry::from_options(1 << 31, 10, None).unwrap_err();
        assert!(error.to_string().contains(&(1 << 30).to_string()), "{error}");
        let error = Geometry::from_options(4096, 64, None).unwrap_err();
        assert!(error.to_string().contains("1 to 63"), "{error}");
        assert!(Geometry::from_options(4096, 63, None).is_ok());
        assert!(Geometry::from_options(4096, 0, None).is_err());
    }

    #[test]
    fn a_longest_message_must_fit_the_ring() {
        let sized = |ring, bytes| Geometry::from_options(ring, 1, Some(bytes));
        assert_eq!(sized(1 << 30, (1 << 29) - 64).unwrap().lengths().longest(), 536_870_848);
        assert_eq!(sized(64 << 20, 33_177_600).unwrap().lengths(), Lengths::up_to(33_177_600));
        assert_eq!(sized(64 << 10, 32_760).unwrap().lengths().longest(), 32_760);
        assert_eq!(sized(4096, 2).unwrap().lengths().longest(), 2);
        for (ring, bytes, advice) in [
            (2 << 20, 33_177_600, "set ring_size to 67108864"),
            (2 << 20, 1 << 20, "2 to 1048512 bytes, since a message must fit into half the ring"),
            (2 << 20, 1 << 20, "which has 2097152; set ring_size to 4194304"),
            (1 << 30, 1 << 29, "2 to 536870848 bytes"),
            (64 << 10, 32_761, "which has 65536; set ring_size to 131072"),
            (4096, 1, "2 to 2040 bytes"),
            (4096, usize::MAX, "2 to 2040 bytes"),
        ] {
            let error = sized(ring, bytes).unwrap_err().to_string();
            assert!(error.contains(advice) && error.contains(&bytes.to_string()), "{error}");
        }
    }

    #[test]
    fn a_longest_message_in_a_section_must_fit_the_ring() {
        let longest = most_bytes(2 << 20) as u64;
        assert_eq!(
            Geometry::DEFAULT.with_max_message_size(longest).unwrap().max_message_size(),
            Some(longest)
        );
        for found in [0, 1, longest + 1, 1 << 32, u64::MAX] {
            let expected = ShmError::Incompatible { what: "longest message", found, expected: longest };
            assert_eq!(Geometry::DEFAULT.with_max_message_size(found), Err(expected));
        }
    }

    #[test]
    fn the_sizes_in_a_section_must_fit_the_size_of_the_section() {
        let size = Geometry::DEFAULT.section_size();
        assert!(Geometry::from_section(2 << 20, 250, size).is_ok());
        for (capacity, limit, size, what) in [
            (0, 250, size, "ring size"),
            (3 << 20, 250, size, "ring size"),
            (1 << 31, 250, size, "ring size"),
            (2048, 1, size, "ring size"),
            (2 << 20, 0, size, "message limit"),
            (4096, 64, size, "message limit"),
            (2 << 20, 250, size - 1, "section size"),
            (1 << 20, 250, size, "section size"),
            (1 << 30, 250, size, "section size"),
        ] {
            match Geometry::from_section(capacity, limit, size) {
                Err(ShmError::Incompatible { what: differs, .. }) => assert_eq!(differs, what),
                other => panic!("{capacity} {limit} {size}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_longest_message_fits_wherever_it_starts() {
        for bits in 12..=30 {
            let capacity = 1_u64 << bits;
            for len in [Lengths::usual(capacity).longest(), most_bytes(capacity)] {
                let frame = frame_size(len);
                let worst_pad = frame - FRAME_ALIGN;
                assert!(worst_pad + frame + FRAME_ALIGN <= capacity, "2^{bits}, {len} bytes");
            }
            // One byte more does not fit everywhere.
            assert!(2 * frame_size(most_bytes(capacity) + 1) > capacity);
        }
    }

    #[test]
    fn a_frame_header_holds_what_is_put_into_it() {
        let header = FrameHeader::new(FrameHeader::PAD, 65_535, FrameHeader::SEQUENCES - 1);
        assert_eq!(
            (header.len(), header.kind(), header.sequence()),
            (65_535, FrameHeader::PAD, FrameHeader::SEQUENCES - 1)
        );
    }
}
