//! Byte streams: the halves as [`Write`] and [`Read`] of the standard library.
//!
//! A stream goes in ordinary messages, its chunks. Each begins with one byte: 0 if the bytes of the stream follow, 1 if the stream
//! has ended. So a chunk may carry a single byte, although on most channels no message is that short, and the channel can be
//! used on after the end.

use crate::constants::MAX_MESSAGE_SIZE;
use crate::error::{Result, ShmError};
use crate::halves::{ReceiveHalf, SendHalf};
use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

/// The first byte of a chunk.
const BYTES: u8 = 0;
const END: u8 = 1;

/// Writes bytes into a channel, see [`SendHalf::writer`].
#[derive(Debug)]
pub struct StreamWriter<'a> {
    half: &'a mut SendHalf,
    timeout: Option<Duration>,
}

/// Reads bytes from a channel, see [`ReceiveHalf::reader`].
#[derive(Debug)]
pub struct StreamReader<'a> {
    half: &'a mut ReceiveHalf,
    timeout: Option<Duration>,
    chunk: Vec<u8>,
    /// What has been read of the chunk. The rest is yet to be read.
    read: usize,
    has_ended: bool,
}

impl SendHalf {
    /// Returns a writer for a stream of bytes, which the peer reads by [`ReceiveHalf::reader`]. No byte is lost: a write waits
    /// for room, on any channel.
    ///
    /// A write sends its bytes at once, in one message if they fit. Many small writes are faster through a
    /// [`BufWriter`](std::io::BufWriter). The stream ends with [`finish`](StreamWriter::finish), or when this endpoint leaves.
    ///
    /// ```
    /// use std::io::{self, Read, Write};
    /// use std::{thread, time::Duration};
    /// use xshm::{SharedClient, SharedServer};
    ///
    /// let mut server = SharedServer::start("streams-example")?;
    /// let client = thread::spawn(|| -> io::Result<String> {
    ///     let mut client = SharedClient::connect("streams-example", Duration::from_secs(5))?;
    ///     let (_, receiver) = client.split()?;
    ///     let mut text = String::new();
    ///     receiver.reader().read_to_string(&mut text)?;
    ///     Ok(text)
    /// });
    /// server.wait_for_client(Some(Duration::from_secs(5)))?;
    /// let (sender, _) = server.split()?;
    /// let mut writer = sender.writer();
    /// io::copy(&mut &b"a file, for example"[..], &mut writer)?;
    /// writer.finish()?;
    /// assert_eq!(client.join().unwrap()?, "a file, for example");
    /// # io::Result::Ok(())
    /// ```
    pub fn writer(&mut self) -> StreamWriter<'_> {
        StreamWriter { half: self, timeout: None }
    }
}

impl StreamWriter<'_> {
    /// Limits how long each write waits for room. `None`, the default, waits without a limit; the peer's end is noticed all the
    /// same. When the time is over, the write fails with [`io::ErrorKind::TimedOut`], and has written nothing.
    pub fn timeout(self, timeout: Option<Duration>) -> Self {
        StreamWriter { timeout, ..self }
    }

    /// Ends the stream: the reader gets the end after all bytes. The channel can carry messages or another stream after that.
    ///
    /// # Errors
    /// As [`SendHalf::send_timeout`].
    pub fn finish(self) -> Result<()> {
        self.half.send_timeout(&[END, 0], self.timeout)
    }
}

impl Write for StreamWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let len = bytes.len().min(self.half.producer.lengths().longest().min(MAX_MESSAGE_SIZE) - 1);
        let mut place = self.half.reserve_timeout(len + 1, self.timeout)?;
        place.write_at(0, &[BYTES]);
        place.write_at(1, &bytes[..len]);
        place.commit()?;
        Ok(len)
    }

    /// Does nothing: each write has sent its bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ReceiveHalf {
    /// Returns a reader for a stream of bytes that the peer writes by [`SendHalf::writer`]. See there.
    ///
    /// The stream ends, and a read returns 0 bytes, when the peer has [finished](StreamWriter::finish) it or has left. If the
    /// peer's process died, the read after all bytes that came fails with [`io::ErrorKind::ConnectionReset`]. A message that is
    /// no chunk of a stream is an error, [`io::ErrorKind::InvalidData`]. Other errors are those of [`receive_timeout`](Self::receive_timeout), converted.
    ///
    /// The reader holds one chunk: what the program has not read of it is lost when the reader is dropped.
    pub fn reader(&mut self) -> StreamReader<'_> {
        StreamReader { half: self, timeout: None, chunk: Vec::new(), read: 0, has_ended: false }
    }
}

impl StreamReader<'_> {
    /// Limits how long each read waits for bytes. `None`, the default, waits without a limit; the peer's end is noticed all the
    /// same. When the time is over, the read fails with [`io::ErrorKind::TimedOut`].
    pub fn timeout(self, timeout: Option<Duration>) -> Self {
        StreamReader { timeout, ..self }
    }

    /// Returns whether the peer has finished the stream or has left, and all bytes were read.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Receives the next chunk, unless the stream has ended.
    fn next_chunk(&mut self) -> io::Result<()> {
        if self.has_ended {
            return Ok(());
        }
        // After an error there is nothing to read.
        self.chunk.clear();
        self.read = 0;
        match self.half.receive_timeout(&mut self.chunk, self.timeout) {
            Ok(_) => {}
            Err(ShmError::NotConnected) => {
                self.has_ended = true;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        // Only a chunk of bytes has something to read.
        self.read = self.chunk.len();
        let what = match self.chunk.first() {
            Some(&BYTES) if self.chunk.len() > 1 => {
                self.read = 1;
                return Ok(());
            }
            Some(&END) => {
                self.has_ended = true;
                return Ok(());
            }
            Some(&BYTES) | None => "a message without bytes of a stream is no chunk of one".to_owned(),
            Some(other) => format!("a message that begins with {other} is no chunk of a stream"),
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }
}

impl BufRead for StreamReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read == self.chunk.len() {
            self.next_chunk()?;
        }
        Ok(&self.chunk[self.read..])
    }

    fn consume(&mut self, amount: usize) {
        self.read = (self.read + amount).min(self.chunk.len());
    }
}

impl Read for StreamReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let there = self.fill_buf()?;
        let len = there.len().min(buffer.len());
        buffer[..len].copy_from_slice(&there[..len]);
        self.consume(len);
        Ok(len)
    }
}
