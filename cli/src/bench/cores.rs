//! The processors: which there are, which to use, and how far two of them are from each other.

use crate::exit::{coded, USAGE};
use crate::threads;
use core_affinity::CoreId;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use sysinfo::{CpuRefreshKind, RefreshKind, System};

/// One processor for each process.
pub type Pair = [usize; 2];

/// A round trip of a cache line that takes less is one between near processors.
const NEAR: f64 = 250.0;
/// How long the distance is measured, from the first block on.
const TRIAL: Duration = Duration::from_millis(30);
/// How long the first block may take. At first the system may run both threads on one processor.
const START: Duration = Duration::from_millis(300);
/// Round trips in a block. The median of the blocks is the distance.
const BLOCK: u64 = 200;

/// Reads the two numbers of `--pin`, and checks that this process may use both processors.
pub fn pair(numbers: &[usize]) -> anyhow::Result<Option<Pair>> {
    let pair = match *numbers {
        [] => return Ok(None),
        [first, second] => [first, second],
        _ => {
            let text = format!("--pin needs two numbers, as in --pin 0,1; it has {}", numbers.len());
            return Err(coded(USAGE, text));
        }
    };
    for processor in pair {
        check(processor)?;
    }
    Ok(Some(pair))
}

fn check(processor: usize) -> anyhow::Result<()> {
    let there = core_affinity::get_core_ids().unwrap_or_default();
    if there.iter().any(|core| core.id == processor) {
        return Ok(());
    }
    let list: Vec<String> = there.iter().map(|core| core.id.to_string()).collect();
    let list = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    Err(coded(USAGE, format!("--pin: this process cannot use processor {processor}; it may use: {list}")))
}

/// Keeps the calling thread on a processor.
pub fn pin(processor: usize) -> anyhow::Result<()> {
    if core_affinity::set_for_current(CoreId { id: processor }) {
        Ok(())
    } else {
        Err(anyhow::anyhow!("the system refuses to keep a thread on processor {processor}"))
    }
}

/// The model of the processors, as they name themselves.
pub fn model() -> String {
    let system = System::new_with_specifics(RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()));
    let brand = system.cpus().first().map_or("", |cpu| cpu.brand().trim());
    if brand.is_empty() { "a processor that does not name its model" } else { brand }.to_owned()
}

/// How many processors this process may use.
pub fn count() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get())
}

/// Whether two processors are near each other.
pub fn are_near(line_ns: f64) -> bool {
    line_ns < NEAR
}

/// Two words in different cache lines, with room for processors that fetch two lines together.
#[derive(Default)]
struct Lines {
    there: Line,
    back: Line,
}

#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// Measures how many nanoseconds a bare cache line takes to another processor and back: the least time that a round trip of
/// any message can take. Without a pair, the system chooses the processors. `None`: there is one processor only, or other
/// programs kept both sides from running at the same time.
pub fn distance(pair: Option<Pair>) -> anyhow::Result<Option<f64>> {
    if count() == 1 || pair.is_some_and(|[first, second]| first == second) {
        return Ok(None);
    }
    let (lines, over) = (Lines::default(), AtomicBool::new(false));
    let mut blocks = std::thread::scope(|scope| {
        let follower = || {
            if let Some([_, second]) = pair {
                let _ = pin(second);
            }
            follow(&lines, &over);
        };
        let leader = || {
            // However this ends, the other thread ends too.
            let _over = SetOnDrop(&over);
            if let Some([first, _]) = pair {
                let _ = pin(first);
            }
            lead(&lines)
        };
        // The leader first: it ends by itself.
        let leader = threads::start_in(scope, leader)?;
        threads::start_in(scope, follower)?;
        anyhow::Ok(leader.join().unwrap_or_default())
    })?;
    blocks.sort_unstable_by(f64::total_cmp);
    Ok(blocks.get(blocks.len() / 2).copied())
}

/// Sets a flag when it is dropped.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns the nanoseconds for a round trip, for each block.
fn lead(lines: &Lines) -> Vec<f64> {
    let mut end = Instant::now() + START;
    let (mut number, mut blocks) = (0, Vec::new());
    loop {
        let start = Instant::now();
        for _ in 0..BLOCK {
            number += 1;
            lines.there.0.store(number, Ordering::Release);
            let mut looks: u32 = 0;
            while lines.back.0.load(Ordering::Acquire) != number {
                spin_loop();
                looks = looks.wrapping_add(1);
                if looks.is_multiple_of(1024) && Instant::now() > end {
                    return blocks;
                }
            }
        }
        if blocks.is_empty() {
            end = Instant::now() + TRIAL;
        }
        blocks.push(start.elapsed().as_nanos() as f64 / BLOCK as f64);
        if Instant::now() > end {
            return blocks;
        }
    }
}

fn follow(lines: &Lines, over: &AtomicBool) {
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let there = lines.there.0.load(Ordering::Acquire);
        if there == number {
            spin_loop();
        } else {
            number = there;
            lines.back.0.store(number, Ordering::Release);
        }
    }
}
