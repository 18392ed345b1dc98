//! What the tests share: the program, its processes, its terminal and names.

#![allow(dead_code)] // Each test program uses a part of it.

#[cfg(unix)]
pub mod terminal;

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use sysinfo::{Pid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

/// How long anything may take before a test fails: much longer than it takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A name that no other test and no other run has.
pub fn name(test: &str) -> String {
    format!("cli-{test}-{}", std::process::id())
}

/// A running `xshm`. It is killed when it is dropped.
pub struct Xshm {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    /// Output after the last line.
    unread: Vec<u8>,
    errors: Option<JoinHandle<String>>,
}

/// How an `xshm` has ended.
pub struct Ended {
    pub status: Option<i32>,
    pub output: Vec<u8>,
    pub errors: String,
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {:?}, {:?}, {}", self.status, self.errors, text(&self.output))
    }
}

impl Ended {
    #[track_caller]
    pub fn assert(self, status: i32, output: impl AsRef<[u8]>) -> Self {
        assert_eq!(self.status, Some(status), "{self:?}");
        let (found, expected) = (text(&self.output), text(output.as_ref()));
        assert!(self.output == output.as_ref(), "{found:?} in place of {expected:?}, {}", self.errors);
        self
    }

    #[track_caller]
    pub fn assert_status(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{self:?}");
        self
    }

    #[track_caller]
    pub fn says(&self, what: &str) {
        assert!(self.errors.contains(what), "{what:?} is not in {:?}", self.errors);
    }

    /// The output, which is text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.output).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
    format!("{} bytes: {shown}", bytes.len())
}

impl Xshm {
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_xshm")).args(arguments))
    }

    /// Starts one by a shell, which runs `preparation` first.
    #[cfg(unix)]
    pub fn start_after(preparation: &str, arguments: &[&str]) -> Self {
        let script = format!("{preparation}; exec \"$0\" \"$@\"");
        Self::spawn(Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_xshm")]).args(arguments))
    }

    /// Starts one as a user that may have this number of processes and threads. `None`: no program can be started as another user.
    #[cfg(target_os = "linux")]
    pub fn start_with_threads(limit: u32, arguments: &[&str]) -> Option<Self> {
        let as_user = |script: &str| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "64123", "--regid", "64123", "--clear-groups", "bash", "-c", script]);
            command.arg(env!("CARGO_BIN_EXE_xshm")).args(arguments);
            command
        };
        if !as_user("true").status().is_ok_and(|status| status.success()) {
            eprintln!("not tested: no program can be started as another user here");
            assert!(std::env::var_os("XSHM_REQUIRE_ALL").is_none());
            return None;
        }
        Some(Self::spawn(&mut as_user(&format!("ulimit -u {limit}; exec \"$0\" \"$@\""))))
    }

    /// Starts another program, which runs this one.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, output) = mpsc::channel();
        let mut stdout = child.stdout.take().unwrap();
        thread::spawn(move || loop {
            let mut bytes = vec![0; 1 << 16];
            let count = stdout.read(&mut bytes).unwrap_or(0);
            bytes.truncate(count);
            if count == 0 || sender.send(bytes).is_err() {
                return;
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Xshm { stdin: child.stdin.take(), child, output, unread: Vec::new(), errors: Some(errors) }
    }

    /// Starts one with this input, which then ends.
    pub fn with_input(arguments: &[&str], input: impl AsRef<[u8]>) -> Self {
        let mut xshm = Self::start(arguments);
        let input = input.as_ref().to_vec();
        let mut stdin = xshm.stdin.take().unwrap();
        // It may end before it has read everything.
        thread::spawn(move || drop(stdin.write_all(&input)));
        xshm
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input, which stays open.
    #[track_caller]
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes.as_ref()).unwrap();
        stdin.flush().unwrap();
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Waits for an output line.
    #[track_caller]
    pub fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return String::from_utf8(line).unwrap().trim_end().to_owned();
            }
            let more = self.output.recv_timeout(LIMIT).expect("a line of the output");
            self.unread.extend(more);
        }
    }

    /// Waits for some bytes of its output.
    #[track_caller]
    pub fn bytes(&mut self) -> Vec<u8> {
        self.output.recv_timeout(LIMIT).expect("bytes of the output")
    }

    /// Sends it the signal of Ctrl-C.
    #[cfg(unix)]
    pub fn interrupt(&self) {
        self.signal("INT", 1);
    }

    /// Sends it a signal, so often.
    #[cfg(unix)]
    pub fn signal(&self, name: &str, times: usize) {
        let script = format!("kill -{name} {};", self.id()).repeat(times);
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has started a second process, and returns that one's id.
    #[track_caller]
    pub fn second_process(&self) -> u32 {
        let id = Some(Pid::from_u32(self.id()));
        wait_until("a second process", || {
            let system = processes();
            let mut all = system.processes().iter();
            let found = all.find(|(_, process)| process.parent() == id && process.thread_kind().is_none());
            found.map(|(id, _)| id.as_u32())
        })
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "xshm does not end");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends its input, and waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        self.end_input();
        self.until_end()
    }

    /// Waits for its end. Its input stays open. The output is what no other call has returned.
    #[track_caller]
    pub fn until_end(mut self) -> Ended {
        let status = self.wait();
        let mut output = std::mem::take(&mut self.unread);
        output.extend(self.output.iter().flatten());
        let errors = self.errors.take().unwrap().join().unwrap();
        Ended { status: status.code(), output, errors }
    }
}

impl Drop for Xshm {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All processes of the machine.
fn processes() -> System {
    let mut system = System::new();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, ProcessRefreshKind::nothing());
    system
}

/// Ends a process at once.
pub fn kill(id: u32) {
    let system = processes();
    system.process(Pid::from_u32(id)).expect("the process runs").kill();
}

/// Waits until a process has ended.
#[track_caller]
pub fn wait_for_end(id: u32) {
    wait_until("the process ended", || {
        let system = processes();
        let status = system.process(Pid::from_u32(id)).map(|process| process.status());
        matches!(status, None | Some(ProcessStatus::Zombie | ProcessStatus::Dead)).then_some(())
    });
}

/// Runs one with an input, and waits for its end.
#[track_caller]
pub fn run(arguments: &[&str], input: impl AsRef<[u8]>) -> Ended {
    Xshm::with_input(arguments, input).end()
}

/// Looks again and again until something is found.
#[track_caller]
pub fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "still not: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Bytes that have no pattern, always the same ones.
pub fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// Starts a server that accepts no empty messages, in this process, and calls `serve` with it once a client is there.
pub fn library_server<R: Send + 'static>(
    name: &str, serve: impl FnOnce(xshm::SharedServer) -> R + Send + 'static,
) -> JoinHandle<R> {
    let mut server = xshm::SharedServer::start(name).unwrap();
    thread::spawn(move || {
        server.wait_for_client(Some(LIMIT)).unwrap();
        serve(server)
    })
}
