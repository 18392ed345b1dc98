//! A hostile peer: it maps the section, and writes whatever and wherever the fuzzer chooses, between any two accesses of
//! xshm to an atomic. "Ours" below means xshm's.

use arbitrary::Arbitrary;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use xshm::ShmError;

/// Bytes in each ring: the smallest size, so that the writes soon hit every part.
pub const RING: usize = 4096;
pub const SECTION: usize = 192 + 2 * RING;
/// The longest message of a channel without `max_message_size`. While fuzzing, a message of more than 256 bytes has a long frame.
pub const USUAL: usize = RING / 2 - 64;
/// The longest message of other channels.
pub const LONGEST: usize = 1900;
/// The largest number of messages that wait.
pub const LIMIT: u32 = 16;

const CLIENT_STATE: usize = 16;
const GENERATION: usize = 8;

/// More accesses than any call needs, even one that tries 512 times to take a message of 2,040 bytes.
const MANY: u64 = 2_000_000;

/// One write of the peer.
#[derive(Debug, Clone, Arbitrary)]
pub struct Write {
    /// The number of our accesses before this write, since the last one.
    pub after: u8,
    pub place: Place,
    pub what: What,
}

#[derive(Debug, Clone, Arbitrary)]
pub enum Place {
    /// A word of the control block.
    Control(u8),
    /// A word of a ring's header.
    Header(bool, u8),
    /// A place where a frame can start.
    Frame(bool, u8),
    /// Any word.
    Word(u16),
}

#[derive(Debug, Clone, Arbitrary)]
pub enum What {
    Value(u64),
    Flip(u8),
    Add(i8),
    /// Adds a number of frames' sizes.
    Move(i8),
    Zero,
    /// The value of another word.
    Copy(u16),
    /// The header of a message of this length, with a sequence near the beginning.
    Message(u16, u8),
    Pad(u8),
    /// The header of a long frame, with this length in the next word.
    Long(u16, u8),
    /// The client word in another state.
    State(u8),
    /// A connection request of this process.
    Request,
}

impl Place {
    fn offset(&self) -> usize {
        let ring = |second: bool| 128 + if second { 64 + RING } else { 0 };
        match *self {
            Place::Control(word) => usize::from(word) % 8 * 8,
            Place::Header(second, word) => ring(second) - 64 + usize::from(word) % 8 * 8,
            Place::Frame(second, frame) => ring(second) + usize::from(frame) % (RING / 64) * 64,
            Place::Word(word) => usize::from(word) % (SECTION / 8) * 8,
        }
    }
}

/// The peer, with its mapping of a section.
pub struct Peer {
    base: *mut u8,
    writes: VecDeque<Write>,
    wait: u8,
    steps: u64,
    /// Whether the peer accepts a connection request at once, as a server does.
    pub accepts: bool,
}

impl Peer {
    pub fn map(section: isize) -> Rc<RefCell<Self>> {
        use rustix::mm::{mmap, MapFlags, ProtFlags};
        use std::os::fd::BorrowedFd;
        // SAFETY: the descriptor is open; a new mapping changes no memory in use, and stays until `unmap`.
        let base = unsafe {
            let file = BorrowedFd::borrow_raw(section as i32);
            mmap(std::ptr::null_mut(), SECTION, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, 0)
                .unwrap()
        };
        Rc::new(RefCell::new(Peer {
            base: base.cast(),
            writes: VecDeque::new(),
            wait: 0,
            steps: 0,
            accepts: false,
        }))
    }

    pub fn unmap(&mut self) {
        // SAFETY: mapped by `map`, and not used any more.
        unsafe { rustix::mm::munmap(self.base.cast(), SECTION).unwrap() };
    }

    pub fn plan(&mut self, writes: Vec<Write>) {
        self.writes = writes.into();
        self.wait = self.writes.front().map_or(0, |write| write.after);
    }

