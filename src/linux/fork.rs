//! The process that something was made in, which a fork is not.

use super::system::failed;
use crate::error::Result;
use rustix::io::Errno;
use rustix::mm::{madvise, mmap_anonymous, Advice, MapFlags, ProtFlags};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

/// The process that something was made in. The copies that a fork has must do nothing.
#[derive(Clone, Copy)]
pub(crate) struct OwningProcess {
    epoch: u64,
    now: &'static AtomicU64,
}

/// How many forks lie between the first process and this one, of those in which something was made.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// A word that reads zero in a fork until something is made there.
static EPOCH: OnceLock<std::result::Result<&'static AtomicU64, Errno>> = OnceLock::new();

impl OwningProcess {
    /// This process.
    pub(crate) fn current() -> Result<Self> {
        let now = EPOCH.get_or_init(epoch_page).map_err(failed("preparing for forks"))?;
        if now.load(Ordering::Relaxed) == 0 {
            let fresh = FORKS.fetch_add(1, Ordering::Relaxed) + 1;
            // Where another thread was faster, its number is as good.
            let _ = now.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed);
        }
        Ok(OwningProcess { epoch: now.load(Ordering::Relaxed), now })
    }

    /// Whether this is still that process.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.now.load(Ordering::Relaxed) == self.epoch
    }
}

/// A page that the kernel wipes in the memory of a fork. It is never unmapped.
fn epoch_page() -> std::result::Result<&'static AtomicU64, Errno> {
    const SIZE: usize = 4096;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, where the kernel likes, changes no memory in use, and the advice is for it alone. It is
    // never unmapped, is aligned to a page, and zeros are a valid word.
    unsafe {
        let page = mmap_anonymous(ptr::null_mut(), SIZE, protection, MapFlags::PRIVATE)?;
        madvise(page, SIZE, Advice::LinuxWipeOnFork)?;
        Ok(&*page.cast())
    }
}
