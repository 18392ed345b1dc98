//! The slots of a server: which client has which, and which are free.

use crate::error::{Result, ShmError};
use crate::halves::SendHalf;
use crate::session::Session;
use crate::sync::Arc as ChannelArc;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a slot stays free if another one can be had: a program that still answers the client before, by the slot's number,
/// reaches no client then.
const REST: Duration = Duration::from_secs(10);

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client of a [`MultiServer`](crate::MultiServer): one session, or whichever client has a slot.
///
/// A slot's number converts into one that means the client that has the slot when it is used. One that
/// [`MultiServer::client`](crate::MultiServer::client) returned means that session and no later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId {
    slot: u32,
    /// 0: whichever there is.
    session: u32,
}

impl ClientId {
    /// The slot that the client has, or had.
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// For C: never 0 where it means a session.
    #[cfg(feature = "c-api")]
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.session) << 32 | u64::from(self.slot)
    }

    #[cfg(feature = "c-api")]
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        let client = ClientId { slot: bits as u32, session: (bits >> 32) as u32 };
        (client.session != 0).then_some(client)
    }
}

impl From<u32> for ClientId {
    fn from(slot: u32) -> Self {
        ClientId { slot, session: 0 }
    }
}

/// A client that has a slot, as senders use it.
pub(super) struct Held {
    pub(super) sender: SendHalf,
    pub(super) session: ChannelArc<Session>,
    pub(super) kicked: bool,
}

#[derive(Default)]
struct Slot {
    /// The number of the session that has the slot, until it is free. 0: it is free.
    session: u32,
    /// `None` too when the client has gone and the handler is being called.
    held: Option<Held>,
}

pub(super) struct Slots {
    slots: Vec<Mutex<Slot>>,
    /// Since when each free slot is free. `None`: it never had a client.
    free: Mutex<BTreeMap<u32, Option<Instant>>>,
    /// Clients that have slots.
    count: AtomicU32,
    sessions: AtomicU32,
}

impl Slots {
    pub(super) fn new(count: u32) -> Self {
        Slots {
            slots: (0..count).map(|_| Mutex::default()).collect(),
            free: Mutex::new((0..count).map(|slot| (slot, None)).collect()),
            count: AtomicU32::new(0),
            sessions: AtomicU32::new(0),
        }
    }

    /// Takes the lowest slot that has been free for a while, or else the lowest that is free.
    pub(super) fn take(&self) -> Option<u32> {
        let mut free = lock(&self.free);
        let rested = |since: &Option<Instant>| since.map_or(true, |since| since.elapsed() >= REST);
        let found = free.iter().find(|(_, since)| rested(since)).or_else(|| free.iter().next());
        let slot = *found?.0;
        free.remove(&slot);
        Some(slot)
    }

    /// Gives a slot that was taken to a client.
    pub(super) fn hold(&self, slot: u32, sender: SendHalf, session: ChannelArc<Session>) {
        let mut number = 0;
        while number == 0 {
            number = self.sessions.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        }
        let held = Some(Held { sender, session, kicked: false });
        *lock(&self.slots[slot as usize]) = Slot { session: number, held };
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// The client has gone.
    pub(super) fn vacate(&self, slot: u32) -> Option<Held> {
        let held = lock(&self.slots[slot as usize]).held.take();
        if held.is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
        held
    }

    /// The handler has been called for that: another client may have the slot.
    pub(super) fn free(&self, slot: u32) {
        // Under its lock until it is free, so that a slot without a client is either vacating or free.
        let mut vacated = lock(&self.slots[slot as usize]);
        vacated.session = 0;
        lock(&self.free).insert(slot, Some(Instant::now()));
    }

    /// Whether some client has left, so that its slot is about to come free.
    pub(super) fn is_one_vacating(&self) -> bool {
        self.slots.iter().any(|slot| {
            let slot = lock(slot);
            let is_over = |held: &Held| held.kicked || held.session.check_process().is_err();
            slot.session != 0 && slot.held.as_ref().map_or(true, is_over)
        })
    }

    /// The session that has a slot.
    pub(super) fn session(&self, slot: u32) -> Option<ClientId> {
        let session = lock(self.slots.get(slot as usize)?).session;
        (session != 0).then_some(ClientId { slot, session })
    }

    /// Lends a client.
    ///
    /// # Errors
    /// [`ShmError::NotConnected`]: the slot has none, or another one.
    pub(super) fn with<R>(&self, client: ClientId, with: impl FnOnce(&mut Held) -> R) -> Result<R> {
        let slot = self.slots.get(client.slot as usize).ok_or(ShmError::NotConnected)?;
        let mut slot = lock(slot);
        if client.session != 0 && client.session != slot.session {
            return Err(ShmError::NotConnected);
        }
        slot.held.as_mut().map(with).ok_or(ShmError::NotConnected)
    }

    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_have_rested_come_first_and_else_the_lowest() {
        let slots = Slots::new(3);
        assert_eq!((slots.take(), slots.take()), (Some(0), Some(1)));
        slots.free(0);
        assert_eq!(slots.take(), Some(2), "it never had a client");
        slots.free(1);
        assert_eq!((slots.take(), slots.take(), slots.take()), (Some(0), Some(1), None));
    }

    #[test]
    fn a_slots_number_and_a_session_convert_there_and_back() {
        let client = ClientId { slot: 7, session: 9 };
        assert_eq!(ClientId::from(7).slot(), 7);
        #[cfg(feature = "c-api")]
        assert_eq!(ClientId::from_bits(client.to_bits()), Some(client));
        assert_eq!(client.slot(), 7);
    }
}
