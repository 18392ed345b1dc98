//! The pauses between attempts to connect.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// How long a client pauses before it tries again to connect.
///
/// ```
/// use std::time::Duration;
/// use xshm::RetryOptions;
///
/// // Pauses of 50, 100, 200, 400, ... ms, up to 10 s, each shortened by a random part of up to a half.
/// let retry = RetryOptions {
///     initial_delay: Duration::from_millis(50),
///     longest_delay: Duration::from_secs(10),
///     jitter_percent: 50,
/// };
/// # let _ = retry;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOptions {
    /// The pause after the end of a connection, and after the first attempt that failed. The default is 100 ms; at least 1 ms.
    /// Each further attempt that fails doubles the pause.
    pub initial_delay: Duration,
    /// The longest pause. The default is 2 s. If it is shorter than `initial_delay`, all pauses last as long as `initial_delay`.
    pub longest_delay: Duration,
    /// By how much a pause is shortened at random, at most, in percent of the pause. The default is 20; more than 100 counts as
    /// 100. So the clients of a server that was restarted do not all come at the same time.
    pub jitter_percent: u32,
}

impl Default for RetryOptions {
    fn default() -> Self {
        RetryOptions {
            initial_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(2),
            jitter_percent: 20,
        }
    }
}

/// The least time between two attempts to connect, so that a pause of zero does not take a processor.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// The pauses of one client.
pub(crate) struct Backoff {
    options: RetryOptions,
    /// Attempts that failed since the last connection.
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(options: RetryOptions) -> Self {
        Backoff { options, failures: 0 }
    }

    pub(crate) fn connected(&mut self) {
        self.failures = 0;
    }

    pub(crate) fn next_pause(&mut self) -> Duration {
        let doubled =
            2_u32.checked_pow(self.failures).and_then(|times| self.options.initial_delay.checked_mul(times));
        let longest = self.options.longest_delay.max(self.options.initial_delay);
        self.failures = self.failures.saturating_add(1);
        let pause = doubled.map_or(longest, |pause| pause.min(longest));
        let jitter = u64::from(self.options.jitter_percent.min(100));
        // In thousandths of a percent. The pauses of a program need no better random numbers.
        let cut = self.random() % (jitter * 1000 + 1);
        pause.saturating_sub(pause.mul_f64(cut as f64 / 100_000.0)).max(SHORTEST_PAUSE)
    }

    fn random(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (std::process::id(), Instant::now(), std::ptr::from_ref(self) as usize).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn pauses(initial_ms: u64, longest_ms: u64, jitter_percent: u32) -> Vec<Duration> {
        let options = RetryOptions {
            initial_delay: Duration::from_millis(initial_ms),
            longest_delay: Duration::from_millis(longest_ms),
            jitter_percent,
        };
        let mut backoff = Backoff::new(options);
        (0..40).map(|_| backoff.next_pause()).collect()
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let without_jitter = pauses(100, 1000, 0);
        assert_eq!(without_jitter[..5], [100, 200, 400, 800, 1000].map(Duration::from_millis));
        assert_eq!(without_jitter[39], Duration::from_secs(1));
        assert!(pauses(300, 100, 0).iter().all(|pause| *pause == Duration::from_millis(300)));
        assert!(pauses(0, 0, 0).iter().all(|pause| *pause == SHORTEST_PAUSE));
        let for_ever = RetryOptions { longest_delay: Duration::MAX, ..RetryOptions::default() };
        let mut backoff = Backoff { options: for_ever, failures: u32::MAX };
        assert!(backoff.next_pause() > Duration::from_secs(3600));
        backoff.connected();
        assert!(backoff.next_pause() <= Duration::from_millis(100));
    }

    #[test]
    fn jitter_shortens_pauses_by_different_parts() {
        let mut last = pauses(100, 100, 30);
        assert!(last
            .iter()
            .all(|pause| (Duration::from_millis(70)..=Duration::from_millis(100)).contains(pause)));
        last.sort();
        last.dedup();
        assert!(last.len() > 10, "{last:?}");
    }
}
