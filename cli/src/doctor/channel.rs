//! Channels, for real: a server and a client in this process exchange messages.

use super::{Finding, State};
use crate::threads;
use core_affinity::CoreId;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::thread;
use std::time::{Duration, Instant};
use xshm::{ClientOptions, Interrupter, SharedServer, ShmError};

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long round trips are measured at most.
const TIME: Duration = Duration::from_millis(200);
const WARM_UP: usize = 500;
const ROUND_TRIPS: usize = 5000;
/// A round trip that takes longer is one between sides that sleep.
const QUICK: Duration = Duration::from_micros(5);
/// How long the measured wait should take.
const WAIT: Duration = Duration::from_millis(1);

/// The error of Linux if a process can start no more threads.
const EAGAIN: i32 = 11;

/// What a channel has shown.
struct Trial {
    round_trip: Duration,
    /// How long a wait of [`WAIT`] takes.
    wait: Duration,
}

pub fn findings() -> Vec<Finding> {
    let unique =
        format!("xshm-doctor-{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish());
    let local = attempt(&unique, None);
    let global = attempt(&format!("Global\\{unique}"), None);
    let mut findings = vec![
        outcome("channel", "a bare name", &local),
        outcome("Global channel", "a name with the prefix Global\\", &global),
    ];
    if let Some(trial) = local.as_ref().ok().or(global.as_ref().ok()) {
        let pinned = if is_slow(trial.round_trip) { pinned(&unique) } else { None };
        findings.push(round_trip(trial.round_trip, pinned));
        findings.push(wait(trial.wait));
    }
    findings
}

fn outcome(subject: &'static str, name: &str, outcome: &xshm::Result<Trial>) -> Finding {
    let error = match outcome {
        Ok(_) => {
            let found =
                format!("a server with {name} started, a client connected, and messages came through");
            return Finding::new(subject, State::Ok, found);
        }
        Err(error) => error,
    };
    let state = match error {
        // A bare name does not need it.
        ShmError::PrivilegeNotHeld { .. } => State::Note,
        _ => State::Missing,
    };
    let finding = Finding::new(subject, state, format!("a channel with {name} does not work: {error}"));
    match advice(error) {
        Some(advice) => finding.advice(advice),
        None => finding,
    }
}

fn advice(error: &ShmError) -> Option<&'static str> {
    // The numbers of Linux.
    const EPERM: i32 = 1;
    const ENOMEM: i32 = 12;
    const EACCES: i32 = 13;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const EFBIG: i32 = 27;
    const ENOSYS: i32 = 38;
    Some(match error {
        ShmError::SystemError { code: EFBIG, .. } => "ulimit -f unlimited, or a smaller `ring_size`",
        ShmError::SystemError { code: EAGAIN, .. } => threads::ADVICE,
        ShmError::SystemError { code: EMFILE, .. } => "ulimit -n 1024, or more",
        ShmError::SystemError { code: ENFILE, .. } => "sysctl fs.file-max: the whole machine has no descriptors left",
        ShmError::SystemError { code: ENOMEM, .. } => {
            "ulimit -v unlimited, a higher memory limit of the container, or a smaller `ring_size`"
        }
        ShmError::SystemError { code: EPERM | EACCES | ENOSYS, .. } => {
            "permit the call in the sandbox (seccomp, AppArmor, SELinux), or use Linux 5.3 or later; docs/linux.md lists the calls"
        }
        ShmError::PrivilegeNotHeld { .. } => {
            "run servers with such names as a service or elevated; clients and bare names need no privilege"
        }
        ShmError::Refused { .. } => {
            "start servers in an ordinary process: not in an AppContainer, below medium integrity, or while impersonating"
        }
        ShmError::WindowsError { .. } => "look up the status; allow the program in antivirus software and other guards",
        _ => return None,
    })
}

/// Whether the two sides slept although they could have spun.
fn is_slow(round_trip: Duration) -> bool {
    round_trip >= QUICK && thread::available_parallelism().is_ok_and(|count| count.get() > 1)
}

/// The time of a round trip between two threads that stay on different processors.
fn pinned(name: &str) -> Option<Duration> {
    let cores = core_affinity::get_core_ids()?;
    let pair = [*cores.first()?, *cores.last()?];
    let name = name.to_owned();
    // A thread of its own, since no thread is released from its processor.
    let trial = threads::start("pinned", move || attempt(&name, Some(pair))).ok()?.join();
    trial.ok()?.ok().map(|trial| trial.round_trip)
}

