//! Copies a file from one process to another, without loss.
//!
//! ```text
//! cargo run --release --example send_file -- <input> <output>
//! ```
//!
//! The program starts itself as a second process, the receiver, and sends it the file as a stream of bytes. The receiver writes
//! a temporary file beside the output, compares size and checksum, and renames the file at the end. So the output is never half a
//! file. The temporary file is left only if both processes are killed.
//!
//! The two sides may also be started one by one, in two terminals, or on two machines with a bridge between them:
//!
//! ```text
//! send_file --send <channel> <input>
//! send_file --receive <channel> <output>
//! ```
//!
//! ```text
//! sender                                       receiver
//!   size: u64                         ──►       creates the temporary file
//!   the file, as a stream             ──►       writes
//!   checksum: u32                     ──►       compares
//!                                     ◄──       RECEIVED        the file is complete and right
//!                                     ◄──       STORED          it is on the disk and has its name
//!                                     ◄──       FAILED reason   at any time, and the receiver leaves
//! ```
//!
//! A receiver that fails sends the reason and leaves. The sender's next call fails, and the sender then reads the reason,
//! since messages that a peer sent before it left are delivered first. The sender also notices that the receiver was killed.

#[path = "common/mod.rs"]
mod common;

use common::SecondProcess;
use crc32fast::Hasher;
use indicatif::{ProgressBar, ProgressStyle};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use xshm::{ReceiveHalf, SendHalf, SharedClient, SharedServer, ShmError, MAX_MESSAGE_SIZE};

const USAGE: &str = "usage: send_file <input> <output>
       send_file --send <channel> <input>
       send_file --receive <channel> <output>
Copies a file over a shared-memory channel: through a second process that the program starts, or from
a program with --send, the channel's server, to one with --receive, its client.";

/// The first argument of the second process: `<channel> <output> <temporary>` follow.
const RECEIVER: &str = "--run-as-receiver";

const RECEIVED: u8 = 4;
const STORED: u8 = 5;
const FAILED: u8 = 6;

/// What goes in one message: the longest, less the byte by which a stream begins each.
const PIECE: usize = MAX_MESSAGE_SIZE - 1;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// If the receiver takes nothing for this long, the sender gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Storing may take longer, since the disk has to write what the system has buffered.
const DISK_PATIENCE: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = match &arguments[..] {
        [role, channel, output, temporary] if role == RECEIVER => {
            receive(&channel.to_string_lossy(), Path::new(output), Path::new(temporary), Printing::BySender)
        }
        [role, channel, input] if role == "--send" => {
            send_alone(&channel.to_string_lossy(), Path::new(input))
        }
        [role, channel, output] if role == "--receive" => {
            receive_alone(&channel.to_string_lossy(), Path::new(output))
        }
        [help] if help == "--help" || help == "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        [input, output] => send(Path::new(input), Path::new(output)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            if !reason.is_empty() {
                eprintln!("send_file: {reason}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Reads, and computes the checksum of what was read. It detects accidents, not forgeries.
struct Checked<T> {
    inner: T,
    checksum: Hasher,
}

impl<T> Checked<T> {
    fn new(inner: T) -> Self {
        Checked { inner, checksum: Hasher::new() }
    }
}

impl<T: Read> Read for Checked<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.checksum.update(&buffer[..len]);
        Ok(len)
    }
}

// ------------------------------------------------------------------------------------------------------ sender

/// Opens the file, and returns its size too.
fn open(input: &Path) -> Result<(File, u64), String> {
    let failed = |error| format!("can't read {}: {error}", input.display());
    // The check comes before opening: on Windows, opening a directory gives a misleading error.
    let metadata = fs::metadata(input).map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("{} is no regular file", input.display()));
    }
    let file = File::open(input).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    Ok((file, size))
}

fn progress_bar(size: u64) -> ProgressBar {
    ProgressBar::new(size).with_style(
        ProgressStyle::with_template("{bytes} of {total_bytes}, {bytes_per_sec} {wide_bar} {eta} {msg}")
            .expect("the template is right"),
    )
}

fn print_summary(input: &Path, to: &str, size: u64, times: &Times) {
    let seconds = times.received.as_secs_f64();
    println!(
        "{} -> {to}: {size} bytes in {seconds:.3} s, {:.0} MB/s, checksum verified; on disk after {:.3} s",
        input.display(),
        size as f64 / 1e6 / seconds.max(1e-9),
        times.stored.as_secs_f64(),
    );
}

/// Sends to the receiver that connects, whichever program that is.
fn send_alone(channel: &str, input: &Path) -> Result<(), String> {
    let (file, size) = open(input)?;
    let mut server =
        SharedServer::start(channel).map_err(|error| format!("starting the channel {channel}: {error}"))?;
    eprintln!("waiting for a receiver at the channel {channel}");
    server.wait_for_client(None).map_err(|error| format!("waiting for a receiver: {error}"))?;
    let progress = progress_bar(size);
    let outcome = transfer(&mut server, file, size, input, &progress);
    progress.finish_and_clear();
    print_summary(input, channel, size, &outcome?);
    Ok(())
}

