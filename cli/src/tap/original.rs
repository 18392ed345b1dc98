//! What can be seen of the original server's channel from outside.

use crate::exit::{coded, NO_CHANNEL};
use crate::transfer::exchange::{Control, Event};
use std::time::{Duration, Instant};
use xshm::inspect::{self, ServerState};
use xshm::{ServerOptions, ShmError, MAX_MESSAGES, MAX_MESSAGE_SIZE, RING_CAPACITY};

/// How often to look for a server that is not there yet.
const INTERVAL: Duration = Duration::from_millis(30);

/// How long a server may have its name, and no channel, when it starts.
const START: Duration = Duration::from_millis(500);

/// The sizes of the original channel.
#[derive(Debug, Clone, Copy)]
pub struct Original {
    pub max_message_size: usize,
    /// Whether the server has set that length. Then messages may be empty, too.
    pub is_length_set: bool,
    pub ring_size: usize,
    pub message_limit: usize,
    pub rejects_when_full: bool,
    pub is_multi: bool,
    /// Whether the rest was seen. Otherwise it is the library's defaults.
    pub is_seen: bool,
}

impl Original {
    /// Waits for a server with this name. `None`: Ctrl-C ended the wait.
    pub fn find(name: &str, timeout: Duration, control: &Control) -> anyhow::Result<Option<Self>> {
        let deadline = Instant::now().checked_add(timeout);
        let mut hidden_since = None;
        loop {
            match look(name)? {
                Some(found) if found.is_seen => return Ok(Some(found)),
                // A server that has just started has its name before its channel.
                Some(hidden) if hidden_since.get_or_insert_with(Instant::now).elapsed() > START => {
                    return Ok(Some(hidden));
                }
                Some(_) => {}
                None => hidden_since = None,
            }
            if hidden_since.is_none() && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let error = ShmError::NoServer { name: name.to_owned() };
                return Err(coded(NO_CHANNEL, error.to_string()));
            }
            if let Some(Event::Interrupted) = control.next(Some(Instant::now() + INTERVAL)) {
                return Ok(None);
            }
        }
    }

    /// The options of a server whose channel is like the original one.
    pub fn server_options(&self) -> ServerOptions {
        let options = ServerOptions::new().ring_size(self.ring_size).message_limit(self.message_limit);
        let options =
            if self.is_length_set { options.max_message_size(self.max_message_size) } else { options };
        if self.rejects_when_full {
            options.reject_when_full()
        } else {
            options
        }
    }
}

fn look(name: &str) -> xshm::Result<Option<Original>> {
    let name = name.strip_prefix("Local\\").unwrap_or(name);
    let seen = inspect::look(inspect::Reach::Own)?;
    let Some(server) = seen.names.iter().find(|server| server.name == name) else { return Ok(None) };
    let channels = seen.channels.iter().filter(|channel| channel.name() == Some(name));
    for state in channels.map(inspect::Channel::read) {
        // A client may hold the channel of an earlier server.
        let is_earlier = server.process.is_some_and(|process| process != state.server_process);
        if !is_earlier && state.server == ServerState::Up && state.problems.is_empty() {
            return Ok(Some(Original {
                max_message_size: usize::try_from(state.max_message_size).unwrap_or(usize::MAX),
                is_length_set: state.min_message_size == 0,
                ring_size: state.ring_size as usize,
                message_limit: state.message_limit as usize,
                rejects_when_full: state.rejects_when_full,
                is_multi: state.is_multi,
                is_seen: true,
            }));
        }
    }
    // The server belongs to another user. This user may connect, but cannot look from outside.
    Ok(Some(Original {
        max_message_size: MAX_MESSAGE_SIZE,
        is_length_set: false,
        ring_size: RING_CAPACITY,
        message_limit: MAX_MESSAGES,
        rejects_when_full: false,
        is_multi: false,
        is_seen: false,
    }))
}
