//! The two halves of an endpoint, for one thread or for two.

pub use crate::figures::{ChannelStats, PeerStats, WriteOutcome};
pub use crate::receiving::ReceiveHalf;
pub use crate::sending::SendHalf;
