//! Many clients of one server connect, send, leave and are killed. Handles are counted for the whole process, so this test
//! has a separate program.

mod common;

use common::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use xshm::*;

#[test]
fn peer_process() {
    serve();
}

const PROCESSES: u64 = 8;

#[derive(Default)]
struct Account {
    /// Each slot's session: its number, how many messages have come, and whether the last one has come.
    open: BTreeMap<u32, Option<(u64, u64, bool)>>,
    left: u64,
    died: u64,
    messages: u64,
    faults: Vec<String>,
}

#[derive(Default)]
struct Book(Mutex<Account>);

impl MultiHandler for Book {
    fn on_client_connect(&self, client_id: u32) {
        let mut account = self.0.lock().unwrap();
        if account.open.insert(client_id, None).is_some() {
            account.faults.push(format!("slot {client_id} was given twice"));
        }
    }

    fn on_message(&self, client_id: u32, data: &[u8]) {
        let number = check_message(data);
        let (session, sequence) = (number >> 20, number & (LAST - 1));
        let last = number & LAST != 0;
        let mut account = self.0.lock().unwrap();
        account.messages += 1;
        let (of, next, over) = account.open[&client_id].unwrap_or((session, 0, false));
        if of != session || sequence != next || over {
            let fault = format!("message {session}.{sequence}, expected {of}.{next} (last one came: {over})");
            account.faults.push(fault);
        }
        account.open.insert(client_id, Some((session, sequence + u64::from(!last), last)));
    }

    fn on_overflow(&self, client_id: u32, direction: ChannelKind, count: u32) {
        if direction == ChannelKind::ClientToServer {
            self.0.lock().unwrap().faults.push(format!("{count} messages of slot {client_id} were lost"));
        }
    }

    fn on_client_disconnect_because(&self, client_id: u32, reason: &DisconnectReason) {
        let mut account = self.0.lock().unwrap();
        let session = account.open.remove(&client_id);
        match (reason, session) {
            (DisconnectReason::PeerLeft, Some(Some((_, _, true)))) => account.left += 1,
            (DisconnectReason::PeerDied, Some(_)) => account.died += 1,
            other => account.faults.push(format!("slot {client_id} ended as {other:?}")),
        }
    }

    fn on_error(&self, client_id: Option<u32>, error: ShmError) {
        self.0.lock().unwrap().faults.push(format!("{client_id:?}: {error}"));
    }
}

#[test]
fn a_storm_of_clients_loses_no_message_and_no_slot() {
    raw::raise_limits();
    let (clients, seconds) = if long() { (200, 60) } else { (48, 4) };
    let name = unique("storm");
    let threads = raw::threads();
    let book = Arc::new(Book::default());
    let options = MultiOptions { max_clients: clients as u32, ..MultiOptions::default() };
    let server = ServerOptions::new()
        .ring_size(16 * 1024)
        .message_limit(64)
        .start_multi(&name, book.clone(), options)
        .unwrap();
    // After this, all workers run, and stay.
    let mut fill = Peer::start();
    fill.must(&format!("join {name} {clients}"));
    let settled = |count| {
        let start = Instant::now();
        while server.client_count() != count {
            assert!(start.elapsed() < Duration::from_secs(5), "{} clients", server.client_count());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    fill.kill();
    drop(fill);
    settled(0);
    let (handles, mappings) = (raw::open_handles(), raw::mappings());

    let mut base = 1;
    let mut storm = |time: u64| {
        let mut peer = Peer::start();
        peer.tell(&format!("storm {name} {time} {} {base}", clients / PROCESSES));
        base += clients;
        peer
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    // Half of the processes ("calm") run to the end. The others ("wild") are killed at any moment, and started again.
    let calm: Vec<Peer> = (0..PROCESSES / 2).map(|_| storm(seconds)).collect();
    let mut wild: Vec<Peer> = (0..PROCESSES / 2).map(|_| storm(seconds + 60)).collect();
    let mut round = 0_u64;
    while Instant::now() < end {
        // Under Wine a process takes longer to start and connect.
        let pace = if cfg!(windows) { 4 } else { 1 };
        std::thread::sleep(Duration::from_millis((20 + round * 7919 % 150) * pace));
        let at = (round % (PROCESSES / 2)) as usize;
        wild[at].kill();
        wild[at] = storm(seconds + 60);
        round += 1;
    }
    drop(wild);
    let (mut sessions, mut sent) = (0, 0);
    for mut peer in calm {
        let answer = peer.answer();
        let numbers: Vec<u64> =
            answer.strip_prefix("ok ").expect(&answer).split(' ').map(|n| n.parse().unwrap()).collect();
        sessions += numbers[0];
        sent += numbers[1];
    }
    settled(0);
    {
        let account = book.0.lock().unwrap();
        assert!(account.faults.is_empty(), "{:?}", &account.faults[..account.faults.len().min(10)]);
        // All messages of the calm processes have arrived. Those of the wild processes come in addition.
        assert!(
            account.left > 0 && account.died >= clients + u64::from(long()) && account.messages >= sent,
            "{} of {sent}",
            account.messages
        );
        println!(
            "{sessions} sessions of calm processes, {} left, {} died, {} messages, {round} kills",
            account.left, account.died, account.messages
        );
    }
    // A channel was on offer or not when the handles were counted first. It has about ten handles and one mapping.
    let start = Instant::now();
    while raw::open_handles() > handles + 12 || raw::mappings() > mappings + 1 {
        let (handles_now, mappings_now) = (raw::open_handles(), raw::mappings());
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{handles_now} of {handles}, {mappings_now} of {mappings}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut fill = Peer::start();
    let slots = fill.must(&format!("join {name} {clients}"));
    let mut slots: Vec<u64> = slots.split(' ').map(|slot| slot.parse().unwrap()).collect();
    slots.sort_unstable();
    assert_eq!(slots, (0..clients).collect::<Vec<_>>());
    // The accept thread, and one worker per 30 clients, end with the server.
    let workers = clients.div_ceil(30) as usize;
    assert!(raw::threads() >= threads + workers, "{} after {threads}", raw::threads());
    drop(server);
    threads_are_back(threads);
}
