//! Lines 24 and 26 to 29 of docs/guarantees.md: peers that write anything anywhere, and processes that are not admitted.

mod common;

use common::*;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use xshm::{
    Access, ClientOptions, MultiServer, PeerIdentity, ServerOptions, SharedClient, SharedServer, ShmError,
    Trust, UserId,
};

#[test]
fn peer_process() {
    serve();
}

const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// Errors that garbage may lead to.
fn is_harmless(error: &ShmError) -> bool {
    matches!(
        error,
        ShmError::Corrupted
            | ShmError::NotConnected
            | ShmError::PeerDied { .. }
            | ShmError::Timeout
            | ShmError::NoServer { .. }
            | ShmError::NotAccepting { .. }
            | ShmError::NotReady
            | ShmError::QueueEmpty
            | ShmError::QueueFull
            | ShmError::MessageTooLarge
            | ShmError::BufferTooSmall { .. }
            | ShmError::Incompatible { .. }
            | ShmError::Refused { .. }
            | ShmError::AlreadyConnected
    )
}

fn harmless<T>(result: Result<T, ShmError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            assert!(is_harmless(&error), "{error:?}");
            None
        }
    }
}

/// Calls each function of an endpoint. Messages may be garbage, within the size limits.
fn use_server(server: &SharedServer, buffer: &mut Vec<u8>) {
    let longest = server.max_message_size();

    harmless(server.send_to_client(&message(1, 300)));
    harmless(server.try_send_to_client(&message(2, 5000)));
    harmless(server.send_to_client_timeout(&message(3, longest), millis(1)));
    if let Some(len) = harmless(server.receive_from_client_timeout(buffer, millis(1))) {
        assert!(len <= longest && (len >= 2 || longest == 131_008 || longest == 32_760));
    }
    harmless(server.try_receive_from_client_into(&mut [0; 100]));
    harmless(server.poll_client(millis(1)));
    harmless(server.stats());
    server.is_connected();
}

#[test]
fn line_26_garbage_in_each_field_does_no_harm() {
    // The control block, both ring headers, and the first frames of both rings.
    let ring_b = 128 + 64 * 1024;
    let offsets: Vec<usize> = (0..64 + 64 + 256).chain(ring_b..ring_b + 64 + 256).step_by(4).collect();
    let values: [u32; 9] = [0, 1, 2, 0xff, 64, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x0003_0000];
    let (mut client, mut vandal) = (Peer::start(), Peer::start());
    let mut buffer = Vec::new();
    let mut ended = 0;
    for (round, &offset) in offsets.iter().enumerate() {
        // Each field is tested on a fresh channel.
        let name = unique("field");
        // On half of the channels the server has set the longest message, so that its length is a field too.
        let options = ServerOptions::new().ring_size(64 * 1024);
        let options = if round % 2 == 0 { options.max_message_size(32_760) } else { options };
        let mut server = options.start(&name).unwrap();
        client.enter(&name, &mut server);
        harmless(server.send_to_client(&message(1, 64)));
        client.must("send over 1 2 64");
        vandal.must(&format!("map {name}"));
        for &value in if long() { &values[..] } else { &values[round % 9..][..1] } {
            vandal.must(&format!("poke {offset} {value}"));
            let (_, took) = timed(|| use_server(&server, &mut buffer));
            assert!(took < Duration::from_secs(2), "field {offset}: {took:?}");
            // The library in the other process returns too; its result does not matter.
            for order in ["send over 1 3 64", "stats", "poll 1"] {
                let answer = client.ask(order);
                assert!(!answer.contains("Windows"), "{order}: {answer}");
            }
        }
        ended += u32::from(!server.is_connected());
        client.must("leave");
        // The server can wait for a client, whatever the section holds now.
        harmless(server.wait_for_client(millis(0)));
    }
    assert!(ended >= 5, "garbage ended {ended} sessions of {}", offsets.len());
}

