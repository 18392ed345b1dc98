//! Statistics of many figures.

use serde::Serialize;

/// The spread of figures.
#[derive(Clone, Copy, Serialize)]
pub struct Spread {
    /// A tenth of the figures are lower.
    pub p10: f64,
    pub median: f64,
    /// A tenth of the figures are higher.
    pub p90: f64,
}

impl Spread {
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Spread { p10: quantile(&sorted, 0.1), median: quantile(&sorted, 0.5), p90: quantile(&sorted, 0.9) }
    }

    /// A figure that was counted, not measured.
    pub fn exactly(figure: f64) -> Self {
        Spread { p10: figure, median: figure, p90: figure }
    }
}

/// A quantile of sorted figures, of which there is at least one.
pub fn quantile<T: Copy>(sorted: &[T], part: f64) -> T {
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

/// A measure and its reference, block by block.
#[derive(Clone, Default)]
pub struct Comparison {
    /// The subject's time divided by the reference's time.
    ratios: Vec<f64>,
    /// Nanoseconds for each message or round trip.
    pub subject: Vec<f64>,
    pub reference: Vec<f64>,
}

impl Comparison {
    pub fn add(&mut self, subject: f64, reference: f64) {
        self.ratios.push(subject / reference);
        self.subject.push(subject);
        self.reference.push(reference);
    }

    /// Adds the blocks of another comparison.
    pub fn extend(&mut self, other: Comparison) {
        self.ratios.extend(other.ratios);
        self.subject.extend(other.subject);
        self.reference.extend(other.reference);
    }

    pub fn blocks(&self) -> usize {
        self.ratios.len()
    }

    pub fn times(&self) -> Spread {
        Spread::of(&self.ratios)
    }

    /// The ratios of rates, which are the inverse of those of times.
    pub fn rates(&self) -> Spread {
        let rates: Vec<f64> = self.ratios.iter().map(|ratio| 1.0 / ratio).collect();
        Spread::of(&rates)
    }
}
