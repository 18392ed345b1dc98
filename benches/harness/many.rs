//! P9: a multi-client server with more and more clients.
//!
//! ```text
//!   first process            second process        others
//!   server "alone"  ◄──────► a busy client
//!   server "many"   ◄──────► a busy client
//!                   ◄────────────────────────────► all the other clients, which wait
//! ```
//!
//! The busy clients exchange messages alternately. So the comparison is between a server with many clients and one with a
//! single client, at the same time on the same machine.

use crate::bench::{calibrate, Bench};
use crate::crowd::{counter, counter_name, COUNTER_BYTES};
use crate::figures::{Comparison, Spread};
use crate::line::Outcome;
use crate::region::Region;
use crate::report::{Goal, Row};
use crate::side::{Job, Side};
use crate::PATIENCE;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use xshm::{MultiHandler, MultiOptions, MultiServer, ServerOptions};

const SIZE: usize = 64;
/// Small rings, as the documentation advises for many channels.
const RING: usize = 16 * 1024;
const MESSAGES: usize = 64;
/// The most clients of one process.
const CLIENTS_PER_PROCESS: usize = 250;
/// Clients that share a worker thread of the server.
const CLIENTS_PER_THREAD: usize = 30;

/// Raises the limit of open files, for this process and those that it starts, to the highest value that is permitted.
pub fn allow_many_files() {
    #[cfg(target_os = "linux")]
    {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the structure is lent for the calls. If they fail, fewer clients find room, and that is reported.
        unsafe {
            if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
            }
        }
    }
}

/// Sends back what a busy client sends.
#[derive(Default)]
struct Echo(OnceLock<MultiServer>);

impl MultiHandler for Echo {
    fn on_message(&self, client: u32, data: &[u8]) {
        if let Some(server) = self.0.get() {
            // If a message cannot be sent back, the client's exchange times out, and the benchmark ends.
            let _ = server.send_to(client, data);
        }
    }
}

struct Server {
    name: String,
    echo: Arc<Echo>,
}

impl Server {
    fn start(name: String, clients: usize) -> Outcome<Self> {
        let echo = Arc::new(Echo::default());
        let options = MultiOptions { max_clients: u32::try_from(clients)?, ..MultiOptions::default() };
        // The usual default. Here it would be zero, because the process may use only one core.
        let spin = Duration::from_micros(50);
        let channels = ServerOptions::new().ring_size(RING).message_limit(MESSAGES).spin(spin);
        let server = channels.start_multi(&name, echo.clone(), options)?;
        let _ = echo.0.set(server);
        Ok(Server { name, echo })
    }

