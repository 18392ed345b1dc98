//! The first process: opens lines, runs blocks on them, and compares blocks.

use crate::bare::{ticks, Page};
use crate::cores::nanoseconds_per_tick;
use crate::figures::{Comparison, Spread};
use crate::line::{Buffers, End, Outcome};
use crate::lines::{self, Kind};
use crate::side::{page_name, Job, Shared, Side, WARM_UP};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;

/// How much is measured.
pub struct Plan {
    /// How many pairs of processes are measured, one after the other.
    pub sessions: usize,
    /// Blocks of each measure in a comparison, in each session.
    pub blocks: usize,
    /// The length of a block: long enough to outweigh its start, and short enough that other work of the machine affects all
    /// measures alike.
    pub round_trips: Duration,
    pub stream: Duration,
    /// Blocks of each measure for the pictures.
    pub curve_blocks: usize,
    /// The number of clients of a multi-client server, for each stage.
    pub clients: &'static [usize],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Way {
    RoundTrip,
    /// Round trips with [`CROWD`] clients in turn. Each has its own line, and waits on its own thread.
    InTurn,
    Stream,
}

/// The clients of [`Way::InTurn`].
pub const CROWD: usize = 8;

/// What a block measures.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Measure {
    pub line: &'static str,
    pub way: Way,
    pub size: usize,
}

impl Measure {
    pub fn round_trip(kind: &Kind, size: usize) -> Self {
        Measure { line: kind.name, way: Way::RoundTrip, size }
    }

    pub fn in_turn(kind: &Kind, size: usize) -> Self {
        Measure { line: kind.name, way: Way::InTurn, size }
    }

    pub fn stream(kind: &Kind, size: usize) -> Self {
        Measure { line: kind.name, way: Way::Stream, size }
    }
}

struct Link {
    end: Box<dyn End>,
    in_process: bool,
}

pub struct Bench {
    pub plan: &'static Plan,
    pub shared: Shared,
    pub process: Side,
    thread: Option<Side>,
    page: Page,
    buffers: Buffers,
    /// The next number to write into the page.
    next: u64,
    pub nanoseconds: f64,
    links: HashMap<&'static str, Link>,
    crowds: HashMap<&'static str, Vec<Box<dyn End>>>,
    /// The number of messages in a block.
    counts: HashMap<Measure, u64>,
}

impl Bench {
    pub fn new(plan: &'static Plan, shared: Shared) -> Outcome<Self> {
        let page = Page::create(&page_name(&shared.base))?;
        let process = Side::process(&shared)?;
        Ok(Bench {
            plan,
            process,
            thread: None,
            page,
            buffers: Buffers::new(),
            next: 1,
            nanoseconds: nanoseconds_per_tick(),
            links: HashMap::new(),
            crowds: HashMap::new(),
            counts: HashMap::new(),
            shared,
        })
    }

    /// Opens a line, unless it is open already. The error states why the line is not available here.
    pub fn open(&mut self, kind: &Kind) -> Outcome<()> {
        if self.links.contains_key(kind.name) {
            return Ok(());
        }
        let kind = lines::find(kind.name)?;
        let offer = (kind.offer)(&self.shared)?;
        let side = self.side(kind.in_process);
        side.give(Job::Open { line: kind.name.to_owned(), address: offer.address })?;
        let end = (offer.accept)();
        side.answer()?;
        self.links.insert(kind.name, Link { end: end?, in_process: kind.in_process });
        Ok(())
    }

    /// Opens a line for each of the clients of [`Way::InTurn`], unless they are open already. They echo messages of this size.
    pub fn open_crowd(&mut self, kind: &Kind, size: usize) -> Outcome<()> {
        if self.crowds.contains_key(kind.name) {
            return Ok(());
        }
        let kind = lines::find(kind.name)?;
        let mut ends = Vec::new();
        for client in 0..CROWD {
            let shared = self.shared.named(&client.to_string());
            let offer = (kind.offer)(&shared)?;
            let (line, address) = (kind.name.to_owned(), offer.address);
            self.process.give(Job::EchoAlways { line, shared, address, size })?;
            let end = (offer.accept)();
            self.process.answer()?;
            ends.push(end?);
        }
        self.crowds.insert(kind.name, ends);
        Ok(())
    }

    fn side(&mut self, in_process: bool) -> &mut Side {
        if in_process {
            self.thread.get_or_insert_with(|| Side::thread(&self.shared))
        } else {
            &mut self.process
        }
    }

    /// Runs a block of `count` messages or round trips. Returns the nanoseconds for each of them.
    fn run(&mut self, measure: Measure, count: u64, times: Option<&mut Vec<u64>>) -> Outcome<f64> {
        let Measure { line, way, size } = measure;
        if way == Way::InTurn {
            return self.run_in_turn(line, size, count);
        }
        let (name, buffers) = (line.to_owned(), &mut self.buffers);
        let link = self.links.get_mut(line).ok_or_else(|| format!("{line} is not open"))?;
        let side = match &mut self.thread {
            Some(thread) if link.in_process => thread,
            _ => &mut self.process,
        };
        let elapsed = match way {
            Way::InTurn => unreachable!("it has no link"),
            Way::RoundTrip => {
                side.give(Job::Echo { line: name, size, rounds: count })?;
                link.end.lead(buffers, size, WARM_UP, None)?;
                let start = ticks();
                link.end.lead(buffers, size, count, times)?;
                ticks() - start
            }
            Way::Stream => {
                let barrier = self.next;
                self.next += 2;
                side.give(Job::Drain { line: name, size, count, barrier })?;
                self.page.lead::<true>(barrier, 1, || true);
                let start = ticks();
                link.end.send_all(buffers, size, count)?;
                self.page.lead::<true>(barrier + 1, 1, || true);
                ticks() - start
            }
        };
        side.answer()?;
        Ok(elapsed as f64 * self.nanoseconds / count as f64)
    }

