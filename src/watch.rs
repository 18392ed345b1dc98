//! How calls that do not wait find out that the peer has died.
//!
//! A call that waits has the kernel watch the peer's process. One that does not would never know: it makes no kernel call, and
//! a dead peer writes nothing. So each half asks the kernel every 100 ms, as long as it is used. To know the time it reads a
//! coarse clock: at each call, where calls are some milliseconds apart, and else at every 32nd, so that this costs a message
//! about a nanosecond.

use crate::error::Result;
use crate::session::Session;
use crate::sys;

/// The kernel is asked for the peer's process this often, in milliseconds.
const INTERVAL: u32 = 100;

/// Calls from one look at the clock to the next, at most.
const MOST_CALLS: u32 = 32;

/// Where that many calls take longer than this, in milliseconds, there are fewer of them between two looks.
const SLOW: u32 = 8;

/// When a half asks for the peer's process next.
pub(crate) struct PeerWatch {
    /// Calls until the next look at the clock, and from the last one to that.
    left: u32,
    calls: u32,
    /// When the clock was read last.
    looked: u32,
    /// When the kernel was asked last.
    asked: u32,
}

impl PeerWatch {
    pub(crate) fn new() -> Self {
        let now = sys::coarse_millis();
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
        let now = sys::coarse_millis();
        let is_slow = now.wrapping_sub(self.looked) >= SLOW;
        self.looked = now;
        self.calls = if is_slow { 1 } else { (self.calls * 2).min(MOST_CALLS) };
        self.left = self.calls;
        if now.wrapping_sub(self.asked) < INTERVAL {
            return Ok(());
        }
        self.asked = now;
        session.check_process_when_due()
    }
}
