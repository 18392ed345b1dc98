//! Contract line 15 by the processor's clock, which counts for the whole process: a test with a program of its own.

mod common;

use common::*;
use std::sync::Arc;
use xshm::*;

#[test]
fn peer_process() {
    serve();
}

struct Silent;

impl AutoHandler for Silent {}
impl MultiHandler for Silent {}

#[test]
fn line_15_idle_endpoints_take_no_processor_time() {
    let idle = if long() { 10_000 } else { 2000 };
    let name = unique("idle");
    let mut connected = SharedServer::start(&name).unwrap();
    let mut alone = SharedServer::start(&unique("alone")).unwrap();
    let mut peer = Peer::start();
    peer.tell(&format!("connect {name} 10000"));
    connected.wait_for_client(seconds(10)).unwrap();
    peer.answer();
    // Workers too: a pair that is connected, and a server that waits.
    let (auto, handler) = (unique("auto"), Arc::new(Silent));
    let server = AutoServer::start(&auto, handler.clone(), AutoOptions::default()).unwrap();
    let client = AutoClient::connect(&auto, handler.clone(), AutoOptions::default()).unwrap();
    let waiting = AutoServer::start(&unique("auto"), handler, AutoOptions::default()).unwrap();
    while client.stats().sent_messages == 0 || server.stats().received_messages == 0 {
        client.send(b"are we connected?").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let (multi, quiet) = (unique("multi"), Arc::new(Silent));
    let many = MultiServer::start(&multi, quiet, MultiOptions::default()).unwrap();
    peer.must(&format!("join {multi} 20"));
    many.broadcast(b"are you all there?").unwrap();
    peer.tell(&format!("poll {}", idle + 5000));
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(alone.wait_for_client(millis(idle)), Err(ShmError::Timeout)));
        // The spinning is over by then.
        assert_eq!(connected.poll_client(millis(100)), Ok(false));
        let before = raw::processor_time();
        let waiter = scope.spawn(move || assert_eq!(connected.poll_client(millis(idle - 200)), Ok(false)));
        let woken = raw::count_wakings(idle - 400, peer.id());
        waiter.join().unwrap();
        let used = raw::processor_time() - before;
        assert!(matches!(woken, None | Some((0, 0))), "wakings of this process, of the peer: {woken:?}");
        // Two ticks of the coarsest clock that counts this: the threads begin to wait, and end.
        assert!(used <= 2 * 156_250, "{used} of 100 ns");
        drop((peer, server, client, waiting, many));
    });
}
