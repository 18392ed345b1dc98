//! The auto mode: lines 19 to 23 of docs/guarantees.md. Where a test has a peer, the peer is a separate process.

mod common;

use common::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};
use xshm::*;

#[test]
fn peer_process() {
    serve();
}

#[derive(Debug, Clone, PartialEq)]
enum Call {
    Connect,
    Disconnect(DisconnectReason),
    Message(ChannelKind, Vec<u8>),
    Overflow(ChannelKind, u32),
    Space(ChannelKind),
    Error(ShmError),
}

type Hook = Box<dyn Fn(&Call) + Send + Sync>;

/// A handler that records its calls.
#[derive(Default)]
struct Recorder {
    calls: Mutex<Vec<Call>>,
    more: Condvar,
    hook: OnceLock<Hook>,
}

impl Recorder {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn with_hook(hook: impl Fn(&Call) + Send + Sync + 'static) -> Arc<Self> {
        let recorder = Recorder::new();
        assert!(recorder.hook.set(Box::new(hook)).is_ok());
        recorder
    }

    fn record(&self, call: Call) {
        self.calls.lock().unwrap().push(call.clone());
        self.more.notify_all();
        if let Some(hook) = self.hook.get() {
            hook(&call);
        }
    }

    /// Waits until `enough` returns true for the list of all calls so far.
    fn wait(&self, what: &str, enough: impl Fn(&[Call]) -> bool) -> Vec<Call> {
        let calls = self.calls.lock().unwrap();
        let patience = Duration::from_secs(20);
        let (calls, out) = self.more.wait_timeout_while(calls, patience, |calls| !enough(calls)).unwrap();
        assert!(!out.timed_out(), "{what}: {calls:?}");
        calls.clone()
    }

    fn count(&self, of: impl Fn(&Call) -> bool) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| of(call)).count()
    }

    fn messages(&self) -> Vec<u64> {
        let calls = self.calls.lock().unwrap();
        let number = |call: &Call| match call {
            Call::Message(_, bytes) => Some(check_message(bytes)),
            _ => None,
        };
        calls.iter().filter_map(number).collect()
    }
}

impl AutoHandler for Recorder {
    fn on_connect(&self) {
        self.record(Call::Connect);
    }
    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        self.record(Call::Disconnect(reason.clone()));
    }
    fn on_message(&self, direction: ChannelKind, payload: &[u8]) {
        self.record(Call::Message(direction, payload.to_vec()));
    }
    fn on_overflow(&self, direction: ChannelKind, count: u32) {
        self.record(Call::Overflow(direction, count));
    }
    fn on_space_available(&self, direction: ChannelKind) {
        self.record(Call::Space(direction));
    }
    fn on_error(&self, error: ShmError) {
        self.record(Call::Error(error));
    }
}

fn is_message(call: &Call) -> bool {
    matches!(call, Call::Message(..))
}

fn is_disconnect(call: &Call) -> bool {
    matches!(call, Call::Disconnect(_))
}

fn is_connect(call: &Call) -> bool {
    *call == Call::Connect
}

fn has(count: usize, of: impl Fn(&Call) -> bool) -> impl Fn(&[Call]) -> bool {
    move |calls| calls.iter().filter(|call| of(call)).count() >= count
}

