//! Unit tests of a server and a client in one process. They run natively and, with smaller counts, under Miri. Tests
//! with two processes are in `tests/`. `one_process_tests.rs` tests the death of a process under Miri.

use crate::{ClientOptions, ServerOptions, SharedClient, SharedServer, ShmError};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(5);

/// Returns the count for a native run, or the smaller one for Miri, which interprets every memory access.
const fn count(native: u32, interpreted: u32) -> u32 {
    if cfg!(miri) {
        interpreted
    } else {
        native
    }
}

/// Returns a channel name that no other run of the tests uses.
fn own(name: &str) -> String {
    format!("endpoint-{name}-{}", std::process::id())
}

fn server(name: &str) -> SharedServer {
    ServerOptions::new().ring_size(4096).message_limit(8).spin(Duration::ZERO).start(&own(name)).unwrap()
}

fn client(name: &str) -> SharedClient {
    ClientOptions::new().spin(Duration::ZERO).connect(&own(name), LONG).unwrap()
}

/// Returns a server and its client.
fn pair(name: &'static str) -> (SharedServer, SharedClient) {
    let mut server = server(name);
    let client = thread::spawn(move || client(name));
    server.wait_for_client(Some(LONG)).unwrap();
    (server, client.join().unwrap())
}

#[test]
fn messages_go_both_ways_and_in_order() {
    let (server, client) = pair("both-ways");
    let total = count(5000, 20);
    let echo = thread::spawn(move || {
        let mut message = Vec::new();
        while client.receive_from_server(&mut message).is_ok() {
            client.send_to_server(&message).unwrap();
        }
        client
    });
    let mut answer = Vec::new();
    for number in 0..total {
        let message = vec![number as u8; 2 + number as usize % 1000];
        server.send_to_client(&message).unwrap();
        assert_eq!(server.receive_from_client(&mut answer), Ok(message.len()));
        assert_eq!(answer, message);
    }
    let stats = server.stats().unwrap();
    assert_eq!((stats.sent, stats.received), (total.into(), total.into()));
    assert_eq!(
        (stats.send_dropped, stats.receive_dropped, stats.send_depth, stats.receive_depth),
        (0, 0, 0, 0)
    );
    drop(server);
    let client = echo.join().unwrap();
    assert!(!client.is_connected());
}

#[test]
fn a_sender_that_waits_loses_nothing() {
    let (server, client) = pair("waits-for-room");
    let total = count(20_000, 30);
    let sender = thread::spawn(move || {
        for number in 0..total {
            client.send_to_server_timeout(&number.to_ne_bytes(), None).unwrap();
        }
    });
    let mut message = [0; 4];
    for number in 0..total {
        assert_eq!(server.receive_from_client_into(&mut message), Ok(4));
        assert_eq!(u32::from_ne_bytes(message), number);
    }
    sender.join().unwrap();
    assert_eq!(server.receive_from_client_into(&mut message), Err(ShmError::NotConnected));
}

#[test]
fn an_evicting_sender_and_its_receiver_count_the_same_losses() {
    let (server, client) = pair("evicts");
    let total = count(200_000, 60);
    let sender = thread::spawn(move || {
        let mut overwritten = 0;
        for number in 0..total {
            overwritten += u64::from(client.send_to_server(&number.to_ne_bytes()).unwrap().overwritten);
        }
        assert_eq!(client.stats().unwrap().send_dropped, overwritten);
        overwritten
    });
    let mut message = [0; 4];
    let mut received = Vec::new();
    loop {
        match server.receive_from_client_into(&mut message) {
            Ok(_) => received.push(u32::from_ne_bytes(message)),
            Err(error) => break assert_eq!(error, ShmError::NotConnected),
        }
    }
    let overwritten = sender.join().unwrap();
    assert!(received.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(received.last(), Some(&(total - 1)));
    assert_eq!(received.len() as u64 + overwritten, total.into());
    assert_eq!(server.stats().unwrap().receive_dropped, overwritten);
}

#[test]
fn two_threads_can_use_the_two_halves() {
    let (mut server, client) = pair("halves");
    let total = count(5000, 20);
    let echo = thread::spawn(move || {
        let mut message = Vec::new();
        for _ in 0..total {
            client.receive_from_server(&mut message).unwrap();
            client.send_to_server_timeout(&message, None).unwrap();
        }
        client
    });
    let (sender, receiver) = server.split().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..total {
                sender.send_timeout(&number.to_ne_bytes(), None).unwrap();
            }
        });
        let mut message = [0; 4];
        for number in 0..total {
            assert_eq!(receiver.receive_into(&mut message), Ok(4));
            assert_eq!(u32::from_ne_bytes(message), number);
        }
    });
    drop(echo.join().unwrap());
}

