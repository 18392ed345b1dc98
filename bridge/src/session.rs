//! One session: a client on one machine, the server on another, and a stream in each direction between their bridges.

use crate::hub::{Heard, Hub, Role};
use crate::inbox::{Arrival, Inbox};
use crate::of_zenoh;
use crate::outgoing::{Outgoing, Over};
use crate::wire::{Cause, ChunkHeader, Control, End, Part, Progress, Records, CHUNK_HEADER, RECORD_HEADER};
use std::any::Any;
use std::collections::VecDeque;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;
use xshm::{OwnedReceiveHalf, OwnedSendHalf, PeerHandle, ShmError, Split};
use zenoh::bytes::ZBytes;
use zenoh::key_expr::KeyExpr;
use zenoh::pubsub::Publisher;
use zenoh::Wait;

/// How long a call that waits for room waits before it looks again whether the session is over.
pub(crate) const SLICE: Duration = Duration::from_millis(200);

/// The most bytes of a chunk whose records are found at a time: as many as Zenoh has in one piece.
const PIECE: usize = 1 << 16;

/// How long a call that was interrupted pauses before it looks for room again.
const RETRY: Duration = Duration::from_millis(5);

/// What to do with a message if the ring of the local channel is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// Wait for room. The other side is held up: no message is lost.
    #[default]
    Wait,
    /// Evict the oldest messages of the ring, and report their number.
    Evict,
}

/// The local endpoint that gets the messages of a session.
pub(crate) trait Target: Send {
    /// Sends if there is room.
    fn try_send(&mut self, message: &[u8]) -> Result<(), ShmError>;
    /// Sends several messages as long as there is room, and returns how many. After an error, none was sent.
    fn try_send_batch(&mut self, messages: &[&[u8]]) -> Result<usize, ShmError>;
    /// Sends, and waits for room.
    fn send_waiting(&mut self, message: &[u8], limit: Duration) -> Result<(), ShmError>;
    /// Sends, and returns the number of evicted messages.
    fn send_evicting(&mut self, message: &[u8]) -> Result<u32, ShmError>;
    /// For the code that knows the type.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<E: Split + 'static> Target for OwnedSendHalf<E> {
    fn try_send(&mut self, message: &[u8]) -> Result<(), ShmError> {
        xshm::SendHalf::try_send(self, message)
    }

    fn try_send_batch(&mut self, messages: &[&[u8]]) -> Result<usize, ShmError> {
        xshm::SendHalf::try_send_batch(self, messages)
    }

    fn send_waiting(&mut self, message: &[u8], limit: Duration) -> Result<(), ShmError> {
        self.send_timeout(message, Some(limit))
    }

