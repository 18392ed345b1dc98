//! The table, and the same figures as JSON.

use crate::cores::are_near;
use crate::figures::{Comparison, Spread};
use serde::Serialize;
use std::fmt::Write;

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// At most one or the other, by the distance of the cores. The report decides it at the end, for all sessions.
    AtMostBy {
        near: f64,
        far: f64,
    },
    /// The figure has no goal.
    None,
}

impl Goal {
    fn is_reached(self, figure: f64) -> Option<bool> {
        match self {
            Goal::AtMost(most) => Some(figure <= most),
            Goal::AtLeast(least) => Some(figure >= least),
            Goal::AtMostBy { .. } | Goal::None => None,
        }
    }

    fn decided(self, cores_are_near: bool) -> Self {
        match self {
            Goal::AtMostBy { near, far } => Goal::AtMost(if cores_are_near { near } else { far }),
            other => other,
        }
    }
}

/// A line of the table.
#[derive(Serialize)]
pub struct Row {
    /// The section, such as `P1` or `peers`.
    pub section: &'static str,
    pub what: String,
    /// The limit or peer by which the figure is divided.
    pub against: String,
    pub ratio: Option<Spread>,
    pub blocks: usize,
    pub goal: Goal,
    pub reached: Option<bool>,
    /// Medians in nanoseconds, if they were measured.
    pub subject_ns: Option<f64>,
    pub reference_ns: Option<f64>,
    /// Why there is no figure, or a remark on it.
    pub note: String,
    /// The blocks behind the figures, if blocks were compared.
    #[serde(skip)]
    samples: Option<Samples>,
}

struct Samples {
    comparison: Comparison,
    spread: fn(&Comparison) -> Spread,
}

impl Row {
    pub fn new(
        section: &'static str, what: impl Into<String>, against: impl Into<String>, goal: Goal,
    ) -> Self {
        Row {
            section,
            what: what.into(),
            against: against.into(),
            ratio: None,
            blocks: 0,
            goal,
            reached: None,
            subject_ns: None,
            reference_ns: None,
            note: String::new(),
            samples: None,
        }
    }

    /// A row without a figure, with the reason.
    pub fn missing(mut self, why: impl ToString) -> Self {
        self.note = format!("not measured: {}", why.to_string());
        self
    }

    pub fn with(mut self, ratio: Spread, blocks: usize) -> Self {
        self.reached = self.goal.is_reached(ratio.median);
        (self.ratio, self.blocks) = (Some(ratio), blocks);
        self
    }

    /// Times, of which less is better.
    pub fn times(self, comparison: &Comparison) -> Self {
        self.sampled(Samples { comparison: comparison.clone(), spread: Comparison::times })
    }

    /// Rates, of which more is better.
    pub fn rates(self, comparison: &Comparison) -> Self {
        self.sampled(Samples { comparison: comparison.clone(), spread: Comparison::rates })
    }

    fn sampled(self, samples: Samples) -> Self {
        let Samples { comparison, spread } = &samples;
        let mut row = self.with(spread(comparison), comparison.blocks());
        row.subject_ns = Some(Spread::of(&comparison.subject).median);
        row.reference_ns = Some(Spread::of(&comparison.reference).median);
        row.samples = Some(samples);
        row
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// Quantiles of round trips, or the rate of a stream, for the pictures.
#[derive(Serialize)]
pub struct Point {
    pub line: &'static str,
    pub size: usize,
    /// Nanoseconds: 50, 90, 99 and 99.9 %.
    pub round_trip_ns: [f64; 4],
    pub messages_per_second: Option<f64>,
}

#[derive(Serialize)]
pub struct Report {
    pub system: &'static str,
    /// Whether the system is Wine.
    pub wine: bool,
    pub architecture: &'static str,
    /// The processor's model.
    pub processor: String,
    pub processors: usize,
    /// The round trip of two bare cache lines between the two cores, in nanoseconds: the median of the sessions.
    pub bare_line_ns: f64,
    pub pinned: bool,
    pub quick: bool,
    pub rows: Vec<Row>,
    pub points: Vec<Point>,
}

impl Report {
    /// Adds rows. If the report has a row already, adds the blocks to it.
    pub fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            let key = |row: &Row| (row.section, row.what.clone(), row.against.clone());
            let same = |other: &&mut Row| key(other) == key(&row);
            match (self.rows.iter_mut().rfind(same), row) {
                (Some(Row { samples: Some(samples), .. }), Row { samples: Some(more), .. }) => {
                    samples.comparison.extend(more.comparison);
                }
                // Another session gave the same reason why there is no figure.
                (Some(_), _) => {}
                (None, row) => self.rows.push(row),
            }
        }
    }

