//! What wakes the worker of a background endpoint: lines 15, 18, 19 and 24 of docs/guarantees.md, where a handler or a sender
//! waits beside the worker. The tests watch the wake word in the section, so the peer is in the same process.

mod common;

use common::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};
use xshm::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Offsets in the section, and the bits of a wake word by which its owner asks for a signal: of a message, of room.
const CLIENT_STATE: usize = 16;
const CLIENT_WAKE: usize = 32;
const SERVER_WAKE: usize = 24;
const DATA: u64 = 1;
const SPACE: u64 = 2;

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

#[derive(Debug, PartialEq)]
enum Call {
    /// What the handler's own call returned.
    Waited(Result<()>),
    Space,
    Connected,
    Disconnected(DisconnectReason),
    Error(ShmError),
}

/// A handler that waits for room once: in `on_overflow` or in `on_message`.
struct Waiting {
    in_overflow: bool,
    client: OnceLock<Weak<AutoClient>>,
    has_waited: AtomicBool,
    calls: Mutex<mpsc::Sender<Call>>,
}

impl Waiting {
    fn call(&self, call: Call) {
        // The test may have ended.
        let _ = self.calls.lock().unwrap().send(call);
    }

    fn wait_for_room(&self) {
        let client = self.client.get().and_then(Weak::upgrade);
        if let (Some(client), false) = (client, self.has_waited.swap(true, Ordering::Relaxed)) {
            self.call(Call::Waited(client.send_timeout(&[9; 1000], millis(50))));
        }
    }
}

impl AutoHandler for Waiting {
    fn on_connect(&self) {
        self.call(Call::Connected);
    }
    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        self.call(Call::Disconnected(reason.clone()));
    }
    fn on_message(&self, _: ChannelKind, _: &[u8]) {
        if !self.in_overflow {
            self.wait_for_room();
        }
    }
    fn on_overflow(&self, direction: ChannelKind, _: u32) {
        if self.in_overflow && direction == ChannelKind::ClientToServer {
            self.wait_for_room();
        }
    }
    fn on_space_available(&self, _: ChannelKind) {
        self.call(Call::Space);
    }
    fn on_error(&self, error: ShmError) {
        self.call(Call::Error(error));
    }
}

struct Setup {
    server: SharedServer,
    client: Arc<AutoClient>,
    section: raw::RawSection,
    calls: mpsc::Receiver<Call>,
}

/// A server and an auto client that are connected.
fn set_up(test: &str, in_overflow: bool) -> Setup {
    let name = unique(test);
    let mut server = SharedServer::start(&name).unwrap();
    let section = raw::RawSection::map(server.section_handle());
    let (sender, calls) = mpsc::channel();
    let (client, has_waited) = (OnceLock::new(), AtomicBool::new(false));
    let handler = Arc::new(Waiting { in_overflow, client, has_waited, calls: Mutex::new(sender) });
    let client = Arc::new(AutoClient::connect(&name, handler.clone(), AutoOptions::default()).unwrap());
    assert!(handler.client.set(Arc::downgrade(&client)).is_ok());
    server.wait_for_client(Some(PATIENCE)).unwrap();
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(Call::Connected));
    Setup { server, client, section, calls }
}

impl Setup {
    fn wait_until_room_is_awaited(&self) {
        wait_until("the worker asks for a signal", || {
            self.section.word64(CLIENT_WAKE).load(Ordering::SeqCst) & SPACE != 0
        });
    }

    fn receive_all(&mut self) {
        let mut buffer = Vec::new();
        while self.server.try_receive_from_client(&mut buffer).is_ok() {}
    }
}

