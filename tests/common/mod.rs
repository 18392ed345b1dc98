//! A second process for the tests: the test program started once more, following orders from its standard input.
//!
//! Each test file has a test `peer_process` that calls [`serve`]; it does nothing unless [`Peer::start`] started it.
#![allow(dead_code, reason = "each test file uses some of this")]

pub mod raw;
#[cfg(windows)]
pub mod tokens;
pub mod wakings;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use xshm::{ClientEvents, ClientHandles, ClientOptions, MultiClient, MultiClientHandler, MultiClientOptions};
use xshm::{DisconnectReason, ServerOptions, SharedClient, SharedServer, ShmError};

/// Marks the peer's answers among what the test harness prints.
const ANSWER: char = '@';
const ROLE: &str = "XSHM_TEST_PEER";
/// Says that the peer runs in another's place, and is to answer for it that it does.
const RESTRICTED: &str = "XSHM_TEST_RESTRICTED";

/// All that a client is given in place of a name, in the order in which a peer's `attach_handles` takes it.
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

/// Whether the long forms are asked for.
pub fn long() -> bool {
    std::env::var_os("XSHM_LONG").is_some()
}

/// Says what is not tested here, on the standard error output itself: what a test that passes prints is not shown. Where
/// nothing may be left out, it fails.
pub fn skipped(why: &str) {
    note(&format!("SKIPPED: {why}"));
    assert!(
        std::env::var_os("XSHM_REQUIRE_ALL").is_none(),
        "XSHM_REQUIRE_ALL: nothing may be left out, but {why}"
    );
}

/// Prints something for the person who runs the tests, though the test passes.
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

/// What a call returned and how long it took.
pub fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = call();
    (result, start.elapsed())
}

/// Waits until this process has no more threads than it had before. The kernel counts one for a moment after it was joined.
pub fn threads_are_back(before: usize) {
    let start = Instant::now();
    while raw::threads() > before {
        assert!(start.elapsed() < Duration::from_secs(5), "{} threads, {before} before", raw::threads());
        std::thread::yield_now();
    }
}

/// Message number `sequence` of `len` bytes: its number, then bytes that follow from number and place.
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

/// The number of a message that is whole.
pub fn check_message(bytes: &[u8]) -> u64 {
    let sequence = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, message(sequence, bytes.len()), "message {sequence} is torn");
    sequence
}

/// A server here, its client in another process.
pub fn pair(test: &str, options: ServerOptions) -> (SharedServer, Peer) {
    let name = unique(test);
    let mut server = options.start(&name).unwrap();
    let mut peer = Peer::start();
    peer.enter(&name, &mut server);
    (server, peer)
}

/// A client here, its server in another process.
pub fn client_of(test: &str, options: ClientOptions) -> (SharedClient, Peer) {
    let name = unique(test);
    let mut peer = Peer::start();
    peer.must(&format!("start {name}"));
    peer.tell("accept 10000");
    let client = options.connect(&name, Duration::from_secs(10)).unwrap();
    assert_eq!(peer.answer(), "ok");
    (client, peer)
}

/// The second process. Killed when dropped.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    pub fn start() -> Self {
        Self::start_by("", &[])
    }

    /// Starts it by another program, if one is named, that runs what its last arguments say.
    pub fn start_by(starter: &str, arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("a test knows its program");
        let mut command =
            Command::new(if starter.is_empty() { program.as_os_str() } else { starter.as_ref() });
        if !starter.is_empty() {
            command.args(arguments).arg(&program);
        }
        let mut child = command
            .args(["peer_process", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test program starts once more");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Peer { child, input, output }
    }

    /// Connects to a server of this process.
    pub fn enter(&mut self, name: &str, server: &mut SharedServer) {
        self.tell(&format!("connect {name} 10000"));
        server.wait_for_client(seconds(10)).unwrap();
        assert_eq!(self.answer(), "ok");
    }

    /// One of the figures that its endpoint reports.
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

    /// The answer to the oldest order that wasn't answered yet.
    pub fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).expect("the peer answers"), 0, "the peer ended");
            if let Some(answer) = line.trim_end().strip_prefix(ANSWER) {
                return answer.to_owned();
            }
        }
    }

    /// Starts the peer as another user. `None`: this user may not, or the other one can't read the program.
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

    /// Ends the process without giving it a chance, and waits until it's gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("the peer can be killed");
        self.child.wait().expect("the peer can be waited for");
    }

    /// Has the process end by itself, and waits until it has.
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

/// What a peer holds.
#[derive(Default)]
struct Actor {
    server: Option<SharedServer>,
    client: Option<SharedClient>,
    section: Option<raw::RawSection>,
    members: Vec<Option<(MultiClient, Messages)>>,
    watched: wakings::Watched,
}

type Answer = Result<String, ShmError>;

/// The peer's side. Returns at once in the test's own process.
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
        // No process reads any more what the test harness has to say.
        std::process::exit(0);
    }
}

/// What the test says next. `None`: it is gone.
fn next_line() -> Option<String> {
    let mut line = String::new();
    (std::io::stdin().read_line(&mut line).expect("the test talks to us") > 0).then_some(line)
}

/// Stops this process, and no other thread of it, where it comes to that place next, until the test says anything.
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

/// `-` is for ever.
fn timeout(text: &str) -> Option<Duration> {
    (text != "-").then(|| Duration::from_millis(number(text)))
}

