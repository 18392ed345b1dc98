//! The peer's whole process is frozen at each named place of the library, and continues later. A frozen peer is not dead:
//! the side at the other end waits no longer than its time limit and does not end the session, and all messages arrive in
//! the end. Needs a build with `--cfg xshm_failpoints`: ci/failpoints.sh.
#![cfg(xshm_failpoints)]

mod common;

use common::*;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use xshm::{ClientOptions, Result, ServerOptions, SharedClient, SharedServer, ShmError, WriteOutcome};

#[test]
fn peer_process() {
    serve();
}

/// Messages that the peer sends: more than the queue holds.
const COUNT: u64 = 20;
const LIMIT: usize = 8;

/// Numbers of messages that the test sends to the peer: the first one, and the last one after many while the peer is frozen.
const FIRST: u64 = 100;
const END: u64 = 999;

/// The time limit of one call to a frozen peer, in milliseconds, and the time that the call may take on a busy machine.
const GLANCE: u64 = 15;
const SLACK: Duration = Duration::from_millis(250);

/// No step of a test takes this long.
const HANG: Duration = Duration::from_secs(10);

/// What the peer has done.
#[derive(Debug, PartialEq)]
enum Step {
    Frozen,
    /// All of its messages are sent; that number of them was evicted.
    Sent(u64),
    /// It has received this number of messages, the last one included.
    Received(u64),
    Left,
}

/// Gives the peer its orders, and freezes it when it comes to the place. The peer continues when the test sends to `thaw`.
fn drive(
    mut peer: Peer, place: &str, begin: &[String], how: &str, steps: &Sender<Step>, thaw: &Receiver<()>,
) {
    let mut is_next = true;
    let mut order = |peer: &mut Peer, order: &str| {
        let mut answer = peer.ask(order);
        if answer == format!("at {place}") {
            assert!(std::mem::take(&mut is_next), "{place}: twice");
            raw::freeze(peer.id());
            steps.send(Step::Frozen).unwrap();
            thaw.recv().unwrap();
            raw::thaw(peer.id());
            answer = peer.ask("go on");
        }
        let result = answer.strip_prefix("ok").unwrap_or_else(|| panic!("{place}: {order}: {answer}"));
        result.trim_start().to_owned()
    };
    peer.must(&format!("stop_at {place}"));
    for begin in begin {
        order(&mut peer, begin);
    }
    let evicted = order(&mut peer, &format!("send {how} 0 {COUNT} 64")).parse().unwrap();
    steps.send(Step::Sent(evicted)).unwrap();
    let (mut received, mut newest) = (0, 0);
    while newest != END {
        let number = order(&mut peer, "receive 10000").parse().unwrap();
        assert!(number > newest, "{place}: {number} after {newest}");
        newest = number;
        received += 1;
    }
    steps.send(Step::Received(received)).unwrap();
    order(&mut peer, "leave");
    steps.send(Step::Left).unwrap();
}

/// The test's end of the channel.
trait End {
    fn receive(&self, buffer: &mut Vec<u8>, timeout: Option<Duration>) -> Result<usize>;
    fn send(&self, message: &[u8]) -> Result<WriteOutcome>;
    fn try_send(&self, message: &[u8]) -> Result<()>;
    fn send_timeout(&self, message: &[u8], timeout: Option<Duration>) -> Result<()>;
    fn is_connected(&self) -> bool;
    /// Another process tries to take the peer's place, and is refused in time.
    fn another_process_wants_its_place(&mut self, name: &str, place: &str);
}

macro_rules! end {
    ($end:ty, $receive:ident, $send:ident, $try_send:ident, $send_timeout:ident, $asks:item) => {
        impl End for $end {
            fn receive(&self, buffer: &mut Vec<u8>, timeout: Option<Duration>) -> Result<usize> {
                self.$receive(buffer, timeout)
            }
            fn send(&self, message: &[u8]) -> Result<WriteOutcome> {
                self.$send(message)
            }
            fn try_send(&self, message: &[u8]) -> Result<()> {
                self.$try_send(message)
            }
            fn send_timeout(&self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
                self.$send_timeout(message, timeout)
            }
            fn is_connected(&self) -> bool {
                self.is_connected()
            }
            $asks
        }
    };
}

end!(
    SharedServer,
    receive_from_client_timeout,
    send_to_client,
    try_send_to_client,
    send_to_client_timeout,
    fn another_process_wants_its_place(&mut self, name: &str, place: &str) {
        assert_eq!(self.wait_for_client(millis(GLANCE)), Err(ShmError::AlreadyConnected), "{place}");
        connecting_fails_in_time(name, place);
    }
);

