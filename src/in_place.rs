//! Messages that are written and read in shared memory, without copies.

use crate::error::{Result, ShmError};
#[cfg(not(loom))]
use crate::halves::ReceiveHalf;
use crate::halves::{SendHalf, WriteOutcome};
use crate::ring::Place;
#[cfg(not(loom))]
use crate::ring::{Borrowed, Corrupted};
use std::time::Duration;

/// A place in the ring into which the caller writes a message, see [`SendHalf::reserve`]. If the caller drops it without
/// [`commit`](Self::commit), nothing is sent.
#[must_use = "nothing is sent before it is committed"]
pub struct Reservation<'a> {
    half: &'a mut SendHalf,
    place: Place,
    outcome: WriteOutcome,
}

impl std::fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Reservation<'_> {
    /// Returns the message's length in bytes.
    #[allow(clippy::len_without_is_empty)] // The caller has chosen the length.
    pub fn len(&self) -> usize {
        self.place.len()
    }

    /// Writes `bytes` into the message, `offset` bytes from its start.
    ///
    /// Parts that the caller does not write contain bytes of older messages from this side of the channel, possibly of an
    /// earlier session.
    ///
    /// # Panics
    /// If `bytes` would reach beyond the end of the message.
    #[inline]
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.len()), "a write beyond the end of the message");
        self.half.producer.words().write_part(self.place.payload().wrapping_add(offset as u64), bytes);
    }

    /// Returns the address of the message's [`len`](Self::len) bytes in shared memory, aligned to 8 bytes. It is valid as long
    /// as the reservation exists. The peer can write to the same memory. So plain loads and stores through the pointer are
    /// sound under two conditions. The peer does not access the message. And the channel [rejects when
    /// full](crate::ServerOptions::reject_when_full): on other channels, the receiver may still copy an evicted message out of
    /// this memory.
    #[cfg(not(loom))]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.half.producer.words().address(self.place.payload(), self.place.len())
    }

    /// Returns the number of messages that were evicted to make room, and whether the queue was empty.
    pub fn outcome(&self) -> WriteOutcome {
        self.outcome
    }

    #[cfg(all(feature = "c-api", not(loom)))]
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Sends the message.
    ///
    /// # Errors
    /// - [`ShmError::NotConnected`], [`ShmError::PeerDied`]: the peer is gone, and this half knows it.
    /// - [`ShmError::Corrupted`], [`ShmError::Forked`].
    ///
    /// After an error nothing was sent, with one exception: after `Corrupted` the message may have been sent.
    #[inline]
    pub fn commit(self) -> Result<WriteOutcome> {
        self.half.commit_place(self.place, None)?;
        Ok(self.outcome)
    }
}

impl SendHalf {
    /// Reserves a place in the ring for a message of `len` bytes. The caller writes the message there, and then sends it by
    /// [`commit`](Reservation::commit). Never waits: if the queue is full, this call evicts its oldest messages; the commit
    /// evicts none.
    ///
    /// ```
    /// # let mut server = xshm::SharedServer::start("reserve-example")?;
    /// # let client = std::thread::spawn(|| xshm::SharedClient::connect("reserve-example", std::time::Duration::from_secs(5)));
    /// # server.wait_for_client(None)?;
    /// # let client = client.join().unwrap()?;
    /// let (sender, _) = server.split()?;
    /// let mut message = sender.reserve(12)?;
    /// message.write_at(0, &7_u32.to_le_bytes());
    /// message.write_at(4, b"in place");
    /// message.commit()?;
    ///
    /// let mut buffer = Vec::new();
    /// client.receive_from_server(&mut buffer)?;
    /// assert_eq!(buffer, b"\x07\0\0\0in place");
    /// # Ok::<(), xshm::ShmError>(())
    /// ```
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn reserve(&mut self, len: usize) -> Result<Reservation<'_>> {
        let was_empty = self.producer.seems_empty();
        if let Some(place) = self.find_place(len)? {
            let outcome = WriteOutcome { overwritten: 0, was_empty };
            return Ok(Reservation { half: self, place, outcome });
        }
        let overwritten = self.evict_for(len)?;
        let place = self.find_place(len)?.ok_or(ShmError::QueueFull)?;
        let outcome = WriteOutcome { overwritten, was_empty: false };
        Ok(Reservation { half: self, place, outcome })
    }

    /// Does the same as [`reserve`](Self::reserve) if there is room; evicts nothing.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    pub fn try_reserve(&mut self, len: usize) -> Result<Reservation<'_>> {
        let was_empty = self.producer.seems_empty();
        let place = self.find_place(len)?.ok_or(ShmError::QueueFull)?;
        Ok(Reservation { half: self, place, outcome: WriteOutcome { overwritten: 0, was_empty } })
    }

    /// Does the same as [`try_reserve`](Self::try_reserve), but waits for room: at most `timeout`, or without a limit.
    ///
    /// # Errors
    /// As [`send_timeout`](Self::send_timeout).
    pub fn reserve_timeout(&mut self, len: usize, timeout: Option<Duration>) -> Result<Reservation<'_>> {
        let was_empty = self.producer.seems_empty();
        self.may_wait(timeout);
        let mut place = self.find_place(len)?;
        if place.is_none() {
            self.wait_for_room(len, timeout)?;
            place = self.find_place(len)?;
        }
        let place = place.ok_or(ShmError::Corrupted)?;
        Ok(Reservation { half: self, place, outcome: WriteOutcome { overwritten: 0, was_empty } })
    }

    pub(crate) fn find_place(&mut self, len: usize) -> Result<Option<Place>> {
        self.check_length(len)?;
        self.check()?;
        self.producer.reserve(len).map_err(|what| self.session.corrupted(what))
    }

    /// Sends what was written to a place, or `copy`, unless this half has sent something else since it found the place.
    pub(crate) fn commit_place(&mut self, place: Place, copy: Option<&[u8]>) -> Result<bool> {
        self.session.check()?;
        if let Some(bytes) = copy.filter(|_| self.producer.has_place(place)) {
            self.producer.words().write_part(place.payload(), bytes);
        }
        let sent = self.producer.commit(place);
        if sent {
            self.session.announce_data(|| self.watch.peer_slept())?;
        }
        Ok(sent)
    }
}

