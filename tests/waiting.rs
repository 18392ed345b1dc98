//! Lines 15 to 18 and 31 of docs/guarantees.md: waiting, and how it ends.

mod common;

use common::*;
use std::time::{Duration, Instant};
use xshm::{ClientOptions, ServerOptions, SharedClient, SharedServer, ShmError};

#[test]
fn peer_process() {
    serve();
}

/// The time in which a blocking call must notice that the peer is gone.
const NOTICE: Duration = Duration::from_millis(500);

#[test]
fn line_15_an_idle_endpoint_sleeps_once() {
    let (server, mut peer) = pair("idle", ServerOptions::new());
    let idle = if long() { 10_000 } else { 1500 };
    peer.tell(&format!("receive {idle}"));
    let before = server.stats().unwrap().sleeps;
    let mut buffer = Vec::new();
    let received = server.receive_from_client_timeout(&mut buffer, millis(idle));
    assert_eq!(received, Err(ShmError::Timeout));
    // One wait in the kernel, until the timeout. If it ended a little early by our clock, there was a second one.
    let sleeps = server.stats().unwrap().sleeps - before;
    assert!((1..=2).contains(&sleeps), "{sleeps} sleeps");
    assert_eq!(peer.answer(), "err Timeout");
    let stats = peer.must("stats");
    assert!(stats.contains("sleeps: 1") || stats.contains("sleeps: 2"), "{stats}");
}

#[test]
fn line_16_a_killed_server_is_noticed_in_every_blocking_call() {
    let full = |client: &SharedClient| while client.try_send_to_server(&[0; 64]).is_ok() {};
    type Call = fn(&SharedClient) -> Option<ShmError>;
    let calls: [(&str, Call); 4] = [
        ("receive", |client| client.receive_from_server(&mut Vec::new()).err()),
        ("receive_timeout", |client| client.receive_from_server_timeout(&mut Vec::new(), seconds(60)).err()),
        ("poll", |client| client.poll_server(None).err()),
        ("send_timeout", |client| client.send_to_server_timeout(&[0; 64], None).err()),
    ];
    for spin in [Duration::ZERO, Duration::from_micros(50), Duration::MAX] {
        for (what, call) in calls {
            let (client, mut peer) = client_of("dead-server", ClientOptions::new().spin(spin));
            full(&client);
            let pid = peer.id();
            let killer = std::thread::spawn(move || {
                // By then the call waits.
                std::thread::sleep(Duration::from_millis(100));
                peer.kill();
                Instant::now()
            });
            let error = call(&client);
            let noticed = Instant::now();
            assert_eq!(error, Some(ShmError::PeerDied { pid }), "{what}");
            // `kill` returns after the process is gone, so the call may have noticed even earlier.
            let took = noticed.saturating_duration_since(killer.join().unwrap());
            assert!(took < NOTICE, "{what}, spin {spin:?}: {took:?}");
        }
    }
}

#[test]
fn line_16_a_killed_client_is_noticed_and_the_next_one_served() {
    let name = unique("dead-client");
    let mut server = SharedServer::start(&name).unwrap();
    for round in 0..6 {
        let mut peer = Peer::start();
        peer.enter(&name, &mut server);
        let pid = peer.id();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(60));
            peer.kill();
            Instant::now()
        });
        let error = match round % 3 {
            0 => server.receive_from_client(&mut Vec::new()).err(),
            1 => server.poll_client(None).err(),
            _ => loop {
                if let Err(error) = server.send_to_client_timeout(&[0; 64], None) {
                    break Some(error);
                }
            },
        };
        let noticed = Instant::now();
        assert_eq!(error, Some(ShmError::PeerDied { pid }));
        let took = noticed.saturating_duration_since(killer.join().unwrap());
        assert!(took < NOTICE, "{took:?}");
    }
}

