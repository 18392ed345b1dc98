//! The peer is stopped at each named place of the library: it is killed there, or held there for a while. The side at the
//! other end works as docs/guarantees.md promises. Needs a build with `--cfg xshm_failpoints`: ci/failpoints.sh.
#![cfg(xshm_failpoints)]

mod common;

use common::*;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use xshm::{
    DisconnectReason, MultiHandler, MultiOptions, MultiServer, ServerOptions, SharedClient, SharedServer,
    ShmError,
};

#[test]
fn peer_process() {
    serve();
}

/// Messages that a side sends: more than the queue holds, so that some are evicted.
const COUNT: u64 = 20;
const LIMIT: usize = 8;

/// How long a stopped peer is held before it may continue.
const WHILE: Duration = Duration::from_millis(60);

/// The other side notices within this time that its peer is dead.
const SOON: Duration = Duration::from_millis(500);

/// What the test's side of a session saw.
#[derive(Debug)]
struct Seen {
    /// Numbers of messages, in their order.
    received: Vec<u64>,
    end: ShmError,
    ended: Instant,
}

impl Seen {
    /// Checks that the messages came in order, and that the session ended with an allowed error.
    fn check(&self, place: &str) {
        assert!(self.received.windows(2).all(|pair| pair[0] < pair[1]), "{place}: {:?}", self.received);
        let over = matches!(self.end, ShmError::PeerDied { .. } | ShmError::NotConnected);
        assert!(over, "{place}: ended by {:?}", self.end);
    }

    fn is_complete(&self) -> bool {
        self.received.last() == Some(&(COUNT - 1)) && self.end == ShmError::NotConnected
    }
}

/// Receives until the session is over. Answers the last message, late enough for the peer to have gone to sleep.
fn converse(
    mut receive: impl FnMut(&mut Vec<u8>) -> Result<usize, ShmError>,
    answer: impl Fn(&[u8]) -> Result<(), ShmError>,
) -> Seen {
    let (mut received, mut buffer) = (Vec::new(), Vec::new());
    loop {
        match receive(&mut buffer) {
            Ok(_) => {
                received.push(check_message(&buffer));
                if received.last() == Some(&(COUNT - 1)) {
                    std::thread::sleep(Duration::from_millis(5));
                    // The peer may be gone by now.
                    let _ = answer(&message(7, 64));
                }
            }
            Err(ShmError::Timeout) => {}
            Err(end) => return Seen { received, end, ended: Instant::now() },
        }
    }
}

/// How a peer that was to be stopped at a place has ended.
enum Stopped {
    Killed(Instant),
    /// It carried out all orders.
    Done,
    /// It never came to the place.
    Never,
}

/// Gives a peer these orders, and stops it once, when it comes to `place`: kills it, or holds it for a while.
fn perform(peer: &mut Peer, orders: &[String], place: &str, kill: bool) -> Stopped {
    let mut reached = place.is_empty();
    if !reached {
        peer.must(&format!("stop_at {place}"));
    }
    for order in orders {
        let mut answer = peer.ask(order);
        if answer == format!("at {place}") {
            reached = true;
            if kill {
                peer.kill();
                return Stopped::Killed(Instant::now());
            }
            std::thread::sleep(WHILE);
            answer = peer.ask("go on");
        }
        assert!(answer.starts_with("ok"), "{place}: {order}: {answer}");
    }
    if reached {
        Stopped::Done
    } else {
        Stopped::Never
    }
}

