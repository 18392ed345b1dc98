//! `xshm list`, `info` and `watch`, against living and dead pairs.

mod common;

use common::{run, wait_until, Xshm, LIMIT};
use serde_json::Value;
use xshm::{ServerOptions, SharedClient, SharedServer};

/// Runs the program, which must succeed. Returns what it prints.
fn printed<const N: usize>(arguments: [&str; N]) -> String {
    let ended = run(&arguments, "");
    assert_eq!((ended.status, ended.errors.as_str()), (Some(0), ""));
    String::from_utf8(ended.output).unwrap()
}

/// The rows of `xshm list --json` with this name.
fn rows(name: &str) -> Vec<Value> {
    let listing: Value = serde_json::from_str(&printed(["list", "--json"])).unwrap();
    let rows = listing["channels"].as_array().unwrap();
    rows.iter().filter(|row| row["name"] == name).cloned().collect()
}

/// Waits until the only row of this name has this state.
fn row_in_state(name: &str, state: &str) -> Value {
    wait_until(&format!("{name} {state}"), || {
        let rows = rows(name);
        (rows.len() == 1 && rows[0]["state"] == state).then(|| rows[0].clone())
    })
}

/// The line of `xshm list` with this name.
fn listed(name: &str) -> String {
    let text = printed(["list"]);
    text.lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_else(|| panic!("{name} is not in {text}"))
        .to_owned()
}

#[test]
fn an_idle_and_a_connected_channel_are_listed() {
    let name = common::name("idle");
    let server = Xshm::start(&["serve", &name]);
    let row = row_in_state(&name, "idle");
    assert_eq!((row["mode"].as_str(), row["scope"].as_str()), (Some("single"), Some("local")));
    assert_eq!(row["server"]["id"], server.id());
    assert_eq!(row["client"], Value::Null);
    let client = Xshm::start(&["connect", &name]);
    let row = row_in_state(&name, "connected");
    assert_eq!(row["client"]["id"], client.id());
    assert_eq!(row["generation"], 1);
    for end in ["server", "client"] {
        let program = row[end]["program"].as_str().unwrap();
        assert!(program.starts_with("xshm"), "{program}");
        assert_eq!(row[end]["is_alive"], true);
    }
    let line = listed(&name);
    for part in ["single", "connected", &server.id().to_string(), &client.id().to_string()] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let info = printed(["info", &name]);
    for part in [&name, "connected", "2 MiB (2097152 bytes) each way", "version 0x00020000", "process "] {
        assert!(info.contains(part), "{part} is not in {info}");
    }
    let info: Value = serde_json::from_str(&printed(["info", &name, "--json"])).unwrap();
    assert_eq!(info["channels"][0]["magic"], "0x5853484d");
    drop(client);
    drop(server);
    wait_until("gone", || rows(&name).is_empty().then_some(()));
}

#[test]
fn queues_and_drops_are_listed() {
    let name = common::name("queues");
    let mut server = ServerOptions::new().message_limit(10).start(&name).unwrap();
    let client_name = name.clone();
    let connecting = std::thread::spawn(move || SharedClient::connect(&client_name, LIMIT).unwrap());
    server.wait_for_client(Some(LIMIT)).unwrap();
    let client = connecting.join().unwrap();
    for _ in 0..13 {
        server.send_to_client(b"evicts").unwrap();
    }
    client.send_to_server(b"waits").unwrap();
    let row = row_in_state(&name, "connected");
    assert_eq!(
        (row["to_client"]["queued"].as_u64(), row["to_server"]["queued"].as_u64()),
        (Some(10), Some(1))
    );
    assert_eq!(
        (row["to_client"]["dropped"].as_u64(), row["to_client"]["sent"].as_u64()),
        (Some(3), Some(13))
    );
    let line = listed(&name);
    assert!(line.contains("10/1") && line.trim_end().ends_with('3'), "{line}");
}

