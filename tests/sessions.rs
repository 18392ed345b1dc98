//! Lines 8 to 11, 13 and 14 of docs/guarantees.md: names, connections, and their ends.

mod common;

use common::*;
use std::time::Duration;
use xshm::{ChannelEvent, ClientEvents, ClientHandles, ClientOptions};
use xshm::{ServerOptions, SharedClient, SharedServer, ShmError};

#[test]
fn peer_process() {
    serve();
}

const LONG_ENOUGH: Duration = Duration::from_secs(10);

fn exists(name: &str) -> ShmError {
    ShmError::AlreadyExists { name: name.to_owned() }
}

#[test]
fn line_8_a_second_server_fails_at_once() {
    let name = unique("second");
    let mut peer = Peer::start();
    peer.must(&format!("start {name}"));
    let (second, took) = timed(|| SharedServer::start(&name));
    assert_eq!(second.err(), Some(exists(&name)));
    assert!(took < Duration::from_secs(2), "{took:?}");
    // The prefix `Local\` and another geometry do not make it another name.
    let local = format!("Local\\{name}");
    assert_eq!(
        ServerOptions::new().ring_size(4096).message_limit(1).start(&local).err(),
        Some(exists(&local))
    );
    peer.must("leave");
    let here = SharedServer::start(&name).unwrap();
    assert_eq!(peer.ask(&format!("start {name}")), format!("err AlreadyExists {{ name: {name:?} }}"));
    // Case matters.
    let upper = name.to_uppercase();
    drop((SharedServer::start(&upper).unwrap(), here));
}

#[test]
fn line_8_a_name_held_by_another_object_is_taken() {
    let name = unique("squat");
    raw::squat(&name);
    assert_eq!(SharedServer::start(&name).err(), Some(exists(&name)));
    let error = SharedClient::connect(&name, Duration::ZERO).err();
    assert!(
        matches!(
            error,
            Some(ShmError::Refused { .. } | ShmError::NoServer { .. } | ShmError::NotAccepting { .. })
        ),
        "{error:?}"
    );
}

#[test]
fn line_8_a_killed_server_leaves_its_name_while_clients_hold_on() {
    let name = unique("killed");
    let mut old = Peer::start();
    old.must(&format!("start {name}"));
    old.tell("accept 10000");
    let old_client = SharedClient::connect(&name, LONG_ENOUGH).unwrap();
    old.answer();
    old.must("send over 1 1 64");
    old.kill();
    // The old client still has its handles.
    let mut server = SharedServer::start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    peer.must("send over 2 1 64");
    let mut buffer = Vec::new();
    server.receive_from_client(&mut buffer).unwrap();
    assert_eq!(check_message(&buffer), 2);
    old_client.receive_from_server(&mut buffer).unwrap();
    assert_eq!(check_message(&buffer), 1);
    assert_eq!(old_client.receive_from_server(&mut buffer), Err(ShmError::PeerDied { pid: old.id() }));
}

#[test]
fn line_8_a_client_waits_for_its_server() {
    let name = unique("later");
    let (result, took) = timed(|| SharedClient::connect(&name, Duration::from_millis(200)));
    assert_eq!(result.err(), Some(ShmError::NoServer { name: name.clone() }));
    assert!((200..3000).contains(&took.as_millis()), "{took:?}");
    let mut peer = Peer::start();
    peer.tell(&format!("connect {name} 20000"));
    // Long enough that the client looks many times without success.
    std::thread::sleep(Duration::from_millis(300));
    let mut server = SharedServer::start(&name).unwrap();
    let (result, took) = timed(|| server.wait_for_client(seconds(10)));
    result.unwrap();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(peer.answer(), "ok");
}

