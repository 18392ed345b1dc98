//! Processes whose surroundings are unusual, on Linux: closed standard streams, a limit on the size of files, users that a
//! namespace does not map, and a server that gives up its user.
#![cfg(target_os = "linux")]

mod common;

use common::*;
use std::ffi::{c_int, c_void};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use xshm::{
    AutoClient, AutoHandler, AutoOptions, AutoServer, ClientOptions, Interrupter, MultiClient,
    MultiClientHandler, MultiClientOptions, MultiHandler, MultiOptions, MultiServer, ServerOptions,
    SharedClient, SharedServer, ShmError, Trust,
};

extern "C" {
    fn close(descriptor: c_int) -> c_int;
    fn fcntl(descriptor: c_int, command: c_int, argument: c_int) -> c_int;
    fn getrlimit(resource: c_int, limits: *mut [u64; 2]) -> c_int;
    fn setrlimit(resource: c_int, limits: *const [u64; 2]) -> c_int;
    fn write(descriptor: c_int, bytes: *const c_void, length: usize) -> isize;
}

#[test]
fn peer_process() {
    serve();
}

/// What a separate process is to do.
const PART: &str = "XSHM_TEST_PART";

/// Does one part of a test, in a separate process, and returns whether it succeeded.
fn alone(part: &str) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["own_process", "--exact", "--nocapture", "--test-threads=1"]).env(PART, part);
    command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success()
}

/// The process that [`alone`] starts.
#[test]
fn own_process() {
    let Ok(part) = std::env::var(PART) else { return };
    match part.split_once(' ') {
        Some(("closed", streams)) => closed_streams(streams.parse().unwrap()),
        _ => small_files(),
    }
}

#[test]
fn line_38_no_descriptor_is_a_standard_stream_where_these_are_closed() {
    for streams in 1..8 {
        assert!(alone(&format!("closed {streams}")), "streams {streams:#b}");
    }
}

/// Counts the messages of all endpoints in the background.
#[derive(Default)]
struct Counter(AtomicU32);

impl Counter {
    fn count(&self, message: &[u8]) {
        check_message(message);
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn wait_for(&self, count: u32) {
        let until = Instant::now() + Duration::from_secs(10);
        while self.0.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < until, "{count} messages");
            thread::yield_now();
        }
    }
}

impl AutoHandler for Counter {
    fn on_message(&self, _: xshm::ChannelKind, payload: &[u8]) {
        self.count(payload);
    }
}

impl MultiHandler for Counter {
    fn on_message(&self, _: u32, data: &[u8]) {
        self.count(data);
    }
}

impl MultiClientHandler for Counter {
    fn on_message(&self, data: &[u8]) {
        self.count(data);
    }
}

/// Closes the standard streams of a mask, and uses all kinds of endpoints, while another thread writes to the streams.
fn closed_streams(mask: c_int) {
    const F_GETFD: c_int = 1;
    let streams: Vec<c_int> = (0..3).filter(|stream| mask >> stream & 1 == 1).collect();
    for &stream in &streams {
        // SAFETY: no code of this process has a value that owns a standard stream.
        assert_eq!(unsafe { close(stream) }, 0);
    }
    let (is_over, written) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for &stream in &streams {
                    // SAFETY: the bytes are valid.
                    if unsafe { write(stream, b"a line of the log\n".as_ptr().cast(), 18) } >= 0 {
                        written.store(true, Ordering::Relaxed);
                    }
                }
            }
        });
        for _ in 0..10 {
            use_endpoints();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(!written.load(Ordering::Relaxed), "a closed stream was open for a time");
    // SAFETY: no pointers.
    assert!(streams.iter().all(|&stream| unsafe { fcntl(stream, F_GETFD, 0) } == -1));
}