#[test]
fn line_16_leaving_ends_every_blocking_call() {
    for spin in [Duration::ZERO, Duration::MAX] {
        for round in 0..3 {
            let (client, mut peer) = client_of("leaving", ClientOptions::new().spin(spin));
            while client.try_send_to_server(&[0; 64]).is_ok() {}
            let leaver = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(60));
                let start = Instant::now();
                peer.must("leave");
                (start, peer)
            });
            let error = match round {
                0 => client.receive_from_server(&mut Vec::new()).err(),
                1 => client.poll_server(None).err(),
                _ => client.send_to_server_timeout(&[0; 64], None).err(),
            };
            let noticed = Instant::now();
            assert_eq!(error, Some(ShmError::NotConnected));
            let (start, _peer) = leaver.join().unwrap();
            assert!(noticed.saturating_duration_since(start) < NOTICE);
        }
    }
}

#[test]
fn line_16_a_client_that_connects_is_accepted_by_the_next_server() {
    // The first server never accepts, and is killed. The next server accepts.
    let name = unique("outlive");
    let mut old = Peer::start();
    old.must(&format!("start {name}"));
    let mut client = Peer::start();
    client.tell(&format!("connect {name} 20000"));
    std::thread::sleep(Duration::from_millis(300));
    old.kill();
    let mut server = SharedServer::start(&name).unwrap();
    server.wait_for_client(seconds(10)).unwrap();
    assert_eq!(client.answer(), "ok");
}

#[test]
fn line_16_a_client_that_died_while_it_waited_is_not_accepted() {
    let name = unique("hello");
    let mut server = SharedServer::start(&name).unwrap();
    let mut dead = Peer::start();
    dead.tell(&format!("connect {name} 20000"));
    // On Windows: until the client's request is in the section. On Linux the client needs the server to write its request,
    // so there the test waits for 500 ms, in which the client connects to the name.
    let section = raw::RawSection::map(server.section_handle());
    let end = Instant::now() + Duration::from_millis(500);
    while section.word64(16).load(std::sync::atomic::Ordering::SeqCst) & 0xf != 1 && Instant::now() < end {
        std::thread::yield_now();
    }
    dead.kill();
    assert_eq!(server.wait_for_client(millis(100)), Err(ShmError::Timeout));
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
}

#[test]
fn line_16_a_request_without_its_signal_blocks_no_other_client() {
    // As if a client had died after it wrote its request and before it signalled: the server sleeps and does not know.
    let name = unique("unsignalled");
    let mut server = SharedServer::start(&name).unwrap();
    let mut dead = Peer::start();
    let pid = u64::from(dead.id());
    dead.kill();
    let section = raw::RawSection::map(server.section_handle());
    std::thread::scope(|scope| {
        let accepting = scope.spawn(|| server.wait_for_client(seconds(20)));
        std::thread::sleep(Duration::from_millis(100));
        section.word64(16).store(pid << 32 | 1 << 4 | 1, std::sync::atomic::Ordering::SeqCst);
        let mut peer = Peer::start();
        let (answer, took) = timed(|| peer.ask(&format!("connect {name} 10000")));
        assert_eq!(answer, "ok");
        assert!(took < Duration::from_secs(3), "{took:?}");
        accepting.join().unwrap().unwrap();
    });
}

#[test]
fn line_16_connecting_can_be_interrupted() {
    let name = unique("connecting");
    // No server; a server that does not accept; a busy channel.
    let mut server = None;
    let mut peer = Peer::start();
    for round in 0..3 {
        match round {
            1 => server = Some(SharedServer::start(&name).unwrap()),
            2 => {
                peer.tell(&format!("connect {name} 10000"));
                server.as_mut().unwrap().wait_for_client(seconds(10)).unwrap();
                peer.answer();
            }
            _ => {}
        }
        let interrupter = xshm::Interrupter::new().unwrap();
        let options = ClientOptions::new().interrupter(interrupter.clone());
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            interrupter.interrupt();
        });
        let (result, took) = timed(|| options.connect(&name, Duration::MAX));
        assert_eq!(result.err(), Some(ShmError::Interrupted), "round {round}");
        assert!(took < NOTICE, "round {round}: {took:?}");
        thread.join().unwrap();
    }
}