/// A client that could not connect says what it saw.
#[test]
fn line_39_a_failed_connect_says_what_it_saw() {
    let name = unique("saw");
    let connect = || SharedClient::connect(&name, Duration::from_millis(100)).err().unwrap();
    let no_server = connect();
    assert_eq!(no_server, ShmError::NoServer { name: name.clone() });
    let mut server = SharedServer::start(&name).unwrap();
    let not_accepting = connect();
    assert_eq!(not_accepting, ShmError::NotAccepting { name: name.clone() });
    // So it is for each of several clients.
    let answers: Vec<String> = std::thread::scope(|scope| {
        let ask = || Peer::start().ask(&format!("connect {name} 300"));
        let asking: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.starts_with("err NotAccepting")), "{answers:?}");
    // The client that gave up may have left a request.
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    let busy = connect();
    assert_eq!(busy, ShmError::AlreadyConnected);
    let no_copies = no_peer_starts();
    drop(server);
    let gone = connect();
    drop(no_copies);
    assert_eq!(gone, no_server);
    let texts = [no_server, not_accepting, busy].map(|error| error.to_string());
    assert!(texts[0].contains("no server") && texts[0].contains(&name), "{}", texts[0]);
    assert!(texts[1].contains("did not accept") && texts[1].contains(&name), "{}", texts[1]);
    assert!(texts[2].contains("another client") || texts[2].contains("a client"), "{}", texts[2]);
}

#[test]
fn names_that_are_not_valid_are_refused() {
    for name in ["", "a\\b", "a\0b", "Global\\", &"x".repeat(81)] {
        let invalid = |error| matches!(error, Some(ShmError::InvalidName { .. }));
        assert!(invalid(SharedServer::start(name).err()), "{name:?}");
        assert!(invalid(SharedClient::connect(name, Duration::ZERO).err()), "{name:?}");
    }
    let longest = format!("{:ü<39}{}", "", unique("x"));
    let longest = &longest[..longest.len().min(80)];
    drop(SharedServer::start(longest).unwrap());
}

#[test]
fn line_9_and_13_each_connection_starts_empty_with_a_new_generation() {
    let name = unique("generation");
    let mut server = SharedServer::start(&name).unwrap();
    for (generation, killed) in (1..=6).zip([false, true].into_iter().cycle()) {
        let mut peer = Peer::start();
        peer.enter(&name, &mut server);
        assert!(server.is_connected());
        assert_eq!(server.peer().unwrap().process_id, peer.id());
        let stats = server.stats().unwrap();
        assert_eq!((stats.generation, stats.sent, stats.receive_depth), (generation, 0, 0));
        let mut buffer = Vec::new();
        assert_eq!(server.try_receive_from_client(&mut buffer), Err(ShmError::QueueEmpty));
        assert_eq!(peer.ask("receive 0"), "err Timeout");
        assert!(peer.must("stats").contains(&format!("generation: {generation}")));
        // Something is left unread in both directions, some of it beyond the start of the ring.
        peer.must(&format!("send over 0 {} 5000", 50 * generation));
        server.send_to_client(&message(1, 64)).unwrap();
        if killed {
            peer.kill();
        } else {
            peer.must("leave");
            assert_eq!(server.send_to_client(&message(2, 64)), Err(ShmError::NotConnected));
        }
        assert!(!server.is_connected());
    }
}

