//! The bridge as a library: an export and an import in one program, each over a Zenoh session of its own.

mod common;

use common::{free_port, unique, NOTICE, PATIENCE};
use std::time::{Duration, Instant};
use xshm::{MultiServer, SharedClient, ShmError};
use xshm_bridge::{Export, ExportOptions, Import, ImportOptions, NetworkOptions};
use zenoh::Wait;

fn open(options: NetworkOptions) -> zenoh::Session {
    let options = NetworkOptions { no_multicast: true, ..options };
    zenoh::open(options.zenoh().expect("the options are right")).wait().expect("a session of Zenoh")
}

/// Connects, and checks that each of many messages has its answer.
fn client_of_echo(name: &str) -> SharedClient {
    let client = SharedClient::connect(name, PATIENCE).expect("the import accepts");
    let mut answer = Vec::new();
    for number in 0..1000_u32 {
        client.send_to_server_timeout(&number.to_le_bytes(), Some(PATIENCE)).expect("room");
        client.receive_from_server_timeout(&mut answer, Some(PATIENCE)).expect("the answer");
        assert_eq!(answer, number.to_le_bytes());
    }
    client
}

fn end_of(client: &SharedClient) -> ShmError {
    client.receive_from_server_timeout(&mut Vec::new(), Some(PATIENCE)).expect_err("the session is over")
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < NOTICE, "{what}: not within {NOTICE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_export_and_an_import_of_one_program_carry_messages_and_stop() {
    let (here, there, port) = (unique("library"), unique("library"), free_port());
    let endpoint = format!("tcp/127.0.0.1:{port}");
    let exporting = open(NetworkOptions { listen: vec![endpoint.clone()], ..NetworkOptions::default() });
    let importing = open(NetworkOptions { connect: vec![endpoint], ..NetworkOptions::default() });
    let _server = MultiServer::builder(&here)
        .on_message(|client, bytes| {
            // Fails if the client has just gone.
            let _ = client.send_timeout(bytes, None);
        })
        .start()
        .expect("a server");
    let mut export =
        Export::start(&exporting, ExportOptions::new(&here, "test/library")).expect("the export starts");
    let import_options = ImportOptions::new(&there, "test/library");
    let mut import = Import::start(&importing, import_options.clone()).expect("the import starts");

    let client = client_of_echo(&there);
    let second = client_of_echo(&there);
    assert_eq!((export.session_count(), import.session_count()), (2, 2));
    drop(second);
    wait_until("the end of a session", || export.session_count() == 1 && import.session_count() == 1);

    // A stop ends the sessions, and takes the name away.
    import.stop();
    assert_eq!(end_of(&client), ShmError::NotConnected);
    assert_eq!(import.session_count(), 0);
    wait_until("the end of the last session", || export.session_count() == 0);
    let late = SharedClient::connect(&there, Duration::from_millis(100));
    assert!(matches!(late, Err(ShmError::NoServer { .. })), "{:?}", late.err());

    // Another import may begin over the same session of Zenoh. The export's stop ends its sessions too.
    let import = Import::start(&importing, import_options).expect("the import starts again");
    let client = client_of_echo(&there);
    export.stop();
    assert_eq!(end_of(&client), ShmError::NotConnected);
    wait_until("the end of the session", || import.session_count() == 0);
}

#[test]
fn wrong_options_are_refused_before_anything_starts() {
    let zenoh = open(NetworkOptions::default());
    let refused = |error: Option<xshm_bridge::Error>, part: &str| {
        let text = error.expect("the option is wrong").to_string();
        assert!(text.contains(part), "{text}");
    };
    let mut export = ExportOptions::new("a", "test/**");
    refused(Export::start(&zenoh, export.clone()).err(), "wildcard");
    export.common.key = "test/a".into();
    export.common.window = 10;
    refused(Export::start(&zenoh, export).err(), "window");
    let mut import = ImportOptions::new(unique("options"), "test/a");
    import.ring_size = 1000;
    refused(Import::start(&zenoh, import).err(), "ring_size");
}
