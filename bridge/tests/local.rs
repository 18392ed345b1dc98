//! Both sides of the bridge on one machine: the exported and the imported channel have different names.

mod common;

use common::{free_port, metric, metrics, number_before, unique, Place, Process, NOTICE, PATIENCE};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use std::path::Path;
#[cfg(unix)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
#[cfg(unix)]
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use xshm::{MultiServer, ServerOptions, SharedClient, SharedServer, ShmError};

/// Two bridges that carry one channel.
struct Bridge {
    /// The name of the server's channel, and that of the clients'.
    here: String,
    there: String,
    key: String,
    port: u16,
    export: Process,
    import: Process,
}

const HERE: Place = Place(None);

fn export(here: &str, key: &str, port: u16, options: &[&str]) -> Process {
    let endpoint = format!("tcp/127.0.0.1:{port}");
    let export = HERE.bridge(&[&["export", here, "--key", key, "--listen", &endpoint], options].concat());
    export.wait_for("exports");
    export
}

fn import(there: &str, key: &str, port: u16, options: &[&str]) -> Process {
    let endpoint = format!("tcp/127.0.0.1:{port}");
    let import = HERE.bridge(&[&["import", there, "--key", key, "--connect", &endpoint], options].concat());
    import.wait_for("imports");
    import
}

impl Bridge {
    fn start(name: &str, export_options: &[&str], import_options: &[&str]) -> Self {
        let (here, there, port) = (unique(name), unique(name), free_port());
        let key = format!("test/{here}");
        let export = export(&here, &key, port, export_options);
        let import = import(&there, &key, port, import_options);
        import.wait_for("accepts clients");
        Bridge { here, there, key, port, export, import }
    }

    /// Starts a client that waits for its session's end.
    fn hold(&self) -> Process {
        let client = HERE.peer(&["hold", &self.there]);
        self.import.wait_for(&format!("client_process={}", client.pid()));
        client.wait_for("ready");
        client
    }

    fn client(&self) -> SharedClient {
        SharedClient::connect(&self.there, PATIENCE).expect("the imported channel accepts")
    }

    /// Starts a server for one client, whose session both bridges have opened.
    #[cfg(unix)]
    fn connected(&self) -> (SharedServer, SharedClient) {
        let mut server = SharedServer::start(&self.here).expect("a server");
        let client = self.client();
        server.wait_for_client(Some(PATIENCE)).expect("the bridge connects");
        for bridge in [&self.export, &self.import] {
            bridge.wait_for("session opened");
        }
        (server, client)
    }

    /// A client comes, whose session the bridges do not open. Returns the line of the import's log.
    fn end_of_client(&self) -> String {
        assert_eq!(time_to_end(&self.client()).1, ShmError::NotConnected);
        self.import.wait_for("session ended")
    }
}

/// How long a call takes to fail.
fn time_to_end(client: &SharedClient) -> (Duration, ShmError) {
    let started = Instant::now();
    let mut message = Vec::new();
    loop {
        if let Err(end) = client.receive_from_server_timeout(&mut message, Some(Duration::from_secs(20))) {
            return (started.elapsed(), end);
        }
    }
}

#[test]
fn requests_have_their_answers() {
    let bridge = Bridge::start("echo", &[], &[]);
    let server = HERE.peer(&["echo-server", &bridge.here]);
    server.wait_for("ready");
    let mut first = HERE.peer(&["echo-client", &bridge.there, "500", "64"]);
    let mut second = HERE.peer(&["echo-client", &bridge.there, "100", "60000"]);
    println!("{}", first.finish());
    println!("{}", second.finish());
}

#[test]
fn calls_have_their_answers_from_a_server_for_one_client() {
    let bridge = Bridge::start("calls", &[], &["--sync"]);
    let server = HERE.peer(&["call-server", &bridge.here]);
    server.wait_for("ready");
    for _ in 0..3 {
        HERE.peer(&["call-client", &bridge.there, "100"]).finish();
    }
}

#[test]
fn messages_arrive_in_order_and_without_loss() {
    let bridge = Bridge::start("order", &[], &[]);
    let sink = HERE.peer(&["sink", &bridge.here]);
    sink.wait_for("ready");
    let mut sources = [
        HERE.peer(&["source", &bridge.there, "200000", "64"]),
        HERE.peer(&["source", &bridge.there, "3000", "65535"]),
        HERE.peer(&["source", &bridge.there, "20000", "1000"]),
    ];
    for source in &mut sources {
        source.finish();
    }
    let mut counts: Vec<u64> = (0..3)
        .map(|_| {
            let line = sink.wait_for("gone PeerLeft");
            assert!(line.contains(" 0 missing, 0 wrong"), "{line}");
            number_before(&line, "messages") as u64
        })
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [3000, 20_000, 200_000]);
}

#[test]
fn a_file_arrives_as_it_is() {
    let bridge = Bridge::start("file", &[], &["--sync"]);
    let folder = std::env::temp_dir();
    let (input, output) = (folder.join(unique("in")), folder.join(unique("out")));
    let bytes: Vec<u8> = (0..20_000_003_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&input, &bytes).expect("a temporary file");
    let mut sender = HERE.example("send_file", &["--send", &bridge.here, input.to_str().unwrap()]);
    sender.wait_for("waiting for a receiver");
    HERE.example("send_file", &["--receive", &bridge.there, output.to_str().unwrap()]).finish();
    println!("{}", sender.finish());
    let same = std::fs::read(&output).expect("the file was stored") == bytes;
    let _ = (std::fs::remove_file(&input), std::fs::remove_file(&output));
    assert!(same, "the file differs");
}

