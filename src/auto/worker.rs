//! The worker: connects, hands over messages, looks after the senders, and connects again.

use super::core::Shared;
use super::handler::DisconnectReason;
use super::link::RingAtEnd;
use crate::channel::wait_set::WaitSet;
use crate::channel::Side;
use crate::error::{Result, ShmError};
use crate::halves::{ReceiveHalf, SendHalf};
use crate::naming::ChannelName;
use crate::options::ClientOptions;
use crate::server::SharedServer;
use crate::session::{Interest, WaitCondition};
use crate::waiting::Deadline;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The least time between two attempts to connect, so that a pause of zero does not take a processor.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// How a side gets its next connection.
pub(crate) trait Connector: Send + 'static {
    fn side(&self) -> Side;

    /// Waits for one. Ends with [`ShmError::Interrupted`] when the worker has something else to do.
    fn connect(&mut self) -> Result<(SendHalf, ReceiveHalf)>;

    /// Ends one that its peer hasn't ended.
    fn disconnect(&mut self, half: &ReceiveHalf);

    /// Whether an attempt without an answer is reported.
    fn expects_an_answer(&self) -> bool;

    /// Whether there are no more connections after the one that has ended.
    fn is_done(&self) -> bool {
        false
    }
}

pub(super) struct ServerConnector {
    server: SharedServer,
    bound: Option<Duration>,
}

impl ServerConnector {
    pub(super) fn new(server: SharedServer, wait_timeout: Duration) -> Self {
        ServerConnector { server, bound: bound(wait_timeout) }
    }
}

impl Connector for ServerConnector {
    fn side(&self) -> Side {
        Side::Server
    }

    fn connect(&mut self) -> Result<(SendHalf, ReceiveHalf)> {
        self.server.wait_for_client(self.bound)?;
        self.server.take().ok_or(ShmError::NotConnected)
    }

    fn disconnect(&mut self, half: &ReceiveHalf) {
        half.session.disconnect();
    }

    fn expects_an_answer(&self) -> bool {
        false
    }
}

pub(super) struct ClientConnector {
    name: String,
    options: ClientOptions,
    timeout: Duration,
}

impl ClientConnector {
    pub(super) fn new(name: &str, options: ClientOptions, timeout: Duration) -> Result<Self> {
        ChannelName::parse(name)?;
        Ok(ClientConnector { name: name.to_owned(), options, timeout })
    }
}

impl Connector for ClientConnector {
    fn side(&self) -> Side {
        Side::Client
    }

    fn connect(&mut self) -> Result<(SendHalf, ReceiveHalf)> {
        self.options.clone().connect(&self.name, self.timeout)?.take().ok_or(ShmError::NotConnected)
    }

    // Dropping the halves is leaving.
    fn disconnect(&mut self, _half: &ReceiveHalf) {}

    fn expects_an_answer(&self) -> bool {
        true
    }
}

/// Zero stands for no bound.
pub(crate) fn bound(timeout: Duration) -> Option<Duration> {
    (!timeout.is_zero()).then_some(timeout)
}

pub(super) fn run(shared: &Shared, mut connector: impl Connector) {
    let mut interrupted = false;
    loop {
        shared.attention.reset();
        if shared.is_stopping() {
            break;
        }
        report_sends(shared);
        // After an attempt that was cut short to report losses comes one that is not: else an endpoint whose program sends
        // without a pause would never be connected.
        shared.defers_wake_ups.store(interrupted && connector.expects_an_answer(), Ordering::Relaxed);
        let connected = connector.connect();
        interrupted = connected.as_ref().err() == Some(&ShmError::Interrupted);
        match connected {
            Ok(halves) => {
                serve(shared, &mut connector, halves);
                if connector.is_done() {
                    break;
                }
                // A server takes the next client at once.
                if connector.side() == Side::Client {
                    pause(shared);
                }
            }
            Err(ShmError::Interrupted) => {}
            Err(ShmError::Timeout) if !connector.expects_an_answer() => {}
            Err(error) => {
                shared.call(|handler| handler.on_error(error));
                pause(shared);
            }
        }
    }
    shared.abandon_queue();
    report_sends(shared);
}

/// Lets the time between two attempts pass, unless the endpoint is stopped.
fn pause(shared: &Shared) {
    let deadline = Deadline::after(Some(shared.options.reconnect_delay.max(SHORTEST_PAUSE)));
    while !deadline.has_passed() {
        shared.attention.reset();
        if shared.is_stopping() {
            return;
        }
        report_sends(shared);
        let mut set = WaitSet::new();
        set.event(shared.attention.0.event());
        if let Err(error) = set.wait(deadline) {
            shared.call(|handler| handler.on_error(error));
            return;
        }
    }
}

