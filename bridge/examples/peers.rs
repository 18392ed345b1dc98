//! Programs at the two ends of a bridge, for the tests: plain xshm, and Zenoh alone for comparison.
//!
//! ```text
//! peers echo-server NAME [sync]             answers every message with the same message
//! peers echo-client NAME COUNT SIZE         sends COUNT messages, one after the other, and checks each answer
//! peers call-server NAME                    answers calls
//! peers call-client NAME COUNT              calls, and checks the answers
//! peers sink NAME [PAUSE_MS [LIMIT]]        receives from many clients, checks the order, prints a line for each client's end;
//!                                           LIMIT messages wait in a ring at most
//! peers source NAME COUNT SIZE [evict]      sends COUNT numbered messages
//! peers stream-server NAME [LIMIT]          sends what each client wants, as numbered messages, and disconnects the client
//! peers stream-client NAME COUNT SIZE       wants COUNT messages, checks the order, and prints how many came
//! peers duplex-server NAME                  receives and sends numbered messages at the same time, for each client
//! peers duplex-client NAME SECONDS SIZE     the same, and prints how many came
//! peers hold NAME                           is a client that waits until its session ends, and prints the reason
//! peers zenoh-sink ENDPOINT                 receives by Zenoh alone
//! peers zenoh-source ENDPOINT COUNT SIZE    sends by Zenoh alone
//! peers zenoh-router ENDPOINT               is a router of Zenoh
//! ```
//!
//! A numbered message begins with its number, as a `u64`. Every program prints `ready` when it is, and an error on its last line. The
//! servers for many clients end with their input.

use std::error::Error;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use xshm::{
    CallToken, Caller, ClientOptions, DisconnectReason, Incoming, MultiHandle, MultiHandler, MultiOptions,
    MultiServer, ServerOptions, SharedClient, SharedServer, ShmError, MAX_MESSAGES,
};
use zenoh::qos::CongestionControl;
use zenoh::Wait;

type Outcome = Result<(), Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["echo-server", name] => echo_many(name),
        ["echo-server", name, "sync"] => echo_one(name),
        ["echo-client", name, count, size] => echo_client(name, count.parse()?, size.parse()?),
        ["call-server", name] => call_server(name),
        ["call-client", name, count] => call_client(name, count.parse()?),
        ["sink", name] => sink(name, Duration::ZERO, MAX_MESSAGES),
        ["sink", name, pause] => sink(name, Duration::from_millis(pause.parse()?), MAX_MESSAGES),
        ["sink", name, pause, limit] => sink(name, Duration::from_millis(pause.parse()?), limit.parse()?),
        ["source", name, count, size] => source(name, count.parse()?, size.parse()?, false),
        ["source", name, count, size, "evict"] => source(name, count.parse()?, size.parse()?, true),
        ["stream-server", name] => stream_server(name, MAX_MESSAGES),
        ["stream-server", name, limit] => stream_server(name, limit.parse()?),
        ["stream-client", name, count, size] => stream_client(name, count.parse()?, size.parse()?),
        ["duplex-server", name] => duplex_server(name),
        ["duplex-client", name, seconds, size] => duplex_client(name, seconds.parse()?, size.parse()?),
        ["hold", name] => hold(name),
        ["zenoh-sink", endpoint] => zenoh_sink(endpoint),
        ["zenoh-source", endpoint, count, size] => zenoh_source(endpoint, count.parse()?, size.parse()?),
        ["zenoh-router", endpoint] => zenoh_router(endpoint),
        _ => Err("usage: see the first lines of the source".into()),
    }
}

/// Prints a line that a test waits for.
fn say(line: impl std::fmt::Display) {
    println!("{line}");
    let _ = io::stdout().flush();
}

fn numbered(number: u64, size: usize) -> Vec<u8> {
    let mut message = vec![number as u8; size.max(8)];
    message[..8].copy_from_slice(&number.to_le_bytes());
    message
}

/// Checks that a message is the one with this number, and complete.
fn check(message: &[u8], number: u64) -> Result<(), String> {
    let found = message.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    if found != Some(number) || message[8..].iter().any(|byte| *byte != number as u8) {
        return Err(format!("message {number} was expected, and {found:?} of {} bytes came", message.len()));
    }
    Ok(())
}

fn connect(name: &str) -> Result<SharedClient, ShmError> {
    ClientOptions::new().connect(name, PATIENCE)
}

// -------------------------------------------------------------------------------------------- requests and answers

