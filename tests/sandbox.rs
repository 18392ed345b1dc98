//! Processes whose sandbox (seccomp) refuses a system call that the library needs, or that have no descriptor left: each failed
//! call says which system call it was, nothing hangs, and the other side waits.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod common;

use common::seccomp::{refuse, Argument, SystemCall, MADVISE, WIPE_ON_FORK};
use common::*;
use std::ffi::c_int;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;
use xshm::{
    AutoClient, AutoHandler, AutoOptions, AutoServer, MultiClient, MultiClientHandler, MultiClientOptions,
    MultiHandler, MultiOptions, MultiServer, ServerOptions, SharedClient, SharedServer, ShmError,
};

extern "C" {
    fn _exit(status: c_int) -> !;
    fn alarm(seconds: u32) -> u32;
    fn fork() -> c_int;
    fn setuid(user: u32) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
}

#[test]
fn peer_process() {
    serve();
}

const MEMFD_CREATE: SystemCall = SystemCall("memfd_create", 319, 279);
const FTRUNCATE: SystemCall = SystemCall("ftruncate", 77, 46);
const FCNTL: SystemCall = SystemCall("fcntl", 72, 25);
const SOCKET: SystemCall = SystemCall("socket", 41, 198);
const SOCKETPAIR: SystemCall = SystemCall("socketpair", 53, 199);
const BIND: SystemCall = SystemCall("bind", 49, 200);
const LISTEN: SystemCall = SystemCall("listen", 50, 201);
const CONNECT: SystemCall = SystemCall("connect", 42, 203);
const EVENTFD2: SystemCall = SystemCall("eventfd2", 290, 19);
const FSTAT: SystemCall = SystemCall("fstat", 5, 80);
const FSTATFS: SystemCall = SystemCall("fstatfs", 138, 44);
const MMAP: SystemCall = SystemCall("mmap", 9, 222);
const PPOLL: SystemCall = SystemCall("ppoll", 271, 73);
const SENDTO: SystemCall = SystemCall("sendto", 44, 206);
const RECVFROM: SystemCall = SystemCall("recvfrom", 45, 207);
const SETSOCKOPT: SystemCall = SystemCall("setsockopt", 54, 208);
const PRLIMIT64: SystemCall = SystemCall("prlimit64", 302, 261);
const ACCEPT4: SystemCall = SystemCall("accept4", 288, 242);
const SENDMSG: SystemCall = SystemCall("sendmsg", 46, 211);
const RECVMSG: SystemCall = SystemCall("recvmsg", 47, 212);
const GETSOCKOPT: SystemCall = SystemCall("getsockopt", 55, 209);
const PIDFD_OPEN: SystemCall = SystemCall("pidfd_open", 434, 434);

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;

/// `MAP_SHARED` among the arguments of `mmap`.
const SHARED: Argument = (3, 1);

/// Runs `run` in a fork, which the system ends after 20 s.
fn in_a_process(run: impl FnOnce()) {
    // SAFETY: the child runs in this thread alone, and ends without unwinding into the test.
    unsafe {
        match fork() {
            -1 => panic!("no fork"),
            0 => {
                alarm(20);
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
                _exit(c_int::from(ended.is_err()));
            }
            pid => {
                let mut status = -1;
                assert_eq!(waitpid(pid, &mut status, 0), pid);
                assert_eq!(status, 0, "the process failed");
            }
        }
    }
}

/// Checks that an error is the system's, and names the call.
fn assert_names(result: xshm::Result<()>, call: SystemCall, errno: i32) {
    let Err(error) = result else { panic!("{} is refused, and nothing failed", call.0) };
    assert!(matches!(error, ShmError::SystemError { code, .. } if code == errno), "{}: {error:?}", call.0);
    assert!(error.to_string().contains(call.0), "{}: {error}", call.0);
}

#[test]
fn line_39_a_server_says_which_system_call_is_refused() {
    for errno in [EPERM, ENOSYS] {
        let at_start = [
            SOCKET,
            BIND,
            LISTEN,
            MEMFD_CREATE,
            FTRUNCATE,
            FCNTL,
            MMAP,
            SOCKETPAIR,
            EVENTFD2,
            SENDTO,
            RECVFROM,
        ];
        for call in at_start {
            in_a_process(|| {
                refuse(call, errno, (call.0 == "mmap").then_some(SHARED));
                assert_names(SharedServer::start(&unique("sandbox")).map(drop), call, errno);
            });
        }
        for call in [ACCEPT4, SENDMSG, GETSOCKOPT, PPOLL] {
            let name = unique("sandbox");
            let mut peer = Peer::start();
            peer.tell(&format!("connect {name} 20000"));
            in_a_process(|| {
                refuse(call, errno, None);
                let mut server = SharedServer::start(&name).unwrap();
                assert_names(server.wait_for_client(seconds(10)), call, errno);
                // A later attempt says the same.
                assert_names(server.wait_for_client(seconds(10)), call, errno);
            });
            // The client was not refused for good: it waits for the next server.
            let mut server = SharedServer::start(&name).unwrap();
            server.wait_for_client(seconds(10)).unwrap();
            assert_eq!(peer.answer(), "ok", "{}", call.0);
        }
    }
}

