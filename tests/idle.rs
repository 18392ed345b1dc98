//! Line 15 of docs/guarantees.md, by the system's count of wake-ups and by processor time. Both count for whole
//! processes, so this test has a separate program.

mod common;

use common::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;
use xshm::*;

#[test]
fn peer_process() {
    serve();
}

struct Silent;

impl AutoHandler for Silent {}
impl MultiHandler for Silent {}

#[test]
fn line_15_idle_endpoints_never_wake_up() {
    let idle = if long() { 10_000 } else { 2000 };
    let name = unique("idle");
    let mut connected = SharedServer::start(&name).unwrap();
    let mut alone = SharedServer::start(&unique("alone")).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut connected);
    // Workers too: a pair that is connected, and a server that waits.
    let (auto, handler) = (unique("auto"), Arc::new(Silent));
    let server = AutoServer::start(&auto, handler.clone(), AutoOptions::default()).unwrap();
    let client = AutoClient::connect(&auto, handler.clone(), AutoOptions::default()).unwrap();
    let waiting = AutoServer::start(&unique("auto"), handler, AutoOptions::default()).unwrap();
    while client.stats().sent_messages == 0 || server.stats().received_messages == 0 {
        client.send(b"are we connected?").unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    // It spins for longer than the interval in which a busy worker checks its peers.
    let (spinning, options) = (unique("spinning"), ServerOptions::new().spin(Duration::from_millis(150)));
    let spinning_server = options.start_auto(&spinning, Arc::new(Silent), AutoOptions::default()).unwrap();
    let spinning_client = SharedClient::connect(&spinning, Duration::from_secs(5)).unwrap();
    let (multi, quiet) = (unique("multi"), Arc::new(Silent));
    let many = MultiServer::start(&multi, quiet, MultiOptions::default()).unwrap();
    peer.must(&format!("join {multi} 20"));
    many.broadcast(b"are you all there?").unwrap();
    // A third process counts, so that the two under test have nothing to do.
    let mark = unique("idle-mark");
    wakings::mark(&mark);
    peer.must(&format!("mark {mark}"));
    let mut observer = Peer::start();
    let watched = observer.must(&format!("watch {mark}"));
    // These timeouts do not pass during the test. A thread that slept in slices would wake up, and be counted.
    peer.tell(&format!("poll {}", idle + 60_000));
    let interrupters = [alone.interrupter(), connected.interrupter()];
    let (woken, used) = std::thread::scope(|scope| {
        scope.spawn(move || {
            assert_eq!(alone.wait_for_client(millis(idle + 60_000)), Err(ShmError::Interrupted));
        });
        scope.spawn(move || {
            assert_eq!(connected.poll_client(millis(idle + 60_000)), Err(ShmError::Interrupted));
        });
        // The worker that spins for 150 ms has stopped by then. While it spins, it does not go to sleep, and so looks settled.
        std::thread::sleep(Duration::from_millis(300));
        let (woken, before);
        if watched == "-" {
            before = raw::processor_time();
            std::thread::sleep(Duration::from_millis(idle));
            woken = None;
        } else {
            observer.must("settle");
            before = raw::processor_time();
            woken = Some(observer.must(&format!("count {idle}")));
        }
        let used = raw::processor_time() - before;
        interrupters.iter().for_each(Interrupter::interrupt);
        (woken, used)
    });
    // Two ticks of the coarsest clock that counts processor time: one when a thread begins to wait, one when it ends.
    // Windows itself does not report wake-ups, so there only this check applies, and only to this process.
    assert!(used <= 2 * 156_250, "{used} units of 100 ns of processor time");
    if let Some(woken) = woken {
        assert_eq!((watched.as_str(), woken.as_str()), ("2", "0"), "processes watched, their wake-ups");
        // The count works: in the peer, the clients' workers wake up for each message.
        observer.tell("count 300");
        let counted = AtomicBool::new(false);
        let woken: u64 = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !counted.load(Ordering::Relaxed) {
                    many.broadcast(b"wake up").unwrap();
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
            let woken = observer.answer();
            counted.store(true, Ordering::Relaxed);
            woken.strip_prefix("ok ").expect("it counted").parse().unwrap()
        });
        assert!(woken >= 20, "{woken} wake-ups of 20 clients that got messages");
    }
    drop((peer, server, client, waiting, many, spinning_server, spinning_client));
}
