//! The options of servers and clients.

use crate::access::{Access, UserId};
use crate::constants::{MAX_MESSAGES, MAX_RING_CAPACITY, RING_CAPACITY};
use crate::error::{Result, ShmError};
use crate::layout::{Geometry, Lengths};
use crate::sync::Arc;
use crate::waiting::{Interrupt, Interrupter};
use std::fmt;
use std::sync::Arc as StdArc;
use std::time::Duration;

/// Something that happened to a channel, for the caller's log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelEvent {
    /// A session began.
    Connected {
        /// The peer's process id.
        process_id: u32,
        /// The number of the connection, which grows with each connection of the channel.
        generation: u32,
    },
    /// A session ended; the error says how.
    Lost(ShmError),
    /// A peer was refused; the error says why.
    Refused(ShmError),
    /// The peer broke the protocol; the session ended.
    Corrupted(&'static str),
}

type Hook = StdArc<dyn Fn(&ChannelEvent) + Send + Sync>;

/// How long a wait looks again and again before it sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpinBudget {
    /// The default: up to 50 µs, while that pays.
    Adaptive,
    Fixed(Duration),
}

/// The options of both sides.
#[derive(Clone)]
pub(crate) struct Tuning {
    pub(crate) spin: SpinBudget,
    pub(crate) receive_timeout: Option<Duration>,
    pub(crate) check_interval: Option<Duration>,
    interrupter: Option<Interrupter>,
    hook: Option<Hook>,
}

impl Tuning {
    /// The caller's interrupter, or a new one, which it keeps.
    pub(crate) fn interrupt(&mut self) -> Result<Arc<Interrupt>> {
        let interrupter = self.interrupter.take().map_or_else(Interrupter::new, Ok)?;
        Ok(self.interrupter.insert(interrupter).0.clone())
    }

    pub(crate) fn report(&self, event: &ChannelEvent) {
        if let Some(hook) = &self.hook {
            hook(event);
        }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        // With one processor, spinning keeps the peer from running.
        let alone = std::thread::available_parallelism().map_or(true, |processors| processors.get() == 1);
        let spin = if alone { SpinBudget::Fixed(Duration::ZERO) } else { SpinBudget::Adaptive };
        Tuning { spin, receive_timeout: None, check_interval: None, interrupter: None, hook: None }
    }
}

impl fmt::Debug for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tuning")
            .field("spin", &self.spin)
            .field("receive_timeout", &self.receive_timeout)
            .field("check_interval", &self.check_interval)
            .finish_non_exhaustive()
    }
}

macro_rules! tuning_methods {
    () => {
        /// Sets how long a call that waits spins before it sleeps in the kernel. With zero the call sleeps at once;
        /// with `Duration::MAX` it never sleeps.
        ///
        /// By default the call adapts: it spins for up to 50 µs while the peer spins too and usually answers within 25 µs. While
        /// the peer does not, because it sleeps between messages for instance, most calls spin for about 1 µs or not at all. Where
        /// the thread that makes the options may use only one processor, the default is zero.
        pub fn spin(mut self, budget: Duration) -> Self {
            self.tuning.spin = SpinBudget::Fixed(budget);
            self
        }

        /// Sets how long `receive_*` waits for a message. The default is without a limit. With zero it returns
        /// [`ShmError::QueueEmpty`] at once; with another limit it returns [`ShmError::Timeout`] when the time has passed.
        pub fn receive_timeout(mut self, bound: Duration) -> Self {
            self.tuning.receive_timeout = Some(bound);
            self
        }

        /// Accepts a peer whose process can't be watched (on Windows usually another user's), and checks at this interval, at
        /// least 1 ms, whether the process still runs, by its id and by the time when it began. So its death is noticed up to one interval late. Without this option,
        /// the endpoint refuses such a peer. On Linux, it always refuses a peer that a process namespace hides.
        pub fn check_interval(mut self, interval: Duration) -> Self {
            self.tuning.check_interval = Some(interval.max(Duration::from_millis(1)));
            self
        }

        /// Sets the endpoint's interrupter. It can also end a waiting `connect`, before the endpoint exists. Several endpoints
        /// may share it.
        pub fn interrupter(mut self, interrupter: Interrupter) -> Self {
            self.tuning.interrupter = Some(interrupter);
            self
        }

        /// Calls `hook` for each [`ChannelEvent`], for a log. The hook runs on the thread that detects the event, inside that
        /// thread's call. It must not panic, and must not call the endpoint, which may be locked at that time.
        pub fn on_event(mut self, hook: impl Fn(&ChannelEvent) + Send + Sync + 'static) -> Self {
            self.tuning.hook = Some(StdArc::new(hook));
            self
        }
    };
}

