//! The peer: a second process for the tests. It is the test program, started again, and carries out orders from its standard
//! input.
//!
//! Each test file has a test `peer_process` that calls [`serve`]. It does nothing unless [`Peer::start`] started the
//! process.
#![allow(dead_code, reason = "each test file uses some of this")]

pub mod raw;
#[cfg(target_os = "linux")]
pub mod seccomp;
#[cfg(windows)]
pub mod tokens;
pub mod wakings;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};
use xshm::{ClientEvents, ClientHandles, ClientOptions, MultiClient, MultiClientHandler, MultiClientOptions};
use xshm::{DisconnectReason, ServerOptions, SharedClient, SharedServer, ShmError, Trust};

/// The first character of the peer's answers, which distinguishes them from the output of the test harness.
const ANSWER: char = '@';
const ROLE: &str = "XSHM_TEST_PEER";
/// The environment variable of a peer that continues the work of another one, which gave the order `restrict`.
const RESTRICTED: &str = "XSHM_TEST_RESTRICTED";

/// The handles that a client needs instead of a name, in the order of the arguments of `attach_handles`.
pub fn all_handles(handles: &ClientHandles) -> [isize; 8] {
    let events = handles.events.expect("the channel has events");
    [
        handles.section,
        events.s2c_data,
        events.c2s_data,
        events.s2c_space,
        events.c2s_space,
        events.request,
        events.acknowledge,
        events.disconnect,
    ]
}

/// A name that no other test, and no other run, uses.
pub fn unique(test: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test-{test}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Whether tests use their long counts: `XSHM_LONG` is set, and not empty.
pub fn long() -> bool {
    std::env::var_os("XSHM_LONG").is_some_and(|value| !value.is_empty())
}

/// Reports on the standard error output that a test, or a part of it, is skipped. Fails if `XSHM_REQUIRE_ALL` is set.
pub fn skipped(why: &str) {
    note(&format!("SKIPPED: {why}"));
    assert!(
        std::env::var_os("XSHM_REQUIRE_ALL").is_none(),
        "XSHM_REQUIRE_ALL forbids to skip a test, but {why}"
    );
}

/// Prints a line on the standard error output itself: the harness does not show what a test that passes prints.
pub fn note(text: &str) {
    let thread = std::thread::current();
    let _ = writeln!(std::io::stderr(), "{}: {text}", thread.name().unwrap_or("a test"));
}

pub fn seconds(count: u64) -> Option<Duration> {
    Some(Duration::from_secs(count))
}

pub fn millis(count: u64) -> Option<Duration> {
    Some(Duration::from_millis(count))
}

/// Runs a call. Returns its result and the time that it took.
pub fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = call();
    (result, start.elapsed())
}

/// Waits until this process has at most `before` threads. The kernel still counts a thread for a moment after it was joined.
pub fn threads_are_back(before: usize) {
    let start = Instant::now();
    while raw::threads() > before {
        assert!(start.elapsed() < Duration::from_secs(5), "{} threads, {before} before", raw::threads());
        std::thread::yield_now();
    }
}

/// Numbers that repeat only after a long time. `seed` is not 0.
pub fn pseudorandom(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// The message with the number `sequence` and `len` bytes: its number, then bytes that are calculated from the number.
pub fn message(sequence: u64, len: usize) -> Vec<u8> {
    let mut bytes = sequence.to_le_bytes().to_vec();
    let mut state = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Checks that a message is whole. Returns its number.
pub fn check_message(bytes: &[u8]) -> u64 {
    let sequence = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, message(sequence, bytes.len()), "message {sequence} is torn");
    sequence
}

/// A server in this process, and its client in another one.
pub fn pair(test: &str, options: ServerOptions) -> (SharedServer, Peer) {
    let name = unique(test);
    let mut server = options.start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    (server, peer)
}

/// A server, and its client in this process.
pub fn connected(name: &str, options: ServerOptions) -> (SharedServer, SharedClient) {
    let mut server = options.start(name).unwrap();
    let client = std::thread::scope(|scope| {
        let connecting = scope.spawn(|| SharedClient::connect(name, Duration::from_secs(20)).unwrap());
        server.wait_for_client(seconds(20)).unwrap();
        connecting.join().unwrap()
    });
    (server, client)
}

/// A client in this process, and its server in another one.
pub fn client_of(test: &str, options: ClientOptions) -> (SharedClient, Peer) {
    let name = unique(test);
    let mut peer = Peer::start();
    peer.must(&format!("start {name}"));
    peer.tell("accept 10000");
    let client = options.connect(&name, Duration::from_secs(10)).unwrap();
    assert_eq!(peer.answer(), "ok");
    (client, peer)
}

/// The second process. It is killed when the value is dropped.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

static STARTS: RwLock<()> = RwLock::new(());

/// Until this is dropped, no test of this process starts a peer. On Linux a process that starts has a copy of all names until it
/// executes its program: a name that was given up meanwhile is still taken.
pub fn no_peer_starts() -> RwLockReadGuard<'static, ()> {
    STARTS.read().unwrap_or_else(PoisonError::into_inner)
}

