//! The pictures: round trips and rates by the size of the message.

use crate::curves::QUANTILES;
use crate::line::Outcome;
use crate::report::{Point, Report};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::ops::Range;
use std::path::Path;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const PICTURE: (u32, u32) = (1230, 860);
const LEGEND: u32 = 250;
const HEADING: u32 = 46;
/// Colours that colour-blind readers can distinguish (Okabe and Ito), and two more.
const COLOURS: [RGBColor; 9] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(120, 94, 240),
    RGBColor(140, 86, 75),
    RGBColor(60, 60, 60),
];
const REFERENCE: RGBColor = RGBColor(130, 130, 130);
const DASHES: [(i32, i32); 2] = [(8, 4), (2, 3)];

/// A line of a picture.
struct Series<'a> {
    name: &'a str,
    points: Vec<&'a Point>,
    style: ShapeStyle,
    /// The dashes of a limit: pixels drawn, pixels left out.
    dashes: Option<(i32, i32)>,
}

type Value<'a> = Box<dyn Fn(&Point) -> Option<f64> + 'a>;

/// A part of a picture, which shows one value of each point.
struct Panel<'a> {
    title: String,
    unit: &'a str,
    value: Value<'a>,
    label: fn(&f64) -> String,
}

/// Draws the pictures of a report that has points.
pub fn draw(report: &Report, folder: &Path) -> Outcome<()> {
    if report.points.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    let (system, name) = match report.system {
        "windows" if report.wine => ("wine", "Windows programs under Wine"),
        "windows" => ("windows", "Windows"),
        _ => ("linux", "Linux"),
    };
    let series = series(&report.points);
    let round_trips = QUANTILES.iter().enumerate().map(|(at, (_, quantile))| Panel {
        title: format!("{quantile} of the round trips take at most"),
        unit: "time of a round trip",
        value: Box::new(move |point: &Point| Some(point.round_trip_ns[at])),
        label: time,
    });
    let heading = &format!("Round trips by size of the message, {name}");
    picture(&folder.join(format!("{system}-latency.svg")), heading, round_trips.collect(), &series, (2, 2))?;

    let messages = Panel {
        title: "Messages".to_owned(),
        unit: "messages a second",
        value: Box::new(|point: &Point| point.messages_per_second),
        label: number,
    };
    let bytes = Panel {
        title: "Bytes".to_owned(),
        unit: "bytes a second",
        value: Box::new(|point: &Point| point.messages_per_second.map(|rate| rate * point.size as f64)),
        label: number,
    };
    let heading = &format!("A stream without loss, by size of the message, {name}");
    picture(&folder.join(format!("{system}-throughput.svg")), heading, vec![messages, bytes], &series, (1, 2))
}

/// The points of each line, in the order of the report: xshm first.
fn series(points: &[Point]) -> Vec<Series<'_>> {
    let mut all: Vec<Series> = Vec::new();
    for point in points {
        match all.last_mut() {
            Some(series) if series.name == point.line => series.points.push(point),
            _ => {
                let references = all.iter().filter(|series| series.dashes.is_some()).count();
                let dashes =
                    crate::lines::is_reference(point.line).then(|| DASHES[references % DASHES.len()]);
                let colour = if dashes.is_some() { REFERENCE } else { COLOURS[all.len() % COLOURS.len()] };
                let width = if all.is_empty() { 4 } else { 2 };
                let style = colour.stroke_width(width);
                all.push(Series { name: point.line, points: vec![point], style, dashes });
            }
        }
    }
    all
}

