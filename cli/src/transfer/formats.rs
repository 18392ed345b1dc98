//! Messages on the standard streams: [`Input`] reads them, [`Output`] writes them.

use crate::args::Format;
use crate::message;
use crate::output::visible;
use anyhow::{bail, Context};
use std::io::{self, BufRead, ErrorKind, Read, Write};

/// The longest piece of a raw stream.
const LONGEST_PIECE: usize = 1 << 20;

/// The most bytes of a message that is too long whose length is counted.
const MOST_COUNTED: u64 = 64 << 20;

/// Where the messages to send come from.
pub trait Source: Send {
    /// Replaces the contents of `message` with the next message. `Ok(false)`: there are no more.
    fn next(&mut self, message: &mut Vec<u8>) -> anyhow::Result<bool>;

    /// Names the message that [`next`](Self::next) has returned last, for an error.
    fn place(&self) -> String;

    /// Takes back a message that is too short for the channel, to send its bytes with those that follow. `false`: it cannot.
    fn take_back(&mut self, message: &[u8]) -> bool {
        let _ = message;
        false
    }
}

/// Messages in one of the formats.
pub struct Input {
    reader: Box<dyn BufRead + Send>,
    format: Format,
    longest: usize,
    number: u64,
    /// The bytes of a raw stream that were read and not sent yet.
    held: Vec<u8>,
}

impl Input {
    /// `longest`: the length of the longest message of the channel.
    pub fn new(reader: Box<dyn BufRead + Send>, format: Format, longest: usize) -> Self {
        Input { reader, format, longest, number: 0, held: Vec::new() }
    }

    /// Reads a line without its end. `Ok(false)`: there is none.
    fn line(&mut self, line: &mut Vec<u8>, longest: usize) -> anyhow::Result<bool> {
        // One byte more than fits, and the line's end.
        let most = longest as u64 + 2;
        let read = self.reader.by_ref().take(most).read_until(b'\n', line).context("cannot read")?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        let has_end = line.last() == Some(&b'\n');
        if has_end {
            line.pop();
            if cfg!(windows) && line.last() == Some(&b'\r') {
                line.pop();
            }
        }
        if line.len() > longest && !has_end {
            let more = self.count_line()?;
            bail!(self.too_long(line.len() as u64 + more, longest));
        }
        Ok(true)
    }

    /// Counts the bytes up to the line's end.
    fn count_line(&mut self) -> anyhow::Result<u64> {
        let mut count = 0;
        while count < MOST_COUNTED {
            let bytes = self.reader.fill_buf().context("cannot read")?;
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let used = end.unwrap_or(bytes.len());
            count += used as u64;
            if end.is_some() || used == 0 {
                break;
            }
            self.reader.consume(used);
        }
        Ok(count)
    }

    fn too_long(&self, length: u64, longest: usize) -> String {
        // The length of a line is counted up to a limit.
        let is_counted = self.format != Format::Length;
        let at_least = if is_counted && length >= MOST_COUNTED { "at least " } else { "" };
        match self.format {
            Format::Hex => {
                format!("{} has {at_least}{length} characters, too many for {longest} bytes", self.place())
            }
            _ => format!("{} has {at_least}{length} bytes; {}", self.place(), limit(self.longest)),
        }
    }

    fn hex(&mut self, message: &mut Vec<u8>) -> anyhow::Result<bool> {
        // Two digits for each byte, and room for blanks.
        let most = self.longest.saturating_mul(8).max(1 << 16);
        let mut line = Vec::new();
        if !self.line(&mut line, most)? {
            return Ok(false);
        }
        let text = std::str::from_utf8(&line).ok();
        let Some(bytes) = text.and_then(message::from_hex) else {
            bail!(
                "{} is not hexadecimal: it takes an even number of the digits 0 to 9 and a to f",
                self.place()
            );
        };
        *message = bytes;
        Ok(true)
    }

    fn with_length(&mut self, message: &mut Vec<u8>) -> anyhow::Result<bool> {
        let mut length = Vec::with_capacity(4);
        self.reader.by_ref().take(4).read_to_end(&mut length).context("cannot read")?;
        if length.is_empty() {
            return Ok(false);
        }
        self.number += 1;
        let Ok(length) = <[u8; 4]>::try_from(length.as_slice()) else {
            bail!("the input ends within the length of {}", self.place());
        };
        let length = u64::from(u32::from_le_bytes(length));
        if length > self.longest as u64 {
            bail!(self.too_long(length, self.longest));
        }
        let read = self.reader.by_ref().take(length).read_to_end(message).context("cannot read")?;
        if (read as u64) < length {
            bail!("the input ends within {}, after {read} of its {length} bytes", self.place());
        }
        Ok(true)
    }

    /// Reads what is there. After a full piece, two bytes wait for the next one, so that the last piece of a long stream has at
    /// least the two bytes that most channels need.
    fn piece(&mut self, message: &mut Vec<u8>) -> anyhow::Result<bool> {
        let most = self.longest.min(LONGEST_PIECE);
        message.append(&mut self.held);
        let held = message.len();
        message.resize(most, 0);
        let read = loop {
            match self.reader.read(&mut message[held..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other.context("cannot read")?,
            }
        };
        message.truncate(held + read);
        if read > 0 && message.len() == most && most >= 4 {
            self.held = message.split_off(most - 2);
        }
        self.number += u64::from(!message.is_empty());
        Ok(!message.is_empty())
    }
}

impl Source for Input {
    fn next(&mut self, message: &mut Vec<u8>) -> anyhow::Result<bool> {
        message.clear();
        match self.format {
            Format::Lines => {
                let found = self.line(message, self.longest)?;
                if message.len() > self.longest {
                    bail!(self.too_long(message.len() as u64, self.longest));
                }
                Ok(found)
            }
            Format::Hex => self.hex(message),
            Format::Length => self.with_length(message),
            Format::Raw => self.piece(message),
        }
    }