#[test]
fn a_dead_server_and_a_dead_client_are_marked() {
    let name = common::name("dead");
    let mut server = Xshm::start(&["serve", &name]);
    // A client that lives on in this process, and does not look after its server.
    let client = SharedClient::connect(&name, LIMIT).unwrap();
    row_in_state(&name, "connected");
    server.kill();
    let row = row_in_state(&name, "server-dead");
    assert_eq!(
        (&row["server"]["is_alive"], &row["client"]["is_alive"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    assert!(listed(&name).contains("(ended)"));
    drop(client);
    wait_until("gone", || rows(&name).is_empty().then_some(()));

    let mut server = SharedServer::start(&name).unwrap();
    let mut client = Xshm::start(&["connect", &name]);
    server.wait_for_client(Some(LIMIT)).unwrap();
    client.kill();
    // The server's program does not look either.
    let row = row_in_state(&name, "client-dead");
    assert_eq!(row["client"]["is_alive"], false);
}

#[test]
fn a_server_with_twenty_clients_has_a_row_for_each() {
    let name = common::name("twenty");
    let _server = Xshm::start(&["serve", &name, "--multi"]);
    row_in_state(&name, "idle");
    let clients: Vec<Xshm> = (0..20).map(|_| Xshm::start(&["connect", &name])).collect();
    let rows = wait_until("all are connected", || {
        let rows = rows(&name);
        let connected = rows.iter().filter(|row| row["state"] == "connected").count();
        // The one that the server offers comes a moment after the last client.
        (connected == 20 && rows.len() == 21).then_some(rows)
    });
    assert!(rows.iter().all(|row| row["mode"] == "multi"));
    let mut ids: Vec<u64> = rows.iter().filter_map(|row| row["client"]["id"].as_u64()).collect();
    let mut expected: Vec<u64> = clients.iter().map(|client| client.id().into()).collect();
    ids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    let text = printed(["list"]);
    assert!(text.contains("- client 19"), "{text}");
    let clients = printed(["info", &name]).matches("multi, client ").count();
    assert_eq!(clients, 20);
}

#[test]
fn what_does_not_exist_has_its_status() {
    let name = common::name("nothing");
    for command in ["info", "watch"] {
        run(&[command, &name], "").assert(3, "").says(&name);
    }
    run(&["info"], "").assert(2, "");
    run(&["watch", "--interval", "soon"], "").assert(2, "");
}

#[test]
fn traffic_is_watched_in_lines() {
    let name = common::name("watch");
    let mut server = Xshm::start(&["serve", &name]);
    let mut client = Xshm::start(&["connect", &name]);
    row_in_state(&name, "connected");
    let mut watch = Xshm::start(&["watch", &name, "--interval", "200ms", "--count", "10"]);
    // The first line comes after an interval, and then messages go through until one is counted.
    watch.line();
    for number in 0..50 {
        server.write(format!("message {number}\n"));
        client.line();
    }
    let ended = watch.end();
    assert_eq!((ended.status, ended.errors.as_str()), (Some(0), ""));
    let output = String::from_utf8(ended.output).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 19);
    let to_client = lines.iter().filter(|line| line.contains(" to-client "));
    let rates: Vec<f64> = to_client.map(|line| line.split(' ').nth(3).unwrap().parse().unwrap()).collect();
    // An interval may be some percent longer than asked for.
    let messages: f64 = rates.iter().map(|rate| rate * 0.2).sum();
    assert!((40.0..=51.0).contains(&messages), "{messages}: {lines:?}");
    assert!(lines.iter().all(|line| line.ends_with(" connected")), "{lines:?}");
}

#[cfg(unix)]
mod terminal {
    use super::*;
    use common::terminal::{Terminal, SIZE};
    use portable_pty::{native_pty_system, CommandBuilder};
    use std::io::Read;

    #[test]
    fn the_picture_fits_a_small_terminal() {
        let name = common::name("picture");
        let mut server = Xshm::start(&["serve", &name]);
        let mut client = Xshm::start(&["connect", &name]);
        row_in_state(&name, "connected");
        let mut terminal = Terminal::start(&["watch", &name, "--interval", "100ms"], &[]);
        terminal.wait_for("connected");
        // The bars of the history.
        let start = std::time::Instant::now();
        while !terminal.shows("█") {
            assert!(start.elapsed() < LIMIT, "no bars");
            server.write("a message\n");
            client.line();
        }
        let screen = terminal.wait_for("q ends");
        let line = |start: &str| screen.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
        assert!(line(&name).contains(&format!("server {}", server.id())), "{screen}");
        assert!(line("to client").contains('%') && line("to server").contains('%'), "{screen}");
        assert!(screen.lines().next().unwrap().contains("messages/s"), "{screen}");
        terminal.press("q");
        let (status, rest) = terminal.finish();
        assert_eq!(status, 0);
        // The screen of before is there again, and the cursor.
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(rest.contains("\u{1b}[?1049l") && rest.contains("\u{1b}[?25h"), "{rest:?}");
    }

    #[test]
    fn more_channels_than_fit_can_be_scrolled() {
        let names: Vec<String> = (0..8).map(|number| common::name(&format!("scroll{number}"))).collect();
        let _servers: Vec<SharedServer> =
            names.iter().map(|name| SharedServer::start(name).unwrap()).collect();
        let mut arguments = vec!["watch", "--interval", "100ms"];
        arguments.extend(names.iter().map(String::as_str));
        let mut terminal = Terminal::start(&arguments, &[]);
        let screen = terminal.wait_for("channels 1 to 5 of 8");
        assert!(screen.contains(&names[0]) && !screen.contains(&names[7]), "{screen}");
        terminal.press("jjj");
        let screen = terminal.wait_for("channels 4 to 8 of 8");
        assert!(screen.contains(&names[7]), "{screen}");
        // Ctrl-C.
        terminal.press("\u{3}");
        assert_eq!(terminal.finish().0, 0);
    }

    /// As when the window of the terminal is closed.
    #[test]
    fn a_program_without_its_terminal_ends() {
        let name = common::name("closed");
        let _server = SharedServer::start(&name).unwrap();
        let pair = native_pty_system().openpty(SIZE).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_xshm"));
        command.args(["watch", &name, "--interval", "100ms"]);
        command.env("TERM", "xterm-256color");
        let mut child = pair.slave.spawn_command(command).unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&shown).contains("q ends") {
            let count = reader.read(&mut buffer).unwrap();
            shown.extend(&buffer[..count]);
        }
        drop((reader, pair));
        wait_until("ended", || child.try_wait().unwrap());
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let name = common::name("colours");
        let _server = SharedServer::start(&name).unwrap();
        let list = |variables: &[(&str, &str)]| {
            let (status, bytes) = Terminal::start(&["list"], variables).finish();
            assert_eq!(status, 0);
            String::from_utf8(bytes).unwrap()
        };
        assert!(list(&[]).contains('\u{1b}'));
        let plain = list(&[("NO_COLOR", "1")]);
        assert!(!plain.contains("\u{1b}[3"), "{plain:?}");
        assert!(!printed(["list"]).contains('\u{1b}'));
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::process::{Command, Stdio};

    /// A side may write anything into the memory.
    #[test]
    fn a_channel_with_garbage_is_marked() {
        let name = common::name("garbage");
        let _server = SharedServer::start(&name).unwrap();
        let wanted = format!("/memfd:xshm:{name} (deleted)");
        let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let path = descriptors
            .map(|entry| entry.path())
            .find(|path| fs::read_link(path).is_ok_and(|target| target.as_os_str() == wanted.as_str()))
            .unwrap();
        let file = fs::File::options().read(true).write(true).open(path).unwrap();
        let mut whole = vec![0; 192];
        file.read_exact_at(&mut whole, 0).unwrap();
        for place in (0..128).step_by(4) {
            for garbage in [[0; 4], [0x7f; 4], [0xff; 4]] {
                file.write_all_at(&garbage, place as u64).unwrap();
                printed(["info", &name]);
                file.write_all_at(&whole[..128], 0).unwrap();
            }
        }
        file.write_all_at(&[0xff; 128], 0).unwrap();
        let row = row_in_state(&name, "damaged");
        assert!(row["problems"].as_array().unwrap().len() > 3, "{row}");
        let text = printed(["list"]);
        assert!(text.lines().any(|line| line.starts_with(&format!("! {name}: the magic number"))), "{text}");
        let watched = printed(["watch", &name, "--count", "2", "--interval", "50ms"]);
        assert!(watched.contains("damaged"), "{watched}");
    }

    /// What this process lacks is not taken for what others forbid.
    #[test]
    fn too_few_descriptors_are_an_error() {
        let ended = Xshm::start_after("ulimit -n 4", &["list"]).until_end().assert_status(1);
        ended.says("Too many open files");
    }

    #[test]
    fn a_newline_in_a_name_makes_no_second_row() {
        let name = common::name("two\nlines");
        let _server = Xshm::start(&["serve", &name]);
        row_in_state(&name, "idle");
        assert!(rows(name.lines().next().unwrap()).is_empty());
    }

    /// A user sees the names of others, and not their memory.
    #[test]
    fn the_channels_of_another_user_are_hidden() {
        let name = common::name("hidden");
        let _server = SharedServer::start(&name).unwrap();
        let as_nobody = |arguments: &[&str]| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--clear-groups", env!("CARGO_BIN_EXE_xshm")]).args(arguments);
            command.stdin(Stdio::null()).output().unwrap()
        };
        if !as_nobody(&["--version"]).status.success() {
            eprintln!("skipped: no program can be started as another user here");
            assert!(std::env::var_os("XSHM_REQUIRE_ALL").is_none());
            return;
        }
        let listing = as_nobody(&["list", "--all-users", "--json"]);
        let listing: Value = serde_json::from_slice(&listing.stdout).unwrap();
        let rows: Vec<&Value> =
            listing["channels"].as_array().unwrap().iter().filter(|row| row["name"] == name).collect();
        assert_eq!(rows.len(), 1);
        assert_eq!((&rows[0]["state"], &rows[0]["owner"]), (&"hidden".into(), &"root".into()));
        let listing = as_nobody(&["list", "--json"]);
        assert!(!String::from_utf8_lossy(&listing.stdout).contains(&name));
        assert_eq!(as_nobody(&["info", &name]).status.code(), Some(6));
    }
}
