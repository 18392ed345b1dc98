//! Owned handles, object attributes with a name, and status codes as errors.

use super::funcs::NtClose;
use super::types::*;
use crate::error::{Result, ShmError};
use std::ffi::c_void;
use std::mem::size_of;
use std::ptr;

/// A handle that is closed when dropped.
#[derive(Debug)]
pub(crate) struct OwnedHandle(Handle);

// SAFETY: a handle is a number that the kernel looks up; any thread of the process may use it.
unsafe impl Send for OwnedHandle {}
// SAFETY: as above; the kernel does its own locking.
unsafe impl Sync for OwnedHandle {}

impl OwnedHandle {
    /// # Safety
    /// `handle` is an open handle of this process, and no other code closes it.
    pub(crate) unsafe fn from_raw(handle: Handle) -> Self {
        OwnedHandle(handle)
    }

    pub(crate) fn as_raw(&self) -> Handle {
        self.0
    }
}

impl Drop for OwnedHandle {
    fn drop(&mut self) {
        // SAFETY: by `from_raw`, the handle is open and ours to close.
        unsafe { NtClose(self.0) };
    }
}

/// Calls `create` with a place for a handle, and owns what it puts there.
pub(crate) fn handle_from(
    create: impl FnOnce(*mut Handle) -> NtStatus,
) -> std::result::Result<OwnedHandle, NtStatus> {
    let mut handle = ptr::null_mut();
    let status = create(&mut handle);
    if status < 0 {
        return Err(status);
    }
    // SAFETY: a successful call has put a new handle there, which no other code has.
    Ok(unsafe { OwnedHandle::from_raw(handle) })
}

pub(crate) fn error(status: NtStatus, context: &'static str) -> ShmError {
    ShmError::WindowsError { code: status as u32, context }
}

/// Makes the error of a call that failed.
pub(crate) fn failed(context: &'static str) -> impl Fn(NtStatus) -> ShmError {
    move |status| error(status, context)
}

pub(crate) fn check(status: NtStatus, context: &'static str) -> Result<NtStatus> {
    if status < 0 {
        Err(error(status, context))
    } else {
        Ok(status)
    }
}

/// Object attributes with all that they point to. Handles made with them are not inherited, and names in them are
/// case-sensitive.
pub(crate) struct Attributes {
    name: Option<Vec<u16>>,
    /// In words, since the kernel wants a descriptor aligned.
    security: Option<Vec<u32>>,
}

impl Attributes {
    pub(crate) fn new(path: Option<&str>, security: Option<&[u8]>) -> Self {
        let words = |bytes: &[u8]| {
            let padded = bytes.chunks(4).map(|chunk| {
                let mut word = [0; 4];
                word[..chunk.len()].copy_from_slice(chunk);
                u32::from_ne_bytes(word)
            });
            padded.collect()
        };
        Attributes { name: path.map(|path| path.encode_utf16().collect()), security: security.map(words) }
    }

    /// As the function [`handle_from`], for a call that takes these attributes too.
    pub(crate) fn handle_from(
        &self, create: impl FnOnce(*mut Handle, *const ObjectAttributes) -> NtStatus,
    ) -> std::result::Result<OwnedHandle, NtStatus> {
        let mut name = self.name.as_deref().map(unicode_string);
        let attributes = ObjectAttributes {
            length: size_of::<ObjectAttributes>() as u32,
            root_directory: ptr::null_mut(),
            object_name: name.as_mut().map_or(ptr::null_mut(), |name| name),
            attributes: 0,
            security_descriptor: self
                .security
                .as_ref()
                .map_or(ptr::null_mut(), |words| words.as_ptr() as *mut c_void),
            security_quality_of_service: ptr::null_mut(),
        };
        handle_from(|handle| create(handle, &attributes))
    }
}

/// Calls `query` with a buffer of this many words, its length in bytes, and a place for the length of the answer. The buffer
/// consists of words, since the kernel wants it aligned. Pointers in the answer lead into the buffer that is returned.
pub(crate) fn query(
    words: usize, query: impl FnOnce(*mut c_void, u32, *mut u32) -> NtStatus,
) -> std::result::Result<Vec<u64>, NtStatus> {
    let mut buffer = vec![0_u64; words];
    let mut needed = 0;
    let status = query(buffer.as_mut_ptr().cast(), words as u32 * 8, &mut needed);
    if status < 0 {
        return Err(status);
    }
    Ok(buffer)
}

/// The bytes of an answer from a place in it on.
pub(crate) fn bytes_at<T>(buffer: &[u64], place: *const T) -> Option<Vec<u8>> {
    let at = (place as usize).wrapping_sub(buffer.as_ptr() as usize);
    let bytes: Vec<u8> = buffer.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.get(at..).map(<[u8]>::to_vec)
}

/// The text at the start of an answer that begins with a `UNICODE_STRING` and contains what that points to.
pub(crate) fn text_of(buffer: &[u64]) -> Option<String> {
    if std::mem::size_of_val(buffer) < size_of::<UnicodeString>() {
        return None;
    }
    // SAFETY: the buffer is long enough for the structure, and aligned for it. Every value of its fields is valid.
    let name = unsafe { buffer.as_ptr().cast::<UnicodeString>().read() };
    let bytes = bytes_at(buffer, name.buffer)?;
    let units = bytes.get(..name.length.into())?.chunks_exact(2);
    let units: Vec<u16> = units.map(|unit| u16::from_ne_bytes([unit[0], unit[1]])).collect();
    Some(String::from_utf16_lossy(&units))
}

/// A counted string that points to `text`. The kernel only reads it.
pub(crate) fn unicode_string(text: &[u16]) -> UnicodeString {
    let bytes = u16::try_from(text.len() * 2).expect("names are short");
    UnicodeString { length: bytes, maximum_length: bytes, buffer: text.as_ptr() as *mut u16 }
}
