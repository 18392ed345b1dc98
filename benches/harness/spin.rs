//! What spinning before a sleep costs and gains: round trips with different spin budgets, in which the other side
//! prepares its answer for some time.

use crate::bare::ticks;
use crate::bench::{calibrate, Bench};
use crate::figures::{Comparison, Spread};
use crate::line::Outcome;
use crate::report::{Goal, Row};
use crate::side::Job;
use crate::PATIENCE;
use std::collections::HashMap;
use std::time::Duration;
use xshm::{ClientOptions, ServerOptions, SharedClient, SharedServer};

/// The spin budgets. The figures of all are divided by those of the first.
const BUDGETS: [(Duration, &str); 4] = [
    (Duration::ZERO, "no"),
    (Duration::from_micros(10), "10 µs"),
    (Duration::from_micros(50), "50 µs"),
    (Duration::MAX, "endless"),
];
const ANSWERS: [(Duration, &str); 3] = [
    (Duration::ZERO, "at once"),
    (Duration::from_micros(20), "after 20 µs"),
    (Duration::from_micros(200), "after 200 µs"),
];
const SIZE: usize = 64;

/// The clients of the second process, by their server's name.
#[derive(Default)]
pub struct Answering(HashMap<String, SharedClient>);

impl Answering {
    pub fn connect(&mut self, server: &str, spin: Option<Duration>) -> Outcome<()> {
        let options = spin.into_iter().fold(ClientOptions::new(), |options, spin| options.spin(spin));
        self.0.insert(server.to_owned(), options.connect(server, PATIENCE)?);
        Ok(())
    }

    /// Answers `rounds` messages, each after working for the time `work`.
    pub fn answer(&mut self, server: &str, work: Duration, rounds: u64, tick: f64) -> Outcome<()> {
        let client = self.0.get(server).ok_or("a client that is not connected")?;
        let mut message = Vec::with_capacity(SIZE);
        for _ in 0..rounds {
            client.receive_from_server(&mut message)?;
            let start = ticks();
            while ((ticks() - start) as f64) * tick < work.as_nanos() as f64 {}
            client.send_to_server(&message)?;
        }
        Ok(())
    }
}

/// The processor time of this process so far, in nanoseconds. `None`: the system does not report it precisely enough.
pub fn processor_time() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let mut usage: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the structure is lent.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut usage) } != 0;
        (!failed).then_some(usage.tv_sec as u64 * 1_000_000_000 + usage.tv_nsec as u64)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

pub fn budgets(bench: &mut Bench) -> Outcome<Vec<Row>> {
    let mut servers = Vec::new();
    for (budget, name) in BUDGETS {
        let server_name = format!("{}-spin-{name}", bench.shared.base);
        let mut server = ServerOptions::new().spin(budget).start(&server_name)?;
        bench.process.give(Job::ConnectAnswering { server: server_name.clone(), spin: Some(budget) })?;
        server.wait_for_client(Some(PATIENCE))?;
        bench.process.answer()?;
        servers.push((server, server_name));
    }
    let mut rows = Vec::new();
    for (work, how) in ANSWERS {
        let mut run = |(server, name): &(SharedServer, String), rounds: u64| -> Outcome<[f64; 2]> {
            let message = [0x5a; SIZE];
            let mut answer = Vec::with_capacity(SIZE);
            bench.process.give(Job::Answer { server: name.clone(), work, rounds })?;
            let (start, used) = (ticks(), processor_time());
            for _ in 0..rounds {
                server.send_to_client(&message)?;
                server.receive_from_client(&mut answer)?;
            }
            let elapsed = (ticks() - start) as f64 * bench.nanoseconds;
            let theirs = bench.process.answer()?;
            let ours = processor_time().zip(used).map(|(after, before)| after - before);
            let used = ours.zip(theirs.first()).map_or(f64::NAN, |(ours, theirs)| (ours + theirs) as f64);
            // The time of the work is the same for all, and does not belong to xshm.
            Ok([elapsed / rounds as f64 - work.as_nanos() as f64, used / elapsed])
        };
        let block = 4 * bench.plan.stream;
        let rounds = calibrate(block, |rounds| Ok(run(&servers[0], rounds)?[0] + work.as_nanos() as f64))?;
        let mut comparisons = [(); BUDGETS.len()].map(|()| (Comparison::default(), Vec::new()));
        for _ in 0..bench.plan.blocks {
            let [reference, _] = run(&servers[0], rounds)?;
            for (server, (comparison, used)) in servers.iter().zip(&mut comparisons) {
                let [figure, processors] = run(server, rounds)?;
                comparison.add(figure, reference);
                used.push(processors);
            }
        }
        for ((_, budget), (comparison, used)) in BUDGETS.iter().zip(&comparisons) {
            let what = format!("answer {how}, {budget} spinning");
            let mut row = Row::new("spin", what, "no spinning", Goal::None).times(comparison);
            let processors = Spread::of(used).median;
            if processors.is_finite() {
                row = row.note(format!("{processors:.2} processors busy, of both sides"));
            }
            rows.push(row);
        }
    }
    Ok(rows)
}
