//! Copies a file from one process to another, without loss.
//!
//! ```text
//! cargo run --release --example send_file -- <input> <output>
//! ```
//!
//! The program starts itself as a second process, the receiver, and sends it the file through a channel. The receiver writes
//! a temporary file beside the output, verifies size and checksum, and renames the file at the end. So the output is never
//! half a file. The temporary file is left only if both processes are killed.
//!
//! Each message is a kind (one byte) and its data:
//!
//! ```text
//! sender                                       receiver
//!   BEGIN  size: u64                  ──►       creates the temporary file
//!   DATA   1 to 65,534 bytes          ──►       writes          (again and again)
//!   END    checksum: u64              ──►       compares
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
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use xshm::{SharedClient, SharedServer, ShmError, MAX_MESSAGE_SIZE};

const USAGE: &str = "usage: send_file <input> <output>
Copies a file through a second process, over a shared-memory channel.";

/// The first argument of the second process: `<channel> <output> <temporary>` follow.
const RECEIVER: &str = "--run-as-receiver";

const BEGIN: u8 = 1;
const DATA: u8 = 2;
const END: u8 = 3;
const RECEIVED: u8 = 4;
const STORED: u8 = 5;
const FAILED: u8 = 6;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// If the receiver takes no message for this long, the sender gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Storing may take longer, since the disk has to write what the system has buffered.
const DISK_PATIENCE: Duration = Duration::from_secs(600);
/// How often a wait is interrupted to show the progress.
const TICK: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = match &arguments[..] {
        [role, channel, output, temporary] if role == RECEIVER => {
            receive(&channel.to_string_lossy(), Path::new(output), Path::new(temporary))
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

/// A simple and fast checksum: each word is mixed in by a multiplication, so that the order of the words matters. It detects
/// accidents, not forgeries.
struct Checksum(u64);

impl Checksum {
    fn new() -> Self {
        Checksum(0x9e37_79b9_7f4a_7c15)
    }

    fn add(&mut self, bytes: &[u8]) {
        let words = bytes.chunks_exact(8);
        let tail = words.remainder();
        for word in words {
            self.mix(u64::from_le_bytes(word.try_into().expect("a chunk is a word")));
        }
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        self.mix(u64::from_le_bytes(last));
        // The length makes trailing zeros count, and the end of each message.
        self.mix(bytes.len() as u64);
    }

    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }
}

/// A message of a kind with one number.
fn number_message(kind: u8, number: u64) -> [u8; 9] {
    let mut message = [kind; 9];
    message[1..].copy_from_slice(&number.to_le_bytes());
    message
}

fn number_of(payload: &[u8]) -> Result<u64, String> {
    payload.try_into().map(u64::from_le_bytes).map_err(|_| "a message has the wrong length".to_owned())
}

// ------------------------------------------------------------------------------------------------------ sender

fn send(input: &Path, output: &Path) -> Result<(), String> {
    let failed = |error| format!("can't read {}: {error}", input.display());
    // The check comes before opening: on Windows, opening a directory gives a misleading error.
    let metadata = fs::metadata(input).map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("{} is no regular file", input.display()));
    }
    let file = File::open(input).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let channel = common::channel_name("send-file");
    let temporary = temporary_name(output, &channel)?;

    let mut server =
        SharedServer::start(&channel).map_err(|error| format!("starting the channel: {error}"))?;
    let arguments = [RECEIVER.as_ref(), channel.as_ref(), output.as_os_str(), temporary.as_os_str()];
    let mut receiver =
        SecondProcess::start(arguments).map_err(|error| format!("starting the receiver: {error}"))?;

    let mut progress = Progress::new(size);
    let outcome = receiver
        .accept(&mut server, CONNECT_TIMEOUT)
        .and_then(|()| transfer(&server, file, input, &mut progress));
    progress.finish();
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
    let seconds = times.received.as_secs_f64();
    println!(
        "{} -> {}: {size} bytes in {seconds:.3} s, {:.0} MB/s, checksum verified; on disk after {:.3} s",
        input.display(),
        output.display(),
        rate(size, times.received),
        times.stored.as_secs_f64(),
    );
    Ok(())
}

/// A name in the folder of the output, so that renaming stays within one file system. It is unique like the channel's name.
fn temporary_name(output: &Path, channel: &str) -> Result<PathBuf, String> {
    let mut name =
        output.file_name().ok_or_else(|| format!("{} is no file name", output.display()))?.to_owned();
    name.push(format!(".part-{channel}"));
    Ok(output.with_file_name(name))
}

/// Times since the first message.
struct Times {
    received: Duration,
    stored: Duration,
}