#[test]
fn long_and_empty_messages_pass_if_both_channels_carry_them() {
    let sizes = ["--ring-size", "16777216", "--max-message-size", "4000000"];
    let bridge = Bridge::start("long", &[], &sizes);
    let options = ServerOptions::new().ring_size(16 << 20).max_message_size(4_000_000);
    let mut server = options.start(&bridge.here).expect("a server");
    let client = bridge.client();
    server.wait_for_client(Some(PATIENCE)).expect("the bridge connects");
    let mut message = Vec::new();
    for size in [0, 1, 2, 61_432, 61_433, 100_000, 4_000_000] {
        let sent = vec![size as u8; size];
        client.send_to_server_timeout(&sent, Some(PATIENCE)).expect("room");
        server.receive_from_client_timeout(&mut message, Some(PATIENCE)).expect("the message");
        assert!(message == sent, "{size} bytes to the server");
        server.send_to_client_timeout(&sent, Some(PATIENCE)).expect("room");
        client.receive_from_server_timeout(&mut message, Some(PATIENCE)).expect("the message");
        assert!(message == sent, "{size} bytes to the client");
    }
}

#[test]
fn channels_of_different_limits_are_refused_with_both_numbers() {
    let bridge = Bridge::start("limits", &[], &["--ring-size", "65536"]);
    let _server = MultiServer::builder(&bridge.here).start().expect("a server");
    let line = bridge.end_of_client();
    assert!(
        line.contains("65535") && line.contains("32760") && line.contains("--max-message-size"),
        "{line}"
    );
}

#[test]
fn a_message_that_the_other_channel_refuses_ends_the_session_with_a_reason() {
    // Only the imported channel carries messages of one byte.
    let bridge = Bridge::start("short", &[], &["--max-message-size", "65535"]);
    let _server = MultiServer::builder(&bridge.here).start().expect("a server");
    let client = bridge.client();
    client.send_to_server(b"x").expect("room");
    assert_eq!(time_to_end(&client).1, ShmError::NotConnected);
    let line = bridge.import.wait_for("session ended");
    assert!(line.contains("limit") && line.contains("1 bytes"), "{line}");
}

#[test]
fn a_slow_server_holds_up_the_client() {
    let bridge = Bridge::start(
        "slow",
        &["--window", "100000", "--chunk", "20000"],
        &["--window", "100000", "--chunk", "20000"],
    );
    let sink = HERE.peer(&["sink", &bridge.here, "1"]);
    sink.wait_for("ready");
    let started = Instant::now();
    let mut source = HERE.peer(&["source", &bridge.there, "2000", "8000"]);
    source.finish();
    // Two rings with 250 messages each, and the window and the buffers between them: the others had to wait.
    assert!(started.elapsed() > Duration::from_millis(1200), "{:?}", started.elapsed());
    let line = sink.wait_for("gone PeerLeft");
    assert!(line.contains("2000 messages") && line.contains(" 0 missing, 0 wrong"), "{line}");
}

/// The pieces of a message come in several chunks. The last of them finds the ring full.
#[test]
fn long_messages_in_several_chunks_wait_for_a_slow_server() {
    let small = ["--window", "100000", "--chunk", "20000"];
    let bridge = Bridge::start("pieces", &small, &small);
    let sink = HERE.peer(&["sink", &bridge.here, "3"]);
    sink.wait_for("ready");
    HERE.peer(&["source", &bridge.there, "400", "65535"]).finish();
    let line = sink.wait_for("gone PeerLeft");
    assert!(line.contains("400 messages") && line.contains(" 0 missing, 0 wrong"), "{line}");
    for bridge in [&bridge.export, &bridge.import] {
        assert!(!bridge.log().contains("panicked"), "{}", bridge.log());
    }
}

/// The bridges have windows of very different sizes: the smaller one counts, and the reports suit it.
#[test]
fn the_smaller_window_counts_without_pauses() {
    let bridge =
        Bridge::start("windows", &["--window", "67108864"], &["--window", "65536", "--chunk", "16384"]);
    let sink = HERE.peer(&["sink", &bridge.here]);
    sink.wait_for("ready");
    let started = Instant::now();
    HERE.peer(&["source", &bridge.there, "4000", "8000"]).finish();
    // 500 windows. If the reports came every 250 ms only, this would take two minutes.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let line = sink.wait_for("gone PeerLeft");
    assert!(line.contains("4000 messages") && line.contains(" 0 missing, 0 wrong"), "{line}");
}

