//! Contract line 12: signals that mean nothing. On Linux they go to all events of the process, so that this test has its own program
//! own.

mod common;

use common::*;
use std::time::Duration;
use xshm::{SharedServer, ShmError};

#[test]
fn peer_process() {
    serve();
}

#[test]
fn line_12_stale_signals_and_an_acknowledgement_without_a_hello_change_nothing() {
    let name = unique("stale");
    let mut server = SharedServer::start(&name).unwrap();
    let section = raw::RawSection::map(server.section_handle());
    let instance = section.word64(56).load(std::sync::atomic::Ordering::SeqCst);
    let all = |name: &str| (0..7).for_each(|event| raw::set_event(name, instance, event));
    all(&name);
    assert_eq!(server.wait_for_client(millis(100)), Err(ShmError::Timeout));
    let mut peer = Peer::start();
    // A client that no server accepts is not confirmed by signals either.
    peer.tell(&format!("connect {name} 300"));
    for _ in 0..10 {
        all(&name);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(peer.answer(), "err Timeout");
    peer.enter(&name, &mut server);
    // Nor does a signal end a session, or pretend to be a message.
    let mut buffer = Vec::new();
    for sequence in 0..50 {
        all(&name);
        assert_eq!(server.receive_from_client_timeout(&mut buffer, millis(2)), Err(ShmError::Timeout));
        assert_eq!(server.poll_client(millis(0)), Ok(false));
        all(&name);
        peer.must(&format!("send over {sequence} 1 64"));
        server.receive_from_client(&mut buffer).unwrap();
        assert_eq!(check_message(&buffer), sequence);
    }
    assert!(server.is_connected());
}
