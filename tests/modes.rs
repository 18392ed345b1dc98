//! The newer calls of the background modes, and calls with answers: waiting for room in the multi-client mode, handles, closures,
//! clients of any kind at a server for many, reconnecting, and `Caller`.

mod common;

use common::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use xshm::*;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn peer_process() {
    serve();
}

/// What the handlers of a test have recorded.
struct Log<T>(Arc<(Mutex<Vec<T>>, Condvar)>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Log(self.0.clone())
    }
}

impl<T: Clone + std::fmt::Debug> Log<T> {
    fn new() -> Self {
        Log(Arc::new((Mutex::new(Vec::new()), Condvar::new())))
    }

    fn push(&self, entry: T) {
        self.0 .0.lock().unwrap().push(entry);
        self.0 .1.notify_all();
    }

    /// Waits until `enough` returns true for the list of all entries. Returns the list.
    fn wait(&self, what: &str, enough: impl Fn(&[T]) -> bool) -> Vec<T> {
        let (list, more) = &*self.0;
        let (list, out) =
            more.wait_timeout_while(list.lock().unwrap(), PATIENCE, |list| !enough(list)).unwrap();
        assert!(!out.timed_out(), "{what}: {list:?}");
        list.clone()
    }

    fn wait_for(&self, count: usize) -> Vec<T> {
        self.wait(&format!("{count} entries"), |list| list.len() >= count)
    }

    fn all(&self) -> Vec<T> {
        self.0 .0.lock().unwrap().clone()
    }
}

/// A gate at which handlers wait until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn pass(&self) {
        let (is_open, opened) = &*self.0;
        let (_open, out) =
            opened.wait_timeout_while(is_open.lock().unwrap(), PATIENCE, |open| !*open).unwrap();
        assert!(!out.timed_out(), "the gate stays shut");
    }

    fn open(&self) {
        *self.0 .0.lock().unwrap() = true;
        self.0 .1.notify_all();
    }
}

/// A sender of messages that many threads share.
#[derive(Clone)]
struct Shared<T>(Arc<Mutex<Sender<T>>>);

impl<T> Shared<T> {
    fn new() -> (Self, Receiver<T>) {
        let (sender, receiver) = mpsc::channel();
        (Shared(Arc::new(Mutex::new(sender))), receiver)
    }

    /// The test may have ended.
    fn send(&self, value: T) {
        let _ = self.0.lock().unwrap().send(value);
    }
}

fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).expect("it comes in time")
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Rings that are soon full: 50 messages.
fn small() -> ServerOptions {
    ServerOptions::new().ring_size(8192).message_limit(50)
}

fn slots(max_clients: u32, clients_per_worker: u32) -> MultiOptions {
    MultiOptions { max_clients, clients_per_worker, ..MultiOptions::default() }
}

fn plain_client(name: &str) -> SharedClient {
    SharedClient::connect(name, PATIENCE).unwrap()
}

fn receive(client: &SharedClient) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.receive_from_server_timeout(&mut bytes, Some(PATIENCE)).unwrap();
    bytes
}

/// Receives `count` messages, whose numbers begin with `from`.
fn receive_in_order(client: &SharedClient, from: u64, count: u64) {
    for number in from..from + count {
        assert_eq!(check_message(&receive(client)), number);
    }
}

/// Sends messages with the numbers from 0 until there is no room. Returns their count.
fn fill(server: &MultiServer, client: u32) -> u64 {
    for number in 0.. {
        match server.try_send_to(client, &message(number, 64)) {
            Ok(()) => {}
            Err(ShmError::QueueFull) => return number,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

/// Starts a server whose name a process that is just starting may hold for a moment.
fn start_again<S>(start: impl Fn() -> Result<S>) -> S {
    let begin = Instant::now();
    loop {
        match start() {
            Err(ShmError::AlreadyExists { .. }) if begin.elapsed() < PATIENCE => thread::yield_now(),
            started => return started.unwrap(),
        }
    }
}

fn retry(initial_ms: u64, longest_ms: u64) -> RetryOptions {
    RetryOptions {
        initial_delay: Duration::from_millis(initial_ms),
        longest_delay: Duration::from_millis(longest_ms),
        jitter_percent: 0,
    }
}

// Waiting for room.

#[test]
fn send_to_timeout_loses_nothing_to_a_slow_client_and_another_client_is_served_meanwhile() {
    const COUNT: u64 = 20_000;
    let name = unique("modes-slow");
    let server = MultiServer::builder(&name)
        .options(small())
        .on_message(|client, bytes| drop(client.send(bytes)))
        .start()
        .unwrap();
    let (slow, other) = (plain_client(&name), plain_client(&name));
    assert_eq!((slow.slot_id(), other.slot_id()), (Some(0), Some(1)));
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..COUNT {
                server.send_to_timeout(0, &message(number, 64), Some(PATIENCE)).unwrap();
            }
        });
        for number in 0..COUNT {
            if number % 100 == 0 {
                // Meanwhile the first client's queue becomes full.
                other.send_to_server(&message(number, 40)).unwrap();
                assert_eq!(check_message(&receive(&other)), number);
            }
            assert_eq!(check_message(&receive(&slow)), number);
        }
    });
    let stats = server.stats(0).unwrap();
    assert_eq!((stats.sent, stats.send_dropped), (COUNT, 0));
}

