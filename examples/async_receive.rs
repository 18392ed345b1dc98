//! A small service on tokio: it echoes lines to a client in another process, and ends gracefully.
//!
//! ```text
//! cargo run --features async --example async_receive            checks itself: starts a client, and ends when that has left
//! cargo run --features async --example async_receive -- serve   serves clients until Ctrl-C
//! cargo run --features async --example async_receive -- talk    is a client of that
//! ```
//!
//! The service awaits a client, its messages, a timer and Ctrl-C on one thread, each in a `select!`. A branch that does not win is
//! dropped, which loses no message.

mod common;

use common::SecondProcess;
use std::error::Error;
use std::time::Duration;
use tokio::time::{interval, timeout};
use xshm::{AsyncClient, AsyncServer, ShmError};

type Outcome<T> = Result<T, Box<dyn Error>>;

const SECOND: &str = "--run-as-second-process";
const NAME: &str = "async-example";
const BURSTS: usize = 5;
const LINES: usize = 4;
const PAUSE: Duration = Duration::from_millis(100);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &words[..] {
        [] => runtime.block_on(check()),
        ["serve"] => runtime.block_on(async {
            let served = serve(AsyncServer::start(NAME)?, usize::MAX).await?;
            println!("{} lines of {} clients", served.lines, served.clients);
            Ok(())
        }),
        ["talk"] => runtime.block_on(talk(NAME)),
        [second, name] if *second == SECOND => runtime.block_on(talk(name)),
        _ => Err("the arguments are nothing, serve, or talk".into()),
    }
}

/// What the service has done.
#[derive(Default)]
struct Served {
    clients: usize,
    lines: usize,
    ticks: usize,
}

/// Serves a number of clients, one after the other, or until Ctrl-C. The server leaves the channel when this returns: its client
/// still receives what was sent.
async fn serve(mut server: AsyncServer, clients: usize) -> Outcome<Served> {
    let mut served = Served::default();
    let mut ticks = interval(Duration::from_millis(10));
    // One future for all rounds: a new one would miss a Ctrl-C between two of them.
    let mut end = std::pin::pin!(tokio::signal::ctrl_c());
    let mut line = Vec::new();
    while served.clients < clients {
        tokio::select! {
            accepted = server.accept() => accepted?,
            _ = ticks.tick() => {
                served.ticks += 1;
                continue;
            }
            end = &mut end => {
                end?;
                return Ok(served);
            }
        }
        served.clients += 1;
        loop {
            tokio::select! {
                received = server.receive(&mut line) => match received {
                    Ok(_) => {}
                    Err(ShmError::NotConnected | ShmError::PeerDied { .. }) => break,
                    Err(error) => return Err(error.into()),
                },
                _ = ticks.tick() => {
                    served.ticks += 1;
                    continue;
                }
                end = &mut end => {
                    end?;
                    return Ok(served);
                }
            }
            println!("{}", String::from_utf8_lossy(&line));
            served.lines += 1;
            // A client that reads nothing holds up its service no longer than this.
            match timeout(Duration::from_secs(5), server.send(&line)).await {
                Ok(Ok(())) => {}
                Ok(Err(ShmError::NotConnected | ShmError::PeerDied { .. })) => break,
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => server.disconnect_client(),
            }
        }
    }
    Ok(served)
}

/// A client: sends lines in bursts, and awaits their echoes.
async fn talk(name: &str) -> Outcome<()> {
    let client = timeout(Duration::from_secs(20), AsyncClient::connect(name)).await;
    let mut client = client.map_err(|_| "no server accepts")??;
    let mut echo = Vec::new();
    for burst in 1..=BURSTS {
        // Stands for the work between two bursts.
        tokio::time::sleep(PAUSE).await;
        for line in 1..=LINES {
            let line = format!("burst {burst}, line {line}");
            client.send(line.as_bytes()).await?;
            client.receive(&mut echo).await?;
            if echo != line.as_bytes() {
                return Err(format!("{line:?} came back as {:?}", String::from_utf8_lossy(&echo)).into());
            }
        }
    }
    Ok(())
}

/// Runs the service with a client in a second process, and checks what it has done.
async fn check() -> Outcome<()> {
    let name = common::channel_name("async");
    let server = AsyncServer::start(&name)?;
    let mut second = SecondProcess::start([SECOND, &name])?;
    let served = timeout(Duration::from_secs(60), serve(server, 1)).await??;
    println!("{} lines, and the timer ticked {} times meanwhile", served.lines, served.ticks);
    if served.lines != BURSTS * LINES || served.ticks == 0 {
        return Err(format!("{} lines and some ticks were expected", BURSTS * LINES).into());
    }
    let status = second.finish(Duration::from_secs(5))?;
    if !status.success() {
        return Err(format!("the client failed ({status})").into());
    }
    Ok(())
}