fn use_endpoints() {
    let is_high = |handle: isize| assert!(handle >= 3, "{handle}");
    let name = unique("streams");
    let mut server = SharedServer::start(&name).unwrap();
    let mut buffer = Vec::new();
    for sequence in 0..2 {
        let (there, name) = (Arc::new(AtomicBool::new(false)), name.clone());
        let peer = there.clone();
        let client = thread::spawn(move || {
            let client = SharedClient::connect(&name, Duration::from_secs(10)).unwrap();
            let mut buffer = Vec::new();
            client.receive_from_server_timeout(&mut buffer, seconds(10)).unwrap();
            client.send_to_server(&buffer).unwrap();
            peer.store(true, Ordering::Relaxed);
        });
        server.wait_for_client(seconds(10)).unwrap();
        server.send_to_client(&message(sequence, 500)).unwrap();
        server.receive_from_client_timeout(&mut buffer, seconds(10)).unwrap();
        assert_eq!(check_message(&buffer), sequence);
        client.join().unwrap();
        assert!(there.load(Ordering::Relaxed));
    }
    is_high(server.section_handle());
    all_handles(&server.client_handles().unwrap()).into_iter().for_each(is_high);
    drop(Interrupter::new().unwrap());

    let counter = Arc::new(Counter::default());
    let name = unique("streams-auto");
    let server = AutoServer::start(&name, counter.clone(), AutoOptions::default()).unwrap();
    let client = AutoClient::connect(&name, counter.clone(), AutoOptions::default()).unwrap();
    client.send(&message(1, 500)).unwrap();
    counter.wait_for(1);
    server.send(&message(2, 500)).unwrap();
    counter.wait_for(2);
    let name = unique("streams-multi");
    let server = MultiServer::start(&name, counter.clone(), MultiOptions::default()).unwrap();
    let client = MultiClient::connect(&name, counter.clone(), MultiClientOptions::default()).unwrap();
    client.send(&message(3, 500)).unwrap();
    counter.wait_for(3);
    server.send_to(0, &message(4, 500)).unwrap();
    counter.wait_for(4);
}

#[test]
fn line_39_a_limit_on_the_size_of_files_is_an_error() {
    assert!(alone("small files"));
}

/// Sets the soft limit of the size of files.
fn limit_files(size: u64) {
    const RLIMIT_FSIZE: c_int = 1;
    let mut limits = [0; 2];
    // SAFETY: the place for the limits is valid.
    unsafe {
        assert_eq!(getrlimit(RLIMIT_FSIZE, &mut limits), 0);
        limits[0] = size.min(limits[1]);
        assert_eq!(setrlimit(RLIMIT_FSIZE, &limits), 0);
    }
}

fn small_files() {
    let too_large = |error: Option<ShmError>| {
        let text = error.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(matches!(error, Some(ShmError::SystemError { code: 27, .. })), "{error:?}");
        assert!(text.contains("RLIMIT_FSIZE"), "{text}");
    };
    let name = unique("files");
    limit_files(1 << 20);
    too_large(SharedServer::start(&name).err());
    too_large(SharedServer::start_anonymous().err());
    let counter = Arc::new(Counter::default());
    too_large(MultiServer::start(&name, counter.clone(), MultiOptions::default()).err());
    too_large(AutoServer::start(&name, counter, AutoOptions::default()).err());
    // A channel that is small enough.
    drop(ServerOptions::new().ring_size(64 * 1024).start(&name).unwrap());
    // The next client's section.
    limit_files(u64::MAX);
    let mut server = SharedServer::start(&name).unwrap();
    for _ in 0..2 {
        let name = name.clone();
        let client = thread::spawn(move || SharedClient::connect(&name, Duration::from_secs(10)).map(drop));
        server.wait_for_client(seconds(10)).unwrap();
        client.join().unwrap().unwrap();
        assert_eq!(
            server.receive_from_client_timeout(&mut Vec::new(), seconds(10)),
            Err(ShmError::NotConnected)
        );
        limit_files(1 << 20);
        too_large(server.wait_for_client(millis(0)).err());
        limit_files(u64::MAX);
    }
}

