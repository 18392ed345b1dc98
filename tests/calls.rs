//! Counts the system calls of waits, signals and messages: both processes run under strace, and each call between an
//! order and its answer is counted. ci/calls.sh runs these tests, and installs strace.
#![cfg(target_os = "linux")]

mod common;

use common::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[test]
fn peer_process() {
    serve();
}

/// A peer whose system calls strace logs.
struct Traced {
    peer: Peer,
    log: PathBuf,
}

impl Traced {
    fn start(what: &str) -> Self {
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique(what));
        let peer = Peer::start_by("strace", &["-f", "-qq", "-e", "signal=none", "-o", log.to_str().unwrap()]);
        Traced { peer, log }
    }

    /// The system calls of all threads, by name, from the reading of an order to its answer. Each order is given once.
    fn cost(&self, order: &str) -> Calls {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let mut lines = log.lines();
        let read = format!("\"{order}\\n\"");
        assert!(lines.any(|line| line.contains(&read)), "{order} isn't in strace's log");
        let mut calls = Calls::new();
        for line in lines {
            // A call that waited has two lines. The second begins with "<... ".
            let Some((_, call)) = line.split_once(' ') else { continue };
            let Some((name, arguments)) = call.trim_start().split_once('(') else { continue };
            if name == "write" && arguments.starts_with("1, \"@") {
                return calls;
            }
            if !name.starts_with('<') {
                *calls.entry(name.to_owned()).or_default() += 1;
            }
        }
        panic!("the answer to {order} isn't in strace's log");
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.log);
    }
}

type Calls = BTreeMap<String, u64>;

fn sum(calls: &Calls) -> u64 {
    calls.values().sum()
}

/// A server and a client that are connected. Each spins for its number of milliseconds before it sleeps.
fn connected(server_spin: u64, client_spin: u64) -> (Traced, Traced) {
    let name = unique("calls");
    let (mut server, mut client) = (Traced::start("server"), Traced::start("client"));
    server.peer.must(&format!("start {name} 65536 250 {server_spin}"));
    server.peer.tell("accept 20000");
    client.peer.must(&format!("connect {name} 20000 {client_spin}"));
    assert_eq!(server.peer.answer(), "ok");
    (server, client)
}

#[test]
#[ignore = "needs strace; ci/calls.sh runs it"]
fn a_wait_takes_two_system_calls_and_a_signal_one() {
    let rounds: u64 = if long() { 20_000 } else { 2000 };
    let (mut server, mut client) = connected(0, 0);
    // The first rounds touch fresh memory, which costs system calls.
    for count in [10, rounds] {
        client.peer.tell(&format!("answer {count}"));
        server.peer.must(&format!("rounds {count}"));
        assert_eq!(client.peer.answer(), "ok");
    }
    let figures =
        [&mut server, &mut client].map(|side| (side.peer.figure("sleeps"), side.peer.figure("signals")));
    server.peer.finish();
    client.peer.finish();
    let costs = [server.cost(&format!("rounds {rounds}")), client.cost(&format!("answer {rounds}"))];
    for ((who, cost), (sleeps, signals)) in ["server", "client"].into_iter().zip(&costs).zip(figures) {
        println!("{who}: {rounds} messages sent, {rounds} waited for: {cost:?}");
        println!("{who}: its statistics count {sleeps} sleeps and {signals} signals");
        // A wait takes two calls: the wait itself, and the reading of the signal. A signal takes one. Two more are for a
        // signal that the first messages may have left.
        assert!(sum(cost) <= 3 * rounds + 2, "{who}: {} calls", sum(cost));
        assert!(sum(cost) <= 2 * sleeps + signals, "{who}: more calls than its statistics explain");
        assert!(
            cost.get("sendto").is_some_and(|&sent| sent <= rounds),
            "{who}: more than one signal for each message"
        );
        // Otherwise the test shows nothing.
        assert!(sleeps > rounds / 10, "{who}: only {sleeps} sleeps");
    }
    println!("both: {:.3} calls for a round trip", (sum(&costs[0]) + sum(&costs[1])) as f64 / rounds as f64);
}

#[test]
#[ignore = "needs strace; ci/calls.sh runs it"]
fn messages_take_no_system_call_while_no_side_sleeps() {
    let count: u64 = if long() { 1_000_000 } else { 100_000 };
    // The client spins for longer than the test takes.
    let (mut server, mut client) = connected(0, 600_000);
    server.peer.must("send over 0 10 64");
    client.peer.must("take 9");

    // To a receiver that does something else meanwhile, and then takes what is left.
    server.peer.must(&format!("send over 10 {count} 64"));
    let left: u64 = client.peer.must(&format!("take {}", 9 + count)).parse().unwrap();
    // To a receiver that spins.
    let (from, last) = (10 + count, 9 + 2 * count);
    client.peer.tell(&format!("take {last}"));
    server.peer.must(&format!("send over {from} {count} 64"));
    let taken = client.peer.answer();
    let taken = taken.strip_prefix("ok ").expect("it takes the last one");
    server.peer.finish();
    client.peer.finish();

    let costs = [
        (
            format!("{count} messages to a receiver that does something else"),
            server.cost(&format!("send over 10 {count} 64")),
        ),
        (format!("{left} messages taken from the queue"), client.cost(&format!("take {}", 9 + count))),
        (
            format!("{count} messages to a receiver that spins"),
            server.cost(&format!("send over {from} {count} 64")),
        ),
    ];
    for (what, cost) in &costs {
        println!("{what}: {cost:?}");
    }
    println!("the receiver that spins took {taken}: {:?}", client.cost(&format!("take {last}")));
    assert_eq!(left, 250);
    for (what, cost) in costs {
        assert_eq!(sum(&cost), 0, "{what}: {cost:?}");
    }
}
