//! Several messages in one call, and messages that are written and read in place: the bodies that functions of servers and
//! of clients share. Each body relies on the same promises of the caller as the function that calls it.

use super::endpoint::{EndpointHandle, Receiver};
use super::in_place::{Lent, Reserved};
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

pub(super) unsafe fn send_batch<H: EndpointHandle>(
    handle: *const H, messages: *const shm_message_t, count: u32, sent: *mut u32,
    send: impl FnOnce(&mut SendHalf, &[&[u8]]) -> Result<BatchOutcome>,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(sent);
        let inside = enter(handle)?;
        let endpoint = inside.endpoint();
        let batch = array(messages, count, "the messages")?.iter();
        let batch: Vec<_> = batch.map(|message| bytes(message.data, message.size)).collect::<Outcome<_>>()?;
        let outcome = endpoint.sending(|sender| send(sender, &batch))?;
        if !sent.is_null() {
            sent.write(outcome.sent as u32);
        }
        endpoint.report_lost(endpoint.side.sends(), outcome.overwritten.into());
        if outcome.sent < batch.len() {
            return Err(ShmError::QueueFull.into());
        }
        Ok(())
    })
}

pub(super) fn try_send(sender: &mut SendHalf, batch: &[&[u8]]) -> Result<BatchOutcome> {
    Ok(BatchOutcome { sent: sender.try_send_batch(batch)?, overwritten: 0 })
}

pub(super) unsafe fn receive_batch<H: EndpointHandle>(
    handle: *const H, buffer: *mut c_void, size: u32, batch: *mut shm_message_t, count: *mut u32,
    timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        // The 0 remains after any failure.
        let limit = std::mem::take(required(count, "the pointer to the number of messages")?) as usize;
        let inside = enter(handle)?;
        if batch.is_null() || limit == 0 {
            return Err(Failure::Argument("the array for the messages"));
        }
        if buffer.is_null() || size == 0 {
            return Err(Failure::Argument("the buffer"));
        }
        // The bytes may be uninitialised; they are only written.
        let bytes = std::slice::from_raw_parts_mut(buffer.cast::<u8>(), size as usize);
        let received = inside.endpoint().receiving(|Receiver { half, entry_ends, .. }| {
            half.receive_within(&mut Several { bytes, ends: entry_ends, limit }, timeout(timeout_ms))?;
            let mut start = 0;
            // At most `limit` messages.
            for (at, &end) in entry_ends.iter().enumerate() {
                let data = bytes[start..].as_ptr().cast();
                batch.add(at).write(shm_message_t { data, size: (end - start) as u32 });
                start = end;
            }
            Ok(entry_ends.len() as u32)
        });
        count.write(received?);
        Ok(())
    })
}

pub(super) unsafe fn reserve<H: EndpointHandle>(
    handle: *const H, size: u32, data: *mut *mut c_void,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(data);
        let inside = enter(handle)?;
        let (endpoint, in_place) = (inside.endpoint(), &inside.endpoint().in_place);
        let data = required(data, "the pointer to the address")?;
        let mut overwritten = 0;
        let address = endpoint.sending(|sender| {
            let session = sender.session.clone();
            let mut reservation = sender.reserve(size as usize)?;
            overwritten = reservation.outcome().overwritten;
            let place = reservation.place();
            Ok(in_place.lend(&session, |memory| {
                let address = match memory {
                    Lent::Section(_) => reservation.as_mut_ptr(),
                    Lent::Copy => in_place.written.address(),
                };
                in_place.keep_reserved(Reserved { place, session: session.generation, memory });
                address
            }))
        })?;
        *data = address.cast();
        endpoint.report_lost(endpoint.side.sends(), overwritten.into());
        Ok(())
    })
}

pub(super) unsafe fn commit<H: EndpointHandle>(handle: *const H) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let inside = enter(handle)?;
        let in_place = &inside.endpoint().in_place;
        let nothing = Failure::Argument("the reserved message");
        let Some(reserved) = lock(&in_place.reserved).take() else { return Err(nothing) };
        let committed = inside.endpoint().sending(|sender| {
            if sender.session.generation != reserved.session {
                return Ok(false);
            }
            // There is room for the longest message; C has written it, and writes no more of it.
            let copy = || std::slice::from_raw_parts(in_place.written.address(), reserved.place.len());
            let copy = matches!(reserved.memory, Lent::Copy).then(copy);
            sender.commit_place(reserved.place, copy)
        })?;
        committed.then_some(()).ok_or(nothing)
    })
}

pub(super) unsafe fn borrow<H: EndpointHandle>(
    handle: *const H, data: *mut *const c_void, size: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(data);
        clear(size);
        let inside = enter(handle)?;
        let in_place = &inside.endpoint().in_place;
        let data = required(data, "the pointer to the address")?;
        let size = required(size, "the pointer to the size")?;
        let (address, len) = inside.endpoint().receiving(|Receiver { half, borrowed, .. }| {
            let message = half.borrow(timeout(timeout_ms))?;
            let (session, len) = (half.session.clone(), message.len());
            let address = in_place.lend(&session, |memory| {
                let address = match memory {
                    Lent::Section(_) => half.consumer.locate(&message),
                    Lent::Copy => {
                        let copy = in_place.read.address();
                        // There is room for the longest message, and no other thread is in `receiving`.
                        half.consumer.copy_out(&message, std::slice::from_raw_parts_mut(copy, len));
                        copy.cast_const()
                    }
                };
                *lock(&in_place.lent) = Some(memory);
                address
            });
            *borrowed = Some(message);
            Ok((address, len))
        })?;
        (*data, *size) = (address.cast(), len as u32);
        Ok(())
    })
}

pub(super) unsafe fn release<H: EndpointHandle>(handle: *const H) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let inside = enter(handle)?;
        *lock(&inside.endpoint().in_place.lent) = None;
        let released = inside.endpoint().receiving(|receiver| match receiver.borrowed.take() {
            Some(borrowed) => receiver.half.release(&borrowed),
            None => Ok(false),
        })?;
        released.then_some(()).ok_or(Failure::Argument("the borrowed message"))
    })
}
