//! TCP over the loopback interface, with `TCP_NODELAY`.

use super::streams::Streams;
use crate::lines::{Kind, Offer};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

pub const KIND: Kind = Kind::new(
    "TCP",
    |_| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?.to_string();
        let offer = Offer::once(move || {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            Ok(Streams { reads: stream.try_clone()?, writes: stream })
        });
        Ok(offer?.at(address))
    },
    |_, address| {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Box::new(Streams { reads: stream.try_clone()?, writes: stream }))
    },
)
.sleeping();
