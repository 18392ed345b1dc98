//! What two bridges send each other: records, chunks, control messages, and the request that opens a session.
//!
//! Each direction of a session is a stream of bytes, made of records. A record is one message of the channel, or the
//! session's end. A chunk is one Zenoh message: the place of the first byte in the stream, and the bytes.
//!
//! ```text
//! chunk    place: u64  | bytes of the stream
//! record   length: u32 | the message
//! end      u32::MAX    | length: u16 | cause: u8 | text
//! control  kind: u8    | sender: u64 | received: u64 | delivered: u64 | evicted: u64 | cause: u8 | text
//! ```
//!
//! All numbers are little-endian. The place of a chunk is the number of bytes before it in the stream; the highest bit asks for a
//! report at once.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of this protocol. Two bridges work together if it is the same.
pub const VERSION: u32 = 3;

/// The bytes in front of a chunk.
pub(crate) const CHUNK_HEADER: usize = 8;
/// The bytes in front of a message.
pub(crate) const RECORD_HEADER: usize = 4;

/// What stands in front of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkHeader {
    /// The place of the chunk's first byte in the stream.
    pub offset: u64,
    /// The sender wants a report as soon as the chunk has arrived.
    pub wants_report: bool,
}

impl ChunkHeader {
    const WANTS_REPORT: u64 = 1 << 63;

    pub(crate) fn encode(self) -> [u8; CHUNK_HEADER] {
        (self.offset | if self.wants_report { Self::WANTS_REPORT } else { 0 }).to_le_bytes()
    }

    pub(crate) fn decode(bytes: [u8; CHUNK_HEADER]) -> Self {
        let place = u64::from_le_bytes(bytes);
        ChunkHeader { offset: place & !Self::WANTS_REPORT, wants_report: place & Self::WANTS_REPORT != 0 }
    }
}

const END_MARK: u32 = u32::MAX;
const END_HEADER: usize = 6;
const LONGEST_TEXT: usize = 1024;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The client or the server left.
    Left,
    /// The process of the client or the server ended without leaving.
    Died,
    /// A bridge was stopped.
    Stopped,
    /// The other bridge opened no session.
    Refused,
    /// A message has a size that the channel on the other side does not carry.
    Limit,
    /// The other bridge was not heard for the time of the lease.
    Unreachable,
    /// A call of xshm or of Zenoh failed, or the other bridge broke the protocol.
    Failed,
    /// The other bridge does not know the session: it was restarted, or has ended the session.
    Unknown,
}

impl Cause {
    /// All causes, in the order of their numbers on the wire.
    pub const ALL: [Cause; 8] = [
        Cause::Left,
        Cause::Died,
        Cause::Stopped,
        Cause::Refused,
        Cause::Limit,
        Cause::Unreachable,
        Cause::Failed,
        Cause::Unknown,
    ];

    /// Returns the name of the cause, as it is in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Left => "left",
            Cause::Died => "died",
            Cause::Stopped => "stopped",
            Cause::Refused => "refused",
            Cause::Limit => "limit",
            Cause::Unreachable => "unreachable",
            Cause::Failed => "failed",
            Cause::Unknown => "unknown",
        }
    }

    fn of(number: u8) -> Self {
        Cause::ALL.get(usize::from(number)).copied().unwrap_or(Cause::Failed)
    }
}

/// The end of a session: the cause, and a sentence for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The cause.
    pub cause: Cause,
    /// What happened.
    pub text: String,
}

impl End {
    /// Makes an end of a cause and a sentence.
    pub fn new(cause: Cause, text: impl Into<String>) -> Self {
        End { cause, text: text.into() }
    }

    /// Makes the end of a session that is not opened.
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        End::new(Cause::Refused, text)
    }

    fn write(&self, to: &mut Vec<u8>) {
        let mut end = self.text.len().min(LONGEST_TEXT);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        to.push(self.cause as u8);
        to.extend_from_slice(&self.text.as_bytes()[..end]);
    }

    fn read(bytes: &[u8]) -> Self {
        match bytes {
            [cause, text @ ..] => End::new(Cause::of(*cause), one_line(text)),
            [] => End::new(Cause::Failed, "the other bridge gave no cause"),
        }
    }
}

/// Reads a text of the other bridge for the log. Without line breaks, so that no text looks like a line of this bridge.
pub(crate) fn one_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace(char::is_control, " ")
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause.name(), self.text)
    }
}

/// Appends the header of a record. The message follows.
pub(crate) fn write_record_header(length: usize, to: &mut Vec<u8>) {
    // A message has at most half a GiB.
    to.extend_from_slice(&(length as u32).to_le_bytes());
}

