//! `xshm tap` and `xshm replay`, as processes between others.

mod common;

use common::{name, noise, run, Ended, Xshm, LIMIT};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use xshm::{MultiClient, MultiOptions, ServerOptions, SharedClient, SharedServer, ShmError};

/// A folder for recordings, and the file of one.
fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recording.xshmrec");
    (folder, file)
}

fn as_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The lines of a tap without their times.
fn shown(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8(output.to_vec()).unwrap();
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

/// What a replay of one side sends.
fn replayed(recording: &Path, from: &str, more: &[&str]) -> (Ended, Vec<u8>) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = name(&format!("replayed-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    let replay = [&["replay", as_text(recording), &name, "--from", from], more].concat();
    let other = if from == "client" { "serve" } else { "connect" };
    let receiver = Xshm::start(&[other, &name, "--receive-only", "--format", "length"]);
    let replay = Xshm::start(&replay).until_end();
    // The receiver of a part does not take it for all.
    let receiver = receiver.until_end().assert_status(if replay.status == Some(0) { 0 } else { 5 });
    (replay, receiver.output)
}

/// Messages in the format `length`.
fn with_lengths(messages: &[&[u8]]) -> Vec<u8> {
    let one = |message: &&[u8]| [&(message.len() as u32).to_le_bytes()[..], message].concat();
    messages.iter().flat_map(one).collect()
}

#[test]
fn a_tap_shows_and_records_both_directions() {
    let (original, tapped) = (name("tap"), name("tap-new"));
    let (_folder, recording) = file();
    let mut server = Xshm::start(&["serve", &original]);
    let tap = Xshm::start(&["tap", &original, "--as", &tapped, "--record", as_text(&recording), "--once"]);
    let mut client = Xshm::start(&["connect", &tapped, "--linger", "0s"]);
    for number in 0..3 {
        client.write(format!("question {number}\n"));
        assert_eq!(server.line(), format!("question {number}"));
        server.write(format!("answer {number}\n"));
        assert_eq!(client.line(), format!("answer {number}"));
    }
    client.write("\n\tcontrol\x01\n");
    assert_eq!(server.line(), "");
    assert_eq!(server.line(), "\tcontrol\x01");
    client.end().assert(0, "");
    server.end().assert(0, "");
    let ended = tap.until_end();
    assert_eq!((ended.status, &ended.errors[..]), (Some(0), ""));
    let expected = [
        "0 -> 10 question 0",
        "0 <- 8 answer 0",
        "0 -> 10 question 1",
        "0 <- 8 answer 1",
        "0 -> 10 question 2",
        "0 <- 8 answer 2",
        "0 -> 0",
        "0 -> 9 09636f6e74726f6c01",
    ];
    assert_eq!(shown(&ended.output), expected);

    let (replay, sent) = replayed(&recording, "client", &[]);
    assert_eq!((replay.status, &replay.errors[..]), (Some(0), ""));
    let questions: [&[u8]; 5] = [b"question 0", b"question 1", b"question 2", b"", b"\tcontrol\x01"];
    assert_eq!(sent, with_lengths(&questions));
    let (replay, sent) = replayed(&recording, "server", &["--speed", "max"]);
    assert_eq!(replay.status, Some(0), "{}", replay.errors);
    assert_eq!(sent, with_lengths(&[b"answer 0", b"answer 1", b"answer 2"]));
    let (replay, sent) = replayed(&recording, "client", &["--client", "1"]);
    assert_eq!((replay.status, sent), (Some(1), Vec::new()));
    replay.says("no such message of client 1");
}

/// Both sides send as fast as they can, and neither reads before it has sent.
#[test]
fn a_tap_forwards_everything_unchanged() {
    let (original, tapped) = (name("bulk"), name("bulk-new"));
    let (there, back) = (noise(20_000_000), noise(5_000_000));
    let server = Xshm::with_input(&["serve", &original, "--format", "raw"], &there);
    let tap = Xshm::start(&["tap", &original, "--as", &tapped, "--print", "none", "--once"]);
    let mut client = Xshm::with_input(&["connect", &tapped, "--format", "raw"], &back);
    let mut received = Vec::new();
    while received.len() < there.len() {
        received.extend(client.bytes());
    }
    assert!(received == there);
    // It leaves only when the server has everything.
    let mut server = server;
    let mut received = Vec::new();
    while received.len() < back.len() {
        received.extend(server.bytes());
    }
    assert!(received == back);
    client.kill();
    tap.until_end().assert(5, "").says("the client died");
    server.until_end().assert(0, "");
}

/// What a client sends before it leaves arrives, although the server sends all the time.
#[test]
fn what_was_sent_before_the_end_arrives() {
    let (original, tapped) = (name("before-end"), name("before-end-new"));
    let mut server = SharedServer::start(&original).unwrap();
    let tap = Xshm::start(&["tap", &original, "--as", &tapped, "--print", "none", "--once"]);
    let lines: String = (10..3000).map(|number| format!("{number}\n")).collect();
    let client = Xshm::with_input(&["connect", &tapped, "--linger", "0s"], &lines);
    server.wait_for_client(Some(LIMIT)).unwrap();
    // It sends two messages for each that it takes, and waits for room in the tap.
    let mut message = Vec::new();
    let mut received = String::new();
    loop {
        for _ in 0..2 {
            match server.send_to_client_timeout(b"much", Some(LIMIT)) {
                Ok(()) | Err(ShmError::NotConnected) => {}
                Err(error) => panic!("{error}"),
            }
        }
        match server.receive_from_client(&mut message) {
            Ok(_) => received += &format!("{}\n", String::from_utf8_lossy(&message)),
            Err(error) => {
                assert_eq!(error, ShmError::NotConnected);
                break;
            }
        }
    }
    assert_eq!(received, lines);
    client.end();
    tap.until_end();
}

#[test]
fn a_tap_has_the_sizes_of_the_server() {
    let (original, tapped) = (name("sizes"), name("sizes-new"));
    let options = ServerOptions::new().ring_size(64 * 1024).message_limit(100).max_message_size(20_000);
    let _server = options.reject_when_full().start(&original).unwrap();
    let _tap = Xshm::start(&["tap", &original, "--as", &tapped]);
    let state = loop {
        let seen = xshm::inspect::look(xshm::inspect::Reach::Own).unwrap();
        let channel = seen.channels.into_iter().find(|channel| channel.name() == Some(&tapped));
        if let Some(state) = channel.map(|channel| channel.read()).filter(|state| state.problems.is_empty()) {
            break state;
        }
    };
    assert_eq!((state.ring_size, state.message_limit, state.max_message_size), (64 * 1024, 100, 20_000));
    assert!(state.rejects_when_full && !state.is_multi);
}

#[test]
fn a_tap_serves_one_client_after_the_other() {
    let (original, tapped) = (name("after"), name("after-new"));
    let mut server = SharedServer::start(&original).unwrap();
    let mut tap = Xshm::start(&["tap", &original, "--as", &tapped, "--print", "length"]);
    let mut message = Vec::new();
    for number in 0..3 {
        let client = SharedClient::connect(&tapped, LIMIT).unwrap();
        server.wait_for_client(Some(LIMIT)).unwrap();
        client.send_to_server(b"hello").unwrap();
        server.receive_from_client(&mut message).unwrap();
        assert_eq!(message, b"hello");
        assert!(tap.line().ends_with(&format!(" {number} -> 5")));
        drop(client);
        assert_eq!(server.receive_from_client(&mut message), Err(ShmError::NotConnected));
    }
    assert!(tap.is_running());
}

#[test]
fn the_end_of_one_side_ends_the_other() {
    let (original, tapped) = (name("ends"), name("ends-new"));
    let mut server = Xshm::start(&["serve", &original]);
    let tap = Xshm::start(&["tap", &original, "--as", &tapped, "--once"]);
    let mut client = Xshm::start(&["connect", &tapped]);
    client.write("hi\n");
    assert_eq!(server.line(), "hi");
    server.kill();
    client.end().assert(0, "");
    tap.until_end().assert_status(5).says("the server died");

    // A client that dies. The tap goes on, for the next client and the next server.
    let mut server = Xshm::start(&["serve", &original]);
    let mut tap = Xshm::start(&["tap", &original, "--as", &tapped]);
    let mut client = Xshm::start(&["connect", &tapped]);
    client.write("hi\n");
    assert_eq!(server.line(), "hi");
    client.kill();
    server.end().assert(0, "");
    let mut server = Xshm::start(&["serve", &original]);
    let mut client = Xshm::start(&["connect", &tapped, "--linger", "0s"]);
    client.write("again\n");
    assert_eq!(server.line(), "again");
    client.end().assert(0, "");
    server.end().assert(0, "");
    assert!(tap.line().ends_with("0 -> 2 hi"));
    assert!(tap.line().ends_with("1 -> 5 again"));
}

#[test]
fn a_tap_of_many_clients_connects_each() {
    let (original, tapped) = (name("many"), name("many-new"));
    let (_folder, recording) = file();
    let mut server = Xshm::start(&["serve", &original, "--multi"]);
    let mut tap = Xshm::start(&["tap", &original, "--as", &tapped, "--record", as_text(&recording)]);
    let mut clients: Vec<Xshm> = Vec::new();
    for number in 0..3 {
        let mut client = Xshm::start(&["connect", &tapped, "--linger", "0s"]);
        client.write(format!("I am {number}\n"));
        assert_eq!(server.line(), format!("{number}: I am {number}"));
        assert!(tap.line().ends_with(&format!(" {number} -> 6 I am {number}")));
        clients.push(client);
    }
    server.write("to all\n");
    for client in &mut clients {
        assert_eq!(client.line(), "to all");
    }
    clients.remove(0).kill();
    // The server finds that the tap has left for this client.
    for client in clients {
        client.end().assert(0, "");
    }
    server.end().assert(0, "");
    let mut lines: Vec<String> = (0..3).map(|_| shown(tap.line().as_bytes()).remove(0)).collect();
    lines.sort();
    assert_eq!(lines, ["0 <- 6 to all", "1 <- 6 to all", "2 <- 6 to all"]);
    #[cfg(unix)]
    {
        tap.interrupt();
        tap.until_end().assert(0, "").says("the client died");
    }
    let (replay, sent) = replayed(&recording, "client", &["--speed", "max"]);
    // On Windows the tap still runs, so that the recording has no end.
    assert_eq!(replay.status, Some(if cfg!(unix) { 0 } else { 1 }), "{}", replay.errors);
    assert_eq!(sent, with_lengths(&[b"I am 0", b"I am 1", b"I am 2"]));
    let (_, sent) = replayed(&recording, "server", &["--client", "1"]);
    assert_eq!(sent, with_lengths(&[b"to all"]));
}

/// Clients that send and receive at the same time, more than the queues hold, through a tap.
#[test]
fn a_tap_of_many_clients_forwards_everything() {
    const MESSAGES: u32 = 5000;
    let (original, tapped) = (name("echo"), name("echo-new"));
    let options = ServerOptions::new().ring_size(16 * 1024).message_limit(20);
    let server = xshm::MultiServer::builder(&original)
        .options(options)
        .multi_options(MultiOptions { clients_per_worker: 1, ..MultiOptions::default() })
        .on_message(|client, message| {
            let _ = client.send_timeout(message, None);
        })
        .start()
        .unwrap();
    let tap = Xshm::start(&["tap", &original, "--as", &tapped, "--print", "none"]);
    let clients: Vec<_> = (0..3_u32)
        .map(|number| {
            let tapped = tapped.clone();
            std::thread::spawn(move || {
                let mut client = SharedClient::connect(&tapped, LIMIT).unwrap();
                let (sender, receiver) = client.split().unwrap();
                std::thread::scope(|scope| {
                    scope.spawn(move || {
                        for index in 0..MESSAGES {
                            sender.send_timeout(&(index * 4 + number).to_le_bytes(), Some(LIMIT)).unwrap();
                        }
                    });
                    let mut message = Vec::new();
                    for index in 0..MESSAGES {
                        receiver.receive_timeout(&mut message, Some(LIMIT)).unwrap();
                        assert_eq!(message, (index * 4 + number).to_le_bytes());
                    }
                });
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    drop((server, tap));
}

#[test]
fn a_tap_of_many_clients_ends_them_with_the_server() {
    let (original, tapped) = (name("many-ends"), name("many-ends-new"));
    let mut server = Xshm::start(&["serve", &original, "--multi"]);
    let tap = Xshm::start(&["tap", &original, "--as", &tapped, "--print", "none", "--once"]);
    let mut client = Xshm::start(&["connect", &tapped]);
    client.write("hi\n");
    assert_eq!(server.line(), "0: hi");
    server.kill();
    client.end().assert(0, "");
    tap.until_end().assert(5, "").says("the server died");
}

/// A `MultiClient` connects only to servers for many clients.
#[test]
fn a_tap_of_many_clients_is_a_server_for_many() {
    let (original, tapped) = (name("kind"), name("kind-new"));
    let _server = xshm::MultiServer::builder(&original).start().unwrap();
    let _tap = Xshm::start(&["tap", &original, "--as", &tapped, "--print", "none"]);
    // Waits for the tap's server.
    drop(SharedClient::connect(&tapped, LIMIT).unwrap());
    MultiClient::builder(&tapped).connect().unwrap();
}

#[test]
fn what_a_tap_lacks_has_its_own_status() {
    let (original, tapped) = (name("lacks"), name("lacks-new"));
    let (_folder, recording) = file();
    let ended = run(&["tap", &original, "--as", &tapped, "--timeout", "50ms"], "").assert(3, "");
    ended.says("no server has the name");
    let _server = SharedServer::start(&original).unwrap();
    run(&["tap", &original, "--as", &original], "").assert(3, "").says("is taken");
    fs::write(&recording, "precious").unwrap();
    let record = ["tap", &original, "--as", &tapped, "--record", as_text(&recording)];
    run(&record, "").assert(1, "").says("exists already; --force replaces it");
    assert_eq!(fs::read(&recording).unwrap(), b"precious");
    run(&["tap", &original, "--as", &tapped, "--force"], "").assert(2, "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_at_the_start_is_an_error() {
    let original = name("tap-full");
    let _server = SharedServer::start(&original).unwrap();
    let record = ["tap", &original, "--as", &name("tap-full-new"), "--record", "/dev/full", "--force"];
    run(&record, "").assert(1, "").says("cannot write /dev/full: No space left");
}

/// The shell limits the size of files. What the disk had no room for is forwarded, and what was recorded is readable.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_recording_alone() {
    let (original, tapped) = (name("disk"), name("disk-new"));
    let (_folder, recording) = file();
    let bytes = noise(12_000_000);
    let server = Xshm::start(&["serve", &original, "--receive-only", "--format", "raw"]);
    // The memory of a channel counts as a file too, and has 4 MiB.
    // A write beyond 8 MiB fails; `sh` counts blocks of 512 bytes.
    let tap = Xshm::start_after(
        "ulimit -f 16384",
        &["tap", &original, "--as", &tapped, "--print", "none", "--once", "--record", as_text(&recording)],
    );
    let client = ["connect", &tapped, "--format", "raw", "--linger", "0s"];
    run(&client, &bytes).assert(0, "");
    server.until_end().assert(0, &bytes);
    let ended = tap.until_end().assert(1, "");
    ended.says("the recording ends here");
    let (replay, sent) = replayed(&recording, "client", &["--speed", "max"]);
    assert_eq!(replay.status, Some(1));
    replay.says("the recording is cut off");
    let pieces: Vec<u8> = pieces(&sent).concat();
    assert!(!pieces.is_empty() && bytes.starts_with(&pieces));
}

/// The messages of the format `length`.
#[cfg(target_os = "linux")]
fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (piece, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// Makes a recording of two messages of the client with a pause between them, and an answer to each.
fn record(test: &str, pause: Duration) -> (TempDir, PathBuf) {
    let (original, tapped) = (name(test), name(&format!("{test}-new")));
    let (folder, recording) = file();
    let mut server = SharedServer::start(&original).unwrap();
    let record =
        ["tap", &original, "--as", &tapped, "--print", "none", "--once", "--record", as_text(&recording)];
    let tap = Xshm::start(&record);
    let client = SharedClient::connect(&tapped, LIMIT).unwrap();
    server.wait_for_client(Some(LIMIT)).unwrap();
    let mut message = Vec::new();
    for (index, text) in [b"one", b"two"].into_iter().enumerate() {
        if index > 0 {
            std::thread::sleep(pause);
        }
        client.send_to_server(text).unwrap();
        server.receive_from_client(&mut message).unwrap();
        server.send_to_client(&message).unwrap();
        client.receive_from_server(&mut message).unwrap();
    }
    drop(client);
    tap.until_end().assert(0, "");
    (folder, recording)
}

#[test]
fn a_replay_keeps_the_times() {
    let pause = Duration::from_millis(400);
    let (_folder, recording) = record("times", pause);
    for (speed, factor) in [("1x", 1.0), ("2x", 2.0), ("0.5x", 0.5), ("max", f64::INFINITY)] {
        for from in ["client", "server"] {
            let begin = Instant::now();
            let (replay, sent) = replayed(&recording, from, &["--speed", speed]);
            let took = begin.elapsed();
            assert_eq!((replay.status, sent), (Some(0), with_lengths(&[b"one", b"two"])));
            assert!(took >= pause.div_f64(factor), "{speed} took {took:?}");
        }
    }
    // Without pauses it is faster than the recording, however slow the machine is.
    let (_folder, recording) = record("pause", Duration::from_secs(10));
    for speed in ["max", "1000x"] {
        let begin = Instant::now();
        replayed(&recording, "client", &["--speed", speed]);
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
    let wrong = run(&["replay", as_text(&recording), "x", "--speed", "fast"], "").assert(2, "");
    wrong.says("--speed is a positive number");
}

/// A recording that ends at any byte is replayed up to there.
#[test]
fn a_cut_recording_is_replayed_up_to_the_cut() {
    let (folder, recording) = record("cut", Duration::ZERO);
    let bytes = fs::read(&recording).unwrap();
    let cut = folder.path().join("cut");
    let name = name("cut-replay");
    let server = |server: &mut SharedServer| {
        let mut count = 0;
        server.wait_for_client(Some(LIMIT)).unwrap();
        while server.receive_from_client(&mut Vec::new()).is_ok() {
            count += 1;
        }
        count
    };
    // The header, the four messages of three bytes, and the end.
    let header = bytes.len() - 4 * 27 - 32;
    let mut ends = SharedServer::start(&name).unwrap();
    for length in 0..bytes.len() {
        fs::write(&cut, &bytes[..length]).unwrap();
        let replay = Xshm::start(&["replay", as_text(&cut), &name, "--speed", "max"]);
        if length < header {
            replay.until_end().assert(1, "").says("not a recording of xshm");
            continue;
        }
        let whole = (length - header) / 27;
        // The messages are a question, its answer, a question and its answer.
        assert_eq!(server(&mut ends), whole.min(4).div_ceil(2), "{length}");
        replay.until_end().assert(1, "").says(&format!("is cut off after {} messages", whole.min(4)));
    }
    let replay = Xshm::start(&["replay", as_text(&recording), &name, "--speed", "max"]);
    assert_eq!(server(&mut ends), 2);
    replay.until_end().assert(0, "");
}

#[test]
fn garbage_is_no_recording() {
    let (_folder, file) = file();
    let name = name("garbage");
    let replay = ["replay", as_text(&file), &name, "--timeout", "50ms"];
    run(&replay, "").assert(1, "").says("cannot open");
    for bytes in [noise(100_000), vec![0; 1000], b"XSHMREC\x1a".repeat(100), vec![0xff; 5000], Vec::new()] {
        fs::write(&file, bytes).unwrap();
        let ended = run(&replay, "").assert(1, "");
        assert!(ended.errors.contains("recording"), "{}", ended.errors);
    }
    // One that is damaged in the middle.
    let (_folder, good) = record("damaged", Duration::ZERO);
    let mut bytes = fs::read(&good).unwrap();
    let last = bytes.len() - 32 - 6;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (ended, sent) = replayed(&file, "client", &[]);
    assert_eq!((ended.status, sent), (Some(1), with_lengths(&[b"one", b"two"])));
    ended.says("the recording is damaged after 3 messages");
}

/// A replay receives and drops what its peer sends, and ends when the peer leaves.
#[test]
fn a_replay_ends_with_its_peer() {
    let (_folder, recording) = record("peer", Duration::from_secs(1));
    let name = name("peer-replay");
    let mut server = SharedServer::start(&name).unwrap();
    let replay = Xshm::start(&["replay", as_text(&recording), &name, "--speed", "0.001x"]);
    server.wait_for_client(Some(LIMIT)).unwrap();
    for _ in 0..1000 {
        server.send_to_client_timeout(b"dropped", Some(LIMIT)).unwrap();
    }
    drop(server);
    replay.until_end().assert(5, "").says("the peer left");
}
