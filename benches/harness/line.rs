//! A line between two sides, and what is measured of it: round trips and streams.
//!
//! A way of passing messages implements [`Line`], which says no more than how it sends and receives one. Everything
//! timed goes through the one [`End`] of all lines, so that all are driven, checked and timed alike.

use crate::bare::ticks;
use std::error::Error;

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// The most that is sent in one message, xshm's own bound.
pub const LONGEST: usize = xshm::MAX_MESSAGE_SIZE;
/// A stream's messages begin with their number.
const NUMBER: usize = 8;

/// Where messages are kept, made once for each side: clearing memory is no part of what is timed.
pub struct Buffers {
    pub message: &'static mut [u8],
    pub answer: &'static mut [u8],
}

impl Buffers {
    pub fn new() -> Self {
        Buffers { message: room(0x5a), answer: room(0) }
    }
}

/// Room for a message, for as long as the process runs. It starts in the middle of a page, since many processors copy
/// slowly between places that are alike within their pages, and shared memory starts with one.
fn room(byte: u8) -> &'static mut [u8] {
    const PAGE: usize = 4096;
    let whole = vec![byte; LONGEST + 2 * PAGE].leak();
    let start = whole.as_ptr().align_offset(PAGE) + PAGE / 2;
    &mut whole[start..start + LONGEST]
}

/// One side's end of a way of passing messages.
pub trait Line {
    /// False for what only signals: nothing is there to be checked.
    const CARRIES: bool = true;

    /// Sends a message, waiting for room.
    fn send(&mut self, message: &[u8]) -> Outcome<()>;

    /// Waits for a message of this length.
    fn receive(&mut self, message: &mut [u8]) -> Outcome<()>;

    /// Sends messages numbered from zero on, in whatever portions the line is made for.
    fn send_all(&mut self, buffers: &mut Buffers, size: usize, count: u64) -> Outcome<()> {
        let message = &mut buffers.message[..size];
        for number in 0..count {
            write_number(message, number);
            self.send(message)?;
        }
        self.show();
        Ok(())
    }

    /// Shows the receiver what a line holds back to show it together with what comes next.
    fn show(&mut self) {}

    /// Receives as many.
    fn receive_all(&mut self, buffers: &mut Buffers, size: usize, count: u64) -> Outcome<()> {
        let message = &mut buffers.message[..size];
        for number in 0..count {
            self.receive(message)?;
            check_number(message, number)?;
        }
        Ok(())
    }

    /// Signals sent and sleeps begun so far, where the line counts them.
    fn kernel_calls(&self) -> Option<[u64; 2]> {
        None
    }
}

/// What the harness does with any line.
pub trait End {
    /// Leads round trips; with `times`, notes what each took, in ticks.
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

/// A message's number, and at its end a byte of it: a message that came in part is noticed.
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
    // The last byte of a message as short as its number is the number's.
    if number == expected && (message.len() == NUMBER || message.last() == Some(&(number as u8))) {
        Ok(())
    } else {
        Err(format!("message {number} came in place of {expected}, or not as it was sent").into())
    }
}
