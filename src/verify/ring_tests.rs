//! Unit tests of the ring: what it holds, evicts, counts and accepts from its peer. They run natively and, with smaller
//! counts, under Miri. `models.rs` checks every interleaving of two threads, in small cases.

use super::*;
use crate::layout::{frame_size, FrameHeader, Lengths, FRAME_ALIGN};
use crate::verify::test_ring::TestRing;
use std::thread;

/// Returns the count for a native run, or the smaller one for Miri, which interprets every memory access.
const fn count(native: usize, interpreted: usize) -> usize {
    if cfg!(miri) {
        interpreted
    } else {
        native
    }
}

/// A pseudo-random number generator, which returns the same numbers in each run (a permuted linear congruence).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ self.0 >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 32
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Returns the `number`th message, of `len` bytes. It starts with the first bytes of the number, up to 8. Every other
/// byte depends on the number.
fn message(number: u64, len: usize) -> Vec<u8> {
    let mut message: Vec<u8> = (0..len as u64)
        .map(|at| (number.wrapping_mul(0x9e37_79b9) >> 7).wrapping_add(at * 41) as u8)
        .collect();
    let known = len.min(8);
    message[..known].copy_from_slice(&number.to_le_bytes()[..known]);
    message
}

/// Returns the number of a received message of at least 8 bytes, and checks that the message is whole.
fn number_of(received: &[u8]) -> u64 {
    let number = u64::from_le_bytes(received[..8].try_into().unwrap());
    assert_eq!(received, message(number, received.len()), "a torn message");
    number
}

/// Sends as an endpoint does: evicts messages if there is no room. Returns the number of evicted messages.
fn push_over(producer: &mut Producer, payload: &[u8]) -> u32 {
    if producer.try_push(payload).unwrap() {
        return 0;
    }
    let evicted = producer.make_room(payload.len(), false).unwrap();
    assert!(producer.try_push(payload).unwrap(), "room was made");
    evicted
}

fn pop(consumer: &mut Consumer) -> Option<Vec<u8>> {
    let mut received = Vec::new();
    match consumer.pop(&mut received).unwrap() {
        Pop::Message(len) => {
            assert_eq!(received.len(), len);
            Some(received)
        }
        Pop::Empty => None,
        other => panic!("{other:?}"),
    }
}

/// Moves the positions of an empty ring forward by this number of frames, each of one cache line.
fn skip(producer: &mut Producer, consumer: &mut Consumer, frames: u64) {
    for number in 0..frames {
        assert!(producer.try_push(&message(number, 2)).unwrap());
        assert!(pop(consumer).is_some());
    }
}

#[test]
fn messages_of_every_length_come_through_in_order() {
    let ring = TestRing::new(2048, 1);
    let (mut producer, mut consumer) = ring.pair(3, 1);
    let longest = Lengths::usual(2048).longest();
    assert_eq!(longest, 1016);
    let lengths: Vec<usize> = (2..=longest).step_by(count(1, 197)).chain([longest]).collect();
    let (mut sent, mut received) = (0, 0);
    while received < lengths.len() {
        while sent < lengths.len() && producer.try_push(&message(sent as u64, lengths[sent])).unwrap() {
            sent += 1;
        }
        assert!(sent > received, "an empty ring takes any message");
        assert_eq!(producer.queued(), Ok(sent - received));
        while let Some(one) = pop(&mut consumer) {
            assert_eq!(one, message(received as u64, lengths[received]));
            received += 1;
        }
        assert_eq!(received, sent);
    }
    assert_eq!((producer.sent(), producer.evicted()), (sent as u64, 0));
    assert_eq!((consumer.received(), consumer.lost()), (sent as u64, 0));
}

#[test]
fn the_longest_message_fits_wherever_it_would_start() {
    let longest = Lengths::usual(1024).longest();
    for start in (0..16).step_by(count(1, 5)) {
        let ring = TestRing::new(1024, 0);
        let (mut producer, mut consumer) = ring.pair(15, 0);
        skip(&mut producer, &mut consumer, start);
        assert_eq!(producer.has_room(longest), Ok(true));
        assert!(producer.try_push(&message(7, longest)).unwrap());
        assert_eq!(pop(&mut consumer), Some(message(7, longest)));
        assert_eq!(pop(&mut consumer), None);
    }
}

