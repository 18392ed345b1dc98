//! Boost.Interprocess's `message_queue`, by `boost_queue.cpp`, which `build.rs` builds.

use crate::lines::Kind;

/// Boost's conditions sleep in the kernel, except on Windows, where they poll.
pub const KIND: Kind =
    Kind { sleeps: !cfg!(windows), ..Kind::new("Boost message_queue", system::offer, system::open) };

#[cfg(boost)]
mod system {
    use crate::line::{End, Line, Outcome, LONGEST};
    use crate::lines::Offer;
    use crate::side::Shared;
    use std::ffi::{c_char, c_void, CString};
    use std::ptr::NonNull;

    extern "C" {
        fn boost_queue_make(name: *const c_char, messages: usize, longest: usize) -> *mut c_void;
        fn boost_queue_open(name: *const c_char) -> *mut c_void;
        fn boost_queue_remove(name: *const c_char);
        fn boost_queue_send(queue: *mut c_void, message: *const u8, size: usize) -> bool;
        fn boost_queue_receive(queue: *mut c_void, buffer: *mut u8, capacity: usize) -> usize;
    }

    /// A queue for one direction, left open until the process ends.
    struct Queue(NonNull<c_void>);

    fn name(shared: &Shared, way: &str) -> Outcome<CString> {
        Ok(CString::new(format!("{}-boost-{way}", shared.base))?)
    }

    pub fn offer(shared: &Shared) -> Outcome<Offer> {
        let make = |way| -> Outcome<Queue> {
            // SAFETY: the name ends in a zero.
            let queue = unsafe { boost_queue_make(name(shared, way)?.as_ptr(), xshm::MAX_MESSAGES, LONGEST) };
            Ok(Queue(NonNull::new(queue).ok_or("Boost could not make the queue")?))
        };
        Offer::ready(Queues { sends: make("there")?, receives: make("back")? })
    }

    pub fn open(shared: &Shared, _address: &str) -> Outcome<Box<dyn End>> {
        let open = |way| -> Outcome<Queue> {
            let name = name(shared, way)?;
            // SAFETY: the name ends in a zero. It can be removed once both sides have opened the queue.
            let queue = unsafe {
                let queue = boost_queue_open(name.as_ptr());
                boost_queue_remove(name.as_ptr());
                queue
            };
            Ok(Queue(NonNull::new(queue).ok_or("Boost could not open the queue")?))
        };
        Ok(Box::new(Queues { sends: open("back")?, receives: open("there")? }))
    }

    struct Queues {
        sends: Queue,
        receives: Queue,
    }

    impl Line for Queues {
        fn send(&mut self, message: &[u8]) -> Outcome<()> {
            // SAFETY: the queue is open, and the message is lent for the call.
            let sent = unsafe { boost_queue_send(self.sends.0.as_ptr(), message.as_ptr(), message.len()) };
            Ok(sent.then_some(()).ok_or("Boost could not send")?)
        }

        fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
            // Boost requires room for the longest message that the queue takes.
            let mut buffer = [std::mem::MaybeUninit::<u8>::uninit(); LONGEST];
            // SAFETY: the queue is open, and the buffer is lent for the call.
            let size = unsafe {
                boost_queue_receive(self.receives.0.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
            };
            if size != message.len() {
                return Err(format!("Boost received {size} bytes instead of {}", message.len()).into());
            }
            // SAFETY: `size` bytes of the buffer were written.
            unsafe { message.as_mut_ptr().copy_from_nonoverlapping(buffer.as_ptr().cast(), size) };
            Ok(())
        }
    }
}

#[cfg(not(boost))]
mod system {
    use crate::line::{End, Outcome};
    use crate::lines::Offer;
    use crate::side::Shared;

    pub fn offer(_shared: &Shared) -> Outcome<Offer> {
        Err(concat!("not built: ", env!("BOOST_MISSING")).into())
    }

    pub fn open(_shared: &Shared, _address: &str) -> Outcome<Box<dyn End>> {
        Err(concat!("not built: ", env!("BOOST_MISSING")).into())
    }
}
