//! Messages that C writes and reads in place, and the memory whose addresses C has meanwhile.
//!
//! A message in place holds its session's memory, so that its address stays valid and never refers to a later session. If
//! later sessions use the same section, the address is that of a copy.

use super::*;
use crate::batch::zeros;
use crate::channel::{Channel, Current};
use crate::halves::SendHalf;
use crate::ring::Place;
use crate::session::Session;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

/// The messages of an endpoint that are in place.
#[derive(Default)]
pub(super) struct InPlace {
    /// The channel whose handles a server exports. A client has none.
    pub(super) current: Option<Arc<Current>>,
    /// The message that is being written.
    pub(super) reserved: Mutex<Option<Reserved>>,
    /// Whether `reserved` may hold something.
    pub(super) has_reserved: AtomicBool,
    /// The memory of the message that is being read, so that it stays at its address.
    pub(super) lent: Mutex<Option<Lent>>,
    /// The copies in which messages are written and read, if the section itself must not be used.
    pub(super) written: MessageCopy,
    pub(super) read: MessageCopy,
}

/// A message that C writes before it is sent.
pub(super) struct Reserved {
    /// The sender checks by this whether another message was sent since.
    pub(super) place: Place,
    pub(super) session: u32,
    pub(super) memory: Lent,
}

/// The memory whose address C has.
pub(super) enum Lent {
    /// The session's own section.
    Section(Arc<Session>),
    /// A copy, used instead of a section that the next session uses too.
    Copy,
}

/// Memory for the copy of a message. It does not move while the handle exists, so that its address stays valid.
#[derive(Default)]
pub(super) struct MessageCopy(Mutex<Vec<u64>>);

impl MessageCopy {
    /// Returns the address; there is room for the longest message, of `longest` bytes. It is the same number in each call.
    ///
    /// # Errors
    /// This process has no memory for it.
    pub(super) fn address(&self, longest: usize) -> Result<*mut u8> {
        let mut words = lock(&self.0);
        if words.is_empty() {
            let copy = zeros(longest.div_ceil(8));
            *words = copy.ok_or_else(|| sys::out_of_memory("making room for a copy of a message"))?;
        }
        Ok(words.as_mut_ptr().cast())
    }
}

impl InPlace {
    /// Calls `lend` with the memory for a message whose address C gets. Meanwhile the program gets no handles of the
    /// channel.
    pub(super) fn lend<R>(&self, session: &Arc<Session>, lend: impl FnOnce(Lent) -> R) -> R {
        match &self.current {
            Some(current) => current.hold(|_| {
                let reused = session.channel.is_reused();
                lend(if reused { Lent::Copy } else { Lent::Section(session.clone()) })
            }),
            // A client's section is for one session.
            None => lend(Lent::Section(session.clone())),
        }
    }

    /// Exports handles of a server's channel to the program. From then on the section is reused. Fails while the program has
    /// an address in the section.
    ///
    /// # Errors
    /// [`ShmError::NotReady`]: a message is reserved, or borrowed.
    pub(super) fn export<R>(&self, export: impl FnOnce(&Channel) -> R) -> Outcome<R> {
        let current = self.current.as_deref().ok_or(ShmError::NotConnected)?;
        current.hold(|channel| {
            let is_of_channel = |memory: Option<&Lent>| match memory {
                Some(Lent::Section(session)) => ptr::eq(&*session.channel, channel),
                Some(Lent::Copy) | None => false,
            };
            let is_lent = is_of_channel(lock(&self.reserved).as_ref().map(|reserved| &reserved.memory))
                || is_of_channel(lock(&self.lent).as_ref());
            if is_lent && !channel.is_reused() {
                return Err(ShmError::NotReady.into());
            }
            Ok(export(channel))
        })
    }

    /// Records where a message is being written. The caller has locked the sender.
    pub(super) fn keep_reserved(&self, reserved: Reserved) {
        *lock(&self.reserved) = Some(reserved);
        self.has_reserved.store(true, Ordering::Relaxed);
    }

    /// Drops the reservation if a message was sent since, which took its memory. The caller has locked the sender.
    pub(super) fn drop_taken_reservation(&self, sender: &SendHalf) {
        if !self.has_reserved.load(Ordering::Relaxed) {
            return;
        }
        let mut reserved = lock(&self.reserved);
        let is_taken =
            |it: &Reserved| it.session == sender.session.generation && !sender.producer.has_place(it.place);
        if reserved.as_ref().is_some_and(is_taken) {
            *reserved = None;
        }
        self.has_reserved.store(reserved.is_some(), Ordering::Relaxed);
    }
}
