//! Passes 8K frames from a producer to a viewer without a copy: the producer draws each frame in the shared memory, and the
//! viewer reads it there.
//!
//! ```text
//! cargo run --release --example frames                    until Ctrl-C, in two processes
//! cargo run --release --example frames -- --4k check 5s   ends by itself, with status 0 if each frame arrived whole
//! cargo run --release --example frames -- produce NAME    the two processes by hand, in two terminals
//! cargo run --release --example frames -- view NAME
//! ```
//!
//! ```text
//! producer                                     viewer
//!   header, pixels: one message       ──►       compares each pixel with the one that it expects
//!   …
//!   header without pixels             ──►       compares the number of frames
//!                                     ◄──       how many frames came, were torn, and were missing
//! ```
//!
//! The channel rejects when full. So the producer waits while the viewer is slower, and no frame is overwritten while the viewer
//! reads it. The rings have room for three frames: the producer draws one while the viewer reads another, and up to one frame's
//! bytes at the end of a ring stay unused. For 8K this is 512 MiB for each direction. Linux gives memory only to pages that are
//! touched, and nearly none of the second ring is. Windows counts both rings against the memory that it can promise.

#[path = "common/mod.rs"]
mod common;

use common::SecondProcess;
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use xshm::{ServerOptions, SharedClient, SharedServer, ShmError};

const USAGE: &str = "usage: frames [SIZE] [run [AMOUNT] | check [AMOUNT] | produce NAME [AMOUNT] | view NAME]
Passes frames in RGBA from a producer to a viewer, which checks each pixel.
  SIZE     --8k (7680x4320, the default), --4k (3840x2160) or --size WIDTHxHEIGHT
  AMOUNT   a number of frames, such as 100, or a time, such as 5s; check takes 3s by default, the others have no end";

/// Bytes before the pixels: the frame's number (8), its width (4) and height (4); the pixels then start at a cache line.
const HEADER: usize = 64;
const PIXEL: usize = 4;
/// The library's bound for a ring.
const LARGEST_RING: usize = 1 << 30;
/// The largest frame for which the largest ring has room.
const LARGEST_FRAME: usize = LARGEST_RING / 2 - 2 * HEADER;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// If the viewer takes no frame for this long, the producer gives up.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((size, words)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match words[..] {
        ["help"] => {
            println!("{USAGE}");
            Ok(())
        }
        ["view", name] => view(name),
        [] | ["run"] => run(size, Amount::Endless),
        ["check"] => run(size, Amount::Time(Duration::from_secs(3))),
        ["produce", name] => produce_by_hand(name, size, Amount::Endless),
        ["run" | "check", amount] | ["produce", _, amount] => match (Amount::parse(amount), words[0]) {
            (None, _) => Err(format!("{amount:?} is no number of frames, and no time such as 5s")),
            (Some(amount), "produce") => produce_by_hand(words[1], size, amount),
            (Some(amount), _) => run(size, amount),
        },
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("frames: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// The size, and the words that are no options.
fn parse(arguments: &[String]) -> Option<(Size, Vec<&str>)> {
    let (mut size, mut words) = (EIGHT_K, Vec::new());
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "--8k" => size = EIGHT_K,
            "--4k" => size = FOUR_K,
            "--size" => size = Size::parse(arguments.next()?)?,
            "--help" | "-h" => words.push("help"),
            word if word.starts_with('-') => return None,
            word => words.push(word),
        }
    }
    Some((size, words))
}

#[derive(Clone, Copy, PartialEq)]
struct Size {
    width: usize,
    height: usize,
}

const EIGHT_K: Size = Size { width: 7680, height: 4320 };
const FOUR_K: Size = Size { width: 3840, height: 2160 };

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let (width, height) = text.split_once('x')?;
        let size = Size { width: width.parse().ok()?, height: height.parse().ok()? };
        size.pixels().map(|_| size)
    }

    /// The bytes of the pixels. `None`: there are none, or too many.
    fn pixels(self) -> Option<usize> {
        let bytes = self.width.checked_mul(self.height)?.checked_mul(PIXEL)?;
        (1..=LARGEST_FRAME).contains(&bytes).then_some(bytes)
    }

    /// The bytes of a message.
    fn message(self) -> usize {
        HEADER + self.width * self.height * PIXEL
    }

    /// The ring with room for three frames, each with the header that the library puts before it; or the largest ring.
    fn ring(self) -> usize {
        const SMALLEST: u64 = 64 << 10;
        let three = 3 * (self.message() as u64 + 64) + 64;
        three.next_power_of_two().clamp(SMALLEST, LARGEST_RING as u64) as usize
    }
}

/// When the producer ends by itself.
#[derive(Clone, Copy)]
enum Amount {
    Endless,
    Frames(u64),
    Time(Duration),
}

