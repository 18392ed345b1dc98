//! Memory that two processes share, for the limits and the counter of [`crate::crowd`].

use crate::line::Outcome;
use std::ptr::NonNull;

/// A mapping, which stays until the process ends.
#[derive(Clone, Copy)]
pub struct Region(NonNull<u8>);

impl Region {
    /// Makes a region of zeros under a name.
    pub fn create(name: &str, size: usize) -> Outcome<Self> {
        system::map(name, size, true).map(Region)
    }

    pub fn open(name: &str, size: usize) -> Outcome<Self> {
        system::map(name, size, false).map(Region)
    }

    /// Removes the name, when all processes have opened the region.
    pub fn forget(name: &str) {
        system::forget(name);
    }

    pub fn at(&self, offset: usize) -> *mut u8 {
        self.0.as_ptr().wrapping_add(offset)
    }
}

#[cfg(unix)]
mod system {
    use super::{NonNull, Outcome};
    use std::ffi::CString;
    use std::{io, ptr};

    pub fn map(name: &str, size: usize, create: bool) -> Outcome<NonNull<u8>> {
        let name = CString::new(format!("/{name}"))?;
        let flags = libc::O_RDWR | if create { libc::O_CREAT | libc::O_EXCL } else { 0 };
        // SAFETY: the name ends in a zero.
        let file = unsafe { libc::shm_open(name.as_ptr(), flags, 0o600) };
        if file < 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: the descriptor is open until the mapping exists, and is closed once.
        let place = unsafe {
            if create && libc::ftruncate(file, libc::off_t::try_from(size)?) != 0 {
                return Err(io::Error::last_os_error().into());
            }
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let place =
                libc::mmap(ptr::null_mut(), size, access, libc::MAP_SHARED | libc::MAP_POPULATE, file, 0);
            libc::close(file);
            place
        };
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error().into());
        }
        Ok(NonNull::new(place.cast()).ok_or("mapped at zero")?)
    }

    pub fn forget(name: &str) {
        if let Ok(name) = CString::new(format!("/{name}")) {
            // SAFETY: the name ends in a zero.
            unsafe { libc::shm_unlink(name.as_ptr()) };
        }
    }
}

#[cfg(windows)]
mod system {
    use super::{NonNull, Outcome};
    use std::{io, ptr};
    use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
    use windows_sys::Win32::System::Memory::{
        CreateFileMappingW, MapViewOfFile, OpenFileMappingW, FILE_MAP_ALL_ACCESS, PAGE_READWRITE,
    };

    pub fn map(name: &str, size: usize, create: bool) -> Outcome<NonNull<u8>> {
        let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
        let bytes = u32::try_from(size)?;
        // SAFETY: the name ends in a zero, and no file and no security descriptor are given.
        let mapping = unsafe {
            if create {
                CreateFileMappingW(INVALID_HANDLE_VALUE, ptr::null(), PAGE_READWRITE, 0, bytes, name.as_ptr())
            } else {
                OpenFileMappingW(FILE_MAP_ALL_ACCESS, 0, name.as_ptr())
            }
        };
        if mapping.is_null() {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: the handle is a mapping's, and stays open.
        let view = unsafe { MapViewOfFile(mapping, FILE_MAP_ALL_ACCESS, 0, 0, size) };
        Ok(NonNull::new(view.Value.cast()).ok_or_else(io::Error::last_os_error)?)
    }

    /// Does nothing: the name disappears with the last handle.
    pub fn forget(_name: &str) {}
}
