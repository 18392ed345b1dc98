//! Code that tests the rest of the crate: models, the in-process platform, tests of private parts, and the hooks of
//! fuzzers and failpoints. A program's build contains none of it.

#[macro_use]
pub(crate) mod failpoints;

#[cfg(all(test, loom))]
mod auto_queue;
#[cfg(all(test, feature = "c-api", not(loom)))]
mod catch_panic_tests;
#[cfg(all(test, not(loom)))]
mod endpoint_tests;
#[cfg(fuzzing)]
pub mod hostile;
#[cfg(all(test, loom))]
mod models;
#[cfg(any(loom, miri))]
pub(crate) mod one_process;
#[cfg(all(test, miri, not(loom)))]
mod one_process_tests;
#[cfg(test)]
pub(crate) mod test_ring;
