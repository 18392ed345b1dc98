//! The C interface of the endpoints for many clients.

// As in the module `ffi`.
#![allow(non_camel_case_types, clippy::missing_safety_doc, rustdoc::broken_intra_doc_links)]

mod client;
mod server;

use crate::auto::{ChannelKind, DisconnectReason};
use crate::background::core::{Callbacks as EndpointCallbacks, Core};
use crate::ffi::background::{self, background_handle, BackgroundHandle, OneConnectionHandle};
use crate::ffi::callbacks::{call_c, read_sized, shm_call_t, Callbacks, Table};
use crate::ffi::options::{self, *};
use crate::ffi::*;
use std::mem::size_of;

/// The client id that on_error of shm_multi_callbacks_t gets if the error concerns no client.
///
/// \ingroup multi_server
pub const SHM_NO_CLIENT: u32 = u32::MAX;