fn echo_many(name: &str) -> Outcome {
    let _server = MultiServer::builder(name)
        .multi_options(MultiOptions { max_clients: 64, ..MultiOptions::default() })
        .on_message(|client, bytes| {
            let _ = client.send_timeout(bytes, None);
        })
        .start()?;
    say("ready");
    wait_for_the_end()
}

fn echo_one(name: &str) -> Outcome {
    let mut server = SharedServer::start(name)?;
    say("ready");
    let mut message = Vec::new();
    loop {
        server.wait_for_client(None)?;
        let end = loop {
            let echoed = server.receive_from_client(&mut message);
            if let Err(end) = echoed.and_then(|_| server.send_to_client_timeout(&message, None)) {
                break end;
            }
        };
        say(format_args!("client gone: {end}"));
    }
}

fn echo_client(name: &str, count: u64, size: usize) -> Outcome {
    let client = connect(name)?;
    say("ready");
    let mut answer = Vec::new();
    let mut times = Vec::new();
    for number in 0..count {
        let message = numbered(number, size);
        let started = Instant::now();
        client.send_to_server_timeout(&message, Some(PATIENCE))?;
        client.receive_from_server_timeout(&mut answer, Some(PATIENCE))?;
        times.push(started.elapsed());
        if answer != message {
            return Err(format!("answer {number} is another message").into());
        }
    }
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_micros();
    say(format_args!("{count} answers, median {} us, 99th percentile {} us", at(50), at(99)));
    Ok(())
}

fn call_server(name: &str) -> Outcome {
    let mut server = SharedServer::start(name)?;
    say("ready");
    let mut data = Vec::new();
    loop {
        server.wait_for_client(None)?;
        loop {
            let (token, answer): (CallToken, Vec<u8>) = match server.receive_call(&mut data, None) {
                Ok(Incoming::Call(token)) => (token, data.iter().rev().copied().collect()),
                Ok(_) => continue,
                Err(_) => break,
            };
            if server.answer(token, &answer).is_err() {
                break;
            }
        }
    }
}

fn call_client(name: &str, count: u32) -> Outcome {
    let caller = Caller::connect(name, PATIENCE)?;
    say("ready");
    for number in 0..count {
        let question = format!("question {number}");
        let answer = caller.call(question.as_bytes(), Some(Duration::from_secs(10)))?;
        let expected: Vec<u8> = question.bytes().rev().collect();
        if answer != expected {
            return Err(format!("the answer to call {number} is another one").into());
        }
    }
    say(format_args!("{count} calls answered"));
    Ok(())
}

// ------------------------------------------------------------------------------------------------- one direction

/// What was received of a sender of numbered messages.
#[derive(Default)]
struct Seen {
    messages: u64,
    bytes: u64,
    next: u64,
    missing: u64,
    wrong: u64,
    first: Option<Instant>,
}

impl Seen {
    fn record(&mut self, message: &[u8]) {
        self.first.get_or_insert_with(Instant::now);
        self.messages += 1;
        self.bytes += message.len() as u64;
        let number = message.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if number < self.next {
            self.wrong += 1;
        } else {
            self.missing += number - self.next;
            self.next = number + 1;
        }
    }

    /// The counts, and the seconds since the first message.
    fn summary(&self) -> String {
        let seconds = self.first.map_or(0.0, |first| first.elapsed().as_secs_f64());
        format!(
            "{} messages, {} bytes, {} missing, {} wrong, {seconds:.6} s",
            self.messages, self.bytes, self.missing, self.wrong
        )
    }
}

struct Sink {
    clients: Mutex<Vec<Seen>>,
    pause: Duration,
}

impl MultiHandler for Sink {
    fn on_client_connect(&self, slot: u32) {
        self.clients.lock().unwrap()[slot as usize] = Seen::default();
        say(format_args!("client {slot} came"));
    }

    fn on_message(&self, slot: u32, message: &[u8]) {
        if !self.pause.is_zero() {
            thread::sleep(self.pause);
        }
        self.clients.lock().unwrap()[slot as usize].record(message);
    }

    fn on_client_disconnect_because(&self, slot: u32, reason: &DisconnectReason) {
        let summary = self.clients.lock().unwrap()[slot as usize].summary();
        say(format_args!("client {slot} gone {reason:?}: {summary}"));
    }
}

fn sink(name: &str, pause: Duration, limit: usize) -> Outcome {
    let clients = Mutex::new((0..64).map(|_| Seen::default()).collect());
    let options = MultiOptions { max_clients: 64, ..MultiOptions::default() };
    let server = ServerOptions::new().message_limit(limit);
    let _server = server.start_multi(name, Arc::new(Sink { clients, pause }), options)?;
    say("ready");
    wait_for_the_end()
}

