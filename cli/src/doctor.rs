//! `xshm doctor`: whether this machine has what channels need.

mod channel;
#[cfg(target_os = "linux")]
#[path = "doctor/linux.rs"]
mod system;
#[cfg(windows)]
#[path = "doctor/windows.rs"]
mod system;

use crate::args::Doctor;
use crate::exit::{coded, FAILED};
use crate::output::{self, is_terminal, styled, BAD, BOLD, DIM, DOUBT, GOOD};
use anstyle::Style;
use serde::Serialize;

/// What a finding means for channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Nothing stands in the way.
    Ok,
    /// Something that some programs have to know.
    Note,
    /// Some programs will fail, or be slow.
    Warning,
    /// Channels do not work.
    Missing,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Note => "note",
            State::Warning => "warning",
            State::Missing => "missing",
        }
    }

    fn style(self) -> Style {
        match self {
            State::Ok => GOOD,
            State::Note => BOLD,
            State::Warning => DOUBT,
            State::Missing => BAD,
        }
    }
}

#[derive(Debug, Serialize)]
struct Finding {
    subject: &'static str,
    state: State,
    found: String,
    /// What to do, if there is something to do.
    advice: Option<String>,
}

impl Finding {
    fn new(subject: &'static str, state: State, found: impl Into<String>) -> Self {
        Finding { subject, state, found: found.into(), advice: None }
    }

    fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The lines for people. A pipe gets one line.
    fn lines(&self) -> Vec<String> {
        let state = styled(self.state.style(), format!("{:<8}", self.state.word()));
        let line = format!("{state} {:<15} {}", self.subject, output::visible(&self.found));
        match &self.advice {
            None => vec![line],
            Some(advice) if is_terminal() => {
                vec![line, styled(DIM, format!("{:24} {}", "", output::visible(advice)))]
            }
            Some(advice) => vec![format!("{line}; {}", output::visible(advice))],
        }
    }
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    findings: Vec<Finding>,
    missing: usize,
    warnings: usize,
}

pub fn run(args: &Doctor) -> anyhow::Result<()> {
    let mut findings = system::findings();
    findings.extend(processors());
    findings.extend(channel::findings());

    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (missing, warnings) = (count(State::Missing), count(State::Warning));
    if args.json {
        output::json(&Report { version: env!("CARGO_PKG_VERSION"), findings, missing, warnings })?;
    } else {
        for line in findings.iter().flat_map(Finding::lines) {
            output::line(line)?;
        }
    }
    match missing {
        0 => Ok(()),
        1 => Err(coded(FAILED, "one thing that channels need is missing")),
        count => Err(coded(FAILED, format!("{count} things that channels need are missing"))),
    }
}

/// The processors that this process may use, and how busy they are.
fn processors() -> Vec<Finding> {
    let usable = std::thread::available_parallelism().map_or(1, |count| count.get());
    let all = system::processors().unwrap_or(usable).max(usable);
    let found = match (usable, all) {
        (1, 1) => "1".to_owned(),
        _ => format!("this process may use {usable} of {all}"),
    };
    let processors = if usable > 1 {
        Finding::new("processors", State::Ok, found)
    } else {
        let found = format!(
            "{found}: by default, endpoints do not spin, and a round trip takes tens of microseconds"
        );
        let advice = if all > 1 {
            "give the process two processors or more (taskset, cpuset, the container's limit), or set `spin` in the options"
        } else {
            "nothing helps: with one processor, spinning would only delay the peer"
        };
        Finding::new("processors", State::Note, found).advice(advice)
    };
    let mut findings = vec![processors];

    let load = sysinfo::System::load_average().one;
    // Windows has no such number, and reports zero.
    if load > 0.0 {
        let found = format!("{load:.2} in the last minute, for {all} processors");
        findings.push(if load < all as f64 {
            Finding::new("load", State::Ok, found)
        } else {
            Finding::new(
                "load",
                State::Note,
                format!("{found}: a side that waits for a processor delays the other"),
            )
            .advice("stop other programs before you measure")
        });
    }
    findings
}
