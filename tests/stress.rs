//! Two processes that send in both directions, with two threads each, and processes that are killed at any moment.

mod common;

use common::*;
use std::time::{Duration, Instant};
use xshm::{ServerOptions, SharedServer, ShmError};

#[test]
fn peer_process() {
    serve();
}

#[test]
fn both_directions_at_once_lose_nothing() {
    let count: u64 = if long() { 2_000_000 } else { 60_000 };
    let (mut server, mut peer) = pair("duplex", ServerOptions::new().ring_size(64 * 1024).message_limit(100));
    peer.tell("echo");
    let (sender, receiver) = server.split().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in 0..count {
                let len = 8 + (sequence * 7919 % 5000) as usize;
                sender.send_timeout(&message(sequence, len), seconds(30)).unwrap();
            }
        });
        let mut buffer = Vec::new();
        for sequence in 0..count {
            receiver.receive_timeout(&mut buffer, seconds(30)).unwrap();
            assert_eq!(check_message(&buffer), sequence);
        }
    });
    drop(server);
    assert_eq!(peer.answer(), format!("ok {count}"));
}

#[test]
fn clients_killed_at_any_moment() {
    let rounds = if long() { 500 } else { 15 };
    let name = unique("killed");
    let mut server = SharedServer::start(&name).unwrap();
    let mut buffer = Vec::new();
    for round in 0..rounds {
        let mut peer = Peer::start();
        peer.tell(&format!("connect {name} 10000"));
        peer.tell("flood 60000 3000");
        let killer = std::thread::spawn(move || {
            // The moment is anywhere from before the client connects until it has sent many messages.
            std::thread::sleep(Duration::from_micros(round * 7919 % 900_000));
            peer.kill();
            Instant::now()
        });
        let mut last = None;
        // If the server accepts no client, the client was killed before.
        let accepted = loop {
            match server.wait_for_client(millis(100)) {
                Ok(()) => break true,
                Err(ShmError::Timeout) if killer.is_finished() => break false,
                Err(ShmError::Timeout) => {}
                Err(error) => panic!("{error:?}"),
            }
        };
        let ended = accepted.then(|| loop {
            match server.receive_from_client(&mut buffer) {
                Ok(_) => {
                    let sequence = check_message(&buffer);
                    assert!(last.map_or(true, |last| sequence > last));
                    last = Some(sequence);
                }
                Err(error) => break (error, Instant::now()),
            }
        });
        let killed = killer.join().unwrap();
        if let Some((error, noticed)) = ended {
            assert!(matches!(error, ShmError::PeerDied { .. }), "{error:?}");
            let took = noticed.saturating_duration_since(killed);
            assert!(took < Duration::from_millis(500), "round {round}: {took:?}");
        }
    }
    // The server still accepts a client.
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
}

#[test]
fn servers_killed_at_any_moment() {
    let rounds = if long() { 300 } else { 12 };
    let name = unique("servers");
    let mut clients = Vec::new();
    for round in 0..rounds {
        let mut server = Peer::start();
        server.must(&format!("start {name}"));
        server.tell("accept 20000");
        server.tell("flood 60000 3000");
        let mut client = Peer::start();
        client.tell(&format!("connect {name} 20000"));
        std::thread::sleep(Duration::from_micros(round * 104_729 % 300_000));
        server.kill();
        // Some old clients live on, and keep the section of their dead server.
        clients.push(client);
        if clients.len() > 4 {
            clients.remove(0);
        }
    }
    // The next server accepts old clients that still wait, and new ones.
    let mut server = SharedServer::start(&name).unwrap();
    let mut peer = Peer::start();
    peer.tell(&format!("connect {name} 20000"));
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        server.wait_for_client(seconds(20)).unwrap();
        if server.peer().unwrap().process_id == peer.id() {
            break;
        }
        assert!(Instant::now() < end);
        let other = server.peer().unwrap().process_id;
        let client = clients.iter_mut().find(|client| client.id() == other).expect("one of the old clients");
        client.kill();
        while server.is_connected() {
            std::thread::yield_now();
        }
    }
    assert_eq!(peer.answer(), "ok");
}