/// Starts a [`SharedServer`](crate::SharedServer) with options.
///
/// ```
/// use xshm::{ServerOptions, MAX_MESSAGES};
///
/// let server = ServerOptions::new().ring_size(64 * 1024).message_limit(MAX_MESSAGES).start("options-example")?;
/// assert!(!server.is_connected());
/// assert!(ServerOptions::new().ring_size(100_000).start("options-example-2").is_err()); // no power of two
/// # Ok::<(), xshm::ShmError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ServerOptions {
    ring_size: usize,
    message_limit: usize,
    max_message_size: Option<usize>,
    pub(crate) reject_when_full: bool,
    pub(crate) anonymous_events: bool,
    pub(crate) access: Access,
    pub(crate) tuning: Tuning,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            ring_size: RING_CAPACITY,
            message_limit: MAX_MESSAGES,
            max_message_size: None,
            reject_when_full: false,
            anonymous_events: false,
            access: Access::default(),
            tuning: Tuning::default(),
        }
    }
}

impl ServerOptions {
    /// Returns the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the bytes in each ring: a power of two from 4 KiB to 1 GiB. The default is 2 MiB ([`RING_CAPACITY`]). The longest
    /// message has 65,535 bytes, or half the ring's bytes minus 8 if that is less, unless the program sets
    /// [`max_message_size`](Self::max_message_size).
    pub fn ring_size(mut self, bytes: usize) -> Self {
        self.ring_size = bytes;
        self
    }

    /// Sets the largest number of messages that each ring queues: from 1 to a 64th of the ring's bytes, minus 1. The default is
    /// 250 ([`MAX_MESSAGES`]). For rings of less than 16 KiB this is too many: set a smaller number.
    pub fn message_limit(mut self, messages: usize) -> Self {
        self.message_limit = messages;
        self
    }

    /// Sets the length of the longest message in bytes: from 2 to half the [ring's bytes](Self::ring_size) minus 64, which is 512 MiB
    /// minus 64 with the largest ring. (In rings of at most 128 KiB, half the ring's bytes minus 8.) The default is 65,535
    /// ([`MAX_MESSAGE_SIZE`](crate::MAX_MESSAGE_SIZE)), or less with a ring of less than 256 KiB.
    ///
    /// On a channel with this option messages of zero bytes and of one byte are allowed too. Its clients need a version of this
    /// library that has the option; older clients refuse the channel.
    ///
    /// A message of more than 65,535 bytes starts at a cache line of the ring, and it can be written and read in place, see
    /// [`reserve_timeout`](crate::SendHalf::reserve_timeout) and [`receive_with`](crate::ReceiveHalf::receive_with). For a stream of
    /// such messages, choose a ring with room for three: the sender writes one while the receiver reads another, and up to one
    /// message's bytes at the end of the ring stay unused.
    ///
    /// ```
    /// use xshm::ServerOptions;
    ///
    /// // Pictures of 3840 x 2160 pixels in RGBA.
    /// let options = ServerOptions::new().ring_size(128 << 20).max_message_size(3840 * 2160 * 4).reject_when_full();
    /// let server = options.start("pictures-example")?;
    /// assert_eq!(server.max_message_size(), 33_177_600);
    /// # Ok::<(), xshm::ShmError>(())
    /// ```
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = Some(bytes);
        self
    }

    /// Makes `send_*` of both sides return [`ShmError::QueueFull`] when the queue is full. By default they evict the oldest
    /// messages.
    pub fn reject_when_full(mut self) -> Self {
        self.reject_when_full = true;
        self
    }

    /// Sets which users may connect. The default is [`Access::Owner`].
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Gives an [anonymous server](Self::start_anonymous) events, so that no side has to check the section every millisecond.
    /// Its client gets them together with the section: see
    /// [`SharedServer::client_handles`](crate::SharedServer::client_handles). A named server always has events.
    pub fn anonymous_events(mut self) -> Self {
        self.anonymous_events = true;
        self
    }

    tuning_methods!();

    pub(crate) fn geometry(&self) -> Result<Geometry> {
        Geometry::from_options(self.ring_size, self.message_limit, self.max_message_size)
    }
}