impl Peer {
    pub fn start() -> Self {
        Self::start_by("", &[])
    }

    /// Starts the peer by the program `starter`, unless that is empty: the last arguments of `starter` are the command to
    /// run.
    pub fn start_by(starter: &str, arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("a test knows its program");
        let mut command =
            Command::new(if starter.is_empty() { program.as_os_str() } else { starter.as_ref() });
        if !starter.is_empty() {
            command.args(arguments).arg(&program);
        }
        let _starts = STARTS.write().unwrap_or_else(PoisonError::into_inner);
        let mut child = command
            .args(["peer_process", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test program can be started again");
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        // `spawn` returns when the process has its own memory, a moment before Linux closes its copies of this process's descriptors.
        // It has none when its program prints the first line.
        let _ = output.read_line(&mut String::new());
        Peer { child, input, output }
    }

    /// Connects to a server of this process.
    pub fn enter(&mut self, name: &str, server: &mut SharedServer) {
        self.tell(&format!("connect {name} 10000"));
        server.wait_for_client(seconds(10)).unwrap();
        assert_eq!(self.answer(), "ok");
    }

    /// One of the peer's statistics, by its name.
    pub fn figure(&mut self, name: &str) -> u64 {
        let stats = self.must("stats");
        let (_, rest) = stats.split_once(&format!(" {name}: ")).expect("it has this figure");
        rest.split([',', ' ', '}']).next().unwrap().parse().unwrap()
    }

    /// Gives an order without waiting for the answer.
    pub fn tell(&mut self, order: &str) {
        // In one piece, which the peer reads by one system call: tests/calls.rs counts them.
        self.input.write_all(format!("{order}\n").as_bytes()).expect("the peer listens");
    }

    /// Waits for the answer to the oldest order that has none yet.
    pub fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).expect("the peer answers"), 0, "the peer ended");
            if let Some(answer) = line.trim_end().strip_prefix(ANSWER) {
                return answer.to_owned();
            }
        }
    }

    /// Starts the peer as another user. `None`: this user may not do that, or the other user cannot read the program.
    #[cfg(unix)]
    pub fn start_as(user: &str) -> Option<Self> {
        let arguments = ["--reuid", user, "--clear-groups"];
        let program = std::env::current_exe().unwrap();
        let allowed =
            Command::new("setpriv").args(arguments).arg(program).arg("--list").stdout(Stdio::null()).status();
        if !allowed.is_ok_and(|status| status.success()) {
            skipped("nothing can be started as another user here");
            return None;
        }
        Some(Self::start_by("setpriv", &arguments))
    }

    pub fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        self.answer()
    }

    /// Gives an order that must succeed.
    pub fn must(&mut self, order: &str) -> String {
        let answer = self.ask(order);
        match answer.strip_prefix("ok") {
            Some(rest) => rest.trim_start().to_owned(),
            None => panic!("{order}: {answer}"),
        }
    }

    /// Kills the process, and waits until it has ended.
    pub fn kill(&mut self) {
        self.child.kill().expect("the peer can be killed");
        self.child.wait().expect("the peer can be waited for");
    }

    /// Has the process end by itself, and waits until it has ended.
    pub fn finish(&mut self) {
        self.tell("end");
        assert!(self.child.wait().expect("the peer can be waited for").success());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the peer's process has open.
#[derive(Default)]
struct Actor {
    server: Option<SharedServer>,
    client: Option<SharedClient>,
    section: Option<raw::RawSection>,
    members: Vec<Option<(MultiClient, Messages)>>,
    watched: wakings::Watched,
}

type Answer = Result<String, ShmError>;

/// Carries out orders until the test has gone. Returns at once in the test's own process.
pub fn serve() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let mut actor = Actor::default();
    println!();
    if std::env::var_os(RESTRICTED).is_some() {
        println!("{ANSWER}ok");
    }
    while let Some(line) = next_line() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words == ["end"] {
            return;
        }
        let answer = match actor.act(&words) {
            Ok(text) => format!("ok {text}"),
            Err(error) => format!("err {error:?}"),
        };
        println!("{ANSWER}{answer}");
    }
    if std::env::var_os(RESTRICTED).is_some() {
        // No process reads the output of the test harness any more.
        std::process::exit(0);
    }
}