/// Stops a peer at a place. If it was killed there, another peer then carries out the same orders without a stop.
fn peers(orders: &[String], place: &str, kill: bool, seen: &mpsc::Receiver<Seen>) {
    let mut peer = Peer::start();
    let mut stopped = perform(&mut peer, orders, place, kill);
    // Whether a message is evicted, or a side sleeps, depends on which thread runs when.
    for _ in 0..20 {
        if !matches!(stopped, Stopped::Never) {
            break;
        }
        seen.recv_timeout(Duration::from_secs(5)).unwrap().check(place);
        peer = Peer::start();
        stopped = perform(&mut peer, orders, place, kill);
    }
    let mut next = match stopped {
        Stopped::Killed(_) => Peer::start(),
        Stopped::Done => peer,
        Stopped::Never => panic!("{place} was never reached"),
    };
    if let Stopped::Killed(at) = stopped {
        let begun = Instant::now();
        assert!(matches!(perform(&mut next, orders, "", false), Stopped::Done));
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{place}: the next peer took {:?}",
            begun.elapsed()
        );
        // The first peer may have had no session, or a complete one.
        let mut sessions = vec![seen.recv_timeout(Duration::from_secs(5)).unwrap()];
        sessions.extend(seen.recv_timeout(Duration::from_millis(100)));
        assert!(sessions.last().unwrap().is_complete(), "{place}: {sessions:?}");
        for session in &sessions {
            session.check(place);
        }
        if sessions.len() > 1 {
            let took = sessions[0].ended.saturating_duration_since(at);
            assert!(took < SOON, "{place}: noticed after {took:?}");
        }
    } else {
        let session = seen.recv_timeout(Duration::from_secs(5)).unwrap();
        session.check(place);
        assert!(session.is_complete(), "{place}: {session:?}");
    }
}

/// Where a client can be stopped.
const CLIENT: [&str; 13] = [
    "connect.found",
    "connect.before_request",
    "connect.request",
    "connect.requested",
    "connect.accepted",
    "send.written",
    "send.evicted",
    "send.published",
    "sleep.announced",
    "receive.copied",
    "receive.taken",
    "leave.begun",
    "leave.left",
];

#[test]
fn a_client_is_stopped_at_each_place() {
    for place in CLIENT {
        for kill in [true, false] {
            let name = unique("client");
            let options = ServerOptions::new().ring_size(4096).message_limit(LIMIT).spin(Duration::ZERO);
            let mut server = options.start(&name).unwrap();
            let interrupter = server.interrupter();
            let (sender, seen) = mpsc::channel();
            let serving = std::thread::spawn(move || {
                while server.wait_for_client(seconds(20)).is_ok() {
                    // Long enough for the client to evict.
                    std::thread::sleep(Duration::from_millis(2));
                    let session = converse(
                        |buffer| server.receive_from_client_timeout(buffer, millis(20)),
                        |answer| server.send_to_client(answer).map(drop),
                    );
                    if sender.send(session).is_err() {
                        break;
                    }
                }
            });
            let orders = [
                format!("connect {name} 10000 0"),
                format!("send over 0 {COUNT} 64"),
                "receive 10000".to_owned(),
                "leave".to_owned(),
            ];
            peers(&orders, place, kill, &seen);
            interrupter.interrupt();
            drop(seen);
            serving.join().unwrap();
        }
    }
}

/// Where a server can be stopped.
const SERVER: [&str; 11] = [
    "accept.request",
    "accept.reset",
    "accept.ready",
    "accept.answered",
    "send.written",
    "send.evicted",
    "send.published",
    "sleep.announced",
    "receive.copied",
    "receive.taken",
    "stop.gone",
];

#[test]
fn a_server_is_stopped_at_each_place() {
    for place in SERVER {
        for kill in [true, false] {
            let name = unique("server");
            let (sender, seen) = mpsc::channel();
            let own = name.clone();
            let asking = std::thread::spawn(move || {
                // Until the test no longer receives.
                while let Ok(client) = SharedClient::connect(&own, Duration::from_millis(3000)) {
                    std::thread::sleep(Duration::from_millis(2));
                    let session = converse(
                        |buffer| client.receive_from_server_timeout(buffer, millis(20)),
                        |answer| client.send_to_server(answer).map(drop),
                    );
                    if sender.send(session).is_err() {
                        break;
                    }
                }
            });
            let orders = [
                format!("start {name} 4096 {LIMIT} 0"),
                "accept 10000".to_owned(),
                format!("send over 0 {COUNT} 64"),
                "receive 10000".to_owned(),
                "leave".to_owned(),
            ];
            peers(&orders, place, kill, &seen);
            drop(seen);
            // A last server ends the wait of the thread that still connects.
            let mut last = SharedServer::start(&name).unwrap();
            let _ = last.wait_for_client(seconds(5));
            drop(last);
            asking.join().unwrap();
        }
    }
}

/// Where a server can be stopped between two sessions.
const BETWEEN: &[&str] = if cfg!(windows) {
    &["renew.begun", "renew.made"]
} else {
    &["renew.begun", "renew.made", "handover.begun"]
};

