//! Runs the program, and notices if it hangs.
#![allow(dead_code, reason = "each test program uses some of this")]

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use sysinfo::{Pid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

/// Much longer than any run takes, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The program, with its arguments.
pub fn xshm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xshm"));
    command.args(arguments);
    command
}

/// The program, started by a shell that does something first. `arguments` are words without quotes.
#[cfg(unix)]
pub fn after(preparation: &str, arguments: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{preparation}; exec '{}' {arguments}", env!("CARGO_BIN_EXE_xshm")));
    command
}

/// A process that runs, with its output in files. It ends when the value is dropped.
pub struct Running {
    pub child: Child,
    output: [File; 2],
}

/// What a process has printed, and its status.
pub struct Ended {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let output = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        let [out, err] = [0, 1].map(|at: usize| Stdio::from(output[at].try_clone().unwrap()));
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
        Running { child, output }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Ended {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < PATIENCE, "the process hangs");
            std::thread::sleep(Duration::from_millis(5));
        };
        let [out, err] = [0, 1].map(|at: usize| {
            let mut text = String::new();
            self.output[at].rewind().unwrap();
            self.output[at].read_to_string(&mut text).unwrap();
            text
        });
        Ended { status, out, err }
    }

    /// Waits until the process has started another one, and returns that one's id.
    pub fn child_of_it(&self) -> u32 {
        let started = Instant::now();
        loop {
            let system = processes();
            let found = system.processes().iter().find(|(_, process)| {
                process.parent() == Some(Pid::from_u32(self.id())) && process.thread_kind().is_none()
            });
            if let Some((id, _)) = found {
                return id.as_u32();
            }
            assert!(started.elapsed() < PATIENCE, "no second process");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end.
pub fn run(command: Command) -> Ended {
    Running::start(command).finish()
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
pub fn wait_for_end(id: u32) {
    let started = Instant::now();
    loop {
        match processes().process(Pid::from_u32(id)).map(|process| process.status()) {
            None | Some(ProcessStatus::Zombie | ProcessStatus::Dead) => return,
            Some(_) => {}
        }
        assert!(started.elapsed() < PATIENCE, "process {id} runs on");
        std::thread::sleep(Duration::from_millis(20));
    }
}
