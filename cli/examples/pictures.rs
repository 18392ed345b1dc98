//! Draws the pictures of `docs/cli.md`: runs the program in a terminal of 80 columns, against real channels, and writes what stands
//! on its screen as SVG. On Unix, in `cli/`, after `cargo build --release`:
//!
//! ```text
//! cargo run --release --example pictures -- ../docs
//! ```

#[cfg(unix)]
fn main() {
    let folder = std::env::args().nth(1).expect("the folder for the pictures");
    unix::draw(std::path::Path::new(&folder));
}

#[cfg(not(unix))]
fn main() {
    eprintln!("The pictures are drawn on Unix.");
}

#[cfg(unix)]
mod unix {
    use portable_pty::{native_pty_system, CommandBuilder, PtySize};
    use std::fmt::Write as _;
    use std::fs;
    use std::io::{Read, Write};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};
    use xshm::{ServerOptions, SharedClient, SharedServer};

    const COLUMNS: u16 = 80;

    pub fn draw(folder: &Path) {
        list(&folder.join("cli-list.svg"));
        watch(&folder.join("cli-watch.svg"));
        bench(&folder.join("cli-bench.svg"));
    }

    /// The program that was built with this one.
    fn program() -> PathBuf {
        let own = std::env::current_exe().expect("a program knows its path");
        own.parent().and_then(Path::parent).expect("it is in target/release/examples").join("xshm")
    }

    /// Programs that run until this is dropped.
    struct Cast(Vec<Child>);

    impl Cast {
        fn start(&mut self, arguments: &[&str]) {
            let mut command = Command::new(program());
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
            self.0.push(command.spawn().expect("build the program first"));
        }
    }

    impl Drop for Cast {
        fn drop(&mut self) {
            for child in &mut self.0 {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }

    fn list(picture: &Path) {
        let mut cast = Cast(Vec::new());
        for arguments in [["serve", "orders"], ["connect", "orders"], ["serve", "idle"]] {
            cast.start(&arguments);
        }
        cast.start(&["serve", "chat", "--multi"]);
        wait_for_rows(3);
        for _ in 0..3 {
            cast.start(&["connect", "chat"]);
        }
        let busy = Traffic::start("prices");
        wait_for_rows(7);
        let screen = shown(&["list"], 12, Duration::from_secs(10), "");
        drop(busy);
        fs::write(picture, svg("xshm list", &screen)).expect("the picture can be written");
    }

    /// Waits until `xshm list` has this number of rows.
    fn wait_for_rows(count: usize) {
        let start = Instant::now();
        loop {
            let output = Command::new(program()).arg("list").output().expect("the program runs");
            if String::from_utf8_lossy(&output.stdout).lines().count() > count {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "there are fewer than {count} channels");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn watch(picture: &Path) {
        let _prices = Traffic::start("prices");
        let mut cast = Cast(Vec::new());
        cast.start(&["serve", "orders"]);
        cast.start(&["connect", "orders"]);
        let screen =
            shown(&["watch", "prices", "orders", "--interval", "200ms"], 12, Duration::from_secs(6), "q");
        fs::write(picture, svg("xshm watch prices orders", &screen)).expect("the picture can be written");
    }

    fn bench(picture: &Path) {
        let screen = shown(&["bench", "--pin", "0,1"], 30, Duration::from_secs(60), "");
        fs::write(picture, svg("xshm bench --pin 0,1", &screen)).expect("the picture can be written");
    }

    /// A server and a client in this process. The server sends in bursts whose size changes; the client answers each hundredth message.
    struct Traffic {
        stop: &'static AtomicBool,
        threads: Vec<thread::JoinHandle<()>>,
    }

    impl Traffic {
        fn start(name: &'static str) -> Self {
            let stop: &'static AtomicBool = Box::leak(Box::default());
            let mut server: SharedServer = ServerOptions::new().start(name).expect("the name is free");
            let client = thread::spawn(move || {
                let client =
                    SharedClient::connect(name, Duration::from_secs(10)).expect("the server accepts");
                let (mut message, mut count) = (Vec::new(), 0_u64);
                while client.receive_from_server(&mut message).is_ok() {
                    count += 1;
                    if count.is_multiple_of(100) {
                        let _ = client.send_to_server(&count.to_le_bytes());
                    }
                }
            });
            server.wait_for_client(Some(Duration::from_secs(10))).expect("the client connects");
            let server = thread::spawn(move || {
                let (start, mut answer) = (Instant::now(), Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let burst = 200.0 + 150.0 * (start.elapsed().as_secs_f64() * 2.0).sin();
                    for _ in 0..burst as u32 {
                        let _ = server.send_to_client(&[7; 56]);
                    }
                    while server.try_receive_from_client(&mut answer).is_ok() {}
                    thread::sleep(Duration::from_millis(1));
                }
            });
            Traffic { stop, threads: vec![client, server] }
        }
    }

    impl Drop for Traffic {
        fn drop(&mut self) {
            self.stop.store(true, Ordering::Relaxed);
            self.threads.drain(..).for_each(|thread| thread.join().expect("it does not panic"));
        }
    }

    /// Runs the program in a terminal until it ends, or for this time, and then presses keys. Returns its last screen.
    fn shown(arguments: &[&str], rows: u16, time: Duration, keys: &str) -> vt100::Parser {
        let size = PtySize { rows, cols: COLUMNS, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("there is a terminal");
        let mut command = CommandBuilder::new(program());
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        let mut child = pair.slave.spawn_command(command).expect("build the program first");
        drop(pair.slave);
        let (sender, bytes) = std::sync::mpsc::channel();
        let mut reader = pair.master.try_clone_reader().expect("the terminal can be read");
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut screen = vt100::Parser::new(rows, COLUMNS, 0);
        let end = Instant::now() + time;
        while let Ok(bytes) = bytes.recv_timeout(end.saturating_duration_since(Instant::now())) {
            screen.process(&bytes);
        }
        if !keys.is_empty() {
            let mut input = pair.master.take_writer().expect("the terminal can be written");
            input.write_all(keys.as_bytes()).expect("the terminal can be written");
        }
        child.wait().expect("the program ends");
        screen
    }

    /// The colours that the program uses, on a dark ground.
    fn color(color: vt100::Color) -> &'static str {
        match color {
            vt100::Color::Idx(1 | 9) => "#f07178",
            vt100::Color::Idx(2 | 10) => "#a5d98b",
            vt100::Color::Idx(3 | 11) => "#f2c66d",
            vt100::Color::Idx(6 | 14) => "#6cc7d9",
            _ => "#d5d8de",
        }
    }

    fn svg(command: &str, screen: &vt100::Parser) -> String {
        const WIDTH: f64 = 8.4;
        const HEIGHT: f64 = 18.0;
        let screen = screen.screen();
        let (rows, columns) = screen.size();
        let used = (0..rows).filter(|row| !screen.contents_between(*row, 0, *row, columns).trim().is_empty());
        let last = used.max().unwrap_or(0);
        let (width, height) = (WIDTH * f64::from(columns) + 24.0, HEIGHT * f64::from(last + 2) + 24.0);
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
             <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1e222a\"/>\n\
             <g font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"14\" xml:space=\"preserve\">\n\
             <text x=\"12\" y=\"{}\" fill=\"#8b93a1\">$ {command}</text>\n",
            12.0 + HEIGHT
        );
        for row in 0..=last {
            for column in 0..columns {
                let Some(cell) = screen.cell(row, column).filter(|cell| !cell.contents().trim().is_empty())
                else {
                    continue;
                };
                let (x, y) = (12.0 + WIDTH * f64::from(column), 12.0 + HEIGHT * f64::from(row + 2));
                let weight = if cell.bold() { " font-weight=\"bold\"" } else { "" };
                let faint = if cell.dim() { " opacity=\"0.6\"" } else { "" };
                let shown = cell.contents().replace('&', "&amp;").replace('<', "&lt;");
                let fill = color(cell.fgcolor());
                writeln!(
                    text,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{fill}\"{weight}{faint}>{shown}</text>"
                )
                .expect("a string grows");
            }
        }
        text + "</g>\n</svg>\n"
    }
}
