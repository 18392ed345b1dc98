//! Sections and their mappings.

use super::descriptors::{made, new_memory};
use super::system::{duplicate_raw, error, failed, User};
use crate::error::{Result, ShmError};
use rustix::fs::{
    fallocate, fcntl_add_seals, fcntl_get_seals, fstat, fstatfs, ftruncate, open, FallocateFlags, Mode,
    OFlags, SealFlags,
};
use rustix::io::Errno;
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};
use rustix::process::{getrlimit, Resource};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};

/// A section: a memfd.
pub(crate) struct Section {
    pub(super) file: OwnedFd,
    size: usize,
}

/// `TMPFS_MAGIC`: what a memfd of ordinary pages is on.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// What a section must be sealed against, so that no process can take back a page that others have mapped.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

impl Section {
    /// A section without a name.
    pub(crate) fn create(size: usize) -> Result<Self> {
        Self::named("xshm", size)
    }

    /// A section with a name that only `/proc` shows.
    pub(super) fn named(name: &str, size: usize) -> Result<Self> {
        check_file_size_limit(size)?;
        let file = new_memory(name).map_err(failed("creating a section (memfd_create)"))?;
        ftruncate(&file, size as u64).map_err(failed("setting a section's size (ftruncate)"))?;
        if never_overcommits() {
            reserve(&file, size).map_err(failed("reserving a section's memory (fallocate)"))?;
        }
        fcntl_add_seals(&file, SEALS).map_err(failed("sealing a section (fcntl)"))?;
        Ok(Section { file, size })
    }

    /// Checks a descriptor that came from another process.
    pub(super) fn from_file(file: OwnedFd) -> Result<Self> {
        // The kernel may lack huge pages when one is touched, seals or not.
        let kind = fstatfs(&file).map_err(failed("asking what the section is made of"))?.f_type;
        if kind as u64 != TMPFS_MAGIC {
            let (found, expected) = (kind as u64, TMPFS_MAGIC);
            return Err(ShmError::Incompatible { what: "section memory", found, expected });
        }
        // Only memory has seals.
        let seals = fcntl_get_seals(&file).map_err(failed("asking for the section's seals"))?;
        if !seals.contains(SealFlags::SHRINK) {
            let (found, expected) = (u64::from(seals.bits()), u64::from(SEALS.bits()));
            return Err(ShmError::Incompatible { what: "section seals", found, expected });
        }
        let stat = fstat(&file).map_err(failed("asking for the section's size"))?;
        Ok(Section { file, size: usize::try_from(stat.st_size).unwrap_or(0) })
    }

    /// A second descriptor of a section that the caller has.
    pub(crate) fn duplicate_of(object: &impl AsFd) -> Result<Self> {
        Self::duplicate(object.as_fd().as_raw_fd() as isize)
    }

    /// A second descriptor of a section, made from one of this process. The kernel checks the number.
    pub(crate) fn duplicate(raw: isize) -> Result<Self> {
        Self::from_file(duplicate_raw(raw, "duplicating the section's descriptor")?)
    }

    pub(crate) fn as_raw(&self) -> isize {
        self.file.as_raw_fd() as isize
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The user that created it.
    pub(crate) fn owner(&self) -> Option<User> {
        fstat(&self.file).ok().map(|stat| User(stat.st_uid))
    }
}

/// Fails if a file of this size is not permitted. The kernel would not only refuse to make a section as large, but also send
/// SIGXFSZ, which ends the process.
fn check_file_size_limit(size: usize) -> Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if limit < size as u64 => {
            Err(error(Errno::FBIG, "creating a section that is larger than RLIMIT_FSIZE"))
        }
        _ => Ok(()),
    }
}

/// Whether the kernel may refuse a page of a section when it is touched, and send SIGBUS. It does so if it never promises
/// more memory than there is (`vm.overcommit_memory` is 2): the memory of a memfd counts only once it is used. Where the
/// setting cannot be read, it may be that.
fn never_overcommits() -> bool {
    let path = "/proc/sys/vm/overcommit_memory";
    let file = made(|| open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()));
    let mut setting = [0];
    let read = file.and_then(|file| rustix::io::read(file, &mut setting));
    !(read.is_ok() && matches!(setting[0], b'0' | b'1'))
}

/// Takes all of the memory now. Without this, the memory is taken page by page when it is used.
fn reserve(file: &OwnedFd, size: usize) -> rustix::io::Result<()> {
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, size as u64) {
            // A signal came.
            Err(Errno::INTR) => {}
            // The kernel's way to say that it has not enough memory for a file in memory.
            Err(Errno::NOSPC) => return Err(Errno::NOMEM),
            outcome => return outcome,
        }
    }
}

/// A section in this process's memory, unmapped when dropped.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: memory is the whole process's; what threads may do with it is the business of the code that reads and writes it.
unsafe impl Send for Mapping {}
// SAFETY: as above; the mapping itself never changes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps all of a section. Its seals keep its pages there.
    pub(crate) fn map(section: &Section) -> Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, where the kernel likes, changes no memory in use.
        let base = unsafe {
            mmap(ptr::null_mut(), section.size, protection, MapFlags::SHARED, &section.file, 0)
                .map_err(failed("mapping the section"))?
        };
        let base = NonNull::new(base.cast()).ok_or(ShmError::HandshakeFailed)?;
        Ok(Mapping { base, size: section.size })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and all that used it is gone, since it borrowed from `self`. It can't fail.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_section_has_all_its_memory() {
        const SIZE: usize = 1 << 20;
        let file = new_memory("reserved").unwrap();
        ftruncate(&file, SIZE as u64).unwrap();
        let allocated = || fstat(&file).unwrap().st_blocks as usize * 512;
        assert_eq!(allocated(), 0);
        reserve(&file, SIZE).unwrap();
        assert_eq!(allocated(), SIZE);
    }
}
