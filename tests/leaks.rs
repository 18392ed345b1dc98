//! Handles are counted for the whole process, so this test has a separate program.

mod common;

use common::*;
use xshm::SharedServer;

#[test]
fn peer_process() {
    serve();
}

/// Handles that Windows itself may open, when the process first uses something.
const FIRST_USES: u32 = if cfg!(windows) { 2 } else { 0 };

#[test]
fn a_closed_channel_leaves_no_handle_open() {
    let name = unique("leak");
    let mut peer = Peer::start();
    let mut before = 0;
    for round in 0..if long() { 500 } else { 60 } {
        let mut server = SharedServer::start(&name).unwrap();
        peer.enter(&name, &mut server);
        peer.must("leave");
        assert_ne!(raw::handles_to(&name), [""; 0], "round {round}");
        drop(server);
        assert_eq!(raw::handles_to(&name), [""; 0], "round {round}");
        // Not all objects have a name. After the first rounds, all handles that the process keeps are open.
        match round {
            10 => before = raw::open_handles(),
            _ if round > 10 => {
                let now = raw::open_handles();
                assert!(now <= before + FIRST_USES, "round {round}: {now} handles, {before} before");
            }
            _ => {}
        }
    }
}
