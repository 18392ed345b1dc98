//! What a program sees of channels from outside (`xshm::inspect`).

mod common;

use common::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use xshm::inspect::{self, Channel, ChannelState, ClientState, Reach, ServerState};
use xshm::{MultiServer, ServerOptions, SharedServer};

#[test]
fn peer_process() {
    serve();
}

/// The channels of this name.
fn channels(name: &str) -> Vec<Channel> {
    let seen = inspect::look(Reach::Own).unwrap();
    seen.channels.into_iter().filter(|channel| channel.name() == Some(name)).collect()
}

/// The only channel of this name.
fn channel(name: &str) -> Channel {
    let mut found = channels(name);
    assert_eq!(found.len(), 1, "{found:?}");
    found.pop().unwrap()
}

/// Reads until the state is as expected.
fn wait_until(channel: &Channel, what: &str, is: impl Fn(&ChannelState) -> bool) -> ChannelState {
    let start = Instant::now();
    loop {
        let state = channel.read();
        if is(&state) {
            return state;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "not {what}: {state:?}");
        thread::yield_now();
    }
}

#[test]
fn a_server_is_seen_from_its_start_to_its_end() {
    let name = unique("seen");
    let has_name = || inspect::look(Reach::Own).unwrap().names.into_iter().find(|found| found.name == name);
    assert_eq!(has_name(), None);
    let mut server = SharedServer::start(&name).unwrap();
    let found = has_name().expect("the server has the name");
    assert!(!found.is_busy);
    let own = std::process::id();
    if cfg!(target_os = "linux") {
        assert_eq!(found.process, Some(own));
    }
    let state = channel(&name).read();
    assert_eq!((state.server, state.client, state.generation), (ServerState::Up, ClientState::None, 0));
    assert_eq!((state.server_process, state.client_process, state.attempts), (own, 0, 0));
    assert_eq!((state.ring_size, state.message_limit), (2 << 20, 250));
    assert_eq!((state.min_message_size, state.max_message_size), (2, 65_535));
    assert!(state.has_events && !state.rejects_when_full && !state.is_multi);
    assert_eq!(state.problems, [""; 0]);

    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    let seen =
        channels(&name).into_iter().find(|channel| channel.read().client == ClientState::Connected).unwrap();
    let state = seen.read();
    assert_eq!((state.generation, state.client_process), (1, peer.id()));
    assert_eq!(seen.owner(), Some(&xshm::UserId::current().unwrap()));
    if cfg!(target_os = "linux") {
        // The process that looks is no holder, also if it has looked before.
        let again = channels(&name).into_iter().find(|channel| channel.id() == seen.id()).unwrap();
        let mut processes = again.processes().to_vec();
        processes.sort_unstable();
        let mut expected = [own, peer.id()];
        expected.sort_unstable();
        assert_eq!(processes, expected);
        assert!(has_name().unwrap().is_busy);
    } else {
        assert!(seen.access().is_some_and(|list| !list.is_empty()));
    }
    peer.must("send try 0 1 100");
    peer.finish();
    // A process that ends without a word leaves the word as it was.
    let state = seen.read();
    assert_eq!(state.to_server.unwrap().queued, 1);
    drop(server);
    assert_eq!(wait_until(&seen, "gone", |state| state.server == ServerState::Gone).problems, [""; 0]);
    assert_eq!(has_name(), None);
}