#[test]
fn an_empty_queue_and_wrong_sizes_are_reported() {
    let (server, client) = pair("nothing");
    let mut message = Vec::new();
    assert_eq!(client.try_receive_from_server(&mut message), Err(ShmError::QueueEmpty));
    assert_eq!(client.receive_from_server_timeout(&mut message, Some(SHORT)), Err(ShmError::Timeout));
    assert_eq!(client.poll_server(Some(Duration::ZERO)), Ok(false));
    assert_eq!(client.poll_server(Some(SHORT)), Ok(false));
    server.send_to_client(b"there").unwrap();
    assert_eq!(client.poll_server(None), Ok(true));
    let small = client.receive_from_server_into(&mut [0; 4]);
    assert_eq!(small, Err(ShmError::BufferTooSmall { needed: 5 }));
    assert_eq!(client.stats().unwrap().receive_depth, 1);
    assert_eq!(client.try_receive_from_server(&mut message), Ok(5));
    assert_eq!(server.send_to_client(b"1"), Err(ShmError::MessageTooSmall));
    assert_eq!(server.send_to_client(&[0; 2041]), Err(ShmError::MessageTooLarge));
    server.send_to_client(&[1; 2040]).unwrap();
    assert_eq!(client.receive_from_server(&mut message), Ok(2040));
}

#[test]
fn a_receiver_that_was_woken_sleeps_again() {
    let (server, client) = pair("woken");
    let sender = thread::spawn(move || {
        while server.stats().unwrap().signals == 0 {
            server.send_to_client(b"up!").unwrap();
            thread::yield_now();
        }
        server
    });
    let mut message = [0; 4];
    while !sender.is_finished() {
        let _ = client.receive_from_server_timeout_into(&mut message, Some(SHORT));
    }
    while client.receive_from_server_timeout_into(&mut message, Some(SHORT)).is_ok() {}
    let before = client.stats().unwrap().sleeps;
    assert_eq!(client.receive_from_server_timeout_into(&mut message, Some(SHORT)), Err(ShmError::Timeout));
    // One sleep, and a few more if a wait ends shortly before its time. A receiver that could not sleep would try
    // about a thousand times.
    let slept = client.stats().unwrap().sleeps - before;
    assert!((1..10).contains(&slept), "{slept} waits for nothing");
    drop(sender.join().unwrap());
}

#[test]
fn a_full_queue_refuses_or_evicts() {
    let (server, client) = pair("full");
    for number in 0..8_u32 {
        server.try_send_to_client(&number.to_ne_bytes()).unwrap();
    }
    assert_eq!(server.try_send_to_client(b"more"), Err(ShmError::QueueFull));
    assert_eq!(server.send_to_client_timeout(b"more", Some(SHORT)), Err(ShmError::Timeout));
    assert_eq!(server.send_to_client(b"more").unwrap().overwritten, 1);
    let mut message = [0; 4];
    client.receive_from_server_into(&mut message).unwrap();
    assert_eq!(message, 1_u32.to_ne_bytes());
    assert_eq!(client.stats().unwrap().receive_dropped, 1);
}

#[test]
fn a_rejecting_channel_refuses_in_both_directions() {
    let options = ServerOptions::new().ring_size(4096).message_limit(2).reject_when_full();
    let mut server = options.start(&own("rejects")).unwrap();
    let client = thread::spawn(|| client("rejects"));
    server.wait_for_client(Some(LONG)).unwrap();
    let client = client.join().unwrap();
    for full in [false, false, true] {
        assert_eq!(client.send_to_server(b"hello").is_err(), full);
        assert_eq!(server.send_to_client(b"hello").is_err(), full);
    }
    assert_eq!(client.send_to_server(b"hello"), Err(ShmError::QueueFull));
}

#[test]
fn a_name_has_one_server_and_a_server_has_one_client() {
    let (mut server, client) = pair("only-one");
    let second = ServerOptions::new().start(&own("only-one")).map(drop);
    assert_eq!(second, Err(ShmError::AlreadyExists { name: own("only-one") }));
    let second = SharedClient::connect(&own("only-one"), SHORT).map(drop);
    assert_eq!(second, Err(ShmError::AlreadyConnected));
    assert_eq!(server.wait_for_client(Some(SHORT)), Err(ShmError::AlreadyConnected));
    server.send_to_client(b"unharmed").unwrap();
    assert_eq!(client.receive_from_server(&mut Vec::new()), Ok(8));
}

