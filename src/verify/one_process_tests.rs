//! Unit tests of the death of a process, under Miri. On the platform of `one_process.rs`, a test decides when a process
//! dies.

use super::one_process::{become_process, Process, UNWATCHABLE};
use crate::{ChannelEvent, ClientOptions, ServerOptions, SharedClient, ShmError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

fn client(name: &str) -> SharedClient {
    ClientOptions::new().spin(Duration::ZERO).connect(name, LONG).unwrap()
}

#[test]
fn the_death_of_a_client_is_reported_and_the_next_one_is_served() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorder = seen.clone();
    let options = ServerOptions::new().ring_size(4096).message_limit(8).spin(Duration::ZERO);
    let hooked = options.on_event(move |event| recorder.lock().unwrap().push(event.clone()));
    let mut server = hooked.start("client-dies").unwrap();
    let first = thread::spawn(|| {
        become_process(301);
        client("client-dies")
    });
    server.wait_for_client(Some(LONG)).unwrap();
    let first = first.join().unwrap();
    assert_eq!(server.peer().unwrap().process_id, 301);
    first.send_to_server(b"last words").unwrap();
    let killer = thread::spawn(|| {
        thread::sleep(Duration::from_millis(5));
        Process::end(301);
    });
    let mut message = Vec::new();
    assert_eq!(server.receive_from_client(&mut message), Ok(10));
    assert_eq!(server.receive_from_client(&mut message), Err(ShmError::PeerDied { pid: 301 }));
    killer.join().unwrap();
    assert!(!server.is_connected());
    assert_eq!(server.send_to_client(b"no peer"), Err(ShmError::PeerDied { pid: 301 }));
    let second = thread::spawn(|| client("client-dies"));
    server.wait_for_client(Some(LONG)).unwrap();
    let second = second.join().unwrap();
    server.send_to_client(b"hello").unwrap();
    assert_eq!(second.receive_from_server(&mut message), Ok(5));
    // When the dead client's endpoint is dropped, the next client's session stays unchanged.
    drop(first);
    assert!(server.is_connected() && second.is_connected());
    assert_eq!(
        *seen.lock().unwrap(),
        [
            ChannelEvent::Connected { process_id: 301, generation: 1 },
            ChannelEvent::Lost(ShmError::PeerDied { pid: 301 }),
            ChannelEvent::Connected { process_id: 1, generation: 2 },
        ]
    );
}

#[test]
fn the_death_of_a_server_is_reported() {
    let starter = thread::spawn(|| {
        become_process(302);
        ServerOptions::new()
            .ring_size(4096)
            .message_limit(8)
            .spin(Duration::ZERO)
            .start("server-dies")
            .unwrap()
    });
    let mut server = starter.join().unwrap();
    let client = thread::spawn(|| client("server-dies"));
    server.wait_for_client(Some(LONG)).unwrap();
    let client = client.join().unwrap();
    server.send_to_client(b"last words").unwrap();
    Process::end(302);
    let mut message = Vec::new();
    assert_eq!(client.receive_from_server(&mut message), Ok(10));
    assert_eq!(client.receive_from_server(&mut message), Err(ShmError::PeerDied { pid: 302 }));
}

#[test]
fn a_client_that_can_not_be_watched_is_refused_or_checked_at_intervals() {
    let connect = |name: &'static str| {
        thread::spawn(move || {
            become_process(UNWATCHABLE);
            ClientOptions::new().spin(Duration::ZERO).connect(name, LONG)
        })
    };
    let options = ServerOptions::new().ring_size(4096).message_limit(8).spin(Duration::ZERO);
    let mut careful = options.clone().start("unwatchable-refused").unwrap();
    let client = connect("unwatchable-refused");
    assert!(matches!(careful.wait_for_client(Some(LONG)), Err(ShmError::Refused { .. })));
    assert!(matches!(client.join().unwrap(), Err(ShmError::Refused { .. })));

    let mut patient = options.check_interval(Duration::from_millis(5)).start("unwatchable-accepted").unwrap();
    let client = connect("unwatchable-accepted");
    patient.wait_for_client(Some(LONG)).unwrap();
    let client = client.join().unwrap().unwrap();
    client.send_to_server(b"hello").unwrap();
    assert_eq!(patient.receive_from_client(&mut Vec::new()), Ok(5));
    Process::end(UNWATCHABLE);
    let died = patient.receive_from_client(&mut Vec::new());
    assert_eq!(died, Err(ShmError::PeerDied { pid: UNWATCHABLE }));
}
