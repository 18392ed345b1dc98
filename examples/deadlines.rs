//! How many calls keep a deadline while the machine is busy: processes call one server, and busy loops take the processors.
//!   cargo run --release --example deadlines                       8 processes, 500 calls each, 5 ms, 2 busy loops
//!   cargo run --release --example deadlines -- 8 500 5 2 [PERIOD_MS]
//! Each process calls once in PERIOD_MS milliseconds, by default 10, and with 0 again as soon as it has its answer. It ends with an error
//! if fewer than 99 % of the calls kept the deadline.

use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use xshm::{Caller, MultiServer, ShmError};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Makes the calls of one process. Prints how many kept the deadline, how many were late, and the slowest answer in microseconds.
fn call(name: &str, calls: u32, deadline: Duration, period: Duration) -> Result<()> {
    let caller = Caller::connect(name, Duration::from_secs(30))?;
    let (mut kept, mut late, mut slowest) = (0, 0, Duration::ZERO);
    let mut next = Instant::now();
    for number in 0..calls {
        let began = Instant::now();
        match caller.call(&number.to_le_bytes(), Some(deadline)) {
            Ok(answer) => {
                if answer != number.to_le_bytes() {
                    return Err("another answer than that to the call".into());
                }
                // The clock of the process decides, not that of the library.
                let took = began.elapsed();
                slowest = slowest.max(took);
                if took <= deadline {
                    kept += 1;
                } else {
                    late += 1;
                }
            }
            Err(ShmError::Timeout) => late += 1,
            Err(error) => return Err(error.into()),
        }
        next += period;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    println!("{kept} {late} {}", slowest.as_micros());
    Ok(())
}

fn start(arguments: &[&str]) -> Result<Child> {
    Ok(Command::new(std::env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?)
}

fn measure(arguments: &[String]) -> Result<bool> {
    let number = |at: usize, otherwise: &str| arguments.get(at).map_or(otherwise.to_owned(), String::clone);
    let (processes, calls) = (number(0, "8").parse::<u32>()?, number(1, "500"));
    let (deadline, busy, period) = (number(2, "5"), number(3, "2").parse::<u32>()?, number(4, "10"));
    let name = format!("deadlines-{}", std::process::id());
    let _server = MultiServer::builder(&name)
        .on_call(|call, bytes| {
            // The caller may have given up and gone.
            let _ = call.answer(bytes);
        })
        .start()?;
    let mut loops = (0..busy).map(|_| start(&["busy"])).collect::<Result<Vec<_>>>()?;
    let callers: Result<Vec<_>> =
        (0..processes).map(|_| start(&["call", &name, &calls, &deadline, &period])).collect();
    let (mut kept, mut late, mut slowest) = (0, 0, 0);
    for caller in callers? {
        let output = caller.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        let figures: Vec<u64> =
            text.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
        let [own_kept, own_late, own_slowest] = figures[..] else { return Err("a process failed".into()) };
        kept += own_kept;
        late += own_late;
        slowest = slowest.max(own_slowest);
    }
    for each in &mut loops {
        each.kill()?;
        each.wait()?;
    }
    let share = 100.0 * kept as f64 / (kept + late) as f64;
    println!(
        "{processes} processes, {busy} busy loops: {kept} of {} calls ({share:.2} %) had their answer within {deadline} ms; the slowest \
         answer took {slowest} us",
        kept + late
    );
    Ok(share >= 99.0)
}

fn run() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["busy"] => loop {
            std::hint::spin_loop();
        },
        ["call", name, calls, deadline, period] => {
            let millis = |text: &str| text.parse().map(Duration::from_millis);
            call(name, calls.parse()?, millis(deadline)?, millis(period)?)?;
            Ok(true)
        }
        _ => measure(&arguments),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("deadlines: {error}");
            ExitCode::FAILURE
        }
    }
}