impl Amount {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('s') {
            Some(seconds) => Duration::try_from_secs_f64(seconds.parse().ok()?).ok().map(Amount::Time),
            None => text.parse().ok().filter(|frames| *frames > 0).map(Amount::Frames),
        }
    }

    fn is_reached(self, frames: u64, since: Instant) -> bool {
        match self {
            Amount::Endless => false,
            Amount::Frames(most) => frames >= most,
            // A check of nothing would show nothing.
            Amount::Time(time) => frames > 0 && since.elapsed() >= time,
        }
    }
}

// ------------------------------------------------------------------------------------------------------ the pattern

/// A ramp of colours that moves by one pixel from row to row, and by [`STEP`] from frame to frame. So the frame's number and
/// the position give the value of each pixel, and no two frames that follow each other have an equal row at one place.
struct Pattern {
    width: usize,
    /// The ramp, long enough for a row that starts anywhere in its first [`PERIOD`] pixels.
    ramp: Vec<u8>,
}

/// After this number of pixels the ramp begins again.
const PERIOD: u64 = 4096;
const STEP: u64 = 7;

impl Pattern {
    fn new(width: usize) -> Self {
        let colour = |at: u64| {
            let at = at % PERIOD;
            [at as u8, (at / 16) as u8, !at as u8, u8::MAX]
        };
        Pattern { width, ramp: (0..width as u64 + PERIOD).flat_map(colour).collect() }
    }

    fn row(&self, frame: u64, row: usize) -> &[u8] {
        let start = (row as u64 + frame % PERIOD * STEP) % PERIOD;
        &self.ramp[start as usize * PIXEL..][..self.width * PIXEL]
    }

    fn draw(&self, frame: u64, pixels: &mut [u8]) {
        for (at, row) in pixels.chunks_exact_mut(self.width * PIXEL).enumerate() {
            row.copy_from_slice(self.row(frame, at));
        }
    }

    /// The first row that has another pixel than it should.
    fn first_wrong_row(&self, frame: u64, pixels: &[u8]) -> Option<usize> {
        let mut rows = pixels.chunks_exact(self.width * PIXEL).enumerate();
        rows.find(|(at, row)| *row != self.row(frame, *at)).map(|(at, _)| at)
    }
}

fn header(number: u64, width: usize, height: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&number.to_le_bytes());
    header[8..12].copy_from_slice(&(width as u32).to_le_bytes());
    header[12..16].copy_from_slice(&(height as u32).to_le_bytes());
    header
}

// ---------------------------------------------------------------------------------------------------- the live line

/// Shows the rate: in one line that changes, or in a line each second if the output is no terminal.
struct Live {
    bar: ProgressBar,
    frames: u64,
    bytes: u64,
    started: Instant,
    /// When the rate was shown, and the frames and bytes until then.
    shown: (Instant, u64, u64),
}

impl Live {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is right");
        let now = Instant::now();
        let bar = ProgressBar::new_spinner().with_style(style);
        Live { bar, frames: 0, bytes: 0, started: now, shown: (now, 0, 0) }
    }

    /// Time begins with the first frame, not with the wait for it.
    fn frame(&mut self, bytes: usize) {
        let now = Instant::now();
        if self.frames == 0 {
            (self.started, self.shown) = (now, (now, 0, 0));
        }
        self.frames += 1;
        self.bytes += bytes as u64;
        let every = Duration::from_millis(if self.bar.is_hidden() { 1000 } else { 200 });
        let (then, frames, bytes) = self.shown;
        if now - then >= every {
            let line = rates(self.frames - frames, self.bytes - bytes, now - then);
            self.shown = (now, self.frames, self.bytes);
            if self.bar.is_hidden() {
                println!("{line}");
            } else {
                self.bar.set_message(format!("{line}, {} frames", self.frames));
                self.bar.tick();
            }
        }
    }

    /// Removes the line. Returns the rates since the first frame, which is not counted: its time is unknown.
    fn finish(&self) -> String {
        self.bar.finish_and_clear();
        let Some(after) = self.frames.checked_sub(1) else { return "no frame came".to_owned() };
        rates(after, self.bytes / self.frames * after, self.started.elapsed())
    }
}

fn rates(frames: u64, bytes: u64, time: Duration) -> String {
    let seconds = time.as_secs_f64().max(1e-9);
    format!("{:.1} frames/s, {:.0} MB/s", frames as f64 / seconds, bytes as f64 / 1e6 / seconds)
}

// ------------------------------------------------------------------------------------------------------ the producer

fn start(name: &str, size: Size) -> Result<SharedServer, String> {
    let options = ServerOptions::new().ring_size(size.ring()).max_message_size(size.message());
    options.reject_when_full().start(name).map_err(|error| no_room(error, size.ring()))
}