#[test]
fn evictions_are_counted_on_both_sides() {
    let (export_page, import_page) = (free_port(), free_port());
    let (export_metrics, import_metrics) =
        (format!("127.0.0.1:{export_page}"), format!("127.0.0.1:{import_page}"));
    let bridge = Bridge::start(
        "evict",
        &["--when-full", "evict", "--metrics", &export_metrics],
        &["--metrics", &import_metrics],
    );
    let sink = HERE.peer(&["sink", &bridge.here, "1"]);
    sink.wait_for("ready");
    let mut source = HERE.peer(&["source", &bridge.there, "5000", "100"]);
    source.finish();
    let line = sink.wait_for("gone PeerLeft");
    let (came, missing) = (number_before(&line, "messages") as u64, number_before(&line, "missing") as u64);
    assert!(line.contains(" 0 wrong") && missing > 1000, "{line}");
    assert_eq!(came + missing, 5000, "the newest message is not lost: {line}");
    assert_eq!(metric(&HERE, export_page, "evicted_by_bridge_total"), missing, "{line}");
    assert_eq!(metric(&HERE, import_page, "evicted_by_other_bridge_total"), missing, "{line}");
    assert_eq!(metric(&HERE, import_page, "sent_messages_total"), 5000);
}

#[test]
fn a_sender_that_evicts_loses_what_the_network_does_not_take() {
    let page = free_port();
    let address = format!("127.0.0.1:{page}");
    let options = ["--window", "100000", "--chunk", "20000", "--metrics", &address];
    let bridge = Bridge::start("source", &["--window", "100000", "--chunk", "20000"], &options);
    let sink = HERE.peer(&["sink", &bridge.here, "1"]);
    sink.wait_for("ready");
    let mut source = HERE.peer(&["source", &bridge.there, "4000", "8000", "evict"]);
    let evicted =
        number_before(&source.finish().replace("evicted ", "").replace("messages,", "messages"), "messages");
    assert_eq!(evicted, 4000.0);
    let line = sink.wait_for("gone PeerLeft");
    let missing = number_before(&line, "missing") as u64;
    assert!(missing > 500 && line.contains(" 0 wrong"), "{line}");
    assert_eq!(metric(&HERE, page, "evicted_by_source_total"), missing, "{line}");
}

#[test]
fn a_killed_client_is_noticed() {
    let bridge = Bridge::start("client-dies", &[], &[]);
    let server = HERE.peer(&["echo-server", &bridge.here, "sync"]);
    server.wait_for("ready");
    let mut client = bridge.hold();
    thread::sleep(Duration::from_millis(200));
    client.kill();
    server.wait_within("client gone", NOTICE);
    let line = bridge.export.wait_for("session ended");
    assert!(line.contains("died"), "{line}");
    // The next client is served.
    HERE.peer(&["echo-client", &bridge.there, "10", "64"]).finish();
}

#[test]
fn a_killed_server_is_noticed_and_its_successor_serves() {
    let bridge = Bridge::start("server-dies", &[], &[]);
    let mut server = HERE.peer(&["echo-server", &bridge.here]);
    server.wait_for("ready");
    let client = bridge.hold();
    server.kill();
    client.wait_within("ended after", NOTICE);
    let line = bridge.import.wait_for("session ended");
    assert!(line.contains("died"), "{line}");
    let server = HERE.peer(&["echo-server", &bridge.here]);
    server.wait_for("ready");
    HERE.peer(&["echo-client", &bridge.there, "10", "64"]).finish();
}

#[test]
fn killed_bridges_are_noticed_and_their_successors_serve() {
    let mut bridge = Bridge::start("bridge-dies", &[], &[]);
    let server = HERE.peer(&["echo-server", &bridge.here, "sync"]);
    server.wait_for("ready");
    // The exporting bridge.
    let client = bridge.hold();
    bridge.export.kill();
    client.wait_within("ended after", NOTICE);
    server.wait_within("client gone", NOTICE);
    let line = bridge.import.wait_for("session ended");
    assert!(line.contains("unreachable"), "{line}");
    bridge.import.wait_for("accepts no clients");
    assert!(
        SharedClient::connect(&bridge.there, Duration::from_secs(3)).is_err(),
        "no exporting bridge is there"
    );
    bridge.export = export(&bridge.here, &bridge.key, bridge.port, &[]);
    HERE.peer(&["echo-client", &bridge.there, "10", "64"]).finish();
    server.wait_for("client gone");
    // The importing bridge.
    let client = bridge.hold();
    bridge.import.kill();
    client.wait_within("ended after", NOTICE);
    server.wait_within("client gone", NOTICE);
    bridge.import = import(&bridge.there, &bridge.key, bridge.port, &[]);
    HERE.peer(&["echo-client", &bridge.there, "10", "64"]).finish();
}

/// Unix has a signal that freezes a process.
#[cfg(unix)]
#[test]
fn a_frozen_bridge_ends_the_sessions_after_the_lease() {
    let bridge = Bridge::start("freeze", &[], &[]);
    let server = HERE.peer(&["echo-server", &bridge.here, "sync"]);
    server.wait_for("ready");
    let client = bridge.hold();
    bridge.import.signal("-STOP");
    server.wait_within("client gone", NOTICE + Duration::from_millis(300));
    let line = bridge.export.wait_for("session ended");
    assert!(line.contains("unreachable"), "{line}");
    bridge.import.signal("-CONT");
    client.wait_within("ended after", NOTICE);
    HERE.peer(&["echo-client", &bridge.there, "10", "64"]).finish();
}

