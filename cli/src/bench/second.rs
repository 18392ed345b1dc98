//! The second process, and what both processes do with the channel between them.
//!
//! The first process sends a task. Then both do their part of it, over the same channel:
//!
//! | task | first process | second process |
//! |---|---|---|
//! | `Echo` | sends a message and receives it, `count` times | sends each back |
//! | `Take` | sends `count` messages | receives them, and answers how many came in order |
//! | `TakeBatches` | sends `count` messages in batches | the same, in batches |
//! | `Leave` | leaves | leaves |
//!
//! The second process ends with the first one, however that ends: its standard input is a pipe from the first one, and it ends
//! when this pipe is closed.

use super::cores;
use crate::args::Bench;
use crate::exit::{coded, PEER, TIMEOUT};
use crate::threads;
use anyhow::Context;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use xshm::{ClientOptions, MessageBatch, ReceiveHalf, SendHalf, SharedServer, ShmError};

/// The messages in a batch.
pub const BATCH: usize = 32;
/// The other process is stuck if it does nothing for this time.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long the second process has time to start and to connect.
const START: Duration = Duration::from_secs(20);
/// The bytes of a task and of an answer.
const NUMBERS: usize = 16;

#[derive(Clone, Copy)]
pub enum Task {
    Echo { count: u64 },
    Take { count: u64 },
    TakeBatches { count: u64 },
    Leave,
}

impl Task {
    pub fn to_bytes(self) -> [u8; NUMBERS] {
        numbers(match self {
            Task::Echo { count } => [0, count],
            Task::Take { count } => [1, count],
            Task::TakeBatches { count } => [2, count],
            Task::Leave => [3, 0],
        })
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(match from_bytes(bytes)? {
            [0, count] => Task::Echo { count },
            [1, count] => Task::Take { count },
            [2, count] => Task::TakeBatches { count },
            [3, _] => Task::Leave,
            _ => return None,
        })
    }
}

fn numbers([first, second]: [u64; 2]) -> [u8; NUMBERS] {
    let mut bytes = [0; NUMBERS];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..].copy_from_slice(&second.to_le_bytes());
    bytes
}

pub fn from_bytes(bytes: &[u8]) -> Option<[u64; 2]> {
    let bytes: &[u8; NUMBERS] = bytes.try_into().ok()?;
    let (first, second) = bytes.split_first_chunk()?;
    Some([u64::from_le_bytes(*first), u64::from_le_bytes(second.try_into().ok()?)])
}

/// Writes a message's number into its first bytes, as far as it fits.
pub fn number_message(message: &mut [u8], number: u64) {
    let len = message.len().min(8);
    message[..len].copy_from_slice(&number.to_le_bytes()[..len]);
}

/// Whether a message has the length and the number that it should have.
pub fn is_message(message: &[u8], size: usize, number: u64) -> bool {
    let len = size.min(8);
    message.len() == size && message[..len] == number.to_le_bytes()[..len]
}

/// The room for any message of the channel.
pub fn room(size: usize) -> usize {
    size.max(NUMBERS)
}

/// The second process. Dropping the value ends it.
pub struct Second(Child);

