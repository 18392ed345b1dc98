//! A connection, as the worker that serves it has it.

use super::core::Core;
use crate::channel::wait_set::{Token, WaitSet};
use crate::error::{Result, ShmError};
use crate::halves::ReceiveHalf;
use crate::ring::Corrupted;
use crate::session::{Interest, Session};
use crate::sync::Arc;
use crate::sys::Event;
use crate::waiting::Deadline;
use crate::wake::{DATA, SPACE};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a peer's event may be shut while its process runs. A process that is ending shuts its events a little before its
/// end is known.
const SHUT_GRACE: Duration = Duration::from_secs(1);

/// Signals in a row without a message, after which the events are checked.
const VAIN_SIGNALS: u32 = 16;

pub(crate) struct Connection {
    pub(crate) slot: u32,
    pub(super) half: ReceiveHalf,
    /// What the peer was asked to signal: bits of the wake word. 0: nothing.
    armed: u32,
    /// The peer has signalled, or a look has found something. An attempt to receive shows what it is.
    signalled: bool,
    /// A sender of this side waits for room.
    wants_room: bool,
    reported_lost: u64,
    /// Messages that were queued when the session was found over: what a peer writes after that is not received.
    left: Option<usize>,
    /// Signals in a row without a message.
    vain_signals: u32,
    /// Until when the peer may keep its event shut.
    shut_until: Option<Deadline>,
}

impl Connection {
    pub(crate) fn new(slot: u32, half: ReceiveHalf) -> Self {
        Connection {
            slot,
            half,
            armed: 0,
            signalled: true,
            wants_room: false,
            reported_lost: 0,
            left: None,
            vain_signals: 0,
            shut_until: None,
        }
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.half.session
    }

    /// The events of this connection: that there are messages, and that there is room.
    fn events(&self) -> Option<[&Event; 2]> {
        let channel = &self.half.session.channel;
        let side = channel.side;
        channel.events.as_ref().map(|events| [events.data(side.receives()), events.space(side.sends())])
    }

    /// Sends what senders left to the worker, reports what they lost, and finds out whether they wait for room.
    pub(super) fn flush_senders(&mut self, core: &Core) {
        if core.flush_senders(self.slot) {
            // A handler that waited for room has taken the announcement back.
            self.armed &= DATA;
        }
        self.wants_room = core.wants_room(self.slot);
    }

    /// Whether a look at the ring shows something to do.
    pub(super) fn looks_ready(&self, core: &Core) -> bool {
        self.half.consumer.looks_ready() || (self.wants_room && core.has_room(self.slot))
    }

    /// Whether there is something to do for this connection, as far as can be seen without an attempt.
    pub(super) fn is_ready(&self, core: &Core) -> bool {
        self.signalled || self.looks_ready(core) || self.half.session.check().is_err()
    }

    /// Whether there is something to do for this connection. What is found is done in the next round.
    pub(super) fn look(&mut self, core: &Core) -> bool {
        // An error comes again when messages are delivered.
        self.signalled = self.is_ready(core) || self.half.peek() != Ok(None);
        self.signalled
    }

    /// Whether the peer has been asked for a signal that has not come yet.
    pub(super) fn is_armed(&self) -> bool {
        self.armed != 0
    }

    /// Delivers up to `limit` messages to the handler. Returns whether there may be more.
    ///
    /// # Errors
    /// How the session ended, after its last message.
    pub(super) fn deliver(&mut self, core: &Core, buffer: &mut Vec<u8>, limit: usize) -> Result<bool> {
        let was_signalled = std::mem::take(&mut self.signalled);
        self.disarm()?;
        for taken in 0..limit {
            if let Err(over) = self.half.session.check() {
                let left = self.left.get_or_insert_with(|| self.half.stats().receive_depth);
                match left.checked_sub(1) {
                    Some(fewer) => *left = fewer,
                    None => return Err(over),
                }
            }
            let received = self.half.try_receive(buffer);
            if received.is_ok() {
                core.outbox(self.slot).received.fetch_add(1, Ordering::Relaxed);
                self.vain_signals = 0;
            }
            self.report_lost(core);
            if core.is_stopped_by_handler() {
                break;
            }
            match received {
                Ok(_) => core.call(Some(self.slot), |handler| {
                    handler.message(self.slot, core.receives, buffer);
                }),
                Err(ShmError::QueueEmpty | ShmError::NotReady) => {
                    if was_signalled && taken == 0 {
                        self.check_events()?;
                    }
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Signals that come for nothing may come from an event that the peer has shut. It would wake the worker for ever. Asking
    /// takes a system call for each event, so a few signals for nothing are let pass.
    fn check_events(&mut self) -> Result<()> {
        self.vain_signals += 1;
        if self.vain_signals < VAIN_SIGNALS {
            return Ok(());
        }
        self.vain_signals = 0;
        if !self.events().is_some_and(|events| events.iter().any(|event| event.is_shut())) {
            self.shut_until = None;
            return Ok(());
        }
        let until = *self.shut_until.get_or_insert_with(|| Deadline::after(Some(SHUT_GRACE)));
        if until.has_passed() && self.session().check_process().is_ok() {
            return Err(self.session().corrupted(Corrupted("a socket of an event was shut down")));
        }
        Ok(())
    }

    /// Asks the kernel whether the peer runs, and has the next round find out what else the peer has done.
    pub(super) fn check_peer(&mut self) {
        self.half.session.record_peer_death();
        self.signalled = true;
    }

    fn report_lost(&mut self, core: &Core) {
        let lost = self.half.consumer.lost();
        if lost > self.reported_lost {
            let count = lost - std::mem::replace(&mut self.reported_lost, lost);
            core.outbox(self.slot).receive_overflows.fetch_add(count, Ordering::Relaxed);
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            core.call(Some(self.slot), |handler| handler.overflow(self.slot, core.receives, count));
        }
    }

    /// Asks the peer to signal its next message, and the next room where a sender waits for some. Returns whether there is
    /// something to do already.
    pub(super) fn arm(&mut self, core: &Core) -> bool {
        let wanted = if self.wants_room { DATA | SPACE } else { DATA };
        if self.armed & wanted == wanted {
            return false;
        }
        self.armed = wanted;
        let count = if self.wants_room { 2 } else { 1 };
        let events = self.events();
        let announced = self.session().announce_sleep(
            &[Interest::Data, Interest::Space][..count],
            events.as_ref().map_or(&[], |events| &events[..count]),
        );
        // The look after the announcement: whatever the peer does from now on is signalled.
        self.look(core) || announced.is_err()
    }

    fn disarm(&mut self) -> Result<()> {
        match std::mem::take(&mut self.armed) {
            0 => Ok(()),
            bits => self.session().own_wake().clear(bits).map_err(|what| self.session().corrupted(what)),
        }
    }

    /// Waits for the end of the peer's process.
    pub(super) fn wait_for_end<'a>(&'a self, set: &mut WaitSet<'a>) -> Option<Token> {
        let session = self.session();
        set.peer(&session.peer, session.channel.tuning.check_interval)
    }

    /// Waits for what the peer was asked to signal.
    pub(super) fn wait_for_signals<'a>(&'a self, set: &mut WaitSet<'a>) -> [Option<Token>; 2] {
        let Some([data, space]) = self.events() else { return [None; 2] };
        let awaits_room = self.armed & SPACE != 0;
        [Some(set.wake(data)), awaits_room.then(|| set.wake(space))]
    }

    pub(super) fn record_signal(&mut self) {
        self.signalled = true;
    }
}