/// Appends the record by which a session ends.
pub(crate) fn write_end(end: &End, to: &mut Vec<u8>) {
    let mut body = Vec::new();
    end.write(&mut body);
    to.extend_from_slice(&END_MARK.to_le_bytes());
    to.extend_from_slice(&(body.len() as u16).to_le_bytes());
    to.extend_from_slice(&body);
}

/// A part of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Messages that follow one another.
    Messages(&'a [&'a [u8]]),
    End(End),
}

/// One record of a stream.
enum Record<'a> {
    Message(&'a [u8]),
    End(End),
}

/// Finds the records in a stream whose bytes come in pieces of any length.
#[derive(Debug)]
pub(crate) struct Records {
    /// The longest message that the channel carries.
    longest: usize,
    /// The beginning of a record whose other bytes have not come yet.
    partial: Vec<u8>,
}

impl Records {
    pub(crate) fn new(longest: usize) -> Self {
        Records { longest, partial: Vec::new() }
    }

    /// Calls `each` with all records that are complete with these bytes.
    ///
    /// # Errors
    /// That of `each`; or the end of the session, if the stream breaks the protocol.
    pub(crate) fn feed(
        &mut self, mut bytes: &[u8], mut each: impl FnMut(Part<'_>) -> Result<(), End>,
    ) -> Result<(), End> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            if self.partial.is_empty() {
                match self.size(bytes)? {
                    Ok(size) if size <= bytes.len() => {
                        match decode(&bytes[..size]) {
                            Record::Message(message) => messages.push(message),
                            Record::End(end) => {
                                if !messages.is_empty() {
                                    each(Part::Messages(&messages))?;
                                    messages.clear();
                                }
                                each(Part::End(end))?;
                            }
                        }
                        bytes = &bytes[size..];
                    }
                    size => {
                        if let Ok(size) = size {
                            self.partial.reserve(size);
                        }
                        self.partial.extend_from_slice(bytes);
                        break;
                    }
                }
                continue;
            }
            let (Ok(wanted) | Err(wanted)) = self.size(&self.partial)?;
            let missing = wanted - self.partial.len();
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.partial.extend_from_slice(now);
            bytes = later;
            if self.size(&self.partial)? == Ok(self.partial.len()) {
                let partial = std::mem::take(&mut self.partial);
                match decode(&partial) {
                    Record::Message(message) => each(Part::Messages(&[message]))?,
                    Record::End(end) => each(Part::End(end))?,
                }
                self.partial = partial;
                self.partial.clear();
            }
        }
        if messages.is_empty() {
            return Ok(());
        }
        each(Part::Messages(&messages))
    }

    /// The size of the first record of `bytes`; or, in the inner `Err`, how many bytes are needed to find its size.
    fn size(&self, bytes: &[u8]) -> Result<Result<usize, usize>, End> {
        let Some(length) = bytes.first_chunk::<4>() else { return Ok(Err(RECORD_HEADER)) };
        let length = u32::from_le_bytes(*length);
        if length == END_MARK {
            let Some([_, _, _, _, low, high]) = bytes.first_chunk::<END_HEADER>() else {
                return Ok(Err(END_HEADER));
            };
            return Ok(Ok(END_HEADER + usize::from(u16::from_le_bytes([*low, *high]))));
        }
        if length as usize > self.longest {
            let text = format!(
                "the other bridge sent a message of {length} bytes; the channel carries up to {}",
                self.longest
            );
            return Err(End::new(Cause::Limit, text));
        }
        Ok(Ok(RECORD_HEADER + length as usize))
    }
}

/// Reads a record that is complete.
fn decode(record: &[u8]) -> Record<'_> {
    match record.strip_prefix(&END_MARK.to_le_bytes()) {
        Some(end) => Record::End(End::read(end.get(2..).unwrap_or_default())),
        None => Record::Message(&record[RECORD_HEADER..]),
    }
}

/// How far a bridge is with the stream that it receives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// All bytes before this offset have arrived.
    pub received: u64,
    /// The records before this offset are in the ring of the local channel.
    pub delivered: u64,
    /// The number of messages that the bridge has evicted from that ring.
    pub evicted: u64,
}

/// A control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// The bridge lives, and is so far.
    Report(Progress),
    /// As a report. In addition, bytes are missing: the sender repeats the stream from `received`.
    Repeat(Progress),
    /// The session is over.
    End(End),
    /// The bridge that sends this does not know the session.
    Unknown,
    /// The bridge that sends this stops: the other one takes nothing more from its peer, and ends its stream.
    Stop,
}