#[test]
fn a_message_that_would_cross_the_end_is_put_at_the_start_after_a_pad() {
    let ring = TestRing::new(512, 0);
    let (mut producer, mut consumer) = ring.pair(7, 0);
    skip(&mut producer, &mut consumer, 6);
    // Two lines are free before the end, but the frame needs three.
    assert!(producer.try_push(&message(1, 150)).unwrap());
    let pad = FrameHeader(ring.words()[6 * 8].load(Relaxed));
    let behind = FrameHeader(ring.words()[0].load(Relaxed));
    assert_eq!((pad.kind(), pad.sequence()), (FrameHeader::PAD, 6));
    assert_eq!((behind.kind(), behind.sequence(), behind.len()), (FrameHeader::MESSAGE, 6, 150));
    // The pad and the message count as one entry.
    assert_eq!(producer.queued(), Ok(1));
    assert_eq!(consumer.queued(9), 1);
    assert_eq!(pop(&mut consumer), Some(message(1, 150)));
    assert_eq!(producer.queued(), Ok(0));
    assert_eq!(ring.header().read_pos.load(Relaxed), 512 + 192);
}

#[test]
fn a_pad_is_evicted_together_with_its_message() {
    let ring = TestRing::new(512, 0);
    let (mut producer, mut consumer) = ring.pair(7, 0);
    skip(&mut producer, &mut consumer, 6);
    assert!(producer.try_push(&message(1, 150)).unwrap());
    assert!(!producer.try_push(&message(2, 150)).unwrap());
    assert_eq!(push_over(&mut producer, &message(2, 150)), 1);
    assert_eq!(pop(&mut consumer), Some(message(2, 150)));
    assert_eq!((consumer.lost(), pop(&mut consumer)), (1, None));
}

#[test]
fn an_exactly_full_ring_is_full_to_both_ends_and_loses_nothing() {
    for start in (0..8).step_by(count(1, 3)) {
        let ring = TestRing::new(512, 3);
        let (mut producer, mut consumer) = ring.pair(1000, 3);
        skip(&mut producer, &mut consumer, start);
        // The eighth line always stays free, for the zeroed header.
        for number in 0..7 {
            assert!(producer.try_push(&message(number, 56)).unwrap());
        }
        assert!(!producer.try_push(&message(7, 2)).unwrap());
        assert_eq!(producer.has_room(2), Ok(false));
        assert_eq!((producer.queued(), consumer.queued(100)), (Ok(7), 7));
        for number in 0..7 {
            assert_eq!(pop(&mut consumer), Some(message(number, 56)));
        }
        assert_eq!(pop(&mut consumer), None);
        assert_eq!(producer.has_room(Lengths::usual(512).longest()), Ok(true));
    }
}

#[test]
fn the_number_of_messages_is_limited_too() {
    let ring = TestRing::new(4096, 0);
    let (mut producer, mut consumer) = ring.pair(3, 0);
    for number in 0..3 {
        assert!(producer.try_push(&message(number, 8)).unwrap());
    }
    assert!(!producer.try_push(&message(3, 8)).unwrap());
    assert_eq!(pop(&mut consumer), Some(message(0, 8)));
    assert!(producer.try_push(&message(3, 8)).unwrap());
    assert_eq!(push_over(&mut producer, &message(4, 8)), 1);
    assert_eq!(producer.queued(), Ok(3));
    assert_eq!(pop(&mut consumer), Some(message(2, 8)));
}

/// The limit holds for a number far above the default too.
#[test]
fn a_ring_holds_as_many_unread_messages_as_its_limit() {
    const LIMIT: u64 = 1000;
    let ring = TestRing::new(64 * 1024, 0);
    let (mut producer, mut consumer) = ring.pair(LIMIT as usize, 0);
    for number in 0..LIMIT {
        assert!(producer.try_push(&message(number, 8)).unwrap());
    }
    assert!(!producer.try_push(&message(LIMIT, 8)).unwrap());
    assert_eq!(pop(&mut consumer), Some(message(0, 8)));
    assert!(producer.try_push(&message(LIMIT, 8)).unwrap());
    assert_eq!(push_over(&mut producer, &message(LIMIT + 1, 8)), 1);
    for number in 2..LIMIT + 2 {
        assert_eq!(pop(&mut consumer), Some(message(number, 8)));
    }
    assert_eq!(pop(&mut consumer), None);
}

