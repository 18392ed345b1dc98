//! Unix datagram sockets, one for each side. A full queue makes the sender wait.

use crate::line::{Line, Outcome};
use crate::lines::{Kind, Offer};
use crate::side::Shared;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

pub const KIND: Kind = Kind::new(
    "Unix datagrams",
    |shared| {
        let [own, other] = paths(shared);
        let socket = UnixDatagram::bind(&own)?;
        Offer::once(move || {
            // The other side has bound its socket when it sends this.
            socket.recv(&mut [0])?;
            socket.connect(&other)?;
            for path in [own, other] {
                std::fs::remove_file(path)?;
            }
            Ok(Datagrams(socket))
        })
    },
    |shared, _| {
        let [other, own] = paths(shared);
        let socket = UnixDatagram::bind(own)?;
        socket.connect(other)?;
        socket.send(&[0])?;
        Ok(Box::new(Datagrams(socket)))
    },
)
.sleeping();

fn paths(shared: &Shared) -> [PathBuf; 2] {
    ["first", "second"].map(|side| std::env::temp_dir().join(format!("{}-datagrams-{side}", shared.base)))
}

struct Datagrams(UnixDatagram);

impl Line for Datagrams {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        self.0.send(message)?;
        Ok(())
    }

    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        let len = self.0.recv(message)?;
        if len == message.len() {
            Ok(())
        } else {
            Err(format!("{len} bytes came instead of {}", message.len()).into())
        }
    }
}