#[test]
fn line_39_a_client_says_which_system_call_is_refused() {
    for errno in [EPERM, ENOSYS] {
        let calls = [
            SOCKET, CONNECT, GETSOCKOPT, PPOLL, RECVMSG, FSTATFS, FCNTL, FSTAT, MMAP, PIDFD_OPEN, EVENTFD2,
            SENDTO, RECVFROM,
        ];
        for call in calls {
            let name = unique("sandbox");
            let mut server = SharedServer::start(&name).unwrap();
            let connecting = std::thread::spawn(move || {
                in_a_process(|| {
                    refuse(call, errno, (call.0 == "mmap").then_some(SHARED));
                    let connected = SharedClient::connect(&name, Duration::from_secs(10));
                    assert_names(connected.map(drop), call, errno);
                });
            });
            while !connecting.is_finished() {
                assert_eq!(server.wait_for_client(millis(50)), Err(ShmError::Timeout), "{}", call.0);
            }
            connecting.join().unwrap();
        }
    }
}

/// A kernel between 5.3 and 6.4 lacks `SO_PEERPIDFD`, and is enough. An older one lacks `pidfd_open` too.
#[test]
fn line_39_the_oldest_kernel_has_pidfd_open() {
    const ENOPROTOOPT: i32 = 92;
    const SO_PEERPIDFD: Argument = (2, 77);
    let exchange = |peer: &mut Peer, server: &mut SharedServer| {
        server.wait_for_client(seconds(10)).unwrap();
        assert_eq!(peer.answer(), "ok");
        peer.must("send over 1 1 64");
        let mut message = Vec::new();
        server.receive_from_client_timeout(&mut message, seconds(10)).unwrap();
    };
    for has_pidfd_open in [true, false] {
        let name = unique("kernel");
        let mut peer = Peer::start();
        peer.tell(&format!("connect {name} 20000"));
        in_a_process(|| {
            refuse(GETSOCKOPT, ENOPROTOOPT, Some(SO_PEERPIDFD));
            let mut server = SharedServer::start(&name).unwrap();
            if has_pidfd_open {
                exchange(&mut peer, &mut server);
            } else {
                refuse(PIDFD_OPEN, ENOSYS, None);
                assert_names(server.wait_for_client(seconds(10)), PIDFD_OPEN, ENOSYS);
            }
        });
    }
}

/// Calls that the library can do without.
#[test]
fn line_39_some_system_calls_are_not_needed() {
    for call in [SETSOCKOPT, PRLIMIT64] {
        let name = unique("sandbox");
        let mut server = SharedServer::start(&name).unwrap();
        let connecting = std::thread::spawn(move || {
            in_a_process(|| {
                refuse(call, EPERM, None);
                let other = SharedServer::start(&unique("sandbox")).unwrap();
                let client = SharedClient::connect(&name, Duration::from_secs(10)).unwrap();
                client.send_to_server(b"hello").unwrap();
                drop((client, other));
            });
        });
        server.wait_for_client(seconds(10)).unwrap();
        let mut message = Vec::new();
        server.receive_from_client_timeout(&mut message, seconds(10)).unwrap();
        assert_eq!(message, b"hello", "{}", call.0);
        connecting.join().unwrap();
    }
}

const EMFILE: i32 = 24;

/// Takes all descriptors of this process, which is limited to 256, except `free`.
fn take_descriptors_except(free: usize) -> Vec<File> {
    raw::limit_descriptors(256);
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    taken.truncate(taken.len() - free);
    taken
}

/// More descriptors than a client or a session needs.
const ENOUGH: usize = 24;

/// Connects with more and more descriptors, and checks that each failure is this process's lack of them.
fn connect_with_few<T>(connect: impl Fn() -> xshm::Result<T>) {
    let results = (0..=ENOUGH).map(|free| {
        let taken = take_descriptors_except(free);
        let result = connect().map(drop);
        drop(taken);
        assert!(
            matches!(result, Ok(()) | Err(ShmError::SystemError { code: EMFILE, .. })),
            "with {free}: {result:?}"
        );
        result.is_ok()
    });
    let results: Vec<bool> = results.collect();
    assert!(!results[0] && results[ENOUGH], "{results:?}");
}

