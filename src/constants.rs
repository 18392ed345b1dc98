//! The numbers of the protocol that callers may rely on.

/// Bytes in each of a channel's two rings, unless the server's options say otherwise: 2 MiB.
pub const RING_CAPACITY: usize = 2 * 1024 * 1024;

/// The largest number of messages that one ring queues, unless the server's options say otherwise.
pub const MAX_MESSAGES: usize = 250;

/// The longest message in bytes. In a ring of 128 KiB or less, it is half the ring's bytes minus 8.
pub const MAX_MESSAGE_SIZE: usize = 65_535;

/// The shortest message in bytes.
pub const MIN_MESSAGE_SIZE: usize = 2;

/// The smallest ring in bytes that a server's options may ask for: 4 KiB.
pub const MIN_RING_CAPACITY: usize = 4 * 1024;

/// The largest ring in bytes that a server's options may ask for: 1 GiB.
pub const MAX_RING_CAPACITY: usize = 1024 * 1024 * 1024;

/// The first four bytes of a section, as a little-endian number.
pub const MAGIC: u32 = 0x5853_484D;

/// The version of the wire format. It differs from that of other libraries of the same name and magic
/// (`0x0001_0000`), so that each refuses the other.
pub const PROTOCOL_VERSION: u32 = 0x0002_0000;
