//! The options of the program, from the command line and from a configuration file.

use crate::hub::{random_id, Settings};
use crate::session::WhenFull;
use crate::{of_zenoh, Error};
use clap::Args;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use xshm::{
    Access, ChannelEvent, ClientOptions, MultiHandler, MultiOptions, Trust, UserId, MAX_MESSAGE_SIZE,
    RING_CAPACITY,
};
use zenoh::config::EndPoint;

/// The options that an export and an import have.
#[derive(Debug, Clone, Args, Deserialize)]
pub struct CommonOptions {
    /// The name of the channel on this machine
    pub name: String,
    /// The key in Zenoh, such as plant/press-3/state: the same for the export and the import
    #[arg(long)]
    pub key: String,
    /// What the bridge does if the ring to the local peer is full: wait holds up the other side, evict drops the oldest
    /// messages
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    pub when_full: WhenFull,
    /// After how many milliseconds without a sign of life of the other bridge a session ends: 600 to 600000
    #[arg(long, default_value_t = default_lease())]
    #[serde(default = "default_lease")]
    pub lease_ms: u32,
    /// How many bytes may be under way in each direction of a session: from a chunk to 1073741824. The smaller window of the two
    /// bridges counts
    #[arg(long, default_value_t = default_window())]
    #[serde(default = "default_window")]
    pub window: usize,
    /// The most bytes of one Zenoh message: 1024 to 16777216
    #[arg(long, default_value_t = default_chunk())]
    #[serde(default = "default_chunk")]
    pub chunk: usize,
    /// How many milliseconds a stop waits until the other side has what was sent
    #[arg(long, default_value_t = default_grace())]
    #[serde(default = "default_grace")]
    pub grace_ms: u32,
    /// A further user whose processes may be at the other end of the local channel: a number on Linux, a SID on Windows
    #[arg(long = "user")]
    #[serde(default, deserialize_with = "user_ids")]
    pub users: Vec<String>,
    /// What a configuration file has and this version does not know.
    #[arg(skip)]
    #[serde(flatten)]
    #[doc(hidden)]
    pub unknown: BTreeMap<String, toml::Value>,
}

/// Reads user ids that are texts or numbers.
fn user_ids<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum User {
        Number(u32),
        Text(String),
    }
    let users = Vec::<User>::deserialize(deserializer)?.into_iter().map(|user| match user {
        User::Number(number) => number.to_string(),
        User::Text(text) => text,
    });
    Ok(users.collect())
}

fn default_lease() -> u32 {
    1500
}

fn default_window() -> usize {
    4 << 20
}

fn default_chunk() -> usize {
    256 << 10
}

fn default_grace() -> u32 {
    3000
}

impl CommonOptions {
    /// Returns the default options for a channel and a key.
    pub fn new(name: impl Into<String>, key: impl Into<String>) -> Self {
        CommonOptions {
            name: name.into(),
            key: key.into(),
            when_full: WhenFull::default(),
            lease_ms: default_lease(),
            window: default_window(),
            chunk: default_chunk(),
            grace_ms: default_grace(),
            users: Vec::new(),
            unknown: BTreeMap::new(),
        }
    }

    /// Checks the options that have limits.
    ///
    /// # Errors
    /// [`Error::Option`] names the option and its limits.
    pub fn check(&self) -> Result<(), Error> {
        let invalid = |option, reason: String| Err(Error::Option { option, reason });
        // A connect that is not carried on checks the name.
        if let Err(error) = ClientOptions::new().begin_connect(&self.name) {
            return invalid("name", error.to_string());
        }
        if let Some(option) = self.unknown.keys().next() {
            return invalid("name", format!("there is no option {option:?} here"));
        }
        let key = zenoh::key_expr::KeyExpr::try_from(self.key.as_str());
        match key {
            Err(error) => return invalid("key", of_zenoh(error.as_ref())),
            Ok(key) if key.is_wild() || key.as_str().starts_with('@') => {
                return invalid("key", format!("{:?} has a wildcard or begins with @", self.key))
            }
            Ok(_) => {}
        }
        // The other bridge reports every 250 ms.
        if !(600..=600_000).contains(&self.lease_ms) {
            return invalid("lease-ms", format!("{} is not in 600 to 600000", self.lease_ms));
        }
        if !(1024..=16 << 20).contains(&self.chunk) {
            return invalid("chunk", format!("{} is not in 1024 to 16777216", self.chunk));
        }
        if self.window < self.chunk || self.window > 1 << 30 {
            return invalid(
                "window",
                format!("{} is not in {} (chunk) to 1073741824", self.window, self.chunk),
            );
        }
        self.user_ids().map(drop)
    }

