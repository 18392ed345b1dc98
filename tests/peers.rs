//! Handles of one session, waits for room beside other waits, and answers that have no room: lines 25a to 25c of docs/guarantees.md, in
//! cases that once failed.

mod common;

use common::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::Duration;
use xshm::*;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn peer_process() {
    serve();
}

fn small() -> ServerOptions {
    ServerOptions::new().ring_size(65536).message_limit(250)
}

fn at_once() -> RetryOptions {
    RetryOptions { initial_delay: Duration::from_millis(1), ..RetryOptions::default() }
}

/// Sends a value on a channel whenever it is called.
fn reporter<T: Send + 'static>() -> (impl Fn(T) + Send + Sync, mpsc::Receiver<T>) {
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    // The test may be over.
    (move |value| drop(sender.lock().unwrap().send(value)), receiver)
}

#[test]
fn line_25b_a_client_that_on_start_stops_is_not_connected() {
    struct Stopping;
    impl MultiClientHandler for Stopping {
        fn on_start(&self, client: AutoHandle) {
            client.request_stop();
        }
    }
    let name = unique("peers-stopped");
    let _server = MultiServer::builder(&name).start().unwrap();
    let connected = MultiClient::connect(&name, Arc::new(Stopping), MultiClientOptions::default());
    assert_eq!(connected.err(), Some(ShmError::Interrupted));
}

#[test]
fn line_25b_an_old_peer_of_a_multi_client_reaches_no_later_server() {
    let _no_forks = no_peer_starts();
    let name = unique("peers-multi");
    let server = MultiServer::builder(&name).start().unwrap();
    let (report, connects) = reporter();
    let options = MultiClientOptions { reconnect: Some(at_once()), ..MultiClientOptions::default() };
    let client =
        MultiClient::builder(&name).multi_options(options).on_connect(move |_| report(())).connect().unwrap();
    connects.recv_timeout(PATIENCE).unwrap();
    let old = client.peer().unwrap();
    drop(server);
    let _second = MultiServer::builder(&name).start().unwrap();
    connects.recv_timeout(PATIENCE).unwrap();
    assert_ne!(Some(&old), client.peer().as_ref());
    assert_eq!(old.send(b"late"), Err(ShmError::NotConnected));
}

#[test]
fn line_25b_an_old_peer_of_an_auto_client_reaches_no_later_server() {
    let _no_forks = no_peer_starts();
    let name = unique("peers-auto");
    let server = AutoServer::builder(&name).start().unwrap();
    let (report, connects) = reporter();
    let client = AutoClient::builder(&name).on_connect(move |_| report(())).connect().unwrap();
    connects.recv_timeout(PATIENCE).unwrap();
    let old = client.peer().unwrap();
    drop(server);
    let _second = AutoServer::builder(&name).start().unwrap();
    connects.recv_timeout(PATIENCE).unwrap();
    assert_eq!(old.send(b"late"), Err(ShmError::NotConnected));
    assert_eq!(old.send_timeout(b"late", None), Err(ShmError::NotConnected));
}

/// A client's queue outlives its sessions. A message to one session does not wait there.
#[test]
fn line_25b_a_message_to_a_session_is_not_queued_for_the_next_one() {
    let _no_forks = no_peer_starts();
    let name = unique("peers-queue");
    let (report, sent) = reporter();
    let is_first = AtomicBool::new(true);
    let client = AutoClient::builder(&name)
        .on_connect(move |peer| {
            if is_first.swap(false, Ordering::SeqCst) {
                report(peer.send(b"for the first server"));
            }
        })
        .connect()
        .unwrap();
    for number in 0..100 {
        client.send(&message(number, 64)).unwrap();
    }
    let mut server = ServerOptions::new().ring_size(8192).message_limit(10).start(&name).unwrap();
    server.wait_for_client(Some(PATIENCE)).unwrap();
    assert_eq!(sent.recv_timeout(PATIENCE), Ok(Err(ShmError::QueueFull)));
}