/// The next order. `None`: the test has gone.
fn next_line() -> Option<String> {
    let mut line = String::new();
    (std::io::stdin().read_line(&mut line).expect("orders can be read") > 0).then_some(line)
}

/// Stops this thread when it next comes to that place, until the test sends a line. Other threads are not stopped.
#[cfg(xshm_failpoints)]
fn stop_at(place: &str) {
    let (place, here) = (place.to_owned(), std::thread::current().id());
    xshm::on_each_failpoint(Some(std::sync::Arc::new(move |name| {
        if name == place && std::thread::current().id() == here {
            xshm::on_each_failpoint(None);
            println!("{ANSWER}at {name}");
            next_line();
        }
    })));
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// A time limit in milliseconds. `-` is no limit.
fn timeout(text: &str) -> Option<Duration> {
    (text != "-").then(|| Duration::from_millis(number(text)))
}

/// Marks a session's last message.
pub const LAST: u64 = 1 << 19;

/// One session of a storm: sends `count` messages and then their number. Returns how many messages it sent.
fn storm_session(name: &str, base: u64, count: u64) -> Result<u64, ShmError> {
    struct Deaf;
    impl MultiClientHandler for Deaf {}
    let options = MultiClientOptions { lobby_timeout: Duration::from_secs(30), ..Default::default() };
    let client = match MultiClient::connect(name, std::sync::Arc::new(Deaf), options) {
        Ok(client) => client,
        Err(ShmError::NoFreeSlot) => return Ok(0),
        Err(error) => return Err(error),
    };
    for sequence in 0..count {
        client
            .send_timeout(&message(base | sequence, 8 + sequence as usize), Some(Duration::from_secs(30)))?;
    }
    client.send_timeout(&message(base | LAST | count, 8), Some(Duration::from_secs(30)))?;
    Ok(count + 1)
}

type Messages = std::sync::mpsc::Receiver<Result<Vec<u8>, DisconnectReason>>;

/// Passes on a client's messages, and why its session ended.
struct Hears(std::sync::Mutex<std::sync::mpsc::Sender<Result<Vec<u8>, DisconnectReason>>>);

impl MultiClientHandler for Hears {
    fn on_message(&self, data: &[u8]) {
        let _ = self.0.lock().unwrap().send(Ok(data.to_vec()));
    }
    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        let _ = self.0.lock().unwrap().send(Err(reason.clone()));
    }
}

