//! A client that follows `docs/protocol.md` without the library, on Linux: it connects to a server's socket, takes what the
//! server sends, and writes the client word itself. So a test can stop it between any two steps.
//!
//! Not part of `common` itself, since few test files use it.
#![allow(dead_code, reason = "each test file uses some of this")]

use super::common::raw::{is_ready, RawSection};
use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

extern "C" {
    fn connect(socket: c_int, address: *const c_void, length: u32) -> c_int;
    fn geteuid() -> u32;
    fn setsockopt(socket: c_int, level: c_int, name: c_int, value: *const c_int, length: u32) -> c_int;
    fn shutdown(socket: c_int, how: c_int) -> c_int;
    fn recvmsg(socket: c_int, message: *mut MessageHeader, flags: c_int) -> isize;
    fn send(socket: c_int, buffer: *const c_void, size: usize, flags: c_int) -> isize;
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
}

/// `struct iovec`.
#[repr(C)]
struct Part {
    start: *mut c_void,
    length: usize,
}

/// `struct msghdr`.
#[repr(C)]
struct MessageHeader {
    name: *mut c_void,
    name_length: u32,
    parts: *mut Part,
    part_count: usize,
    control: *mut c_void,
    control_length: usize,
    flags: c_int,
}

// States of the client word, its lowest four bits.
const REQUESTED: u64 = 1;
const READY: u64 = 2;
const LEFT: u64 = 3;

/// Where the client word is.
const CLIENT_WORD: usize = 16;
/// The socket pair that carries connection requests.
const REQUEST_PAIR: usize = 2;

/// A connection to a server's name, which waits for the server's answer.
pub struct Connection(OwnedFd);

impl Connection {
    /// Connects without waiting. `Err`: the number of the system's error.
    pub fn open(name: &str) -> Result<Self, i32> {
        let path = match name.strip_prefix("Global\\") {
            Some(base) => format!("\0xshm/global/{base}"),
            // SAFETY: no pointers.
            None => format!("\0xshm/{}/{name}", unsafe { geteuid() }),
        };
        let mut address = 1_u16.to_ne_bytes().to_vec();
        address.extend_from_slice(path.as_bytes());
        let error = || Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
        // SAFETY: AF_UNIX, SOCK_SEQPACKET with SOCK_CLOEXEC and SOCK_NONBLOCK; a new descriptor has no other owner; the
        // address has the length said.
        unsafe {
            let number = socket(1, 5 | 0o2_000_000 | 0o4000, 0);
            if number < 0 {
                return error();
            }
            let connection = Connection(OwnedFd::from_raw_fd(number));
            if connect(number, address.as_ptr().cast(), address.len() as u32) < 0 {
                return error();
            }
            Ok(connection)
        }
    }

    /// Has the kernel refuse descriptors that come over this connection. Before Linux 6.16 it takes them all the same.
    pub fn refuse_descriptors(&self) {
        const SOL_SOCKET: c_int = 1;
        const SO_PASSRIGHTS: c_int = 83;
        // SAFETY: the value is a number of 4 bytes.
        unsafe { setsockopt(self.0.as_raw_fd(), SOL_SOCKET, SO_PASSRIGHTS, &0, 4) };
    }

    /// Shuts the connection when something has come, in its own thread, and keeps it open.
    pub fn shut_when_answered(&self) {
        let socket = self.0.as_raw_fd();
        let other = Connection(self.0.try_clone().unwrap());
        std::thread::spawn(move || {
            if other.is_answered(Duration::from_secs(60)) {
                // SAFETY: the call touches no memory, whatever the descriptor is. SHUT_RDWR.
                unsafe { shutdown(socket, 2) };
            }
        });
    }

    /// Whether the server has answered, or has closed the connection, within this time.
    pub fn is_answered(&self, time: Duration) -> bool {
        is_ready(self.0.as_raw_fd() as isize, time.as_millis() as u32)
    }

    /// Takes the server's answer. `None`: there is none, or the server has closed the connection or refused the client.
    pub fn take_answer(self) -> Option<RawClient> {
        let descriptors = self.read()?;
        let (own_pid, descriptors) = descriptors;
        let section = RawSection::map(descriptors[0].as_raw_fd() as isize);
        Some(RawClient { section, own_pid, descriptors, _connection: self })
    }

