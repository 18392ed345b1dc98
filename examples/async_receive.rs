//! Awaits messages in an event loop, with tokio.
//!
//! ```text
//! cargo run --example async_receive
//! ```
//!
//! The program starts itself as a second process, which sends lines in bursts and then leaves. The first process awaits
//! them on one thread, together with a timer, which shows that the thread is free meanwhile. A program of your own needs
//! only `Door` and `receive`.

mod common;

use common::SecondProcess;
use std::cell::Cell;
use std::error::Error;
use std::time::Duration;
use tokio::time::interval;
use xshm::{ReceiveHalf, SharedClient, SharedServer, ShmError};

type Outcome<T> = Result<T, Box<dyn Error>>;

const SECOND: &str = "--run-as-second-process";
const BURSTS: usize = 5;
const LINES: usize = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// Waits for one of the two handles of a half. On Linux, tokio has an `AsyncFd` for each.
#[cfg(target_os = "linux")]
mod door {
    use std::io;
    use std::os::fd::OwnedFd;
    use tokio::io::unix::AsyncFd;
    use tokio::io::Interest;
    use xshm::WaitHandles;

    pub struct Door {
        data: AsyncFd<OwnedFd>,
        peer: Option<AsyncFd<OwnedFd>>,
    }

    impl Door {
        pub fn new(handles: WaitHandles) -> io::Result<Self> {
            let readable = |descriptor| {
                // SAFETY: the value owns the descriptor, which stays open as long as it is registered.
                unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }
            };
            let (data, peer) = handles.into_parts();
            Ok(Door { data: readable(data)?, peer: peer.map(readable).transpose()? })
        }

        /// Returns when there may be a message, or the peer may have gone.
        pub async fn wait(&self) -> io::Result<()> {
            let Some(peer) = &self.peer else {
                self.data.readable().await?.clear_ready();
                return Ok(());
            };
            tokio::select! {
                data = self.data.readable() => data?.clear_ready(),
                // The handle stays ready for ever, since a process ends once.
                ended = peer.readable() => drop(ended?),
            }
            Ok(())
        }
    }
}

/// Waits for one of the two handles of a half. On Windows, a thread of tokio's blocking pool waits.
#[cfg(windows)]
mod door {
    use std::io;
    use std::os::windows::io::{AsRawHandle, OwnedHandle};
    use std::sync::Arc;
    use xshm::WaitHandles;

    #[link(name = "kernel32")]
    extern "system" {
        fn WaitForMultipleObjects(count: u32, handles: *const isize, all: i32, millis: u32) -> u32;
    }

    /// Shared with the thread that waits, so that the handles stay open for it.
    pub struct Door(Arc<Vec<OwnedHandle>>);

    impl Door {
        pub fn new(handles: WaitHandles) -> io::Result<Self> {
            let (data, peer) = handles.into_parts();
            Ok(Door(Arc::new([data].into_iter().chain(peer).collect())))
        }

        /// Returns when there may be a message, or the peer may have gone.
        pub async fn wait(&self) -> io::Result<()> {
            const INFINITE: u32 = u32::MAX;
            const WAIT_FAILED: u32 = u32::MAX;
            let handles = self.0.clone();
            tokio::task::spawn_blocking(move || {
                let numbers: Vec<isize> =
                    handles.iter().map(|handle| handle.as_raw_handle() as isize).collect();
                // SAFETY: the count is right, and the handles are open.
                let woken =
                    unsafe { WaitForMultipleObjects(numbers.len() as u32, numbers.as_ptr(), 0, INFINITE) };
                if woken == WAIT_FAILED {
                    Err(io::Error::last_os_error())
                } else {
                    Ok(())
                }
            })
            .await?
        }
    }
}

use door::Door;

/// Awaits a message.
async fn receive(door: &Door, half: &mut ReceiveHalf, buffer: &mut Vec<u8>) -> Outcome<usize> {
    loop {
        match half.try_receive(buffer) {
            Err(ShmError::QueueEmpty | ShmError::NotReady) => {}
            outcome => return Ok(outcome?),
        }
        if half.arm()? {
            continue;
        }
        door.wait().await?;
        half.disarm()?;
        // Records the death of the peer, if it has died.
        half.is_connected();
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [second, name] if second == SECOND => talk(name),
        _ => listen(),
    }
}

fn listen() -> Outcome<()> {
    let name = common::channel_name("async");
    let mut server = SharedServer::start(&name)?;
    let mut second = SecondProcess::start([SECOND, &name])?;
    second.accept(&mut server, Duration::from_secs(20))?;
    let (_, half) = server.split()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (lines, ticks) = runtime.block_on(count(half))?;
    println!("{lines} lines, and the timer ticked {ticks} times meanwhile");
    if lines != BURSTS * LINES || ticks == 0 {
        return Err(format!("{} lines and some ticks were expected", BURSTS * LINES).into());
    }
    second.finish(Duration::from_secs(5))?;
    Ok(())
}

/// Prints messages until the peer leaves, while the timer ticks on the same thread.
async fn count(half: &mut ReceiveHalf) -> Outcome<(usize, usize)> {
    let ticks = Cell::new(0);
    // Neither future is dropped and started again while the other runs: a wait that was dropped may still consume a
    // signal (on Windows its thread waits until one comes).
    let lines = tokio::select! {
        lines = print(half) => lines?,
        () = tick(&ticks) => unreachable!("the timer never ends"),
    };
    Ok((lines, ticks.get()))
}

async fn print(half: &mut ReceiveHalf) -> Outcome<usize> {
    let door = Door::new(half.wait_handles()?.ok_or("the channel has no events")?)?;
    let (mut lines, mut buffer) = (0, Vec::new());
    loop {
        match receive(&door, half, &mut buffer).await {
            Ok(_) => println!("{}", String::from_utf8_lossy(&buffer)),
            Err(error) if matches!(error.downcast_ref(), Some(ShmError::NotConnected)) => return Ok(lines),
            Err(error) => return Err(error),
        }
        lines += 1;
    }
}

async fn tick(ticks: &Cell<usize>) {
    let mut interval = interval(Duration::from_millis(10));
    loop {
        interval.tick().await;
        ticks.set(ticks.get() + 1);
    }
}

/// The second process.
fn talk(name: &str) -> Outcome<()> {
    let client = SharedClient::connect(name, Duration::from_secs(20))?;
    for burst in 1..=BURSTS {
        // Stands for the work between two bursts.
        std::thread::sleep(PAUSE);
        for line in 1..=LINES {
            client.send_to_server(format!("burst {burst}, line {line}").as_bytes())?;
        }
    }
    Ok(())
}
