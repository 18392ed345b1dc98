//! What event loops wait for besides messages: room, clients that connect, and the answer to a connect.
//!
//! A wait here has no time limit of its own unless the library names a time for the next look, so a lost wake-up fails a test.

mod common;

use common::*;
use std::time::{Duration, Instant};
use xshm::{ClientOptions, MultiOptions, MultiServer, PendingConnect, SendHalf, ServerOptions};
use xshm::{MultiHandler, SharedClient, SharedServer, ShmError, WaitHandles};

/// How long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn peer_process() {
    serve();
}

/// Waits as an event loop does. Fails if nothing comes although the library names no time for the next look.
fn wait(handles: &WaitHandles) {
    let objects: Vec<isize> = [handles.data()].into_iter().chain(handles.peer()).map(raw::number).collect();
    let left = handles.next_look().map(|at| at.saturating_duration_since(Instant::now()));
    // Rounded up, or the loop would be early.
    let millis = left.map_or(LIMIT.as_millis(), |left| left.as_millis() + 1);
    let is_ready = raw::is_one_ready(&objects, millis as u32);
    assert!(is_ready || left.is_some(), "no wake-up came");
}

fn is_idle(handles: &WaitHandles) -> bool {
    handles.next_look().is_none() && !raw::is_one_ready(&[raw::number(handles.data())], 0)
}

/// Accepts a client. Returns the number of rounds.
fn accept(server: &mut SharedServer) -> u32 {
    let mut rounds = 0;
    let start = Instant::now();
    while !server.try_accept().unwrap() {
        wait(&server.accept_handles().unwrap());
        rounds += 1;
        assert!(start.elapsed() < LIMIT, "after {rounds} rounds");
    }
    rounds
}

/// Finishes a connect. Returns the number of rounds.
fn finish(connecting: &mut PendingConnect) -> (SharedClient, u32) {
    let mut rounds = 0;
    let start = Instant::now();
    loop {
        if let Some(client) = connecting.try_finish().unwrap() {
            return (client, rounds);
        }
        wait(&connecting.wait_handles().unwrap());
        rounds += 1;
        assert!(start.elapsed() < LIMIT, "after {rounds} rounds");
    }
}

/// Sends messages that must not be lost. Returns how often it waited.
fn send_all(half: &mut SendHalf, count: u64, len: usize) -> u64 {
    let handles = half.wait_handles().unwrap().unwrap();
    let mut waits = 0;
    for sequence in 0..count {
        let message = message(sequence, len);
        loop {
            match half.try_send(&message) {
                Ok(()) => break,
                Err(ShmError::QueueFull) => {}
                Err(error) => panic!("message {sequence}: {error}"),
            }
            if !half.arm(len).unwrap() {
                waits += 1;
                wait(&handles);
                half.disarm().unwrap();
            }
        }
    }
    waits
}

#[test]
fn a_sender_that_waits_for_room_is_woken_each_time() {
    let count = if long() { 200_000 } else { 20_000 };
    let (mut server, mut peer) = pair("room", ServerOptions::new().message_limit(3));
    peer.tell(&format!("take {}", count - 1));
    let (half, _) = server.split().unwrap();
    let waits = send_all(half, count, 40);
    assert_eq!(peer.answer(), format!("ok {count}"));
    assert!(waits > 0, "the queue was never full");
    // In the other direction, and for messages for which the room for one message is too little.
    let name = unique("room-client");
    let mut peer = Peer::start();
    peer.must(&format!("start {name} 4096 20"));
    peer.tell("accept 10000");
    let mut client = ClientOptions::new().connect(&name, LIMIT).unwrap();
    assert_eq!(peer.answer(), "ok");
    peer.tell(&format!("take {}", count - 1));
    assert!(send_all(client.split().unwrap().0, count, 1500) > 0);
    assert_eq!(peer.answer(), format!("ok {count}"));
}

#[test]
fn arm_for_room_says_whether_there_is_room() {
    let (server, mut peer) = pair("room-arm", ServerOptions::new().message_limit(2));
    let (mut half, receiver) = server.into_split().unwrap();
    let handles = half.wait_handles().unwrap().unwrap();
    assert_eq!(half.arm(100), Ok(true));
    assert_eq!(half.arm(1), Err(ShmError::MessageTooSmall));
    assert_eq!(half.arm(70_000), Err(ShmError::MessageTooLarge));
    half.try_send(&message(0, 100)).unwrap();
    half.try_send(&message(1, 100)).unwrap();
    // Nothing is armed, so that the peer signals nothing.
    peer.must("receive 1000");
    assert!(is_idle(&handles));
    half.try_send(&message(2, 100)).unwrap();
    assert_eq!(half.arm(100), Ok(false));
    assert!(is_idle(&handles));
    peer.must("receive 1000");
    assert!(raw::is_ready(raw::number(handles.data()), 5000));
    half.disarm().unwrap();
    half.try_send(&message(3, 100)).unwrap();
    assert_eq!(half.arm(100), Ok(false));
    half.disarm().unwrap();
    peer.must("receive 1000");
    assert!(is_idle(&handles), "the request was withdrawn");
    half.try_send(&message(4, 100)).unwrap();
    assert_eq!(half.arm(100), Ok(false));
    peer.kill();
    assert!(raw::is_ready(raw::number(handles.peer().unwrap()), 5000));
    half.disarm().unwrap();
    assert!(!half.is_connected());
    assert_eq!(half.arm(100), Ok(true), "the end is there to be reported");
    assert!(matches!(half.try_send(&message(5, 100)), Err(ShmError::PeerDied { .. })));
    drop(half.rejoin(receiver).unwrap());
}