#[test]
fn a_second_exporting_bridge_takes_over() {
    let (names, there, key) = ([unique("first"), unique("second")], unique("two"), unique("two"));
    let ports = [free_port(), free_port()];
    let servers = [HERE.peer(&["echo-server", &names[0]]), HERE.peer(&["echo-server", &names[1]])];
    for server in &servers {
        server.wait_for("ready");
    }
    let mut exports = [export(&names[0], &key, ports[0], &[]), export(&names[1], &key, ports[1], &[])];
    let import = import(&there, &key, ports[0], &["--connect", &format!("tcp/127.0.0.1:{}", ports[1])]);
    import.wait_for("several bridges export under this key");
    HERE.peer(&["echo-client", &there, "10", "64"]).finish();
    HERE.peer(&["echo-client", &there, "10", "64"]).finish();
    let opened = exports.each_ref().map(|export| export.log().matches("session opened").count());
    assert!(opened == [2, 0] || opened == [0, 2], "one of the bridges has all sessions: {opened:?}");
    let used = opened.iter().position(|count| *count > 0).expect("one has the sessions");
    exports[used].kill();
    import.wait_for("change=\"went\"");
    HERE.peer(&["echo-client", &there, "10", "64"]).finish();
    exports[1 - used].wait_for("session opened");
}

#[test]
fn without_a_server_a_client_is_refused_with_a_reason() {
    let bridge = Bridge::start("no-server", &["--connect-timeout-ms", "300"], &[]);
    let line = bridge.end_of_client();
    assert!(line.contains("refused") && line.contains("no server has the name"), "{line}");
}

#[test]
fn a_client_over_the_imports_limit_is_refused() {
    let bridge = Bridge::start("clients", &[], &["--max-clients", "1"]);
    let server = HERE.peer(&["echo-server", &bridge.here]);
    server.wait_for("ready");
    let _first = bridge.hold();
    let second = SharedClient::connect(&bridge.there, PATIENCE);
    assert!(matches!(second, Err(ShmError::NoFreeSlot)), "{:?}", second.err());
}

#[test]
fn a_bridge_without_a_connection_says_so() {
    let connect = format!("tcp/127.0.0.1:{}", free_port());
    let export = HERE.bridge(&["export", &unique("alone"), "--key", "test/alone", "--connect", &connect]);
    export.wait_for("Zenoh has no connection yet");
    assert!(!export.log().contains("Scouting delay"), "{}", export.log());
}

/// Runs the program, which fails with a text that contains a part. Returns the text.
fn failure(arguments: &[&str], part: &str) -> String {
    let output = std::process::Command::new(common::bridge_program()).args(arguments).output();
    let output = output.expect("the program runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains(part), "{arguments:?}: {text}");
    text
}

/// Each line of the log is JSON, the reason of a failure too.
#[test]
fn a_log_in_json_has_the_failure() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    let arguments = ["export", "a", "--key", "a", "--metrics", &address, "--log-format", "json"];
    let text = failure(&arguments, &address);
    assert!(text.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{text}");
}

#[test]
fn an_import_without_an_export_says_so() {
    let import = import(&unique("alone"), "test/alone", free_port(), &[]);
    import.wait_for("no exporting bridge is reachable yet");
}

#[test]
fn a_client_that_waits_for_a_server_gets_the_reason_within_the_imports_time() {
    let options = (["--connect-timeout-ms", "60000"], ["--open-timeout-ms", "1000"]);
    let bridge = Bridge::start("late-server", &options.0, &options.1);
    let line = bridge.end_of_client();
    assert!(line.contains("refused") && line.contains("no server has the name"), "{line}");
}

#[test]
fn a_session_over_the_exports_limit_is_refused_with_the_option() {
    let bridge = Bridge::start("most", &["--max-sessions", "2"], &[]);
    let server = HERE.peer(&["echo-server", &bridge.here]);
    server.wait_for("ready");
    let (_first, second) = (bridge.hold(), bridge.hold());
    let line = bridge.end_of_client();
    assert!(line.contains("refused") && line.contains("--max-sessions"), "{line}");
    // The end of a session makes room for another one.
    drop(second);
    bridge.export.wait_for("session ended");
    HERE.peer(&["echo-client", &bridge.there, "10", "64"]).finish();
}

#[test]
fn the_imported_name_exists_while_an_exporting_bridge_is_reachable() {
    let (here, there, port) = (unique("late"), unique("late"), free_port());
    let import = import(&there, "test/late", port, &[]);
    let early = SharedClient::connect(&there, Duration::from_millis(300));
    assert!(matches!(early, Err(ShmError::NoServer { .. })), "{:?}", early.err());
    let _server = MultiServer::builder(&here).start().expect("a server");
    let mut export = export(&here, "test/late", port, &[]);
    // A client that waits meanwhile is served.
    let client = SharedClient::connect(&there, PATIENCE).expect("the imported channel accepts");
    import.wait_for("session opened");
    export.stop();
    let (time, end) = time_to_end(&client);
    assert_eq!(end, ShmError::NotConnected);
    assert!(time < NOTICE, "{time:?}");
}

#[test]
fn an_import_that_starts_accepts_no_client_before_an_export_is_there() {
    let (here, there, port) = (unique("wait"), unique("wait"), free_port());
    let waiting = {
        let there = there.clone();
        thread::spawn(move || SharedClient::connect(&there, PATIENCE))
    };
    for _ in 0..5 {
        import(&there, "test/wait", port, &[]).stop();
    }
    let import = import(&there, "test/wait", port, &[]);
    assert!(!waiting.is_finished(), "{:?}", waiting.join().map(|connected| connected.err()));
    let server = HERE.peer(&["echo-server", &here]);
    server.wait_for("ready");
    let _export = export(&here, "test/wait", port, &[]);
    let client = waiting.join().expect("no panic").expect("the imported channel accepts");
    client.send_to_server_timeout(b"hello", Some(PATIENCE)).expect("room");
    let mut answer = Vec::new();
    client.receive_from_server_timeout(&mut answer, Some(PATIENCE)).expect("the answer");
    assert_eq!(answer, b"hello", "{}", import.log());
}

/// The bridges that a test stops: one of the two, or both at the same time.
#[cfg(unix)]
struct Stopped<'a>(Vec<&'a Process>);

