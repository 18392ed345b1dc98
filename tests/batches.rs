//! Several messages in one call, and messages that are written and read in place, between two processes.

mod common;

use common::*;
use std::cell::{Cell, RefCell};
use xshm::{MessageBatch, ServerOptions, ShmError};

#[test]
fn peer_process() {
    serve();
}

fn messages(numbers: std::ops::Range<u64>, len: usize) -> Vec<Vec<u8>> {
    numbers.map(|number| message(number, len)).collect()
}

#[test]
fn a_batch_is_sent_as_far_as_it_fits() {
    let (mut server, mut peer) = pair("batch-try", ServerOptions::new());
    let (sender, _) = server.split().unwrap();
    assert_eq!(sender.try_send_batch::<&[u8]>(&[]), Ok(0));
    assert_eq!(sender.try_send_batch(&messages(0..300, 40)), Ok(250));
    assert_eq!(sender.try_send_batch(&messages(250..300, 40)), Ok(0));
    // If one message cannot be sent, none is.
    assert_eq!(sender.try_send_batch(&[vec![1; 2], vec![1; 1]]), Err(ShmError::MessageTooSmall));
    assert_eq!(sender.send_batch(&[vec![1; 2], vec![1; 65_536]]), Err(ShmError::MessageTooLarge));
    assert_eq!(sender.stats().unwrap().sent, 250);
    for number in 0..250 {
        assert_eq!(peer.must("receive 5000"), number.to_string());
    }
    assert_eq!(peer.ask("receive 0"), "err Timeout");
}

/// A message of a batch. When the sender looks at it for the second time, it has the peer take messages.
struct Slow<'a> {
    message: Vec<u8>,
    looks: Cell<u32>,
    meanwhile: &'a dyn Fn(),
}

impl AsRef<[u8]> for Slow<'_> {
    fn as_ref(&self) -> &[u8] {
        self.looks.set(self.looks.get() + 1);
        if self.looks.get() == 2 {
            (self.meanwhile)();
        }
        &self.message
    }
}

/// Room may come while any message of a batch is sent: the batch has no gap.
#[test]
fn a_batch_has_no_gap_when_room_comes_while_it_is_sent() {
    let (mut server, peer) = pair("batch-hole", ServerOptions::new().message_limit(16));
    let (sender, _) = server.split().unwrap();
    let peer = RefCell::new(peer);
    for late in 0..48 {
        let received = Cell::new(0);
        let take_all = || loop {
            match peer.borrow_mut().ask("receive 0").as_str() {
                "err Timeout" => break,
                answer => {
                    assert_eq!(answer, format!("ok {}", received.get()), "room came with message {late}")
                }
            }
            received.set(received.get() + 1);
        };
        let slow = |number| Slow {
            message: message(number, 40),
            looks: Cell::new(0),
            meanwhile: if number == late { &take_all } else { &|| () },
        };
        let sent = sender.try_send_batch(&(0..48).map(slow).collect::<Vec<_>>()).unwrap();
        take_all();
        assert_eq!(received.get(), sent, "room came with message {late}");
        assert!(sent >= 16);
    }
}

#[test]
fn a_batch_evicts_as_single_messages_do() {
    let (mut server, mut peer) = pair("batch-evict", ServerOptions::new());
    let (sender, _) = server.split().unwrap();
    let outcome = sender.send_batch(&messages(0..600, 40)).unwrap();
    assert_eq!((outcome.sent, outcome.overwritten), (600, 350));
    for number in 350..600 {
        assert_eq!(peer.must("receive 5000"), number.to_string());
    }
}

#[test]
fn a_batch_stops_at_a_full_queue_of_a_channel_that_rejects() {
    let (mut server, mut peer) = pair("batch-reject", ServerOptions::new().reject_when_full());
    let (sender, _) = server.split().unwrap();
    let outcome = sender.send_batch(&messages(0..300, 40)).unwrap();
    assert_eq!((outcome.sent, outcome.overwritten), (250, 0));
    assert_eq!(peer.must("receive 5000"), "0");
    assert_eq!(sender.send_batch(&messages(250..300, 40)).unwrap().sent, 1);
    assert!(matches!(sender.reserve(8), Err(ShmError::QueueFull)));
}

#[test]
fn a_sleeping_receiver_gets_one_signal_for_a_batch() {
    let (mut server, mut peer) = pair("batch-asleep", ServerOptions::new());
    let (sender, _) = server.split().unwrap();
    for round in 0..50 {
        peer.tell("receive 10000");
        // Gives the peer time to sleep. If it has none, the assertion below still holds: no signal comes without a sleep.
        std::thread::yield_now();
        assert_eq!(sender.try_send_batch(&messages(4 * round..4 * round + 4, 40)), Ok(4));
        assert_eq!(peer.answer(), format!("ok {}", 4 * round));
        for number in 4 * round + 1..4 * round + 4 {
            assert_eq!(peer.must("receive 5000"), number.to_string());
        }
    }
    assert!(sender.stats().unwrap().signals <= 50, "{:?}", sender.stats());
}

