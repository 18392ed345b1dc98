//! Unit tests of messages that are sent or taken in batches, written in place, or read in place.

use super::*;
use crate::bytes::Several;

/// Takes up to `limit` messages, which have at most `space` bytes in total. Returns `None` if there is none.
///
/// Checks that nothing is written after the last message. After an eviction this holds only for batches: the first
/// try may have copied several messages, of which the second try takes one.
fn pop_several(
    consumer: &mut Consumer, limit: usize, space: usize, after_eviction: bool,
) -> Option<Vec<Vec<u8>>> {
    let (mut bytes, mut ends) = (vec![0xee; space], Vec::new());
    let popped = consumer.pop(&mut Several { bytes: &mut bytes, ends: &mut ends, limit }).unwrap();
    match popped {
        Pop::Message(len) => {
            assert_eq!(Some(&len), ends.last());
            let untouched = bytes[len..].iter().all(|&byte| byte == 0xee);
            assert!(untouched || after_eviction && ends.len() == 1, "written after the last message");
            let starts = [0].into_iter().chain(ends.iter().copied());
            Some(starts.zip(ends.iter().copied()).map(|(start, end)| bytes[start..end].to_vec()).collect())
        }
        Pop::Empty => None,
        other => panic!("{other:?}"),
    }
}

/// Writes a message to a place, in pieces, from the message's end to its start.
fn write(producer: &Producer, place: Place, message: &[u8], piece: usize) {
    let mut at = message.len();
    while at > 0 {
        let start = at.saturating_sub(piece);
        producer.words().write_part(place.payload().wrapping_add(start as u64), &message[start..at]);
        at = start;
    }
}

/// Uses all ways to send and to take in random order, and compares the results with a simple queue.
#[test]
fn all_ways_to_send_and_to_take_agree() {
    const SPACE: usize = 2000;
    let mut random = Random(5);
    let ring = TestRing::new(8192, 0);
    let (mut producer, mut consumer) = ring.pair(9, 0);
    let mut expected = std::collections::VecDeque::new();
    let mut number = 0;
    let mut kinds = [0; 6];
    let mut moved = false;
    for _ in 0..count(40_000, 150) {
        let kind = random.below(6) as usize;
        // Usually a length after which the producer zeroes headers ahead. In one of four rounds it may be too long
        // for that.
        let longest = if random.below(4) == 0 { 1500 } else { 300 };
        let len = 8 + random.below(longest) as usize;
        kinds[kind] += 1;
        match kind {
            0 => {
                let evicted = push_over(&mut producer, &message(number, len));
                expected.drain(..evicted as usize);
                moved |= evicted > 0;
                expected.push_back(message(number, len));
                number += 1;
            }
            1 => {
                let messages: Vec<_> =
                    (number..number + random.below(5)).map(|number| message(number, len)).collect();
                let pushed = producer.push_some(messages.iter().map(Vec::as_slice)).unwrap();
                assert!(pushed == messages.len() || !producer.has_room(len).unwrap());
                expected.extend(messages.into_iter().take(pushed));
                number += pushed as u64;
            }
            2 | 3 => {
                let Some(place) = producer.reserve(len).unwrap() else {
                    assert_eq!(producer.has_room(len), Ok(false));
                    continue;
                };
                write(&producer, place, &message(number, len), 1 + random.below(40) as usize);
                // The receiver must never see a place that is not committed. A message that is sent first uses the
                // place.
                if kind == 2 {
                    assert!(producer.commit(place));
                    assert!(!producer.commit(place), "sent twice");
                } else if producer.try_push(&message(number, len)).unwrap() {
                    assert!(!producer.commit(place), "sent from a place that another message uses");
                } else {
                    continue;
                }
                expected.push_back(message(number, len));
                number += 1;
            }
            4 => {
                let limit = 1 + random.below(4) as usize;
                let taken = pop_several(&mut consumer, limit, SPACE, moved).unwrap_or_default();
                assert!(taken.len() <= limit && (!taken.is_empty() || expected.is_empty()));
                let first: Vec<_> = expected.drain(..taken.len()).collect();
                assert_eq!(taken, first);
                let full = taken.iter().map(Vec::len).sum::<usize>();
                let next = expected.front().map_or(SPACE + 1, Vec::len);
                // After an eviction the first try fails, and the second one takes only one message.
                let disturbed = std::mem::take(&mut moved) && taken.len() == 1;
                assert!(taken.len() == limit || full + next > SPACE || disturbed, "more would have gone in");
            }
            _ => {
                assert_eq!(pop(&mut consumer), expected.pop_front());
                moved = false;
            }
        }
        let zeros = producer.zeroed.wrapping_sub(producer.write_pos);
        assert!((64..8192).contains(&zeros), "at least the next header is zeroed, and not the whole ring");
        for at in (0..zeros).step_by(64) {
            assert_eq!(producer.words().at(producer.write_pos.wrapping_add(at)).load(Relaxed), 0);
        }
    }
    assert!(kinds.iter().all(|&times| times > 10) && producer.evicted() > 0, "{kinds:?}");
    assert_eq!(consumer.received() + producer.evicted() + expected.len() as u64, producer.sent());
}

