//! Lines over byte streams: pipes and sockets.

use crate::line::{Line, Outcome};
use std::io::{Read, Write};

pub struct Streams<R, W> {
    pub reads: R,
    pub writes: W,
}

impl<R: Read, W: Write> Line for Streams<R, W> {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        Ok(self.writes.write_all(message)?)
    }

    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        Ok(self.reads.read_exact(message)?)
    }
}
