//! `xshm serve` and `xshm connect`: the standard streams at one end of a channel.

pub mod exchange;
pub mod formats;
pub mod many;

use crate::args::{Connect, Format, Serve, Transfer};
use crate::exit::{coded, TIMEOUT, USAGE};
use anyhow::Context;
use exchange::{interrupted, Control, Plan};
use formats::{Input, Output, Source};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::time::{Duration, Instant};
use xshm::{Access, ClientOptions, ServerOptions, SharedServer, ShmError, Trust};
use xshm::{MAX_MESSAGES, MAX_MESSAGE_SIZE, MAX_RING_CAPACITY, MIN_RING_CAPACITY, RING_CAPACITY};

/// How often the sides look whether a peer runs that the system does not let them watch.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

pub fn serve(args: &Serve) -> anyhow::Result<()> {
    let control = Control::new()?;
    let streams = Streams::open(&args.transfer)?;
    let options = server_options(args.ring_size, args.max_message_size)?;
    let options = match args.everyone {
        true => options.access(Access::Everyone).check_interval(CHECK_INTERVAL),
        false => options,
    };
    if args.multi {
        let longest = longest_message(args.ring_size, args.max_message_size);
        let plan = many::Plan {
            count: args.transfer.count,
            linger: args.transfer.linger,
            timeout: args.transfer.timeout,
            max_clients: args.max_clients,
        };
        let (source, output) = streams.into_ends(longest)?;
        return many::run(&args.name, options, longest, source, output, &plan, &control);
    }
    let mut server = options.interrupter(control.interrupter.clone()).start(&args.name)?;
    wait_for_client(&mut server, args.transfer.timeout)?;
    let longest = server.max_message_size();
    let plan = plan(&args.transfer);
    let (source, output) = streams.into_ends(longest)?;
    exchange::run(server.into_split().map_err(ShmError::from)?, source, output, plan, &control)
}

pub fn connect(args: &Connect) -> anyhow::Result<()> {
    let control = Control::new()?;
    let streams = Streams::open(&args.transfer)?;
    let mut options = ClientOptions::new().interrupter(control.interrupter.clone());
    if args.trust_anyone {
        options = options.trust(Trust::Anyone).check_interval(CHECK_INTERVAL);
    }
    let client = options.connect(&args.name, args.transfer.timeout).map_err(unless_interrupted)?;
    let longest = client.max_message_size();
    let plan = plan(&args.transfer);
    let (source, output) = streams.into_ends(longest)?;
    exchange::run(client.into_split().map_err(ShmError::from)?, source, output, plan, &control)
}

/// Waits for a client. One that is refused does not end the wait, but is reported if no other one comes.
pub fn wait_for_client(server: &mut SharedServer, timeout: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now().checked_add(timeout);
    let mut refused = None;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match server.wait_for_client(left) {
            Ok(()) => return Ok(()),
            Err(error @ ShmError::Refused { .. }) => refused = Some(error),
            Err(ShmError::Timeout) => {
                let late = || coded(TIMEOUT, format!("no client has come within {timeout:?}"));
                return Err(refused.map_or_else(late, Into::into));
            }
            Err(error) => return Err(unless_interrupted(error)),
        }
    }
}

/// An interrupted call is the work of Ctrl-C.
pub fn unless_interrupted(error: ShmError) -> anyhow::Error {
    match error {
        ShmError::Interrupted => interrupted(),
        error => error.into(),
    }
}

/// When a session ends, by the command line.
fn plan(args: &Transfer) -> Plan {
    // A program that sends a file and awaits nothing leaves when it has sent it.
    let only_sends = args.send.is_some() && args.receive.is_none() && args.count.is_none();
    Plan {
        count: args.count,
        linger: args.linger.or(only_sends.then_some(Duration::ZERO)),
        is_input_interactive: args.send.is_none() && io::stdin().is_terminal(),
    }
}

/// The longest message of a server.
fn longest_message(ring_size: Option<usize>, max_message_size: Option<usize>) -> usize {
    max_message_size.unwrap_or_else(|| MAX_MESSAGE_SIZE.min(most_in_ring(ring_size.unwrap_or(RING_CAPACITY))))
}

/// The longest message that a ring has room for.
fn most_in_ring(ring_size: usize) -> usize {
    (ring_size / 2).saturating_sub(if ring_size <= 128 * 1024 { 8 } else { 64 })
}

