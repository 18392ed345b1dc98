//! xshm itself.

use super::{Kind, Offer};
use crate::line::{check_number, write_number, Buffers, Line, Outcome};
use crate::side::Shared;
use crate::PATIENCE;
use std::hint::spin_loop;
use std::time::Duration;
use xshm::{
    ClientOptions, MessageBatch, ReceiveHalf, SendHalf, ServerOptions, SharedClient, SharedServer, ShmError,
};

/// The ring of [`COMPACT`], in bytes: it holds as many short messages as the default limit allows, and not many more.
const COMPACT_RING: usize = 32 * 1024;
/// The ring of [`IN_PLACE`], in bytes, and the slots of `memcpy` with which it is compared. It has room for three frames of 4K.
pub const LONG_RING: usize = 128 * 1024 * 1024;
/// The longest message of [`IN_PLACE`], in bytes: a frame of 3840 x 2160 pixels in RGBA.
pub const FRAME_4K: usize = 3840 * 2160 * 4;
/// Messages that [`ROOMY`] queues.
const MANY: usize = 4000;
/// Messages that [`BATCHED`] sends with one call.
pub const BATCH: usize = 32;

pub const SPINNING: Kind = Kind::new(
    "xshm",
    |shared| Offer::once(server(shared, "spinning", Duration::MAX, ServerOptions::new())?),
    |shared, _| Ok(Box::new(client(shared, "spinning", Duration::MAX)?)),
);

/// Both sides have the default spin budget. The processes must not be pinned: on a single core the default is zero.
pub const DEFAULT: Kind = Kind::new(
    "xshm by default",
    |shared| {
        let server = ServerOptions::new().start(&format!("{}-default", shared.base))?;
        Offer::once(accept(server, false))
    },
    |shared, _| {
        let client = ClientOptions::new().connect(&format!("{}-default", shared.base), PATIENCE)?;
        Ok(Box::new(joined(client, false)?))
    },
)
.sleeping();

pub const ROOMY: Kind = Kind::new(
    "xshm, 4000 messages",
    |shared| {
        let options = ServerOptions::new().message_limit(MANY);
        Offer::once(server(shared, "roomy", Duration::MAX, options)?)
    },
    |shared, _| Ok(Box::new(client(shared, "roomy", Duration::MAX)?)),
);

pub const COMPACT: Kind = Kind::new(
    "xshm, small ring",
    |shared| {
        let options = ServerOptions::new().ring_size(COMPACT_RING);
        Offer::once(server(shared, "compact", Duration::MAX, options)?)
    },
    |shared, _| Ok(Box::new(client(shared, "compact", Duration::MAX)?)),
);

pub const ASLEEP: Kind = Kind::new(
    "xshm asleep",
    |shared| Offer::once(server(shared, "asleep", Duration::ZERO, ServerOptions::new())?),
    |shared, _| Ok(Box::new(client(shared, "asleep", Duration::ZERO)?)),
);

pub const BATCHED: Kind = Kind::new(
    "xshm in batches",
    |shared| {
        let accept = server(shared, "batched", Duration::MAX, ServerOptions::new())?;
        Offer::once(|| Ok(Batched::new(accept()?)))
    },
    |shared, _| Ok(Box::new(Batched::new(client(shared, "batched", Duration::MAX)?))),
);

pub const IN_PLACE: Kind = Kind::new(
    "xshm in place",
    |shared| {
        let accept = server(shared, "in-place", Duration::MAX, long_messages())?;
        Offer::once(|| Ok(InPlace(accept()?)))
    },
    |shared, _| Ok(Box::new(InPlace(client(shared, "in-place", Duration::MAX)?))),
);

fn long_messages() -> ServerOptions {
    ServerOptions::new().ring_size(LONG_RING).max_message_size(FRAME_4K).reject_when_full()
}

/// Starts a server. The returned function waits for the client.
fn server(
    shared: &Shared, what: &str, spin: Duration, options: ServerOptions,
) -> Outcome<impl FnOnce() -> Outcome<Xshm>> {
    let server = options.spin(spin).start(&format!("{}-{what}", shared.base))?;
    Ok(accept(server, spin > Duration::ZERO))
}

