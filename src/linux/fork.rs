//! The process that something was made in, which a fork is not.
//!
//! A fork is known by a word that reads zero there. Two mechanisms zero it, since each can be missing: the kernel wipes its
//! page in the memory of a fork (some emulators accept that request and do nothing), and the C library calls a function of
//! ours in the child (not for a raw `clone`). Where a copy of an endpoint could end the parent's session, the process id is
//! compared too ([`OwningProcess::is_certain`]).
//!
//! Nothing here takes a lock, since a fork copies a lock as it is.

use super::system::failed;
use crate::error::Result;
use rustix::io::Errno;
use rustix::mm::{madvise, mmap_anonymous, munmap, Advice, MapFlags, ProtFlags};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The process that something was made in. The copies that a fork has must do nothing.
#[derive(Clone, Copy)]
pub(crate) struct OwningProcess {
    epoch: u64,
    now: &'static AtomicU64,
    pid: u32,
}

/// How many forks lie between the first process and this one, of those in which something was made.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// A word that reads zero in a fork until something is made there. NULL: nothing was made yet.
static EPOCH: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

impl OwningProcess {
    /// This process.
    pub(crate) fn current() -> Result<Self> {
        let now = epoch().map_err(failed("preparing for forks (mmap)"))?;
        if now.load(Ordering::Relaxed) == 0 {
            let fresh = FORKS.fetch_add(1, Ordering::Relaxed) + 1;
            // Where another thread was faster, its number is as good.
            let _ = now.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed);
        }
        Ok(OwningProcess { epoch: now.load(Ordering::Relaxed), now, pid: std::process::id() })
    }

    /// Whether this is still that process.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.now.load(Ordering::Relaxed) == self.epoch
    }

    /// As [`is_current`](Self::is_current), by a system call too: also right in a fork that neither mechanism has noticed.
    pub(crate) fn is_certain(&self) -> bool {
        self.is_current() && std::process::id() == self.pid
    }
}

/// Returns the word. Makes it at the first call.
fn epoch() -> std::result::Result<&'static AtomicU64, Errno> {
    let made = EPOCH.load(Ordering::Acquire);
    let word = if made.is_null() {
        let page = epoch_page()?;
        match EPOCH.compare_exchange(ptr::null_mut(), page, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                extern "C" {
                    fn pthread_atfork(
                        prepare: Option<extern "C" fn()>, parent: Option<extern "C" fn()>,
                        child: Option<extern "C" fn()>,
                    ) -> i32;
                }
                // SAFETY: the function may run in any fork, see there. Without memory for it, the kernel's way remains.
                unsafe { pthread_atfork(None, None, Some(in_child)) };
                page
            }
            Err(other) => {
                // SAFETY: no other code has this page.
                let _ = unsafe { munmap(page.cast(), PAGE) };
                other
            }
        }
    } else {
        made
    };
    // SAFETY: the page of this word is never unmapped.
    Ok(unsafe { &*word })
}

/// Runs in a fork, before any other code of the program. It makes one store, which is permitted there.
extern "C" fn in_child() {
    let word = EPOCH.load(Ordering::Relaxed);
    if !word.is_null() {
        // SAFETY: the page of this word is never unmapped.
        unsafe { &*word }.store(0, Ordering::Relaxed);
    }
}

const PAGE: usize = 4096;

/// A page that the kernel wipes in the memory of a fork.
fn epoch_page() -> std::result::Result<*mut AtomicU64, Errno> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, where the kernel likes, changes no memory in use, and the advice is for it alone. It is aligned
    // to a page, and zeros are a valid word.
    unsafe {
        let page = mmap_anonymous(ptr::null_mut(), PAGE, protection, MapFlags::PRIVATE)?;
        // A kernel or a filter that refuses this leaves the C library's way.
        let _ = madvise(page, PAGE, Advice::LinuxWipeOnFork);
        Ok(page.cast())
    }
}
