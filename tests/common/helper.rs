//! The helper: a second process that can do more than a [`Peer`], on Linux. It sets its limit of descriptors, serves
//! clients in the background, and opens connections that do nothing.
//!
//! A test file that starts one calls [`serve_or_help`] in its test `peer_process`, instead of [`serve`].
#![allow(dead_code, reason = "each test file uses some of this")]

use super::common::*;
use super::raw_client::Connection;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io::BufRead;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use xshm::*;

extern "C" {
    fn nice(by: c_int) -> c_int;
    fn fork() -> c_int;
    fn read(descriptor: c_int, buffer: *mut c_void, size: usize) -> isize;
    fn _exit(code: c_int) -> !;
}

/// Runs the helper, or an ordinary [`Peer`], if a test started this process as one. Returns at once in the test's own
/// process.
pub fn serve_or_help() {
    if std::env::var_os(HELPER).is_some() {
        return Helper::default().serve();
    }
    serve();
}

const HELPER: &str = "XSHM_TEST_PENDING";

/// Starts a helper. It takes orders as a [`Peer`] does.
pub fn helper() -> Peer {
    Peer::start_by("env", &[&format!("{HELPER}=1")])
}

/// Starts a helper as another user. `None`: this user may not do that, or the other user can't read the program.
pub fn helper_as(user: &str) -> Option<Peer> {
    let arguments = ["--reuid", user, "--clear-groups"];
    let program = std::env::current_exe().unwrap();
    let allowed =
        Command::new("setpriv").args(arguments).arg(program).arg("--list").stdout(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        skipped("nothing can be started as another user here");
        return None;
    }
    Some(Peer::start_by("setpriv", &[&arguments[..], &["env", &format!("{HELPER}=1")]].concat()))
}

#[derive(Default)]
struct Helper {
    server: Option<SharedServer>,
    multi: Option<MultiServer>,
    idle: Vec<Connection>,
    hogs: Vec<File>,
}

struct Quiet;

impl MultiHandler for Quiet {}
impl MultiClientHandler for Quiet {}

/// Options of a server with small rings, whose channels are made quickly.
pub fn small() -> ServerOptions {
    ServerOptions::new().ring_size(16 * 1024).message_limit(100)
}

