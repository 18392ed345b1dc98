//! Sections and their mappings.

use super::descriptors;
use super::system::{duplicate_raw, error, failed, limit, User};
use super::users;
use crate::error::{Result, ShmError};
use rustix::fs::{
    fallocate, fcntl_add_seals, fcntl_get_seals, fstat, fstatfs, ftruncate, FallocateFlags, SealFlags,
};
use rustix::io::Errno;
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};
use rustix::process::Resource;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};

/// A section: a memfd.
pub(crate) struct Section {
    pub(super) file: OwnedFd,
    size: usize,
}

/// What a section's file is called, which only `/proc` shows. A name follows after a colon.
pub(super) const LABEL: &str = "xshm";

/// `TMPFS_MAGIC`: what a memfd of ordinary pages is on.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// What a section must be sealed against, so that no process can take back a page that others have mapped.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

impl Section {
    /// A section without a name.
    pub(crate) fn create(size: usize) -> Result<Self> {
        Self::named(LABEL, size)
    }

    /// A section with a name that only `/proc` shows.
    pub(super) fn named(name: &str, size: usize) -> Result<Self> {
        if limit(Resource::Fsize) < size as u64 {
            // The kernel would end the process with SIGXFSZ.
            return Err(error(Errno::FBIG, "creating a section larger than files may be (RLIMIT_FSIZE)"));
        }
        let file = descriptors::memory_file(name).map_err(failed("creating a section (memfd_create)"))?;
        ftruncate(&file, size as u64).map_err(failed("setting a section's size (ftruncate)"))?;
        if is_memory_promised_strictly() {
            reserve(&file, size)?;
        }
        fcntl_add_seals(&file, SEALS).map_err(failed("sealing a section (fcntl)"))?;
        Ok(Section { file, size })
    }

    /// Checks a descriptor that came from another process.
    pub(super) fn from_file(file: OwnedFd) -> Result<Self> {
        // The kernel may lack huge pages when one is touched, seals or not.
        let kind = fstatfs(&file).map_err(failed("asking what the section is made of (fstatfs)"))?.f_type;
        if kind as u64 != TMPFS_MAGIC {
            let (found, expected) = (kind as u64, TMPFS_MAGIC);
            return Err(ShmError::Incompatible { what: "section memory", found, expected });
        }
        // Only memory has seals.
        let seals = fcntl_get_seals(&file).map_err(failed("asking for the section's seals (fcntl)"))?;
        if !seals.contains(SealFlags::SHRINK) {
            let (found, expected) = (u64::from(seals.bits()), u64::from(SEALS.bits()));
            return Err(ShmError::Incompatible { what: "section seals", found, expected });
        }
        let stat = fstat(&file).map_err(failed("asking for the section's size (fstat)"))?;
        Ok(Section { file, size: usize::try_from(stat.st_size).unwrap_or(0) })
    }

    /// A second descriptor of a section that the caller has.
    pub(crate) fn duplicate_of(object: &impl AsFd) -> Result<Self> {
        Self::duplicate(object.as_fd().as_raw_fd() as isize)
    }

    /// A second descriptor of a section, made from one of this process. The kernel checks the number.
    pub(crate) fn duplicate(raw: isize) -> Result<Self> {
        Self::from_file(duplicate_raw(raw, "duplicating the section's descriptor (fcntl)")?)
    }

    pub(crate) fn as_raw(&self) -> isize {
        self.file.as_raw_fd() as isize
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The user that created it.
    pub(crate) fn owner(&self) -> Result<Option<User>> {
        users::of_file(&self.file).map(Some).map_err(failed("asking for the section's user (open)"))
    }
}

/// Whether the system refuses memory beyond a fixed amount (`vm.overcommit_memory=2`). Then a page of a section that has not
/// been reserved may be refused when it is first touched, which ends the process with SIGBUS. Where the system doesn't say, a
/// section's memory is reserved too.
fn is_memory_promised_strictly() -> bool {
    const NEVER_OVERCOMMIT: &str = "2";
    descriptors::short_file("/proc/sys/vm/overcommit_memory")
        .map_or(true, |mode| mode.trim() == NEVER_OVERCOMMIT)
}

/// Takes all of a section's memory from the system.
fn reserve(file: &OwnedFd, size: usize) -> Result<()> {
    let context = "reserving a section's memory (fallocate)";
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, size as u64) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            // So the kernel says that memory is short.
            Err(Errno::NOSPC) => return Err(error(Errno::NOMEM, context)),
            Err(errno) => return Err(error(errno, context)),
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
        Self::map_for(section, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps all of a section, for looking alone.
    pub(crate) fn map_read_only(section: &Section) -> Result<Self> {
        Self::map_for(section, ProtFlags::READ)
    }

    fn map_for(section: &Section, protection: ProtFlags) -> Result<Self> {
        // SAFETY: a new mapping, where the kernel likes, changes no memory in use.
        let base = unsafe {
            mmap(ptr::null_mut(), section.size, protection, MapFlags::SHARED, &section.file, 0)
                .map_err(failed("mapping the section (mmap)"))?
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

    /// What a section takes of the system's memory.
    fn taken(file: &OwnedFd) -> u64 {
        fstat(file).unwrap().st_blocks as u64 * 512
    }

    /// Where the system promises memory strictly, no page of a section is missing when it is touched; elsewhere a section
    /// takes memory as it is used.
    #[test]
    fn a_sections_memory_is_reserved_where_it_could_be_refused_later() {
        const SIZE: usize = 1 << 20;
        let file = descriptors::memory_file("reserved").unwrap();
        ftruncate(&file, SIZE as u64).unwrap();
        assert_eq!(taken(&file), 0);
        reserve(&file, SIZE).unwrap();
        assert_eq!(taken(&file), SIZE as u64);
        let section = Section::create(SIZE).unwrap();
        let expected = if is_memory_promised_strictly() { SIZE as u64 } else { 0 };
        assert_eq!(taken(&section.file), expected);
    }
}
