//! A server against a hostile client: the handshake's server side, and both rings.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use xshm::ServerOptions;
use xshm_fuzz::{acceptable, against, perform, Call, Peer, Place, What, Write, LIMIT, LONGEST, RING};

#[derive(Debug, Arbitrary)]
struct Input {
    /// Whether the server sets the longest message.
    sets_lengths: bool,
    writes: Vec<Write>,
    /// Sessions, each with its calls.
    sessions: Vec<Vec<Call>>,
}

fuzz_target!(|input: Input| {
    let mut options = ServerOptions::new().ring_size(RING).message_limit(LIMIT as usize).spin(Duration::ZERO);
    if input.sets_lengths {
        options = options.max_message_size(LONGEST);
    }
    let mut server = options.start_anonymous().unwrap();
    let peer = Peer::map(server.section_handle());
    peer.borrow_mut().plan(input.writes);
    for calls in input.sessions.iter().take(4) {
        // Requests a session, so that most inputs have one.
        let request = Write { after: 0, place: Place::Control(2), what: What::Request };
        peer.borrow().perform(&request);
        peer.borrow_mut().begin();
        let accepted = against(&peer, || server.wait_for_client(Some(Duration::ZERO)));
        if let Err(error) = accepted {
            assert!(acceptable(&error), "{error}");
        }
        if let Ok((sender, receiver)) = server.split() {
            for call in calls.iter().take(64) {
                peer.borrow_mut().begin();
                against(&peer, || perform(call, sender, receiver));
            }
        }
        against(&peer, || server.disconnect_client());
        // The client leaves, as it does when it learns of the end.
        peer.borrow().perform(&Write { after: 0, place: Place::Control(2), what: What::State(3) });
    }
    drop(server);
    peer.borrow_mut().unmap();
});
