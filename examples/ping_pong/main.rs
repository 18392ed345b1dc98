//! Measures how fast messages go from one process to another and back.
//!
//! ```text
//! cargo run --release --example ping_pong            about 15 seconds
//! cargo run --release --example ping_pong -- --quick about 2 seconds: shows that it works
//! ```
//!
//! The program starts itself as a second process, and measures between the two: round trips and streams with both sides
//! spinning, round trips of 64 bytes against the machine's limit (`bare.rs`), and round trips with both sides asleep in the
//! kernel.
//!
//! On a machine that runs other programs too, a time alone says little: the same round trip may take 100 ns now and 400 ns a
//! minute later. The useful figure is the ratio to the bare round trip: both are measured in short alternating blocks, and
//! the figure is the median of many such ratios.

mod bare;
#[path = "../common/mod.rs"]
mod common;
mod figures;
mod link;

use bare::{ticks, Page};
use common::SecondProcess;
use figures::{Chunks, Spread};
use link::{Link, Names, Outcome, Task};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use xshm::{ServerOptions, ShmError, MAX_MESSAGE_SIZE, MIN_MESSAGE_SIZE};

const USAGE: &str = "usage: ping_pong [--quick]";
/// The first argument of the second process; the base of the names follows.
const SECOND: &str = "--run-as-second-process";

/// How much is measured.
struct Plan {
    /// The time for each size of round trips.
    row: Duration,
    stream_block: Duration,
    stream_blocks: usize,
    /// The least number of groups of blocks in the comparison. More groups follow if the time permits.
    groups: usize,
    comparison: Duration,
    asleep: Duration,
}

const FULL: Plan = Plan {
    row: Duration::from_millis(600),
    stream_block: Duration::from_millis(100),
    stream_blocks: 15,
    groups: 40,
    comparison: Duration::from_secs(4),
    asleep: Duration::from_secs(1),
};

const QUICK: Plan = Plan {
    row: Duration::from_millis(40),
    stream_block: Duration::from_millis(20),
    stream_blocks: 5,
    groups: 20,
    comparison: Duration::from_millis(300),
    asleep: Duration::from_millis(100),
};

/// Round trips before each block that are not measured.
const WARM_UP: u64 = 16;
/// Nanoseconds. A longer round trip was disturbed by the scheduler: another program ran, or both sides share a processor.
const DISTURBED: f64 = 1e6;

const ROUND_TRIP_HEADING: &str =
    "  bytes   rounds       p50       p90       p99     p99.9  rounds/s  signals  sleeps";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        [SECOND, base] => link::serve(base).map(|()| true),
        [] => measure(&FULL),
        ["--quick"] => measure(&QUICK),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The first process prints its error. So the second one prints nothing when the first has gone.
        Err(error) if arguments.first() == Some(&SECOND) && is_gone(&*error) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ping_pong: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(ShmError::NotConnected | ShmError::PeerDied { .. }))
}

/// Measures everything. Returns false if a side called the kernel while both were awake.
fn measure(plan: &Plan) -> Outcome<bool> {
    let base = common::channel_name("ping-pong");
    let names = Names::new(&base);
    let page = Page::create(&names.page).map_err(|error| format!("making the bare page: {error}"))?;
    let mut spinning = ServerOptions::new().spin(Duration::MAX).start(&names.spinning)?;
    let mut asleep = ServerOptions::new().spin(Duration::ZERO).start(&names.asleep)?;
    let mut second = SecondProcess::start([SECOND, &base])
        .map_err(|error| format!("starting the second process: {error}"))?;
    for server in [&mut spinning, &mut asleep] {
        second.accept(server, Duration::from_secs(20))?;
    }
    let mut bench = Bench {
        spinning: Link::new(spinning.split()?),
        asleep: Link::new(asleep.split()?),
        page,
        number: 1,
        nanoseconds: nanoseconds_per_tick(),
        disturbed: 0.0,
    };
    let outcome = bench.run(plan);
    match outcome {
        Ok(quiet) => {
            bench.spinning.give(Task::Leave)?;
            let status = second.finish(Duration::from_secs(5))?;
            if !status.success() {
                return Err(format!("the second process failed ({status})").into());
            }
            Ok(quiet)
        }
        Err(error) if is_gone(&*error) => Err(format!("the second process ended too early: {error}").into()),
        Err(error) => Err(error),
    }
}

