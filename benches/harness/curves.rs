//! Round trips and streams by the size of the message: the points of the pictures.

use crate::bench::{Bench, Measure};
use crate::figures::{quantile, Spread};
use crate::line::{Outcome, LONGEST};
use crate::lines::{Kind, COPY, XSHM};
use crate::peers;
use crate::report::Point;

const SIZES: [usize; 7] = [8, 64, 256, 1024, 4096, 16_384, LONGEST];
pub const QUANTILES: [(f64, &str); 4] = [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %")];

/// The figures of one point.
struct Figures {
    kind: &'static Kind,
    size: usize,
    ticks: Vec<u64>,
    rates: Vec<f64>,
}

/// The lines of the pictures, in the order in which their legend names them; the limits come last.
pub fn points(bench: &mut Bench) -> Outcome<Vec<Point>> {
    let (limit, _) = bench.limit()?;
    let mut kinds = vec![&XSHM];
    kinds.extend(peers::PICTURED);
    kinds.extend([&COPY, limit]);
    // The table states why a line is not available.
    kinds.retain(|kind| bench.open(kind).is_ok());

    let figures = |kind| SIZES.map(|size| Figures { kind, size, ticks: Vec::new(), rates: Vec::new() });
    let mut all: Vec<Figures> = kinds.into_iter().flat_map(figures).collect();
    for block in 1..=bench.plan.curve_blocks {
        eprintln!("  {block} of {}", bench.plan.curve_blocks);
        for Figures { kind, size, ticks, rates } in &mut all {
            bench.timed_block(Measure::round_trip(kind, *size), ticks)?;
            // A bare line carries no messages.
            if kind.streams && kind.name != limit.name {
                rates.push(1e9 / bench.block(Measure::stream(kind, *size))?);
            }
        }
    }
    let nanoseconds = bench.nanoseconds;
    let point = |Figures { kind, size, mut ticks, rates }: Figures| {
        ticks.sort_unstable();
        let round_trip_ns = QUANTILES.map(|(part, _)| quantile(&ticks, part) as f64 * nanoseconds);
        let messages_per_second = (!rates.is_empty()).then(|| Spread::of(&rates).median);
        Point { line: kind.name, size, round_trip_ns, messages_per_second }
    };
    Ok(all.into_iter().map(point).collect())
}