#[test]
fn line_19_on_connect_comes_first_and_on_disconnect_once_and_last() {
    let name = unique("auto-order");
    let recorder = Recorder::new();
    let server = AutoServer::start(&name, recorder.clone(), AutoOptions::default()).unwrap();
    let mut peer = Peer::start();
    peer.must(&format!("connect {name} 10000"));
    peer.must("send over 0 100 64");
    peer.must("leave");
    recorder.wait("the client leaves", has(1, is_disconnect));
    peer.must(&format!("connect {name} 10000"));
    peer.must("send over 100 100 64");
    peer.kill();
    recorder.wait("the client dies", has(2, is_disconnect));
    let mut peer = Peer::start();
    peer.must(&format!("connect {name} 10000"));
    recorder.wait("a third client", has(3, is_connect));
    server.stop();
    let calls = recorder.calls.lock().unwrap().clone();
    let of_session = |n: usize| 102 * n..102 * (n + 1);
    for (session, reason) in [DisconnectReason::PeerLeft, DisconnectReason::PeerDied].into_iter().enumerate()
    {
        let calls = &calls[of_session(session)];
        assert_eq!(calls[0], Call::Connect);
        for (at, message) in calls[1..101].iter().enumerate() {
            let Call::Message(ChannelKind::ClientToServer, bytes) = message else { panic!("{message:?}") };
            assert_eq!(check_message(bytes), (session * 100 + at) as u64);
        }
        assert_eq!(calls[101], Call::Disconnect(reason));
    }
    assert_eq!(calls[204..], [Call::Connect, Call::Disconnect(DisconnectReason::Stopped)]);
    assert_eq!(server.stats().received_messages, 200);
    assert_eq!(server.send(b"too late"), Err(ShmError::NotConnected));
}

#[test]
fn line_20_messages_sent_before_a_connection_wait_for_it() {
    let name = unique("auto-queue");
    let recorder = Recorder::new();
    let options = AutoOptions { max_send_queue: 10, ..AutoOptions::default() };
    let client = AutoClient::connect(&name, recorder.clone(), options).unwrap();
    for sequence in 0..13 {
        client.send(&message(sequence, 50)).unwrap();
    }
    assert_eq!(client.try_send(&message(13, 50)), Err(ShmError::QueueFull));
    let lost = |calls: &[Call]| {
        let lost = |call: &Call| if let Call::Overflow(_, count) = call { *count } else { 0 };
        calls.iter().map(lost).sum::<u32>() == 3
    };
    recorder.wait("the loss is reported", lost);
    assert_eq!(client.stats().send_overflows, 3);
    let mut peer = Peer::start();
    peer.must(&format!("start {name}"));
    peer.must("accept 10000");
    for sequence in 3..13 {
        assert_eq!(peer.must("receive 10000"), sequence.to_string());
    }
    // There is room again after the refused message.
    recorder.wait("space", has(1, |call| *call == Call::Space(ChannelKind::ClientToServer)));
    // While the client is connected, a message goes directly into the ring.
    client.send(&message(13, 50)).unwrap();
    assert_eq!(client.stats().sent_messages, 11);
    assert_eq!(peer.must("receive 10000"), "13");
}

#[test]
fn line_20_and_22_a_client_reconnects_and_keeps_its_queue() {
    let name = unique("auto-back");
    let recorder = Recorder::new();
    let options = AutoOptions { reconnect_delay: Duration::from_millis(5), ..AutoOptions::default() };
    let client = AutoClient::connect(&name, recorder.clone(), options).unwrap();
    for round in 0..5_u64 {
        let mut peer = Peer::start();
        peer.must(&format!("start {name}"));
        peer.must("accept 10000");
        if round > 0 {
            assert_eq!(peer.must("receive 10000"), (10 * round).to_string(), "sent while there was no peer");
        }
        client.send(&message(10 * round + 5, 50)).unwrap();
        assert_eq!(peer.must("receive 10000"), (10 * round + 5).to_string());
        // These messages are in the server's ring when the server dies, and are lost.
        for _ in 0..3 {
            client.send(&message(0, 50)).unwrap();
        }
        peer.kill();
        recorder.wait("the server dies", has(round as usize + 1, is_disconnect));
        client.send(&message(10 * (round + 1), 50)).unwrap();
    }
    assert_eq!(client.stats().send_overflows, 15);
    assert_eq!(recorder.count(is_connect), 5);
    let lost = recorder.count(|call| *call == Call::Overflow(ChannelKind::ClientToServer, 3));
    assert_eq!(lost, 5, "{:?}", recorder.calls);
}