/// Nanoseconds in a tick of the clock.
fn nanoseconds_per_tick() -> f64 {
    let (time, start) = (Instant::now(), ticks());
    std::thread::sleep(Duration::from_millis(50));
    let (count, elapsed) = (ticks() - start, time.elapsed());
    elapsed.as_nanos() as f64 / count.max(1) as f64
}

struct Bench<'a> {
    spinning: Link<'a>,
    asleep: Link<'a>,
    page: Page,
    /// The next number to write into the bare page.
    number: u64,
    /// Nanoseconds in a tick of the clock.
    nanoseconds: f64,
    /// Seconds spent in disturbed round trips.
    disturbed: f64,
}

impl Bench<'_> {
    fn run(&mut self, plan: &Plan) -> Outcome<bool> {
        let processors = std::thread::available_parallelism().map_or(1, |processors| processors.get());
        let (system, processor) = (std::env::consts::OS, std::env::consts::ARCH);
        println!("Two processes, {processors} processors, {system} on {processor}");
        if processors == 1 {
            println!("With one processor, the scheduler determines the figures: two sides cannot spin at the same time.");
        }
        self.round_trips(plan)?;
        self.streams(plan)?;
        self.comparison(plan)?;
        // Read before the measurement of sleeping sides, so that the counts cover only sides that spin.
        let calls = self.kernel_calls()?;
        self.sleepers(plan)?;
        let [signals, sleeps, ..] = calls;
        if self.disturbed > 0.1 {
            println!(
                "\nOther programs ran too: round trips of more than 1 ms took {:.1} s together. A side that spins and \
                 never\nsleeps then waits for the scheduler. Streams and high percentiles are worse than on an idle \
                 machine.",
                self.disturbed
            );
        }
        let quiet = signals == 0 && sleeps == 0;
        let verdict = if quiet { "as expected" } else { "expected: 0 and 0" };
        println!("\nKernel calls of both processes while they spun: {signals} signals, {sleeps} sleeps, {verdict}.");
        Ok(quiet)
    }

    /// The counts of both processes so far: signals and sleeps of the spinning channel, then of the other one.
    fn kernel_calls(&mut self) -> Outcome<[u64; 4]> {
        self.spinning.give(Task::Report)?;
        let theirs: [u64; 4] = self.spinning.receive_numbers()?;
        let ([a, b], [c, d]) = (self.spinning.kernel_calls(), self.asleep.kernel_calls());
        let ours = [a, b, c, d];
        Ok(std::array::from_fn(|at| theirs[at] + ours[at]))
    }

    fn round_trips(&mut self, plan: &Plan) -> Outcome<()> {
        println!("\nRound trips, both sides spinning; times in µs");
        println!("{ROUND_TRIP_HEADING}");
        for size in [MIN_MESSAGE_SIZE, 8, 56, 64, 256, 1024, 16_384, MAX_MESSAGE_SIZE] {
            let before = self.kernel_calls()?;
            let mut times = Vec::new();
            for rounds in Chunks::new(plan.row) {
                self.spinning.give(Task::Echo { rounds: rounds + WARM_UP })?;
                time_rounds(&mut self.spinning, size, rounds, &mut times)?;
            }
            let after = self.kernel_calls()?;
            let (signals, sleeps) = (after[0] - before[0], after[1] - before[1]);
            println!("{} {signals:8} {sleeps:7}", self.round_trip_columns(size, times));
        }
        Ok(())
    }

    /// The columns of [`ROUND_TRIP_HEADING`] up to the kernel calls.
    fn round_trip_columns(&mut self, size: usize, mut times: Vec<u64>) -> String {
        let rounds = times.len();
        let is_disturbed = |&&time: &&u64| time as f64 * self.nanoseconds > DISTURBED;
        self.disturbed += times.iter().filter(is_disturbed).sum::<u64>() as f64 * self.nanoseconds / 1e9;
        let seconds = times.iter().sum::<u64>() as f64 * self.nanoseconds / 1e9;
        times.sort_unstable();
        let quantile = |part: f64| {
            let index = ((rounds - 1) as f64 * part).round() as usize;
            format!("{:9.3}", times[index] as f64 * self.nanoseconds / 1e3)
        };
        let quantiles = [0.5, 0.9, 0.99, 0.999].map(quantile).join(" ");
        format!("{size:7} {rounds:8} {quantiles} {:9.0}", rounds as f64 / seconds)
    }

    fn streams(&mut self, plan: &Plan) -> Outcome<()> {
        println!("\nStream without loss, both sides spinning; median of blocks, and the range");
        println!("  bytes   messages/s      MB/s  (lowest to highest)  signals  sleeps");
        for size in [64, MAX_MESSAGE_SIZE] {
            let before = self.kernel_calls()?;
            self.stream(size, plan.stream_block / 4)?;
            let rates: Outcome<Vec<f64>> =
                (0..plan.stream_blocks).map(|_| self.stream(size, plan.stream_block)).collect();
            let rates = Spread::of(rates?);
            let after = self.kernel_calls()?;
            let megabytes = |rate: f64| rate * size as f64 / 1e6;
            println!(
                "{size:7} {:12.0} {:9.0}  {:>20} {:8} {:7}",
                rates.median,
                megabytes(rates.median),
                format!("({:.0} to {:.0})", megabytes(rates.least), megabytes(rates.most)),
                after[0] - before[0],
                after[1] - before[1],
            );
        }
        Ok(())
    }

    /// Messages per second.
    fn stream(&mut self, size: usize, duration: Duration) -> Outcome<f64> {
        self.spinning.give(Task::Stream)?;
        let mut message = vec![0x5a; size];
        let mut count: u64 = 0;
        let start = Instant::now();
        while count % 64 != 0 || start.elapsed() < duration {
            message[..8].copy_from_slice(&count.to_le_bytes());
            self.spinning.push(&message)?;
            count += 1;
        }
        self.spinning.push(&[0; MIN_MESSAGE_SIZE])?;
        let [came, strays] = self.spinning.receive_numbers()?;
        let elapsed = start.elapsed();
        if came != count || strays != 0 {
            return Err(format!("{count} messages sent, {came} received, {strays} out of order").into());
        }
        Ok(count as f64 / elapsed.as_secs_f64())
    }

    /// Nanoseconds for a round trip: the mean of a block.
    fn block(&mut self, size: usize, rounds: u64) -> Outcome<f64> {
        self.spinning.give(Task::Echo { rounds: rounds + WARM_UP })?;
        let mut message = vec![0x5a; size];
        for _ in 0..WARM_UP {
            self.spinning.round_trip(&message)?;
        }
        let start = ticks();
        for round in 0..rounds {
            message[..2].copy_from_slice(&(round as u16).to_le_bytes());
            self.spinning.round_trip(&message)?;
        }
        Ok((ticks() - start) as f64 * self.nanoseconds / rounds as f64)
    }

    /// The same on the bare page.
    fn bare_block(&mut self, rounds: u64, pause: bool) -> Outcome<f64> {
        let first = self.number;
        self.number += rounds + WARM_UP;
        self.spinning.give(Task::Bare { rounds: rounds + WARM_UP, first, pause })?;
        let lead = |first, rounds| {
            let alive = || self.spinning.is_alive();
            let done = if pause {
                self.page.lead::<true>(first, rounds, alive)
            } else {
                self.page.lead::<false>(first, rounds, alive)
            };
            done.then_some(()).ok_or(ShmError::NotConnected)
        };
        lead(first, WARM_UP)?;
        let start = ticks();
        lead(first + WARM_UP, rounds)?;
        Ok((ticks() - start) as f64 * self.nanoseconds / rounds as f64)
    }

    fn comparison(&mut self, plan: &Plan) -> Outcome<()> {
        const SIZES: [usize; 3] = [8, 56, 64];
        let mut trials = [Vec::new(), Vec::new()];
        for _ in 0..51 {
            trials[0].push(self.bare_block(100, false)?);
            trials[1].push(self.bare_block(100, true)?);
        }
        let [without, with] = trials.map(|trial| Spread::of(trial).median);
        let pause = with < without;
        // A block takes 0.05 ms: much shorter than changes of the machine's state, and than a time slice of another
        // program.
        let rounds = (5e4 / with.min(without)) as u64;
        let rounds = rounds.clamp(50, 1000);

        let mut limits = Vec::new();
        let mut times = SIZES.map(|_| Vec::new());
        let mut ratios = SIZES.map(|_| Vec::new());
        let start = Instant::now();
        let mut before = self.bare_block(rounds, pause)?;
        // If the machine is so busy that there is no time for the least number of groups, the loop ends with fewer.
        while start.elapsed() < plan.comparison
            || ratios[0].len() < plan.groups && start.elapsed() < 2 * plan.comparison
        {
            for (at, size) in SIZES.into_iter().enumerate() {
                let ours = self.block(size, rounds)?;
                let after = self.bare_block(rounds, pause)?;
                // The limit at this time.
                ratios[at].push(ours / ((before + after) / 2.0));
                times[at].push(ours);
                limits.push(after);
                before = after;
            }
        }

        println!("\nRound trips of up to 64 bytes: ratio to the limit, the bare cache line");
        println!(
            "The limit: two atomics on two cache lines, spun on {} pause instruction: {:.0} ns here (median), {:.0} ns \
             {} it.\nBlocks of {rounds} rounds, {} of each size, each between two of the limit.",
            if pause { "with a" } else { "without a" },
            Spread::of(limits).median,
            with.max(without),
            if pause { "without" } else { "with" },
            ratios[0].len(),
        );
        println!("  bytes    median       min       p10       p90       max     ns (median)");
        for (size, (ratios, times)) in SIZES.into_iter().zip(ratios.into_iter().zip(times)) {
            let ratios = Spread::of(ratios);
            println!(
                "{size:7} {:9.2} {:9.2} {:9.2} {:9.2} {:9.2} {:15.0}",
                ratios.median,
                ratios.least,
                ratios.low,
                ratios.high,
                ratios.most,
                Spread::of(times).median,
            );
        }
        Ok(())
    }

    fn sleepers(&mut self, plan: &Plan) -> Outcome<()> {
        const SIZE: usize = 64;
        let before = self.kernel_calls()?;
        let (mut times, mut messages) = (Vec::new(), 0);
        for rounds in Chunks::new(plan.asleep) {
            self.spinning.give(Task::Asleep { rounds: rounds + WARM_UP })?;
            time_rounds(&mut self.asleep, SIZE, rounds, &mut times)?;
            messages += 2 * (rounds + WARM_UP);
        }
        let after = self.kernel_calls()?;
        let each = |at: usize| (after[at] - before[at]) as f64 / messages as f64;
        println!("\nRound trips, no side spinning; times in µs, kernel calls for each message. These are 1 or fewer: a");
        println!("side that finds its message before it sleeps saves its wait and the other side's signal");
        println!("{ROUND_TRIP_HEADING}");
        println!("{} {:8.2} {:7.2}", self.round_trip_columns(SIZE, times), each(2), each(3));
        Ok(())
    }
}

/// Measures each of `rounds` round trips in ticks, after [`WARM_UP`] more.
fn time_rounds(link: &mut Link<'_>, size: usize, rounds: u64, times: &mut Vec<u64>) -> Outcome<()> {
    let mut message: Vec<u8> = (0..size).map(|at| at as u8).collect();
    for _ in 0..WARM_UP {
        link.round_trip(&message)?;
    }
    times.reserve(rounds as usize);
    let mut last = ticks();
    for round in 0..rounds {
        message[..2].copy_from_slice(&(round as u16).to_le_bytes());
        link.round_trip(&message)?;
        let now = ticks();
        times.push(now.saturating_sub(last));
        last = now;
    }
    if link.last(size) != message {
        return Err("the message did not come back as it was sent".into());
    }
    Ok(())
}