    fn user_ids(&self) -> Result<Vec<UserId>, Error> {
        let parse = |user: &String| {
            user.parse()
                .map_err(|_| Error::Option { option: "user", reason: format!("{user:?} is no user id") })
        };
        self.users.iter().map(parse).collect()
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            window: self.window,
            chunk: self.chunk,
            lease: Duration::from_millis(self.lease_ms.into()),
            grace: Duration::from_millis(self.grace_ms.into()),
            when_full: self.when_full,
        }
    }
}

/// The options of an export.
#[derive(Debug, Clone, Args, Deserialize)]
pub struct ExportOptions {
    #[command(flatten)]
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: CommonOptions,
    /// How many milliseconds a new session waits for the local server, before it is refused: at least 100. The import's
    /// --open-timeout-ms may be shorter
    #[arg(long, default_value_t = default_connect_timeout())]
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_ms: u32,
    /// The most sessions at a time, of all importing bridges together. A session needs file descriptors
    #[arg(long, default_value_t = default_max_sessions())]
    #[serde(default = "default_max_sessions")]
    pub max_sessions: u32,
}

fn default_connect_timeout() -> u32 {
    2000
}

fn default_max_sessions() -> u32 {
    256
}

impl ExportOptions {
    /// Returns the default options for a channel and a key.
    pub fn new(name: impl Into<String>, key: impl Into<String>) -> Self {
        ExportOptions {
            common: CommonOptions::new(name, key),
            connect_timeout_ms: default_connect_timeout(),
            max_sessions: default_max_sessions(),
        }
    }

    /// Checks the options that have limits.
    ///
    /// # Errors
    /// [`Error::Option`] names the option and its limits.
    pub fn check(&self) -> Result<(), Error> {
        if self.max_sessions == 0 {
            let reason = "an export has at least one session".to_owned();
            return Err(Error::Option { option: "max-sessions", reason });
        }
        check_timeout("connect-timeout-ms", self.connect_timeout_ms)?;
        self.common.check()
    }

    pub(crate) fn trust(&self) -> Result<Option<Trust>, Error> {
        let users = self.common.user_ids()?;
        Ok((!users.is_empty()).then_some(Trust::Users(users)))
    }
}

fn check_timeout(option: &'static str, milliseconds: u32) -> Result<(), Error> {
    if milliseconds < 100 {
        let reason = format!("{milliseconds} is less than 100: no session would be open within this time");
        return Err(Error::Option { option, reason });
    }
    Ok(())
}

/// The options of an import.
#[derive(Debug, Clone, Args, Deserialize)]
pub struct ImportOptions {
    #[command(flatten)]
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub common: CommonOptions,
    /// Serve one client after the other, as the exported server does. Without it, the import serves many clients
    #[arg(long)]
    #[serde(default)]
    pub sync: bool,
    /// The most clients at a time, without --sync. A client needs file descriptors
    #[arg(long, default_value_t = default_max_clients())]
    #[serde(default = "default_max_clients")]
    pub max_clients: u32,
    /// The bytes of each ring of the imported channel
    #[arg(long, default_value_t = RING_CAPACITY)]
    #[serde(default = "default_ring_size")]
    pub ring_size: usize,
    /// The most messages that each ring of the imported channel queues. The default is 250
    #[arg(long)]
    #[serde(default)]
    pub message_limit: Option<usize>,
    /// The length of the longest message. It has to be that of the exported channel. The default follows from the ring size, and
    /// is at most 65535
    #[arg(long)]
    #[serde(default)]
    pub max_message_size: Option<usize>,
    /// A client's send fails if the ring is full, as on an exported channel with this option
    #[arg(long)]
    #[serde(default)]
    pub reject_when_full: bool,
    /// How many milliseconds an exporting bridge may take to open a session: at least 100
    #[arg(long, default_value_t = default_open_timeout())]
    #[serde(default = "default_open_timeout")]
    pub open_timeout_ms: u32,
}

