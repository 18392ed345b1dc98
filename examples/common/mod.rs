//! Shared by the examples with two processes: starts this program a second time, and accepts it as the client.
#![allow(dead_code, reason = "each example uses some of this")]

use std::ffi::OsStr;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use xshm::{SharedServer, ShmError};

/// A channel name that no other run has.
pub fn channel_name(program: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("xshm-{program}-{}-{:x}", std::process::id(), now.as_nanos())
}

/// This program, running a second time. Dropping the value ends that process, if it still runs.
pub struct SecondProcess(Child);

impl SecondProcess {
    /// Starts the process. It has the same standard output and standard error as this one.
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        Command::new(program).args(arguments).stdin(Stdio::null()).spawn().map(SecondProcess)
    }

    /// Waits until this process, and no other client, has connected to `server`.
    pub fn accept(&mut self, server: &mut SharedServer, within: Duration) -> Result<(), String> {
        // In slices, because the server does not watch a process that ends before it connects.
        const SLICE: Duration = Duration::from_millis(50);
        let started = Instant::now();
        loop {
            match server.wait_for_client(Some(SLICE)) {
                Err(ShmError::Timeout) => {}
                Err(error) => return Err(format!("waiting for the second process: {error}")),
                Ok(()) => break,
            }
            if let Some(status) = self.ended() {
                return Err(format!("the second process ended before it connected ({status})"));
            }
            if started.elapsed() >= within {
                return Err(format!("the second process did not connect within {within:?}"));
            }
        }
        match server.peer() {
            Some(peer) if peer.process_id == self.0.id() => Ok(()),
            _ => Err("a process other than the one that was started has connected".to_owned()),
        }
    }

    /// The exit status, if the process has ended.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Waits for the end of the process, and kills it after `grace`. Returns its exit status.
    pub fn finish(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        let started = Instant::now();
        while started.elapsed() < grace {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // Fails if the process has ended just now.
        let _ = self.0.kill();
        self.0.wait()
    }
}

impl Drop for SecondProcess {
    fn drop(&mut self) {
        let _ = self.finish(Duration::ZERO);
    }
}
