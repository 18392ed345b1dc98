//! The limit of round trips: two cache lines, see [`Page`].

use super::{Kind, Offer};
use crate::bare::{ticks, Page};
use crate::line::{Buffers, End, Outcome};

struct Bare<const PAUSE: bool> {
    page: Page,
    /// The next number to write into the page; both sides count alike.
    next: u64,
}

impl<const PAUSE: bool> Bare<PAUSE> {
    fn advance(&mut self, rounds: u64) -> u64 {
        let first = self.next;
        self.next += rounds;
        first
    }
}

impl<const PAUSE: bool> End for Bare<PAUSE> {
    fn lead(
        &mut self, _: &mut Buffers, _size: usize, rounds: u64, times: Option<&mut Vec<u64>>,
    ) -> Outcome<()> {
        let first = self.advance(rounds);
        let Some(times) = times else {
            self.page.lead::<PAUSE>(first, rounds, || true);
            return Ok(());
        };
        let mut last = ticks();
        for number in first..first + rounds {
            self.page.lead::<PAUSE>(number, 1, || true);
            let now = ticks();
            times.push(now.saturating_sub(last));
            last = now;
        }
        Ok(())
    }

    fn follow(&mut self, _: &mut Buffers, _size: usize, rounds: u64) -> Outcome<()> {
        let first = self.advance(rounds);
        self.page.follow::<PAUSE>(first, rounds, || true);
        Ok(())
    }
}

pub const fn kind<const PAUSE: bool>(name: &'static str) -> Kind {
    const fn part<const PAUSE: bool>() -> &'static str {
        if PAUSE {
            "pausing"
        } else {
            "busy"
        }
    }
    Kind::new(
        name,
        |shared| {
            let page = Page::create(&format!("{}-{}", shared.base, part::<PAUSE>()))?;
            Offer::ready(Bare::<PAUSE> { page, next: 1 })
        },
        |shared, _| {
            let page = Page::open(&format!("{}-{}", shared.base, part::<PAUSE>()))?;
            Ok(Box::new(Bare::<PAUSE> { page, next: 1 }))
        },
    )
}
