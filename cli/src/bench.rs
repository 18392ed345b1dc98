//! `xshm bench`: round trips and rates between two processes.

mod cores;
mod histogram;
mod second;

use crate::args::Bench;
use crate::exit::{coded, INTERRUPTED, USAGE};
use crate::output::{self, BOLD, DIM, DOUBT};
use crate::signals;
use hdrhistogram::Histogram;
use histogram::time;
use quanta::Clock;
use second::{from_bytes, is_message, number_message, room, Second, Task, BATCH, PATIENCE};
use serde::Serialize;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;
use std::time::{Duration, Instant};
use xshm::{
    Interrupter, ReceiveHalf, SendHalf, ServerOptions, ShmError, MAX_MESSAGE_SIZE, MAX_RING_CAPACITY,
    MIN_MESSAGE_SIZE,
};

/// The longest message of a channel with the largest ring.
const LONGEST: usize = MAX_RING_CAPACITY / 2 - 64;
/// The number of messages without `--messages`.
const MESSAGES: u64 = 200_000;
/// The time of each measurement without `--messages`.
const TIME: Duration = Duration::from_secs(2);
/// The runs of a rate.
const RUNS: u64 = 5;
/// The time of a block of round trips, and of the longest warm-up.
const BLOCK: Duration = Duration::from_millis(50);

pub fn run(args: &Bench) -> anyhow::Result<()> {
    check(args)?;
    if let Some(channel) = &args.answer {
        return second::answer(args, channel);
    }
    let report = measure(args)?;
    if args.json {
        output::json(&report)
    } else {
        print(&report, args)
    }
}

fn check(args: &Bench) -> anyhow::Result<()> {
    if !(MIN_MESSAGE_SIZE..=LONGEST).contains(&args.size) {
        let text = format!(
            "--size: a message has {MIN_MESSAGE_SIZE} to {LONGEST} bytes, and cannot have {}",
            args.size
        );
        return Err(coded(USAGE, text));
    }
    if args.messages == Some(0) {
        return Err(coded(USAGE, "--messages: there must be at least one message"));
    }
    Ok(())
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    system: String,
    processor: Processor,
    size: usize,
    /// `None`: the library decides.
    spin_ns: Option<u128>,
    round_trips: RoundTrips,
    one_direction: OneDirection,
    #[serde(skip)]
    times: Histogram<u64>,
}

#[derive(Serialize)]
struct Processor {
    model: String,
    count: usize,
    pinned: Option<cores::Pair>,
    /// A bare cache line between the two processors, there and back.
    cache_line_ns: Option<f64>,
    near: Option<bool>,
}

#[derive(Serialize)]
struct RoundTrips {
    count: u64,
    min_ns: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p99_9_ns: u64,
    max_ns: u64,
    mean_ns: f64,
    /// How long one reading of the clock takes, which each time includes.
    clock_ns: f64,
    /// How often the first process slept until the answer came.
    sleeps: u64,
}

#[derive(Serialize)]
struct OneDirection {
    single: Rate,
    /// `None`: the messages are too long for batches.
    batches: Option<Rate>,
}

#[derive(Serialize)]
struct Rate {
    messages_in_a_call: usize,
    /// The messages of each run.
    messages: u64,
    /// The messages per second of each run.
    runs: Vec<f64>,
    /// Their median.
    messages_per_second: f64,
    megabytes_per_second: f64,
}

impl Rate {
    fn of(runs: Vec<f64>, messages: u64, messages_in_a_call: usize, size: usize) -> Self {
        let mut sorted = runs.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        let megabytes_per_second = median * size as f64 / 1e6;
        Rate { messages_in_a_call, messages, runs, messages_per_second: median, megabytes_per_second }
    }

    fn range(&self) -> (f64, f64) {
        let (least, most) = (f64::INFINITY, 0.0);
        self.runs.iter().fold((least, most), |(least, most), run| (run.min(least), run.max(most)))
    }
}

