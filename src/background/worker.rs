//! A worker: delivers the messages of up to 30 connections, and sleeps in one kernel wait for all of them.

use super::callbacks::DisconnectReason;
use super::connection::Connection;
use super::core::Core;
use super::outbox::RingAtEnd;
use crate::channel::wait_set::WaitSet;
use crate::channel::Side;
use crate::error::Result;
use crate::session::{SpinHistory, LOOKS};
use crate::sync::{spin_loop, Arc, Instant};
use crate::sys;
use crate::waiting::{Deadline, Interrupter};
use crate::watch::CHECK_INTERVAL;
use std::cell::Cell;
use std::ptr;
use std::time::Duration;

/// The pause after a wait that failed, since the next one may fail too.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Where a worker's connections come from.
pub(crate) trait Source: Send + 'static {
    fn core(&self) -> &Core;

    /// Ends the worker's waits.
    fn wake_up(&self) -> &Interrupter;

    /// Adds new connections. A source that has one connection at a time waits for it here.
    fn gather(&mut self, connections: &mut Vec<Connection>) -> Gathered;

    /// A connection of this slot has ended, and the handler has been called for its end.
    fn ended(&self, slot: u32);
}

/// What a worker does next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gathered {
    Serve,
    /// Looks whether the endpoint is stopping, and gathers again.
    Again,
    /// There is no connection, and none will come any more.
    Done,
}

thread_local! {
    /// The address of the interrupter that ends the waits of the worker on the current thread. NULL: the thread is no worker.
    static SERVING: Cell<*const ()> = const { Cell::new(ptr::null()) };
}

fn address_of(wake_up: &Interrupter) -> *const () {
    Arc::as_ptr(&wake_up.0).cast()
}

/// Whether two interrupters end the waits of the same worker.
pub(super) fn is_same(one: &Interrupter, other: &Interrupter) -> bool {
    address_of(one) == address_of(other)
}

/// Whether the current thread is the worker whose waits this interrupter ends.
pub(super) fn is_current(wake_up: &Interrupter) -> bool {
    SERVING.with(|serving| serving.get() == address_of(wake_up))
}

/// Serves what a source gives, until the endpoint stops or no connection will come any more.
pub(crate) fn run(mut source: impl Source) {
    SERVING.with(|serving| serving.set(address_of(source.wake_up())));
    let mut connections = Vec::new();
    let mut round = Round {
        buffer: Vec::new(),
        first: 0,
        checked: sys::coarse_millis(),
        spins: SpinHistory::default(),
        waits_since: None,
    };
    loop {
        source.wake_up().reset();
        match source.gather(&mut connections) {
            Gathered::Again => continue,
            Gathered::Done => return,
            Gathered::Serve if source.core().is_stopping() => break,
            Gathered::Serve => round.serve(&source, &mut connections),
        }
    }
    // Those that came meanwhile. The thread that accepts finishes those that come later: it sees that the endpoint stops.
    source.gather(&mut connections);
    for connection in connections {
        finish(&source, connection);
    }
}

/// The signals of all connections.
fn signals(connections: &[Connection]) -> u64 {
    connections.iter().map(|connection| connection.session().signals()).sum()
}

/// What a worker keeps from one round to the next.
struct Round {
    buffer: Vec<u8>,
    /// Whose event is waited for first: another one's each time, so that none hides the others'.
    first: usize,
    /// When the worker checked the peers last.
    checked: u32,
    spins: SpinHistory,
    /// When the present wait began, if its first looks found nothing.
    waits_since: Option<Instant>,
}

impl Round {
    /// Does what there is to do for each connection, and sleeps if that is nothing.
    fn serve(&mut self, source: &impl Source, connections: &mut Vec<Connection>) {
        let core = source.core();
        // A connection that keeps the worker busy must not hide another one's end, which only a wait reports.
        if self.is_time_to_check() {
            connections.iter_mut().for_each(Connection::check_peer);
            self.checked = sys::coarse_millis();
        }
        let mut is_busy = false;
        let mut at = 0;
        while at < connections.len() && !core.is_stopping() {
            let connection = &mut connections[at];
            connection.flush_senders(core);
            if connection.is_ready(core) {
                match connection.deliver(core, &mut self.buffer, core.settings.recv_batch.max(1)) {
                    Ok(more) => is_busy |= more,
                    Err(error) => {
                        retire(source, connections.swap_remove(at), &DisconnectReason::of(error));
                        // The source may have another one.
                        is_busy = true;
                        continue;
                    }
                }
            }
            at += 1;
        }
        if is_busy || core.is_stopping() || self.spin(source, connections) || arm(core, connections) {
            return;
        }
        self.first += 1;
        match self.sleep(source, connections) {
            Ok(is_signalled) => {
                if let (true, Some(begun)) = (is_signalled, self.waits_since.take()) {
                    self.spins.slept(Instant::now().saturating_duration_since(begun), true);
                    // Those of other threads, which have sent meanwhile, concern this wait.
                    self.spins.has_woken_peer(signals(connections));
                }
            }
            Err(error) => {
                core.call(None, |handler| handler.error(None, error));
                pause(source.wake_up());
            }
        }
    }

    fn is_time_to_check(&self) -> bool {
        sys::coarse_millis().wrapping_sub(self.checked) >= CHECK_INTERVAL
    }

