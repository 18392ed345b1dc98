//! Where one session ends and the next one begins: the end of a session is reported in time, and a message reaches the
//! session that it was meant for, or sending it is an error.

mod common;

use common::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};
use xshm::*;

/// How late the end of a session may be reported.
const SOON: Duration = Duration::from_millis(500);

#[test]
fn peer_process() {
    serve();
}

struct Quiet;

impl MultiClientHandler for Quiet {}
impl AutoHandler for Quiet {}

/// Runs a call that may hang, on a new thread. `None`: the call has not returned in this time, and its thread still runs.
fn within<T: Send + 'static>(time: Duration, call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, result) = channel();
    std::thread::spawn(move || {
        let _ = sender.send(call());
    });
    match result.recv_timeout(time) {
        Ok(result) => Some(result),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => panic!("the call panicked"),
    }
}

// ---- A spin budget that is longer than the test.

struct Ends(Mutex<Sender<(u32, DisconnectReason)>>);

impl Ends {
    fn new() -> (Arc<Self>, Receiver<(u32, DisconnectReason)>) {
        let (sender, ends) = channel();
        (Arc::new(Ends(Mutex::new(sender))), ends)
    }
}

impl MultiHandler for Ends {
    fn on_client_disconnect_because(&self, client_id: u32, reason: &DisconnectReason) {
        let _ = self.0.lock().unwrap().send((client_id, reason.clone()));
    }
}

/// A worker of a `MultiServer` that spins for seconds, or for ever, reports the end of a session as early as one that
/// sleeps.
#[test]
fn a_multi_server_that_spins_reports_that_a_client_left_or_was_killed() {
    let mut late = Vec::new();
    for spin in [Duration::from_secs(3), Duration::MAX] {
        for kill in [false, true] {
            let name = unique("lives-spin");
            let (handler, ends) = Ends::new();
            let options = ServerOptions::new().ring_size(8192).message_limit(100).spin(spin);
            let server = options.start_multi(&name, handler, MultiOptions::default()).unwrap();
            let mut peer = Peer::start();
            assert_eq!(peer.must(&format!("join {name} 1")), "0");
            if kill {
                peer.kill();
            } else {
                peer.must("part 0");
            }
            let reason = if kill { DisconnectReason::PeerDied } else { DisconnectReason::PeerLeft };
            let start = Instant::now();
            // A longer wait than the bound, so that the failure shows how late the report is.
            let found = ends.recv_timeout(Duration::from_secs(5));
            let took = start.elapsed();
            if found != Ok((0, reason)) || took > SOON {
                late.push(format!("spin {spin:?}, killed {kill}: {found:?} after {took:?}"));
            }
            // A worker that spins for ever must end too.
            if within(Duration::from_secs(5), move || drop(server)).is_none() {
                late.push(format!("spin {spin:?}, killed {kill}: the server does not stop"));
            }
        }
    }
    assert!(late.is_empty(), "{late:#?}");
}

// ---- Waiting for the next client.

/// `wait_for_client` changes nothing if no client comes: the server can still receive what the last client sent.
#[test]
fn waiting_for_a_client_that_does_not_come_loses_nothing() {
    let name = unique("lives-unread");
    let mut server = SharedServer::start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    peer.must("send over 0 5 64");
    peer.must("leave");
    let mut buffer = Vec::new();
    for number in 0..5 {
        assert_eq!(server.wait_for_client(millis(50)), Err(ShmError::Timeout));
        assert_eq!(server.try_receive_from_client(&mut buffer), Ok(64), "message {number}");
        assert_eq!(check_message(&buffer), number);
    }
    assert_eq!(server.try_receive_from_client(&mut buffer), Err(ShmError::NotConnected));
    // The next client's session contains none of it.
    let mut next = Peer::start();
    next.enter(&name, &mut server);
    assert_eq!(server.try_receive_from_client(&mut buffer), Err(ShmError::QueueEmpty));
}

// ---- Answers.

/// Passes a multi-client server's messages on to the thread that answers them, and reports the ends of sessions.
struct Questions {
    messages: Mutex<Sender<(u32, Vec<u8>)>>,
    ends: Mutex<Sender<u32>>,
}