#[test]
fn line_26_random_writes_of_a_third_process_do_no_harm() {
    let time = if long() { 60_000 } else { 3000 };
    let end = Instant::now() + Duration::from_millis(time);
    let mut seed = 0x1234_5678_9abc_def1_u64;
    let mut buffer = Vec::new();
    let (mut client, mut vandal) = (Peer::start(), Peer::start());
    let mut sessions = 0;
    while Instant::now() < end {
        let name = unique("scribble");
        // Every third session has long messages.
        let has_long = sessions % 3 == 2;
        let usual = ServerOptions::new().ring_size(16 * 1024);
        let long = ServerOptions::new().ring_size(256 * 1024).max_message_size(131_008);
        let mut server = if has_long { long } else { usual }.start(&name).unwrap();
        client.enter(&name, &mut server);
        vandal.must(&format!("map {name}"));
        // The rings alone, or everything.
        let bytes = if sessions % 2 == 0 { 4096 } else { 64 << 10 };
        vandal.tell(&format!("scribble {seed} {bytes} 60"));
        client.tell(if has_long { "flood 50 131000" } else { "flood 50 3000" });
        seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5555;
        let until = Instant::now() + Duration::from_millis(60);
        while Instant::now() < until {
            use_server(&server, &mut buffer);
        }
        assert_eq!(vandal.answer(), "ok");
        client.answer();
        client.must("leave");
        harmless(server.wait_for_client(millis(1)));
        sessions += 1;
    }
    assert!(sessions > 5);
}

#[test]
fn line_26_a_session_ends_with_corrupted_and_the_next_one_is_whole() {
    let name = unique("recover");
    let mut server = SharedServer::start(&name).unwrap();
    let section = raw::RawSection::map(server.section_handle());
    let mut peer = Peer::start();
    let mut buffer = Vec::new();
    for generation in 1..5 {
        peer.enter(&name, &mut server);
        peer.must("send over 0 1 64");
        // The first frame of the client's ring gets a length below the minimum and a wrong kind, or a wrong sequence.
        let frame = 192 + 2 * 1024 * 1024;
        section
            .word64(frame)
            .store(if generation % 2 == 0 { 1 } else { 7 << 20 | 1 << 16 | 64 }, Ordering::SeqCst);
        for _ in 0..2 {
            assert_eq!(server.receive_from_client(&mut buffer), Err(ShmError::Corrupted));
        }
        assert_eq!(server.send_to_client(b"hello"), Err(ShmError::Corrupted));
        // The peer learns of the end at once.
        assert_eq!(peer.ask("receive 10000"), "err NotConnected");
        peer.must("leave");
    }
    peer.enter(&name, &mut server);
    peer.must("send over 5 1 64");
    server.receive_from_client(&mut buffer).unwrap();
    assert_eq!(check_message(&buffer), 5);
}

#[test]
fn line_26_overwritten_fields_keep_no_client_out() {
    let name = unique("overwritten");
    let mut server = SharedServer::start(&name).unwrap();
    let (mut vandal, mut peer) = (Peer::start(), Peer::start());
    vandal.tell(&format!("map {name}"));
    assert_eq!(server.wait_for_client(millis(200)), Err(ShmError::Timeout));
    assert_eq!(vandal.answer(), "ok");
    for offset in (0..64).step_by(4) {
        // While no client waits, and while the server waits.
        for waiting in [false, true] {
            if !waiting {
                vandal.must(&format!("poke {offset} 3735928559"));
            }
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    if waiting {
                        vandal.must(&format!("poke {offset} 3735928559"));
                    }
                    peer.tell(&format!("connect {name} 10000"));
                });
                server.wait_for_client(seconds(10)).unwrap();
            });
            assert_eq!(peer.answer(), "ok", "field {offset}");
            peer.must("send over 1 1 64");
            server.receive_from_client(&mut Vec::new()).unwrap();
            peer.must("leave");
        }
    }
}

#[test]
fn line_24_fields_that_a_visitor_overwrote_keep_no_client_out() {
    struct Quiet;
    impl xshm::MultiHandler for Quiet {}
    impl xshm::MultiClientHandler for Quiet {}
    let name = unique("visitors");
    let options = xshm::MultiOptions::default();
    let server = MultiServer::start(&name, std::sync::Arc::new(Quiet), options).unwrap();
    let mut vandal = Peer::start();
    for offset in [0, 4, 8, 12, 16, 20, 24, 32, 40, 44, 48, 52, 56, 60, 72, 96, 104] {
        // The vandal maps the section of the channel that the next client would get, and requests no connection.
        vandal.must(&format!("map {name}"));
        vandal.must(&format!("poke {offset} 3735928559"));
        let (client, took) = timed(|| {
            let options = xshm::MultiClientOptions::default();
            xshm::MultiClient::connect(&name, std::sync::Arc::new(Quiet), options)
        });
        let client = client.unwrap_or_else(|error| panic!("field {offset}: {error}"));
        assert!(took < Duration::from_secs(5), "field {offset}: {took:?}");
        assert!(server.is_client_connected(client.slot_id()), "field {offset}: slot {}", client.slot_id());
    }
}

