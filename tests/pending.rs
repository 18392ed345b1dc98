//! Line 9a of docs/guarantees.md, on Linux: what a server gives to a client that waits contains nothing of the last session,
//! however that session ended.
#![cfg(target_os = "linux")]

mod common;
#[path = "common/helper.rs"]
mod helper;
#[path = "common/raw_client.rs"]
mod raw_client;

use common::*;
use helper::*;
use raw_client::{Connection, RawClient};
use std::time::{Duration, Instant};
use xshm::ShmError;

#[test]
fn peer_process() {
    serve_or_help();
}

/// Connects to the name, and waits in a thread until the server gives it a channel, which `take` uses. If `take` returns
/// `None`, the client missed its turn because the machine was busy. Like any client, it then connects again.
fn queued<T: Send + 'static>(
    name: &str, mut take: impl FnMut(RawClient, Duration) -> Option<T> + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let name = name.to_owned();
    let mut connection = Connection::open(&name).expect("the name is there");
    std::thread::spawn(move || loop {
        let (answered, took) = timed(|| connection.is_answered(Duration::from_secs(10)));
        assert!(answered, "nothing for 10 s");
        let client = connection.take_answer().expect("the server gives it a channel");
        if let Some(taken) = take(client, took) {
            return taken;
        }
        connection = Connection::open(&name).expect("the name is there");
    })
}

/// What a client got from the server, before it changed anything.
struct Seen {
    bytes: Vec<u8>,
    generation: u32,
    state: u64,
}

impl Seen {
    fn of(client: &RawClient) -> Self {
        Seen { bytes: client.bytes(), generation: client.generation(), state: client.state() }
    }

    /// Lists the traces of an earlier session in which these messages were sent.
    fn traces(&self, messages: impl IntoIterator<Item = u64>) -> Vec<String> {
        let sees = |number: &u64| self.bytes.windows(64).any(|window| window == message(*number, 64));
        let mut traces: Vec<String> = messages
            .into_iter()
            .filter(sees)
            .map(|number| format!("message {number} of the last session"))
            .collect();
        if (self.generation, self.state) != (0, 0) {
            traces.push(format!("generation {}, client word in state {}", self.generation, self.state));
        }
        traces
    }
}

#[test]
fn line_9a_a_waiting_client_sees_nothing_of_a_client_that_left() {
    let name = unique("pending-left");
    let mut server = small().start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    peer.must("send over 100 5 64");
    for number in 0..5 {
        server.send_to_client(&message(number, 64)).unwrap();
    }
    peer.must("receive 5000");
    let next = queued(&name, |client, _| {
        let seen = Seen::of(&client);
        let answered = client.request(Duration::from_secs(5));
        (!client.is_withdrawn()).then(|| (seen.traces((0..5).chain(100..105)), answered))
    });
    peer.must("leave");
    let mut buffer = Vec::new();
    while server.receive_from_client(&mut buffer).is_ok() {}
    let accepted = server.wait_for_client(seconds(5));
    let (traces, answered) = next.join().unwrap();
    assert!(traces.is_empty(), "the client got {traces:?}");
    assert_eq!((accepted, answered), (Ok(()), true));
}

/// The last client still has messages to receive. The next client can neither read nor change them, and does not wait.
#[test]
fn line_9a_a_waiting_client_sees_nothing_of_a_client_that_still_receives() {
    let name = unique("pending-drains");
    let mut server = small().start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    peer.must("send over 100 5 64");
    for number in 0..5 {
        server.send_to_client(&message(number, 64)).unwrap();
    }
    let next = queued(&name, |client, _| {
        let given_at = Instant::now();
        let seen = Seen::of(&client);
        client.overwrite_rings();
        let answered = client.request(Duration::from_secs(2));
        (!client.is_withdrawn()).then(|| (seen.traces((0..5).chain(100..105)), given_at, answered))
    });
    server.disconnect_client();
    let start = Instant::now();
    let accepted = server.wait_for_client(seconds(5));
    let (traces, given_at, answered) = next.join().unwrap();
    // The last client receives exactly what it was sent.
    let received: Vec<String> = (0..6).map(|_| peer.ask("receive 5000")).collect();
    assert!(traces.is_empty(), "the next client got {traces:?}; the last one received {received:?}");
    assert_eq!(received, ["ok 0", "ok 1", "ok 2", "ok 3", "ok 4", "err NotConnected"]);
    let took = given_at - start;
    assert!(took < Duration::from_millis(500), "the next client got its channel after {took:?}");
    assert_eq!((accepted, answered), (Ok(()), true));
}

