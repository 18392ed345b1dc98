//! Waiting for the first of several objects.

use super::event::{Event, SHUT};
use super::process::Process;
use super::system::{error, timespec};
use crate::error::Result;
use crate::sys::kinds;
use rustix::event::{poll, PollFd};
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// What can be waited for.
pub(crate) type Waitable<'a> = kinds::Waitable<'a, Event, Process>;

/// How often a waiting thread looks, if another process has shut the end through which its signals come.
pub(super) const SHUT_INTERVAL: Duration = Duration::from_millis(1);

/// Waits until one of `objects` is signalled, and says which: the first, where several are. `None`: the time was up. A
/// timeout counts from now, by a monotonic clock.
pub(crate) fn wait_any(objects: &[Waitable<'_>], timeout: Option<Duration>) -> Result<Option<usize>> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let mut descriptors: Vec<PollFd<'_>> = Vec::with_capacity(objects.len());
    for object in objects {
        descriptors.push(match object {
            Waitable::Event(event) | Waitable::Wake(event) => {
                PollFd::from_borrowed_fd(event.descriptor(), event.flags())
            }
            Waitable::Process(process) => process.pollable(),
        });
    }
    loop {
        match poll(&mut descriptors, left().map(timespec).as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(error(errno, "waiting (ppoll)")),
        }
        let is_shut = |index: usize| descriptors[index].revents().intersects(SHUT);
        let mut shut = None;
        for (index, object) in objects.iter().enumerate() {
            if descriptors[index].revents().is_empty() {
                continue;
            }
            let reports = match object {
                Waitable::Event(event) => event.take(),
                Waitable::Wake(event) => {
                    event.leave();
                    !is_shut(index)
                }
                Waitable::Process(_) => true,
            };
            if reports {
                return Ok(Some(index));
            }
            if is_shut(index) {
                shut = shut.or(Some(index));
            }
        }
        if let Some(shut) = shut {
            // It may poll as ready for ever. Waits for the others a little, and then reports it, so that the caller looks.
            let others: Vec<usize> = (0..objects.len()).filter(|&index| !is_shut(index)).collect();
            let waitables: Vec<_> = others.iter().map(|&index| objects[index]).collect();
            let interval = left().map_or(SHUT_INTERVAL, |left| left.min(SHUT_INTERVAL));
            let woken_by = wait_any(&waitables, Some(interval))?;
            return Ok(Some(woken_by.map_or(shut, |index| others[index])));
        }
        // Another thread took the only signal there was.
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(None);
        }
    }
}
