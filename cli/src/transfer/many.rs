//! A server for many clients: what is read goes to all of them, and what they send is written with their numbers.

use super::exchange::{interrupted, output_error, send_all, Control, Event};
use super::formats::{Output, Source};
use crate::exit::{coded, Complaints, TIMEOUT};
use crate::threads;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::Arc;
use std::time::{Duration, Instant};
use xshm::{ClientId, DisconnectReason, MultiHandle, MultiHandler, MultiOptions, ServerOptions, ShmError};

/// The most bytes of messages that wait for the output.
const MOST_WAITING: usize = 4 << 20;

/// How long a wait for room relies on the client's worker. The worker may itself wait for the output.
const SLICE: Duration = Duration::from_millis(10);

/// How long the server may take to stop after Ctrl-C.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// When the server ends.
pub struct Plan {
    pub count: Option<u64>,
    pub linger: Option<Duration>,
    /// How long to wait for the first client.
    pub timeout: Duration,
    pub max_clients: u32,
}

struct Handler {
    events: Sender<Event>,
    messages: SyncSender<(u32, Vec<u8>)>,
    complaints: Complaints,
}

impl MultiHandler for Handler {
    fn on_client_connect(&self, _: u32) {
        let _ = self.events.send(Event::Came);
    }

    fn on_client_disconnect_because(&self, _: u32, _: &DisconnectReason) {
        let _ = self.events.send(Event::Left);
    }

    fn on_message(&self, client: u32, message: &[u8]) {
        // It waits while the output is slow, and so do the clients, once their queues are full.
        let _ = self.messages.send((client, message.to_vec()));
    }

    fn on_error(&self, _: Option<u32>, error: ShmError) {
        self.complaints.report(&error);
    }
}

/// Serves until the input has ended and the clients have left, or as `plan` says.
///
/// `source`: makes the source of messages once the first client is there. `None`: the input has ended from the start.
pub fn run(
    name: &str, options: ServerOptions, longest: usize, source: Option<Box<dyn Source>>, output: Output,
    plan: &Plan, control: &Control,
) -> anyhow::Result<()> {
    let (messages, waiting) = mpsc::sync_channel((MOST_WAITING / longest.max(1)).clamp(1, 256));
    let handler =
        Arc::new(Handler { events: control.events.clone(), messages, complaints: Complaints::default() });
    let multi = MultiOptions { max_clients: plan.max_clients, ..MultiOptions::default() };
    let server = options.start_multi(name, handler, multi)?;
    let (events, count) = (control.events.clone(), plan.count);
    threads::start("output", move || {
        let _ = events.send(match write_all(&waiting, output, count) {
            Ok(true) => Event::Count,
            Ok(false) => Event::OutputClosed,
            Err(error) => Event::OutputFailed(error),
        });
    })?;

    let outcome = decide(&server.handle(), source, plan, control);
    // Stops the server, which then drops the handler, so that the output thread ends when it has written all.
    server.request_stop();
    let (stopped, has_stopped) = mpsc::channel();
    threads::start("stop", move || {
        drop(server);
        let _ = stopped.send(());
    })?;
    match outcome {
        Ok(End::Done) => {
            has_stopped.recv()?;
            wait_for_output(control)
        }
        Ok(End::OutputDone) => {
            has_stopped.recv()?;
            Ok(())
        }
        Err(error) => {
            let _ = has_stopped.recv_timeout(LAST_MOMENT);
            Err(error)
        }
    }
}

enum End {
    Done,
    /// The output thread has ended already.
    OutputDone,
}

fn wait_for_output(control: &Control) -> anyhow::Result<()> {
    loop {
        match control.next(None) {
            Some(Event::OutputClosed | Event::Count) | None => return Ok(()),
            Some(Event::OutputFailed(error)) => return Err(output_error(error)),
            Some(Event::Interrupted) => return Err(interrupted()),
            Some(_) => {}
        }
    }
}

