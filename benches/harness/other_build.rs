//! Another build of this program, with which `--compare` compares xshm.
//!
//! The other build runs as processes of its own: one that takes orders, and that one's second process. Each order is a block. The
//! processes of both builds are pinned to the same two cores, and those of one wait in the kernel while those of the other run.

use crate::bench::{Bench, Measure, Plan, Way};
use crate::cores::Cores;
use crate::figures::Comparison;
use crate::line::{Outcome, LONGEST};
use crate::lines::{self, Kind, ASLEEP, BATCH, BATCHED, XSHM};
use crate::report::{Goal, Row};
use crate::side::Shared;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The first argument of the other build; the session follows.
pub const FOLLOW: &str = "--run-blocks-for-another-build";

#[derive(Serialize, Deserialize)]
struct Session {
    number: usize,
    /// The cores of the two sides. The other build could not choose them: it may use those alone to which its parent is pinned.
    cores: Cores,
}

/// A block, which the other build runs and answers with the nanoseconds for each message or round trip.
#[derive(Serialize, Deserialize)]
struct Order {
    line: String,
    way: Way,
    size: usize,
}

/// The main function of the other build.
pub fn follow(plan: &'static Plan, session: &str) -> Outcome<()> {
    let Session { number, cores } = serde_json::from_str(session)?;
    let mut bench = Bench::new(plan, Shared::new(number, cores.second)?)?;
    cores.first.map(Cores::pin);
    for order in std::io::stdin().lines() {
        let Order { line, way, size } = serde_json::from_str(&order?)?;
        let kind = lines::find(&line)?;
        bench.open(kind)?;
        let figure = bench.block(Measure { line: kind.name, way, size })?;
        let mut output = std::io::stdout().lock();
        writeln!(output, "{figure}")?;
        output.flush()?;
    }
    Ok(())
}

pub struct OtherBuild {
    child: Child,
    /// `None` once it has been closed, which ends the other build.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl OtherBuild {
    pub fn start(program: &Path, number: usize, cores: Cores) -> Outcome<Self> {
        let session = serde_json::to_string(&Session { number, cores })?;
        let mut child = Command::new(program)
            .args([FOLLOW, &session])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} could not be started: {error}", program.display()))?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("no pipe from the other build")?);
        Ok(OtherBuild { child, orders, answers })
    }

    /// Has the other build run a block.
    fn block(&mut self, measure: Measure) -> Outcome<f64> {
        let Measure { line, way, size } = measure;
        let order = Order { line: line.to_owned(), way, size };
        let orders = self.orders.as_mut().ok_or("the other build has been ended")?;
        orders.write_all((serde_json::to_string(&order)? + "\n").as_bytes())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let answer = answer.trim();
        Ok(answer.parse().map_err(|_| {
            format!("the other build answered \"{answer}\": is it a benchmark that knows {FOLLOW}?")
        })?)
    }
}

impl Drop for OtherBuild {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

/// Compares xshm here with xshm in the other build, block by block in turn.
pub fn compare(bench: &mut Bench, other: &mut OtherBuild) -> Outcome<Vec<Row>> {
    const KILOBYTE: usize = 1024;
    const SMALL: usize = 64;
    let round_trip = |kind: &'static Kind, size| (kind, Way::RoundTrip, size);
    let stream = |kind: &'static Kind, size| (kind, Way::Stream, size);
    let measures = [
        (round_trip(&XSHM, 8), "8 bytes".to_owned()),
        (round_trip(&XSHM, 56), "56 bytes".to_owned()),
        (round_trip(&XSHM, SMALL), "64 bytes".to_owned()),
        (round_trip(&XSHM, KILOBYTE), "1024 bytes".to_owned()),
        (round_trip(&ASLEEP, SMALL), "64 bytes, asleep".to_owned()),
        (stream(&XSHM, 8), "8 bytes, one at a time".to_owned()),
        (stream(&XSHM, SMALL), "64 bytes, one at a time".to_owned()),
        (stream(&BATCHED, SMALL), format!("64 bytes, {BATCH} with one call")),
        (stream(&XSHM, KILOBYTE), "1024 bytes".to_owned()),
        (stream(&XSHM, LONGEST), format!("{LONGEST} bytes")),
    ];
    let mut rows = Vec::new();
    for ((kind, way, size), what) in measures {
        bench.open(kind)?;
        let measure = Measure { line: kind.name, way, size };
        let mut comparison = Comparison::default();
        bench.block(measure)?;
        let mut before = other.block(measure)?;
        for _ in 0..bench.plan.blocks {
            let figure = bench.block(measure)?;
            let after = other.block(measure)?;
            comparison.add(figure, (before + after) / 2.0);
            before = after;
        }
        let row = |what| Row::new("build", what, "the other build", Goal::None);
        rows.push(match way {
            Way::RoundTrip | Way::InTurn => row(format!("round trip, {what}")).times(&comparison),
            Way::Stream => row(format!("rate, {what}")).rates(&comparison),
        });
    }
    Ok(rows)
}
