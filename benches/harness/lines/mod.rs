//! All lines there are: the limits, xshm itself, its peers.

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

/// A line that is ready for its other end.
pub struct Offer {
    /// Where the other side finds it, if the names that both know don't say so already.
    pub address: String,
    /// Waits for the other side, where that has to be waited for.
    pub accept: Box<dyn FnOnce() -> Outcome<Box<dyn End>>>,
}

impl Offer {
    /// A line that needs nothing more.
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
    pub offer: fn(&Shared) -> Outcome<Offer>,
    pub open: fn(&Shared, &str) -> Outcome<Box<dyn End>>,
}

impl Kind {
    /// Between two processes that spin.
    pub const fn new(
        name: &'static str, offer: fn(&Shared) -> Outcome<Offer>,
        open: fn(&Shared, &str) -> Outcome<Box<dyn End>>,
    ) -> Self {
        Kind { name, in_process: false, sleeps: false, offer, open }
    }

    pub const fn sleeping(self) -> Self {
        Kind { sleeps: true, ..self }
    }

    pub fn open(&self, shared: &Shared, address: &str) -> Outcome<Box<dyn End>> {
        (self.open)(shared, address)
    }
}

/// Two cache lines, spun on without and with a pause instruction.
pub const BARE: Kind = bare::kind::<false>("bare line");
pub const BARE_PAUSING: Kind = bare::kind::<true>("bare line, pausing");
/// Messages in frames such as xshm's, and nothing that makes them safe.
pub const FRAMES: Kind = frames::KIND;
/// The same for streams, which need to know how much room there is.
pub const TAKEN_FRAMES: Kind = frames::TAKEN;
/// The same, some messages shown together.
pub const FRAMES_TOGETHER: Kind = frames::TAKEN_TOGETHER;
pub use frames::TOGETHER;
/// `memcpy` into shared memory and out again.
pub const COPY: Kind = copy::KIND;
/// A kernel's signal each way.
pub const SIGNALS: Kind = signals::KIND;
/// The same, in a way that a hostile peer can't turn against us.
pub const GUARDED_SIGNALS: Kind = signals::GUARDED;
/// An event set for each message.
#[cfg(windows)]
pub const ANNOUNCED: Kind = announced::KIND;
/// Both ends spin for ever.
pub const XSHM: Kind = ours::SPINNING;
/// Both ends sleep at once.
pub const ASLEEP: Kind = ours::ASLEEP;
/// As [`XSHM`], with room for more messages than by default.
pub const ROOMY: Kind = ours::ROOMY;
/// As [`XSHM`], in a ring of 32 KiB.
pub const COMPACT: Kind = ours::COMPACT;
/// As [`XSHM`], many messages with one call.
pub const BATCHED: Kind = ours::BATCHED;
pub use ours::BATCH;

/// Whether a line is no way of passing messages, but what such ways are measured against.
pub fn is_reference(name: &str) -> bool {
    [BARE, BARE_PAUSING, FRAMES, TAKEN_FRAMES, FRAMES_TOGETHER, COPY, SIGNALS, GUARDED_SIGNALS]
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
        SIGNALS,
        GUARDED_SIGNALS,
        XSHM,
        ASLEEP,
        ROOMY,
        COMPACT,
        BATCHED,
        peers::RTRB_BATCHED,
        #[cfg(windows)]
        ANNOUNCED,
    ];
    let found = OWN.iter().chain(peers::ALL).find(|kind| kind.name == name);
    Ok(found.ok_or_else(|| format!("no line is called {name}"))?)
}