#[test]
fn line_16_corruption_found_by_one_half_ends_the_other_halfs_wait() {
    let (mut server, _peer) = pair("halves", ServerOptions::new());
    while server.try_send_to_client(&[0; 64]).is_ok() {}
    let section = raw::RawSection::map(server.section_handle());
    let (sender, receiver) = server.split().unwrap();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| sender.send_timeout(&[0; 64], None));
        std::thread::sleep(Duration::from_millis(100));
        // The client's first frame.
        section.word64(192 + 2 * 1024 * 1024).store(u64::MAX, std::sync::atomic::Ordering::SeqCst);
        let start = Instant::now();
        assert_eq!(receiver.receive(&mut Vec::new()), Err(ShmError::Corrupted));
        assert_eq!(sending.join().unwrap(), Err(ShmError::Corrupted));
        assert!(start.elapsed() < NOTICE);
    });
}

#[test]
fn interrupting_and_resetting_at_the_same_time_leaves_one_state_or_the_other() {
    let server = SharedServer::start(&unique("toggle")).unwrap();
    let interrupter = server.interrupter();
    let mut server = server;
    for _ in 0..if long() { 2000 } else { 100 } {
        std::thread::scope(|scope| {
            scope.spawn(|| interrupter.interrupt());
            scope.spawn(|| interrupter.reset());
        });
        let (result, took) = timed(|| server.wait_for_client(millis(3)));
        if interrupter.is_interrupted() {
            assert_eq!(result, Err(ShmError::Interrupted));
        } else {
            assert_eq!(result, Err(ShmError::Timeout));
            assert!(took >= Duration::from_millis(3));
        }
        interrupter.reset();
    }
}

#[test]
fn line_16_and_31_another_thread_ends_blocking_calls() {
    let (mut server, _peer) = pair("interrupt", ServerOptions::new());
    while server.try_send_to_client(&[0; 64]).is_ok() {}
    let interrupter = server.interrupter();
    let (sender, receiver) = server.split().unwrap();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| sender.send_timeout(&[0; 64], None));
        let receiving = scope.spawn(|| receiver.receive(&mut Vec::new()));
        std::thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        interrupter.interrupt();
        assert_eq!(sending.join().unwrap(), Err(ShmError::Interrupted));
        assert_eq!(receiving.join().unwrap(), Err(ShmError::Interrupted));
        assert!(start.elapsed() < NOTICE);
    });
    // The interrupt lasts until `reset`. A call that does not have to wait still works.
    assert!(interrupter.is_interrupted());
    assert_eq!(server.poll_client(None), Err(ShmError::Interrupted));
    assert_eq!(server.send_to_client(&[0; 64]).map(|outcome| outcome.overwritten), Ok(1));
    interrupter.reset();
    assert_eq!(server.poll_client(millis(10)), Ok(false));
}

#[test]
fn line_16_waiting_for_a_client_can_be_interrupted() {
    let mut server = SharedServer::start(&unique("accept")).unwrap();
    let interrupter = server.interrupter();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        interrupter.interrupt();
    });
    assert_eq!(server.wait_for_client(None), Err(ShmError::Interrupted));
    assert_eq!(server.wait_for_client_noevent(None), Err(ShmError::Interrupted));
    thread.join().unwrap();
}

#[test]
fn line_17_zero_and_huge_timeouts() {
    let (server, mut peer) = pair("timeouts", ServerOptions::new());
    let mut buffer = Vec::new();
    let (result, took) = timed(|| server.receive_from_client_timeout(&mut buffer, Some(Duration::ZERO)));
    assert_eq!(result, Err(ShmError::Timeout));
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert_eq!(server.poll_client(Some(Duration::ZERO)), Ok(false));
    for (sequence, huge) in [Duration::MAX, Duration::from_secs(u64::MAX / 2), Duration::from_secs(1 << 40)]
        .into_iter()
        .enumerate()
    {
        peer.tell("receive 50");
        peer.tell(&format!("send over {sequence} 1 64"));
        assert_eq!(server.receive_from_client_timeout(&mut buffer, Some(huge)), Ok(64));
        assert_eq!((peer.answer(), peer.answer()), ("err Timeout".to_owned(), "ok 0".to_owned()));
    }
    let mut lonely = SharedServer::start(&unique("zero")).unwrap();
    assert_eq!(lonely.wait_for_client(Some(Duration::ZERO)), Err(ShmError::Timeout));
}

