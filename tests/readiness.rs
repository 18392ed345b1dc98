//! Waiting outside the library, as an event loop does: `arm`, the handles, `disarm`.

mod common;

use common::*;
use std::time::Duration;
use xshm::{ServerOptions, SharedServer, ShmError};

#[test]
fn peer_process() {
    serve();
}

#[test]
fn one_signal_comes_for_each_arm_and_none_without() {
    let (mut server, mut peer) = pair("arm", ServerOptions::new());
    let (_, half) = server.split().unwrap();
    let handles = half.wait_handles().unwrap().unwrap();
    let mut buffer = Vec::new();
    for round in 0..5 {
        assert_eq!(half.arm(), Ok(false));
        assert!(!raw::is_ready(raw::number(handles.data()), 0), "round {round}");
        peer.must(&format!("send over {} 10 100", round * 10));
        assert!(raw::is_ready(raw::number(handles.data()), 5000), "round {round}");
        half.disarm().unwrap();
        for sequence in 0..10 {
            half.try_receive(&mut buffer).unwrap();
            assert_eq!(check_message(&buffer), round * 10 + sequence);
        }
        assert_eq!(half.try_receive(&mut buffer), Err(ShmError::QueueEmpty));
    }
    // One signal for ten messages, each time.
    let stats = peer.must("stats");
    assert!(stats.contains("signals: 5,"), "{stats}");
    // Without `arm`, the peer does not signal.
    peer.must("send over 50 10 100");
    assert!(!raw::is_ready(raw::number(handles.data()), 50));
    assert_eq!(half.arm(), Ok(true), "there is something to receive");
    assert!(!raw::is_ready(raw::number(handles.data()), 0));
}

/// The signal that woke a blocking call does not make the handle ready for a later `arm`.
#[test]
fn arm_after_a_sleep_waits_for_a_new_signal() {
    let (mut server, mut peer) = pair("arm-after", ServerOptions::new().spin(Duration::ZERO));
    let (_, half) = server.split().unwrap();
    let handles = half.wait_handles().unwrap().unwrap();
    let mut buffer = Vec::new();
    let mut sequence = 0;
    // Until the peer has signalled, which it does when the receiver slept.
    while !peer.must("stats").contains("signals: 1,") {
        peer.tell(&format!("send over {sequence} 1 100"));
        half.receive(&mut buffer).unwrap();
        assert_eq!(peer.answer(), "ok 0");
        sequence += 1;
    }
    assert_eq!(half.arm(), Ok(false));
    assert!(!raw::is_ready(raw::number(handles.data()), 0), "after {sequence} messages");
    peer.must(&format!("send over {sequence} 1 100"));
    assert!(raw::is_ready(raw::number(handles.data()), 5000));
    half.disarm().unwrap();
    assert_eq!(half.try_receive(&mut buffer), Ok(100));
}

#[test]
fn the_data_handle_is_ready_when_the_peer_has_left() {
    let (mut server, mut peer) = pair("arm-leave", ServerOptions::new());
    let (_, half) = server.split().unwrap();
    let handles = half.wait_handles().unwrap().unwrap();
    assert_eq!(half.arm(), Ok(false));
    peer.must("send over 0 1 100");
    peer.must("leave");
    assert!(raw::is_ready(raw::number(handles.data()), 5000));
    half.disarm().unwrap();
    assert_eq!(half.try_receive(&mut Vec::new()), Ok(100));
    assert_eq!(half.arm(), Ok(true), "the end is there to be reported");
    assert_eq!(half.try_receive(&mut Vec::new()), Err(ShmError::NotConnected));
}

#[test]
fn the_peer_handle_is_ready_when_the_peer_has_died() {
    let (mut server, mut peer) = pair("arm-death", ServerOptions::new());
    let (_, half) = server.split().unwrap();
    let handles = half.wait_handles().unwrap().unwrap();
    let process = raw::number(handles.peer().unwrap());
    assert_eq!(half.arm(), Ok(false));
    assert!(!raw::is_ready(process, 0));
    peer.must("send over 0 1 100");
    peer.kill();
    assert!(raw::is_ready(process, 500));
    half.disarm().unwrap();
    assert!(!half.is_connected());
    assert_eq!(half.try_receive(&mut Vec::new()), Ok(100));
    assert!(matches!(half.try_receive(&mut Vec::new()), Err(ShmError::PeerDied { .. })));
}

#[test]
fn an_anonymous_server_without_events_has_no_wait_handles() {
    let mut server = SharedServer::start_anonymous().unwrap();
    let mut peer = Peer::start();
    let given = raw::give_handle(peer.id(), server.section_handle());
    peer.tell(&format!("attach {given} 10000"));
    server.wait_for_client(seconds(10)).unwrap();
    peer.answer();
    assert!(server.split().unwrap().1.wait_handles().unwrap().is_none());
}

/// A server shuts its client's event sockets, which stay ready from then on. The client's event loop gets an error.
#[cfg(unix)]
#[test]
fn a_data_handle_that_stays_ready_ends_the_session() {
    for how in ["shut", "shut_reading"] {
        let (mut client, mut peer) = client_of("arm-shut", xshm::ClientOptions::new());
        let (_, half) = client.split().unwrap();
        let handles = half.wait_handles().unwrap().unwrap();
        assert_eq!(half.arm(), Ok(false));
        assert!(!raw::is_ready(raw::number(handles.data()), 0));
        peer.must(&format!("abuse {how}"));
        assert!(raw::is_ready(raw::number(handles.data()), 5000), "{how}");
        assert_eq!(half.disarm(), Err(ShmError::Corrupted), "{how}");
        assert_eq!(half.try_receive(&mut Vec::new()), Err(ShmError::Corrupted), "{how}");
    }
}

/// An event loop may still have the last session's handles when it registers the next session's: the numbers differ.
#[test]
fn wait_handles_of_an_ended_session_stay_open_and_are_not_reused() {
    let name = unique("arm-next");
    let mut server = SharedServer::start(&name).unwrap();
    let mut last = Vec::new();
    for round in 0..3_u64 {
        let mut peer = Peer::start();
        peer.enter(&name, &mut server);
        let (_, half) = server.split().unwrap();
        let handles = half.wait_handles().unwrap().unwrap();
        let number = raw::number(handles.data());
        assert!(!last.iter().any(|other: &xshm::WaitHandles| raw::number(other.data()) == number));
        assert_eq!(half.arm(), Ok(false));
        assert!(!raw::is_ready(number, 0));
        peer.must(&format!("send over {round} 1 100"));
        assert!(raw::is_ready(number, 5000), "round {round}");
        half.disarm().unwrap();
        assert_eq!(half.try_receive(&mut Vec::new()), Ok(100));
        peer.must("leave");
        last.push(handles);
    }
    // The handles of an ended session can still be polled, and show that the peer's process has ended.
    drop(server);
    for handles in &last {
        assert!(raw::is_ready(raw::number(handles.peer().unwrap()), 5000));
        raw::is_ready(raw::number(handles.data()), 0);
    }
}