fn measure(args: &Bench) -> anyhow::Result<Report> {
    let pinned = cores::pair(&args.pin)?;
    let interrupter = Interrupter::new()?;
    let on_signal = interrupter.clone();
    signals::on_end(move |again| {
        if again {
            std::process::exit(INTERRUPTED.into());
        }
        on_signal.interrupt();
    })?;

    let cache_line_ns = cores::distance(pinned)?.map(|ns| (ns * 10.0).round() / 10.0);
    let processor = Processor {
        model: cores::model(),
        count: cores::count(),
        pinned,
        cache_line_ns,
        near: cache_line_ns.map(cores::are_near),
    };
    let channel =
        format!("xshm-bench-{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish());
    let mut server = options(args, interrupter.clone()).start(&channel)?;
    let mut second = Second::start(args, &channel, pinned.map(|[_, second]| second))?;
    let outcome = second.accept(&mut server).and_then(|()| {
        // Only now: the second process would be kept there too, and the library would choose another time to spin.
        if let Some([first, _]) = pinned {
            cores::pin(first)?;
        }
        let (sender, receiver) = server.split()?;
        let mut side = Side::new(args, sender, receiver)?;
        let (round_trips, times) = side.round_trips()?;
        let one_direction = side.one_direction()?;
        side.give(Task::Leave)?;
        let system = sysinfo::System::long_os_version().unwrap_or_else(|| std::env::consts::OS.to_owned());
        let spin_ns = args.spin.map(|spin| spin.as_nanos());
        let version = env!("CARGO_PKG_VERSION");
        Ok(Report { version, system, processor, size: args.size, spin_ns, round_trips, one_direction, times })
    });
    if interrupter.is_interrupted() {
        return Err(coded(INTERRUPTED, "interrupted"));
    }
    let report = outcome.map_err(|error| second.explain(error))?;
    // A second process that cannot leave is ended when the value is dropped.
    second.finish(Duration::from_secs(2));
    Ok(report)
}

fn options(args: &Bench, interrupter: Interrupter) -> ServerOptions {
    let mut options = ServerOptions::new().interrupter(interrupter);
    if let Some(spin) = args.spin {
        options = options.spin(spin);
    }
    if args.size > MAX_MESSAGE_SIZE {
        // Room for three messages and for the unused end of the ring, as far as rings can be that large.
        let ring = (4 * args.size).next_power_of_two().min(MAX_RING_CAPACITY);
        options = options.ring_size(ring).max_message_size(args.size);
    }
    options
}

/// The first process's side of the channel.
struct Side<'a> {
    sender: &'a mut SendHalf,
    receiver: &'a mut ReceiveHalf,
    clock: Clock,
    message: Vec<u8>,
    buffer: Vec<u8>,
    messages: u64,
    /// `None`: all messages are sent, however long it takes.
    time: Option<Duration>,
}

impl<'a> Side<'a> {
    fn new(args: &Bench, sender: &'a mut SendHalf, receiver: &'a mut ReceiveHalf) -> anyhow::Result<Self> {
        Ok(Side {
            sender,
            receiver,
            clock: Clock::new(),
            message: (0..args.size).map(|at| at as u8).collect(),
            buffer: vec![0; room(args.size)],
            messages: args.messages.unwrap_or(MESSAGES),
            time: args.messages.is_none().then_some(TIME),
        })
    }

    fn give(&mut self, task: Task) -> xshm::Result<()> {
        self.sender.send_timeout(&task.to_bytes(), Some(PATIENCE))
    }

    /// Measures round trips in blocks, until there are enough.
    fn round_trips(&mut self) -> anyhow::Result<(RoundTrips, Histogram<u64>)> {
        let warm_up = (self.messages / 10).max(1);
        let mut block = self.warm_up(warm_up, |side, count| side.block(count, &mut Vec::new()))?;
        let mut times = Histogram::new(3)?;
        let mut ticks = Vec::new();
        let before = self.receiver.stats().sleeps;
        let started = Instant::now();
        while times.len() < self.messages && self.time.is_none_or(|time| started.elapsed() < time) {
            block = block.min(self.messages - times.len());
            ticks.clear();
            self.block(block, &mut ticks)?;
            for pair in ticks.windows(2) {
                times.record(self.clock.delta_as_nanos(pair[0], pair[1]))?;
            }
        }
        let round_trips = RoundTrips {
            count: times.len(),
            min_ns: times.min(),
            p50_ns: times.value_at_quantile(0.5),
            p90_ns: times.value_at_quantile(0.9),
            p99_ns: times.value_at_quantile(0.99),
            p99_9_ns: times.value_at_quantile(0.999),
            max_ns: times.max(),
            mean_ns: (times.mean() * 10.0).round() / 10.0,
            clock_ns: self.clock_cost(),
            sleeps: self.receiver.stats().sleeps - before,
        };
        Ok((round_trips, times))
    }