#[test]
fn only_as_many_of_the_oldest_as_needed_are_evicted_and_each_is_counted() {
    let ring = TestRing::new(1024, 0);
    let (mut producer, mut consumer) = ring.pair(100, 0);
    for number in 0..15 {
        assert_eq!(push_over(&mut producer, &message(number, 8)), 0);
    }
    // The message needs one line, so that one message is evicted.
    assert_eq!(push_over(&mut producer, &message(15, 8)), 1);
    // The next message starts at line 0 again. It needs five lines, so that five messages are evicted.
    assert_eq!(push_over(&mut producer, &message(16, 5 * 64 - 8)), 5);
    assert_eq!(producer.evicted(), 6);
    assert_eq!(ring.header().drop_count.load(Relaxed), 6);
    for number in 6..16 {
        assert_eq!(pop(&mut consumer), Some(message(number, 8)));
    }
    assert_eq!(pop(&mut consumer), Some(message(16, 5 * 64 - 8)));
    assert_eq!((pop(&mut consumer), consumer.lost(), consumer.received()), (None, 6, 11));
}

#[test]
fn both_ends_agree_on_what_was_lost() {
    let mut random = Random(11);
    let ring = TestRing::new(1024, 0);
    let (mut producer, mut consumer) = ring.pair(6, 0);
    let mut number = 0;
    for _ in 0..count(20_000, 12) {
        for _ in 0..random.below(5) {
            push_over(&mut producer, &message(number, 8 + random.below(400) as usize));
            number += 1;
        }
        for _ in 0..random.below(4) {
            let Some(received) = pop(&mut consumer) else { break };
            assert_eq!(number_of(&received), consumer.received() + consumer.lost() - 1);
        }
    }
    // The consumer counts losses after the last message when it takes the next one.
    while pop(&mut consumer).is_some() {}
    push_over(&mut producer, &message(number, 8));
    assert_eq!(number_of(&pop(&mut consumer).unwrap()), number);
    assert_eq!(consumer.lost(), producer.evicted());
    assert_eq!(consumer.received() + consumer.lost(), producer.sent());
    assert!(producer.evicted() > 0 && producer.queued() == Ok(0));
}

#[test]
fn a_refused_message_leaves_every_word_as_it_was() {
    let ring = TestRing::new(512, 0);
    let (mut producer, _consumer) = ring.pair(4, 0);
    for number in 0..3 {
        assert!(producer.try_push(&message(number, 100)).unwrap());
    }
    let all = || -> Vec<u64> {
        let header = ring.header();
        let fields = [&header.write_pos, &header.read_pos, &header.message_count, &header.drop_count];
        ring.words().iter().chain(fields).map(|word| word.load(Relaxed)).collect()
    };
    let before = all();
    assert!(!producer.try_push(&message(3, 100)).unwrap());
    assert_eq!(all(), before);
    assert_eq!((producer.sent(), producer.queued()), (3, Ok(3)));
}

#[test]
fn under_eviction_pressure_half_the_queue_is_evicted() {
    let ring = TestRing::new(4096, 0);
    let (mut producer, mut consumer) = ring.pair(10, 0);
    for number in 0..10 {
        assert!(producer.try_push(&message(number, 8)).unwrap());
    }
    assert_eq!(producer.make_room(8, true), Ok(5));
    // There is room, so that no message is evicted.
    assert_eq!(producer.make_room(8, true), Ok(0));
    assert_eq!(pop(&mut consumer), Some(message(5, 8)));
    assert_eq!((consumer.lost(), producer.evicted(), producer.queued()), (5, 5, Ok(4)));
}