/// Only Linux counts the processor time of one thread.
#[cfg(unix)]
#[test]
fn a_sender_that_waits_for_room_and_its_worker_sleep() {
    let name = unique("modes-asleep");
    let (times, worker) = Shared::new();
    let server = MultiServer::builder(&name)
        .options(small())
        .on_message(move |_, _| times.send(raw::thread_processor_time()))
        .start()
        .unwrap();
    let (_full, other) = (plain_client(&name), plain_client(&name));
    fill(&server, 0);
    other.send_to_server(b"begin").unwrap();
    let before = (next(&worker), raw::thread_processor_time());
    assert_eq!(server.send_to_timeout(0, &message(0, 64), seconds(1)), Err(ShmError::Timeout));
    let sender = raw::thread_processor_time() - before.1;
    other.send_to_server(b"end").unwrap();
    let worker = next(&worker) - before.0;
    // In units of 100 ns, of the second that has passed.
    assert!(sender < 1_000_000 && worker < 1_000_000, "sender: {sender}, worker: {worker}");
}

#[test]
fn a_client_that_leaves_ends_the_wait_for_room_and_the_next_client_of_its_slot_gets_nothing() {
    let name = unique("modes-leave");
    let server = MultiServer::builder(&name).options(small()).multi_options(slots(1, 1)).start().unwrap();
    for by_session in [false, true] {
        let client = plain_client(&name);
        fill(&server, 0);
        let session = server.client(0).unwrap();
        let to = if by_session { session } else { 0.into() };
        let (began, begins) = mpsc::channel();
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                began.send(()).unwrap();
                server.send_to_timeout(to, b"too late", None)
            });
            next(&begins);
            // The sender comes to its wait. The outcome is the same if it does not.
            thread::sleep(Duration::from_millis(20));
            drop(client);
            assert_eq!(sender.join().unwrap(), Err(ShmError::NotConnected));
        });
        let second = plain_client(&name);
        assert_eq!(second.slot_id(), Some(0));
        assert_eq!(server.send_to_timeout(session, b"too late", None), Err(ShmError::NotConnected));
        server.send_to(0, b"the first message").unwrap();
        assert_eq!(receive(&second), b"the first message");
    }
}

#[test]
fn a_handler_waits_for_room_at_its_own_client() {
    const COUNT: u64 = 3000;
    let name = unique("modes-own");
    let (results, sent) = Shared::new();
    let _server = MultiServer::builder(&name)
        .options(small())
        .on_message(move |client, _| {
            let send = |number| client.send_timeout(&message(number, 64), Some(PATIENCE));
            results.send((0..COUNT).try_for_each(send));
        })
        .start()
        .unwrap();
    let client = plain_client(&name);
    for _ in 0..2 {
        client.send_to_server(b"go").unwrap();
        receive_in_order(&client, 0, COUNT);
        assert_eq!(next(&sent), Ok(()));
    }
}

#[test]
fn handlers_on_two_workers_wait_for_room_at_each_others_client() {
    const COUNT: u64 = 1000;
    let name = unique("modes-cross");
    let handle: Arc<OnceLock<MultiHandle>> = Arc::default();
    let (inside, both) = (handle.clone(), Arc::new(std::sync::Barrier::new(2)));
    let server = MultiServer::builder(&name)
        .options(small())
        .multi_options(slots(2, 1))
        .on_message(move |client, _| {
            both.wait();
            let server = inside.get().unwrap();
            for number in 0..COUNT {
                server.send_to_timeout(1 - client.slot(), &message(number, 64), Some(PATIENCE)).unwrap();
            }
        })
        .start()
        .unwrap();
    handle.set(server.handle()).unwrap();
    let clients = [plain_client(&name), plain_client(&name)];
    for client in &clients {
        client.send_to_server(b"go").unwrap();
    }
    thread::scope(|scope| {
        for client in clients {
            scope.spawn(move || receive_in_order(&client, 0, COUNT));
        }
    });
}