fn send(input: &Path, output: &Path) -> Result<(), String> {
    let (file, size) = open(input)?;
    let channel = common::channel_name("send-file");
    let temporary = temporary_name(output, &channel)?;

    let mut server =
        SharedServer::start(&channel).map_err(|error| format!("starting the channel: {error}"))?;
    let arguments = [RECEIVER.as_ref(), channel.as_ref(), output.as_os_str(), temporary.as_os_str()];
    let mut receiver =
        SecondProcess::start(arguments).map_err(|error| format!("starting the receiver: {error}"))?;

    let progress = progress_bar(size);
    let outcome = receiver
        .accept(&mut server, CONNECT_TIMEOUT)
        .and_then(|()| transfer(&mut server, file, size, input, &progress));
    progress.finish_and_clear();
    // A receiver that still waits ends when this side leaves.
    drop(server);
    let ended = receiver.finish(Duration::from_secs(5));
    if outcome.is_err() {
        // A receiver that was killed could not remove its file. Usually the file is gone already.
        let _ = fs::remove_file(&temporary);
    }
    let times = outcome?;
    if !ended.is_ok_and(|status| status.success()) {
        return Err("the file was stored, but the receiver failed afterwards".to_owned());
    }
    print_summary(input, &output.display().to_string(), size, &times);
    Ok(())
}

/// A name in the folder of the output, so that renaming stays within one file system. It is as unique as `part`.
fn temporary_name(output: &Path, part: &str) -> Result<PathBuf, String> {
    let mut name =
        output.file_name().ok_or_else(|| format!("{} is no file name", output.display()))?.to_owned();
    name.push(format!(".part-{part}"));
    Ok(output.with_file_name(name))
}

/// Times since the first message.
struct Times {
    received: Duration,
    stored: Duration,
}

fn transfer(
    server: &mut SharedServer, file: File, size: u64, input: &Path, progress: &ProgressBar,
) -> Result<Times, String> {
    let started = Instant::now();
    let (sender, receiver) = server.split().map_err(|error| error.to_string())?;
    sender.send_timeout(&size.to_le_bytes(), Some(PATIENCE)).map_err(|error| broken(receiver, error))?;
    let mut file = Checked::new(file);
    let mut writer = BufWriter::with_capacity(PIECE, sender.writer().timeout(Some(PATIENCE)));
    let copied = io::copy(&mut progress.wrap_read(&mut file), &mut writer)
        .and_then(|copied| Ok((copied, writer.into_inner()?)));
    let (copied, writer) = match copied {
        Ok(copied) => copied,
        Err(error) => {
            return Err(match shm_error(error) {
                Ok(error) => broken(receiver, error),
                Err(error) => format!("reading {}: {error}", input.display()),
            })
        }
    };
    if copied != size {
        return Err(format!("{} changed while it was sent: {size} bytes, then {copied}", input.display()));
    }
    writer.finish().map_err(|error| broken(receiver, error))?;
    let checksum = file.checksum.finalize();
    sender.send_timeout(&checksum.to_le_bytes(), Some(PATIENCE)).map_err(|error| broken(receiver, error))?;
    progress.set_message("waiting for the receiver");
    await_answer(receiver, RECEIVED, PATIENCE)?;
    let received = started.elapsed();
    progress.set_message("waiting for the disk");
    await_answer(receiver, STORED, DISK_PATIENCE)?;
    Ok(Times { received, stored: started.elapsed() })
}

/// The channel's error in an error of a stream; or the error itself, if it is of something else.
fn shm_error(error: io::Error) -> Result<ShmError, io::Error> {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ShmError>()) {
        Some(of_channel) => Ok(of_channel.clone()),
        None => Err(error),
    }
}

fn await_answer(receiver: &mut ReceiveHalf, expected: u8, patience: Duration) -> Result<(), String> {
    let mut answer = Vec::new();
    match receiver.receive_timeout(&mut answer, Some(patience)) {
        Err(error) => Err(broken(receiver, error)),
        Ok(_) if answer[0] == expected => Ok(()),
        Ok(_) => Err(failure(&answer)),
    }
}

/// Why the channel broke: the reason that the receiver sent, if it sent one.
fn broken(receiver: &mut ReceiveHalf, error: ShmError) -> String {
    let mut answer = Vec::new();
    while receiver.try_receive(&mut answer).is_ok() {
        if answer[0] == FAILED {
            return failure(&answer);
        }
    }
    match error {
        ShmError::PeerDied { pid } => format!("the receiver (process {pid}) was killed, or crashed"),
        ShmError::NotConnected => "the receiver left without a reason".to_owned(),
        ShmError::Timeout => "the receiver has stopped taking messages; given up".to_owned(),
        error => format!("the channel broke: {error}"),
    }
}