end!(
    SharedClient,
    receive_from_server_timeout,
    send_to_server,
    try_send_to_server,
    send_to_server_timeout,
    fn another_process_wants_its_place(&mut self, name: &str, place: &str) {
        let second = SharedServer::start(name).err();
        assert!(matches!(second, Some(ShmError::AlreadyExists { .. })), "{place}: {second:?}");
        connecting_fails_in_time(name, place);
    }
);

/// Connects a client, which is not accepted, and which waits no longer than its timeout.
fn connecting_fails_in_time(name: &str, place: &str) {
    let (error, took) = timed(|| SharedClient::connect(name, Duration::from_millis(GLANCE)).err());
    let expected = |error| {
        matches!(
            error,
            ShmError::AlreadyConnected | ShmError::NotAccepting { .. } | ShmError::NoServer { .. }
        )
    };
    assert!(error.clone().is_some_and(expected), "{place}: {error:?}");
    assert!(took < SLACK, "{place}: {took:?}");
}

/// Where the peer is frozen, and how it sends.
struct Case {
    name: String,
    place: &'static str,
    how: &'static str,
    steps: Receiver<Step>,
    thaw: Sender<()>,
    driver: JoinHandle<()>,
}

/// When the peer is frozen.
#[derive(Clone, Copy, PartialEq)]
enum Frozen {
    /// During the session.
    Later,
    /// Since before the session began, and still.
    Now,
    /// Before the session began; it has continued since.
    Before,
}

impl Case {
    /// Starts a peer that carries out its orders until it comes to the place.
    fn begin(name: &str, place: &'static str, how: &'static str, begin: Vec<String>) -> Self {
        let (tell, steps) = mpsc::channel();
        let (thaw, orders) = mpsc::channel();
        // If the thread panics, the test finds its channels closed, and panics too.
        let driver = std::thread::spawn(move || drive(Peer::start(), place, &begin, how, &tell, &orders));
        Case { name: name.to_owned(), place, how, steps, thaw, driver }
    }

    fn is_at(&self, prefix: &str) -> bool {
        self.place.starts_with(prefix)
    }

    /// Runs the session from its beginning until the peer leaves.
    fn converse(&self, end: &mut impl End, frozen: Frozen) {
        let place = self.place;
        let (mut received, mut buffer) = (Vec::new(), Vec::new());
        let (mut evicted, mut read) = (None, None);
        // Messages that the test sent, and how many of them were evicted.
        let (mut sent, mut lost) = (0, 0);
        let mut was_frozen = frozen != Frozen::Later;
        // The peer is frozen after its last message, or was frozen before the first.
        let ends_at_once = self.is_at("leave") || self.is_at("stop") || frozen == Frozen::Before;
        if frozen == Frozen::Now {
            self.stay(end, &mut received, &mut sent, &mut lost);
        }
        let begun = Instant::now();
        // Until the peer has left, or is frozen after it left.
        let over = loop {
            assert!(begun.elapsed() < HANG, "{place}: {received:?}");
            // The test does not receive while the peer must fill the queue, in order to evict or to wait for room.
            let fills = self.how == "over" || self.is_at("sleep");
            if !fills || evicted.is_some() || was_frozen {
                match end.receive(&mut buffer, millis(2)) {
                    Ok(_) => received.push(check_message(&buffer)),
                    Err(ShmError::Timeout) => {}
                    Err(over) => break over,
                }
            }
            let all = received.last() == Some(&(COUNT - 1));
            if all && sent == 0 && !self.is_at("sleep") {
                lost += u64::from(end.send(&message(FIRST, 64)).unwrap().overwritten);
                sent += 1;
                if ends_at_once {
                    end.send_timeout(&message(END, 64), seconds(5)).unwrap();
                    sent += 1;
                }
            }
            match self.steps.try_recv() {
                // The peer has left by then, so the session is over.
                Ok(Step::Frozen) if self.is_at("leave.left") || self.is_at("stop.gone") => was_frozen = true,
                Ok(Step::Frozen) => {
                    assert!(!was_frozen, "{place}");
                    was_frozen = true;
                    self.stay(end, &mut received, &mut sent, &mut lost);
                }
                Ok(Step::Sent(number)) => evicted = Some(number),
                Ok(Step::Received(number)) => read = Some(number),
                Ok(Step::Left) | Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => assert!(read.is_some(), "{place}: the peer failed"),
            }
        };
        assert_eq!(over, ShmError::NotConnected, "{place}");
        while evicted.is_none() || read.is_none() || !was_frozen {
            match self.steps.recv_timeout(HANG) {
                Ok(Step::Frozen) => was_frozen = true,
                Ok(Step::Sent(number)) => evicted = Some(number),
                Ok(Step::Received(number)) => read = Some(number),
                other => panic!("{place} was never reached: {other:?}"),
            }
        }
        // Each message has arrived, or was evicted and counted.
        assert!(received.windows(2).all(|pair| pair[0] < pair[1]), "{place}: {received:?}");
        assert_eq!(received.last(), Some(&(COUNT - 1)), "{place}: {received:?}");
        assert_eq!(received.len() as u64 + evicted.unwrap(), COUNT, "{place}: {received:?}");
        assert!(self.how == "over" || evicted == Some(0), "{place}: {evicted:?}");
        if !self.is_at("leave") && !self.is_at("stop") {
            assert_eq!(read.unwrap() + lost, sent, "{place}");
        }
    }

