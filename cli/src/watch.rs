//! `xshm watch`: what goes through channels, sampled from outside.

mod meter;
mod picture;

use crate::args::Watch;
use crate::channels::Machine;
use crate::exit::{coded, NO_CHANNEL};
use crate::output::{self, visible};
use crate::{signals, threads};
use meter::Meters;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::{Duration, Instant, SystemTime};
use xshm::inspect::Reach;

/// The samples in an interval, by which a side's sleep is measured.
const SAMPLES: u32 = 20;

/// The shortest time between two samples: each one takes some cache lines from the processes.
const SHORTEST: Duration = Duration::from_millis(5);

/// How often the program looks for new channels.
const LOOK: Duration = Duration::from_secs(2);

/// What a watching program waits for.
enum Input {
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    /// Ctrl-C, the end of the terminal, or a wish of the system.
    Stop,
}

/// What is to be done after some input.
#[derive(PartialEq)]
enum Next {
    GoOn,
    Stop,
}

pub fn run(args: &Watch) -> anyhow::Result<()> {
    let (sender, inputs) = channel();
    let stop = sender.clone();
    signals::on_end(move |_| drop(stop.send(Input::Stop)))?;
    let mut meters = Meters::default();
    look(args, &mut meters)?;
    if meters.is_empty() && !args.names.is_empty() {
        let names = args.names.join(", ");
        return Err(coded(
            NO_CHANNEL,
            format!("no channel of this user is called {names}; `xshm list` shows them"),
        ));
    }
    if output::is_terminal() && !args.plain && has_usual_size() {
        draw(args, &mut meters, sender, &inputs)
    } else {
        print(args, &mut meters, &inputs)
    }
}

fn look(args: &Watch, meters: &mut Meters) -> anyhow::Result<()> {
    let machine = Machine::look(Reach::Own)?;
    let is_wanted = |name: Option<&str>| {
        args.names.is_empty()
            || args.names.iter().any(|wanted| Some(wanted.strip_prefix("Local\\").unwrap_or(wanted)) == name)
    };
    meters.follow(machine, |channel| is_wanted(channel.name()));
    Ok(())
}

/// Samples until the interval is over. Looks for new channels when it is time. `wait` waits for this time, or for input.
fn sample(
    args: &Watch, meters: &mut Meters, next_look: &mut Instant, mut wait: impl FnMut(Duration) -> Next,
) -> anyhow::Result<Next> {
    let start = Instant::now();
    if start >= *next_look {
        look(args, meters)?;
        *next_look = start + LOOK;
    }
    let pause = (args.interval / SAMPLES).max(SHORTEST);
    loop {
        meters.sample();
        let left = args.interval.saturating_sub(start.elapsed());
        if left.is_zero() {
            meters.end_interval();
            return Ok(Next::GoOn);
        }
        if wait(pause.min(left)) == Next::Stop {
            return Ok(Next::Stop);
        }
    }
}

fn print(args: &Watch, meters: &mut Meters, inputs: &Receiver<Input>) -> anyhow::Result<()> {
    let mut next_look = Instant::now() + LOOK;
    for _ in 0..args.count.unwrap_or(u64::MAX) {
        let wait = |pause| match inputs.recv_timeout(pause) {
            Ok(_) => Next::Stop,
            Err(_) => Next::GoOn,
        };
        if sample(args, meters, &mut next_look, wait)? == Next::Stop {
            return Ok(());
        }
        let time = humantime::format_rfc3339_seconds(SystemTime::now());
        for meter in meters.iter() {
            for (what, rates) in meter.directions() {
                output::line(format!(
                    "{time} {} {what} {:.0} msg/s {:.3} MB/s queue {}{} dropped {:.0}/s asleep {:.0}% {}",
                    visible(&meter.name()),
                    rates.messages,
                    rates.bytes / 1e6,
                    rates.queued,
                    if rates.is_partial { "+" } else { "" },
                    rates.dropped,
                    rates.asleep * 100.0,
                    meter.state().text().replace(' ', "-"),
                ))?;
            }
        }
    }
    Ok(())
}

/// Whether the terminal is one to draw in: a picture takes memory for each of its characters.
fn has_usual_size() -> bool {
    const MOST: u32 = 1_000_000;
    ratatui::crossterm::terminal::size()
        .is_ok_and(|(columns, rows)| u32::from(columns) * u32::from(rows) <= MOST)
}

fn draw(
    args: &Watch, meters: &mut Meters, sender: Sender<Input>, inputs: &Receiver<Input>,
) -> anyhow::Result<()> {
    let mut terminal = ratatui::try_init()?;
    // A separate thread, since a read does not end when the terminal is closed. It ends with the program.
    let reading = threads::start("keys", move || {
        while let Ok(event) = event::read() {
            let input = match event {
                Event::Key(key) if key.kind != KeyEventKind::Release => Input::Key(key),
                Event::Resize(..) => Input::Resized,
                _ => continue,
            };
            if sender.send(input).is_err() {
                return;
            }
        }
    });
    let outcome = reading.and_then(|_| draw_until_stopped(args, meters, inputs, &mut terminal));
    ratatui::restore();
    outcome
}

fn draw_until_stopped(
    args: &Watch, meters: &mut Meters, inputs: &Receiver<Input>, terminal: &mut ratatui::DefaultTerminal,
) -> anyhow::Result<()> {
    let mut next_look = Instant::now() + LOOK;
    let mut first = 0;
    terminal.draw(|frame| picture::draw(frame, meters, &mut first))?;
    for _ in 0..args.count.unwrap_or(u64::MAX) {
        let wait = |pause| match inputs.recv_timeout(pause) {
            Ok(Input::Stop) => Next::Stop,
            Ok(Input::Key(key)) => press(key, &mut first),
            // The next picture has the new size.
            Ok(Input::Resized) | Err(_) => Next::GoOn,
        };
        if sample(args, meters, &mut next_look, wait)? == Next::Stop {
            return Ok(());
        }
        terminal.draw(|frame| picture::draw(frame, meters, &mut first))?;
    }
    Ok(())
}

/// Carries out what a key stands for. `first`: the first channel in the picture.
fn press(key: KeyEvent, first: &mut usize) -> Next {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Next::Stop,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Next::Stop,
        KeyCode::Down | KeyCode::Char('j') => *first += 1,
        KeyCode::Up | KeyCode::Char('k') => *first = first.saturating_sub(1),
        _ => {}
    }
    Next::GoOn
}
