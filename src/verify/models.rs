//! Models of the ring, the wake words and the handshake. The model checker (loom) runs each model in every order of the
//! accesses to shared memory, and with every value that a weak memory may return. Some models bound the number of
//! preemptions. The models run the real code, on the in-process platform of `one_process.rs`.
//!
//! `ci/models.sh` runs the models. `ci/mutants.sh` tests them: it puts one fault at a time into a copy of the code, and
//! expects a model to fail.
//!
//! Frames are multiples of one word here, so that any old payload word may be where a header is expected, which is the
//! worst case. With `--cfg xshm_full_frames` they are multiples of 64 bytes, as in a real build. With `--cfg
//! xshm_long_frames` each message of more than one word has a long frame. Payloads look like headers.

use super::test_ring::TestRing;
use crate::bytes::{Several, WORD};
use crate::channel::handshake::{ClientState, ClientWord, Requested};
use crate::channel::lifecycle::{Design, Lifecycle};
use crate::channel::{Channel, Kind, Peer};
use crate::connecting::{Ids, RequestStep, Requesting};
use crate::endpoint::Endpoint;
use crate::error::ShmError;
use crate::events::Events;
use crate::handles::EVENTS;
use crate::layout::{
    first_position, frame_header, frame_size, Direction, FrameHeader, FLAG_EVENTS, FLAG_REJECT, FRAME_ALIGN,
    LONGEST_ORDINARY,
};
use crate::options::{ServerOptions, Tuning};
use crate::ring::{Consumer, Pop, Producer};
use crate::session::Session;
use crate::shared::SharedView;
use crate::sync::{Arc, Ordering};
use crate::sys::{self, Clients, Event, Process, Section, Waitable};
use crate::waiting::{Deadline, Interrupter};
use crate::{ClientOptions, SharedClient, SharedServer};
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering as StdOrdering};
use std::sync::OnceLock;
use std::time::Duration;

/// Both sides are this process.
const IDS: Ids = Ids { own: 1, server: None };

/// Runs a model in every execution that has at most this number of preemptions (`None`: any number).
/// `LOOM_MAX_PREEMPTIONS` raises the bounds. `LOOM_MAX_DURATION` ends a model after that number of seconds.
fn check(name: &str, preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let executions = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions.map(|bound| bound.max(builder.preemption_bound.unwrap_or(0)));
    builder.max_branches = 50_000;
    let bound = builder.preemption_bound;
    let begun = std::time::Instant::now();
    builder.check(move || {
        counted.fetch_add(1, StdOrdering::Relaxed);
        model();
    });
    let (executions, bound) =
        (executions.load(StdOrdering::Relaxed), bound.map_or("any".to_owned(), |bound| bound.to_string()));
    println!("{name}: {executions} executions, {bound} preemptions, {:.1} s", begun.elapsed().as_secs_f32());
}

/// The length of a payload of one word, whose frame is the smallest one.
const SMALL: usize = WORD;
/// The length of a payload that reaches beyond the position where the next frame would start after a small one.
const WIDE: usize = FRAME_ALIGN as usize + if FRAME_ALIGN == 8 { WORD } else { 0 };
/// The capacity of the rings: four of the smallest frames, of which one stays free.
const CAPACITY: u64 = 4 * frame_size(SMALL);

/// Returns the `number`th message. Each of its words looks like the header of one of the next messages. If [`WIDE`] messages
/// have long frames, the words look like the headers and the lengths of such frames.
fn message(number: u64, len: usize) -> Vec<u8> {
    let word = |at| match (LONGEST_ORDINARY < WIDE, at % 2) {
        (false, _) => FrameHeader::new(FrameHeader::MESSAGE, SMALL, number + at).0,
        (true, 0) => FrameHeader::new(FrameHeader::LONG, 0, number + at).0,
        (true, _) => WIDE as u64,
    };
    (0..(len / WORD) as u64).flat_map(|at| word(at).to_ne_bytes()).collect()
}

/// Returns the number of a received message, and checks that the message is whole.
fn number_of(received: &[u8]) -> u64 {
    let first = u64::from_ne_bytes(received[..WORD].try_into().unwrap());
    let number = FrameHeader(first).sequence();
    assert_eq!(received, message(number, received.len()), "a torn message");
    number
}

/// A race between a producer and a consumer.
struct Race {
    /// The lengths of messages that are sent and taken before the race. They move the position where the race begins.
    before: &'static [usize],
    /// The number of messages that are queued when the race begins.
    queued: usize,
    /// The number of messages that the producer sends in the race.
    sends: usize,
    /// The number of times that the consumer tries to take a message in the race.
    takes: usize,
    /// The length of queued and sent messages.
    len: usize,
    limit: usize,
    /// Whether the sender of a full ring evicts. Otherwise a full ring refuses the message.
    evict: bool,
    /// Whether the room for one message may require that all queued messages are evicted.
    may_run_empty: bool,
}

impl Race {
    const PLAIN: Race = Race {
        before: &[],
        queued: 0,
        sends: 2,
        takes: 2,
        len: SMALL,
        limit: 9,
        evict: false,
        may_run_empty: false,
    };

    fn run(&self) {
        let ring = TestRing::new(CAPACITY, 1);
        let (mut producer, mut consumer) = ring.pair(self.limit, 1);
        for &len in self.before {
            assert_eq!(producer.try_push(&message(0, len)), Ok(true));
            assert!(take(&mut consumer).is_some());
        }
        let first = self.before.len() as u64;
        let (sends, len, evict) = (self.sends, self.len, self.evict);
        for number in first..first + self.queued as u64 {
            assert_eq!(producer.try_push(&message(number, len)), Ok(true));
        }
        let sender = thread::spawn(move || {
            for _ in 0..sends {
                let number = producer.sent();
                send(&mut producer, &message(number, len), evict);
            }
            producer
        });
        let mut received: Vec<u64> = Vec::new();
        for _ in 0..self.takes {
            match take(&mut consumer) {
                Some(number) => received.push(number),
                // After an eviction at least one other message is queued.
                None => assert!(
                    received.len() >= self.queued.min(1) || self.may_run_empty,
                    "the queue never was empty"
                ),
            }
        }
        let mut producer = sender.join().unwrap();
        while let Some(number) = take(&mut consumer) {
            received.push(number);
        }
        // Each message was received in order or evicted, never both, and the consumer knows each loss.
        assert!(received.windows(2).all(|pair| pair[0] < pair[1]), "out of order: {received:?}");
        assert_eq!(received.last().map_or(0, |last| last + 1), producer.sent());
        assert_eq!(received.len() as u64 + producer.evicted(), producer.sent() - first);
        assert_eq!(consumer.lost(), producer.evicted());
        assert_eq!(producer.queued(), Ok(0));
    }
}

