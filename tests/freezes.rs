//! The peer's whole process is frozen at each named place of the library, and goes on later. A frozen peer is not a dead one:
//! who is at the other end waits no longer than its time limit, takes nothing away from it, and all messages arrive in the end.
//! Needs a build with `--cfg xshm_failpoints`: ci/failpoints.sh.
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

/// What the peer is sent: one message, many more while it is frozen, and the last one.
const FIRST: u64 = 100;
const END: u64 = 999;

/// How long one look at a frozen peer may wait, and how much longer it may take. The machine may be busy.
const GLANCE: u64 = 15;
const SLACK: Duration = Duration::from_millis(250);

/// Nothing of this takes so long.
const HANG: Duration = Duration::from_secs(10);

/// What the peer has come to.
#[derive(Debug, PartialEq)]
enum Step {
    Frozen,
    /// All of its messages are sent; that number of them was evicted.
    Sent(u64),
    /// It has had the last message, and that number before it.
    Received(u64),
    Left,
}

/// Gives the peer its orders, and freezes it at the place when it comes there. It goes on when the test says so.
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
    /// Somebody else would like to have the peer's place.
    fn asks_for_its_place(&mut self, name: &str, place: &str);
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
    fn asks_for_its_place(&mut self, name: &str, place: &str) {
        assert_eq!(self.wait_for_client(millis(GLANCE)), Err(ShmError::AlreadyConnected), "{place}");
        knock_in_vain(name, place);
    }
);

end!(
    SharedClient,
    receive_from_server_timeout,
    send_to_server,
    try_send_to_server,
    send_to_server_timeout,
    fn asks_for_its_place(&mut self, name: &str, place: &str) {
        let second = SharedServer::start(name).err();
        assert!(matches!(second, Some(ShmError::AlreadyExists { .. })), "{place}: {second:?}");
        knock_in_vain(name, place);
    }
);

/// A client is not accepted, and has not waited longer for that than it wanted to.
fn knock_in_vain(name: &str, place: &str) {
    let (error, took) = timed(|| SharedClient::connect(name, Duration::from_millis(GLANCE)).err());
    assert!(matches!(error, Some(ShmError::AlreadyConnected | ShmError::Timeout)), "{place}: {error:?}");
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

/// When the peer is frozen: in the session, since before it was known of, or while there was none.
#[derive(Clone, Copy, PartialEq)]
enum Frozen {
    Later,
    Now,
    Before,
}

impl Case {
    /// Has a peer follow its orders up to that place.
    fn begin(name: &str, place: &'static str, how: &'static str, begin: Vec<String>) -> Self {
        let (tell, steps) = mpsc::channel();
        let (thaw, orders) = mpsc::channel();
        // If it panics, the test finds its channels closed, and panics too.
        let driver = std::thread::spawn(move || drive(Peer::start(), place, &begin, how, &tell, &orders));
        Case { name: name.to_owned(), place, how, steps, thaw, driver }
    }

    fn is_at(&self, prefix: &str) -> bool {
        self.place.starts_with(prefix)
    }

    /// Goes through the session, from its beginning to the peer's leaving.
    fn converse(&self, end: &mut impl End, frozen: Frozen) {
        let place = self.place;
        let (mut received, mut buffer) = (Vec::new(), Vec::new());
        let (mut evicted, mut read) = (None, None);
        // What the peer was sent: how many, and how many of them were evicted.
        let (mut sent, mut lost) = (0, 0);
        let mut was_frozen = frozen != Frozen::Later;
        // It is frozen after the last message, or has been so before the first.
        let ends_at_once = self.is_at("leave") || self.is_at("stop") || frozen == Frozen::Before;
        if frozen == Frozen::Now {
            self.stay(end, &mut received, &mut sent, &mut lost);
        }
        let begun = Instant::now();
        // Until the peer has left, or is frozen having left.
        let over = loop {
            assert!(begun.elapsed() < HANG, "{place}: {received:?}");
            // The queue is left to fill up where the peer is to evict, or to wait for room.
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
                // A peer that has left by then says so.
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
        // All of it has arrived, or was evicted and counted.
        assert!(received.windows(2).all(|pair| pair[0] < pair[1]), "{place}: {received:?}");
        assert_eq!(received.last(), Some(&(COUNT - 1)), "{place}: {received:?}");
        assert_eq!(received.len() as u64 + evicted.unwrap(), COUNT, "{place}: {received:?}");
        assert!(self.how == "over" || evicted == Some(0), "{place}: {evicted:?}");
        if !self.is_at("leave") && !self.is_at("stop") {
            assert_eq!(read.unwrap() + lost, sent, "{place}");
        }
    }

    /// The time while the peer, with whom there is a session, is frozen; and its going on.
    fn stay(&self, end: &mut impl End, received: &mut Vec<u64>, sent: &mut u64, lost: &mut u64) {
        let place = self.place;
        let mut buffer = Vec::new();
        // What it had sent before is there.
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
            end.asks_for_its_place(&self.name, place);
        }
        // It can be sent more than there's room for, also while it stands in the middle of taking a message.
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
            // It waits for the last one, and makes room by receiving the others; first it may wait for us to make some.
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

/// The cases of one side: a side that sends by evicting comes to one place more.
fn cases(places: &[&'static str]) -> impl Iterator<Item = (&'static str, &'static str)> {
    let all: Vec<&str> = places.iter().chain(&IN_SESSION).copied().collect();
    let both = all.into_iter().flat_map(|place| [(place, "over"), (place, "wait")]);
    both.chain([("send.evicted", "over")])
}

/// Another one has a whole session.
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
fn line_13_and_16_a_client_is_frozen_anywhere() {
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
        // Its hello counts, also where it could not signal it any more.
        while let Err(error) = server.wait_for_client(millis(2)) {
            assert_eq!(error, ShmError::Timeout, "{place}");
            assert!(begun.elapsed() < HANG, "{place}: there is no session");
            if case.steps.try_recv() == Ok(Step::Frozen) {
                seen = true;
                if OUTSIDE.contains(&place) {
                    // It has no claim to anything yet, and delays no other client.
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
            // Nothing is left to take from it.
            serve_another(&mut server, &name, place);
            case.thaw.send(()).unwrap();
        }
        case.driver.join().unwrap();
    }
}

#[test]
fn line_13_and_16_a_server_is_frozen_anywhere() {
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
                // It has not answered, so its client waits on, and others wait no longer than they want to.
                knock_in_vain(&name, place);
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
            // It has the name for as long as it isn't done.
            let second = SharedServer::start(&name).err();
            assert!(matches!(second, Some(ShmError::AlreadyExists { .. })), "{place}: {second:?}");
            knock_in_vain(&name, place);
            case.thaw.send(()).unwrap();
        }
        case.driver.join().unwrap();
        drop(SharedServer::start(&name).unwrap());
    }
}

/// A server that is frozen between two sessions has lost nothing: the next client waits no longer than it wants to, and connects
/// when the server goes on.
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
        knock_in_vain(&name, place);
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