fn source(name: &str, count: u64, size: usize, evict: bool) -> Outcome {
    let client = connect(name)?;
    say("ready");
    let mut message = numbered(0, size);
    let mut evicted = 0;
    for number in 0..count {
        message[..8].copy_from_slice(&number.to_le_bytes());
        if evict {
            evicted += u64::from(client.send_to_server(&message)?.overwritten);
        } else {
            client.send_to_server_timeout(&message, Some(PATIENCE))?;
        }
    }
    say(format_args!("sent {count} messages, evicted {evicted}"));
    Ok(())
}

// ------------------------------------------------------------------------------------------- the other direction

/// The first message of a client has the number of the messages that it wants, and their size.
fn stream_server(name: &str, limit: usize) -> Outcome {
    let mut server = ServerOptions::new().message_limit(limit).start(name)?;
    say("ready");
    let mut request = Vec::new();
    loop {
        server.wait_for_client(None)?;
        server.receive_from_client_timeout(&mut request, Some(PATIENCE))?;
        let [count, size] = words(&request)?;
        let mut message = numbered(0, size as usize);
        for number in 0..count {
            message[..8].copy_from_slice(&number.to_le_bytes());
            server.send_to_client_timeout(&message, Some(PATIENCE))?;
        }
        server.disconnect_client();
    }
}

/// The numbers in a request of this form: `COUNT SIZE`.
fn words(request: &[u8]) -> Result<[u64; 2], Box<dyn Error>> {
    let request = std::str::from_utf8(request)?;
    let (count, size) = request.split_once(' ').ok_or("the request has no second number")?;
    Ok([count.parse()?, size.parse()?])
}