/// The options of a server whose messages may be empty, since lines may be.
pub fn server_options(
    ring_size: Option<usize>, max_message_size: Option<usize>,
) -> anyhow::Result<ServerOptions> {
    let longest = longest_message(ring_size, max_message_size);
    let ring_size = match ring_size {
        Some(bytes)
            if !bytes.is_power_of_two() || !(MIN_RING_CAPACITY..=MAX_RING_CAPACITY).contains(&bytes) =>
        {
            let text = format!(
                "--ring-size is a power of two from {MIN_RING_CAPACITY} to {MAX_RING_CAPACITY}, not {bytes}"
            );
            return Err(coded(USAGE, text));
        }
        Some(bytes) => bytes,
        None => ring_for(longest).ok_or_else(|| {
            let most = most_in_ring(MAX_RING_CAPACITY);
            coded(
                USAGE,
                format!("--max-message-size {longest} is too large: the longest message has {most} bytes"),
            )
        })?,
    };
    let limit = MAX_MESSAGES.min((ring_size / 64).saturating_sub(1));
    Ok(ServerOptions::new().ring_size(ring_size).message_limit(limit).max_message_size(longest))
}

/// The size of a ring for messages of this length: the sender writes one while the receiver reads another.
fn ring_for(longest: usize) -> Option<usize> {
    let for_three = longest.checked_mul(3)?.max(RING_CAPACITY).checked_next_power_of_two()?;
    let size = for_three.min(MAX_RING_CAPACITY);
    (longest <= most_in_ring(size)).then_some(size)
}

/// The files and the format of a command line.
struct Streams<'a> {
    args: &'a Transfer,
    send: Option<File>,
}

impl<'a> Streams<'a> {
    /// Opens the file to send, and looks for the folder of the file to write. It does so before the peer is there: a peer should not
    /// come for a file that is missing. A file that exists is only replaced when the peer is there.
    fn open(args: &'a Transfer) -> anyhow::Result<Self> {
        let open = |path: &std::path::PathBuf| {
            if path.is_dir() {
                anyhow::bail!("cannot send {}: it is a folder", path.display());
            }
            File::open(path).with_context(|| format!("cannot open {}", path.display()))
        };
        let folder = args.receive.as_ref().and_then(|path| path.parent());
        if let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            anyhow::bail!("cannot write into {}: there is no such folder", folder.display());
        }
        Ok(Streams { args, send: args.send.as_ref().map(open).transpose()? })
    }

    /// The source and the destination of messages.
    fn into_ends(self, longest: usize) -> anyhow::Result<(Option<Box<dyn Source>>, Output)> {
        const BUFFER: usize = 256 * 1024;
        let reader: Option<Box<dyn BufRead + Send>> = match self.send {
            Some(file) => {
                let length = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|data| data.len());
                let bar = progress("sent", length);
                Some(Box::new(BufReader::with_capacity(BUFFER, bar.wrap_read(file))))
            }
            None if self.args.receive_only => None,
            None => Some(Box::new(BufReader::with_capacity(BUFFER, io::stdin()))),
        };
        let format = self.args.format;
        let source = reader.map(|reader| Box::new(Input::new(reader, format, longest)) as Box<dyn Source>);
        let (writer, is_terminal): (Box<dyn Write + Send>, _) = match &self.args.receive {
            Some(path) => {
                let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
                (Box::new(progress("received", None).wrap_write(file)), false)
            }
            None => (Box::new(io::stdout()), io::stdout().is_terminal()),
        };
        let writer = BufWriter::with_capacity(BUFFER, writer);
        let is_shown = is_terminal && format == Format::Lines;
        Ok((source, Output::new(Box::new(writer), format, is_shown)))
    }
}

/// A progress bar on standard error, if that is a terminal.
fn progress(what: &'static str, length: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => {
            (ProgressBar::new(length), "{msg} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        }
        None => (ProgressBar::new_spinner(), "{msg} {bytes} {bytes_per_sec} {elapsed}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(what).with_finish(indicatif::ProgressFinish::Abandon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_have_room_for_the_longest_message() {
        assert_eq!(ring_for(2), Some(RING_CAPACITY));
        assert_eq!(ring_for(1 << 20), Some(4 << 20));
        assert_eq!(ring_for(most_in_ring(MAX_RING_CAPACITY)), Some(MAX_RING_CAPACITY));
        assert_eq!(ring_for(MAX_RING_CAPACITY / 2), None);
        assert_eq!(ring_for(usize::MAX), None);
        for ring in [4096, 8192, 16 * 1024, 128 * 1024, 256 * 1024] {
            let options = server_options(Some(ring), None).unwrap();
            assert!(options.start_anonymous().is_ok(), "{ring}");
        }
    }
}
