//! The library for C and C++. Its functions are those of the crate's C interface.

pub use rust::*;