#[test]
fn a_connection_request_without_an_answer_is_withdrawn() {
    let mut server = server("unanswered");
    assert_eq!(
        SharedClient::connect(&own("unanswered"), SHORT).map(drop),
        Err(ShmError::NotAccepting { name: own("unanswered") })
    );
    assert_eq!(server.wait_for_client(Some(SHORT)), Err(ShmError::Timeout));
    assert_eq!(
        SharedClient::connect(&own("not-there"), SHORT).map(drop),
        Err(ShmError::NoServer { name: own("not-there") })
    );
}

#[test]
fn a_server_accepts_one_client_after_the_other() {
    let mut server = server("one-after-the-other");
    for generation in 1..=count(50, 4) {
        let client = thread::spawn(|| client("one-after-the-other"));
        server.wait_for_client(Some(LONG)).unwrap();
        let client = client.join().unwrap();
        // A client does not receive messages that the previous client left unread.
        assert_eq!(client.try_receive_from_server(&mut Vec::new()), Err(ShmError::QueueEmpty));
        server.send_to_client(b"unread").unwrap();
        client.send_to_server(b"last").unwrap();
        assert_eq!(client.stats().unwrap().generation, generation);
        drop(client);
        assert_eq!(server.receive_from_client(&mut Vec::new()), Ok(4));
        assert_eq!(server.receive_from_client(&mut Vec::new()), Err(ShmError::NotConnected));
        assert_eq!(server.send_to_client(b"no peer"), Err(ShmError::NotConnected));
    }
}

#[test]
fn a_disconnected_client_gets_an_error_and_can_connect_again() {
    let (mut server, first) = pair("sent-away");
    server.send_to_client(b"last").unwrap();
    server.disconnect_client();
    // The client has not released the channel yet.
    assert_eq!(server.wait_for_client(Some(SHORT)), Err(ShmError::Timeout));
    assert_eq!(first.receive_from_server(&mut Vec::new()), Ok(4));
    assert_eq!(first.receive_from_server(&mut Vec::new()), Err(ShmError::NotConnected));
    assert_eq!(first.send_to_server(b"no peer"), Err(ShmError::NotConnected));
    let again = thread::spawn(move || {
        drop(first);
        client("sent-away")
    });
    server.wait_for_client(Some(LONG)).unwrap();
    assert!(again.join().unwrap().is_connected());
}

#[test]
fn an_interrupter_ends_calls_that_wait() {
    let (mut server, client) = pair("interrupted");
    let interrupter = client.interrupter();
    let waiting = thread::spawn(move || {
        assert_eq!(client.receive_from_server(&mut Vec::new()), Err(ShmError::Interrupted));
        client
    });
    thread::sleep(SHORT);
    interrupter.interrupt();
    let client = waiting.join().unwrap();
    // The interrupt stays until the reset. Calls that need not wait still succeed.
    server.send_to_client(b"there").unwrap();
    assert_eq!(client.receive_from_server(&mut Vec::new()), Ok(5));
    assert_eq!(client.receive_from_server(&mut Vec::new()), Err(ShmError::Interrupted));
    interrupter.reset();
    assert_eq!(client.receive_from_server_timeout(&mut Vec::new(), Some(SHORT)), Err(ShmError::Timeout));
    drop(client);
    server.interrupter().interrupt();
    assert_eq!(server.wait_for_client(None), Err(ShmError::Interrupted));
}

#[test]
fn a_client_attaches_to_a_server_without_a_name() {
    let mut server =
        ServerOptions::new().ring_size(4096).message_limit(8).spin(Duration::ZERO).start_anonymous().unwrap();
    assert!(server.is_anonymous() && server.get_event_handles().is_none());
    let handles = server.client_handles().unwrap();
    // SAFETY: the server keeps it open.
    let client =
        thread::spawn(move || unsafe { ClientOptions::new().attach_handles(&handles, LONG) }.unwrap());
    server.wait_for_client(Some(LONG)).unwrap();
    let client = client.join().unwrap();
    let answering = thread::spawn(move || {
        let mut message = Vec::new();
        client.receive_from_server(&mut message).unwrap();
        client.send_to_server(&message).unwrap();
    });
    server.send_to_client(b"both ways!").unwrap();
    assert_eq!(server.receive_from_client(&mut Vec::new()), Ok(10));
    answering.join().unwrap();
}
