//! Recordings of channels. `docs/recording.md` describes the format byte by byte.
//!
//! A [`Recorder`] writes whole records only, as far as the disk has room. A [`Reader`] believes nothing that it reads: it checks each
//! checksum, and its memory grows with the bytes that are there, not with the length that a record claims.

use crate::exit::{coded, FAILED};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MAGIC: &[u8; 8] = b"XSHMREC\x1a";
const VERSION: u16 = 1;

/// The bytes of the header before the name.
const HEADER: usize = 40;

/// The longest name of a channel. The library allows less.
const LONGEST_NAME: usize = 1024;

/// The bytes of a record before the message.
const RECORD: usize = 20;

const CHECKSUM: usize = 4;

/// The longest message that any channel has: half of the largest ring minus 64 bytes.
pub const LONGEST_MESSAGE: u64 = (512 << 20) - 64;

const REJECTS_WHEN_FULL: u32 = 1;
const IS_MULTI: u32 = 2;

/// The kind of the record that ends a recording. Its message is the number of records before it.
const END: u8 = 0xff;

/// The bytes of whole records that wait to be written together.
const MOST_WAITING: usize = 256 * 1024;

/// Which side has sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Client,
    Server,
}

/// What a recording says about the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The server's channel.
    pub name: String,
    /// When the recording began. Records count their time from there.
    pub start: SystemTime,
    pub max_message_size: u64,
    pub ring_size: u32,
    pub message_limit: u32,
    pub rejects_when_full: bool,
    pub is_multi: bool,
}

/// A recorded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The time since the recording began.
    pub time: Duration,
    pub from: From,
    /// The number of the client: they are counted from 0 in the order in which they came.
    pub client: u32,
    pub message: Vec<u8>,
}

impl Header {
    fn to_bytes(&self) -> Vec<u8> {
        let name = &self.name.as_bytes()[..self.name.len().min(LONGEST_NAME)];
        let start = self.start.duration_since(UNIX_EPOCH).unwrap_or_default();
        let rejects = if self.rejects_when_full { REJECTS_WHEN_FULL } else { 0 };
        let flags = rejects | if self.is_multi { IS_MULTI } else { 0 };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(nanoseconds(start).to_le_bytes());
        bytes.extend(self.max_message_size.to_le_bytes());
        bytes.extend(self.ring_size.to_le_bytes());
        bytes.extend(self.message_limit.to_le_bytes());
        debug_assert_eq!(bytes.len(), HEADER);
        bytes.extend(name);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }
}

/// A time in nanoseconds, up to 584 years.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn record_bytes(kind: u8, time: u64, client: u32, message: &[u8], to: &mut Vec<u8>) {
    let start = to.len();
    to.extend(time.to_le_bytes());
    to.extend([kind, 0, 0, 0]);
    to.extend(client.to_le_bytes());
    to.extend((message.len() as u32).to_le_bytes());
    debug_assert_eq!(to.len() - start, RECORD);
    to.extend(message);
    let checksum = crc32fast::hash(&to[start..]);
    to.extend(checksum.to_le_bytes());
}

/// What a recording is written to.
pub trait Target: Write {
    /// Cuts the target off after this number of bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Target for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Writes a recording.
#[derive(Debug)]
pub struct Recorder<W: Target> {
    target: W,
    /// Whole records that are not written yet.
    waiting: Vec<u8>,
    /// Where they end in `waiting`.
    ends: Vec<usize>,
    /// The bytes that are written, all of them whole records.
    written: u64,
    count: u64,
}

impl<W: Target> Recorder<W> {
    /// Writes the header.
    pub fn new(mut target: W, header: &Header) -> io::Result<Self> {
        let bytes = header.to_bytes();
        target.write_all(&bytes)?;
        Ok(Recorder { target, waiting: Vec::new(), ends: Vec::new(), written: bytes.len() as u64, count: 0 })
    }

