//! The least that a round trip costs if every message signals an event, as in earlier builds of xshm, whether or not a
//! thread sleeps: two bare cache lines, and in each direction a call that sets an event for which no thread waits.

use super::signals::system::{self, Signal};
use super::{Kind, Offer};
use crate::bare::Page;
use crate::line::{Buffers, End, Outcome};
use crate::side::Shared;

/// The number of the pair of events that no other line uses.
const PART: usize = 2;

pub const KIND: Kind = Kind::new(
    "an event set for each message",
    |shared| {
        let [there, _] = system::open(shared, PART, true)?;
        Offer::ready(Announced { page: Page::create(&name(shared))?, next: 1, signal: there.0 })
    },
    |shared, _| {
        let [_, back] = system::open(shared, PART, false)?;
        Ok(Box::new(Announced { page: Page::open(&name(shared))?, next: 1, signal: back.0 }))
    },
);

fn name(shared: &Shared) -> String {
    format!("{}-announced", shared.base)
}

struct Announced {
    page: Page,
    /// The next number to write into the page; both sides count alike.
    next: u64,
    signal: Signal,
}

impl Announced {
    fn numbers(&mut self, rounds: u64) -> std::ops::Range<u64> {
        let first = self.next;
        self.next += rounds;
        first..self.next
    }
}

impl End for Announced {
    fn lead(
        &mut self, _: &mut Buffers, _size: usize, rounds: u64, times: Option<&mut Vec<u64>>,
    ) -> Outcome<()> {
        assert!(times.is_none(), "no picture shows this line");
        for number in self.numbers(rounds) {
            self.signal.set()?;
            self.page.lead::<true>(number, 1, || true);
        }
        Ok(())
    }

    fn follow(&mut self, _: &mut Buffers, _size: usize, rounds: u64) -> Outcome<()> {
        for number in self.numbers(rounds) {
            self.page.follow::<true>(number, 1, || true);
            self.signal.set()?;
        }
        Ok(())
    }
}
