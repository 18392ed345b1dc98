//! The shortest program that does something: a server and a client in two threads, a question and an answer.
//!
//! In a real program the client is a separate process, with the same code: see `ping_pong` and `send_file`.

use std::thread;
use std::time::Duration;
use xshm::{Result, SharedClient, SharedServer};

const NAME: &str = "hello-example";
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let mut server = SharedServer::start(NAME)?;
    let client = thread::spawn(|| -> Result<()> {
        let client = SharedClient::connect(NAME, PATIENCE)?;
        client.send_to_server(b"what is your name?")?;
        let mut answer = Vec::new();
        client.receive_from_server(&mut answer)?;
        println!("the client heard: {}", String::from_utf8_lossy(&answer));
        Ok(())
    });

    server.wait_for_client(Some(PATIENCE))?;
    let mut question = Vec::new();
    server.receive_from_client(&mut question)?;
    println!("the server heard: {}", String::from_utf8_lossy(&question));
    server.send_to_client(NAME.as_bytes())?;
    client.join().expect("the client does not panic")
}
