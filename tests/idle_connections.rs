//! Connections to a server's name that do nothing, on Linux: they delay no other client by more than a second.
#![cfg(target_os = "linux")]

mod common;
#[path = "common/helper.rs"]
mod helper;
#[path = "common/raw_client.rs"]
mod raw_client;

use common::*;
use helper::*;
use raw_client::Connection;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Once;
use std::time::{Duration, Instant};

#[test]
fn peer_process() {
    serve_or_help();
}

/// How long idle connections of one process may delay a client of another.
const DELAY: Duration = Duration::from_secs(1);

/// How many times processes wait for each other in one visit, at most.
const STEPS: u32 = 10;

/// How late the system woke a thread of this process that slept for 2 ms, at most, since the last call. Beside builds on two
/// processors this can be 300 ms, and each step of a visit can take that much longer.
fn lateness() -> Duration {
    static WORST: AtomicU64 = AtomicU64::new(0);
    static SLEEPER: Once = Once::new();
    SLEEPER.call_once(|| {
        std::thread::spawn(|| loop {
            let start = Instant::now();
            std::thread::sleep(Duration::from_millis(2));
            let late = start.elapsed() - Duration::from_millis(2);
            WORST.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
        });
    });
    Duration::from_micros(WORST.swap(0, Ordering::Relaxed))
}

/// A client of the process connects, and leaves again. `Err`: it failed, or took longer than [`DELAY`] and what the system's own
/// lateness explains.
fn visit(process: &mut Peer, kind: &str, name: &str) -> Result<(), String> {
    lateness();
    let (answer, took) = timed(|| process.ask(&format!("visit {kind} {name} 5000")));
    let late = lateness();
    match answer.starts_with("ok") && took <= DELAY + STEPS * late {
        true => Ok(()),
        false => Err(format!("{answer} after {took:?}; a thread woke up {late:?} late")),
    }
}

/// One process opens idle connections; clients of another process connect meanwhile. `Err` describes the first client that
/// failed or waited too long.
fn delays(what: &str, kind: &str, count: u64, limit: Option<u64>) -> Result<(), String> {
    let name = unique("pending-idle");
    let (mut server, mut idle, mut honest) = (helper(), helper(), helper());
    if let Some(limit) = limit {
        server.must(&format!("limit {limit}"));
    }
    server.must(&format!("serve {kind} {name}"));
    // After this, the processes run, and the server offers a channel.
    honest.must(&format!("visit {kind} {name} 5000"));
    let opened: u64 = idle.must(&format!("idle {what} {name} {count}")).parse().unwrap();
    assert!(opened >= count.min(100), "{opened} connections");
    (0..5).try_for_each(|_| visit(&mut honest, kind, &name)).map_err(|wrong| {
        format!("{kind}, {opened} idle connections of {count}, {what}, limit {limit:?}: {wrong}")
    })
}

#[test]
fn line_24_idle_connections_do_not_delay_a_servers_client() {
    assert_eq!(delays("unread", "server", 100, None), Ok(()));
}

#[test]
fn line_24_idle_connections_do_not_delay_a_multi_servers_client() {
    assert_eq!(delays("unread", "multi", 100, None), Ok(()));
}

#[test]
fn line_24_a_thousand_idle_connections_do_not_delay_a_servers_client() {
    assert_eq!(delays("unread", "server", 1000, None), Ok(()));
}

#[test]
fn line_24_a_thousand_idle_connections_do_not_delay_a_multi_servers_client() {
    assert_eq!(delays("unread", "multi", 1000, None), Ok(()));
}