/// The server ends the session of a client that is frozen, and so keeps its channel. The server still accepts the next
/// clients.
#[test]
fn line_13_a_disconnected_client_that_keeps_its_channel_delays_no_other() {
    let name = unique("pending-frozen");
    let mut server = small().start(&name).unwrap();
    let mut frozen = Vec::new();
    for round in 0..3 {
        let mut peer = Peer::start();
        peer.tell(&format!("connect {name} 5000"));
        let (accepted, took) = timed(|| server.wait_for_client(seconds(5)));
        assert_eq!(accepted, Ok(()), "round {round}");
        assert_eq!(peer.answer(), "ok");
        // This includes the start of a process.
        assert!(took < Duration::from_secs(2), "round {round}: {took:?}");
        server.send_to_client(&message(round, 64)).unwrap();
        raw::freeze(peer.id());
        server.disconnect_client();
        frozen.push(peer);
    }
    for (round, peer) in frozen.iter_mut().enumerate() {
        raw::thaw(peer.id());
        assert_eq!(peer.ask("receive 5000"), format!("ok {round}"));
        assert_eq!(peer.ask("receive 5000"), "err NotConnected");
    }
}

/// If the server can make a new channel, the next client does not wait for the last one.
#[test]
fn line_13_a_client_is_accepted_at_once_although_the_last_one_keeps_its_channel() {
    const ROUNDS: usize = 11;
    let name = unique("pending-at-once");
    let mut server = small().start(&name).unwrap();
    let mut peers: Vec<Peer> = (0..=ROUNDS).map(|_| Peer::start()).collect();
    peers[0].enter(&name, &mut server);
    let mut waits = Vec::new();
    for peer in &mut peers[1..] {
        // The process has started.
        peer.ask("stats");
        server.disconnect_client();
        peer.tell(&format!("connect {name} 5000"));
        let (accepted, took) = timed(|| server.wait_for_client(seconds(5)));
        assert_eq!((accepted, peer.answer().as_str()), (Ok(()), "ok"));
        waits.push(took);
    }
    waits.sort_unstable();
    assert!(waits[ROUNDS / 2] < Duration::from_millis(15), "{waits:?}");
}

/// The server sleeps while the last client still has its channel and other clients wait at the name.
#[test]
fn a_server_that_waits_for_a_client_sleeps_although_the_last_one_keeps_its_channel() {
    let name = unique("pending-sleeps");
    let mut server = small().start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    let idle: Vec<_> = (0..10).map(|_| Connection::open(&name).unwrap()).collect();
    server.disconnect_client();
    let before = raw::thread_processor_time();
    assert_eq!(server.wait_for_client(millis(500)), Err(ShmError::Timeout));
    let used = raw::thread_processor_time() - before;
    assert!(used < 1_000_000, "{used} units of 100 ns of processor time, in 500 ms");
    drop((idle, peer));
}

// ---- A renewal that fails.

/// A server in a helper process, and a client ("the spy") that had a session with it and keeps its section mapped.
struct Spied {
    name: String,
    server: Peer,
    spy: RawClient,
}

impl Spied {
    /// `held` descriptor numbers below those of the server are free afterwards.
    fn start(test: &str, held: u32) -> Self {
        let name = unique(test);
        let mut server = helper();
        server.must(&format!("hold {held}"));
        server.must(&format!("start {name}"));
        server.must("release");
        let spy = queued(&name, |client, _| client.request(Duration::from_secs(5)).then_some(client));
        server.must("accept 5000");
        Spied { name, server, spy: spy.join().unwrap() }
    }

    fn spy_leaves(&mut self) {
        self.spy.leave();
        assert_eq!(self.server.ask("receive 5000"), "err NotConnected");
    }

