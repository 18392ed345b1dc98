//! An async client.

use super::halves::{endpoint, receive_methods, send_methods};
use super::link::{self, Link};
use crate::client::SharedClient;
use crate::error::{Result, ShmError};
use crate::options::ClientOptions;
use std::task::{Context, Poll};

/// A client whose calls are awaited. The [module](super) has an example.
pub struct AsyncClient {
    /// Sending, and receiving.
    directions: [Link; 2],
    client: SharedClient,
}

impl AsyncClient {
    /// Connects to the server that has the name. Waits until the server exists, the previous client has left, and the server
    /// accepts this client. The server may be one for many clients.
    ///
    /// Cancel-safe: if the future is dropped before it has returned, it withdraws its request, and leaves if the server has
    /// accepted it meanwhile.
    ///
    /// # Errors
    /// As [`PendingConnect::try_finish`](crate::PendingConnect::try_finish), and as [`from_shared`](Self::from_shared).
    pub async fn connect(name: &str) -> Result<Self> {
        Self::connect_with(name, ClientOptions::new()).await
    }

    /// As [`connect`](Self::connect), with options.
    ///
    /// # Errors
    /// As [`connect`](Self::connect). [`ShmError::Incompatible`]: the server's sizes differ from those of the options.
    pub async fn connect_with(name: &str, options: ClientOptions) -> Result<Self> {
        let mut connecting = options.begin_connect(name)?;
        // Before the first step, by which the server hears of this client: what failed later would waste the session.
        let [mut link, other] = [Link::new()?, Link::new()?];
        let connected = std::future::poll_fn(|context| {
            connecting.check_not_forked()?;
            link.begin(context);
            match connecting.try_finish()? {
                Some(client) => Poll::Ready(Ok::<_, ShmError>(client)),
                None => {
                    link.watch(&connecting.wait_set())?;
                    Poll::Pending
                }
            }
        });
        let client = connected.await?;
        link.wakes.clear();
        Ok(AsyncClient { directions: [link, other], client })
    }

    /// Returns the slot that a server for many clients has given this client, see [`SharedClient::slot_id`].
    pub fn slot_id(&self) -> Option<u32> {
        self.client.slot_id()
    }

    /// Makes an async endpoint of one whose calls wait on their thread.
    ///
    /// # Errors
    /// [`ShmError::SystemError`], [`ShmError::WindowsError`]: the process can have no more descriptors, handles or threads.
    pub fn from_shared(client: SharedClient) -> Result<Self> {
        Ok(AsyncClient { directions: [Link::new()?, Link::new()?], client })
    }
}

endpoint!(AsyncClient, SharedClient, client, "server");
