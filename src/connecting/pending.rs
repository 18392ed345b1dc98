//! A connect for an event loop.

use super::Connect;
use crate::channel::wait_set::WaitSet;
use crate::client::SharedClient;
use crate::error::{Result, ShmError};
use crate::naming::ChannelName;
use crate::options::ClientOptions;
use crate::readiness::WaitHandles;
use crate::sys::{Joined, OwningProcess};
use crate::waiting::Deadline;
use std::fmt;
use std::time::Duration;

/// A connect that an event loop finishes: no call on it waits.
///
/// Call [`try_finish`](Self::try_finish). If it returns no client, wait until one of the [`wait_handles`](Self::wait_handles) is
/// ready, at most until their [`next_look`](WaitHandles::next_look), and call it again. The connect has no time limit of its own:
/// to end it, drop it, or call [`give_up`](Self::give_up). This withdraws the request; if the server has accepted it meanwhile,
/// the client leaves.
///
/// ```
/// use std::{thread, time::{Duration, Instant}};
/// use xshm::{ClientOptions, SharedServer};
///
/// let mut server = SharedServer::start("pending-connect")?;
/// let mut connecting = ClientOptions::new().begin_connect("pending-connect")?;
/// let client = loop {
///     if let Some(client) = connecting.try_finish()? {
///         break client;
///     }
///     let handles = connecting.wait_handles()?;
///     // Your event loop waits here for `handles`, at most until `handles.next_look()`. Meanwhile, the server accepts:
///     let accepted = server.try_accept()?;
///     # let _ = accepted;
/// };
/// client.send_to_server(b"hello")?;
/// # Ok::<(), xshm::ShmError>(())
/// ```
pub struct PendingConnect {
    connect: Connect,
    /// What event loops wait for, once one has asked for it.
    joined: Option<Joined>,
    created_in: OwningProcess,
    /// Whether the program may have taken the signal of this client's turn.
    may_have_turn: bool,
}

impl fmt::Debug for PendingConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingConnect").finish_non_exhaustive()
    }
}

impl ClientOptions {
    /// Begins to connect to a server by its name, for an event loop. See [`PendingConnect`].
    ///
    /// # Errors
    /// [`ShmError::InvalidName`], [`ShmError::WindowsError`], [`ShmError::SystemError`].
    pub fn begin_connect(self, name: &str) -> Result<PendingConnect> {
        let connect = Connect::new(Some(ChannelName::parse(name)?), self, Deadline::NEVER)?;
        let created_in = OwningProcess::current()?;
        Ok(PendingConnect { connect, joined: None, created_in, may_have_turn: false })
    }
}

impl PendingConnect {
    /// Goes on with the connect as far as it can without waiting. `None`: it needs more time.
    ///
    /// # Errors
    /// Those of [`SharedClient::connect`], except for those that need a time limit: the connect has ended. If the server does not
    /// exist yet, or does not accept yet, that is no error. [`ShmError::NotReady`]: the connect has ended before.
    /// [`ShmError::Forked`].
    pub fn try_finish(&mut self) -> Result<Option<SharedClient>> {
        self.check_not_forked()?;
        self.connect.take_signals();
        if std::mem::take(&mut self.may_have_turn) {
            self.connect.take_turn();
        }
        self.connect.step(Duration::ZERO)
    }

    /// Returns the objects to wait for until the next call of [`try_finish`](Self::try_finish), and the time of this call at the
    /// latest. They are valid until then.
    ///
    /// On Linux [`data`](WaitHandles::data) is an `epoll` descriptor that stays the same file for the whole connect, and
    /// [`peer`](WaitHandles::peer) is `None`.
    ///
    /// # Errors
    /// [`ShmError::SystemError`], [`ShmError::WindowsError`]: the process can have no more descriptors or handles. Call
    /// [`try_finish`](Self::try_finish) again after a pause: no object may become ready before. [`ShmError::Forked`].
    pub fn wait_handles(&mut self) -> Result<WaitHandles> {
        self.check_not_forked()?;
        WaitHandles::joined(&mut self.joined, &wait_set(&self.connect, &mut self.may_have_turn))
    }

    /// What a task waits for until the next call of [`try_finish`](Self::try_finish).
    #[cfg(all(feature = "async", not(any(loom, miri))))]
    pub(crate) fn wait_set(&mut self) -> WaitSet<'_> {
        wait_set(&self.connect, &mut self.may_have_turn)
    }

    /// # Errors
    /// [`ShmError::Forked`].
    pub(crate) fn check_not_forked(&self) -> Result<()> {
        if self.created_in.is_current() {
            Ok(())
        } else {
            Err(ShmError::Forked)
        }
    }

    /// Ends the connect, and returns why it is not finished: the error that a connect whose time is over returns, for example
    /// [`ShmError::NoServer`] or [`ShmError::NotAccepting`].
    pub fn give_up(mut self) -> ShmError {
        self.connect.late()
    }
}

/// What the program waits for, and whether it may take the signal of this client's turn.
fn wait_set<'a>(connect: &'a Connect, may_have_turn: &mut bool) -> WaitSet<'a> {
    let (set, turn) = connect.wait_set();
    *may_have_turn = turn.is_some();
    set
}