fn stream_client(name: &str, count: u64, size: usize) -> Outcome {
    let client = connect(name)?;
    say("ready");
    client.send_to_server_timeout(format!("{count} {size}").as_bytes(), Some(PATIENCE))?;
    let (mut seen, mut message) = (Seen::default(), Vec::new());
    loop {
        match client.receive_from_server_timeout(&mut message, Some(PATIENCE)) {
            Ok(_) => seen.record(&message),
            Err(ShmError::NotConnected) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if seen.messages != count {
        return Err(format!("{} messages of {count} came", seen.messages).into());
    }
    say(seen.summary());
    Ok(())
}

// --------------------------------------------------------------------------------------------- both directions

/// Sends to each client without an end, and checks what the client sends.
struct Duplex {
    server: Mutex<Option<MultiHandle>>,
    next: Vec<AtomicU64>,
}

impl MultiHandler for Duplex {
    fn on_start(&self, server: MultiHandle) {
        *self.server.lock().unwrap() = Some(server);
    }

    fn on_client_connect(&self, slot: u32) {
        self.next[slot as usize].store(0, Ordering::Relaxed);
        let peer = self.server.lock().unwrap().as_ref().and_then(|server| server.peer(slot));
        let Some(peer) = peer else { return };
        thread::spawn(move || {
            for number in 0.. {
                if peer.send_timeout(&numbered(number, 64 + (number as usize * 37) % 3000), None).is_err() {
                    return;
                }
            }
        });
    }

    fn on_message(&self, slot: u32, message: &[u8]) {
        let number = self.next[slot as usize].fetch_add(1, Ordering::Relaxed);
        if let Err(error) = check(message, number) {
            say(format_args!("wrong: client {slot}: {error}"));
        }
    }

    fn on_client_disconnect_because(&self, slot: u32, reason: &DisconnectReason) {
        let count = self.next[slot as usize].load(Ordering::Relaxed);
        say(format_args!("client {slot} gone {reason:?}: {count} messages"));
    }
}

fn duplex_server(name: &str) -> Outcome {
    let next = (0..64).map(|_| AtomicU64::new(0)).collect();
    let options = MultiOptions { max_clients: 64, clients_per_worker: 1, ..MultiOptions::default() };
    let _server = MultiServer::start(name, Arc::new(Duplex { server: Mutex::default(), next }), options)?;
    say("ready");
    wait_for_the_end()
}

fn duplex_client(name: &str, seconds: u64, size: usize) -> Outcome {
    let mut client = connect(name)?;
    say("ready");
    let (sender, receiver) = client.split()?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let (sent, received) = thread::scope(|scope| {
        let sending = scope.spawn(move || -> Result<u64, String> {
            let mut number = 0;
            while Instant::now() < end {
                let message = numbered(number, 8 + (number as usize * 31) % size.max(1));
                sender.send_timeout(&message, Some(PATIENCE)).map_err(|error| format!("sending: {error}"))?;
                number += 1;
            }
            Ok(number)
        });
        let receiving = scope.spawn(move || -> Result<u64, String> {
            let (mut number, mut message) = (0, Vec::new());
            while Instant::now() < end {
                receiver
                    .receive_timeout(&mut message, Some(PATIENCE))
                    .map_err(|error| format!("receiving: {error}"))?;
                check(&message, number)?;
                number += 1;
            }
            Ok(number)
        });
        (sending.join().unwrap(), receiving.join().unwrap())
    });
    say(format_args!("sent {} received {}", sent?, received?));
    Ok(())
}

fn hold(name: &str) -> Outcome {
    let client = connect(name)?;
    say("ready");
    let mut message = Vec::new();
    let started = Instant::now();
    let mut count = 0_u64;
    let end = loop {
        match client.receive_from_server(&mut message) {
            Ok(_) => count += 1,
            Err(end) => break end,
        }
    };
    say(format_args!("ended after {:.3} s and {count} messages: {end}", started.elapsed().as_secs_f64()));
    Ok(())
}

// ------------------------------------------------------------------------------------------------- Zenoh alone

/// Opens a session of a mode (`peer` or `router`) that finds others only by the endpoint.
fn zenoh_session(mode: &str, kind: &str, endpoint: &str) -> zenoh::Result<zenoh::Session> {
    let mut config = zenoh::Config::default();
    config.insert_json5("mode", &format!("{mode:?}"))?;
    config.insert_json5("scouting/multicast/enabled", "false")?;
    config.insert_json5(&format!("{kind}/endpoints"), &format!("[{endpoint:?}]"))?;
    zenoh::open(config).wait()
}

fn zenoh_sink(endpoint: &str) -> Outcome {
    let session = zenoh_session("peer", "listen", endpoint).map_err(|error| error.to_string())?;
    let (sender, ends) = mpsc::channel();
    let seen = Mutex::new(Seen::default());
    let subscriber = session.declare_subscriber("measure/data").callback(move |sample| {
        let payload = sample.payload().to_bytes();
        let number = payload.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let mut seen = seen.lock().unwrap();
        if number == u64::MAX {
            let _ = sender.send(std::mem::take(&mut *seen).summary());
        } else {
            seen.record(&payload);
        }
    });
    let _subscriber = subscriber.wait().map_err(|error| error.to_string())?;
    say("ready");
    for line in ends {
        say(line);
        session.put("measure/end", "").wait().map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn zenoh_source(endpoint: &str, count: u64, size: usize) -> Outcome {
    let session = zenoh_session("peer", "connect", endpoint).map_err(|error| error.to_string())?;
    let publisher = session.declare_publisher("measure/data").congestion_control(CongestionControl::Block);
    let publisher = publisher.wait().map_err(|error| error.to_string())?;
    let (sender, ends) = mpsc::channel();
    let subscriber = session.declare_subscriber("measure/end").callback(move |_| {
        let _ = sender.send(());
    });
    let _subscriber = subscriber.wait().map_err(|error| error.to_string())?;
    let matching = Instant::now();
    while !publisher.matching_status().wait().is_ok_and(|status| status.matching()) {
        if matching.elapsed() > PATIENCE {
            return Err("no subscriber is there".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    say("ready");
    let mut message = numbered(0, size);
    for number in 0..count {
        message[..8].copy_from_slice(&number.to_le_bytes());
        publisher.put(message.as_slice()).wait().map_err(|error| error.to_string())?;
    }
    publisher.put(u64::MAX.to_le_bytes().as_slice()).wait().map_err(|error| error.to_string())?;
    // Zenoh loses what is under way when a session closes.
    ends.recv_timeout(PATIENCE).map_err(|_| "the sink did not get the last message")?;
    say(format_args!("sent {count} messages"));
    session.close().wait().map_err(|error| error.to_string())?;
    Ok(())
}

fn zenoh_router(endpoint: &str) -> Outcome {
    let _session = zenoh_session("router", "listen", endpoint).map_err(|error| error.to_string())?;
    say("ready");
    wait_for_the_end()
}

/// Waits until the program's input ends: a test closes it, or the test has died.
fn wait_for_the_end() -> Outcome {
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
