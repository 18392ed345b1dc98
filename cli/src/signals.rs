//! Ctrl-C, and the signals by which the system asks the program to end.

use anyhow::Context;
use std::time::{Duration, Instant};

/// One wish to end may come as two signals: `timeout` sends one to the program and one to its group. So the next wish counts after
/// this time.
const AGAIN: Duration = Duration::from_millis(500);

/// Calls `end` when the program should end, with `false`; and with `true` if it should still end some time later.
///
/// A hang-up that is ignored when the program starts stays ignored, as `nohup` wants it. An ignored SIGINT does not: shells start
/// programs in the background in that way, and there it is how scripts end this program in order.
pub fn on_end(mut end: impl FnMut(bool) + Send + 'static) -> anyhow::Result<()> {
    let mut first: Option<Instant> = None;
    system::on_signal(move || match first {
        None => {
            first = Some(Instant::now());
            end(false);
        }
        Some(first) if first.elapsed() >= AGAIN => end(true),
        Some(_) => {}
    })
    .context("waiting for Ctrl-C and signals")
}

/// A write beyond the limit on the size of files (`ulimit -f`) fails, and does not end the program.
pub fn let_writes_fail() {
    #[cfg(unix)]
    {
        // Nothing reads the flag: the failed write says the same. An error leaves the system's default.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Default::default());
    }
}

#[cfg(unix)]
mod system {
    use crate::threads;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    pub fn on_signal(mut call: impl FnMut() + Send + 'static) -> anyhow::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        if ignored() >> (SIGHUP - 1) & 1 == 0 {
            signals.add_signal(SIGHUP)?;
        }
        threads::start("signals", move || signals.forever().for_each(|_| call()))?;
        Ok(())
    }

    /// The signals that are ignored, as bits from the lowest on. Only Linux says it.
    fn ignored() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }
}

#[cfg(windows)]
mod system {
    pub fn on_signal(call: impl FnMut() + Send + 'static) -> anyhow::Result<()> {
        Ok(ctrlc::set_handler(call)?)
    }
}