    /// Adds a record. After an error the recording is cut off after the last record that is whole, and takes no more.
    pub fn add(&mut self, from: From, time: Duration, client: u32, message: &[u8]) -> io::Result<()> {
        let kind = match from {
            From::Client => 0,
            From::Server => 1,
        };
        record_bytes(kind, nanoseconds(time), client, message, &mut self.waiting);
        self.ends.push(self.waiting.len());
        self.count += 1;
        if self.waiting.len() >= MOST_WAITING {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what waits. Errors are those of [`add`](Self::add).
    pub fn flush(&mut self) -> io::Result<()> {
        let mut done = 0;
        let outcome = loop {
            if done == self.waiting.len() {
                break self.target.flush();
            }
            match self.target.write(&self.waiting[done..]) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let whole = self.ends.iter().rev().find(|&&end| end <= done).copied().unwrap_or(0);
        self.written += whole as u64;
        if outcome.is_err() {
            // Where even this fails, the reader finds the record that is not whole.
            let _ = self.target.cut(self.written);
        }
        self.waiting.clear();
        self.ends.clear();
        outcome
    }

    /// Writes what waits and the end.
    pub fn finish(mut self, time: Duration) -> io::Result<()> {
        let count = self.count.to_le_bytes();
        record_bytes(END, nanoseconds(time), 0, &count, &mut self.waiting);
        self.ends.push(self.waiting.len());
        self.flush()
    }
}

/// Why a recording cannot be read any further. All records before that were good.
#[derive(Debug)]
pub enum Problem {
    /// The bytes end, and there is no record that says so.
    Cut,
    /// The bytes are not those that were written.
    Damaged(String),
    Unreadable(io::Error),
}

impl Problem {
    fn damaged(what: impl Into<String>) -> Self {
        Problem::Damaged(what.into())
    }
}

/// Reads a recording.
pub struct Reader<R: Read> {
    from: R,
    header: Header,
    /// The records so far.
    count: u64,
    has_ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn new(mut from: R) -> anyhow::Result<Self> {
        match read_header(&mut from) {
            Ok(header) => Ok(Reader { from, header, count: 0, has_ended: false }),
            Err(Problem::Cut) => {
                Err(coded(FAILED, "it is not a recording of xshm, or is cut off in its header"))
            }
            Err(Problem::Damaged(what)) => Err(coded(FAILED, what)),
            Err(Problem::Unreadable(error)) => Err(error.into()),
        }
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The number of messages that were read.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Reads the next message. `None`: there are no more, and the recording is complete. After a problem there are no more either.
    pub fn next(&mut self) -> Result<Option<Record>, Problem> {
        if self.has_ended {
            return Ok(None);
        }
        let found = self.read_record();
        match &found {
            Ok(Some(_)) => self.count += 1,
            _ => self.has_ended = true,
        }
        found
    }

    fn read_record(&mut self) -> Result<Option<Record>, Problem> {
        let mut bytes = read(&mut self.from, RECORD)?;
        let (kind, length) = (bytes[8], number(&bytes[16..20]));
        let number_of = self.count + 1;
        if length > LONGEST_MESSAGE {
            return Err(Problem::damaged(format!("message {number_of} would have {length} bytes")));
        }
        bytes.append(&mut read(&mut self.from, length as usize)?);
        let checksum = read(&mut self.from, CHECKSUM)?;
        if number(&checksum) != u64::from(crc32fast::hash(&bytes)) {
            return Err(Problem::damaged(format!("the checksum of message {number_of} is wrong")));
        }
        let message = bytes.split_off(RECORD);
        let from = match kind {
            0 => From::Client,
            1 => From::Server,
            END => return self.check_end(&message).map(|()| None),
            kind => return Err(Problem::damaged(format!("record {number_of} has the unknown kind {kind}"))),
        };
        let client = number(&bytes[12..16]) as u32;
        Ok(Some(Record { time: Duration::from_nanos(number(&bytes[..8])), from, client, message }))
    }

    fn check_end(&mut self, count: &[u8]) -> Result<(), Problem> {
        if count.len() != 8 || number(count) != self.count {
            let found = self.count;
            return Err(Problem::damaged(format!("{found} messages were found, and the end counts others")));
        }
        match self.from.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Problem::damaged("there are bytes after the end")),
            Err(error) => Err(Problem::Unreadable(error)),
        }
    }
}

fn read_header(from: &mut impl Read) -> Result<Header, Problem> {
    let mut bytes = read(from, HEADER)?;
    if &bytes[..8] != MAGIC {
        return Err(Problem::damaged("it is not a recording of xshm: it does not begin with XSHMREC"));
    }
    let version = number(&bytes[8..10]);
    if version != u64::from(VERSION) {
        return Err(Problem::damaged(format!(
            "the recording has version {version} of the format, and this program reads version {VERSION}"
        )));
    }
    let name_length = number(&bytes[10..12]) as usize;
    if name_length > LONGEST_NAME {
        return Err(Problem::damaged(format!("the recording's header has a name of {name_length} bytes")));
    }
    bytes.append(&mut read(from, name_length)?);
    let checksum = read(from, CHECKSUM)?;
    if number(&checksum) != u64::from(crc32fast::hash(&bytes)) {
        return Err(Problem::damaged("the checksum of the recording's header is wrong"));
    }
    let flags = number(&bytes[12..16]) as u32;
    let start = UNIX_EPOCH + Duration::from_nanos(number(&bytes[16..24]));
    Ok(Header {
        name: String::from_utf8_lossy(&bytes[HEADER..]).into_owned(),
        start,
        max_message_size: number(&bytes[24..32]),
        ring_size: number(&bytes[32..36]) as u32,
        message_limit: number(&bytes[36..40]) as u32,
        rejects_when_full: flags & REJECTS_WHEN_FULL != 0,
        is_multi: flags & IS_MULTI != 0,
    })
}

/// Reads this number of bytes. The memory grows with what is there.
fn read(from: &mut impl Read, count: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    from.take(count as u64).read_to_end(&mut bytes).map_err(Problem::Unreadable)?;
    if bytes.len() < count {
        return Err(Problem::Cut);
    }
    Ok(bytes)
}

/// A little-endian number of up to 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            name: "Global\\prices".to_owned(),
            start: UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789),
            max_message_size: 65_535,
            ring_size: 2 << 20,
            message_limit: 250,
            rejects_when_full: true,
            is_multi: false,
        }
    }

    fn records() -> Vec<Record> {
        let record = |time, from, client, message: &[u8]| Record {
            time: Duration::from_nanos(time),
            from,
            client,
            message: message.to_vec(),
        };
        vec![
            record(5, From::Client, 0, b"ask"),
            record(7, From::Server, 0, b""),
            record(u64::MAX, From::Server, u32::MAX, &[0xff; 30]),
        ]
    }

    /// A disk with room for some bytes.
    #[derive(Debug, Default)]
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for &mut Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room - self.bytes.len()).min(7);
            if count == 0 && !bytes.is_empty() {
                return Err(ErrorKind::StorageFull.into());
            }
            self.bytes.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Target for &mut Disk {
        fn cut(&mut self, length: u64) -> io::Result<()> {
            self.bytes.truncate(length as usize);
            Ok(())
        }
    }

    fn written() -> Vec<u8> {
        let mut disk = Disk { room: usize::MAX, ..Disk::default() };
        let mut recorder = Recorder::new(&mut disk, &header()).unwrap();
        for record in records() {
            recorder.add(record.from, record.time, record.client, &record.message).unwrap();
        }
        recorder.finish(Duration::from_secs(1)).unwrap();
        disk.bytes
    }

    /// The records that can be read, and the problem after them.
    fn read_all(bytes: &[u8]) -> anyhow::Result<(Vec<Record>, Option<Problem>)> {
        let mut reader = Reader::new(bytes)?;
        let mut all = Vec::new();
        loop {
            match reader.next() {
                Ok(Some(record)) => all.push(record),
                Ok(None) => return Ok((all, None)),
                Err(problem) => {
                    assert!(matches!(reader.next(), Ok(None)));
                    return Ok((all, Some(problem)));
                }
            }
        }
    }

    #[test]
    fn what_was_recorded_is_read() {
        let bytes = written();
        assert_eq!(Reader::new(&bytes[..]).unwrap().header(), &header());
        let (found, problem) = read_all(&bytes).unwrap();
        assert!(problem.is_none(), "{problem:?}");
        assert_eq!(found, records());
    }

    #[test]
    fn a_cut_recording_is_read_up_to_the_cut() {
        let bytes = written();
        let header = header().to_bytes().len();
        let mut ends = vec![header];
        for record in records() {
            ends.push(ends[ends.len() - 1] + RECORD + record.message.len() + CHECKSUM);
        }
        for cut in 0..bytes.len() {
            if cut < header {
                assert!(read_all(&bytes[..cut]).is_err(), "{cut}");
                continue;
            }
            let (found, problem) = read_all(&bytes[..cut]).unwrap();
            assert!(matches!(problem, Some(Problem::Cut)), "{cut}: {problem:?}");
            let whole = ends.iter().filter(|&&end| end <= cut).count() - 1;
            assert_eq!(found, records()[..whole], "{cut}");
        }
    }

    #[test]
    fn each_changed_byte_is_found() {
        let bytes = written();
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                let found = read_all(&damaged);
                assert!(matches!(found, Err(_) | Ok((_, Some(_)))), "byte {place}, bit {bit}");
            }
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(matches!(read_all(&longer).unwrap().1, Some(Problem::Damaged(_))));
    }

    #[test]
    fn a_claimed_length_takes_no_memory() {
        let mut bytes = header().to_bytes();
        let mut record = Vec::new();
        record_bytes(0, 0, 0, b"x", &mut record);
        record[16..20].copy_from_slice(&(LONGEST_MESSAGE as u32).to_le_bytes());
        bytes.extend(&record);
        assert!(matches!(read_all(&bytes).unwrap(), (all, Some(Problem::Cut)) if all.is_empty()));
        let longer = bytes.len() - record.len() + 16;
        bytes[longer..longer + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(read_all(&bytes).unwrap().1, Some(Problem::Damaged(_))));
    }

    #[test]
    fn a_full_disk_leaves_whole_records() {
        let all = written();
        for room in header().to_bytes().len()..all.len() {
            let mut disk = Disk { room, ..Disk::default() };
            let mut recorder = Recorder::new(&mut disk, &header()).unwrap();
            for record in records() {
                recorder.add(record.from, record.time, record.client, &record.message).unwrap();
            }
            assert_eq!(recorder.flush().is_err(), room < all.len() - RECORD - 8 - CHECKSUM);
            let (found, problem) = read_all(&disk.bytes).unwrap();
            assert!(matches!(problem, Some(Problem::Cut)));
            assert!(found == records()[..found.len()]);
            assert!(all.starts_with(&disk.bytes));
        }
    }
}