impl Actor {
    fn act(&mut self, words: &[&str]) -> Answer {
        let done = |()| String::new();
        match *words {
            ["start", name] => SharedServer::start(name).map(|server| self.server = Some(server)).map(done),
            ["start_for_administrators", name] => ServerOptions::new()
                .access(xshm::Access::Administrators)
                .start(name)
                .map(|server| self.server = Some(server))
                .map(done),
            ["start", name, ring, limit] => ServerOptions::new()
                .ring_size(number(ring) as usize)
                .message_limit(number(limit) as usize)
                .start(name)
                .map(|server| self.server = Some(server))
                .map(done),
            ["start", name, ring, limit, spin] => ServerOptions::new()
                .ring_size(number(ring) as usize)
                .message_limit(number(limit) as usize)
                .spin(Duration::from_millis(number(spin)))
                .start(name)
                .map(|server| self.server = Some(server))
                .map(done),
            ["accept", wait] => self.server().wait_for_client(timeout(wait)).map(done),
            #[cfg(xshm_failpoints)]
            ["stop_at", place] => {
                stop_at(place);
                Ok(String::new())
            }
            ["connect", name, wait] => {
                self.client = Some(SharedClient::connect(name, timeout(wait).unwrap_or(Duration::MAX))?);
                Ok(String::new())
            }
            ["connect", name, wait, spin] => {
                let options = ClientOptions::new().spin(Duration::from_millis(number(spin)));
                self.client = Some(options.connect(name, timeout(wait).unwrap_or(Duration::MAX))?);
                Ok(String::new())
            }
            ["connect_trusting", user, name, wait] => {
                let options = ClientOptions::new().trust(Trust::Users(vec![user.parse()?]));
                self.client = Some(options.connect(name, timeout(wait).unwrap_or(Duration::MAX))?);
                Ok(String::new())
            }
            // Gives up this process's user for another one.
            #[cfg(unix)]
            ["become", user] => {
                extern "C" {
                    fn setuid(user: u32) -> i32;
                }
                // SAFETY: no pointers.
                assert_eq!(unsafe { setuid(number(user) as u32) }, 0, "root may do that");
                Ok(String::new())
            }
            ["attach", handle, wait] => {
                // The library duplicates the handle.
                let section = raw::owned(raw::take_handle(handle));
                self.client = Some(SharedClient::attach(section, timeout(wait).unwrap_or(Duration::MAX))?);
                Ok(String::new())
            }
            ["attach_handles", section, data, back, space, room, request, answer, disconnect, wait] => {
                let events = [data, back, space, room, request, answer, disconnect].map(raw::take_handle);
                let [s2c_data, c2s_data, s2c_space, c2s_space, request, acknowledge, disconnect] = events;
                let events = ClientEvents {
                    s2c_data,
                    c2s_data,
                    s2c_space,
                    c2s_space,
                    request,
                    acknowledge,
                    disconnect,
                };
                let handles = ClientHandles { section: raw::take_handle(section), events: Some(events) };
                let wait = timeout(wait).unwrap_or(Duration::MAX);
                // SAFETY: the handles are open, and no other code closes them.
                self.client = Some(unsafe { SharedClient::attach_handles(&handles, wait) }?);
                Ok(String::new())
            }
            // Connects again and again with a short timeout. Answers how often it was accepted.
            ["reconnect", name, count] => {
                let mut accepted = 0;
                for round in 0..number(count) {
                    match SharedClient::connect(name, Duration::from_micros(round * 37 % 3000)) {
                        Ok(client) => {
                            accepted += 1;
                            client.send_to_server(&message(round, 16))?;
                        }
                        Err(
                            ShmError::NoServer { .. }
                            | ShmError::NotAccepting { .. }
                            | ShmError::AlreadyConnected,
                        ) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(accepted.to_string())
            }
            ["leave"] => {
                (self.server, self.client) = (None, None);
                Ok(String::new())
            }
            // Sends `count` messages of `len` bytes, numbered from `from`, by evicting (`over`), failing (`try`) or
            // waiting (`wait`).
            ["send", how, from, count, len] => {
                let mut overwritten = 0;
                for sequence in number(from)..number(from) + number(count) {
                    overwritten += self.send(how, &message(sequence, number(len) as usize))?;
                }
                Ok(overwritten.to_string())
            }
            // Sends for `time` milliseconds. Answers how many messages it sent, and how many of them were evicted.
            ["flood", time, len] => {
                let end = Instant::now() + Duration::from_millis(number(time));
                let (mut sent, mut overwritten) = (0, 0);
                let together = if number(len) > 65_535 { 1 } else { 64 };
                while Instant::now() < end {
                    for _ in 0..together {
                        let len = 8 + (number(len) as usize * (sent as usize % 7)) / 7;
                        overwritten += self.send("over", &message(sent, len))?;
                        sent += 1;
                    }
                }
                Ok(format!("{sent} {overwritten}"))
            }
            ["receive", wait] => self.receive(timeout(wait)).map(|bytes| check_message(&bytes).to_string()),
            // Sends back each message until the other side leaves.
            ["echo"] => {
                let mut count = 0;
                loop {
                    match self.receive(None) {
                        Ok(bytes) => drop(self.send("wait", &bytes)?),
                        Err(ShmError::NotConnected) => return Ok(format!("{count}")),
                        Err(error) => return Err(error),
                    }
                    count += 1;
                }
            }
            // Sends `count` messages of 64 bytes, and waits for the answer to each.
            ["rounds", count] => {
                for sequence in 0..number(count) {
                    self.send("wait", &message(sequence, 64))?;
                    assert_eq!(check_message(&self.receive(None)?), sequence);
                }
                Ok(String::new())
            }
            // Answers the messages of `rounds`.
            ["answer", count] => {
                for _ in 0..number(count) {
                    let bytes = self.receive(None)?;
                    self.send("wait", &bytes)?;
                }
                Ok(String::new())
            }
            // Receives until the message `last` comes. Answers how many messages came.
            ["take", last] => {
                for count in 1u64.. {
                    if check_message(&self.receive(None)?) == number(last) {
                        return Ok(count.to_string());
                    }
                }
                Ok(String::new())
            }
            ["poll", wait] => match (&self.server, &self.client) {
                (Some(server), _) => server.poll_client(timeout(wait)),
                (_, Some(client)) => client.poll_server(timeout(wait)),
                _ => Err(ShmError::NotConnected),
            }
            .map(|there| there.to_string()),
            ["stats"] => match (&self.server, &self.client) {
                (Some(server), _) => server.stats(),
                (_, Some(client)) => client.stats(),
                _ => Err(ShmError::NotConnected),
            }
            .map(|stats| format!("{stats:?}")),
            // Continues as a process with fewer rights: see `tokens::Less`.
            #[cfg(windows)]
            ["restrict", less] => {
                std::env::set_var(RESTRICTED, "1");
                match tokens::run_restricted(less.parse().expect("known rights")) {
                    Ok(0) => std::process::exit(0),
                    other => {
                        println!("{ANSWER}err no restricted process: {other:?}");
                        std::process::exit(1)
                    }
                }
            }
            #[cfg(windows)]
            ["integrity"] => Ok(tokens::integrity().to_string()),
            #[cfg(windows)]
            ["id"] => Ok(std::process::id().to_string()),
            #[cfg(windows)]
            ["open", name, instance] => Ok(format!("{:?}", raw::open_all(name, number(instance)))),
            #[cfg(unix)]
            ["reach", pid, section, event] => {
                let (section, event) = (number(section) as isize, number(event) as isize);
                Ok(format!("{:?}", raw::reach(number(pid) as u32, section, event)))
            }
            #[cfg(unix)]
            ["squat", uid, name] => {
                raw::squat_on(number(uid) as u32, name);
                Ok(String::new())
            }
            // Marks this process for `watch`; see `wakings`.
            ["mark", name] => {
                wakings::mark(name);
                Ok(String::new())
            }
            // Watches all processes that have the mark. Answers how many they are, or `-` if none can be watched here.
            ["watch", mark] => Ok(match wakings::Watched::find(mark) {
                Some(watched) => {
                    self.watched = watched;
                    self.watched.len().to_string()
                }
                None => "-".to_owned(),
            }),
            ["settle"] => {
                self.watched.settle();
                Ok(String::new())
            }
            // Answers how often the watched processes woke up in `time` milliseconds.
            ["count", time] => Ok(self.watched.count(number(time)).to_string()),
            // Maps a channel's section without the library, and keeps it.
            ["map", name] => {
                self.section = Some(raw::RawSection::open(name));
                Ok(String::new())
            }
            // Writes a 32-bit word into the mapped section.
            ["poke", offset, value] => {
                let section = self.section.as_ref().expect("a section is mapped");
                section.store32(number(offset) as usize, number(value) as u32);
                Ok(String::new())
            }
            // Connects `count` clients to a multi-client server. Answers their slots. The other orders number the clients
            // from 0.
            ["join", name, count] => {
                let mut slots = String::new();
                for _ in 0..number(count) {
                    let (sender, messages) = std::sync::mpsc::channel();
                    let handler = std::sync::Arc::new(Hears(std::sync::Mutex::new(sender)));
                    let client = MultiClient::connect(name, handler, MultiClientOptions::default())?;
                    slots += &format!("{} ", client.slot_id());
                    self.members.push(Some((client, messages)));
                }
                Ok(slots.trim_end().to_owned())
            }
            // The client `which` sends messages, numbered as with `send`.
            ["say", which, from, count, len] => {
                let client = &self.members[number(which) as usize].as_ref().expect("it has joined").0;
                for sequence in number(from)..number(from) + number(count) {
                    client.send_timeout(&message(sequence, number(len) as usize), None)?;
                }
                Ok(String::new())
            }
            // Answers the number of the next message of the client `which`. If its session is over, answers `end`, and the
            // reason unless that is `PeerLeft`.
            ["hear", which, wait] => {
                let messages = &self.members[number(which) as usize].as_ref().expect("it has joined").1;
                match messages.recv_timeout(Duration::from_millis(number(wait))) {
                    Ok(Ok(bytes)) => Ok(check_message(&bytes).to_string()),
                    Ok(Err(DisconnectReason::PeerLeft)) => Ok("end".to_owned()),
                    Ok(Err(reason)) => Ok(format!("end {reason:?}")),
                    Err(_) => Err(ShmError::Timeout),
                }
            }
            // For `time` seconds, `threads` threads connect, send, leave, and connect again. Answers how many sessions and
            // messages there were. A message's number contains its session's number. The last message of a session
            // contains how many messages there were.
            ["storm", name, time, threads, base] => {
                let end = Instant::now() + Duration::from_secs(number(time));
                let storm = |thread: u64| {
                    let (mut sessions, mut messages) = (0, 0);
                    while Instant::now() < end {
                        let session = (number(base) + thread) << 12 | sessions;
                        messages += storm_session(name, session << 20, (session * 37 + thread) % 200)?;
                        sessions += 1;
                    }
                    Ok((sessions, messages))
                };
                let totals: Result<Vec<(u64, u64)>, ShmError> = std::thread::scope(|scope| {
                    let threads: Vec<_> =
                        (0..number(threads)).map(|thread| scope.spawn(move || storm(thread))).collect();
                    threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
                });
                let sum = totals?.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
                Ok(format!("{} {}", sum.0, sum.1))
            }
            ["part", which] => {
                self.members[number(which) as usize] = None;
                Ok(String::new())
            }
            // Misuses the events of this process: see `raw::abuse_events`.
            #[cfg(unix)]
            ["abuse", how] => {
                raw::abuse_events(how);
                Ok(String::new())
            }
            // Sends and receives until the process is killed.
            ["chat", from] => {
                for sequence in number(from).. {
                    self.send("over", &message(sequence, 64))?;
                    if sequence % 3 == 0 {
                        match self.receive(Some(Duration::ZERO)) {
                            Ok(_) | Err(ShmError::Timeout) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                Ok(String::new())
            }
            // Writes garbage into the first `bytes` bytes of the mapped section for `time` milliseconds.
            ["scribble", seed, bytes, time] => {
                let section = self.section.as_ref().expect("a section is mapped");
                section.scribble(number(seed), number(bytes) as usize, Duration::from_millis(number(time)));
                Ok(String::new())
            }
            _ => panic!("no such order: {words:?}"),
        }
    }

    fn server(&mut self) -> &mut SharedServer {
        self.server.as_mut().expect("a server was started")
    }

    fn send(&self, how: &str, message: &[u8]) -> Result<u64, ShmError> {
        match (how, &self.server, &self.client) {
            ("over", Some(server), _) => server.send_to_client(message).map(|out| out.overwritten.into()),
            ("over", _, Some(client)) => client.send_to_server(message).map(|out| out.overwritten.into()),
            ("try", Some(server), _) => server.try_send_to_client(message).map(|()| 0),
            ("try", _, Some(client)) => client.try_send_to_server(message).map(|()| 0),
            ("wait", Some(server), _) => server.send_to_client_timeout(message, None).map(|()| 0),
            ("wait", _, Some(client)) => client.send_to_server_timeout(message, None).map(|()| 0),
            _ => Err(ShmError::NotConnected),
        }
    }

    fn receive(&self, timeout: Option<Duration>) -> Result<Vec<u8>, ShmError> {
        let mut buffer = Vec::new();
        match (&self.server, &self.client) {
            (Some(server), _) => server.receive_from_client_timeout(&mut buffer, timeout)?,
            (_, Some(client)) => client.receive_from_server_timeout(&mut buffer, timeout)?,
            _ => return Err(ShmError::NotConnected),
        };
        Ok(buffer)
    }
}