#[cfg(unix)]
impl Stopped<'_> {
    fn begin(&self) {
        self.0.iter().for_each(|bridge| bridge.signal("-TERM"));
    }
}

/// Runs a test for each choice of the bridges that it stops. They end well, and both have a cause in order.
#[cfg(unix)]
fn for_each_stopped(name: &str, import_options: &[&str], test: impl Fn(&Bridge, &Stopped)) {
    for (export_stops, import_stops) in [(true, false), (false, true), (true, true)] {
        let grace = ["--grace-ms", "20000"];
        let mut bridge = Bridge::start(name, &grace, &[&grace, import_options].concat());
        let stopped = [(&bridge.export, export_stops), (&bridge.import, import_stops)];
        let stopped = stopped.into_iter().filter_map(|(bridge, stops)| stops.then_some(bridge));
        test(&bridge, &Stopped(stopped.collect()));
        for (bridge, stops) in [(&mut bridge.export, export_stops), (&mut bridge.import, import_stops)] {
            if stops {
                bridge.finish();
            }
            let line = bridge.wait_for("session ended");
            assert!(
                ["cause=\"stopped\"", "cause=\"left\""].iter().any(|cause| line.contains(cause)),
                "{line}"
            );
        }
    }
}

#[cfg(unix)]
#[test]
fn a_stop_delivers_what_was_sent_in_both_directions() {
    for options in [&[][..], &["--sync"]] {
        for_each_stopped("stop", options, |bridge, stopped| {
            let (server, client) = bridge.connected();
            for number in 0..200_u32 {
                client.send_to_server_timeout(&number.to_le_bytes(), Some(PATIENCE)).expect("room");
                server.send_to_client_timeout(&number.to_le_bytes(), Some(PATIENCE)).expect("room");
            }
            stopped.begin();
            let mut message = Vec::new();
            for number in 0..200_u32 {
                client.receive_from_server_timeout(&mut message, Some(PATIENCE)).expect("the message");
                assert_eq!(message, number.to_le_bytes());
                server.receive_from_client_timeout(&mut message, Some(PATIENCE)).expect("the message");
                assert_eq!(message, number.to_le_bytes());
            }
            assert_eq!(time_to_end(&client).1, ShmError::NotConnected);
            let end = server.receive_from_client_timeout(&mut message, Some(PATIENCE));
            assert_eq!(end.expect_err("the session is over"), ShmError::NotConnected);
        });
    }
}

/// The messages are in the rings, in both bridges and on the way when the stop comes.
#[cfg(unix)]
#[test]
fn a_stop_delivers_what_waits_for_room_to_a_slow_server() {
    for options in [&[][..], &["--sync"]] {
        for_each_stopped("slow", options, |bridge, stopped| {
            let sink = HERE.peer(&["sink", &bridge.here, "2", "20"]);
            sink.wait_for("ready");
            HERE.peer(&["source", &bridge.there, "300", "10000"]).finish();
            stopped.begin();
            let line = sink.wait_for("gone");
            assert!(line.contains("300 messages") && line.contains(" 0 missing, 0 wrong"), "{line}");
        });
    }
}

#[cfg(unix)]
#[test]
fn a_stop_delivers_what_waits_for_room_to_a_slow_client() {
    for options in [&[][..], &["--sync"]] {
        for_each_stopped("slow", options, |bridge, stopped| {
            let (server, client) = bridge.connected();
            for number in 0..300_u32 {
                server
                    .send_to_client_timeout(&number.to_le_bytes().repeat(2500), Some(PATIENCE))
                    .expect("room");
            }
            stopped.begin();
            let mut message = Vec::new();
            for number in 0..300_u32 {
                thread::sleep(Duration::from_millis(2));
                client.receive_from_server_timeout(&mut message, Some(PATIENCE)).expect("the message");
                assert_eq!(message, number.to_le_bytes().repeat(2500));
            }
            assert_eq!(time_to_end(&client).1, ShmError::NotConnected);
        });
    }
}

