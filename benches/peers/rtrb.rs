//! rtrb, a ring for one sender and one receiver: here between two threads of one process.
//!
//! A message is a chunk of bytes. `push_entire_slice` and `pop_entire_slice` copy it in and out, by `write_chunk_uninit` and
//! `read_chunk`. As in xshm, at most 250 messages wait, and at most as many as fit into 2 MiB.

use crate::line::{check_number, write_number, Buffers, Line, Outcome};
use crate::lines::{Kind, Offer, BATCH};
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::HashMap;
use std::hint::spin_loop;
use std::sync::{Mutex, PoisonError};

pub const KIND: Kind = Kind {
    in_process: true,
    ..Kind::new("rtrb", |_| Offer::ready(Rtrb::new(true)), |_, _| Ok(Box::new(Rtrb::new(false))))
};

pub const BATCHED: Kind = Kind {
    in_process: true,
    ..Kind::new(
        "rtrb in batches",
        |_| Offer::ready(Batched(Rtrb::new(true))),
        |_, _| Ok(Box::new(Batched(Rtrb::new(false)))),
    )
};

type Ends = (Producer<u8>, Consumer<u8>);

/// For each size, the ends of the side that has not asked for them yet. Blocks run one after the other, so two lines
/// never use this at the same time.
static WAITING: Mutex<Option<HashMap<usize, Ends>>> = Mutex::new(None);

struct Rtrb {
    first: bool,
    size: usize,
    ends: Option<Ends>,
    others: HashMap<usize, Ends>,
}

impl Rtrb {
    fn new(first: bool) -> Self {
        Rtrb { first, size: 0, ends: None, others: HashMap::new() }
    }

    /// The rings for messages of a size. The side that comes first makes them.
    #[inline(always)]
    fn ends(&mut self, size: usize) -> &mut Ends {
        if self.size != size {
            self.change(size);
        }
        self.ends.as_mut().expect("there are ends for each size")
    }

    #[cold]
    fn change(&mut self, size: usize) {
        if let Some(ends) = self.ends.take() {
            self.others.insert(self.size, ends);
        }
        self.size = size;
        self.ends = self.others.remove(&size);
        if self.ends.is_some() {
            return;
        }
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = waiting.get_or_insert_default();
        self.ends = waiting.remove(&size).or_else(|| {
            let messages = xshm::MAX_MESSAGES.min(xshm::RING_CAPACITY / size);
            let [(there_in, there_out), (back_in, back_out)] =
                [(); 2].map(|()| RingBuffer::new(messages * size));
            let (first, second) = ((there_in, back_out), (back_in, there_out));
            let (mine, theirs) = if self.first { (first, second) } else { (second, first) };
            waiting.insert(size, theirs);
            Some(mine)
        });
    }
}

impl Line for Rtrb {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        let (producer, _) = self.ends(message.len());
        while producer.push_entire_slice(message).is_err() {
            spin_loop();
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        let (_, consumer) = self.ends(message.len());
        while consumer.pop_entire_slice(message).is_err() {
            spin_loop();
        }
        Ok(())
    }
}

/// A stream in chunks of many messages.
struct Batched(Rtrb);

impl Line for Batched {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        self.0.send(message)
    }

    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        self.0.receive(message)
    }

    fn send_all(&mut self, buffers: &mut Buffers, size: usize, count: u64) -> Outcome<()> {
        let (producer, _) = self.0.ends(size);
        let mut numbers = 0..count;
        while !numbers.is_empty() {
            let mut filled = 0;
            for (message, number) in buffers.message.chunks_exact_mut(size).take(BATCH).zip(&mut numbers) {
                write_number(message, number);
                filled += size;
            }
            let mut rest = &buffers.message[..filled];
            while !rest.is_empty() {
                // As many whole messages as there is room for.
                let (now, later) = rest.split_at(rest.len().min(producer.slots() / size * size));
                if now.is_empty() || producer.push_entire_slice(now).is_err() {
                    spin_loop();
                } else {
                    rest = later;
                }
            }
        }
        Ok(())
    }

    fn receive_all(&mut self, buffers: &mut Buffers, size: usize, count: u64) -> Outcome<()> {
        let (_, consumer) = self.0.ends(size);
        let mut next = 0;
        while next < count {
            let there = (consumer.slots() / size).min(buffers.message.len() / size) * size;
            let messages = &mut buffers.message[..there];
            if messages.is_empty() || consumer.pop_entire_slice(messages).is_err() {
                spin_loop();
                continue;
            }
            for message in messages.chunks_exact(size) {
                check_number(message, next)?;
                next += 1;
            }
        }
        Ok(())
    }
}
