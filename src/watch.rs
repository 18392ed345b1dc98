//! How calls that do not wait find out that the peer has died.
//!
//! A call that waits has the kernel watch the peer's process. One that does not would never know: it makes no kernel call, and
//! a dead peer writes nothing. So each half asks the kernel from time to time: every 100 ms, as long as it is used. To read
//! the clock takes as long as a short message does. So it is read at every 32nd call at most; at every call where they are
//! 5 ms or more apart.

use crate::error::Result;
use crate::session::Session;
use crate::sync::Instant;
use std::time::Duration;

/// The peer's process is asked for this often.
const INTERVAL: Duration = Duration::from_millis(100);

/// Calls between two looks at the clock, at most.
const MOST_CALLS: u32 = 32;

/// Where that many calls take longer than this, there are fewer of them between two looks.
const SLOW: Duration = Duration::from_millis(5);

/// When a half asks for the peer's process next.
pub(crate) struct PeerWatch {
    /// Calls until the next look at the clock.
    left: u32,
    calls: u32,
    looked: Instant,
    asked: Instant,
}

impl PeerWatch {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        PeerWatch { left: 1, calls: 1, looked: now, asked: now }
    }

    /// Counts a call that does not wait, and asks for the peer's process when it is time.
    ///
    /// # Errors
    /// How the session ended.
    #[inline(always)]
    pub(crate) fn count(&mut self, session: &Session) -> Result<()> {
        self.left -= 1;
        if self.left == 0 {
            return self.look(session);
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self, session: &Session) -> Result<()> {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.looked);
        self.looked = now;
        self.calls = if passed >= SLOW { 1 } else { (self.calls * 2).min(MOST_CALLS) };
        self.left = self.calls;
        if now.saturating_duration_since(self.asked) < INTERVAL {
            return Ok(());
        }
        self.asked = now;
        session.check_process_when_due()
    }
}