fn default_max_clients() -> u32 {
    20
}

fn default_ring_size() -> usize {
    RING_CAPACITY
}

fn default_open_timeout() -> u32 {
    5000
}

impl ImportOptions {
    /// Returns the default options for a channel and a key.
    pub fn new(name: impl Into<String>, key: impl Into<String>) -> Self {
        ImportOptions {
            common: CommonOptions::new(name, key),
            sync: false,
            max_clients: default_max_clients(),
            ring_size: RING_CAPACITY,
            message_limit: None,
            max_message_size: None,
            reject_when_full: false,
            open_timeout_ms: default_open_timeout(),
        }
    }

    /// The longest message that the imported channel carries.
    pub(crate) fn longest(&self) -> usize {
        self.max_message_size.unwrap_or_else(|| MAX_MESSAGE_SIZE.min((self.ring_size / 2).saturating_sub(8)))
    }

    /// Checks the options, the sizes of the channel included: by a server with another name, which ends at once.
    ///
    /// # Errors
    /// [`Error::Option`] or [`Error::Channel`] names the option.
    pub fn check(&self) -> Result<(), Error> {
        struct Nothing;
        impl MultiHandler for Nothing {}
        self.common.check()?;
        check_timeout("open-timeout-ms", self.open_timeout_ms)?;
        if self.sync && self.max_clients != default_max_clients() {
            let reason = "an import with sync has one client at a time".to_owned();
            return Err(Error::Option { option: "max-clients", reason });
        }
        let options = self.server_options()?;
        // No client knows this name. It has the same reach as the channel's.
        let reach = if self.common.name.starts_with("Global\\") { "Global\\" } else { "" };
        let name = format!("{reach}xshm-bridge-check-{:016x}", random_id());
        let tried = if self.sync {
            options.start(&name).map(drop)
        } else {
            options.start_multi(&name, Arc::new(Nothing), self.multi_options()).map(drop)
        };
        tried.map_err(|error| Error::Channel { name: self.common.name.clone(), error })
    }

    pub(crate) fn multi_options(&self) -> MultiOptions {
        MultiOptions {
            max_clients: self.max_clients,
            // A client whose session has no room waits inside its handler, and holds up no other client.
            clients_per_worker: 1,
            ..MultiOptions::default()
        }
    }

    pub(crate) fn server_options(&self) -> Result<xshm::ServerOptions, Error> {
        // The bridge is no faster if it spins: what it waits for comes over the network.
        let mut options = xshm::ServerOptions::new().ring_size(self.ring_size).spin(Duration::ZERO);
        let name = self.common.name.clone();
        options = options.on_event(move |event| {
            if let ChannelEvent::Refused(error) = event {
                tracing::warn!(channel = %name, %error, "a client was refused");
            }
        });
        if let Some(messages) = self.message_limit {
            options = options.message_limit(messages);
        }
        if let Some(bytes) = self.max_message_size {
            options = options.max_message_size(bytes);
        }
        if self.reject_when_full {
            options = options.reject_when_full();
        }
        let users = self.common.user_ids()?;
        if !users.is_empty() {
            options = options.access(Access::Users(users));
        }
        Ok(options)
    }
}

/// How the program reaches the other machines.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkOptions {
    /// Connect to this endpoint, such as tcp/192.0.2.7:7447 or, with a configuration file, tls/server.example:7447. May be
    /// given several times, and adds to those of a file
    #[arg(long)]
    pub connect: Vec<String>,
    /// Accept connections at this endpoint, such as tcp/0.0.0.0:7447. May be given several times, and adds to those of a file.
    /// With --connect and without this, the bridge accepts none
    #[arg(long)]
    pub listen: Vec<String>,
    /// Find no other bridges by multicast, as with --connect or --listen
    #[arg(long)]
    pub no_multicast: bool,
    /// A configuration file of Zenoh (.json5, .json or .yaml), for TLS, access control, routers and all else that Zenoh offers
    #[arg(long, value_name = "FILE")]
    pub zenoh_config: Option<PathBuf>,
}

