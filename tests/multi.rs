//! The multi-client mode: lines 18, 19, 21 and 23 to 25 of docs/guarantees.md. A `Peer` is a separate process, with one
//! or more clients.

mod common;

use common::*;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};
use xshm::*;

#[test]
fn peer_process() {
    serve();
}

#[derive(Debug, Clone, PartialEq)]
enum Call {
    Connect(u32),
    Disconnect(u32, DisconnectReason),
    Message(u32, u64),
    Error(Option<u32>, ShmError),
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

    /// Waits until there were `count` calls for which `of` returns true. Returns how long that took.
    fn wait(&self, what: &str, count: usize, of: impl Fn(&Call) -> bool) -> Duration {
        let start = Instant::now();
        let calls = self.calls.lock().unwrap();
        let few = |calls: &mut Vec<Call>| calls.iter().filter(|call| of(call)).count() < count;
        let (calls, out) = self.more.wait_timeout_while(calls, Duration::from_secs(10), few).unwrap();
        assert!(!out.timed_out(), "{what}: {calls:?}");
        start.elapsed()
    }

    fn of(&self, client: u32) -> Vec<Call> {
        let mut calls = self.calls.lock().unwrap().clone();
        calls.retain(|call| match call {
            Call::Connect(id) | Call::Disconnect(id, _) | Call::Message(id, _) => *id == client,
            Call::Error(id, _) => *id == Some(client),
        });
        calls
    }
}

impl MultiHandler for Recorder {
    fn on_client_connect(&self, client_id: u32) {
        self.record(Call::Connect(client_id));
    }
    fn on_client_disconnect_because(&self, client_id: u32, reason: &DisconnectReason) {
        self.record(Call::Disconnect(client_id, reason.clone()));
    }
    fn on_message(&self, client_id: u32, data: &[u8]) {
        self.record(Call::Message(client_id, check_message(data)));
    }
    fn on_error(&self, client_id: Option<u32>, error: ShmError) {
        self.record(Call::Error(client_id, error));
    }
}

struct Quiet;

impl MultiClientHandler for Quiet {}

fn is_disconnect(call: &Call) -> bool {
    matches!(call, Call::Disconnect(..))
}

fn is_message(call: &Call) -> bool {
    matches!(call, Call::Message(..))
}

fn options(max_clients: u32) -> MultiOptions {
    MultiOptions { max_clients, ..MultiOptions::default() }
}

fn start(test: &str, handler: &Arc<Recorder>, options: MultiOptions) -> (String, MultiServer) {
    let name = unique(test);
    let server =
        ServerOptions::new().ring_size(8192).message_limit(100).start_multi(&name, handler.clone(), options);
    (name, server.unwrap())
}

fn join(name: &str) -> Result<MultiClient> {
    MultiClient::connect(name, Arc::new(Quiet), MultiClientOptions::default())
}

#[test]
fn line_24_each_client_gets_the_lowest_free_slot() {
    let recorder = Recorder::new();
    let (name, server) = start("multi-slots", &recorder, options(4));
    assert_eq!((server.base_name(), server.client_count()), (&*name, 0));
    let mut peer = Peer::start();
    let mut other = Peer::start();
    assert_eq!(peer.must(&format!("join {name} 2")), "0 1");
    assert_eq!(other.must(&format!("join {name} 2")), "2 3");
    assert_eq!((server.connected_clients(), server.client_count()), (vec![0, 1, 2, 3], 4));
    // When `connect` has returned, the server knows the client.
    for slot in 0..4 {
        server.send_to(slot, &message(slot.into(), 40)).unwrap();
        assert!(server.is_client_connected(slot));
    }
    for slot in 0..4 {
        let (peer, which) = if slot < 2 { (&mut peer, slot) } else { (&mut other, slot - 2) };
        assert_eq!(peer.must(&format!("hear {which} 5000")), slot.to_string());
    }
    assert_eq!(other.ask(&format!("join {name} 1")), "err NoFreeSlot");
    assert_eq!(server.client_count(), 4);
    peer.must("part 1");
    other.must("part 0");
    recorder.wait("two leave", 2, is_disconnect);
    // A slot becomes free when the handler has returned.
    while join(&name).map(|client| client.slot_id()) != Ok(1) {
        std::thread::yield_now();
    }
    assert_eq!(server.send_to(2, b"no client is there"), Err(ShmError::NotConnected));
    assert_eq!(server.send_to(4, b"no such slot"), Err(ShmError::NotConnected));
    assert_eq!(server.channel_name(3), Some(format!("{name}.3")));
    assert_eq!(server.channel_name(4), None);
}