/// Sends as an endpoint does.
fn send(producer: &mut Producer, message: &[u8], evict: bool) {
    if producer.try_push(message).expect("both sides follow the protocol") || !evict {
        return;
    }
    producer.make_room(message.len(), false).expect("both sides follow the protocol");
    assert_eq!(producer.try_push(message), Ok(true), "room was made");
}

fn take(consumer: &mut Consumer) -> Option<u64> {
    let mut received = Vec::new();
    loop {
        match consumer.pop(&mut received).expect("both sides follow the protocol") {
            Pop::Message(_) => return Some(number_of(&received)),
            Pop::Empty => return None,
            // An eviction of a long message ends the call.
            Pop::Busy if LONGEST_ORDINARY < WIDE => {}
            other => panic!("too few evictions for {other:?}"),
        }
    }
}

#[test]
fn push_and_pop() {
    check("push and pop", None, || Race { sends: 3, takes: 3, ..Race::PLAIN }.run());
}

#[test]
fn push_and_pop_of_many_words() {
    check("push and pop, wide", None, || Race { len: WIDE, takes: 3, ..Race::PLAIN }.run());
}

#[test]
fn a_pad_at_the_end_of_the_ring() {
    let race = Race { before: &[SMALL, SMALL, SMALL], len: WIDE, sends: 1, ..Race::PLAIN };
    check("wrap", None, move || race.run());
}

#[test]
fn a_pad_and_another_message_after_it() {
    let race = Race { before: &[SMALL, SMALL], len: WIDE, queued: 0, sends: 2, takes: 3, ..Race::PLAIN };
    check("wrap, two messages", None, move || race.run());
}

/// A race that begins with a full ring, so that evicted messages are overwritten at once.
const FULL: Race = Race { queued: 3, sends: 1, takes: 1, evict: true, ..Race::PLAIN };

#[test]
fn eviction_of_one() {
    check("evict 1", None, || FULL.run());
    check("evict 1, take 2", None, || Race { takes: 2, ..FULL }.run());
}

#[test]
fn eviction_of_two() {
    check("evict 2", None, || Race { sends: 2, takes: 2, ..FULL }.run());
}

#[test]
fn eviction_of_three() {
    check("evict 3", Some(3), || Race { sends: 3, takes: 2, ..FULL }.run());
}

#[test]
fn eviction_of_four() {
    check("evict 4", Some(3), || Race { sends: 4, takes: 4, ..FULL }.run());
}

#[test]
fn eviction_by_count() {
    check("evict by count", Some(3), || Race { queued: 2, sends: 3, takes: 2, limit: 2, ..FULL }.run());
}

#[test]
fn eviction_with_payload_over_old_headers() {
    let race = Race { before: &[WIDE], queued: 2, sends: 2, takes: 2, may_run_empty: true, ..FULL };
    check("evict, payload on headers", None, move || race.run());
}

#[test]
fn eviction_around_a_pad() {
    let race = Race {
        before: &[SMALL, SMALL],
        len: WIDE,
        queued: 1,
        sends: 2,
        takes: 2,
        may_run_empty: true,
        ..FULL
    };
    check("evict around a pad", Some(3), move || race.run());
}

/// The payload of a small message overwrites the second word of a wide one, which is the length in a long frame.
#[test]
fn eviction_of_a_wide_message_by_small_ones() {
    check("evict wide by small", Some(3), || {
        let ring = TestRing::new(CAPACITY, 1);
        let (mut producer, mut consumer) = ring.pair(9, 1);
        for number in 0..2 {
            assert_eq!(producer.try_push(&message(number, SMALL)), Ok(true));
            assert_eq!(take(&mut consumer), Some(number));
        }
        assert_eq!(producer.try_push(&message(2, WIDE)), Ok(true));
        let sender = thread::spawn(move || {
            for number in 3..6 {
                send(&mut producer, &message(number, SMALL), true);
            }
            producer
        });
        let mut received = Vec::from_iter(take(&mut consumer));
        let mut producer = sender.join().unwrap();
        received.extend(std::iter::from_fn(|| take(&mut consumer)));
        assert!(received.windows(2).all(|pair| pair[0] < pair[1]), "out of order: {received:?}");
        assert_eq!(received.last(), Some(&5));
        assert_eq!(received.len() as u64 + producer.evicted(), 4);
        assert_eq!((consumer.lost(), producer.queued()), (producer.evicted(), Ok(0)));
    });
}

/// Takes up to two messages at once.
fn take_two(consumer: &mut Consumer) -> Vec<u64> {
    let (mut bytes, mut ends) = (vec![0; 2 * WIDE], Vec::new());
    let mut several = Several { bytes: &mut bytes, ends: &mut ends, limit: 2 };
    match consumer.pop(&mut several).expect("both sides follow the protocol") {
        Pop::Message(_) => {
            let starts = [0].into_iter().chain(ends.iter().copied());
            starts.zip(ends.iter().copied()).map(|(start, end)| number_of(&bytes[start..end])).collect()
        }
        Pop::Empty => Vec::new(),
        other => panic!("too few evictions for {other:?}"),
    }
}

/// Sends and takes batches. Checks that messages which are taken together are whole and not evicted too.
fn batches(queued: u64, sends: u64, evict: bool) {
    let ring = TestRing::new(CAPACITY, 1);
    let (mut producer, mut consumer) = ring.pair(9, 1);
    for number in 0..queued {
        assert_eq!(producer.try_push(&message(number, SMALL)), Ok(true));
    }
    let sender = thread::spawn(move || {
        let messages: Vec<_> = (queued..queued + sends).map(|number| message(number, SMALL)).collect();
        let pushed =
            producer.push_some(messages.iter().map(Vec::as_slice)).expect("both sides follow the protocol");
        for message in &messages[pushed..] {
            send(&mut producer, message, evict);
        }
        producer
    });
    let mut received = take_two(&mut consumer);
    received.extend(take_two(&mut consumer));
    let mut producer = sender.join().unwrap();
    loop {
        let taken = take_two(&mut consumer);
        if taken.is_empty() {
            break;
        }
        received.extend(taken);
    }
    assert!(received.windows(2).all(|pair| pair[0] < pair[1]), "out of order: {received:?}");
    assert_eq!(received.last().map_or(0, |last| last + 1), producer.sent());
    assert_eq!(received.len() as u64 + producer.evicted(), producer.sent());
    assert_eq!(consumer.lost(), producer.evicted());
    assert_eq!(producer.queued(), Ok(0));
}

