//! Halves that own their endpoint, and what ties the crate's types to the standard library: conversions, iteration, `Debug`.

mod common;

use common::*;
use std::io::ErrorKind;
use std::thread;
use std::time::Duration;
use xshm::*;

#[test]
fn peer_process() {
    serve();
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Few messages wait, so that senders wait for room.
fn options() -> ServerOptions {
    ServerOptions::new().message_limit(8)
}

fn is_send_and_static<T: Send + 'static>(_: &T) {}

/// Both ends send and receive at the same time, each half in a separate thread that no scope bounds.
#[test]
fn owned_halves_work_in_threads_of_their_own_and_become_one_endpoint_again() {
    let (server, client) = connected(&unique("owned-halves"), options());
    const COUNT: u32 = 5000;
    let (server_sends, server_receives) = server.into_split().unwrap();
    let (client_sends, client_receives) = client.into_split().unwrap();
    is_send_and_static(&server_sends);
    is_send_and_static(&server_receives);
    fn sending<E: Split + 'static>(mut half: OwnedSendHalf<E>) -> thread::JoinHandle<OwnedSendHalf<E>> {
        thread::spawn(move || {
            (0..COUNT).for_each(|n| half.send_timeout(&n.to_le_bytes(), Some(PATIENCE)).unwrap());
            half
        })
    }
    fn receiving<E: Split + 'static>(
        mut half: OwnedReceiveHalf<E>,
    ) -> thread::JoinHandle<OwnedReceiveHalf<E>> {
        thread::spawn(move || {
            let mut message = Vec::new();
            for n in 0..COUNT {
                half.receive_timeout(&mut message, Some(PATIENCE)).unwrap();
                assert_eq!(message, n.to_le_bytes());
            }
            half
        })
    }
    let threads = (sending(server_sends), receiving(server_receives));
    let others = (sending(client_sends), receiving(client_receives));
    let mut server = threads.0.join().unwrap().rejoin(threads.1.join().unwrap()).unwrap();
    let client = others.0.join().unwrap().rejoin(others.1.join().unwrap()).unwrap();
    // The session goes on, and so does the server after it.
    server.send_to_client(b"one endpoint").unwrap();
    let mut message = Vec::new();
    client.receive_from_server_timeout(&mut message, Some(PATIENCE)).unwrap();
    assert_eq!(message, b"one endpoint");
    assert_eq!(server.stats().unwrap().sent, u64::from(COUNT) + 1);
    drop(client);
    assert_eq!(server.receive_from_client_timeout(&mut message, Some(PATIENCE)), Err(ShmError::NotConnected));
    assert_eq!(server.wait_for_client(Some(Duration::ZERO)), Err(ShmError::Timeout));
}

/// The endpoint leaves when both halves are gone, and not before.
#[test]
fn an_endpoint_stays_until_both_of_its_owned_halves_are_gone() {
    let name = unique("owned-last");
    let (server, client) = connected(&name, options());
    let (sender, mut receiver) = server.into_split().unwrap();
    let _no_copies = no_peer_starts();
    drop(sender);
    let mut message = Vec::new();
    client.send_to_server(b"still there").unwrap();
    receiver.receive_timeout(&mut message, Some(PATIENCE)).unwrap();
    assert_eq!(message, b"still there");
    assert!(client.is_connected());
    assert!(matches!(SharedServer::start(&name), Err(ShmError::AlreadyExists { .. })));
    drop(receiver);
    assert_eq!(client.receive_from_server_timeout(&mut message, Some(PATIENCE)), Err(ShmError::NotConnected));
    // The name is free at once.
    drop(SharedServer::start(&name).unwrap());

    let (server, client) = connected(&unique("owned-last-client"), options());
    let (sender, receiver) = client.into_split().unwrap();
    drop(receiver);
    assert!(server.is_connected());
    drop(sender);
    assert_eq!(server.receive_from_client_timeout(&mut message, Some(PATIENCE)), Err(ShmError::NotConnected));
}

#[test]
fn halves_that_do_not_belong_together_and_endpoints_without_a_session_come_back() {
    let (one, one_client) = connected(&unique("owned-one"), options());
    let (other, other_client) = connected(&unique("owned-other"), options());
    let (one_sends, one_receives) = one.into_split().unwrap();
    let (other_sends, other_receives) = other.into_split().unwrap();
    let error = one_sends.rejoin(other_receives).unwrap_err();
    assert_eq!(error.to_string(), "the halves are of different endpoints");
    let (one_sends, other_receives) = error.into_halves();
    let one = one_sends.rejoin(one_receives).unwrap();
    let other = other_sends.rejoin(other_receives).unwrap();
    one.send_to_client(b"one").unwrap();
    other.send_to_client(b"other").unwrap();
    let mut message = Vec::new();
    one_client.receive_from_server_timeout(&mut message, Some(PATIENCE)).unwrap();
    assert_eq!(message, b"one");
    other_client.receive_from_server_timeout(&mut message, Some(PATIENCE)).unwrap();
    assert_eq!(message, b"other");

    let name = unique("owned-none");
    let error = SharedServer::start(&name).unwrap().into_split().unwrap_err();
    assert!(error.to_string().contains("no session yet"), "{error}");
    let mut server = error.into_endpoint();
    let client = thread::spawn(move || SharedClient::connect(&name, PATIENCE).unwrap());
    server.wait_for_client(Some(PATIENCE)).unwrap();
    drop(client.join().unwrap());
    let split = || -> Result<()> {
        SharedServer::start(&unique("owned-question"))?.into_split()?;
        Ok(())
    };
    assert_eq!(split(), Err(ShmError::NotConnected));
}

