//! The C interface of the endpoints for many clients.

// As in the module `ffi`.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod client;
mod server;

use crate::auto::DisconnectReason;
use crate::ffi::background::{self, background_handle, BackgroundHandle, OneConnectionHandle};
use crate::ffi::callbacks::{call_c, Callbacks};
use crate::ffi::options::{self, *};
use crate::ffi::*;

/// The client id that on_error of shm_multi_callbacks_t gets if the error concerns no client.
pub const SHM_NO_CLIENT: u32 = u32::MAX;