    /// Returns the nanoseconds that one reading of the clock takes.
    fn clock_cost(&self) -> f64 {
        const READINGS: u32 = 10_000;
        let started = Instant::now();
        for _ in 0..READINGS {
            black_box(self.clock.raw());
        }
        (started.elapsed().as_nanos() as f64 / f64::from(READINGS) * 10.0).round() / 10.0
    }

    /// Makes round trips. Records the clock before the first one and after each.
    fn block(&mut self, count: u64, ticks: &mut Vec<u64>) -> anyhow::Result<()> {
        self.give(Task::Echo { count })?;
        ticks.reserve(count as usize + 1);
        ticks.push(self.clock.raw());
        for number in 0..count {
            number_message(&mut self.message, number);
            self.sender.send_timeout(&self.message, Some(PATIENCE))?;
            let len = self.receiver.receive_timeout_into(&mut self.buffer, Some(PATIENCE))?;
            if !is_message(&self.buffer[..len], self.message.len(), number) {
                anyhow::bail!("another message came back than was sent");
            }
            ticks.push(self.clock.raw());
        }
        Ok(())
    }

    fn one_direction(&mut self) -> anyhow::Result<OneDirection> {
        let single = self.rate(1, Side::stream)?;
        let batches = if self.message.len() <= MAX_MESSAGE_SIZE {
            let mut batch = vec![self.message.clone(); BATCH];
            Some(self.rate(BATCH, |side, count| side.stream_batches(count, &mut batch))?)
        } else {
            None
        };
        Ok(OneDirection { single, batches })
    }

