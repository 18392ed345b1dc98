//! What the program's exit status says. `args.rs` has the list for users.

use crate::output::visible;
use std::io;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use xshm::ShmError;

pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const NO_CHANNEL: u8 = 3;
pub const TIMEOUT: u8 = 4;
pub const PEER: u8 = 5;
pub const REFUSED: u8 = 6;
/// As shells report a program that Ctrl-C has ended.
pub const INTERRUPTED: u8 = 130;

/// An error with its own status.
#[derive(Debug)]
pub struct Coded {
    pub code: u8,
    pub message: String,
}

impl std::fmt::Display for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Coded {}

/// Makes an error with its own status.
pub fn coded(code: u8, message: impl Into<String>) -> anyhow::Error {
    Coded { code, message: message.into() }.into()
}

/// Errors of a server that goes on. The same one is not reported again and again.
#[derive(Default)]
pub struct Complaints(Mutex<String>);

impl Complaints {
    pub fn report(&self, error: &ShmError) {
        let text = visible(&error.to_string());
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != text {
            anstream::eprintln!("xshm: {text}");
            *last = text;
        }
    }
}

/// Reports an error on standard error, and returns the status.
pub fn code(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    // The reader of the output has seen enough, as `head` does.
    let is_closed_pipe =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::WriteZero);
    if error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(is_closed_pipe)) {
        return ExitCode::SUCCESS;
    }
    anstream::eprintln!("xshm: {}", visible(&format!("{error:#}")));
    ExitCode::from(status(&error))
}

fn status(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(coded) = cause.downcast_ref::<Coded>() {
            return coded.code;
        }
        if let Some(error) = cause.downcast_ref::<ShmError>() {
            return status_of(error);
        }
    }
    FAILED
}

fn status_of(error: &ShmError) -> u8 {
    match error {
        ShmError::NoServer { .. } | ShmError::AlreadyExists { .. } | ShmError::NoFreeSlot => NO_CHANNEL,
        ShmError::InvalidName { .. } | ShmError::InvalidOption { .. } => USAGE,
        ShmError::Timeout | ShmError::NotAccepting { .. } | ShmError::AlreadyConnected => TIMEOUT,
        ShmError::PeerDied { .. } | ShmError::NotConnected | ShmError::Corrupted => PEER,
        ShmError::Refused { .. } | ShmError::PrivilegeNotHeld { .. } => REFUSED,
        _ => FAILED,
    }
}
