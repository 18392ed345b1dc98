//! Lines 1 and 3 to 7 of docs/guarantees.md: messages between two processes.

mod common;

use common::*;
use xshm::{ClientOptions, ServerOptions, SharedClient, SharedServer, ShmError, WriteOutcome};

#[test]
fn peer_process() {
    serve();
}

#[test]
fn line_1_sizes_out_of_bounds_are_refused() {
    let (server, mut peer) = pair("sizes", ServerOptions::new());
    for (len, error) in [
        (0, ShmError::MessageTooSmall),
        (1, ShmError::MessageTooSmall),
        (65_536, ShmError::MessageTooLarge),
        (1 << 20, ShmError::MessageTooLarge),
    ] {
        let bytes = vec![7; len];
        assert_eq!(server.send_to_client(&bytes), Err(error.clone()), "{len}");
        assert_eq!(server.try_send_to_client(&bytes), Err(error.clone()), "{len}");
        assert_eq!(server.send_to_client_timeout(&bytes, None), Err(error), "{len}");
    }
    assert_eq!(server.stats().unwrap().sent, 0);
    let mut buffer = Vec::new();
    peer.must("send over 1 1 65535");
    assert_eq!(server.receive_from_client(&mut buffer), Ok(65_535));
    assert_eq!(check_message(&buffer), 1);
    server.send_to_client(&message(2, 65_535)).unwrap();
    assert_eq!(peer.must("receive 5000"), "2");
    server.send_to_client(&[1, 2]).unwrap();
    assert_eq!(peer.must("poll 5000"), "true");
}

#[test]
fn line_1_a_small_ring_has_shorter_messages() {
    let (server, mut peer) = pair("small", ServerOptions::new().ring_size(4096).message_limit(63));
    assert_eq!(server.send_to_client(&[0; 2041]), Err(ShmError::MessageTooLarge));
    for sequence in 0..200 {
        server.send_to_client_timeout(&message(sequence, 2040), seconds(5)).unwrap();
        assert_eq!(peer.must("receive 5000"), sequence.to_string());
    }
}

#[test]
fn line_3_sending_evicts_the_oldest() {
    let (server, mut peer) = pair("evict", ServerOptions::new());
    let mut overwritten = 0;
    for sequence in 0..1000 {
        let WriteOutcome { overwritten: now, .. } = server.send_to_client(&message(sequence, 100)).unwrap();
        assert_eq!(now, u32::from(sequence >= 250), "{sequence}");
        overwritten += now;
    }
    let stats = server.stats().unwrap();
    assert_eq!((overwritten, stats.send_dropped, stats.sent, stats.send_depth), (750, 750, 1000, 250));
    for sequence in 750..1000 {
        assert_eq!(peer.must("receive 5000"), sequence.to_string());
    }
    let stats = peer.must("stats");
    assert!(stats.contains("received: 250, receive_dropped: 750, receive_depth: 0"), "{stats}");
}

#[test]
fn line_3_long_messages_evict_when_the_ring_is_full() {
    let (server, mut peer) = pair("bytes", ServerOptions::new());
    let overwritten = peer.must("send over 0 100 65535").parse::<u64>().unwrap();
    let mut buffer = Vec::new();
    for sequence in overwritten..100 {
        server.receive_from_client(&mut buffer).unwrap();
        assert_eq!(check_message(&buffer), sequence);
    }
    assert_eq!(server.try_receive_from_client(&mut buffer), Err(ShmError::QueueEmpty));
    // A ring of 2 MiB holds 31 frames of 65,600 bytes; where they wrap, a pad takes the place of one.
    assert_eq!(overwritten, 70);
    assert_eq!(server.stats().unwrap().receive_dropped, overwritten);
}

#[test]
fn line_4_a_full_queue_rejects_and_stays_as_it_was() {
    let (server, mut peer) = pair("full", ServerOptions::new());
    for sequence in 0..250 {
        server.try_send_to_client(&message(sequence, 40)).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(server.try_send_to_client(&message(999, 40)), Err(ShmError::QueueFull));
    }
    let (result, took) = timed(|| server.send_to_client_timeout(&message(999, 40), millis(50)));
    assert_eq!(result, Err(ShmError::Timeout));
    assert!(took >= std::time::Duration::from_millis(50), "{took:?}");
    assert_eq!(server.stats().unwrap().send_depth, 250);
    // First the peer takes a message and makes room, then the sender evicts one.
    assert_eq!(peer.must("receive 5000"), "0");
    server.try_send_to_client(&message(250, 40)).unwrap();
    assert_eq!(server.send_to_client(&message(251, 40)).unwrap().overwritten, 1);
    for sequence in 2..252 {
        assert_eq!(peer.must("receive 5000"), sequence.to_string());
    }
    assert_eq!(peer.ask("receive 0"), "err Timeout");
}