#[test]
fn stop_ends_handlers_and_threads_that_wait_for_room_without_a_limit() {
    // The handler waits for its own client, or for the client of another worker.
    for target in [0, 1] {
        let name = unique("modes-stop");
        let handle: Arc<OnceLock<MultiHandle>> = Arc::default();
        let (inside, (entered, enters), (results, ended)) = (handle.clone(), Shared::new(), Shared::new());
        let server = MultiServer::builder(&name)
            .options(small())
            .multi_options(slots(2, 1))
            .on_message(move |_, _| {
                entered.send(());
                results.send(inside.get().unwrap().send_to_timeout(target, b"no room", None));
            })
            .start()
            .unwrap();
        handle.set(server.handle()).unwrap();
        let clients = [plain_client(&name), plain_client(&name)];
        fill(&server, target);
        clients[0].send_to_server(b"go").unwrap();
        next(&enters);
        thread::scope(|scope| {
            let sender = scope.spawn(|| server.send_to_timeout(target, b"no room", None));
            thread::sleep(Duration::from_millis(20));
            let ((), took) = timed(|| server.stop());
            assert!(took < Duration::from_secs(10), "{took:?}");
            assert_eq!(next(&ended), Err(ShmError::NotConnected));
            assert_eq!(sender.join().unwrap(), Err(ShmError::NotConnected));
        });
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Event {
    Start,
    Connect(u32),
    Disconnect(u32, DisconnectReason),
    Message(u32, Vec<u8>),
    Overflow(u32, ChannelKind, u32),
    Space(u32),
    Error(ShmError),
}

/// A handler of any endpoint. It keeps the endpoint's handle, and records its calls.
struct Recorder {
    events: Log<Event>,
    multi: OnceLock<MultiHandle>,
    auto: OnceLock<AutoHandle>,
    /// Where each message waits before it is recorded.
    gate: Gate,
}

impl Recorder {
    fn new() -> Arc<Self> {
        let recorder = Recorder::shut();
        recorder.gate.open();
        recorder
    }

    fn shut() -> Arc<Self> {
        let (multi, auto) = (OnceLock::new(), OnceLock::new());
        Arc::new(Recorder { events: Log::new(), multi, auto, gate: Gate::default() })
    }

    fn count(&self, of: impl Fn(&Event) -> bool) -> usize {
        self.events.all().iter().filter(|event| of(event)).count()
    }

    fn overflows(&self, direction: ChannelKind) -> u64 {
        let events = self.events.all();
        let count = |event: &Event| match event {
            Event::Overflow(_, found, count) if *found == direction => Some(u64::from(*count)),
            _ => None,
        };
        events.iter().filter_map(count).sum()
    }
}

fn is_connect(event: &Event) -> bool {
    matches!(event, Event::Connect(_))
}

fn is_disconnect(event: &Event) -> bool {
    matches!(event, Event::Disconnect(..))
}

fn has(count: usize, of: impl Fn(&Event) -> bool) -> impl Fn(&[Event]) -> bool {
    move |events| events.iter().filter(|event| of(event)).count() >= count
}

impl MultiHandler for Recorder {
    fn on_start(&self, server: MultiHandle) {
        self.events.push(Event::Start);
        assert!(self.multi.set(server).is_ok());
    }
    fn on_client_connect(&self, client_id: u32) {
        self.events.push(Event::Connect(client_id));
    }
    fn on_client_disconnect_because(&self, client_id: u32, reason: &DisconnectReason) {
        self.events.push(Event::Disconnect(client_id, reason.clone()));
    }
    fn on_message(&self, client_id: u32, data: &[u8]) {
        self.events.push(Event::Message(client_id, data.to_vec()));
        self.gate.pass();
    }
    fn on_overflow(&self, client_id: u32, direction: ChannelKind, count: u32) {
        self.events.push(Event::Overflow(client_id, direction, count));
    }
    fn on_space_available(&self, client_id: u32) {
        self.events.push(Event::Space(client_id));
    }
    fn on_error(&self, _: Option<u32>, error: ShmError) {
        self.events.push(Event::Error(error));
    }
}

impl MultiClientHandler for Recorder {
    fn on_start(&self, client: AutoHandle) {
        self.events.push(Event::Start);
        assert!(self.auto.set(client).is_ok());
    }
    fn on_connect(&self, slot_id: u32) {
        self.events.push(Event::Connect(slot_id));
    }
    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        self.events.push(Event::Disconnect(0, reason.clone()));
    }
    fn on_message(&self, data: &[u8]) {
        self.events.push(Event::Message(0, data.to_vec()));
        self.gate.pass();
    }
    fn on_overflow(&self, direction: ChannelKind, count: u32) {
        self.events.push(Event::Overflow(0, direction, count));
    }
    fn on_error(&self, error: ShmError) {
        self.events.push(Event::Error(error));
    }
}

impl AutoHandler for Recorder {
    fn on_start(&self, endpoint: AutoHandle) {
        self.events.push(Event::Start);
        assert!(self.auto.set(endpoint).is_ok());
    }
    fn on_connect(&self) {
        self.events.push(Event::Connect(0));
    }
    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        self.events.push(Event::Disconnect(0, reason.clone()));
    }
    fn on_message(&self, _: ChannelKind, payload: &[u8]) {
        self.events.push(Event::Message(0, payload.to_vec()));
    }
    fn on_error(&self, error: ShmError) {
        self.events.push(Event::Error(error));
    }
}

#[test]
fn on_space_available_names_the_client_that_has_room_again() {
    let name = unique("modes-space");
    let recorder = Recorder::new();
    let server = small().start_multi(&name, recorder.clone(), slots(4, 4)).unwrap();
    let clients = [plain_client(&name), plain_client(&name)];
    for round in 1..=20 {
        let count = fill(&server, 1);
        assert_eq!(recorder.count(|event| matches!(event, Event::Space(_))), round - 1);
        receive_in_order(&clients[1], 0, count);
        recorder.events.wait("room is reported", has(round, |event| *event == Event::Space(1)));
        server.try_send_to(1, &message(7, 64)).unwrap();
        receive_in_order(&clients[1], 7, 1);
    }
    assert_eq!(recorder.count(|event| *event == Event::Space(0)), 0);
}

#[test]
fn lost_messages_are_reported_and_counted_in_both_directions() {
    let name = unique("modes-overflow");
    let (recorder, of_client) = (Recorder::shut(), Recorder::shut());
    let server = small().start_multi(&name, recorder.clone(), slots(4, 4)).unwrap();
    let client = MultiClient::connect(&name, of_client.clone(), MultiClientOptions::default()).unwrap();
    let is_message = |event: &Event| matches!(event, Event::Message(..));
    // Both handlers are in their first call, so that nothing else is received.
    client.send(&message(0, 64)).unwrap();
    server.send_to(0, &message(0, 64)).unwrap();
    recorder.events.wait("the server's handler", has(1, is_message));
    of_client.events.wait("the client's handler", has(1, is_message));
    let mut evicted = 0;
    for number in 1..=300 {
        client.send(&message(number, 64)).unwrap();
        evicted += u64::from(server.send_to(0, &message(number, 64)).unwrap().overwritten);
    }
    assert!(evicted >= 250, "{evicted}");
    recorder.gate.open();
    of_client.gate.open();
    let last = |event: &Event| matches!(event, Event::Message(0, bytes) if check_message(bytes) == 300);
    recorder.events.wait("the last message", has(1, last));
    of_client.events.wait("the last message", has(1, last));
    until("the server has counted all", || recorder.overflows(ChannelKind::ServerToClient) == evicted);
    let stats = server.stats(0).unwrap();
    assert_eq!((stats.sent, stats.send_dropped), (301, evicted));
    let lost = recorder.overflows(ChannelKind::ClientToServer);
    assert_eq!((stats.received, stats.receive_dropped), (301 - lost, lost));
    until("the client has counted all", || of_client.overflows(ChannelKind::ClientToServer) == lost);
    assert_eq!(of_client.overflows(ChannelKind::ServerToClient), evicted);
    let stats = client.stats();
    assert_eq!((stats.sent_messages, stats.send_overflows), (301, lost));
    assert_eq!((stats.received_messages, stats.receive_overflows), (301 - evicted, evicted));
}