#[test]
fn line_20_messages_of_many_threads_arrive_each_once_and_in_order() {
    let name = unique("auto-threads");
    let (threads, each) = (4_u64, if long() { 100_000_u64 } else { 5000 });
    let recorder = Recorder::new();
    let receiver = AutoServer::start(&name, recorder.clone(), AutoOptions::default()).unwrap();
    let client = AutoClient::connect(&name, Recorder::new(), AutoOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let client = &client;
            scope.spawn(move || {
                for sequence in 0..each {
                    client.send_timeout(&message(thread << 32 | sequence, 40), None).unwrap();
                }
            });
        }
    });
    recorder.wait("all arrive", has((threads * each) as usize, is_message));
    let mut next = vec![0; threads as usize];
    for number in recorder.messages() {
        let (thread, sequence) = ((number >> 32) as usize, number & 0xffff_ffff);
        assert_eq!(sequence, next[thread]);
        next[thread] += 1;
    }
    assert_eq!(receiver.stats().received_messages, threads * each);
    assert_eq!((client.stats().sent_messages, client.stats().send_overflows), (threads * each, 0));
}

#[test]
fn line_20_evicted_messages_are_counted_on_both_sides() {
    let name = unique("auto-evict");
    let recorder = Recorder::new();
    let server = AutoServer::start(&name, recorder.clone(), AutoOptions::default()).unwrap();
    let mut peer = Peer::start();
    peer.must(&format!("connect {name} 10000"));
    recorder.wait("connected", has(1, is_connect));
    for sequence in 0..300 {
        server.send(&message(sequence, 50)).unwrap();
    }
    assert_eq!(server.try_send(&message(300, 50)), Err(ShmError::QueueFull));
    assert_eq!(server.send_timeout(&message(300, 50), millis(50)), Err(ShmError::Timeout));
    assert_eq!(peer.must("receive 10000"), "50");
    recorder.wait("space", has(1, |call| *call == Call::Space(ChannelKind::ServerToClient)));
    server.send_timeout(&message(300, 50), seconds(10)).unwrap();
    for sequence in 51..301 {
        assert_eq!(peer.must("receive 10000"), sequence.to_string());
    }
    assert_eq!((server.stats().sent_messages, server.stats().send_overflows), (301, 50));
    let calls = recorder.calls.lock().unwrap();
    let reported = calls.iter().map(|call| if let Call::Overflow(_, count) = call { *count } else { 0 });
    assert_eq!(reported.sum::<u32>(), 50);
}

fn stops_at_once(what: &str, stop: impl FnOnce()) {
    let ((), took) = timed(stop);
    assert!(took < Duration::from_millis(100), "{what}: {took:?}");
}

#[test]
fn line_21_stop_takes_at_most_100_ms_in_any_state() {
    let unused = || Recorder::new();
    let server = AutoServer::start(&unique("auto-stop"), unused(), AutoOptions::default()).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    stops_at_once("a server without a client", || drop(server));

    let client = AutoClient::connect(&unique("auto-stop"), unused(), AutoOptions::default()).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    stops_at_once("a client without a server", || drop(client));

    // The server has started, but accepts no client.
    let name = unique("auto-stop");
    let _deaf = SharedServer::start(&name).unwrap();
    let client = AutoClient::connect(&name, unused(), AutoOptions::default()).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    stops_at_once("in a handshake", || drop(client));

    let recorder = Recorder::new();
    let hour = Duration::from_secs(3600);
    let options = AutoOptions {
        reconnect_delay: hour,
        connect_timeout: Duration::from_millis(1),
        ..AutoOptions::default()
    };
    let client = AutoClient::connect(&unique("auto-stop"), recorder.clone(), options).unwrap();
    let no_server = |call: &Call| matches!(call, Call::Error(ShmError::NoServer { .. }));
    recorder.wait("the attempt fails", has(1, no_server));
    stops_at_once("in a pause", || client.stop());
    stops_at_once("stopped before", || drop(client));

    let name = unique("auto-stop");
    let (at_server, at_client) = (Recorder::new(), Recorder::new());
    let server = AutoServer::start(&name, at_server.clone(), AutoOptions::default()).unwrap();
    let client = AutoClient::connect(&name, at_client.clone(), AutoOptions::default()).unwrap();
    at_server.wait("connected", has(1, is_connect));
    at_client.wait("connected", has(1, is_connect));
    stops_at_once("connected", || server.stop());
    at_client.wait("the server leaves", has(1, |t| *t == Call::Disconnect(DisconnectReason::PeerLeft)));
    stops_at_once("disconnected", || drop(client));
}