impl Control {
    pub(crate) fn encode(&self, sender: u64) -> Vec<u8> {
        let kind: u8 = match self {
            Control::Report(_) => 0,
            Control::Repeat(_) => 1,
            Control::End(_) => 2,
            Control::Unknown => 3,
            Control::Stop => 4,
        };
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&sender.to_le_bytes());
        match self {
            Control::Report(progress) | Control::Repeat(progress) => {
                for number in [progress.received, progress.delivered, progress.evicted] {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
            }
            Control::End(end) => end.write(&mut bytes),
            Control::Unknown | Control::Stop => {}
        }
        bytes
    }

    /// Returns the bridge that sent the message, and the message. `None`: it is none of this protocol.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(u64, Control)> {
        let (kind, rest) = bytes.split_first()?;
        let (sender, rest) = rest.split_first_chunk::<8>()?;
        let progress = || {
            let number = |at: usize| Some(u64::from_le_bytes(*rest.get(at..)?.first_chunk()?));
            Some(Progress { received: number(0)?, delivered: number(8)?, evicted: number(16)? })
        };
        let control = match kind {
            0 => Control::Report(progress()?),
            1 => Control::Repeat(progress()?),
            2 => Control::End(End::read(rest)),
            3 => Control::Unknown,
            4 => Control::Stop,
            _ => return None,
        };
        Some((u64::from_le_bytes(*sender), control))
    }
}

/// What an importing bridge sends to open a session, in TOML.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OpenRequest {
    pub version: u32,
    /// The importing bridge and the session.
    pub bridge: String,
    pub session: String,
    /// The longest message that the imported channel carries.
    pub max_message_size: u64,
    /// How many bytes may be under way to the importing bridge.
    pub window: u64,
    /// How many milliseconds the importing bridge waits for the answer.
    pub timeout_ms: u32,
}

/// What an exporting bridge answers, in TOML.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OpenAnswer {
    /// How many bytes may be under way to the exporting bridge.
    pub window: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> (Vec<u8>, Vec<String>) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for length in [0_usize, 1, 2, 700, 3] {
            let message = vec![b'a' + (length % 26) as u8; length];
            write_record_header(length, &mut bytes);
            bytes.extend_from_slice(&message);
            expected.push(format!("{message:?}"));
        }
        let end = End::new(Cause::Died, "the client's process ended");
        write_end(&end, &mut bytes);
        expected.push(end.to_string());
        (bytes, expected)
    }

    #[test]
    fn records_are_found_however_the_stream_is_cut() {
        let (bytes, expected) = stream();
        for piece in 1..bytes.len() {
            let (mut records, mut found) = (Records::new(700), Vec::new());
            for part in bytes.chunks(piece) {
                let fed = records.feed(part, |part| {
                    match part {
                        Part::Messages(messages) => found.extend(messages.iter().map(|m| format!("{m:?}"))),
                        Part::End(end) => found.push(end.to_string()),
                    }
                    Ok(())
                });
                fed.expect("the stream is right");
            }
            assert_eq!(found, expected, "pieces of {piece} bytes");
        }
    }

    #[test]
    fn a_message_over_the_limit_ends_the_session() {
        let (bytes, _) = stream();
        let end = Records::new(699).feed(&bytes, |_| Ok(())).expect_err("700 bytes are too long");
        assert_eq!(end.cause, Cause::Limit);
    }

    #[test]
    fn control_messages_keep_their_contents() {
        let progress = Progress { received: 1 << 40, delivered: 7, evicted: 3 };
        let messages = [
            Control::Report(progress),
            Control::Repeat(progress),
            Control::End(End::new(Cause::Unreachable, "nothing was heard")),
            Control::Unknown,
            Control::Stop,
        ];
        for message in messages {
            let bytes = message.encode(42);
            assert_eq!(Control::decode(&bytes), Some((42, message)));
            for cut in 0..bytes.len().min(9) {
                assert_eq!(Control::decode(&bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn a_text_of_the_other_bridge_stays_on_one_line() {
        let control = [&[2, 1][..], &[0; 7], b"\x01died\nINFO \x1b[2Jall is well"].concat();
        let Some((1, Control::End(end))) = Control::decode(&control) else { panic!("{control:?}") };
        assert_eq!(end, End::new(Cause::Died, "died INFO  [2Jall is well"));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let end = End::new(Cause::Failed, "ü".repeat(LONGEST_TEXT));
        let mut bytes = Vec::new();
        write_end(&end, &mut bytes);
        let checked = Records::new(10).feed(&bytes, |part| {
            assert_eq!(part, Part::End(End::new(Cause::Failed, "ü".repeat(LONGEST_TEXT / 2))));
            Ok(())
        });
        checked.expect("the stream is right");
    }
}
