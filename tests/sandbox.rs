//! Processes whose sandbox (seccomp) refuses a system call that the library needs: each failed call says which one it was,
//! nothing hangs, and the other side waits.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod common;

use common::seccomp::{refuse, SystemCall, MADVISE, MADV_WIPEONFORK};
use common::*;
use std::ffi::c_int;
use std::time::Duration;
use xshm::{AutoHandler, AutoOptions, AutoServer, SharedClient, SharedServer, ShmError};

extern "C" {
    fn _exit(status: c_int) -> !;
    fn alarm(seconds: u32) -> u32;
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
}

#[test]
fn peer_process() {
    serve();
}

const MEMFD_CREATE: SystemCall = SystemCall("memfd_create", 319, 279);
const FTRUNCATE: SystemCall = SystemCall("ftruncate", 77, 46);
const FCNTL: SystemCall = SystemCall("fcntl", 72, 25);
const ACCEPT4: SystemCall = SystemCall("accept4", 288, 242);
const SENDMSG: SystemCall = SystemCall("sendmsg", 46, 211);
const RECVMSG: SystemCall = SystemCall("recvmsg", 47, 212);
const GETSOCKOPT: SystemCall = SystemCall("getsockopt", 55, 209);
const PIDFD_OPEN: SystemCall = SystemCall("pidfd_open", 434, 434);

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;

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
        for call in [MEMFD_CREATE, FTRUNCATE, FCNTL] {
            in_a_process(|| {
                refuse(call, errno, None);
                assert_names(SharedServer::start(&unique("sandbox")).map(drop), call, errno);
            });
        }
        for call in [ACCEPT4, SENDMSG, GETSOCKOPT] {
            let name = unique("sandbox");
            let mut peer = Peer::start();
            peer.tell(&format!("connect {name} 700"));
            in_a_process(|| {
                refuse(call, errno, None);
                let mut server = SharedServer::start(&name).unwrap();
                assert_names(server.wait_for_client(seconds(10)), call, errno);
                // A later attempt says the same.
                assert_names(server.wait_for_client(seconds(10)), call, errno);
            });
            // The client was not refused for good: it waited, and the server is gone now.
            let answer = peer.answer();
            assert!(answer.contains("NoServer") || answer.contains("NotAccepting"), "{}: {answer}", call.0);
        }
    }
}

#[test]
fn line_39_a_client_says_which_system_call_is_refused() {
    for errno in [EPERM, ENOSYS] {
        for call in [RECVMSG, PIDFD_OPEN] {
            let name = unique("sandbox");
            let mut server = SharedServer::start(&name).unwrap();
            let connecting = std::thread::spawn(move || {
                in_a_process(|| {
                    refuse(call, errno, None);
                    assert_names(
                        SharedClient::connect(&name, Duration::from_secs(10)).map(drop),
                        call,
                        errno,
                    );
                });
            });
            while !connecting.is_finished() {
                assert_eq!(server.wait_for_client(millis(50)), Err(ShmError::Timeout), "{}", call.0);
            }
            connecting.join().unwrap();
        }
    }
}

struct Quiet;

impl AutoHandler for Quiet {}

/// The fork of a process that could not have its memory marked: forks are known by the C library's handler then.
#[test]
fn line_37_forks_are_found_where_the_kernel_does_not_mark_them() {
    // Success without effect, as under some emulators; and an error.
    for errno in [0, EPERM] {
        in_a_process(|| {
            refuse(MADVISE, errno, Some(MADV_WIPEONFORK));
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
