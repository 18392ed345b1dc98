//! A client that calls a server and waits for the answers, from any number of threads.
//!
//! There is no thread in the background. Of the threads that wait for an answer, one receives: the leader. It gives each answer
//! to the thread that waits for it. When it has its own, or its time is over, it passes the lead on.
//!
//! A server that finds the queue full evicts the oldest answers, whether their calls still wait or not. So a caller has no more calls in
//! flight than the ring has room for, however long the answers are. A call whose time is over counts until its answer comes, or for
//! [`LATE`].

use crate::calls::{self, Part, CALL_HEADER};
use crate::error::{Result, ShmError};
use crate::halves::{ReceiveHalf, SendHalf};
use crate::layout::{frame_size, Geometry};
use crate::options::ClientOptions;
use crate::session::Session;
use crate::sync::{lock, Arc, Condvar, Mutex, MutexGuard};
use crate::waiting::{Deadline, Interrupter};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How long a late answer is expected.
const LATE: Duration = Duration::from_secs(10);

/// A client that calls a server: each call sends some bytes, and waits for the answer. Any number of threads may call at the same
/// time. Dropping it leaves the server.
///
/// The server is a [`SharedServer`](crate::SharedServer) that [receives calls](crate::SharedServer::receive_call), or an
/// [`AutoServer`](crate::AutoServer) or a [`MultiServer`](crate::MultiServer) with a handler for calls
/// ([`AutoServerBuilder::on_call`](crate::AutoServerBuilder::on_call) has an example). It may answer the calls in any order.
pub struct Caller {
    interrupter: Interrupter,
    session: Arc<Session>,
    slot: Option<u32>,
    /// The most calls whose answers have not come.
    most_in_flight: usize,
    /// Notified when there are fewer, and when a thread that waits for that is to lead.
    may_call: Condvar,
    sending: Mutex<Sending>,
    /// Notified when no thread sends any more.
    may_send: Condvar,
    receiving: Mutex<(ReceiveHalf, Vec<u8>)>,
    waiting: Mutex<Waiting>,
}

/// What a [`Caller`] has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CallerStats {
    /// Calls that were sent.
    pub calls: u64,
    /// Calls that got an answer, or [`ShmError::NoAnswer`] from the server.
    pub answers: u64,
    /// Answers that no call waited for any more, and that were dropped.
    pub late_answers: u64,
    /// Messages that are no answers, and were dropped.
    pub other_messages: u64,
    /// Messages of the server that were evicted before they could be received. Answers may be among them.
    pub lost_messages: u64,
}

struct Sending {
    /// `None`: a thread is sending, and waits for room.
    half: Option<SendHalf>,
    message: Vec<u8>,
}

#[derive(Default)]
struct Waiting {
    next_id: u64,
    calls: BTreeMap<u64, Arc<Slot>>,
    /// The calls whose time was over before their answers came, and when that was.
    late: BTreeMap<u64, Instant>,
    /// Whether a thread receives.
    has_leader: bool,
    /// How the session ended.
    over: Option<ShmError>,
    stats: CallerStats,
}

/// One call that waits for its answer.
struct Slot {
    /// Changed while `waiting` is locked.
    answer: Mutex<Option<Result<Vec<u8>>>>,
    /// Whether the call has no time limit.
    waits_for_ever: bool,
    /// Whether the thread waits for `changed`. It may still be sending. Changed while `waiting` is locked.
    is_waiting: AtomicBool,
    /// Notified when the answer is there, when this thread is to lead, and when the session is over.
    changed: Condvar,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("peer", &self.session.peer.identity()).finish_non_exhaustive()
    }
}

impl Caller {
    /// Connects to the server that has the name, as [`SharedClient::connect`](crate::SharedClient::connect) does.
    ///
    /// # Errors
    /// Those of that function.
    pub fn connect(name: &str, timeout: Duration) -> Result<Self> {
        ClientOptions::default().connect_caller(name, timeout)
    }