#[test]
fn a_half_learns_that_the_peers_process_has_died() {
    let name = unique("owned-killed");
    let mut server = SharedServer::start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    let (sender, mut receiver) = server.into_split().unwrap();
    let pid = peer.id();
    let receiving = thread::spawn(move || {
        let error = receiver.receive(&mut Vec::new()).unwrap_err();
        (receiver, error)
    });
    peer.kill();
    let (receiver, error) = receiving.join().unwrap();
    assert_eq!(error, ShmError::PeerDied { pid });
    let mut server = sender.rejoin(receiver).unwrap();
    Peer::start().enter(&name, &mut server);
}

#[test]
fn errors_become_errors_of_the_standard_library() {
    let kinds = [
        (ShmError::NotConnected, ErrorKind::NotConnected),
        (ShmError::PeerDied { pid: 1 }, ErrorKind::ConnectionReset),
        (ShmError::Timeout, ErrorKind::TimedOut),
        (ShmError::QueueEmpty, ErrorKind::WouldBlock),
        (ShmError::QueueFull, ErrorKind::WouldBlock),
        (ShmError::Corrupted, ErrorKind::InvalidData),
        (ShmError::MessageTooLarge, ErrorKind::InvalidInput),
        // Functions such as `read_to_end` would go round in circles with `ErrorKind::Interrupted`.
        (ShmError::Interrupted, ErrorKind::Other),
    ];
    for (error, kind) in kinds {
        let converted = std::io::Error::from(error.clone());
        assert_eq!(converted.kind(), kind, "{error}");
        assert_eq!(converted.to_string(), error.to_string());
        let source = converted.into_inner().unwrap().downcast::<ShmError>().unwrap();
        assert_eq!(*source, error);
    }
    fn fails() -> std::io::Result<()> {
        SharedClient::connect(&unique("owned-no-server"), Duration::ZERO)?;
        Ok(())
    }
    assert_eq!(fails().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_batch_is_iterated_by_reference() {
    let (mut server, mut client) = connected(&unique("owned-batch"), options());
    server.split().unwrap().0.try_send_batch(&["one", "two", "three"]).unwrap();
    let mut batch = MessageBatch::default();
    client.split().unwrap().1.receive_batch(&mut batch).unwrap();
    let mut messages = Vec::new();
    for message in &batch {
        messages.push(message);
    }
    assert_eq!(messages, [&b"one"[..], b"two", b"three"]);
    let mut rest = batch.iter();
    rest.next();
    assert_eq!((rest.len(), rest.clone().last()), (2, Some(&b"three"[..])));
    assert_eq!(MessageBatch::default().iter().next(), None);
}

/// What an event loop waits for can be passed to functions that take any descriptor or handle.
#[test]
fn wait_handles_are_borrowed_as_descriptors_or_handles() {
    let (mut server, client) = connected(&unique("owned-as-fd"), options());
    let (_, receiver) = server.split().unwrap();
    let handles = receiver.wait_handles().unwrap().unwrap();
    #[cfg(target_os = "linux")]
    fn number(object: &impl std::os::fd::AsFd) -> isize {
        use std::os::fd::AsRawFd;
        object.as_fd().as_raw_fd() as isize
    }
    #[cfg(windows)]
    fn number(object: &impl std::os::windows::io::AsHandle) -> isize {
        use std::os::windows::io::AsRawHandle;
        object.as_handle().as_raw_handle() as isize
    }
    assert_eq!(number(&handles), number(&handles.data()));
    assert!(!receiver.arm().unwrap());
    client.send_to_server(b"wake up").unwrap();
    assert!(raw::is_ready(number(&handles), 10_000));
    receiver.disarm().unwrap();
}

#[test]
fn all_types_can_be_printed() {
    let (server, client) = connected(&unique("owned-debug"), options());
    let text = format!("{server:?} {client:?}");
    assert!(text.contains("SharedServer") && text.contains(&std::process::id().to_string()), "{text}");
    let (sender, receiver) = client.into_split().unwrap();
    assert!(format!("{sender:?} {receiver:?}").contains("OwnedSendHalf(SendHalf"));
}