#[test]
fn a_message_that_is_too_long_for_the_buffer_stays_queued() {
    let ring = TestRing::new(1024, 0);
    let (mut producer, mut consumer) = ring.pair(9, 0);
    assert_eq!(consumer.peek(), Ok(Some(false)));
    assert!(producer.try_push(&message(5, 100)).unwrap());
    let mut space = [0xee_u8; 100];
    for _ in 0..3 {
        assert_eq!(consumer.pop(&mut &mut space[..99]), Ok(Pop::TooSmall(100)));
        assert_eq!(consumer.peek(), Ok(Some(true)));
    }
    assert_eq!(space, [0xee; 100], "nothing was written");
    assert_eq!((producer.queued(), consumer.received()), (Ok(1), 0));
    assert_eq!(consumer.pop(&mut &mut space[..]), Ok(Pop::Message(100)));
    assert_eq!(space[..], message(5, 100));
    assert_eq!(consumer.pop(&mut &mut space[..]), Ok(Pop::Empty));
    assert_eq!((producer.queued(), consumer.received()), (Ok(0), 1));
}

#[test]
fn the_size_of_an_evicted_message_is_not_reported() {
    let ring = TestRing::new(1024, 0);
    let (mut producer, mut consumer) = ring.pair(2, 0);
    let mut space = [0_u8; 8];
    assert!(producer.try_push(&message(0, 100)).unwrap());
    assert_eq!(consumer.pop(&mut &mut space[..]), Ok(Pop::TooSmall(100)));
    assert!(producer.try_push(&message(1, 200)).unwrap());
    assert_eq!(push_over(&mut producer, &message(2, 300)), 1);
    assert_eq!(consumer.pop(&mut &mut space[..]), Ok(Pop::TooSmall(200)));
    assert_eq!(pop(&mut consumer), Some(message(1, 200)));
    assert_eq!(consumer.lost(), 1);
}

#[test]
fn a_new_generation_begins_empty_and_the_old_one_changes_nothing_in_it() {
    let ring = TestRing::new(1024, 8);
    let (mut producer, mut consumer) = ring.pair(2, 8);
    skip(&mut producer, &mut consumer, 5);
    assert!(producer.try_push(&message(1, 8)).unwrap());
    assert!(producer.try_push(&message(2, 8)).unwrap());
    ring.ring().reset(9);
    let (mut new_producer, mut new_consumer) = ring.pair(2, 9);
    assert_eq!(pop(&mut new_consumer), None);
    assert!(new_producer.try_push(&message(3, 8)).unwrap());
    assert!(new_producer.try_push(&message(4, 8)).unwrap());
    // An old consumer may still find its message in the memory, but fails to take it. However late its compare-exchange
    // comes, the position with which it compares does not occur in the new generation.
    assert!(!matches!(consumer.pop(&mut Vec::new()), Ok(Pop::Message(_))));
    // An old producer fails to evict.
    assert!(producer.make_room(8, false).is_err());
    assert_eq!(pop(&mut new_consumer), Some(message(3, 8)));
    assert_eq!(pop(&mut new_consumer), Some(message(4, 8)));
    assert_eq!((new_producer.queued(), new_consumer.lost()), (Ok(0), 0));
}

#[test]
fn generations_wrap_around() {
    let ring = TestRing::new(512, u32::MAX);
    for generation in [u32::MAX, 0, 1, 0x0001_0000, 0xffff] {
        ring.ring().reset(generation);
        let (mut producer, mut consumer) = ring.pair(7, generation);
        for number in 0..count(20, 4) as u64 {
            assert!(producer.try_push(&message(number, 100)).unwrap());
            assert_eq!(pop(&mut consumer), Some(message(number, 100)));
        }
    }
}

#[test]
fn sequences_and_positions_wrap_around() {
    let ring = TestRing::new(512, 0);
    let (mut producer, mut consumer) = ring.pair(4, 0);
    let position = u64::MAX - 3 * 512 + 1;
    let sequence = FrameHeader::SEQUENCES - 5;
    ring.words()[0].store(0, Relaxed);
    ring.header().read_pos.store(position, Relaxed);
    (producer.write_pos, producer.read_pos, producer.sequence) = (position, position, sequence);
    (producer.zeroed, producer.clear) = (position.wrapping_add(64), position);
    (consumer.read_pos, consumer.sequence) = (position, sequence);
    let mut lost = 0;
    for number in 0..40 {
        lost += push_over(&mut producer, &message(number, 100));
        if number % 7 == 6 {
            assert_eq!(number_of(&pop(&mut consumer).unwrap()), consumer.received() + consumer.lost() - 1);
        }
    }
    while pop(&mut consumer).is_some() {}
    assert!(consumer.sequence < 100 && consumer.read_pos < 1 << 32, "both wrapped around");
    assert_eq!((consumer.lost(), producer.evicted()), (u64::from(lost), u64::from(lost)));
    assert_eq!(consumer.received() + consumer.lost(), 40);
}