#[test]
fn a_broadcast_returns_the_outcome_for_each_client() {
    let name = unique("modes-broadcast");
    let recorder = Recorder::shut();
    let server = small().start_multi(&name, recorder.clone(), slots(4, 4)).unwrap();
    let (full, leaves, free) = (plain_client(&name), plain_client(&name), plain_client(&name));
    let ids = [0, 1, 2].map(|slot| server.client(slot).unwrap());
    fill(&server, 0);
    // The worker is in the handler, and does not find that a client has left.
    free.send_to_server(b"busy").unwrap();
    recorder.events.wait("the worker is busy", has(1, |event| matches!(event, Event::Message(..))));
    drop(leaves);
    let outcome = server.broadcast(&message(1000, 64)).unwrap();
    assert_eq!(outcome, 2);
    assert_eq!(outcome.clients.iter().map(|(client, _)| *client).collect::<Vec<_>>(), ids);
    assert_eq!(outcome.evicted().collect::<Vec<_>>(), [(ids[0], 1)]);
    assert_eq!(outcome.failed().collect::<Vec<_>>(), [(ids[1], &ShmError::NotConnected)]);
    assert_eq!(check_message(&receive(&full)), 1);
    assert_eq!(check_message(&receive(&free)), 1000);
    recorder.gate.open();

    let name = unique("modes-broadcast");
    let server = MultiServer::builder(&name).options(small().reject_when_full()).start().unwrap();
    let (full, free) = (plain_client(&name), plain_client(&name));
    fill(&server, 0);
    let outcome = server.broadcast(&message(1000, 64)).unwrap();
    assert_eq!((outcome.sent(), outcome.evicted().count()), (1, 0));
    let full_id = server.client(0).unwrap();
    assert_eq!(outcome.failed().collect::<Vec<_>>(), [(full_id, &ShmError::QueueFull)]);
    assert_eq!((check_message(&receive(&full)), check_message(&receive(&free))), (0, 1000));
}

#[test]
fn a_session_has_its_own_peer_counts_and_end() {
    let name = unique("modes-session");
    let recorder = Recorder::new();
    let server = MultiServer::start(&name, recorder.clone(), slots(1, 1)).unwrap();
    let first = plain_client(&name);
    let (old, peer) = (server.client(0).unwrap(), server.peer(0).unwrap());
    assert_eq!(server.peer(old).unwrap(), peer);
    assert_eq!((peer.slot(), peer.is_connected()), (0, true));
    assert_eq!(peer.identity().unwrap().process_id, std::process::id());
    first.send_to_server(b"one").unwrap();
    recorder.events.wait("a message", has(1, |event| matches!(event, Event::Message(..))));
    peer.send(b"two").unwrap();
    let stats = server.stats(old).unwrap();
    assert_eq!((stats.sent, stats.send_depth, stats.received), (1, 1, 1));
    assert_eq!(peer.stats(), Ok(stats));
    server.disconnect_client(old).unwrap();
    assert_eq!(receive(&first), b"two");
    assert_eq!(first.receive_from_server(&mut Vec::new()).err(), Some(ShmError::NotConnected));
    let kicked = Event::Disconnect(0, DisconnectReason::Kicked);
    recorder.events.wait("it is disconnected", has(1, |event| *event == kicked));

    let second = plain_client(&name);
    let new = server.client(0).unwrap();
    assert_ne!(old, new);
    assert_eq!(server.stats(new), Ok(PeerStats::default()));
    assert_eq!(server.disconnect_client(old), Err(ShmError::NotConnected));
    assert_eq!((server.peer(old), server.stats(old)), (None, Err(ShmError::NotConnected)));
    assert_eq!((peer.disconnect(), peer.send(b"late")), two(ShmError::NotConnected));
    assert_eq!((peer.identity(), peer.is_connected()), (None, false));
    assert_eq!(server.peer(0).unwrap().disconnect(), Ok(()));
    assert_eq!(second.receive_from_server(&mut Vec::new()).err(), Some(ShmError::NotConnected));
}

fn two<A, B>(error: ShmError) -> (Result<A>, Result<B>) {
    (Err(error.clone()), Err(error))
}

// Clients of any kind, and reconnecting.

#[test]
fn a_plain_client_and_an_auto_client_join_a_server_for_many() {
    let name = unique("modes-join");
    let server = MultiServer::builder(&name)
        .multi_options(slots(2, 2))
        .on_message(|client, bytes| drop(client.send(bytes)))
        .start()
        .unwrap();
    let plain = plain_client(&name);
    for number in 0..200 {
        plain.send_to_server(&message(number, 64)).unwrap();
        assert_eq!(check_message(&receive(&plain)), number);
    }
    let auto = |name: &str| {
        let ((answers, answered), (errors, failed)) = (Shared::new(), Shared::new());
        let client = AutoClient::builder(name)
            .auto_options(AutoOptions { reconnect_delay: Duration::from_millis(1), ..AutoOptions::default() })
            .on_message(move |_, bytes| answers.send(bytes.to_vec()))
            .on_error(move |_, error| errors.send(error))
            .connect()
            .unwrap();
        (client, answered, failed)
    };
    let (second, answers, _) = auto(&name);
    second.send(b"to the second slot").unwrap();
    assert_eq!(next(&answers), b"to the second slot");
    let full = SharedClient::connect(&name, PATIENCE);
    assert_eq!(full.err(), Some(ShmError::NoFreeSlot));
    assert_eq!(Caller::connect(&name, PATIENCE).err(), Some(ShmError::NoFreeSlot));
    let (third, answers, errors) = auto(&name);
    assert_eq!(next(&errors), ShmError::NoFreeSlot);
    third.send(b"it waits for a slot").unwrap();
    drop(plain);
    assert_eq!(next(&answers), b"it waits for a slot");
    assert_eq!(server.client_count(), 2);
}