#[test]
fn a_batch_is_taken_while_another_is_sent() {
    check("batches", None, || batches(0, 2, false));
    check("batches, queued", None, || batches(1, 2, false));
}

#[test]
fn a_batch_is_taken_or_evicted() {
    check("batch, evict 1", None, || batches(3, 1, true));
    check("batch, evict 2", Some(3), || batches(3, 2, true));
}

#[test]
fn a_message_written_in_place_arrives_whole() {
    check("reserve", None, || {
        let ring = TestRing::new(CAPACITY, 1);
        let (mut producer, mut consumer) = ring.pair(9, 1);
        // After the first message, the producer has zeroed header words ahead of its position.
        assert_eq!(producer.try_push(&message(0, SMALL)), Ok(true));
        assert_eq!(take(&mut consumer), Some(0));
        let sender = thread::spawn(move || {
            for number in 1..3 {
                // A place that is not committed. What is written to it looks like the header that the consumer expects
                // at the end of the next frame.
                let place = producer.reserve(WIDE).unwrap().expect("there's room");
                producer.words().write_part(place.payload(), &message(number, WIDE));
                if number == 1 {
                    assert_eq!(producer.try_push(&message(number, SMALL)), Ok(true));
                } else {
                    let place = producer.reserve(SMALL).unwrap().expect("there's room");
                    producer.words().write_part(place.payload(), &message(number, SMALL));
                    assert!(producer.commit(place));
                }
            }
        });
        let mut received: Vec<_> = (0..2).filter_map(|_| take(&mut consumer)).collect();
        sender.join().unwrap();
        received.extend(std::iter::from_fn(|| take(&mut consumer)));
        assert_eq!(received, [1, 2]);
    });
}

#[test]
fn a_full_ring_refuses_while_it_is_emptied() {
    check("try", None, || Race { queued: 2, sends: 2, takes: 2, limit: 2, ..Race::PLAIN }.run());
}

#[test]
fn a_full_ring_by_bytes_refuses_while_it_is_emptied() {
    check("try by bytes", None, || Race { queued: 3, sends: 2, takes: 2, ..Race::PLAIN }.run());
}

#[test]
fn a_peek_is_correct_during_evictions() {
    check("peek", Some(4), || {
        let ring = TestRing::new(CAPACITY, 1);
        let (mut producer, mut consumer) = ring.pair(2, 1);
        for number in 0..2 {
            assert_eq!(producer.try_push(&message(number, SMALL)), Ok(true));
        }
        let sender = thread::spawn(move || {
            for number in 2..4 {
                send(&mut producer, &message(number, SMALL), true);
            }
            producer
        });
        assert_eq!(consumer.pop(&mut &mut [0; 1][..]), Ok(Pop::TooSmall(SMALL)));
        assert_eq!(consumer.peek(), Ok(Some(true)));
        assert!(consumer.queued(9) <= 4);
        sender.join().unwrap();
    });
}

#[test]
fn a_reported_size_is_the_size_of_a_real_message() {
    check("size", None, || {
        let ring = TestRing::new(CAPACITY, 1);
        let (mut producer, mut consumer) = ring.pair(9, 1);
        for number in 0..3 {
            assert_eq!(producer.try_push(&message(number, SMALL)), Ok(true));
        }
        assert_eq!(take(&mut consumer), Some(0));
        let sender = thread::spawn(move || {
            // This message goes to the start of the ring. One of its words overwrites the header of message 1, and
            // looks like that header, but with another size.
            let mut wide = message(3, WIDE);
            let at = (frame_size(SMALL) - frame_header(WIDE)) as usize;
            let forged = FrameHeader::new(FrameHeader::MESSAGE, SMALL / 2, 1).0;
            wide[at..at + WORD].copy_from_slice(&forged.to_ne_bytes());
            send(&mut producer, &wide, true);
        });
        let size = consumer.pop(&mut &mut [0; 1][..]);
        // If frames are large, the room for the message may require that all queued messages are evicted.
        let none = size == Ok(Pop::Empty) && 2 * frame_size(SMALL) < frame_size(WIDE) + FRAME_ALIGN;
        assert!(matches!(size, Ok(Pop::TooSmall(SMALL | WIDE))) || none, "{size:?}");
        sender.join().unwrap();
    });
}

/// loom can't execute a load after a later compare-exchange, as a processor may. But it checks whether two accesses
/// to a cell are ordered. So a cell stands for the first message's memory. The consumer reads the cell before it
/// takes the message, and the producer writes it before it puts the next message there. The first message is large,
/// so that one compare-exchange frees all the memory. If two were needed, the fence that loom needs after each of
/// them (`look_barrier`) would order the accesses, even if the first compare-exchange did not.
#[test]
fn a_place_is_reused_after_its_message_was_copied_out() {
    for (name, rejects) in [("reuse", false), ("reuse, taken by a store", true)] {
        check(name, None, move || reuse(rejects));
    }
}

fn reuse(rejects: bool) {
    let ring = if rejects { TestRing::rejecting(CAPACITY, 1) } else { TestRing::new(CAPACITY, 1) };
    let (mut producer, mut consumer) = ring.pair(9, 1);
    let cell = Arc::new(UnsafeCell::new(0_u64));
    let reused = cell.clone();
    assert_eq!(producer.try_push(&message(0, WIDE)), Ok(true));
    let mut end = frame_size(WIDE);
    while producer.try_push(&message(producer.sent(), SMALL)) == Ok(true) {
        end += frame_size(SMALL);
    }
    let sender = thread::spawn(move || {
        for _ in 0..2 {
            if producer.has_room(SMALL) == Ok(true) {
                let left = CAPACITY - end % CAPACITY;
                let start = if left < frame_size(SMALL) { end + left } else { end };
                if start % CAPACITY == 0 {
                    // SAFETY: loom checks that no other thread accesses the cell. That is what the model shows.
                    reused.with_mut(|cell| unsafe { *cell = 1 });
                }
                assert_eq!(producer.try_push(&message(producer.sent(), SMALL)), Ok(true));
                end = start + frame_size(SMALL);
            }
        }
    });
    assert_eq!(consumer.peek(), Ok(Some(true)));
    // SAFETY: as above.
    cell.with(|cell| assert_eq!(unsafe { *cell }, 0));
    assert_eq!(take(&mut consumer), Some(0));
    sender.join().unwrap();
}

