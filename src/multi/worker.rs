//! A worker: hands over the messages of up to 30 clients, asleep in one kernel wait for all of them.

use super::core::Core;
use super::inbox::{Inbox, Member};
use crate::auto::{worker::bound, DisconnectReason};
use crate::channel::wait_set::WaitSet;
use crate::error::{Result, ShmError};
use crate::session::{SPINS, SPIN_YIELD_AFTER};
use crate::sync::spin_loop;
use crate::waiting::Deadline;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// A worker that doesn't come to sleep looks this often after clients that seem quiet.
const LOOK_AFTER: Duration = Duration::from_millis(100);

impl Member {
    /// Whether there's something to do for this client.
    fn is_ready(&self) -> bool {
        self.signalled || self.half.consumer.looks_ready() || self.half.session.check().is_err()
    }

    /// Hands over up to `limit` messages. Returns whether there may be more.
    fn hand_over(&mut self, core: &Core, buffer: &mut Vec<u8>, limit: usize) -> Result<bool> {
        self.signalled = false;
        if std::mem::take(&mut self.armed) {
            self.half.disarm()?;
        }
        for _ in 0..limit {
            if let Err(over) = self.half.session.check() {
                let left = self.left.get_or_insert_with(|| self.half.stats().receive_depth);
                match left.checked_sub(1) {
                    Some(fewer) => *left = fewer,
                    None => return Err(over),
                }
            }
            let received = self.half.try_receive(buffer);
            self.report_lost(core);
            if core.is_stopped_by_handler() {
                break;
            }
            match received {
                Ok(_) => core.call(Some(self.slot), |handler| handler.on_message(self.slot, buffer)),
                Err(ShmError::QueueEmpty | ShmError::NotReady) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether the kernel says that the client is there; and has us look what else it may have done.
    fn look_after(&mut self) {
        self.half.session.record_peer_death();
        self.signalled = true;
    }

    fn report_lost(&mut self, core: &Core) {
        let lost = self.half.consumer.lost();
        if lost > self.reported_lost {
            let count = u32::try_from(lost - self.reported_lost).unwrap_or(u32::MAX);
            self.reported_lost = lost;
            core.call(Some(self.slot), |handler| handler.on_overflow(self.slot, count));
        }
    }
}

/// Starts the thread of a worker, if it doesn't run. Only the thread that accepts does this.
pub(super) fn start(inbox: &Arc<Inbox>, core: &Arc<Core>) -> Result<()> {
    if !inbox.started.load(Ordering::Relaxed) {
        let (worker, shared) = (Worker(inbox.clone()), core.clone());
        core.threads.spawn("xshm-multi", move || worker.run(&shared))?;
        inbox.started.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// The thread that serves the clients of an inbox.
struct Worker(Arc<Inbox>);

impl Worker {
    fn run(&self, core: &Core) {
        let mut members: Vec<Member> = Vec::new();
        let mut buffer = Vec::new();
        // Whose event is looked at first: another one's each time, so that none hides the others'.
        let mut first = 0;
        let mut looked_after = Instant::now();
        loop {
            self.0.attention.reset();
            members.extend(self.0.members());
            if core.is_stopping() {
                break;
            }
            // While some client gives us no time to sleep, the wait reports no other one's end.
            if looked_after.elapsed() >= LOOK_AFTER {
                members.iter_mut().for_each(Member::look_after);
                looked_after = Instant::now();
            }
            let mut busy = false;
            let mut at = 0;
            while at < members.len() && !core.is_stopping() {
                let member = &mut members[at];
                if !member.is_ready() {
                    at += 1;
                    continue;
                }
                match member.hand_over(core, &mut buffer, core.options.recv_batch.max(1)) {
                    Ok(more) => {
                        busy |= more;
                        at += 1;
                    }
                    Err(error) => core.retire(members.swap_remove(at), &DisconnectReason::of(error)),
                }
            }
            let look_after = looked_after + LOOK_AFTER;
            if busy || core.is_stopping() || self.spin(&members, look_after) || arm(&mut members) {
                continue;
            }
            first += 1;
            if let Err(error) = self.sleep(core, &mut members, first) {
                core.call(None, |handler| handler.on_error(None, error));
            }
        }
        // Clients that were handed over meanwhile: from now on the thread that accepts sees that it must finish them itself.
        members.extend(self.0.members());
        for member in members {
            finish(core, member);
        }
    }

    /// Looks again and again for a while, and not beyond the time when the clients' processes are to be looked after.
    /// Returns whether there is something to do.
    fn spin(&self, members: &[Member], look_after: Instant) -> bool {
        // The channels of one server have one and the same budget.
        let budget = members.first().map_or(Duration::ZERO, |member| member.half.session.channel.tuning.spin);
        if budget.is_zero() || members.iter().all(|member| member.armed) {
            return false;
        }
        let end = Deadline::after(Some(budget));
        let polite = Deadline::after(Some(SPIN_YIELD_AFTER));
        while !end.has_passed() {
            if self.0.attention.is_interrupted() || Instant::now() >= look_after {
                return true;
            }
            if polite.has_passed() {
                yield_now();
            }
            for _ in 0..SPINS {
                spin_loop();
                if members.iter().any(|member| member.half.consumer.looks_ready()) {
                    return true;
                }
            }
            // A client that has left has sent nothing new.
            if members.iter().any(Member::is_ready) {
                return true;
            }
        }
        false
    }

    /// Sleeps until a client has sent something, is gone, or another thread asks for attention.
    fn sleep(&self, core: &Core, members: &mut [Member], first: usize) -> Result<()> {
        let mut set = WaitSet::new();
        set.event(self.0.attention.0.event());
        set.at_most(bound(core.options.poll_timeout));
        // Ends first: where several are signalled, the wait reports the first, and a busy client must not hide another's end.
        let mut ends = Vec::with_capacity(members.len());
        for member in members.iter() {
            let session = &member.half.session;
            ends.push(set.peer(&session.peer, session.channel.tuning.check_interval));
        }
        let mut signals = vec![None; members.len()];
        for at in (0..members.len()).map(|at| (at + first) % members.len()) {
            let channel = &members[at].half.session.channel;
            signals[at] =
                channel.events.as_ref().map(|events| set.event(events.data(channel.side.receives())));
        }
        let woken_by = set.wait(Deadline::NEVER)?;
        for (at, member) in members.iter_mut().enumerate() {
            match woken_by {
                None => member.look_after(),
                _ if woken_by == ends[at] => member.look_after(),
                _ => member.signalled |= woken_by == signals[at],
            }
        }
        Ok(())
    }
}

/// Asks every client to signal its next message. True: there's something to do already.
fn arm(members: &mut [Member]) -> bool {
    let mut ready = false;
    for member in members.iter_mut().filter(|member| !member.armed) {
        match member.half.arm() {
            Ok(false) => member.armed = true,
            // An error is found once more by who hands over.
            Ok(true) | Err(_) => ready = true,
        }
    }
    ready
}

/// The end of a client's session when the server stops: what has arrived is handed over first.
pub(super) fn finish(core: &Core, mut member: Member) {
    if !core.is_stopped_by_handler() {
        let arrived = member.half.stats().receive_depth;
        // That the client is gone meanwhile changes nothing.
        let _ = member.hand_over(core, &mut Vec::new(), arrived);
    }
    core.retire(member, &DisconnectReason::Stopped);
}