/// Writes messages until there are no more, or enough. Returns whether there are enough.
fn write_all(
    messages: &Receiver<(u32, Vec<u8>)>, mut output: Output, count: Option<u64>,
) -> io::Result<bool> {
    let mut written = 0;
    loop {
        let next = match messages.try_recv() {
            Ok(next) => Ok(next),
            Err(_) => {
                output.flush()?;
                messages.recv()
            }
        };
        let Ok((client, message)) = next else { return Ok(false) };
        output.write(Some(client), &message)?;
        written += 1;
        if count.is_some_and(|count| written >= count) {
            output.flush()?;
            return Ok(true);
        }
    }
}

fn decide(
    server: &MultiHandle, source: Option<Box<dyn Source>>, plan: &Plan, control: &Control,
) -> anyhow::Result<End> {
    let mut source = Some(source);
    let (mut clients, mut has_input_ended) = (0_u32, false);
    let mut deadline = Instant::now().checked_add(plan.timeout);
    loop {
        let Some(event) = control.next(deadline) else {
            return match has_input_ended {
                true => Ok(End::Done),
                false => Err(coded(TIMEOUT, format!("no client has come within {:?}", plan.timeout))),
            };
        };
        match event {
            Event::Came => {
                clients += 1;
                // The first client starts the input.
                if let Some(source) = source.take() {
                    deadline = None;
                    start(server, source, &control.events)?;
                }
            }
            Event::Left => clients = clients.saturating_sub(1),
            Event::InputEnded => {
                has_input_ended = true;
                deadline = plan.linger.and_then(|linger| Instant::now().checked_add(linger));
            }
            Event::InputFailed(error) => return Err(error),
            Event::SendFailed(error) => return Err(error.into()),
            Event::OutputFailed(error) => return Err(output_error(error)),
            Event::Count => return Ok(End::OutputDone),
            Event::Interrupted => return Err(interrupted()),
            Event::ReceiveEnded(_) | Event::OutputClosed => {}
        }
        if has_input_ended && clients == 0 && plan.linger.is_none() {
            return Ok(End::Done);
        }
    }
}

/// Starts to send what the source has.
fn start(
    server: &MultiHandle, source: Option<Box<dyn Source>>, events: &Sender<Event>,
) -> anyhow::Result<()> {
    let Some(mut source) = source else {
        let _ = events.send(Event::InputEnded);
        return Ok(());
    };
    let (server, events) = (server.clone(), events.clone());
    threads::start("send", move || {
        let _ = events.send(send_all(&mut *source, |message| send_to_all(&server, message)));
    })?;
    Ok(())
}

/// Sends a message to all clients. First to those that have room for it, so that they wait for no slow client.
fn send_to_all(server: &MultiHandle, message: &[u8]) -> xshm::Result<()> {
    let clients = server.connected_clients();
    let mut slow = Vec::new();
    for client in clients.into_iter().filter_map(|slot| server.client(slot)) {
        match server.send_to_timeout(client, message, Some(Duration::ZERO)) {
            Err(ShmError::Timeout) => slow.push(client),
            other => unless_gone(other)?,
        }
    }
    slow.into_iter().try_for_each(|client| unless_gone(send_patiently(server, client, message)))
}

/// Sends a message to a client, and waits for room.
pub fn send_patiently(server: &MultiHandle, client: ClientId, message: &[u8]) -> xshm::Result<()> {
    loop {
        match server.send_to_timeout(client, message, Some(SLICE)) {
            Err(ShmError::Timeout) => {}
            other => return other,
        }
    }
}

/// A client that has left or died affects no other one.
fn unless_gone(sent: xshm::Result<()>) -> xshm::Result<()> {
    match sent {
        Err(ShmError::NotConnected | ShmError::PeerDied { .. } | ShmError::Corrupted) => Ok(()),
        other => other,
    }
}
