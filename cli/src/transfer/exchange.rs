//! One session: a thread sends, another one receives, and the caller's thread decides when the session is over.

use super::formats::{Output, Source};
use crate::exit::{coded, FAILED, INTERRUPTED, PEER};
use crate::{signals, threads};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use xshm::{Interrupter, OwnedReceiveHalf, OwnedSendHalf, ShmError, Split, MIN_MESSAGE_SIZE};

/// How long a peer that has left waits for the end of the input. The input may have ended already.
const GRACE: Duration = Duration::from_millis(500);

/// How long the output may take after Ctrl-C.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// What happened on one of the threads.
pub enum Event {
    /// The input has ended.
    InputEnded,
    /// The input cannot be read, or is not in the format.
    InputFailed(anyhow::Error),
    /// The channel takes no more messages.
    SendFailed(ShmError),
    /// As many messages were received as the command line says. They are written.
    Count,
    /// The session is over, and all that was received is written.
    ReceiveEnded(ShmError),
    /// The output takes no more.
    OutputFailed(io::Error),
    /// The receiving thread has ended, since the session was given up.
    OutputClosed,
    /// A client of a server for many clients has connected.
    Came,
    /// A client of a server for many clients has left, or died.
    Left,
    /// Ctrl-C, or a signal that ends the program.
    Interrupted,
}

/// How the threads report to the one that decides, and how Ctrl-C ends what waits.
pub struct Control {
    pub interrupter: Interrupter,
    pub events: Sender<Event>,
    pub inbox: Receiver<Event>,
}

impl Control {
    /// Catches Ctrl-C and signals. Another one, some time later, ends the program at once.
    pub fn new() -> anyhow::Result<Self> {
        let interrupter = Interrupter::new()?;
        let (events, inbox) = mpsc::channel();
        let (on_signal, stop) = (events.clone(), interrupter.clone());
        signals::on_end(move |again| {
            if again {
                std::process::exit(INTERRUPTED.into());
            }
            // The program may be ending already.
            let _ = on_signal.send(Event::Interrupted);
            stop.interrupt();
        })?;
        Ok(Control { interrupter, events, inbox })
    }

    /// Waits for the next event, at most until `deadline`. `None`: that time has come.
    pub fn next(&self, deadline: Option<Instant>) -> Option<Event> {
        match deadline {
            // This struct has a sender, so that the channel never closes.
            None => self.inbox.recv().ok(),
            Some(deadline) => {
                self.inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
            }
        }
    }
}

/// The error after Ctrl-C.
pub fn interrupted() -> anyhow::Error {
    coded(INTERRUPTED, "ended by Ctrl-C or a signal")
}

/// When a session ends.
#[derive(Clone, Copy)]
pub struct Plan {
    /// After this number of received messages.
    pub count: Option<u64>,
    /// After this time from the end of the input on. `None`: when the peer leaves.
    pub linger: Option<Duration>,
    /// Whether a peer that leaves ends the input too: a person types it.
    pub is_input_interactive: bool,
}

