//! `xshm replay`: sends recorded messages again.

use crate::args::{Direction, Format, Replay};
use crate::exit::{coded, FAILED, USAGE};
use crate::recording::{From, Header, Problem, Reader};
use crate::transfer::exchange::{self, Control, Plan};
use crate::transfer::formats::{limit, Output, Source};
use crate::transfer::{server_options, unless_interrupted, wait_for_client};
use anyhow::{anyhow, Context};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::thread;
use std::time::{Duration, Instant};
use xshm::{ClientOptions, ServerOptions, ShmError};

pub fn run(args: &Replay) -> anyhow::Result<()> {
    let speed = speed(&args.speed)?;
    let control = Control::new()?;
    let in_file = || format!("{}", args.file.display());
    let file = File::open(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?;
    let reader = Reader::new(BufReader::with_capacity(256 * 1024, file)).with_context(in_file)?;
    let output = Output::new(Box::new(io::sink()), Format::Raw, false);
    let plan = Plan { count: None, linger: Some(args.linger), is_input_interactive: false };
    let from = match args.from {
        Direction::Client => From::Client,
        Direction::Server => From::Server,
    };
    let header = reader.header().clone();
    let source = |longest| {
        let pace = speed.map(|speed| Pace { speed, begin: None });
        let recorded = Recorded { reader, from, client: args.client, pace, longest, found: false };
        Some(Box::new(recorded) as Box<dyn Source>)
    };
    match from {
        From::Client => {
            let options = ClientOptions::new().interrupter(control.interrupter.clone());
            let client = options.connect(&args.name, args.timeout).map_err(unless_interrupted)?;
            let source = source(client.max_message_size());
            exchange::run(client.into_split().map_err(ShmError::from)?, source, output, plan, &control)
        }
        From::Server => {
            let options = as_recorded(&header)?.interrupter(control.interrupter.clone());
            let mut server = options.start(&args.name).map_err(|error| match error {
                // The recording says so, not the command line.
                ShmError::InvalidOption { .. } => coded(FAILED, format!("{}: {error}", in_file())),
                error => error.into(),
            })?;
            wait_for_client(&mut server, args.timeout)?;
            let source = source(server.max_message_size());
            exchange::run(server.into_split().map_err(ShmError::from)?, source, output, plan, &control)
        }
    }
}

/// The options of a server like the recorded one.
fn as_recorded(header: &Header) -> anyhow::Result<ServerOptions> {
    if header.ring_size == 0 {
        return server_options(None, None);
    }
    let options = ServerOptions::new()
        .ring_size(header.ring_size as usize)
        .message_limit(header.message_limit as usize)
        .max_message_size(usize::try_from(header.max_message_size).unwrap_or(usize::MAX));
    Ok(if header.rejects_when_full { options.reject_when_full() } else { options })
}

/// Reads a speed. `None`: without pauses.
fn speed(text: &str) -> anyhow::Result<Option<f64>> {
    if text == "max" {
        return Ok(None);
    }
    let speed = text.strip_suffix('x').and_then(|number| number.parse::<f64>().ok());
    match speed.filter(|speed| speed.is_finite() && *speed > 0.0) {
        Some(speed) => Ok(Some(speed)),
        None => Err(coded(
            USAGE,
            format!("--speed is a positive number and x, as in 2x or 0.5x, or max, not {text:?}"),
        )),
    }
}

/// When each message is sent.
struct Pace {
    speed: f64,
    /// When the first message was sent, and its recorded time.
    begin: Option<(Instant, Duration)>,
}

impl Pace {
    /// Waits until it is time for a message.
    fn wait(&mut self, time: Duration) {
        let (begin, first) = *self.begin.get_or_insert_with(|| (Instant::now(), time));
        let after = time.saturating_sub(first).as_secs_f64() / self.speed;
        let after = Duration::try_from_secs_f64(after).unwrap_or(Duration::MAX);
        // The thread that decides ends the program in spite of this sleep.
        thread::sleep(after.saturating_sub(begin.elapsed()));
    }
}

/// The messages of one side of a recording.
struct Recorded<R: Read> {
    reader: Reader<R>,
    from: From,
    client: Option<u32>,
    pace: Option<Pace>,
    longest: usize,
    /// Whether a message was one of those to send.
    found: bool,
}

impl<R: Read + Send> Source for Recorded<R> {
    fn next(&mut self, message: &mut Vec<u8>) -> anyhow::Result<bool> {
        loop {
            let record = match self.reader.next() {
                Ok(Some(record)) => record,
                Ok(None) if self.found => return Ok(false),
                Ok(None) => match self.client {
                    Some(client) => {
                        return Err(anyhow!("the recording has no such message of client {client}"))
                    }
                    None => return Ok(false),
                },
                Err(problem) => return Err(report(problem, self.reader.count())),
            };
            if record.from != self.from || self.client.is_some_and(|client| client != record.client) {
                continue;
            }
            if record.message.len() > self.longest {
                let length = record.message.len();
                return Err(anyhow!("{} has {length} bytes; {}", self.place(), limit(self.longest)));
            }
            if let Some(pace) = &mut self.pace {
                pace.wait(record.time);
            }
            *message = record.message;
            self.found = true;
            return Ok(true);
        }
    }

    fn place(&self) -> String {
        format!("recorded message {}", self.reader.count())
    }
}

fn report(problem: Problem, count: u64) -> anyhow::Error {
    match problem {
        Problem::Cut => anyhow!("the recording is cut off after {count} messages; they were used"),
        Problem::Damaged(what) => {
            anyhow!("the recording is damaged after {count} messages, which were used: {what}")
        }
        Problem::Unreadable(error) => anyhow::Error::new(error).context("cannot read the recording"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_positive_numbers() {
        assert_eq!(speed("max").unwrap(), None);
        assert_eq!(speed("1x").unwrap(), Some(1.0));
        assert_eq!(speed("0.5x").unwrap(), Some(0.5));
        for text in ["", "x", "1", "0x", "-1x", "infx", "NaNx", "1x "] {
            assert!(speed(text).is_err(), "{text}");
        }
    }
}
