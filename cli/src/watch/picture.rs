//! The picture that `xshm watch` draws in a terminal.

use super::meter::{Meter, Meters, Rates};
use crate::channels::State;
use crate::output::visible;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};
use ratatui::Frame;

/// The lines of a channel: its name, both directions, and an empty one.
const LINES: u16 = 4;

/// The columns before a sparkline.
const FIGURES: u16 = 62;

/// Draws the channels from the one with the number `first` on, which is corrected where there are fewer.
pub fn draw(frame: &mut Frame<'_>, meters: &Meters, first: &mut usize) {
    let area = frame.area();
    let fit = usize::from(area.height.saturating_sub(2) / LINES).max(1);
    *first = (*first).min(meters.len().saturating_sub(fit));
    let dim = Style::new().add_modifier(Modifier::DIM);
    let head =
        format!("{:<10}{:>12}{:>12}{:>10}{:>9}{:>8}", "", "messages/s", "MB/s", "queue", "lost/s", "asleep");
    frame.render_widget(Paragraph::new(Line::styled(head, dim)), row(area, 0));
    for (place, meter) in meters.iter().skip(*first).take(fit).enumerate() {
        let top = 1 + place as u16 * LINES;
        frame.render_widget(Paragraph::new(title(meter)), row(area, top));
        for (at, (what, rates)) in
            [("to client", meter.directions()[0].1), ("to server", meter.directions()[1].1)]
                .into_iter()
                .enumerate()
        {
            let line = row(area, top + 1 + at as u16);
            frame.render_widget(Paragraph::new(figures(what, rates)), line);
            let room = Rect {
                x: line.x + FIGURES.min(line.width),
                width: line.width.saturating_sub(FIGURES),
                ..line
            };
            let shown =
                meter.history(at).iter().rev().take(room.width.into()).rev().copied().collect::<Vec<_>>();
            frame.render_widget(Sparkline::default().data(&shown).style(Style::new().fg(Color::Cyan)), room);
        }
    }
    let shown = (*first + fit).min(meters.len());
    let foot = match meters.len() {
        0 => "no channels; q ends".to_owned(),
        all if fit < all => {
            format!("channels {} to {shown} of {all}; up and down scroll, q ends", *first + 1)
        }
        _ => "q ends".to_owned(),
    };
    frame.render_widget(Paragraph::new(Line::styled(foot, dim)), row(area, area.height.saturating_sub(1)));
}

/// A line of an area. Below the area, an empty one.
fn row(area: Rect, y: u16) -> Rect {
    let height = u16::from(y < area.height);
    Rect { y: area.y + y.min(area.height.saturating_sub(1)), height, ..area }
}

fn title(meter: &Meter) -> Line<'static> {
    let color = match meter.state() {
        State::Connected | State::Requesting => Color::Green,
        State::Damaged | State::ServerDead => Color::Red,
        State::ClientDead | State::ServerGone | State::Ended => Color::Yellow,
        State::Idle | State::Hidden => Color::Reset,
    };
    Line::from(vec![
        Span::styled(visible(&meter.name()), Style::new().add_modifier(Modifier::BOLD)),
        Span::raw("  "),
        Span::styled(meter.state().text(), Style::new().fg(color)),
        Span::raw("  "),
        Span::styled(visible(meter.ends()), Style::new().add_modifier(Modifier::DIM)),
    ])
}

fn figures(what: &str, rates: Rates) -> Line<'static> {
    let queued = format!("{}{}", rates.queued, if rates.is_partial { "+" } else { "" });
    Line::raw(format!(
        "{what:<10}{:>12}{:>12}{queued:>10}{:>9}{:>6.0} %",
        short(rates.messages),
        format!("{:.2}", rates.bytes / 1e6),
        short(rates.dropped),
        rates.asleep * 100.0,
    ))
}

/// A rate in at most seven characters.
fn short(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{:.2} M", rate / 1e6),
        rate if rate >= 1e4 => format!("{:.1} k", rate / 1e3),
        rate => format!("{rate:.0}"),
    }
}
