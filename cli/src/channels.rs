//! The channels of the machine as rows: what `xshm::inspect` sees, together with what the system says of the processes.

use crate::users::Users;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};
use xshm::inspect::{self, Channel, ChannelState, ClientState, Reach, RingState, ServerState, Wait};

/// A process at the end of a channel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Process {
    pub id: u32,
    /// The name of its program. `None`: there is no such process, or the system does not say it.
    pub program: Option<String>,
    pub user: Option<String>,
    /// Whether it runs, and has the channel's memory open where the system says that.
    pub is_alive: bool,
}

/// What a channel is good for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A server waits for a client.
    Idle,
    /// A client asks for a session.
    Requesting,
    /// A server and a client are connected.
    Connected,
    /// The session is over, and the server is about to offer the channel again or to replace it.
    Ended,
    /// The server's process has ended; a client still has the memory.
    ServerDead,
    /// The client's process has ended; the server has not noticed yet.
    ClientDead,
    /// The server has left; a client still has the memory.
    ServerGone,
    /// The memory has values that no side of the protocol writes.
    Damaged,
    /// A server has the name, and this user may not see its memory.
    Hidden,
}

impl State {
    pub fn text(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Requesting => "requesting",
            State::Connected => "connected",
            State::Ended => "ended",
            State::ServerDead => "server dead",
            State::ClientDead => "client dead",
            State::ServerGone => "server gone",
            State::Damaged => "damaged",
            State::Hidden => "hidden",
        }
    }
}

/// How many clients a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One.
    Single,
    /// Many; each has a separate channel.
    Multi,
    /// One, without a name.
    Anonymous,
    Unknown,
}

impl Mode {
    pub fn text(self) -> &'static str {
        match self {
            Mode::Single => "single",
            Mode::Multi => "multi",
            Mode::Anonymous => "anonymous",
            Mode::Unknown => "?",
        }
    }
}

/// One direction of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Direction {
    pub sent: u64,
    pub queued: u64,
    pub queued_bytes: u64,
    /// Whether more messages than these may be queued.
    pub is_partial: bool,
    pub dropped: u64,
    pub read_position: u64,
    pub write_position: u64,
    pub message_count: u64,
}

impl From<RingState> for Direction {
    fn from(ring: RingState) -> Self {
        Direction {
            sent: ring.sent(),
            queued: ring.queued,
            queued_bytes: ring.queued_bytes,
            is_partial: ring.is_partial,
            dropped: ring.drop_count,
            read_position: ring.read_position,
            write_position: ring.write_position,
            message_count: ring.message_count,
        }
    }
}

/// What a side waits for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Waiting {
    pub sleeps_for_message: bool,
    pub sleeps_for_room: bool,
    pub wants_all_signals: bool,
    pub promises_awake: bool,
    pub eviction_pressure: bool,
    pub session: u32,
}

impl From<Wait> for Waiting {
    fn from(wait: Wait) -> Self {
        Waiting {
            sleeps_for_message: wait.sleeps_for_data,
            sleeps_for_room: wait.sleeps_for_space,
            wants_all_signals: wait.wants_all_signals,
            promises_awake: wait.promises_awake,
            eviction_pressure: wait.pressure,
            session: wait.generation,
        }
    }
}

/// A channel, or a name whose channel this user may not see.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// `None`: an anonymous server's.
    pub name: Option<String>,
    /// `machine` or `local`.
    pub scope: &'static str,
    pub mode: Mode,
    pub state: State,
    /// What is wrong with the memory.
    pub problems: Vec<String>,
    pub server: Option<Process>,
    pub client: Option<Process>,
    /// The number of the client of a server for many clients.
    pub slot: Option<u64>,
    /// The number of the session.
    pub generation: u32,
    pub ring_size: u32,
    pub message_limit: u32,
    pub max_message_size: u64,
    /// `evict` or `reject`.
    pub when_full: &'static str,
    pub has_events: bool,
    pub to_client: Option<Direction>,
    pub to_server: Option<Direction>,
    pub server_wait: Waiting,
    pub client_wait: Waiting,
    pub owner: Option<String>,
    /// The access list, in words.
    pub access: Option<Vec<String>>,
    /// The bytes of the memory.
    pub memory: u64,
    pub memory_id: u64,
    #[serde(serialize_with = "as_hex")]
    pub magic: u32,
    #[serde(serialize_with = "as_hex")]
    pub version: u32,
    #[serde(serialize_with = "as_hex")]
    pub instance: u64,
    pub attempts: u32,
    /// All processes that have the memory open, where the system says it.
    pub processes: Vec<u32>,
}

