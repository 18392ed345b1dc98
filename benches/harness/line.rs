//! A line between two sides, and its measurement by round trips and streams.
//!
//! A way of passing messages implements [`Line`]: how it sends and receives one message. Everything that is timed goes
//! through the one implementation of [`End`], so that all lines are driven, checked and timed alike.

use crate::bare::ticks;
use std::error::Error;

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// The longest message in bytes, except in P13: xshm's own limit by default.
pub const LONGEST: usize = xshm::MAX_MESSAGE_SIZE;
/// The bytes of the number with which each message begins.
const NUMBER: usize = 8;

/// Buffers for messages, made once for each side, so that clearing memory is not timed.
pub struct Buffers {
    pub message: &'static mut [u8],
    pub answer: &'static mut [u8],
    /// For streams of messages that are longer than [`LONGEST`].
    long: &'static mut [u8],
}

impl Buffers {
    pub fn new() -> Self {
        Buffers { message: room(0x5a, LONGEST), answer: room(0, LONGEST), long: &mut [] }
    }

    /// Returns the message of a stream. All lines use the same memory for it.
    fn of_stream(&mut self, size: usize) -> &mut [u8] {
        if size <= LONGEST {
            return &mut self.message[..size];
        }
        if size > self.long.len() {
            self.long = room(0x5a, size);
        }
        &mut self.long[..size]
    }
}

/// Makes a buffer that lives as long as the process. It starts in the middle of a page, because many processors copy slowly
/// between two places with the same offset in their pages, and shared memory starts at a page.
fn room(byte: u8, size: usize) -> &'static mut [u8] {
    const PAGE: usize = 4096;
    let whole = vec![byte; size + 2 * PAGE].leak();
    let start = whole.as_ptr().align_offset(PAGE) + PAGE / 2;
    &mut whole[start..start + size]
}

/// One end of a way of passing messages.
pub trait Line {
    /// False for a line that only signals: there is no message to check.
    const CARRIES: bool = true;

    /// Sends a message, waiting for room.
    fn send(&mut self, message: &[u8]) -> Outcome<()>;

    /// Waits for a message of this length.
    fn receive(&mut self, message: &mut [u8]) -> Outcome<()>;

    /// Sends `count` messages, numbered from zero, one at a time or in batches.
    fn send_all(&mut self, buffers: &mut Buffers, size: usize, count: u64) -> Outcome<()> {
        let message = buffers.of_stream(size);
        for number in 0..count {
            write_number(message, number);
            self.send(message)?;
        }
        self.show();
        Ok(())
    }

    /// Publishes the messages that the line holds back to publish several together.
    fn show(&mut self) {}

    /// Receives `count` messages.
    fn receive_all(&mut self, buffers: &mut Buffers, size: usize, count: u64) -> Outcome<()> {
        let message = buffers.of_stream(size);
        for number in 0..count {
            self.receive(message)?;
            check_number(message, number)?;
        }
        Ok(())
    }

    /// The signals sent and the sleeps begun so far. `None`: the line does not count them.
    fn kernel_calls(&self) -> Option<[u64; 2]> {
        None
    }
}

/// What the harness does with any line.
pub trait End {
    /// Leads round trips; with `times`, records the ticks of each.
    fn lead(
        &mut self, buffers: &mut Buffers, size: usize, rounds: u64, times: Option<&mut Vec<u64>>,
    ) -> Outcome<()>;
    fn follow(&mut self, buffers: &mut Buffers, size: usize, rounds: u64) -> Outcome<()>;
    fn send_all(&mut self, _: &mut Buffers, _size: usize, _count: u64) -> Outcome<()> {
        Err("this line carries no stream".into())
    }
    fn receive_all(&mut self, buffers: &mut Buffers, size: usize, count: u64) -> Outcome<()> {
        self.send_all(buffers, size, count)
    }
    fn kernel_calls(&self) -> Option<[u64; 2]> {
        None
    }
}

impl<L: Line> End for L {
    fn lead(
        &mut self, buffers: &mut Buffers, size: usize, rounds: u64, mut times: Option<&mut Vec<u64>>,
    ) -> Outcome<()> {
        let (message, answer) = (&mut buffers.message[..size], &mut buffers.answer[..size]);
        let mut last = ticks();
        for round in 0..rounds {
            if L::CARRIES {
                write_number(message, round);
            }
            self.send(message)?;
            self.receive(answer)?;
            if L::CARRIES {
                check_number(answer, round)?;
            }
            if let Some(times) = &mut times {
                let now = ticks();
                times.push(now.saturating_sub(last));
                last = now;
            }
        }
        Ok(())
    }

    fn follow(&mut self, buffers: &mut Buffers, size: usize, rounds: u64) -> Outcome<()> {
        let message = &mut buffers.message[..size];
        for _ in 0..rounds {
            self.receive(message)?;
            self.send(message)?;
        }
        Ok(())
    }

    fn send_all(&mut self, buffers: &mut Buffers, size: usize, count: u64) -> Outcome<()> {
        Line::send_all(self, buffers, size, count)
    }

    fn receive_all(&mut self, buffers: &mut Buffers, size: usize, count: u64) -> Outcome<()> {
        Line::receive_all(self, buffers, size, count)
    }

    fn kernel_calls(&self) -> Option<[u64; 2]> {
        Line::kernel_calls(self)
    }
}

/// Writes a message's number at its start, and the number's lowest byte at its end, so that an incomplete message is
/// noticed.
#[inline(always)]
pub fn write_number(message: &mut [u8], number: u64) {
    if let Some(last) = message.last_mut() {
        *last = number as u8;
    }
    message[..NUMBER].copy_from_slice(&number.to_le_bytes());
}

#[inline(always)]
pub fn check_number(message: &[u8], expected: u64) -> Outcome<()> {
    let (number, _) = message.split_first_chunk().ok_or("a message without a number")?;
    let number = u64::from_le_bytes(*number);
    // In a message of 8 bytes, the last byte belongs to the number.
    if number == expected && (message.len() == NUMBER || message.last() == Some(&(number as u8))) {
        Ok(())
    } else {
        Err(format!("message {number} came instead of {expected}, or was changed").into())
    }
}