#[test]
fn line_28_a_client_that_the_policy_does_not_admit_is_refused() {
    let name = unique("policy");
    #[cfg(windows)]
    {
        let descriptor = raw::empty_descriptor();
        let options = ServerOptions::new().access(Access::SecurityDescriptor(descriptor));
        // Wine checks the access list against the creator too; Windows does not.
        if let Ok(server) = options.start(&name) {
            let mut peer = Peer::start();
            let answer = peer.ask(&format!("connect {name} 1000"));
            assert!(answer.starts_with("err Refused"), "{answer}");
            assert!(answer.contains(&name), "{answer}");
            drop(server);
        }
    }
    for access in [Access::Owner, Access::Everyone, Access::Users(vec![raw::unused_user()])] {
        let name = unique("admits");
        let mut server = ServerOptions::new().access(access).start(&name).unwrap();
        let mut peer = Peer::start();
        peer.enter(&name, &mut server);
    }
    let broken = ServerOptions::new().access(Access::SecurityDescriptor(vec![1, 2, 3])).start(&name);
    assert!(matches!(broken.err(), Some(ShmError::InvalidOption { .. })));
}

#[test]
fn line_28_global_names_work_or_name_the_privilege() {
    let name = format!("Global\\{}", unique("global"));
    match SharedServer::start(&name) {
        Ok(mut server) => {
            assert!(SharedServer::start(&name).is_err());
            let mut peer = Peer::start();
            peer.enter(&name, &mut server);
            // The same name in another scope is another name, except in Windows' session 0, where services run.
            let local = SharedServer::start(name.trim_start_matches("Global\\"));
            if raw::scopes_are_one() {
                assert!(matches!(local.err(), Some(ShmError::AlreadyExists { .. })));
            } else {
                drop(local.unwrap());
            }
        }
        Err(error) => assert!(matches!(error, ShmError::PrivilegeNotHeld { .. }), "{error:?}"),
    }
}

#[test]
fn line_29_a_client_learns_its_servers_identity() {
    let name = unique("who");
    let mut peer = Peer::start();
    peer.must(&format!("start {name}"));
    peer.tell("accept 10000");
    let client = SharedClient::connect(&name, LONG_ENOUGH).unwrap();
    peer.answer();
    let PeerIdentity { process_id, user, .. } = client.peer().unwrap();
    let me = UserId::current().unwrap();
    assert_eq!((process_id, user), (peer.id(), Some(me.clone())));
    drop(client);
    // The server's user is refused if it is not trusted, and accepted if it is trusted by name or as anyone.
    let refused =
        ClientOptions::new().trust(Trust::Users(vec![raw::unused_user()])).connect(&name, LONG_ENOUGH).err();
    match refused {
        Some(ShmError::Refused { reason }) => assert!(reason.contains(&me.to_string()), "{reason}"),
        other => panic!("{other:?}"),
    }
    for trust in [Trust::Users(vec![me]), Trust::Anyone] {
        peer.tell("accept 10000");
        let client = ClientOptions::new().trust(trust).connect(&name, LONG_ENOUGH).unwrap();
        assert_eq!(peer.answer(), "ok");
        drop(client);
    }
}

#[test]
fn invalid_options_are_refused_with_the_reason() {
    for (ring, limit, named) in [
        (0, 1, "ring_size"),
        (4095, 1, "4096 bytes"),
        (100_000, 1, "65536 and 131072"),
        (1 << 31, 1, "1073741824"),
        (4096, 0, "message_limit"),
        (4096, 64, "1 to 63"),
    ] {
        let error =
            ServerOptions::new().ring_size(ring).message_limit(limit).start(&unique("bad")).err().unwrap();
        assert!(error.to_string().contains(named), "{error}");
        assert!(ServerOptions::new().ring_size(ring).message_limit(limit).start_anonymous().is_err());
    }
}
