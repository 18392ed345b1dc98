//! Messages of more than 65,535 bytes, and of no byte and of one, on channels that set `max_message_size`.

mod common;

use common::*;
use std::time::{Duration, Instant};
use xshm::{ClientOptions, MessageBatch, ServerOptions, SharedClient, ShmError};

#[test]
fn peer_process() {
    serve();
}

/// The longest message for which a ring of this size has room.
fn longest(ring: usize) -> usize {
    ring / 2 - if ring <= 128 << 10 { 8 } else { 64 }
}

/// The size of the largest rings: two of them, and their messages, have room in the process.
const LARGEST: usize = if cfg!(target_pointer_width = "64") { 1 << 30 } else { 64 << 20 };

fn options(ring: usize) -> ServerOptions {
    ServerOptions::new().ring_size(ring).max_message_size(longest(ring))
}

/// A 4K frame in RGBA.
const FRAME: usize = 3840 * 2160 * 4;

#[test]
fn messages_of_all_lengths_come_back_from_the_other_process() {
    for ring in [64 << 10, 128 << 10, 256 << 10, 1 << 20, 16 << 20, LARGEST] {
        let (mut server, mut peer) = pair("long", options(ring));
        assert_eq!(server.max_message_size(), longest(ring));
        peer.tell("echo");
        // The longest messages of the largest rings take seconds and gigabytes: they are for the long form.
        let longest = longest(ring).min(if long() { usize::MAX } else { 40 << 20 });
        let mut lengths = vec![8, 65_528, 65_535, 65_536, 65_537, 65_600, 100_003, longest - 1, longest, 9];
        lengths.retain(|&len| len <= longest);
        let rounds = if ring < 16 << 20 { 30 } else { 1 };
        let (sender, receiver) = server.split().unwrap();
        assert_eq!(sender.max_message_size(), self::longest(ring));
        std::thread::scope(|scope| {
            let (lengths, count) = (&lengths, lengths.len() * rounds);
            scope.spawn(move || {
                for sequence in 0..count {
                    let bytes = message(sequence as u64, lengths[sequence % lengths.len()]);
                    sender.send_timeout(&bytes, seconds(60)).unwrap();
                }
            });
            let mut buffer = Vec::new();
            for sequence in 0..count {
                receiver.receive_timeout(&mut buffer, seconds(60)).unwrap();
                assert_eq!(buffer.len(), lengths[sequence % lengths.len()]);
                assert_eq!(check_message(&buffer), sequence as u64);
            }
        });
        drop(server);
        peer.answer();
    }
}

#[test]
fn a_message_of_more_bytes_than_the_channel_allows_is_refused_and_changes_nothing() {
    let (server, client) = connected(&unique("long-refused"), options(256 << 10));
    let too_long = vec![1; longest(256 << 10) + 1];
    assert_eq!(server.send_to_client(&too_long), Err(ShmError::MessageTooLarge));
    assert_eq!(client.send_to_server_timeout(&too_long, millis(1)), Err(ShmError::MessageTooLarge));
    server.send_to_client(&too_long[1..]).unwrap();
    let mut buffer = Vec::new();
    assert_eq!(client.receive_from_server(&mut buffer), Ok(longest(256 << 10)));
    // By default nothing has changed.
    let (server, client) = connected(&unique("usual"), ServerOptions::new());
    assert_eq!((server.max_message_size(), client.max_message_size()), (65_535, 65_535));
    for (len, error) in
        [(0, ShmError::MessageTooSmall), (1, ShmError::MessageTooSmall), (65_536, ShmError::MessageTooLarge)]
    {
        assert_eq!(server.send_to_client(&vec![0; len]), Err(error.clone()));
        assert_eq!(client.send_to_server(&vec![0; len]), Err(error));
    }
}

