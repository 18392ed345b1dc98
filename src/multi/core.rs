//! What the threads of a multi-client server share.

use super::handler::{MultiHandler, MultiOptions};
use super::inbox::{Inbox, Member};
use super::slots::{ClientId, Slots};
use crate::auto::handler::catch_panic;
use crate::auto::DisconnectReason;
use crate::error::{Result, ShmError};
use crate::halves::SendHalf;
use crate::naming::ChannelName;
use crate::sys;
use crate::threads::Threads;
use crate::waiting::Interrupter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// What the threads of a server share.
pub(super) struct Core {
    pub(super) handler: Box<dyn MultiHandler>,
    pub(super) options: MultiOptions,
    pub(super) name: ChannelName,
    pub(super) slots: Slots,
    pub(super) workers: Vec<Arc<Inbox>>,
    /// Ends the waits of the thread of this name, which resets it and looks at what was changed before.
    pub(super) acceptor: Interrupter,
    pub(super) stopping: AtomicBool,
    /// Stopped by the handler: nothing more is handed over.
    pub(super) stopped_by_handler: AtomicBool,
    pub(super) threads: Arc<Threads>,
    pub(super) created_in: sys::OwningProcess,
}

impl Core {
    /// Calls the handler. What it panics with is reported to it; a panic in that call is ignored.
    pub(super) fn call(&self, client: Option<u32>, call: impl FnOnce(&dyn MultiHandler)) {
        let handler = &*self.handler;
        if let Err(error) = catch_panic(|| call(handler)) {
            let _ = catch_panic(|| handler.on_error(client, error));
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn is_stopped_by_handler(&self) -> bool {
        self.stopped_by_handler.load(Ordering::Acquire)
    }

    pub(super) fn check_process(&self) -> Result<()> {
        if self.created_in.is_current() {
            Ok(())
        } else {
            Err(ShmError::Forked)
        }
    }

    pub(super) fn worker(&self, slot: u32) -> &Arc<Inbox> {
        &self.workers[(slot / self.options.slots_per_worker()) as usize]
    }

    pub(super) fn send<T>(
        &self, client: ClientId, send: impl FnOnce(&mut SendHalf) -> Result<T>,
    ) -> Result<T> {
        self.check_process()?;
        let outcome = self.slots.with(client, |held| send(&mut held.sender))?;
        if matches!(outcome, Err(ShmError::Corrupted)) {
            // Found here, and the worker may sleep.
            self.worker(client.slot()).attention.interrupt();
        }
        outcome
    }

    /// A client is gone: its slot comes free when the handler has been called.
    pub(super) fn retire(&self, member: Member, reason: &DisconnectReason) {
        let slot = member.slot;
        let held = self.slots.vacate(slot);
        let kicked = held.as_ref().is_some_and(|held| held.kicked);
        let reason = if kicked { &DisconnectReason::Kicked } else { reason };
        member.half.session.disconnect();
        // The last use of the channel.
        drop((held, member));
        self.call(Some(slot), |handler| handler.on_client_disconnect_because(slot, reason));
        self.slots.free(slot);
        // A client may wait for it.
        self.acceptor.interrupt();
    }

    pub(super) fn request_stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.acceptor.interrupt();
        for worker in &self.workers {
            worker.attention.interrupt();
        }
    }
}
