//! Tests for Linux only: forks, descriptors that a peer holds, process namespaces, other users.
#![cfg(target_os = "linux")]

mod common;

use common::*;
use std::ffi::c_int;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;
use xshm::{Access, ClientOptions, ServerOptions, SharedClient, SharedServer, ShmError, Trust, UserId};

extern "C" {
    fn _exit(status: c_int) -> !;
    fn fcntl(descriptor: c_int, command: c_int, argument: c_int) -> c_int;
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
}

#[test]
fn peer_process() {
    serve();
}

/// Runs `child` in a fork of this process, and returns its result.
fn in_a_fork(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs in this thread alone, takes no lock that another thread may hold but the allocator's,
    // which the C library looks after, and ends without unwinding.
    unsafe {
        match fork() {
            -1 => panic!("no fork"),
            0 => _exit(c_int::from(!child())),
            pid => {
                let mut status = -1;
                assert_eq!(waitpid(pid, &mut status, 0), pid);
                status == 0
            }
        }
    }
}

#[test]
fn line_33_a_forked_copy_of_a_server_does_nothing() {
    let (server, mut peer) = pair("fork-server", ServerOptions::new());
    server.send_to_client(&message(0, 64)).unwrap();
    peer.must("send over 0 1 64");
    let inert = in_a_fork(|| {
        // SAFETY: the fork has its own copy of the value's memory, so the original is used only in the other process.
        let mut copy = unsafe { std::ptr::read(&server) };
        let mut buffer = Vec::new();
        let forked = Some(ShmError::Forked);
        let inert = copy.send_to_client(b"no").err() == forked
            && copy.try_send_to_client(b"no").err() == forked
            && copy.send_to_client_timeout(b"no", None).err() == forked
            && copy.receive_from_client(&mut buffer).err() == forked
            && copy.try_receive_from_client(&mut buffer).err() == forked
            && copy.poll_client(None).err() == forked
            && copy.stats().err() == forked
            && copy.wait_for_client(None).err() == forked
            && copy.get_event_handles().is_none()
            && !copy.is_connected();
        copy.disconnect_client();
        copy.interrupter().interrupt();
        drop(copy);
        inert
    });
    assert!(inert);
    // Nothing that the fork did reaches the server or its client.
    assert_eq!(peer.must("receive 5000"), "0");
    peer.tell("receive 10000");
    server.send_to_client(&message(1, 64)).unwrap();
    assert_eq!(peer.answer(), "ok 1");
    let mut buffer = Vec::new();
    assert_eq!(server.receive_from_client_timeout(&mut buffer, seconds(5)), Ok(64));
    assert_eq!(server.receive_from_client_timeout(&mut buffer, millis(200)), Err(ShmError::Timeout));
    assert!(server.is_connected());
}

/// The calls of the fork come at the moment when the server would promise not to sleep.
#[test]
fn line_33_a_fork_promises_nothing() {
    let name = unique("fork-promise");
    let options = ServerOptions::new().reject_when_full().spin(Duration::from_micros(20));
    let mut server = options.start(&name).unwrap();
    let section = raw::RawSection::map(server.section_handle());
    let client = std::thread::spawn(move || SharedClient::connect(&name, Duration::from_secs(10)));
    server.wait_for_client(seconds(10)).unwrap();
    let client = client.join().unwrap().unwrap();
    let mut buffer = Vec::new();
    for _ in 0..64 {
        server.send_to_client_timeout(b"hello", None).unwrap();
        client.receive_from_server(&mut buffer).unwrap();
        client.send_to_server(b"hello").unwrap();
        server.receive_from_client(&mut buffer).unwrap();
    }
    let before = section.word64(24).load(Ordering::SeqCst);
    assert!(in_a_fork(|| {
        // SAFETY: as above.
        let copy = std::mem::ManuallyDrop::new(unsafe { std::ptr::read(&server) });
        let forked = Some(ShmError::Forked);
        copy.send_to_client_timeout(b"no", None).err() == forked
            && copy.poll_client(None).err() == forked
            && copy.receive_from_client(&mut Vec::new()).err() == forked
    }));
    assert_eq!(section.word64(24).load(Ordering::SeqCst), before);
    client.send_to_server(b"hello").unwrap();
    assert_eq!(server.poll_client(None), Ok(true));
    assert_ne!(section.word64(24).load(Ordering::SeqCst), before, "the server itself promises");
}

