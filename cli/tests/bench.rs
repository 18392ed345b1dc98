//! `xshm bench`.

mod common;

use common::{kill, run, wait_for_end, wait_until, Xshm};
use serde_json::Value;
use xshm::inspect::{look, Reach};

/// A benchmark that runs until something ends it. Messages pass.
fn endless() -> (Xshm, u32) {
    let first = Xshm::start(&["bench", "--messages", "1000000000"]);
    let second = first.second_process();
    let name = format!("xshm-bench-{}-", first.id());
    wait_until("messages pass", || {
        let mut channels = look(Reach::Own).unwrap().channels.into_iter();
        let channel =
            channels.find(|channel| channel.name().is_some_and(|found| found.starts_with(&name)))?;
        channel.read().to_client.filter(|ring| ring.passed > 0).map(|_| ())
    });
    (first, second)
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(run(arguments, "").assert_status(0).text()).unwrap()
}

#[test]
fn a_pipe_gets_plain_lines() {
    let ended = run(&["bench", "--messages", "500"], "").assert_status(0);
    assert_eq!(ended.errors, "");
    let output = ended.text();
    for text in
        ["Round trips: 500", "p50 ", "p99.9 ", "one at a time", "in batches of 32", "messages/s", "MB/s"]
    {
        assert!(output.contains(text), "{text}: {output}");
    }
    assert!(!output.contains(['\x1b', '│', '█']), "{output}");
}

#[cfg(unix)]
#[test]
fn a_terminal_gets_a_drawing_that_fits_it() {
    use common::terminal::{Terminal, SIZE};
    let size = portable_pty::PtySize { rows: 40, ..SIZE };
    for arguments in [&["bench", "--messages", "500"][..], &["bench", "--messages", "20", "--size", "100000"]]
    {
        for pinned in [&[][..], &["--pin", "0,0"]] {
            let (status, bytes) = Terminal::of_size(size, &[arguments, pinned].concat(), &[]).finish();
            let mut screen = vt100::Parser::new(size.rows, size.cols, 0);
            screen.process(&bytes);
            let screen = screen.screen();
            assert_eq!(status, 0, "{}", screen.contents());
            assert!(screen.contents().contains("│█"), "{}", screen.contents());
            // The first line has names that the machine and the system gave themselves.
            for row in 1..size.rows {
                assert!(!screen.row_wrapped(row), "line {row}: {}", screen.contents());
            }
        }
    }
}

#[test]
fn a_json_document_has_everything() {
    let report = json(&["bench", "--messages", "1000", "--size", "8", "--json"]);
    assert_eq!(report["size"], 8);
    assert_eq!(report["spin_ns"], Value::Null);
    assert!(report["processor"]["count"].as_u64().unwrap() >= 1);
    assert!(!report["processor"]["model"].as_str().unwrap().is_empty());
    let trips = &report["round_trips"];
    assert_eq!(trips["count"], 1000);
    let order = ["min_ns", "p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "max_ns"];
    let times: Vec<u64> = order.iter().map(|name| trips[name].as_u64().unwrap()).collect();
    assert!(times.is_sorted() && times[5] > 0, "{times:?}");
    for (name, in_a_call) in [("single", 1), ("batches", 32)] {
        let rate = &report["one_direction"][name];
        assert_eq!(rate["messages_in_a_call"], in_a_call);
        assert_eq!(rate["runs"].as_array().unwrap().len(), 5);
        assert!(rate["messages_per_second"].as_f64().unwrap() > 0.0);
        assert!(rate["megabytes_per_second"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn the_options_are_used() {
    let report = json(&["bench", "--messages", "50", "--spin", "20us", "--pin", "0,0", "--json"]);
    assert_eq!(report["spin_ns"], 20_000);
    assert_eq!(report["processor"]["pinned"], serde_json::json!([0, 0]));
    assert_eq!(report["processor"]["cache_line_ns"], Value::Null);
}

#[test]
fn messages_have_any_length_that_a_channel_allows() {
    for size in ["2", "3", "65535"] {
        let report = json(&["bench", "--messages", "40", "--size", size, "--json"]);
        assert!(report["one_direction"]["batches"].is_object(), "{size}");
    }
    for size in ["65536", "3000000"] {
        let report = json(&["bench", "--messages", "10", "--size", size, "--json"]);
        assert_eq!(report["round_trips"]["count"], 10);
        assert_eq!(report["one_direction"]["batches"], Value::Null, "{size}");
    }
}

#[test]
fn a_wrong_command_line_is_refused() {
    for (arguments, text) in [
        (&["--size", "0"][..], "a message has 2 to 536870848 bytes, and cannot have 0"),
        (&["--size", "1"], "cannot have 1"),
        (&["--size", "536870849"], "cannot have 536870849"),
        (&["--messages", "0"], "at least one message"),
        (&["--pin", "0"], "--pin needs two numbers"),
        (&["--pin", "0,1,2"], "--pin needs two numbers"),
        (&["--pin", "0,100000"], "cannot use processor 100000; it may use: 0"),
        (&["--pin", "0,x"], "invalid digit"),
        (&["--spin", "soon"], "--spin"),
    ] {
        run(&[&["bench"], arguments].concat(), "").assert(2, "").says(text);
    }
}

#[test]
fn the_death_of_the_second_process_is_an_error() {
    let (first, second) = endless();
    kill(second);
    first.until_end().assert(5, "").says("the second process ended too early");
}

#[test]
fn the_second_process_does_not_outlive_the_first_one() {
    let (first, second) = endless();
    drop(first);
    wait_for_end(second);
}

#[test]
fn a_second_process_without_a_first_one_ends() {
    // Its standard input ends at once.
    run(&["bench", "--answer", "no-server-has-this-name"], "").assert(0, "");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_both_processes() {
    let (first, second) = endless();
    first.interrupt();
    let ended = first.until_end().assert(130, "");
    assert_eq!(ended.errors, "xshm: interrupted\n");
    wait_for_end(second);
}

/// A program that the dynamic linker runs has the linker as its executable file, and the linker knows no `bench`.
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
#[test]
fn a_second_process_that_cannot_start_is_an_error() {
    let mut command = std::process::Command::new("/lib64/ld-linux-x86-64.so.2");
    command.args([env!("CARGO_BIN_EXE_xshm"), "bench"]);
    Xshm::spawn(&mut command).until_end().assert(5, "").says("the second process ended before it connected");
}

#[cfg(target_os = "linux")]
#[test]
fn a_channel_that_cannot_be_made_is_an_error() {
    Xshm::start_after("ulimit -f 100", &["bench"]).until_end().assert(1, "").says("RLIMIT_FSIZE");
}

/// The thread that is missing must not leave another one spinning.
#[cfg(target_os = "linux")]
#[test]
fn a_thread_that_cannot_start_is_an_error() {
    for limit in 1..=3 {
        let Some(bench) = Xshm::start_with_threads(limit, &["bench", "--messages", "10"]) else { return };
        let ended = bench.until_end();
        assert!(matches!(ended.status, Some(1 | 5)), "{limit}: {ended:?}");
        assert!(!ended.errors.contains("panicked"), "{limit}: {}", ended.errors);
    }
}