#[test]
fn line_18_no_wake_up_for_a_message_is_lost() {
    // With a spin budget of zero both sides sleep at once, so every message is a race between sleeping and sending.
    let rounds = if long() { 200_000 } else { 5000 };
    let name = unique("wake");
    let mut server = ServerOptions::new().spin(Duration::ZERO).start(&name).unwrap();
    let mut peer = Peer::start();
    peer.tell(&format!("connect {name} 10000 0"));
    server.wait_for_client(seconds(10)).unwrap();
    peer.answer();
    peer.tell("echo");
    let mut buffer = Vec::new();
    let mut pause = 1_u32;
    for sequence in 0..rounds {
        server.send_to_client(&message(sequence, 16)).unwrap();
        // A random pause, so that the receiver sometimes looks just when the answer comes.
        pause = pause.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (0..pause >> 18).for_each(|_| std::hint::spin_loop());
        assert_eq!(server.receive_from_client_timeout(&mut buffer, seconds(10)), Ok(16), "round {sequence}");
        assert_eq!(check_message(&buffer), sequence);
    }
    let stats = server.stats().unwrap();
    drop(server);
    assert_eq!(peer.answer(), format!("ok {rounds}"));
    // Each side was signalled at most once for each of its sleeps, and never while it was awake.
    assert!(stats.signals <= peer.figure("sleeps"), "{stats:?}");
    assert!(peer.figure("signals") <= stats.sleeps, "{stats:?}");
    assert!(stats.sleeps > 0 && stats.signals > 0, "{stats:?}");
}

#[test]
fn line_18_no_wake_up_for_room_is_lost() {
    let rounds = if long() { 200_000 } else { 5000 };
    let name = unique("room");
    let options = ServerOptions::new().spin(Duration::ZERO).ring_size(4096).message_limit(1);
    let mut server = options.start(&name).unwrap();
    let mut peer = Peer::start();
    peer.tell(&format!("connect {name} 10000 0"));
    server.wait_for_client(seconds(10)).unwrap();
    peer.answer();
    peer.tell(&format!("send wait 0 {rounds} 16"));
    let mut buffer = Vec::new();
    for sequence in 0..rounds {
        assert_eq!(server.receive_from_client_timeout(&mut buffer, seconds(10)), Ok(16), "round {sequence}");
        assert_eq!(check_message(&buffer), sequence);
    }
    assert_eq!(peer.answer(), "ok 0");
}

#[test]
fn while_both_are_awake_there_is_no_kernel_call() {
    let name = unique("awake");
    let mut server = ServerOptions::new().spin(Duration::MAX).start(&name).unwrap();
    let mut peer = Peer::start();
    peer.tell(&format!("connect {name} 10000 3600000"));
    server.wait_for_client(seconds(10)).unwrap();
    peer.answer();
    peer.tell("echo");
    let mut buffer = Vec::new();
    for sequence in 0..10_000 {
        server.send_to_client(&message(sequence, 64)).unwrap();
        server.receive_from_client(&mut buffer).unwrap();
    }
    let stats = server.stats().unwrap();
    assert_eq!((stats.signals, stats.sleeps), (0, 0));
}

#[test]
fn data_events_are_signalled_for_every_message() {
    let name = unique("exported");
    let mut server = SharedServer::start(&name).unwrap();
    let handles = server.get_event_handles().unwrap();
    let mut peer = Peer::start();
    // Both events are signalled once at the call, and once at each connection.
    assert!(raw::wait_event(handles.c2s_data, 0) && raw::wait_event(handles.s2c_data, 0));
    assert!(!raw::wait_event(handles.c2s_data, 0));
    for _ in 0..2 {
        peer.enter(&name, &mut server);
        assert!(raw::wait_event(handles.c2s_data, 0));
        let mut buffer = Vec::new();
        for sequence in 0..10 {
            // No thread sleeps in the library. A native waiter sets no bit, and is still signalled.
            peer.must(&format!("send over {sequence} 1 64"));
            assert!(raw::wait_event(handles.c2s_data, 5000), "message {sequence}");
            server.try_receive_from_client(&mut buffer).unwrap();
            raw::wait_event(handles.s2c_data, 0);
            server.send_to_client(&message(sequence, 64)).unwrap();
            assert!(raw::wait_event(handles.s2c_data, 5000), "answer {sequence}");
        }
        peer.must("leave");
    }
}