#[test]
fn a_server_accepts_clients_in_an_event_loop() {
    let rounds = if long() { 500 } else { 100 };
    let name = unique("loop-accept");
    let mut server = SharedServer::start(&name).unwrap();
    let mut peer = Peer::start();
    let mut waits = 0;
    for round in 0..rounds {
        assert!(!server.try_accept().unwrap());
        assert!(is_idle(&server.accept_handles().unwrap()), "round {round}: nothing to do");
        peer.tell(&format!("connect {name} 20000"));
        waits += accept(&mut server);
        assert_eq!(peer.answer(), "ok");
        assert_eq!(server.try_accept(), Err(ShmError::AlreadyConnected));
        let handles = server.accept_handles().unwrap();
        assert!(is_idle(&handles), "round {round}: the client is there");
        server.send_to_client(&message(round, 64)).unwrap();
        peer.must("receive 1000");
        peer.tell("leave");
        wait(&handles);
        assert_eq!(peer.answer(), "ok");
    }
    // Two or three steps for each client; more only if the machine is busy.
    assert!(waits < 20 * rounds as u32, "{waits} rounds of the loop for {rounds} clients");
}

/// The client dies instead of leaving, also on a channel whose section all sessions use.
#[test]
fn an_event_loop_that_accepts_finds_a_dead_client() {
    for reused in [false, true] {
        let name = unique("loop-death");
        let mut server = SharedServer::start(&name).unwrap();
        if reused {
            server.section_handle();
        }
        for _ in 0..3 {
            let mut peer = Peer::start();
            peer.tell(&format!("connect {name} 20000"));
            accept(&mut server);
            assert_eq!(peer.answer(), "ok");
            peer.kill();
            wait(&server.accept_handles().unwrap());
        }
        let mut peer = Peer::start();
        peer.tell(&format!("connect {name} 20000"));
        accept(&mut server);
        assert_eq!(peer.answer(), "ok");
    }
}

/// Clients that have been handed the channel, and do nothing with it, delay the next client by their turns. (On Windows the
/// server accepts what connects first.)
#[cfg(target_os = "linux")]
#[test]
fn a_client_that_does_nothing_does_not_hold_up_the_event_loop() {
    let name = unique("loop-slow");
    let mut server = SharedServer::start(&name).unwrap();
    let mut lazy: Vec<PendingConnect> =
        (0..5).map(|_| ClientOptions::new().begin_connect(&name).unwrap()).collect();
    for connecting in &mut lazy {
        assert!(connecting.try_finish().unwrap().is_none());
    }
    assert!(!server.try_accept().unwrap());
    assert!(server.accept_handles().unwrap().next_look().is_some(), "the turn ends");
    let mut peer = Peer::start();
    peer.tell(&format!("connect {name} 20000"));
    let start = Instant::now();
    let rounds = accept(&mut server);
    assert!(start.elapsed() < Duration::from_secs(2), "after {rounds} rounds");
    assert!(rounds < 200, "{rounds} rounds");
    assert_eq!(peer.answer(), "ok");
    assert_eq!(server.peer().unwrap().process_id, peer.id());
    drop(lazy);
}

#[test]
fn a_client_connects_in_an_event_loop() {
    let rounds = if long() { 500 } else { 100 };
    let name = unique("loop-connect");
    let mut peer = Peer::start();
    peer.must(&format!("start {name}"));
    for round in 0..rounds {
        peer.tell("accept 20000");
        let mut connecting = ClientOptions::new().begin_connect(&name).unwrap();
        let (client, _) = finish(&mut connecting);
        assert_eq!(peer.answer(), "ok", "round {round}");
        assert_eq!(connecting.try_finish().err(), Some(ShmError::NotReady));
        client.send_to_server(&message(round, 64)).unwrap();
        assert_eq!(peer.must("receive 10000"), round.to_string());
    }
}

