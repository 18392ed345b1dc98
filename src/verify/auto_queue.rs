//! The parts of an auto endpoint that the models need: its queue, and the worker's wait for room.

use crate::background::callbacks::{ChannelKind, DisconnectReason};
use crate::background::core::{Callbacks, Core, Settings};
use crate::background::outbox::{Outbox, RingAtEnd, WaitsFor};
use crate::background::sending::{Room, ONLY};
use crate::channel::Side;
use crate::constants::RING_CAPACITY;
use crate::error::ShmError;
use crate::halves::SendHalf;
use crate::layout::Lengths;
use crate::session::Interest;
use crate::waiting::Interrupter;
use std::sync::atomic::Ordering;
use std::sync::Arc;

struct Quiet;

impl Callbacks for Quiet {
    fn starting(&self, _: &Arc<Core>) {}
    fn connected(&self, _: u32) {}
    fn disconnected(&self, _: u32, _: &DisconnectReason) {}
    fn message(&self, _: u32, _: ChannelKind, _: &[u8]) {}
    fn overflow(&self, _: u32, _: ChannelKind, _: u32) {}
    fn space_available(&self, _: u32, _: ChannelKind) {}
    fn error(&self, _: Option<u32>, _: ShmError) {}
}

const QUEUE_LIMIT: usize = 256;

/// The queue of a client that is not connected yet.
pub(crate) struct Queue(Arc<Core>);

impl Queue {
    pub(crate) fn new() -> Self {
        let wake_up = Interrupter::new().unwrap();
        let settings = Settings {
            recv_batch: 1,
            wait_bound: None,
            waits_for: WaitsFor::AnyConnection,
            lengths: Lengths::usual(RING_CAPACITY as u64),
            queue_limit: QUEUE_LIMIT,
        };
        let outboxes = vec![Outbox::new(wake_up.clone())];
        Queue(Core::new(Side::Client, Box::new(Quiet), settings, outboxes, vec![wake_up], None).unwrap())
    }

    pub(crate) fn send(&self, message: &[u8]) {
        self.0.send(ONLY, message).unwrap();
    }

    /// Sends all messages as the worker does: it sends what fits, then waits for room. Like the worker, it waits for
    /// room only if the queue says that it needs room.
    pub(crate) fn send_all(&self, sender: SendHalf, count: u64) {
        let session = sender.session.clone();
        let outbox = self.0.outbox(0);
        outbox.attach(sender, session.generation);
        loop {
            outbox.flush_and_report(QUEUE_LIMIT);
            if outbox.sent.load(Ordering::Relaxed) == count {
                break;
            }
            assert!(self.0.wants_room(0), "it waits for a message, and nothing wakes it for what is queued");
            session.wait_for(Interest::Space, None, Room { core: &self.0, slot: 0, len: None }).unwrap();
        }
        self.0.detach(0, RingAtEnd::Receivable);
    }
}
