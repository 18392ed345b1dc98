//! The header of messages that ask for an answer, and of the answers.
//!
//! | bytes | what |
//! |---|---|
//! | 0 to 3 | `78 63 61 6C` ("xcal") |
//! | 4 to 7 | 1: a call; 2: its answer; 3: there will be no answer. Little-endian, as the following number |
//! | 8 to 15 | the number of the call, which the caller chooses and the answer repeats |
//!
//! Then the bytes of the call or of the answer follow. Other messages may go between them.

use crate::constants::MAX_MESSAGE_SIZE;
use crate::error::Result;
use crate::sys;

const MAGIC: [u8; 4] = *b"xcal";

/// The bytes of the header.
pub(crate) const CALL_HEADER: usize = 16;

/// The largest number of bytes of a call, and of an answer: 65,519. On a channel with smaller rings, and on one with a
/// [`max_message_size`](crate::ServerOptions::max_message_size), it is the length of the longest message minus 16.
pub const MAX_CALL_SIZE: usize = MAX_MESSAGE_SIZE - CALL_HEADER;

/// What a message with the header is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Call = 1,
    Answer = 2,
    NoAnswer = 3,
}

/// Reads the header of a message. `None`: it has none.
pub(crate) fn read(message: &[u8]) -> Option<(Part, u64, &[u8])> {
    let (header, rest) = (message.get(..CALL_HEADER)?, &message[CALL_HEADER..]);
    let (magic, numbers) = header.split_at(4);
    let (part, id) = numbers.split_at(4);
    let part = match u32::from_le_bytes(part.try_into().ok()?) {
        1 => Part::Call,
        2 => Part::Answer,
        3 => Part::NoAnswer,
        _ => return None,
    };
    (magic == MAGIC).then_some((part, u64::from_le_bytes(id.try_into().ok()?), rest))
}

/// Puts a header before the bytes of a call or an answer, and both into `message`.
///
/// # Errors
/// This process has no memory for it.
pub(crate) fn write(message: &mut Vec<u8>, part: Part, id: u64, bytes: &[u8]) -> Result<()> {
    message.clear();
    let reserved = message.try_reserve(CALL_HEADER.saturating_add(bytes.len()));
    reserved.map_err(|_| sys::out_of_memory("putting a header before a call or an answer"))?;
    message.extend_from_slice(&MAGIC);
    message.extend_from_slice(&(part as u32).to_le_bytes());
    message.extend_from_slice(&id.to_le_bytes());
    message.extend_from_slice(bytes);
    Ok(())
}

/// Makes a message of a header and the bytes of a call or an answer.
///
/// # Errors
/// As [`write()`].
pub(crate) fn message(part: Part, id: u64, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut message = Vec::new();
    write(&mut message, part, id, bytes)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_written_and_read() {
        let mut message = vec![9; 100];
        for part in [Part::Call, Part::Answer, Part::NoAnswer] {
            for bytes in [&b""[..], b"abc"] {
                write(&mut message, part, 0x0123_4567_89ab_cdef, bytes).unwrap();
                assert_eq!(read(&message), Some((part, 0x0123_4567_89ab_cdef, bytes)));
            }
        }
        write(&mut message, Part::Answer, 0x0102, b"!").unwrap();
        assert_eq!(message, *b"xcal\x02\0\0\0\x02\x01\0\0\0\0\0\0!");
    }

    #[test]
    fn other_messages_have_no_header() {
        for message in [
            &b""[..],
            b"ab",
            b"xcal\x01\0\0\0\0\0\0\0\0\0\0",
            b"xcal\x04\0\0\0\0\0\0\0\0\0\0\0",
            b"Xcal\x01\0\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(read(message), None, "{message:?}");
        }
    }
}
