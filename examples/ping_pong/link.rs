//! What both processes do with a channel: tasks, messages, and the loop of the second process.
//!
//! The first process sends a task. Then both do their part of it, over the same channel:
//!
//! | task | first process | second process |
//! |---|---|---|
//! | `Echo` | sends and receives `rounds` messages | sends each back |
//! | `Bare` | leads on the bare page | follows |
//! | `Stream` | sends messages, the last one of 2 bytes | receives them, and answers how many came, and how many out of order |
//! | `Asleep` | as `Echo`, over the other channel, whose endpoints sleep at once | sends each back |
//! | `Report` | waits | answers how many kernel calls its endpoints have made |
//! | `Leave` | leaves | leaves |

use crate::bare::Page;
use std::error::Error;
use std::time::Duration;
use xshm::{ClientOptions, ReceiveHalf, SendHalf, MAX_MESSAGE_SIZE, MIN_MESSAGE_SIZE};

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// The names of the three things that both processes share.
pub struct Names {
    pub spinning: String,
    pub asleep: String,
    pub page: String,
}

impl Names {
    pub fn new(base: &str) -> Self {
        let name = |what| format!("{base}-{what}");
        Names { spinning: name("spinning"), asleep: name("asleep"), page: name("page") }
    }
}

#[derive(Clone, Copy)]
pub enum Task {
    Echo { rounds: u64 },
    Bare { rounds: u64, first: u64, pause: bool },
    Stream,
    Asleep { rounds: u64 },
    Report,
    Leave,
}

impl Task {
    fn to_numbers(self) -> [u64; 4] {
        match self {
            Task::Echo { rounds } => [0, rounds, 0, 0],
            Task::Bare { rounds, first, pause } => [1, rounds, first, pause.into()],
            Task::Stream => [2, 0, 0, 0],
            Task::Asleep { rounds } => [3, rounds, 0, 0],
            Task::Report => [4, 0, 0, 0],
            Task::Leave => [5, 0, 0, 0],
        }
    }

    fn from_numbers(numbers: [u64; 4]) -> Option<Self> {
        Some(match numbers {
            [0, rounds, ..] => Task::Echo { rounds },
            [1, rounds, first, pause] => Task::Bare { rounds, first, pause: pause != 0 },
            [2, ..] => Task::Stream,
            [3, rounds, ..] => Task::Asleep { rounds },
            [4, ..] => Task::Report,
            [5, ..] => Task::Leave,
            _ => return None,
        })
    }
}

/// One endpoint of a channel, the same for both processes.
pub struct Link<'a> {
    tx: &'a mut SendHalf,
    rx: &'a mut ReceiveHalf,
    buffer: Vec<u8>,
}

impl<'a> Link<'a> {
    pub fn new((tx, rx): (&'a mut SendHalf, &'a mut ReceiveHalf)) -> Self {
        Link { tx, rx, buffer: vec![0; MAX_MESSAGE_SIZE] }
    }

    pub fn give(&mut self, task: Task) -> Outcome<()> {
        self.send_numbers(task.to_numbers())
    }

    fn send_numbers<const N: usize>(&mut self, numbers: [u64; N]) -> Outcome<()> {
        let message: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.tx.send(&message)?;
        Ok(())
    }

    pub fn receive_numbers<const N: usize>(&mut self) -> Outcome<[u64; N]> {
        let len = self.rx.receive_into(&mut self.buffer)?;
        if len != N * 8 {
            return Err(format!("a message of {len} bytes came where {} were expected", N * 8).into());
        }
        Ok(std::array::from_fn(|at| number_at(&self.buffer[at * 8..])))
    }

    /// Sends a message and receives it back. Checks the length and the first bytes, which the caller changes each time.
    #[inline]
    pub fn round_trip(&mut self, message: &[u8]) -> Outcome<()> {
        self.tx.send(message)?;
        let len = self.rx.receive_into(&mut self.buffer)?;
        if len != message.len() || self.buffer[..MIN_MESSAGE_SIZE] != message[..MIN_MESSAGE_SIZE] {
            return Err("another message came back than was sent".into());
        }
        Ok(())
    }

    /// The last message that came back.
    pub fn last(&self, len: usize) -> &[u8] {
        &self.buffer[..len]
    }

    /// Sends a message, and waits for room if there is none.
    #[inline]
    pub fn push(&mut self, message: &[u8]) -> Outcome<()> {
        Ok(self.tx.send_timeout(message, None)?)
    }

    fn echo(&mut self, rounds: u64) -> Outcome<()> {
        for _ in 0..rounds {
            let len = self.rx.receive_into(&mut self.buffer)?;
            self.tx.send(&self.buffer[..len])?;
        }
        Ok(())
    }

    /// Receives a stream up to its last message. Returns how many messages came, and how many of them out of order.
    fn drain(&mut self) -> Outcome<[u64; 2]> {
        let (mut count, mut strays) = (0, 0);
        loop {
            let len = self.rx.receive_into(&mut self.buffer)?;
            if len == MIN_MESSAGE_SIZE {
                return Ok([count, strays]);
            }
            strays += u64::from(number_at(&self.buffer) != count);
            count += 1;
        }
    }

    /// The signals that this endpoint has sent, and its sleeps, since the session began.
    pub fn kernel_calls(&self) -> [u64; 2] {
        let stats = self.rx.stats();
        [stats.signals, stats.sleeps]
    }

    pub fn is_alive(&self) -> bool {
        self.tx.is_connected()
    }
}

fn number_at(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// Runs the second process until the task `Leave` comes.
pub fn serve(base: &str) -> Outcome<()> {
    const TIMEOUT: Duration = Duration::from_secs(20);
    let names = Names::new(base);
    let page = Page::open(&names.page)?;
    let mut spinning = ClientOptions::new().spin(Duration::MAX).connect(&names.spinning, TIMEOUT)?;
    let mut asleep = ClientOptions::new().spin(Duration::ZERO).connect(&names.asleep, TIMEOUT)?;
    let mut spinning = Link::new(spinning.split()?);
    let mut asleep = Link::new(asleep.split()?);
    loop {
        let numbers = spinning.receive_numbers()?;
        match Task::from_numbers(numbers).ok_or("a task that makes no sense")? {
            Task::Echo { rounds } => spinning.echo(rounds)?,
            Task::Bare { rounds, first, pause } => {
                let alive = || spinning.is_alive();
                let done = if pause {
                    page.follow::<true>(first, rounds, alive)
                } else {
                    page.follow::<false>(first, rounds, alive)
                };
                if !done {
                    return Err("the first process is gone".into());
                }
            }
            Task::Stream => {
                let came = spinning.drain()?;
                spinning.send_numbers(came)?;
            }
            Task::Asleep { rounds } => asleep.echo(rounds)?,
            Task::Report => {
                let ([signals, sleeps], [more_signals, more_sleeps]) =
                    (spinning.kernel_calls(), asleep.kernel_calls());
                spinning.send_numbers([signals, sleeps, more_signals, more_sleeps])?;
            }
            Task::Leave => return Ok(()),
        }
    }
}
