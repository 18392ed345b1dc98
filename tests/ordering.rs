//! Line 2 of docs/guarantees.md: while the sender evicts, messages arrive whole, in order and at most once, and both
//! sides count each loss.

mod common;

use common::*;
use xshm::{ServerOptions, SharedServer, ShmError};

#[test]
fn peer_process() {
    serve();
}

/// Receives until the peer stops sending, with a pause after each 64 messages, and compares both sides' counts.
fn account(mut server: SharedServer, name: &str, time: u64, len: usize, pause: u32) {
    let mut peer = Peer::start();
    peer.enter(name, &mut server);
    peer.tell(&format!("flood {time} {len}"));
    peer.tell("leave");
    let (mut received, mut lost, mut next) = (0_u64, 0_u64, 0_u64);
    let mut buffer = Vec::new();
    loop {
        match server.receive_from_client(&mut buffer) {
            Ok(_) => {}
            Err(ShmError::NotConnected) => break,
            Err(error) => panic!("after {received} messages: {error:?}"),
        }
        let sequence = check_message(&buffer);
        assert!(sequence >= next, "message {sequence} came after {next}");
        lost += sequence - next;
        next = sequence + 1;
        received += 1;
        if received % 64 == 0 {
            (0..pause).for_each(|_| std::hint::spin_loop());
        }
    }
    let answer = peer.answer();
    let figures: Vec<u64> =
        answer.strip_prefix("ok ").expect(&answer).split(' ').map(|figure| figure.parse().unwrap()).collect();
    let (sent, overwritten) = (figures[0], figures[1]);
    println!("sent {sent}, received {received}, overwritten {overwritten}");
    let stats = server.stats().unwrap();
    assert_eq!((stats.received, stats.receive_dropped), (received, lost));
    assert_eq!(received + lost, sent, "the last message is never evicted");
    assert_eq!(overwritten, lost, "both sides count the same losses");
    assert!(received > 0);
}

fn time(short: u64, long_form: u64) -> u64 {
    if long() {
        long_form
    } else {
        short
    }
}

#[test]
fn line_2_losses_of_a_slow_receiver_are_counted() {
    let name = unique("slow");
    account(SharedServer::start(&name).unwrap(), &name, time(1500, 60_000), 200, 20_000);
}

#[test]
fn line_2_losses_of_long_messages_are_counted() {
    let name = unique("long");
    account(SharedServer::start(&name).unwrap(), &name, time(1500, 20_000), 65_000, 2000);
}

#[test]
fn line_2_losses_in_a_tiny_ring_are_counted() {
    // Nearly every message is evicted while the receiver copies it, and every other one wraps.
    let name = unique("tiny");
    let server = ServerOptions::new().ring_size(4096).message_limit(3).start(&name).unwrap();
    account(server, &name, time(1500, 20_000), 1900, 100);
}

#[test]
fn line_2_losses_in_a_queue_of_one_are_counted() {
    let name = unique("one");
    let server = ServerOptions::new().ring_size(4096).message_limit(1).start(&name).unwrap();
    account(server, &name, time(1500, 20_000), 40, 0);
}