#[test]
fn line_33_a_forked_copy_of_a_client_does_nothing() {
    let (client, mut peer) = client_of("fork-client", ClientOptions::new());
    let own = unique("fork-own");
    let inert = in_a_fork(|| {
        // SAFETY: as above.
        let copy = unsafe { std::ptr::read(&client) };
        let forked = Some(ShmError::Forked);
        let inert = copy.send_to_server(b"no").err() == forked
            && copy.receive_from_server(&mut Vec::new()).err() == forked
            && !copy.is_connected();
        drop(copy);
        // An endpoint that a fork creates works there, but not in a fork of that fork.
        let Ok(mut server) = SharedServer::start(&own) else { return false };
        inert
            && server.wait_for_client(Some(Duration::ZERO)) == Err(ShmError::Timeout)
            && in_a_fork(|| server.wait_for_client(None) == Err(ShmError::Forked))
    });
    assert!(inert);
    client.send_to_server(&message(7, 64)).unwrap();
    assert_eq!(peer.must("receive 5000"), "7");
    assert!(client.is_connected());
}

/// What a fork does with copies of an event loop's server and connect reaches neither the loop nor its peers.
#[test]
fn line_33_a_forked_event_loop_does_nothing() {
    let name = unique("fork-loop");
    let mut server = SharedServer::start(&name).unwrap();
    let mut connecting = ClientOptions::new().begin_connect(&name).unwrap();
    assert!(connecting.try_finish().unwrap().is_none());
    let (accepting, answer) = (server.accept_handles().unwrap(), connecting.wait_handles().unwrap());
    let inert = in_a_fork(|| {
        // SAFETY: as above.
        let (mut server, mut connecting) = unsafe { (std::ptr::read(&server), std::ptr::read(&connecting)) };
        let forked = Some(ShmError::Forked);
        let inert = server.try_accept().err() == forked
            && server.accept_handles().err() == forked
            && connecting.try_finish().err() == forked
            && connecting.wait_handles().err() == forked;
        drop((server, connecting));
        inert
    });
    assert!(inert);
    // The objects from before the fork still get ready.
    assert!(raw::is_ready(raw::number(accepting.data()), 5000));
    assert!(!server.try_accept().unwrap());
    assert!(raw::is_ready(raw::number(answer.data()), 5000));
    assert!(connecting.try_finish().unwrap().is_none());
    let accepting = server.accept_handles().unwrap();
    let answer = connecting.wait_handles().unwrap();
    assert!(raw::is_ready(raw::number(accepting.data()), 5000));
    assert!(server.try_accept().unwrap());
    assert!(raw::is_ready(raw::number(answer.data()), 5000));
    let mut client = connecting.try_finish().unwrap().unwrap();
    let inert = in_a_fork(|| {
        // SAFETY: as above.
        let mut copy = unsafe { std::ptr::read(&client) };
        let (sender, receiver) = copy.split().unwrap();
        let forked = Some(ShmError::Forked);
        let inert = sender.arm(10).err() == forked
            && sender.disarm().err() == forked
            && receiver.arm().err() == forked
            && receiver.disarm().err() == forked;
        drop(copy);
        inert
    });
    assert!(inert);
    assert_eq!(client.split().unwrap().0.arm(10), Ok(true));
}

#[test]
fn a_peer_cannot_change_the_sections_size() {
    let server = SharedServer::start(&unique("truncate")).unwrap();
    // As a peer has it: opened again, with all rights of the user.
    let path = format!("/proc/{}/fd/{}", std::process::id(), server.section_handle());
    let file = File::options().read(true).write(true).open(path).unwrap();
    let size = file.metadata().unwrap().len();
    for wrong in [0, size - 4096, size + 4096] {
        let error = file.set_len(wrong).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(1), "EPERM: {error}");
    }
    assert!((&file).write_all(&vec![0; size as usize + 1]).is_err(), "not even by writing over its end");
    assert_eq!(file.metadata().unwrap().len(), size);
    // F_ADD_SEALS, F_SEAL_WRITE: the peer cannot take away the right to write either.
    // SAFETY: no pointers.
    assert_eq!(unsafe { fcntl(file.as_raw_fd(), 1033, 8) }, -1);
}

