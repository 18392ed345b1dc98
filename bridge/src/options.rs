//! The options of the program, from the command line and from a configuration file.

use crate::hub::Settings;
use crate::session::WhenFull;
use crate::Error;
use clap::Args;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use xshm::{Access, Trust, UserId, MAX_MESSAGE_SIZE, RING_CAPACITY};

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
    /// After how many milliseconds without a sign of life of the other bridge a session ends
    #[arg(long, default_value_t = default_lease())]
    #[serde(default = "default_lease")]
    pub lease_ms: u32,
    /// How many bytes may be under way in each direction of a session. The smaller window of the two bridges counts
    #[arg(long, default_value_t = default_window())]
    #[serde(default = "default_window")]
    pub window: usize,
    /// The most bytes of one Zenoh message
    #[arg(long, default_value_t = default_chunk())]
    #[serde(default = "default_chunk")]
    pub chunk: usize,
    /// How many milliseconds a stop waits until the other side has what was sent
    #[arg(long, default_value_t = default_grace())]
    #[serde(default = "default_grace")]
    pub grace_ms: u32,
    /// A further user whose processes may be at the other end of the local channel: a number on Linux, a SID on Windows
    #[arg(long = "user")]
    #[serde(default)]
    pub users: Vec<String>,
    /// What a configuration file has and this version does not know.
    #[arg(skip)]
    #[serde(flatten)]
    unknown: BTreeMap<String, toml::Value>,
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
        if let Some(option) = self.unknown.keys().next() {
            return invalid("configuration", format!("{option:?} is no option of this version"));
        }
        let key = zenoh::key_expr::KeyExpr::try_from(self.key.as_str());
        match key {
            Err(error) => return invalid("key", error.to_string()),
            Ok(key) if key.is_wild() || key.as_str().starts_with('@') => {
                return invalid("key", format!("{key:?} has a wildcard or begins with @"))
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
    /// How many milliseconds a new session waits for the local server, before it is refused
    #[arg(long, default_value_t = default_connect_timeout())]
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_ms: u32,
    /// The most sessions at a time, of all importing bridges together
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

    pub(crate) fn trust(&self) -> Result<Option<Trust>, Error> {
        let users = self.common.user_ids()?;
        Ok((!users.is_empty()).then_some(Trust::Users(users)))
    }
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
    /// The most clients at a time
    #[arg(long, default_value_t = default_max_clients())]
    #[serde(default = "default_max_clients")]
    pub max_clients: u32,
    /// The bytes of each ring of the imported channel
    #[arg(long, default_value_t = RING_CAPACITY)]
    #[serde(default = "default_ring_size")]
    pub ring_size: usize,
    /// The most messages that each ring of the imported channel queues
    #[arg(long)]
    #[serde(default)]
    pub message_limit: Option<usize>,
    /// The length of the longest message. It has to be that of the exported channel
    #[arg(long)]
    #[serde(default)]
    pub max_message_size: Option<usize>,
    /// A client's send fails if the ring is full, as on an exported channel with this option
    #[arg(long)]
    #[serde(default)]
    pub reject_when_full: bool,
    /// How many milliseconds an exporting bridge may take to open a session
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

    pub(crate) fn server_options(&self) -> Result<xshm::ServerOptions, Error> {
        // The bridge is no faster if it spins: what it waits for comes over the network.
        let mut options = xshm::ServerOptions::new().ring_size(self.ring_size).spin(Duration::ZERO);
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
    /// Connect to this endpoint, such as tcp/192.0.2.7:7447. May be given several times
    #[arg(long, global = true)]
    pub connect: Vec<String>,
    /// Accept connections at this endpoint, such as tcp/0.0.0.0:7447. May be given several times
    #[arg(long, global = true)]
    pub listen: Vec<String>,
    /// Find no other bridges by multicast
    #[arg(long, global = true)]
    pub no_multicast: bool,
    /// A configuration file of Zenoh (JSON5), for TLS, access control, routers and all else that Zenoh offers
    #[arg(long, global = true, value_name = "FILE")]
    pub zenoh_config: Option<PathBuf>,
}

impl NetworkOptions {
    /// Returns the configuration of Zenoh: that of the file, or the bridge's own, with these options.
    ///
    /// # Errors
    /// The file cannot be read, or Zenoh refuses a value.
    pub fn zenoh(&self) -> Result<zenoh::Config, Error> {
        let mut config = match &self.zenoh_config {
            Some(file) => zenoh::Config::from_file(file).map_err(Error::Zenoh)?,
            None => {
                let mut config = zenoh::Config::default();
                // Shorter times than Zenoh's own: a partition is noticed within 2 s, and a connection comes back soon. A longer
                // queue: a chunk is several batches of Zenoh, and its sender waits for room less often.
                for (key, value) in [
                    ("mode", "\"peer\""),
                    ("transport/link/tx/lease", "2000"),
                    ("transport/link/tx/queue/size/data", "8"),
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
        for (key, endpoints) in [("connect/endpoints", &self.connect), ("listen/endpoints", &self.listen)] {
            if !endpoints.is_empty() {
                config.insert_json5(key, &format!("{endpoints:?}")).map_err(Error::Zenoh)?;
            }
        }
        if self.no_multicast {
            config.insert_json5("scouting/multicast/enabled", "false").map_err(Error::Zenoh)?;
        }
        Ok(config)
    }
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
    /// Serve metrics for Prometheus at this address, such as 127.0.0.1:9471
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
    /// What goes to the log, such as info or xshm_bridge=debug,zenoh=info. The default is info, and zenoh=warn
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// The format of the log. The default is text
    #[arg(long, global = true, value_enum)]
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
        Self::parse(&text).map_err(|reason| Error::File { path: path.to_owned(), reason })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        if file.export.is_empty() && file.import.is_empty() {
            return Err("the file has no [[export]] and no [[import]]".into());
        }
        for common in file.export.iter().map(|e| &e.common).chain(file.import.iter().map(|i| &i.common)) {
            common.check().map_err(|error| format!("channel {:?}: {error}", common.name))?;
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
        };
        refused("", "no [[export]]");
        refused("[[export]]\nname = 'a'", "key");
        refused("[[export]]\nname = 'a'\nkey = 'a/*'", "wildcard");
        refused("[[export]]\nname = 'a'\nkey = '/a'", "key");
        refused("[[export]]\nname = 'a'\nkey = 'a'\nrign_size = 1", "rign_size");
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
        assert!(NetworkOptions { listen: vec!["nonsense".into()], ..NetworkOptions::default() }
            .zenoh()
            .is_err());
    }
}
