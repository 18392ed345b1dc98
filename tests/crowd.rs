//! More clients at once than a Linux server's queue holds. Their threads would disturb tests that count threads or
//! handles, so this test has a separate program.
#![cfg(target_os = "linux")]

mod common;

use common::*;
use std::time::{Duration, Instant};
use xshm::{SharedClient, SharedServer, ShmError};

/// Each client waits until its timeout; the server turns none away earlier.
#[test]
fn clients_wait_while_the_servers_queue_is_full() {
    let name = unique("crowd");
    let _server = SharedServer::start(&name).unwrap();
    raw::raise_limits();
    let time = Duration::from_secs(1);
    let clients: Vec<_> = (0..1100)
        .map(|_| {
            let name = name.clone();
            let thread = std::thread::Builder::new().stack_size(256 * 1024);
            let client = move || {
                let start = Instant::now();
                (SharedClient::connect(&name, time).err(), start.elapsed())
            };
            thread.spawn(client).unwrap()
        })
        .collect();
    let mut crowded = 0;
    for client in clients {
        let (error, elapsed) = client.join().unwrap();
        assert!(elapsed >= time, "{error:?} after {elapsed:?}");
        match error {
            Some(ShmError::NotAccepting { .. }) => {}
            Some(ShmError::AlreadyConnected) => crowded += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(crowded > 0, "the queue was never full");
}