/// A server that has 256 descriptors can't hold a thousand connections.
#[test]
fn line_24_idle_connections_do_not_delay_the_client_of_a_server_with_few_descriptors() {
    let cases = [("server", 100), ("server", 1000), ("multi", 100), ("multi", 1000)];
    let wrong: Vec<_> =
        cases.iter().filter_map(|(kind, count)| delays("unread", kind, *count, Some(256)).err()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// These clients take the descriptors that the server sends, keep them, and never request a connection.
#[test]
fn line_24_clients_that_take_their_channel_and_do_nothing_delay_no_other() {
    let cases = [("server", None), ("server", Some(256)), ("multi", None), ("multi", Some(256))];
    let wrong: Vec<_> =
        cases.iter().filter_map(|(kind, limit)| delays("reading", kind, 100, *limit).err()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Many processes of one user may not delay another user's client any more than one process may delay another.
#[test]
fn line_24_idle_connections_of_many_processes_do_not_delay_another_users_client() {
    let name = format!("Global\\{}", unique("pending-user"));
    let (mut server, mut honest) = (helper(), helper());
    server.must(&format!("serve server {name}"));
    honest.must(&format!("visit server {name} 5000"));
    let mut processes = Vec::new();
    for _ in 0..10 {
        let Some(mut process) = helper_as(&users(5)[0]) else { return };
        assert_eq!(process.must(&format!("idle unread {name} 20")), "20");
        processes.push(process);
    }
    for round in 0..5 {
        let visited = visit(&mut honest, "server", &name);
        assert!(visited.is_ok(), "round {round}: {visited:?}");
    }
}

/// Users that run nothing else on this machine. Each test has its own, since the kernel counts a user's descriptors over all
/// of the user's processes.
fn users(test: u32) -> [String; 3] {
    [0, 1, 2].map(|user| (54_400 + 10 * test + user).to_string())
}

/// The kernel counts the descriptors that a user has sent and that no process has received yet. If they are more than the
/// sender's RLIMIT_NOFILE, `sendmsg` fails with ETOOMANYREFS, unless the sender is privileged. Clients that never read what
/// the server sent them must not cause that.
///
/// `idle_user` opens an idle connection `rounds` times; `honest_user` connects after each, in the same process if `same`.
fn unread_descriptors_delay_no_client(
    rounds: u32, server_user: &str, idle_user: &str, honest_user: &str, same: bool,
) {
    let Some(mut server) = helper_as(server_user) else { return };
    let (Some(mut idle), Some(mut honest)) = (helper_as(idle_user), helper_as(honest_user)) else { return };
    let name = format!("Global\\{}", unique("pending-flight"));
    server.must("limit 256");
    server.must(&format!("serve server {name}"));
    for round in 0..rounds {
        assert_eq!(idle.must(&format!("idle unread {name} 1")), "1", "round {round}");
        let visitor = if same { &mut idle } else { &mut honest };
        let visited = visit(visitor, "server", &name);
        assert!(visited.is_ok(), "round {round}: {visited:?}");
    }
}

#[test]
fn line_24_unread_descriptors_do_not_keep_out_another_process() {
    let [user, ..] = users(1);
    // Each has five descriptors: 80 are more than the limit.
    unread_descriptors_delay_no_client(80, &user, &user, &user, false);
}

/// A process that leaves more descriptors unread than this delays itself, and no other process.
#[test]
fn line_24_a_few_unread_descriptors_do_not_keep_out_the_same_process() {
    let [user, ..] = users(2);
    unread_descriptors_delay_no_client(5, &user, &user, &user, true);
}

#[test]
fn line_24_unread_descriptors_of_one_user_do_not_keep_out_another_user() {
    let [server, idle, honest] = users(3);
    unread_descriptors_delay_no_client(80, &server, &idle, &honest, false);
}

/// All idle connections are opened at once, before the honest client connects.
#[test]
fn line_24_many_unread_descriptors_at_once_do_not_keep_out_another_process() {
    let [server, idle, honest] = users(4);
    let Some(mut server) = helper_as(&server) else { return };
    let (Some(mut idle), Some(mut honest)) = (helper_as(&idle), helper_as(&honest)) else { return };
    let name = format!("Global\\{}", unique("pending-flights"));
    server.must("limit 256");
    server.must(&format!("serve server {name}"));
    honest.must(&format!("visit server {name} 5000"));
    idle.must(&format!("idle unread {name} 200"));
    for round in 0..100 {
        let visited = visit(&mut honest, "server", &name);
        assert!(visited.is_ok(), "round {round}: {visited:?}");
    }
}

/// The kernel passes no descriptor over these connections. The server's error concerns only their client.
#[test]
fn line_24_a_client_that_refuses_descriptors_delays_no_other() {
    for kind in ["server", "multi"] {
        let name = unique("pending-refusing");
        let (mut server, mut idle, mut honest) = (helper(), helper(), helper());
        server.must(&format!("serve {kind} {name}"));
        honest.must(&format!("visit {kind} {name} 5000"));
        idle.must(&format!("idle refusing {name} 50"));
        for round in 0..5 {
            let visited = visit(&mut honest, kind, &name);
            assert!(visited.is_ok(), "{kind}, round {round}: {visited:?}");
        }
    }
}

/// Descriptors stay in flight while the connection is open, even after it was shut down.
#[test]
fn line_24_unread_descriptors_of_connections_that_are_shut_delay_no_other_client() {
    let [server, idle, honest] = users(6);
    let Some(mut server) = helper_as(&server) else { return };
    let (Some(mut idle), Some(mut honest)) = (helper_as(&idle), helper_as(&honest)) else { return };
    let name = format!("Global\\{}", unique("pending-shut"));
    server.must("limit 256");
    server.must(&format!("serve server {name}"));
    for round in 0..80 {
        idle.must(&format!("idle shut {name} 1"));
        let visited = visit(&mut honest, "server", &name);
        assert!(visited.is_ok(), "round {round}: {visited:?}");
    }
}

/// Processes of one user leave as many descriptors unread as they may. They delay neither other users nor other processes of
/// their user.
#[test]
fn line_24_processes_that_leave_descriptors_unread_delay_no_other() {
    let [server, idle, other] = users(7);
    let Some(mut server) = helper_as(&server) else { return };
    let name = format!("Global\\{}", unique("pending-lock"));
    server.must("limit 256");
    server.must(&format!("serve server {name}"));
    let mut hoarders = Vec::new();
    for _ in 0..3 {
        let Some(mut hoarder) = helper_as(&idle) else { return };
        hoarder.must(&format!("idle unread {name} 100"));
        hoarders.push(hoarder);
    }
    let (Some(mut own), Some(mut other)) = (helper_as(&idle), helper_as(&other)) else { return };
    let begun = Instant::now();
    // The hoarders still have turns until they have as many descriptors as the server sends them.
    while begun.elapsed() < Duration::from_secs(4) {
        for (which, honest) in [("the same", &mut own), ("another", &mut other)] {
            let visited = visit(honest, "server", &name);
            assert!(visited.is_ok(), "{which} user, after {:?}: {visited:?}", begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes that connect and close again and again: the queue is full of connections whose clients have left.
#[test]
fn line_24_connections_that_are_closed_at_once_do_not_delay_a_client() {
    let name = format!("Global\\{}", unique("pending-closed"));
    let (mut server, mut honest) = (helper(), helper());
    server.must(&format!("serve server {name}"));
    honest.must(&format!("visit server {name} 5000"));
    let mut closers: Vec<Peer> = (0..4).map(|_| helper()).collect();
    for closer in &mut closers {
        closer.tell(&format!("close {name} 3000"));
    }
    for round in 0..50 {
        let visited = visit(&mut honest, "server", &name);
        assert!(visited.is_ok(), "round {round}: {visited:?}");
    }
    for closer in &mut closers {
        assert!(closer.answer().starts_with("ok"));
    }
}

/// The clients that have left take no place from one that came behind them, though they are more than the server has places.
#[test]
fn line_24_connections_that_are_closed_take_no_place_from_a_client_behind_them() {
    let name = unique("pending-places");
    let (mut server, mut honest) = (helper(), helper());
    server.must("limit 256");
    server.must(&format!("serve server {name}"));
    honest.must(&format!("visit server {name} 5000"));
    raw::freeze(server.id());
    for _ in 0..500 {
        drop(Connection::open(&name).expect("the server's queue has room"));
    }
    let waiting = Connection::open(&name).expect("the server's queue has room");
    raw::thaw(server.id());
    assert!(waiting.is_answered(Duration::from_secs(10)));
    assert!(waiting.read().is_some(), "the server closed the connection of a client that waits");
}

/// Forks hold the connections of processes that have ended. Each would have a turn of 20 ms.
#[test]
fn line_24_connections_of_ended_processes_delay_no_client() {
    const ENDED: u32 = 40;
    let name = unique("pending-ended");
    let (mut server, mut honest) = (helper(), helper());
    server.must(&format!("serve server {name}"));
    honest.must(&format!("visit server {name} 5000"));
    raw::freeze(server.id());
    let ended: Vec<Peer> = (0..ENDED)
        .map(|_| {
            let mut process = helper();
            process.must(&format!("fork {name}"));
            process.kill();
            process
        })
        .collect();
    let waiting = Connection::open(&name).expect("the server's queue has room");
    lateness();
    let (answered, took) = timed(|| {
        raw::thaw(server.id());
        waiting.is_answered(Duration::from_secs(10))
    });
    let limit = Duration::from_millis(20) * ENDED / 2 + STEPS * lateness();
    assert!(answered && took < limit, "{took:?}, the limit is {limit:?}");
    drop(ended);
}