/// Returns a word as a hostile peer might choose it. Most of the words are almost correct in every field.
fn hostile_word(random: &mut Random, sequence: u64, position: u64) -> u64 {
    match random.below(8) {
        0 => 0,
        1 => random.next(),
        2 => u64::MAX,
        3 => position.wrapping_add(random.below(64) * 64).wrapping_sub(random.below(16) * 64),
        _ => {
            let len = match random.below(4) {
                0 => random.below(1 << 16),
                1 => random.below(3),
                _ => random.below(600),
            };
            let kind = if random.below(4) == 0 { random.below(16) } else { 1 + random.below(2) };
            let sequence = sequence.wrapping_add(random.below(4)).wrapping_sub(random.below(2));
            len | kind << 16 | sequence << 20
        }
    }
}

#[test]
fn a_consumer_survives_whatever_the_peer_writes() {
    let mut random = Random(1);
    let (mut corrupted, mut received, mut empty) = (0, 0, 0);
    for _ in 0..count(20_000, 12) {
        let ring = TestRing::new(1024, 0);
        let (mut producer, mut consumer) = ring.pair(9, 0);
        for number in 0..random.below(4) {
            push_over(&mut producer, &message(number, 8 + random.below(300) as usize));
        }
        for _ in 0..8 {
            let at = consumer.read_pos;
            // Overwrite the word that the consumer reads next, or any other word.
            let target = if random.below(2) == 0 { at } else { random.next() };
            let word = hostile_word(&mut random, consumer.sequence, at);
            ring.words()[(target as usize & 1023) / 8].store(word, Relaxed);
            if random.below(3) == 0 {
                ring.header().read_pos.store(hostile_word(&mut random, consumer.sequence, at), Relaxed);
            }
            let mut to = Vec::new();
            match consumer.pop(&mut to) {
                Ok(Pop::Message(len)) => {
                    assert!(Lengths::usual(1024).contain(len) && to.len() == len);
                    received += 1;
                }
                Ok(Pop::Empty) => empty += 1,
                Ok(other) => panic!("only the sender moves read_pos, and a Vec has room: {other:?}"),
                Err(_) => corrupted += 1,
            }
            assert!(consumer.read_pos % FRAME_ALIGN == 0);
            assert!(consumer.queued(50) <= 50);
            let _ = consumer.peek();
        }
    }
    assert!(corrupted > 0 && received > 0 && empty > 0 || cfg!(miri), "{corrupted} {received} {empty}");
}

#[test]
fn a_producer_survives_whatever_the_peer_writes() {
    let mut random = Random(2);
    let (mut corrupted, mut sent) = (0, 0);
    for _ in 0..count(10_000, 2) {
        let ring = TestRing::new(1024, 0);
        let (mut producer, mut consumer) = ring.pair(1 + random.below(9) as usize, 0);
        for number in 0..20 {
            match random.below(6) {
                0 => {
                    let word = hostile_word(&mut random, number, producer.read_pos);
                    ring.header().read_pos.store(word, Relaxed);
                }
                1 => {
                    let word = hostile_word(&mut random, number, producer.read_pos);
                    ring.words()[random.below(128) as usize].store(word, Relaxed);
                }
                2 => drop(consumer.pop(&mut Vec::new())),
                3 => drop(producer.queued()),
                _ => {}
            }
            let payload =
                message(number, 8 + random.below(Lengths::usual(1024).longest() as u64 - 8) as usize);
            let made = producer.make_room(payload.len(), random.below(2) == 0);
            // In a real session, no call follows an error. The test goes on, to check that the producer stays sound.
            match made.and_then(|_| producer.try_push(&payload)) {
                Ok(true) => sent += 1,
                Ok(false) => {}
                Err(_) => corrupted += 1,
            }
        }
    }
    assert!(corrupted > 0 && sent > 0 || cfg!(miri), "{corrupted} {sent}");
}

