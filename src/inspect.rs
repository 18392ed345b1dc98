//! Looking at channels from outside: which there are, which processes are at their ends, and how full they are.
//!
//! [`look`] finds names and channels. It connects to none, signals none, and writes nothing: it maps the memory of each channel for
//! reading alone. So it neither disturbs sessions nor takes a client's place. [`Channel::read`] then reads the present state, as often
//! as the program likes.
//!
//! ```
//! use xshm::{inspect, SharedServer};
//!
//! let server = SharedServer::start("inspected")?;
//! let seen = inspect::look(inspect::Reach::Own)?;
//! assert!(seen.names.iter().any(|name| name.name == "inspected"));
//! let channel = seen.channels.iter().find(|channel| channel.name() == Some("inspected")).unwrap();
//! let state = channel.read();
//! assert_eq!(state.server, inspect::ServerState::Up);
//! assert_eq!(state.client, inspect::ClientState::None);
//! # drop(server);
//! # Ok::<(), xshm::ShmError>(())
//! ```
//!
//! Either side of a channel may write anything into its memory. So all that is read here is what the two sides say, not what is
//! true: [`ChannelState::problems`] lists what no side of this protocol writes. Numbers that change while they are read may not
//! match each other.
//!
//! On Linux, a process sees the channels of the same user, and only the names of others; root sees all. A channel is found as long as
//! a process has its section open. On Windows, a process sees the channels whose access list lets it map their section.

use crate::access::UserId;
use crate::channel::handshake::{ClientState as Word, ClientWord};
use crate::constants::{MAGIC, MAX_MESSAGE_SIZE, MIN_MESSAGE_SIZE, PROTOCOL_VERSION};
use crate::error::Result;
use crate::layout::{
    frame_size, ControlBlock, Direction, FrameHeader, Geometry, RingHeader, FIRST_SLOT, FLAG_EVENTS,
    FLAG_LENGTHS, FLAG_MULTI, FLAG_REJECT, FRAME_ALIGN, LONGEST_ORDINARY, NO_SLOT, SERVER_GONE, SERVER_UP,
};
use crate::sys::{self, kinds, Mapping};
use crate::wake;
use std::fmt;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which channels to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reach {
    /// The channels that this process can reach by name: those of its session (Windows) or its user (Linux), and those whose name
    /// begins with `Global\`.
    #[default]
    Own,
    /// The channels of all sessions and users.
    Machine,
}

/// What [`look`] has found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Seen {
    /// The names that servers have.
    pub names: Vec<Name>,
    /// The channels whose memory this process may read. A server for many clients has one for each client, and one more. A channel
    /// whose server has ended is found as long as a client keeps it.
    pub channels: Vec<Channel>,
}

/// A name that a server has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Name {
    /// The name, with the prefix `Global\` if the machine shares it.
    pub name: String,
    /// The user whose name it is. `None`: it is the machine's, or the system does not say it (Windows).
    pub user: Option<UserId>,
    /// The server's process, if the system says it. On Windows it does not: see [`ChannelState::server_process`].
    pub process: Option<u32>,
    /// Whether a server for one client has said that it serves one. Always false on Windows.
    pub is_busy: bool,
}

/// Looks for channels. It takes a few milliseconds for each hundred processes.
///
/// # Errors
/// [`ShmError::SystemError`](crate::ShmError::SystemError), [`ShmError::WindowsError`](crate::ShmError::WindowsError): the system
/// does not list names or processes.
pub fn look(reach: Reach) -> Result<Seen> {
    let reach = match reach {
        Reach::Own => kinds::Reach::Own,
        Reach::Machine => kinds::Reach::Machine,
    };
    let found = sys::channels(reach)?;
    let names = found.names.into_iter().map(|found| Name {
        name: found.name,
        user: found.user.map(UserId),
        process: found.process,
        is_busy: found.is_busy,
    });
    let mut seen = Seen { names: names.collect(), channels: Vec::new() };
    for found in found.sections {
        // One that cannot be mapped, for instance since this process has no more address space, is left out.
        let Ok(mapping) = Mapping::map_read_only(&found.section) else { continue };
        let owner = found.section.owner().ok().flatten().map(UserId);
        seen.channels.push(Channel {
            id: found.id,
            name: found.name,
            owner,
            processes: found.processes,
            access: found.access,
            words: Words { mapping, size: found.section.size() },
        });
    }
    Ok(seen)
}

/// A channel's memory, mapped for reading. It stays mapped, and so allocated, until this is dropped, also if both sides end.
#[derive(Debug)]
pub struct Channel {
    id: u64,
    name: Option<String>,
    owner: Option<UserId>,
    processes: Vec<u32>,
    access: Option<Vec<String>>,
    words: Words,
}

