//! The thread that accepts a server's clients, and how they get their slots and their workers.

use super::handler::MultiOptions;
use super::slots::Slots;
use crate::background::callbacks::DisconnectReason;
use crate::background::connection::Connection;
use crate::background::core::{bound, Callbacks, Core, Settings};
use crate::background::outbox::{Outbox, WaitsFor};
use crate::background::worker::{self, Gathered, Source};
use crate::channel::Side;
use crate::error::{Result, ShmError};
use crate::events::Events;
use crate::halves::{ReceiveHalf, SendHalf};
use crate::layout::{FIRST_SLOT, NO_SLOT};
use crate::server::SharedServer;
use crate::session::Session;
use crate::sync::{lock, Mutex};
use crate::sys;
use crate::waiting::{Deadline, Interrupter};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// The most clients that wait for a slot. The server refuses others.
const MOST_WAITING: usize = 32;

/// How often the acceptor checks the clients that wait for a slot: they may have given up.
const WAITING_INTERVAL: Duration = Duration::from_millis(100);

/// What the threads of a server share.
struct Shared {
    core: Arc<Core>,
    slots: Slots,
    slots_per_worker: u32,
    inboxes: Vec<Inbox>,
    acceptor: Interrupter,
}

/// The clients that a worker is to serve and does not have yet.
#[derive(Default)]
struct Inbox {
    connections: Mutex<Vec<Connection>>,
    /// Whether the worker's thread was started.
    is_started: AtomicBool,
}

impl Inbox {
    fn take(&self) -> Vec<Connection> {
        std::mem::take(&mut lock(&self.connections))
    }
}

/// Starts the thread that accepts the clients of a server. `handlers_waits` ends the waits of handlers for room.
pub(super) fn start(
    server: SharedServer, handler: Box<dyn Callbacks>, options: &MultiOptions, handlers_waits: Interrupter,
) -> Result<Arc<Core>> {
    let (slots, slots_per_worker) = (options.max_clients, options.slots_per_worker());
    let settings = Settings {
        recv_batch: options.recv_batch,
        wait_bound: bound(options.poll_timeout),
        waits_for: WaitsFor::Nothing,
        lengths: server.lengths(),
        queue_limit: 0,
    };
    let workers = slots.div_ceil(slots_per_worker);
    // All that is sized by the number of slots, before anything is made for one.
    let mut outboxes = with_room_for(slots)?;
    let mut inboxes = with_room_for(workers)?;
    let mut wake_ups = with_room_for(workers.saturating_add(2))?;
    for _ in 0..workers {
        wake_ups.push(Interrupter::new()?);
    }
    let outbox = |slot: u32| Outbox::new(wake_ups[(slot / slots_per_worker) as usize].clone());
    outboxes.extend((0..slots).map(outbox));
    let acceptor = Interrupter::new()?;
    wake_ups.push(acceptor.clone());
    wake_ups.push(handlers_waits);
    let core = Core::new(Side::Server, handler, settings, outboxes, wake_ups, server.held_name())?;
    inboxes.extend((0..workers).map(|_| Inbox::default()));
    let slots = Slots::new(slots);
    let shared = Arc::new(Shared { core: core.clone(), slots, slots_per_worker, inboxes, acceptor });
    let acceptor = Acceptor { shared, server, waiting: VecDeque::new() };
    core.threads.spawn("xshm-accept", move || acceptor.run())?;
    Ok(core)
}

/// An empty list.
///
/// # Errors
/// This process has no memory for `count` elements.
fn with_room_for<T>(count: u32) -> Result<Vec<T>> {
    let mut list = Vec::new();
    let reserved = list.try_reserve_exact(count as usize);
    reserved.map_err(|_| sys::out_of_memory("making a server's slots"))?;
    Ok(list)
}

impl Shared {
    /// Whether a client has left, so that its slot is about to come free.
    fn is_one_vacating(&self) -> bool {
        (0..self.core.slot_count()).any(|slot| self.core.outbox(slot).is_ending())
    }
}

/// A worker's clients.
struct Clients {
    shared: Arc<Shared>,
    /// The worker's number.
    worker: usize,
}

impl Source for Clients {
    fn core(&self) -> &Core {
        &self.shared.core
    }

    fn wake_up(&self) -> &Interrupter {
        &self.shared.core.wake_ups[self.worker]
    }

    fn gather(&mut self, connections: &mut Vec<Connection>) -> Gathered {
        connections.extend(self.shared.inboxes[self.worker].take());
        Gathered::Serve
    }

    fn ended(&self, slot: u32) {
        // In one step, so that a slot without a client is either vacating or free.
        self.shared.core.outbox(slot).end(|| self.shared.slots.free(slot));
        // A client may wait for it.
        self.shared.acceptor.interrupt();
    }
}

