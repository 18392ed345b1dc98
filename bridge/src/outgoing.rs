//! The sending end of a session's stream: collects messages into chunks, waits for the window, and repeats what is lost.

use crate::wire::{write_end, write_record_header, ChunkHeader, End, CHUNK_HEADER, RECORD_HEADER};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zenoh::bytes::ZBytes;

/// How long the other bridge may have received nothing more before the stream asks, by an empty chunk, whether bytes are missing.
const PROBE_AFTER: Duration = Duration::from_millis(500);

/// How many bytes are on the way at first, and at least. As in TCP, the number then doubles as long as the network is quick.
const FIRST_BUDGET: u64 = 16 << 10;
const LEAST_BUDGET: u64 = 4 << 10;

/// The network is quick if the bytes on the way cost less than this, or than half of the shortest time of a chunk, in addition to that
/// time. It is slow if they cost more than the second time, and than twice the shortest. Bytes that wait in the network hold up the
/// reports of both bridges, and the session ends if none comes within the lease.
const QUICK: Duration = Duration::from_millis(150);
const SLOW: Duration = Duration::from_millis(350);

/// After this many slow chunks one after the other, or chunks that are neither quick nor slow, the shortest time is measured again, with
/// the fewest bytes on the way: the path may have become longer.
const SLOW_CHUNKS: u32 = 3;
const OTHER_CHUNKS: u32 = 16;

/// The session is over, so the stream takes no more messages.
#[derive(Debug)]
pub(crate) struct Over;

/// A chunk that the other bridge has not delivered yet.
struct Chunk {
    offset: u64,
    length: u64,
    bytes: ZBytes,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// How many full chunks may wait for the pump. Then the thread that appends waits.
const READY: usize = 2;

/// A longer message reserves the memory of a whole chunk. Most chunks of a channel with few messages are small.
const SMALL: usize = 512;

struct State {
    /// Full chunks that wait for the pump: room for the header, and bytes of the stream, from `next` on.
    ready: VecDeque<Vec<u8>>,
    /// The chunk after them, which grows.
    buffer: Vec<u8>,
    /// The offset of the first byte that was not sent.
    next: u64,
    /// What was sent and may have to be repeated. Empty chunks are not kept.
    unacknowledged: VecDeque<Chunk>,
    delivered: u64,
    received: u64,
    /// When `received` last changed, or when bytes were first sent after all were received.
    progress: Instant,
    window: u64,
    /// How many bytes may be on the way: sent, and not received. At most the window.
    budget: u64,
    /// The chunk whose arrival the other bridge reports at once: where it ends, and when it was sent.
    timed: Option<(u64, Instant)>,
    /// The shortest time from sending such a chunk to its report. `None`: the next one is measured.
    shortest: Option<Duration>,
    /// How many such chunks were slow, or neither quick nor slow, one after the other.
    slow_chunks: u32,
    other_chunks: u32,
    /// The pump repeats the stream from this offset.
    repeat: Option<u64>,
    /// The pump sends an empty chunk.
    probe: bool,
    /// The stream's length: it has its last record. And its length without that.
    finished: Option<u64>,
    messages: Option<u64>,
    is_over: bool,
    pump_waits: bool,
}

impl State {
    /// The bytes of the stream in the chunk that grows.
    fn buffered(&self) -> usize {
        self.buffer.len() - CHUNK_HEADER
    }

    /// The length of the stream.
    fn end(&self) -> u64 {
        let ready: usize = self.ready.iter().map(|chunk| chunk.len() - CHUNK_HEADER).sum();
        self.next + (ready + self.buffered()) as u64
    }

    /// The bytes on the way.
    fn on_the_way(&self) -> u64 {
        self.next - self.received
    }

    /// Whether the pump may send a chunk now. A chunk longer than the window or the budget may be sent alone.
    fn may_send(&self) -> bool {
        let length = self.ready.front().map_or(self.buffered(), |chunk| chunk.len() - CHUNK_HEADER) as u64;
        length > 0
            && (self.unacknowledged.is_empty() || self.next + length - self.delivered <= self.window)
            && (self.on_the_way() == 0 || self.on_the_way() + length <= self.budget)
    }

