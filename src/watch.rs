//! How calls that do not wait find out that the peer has died.
//!
//! A call that waits has the kernel watch the peer's process. A call that does not wait makes no kernel call, and a dead peer
//! writes nothing. So each half asks the kernel every 100 ms, as long as it is used. To know the time it reads a coarse clock,
//! which takes about 5 ns: at each call if calls are some milliseconds apart, otherwise at every 4th, so that this costs a
//! message little more than a nanosecond.

use crate::error::Result;
use crate::session::Session;
use crate::sys;

/// The kernel is asked for the peer's process this often, in milliseconds.
const INTERVAL: u32 = 100;

/// Calls from one look at the clock to the next, if calls follow each other quickly.
const QUICK_CALLS: u32 = 4;

/// Calls are quick after this many looks in a row that found less than [`SLOW`] milliseconds since the look before.
const QUICK_LOOKS: u32 = 16;
const SLOW: u32 = 8;

/// When a half asks for the peer's process next.
pub(crate) struct PeerWatch {
    /// Calls until the next look at the clock.
    left: u32,
    /// Such looks in a row, up to [`QUICK_LOOKS`].
    quick: u32,
    /// When the clock was read last.
    looked: u32,
    /// When the kernel was asked last.
    asked: u32,
}

impl PeerWatch {
    pub(crate) fn new() -> Self {
        let now = sys::coarse_millis();
        PeerWatch { left: 1, quick: 0, looked: now, asked: now }
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

    /// The peer slept, so that the kernel was called to wake it: calls may be rare from now on.
    #[inline(always)]
    pub(crate) fn peer_slept(&mut self) {
        self.left = 1;
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self, session: &Session) -> Result<()> {
        let now = sys::coarse_millis();
        let is_slow = now.wrapping_sub(self.looked) >= SLOW;
        self.looked = now;
        self.quick = if is_slow { 0 } else { (self.quick + 1).min(QUICK_LOOKS) };
        self.left = if self.quick == QUICK_LOOKS { QUICK_CALLS } else { 1 };
        if now.wrapping_sub(self.asked) < INTERVAL {
            return Ok(());
        }
        self.asked = now;
        session.check_process_when_due()
    }
}
