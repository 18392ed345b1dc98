//! The C functions with all kinds of arguments: NULL, wrong sizes, wrong order of calls, with and without a connection.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::ffi::{c_char, c_void};
use std::ptr;
use std::thread;

// The functions are in the rlib; this makes sure that it is linked.
use xshm as _;

type Handle = *mut c_void;

#[repr(C)]
#[derive(Clone, Copy)]
struct Config {
    name: *const c_char,
    bytes: u32,
}

extern "C" {
    fn shm_last_error() -> i32;
    fn shm_last_error_message(buffer: *mut c_char, size: u32) -> u32;
    fn shm_error_string(code: i32) -> *const c_char;
    fn shm_server_start(config: *const Config, callbacks: *const c_void) -> Handle;
    fn shm_server_start_anonymous(bytes: u32, callbacks: *const c_void, options: *const c_void) -> Handle;
    fn shm_server_wait_for_client(handle: Handle, ms: u32) -> i32;
    fn shm_server_disconnect_client(handle: Handle) -> i32;
    fn shm_server_send(handle: Handle, data: *const c_void, size: u32) -> i32;
    fn shm_server_try_send(handle: Handle, data: *const c_void, size: u32) -> i32;
    fn shm_server_send_timeout(handle: Handle, data: *const c_void, size: u32, ms: u32) -> i32;
    fn shm_server_try_receive(handle: Handle, buffer: *mut c_void, size: *mut u32) -> i32;
    fn shm_server_receive_timeout(handle: Handle, buffer: *mut c_void, size: *mut u32, ms: u32) -> i32;
    fn shm_server_poll(handle: Handle, ms: u32) -> i32;
    fn shm_server_is_connected(handle: Handle) -> bool;
    fn shm_server_stats(handle: Handle, out: *mut c_void) -> i32;
    fn shm_server_get_event_handles(handle: Handle, out: *mut c_void) -> bool;
    fn shm_server_client_handles(handle: Handle, out: *mut c_void) -> i32;
    fn shm_server_section_handle(handle: Handle) -> isize;
    fn shm_server_stop(handle: Handle);
    fn shm_client_connect(config: *const Config, callbacks: *const c_void, ms: u32) -> Handle;
    fn shm_client_attach(section: isize, callbacks: *const c_void, options: *const c_void, ms: u32)
        -> Handle;
    fn shm_client_send(handle: Handle, data: *const c_void, size: u32) -> i32;
    fn shm_client_try_send(handle: Handle, data: *const c_void, size: u32) -> i32;
    fn shm_client_send_timeout(handle: Handle, data: *const c_void, size: u32, ms: u32) -> i32;
    fn shm_client_try_receive(handle: Handle, buffer: *mut c_void, size: *mut u32) -> i32;
    fn shm_client_receive_timeout(handle: Handle, buffer: *mut c_void, size: *mut u32, ms: u32) -> i32;
    fn shm_client_poll(handle: Handle, ms: u32) -> i32;
    fn shm_client_is_connected(handle: Handle) -> bool;
    fn shm_client_stats(handle: Handle, out: *mut c_void) -> i32;
    fn shm_client_disconnect(handle: Handle);
    fn shm_multi_server_start(
        name: *const c_char, callbacks: *const c_void, options: *const c_void,
    ) -> Handle;
    fn shm_multi_server_stop(handle: Handle);
    fn shm_server_send_batch_timeout(
        handle: Handle, messages: *const Message, count: u32, sent: *mut u32, ms: u32,
    ) -> i32;
    fn shm_client_send_batch_timeout(
        handle: Handle, messages: *const Message, count: u32, sent: *mut u32, ms: u32,
    ) -> i32;
    fn shm_server_try_reserve(handle: Handle, size: u32, data: *mut *mut c_void) -> i32;
    fn shm_client_reserve_timeout(handle: Handle, size: u32, data: *mut *mut c_void, ms: u32) -> i32;
    fn shm_server_commit(handle: Handle) -> i32;
    fn shm_client_commit(handle: Handle) -> i32;
    fn shm_server_wait_handles(handle: Handle, out: *mut [isize; 2]) -> i32;
    fn shm_client_wait_handles(handle: Handle, out: *mut [isize; 2]) -> i32;
    fn shm_wait_handles_close(handles: *mut [isize; 2]);
    fn shm_server_arm(handle: Handle, is_ready: *mut bool) -> i32;
    fn shm_client_arm(handle: Handle, is_ready: *mut bool) -> i32;
    fn shm_server_disarm(handle: Handle) -> i32;
    fn shm_client_disarm(handle: Handle) -> i32;
    fn shm_server_receive_call(
        handle: Handle, buffer: *mut c_void, size: *mut u32, is_call: *mut bool, call: *mut CallNumbers,
        ms: u32,
    ) -> i32;
    fn shm_server_answer(handle: Handle, call: CallNumbers, data: *const c_void, size: u32) -> i32;
    fn shm_server_refuse(handle: Handle, call: CallNumbers) -> i32;
    fn shm_client_slot_id(handle: Handle) -> u32;
    fn shm_caller_call(
        handle: Handle, data: *const c_void, size: u32, buffer: *mut c_void, answer_size: *mut u32, ms: u32,
    ) -> i32;
    fn shm_caller_stats(handle: Handle, out: *mut c_void) -> i32;
    fn shm_caller_disconnect(handle: Handle);
    fn shm_server_start_auto(
        config: *const Config, callbacks: *const c_void, options: *const c_void,
    ) -> Handle;
    fn shm_server_stop_auto(handle: Handle);
    fn shm_server_stats_auto(handle: Handle, out: *mut c_void) -> bool;
    fn shm_server_answer_auto(handle: Handle, call: CallNumbers, data: *const c_void, size: u32) -> i32;
    fn shm_multi_server_send_to_timeout(
        handle: Handle, client: u32, data: *const c_void, size: u32, ms: u32,
    ) -> i32;
    fn shm_multi_server_broadcast_each(
        handle: Handle, data: *const c_void, size: u32, results: *mut c_void, max: u32, actual: *mut u32,
    ) -> i32;
    fn shm_multi_server_stats(handle: Handle, session: u64, out: *mut c_void) -> i32;
}