impl Second {
    pub fn start(args: &Bench, channel: &str, processor: Option<usize>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let mut command = Command::new(&program);
        command.args(["bench", "--answer", channel, "--size", &args.size.to_string()]);
        if let Some(spin) = args.spin {
            command.args(["--spin", &humantime::format_duration(spin).to_string()]);
        }
        if let Some(processor) = processor {
            command.args(["--pin", &processor.to_string()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        keep_from_signals(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("the second process, {}, cannot start", program.display()))?;
        Ok(Second(child))
    }

    /// Waits until this process, and no other client, has connected.
    pub fn accept(&mut self, server: &mut SharedServer) -> anyhow::Result<()> {
        // In slices, because the server does not watch a process that ends before it connects.
        const SLICE: Duration = Duration::from_millis(50);
        let started = Instant::now();
        loop {
            match server.wait_for_client(Some(SLICE)) {
                Ok(()) => break,
                Err(ShmError::Timeout) => {}
                Err(error) => return Err(error).context("waiting for the second process"),
            }
            if let Some(status) = self.ended() {
                let text = format!("the second process ended before it connected ({status})");
                return Err(coded(PEER, text));
            }
            if started.elapsed() > START {
                let text = format!("the second process has not connected within {} s", START.as_secs());
                return Err(coded(TIMEOUT, text));
            }
        }
        match server.peer() {
            Some(peer) if peer.process_id == self.0.id() => Ok(()),
            _ => Err(coded(PEER, "a process other than the second one has connected to the channel")),
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Says why a call failed, with what became of the second process.
    pub fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast_ref() {
            Some(ShmError::PeerDied { .. } | ShmError::NotConnected) => {
                let status = self.finish(Duration::from_secs(1));
                let status = status.map_or_else(|| "it runs on".to_owned(), |status| status.to_string());
                coded(PEER, format!("the second process ended too early ({status})"))
            }
            Some(ShmError::Timeout) => {
                let text = format!("the second process has done nothing for {} s", PATIENCE.as_secs());
                coded(TIMEOUT, text)
            }
            _ => error,
        }
    }

    /// Waits for the end of the process.
    pub fn finish(&mut self, within: Duration) -> Option<ExitStatus> {
        let started = Instant::now();
        loop {
            let status = self.ended();
            if status.is_some() || started.elapsed() > within {
                return status;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // Fails if the process has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes Ctrl-C reach the first process alone, which then ends the second one.
#[cfg(unix)]
fn keep_from_signals(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(windows)]
fn keep_from_signals(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    command.creation_flags(CREATE_NEW_PROCESS_GROUP);
}

/// What the second process does.
pub fn answer(args: &Bench, channel: &str) -> anyhow::Result<()> {
    let until_end = || {
        // Returns when the first process has ended, or has closed the pipe.
        let _ = std::io::copy(&mut std::io::stdin().take(u64::MAX), &mut std::io::sink());
        std::process::exit(0);
    };
    threads::start("end", until_end)?;
    let mut options = ClientOptions::new();
    if let Some(spin) = args.spin {
        options = options.spin(spin);
    }
    let mut client = options.connect(channel, START).context("the second process cannot connect")?;
    // Only now: the library would choose another time to spin for a thread that has one processor.
    if let [processor, ..] = args.pin[..] {
        cores::pin(processor)?;
    }
    let (sender, receiver) = client.split()?;
    let mut side = Side { sender, receiver, buffer: vec![0; room(args.size)], size: args.size };
    match side.work() {
        // The first process has gone, and has nothing to read.
        Err(error) if is_gone(&error) => Ok(()),
        outcome => outcome,
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ShmError::PeerDied { .. } | ShmError::NotConnected))
}

struct Side<'a> {
    sender: &'a mut SendHalf,
    receiver: &'a mut ReceiveHalf,
    buffer: Vec<u8>,
    size: usize,
}

impl Side<'_> {
    fn work(&mut self) -> anyhow::Result<()> {
        loop {
            let len = self.receiver.receive_into(&mut self.buffer)?;
            let task =
                Task::from_bytes(&self.buffer[..len]).context("a message came where a task should be")?;
            match task {
                Task::Echo { count } => self.echo(count)?,
                Task::Take { count } => {
                    let in_order = self.take(count)?;
                    self.sender.send(&numbers([count, in_order]))?;
                }
                Task::TakeBatches { count } => {
                    let in_order = self.take_batches(count)?;
                    self.sender.send(&numbers([count, in_order]))?;
                }
                Task::Leave => return Ok(()),
            }
        }
    }

    fn echo(&mut self, count: u64) -> xshm::Result<()> {
        for _ in 0..count {
            let len = self.receiver.receive_into(&mut self.buffer)?;
            self.sender.send_timeout(&self.buffer[..len], None)?;
        }
        Ok(())
    }

    /// Receives messages. Returns how many of them were in order and had the right length.
    fn take(&mut self, count: u64) -> xshm::Result<u64> {
        let mut in_order = 0;
        for number in 0..count {
            let len = self.receiver.receive_into(&mut self.buffer)?;
            in_order += u64::from(is_message(&self.buffer[..len], self.size, number));
        }
        Ok(in_order)
    }

    fn take_batches(&mut self, count: u64) -> xshm::Result<u64> {
        let mut batch = MessageBatch::new(BATCH, BATCH * self.size);
        let (mut number, mut in_order) = (0, 0);
        while number < count {
            self.receiver.receive_batch(&mut batch)?;
            for message in &batch {
                in_order += u64::from(is_message(message, self.size, number));
                number += 1;
            }
        }
        Ok(in_order)
    }
}