#[test]
fn line_21_messages_sent_before_a_stop_arrive() {
    for round in 0..20 {
        let name = unique("auto-flush");
        let recorder = Recorder::new();
        let _server = AutoServer::start(&name, recorder.clone(), AutoOptions::default()).unwrap();
        let at_client = Recorder::new();
        let client = AutoClient::connect(&name, at_client.clone(), AutoOptions::default()).unwrap();
        at_client.wait("connected", has(1, is_connect));
        for sequence in 0..round * 10 {
            client.send(&message(sequence, 50)).unwrap();
        }
        drop(client);
        recorder.wait("the client leaves", has(1, is_disconnect));
        assert_eq!(recorder.messages(), (0..round * 10).collect::<Vec<_>>());
        let calls = at_client.calls.lock().unwrap().clone();
        assert_eq!(calls.last(), Some(&Call::Disconnect(DisconnectReason::Stopped)));
    }
}

#[test]
fn line_21_stop_calls_the_handler_for_messages_that_have_arrived() {
    let name = unique("auto-arrived");
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let closed = gate.clone();
    let recorder = Recorder::with_hook(move |call| {
        if is_connect(call) {
            drop(closed.1.wait_while(closed.0.lock().unwrap(), |open| !*open).unwrap());
        }
    });
    let server = AutoServer::start(&name, recorder.clone(), AutoOptions::default()).unwrap();
    let mut peer = Peer::start();
    peer.must(&format!("connect {name} 10000"));
    peer.must("send over 0 200 64");
    std::thread::scope(|scope| {
        let stopper = scope.spawn(|| server.stop());
        while server.try_send(b"is it closed?") != Err(ShmError::NotConnected) {
            std::thread::yield_now();
        }
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        stopper.join().unwrap();
    });
    assert_eq!(recorder.messages(), (0..200).collect::<Vec<_>>());
}

#[test]
fn line_21_a_handler_may_stop_its_endpoint() {
    let name = unique("auto-inside");
    let slot: Arc<OnceLock<AutoServer>> = Arc::default();
    let inside = slot.clone();
    let recorder = Recorder::with_hook(move |call| {
        if is_message(call) {
            let ((), took) = timed(|| inside.get().unwrap().stop());
            assert!(took < Duration::from_millis(100), "{took:?}");
        }
    });
    let server = AutoServer::start(&name, recorder.clone(), AutoOptions::default()).unwrap();
    assert!(slot.set(server).is_ok());
    let mut peer = Peer::start();
    peer.must(&format!("connect {name} 10000"));
    // The server may stop while the peer sends.
    let sent = peer.ask("send over 0 100 64");
    assert!(["ok 0", "err NotConnected"].contains(&sent.as_str()), "{sent}");
    recorder.wait("stopped", has(1, is_disconnect));
    slot.get().unwrap().stop();
    let calls = recorder.calls.lock().unwrap().clone();
    let expected = [
        Call::Connect,
        Call::Message(ChannelKind::ClientToServer, message(0, 64)),
        Call::Disconnect(DisconnectReason::Stopped),
    ];
    assert_eq!(calls, expected);
    assert_eq!(peer.ask("receive 5000"), "err NotConnected");
}

