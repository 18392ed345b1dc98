//! Handles are counted for the whole process, so this test has a separate program.

mod common;

use common::*;
use xshm::SharedServer;

#[test]
fn peer_process() {
    serve();
}

#[test]
fn a_closed_channel_leaves_no_handle_open() {
    let name = unique("leak");
    let mut peer = Peer::start();
    let mut before = 0;
    for round in 0..if long() { 500 } else { 60 } {
        let mut server = SharedServer::start(&name).unwrap();
        peer.enter(&name, &mut server);
        peer.must("leave");
        drop(server);
        // After the first rounds, all handles that the process keeps are open.
        match round {
            10 => before = raw::open_handles(),
            _ if round > 10 => assert_eq!(raw::open_handles(), before, "round {round}"),
            _ => {}
        }
    }
}