/// Both peers send all the time, so no ring becomes empty by itself.
#[cfg(unix)]
#[test]
fn a_stop_ends_peers_that_send_all_the_time() {
    for options in [&[][..], &["--sync"]] {
        for_each_stopped("flood", options, |bridge, stopped| {
            let server = HERE.peer(&["duplex-server", &bridge.here]);
            server.wait_for("ready");
            let (mut sender, mut receiver) = bridge.client().into_split().expect("no other half");
            let sent = Arc::new(AtomicU64::new(0));
            let counted = sent.clone();
            let sending = thread::spawn(move || {
                while sender.send_timeout(&numbered(counted.load(Ordering::Relaxed)), Some(PATIENCE)).is_ok()
                {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            });
            let (mut message, mut count, mut stopped_at) = (Vec::new(), 0_u64, None);
            let mut sent_before = 0;
            while receiver.receive_timeout(&mut message, Some(PATIENCE)).is_ok() {
                assert_eq!(message[..8], count.to_le_bytes());
                count += 1;
                if count == 1000 {
                    sent_before = sent.load(Ordering::Relaxed);
                    stopped.begin();
                    stopped_at = Some(Instant::now());
                }
            }
            let time = stopped_at.expect("1000 messages came").elapsed();
            assert!(time < Duration::from_secs(5), "{time:?}");
            sending.join().expect("no panic");
            let line = server.wait_for("gone");
            // What the client sends after the stop may come too late.
            let arrived = number_before(&line, "messages") as u64;
            assert!(arrived >= sent_before, "{line}; {sent_before} were sent before the stop");
            assert!(!server.log().contains("wrong"), "{}", server.log());
        });
    }
}

/// A message of the peers `duplex-server` and `duplex-client`.
#[cfg(unix)]
fn numbered(number: u64) -> Vec<u8> {
    let mut message = vec![number as u8; 200];
    message[..8].copy_from_slice(&number.to_le_bytes());
    message
}

/// What the local peer never takes is given up after the grace time, and the log has the bytes.
#[cfg(unix)]
#[test]
fn a_stop_gives_up_after_the_grace_time() {
    for (export_stops, import_options) in [(true, &[][..]), (false, &[]), (false, &["--sync"])] {
        let grace = ["--grace-ms", "500"];
        let mut bridge = Bridge::start("grace", &grace, &[&grace, import_options].concat());
        let (server, client) = bridge.connected();
        for _ in 0..300 {
            server.send_to_client_timeout(&[7; 10_000], Some(PATIENCE)).expect("room");
        }
        let stopped = if export_stops { &mut bridge.export } else { &mut bridge.import };
        let started = Instant::now();
        stopped.stop();
        let time = started.elapsed();
        assert!((Duration::from_millis(500)..Duration::from_secs(3)).contains(&time), "{time:?}");
        for bridge in [&bridge.export, &bridge.import] {
            let line = bridge.wait_for("session ended");
            assert!(line.contains("stopped") && line.contains("within its 500 ms (--grace-ms)"), "{line}");
            let undelivered = number_before(&line, "bytes");
            assert!((500_000.0..3_100_000.0).contains(&undelivered), "{line}");
        }
        assert_eq!(time_to_end(&client).1, ShmError::NotConnected);
    }
}

/// No server is there, so the client's session is not open when the stop comes.
#[cfg(unix)]
#[test]
fn a_stop_refuses_the_sessions_that_are_being_opened() {
    for (export_stops, import_options) in
        [(true, &[][..]), (false, &[]), (true, &["--sync"]), (false, &["--sync"])]
    {
        let page = free_port();
        let options = ["--open-timeout-ms", "30000", "--metrics", &format!("127.0.0.1:{page}")];
        let options = [&options, import_options].concat();
        let mut bridge = Bridge::start("opening", &["--connect-timeout-ms", "30000"], &options);
        let client = bridge.client();
        while metric(&HERE, page, "sessions") == 0 {
            thread::sleep(Duration::from_millis(2));
        }
        let stopped = if export_stops { &mut bridge.export } else { &mut bridge.import };
        stopped.signal("-TERM");
        let (time, end) = time_to_end(&client);
        assert_eq!(end, ShmError::NotConnected);
        assert!(time < Duration::from_secs(1), "{time:?}");
        stopped.wait(Duration::from_secs(2));
        stopped.finish();
        let line = bridge.import.wait_for("session ended");
        let bridge_in_text =
            if export_stops { "the exporting bridge" } else { "the importing bridge was stopped" };
        assert!(line.contains(bridge_in_text) && !line.contains("within"), "{line}");
        // The session is not opened later.
        let mut server = SharedServer::start(&bridge.here).expect("a server");
        let came = server.wait_for_client(Some(Duration::from_millis(500)));
        assert_eq!(came.expect_err("no client is there"), ShmError::Timeout);
    }
}

/// Anybody can connect to the port, and send nothing.
#[cfg(unix)]
#[test]
fn a_silent_connection_holds_up_no_stop() {
    let mut bridge = Bridge::start("silent", &[], &[]);
    let silent = std::net::TcpStream::connect(("127.0.0.1", bridge.port)).expect("the port accepts");
    bridge.export.signal("-TERM");
    assert!(bridge.export.wait(Duration::from_secs(3)).success(), "{}", bridge.export.log());
    drop(silent);
}

/// The end of one session does not touch the next one.
#[test]
fn clients_one_after_the_other_are_all_served() {
    let bridge = Bridge::start("turns", &[], &["--sync"]);
    let server = HERE.peer(&["echo-server", &bridge.here]);
    server.wait_for("ready");
    let there = &bridge.there;
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut answer = Vec::new();
                for number in 0..60_u32 {
                    let client = SharedClient::connect(there, PATIENCE).expect("the channel accepts");
                    for _ in 0..3 {
                        client.send_to_server_timeout(&number.to_le_bytes(), Some(PATIENCE)).expect("room");
                        client.receive_from_server_timeout(&mut answer, Some(PATIENCE)).expect("the answer");
                        assert_eq!(answer, number.to_le_bytes());
                    }
                }
            });
        }
    });
}