#[test]
fn line_24_connect_returns_after_the_servers_and_the_clients_handler() {
    struct Notes(Arc<Mutex<Vec<&'static str>>>);
    impl MultiHandler for Notes {
        fn on_client_connect(&self, _: u32) {
            std::thread::sleep(Duration::from_millis(20));
            self.0.lock().unwrap().push("server");
        }
    }
    impl MultiClientHandler for Notes {
        fn on_connect(&self, slot_id: u32) {
            assert_eq!(slot_id, 0);
            std::thread::sleep(Duration::from_millis(20));
            self.0.lock().unwrap().push("client");
        }
    }
    let name = unique("multi-order");
    let notes = Arc::new(Mutex::new(Vec::new()));
    let _server = MultiServer::start(&name, Arc::new(Notes(notes.clone())), MultiOptions::default()).unwrap();
    let _client = MultiClient::connect(&name, Arc::new(Notes(notes.clone())), MultiClientOptions::default());
    notes.lock().unwrap().push("connect");
    assert_eq!(*notes.lock().unwrap(), ["server", "client", "connect"]);
}

#[test]
fn line_24_a_slot_is_reused_only_after_its_last_callback() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let closed = gate.clone();
    let recorder = Recorder::with_hook(move |call| {
        if is_disconnect(call) {
            drop(closed.1.wait_while(closed.0.lock().unwrap(), |open| !*open).unwrap());
        }
    });
    let (name, server) = start("multi-again", &recorder, options(2));
    let client = join(&name).unwrap();
    drop(client);
    recorder.wait("it leaves", 1, is_disconnect);
    let second = join(&name).unwrap();
    assert_eq!(second.slot_id(), 1, "slot 0 is not free yet");
    assert_eq!(join(&name).err(), Some(ShmError::NoFreeSlot));
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    loop {
        match join(&name) {
            Ok(third) => break assert_eq!(third.slot_id(), 0),
            Err(error) => assert_eq!(error, ShmError::NoFreeSlot),
        }
    }
    server.stop();
}

#[test]
fn line_19_and_24_messages_come_once_and_in_order_between_connect_and_disconnect() {
    let recorder = Recorder::new();
    let (name, _server) = start("multi-messages", &recorder, options(20));
    let mut peers: Vec<Peer> = (0..3).map(|_| Peer::start()).collect();
    let mut slots = Vec::new();
    for peer in &mut peers {
        slots.push(peer.must(&format!("join {name} 2")));
    }
    for peer in &mut peers {
        peer.tell("say 0 0 500 64");
        peer.tell("say 1 0 500 64");
    }
    for peer in &mut peers {
        assert_eq!((peer.answer().trim_end(), peer.answer().trim_end()), ("ok", "ok"));
    }
    // Two processes leave; the third is killed while its messages may still be unread.
    peers[0].must("part 0");
    peers[0].must("part 1");
    peers[1].must("part 0");
    peers[1].must("part 1");
    peers[2].kill();
    recorder.wait("all go", 6, is_disconnect);
    for (peer, slots) in slots.iter().enumerate() {
        for slot in slots.split(' ') {
            let slot: u32 = slot.parse().unwrap();
            let calls = recorder.of(slot);
            let reason = if peer == 2 { DisconnectReason::PeerDied } else { DisconnectReason::PeerLeft };
            let expected = [Call::Connect(slot)]
                .into_iter()
                .chain((0..500).map(|number| Call::Message(slot, number)))
                .chain([Call::Disconnect(slot, reason)]);
            assert!(calls.iter().eq(&expected.collect::<Vec<_>>()), "slot {slot}: {} calls", calls.len());
        }
    }
}