/// A message of a batch.
#[repr(C)]
struct Message {
    data: *const c_void,
    size: u32,
}

/// The numbers of a call.
#[repr(C)]
#[derive(Debug, Clone, Copy, Arbitrary)]
struct CallNumbers {
    session: u64,
    id: u64,
}

/// The words of the longest structure with figures.
const FIGURES: usize = 16;

/// The largest buffer of a caller, in bytes.
const SPACE: usize = 70_000;

#[derive(Debug, Arbitrary)]
enum Call {
    Send { server: bool, how: u8, null: bool, size: u32 },
    Receive { server: bool, waits: bool, null: bool, no_size: bool, size: u32 },
    Poll { server: bool },
    Figures { server: bool, null: bool },
    Handles { null: bool },
    WaitForClient,
    DisconnectClient,
    DisconnectSelf,
    Reconnect,
    Start { name: Vec<u8>, no_name: bool, bytes: u32, anonymous: bool },
    StartMany { name: Vec<u8>, no_name: bool },
    Connect { name: Vec<u8>, no_name: bool, bytes: u32 },
    Attach(i32),
    Errors { size: u16, null: bool, code: i32 },
    Null(u8),
    Batch { server: bool, sizes: Vec<u32>, null: bool },
    Reserve { server: bool, size: u32, commits: bool },
    Loop { server: bool, null: bool },
    ReceiveCall { size: u32, no_place: bool },
    EndCall { call: CallNumbers, refuses: bool, null: bool, size: u32 },
    InBackground { sizes: [u32; 2], call: CallNumbers, client: u32, session: u64, room: u8 },
}

struct Pair {
    server: Handle,
    client: Handle,
}

