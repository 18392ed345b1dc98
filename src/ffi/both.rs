//! The bodies that functions of servers and of clients share. Each body relies on the same promises of the caller as the
//! function that calls it.

use super::endpoint::EndpointHandle;
use super::options::shm_stats_t;
use super::*;
use crate::auto::AutoHandler;
use crate::halves::ReceiveHalf;

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
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let inside = enter(handle)?;
        let size = required(size, "the pointer to the buffer's size")?;
        let buffer: &mut [u8] = match (buffer.is_null(), *size) {
            (_, 0) => &mut [],
            (true, _) => return Err(Failure::Argument("the buffer")),
            // The bytes may be uninitialised; they are only written.
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
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        let inside = enter(handle)?;
        let endpoint = inside.endpoint();
        if !endpoint.receiving(|receiver| receiver.half.poll(timeout(timeout_ms)))? {
            return Err(if timeout_ms == 0 { ShmError::QueueEmpty } else { ShmError::Timeout }.into());
        }
        endpoint.callbacks.on_data_available();
        Ok(())
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