/// The handler's wait takes back the request for a signal that the worker made for another sender.
#[test]
fn line_18_a_handler_that_waits_in_on_overflow_takes_no_other_sender_its_wake_up() {
    let mut setup = set_up("background-overflow", true);
    while setup.client.try_send(&[1; 1000]).is_ok() {}
    let (sender, sent) = mpsc::channel();
    let client = setup.client.clone();
    let waiting = std::thread::spawn(move || sender.send(client.send_timeout(&[2; 1000], None)));
    setup.wait_until_room_is_awaited();
    setup.client.send(&[3; 1000]).unwrap();
    assert_eq!(setup.calls.recv_timeout(PATIENCE), Ok(Call::Waited(Err(ShmError::Timeout))));
    // The worker comes to sleep once more, and asks for the signal.
    setup.wait_until_room_is_awaited();
    setup.receive_all();
    assert_eq!(sent.recv_timeout(PATIENCE), Ok(Ok(())), "the other sender");
    waiting.join().unwrap().unwrap();
}

/// The handler's wait is woken for another thread that found no room. The worker must find out when the handler returns.
#[test]
fn line_18_a_handler_that_waits_in_on_message_takes_no_other_sender_its_wake_up() {
    let mut setup = set_up("background-message", false);
    // Full, and no caller was refused.
    while setup.client.stats().send_overflows == 0 {
        setup.client.send(&[1; 1000]).unwrap();
    }
    setup.server.try_send_to_client(b"wait for room").unwrap();
    setup.wait_until_room_is_awaited();
    assert_eq!(setup.client.try_send(&[2; 1000]), Err(ShmError::QueueFull));
    assert_eq!(setup.calls.recv_timeout(PATIENCE), Ok(Call::Waited(Err(ShmError::Timeout))));
    setup.wait_until_room_is_awaited();
    setup.receive_all();
    assert_eq!(setup.calls.recv_timeout(PATIENCE), Ok(Call::Space));
}

/// A client that changes its word without a signal has left. A sender finds that out, and the worker sleeps.
#[test]
fn line_19_a_session_that_a_sender_finds_over_ends_at_once() {
    let name = unique("background-over");
    let (sender, calls) = mpsc::channel();
    let handler = Arc::new(Waiting {
        in_overflow: false,
        client: OnceLock::new(),
        has_waited: AtomicBool::new(true),
        calls: Mutex::new(sender),
    });
    let server = AutoServer::start(&name, handler, AutoOptions::default()).unwrap();
    let client = SharedClient::connect(&name, PATIENCE).unwrap();
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(Call::Connected));
    let session = server.session().unwrap();
    server.send_to_session(session, b"hello").unwrap();
    let section = raw::RawSection::open(&name);
    wait_until("the worker sleeps", || section.word64(SERVER_WAKE).load(Ordering::SeqCst) & DATA != 0);
    section.word64(CLIENT_STATE).store(0x1234, Ordering::SeqCst);
    assert_eq!(server.send_to_session(session, b"are you there?"), Err(ShmError::NotConnected));
    let ended = calls.recv_timeout(PATIENCE);
    assert_eq!(ended, Ok(Call::Disconnected(DisconnectReason::PeerLeft)));
    drop(client);
}

struct Silent;

impl MultiHandler for Silent {}

struct Recording(Mutex<mpsc::Sender<Call>>);

impl MultiClientHandler for Recording {
    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        self.0.lock().unwrap().send(Call::Disconnected(reason.clone())).unwrap();
    }
    fn on_error(&self, error: ShmError) {
        self.0.lock().unwrap().send(Call::Error(error)).unwrap();
    }
}

#[test]
fn line_24_the_end_of_a_multi_clients_session_is_its_handlers_last_call() {
    let name = unique("background-last");
    let server = MultiServer::start(&name, Arc::new(Silent), MultiOptions::default()).unwrap();
    let (sender, calls) = mpsc::channel();
    let handler = Arc::new(Recording(Mutex::new(sender)));
    let client = MultiClient::connect(&name, handler, MultiClientOptions::default()).unwrap();
    server.disconnect_client(0).unwrap();
    let ended = calls.recv_timeout(PATIENCE);
    assert_eq!(ended, Ok(Call::Disconnected(DisconnectReason::PeerLeft)));
    // Its end drops the handler, and with it the only sender: no other call comes before.
    client.stop();
    drop(client);
    assert_eq!(calls.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}
