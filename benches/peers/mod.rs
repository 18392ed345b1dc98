//! The libraries and system calls with which xshm is compared: one file for each, which uses it as its documentation
//! recommends.
//!
//! Both sides of a line know the length of the next message, so that a stream of bytes needs no lengths. This saves some
//! of the peers work that they would have in real programs.

mod boost;
mod crossbeam;
#[cfg(target_os = "linux")]
mod iceoryx;
#[cfg(target_os = "linux")]
mod ipc_channel;
#[cfg(windows)]
mod named_pipe;
#[cfg(unix)]
mod pipe;
mod rtrb;
mod streams;
mod tcp;
#[cfg(unix)]
mod unix_datagrams;
#[cfg(unix)]
mod unix_socket;
#[cfg(unix)]
mod zeromq;

use crate::lines::Kind;

pub const RTRB: Kind = rtrb::KIND;
/// rtrb in batches. It is not in [`ALL`], whose lines pass messages one at a time.
pub const RTRB_BATCHED: Kind = rtrb::BATCHED;
#[cfg(target_os = "linux")]
pub const ICEORYX: Kind = iceoryx::KIND;
#[cfg(unix)]
pub const PIPE: Kind = pipe::KIND;
#[cfg(windows)]
pub const PIPE: Kind = named_pipe::KIND;

/// The peers in the pictures, in which more lines would hide each other.
#[cfg(target_os = "linux")]
pub const PICTURED: &[Kind] =
    &[RTRB, ICEORYX, ipc_channel::KIND, unix_socket::KIND, pipe::KIND, tcp::KIND, boost::KIND];
#[cfg(windows)]
pub const PICTURED: &[Kind] = &[RTRB, named_pipe::KIND, tcp::KIND, boost::KIND];

#[cfg(target_os = "linux")]
pub const ALL: &[Kind] = &[
    RTRB,
    crossbeam::KIND,
    ICEORYX,
    iceoryx::WITH_EVENTS,
    iceoryx::REQUESTS,
    ipc_channel::KIND,
    zeromq::IPC,
    zeromq::INPROC,
    unix_socket::KIND,
    unix_datagrams::KIND,
    pipe::KIND,
    tcp::KIND,
    boost::KIND,
];
#[cfg(windows)]
pub const ALL: &[Kind] = &[RTRB, crossbeam::KIND, named_pipe::KIND, tcp::KIND, boost::KIND];
