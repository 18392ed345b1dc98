//! The bodies that functions of servers and of clients share. Each body relies on the same promises of the caller as the
//! function that calls it.

use super::callbacks::call_c;
use super::endpoint::{EndpointHandle, Receiver};
use super::in_place::{Lent, Reserved};
use super::options::shm_stats_t;
use super::*;
use crate::auto::AutoHandler;
use crate::batch::BatchOutcome;
use crate::bytes::Several;
use crate::halves::{ReceiveHalf, SendHalf};

/// A message of a batch.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shm_message_t {
    /// Its bytes.
    pub data: *const c_void,
    /// The number of bytes.
    pub size: u32,
}

pub(super) unsafe fn send<H: EndpointHandle>(
    handle: *const H, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let inside = enter(handle)?;
        let endpoint = inside.endpoint();
        let message = bytes(data, size)?;
        let outcome = endpoint.sending(|sender| sender.send(message))?;
        endpoint.report_lost(endpoint.side.sends(), outcome.overwritten.into());
        Ok(())
    })
}

pub(super) unsafe fn try_send<H: EndpointHandle>(
    handle: *const H, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let message = bytes(data, size)?;
        Ok(enter(handle)?.endpoint().sending(|sender| sender.try_send(message))?)
    })
}

pub(super) unsafe fn send_timeout<H: EndpointHandle>(
    handle: *const H, data: *const c_void, size: u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let inside = enter(handle)?;
        let endpoint = inside.endpoint();
        let message = bytes(data, size)?;
        let mut waited = false;
        endpoint.sending(|sender| match sender.try_send(message) {
            Err(ShmError::QueueFull) => {
                waited = true;
                sender.send_timeout(message, timeout(timeout_ms))
            }
            other => other,
        })?;
        if waited {
            endpoint.callbacks.on_space_available(endpoint.side.sends().into());
        }
        Ok(())
    })
}

pub(super) unsafe fn receive<H: EndpointHandle>(
    handle: *const H, buffer: *mut c_void, size: *mut u32,
    receive: impl FnOnce(&mut ReceiveHalf, &mut [u8]) -> Result<usize>,
) -> shm_error_t {
    // SAFETY: by the caller. The bytes of the buffer may be uninitialised; they are only written.
    returning_code(|| unsafe {
        let inside = enter(handle)?;
        let size = required(size, "the pointer to the buffer's size")?;
        let buffer: &mut [u8] = match (buffer.is_null(), *size) {
            (_, 0) => &mut [],
            (true, _) => return Err(Failure::Argument("the buffer")),
            (false, size) => {
                std::slice::from_raw_parts_mut(buffer.cast(), (size as usize).min(MAX_MESSAGE_SIZE))
            }
        };
        let received = inside.endpoint().receiving(|receiver| receive(&mut receiver.half, buffer));
        match &received {
            Ok(length) => *size = *length as u32,
            Err(ShmError::BufferTooSmall { needed }) => *size = *needed as u32,
            Err(_) => {}
        }
        Ok(received?)
    })
}

pub(super) unsafe fn poll<H: EndpointHandle>(handle: *const H, timeout_ms: u32) -> shm_error_t {
    returning_code(|| {
        // SAFETY: by the caller.
        let inside = unsafe { enter(handle) }?;
        let endpoint = inside.endpoint();
        if !endpoint.receiving(|receiver| receiver.half.poll(timeout(timeout_ms)))? {
            return Err(if timeout_ms == 0 { ShmError::QueueEmpty } else { ShmError::Timeout }.into());
        }
        let callbacks = &endpoint.callbacks;
        call_c!(callbacks.on_data_available());
        Ok(())
    })
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
        let batch = list_of(batch.map(|message| bytes(message.data, message.size)))?;
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

/// Sends the messages of a batch, from the first, that have room.
pub(super) fn send_fitting(sender: &mut SendHalf, batch: &[&[u8]]) -> Result<BatchOutcome> {
    Ok(BatchOutcome { sent: sender.try_send_batch(batch)?, overwritten: 0 })
}

pub(super) unsafe fn receive_batch<H: EndpointHandle>(
    handle: *const H, buffer: *mut c_void, size: u32, batch: *mut shm_message_t, count: *mut u32,
    timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller. The bytes of the buffer may be uninitialised; they are only written. `receive_within` receives at
    // most `limit` messages.
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
        let bytes = std::slice::from_raw_parts_mut(buffer.cast::<u8>(), size as usize);
        let received = inside.endpoint().receiving(|Receiver { half, entry_ends, .. }| {
            half.receive_within(&mut Several { bytes, ends: entry_ends, limit }, timeout(timeout_ms))?;
            let mut start = 0;
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
            in_place.lend(&session, |memory| {
                let address = match memory {
                    Lent::Section(_) => reservation.as_mut_ptr(),
                    Lent::Copy => in_place.written.address()?,
                };
                in_place.keep_reserved(Reserved { place, session: session.generation, memory });
                Ok(address)
            })
        })?;
        *data = address.cast();
        endpoint.report_lost(endpoint.side.sends(), overwritten.into());
        Ok(())
    })
}