    /// The next client connects and exchanges messages. `Err` describes what goes wrong.
    fn serve_the_next(&mut self) -> Result<(), String> {
        let mut next = Peer::start();
        self.server.tell("accept 3000");
        next.tell(&format!("connect {} 3000", self.name));
        let accepted = (self.server.answer(), next.answer());
        if !(accepted.0.starts_with("ok") && accepted.1.starts_with("ok")) {
            return Err(format!("the server and the next client: {accepted:?}"));
        }
        self.server.must("send 7");
        next.must("send over 8 1 64");
        let seen: Vec<u64> =
            [7, 8].into_iter().filter(|&number| self.spy.sees(&message(number, 64))).collect();
        if !seen.is_empty() {
            return Err(format!("the spy reads messages {seen:?} of the next session"));
        }
        let mut received = vec![next.ask("receive 2000"), self.server.ask("receive 2000")];
        // A receiver that waits is woken too, so both sockets of each pair belong together.
        next.tell("receive 2000");
        self.server.must("send 9");
        received.push(next.answer());
        self.server.tell("receive 2000");
        next.must("send over 10 1 64");
        received.push(self.server.answer());
        match received.join(", ").as_str() {
            "ok 7, ok 8, ok 9, ok 10" => Ok(()),
            other => Err(format!("client, server, client, server received: {other}")),
        }
    }
}

/// A new section and its events need nine descriptors at once. Four free ones are too few, even after the server has closed
/// those of the last session.
const TOO_FEW: u64 = 4;

/// The server never gives a section that an earlier client keeps to the next client. If it has no descriptors for a new
/// section, it tries again before it accepts.
#[test]
fn line_9a_a_server_retries_a_failed_renewal_before_it_accepts() {
    let mut wrong = Vec::new();
    for free in [1, 2, TOO_FEW, 6, 8] {
        let mut spied = Spied::start("pending-owed", 0);
        spied.server.must("limit 64");
        spied.spy_leaves();
        spied.server.must(&format!("hog {free}"));
        let answers = [0, 1].map(|_| spied.server.ask("accept 50"));
        let failed = |answer: &String| answer.starts_with("err SystemError");
        if free <= TOO_FEW && !answers.iter().all(failed) {
            wrong.push(format!("{free} descriptors free: {answers:?}"));
        }
        spied.server.must("release");
        if let Err(what) = spied.serve_the_next() {
            wrong.push(format!("{free} descriptors free: {what}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The next client waits at the name while the server fails to make a new section.
#[test]
fn line_9a_a_client_that_waits_while_a_renewal_fails_gets_a_fresh_section() {
    let mut wrong = Vec::new();
    for free in [1, 2, TOO_FEW, 6, 8] {
        let mut spied = Spied::start("pending-waits", 0);
        spied.server.must("limit 64");
        let next = queued(&spied.name, |client, _| {
            let seen = Seen::of(&client);
            let answered = client.request(Duration::from_secs(3));
            (!client.is_withdrawn()).then(|| (seen.traces([5]), answered))
        });
        spied.server.must("send 5");
        spied.spy_leaves();
        spied.server.must(&format!("hog {free}"));
        let answer = spied.server.ask("accept 50");
        spied.server.must("release");
        if free <= TOO_FEW && !answer.starts_with("err SystemError") {
            wrong.push(format!("{free} descriptors free: {answer}"));
        }
        let accepted = if answer.starts_with("ok") { answer } else { spied.server.ask("accept 3000") };
        match next.join() {
            Ok((traces, true)) if traces.is_empty() && accepted.starts_with("ok") => {}
            Ok(found) => {
                wrong.push(format!("{free} descriptors free: {accepted}, the next client: {found:?}"))
            }
            Err(_) => {
                wrong.push(format!("{free} descriptors free: {accepted}, the next client is turned away"))
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The limit is below some numbers of the server's descriptors. So the server can create new descriptors, but `dup3` cannot
/// replace all old ones. Afterwards no socket pair may consist of an old socket and a new one.
#[test]
fn line_9a_a_renewal_that_fails_halfway_does_not_mix_old_and_new_sockets() {
    let mut wrong = Vec::new();
    for limit in 14..40 {
        let mut spied = Spied::start("pending-halfway", 12);
        spied.spy_leaves();
        spied.server.must(&format!("limit {limit}"));
        let answer = spied.server.ask("accept 50");
        spied.server.must("limit 64");
        if let Err(what) = spied.serve_the_next() {
            wrong.push(format!("limit {limit}: {answer}, then {what}"));
        }
        if wrong.len() == 5 {
            break;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