#[test]
fn an_impossible_header_at_read_pos_is_corruption_and_no_message() {
    let header = |kind, len: u64, sequence| len | kind << 16 | sequence << 20;
    for word in [
        header(FrameHeader::MESSAGE, 8, 1),
        header(FrameHeader::MESSAGE, 8, FrameHeader::SEQUENCES - 1),
        header(FrameHeader::MESSAGE, 0, 0),
        header(FrameHeader::MESSAGE, 1, 0),
        header(FrameHeader::MESSAGE, Lengths::usual(1024).longest() as u64 + 1, 0),
        header(FrameHeader::MESSAGE, 65_535, 0),
        header(0, 8, 0),
        header(3, 8, 0),
        header(15, 8, 0),
        // A pad without a message after it.
        header(FrameHeader::PAD, 0, 0),
    ] {
        let ring = TestRing::new(1024, 0);
        let (_, mut consumer) = ring.pair(9, 0);
        ring.words()[0].store(word, Relaxed);
        assert!(consumer.pop(&mut Vec::new()).is_err(), "{word:#x}");
        assert!(consumer.peek().is_err(), "{word:#x}");
        assert_eq!(consumer.queued(9), 0, "{word:#x}");
    }
    // A frame that would cross the ring's end.
    let ring = TestRing::new(1024, 0);
    let (mut producer, mut consumer) = ring.pair(9, 0);
    skip(&mut producer, &mut consumer, 15);
    ring.words()[15 * 8].store(header(FrameHeader::MESSAGE, 57, 15), Relaxed);
    assert!(consumer.pop(&mut Vec::new()).is_err());
}

/// One thread sends `total` messages as fast as it can, and evicts old ones. Another thread receives what is left.
fn overwrite_race(total: u64, capacity: u64, limit: usize, longest: u64) {
    let lengths = Lengths::up_to(longest as usize);
    let ring = TestRing::with_lengths(capacity, 5, lengths);
    let (mut producer, mut consumer) = ring.pair(limit, 5);
    let kept = ring.clone();
    let sender = thread::spawn(move || {
        let _kept = kept;
        let mut random = Random(3);
        for number in 0..total {
            push_over(&mut producer, &message(number, 8 + random.below(longest - 7) as usize));
            if random.below(64) == 0 {
                thread::yield_now();
            }
        }
        producer
    });
    let mut received = Vec::new();
    let mut next = 0;
    // The last message is never evicted.
    while next < total {
        match consumer.pop(&mut received).unwrap() {
            Pop::Message(_) => {
                let number = number_of(&received);
                assert!(number >= next && number < total, "out of order");
                assert_eq!(number, consumer.received() + consumer.lost() - 1, "a loss was not counted");
                next = number + 1;
            }
            Pop::Empty => thread::yield_now(),
            Pop::Busy => {}
            Pop::TooSmall(_) => unreachable!("a Vec grows"),
        }
    }
    let mut producer = sender.join().unwrap();
    assert_eq!((producer.sent(), producer.queued()), (total, Ok(0)));
    assert_eq!((consumer.received() + consumer.lost(), consumer.lost()), (total, producer.evicted()));
}

#[test]
fn an_evicting_sender_and_a_receiver_account_for_every_message() {
    overwrite_race(count(200_000, 60) as u64, 1024, 4, 8);
    overwrite_race(count(100_000, 25) as u64, 1024, 100, count(400, 100) as u64);
    if cfg!(not(miri)) {
        overwrite_race(10_000, 16_384, 100, 8000);
        overwrite_race(3_000, LONG_RING, 100, LONGEST as u64);
        overwrite_race(1_000, 1 << 20, 3, 500_000);
    }
}

#[test]
fn a_sender_that_waits_for_room_loses_nothing() {
    let total = count(60_000, 40) as u64;
    let ring = TestRing::new(1024, 0);
    let (mut producer, mut consumer) = ring.pair(7, 0);
    let kept = ring.clone();
    let sender = thread::spawn(move || {
        let _kept = kept;
        let mut random = Random(4);
        for number in 0..total {
            let payload = message(number, 8 + random.below(count(400, 100) as u64) as usize);
            while !producer.try_push(&payload).unwrap() {
                thread::yield_now();
            }
        }
    });
    for number in 0..total {
        let received = loop {
            match pop(&mut consumer) {
                Some(received) => break received,
                None => thread::yield_now(),
            }
        };
        assert_eq!(number_of(&received), number);
    }
    sender.join().unwrap();
    assert_eq!((pop(&mut consumer), consumer.lost()), (None, 0));
}