#[cfg(not(loom))]
impl ReceiveHalf {
    /// Waits for a message, calls `look` with the message's bytes in the ring, and then takes the message. **For trusted peers
    /// only**, and for channels that [reject when full](crate::ServerOptions::reject_when_full).
    ///
    /// The message counts as unread until `look` returns, so a slow `look` delays the sender. If `look` panics, the message
    /// stays in the queue.
    ///
    /// ```
    /// # let options = xshm::ServerOptions::new().reject_when_full();
    /// # let mut server = options.start("receive-with-example")?;
    /// # let name = "receive-with-example";
    /// # let client = std::thread::spawn(move || xshm::SharedClient::connect(name, std::time::Duration::from_secs(5)));
    /// # server.wait_for_client(None)?;
    /// # let mut client = client.join().unwrap()?;
    /// server.send_to_client(b"read in place")?;
    ///
    /// let (_, receiver) = client.split()?;
    /// // SAFETY: the server is another part of this program, which changes no message that it has sent.
    /// let words = unsafe { receiver.receive_with(|message| message.split(|&byte| byte == b' ').count()) }?;
    /// assert_eq!(words, 3);
    /// # Ok::<(), xshm::ShmError>(())
    /// ```
    ///
    /// # Errors
    /// As [`receive`](Self::receive). [`ShmError::InvalidOption`]: the channel evicts.
    ///
    /// # Safety
    /// Neither the peer nor any other process that has the section may change the message while `look` runs. If one does, bytes
    /// change behind a shared reference, which is undefined behaviour. This library's own sender does not change it. For peers
    /// that might, use [`receive_into`](Self::receive_into), which copies.
    pub unsafe fn receive_with<R>(&mut self, look: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let bound = self.session.channel.tuning.receive_timeout;
        let borrowed = match self.borrow(bound) {
            Err(ShmError::Timeout) if bound == Some(Duration::ZERO) => return Err(ShmError::QueueEmpty),
            other => other?,
        };
        // SAFETY: these are a message's place and length, mapped for as long as the session, which `self` holds; the caller
        // promises that it is not changed.
        let message = unsafe { std::slice::from_raw_parts(self.consumer.locate(&borrowed), borrowed.len()) };
        let found = look(message);
        self.release(&borrowed)?;
        Ok(found)
    }

    /// Waits for a message and leaves it where it lies.
    pub(crate) fn borrow(&mut self, bound: Option<Duration>) -> Result<Borrowed> {
        if !self.session.channel.view.rejects() {
            return Err(ShmError::InvalidOption {
                option: "reject_when_full",
                value: 0,
                reason: "only channels that reject when full allow reading in place".to_owned(),
            });
        }
        if !self.poll(bound)? {
            return Err(ShmError::Timeout);
        }
        let borrowed = self.consumer.borrow().and_then(|found| {
            // No other call takes it.
            found.ok_or(Corrupted("a message disappeared"))
        });
        borrowed.map_err(|what| self.session.corrupted(what))
    }

    /// Takes a message that was lent out. `Ok(false)`: it has been received since.
    pub(crate) fn release(&mut self, borrowed: &Borrowed) -> Result<bool> {
        let released = self.consumer.release(borrowed).map_err(|what| self.session.corrupted(what))?;
        if released {
            self.session.announce_space()?;
        }
        Ok(released)
    }
}