    /// A word of the section.
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset % 8 == 0 && offset < SECTION);
        // SAFETY: within the mapping, aligned, and an atomic.
        unsafe { &*self.base.add(offset).cast() }
    }

    /// A call of ours begins.
    pub fn begin(&mut self) {
        self.steps = 0;
    }

    /// Our next access is about to be made: performs the writes that are due.
    pub fn step(&mut self) {
        self.steps += 1;
        assert!(self.steps < MANY, "a call does not end");
        if self.accepts {
            let word = self.word(CLIENT_STATE).load(Ordering::Acquire);
            if word & 15 == 1 {
                self.word(CLIENT_STATE).store(word & !15 | 2, Ordering::Release);
            }
        }
        while self.wait == 0 {
            let Some(write) = self.writes.pop_front() else { return };
            self.perform(&write);
            self.wait = self.writes.front().map_or(0, |next| next.after);
        }
        self.wait -= 1;
    }

    /// Performs a write at once.
    pub fn perform(&self, write: &Write) {
        let place = self.word(write.place.offset());
        let now = place.load(Ordering::Relaxed);
        let (to, at) = match write.what {
            What::Value(value) => (value, place),
            What::Flip(bit) => (now ^ 1 << (bit % 64), place),
            What::Add(by) => (now.wrapping_add(by as i64 as u64), place),
            What::Move(by) => (now.wrapping_add(64_u64.wrapping_mul(by as i64 as u64)), place),
            What::Zero => (0, place),
            What::Copy(from) => {
                (self.word(usize::from(from) % (SECTION / 8) * 8).load(Ordering::Relaxed), place)
            }
            What::Message(length, sequence) => {
                (u64::from(length) | 1 << 16 | u64::from(sequence) << 20, place)
            }
            What::Pad(sequence) => (2 << 16 | u64::from(sequence) << 20, place),
            What::Long(length, sequence) => {
                let next = (write.place.offset() + 8) % SECTION;
                self.word(next).store(u64::from(length) % 3000, Ordering::Release);
                (3 << 16 | u64::from(sequence) << 20, place)
            }
            What::State(state) => {
                let word = self.word(CLIENT_STATE);
                (word.load(Ordering::Relaxed) & !15 | u64::from(state) & 15, word)
            }
            What::Request => {
                let word = self.word(CLIENT_STATE);
                let attempt = (word.load(Ordering::Relaxed) >> 4).wrapping_add(1) & 0x0fff_ffff;
                (1 | attempt << 4 | u64::from(std::process::id()) << 32, word)
            }
        };
        at.store(to, Ordering::Release);
    }

    /// The first position of the rings in the present generation.
    pub fn first_position(&self) -> u64 {
        (self.word(GENERATION).load(Ordering::Relaxed) & 0xffff) << 48
    }
}

/// Lets the peer act while `f` runs.
pub fn against<R>(peer: &Rc<RefCell<Peer>>, f: impl FnOnce() -> R) -> R {
    let own = peer.clone();
    xshm::fuzzing::on_each_step(Some(Box::new(move || own.borrow_mut().step())));
    let result = f();
    xshm::fuzzing::on_each_step(None);
    result
}

/// Whether a call of ours may return this error when the peer is hostile.
pub fn acceptable(error: &ShmError) -> bool {
    matches!(
        error,
        ShmError::QueueEmpty
            | ShmError::QueueFull
            | ShmError::NotReady
            | ShmError::Timeout
            | ShmError::BufferTooSmall { .. }
            | ShmError::MessageTooSmall
            | ShmError::MessageTooLarge
            | ShmError::NotConnected
            | ShmError::PeerDied { .. }
            | ShmError::Corrupted
            | ShmError::Refused { .. }
            | ShmError::Incompatible { .. }
            | ShmError::AlreadyConnected
    )
}

/// A call of ours on a connection.
#[derive(Debug, Clone, Arbitrary)]
pub enum Call {
    Send(u16),
    TrySend(u16),
    SendWaiting(u16),
    Receive,
    ReceiveInto(u16),
    ReceiveWaiting,
    Poll,
    Stats,
    IsConnected,
}

/// Makes a call by the halves of an endpoint, and checks its result as far as possible.
pub fn perform(call: &Call, sender: &mut xshm::SendHalf, receiver: &mut xshm::ReceiveHalf) {
    let message = vec![0x5a; 4096];
    let cut = |length: u16| &message[..usize::from(length) % 3000];
    let longest = sender.max_message_size();
    let checked = |result: Result<usize, ShmError>, room: usize| match result {
        Ok(length) => {
            let shortest = if longest == USUAL { 2 } else { 0 };
            assert!((shortest..=longest).contains(&length) && length <= room, "a message of {length} bytes")
        }
        Err(error) => assert!(acceptable(&error), "{error}"),
    };
    let fine = |result: Result<(), ShmError>| match result {
        Ok(()) => {}
        Err(error) => assert!(acceptable(&error), "{error}"),
    };
    let instantly = Some(Duration::ZERO);
    let mut buffer = Vec::new();
    match *call {
        Call::Send(length) => match sender.send(cut(length)) {
            Ok(outcome) => assert!(outcome.overwritten <= LIMIT),
            Err(error) => assert!(acceptable(&error), "{error}"),
        },
        Call::TrySend(length) => fine(sender.try_send(cut(length))),
        Call::SendWaiting(length) => fine(sender.send_timeout(cut(length), instantly)),
        Call::Receive => checked(receiver.try_receive(&mut buffer), usize::MAX),
        Call::ReceiveInto(room) => {
            let room = usize::from(room) % 3000;
            let mut space = vec![0xa5; room + 8];
            checked(receiver.try_receive_into(&mut space[..room]), room);
            assert!(space[room..].iter().all(|&byte| byte == 0xa5), "bytes behind the buffer were written");
        }
        Call::ReceiveWaiting => checked(receiver.receive_timeout(&mut buffer, instantly), usize::MAX),
        Call::Poll => fine(receiver.poll(instantly).map(drop)),
        Call::Stats => {
            assert!(receiver.stats().receive_depth <= LIMIT as usize);
            match sender.stats() {
                Ok(stats) => assert!(stats.send_depth <= LIMIT as usize),
                Err(error) => assert!(acceptable(&error), "{error}"),
            }
        }
        Call::IsConnected => drop(sender.is_connected() || receiver.is_connected()),
    }
}