#[test]
fn a_configuration_file_runs_several_channels() {
    let (port, page) = (free_port(), free_port());
    let (a, b) = (unique("file-a"), unique("file-b"));
    let (a_there, b_there) = (unique("file-a"), unique("file-b"));
    let file = |name: &str, text: String| {
        let path = std::env::temp_dir().join(unique(name));
        std::fs::write(&path, text).expect("a temporary file");
        path
    };
    let exports = file(
        "exports",
        format!(
            "[network]\nlisten = ['tcp/127.0.0.1:{port}']\n[observe]\nmetrics = '127.0.0.1:{page}'\nlog_format = 'json'\n\
             [[export]]\nname = '{a}'\nkey = 'test/{a}'\n[[export]]\nname = '{b}'\nkey = 'test/{b}'\n"
        ),
    );
    let imports = file(
        "imports",
        format!(
            "[network]\nconnect = ['tcp/127.0.0.1:{port}']\n\
             [[import]]\nname = '{a_there}'\nkey = 'test/{a}'\n[[import]]\nname = '{b_there}'\nkey = 'test/{b}'\nsync = true\n"
        ),
    );
    let checked = std::process::Command::new(common::bridge_program())
        .args(["run", "--check", imports.to_str().unwrap()])
        .output()
        .expect("the program runs");
    assert_eq!(String::from_utf8_lossy(&checked.stdout), "the options are right; exports: 0, imports: 2\n");
    let servers = [HERE.peer(&["echo-server", &a]), HERE.peer(&["echo-server", &b])];
    for server in &servers {
        server.wait_for("ready");
    }
    let exporting = HERE.bridge(&["run", exports.to_str().unwrap()]);
    let line = exporting.wait_for("\"exports\"");
    assert!(line.starts_with('{'), "{line}");
    let mut importing = HERE.bridge(&["run", imports.to_str().unwrap()]);
    HERE.peer(&["echo-client", &a_there, "50", "64"]).finish();
    HERE.peer(&["echo-client", &b_there, "50", "64"]).finish();
    let text = metrics(&HERE, page);
    for name in [&a, &b] {
        let line =
            format!("sent_messages_total{{role=\"export\",channel=\"{name}\",key=\"test/{name}\"}} 50\n");
        assert!(text.contains(&line), "{text}");
    }
    importing.stop();
    let _ = (std::fs::remove_file(&exports), std::fs::remove_file(&imports));
}

#[test]
fn wrong_arguments_are_refused_with_the_option() {
    let refused = |arguments: &[&str], part: &str| {
        failure(arguments, part);
    };
    refused(&["export", "a"], "--key");
    refused(&["export", "a", "--key", "a/**", "--no-multicast"], "wildcard");
    refused(&["import", "a", "--key", "a", "--ring-size", "1000", "--no-multicast"], "ring_size");
    refused(&["import", "a", "--key", "a", "--connect", "nonsense", "--no-multicast"], "the option connect");
    refused(&["import", "a", "--key", "a", "--max-clients", "0", "--no-multicast"], "max_clients");
    refused(&["export", "a", "--key", "a", "--max-sessions", "0", "--no-multicast"], "max-sessions");
    refused(&["export", "a", "--key", "a", "--zenoh-config", "/no/such/file.json5"], "/no/such/file.json5");
    refused(&["run", "/no/such/file"], "/no/such/file");
    // An option of the program stands behind the command, so that none is given in two places.
    refused(&["--listen", "tcp/127.0.0.1:1", "export", "a", "--key", "a"], "--listen");
    // A check has the options of the command line too.
    let packaged = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/xshm-bridge.toml");
    refused(&["run", "--check", packaged, "--connect", "nonsense"], "the option connect");
    refused(&["run", "--check", packaged, "--log", "=,="], "the log's filter");
    let taken = unique("taken");
    let _server = SharedServer::start(&taken).expect("a server");
    refused(&["import", &taken, "--key", "a", "--no-multicast"], "taken by a running server");
}

#[test]
fn a_client_that_takes_nothing_holds_up_no_other() {
    let bridge = Bridge::start("stalled", &[], &["--max-clients", "4"]);
    let (sender, slots) = mpsc::channel();
    let server = MultiServer::builder(&bridge.here)
        .on_message(move |client, bytes| {
            if bytes == b"flood" {
                let client = client.clone();
                thread::spawn(move || while client.send_timeout(&[1; 50_000], Some(PATIENCE)).is_ok() {});
                sender.send(()).expect("the test waits");
            } else {
                client.send(bytes).expect("the client lives");
            }
        })
        .start()
        .expect("a server");
    let stalled = bridge.client();
    stalled.send_to_server(b"flood").expect("room");
    slots.recv_timeout(PATIENCE).expect("the message arrives");
    thread::sleep(Duration::from_millis(1500));
    HERE.peer(&["echo-client", &bridge.there, "100", "64"]).finish();
    assert!(stalled.is_connected());
    drop(server);
}