/// A client that was accepted and has no slot yet.
type Accepted = (SendHalf, ReceiveHalf);

/// The thread that accepts.
struct Acceptor {
    shared: Arc<Shared>,
    server: SharedServer,
    waiting: VecDeque<Accepted>,
}

impl Acceptor {
    fn run(mut self) {
        let shared = self.shared.clone();
        loop {
            shared.acceptor.reset();
            if shared.core.is_stopping() {
                return;
            }
            self.assign_slots();
            match self.server.accept_now(&mut || {}) {
                Ok(true) => {
                    let accepted = self.server.take();
                    // The next channel comes first, so that other clients do not wait for this one. Where that fails, the next
                    // attempt to accept creates it, or reports the error.
                    let _ = self.server.prepare_next();
                    self.waiting.extend(accepted);
                    continue;
                }
                Ok(false) => {}
                Err(error) => {
                    self.report(error);
                    continue;
                }
            }
            let mut set = self.server.wait_set();
            set.event(shared.acceptor.0.event());
            set.at_most(shared.core.settings.wait_bound);
            set.at_most((!self.waiting.is_empty()).then_some(WAITING_INTERVAL));
            let waited = set.wait(Deadline::NEVER);
            drop(set);
            if let Err(error) = waited {
                self.report(error);
            }
        }
    }

    /// Reports an error, and pauses, since it may come again at once.
    fn report(&self, error: ShmError) {
        self.shared.core.call(None, |handler| handler.error(None, error));
        worker::pause(&self.shared.acceptor);
    }

    /// Gives clients their slots, in the order in which they connected. Where no slot is free, a client waits if another client
    /// has left, so that its slot is about to come free. Otherwise the server refuses it.
    fn assign_slots(&mut self) {
        let shared = self.shared.clone();
        self.waiting.retain(|(_, half)| half.session.check_process().is_ok());
        while !self.waiting.is_empty() {
            let (mut slot, mut is_one_vacating) = (shared.slots.take(), false);
            if slot.is_none() {
                is_one_vacating = shared.is_one_vacating();
                // It may have come free meanwhile.
                slot = shared.slots.take();
            }
            if let Some(slot) = slot {
                if let Some(client) = self.waiting.pop_front() {
                    self.accept(client, slot);
                }
            } else if is_one_vacating {
                for (_, half) in &self.waiting {
                    half.session.channel.view.slot_awaited().store(1, Ordering::Release);
                }
                while self.waiting.len() > MOST_WAITING {
                    self.waiting.pop_back().iter().for_each(refuse);
                }
                return;
            } else {
                self.waiting.drain(..).for_each(|client| refuse(&client));
            }
        }
    }

    /// Gives a client its slot, and gives the client to the slot's worker.
    fn accept(&self, (sender, half): Accepted, slot: u32) {
        let shared = &self.shared;
        let core = &shared.core;
        let session = half.session.clone();
        core.outbox(slot).reset_counts();
        core.outbox(slot).attach(sender, shared.slots.next_session());
        core.call(Some(slot), |handler| handler.connected(slot));
        report_slot(&session, FIRST_SLOT + u64::from(slot));
        drop(session);
        let clients = Clients { shared: shared.clone(), worker: (slot / shared.slots_per_worker) as usize };
        let inbox = &shared.inboxes[clients.worker];
        lock(&inbox.connections).push(Connection::new(slot, half));
        clients.wake_up().interrupt();
        if let Err(error) = self.start_worker(inbox, clients.worker) {
            core.call(Some(slot), |handler| handler.error(Some(slot), error.clone()));
            for connection in inbox.take() {
                worker::retire(&clients, connection, &DisconnectReason::Failed(error.clone()));
            }
        }
        // The worker may have ended before it saw the client.
        if core.is_stopping() {
            for connection in inbox.take() {
                worker::finish(&clients, connection);
            }
        }
    }

    /// Starts the thread of a worker, unless it runs. Only the thread that accepts does this.
    fn start_worker(&self, inbox: &Inbox, worker: usize) -> Result<()> {
        if !inbox.is_started.load(Ordering::Relaxed) {
            let clients = Clients { shared: self.shared.clone(), worker };
            self.shared.core.threads.spawn("xshm-multi", move || worker::run(clients))?;
            inbox.is_started.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Reports to a client that there is no slot for it.
fn refuse((_, half): &Accepted) {
    report_slot(&half.session, NO_SLOT);
    half.session.disconnect();
}

fn report_slot(session: &Session, word: u64) {
    session.channel.view.slot().store(word, Ordering::Release);
    session.channel.signal(Events::acknowledge);
}