    /// The report on the timed chunk has come: changes the budget.
    fn adapt(&mut self, time: Duration) {
        let shortest = self.shortest.map_or(time, |shortest| shortest.min(time));
        self.shortest = Some(shortest);
        let waited = time - shortest;
        // TCP takes several round trips for what it has not sent as fast before.
        let (quick, slow) = (QUICK.max(shortest / 2), SLOW.max(2 * shortest));
        let least = LEAST_BUDGET.min(self.window);
        (self.slow_chunks, self.other_chunks) = if waited < quick {
            self.budget = (2 * self.budget).min(self.window);
            (0, 0)
        } else if waited > slow {
            self.budget = (self.budget / 2).max(least);
            (self.slow_chunks + 1, 0)
        } else {
            (0, self.other_chunks + 1)
        };
        if self.slow_chunks >= SLOW_CHUNKS || self.other_chunks >= OTHER_CHUNKS {
            (self.slow_chunks, self.other_chunks, self.shortest) = (0, 0, None);
            self.budget = least;
        }
    }
}

/// What the pump does next.
enum Step {
    Send(ZBytes),
    /// The chunks are repeated.
    Repeat(Vec<ZBytes>),
    Stop,
}

pub(crate) struct Outgoing {
    /// The most bytes of a chunk.
    chunk: usize,
    state: Mutex<State>,
    pump: Condvar,
    room: Condvar,
    drained: Condvar,
}

impl Outgoing {
    pub(crate) fn new(chunk: usize) -> Self {
        let state = State {
            ready: VecDeque::new(),
            buffer: empty_buffer(),
            next: 0,
            unacknowledged: VecDeque::new(),
            delivered: 0,
            received: 0,
            progress: Instant::now(),
            window: 0,
            budget: 0,
            timed: None,
            shortest: None,
            slow_chunks: 0,
            other_chunks: 0,
            repeat: None,
            probe: false,
            finished: None,
            messages: None,
            is_over: false,
            pump_waits: false,
        };
        Outgoing {
            chunk,
            state: Mutex::new(state),
            pump: Condvar::new(),
            room: Condvar::new(),
            drained: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how many bytes may be under way: sent, and not delivered. The pump starts afterwards.
    pub(crate) fn set_window(&self, window: u64) {
        let mut state = self.state();
        state.window = window;
        state.budget = FIRST_BUDGET.min(window);
    }

    /// The most bytes of a chunk now: half of the budget, so that a chunk which finds no room follows one that asks for a report. Each
    /// is a sign of life for the other bridge, so they are short on a slow network.
    fn longest(&self, state: &State) -> usize {
        // Before the window is known, there is no budget.
        let budget = if state.window == 0 { LEAST_BUDGET } else { state.budget.max(2) };
        self.chunk.min(usize::try_from(budget / 2).unwrap_or(usize::MAX))
    }

    /// Appends a message to the stream, and waits for room. One thread at a time appends.
    pub(crate) fn push(&self, message: &[u8]) -> Result<(), Over> {
        let mut state = self.state();
        if state.is_over || state.finished.is_some() {
            return Err(Over);
        }
        let size = RECORD_HEADER + message.len();
        if state.buffered() > 0 && state.buffered() + size > self.longest(&state) {
            // The message begins the next chunk, so that the other bridge finds it in one piece.
            state = self.begin_chunk(state)?;
        }
        if size > SMALL && state.buffer.capacity() < size + CHUNK_HEADER {
            let more = self.longest(&state).saturating_sub(state.buffered());
            state.buffer.reserve(more);
        }
        write_record_header(message.len(), &mut state.buffer);
        let mut rest = message;
        loop {
            let now = rest.len().min(self.longest(&state).saturating_sub(state.buffered()));
            state.buffer.extend_from_slice(&rest[..now]);
            rest = &rest[now..];
            self.wake_pump(&mut state);
            if rest.is_empty() {
                return Ok(());
            }
            state = self.begin_chunk(state)?;
            let more = self.longest(&state).min(rest.len());
            state.buffer.reserve(more);
        }
    }

    /// Leaves the chunk that grows to the pump, and begins the next one. Waits while there are enough chunks for the pump.
    fn begin_chunk<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>, Over> {
        loop {
            if state.is_over || state.finished.is_some() {
                return Err(Over);
            }
            // The pump may have taken the chunk meanwhile.
            if state.buffered() == 0 {
                return Ok(state);
            }
            if state.ready.len() < READY {
                let full = std::mem::replace(&mut state.buffer, empty_buffer());
                state.ready.push_back(full);
                self.wake_pump(&mut state);
                return Ok(state);
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wake_pump(&self, state: &mut State) {
        if state.pump_waits {
            state.pump_waits = false;
            self.pump.notify_one();
        }
    }

    /// Appends the record by which the session ends, and never waits.
    pub(crate) fn finish(&self, end: &End) {
        let mut state = self.state();
        if state.finished.is_none() {
            state.messages = Some(state.end());
            write_end(end, &mut state.buffer);
            state.finished = Some(state.end());
            self.wake_pump(&mut state);
            self.room.notify_all();
        }
    }

    /// Waits until the other bridge has delivered the whole stream, or the session is over. Returns whether it was delivered.
    pub(crate) fn wait_until_delivered(&self, timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.state();
        loop {
            if state.finished.is_some_and(|end| state.delivered >= end) {
                return true;
            }
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            if state.is_over || left.is_zero() {
                return false;
            }
            state = self.drained.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many bytes of messages, with their headers, the other bridge has not delivered yet.
    pub(crate) fn undelivered(&self) -> u64 {
        let state = self.state();
        state.messages.unwrap_or_else(|| state.end()).saturating_sub(state.delivered)
    }

    /// Ends the stream: calls that wait return.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.is_over = true;
        state.unacknowledged.clear();
        state.ready.clear();
        self.pump.notify_all();
        self.room.notify_all();
        self.drained.notify_all();
    }

    /// Records how far the other bridge is. Numbers that are impossible have no effect.
    pub(crate) fn acknowledge(&self, received: u64, delivered: u64) {
        let mut state = self.state();
        if received > state.next || delivered > received {
            return;
        }
        if received > state.received {
            state.received = received;
            state.progress = Instant::now();
            if let Some((_, sent)) = state.timed.take_if(|(end, _)| *end <= received) {
                state.adapt(sent.elapsed());
            }
            self.wake_pump(&mut state);
        }
        if delivered > state.delivered {
            state.delivered = delivered;
            while state.unacknowledged.front().is_some_and(|chunk| chunk.end() <= delivered) {
                state.unacknowledged.pop_front();
            }
            self.wake_pump(&mut state);
            self.drained.notify_all();
        }
    }

    /// Has the pump repeat the stream from an offset.
    pub(crate) fn repeat_from(&self, offset: u64) {
        let mut state = self.state();
        if offset < state.next {
            state.repeat = Some(state.repeat.map_or(offset, |earlier| earlier.min(offset)));
            self.wake_pump(&mut state);
        }
    }

    /// Called at regular intervals: has the pump ask whether bytes are missing, if none were received for a while.
    pub(crate) fn check_progress(&self) {
        let mut state = self.state();
        if state.received < state.next && state.progress.elapsed() >= PROBE_AFTER {
            state.probe = true;
            state.progress = Instant::now();
            self.wake_pump(&mut state);
        }
    }

    /// Sends the stream by `put` until the session is over. Returns the number of chunks that were repeated.
    pub(crate) fn run_pump<E>(
        &self, mut put: impl FnMut(ZBytes) -> Result<(), E>, mut repeated: impl FnMut(usize),
    ) -> Result<(), E> {
        loop {
            match self.next_step() {
                Step::Send(chunk) => put(chunk)?,
                Step::Repeat(chunks) => {
                    repeated(chunks.len());
                    for chunk in chunks {
                        put(chunk)?;
                    }
                }
                Step::Stop => return Ok(()),
            }
        }
    }

    fn next_step(&self) -> Step {
        let mut state = self.state();
        loop {
            if state.is_over {
                return Step::Stop;
            }
            if let Some(offset) = state.repeat.take() {
                // The time of a chunk that was sent twice says nothing.
                state.timed = None;
                let chunks = state.unacknowledged.iter().filter(|chunk| chunk.end() > offset);
                return Step::Repeat(chunks.map(|chunk| chunk.bytes.clone()).collect());
            }
            if std::mem::take(&mut state.probe) {
                let header = ChunkHeader { offset: state.next, wants_report: false };
                return Step::Send(header.encode().to_vec().into());
            }
            if state.may_send() {
                return Step::Send(self.take_chunk(&mut state));
            }
            state.pump_waits = true;
            state = self.pump.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.pump_waits = false;
        }
    }

    fn take_chunk(&self, state: &mut State) -> ZBytes {
        let chunk = state.ready.pop_front();
        let mut chunk = chunk.unwrap_or_else(|| std::mem::replace(&mut state.buffer, empty_buffer()));
        let (offset, length) = (state.next, (chunk.len() - CHUNK_HEADER) as u64);
        // Few bytes on the way show nothing of the network.
        let wants_report = state.timed.is_none() && 2 * (state.on_the_way() + length) >= state.budget;
        if state.on_the_way() == 0 {
            state.progress = Instant::now();
        }
        state.next += length;
        if wants_report {
            state.timed = Some((state.next, Instant::now()));
        }
        chunk[..CHUNK_HEADER].copy_from_slice(&ChunkHeader { offset, wants_report }.encode());
        let bytes = ZBytes::from(chunk);
        state.unacknowledged.push_back(Chunk { offset, length, bytes: bytes.clone() });
        self.room.notify_one();
        bytes
    }
}

/// A buffer with room for the chunk's header.
fn empty_buffer() -> Vec<u8> {
    let mut buffer = Vec::with_capacity(SMALL);
    buffer.resize(CHUNK_HEADER, 0);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Cause, Part, Records};
    use std::sync::mpsc;
    use std::thread;

    fn offset(chunk: &[u8]) -> u64 {
        ChunkHeader::decode(*chunk.first_chunk().expect("a chunk has a header")).offset
    }

    /// Sends messages through a window while 30 of 100 chunks are lost, and checks that they arrive in order.
    #[test]
    fn lost_chunks_are_repeated_in_order() {
        const COUNT: u32 = 200;
        let stream = Outgoing::new(256);
        stream.set_window(1024);
        let (sender, chunks) = mpsc::channel::<Vec<u8>>();
        thread::scope(|scope| {
            let stream = &stream;
            scope.spawn(move || stream.run_pump(|chunk| sender.send(chunk.to_bytes().into_owned()), |_| {}));
            scope.spawn(|| {
                for number in 0..COUNT {
                    let message = number.to_le_bytes().repeat(1 + number as usize % 300);
                    stream.push(&message).expect("the session lives");
                }
                stream.finish(&End::new(Cause::Left, "the client left"));
            });
            let (mut records, mut expected, mut count, mut ended) = (Records::new(5000), 0, 0_u32, false);
            let mut random = 7_u64;
            while !ended {
                let Ok(chunk) = chunks.recv_timeout(Duration::from_millis(20)) else {
                    stream.check_progress();
                    continue;
                };
                // Knuth's generator.
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if (random >> 33) % 100 < 30 {
                    continue;
                }
                if offset(&chunk) > expected {
                    stream.repeat_from(expected);
                    continue;
                }
                if offset(&chunk) < expected {
                    continue;
                }
                expected += (chunk.len() - CHUNK_HEADER) as u64;
                let fed = records.feed(&chunk[CHUNK_HEADER..], |part| {
                    match part {
                        Part::Messages(messages) => {
                            for message in messages {
                                assert_eq!(*message, count.to_le_bytes().repeat(1 + count as usize % 300));
                                count += 1;
                            }
                        }
                        Part::End(end) => {
                            assert_eq!(end.cause, Cause::Left);
                            ended = true;
                        }
                    }
                    Ok(())
                });
                fed.expect("the stream is right");
                stream.acknowledge(expected, expected);
            }
            assert_eq!(count, COUNT);
            assert!(stream.wait_until_delivered(Some(Duration::ZERO)));
            assert!(stream.push(b"late").is_err());
            stream.stop();
        });
    }

    #[test]
    fn the_window_bounds_what_is_under_way() {
        let stream = Outgoing::new(100);
        stream.set_window(250);
        let sent = Mutex::new(0_usize);
        thread::scope(|scope| {
            scope.spawn(|| {
                stream.run_pump(
                    |chunk| {
                        *sent.lock().unwrap() += chunk.len() - CHUNK_HEADER;
                        Ok::<(), ()>(())
                    },
                    |_| {},
                )
            });
            let producer = scope.spawn(|| {
                while stream.push(&[7; 46]).is_ok() {
                    // Each message takes 50 bytes of the stream.
                }
            });
            thread::sleep(Duration::from_millis(200));
            assert!(!producer.is_finished());
            let under_way = *sent.lock().unwrap();
            assert!((150..=250).contains(&under_way), "{under_way} bytes under way");
            stream.acknowledge(100, 100);
            thread::sleep(Duration::from_millis(200));
            let under_way = *sent.lock().unwrap();
            assert!((250..=350).contains(&under_way), "{under_way} bytes under way");
            stream.stop();
        });
    }

    #[test]
    fn the_budget_grows_on_a_quick_network_and_shrinks_on_a_slow_one() {
        let stream = Outgoing::new(256 << 10);
        stream.set_window(100_000);
        let budget_after = |times: &[u64]| {
            let mut state = stream.state();
            for time in times {
                state.adapt(Duration::from_millis(*time));
            }
            state.budget
        };
        assert_eq!(budget_after(&[]), FIRST_BUDGET);
        // The network's own time does not count, and the window bounds the budget.
        assert_eq!(budget_after(&[100, 110]), 4 * FIRST_BUDGET);
        assert_eq!(budget_after(&[120, 240]), 100_000);
        assert_eq!(budget_after(&[260, 440]), 100_000, "neither quick nor slow");
        assert_eq!(budget_after(&[460, 460]), 25_000);
        assert_eq!(budget_after(&[460]), LEAST_BUDGET, "the path is measured again");
        assert_eq!(stream.longest(&stream.state()), LEAST_BUDGET as usize / 2);
        assert_eq!(budget_after(&[460, 680, 680]), 8 * LEAST_BUDGET, "it has become longer");
        assert_eq!(budget_after(&[900; 15]), 8 * LEAST_BUDGET, "neither quick nor slow");
        assert_eq!(budget_after(&[900, 900]), 2 * LEAST_BUDGET, "measured again");
    }

    /// A short chunk at the end of a long message does not make the next one wait for a report that does not come.
    #[test]
    fn a_small_window_holds_two_chunks() {
        let stream = Outgoing::new(256 << 10);
        stream.set_window(2048);
        let mut chunks = Vec::new();
        thread::scope(|scope| {
            let pushing = scope.spawn(|| {
                for _ in 0..20 {
                    stream.push(&[7; 65_535]).expect("the session lives");
                }
                stream.stop();
            });
            let pumped = stream.run_pump(
                |chunk| {
                    let bytes = chunk.to_bytes();
                    let header = ChunkHeader::decode(*bytes.first_chunk().expect("a header"));
                    let end = header.offset + (bytes.len() - CHUNK_HEADER) as u64;
                    // The other bridge reports only where it is asked to.
                    if header.wants_report {
                        stream.acknowledge(end, end);
                    }
                    chunks.push(bytes.len() - CHUNK_HEADER);
                    Ok::<(), ()>(())
                },
                |_| {},
            );
            assert!(pumped.is_ok());
            pushing.join().expect("no panic");
        });
        assert_eq!(chunks.iter().max(), Some(&1024));
    }

    /// A report on half of the budget lets twice as much go.
    #[test]
    fn the_budget_bounds_what_is_on_the_way() {
        let stream = Outgoing::new(1000);
        stream.set_window(1 << 20);
        let (sender, chunks) = mpsc::channel::<ZBytes>();
        thread::scope(|scope| {
            scope.spawn(|| stream.run_pump(|chunk| sender.send(chunk), |_| {}));
            scope.spawn(|| while stream.push(&[7; 996]).is_ok() {});
            let (mut taken, mut asked) = (0, Vec::new());
            let mut take = || {
                while let Ok(chunk) = chunks.recv_timeout(Duration::from_millis(200)) {
                    let header = ChunkHeader::decode(*chunk.to_bytes().first_chunk().expect("a header"));
                    assert_eq!(header.offset, taken);
                    taken += (chunk.len() - CHUNK_HEADER) as u64;
                    asked.extend(header.wants_report.then_some(taken));
                }
                (taken, asked.clone())
            };
            assert_eq!(take(), (16_000, vec![9000]), "16 KiB hold 16 chunks");
            stream.acknowledge(9000, 0);
            assert_eq!(
                take(),
                (41_000, vec![9000, 26_000]),
                "32 KiB behind the 9,000 bytes that have arrived"
            );
            stream.stop();
        });
    }

    #[test]
    fn impossible_reports_have_no_effect() {
        let stream = Outgoing::new(100);
        stream.acknowledge(50, 50);
        stream.repeat_from(50);
        assert_eq!(stream.state().delivered, 0);
        assert_eq!(stream.state().repeat, None);
    }
}
