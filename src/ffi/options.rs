//! The options in their C form.

use super::*;
use crate::access::{Access, UserId};
use crate::constants::{MAX_MESSAGES, RING_CAPACITY};
use crate::handles::{ClientEvents, ClientHandles, EVENTS};
use crate::options::{ClientOptions, ServerOptions, SpinBudget, Trust, Tuning};
use std::ffi::CStr;
use std::mem::size_of;

/// A channel's name and size.
#[repr(C)]
pub struct shm_endpoint_config_t {
    /// 1 to 80 bytes of UTF-8, ending with a NUL, without a backslash. The prefix "Global\" makes the name valid for the
    /// whole machine. On Linux each network namespace, and so usually each container, has its own names. The library reads it only during the call.
    pub name: *const c_char,
    /// Bytes in each direction's ring: a power of two from 4,096 to 2^30. 0: a server uses 2 MiB, a client uses the server's
    /// size. A client with another number refuses a server whose size differs.
    pub buffer_bytes: u32,
}

/// shm_options_t.access: the server's user, the system and the administrators may connect.
pub const SHM_ACCESS_OWNER: u32 = 0;
/// shm_options_t.access: every user of the machine may connect.
pub const SHM_ACCESS_EVERYONE: u32 = 1;
/// shm_options_t.access: those of SHM_ACCESS_OWNER, and `users`, may connect.
pub const SHM_ACCESS_USERS: u32 = 2;
/// shm_options_t.access: those users whom `security_descriptor` permits may connect. Windows only.
pub const SHM_ACCESS_SECURITY_DESCRIPTOR: u32 = 3;

/// shm_options_t.access: the system and the administrators may connect, and not the server's user. For a Windows server that runs
/// elevated: SHM_ACCESS_OWNER also admits those processes of its user that are not elevated.
pub const SHM_ACCESS_ADMINISTRATORS: u32 = 4;

/// shm_options_t.trust: the client accepts servers of the client's own user and of the system (root on Linux); on Windows
/// also those whose section belongs to the group Administrators.
pub const SHM_TRUST_OWNER: u32 = 0;
/// shm_options_t.trust: the client accepts servers of `users`.
pub const SHM_TRUST_USERS: u32 = 1;
/// shm_options_t.trust: the client accepts any server that has the name.
pub const SHM_TRUST_ANYONE: u32 = 2;

/// A timeout that never passes.
pub const SHM_FOREVER: u32 = u32::MAX;
/// shm_options_t.spin_us: the library chooses the time.
pub const SHM_SPIN_DEFAULT: u32 = u32::MAX;

/// Further options of an endpoint. Get a structure from shm_options_default, and change it. The library reads it only during
/// the call.
#[repr(C)]
pub struct shm_options_t {
    /// sizeof (shm_options_t). A newer library determines from it which fields exist.
    pub struct_size: u32,
    /// Servers: the largest number of messages that each direction queues. 0: 250, or the number that fits into a smaller
    /// ring. Clients: 0 accepts any server; with another number the client refuses a server whose number differs.
    pub message_limit: u32,
    /// How long a waiting call polls before it sleeps, in microseconds. 0: it does not poll. SHM_SPIN_DEFAULT: up to 50 while
    /// the peer usually answers within 25, about 2 otherwise, and 0 on a machine with one processor.
    pub spin_us: u32,
    /// How long shm_..._receive waits. The default is SHM_FOREVER. 0: it does not wait (SHM_ERROR_EMPTY).
    pub receive_timeout_ms: u32,
    /// How to treat a peer whose process cannot be watched. 0: refuse it. Otherwise accept it, and check at this interval
    /// whether it still runs.
    pub check_interval_ms: u32,
    /// Servers: if not 0, shm_..._send of both sides returns SHM_ERROR_FULL where it would otherwise evict the oldest
    /// messages.
    pub reject_when_full: u32,
    /// Servers: which users may connect, one of SHM_ACCESS_...
    pub access: u32,
    /// Clients: whose servers to connect to, one of SHM_TRUST_...
    pub trust: u32,
    /// For SHM_ACCESS_USERS and SHM_TRUST_USERS: SIDs as text ("S-1-5-32-545"), on Linux user ids ("1000").
    pub users: *const *const c_char,
    /// The number of `users`.
    pub user_count: u32,
    /// For SHM_ACCESS_SECURITY_DESCRIPTOR: the size of `security_descriptor` in bytes.
    pub security_descriptor_size: u32,
    /// A security descriptor in self-relative form.
    pub security_descriptor: *const c_void,
    /// Servers for many clients: the number of clients that share a worker thread, from 1 to 30. 0: 30.
    pub clients_per_worker: u32,
    /// Servers without a name: if not 0, the channel has events. The client gets them by shm_server_client_handles.
    pub anonymous_events: u32,
}