/// Starts the viewer as a second process, and produces frames for it.
fn run(size: Size, amount: Amount) -> Result<(), String> {
    let name = common::channel_name("frames");
    let mut server = start(&name, size)?;
    let mut viewer =
        SecondProcess::start(["view", &name]).map_err(|error| format!("starting the viewer: {error}"))?;
    viewer.accept(&mut server, CONNECT_TIMEOUT)?;
    let outcome = produce(&mut server, size, amount, |_| {});
    // A viewer that still waits ends when this side leaves.
    drop(server);
    let ended = viewer.finish(Duration::from_secs(5));
    outcome?.verdict()?;
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the viewer failed ({status})")),
        Err(error) => Err(format!("waiting for the viewer: {error}")),
    }
}

fn produce_by_hand(name: &str, size: Size, amount: Amount) -> Result<(), String> {
    let mut server = start(name, size)?;
    println!("waiting for a viewer: frames view {name}");
    server.wait_for_client(None).map_err(|error| format!("waiting for a viewer: {error}"))?;
    let mut live = Live::new();
    let outcome = produce(&mut server, size, amount, |bytes| live.frame(bytes));
    println!("{} frames drawn, {}", live.frames, live.finish());
    outcome?.verdict()
}

/// Sends frames until the amount is reached. Returns what the viewer saw.
fn produce(
    server: &mut SharedServer, size: Size, amount: Amount, mut drawn: impl FnMut(usize),
) -> Result<Seen, String> {
    let lost = |error| lost(error, "viewer");
    let (sender, receiver) = server.split().map_err(lost)?;
    let pattern = Pattern::new(size.width);
    let started = Instant::now();
    let mut number = 0;
    while !amount.is_reached(number, started) {
        let mut place = sender.reserve_timeout(size.message(), Some(PATIENCE)).map_err(lost)?;
        // SAFETY: these bytes are the message's as long as the place exists. The channel rejects when full, and the viewer does
        // not touch a message before it is committed, so no other code accesses them.
        let message = unsafe { std::slice::from_raw_parts_mut(place.as_mut_ptr(), place.len()) };
        let (head, pixels) = message.split_at_mut(HEADER);
        head.copy_from_slice(&header(number, size.width, size.height));
        pattern.draw(number, pixels);
        place.commit().map_err(lost)?;
        number += 1;
        drawn(size.message());
    }
    sender.send_timeout(&header(number, 0, 0), Some(PATIENCE)).map_err(lost)?;
    let mut answer = Vec::new();
    receiver.receive_timeout(&mut answer, Some(PATIENCE)).map_err(lost)?;
    Seen::from_bytes(&answer).ok_or_else(|| "the viewer's answer has the wrong length".to_owned())
}

// -------------------------------------------------------------------------------------------------------- the viewer

/// What the viewer has seen.
#[derive(Default)]
struct Seen {
    frames: u64,
    torn: u64,
    missing: u64,
}

impl Seen {
    fn to_bytes(&self) -> Vec<u8> {
        [self.frames, self.torn, self.missing].iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 24] = bytes.try_into().ok()?;
        let number =
            |at: usize| bytes[at..at + 8].iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        Some(Seen { frames: number(0), torn: number(8), missing: number(16) })
    }

    fn counts(&self) -> String {
        format!("{} frames, {} torn, {} missing", self.frames, self.torn, self.missing)
    }

    fn verdict(&self) -> Result<(), String> {
        match (self.torn, self.missing) {
            (0, 0) => Ok(()),
            _ => Err(format!("the viewer saw {}", self.counts())),
        }
    }

    /// Counts the frames that should have come before this one.
    fn expect(&mut self, number: u64, next: u64) -> Result<(), String> {
        let missing = number.checked_sub(next);
        self.missing += missing.ok_or_else(|| format!("frame {number} came after frame {}", next - 1))?;
        Ok(())
    }
}

/// What one message was.
enum Message {
    Frame { number: u64, size: Size, wrong_row: Option<usize> },
    End { frames: u64 },
    Wrong,
}

/// Looks at a message in the ring. The pattern is made for the first frame, whose width is known then.
fn look(message: &[u8], pattern: &mut Option<Pattern>) -> Message {
    let Some((head, pixels)) = message.split_first_chunk::<HEADER>() else { return Message::Wrong };
    let field = |at: usize, len: usize| {
        head[at..at + len].iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte))
    };
    let (number, size) = (field(0, 8), Size { width: field(8, 4) as usize, height: field(12, 4) as usize });
    if pixels.is_empty() {
        return Message::End { frames: number };
    }
    if size.pixels() != Some(pixels.len()) {
        return Message::Wrong;
    }
    let pattern = match pattern {
        Some(pattern) if pattern.width == size.width => pattern,
        other => other.insert(Pattern::new(size.width)),
    };
    Message::Frame { number, size, wrong_row: pattern.first_wrong_row(number, pixels) }
}

