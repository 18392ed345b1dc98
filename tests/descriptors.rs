//! A server that has no descriptor left. The limit holds for the whole process, so this test has a separate program.
#![cfg(target_os = "linux")]

mod common;

use common::*;
use std::fs::File;
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;
use xshm::{MultiHandler, MultiOptions, MultiServer, SharedServer, ShmError};

#[test]
fn peer_process() {
    serve();
}

struct Errors(Mutex<mpsc::Sender<ShmError>>);

impl MultiHandler for Errors {
    fn on_error(&self, _: Option<u32>, error: ShmError) {
        let _ = self.0.lock().unwrap().send(error);
    }
}

/// Opens files until no descriptor is left.
fn take_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[test]
fn a_server_without_descriptors_reports_it_and_accepts_clients_when_it_has_some() {
    let (one, many) = (unique("descriptors"), unique("descriptors.multi"));
    let mut server = SharedServer::start(&one).unwrap();
    let (sender, errors) = mpsc::channel();
    let multi =
        MultiServer::start(&many, Arc::new(Errors(Mutex::new(sender))), MultiOptions::default()).unwrap();
    let (mut first, mut second) = (Peer::start(), Peer::start());
    let descriptors = take_descriptors();

    first.tell(&format!("connect {one} 30000"));
    let error = server.wait_for_client(seconds(10)).unwrap_err();
    assert!(error.to_string().contains("accepting a client"), "{error}");
    second.tell(&format!("join {many} 1"));
    let error = errors.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(error.to_string().contains("accepting a client"), "{error}");
    // The server pauses between its attempts.
    let before = raw::processor_time();
    std::thread::sleep(Duration::from_millis(500));
    let used = raw::processor_time() - before;
    assert!(used < 1_000_000, "{used} units of 100 ns of processor time, in 500 ms");

    drop(descriptors);
    server.wait_for_client(seconds(10)).unwrap();
    assert_eq!(first.answer(), "ok");
    assert_eq!(second.answer(), "ok 0");
    assert_eq!(multi.client_count(), 1);
}
