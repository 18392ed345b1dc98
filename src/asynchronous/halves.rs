//! Halves of an async endpoint, for two tasks; and the methods that endpoints and halves share.

use super::link::{self, Link, Receives, Sends};
use crate::error::Result;
use crate::halves::{ReceiveHalf, SendHalf};
use crate::owned::{OwnedReceiveHalf, OwnedSendHalf, Split};
use std::fmt;
use std::task::{Context, Poll};

/// The methods that send.
macro_rules! send_methods {
    () => {
        /// Sends a message to the peer, and waits for room if there is none.
        ///
        /// Cancel-safe: if the future is dropped before it has returned, the message was not sent.
        ///
        /// # Errors
        /// As [`SendHalf::try_send`](crate::SendHalf::try_send), without `QueueFull`.
        pub async fn send(&mut self, message: &[u8]) -> Result<()> {
            link::send(self, message).await
        }

        /// As [`send`](Self::send), for a future of your own. A task that gets `Pending` is woken when it is worth calling this
        /// again. One task at a time is woken: that of the last call.
        pub fn poll_send(&mut self, context: &mut Context<'_>, message: &[u8]) -> Poll<Result<()>> {
            let (half, link) = link::Sends::sending(self)?;
            link::poll_send(half, link, context, message)
        }

        /// Sends a message if there is room for it: see [`SendHalf::try_send`](crate::SendHalf::try_send).
        ///
        /// # Errors
        /// As [`SendHalf::try_send`](crate::SendHalf::try_send).
        pub fn try_send(&mut self, message: &[u8]) -> Result<()> {
            link::Sends::sending(self)?.0.try_send(message)
        }
    };
}
pub(super) use send_methods;

/// The methods that receive.
macro_rules! receive_methods {
    () => {
        /// Waits for a message, and replaces the contents of `buffer` with it. Returns the message's length.
        ///
        /// Cancel-safe: if the future is dropped before it has returned, the message stays in the queue.
        ///
        /// # Errors
        /// As [`ReceiveHalf::try_receive`](crate::ReceiveHalf::try_receive), without `QueueEmpty` and `NotReady`.
        pub async fn receive(&mut self, buffer: &mut Vec<u8>) -> Result<usize> {
            link::receive(self, buffer).await
        }

        /// As [`receive`](Self::receive), for a future or a stream of your own: `stream::poll_fn` of the usual crates makes a stream
        /// of it. A task that gets `Pending` is woken when it is worth calling this again. One task at a time is woken: that of
        /// the last call.
        pub fn poll_receive(
            &mut self, context: &mut Context<'_>, buffer: &mut Vec<u8>,
        ) -> Poll<Result<usize>> {
            let (half, link) = link::Receives::receiving(self)?;
            link::poll_receive(half, link, context, buffer)
        }

        /// Takes a message if there is one: see [`ReceiveHalf::try_receive`](crate::ReceiveHalf::try_receive).
        ///
        /// # Errors
        /// As [`ReceiveHalf::try_receive`](crate::ReceiveHalf::try_receive).
        pub fn try_receive(&mut self, buffer: &mut Vec<u8>) -> Result<usize> {
            link::Receives::receiving(self)?.0.try_receive(buffer)
        }
    };
}
pub(super) use receive_methods;