pub(super) unsafe fn commit<H: EndpointHandle>(handle: *const H) -> shm_error_t {
    // SAFETY: by the caller. A copy has room for the longest message; C has written the message, and writes no more of it.
    returning_code(|| unsafe {
        let inside = enter(handle)?;
        let in_place = &inside.endpoint().in_place;
        let nothing = Failure::Argument("the reserved message");
        let Some(reserved) = lock(&in_place.reserved).take() else { return Err(nothing) };
        let committed = inside.endpoint().sending(|sender| {
            if sender.session.generation != reserved.session {
                return Ok(false);
            }
            let copy =
                matches!(reserved.memory, Lent::Copy).then(|| in_place.written.address()).transpose()?;
            let copy = copy.map(|copy| std::slice::from_raw_parts(copy, reserved.place.len()));
            sender.commit_place(reserved.place, copy)
        })?;
        committed.then_some(()).ok_or(nothing)
    })
}

pub(super) unsafe fn borrow<H: EndpointHandle>(
    handle: *const H, data: *mut *const c_void, size: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller. A copy has room for the longest message, and no other thread is in `receiving`.
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
                        let copy = in_place.read.address()?;
                        half.consumer.copy_out(&message, std::slice::from_raw_parts_mut(copy, len));
                        copy.cast_const()
                    }
                };
                *lock(&in_place.lent) = Some(memory);
                Ok(address)
            })?;
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

pub(super) unsafe fn is_connected<H: EndpointHandle>(handle: *const H) -> bool {
    // SAFETY: by the caller.
    returning(false, || unsafe {
        let session = enter(handle)?.endpoint().session();
        Ok(session.is_ok_and(|session| session.check_process().is_ok()))
    })
}

pub(super) unsafe fn peer<H: EndpointHandle>(
    handle: *const H, process_id: *mut u32, user: *mut c_char, user_size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(process_id);
        copy_text("", user, user_size);
        let peer = enter(handle)?.endpoint().session()?.peer.identity();
        if !process_id.is_null() {
            process_id.write(peer.process_id);
        }
        copy_text(&peer.user.map_or(String::new(), |user| user.to_string()), user, user_size);
        Ok(())
    })
}

pub(super) unsafe fn stats<H: EndpointHandle>(handle: *const H, out: *mut shm_stats_t) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(out);
        let inside = enter(handle)?;
        let endpoint = inside.endpoint();
        let sending = lock(&endpoint.sender).as_mut().ok_or(ShmError::NotConnected)?.stats()?;
        let receiving = lock(&endpoint.receiver).as_ref().ok_or(ShmError::NotConnected)?.half.stats();
        *required(out, "the pointer to the statistics")? = shm_stats_t {
            generation: receiving.generation,
            send_depth: sending.send_depth as u32,
            receive_depth: receiving.receive_depth as u32,
            reserved: 0,
            sent: sending.sent,
            send_dropped: sending.send_dropped,
            received: receiving.received,
            receive_dropped: receiving.receive_dropped,
            signals: receiving.signals,
            sleeps: receiving.sleeps,
        };
        Ok(())
    })
}

pub(super) unsafe fn interrupt<H: EndpointHandle>(handle: *const H) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle).map(|inside| inside.endpoint().interrupter.interrupt()) })
}

pub(super) unsafe fn resume<H: EndpointHandle>(handle: *const H) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { enter(handle).map(|inside| inside.endpoint().interrupter.reset()) })
}
