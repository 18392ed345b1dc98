//! The program in a terminal, and what the terminal shows.

use super::LIMIT;
use portable_pty::{native_pty_system, CommandBuilder, PtySize};
use std::io::{Read, Write};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// 80 columns and 24 lines.
pub const SIZE: PtySize = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };

pub struct Terminal {
    screen: vt100::Parser,
    bytes: Receiver<Vec<u8>>,
    input: Box<dyn Write + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    _pair: Box<dyn portable_pty::MasterPty + Send>,
}

impl Terminal {
    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::of_size(SIZE, arguments, variables)
    }

    pub fn of_size(size: PtySize, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_xshm"));
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        variables.iter().for_each(|(name, value)| command.env(name, value));
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (sender, bytes) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let input = pair.master.take_writer().unwrap();
        let screen = vt100::Parser::new(size.rows, size.cols, 0);
        Terminal { screen, bytes, input, child, _pair: pair.master }
    }

    /// Whether the screen has this text now.
    pub fn shows(&mut self, text: &str) -> bool {
        self.bytes.try_iter().for_each(|bytes| self.screen.process(&bytes));
        self.screen.screen().contents().contains(text)
    }

    /// Waits until the screen has this text. Returns the screen.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let screen = self.screen.screen().contents();
            if screen.contains(text) {
                return screen;
            }
            assert!(start.elapsed() < LIMIT, "{text} is not on the screen:\n{screen}");
            match self.bytes.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => self.screen.process(&bytes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without {text}:\n{screen}"),
            }
        }
    }

    /// Types something.
    pub fn press(&mut self, keys: &str) {
        self.input.write_all(keys.as_bytes()).unwrap();
        self.input.flush().unwrap();
    }

    /// Waits for the program's end. Returns its exit status and all that it wrote since the last wait.
    pub fn finish(mut self) -> (u32, Vec<u8>) {
        let status = self.child.wait().unwrap().exit_code();
        let rest = self.bytes.iter().flatten().collect();
        (status, rest)
    }
}
