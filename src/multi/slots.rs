//! The slots of a server: which session has which, and which are free.

use crate::background::core::Core;
use crate::background::sending::To;
use crate::sync::{lock, Mutex};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A slot is not used again for this time, where another slot is free: a program that answers a slot's last client late, by the
/// slot's number, then reaches no other client.
const REST: Duration = Duration::from_secs(10);

/// A client of a [`MultiServer`](crate::MultiServer), as the target of a call: one session, or the client that has a slot.
///
/// A slot's number converts into a `ClientId` for the client that has the slot at the time of the call.
/// [`MultiServer::client`](crate::MultiServer::client) returns a `ClientId` for one session, and for no later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId {
    pub(super) slot: u32,
    /// 0: whichever has the slot.
    pub(super) session: u32,
}

impl ClientId {
    /// Returns the slot that the client has, or had.
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// The client that has a slot now, and no later one.
    pub(super) fn current(core: &Core, slot: u32) -> Option<Self> {
        Some(ClientId { slot, session: core.session(slot)? })
    }

    /// The slot, and the session if this is the address of one.
    pub(super) fn to(self) -> To {
        (self.slot, (self.session != 0).then_some(self.session))
    }

    /// As C has it: never 0 for a session.
    #[cfg(all(feature = "c-api", not(loom)))]
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.session) << 32 | u64::from(self.slot)
    }

    #[cfg(all(feature = "c-api", not(loom)))]
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

/// The free slots. It has an entry only for those that have had a client.
struct Free {
    count: u32,
    /// How many slots have ever had a client: those with the lowest numbers.
    used: u32,
    /// The others that are free, and since when.
    left: BTreeMap<u32, Instant>,
}

/// Which slots are free, and the numbers of sessions.
pub(super) struct Slots {
    free: Mutex<Free>,
    sessions: AtomicU32,
}

impl Slots {
    pub(super) fn new(count: u32) -> Self {
        let free = Mutex::new(Free { count, used: 0, left: BTreeMap::new() });
        Slots { free, sessions: AtomicU32::new(0) }
    }

    /// Takes the lowest slot that has been free for [`REST`], or else the lowest free slot.
    pub(super) fn take(&self) -> Option<u32> {
        let mut free = lock(&self.free);
        let found = free.left.iter().find(|(_, since)| since.elapsed() >= REST);
        let rested = found.map(|(&slot, _)| slot);
        if rested.is_none() && free.used < free.count {
            free.used += 1;
            return Some(free.used - 1);
        }
        let slot = rested.or_else(|| free.left.keys().next().copied())?;
        free.left.remove(&slot);
        Some(slot)
    }

    /// Another client may have the slot.
    pub(super) fn free(&self, slot: u32) {
        lock(&self.free).left.insert(slot, Instant::now());
    }

    /// A number for a new session: not 0.
    pub(super) fn next_session(&self) -> u32 {
        loop {
            let number = self.sessions.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if number != 0 {
                return number;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
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
