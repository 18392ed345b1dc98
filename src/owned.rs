//! Halves that own their endpoint together, for two threads that live as long as they like.

use crate::error::ShmError;
use crate::halves::{ReceiveHalf, SendHalf};
use std::error::Error;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// An endpoint that can be split into halves which own it: [`SharedServer`](crate::SharedServer) and
/// [`SharedClient`](crate::SharedClient).
pub trait Split: sealed::Halves {}

pub(crate) mod sealed {
    use crate::halves::{ReceiveHalf, SendHalf};

    pub trait Halves: Sized + Send {
        /// Takes both halves out. `None`: there was no session yet.
        fn take_halves(&mut self) -> Option<(SendHalf, ReceiveHalf)>;
        /// Puts them back.
        fn put_halves(&mut self, sender: SendHalf, receiver: ReceiveHalf);
    }
}

/// A sending half that owns the endpoint together with its [`OwnedReceiveHalf`]. It is [`Send`] and `'static`, and has the methods
/// of [`SendHalf`].
///
/// The endpoint is dropped, and leaves the channel, when both halves are gone.
pub struct OwnedSendHalf<E: Split> {
    half: SendHalf,
    endpoint: Arc<Mutex<E>>,
}

/// A receiving half that owns the endpoint together with its [`OwnedSendHalf`]. It is [`Send`] and `'static`, and has the methods
/// of [`ReceiveHalf`].
///
/// The endpoint is dropped, and leaves the channel, when both halves are gone.
pub struct OwnedReceiveHalf<E: Split> {
    half: ReceiveHalf,
    endpoint: Arc<Mutex<E>>,
}

pub(crate) fn split<E: Split>(
    mut endpoint: E,
) -> Result<(OwnedSendHalf<E>, OwnedReceiveHalf<E>), SplitError<E>> {
    let Some((sender, receiver)) = endpoint.take_halves() else { return Err(SplitError(Box::new(endpoint))) };
    let endpoint = Arc::new(Mutex::new(endpoint));
    Ok((
        OwnedSendHalf { half: sender, endpoint: endpoint.clone() },
        OwnedReceiveHalf { half: receiver, endpoint },
    ))
}

impl<E: Split> OwnedSendHalf<E> {
    /// Makes one endpoint of both halves again.
    ///
    /// # Errors
    /// [`RejoinError`]: the halves are of different endpoints. It returns both.
    pub fn rejoin(self, receiver: OwnedReceiveHalf<E>) -> Result<E, RejoinError<E>> {
        if !Arc::ptr_eq(&self.endpoint, &receiver.endpoint) {
            return Err(RejoinError(Box::new((self, receiver))));
        }
        drop(receiver.endpoint);
        let endpoint = Arc::into_inner(self.endpoint).expect("only the two halves have it");
        let mut endpoint = endpoint.into_inner().unwrap_or_else(PoisonError::into_inner);
        endpoint.put_halves(self.half, receiver.half);
        Ok(endpoint)
    }
}

impl<E: Split> Deref for OwnedSendHalf<E> {
    type Target = SendHalf;

    fn deref(&self) -> &SendHalf {
        &self.half
    }
}

impl<E: Split> DerefMut for OwnedSendHalf<E> {
    fn deref_mut(&mut self) -> &mut SendHalf {
        &mut self.half
    }
}

impl<E: Split> Deref for OwnedReceiveHalf<E> {
    type Target = ReceiveHalf;

    fn deref(&self) -> &ReceiveHalf {
        &self.half
    }
}

impl<E: Split> DerefMut for OwnedReceiveHalf<E> {
    fn deref_mut(&mut self) -> &mut ReceiveHalf {
        &mut self.half
    }
}

impl<E: Split> fmt::Debug for OwnedSendHalf<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedSendHalf").field(&self.half).finish()
    }
}

impl<E: Split> fmt::Debug for OwnedReceiveHalf<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedReceiveHalf").field(&self.half).finish()
    }
}

/// The endpoint could not be split, since it has had no session yet.
pub struct SplitError<E>(Box<E>);

impl<E> SplitError<E> {
    /// Returns the endpoint, unchanged.
    pub fn into_endpoint(self) -> E {
        *self.0
    }
}

/// The halves are of different endpoints.
pub struct RejoinError<E: Split>(Box<(OwnedSendHalf<E>, OwnedReceiveHalf<E>)>);

impl<E: Split> RejoinError<E> {
    /// Returns both halves, unchanged.
    pub fn into_halves(self) -> (OwnedSendHalf<E>, OwnedReceiveHalf<E>) {
        *self.0
    }
}

impl<E> fmt::Debug for SplitError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitError").finish_non_exhaustive()
    }
}

impl<E> fmt::Display for SplitError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the endpoint has had no session yet, and so has no halves: wait for the peer first")
    }
}

impl<E> Error for SplitError<E> {}

/// The endpoint is dropped.
impl<E> From<SplitError<E>> for ShmError {
    fn from(_: SplitError<E>) -> Self {
        ShmError::NotConnected
    }
}

impl<E: Split> fmt::Debug for RejoinError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejoinError").finish_non_exhaustive()
    }
}

impl<E: Split> fmt::Display for RejoinError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are of different endpoints")
    }
}

impl<E: Split> Error for RejoinError<E> {}