/// Returns the default options. Any thread.
#[no_mangle]
pub extern "C" fn shm_options_default() -> shm_options_t {
    shm_options_t {
        struct_size: size_of::<shm_options_t>() as u32,
        message_limit: 0,
        spin_us: SHM_SPIN_DEFAULT,
        receive_timeout_ms: SHM_FOREVER,
        check_interval_ms: 0,
        reject_when_full: 0,
        access: SHM_ACCESS_OWNER,
        trust: SHM_TRUST_OWNER,
        users: std::ptr::null(),
        user_count: 0,
        security_descriptor_size: 0,
        security_descriptor: std::ptr::null(),
        clients_per_worker: 0,
        anonymous_events: 0,
    }
}

/// Reads the name of a configuration, and its rings' size, if the configuration states one.
///
/// # Safety
/// NULL, or a configuration whose name is NULL or a string, for `'a`.
pub(crate) unsafe fn config<'a>(config: *const shm_endpoint_config_t) -> Outcome<(&'a str, Option<usize>)> {
    // SAFETY: by the caller.
    unsafe {
        let config = config.as_ref().ok_or(Failure::Argument("the configuration"))?;
        if config.name.is_null() {
            return Err(Failure::Argument("the name"));
        }
        let bytes = CStr::from_ptr(config.name);
        let name = bytes.to_str().map_err(|_| {
            let name = bytes.to_string_lossy().into_owned();
            ShmError::InvalidName { name, reason: "it is not UTF-8" }
        })?;
        Ok((name, (config.buffer_bytes != 0).then_some(config.buffer_bytes as usize)))
    }
}

fn invalid(option: &'static str, value: u32, reason: &str) -> Failure {
    ShmError::InvalidOption { option, value: value.into(), reason: reason.to_owned() }.into()
}

impl shm_options_t {
    /// # Safety
    /// NULL, or options whose pointers are valid for `'a`.
    pub(crate) unsafe fn read<'a>(options: *const Self) -> Outcome<Option<&'a Self>> {
        // SAFETY: by the caller.
        let Some(options) = (unsafe { options.as_ref() }) else { return Ok(None) };
        // Fields that a newer header has are behind ours.
        if (options.struct_size as usize) < size_of::<Self>() {
            let reason = "it is the size of shm_options_t; begin with shm_options_default()";
            return Err(invalid("struct_size", options.struct_size, reason));
        }
        Ok(Some(options))
    }

    /// # Safety
    /// `users` is NULL or has `user_count` strings.
    unsafe fn users(&self) -> Outcome<Vec<UserId>> {
        // SAFETY: by the caller.
        let users = unsafe { array(self.users, self.user_count, "the list of users") }?;
        let user = |user: &*const c_char| {
            // SAFETY: by the caller.
            let text = (!user.is_null()).then(|| unsafe { CStr::from_ptr(*user) });
            let text = text.and_then(|text| text.to_str().ok()).ok_or(Failure::Argument("a user"))?;
            Ok(text.parse::<UserId>()?)
        };
        list_of(users.iter().map(user))
    }

    /// # Safety
    /// `security_descriptor` is NULL or has `security_descriptor_size` bytes.
    unsafe fn access(&self) -> Outcome<Access> {
        Ok(match self.access {
            SHM_ACCESS_OWNER => Access::Owner,
            SHM_ACCESS_EVERYONE => Access::Everyone,
            SHM_ACCESS_ADMINISTRATORS => Access::Administrators,
            // SAFETY: by the caller.
            SHM_ACCESS_USERS => Access::Users(unsafe { self.users() }?),
            SHM_ACCESS_SECURITY_DESCRIPTOR => {
                let size = self.security_descriptor_size;
                if size > u16::MAX.into() {
                    return Err(invalid("security_descriptor_size", size, "it is at most 65,535"));
                }
                let bytes = self.security_descriptor.cast();
                // SAFETY: by the caller.
                Access::SecurityDescriptor(unsafe { array(bytes, size, "the security descriptor") }?.to_vec())
            }
            other => return Err(invalid("access", other, "it is one of SHM_ACCESS_...")),
        })
    }

    /// Changes the options that servers and clients have in common.
    fn tune(&self, tuning: &mut Tuning) {
        tuning.receive_timeout = timeout(self.receive_timeout_ms);
        if self.spin_us != SHM_SPIN_DEFAULT {
            tuning.spin = SpinBudget::Fixed(Duration::from_micros(self.spin_us.into()));
        }
        if self.check_interval_ms != 0 {
            tuning.check_interval = Some(duration(self.check_interval_ms));
        }
    }
}