/// What a server and a client share: `$shared` is the field with the endpoint whose calls wait on their thread.
macro_rules! endpoint {
    ($Async:ident, $Shared:ident, $shared:ident, $peer:literal) => {
        impl $Async {
            send_methods!();

            receive_methods!();

            #[doc = concat!("Returns whether a ", $peer, " is connected. Asks the kernel whether its process still runs.")]
            pub fn is_connected(&self) -> bool {
                self.$shared.is_connected()
            }

            #[doc = concat!("Returns the process and the user of the ", $peer, ". `None`: there was no ", $peer, " yet.")]
            pub fn peer(&self) -> Option<crate::access::PeerIdentity> {
                self.$shared.peer()
            }

            /// Splits the endpoint into halves that own it, for two tasks.
            ///
            /// # Errors
            /// [`SplitError`](crate::SplitError): there was no session yet. The error has the endpoint.
            pub fn into_split(
                self,
            ) -> std::result::Result<
                (super::AsyncSendHalf<$Shared>, super::AsyncReceiveHalf<$Shared>),
                crate::owned::SplitError<$Shared>,
            > {
                Ok(super::halves::halves(self.$shared.into_split()?, self.directions))
            }

            /// Returns the endpoint for calls that wait on their thread.
            pub fn into_shared(self) -> $Shared {
                self.$shared
            }
        }

        impl link::Sends for $Async {
            fn sending(&mut self) -> Result<(&mut crate::SendHalf, &mut Link)> {
                Ok((self.$shared.split()?.0, &mut self.directions[0]))
            }
        }

        impl link::Receives for $Async {
            fn receiving(&mut self) -> Result<(&mut crate::ReceiveHalf, &mut Link)> {
                Ok((self.$shared.split()?.1, &mut self.directions[1]))
            }
        }

        impl std::fmt::Debug for $Async {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($Async)).field("peer", &self.peer()).finish_non_exhaustive()
            }
        }
    };
}
pub(super) use endpoint;

/// The sending half of an [`AsyncServer`](super::AsyncServer) or an [`AsyncClient`](super::AsyncClient), which owns the endpoint
/// together with its [`AsyncReceiveHalf`]. The endpoint leaves the channel when both halves are gone.
pub struct AsyncSendHalf<E: Split> {
    link: Link,
    half: OwnedSendHalf<E>,
}

/// The receiving half of an [`AsyncServer`](super::AsyncServer) or an [`AsyncClient`](super::AsyncClient), which owns the endpoint
/// together with its [`AsyncSendHalf`]. The endpoint leaves the channel when both halves are gone.
pub struct AsyncReceiveHalf<E: Split> {
    link: Link,
    half: OwnedReceiveHalf<E>,
}

/// Makes async halves of owned halves.
pub(super) fn halves<E: Split>(
    (sender, receiver): (OwnedSendHalf<E>, OwnedReceiveHalf<E>), [send, receive]: [Link; 2],
) -> (AsyncSendHalf<E>, AsyncReceiveHalf<E>) {
    (AsyncSendHalf { link: send, half: sender }, AsyncReceiveHalf { link: receive, half: receiver })
}

impl<E: Split> AsyncSendHalf<E> {
    send_methods!();

    /// Returns whether the peer is connected. Asks the kernel whether its process still runs.
    pub fn is_connected(&self) -> bool {
        self.half.is_connected()
    }

    /// Returns the half for calls that wait on their thread.
    pub fn into_shared(self) -> OwnedSendHalf<E> {
        self.half
    }
}

impl<E: Split> AsyncReceiveHalf<E> {
    receive_methods!();

    /// Returns whether the peer is connected. Asks the kernel whether its process still runs.
    pub fn is_connected(&self) -> bool {
        self.half.is_connected()
    }

    /// Returns the half for calls that wait on their thread.
    pub fn into_shared(self) -> OwnedReceiveHalf<E> {
        self.half
    }
}

impl<E: Split> Sends for AsyncSendHalf<E> {
    fn sending(&mut self) -> Result<(&mut SendHalf, &mut Link)> {
        Ok((&mut self.half, &mut self.link))
    }
}

impl<E: Split> Receives for AsyncReceiveHalf<E> {
    fn receiving(&mut self) -> Result<(&mut ReceiveHalf, &mut Link)> {
        Ok((&mut self.half, &mut self.link))
    }
}

impl<E: Split> fmt::Debug for AsyncSendHalf<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncSendHalf").field(&self.half).finish()
    }
}

impl<E: Split> fmt::Debug for AsyncReceiveHalf<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncReceiveHalf").field(&self.half).finish()
    }
}