#[test]
fn an_old_consumer_takes_nothing_from_a_new_generation() {
    check("old consumer", None, || {
        let ring = TestRing::new(CAPACITY, 1);
        let (mut producer, mut old) = ring.pair(9, 1);
        assert_eq!(producer.try_push(&message(0, SMALL)), Ok(true));
        let late = thread::spawn(move || drop(old.pop(&mut Vec::new())));
        // An atomic exchange, since loom does not order a plain store after the other thread's compare-exchange that
        // the store overwrites. With a store, loom would report executions that are impossible.
        ring.header().read_pos.swap(first_position(2), Ordering::AcqRel);
        ring.ring().reset(2);
        let (mut producer, mut consumer) = ring.pair(9, 2);
        for number in 0..2 {
            assert_eq!(producer.try_push(&message(number, SMALL)), Ok(true));
        }
        assert_eq!(take(&mut consumer), Some(0));
        late.join().unwrap();
        assert_eq!((take(&mut consumer), take(&mut consumer)), (Some(1), None));
        assert_eq!(producer.queued(), Ok(0));
    });
}

/// Runs [`check`] twice, for models in which a side sleeps until there is a message or room. In the first run, a wait
/// takes the signal that ends it, as on Windows. In the second run, the signal stays until the next wait, as on
/// Linux.
fn check_waits(name: &str, preemptions: Option<usize>, model: impl Fn() + Send + Sync + Copy + 'static) {
    for (leave, when) in [(false, "at once"), (true, "later")] {
        sys::leave_signals(leave);
        check(&format!("{name}, signals taken {when}"), preemptions, model);
    }
}

/// Returns a tuning without spinning, so that every wait is a sleep.
fn tuning() -> Tuning {
    static TUNING: OnceLock<Tuning> = OnceLock::new();
    TUNING.get_or_init(|| ServerOptions::new().spin(Duration::ZERO).tuning).clone()
}

/// A channel before any handshake: its server, and what a client needs to open it.
struct Fixture {
    server: SharedServer,
    raw: isize,
    events: [Event; EVENTS],
}

impl Fixture {
    fn new(limit: usize) -> Self {
        Self::with_flags(limit, FLAG_EVENTS)
    }

    fn with_flags(limit: usize, flags: u32) -> Self {
        let options = ServerOptions::new().ring_size(CAPACITY as usize).message_limit(limit);
        let geometry = options.geometry().unwrap();
        let section = Section::create(geometry.section_size()).unwrap();
        let raw = section.as_raw();
        let events: [Event; EVENTS] = std::array::from_fn(|_| Event::auto_reset());
        let view = SharedView::create(section, geometry, flags, 1).unwrap();
        let mut tuning = tuning();
        tuning.interrupt().unwrap();
        let kind = Kind::Anonymous(None);
        let channel = Channel::new(kind, view, Some(Events::new(events.clone())), tuning.clone()).unwrap();
        let design = Design { geometry, flags, tuning, clients: Clients::One };
        Fixture { server: SharedServer::new(Lifecycle::anonymous(channel, design)).unwrap(), raw, events }
    }

    /// Opens the section for a client. The section must still exist: open all views before the server is dropped.
    fn view(&self) -> (SharedView, Events) {
        let view = SharedView::open(Section::duplicate(self.raw).unwrap()).unwrap();
        (view, Events::new(self.events.clone()))
    }

    /// Returns the server and the client of a session. One thread does the whole handshake, so that it has no race.
    fn connected(limit: usize) -> (SharedServer, Endpoint, [Event; EVENTS]) {
        Self::connect(Fixture::new(limit))
    }

    fn connect(fixture: Fixture) -> (SharedServer, Endpoint, [Event; EVENTS]) {
        let (view, events) = fixture.view();
        let channel = Arc::new(Channel::new(Kind::Client, view, Some(events), tuning()).unwrap());
        let mut client = Endpoint::new(channel.interrupt.clone());
        let request = channel.client_word().next_request(1);
        channel.view.control().client_state.store(request.0, Ordering::Release);
        let Fixture { mut server, events, .. } = fixture;
        server.wait_for_client(Some(Duration::ZERO)).unwrap();
        let ready = request.in_state(ClientState::Ready);
        let generation = server.stats().unwrap().generation;
        let peer = Peer::open(Process::open(1), "the server's", 1, &tuning()).unwrap().unwrap();
        client.begin(Session::new(channel, ready, generation, peer, Event::local().unwrap()).into());
        (server, client, events)
    }
}

/// Receives the next message and returns its number.
fn receive(client: &Endpoint) -> crate::Result<u64> {
    let mut buffer = Vec::new();
    client.receiver(|receiver| receiver.receive(&mut buffer)).map(|_| number_of(&buffer))
}

/// Sends the messages of these numbers from another thread, which returns the server.
fn sending(server: SharedServer, numbers: std::ops::Range<u64>) -> thread::JoinHandle<SharedServer> {
    thread::spawn(move || {
        for number in numbers {
            server.send_to_client(&message(number, SMALL)).unwrap();
        }
        server
    })
}

fn receive_from_client(server: &SharedServer) -> crate::Result<u64> {
    let mut buffer = Vec::new();
    server.receive_from_client(&mut buffer).map(|_| number_of(&buffer))
}

#[test]
fn a_sleeper_is_woken_by_a_message() {
    check_waits("sleep", None, || {
        let (server, client, _) = Fixture::connected(2);
        let sender = sending(server, 0..1);
        assert_eq!(receive(&client), Ok(0));
        let server = sender.join().unwrap();
        assert!(server.stats().unwrap().signals <= 1);
    });
}

#[test]
fn each_sleep_is_woken() {
    check_waits("sleep twice", Some(3), || {
        let (server, client, _) = Fixture::connected(2);
        let sender = sending(server, 0..2);
        assert_eq!((receive(&client), receive(&client)), (Ok(0), Ok(1)));
        let server = sender.join().unwrap();
        assert!(server.stats().unwrap().signals <= 2);
    });
}

/// Receives as an event loop does: it arms the receiver, then waits for its event.
fn receive_by_arming(client: &Endpoint, data: &Event) -> crate::Result<u64> {
    let mut buffer = Vec::new();
    client.receiver(|receiver| loop {
        match receiver.try_receive(&mut buffer) {
            Err(ShmError::QueueEmpty) => {}
            other => return other.map(|_| number_of(&buffer)),
        }
        if !receiver.arm()? {
            sys::wait_any(&[Waitable::Event(data)], None)?;
            receiver.disarm()?;
        }
    })
}

#[test]
fn an_event_loop_is_woken_after_an_earlier_sleep() {
    check_waits("sleep, arm", Some(3), || {
        let (server, client, events) = Fixture::connected(2);
        let sender = sending(server, 0..2);
        assert_eq!(receive(&client), Ok(0));
        let data = &events[Direction::ServerToClient as usize];
        assert_eq!(receive_by_arming(&client, data), Ok(1));
        let server = sender.join().unwrap();
        assert!(server.stats().unwrap().signals <= 2);
    });
}