/// The peer makes its event sockets blocking, fills their queues, shuts them and closes them. No call of the server blocks.
#[test]
fn a_peer_that_abuses_its_events_does_not_block_the_server() {
    let (server, mut peer) = pair("abuse", ServerOptions::new());
    for how in ["fill", "shut", "close"] {
        peer.must(&format!("abuse {how}"));
        let mut buffer = Vec::new();
        let (result, took) = timed(|| server.receive_from_client_timeout(&mut buffer, millis(300)));
        assert_eq!(result, Err(ShmError::Timeout), "{how}");
        assert!((280..700).contains(&took.as_millis()), "{how}: {took:?}");
        // The server sleeps too, once the stale signals are used up.
        let before = raw::thread_processor_time();
        assert_eq!(server.poll_client(millis(300)), Ok(false));
        let used = raw::thread_processor_time() - before;
        assert!(used < 1_000_000, "{how}: {used} units of 100 ns of processor time, in 300 ms");
        // From here on every message is signalled, whether the peer takes the signals or not.
        server.get_event_handles().unwrap();
        let ((), took) = timed(|| {
            for sequence in 0..1000 {
                server.send_to_client(&message(sequence, 16)).unwrap();
            }
        });
        assert!(took < Duration::from_secs(2), "{how}: {took:?}");
    }
    drop(server);
}

/// The server shuts its client's sockets, or fills their queues, and is killed.
#[test]
fn a_dead_peer_is_noticed_whatever_it_did_to_its_events() {
    for how in ["fill", "shut", "shut_reading"] {
        let (client, mut peer) = client_of("last", ClientOptions::new());
        peer.must(&format!("abuse {how}"));
        peer.kill();
        let mut buffer = Vec::new();
        let (result, took) = timed(|| client.receive_from_server_timeout(&mut buffer, seconds(10)));
        assert!(matches!(result, Err(ShmError::PeerDied { .. })), "{how}: {result:?}");
        assert!(took < Duration::from_secs(2), "{how}: {took:?}");
    }
}

/// A server shuts the sockets that its client polls, so that they stay ready, and lives on. The client still receives the
/// messages, and sleeps meanwhile.
#[test]
fn a_peer_that_shuts_the_events_does_not_keep_its_client_busy() {
    for how in ["shut", "shut_reading"] {
        let (client, mut peer) = client_of("awake", ClientOptions::new());
        peer.must(&format!("abuse {how}"));
        let before = raw::thread_processor_time();
        let (waited, took) = timed(|| client.poll_server(millis(300)));
        let used = raw::thread_processor_time() - before;
        assert_eq!(waited, Ok(false), "{how}");
        assert!((280..700).contains(&took.as_millis()), "{how}: {took:?}");
        assert!(used < 1_000_000, "{how}: {used} units of 100 ns of processor time, in 300 ms");
        let mut buffer = Vec::new();
        for sequence in 0..20 {
            peer.must(&format!("send over {sequence} 1 64"));
            client.receive_from_server_timeout(&mut buffer, seconds(5)).unwrap();
            assert_eq!(check_message(&buffer), sequence, "{how}");
        }
    }
}

/// A client shuts its event sockets and goes. The next client gets fresh ones: signals work in both directions.
#[test]
fn a_client_that_shuts_its_events_does_not_harm_the_next() {
    let name = unique("after");
    let mut server = ServerOptions::new().spin(Duration::ZERO).start(&name).unwrap();
    for kill in [true, false] {
        let mut peer = Peer::start();
        peer.enter(&name, &mut server);
        peer.must("abuse shut");
        if kill {
            peer.kill();
        } else {
            peer.must("leave");
        }
        let mut next = Peer::start();
        next.tell(&format!("connect {name} 10000 0"));
        server.wait_for_client(seconds(10)).unwrap();
        assert_eq!(next.answer(), "ok");
        next.tell("echo");
        let mut buffer = Vec::new();
        for sequence in 0..100 {
            server.send_to_client(&message(sequence, 16)).unwrap();
            server.receive_from_client_timeout(&mut buffer, seconds(5)).unwrap();
        }
    }
}

