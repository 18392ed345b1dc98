//! Very many clients of one server. Threads and handles are counted for the whole process, so this test has a separate
//! program.

mod common;

use common::*;
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use xshm::{DisconnectReason, MultiHandler, MultiOptions, ServerOptions, ShmError};

#[test]
fn peer_process() {
    raw::raise_limits();
    serve();
}

/// Clients of one process. Each has its own thread there.
const CLIENTS_PER_PROCESS: u64 = 50;

/// Clients that share a worker of the server.
const CLIENTS_PER_WORKER: u64 = 30;

/// The most handles that a client may cost its server.
const HANDLES: u64 = 16;

/// The messages of each client, and the number of ended sessions.
#[derive(Default)]
struct Book {
    said: Mutex<BTreeSet<(u32, u64)>>,
    left: Mutex<u64>,
    faults: Mutex<Vec<String>>,
    more: Condvar,
}

impl Book {
    fn fault(&self, what: String) {
        self.faults.lock().unwrap().push(what);
    }
}

impl MultiHandler for Book {
    fn on_message(&self, client_id: u32, data: &[u8]) {
        let number = check_message(data);
        if !self.said.lock().unwrap().insert((client_id, number)) {
            self.fault(format!("slot {client_id} said {number} twice"));
        }
        self.more.notify_all();
    }
    fn on_client_disconnect_because(&self, client_id: u32, reason: &DisconnectReason) {
        *self.left.lock().unwrap() += 1;
        if *reason != DisconnectReason::Stopped {
            self.fault(format!("slot {client_id} ended as {reason:?}"));
        }
    }
    fn on_error(&self, client_id: Option<u32>, error: ShmError) {
        self.fault(format!("{client_id:?}: {error}"));
    }
}

#[test]
fn line_24_a_server_has_one_worker_per_30_clients() {
    let limit = raw::raise_limits();
    let wanted = if long() { 1000 } else { 100 };
    let count = wanted.min(limit.saturating_sub(200) / HANDLES / CLIENTS_PER_PROCESS * CLIENTS_PER_PROCESS);
    if count < wanted {
        println!(
            "{count} clients instead of {wanted}: this process may have no more than {limit} descriptors"
        );
    }
    assert!(count >= 2 * CLIENTS_PER_WORKER, "{count} clients are too few for two workers");
    let name = unique("scale");
    let book = Arc::new(Book::default());
    let threads = raw::threads();
    let handles = u64::from(raw::open_handles());
    let options = MultiOptions { max_clients: count as u32, ..MultiOptions::default() };
    let server =
        ServerOptions::new().ring_size(4096).message_limit(8).start_multi(&name, book.clone(), options);
    let server = server.unwrap();

    let mut peers = Vec::new();
    for joined in (0..count).step_by(CLIENTS_PER_PROCESS as usize) {
        let mut peer = Peer::start();
        let slots = joined..joined + CLIENTS_PER_PROCESS;
        let expected: Vec<String> = slots.clone().map(|slot| slot.to_string()).collect();
        assert_eq!(peer.must(&format!("join {name} {CLIENTS_PER_PROCESS}")), expected.join(" "));
        peers.push(peer);
        // One accept thread, and the workers. The test harness may have ended one of its threads meanwhile.
        let workers = slots.end.div_ceil(CLIENTS_PER_WORKER) as usize;
        let now = raw::threads();
        assert!(
            (threads + workers..=threads + workers + 1).contains(&now),
            "{now} threads, {threads} before"
        );
        let now = u64::from(raw::open_handles());
        assert!(now <= handles + 200 + slots.end * HANDLES, "{now} handles for {} clients", slots.end);
    }
    assert_eq!(u64::from(server.client_count()), count);

    // The server sends a different message to each client, then the same one to all, and each client sends one.
    for slot in 0..count {
        server.send_to(slot as u32, &message(slot, 64)).unwrap();
    }
    assert_eq!(server.broadcast(&message(count, 64)).unwrap(), count as u32);
    for slot in 0..count {
        let (peer, which) = (&mut peers[(slot / CLIENTS_PER_PROCESS) as usize], slot % CLIENTS_PER_PROCESS);
        assert_eq!(peer.must(&format!("hear {which} 10000")), slot.to_string());
        assert_eq!(peer.must(&format!("hear {which} 10000")), count.to_string());
        peer.must(&format!("say {which} {slot} 1 64"));
    }
    let said = book.said.lock().unwrap();
    let few = |said: &mut BTreeSet<_>| (said.len() as u64) < count;
    let (said, out) = book.more.wait_timeout_while(said, Duration::from_secs(10), few).unwrap();
    assert!(!out.timed_out(), "{} of {count} messages arrived", said.len());
    assert!(said.iter().copied().eq((0..count).map(|slot| (slot as u32, slot))), "{said:?}");
    drop(said);

    let ((), took) = timed(|| server.stop());
    // Beyond the 100 ms for few clients, each client's channel has to be closed. Under Wine another process does that, for
    // one thread after the other.
    let each = Duration::from_micros(if cfg!(windows) { 5000 } else { 300 });
    let most = Duration::from_millis(100) + each * count as u32;
    println!("{count} clients: stopped in {took:?}");
    assert!(took < most, "{took:?}");
    threads_are_back(threads);
    assert_eq!(*book.left.lock().unwrap(), count);
    assert_eq!(*book.faults.lock().unwrap(), [""; 0]);
    for peer in &mut peers {
        assert_eq!(peer.must("hear 0 10000"), "end");
    }
}