    fn get(&self) -> Outcome<&MultiServer> {
        Ok(self.echo.0.get().ok_or("the server has not started")?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(server) = self.echo.0.get() {
            server.stop();
        }
    }
}

pub fn clients(bench: &mut Bench) -> Outcome<Vec<Row>> {
    let name = counter_name(&bench.shared.base);
    let counted = counter(Region::create(&name, COUNTER_BYTES)?);
    let mut rows = Vec::new();
    for &clients in bench.plan.clients {
        eprintln!("  {clients} clients");
        match stage(bench, clients, counted) {
            Ok(more) => rows.extend(more),
            Err(error) => {
                let row = Row::new("P9", format!("{clients} clients"), "1 client", Goal::None);
                rows.push(row.missing(error));
                break;
            }
        }
    }
    Region::forget(&name);
    Ok(rows)
}

fn stage(bench: &mut Bench, clients: usize, counted: &'static AtomicU64) -> Outcome<Vec<Row>> {
    let base = bench.shared.base.clone();
    let alone = Server::start(format!("{base}-alone-{clients}"), 1)?;
    let many = Server::start(format!("{base}-many-{clients}"), clients)?;
    for server in [&alone, &many] {
        bench.process.ask(Job::JoinBusy { server: server.name.clone() })?;
    }
    let mut sides = Vec::new();
    for _ in 0..(clients - 1).div_ceil(CLIENTS_PER_PROCESS) {
        sides.push(Side::process(&bench.shared)?);
    }
    let threads_with_one = threads();
    let mut missing = clients - 1;
    for side in &mut sides {
        let some = missing.min(CLIENTS_PER_PROCESS);
        side.ask(Job::Join { server: many.name.clone(), clients: some })?;
        missing -= some;
    }
    if many.get()?.client_count() as usize != clients {
        return Err(format!("only {} clients are connected", many.get()?.client_count()).into());
    }

    let rates = exchange(bench, &alone, &many)?;
    let what = format!("rate of one busy client of {clients}");
    let mut rows = vec![Row::new("P9", what, "the only client", Goal::AtLeast(0.9)).rates(&rates)];
    if clients > 1 {
        let costs = broadcasts(bench, many.get()?, (clients - 1) as u64, counted)?;
        let what = format!("broadcast to {clients} clients");
        rows.push(Row::new("P9", what, "as many sends", Goal::AtMost(1.5)).times(&costs));
        let what = format!("threads added by {} clients", clients - 1);
        let goal = (clients - 1).div_ceil(CLIENTS_PER_THREAD);
        let row = Row::new("P9", what, "1 thread", Goal::AtMost(goal as f64));
        rows.push(match (threads_with_one, threads()) {
            (Some(before), Some(after)) => row.with(Spread::exactly((after - before) as f64), 1),
            _ => row.missing("only Linux reports it"),
        });
    }
    Ok(rows)
}

/// Measures the busy clients of both servers alternately.
fn exchange(bench: &mut Bench, alone: &Server, many: &Server) -> Outcome<Comparison> {
    let (blocks, block) = (bench.plan.blocks, 2 * bench.plan.stream);
    let side = &mut bench.process;
    let mut run = |server: &Server, messages| -> Outcome<f64> {
        let took = side.ask(Job::Exchange { server: server.name.clone(), size: SIZE, messages })?;
        Ok(*took.first().ok_or("an answer without a time")? as f64 / messages as f64)
    };
    let messages = calibrate(block, |messages| run(alone, messages))?;
    run(many, messages)?;
    let mut comparison = Comparison::default();
    let mut before = run(alone, messages)?;
    for _ in 0..blocks {
        let figure = run(many, messages)?;
        let after = run(alone, messages)?;
        comparison.add(figure, (before + after) / 2.0);
        before = after;
    }
    Ok(comparison)
}

/// Measures one broadcast, and one send to each client, alternately. All clients sleep again before each.
fn broadcasts(
    bench: &Bench, server: &MultiServer, counting: u64, counted: &AtomicU64,
) -> Outcome<Comparison> {
    let message = [0x5a; SIZE];
    let slots = server.connected_clients();
    let mut expected = counted.load(Ordering::Relaxed);
    let mut timed = |send: &dyn Fn() -> Outcome<()>| -> Outcome<f64> {
        let start = Instant::now();
        send()?;
        let took = start.elapsed().as_nanos() as f64 / slots.len() as f64;
        expected += counting;
        while counted.load(Ordering::Relaxed) < expected {
            if start.elapsed() > PATIENCE {
                return Err("a broadcast did not reach all clients".into());
            }
            thread::sleep(Duration::from_micros(200));
        }
        thread::sleep(Duration::from_millis(1));
        Ok(took)
    };
    let each = || -> Outcome<()> {
        for slot in &slots {
            server.send_to(*slot, &message)?;
        }
        Ok(())
    };
    let all = || -> Outcome<()> {
        server.broadcast(&message)?;
        Ok(())
    };
    let mut comparison = Comparison::default();
    timed(&all)?;
    let mut before = timed(&each)?;
    for _ in 0..bench.plan.blocks {
        let figure = timed(&all)?;
        let after = timed(&each)?;
        comparison.add(figure, (before + after) / 2.0);
        before = after;
    }
    Ok(comparison)
}

/// The number of threads of this process. `None`: the system does not report it. (`/proc/self` of Wine is another process.)
fn threads() -> Option<i64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}