#[test]
fn line_24_clients_that_die_at_any_step_give_their_slot_back() {
    let recorder = Recorder::new();
    let (name, server) = start("multi-die", &recorder, options(3));
    for round in 0..if long() { 300 } else { 40_u64 } {
        let mut peer = Peer::start();
        peer.tell(&format!("join {name} 2"));
        peer.tell("say 0 0 1000 64");
        std::thread::sleep(Duration::from_micros(round * 7919 % 15_000));
        peer.kill();
        drop(peer);
    }
    let start = Instant::now();
    while server.client_count() > 0 {
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", server.connected_clients());
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut peer = Peer::start();
    // The order depends on how long each slot has been free.
    let mut slots: Vec<_> = peer.must(&format!("join {name} 3")).split(' ').map(str::to_owned).collect();
    slots.sort();
    assert_eq!(slots, ["0", "1", "2"]);
    let calls = recorder.calls.lock().unwrap();
    let connects = calls.iter().filter(|call| matches!(call, Call::Connect(_))).count();
    let disconnects = calls.iter().filter(|call| is_disconnect(call)).count();
    assert_eq!(connects, disconnects + 3);
}

#[test]
fn line_24_a_client_that_is_frozen_or_blocks_its_worker_delays_no_other() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let closed = gate.clone();
    let recorder = Recorder::with_hook(move |call| {
        if *call == Call::Message(0, 0) {
            drop(closed.1.wait_while(closed.0.lock().unwrap(), |open| !*open).unwrap());
        }
    });
    let options = MultiOptions { clients_per_worker: 1, ..options(8) };
    let (name, server) = start("multi-block", &recorder, options);
    let mut slow = Peer::start();
    assert_eq!(slow.must(&format!("join {name} 1")), "0");
    let mut frozen = Peer::start();
    assert_eq!(frozen.must(&format!("join {name} 1")), "1");
    raw::freeze(frozen.id());
    slow.must("say 0 0 1 64");
    recorder.wait("the handler blocks", 1, |call| *call == Call::Message(0, 0));
    let mut others = Vec::new();
    for slot in 2..6 {
        let mut peer = Peer::start();
        let (answer, took) = timed(|| peer.must(&format!("join {name} 1")));
        assert_eq!(answer, slot.to_string());
        // This includes the start of a process.
        assert!(took < Duration::from_millis(2000), "{took:?}");
        peer.must("say 0 7 1 64");
        let took = recorder.wait("its message", 1, |call| *call == Call::Message(slot, 7));
        assert!(took < Duration::from_millis(500), "{took:?}");
        server.send_to(slot, &message(1, 40)).unwrap();
        assert_eq!(peer.must("hear 0 5000"), "1");
        others.push(peer);
    }
    // The server can disconnect a frozen client and give its slot to another, although the client still has its channel.
    server.disconnect_client(1).unwrap();
    recorder.wait("it is disconnected", 1, |call| *call == Call::Disconnect(1, DisconnectReason::Kicked));
    let mut next = Peer::start();
    loop {
        match next.ask(&format!("join {name} 1")).as_str() {
            "ok 1" => break,
            other => assert!(other.starts_with("ok"), "{other}"),
        }
    }
    raw::thaw(frozen.id());
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    server.stop();
}

