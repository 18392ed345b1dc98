//! Several messages in one call, and messages that are written and read in place, for C.

#![allow(non_camel_case_types)]
// The names are C's.
// What C may do and not, the text of each function says, and the rules at the top of the header.
#![allow(clippy::missing_safety_doc)]

use super::ends::*;
use super::*;
use crate::batch::BatchOutcome;
use crate::bytes::Several;
use crate::halves::SendHalf;

/// A message of a batch.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shm_message_t {
    /// Its bytes.
    pub data: *const c_void,
    /// The number of bytes.
    pub size: u32,
}

/// # Safety
/// NULL, or `count` messages. Each message is NULL or has the number of bytes that it states, and no other code writes them
/// for `'a`.
unsafe fn messages<'a>(messages: *const shm_message_t, count: u32) -> Outcome<Vec<&'a [u8]>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if messages.is_null() {
        return Err(Failure::Argument("the messages"));
    }
    // SAFETY: by the caller.
    let messages = unsafe { std::slice::from_raw_parts(messages, count as usize) };
    // SAFETY: as above.
    messages.iter().map(|message| unsafe { bytes(message.data, message.size) }).collect()
}

impl Ends {
    /// # Safety
    /// As for [`messages`]; `sent` is NULL or valid for a write.
    pub(super) unsafe fn send_batch(
        &self, batch: *const shm_message_t, count: u32, sent: *mut u32,
        send: impl FnOnce(&mut SendHalf, &[&[u8]]) -> Result<BatchOutcome>,
    ) -> Outcome {
        // SAFETY: by the caller.
        let batch = unsafe { messages(batch, count) }?;
        let outcome = self.sending(|sender| send(sender, &batch))?;
        if !sent.is_null() {
            // SAFETY: as above.
            unsafe { sent.write(outcome.sent as u32) };
        }
        self.evicted(outcome.overwritten);
        if outcome.sent < batch.len() {
            return Err(ShmError::QueueFull.into());
        }
        Ok(())
    }

    /// # Safety
    /// `buffer` is NULL or has `size` bytes, `batch` is NULL or has `limit` elements.
    pub(super) unsafe fn receive_batch(
        &self, buffer: *mut c_void, size: u32, batch: *mut shm_message_t, limit: usize,
        timeout: Option<Duration>,
    ) -> Outcome<u32> {
        if batch.is_null() || limit == 0 {
            return Err(Failure::Argument("the places for messages"));
        }
        if buffer.is_null() || size == 0 {
            return Err(Failure::Argument("the buffer"));
        }
        // SAFETY: by the caller. The bytes may be uninitialised; they are only written.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), size as usize) };
        let received = self.receiving(|Receiver { half, ends, .. }| {
            half.receive_within(&mut Several { bytes, ends, limit }, timeout)?;
            let mut start = 0;
            for (at, &end) in ends.iter().enumerate() {
                let message =
                    shm_message_t { data: bytes[start..].as_ptr().cast(), size: (end - start) as u32 };
                // SAFETY: by the caller; there are at most `limit` of them.
                unsafe { batch.add(at).write(message) };
                start = end;
            }
            Ok(ends.len() as u32)
        });
        done(received)
    }

    /// # Safety
    /// `data` is NULL or valid for a write.
    pub(super) unsafe fn reserve(&self, size: u32, data: *mut *mut c_void) -> Outcome {
        // SAFETY: by the caller.
        let data = unsafe { required(data, "the place for the address") }?;
        let mut overwritten = 0;
        let address = self.sending(|sender| {
            let session = sender.session.clone();
            let mut reservation = sender.reserve(size as usize)?;
            overwritten = reservation.outcome().overwritten;
            let place = reservation.place();
            Ok(self.lend(&session, |memory| {
                let address = match memory {
                    Lent::Section(_) => reservation.as_mut_ptr(),
                    Lent::Copy => self.written.address(),
                };
                self.keep_reserved(Reserved { place, session: session.generation, memory });
                address
            }))
        })?;
        *data = address.cast();
        self.evicted(overwritten);
        Ok(())
    }

    pub(super) fn commit(&self) -> Outcome {
        let nothing = Failure::Argument("the reserved message");
        let Some(reserved) = lock(&self.reserved).take() else { return Err(nothing) };
        let committed = self.sending(|sender| {
            if sender.session.generation != reserved.session {
                return Ok(false);
            }
            let copy = matches!(reserved.memory, Lent::Copy).then(|| {
                // SAFETY: there is room for the longest message; C has written it, and writes no more of it.
                unsafe { std::slice::from_raw_parts(self.written.address(), reserved.place.len()) }
            });
            sender.commit_place(reserved.place, copy)
        })?;
        if committed {
            Ok(())
        } else {
            Err(nothing)
        }
    }

    /// # Safety
    /// `data` and `size` are NULL or valid for a write.
    pub(super) unsafe fn borrow(
        &self, data: *mut *const c_void, size: *mut u32, timeout: Option<Duration>,
    ) -> Outcome {
        // SAFETY: by the caller.
        let (data, size) = unsafe {
            (required(data, "the place for the address")?, required(size, "the place for the size")?)
        };
        let (address, len) = self.receiving(|receiver| {
            let borrowed = receiver.half.borrow(timeout)?;
            let (session, len) = (receiver.half.session.clone(), borrowed.len());
            let address = self.lend(&session, |memory| {
                let address = match memory {
                    Lent::Section(_) => receiver.half.consumer.locate(&borrowed),
                    Lent::Copy => {
                        let copy = self.read.address();
                        // SAFETY: there is room for the longest message, and no other thread is in `receiving`.
                        receiver
                            .half
                            .consumer
                            .copy_out(&borrowed, unsafe { std::slice::from_raw_parts_mut(copy, len) });
                        copy.cast_const()
                    }
                };
                *lock(&self.lent) = Some(memory);
                address
            });
            receiver.borrowed = Some(borrowed);
            Ok((address, len))
        })?;
        (*data, *size) = (address.cast(), len as u32);
        Ok(())
    }

    pub(super) fn release(&self) -> Outcome {
        *lock(&self.lent) = None;
        let released = self.receiving(|receiver| match receiver.borrowed.take() {
            Some(borrowed) => receiver.half.release(&borrowed),
            None => Ok(false),
        });
        if released? {
            Ok(())
        } else {
            Err(Failure::Argument("the borrowed message"))
        }
    }
}

/// Returns the number of messages that C has room for, and stores 0 in its place. The 0 remains after any failure.
///
/// # Safety
/// `count` is NULL or valid for a read and a write.
pub(super) unsafe fn take_limit(count: *mut u32) -> Outcome<usize> {
    // SAFETY: by the caller.
    Ok(std::mem::take(unsafe { required(count, "the number of messages") }?) as usize)
}