/// There is room for the other thread's message, and not for the handler's.
#[cfg(target_os = "linux")]
#[test]
fn line_25a_a_handler_that_waits_for_much_room_sleeps() {
    let name = unique("peers-sleeps");
    let (report, reports) = reporter();
    let server = MultiServer::builder(&name)
        .options(small())
        .on_message(move |client, _| {
            report(0);
            let before = raw::thread_processor_time();
            let _ = client.send_timeout(&[1; 30_000], seconds(2));
            report(raw::thread_processor_time() - before);
        })
        .start()
        .unwrap();
    let client = SharedClient::connect(&name, PATIENCE).unwrap();
    while server.try_send_to(0, &[0; 1000]).is_ok() {}
    client.send_to_server(b"go").unwrap();
    reports.recv_timeout(PATIENCE).unwrap();
    thread::scope(|scope| {
        let short = scope.spawn(|| server.send_to_timeout(0, &[2; 500], Some(PATIENCE)));
        for _ in 0..3 {
            client.receive_from_server(&mut Vec::new()).unwrap();
        }
        assert_eq!(short.join().unwrap(), Ok(()));
    });
    // In units of 100 ns.
    let used = reports.recv_timeout(PATIENCE).unwrap();
    assert!(used < 5_000_000, "{} ms of processor time", used / 10_000);
}

#[test]
fn line_25a_a_handler_that_waits_for_one_client_delays_no_sender_to_another() {
    let name = unique("peers-other");
    let (report, entered) = reporter();
    let server = MultiServer::builder(&name)
        .options(small())
        .on_message(move |client, _| {
            report(());
            let _ = client.send_timeout(&[1; 1000], None);
        })
        .start()
        .unwrap();
    let [stuck, good] = [0, 1].map(|_| SharedClient::connect(&name, PATIENCE).unwrap());
    for slot in [0, 1] {
        while server.try_send_to(slot, &[0; 1000]).is_ok() {}
    }
    stuck.send_to_server(b"go").unwrap();
    entered.recv_timeout(PATIENCE).unwrap();
    thread::scope(|scope| {
        let sending = scope.spawn(|| server.send_to_timeout(1, &[2; 1000], Some(PATIENCE)));
        while good.try_receive_from_server(&mut Vec::new()).is_ok() {}
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
    drop(stuck);
}

/// All of them together are longer than the ring.
#[test]
fn line_25c_no_long_answer_evicts_another() {
    let name = unique("peers-answers");
    let _server = MultiServer::builder(&name)
        .on_call(|call, _| call.answer(&vec![1; 65_000]).unwrap())
        .start()
        .unwrap();
    let caller = Caller::connect(&name, PATIENCE).unwrap();
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(caller.call(b"?", None).unwrap().len(), 65_000);
                }
            });
        }
    });
    let stats = caller.stats();
    assert_eq!((stats.calls, stats.answers, stats.lost_messages), (3200, 3200, 0));
}

#[test]
fn line_25c_a_call_that_finds_the_server_gone_leaves_the_caller_unconnected() {
    let name = unique("peers-gone");
    let server = MultiServer::builder(&name).start().unwrap();
    let caller = Caller::connect(&name, PATIENCE).unwrap();
    assert!(caller.is_connected());
    drop(server);
    assert_eq!(caller.call(b"?", Some(PATIENCE)), Err(ShmError::NotConnected));
    assert!(!caller.is_connected());
}

/// The server's other messages evict answers. A call without a limit must not wait for ever.
#[test]
fn line_25c_a_call_without_a_limit_ends_when_its_answer_may_be_lost() {
    let name = unique("peers-lost");
    let mut server = small().start(&name).unwrap();
    thread::scope(|scope| {
        let calling = scope.spawn(|| Caller::connect(&name, PATIENCE).unwrap().call(b"?", None));
        server.wait_for_client(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        let Incoming::Call(call) = server.receive_call(&mut bytes, Some(PATIENCE)).unwrap() else {
            panic!("no call came")
        };
        // Never answered, but evicted all the same for all that the caller knows.
        drop(call);
        while !calling.is_finished() {
            let _ = server.send_to_client(&[0; 5000]);
        }
        assert!(matches!(calling.join().unwrap(), Err(ShmError::NoAnswer)));
    });
}