/// Marks a session's last message.
pub const LAST: u64 = 1 << 19;

/// One session of a storm: sends `count` messages and says so. Returns how many it sent.
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

/// Passes a client's messages on, and at the end its reason.
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
            ["attach", handle, wait] => {
                // The library has one of its own.
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
                // SAFETY: they are open, and no other code closes them.
                self.client = Some(unsafe { SharedClient::attach_handles(&handles, wait) }?);
                Ok(String::new())
            }
            // Tries to connect over and over, giving up at once; says how often it was accepted.
            ["reconnect", name, count] => {
                let mut accepted = 0;
                for round in 0..number(count) {
                    match SharedClient::connect(name, Duration::from_micros(round * 37 % 3000)) {
                        Ok(client) => {
                            accepted += 1;
                            client.send_to_server(&message(round, 16))?;
                        }
                        Err(ShmError::Timeout | ShmError::AlreadyConnected) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(accepted.to_string())
            }
            ["leave"] => {
                (self.server, self.client) = (None, None);
                Ok(String::new())
            }
            // Sends `count` messages of `len` bytes, numbered from `from`, in one of the three ways.
            ["send", how, from, count, len] => {
                let mut overwritten = 0;
                for sequence in number(from)..number(from) + number(count) {
                    overwritten += self.send(how, &message(sequence, number(len) as usize))?;
                }
                Ok(overwritten.to_string())
            }
            // The same for that number of milliseconds; says how many it sent, and how many of them were evicted.
            ["flood", time, len] => {
                let end = Instant::now() + Duration::from_millis(number(time));
                let (mut sent, mut overwritten) = (0, 0);
                while Instant::now() < end {
                    for _ in 0..64 {
                        let len = 8 + (number(len) as usize * (sent as usize % 7)) / 7;
                        overwritten += self.send("over", &message(sent, len))?;
                        sent += 1;
                    }
                }
                Ok(format!("{sent} {overwritten}"))
            }
            ["receive", wait] => self.receive(timeout(wait)).map(|bytes| check_message(&bytes).to_string()),
            // Sends back whatever comes until the other side leaves.
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
            // Sends that number of messages of 64 bytes and waits for the answer to each.
            ["rounds", count] => {
                for sequence in 0..number(count) {
                    self.send("wait", &message(sequence, 64))?;
                    assert_eq!(check_message(&self.receive(None)?), sequence);
                }
                Ok(String::new())
            }
            // The other side of that.
            ["answer", count] => {
                for _ in 0..number(count) {
                    let bytes = self.receive(None)?;
                    self.send("wait", &bytes)?;
                }
                Ok(String::new())
            }
            // Receives until that message comes; says how many came.
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
            // Goes on as a process that may less: without what administrators may, and the `user`, or only the former.
            #[cfg(windows)]
            ["restrict", whom] => {
                std::env::set_var(RESTRICTED, "1");
                match tokens::run_restricted(whom == "user") {
                    Ok(0) => std::process::exit(0),
                    other => {
                        println!("{ANSWER}err no restricted process: {other:?}");
                        std::process::exit(1)
                    }
                }
            }
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
            // See `wakings`.
            ["mark", name] => {
                wakings::mark(name);
                Ok(String::new())
            }
            // Says how many processes have a mark, and watches them. `-`: no process can be watched here.
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
            // How often they woke up in that number of milliseconds.
            ["count", time] => Ok(self.watched.count(number(time)).to_string()),
            // Opens a channel's section behind the library's back, and keeps it.
            ["map", name] => {
                self.section = Some(raw::RawSection::open(name));
                Ok(String::new())
            }
            // Writes a 32-bit word there.
            ["poke", offset, value] => {
                let section = self.section.as_ref().expect("a section is mapped");
                section.store32(number(offset) as usize, number(value) as u32);
                Ok(String::new())
            }
            // Connects that number of clients to a multi-client server; says their slots. They are counted from 0.
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
            // One of them sends messages, numbered as with `send`.
            ["say", which, from, count, len] => {
                let client = &self.members[number(which) as usize].as_ref().expect("it has joined").0;
                for sequence in number(from)..number(from) + number(count) {
                    client.send_timeout(&message(sequence, number(len) as usize), None)?;
                }
                Ok(String::new())
            }
            // The number of the next message that one of them has got; `end`, if its session is over, with the reason
            // unless the server ended it.
            ["hear", which, wait] => {
                let messages = &self.members[number(which) as usize].as_ref().expect("it has joined").1;
                match messages.recv_timeout(Duration::from_millis(number(wait))) {
                    Ok(Ok(bytes)) => Ok(check_message(&bytes).to_string()),
                    Ok(Err(DisconnectReason::PeerLeft)) => Ok("end".to_owned()),
                    Ok(Err(reason)) => Ok(format!("end {reason:?}")),
                    Err(_) => Err(ShmError::Timeout),
                }
            }
            // For that number of seconds, that number of threads connect, send, leave, and connect again. Says how many sessions and
            // messages there were. Each session has a number; its messages are numbered on from that, and the last one
            // says how many there were.
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
            // Does to the events that it has what their other end won't like.
            #[cfg(unix)]
            ["abuse", how] => {
                raw::abuse_events(how);
                Ok(String::new())
            }
            // Sends and receives as long as it lives.
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
            // Writes garbage all over its first `bytes` for that number of milliseconds.
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
