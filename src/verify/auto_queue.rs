//! What the models need of an auto endpoint: its queue, and its worker's way to wait for room.

use crate::auto::core::Shared;
use crate::auto::link::RingAtEnd;
use crate::auto::sending::Room;
use crate::auto::{AutoHandler, AutoOptions};
use crate::channel::Side;
use crate::halves::SendHalf;
use crate::session::Interest;
use crate::waiting::Interrupter;
use std::sync::atomic::Ordering;

struct Quiet;

impl AutoHandler for Quiet {}

/// The queue of a client that is not connected yet.
pub(crate) struct Queue(Shared);

impl Queue {
    pub(crate) fn new() -> Self {
        let attention = Interrupter::new().unwrap();
        Queue(Shared::new(Box::new(Quiet), AutoOptions::default(), attention, Side::Client).unwrap())
    }

    pub(crate) fn send(&self, message: &[u8]) {
        self.0.send(message).unwrap();
    }

    /// Sends all as the worker does: what fits, and then it waits; for room only where something wants some.
    pub(crate) fn send_all(&self, sender: SendHalf, count: u64) {
        let session = sender.session.clone();
        self.0.attach(sender);
        loop {
            self.0.flush_and_report();
            if self.0.sent.load(Ordering::Relaxed) == count {
                break;
            }
            assert!(self.0.wants_room(), "it waits for a message, and nothing wakes it for what is queued");
            session.wait_for(Interest::Space, None, Room(&self.0)).unwrap();
        }
        self.0.detach(RingAtEnd::Receivable);
    }
}
