//! What the examples with two processes share: this program, running a second time, and its way into a channel.

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

/// This program, running a second time. Dropping it ends that process, if it still runs.
pub struct SecondProcess(Child);

impl SecondProcess {
    /// Starts it. What it writes to standard error goes where ours does.
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        Command::new(program).args(arguments).stdin(Stdio::null()).spawn().map(SecondProcess)
    }

    /// Waits until it has connected to `server`: it and no other client.
    pub fn accept(&mut self, server: &mut SharedServer, within: Duration) -> Result<(), String> {
        // In slices, since a process that never gets as far as to connect is none that the server watches.
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
            _ => Err("another process than the one that was started has connected".to_owned()),
        }
    }

    /// How it ended, if it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Waits for its end, and ends it after `grace`. Says how it ended.
    pub fn finish(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        let started = Instant::now();
        while started.elapsed() < grace {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // Fails if it has ended just now; then it need not be ended.
        let _ = self.0.kill();
        self.0.wait()
    }
}

impl Drop for SecondProcess {
    fn drop(&mut self) {
        let _ = self.finish(Duration::ZERO);
    }
}
