//! The options in their C form.

use super::interrupter::InterrupterHandle;
use super::*;
use crate::access::{Access, UserId};
use crate::calls::MAX_CALL_SIZE;
use crate::constants::{MAX_MESSAGES, MAX_MESSAGE_SIZE, MIN_MESSAGE_SIZE, RING_CAPACITY};
use crate::handles::{ClientEvents, ClientHandles, EVENTS};
use crate::options::{ChannelEvent, ClientOptions, ServerOptions, SpinBudget, Trust, Tuning};
use std::ffi::{CStr, CString};
use std::mem::{offset_of, size_of};

/// A channel's name and size.
///
/// \ingroup options
#[repr(C)]
pub struct shm_endpoint_config_t {
    /// 1 to 80 bytes of UTF-8, ending with a NUL, without a backslash. The prefix "Global\\" makes the name valid for the
    /// whole machine. On Linux each network namespace, and so usually each container, has its own names. The library reads it only during the call.
    pub name: *const c_char,
    /// Bytes in each direction's ring: a power of two from 4,096 to 2^30. 0: a server uses 2 MiB, a client uses the server's
    /// size. A client with another number refuses a server whose size differs.
    pub buffer_bytes: u32,
}

/// shm_options_t.access: the server's user, the system and the administrators may connect.
///
/// \ingroup options
pub const SHM_ACCESS_OWNER: u32 = 0;
/// shm_options_t.access: every user of the machine may connect.
///
/// \ingroup options
pub const SHM_ACCESS_EVERYONE: u32 = 1;
/// shm_options_t.access: those of SHM_ACCESS_OWNER, and `users`, may connect.
///
/// \ingroup options
pub const SHM_ACCESS_USERS: u32 = 2;
/// shm_options_t.access: those users whom `security_descriptor` permits may connect. Windows only. The descriptor names an owner, and
/// grants clients the rights 0x120007: those for a section and for an event together.
///
/// \ingroup options
pub const SHM_ACCESS_SECURITY_DESCRIPTOR: u32 = 3;

/// shm_options_t.access: the system and the administrators may connect, and not the server's user. For a Windows server that runs
/// elevated: SHM_ACCESS_OWNER also admits those processes of its user that are not elevated.
///
/// \ingroup options
pub const SHM_ACCESS_ADMINISTRATORS: u32 = 4;

/// shm_options_t.trust: the client accepts servers of the client's own user and of the system (root on Linux); on Windows
/// also those whose section belongs to the group Administrators.
///
/// \ingroup options
pub const SHM_TRUST_OWNER: u32 = 0;
/// shm_options_t.trust: the client accepts servers of `users`.
///
/// \ingroup options
pub const SHM_TRUST_USERS: u32 = 1;
/// shm_options_t.trust: the client accepts any server that has the name.
///
/// \ingroup options
pub const SHM_TRUST_ANYONE: u32 = 2;

/// The smallest number of bytes of a message. On a channel with shm_options_t.max_message_bytes it is 0.
///
/// \ingroup library
#[allow(dead_code)] // It is for the header.
pub const SHM_MIN_MESSAGE: u32 = 2;
/// The largest number of bytes of a message, on channels without shm_options_t.max_message_bytes.
///
/// \ingroup library
#[allow(dead_code)] // It is for the header.
pub const SHM_MAX_MESSAGE: u32 = 65535;
/// The largest number of bytes of a call (shm_caller_call) and of its answer. On a channel with shm_options_t.max_message_bytes it is
/// that number minus 16.
///
/// \ingroup calls
#[allow(dead_code)] // It is for the header.
pub const SHM_MAX_CALL: u32 = 65519;

const _: () = assert!(
    SHM_MIN_MESSAGE as usize == MIN_MESSAGE_SIZE
        && SHM_MAX_MESSAGE as usize == MAX_MESSAGE_SIZE
        && SHM_MAX_CALL as usize == MAX_CALL_SIZE
);

/// A timeout that never passes.
///
/// \ingroup library
pub const SHM_FOREVER: u32 = u32::MAX;
/// shm_options_t.spin_us: the library chooses the time.
///
/// \ingroup options
pub const SHM_SPIN_DEFAULT: u32 = u32::MAX;

/// Further options of an endpoint. Get a structure from shm_options_default, and change it. The library reads it only during
/// the call.
///
/// \ingroup options
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
    /// Called for each event of a channel, for a log: a session that begins or ends, a peer that is refused, a peer that breaks the
    /// protocol. NULL: no call. It runs on the thread that detects the event, inside that thread's call, and must not call a function
    /// of this library with the same handle. `event` and its text are valid until it returns. It may run until the function that stops
    /// the handle has returned, and, for a client, in the function that connects, also if that fails.
    pub on_event: Option<unsafe extern "C" fn(event: *const shm_event_t, user_data: *mut c_void)>,
    /// Passed to on_event. It must be usable on all threads that use the handle.
    pub event_user_data: *mut c_void,
    /// Clients that connect in a call (shm_client_connect_with_options, shm_multi_client_connect_with_options,
    /// shm_caller_connect): by this another thread ends the call. NULL: nothing does.
    pub interrupter: *const InterrupterHandle,
    /// Servers: the size of the longest message in bytes, from 2 to half of buffer_bytes minus 64 (minus 8, if buffer_bytes is at most
    /// 131,072). A message may then have any size up to it, also 0 and 1. 0: messages have 2 to 65,535 bytes, and at most half of
    /// buffer_bytes minus 8. Clients: 0 accepts any server; with another number the client refuses a server whose number differs.
    pub max_message_bytes: u32,
    /// 0.
    pub reserved: u32,
}