#[test]
fn messages_of_no_byte_and_of_one_byte_are_messages_like_any_other() {
    let (mut server, mut client) = connected(&unique("empty"), ServerOptions::new().max_message_size(100));
    let mut buffer = vec![7; 7];
    for expected in [&b""[..], b"1", b"", b"22"] {
        server.send_to_client(expected).unwrap();
        assert_eq!(client.poll_server(seconds(5)), Ok(true));
        assert_eq!(client.receive_from_server(&mut buffer), Ok(expected.len()));
        assert_eq!(buffer, expected);
    }
    assert_eq!(client.try_receive_from_server(&mut buffer), Err(ShmError::QueueEmpty));
    let (sender, _) = server.split().unwrap();
    assert_eq!(sender.send_batch(&[&b""[..], b"1", b""]).unwrap().sent, 3);
    let (_, receiver) = client.split().unwrap();
    let mut batch = MessageBatch::default();
    receiver.receive_batch(&mut batch).unwrap();
    assert!(batch.iter().eq([&b""[..], b"1", b""]));
    sender.reserve(0).unwrap().commit().unwrap();
    assert_eq!(receiver.try_receive_into(&mut []), Ok(0));
}

#[test]
fn a_4k_frame_is_written_and_read_in_place() {
    let options = ServerOptions::new().ring_size(64 << 20).max_message_size(FRAME).reject_when_full();
    let (mut server, mut client) = connected(&unique("frame"), options);
    assert_eq!(client.max_message_size(), FRAME);
    let (sender, _) = server.split().unwrap();
    let (_, receiver) = client.split().unwrap();
    for number in 0..4_u8 {
        let mut frame = sender.reserve_timeout(FRAME, seconds(5)).unwrap();
        assert_eq!((frame.len(), frame.as_mut_ptr() as usize % 64), (FRAME, 0));
        if number % 2 == 0 {
            for (at, line) in (0..FRAME).step_by(3840 * 4).enumerate() {
                frame.write_at(line, &[number ^ at as u8; 3840 * 4]);
            }
        } else {
            // SAFETY: the channel rejects when full, and the receiver does not access a message that is not there yet.
            let frame = unsafe { std::slice::from_raw_parts_mut(frame.as_mut_ptr(), FRAME) };
            for (at, line) in frame.chunks_mut(3840 * 4).enumerate() {
                line.fill(number ^ at as u8);
            }
        }
        frame.commit().unwrap();
        let look = |frame: &[u8]| {
            let is_line = |(at, line): (usize, &[u8])| line.iter().all(|&byte| byte == number ^ at as u8);
            frame.as_ptr() as usize % 64 == 0
                && frame.len() == FRAME
                && frame.chunks(3840 * 4).enumerate().all(is_line)
        };
        // SAFETY: the server is in this test, which does not change the message.
        assert!(unsafe { receiver.receive_with(look) }.unwrap());
    }
}

#[test]
fn a_sender_in_place_waits_for_room_while_the_receiver_works() {
    let frame = 600_000;
    let options = ServerOptions::new().ring_size(2 << 20).max_message_size(frame).reject_when_full();
    let (mut server, mut client) = connected(&unique("frames"), options);
    let count = if long() { 20_000 } else { 300 };
    std::thread::scope(|scope| {
        let (sender, _) = server.split().unwrap();
        scope.spawn(move || {
            for number in 0..count {
                let mut place = sender.reserve_timeout(frame, seconds(30)).unwrap();
                place.write_at(0, &u64::to_le_bytes(number));
                place.write_at(frame - 11, &[number as u8; 11]);
                place.commit().unwrap();
            }
        });
        let (_, receiver) = client.split().unwrap();
        for number in 0..count {
            let look = |frame: &[u8]| {
                assert_eq!(frame[..8], u64::to_le_bytes(number));
                assert!(frame[frame.len() - 11..].iter().all(|&byte| byte == number as u8));
            };
            // SAFETY: the sender changes no message that it has sent.
            unsafe { receiver.receive_with(look) }.unwrap();
        }
    });
}