    fn send_evicting(&mut self, message: &[u8]) -> Result<u32, ShmError> {
        Ok(self.send(message)?.overwritten)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Target for PeerHandle {
    fn try_send(&mut self, message: &[u8]) -> Result<(), ShmError> {
        PeerHandle::try_send(self, message)
    }

    /// A server for many clients has no batches.
    fn try_send_batch(&mut self, _: &[&[u8]]) -> Result<usize, ShmError> {
        Ok(0)
    }

    fn send_waiting(&mut self, message: &[u8], limit: Duration) -> Result<(), ShmError> {
        PeerHandle::send_timeout(self, message, Some(limit))
    }

    fn send_evicting(&mut self, message: &[u8]) -> Result<u32, ShmError> {
        Ok(PeerHandle::send(self, message)?.overwritten)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What brings the stream into the ring of the local channel. The thread that receives from the network uses it as long as there
/// is room. Otherwise the session's thread does, which may wait.
struct Delivery {
    records: Records,
    /// The bytes of the stream that `records` has got.
    fed: u64,
    target: Option<Box<dyn Target>>,
    /// Records that had no room, in their order.
    held: VecDeque<Held>,
    /// Their bytes of the stream.
    held_bytes: u64,
    /// The chunk of these records, and how many bytes of it `records` has got.
    rest: Option<(ZBytes, usize)>,
}

impl Delivery {
    /// Whether nothing waits for room.
    fn is_clear(&self) -> bool {
        self.held.is_empty() && self.rest.is_none()
    }
}

/// A record that waits for room.
enum Held {
    Message(Vec<u8>),
    End(End),
}

/// Whether a delivery may wait for room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Try,
    Wait,
}

/// Called once, when the session is over or has to end: it ends the local peer's part.
type Hook = Box<dyn FnOnce() + Send>;

pub(crate) struct Session {
    pub(crate) id: u64,
    /// The other bridge.
    pub(crate) other: u64,
    pub(crate) hub: Arc<Hub>,
    pub(crate) outgoing: Outgoing,
    inbox: Inbox,
    delivery: Mutex<Delivery>,
    control: KeyExpr<'static>,
    publisher: Publisher<'static>,
    heard: Arc<Heard>,
    /// Whether both bridges have opened the session. Before that, no reports are sent.
    is_open: AtomicBool,
    /// How many bytes may be under way in each direction.
    window: AtomicU64,
    delivered: AtomicU64,
    /// The part of `delivered` that the other bridge knows.
    reported: AtomicU64,
    evicted: AtomicU64,
    evicted_by_other: AtomicU64,
    end: OnceLock<End>,
    /// Why the session ends in order: the local peer has gone, or a bridge stops. What was sent before is still delivered.
    closing: OnceLock<End>,
    /// At a stop: the other bridge has ended its stream too, and all of it is delivered.
    is_complete: AtomicBool,
    hook: Mutex<Option<Hook>>,
}

impl Session {
    pub(crate) fn new(hub: &Arc<Hub>, id: u64, other: u64, longest: usize) -> zenoh::Result<Arc<Self>> {
        let settings = &hub.settings;
        let session = Session {
            id,
            other,
            hub: hub.clone(),
            outgoing: Outgoing::new(settings.chunk),
            inbox: Inbox::new(2 * settings.window + settings.chunk),
            delivery: Mutex::new(Delivery {
                records: Records::new(longest),
                fed: 0,
                target: None,
                held: VecDeque::new(),
                held_bytes: 0,
                rest: None,
            }),
            control: hub.session_key(other, id, "control")?,
            publisher: hub.publisher(hub.session_key(other, id, "data")?)?,
            heard: hub.heard(other),
            is_open: AtomicBool::new(false),
            window: AtomicU64::new(settings.window as u64),
            delivered: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            evicted_by_other: AtomicU64::new(0),
            end: OnceLock::new(),
            closing: OnceLock::new(),
            is_complete: AtomicBool::new(false),
            hook: Mutex::new(None),
        };
        Ok(Arc::new(session))
    }

    fn hook(&self) -> MutexGuard<'_, Option<Hook>> {
        self.hook.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what ends the local peer's part. It is called at once if the session is over or has to end.
    pub(crate) fn on_end(&self, hook: impl FnOnce() + Send + 'static) {
        *self.hook() = Some(Box::new(hook));
        if self.end.get().is_some() || self.closing.get().is_some() {
            self.end_peer();
        }
    }

    fn end_peer(&self) {
        let hook = self.hook().take();
        if let Some(hook) = hook {
            hook();
        }
    }

    /// Why the session is over, if it is.
    pub(crate) fn ended(&self) -> Option<&End> {
        self.end.get()
    }

    /// Ends the session, if it is not over, with the cause that has closed it.
    pub(crate) fn end_in_order(&self) {
        let end = self.closing.get().cloned();
        self.end(end.unwrap_or_else(|| End::new(Cause::Failed, "the session's thread has ended")));
    }

    /// Ends the session at once. Only the first end counts.
    pub(crate) fn end(&self, end: End) {
        if self.end.set(end).is_ok() {
            self.outgoing.stop();
            self.inbox.stop();
            self.end_peer();
        }
    }

    /// Ends the session at once, and sends the reason to the other bridge.
    pub(crate) fn abort(&self, end: End) {
        if self.end.get().is_none() {
            self.send_control(&Control::End(end.clone()));
            self.end(end);
        }
    }

    /// Nothing more comes from the local peer: it has gone, or a bridge stops. Ends the stream after all that the peer has sent. A peer
    /// that is still there gets what comes until the other bridge ends its stream too.
    pub(crate) fn finish(&self, end: End) {
        if end.cause != Cause::Stopped {
            self.inbox.close();
        }
        self.outgoing.finish(self.closing.get_or_init(|| end));
    }

    /// Begins a stop: the other bridge takes nothing more from its peer, and ends its stream. When all of it is delivered here, this
    /// side ends in the same way. So the messages of both directions arrive.
    pub(crate) fn ask_to_stop(&self) {
        if self.closing.get().is_none() {
            self.send_control(&Control::Stop);
        }
    }

    /// Whether a stop has ended the session, or has to.
    pub(crate) fn has_stopped(&self) -> bool {
        self.is_open() && self.ended().is_none_or(|end| end.cause == Cause::Stopped)
    }

    /// Sends the end of the session again. The other bridge answers the report as soon as it does not know the session any more.
    pub(crate) fn repeat_end(&self) {
        if let Some(end) = self.ended() {
            self.send_control(&Control::End(end.clone()));
        }
        self.report();
    }

    /// Gives a stop up: what is not delivered yet is lost.
    pub(crate) fn give_up(&self) {
        let Progress { received, delivered, .. } = self.progress();
        let (to_other, to_peer) = (self.outgoing.undelivered(), received - delivered);
        let (to_server, to_client) = match self.hub.role {
            Role::Export => (to_peer, to_other),
            Role::Import => (to_other, to_peer),
        };
        let mut end = self.hub.stopped();
        if to_server + to_client > 0 {
            let grace = self.hub.settings.grace.as_millis();
            end.text += &format!(
                ", and about {to_client} bytes on the way to the client and {to_server} on the way to the server were not delivered \
                 within its {grace} ms (--grace-ms)"
            );
        }
        self.abort(end);
    }

    /// Whether this bridge or the other one stops.
    fn is_stopping(&self) -> bool {
        self.hub.is_stopping() || self.closing.get().is_some()
    }

    /// Whether nothing is left to deliver: not by the other bridge, and not to the local peer if that is still there.
    fn is_done(&self) -> bool {
        let peer_has_gone = self.closing.get().is_some_and(|end| end.cause != Cause::Stopped);
        (peer_has_gone || self.is_complete.load(Ordering::Acquire))
            && self.outgoing.wait_until_delivered(Some(Duration::ZERO))
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// The other bridge has opened the session too: begins to send. Of the windows of both bridges, the smaller one counts. So the
    /// other bridge cannot make this one keep more bytes than its options say.
    pub(crate) fn open(self: &Arc<Self>, window: u64) {
        if let Some(end) = self.ended() {
            // While the other bridge was asked. It could not know.
            self.send_control(&Control::End(end.clone()));
            return;
        }
        let window = window.min(self.hub.settings.window as u64);
        self.window.store(window, Ordering::Relaxed);
        self.outgoing.set_window(window);
        self.heard.record();
        self.hub.metrics.opened_sessions.increment(1);
        self.is_open.store(true, Ordering::Release);
        let session = self.clone();
        let pump = move || {
            let repeated = |count: usize| {
                session.hub.metrics.repeated_chunks.increment(count as u64);
                tracing::debug!(session = %session.name(), count, "repeats chunks");
            };
            let sent = session.outgoing.run_pump(|chunk| session.publisher.put(chunk).wait(), repeated);
            if let Err(error) = sent {
                session.end(End::new(
                    Cause::Failed,
                    format!("sending by Zenoh failed: {}", of_zenoh(error.as_ref())),
                ));
            }
        };
        if let Err(error) = thread::Builder::new().name("pump".into()).spawn(pump) {
            self.abort(End::new(Cause::Failed, format!("no thread can be started: {error}")));
        }
    }

    /// The session's name in logs.
    pub(crate) fn name(&self) -> String {
        format!("{:016x}", self.id)
    }

    fn progress(&self) -> Progress {
        // The inbox first: what it has received is at least what was delivered before.
        let delivered = self.delivered.load(Ordering::Acquire);
        let received = self.inbox.received();
        Progress { received, delivered, evicted: self.evicted.load(Ordering::Relaxed) }
    }

    fn send_control(&self, control: &Control) {
        self.hub.send_control(&self.control, control);
    }

    fn report(&self) {
        let progress = self.progress();
        self.reported.store(progress.delivered, Ordering::Relaxed);
        self.send_control(&Control::Report(progress));
    }

    /// Called at regular intervals: ends the session if the other bridge is silent, and reports to it if `reports` is set.
    pub(crate) fn tick(&self, reports: bool) {
        if self.ended().is_some() {
            return;
        }
        if self.hub.is_stopping() && self.hub.role == Role::Import {
            // The request before may be lost.
            self.ask_to_stop();
        }
        if !self.is_open() {
            return;
        }
        let silence = self.heard.silence();
        if silence > self.hub.settings.lease {
            let text = format!("the other bridge was not heard for {} ms", silence.as_millis());
            self.end(End::new(Cause::Unreachable, text));
            return;
        }
        if reports {
            self.report();
            self.outgoing.check_progress();
        }
    }

    /// Takes a chunk of the stream.
    pub(crate) fn on_data(&self, chunk: &ZBytes) {
        self.heard.record();
        let mut header = [0; CHUNK_HEADER];
        if chunk.reader().read_exact(&mut header).is_err() {
            return;
        }
        let header = ChunkHeader::decode(header);
        let arrival = self.inbox.put(header, chunk);
        if !self.deliver_at_once() {
            self.inbox.wake();
        }
        match arrival {
            Arrival::Gap => self.send_control(&Control::Repeat(self.progress())),
            Arrival::TooLong => {
                let text =
                    format!("the other bridge sent {} bytes at once, more than its window", chunk.len());
                self.abort(End::new(Cause::Failed, text));
            }
            Arrival::Taken | Arrival::GapAgain => {
                if header.wants_report {
                    self.report();
                }
            }
        }
    }

    /// The shortest way of what has arrived, as long as the local ring has room. Returns `false` if something is left for the
    /// session's thread.
    fn deliver_at_once(&self) -> bool {
        let Ok(mut delivery) = self.delivery.try_lock() else { return false };
        if delivery.target.is_none() || !delivery.is_clear() {
            return false;
        }
        if let Err(end) = self.deliver(&mut delivery, Mode::Try) {
            self.abort(end);
        }
        delivery.is_clear()
    }

    pub(crate) fn on_control(&self, control: Control) {
        self.heard.record();
        match control {
            Control::Report(progress) => self.on_report(progress),
            Control::Repeat(progress) => {
                self.on_report(progress);
                self.outgoing.repeat_from(progress.received);
            }
            Control::End(end) => self.end(end),
            Control::Unknown if !self.is_open() => {
                // The exporting bridge has not opened the session when this one stops. The thread that waits for it ends later.
                if self.hub.is_stopping() {
                    self.end(self.hub.stopped());
                    self.hub.remove(self);
                }
            }
            // The other bridge was done before this one.
            Control::Unknown if self.is_done() => self.end_in_order(),
            Control::Unknown => {
                let text = "the other bridge does not know the session: it was restarted, or has ended it";
                self.end(End::new(Cause::Unknown, text));
            }
            Control::Stop => {
                let _ = self.closing.set(self.hub.role.other().stopped());
                self.end_peer();
            }
        }
    }

    fn on_report(&self, progress: Progress) {
        self.outgoing.acknowledge(progress.received, progress.delivered);
        let before = self.evicted_by_other.fetch_max(progress.evicted, Ordering::Relaxed);
        if progress.evicted > before {
            let count = progress.evicted - before;
            self.hub.metrics.evicted_by_other_bridge.increment(count);
            tracing::debug!(session = %self.name(), count, "the other bridge evicted messages");
        }
    }

    /// Sends a message of the local peer to the other bridge, and waits for room.
    pub(crate) fn push(&self, message: &[u8]) -> Result<(), Over> {
        self.outgoing.push(message)?;
        self.hub.metrics.sent_messages.increment(1);
        self.hub.metrics.sent_bytes.increment(message.len() as u64);
        Ok(())
    }

    fn delivery(&self) -> MutexGuard<'_, Delivery> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers what arrives, until the session is over, the local peer has gone, or the other bridge has ended its stream. Then it
    /// waits until the other bridge has delivered all that the local peer had sent. Returns the target.
    pub(crate) fn run<T: Target + 'static>(&self, target: T) -> Option<T> {
        self.delivery().target = Some(Box::new(target));
        loop {
            let delivered = self.deliver(&mut self.delivery(), Mode::Wait);
            if let Err(end) = delivered {
                self.abort(end);
            }
            if self.ended().is_some() || !self.inbox.wait() {
                break;
            }
        }
        if self.ended().is_none() {
            self.outgoing.wait_until_delivered(None);
        }
        let target = self.delivery().target.take()?;
        target.into_any().downcast().ok().map(|target| *target)
    }

    /// Delivers what has arrived. Returns when that is done, when there is no room and the delivery may not wait, or when the
    /// session is over.
    fn deliver(&self, delivery: &mut Delivery, mode: Mode) -> Result<(), End> {
        while mode == Mode::Wait && self.ended().is_none() {
            match delivery.held.pop_front() {
                Some(Held::Message(message)) => {
                    self.deliver_message(delivery, mode, &message)?;
                    delivery.held_bytes -= (RECORD_HEADER + message.len()) as u64;
                    self.record_delivery(delivery);
                }
                Some(Held::End(end)) => self.end_by_other(delivery, end),
                None => break,
            }
        }
        while delivery.held.is_empty() && self.ended().is_none() {
            let next = delivery.rest.take().or_else(|| Some((self.inbox.take()?, CHUNK_HEADER)));
            let Some((chunk, fed)) = next else { break };
            self.deliver_chunk(delivery, mode, chunk, fed)?;
        }
        Ok(())
    }

    /// Delivers a chunk, without the bytes that were fed before. If there is no room, the rest waits as it is.
    fn deliver_chunk(
        &self, delivery: &mut Delivery, mode: Mode, chunk: ZBytes, mut fed: usize,
    ) -> Result<(), End> {
        let mut end = 0;
        for slice in chunk.slices() {
            let begin = end;
            end += slice.len();
            let (_, bytes) = slice.split_at(fed.saturating_sub(begin).min(slice.len()));
            for piece in bytes.chunks(PIECE) {
                if !delivery.held.is_empty() || self.ended().is_some() {
                    delivery.rest = Some((chunk.clone(), fed));
                    return Ok(());
                }
                self.feed(delivery, mode, piece)?;
                fed += piece.len();
            }
        }
        Ok(())
    }

    fn feed(&self, delivery: &mut Delivery, mode: Mode, bytes: &[u8]) -> Result<(), End> {
        let mut records = std::mem::replace(&mut delivery.records, Records::new(0));
        delivery.fed += bytes.len() as u64;
        let fed = records.feed(bytes, |part| match part {
            Part::Messages(messages) => self.deliver_messages(delivery, mode, messages),
            Part::End(end) => {
                delivery.held.push_back(Held::End(end));
                Ok(())
            }
        });
        delivery.records = records;
        // An end that waits for nothing counts now.
        if matches!(delivery.held.front(), Some(Held::End(_))) {
            if let Some(Held::End(end)) = delivery.held.pop_front() {
                self.end_by_other(delivery, end);
            }
        }
        self.record_delivery(delivery);
        fed
    }

    /// Delivers messages that follow one another. Those that have no room are held.
    fn deliver_messages(&self, delivery: &mut Delivery, mode: Mode, messages: &[&[u8]]) -> Result<(), End> {
        let mut sent = 0;
        if self.hub.settings.when_full == WhenFull::Wait && delivery.held.is_empty() && messages.len() > 1 {
            if let Some(target) = &mut delivery.target {
                // After an error none was sent. The messages then go one by one, which finds the wrong one.
                sent = target.try_send_batch(messages).unwrap_or(0);
                let bytes: usize = messages[..sent].iter().map(|message| message.len()).sum();
                self.hub.metrics.delivered_messages.increment(sent as u64);
                self.hub.metrics.delivered_bytes.increment(bytes as u64);
            }
        }
        for message in &messages[sent..] {
            if delivery.held.is_empty() && self.deliver_message(delivery, mode, message)? {
                continue;
            }
            delivery.held.push_back(Held::Message(message.to_vec()));
            delivery.held_bytes += (RECORD_HEADER + message.len()) as u64;
        }
        Ok(())
    }

    /// Records how much of the stream is delivered, and reports it to the other bridge if that is worth a message. A piece of a
    /// record counts as delivered: the bridge keeps it.
    fn record_delivery(&self, delivery: &Delivery) {
        let delivered = self.advance(delivery);
        let unknown = delivered.saturating_sub(self.reported.load(Ordering::Relaxed));
        if unknown >= self.window.load(Ordering::Relaxed) / 4 && self.ended().is_none() {
            self.report();
        }
    }

    /// Stores how much of the stream is delivered, and returns it. The number never becomes smaller: of a message that is held, a
    /// piece may have counted before.
    fn advance(&self, delivery: &Delivery) -> u64 {
        let delivered = delivery.fed - delivery.held_bytes;
        self.delivered.fetch_max(delivered, Ordering::AcqRel).max(delivered)
    }

    /// The other bridge has ended its stream, and all of it is delivered. If its peer has gone, the session is over. If a bridge stops,
    /// what the local peer has sent still goes to the other one.
    fn end_by_other(&self, delivery: &Delivery, end: End) {
        self.advance(delivery);
        self.report();
        if end.cause == Cause::Stopped {
            let _ = self.closing.set(end);
            self.is_complete.store(true, Ordering::Release);
            self.inbox.close();
            self.end_peer();
        } else {
            self.end(end);
        }
    }

    /// Returns `false` if there was no room, and the message was not delivered.
    fn deliver_message(&self, delivery: &mut Delivery, mode: Mode, message: &[u8]) -> Result<bool, End> {
        let Some(target) = &mut delivery.target else { return Ok(false) };
        let sent = match (self.hub.settings.when_full, mode) {
            (WhenFull::Evict, _) => target.send_evicting(message),
            (WhenFull::Wait, Mode::Try) => match target.try_send(message) {
                Err(ShmError::QueueFull | ShmError::Interrupted) => return Ok(false),
                sent => sent.map(|()| 0),
            },
            (WhenFull::Wait, Mode::Wait) => loop {
                match target.send_waiting(message, SLICE) {
                    Err(ShmError::Timeout) if self.ended().is_none() => {}
                    // The bridge stops, which interrupts calls. What has arrived is delivered within the grace time.
                    Err(ShmError::Interrupted) if self.ended().is_none() => thread::sleep(RETRY),
                    sent => break sent.map(|()| 0),
                }
            },
        };
        let metrics = &self.hub.metrics;
        match sent {
            Ok(evicted) => {
                if evicted > 0 {
                    self.evicted.fetch_add(u64::from(evicted), Ordering::Relaxed);
                    metrics.evicted_by_bridge.increment(u64::from(evicted));
                }
                metrics.delivered_messages.increment(1);
                metrics.delivered_bytes.increment(message.len() as u64);
                Ok(true)
            }
            // The thread that receives from the local peer finds its end too, and ends the session after the last message.
            // An interrupted or late call means that the session is over.
            Err(ShmError::NotConnected | ShmError::PeerDied { .. }) => Ok(true),
            Err(ShmError::Interrupted | ShmError::Timeout) => Ok(true),
            Err(error @ (ShmError::MessageTooLarge | ShmError::MessageTooSmall)) => {
                let text = format!(
                    "the channel {:?} refused a message of {} bytes: {error}",
                    self.hub.name,
                    message.len()
                );
                Err(End::new(Cause::Limit, text))
            }
            Err(error) => {
                Err(End::new(Cause::Failed, format!("sending to the channel {:?}: {error}", self.hub.name)))
            }
        }
    }
}

/// The end of a session whose local peer has ended it so.
pub(crate) fn local_end(who: &str, error: &ShmError) -> End {
    match error {
        ShmError::NotConnected => End::new(Cause::Left, format!("the {who} left")),
        ShmError::PeerDied { pid } => {
            End::new(Cause::Died, format!("the {who}'s process {pid} ended without leaving"))
        }
        error => End::new(Cause::Failed, format!("receiving from the {who}: {error}")),
    }
}

/// Runs a session whose local endpoint is split, until it is over. Returns the halves.
pub(crate) fn run_split<E: Split + 'static>(
    session: &Arc<Session>, who: &'static str, sender: OwnedSendHalf<E>, mut receiver: OwnedReceiveHalf<E>,
) -> (OwnedSendHalf<E>, OwnedReceiveHalf<E>) {
    let interrupter = receiver.interrupter();
    let interrupted = interrupter.clone();
    session.on_end(move || interrupted.interrupt());
    let sender = thread::scope(|scope| {
        let pulling = || pull(session, who, &mut receiver);
        if let Err(error) = thread::Builder::new().name("pull".into()).spawn_scoped(scope, pulling) {
            session.abort(End::new(Cause::Failed, format!("no thread can be started: {error}")));
        }
        let sender = session.run(sender).expect("the session has the sender that it got");
        interrupter.interrupt();
        sender
    });
    interrupter.reset();
    (sender, receiver)
}

/// Sends what the local peer sends to the other bridge, until the peer has gone or a bridge stops. At a stop, this takes what the peer
/// has sent until then: a peer that sends without an end holds up no stop.
fn pull<E: Split>(session: &Session, who: &str, receiver: &mut OwnedReceiveHalf<E>) {
    let mut message = Vec::new();
    let mut lost = receiver.stats().receive_dropped;
    let mut left = None;
    let interrupter = receiver.interrupter();
    let end = loop {
        if left.is_none() && session.is_stopping() {
            left = Some(receiver.stats().receive_depth);
        }
        if left == Some(0) {
            break session.hub.stopped();
        }
        let received = match receiver.try_receive(&mut message) {
            Err(ShmError::QueueEmpty) => {
                let dropped = receiver.stats().receive_dropped;
                session.hub.metrics.evicted_by_source.increment(dropped.wrapping_sub(lost));
                lost = dropped;
                receiver.receive(&mut message)
            }
            Err(ShmError::NotReady) => continue,
            received => received,
        };
        match received {
            Ok(_) => {
                left = left.map(|count| count - 1);
                if session.push(&message).is_err() {
                    return;
                }
            }
            Err(ShmError::Interrupted) => {
                // The flags of a stop are set before an interrupt, so this reset loses none. The end of an earlier session of the same
                // endpoint interrupts too.
                interrupter.reset();
                if session.ended().is_some() {
                    return;
                }
                if left.is_some() {
                    break session.hub.stopped();
                }
            }
            Err(error) => break local_end(who, &error),
        }
    };
    session.finish(end);
}
