//! More clients at once than a Linux server's queue holds. Their threads would disturb tests that count threads or
//! handles, so this test has a separate program.
#![cfg(target_os = "linux")]

mod common;

use common::*;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use xshm::{SharedClient, SharedServer, ShmError};

/// Each client waits until its timeout; the server turns none away earlier.
#[test]
fn clients_wait_while_the_servers_queue_is_full() {
    let name = unique("crowd");
    let _server = SharedServer::start(&name).unwrap();
    raw::raise_limits();
    let time = Duration::from_secs(1);
    // The queue has room for 1025.
    const CLIENTS: usize = 1100;
    let all = Arc::new(Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (name, all) = (name.clone(), all.clone());
            let thread = std::thread::Builder::new().stack_size(256 * 1024);
            let client = move || {
                all.wait();
                let start = Instant::now();
                (SharedClient::connect(&name, time).err(), start.elapsed())
            };
            thread.spawn(client).unwrap()
        })
        .collect();
    for client in clients {
        let (error, elapsed) = client.join().unwrap();
        assert!(elapsed >= time, "{error:?} after {elapsed:?}");
        assert_eq!(error, Some(ShmError::NotAccepting { name: name.clone() }));
    }
}
