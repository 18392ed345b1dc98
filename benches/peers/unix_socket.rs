//! A Unix stream socket.

use super::streams::Streams;
use crate::lines::{Kind, Offer};
use std::os::unix::net::{UnixListener, UnixStream};

pub const KIND: Kind = Kind::new(
    "Unix socket",
    |shared| {
        let path = std::env::temp_dir().join(format!("{}-socket", shared.base));
        let listener = UnixListener::bind(&path)?;
        Offer::once(move || {
            let (stream, _) = listener.accept()?;
            std::fs::remove_file(&path)?;
            Ok(Streams { reads: stream.try_clone()?, writes: stream })
        })
    },
    |shared, _| {
        let stream = UnixStream::connect(std::env::temp_dir().join(format!("{}-socket", shared.base)))?;
        Ok(Box::new(Streams { reads: stream.try_clone()?, writes: stream }))
    },
)
.sleeping();
