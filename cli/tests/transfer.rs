//! `xshm serve` and `xshm connect`, as pairs of processes.

mod common;

use common::{library_server, name, noise, run, Xshm, LIMIT};
use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use xshm::{SharedClient, SharedServer, ShmError};

#[test]
fn lines_go_both_ways() {
    let name = name("lines");
    let mut server = Xshm::start(&["serve", &name]);
    let client = Xshm::with_input(&["connect", &name, "--count", "4"], "x\n\nthe end has no newline");
    assert_eq!((server.line(), server.line()), ("x".to_owned(), String::new()));
    assert_eq!(server.line(), "the end has no newline");
    server.write("one\n\ntwo\nthree");
    server.end().assert(0, "");
    client.end().assert(0, "one\n\ntwo\nthree\n");
}

#[test]
fn hexadecimal_lines_go_both_ways() {
    let name = name("hex");
    let mut server = Xshm::start(&["serve", &name, "-f", "hex"]);
    let client = Xshm::with_input(&["connect", &name, "-f", "hex", "--count", "2"], "0D0A\n");
    assert_eq!(server.line(), "0d0a");
    server.write("00 FF 0a\n\n");
    client.end().assert(0, "00ff0a\n\n");
    server.end();
}

#[test]
fn messages_with_lengths_go_both_ways() {
    let name = name("length");
    let messages = b"\x03\0\0\0a\nb\0\0\0\0\x01\0\0\0\xff";
    let mut server = Xshm::start(&["serve", &name, "--format", "length"]);
    let there = b"\x02\0\0\0\0\n";
    let client = Xshm::with_input(&["connect", &name, "--format", "length", "--count", "3"], there);
    assert_eq!(server.bytes(), there);
    server.write(messages);
    client.end().assert(0, messages);
    server.end();
}

#[test]
fn bytes_go_both_ways() {
    let name = name("raw");
    let (there, back) = (noise(3_000_001), noise(2_000_000));
    let server = Xshm::with_input(&["serve", &name, "--format", "raw"], &there);
    let mut client = Xshm::start(&["connect", &name, "--format", "raw", "--linger", "0s"]);
    // The client ends its input when it has everything.
    client.write(&back);
    let mut received = Vec::new();
    while received.len() < there.len() {
        received.extend(client.bytes());
    }
    assert!(received == there);
    client.end().assert(0, "");
    server.end().assert(0, &back);
}

#[test]
fn a_file_arrives_as_it_was() {
    let name = name("file");
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    // The last piece would have one byte.
    let bytes = noise(65_535 * 305 + 1);
    fs::write(&from, &bytes).unwrap();
    let server = Xshm::start(&["serve", &name, "--format", "raw", "--send", from.to_str().unwrap()]);
    let receive = ["connect", &name, "--format", "raw", "--receive-only", "--receive", to.to_str().unwrap()];
    run(&receive, "").assert(0, "");
    let ended = server.until_end().assert(0, "");
    assert_eq!(ended.errors, "");
    assert!(fs::read(&to).unwrap() == bytes);
}

#[test]
fn a_file_goes_to_the_server() {
    let name = name("upload");
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    let bytes = noise(20_000_000);
    fs::write(&from, &bytes).unwrap();
    let server = Xshm::start(&["serve", &name, "--format", "raw", "--receive-only"]);
    let send = ["connect", &name, "--format", "raw", "--send", from.to_str().unwrap()];
    Xshm::start(&send).until_end().assert(0, "");
    server.until_end().assert(0, &bytes);
}