/// Serves clients until another thread ends.
fn accept_until_finished(server: &mut SharedServer, other: std::thread::JoinHandle<()>) {
    while !other.is_finished() {
        match server.wait_for_client(millis(50)) {
            Ok(()) | Err(ShmError::Timeout | ShmError::AlreadyConnected) => {}
            Err(error) => panic!("{error}"),
        }
    }
    other.join().unwrap();
}

#[test]
fn line_39_a_client_without_descriptors_says_so() {
    let name = unique("few");
    let mut server = SharedServer::start(&name).unwrap();
    let connecting = std::thread::spawn(move || {
        in_a_process(|| connect_with_few(|| SharedClient::connect(&name, Duration::from_secs(10))));
    });
    accept_until_finished(&mut server, connecting);

    let mut server = ServerOptions::new().anonymous_events().start_anonymous().unwrap();
    let handles = server.client_handles().unwrap();
    let connecting = std::thread::spawn(move || {
        // SAFETY: the server keeps them open, and the fork has copies of them.
        let attach = || unsafe { SharedClient::attach_handles(&handles, Duration::from_secs(10)) };
        in_a_process(|| connect_with_few(attach));
    });
    accept_until_finished(&mut server, connecting);

    let name = unique("few");
    let _server = MultiServer::start(&name, Arc::new(Quiet), MultiOptions::default()).unwrap();
    in_a_process(|| {
        connect_with_few(|| MultiClient::connect(&name, Arc::new(Quiet), MultiClientOptions::default()));
    });
}

/// To recognise the user 65534, which may stand for users that are not mapped, the client opens files.
#[test]
fn line_39_a_client_without_descriptors_does_not_mistake_its_own_user() {
    const UNMAPPED: u32 = 65534;
    let Some(mut server) = Peer::start_as(&UNMAPPED.to_string()) else { return };
    let name = format!("Global\\{}", unique("few.unmapped"));
    server.must(&format!("start {name}"));
    server.tell("accept 20000");
    in_a_process(|| {
        // SAFETY: no pointers; this is the child's only thread.
        assert_eq!(unsafe { setuid(UNMAPPED) }, 0);
        let results = (0..=ENOUGH).map(|free| {
            let taken = take_descriptors_except(free);
            let result = SharedClient::connect(&name, Duration::from_secs(10));
            drop(taken);
            match result {
                Err(ShmError::SystemError { code: EMFILE, .. }) => false,
                Err(error) => panic!("with {free}: {error:?}"),
                Ok(_) => true,
            }
        });
        let results: Vec<bool> = results.take_while(|connected| !connected).collect();
        assert!((1..=ENOUGH).contains(&results.len()), "{results:?}");
    });
    assert_eq!(server.answer(), "ok");
}

/// The client is not refused: it waits until the server has descriptors again.
#[test]
fn line_39_a_server_without_descriptors_says_so() {
    let mut failures = 0;
    for free in 0..ENOUGH {
        let name = unique("few");
        let mut peer = Peer::start();
        peer.tell(&format!("connect {name} 20000"));
        let mut status = [0_u8; 1];
        let (mut answer, mut report) = std::os::unix::net::UnixStream::pair().unwrap();
        in_a_process(|| {
            let mut server = SharedServer::start(&name).unwrap();
            let taken = take_descriptors_except(free);
            let accepted = server.wait_for_client(seconds(10));
            drop(taken);
            if let Err(error) = &accepted {
                assert!(
                    matches!(error, ShmError::SystemError { code: EMFILE, .. }),
                    "with {free}: {error:?}"
                );
                server.wait_for_client(seconds(10)).unwrap();
            }
            report.write_all(&[u8::from(accepted.is_err())]).unwrap();
            assert_eq!(peer.answer(), "ok");
        });
        answer.read_exact(&mut status).unwrap();
        failures += usize::from(status[0]);
    }
    assert!((1..ENOUGH).contains(&failures), "{failures}");
}

/// The last client has left, and the server has no descriptors for the next channel: it is not busy.
#[test]
fn line_39_a_server_that_cannot_make_a_channel_is_not_accepting() {
    let name = unique("few.next");
    let mut peer = Peer::start();
    in_a_process(|| {
        let mut server = SharedServer::start(&name).unwrap();
        peer.enter(&name, &mut server);
        let busy = Peer::start().ask(&format!("connect {name} 100"));
        assert!(busy.starts_with("err AlreadyConnected"), "{busy}");
        peer.must("leave");
        let mut other = Peer::start();
        let taken = take_descriptors_except(0);
        let failed = server.wait_for_client(millis(300));
        assert!(matches!(failed, Err(ShmError::SystemError { code: EMFILE, .. })), "{failed:?}");
        for peer in [&mut peer, &mut other] {
            let answer = peer.ask(&format!("connect {name} 100"));
            assert!(answer.starts_with("err NotAccepting"), "{answer}");
        }
        drop(taken);
    });
}