fn as_hex<S: Serializer>(number: &(impl Copy + Into<u64>), serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{:#x}", (*number).into()))
}

/// The channels that were found, and what the system says of processes and users.
pub struct Machine {
    pub names: Vec<inspect::Name>,
    pub channels: Vec<Channel>,
    system: System,
    users: Users,
}

impl Machine {
    pub fn look(reach: Reach) -> xshm::Result<Self> {
        let seen = inspect::look(reach)?;
        let mut machine = Machine {
            names: seen.names,
            channels: seen.channels,
            system: System::new(),
            users: Users::of_this_machine(),
        };
        machine.refresh_processes();
        Ok(machine)
    }

    /// Looks whether the processes of the channels still run.
    pub fn refresh_processes(&mut self) {
        let mut ids: Vec<Pid> = Vec::new();
        for channel in &self.channels {
            let state = channel.read();
            ids.extend([state.server_process, state.client_process].map(Pid::from_u32));
        }
        ids.extend(self.names.iter().filter_map(|name| name.process).map(Pid::from_u32));
        ids.sort_unstable();
        ids.dedup();
        let kind = ProcessRefreshKind::nothing().with_user(UpdateKind::OnlyIfNotSet);
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&ids), true, kind);
    }

    fn process(&self, id: u32, holders: &[u32]) -> Option<Process> {
        if id == 0 {
            return None;
        }
        let found = self.system.process(Pid::from_u32(id));
        // The system gives the number of an ended process to another one, which does not have the memory.
        let found = found.filter(|_| holders.is_empty() || holders.contains(&id));
        Some(Process {
            id,
            program: found.map(|process| process.name().to_string_lossy().into_owned()),
            user: found.and_then(|process| process.user_id()).map(|id| self.users.name(&id.to_string())),
            is_alive: found.is_some(),
        })
    }

    /// The row of a channel.
    pub fn row(&self, channel: &Channel) -> Row {
        let state = channel.read();
        let server = self.process(state.server_process, channel.processes());
        let client = self.process(state.client_process, channel.processes());
        let dead = |process: &Option<Process>| process.as_ref().is_some_and(|process| !process.is_alive);
        Row {
            name: channel.name().map(str::to_owned),
            scope: scope(channel.name()),
            mode: match channel.name() {
                None => Mode::Anonymous,
                Some(_) if state.is_multi => Mode::Multi,
                Some(_) => Mode::Single,
            },
            state: row_state(&state, dead(&server), dead(&client)),
            server,
            client,
            slot: state.slot,
            generation: state.generation,
            ring_size: state.ring_size,
            message_limit: state.message_limit,
            max_message_size: state.max_message_size,
            when_full: if state.rejects_when_full { "reject" } else { "evict" },
            has_events: state.has_events,
            to_client: state.to_client.map(Direction::from),
            to_server: state.to_server.map(Direction::from),
            server_wait: state.server_wait.into(),
            client_wait: state.client_wait.into(),
            owner: channel.owner().map(|owner| self.users.name(&owner.to_string())),
            access: channel.access().map(<[String]>::to_vec),
            memory: channel.size() as u64,
            memory_id: channel.id(),
            magic: state.magic,
            version: state.version,
            instance: state.instance,
            attempts: state.attempts,
            processes: channel.processes().to_vec(),
            problems: state.problems,
        }
    }

    /// The row of a name whose channel this user may not see.
    fn hidden(&self, name: &inspect::Name) -> Row {
        let nothing = Waiting::from(Wait::default());
        Row {
            name: Some(name.name.clone()),
            scope: scope(Some(&name.name)),
            mode: Mode::Unknown,
            state: State::Hidden,
            problems: Vec::new(),
            server: name.process.and_then(|id| self.process(id, &[])),
            client: None,
            slot: None,
            generation: 0,
            ring_size: 0,
            message_limit: 0,
            max_message_size: 0,
            when_full: "?",
            has_events: false,
            to_client: None,
            to_server: None,
            server_wait: nothing,
            client_wait: nothing,
            owner: name.user.as_ref().map(|user| self.users.name(&user.to_string())),
            access: None,
            memory: 0,
            memory_id: 0,
            magic: 0,
            version: 0,
            instance: 0,
            attempts: 0,
            processes: Vec::new(),
        }
    }

    /// All rows: by name, then by server, with the channel that is offered before those of clients.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: BTreeMap<(Option<String>, u32, Option<u64>, u64), Row> = BTreeMap::new();
        let mut add = |row: Row| {
            let server = row.server.as_ref().map_or(0, |server| server.id);
            rows.insert((row.name.clone(), server, row.slot, row.memory_id), row);
        };
        for channel in &self.channels {
            add(self.row(channel));
        }
        let is_seen = |name: &str| self.channels.iter().any(|channel| channel.name() == Some(name));
        for name in self.names.iter().filter(|name| !is_seen(&name.name)) {
            add(self.hidden(name));
        }
        let rows: Vec<Row> = rows.into_values().collect();
        rows.iter().filter(|row| !is_kept_for_nothing(row, &rows)).cloned().collect()
    }

    /// The channels of this name. A name without a prefix may also be the machine's.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Channel> {
        let name = name.strip_prefix("Local\\").unwrap_or(name);
        self.channels.iter().filter(move |channel| channel.name() == Some(name))
    }
}

/// Whether only the server still has this channel, while it offers another one: it keeps the memory of the last session for a while.
fn is_kept_for_nothing(row: &Row, rows: &[Row]) -> bool {
    let has_client = row.client.as_ref().is_some_and(|client| client.is_alive);
    let is_successor = |other: &Row| {
        let server = |row: &Row| row.server.as_ref().map(|server| server.id);
        other.memory_id != row.memory_id && other.name == row.name && server(other) == server(row)
    };
    row.state == State::ServerGone && !has_client && rows.iter().any(is_successor)
}

fn scope(name: Option<&str>) -> &'static str {
    match name {
        Some(name) if name.starts_with("Global\\") => "machine",
        _ => "local",
    }
}

fn row_state(state: &ChannelState, server_is_dead: bool, client_is_dead: bool) -> State {
    if !state.problems.is_empty() {
        return State::Damaged;
    }
    match (state.server, state.client) {
        (ServerState::Gone, _) => State::ServerGone,
        _ if server_is_dead => State::ServerDead,
        (_, ClientState::Requesting | ClientState::Connected) if client_is_dead => State::ClientDead,
        (_, ClientState::Requesting) => State::Requesting,
        (_, ClientState::Connected) => State::Connected,
        (_, ClientState::Ended | ClientState::Left) => State::Ended,
        _ => State::Idle,
    }
}
