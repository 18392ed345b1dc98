//! All lines: the limits, xshm itself, its peers.

#[cfg(windows)]
mod announced;
mod bare;
mod copy;
mod frames;
mod ours;
pub mod signals;

use crate::line::{End, Outcome};
use crate::peers;
use crate::side::Shared;

/// A line that the other side can open.
pub struct Offer {
    /// The address by which the other side opens the line. Empty: both sides know the name.
    pub address: String,
    /// Waits for the other side, if the line requires that.
    pub accept: Box<dyn FnOnce() -> Outcome<Box<dyn End>>>,
}

impl Offer {
    /// A line that does not wait for the other side.
    pub fn ready(end: impl End + 'static) -> Outcome<Self> {
        Self::once(move || Ok(end))
    }

    pub fn once<E: End + 'static>(accept: impl FnOnce() -> Outcome<E> + 'static) -> Outcome<Self> {
        let accept = Box::new(move || Ok(Box::new(accept()?) as Box<dyn End>));
        Ok(Offer { address: String::new(), accept })
    }

    pub fn at(self, address: String) -> Self {
        Offer { address, ..self }
    }
}

/// A way of passing messages.
pub struct Kind {
    pub name: &'static str,
    /// Whether its other end is a thread of the same process.
    pub in_process: bool,
    /// Whether a side that waits sleeps in the kernel.
    pub sleeps: bool,
    /// Whether it carries streams. Otherwise each message is the answer to another one.
    pub streams: bool,
    pub offer: fn(&Shared) -> Outcome<Offer>,
    pub open: fn(&Shared, &str) -> Outcome<Box<dyn End>>,
}

impl Kind {
    /// A line between two processes that spin.
    pub const fn new(
        name: &'static str, offer: fn(&Shared) -> Outcome<Offer>,
        open: fn(&Shared, &str) -> Outcome<Box<dyn End>>,
    ) -> Self {
        Kind { name, in_process: false, sleeps: false, streams: true, offer, open }
    }

    pub const fn sleeping(self) -> Self {
        Kind { sleeps: true, ..self }
    }

    pub fn open(&self, shared: &Shared, address: &str) -> Outcome<Box<dyn End>> {
        (self.open)(shared, address)
    }
}

/// Two cache lines, with a spin loop without and with a pause instruction.
pub const BARE: Kind = bare::kind::<false>("bare line");
pub const BARE_PAUSING: Kind = bare::kind::<true>("bare line, pausing");
/// Messages in frames such as xshm's, without its checks.
pub const FRAMES: Kind = frames::KIND;
/// The same for streams, in which the sender looks for room.
pub const TAKEN_FRAMES: Kind = frames::TAKEN;
/// The same, with several messages shown together.
pub const FRAMES_TOGETHER: Kind = frames::TAKEN_TOGETHER;
pub use frames::TOGETHER;
/// `memcpy` into shared memory and out again.
pub const COPY: Kind = copy::KIND;
/// The same for messages that are longer than [`LONGEST`](crate::line::LONGEST).
pub const LONG_COPY: Kind = copy::LONG;
/// One signal of the kernel in each direction.
pub const SIGNALS: Kind = signals::KIND;
/// The same, by objects that a hostile peer cannot make block.
pub const GUARDED_SIGNALS: Kind = signals::GUARDED;
/// An event set for each message.
#[cfg(windows)]
pub const ANNOUNCED: Kind = announced::KIND;
/// xshm; both sides spin for ever.
pub const XSHM: Kind = ours::SPINNING;
/// xshm; both sides have default settings.
pub const DEFAULT: Kind = ours::DEFAULT;
/// xshm; both sides sleep at once.
pub const ASLEEP: Kind = ours::ASLEEP;
/// As [`XSHM`], with room for more messages than by default.
pub const ROOMY: Kind = ours::ROOMY;
/// As [`XSHM`], in a ring of 32 KiB.
pub const COMPACT: Kind = ours::COMPACT;
/// As [`XSHM`], with [`BATCH`] messages in each call.
pub const BATCHED: Kind = ours::BATCHED;
pub use ours::BATCH;
/// xshm with messages of up to [`FRAME_4K`] bytes, which are written and read in place; both sides spin for ever.
pub const IN_PLACE: Kind = ours::IN_PLACE;
pub use ours::{FRAME_4K, LONG_RING};

/// Whether a line is a limit, not a way of passing messages.
pub fn is_reference(name: &str) -> bool {
    [BARE, BARE_PAUSING, FRAMES, TAKEN_FRAMES, FRAMES_TOGETHER, COPY, LONG_COPY, SIGNALS, GUARDED_SIGNALS]
        .iter()
        .any(|kind| kind.name == name)
}

pub fn find(name: &str) -> Outcome<&'static Kind> {
    const OWN: &[Kind] = &[
        BARE,
        BARE_PAUSING,
        FRAMES,
        TAKEN_FRAMES,
        FRAMES_TOGETHER,
        COPY,
        LONG_COPY,
        SIGNALS,
        GUARDED_SIGNALS,
        XSHM,
        DEFAULT,
        ASLEEP,
        ROOMY,
        COMPACT,
        BATCHED,
        IN_PLACE,
        peers::RTRB_BATCHED,
        #[cfg(windows)]
        ANNOUNCED,
    ];
    let found = OWN.iter().chain(peers::ALL).find(|kind| kind.name == name);
    Ok(found.ok_or_else(|| format!("no line is called {name}"))?)
}