#[test]
fn evicted_long_messages_are_counted_and_no_message_is_torn() {
    for (ring, len) in [(256 << 10, 131_000), (2 << 20, 700_000), (8 << 20, 400_000)] {
        let (server, mut peer) = pair("long-over", options(ring));
        peer.tell(&format!("flood {} {len}", if long() { 20_000 } else { 700 }));
        let (mut buffer, mut received, mut next) = (Vec::new(), 0, 0);
        let answer = loop {
            match server.receive_from_client_timeout(&mut buffer, millis(200)) {
                Ok(_) => {
                    let number = check_message(&buffer);
                    assert!(number >= next, "out of order");
                    (received, next) = (received + 1, number + 1);
                }
                Err(ShmError::Timeout) => break peer.answer(),
                Err(error) => panic!("{error}"),
            }
        };
        let [sent, evicted] =
            answer.split(' ').skip(1).map(|number| number.parse::<u64>().unwrap()).collect::<Vec<_>>()[..]
        else {
            panic!("{answer}")
        };
        // What came after the time was over, or while the peer answered.
        while server.try_receive_from_client(&mut buffer).is_ok() {
            received += 1;
        }
        assert_eq!(received + evicted, sent, "{ring}");
        assert_eq!(server.stats().unwrap().receive_dropped, evicted);
    }
}

#[test]
fn a_peer_that_is_killed_while_it_sends_long_messages_leaves_whole_ones() {
    let name = unique("long-killed");
    let mut server = options(4 << 20).start(&name).unwrap();
    let mut buffer = Vec::new();
    for round in 0..if long() { 300 } else { 12_u64 } {
        let mut peer = Peer::start();
        peer.enter(&name, &mut server);
        peer.tell("flood 60000 1500000");
        let until = Instant::now() + Duration::from_micros(round * 7919 % 50_000);
        let mut killed = false;
        let error = loop {
            if !killed && Instant::now() >= until {
                peer.kill();
                killed = true;
            }
            match server.receive_from_client_timeout(&mut buffer, millis(5)) {
                Ok(_) => drop(check_message(&buffer)),
                Err(ShmError::Timeout) => {}
                Err(error) => break error,
            }
        };
        assert!(killed && matches!(error, ShmError::PeerDied { .. }), "{error:?}");
    }
}

#[test]
fn a_client_may_demand_the_length_of_the_longest_message() {
    let name = unique("long-demand");
    let mut server = options(1 << 20).start(&name).unwrap();
    let connect = |bytes| {
        let options = ClientOptions::new().max_message_size(bytes);
        options.connect(&name, Duration::from_secs(20))
    };
    std::thread::scope(|scope| {
        scope.spawn(|| server.wait_for_client(seconds(20)).unwrap());
        match connect(70_000).unwrap_err() {
            ShmError::Incompatible { what: "longest message", found, expected: 70_000 } => {
                assert_eq!(found, longest(1 << 20) as u64)
            }
            error => panic!("{error}"),
        }
        assert_eq!(connect(longest(1 << 20)).unwrap().max_message_size(), longest(1 << 20));
    });
}

#[test]
fn a_batch_grows_to_a_message_that_is_longer() {
    let (mut server, mut client) = connected(&unique("long-batch"), options(4 << 20));
    let (sender, _) = server.split().unwrap();
    let messages: Vec<_> =
        [(0, 10), (1, 300_000), (2, 1_000_000), (3, 8)].map(|(n, len)| message(n, len)).into();
    assert_eq!(sender.send_batch(&messages).unwrap().sent, 4);
    let (_, receiver) = client.split().unwrap();
    let (mut batch, mut next) = (MessageBatch::new(10, 0), 0);
    while next < 4 {
        receiver.receive_batch(&mut batch).unwrap();
        for message in &batch {
            assert_eq!(check_message(message), next);
            next += 1;
        }
    }
}

