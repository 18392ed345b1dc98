//! The length of measurements, and statistics of many figures.

use std::time::{Duration, Instant};

/// Divides a measurement into chunks of a few milliseconds each, however long a round takes, until its time is over.
pub struct Chunks {
    whole: Duration,
    started: Instant,
    rounds: u64,
    last: Duration,
}

impl Chunks {
    pub fn new(whole: Duration) -> Self {
        Chunks { whole, started: Instant::now(), rounds: 10, last: Duration::ZERO }
    }
}

impl Iterator for Chunks {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let now = self.started.elapsed();
        if now >= self.whole {
            return None;
        }
        match now - self.last {
            took if took < Duration::from_millis(4) => self.rounds = (self.rounds * 2).min(5000),
            took if took > Duration::from_millis(8) => self.rounds = (self.rounds / 2).max(10),
            _ => {}
        }
        self.last = now;
        Some(self.rounds)
    }
}

/// The spread of figures.
pub struct Spread {
    pub least: f64,
    /// A tenth of the figures are lower.
    pub low: f64,
    pub median: f64,
    /// A tenth of the figures are higher.
    pub high: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| figures[((figures.len() - 1) as f64 * part).round() as usize];
        Spread { least: at(0.0), low: at(0.1), median: at(0.5), high: at(0.9), most: at(1.0) }
    }
}