impl Channel {
    /// Returns the number by which the system distinguishes this channel's memory from others': the inode on Linux, the instance on
    /// Windows.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the channel's name, with the prefix `Global\` if the machine shares it. `None`: it is an anonymous server's.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the user that created the channel's memory.
    pub fn owner(&self) -> Option<&UserId> {
        self.owner.as_ref()
    }

    /// Returns the processes that had the channel's memory open. Empty on Windows, which does not say it.
    pub fn processes(&self) -> &[u32] {
        &self.processes
    }

    /// Returns the entries of the access list, for people: users and what they may do. `None` on Linux, where a section has no list:
    /// the server decides which clients get it.
    pub fn access(&self) -> Option<&[String]> {
        self.access.as_deref()
    }

    /// Returns the size of the channel's memory in bytes, as the system says it.
    pub fn size(&self) -> usize {
        self.words.size
    }

    /// Reads the present state. It takes a microsecond or less if the queues are short, and some hundred if thousands of messages
    /// wait.
    pub fn read(&self) -> ChannelState {
        read(&self.words)
    }
}

/// What a channel's memory said when it was read. The names of the fields are those of the protocol's description.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ChannelState {
    /// What no side of this protocol writes, in words. Empty for a channel that is as it should be.
    pub problems: Vec<String>,
    /// `0x5853_484D`.
    pub magic: u32,
    /// The version of the protocol.
    pub version: u32,
    /// The number of the present or last session. 0: there was none.
    pub generation: u32,
    /// Whether the server serves this channel.
    pub server: ServerState,
    /// The server's process, as the server has written it. A hint: the client can write it too.
    pub server_process: u32,
    /// What the client word says.
    pub client: ClientState,
    /// The process of the present or last client, as it has written it. 0: there was none.
    pub client_process: u32,
    /// The number of requests for a session so far, modulo 2^28.
    pub attempts: u32,
    /// The bytes in each ring.
    pub ring_size: u32,
    /// The largest number of messages in each ring.
    pub message_limit: u32,
    /// The length of the shortest message: 0 if the server has set the longest one, otherwise 2.
    pub min_message_size: u64,
    /// The length of the longest message.
    pub max_message_size: u64,
    /// Whether the sides signal each other. Otherwise each looks every millisecond.
    pub has_events: bool,
    /// Whether a full ring rejects messages. Otherwise it evicts the oldest ones.
    pub rejects_when_full: bool,
    /// Whether the channel is one of a server for many clients.
    pub is_multi: bool,
    /// The slot that a server for many clients has given to the client.
    pub slot: Option<u64>,
    /// The number in the names of the channel's objects. 0 on Linux.
    pub instance: u64,
    /// What the server waits for.
    pub server_wait: Wait,
    /// What the client waits for.
    pub client_wait: Wait,
    /// The ring with the server's messages. `None`: the sizes above are wrong.
    pub to_client: Option<RingState>,
    /// The ring with the client's messages. `None`: the sizes above are wrong.
    pub to_server: Option<RingState>,
}

/// What a server says of itself in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerState {
    /// It serves the channel, or has died without a word.
    Up,
    /// It has left.
    Gone,
    /// It has not yet filled in the channel, or the number is wrong.
    Unknown(u32),
}

/// What a channel says of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientState {
    /// There is none.
    None,
    /// One asks for a session.
    Requesting,
    /// One has a session, or has died without a word.
    Connected,
    /// The last one has left.
    Left,
    /// The server has ended the session, and the client has not yet let go of the channel.
    Ended,
    /// The server has refused the last one.
    Refused,
    /// The number is wrong.
    Unknown(u8),
}

/// What a side says in its wake word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Wait {
    /// The session in which the side has written this.
    pub generation: u32,
    /// It sleeps until a message comes.
    pub sleeps_for_data: bool,
    /// It sleeps until there is room for a message.
    pub sleeps_for_space: bool,
    /// The peer evicts messages before this side can take them.
    pub pressure: bool,
    /// It wants a signal for each message, for waits by other means.
    pub wants_all_signals: bool,
    /// It promises not to sleep for the moment.
    pub promises_awake: bool,
}

impl Wait {
    /// Whether the side sleeps in the kernel.
    pub fn sleeps(self) -> bool {
        self.sleeps_for_data || self.sleeps_for_space
    }
}