#[test]
fn line_22_a_server_accepts_one_client_after_the_other() {
    let name = unique("auto-next");
    let recorder = Recorder::new();
    let _server = AutoServer::start(
        &name,
        recorder.clone(),
        AutoOptions { reconnect_delay: Duration::ZERO, ..AutoOptions::default() },
    )
    .unwrap();
    let mut peer = Peer::start();
    for round in 0..20 {
        peer.must(&format!("connect {name} 10000"));
        peer.must(&format!("send over {round} 1 64"));
        peer.must("leave");
    }
    recorder.wait("all come and go", has(20, is_disconnect));
    assert_eq!(recorder.messages(), (0..20).collect::<Vec<_>>());
}

#[test]
fn line_23_a_panic_of_a_handler_is_reported_and_changes_nothing_else() {
    let name = unique("auto-panic");
    let recorder = Recorder::with_hook(|call| match call {
        Call::Message(_, bytes) if check_message(bytes) % 2 == 0 => panic!("an even number"),
        Call::Connect => panic!("on connect"),
        Call::Error(_) => panic!("and again"),
        _ => {}
    });
    let server = AutoServer::start(&name, recorder.clone(), AutoOptions::default()).unwrap();
    let mut peer = Peer::start();
    peer.must(&format!("connect {name} 10000"));
    peer.must("send over 0 10 64");
    recorder.wait("all arrive", has(10, is_message));
    server.stop();
    assert_eq!(recorder.messages(), (0..10).collect::<Vec<_>>());
    let even = ShmError::HandlerPanicked { message: "an even number".to_owned() };
    assert_eq!(recorder.count(|call| *call == Call::Error(even.clone())), 5);
    assert_eq!(recorder.count(|call| matches!(call, Call::Error(_))), 6);
}

#[test]
fn line_23_no_lock_is_held_while_a_handler_runs() {
    let name = unique("auto-lock");
    let blocked = Arc::new(AtomicBool::new(true));
    let still = blocked.clone();
    let recorder = Recorder::with_hook(move |call| {
        if is_message(call) {
            let end = Instant::now() + Duration::from_secs(10);
            while still.load(Ordering::Acquire) && Instant::now() < end {
                std::thread::yield_now();
            }
        }
    });
    let server = AutoServer::start(&name, recorder.clone(), AutoOptions::default()).unwrap();
    let mut peer = Peer::start();
    peer.must(&format!("connect {name} 10000"));
    peer.must("send over 0 1 64");
    recorder.wait("the handler has been called", has(1, is_message));
    let ((), took) = timed(|| {
        for sequence in 0..100 {
            server.send(&message(sequence, 64)).unwrap();
        }
        assert_eq!(server.stats().sent_messages, 100);
    });
    assert!(took < Duration::from_secs(1), "{took:?}");
    for sequence in 0..100 {
        assert_eq!(peer.must("receive 5000"), sequence.to_string());
    }
    blocked.store(false, Ordering::Release);
}

#[test]
fn a_handler_may_wait_for_room() {
    let name = unique("auto-inside-room");
    let slot: Arc<OnceLock<AutoServer>> = Arc::default();
    let inside = slot.clone();
    let recorder = Recorder::with_hook(move |call| {
        if let Call::Message(_, bytes) = call {
            // Ten answers to one message.
            let base = check_message(bytes) * 10;
            for sequence in base..base + 10 {
                inside.get().unwrap().send_timeout(&message(sequence, 64), seconds(10)).unwrap();
            }
        }
    });
    let server = AutoServer::start(&name, recorder, AutoOptions::default()).unwrap();
    assert!(slot.set(server).is_ok());
    let mut peer = Peer::start();
    peer.must(&format!("connect {name} 10000"));
    peer.must("send over 0 100 64");
    for sequence in 0..1000 {
        assert_eq!(peer.must("receive 10000"), sequence.to_string());
    }
    slot.get().unwrap().stop();
}