#[test]
fn a_place_that_is_not_committed_leaves_no_message() {
    let ring = TestRing::new(1024, 0);
    let (mut producer, mut consumer) = ring.pair(9, 0);
    // Each word looks like the header that the consumer expects next.
    let bait = FrameHeader::new(FrameHeader::MESSAGE, 8, 1).0.to_ne_bytes().repeat(50);
    for number in 0..count(100, 30) as u64 {
        let place = producer.reserve(400).unwrap().expect("there's room");
        write(&producer, place, &bait, 64);
        assert_eq!(pop(&mut consumer), None);
        assert!(producer.try_push(&message(number, 8)).unwrap());
        assert_eq!(pop(&mut consumer), Some(message(number, 8)));
        assert_eq!(pop(&mut consumer), None, "received a message that was never sent");
    }
}

#[test]
fn the_last_word_of_a_place_is_padded_with_zeros() {
    let ring = TestRing::new(512, 0);
    ring.words().iter().for_each(|word| word.store(u64::MAX, Relaxed));
    ring.ring().reset(0);
    let (mut producer, _consumer) = ring.pair(9, 0);
    let place = producer.reserve(11).unwrap().unwrap();
    write(&producer, place, &[1; 11], 11);
    assert!(producer.commit(place));
    assert_eq!(ring.words()[2].load(Relaxed).to_ne_bytes(), [1, 1, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn a_message_is_read_in_place_and_taken_once() {
    let ring = TestRing::rejecting(512, 0);
    let (mut producer, mut consumer) = ring.pair(9, 0);
    assert!(consumer.borrow().unwrap().is_none());
    for number in 0..count(50, 10) as u64 {
        assert!(producer.try_push(&message(number, 100)).unwrap());
        assert!(producer.try_push(&message(number + 1, 8)).unwrap());
        let borrowed = consumer.borrow().unwrap().expect("there's a message");
        // SAFETY: the address and the length are the message's, and the producer evicts nothing here.
        let bytes = unsafe { std::slice::from_raw_parts(consumer.locate(&borrowed), borrowed.len()) };
        assert_eq!(bytes, message(number, 100));
        assert_eq!(producer.queued(), Ok(2), "taken while it was read");
        assert_eq!(consumer.release(&borrowed), Ok(true));
        assert_eq!(consumer.release(&borrowed), Ok(false));
        let next = consumer.borrow().unwrap().expect("there's another");
        assert_eq!(pop(&mut consumer), Some(message(number + 1, 8)));
        assert_eq!(consumer.release(&next), Ok(false), "it has been received");
        assert_eq!(producer.queued(), Ok(0));
    }
    assert_eq!((consumer.lost(), consumer.received()), (0, 2 * count(50, 10) as u64));
}

#[test]
fn an_eviction_of_a_borrowed_message_is_corruption() {
    // A peer that breaks the protocol evicts from a channel that rejects.
    let ring = TestRing::rejecting(512, 0);
    let (mut producer, mut consumer) = ring.pair(2, 0);
    assert!(producer.try_push(&message(0, 8)).unwrap() && producer.try_push(&message(1, 8)).unwrap());
    let borrowed = consumer.borrow().unwrap().unwrap();
    assert_eq!(producer.make_room(8, false), Ok(1));
    assert!(consumer.release(&borrowed).is_err());
}

/// An evicting sender sends batches, and a receiver takes batches.
#[test]
fn batches_are_whole_in_order_and_each_loss_is_counted() {
    let total = count(400_000, 40) as u64;
    let ring = TestRing::new(4096, 0);
    let (mut producer, mut consumer) = ring.pair(20, 0);
    let sender = thread::spawn(move || {
        let mut random = Random(3);
        while producer.sent() < total {
            let first = producer.sent();
            let len = 8 + random.below(200) as usize;
            let messages: Vec<_> = (first..(first + 1 + random.below(6)).min(total))
                .map(|number| message(number, len))
                .collect();
            let pushed = producer.push_some(messages.iter().map(Vec::as_slice)).unwrap();
            if pushed < messages.len() {
                producer.make_room(len, random.below(8) == 0).unwrap();
            }
        }
        producer
    });
    let (mut bytes, mut ends) = (vec![0; 1024], Vec::new());
    let mut next = 0;
    while next < total {
        let popped = consumer.pop(&mut Several { bytes: &mut bytes, ends: &mut ends, limit: 8 }).unwrap();
        let Pop::Message(_) = popped else { continue };
        let mut start = 0;
        for &end in &ends {
            let number = number_of(&bytes[start..end]);
            assert!(number >= next, "out of order");
            (start, next) = (end, number + 1);
        }
    }
    let producer = sender.join().unwrap();
    assert_eq!(consumer.received() + consumer.lost(), total);
    assert_eq!(consumer.lost(), producer.evicted());
}