/// A server is stopped between two sessions while the next client waits. The client gets a session with this server if the
/// server continues, and with the next server if it was killed.
#[test]
fn a_server_is_stopped_between_two_sessions() {
    for place in BETWEEN {
        for kill in [true, false] {
            let name = unique("between");
            let mut peer = Peer::start();
            peer.must(&format!("start {name} 4096 {LIMIT} 0"));
            peer.tell("accept 10000");
            let first = SharedClient::connect(&name, Duration::from_secs(10)).unwrap();
            assert_eq!(peer.answer(), "ok", "{place}");
            first.send_to_server(&message(1, 64)).unwrap();
            drop(first);
            let own = name.clone();
            let next = std::thread::spawn(move || SharedClient::connect(&own, Duration::from_secs(10)));
            peer.must(&format!("stop_at {place}"));
            assert_eq!(peer.ask("accept 10000"), format!("at {place}"));
            let mut server = None;
            if kill {
                peer.kill();
                let mut other = SharedServer::start(&name).unwrap();
                other.wait_for_client(seconds(10)).unwrap();
                other.send_to_client(&message(2, 64)).unwrap();
                server = Some(other);
            } else {
                std::thread::sleep(WHILE);
                assert_eq!(peer.ask("go on"), "ok", "{place}");
                peer.must("send over 2 1 64");
            }
            let next = next.join().unwrap().unwrap();
            let mut buffer = Vec::new();
            next.receive_from_server_timeout(&mut buffer, seconds(5)).unwrap();
            assert_eq!(check_message(&buffer), 2, "{place}");
            drop(server);
        }
    }
}

/// Where a client of a multi-client server can be stopped before it has its slot.
const CLAIM: [&str; 7] = [
    "connect.found",
    "connect.before_request",
    "connect.request",
    "connect.requested",
    "connect.accepted",
    "claim.accepted",
    "claim.assigned",
];

struct Quiet;

impl MultiHandler for Quiet {}

#[test]
fn a_multi_client_is_stopped_at_each_place() {
    for place in CLAIM {
        for kill in [true, false] {
            let name = unique("many");
            let options = MultiOptions { max_clients: 2, ..MultiOptions::default() };
            let server = MultiServer::start(&name, std::sync::Arc::new(Quiet), options).unwrap();
            let mut peer = Peer::start();
            peer.must(&format!("stop_at {place}"));
            assert_eq!(peer.ask(&format!("join {name} 1")), format!("at {place}"));
            // Another client connects meanwhile.
            let mut other = Peer::start();
            let begun = Instant::now();
            other.must(&format!("join {name} 1"));
            assert!(begun.elapsed() < Duration::from_secs(3), "{place}: {:?}", begun.elapsed());
            if kill {
                peer.kill();
                let killed = Instant::now();
                while server.client_count() != 1 {
                    assert!(killed.elapsed() < SOON, "{place}: {:?}", server.connected_clients());
                    std::thread::yield_now();
                }
                // No slot is lost.
                let mut third = Peer::start();
                third.must(&format!("join {name} 1"));
                assert_eq!(server.connected_clients(), [0, 1], "{place}");
            } else {
                std::thread::sleep(WHILE);
                let answer = peer.ask("go on");
                assert!(answer.starts_with("ok"), "{place}: {answer}");
                assert_eq!(server.connected_clients(), [0, 1], "{place}");
            }
        }
    }
}

/// Where the server knows of the client's request. The client gets its slot, whether it continues or not.
const REQUESTED: [&str; 4] = ["connect.requested", "connect.accepted", "claim.accepted", "claim.assigned"];

/// Has a peer join, or join and send, until it comes to that place, and freezes it there.
fn freeze_multi_client(name: &str, place: &str) -> Peer {
    let mut peer = Peer::start();
    let joins = place.starts_with("connect") || place.starts_with("claim");
    if !joins {
        peer.must(&format!("join {name} 1"));
    }
    peer.must(&format!("stop_at {place}"));
    let order = if joins { format!("join {name} 1") } else { "say 0 0 12 64".to_owned() };
    assert_eq!(peer.ask(&order), format!("at {place}"));
    raw::freeze(peer.id());
    peer
}

