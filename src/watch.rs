//! Lets calls that do not wait find out that the peer has died.
//!
//! A call that waits has the kernel watch the peer's process. A call that does not wait makes no kernel call, and a
//! dead peer writes nothing. So while a half is used, its calls ask the kernel every 100 ms. To know the time, a call
//! reads a coarse clock, which takes about 5 ns. If calls are some milliseconds apart, each call reads the clock before it
//! does anything else. Otherwise every 4th call does, at its end, where a message that it has sent is already under way.

use crate::error::Result;
use crate::session::Session;
use crate::sys;

/// The milliseconds between two questions to the kernel whether the peer's process still runs.
pub(crate) const CHECK_INTERVAL: u32 = 100;

/// The number of calls per reading of the clock, if calls follow each other quickly.
const QUICK_CALLS: u32 = 3;

/// Calls count as quick after this number of successive readings of the clock that are each less than [`SLOW`] ms
/// apart.
const QUICK_READINGS: u32 = 16;
const SLOW: u32 = 8;

/// Decides when a half asks the kernel for the peer's process.
pub(crate) struct PeerWatch {
    /// The number of calls until one reads the clock at its end. Zero: the next call reads it at its beginning.
    calls_left: u32,
    /// The number of successive quick readings, up to [`QUICK_READINGS`].
    quick: u32,
    /// The time of the last reading of the clock.
    read_at: u32,
    /// The time of the last question to the kernel.
    asked_at: u32,
}

impl PeerWatch {
    pub(crate) fn new() -> Self {
        let now = sys::coarse_millis();
        PeerWatch { calls_left: 0, quick: 0, read_at: now, asked_at: now }
    }

    /// A call begins that does not wait. If the last ones were not quick, asks the kernel for the peer's process if 100 ms have
    /// passed.
    ///
    /// # Errors
    /// The reason for the session's end.
    #[inline(always)]
    pub(crate) fn begin(&mut self, session: &Session) -> Result<()> {
        if self.calls_left == 0 {
            return self.read_clock(session);
        }
        Ok(())
    }

    /// The call ends. If the last ones were quick, every third call reads the clock. What it finds is recorded: the next call
    /// fails.
    #[inline(always)]
    pub(crate) fn end(&mut self, session: &Session) {
        if self.calls_left > 0 {
            self.calls_left -= 1;
            if self.calls_left == 0 {
                // The session has the error.
                let _ = self.read_clock(session);
            }
        }
    }

    /// Does both, for a call that has nothing under way.
    ///
    /// # Errors
    /// The reason for the session's end.
    #[inline(always)]
    pub(crate) fn count(&mut self, session: &Session) -> Result<()> {
        self.begin(session)?;
        self.end(session);
        session.check()
    }

    /// Makes the next call read the clock. A half calls this after it has woken a sleeping peer, since calls may be
    /// rare from then on.
    #[inline(always)]
    pub(crate) fn peer_slept(&mut self) {
        self.calls_left = 0;
    }

    #[cold]
    #[inline(never)]
    fn read_clock(&mut self, session: &Session) -> Result<()> {
        let now = sys::coarse_millis();
        let is_slow = now.wrapping_sub(self.read_at) >= SLOW;
        self.read_at = now;
        self.quick = if is_slow { 0 } else { (self.quick + 1).min(QUICK_READINGS) };
        self.calls_left = if self.quick == QUICK_READINGS { QUICK_CALLS } else { 0 };
        if now.wrapping_sub(self.asked_at) < CHECK_INTERVAL {
            return Ok(());
        }
        self.asked_at = now;
        session.check_process_when_due()
    }
}