#[test]
fn a_disconnected_client_receives_what_it_was_sent_and_then_the_end() {
    let recorder = Recorder::new();
    let (name, server) = start("multi-kick", &recorder, options(2));
    let mut peer = Peer::start();
    peer.must(&format!("join {name} 2"));
    server.send_to(0, &message(5, 40)).unwrap();
    server.disconnect_client(0).unwrap();
    assert_eq!(peer.must("hear 0 5000"), "5");
    assert_eq!(peer.must("hear 0 5000"), "end");
    recorder.wait("it is disconnected", 1, |call| *call == Call::Disconnect(0, DisconnectReason::Kicked));
    assert_eq!(server.disconnect_client(0), Err(ShmError::NotConnected));
    assert_eq!(server.broadcast(&message(6, 40)).unwrap(), 1);
    assert_eq!(peer.must("hear 1 5000"), "6");
    assert_eq!(server.broadcast(b"x").err(), Some(ShmError::MessageTooSmall));
}

#[test]
fn line_24_and_25_many_clients_share_few_workers_and_get_memory_when_they_connect() {
    let count = if long() { 200 } else { 70 };
    let before = raw::open_handles();
    let recorder = Recorder::new();
    let (name, server) = start("multi-many", &recorder, options(1000));
    // Each worker has one event. No channel exists yet except the one on offer.
    assert!(raw::open_handles() < before + 100, "{} handles", raw::open_handles() - before);
    let mut peer = Peer::start();
    let slots = peer.must(&format!("join {name} {count}"));
    assert_eq!(slots.split(' ').count(), count);
    assert_eq!(server.client_count() as usize, count);
    assert_eq!(server.broadcast(&message(3, 100)).unwrap(), count as u32);
    for which in 0..count {
        assert_eq!(peer.must(&format!("hear {which} 5000")), "3");
        peer.must(&format!("say {which} {which} 1 64"));
    }
    recorder.wait("all answer", count, is_message);
    for slot in 0..count as u32 {
        assert_eq!(recorder.of(slot), [Call::Connect(slot), Call::Message(slot, slot.into())]);
    }
    peer.kill();
    let took = recorder.wait("all die", count, is_disconnect);
    assert!(took < Duration::from_millis(1000), "{took:?}");
}

#[test]
fn line_21_stop_delivers_what_arrived_within_100_ms() {
    for clients in [0, 1, 5] {
        let recorder = Recorder::new();
        let (name, server) = start("multi-stop", &recorder, options(8));
        let clients: Vec<MultiClient> = (0..clients).map(|_| join(&name).unwrap()).collect();
        for client in &clients {
            for number in 0..50 {
                client.send(&message(number, 40)).unwrap();
            }
        }
        let _no_copies = no_peer_starts();
        let ((), took) = timed(|| server.stop());
        assert!(took < Duration::from_millis(100), "{took:?}");
        let messages = recorder.calls.lock().unwrap().iter().filter(|call| is_message(call)).count();
        assert_eq!(messages, clients.len() * 50);
        let stopped = |call: &&Call| matches!(call, Call::Disconnect(_, DisconnectReason::Stopped));
        assert_eq!(recorder.calls.lock().unwrap().iter().filter(stopped).count(), clients.len());
        for client in &clients {
            while client.is_connected() {
                std::thread::yield_now();
            }
            assert_eq!(client.send(b"too late"), Err(ShmError::NotConnected));
        }
        // The name is free again.
        let (again, _) = (MultiServer::start(&name, recorder.clone(), options(1)).unwrap(), server);
        drop(again);
    }
}

#[test]
fn line_21_and_23_a_handler_may_stop_the_server_and_may_panic() {
    let slot: Arc<OnceLock<MultiServer>> = Arc::default();
    let inside = slot.clone();
    let recorder = Recorder::with_hook(move |call| match call {
        Call::Connect(1) => panic!("on connect"),
        Call::Message(_, 13) => panic!("thirteen"),
        Call::Message(_, 14) => inside.get().unwrap().stop(),
        _ => {}
    });
    let (name, server) = start("multi-inside", &recorder, options(8));
    assert!(slot.set(server).is_ok());
    let mut peer = Peer::start();
    assert_eq!(peer.must(&format!("join {name} 2")), "0 1");
    peer.must("say 1 12 2 64");
    recorder.wait("both panics are reported", 2, |call| matches!(call, Call::Error(Some(1), _)));
    peer.must("say 1 14 1 64");
    recorder.wait("both ends are reported", 2, is_disconnect);
    assert_eq!(peer.must("hear 0 5000"), "end");
    slot.get().unwrap().stop();
}