/// The halves of an endpoint. Each thread locks its half while it uses it, and no longer: so the thread that decides can take both,
/// and leave, while the others are busy with the input and the output.
struct Halves<E: Split> {
    sender: Mutex<Option<OwnedSendHalf<E>>>,
    receiver: Mutex<Option<OwnedReceiveHalf<E>>>,
    is_over: AtomicBool,
    has_input_failed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends and receives until the session is over, and leaves the channel. The peer still gets what was sent.
///
/// `source`: where messages come from. `None`: the input has ended from the start.
pub fn run<E: Split + 'static>(
    (sender, receiver): (OwnedSendHalf<E>, OwnedReceiveHalf<E>), source: Option<Box<dyn Source>>,
    mut output: Output, plan: Plan, control: &Control,
) -> anyhow::Result<()> {
    let halves = Arc::new(Halves {
        sender: Mutex::new(Some(sender)),
        receiver: Mutex::new(Some(receiver)),
        is_over: AtomicBool::new(false),
        has_input_failed: AtomicBool::new(false),
    });
    match source {
        None => drop(control.events.send(Event::InputEnded)),
        Some(mut source) => {
            let (halves, events) = (halves.clone(), control.events.clone());
            threads::start("send", move || {
                let sent = send_all(&mut *source, |message| match lock(&halves.sender).as_mut() {
                    Some(half) => half.send_timeout(message, None),
                    None => Err(ShmError::Interrupted),
                });
                // The end of the progress bar.
                drop(source);
                let _ = events.send(sent);
            })?;
        }
    }
    let (shared, events) = (halves.clone(), control.events.clone());
    threads::start("receive", move || {
        let ended = receive_all(&shared, &mut output, plan.count);
        let flushed = output.flush();
        drop(output);
        let _ = events.send(match (ended, flushed) {
            (Event::OutputFailed(error), _) | (_, Err(error)) => Event::OutputFailed(error),
            (ended, Ok(())) => ended,
        });
    })?;

    let (mut is_output_open, outcome) = decide(&halves, plan, control);
    halves.is_over.store(true, Ordering::Release);
    control.interrupter.interrupt();
    let taken = (lock(&halves.sender).take(), lock(&halves.receiver).take());
    if halves.has_input_failed.load(Ordering::Relaxed) {
        // The peer should not take what it got for all: it sees that this process ends without leaving.
        std::mem::forget(taken);
    } else {
        drop(taken);
    }
    // The output may be stuck. A second Ctrl-C ends the program.
    let deadline = was_interrupted(&outcome).then(|| Instant::now() + LAST_OUTPUT);
    while is_output_open {
        match control.next(deadline) {
            Some(Event::ReceiveEnded(_) | Event::Count | Event::OutputClosed) | None => {
                is_output_open = false
            }
            Some(Event::OutputFailed(error)) => return outcome.and(Err(output_error(error))),
            Some(Event::Interrupted) => return Err(interrupted()),
            Some(_) => {}
        }
    }
    outcome
}

fn was_interrupted(outcome: &anyhow::Result<()>) -> bool {
    let is_ours = |coded: &crate::exit::Coded| coded.code == INTERRUPTED;
    outcome.as_ref().is_err_and(|error| error.downcast_ref().is_some_and(is_ours))
}

pub fn output_error(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("cannot write what was received")
}

/// Waits until the session is over. Also returns whether the receiving thread still runs.
fn decide<E: Split>(halves: &Halves<E>, plan: Plan, control: &Control) -> (bool, anyhow::Result<()>) {
    let (mut has_input_ended, mut has_peer_left) = (false, false);
    let mut send_error = None;
    let mut deadline = None;
    loop {
        let Some(event) = control.next(deadline) else {
            return match has_peer_left {
                true if plan.is_input_interactive => (false, all_taken(halves, plan)),
                true => (false, Err(coded(PEER, "the peer left before the end of the input"))),
                // The time after the end of the input has passed.
                false => (true, Ok(())),
            };
        };
        match event {
            Event::InputEnded if has_peer_left => return (false, all_taken(halves, plan)),
            Event::InputEnded => {
                has_input_ended = true;
                deadline = plan.linger.and_then(|linger| Instant::now().checked_add(linger));
            }
            Event::InputFailed(error) => {
                halves.has_input_failed.store(true, Ordering::Relaxed);
                return (!has_peer_left, Err(error));
            }
            Event::SendFailed(error) if is_end(&error) => {
                if has_peer_left {
                    return (false, Err(not_sent(error)));
                }
                // What the peer has sent before its end is still received.
                send_error = Some(error);
            }
            Event::SendFailed(error) => return (!has_peer_left, Err(error.into())),
            Event::Count => return (false, Ok(())),
            Event::OutputFailed(error) => return (false, Err(output_error(error))),
            Event::ReceiveEnded(error) => match (error, send_error.take()) {
                (_, Some(error)) => return (false, Err(not_sent(error))),
                (ShmError::NotConnected, None) if has_input_ended => return (false, all_taken(halves, plan)),
                (ShmError::NotConnected, None) => {
                    has_peer_left = true;
                    deadline = Some(Instant::now() + GRACE);
                }
                (error, None) => return (false, Err(error.into())),
            },
            Event::Interrupted => return (!has_peer_left, Err(interrupted())),
            Event::OutputClosed | Event::Came | Event::Left => {}
        }
    }
}