#[test]
fn queues_are_counted_exactly() {
    let name = unique("queues");
    let (server, client) = connected(&name, ServerOptions::new().ring_size(16 << 10).message_limit(32));
    let seen =
        channels(&name).into_iter().find(|channel| channel.read().client == ClientState::Connected).unwrap();
    let (mut buffer, mut sent, mut taken, mut evicted) = (Vec::new(), 0, 0, 0);
    let mut next = pseudorandom(7);
    for round in 0..4000 {
        let ring = seen.read().to_client.unwrap();
        assert!(!ring.is_partial);
        assert_eq!((ring.passed, ring.queued), (taken + evicted, sent - taken - evicted), "round {round}");
        assert_eq!(ring.sent(), sent);
        assert!(ring.queued_bytes >= 64 * ring.queued && ring.queued_bytes <= 16 << 10);
        // A random walk: sometimes the queue is empty, and sometimes it evicts.
        if next() % 64 < 33 {
            let len = 2 + next() as usize % 2000;
            evicted += server.send_to_client(&message(sent, len)).unwrap().overwritten as u64;
            sent += 1;
        } else if client.try_receive_from_server(&mut buffer).is_ok() {
            taken += 1;
        }
    }
    assert!(evicted > 0 && taken > 500, "{evicted} evicted, {taken} taken");
    // Called for its side effect: it publishes the sender's counts.
    let _ = server.stats();
    assert_eq!(seen.read().to_client.unwrap().drop_count, evicted);
    assert_eq!(seen.read().problems, [""; 0]);
}

#[test]
fn long_messages_are_counted() {
    let name = unique("long");
    let options = ServerOptions::new().ring_size(1 << 20).max_message_size(300_000);
    let (server, client) = connected(&name, options);
    let seen =
        channels(&name).into_iter().find(|channel| channel.read().client == ClientState::Connected).unwrap();
    assert_eq!((seen.read().min_message_size, seen.read().max_message_size), (0, 300_000));
    let mut buffer = Vec::new();
    for round in 0..10 {
        server.send_to_client(&vec![1; 300_000]).unwrap();
        server.send_to_client(&[]).unwrap();
        let ring = seen.read().to_client.unwrap();
        assert_eq!((ring.passed, ring.queued), (2 * round, 2));
        client.receive_from_server(&mut buffer).unwrap();
        client.receive_from_server(&mut buffer).unwrap();
        assert_eq!(seen.read().to_client.unwrap().passed, 2 * round + 2);
    }
}

#[test]
fn a_sleeping_side_is_seen() {
    let name = unique("sleeping");
    let (server, client) = connected(&name, ServerOptions::new());
    let seen =
        channels(&name).into_iter().find(|channel| channel.read().client == ClientState::Connected).unwrap();
    assert!(!seen.read().client_wait.sleeps());
    let waiting = thread::spawn(move || {
        let mut buffer = Vec::new();
        client.receive_from_server(&mut buffer).map(|_| client)
    });
    let state = wait_until(&seen, "asleep", |state| state.client_wait.sleeps_for_data);
    assert!(!state.client_wait.sleeps_for_space && !state.server_wait.sleeps());
    server.send_to_client(b"wake up").unwrap();
    let _client = waiting.join().unwrap().unwrap();
    assert!(!seen.read().client_wait.sleeps());
}

#[test]
fn a_server_for_many_clients_has_a_channel_for_each() {
    let name = unique("many");
    let _server = MultiServer::builder(&name).start().unwrap();
    let mut peers: Vec<Peer> = (0..3).map(|_| Peer::start()).collect();
    for peer in &mut peers {
        peer.must(&format!("join {name} 1"));
    }
    let states: Vec<ChannelState> = channels(&name).iter().map(Channel::read).collect();
    assert!(states.iter().all(|state| state.is_multi && state.problems.is_empty()), "{states:?}");
    let connected = states.iter().filter(|state| state.client == ClientState::Connected);
    let mut slots: Vec<_> = connected.map(|state| (state.slot.unwrap(), state.client_process)).collect();
    slots.sort_unstable();
    let expected: Vec<_> = peers.iter().enumerate().map(|(slot, peer)| (slot as u64, peer.id())).collect();
    assert_eq!(slots, expected);
}

#[test]
fn a_name_for_the_machine_has_its_prefix() {
    let base = unique("machine");
    let name = format!("Global\\{base}");
    let Ok(server) = SharedServer::start(&name) else {
        return skipped("this user may not start a server with a name for the machine");
    };
    let seen = inspect::look(Reach::Own).unwrap();
    let names = seen.names.iter().filter(|found| found.name.contains(&base)).map(|found| &found.name);
    // Where the session's directory is the machine's, the names do not differ.
    let expected = if raw::scopes_are_one() { &base } else { &name };
    assert_eq!(names.collect::<Vec<_>>(), [expected]);
    assert_eq!(channels(expected).len(), 1);
    drop(server);
}