fn failure(answer: &[u8]) -> String {
    match answer[0] {
        FAILED => format!("the receiver failed: {}", String::from_utf8_lossy(&answer[1..])),
        kind => format!("the receiver answered with a message of kind {kind}, which was not expected"),
    }
}

// ---------------------------------------------------------------------------------------------------- receiver

/// The program that prints an error which both sides have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Printing {
    /// The sender, which has the same terminal.
    BySender,
    /// Each side, for its own terminal.
    ByBoth,
}

fn receive_alone(channel: &str, output: &Path) -> Result<(), String> {
    let temporary = temporary_name(output, &common::channel_name("send-file"))?;
    receive(channel, output, &temporary, Printing::ByBoth)?;
    println!("{channel} -> {}: stored, checksum verified", output.display());
    Ok(())
}

fn receive(channel: &str, output: &Path, temporary: &Path, printing: Printing) -> Result<(), String> {
    let of_both = |reason: String| match printing {
        Printing::BySender => Err(String::new()),
        Printing::ByBoth => Err(reason),
    };
    let mut client = SharedClient::connect(channel, CONNECT_TIMEOUT)
        .map_err(|error| format!("receiver: connecting to {channel}: {error}"))?;
    let (sender, receiver) = client.split().map_err(|error| error.to_string())?;
    let mut unfinished = Unfinished { path: temporary, file: None };
    match store(sender, receiver, output, &mut unfinished) {
        Ok(()) => Ok(()),
        Err(Failure::Sender(ShmError::NotConnected)) => of_both(format!(
            "the sender left before the file was complete; {} was removed",
            temporary.display()
        )),
        Err(Failure::Sender(error)) => Err(format!("receiver: {error}; {} was removed", temporary.display())),
        Err(Failure::Own(reason)) => {
            // The file is removed before the sender learns of the failure and looks for it.
            drop(unfinished);
            let mut message = vec![FAILED];
            message.extend(reason.bytes().take(MAX_MESSAGE_SIZE - 1));
            match sender.send(&message) {
                Ok(_) => of_both(reason),
                Err(error) => {
                    Err(format!("receiver: {reason} (and sending this to the sender failed: {error})"))
                }
            }
        }
    }
}

/// Why a file was not stored.
enum Failure {
    /// The sender is gone, or its messages are wrong.
    Sender(ShmError),
    /// A failure of the receiver, which it sends to the sender.
    Own(String),
}

impl From<ShmError> for Failure {
    fn from(error: ShmError) -> Self {
        Failure::Sender(error)
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Failure::Own(reason)
    }
}

/// The temporary file, removed when dropped, unless it was renamed.
struct Unfinished<'a> {
    path: &'a Path,
    file: Option<File>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // The file is closed first: on Windows an open file keeps its name.
        if self.file.take().is_some() {
            let _ = fs::remove_file(self.path);
        }
    }
}

/// Receives a message that is a number of `N` bytes.
fn number<const N: usize>(receiver: &mut ReceiveHalf) -> Result<[u8; N], Failure> {
    let mut message = Vec::new();
    receiver.receive(&mut message)?;
    message.try_into().map_err(|_| "a message has the wrong length".to_owned().into())
}

fn store(
    sender: &mut SendHalf, receiver: &mut ReceiveHalf, output: &Path, unfinished: &mut Unfinished<'_>,
) -> Result<(), Failure> {
    let size = u64::from_le_bytes(number(receiver)?);
    if fs::metadata(output).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(format!("{} is there and is no regular file", output.display()).into());
    }
    let path = unfinished.path;
    let file = File::options()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| format!("can't write {}: {error}", output.display()))?;
    let file = unfinished.file.insert(file);

    let mut checked = Checked::new(receiver.reader());
    let mut writer = BufWriter::with_capacity(PIECE, &mut *file);
    let done =
        io::copy(&mut checked, &mut writer).and_then(|done| writer.into_inner()?.flush().map(|()| done));
    let checksum = checked.checksum.finalize();
    let done = done.map_err(|error| match shm_error(error) {
        Ok(error) => Failure::Sender(error),
        Err(error) => Failure::Own(format!("writing {}: {error}", path.display())),
    })?;
    if done != size {
        return Err(format!("{size} bytes were announced and {done} came").into());
    }
    let expected = u32::from_le_bytes(number(receiver)?);
    if checksum != expected {
        return Err(format!("the checksum is {checksum:#x}, not {expected:#x}").into());
    }
    sender.send(&[RECEIVED, 0])?;
    // Some file systems report only here that the disk is full.
    file.sync_all().map_err(|error| format!("storing {}: {error}", path.display()))?;
    drop(unfinished.file.take());
    if let Err(error) = fs::rename(path, output) {
        let _ = fs::remove_file(path);
        return Err(format!("renaming {} to {}: {error}", path.display(), output.display()).into());
    }
    sender.send(&[STORED, 0])?;
    Ok(())
}
