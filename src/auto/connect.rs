//! How an auto endpoint gets its connections, one after the other.

use crate::background::connection::Connection;
use crate::background::core::Core;
use crate::background::retry::Backoff;
use crate::background::worker::{Gathered, Source};
use crate::channel::wait_set::WaitSet;
use crate::channel::Side;
use crate::error::{Result, ShmError};
use crate::halves::{ReceiveHalf, SendHalf};
use crate::layout::Lengths;
use crate::naming::ChannelName;
use crate::options::ClientOptions;
use crate::server::SharedServer;
use crate::sys::HeldName;
use crate::waiting::{Deadline, Interrupter};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

/// How a side gets its next connection.
pub(crate) trait Connector: Send + 'static {
    fn side(&self) -> Side;

    /// The lengths that messages may have, as far as this side knows them before it has connected.
    fn lengths(&self) -> Lengths;

    /// What a server holds of its name.
    fn held_name(&self) -> Option<HeldName> {
        None
    }

    /// Waits for one. Ends with [`ShmError::Interrupted`] when the worker has something else to do.
    fn connect(&mut self) -> Result<(SendHalf, ReceiveHalf)>;

    /// Whether there are no more connections after the one that has ended.
    fn is_done(&self) -> bool {
        false
    }
}

pub(super) struct ServerConnector {
    pub(super) server: SharedServer,
    pub(super) wait_bound: Option<Duration>,
}

impl Connector for ServerConnector {
    fn side(&self) -> Side {
        Side::Server
    }

    fn lengths(&self) -> Lengths {
        self.server.lengths()
    }

    fn held_name(&self) -> Option<HeldName> {
        self.server.held_name()
    }

    fn connect(&mut self) -> Result<(SendHalf, ReceiveHalf)> {
        self.server.wait_for_client(self.wait_bound)?;
        self.server.take().ok_or(ShmError::NotConnected)
    }
}

pub(super) struct ClientConnector {
    name: String,
    options: ClientOptions,
    timeout: Duration,
}

impl ClientConnector {
    pub(super) fn new(name: &str, options: ClientOptions, timeout: Duration) -> Result<Self> {
        ChannelName::parse(name)?;
        Ok(ClientConnector { name: name.to_owned(), options, timeout })
    }
}

impl Connector for ClientConnector {
    fn side(&self) -> Side {
        Side::Client
    }

    fn lengths(&self) -> Lengths {
        self.options.lengths()
    }

    fn connect(&mut self) -> Result<(SendHalf, ReceiveHalf)> {
        self.options.clone().connect(&self.name, self.timeout)?.take().ok_or(ShmError::NotConnected)
    }
}

/// The connections of one endpoint, of which there is one at a time.
pub(super) struct Connections<C> {
    core: Arc<Core>,
    connector: C,
    backoff: Backoff,
    /// The number of the last session. The channels' own numbers begin anew with each server.
    session: u32,
    /// The last attempt to connect was cut short.
    was_interrupted: bool,
    /// The worker was given a connection, and has not gathered since it ended.
    is_serving: bool,
}

impl<C: Connector> Connections<C> {
    pub(super) fn new(core: Arc<Core>, connector: C, backoff: Backoff) -> Self {
        Connections { core, connector, backoff, session: 0, was_interrupted: false, is_serving: false }
    }

    /// Connects. After an attempt that was cut short to report losses comes one that is not: else an endpoint whose program
    /// sends without a pause would never be connected.
    fn connect(&mut self) -> Result<Connection> {
        let outbox = self.core.outbox(0);
        let defers = self.was_interrupted && self.connector.side() == Side::Client;
        outbox.defers_wake_ups.store(defers, Ordering::Relaxed);
        let connected = self.connector.connect();
        self.was_interrupted = connected.as_ref().err() == Some(&ShmError::Interrupted);
        let (sender, half) = connected?;
        // Never 0.
        self.session = self.session.wrapping_add(1).max(1);
        outbox.attach(sender, self.session);
        Ok(Connection::new(0, half))
    }

    /// Lets the time between two attempts pass, unless the endpoint is stopped.
    fn pause(&mut self) {
        if self.connector.side() == Side::Server {
            // Only clients pause longer each time.
            self.backoff.connected();
        }
        let deadline = Deadline::after(Some(self.backoff.next_pause()));
        while !deadline.has_passed() {
            self.wake_up().reset();
            if self.core.is_stopping() {
                return;
            }
            self.core.flush_senders(0);
            let mut set = WaitSet::new();
            set.event(self.wake_up().0.event());
            if let Err(error) = set.wait(deadline) {
                self.core.call(None, |handler| handler.error(None, error));
                return;
            }
        }
    }
}

impl<C: Connector> Source for Connections<C> {
    fn core(&self) -> &Core {
        &self.core
    }

    fn wake_up(&self) -> &Interrupter {
        &self.core.wake_ups[0]
    }

    fn gather(&mut self, connections: &mut Vec<Connection>) -> Gathered {
        if !connections.is_empty() {
            return Gathered::Serve;
        }
        if self.core.is_stopping() {
            // No connection will take what is queued.
            self.core.outbox(0).abandon_queue();
            self.core.flush_senders(0);
            return Gathered::Done;
        }
        if std::mem::take(&mut self.is_serving) {
            if self.connector.is_done() {
                return Gathered::Done;
            }
            // A server takes the next client at once.
            if self.connector.side() == Side::Client {
                self.pause();
                return Gathered::Again;
            }
        }
        self.core.flush_senders(0);
        match self.connect() {
            Ok(connection) => {
                self.core.call(Some(0), |handler| handler.connected(0));
                connections.push(connection);
                self.is_serving = true;
                self.backoff.connected();
                return Gathered::Serve;
            }
            Err(ShmError::Interrupted) => {}
            // A server's bound of one wait is no error. A client's attempt without an answer is reported.
            Err(ShmError::Timeout) if self.connector.side() == Side::Server => {}
            Err(error) => {
                self.core.call(None, |handler| handler.error(None, error));
                self.pause();
            }
        }
        Gathered::Again
    }

    fn ended(&self, slot: u32) {
        self.core.outbox(slot).end(|| {});
    }
}