/// A ring that has room for long frames, and the longest message for which it has room.
const LONG_RING: u64 = 256 * 1024;
const LONGEST: usize = 131_008;

#[test]
fn a_long_frame_has_its_length_in_the_second_word_and_its_payload_in_the_next_line() {
    let ring = TestRing::with_lengths(LONG_RING, 0, Lengths::up_to(LONGEST));
    let (mut producer, mut consumer) = ring.pair(9, 0);
    let word = |at: usize| ring.words()[at].load(Relaxed);
    assert_eq!(producer.push_some([&message(1, 65_535)[..], &message(2, 65_536)]), Ok(2));
    assert_eq!(word(0), FrameHeader::new(FrameHeader::MESSAGE, 65_535, 0).0);
    let start = 65_600 / 8;
    assert_eq!((word(start), word(start + 1)), (3 << 16 | 1 << 20, 65_536));
    assert_eq!(word(start + 8), 2);
    assert_eq!(pop(&mut consumer), Some(message(1, 65_535)));
    assert_eq!(pop(&mut consumer), Some(message(2, 65_536)));
    assert_eq!(ring.header().read_pos.load(Relaxed), 65_600 + 65_600);
    // Before the end of the ring, a pad replaces the long frame.
    assert_eq!(producer.try_push(&message(3, LONGEST)), Ok(true));
    let start = 2 * 65_600 / 8;
    assert_eq!(word(start), FrameHeader::new(FrameHeader::PAD, 0, 2).0);
    assert_eq!((word(0), word(1), word(8)), (3 << 16 | 2 << 20, LONGEST as u64, 3));
    assert_eq!(pop(&mut consumer), Some(message(3, LONGEST)));
}

#[test]
#[cfg_attr(miri, ignore = "Miri takes minutes for each long message; another test has some")]
fn the_longest_long_message_fits_wherever_it_would_start() {
    for start in (0..LONG_RING / FRAME_ALIGN).step_by(count(5, 1333)) {
        let ring = TestRing::with_lengths(LONG_RING, 0, Lengths::up_to(LONGEST));
        let (mut producer, mut consumer) = ring.pair(15, 0);
        let before = (start * FRAME_ALIGN) as usize;
        for len in [before / 2 / 64 * 64, before - before / 2 / 64 * 64].iter().filter(|len| **len > 0) {
            assert!(producer.try_push(&vec![0; (len - 8).min(65_500)]).unwrap());
            assert!(pop(&mut consumer).is_some());
        }
        assert_eq!(producer.has_room(LONGEST), Ok(true));
        assert!(producer.try_push(&message(7, LONGEST)).unwrap());
        assert_eq!(pop(&mut consumer), Some(message(7, LONGEST)));
        assert_eq!(pop(&mut consumer), None);
    }
}

#[test]
fn messages_of_no_byte_and_of_one_byte_come_through_where_they_are_allowed() {
    let ring = TestRing::with_lengths(1024, 0, Lengths::up_to(100));
    let (mut producer, mut consumer) = ring.pair(9, 0);
    assert_eq!(producer.push_some([&b""[..], b"1", b"", b"22"]), Ok(4));
    assert_eq!((consumer.peek(), consumer.queued(9)), (Ok(Some(true)), 4));
    for expected in [&b""[..], b"1", b"", b"22"] {
        assert_eq!(pop(&mut consumer).as_deref(), Some(expected));
    }
    assert_eq!((consumer.peek(), pop(&mut consumer)), (Ok(Some(false)), None));
    let place = producer.reserve(0).unwrap().expect("there is room");
    assert!(producer.commit(place));
    let borrowed = consumer.borrow().unwrap().expect("there is a message");
    assert_eq!((borrowed.len(), consumer.release(&borrowed)), (0, Ok(true)));
}