    /// The time while the peer is frozen during a session, until it continues.
    fn stay(&self, end: &mut impl End, received: &mut Vec<u64>, sent: &mut u64, lost: &mut u64) {
        let place = self.place;
        let mut buffer = Vec::new();
        // The messages that the peer had sent before are there.
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < HANG, "{place}");
            match end.receive(&mut buffer, Some(Duration::ZERO)) {
                Ok(_) => received.push(check_message(&buffer)),
                Err(ShmError::Timeout) => break,
                Err(error) => panic!("{place}: {error:?}"),
            }
        }
        for _ in 0..2 {
            let (nothing, took) = timed(|| end.receive(&mut buffer, millis(GLANCE)));
            assert_eq!(nothing, Err(ShmError::Timeout), "{place}");
            assert!(took >= Duration::from_millis(GLANCE) && took < SLACK, "{place}: {took:?}");
            assert!(end.is_connected(), "{place}");
            end.another_process_wants_its_place(&self.name, place);
        }
        // The test can send more messages than there is room for, also while the peer is in the middle of taking one.
        for number in FIRST + 1..FIRST + 4 + LIMIT as u64 {
            *lost += u64::from(end.send(&message(number, 64)).unwrap().overwritten);
            *sent += 1;
        }
        assert_eq!(end.try_send(&message(END, 64)), Err(ShmError::QueueFull), "{place}");
        let (full, took) = timed(|| end.send_timeout(&message(END, 64), millis(GLANCE)));
        assert_eq!(full, Err(ShmError::Timeout), "{place}");
        assert!(took < SLACK && end.is_connected(), "{place}: {took:?}");
        self.thaw.send(()).unwrap();
        if !self.is_at("leave") {
            // The peer waits for the last message, and makes room by receiving the others. It may first wait for room
            // itself.
            let begun = Instant::now();
            while let Err(error) = end.send_timeout(&message(END, 64), millis(2)) {
                assert_eq!(error, ShmError::Timeout, "{place}");
                assert!(begun.elapsed() < HANG, "{place}");
                match end.receive(&mut buffer, Some(Duration::ZERO)) {
                    Ok(_) => received.push(check_message(&buffer)),
                    Err(error) => assert_eq!(error, ShmError::Timeout, "{place}"),
                }
            }
            *sent += 1;
        }
    }
}

const IN_SESSION: [&str; 5] =
    ["send.written", "send.published", "sleep.announced", "receive.copied", "receive.taken"];

/// The cases of one side. A side that evicts comes to one more place.
fn cases(places: &[&'static str]) -> impl Iterator<Item = (&'static str, &'static str)> {
    let all: Vec<&str> = places.iter().chain(&IN_SESSION).copied().collect();
    let both = all.into_iter().flat_map(|place| [(place, "over"), (place, "wait")]);
    both.chain([("send.evicted", "over")])
}

/// Another client has a whole session.
fn serve_another(server: &mut SharedServer, name: &str, place: &str) {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let client = SharedClient::connect(name, HANG).unwrap();
            client.send_to_server(&message(1, 64)).unwrap();
            let mut buffer = Vec::new();
            client.receive_from_server_timeout(&mut buffer, Some(HANG)).unwrap();
            check_message(&buffer)
        });
        let mut buffer = Vec::new();
        server.wait_for_client(Some(HANG)).unwrap();
        server.receive_from_client_timeout(&mut buffer, Some(HANG)).unwrap();
        assert_eq!(check_message(&buffer), 1, "{place}");
        server.send_to_client(&message(2, 64)).unwrap();
        assert_eq!(other.join().unwrap(), 2, "{place}");
        let end = server.receive_from_client_timeout(&mut buffer, Some(HANG));
        assert_eq!(end, Err(ShmError::NotConnected), "{place}");
    });
}

