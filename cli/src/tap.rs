//! `xshm tap`: stands between a server and its clients.

mod many;
mod observer;
mod original;

use crate::args::Tap;
use crate::exit::{coded, FAILED, PEER};
use crate::output::visible;
use crate::recording::From;
use crate::threads;
use crate::transfer::exchange::{Control, Event};
use anyhow::Context;
use observer::Observer;
use original::Original;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use xshm::{ClientOptions, ReceiveHalf, SendHalf, SharedClient, SharedServer, ShmError};

pub fn run(args: &Tap) -> anyhow::Result<()> {
    let control = Control::new()?;
    let Some(original) = Original::find(&args.name, args.timeout, &control)? else { return Ok(()) };
    let observer = Arc::new(Observer::new(args, &original)?);
    let outcome = if original.is_multi {
        many::run(args, &original, &observer, &control)
    } else {
        one_after_the_other(args, &original, &observer, &control)
    };
    outcome.and(observer.finish())
}

/// Reports an error of a session that does not end the tap.
pub fn report(client: u32, error: &anyhow::Error) {
    anstream::eprintln!("xshm: client {client}: {}", visible(&format!("{error:#}")));
}

/// Adds how many messages of a client the tap has not taken, when its session failed.
fn with_loss(error: anyhow::Error, server: &mut SharedServer) -> anyhow::Error {
    match server.stats().map_or(0, |stats| stats.receive_depth) {
        0 => error,
        1 => anyhow::anyhow!("{error:#}; a message of the client is lost"),
        lost => anyhow::anyhow!("{error:#}; {lost} messages of the client are lost"),
    }
}

/// Connects to the original server for a client.
fn connect(
    name: &str, timeout: Duration, original: &Original, options: ClientOptions,
) -> anyhow::Result<SharedClient> {
    let upstream = options.connect(name, timeout)?;
    let (found, expected) = (upstream.max_message_size(), original.max_message_size);
    if found != expected {
        let advice = if original.is_seen {
            "start the tap again"
        } else {
            "the server belongs to another user, whose channels this user cannot see: start the tap as that user"
        };
        let what = format!("the server's longest message has {found} bytes, not {expected}: {advice}");
        return Err(coded(FAILED, what));
    }
    Ok(upstream)
}

/// What ended a session, for people. `Ok`: the side left in order.
fn end_of(side: &str, error: ShmError) -> anyhow::Result<()> {
    match error {
        ShmError::NotConnected => Ok(()),
        ShmError::PeerDied { .. } => Err(coded(PEER, format!("the {side} died"))),
        error => Err(error).context(format!("the session with the {side}")),
    }
}

fn one_after_the_other(
    args: &Tap, original: &Original, observer: &Observer, control: &Control,
) -> anyhow::Result<()> {
    let options = original.server_options().interrupter(control.interrupter.clone());
    let mut server = options.start(&args.as_name)?;
    for client in 0.. {
        loop {
            match server.wait_for_client(None) {
                Ok(()) => break,
                Err(ShmError::Interrupted) => return Ok(()),
                Err(error @ ShmError::Refused { .. }) => report(client, &error.into()),
                Err(error) => return Err(error.into()),
            }
        }
        let outcome = session(args, original, &mut server, client, observer, control)
            .map_err(|error| with_loss(error, &mut server));
        // The client still gets what the server has sent.
        server.disconnect_client();
        // First the reset: a Ctrl-C after it interrupts the next wait.
        control.interrupter.reset();
        if matches!(control.inbox.try_recv(), Ok(Event::Interrupted)) {
            return Ok(());
        }
        observer.check_output()?;
        match outcome {
            Err(error) if !args.once => report(client, &error),
            outcome if args.once => return outcome,
            _ => {}
        }
    }
    Ok(())
}

/// Forwards the messages between a client and the server until one of them leaves or dies.
fn session(
    args: &Tap, original: &Original, server: &mut SharedServer, client: u32, observer: &Observer,
    control: &Control,
) -> anyhow::Result<()> {
    let interrupter = &control.interrupter;
    let options = ClientOptions::new().interrupter(interrupter.clone());
    let mut upstream = connect(&args.name, args.timeout, original, options)?;
    let (to_client, from_client) = server.split()?;
    let (to_server, from_server) = upstream.split()?;
    let is_over = &AtomicBool::new(false);
    // Each direction ends the other one when its own side is gone and all that this side has sent is forwarded.
    let run = |receiver, sender: &mut SendHalf, from| {
        let end = forward(receiver, is_over, |message| {
            observer.see(from, client, message)?;
            sender.send_timeout(message, None)
        });
        is_over.store(true, Ordering::Release);
        interrupter.interrupt();
        end
    };
    let (by_client, by_server) = thread::scope(|scope| {
        let by_client = threads::start_in(scope, || run(from_client, to_server, From::Client))?;
        let by_server = run(from_server, to_client, From::Server);
        anyhow::Ok((by_client.join(), by_server))
    })?;
    let by_client = by_client.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    match (by_client, by_server) {
        (End::Failed(error), _) | (_, End::Failed(error)) => Err(error.into()),
        (End::SideGone(error), _) => end_of("client", error),
        (_, End::SideGone(error)) => end_of("server", error),
        (End::Stopped, End::Stopped) => Ok(()),
    }
}

/// How one direction of a session ended.
enum End {
    /// The side that it receives from is gone, and all that this side has sent was forwarded.
    SideGone(ShmError),
    /// A message cannot be forwarded, although both sides are there.
    Failed(ShmError),
    /// The other direction has ended, or the tap ends.
    Stopped,
}

/// Forwards what is received until the sending side is gone. If the receiving side is gone, it receives on and drops the messages:
/// the sending side may wait for room, and the other direction may wait for it.
fn forward(
    from: &mut ReceiveHalf, is_over: &AtomicBool, mut send: impl FnMut(&[u8]) -> xshm::Result<()>,
) -> End {
    let mut message = Vec::new();
    let mut is_other_gone = false;
    while !is_over.load(Ordering::Acquire) {
        match from.receive(&mut message) {
            Ok(_) => {}
            Err(ShmError::NotReady) => continue,
            Err(ShmError::Interrupted) => break,
            Err(error) => return End::SideGone(error),
        }
        if is_other_gone {
            continue;
        }
        match send(&message) {
            Ok(()) => {}
            Err(ShmError::Interrupted) => break,
            Err(ShmError::NotConnected | ShmError::PeerDied { .. } | ShmError::Corrupted) => {
                is_other_gone = true;
            }
            Err(error) => return End::Failed(error),
        }
    }
    End::Stopped
}