impl NetworkOptions {
    /// Returns the configuration of Zenoh: that of the file, or the bridge's own, with these options.
    ///
    /// # Errors
    /// The file cannot be read, or Zenoh refuses a value.
    pub fn zenoh(&self) -> Result<zenoh::Config, Error> {
        let mut config = match &self.zenoh_config {
            Some(file) => zenoh::Config::from_file(file)
                .map_err(|error| Error::File { path: file.clone(), reason: of_zenoh(error.as_ref()) })?,
            None => {
                let mut config = zenoh::Config::default();
                // Shorter times than Zenoh's own: a partition is noticed within 2 s, and a connection comes back soon. A longer
                // queue: a chunk is several batches of Zenoh, and its sender waits for room less often. Shorter messages, twice as
                // long as the longest chunk: a hostile peer can make Zenoh keep one. No pause until others are found: bridges may
                // come at any time.
                for (key, value) in [
                    ("mode", "\"peer\""),
                    ("transport/link/tx/lease", "2000"),
                    ("transport/link/tx/queue/size/data", "8"),
                    ("transport/link/rx/max_message_size", "33554432"),
                    ("open/return_conditions/connect_scouted", "false"),
                    (
                        "connect/retry",
                        "{ period_init_ms: 200, period_max_ms: 1000, period_increase_factor: 2 }",
                    ),
                ] {
                    config.insert_json5(key, value).map_err(Error::Zenoh)?;
                }
                config
            }
        };
        for (option, key, endpoints) in
            [("connect", "connect/endpoints", &self.connect), ("listen", "listen/endpoints", &self.listen)]
        {
            let refused = |reason| Error::Option { option, reason };
            endpoints.iter().try_for_each(|endpoint| check_endpoint(endpoint).map_err(refused))?;
            if !endpoints.is_empty() {
                add_endpoints(&mut config, key, endpoints)
                    .map_err(|error| refused(of_zenoh(error.as_ref())))?;
            }
        }
        let has_endpoints = !(self.connect.is_empty() && self.listen.is_empty());
        if self.zenoh_config.is_none() && has_endpoints && self.listen.is_empty() {
            // By default, Zenoh accepts connections of everybody at some port.
            config.insert_json5("listen/endpoints", "[]").map_err(Error::Zenoh)?;
        }
        if self.no_multicast || self.zenoh_config.is_none() && has_endpoints {
            config.insert_json5("scouting/multicast/enabled", "false").map_err(Error::Zenoh)?;
        }
        Ok(config)
    }
}

/// Checks an endpoint of the protocols that this package has.
fn check_endpoint(endpoint: &str) -> Result<(), String> {
    let parsed: EndPoint = endpoint.parse().map_err(|error: zenoh::Error| of_zenoh(error.as_ref()))?;
    if !matches!(parsed.protocol().as_str(), "tcp" | "tls") {
        return Err(format!("{endpoint:?}: the protocol is tcp or tls"));
    }
    let address = parsed.address();
    let is_right = address.as_str().parse::<SocketAddr>().is_ok()
        || address.as_str().rsplit_once(':').is_some_and(|(host, port)| {
            let is_of_name = |c: char| c.is_alphanumeric() || "-._*".contains(c);
            !host.is_empty()
                && host.chars().all(is_of_name)
                && port.chars().all(|c| c.is_ascii_digit())
                && port.parse::<u16>().is_ok()
        });
    if !is_right {
        return Err(format!(
            "{endpoint:?}: behind the protocol stand a host and a port, as in tcp/192.0.2.7:7447"
        ));
    }
    Ok(())
}