#[test]
fn line_13_and_16_a_client_is_frozen_at_each_place() {
    const OUTSIDE: [&str; 2] = ["connect.found", "connect.before_request"];
    const INSIDE: [&str; 3] = ["connect.request", "connect.requested", "connect.accepted"];
    for (place, how) in cases(&[&OUTSIDE[..], &INSIDE, &["leave.begun", "leave.left"]].concat()) {
        let name = unique("frozen-client");
        let options = ServerOptions::new().ring_size(4096).message_limit(LIMIT).spin(Duration::ZERO);
        let mut server = options.start(&name).unwrap();
        let case = Case::begin(&name, place, how, vec![format!("connect {name} 20000 0")]);
        let mut frozen = if place.starts_with("connect") { Frozen::Now } else { Frozen::Later };
        let begun = Instant::now();
        let mut seen = false;
        // The request counts, even if the client was frozen before it could signal it.
        while let Err(error) = server.wait_for_client(millis(2)) {
            assert_eq!(error, ShmError::Timeout, "{place}");
            assert!(begun.elapsed() < HANG, "{place}: there is no session");
            if case.steps.try_recv() == Ok(Step::Frozen) {
                seen = true;
                if OUTSIDE.contains(&place) {
                    // The client has requested nothing yet, so it delays no other client.
                    assert!(!server.is_connected(), "{place}");
                    serve_another(&mut server, &name, place);
                    case.thaw.send(()).unwrap();
                    frozen = Frozen::Before;
                }
            }
        }
        if frozen == Frozen::Now && !seen {
            assert!(INSIDE.contains(&place), "{place} was never reached");
            assert_eq!(case.steps.recv_timeout(HANG), Ok(Step::Frozen), "{place}");
        }
        case.converse(&mut server, frozen);
        if place == "leave.left" {
            // The client has left: another one can take its place.
            serve_another(&mut server, &name, place);
            case.thaw.send(()).unwrap();
        }
        case.driver.join().unwrap();
    }
}

#[test]
fn line_13_and_16_a_server_is_frozen_at_each_place() {
    for (place, how) in
        cases(&["accept.request", "accept.reset", "accept.ready", "accept.answered", "stop.gone"])
    {
        let name = unique("frozen-server");
        let begin = vec![format!("start {name} 4096 {LIMIT} 0"), "accept 20000".to_owned()];
        let case = Case::begin(&name, place, how, begin);
        let own = name.clone();
        let connecting = std::thread::spawn(move || {
            ClientOptions::new().spin(Duration::ZERO).connect(&own, Duration::from_secs(20))
        });
        let mut frozen = Frozen::Later;
        if place.starts_with("accept") {
            assert_eq!(case.steps.recv_timeout(HANG), Ok(Step::Frozen), "{place}");
            frozen = Frozen::Now;
            if place == "accept.request" || place == "accept.reset" {
                // The server has not answered: its client still waits, and other clients wait until their timeouts.
                connecting_fails_in_time(&name, place);
                let second = SharedServer::start(&name).err();
                assert!(matches!(second, Some(ShmError::AlreadyExists { .. })), "{place}: {second:?}");
                assert!(!connecting.is_finished(), "{place}");
                case.thaw.send(()).unwrap();
                frozen = Frozen::Before;
            }
        }
        let mut client = connecting.join().unwrap().unwrap();
        case.converse(&mut client, frozen);
        if place == "stop.gone" {
            // The server keeps its name until its process continues.
            let second = SharedServer::start(&name).err();
            assert!(matches!(second, Some(ShmError::AlreadyExists { .. })), "{place}: {second:?}");
            connecting_fails_in_time(&name, place);
            case.thaw.send(()).unwrap();
        }
        case.driver.join().unwrap();
        drop(SharedServer::start(&name).unwrap());
    }
}

/// A server is frozen between two sessions. Meanwhile the next client waits no longer than its timeout. When the server
/// continues, the client connects.
#[test]
fn line_13_and_16_a_server_is_frozen_between_two_sessions() {
    for place in ["renew.begun", "renew.made"] {
        let name = unique("frozen-between");
        let mut peer = Peer::start();
        peer.must(&format!("start {name} 4096 {LIMIT} 0"));
        peer.tell("accept 10000");
        let first = SharedClient::connect(&name, HANG).unwrap();
        assert_eq!(peer.answer(), "ok", "{place}");
        first.send_to_server(&message(1, 64)).unwrap();
        drop(first);
        peer.must(&format!("stop_at {place}"));
        assert_eq!(peer.ask("accept 20000"), format!("at {place}"));
        raw::freeze(peer.id());
        connecting_fails_in_time(&name, place);
        let second = SharedServer::start(&name).err();
        assert!(matches!(second, Some(ShmError::AlreadyExists { .. })), "{place}: {second:?}");
        let own = name.clone();
        let next = std::thread::spawn(move || SharedClient::connect(&own, HANG));
        raw::thaw(peer.id());
        assert_eq!(peer.ask("go on"), "ok", "{place}");
        let next = next.join().unwrap().unwrap();
        peer.must("send over 2 1 64");
        let mut buffer = Vec::new();
        next.receive_from_server_timeout(&mut buffer, Some(HANG)).unwrap();
        assert_eq!(check_message(&buffer), 2, "{place}");
    }
}