// Any thread may use the handles.
struct Sendable(Handle);
// SAFETY: xshm.h permits the use of handles in any thread.
unsafe impl Send for Sendable {}

impl Pair {
    fn connect(&mut self) {
        let server = Sendable(self.server);
        // SAFETY: both handles are open while the threads run.
        unsafe {
            let section = shm_server_section_handle(self.server);
            let waiter = thread::spawn(move || {
                let server = server;
                shm_server_wait_for_client(server.0, 5000)
            });
            self.client = shm_client_attach(section, ptr::null(), ptr::null(), 5000);
            assert_eq!(waiter.join().unwrap(), 0);
        }
        assert!(!self.client.is_null());
    }
}

/// A name as a C string. A NUL inside ends it earlier.
fn text(name: &[u8], none: bool) -> (Vec<u8>, bool) {
    let mut bytes = name.to_vec();
    bytes.push(0);
    (bytes, none)
}

fuzz_target!(|calls: Vec<Call>| {
    let mut space = vec![0xa5_u8; SPACE + 8];
    let message = vec![0x5a_u8; SPACE];
    // SAFETY: every pointer is NULL or points to as many bytes as its size states; handles are open, or NULL.
    unsafe {
        let mut pair = Pair {
            server: shm_server_start_anonymous(4096, ptr::null(), ptr::null()),
            client: ptr::null_mut(),
        };
        assert!(!pair.server.is_null());
        pair.connect();
        for call in calls.iter().take(100) {
            let fits = |size: u32| if size as usize > SPACE { size | 0x8000_0000 } else { size };
            match call {
                Call::Send { server, how, null, size } => {
                    let data = if *null { ptr::null() } else { message.as_ptr().cast() };
                    let size = fits(*size);
                    match (server, how % 3) {
                        (true, 0) => shm_server_send(pair.server, data, size),
                        (true, 1) => shm_server_try_send(pair.server, data, size),
                        (true, _) => shm_server_send_timeout(pair.server, data, size, 0),
                        (false, 0) => shm_client_send(pair.client, data, size),
                        (false, 1) => shm_client_try_send(pair.client, data, size),
                        (false, _) => shm_client_send_timeout(pair.client, data, size, 0),
                    };
                }
                Call::Receive { server, waits, null, no_size, size } => {
                    let room = (*size as usize).min(SPACE);
                    let mut length = room as u32;
                    let buffer = if *null { ptr::null_mut() } else { space.as_mut_ptr().cast() };
                    let place = if *no_size { ptr::null_mut() } else { &mut length as *mut u32 };
                    let code = match (server, waits) {
                        (true, false) => shm_server_try_receive(pair.server, buffer, place),
                        (true, true) => shm_server_receive_timeout(pair.server, buffer, place, 0),
                        (false, false) => shm_client_try_receive(pair.client, buffer, place),
                        (false, true) => shm_client_receive_timeout(pair.client, buffer, place, 0),
                    };
                    if code == 0 {
                        assert!(!null && !no_size && length as usize <= room && length >= 2);
                        assert!(space[..length as usize].iter().all(|&byte| byte == 0x5a));
                        assert!(
                            space[length as usize..].iter().all(|&byte| byte == 0xa5),
                            "more was written"
                        );
                        space[..length as usize].fill(0xa5);
                    }
                }
                Call::Poll { server: true } => drop(shm_server_poll(pair.server, 0)),
                Call::Poll { server: false } => drop(shm_client_poll(pair.client, 0)),
                Call::Figures { server, null } => {
                    let mut figures = [0_u64; FIGURES];
                    let place = if *null { ptr::null_mut() } else { figures.as_mut_ptr().cast() };
                    if *server {
                        shm_server_stats(pair.server, place);
                        shm_server_is_connected(pair.server);
                    } else {
                        shm_client_stats(pair.client, place);
                        shm_client_is_connected(pair.client);
                    }
                }
                Call::Handles { null } => {
                    let mut handles = [0_u64; 8];
                    let place = if *null { ptr::null_mut() } else { handles.as_mut_ptr().cast() };
                    shm_server_get_event_handles(pair.server, place);
                    assert_eq!(shm_server_client_handles(pair.server, place) == 0, !null);
                }
                Call::WaitForClient => drop(shm_server_wait_for_client(pair.server, 0)),
                Call::DisconnectClient => drop(shm_server_disconnect_client(pair.server)),
                Call::DisconnectSelf => {
                    shm_client_disconnect(pair.client);
                    pair.client = ptr::null_mut();
                }
                Call::Reconnect => {
                    shm_client_disconnect(pair.client);
                    pair.connect();
                }
                Call::Start { name, no_name, bytes, anonymous } => {
                    // Limits the size, since rings of 1 GiB need too much memory.
                    let bytes = bytes % 100_000;
                    let (name, none) = text(name, *no_name);
                    let name = if none { ptr::null() } else { name.as_ptr().cast() };
                    let started = if *anonymous {
                        shm_server_start_anonymous(bytes, ptr::null(), ptr::null())
                    } else {
                        shm_server_start(&Config { name, bytes }, ptr::null())
                    };
                    assert!(!started.is_null() || shm_last_error() != 0);
                    shm_server_stop(started);
                }
                Call::StartMany { name, no_name } => {
                    let (name, none) = text(name, *no_name);
                    let name = if none { ptr::null() } else { name.as_ptr().cast() };
                    shm_multi_server_stop(shm_multi_server_start(name, ptr::null(), ptr::null()));
                }
                Call::Connect { name, no_name, bytes } => {
                    let (name, none) = text(name, *no_name);
                    let name = if none { ptr::null() } else { name.as_ptr().cast() };
                    let client = shm_client_connect(&Config { name, bytes: *bytes }, ptr::null(), 0);
                    assert!(client.is_null() && shm_last_error() != 0);
                }
                Call::Attach(section) => {
                    // Descriptors of this process. Those that are sections belong to this fuzzer.
                    let section = if *section > 2 { -1 } else { *section as isize };
                    let client = shm_client_attach(section, ptr::null(), ptr::null(), 0);
                    assert!(client.is_null() && shm_last_error() != 0);
                }
                Call::Errors { size, null, code } => {
                    let size = usize::from(*size).min(1000);
                    let mut buffer = vec![0x7f as c_char; size + 1];
                    let place = if *null { ptr::null_mut() } else { buffer.as_mut_ptr() };
                    shm_last_error_message(place, size as u32);
                    assert_eq!(buffer[size], 0x7f);
                    assert!(!shm_error_string(*code).is_null());
                }
                Call::Null(which) => match which % 5 {
                    0 => drop(shm_server_send(ptr::null_mut(), message.as_ptr().cast(), 10)),
                    1 => drop(shm_client_try_receive(ptr::null_mut(), space.as_mut_ptr().cast(), &mut 10)),
                    2 => shm_server_stop(ptr::null_mut()),
                    3 => assert!(shm_server_start(ptr::null(), ptr::null()).is_null()),
                    _ => assert!(shm_client_connect(ptr::null(), ptr::null(), 0).is_null()),
                },
                Call::Batch { server, sizes, null } => {
                    let message = |size: &u32| Message {
                        data: if *null { ptr::null() } else { message.as_ptr().cast() },
                        size: fits(*size),
                    };
                    let batch: Vec<Message> = sizes.iter().take(300).map(message).collect();
                    let mut sent = u32::MAX;
                    let (messages, count) = (batch.as_ptr(), batch.len() as u32);
                    if *server {
                        shm_server_send_batch_timeout(pair.server, messages, count, &mut sent, 0);
                    } else {
                        shm_client_send_batch_timeout(pair.client, messages, count, &mut sent, 0);
                    }
                    assert!(sent <= count);
                }
                Call::Reserve { server, size, commits } => {
                    let mut place = ptr::dangling_mut::<c_void>();
                    let code = if *server {
                        shm_server_try_reserve(pair.server, *size, &mut place)
                    } else {
                        shm_client_reserve_timeout(pair.client, *size, &mut place, 0)
                    };
                    assert_eq!(code == 0, !place.is_null());
                    if code == 0 {
                        place.cast::<u8>().write_bytes(0x5a, *size as usize);
                    }
                    match (commits, server) {
                        (true, true) => drop(shm_server_commit(pair.server)),
                        (true, false) => drop(shm_client_commit(pair.client)),
                        _ => {}
                    }
                }
                Call::Loop { server, null } => {
                    let (mut handles, mut is_ready) = ([7; 2], true);
                    let place = if *null { ptr::null_mut() } else { &mut is_ready as *mut bool };
                    if *server {
                        shm_server_wait_handles(pair.server, &mut handles);
                        shm_server_arm(pair.server, place);
                        shm_server_disarm(pair.server);
                    } else {
                        shm_client_wait_handles(pair.client, &mut handles);
                        shm_client_arm(pair.client, place);
                        shm_client_disarm(pair.client);
                        shm_client_slot_id(pair.client);
                    }
                    shm_wait_handles_close(&mut handles);
                    assert_eq!(handles, [-1; 2]);
                }
                Call::ReceiveCall { size, no_place } => {
                    let room = (*size as usize).min(SPACE);
                    let (mut length, mut is_call) = (room as u32, true);
                    let mut numbers = CallNumbers { session: 7, id: 7 };
                    let place = if *no_place { ptr::null_mut() } else { &mut is_call as *mut bool };
                    let buffer = space.as_mut_ptr().cast();
                    shm_server_receive_call(pair.server, buffer, &mut length, place, &mut numbers, 0);
                    // Messages of the other calls have no header.
                    assert!(*no_place || (!is_call && numbers.session == 0));
                    space.fill(0xa5);
                }
                Call::EndCall { call, refuses, null, size } => {
                    let data = if *null { ptr::null() } else { message.as_ptr().cast() };
                    if *refuses {
                        shm_server_refuse(pair.server, *call);
                    } else {
                        shm_server_answer(pair.server, *call, data, fits(*size));
                    }
                    // The client does not expect answers in its queue.
                    let mut length = SPACE as u32;
                    while shm_client_try_receive(pair.client, space.as_mut_ptr().cast(), &mut length) == 0 {
                        length = SPACE as u32;
                    }
                    space.fill(0xa5);
                }
                Call::InBackground { sizes, call, client, session, room } => {
                    let name = c"fuzzed".as_ptr();
                    let mut figures = [0_u64; FIGURES];
                    let (place, data) = (figures.as_mut_ptr().cast(), message.as_ptr().cast());
                    let server =
                        shm_server_start_auto(&Config { name, bytes: 4096 }, ptr::null(), ptr::null());
                    shm_server_stats_auto(server, place);
                    shm_server_answer_auto(server, *call, data, fits(sizes[0]));
                    shm_server_stop_auto(server);
                    let many = shm_multi_server_start(name, ptr::null(), ptr::null());
                    shm_multi_server_send_to_timeout(many, *client, data, fits(sizes[1]), 0);
                    let mut results = vec![0_u64; 3 * usize::from(*room)];
                    let (results, max) = (results.as_mut_ptr().cast(), u32::from(*room));
                    let mut actual = 9;
                    shm_multi_server_broadcast_each(many, data, fits(sizes[1]), results, max, &mut actual);
                    assert_eq!(actual, 0);
                    assert_ne!(shm_multi_server_stats(many, *session, place), 0);
                    shm_multi_server_stop(many);
                    assert_ne!(shm_caller_stats(ptr::null_mut(), place), 0);
                    assert_ne!(shm_caller_call(ptr::null_mut(), data, 4, place, &mut actual, 0), 0);
                    shm_caller_disconnect(ptr::null_mut());
                }
            }
        }
        shm_client_disconnect(pair.client);
        shm_server_stop(pair.server);
    }
});
