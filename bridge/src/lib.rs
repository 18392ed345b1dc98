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
/// The version of Zenoh whose sessions an export and an import take.
pub use zenoh;

use std::path::PathBuf;

/// The text of an error of Zenoh, without the places in Zenoh's source.
pub(crate) fn of_zenoh(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    while let Some(end) = text.find(".rs:") {
        let Some(begin) = text[..end].rfind(" at ") else { break };
        let digits =
            text[end + 4..].find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len() - end - 4);
        text.replace_range(begin..end + 4 + digits, "");
    }
    text
}

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
    #[error("Zenoh: {}", of_zenoh(.0.as_ref()))]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_zenoh_is_shown_without_its_source() {
        let error = std::io::Error::other(
            "no such peer at /root/x/lib.rs:12. - Caused by no link at tcp/a:1 at b.rs:7.",
        );
        assert_eq!(of_zenoh(&error), "no such peer - Caused by no link at tcp/a:1");
        assert_eq!(of_zenoh(&std::io::Error::other("odd .rs:1")), "odd .rs:1");
    }
}