/// A server disconnects a client that is frozen. The client learns this when it continues.
#[test]
fn line_13_and_24_a_frozen_multi_client_is_disconnected() {
    for place in REQUESTED.into_iter().chain(["send.written", "send.published"]) {
        let name = unique("kicked");
        let multi = MultiOptions { max_clients: 1, ..MultiOptions::default() };
        let options = ServerOptions::new().ring_size(4096).message_limit(LIMIT);
        let (sender, gone) = mpsc::channel();
        let handler = std::sync::Arc::new(Gone(std::sync::Mutex::new(sender)));
        let server = options.start_multi(&name, handler, multi).unwrap();
        let mut frozen = freeze_multi_client(&name, place);
        // The client stays connected until the server ends its session.
        assert_eq!(gone.recv_timeout(WHILE), Err(mpsc::RecvTimeoutError::Timeout), "{place}");
        assert_eq!(server.connected_clients(), [0], "{place}");
        server.send_to(0, &message(1, 64)).unwrap();
        server.disconnect_client(0).unwrap();
        assert_eq!(gone.recv_timeout(SOON), Ok((0, DisconnectReason::Kicked)), "{place}");
        let mut next = Peer::start();
        let exchange = |next: &mut Peer, number: u64| {
            next.must(&format!("say 0 {number} 1 64"));
            server.send_to(0, &message(number, 64)).unwrap();
            assert_eq!(next.must("hear 0 5000"), number.to_string(), "{place}");
        };
        // The slot comes free when the handler has returned.
        let begun = Instant::now();
        loop {
            match next.ask(&format!("join {name} 1")).as_str() {
                "ok 0" => break,
                other => assert_eq!(other, "err NoFreeSlot", "{place}"),
            }
            assert!(begun.elapsed() < SOON, "{place}");
        }
        exchange(&mut next, 2);
        raw::thaw(frozen.id());
        let begun = Instant::now();
        match frozen.ask("go on").as_str() {
            // The client receives what the server sent before the end.
            "ok" | "ok 0" => {
                assert_eq!(frozen.must("hear 0 5000"), "1", "{place}");
                assert_eq!(frozen.must("hear 0 5000"), "end", "{place}");
                assert_eq!(frozen.ask("say 0 0 1 64"), "err NotConnected", "{place}");
            }
            other => {
                assert_eq!(other, "err NotConnected", "{place}");
                if place.starts_with("send") {
                    assert_eq!(frozen.must("hear 0 5000"), "1", "{place}");
                    assert_eq!(frozen.must("hear 0 5000"), "end", "{place}");
                }
            }
        }
        assert!(begun.elapsed() < SOON, "{place}: {:?}", begun.elapsed());
        exchange(&mut next, 3);
        assert_eq!(gone.try_recv(), Err(mpsc::TryRecvError::Empty), "{place}");
    }
}

struct Gone(std::sync::Mutex<mpsc::Sender<(u32, DisconnectReason)>>);

impl MultiHandler for Gone {
    fn on_client_disconnect_because(&self, client_id: u32, reason: &DisconnectReason) {
        self.0.lock().unwrap().send((client_id, reason.clone())).unwrap();
    }
}

/// Neither does a server wait for a frozen client when it stops, nor does the next server when it starts.
#[test]
fn line_21_a_multi_server_stops_while_a_client_is_frozen() {
    for place in CLAIM {
        let name = unique("stops");
        let start = || MultiServer::start(&name, std::sync::Arc::new(Quiet), MultiOptions::default());
        let server = start().unwrap();
        let mut frozen = freeze_multi_client(&name, place);
        let no_copies = no_peer_starts();
        let ((), took) = timed(|| server.stop());
        assert!(took < Duration::from_millis(100), "{place}: {took:?}");
        drop(server);
        let next = start().unwrap();
        drop(no_copies);
        raw::thaw(frozen.id());
        // If the client was not accepted yet, it looks the name up again. Otherwise it learns that its session is over.
        match frozen.ask("go on").as_str() {
            "ok 0" if next.client_count() == 1 => {}
            "ok 0" => assert_eq!(frozen.must("hear 0 5000"), "end", "{place}"),
            other => assert_eq!(other, "err NotConnected", "{place}"),
        }
    }
}
