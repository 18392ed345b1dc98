//! The bodies that functions of servers and of clients share. Each body relies on the same promises of the caller as the
//! function that calls it.

use super::background::to_session;
use super::callbacks::{call_c, session_bits, shm_call_t};
use super::endpoint::{EndpointHandle, Receiver, ServerHandle};
use super::in_place::{Lent, Reserved};
use super::options::shm_stats_t;
use super::*;
use crate::batch::BatchOutcome;
use crate::bytes::Several;
use crate::calls::{self, Part};
use crate::halves::{ReceiveHalf, SendHalf};
use std::mem::offset_of;

/// A message of a batch.
///
/// \ingroup batches
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
        match endpoint.sending(|sender| sender.try_send(message)) {
            Err(ShmError::QueueFull) => {
                waited = true;
                endpoint
                    .sending_patiently(|sender| sender.send_timeout(message, timeout(timeout_ms)))
                    .map_err(|error| no_room(error, timeout_ms))?;
            }
            other => other?,
        }
        if waited {
            endpoint.callbacks.on_space_available();
        }
        Ok(())
    })
}

pub(super) unsafe fn receive<H: EndpointHandle>(
    handle: *const H, buffer: *mut c_void, size: *mut u32,
    receive: impl FnOnce(&mut ReceiveHalf, &mut [u8]) -> Result<usize>,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { receive_into(handle, buffer, size, receive) })
}

unsafe fn receive_into<H: EndpointHandle>(
    handle: *const H, buffer: *mut c_void, size: *mut u32,
    receive: impl FnOnce(&mut ReceiveHalf, &mut [u8]) -> Result<usize>,
) -> Outcome {
    // SAFETY: by the caller.
    let (inside, size) = unsafe { (enter(handle)?, required(size, "the pointer to the buffer's size")?) };
    let buffer: &mut [u8] = match (buffer.is_null(), *size) {
        (_, 0) => &mut [],
        (true, _) => return Err(Failure::Null("the buffer")),
        // SAFETY: by the caller. The bytes of the buffer may be uninitialised; they are only written.
        (false, size) => unsafe {
            std::slice::from_raw_parts_mut(buffer.cast(), (size as usize).min(LARGEST_MESSAGE))
        },
    };
    let received = inside.endpoint().receiving(|receiver| receive(&mut receiver.half, buffer));
    match &received {
        Ok(length) => *size = *length as u32,
        Err(ShmError::BufferTooSmall { needed }) => *size = *needed as u32,
        Err(_) => {}
    }
    Ok(received.map(drop)?)
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
        store(sent, outcome.sent as u32);
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

pub(super) unsafe fn send_batch_timeout<H: EndpointHandle>(
    handle: *const H, messages: *const shm_message_t, count: u32, sent: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(sent);
        let inside = enter(handle)?;
        let batch = array(messages, count, "the messages")?.iter();
        let batch = list_of(batch.map(|message| bytes(message.data, message.size)))?;
        let endpoint = inside.endpoint();
        let mut count = endpoint.sending(|sender| sender.try_send_batch(&batch))?;
        if count < batch.len() {
            let rest = &batch[count..];
            let within = timeout(timeout_ms);
            let sent_later = endpoint.sending_patiently(|sender| sender.send_batch_timeout(rest, within));
            // What was sent before counts also after an error.
            store(sent, count as u32);
            count += sent_later?;
        }
        store(sent, count as u32);
        if count < batch.len() {
            return Err(no_room(ShmError::Timeout, timeout_ms).into());
        }
        Ok(())
    })
}

pub(super) unsafe fn receive_call(
    handle: *const ServerHandle, buffer: *mut c_void, size: *mut u32, is_call: *mut bool,
    call: *mut shm_call_t, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(is_call);
        clear(call);
        let (is_call, call) =
            (required(is_call, "the pointer to is_call")?, required(call, "the pointer to the call")?);
        receive_into(handle, buffer, size, |half, to| {
            let received = half.receive_timeout_into(to, timeout(timeout_ms));
            let len = received.map_err(|error| no_message(error, timeout_ms))?;
            let Some((Part::Call, id, bytes)) = calls::read(&to[..len]) else { return Ok(len) };
            let len = bytes.len();
            to.copy_within(calls::CALL_HEADER..calls::CALL_HEADER + len, 0);
            *is_call = true;
            *call = shm_call_t { session: session_bits(0, half.session.generation), id };
            Ok(len)
        })
    })
}