fn transfer(
    server: &SharedServer, mut file: File, input: &Path, progress: &mut Progress,
) -> Result<Times, String> {
    progress.started = Instant::now();
    push(server, &number_message(BEGIN, progress.size), progress)?;
    let mut checksum = Checksum::new();
    let mut message = vec![DATA; MAX_MESSAGE_SIZE];
    loop {
        let len = fill(&mut file, &mut message[1..])
            .map_err(|error| format!("reading {} at byte {}: {error}", input.display(), progress.done))?;
        if len == 0 {
            break;
        }
        checksum.add(&message[1..=len]);
        push(server, &message[..=len], progress)?;
        progress.done += len as u64;
        progress.show("");
    }
    if progress.done != progress.size {
        let (was, is) = (progress.size, progress.done);
        return Err(format!("{} changed while it was sent: {was} bytes, then {is}", input.display()));
    }
    push(server, &number_message(END, checksum.0), progress)?;
    await_answer(server, RECEIVED, PATIENCE, progress, ", waiting for the receiver")?;
    let received = progress.started.elapsed();
    await_answer(server, STORED, DISK_PATIENCE, progress, ", waiting for the disk")?;
    Ok(Times { received, stored: progress.started.elapsed() })
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// Sends one message; waits for room, so that no message is lost.
fn push(server: &SharedServer, message: &[u8], progress: &mut Progress) -> Result<(), String> {
    let mut sent = server.try_send_to_client(message);
    if sent == Err(ShmError::QueueFull) {
        let since = Instant::now();
        while matches!(sent, Err(ShmError::QueueFull | ShmError::Timeout)) && since.elapsed() < PATIENCE {
            progress.show(if sent == Err(ShmError::Timeout) { ", waiting for the receiver" } else { "" });
            sent = server.send_to_client_timeout(message, Some(TICK));
        }
    }
    sent.map_err(|error| broken(server, error))
}

fn await_answer(
    server: &SharedServer, expected: u8, patience: Duration, progress: &mut Progress, note: &str,
) -> Result<(), String> {
    let mut answer = Vec::new();
    let since = Instant::now();
    loop {
        match server.receive_from_client_timeout(&mut answer, Some(TICK)) {
            Err(ShmError::Timeout) if since.elapsed() < patience => progress.show(note),
            Err(error) => return Err(broken(server, error)),
            Ok(_) if answer[0] == expected => return Ok(()),
            Ok(_) => return Err(failure(&answer)),
        }
    }
}

/// Why the channel broke: the reason that the receiver sent, if it sent one.
fn broken(server: &SharedServer, error: ShmError) -> String {
    let mut answer = Vec::new();
    while server.try_receive_from_client(&mut answer).is_ok() {
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

/// Millions of bytes per second.
fn rate(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64().max(1e-9)
}

/// The line that shows the progress, from the first second on.
struct Progress {
    size: u64,
    done: u64,
    started: Instant,
    next: Duration,
    /// On a terminal one line is overwritten. Elsewhere each report is a new line, and reports are rare.
    terminal: bool,
    shown: bool,
}

impl Progress {
    fn new(size: u64) -> Self {
        let terminal = io::stderr().is_terminal();
        let (started, next) = (Instant::now(), Duration::from_secs(1));
        Progress { size, done: 0, started, next, terminal, shown: false }
    }

    fn show(&mut self, note: &str) {
        let elapsed = self.started.elapsed();
        if elapsed < self.next {
            return;
        }
        self.next = elapsed + if self.terminal { TICK } else { Duration::from_secs(10) };
        self.shown = true;
        let (done, size) = (self.done as f64 / 1e6, self.size as f64 / 1e6);
        let line = format!(
            "{done:.1} of {size:.1} MB, {:.0} %, {:.0} MB/s{note}",
            100.0 * done / size.max(1e-6),
            rate(self.done, elapsed)
        );
        if self.terminal {
            eprint!("\r{line:<78}");
        } else {
            eprintln!("{line}");
        }
    }

    fn finish(&self) {
        if self.shown && self.terminal {
            eprint!("\r{:78}\r", "");
        }
    }
}

// ---------------------------------------------------------------------------------------------------- receiver

fn receive(channel: &str, output: &Path, temporary: &Path) -> Result<(), String> {
    let client = SharedClient::connect(channel, CONNECT_TIMEOUT)
        .map_err(|error| format!("receiver: connecting to {channel}: {error}"))?;
    let mut unfinished = Unfinished { path: temporary, file: None };
    match store(&client, output, &mut unfinished) {
        Ok(()) => Ok(()),
        Err(Failure::Sender(ShmError::NotConnected)) => Err(String::new()), // The sender prints why it left.
        Err(Failure::Sender(error)) => Err(format!("receiver: {error}; {} was removed", temporary.display())),
        Err(Failure::Own(reason)) => {
            // The file is removed before the sender learns of the failure and looks for it.
            drop(unfinished);
            let mut message = vec![FAILED];
            message.extend(reason.bytes().take(MAX_MESSAGE_SIZE - 1));
            match client.send_to_server(&message) {
                Ok(_) => Err(String::new()), // The sender prints it.
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

fn store(client: &SharedClient, output: &Path, unfinished: &mut Unfinished<'_>) -> Result<(), Failure> {
    let mut message = vec![0; MAX_MESSAGE_SIZE];
    let len = client.receive_from_server_into(&mut message)?;
    if message[0] != BEGIN {
        return Err("the first message is no beginning".to_owned().into());
    }
    let size = number_of(&message[1..len])?;
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

    let mut done = 0;
    let mut checksum = Checksum::new();
    let expected = loop {
        let len = client.receive_from_server_into(&mut message)?;
        match message[0] {
            DATA => {
                let bytes = &message[1..len];
                checksum.add(bytes);
                file.write_all(bytes)
                    .map_err(|error| format!("writing {} at byte {done}: {error}", path.display()))?;
                done += bytes.len() as u64;
            }
            END => break number_of(&message[1..len])?,
            kind => return Err(format!("a message of kind {kind} makes no sense").into()),
        }
    };
    if done != size {
        return Err(format!("{size} bytes were announced and {done} came").into());
    }
    if checksum.0 != expected {
        return Err(format!("the checksum is {:#x}, not {expected:#x}", checksum.0).into());
    }
    client.send_to_server(&number_message(RECEIVED, done))?;
    // Some file systems report only here that the disk is full.
    file.sync_all().map_err(|error| format!("storing {}: {error}", path.display()))?;
    drop(unfinished.file.take());
    if let Err(error) = fs::rename(path, output) {
        let _ = fs::remove_file(path);
        return Err(format!("renaming {} to {}: {error}", path.display(), output.display()).into());
    }
    client.send_to_server(&number_message(STORED, done))?;
    Ok(())
}