/// shm_event_t.kind: a session began.
///
/// \ingroup options
pub const SHM_EVENT_CONNECTED: u32 = 1;
/// shm_event_t.kind: a session ended; `error` says how.
///
/// \ingroup options
pub const SHM_EVENT_LOST: u32 = 2;
/// shm_event_t.kind: a peer was refused, or refused this side; `error` says why.
///
/// \ingroup options
pub const SHM_EVENT_REFUSED: u32 = 3;
/// shm_event_t.kind: the peer broke the protocol, and the session ended.
///
/// \ingroup options
pub const SHM_EVENT_CORRUPTED: u32 = 4;

/// Something that happened to a channel, for the program's log.
///
/// \ingroup options
#[repr(C)]
pub struct shm_event_t {
    /// sizeof (shm_event_t) of the library. A newer library appends fields.
    pub struct_size: u32,
    /// One of SHM_EVENT_...
    pub kind: u32,
    /// The error. SHM_SUCCESS for SHM_EVENT_CONNECTED.
    pub error: shm_error_t,
    /// SHM_EVENT_CONNECTED: the peer's process id. Otherwise 0.
    pub process_id: u32,
    /// SHM_EVENT_CONNECTED: the number of the connection, which grows with each connection of the channel. Otherwise 0.
    pub generation: u32,
    /// What happened, in English, with details.
    pub text: *const c_char,
}

/// Returns the default options of a channel.
///
/// \ingroup options
/// \return The options, with `struct_size` set.
/// \par Threads
/// Any thread.
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
        on_event: None,
        event_user_data: std::ptr::null_mut(),
        interrupter: std::ptr::null(),
        max_message_bytes: 0,
        reserved: 0,
    }
}

/// Reads the name of a configuration, and its rings' size, if the configuration states one.
///
/// # Safety
/// NULL, or a configuration whose name is NULL or a string, for `'a`.
pub(crate) unsafe fn config<'a>(config: *const shm_endpoint_config_t) -> Outcome<(&'a str, Option<usize>)> {
    // SAFETY: by the caller.
    unsafe {
        let config = config.as_ref().ok_or(Failure::Null("the configuration"))?;
        if config.name.is_null() {
            return Err(Failure::Null("the name"));
        }
        let bytes = CStr::from_ptr(config.name);
        let name = bytes.to_str().map_err(|_| {
            let name = bytes.to_string_lossy().into_owned();
            ShmError::InvalidName { name, reason: "it is not UTF-8" }
        })?;
        Ok((name, (config.buffer_bytes != 0).then_some(config.buffer_bytes as usize)))
    }
}

/// A pointer of C's.
struct UserData(*mut c_void);

// SAFETY: the header says on which threads C's functions use it.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

fn invalid(option: &'static str, value: u32, reason: &str) -> Failure {
    ShmError::InvalidOption { option, value: value.into(), reason: reason.to_owned() }.into()
}

impl shm_options_t {
    /// Reads the options of a program, whose header may be older or newer.
    ///
    /// # Safety
    /// NULL, or options of `struct_size` bytes.
    pub(crate) unsafe fn read(options: *const Self) -> Outcome<Option<Self>> {
        if options.is_null() {
            return Ok(None);
        }
        // SAFETY: by the caller.
        let struct_size = unsafe { (*options).struct_size };
        // The first header ended before this field.
        if (struct_size as usize) < offset_of!(Self, max_message_bytes) {
            let reason = "it is the size of shm_options_t; begin with shm_options_default()";
            return Err(invalid("struct_size", struct_size, reason));
        }
        // Fields that an older header lacks have their defaults. Fields that a newer header has are behind ours.
        let mut known = shm_options_default();
        let has_all = struct_size as usize >= size_of::<Self>();
        let size = if has_all { size_of::<Self>() } else { offset_of!(Self, max_message_bytes) };
        // SAFETY: by the caller, the program's options have these bytes. Any bytes are valid in the fields, but `on_event` must be a
        // function or NULL, by the caller.
        unsafe { ptr::copy_nonoverlapping(options.cast::<u8>(), ptr::from_mut(&mut known).cast(), size) };
        Ok(Some(known))
    }