#[test]
fn line_10_acceptance_and_withdrawal_exclude_each_other() {
    let name = unique("withdraw");
    let rounds = if long() { 20_000 } else { 1000 };
    let mut server = SharedServer::start(&name).unwrap();
    let (mut a, mut b) = (Peer::start(), Peer::start());
    a.tell(&format!("reconnect {name} {rounds}"));
    b.tell(&format!("reconnect {name} {rounds}"));
    let mut accepted = 0;
    let mut buffer = Vec::new();
    let connecting = std::thread::spawn(move || {
        let answers = [a.answer(), b.answer()];
        answers.map(|answer| answer.strip_prefix("ok ").expect("reconnecting works").parse::<u64>().unwrap())
    });
    let mut round = 0_u64;
    loop {
        round += 1;
        let over = connecting.is_finished();
        let wait = if over { Duration::ZERO } else { Duration::from_micros(round * 53 % 2500) };
        match server.wait_for_client(Some(wait)) {
            Ok(()) => {
                accepted += 1;
                // Each client that was accepted knows it, sends one message and leaves.
                assert_eq!(server.receive_from_client_timeout(&mut buffer, seconds(10)), Ok(16));
                check_message(&buffer);
                let left = server.receive_from_client_timeout(&mut buffer, seconds(10));
                assert_eq!(left, Err(ShmError::NotConnected));
            }
            Err(ShmError::Timeout) if over => break,
            Err(ShmError::Timeout) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    let known: u64 = connecting.join().unwrap().iter().sum();
    assert_eq!(accepted, known);
    assert!(accepted > 0);
}

#[test]
fn line_11_a_second_client_disturbs_nothing() {
    let name = unique("busy");
    let mut server = SharedServer::start(&name).unwrap();
    let (mut first, mut second) = (Peer::start(), Peer::start());
    first.enter(&name, &mut server);
    for _ in 0..3 {
        assert_eq!(second.ask(&format!("connect {name} 100")), "err AlreadyConnected");
    }
    let mut buffer = Vec::new();
    second.tell(&format!("connect {name} 20000"));
    for sequence in 0..100 {
        first.must(&format!("send over {sequence} 1 64"));
        server.receive_from_client(&mut buffer).unwrap();
        assert_eq!(check_message(&buffer), sequence);
    }
    assert_eq!(server.wait_for_client(millis(0)), Err(ShmError::AlreadyConnected));
    // The first client leaves, and the second one is accepted.
    first.must("leave");
    assert_eq!(server.receive_from_client(&mut buffer), Err(ShmError::NotConnected));
    server.wait_for_client(seconds(10)).unwrap();
    assert_eq!(second.answer(), "ok");
    assert_eq!(server.peer().unwrap().process_id, second.id());
}

#[test]
fn line_11_the_server_can_end_a_session() {
    let name = unique("disconnect");
    let mut server = SharedServer::start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    server.send_to_client(&message(3, 64)).unwrap();
    server.disconnect_client();
    assert!(!server.is_connected());
    assert_eq!(peer.must("receive 5000"), "3");
    assert_eq!(peer.ask("receive 5000"), "err NotConnected");
    // The client still has its section. The next client gets a new section, at once.
    let mut next = Peer::start();
    next.enter(&name, &mut server);
    assert_eq!(server.peer().unwrap().process_id, next.id());
    server.send_to_client(&message(4, 64)).unwrap();
    assert_eq!(peer.ask("receive 0"), "err NotConnected");
    assert_eq!(next.must("receive 5000"), "4");
    peer.must("leave");
    assert!(server.is_connected());
}

#[test]
fn line_13_a_frozen_client_keeps_its_session() {
    let name = unique("frozen");
    let mut server = SharedServer::start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    raw::freeze(peer.id());
    assert_eq!(server.receive_from_client_timeout(&mut Vec::new(), millis(700)), Err(ShmError::Timeout));
    assert!(server.is_connected());
    assert_eq!(server.wait_for_client(millis(100)), Err(ShmError::AlreadyConnected));
    assert!(matches!(SharedClient::connect(&name, Duration::ZERO).err(), Some(ShmError::AlreadyConnected)));
    server.send_to_client(&message(1, 64)).unwrap();
    raw::thaw(peer.id());
    assert_eq!(peer.must("receive 5000"), "1");
}

#[test]
fn line_14_an_incompatible_section_is_refused_with_the_difference() {
    // The server does not run: a server that waits for a client would restore the fields.
    let server = SharedServer::start_anonymous().unwrap();
    let section = raw::RawSection::map(server.section_handle());
    let mut peer = Peer::start();
    for (what, offset, wrong) in [
        ("magic", 0, 0x1234_5678),
        ("protocol version", 4, 0x0001_0000),
        ("ring size", 40, 3 << 20),
        ("ring size", 40, 0),
        ("section size", 40, 1 << 30),
        ("message limit", 44, 0),
        ("message limit", 44, 1 << 30),
        ("flags", 48, 0xffff_0000),
    ] {
        let right = section.word32(offset).load(std::sync::atomic::Ordering::SeqCst);
        section.store32(offset, wrong);
        let handle = raw::give_handle(peer.id(), server.section_handle());
        let answer = peer.ask(&format!("attach {handle} 10000"));
        assert!(answer.starts_with(&format!("err Incompatible {{ what: {what:?}")), "{answer}");
        section.store32(offset, right);
    }
}

#[test]
fn line_14_a_client_adopts_any_geometry_unless_it_demands_one() {
    for (ring, limit) in [(4096, 1), (4096, 63), (64 * 1024, 250), (8 << 20, 10_000)] {
        let name = unique("geometry");
        let mut peer = Peer::start();
        peer.must(&format!("start {name} {ring} {limit}"));
        peer.tell("accept 10000");
        let demanding = ClientOptions::new().ring_size(1 << 20).connect(&name, LONG_ENOUGH).err();
        assert!(matches!(demanding, Some(ShmError::Incompatible { what: "ring size", .. })), "{demanding:?}");
        let demanding = ClientOptions::new().message_limit(2).connect(&name, LONG_ENOUGH).err();
        assert!(
            matches!(demanding, Some(ShmError::Incompatible { what: "message limit", .. })),
            "{demanding:?}"
        );
        let demanding = ClientOptions::new().ring_size(ring).message_limit(limit);
        let client = demanding.connect(&name, LONG_ENOUGH).unwrap();
        assert_eq!(peer.answer(), "ok");
        for sequence in 0..limit as u64 {
            client.try_send_to_server(&message(sequence, 8)).unwrap();
        }
        assert_eq!(client.try_send_to_server(&message(0, 8)), Err(ShmError::QueueFull));
        assert_eq!(peer.must("receive 5000"), "0");
    }
}

#[test]
fn an_anonymous_server_accepts_a_process_that_has_its_section() {
    let mut server = SharedServer::start_anonymous().unwrap();
    assert!(server.is_anonymous() && server.get_event_handles().is_none());
    let mut peer = Peer::start();
    let handle = raw::give_handle(peer.id(), server.section_handle());
    peer.tell(&format!("attach {handle} 10000"));
    server.wait_for_client(seconds(10)).unwrap();
    assert_eq!(peer.answer(), "ok");
    peer.tell("echo");
    let mut buffer = Vec::new();
    for sequence in 0..100 {
        server.send_to_client(&message(sequence, 1000)).unwrap();
        server.receive_from_client(&mut buffer).unwrap();
        assert_eq!(check_message(&buffer), sequence);
    }
    peer.kill();
    let (result, took) = timed(|| server.receive_from_client(&mut buffer));
    assert_eq!(result, Err(ShmError::PeerDied { pid: peer.id() }));
    assert!(took < Duration::from_millis(500), "{took:?}");
    // The next client. Without events, the server polls.
    let mut peer = Peer::start();
    let handle = raw::give_handle(peer.id(), server.section_handle());
    peer.tell(&format!("attach {handle} 10000"));
    server.wait_for_client_noevent(seconds(10)).unwrap();
    assert_eq!(peer.answer(), "ok");
}

/// A peer that has the handles which a client needs instead of a name, and the order with which it attaches.
fn peer_with_handles(server: &SharedServer) -> (Peer, String) {
    let all = all_handles(&server.client_handles().unwrap());
    let peer = raw::inherited(&all, Peer::start);
    let given = all.map(|handle| raw::give_handle(peer.id(), handle)).join(" ");
    (peer, format!("attach_handles {given} 10000"))
}

#[test]
fn a_server_accepts_a_process_that_has_its_handles() {
    let anonymous = ServerOptions::new().anonymous_events().start_anonymous().unwrap();
    assert!(anonymous.is_anonymous() && anonymous.get_event_handles().is_some());
    for mut server in [anonymous, SharedServer::start(&unique("handles")).unwrap()] {
        assert_eq!(server.client_handles(), server.client_handles());
        for round in 0..2 {
            let (mut peer, order) = peer_with_handles(&server);
            peer.tell(&order);
            // The request event wakes the server, which does not poll.
            server.wait_for_client(seconds(10)).unwrap();
            assert_eq!(peer.answer(), "ok");
            peer.tell("echo");
            let mut buffer = Vec::new();
            for sequence in 0..100 {
                if sequence % 10 == 0 {
                    // Long enough that both sides sleep, and these events wake them.
                    std::thread::sleep(Duration::from_millis(2));
                }
                server.send_to_client(&message(sequence, 1000)).unwrap();
                server.receive_from_client(&mut buffer).unwrap();
                assert_eq!(check_message(&buffer), sequence);
            }
            if round == 0 {
                peer.kill();
                let (result, took) = timed(|| server.receive_from_client(&mut buffer));
                assert_eq!(result, Err(ShmError::PeerDied { pid: peer.id() }));
                assert!(took < Duration::from_millis(500), "{took:?}");
            }
        }
    }
}

#[test]
fn handles_that_do_not_belong_together_are_refused() {
    let named = SharedServer::start(&unique("others")).unwrap();
    let plain = SharedServer::start_anonymous().unwrap();
    let handles = named.client_handles().unwrap();
    let section = plain.client_handles().unwrap().section;
    assert_eq!(plain.client_handles().unwrap().events, None);
    // SAFETY: the servers keep the handles open. The kernel refuses a number that is no handle.
    let attach = |handles: &ClientHandles| unsafe { SharedClient::attach_handles(handles, Duration::ZERO) };
    let refused = |handles: &ClientHandles| match attach(handles) {
        Err(ShmError::Refused { reason }) => reason,
        other => panic!("{:?}", other.err()),
    };
    assert!(refused(&ClientHandles { section, ..handles }).contains("no events"));
    assert!(refused(&ClientHandles { events: None, ..handles }).contains("has events"));
    let events = handles.events.map(|events| ClientEvents { request: -1, ..events });
    assert!(attach(&ClientHandles { events, ..handles }).is_err());
    // The server accepts no client.
    assert_eq!(attach(&handles).err(), Some(ShmError::Timeout));
}

#[test]
fn attaching_to_a_named_servers_section_is_refused() {
    let server = SharedServer::start(&unique("named")).unwrap();
    assert!(!server.is_anonymous());
    let error = SharedClient::attach(raw::lent(server.section_handle()), Duration::ZERO).err();
    assert!(matches!(error, Some(ShmError::Refused { .. })), "{error:?}");
    for section in [0, -1, 0x7ff0] {
        // SAFETY: the kernel refuses what is no section.
        let error =
            unsafe { SharedClient::attach_handles(&ClientHandles { section, events: None }, Duration::ZERO) }
                .err();
        assert!(error.is_some(), "{section:#x}");
    }
}

#[test]
fn wait_for_client_noevent_accepts_a_named_servers_client() {
    let name = unique("noevent");
    let mut server = SharedServer::start(&name).unwrap();
    assert_eq!(server.wait_for_client_noevent(millis(20)), Err(ShmError::Timeout));
    let mut peer = Peer::start();
    peer.tell(&format!("connect {name} 10000"));
    server.wait_for_client_noevent(seconds(10)).unwrap();
    assert_eq!(peer.answer(), "ok");
}

#[test]
fn the_event_hook_is_called_for_connections_and_losses() {
    let name = unique("log");
    let events = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = events.clone();
    let options = ServerOptions::new().on_event(move |event| log.lock().unwrap().push(event.clone()));
    let mut server = options.start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    peer.kill();
    assert!(server.receive_from_client(&mut Vec::new()).is_err());
    let process_id = peer.id();
    assert_eq!(
        *events.lock().unwrap(),
        [
            ChannelEvent::Connected { process_id, generation: 1 },
            ChannelEvent::Lost(ShmError::PeerDied { pid: process_id })
        ]
    );
}