/// Sends as an event loop does: it arms the sender, then waits for its event.
fn send_by_arming(server: &mut SharedServer, number: u64, space: &Event) {
    let (sender, _) = server.split().unwrap();
    let sent = (|| loop {
        match sender.try_send(&message(number, SMALL)) {
            Err(ShmError::QueueFull) => {}
            other => return other,
        }
        if !sender.arm(SMALL)? {
            sys::wait_any(&[Waitable::Event(space)], None)?;
            sender.disarm()?;
        }
    })();
    sent.unwrap();
}

#[test]
fn an_event_loop_is_woken_when_there_is_room() {
    check_waits("room, arm", Some(3), || {
        let (mut server, client, events) = Fixture::connected(1);
        let space = events[2 + Direction::ServerToClient as usize].clone();
        let sender = thread::spawn(move || {
            (0..2).for_each(|number| send_by_arming(&mut server, number, &space));
            server
        });
        for number in 0..2 {
            assert_eq!(receive(&client), Ok(number));
        }
        sender.join().unwrap();
    });
}

#[test]
fn a_sleeper_is_woken_by_a_batch() {
    check_waits("sleep, batch", Some(3), || {
        let (mut server, client, _) = Fixture::connected(2);
        let sender = thread::spawn(move || {
            let (sender, _) = server.split().unwrap();
            assert_eq!(sender.try_send_batch(&[message(0, SMALL), message(1, SMALL)]), Ok(2));
            server
        });
        assert_eq!((receive(&client), receive(&client)), (Ok(0), Ok(1)));
        let server = sender.join().unwrap();
        assert!(server.stats().unwrap().signals <= 1);
    });
}

#[test]
fn a_stale_signal_neither_is_nor_hides_a_message() {
    check_waits("stale signal", Some(3), || {
        let (server, client, events) = Fixture::connected(2);
        events[Direction::ServerToClient as usize].set();
        let sender = sending(server, 0..1);
        assert_eq!(receive(&client), Ok(0));
        sender.join().unwrap();
    });
}

#[test]
fn a_sleeper_whose_messages_are_evicted_receives_the_last() {
    check_waits("sleep, overwriting", Some(3), || {
        let (server, client, _) = Fixture::connected(1);
        let sender = sending(server, 0..2);
        while receive(&client).unwrap() != 1 {}
        sender.join().unwrap();
    });
}

#[test]
fn a_receiver_whose_wait_timed_out_misses_no_message() {
    check_waits("timeout", Some(2), || {
        let (server, client, _) = Fixture::connected(2);
        let sender = sending(server, 0..2);
        let mut buffer = Vec::new();
        let short = Some(Duration::from_millis(1));
        let first = client.receiver(|receiver| receiver.receive_timeout(&mut buffer, short));
        assert!(matches!(first, Ok(SMALL) | Err(ShmError::Timeout)), "{first:?}");
        let next = u64::from(first.is_ok());
        for number in next..2 {
            assert_eq!(receive(&client), Ok(number));
        }
        sender.join().unwrap();
    });
}

#[test]
fn a_poll_sleeps_and_is_woken() {
    check_waits("poll", None, || {
        let (server, client, _) = Fixture::connected(2);
        let sender = sending(server, 0..1);
        assert_eq!(client.receiver(|receiver| receiver.poll(None)), Ok(true));
        let mut buffer = Vec::new();
        assert_eq!(client.receiver(|receiver| receiver.try_receive(&mut buffer)), Ok(SMALL));
        sender.join().unwrap();
    });
}

#[test]
fn a_sender_that_sleeps_for_room_is_woken() {
    check_waits("space", None, || {
        let (server, client, _) = Fixture::connected(1);
        server.send_to_client(&message(0, SMALL)).unwrap();
        let sender = thread::spawn(move || {
            server.send_to_client_timeout(&message(1, SMALL), None).unwrap();
            server
        });
        assert_eq!(receive(&client), Ok(0));
        let server = sender.join().unwrap();
        assert_eq!(receive(&client), Ok(1));
        drop(server);
    });
}

/// A session whose client has taken messages 0 and 1 without a sleep, and so promises not to sleep.
fn promised() -> (SharedServer, Endpoint, [Event; EVENTS]) {
    let (server, client, events) = Fixture::connected(3);
    for number in 0..2 {
        server.send_to_client(&message(number, SMALL)).unwrap();
        assert_eq!(receive(&client), Ok(number));
    }
    (server, client, events)
}

/// The race is between the withdrawal and the next message, whose sender may read the promise and omit the fence.
#[test]
fn a_sleeper_that_had_promised_not_to_sleep_is_woken() {
    check_waits("promise", None, || {
        let (server, client, _) = promised();
        let sender = sending(server, 2..3);
        assert_eq!(receive(&client), Ok(2));
        sender.join().unwrap();
    });
}

#[test]
fn a_sleeper_that_had_promised_is_woken_twice() {
    check_waits("promise, twice", Some(3), || {
        let (server, client, _) = promised();
        let sender = sending(server, 2..4);
        assert_eq!((receive(&client), receive(&client)), (Ok(2), Ok(3)));
        sender.join().unwrap();
    });
}

/// As above, with a program that waits by blocking calls first and in its own event loop then.
#[test]
fn an_event_loop_after_a_promise_is_woken() {
    check_waits("promise, arm", Some(3), || {
        let (server, client, events) = promised();
        let sender = sending(server, 2..3);
        let data = &events[Direction::ServerToClient as usize];
        assert_eq!(receive_by_arming(&client, data), Ok(2));
        sender.join().unwrap();
    });
}

/// A channel that rejects: its receiver takes messages by a store.
fn rejecting(limit: usize) -> (SharedServer, Endpoint, [Event; EVENTS]) {
    Fixture::connect(Fixture::with_flags(limit, FLAG_EVENTS | FLAG_REJECT))
}

#[test]
fn a_sender_that_sleeps_for_room_is_woken_by_a_store() {
    check_waits("space, rejecting", None, || {
        let (server, client, _) = rejecting(1);
        server.send_to_client(&message(0, SMALL)).unwrap();
        let sender = thread::spawn(move || {
            server.send_to_client_timeout(&message(1, SMALL), None).unwrap();
            server
        });
        assert_eq!(receive(&client), Ok(0));
        let server = sender.join().unwrap();
        assert_eq!(receive(&client), Ok(1));
        drop(server);
    });
}