/// A process that has the section can write any process id into it. The server does not accept the id of an earlier client
/// that still lives, since on Linux the user that `peer` returns must be proof.
#[test]
fn line_29_only_the_process_that_was_given_the_section_may_request() {
    let name = unique("claim");
    let mut server = SharedServer::start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    peer.must("leave");
    assert_eq!(server.wait_for_client(millis(50)), Err(ShmError::Timeout));
    let section = raw::RawSection::open(&name);
    // The section is fresh: no client has written into it.
    assert_eq!(section.word64(16).load(Ordering::SeqCst), 0);
    assert_eq!(section.word32(8).load(Ordering::SeqCst), 0);
    let request = 1 | 5 << 4 | u64::from(peer.id()) << 32;
    section.word64(16).store(request, Ordering::SeqCst);
    assert_eq!(server.wait_for_client(millis(100)), Err(ShmError::Timeout));
    assert_eq!(section.word64(16).load(Ordering::SeqCst) & 15, 0, "the request is cleared");
    // The client is accepted when it connects by the name.
    peer.enter(&name, &mut server);
    assert_eq!(server.peer().unwrap().process_id, peer.id());
}

/// A server can admit the administrators alone, and not even its own user.
#[test]
fn line_28_a_server_for_administrators_refuses_its_own_user() {
    const OTHER: &str = "1234";
    let Some(mut server) = Peer::start_as(OTHER) else { return };
    let name = format!("Global\\{}", unique("administrators"));
    server.must(&format!("start_for_administrators {name}"));
    server.tell("accept 500");
    let mut own = Peer::start_as(OTHER).unwrap();
    let answer = own.ask(&format!("connect {name} 2000"));
    assert!(answer.contains("does not admit this user"), "{answer}");
    assert_eq!(server.answer(), "err Timeout");
    server.tell("accept 10000");
    let trusting = ClientOptions::new().trust(Trust::Users(vec![OTHER.parse().unwrap()]));
    let _root = trusting.connect(&name, Duration::from_secs(10)).unwrap();
    assert_eq!(server.answer(), "ok");
}

/// A client of another user is refused unless the access policy names the user. A server of another user is refused unless
/// the client trusts the user by name.
#[test]
fn line_28_and_29_another_user_is_refused_unless_it_is_named() {
    const NOBODY: &str = "65534";
    let Some(mut peer) = Peer::start_as(NOBODY) else { return };
    let global = |name: &str| format!("Global\\{}", unique(name));
    // Knowing the name is not enough.
    let name = global("owner");
    let mut server = SharedServer::start(&name).unwrap();
    peer.tell(&format!("connect {name} 2000"));
    assert_eq!(server.wait_for_client(millis(500)), Err(ShmError::Timeout));
    let answer = peer.answer();
    assert!(answer.contains("does not admit this user"), "{answer}");
    assert!(server.peer().is_none());
    // A user that is named connects, and `peer` returns this user.
    let name = global("users");
    let other: UserId = NOBODY.parse().unwrap();
    let mut server = ServerOptions::new().access(Access::Users(vec![other.clone()])).start(&name).unwrap();
    peer.tell(&format!("connect {name} 5000"));
    server.wait_for_client(seconds(5)).unwrap();
    assert_eq!(peer.answer(), "ok");
    let identity = server.peer().unwrap();
    assert_eq!((identity.process_id, identity.user), (peer.id(), Some(other.clone())));
    peer.kill();
    let ended = server.receive_from_client(&mut Vec::new());
    assert!(matches!(ended, Err(ShmError::PeerDied { .. })), "{ended:?}");
    // A name under which the other user started a server is taken, and a client refuses that server.
    let mut peer = Peer::start_as(NOBODY).unwrap();
    let name = global("impostor");
    peer.must(&format!("start {name}"));
    peer.tell("accept 1000");
    assert!(matches!(SharedServer::start(&name).err(), Some(ShmError::AlreadyExists { .. })));
    let refused = SharedClient::connect(&name, Duration::from_secs(5)).err();
    assert!(matches!(&refused, Some(ShmError::Refused { reason }) if reason.contains(NOBODY)), "{refused:?}");
    assert_eq!(peer.answer(), "err Timeout");
    // A client that trusts the user by name connects.
    peer.tell("accept 5000");
    let trusting = ClientOptions::new().trust(Trust::Users(vec![other]));
    trusting.connect(&name, Duration::from_secs(5)).unwrap();
    assert_eq!(peer.answer(), "ok");
}