/// A ring's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingState {
    /// Where the oldest unread entry starts: bytes since the channel's first session. The upper 16 bits are the session's.
    pub read_position: u64,
    /// Where the next entry will start, as the sender has written it last. It lags behind.
    pub write_position: u64,
    /// The messages that the sender has counted. It lags behind.
    pub message_count: u64,
    /// The messages that were evicted, as the sender has counted them.
    pub drop_count: u64,
    /// The messages in the queue.
    pub queued: u64,
    /// Their bytes in the ring, with headers and pads.
    pub queued_bytes: u64,
    /// Whether more messages than these may be queued: there are too many to count, or they changed meanwhile.
    pub is_partial: bool,
    /// The messages of this session that were taken or evicted. It is exact, with two exceptions: when the queue is empty and the last
    /// message had more than 65,535 bytes, and when the position has moved in each of many attempts to read it. Then it is
    /// [`message_count`](Self::message_count), which lags behind.
    pub passed: u64,
}

impl RingState {
    /// The messages that were sent in this session.
    pub fn sent(&self) -> u64 {
        self.passed.saturating_add(self.queued)
    }
}

/// The most messages that are counted in a queue.
const MOST_COUNTED: u64 = 4096;

/// The memory of a channel, as words.
struct Words {
    mapping: Mapping,
    size: usize,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({} bytes)", self.size)
    }
}

impl Words {
    fn half(&self, offset: usize) -> u32 {
        assert!(offset % 4 == 0 && offset + 4 <= self.size);
        // SAFETY: the place is within the mapping, and aligned, since mappings begin at a page. An atomic load of 32 bits only reads,
        // so that the pages may be read-only.
        let word = unsafe { &*self.mapping.base().as_ptr().add(offset).cast::<AtomicU32>() };
        word.load(Ordering::Acquire)
    }

    /// A word of 64 bits. On processors that would have to write to load it at once, its halves are loaded until they match.
    fn word(&self, offset: usize) -> u64 {
        #[cfg(target_pointer_width = "64")]
        {
            assert!(offset % 8 == 0 && offset + 8 <= self.size);
            // SAFETY: as in `half`.
            let word =
                unsafe { &*self.mapping.base().as_ptr().add(offset).cast::<std::sync::atomic::AtomicU64>() };
            word.load(Ordering::Acquire)
        }
        #[cfg(not(target_pointer_width = "64"))]
        {
            const TRIES: usize = 8;
            let mut high = self.half(offset + 4);
            let mut low = self.half(offset);
            for _ in 0..TRIES {
                let again = self.half(offset + 4);
                if again == high {
                    break;
                }
                high = again;
                low = self.half(offset);
            }
            u64::from(high) << 32 | u64::from(low)
        }
    }
}

fn read(words: &Words) -> ChannelState {
    let mut problems = Vec::new();
    if words.size < 64 {
        problems.push(format!("the memory has {} bytes, too few for a channel", words.size));
        return ChannelState::nothing(problems);
    }
    let half = |offset| words.half(offset);
    let mut expect = |what: &str, found: u64, expected: u64| {
        if found != expected {
            problems.push(format!("{what} is {found:#x}, not {expected:#x}"));
        }
    };
    let (magic, version) = (half(offset_of!(ControlBlock, magic)), half(offset_of!(ControlBlock, version)));
    expect("the magic number", magic.into(), MAGIC.into());
    expect("the protocol version", version.into(), PROTOCOL_VERSION.into());
    let (capacity, limit) =
        (half(offset_of!(ControlBlock, capacity)), half(offset_of!(ControlBlock, message_limit)));
    let flags = half(offset_of!(ControlBlock, flags));
    let unknown = flags & !(FLAG_EVENTS | FLAG_REJECT | FLAG_MULTI | FLAG_LENGTHS);
    expect("a part of the flags", unknown.into(), 0);
    let server = match half(offset_of!(ControlBlock, server_state)) {
        SERVER_UP => ServerState::Up,
        SERVER_GONE => ServerState::Gone,
        other => ServerState::Unknown(other),
    };
    if let ServerState::Unknown(number) = server {
        problems.push(format!("the server's state is {number}, not 1 (up) or 2 (gone)"));
    }
    let client_word = ClientWord(words.word(offset_of!(ControlBlock, client_state)));
    let client = match client_word.state() {
        Some(Word::Idle) => ClientState::None,
        Some(Word::Request) => ClientState::Requesting,
        Some(Word::Ready) => ClientState::Connected,
        Some(Word::Left) => ClientState::Left,
        Some(Word::Ended) => ClientState::Ended,
        Some(Word::Refused) => ClientState::Refused,
        None => ClientState::Unknown((client_word.0 & 0xf) as u8),
    };
    if let ClientState::Unknown(number) = client {
        problems.push(format!("the client's state is {number}, not 0 to 5"));
    }
    let generation = half(offset_of!(ControlBlock, generation));
    let geometry = Geometry::from_section(capacity, limit, words.size);
    let mut state = ChannelState {
        magic,
        version,
        generation,
        server,
        server_process: half(offset_of!(ControlBlock, server_pid)),
        client,
        client_process: client_word.pid(),
        attempts: client_word.attempt(),
        ring_size: capacity,
        message_limit: limit,
        has_events: flags & FLAG_EVENTS != 0,
        rejects_when_full: flags & FLAG_REJECT != 0,
        is_multi: flags & FLAG_MULTI != 0,
        instance: words.word(offset_of!(ControlBlock, instance)),
        server_wait: Wait::from_word(words.word(offset_of!(ControlBlock, server_wake))),
        client_wait: Wait::from_word(words.word(offset_of!(ControlBlock, client_wake))),
        ..ChannelState::nothing(problems)
    };
    let is_connected = client == ClientState::Connected;
    for (side, wait) in [("server", state.server_wait), ("client", state.client_wait)] {
        if is_connected && wait.generation != generation {
            let found = wait.generation;
            state.problems.push(format!("the {side}'s wake word is of session {found}, not {generation}"));
        }
    }
    match geometry {
        Ok(geometry) => read_rings(words, geometry, flags, &mut state),
        Err(error) => state.problems.push(error.to_string()),
    }
    state
}