    fn place(&self) -> String {
        match self.format {
            Format::Lines | Format::Hex => format!("line {}", self.number),
            Format::Length => format!("message {}", self.number),
            Format::Raw => format!("piece {}", self.number),
        }
    }

    fn take_back(&mut self, message: &[u8]) -> bool {
        // The end of the stream comes as the same piece once more.
        let is_raw = self.format == Format::Raw;
        let at_end = is_raw && self.reader.fill_buf().map_or(true, <[u8]>::is_empty);
        if is_raw && !at_end {
            self.held.splice(0..0, message.iter().copied());
            self.number -= 1;
        }
        is_raw && !at_end
    }
}

/// Says which messages a channel allows.
pub fn limit(longest: usize) -> String {
    format!("this channel's messages have at most {longest} (its server's max_message_size)")
}

/// Writes messages in one of the formats.
pub struct Output {
    writer: Box<dyn Write + Send>,
    format: Format,
    /// Whether a terminal shows it. Then no message can change the terminal.
    is_terminal: bool,
}

impl Output {
    pub fn new(writer: Box<dyn Write + Send>, format: Format, is_terminal: bool) -> Self {
        Output { writer, format, is_terminal }
    }

    /// Writes a message, after the client's number if there are many clients.
    pub fn write(&mut self, client: Option<u32>, message: &[u8]) -> io::Result<()> {
        let writer = &mut self.writer;
        if let (Some(client), Format::Lines | Format::Hex) = (client, self.format) {
            write!(writer, "{client}: ")?;
        }
        match self.format {
            Format::Lines if self.is_terminal => {
                writeln!(writer, "{}", visible_line(&String::from_utf8_lossy(message)))
            }
            Format::Lines => {
                writer.write_all(message)?;
                writer.write_all(b"\n")
            }
            Format::Hex => writeln!(writer, "{}", message::hex(message)),
            Format::Length => {
                let length = u32::try_from(message.len()).map_err(|_| ErrorKind::InvalidData)?;
                writer.write_all(&length.to_le_bytes())?;
                writer.write_all(message)
            }
            Format::Raw => writer.write_all(message),
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A message as a line of a terminal. Its tabs stay.
fn visible_line(text: &str) -> String {
    text.split('\t').map(visible).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], format: Format, longest: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut input = Input::new(Box::new(io::Cursor::new(text.to_vec())), format, longest);
        let (mut all, mut message) = (Vec::new(), Vec::new());
        while input.next(&mut message)? {
            all.push(message.clone());
        }
        Ok(all)
    }

    fn error(text: &[u8], format: Format, longest: usize) -> String {
        read(text, format, longest).unwrap_err().to_string()
    }

    #[test]
    fn lines_are_messages() {
        assert_eq!(read(b"", Format::Lines, 10).unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(read(b"one\n\ntwo", Format::Lines, 10).unwrap(), [&b"one"[..], b"", b"two"]);
        assert_eq!(read(b"1234\n", Format::Lines, 4).unwrap(), [b"1234"]);
        for (text, bytes) in [("12\n12345\n", 5), ("12\n12345", 5), ("12\n12345678\n1", 8), ("\n1234567", 7)]
        {
            let expected = format!("line 2 has {bytes} bytes; this channel's messages have at most 4 ");
            let found = error(text.as_bytes(), Format::Lines, 4);
            assert!(found.starts_with(&expected), "{found}");
        }
    }

    #[test]
    fn hexadecimal_lines_are_messages() {
        assert_eq!(read(b"00ff\n\n 0 1\n", Format::Hex, 4).unwrap(), [&b"\x00\xff"[..], b"", b"\x01"]);
        assert!(error(b"00\n0g\n", Format::Hex, 4).starts_with("line 2 is not hexadecimal"));
    }

    #[test]
    fn lengths_are_checked() {
        assert_eq!(read(b"\x02\0\0\0ab\0\0\0\0", Format::Length, 4).unwrap(), [&b"ab"[..], b""]);
        assert_eq!(error(b"\x02\0\0", Format::Length, 4), "the input ends within the length of message 1");
        assert_eq!(
            error(b"\x02\0\0\0a", Format::Length, 4),
            "the input ends within message 1, after 1 of its 2 bytes"
        );
        assert!(error(b"\xff\xff\xff\xff", Format::Length, 4).starts_with("message 1 has 4294967295 bytes"));
    }

    #[test]
    fn pieces_have_all_bytes() {
        for longest in [2, 3, 4, 5, 10] {
            for count in 0..40_u8 {
                let bytes: Vec<u8> = (0..count).collect();
                let pieces = read(&bytes, Format::Raw, longest).unwrap();
                assert_eq!(pieces.concat(), bytes);
                assert!(pieces.iter().all(|piece| piece.len() <= longest));
                if longest >= 4 && count != 1 {
                    assert!(pieces.iter().all(|piece| piece.len() >= 2), "{longest}, {count}");
                }
            }
        }
    }
}
