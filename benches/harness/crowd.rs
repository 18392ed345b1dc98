//! The clients of a multi-client server in one process: many that only count the messages that come, and for each server at
//! most one that is busy.

use crate::line::Outcome;
use crate::region::Region;
use crate::PATIENCE;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{mpsc, Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use xshm::{ClientOptions, MultiClient, MultiClientHandler, MultiClientOptions};

/// Messages under way at once.
const WINDOW: u64 = 16;
/// The size of the counter's region, in bytes. The counter is its first word.
pub const COUNTER_BYTES: usize = 4096;

pub struct Crowd {
    base: String,
    idle: Vec<MultiClient>,
    busy: HashMap<String, (Arc<Busy>, mpsc::Receiver<()>)>,
}

pub fn counter_name(base: &str) -> String {
    format!("{base}-counter")
}

pub fn counter(region: Region) -> &'static AtomicU64 {
    // SAFETY: the region stays mapped, has this size, and begins with the counter, which is accessed only as an atomic.
    unsafe { &*region.at(0).cast::<AtomicU64>() }
}

impl Crowd {
    pub fn new(base: &str) -> Self {
        Crowd { base: base.to_owned(), idle: Vec::new(), busy: HashMap::new() }
    }

    /// Connects clients that only count.
    pub fn join(&mut self, server: &str, clients: usize) -> Outcome<()> {
        let counter = counter(Region::open(&counter_name(&self.base), COUNTER_BYTES)?);
        for _ in 0..clients {
            let client = connect(server, Duration::ZERO, Arc::new(Counting(counter)))?;
            self.idle.push(client);
        }
        Ok(())
    }

    /// Connects the client that [`exchange`](Self::exchange) works with.
    pub fn join_busy(&mut self, server: &str) -> Outcome<()> {
        let (sender, done) = mpsc::channel();
        let busy = Arc::new(Busy {
            client: OnceLock::new(),
            to_send: AtomicU64::new(0),
            to_come: AtomicU64::new(0),
            done: Mutex::new(sender),
        });
        let client = connect(server, Duration::from_micros(50), busy.clone())?;
        let _ = busy.client.set(client);
        self.busy.insert(server.to_owned(), (busy, done));
        Ok(())
    }

    /// Sends `messages` messages, each of which the server sends back, [`WINDOW`] at once. Returns the nanoseconds that
    /// it took.
    pub fn exchange(&mut self, server: &str, size: usize, messages: u64) -> Outcome<u64> {
        let (busy, done) = self.busy.get(server).ok_or("that server has no busy client")?;
        let client = busy.client.get().ok_or("no client")?;
        let message = vec![0x5a; size];
        let first = WINDOW.min(messages);
        busy.to_send.store(messages - first, Ordering::Relaxed);
        busy.to_come.store(messages, Ordering::Relaxed);
        let start = Instant::now();
        for _ in 0..first {
            client.send_timeout(&message, Some(PATIENCE))?;
        }
        done.recv_timeout(PATIENCE)?;
        Ok(u64::try_from(start.elapsed().as_nanos())?)
    }
}

fn connect<H: MultiClientHandler>(server: &str, spin: Duration, handler: Arc<H>) -> Outcome<MultiClient> {
    let options = MultiClientOptions {
        lobby_timeout: PATIENCE,
        slot_timeout: PATIENCE,
        ..MultiClientOptions::default()
    };
    Ok(ClientOptions::new().spin(spin).connect_multi(server, handler, options)?)
}

struct Counting(&'static AtomicU64);

impl MultiClientHandler for Counting {
    fn on_message(&self, _data: &[u8]) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends the next message for each that comes back, on the client's own thread.
struct Busy {
    client: OnceLock<MultiClient>,
    to_send: AtomicU64,
    /// Zero outside of an exchange: a message that comes then is a broadcast.
    to_come: AtomicU64,
    done: Mutex<mpsc::Sender<()>>,
}

impl MultiClientHandler for Busy {
    fn on_message(&self, data: &[u8]) {
        let to_come = self.to_come.load(Ordering::Relaxed);
        let (Some(client), 1..) = (self.client.get(), to_come) else { return };
        self.to_come.store(to_come - 1, Ordering::Relaxed);
        let to_send = self.to_send.load(Ordering::Relaxed);
        // A message that cannot be sent is missing at the end, and the exchange times out.
        if to_send > 0 && client.send(data).is_ok() {
            self.to_send.store(to_send - 1, Ordering::Relaxed);
        }
        if to_come == 1 {
            let _ = self.done.lock().unwrap_or_else(PoisonError::into_inner).send(());
        }
    }
}