/// Reads while a stream runs at full speed. The counts never decrease, and no problem is reported.
#[test]
fn a_stream_is_read_while_it_runs() {
    let name = unique("stream");
    for evicts in [false, true] {
        let options = ServerOptions::new().ring_size(64 << 10);
        let (server, client) = connected(&name, if evicts { options } else { options.reject_when_full() });
        let seen = channels(&name)
            .into_iter()
            .find(|channel| channel.read().client == ClientState::Connected)
            .unwrap();
        let stop = &AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    let bytes = message(number, 8 + (number as usize * 37) % 900);
                    // It fails while the queue is full, and when the client has left at the end.
                    let sent = match evicts {
                        true => server.send_to_client(&bytes).is_ok(),
                        false => server.try_send_to_client(&bytes).is_ok(),
                    };
                    number += u64::from(sent);
                }
            });
            scope.spawn(move || {
                let mut buffer = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let _ = client.receive_from_server_timeout(&mut buffer, millis(10));
                }
            });
            let (mut last, mut whole) = (0, 0);
            let start = Instant::now();
            while whole < 3000 || last < 10_000 {
                assert!(start.elapsed() < Duration::from_secs(60), "{whole} reads, {last} messages");
                let state = seen.read();
                let ring = state.to_client.unwrap();
                if !state.problems.is_empty() {
                    stop.store(true, Ordering::Relaxed);
                }
                assert_eq!(state.problems, [""; 0]);
                if ring.is_partial {
                    continue;
                }
                if ring.passed < last {
                    stop.store(true, Ordering::Relaxed);
                }
                assert!(ring.passed >= last, "{} after {last}", ring.passed);
                (last, whole) = (ring.passed, whole + 1);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

/// A side may write anything into the memory. Reading it reports problems, and neither fails nor takes long.
#[test]
fn garbage_is_reported() {
    let name = unique("garbage");
    let server = ServerOptions::new().ring_size(4096).message_limit(16).start(&name).unwrap();
    let section = raw::RawSection::map(server.section_handle());
    let seen = channels(&name).into_iter().next().unwrap();
    assert_eq!(seen.read().problems, [""; 0]);
    let words = section.size() / 8;
    let mut next = pseudorandom(99);
    let values = [0, 1, 2, 3, u64::MAX, 1 << 63, 1 << 32, 0x1_0000, 0x10005, 64, 4096, 1 << 20, 1 << 48];
    let start = Instant::now();
    let (mut reads, mut marked) = (0, 0);
    while start.elapsed() < Duration::from_secs(if long() { 60 } else { 2 }) {
        for _ in 0..1 + next() % 4 {
            // Most of them into the headers: the control block, ring A's, ring B's.
            let header = [0, 64, 128 + 4096][next() as usize % 3] / 8 + next() as usize % 8;
            let place = if next() % 4 > 0 { header } else { next() as usize % words };
            let value = match next() % 3 {
                0 => next(),
                1 => values[next() as usize % values.len()],
                _ => section.word64(8 * place).load(Ordering::Relaxed) ^ 1 << (next() % 64),
            };
            section.word64(8 * place).store(value, Ordering::Relaxed);
        }
        marked += usize::from(!seen.read().problems.is_empty());
        reads += 1;
        if next() % 16 == 0 {
            // Back to a channel that can be read, so that the rings are looked at too.
            section.word64(40).store(4096 | 16 << 32, Ordering::Relaxed);
            section.word64(0).store(0x5853_484d | 0x2_0000 << 32, Ordering::Relaxed);
        }
    }
    assert!(reads > 1000 && marked > reads / 2, "{marked} of {reads}");
}
