//! A client is killed again and again, at any moment. Handles are counted for the whole process, so this test has a
//! separate program.

mod common;

use common::*;
use std::time::{Duration, Instant};
use xshm::{SharedServer, ShmError};

#[test]
fn peer_process() {
    serve();
}

#[test]
fn a_killed_client_leaves_nothing_behind() {
    let name = unique("kills");
    let mut server = SharedServer::start(&name).unwrap();
    let (mut before, mut sessions, mut received) = ((0, 0), 0, 0_u64);
    let rounds = if long() { 1000 } else { 60 };
    // The longest time that a client has taken to connect on this machine, at most 300 ms. It doubles if a client had this
    // long and did not connect, since the machine may have become slower.
    let longest = Duration::from_millis(300);
    let mut connecting = Duration::from_millis(2);
    for round in 0..rounds {
        let mut peer = Peer::start();
        // The moment of the kill: from before the client looks the name up until it exchanges messages. The first rounds
        // measure how long that takes.
        let moment = match round {
            0..=3 => Duration::from_secs(10),
            _ => connecting * (round as u32 * 7919 % 4096) / 1024,
        };
        let begun = Instant::now();
        peer.tell(&format!("connect {name} 10000"));
        peer.tell("chat 0");
        let mut end = begun + moment;
        let left = |end: Instant| Some(end.saturating_duration_since(Instant::now()));
        match server.wait_for_client(left(end)) {
            Ok(()) => {
                sessions += 1;
                connecting = connecting.max(begun.elapsed()).min(longest);
                end = end.min(begun + 4 * connecting);
            }
            Err(ShmError::Timeout) if moment >= connecting => connecting = (connecting * 2).min(longest),
            Err(ShmError::Timeout) => {}
            Err(error) => panic!("round {round}: {error}"),
        }
        let mut buffer = Vec::new();
        while server.is_connected() && Instant::now() < end {
            match server.receive_from_client_timeout(&mut buffer, left(end)) {
                Ok(_) => received += check_message(&buffer).min(1),
                Err(ShmError::Timeout) => {}
                Err(error) => panic!("round {round}: {error}"),
            }
            server.send_to_client(&message(round as u64, 100)).unwrap();
        }
        peer.kill();
        if server.stats().is_ok() {
            let (result, took) = timed(|| loop {
                if let Err(error) = server.receive_from_client(&mut buffer) {
                    break error;
                }
            });
            let over = matches!(result, ShmError::PeerDied { .. } | ShmError::NotConnected);
            assert!(over && took < Duration::from_millis(500), "round {round}: {result} after {took:?}");
        }
        // The server closes the handle of the last client's process when it accepts the next one; here none comes.
        assert_eq!(server.wait_for_client(Some(Duration::ZERO)), Err(ShmError::Timeout), "round {round}");
        let now = (raw::open_handles(), raw::mappings());
        match round {
            // After the first rounds, all handles that the process keeps are open.
            20 => before = now,
            _ if round > 20 => {
                assert!(now.0 <= before.0 + 1 && now.1 == before.1, "{now:?} {before:?}, round {round}")
            }
            _ => {}
        }
        drop(peer);
    }
    assert!(sessions > rounds / 4 && received > 0, "{sessions} sessions, {received} messages");
    // The server still accepts a client.
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
}