/// The client comes first, then the server, then the server that accepts.
#[test]
fn a_connect_waits_for_the_server() {
    let name = unique("loop-early");
    let mut connecting = ClientOptions::new().begin_connect(&name).unwrap();
    for _ in 0..5 {
        assert!(connecting.try_finish().unwrap().is_none());
        let handles = connecting.wait_handles().unwrap();
        assert!(handles.next_look().is_some(), "no server announces its start");
        wait(&handles);
    }
    let gone = ClientOptions::new().begin_connect(&name).unwrap();
    assert_eq!(gone.give_up(), ShmError::NoServer { name: name.clone() });
    let mut peer = Peer::start();
    peer.must(&format!("start {name}"));
    let mut late = ClientOptions::new().begin_connect(&name).unwrap();
    assert!(late.try_finish().unwrap().is_none());
    assert_eq!(late.give_up(), ShmError::NotAccepting { name: name.clone() });
    for _ in 0..5 {
        assert!(connecting.try_finish().unwrap().is_none());
        let handles = connecting.wait_handles().unwrap();
        raw::is_one_ready(&[raw::number(handles.data())], 20);
    }
    peer.tell("accept 20000");
    let (client, _) = finish(&mut connecting);
    assert_eq!(peer.answer(), "ok");
    peer.must("send over 7 1 100");
    client.receive_from_server_timeout(&mut Vec::new(), seconds(10)).unwrap();
    // Another client waits until this one has left.
    let mut next = ClientOptions::new().begin_connect(&name).unwrap();
    assert!(next.try_finish().unwrap().is_none());
    assert_eq!(next.give_up(), ShmError::AlreadyConnected);
    let mut next = ClientOptions::new().begin_connect(&name).unwrap();
    assert!(next.try_finish().unwrap().is_none());
    drop(client);
    peer.tell("accept 20000");
    finish(&mut next);
    assert_eq!(peer.answer(), "ok");
}

/// Both ends in one event loop each: this process serves and connects, step by step.
#[test]
fn one_thread_accepts_and_connects() {
    let name = unique("loop-both");
    let mut server = SharedServer::start(&name).unwrap();
    for round in 0..50 {
        let mut connecting = ClientOptions::new().begin_connect(&name).unwrap();
        let start = Instant::now();
        let (mut accepted, mut client) = (false, None);
        while !accepted || client.is_none() {
            assert!(start.elapsed() < LIMIT, "round {round}: {accepted} {client:?}");
            accepted = accepted || server.try_accept().unwrap();
            if client.is_none() {
                client = connecting.try_finish().unwrap();
            }
            let accepting = (!accepted).then(|| server.accept_handles().unwrap());
            let connecting = client.is_none().then(|| connecting.wait_handles().unwrap());
            let both = || accepting.iter().chain(&connecting);
            let objects: Vec<isize> = both().map(|handles| raw::number(handles.data())).collect();
            let left = both().filter_map(WaitHandles::next_look).min();
            let left = left.map(|at| at.saturating_duration_since(Instant::now()));
            if !objects.is_empty() {
                let millis = left.map_or(LIMIT.as_millis(), |left| left.as_millis() + 1);
                let is_ready = raw::is_one_ready(&objects, millis as u32);
                assert!(is_ready || left.is_some(), "round {round}: no wake-up came");
            }
        }
        client.unwrap().send_to_server(&message(round, 64)).unwrap();
        let mut buffer = Vec::new();
        server.receive_from_client_timeout(&mut buffer, seconds(10)).unwrap();
        assert_eq!(check_message(&buffer), round);
    }
}

/// A connect that is dropped at any of its steps leaves nothing that keeps the next client out.
#[test]
fn a_dropped_connect_withdraws() {
    let name = unique("loop-drop");
    let mut server = SharedServer::start(&name).unwrap();
    let mut peer = Peer::start();
    for steps in 0..8 {
        let mut connecting = ClientOptions::new().begin_connect(&name).unwrap();
        let mut client = None;
        for _ in 0..steps {
            client = connecting.try_finish().unwrap();
            if client.is_some() {
                break;
            }
            drop(server.try_accept());
        }
        drop((client, connecting));
        peer.tell(&format!("connect {name} 20000"));
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < LIMIT, "after {steps} steps");
            // The dropped client may have had a session; then its end comes first.
            if matches!(server.try_accept(), Ok(true)) && server.peer().unwrap().process_id == peer.id() {
                break;
            }
            wait(&server.accept_handles().unwrap());
        }
        assert_eq!(peer.answer(), "ok", "after {steps} steps");
        server.send_to_client(&message(steps, 64)).unwrap();
        assert_eq!(peer.must("receive 10000"), steps.to_string());
        peer.must("leave");
    }
}

#[test]
fn a_connect_gets_a_slot_of_a_server_for_many_clients() {
    struct Deaf;
    impl MultiHandler for Deaf {}
    let name = unique("loop-slot");
    let options = MultiOptions { max_clients: 3, ..Default::default() };
    let server = MultiServer::start(&name, std::sync::Arc::new(Deaf), options).unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (client, _) = finish(&mut ClientOptions::new().begin_connect(&name).unwrap());
        clients.push(client);
    }
    let mut slots: Vec<_> = clients.iter().map(|client| client.slot_id().unwrap()).collect();
    slots.sort_unstable();
    assert_eq!(slots, [0, 1, 2]);
    let mut one_too_many = ClientOptions::new().begin_connect(&name).unwrap();
    let error = loop {
        match one_too_many.try_finish() {
            Ok(None) => wait(&one_too_many.wait_handles().unwrap()),
            Ok(Some(client)) => panic!("{client:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, ShmError::NoFreeSlot);
    drop(server);
}