fn view(name: &str) -> Result<(), String> {
    let mut client = SharedClient::connect(name, CONNECT_TIMEOUT).map_err(|error| no_room(error, 0))?;
    let (mut live, mut seen) = (Live::new(), Seen::default());
    let outcome = watch(&mut client, &mut live, &mut seen);
    println!("{}; {}", seen.counts(), live.finish());
    outcome?;
    seen.verdict()
}

/// Receives frames until the producer says that there are no more.
fn watch(client: &mut SharedClient, live: &mut Live, seen: &mut Seen) -> Result<(), String> {
    let lost = |error| lost(error, "producer");
    let (sender, receiver) = client.split().map_err(lost)?;
    let (mut pattern, mut next) = (None, 0);
    loop {
        // SAFETY: the producer is this program, which changes no message that it has sent.
        match unsafe { receiver.receive_with(|message| look(message, &mut pattern)) }.map_err(lost)? {
            Message::Frame { number, size, wrong_row } => {
                seen.expect(number, next)?;
                if let Some(row) = wrong_row {
                    seen.torn += 1;
                    live.bar.suspend(|| eprintln!("frames: frame {number} is torn: row {row} is wrong"));
                }
                seen.frames += 1;
                next = number + 1;
                live.frame(size.message());
            }
            Message::End { frames } => {
                seen.expect(frames, next)?;
                return sender.send(&seen.to_bytes()).map(drop).map_err(lost);
            }
            Message::Wrong => return Err("a message came that is no frame".to_owned()),
        }
    }
}

// -------------------------------------------------------------------------------------------------------- the errors

/// Why the channel ended.
fn lost(error: ShmError, peer: &str) -> String {
    match error {
        ShmError::PeerDied { pid } => {
            format!("the {peer} (process {pid}) died: by Ctrl-C, by a lack of memory, or otherwise")
        }
        ShmError::NotConnected => format!("the {peer} has left early"),
        ShmError::Timeout => format!("the {peer} did nothing for {} s; given up", PATIENCE.as_secs()),
        error => format!("the channel to the {peer} broke: {error}"),
    }
}

/// Why there is no channel. `ring`: the bytes of each ring, or 0 if the producer chose them.
fn no_room(error: ShmError, ring: usize) -> String {
    const OUT_OF_MEMORY: i32 = 12;
    // STATUS_NO_MEMORY, STATUS_SECTION_TOO_BIG, STATUS_INSUFFICIENT_RESOURCES, STATUS_COMMITMENT_LIMIT.
    const NO_MEMORY: [u32; 4] = [0xC000_0017, 0xC000_0040, 0xC000_009A, 0xC000_012D];
    let lacks_memory = match &error {
        ShmError::SystemError { code, .. } => *code == OUT_OF_MEMORY,
        ShmError::WindowsError { code, .. } => NO_MEMORY.contains(code),
        _ => false,
    };
    if !lacks_memory {
        return error.to_string();
    }
    let rings = match ring {
        0 => "the producer's two rings".to_owned(),
        ring => format!("two rings of {} MiB", ring >> 20),
    };
    let smaller = if ring > FOUR_K.ring() || ring == 0 {
        "--4k needs a quarter of 8K"
    } else {
        "--size takes a smaller size"
    };
    if cfg!(target_pointer_width = "32") {
        format!(
            "this 32-bit process has no room for {rings} ({error}); {smaller}, and a 64-bit program has room"
        )
    } else {
        format!("the system has no memory for {rings} ({error}); {smaller}")
    }
}

#[test]
fn a_frame_with_one_wrong_pixel_or_a_row_of_another_frame_is_torn() {
    let (size, frame) = (Size { width: 100, height: 50 }, 9);
    let pattern = Pattern::new(size.width);
    let mut message = header(frame, size.width, size.height).to_vec();
    message.resize(size.message(), 0);
    pattern.draw(frame, &mut message[HEADER..]);
    let wrong_row = |message: &[u8]| match look(message, &mut None) {
        Message::Frame { number: 9, wrong_row, .. } => wrong_row,
        _ => panic!("not this frame"),
    };
    assert_eq!(wrong_row(&message), None);
    message[HEADER + 48 * 100 * PIXEL + 7] ^= 1;
    assert_eq!(wrong_row(&message), Some(48));
    message[HEADER + 30 * 100 * PIXEL..][..100 * PIXEL].copy_from_slice(pattern.row(frame - 1, 30));
    assert_eq!(wrong_row(&message), Some(30));
    assert!(matches!(look(&message[1..], &mut None), Message::Wrong));
}