/// A name that processes of all users find.
fn global(test: &str) -> String {
    format!("Global\\{}", unique(test))
}

/// A server that was started as root, and is of another user from then on, is that user's for all of its clients.
#[test]
fn line_42_a_server_that_gives_up_root_is_of_its_new_user_from_the_first_client_on() {
    const OTHER: &str = "1234";
    if Peer::start_as(OTHER).is_none() {
        return;
    }
    let name = global("gives-up");
    let mut server = Peer::start();
    server.must(&format!("start {name}"));
    server.must(&format!("become {OTHER}"));
    for _ in 0..3 {
        server.tell("accept 10000");
        let refused = SharedClient::connect(&name, Duration::from_secs(10)).err();
        assert!(
            matches!(&refused, Some(ShmError::Refused { reason }) if reason.contains("user 1234")),
            "{refused:?}"
        );
        let mut client = Peer::start_as(OTHER).unwrap();
        client.must(&format!("connect {name} 10000"));
        assert_eq!(server.answer(), "ok");
        client.must("leave");
        // A client that trusts the user, as root, whom the server accepts.
        server.tell("accept 10000");
        let trusting = ClientOptions::new().trust(Trust::Users(vec![OTHER.parse().unwrap()]));
        let client = trusting.connect(&name, Duration::from_secs(10)).unwrap();
        assert_eq!(server.answer(), "ok");
        assert_eq!(client.peer().unwrap().user, Some(OTHER.parse().unwrap()));
    }
}

/// Starts the peer in a user namespace that maps no user. `None`: this user may not create one.
fn unmapped_peer(user: &str) -> Option<Peer> {
    let program = std::env::current_exe().unwrap();
    let arguments = ["--reuid", user, "--clear-groups", "unshare", "--user"];
    let mut command = Command::new("setpriv");
    command.args(arguments).arg(program).arg("--list").stdout(Stdio::null()).stderr(Stdio::null());
    let allowed = command.status();
    if !allowed.is_ok_and(|status| status.success()) {
        skipped("no user namespaces for this user");
        return None;
    }
    Some(Peer::start_by("setpriv", &arguments))
}

/// In a user namespace that maps no user, all users have one number, the server's own too.
#[test]
fn line_42_a_server_does_not_take_a_user_that_is_not_mapped_for_its_own() {
    let Some(mut server) = unmapped_peer("1234") else { return };
    let name = global("unmapped-server");
    server.must(&format!("start {name}"));
    let mut stranger = Peer::start_as("1235").unwrap();
    // It trusts the user of the server, so that the server decides.
    server.tell("accept 10000");
    let answer = stranger.ask(&format!("connect_trusting 1234 {name} 10000"));
    assert!(answer.contains("does not admit this user"), "{answer}");
    // The kernel confirms that this one's is the server's user.
    let mut own = Peer::start_as("1234").unwrap();
    own.must(&format!("connect {name} 10000"));
    assert_eq!(server.answer(), "ok");
}

#[test]
fn line_42_a_client_does_not_take_a_user_that_is_not_mapped_for_its_own() {
    let Some(mut client) = unmapped_peer("1234") else { return };
    let name = global("unmapped-client");
    let mut server = Peer::start_as("1235").unwrap();
    server.must(&format!("start {name}"));
    server.tell("accept 1000");
    let answer = client.ask(&format!("connect {name} 10000"));
    assert!(answer.contains("user namespace does not map"), "{answer}");
    assert_eq!(server.answer(), "err Timeout");
    // The kernel confirms that this one's is the client's user.
    let mut server = Peer::start_as("1234").unwrap();
    let name = global("unmapped-own");
    server.must(&format!("start {name}"));
    server.tell("accept 10000");
    client.must(&format!("connect {name} 10000"));
    assert_eq!(server.answer(), "ok");
}