impl MultiHandler for Questions {
    fn on_message(&self, client_id: u32, data: &[u8]) {
        let _ = self.messages.lock().unwrap().send((client_id, data.to_vec()));
    }
    fn on_client_disconnect(&self, client_id: u32) {
        let _ = self.ends.lock().unwrap().send(client_id);
    }
}

/// A service computes its answer in another thread and addresses it to the client that asked. If that client has left
/// meanwhile, the send is an error, and no other client receives the answer.
#[test]
fn a_multi_servers_late_answer_reaches_no_other_client() {
    let name = unique("lives-answer");
    let ((messages, questions), (left, lefts)) = (channel(), channel());
    let handler = Arc::new(Questions { messages: Mutex::new(messages), ends: Mutex::new(left) });
    let server = MultiServer::start(&name, handler, MultiOptions::default()).unwrap();
    let (mut first, mut second) = (Peer::start(), Peer::start());
    first.must(&format!("join {name} 1"));
    first.must("say 0 7 1 64");
    let (asked, question) = questions.recv_timeout(Duration::from_secs(5)).unwrap();
    first.must("part 0");
    assert_eq!(lefts.recv_timeout(Duration::from_secs(5)), Ok(asked));
    // The slot becomes free when the handler has returned, perhaps after the first of these clients has connected.
    let slots = second.must(&format!("join {name} 3"));
    let sent = std::thread::scope(|scope| {
        let answer = || {
            // The work that the answer takes.
            std::thread::sleep(Duration::from_millis(300));
            server.send_to(asked, &question)
        };
        scope.spawn(answer).join().unwrap()
    });
    let heard = [0, 1, 2].map(|which| second.ask(&format!("hear {which} 300")));
    assert_eq!(
        heard, ["err Timeout"; 3],
        "clients in slots {slots} received the answer to slot {asked}: {sent:?}"
    );
    assert_eq!(sent, Err(ShmError::NotConnected));
}

/// Answers each message when the test says so, through the endpoint itself, and reports how the answer was sent.
struct Answers {
    server: OnceLock<Weak<AutoServer>>,
    asked: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
    sent: Mutex<Sender<Result<()>>>,
}

impl AutoHandler for Answers {
    fn on_message(&self, _: ChannelKind, payload: &[u8]) {
        let _ = self.asked.lock().unwrap().send(());
        let _ = self.go.lock().unwrap().recv_timeout(Duration::from_secs(10));
        let server = self.server.get().and_then(Weak::upgrade).expect("the server lives");
        let _ = self.sent.lock().unwrap().send(server.send(payload));
    }
}