#[test]
fn a_second_server_fails_at_once() {
    let name = unique("auto-second");
    let _server = AutoServer::start(&name, Recorder::new(), AutoOptions::default()).unwrap();
    let second = AutoServer::start(&name, Recorder::new(), AutoOptions::default());
    assert!(matches!(second, Err(ShmError::AlreadyExists { .. })));
    let nameless = AutoClient::connect("", Recorder::new(), AutoOptions::default());
    assert!(matches!(nameless, Err(ShmError::InvalidName { .. })));
}

/// The handler answers a peer that has left, with `send_timeout`: the call neither waits nor loops for ever.
#[test]
fn line_19_a_handler_that_answers_a_client_that_has_left_returns() {
    let name = unique("auto-late");
    let own: Arc<OnceLock<AutoServer>> = Arc::default();
    let (server, gone) = (own.clone(), Arc::new(AtomicBool::new(false)));
    let left = gone.clone();
    let recorder = Recorder::with_hook(move |call| {
        if is_message(call) {
            while !left.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            let _ = server.get().unwrap().send_timeout(b"an answer", None);
        }
    });
    assert!(own.set(AutoServer::start(&name, recorder.clone(), AutoOptions::default()).unwrap()).is_ok());
    let mut peer = Peer::start();
    peer.must(&format!("connect {name} 10000"));
    peer.must("send over 0 3 64");
    peer.must("leave");
    gone.store(true, Ordering::Release);
    recorder.wait("the end", has(1, is_disconnect));
    assert_eq!(recorder.messages(), [0, 1, 2]);
    // The answers wait in the queue for the next client.
    peer.must(&format!("connect {name} 10000"));
    recorder.wait("the next client", has(2, is_connect));
    own.get().unwrap().stop();
}

/// A client that sends all the time while there is no connection still gets one.
#[test]
fn line_20_a_client_that_sends_without_a_pause_connects() {
    let name = unique("auto-eager");
    let recorder = Recorder::new();
    let options = AutoOptions { max_send_queue: 1, ..AutoOptions::default() };
    let client = AutoClient::connect(&name, recorder.clone(), options).unwrap();
    let connected = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !connected.load(Ordering::Acquire) {
                client.send(b"at once").unwrap();
            }
        });
        let mut server = SharedServer::start(&name).unwrap();
        // The server looks now and then, so that an attempt to connect takes a while.
        let patience = Instant::now() + Duration::from_secs(10);
        let accepted = loop {
            std::thread::sleep(Duration::from_millis(5));
            match server.wait_for_client(millis(0)) {
                Err(ShmError::Timeout) if Instant::now() < patience => {}
                other => break other,
            }
        };
        recorder.wait("it connects", has(1, is_connect));
        connected.store(true, Ordering::Release);
        accepted.unwrap();
    });
    // The worker reports the loss in its next round, which may come after the round that connects.
    recorder.wait("the loss is reported", has(1, |call| matches!(call, Call::Overflow(..))));
    client.stop();
}

/// The payload of a handler's panic panics again when it is dropped.
#[test]
fn line_23_a_panic_payload_that_panics_when_dropped_is_caught() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("and once more");
            }
        }
    }
    let name = unique("auto-bomb");
    let recorder = Recorder::with_hook(|call| {
        if is_message(call) {
            std::panic::panic_any(Bomb);
        }
    });
    let server = AutoServer::start(&name, recorder.clone(), AutoOptions::default()).unwrap();
    let mut peer = Peer::start();
    peer.must(&format!("connect {name} 10000"));
    peer.must("send over 0 3 64");
    recorder.wait("all arrive", has(3, is_message));
    peer.must("leave");
    recorder.wait("the end", has(1, is_disconnect));
    server.stop();
}
