//! Processes of the tests: bridges, and the peers at their ends.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a death may stay unnoticed on the other side of the bridge.
pub const NOTICE: Duration = Duration::from_secs(2);

/// Returns a name that no other test has.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("bridge-{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Returns a TCP port that is free now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

pub fn bridge_program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_xshm-bridge"))
}

pub fn example(name: &str) -> PathBuf {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = bridge_program().with_file_name("examples").join(file);
    assert!(path.exists(), "{} is missing: `cargo build --release --examples` makes it", path.display());
    path
}

/// A process whose lines the test reads. It is killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    log: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Process {
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        let (sender, lines) = mpsc::channel();
        let log = Arc::new(Mutex::new(String::new()));
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("a pipe")), Box::new(child.stderr.take().expect("a pipe"))];
        let read = |stream| {
            let (sender, log) = (sender.clone(), log.clone());
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = writeln!(log.lock().unwrap(), "{line}");
                    let _ = sender.send(line);
                }
            })
        };
        let readers = streams.into_iter().map(read).collect();
        Process { name: name.to_owned(), input: child.stdin.take(), child, lines, log, readers }
    }

    /// Waits for a line that contains a text, and returns it. Other lines are dropped.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_within(text, PATIENCE)
    }

    pub fn wait_within(&self, text: &str, limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(_) => panic!(
                    "{}: {text:?} did not come within {limit:?}; it printed:\n{}",
                    self.name,
                    self.log()
                ),
            }
        }
    }

    /// Everything that the process has printed.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn write(&mut self, line: &str) {
        let input = self.input.as_mut().expect("the input is open");
        writeln!(input, "{line}").expect("the process reads");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the process to end, as a service manager does, and waits until it has ended well. Windows has no such signal for another
    /// program without a window: there the process is killed.
    pub fn stop(&mut self) {
        if cfg!(unix) {
            self.signal("-TERM");
            let status = self.wait(Duration::from_secs(8));
            assert!(status.success(), "{} failed ({status}):\n{}", self.name, self.log());
        } else {
            self.kill();
        }
    }

    /// Sends a signal of Unix.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "{} could not be signalled", self.name);
    }

    /// Waits for the process's end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("the process can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} did not end within {limit:?}:\n{}", self.name, self.log());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the process has ended well, and returns what it printed.
    pub fn finish(&mut self) -> String {
        let status = self.wait(PATIENCE * 5);
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        assert!(status.success(), "{} failed ({status}):\n{}", self.name, self.log());
        self.log()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("---- {}\n{}", self.name, self.log());
        }
    }
}

/// Where a process runs: a network namespace, or that of the test.
#[derive(Clone, Debug, Default)]
pub struct Place(pub Option<String>);

impl Place {
    pub fn command(&self, program: &std::path::Path) -> Command {
        match &self.0 {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
            None => Command::new(program),
        }
    }

    pub fn bridge(&self, arguments: &[&str]) -> Process {
        let mut command = self.command(&bridge_program());
        command.args(arguments).args(["--no-multicast", "--log", "info,xshm_bridge=debug,zenoh=warn"]);
        Process::start(&format!("xshm-bridge {}", arguments[0]), command)
    }

    pub fn peer(&self, arguments: &[&str]) -> Process {
        self.example("peers", arguments)
    }

    /// Starts an example of the bridge, or of the library.
    pub fn example(&self, name: &str, arguments: &[&str]) -> Process {
        let mut command = self.command(&example(name));
        command.args(arguments);
        Process::start(&format!("{name} {}", arguments[0]), command)
    }
}

/// The number of a metric of a program, summed over its channels.
pub fn metric(place: &Place, port: u16, name: &str) -> u64 {
    let page = metrics(place, port);
    let wanted = format!("xshm_bridge_{name}{{");
    let numbers = page.lines().filter(|line| line.starts_with(&wanted));
    numbers.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

pub fn metrics(place: &Place, port: u16) -> String {
    assert!(place.0.is_none(), "the page is in the test's namespace");
    let mut connection = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the page is served");
    connection.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    connection
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("a request");
    let mut page = String::new();
    connection.read_to_string(&mut page).expect("a page");
    page
}

/// The number behind a word in a line, such as 12 in `12 messages`.
pub fn number_before(line: &str, word: &str) -> f64 {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|w| w.trim_end_matches([',', ':']) == word);
    let number = at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok());
    number.unwrap_or_else(|| panic!("no number before {word:?} in {line:?}"))
}