#[test]
fn an_auto_servers_answer_to_a_client_that_has_left_reaches_no_other_client() {
    let mut wrong = Vec::new();
    for max_send_queue in [AutoOptions::default().max_send_queue, 0] {
        let name = unique("lives-auto-answer");
        let ((asked, question), (go, gate), (sent, answers)) = (channel(), channel(), channel());
        let handler = Arc::new(Answers {
            server: OnceLock::new(),
            asked: Mutex::new(asked),
            go: Mutex::new(gate),
            sent: Mutex::new(sent),
        });
        let options = AutoOptions { max_send_queue, ..AutoOptions::default() };
        let server = Arc::new(AutoServer::start(&name, handler.clone(), options).unwrap());
        handler.server.set(Arc::downgrade(&server)).unwrap();
        let (mut first, mut second) = (Peer::start(), Peer::start());
        first.must(&format!("connect {name} 10000"));
        first.must("send over 7 1 64");
        question.recv_timeout(Duration::from_secs(5)).unwrap();
        first.must("leave");
        go.send(()).unwrap();
        let sent = answers.recv_timeout(Duration::from_secs(5)).unwrap();
        second.must(&format!("connect {name} 10000"));
        let received = second.ask("receive 500");
        if (&sent, received.as_str()) != (&Err(ShmError::NotConnected), "err Timeout") {
            wrong.push(format!("max_send_queue {max_send_queue}: {sent:?}, the next client: {received}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

// ---- Auto endpoints.

/// Only clients and failures have a pause before the next attempt. A server accepts at once after a client has left.
#[test]
fn an_auto_server_does_not_pause_after_a_client_that_left() {
    let name = unique("lives-pause");
    let server = AutoServer::start(&name, Arc::new(Quiet), AutoOptions::default()).unwrap();
    let mut peer = Peer::start();
    let ((), took) = timed(|| {
        for _ in 0..30 {
            peer.must(&format!("connect {name} 10000"));
            peer.must("leave");
        }
    });
    assert!(took < Duration::from_millis(1500), "30 clients took {took:?}");
    drop(server);
}

#[test]
fn connecting_to_a_multi_server_honours_the_callers_interrupter() {
    let interrupter = Interrupter::new().unwrap();
    let options = ClientOptions::new().interrupter(interrupter.clone());
    let patience = MultiClientOptions { lobby_timeout: Duration::from_secs(5), ..Default::default() };
    let name = unique("lives-interrupter");
    let connecting = std::thread::spawn(move || {
        timed(|| options.connect_multi(&name, Arc::new(Quiet), patience).map(drop))
    });
    // Most likely the call waits by then. If not, the interrupt stays set until it does.
    std::thread::sleep(Duration::from_millis(100));
    interrupter.interrupt();
    let (result, took) = connecting.join().unwrap();
    assert_eq!(result, Err(ShmError::Interrupted), "after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// Stops the other handler's endpoint as soon as both handlers run.
struct StopsTheOther {
    other: OnceLock<Weak<AutoServer>>,
    both: Arc<std::sync::Barrier>,
    returned: Mutex<Sender<()>>,
}

impl AutoHandler for StopsTheOther {
    fn on_message(&self, _: ChannelKind, _: &[u8]) {
        self.both.wait();
        let other = self.other.get().and_then(Weak::upgrade).expect("the endpoint lives");
        other.stop();
        let _ = self.returned.lock().unwrap().send(());
    }
}

/// Neither handler waits for the other endpoint's end, and a third thread's `stop` returns too.
#[test]
fn two_handlers_that_stop_each_others_endpoint_both_return() {
    const BOUND: Duration = Duration::from_secs(5);
    let both = Arc::new(std::sync::Barrier::new(2));
    let (returned, returns) = channel();
    let names = ["lives-cross", "lives-cross"].map(unique);
    let handlers = names.clone().map(|_| {
        let (both, returned) = (both.clone(), Mutex::new(returned.clone()));
        Arc::new(StopsTheOther { other: OnceLock::new(), both, returned })
    });
    let [one, two] = [0, 1].map(|at| {
        Arc::new(AutoServer::start(&names[at], handlers[at].clone(), AutoOptions::default()).unwrap())
    });
    handlers[0].other.set(Arc::downgrade(&two)).unwrap();
    handlers[1].other.set(Arc::downgrade(&one)).unwrap();
    // If the test fails, it must not wait for the endpoints when it unwinds.
    std::mem::forget((one.clone(), two.clone()));
    let mut peers = names.clone().map(|_| Peer::start());
    for (peer, name) in peers.iter_mut().zip(&names) {
        peer.must(&format!("connect {name} 10000"));
        peer.tell("send over 0 1 64");
    }
    let start = Instant::now();
    let both_returned = (0..2).all(|_| returns.recv_timeout(BOUND.saturating_sub(start.elapsed())).is_ok());
    let third = within(BOUND, move || one.stop());
    assert!(
        both_returned,
        "a handler still waits after {BOUND:?}; a third thread's stop returned: {third:?}"
    );
    assert!(third.is_some(), "a third thread's stop still waits after {BOUND:?}");
    assert!(within(BOUND, move || two.stop()).is_some());
}

// ---- Slots.

/// Takes the time `takes` to handle the end of a session. The slot is not free meanwhile.
struct Slow {
    ends: Mutex<Sender<()>>,
    takes: Duration,
}

impl MultiHandler for Slow {
    fn on_client_disconnect(&self, _: u32) {
        let _ = self.ends.lock().unwrap().send(());
        std::thread::sleep(self.takes);
    }
}

/// `lobby_timeout` is how long a client waits to be accepted: also for the slot of a client that has already left.
#[test]
fn a_multi_client_waits_for_the_slot_of_a_client_that_has_left() {
    let name = unique("lives-slot");
    let (sender, ends) = channel();
    let handler = Arc::new(Slow { ends: Mutex::new(sender), takes: Duration::from_millis(300) });
    let options = MultiOptions { max_clients: 1, ..MultiOptions::default() };
    let server = MultiServer::start(&name, handler, options).unwrap();
    let mut peer = Peer::start();
    for round in 0..3 {
        let (joined, took) = timed(|| peer.ask(&format!("join {name} 1")));
        assert_eq!(joined, "ok 0", "round {round}, after {took:?}");
        assert!(took < Duration::from_secs(3), "round {round}: {took:?}");
        peer.must(&format!("part {round}"));
        if round == 0 {
            // In this round the handler runs when the next client connects. In the others it may not have begun.
            ends.recv_timeout(Duration::from_secs(5)).unwrap();
        }
    }
    drop(server);
}

/// When all slots belong to clients that live, `connect` fails at once, whatever its `lobby_timeout`.
#[test]
fn a_multi_client_does_not_wait_for_the_slot_of_a_client_that_lives() {
    let name = unique("lives-full");
    let (handler, _ends) = Ends::new();
    let options = MultiOptions { max_clients: 2, ..MultiOptions::default() };
    let server = MultiServer::start(&name, handler, options).unwrap();
    let (mut first, mut second) = (Peer::start(), Peer::start());
    first.must(&format!("join {name} 2"));
    let (answer, took) = timed(|| second.ask(&format!("join {name} 1")));
    assert_eq!(answer, "err NoFreeSlot");
    assert!(took < Duration::from_millis(700), "{took:?}");
    drop(server);
}

// ---- The queue of an auto client.

struct Connects(Arc<AtomicBool>);

impl AutoHandler for Connects {
    fn on_connect(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Messages that were queued before the connection all leave the queue without a further call, however small the ring.
#[test]
fn messages_queued_before_there_was_a_server_all_arrive() {
    const MESSAGES: u64 = 200;
    let busy = Arc::new(AtomicBool::new(true));
    let spinning = busy.clone();
    let spinner = std::thread::spawn(move || {
        while spinning.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    let mut stuck = Vec::new();
    for round in 0..if long() { 600 } else { 60 } {
        let name = unique("lives-queue");
        let connected = Arc::new(AtomicBool::new(false));
        let handler = Arc::new(Connects(connected.clone()));
        let client = AutoClient::connect(&name, handler, AutoOptions::default()).unwrap();
        for number in 0..MESSAGES {
            client.send(&message(number, 16)).unwrap();
        }
        assert!(!connected.load(Ordering::Acquire));
        let mut server = ServerOptions::new().ring_size(4096).message_limit(1).start(&name).unwrap();
        server.wait_for_client(seconds(10)).unwrap();
        let mut buffer = Vec::new();
        for number in 0..MESSAGES {
            match server.receive_from_client_timeout(&mut buffer, seconds(2)) {
                Ok(_) => assert_eq!(check_message(&buffer), number),
                Err(error) => {
                    stuck.push(format!("round {round}: {error:?} instead of message {number}"));
                    break;
                }
            }
        }
        if stuck.len() == 3 {
            break;
        }
    }
    busy.store(false, Ordering::Relaxed);
    spinner.join().unwrap();
    assert!(stuck.is_empty(), "{stuck:#?}");
}

// ---- The end of an auto endpoint.

/// Passes on the counts of lost messages that an endpoint reports.
struct Losses(Mutex<Sender<(ChannelKind, u32)>>);

impl AutoHandler for Losses {
    fn on_overflow(&self, direction: ChannelKind, count: u32) {
        let _ = self.0.lock().unwrap().send((direction, count));
    }
}

/// Messages that wait for a connection when their endpoint is stopped are reported as lost.
#[test]
fn messages_that_are_queued_when_an_endpoint_stops_are_counted_and_reported() {
    let (sender, losses) = channel();
    let handler = Arc::new(Losses(Mutex::new(sender)));
    let name = unique("lives-stop-queue");
    let client = AutoClient::connect(&name, handler.clone(), AutoOptions::default()).unwrap();
    client.send(b"one").unwrap();
    client.send(b"two").unwrap();
    client.stop();
    assert_eq!(client.stats().send_overflows, 2);
    assert_eq!(losses.try_recv(), Ok((ChannelKind::ClientToServer, 2)));
    let server = AutoServer::start(&name, handler, AutoOptions::default()).unwrap();
    server.send(b"one").unwrap();
    server.stop();
    assert_eq!(server.stats().send_overflows, 1);
    assert_eq!(losses.try_recv(), Ok((ChannelKind::ServerToClient, 1)));
}

/// Answers each message, and records the session at each message and at the end.
struct Echo {
    server: OnceLock<Weak<AutoServer>>,
    asked: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
    sent: Mutex<Sender<Result<()>>>,
    sessions: Mutex<Vec<Option<SessionId>>>,
}

impl Echo {
    fn server(&self) -> Arc<AutoServer> {
        self.server.get().and_then(Weak::upgrade).expect("the server lives")
    }
}

impl AutoHandler for Echo {
    fn on_message(&self, _: ChannelKind, payload: &[u8]) {
        let _ = self.asked.lock().unwrap().send(());
        let _ = self.go.lock().unwrap().recv_timeout(Duration::from_secs(10));
        let server = self.server();
        self.sessions.lock().unwrap().push(server.session());
        let _ = self.sent.lock().unwrap().send(server.send(payload));
    }

    fn on_disconnect(&self) {
        let server = self.server();
        let session = server.session();
        self.sessions.lock().unwrap().push(session);
        let late = session.map(|session| server.send_to_session(session, b"late"));
        assert_eq!(late, Some(Err(ShmError::NotConnected)));
    }
}

/// An endpoint that stops first calls its handler for the messages that have arrived, and the answers of the handler arrive.
#[test]
fn a_handler_can_answer_messages_while_its_endpoint_stops() {
    const QUESTIONS: u64 = 5;
    let name = unique("lives-stop-answers");
    let ((asked, question), (go, gate), (sent, answers)) = (channel(), channel(), channel());
    let handler = Arc::new(Echo {
        server: OnceLock::new(),
        asked: Mutex::new(asked),
        go: Mutex::new(gate),
        sent: Mutex::new(sent),
        sessions: Mutex::default(),
    });
    let server = Arc::new(AutoServer::start(&name, handler.clone(), AutoOptions::default()).unwrap());
    handler.server.set(Arc::downgrade(&server)).unwrap();
    let client = SharedClient::connect(&name, Duration::from_secs(10)).unwrap();
    for number in 0..QUESTIONS {
        client.send_to_server(&message(number, 32)).unwrap();
    }
    question.recv_timeout(Duration::from_secs(5)).unwrap();
    server.request_stop();
    assert_eq!(server.send(b"from elsewhere"), Err(ShmError::NotConnected));
    drop(go);
    assert_eq!(server.stop_timeout(Duration::from_secs(10)), Ok(()));
    let sent: Vec<_> = answers.try_iter().collect();
    assert_eq!(sent, vec![Ok(()); QUESTIONS as usize]);
    let mut buffer = Vec::new();
    for number in 0..QUESTIONS {
        client.receive_from_server_timeout(&mut buffer, seconds(5)).unwrap();
        assert_eq!(check_message(&buffer), number);
    }
    assert_eq!(client.receive_from_server_timeout(&mut buffer, seconds(5)), Err(ShmError::NotConnected));
    let sessions = handler.sessions.lock().unwrap();
    assert_eq!(sessions.len(), QUESTIONS as usize + 1, "{sessions:?}");
    assert!(sessions[0].is_some() && sessions.iter().all(|session| *session == sessions[0]), "{sessions:?}");
}