    fn rate(
        &mut self, in_a_call: usize, mut stream: impl FnMut(&mut Self, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<Rate> {
        let mut count = self.messages;
        let in_a_block = self.warm_up((count / 2).max(1), &mut stream)?;
        if let Some(time) = self.time {
            let blocks = time.as_secs_f64() / RUNS as f64 / BLOCK.as_secs_f64();
            count = count.min((in_a_block as f64 * blocks) as u64).max(1);
        }
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            let started = Instant::now();
            stream(self, count)?;
            runs.push((count as f64 / started.elapsed().as_secs_f64()).round());
        }
        Ok(Rate::of(runs, count, in_a_call, self.message.len()))
    }

    /// Sends messages, and waits until the second process has received them.
    fn stream(&mut self, count: u64) -> anyhow::Result<()> {
        self.give(Task::Take { count })?;
        for number in 0..count {
            number_message(&mut self.message, number);
            self.sender.send_timeout(&self.message, Some(PATIENCE))?;
        }
        self.check_arrival(count)
    }

    fn stream_batches(&mut self, count: u64, batch: &mut [Vec<u8>]) -> anyhow::Result<()> {
        self.give(Task::TakeBatches { count })?;
        let mut number = 0;
        while number < count {
            let len = batch.len().min(usize::try_from(count - number).unwrap_or(usize::MAX));
            for message in &mut batch[..len] {
                number_message(message, number);
                number += 1;
            }
            let outcome = self.sender.send_batch_timeout(&batch[..len], Some(PATIENCE))?;
            if outcome != len {
                // The second process took some of the messages, and then none for this time.
                return Err(ShmError::Timeout.into());
            }
        }
        self.check_arrival(count)
    }

    fn check_arrival(&mut self, count: u64) -> anyhow::Result<()> {
        let len = self.receiver.receive_timeout_into(&mut self.buffer, Some(PATIENCE))?;
        match from_bytes(&self.buffer[..len]) {
            Some([came, in_order]) if came == count && in_order == count => Ok(()),
            Some([came, in_order]) => {
                anyhow::bail!("of {count} messages, {came} came, and {in_order} of them were right")
            }
            None => anyhow::bail!("a message came that is no answer"),
        }
    }

    /// Does growing amounts of work, up to `most` or until one takes as long as a block. Returns how much work a block has.
    fn warm_up(
        &mut self, most: u64, mut work: impl FnMut(&mut Self, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        let mut count = 1;
        loop {
            let started = Instant::now();
            work(self, count)?;
            let elapsed = started.elapsed();
            if count >= most || elapsed > BLOCK / 2 {
                let in_a_block = count as f64 * BLOCK.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
                return Ok((in_a_block as u64).max(1));
            }
            count = (count * 4).min(most);
        }
    }
}

fn print(report: &Report, args: &Bench) -> anyhow::Result<()> {
    let Report { processor, round_trips, .. } = report;
    let plural = if processor.count == 1 { "processor" } else { "processors" };
    output::line(format!("{}, {} {plural}, {}", processor.model, processor.count, report.system))?;
    output::line(place(processor))?;
    let spin = match args.spin {
        None => "the library decides how long the two processes spin".to_owned(),
        Some(Duration::ZERO) => "the two processes do not spin".to_owned(),
        Some(spin) => format!("the two processes spin for up to {}", humantime::format_duration(spin)),
    };
    output::line(format!("Messages of {} bytes; {spin}", thousands(report.size as f64)))?;

    output::line("")?;
    let heading =
        format!("Round trips: {} (mean {})", thousands(round_trips.count as f64), time(round_trips.mean_ns));
    output::line(output::styled(BOLD, heading))?;
    let rows = [
        ("p50", round_trips.p50_ns as f64),
        ("p90", round_trips.p90_ns as f64),
        ("p99", round_trips.p99_ns as f64),
        ("p99.9", round_trips.p99_9_ns as f64),
        ("max", round_trips.max_ns as f64),
    ];
    let cells: Vec<String> = rows.iter().map(|(name, ns)| format!("{name} {}", time(*ns))).collect();
    output::line(format!("  {}", cells.join("   ")))?;
    if round_trips.sleeps > 0 {
        let share = round_trips.sleeps as f64 / round_trips.count as f64 * 100.0;
        let text =
            format!("  this process slept {} times ({share:.1} %)", thousands(round_trips.sleeps as f64));
        output::line(output::styled(DIM, text))?;
    }
    if output::is_terminal() {
        output::line("")?;
        for row in histogram::draw(&report.times) {
            output::line(row)?;
        }
    }

    output::line("")?;
    let heading = format!("One direction: median of {RUNS} runs (lowest to highest)");
    output::line(output::styled(BOLD, heading))?;
    let one = &report.one_direction;
    let rates =
        [Some(("one at a time", &one.single)), one.batches.as_ref().map(|rate| ("in batches of 32", rate))];
    for (name, rate) in rates.into_iter().flatten() {
        let (least, most) = rate.range();
        output::line(format!(
            "  {name:<17}{:>13} messages/s {:>9} MB/s  ({} to {})",
            thousands(rate.messages_per_second),
            thousands(rate.megabytes_per_second),
            short(least),
            short(most),
        ))?;
    }
    if one.batches.is_none() {
        output::line(output::styled(
            DIM,
            "  batches are not measured with messages of more than 65,535 bytes",
        ))?;
    }
    Ok(())
}

/// Where the two processes run.
fn place(processor: &Processor) -> String {
    let place = match processor.pinned {
        Some([first, second]) => format!("Pinned to processors {first} and {second}"),
        None => "Not pinned".to_owned(),
    };
    if processor.count == 1 || processor.pinned.is_some_and(|[first, second]| first == second) {
        let text = "the two processes take turns on one processor";
        return format!("{place}; {}", output::styled(DOUBT, text));
    }
    match processor.cache_line_ns {
        Some(ns) => {
            let distance = if cores::are_near(ns) { "near" } else { "far apart" };
            format!("{place}; distance: {distance}, a bare cache line takes {}", time(ns))
        }
        None => format!("{place}; distance unknown: the system ran one thread at a time"),
    }
}

/// A number with commas.
fn thousands(number: f64) -> String {
    indicatif::HumanFloatCount(if number >= 10.0 { number.round() } else { (number * 100.0).round() / 100.0 })
        .to_string()
}

/// A number of messages with a unit.
fn short(number: f64) -> String {
    match number {
        _ if number >= 1e6 => format!("{:.2} M", number / 1e6),
        _ if number >= 1e3 => format!("{:.1} k", number / 1e3),
        _ => format!("{number:.1}"),
    }
}