/// Starts the peer in a new process namespace. `None`: this user is not permitted to create one.
fn peer_in_a_namespace() -> Option<Peer> {
    let flags = ["--pid", "--fork", "--kill-child"];
    let allowed = Command::new("unshare").args(flags).arg("true").stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        skipped("no process namespaces for this user");
        return None;
    }
    Some(Peer::start_by("unshare", &flags))
}

/// Behind the name is a process that serves no client, however busy it is.
#[test]
fn line_39_a_server_that_hands_over_nothing_is_not_accepting() {
    let (closing, full) = (unique("closing"), unique("full"));
    let not_accepting = |name: &str| {
        let error = SharedClient::connect(name, Duration::from_millis(300)).err();
        assert_eq!(error, Some(ShmError::NotAccepting { name: name.to_owned() }));
    };
    raw::squat_and_close(&closing);
    not_accepting(&closing);
    // There is room for 9 in its queue.
    raw::squat_on(std::fs::metadata("/proc/self").unwrap().uid(), &full);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| not_accepting(&full));
        }
    });
}

#[test]
fn line_39_a_client_in_another_network_namespace_finds_no_server() {
    let allowed = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        skipped("no network namespaces for this user");
        return;
    }
    for prefix in ["", "Global\\"] {
        let name = format!("{prefix}{}", unique("network"));
        let _server = SharedServer::start(&name).unwrap();
        let mut peer = Peer::start_by("unshare", &["--net"]);
        let answer = peer.ask(&format!("connect {name} 100"));
        assert!(answer.starts_with("err NoServer"), "{answer}");
    }
    assert!(ShmError::NoServer { name: String::new() }.to_string().contains("network namespace"));
}

#[test]
fn line_16_a_client_that_cannot_see_its_server_is_refused() {
    let Some(mut peer) = peer_in_a_namespace() else { return };
    let name = unique("namespace-client");
    let mut server = SharedServer::start(&name).unwrap();
    peer.tell(&format!("connect {name} 5000"));
    let _ = server.wait_for_client(seconds(2));
    let answer = peer.answer();
    assert!(answer.contains("Refused") && answer.contains("process namespace"), "{answer}");
    // The server still works for other clients.
    assert!(matches!(server.wait_for_client(millis(50)), Err(ShmError::Timeout | ShmError::Refused { .. })));
    let other = std::thread::spawn(move || SharedClient::connect(&name, Duration::from_secs(5)));
    server.wait_for_client(seconds(5)).unwrap();
    other.join().unwrap().unwrap();
}

#[test]
fn line_16_a_server_in_a_child_namespace_is_watched_or_refused() {
    let Some(mut peer) = peer_in_a_namespace() else { return };
    let name = unique("namespace-server");
    peer.must(&format!("start {name}"));
    peer.tell("accept 3000");
    match ClientOptions::new().connect(&name, Duration::from_secs(5)) {
        Ok(client) => {
            peer.kill();
            let (result, took) = timed(|| client.receive_from_server(&mut Vec::new()));
            assert!(matches!(result, Err(ShmError::PeerDied { .. })), "{result:?}");
            assert!(took < Duration::from_millis(500), "{took:?}");
        }
        Err(error) => {
            assert!(error.to_string().contains("namespace"), "{error}");
        }
    }
}