/// Adds endpoints to those that a file of Zenoh has. Without such a list, they replace Zenoh's default.
fn add_endpoints(config: &mut zenoh::Config, key: &str, endpoints: &[String]) -> zenoh::Result<()> {
    let json = config.get_json(key)?;
    let mut all = serde_json::Value::Array(Vec::new());
    if json != zenoh::Config::default().get_json(key)? {
        all = serde_json::from_str(&json)?;
    }
    let list = match &mut all {
        // One list for each mode.
        serde_json::Value::Object(modes) => {
            let mode: Option<String> = serde_json::from_str(&config.get_json("mode")?)?;
            modes.entry(mode.as_deref().unwrap_or("peer")).or_insert_with(|| Vec::<String>::new().into())
        }
        list => list,
    };
    let list = list.as_array_mut().ok_or("the endpoints of the file are no list")?;
    for endpoint in endpoints {
        if list.iter().any(|listed| listed == endpoint) {
            return Err(format!("{endpoint:?} is given twice").into());
        }
        list.push(endpoint.clone().into());
    }
    config.insert_json5(key, &all.to_string())
}

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How the program is observed.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObserveOptions {
    /// Serve metrics for Prometheus at this address and port, such as 127.0.0.1:9471
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
    /// What goes to the log, such as xshm_bridge=debug,zenoh=info. The default is that of the variable RUST_LOG, and without
    /// it info,zenoh=warn
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// The format of the log. The default is text
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
}

/// A configuration file: any number of exports and imports over one Zenoh session.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// How the program reaches the other machines.
    pub network: NetworkOptions,
    /// How the program is observed.
    pub observe: ObserveOptions,
    /// The channels of local servers.
    pub export: Vec<ExportOptions>,
    /// The channels of servers on other machines.
    pub import: Vec<ImportOptions>,
}

impl File {
    /// Reads a configuration file and checks its options.
    ///
    /// # Errors
    /// The file cannot be read, or an option is invalid or unknown.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::File { path: path.to_owned(), reason: error.to_string() })?;
        let mut file = Self::parse(&text).map_err(|reason| Error::File { path: path.to_owned(), reason })?;
        if let (Some(config), Some(folder)) = (&mut file.network.zenoh_config, path.parent()) {
            // An absolute path stays as it is.
            *config = folder.join(&config);
        }
        Ok(file)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File =
            toml::from_str(text).map_err(|error| wrong_option(text).unwrap_or_else(|| error.to_string()))?;
        if file.export.is_empty() && file.import.is_empty() {
            return Err("the file has no [[export]] and no [[import]]".into());
        }
        for (table, common) in (file.export.iter().map(|export| ("export", &export.common)))
            .chain(file.import.iter().map(|import| ("import", &import.common)))
        {
            if let Some(option) = common.unknown.keys().next() {
                return Err(format!(
                    "channel {:?}: a table [[{table}]] has no option {option:?}",
                    common.name
                ));
            }
        }
        for export in &file.export {
            export.check().map_err(|error| of_channel(&export.common.name, &error))?;
        }
        for import in &file.import {
            import.check().map_err(|error| of_channel(&import.common.name, &error))?;
        }
        if let Some(key) = repeated(file.export.iter().map(|export| &export.common.key)) {
            return Err(format!(
                "two tables [[export]] have the key {key:?}: clients would reach only one of them"
            ));
        }
        if let Some(name) = repeated(file.import.iter().map(|import| &import.common.name)) {
            return Err(format!(
                "two tables [[import]] have the name {name:?}: only one of them can have it"
            ));
        }
        for import in &file.import {
            let CommonOptions { name, key, .. } = &import.common;
            if file.export.iter().any(|export| export.common.name == *name && export.common.key == *key) {
                return Err(format!(
                    "channel {name:?}: the file exports and imports it under the key {key:?}, so the bridge would be the client of \
                     its own server"
                ));
            }
        }
        Ok(file)
    }
}

fn of_channel(name: &str, error: &Error) -> String {
    match error {
        // It has the name.
        Error::Channel { .. } => error.to_string(),
        error => format!("channel {name:?}: {error}"),
    }
}

