//! How fast xshm is, as ratios.
//!
//! ```text
//! cargo bench --manifest-path benches/Cargo.toml
//! cargo bench --manifest-path benches/Cargo.toml -- --only P1,P3
//! cargo bench --manifest-path benches/Cargo.toml -- --compare ../other/benches/target/release/deps/xshm-0123456789abcdef
//! ci/wine.sh bench --manifest-path benches/Cargo.toml -- --quick
//! ```
//!
//! A time alone says little: it depends on the machine and on the other programs that run there. So every figure is a
//! ratio to a limit or to a peer that is measured in the same run, in short alternating blocks: reference, ours,
//! reference, ours, …, reference. The table shows the median and the spread of the ratios of many such blocks.

#[path = "../../examples/ping_pong/bare.rs"]
mod bare;
mod bench;
mod busy;
mod cores;
mod crowd;
mod curves;
mod figures;
mod line;
mod lines;
mod many;
mod other_build;
mod pace;
#[path = "../peers/mod.rs"]
mod peers;
mod pictures;
mod region;
mod report;
mod rows;
mod side;
mod spin;

use bench::{Bench, Plan};
use clap::Parser;
use cores::Cores;
use figures::Spread;
use line::Outcome;
use other_build::{OtherBuild, FOLLOW};
use report::{Report, Row};
use side::{Shared, SECOND};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long one side waits for the other before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

const FULL: Plan = Plan {
    sessions: 5,
    blocks: 40,
    round_trips: Duration::from_millis(1),
    stream: Duration::from_millis(3),
    curve_blocks: 10,
    clients: if cfg!(windows) { &[1, 20, 200] } else { &[1, 20, 200, 1000] },
};

const QUICK: Plan = Plan {
    sessions: 1,
    blocks: 3,
    round_trips: Duration::from_micros(500),
    stream: Duration::from_millis(1),
    curve_blocks: 1,
    clients: &[1, 20],
};

/// xshm against its limits and its peers
#[derive(Parser)]
struct Arguments {
    /// A few short blocks of everything: shows that it runs
    #[arg(long)]
    quick: bool,
    /// Only these sections: P1 to P6, P8 to P13, spin, peers, curves
    #[arg(long, value_delimiter = ',', value_name = "SECTION")]
    only: Vec<String>,
    /// Compare with another build of this program, in alternating blocks; `--only` names further sections
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the pictures to this folder
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
    /// Cargo gives this to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

type Section = fn(&mut Bench) -> Outcome<Vec<Row>>;

/// How often a section is measured.
enum Times {
    Once,
    /// In each session, with other processes and other memory, because the memory's place in the caches matters.
    EachSession,
}

const SECTIONS: [(&str, Times, Section); 12] = [
    ("P1", Times::EachSession, rows::round_trips),
    ("P2", Times::EachSession, rows::against_iceoryx),
    ("P3", Times::EachSession, rows::short_streams),
    ("P4", Times::EachSession, rows::long_streams),
    ("P5", Times::EachSession, rows::asleep),
    ("P6", Times::Once, rows::kernel_calls),
    ("P8", Times::Once, rows::connecting),
    ("P9", Times::Once, many::clients),
    ("P10", Times::EachSession, rows::against_signals_for_each),
    ("P13", Times::EachSession, rows::frames),
    ("spin", Times::Once, spin::budgets),
    ("peers", Times::Once, rows::peers),
];
/// The sections that are measured first, before this process is pinned to a core.
const BUSY: &str = "P11";
const PACE: &str = "P12";
/// The section that measures the points of the pictures.
const CURVES: &str = "curves";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let outcome = match (arguments.next(), arguments.next()) {
        (Some(first), Some(shared)) if first == SECOND => side::serve(&shared),
        (Some(first), Some(session)) if first == FOLLOW => other_build::follow(&FULL, &session),
        _ => measure(&Arguments::parse()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Outcome<()> {
    let wanted = |name: &str| {
        arguments.only.is_empty() && arguments.compare.is_none()
            || arguments.only.iter().any(|only| only.eq_ignore_ascii_case(name))
    };
    let known = |only: &str| {
        SECTIONS
            .iter()
            .map(|(name, ..)| *name)
            .chain([BUSY, PACE, CURVES])
            .any(|name| only.eq_ignore_ascii_case(name))
    };
    if let Some(unknown) = arguments.only.iter().find(|only| !known(only)) {
        return Err(format!("no section is called {unknown}").into());
    }
    many::allow_many_files();
    let plan = if arguments.quick { &QUICK } else { &FULL };
    let mut report = Report {
        system: std::env::consts::OS,
        wine: cores::is_wine(),
        architecture: std::env::consts::ARCH,
        processor: cores::processor(),
        bare_line_ns: 0.0,
        processors: std::thread::available_parallelism().map_or(1, Into::into),
        pinned: false,
        quick: arguments.quick,
        rows: Vec::new(),
        points: Vec::new(),
    };
    let mut unpinned = Vec::new();
    if wanted(BUSY) {
        eprintln!("{BUSY}");
        unpinned = busy::round_trips(arguments.quick)?;
    }
    if wanted(PACE) {
        eprintln!("{PACE}");
        unpinned.extend(pace::rows(arguments.quick, plan)?);
    }
    let cores = Cores::choose();
    let mut bare_lines = Vec::new();
    for session in 1..=plan.sessions {
        let mut bench = Bench::new(plan, Shared::new(session, cores.second)?)?;
        report.pinned = cores.first.is_some_and(Cores::pin);
        bare_lines.push(bench.limit()?.1);
        if let Some(program) = &arguments.compare {
            eprintln!("the other build ({session} of {})", plan.sessions);
            let mut other = OtherBuild::start(program, session, cores)?;
            report.add(other_build::compare(&mut bench, &mut other)?);
        }
        for (name, times, section) in &SECTIONS {
            if wanted(name) && (session == 1 || matches!(times, Times::EachSession)) {
                eprintln!("{name} ({session} of {})", plan.sessions);
                report.add(section(&mut bench)?);
            }
        }
        if wanted(CURVES) && session == plan.sessions {
            eprintln!("{CURVES}");
            report.points = curves::points(&mut bench)?;
        }
    }
    report.add(unpinned);
    report.bare_line_ns = Spread::of(&bare_lines).median;
    report.finish();
    print(&report);
    if let Some(path) = &arguments.json {
        std::fs::create_dir_all(path.parent().ok_or("no file to write to")?)?;
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    if let Some(folder) = &arguments.svg {
        pictures::draw(&report, folder)?;
    }
    Ok(())
}

fn print(report: &Report) {
    let Report { architecture, processor, processors, bare_line_ns, .. } = report;
    let system = if report.wine { "Wine" } else { report.system };
    let pinned = if report.pinned { "each side on its own core" } else { "the system chooses the cores" };
    let distance = if report.has_near_cores() { "near" } else { "far apart" };
    println!("Two processes, {processors} processors ({processor}), {system} on {architecture}; {pinned}.");
    println!("The two cores are {distance}: a round trip of bare lines takes {bare_line_ns:.0} ns.");
    println!("Each median is that of the ratios of alternating blocks, ours divided by the limit's or the peer's; for a");
    println!("rate more is better. The times are medians of the blocks, for a message or a round trip.\n");
    print!("{}", report.table());
    for missed in report.missed() {
        println!("below its goal: {missed}");
    }
    println!("\nP7, no wake-ups while idle, is a test: tests/idle.rs.");
}