    /// Sends some bytes, 0 to [`MAX_CALL_SIZE`](crate::MAX_CALL_SIZE) (or the channel's longest message minus 16), and waits for the answer: at most `timeout`, or without a
    /// limit.
    ///
    /// If the server's queue is full, the call waits for room, and evicts nothing. It also waits while as many answers are still to come
    /// as the ring has room for if each has the greatest length: 30 with rings of 2 MiB, one with the smallest rings. So no answer evicts
    /// another one. If the time is over, the answer is dropped when it comes, and [counted](CallerStats::late_answers); the caller expects
    /// it for 10 s.
    ///
    /// # Errors
    /// After an error the server may have got the call, and may have done what it asks for.
    ///
    /// - [`ShmError::Timeout`]. A server that answers no calls lets each call wait until then.
    /// - [`ShmError::NoAnswer`]: the server has dropped the call. Or the call has no limit, and messages were evicted that may have been
    ///   its answer.
    /// - [`ShmError::NotConnected`], [`ShmError::PeerDied`]: the server is gone; create another caller.
    /// - [`ShmError::MessageTooLarge`], [`ShmError::Interrupted`], [`ShmError::Corrupted`], [`ShmError::Forked`].
    pub fn call(&self, data: &[u8], timeout: Option<Duration>) -> Result<Vec<u8>> {
        let deadline = Deadline::after(timeout);
        let slot = Arc::new(Slot {
            answer: Mutex::new(None),
            waits_for_ever: timeout.is_none(),
            is_waiting: AtomicBool::new(false),
            changed: Condvar::new(),
        });
        // After a failure the next thread finds out why, too.
        let id = self.register(&slot, deadline).inspect_err(|_| self.may_call.notify_one())?;
        let sent = self.send(id, data, deadline);
        let was_sent = sent.is_ok();
        let answer = sent.and_then(|()| self.wait_for(&slot, deadline));
        self.forget(id, was_sent);
        answer
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    /// Begins a call when there is room for its answer.
    fn register(&self, slot: &Arc<Slot>, deadline: Deadline) -> Result<u64> {
        let mut waiting = self.waiting();
        loop {
            if let Some(over) = &waiting.over {
                return Err(over.clone());
            }
            if waiting.in_flight() < self.most_in_flight {
                break;
            }
            if deadline.has_passed() {
                return Err(ShmError::Timeout);
            }
            // Late answers are not expected for ever.
            let bound = deadline.remaining(Some(LATE)).unwrap_or(LATE);
            if !waiting.has_leader {
                // The answers that are there make room.
                let led;
                (waiting, led) = self.lead(waiting, Deadline::after(Some(bound)));
                waiting.appoint_leader();
                if led == Err(ShmError::Interrupted) {
                    return Err(ShmError::Interrupted);
                }
                continue;
            }
            waiting = self.may_call.wait_timeout(waiting, bound).unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.next_id += 1;
        let id = waiting.next_id;
        waiting.calls.insert(id, slot.clone());
        Ok(id)
    }

    /// Ends a call. Another thread leads if this one did.
    fn forget(&self, id: u64, was_sent: bool) {
        let mut waiting = self.waiting();
        if waiting.calls.remove(&id).is_some() && was_sent {
            waiting.late.insert(id, Instant::now());
        }
        waiting.appoint_leader();
        drop(waiting);
        self.may_call.notify_one();
    }

    fn send(&self, id: u64, data: &[u8], deadline: Deadline) -> Result<()> {
        let mut sending = lock(&self.sending);
        let mut half = loop {
            if let Some(half) = sending.half.take() {
                break half;
            }
            sending = match deadline.remaining(None) {
                Some(left) if left.is_zero() => return Err(ShmError::Timeout),
                Some(left) => {
                    self.may_send.wait_timeout(sending, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.may_send.wait(sending).unwrap_or_else(PoisonError::into_inner),
            };
        };
        let mut message = std::mem::take(&mut sending.message);
        let mut sent = half.check_length(data.len().saturating_add(CALL_HEADER)).and_then(|()| {
            calls::write(&mut message, Part::Call, id, data)?;
            half.try_send(&message)
        });
        if sent == Err(ShmError::QueueFull) {
            // The others find out that they have to wait, and for how long they want to.
            drop(sending);
            sent = half.send_timeout(&message, Some(deadline.remaining(None).unwrap_or(Duration::MAX)));
            sending = lock(&self.sending);
        }
        sending.half = Some(half);
        sending.message = message;
        drop(sending);
        self.may_send.notify_one();
        if sent.is_ok() {
            self.waiting().stats.calls += 1;
        }
        sent
    }

    fn wait_for(&self, slot: &Slot, deadline: Deadline) -> Result<Vec<u8>> {
        let mut waiting = self.waiting();
        loop {
            if let Some(answer) = lock(&slot.answer).take() {
                return answer;
            }
            if let Some(over) = &waiting.over {
                return Err(over.clone());
            }
            if deadline.has_passed() {
                return Err(ShmError::Timeout);
            }
            if !waiting.has_leader {
                let led;
                (waiting, led) = self.lead(waiting, deadline);
                if let Err(error) = led {
                    return lock(&slot.answer).take().unwrap_or(Err(error));
                }
                continue;
            }
            slot.is_waiting.store(true, Ordering::Relaxed);
            waiting = match deadline.remaining(None) {
                Some(left) => {
                    slot.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => slot.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
            slot.is_waiting.store(false, Ordering::Relaxed);
        }
    }

    /// Receives one message as the leader.
    ///
    /// # Errors
    /// [`ShmError::Timeout`], [`ShmError::Interrupted`]: the others go on. Another error ends all calls.
    fn lead<'a>(
        &'a self, mut waiting: MutexGuard<'a, Waiting>, deadline: Deadline,
    ) -> (MutexGuard<'a, Waiting>, Result<()>) {
        waiting.has_leader = true;
        drop(waiting);
        let received = self.receive_one(deadline);
        waiting = self.waiting();
        waiting.has_leader = false;
        match received {
            Err(ShmError::Timeout | ShmError::Interrupted) => return (waiting, received),
            // The server overwrites faster than this thread can receive.
            Ok(()) | Err(ShmError::NotReady) => {}
            Err(error) => waiting.end(&error),
        }
        (waiting, Ok(()))
    }

    /// Receives a message, and gives it to the call that it answers.
    fn receive_one(&self, deadline: Deadline) -> Result<()> {
        let mut receiving = lock(&self.receiving);
        let (half, message) = &mut *receiving;
        half.receive_timeout(message, deadline.remaining(None))?;
        let mut waiting = self.waiting();
        waiting.record_lost(half.consumer.lost());
        let (id, answer) = match calls::read(message).map(|(part, id, _)| (part, id)) {
            Some((Part::Answer, id)) => {
                // The answer gets the memory of the message, so that a long one needs no more.
                let mut answer = std::mem::take(message);
                answer.drain(..CALL_HEADER);
                (id, Ok(answer))
            }
            Some((Part::NoAnswer, id)) => (id, Err(ShmError::NoAnswer)),
            _ => {
                waiting.stats.other_messages += 1;
                return Ok(());
            }
        };
        let Some(slot) = waiting.calls.remove(&id) else {
            waiting.late.remove(&id);
            waiting.stats.late_answers += 1;
            self.may_call.notify_one();
            return Ok(());
        };
        waiting.stats.answers += 1;
        *lock(&slot.answer) = Some(answer);
        slot.changed.notify_one();
        Ok(())
    }

    /// Returns what this caller has done so far. Any thread, also while others call.
    pub fn stats(&self) -> CallerStats {
        self.waiting().stats
    }

    /// Returns the slot that a [`MultiServer`](crate::MultiServer) has given this client. `None`: the server serves one client.
    pub fn slot_id(&self) -> Option<u32> {
        self.slot
    }

    /// Returns whether the server is connected. Asks the kernel whether its process still runs.
    pub fn is_connected(&self) -> bool {
        self.session.check_process().is_ok()
    }

    /// Returns a handle by which another thread can end the calls that wait.
    pub fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }
}

impl Waiting {
    /// The calls whose answers may come.
    fn in_flight(&mut self) -> usize {
        self.late.retain(|_, since| since.elapsed() < LATE);
        self.calls.len() + self.late.len()
    }

    /// Ends the calls that would wait for ever, if messages were lost that may be their answers.
    fn record_lost(&mut self, lost: u64) {
        if std::mem::replace(&mut self.stats.lost_messages, lost) == lost {
            return;
        }
        let is_endless = |slot: &Arc<Slot>| slot.waits_for_ever && lock(&slot.answer).is_none();
        for slot in self.calls.values().filter(|slot| is_endless(slot)) {
            *lock(&slot.answer) = Some(Err(ShmError::NoAnswer));
            slot.changed.notify_one();
        }
    }

    /// Wakes a thread to lead, unless one does. A thread that still sends leads by itself when it has sent, if none does by then.
    fn appoint_leader(&self) {
        if !self.has_leader {
            let waits = |slot: &&Arc<Slot>| slot.is_waiting.load(Ordering::Relaxed);
            if let Some(slot) = self.calls.values().find(waits) {
                slot.changed.notify_one();
            }
        }
    }

    fn end(&mut self, error: &ShmError) {
        self.over = Some(error.clone());
        self.calls.values().for_each(|slot| slot.changed.notify_one());
    }
}

/// As many answers as have room in a ring, if each is as long as a message may be. Behind the last one, the end of the ring may be too
/// short for the next.
fn most_in_flight(geometry: Geometry) -> usize {
    let longest = frame_size(geometry.lengths().longest());
    let frames = (geometry.capacity() / longest).saturating_sub(1);
    usize::try_from(frames).unwrap_or(usize::MAX).clamp(1, geometry.message_limit())
}

impl ClientOptions {
    /// Connects a [`Caller`] with these options, as [`Caller::connect`] does.
    ///
    /// # Errors
    /// As [`Caller::connect`].
    pub fn connect_caller(self, name: &str, timeout: Duration) -> Result<Caller> {
        let client = self.connect(name, timeout)?;
        let (interrupter, slot) = (client.interrupter(), client.slot_id());
        let (sender, receiver) = client.take().ok_or(ShmError::NotConnected)?;
        let session = receiver.session.clone();
        let most_in_flight = most_in_flight(session.channel.view.geometry());
        Ok(Caller {
            interrupter,
            session,
            slot,
            most_in_flight,
            may_call: Condvar::new(),
            sending: Mutex::new(Sending { half: Some(sender), message: Vec::new() }),
            may_send: Condvar::new(),
            receiving: Mutex::new((receiver, Vec::new())),
            waiting: Mutex::new(Waiting::default()),
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn calls_in_flight_are_as_many_as_their_answers_have_room() {
        let most = |ring, messages| most_in_flight(Geometry::from_options(ring, messages, None).unwrap());
        assert_eq!(most(2 << 20, 250), 30);
        assert_eq!(most(2 << 20, 10), 10);
        assert_eq!(most(4096, 1), 1);
        assert_eq!(most(8192, 50), 1);
        assert_eq!(most(1 << 30, 1 << 20), 16_367);
    }
}