fn picture(
    path: &Path, heading: &str, panels: Vec<Panel<'_>>, series: &[Series<'_>],
    (rows, columns): (usize, usize),
) -> Outcome<()> {
    let height = if rows == 1 { PICTURE.1 / 2 + HEADING } else { PICTURE.1 };
    let root = SVGBackend::new(path, (PICTURE.0, height)).into_drawing_area();
    // A white background, for readers whose page is dark.
    root.fill(&WHITE)?;
    let (top, below) = root.split_vertically(HEADING);
    top.draw_text(heading, &("sans-serif", 22).into_text_style(&root), (20, 14))?;
    let (charts, legend) = below.split_horizontally(PICTURE.0 - LEGEND);
    for (area, panel) in charts.split_evenly((rows, columns)).iter().zip(&panels) {
        // Panels with the same unit have the same scale.
        let alike: Vec<_> = panels.iter().filter(|other| other.unit == panel.unit).collect();
        chart(area, panel, range(&alike, series), series)?;
    }
    let shown = series.iter().filter(|series| {
        series.points.iter().any(|point| panels.iter().any(|panel| (panel.value)(point).is_some()))
    });
    names(&legend, shown)?;
    root.present()?;
    Ok(())
}

/// The range of all values of some parts.
fn range(panels: &[&Panel<'_>], series: &[Series<'_>]) -> Range<f64> {
    let points = || series.iter().flat_map(|series| &series.points);
    let values = panels.iter().flat_map(|panel| points().filter_map(|point| (panel.value)(point)));
    let (low, high) =
        values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    low / 1.5..high * 1.5
}

fn chart(area: &Area<'_>, panel: &Panel<'_>, range: Range<f64>, series: &[Series<'_>]) -> Outcome<()> {
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 17))
        .margin(10)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d((7.0..80_000.0_f64).log_scale().base(8.0), range.log_scale())?;
    chart
        .configure_mesh()
        .x_desc("size of a message")
        .y_desc(panel.unit)
        .x_label_formatter(&size)
        .y_label_formatter(&panel.label)
        .x_labels(6)
        .max_light_lines(0)
        .bold_line_style(BLACK.mix(0.15))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 14))
        .draw()?;
    // xshm is drawn last, above the others.
    for series in series.iter().rev() {
        let points: Vec<(f64, f64)> = series
            .points
            .iter()
            .filter_map(|point| Some((point.size as f64, (panel.value)(point)?)))
            .collect();
        if let Some((drawn, left_out)) = series.dashes {
            let dashed = points.iter().copied();
            chart.draw_series(DashedLineSeries::new(dashed, drawn, left_out, series.style))?;
        } else {
            chart.draw_series(LineSeries::new(points.iter().copied(), series.style))?;
        }
        let dot = series.style.filled();
        chart.draw_series(points.into_iter().map(|at| Circle::new(at, 3, dot)))?;
    }
    Ok(())
}

/// The legend: one for all parts of a picture.
fn names<'a>(area: &Area<'_>, series: impl Iterator<Item = &'a Series<'a>>) -> Outcome<()> {
    const LINE: i32 = 28;
    let text = ("sans-serif", 15).into_text_style(area);
    for (at, series) in series.enumerate() {
        let middle = 40 + LINE * i32::try_from(at)?;
        let style = series.style;
        if let Some((drawn, left_out)) = series.dashes {
            for start in (4..36).step_by(usize::try_from(drawn + left_out)?) {
                area.draw(&PathElement::new([(start, middle), ((start + drawn).min(36), middle)], style))?;
            }
        } else {
            area.draw(&PathElement::new([(4, middle), (36, middle)], style))?;
        }
        let name = match series.dashes {
            Some(_) => format!("{} (reference)", series.name),
            None if crate::lines::find(series.name)?.in_process => format!("{} (two threads)", series.name),
            None => series.name.to_owned(),
        };
        area.draw_text(&name, &text, (44, middle - 8))?;
    }
    Ok(())
}

fn size(bytes: &f64) -> String {
    if *bytes < 1024.0 {
        format!("{bytes:.0} B")
    } else {
        format!("{:.0} KiB", bytes / 1024.0)
    }
}

fn time(nanoseconds: &f64) -> String {
    scaled(*nanoseconds, &["ns", "µs", "ms", "s"])
}

fn number(number: &f64) -> String {
    scaled(*number, &["", "k", "M", "G"])
}

/// Formats a figure in the unit that leaves the fewest digits. Each unit is a thousand times the one before it.
fn scaled(mut figure: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while figure >= 999.5 && unit + 1 < units.len() {
        figure /= 1000.0;
        unit += 1;
    }
    format!("{figure:.0} {}", units[unit]).trim_end().to_owned()
}