    /// Receives the message with the channel: the client's process id as the server sees it, and the descriptors of the
    /// section and of the client's socket of each pair.
    pub fn read(&self) -> Option<(u32, Vec<OwnedFd>)> {
        let (mut bytes, mut control) = ([0_u8; 8], [0_u64; 8]);
        let mut part = Part { start: bytes.as_mut_ptr().cast(), length: bytes.len() };
        let mut header = MessageHeader {
            name: std::ptr::null_mut(),
            name_length: 0,
            parts: &mut part,
            part_count: 1,
            control: control.as_mut_ptr().cast(),
            control_length: std::mem::size_of_val(&control),
            flags: 0,
        };
        // SAFETY: the places for the results are valid, and as long as said. MSG_CMSG_CLOEXEC, MSG_DONTWAIT.
        let length = unsafe { recvmsg(self.0.as_raw_fd(), &mut header, 0x4000_0040) };
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        if length != 8 || word(0) != 0 {
            return None;
        }
        // A `struct cmsghdr`: its length, level and type; then the descriptors.
        let numbers = (control[0] as usize - 16) / 4;
        let number = |at: usize| (control[2 + at / 2] >> (at % 2 * 32)) as c_int;
        // SAFETY: new descriptors, which have no other owner.
        let descriptors = (0..numbers).map(|at| unsafe { OwnedFd::from_raw_fd(number(at)) }).collect();
        Some((word(4), descriptors))
    }
}

/// A client that has received its channel.
pub struct RawClient {
    pub section: RawSection,
    own_pid: u32,
    descriptors: Vec<OwnedFd>,
    _connection: Connection,
}

// SAFETY: the mapping is never unmapped, and is only used through atomics.
unsafe impl Send for RawClient {}

impl RawClient {
    fn word(&self) -> u64 {
        self.section.word64(CLIENT_WORD).load(Ordering::SeqCst)
    }

    fn change_word(&self, from: u64, to: u64) -> bool {
        let word = self.section.word64(CLIENT_WORD);
        word.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The state of the client word.
    pub fn state(&self) -> u64 {
        self.word() & 15
    }

    /// The generation: how many sessions this section has had.
    pub fn generation(&self) -> u32 {
        self.section.word32(8).load(Ordering::SeqCst)
    }

    /// Requests a connection, and waits until the server has accepted it.
    pub fn request(&self, time: Duration) -> bool {
        let before = self.word();
        let attempt = ((before >> 4) + 1) & 0x0fff_ffff;
        let request = REQUESTED | attempt << 4 | u64::from(self.own_pid) << 32;
        if !self.change_word(before, request) {
            return false;
        }
        self.signal(REQUEST_PAIR);
        let ready = request & !15 | READY;
        let start = Instant::now();
        while self.word() != ready {
            if start.elapsed() > time || self.is_withdrawn() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Whether the server offers another channel by now, since this client missed its turn.
    pub fn is_withdrawn(&self) -> bool {
        const SERVER_GONE: u32 = 2;
        self.section.word32(12).load(Ordering::SeqCst) == SERVER_GONE
    }

    /// Leaves by the rules, and keeps the section mapped.
    pub fn leave(&self) {
        let word = self.word();
        assert!(
            self.change_word(word, word & !15 | LEFT),
            "only the client changes the word of a session that lives"
        );
        for pair in 0..self.descriptors.len() - 1 {
            self.signal(pair);
        }
    }

    fn signal(&self, pair: usize) {
        // SAFETY: a buffer of one byte. MSG_DONTWAIT, MSG_NOSIGNAL.
        unsafe { send(self.descriptors[1 + pair].as_raw_fd(), [1_u8].as_ptr().cast(), 1, 0x4040) };
    }

    /// All bytes of the section.
    pub fn bytes(&self) -> Vec<u8> {
        let words =
            (0..self.section.size() / 8).map(|at| self.section.word64(at * 8).load(Ordering::Relaxed));
        words.flat_map(u64::to_ne_bytes).collect()
    }

    /// Whether these bytes stand anywhere in the section.
    pub fn sees(&self, bytes: &[u8]) -> bool {
        self.bytes().windows(bytes.len()).any(|window| window == bytes)
    }

    /// Overwrites both rings completely. Their headers stay as they are.
    pub fn overwrite_rings(&self) {
        let ring = (self.section.size() - 192) / 2;
        for start in [128, 192 + ring] {
            for at in (start..start + ring).step_by(8) {
                self.section.word64(at).store(u64::from_ne_bytes(*b"intruder"), Ordering::Relaxed);
            }
        }
    }
}
