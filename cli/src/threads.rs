//! Threads, whose number the system may limit.

use std::io;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// What to do if no thread can be started.
pub const ADVICE: &str =
    "raise the limit of processes and threads: ulimit -u, TasksMax= of the service, --pids-limit of the container";

/// Starts a thread.
pub fn start<T: Send + 'static>(
    name: &str, work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(limited)
}

/// Starts a thread that borrows.
pub fn start_in<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>, work: impl FnOnce() -> T + Send + 'scope,
) -> anyhow::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work).map_err(limited)
}

fn limited(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("a thread cannot be started; {ADVICE}"))
}