fn round_trip(time: Duration, pinned: Option<Duration>) -> Finding {
    const SUBJECT: &str = "round trip";
    let micros = |time: Duration| format!("{:.2} µs", time.as_secs_f64() * 1e6);
    let found = format!("{}, the median between two threads of this process", micros(time));
    if !is_slow(time) {
        return Finding::new(SUBJECT, State::Ok, found);
    }
    match pinned {
        Some(pinned) if pinned < time / 2 => {
            let found = format!(
                "{found}, and {} if each stays on a processor: the system ran both on one processor",
                micros(pinned)
            );
            Finding::new(SUBJECT, State::Note, found).advice(
                "keep the two sides on different processors, and set `spin`: a process with one processor does not spin by default",
            )
        }
        _ => {
            Finding::new(SUBJECT, State::Note, format!("{found}: the two sides did not run at the same time"))
                .advice("stop other programs, and look again")
        }
    }
}

fn wait(time: Duration) -> Finding {
    let found = format!("a wait with a limit of 1 ms took {:.2} ms", time.as_secs_f64() * 1e3);
    if time < 4 * WAIT {
        return Finding::new("timed wait", State::Ok, found);
    }
    let advice = if cfg!(windows) {
        "wait without a limit, or ask for more ticks of the timer (timeBeginPeriod)"
    } else {
        "look at the load"
    };
    Finding::new("timed wait", State::Note, found).advice(advice)
}

/// Opens a channel between this thread and another one, and uses it. With a pair, each thread stays on a processor.
fn attempt(name: &str, pair: Option<[CoreId; 2]>) -> xshm::Result<Trial> {
    let pin = move |at: usize| pair.is_none_or(|pair| core_affinity::set_for_current(pair[at]));
    let mut server = SharedServer::start(name)?;
    let interrupter = Interrupter::new()?;
    let options = ClientOptions::new().interrupter(interrupter.clone());
    let connect = name.to_owned();
    let client = threads::start("client", move || -> xshm::Result<()> {
        let client = options.connect(&connect, PATIENCE)?;
        // Only now: a side that begins on a thread with one processor does not spin.
        pin(1);
        let mut message = Vec::new();
        loop {
            match client.receive_from_server(&mut message) {
                Ok(_) => client.send_to_server_timeout(&message, Some(PATIENCE))?,
                Err(ShmError::NotConnected) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    });
    let client = client.map_err(|_| ShmError::SystemError { code: EAGAIN, context: "starting a thread" })?;
    // In slices, because a client that has failed does not come.
    let started = Instant::now();
    let accepted = loop {
        match server.wait_for_client(Some(Duration::from_millis(20))) {
            Err(ShmError::Timeout) if !client.is_finished() && started.elapsed() < PATIENCE => {}
            outcome => break outcome,
        }
    };
    let trial = accepted.and_then(|()| {
        pin(0);
        measure(&server)
    });
    if trial.is_err() {
        interrupter.interrupt();
    }
    drop(server);
    let client = client.join().unwrap_or(Err(ShmError::NotReady));
    match (trial, client) {
        (Ok(trial), client) => client.map(|()| trial),
        // The client's error says why it did not come.
        (Err(ShmError::Timeout | ShmError::NotConnected), Err(error)) if error != ShmError::Interrupted => {
            Err(error)
        }
        (Err(error), _) => Err(error),
    }
}

fn measure(server: &SharedServer) -> xshm::Result<Trial> {
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    let mut answer = Vec::new();
    let started = Instant::now();
    for number in 0..WARM_UP + ROUND_TRIPS {
        let start = Instant::now();
        server.send_to_client(&number.to_le_bytes())?;
        server.receive_from_client_timeout(&mut answer, Some(PATIENCE))?;
        if number >= WARM_UP || started.elapsed() > TIME / 2 {
            times.push(start.elapsed());
        }
        if started.elapsed() > TIME {
            break;
        }
    }
    let wait = || {
        let start = Instant::now();
        match server.receive_from_client_timeout(&mut Vec::new(), Some(WAIT)) {
            Err(ShmError::Timeout) => Ok(start.elapsed()),
            Ok(_) => Err(ShmError::NotReady),
            Err(error) => Err(error),
        }
    };
    let waits = (0..5).map(|_| wait()).collect::<xshm::Result<Vec<_>>>()?;
    Ok(Trial { round_trip: median(times), wait: median(waits) })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
