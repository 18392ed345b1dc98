//! How the clients of a server take turns.

use crate::error::Result;
use crate::sys::{self, Waitable};
use std::time::Duration;

/// The event by which clients of a server take turns. For each channel that it offers, the server wakes one of the clients that
/// wait, in the order in which they came. Without it clients would race for each channel: one that has just left would win
/// against one that has waited for long, and the attempts of hundreds of losers would take all the time.
pub(super) struct Admission {
    pub(super) number: u64,
    pub(super) event: sys::Event,
    /// Whether it is this client's turn, and no other one's.
    pub(super) held: bool,
}

impl Admission {
    /// How long a client waits for its turn. Then it looks without: the client whose turn it was may have died.
    pub(super) const PATIENCE: Duration = Duration::from_secs(1);

    /// Takes the turn if it is free. Returns whether it is this client's.
    pub(super) fn take(&mut self) -> Result<bool> {
        self.held =
            self.held || sys::wait_any(&[Waitable::Event(&self.event)], Some(Duration::ZERO))?.is_some();
        Ok(self.held)
    }

    /// Lets the next client have the turn that this one did not use.
    pub(super) fn give_back(&mut self) {
        if std::mem::take(&mut self.held) {
            self.event.set();
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.give_back();
    }
}
