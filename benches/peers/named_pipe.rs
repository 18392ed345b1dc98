//! A named pipe of Windows, for both directions.

use super::streams::Streams;
use crate::line::LONGEST;
use crate::lines::{Kind, Offer};
use std::fs::File;
use std::os::windows::io::{FromRawHandle, RawHandle};
use std::{io, ptr};
use windows_sys::Win32::Foundation::{GetLastError, ERROR_PIPE_CONNECTED, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::PIPE_ACCESS_DUPLEX;
use windows_sys::Win32::System::Pipes::{ConnectNamedPipe, CreateNamedPipeW, PIPE_TYPE_BYTE, PIPE_WAIT};

pub const KIND: Kind = Kind::new(
    "named pipe",
    |shared| {
        let address = format!(r"\\.\pipe\{}", shared.base);
        let name: Vec<u16> = address.encode_utf16().chain([0]).collect();
        let buffer = 2 * LONGEST as u32;
        // SAFETY: the name ends in a zero, and no security descriptor is given.
        let pipe = unsafe {
            let mode = PIPE_TYPE_BYTE | PIPE_WAIT;
            CreateNamedPipeW(name.as_ptr(), PIPE_ACCESS_DUPLEX, mode, 1, buffer, buffer, 0, ptr::null())
        };
        if pipe == INVALID_HANDLE_VALUE {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: no other code has the handle.
        let file = unsafe { File::from_raw_handle(pipe as RawHandle) };
        let offer = Offer::once(move || {
            // SAFETY: the handle is a pipe's, and open; no overlapped structure is lent.
            let connected = unsafe {
                ConnectNamedPipe(pipe, ptr::null_mut()) != 0 || GetLastError() == ERROR_PIPE_CONNECTED
            };
            if !connected {
                return Err(io::Error::last_os_error().into());
            }
            Ok(Streams { reads: file.try_clone()?, writes: file })
        });
        Ok(offer?.at(address))
    },
    |_, address| {
        let file = File::options().read(true).write(true).open(address)?;
        Ok(Box::new(Streams { reads: file.try_clone()?, writes: file }))
    },
)
.sleeping();
