//! How calls that do not wait find out that the peer has died.
//!
//! A call that waits has the kernel watch the peer's process. One that does not would never know: it makes no kernel call, and
//! a dead peer writes nothing. So each half asks the kernel every 100 ms, as long as it is used. It reads a clock that is coarse
//! and cheap at every 8th call, so that this costs a message next to nothing.

use crate::error::Result;
use crate::session::Session;
use crate::sys;

/// The kernel is asked for the peer's process this often, in milliseconds.
const INTERVAL: u32 = 100;

/// Calls from one look at the clock to the next.
const CALLS: u32 = 8;

/// When a half asks for the peer's process next.
pub(crate) struct PeerWatch {
    /// Calls until the next look at the clock.
    left: u32,
    /// When the kernel was asked last.
    asked: u32,
}

impl PeerWatch {
    pub(crate) fn new() -> Self {
        PeerWatch { left: 1, asked: sys::coarse_millis() }
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
        self.left = CALLS;
        let now = sys::coarse_millis();
        if now.wrapping_sub(self.asked) < INTERVAL {
            return Ok(());
        }
        self.asked = now;
        session.check_process_when_due()
    }
}