#[test]
fn a_multi_client_that_reconnects_survives_restarts_of_the_server() {
    let name = unique("modes-restart");
    let of_client = Recorder::new();
    let start = || {
        start_again(|| {
            MultiServer::builder(&name).on_message(|client, bytes| drop(client.send(bytes))).start()
        })
    };
    let mut server = Some(start());
    let options = MultiClientOptions { reconnect: Some(retry(1, 50)), ..MultiClientOptions::default() };
    let client = MultiClient::connect(&name, of_client.clone(), options).unwrap();
    for round in 1..=5 {
        let list = of_client.events.wait("it connects", has(round, is_connect));
        let slot = list.iter().rev().find_map(|event| match event {
            Event::Connect(slot) => Some(*slot),
            _ => None,
        });
        assert_eq!(slot, Some(client.slot_id()));
        assert!(client.is_connected());
        assert!(server.as_ref().unwrap().is_client_connected(client.slot_id()));
        client.send(&[round as u8; 9]).unwrap();
        let echo = Event::Message(0, vec![round as u8; 9]);
        of_client.events.wait("an echo", has(1, |event| *event == echo));
        drop(server.take());
        of_client.events.wait("the end is reported", has(round, is_disconnect));
        assert!(!client.is_connected());
        assert_eq!(client.send(b"no server"), Err(ShmError::NotConnected));
        assert_eq!(client.send_timeout(b"no server", None), Err(ShmError::NotConnected));
        server = Some(start());
        if round < 5 {
            // For the next client to have another slot than the first one, sometimes.
            let _other = SharedClient::connect(&name, PATIENCE).unwrap();
        }
    }
    of_client.events.wait("it connects", has(6, is_connect));
    client.stop();
    let mut events = of_client.events.all();
    events.retain(|event| is_connect(event) || is_disconnect(event));
    assert_eq!(events.len(), 12);
    for (at, event) in events.iter().enumerate() {
        assert_eq!(is_connect(event), at % 2 == 0, "{events:?}");
    }
    assert_eq!(events[11], Event::Disconnect(0, DisconnectReason::Stopped));
}

#[test]
fn stop_ends_a_multi_client_that_is_connecting_again() {
    for round in 0..20 {
        let name = unique("modes-stop-again");
        let (of_client, of_server) = (Recorder::new(), Log::new());
        let gate = Gate::default();
        let (log, closed) = (of_server.clone(), gate.clone());
        let start = || {
            let (log, closed) = (log.clone(), closed.clone());
            start_again(|| {
                let (log, closed) = (log.clone(), closed.clone());
                let on_connect = move |client: &PeerHandle| {
                    log.push(client.slot());
                    if log.all().len() == 2 {
                        closed.pass();
                    }
                };
                MultiServer::builder(&name).on_connect(on_connect).start()
            })
        };
        let first = start();
        let options = MultiClientOptions {
            lobby_timeout: Duration::from_secs(600),
            slot_timeout: Duration::from_secs(600),
            reconnect: Some(if round % 4 == 3 { retry(600_000, 600_000) } else { retry(1, 1) }),
            ..MultiClientOptions::default()
        };
        let client = MultiClient::connect(&name, of_client.clone(), options).unwrap();
        drop(first);
        of_client.events.wait("the server is gone", has(1, is_disconnect));
        // In every other round, the client waits for its slot: the server's handler is in its call.
        let second = (round % 2 == 0).then(|| {
            let second = start();
            of_server.wait_for(2);
            second
        });
        let ((), took) = timed(|| client.stop());
        assert!(took < Duration::from_secs(10), "round {round}: {took:?}");
        assert_eq!(of_client.count(is_connect), 1);
        assert_eq!(client.send(b"stopped"), Err(ShmError::NotConnected));
        gate.open();
        drop(second);
    }
}

#[test]
fn a_multi_client_that_does_not_reconnect_stays_without_a_connection() {
    let name = unique("modes-down");
    let of_client = Recorder::new();
    let start = || start_again(|| MultiServer::builder(&name).multi_options(slots(1, 1)).start());
    let first = start();
    let client = MultiClient::connect(&name, of_client.clone(), MultiClientOptions::default()).unwrap();
    drop(first);
    of_client.events.wait("the server is gone", has(1, is_disconnect));
    let _second = start();
    // Its one slot is free for this client.
    let _other = plain_client(&name);
    assert!(!client.is_connected());
    assert_eq!(client.send(b"no server"), Err(ShmError::NotConnected));
    client.stop();
    assert_eq!((of_client.count(is_connect), of_client.count(is_disconnect)), (1, 1));
}

#[test]
fn an_auto_client_that_is_refused_waits_longer_each_time() {
    let name = unique("modes-backoff");
    let _server = MultiServer::builder(&name).multi_options(slots(1, 1)).start().unwrap();
    let taken = plain_client(&name);
    let times = Log::new();
    let (log, (connected, connects)) = (times.clone(), Shared::new());
    let options = AutoOptions {
        reconnect_delay: Duration::from_millis(10),
        longest_reconnect_delay: Duration::from_millis(160),
        reconnect_jitter_percent: 0,
        ..AutoOptions::default()
    };
    let _client = AutoClient::builder(&name)
        .auto_options(options)
        .on_connect(move |_| connected.send(()))
        .on_error(move |_, error| {
            assert_eq!(error, ShmError::NoFreeSlot);
            log.push(Instant::now());
        })
        .connect()
        .unwrap();
    let times = times.wait_for(8);
    for (pair, pause) in times.windows(2).zip([10, 20, 40, 80, 160, 160, 160]) {
        let passed = pair[1] - pair[0];
        assert!(passed >= Duration::from_millis(pause), "{passed:?} instead of {pause} ms");
    }
    drop(taken);
    next(&connects);
}