#[test]
fn a_sender_that_had_promised_not_to_sleep_is_woken() {
    check_waits("space, promise", Some(3), || {
        let (server, client, _) = rejecting(1);
        for number in 0..2 {
            server.send_to_client_timeout(&message(number, SMALL), None).unwrap();
            assert_eq!(receive(&client), Ok(number));
        }
        server.send_to_client_timeout(&message(2, SMALL), None).unwrap();
        let sender = thread::spawn(move || {
            server.send_to_client_timeout(&message(3, SMALL), None).unwrap();
            server
        });
        assert_eq!(receive(&client), Ok(2));
        let server = sender.join().unwrap();
        assert_eq!(receive(&client), Ok(3));
        drop(server);
    });
}

#[test]
fn messages_of_a_rejecting_channel_are_taken_whole_by_stores() {
    check("taken by stores", None, || {
        let ring = TestRing::rejecting(CAPACITY, 1);
        let (mut producer, mut consumer) = ring.pair(9, 1);
        for number in 0..2 {
            assert_eq!(producer.try_push(&message(number, SMALL)), Ok(true));
        }
        let sender = thread::spawn(move || {
            let mut sent = 2;
            for _ in 0..3 {
                sent += u64::from(producer.try_push(&message(sent, SMALL)) == Ok(true));
            }
            (producer, sent)
        });
        let mut received: Vec<_> = (0..3).filter_map(|_| take(&mut consumer)).collect();
        let (mut producer, sent) = sender.join().unwrap();
        received.extend(std::iter::from_fn(|| take(&mut consumer)));
        assert_eq!(received, Vec::from_iter(0..sent));
        assert_eq!(producer.queued(), Ok(0));
    });
}

#[test]
fn both_ends_sleep_in_turn() {
    check_waits("data and space", Some(2), || {
        let (server, client, _) = Fixture::connected(1);
        let sender = thread::spawn(move || {
            for number in 0..2 {
                server.send_to_client_timeout(&message(number, SMALL), None).unwrap();
            }
            server
        });
        assert_eq!((receive(&client), receive(&client)), (Ok(0), Ok(1)));
        sender.join().unwrap();
    });
}

/// Spawns a thread that may borrow local variables.
///
/// # Safety
/// The caller joins the thread before the borrowed values end.
unsafe fn spawn_borrowing<'a, T: 'static>(work: impl FnOnce() -> T + 'a) -> thread::JoinHandle<T> {
    let work: Box<dyn FnOnce() -> T + 'a> = Box::new(work);
    // SAFETY: only the lifetime changes, and the caller joins the thread within the real lifetime.
    let work: Box<dyn FnOnce() -> T + 'static> = unsafe { std::mem::transmute(work) };
    thread::spawn(work)
}

#[test]
fn two_halves_sleep_on_one_word() {
    check_waits("two sleepers", Some(2), || {
        let (server, mut client, _) = Fixture::connected(1);
        client.sender(|sender| sender.send(&message(0, SMALL))).unwrap();
        let peer = thread::spawn(move || {
            server.send_to_client(&message(0, SMALL)).unwrap();
            assert_eq!(receive_from_client(&server), Ok(0));
            server
        });
        let (sender, receiver) = client.split().unwrap();
        // SAFETY: this closure joins the thread below.
        let second = unsafe { spawn_borrowing(move || sender.send_timeout(&message(1, SMALL), None)) };
        let mut buffer = Vec::new();
        assert_eq!(receiver.receive(&mut buffer), Ok(SMALL));
        second.join().unwrap().unwrap();
        let server = peer.join().unwrap();
        assert_eq!(receive_from_client(&server), Ok(1));
    });
}

#[test]
fn both_halves_report_that_the_peer_left() {
    check_waits("two sleepers, peer leaves", Some(2), || {
        let (server, mut client, _) = Fixture::connected(1);
        client.sender(|sender| sender.send(&message(0, SMALL))).unwrap();
        let peer = thread::spawn(move || drop(server));
        let (sender, receiver) = client.split().unwrap();
        // SAFETY: this closure joins the thread below.
        let second = unsafe { spawn_borrowing(move || sender.send_timeout(&message(1, SMALL), None)) };
        assert_eq!(receiver.receive(&mut Vec::new()), Err(ShmError::NotConnected));
        assert_eq!(second.join().unwrap(), Err(ShmError::NotConnected));
        peer.join().unwrap();
    });
}

#[test]
fn messages_sent_before_the_server_leaves_are_received() {
    check_waits("server leaves", Some(3), || {
        let (server, client, _) = Fixture::connected(2);
        let sender = thread::spawn(move || {
            server.send_to_client(&message(0, SMALL)).unwrap();
        });
        assert_eq!(receive(&client), Ok(0));
        assert_eq!(receive(&client), Err(ShmError::NotConnected));
        sender.join().unwrap();
    });
}

#[test]
fn messages_sent_before_the_client_leaves_are_received() {
    check_waits("client leaves", Some(3), || {
        let (server, client, _) = Fixture::connected(2);
        let sender = thread::spawn(move || {
            client.sender(|sender| sender.send(&message(0, SMALL))).unwrap();
        });
        assert_eq!(receive_from_client(&server), Ok(0));
        assert_eq!(receive_from_client(&server), Err(ShmError::NotConnected));
        sender.join().unwrap();
    });
}

#[test]
fn a_receiver_that_never_waits_gets_the_last_message_too() {
    check("client leaves, no waiting", None, || {
        let (server, client, _) = Fixture::connected(2);
        let sender = thread::spawn(move || {
            client.sender(|sender| sender.send(&message(0, SMALL))).unwrap();
        });
        let mut buffer = Vec::new();
        match server.try_receive_from_client(&mut buffer) {
            Ok(_) => assert_eq!(number_of(&buffer), 0),
            Err(error) => assert_eq!(error, ShmError::QueueEmpty, "the message must come first"),
        }
        sender.join().unwrap();
    });
}

#[test]
fn messages_sent_before_a_disconnect_are_received() {
    check_waits("disconnect", Some(3), || {
        let (mut server, client, _) = Fixture::connected(2);
        let sender = thread::spawn(move || {
            server.send_to_client(&message(0, SMALL)).unwrap();
            server.disconnect_client();
            assert_eq!(server.send_to_client(&message(1, SMALL)), Err(ShmError::NotConnected));
            server
        });
        assert_eq!(receive(&client), Ok(0));
        assert_eq!(receive(&client), Err(ShmError::NotConnected));
        let mut server = sender.join().unwrap();
        // The client has not released the channel.
        assert_eq!(server.wait_for_client(Some(Duration::ZERO)), Err(ShmError::Timeout));
        assert_eq!(client.session().unwrap().channel.client_word().state(), Some(ClientState::Ended));
        drop(client);
        assert_eq!(server.wait_for_client(Some(Duration::ZERO)), Err(ShmError::Timeout));
    });
}

