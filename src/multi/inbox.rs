//! How clients get to their worker.

use crate::error::Result;
use crate::halves::ReceiveHalf;
use crate::waiting::Interrupter;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

/// A client, as its worker has it.
pub(super) struct Member {
    pub(super) slot: u32,
    pub(super) half: ReceiveHalf,
    /// The client will signal its next message.
    pub(super) armed: bool,
    /// It has signalled something. Only an attempt to receive shows what it is: a client that evicts moves on from the
    /// place that we look at.
    pub(super) signalled: bool,
    pub(super) reported_lost: u64,
    /// Messages that were queued when the session was found over: a client that goes on writing has no part in it any more.
    pub(super) left: Option<usize>,
}

impl Member {
    pub(super) fn new(slot: u32, half: ReceiveHalf) -> Self {
        Member { slot, half, armed: false, signalled: true, reported_lost: 0, left: None }
    }
}

/// The clients that a worker is to serve, and how it is called.
pub(super) struct Inbox {
    pub(super) attention: Interrupter,
    /// Clients that the worker doesn't have yet.
    inbox: Mutex<Vec<Member>>,
    /// Whether the thread was started.
    pub(super) started: AtomicBool,
}

impl Inbox {
    pub(super) fn new() -> Result<Self> {
        let attention = Interrupter::new()?;
        Ok(Inbox { attention, inbox: Mutex::default(), started: AtomicBool::new(false) })
    }

    pub(super) fn hand(&self, member: Member) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).push(member);
        self.attention.interrupt();
    }

    /// The clients that the worker doesn't have yet.
    pub(super) fn members(&self) -> Vec<Member> {
        std::mem::take(&mut self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