/// A fork has a copy of all that says that the server is busy. When the client has left, it says so no more.
#[test]
fn line_39_a_fork_does_not_keep_a_server_busy() {
    let name = unique("busy.fork");
    let mut peer = Peer::start();
    in_a_process(|| {
        let mut server = SharedServer::start(&name).unwrap();
        peer.enter(&name, &mut server);
        let (mut ends, keeps) = std::os::unix::net::UnixStream::pair().unwrap();
        // SAFETY: this is the only thread. The child ends without unwinding, when its parent closes the other end.
        let fork = unsafe { fork() };
        if fork == 0 {
            drop(keeps);
            let _ = ends.read(&mut [0]);
            // SAFETY: ends the child.
            unsafe { _exit(0) };
        }
        peer.must("leave");
        assert_eq!(server.wait_for_client(millis(100)), Err(ShmError::Timeout));
        let answer = Peer::start().ask(&format!("connect {name} 100"));
        assert!(answer.starts_with("err NotAccepting"), "{answer}");
        drop(keeps);
    });
}

/// Reports what an endpoint in the background calls its handler for.
struct Reports(Mutex<mpsc::Sender<Result<(), ShmError>>>);

impl Reports {
    fn send(&self, report: Result<(), ShmError>) {
        let _ = self.0.lock().unwrap().send(report);
    }
}

impl AutoHandler for Reports {
    fn on_connect(&self) {
        self.send(Ok(()));
    }

    fn on_error(&self, error: ShmError) {
        self.send(Err(error));
    }
}

#[test]
fn line_39_a_background_endpoint_without_descriptors_says_so_and_goes_on() {
    let options = || AutoOptions { reconnect_delay: Duration::from_millis(10), ..AutoOptions::default() };
    for is_server in [true, false] {
        let name = unique("few.auto");
        let mut peer = Peer::start();
        in_a_process(|| {
            let (sender, reports) = mpsc::channel();
            let handler = Arc::new(Reports(Mutex::new(sender)));
            let (mut server, mut client) = (None, None);
            if is_server {
                server = Some(AutoServer::start(&name, handler, options()).unwrap());
            } else {
                client = Some(AutoClient::connect(&name, handler, options()).unwrap());
            }
            let taken = take_descriptors_except(0);
            if is_server {
                peer.tell(&format!("connect {name} 20000"));
            } else {
                peer.must(&format!("start {name}"));
                peer.tell("accept 20000");
            }
            let report = loop {
                match reports.recv_timeout(Duration::from_secs(10)).unwrap() {
                    Err(ShmError::NoServer { .. }) => {}
                    other => break other,
                }
            };
            assert!(matches!(report, Err(ShmError::SystemError { code: EMFILE, .. })), "{report:?}");
            drop(taken);
            while reports.recv_timeout(Duration::from_secs(10)).unwrap().is_err() {}
            assert_eq!(peer.answer(), "ok");
            drop((server, client));
        });
    }
}

struct Quiet;

impl MultiHandler for Quiet {}

impl MultiClientHandler for Quiet {}

impl AutoHandler for Quiet {}

/// The fork of a process that could not have its memory marked: forks are known by the C library's handler then.
#[test]
fn line_37_forks_are_found_where_the_kernel_does_not_mark_them() {
    // Success without effect, as under some emulators; and an error.
    for errno in [0, EPERM] {
        in_a_process(|| {
            refuse(MADVISE, errno, Some(WIPE_ON_FORK));
            let name = unique("unmarked");
            let mut server = SharedServer::start(&name).unwrap();
            let client_name = name.clone();
            let connecting =
                std::thread::spawn(move || SharedClient::connect(&client_name, Duration::from_secs(10)));
            server.wait_for_client(seconds(10)).unwrap();
            let client = connecting.join().unwrap().unwrap();
            let auto = AutoServer::start(
                &unique("unmarked-auto"),
                std::sync::Arc::new(Quiet),
                AutoOptions::default(),
            );
            let auto = auto.unwrap();
            in_a_process(|| {
                assert_eq!(server.send_to_client(b"no").err(), Some(ShmError::Forked));
                // SAFETY: the fork has its own copies of the values' memory.
                let copies =
                    unsafe { (std::ptr::read(&server), std::ptr::read(&client), std::ptr::read(&auto)) };
                drop(copies);
            });
            server.send_to_client(b"still here").unwrap();
            let mut message = Vec::new();
            client.receive_from_server(&mut message).unwrap();
            assert_eq!(message, b"still here");
        });
    }
}
