//! A distribution of times, as lines of a terminal.

use hdrhistogram::Histogram;

/// The most rows of the drawing, without the last one, which has the longest times.
const ROWS: u32 = 12;
/// The columns of the longest bar.
const BAR: usize = 48;
/// The share of times that the rows have before the last one.
const MOST: f64 = 0.999;

/// A time with three digits.
pub fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        _ if ns < 999.5 => (ns, "ns"),
        _ if ns < 999.5e3 => (ns / 1e3, "µs"),
        _ if ns < 999.5e6 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    let decimals = match value {
        _ if unit == "ns" || value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {unit}")
}

/// Draws the times, in nanoseconds. Each row has the times from its label up to the next one. The labels grow by a factor.
pub fn draw(times: &Histogram<u64>) -> Vec<String> {
    let bounds = bounds(times.min(), times.value_at_quantile(MOST));
    let mut rows: Vec<(String, u64)> = bounds
        .windows(2)
        .map(|pair| (time(pair[0] as f64), times.count_between(pair[0], pair[1] - 1)))
        .collect();
    if let Some(&end) = bounds.last() {
        let inside: u64 = rows.iter().map(|(_, count)| count).sum();
        let longer = times.len().saturating_sub(inside);
        if longer > 0 {
            rows.push((format!("≥ {}", time(end as f64)), longer));
        }
    }
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    rows.into_iter()
        .map(|(label, count)| {
            let share = count as f64 / times.len().max(1) as f64 * 100.0;
            format!("  {label:>9} │{:<BAR$} {share:>6.2} %", bar(count, most))
        })
        .collect()
}

/// The bounds of the rows: from the shortest time to one more than `end`.
fn bounds(start: u64, end: u64) -> Vec<u64> {
    let (start, end) = (start.max(1), end.max(start).max(1) + 1);
    let factor = (end as f64 / start as f64).powf(1.0 / f64::from(ROWS));
    let mut bounds: Vec<u64> =
        (0..=ROWS).map(|row| (start as f64 * factor.powi(row as i32)).round() as u64).collect();
    bounds.dedup();
    // The last one is exact, whatever the rounding did.
    bounds.retain(|bound| *bound < end);
    bounds.push(end);
    bounds
}

/// A bar in eighths of a column. A count that is not zero has at least one.
fn bar(count: u64, most: u64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (count as f64 / most as f64 * BAR as f64 * 8.0).round() as usize;
    let eighths = eighths.max(usize::from(count > 0));
    "█".repeat(eighths / 8) + PARTS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let expected = [
            (7.0, "7 ns"),
            (151.0, "151 ns"),
            (999.6, "1.00 µs"),
            (9_996.0, "10.0 µs"),
            (52_345.0, "52.3 µs"),
            (99_960.0, "100 µs"),
            (1.5e6, "1.50 ms"),
            (2e9, "2.00 s"),
        ];
        for (ns, text) in expected {
            assert_eq!(time(ns), text);
        }
    }

    #[test]
    fn every_time_is_in_one_row_of_at_most_eighty_columns() {
        for times in [vec![1], vec![150; 1000], (1..100_000).collect(), vec![0, 0, 5, 3_000_000_000]] {
            let mut histogram = Histogram::new(3).unwrap();
            for &time in &times {
                histogram.record(time).unwrap();
            }
            let rows = draw(&histogram);
            assert!(!rows.is_empty() && rows.len() <= ROWS as usize + 1, "{rows:?}");
            assert!(rows.iter().all(|row| row.chars().count() <= 80), "{rows:?}");
            let share = |row: &String| row.split_whitespace().rev().nth(1).unwrap().parse::<f64>().unwrap();
            let sum: f64 = rows.iter().map(share).sum();
            assert!((99.8..=100.2).contains(&sum), "{sum}: {rows:?}");
        }
    }

    #[test]
    fn bounds_grow() {
        for (start, end) in [(0, 0), (1, 1), (140, 150), (100, 1_000_000), (u64::MAX / 4, u64::MAX / 2)] {
            let bounds = bounds(start, end);
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{start} {end}: {bounds:?}");
            assert_eq!(bounds.last(), Some(&(end.max(start).max(1) + 1)));
        }
    }
}
