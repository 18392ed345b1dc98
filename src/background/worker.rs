//! A worker: hands over the messages of up to 30 connections, asleep in one kernel wait for all of them.

use super::callbacks::DisconnectReason;
use super::connection::Connection;
use super::core::Core;
use super::outbox::RingAtEnd;
use crate::channel::wait_set::WaitSet;
use crate::channel::Side;
use crate::error::Result;
use crate::session::{Spin, FIRST_SPINS, SPINS};
use crate::sync::spin_loop;
use crate::sys;
use crate::waiting::{Deadline, Interrupter};
use std::time::Duration;

/// A worker that does not come to sleep looks this often, in milliseconds, after connections that seem quiet.
const LOOK_AFTER: u32 = 100;

/// The pause after a wait that failed, since the next one may fail too.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Where a worker's connections come from.
pub(crate) trait Source: Send + 'static {
    fn core(&self) -> &Core;

    /// Ends the worker's waits.
    fn attention(&self) -> &Interrupter;

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
    /// No connection will come any more.
    Done,
}

/// Serves what a source gives, until the endpoint stops or no connection will come any more.
pub(crate) fn run(mut source: impl Source) {
    let mut connections = Vec::new();
    let mut round = Round { buffer: Vec::new(), first: 0, looked_after: sys::coarse_millis() };
    loop {
        source.attention().reset();
        match source.gather(&mut connections) {
            Gathered::Again => continue,
            Gathered::Done => break,
            Gathered::Serve if source.core().is_stopping() => break,
            Gathered::Serve => round.serve(&source, &mut connections),
        }
    }
    // Those that came meanwhile. From now on the thread that accepts sees that it must finish them itself.
    source.gather(&mut connections);
    for connection in connections {
        finish(&source, connection);
    }
}

/// What a worker keeps from one round to the next.
struct Round {
    buffer: Vec<u8>,
    /// Whose event is waited for first: another one's each time, so that none hides the others'.
    first: usize,
    /// When the worker looked last after connections that seem quiet.
    looked_after: u32,
}

impl Round {
    /// Does what there is to do for each connection, and sleeps if that is nothing.
    fn serve(&mut self, source: &impl Source, connections: &mut Vec<Connection>) {
        let core = source.core();
        // While some connection gives the worker no time to sleep, the wait reports no other one's end.
        if self.is_time_to_look() {
            connections.iter_mut().for_each(Connection::look_after);
            self.looked_after = sys::coarse_millis();
        }
        let mut is_busy = false;
        let mut at = 0;
        while at < connections.len() && !core.is_stopping() {
            let connection = &mut connections[at];
            connection.look_after_senders(core);
            if connection.is_ready(core) {
                match connection.hand_over(core, &mut self.buffer, core.settings.recv_batch.max(1)) {
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
        if let Err(error) = self.sleep(source, connections) {
            core.call(None, |handler| handler.error(None, error));
            pause(source.attention());
        }
    }

    fn is_time_to_look(&self) -> bool {
        sys::coarse_millis().wrapping_sub(self.looked_after) >= LOOK_AFTER
    }

    /// Looks again and again for a while, and not beyond the time when the peers' processes are to be looked after. Returns
    /// whether there is something to do.
    fn spin(&self, source: &impl Source, connections: &mut [Connection]) -> bool {
        let core = source.core();
        // The channels of one endpoint have one and the same budget.
        let budget = connections.first().map(|connection| connection.session().channel.tuning.spin);
        let Some(budget) = budget.filter(|budget| !budget.is_zero()) else { return false };
        if connections.iter().all(Connection::is_armed) {
            return false;
        }
        let looks_ready = |connections: &[Connection]| {
            spin_loop();
            connections.iter().any(|connection| connection.looks_ready(core))
        };
        // An answer that is on its way comes within these looks: no clock is read for it.
        if (0..FIRST_SPINS).any(|_| looks_ready(connections)) {
            return true;
        }
        let spin = Spin::begin(Some(budget));
        while spin.goes_on() {
            if source.attention().is_interrupted()
                || self.is_time_to_look()
                || (0..SPINS).any(|_| looks_ready(connections))
                // A peer that evicts moves on from the entry that is looked at, and one that has left sends nothing new.
                || connections.iter_mut().any(|connection| connection.look(core))
            {
                return true;
            }
        }
        false
    }

    /// Sleeps until a peer has signalled something, is gone, or another thread asks for attention.
    fn sleep(&self, source: &impl Source, connections: &mut [Connection]) -> Result<()> {
        let count = connections.len();
        let mut set = WaitSet::new();
        set.at_most(source.core().settings.wait_bound());
        // Ends first: where several objects are signalled, the wait reports the first, and a busy peer must not hide another's
        // end.
        let ends: Vec<_> = connections.iter().map(|connection| connection.wait_for_end(&mut set)).collect();
        set.event(source.attention().0.event());
        let mut signals = vec![[None; 2]; count];
        for at in (0..count).map(|at| (at + self.first) % count) {
            signals[at] = connections[at].wait_for_signals(&mut set);
        }
        let woken_by = set.wait(Deadline::NEVER)?;
        for (at, connection) in connections.iter_mut().enumerate() {
            if woken_by.is_none() || woken_by == ends[at] {
                connection.look_after();
            } else if signals[at].contains(&woken_by) {
                connection.note_signal();
            }
        }
        Ok(())
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

/// Lets some time pass after an error, unless another thread asks for attention.
pub(crate) fn pause(attention: &Interrupter) {
    let mut set = WaitSet::new();
    set.event(attention.0.event());
    set.at_most(Some(ERROR_PAUSE));
    // Where this wait fails too, the error is reported once more.
    let _ = set.wait(Deadline::NEVER);
}

/// The end of a connection when the endpoint stops: what has arrived is handed over, what is queued is sent as far as it fits.
pub(crate) fn finish(source: &impl Source, mut connection: Connection) {
    let core = source.core();
    if !core.is_stopped_by_handler() {
        // What comes from now on comes too late.
        let arrived = connection.half.stats().receive_depth;
        // That the peer is gone meanwhile changes nothing.
        let _ = connection.hand_over(core, &mut Vec::new(), arrived);
    }
    core.look_after_senders(connection.slot);
    retire(source, connection, &DisconnectReason::Stopped);
}

/// A connection is over: the handler is called for its end, and then another one may have its slot.
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
    core.look_after_senders(slot);
    // The word in the section is given back: a client's when the half is dropped, a server's by this.
    if half.session.channel.side == Side::Server {
        half.session.disconnect();
    }
    drop(half);
    let reason = if is_kicked { &DisconnectReason::Kicked } else { reason };
    core.call(Some(slot), |handler| handler.disconnected(slot, reason));
    source.ended(slot);
}