    fn run_in_turn(&mut self, line: &str, size: usize, count: u64) -> Outcome<f64> {
        let ends = self.crowds.get_mut(line).ok_or_else(|| format!("{line} is not open for a crowd"))?;
        for end in &mut *ends {
            end.lead(&mut self.buffers, size, 1, None)?;
        }
        let start = ticks();
        for round in 0..count as usize {
            ends[round % CROWD].lead(&mut self.buffers, size, 1, None)?;
        }
        Ok((ticks() - start) as f64 * self.nanoseconds / count as f64)
    }

    /// The number of messages that fill a block.
    fn count(&mut self, measure: Measure) -> Outcome<u64> {
        if let Some(count) = self.counts.get(&measure) {
            return Ok(*count);
        }
        let block = match measure.way {
            Way::RoundTrip | Way::InTurn => self.plan.round_trips,
            Way::Stream => self.plan.stream,
        };
        let count = calibrate(block, |count| self.run(measure, count, None))?;
        self.counts.insert(measure, count);
        Ok(count)
    }

    /// Gives the blocks of one measure as many messages as those of another.
    pub fn count_like(&mut self, measure: Measure, other: Measure) -> Outcome<()> {
        let count = self.count(other)?;
        self.counts.insert(measure, count);
        Ok(())
    }

    /// Runs a block. Returns the nanoseconds for each message or round trip.
    pub fn block(&mut self, measure: Measure) -> Outcome<f64> {
        let count = self.count(measure)?;
        self.run(measure, count, None)
    }

    /// Runs a block of round trips, and records the ticks of each.
    pub fn timed_block(&mut self, measure: Measure, times: &mut Vec<u64>) -> Outcome<f64> {
        let count = self.count(measure)?;
        self.run(measure, count, Some(times))
    }

    /// Runs one stream of `count` messages.
    pub fn burst(&mut self, measure: Measure, count: u64) -> Outcome<f64> {
        self.run(measure, count, None)
    }

    /// Compares each subject with the reference: every block of a subject lies between two blocks of the reference, and is
    /// divided by their mean.
    pub fn compare(&mut self, reference: Measure, subjects: &[Measure]) -> Outcome<Vec<Comparison>> {
        self.compare_in(self.plan.blocks, reference, subjects)
    }

    /// Does the same as [`compare`](Self::compare), with another number of blocks.
    pub fn compare_in(
        &mut self, blocks: usize, reference: Measure, subjects: &[Measure],
    ) -> Outcome<Vec<Comparison>> {
        let mut comparisons: Vec<Comparison> = subjects.iter().map(|_| Comparison::default()).collect();
        for measure in subjects {
            self.count(*measure)?;
        }
        let mut before = self.block(reference)?;
        for _ in 0..blocks {
            for (subject, comparison) in subjects.iter().zip(&mut comparisons) {
                let figure = self.block(*subject)?;
                let after = self.block(reference)?;
                comparison.add(figure, (before + after) / 2.0);
                before = after;
            }
        }
        Ok(comparisons)
    }

    /// The bare line that is faster on this processor, with a pause instruction in its spin loop or without; and the nanoseconds of
    /// its round trips.
    pub fn limit(&mut self) -> Outcome<(&'static Kind, f64)> {
        let kinds = [&lines::BARE, &lines::BARE_PAUSING];
        let mut figures = [Vec::new(), Vec::new()];
        for kind in kinds {
            self.open(kind)?;
        }
        for _ in 0..self.plan.blocks {
            for (kind, figures) in kinds.iter().zip(&mut figures) {
                figures.push(self.block(Measure::round_trip(kind, 0))?);
            }
        }
        let [busy, pausing] = figures.map(|figures| Spread::of(&figures).median);
        Ok((kinds[usize::from(pausing < busy)], busy.min(pausing)))
    }

    /// The signals and sleeps of both sides so far.
    pub fn kernel_calls(&mut self, kind: &Kind) -> Outcome<[u64; 2]> {
        let theirs = self.process.ask(Job::KernelCalls { line: kind.name.to_owned() })?;
        let ours = self.links.get(kind.name).and_then(|link| link.end.kernel_calls());
        match (ours, &theirs[..]) {
            (Some([a, b]), [c, d]) => Ok([a + c, b + d]),
            _ => Err(format!("{} counts no kernel calls", kind.name).into()),
        }
    }
}

/// The number of messages that fill a block. `run` returns the nanoseconds that each message takes. Only the quickest of some runs
/// counts: after one run that the system interrupted, all blocks would be so short that their start fills them.
pub fn calibrate(block: Duration, mut run: impl FnMut(u64) -> Outcome<f64>) -> Outcome<u64> {
    const LEAST: u64 = 8;
    const RUNS: usize = 3;
    let block = block.as_nanos() as f64;
    let mut count = LEAST;
    loop {
        let mut each = f64::INFINITY;
        for _ in 0..RUNS {
            each = each.min(run(count)?);
            if each * count as f64 <= block / 4.0 {
                break;
            }
        }
        if each * count as f64 > block / 4.0 {
            return Ok(((block / each) as u64).max(LEAST));
        }
        count *= 4;
    }
}
