//! Calls that do not wait, or wait for a moment only, report that the peer was killed.

mod common;

use common::*;
use std::time::{Duration, Instant};
use xshm::*;

/// How late such a call may report its peer's death.
const SOON: Duration = Duration::from_millis(500);

#[test]
fn peer_process() {
    serve();
}

/// Too short for a call to go to sleep.
const MOMENT: Duration = Duration::from_micros(20);

type Call<E> = (&'static str, fn(&mut E) -> Result<()>);

/// Calls that do not wait, or wait for a moment: each way to send, to receive and to poll.
macro_rules! calls_that_do_not_wait {
    ($end:ty, $send:ident, $try_send:ident, $try_receive:ident) => {
        [
            (stringify!($send), |end: &mut $end| end.$send(&message(0, 64)).map(drop)),
            (stringify!($try_send), |end: &mut $end| end.$try_send(&message(0, 64))),
            ("send_batch", |end: &mut $end| {
                let batch = [message(0, 64), message(1, 64)];
                end.split()?.0.send_batch(&batch).map(drop)
            }),
            ("reserve and commit", |end: &mut $end| {
                let mut reservation = end.split()?.0.reserve(64)?;
                reservation.write_at(0, &message(0, 64));
                reservation.commit().map(drop)
            }),
            (stringify!($try_receive), |end: &mut $end| end.$try_receive(&mut Vec::new()).map(drop)),
            ("receive, waiting a moment", |end: &mut $end| {
                end.split()?.1.receive_timeout(&mut Vec::new(), Some(MOMENT)).map(drop)
            }),
            ("poll, waiting a moment", |end: &mut $end| end.split()?.1.poll(Some(MOMENT)).map(drop)),
            ("send, waiting a moment", |end: &mut $end| {
                end.split()?.0.send_timeout(&message(0, 64), Some(MOMENT))
            }),
        ]
    };
}

const SERVERS_CALLS: [Call<SharedServer>; 8] =
    calls_that_do_not_wait!(SharedServer, send_to_client, try_send_to_client, try_receive_from_client);
const CLIENTS_CALLS: [Call<SharedClient>; 8] =
    calls_that_do_not_wait!(SharedClient, send_to_server, try_send_to_server, try_receive_from_server);

/// Repeats a call at this pace until it reports the peer's death. Returns the time until then, or the unexpected result.
fn time_of_death<E>(
    end: &mut E, call: fn(&mut E) -> Result<()>, pace: Duration,
) -> std::result::Result<Duration, String> {
    let start = Instant::now();
    loop {
        let result = call(end);
        match result {
            Err(ShmError::PeerDied { .. }) => return Ok(start.elapsed()),
            Ok(()) | Err(ShmError::QueueEmpty | ShmError::QueueFull | ShmError::Timeout) => {}
            other => return Err(format!("{other:?}")),
        }
        if start.elapsed() > 2 * SOON {
            return Err(format!("still {result:?} after {:?}", start.elapsed()));
        }
        std::thread::sleep(pace);
    }
}

/// Quick calls before the peer is killed, and the pace of the calls after that.
const PACES: [(usize, Duration); 4] = [
    (0, Duration::from_millis(1)),
    (0, Duration::from_millis(10)),
    (0, Duration::from_millis(200)),
    (100, Duration::from_millis(60)),
];

/// Makes a pair of endpoints for each call and each pace, kills the peer, and lists the calls that report its death too
/// late.
fn late_calls<E>(
    calls: &[Call<E>], make: impl Fn() -> (E, Peer), is_connected: impl Fn(&E) -> bool,
) -> Vec<String> {
    let mut late = Vec::new();
    for (quick, pace) in PACES {
        for &(what, call) in calls {
            let (mut end, mut peer) = make();
            for _ in 0..quick {
                // The queue may be full or empty: the result does not matter.
                let _ = call(&mut end);
            }
            peer.kill();
            let found = time_of_death(&mut end, call, pace);
            if !found.as_ref().is_ok_and(|took| *took <= SOON) {
                late.push(format!("{what}, every {pace:?}, after {quick} quick calls: {found:?}"));
            }
            assert!(!is_connected(&end));
        }
    }
    late
}

/// Quick calls do not ask for the peer each time. However many there were, one of the next four reports the death.
#[test]
fn one_of_four_calls_after_quick_ones_reports_that_the_peer_was_killed() {
    const QUICK: std::ops::Range<usize> = 100..104;
    let mut late = Vec::new();
    for quick in QUICK {
        for (what, call) in SERVERS_CALLS {
            let (mut end, mut peer) = pair("silent-four", ServerOptions::new());
            for _ in 0..quick {
                // The queue may be full or empty: the result does not matter.
                let _ = call(&mut end);
            }
            peer.kill();
            // From then on the calls count.
            std::thread::sleep(Duration::from_millis(100));
            let results: Vec<_> = (0..4).map(|_| call(&mut end)).collect();
            if !matches!(results[3], Err(ShmError::PeerDied { .. })) {
                late.push(format!("{what}, after {quick} quick calls: {results:?}"));
            }
        }
    }
    assert!(late.is_empty(), "{late:#?}");
}

/// A server that only sends, or only looks for messages, never waits for its client.
#[test]
fn a_server_that_never_waits_finds_that_its_client_was_killed() {
    let make = || pair("silent-client", ServerOptions::new());
    let late = late_calls(&SERVERS_CALLS, make, SharedServer::is_connected);
    assert!(late.is_empty(), "{late:#?}");
}

#[test]
fn a_client_that_never_waits_finds_that_its_server_was_killed() {
    let make = || client_of("silent-server", ClientOptions::new());
    let late = late_calls(&CLIENTS_CALLS, make, SharedClient::is_connected);
    assert!(late.is_empty(), "{late:#?}");
}

/// A server that noticed its client's death when it sent can accept the next client.
#[test]
fn a_server_that_only_sends_accepts_the_next_client_after_one_was_killed() {
    let name = unique("silent-next");
    let mut server = SharedServer::start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    peer.kill();
    let mut next = Peer::start();
    next.tell(&format!("connect {name} 10000"));
    let start = Instant::now();
    while server.send_to_client(&message(0, 64)).is_ok() {
        assert!(start.elapsed() < 2 * SOON, "the server still sends to a client that was killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    server.wait_for_client(seconds(5)).unwrap();
    assert_eq!(next.answer(), "ok");
    assert_eq!(server.peer().unwrap().process_id, next.id());
}