#[test]
fn batches_are_received_whole_and_in_order() {
    let (mut server, mut peer) = pair("batch-receive", ServerOptions::new());
    let (_, receiver) = server.split().unwrap();
    let mut batch = MessageBatch::new(100, 0);
    assert_eq!(receiver.try_receive_batch(&mut batch), Err(ShmError::QueueEmpty));
    assert_eq!(receiver.receive_batch_timeout(&mut batch, millis(20)), Err(ShmError::Timeout));
    peer.must("send over 0 100 3000");
    let mut next = 0;
    while next < 100 {
        let count = receiver.receive_batch(&mut batch).unwrap();
        assert!(count == batch.len() && count == batch.iter().len() && !batch.is_empty());
        assert!(
            batch.iter().map(<[u8]>::len).sum::<usize>() <= 65_535,
            "more bytes than the batch has room for"
        );
        for message in batch.iter() {
            assert_eq!(check_message(message), next);
            next += 1;
        }
    }
    assert_eq!(receiver.stats().received, 100);
    // A call that fails leaves nothing in the batch.
    assert_eq!(receiver.try_receive_batch(&mut batch), Err(ShmError::QueueEmpty));
    assert!(batch.is_empty() && batch.iter().next().is_none());
    peer.must("send over 100 1 65535");
    assert_eq!(receiver.receive_batch(&mut batch), Ok(1));
    peer.must("send over 0 2 2");
    peer.kill();
    // What it sent before its end is received.
    assert_eq!(receiver.receive_batch(&mut batch), Ok(2));
    assert!(matches!(receiver.receive_batch(&mut batch), Err(ShmError::PeerDied { .. })));
}

#[test]
fn batches_are_whole_while_the_sender_evicts() {
    let (mut server, mut peer) = pair("batch-overwritten", ServerOptions::new());
    let total = if long() { 3_000_000 } else { 100_000 };
    let (_, receiver) = server.split().unwrap();
    peer.tell(&format!("send over 0 {total} 200"));
    let mut batch = MessageBatch::new(50, 0);
    let mut last = None;
    while last != Some(total - 1) {
        match receiver.receive_batch_timeout(&mut batch, seconds(20)) {
            Ok(_) => {}
            Err(ShmError::NotReady) => continue,
            Err(error) => panic!("{error}"),
        }
        for message in batch.iter() {
            let number = check_message(message);
            assert!(last < Some(number), "{number} after {last:?}");
            last = Some(number);
        }
    }
    let stats = receiver.stats();
    assert_eq!(stats.received + stats.receive_dropped, total);
    assert_eq!(peer.answer(), format!("ok {}", stats.receive_dropped));
}

#[test]
fn a_message_is_written_in_place() {
    let (mut server, mut peer) = pair("reserve", ServerOptions::new());
    let (sender, _) = server.split().unwrap();
    assert!(matches!(sender.reserve(1), Err(ShmError::MessageTooSmall)));
    assert!(matches!(sender.try_reserve(65_536), Err(ShmError::MessageTooLarge)));
    for number in 0..500_u64 {
        let len = 8 + (number as usize * 131) % 60_000;
        let bytes = message(number, len);
        let mut place = sender.reserve(len).unwrap();
        assert_eq!(place.len(), len);
        for at in (0..len).step_by(777) {
            place.write_at(at, &bytes[at..len.min(at + 777)]);
        }
        if number % 3 == 0 {
            drop(place);
            assert_eq!(peer.ask("receive 0"), "err Timeout");
            sender.send(&bytes).unwrap();
        } else {
            assert_eq!(place.commit().unwrap().overwritten, 0);
        }
        assert_eq!(peer.must("receive 5000"), number.to_string());
    }
    // `reserve` on a full queue evicts.
    assert_eq!(sender.try_send_batch(&messages(0..250, 8)), Ok(250));
    assert!(matches!(sender.try_reserve(8), Err(ShmError::QueueFull)));
    let mut place = sender.reserve(8).unwrap();
    place.write_at(0, &message(250, 8));
    assert_eq!(place.commit().unwrap().overwritten, 1);
    for number in 1..251 {
        assert_eq!(peer.must("receive 5000"), number.to_string());
    }
    let place = sender.reserve(8).unwrap();
    peer.must("leave");
    assert_eq!(place.commit(), Err(ShmError::NotConnected));
}

#[test]
#[should_panic(expected = "beyond the end of the message")]
fn writing_beyond_a_reserved_message_panics() {
    let (mut server, _peer) = pair("reserve-beyond", ServerOptions::new());
    let (sender, _) = server.split().unwrap();
    sender.reserve(8).unwrap().write_at(7, &[1, 2]);
}

#[test]
fn a_message_is_read_in_place() {
    let (mut server, mut peer) = pair("in-place", ServerOptions::new().reject_when_full());
    let (_, receiver) = server.split().unwrap();
    for number in 0..500_u64 {
        peer.must(&format!("send try {number} 1 {}", 8 + number * 131 % 60_000));
        // SAFETY: the peer is this test program, which changes no message that it has sent.
        let read = unsafe { receiver.receive_with(check_message) };
        assert_eq!(read, Ok(number));
    }
    assert_eq!(receiver.stats().receive_depth, 0);
    peer.must("send try 0 1 8");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // SAFETY: as above.
        unsafe { receiver.receive_with(|_| panic!("on purpose")) }
    }));
    assert!(panicked.is_err());
    let mut buffer = Vec::new();
    assert_eq!(receiver.try_receive(&mut buffer), Ok(8), "the message stays if the reader panics");
    peer.kill();
    // SAFETY: as above.
    let read = unsafe { receiver.receive_with(<[u8]>::len) };
    assert!(matches!(read, Err(ShmError::PeerDied { .. })), "{read:?}");
}

#[test]
fn reading_in_place_is_refused_on_a_channel_that_evicts() {
    let (mut server, mut peer) = pair("in-place-evicting", ServerOptions::new());
    let (_, receiver) = server.split().unwrap();
    peer.must("send over 0 1 8");
    // SAFETY: nothing is read.
    let read = unsafe { receiver.receive_with(<[u8]>::len) };
    assert!(matches!(read, Err(ShmError::InvalidOption { option: "reject_when_full", .. })), "{read:?}");
    assert_eq!(receiver.try_receive(&mut Vec::new()), Ok(8));
}
