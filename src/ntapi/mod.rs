//! Raw NT: types, functions and small helpers. No policy: what to open, with which rights, and what an error means
//! is decided in [`crate::sys`]'s Windows side.

mod funcs;
mod helpers;
mod security;
mod types;

pub(crate) use funcs::*;
pub(crate) use helpers::*;
pub(crate) use security::*;
pub(crate) use types::*;