pub(super) unsafe fn end_call(
    handle: *const ServerHandle, call: shm_call_t, part: Part, data: *const c_void, size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let inside = enter(handle)?;
        let message = calls::message(part, call.id, bytes(data, size)?)?;
        let (_, session) = to_session(call.session)?;
        let outcome = inside.endpoint().sending(|sender| {
            if session != Some(sender.session.generation) {
                return Ok(None);
            }
            sender.send(&message).map(Some)
        })?;
        let overwritten = outcome.ok_or(ShmError::NotConnected)?.overwritten;
        inside.endpoint().report_lost(inside.endpoint().side.sends(), overwritten.into());
        Ok(())
    })
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
        if batch.is_null() {
            return Err(Failure::Null("the array for the messages"));
        }
        if buffer.is_null() {
            return Err(Failure::Null("the buffer"));
        }
        if limit == 0 || size == 0 {
            return Err(Failure::Nothing(
                "there is no room for a message: the array or the buffer has the size 0",
            ));
        }
        let bytes = std::slice::from_raw_parts_mut(buffer.cast::<u8>(), size as usize);
        let received = inside.endpoint().receiving(|Receiver { half, entry_ends, .. }| {
            half.receive_within(&mut Several { bytes, ends: entry_ends, limit }, timeout(timeout_ms))
                .map_err(|error| no_message(error, timeout_ms))?;
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

/// What a reservation does where there is no room.
#[derive(Clone, Copy)]
pub(super) enum Reserving {
    Evict,
    IfRoom,
    /// Milliseconds.
    Wait(u32),
}

pub(super) unsafe fn reserve<H: EndpointHandle>(
    handle: *const H, size: u32, data: *mut *mut c_void, reserving: Reserving,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(data);
        let inside = enter(handle)?;
        let (endpoint, in_place) = (inside.endpoint(), &inside.endpoint().in_place);
        let data = required(data, "the pointer to the address")?;
        let mut overwritten = 0;
        let reserve = |sender: &mut SendHalf| {
            let session = sender.session.clone();
            let (len, longest) = (size as usize, sender.max_message_size());
            let mut reservation = match reserving {
                Reserving::Evict => sender.reserve(len),
                Reserving::IfRoom => sender.try_reserve(len),
                Reserving::Wait(timeout_ms) => sender
                    .reserve_timeout(len, timeout(timeout_ms))
                    .map_err(|error| no_room(error, timeout_ms)),
            }?;
            overwritten = reservation.outcome().overwritten;
            let place = reservation.place();
            in_place.lend(&session, |memory| {
                let address = match memory {
                    Lent::Section(_) => reservation.as_mut_ptr(),
                    Lent::Copy => in_place.written.address(longest)?,
                };
                in_place.keep_reserved(Reserved { place, session: session.generation, memory });
                Ok(address)
            })
        };
        let address = match reserving {
            Reserving::Wait(_) => endpoint.sending_patiently(reserve),
            Reserving::Evict | Reserving::IfRoom => endpoint.sending(reserve),
        }?;
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
        let nothing = Failure::Nothing(
            "no message is reserved: none was, or another message was sent since, or its session is over",
        );
        let Some(reserved) = lock(&in_place.reserved).take() else { return Err(nothing) };
        let committed = inside.endpoint().sending(|sender| {
            if sender.session.generation != reserved.session {
                return Ok(false);
            }
            let address = || in_place.written.address(sender.max_message_size());
            let copy = matches!(reserved.memory, Lent::Copy).then(address).transpose()?;
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
            let message = half.borrow(timeout(timeout_ms)).map_err(|error| no_message(error, timeout_ms))?;
            let (session, len) = (half.session.clone(), message.len());
            let address = in_place.lend(&session, |memory| {
                let address = match memory {
                    Lent::Section(_) => half.consumer.locate(&message),
                    Lent::Copy => {
                        let copy =
                            in_place.read.address(session.channel.view.geometry().lengths().longest())?;
                        half.consumer.copy_out(&message, std::slice::from_raw_parts_mut(copy, len));
                        copy.cast_const()
                    }
                };
                *lock(&in_place.lent) = Some(memory);
                Ok::<_, ShmError>(address)
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
        let nothing = "no message is borrowed: none was, or it was received since, or its session is over";
        released.then_some(()).ok_or(Failure::Nothing(nothing))
    })
}

pub(super) unsafe fn max_message_bytes<H: EndpointHandle>(handle: *const H) -> u32 {
    // SAFETY: by the caller.
    returning(0, || unsafe { Ok(enter(handle)?.endpoint().longest as u32) })
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
        store_peer(peer, process_id, user, user_size);
        Ok(())
    })
}

pub(super) unsafe fn stats<H: EndpointHandle>(handle: *const H, out: *mut shm_stats_t) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(out);
        let inside = enter(handle)?;
        let out = required(out, "the pointer to the statistics")?;
        let endpoint = inside.endpoint();
        let session = endpoint.session()?;
        // A call that waits has the lock: for room, so that the queue is full; or for a message, so that there is none.
        let sending = match endpoint.sender.try_lock() {
            Ok(mut sender) => sender.as_mut().ok_or(ShmError::NotConnected)?.stats()?,
            Err(_) => endpoint.send_counts(),
        };
        let receiving = match endpoint.receiver.try_lock() {
            Ok(receiver) => receiver.as_ref().ok_or(ShmError::NotConnected)?.half.stats(),
            Err(_) => endpoint.receive_counts(),
        };
        let (signals, sleeps) = session.signals_and_sleeps();
        *out = shm_stats_t {
            generation: session.generation,
            struct_size: offset_of!(shm_stats_t, reserved) as u32,
            reserved: [0; 4],
            send_depth: sending.send_depth as u32,
            receive_depth: receiving.receive_depth as u32,
            sent: sending.sent,
            send_dropped: sending.send_dropped,
            received: receiving.received,
            receive_dropped: receiving.receive_dropped,
            signals_sent: signals,
            sleeps,
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