fn read_rings(words: &Words, geometry: Geometry, flags: u32, state: &mut ChannelState) {
    let first = geometry.header_offset(Direction::ServerToClient);
    (state.min_message_size, state.max_message_size) =
        (MIN_MESSAGE_SIZE as u64, geometry.lengths().longest() as u64);
    if flags & FLAG_LENGTHS != 0 {
        state.min_message_size = 0;
        state.max_message_size = words.word(first + offset_of!(RingHeader, max_message_size));
        if let Err(error) = geometry.with_max_message_size(state.max_message_size) {
            state.problems.push(error.to_string());
        }
    }
    if state.is_multi {
        match words.word(first + offset_of!(RingHeader, slot)) {
            0 | NO_SLOT => {}
            slot => state.slot = Some(slot - FIRST_SLOT),
        }
    }
    let mut ring = |direction, what| {
        let ring = Ring { words, geometry, direction };
        match ring.read() {
            Ok(found) => Some(found),
            Err(problem) => {
                state.problems.push(format!("the ring {what}: {problem}"));
                Some(ring.header())
            }
        }
    };
    state.to_client = ring(Direction::ServerToClient, "to the client");
    state.to_server = ring(Direction::ClientToServer, "to the server");
}

impl ChannelState {
    fn nothing(problems: Vec<String>) -> Self {
        ChannelState {
            problems,
            magic: 0,
            version: 0,
            generation: 0,
            server: ServerState::Unknown(0),
            server_process: 0,
            client: ClientState::None,
            client_process: 0,
            attempts: 0,
            ring_size: 0,
            message_limit: 0,
            min_message_size: 0,
            max_message_size: 0,
            has_events: false,
            rejects_when_full: false,
            is_multi: false,
            slot: None,
            instance: 0,
            server_wait: Wait::default(),
            client_wait: Wait::default(),
            to_client: None,
            to_server: None,
        }
    }
}

impl Wait {
    fn from_word(word: u64) -> Self {
        let has = |bits: u32| word as u32 & bits != 0;
        Wait {
            generation: (word >> 32) as u32,
            sleeps_for_data: has(wake::DATA),
            sleeps_for_space: has(wake::SPACE),
            pressure: has(wake::PRESSURE),
            wants_all_signals: has(wake::ALWAYS_DATA | wake::ALWAYS_SPACE),
            promises_awake: has(wake::AWAKE_DATA | wake::AWAKE_SPACE),
        }
    }
}

/// A ring, for reading.
struct Ring<'a> {
    words: &'a Words,
    geometry: Geometry,
    direction: Direction,
}

