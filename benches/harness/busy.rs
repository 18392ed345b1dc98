//! P11: round trips on a machine whose processors are all busy with other work.

use crate::bench::{Bench, Measure, Plan};
use crate::line::Outcome;
use crate::lines::DEFAULT;
use crate::peers::PIPE;
use crate::report::{Goal, Row};
use crate::side::Shared;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Threads that compute for each processor, beside the two processes that are measured.
const LOAD: usize = 4;
const SIZE: usize = 8;

const FULL: Plan = Plan { blocks: 20, round_trips: Duration::from_millis(200), ..crate::FULL };
const QUICK: Plan = Plan { blocks: 2, round_trips: Duration::from_millis(20), ..crate::QUICK };

/// Threads that use all processors, until dropped.
struct Load {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn begin() -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let processors = thread::available_parallelism().map_or(1, Into::into);
        let computes = |ends: Arc<AtomicBool>| {
            move || {
                while !ends.load(Ordering::Relaxed) {
                    spin_loop();
                }
            }
        };
        let threads = (0..LOAD * processors).map(|_| thread::spawn(computes(ends.clone()))).collect();
        Load { ends, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Measures with two processes of its own, which no one pins to a core. The calling thread must not be pinned either.
pub fn round_trips(quick: bool) -> Outcome<Vec<Row>> {
    let mut bench = Bench::new(if quick { &QUICK } else { &FULL }, Shared::new(0, None)?)?;
    bench.open(&DEFAULT)?;
    bench.open(&PIPE)?;
    let load = Load::begin();
    let subject = Measure::round_trip(&DEFAULT, SIZE);
    let comparisons = bench.compare(Measure::round_trip(&PIPE, SIZE), &[subject])?;
    drop(load);
    let what = format!("round trip, {SIZE} bytes, busy machine");
    let row = |comparison| Row::new("P11", what.clone(), PIPE.name, Goal::AtMost(2.0)).times(comparison);
    let note = format!("default settings; {LOAD} busy threads for each processor; not pinned");
    Ok(comparisons.iter().map(|comparison| row(comparison).note(note.clone())).collect())
}
