//! Line 12 of docs/guarantees.md: stale signals. On Linux the test sets all events of the process, so it has a separate
//! program.

mod common;

use common::*;
use std::time::Duration;
use xshm::{SharedServer, ShmError};

#[test]
fn peer_process() {
    serve();
}

#[test]
fn line_12_stale_signals_change_nothing() {
    let name = unique("stale");
    let mut server = SharedServer::start(&name).unwrap();
    let section = raw::RawSection::map(server.section_handle());
    let instance = section.word64(56).load(std::sync::atomic::Ordering::SeqCst);
    let all = |name: &str| (0..7).for_each(|event| raw::set_event(name, instance, event));
    all(&name);
    assert_eq!(server.wait_for_client(millis(100)), Err(ShmError::Timeout));
    let mut peer = Peer::start();
    // Signals do not make a client believe that it was accepted.
    peer.tell(&format!("connect {name} 300"));
    for _ in 0..10 {
        all(&name);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(peer.answer().starts_with("err NotAccepting"));
    peer.enter(&name, &mut server);
    // A signal ends no session, and is not reported as a message.
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