// Handles, and closures.

#[test]
fn on_start_comes_first_and_a_handler_that_keeps_its_handle_does_not_keep_the_endpoint() {
    let _no_copies = no_peer_starts();
    let name = unique("modes-handle");
    for round in 0..10 {
        let [server_log, client_log, auto_log] = [(); 3].map(|()| Recorder::new());
        let server = MultiServer::start(&name, server_log.clone(), MultiOptions::default()).unwrap();
        let client = MultiClient::connect(&name, client_log.clone(), MultiClientOptions::default()).unwrap();
        let auto = AutoClient::connect(&name, auto_log.clone(), AutoOptions::default()).unwrap();
        let server_handle = server_log.multi.get().unwrap().clone();
        let client_handle = client_log.auto.get().unwrap().clone();
        client_handle.send(b"by a handle").unwrap();
        let is_message = |event: &Event| matches!(event, Event::Message(..));
        server_log.events.wait("a message", has(1, is_message));
        auto_log.events.wait("it connects", has(1, is_connect));
        assert_eq!(server_handle.client_count(), 2);
        if round % 2 == 0 {
            drop((client, auto, server));
        } else {
            drop((server, client, auto));
        }
        for recorder in [&server_log, &client_log, &auto_log] {
            assert_eq!(recorder.events.all()[0], Event::Start);
            assert_eq!(Arc::strong_count(recorder), 1, "no thread has the handler");
        }
        assert_eq!(server_handle.broadcast(b"gone").err(), Some(ShmError::NotConnected));
        assert_eq!(
            (client_handle.send(b"gone"), client_handle.is_connected()),
            (Err(ShmError::NotConnected), false)
        );
        // The name is free.
        let auto_log = Recorder::new();
        let auto = AutoServer::start(&name, auto_log.clone(), AutoOptions::default()).unwrap();
        auto_log.auto.get().unwrap().send(b"for the first client").unwrap();
        let plain = plain_client(&name);
        assert_eq!(receive(&plain), b"for the first client");
        drop(auto);
        assert_eq!((&auto_log.events.all()[0], Arc::strong_count(&auto_log)), (&Event::Start, 1));
    }
}

#[test]
fn closures_get_the_peer_and_a_kept_peer_reaches_no_later_client() {
    for is_multi in [true, false] {
        let name = unique("modes-peer");
        let peers = Log::new();
        let (on_connect, on_message, on_disconnect) = (peers.clone(), peers.clone(), peers.clone());
        // The two builders have the same methods.
        macro_rules! start {
            ($builder:expr) => {
                $builder
                    .on_connect(move |peer| on_connect.push(("connect", peer.clone())))
                    .on_message(move |peer, _| on_message.push(("message", peer.clone())))
                    .on_disconnect(move |peer, _| on_disconnect.push(("disconnect", peer.clone())))
                    .start()
                    .unwrap()
            };
        }
        let (multi, auto) = if is_multi {
            (Some(start!(MultiServer::builder(&name).multi_options(slots(1, 1)))), None)
        } else {
            (None, Some(start!(AutoServer::builder(&name))))
        };
        let first = plain_client(&name);
        first.send_to_server(b"hello").unwrap();
        drop(first);
        let calls = peers.wait_for(3);
        assert_eq!([calls[0].0, calls[1].0, calls[2].0], ["connect", "message", "disconnect"]);
        let old = &calls[0].1;
        assert!(calls.iter().all(|(_, peer)| peer == old));
        assert_eq!(old.send(b"late"), Err(ShmError::NotConnected));
        let second = plain_client(&name);
        let new = &peers.wait_for(4)[3].1;
        assert_ne!(old, new);
        assert_eq!(old.send(b"late"), Err(ShmError::NotConnected));
        assert_eq!((old.try_send(b"late"), old.send_timeout(b"late", None)), two(ShmError::NotConnected));
        assert_eq!((old.stats(), old.disconnect()), two(ShmError::NotConnected));
        new.send(b"in time").unwrap();
        assert_eq!(receive(&second), b"in time");
        drop((multi, auto));
        assert_eq!(
            (old.send(b"late").err(), new.send(b"late").err()),
            (Some(ShmError::NotConnected), Some(ShmError::NotConnected))
        );
    }
}

// Calls.

/// A server that answers each call with its bytes, reversed.
fn reverser(name: &str) -> MultiServer {
    let answer = |call: Call, bytes: &[u8]| {
        let answer: Vec<u8> = bytes.iter().rev().copied().collect();
        call.answer(&answer).unwrap();
    };
    MultiServer::builder(name).on_call(answer).start().unwrap()
}

/// A server that gives its calls away. The calls may be answered by any thread.
fn collector(name: &str) -> (AutoServer, Receiver<(Call, Vec<u8>)>) {
    let (calls, kept) = Shared::new();
    let server =
        AutoServer::builder(name).on_call(move |call, bytes| calls.send((call, bytes.to_vec()))).start();
    (server.unwrap(), kept)
}

fn caller(name: &str) -> Caller {
    Caller::connect(name, PATIENCE).unwrap()
}