/// Reads a configuration file of the package.
fn packaged(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(file);
    std::fs::read_to_string(path).expect("the file of the package")
}

/// Both bridges connect to a router only, with the configuration file of `packaging/`.
#[test]
fn bridges_reach_each_other_through_a_router() {
    let (here, there, key, port) = (unique("routed"), unique("routed"), unique("routed"), free_port());
    let endpoint = format!("tcp/127.0.0.1:{port}");
    let text = packaged("zenoh-client.json5");
    let config = std::env::temp_dir().join(format!("{}.json5", unique("client")));
    std::fs::write(&config, text.replace("tcp/router.example:7447", &endpoint)).expect("a temporary file");
    let options = ["--key", &key, "--zenoh-config", config.to_str().unwrap()];
    // The import starts before the router. A bridge that still waits can be stopped.
    let import = HERE.bridge(&[&["import", &there], &options[..]].concat());
    let mut stopped = HERE.bridge(&[&["import", &unique("routed")], &options[..]].concat());
    for bridge in [&import, &stopped] {
        bridge.wait_for("Zenoh is not connected yet");
    }
    stopped.stop();
    let start_router = || {
        let router = HERE.peer(&["zenoh-router", &endpoint]);
        router.wait_for("ready");
        router
    };
    let mut router = start_router();
    let server = HERE.peer(&["echo-server", &here]);
    server.wait_for("ready");
    let _export = HERE.bridge(&[&["export", &here], &options[..]].concat());
    HERE.peer(&["echo-client", &there, "100", "60000"]).finish();
    let client = HERE.peer(&["hold", &there]);
    import.wait_for(&format!("client_process={}", client.pid()));
    router.kill();
    client.wait_within("ended after", NOTICE);
    let line = import.wait_for("session ended");
    assert!(line.contains("unreachable"), "{line}");
    let _router = start_router();
    HERE.peer(&["echo-client", &there, "100", "60000"]).finish();
    let _ = std::fs::remove_file(&config);
}

/// Makes a certificate authority in a folder, and certificates of it: that of the server is for `localhost`.
fn make_certificates(folder: &Path, names: &[&str]) {
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("a temporary file");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "an authority for this test");
    let issuer =
        CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("a certificate");
    write("ca.pem", issuer.pem());
    for name in names {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, *name);
        write(&format!("{name}.pem"), params.signed_by(&key, &issuer).expect("a certificate").pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

/// The configuration files of `packaging/`, with the folder and the port of a test.
#[test]
fn only_bridges_with_a_permitted_certificate_reach_an_export() {
    let folder = std::env::temp_dir().join(unique("tls"));
    std::fs::create_dir(&folder).expect("a temporary folder");
    make_certificates(&folder, &["server", "line-1", "line-3"]);
    let (port, key) = (free_port(), "plant/press-3");
    let config = |name: &str, file: &str, change: &dyn Fn(String) -> String| {
        let text = packaged(file);
        // A backslash begins an escape in JSON5.
        let here = folder.to_str().unwrap().replace('\\', "/");
        let endpoint = format!("tls/localhost:{port}");
        let text = text.replace("/etc/xshm-bridge", &here).replace("tls/0.0.0.0:7447", &endpoint);
        let path = folder.join(name);
        std::fs::write(&path, change(text.replace("tls/server.example:7447", &endpoint))).expect("a file");
        path.to_str().unwrap().to_owned()
    };
    let here = unique("tls");
    let server = HERE.peer(&["echo-server", &here]);
    server.wait_for("ready");
    let listen = config("export.json5", "zenoh-export.json5", &|text| text);
    let export = HERE.bridge(&["export", &here, "--key", key, "--zenoh-config", &listen]);
    export.wait_for("exports");
    let import = |config: &str| {
        let there = unique("tls");
        (HERE.bridge(&["import", &there, "--key", key, "--zenoh-config", config]), there)
    };
    let connect = "zenoh-import.json5";
    let permitted = config("line-1.json5", connect, &|text| text);
    let other = config("line-3.json5", connect, &|text| text.replace("line-1", "line-3"));
    let without = config("without.json5", connect, &|text| {
        let is_kept = |line: &&str| !line.contains("connect_") && !line.contains("enable_mtls");
        text.lines().filter(is_kept).collect::<Vec<_>>().join("\n")
    });
    let (_import, there) = import(&permitted);
    let strangers = [import(&other), import(&without)];
    HERE.peer(&["echo-client", &there, "50", "64"]).finish();
    for (bridge, name) in &strangers {
        let refused = SharedClient::connect(name, Duration::from_secs(1));
        assert!(matches!(refused, Err(ShmError::NoServer { .. })), "{:?}\n{}", refused.err(), bridge.log());
    }
    // Later clients of the permitted bridge are served as before.
    HERE.peer(&["echo-client", &there, "50", "64"]).finish();
    let _ = std::fs::remove_dir_all(&folder);
}