/// Accepts one client after the other, as long as the process lives, and sends each message back.
fn echo(mut server: SharedServer) {
    let mut buffer = Vec::new();
    loop {
        if server.wait_for_client(None).is_err() {
            // The process may have no descriptor left. The pause keeps the loop from using a processor.
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        while server.receive_from_client(&mut buffer).is_ok() {
            let _ = server.send_to_client(&buffer);
        }
    }
}

/// Connects, exchanges a message, and leaves. Returns how long connecting took.
fn visit(name: &str, patience: Duration) -> Result<Duration> {
    let (client, took) = timed(|| ClientOptions::new().trust(Trust::Anyone).connect(name, patience));
    let client = client?;
    client.send_to_server(&message(1, 64))?;
    let mut buffer = Vec::new();
    client.receive_from_server_timeout(&mut buffer, Some(patience))?;
    assert_eq!(check_message(&buffer), 1);
    Ok(took)
}

/// Does the same with a `MultiServer`, which does not answer.
fn visit_multi(name: &str, patience: Duration) -> Result<Duration> {
    let options = MultiClientOptions { lobby_timeout: patience, ..MultiClientOptions::default() };
    let (client, took) = timed(|| MultiClient::connect(name, Arc::new(Quiet), options));
    client?.send(&message(1, 64))?;
    Ok(took)
}

impl Helper {
    fn serve(&mut self) {
        // The test harness has printed the beginning of a line.
        println!();
        for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match self.act(&words) {
                Ok(text) => println!("@ok {text}"),
                Err(error) => println!("@err {error:?}"),
            }
        }
    }

    fn act(&mut self, words: &[&str]) -> Result<String> {
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let wait = |text: &str| Duration::from_millis(number(text));
        let done = |()| String::new();
        match *words {
            // RLIMIT_NOFILE: the soft limit, which can be raised again.
            ["limit", count] => {
                raw::limit_descriptors(number(count));
                Ok(String::new())
            }
            ["start", name] => small().start(name).map(|server| self.server = Some(server)).map(done),
            ["accept", time] => self.server().wait_for_client(Some(wait(time))).map(done),
            ["send", message_number] => {
                self.server().send_to_client(&message(number(message_number), 64)).map(|_| String::new())
            }
            ["receive", time] => {
                let mut buffer = Vec::new();
                self.server().receive_from_client_timeout(&mut buffer, Some(wait(time)))?;
                Ok(check_message(&buffer).to_string())
            }
            // Opens `count` descriptors.
            ["hold", count] => {
                let open = |_| File::open("/dev/null").expect("there is a descriptor");
                self.hogs = (0..number(count)).map(open).collect();
                Ok(String::new())
            }
            // Opens all descriptors that the limit allows, except `free`.
            ["hog", free] => {
                self.hogs = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
                self.hogs.truncate(self.hogs.len() - number(free) as usize);
                Ok(String::new())
            }
            ["release"] => {
                self.hogs.clear();
                Ok(String::new())
            }
            // Serves all clients in the background.
            ["serve", "server", name] => {
                let server = small().access(Access::Everyone).start(name)?;
                std::thread::spawn(move || echo(server));
                Ok(String::new())
            }
            ["serve", "multi", name] => {
                let options = MultiOptions::default();
                self.multi = Some(small().start_multi(name, Arc::new(Quiet), options)?);
                Ok(String::new())
            }
            // Opens connections. `unread` does nothing with them; `shut` shuts each when something has come, and keeps
            // it; `refusing` has the kernel refuse descriptors (from Linux 6.16 on); `reading` takes what the server
            // sends, keeps it, and does nothing else. Answers how many connections it opened.
            ["idle", what, name, count] => {
                let before = self.idle.len();
                for _ in 0..number(count) {
                    // EAGAIN: the queue is full, and may have room soon.
                    let start = Instant::now();
                    let opened = loop {
                        match Connection::open(name) {
                            Err(11) if start.elapsed() < Duration::from_millis(100) => {
                                std::thread::sleep(Duration::from_millis(1));
                            }
                            opened => break opened,
                        }
                    };
                    match (what, &opened) {
                        ("refusing", Ok(connection)) => connection.refuse_descriptors(),
                        ("shut", Ok(connection)) => connection.shut_when_answered(),
                        _ => {}
                    }
                    self.idle.extend(opened);
                }
                let opened = self.idle.len() - before;
                if what == "reading" {
                    let idle = self.idle.split_off(before);
                    std::thread::spawn(move || {
                        // The server answers in this order. The descriptors stay open.
                        let mut taken = Vec::new();
                        for connection in &idle {
                            connection.is_answered(Duration::from_secs(600));
                            taken.extend(connection.read());
                        }
                        std::thread::park();
                    });
                }
                Ok(opened.to_string())
            }
            // Opens a connection, which a fork keeps until the helper's input is closed.
            ["fork", name] => {
                self.idle.push(Connection::open(name).expect("the server's queue has room"));
                let mut byte = 0_u8;
                // SAFETY: the fork calls the system alone, and the place for the byte is valid.
                unsafe {
                    if fork() == 0 {
                        while read(0, std::ptr::from_mut(&mut byte).cast(), 1) > 0 {}
                        _exit(0);
                    }
                }
                Ok(String::new())
            }
            // Opens connections and closes them at once, for `time` milliseconds.
            // Leaves the processors to the others: what a test then measures is the server, and not how the system shares them.
            ["close", name, time] => {
                // SAFETY: no pointers.
                unsafe { nice(19) };
                let start = Instant::now();
                while start.elapsed() < wait(time) {
                    drop(Connection::open(name));
                }
                Ok(String::new())
            }
            ["visit", "server", name, time] => {
                visit(name, wait(time)).map(|took| took.as_millis().to_string())
            }
            ["visit", "multi", name, time] => {
                visit_multi(name, wait(time)).map(|took| took.as_millis().to_string())
            }
            // Visits the server again and again for `time` milliseconds. Answers how many microseconds each visit waited.
            ["visits", name, time] => {
                let start = Instant::now();
                let mut waits = String::new();
                while start.elapsed() < wait(time) {
                    waits += &format!("{} ", visit(name, Duration::from_secs(10))?.as_micros());
                }
                Ok(waits)
            }
            _ => panic!("no such order: {words:?}"),
        }
    }

    fn server(&mut self) -> &mut SharedServer {
        self.server.as_mut().expect("a server was started")
    }
}