/// A channel without `max_message_size` carries a stream whose last piece would have one byte.
#[test]
fn a_raw_stream_has_no_piece_of_one_byte() {
    let name = name("pieces");
    let bytes = noise(65_535 * 3 + 1);
    let server = library_server(&name, |server| {
        let (mut all, mut message) = (Vec::<u8>::new(), Vec::<u8>::new());
        while server.receive_from_client(&mut message).is_ok() {
            all.extend(&message);
        }
        all
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, &bytes).unwrap();
    let send = ["connect", &name, "--format", "raw", "--send", file.to_str().unwrap()];
    Xshm::start(&send).until_end().assert(0, "");
    assert!(server.join().unwrap() == bytes);
}

#[test]
fn long_messages_go_both_ways() {
    let name = name("long");
    let line = "x".repeat(3_000_000) + "\n";
    let mut server = Xshm::start(&["serve", &name, "--max-message-size", "3000000"]);
    let client = Xshm::with_input(&["connect", &name, "--count", "1"], &line);
    assert_eq!(server.line(), line.trim_end());
    server.write(&line);
    client.end().assert(0, &line);
    server.end();
}

#[test]
fn wrong_lengths_are_errors_with_their_line() {
    let one = name("too-long");
    let server = Xshm::start(&["serve", &one, "--max-message-size", "10"]);
    let ended = run(&["connect", &one], "fits\n12345678901\n").assert(1, "");
    ended.says("line 2 has 11 bytes; this channel's messages have at most 10 ");
    // The line before it has arrived. The server does not take it for all.
    server.end().assert(5, "fits\n");

    let two = name("too-short");
    let server = library_server(&two, |server| {
        let mut message = Vec::new();
        server.receive_from_client(&mut message).unwrap();
        (message.clone(), server.receive_from_client(&mut message))
    });
    let ended = run(&["connect", &two], "ab\n\ncd\n").assert(1, "");
    ended.says("line 2 has 0 bytes; this channel's messages have at least 2");
    let (message, end) = server.join().unwrap();
    assert!(message == b"ab" && matches!(end, Err(ShmError::PeerDied { .. })), "{message:?}, {end:?}");
}

#[test]
fn input_in_the_wrong_format_is_an_error() {
    for (format, input, error) in [
        ("hex", "00\nzz\n", "line 2 is not hexadecimal"),
        ("length", "\x05\0\0\0abc", "the input ends within message 1, after 3 of its 5 bytes"),
        ("length", "\x05\0", "the input ends within the length of message 1"),
    ] {
        let name = name(&format!("wrong-{format}-{}", input.len()));
        let server = Xshm::start(&["serve", &name, "--receive-only"]);
        run(&["connect", &name, "--format", format], input).assert(1, "").says(error);
        server.end().assert_status(5);
    }
}

#[test]
fn a_missing_file_ends_before_the_peer_comes() {
    let ended = run(&["serve", &name("no-file"), "--send", "this-file-is-missing"], "");
    ended.assert(1, "").says("cannot open this-file-is-missing");
    run(&["serve", &name("folder"), "--send", "src"], "").assert(1, "").says("it is a folder");
    let ended = run(&["connect", &name("no-folder"), "--receive", "no-folder/file"], "");
    ended.assert(1, "").says("there is no such folder");
}

#[test]
fn what_is_missing_has_its_own_status() {
    let no_server = name("no-server");
    let ended = run(&["connect", &no_server, "--timeout", "50ms"], "").assert(3, "");
    ended.says("no server has the name");

    let ended = run(&["serve", &name("no-client"), "--timeout", "50ms"], "").assert(4, "");
    ended.says("no client has come within 50ms");
    let ended = run(&["serve", &name("no-clients"), "--multi", "--timeout", "50ms"], "").assert(4, "");
    ended.says("no client has come within 50ms");

    let taken = name("taken");
    let _server = SharedServer::start(&taken).unwrap();
    run(&["serve", &taken], "").assert(3, "").says("is taken");
    // The server runs, and accepts no client.
    run(&["connect", &taken, "--timeout", "50ms"], "").assert(4, "");

    // The server has another client.
    let busy = name("busy");
    let mut server = Xshm::start(&["serve", &busy]);
    let mut client = Xshm::start(&["connect", &busy]);
    server.write("hi\n");
    assert_eq!(client.line(), "hi");
    run(&["connect", &busy, "--timeout", "50ms"], "").assert(4, "").says("the server has a client");

    run(&["serve", &name("sizes"), "--ring-size", "5000"], "")
        .assert(2, "")
        .says("--ring-size is a power of two from 4096");
    run(&["serve", &name("sizes"), "--max-message-size", "536870849"], "").assert(2, "").says("536870848");
    run(&["serve", "a\\b\\c"], "").assert(2, "");
    run(&["connect", &name("count"), "--count", "0"], "").assert(2, "");
}

#[test]
fn a_peer_that_has_died_is_an_error() {
    let dead_server = name("dead-server");
    let mut server = Xshm::start(&["serve", &dead_server]);
    let mut client = Xshm::start(&["connect", &dead_server]);
    server.write("hi\n");
    assert_eq!(client.line(), "hi");
    server.kill();
    client.until_end().assert(5, "").says("ended without leaving");

    let dead_client = name("dead-client");
    let mut server = Xshm::start(&["serve", &dead_client]);
    let mut client = Xshm::start(&["connect", &dead_client]);
    client.write("hi\n");
    assert_eq!(server.line(), "hi");
    client.kill();
    server.end().assert(5, "").says("ended without leaving");
}

#[test]
fn a_peer_that_leaves_early_is_an_error() {
    let early = name("early");
    let mut server = Xshm::start(&["serve", &early]);
    let client = Xshm::with_input(&["connect", &early, "--linger", "0s"], "hi\n");
    client.end().assert(0, "");
    assert_eq!(server.line(), "hi");
    // Its input is open: more might come.
    server.until_end().assert(5, "").says("the peer left before the end of the input");

    let unread = name("unread");
    let server = library_server(&unread, |server| {
        let mut message = Vec::new();
        server.receive_from_client(&mut message).unwrap();
        // It leaves when all three are there, and takes one.
        while server.stats().unwrap().receive_depth < 2 {
            std::thread::yield_now();
        }
    });
    let ended = run(&["connect", &unread], "one\ntwo\nthree\n").assert(5, "");
    ended.says("the peer left before it had received everything: 2 messages");
    server.join().unwrap();

    let few = name("few");
    let server = Xshm::with_input(&["serve", &few, "--linger", "0s"], "one\n");
    run(&["connect", &few, "--count", "2"], "").assert(5, "one\n").says("the peer left before 2 messages");
    server.end().assert(0, "");
}

/// The sender waits for a slow receiver, and evicts nothing.
#[test]
fn a_slow_receiver_gets_everything() {
    let name = name("slow");
    let lines: String = (0..5000).map(|number| format!("{number}\n")).collect();
    let server = Xshm::with_input(&["serve", &name, "--ring-size", "4096", "--linger", "0s"], &lines);
    let client = SharedClient::connect(&name, LIMIT).unwrap();
    let (mut message, mut received) = (Vec::new(), String::new());
    while client.receive_from_server(&mut message).is_ok() {
        received += std::str::from_utf8(&message).unwrap();
        received.push('\n');
        std::thread::yield_now();
    }
    assert_eq!(received, lines);
    server.end().assert(0, "");
}

#[test]
fn many_clients_get_all_lines() {
    let name = name("multi");
    let mut server = Xshm::start(&["serve", &name, "--multi"]);
    let mut clients: Vec<Xshm> = (0..3).map(|_| Xshm::start(&["connect", &name])).collect();
    let mut numbers = Vec::new();
    for (index, client) in clients.iter_mut().enumerate() {
        client.write(format!("I am {index}\n"));
        let line = server.line();
        let (number, text) = line.split_once(": ").unwrap();
        assert_eq!(text, format!("I am {index}"));
        numbers.push(number.parse::<u32>().unwrap());
    }
    numbers.sort();
    assert_eq!(numbers, [0, 1, 2]);
    server.write("to all\n\n");
    for client in &mut clients {
        assert_eq!((client.line(), client.line()), ("to all".to_owned(), String::new()));
    }
    // One dies, and the others go on.
    clients.remove(0).kill();
    let lines: String = (0..2000).map(|number| format!("{number}\n")).collect();
    server.write(&lines);
    server.end_input();
    for mut client in clients {
        for number in 0..2000 {
            assert_eq!(client.line(), number.to_string());
        }
        client.write("bye\n");
        assert!(server.line().ends_with(": bye"));
        client.kill();
    }
    server.until_end().assert(0, "");
}

#[test]
fn a_server_for_many_ends_as_it_is_asked_to() {
    let counted = name("multi-count");
    let server = Xshm::with_input(&["serve", &counted, "--multi", "--count", "3", "-f", "hex"], "");
    let client = Xshm::with_input(&["connect", &counted], "a\nb\nc\nd\n");
    server.end().assert(0, "0: 61\n0: 62\n0: 63\n");
    // The server has left, perhaps before it has taken the last line.
    client.end();

    let lingering = name("multi-linger");
    let mut server = Xshm::with_input(&["serve", &lingering, "--multi", "--linger", "30s"], "");
    for text in ["first", "second"] {
        let client = Xshm::with_input(&["connect", &lingering, "--linger", "0s"], text);
        assert!(server.line().ends_with(text));
        client.end().assert(0, "");
    }
    assert!(server.is_running());
}

#[test]
fn a_closed_output_ends_quietly() {
    let name = name("closed");
    let lines: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    let server = Xshm::with_input(&["serve", &name], lines);
    let mut client = Command::new(env!("CARGO_BIN_EXE_xshm"))
        .args(["connect", &name, "--receive-only"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = client.stdout.take().unwrap();
    output.read_exact(&mut [0; 4]).unwrap();
    drop(output);
    let ended = client.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8(ended.stderr).unwrap()), (Some(0), String::new()));
    server.end();
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_in_order() {
    let name = name("ctrl-c");
    let mut server = Xshm::start(&["serve", &name]);
    let mut client = Xshm::start(&["connect", &name]);
    server.write("hi\n");
    assert_eq!(client.line(), "hi");
    client.interrupt();
    client.until_end().assert(130, "").says("Ctrl-C");
    // It has left, and has not died.
    server.end().assert(0, "");

    let waiting = Xshm::with_input(&["serve", &name, "--timeout", "1day"], "");
    while !matches!(xshm::inspect::look(xshm::inspect::Reach::Own), Ok(seen) if seen.names.iter().any(|server| server.name == name))
    {
        std::thread::yield_now();
    }
    waiting.interrupt();
    waiting.end().assert(130, "");

    let multi = common::name("ctrl-c-multi");
    let mut server = Xshm::start(&["serve", &multi, "--multi"]);
    let mut client = Xshm::start(&["connect", &multi]);
    server.write("hi\n");
    assert_eq!(client.line(), "hi");
    server.interrupt();
    server.until_end().assert(130, "");
    client.end().assert(0, "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_for_many_says_why_it_accepts_no_more_clients() {
    let name = name("few-descriptors");
    let serve = ["serve", &name, "--multi", "--receive-only", "--timeout", "1day"];
    let server = Xshm::start_after("ulimit -n 64", &serve);
    let mut clients: Vec<_> = (0..12).map(|_| Xshm::start(&["connect", &name, "--timeout", "1s"])).collect();
    // Some connect, and wait for the server's messages. The others end.
    common::wait_until("a client is refused", || {
        clients.iter_mut().any(|client| !client.is_running()).then_some(())
    });
    server.interrupt();
    server.until_end().assert(130, "").says("Too many open files");
}

/// `timeout` sends the program a signal, and one more to its group.
#[cfg(unix)]
#[test]
fn two_signals_at_once_are_one_wish() {
    for _ in 0..10 {
        let name = name("two-signals");
        let mut server = Xshm::start(&["serve", &name]);
        let mut client = Xshm::start(&["connect", &name]);
        server.write("hi\n");
        assert_eq!(client.line(), "hi");
        server.signal("TERM", 2);
        server.until_end().assert(130, "").says("a signal");
        client.end().assert(0, "");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_hang_up_that_is_ignored_stays_ignored() {
    let name = name("nohup");
    let mut server = Xshm::start_after("trap '' HUP", &["serve", &name]);
    let mut client = Xshm::start(&["connect", &name]);
    server.write("hi\n");
    assert_eq!(client.line(), "hi");
    server.signal("HUP", 1);
    server.write("still here\n");
    assert_eq!(client.line(), "still here");
    client.interrupt();
    client.until_end().assert(130, "");
    server.end().assert(0, "");
}

/// A disk that is full.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let name = name("full");
    let server = Xshm::with_input(&["serve", &name], "hi\n");
    let ended = run(&["connect", &name, "--receive", "/dev/full"], "").assert(1, "");
    ended.says("cannot write what was received: No space left");
    server.end();
}

#[test]
fn nothing_is_written_that_was_not_asked_for() {
    let name = name("quiet");
    let server = Xshm::with_input(&["serve", &name], "");
    let ended = run(&["connect", &name, "--linger", "0s"], "").assert(0, "");
    assert_eq!(ended.errors, "");
    assert_eq!(server.end().assert(0, "").errors, "");
}