#[test]
fn an_impossible_length_of_a_long_frame_is_corruption() {
    for (sequence, len) in [
        (0, 0),
        (0, 65_535),
        (0, LONGEST as u64 + 1),
        (0, LONG_RING),
        (0, 1 << 32 | 70_000),
        (0, u64::MAX),
        (0, u64::MAX - 63),
        (1, 70_000),
    ] {
        let ring = TestRing::with_lengths(LONG_RING, 0, Lengths::up_to(LONGEST));
        let (_, mut consumer) = ring.pair(9, 0);
        ring.words()[0].store(3 << 16 | sequence << 20, Relaxed);
        ring.words()[1].store(len, Relaxed);
        assert!(consumer.pop(&mut Vec::new()).is_err(), "{len:#x}");
        assert!(consumer.peek().is_err() && consumer.borrow().is_err(), "{len:#x}");
        assert_eq!(consumer.queued(9), 0, "{len:#x}");
    }
    // A frame that would cross the ring's end, and one on a channel without long messages.
    let ring = TestRing::with_lengths(LONG_RING, 0, Lengths::up_to(LONGEST));
    let (mut producer, mut consumer) = ring.pair(9, 0);
    for _ in 0..2 {
        assert!(producer.try_push(&vec![1; 70_000]).unwrap());
        assert!(pop(&mut consumer).is_some());
    }
    let start = 2 * frame_size(70_000) as usize / 8;
    ring.words()[start].store(3 << 16 | 2 << 20, Relaxed);
    ring.words()[start + 1].store(131_000, Relaxed);
    assert!(consumer.pop(&mut Vec::new()).is_err());
    let ring = TestRing::new(LONG_RING, 0);
    let (_, mut consumer) = ring.pair(9, 0);
    ring.words()[0].store(3 << 16, Relaxed);
    ring.words()[1].store(65_536, Relaxed);
    assert!(consumer.pop(&mut Vec::new()).is_err());
}

/// A destination for which the producer evicts each message while it is copied.
struct Evicting<'a>(&'a mut Producer, Vec<u8>, usize);

impl crate::bytes::Destination for Evicting<'_> {
    fn room(&mut self, len: usize) -> Option<*mut u8> {
        push_over(self.0, &message(99, len));
        self.2 += 1;
        self.1.clear();
        self.1.reserve(len);
        Some(self.1.as_mut_ptr())
    }

    unsafe fn commit(&mut self, _: usize) {
        panic!("an evicted message");
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri takes minutes for each long message; another test has some")]
fn a_long_message_that_is_evicted_is_not_copied_again_before_the_sender_is_asked_for_room() {
    for (len, tries, discarded) in [(50_000, 8, 0), (100_000, 1, 100_000)] {
        let ring = TestRing::with_lengths(LONG_RING, 0, Lengths::up_to(LONGEST));
        let (mut producer, mut consumer) = ring.pair(1, 0);
        assert_eq!(producer.try_push(&message(1, len)), Ok(true));
        let mut destination = Evicting(&mut producer, Vec::new(), 0);
        assert_eq!(consumer.pop(&mut destination), Ok(Pop::Busy));
        assert_eq!((destination.2, consumer.discarded()), (tries, discarded));
        assert_eq!(consumer.most_discarded(), 32 << 20);
        assert_eq!(pop(&mut consumer), Some(message(99, len)));
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri takes minutes for each long message; another test has some")]
fn a_batch_of_long_and_short_messages_arrives_in_order() {
    let ring = TestRing::with_lengths(1 << 20, 0, Lengths::up_to(200_000));
    let (mut producer, mut consumer) = ring.pair(99, 0);
    let mut random = Random(9);
    let (mut next, mut expected) = (0, 0);
    for _ in 0..count(300, 2) {
        let lengths = [8, 100_000, 9, 10, 65_536, 65_535, 8 + random.below(180_000) as usize, 200_000];
        let batch: Vec<_> = lengths.iter().zip(next..).map(|(&len, number)| message(number, len)).collect();
        let some = 1 + random.below(8) as usize;
        next += producer.push_some(batch[..some].iter().map(Vec::as_slice)).unwrap() as u64;
        while random.below(3) != 0 || expected + 4 < next {
            let Some(received) = pop(&mut consumer) else { break };
            assert_eq!(number_of(&received), expected);
            expected += 1;
        }
    }
    assert!(expected > count(500, 2) as u64);
}

mod ring_batch_tests;
