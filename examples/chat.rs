//! A chat room. Try it in three terminals:
//!
//! ```text
//! cargo run --example chat -- serve
//! cargo run --example chat -- join Ada
//! cargo run --example chat -- join Grace
//! ```
//!
//! All people in the room see each line, and which people come and go. A person leaves at the end of the input (Ctrl+D; on
//! Windows Ctrl+Z and Enter), or when the process is killed. The room closes when its own input ends. `check` starts a room
//! and two people as processes, and checks the lines that each of them receives.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use xshm::{DisconnectReason, MultiClient, MultiClientHandler, MultiClientOptions};
use xshm::{MultiHandler, MultiOptions, MultiServer, ShmError};

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: chat serve [ROOM] | chat join NAME [ROOM] | chat check";
const ROOM: &str = "xshm-chat";
/// Longer lines are cut.
const LONGEST_LINE: usize = 2000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["serve"] => serve(ROOM),
        ["serve", room] => serve(room),
        ["join", name] => join(name, ROOM),
        ["join", name, room] => join(name, room),
        ["check"] => check(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}

// --------------------------------------------------------------------------------------------------------- the room

#[derive(Default)]
struct Room {
    /// The people's names, by slot. A person's first message is the name.
    names: Mutex<BTreeMap<u32, String>>,
    server: OnceLock<MultiServer>,
}

impl Room {
    /// Prints a line, and sends it to all people in the room.
    fn say(&self, line: &str) {
        println!("{line}");
        // The server may not be set yet when a very quick first person connects. No other person is there then.
        if let Some(server) = self.server.get() {
            if let Err(error) = server.broadcast(line.as_bytes()) {
                eprintln!("chat: {error}");
            }
        }
    }
}

impl MultiHandler for Room {
    fn on_message(&self, client_id: u32, data: &[u8]) {
        let text = String::from_utf8_lossy(data);
        let text = text.trim();
        let name = self.names.lock().unwrap().get(&client_id).cloned();
        match name {
            Some(name) => self.say(&format!("{name}: {text}")),
            None => {
                self.names.lock().unwrap().insert(client_id, text.to_owned());
                self.say(&format!("* {text} has come"));
            }
        }
    }

    fn on_client_disconnect_because(&self, client_id: u32, reason: &DisconnectReason) {
        let name = self.names.lock().unwrap().remove(&client_id);
        if let Some(name) = name {
            let how = if *reason == DisconnectReason::PeerDied { " without a word" } else { "" };
            self.say(&format!("* {name} has gone{how}"));
        }
    }

    fn on_error(&self, client_id: Option<u32>, error: ShmError) {
        eprintln!("chat: client {client_id:?}: {error}");
    }
}

fn serve(room: &str) -> Outcome<()> {
    let handler = Arc::new(Room::default());
    let server = MultiServer::start(room, handler.clone(), MultiOptions::default())?;
    handler.server.set(server).map_err(|_| "the room is open already")?;
    println!("the room {room:?} is open; the end of the input closes it");
    for line in std::io::stdin().lines() {
        handler.say(&format!("the room: {}", line?));
    }
    if let Some(server) = handler.server.get() {
        server.stop();
    }
    Ok(())
}

// ------------------------------------------------------------------------------------------------------- the people

struct Ears;

impl MultiClientHandler for Ears {
    fn on_message(&self, data: &[u8]) {
        println!("{}", String::from_utf8_lossy(data));
    }

    fn on_disconnect_because(&self, reason: &DisconnectReason) {
        if *reason != DisconnectReason::Stopped {
            println!("* the room is closed");
            std::process::exit(0);
        }
    }

    fn on_error(&self, error: ShmError) {
        eprintln!("chat: {error}");
    }
}

fn join(name: &str, room: &str) -> Outcome<()> {
    let client = MultiClient::connect(room, Arc::new(Ears), MultiClientOptions::default())
        .map_err(|error| format!("{room:?}: {error}"))?;
    // Padded, since a message has at least two bytes.
    client.send(format!("{name} ").as_bytes())?;
    for line in std::io::stdin().lines() {
        let mut line = line?;
        let end = (0..=LONGEST_LINE.min(line.len())).rev().find(|&at| line.is_char_boundary(at));
        line.truncate(end.unwrap_or(0));
        client.send(format!("{line}  ").as_bytes())?;
    }
    Ok(())
}

// -------------------------------------------------------------------------------------------------------- the check

struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(arguments: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Process { child, input, output })
    }

    fn say(&mut self, line: &str) -> Outcome<()> {
        let input = self.input.as_mut().ok_or("it has left")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    fn hears(&mut self, expected: &str) -> Outcome<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        println!("{}", line.trim_end());
        if line.trim_end() == expected {
            Ok(())
        } else {
            Err(format!("{line:?} was heard where {expected:?} was expected").into())
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if the process has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn check() -> Outcome<()> {
    let name = format!("{ROOM}-check-{}", std::process::id());
    let mut room = Process::start(&["serve", &name])?;
    room.hears(&format!("the room {name:?} is open; the end of the input closes it"))?;
    let mut ada = Process::start(&["join", "Ada", &name])?;
    ada.hears("* Ada has come")?;
    let mut grace = Process::start(&["join", "Grace", &name])?;
    for person in [&mut ada, &mut grace] {
        person.hears("* Grace has come")?;
    }
    ada.say("good morning")?;
    for person in [&mut ada, &mut grace] {
        person.hears("Ada: good morning")?;
    }
    grace.input = None;
    ada.hears("* Grace has gone")?;
    let mut alan = Process::start(&["join", "Alan", &name])?;
    ada.hears("* Alan has come")?;
    alan.child.kill()?;
    ada.hears("* Alan has gone without a word")?;
    room.input = None;
    ada.hears("* the room is closed")?;
    if ada.child.wait()?.success() && room.child.wait()?.success() {
        return Ok(());
    }
    Err("a participant did not end well".into())
}
