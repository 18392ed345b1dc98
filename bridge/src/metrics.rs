//! The counts of each bridged channel. They go to the recorder of the crate `metrics` that the program has installed.

use crate::hub::Role;
use crate::wire::Cause;
use metrics::{counter, describe_counter, describe_gauge, gauge, Counter, Gauge, Label};

/// The counts of one bridged channel, of all its sessions together.
pub(crate) struct Metrics {
    pub(crate) sent_messages: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) delivered_messages: Counter,
    pub(crate) delivered_bytes: Counter,
    pub(crate) evicted_by_source: Counter,
    pub(crate) evicted_by_bridge: Counter,
    pub(crate) evicted_by_other_bridge: Counter,
    pub(crate) repeated_chunks: Counter,
    pub(crate) sessions: Gauge,
    pub(crate) opened_sessions: Counter,
    ended_sessions: [Counter; Cause::ALL.len()],
    pub(crate) other_bridges: Gauge,
}

impl Metrics {
    /// Makes the counts of a channel.
    pub(crate) fn new(role: Role, name: &str, key: &str) -> Self {
        let labels = vec![
            Label::from_static_parts("role", role.name()),
            Label::new("channel", name.to_owned()),
            Label::new("key", key.to_owned()),
        ];
        let count = |name: &'static str, help: &'static str| {
            describe_counter!(name, help);
            counter!(name, labels.clone())
        };
        let number = |name: &'static str, help: &'static str| {
            describe_gauge!(name, help);
            gauge!(name, labels.clone())
        };
        let ended = |cause: Cause| {
            const NAME: &str = "xshm_bridge_ended_sessions_total";
            describe_counter!(NAME, "Sessions that have ended, by cause.");
            let mut labels = labels.clone();
            labels.push(Label::from_static_parts("cause", cause.name()));
            counter!(NAME, labels)
        };
        Metrics {
            sent_messages: count(
                "xshm_bridge_sent_messages_total",
                "Messages from the local channel to the network.",
            ),
            sent_bytes: count("xshm_bridge_sent_bytes_total", "Bytes of these messages."),
            delivered_messages: count(
                "xshm_bridge_delivered_messages_total",
                "Messages from the network to the local channel.",
            ),
            delivered_bytes: count("xshm_bridge_delivered_bytes_total", "Bytes of these messages."),
            evicted_by_source: count(
                "xshm_bridge_evicted_by_source_total",
                "Messages that the local peer evicted before the bridge took them.",
            ),
            evicted_by_bridge: count(
                "xshm_bridge_evicted_by_bridge_total",
                "Messages that the bridge evicted from the local ring, since the local peer was slower.",
            ),
            evicted_by_other_bridge: count(
                "xshm_bridge_evicted_by_other_bridge_total",
                "Messages that the other bridge evicted.",
            ),
            repeated_chunks: count(
                "xshm_bridge_repeated_chunks_total",
                "Chunks that were sent again, since the network had lost them.",
            ),
            sessions: number("xshm_bridge_sessions", "Sessions that live."),
            opened_sessions: count("xshm_bridge_opened_sessions_total", "Sessions that were opened."),
            ended_sessions: Cause::ALL.map(ended),
            // Only an import knows.
            other_bridges: if role == Role::Import {
                number("xshm_bridge_other_bridges", "Exporting bridges that are reachable.")
            } else {
                Gauge::noop()
            },
        }
    }

    pub(crate) fn ended_sessions(&self, cause: Cause) -> &Counter {
        &self.ended_sessions[cause as usize]
    }
}
