//! P12: the default spin budget at different paces. The processor time at a slow pace is compared with that of endpoints that never
//! spin, and the round trips back to back with those of endpoints that spin for ever.

use crate::bare::ticks;
use crate::bench::{Bench, Measure, Plan};
use crate::figures::{Comparison, Spread};
use crate::line::Outcome;
use crate::lines::{DEFAULT, XSHM};
use crate::report::{Goal, Row};
use crate::side::{Job, Shared};
use crate::spin::processor_time;
use crate::PATIENCE;
use std::thread;
use std::time::{Duration, Instant};
use xshm::{ServerOptions, SharedServer};

const SIZE: usize = 64;
/// Round trips a second.
const PACES: [u64; 2] = [1000, 10_000];

/// How much is measured.
struct Amount {
    blocks: usize,
    block: Duration,
    /// Changes from the slower pace to round trips back to back.
    changes: usize,
}

const FULL: Amount = Amount { blocks: 10, block: Duration::from_millis(400), changes: 50 };
const QUICK: Amount = Amount { blocks: 2, block: Duration::from_millis(20), changes: 3 };

/// A server here whose client, with the same budget, answers in the second process.
struct Pair {
    server: SharedServer,
    name: String,
}

impl Pair {
    /// `spin`: the budget. `None`: the default one.
    fn connect(bench: &mut Bench, what: &str, spin: Option<Duration>) -> Outcome<Self> {
        let name = format!("{}-pace-{what}", bench.shared.base);
        let options = spin.into_iter().fold(ServerOptions::new(), |options, spin| options.spin(spin));
        let mut server = options.start(&name)?;
        bench.process.give(Job::ConnectAnswering { server: name.clone(), spin })?;
        server.wait_for_client(Some(PATIENCE))?;
        bench.process.answer()?;
        Ok(Pair { server, name })
    }

    fn round_trip(&self, answer: &mut Vec<u8>) -> Outcome<()> {
        self.server.send_to_client(&[0x5a; SIZE])?;
        self.server.receive_from_client(answer)?;
        Ok(())
    }

    /// Makes round trips at a pace. Returns the nanoseconds of processor time for each, of both processes. `None`: the system does
    /// not report it precisely enough.
    fn paced(&self, bench: &mut Bench, pace: u64, time: Duration) -> Outcome<Option<f64>> {
        let rounds = (time.as_secs_f64() * pace as f64) as u64;
        let work = Duration::ZERO;
        bench.process.give(Job::Answer { server: self.name.clone(), work, rounds })?;
        let (start, used) = (Instant::now(), processor_time());
        let mut answer = Vec::with_capacity(SIZE);
        for round in 0..rounds {
            let due = Duration::from_nanos(1_000_000_000 / pace * round);
            thread::sleep(due.saturating_sub(start.elapsed()));
            self.round_trip(&mut answer)?;
        }
        let ours = processor_time().zip(used).map(|(after, before)| after - before);
        let theirs = bench.process.answer()?;
        Ok(ours.zip(theirs.first()).map(|(ours, theirs)| (ours + theirs) as f64 / rounds as f64))
    }

    /// Makes round trips at the slowest pace, and then back to back. Returns the number of the latter until they are quick: until
    /// they take at most this number of nanoseconds.
    fn change(&self, bench: &mut Bench, most: f64) -> Outcome<f64> {
        const SLOW: u64 = 30;
        const QUICK: u64 = 400;
        let job = Job::Answer { server: self.name.clone(), work: Duration::ZERO, rounds: SLOW + QUICK };
        bench.process.give(job)?;
        let mut answer = Vec::with_capacity(SIZE);
        for _ in 0..SLOW {
            thread::sleep(Duration::from_nanos(1_000_000_000 / PACES[0]));
            self.round_trip(&mut answer)?;
        }
        let mut times = Vec::new();
        for _ in 0..QUICK {
            let start = ticks();
            self.round_trip(&mut answer)?;
            times.push((ticks() - start) as f64 * bench.nanoseconds);
        }
        bench.process.answer()?;
        // Three in a row: a single one may be quick by chance.
        let quick = times.windows(3).position(|three| three.iter().all(|time| *time <= most));
        Ok(quick.unwrap_or(times.len()) as f64)
    }
}

/// Measures with two processes of its own, which no one pins to a core: on a single core, the default budget is zero.
pub fn rows(quick: bool, plan: &'static Plan) -> Outcome<Vec<Row>> {
    let amount = if quick { &QUICK } else { &FULL };
    let mut bench = Bench::new(plan, Shared::new(99, None)?)?;
    let mut rows = Vec::new();

    let never = Pair::connect(&mut bench, "never", Some(Duration::ZERO))?;
    let default = Pair::connect(&mut bench, "default", None)?;
    for pace in PACES {
        let row = Row::new(
            "P12",
            format!("processor time, {pace} round trips a second"),
            "no spinning",
            Goal::AtMost(1.15),
        );
        let mut comparison = Comparison::default();
        let mut before = never.paced(&mut bench, pace, amount.block)?;
        for _ in 0..amount.blocks {
            let figure = default.paced(&mut bench, pace, amount.block)?;
            let after = never.paced(&mut bench, pace, amount.block)?;
            if let (Some(figure), Some(before), Some(after)) = (figure, before, after) {
                comparison.add(figure, (before + after) / 2.0);
            }
            before = after;
        }
        rows.push(match comparison.blocks() {
            0 => row.missing("the system does not report processor time precisely"),
            _ => row.times(&comparison).note("both processes, default settings, not pinned"),
        });
    }

    bench.open(&DEFAULT)?;
    bench.open(&XSHM)?;
    let (endless, by_default) = (Measure::round_trip(&XSHM, SIZE), Measure::round_trip(&DEFAULT, SIZE));
    // Before the default endpoints spin, each of their round trips takes long. Blocks of a few round trips would measure their start.
    bench.count_like(by_default, endless)?;
    let comparisons = bench.compare(endless, &[by_default])?;
    let what = format!("round trip back to back, {SIZE} bytes, default settings");
    rows.extend(
        comparisons
            .iter()
            .map(|each| Row::new("P12", &what, "endless spinning", Goal::AtMost(1.05)).times(each)),
    );

    /// A round trip is quick if it takes at most this number of times as long as with endless spinning.
    const TIMES: f64 = 10.0;
    let mut changes = Vec::new();
    for _ in 0..amount.changes {
        let most = TIMES * bench.block(endless)?;
        changes.push(default.change(&mut bench, most)?);
    }
    let row = Row::new("P12", "messages until a faster pace is quick", "1 message", Goal::AtMost(10.0));
    rows.push(row.with(Spread::of(&changes), amount.changes).note("after 1000 round trips a second"));
    Ok(rows)
}
