//! The other side: a second process of this program, or a thread for lines that stay in one process.
//!
//! ```text
//!   first process ── a job, one line of JSON ──► standard input of the second
//!                 ◄── its answer ───────────────  standard output of the second
//! ```
//!
//! Pipes carry the jobs, so that no line under test is needed to test another. On both sides a thread reads the pipe, and
//! ends its process when the pipe ends: a process that spins must not outlive the other one.

use crate::bare::Page;
use crate::cores::{nanoseconds_per_tick, Cores};
use crate::line::{Buffers, End, Outcome};
use crate::{crowd, lines, spin};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first argument of a second process; what it shares with the first follows.
pub const SECOND: &str = "--run-as-second-process";
/// Round trips before each block that are not measured.
pub const WARM_UP: u64 = 16;

/// What both sides know from the start.
#[derive(Clone, Serialize, Deserialize)]
pub struct Shared {
    /// The beginning of all names. No other run has it.
    pub base: String,
    /// The core of the other side.
    pub core: Option<usize>,
    /// Descriptors that the second process inherits.
    pub inherited: Vec<i32>,
}

impl Shared {
    /// The same with other names.
    pub fn named(&self, what: &str) -> Self {
        Shared { base: format!("{}-{what}", self.base), ..self.clone() }
    }

    /// Makes the value in the first process. The sessions of a run have different names.
    pub fn new(session: usize, core: Option<usize>) -> Outcome<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let base = format!("xshm-bench-{}-{session}-{now:x}", std::process::id());
        Ok(Shared { base, core, inherited: lines::signals::inheritable()? })
    }
}

#[derive(Serialize, Deserialize)]
pub enum Job {
    /// Open the other end of a line.
    Open { line: String, address: String },
    /// Answer round trips.
    Echo { line: String, size: usize, rounds: u64 },
    /// Open the other end of one more line, and answer round trips on a new thread until the process ends.
    EchoAlways { line: String, shared: Shared, address: String, size: usize },
    /// Receive a stream; `barrier` is the next number of the page.
    Drain { line: String, size: usize, count: u64, barrier: u64 },
    /// Answer with the numbers of signals and sleeps.
    KernelCalls { line: String },
    /// Connect to an xshm server, and stay.
    Connect { server: String },
    /// Connect a client with this spin budget, or the default one, for [`Job::Answer`].
    ConnectAnswering { server: String, spin: Option<Duration> },
    /// Answer `rounds` messages, each after some work; then answer the job with the processor time used, in nanoseconds.
    Answer { server: String, work: Duration, rounds: u64 },
    /// Connect this number of clients to a multi-client server.
    Join { server: String, clients: usize },
    /// Connect one more client, for [`Job::Exchange`].
    JoinBusy { server: String },
    /// Exchange messages with a multi-client server; answer with the nanoseconds that it took.
    Exchange { server: String, size: usize, messages: u64 },
}

const CLOSED: &str = "a line that is not open";

type Answer = Result<Vec<u64>, String>;

/// What a side has open.
struct Ends {
    page: Page,
    ends: HashMap<String, Box<dyn End>>,
    connected: Vec<xshm::SharedClient>,
    crowd: crowd::Crowd,
    answering: spin::Answering,
    tick: f64,
    buffers: Buffers,
    shared: Shared,
}

impl Ends {
    fn new(shared: Shared) -> Outcome<Self> {
        if let Some(core) = shared.core {
            Cores::pin(core);
        }
        let page = Page::open(&page_name(&shared.base))?;
        let crowd = crowd::Crowd::new(&shared.base);
        let (ends, connected, buffers) = (HashMap::new(), Vec::new(), Buffers::new());
        let (answering, tick) = (spin::Answering::default(), nanoseconds_per_tick());
        Ok(Ends { page, ends, connected, crowd, answering, tick, buffers, shared })
    }

    fn work(&mut self, job: Job) -> Outcome<Vec<u64>> {
        match job {
            Job::Open { line, address } => {
                let end = lines::find(&line)?.open(&self.shared, &address)?;
                self.ends.insert(line, end);
            }
            Job::Echo { line, size, rounds } => {
                let end = self.ends.get_mut(&line).ok_or(CLOSED)?;
                end.follow(&mut self.buffers, size, WARM_UP + rounds)?;
            }
            Job::EchoAlways { line, shared, address, size } => echo_always(line, shared, address, size)?,
            Job::Drain { line, size, count, barrier } => {
                let end = self.ends.get_mut(&line).ok_or(CLOSED)?;
                self.page.follow::<true>(barrier, 1, || true);
                end.receive_all(&mut self.buffers, size, count)?;
                self.page.follow::<true>(barrier + 1, 1, || true);
            }
            Job::KernelCalls { line } => {
                let end = self.ends.get(&line).ok_or(CLOSED)?;
                return Ok(end.kernel_calls().map_or(Vec::new(), Vec::from));
            }
            Job::Connect { server } => {
                self.connected.push(xshm::SharedClient::connect(&server, crate::PATIENCE)?);
            }
            Job::ConnectAnswering { server, spin } => self.answering.connect(&server, spin)?,
            Job::Answer { server, work, rounds } => {
                let before = spin::processor_time();
                self.answering.answer(&server, work, rounds, self.tick)?;
                let used = spin::processor_time().zip(before).map(|(after, before)| after - before);
                return Ok(Vec::from_iter(used));
            }
            Job::Join { server, clients } => self.crowd.join(&server, clients)?,
            Job::JoinBusy { server } => self.crowd.join_busy(&server)?,
            Job::Exchange { server, size, messages } => {
                return Ok(vec![self.crowd.exchange(&server, size, messages)?]);
            }
        }
        Ok(Vec::new())
    }

