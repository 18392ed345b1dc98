//! Records of sessions that began and ended, in order, for callbacks that run one after the other.

use super::*;
use crate::session::Session;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Mutex;

/// The reports for which on_connect, on_disconnect and on_overflow still have to be called.
#[derive(Default)]
pub(super) struct Reports(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Report>,
    /// Whether a thread is calling the callbacks. That thread continues until no report is left.
    is_reporting: bool,
}

pub(super) enum Report {
    Begin,
    End {
        error: ShmError,
        /// The error that on_disconnect reads by shm_last_error.
        reason: ShmError,
    },
    /// Messages of the last session that were not received before the next one began.
    Discarded(u64),
}

impl Reports {
    pub(super) fn push(&self, report: Report) {
        lock(&self.0).waiting.push_back(report);
    }

    /// Records the end of a session, if it is over and that was not recorded.
    pub(super) fn record_end(&self, session: &Session) {
        if let Err(error) = session.check_process() {
            self.record_end_by(session, &error);
        }
    }

    /// Records the end of the session that a call used, if the call's result shows it and it was not recorded.
    pub(super) fn record_end_from<T>(&self, session: &Session, outcome: &Result<T>) {
        if let Err(error @ (ShmError::NotConnected | ShmError::PeerDied { .. } | ShmError::Corrupted)) =
            outcome
        {
            self.record_end_by(session, error);
        }
    }

    fn record_end_by(&self, session: &Session, error: &ShmError) {
        // Claimed and put into the queue under one lock: no other report comes between.
        let mut queue = lock(&self.0);
        if session.claim_report() {
            let reason = if session.was_ended_here() { ShmError::Interrupted } else { error.clone() };
            queue.waiting.push_back(Report::End { error: error.clone(), reason });
        }
    }

    /// Takes the reports in order, and calls `each` with each of them, unless another thread does so: then that thread takes
    /// these too. Ends early if `each` returns [`ControlFlow::Break`]. The caller holds no lock.
    pub(super) fn take_each(&self, mut each: impl FnMut(Report) -> ControlFlow<()>) {
        let mut queue = lock(&self.0);
        if std::mem::replace(&mut queue.is_reporting, true) {
            return;
        }
        while let Some(report) = queue.waiting.pop_front() {
            drop(queue);
            if each(report).is_break() {
                return;
            }
            queue = lock(&self.0);
        }
        queue.is_reporting = false;
    }
}