/// Exports the events, and receives the next message as a native waiter does: it sets no bit, and waits before it tries.
fn receive_natively(client: &Endpoint, events: &[Event; EVENTS]) -> u64 {
    let session = client.session().unwrap();
    session.channel.export(|| session.have_every_message_signalled()).unwrap();
    let data = &events[Direction::ServerToClient as usize];
    let mut buffer = Vec::new();
    loop {
        sys::wait_any(&[Waitable::Event(data)], None).unwrap();
        if client.receiver(|receiver| receiver.try_receive(&mut buffer)).is_ok() {
            return number_of(&buffer);
        }
    }
}

#[test]
fn a_native_waiter_is_signalled_for_every_message() {
    check_waits("export", None, || {
        let (server, client, events) = Fixture::connected(2);
        let sender = sending(server, 0..1);
        assert_eq!(receive_natively(&client, &events), 0);
        sender.join().unwrap();
    });
}

/// The native waiter cannot bound its sleep: the promise ends before the events are signalled once.
#[test]
fn a_native_waiter_is_signalled_after_a_promise() {
    check_waits("promise, export", Some(3), || {
        let (server, client, events) = promised();
        let sender = sending(server, 2..3);
        assert_eq!(receive_natively(&client, &events), 2);
        sender.join().unwrap();
    });
}

/// Asks for a session as a blocking call does.
fn request(
    view: SharedView, events: Events, deadline: Deadline, options: &ClientOptions,
) -> crate::Result<Requested<Session>> {
    let begun = Requesting::begin(view, Some(events), None, IDS, deadline, options)?;
    let mut requesting = begun.expect("the server's process runs");
    loop {
        requesting = match requesting.step()? {
            RequestStep::Done(requested) => return Ok(requested),
            RequestStep::Waits(requesting) => requesting,
        };
        requesting.wait_set().wait(deadline)?;
    }
}

/// Connects as a client that has found the section. A client whose `patience` ends returns an error.
fn connect(view: SharedView, events: Events, patience: Option<Duration>) -> crate::Result<SharedClient> {
    static OPTIONS: OnceLock<ClientOptions> = OnceLock::new();
    let options = OPTIONS.get_or_init(|| ClientOptions::new().spin(Duration::ZERO));
    let deadline = Deadline::after(patience);
    match request(view, events, deadline, options)? {
        Requested::Accepted(session) => Ok(SharedClient::connected(session, None)),
        _ => panic!("the server is there"),
    }
}

/// Checks that the server and the client are in the same session, and that a message arrives.
fn assert_connected(server: &SharedServer, client: &SharedClient) {
    assert_eq!(server.stats().unwrap().generation, client.stats().unwrap().generation);
    server.send_to_client(&message(7, SMALL)).unwrap();
    let mut buffer = Vec::new();
    assert_eq!(client.try_receive_from_server(&mut buffer), Ok(SMALL));
    assert_eq!(number_of(&buffer), 7);
}

#[test]
fn a_client_that_waits_is_accepted() {
    check("handshake", None, || {
        let mut fixture = Fixture::new(2);
        let (view, events) = fixture.view();
        let client = thread::spawn(move || connect(view, events, None).unwrap());
        fixture.server.wait_for_client(None).unwrap();
        assert_connected(&fixture.server, &client.join().unwrap());
    });
}

#[test]
fn messages_sent_right_after_connecting_are_received() {
    check_waits("handshake and a message", Some(3), || {
        let mut fixture = Fixture::new(2);
        let (view, events) = fixture.view();
        let client = thread::spawn(move || {
            let client = connect(view, events, None).unwrap();
            client.send_to_server(&message(3, SMALL)).unwrap();
            client
        });
        fixture.server.wait_for_client(None).unwrap();
        assert_eq!(receive_from_client(&fixture.server), Ok(3));
        drop(client.join().unwrap());
    });
}

#[test]
fn a_withdrawal_and_an_acceptance_exclude_each_other() {
    for patience in [Duration::ZERO, Duration::from_millis(1)] {
        check("withdrawal", None, move || {
            let mut fixture = Fixture::new(2);
            let (view, events) = fixture.view();
            let client = thread::spawn(move || connect(view, events, Some(patience)));
            let accepted = (0..2).any(|_| fixture.server.wait_for_client(Some(Duration::ZERO)).is_ok());
            match client.join().unwrap() {
                Ok(client) => {
                    assert!(accepted, "only the client is connected");
                    assert_connected(&fixture.server, &client);
                }
                Err(error) => {
                    assert!(!accepted, "only the server is connected");
                    assert_eq!(error, ShmError::Timeout);
                }
            }
        });
    }
}

#[test]
fn of_two_clients_one_is_accepted() {
    check("two clients", Some(3), || {
        let mut fixture = Fixture::new(2);
        // One client gives up at once. The other checks once more before it gives up.
        let clients = [(Duration::ZERO, fixture.view()), (Duration::from_millis(1), fixture.view())]
            .map(|(patience, (view, events))| thread::spawn(move || connect(view, events, Some(patience))));
        let accepted = (0..2).any(|_| fixture.server.wait_for_client(Some(Duration::ZERO)).is_ok());
        let clients = clients.map(|client| client.join().unwrap());
        let mut connected = clients.iter().flatten();
        match (accepted, connected.next()) {
            (true, Some(client)) => assert_connected(&fixture.server, client),
            (false, None) => {}
            (server, client) => panic!("server connected: {server}; client connected: {}", client.is_some()),
        }
        assert!(connected.next().is_none(), "two clients are connected");
    });
}

#[test]
fn a_request_on_a_busy_channel_changes_nothing() {
    check("a request meanwhile", Some(2), || {
        let mut fixture = Fixture::new(2);
        let (view, events) = fixture.view();
        let patient = thread::spawn(move || connect(view, events, None).unwrap());
        let (view, events) = fixture.view();
        let hasty = thread::spawn(move || {
            // Request only after the other client has requested.
            if ClientWord(view.control().client_state.load(Ordering::Acquire)).is_free() {
                return;
            }
            // Whether the server has accepted the other client, or not yet answered it.
            let error = connect(view, events, Some(Duration::ZERO)).err();
            assert!(matches!(error, Some(ShmError::AlreadyConnected | ShmError::Timeout)), "{error:?}");
        });
        fixture.server.wait_for_client(None).unwrap();
        hasty.join().unwrap();
        assert_connected(&fixture.server, &patient.join().unwrap());
    });
}