/// Which servers a client trusts, by the user that owns them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Trust {
    /// Servers of the client's own user and of the system (root on Linux). On Windows also servers whose section belongs to the
    /// group Administrators. The section of a server under another administrator's account belongs to that account, so the
    /// client refuses that server.
    #[default]
    Owner,
    /// Servers of these users, and no others.
    Users(Vec<UserId>),
    /// Any server that has the name.
    Anyone,
}

/// Connects a [`SharedClient`](crate::SharedClient) with options.
///
/// ```
/// use std::time::Duration;
/// use xshm::{ClientOptions, ShmError};
///
/// let no_server = ClientOptions::new().spin(Duration::ZERO).connect("no-server-is-here", Duration::ZERO);
/// assert!(matches!(no_server, Err(ShmError::NoServer { .. })));
/// ```
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    ring_size: Option<usize>,
    message_limit: Option<usize>,
    max_message_size: Option<usize>,
    pub(crate) trust: Trust,
    /// Whether the server must be a multi-client server.
    pub(crate) multi: bool,
    /// Ends the attempt to connect. `None`: the interrupter of the connection does.
    pub(crate) connect_interrupter: Option<Interrupter>,
    pub(crate) tuning: Tuning,
}

impl ClientOptions {
    /// Returns the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the client refuse a server whose rings have another size in bytes. By default the client accepts any size.
    pub fn ring_size(mut self, bytes: usize) -> Self {
        self.ring_size = Some(bytes);
        self
    }

    /// Makes the client refuse a server whose rings queue another number of messages. By default the client accepts any number.
    pub fn message_limit(mut self, messages: usize) -> Self {
        self.message_limit = Some(messages);
        self
    }

    /// Makes the client refuse a server whose longest message has another length in bytes. By default the client accepts any
    /// length.
    ///
    /// A client that queues messages before it has connected ([`AutoClient`](crate::AutoClient), [`MultiClient`](crate::MultiClient))
    /// queues messages of up to this length, by default of up to 65,535 bytes.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = Some(bytes);
        self
    }

    /// Sets which servers the client trusts. The default is [`Trust::Owner`].
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    tuning_methods!();

    /// For an endpoint with its own interrupter: the caller's ends the attempt to connect.
    pub(crate) fn into_own_interrupter(mut self, own: Interrupter) -> Self {
        self.connect_interrupter = self.connect_interrupter.or_else(|| self.tuning.interrupter.take());
        self.interrupter(own)
    }

    /// Returns the lengths that messages may have before the client knows the server's.
    pub(crate) fn lengths(&self) -> Lengths {
        match self.max_message_size {
            Some(longest) => Lengths::up_to(longest),
            None => Lengths::usual(MAX_RING_CAPACITY as u64),
        }
    }

    /// Checks the server's geometry against the sizes that the options demand.
    pub(crate) fn accepts(&self, geometry: Geometry) -> Result<()> {
        let same = |what, found: u64, expected: Option<usize>| match expected {
            Some(expected) if expected as u64 != found => {
                Err(ShmError::Incompatible { what, found, expected: expected as u64 })
            }
            _ => Ok(()),
        };
        same("ring size", geometry.capacity(), self.ring_size)?;
        same("message limit", geometry.message_limit() as u64, self.message_limit)?;
        same("longest message", geometry.lengths().longest() as u64, self.max_message_size)
    }
}