    /// # Safety
    /// `users` is NULL or has `user_count` strings.
    unsafe fn users(&self) -> Outcome<Vec<UserId>> {
        // SAFETY: by the caller.
        let users = unsafe { array(self.users, self.user_count, "the list of users") }?;
        let user = |user: &*const c_char| {
            // SAFETY: by the caller.
            let text = (!user.is_null()).then(|| unsafe { CStr::from_ptr(*user) });
            let text = text.ok_or(Failure::Null("a user of the list"))?;
            let text = text.to_str().map_err(|_| Failure::NotUtf8("a user of the list"))?;
            Ok(text.parse::<UserId>()?)
        };
        list_of(users.iter().map(user))
    }

    /// # Safety
    /// `security_descriptor` is NULL or has `security_descriptor_size` bytes.
    unsafe fn access(&self) -> Outcome<Access> {
        if self.user_count != 0 && self.access != SHM_ACCESS_USERS {
            return Err(invalid(
                "user_count",
                self.user_count,
                "a server has users with SHM_ACCESS_USERS alone",
            ));
        }
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

    /// The function of C that is called for each event.
    fn event_hook(&self) -> Option<impl Fn(&ChannelEvent) + Send + Sync + 'static> {
        let (call, user_data) = (self.on_event?, UserData(self.event_user_data));
        Some(move |event: &ChannelEvent| {
            let user_data = &user_data;
            let (kind, error, process_id, generation, text) = match event {
                ChannelEvent::Connected { process_id, generation } => {
                    let text = format!("process {process_id} is connected (connection {generation})");
                    (SHM_EVENT_CONNECTED, shm_error_t::SHM_SUCCESS, *process_id, *generation, text)
                }
                ChannelEvent::Lost(error) => (SHM_EVENT_LOST, code(error), 0, 0, error.to_string()),
                ChannelEvent::Refused(error) => (SHM_EVENT_REFUSED, code(error), 0, 0, error.to_string()),
                ChannelEvent::Corrupted(what) => {
                    let text = format!("the peer broke the protocol: {what}");
                    (SHM_EVENT_CORRUPTED, shm_error_t::SHM_ERROR_PROTOCOL, 0, 0, text)
                }
            };
            let text = CString::new(text).unwrap_or_default();
            let struct_size = size_of::<shm_event_t>() as u32;
            let event = shm_event_t { struct_size, kind, error, process_id, generation, text: text.as_ptr() };
            // SAFETY: by the header, the function may be called on any thread that uses the handle.
            unsafe { call(&event, user_data.0) };
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
        if options.max_message_bytes != 0 {
            chosen = chosen.max_message_size(options.max_message_bytes as usize);
        }
        if options.reject_when_full != 0 {
            chosen = chosen.reject_when_full();
        }
        if options.anonymous_events != 0 {
            chosen = chosen.anonymous_events();
        }
        options.tune(&mut chosen.tuning);
        if let Some(hook) = options.event_hook() {
            chosen = chosen.on_event(hook);
        }
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
        if options.max_message_bytes != 0 {
            chosen = chosen.max_message_size(options.max_message_bytes as usize);
        }
        options.tune(&mut chosen.tuning);
        chosen = chosen.trust(match options.trust {
            SHM_TRUST_OWNER => Trust::Owner,
            // SAFETY: by the caller.
            SHM_TRUST_USERS => Trust::Users(unsafe { options.users() }?),
            SHM_TRUST_ANYONE => Trust::Anyone,
            other => return Err(invalid("trust", other, "it is one of SHM_TRUST_...")),
        });
        if let Some(hook) = options.event_hook() {
            chosen = chosen.on_event(hook);
        }
        // SAFETY: by the caller, NULL or an interrupter.
        chosen.connect_interrupter = unsafe { options.interrupter.as_ref() }.map(InterrupterHandle::get);
    }
    Ok(chosen)
}

/// The data events of a channel, for native waiters and drivers: handles on Windows, descriptors on Linux. The library owns
/// them.
///
/// \ingroup native
#[repr(C)]
pub struct shm_event_handles_t {
    /// Set when the server has sent a message.
    pub s2c_data: isize,
    /// Set when the client has sent a message.
    pub c2s_data: isize,
}

/// All handles that the client's side of a channel needs, for a driver or another process. They are handles on Windows and
/// descriptors on Linux. On Linux an event to wait for and an event to set may be the same descriptor.
///
/// \ingroup native
#[repr(C)]
#[derive(Debug)]
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
///
/// \ingroup server client
#[repr(C)]
pub struct shm_stats_t {
    /// The number of this connection of the channel. It grows with each connection.
    pub generation: u32,
    /// Messages sent that the peer has not taken yet.
    pub send_depth: u32,
    /// Messages that this side has not received yet.
    pub receive_depth: u32,
    /// The bytes of this structure that the library has filled. It grows into `reserved`.
    pub struct_size: u32,
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
    pub signals_sent: u64,
    /// How often this side announced that it was going to sleep. If its last look after that finds a message, it does not
    /// sleep. On a channel without events: how often it slept.
    pub sleeps: u64,
    /// Always 0. For counts of newer versions.
    pub reserved: [u64; 4],
}