fn is_end(error: &ShmError) -> bool {
    matches!(error, ShmError::NotConnected | ShmError::PeerDied { .. } | ShmError::Corrupted)
}

fn not_sent(error: ShmError) -> anyhow::Error {
    match error {
        ShmError::NotConnected => coded(PEER, "the peer left before the end of the input"),
        error => error.into(),
    }
}

/// The peer has left in order. It may have left messages, and may have sent fewer than were wanted.
fn all_taken<E: Split>(halves: &Halves<E>, plan: Plan) -> anyhow::Result<()> {
    let left = match lock(&halves.sender).as_mut() {
        Some(half) => half.stats()?.send_depth,
        None => 0,
    };
    if left > 0 {
        return Err(coded(PEER, format!("the peer left before it had received everything: {left} messages")));
    }
    if let Some(count) = plan.count {
        return Err(coded(PEER, format!("the peer left before {count} messages had come")));
    }
    Ok(())
}

/// Sends all messages of a source.
pub fn send_all(source: &mut dyn Source, mut send: impl FnMut(&[u8]) -> xshm::Result<()>) -> Event {
    let mut message = Vec::new();
    loop {
        match source.next(&mut message) {
            Ok(true) => {}
            Ok(false) => return Event::InputEnded,
            Err(error) => return Event::InputFailed(error),
        }
        match send(&message) {
            Ok(()) => {}
            Err(ShmError::MessageTooSmall) if source.take_back(&message) => {}
            Err(error @ (ShmError::MessageTooSmall | ShmError::MessageTooLarge)) => {
                return Event::InputFailed(wrong_length(&source.place(), message.len(), error));
            }
            Err(error) => return Event::SendFailed(error),
        }
    }
}

fn wrong_length(place: &str, length: usize, error: ShmError) -> anyhow::Error {
    let reason = match error {
        ShmError::MessageTooSmall => format!(
            "this channel's messages have at least {MIN_MESSAGE_SIZE}, since its server sets no max_message_size"
        ),
        _ => "that is more than the channel allows".to_owned(),
    };
    coded(FAILED, format!("{place} has {length} bytes; {reason}"))
}

fn receive_all<E: Split>(halves: &Halves<E>, output: &mut Output, count: Option<u64>) -> Event {
    let mut message = Vec::new();
    let mut received = 0;
    let mut waits = false;
    while !halves.is_over.load(Ordering::Acquire) {
        let got = match lock(&halves.receiver).as_mut() {
            Some(half) if waits => half.receive(&mut message),
            Some(half) => half.try_receive(&mut message),
            None => break,
        };
        match got {
            Ok(_) => {
                if let Err(error) = output.write(None, &message) {
                    return Event::OutputFailed(error);
                }
                received += 1;
                if count.is_some_and(|count| received >= count) {
                    return Event::Count;
                }
                waits = false;
            }
            // Before it waits, it shows what it has.
            Err(ShmError::QueueEmpty) => {
                if let Err(error) = output.flush() {
                    return Event::OutputFailed(error);
                }
                waits = true;
            }
            Err(ShmError::NotReady) => {}
            Err(ShmError::Interrupted) => break,
            Err(error) => return Event::ReceiveEnded(error),
        }
    }
    Event::OutputClosed
}