impl Ring<'_> {
    fn field(&self, offset: usize) -> u64 {
        self.words.word(self.geometry.header_offset(self.direction) + offset)
    }

    /// The word at a position.
    fn at(&self, position: u64) -> u64 {
        let offset = (position & (self.geometry.capacity() - 1)) as usize;
        self.words.word(self.geometry.ring_offset(self.direction) + offset)
    }

    /// What the header alone says.
    fn header(&self) -> RingState {
        let message_count = self.field(offset_of!(RingHeader, message_count));
        RingState {
            read_position: self.field(offset_of!(RingHeader, read_pos)),
            write_position: self.field(offset_of!(RingHeader, write_pos)),
            message_count,
            drop_count: self.field(offset_of!(RingHeader, drop_count)),
            queued: 0,
            queued_bytes: 0,
            is_partial: false,
            passed: message_count,
        }
    }

    /// Reads the ring, and follows the messages in the queue.
    ///
    /// # Errors
    /// What no sender of this protocol writes, in words.
    fn read(&self) -> std::result::Result<RingState, String> {
        const TRIES: usize = 64;
        let mut state = self.header();
        for _ in 0..TRIES {
            let passed = self.passed(state);
            if self.field(offset_of!(RingHeader, read_pos)) == state.read_position {
                state.passed = passed;
                let followed = self.follow(state);
                // Where the position has moved meanwhile, old entries may have been overwritten.
                return match self.field(offset_of!(RingHeader, read_pos)) == state.read_position {
                    true => followed,
                    false => Ok(RingState { is_partial: true, ..followed.unwrap_or(state) }),
                };
            }
            state = self.header();
        }
        Ok(RingState { is_partial: true, ..state })
    }

    /// Adds the queue.
    fn follow(&self, mut state: RingState) -> std::result::Result<RingState, String> {
        if state.read_position % FRAME_ALIGN != 0 {
            return Err(format!(
                "the read position {:#x} is no multiple of {FRAME_ALIGN}",
                state.read_position
            ));
        }
        let (mut position, mut expected) = (state.read_position, state.passed);
        while let Some(entry) = self.entry(position)? {
            if entry.sequence != expected % FrameHeader::SEQUENCES {
                return Err(format!("message {} stands where message {expected} is due", entry.sequence));
            }
            if state.queued == MOST_COUNTED {
                state.is_partial = true;
                break;
            }
            expected += 1;
            position = position.wrapping_add(entry.size);
            state.queued += 1;
            state.queued_bytes += entry.size;
            if state.queued_bytes > self.geometry.capacity() {
                return Err("the entries of the queue take more bytes than the ring has".to_owned());
            }
        }
        Ok(state)
    }

    /// The entry at a position. `None`: there is none yet.
    fn entry(&self, position: u64) -> std::result::Result<Option<Entry>, String> {
        let header = FrameHeader(self.at(position));
        if header.0 == 0 {
            return Ok(None);
        }
        let (capacity, mut start, mut size) = (self.geometry.capacity(), position, 0);
        let mut message = header;
        if header.kind() == FrameHeader::PAD {
            size = capacity - (position & (capacity - 1));
            start = position.wrapping_add(size);
            message = FrameHeader(self.at(start));
        }
        let len = match message.kind() {
            FrameHeader::MESSAGE => message.len() as u64,
            FrameHeader::LONG => self.at(start.wrapping_add(8)),
            kind => return Err(format!("an entry at {start:#x} has the kind {kind}")),
        };
        // The largest number of bytes in any message; a larger one would overflow the sums below.
        if len > capacity / 2 {
            return Err(format!("the message at {start:#x} has {len} bytes"));
        }
        Ok(Some(Entry { sequence: message.sequence(), size: size + frame_size(len as usize) }))
    }

    /// The number of messages before the read position: the number of the message there, or of the one that ends there plus 1.
    fn passed(&self, state: RingState) -> u64 {
        let count = state.message_count;
        if state.read_position % FRAME_ALIGN != 0 {
            return count;
        }
        let due = || {
            let header = FrameHeader(self.at(state.read_position));
            (header.0 != 0).then(|| header.sequence())
        };
        if let Some(passed) = due() {
            return passed;
        }
        // The statistic is right at least once for each queue of messages. It includes messages that are about to be published.
        let least = count.saturating_sub(64);
        let most = count.saturating_add(self.geometry.message_limit() as u64 + 64);
        let longest = LONGEST_ORDINARY.min(MAX_MESSAGE_SIZE).min(self.geometry.lengths().longest());
        let mut back = FRAME_ALIGN;
        while back <= frame_size(longest) {
            let header = FrameHeader(self.at(state.read_position.wrapping_sub(back)));
            let passed = header.sequence() + 1;
            let is_whole = header.kind() == FrameHeader::MESSAGE && frame_size(header.len()) == back;
            if is_whole && (least..=most).contains(&passed) {
                return passed;
            }
            back += FRAME_ALIGN;
        }
        // The sender may have filled the ring meanwhile, up to the place of that message.
        due().unwrap_or(count)
    }
}

/// A message in a ring, with the pad before it.
struct Entry {
    sequence: u64,
    /// In bytes of the ring.
    size: u64,
}