/// By evicting, the sender moves `read_pos` away from where a sleeping worker expects its next message.
#[test]
fn line_18_a_burst_that_evicts_wakes_a_sleeping_worker() {
    let recorder = Recorder::new();
    let (name, _server) = start("multi-burst", &recorder, options(2));
    let client = join(&name).unwrap();
    for round in 1..if long() { 5000 } else { 300_u64 } {
        // Long enough that the worker mostly sleeps.
        std::thread::sleep(Duration::from_micros(round * 37 % 400));
        for _ in 0..20 + round % 60 {
            client.send(&message(0, 300 + round as usize % 1000)).unwrap();
        }
        client.send(&message(round, 64)).unwrap();
        recorder.wait("the newest", 1, |call| *call == Call::Message(0, round));
        recorder.calls.lock().unwrap().clear();
    }
}

#[test]
fn any_client_joins_a_server_for_many_and_no_multi_client_one_for_one() {
    let recorder = Recorder::new();
    let (name, server) = start("multi-kind", &recorder, options(2));
    let plain = SharedClient::connect(&name, Duration::from_secs(5)).unwrap();
    assert_eq!((plain.slot_id(), server.connected_clients()), (Some(0), vec![0]));
    let auto = AutoClient::builder(&name).connect().unwrap();
    while server.client_count() < 2 {
        std::thread::yield_now();
    }
    let third = SharedClient::connect(&name, Duration::from_secs(5));
    assert_eq!(third.err(), Some(ShmError::NoFreeSlot));
    drop((plain, auto));
    let second = MultiServer::start(&name, recorder.clone(), options(1));
    assert!(matches!(second.err(), Some(ShmError::AlreadyExists { .. })));
    let none = MultiServer::start(&unique("multi-none"), recorder, options(0));
    assert!(matches!(none.err(), Some(ShmError::InvalidOption { .. })));

    let name = unique("multi-kind");
    let mut server = SharedServer::start(&name).unwrap();
    let client = std::thread::spawn(move || join(&name).err());
    let _ = server.wait_for_client(millis(500));
    let refused = client.join().unwrap();
    assert!(matches!(refused, Some(ShmError::Refused { reason }) if reason.contains("SharedClient")));
}

/// A client that keeps its worker busy does not delay the report of another client's death.
#[test]
fn line_24_a_busy_client_does_not_delay_the_report_of_anothers_end() {
    let name = unique("multi-busy");
    // The handler is slower than the client, so that messages always wait.
    let recorder = Recorder::with_hook(|call| {
        if matches!(call, Call::Message(..)) {
            let end = Instant::now() + Duration::from_micros(50);
            while Instant::now() < end {}
        }
    });
    let options = MultiOptions { recv_batch: 1, ..MultiOptions::default() };
    let server = MultiServer::start(&name, recorder.clone(), options).unwrap();
    let busy = MultiClient::connect(&name, Arc::new(Quiet), MultiClientOptions::default()).unwrap();
    let mut peer = Peer::start();
    peer.must(&format!("join {name} 1"));
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Acquire) {
                busy.send(&message(1, 64)).unwrap();
            }
        });
        recorder.wait("it is busy", 1000, |call| matches!(call, Call::Message(..)));
        peer.kill();
        let took = recorder.wait("the other's end", 1, |call| matches!(call, Call::Disconnect(1, _)));
        over.store(true, std::sync::atomic::Ordering::Release);
        assert!(took < Duration::from_millis(500), "{took:?}");
    });
    assert_eq!(server.connected_clients(), [0]);
}