#[test]
fn line_4_send_timeout_waits_for_room() {
    let (server, mut peer) = pair("room", ServerOptions::new());
    for sequence in 0..250 {
        server.try_send_to_client(&message(sequence, 40)).unwrap();
    }
    std::thread::scope(|scope| {
        let waiting = scope.spawn({
            let server = server;
            move || {
                for sequence in 250..500 {
                    server.send_to_client_timeout(&message(sequence, 40), seconds(20)).unwrap();
                }
                server
            }
        });
        for sequence in 0..500 {
            assert_eq!(peer.must("receive 20000"), sequence.to_string());
        }
        assert_eq!(waiting.join().unwrap().stats().unwrap().send_dropped, 0);
    });
}

#[test]
fn a_channel_can_reject_by_default() {
    let (server, mut peer) = pair("reject", ServerOptions::new().message_limit(3).reject_when_full());
    for sequence in 0..3 {
        server.send_to_client(&message(sequence, 40)).unwrap();
    }
    assert_eq!(server.send_to_client(&message(3, 40)), Err(ShmError::QueueFull));
    assert_eq!(peer.must("send over 0 3 40"), "0");
    assert_eq!(peer.ask("send over 3 1 40"), "err QueueFull");
    for sequence in 0..3 {
        assert_eq!(peer.must("receive 5000"), sequence.to_string());
    }
}