/// Finds the option of a channel whose value has a wrong type. The parser knows only the table's line.
fn wrong_option(text: &str) -> Option<String> {
    fn wrong<T: for<'a> Deserialize<'a>>(kind: &str, file: &toml::Table) -> Option<String> {
        for table in file.get(kind)?.as_array()?.iter().filter_map(toml::Value::as_table) {
            for (option, value) in table {
                // A table that has only this option, and those without a default.
                let mut alone = toml::Table::new();
                alone.extend(["name", "key"].map(|option| (option.into(), "a".into())));
                alone.insert(option.clone(), value.clone());
                if let Err(error) = T::deserialize(alone) {
                    return Some(format!(
                        "a table [[{kind}]]: the option {option} = {value}: {}",
                        error.message()
                    ));
                }
            }
        }
        None
    }
    let file: toml::Table = toml::from_str(text).ok()?;
    wrong::<ExportOptions>("export", &file).or_else(|| wrong::<ImportOptions>("import", &file))
}

/// Returns an item that comes twice.
fn repeated<'a>(items: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let mut seen = BTreeSet::new();
    items.into_iter().find(|item| !seen.insert(*item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_defaults_of_the_command_line() {
        let text = "
            [network]
            connect = ['tcp/192.0.2.7:7447']
            [observe]
            log-format = 'json'
            [[export]]
            name = 'a'
            key = 'plant/a'
            [[import]]
            name = 'b'
            key = 'plant/b'
            sync = true
            ring_size = 65536
            when_full = 'evict'
        ";
        let file = File::parse(&text.replace("log-format", "log_format")).expect("the file is right");
        assert_eq!(file.export[0].common.window, default_window());
        assert_eq!(file.export[0].connect_timeout_ms, 2000);
        assert_eq!(file.import[0].common.when_full, WhenFull::Evict);
        assert_eq!(file.import[0].longest(), 32_760);
        assert!(file.import[0].sync);
        assert_eq!(file.observe.log_format, Some(LogFormat::Json));
        assert!(File::parse(text).is_err(), "an unknown option of [observe]");
    }

    #[test]
    fn wrong_files_are_refused_with_the_option() {
        let refused = |text: &str, part: &str| {
            let reason = File::parse(text).expect_err("the file is wrong");
            assert!(reason.contains(part), "{reason}");
            assert!(!reason.contains(".rs:"), "a place in the source: {reason}");
        };
        refused("", "no [[export]]");
        refused("[[export]]\nname = 'a'", "key");
        refused("[[export]]\nname = 'a'\nkey = 'a/*'", "wildcard");
        refused("[[export]]\nname = 'a'\nkey = '/a'", "key");
        refused(
            "[[export]]\nname = 'a'\nkey = 'a'\nrign_size = 1",
            "a table [[export]] has no option \"rign_size\"",
        );
        refused("[[export]]\nname = ''\nkey = 'a'", "empty");
        refused("[[export]]\nname = 'a\\b'\nkey = 'a'", "backslash");
        refused(&format!("[[import]]\nname = '{}'\nkey = 'a'", "a".repeat(81)), "80 bytes");
        refused("[[export]]\nname = 'a'\nkey = 'a'\nlease_ms = '1500'", "lease_ms = \"1500\"");
        refused("[[import]]\nname = 'a'\nkey = 'a'\nusers = [-1]", "[[import]]: the option users = [-1]");
        refused("[[import]]\nname = 'a'\nkey = 'a'\nsync = true\nmax_clients = 3", "max-clients");
        refused("[[import]]\nname = 'a'\nkey = 'a'\nopen_timeout_ms = 0", "open-timeout-ms");
        refused("[[export]]\nname = 'a'\nkey = 'a'\nconnect_timeout_ms = 0", "connect-timeout-ms");
        refused("[[export]]\nname = 'a'\nkey = 'a'\nmax_sessions = 0", "max-sessions");
        refused("[[import]]\nname = 'a'\nkey = 'a'\nring_size = 1000", "ring_size");
        refused("[[import]]\nname = 'a'\nkey = 'a'\nmax_clients = 0", "max_clients");
        refused("[[import]]\nname = 'a'\nkey = 'a'\n[[import]]\nname = 'a'\nkey = 'b'", "the name \"a\"");
        refused("[[export]]\nname = 'a'\nkey = 'a'\n[[export]]\nname = 'b'\nkey = 'a'", "the key \"a\"");
        refused("[[import]]\nname = 'a'\nkey = 'a'\nlease_ms = 5", "lease-ms");
        refused("[[import]]\nname = 'a'\nkey = 'a'\nwindow = 5", "window");
        refused("[[import]]\nname = 'a'\nkey = 'a'\nusers = ['me']", "user");
        refused("[[export]]\nname = 'a'\nkey = 'a'\n[[import]]\nname = 'a'\nkey = 'a'", "its own server");
    }

    #[test]
    fn the_network_options_become_a_configuration_of_zenoh() {
        let options = NetworkOptions {
            connect: vec!["tcp/192.0.2.7:7447".into()],
            no_multicast: true,
            ..NetworkOptions::default()
        };
        let config = options.zenoh().expect("the options are right");
        let text = config.to_string();
        assert!(text.contains("tcp/192.0.2.7:7447"), "{text}");
    }

    #[test]
    fn wrong_endpoints_are_refused_with_the_option() {
        let wrong: [&[&str]; 10] = [
            &["nonsense"],
            &["tcp/127.0.0.1"],
            &["tcp/127.0.0.1:99999"],
            &["tcp/:1"],
            &["udp/127.0.0.1:1"],
            &["tcp/[::1:7"],
            &["tcp/127.0.0.1:+7"],
            &["tcp/a b:7"],
            &["tcp/127.0.0.1:7;tcp/127.0.0.1:8"],
            &["tcp/[::1]:1", "tcp/[::1]:1"],
        ];
        for listen in wrong {
            let listen = listen.iter().map(ToString::to_string).collect::<Vec<_>>();
            let options = NetworkOptions { listen: listen.clone(), ..NetworkOptions::default() };
            let error = options.zenoh().expect_err("the endpoints are wrong").to_string();
            assert!(error.contains("the option listen") && error.contains(&listen[0]), "{error}");
            assert!(!error.contains(".rs"), "{error}");
        }
    }

    #[test]
    fn endpoints_are_added_to_those_of_a_file() {
        let file = std::env::temp_dir().join(format!("xshm-bridge-{:016x}.json5", random_id()));
        for (text, expected) in [
            ("{ mode: 'peer' }", "[\"tcp/127.0.0.1:1\"]"),
            ("{ listen: { endpoints: [] } }", "[\"tcp/127.0.0.1:1\"]"),
            ("{ listen: { endpoints: ['tls/[::]:7'] } }", "[\"tls/[::]:7\",\"tcp/127.0.0.1:1\"]"),
            (
                "{ mode: 'peer', listen: { endpoints: { peer: ['tls/[::]:7'] } } }",
                "{\"peer\":[\"tls/[::]:7\",\"tcp/127.0.0.1:1\"]}",
            ),
        ] {
            std::fs::write(&file, text.replace('\'', "\"")).expect("a temporary file");
            let listen = vec!["tcp/127.0.0.1:1".into()];
            let options =
                NetworkOptions { listen, zenoh_config: Some(file.clone()), ..NetworkOptions::default() };
            let config = options.zenoh().expect("the options are right");
            let found: serde_json::Value =
                serde_json::from_str(&config.get_json("listen/endpoints").expect("the key exists"))
                    .expect("JSON");
            assert_eq!(found, serde_json::from_str::<serde_json::Value>(expected).unwrap(), "{text}");
        }
        let _ = std::fs::remove_file(&file);
    }

    #[test]
    fn a_bridge_that_only_connects_accepts_no_connections() {
        let value = |options: &NetworkOptions, key: &str| {
            options.zenoh().expect("the options are right").get_json(key).expect("the key exists")
        };
        let mut options =
            NetworkOptions { connect: vec!["tcp/192.0.2.7:7447".into()], ..NetworkOptions::default() };
        assert_eq!(value(&options, "listen/endpoints"), "[]");
        assert_eq!(value(&options, "scouting/multicast/enabled"), "false");
        options.listen = vec!["tcp/0.0.0.0:7447".into()];
        assert!(value(&options, "listen/endpoints").contains("tcp/0.0.0.0:7447"));
        let found_by_multicast = NetworkOptions::default();
        assert_ne!(value(&found_by_multicast, "listen/endpoints"), "[]");
        assert_ne!(value(&found_by_multicast, "scouting/multicast/enabled"), "false");
    }
}