    /// Calculates the figures from all blocks that were added.
    pub fn finish(&mut self) {
        let near = self.has_near_cores();
        for row in &mut self.rows {
            row.goal = row.goal.decided(near);
            if let Some(samples) = row.samples.take() {
                let plain = std::mem::replace(row, Row::new("", "", "", Goal::None));
                *row = plain.sampled(samples);
            }
        }
    }

    /// Whether lines move quickly between the two cores, as within one cluster, or slowly, as between two.
    pub fn has_near_cores(&self) -> bool {
        are_near(self.bare_line_ns)
    }

    /// The rows that miss their goal, one to a line.
    pub fn missed(&self) -> Vec<String> {
        let missed = self.rows.iter().filter(|row| row.reached == Some(false));
        missed
            .map(|row| {
                let [section, what, against, median, _, goal, ..] = cells(row);
                format!("{section} {what}, divided by {against}: {median}, the goal is {goal}")
            })
            .collect()
    }

    pub fn table(&self) -> String {
        let mut lines = vec![[
            "row",
            "what",
            "divided by",
            "median",
            "p10 to p90",
            "goal",
            "",
            "ours ns",
            "theirs ns",
            "",
        ]
        .map(str::to_owned)];
        lines.extend(self.rows.iter().map(cells));
        let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
        let widths: [usize; COLUMNS] = std::array::from_fn(width);
        let mut table = String::new();
        for line in lines {
            let mut text = String::new();
            for (at, cell) in line.iter().enumerate() {
                let width = widths[at];
                // Figures are aligned to the right, words to the left.
                let written = if matches!(at, 3 | 7 | 8) {
                    write!(text, "{cell:>width$}  ")
                } else {
                    write!(text, "{cell:<width$}  ")
                };
                written.expect("a string takes all text");
            }
            table.push_str(text.trim_end());
            table.push('\n');
        }
        table
    }
}

const COLUMNS: usize = 10;

fn cells(row: &Row) -> [String; COLUMNS] {
    let (median, spread) = match row.ratio {
        Some(Spread { p10, median, p90 }) => (figure(median), format!("{} to {}", figure(p10), figure(p90))),
        None => ("–".to_owned(), String::new()),
    };
    let goal = match row.goal {
        Goal::AtMost(most) => format!("≤ {most}"),
        Goal::AtLeast(least) => format!("≥ {least}"),
        Goal::AtMostBy { .. } | Goal::None => String::new(),
    };
    let verdict = match row.reached {
        Some(true) => "reached",
        Some(false) => "NOT reached",
        None => "",
    };
    let nanoseconds = |time: Option<f64>| time.map_or(String::new(), figure);
    [
        row.section.to_owned(),
        row.what.clone(),
        row.against.clone(),
        median,
        spread,
        goal,
        verdict.to_owned(),
        nanoseconds(row.subject_ns),
        nanoseconds(row.reference_ns),
        row.note.clone(),
    ]
}

/// Formats a figure with about three significant digits.
fn figure(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.1 => format!("{figure:.3}"),
        size if size < 10.0 => format!("{figure:.2}"),
        size if size < 100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}
