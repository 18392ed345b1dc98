//! The counts of each bridged channel, and a page with them for Prometheus.

use crate::wire::Cause;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The counts of one bridged channel, of all its sessions together.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Messages from the local channel to the network.
    pub sent_messages: AtomicU64,
    /// Their bytes.
    pub sent_bytes: AtomicU64,
    /// Messages from the network to the local channel.
    pub delivered_messages: AtomicU64,
    /// Their bytes.
    pub delivered_bytes: AtomicU64,
    /// Messages that the local peer evicted before the bridge took them, or left in the ring when the session ended.
    pub evicted_by_source: AtomicU64,
    /// Messages that the bridge evicted from the local channel's ring, since the local peer was slower.
    pub evicted_by_bridge: AtomicU64,
    /// Messages that the other bridge has evicted.
    pub evicted_by_other_bridge: AtomicU64,
    /// Chunks that were sent again, since the network had lost them.
    pub repeated_chunks: AtomicU64,
    /// Sessions that live.
    pub sessions: AtomicU64,
    /// Sessions that were opened.
    pub opened_sessions: AtomicU64,
    /// Sessions that have ended, for each cause in the order of [`Cause::ALL`].
    pub ended_sessions: [AtomicU64; Cause::ALL.len()],
    /// Bridges on the other side that are reachable.
    pub other_bridges: AtomicU64,
}

impl Metrics {
    pub(crate) fn add(count: &AtomicU64, number: u64) {
        count.fetch_add(number, Ordering::Relaxed);
    }
}

/// Whether a number only grows.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// The metrics of all channels of a program.
#[derive(Debug, Default)]
pub struct Registry {
    channels: Mutex<Vec<(String, Arc<Metrics>)>>,
}

impl Registry {
    /// Adds a channel. The role is `export` or `import`.
    pub fn add(&self, role: &str, name: &str, key: &str) -> Arc<Metrics> {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels = format!("role=\"{role}\",channel=\"{}\",key=\"{}\"", quoted(name), quoted(key));
        let metrics = Arc::new(Metrics::default());
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).push((labels, metrics.clone()));
        metrics
    }

    /// Returns all metrics in the text format of Prometheus.
    pub fn text(&self) -> String {
        type Count = fn(&Metrics) -> &AtomicU64;
        let metrics: [(&str, &str, Kind, Count); 11] = [
            ("sent_messages_total", "Messages from the local channel to the network.", Kind::Counter, |m| {
                &m.sent_messages
            }),
            ("sent_bytes_total", "Bytes of these messages.", Kind::Counter, |m| &m.sent_bytes),
            (
                "delivered_messages_total",
                "Messages from the network to the local channel.",
                Kind::Counter,
                |m| &m.delivered_messages,
            ),
            ("delivered_bytes_total", "Bytes of these messages.", Kind::Counter, |m| &m.delivered_bytes),
            (
                "evicted_by_source_total",
                "Messages that the local peer evicted before the bridge took them.",
                Kind::Counter,
                |m| &m.evicted_by_source,
            ),
            (
                "evicted_by_bridge_total",
                "Messages that the bridge evicted from the local ring.",
                Kind::Counter,
                |m| &m.evicted_by_bridge,
            ),
            (
                "evicted_by_other_bridge_total",
                "Messages that the other bridge evicted.",
                Kind::Counter,
                |m| &m.evicted_by_other_bridge,
            ),
            ("repeated_chunks_total", "Chunks that were sent again.", Kind::Counter, |m| &m.repeated_chunks),
            ("sessions", "Sessions that live.", Kind::Gauge, |m| &m.sessions),
            ("opened_sessions_total", "Sessions that were opened.", Kind::Counter, |m| &m.opened_sessions),
            ("other_bridges", "Reachable bridges on the other side.", Kind::Gauge, |m| &m.other_bridges),
        ];
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = String::new();
        let head = |text: &mut String, name: &str, help: &str, kind: Kind| {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let _ = write!(text, "# HELP xshm_bridge_{name} {help}\n# TYPE xshm_bridge_{name} {kind}\n");
        };
        for (name, help, kind, count) in metrics {
            head(&mut text, name, help, kind);
            for (labels, metrics) in &channels {
                let number = count(metrics).load(Ordering::Relaxed);
                let _ = writeln!(text, "xshm_bridge_{name}{{{labels}}} {number}");
            }
        }
        head(&mut text, "ended_sessions_total", "Sessions that have ended, by cause.", Kind::Counter);
        for (labels, metrics) in &channels {
            for (cause, number) in Cause::ALL.iter().zip(&metrics.ended_sessions) {
                let number = number.load(Ordering::Relaxed);
                let cause = cause.name();
                let _ =
                    writeln!(text, "xshm_bridge_ended_sessions_total{{{labels},cause=\"{cause}\"}} {number}");
            }
        }
        text
    }

    /// Serves the metrics by HTTP, in a thread that lives as long as the program. Returns the address.
    ///
    /// # Errors
    /// The address is in use, or the program may not use it.
    pub fn serve(self: &Arc<Self>, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let registry = self.clone();
        thread::Builder::new().name("metrics".into()).spawn(move || {
            for connection in listener.incoming() {
                let answered = connection.and_then(|connection| registry.answer(connection));
                if let Err(error) = answered {
                    tracing::debug!(%error, "a request for metrics failed");
                    thread::sleep(Duration::from_millis(10));
                }
            }
        })?;
        Ok(address)
    }

    fn answer(&self, mut connection: TcpStream) -> io::Result<()> {
        const LIMIT: Option<Duration> = Some(Duration::from_secs(2));
        connection.set_read_timeout(LIMIT)?;
        connection.set_write_timeout(LIMIT)?;
        let mut reader = BufReader::new(io::Read::take(&connection, 8192));
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        let (status, body) = match request.split(' ').nth(1) {
            Some("/metrics" | "/") => ("200 OK", self.text()),
            _ => ("404 Not Found", "the metrics are at /metrics\n".to_owned()),
        };
        let length = body.len();
        write!(
            connection,
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_page_has_each_channel() {
        let registry = Arc::new(Registry::default());
        let metrics = registry.add("export", "a \"name\"", "key");
        Metrics::add(&metrics.sent_messages, 7);
        let address = registry.serve(([127, 0, 0, 1], 0).into()).expect("a free port");
        let mut connection = TcpStream::connect(address).expect("the page is served");
        connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let line =
            "xshm_bridge_sent_messages_total{role=\"export\",channel=\"a \\\"name\\\"\",key=\"key\"} 7\n";
        assert!(answer.contains(line), "{answer}");
        assert!(answer.contains("cause=\"unreachable\"} 0\n"), "{answer}");
    }
}