fn report_sends(shared: &Shared) {
    let report = shared.flush_and_report();
    for error in report.errors {
        shared.call(|handler| handler.on_error(error));
    }
    if report.lost > 0 {
        shared.call(|handler| handler.on_overflow(shared.sends, report.lost));
    }
    if report.space {
        shared.call(|handler| handler.on_space_available(shared.sends));
    }
}

/// One connection, from `on_connect` to `on_disconnect`.
fn serve(shared: &Shared, connector: &mut impl Connector, (sender, mut half): (SendHalf, ReceiveHalf)) {
    shared.attach(sender);
    shared.call(|handler| handler.on_connect());
    let mut reported = 0;
    let reason = match serve_messages(shared, &mut half, &mut reported) {
        Ok(()) => {
            finish(shared, &mut half, &mut reported);
            DisconnectReason::Stopped
        }
        Err(error) => DisconnectReason::of(error),
    };
    if reason == DisconnectReason::Stopped {
        // It may have gone at the same time.
        let is_over = half.session.check_process().is_err();
        connector.disconnect(&half);
        shared.detach(if is_over { RingAtEnd::Lost } else { RingAtEnd::Receivable });
        shared.abandon_queue();
        report_sends(shared);
    } else {
        shared.detach(RingAtEnd::Lost);
        report_sends(shared);
        // The word in the section is given back: a client's by dropping the half, a server's by this.
        connector.disconnect(&half);
    }
    drop(half);
    shared.call(|handler| handler.on_disconnect_because(&reason));
    shared.end();
}

/// Hands over what comes until the connection ends. `Ok`: the endpoint is to stop.
fn serve_messages(shared: &Shared, half: &mut ReceiveHalf, reported: &mut u64) -> Result<()> {
    let mut buffer = Vec::new();
    loop {
        shared.attention.reset();
        if shared.is_stopping() {
            return Ok(());
        }
        report_sends(shared);
        let more = hand_over(shared, half, &mut buffer, shared.options.recv_batch.max(1), reported)?;
        if more || shared.is_stopping() {
            continue;
        }
        let wants_room = shared.wants_room();
        let interest = if wants_room { Interest::Either } else { Interest::Data };
        let session = half.session.clone();
        let condition = WorkerCondition { shared, half, wants_room };
        match session.wait_for(interest, bound(shared.options.wait_timeout), condition) {
            Ok(()) | Err(ShmError::Interrupted | ShmError::Timeout | ShmError::NotReady) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Hands over up to `limit` messages. Returns whether there may be more.
fn hand_over(
    shared: &Shared, half: &mut ReceiveHalf, buffer: &mut Vec<u8>, limit: usize, reported: &mut u64,
) -> Result<bool> {
    let mut more = true;
    for _ in 0..limit {
        match half.try_receive(buffer) {
            Ok(_) => {
                shared.received.fetch_add(1, Ordering::Relaxed);
                report_lost(shared, half, reported);
                if !shared.stopped_by_handler.load(Ordering::Acquire) {
                    shared.call(|handler| handler.on_message(shared.receives, buffer));
                }
            }
            Err(ShmError::QueueEmpty | ShmError::NotReady) => {
                more = false;
                break;
            }
            Err(error) => {
                report_lost(shared, half, reported);
                return Err(error);
            }
        }
        // A handler that stops its endpoint gets nothing more.
        if shared.stopped_by_handler.load(Ordering::Acquire) {
            break;
        }
    }
    Ok(more)
}

fn report_lost(shared: &Shared, half: &ReceiveHalf, reported: &mut u64) {
    let lost = half.consumer.lost();
    if lost > *reported {
        let count = lost - std::mem::replace(reported, lost);
        shared.receive_overflows.fetch_add(count, Ordering::Relaxed);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        shared.call(|handler| handler.on_overflow(shared.receives, count));
    }
}

/// Before leaving: what has arrived is handed over, what is queued is sent as far as it fits.
fn finish(shared: &Shared, half: &mut ReceiveHalf, reported: &mut u64) {
    if !shared.stopped_by_handler.load(Ordering::Acquire) {
        // What comes from now on came too late.
        let arrived = half.stats().receive_depth;
        // That the peer is gone meanwhile changes nothing.
        let _ = hand_over(shared, half, &mut Vec::new(), arrived, reported);
    }
    report_sends(shared);
}

/// What the worker waits for: a message, or room where a sender wants some.
struct WorkerCondition<'a> {
    shared: &'a Shared,
    half: &'a mut ReceiveHalf,
    wants_room: bool,
}

impl WaitCondition for WorkerCondition<'_> {
    type Found = ();

    #[inline]
    fn ready(&self) -> bool {
        self.wants_room || self.half.consumer.looks_ready()
    }

    fn attempt(&mut self) -> Result<Option<()>> {
        if self.wants_room && self.shared.has_room() {
            return Ok(Some(()));
        }
        self.half.peek()
    }
}
