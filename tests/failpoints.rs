//! The peer is stopped at each named place of the library: killed there; or held there for a while, and let go on. The side at the
//! other end goes on as promised. Needs a build with `--cfg xshm_failpoints`: ci/failpoints.sh.
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

/// How long a stopped peer is held before it may go on.
const WHILE: Duration = Duration::from_millis(60);

/// Within so much the other side knows that a peer is dead.
const SOON: Duration = Duration::from_millis(500);

/// How a session looked from the test's side.
#[derive(Debug)]
struct Seen {
    /// Numbers of messages, in their order.
    received: Vec<u64>,
    end: ShmError,
    ended: Instant,
}

impl Seen {
    /// Whole messages in their order, and one of the ends that there may be.
    fn check(&self, place: &str) {
        assert!(self.received.windows(2).all(|pair| pair[0] < pair[1]), "{place}: {:?}", self.received);
        let over = matches!(self.end, ShmError::PeerDied { .. } | ShmError::NotConnected);
        assert!(over, "{place}: ended by {:?}", self.end);
    }

    fn is_complete(&self) -> bool {
        self.received.last() == Some(&(COUNT - 1)) && self.end == ShmError::NotConnected
    }
}

/// Receives until the session is over. What came is answered once, late enough for the peer to have gone to sleep.
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
                    // Its peer may be gone by now.
                    let _ = answer(&message(7, 64));
                }
            }
            Err(ShmError::Timeout) => {}
            Err(end) => return Seen { received, end, ended: Instant::now() },
        }
    }
}

/// Has a peer do these things, and stops it at a place once.
enum Stopped {
    Killed(Instant),
    /// Went on to the end.
    Done,
    /// It never came there.
    Never,
}

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

/// Stops a peer at a place, and has another one do the same without a stop after it.
fn peers(orders: &[String], place: &str, kill: bool, seen: &mpsc::Receiver<Seen>) {
    let mut peer = Peer::start();
    let stopped = perform(&mut peer, orders, place, kill);
    let mut next = match stopped {
        Stopped::Killed(_) => Peer::start(),
        Stopped::Done => peer,
        Stopped::Never => panic!("{place} was never reached"),
    };
    if let Stopped::Killed(at) = stopped {
        let begun = Instant::now();
        assert!(matches!(perform(&mut next, orders, "", false), Stopped::Done));
        assert!(begun.elapsed() < Duration::from_secs(3), "{place}: the next took {:?}", begun.elapsed());
        // There may have been no session with the first, or one that was complete.
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
fn a_client_is_stopped_anywhere() {
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
fn a_server_is_stopped_anywhere() {
    for place in SERVER {
        for kill in [true, false] {
            let name = unique("server");
            let (sender, seen) = mpsc::channel();
            let own = name.clone();
            let asking = std::thread::spawn(move || {
                // Until no test looks any more.
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
            // One without a peer ends the other's waiting.
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

/// A server that is stopped between two sessions, while the next client waits: it gets its own session when the server goes
/// on, and the next server when it does not.
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

/// Where a client of a server for many can be stopped before it has its slot.
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
fn a_client_of_many_is_stopped_anywhere() {
    for place in CLAIM {
        for kill in [true, false] {
            let name = unique("many");
            let options = MultiOptions { max_clients: 2, ..MultiOptions::default() };
            let server = MultiServer::start(&name, std::sync::Arc::new(Quiet), options).unwrap();
            let mut peer = Peer::start();
            peer.must(&format!("stop_at {place}"));
            assert_eq!(peer.ask(&format!("join {name} 1")), format!("at {place}"));
            // Others come in meanwhile.
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

/// Where the server knows of a client's request, so that it gets its slot whether it goes on or not.
const ADMITTED: [&str; 4] = ["connect.requested", "connect.accepted", "claim.accepted", "claim.assigned"];

/// Has a peer join, or say something when it has joined, up to that place, and freezes it there.
fn freeze_one_of_many(name: &str, place: &str) -> Peer {
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

/// One that is frozen for longer than its server wants to wait is kicked, and finds that out when it goes on.
#[test]
fn line_13_and_24_a_client_of_many_is_frozen_and_kicked() {
    for place in ADMITTED.into_iter().chain(["send.written", "send.published"]) {
        let name = unique("kicked");
        let multi = MultiOptions { max_clients: 1, ..MultiOptions::default() };
        let options = ServerOptions::new().ring_size(4096).message_limit(LIMIT);
        let (sender, gone) = mpsc::channel();
        let handler = std::sync::Arc::new(Gone(std::sync::Mutex::new(sender)));
        let server = options.start_multi(&name, handler, multi).unwrap();
        let mut frozen = freeze_one_of_many(&name, place);
        // It stays for as long as it is let.
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
            // What it was sent before the end is its to receive.
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

/// A server needs no answer of a frozen client to stop, and its successor none to start.
#[test]
fn line_21_a_server_for_many_stops_while_a_client_is_frozen() {
    for place in CLAIM {
        let name = unique("stops");
        let start = || MultiServer::start(&name, std::sync::Arc::new(Quiet), MultiOptions::default());
        let server = start().unwrap();
        let mut frozen = freeze_one_of_many(&name, place);
        let ((), took) = timed(|| server.stop());
        assert!(took < Duration::from_millis(100), "{place}: {took:?}");
        drop(server);
        // A process that another test is about to start has a copy of the name's socket until it runs its program.
        let begun = Instant::now();
        let next = loop {
            match start() {
                Ok(next) => break next,
                Err(error) => assert!(matches!(error, ShmError::AlreadyExists { .. }), "{place}: {error:?}"),
            }
            assert!(begun.elapsed() < SOON, "{place}: the name is not free");
            std::thread::yield_now();
        };
        raw::thaw(frozen.id());
        // It comes again if it had not got in, and else learns that its session is over.
        match frozen.ask("go on").as_str() {
            "ok 0" if next.client_count() == 1 => {}
            "ok 0" => assert_eq!(frozen.must("hear 0 5000"), "end", "{place}"),
            other => assert_eq!(other, "err NotConnected", "{place}"),
        }
    }
}
