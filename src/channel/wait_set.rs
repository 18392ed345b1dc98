//! What a call waits for.

use super::Peer;
use crate::error::Result;
use crate::sys::{self, Event, Waitable};
use crate::waiting::Deadline;
use std::time::Duration;

/// The objects that a wait is for, and how long it lasts at most. Where several are signalled the wait reports the one that
/// was added first.
pub(crate) struct WaitSet<'a> {
    objects: Vec<Waitable<'a>>,
    bound: Option<Duration>,
}

/// One object of a [`WaitSet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(usize);

impl<'a> WaitSet<'a> {
    /// Room for most waits: a peer's end, two events of the channel, an interrupt, and the other half's.
    const USUAL: usize = 5;

    pub(crate) fn new() -> Self {
        WaitSet { objects: Vec::with_capacity(Self::USUAL), bound: None }
    }

    fn push(&mut self, object: Waitable<'a>) -> Token {
        self.objects.push(object);
        Token(self.objects.len() - 1)
    }

    pub(crate) fn event(&mut self, event: &'a Event) -> Token {
        self.push(Waitable::Event(event))
    }

    /// As [`event`](Self::event), for an event that one thread at a time waits for: see [`Waitable::Wake`].
    pub(crate) fn wake(&mut self, event: &'a Event) -> Token {
        self.push(Waitable::Wake(event))
    }

    /// Waits for the end of a peer's process; where it cannot be watched, no longer than until it is to be looked for.
    pub(crate) fn peer(&mut self, peer: &'a Peer, check_interval: Option<Duration>) -> Option<Token> {
        match peer.process() {
            Some(process) => Some(self.push(Waitable::Process(process))),
            None => {
                self.at_most(check_interval);
                None
            }
        }
    }

    /// Waits no longer than this. `None` changes nothing.
    pub(crate) fn at_most(&mut self, bound: Option<Duration>) {
        self.bound = self.bound.into_iter().chain(bound).min();
    }

    /// What is waited for, and how long at most, for a program that waits by itself.
    pub(crate) fn parts(&self) -> (&[Waitable<'a>], Option<Duration>) {
        (&self.objects, self.bound)
    }

    /// Waits. `None`: the time was up.
    pub(crate) fn wait(&self, deadline: Deadline) -> Result<Option<Token>> {
        Ok(sys::wait_any(&self.objects, deadline.remaining(self.bound))?.map(Token))
    }
}
