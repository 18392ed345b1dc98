//! Promises not to sleep (docs/protocol.md): which calls give them, and that no message waits for their end.

mod common;

use common::raw::RawSection;
use common::*;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use xshm::{ClientOptions, ServerOptions, SharedClient, SharedServer, ShmError};

#[test]
fn peer_process() {
    serve();
}

const AWAKE_DATA: u64 = 32;
const AWAKE_SPACE: u64 = 64;
/// Messages after which a side promises, twice.
const MANY: u32 = 130;
/// It is set, so that processors of any number spin.
const SPIN: Duration = Duration::from_micros(20);

/// A server and its client in this process, and their section.
struct Pair {
    server: SharedServer,
    client: SharedClient,
    section: RawSection,
}

impl Pair {
    fn new(name: &str, options: ServerOptions) -> Self {
        Self::spinning(name, options, SPIN)
    }

    fn spinning(name: &str, options: ServerOptions, spin: Duration) -> Self {
        let name = unique(name);
        let mut server = options.spin(spin).start(&name).unwrap();
        let section = RawSection::map(server.section_handle());
        let client =
            thread::spawn(move || ClientOptions::new().spin(SPIN).connect(&name, Duration::from_secs(10)));
        server.wait_for_client(seconds(10)).unwrap();
        Pair { server, client: client.join().unwrap().unwrap(), section }
    }

    /// The server's promises.
    fn promises(&self) -> u64 {
        self.section.word64(24).load(Ordering::SeqCst) & (AWAKE_DATA | AWAKE_SPACE)
    }

    /// Takes messages that are there by `take`, which returns whether it took one.
    fn stream(&self, mut take: impl FnMut(&SharedServer) -> bool) {
        for number in 0..MANY {
            self.client.send_to_server(&number.to_le_bytes()).unwrap();
            assert!(take(&self.server), "message {number}");
        }
    }
}

#[test]
fn a_receiver_promises_after_many_messages_and_withdraws_before_it_sleeps() {
    let pair = Pair::new("promise", ServerOptions::new());
    let mut buffer = Vec::new();
    pair.stream(|server| server.receive_from_client(&mut buffer).is_ok());
    assert_eq!(pair.promises(), AWAKE_DATA);
    // More than the millisecond for which the promise holds.
    assert_eq!(pair.server.receive_from_client_timeout(&mut buffer, millis(20)), Err(ShmError::Timeout));
    assert_eq!(pair.promises(), 0);
    // Another message alone is no reason for another promise.
    pair.client.send_to_server(b"one").unwrap();
    pair.server.receive_from_client(&mut buffer).unwrap();
    assert_eq!(pair.promises(), 0);
    pair.stream(|server| server.receive_from_client(&mut buffer).is_ok());
    assert_eq!(pair.promises(), AWAKE_DATA);
}

/// A program that looks, and waits in an event loop, could not bound its sleep.
#[test]
fn calls_that_only_look_promise_nothing() {
    let pair = Pair::new("no-promise", ServerOptions::new().reject_when_full());
    let mut buffer = Vec::new();
    let zero = Some(Duration::ZERO);
    pair.stream(|server| server.try_receive_from_client(&mut buffer).is_ok());
    pair.stream(|server| server.receive_from_client_timeout(&mut buffer, zero).is_ok());
    pair.stream(|server| {
        server.poll_client(zero) == Ok(true) && server.try_receive_from_client(&mut buffer).is_ok()
    });
    for _ in 0..MANY {
        pair.server.send_to_client_timeout(b"hello", zero).unwrap();
        pair.client.receive_from_server(&mut buffer).unwrap();
    }
    assert_eq!(pair.promises(), 0);
}

#[test]
fn a_sender_promises_only_where_a_full_queue_rejects() {
    for (rejects, promises) in [(false, 0), (true, AWAKE_SPACE)] {
        let options = ServerOptions::new().message_limit(4);
        let options = if rejects { options.reject_when_full() } else { options };
        let pair = Pair::new("promise-room", options);
        let mut buffer = Vec::new();
        for _ in 0..MANY {
            pair.server.send_to_client_timeout(b"hello", None).unwrap();
            pair.client.receive_from_server(&mut buffer).unwrap();
        }
        assert_eq!(pair.promises(), promises);
        for _ in 0..4 {
            pair.server.send_to_client_timeout(b"hello", None).unwrap();
        }
        assert_eq!(pair.server.send_to_client_timeout(b"hello", millis(20)), Err(ShmError::Timeout));
        assert_eq!(pair.promises(), 0);
    }
}

#[test]
fn an_endpoint_that_never_spins_promises_nothing() {
    let pair = Pair::spinning("promise-never", ServerOptions::new(), Duration::ZERO);
    let mut buffer = Vec::new();
    pair.stream(|server| server.receive_from_client(&mut buffer).is_ok());
    assert_eq!(pair.section.word64(24).load(Ordering::SeqCst) as u32, 0);
}

/// A native waiter has no promise to bound its sleep by.
#[test]
fn exported_events_end_a_promise() {
    let pair = Pair::new("promise-events", ServerOptions::new());
    let mut buffer = Vec::new();
    pair.stream(|server| server.receive_from_client(&mut buffer).is_ok());
    assert_eq!(pair.promises(), AWAKE_DATA);
    assert!(pair.server.get_event_handles().is_some());
    assert_eq!(pair.promises(), 0);
    pair.client.send_to_server(b"hello").unwrap();
    assert_eq!(pair.server.receive_from_client(&mut buffer), Ok(5));
}

/// Bursts of about as many messages as a promise needs, each followed by a silence in which the receiver goes to sleep. The next
/// burst comes at a random moment of that. No message is left in the queue.
#[test]
fn bursts_and_silences_lose_no_wake_up() {
    let (server, mut peer) = pair("promise-bursts", ServerOptions::new().spin(SPIN).message_limit(400));
    let rounds = if long() { 20_000 } else { 1000 };
    let mut random = pseudorandom(88_172_645_463_325_252);
    let mut next = move |below: u64| random() % below;
    peer.tell("echo");
    let mut buffer = Vec::new();
    for round in 0..rounds {
        let burst = [1, 63, 64, 65, 66, 127, 128, 129, 130][next(9) as usize];
        for number in 0..burst {
            server.send_to_client(&message(number, 64)).unwrap();
        }
        for number in 0..burst {
            let received = server.receive_from_client_timeout(&mut buffer, seconds(20));
            assert_eq!(received, Ok(64), "message {number} of {burst}, round {round}");
        }
        let pause = Duration::from_nanos(next(4) * next(700_000));
        let end = std::time::Instant::now() + pause;
        while std::time::Instant::now() < end {
            std::hint::spin_loop();
        }
    }
    peer.kill();
}
