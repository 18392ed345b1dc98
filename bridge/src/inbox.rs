//! The receiving end of a session's stream: the chunks that have arrived, in order, and not been delivered yet.

use crate::wire::{ChunkHeader, CHUNK_HEADER};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zenoh::bytes::ZBytes;

/// How long after a request to repeat the stream the next one follows, if the same bytes are still missing.
const REPEAT_AGAIN: Duration = Duration::from_millis(250);

/// What a chunk means for the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The chunk is the next one, or there was one like it before.
    Taken,
    /// Bytes before the chunk are missing. The other bridge has to repeat them.
    Gap,
    /// As `Gap`, and the other bridge was asked a moment ago.
    GapAgain,
    /// The chunk is longer than all that may be under way. The other bridge breaks the protocol.
    TooLong,
}

struct State {
    chunks: VecDeque<ZBytes>,
    bytes: usize,
    received: u64,
    asked: Option<(u64, Instant)>,
    /// The session's thread has something to do.
    is_awaited: bool,
    is_closing: bool,
    is_over: bool,
}

pub(crate) struct Inbox {
    /// The most bytes that wait here. The window of an honest bridge is smaller.
    limit: usize,
    state: Mutex<State>,
    arrived: Condvar,
}

impl Inbox {
    pub(crate) fn new(limit: usize) -> Self {
        let state = State {
            chunks: VecDeque::new(),
            bytes: 0,
            received: 0,
            asked: None,
            is_awaited: false,
            is_closing: false,
            is_over: false,
        };
        Inbox { limit, state: Mutex::new(state), arrived: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All bytes before this offset of the stream have arrived.
    pub(crate) fn received(&self) -> u64 {
        self.state().received
    }

    /// Takes a chunk that arrived. Never waits.
    pub(crate) fn put(&self, header: ChunkHeader, chunk: &ZBytes) -> Arrival {
        let offset = header.offset;
        let length = chunk.len() - CHUNK_HEADER;
        if length > self.limit {
            return Arrival::TooLong;
        }
        let mut state = self.state();
        if offset < state.received || length == 0 && offset == state.received || state.is_over {
            return Arrival::Taken;
        }
        if offset > state.received || state.bytes + length > self.limit && state.bytes > 0 {
            let now = Instant::now();
            let asked = state.asked.is_some_and(|(offset, at)| {
                offset == state.received && now.saturating_duration_since(at) < REPEAT_AGAIN
            });
            if asked {
                return Arrival::GapAgain;
            }
            state.asked = Some((state.received, now));
            return Arrival::Gap;
        }
        state.received += length as u64;
        state.bytes += length;
        state.chunks.push_back(chunk.clone());
        Arrival::Taken
    }

    /// Takes the next chunk out, if there is one. Never waits.
    pub(crate) fn take(&self) -> Option<ZBytes> {
        let mut state = self.state();
        let chunk = state.chunks.pop_front()?;
        state.bytes -= chunk.len() - CHUNK_HEADER;
        Some(chunk)
    }

    /// Waits until there are chunks, or until another thread has called [`wake`](Self::wake). Returns `false` if no chunks will
    /// come.
    pub(crate) fn wait(&self) -> bool {
        let mut state = self.state();
        loop {
            if state.is_over {
                return false;
            }
            if std::mem::take(&mut state.is_awaited) || !state.chunks.is_empty() {
                return true;
            }
            if state.is_closing {
                return false;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the wait of the session's thread.
    pub(crate) fn wake(&self) {
        self.state().is_awaited = true;
        self.arrived.notify_one();
    }

    /// The local peer has gone, or the bridge stops: what has arrived is still taken, and nothing else is waited for.
    pub(crate) fn close(&self) {
        self.state().is_closing = true;
        self.arrived.notify_all();
    }

    /// The session is over: nothing is taken any more.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.is_over = true;
        state.chunks.clear();
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Inbox {
        /// A chunk of a length arrives.
        fn arrives(&self, offset: u64, length: usize) -> Arrival {
            let header = ChunkHeader { offset, wants_report: false };
            let mut bytes = header.encode().to_vec();
            bytes.resize(CHUNK_HEADER + length, 1);
            self.put(header, &bytes.into())
        }
    }

    #[test]
    fn only_the_next_chunk_is_taken() {
        let inbox = Inbox::new(100);
        assert_eq!(inbox.arrives(0, 10), Arrival::Taken);
        assert_eq!(inbox.arrives(20, 10), Arrival::Gap);
        assert_eq!(inbox.arrives(30, 10), Arrival::GapAgain);
        assert_eq!(inbox.received(), 10);
        assert_eq!(inbox.arrives(0, 10), Arrival::Taken, "a repeated chunk is dropped");
        assert_eq!(inbox.arrives(10, 10), Arrival::Taken);
        assert_eq!(inbox.arrives(20, 10), Arrival::Taken);
        assert!(inbox.wait());
        for _ in 0..3 {
            assert!(inbox.take().is_some());
        }
        inbox.close();
        assert!(!inbox.wait());
        inbox.wake();
        assert!(inbox.wait());
    }

    #[test]
    fn an_empty_chunk_shows_what_is_missing() {
        let inbox = Inbox::new(100);
        assert_eq!(inbox.arrives(0, 0), Arrival::Taken);
        assert_eq!(inbox.arrives(10, 0), Arrival::Gap);
        assert_eq!(inbox.received(), 0);
    }

    #[test]
    fn the_inbox_has_a_limit() {
        let inbox = Inbox::new(100);
        assert_eq!(inbox.arrives(0, 101), Arrival::TooLong);
        assert_eq!(inbox.arrives(0, 100), Arrival::Taken);
        assert_eq!(inbox.arrives(100, 10), Arrival::Gap);
        assert!(inbox.take().is_some());
        assert_eq!(inbox.arrives(100, 10), Arrival::Taken);
    }
}