#[test]
fn many_threads_call_at_the_same_time() {
    const THREADS: u64 = 16;
    const CALLS: u64 = 300;
    let name = unique("modes-threads");
    let _server = reverser(&name);
    let caller = caller(&name);
    assert_eq!(caller.slot_id(), Some(0));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let caller = &caller;
            scope.spawn(move || {
                for number in 0..CALLS {
                    let question = message(thread << 32 | number, 8 + (number as usize * 37) % 500);
                    // Some have a limit, and some have none.
                    let limit = (number % 2 == 0).then_some(PATIENCE);
                    let mut answer = caller.call(&question, limit).unwrap();
                    answer.reverse();
                    assert_eq!(answer, question);
                }
            });
        }
    });
    let stats = caller.stats();
    assert_eq!((stats.calls, stats.answers), (THREADS * CALLS, THREADS * CALLS));
    assert_eq!((stats.late_answers, stats.other_messages), (0, 0));
}

#[test]
fn answers_may_come_in_any_order_and_from_another_thread() {
    let name = unique("modes-order");
    let (_server, calls) = collector(&name);
    let caller = caller(&name);
    for round in 0..20_usize {
        thread::scope(|scope| {
            for thread in 0..8_u8 {
                let caller = &caller;
                scope.spawn(move || assert_eq!(caller.call(&[thread], Some(PATIENCE)), Ok(vec![thread; 3])));
            }
            let mut waiting: HashMap<u8, Call> = HashMap::new();
            for _ in 0..8 {
                let (call, bytes) = next(&calls);
                waiting.insert(bytes[0], call);
            }
            for thread in 0..8 {
                let thread = ((thread * 5 + round) % 8) as u8;
                waiting.remove(&thread).unwrap().answer(&[thread; 3]).unwrap();
            }
        });
    }
}

#[test]
fn a_late_answer_is_dropped_and_counted() {
    let name = unique("modes-late");
    let (_server, calls) = collector(&name);
    let caller = caller(&name);
    assert_eq!(caller.call(b"one", millis(20)), Err(ShmError::Timeout));
    let (late, _) = next(&calls);
    thread::scope(|scope| {
        let second = scope.spawn(|| caller.call(b"two", Some(PATIENCE)));
        let (call, _) = next(&calls);
        late.answer(b"for the first").unwrap();
        call.answer(b"for the second").unwrap();
        assert_eq!(second.join().unwrap().unwrap(), b"for the second");
    });
    let stats = caller.stats();
    assert_eq!((stats.calls, stats.answers, stats.late_answers), (2, 1, 1));
}

#[test]
fn calls_that_the_server_drops_have_no_answer() {
    let name = unique("modes-drop");
    let (_server, calls) = collector(&name);
    let caller = caller(&name);
    thread::scope(|scope| {
        let dropped = scope.spawn(|| caller.call(b"dropped", None));
        drop(next(&calls));
        assert_eq!(dropped.join().unwrap(), Err(ShmError::NoAnswer));
        let too_long = scope.spawn(|| caller.call(b"too long", None));
        let (call, _) = next(&calls);
        assert_eq!(call.answer(&vec![1; MAX_CALL_SIZE + 1]), Err(ShmError::MessageTooLarge));
        assert_eq!(too_long.join().unwrap(), Err(ShmError::NoAnswer));
    });
    assert!(caller.is_connected());

    let name = unique("modes-panic");
    let (errors, failed) = Shared::new();
    let _server = MultiServer::builder(&name)
        .on_call(|_, _| panic!("in a call"))
        .on_error(move |_, error| errors.send(error))
        .start()
        .unwrap();
    assert_eq!(Caller::connect(&name, PATIENCE).unwrap().call(b"panic", None), Err(ShmError::NoAnswer));
    assert!(matches!(next(&failed), ShmError::HandlerPanicked { .. }));
}

#[test]
fn a_servers_end_ends_all_calls() {
    // A server that is stopped.
    let name = unique("modes-end");
    let (server, calls) = collector(&name);
    let stopped = caller(&name);
    let kept = thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| stopped.call(b"?", None))).collect();
        let kept: Vec<_> = (0..4).map(|_| next(&calls).0).collect();
        drop(server);
        for caller in callers {
            assert_eq!(caller.join().unwrap(), Err(ShmError::NotConnected));
        }
        kept
    });
    assert!(!stopped.is_connected());
    assert_eq!(stopped.call(b"?", None), Err(ShmError::NotConnected));
    for call in kept {
        assert_eq!(call.answer(b"too late"), Err(ShmError::NotConnected));
    }

    // A server that is killed.
    let name = unique("modes-end");
    let mut peer = Peer::start();
    peer.must(&format!("start {name}"));
    peer.tell("accept 20000");
    let killed = caller(&name);
    assert_eq!(peer.answer(), "ok");
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| killed.call(b"?", None))).collect();
        until("all wait", || killed.stats().calls == 4);
        peer.kill();
        for caller in callers {
            let error = caller.join().unwrap().unwrap_err();
            assert!(matches!(error, ShmError::PeerDied { .. } | ShmError::NotConnected), "{error:?}");
        }
    });
    assert!(!killed.is_connected());
}

#[test]
fn ordinary_messages_may_go_beside_calls() {
    let name = unique("modes-beside");
    let (messages, received) = Shared::new();
    let server = MultiServer::builder(&name)
        .on_message(move |_, bytes| messages.send(bytes.to_vec()))
        .on_call(|call, bytes| {
            call.peer().send(b"an ordinary message").unwrap();
            call.answer(bytes).unwrap();
        })
        .start()
        .unwrap();
    let caller = caller(&name);
    let plain = plain_client(&name);
    for _ in 0..10 {
        assert_eq!(caller.call(b"", Some(PATIENCE)), Ok(Vec::new()));
        plain.send_to_server(b"xcal").unwrap();
        assert_eq!(next(&received), b"xcal");
    }
    assert_eq!(caller.stats().other_messages, 10);
    // A server without a function for calls gets them as messages.
    drop(server);
    let name = unique("modes-beside");
    let (messages, received) = Shared::new();
    let _server =
        AutoServer::builder(&name).on_message(move |_, bytes| messages.send(bytes.to_vec())).start().unwrap();
    assert_eq!(Caller::connect(&name, PATIENCE).unwrap().call(b"anyone?", millis(1)), Err(ShmError::Timeout));
    assert!(next(&received).ends_with(b"anyone?"));
}

