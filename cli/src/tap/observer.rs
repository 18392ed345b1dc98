//! Prints and records the messages that pass.

use super::original::Original;
use crate::args::{Print, Tap};
use crate::exit::{coded, FAILED};
use crate::message::hex;
use crate::output::visible;
use crate::recording::{From, Header, Recorder};
use crate::threads;
use crate::transfer::exchange::output_error;
use anyhow::Context;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Stdout, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use xshm::ShmError;

/// How long a message waits at most until it is printed and recorded.
const DELAY: Duration = Duration::from_millis(50);

/// All directions of all sessions share it, so that the messages have one order.
pub struct Observer {
    shared: Arc<Shared>,
    print: Print,
    begin: Instant,
    start: SystemTime,
}

struct Shared {
    state: Mutex<State>,
    /// Notified when there is something to write, and at the end.
    work: Condvar,
}

struct State {
    recorder: Option<Recorder<File>>,
    recording_failed: bool,
    printer: Option<BufWriter<Stdout>>,
    print_error: Option<io::Error>,
    has_work: bool,
    is_over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The recording takes no more. The tap goes on.
    fn give_up_recording(&mut self, error: io::Error) {
        self.recorder = None;
        self.recording_failed = true;
        anstream::eprintln!("xshm: the recording ends here, what was recorded is readable: {error}");
    }

    fn flush(&mut self) {
        if let Some(Err(error)) = self.recorder.as_mut().map(Recorder::flush) {
            self.give_up_recording(error);
        }
        if let Some(Err(error)) = self.printer.as_mut().map(Write::flush) {
            self.give_up_printing(error);
        }
        self.has_work = false;
    }

    fn give_up_printing(&mut self, error: io::Error) {
        // Its buffer is not written again.
        drop(self.printer.take().map(BufWriter::into_parts));
        self.print_error = Some(error);
    }
}

impl Observer {
    pub fn new(args: &Tap, original: &Original) -> anyhow::Result<Self> {
        let start = SystemTime::now();
        let recorder = match &args.record {
            Some(path) => {
                let file = create(path, args.force)?;
                let header = header(&args.name, start, original);
                let recorder = Recorder::new(file, &header);
                Some(recorder.with_context(|| format!("cannot write {}", path.display()))?)
            }
            None => None,
        };
        let printer = (args.print != Print::None).then(|| BufWriter::with_capacity(256 * 1024, io::stdout()));
        let state = State {
            recorder,
            recording_failed: false,
            printer,
            print_error: None,
            has_work: false,
            is_over: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), work: Condvar::new() });
        let writer = shared.clone();
        threads::start("write", move || write(&writer))?;
        Ok(Observer { shared, print: args.print, begin: Instant::now(), start })
    }

    /// Prints and records a message.
    ///
    /// # Errors
    /// [`ShmError::Interrupted`]: the output takes no more, so that the tap ends.
    pub fn see(&self, from: From, client: u32, message: &[u8]) -> xshm::Result<()> {
        let mut state = self.shared.lock();
        let time = self.begin.elapsed();
        if let Some(Err(error)) =
            state.recorder.as_mut().map(|recorder| recorder.add(from, time, client, message))
        {
            state.give_up_recording(error);
        }
        if let Some(printer) = &mut state.printer {
            if let Err(error) = self.print(printer, from, time, client, message) {
                state.give_up_printing(error);
            }
        }
        if state.print_error.is_some() {
            return Err(ShmError::Interrupted);
        }
        if !state.has_work {
            state.has_work = true;
            self.shared.work.notify_one();
        }
        Ok(())
    }

    fn print(
        &self, to: &mut impl Write, from: From, time: Duration, client: u32, message: &[u8],
    ) -> io::Result<()> {
        let time = humantime::format_rfc3339_micros(self.start + time);
        let arrow = match from {
            From::Client => "->",
            From::Server => "<-",
        };
        let text = text(self.print, message);
        let blank = if text.is_empty() { "" } else { " " };
        writeln!(to, "{time} {client} {arrow} {}{blank}{text}", message.len())
    }

    /// # Errors
    /// The output takes no more.
    pub fn check_output(&self) -> anyhow::Result<()> {
        self.shared.lock().print_error.take().map_or(Ok(()), |error| Err(output_error(error)))
    }

    /// Writes what is left and the end of the recording.
    pub fn finish(&self) -> anyhow::Result<()> {
        let mut state = self.shared.lock();
        state.flush();
        state.is_over = true;
        self.shared.work.notify_one();
        if let Some(recorder) = state.recorder.take() {
            if let Err(error) = recorder.finish(self.begin.elapsed()) {
                state.give_up_recording(error);
            }
        }
        if state.recording_failed {
            return Err(coded(FAILED, "the recording is not complete"));
        }
        drop(state);
        self.check_output()
    }
}

/// Creates the file of a recording.
fn create(path: &std::path::Path, force: bool) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    let options = if force { options.create(true).truncate(true) } else { options.create_new(true) };
    options.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            coded(FAILED, format!("{} exists already; --force replaces it", path.display()))
        }
        _ => anyhow::Error::new(error).context(format!("cannot create {}", path.display())),
    })
}

fn header(name: &str, start: SystemTime, original: &Original) -> Header {
    let seen = |number: usize| if original.is_seen { number } else { 0 };
    Header {
        name: name.to_owned(),
        start,
        max_message_size: seen(original.max_message_size) as u64,
        ring_size: u32::try_from(seen(original.ring_size)).unwrap_or(0),
        message_limit: u32::try_from(seen(original.message_limit)).unwrap_or(0),
        rejects_when_full: original.rejects_when_full,
        is_multi: original.is_multi,
    }
}

/// Writes what the sessions have left, a moment after they have.
fn write(shared: &Shared) {
    loop {
        let state = shared.lock();
        let waited = shared.work.wait_while(state, |state| !state.has_work && !state.is_over);
        if waited.unwrap_or_else(PoisonError::into_inner).is_over {
            return;
        }
        thread::sleep(DELAY);
        shared.lock().flush();
    }
}

fn text(print: Print, message: &[u8]) -> String {
    let as_text = || visible(&String::from_utf8_lossy(message));
    match print {
        Print::Auto => match std::str::from_utf8(message) {
            Ok(text) if !text.chars().any(|character| character.is_control() && character != '\t') => {
                visible(text)
            }
            _ => hex(message),
        },
        Print::Text => as_text(),
        Print::Hex => format!("{} |{}|", hex(message), printable(message)),
        Print::Length | Print::None => String::new(),
    }
}

/// The characters of ASCII, and dots for other bytes.
fn printable(message: &[u8]) -> String {
    let shown = |&byte: &u8| if byte == b' ' || byte.is_ascii_graphic() { char::from(byte) } else { '.' };
    message.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_printed_on_one_line() {
        assert_eq!(text(Print::Auto, "grüße".as_bytes()), "grüße");
        assert_eq!(text(Print::Auto, b"a\nb"), "610a62");
        assert_eq!(text(Print::Auto, b"\xff\x00"), "ff00");
        assert_eq!(text(Print::Text, b"a\nb"), "a\\nb");
        assert_eq!(text(Print::Hex, b"a\nb"), "610a62 |a.b|");
        assert_eq!(text(Print::Length, b"ab"), "");
    }
}
