//! The bodies that functions of servers and of clients share. Each body relies on the same promises of the caller as the
//! function that calls it.

#![allow(clippy::missing_safety_doc)]

use super::bulk::{shm_message_t, take_limit};
use super::ends::EndpointHandle;
use super::options::{put, shm_stats_t};
use super::*;
use crate::batch::BatchOutcome;

pub(super) unsafe fn send_batch<H: EndpointHandle>(
    handle: *const H, messages: *const shm_message_t, count: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(sent);
        enter(handle)?.ends().send_batch(messages, count, sent, |sender, batch| sender.send_batch(batch))
    })
}

pub(super) unsafe fn try_send_batch<H: EndpointHandle>(
    handle: *const H, messages: *const shm_message_t, count: u32, sent: *mut u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(sent);
        enter(handle)?.ends().send_batch(messages, count, sent, |sender, batch| {
            Ok(BatchOutcome { sent: sender.try_send_batch(batch)?, overwritten: 0 })
        })
    })
}

pub(super) unsafe fn receive_batch<H: EndpointHandle>(
    handle: *const H, buffer: *mut c_void, size: u32, messages: *mut shm_message_t, count: *mut u32,
    timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let limit = take_limit(count)?;
        let time = timeout(timeout_ms);
        count.write(enter(handle)?.ends().receive_batch(buffer, size, messages, limit, time)?);
        Ok(())
    })
}

pub(super) unsafe fn reserve<H: EndpointHandle>(
    handle: *const H, size: u32, data: *mut *mut c_void,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(data);
        enter(handle)?.ends().reserve(size, data)
    })
}

pub(super) unsafe fn borrow<H: EndpointHandle>(
    handle: *const H, data: *mut *const c_void, size: *mut u32, timeout_ms: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(data);
        clear(size);
        enter(handle)?.ends().borrow(data, size, timeout(timeout_ms))
    })
}

pub(super) unsafe fn peer<H: EndpointHandle>(
    handle: *const H, process_id: *mut u32, user: *mut c_char, user_size: u32,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(process_id);
        copy_text("", user, user_size);
        enter(handle)?.ends().peer(process_id, user, user_size)
    })
}

pub(super) unsafe fn stats<H: EndpointHandle>(handle: *const H, out: *mut shm_stats_t) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(out);
        put(enter(handle)?.ends().stats()?, out, "the place for the figures")
    })
}

pub(super) unsafe fn interrupt<H: EndpointHandle>(handle: *const H) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        enter(handle)?.ends().interrupter().interrupt();
        Ok(())
    })
}

pub(super) unsafe fn resume<H: EndpointHandle>(handle: *const H) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        enter(handle)?.ends().interrupter().reset();
        Ok(())
    })
}