    /// Returns an error of a job that opens something as an answer. After any other error the first side would wait in the
    /// middle of a block, so that error ends the process.
    fn answer(&mut self, job: Job) -> Outcome<Answer> {
        let may_fail = matches!(
            job,
            Job::Open { .. }
                | Job::EchoAlways { .. }
                | Job::Connect { .. }
                | Job::ConnectAnswering { .. }
                | Job::Join { .. }
                | Job::JoinBusy { .. }
        );
        match self.work(job) {
            Ok(numbers) => Ok(Ok(numbers)),
            Err(error) if may_fail => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }
}

/// Opens a line on a new thread, which then answers round trips. A line stays on the thread that opened it.
fn echo_always(line: String, shared: Shared, address: String, size: usize) -> Outcome<()> {
    let (sender, opened) = mpsc::channel();
    thread::spawn(move || {
        let end = lines::find(&line).and_then(|kind| kind.open(&shared, &address));
        let mut end = match end {
            Ok(end) => end,
            Err(error) => return drop(sender.send(Err(error.to_string()))),
        };
        if sender.send(Ok(())).is_ok() {
            let ended = end.follow(&mut Buffers::new(), size, u64::MAX);
            // The first process would wait for ever.
            eprintln!("{line}: a client of a crowd ended: {ended:?}");
            std::process::exit(1);
        }
    });
    Ok(opened.recv()??)
}

pub fn page_name(base: &str) -> String {
    format!("{base}-barrier")
}

/// The main function of a second process.
pub fn serve(shared: &str) -> Outcome<()> {
    let shared = serde_json::from_str(shared)?;
    let (sender, jobs) = mpsc::channel();
    thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(job) = line.map_err(|_| ()).and_then(|line| serde_json::from_str(&line).map_err(|_| ()))
            else {
                break;
            };
            if sender.send(job).is_err() {
                return;
            }
        }
        // Dropping the sender ends a side that waits for its next job. A side in the middle of a block would wait for ever,
        // so the process ends after a while.
        drop(sender);
        thread::sleep(crate::PATIENCE / 10);
        std::process::exit(1);
    });
    let mut ends = Ends::new(shared)?;
    for job in jobs {
        let answer = ends.answer(job)?;
        let mut output = std::io::stdout().lock();
        serde_json::to_writer(&mut output, &answer)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

/// The first side's handle to the other side.
pub struct Side {
    jobs: Jobs,
    answers: mpsc::Receiver<Answer>,
    leaving: Arc<AtomicBool>,
}

enum Jobs {
    Process { child: Child, input: Option<ChildStdin> },
    Thread(mpsc::Sender<Job>),
}

impl Side {
    pub fn process(shared: &Shared) -> Outcome<Self> {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program)
            .args([SECOND, &serde_json::to_string(shared)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("no pipe from the second process")?);
        let (sender, answers) = mpsc::channel();
        let leaving = Arc::new(AtomicBool::new(false));
        let left = leaving.clone();
        thread::spawn(move || {
            for answer in output.lines().map_while(Result::ok) {
                let answer = serde_json::from_str(&answer).unwrap_or_else(|error| Err(error.to_string()));
                if sender.send(answer).is_err() {
                    return;
                }
            }
            if !left.load(Ordering::Relaxed) {
                eprintln!("the second process ended in the middle of it");
                std::process::exit(1);
            }
        });
        Ok(Side { jobs: Jobs::Process { child, input }, answers, leaving })
    }

    pub fn thread(shared: &Shared) -> Self {
        let (jobs, received) = mpsc::channel::<Job>();
        let (sender, answers) = mpsc::channel();
        let shared = shared.clone();
        thread::spawn(move || {
            let work = || -> Outcome<()> {
                let mut ends = Ends::new(shared)?;
                for job in received {
                    sender.send(ends.answer(job)?)?;
                }
                Ok(())
            };
            if let Err(error) = work() {
                eprintln!("the second thread failed: {error}");
                std::process::exit(1);
            }
        });
        Side { jobs: Jobs::Thread(jobs), answers, leaving: Arc::default() }
    }

    pub fn give(&mut self, job: Job) -> Outcome<()> {
        match &mut self.jobs {
            Jobs::Thread(jobs) => jobs.send(job)?,
            Jobs::Process { input, .. } => {
                let line = serde_json::to_string(&job)? + "\n";
                let input = input.as_mut().ok_or("the second process has been sent away")?;
                input.write_all(line.as_bytes())?;
            }
        }
        Ok(())
    }

    pub fn answer(&mut self) -> Outcome<Vec<u64>> {
        Ok(self.answers.recv()??)
    }

    pub fn ask(&mut self, job: Job) -> Outcome<Vec<u64>> {
        self.give(job)?;
        self.answer()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Relaxed);
        if let Jobs::Process { child, input } = &mut self.jobs {
            drop(input.take());
            let _ = child.wait();
        }
    }
}