    /// Looks again and again for a while. Returns whether there is something to do.
    fn spin(&mut self, source: &impl Source, connections: &mut [Connection]) -> bool {
        let core = source.core();
        // The channels of one endpoint have one and the same budget.
        let Some(first) = connections.first() else { return false };
        let budget = first.session().channel.tuning.spin;
        if connections.iter().all(Connection::is_armed) {
            return false;
        }
        let looks_ready = |connections: &[Connection]| {
            spin_loop();
            connections.iter().any(|connection| connection.looks_ready(core))
        };
        // An answer that is on its way comes within these looks: no clock is read for it. Looking at many connections
        // takes longer.
        let has_woken_peer = self.spins.has_woken_peer(signals(connections));
        let first_looks = self.spins.first_looks(budget, has_woken_peer);
        if (0..first_looks.div_ceil(connections.len() as u32)).any(|_| looks_ready(connections)) {
            self.spins.found_at_once(first_looks);
            return true;
        }
        self.waits_since = Some(Instant::now());
        let Some(spin) = self.spins.begin(budget, Deadline::NEVER, has_woken_peer) else { return false };
        while spin.goes_on() {
            if self.is_time_to_check() {
                // The looks below find a recorded death. The time of spinning does not begin anew.
                connections.iter().for_each(|connection| connection.session().record_peer_death());
                self.checked = sys::coarse_millis();
            }
            if source.wake_up().is_interrupted()
                || (0..LOOKS).any(|_| looks_ready(connections))
                // A peer that evicts moves on from the entry that is looked at, and one that has left sends nothing new.
                || connections.iter_mut().any(|connection| connection.look(core))
            {
                spin.end(true);
                return true;
            }
        }
        spin.end(false);
        false
    }

    /// Sleeps until a peer has signalled something or is gone, or another thread wakes the worker. Returns whether a peer has
    /// signalled.
    fn sleep(&self, source: &impl Source, connections: &mut [Connection]) -> Result<bool> {
        let count = connections.len();
        let mut set = WaitSet::new();
        set.at_most(source.core().settings.wait_bound);
        // Ends first: where several objects are signalled, the wait reports the first, and a busy peer must not hide another's
        // end.
        let ends: Vec<_> = connections.iter().map(|connection| connection.wait_for_end(&mut set)).collect();
        set.event(source.wake_up().0.event());
        let mut signals = vec![[None; 2]; count];
        for at in (0..count).map(|at| (at + self.first) % count) {
            signals[at] = connections[at].wait_for_signals(&mut set);
        }
        let woken_by = set.wait(Deadline::NEVER)?;
        let mut is_signalled = false;
        for (at, connection) in connections.iter_mut().enumerate() {
            if woken_by.is_none() || woken_by == ends[at] {
                connection.check_peer();
            } else if signals[at].contains(&woken_by) {
                connection.record_signal();
                is_signalled = true;
            }
        }
        Ok(is_signalled)
    }
}

/// Asks each peer to signal what the worker waits for. Returns whether there is something to do already.
fn arm(core: &Core, connections: &mut [Connection]) -> bool {
    let mut is_ready = false;
    for connection in connections {
        is_ready |= connection.arm(core);
    }
    is_ready
}

/// Lets some time pass after an error, unless another thread ends the wait.
pub(crate) fn pause(wake_up: &Interrupter) {
    let mut set = WaitSet::new();
    set.event(wake_up.0.event());
    set.at_most(Some(ERROR_PAUSE));
    // Where this wait fails too, the error is reported once more.
    let _ = set.wait(Deadline::NEVER);
}

/// Ends a connection because the endpoint stops: delivers what has arrived, and sends what is queued as far as it fits.
pub(crate) fn finish(source: &impl Source, mut connection: Connection) {
    let core = source.core();
    if !core.is_stopped_by_handler() {
        // What the peer sends from now on comes too late.
        let arrived = connection.half.stats().receive_depth;
        // The peer may leave meanwhile, which changes nothing.
        let _ = connection.deliver(core, &mut Vec::new(), arrived);
    }
    core.flush_senders(connection.slot);
    retire(source, connection, &DisconnectReason::Stopped);
}

/// Calls the handler for the end of a connection. Another connection may have its slot then.
pub(crate) fn retire(source: &impl Source, connection: Connection, reason: &DisconnectReason) {
    let core = source.core();
    let Connection { slot, half, .. } = connection;
    let is_stopped = *reason == DisconnectReason::Stopped;
    // The peer may have gone at the same time.
    let may_receive = is_stopped && half.session.check_process().is_ok();
    let ring = if may_receive { RingAtEnd::Receivable } else { RingAtEnd::Lost };
    let is_kicked = core.detach(slot, ring);
    if is_stopped {
        core.outbox(slot).abandon_queue();
    }
    core.flush_senders(slot);
    // The word in the section is given back: a client's when the half is dropped, a server's by this.
    if half.session.channel.side == Side::Server {
        half.session.disconnect();
    }
    drop(half);
    let reason = if is_kicked { &DisconnectReason::Kicked } else { reason };
    core.call(Some(slot), |handler| handler.disconnected(slot, reason));
    source.ended(slot);
}