fn accept(mut server: SharedServer, spins: bool) -> impl FnOnce() -> Outcome<Xshm> {
    move || {
        server.wait_for_client(Some(PATIENCE))?;
        // The halves borrow the endpoint, which therefore lives until the process ends.
        let (tx, rx) = Box::leak(Box::new(server)).split()?;
        Ok(Xshm { tx, rx, spins })
    }
}

fn client(shared: &Shared, what: &str, spin: Duration) -> Outcome<Xshm> {
    let client = ClientOptions::new().spin(spin).connect(&format!("{}-{what}", shared.base), PATIENCE)?;
    joined(client, spin > Duration::ZERO)
}

fn joined(client: SharedClient, spins: bool) -> Outcome<Xshm> {
    let (tx, rx) = Box::leak(Box::new(client)).split()?;
    Ok(Xshm { tx, rx, spins })
}

struct Xshm {
    tx: &'static mut SendHalf,
    rx: &'static mut ReceiveHalf,
    spins: bool,
}

impl Line for Xshm {
    #[inline]
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        loop {
            match self.tx.try_send(message) {
                Ok(()) => return Ok(()),
                Err(ShmError::QueueFull) if self.spins => spin_loop(),
                Err(ShmError::QueueFull) => return Ok(self.tx.send_timeout(message, None)?),
                Err(error) => return Err(error.into()),
            }
        }
    }

    #[inline]
    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        let len = self.rx.receive_into(message)?;
        if len == message.len() {
            Ok(())
        } else {
            Err(format!("{len} bytes came instead of {}", message.len()).into())
        }
    }

    fn kernel_calls(&self) -> Option<[u64; 2]> {
        let stats = self.rx.stats();
        Some([stats.signals, stats.sleeps])
    }
}

/// A stream in batches: one call sends [`BATCH`] messages, and one call receives all that are there.
struct Batched {
    line: Xshm,
    messages: Vec<Vec<u8>>,
    received: MessageBatch,
}

impl Batched {
    fn new(line: Xshm) -> Self {
        Batched { line, messages: Vec::new(), received: MessageBatch::default() }
    }
}

impl Line for Batched {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        self.line.send(message)
    }

    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        self.line.receive(message)
    }

    fn send_all(&mut self, _: &mut Buffers, size: usize, count: u64) -> Outcome<()> {
        self.messages.resize(BATCH, Vec::new());
        self.messages.iter_mut().for_each(|message| message.resize(size, 0x5a));
        let mut numbers = 0..count;
        while !numbers.is_empty() {
            let mut filled = 0;
            for (message, number) in self.messages.iter_mut().zip(&mut numbers) {
                write_number(message, number);
                filled += 1;
            }
            let mut sent = 0;
            while sent < filled {
                match self.line.tx.try_send_batch(&self.messages[sent..filled])? {
                    0 => spin_loop(),
                    more => sent += more,
                }
            }
        }
        Ok(())
    }

    fn receive_all(&mut self, _: &mut Buffers, size: usize, count: u64) -> Outcome<()> {
        let mut next = 0;
        while next < count {
            self.line.rx.receive_batch(&mut self.received)?;
            for message in self.received.iter() {
                if message.len() != size {
                    return Err(format!("{} bytes came instead of {size}", message.len()).into());
                }
                check_number(message, next)?;
                next += 1;
            }
        }
        Ok(())
    }

    fn kernel_calls(&self) -> Option<[u64; 2]> {
        self.line.kernel_calls()
    }
}

/// A stream of long messages: the sender copies each from its own memory into the ring, and the receiver copies it from the ring
/// into its own memory.
struct InPlace(Xshm);

impl Line for InPlace {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        let mut place = self.0.tx.reserve_timeout(message.len(), None)?;
        // SAFETY: the place has this length. The channel rejects when full, and the receiver does not access the place before it
        // is committed.
        unsafe { place.as_mut_ptr().copy_from_nonoverlapping(message.as_ptr(), message.len()) };
        place.commit()?;
        Ok(())
    }

    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        let copy = |found: &[u8]| {
            let fits = found.len() == message.len();
            if fits {
                message.copy_from_slice(found);
            }
            fits
        };
        // SAFETY: the sender is this program, which changes no message that it has sent.
        match unsafe { self.0.rx.receive_with(copy) }? {
            true => Ok(()),
            false => Err(format!("another length came instead of {}", message.len()).into()),
        }
    }

    fn kernel_calls(&self) -> Option<[u64; 2]> {
        self.0.kernel_calls()
    }
}