#[test]
fn the_next_client_connects_when_one_leaves() {
    check_waits("the next client", Some(2), || {
        let fixture = Fixture::new(2);
        let views = [fixture.view(), fixture.view()];
        let Fixture { mut server, .. } = fixture;
        let [first, second] = views;
        let first = thread::spawn(move || {
            let client = connect(first.0, first.1, None).unwrap();
            client.send_to_server(&message(1, SMALL)).unwrap();
            drop(client);
            connect(second.0, second.1, None).unwrap()
        });
        server.wait_for_client(None).unwrap();
        assert_eq!(receive_from_client(&server), Ok(1));
        assert_eq!(receive_from_client(&server), Err(ShmError::NotConnected));
        server.wait_for_client(None).unwrap();
        let client = first.join().unwrap();
        assert_eq!(client.stats().unwrap().generation, 2);
        assert_connected(&server, &client);
    });
}

#[test]
fn a_request_is_answered_when_the_server_leaves() {
    check("server leaves a request", None, || {
        let fixture = Fixture::new(2);
        let (view, events) = fixture.view();
        let client = thread::spawn(move || {
            let options = ClientOptions::new().spin(Duration::ZERO);
            request(view, events, Deadline::NEVER, &options)
        });
        drop(fixture);
        assert!(matches!(client.join().unwrap(), Ok(Requested::ServerGone)));
    });
}

/// A half of a server, as the C interface keeps it: behind a lock, so that a thread can use it while another one
/// accepts.
type Shared<T> = Arc<crate::sync::Mutex<Option<T>>>;

fn shared<T>(half: T) -> Shared<T> {
    Arc::new(crate::sync::Mutex::new(Some(half)))
}

/// Returns a server whose client has sent one message and has left. The section holds the next client's request.
fn between_two_clients() -> (SharedServer, SharedView) {
    let (server, mut client, _) = Fixture::connected(2);
    let raw = server.section_handle();
    let view = SharedView::open(Section::duplicate(raw).unwrap()).unwrap();
    let (mut sender, receiver) = client.take().unwrap();
    sender.send(&message(5, SMALL)).unwrap();
    drop((sender, receiver));
    let word = ClientWord(view.control().client_state.load(Ordering::Acquire));
    view.control().client_state.store(word.next_request(1).0, Ordering::Release);
    (server, view)
}

/// The server reuses the section: it resets the rings for the next client while another thread may be receiving.
#[test]
fn a_receive_beside_accepting_gets_the_last_message_or_nothing() {
    check("receive beside accepting", Some(2), || {
        let (mut server, _view) = between_two_clients();
        let (sender, receiver) = server.take().unwrap();
        drop(sender);
        let half = shared(receiver);
        let other = half.clone();
        let receiving = thread::spawn(move || {
            let mut buffer = Vec::new();
            let received = crate::sync::lock(&other).as_mut().map(|half| half.try_receive(&mut buffer));
            received.map(|received| received.map(|_| number_of(&buffer)))
        });
        let accepted = server.accept_now(&mut || drop(crate::sync::lock(&half).take()));
        assert_eq!(accepted, Ok(true));
        assert!(matches!(receiving.join().unwrap(), None | Some(Ok(5))));
    });
}

/// Another thread may be sending while the server accepts. Its message is for the previous client, and must not reach
/// the next one.
#[test]
fn a_send_beside_accepting_reaches_no_later_client() {
    check("send beside accepting", Some(2), || {
        let (mut server, view) = between_two_clients();
        let (sender, receiver) = server.take().unwrap();
        drop(receiver);
        let half = shared(sender);
        let other = half.clone();
        let sending = thread::spawn(move || {
            crate::sync::lock(&other).as_mut().map(|half| half.send(&message(6, SMALL)).map(drop))
        });
        let accepted = server.accept_now(&mut || drop(crate::sync::lock(&half).take()));
        assert_eq!(accepted, Ok(true));
        assert!(matches!(sending.join().unwrap(), None | Some(Err(ShmError::NotConnected))));
        // The next client must find no message.
        let generation = view.control().generation.load(Ordering::Acquire);
        // SAFETY: the view outlives the ring.
        let mut consumer = Consumer::new(unsafe { view.ring(Direction::ServerToClient) }, generation);
        assert_eq!(take(&mut consumer), None);
    });
}

/// If a thread resets the interrupter while another one stops the endpoint, the reset does not undo the stop. A
/// thread that waits is woken, and later waits end at once.
#[test]
fn a_reset_does_not_undo_a_stop() {
    check("stop beside reset", None, || {
        let interrupter = Interrupter::new().unwrap();
        interrupter.interrupt();
        let (resetting, waiting) = (interrupter.clone(), interrupter.clone());
        let resets = thread::spawn(move || resetting.reset());
        let waits = thread::spawn(move || {
            while !waiting.0.is_set() {
                sys::wait_any(&[Waitable::Event(waiting.0.event())], None).unwrap();
                // The event may still be set by the interrupt before the reset. Let the reset continue.
                thread::yield_now();
            }
        });
        interrupter.0.stop();
        resets.join().unwrap();
        waits.join().unwrap();
        assert!(interrupter.is_interrupted());
        let signalled = sys::wait_any(&[Waitable::Event(interrupter.0.event())], Some(Duration::ZERO));
        assert_eq!(signalled, Ok(Some(0)));
    });
}

/// Whatever the order of the steps of interrupts and resets, the event is in the end what the state says.
#[test]
fn interrupts_and_resets_leave_the_event_as_the_state_says() {
    check("interrupts beside resets", None, || {
        let interrupter = Interrupter::new().unwrap();
        interrupter.interrupt();
        let resetting = interrupter.clone();
        let resets = thread::spawn(move || resetting.reset());
        interrupter.interrupt();
        resets.join().unwrap();
        let signalled = sys::wait_any(&[Waitable::Event(interrupter.0.event())], Some(Duration::ZERO));
        assert_eq!(signalled, Ok(interrupter.is_interrupted().then_some(0)));
    });
}

/// The worker of an auto endpoint sends the queue when there is room. It sends every message, in every order of the
/// worker's and the receiver's steps.
#[test]
fn an_auto_endpoint_sends_all_queued_messages() {
    check_waits("auto queue", Some(2), || {
        let (server, mut client, _) = Fixture::connected(1);
        let (sender, receiver) = client.take().unwrap();
        let queue = super::auto_queue::Queue::new();
        let count = 2;
        (0..count).for_each(|number| queue.send(&message(number, SMALL)));
        let worker = thread::spawn(move || {
            queue.send_all(sender, count);
            receiver
        });
        for number in 0..count {
            assert_eq!(receive_from_client(&server), Ok(number));
        }
        drop(worker.join().unwrap());
    });
}