/// # Safety
/// As [`shm_options_t::read`].
pub(crate) unsafe fn server_options(
    ring_size: Option<usize>, options: *const shm_options_t,
) -> Outcome<ServerOptions> {
    let ring_size = ring_size.unwrap_or(RING_CAPACITY);
    // Without a limit, a small ring queues as many messages as fit.
    let most = (ring_size / 64).saturating_sub(1).max(1);
    let mut chosen = ServerOptions::new().ring_size(ring_size).message_limit(MAX_MESSAGES.min(most));
    // SAFETY: by the caller.
    if let Some(options) = unsafe { shm_options_t::read(options) }? {
        if options.message_limit != 0 {
            chosen = chosen.message_limit(options.message_limit as usize);
        }
        if options.reject_when_full != 0 {
            chosen = chosen.reject_when_full();
        }
        if options.anonymous_events != 0 {
            chosen = chosen.anonymous_events();
        }
        options.tune(&mut chosen.tuning);
        // SAFETY: by the caller.
        chosen = chosen.access(unsafe { options.access() }?);
    }
    Ok(chosen)
}

/// # Safety
/// As [`shm_options_t::read`].
pub(crate) unsafe fn client_options(
    ring_size: Option<usize>, options: *const shm_options_t,
) -> Outcome<ClientOptions> {
    let mut chosen = ClientOptions::new();
    if let Some(bytes) = ring_size {
        chosen = chosen.ring_size(bytes);
    }
    // SAFETY: by the caller.
    if let Some(options) = unsafe { shm_options_t::read(options) }? {
        if options.message_limit != 0 {
            chosen = chosen.message_limit(options.message_limit as usize);
        }
        options.tune(&mut chosen.tuning);
        chosen = chosen.trust(match options.trust {
            SHM_TRUST_OWNER => Trust::Owner,
            // SAFETY: by the caller.
            SHM_TRUST_USERS => Trust::Users(unsafe { options.users() }?),
            SHM_TRUST_ANYONE => Trust::Anyone,
            other => return Err(invalid("trust", other, "it is one of SHM_TRUST_...")),
        });
    }
    Ok(chosen)
}

/// The data events of a channel, for native waiters and drivers: handles on Windows, descriptors on Linux. The library owns
/// them.
#[repr(C)]
pub struct shm_event_handles_t {
    /// Set when the server has sent a message.
    pub s2c_data: isize,
    /// Set when the client has sent a message.
    pub c2s_data: isize,
}

/// All handles that the client's side of a channel needs, for a driver or another process. They are handles on Windows and
/// descriptors on Linux. On Linux an event to wait for and an event to set may be the same descriptor.
#[repr(C)]
pub struct shm_client_handles_t {
    /// The section.
    pub section: isize,
    /// The server has sent a message: the client waits for this event. -1 here and in all following fields: the channel has
    /// no events.
    pub s2c_data: isize,
    /// The client has sent a message: the client sets this event.
    pub c2s_data: isize,
    /// The client has taken a message: the client sets this event.
    pub s2c_space: isize,
    /// The server has taken a message: the client waits for this event.
    pub c2s_space: isize,
    /// The client requests a connection: the client sets this event.
    pub request: isize,
    /// The server has answered: the client waits for this event.
    pub acknowledge: isize,
    /// Either side has left: the client sets this event, and may wait for it.
    pub disconnect: isize,
}

impl From<ClientHandles> for shm_client_handles_t {
    fn from(handles: ClientHandles) -> Self {
        let list = handles.events.as_ref().map_or([-1; EVENTS], ClientEvents::list);
        let [s2c_data, c2s_data, s2c_space, c2s_space, request, acknowledge, disconnect] = list;
        let section = handles.section;
        Self { section, s2c_data, c2s_data, s2c_space, c2s_space, request, acknowledge, disconnect }
    }
}

impl From<&shm_client_handles_t> for ClientHandles {
    fn from(handles: &shm_client_handles_t) -> Self {
        let events = ClientEvents {
            s2c_data: handles.s2c_data,
            c2s_data: handles.c2s_data,
            s2c_space: handles.s2c_space,
            c2s_space: handles.c2s_space,
            request: handles.request,
            acknowledge: handles.acknowledge,
            disconnect: handles.disconnect,
        };
        ClientHandles { section: handles.section, events: (events.s2c_data != -1).then_some(events) }
    }
}

/// The statistics of a channel's current session.
#[repr(C)]
pub struct shm_stats_t {
    /// The number of this connection of the channel. It grows with each connection.
    pub generation: u32,
    /// Messages sent that the peer has not taken yet.
    pub send_depth: u32,
    /// Messages that this side has not received yet.
    pub receive_depth: u32,
    /// Always 0.
    pub reserved: u32,
    /// Messages sent.
    pub sent: u64,
    /// Those of the sent messages that were evicted before the peer took them.
    pub send_dropped: u64,
    /// Messages received.
    pub received: u64,
    /// Messages that the peer evicted before this side took them. The number is known from the messages received since.
    pub receive_dropped: u64,
    /// Kernel signals sent. There is at most one for each of the peer's sleeps, or one for each message if a program waits
    /// natively.
    pub signals: u64,
    /// How often this side announced that it was going to sleep. If its last look after that finds a message, it does not
    /// sleep. On a channel without events: how often it slept.
    pub sleeps: u64,
}