#[test]
fn a_server_for_one_client_receives_and_answers_calls() {
    let name = unique("modes-sync");
    let mut server = SharedServer::start(&name).unwrap();
    let client = thread::spawn({
        let name = name.clone();
        move || {
            let caller = caller(&name);
            assert_eq!(caller.slot_id(), None);
            assert_eq!(caller.call(b"question", Some(PATIENCE)), Ok(b"answer".to_vec()));
            assert_eq!(caller.call(b"refused", Some(PATIENCE)), Err(ShmError::NoAnswer));
            assert_eq!(caller.call(b"kept", millis(1)), Err(ShmError::Timeout));
        }
    });
    server.wait_for_client(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    let mut receive = |server: &SharedServer, expected: &[u8]| {
        let incoming = server.receive_call(&mut bytes, Some(PATIENCE)).unwrap();
        assert_eq!(bytes, expected);
        let Incoming::Call(call) = incoming else { panic!("no call") };
        call
    };
    let call = receive(&server, b"question");
    server.answer(call, b"answer").unwrap();
    let call = receive(&server, b"refused");
    server.refuse(call).unwrap();
    let kept = receive(&server, b"kept");
    client.join().unwrap();
    // The next client does not get the answer.
    let client = thread::spawn(move || plain_client(&name));
    server.wait_for_client(Some(PATIENCE)).unwrap();
    let client = client.join().unwrap();
    assert_eq!(server.answer(kept, b"late"), Err(ShmError::NotConnected));
    client.send_to_server(b"ordinary").unwrap();
    assert_eq!(server.receive_call(&mut bytes, Some(PATIENCE)), Ok(Incoming::Message));
    assert_eq!(bytes, b"ordinary");
    assert_eq!(server.receive_call(&mut bytes, millis(1)), Err(ShmError::Timeout));
    assert_eq!(client.try_receive_from_server(&mut bytes), Err(ShmError::QueueEmpty));
}

#[test]
fn a_call_may_have_max_call_size_bytes_and_not_one_more() {
    let name = unique("modes-size");
    let _server = reverser(&name);
    let caller = caller(&name);
    for len in [0, 1, MAX_CALL_SIZE] {
        assert_eq!(caller.call(&vec![7; len], Some(PATIENCE)), Ok(vec![7; len]));
    }
    assert_eq!(caller.call(&vec![7; MAX_CALL_SIZE + 1], None), Err(ShmError::MessageTooLarge));
    assert_eq!(caller.call(b"next", Some(PATIENCE)), Ok(b"txen".to_vec()));
    assert_eq!((caller.stats().calls, caller.stats().answers), (4, 4));
}

#[test]
fn an_interrupt_ends_all_calls_until_it_is_reset() {
    let name = unique("modes-interrupt");
    let (_server, calls) = collector(&name);
    let caller = caller(&name);
    let kept: Vec<Call> = thread::scope(|scope| {
        let limits = [None, Some(PATIENCE), None, Some(PATIENCE)];
        let threads = limits.map(|limit| {
            let caller = &caller;
            scope.spawn(move || caller.call(b"?", limit))
        });
        let kept = (0..4).map(|_| next(&calls).0).collect();
        caller.interrupter().interrupt();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Err(ShmError::Interrupted));
        }
        kept
    });
    assert_eq!(caller.call(b"?", None), Err(ShmError::Interrupted));
    assert!(caller.is_connected());
    caller.interrupter().reset();
    drop(kept);
    drop(next(&calls));
    thread::scope(|scope| {
        let again = scope.spawn(|| caller.call(b"?", Some(PATIENCE)));
        next(&calls).0.answer(b"!").unwrap();
        assert_eq!(again.join().unwrap(), Ok(b"!".to_vec()));
    });
    assert_eq!(caller.stats().late_answers, 5);
}

#[test]
fn a_call_waits_for_room_and_the_time_of_others_goes_on() {
    let name = unique("modes-room");
    let mut server = small().start(&name).unwrap();
    let client = thread::spawn(move || caller(&name));
    server.wait_for_client(Some(PATIENCE)).unwrap();
    let caller = client.join().unwrap();
    let ended = AtomicUsize::new(0);
    thread::scope(|scope| {
        // More calls than the queue has room for.
        let threads: Vec<_> = (0..60_u8)
            .map(|number| {
                let (caller, ended) = (&caller, &ended);
                scope.spawn(move || {
                    // Those with an odd number give up.
                    let result = caller.call(&[number], if number % 2 == 0 { None } else { millis(100) });
                    ended.fetch_add(1, Ordering::Relaxed);
                    result
                })
            })
            .collect();
        until("those with a limit give up", || ended.load(Ordering::Relaxed) == 30);
        let mut bytes = Vec::new();
        let mut answered = 0;
        while answered < 30 {
            let Incoming::Call(call) = server.receive_call(&mut bytes, Some(PATIENCE)).unwrap() else {
                panic!("no call")
            };
            answered += u64::from(bytes[0] % 2 == 0);
            server.answer(call, &bytes).unwrap();
            // An answer that finds no room evicts another one.
            until("the client takes the answer", || server.stats().unwrap().send_depth == 0);
        }
        for (number, thread) in threads.into_iter().enumerate() {
            match thread.join().unwrap() {
                Ok(answer) => assert_eq!(answer, [number as u8]),
                Err(error) => assert_eq!((error, number % 2), (ShmError::Timeout, 1)),
            }
        }
    });
}
