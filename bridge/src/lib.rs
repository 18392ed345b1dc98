//! Carries channels of xshm from one machine to another over [Zenoh](https://zenoh.io).
//!
//! On the machine of the server, an [`Export`] is a client of the channel. On another machine, an [`Import`] is a server with
//! the channel's name: clients there use plain xshm. Each remote client has its own session, with a stream of messages in
//! each direction: whole, in order, and with back-pressure from end to end.
//!
//! The program `xshm-bridge` does this from the command line and from a configuration file. This library is the same for
//! programs that have a Zenoh session already:
//!
//! ```no_run
//! use xshm_bridge::{Export, ExportOptions, NetworkOptions};
//! use zenoh::Wait;
//!
//! let zenoh = zenoh::open(NetworkOptions::default().zenoh()?).wait().map_err(xshm_bridge::Error::Zenoh)?;
//! let mut export = Export::start(&zenoh, ExportOptions::new("press", "plant/press"))?;
//! std::thread::sleep(std::time::Duration::from_secs(60));
//! export.stop();
//! # Ok::<(), xshm_bridge::Error>(())
//! ```
//!
//! Logs go to the subscriber of the crate `tracing` that the program has set, and counts to the recorder of the crate `metrics`
//! that it has installed before the start. Their names are in the bridge's documentation.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod export;
mod hub;
mod import;
mod inbox;
mod metrics;
mod options;
mod outgoing;
mod session;
mod wire;

pub use export::Export;
pub use import::Import;
pub use options::{
    CommonOptions, ExportOptions, File, ImportOptions, LogFormat, NetworkOptions, ObserveOptions,
};
pub use session::WhenFull;
pub use wire::{Cause, End, VERSION};

use std::path::PathBuf;

/// Why an export or an import did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option has an invalid value.
    #[error("the option {option}: {reason}")]
    Option {
        /// The option's name on the command line.
        option: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A configuration file cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A call of Zenoh failed.
    #[error("Zenoh: {0}")]
    Zenoh(zenoh::Error),
    /// A call of xshm failed.
    #[error("the channel {name:?}: {error}")]
    Channel {
        /// The channel's name.
        name: String,
        /// The error of xshm.
        error: xshm::ShmError,
    },
    /// The system refused a thread or an address.
    #[error("{what}: {error}")]
    System {
        /// What the program wanted.
        what: String,
        /// The system's error.
        error: std::io::Error,
    },
}
