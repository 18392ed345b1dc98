//! Byte streams over the halves: nothing lost or changed, the end, and what ends a stream early.

mod common;

use common::*;
use std::io::{self, BufRead, BufWriter, ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;
use xshm::*;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn peer_process() {
    serve();
}

/// Bytes that repeat only after a long time.
fn bytes(count: usize) -> Vec<u8> {
    let mut next = pseudorandom(0x1234_5678_9abc_def1);
    (0..count).map(|_| next() as u8).collect()
}

/// Both directions at once, over rings of all sorts, with pieces of all sorts; on channels that would evict, too.
#[test]
fn bytes_go_both_ways_whole_and_in_order() {
    let count = if long() { 50_000_000 } else { 3_000_001 };
    let sent = bytes(count);
    for (ring, limit, reject) in
        [(4096, 3, false), (64 * 1024, 250, true), (2 * 1024 * 1024, 250, false), (8192, 1, true)]
    {
        let options = ServerOptions::new().ring_size(ring).message_limit(limit);
        let options = if reject { options.reject_when_full() } else { options };
        let (server, client) = connected(&unique("streams-both"), options);
        let (mut server_sends, mut server_receives) = server.into_split().unwrap();
        let (mut client_sends, mut client_receives) = client.into_split().unwrap();
        thread::scope(|scope| {
            // In pieces of 1, 2, 4, ... bytes.
            scope.spawn(|| {
                let mut writer = server_sends.writer().timeout(Some(PATIENCE));
                let (mut rest, mut piece) = (&sent[..], 1);
                while !rest.is_empty() {
                    let now = piece.min(rest.len());
                    writer.write_all(&rest[..now]).unwrap();
                    rest = &rest[now..];
                    piece = if piece > 200_000 { 1 } else { 2 * piece };
                }
                writer.finish().unwrap();
            });
            scope.spawn(|| {
                let mut writer = BufWriter::with_capacity(1000, client_sends.writer());
                io::copy(&mut &sent[..], &mut writer).unwrap();
                writer.into_inner().unwrap().finish().unwrap();
            });
            scope.spawn(|| {
                let mut read = Vec::new();
                client_receives.reader().read_to_end(&mut read).unwrap();
                assert!(read == sent, "ring of {ring}: {} bytes", read.len());
            });
            let mut read = Vec::new();
            let mut reader = server_receives.reader().timeout(Some(PATIENCE));
            let mut buffer = [0; 777];
            loop {
                match reader.read(&mut buffer).unwrap() {
                    0 => break,
                    len => read.extend_from_slice(&buffer[..len]),
                }
            }
            assert!(reader.has_ended());
            assert!(read == sent, "ring of {ring}: {} bytes", read.len());
        });
    }
}

/// A stream of any number of bytes ends, and the channel goes on: with messages, and with another stream.
#[test]
fn streams_and_messages_follow_each_other() {
    let (mut server, mut client) = connected(&unique("streams-follow"), ServerOptions::new());
    let (sender, _) = server.split().unwrap();
    let (_, receiver) = client.split().unwrap();
    for count in [0, 1, 2, 3] {
        let mut writer = sender.writer();
        assert_eq!(writer.write(&[]).unwrap(), 0);
        writer.write_all(&b"abc"[..count]).unwrap();
        writer.flush().unwrap();
        writer.finish().unwrap();
        sender.send(b"a message").unwrap();

        let mut read = Vec::new();
        let mut reader = receiver.reader();
        assert_eq!(reader.read(&mut []).unwrap(), 0);
        assert!(!reader.has_ended());
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, &b"abc"[..count]);
        // The end stays the end.
        assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0);
        let mut message = Vec::new();
        receiver.try_receive(&mut message).unwrap();
        assert_eq!(message, b"a message");
    }
}

