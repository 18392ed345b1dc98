//! `xshm bench`.

mod running;

use running::{kill, run, wait_for_end, xshm, Running};
use serde_json::Value;
use std::time::Duration;

/// A benchmark that runs until something ends it. Its second process has connected when this returns, or soon after.
fn endless() -> (Running, u32) {
    let running = Running::start(xshm(&["bench", "--messages", "1000000000"]));
    let second = running.child_of_it();
    std::thread::sleep(Duration::from_millis(500));
    (running, second)
}

fn json(arguments: &[&str]) -> Value {
    let ended = run(xshm(arguments));
    assert!(ended.status.success(), "{}", ended.err);
    serde_json::from_str(&ended.out).unwrap()
}

#[test]
fn a_pipe_gets_plain_lines() {
    let ended = run(xshm(&["bench", "--messages", "500"]));
    assert!(ended.status.success(), "{}", ended.err);
    assert!(ended.err.is_empty(), "{}", ended.err);
    for text in
        ["Round trips: 500", "p50 ", "p99.9 ", "one at a time", "in batches of 32", "messages/s", "MB/s"]
    {
        assert!(ended.out.contains(text), "{text}: {}", ended.out);
    }
    assert!(!ended.out.contains(['\x1b', '│', '█']), "{}", ended.out);
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
        let ended = run(xshm(&[&["bench"], arguments].concat()));
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(text), "{arguments:?}: {}", ended.err);
        assert!(ended.out.is_empty(), "{}", ended.out);
    }
}

#[test]
fn the_death_of_the_second_process_is_an_error() {
    let (first, second) = endless();
    kill(second);
    let ended = first.finish();
    assert_eq!(ended.status.code(), Some(5), "{}", ended.err);
    assert!(ended.err.contains("the second process ended too early"), "{}", ended.err);
    assert!(ended.out.is_empty(), "{}", ended.out);
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
    let ended = run(xshm(&["bench", "--answer", "no-server-has-this-name"]));
    assert!(ended.status.success(), "{}", ended.err);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_both_processes() {
    let (first, second) = endless();
    let sent = std::process::Command::new("kill").args(["-INT", &first.id().to_string()]).status();
    assert!(sent.unwrap().success());
    let ended = first.finish();
    assert_eq!(ended.status.code(), Some(130), "{}", ended.err);
    assert_eq!(ended.err, "xshm: interrupted\n");
    wait_for_end(second);
}

/// A program that the dynamic linker runs has the linker as its executable file, and the linker knows no `bench`.
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
#[test]
fn a_second_process_that_cannot_start_is_an_error() {
    let mut command = std::process::Command::new("/lib64/ld-linux-x86-64.so.2");
    command.args([env!("CARGO_BIN_EXE_xshm"), "bench"]);
    let ended = run(command);
    assert_eq!(ended.status.code(), Some(5), "{}", ended.err);
    assert!(ended.err.contains("the second process ended before it connected"), "{}", ended.err);
}

#[cfg(target_os = "linux")]
#[test]
fn a_channel_that_cannot_be_made_is_an_error() {
    let ended = run(running::after("ulimit -f 100", "bench"));
    assert_eq!(ended.status.code(), Some(1), "{}", ended.err);
    assert!(ended.err.contains("RLIMIT_FSIZE"), "{}", ended.err);
}