#[test]
fn a_channel_of_long_messages_has_streams_and_calls() {
    let name = unique("long-calls");
    let server = ServerOptions::new().ring_size(4 << 20).max_message_size(1 << 20);
    let server = xshm::AutoServer::builder(&name)
        .options(server)
        .on_call(|call, bytes| call.answer(bytes).unwrap())
        .start()
        .unwrap();
    let caller = xshm::Caller::connect(&name, Duration::from_secs(20)).unwrap();
    for len in [0, 65_519, 65_520, 900_000, (1 << 20) - 16] {
        let bytes = message(3, len);
        assert!(caller.call(&bytes, seconds(20)).unwrap() == bytes, "{len}");
    }
    assert_eq!(caller.call(&vec![0; (1 << 20) - 15], seconds(20)), Err(ShmError::MessageTooLarge));
    server.stop();

    let (mut server, mut client) = connected(&unique("long-stream"), options(4 << 20));
    let bytes = message(5, 3_000_000);
    std::thread::scope(|scope| {
        let (sender, _) = server.split().unwrap();
        scope.spawn(|| {
            let mut writer = sender.writer();
            std::io::Write::write_all(&mut writer, &bytes).unwrap();
            writer.finish().unwrap();
        });
        let mut received = Vec::new();
        std::io::Read::read_to_end(&mut client.split().unwrap().1.reader(), &mut received).unwrap();
        assert!(received == bytes);
    });
}

#[test]
fn messages_that_are_no_chunks_of_a_stream_are_errors_however_short_they_are() {
    use std::io::{ErrorKind, Read, Write};
    let (mut server, mut client) =
        connected(&unique("long-no-stream"), ServerOptions::new().max_message_size(100));
    let (sender, _) = server.split().unwrap();
    let mut reader = client.split().unwrap().1.reader().timeout(seconds(20));
    for message in [&b""[..], b"\0", b"x"] {
        sender.send(message).unwrap();
        sender.writer().write_all(b"ok").unwrap();
        assert_eq!(reader.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::InvalidData, "{message:?}");
        assert!(!reader.has_ended());
        let mut bytes = [0; 2];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"ok");
    }
}

#[test]
fn background_endpoints_send_long_messages_before_and_after_the_connection() {
    let name = unique("long-auto");
    let channel = || ServerOptions::new().ring_size(4 << 20).max_message_size(1_000_000);
    let (sender, received) = std::sync::mpsc::channel();
    let client = xshm::AutoClient::builder(&name)
        .options(ClientOptions::new().max_message_size(1_000_000))
        .connect()
        .unwrap();
    // No server runs yet.
    client.send(&message(0, 1_000_000)).unwrap();
    assert_eq!(client.send(&vec![0; 1_000_001]), Err(ShmError::MessageTooLarge));
    let server = xshm::AutoServer::builder(&name)
        .options(channel())
        .on_message(move |_, bytes| sender.send((check_message(bytes), bytes.len())).unwrap())
        .start()
        .unwrap();
    assert_eq!(received.recv_timeout(Duration::from_secs(20)), Ok((0, 1_000_000)));
    client.send(&message(1, 999_999)).unwrap();
    assert_eq!(received.recv_timeout(Duration::from_secs(20)), Ok((1, 999_999)));
    drop((client, server));

    let name = unique("long-multi");
    let (sender, received) = std::sync::mpsc::channel();
    let server = xshm::MultiServer::builder(&name)
        .options(channel())
        .on_message(move |_, bytes| sender.send((check_message(bytes), bytes.len())).unwrap())
        .start()
        .unwrap();
    let client = ClientOptions::new().connect(&name, Duration::from_secs(20)).unwrap();
    client.send_to_server_timeout(&message(7, 900_000), seconds(20)).unwrap();
    assert_eq!(received.recv_timeout(Duration::from_secs(20)), Ok((7, 900_000)));
    assert_eq!(server.broadcast(&message(8, 1_000_000)).unwrap(), 1);
    let mut buffer = Vec::new();
    client.receive_from_server(&mut buffer).unwrap();
    assert_eq!((check_message(&buffer), buffer.len()), (8, 1_000_000));
    assert_eq!(server.broadcast(&vec![0; 1_000_001]).map(drop), Err(ShmError::MessageTooLarge));
    drop::<SharedClient>(client);
}
