//! Raw NT: types, functions and small helpers. `win.rs` decides what to open, with which rights, and what an error means.

mod funcs;
mod helpers;
mod security;
mod types;

pub(crate) use funcs::*;
pub(crate) use helpers::*;
pub(crate) use security::*;
pub(crate) use types::*;