#[test]
fn lines_can_be_read() {
    let (mut server, client) = connected(&unique("streams-lines"), ServerOptions::new());
    let (sender, _) = server.split().unwrap();
    let (_, mut receiver) = client.into_split().unwrap();
    let reading = thread::spawn(move || receiver.reader().lines().collect::<io::Result<Vec<_>>>().unwrap());
    let mut writer = sender.writer();
    for part in ["one", "\ntwo\nth", "r", "ee"] {
        writer.write_all(part.as_bytes()).unwrap();
    }
    drop(server);
    assert_eq!(reading.join().unwrap(), ["one", "two", "three"]);
}

/// A peer that leaves ends the stream; what it wrote before is read first.
#[test]
fn a_stream_ends_when_the_writer_leaves_and_fails_when_its_process_dies() {
    let (mut server, mut client) = connected(&unique("streams-leaves"), ServerOptions::new());
    server.split().unwrap().0.writer().write_all(b"last words").unwrap();
    drop(server);
    let (sender, receiver) = client.split().unwrap();
    let mut read = String::new();
    receiver.reader().read_to_string(&mut read).unwrap();
    assert_eq!(read, "last words");
    assert_eq!(sender.writer().write(b"x").unwrap_err().kind(), ErrorKind::NotConnected);

    let (mut server, mut peer) = pair("streams-dies", ServerOptions::new());
    let (sender, receiver) = server.split().unwrap();
    let pid = peer.id();
    thread::scope(|scope| {
        // One waits for bytes, and the other one for room.
        let reading = scope.spawn(|| receiver.reader().read(&mut [0; 10]).unwrap_err());
        let writing = scope.spawn(|| {
            let mut writer = sender.writer();
            loop {
                if let Err(error) = writer.write_all(&[7; 60_000]) {
                    return error;
                }
            }
        });
        peer.kill();
        for error in [reading.join().unwrap(), writing.join().unwrap()] {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let source = error.into_inner().unwrap().downcast::<ShmError>().unwrap();
            assert_eq!(*source, ShmError::PeerDied { pid });
        }
    });
}

#[test]
fn a_message_in_a_stream_is_an_error_and_so_is_a_time_limit_that_passed() {
    let options = ServerOptions::new().message_limit(2);
    let (mut server, mut client) = connected(&unique("streams-wrong"), options);
    let (sender, _) = server.split().unwrap();
    let (_, receiver) = client.split().unwrap();
    let short = Some(Duration::from_millis(20));
    let mut reader = receiver.reader().timeout(short);
    assert_eq!(reader.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::TimedOut);
    sender.send(b"no chunk").unwrap();
    sender.writer().write_all(b"ok").unwrap();
    assert_eq!(reader.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::InvalidData);
    // Neither error lost a byte of the stream.
    let mut read = [0; 10];
    assert_eq!(reader.read(&mut read).unwrap(), 2);
    assert_eq!(&read[..2], b"ok");

    let mut writer = sender.writer().timeout(short);
    writer.write_all(b"1").unwrap();
    writer.write_all(b"2").unwrap();
    assert_eq!(writer.write(b"3").unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(reader.read(&mut read).unwrap(), 1);
    writer.write_all(b"3").unwrap();
    assert_eq!((reader.read(&mut read).unwrap(), reader.read(&mut read[1..]).unwrap()), (1, 1));
    assert_eq!(&read[..2], b"23");
}

/// `read_to_end` goes on after errors of the kind `Interrupted`. An interrupter ends it all the same.
#[test]
fn an_interrupter_ends_a_read() {
    let (server, mut client) = connected(&unique("streams-interrupted"), ServerOptions::new());
    let interrupter = client.interrupter();
    let (_, receiver) = client.split().unwrap();
    thread::scope(|scope| {
        let reading = scope.spawn(|| receiver.reader().read_to_end(&mut Vec::new()).unwrap_err());
        interrupter.interrupt();
        let error = reading.join().unwrap();
        assert_eq!(*error.into_inner().unwrap().downcast::<ShmError>().unwrap(), ShmError::Interrupted);
    });
    drop(server);
}
