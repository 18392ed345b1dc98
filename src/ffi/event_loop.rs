//! Event loops: what a program of C waits for by itself.

use super::endpoint::{EndpointHandle, ServerHandle};
use super::options::SHM_FOREVER;
use super::*;
use crate::halves::SendHalf;
use crate::readiness::WaitHandles;
use crate::session::Session;
use std::time::Instant;

/// The objects that an event loop waits for: for messages (shm_server_wait_handles, shm_client_wait_handles), for room
/// (shm_server_room_handles, shm_client_room_handles), for a client (shm_server_accept_handles), or for the answer to a connect
/// (shm_pending_connect_wait_handles). They are handles on Windows and descriptors on Linux.
///
/// \ingroup event_loops
#[repr(C)]
pub struct shm_wait_handles_t {
    /// Becomes ready when the peer has signalled: on Linux a descriptor that becomes readable (do not read from it), on Windows an
    /// auto-reset event. It may be ready although nothing is armed. -1: the channel has no events.
    pub data: isize,
    /// Becomes ready when the peer's process has ended: a pidfd (Linux), or a process handle (Windows). -1: the channel has no events;
    /// or the process cannot be watched, and check_interval_ms is set. Call shm_..._is_connected at this interval then. From
    /// shm_server_accept_handles and shm_pending_connect_wait_handles it is also -1 if there is no process to watch, and always on
    /// Linux, where `data` becomes ready.
    pub peer: isize,
}

const NO_OBJECT: isize = -1;

impl shm_wait_handles_t {
    const NONE: Self = shm_wait_handles_t { data: NO_OBJECT, peer: NO_OBJECT };
}

impl From<WaitHandles> for shm_wait_handles_t {
    fn from(handles: WaitHandles) -> Self {
        let (data, peer) = handles.into_parts();
        shm_wait_handles_t { data: sys::into_raw(data), peer: peer.map_or(NO_OBJECT, sys::into_raw) }
    }
}

/// Stores the objects of a session.
///
/// # Safety
/// As [`enter`] and [`store`].
pub(super) unsafe fn session_handles<H: EndpointHandle>(
    handle: *const H, out: *mut shm_wait_handles_t, of: impl FnOnce(&Session) -> Result<Option<WaitHandles>>,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        store(out, shm_wait_handles_t::NONE);
        let inside = enter(handle)?;
        let out = required(out, "the pointer to the handles")?;
        // Not by one of the halves, which another thread may be waiting in.
        let session = inside.endpoint().session()?;
        if let Some(handles) = of(&session)? {
            *out = handles.into();
        }
        Ok(())
    })
}

pub(super) unsafe fn arm<H: EndpointHandle>(handle: *const H, is_ready: *mut bool) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(is_ready);
        let inside = enter(handle)?;
        let is_ready = required(is_ready, "the pointer to the answer")?;
        *is_ready = inside.endpoint().receiving(|receiver| receiver.half.arm())?;
        Ok(())
    })
}

pub(super) unsafe fn disarm<H: EndpointHandle>(handle: *const H) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { Ok(enter(handle)?.endpoint().receiving(|receiver| receiver.half.disarm())?) })
}

pub(super) unsafe fn arm_room<H: EndpointHandle>(
    handle: *const H, size: u32, is_ready: *mut bool,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(is_ready);
        let inside = enter(handle)?;
        let is_ready = required(is_ready, "the pointer to the answer")?;
        *is_ready = inside.endpoint().sending(|sender| sender.arm(size as usize))?;
        Ok(())
    })
}

pub(super) unsafe fn disarm_room<H: EndpointHandle>(handle: *const H) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe { Ok(enter(handle)?.endpoint().sending(SendHalf::disarm)?) })
}

/// Stores objects that are valid until the next step of a connect, and the time of this step at the latest. After a failure there
/// are no objects, and the time is 0.
///
/// # Safety
/// As [`store`].
pub(super) unsafe fn store_until_next_look(
    out: *mut shm_wait_handles_t, next_look_ms: *mut u32, handles: impl FnOnce() -> Outcome<WaitHandles>,
) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        store(out, shm_wait_handles_t::NONE);
        clear(next_look_ms);
        let out = required(out, "the pointer to the handles")?;
        let next_look_ms = required(next_look_ms, "the pointer to the time of the next look")?;
        let handles = handles()?;
        *next_look_ms = handles.next_look().map_or(SHM_FOREVER, milliseconds_until);
        *out = handles.into();
        Ok(())
    })
}

/// The time until then, rounded up: a loop that woke earlier would find nothing to do.
fn milliseconds_until(at: Instant) -> u32 {
    let left = at.saturating_duration_since(Instant::now());
    u32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(SHM_FOREVER).min(SHM_FOREVER - 1)
}

pub(super) unsafe fn try_accept(handle: *const ServerHandle, is_accepted: *mut bool) -> shm_error_t {
    // SAFETY: by the caller.
    returning_code(|| unsafe {
        clear(is_accepted);
        let inside = enter(handle)?;
        let is_accepted = required(is_accepted, "the pointer to the answer")?;
        *is_accepted = inside.endpoint().try_accept()?;
        Ok(())
    })
}

/// Closes the objects that shm_server_wait_handles or another function has stored.
///
/// \ingroup event_loops
/// \param[in,out] handles The objects, which the program must not have closed. Both fields become -1. NULL, and
///   fields that are -1, do nothing.
/// \par Threads
/// Any thread, while no other thread uses the structure.
#[no_mangle]
pub unsafe extern "C" fn shm_wait_handles_close(handles: *mut shm_wait_handles_t) {
    // SAFETY: by the caller.
    returning((), || unsafe {
        let Some(handles) = handles.as_mut() else { return Ok(()) };
        for number in [&mut handles.data, &mut handles.peer] {
            if *number != NO_OBJECT {
                sys::close_raw(std::mem::replace(number, NO_OBJECT));
            }
        }
        Ok(())
    });
}