#[test]
fn line_5_receive_waits_and_poll_leaves_the_message() {
    let (server, mut peer) = pair("receive", ServerOptions::new());
    let mut buffer = vec![1, 2, 3];
    assert_eq!(server.try_receive_from_client(&mut buffer), Err(ShmError::QueueEmpty));
    let (result, took) = timed(|| server.receive_from_client_timeout(&mut buffer, millis(100)));
    assert_eq!(result, Err(ShmError::Timeout));
    assert!((100..2000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(server.poll_client(millis(0)), Ok(false));
    // `receive` without a time limit waits until a message comes.
    peer.tell("receive 300");
    peer.tell("send over 7 1 64");
    let (result, took) = timed(|| server.receive_from_client(&mut buffer));
    assert_eq!((result, check_message(&buffer)), (Ok(64), 7));
    assert!(took.as_millis() >= 250, "{took:?}");
    assert_eq!((peer.answer().as_str(), peer.answer().as_str()), ("err Timeout", "ok 0"));
    // `poll` leaves the message in the queue.
    peer.must("send over 8 1 64");
    for _ in 0..3 {
        assert_eq!(server.poll_client(None), Ok(true));
    }
    assert_eq!(server.stats().unwrap().receive_depth, 1);
    server.receive_from_client(&mut buffer).unwrap();
    assert_eq!(check_message(&buffer), 8);
}

#[test]
fn line_5_messages_sent_before_the_end_are_delivered_first() {
    for killed in [false, true] {
        let (server, mut peer) = pair("last-words", ServerOptions::new());
        peer.must("send over 0 10 1000");
        if killed {
            peer.kill();
        } else {
            peer.must("leave");
        }
        let mut buffer = Vec::new();
        for sequence in 0..10 {
            assert_eq!(server.poll_client(None), Ok(true));
            server.receive_from_client(&mut buffer).unwrap();
            assert_eq!(check_message(&buffer), sequence);
        }
        let expected = if killed { ShmError::PeerDied { pid: peer.id() } } else { ShmError::NotConnected };
        assert_eq!(server.receive_from_client(&mut buffer), Err(expected.clone()));
        assert_eq!(server.poll_client(None), Err(expected.clone()));
        assert_eq!(server.try_receive_from_client(&mut buffer), Err(expected.clone()));
        assert_eq!(server.send_to_client(b"hello?"), Err(expected.clone()));
        assert_eq!(server.try_send_to_client(b"hello?"), Err(expected.clone()));
        assert_eq!(server.send_to_client_timeout(b"hello?", None), Err(expected));
        assert!(!server.is_connected());
    }
}

#[test]
fn calls_before_the_first_client_return_not_connected() {
    let server = SharedServer::start(&unique("alone")).unwrap();
    let mut buffer = Vec::new();
    assert_eq!(server.send_to_client(b"hello?"), Err(ShmError::NotConnected));
    assert_eq!(server.receive_from_client(&mut buffer), Err(ShmError::NotConnected));
    assert_eq!(server.poll_client(None), Err(ShmError::NotConnected));
    assert!(server.stats().is_err());
    assert!(server.peer().is_none());
}

#[test]
fn the_option_receive_timeout_bounds_receive() {
    let name = unique("bounded");
    let mut peer = Peer::start();
    peer.must(&format!("start {name}"));
    for (bound, error) in [(0, ShmError::QueueEmpty), (20, ShmError::Timeout)] {
        peer.tell("accept 10000");
        let client = ClientOptions::new()
            .receive_timeout(std::time::Duration::from_millis(bound))
            .connect(&name, std::time::Duration::from_secs(10))
            .unwrap();
        assert_eq!(peer.answer(), "ok");
        assert_eq!(client.receive_from_server(&mut Vec::new()), Err(error));
    }
}

#[test]
fn line_6_a_buffer_that_is_too_small_leaves_the_message() {
    let (server, mut peer) = pair("buffer", ServerOptions::new());
    peer.must("send over 5 1 1000");
    peer.must("send over 6 1 10");
    let mut buffer = [0; 1000];
    let too_small = Err(ShmError::BufferTooSmall { needed: 1000 });
    for len in [0, 1, 999] {
        assert_eq!(server.receive_from_client_into(&mut buffer[..len]), too_small);
        assert_eq!(server.try_receive_from_client_into(&mut buffer[..len]), too_small);
        assert_eq!(server.receive_from_client_timeout_into(&mut buffer[..len], millis(1)), too_small);
    }
    assert_eq!(buffer, [0; 1000]);
    assert_eq!(server.receive_from_client_into(&mut buffer), Ok(1000));
    assert_eq!(check_message(&buffer), 5);
    assert_eq!(server.try_receive_from_client_into(&mut buffer), Ok(10));
    assert_eq!(check_message(&buffer[..10]), 6);
}

#[test]
fn line_7_overwritten_counters_change_no_decision() {
    let name = unique("counters");
    let mut server = SharedServer::start(&name).unwrap();
    let (mut peer, mut vandal) = (Peer::start(), Peer::start());
    peer.enter(&name, &mut server);
    vandal.must(&format!("map {name}"));
    // write_pos, message_count and drop_count of both rings.
    let ring_b = 128 + 2 * 1024 * 1024;
    let mut expected = 0;
    for value in [0_u32, 1, 250, u32::MAX] {
        for header in [64, ring_b] {
            for field in [0, 16, 24] {
                vandal.must(&format!("poke {} {value}", header + field));
                vandal.must(&format!("poke {} {value}", header + field + 4));
            }
        }
        for _ in 0..250 {
            server.try_send_to_client(&message(expected, 64)).unwrap();
            peer.must(&format!("send try {expected} 1 64"));
            expected += 1;
        }
        assert_eq!(server.try_send_to_client(&message(0, 64)), Err(ShmError::QueueFull));
        let mut buffer = Vec::new();
        for sequence in expected - 250..expected {
            server.receive_from_client(&mut buffer).unwrap();
            assert_eq!(check_message(&buffer), sequence);
            assert_eq!(peer.must("receive 5000"), sequence.to_string());
        }
        assert_eq!(server.try_receive_from_client(&mut buffer), Err(ShmError::QueueEmpty));
    }
}

#[test]
fn a_server_in_another_process_echoes_messages() {
    let name = unique("mirror");
    let mut peer = Peer::start();
    peer.must(&format!("start {name} 65536 100"));
    peer.tell("accept 10000");
    let client = SharedClient::connect(&name, std::time::Duration::from_secs(10)).unwrap();
    assert_eq!(peer.answer(), "ok");
    peer.tell("echo");
    let mut buffer = Vec::new();
    for sequence in 0..500 {
        let sent = message(sequence, 8 + sequence as usize * 60);
        client.send_to_server(&sent).unwrap();
        client.receive_from_server(&mut buffer).unwrap();
        assert_eq!(buffer, sent);
    }
    drop(client);
    assert_eq!(peer.answer(), "ok 500");
}
