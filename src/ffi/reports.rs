//! Sessions that began and ended, in their order, for callbacks that come one after the other.

use super::locked;
use crate::error::{Result, ShmError};
use crate::session::Session;
use std::collections::VecDeque;
use std::sync::Mutex;

/// What on_connect, on_disconnect and on_overflow have yet to be called for.
#[derive(Default)]
pub(super) struct Reports(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Report>,
    /// Whether a thread is calling them. It goes on until there are none left.
    is_reporting: bool,
}

pub(super) enum Report {
    Begin,
    End {
        error: ShmError,
        /// What on_disconnect finds by shm_last_error.
        reason: ShmError,
    },
    /// Messages of the last session that were not received before the next one began.
    Discarded(u64),
}

impl Reports {
    pub(super) fn begin(&self) {
        locked(&self.0).waiting.push_back(Report::Begin);
    }

    pub(super) fn discarded(&self, count: u64) {
        if count > 0 {
            locked(&self.0).waiting.push_back(Report::Discarded(count));
        }
    }

    /// The end of a session, where it is over and was not reported.
    pub(super) fn end_of(&self, session: &Session) {
        if let Err(error) = session.check_process() {
            self.end(session, &error);
        }
    }

    /// What a call's outcome says about the end of the session that it used, where that was not reported.
    pub(super) fn end_of_call<T>(&self, session: &Session, outcome: &Result<T>) {
        if let Err(error @ (ShmError::NotConnected | ShmError::PeerDied { .. } | ShmError::Corrupted)) =
            outcome
        {
            self.end(session, error);
        }
    }

    fn end(&self, session: &Session, error: &ShmError) {
        // Claimed and put into the queue under one lock: no other report comes between.
        let mut queue = locked(&self.0);
        if session.claim_report() {
            let reason = if session.was_ended_here() { ShmError::Interrupted } else { error.clone() };
            queue.waiting.push_back(Report::End { error: error.clone(), reason });
        }
    }

    /// Makes each report, in their order, unless another thread is doing that: then it makes these too. No lock is held.
    pub(super) fn make(&self, mut each: impl FnMut(Report)) {
        let mut queue = locked(&self.0);
        if std::mem::replace(&mut queue.is_reporting, true) {
            return;
        }
        while let Some(report) = queue.waiting.pop_front() {
            drop(queue);
            each(report);
            queue = locked(&self.0);
        }
        queue.is_reporting = false;
    }
}
