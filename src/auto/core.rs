//! What the worker and the senders of an auto endpoint share.

use super::handler::{catch_panic, AutoHandler, AutoOptions, AutoStatsSnapshot, ChannelKind};
use super::link::Link;
use crate::channel::Side;
use crate::error::Result;
use crate::sync::{Condvar, Mutex};
use crate::sys;
use crate::threads::Threads;
use crate::waiting::Interrupter;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

/// What the worker and the senders share.
pub(crate) struct Shared {
    pub(super) handler: Box<dyn AutoHandler>,
    pub(super) options: AutoOptions,
    /// The direction in which this side sends.
    pub(super) sends: ChannelKind,
    pub(super) receives: ChannelKind,
    pub(super) link: Mutex<Link>,
    /// Notified when a message that found no room may find some, or never will.
    pub(super) room: Condvar,
    /// The attempt to connect is not to be cut short for news.
    pub(super) defers_wake_ups: AtomicBool,
    pub(crate) sent: AtomicU64,
    pub(super) send_overflows: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) receive_overflows: AtomicU64,
    pub(super) stopping: AtomicBool,
    /// Stopped by the handler: nothing more is handed over.
    pub(super) stopped_by_handler: AtomicBool,
    pub(super) attention: Interrupter,
    pub(super) threads: Arc<Threads>,
    pub(super) created_in: sys::OwningProcess,
}

impl Shared {
    pub(crate) fn new(
        handler: Box<dyn AutoHandler>, options: AutoOptions, attention: Interrupter, side: Side,
    ) -> Result<Self> {
        Ok(Shared {
            handler,
            options,
            sends: side.sends().into(),
            receives: side.receives().into(),
            link: Mutex::new(Link::new(side)),
            room: Condvar::new(),
            defers_wake_ups: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            send_overflows: AtomicU64::new(0),
            received: AtomicU64::new(0),
            receive_overflows: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            stopped_by_handler: AtomicBool::new(false),
            attention,
            threads: Arc::default(),
            created_in: sys::OwningProcess::current()?,
        })
    }

    /// Calls the handler. What it panics with is reported to it; a panic in that call is ignored.
    pub(super) fn call(&self, call: impl FnOnce(&dyn AutoHandler)) {
        let handler = &*self.handler;
        if let Err(error) = catch_panic(|| call(handler)) {
            let _ = catch_panic(|| handler.on_error(error));
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn on_worker(&self) -> bool {
        self.threads.is_own()
    }

    pub(super) fn stats(&self) -> AutoStatsSnapshot {
        AutoStatsSnapshot {
            sent_messages: self.sent.load(Ordering::Relaxed),
            send_overflows: self.send_overflows.load(Ordering::Relaxed),
            received_messages: self.received.load(Ordering::Relaxed),
            receive_overflows: self.receive_overflows.load(Ordering::Relaxed),
        }
    }
}
