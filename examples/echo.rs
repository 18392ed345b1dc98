//! The same as examples/c/echo.c, in Rust:
//!
//! ```text
//! echo serve NAME COUNT     waits for a client, sends it COUNT messages, and checks the answers
//! echo answer NAME COUNT    connects, and sends back what it receives
//! ```

use std::error::Error;
use std::time::Duration;
use xshm::{SharedClient, SharedServer};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

/// Message `number` has the 4 bytes of its number, and up to 5,000 more that are calculated from it.
fn message(number: u32) -> Vec<u8> {
    let size = 4 + number.wrapping_mul(7919) % 5000;
    let mut message = number.to_le_bytes().to_vec();
    message.extend((4..size).map(|at| number.wrapping_add(at) as u8));
    message
}

fn serve(name: &str, count: u32) -> Result<(), Box<dyn Error>> {
    let mut server = SharedServer::start(name)?;
    server.wait_for_client(PATIENCE)?;
    let mut answer = Vec::new();
    for number in 0..count {
        let message = message(number);
        server.send_to_client_timeout(&message, PATIENCE)?;
        server.receive_from_client_timeout(&mut answer, PATIENCE)?;
        if answer != message {
            return Err(format!("answer {number} is another message").into());
        }
    }
    println!("{count} messages came back");
    Ok(())
}

fn answer(name: &str, count: u32) -> Result<(), Box<dyn Error>> {
    let client = SharedClient::connect(name, PATIENCE.unwrap_or(Duration::MAX))?;
    let mut message = Vec::new();
    for _ in 0..count {
        client.receive_from_server_timeout(&mut message, PATIENCE)?;
        client.send_to_server_timeout(&message, PATIENCE)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name, count] => serve(name, count.parse()?),
        ["answer", name, count] => answer(name, count.parse()?),
        _ => Err("usage: echo serve|answer NAME COUNT".into()),
    }
}
